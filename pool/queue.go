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
	// Refused: the wait has ended without one. err is ErrWaitTimeout, ErrClosed, or why PostgreSQL let nobody in.
	Refused(err error)
	// StillWaiting: query_wait_notify has passed, and so many are ahead.
	StillWaiting(ahead int, waited time.Duration)
}

// Request is a session's place in the queue, used again for each of its waits. It belongs to its session; while
// queued is true the fields below it belong to the pool.
type Request struct {
	Borrower Borrower
	Loop     *loop.Loop
	Settings *sessionstate.Settings // what the session wants in force; a conn that has it already is preferred
	Eager    bool                   // the session will keep its conn: waiting for others' makes no sense

	last       *Lease // the lease held before this request: affinity; guarded by the pool's mu
	queued     bool
	notified   bool
	since      time.Duration // on the manager's clock
	prev, next *Request
}

// queue is the waiting requests, first come first.
type queue struct {
	first, last *Request
	len         int
	eager       int  // of len
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
	if r.Eager {
		q.eager += n
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
