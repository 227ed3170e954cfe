package pool

import (
	"context"
	"time"

	"github.com/jackc/puddle/v2"

	"pooler/backend"
	"pooler/internal/loop"
)

// Lease is a server session as the pool knows it: on the shelf, or lent. There is one for the life of each conn, so
// lending allocates nothing. The session that was lent it calls Release, Reclaim or Conn.Retire, once, on its loop.
type Lease struct {
	Conn *backend.Conn

	pool       *Pool
	res        *puddle.Resource[*Lease]
	home       *loop.Loop    // owns Conn; guarded by pool.mu, as are all below
	idle       bool          // on the shelf
	used       bool          // has been lent
	generation int           // of the configuration it was opened under
	born       time.Duration // on the manager's clock, as is usedAt
	usedAt     time.Duration
	reclaiming time.Duration // since when; 0: not
	holder     *Request      // of the session that held it last, if that may come back
	prev, next *Lease        // on the shelf, most recently used first
}

// Release gives back a conn on which nothing of its borrower is left.
func (l *Lease) Release() {
	l.Conn.Return()
	l.offer()
}

// Reclaim gives back a conn in whatever state its borrower leaves it; see backend.Conn.Reclaim.
func (l *Lease) Reclaim(dirty, cancel, halfSent bool) {
	p := l.pool
	p.mu.Lock()
	l.reclaiming = p.clock.now()
	p.mu.Unlock()
	l.Conn.Reclaim(dirty, cancel, halfSent)
}

// Reclaimed implements backend.Keeper.
func (l *Lease) Reclaimed() {
	p := l.pool
	p.mu.Lock()
	l.reclaiming = 0
	p.mu.Unlock()
	l.Release()
}

// Lost implements backend.Keeper: the conn is closed for good, and its place is free once PostgreSQL has ended the
// session.
func (l *Lease) Lost(reason backend.RetireReason) {
	p := l.pool
	p.mu.Lock()
	if l.idle {
		p.shelf.remove(l)
	}
	if r := l.holder; r != nil && r.last == l {
		r.last = nil
	}
	l.reclaiming, l.holder = 0, nil
	delete(p.leases, l)
	p.closing++
	p.retired[reason]++
	p.mu.Unlock()
	p.log.DebugContext(context.Background(), "server session closed", "conn_id", uint64(l.Conn.ID), "server_pid", l.Conn.PID, "reason", reason.String())
	l.res.Destroy()
}

// offer puts a clean conn at the disposal of the first waiter, else on the shelf.
func (l *Lease) offer() {
	p := l.pool
	p.mu.Lock()
	if reason := p.surplusLocked(l); reason != backend.NotRetired {
		p.mu.Unlock()
		l.Conn.Retire(reason)
		return
	}
	l.usedAt = p.clock.now()
	r := p.queue.pop()
	if r == nil {
		p.shelf.push(l)
		p.mu.Unlock()
		return
	}
	p.granted(r)
	l.giveLocked(r)
	move := l.home != r.Loop
	if move {
		l.home = r.Loop
	}
	p.mu.Unlock()
	l.handTo(r, move)
}

// handTo lends l to r. It runs on the loop that owns the conn, which moves it to r's loop if that is another one.
func (l *Lease) handTo(r *Request, move bool) {
	if !move {
		l.lend(r)
		return
	}
	l.Conn.Detach()
	r.Loop.Post(func() {
		if err := l.Conn.Join(r.Loop); err != nil {
			l.Conn.Retire(backend.RetireLost)
			l.pool.requeue(r)
			return
		}
		l.lend(r)
	})
}

// giveLocked notes that l goes to r.
func (l *Lease) giveLocked(r *Request) {
	if old := r.last; old != nil && old != l && old.holder == r {
		old.holder = nil
	}
	r.last, l.holder, l.used = l, r, true
}

func (l *Lease) lend(r *Request) {
	l.Conn.Lend(r.Borrower)
	r.Borrower.Lent(l)
}

// pull fetches an idle conn that another loop owns. It runs on that loop.
func (l *Lease) pull(r *Request) {
	if !l.Conn.Alive() {
		l.pool.requeue(r)
		return
	}
	l.handTo(r, true)
}

// shelf is the idle leases, most recently used first.
type shelf struct {
	first, last *Lease
	len         int
}

func (s *shelf) push(l *Lease) {
	l.idle, l.prev, l.next = true, nil, s.first
	if s.first == nil {
		s.last = l
	} else {
		s.first.prev = l
	}
	s.first = l
	s.len++
}

func (s *shelf) remove(l *Lease) {
	if l.prev == nil {
		s.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		s.last = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.idle, l.prev, l.next = false, nil, nil
	s.len--
}
