package conform

import (
	"regexp"
	"slices"
)

// Protocol is how a client sends its statements.
type Protocol uint8

// The protocols.
const (
	Simple Protocol = iota
	Extended
)

func (p Protocol) String() string {
	if p == Simple {
		return "simple"
	}
	return "extended"
}

// MarshalText is for JSON.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// End is how the unit of work that made the state ended, or the client.
type End uint8

// The ways to end. From EndDisconnect on it is the client that ends, so that there is nothing to keep.
const (
	EndAutocommit    End = iota
	EndCommit            // BEGIN, state, COMMIT
	EndRollback          // BEGIN, state, ROLLBACK
	EndSavepoint         // BEGIN, SAVEPOINT, state, ROLLBACK TO, COMMIT
	EndError             // state and an error in one request
	EndOpen              // BEGIN, state, and the client looks from inside the transaction
	EndDisconnect        // state, Terminate
	EndKilledIdle        // state, connection reset
	EndKilledInBlock     // BEGIN, state, connection reset
	EndKilledBusy        // state in a request without its end, connection reset
)

var endNames = [...]string{
	EndAutocommit:    "autocommit",
	EndCommit:        "COMMIT",
	EndRollback:      "ROLLBACK",
	EndSavepoint:     "ROLLBACK TO",
	EndError:         "error in pipeline",
	EndOpen:          "left open",
	EndDisconnect:    "disconnect",
	EndKilledIdle:    "killed idle",
	EndKilledInBlock: "killed in transaction",
	EndKilledBusy:    "killed mid-pipeline",
}

func (e End) String() string { return endNames[e] }

// MarshalText is for JSON.
func (e End) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

func (e End) endsClient() bool { return e >= EndDisconnect }

// The usual choices of ends.
var (
	departures = []End{EndDisconnect, EndKilledIdle, EndKilledInBlock, EndKilledBusy}
	untaken    = []End{EndRollback, EndSavepoint, EndError}
	few        = []End{EndAutocommit, EndCommit, EndRollback}
	all        = slices.Concat(few, []End{EndSavepoint, EndError}, departures)
	alone      = []End{EndAutocommit}
	inside     = []End{EndOpen, EndKilledInBlock, EndKilledBusy}
)

// state is one kind of session state as a play of three: the first client makes the state and looks at it later, the
// other looks meanwhile and afterwards, a newcomer looks at the end.
type state struct {
	name  string
	ends  []End
	only  []Protocol // both when empty
	super bool       // needs a superuser

	setup, drop string            // run directly before and after; there is an empty schema "~" if setup is not empty
	startup     map[string]string // of the first client
	before      script            // by the first client, ahead of the unit of work
	make        script            // the unit of work
	look        script            // by the first client, after the other's work
	spy         script            // by the other and by the newcomer; look when empty
	work        script            // by the other, after its first look; see works

	public bool   // others legitimately see whether the state is there, and its end takes a moment
	honest string // SQLSTATE by which the client may be told that the state is not there
	heals  string // SQLSTATE of the server's that a proxy may spare its client
}

func (s state) spies() script {
	if len(s.spy) > 0 {
		return s.spy
	}
	return s.look
}

// works is what the other client does. Where the state was to be undone it is something that leaves none of its own,
// lest that be taken for the state.
func (s state) works(e End) script {
	if len(s.work) > 0 && !slices.Contains(untaken, e) {
		return s.work
	}
	return sql("DISCARD ALL")
}

func (s state) protocols() []Protocol {
	if len(s.only) > 0 {
		return s.only
	}
	return []Protocol{Simple, Extended}
}

// Case is one row: a kind of state, the protocol, and what ended the unit of work.
type Case struct {
	State    string   `json:"state"`
	Protocol Protocol `json:"protocol"`
	End      End      `json:"ended_by"`

	state state
}

// String is what a pattern for Cases matches.
func (c Case) String() string {
	return c.State + " / " + c.Protocol.String() + " / " + c.End.String()
}

// Cases lists the cases that only matches, all when it is nil. What only tells how a client left is asked once per
// kind of state, not by each protocol.
func Cases(only *regexp.Regexp) []Case {
	var cases []Case
	for _, s := range slices.Concat(settings(), starts(), statements(), objects(), locks(), sessions(), code()) {
		for i, p := range s.protocols() {
			for _, e := range s.ends {
				last := i == len(s.protocols())-1
				if e.endsClient() && last != (e == EndKilledBusy) && len(s.protocols()) > 1 {
					continue
				}
				c := Case{State: s.name, Protocol: p, End: e, state: s}
				if only == nil || only.MatchString(c.String()) {
					cases = append(cases, c)
				}
			}
		}
	}
	return cases
}
