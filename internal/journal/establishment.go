package journal

import "time"

// Side says which end of the pooler a connection is at.
type Side uint8

// The sides.
const (
	Client Side = iota // a client's connection to the pooler
	Server             // the pooler's to PostgreSQL
	sides
)

// String is the side as views show it.
func (s Side) String() string { return [sides]string{"client", "server"}[s] }

// Action is a step in the life of a connection.
type Action uint8

// The actions.
const (
	Connect Action = iota // the login is complete
	Reuse                 // a client is lent, for the first time, a server session that others have used
	Close                 // a connection whose login was complete has ended
	Refuse                // a connection has ended before that
	actions
)

// String is the action as views show it.
func (a Action) String() string { return [actions]string{"connect", "reuse", "close", "refuse"}[a] }

// Establishment is a step in the life of a connection. These are kept apart from counts of what is connected: who
// counts the lines of a listener's log does not know how many connections there are.
type Establishment struct {
	Seq    uint64 // grows by one with each
	Time   time.Time
	Side   Side
	Action Action

	Address string // the client's, or PostgreSQL's; "unix": a Unix socket
	Port    uint16 // the client's; 0: a Unix socket, or PostgreSQL

	Application, User, Database string // as the client has asked for them, or of the pool; "": not known

	Client, Server uint64 // 0: none
	Cause          string // of connect the method of the proof, of close the reason, of refuse the limit, SQLSTATE or fault
	Age            time.Duration
	Reuses         uint64 // of a server session that is closed: how often it was lent beyond the first time
}
