package pool

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/puddle/v2"

	"pooler/backend"
	"pooler/internal/loop"
)

// Lease is a server session as the pool knows it: on a shelf, or lent. There is one for the life of each conn, so
// lending allocates nothing. The session that was lent it calls Release, Reclaim or Conn.Retire, once, on its loop.
type Lease struct {
	Conn *backend.Conn

	pool       *Pool
	res        *puddle.Resource[*Lease]
	home       *loop.Loop    // owns Conn; guarded by pool.mu, as are all below
	class      *Class        // whose clients have used it; nil: nothing of anybody is left in it
	state      ServerState   // changed by enterLocked only
	since      time.Duration // of the state, on the manager's clock, as is born
	spent      bool          // its last borrower had pool_purity = new
	uses       int           // times it was lent
	generation int           // of the configuration it was opened under
	born       time.Duration
	early      float64  // by which part of its lifetime it goes sooner than others
	holder     *Request // of the session that held it last, if that may come back
	prev, next *Lease   // on the shelf, most recently used first

	at     atomic.Pointer[loop.Loop] // that Conn is on; nil on the way between two. Only that loop's thread changes it
	killed atomic.Bool               // it is to be closed wherever it is (Manager.Disconnect)
}

// ServerState is what a server session is doing.
type ServerState uint8

// The states.
const (
	ServerOpening    ServerState = iota // being logged in, or not at anybody's disposal yet
	ServerIdle                          // nobody holds it
	ServerActive                        // lent
	ServerReclaiming                    // its client has gone; it is rolled back and cleaned
	ServerCleaning                      // cleaned for a client of another class
	ServerClosing                       // on its way out; PostgreSQL has not ended it yet
	serverStates
)

var serverStateNames = [serverStates]string{"opening", "idle", "active", "reclaiming", "cleaning", "closing"}

// String is the state as views show it.
func (s ServerState) String() string { return serverStateNames[s] }

// enterLocked is the only way the state of a server session changes.
func (l *Lease) enterLocked(next ServerState) {
	p := l.pool
	if l.state == ServerCleaning {
		p.cleaning--
	}
	if next == ServerCleaning {
		p.cleaning++
	}
	if l.state == ServerClosing {
		p.going--
	}
	if next == ServerClosing {
		p.going++
	}
	l.state, l.since = next, p.clock.now()
}

// Release gives back a conn on which nothing of its borrower is left.
func (l *Lease) Release() {
	l.Conn.Return()
	l.offer()
}

// Reclaim gives back a conn in whatever state its borrower leaves it; see backend.Conn.Reclaim.
func (l *Lease) Reclaim(left backend.Leftovers) {
	p := l.pool
	p.mu.Lock()
	l.enterLocked(ServerReclaiming)
	p.mu.Unlock()
	l.Conn.Reclaim(left)
}

// Reclaimed implements backend.Keeper.
func (l *Lease) Reclaimed() { l.Release() }

// HookFailed implements backend.Keeper.
func (l *Lease) HookFailed(fault string) {
	l.pool.log.WarnContext(context.Background(), "on_release has failed for a client that has gone", "fault", fault, "server_pid", l.Conn.PID)
}

// Lost implements backend.Keeper: the conn is closed for good, and its place is free once PostgreSQL has ended the
// session.
func (l *Lease) Lost(reason backend.RetireReason) {
	p := l.pool
	p.mu.Lock()
	use, uses := l.useLocked(), l.uses
	if l.state == ServerIdle {
		p.unshelveLocked(l)
	}
	if r := l.holder; r != nil && r.last == l {
		r.last = nil
	}
	l.holder = nil
	l.enterLocked(ServerClosing)
	p.assignLocked(l, nil)
	delete(p.leases, l)
	p.going--
	p.leaving[l] = struct{}{}
	p.retired[reason]++
	var refused []*Request
	var gone error
	if reason == backend.RetireLost {
		refused, gone = p.bereavedLocked(l)
	}
	p.mu.Unlock()
	if reason == backend.RetireLost {
		l.noteLost(use)
	}
	l.reportClosed(reason, use, uses)
	refuse(refused, gone)
	p.log.DebugContext(context.Background(), "server session closed", "conn_id", uint64(l.Conn.ID), "server_pid", l.Conn.PID, "reason", reason.String())
	l.res.Destroy()
}

// offer puts a clean conn at the disposal of the first waiter whom it suits, else on the shelf.
func (l *Lease) offer() {
	p := l.pool
	p.mu.Lock()
	reason := p.surplusLocked(l)
	l.enterLocked(ServerClosing) // unless somebody gets it, or a shelf
	if reason == backend.NotRetired {
		r, next := p.placeLocked(l)
		switch next {
		case placeLend:
			p.lendLocked(l, r) // unlocks
			return
		case placeShelve:
			p.shelveLocked(l)
		case placeClean:
			p.mu.Unlock()
			conversion{l, true}.begin()
			return
		case placeRetire:
			reason = backend.RetirePurity
		}
	}
	p.mu.Unlock()
	if reason != backend.NotRetired {
		l.Conn.Retire(reason)
	}
}

