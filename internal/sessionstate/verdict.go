package sessionstate

// Boundary says when a server session goes back to the pool.
type Boundary uint8

// The boundaries, as pool_boundary names them.
const (
	BoundaryStatement   Boundary = iota // when it holds nothing of the client that cannot be carried to another
	BoundaryTransaction                 // at each transaction's end
	BoundarySession                     // when the client disconnects
)

// Facts is what the verdict on a leased conn rests on.
type Facts struct {
	Idle     bool // nothing owed, nothing half sent in either direction
	Status   byte // of the last ReadyForQuery: 'I', 'T' or 'E'
	Boundary Boundary
	Pins     PinSet
	Fenced   bool   // a cancel sent for it has not been closed by PostgreSQL yet
	More     bool   // further requests of the same client have been read already
	Tainted  bool   // it must not be lent again
	Doubts   bool   // PostgreSQL has to be asked what is left
	Discards PinSet // kinds of state that are discarded rather than kept
}

// Verdict is what may happen to a leased conn.
type Verdict uint8

// The verdicts.
const (
	Keep    Verdict = iota // the client keeps it
	Release                // it goes back as it is
	Clean                  // it goes back after its session state has been discarded
	Audit                  // PostgreSQL is asked what the session holds, then it is decided
	Retire                 // it is closed
)

// Decide is the only place that says whether a conn may leave its client. Unknown is never Release.
func Decide(f Facts) Verdict {
	switch {
	case f.Tainted && f.Idle && f.Status == 'I':
		return Retire
	case !f.Idle, f.Status != 'I', f.Fenced, f.More, f.Tainted:
		return Keep
	case f.Doubts:
		return Audit
	case f.Boundary == BoundarySession:
		return Keep
	case f.Pins == 0, f.Pins == PinUnnamed && f.Boundary == BoundaryTransaction:
		return Release
	case f.Boundary == BoundaryTransaction, f.Pins&^f.Discards == 0:
		return Clean
	}
	return Keep
}
