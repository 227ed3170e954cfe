package journal

import "time"

// Kind says what the pooler did to somebody, or saw happen.
type Kind uint8

// The kinds.
const (
	Reaped        Kind = iota // closed because there were too many and it was idle
	Killed                    // ended by an administrator
	TimedOut                  // a limit on time was exceeded
	PeerLost                  // the other end is gone without a word
	Pinned                    // a server session cannot leave its client
	LeakContained             // state of unknown origin was found, and the server session replaced
	LimitReached              // a limit shut somebody out, or is nearly used up
	ServerRetired             // a server session was closed
	ServerRefused             // PostgreSQL let us not in, or could not be reached
	Panic                     // a bug
	kinds
)

var kindNames = [kinds]string{
	"reaped", "killed", "timed_out", "peer_lost", "pinned", "leak_contained", "limit_reached", "server_retired", "server_refused", "panic",
}

// String is the kind as views show it.
func (k Kind) String() string { return kindNames[k] }

// Kinds lists every kind.
func Kinds() []Kind {
	all := make([]Kind, 0, kinds)
	for k := range kinds {
		all = append(all, k)
	}
	return all
}

// Event is what the pooler did to somebody. Like ones that come shortly after each other are one, which counts them.
type Event struct {
	Seq         uint64 // grows by one with each entry
	Time, Until time.Time
	Count       int // of like ones, the first at Time, the last at Until
	Kind        Kind
	Reason      string // the name of the limit, of the pins, of the retire reason, or of how it was noticed

	Address, Application, User, Database string // "": not known, or of no one in particular

	Client    uint64 // the last of them, as is all below; 0: none
	Server    uint64
	ServerPID uint32
	Detail    string // a sentence for people, without literals of SQL and secrets
}

// likeness is what like events have in common.
type likeness struct {
	kind                                         Kind
	reason, address, application, user, database string
}

func (e *Event) likeness() likeness {
	return likeness{e.Kind, e.Reason, e.Address, e.Application, e.User, e.Database}
}

// shorten makes e fit to be kept.
func (e *Event) shorten() {
	for _, s := range []*string{&e.Reason, &e.Address, &e.Application, &e.User, &e.Database, &e.Detail} {
		*s = own(*s)
	}
}

// join adds a like event.
func (e *Event) join(one *Event) {
	e.Count += one.Count
	e.Until, e.Client, e.Server, e.ServerPID, e.Detail = one.Until, one.Client, one.Server, one.ServerPID, one.Detail
}