// lendLocked takes r out of the queue and lends it l. It unlocks the pool.
func (p *Pool) lendLocked(l *Lease, r *Request) {
	p.queue.remove(r)
	p.grantedLocked(r)
	l.giveLocked(r)
	move := l.home != r.Loop
	if move {
		l.home = r.Loop
	}
	p.mu.Unlock()
	l.handTo(r, move)
}

// placement is what becomes of a conn that has become free.
type placement uint8

const (
	placeShelve placement = iota
	placeLend
	placeClean  // for another class, whose client waits and has no other chance
	placeRetire // its place is needed for a conn that nobody has used, or nobody wants it
)

// classPatience is how long the first in the queue waits while conns of another class go to that class's own clients.
const classPatience = 2 * tick

// queueLook is how many in the queue are looked at for one whom a conn suits.
const queueLook = 256

// placeLocked decides about l, which has just become free, and to whom it goes.
func (p *Pool) placeLocked(l *Lease) (*Request, placement) {
	head := p.queue.first
	if head != nil && suits(l, head) {
		return head, placeLend
	}
	var other *Request
	for r, n := head, 0; r != nil && n < queueLook; r, n = r.next, n+1 {
		if suits(l, r) {
			other = r
			break
		}
	}
	switch {
	case head != nil && p.stuckLocked(head) && (other == nil || p.clock.now()-head.since > classPatience):
		if head.Terms.New {
			return nil, placeRetire
		}
		p.cleanLocked(l)
		return nil, placeClean
	case other != nil:
		return other, placeLend
	case l.spent:
		return nil, placeRetire
	}
	return nil, placeShelve
}

// stuckLocked tells whether r, the first in the queue, will get no conn unless one that does not suit it is cleaned
// or makes room.
func (p *Pool) stuckLocked(r *Request) bool {
	coming := len(p.attempts) + p.cleaning
	if r.Terms.New {
		coming = len(p.attempts) + len(p.leaving)
	}
	return coming == 0 && p.roomLocked() == 0
}

// cleanLocked notes that l, which is not on a shelf, is being cleaned for another class. conversion.begin does it.
func (p *Pool) cleanLocked(l *Lease) {
	p.assignLocked(l, nil)
	l.spent = false
	l.enterLocked(ServerCleaning)
}

// conversion is an idle conn that is to be cleaned for another class, or closed to make room.
type conversion struct {
	lease *Lease // nil: none
	clean bool
}

// convertLocked finds r, which waits, an idle conn that does not suit it as it is, if there is no room for another.
// The caller begins the conversion without the lock.
func (p *Pool) convertLocked(r *Request) conversion {
	if r == nil || p.idle == 0 || p.orders.hold() || p.roomLocked() > 0 {
		return conversion{}
	}
	clean := !r.Terms.New
	opening := len(p.attempts)
	if clean && opening+p.cleaning >= p.queue.len-p.queue.fresh || !clean && opening+len(p.leaving) >= p.queue.fresh {
		return conversion{}
	}
	l := p.longestIdleLocked(func(l *Lease) bool { return !suits(l, r) })
	if l == nil {
		return conversion{}
	}
	p.unshelveLocked(l)
	if clean {
		p.cleanLocked(l)
	}
	return conversion{l, clean}
}

// begin carries the conversion out, on the conn's loop.
func (c conversion) begin() {
	if c.lease == nil {
		return
	}
	c.lease.home.Post(func() {
		switch l := c.lease; {
		case !l.Conn.Alive():
		case c.clean:
			l.Conn.Reclaim(backend.Leftovers{Dirty: true})
		default:
			l.Conn.Retire(backend.RetirePurity)
		}
	})
}

// handTo lends l to r. It runs on the loop that owns the conn, which moves it to r's loop if that is another one.
func (l *Lease) handTo(r *Request, move bool) {
	if !move {
		l.lend(r)
		return
	}
	l.at.Store(nil)
	l.Conn.Detach()
	r.Loop.Post(func() {
		if err := l.Conn.Join(r.Loop); err != nil {
			l.Conn.Retire(backend.RetireLost)
			l.pool.requeue(r)
			return
		}
		l.at.Store(r.Loop)
		if l.killed.Load() { // on its way, where Disconnect's letter could not reach it
			l.Conn.Retire(backend.RetireKilled)
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
	r.last, l.holder = l, r
	l.enterLocked(ServerActive)
	if r.Login {
		return
	}
	if l.class == r.Class && !r.Terms.New {
		l.pool.tally.hits++
		r.Class.tally.hits++
	} else {
		l.pool.tally.misses++
		r.Class.tally.misses++
	}
	l.pool.assignLocked(l, r.Class)
	l.spent = r.Terms.New
	l.uses++
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

// shelf is idle leases, most recently used first.
type shelf struct {
	first, last *Lease
}

func (s *shelf) push(l *Lease) {
	l.prev, l.next = nil, s.first
	if s.first == nil {
		s.last = l
	} else {
		s.first.prev = l
	}
	s.first = l
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
	l.prev, l.next = nil, nil
}
