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
	Fenced   bool // a cancel sent for it has not been closed by PostgreSQL yet
	More     bool // further requests of the same client have been read already
	Tainted  bool // it must not be lent again
}

// Verdict is what may happen to a leased conn.
type Verdict uint8

// The verdicts.
const (
	Keep    Verdict = iota // the client keeps it
	Release                // it goes back as it is
	Clean                  // it goes back after its session state has been discarded
	Retire                 // it is closed
)

// Decide is the only place that says whether a conn may leave its client. Unknown is never Release.
func Decide(f Facts) Verdict {
	switch {
	case f.Tainted && f.Idle && f.Status == 'I':
		return Retire
	case !f.Idle, f.Status != 'I', f.Fenced, f.More, f.Tainted:
		return Keep
	case f.Boundary == BoundarySession:
		return Keep
	case f.Pins == 0:
		return Release
	case f.Boundary == BoundaryTransaction:
		return Clean
	}
	return Keep
}
