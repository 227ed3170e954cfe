package frontend

import (
	"net/netip"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/pool"
)

// ClientInfo is a client that is logged in, as it stood when it was asked for. Times are exact to lookEvery where
// nothing else is said.
type ClientInfo struct {
	ID          SessionID
	User        string
	Database    string
	Class       string
	Application string
	Boundary    config.Boundary
	Purity      config.Purity
	Remote      netip.AddrPort // invalid: a Unix socket
	TLS         string         // version and suite, as tlsconn.Layer has them; "": it comes in the clear
	Local       netip.AddrPort // the pooler's end; invalid as above
	PeerPID     int            // of a client on a Unix socket; 0: not known
	State       string         // idle, active, idle_in_transaction, …: see activity
	Since       time.Time      // when the state began, or the client spoke last
	Connected   time.Time
	Transaction time.Time // when the open one began; zero: there is none
	Waiting     time.Time // since when it waits for a server session; zero: it does not
	Leaving     bool      // it is ended as soon as it is between transactions

	Server         backend.ConnID // the server session that it holds; 0: none, and all below is zero
	ServerPID      uint32
	Held           time.Time // since when
	Running        time.Time // since when PostgreSQL works for it; zero: it does not
	Statement      string    // what runs there or has run last, as LastStatement; "": nothing yet
	Pinned         string    // why that cannot leave the client; "": it can
	PinnedSince    time.Time
	PinStatement   string // that pinned it, without its literals; "": not known
	Prepared       int    // prepared statements of the protocol that the client has named
	Transactions   uint64 // ended
	SettingsHeld   int    // that the client has in force, start-up parameters included
	FirstStatement string // of its life, without literals unless show_literals is set, as the next; "": none yet
	LastStatement  string
	Comment        string // the last one in any of them; "": there is none, or it is in the middle of a long statement
	Statements     uint32 // so many
	CancelInFlight bool   // a cancel was sent for it and is not confirmed

	raw rawInfo // until it is complete
}

// Traffic is what clients have done.
type Traffic struct {
	Logins          uint64 // completed
	Ends            uint64 // sessions that have ended, of those whose login was complete
	Refused         uint64 // logins that were refused
	Assignments     uint64 // server sessions lent
	Reuses          uint64 // of those, that another client had used
	Transactions    uint64 // ended
	Queries         uint64 // answered: each ReadyForQuery is one
	Received        uint64 // bytes from clients
	Sent            uint64 // bytes from PostgreSQL to clients
	ClientParses    uint64 // Parse messages of clients
	ServerParses    uint64 // of named statements on server sessions, also where the pooler does it of its own accord
	Binds           uint64
	TransactionTime time.Duration // in which a transaction was open, from its first message to its end
	QueryTime       time.Duration // in which PostgreSQL worked, or its answer was on its way
	WaitTime        time.Duration // in which clients waited for a server session
	ServerTime      time.Duration // in which clients held a server session
}

// SourceStat is the clients that have an address, an application, a user, a database and a class in common, and what
// they have done since they were first seen. One of which nobody is left is kept for a while.
type SourceStat struct {
	Source
	Class         string
	Active        int // of Clients, those for which PostgreSQL works
	Idle          int // that have no transaction open
	InTransaction int // idle in a transaction
	Waiting       int // for a server session
	Pinned        int
	Holding       int       // a server session
	Oldest        time.Time // when the oldest of them has connected; zero: nobody is left
	LastMinute    int       // logins in the last minute
	LastStatement string    // of one of them, not long ago; as ClientInfo's
	Traffic
}

// DatabaseStat is what the clients of a database have done since the start, and in the last period.
type DatabaseStat struct {
	Database string
	Total    Traffic
	Average  Traffic       // each count of the period, for Period
	Period   time.Duration // how long that was
}

// HistogramStat is how long something took for the clients of a pool.
type HistogramStat struct {
	pool.Key
	Phase   string // wait, query, transaction, server: see phases of timing
	Count   uint64
	Sum     time.Duration
	Buckets []Bucket // those that are not empty, in order
}

// Bucket counts what took at most Upper, and more than the bucket below.
type Bucket struct {
	Upper time.Duration
	Count uint64
}

// StatementStat is what is known of statements that differ in their literals only.
type StatementStat struct {
	Text      string // without literals
	Calls     uint64
	Time      time.Duration // in all
	Longest   time.Duration
	Pins      uint64 // times that it pinned a server session
	Estimated bool   // there were so many that some were counted by a sample
	Last      time.Time
}

// PreparedStat is a prepared statement of the protocol, as the pooler knows it.
type PreparedStat struct {
	Name    string // on server sessions
	Text    string // without literals
	Types   int    // parameters whose type the client has given
	Clients int    // that have named it, or names of theirs
	Servers int    // server sessions on which it is prepared
}

// WaiterInfo is a client that waits for a server session.
type WaiterInfo struct {
	pool.Key
	Client   SessionID
	Class    string
	Position int // in its pool's queue, from 1
	Since    time.Time
	Why      string // why the pool cannot serve it now
}
