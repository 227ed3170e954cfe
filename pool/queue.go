package pool

import (
	"time"

	"pooler/backend"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
)

// Borrower is the session that asks for a server session. Its methods run on its loop.
type Borrower interface {
	backend.Borrower
	// Lent: the lease that was waited for.
	Lent(l *Lease)
	// Refused: the wait has ended without one. err is ErrWaitTimeout, ErrStopped, ErrClosed, or why PostgreSQL let nobody in.
	Refused(err error)
	// StillWaiting: query_wait_notify has passed, and so many are ahead. Pool.Orders tells whether the pool is paused.
	StillWaiting(ahead int, waited time.Duration)
}

// Terms is how a session wants to be served. They never change: thousands of sessions share them.
type Terms struct {
	Eager  bool          // it will keep its conn: waiting for others' makes no sense
	New    bool          // pool_purity = new: its conn must be one that nobody has used
	Wait   time.Duration // query_wait_timeout; 0: for ever
	Notify time.Duration // query_wait_notify; 0: never
}

// Request is a session's place in the queue, used again for each of its waits. It belongs to its session; Terms is
// changed by Pool.SetTerms only.
type Request struct {
	Borrower Borrower
	Loop     *loop.Loop
	Settings *sessionstate.Settings // what the session wants in force; a conn that has it already is preferred
	Class    *Class
	Terms    *Terms
	Login    bool // only to settle a login, which uses a conn up no more than a look at it would
	Waited   bool // set by Acquire: there was no conn to be had at once
	Reused   bool // the session's own note: it has been lent a conn that others had used

	queued     bool // guarded by the pool's mu, as are all below
	notified   bool
	last       *Lease        // the lease held before this request: affinity
	since      time.Duration // on the manager's clock
	prev, next *Request
}

// queue is the waiting requests, first come first.
type queue struct {
	first, last *Request
	len         int
	eager       int  // of len, those whom no conn serves that others use: Terms.Eager, Terms.New
	fresh       int  // of those, with Terms.New
	emptied     bool // it has been empty since the flag was last cleared
}

func (q *queue) push(r *Request) {
	r.queued, r.prev, r.next = true, q.last, nil
	if q.last == nil {
		q.first = r
	} else {
		q.last.next = r
	}
	q.last = r
	q.count(r, 1)
}

func (q *queue) count(r *Request, n int) {
	q.len += n
	if r.Terms.Eager || r.Terms.New {
		q.eager += n
	}
	if r.Terms.New {
		q.fresh += n
	}
	if r.Class != nil {
		r.Class.waiting += n
	}
	q.emptied = q.emptied || q.len == 0
}

func (q *queue) pushFront(r *Request) {
	r.queued, r.prev, r.next = true, nil, q.first
	if q.first == nil {
		q.last = r
	} else {
		q.first.prev = r
	}
	q.first = r
	q.count(r, 1)
}

func (q *queue) pop() *Request {
	r := q.first
	if r != nil {
		q.remove(r)
	}
	return r
}

// popAll empties the queue.
func (q *queue) popAll() []*Request {
	all := make([]*Request, 0, q.len)
	for r := q.pop(); r != nil; r = q.pop() {
		all = append(all, r)
	}
	return all
}

func (q *queue) remove(r *Request) {
	if r.prev == nil {
		q.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		q.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.queued, r.prev, r.next = false, nil, nil
	q.count(r, -1)
}
