// Package pool decides which server sessions exist and who gets which. puddle holds their existence (opening,
// counting, closing); the queue, the shelf and the limits are here. It never sees a message of the protocol.
package pool

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/puddle/v2"

	"pooler/backend"
	"pooler/config"
)

// Why a wait ended without a server session.
var (
	ErrWaitTimeout = errors.New("no server session became free within query_wait_timeout")
	ErrClosed      = errors.New("the pool is closed")
	ErrStopped     = errors.New("the pool is stopped")
)

// DialFunc opens a server session.
type DialFunc func(ctx context.Context, cfg config.Pool) (*backend.Conn, error)

// Pool is the server sessions of one database and user. Its methods may be called by any loop.
type Pool struct {
	log   *slog.Logger
	clock *clock
	house *house
	conns *puddle.Pool[*Lease] // every resource is acquired while it exists: which one is idle is our affair

	Key      Key
	sessions atomic.Int64 // that use the pool

	// What its clients have been seen to do, noted by their sessions.
	ReadsSequences  atomic.Bool  // they use currval or lastval
	UnreadSequences atomic.Int32 // calls of nextval, as long as nobody has read
	UnreadInserts   atomic.Int32 // inserts in a row behind which nobody has read
	Replaced        atomic.Int64 // until when replacing server sessions for what is another's has used its budget up, in ns
	Suspicions      atomic.Int64 // statements still to be audited, because one has left state that no text shows

	mu         sync.Mutex // guards all below; never held while a borrower or a conn is called
	cfg        config.Pool
	generation int // counts changes of cfg that need new server sessions
	leases     map[*Lease]struct{}
	classes    map[string]*Class
	blank      shelf // idle conns that belong to no class, because nothing is left in them
	idle       int   // on all shelves
	queue      queue
	attempts   map[*attempt]struct{} // to open further ones
	arriving   int                   // opened, and not at anybody's disposal yet
	leaving    map[*Lease]struct{}   // retired, not yet ended by PostgreSQL
	cleaning   int                   // for clients of another class
	going      int                   // of leases, on their way to leaving
	orders     Orders                // in force for it; changed by order only
	reserving  bool                  // reserve_pool_size is in use
	capped     bool                  // a limit that spans several pools is in the way; the arbiter says when it is not
	cede       int                   // conns to be given up for other pools as they become free
	closed     bool
	failures   int           // logins to PostgreSQL failed in a row
	failure    error         // the last of them
	retryAt    time.Duration // no login before this time
	awayUntil  time.Duration // before this time no conn is left idle, nor opened for MinSize
	growth     growth
	retired    map[backend.RetireReason]uint64
	tally      tally
	opened     uint64
	historic   int           // most server sessions at once
	historicAt time.Duration // since when

	slots  int             // server sessions that the budgets count for it; guarded by their mutex, as is server
	server backend.Address // PostgreSQL's
}

func newPool(cfg config.Pool, h *house, log *slog.Logger) (*Pool, error) {
	p := &Pool{
		Key:   Key{cfg.Database, cfg.User},
		log:   log.With("database", cfg.Database, "user", cfg.User),
		clock: &h.clock, house: h, cfg: cfg, server: addressOf(cfg),
		leases: map[*Lease]struct{}{}, attempts: map[*attempt]struct{}{}, leaving: map[*Lease]struct{}{}, classes: map[string]*Class{}, retired: map[backend.RetireReason]uint64{},
	}
	conns, err := puddle.NewPool(&puddle.Config[*Lease]{
		Constructor: p.dial,
		Destructor:  p.destroy,
		MaxSize:     1 << 30, // puddle cannot be resized; the limits that count are cfg.Size and the budgets
	})
	p.conns = conns
	return p, err
}

// join counts one more session of a class.
func (p *Pool) join(class string) *Class {
	p.sessions.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joinLocked(class)
}

// Acquire lends a conn to r, whose loop must call it. (nil, nil) means that r is queued, first come first served, and
// hears from its Borrower. The error is why there is none and will be none soon: PostgreSQL's own, ErrStopped or
// ErrClosed.
func (p *Pool) Acquire(r *Request) (*Lease, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if p.orders.Stopped {
		p.mu.Unlock()
		return nil, ErrStopped
	}
	p.countLocked(r)
	l := p.chooseLocked(r)
	if r.Waited = l == nil; r.Waited {
		if p.totalLocked() == 0 && p.clock.now() < p.retryAt && p.hopelessLocked() {
			err := p.failure
			p.mu.Unlock()
			return nil, err
		}
		r.since, r.notified = p.clock.now(), false
		p.queue.push(r)
		if !r.Login {
			p.tally.waits++
			r.Class.tally.waits++
		}
		p.growLocked()
		conversion := p.convertLocked(r)
		p.mu.Unlock()
		conversion.begin()
		return nil, nil
	}
	p.unshelveLocked(l)
	owner := l.home
	l.home = r.Loop
	l.giveLocked(r)
	if owner != r.Loop { // it may still fail to come, and then the wait has begun here
		r.since, r.notified = l.since, false
	}
	p.mu.Unlock()
	if owner != r.Loop {
		owner.Post(func() { l.pull(r) })
		return nil, nil
	}
	l.Conn.Lend(r.Borrower)
	return l, nil
}

// countLocked counts r's request, unless it is a login.
func (p *Pool) countLocked(r *Request) {
	if !r.Login {
		p.tally.requests++
		r.Class.tally.requests++
	}
}

// Keep tells the pool that r's session, which was lent l for its login, goes on with it.
func (p *Pool) Keep(l *Lease, r *Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.countLocked(r)
	l.giveLocked(r)
}

// chooseLocked picks an idle conn that suits r: the one r held last, so that a client mostly stays where it is; else
// one of r's class that no other client would come back to, on r's own loop, with r's settings, as far as there is a
// choice; else one in which nothing of anybody is left; else one that another client would come back to.
func (p *Pool) chooseLocked(r *Request) *Lease {
	if p.orders.Paused {
		return nil
	}
	if r.Terms.New {
		for l := p.blank.first; l != nil; l = l.next {
			if suits(l, r) {
				return l
			}
		}
		return nil
	}
	if l := r.last; l != nil && l.state == ServerIdle && l.pool == p && suits(l, r) {
		return l
	}
	const look = 16 // idle conns compared at most
	const free, near, same = 4, 2, 1
	best, bestScore := (*Lease)(nil), -1
	for l, n := r.Class.shelf.first, 0; l != nil && n < look && bestScore < free+near+same; l, n = l.next, n+1 {
		score := 0
		if l.holder == nil {
			score += free
		}
		if l.home == r.Loop {
			score += near
		}
		if l.Conn.Settings.Equal(r.Settings) {
			score += same
		}
		if score > bestScore {
			best, bestScore = l, score
		}
	}
	if p.blank.first != nil && bestScore < free {
		return p.blank.first
	}
	return best
}

// SetTerms changes how r's session is served, also while it waits.
func (p *Pool) SetTerms(r *Request, terms *Terms) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.queued {
		emptied := p.queue.emptied
		p.queue.count(r, -1)
		r.Terms = terms
		p.queue.count(r, 1)
		p.queue.emptied = emptied
		p.growLocked()
		return
	}
	r.Terms = terms
}

// Withdraw takes r out of the queue. It reports false when r is not queued: then Lent or Refused is on its way, or
// nothing was asked.
func (p *Pool) Withdraw(r *Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.queued {
		return false
	}
	p.queue.remove(r)
	return true
}

// requeue puts r in front again, after the conn meant for it has died on the way.
func (p *Pool) requeue(r *Request) {
	p.mu.Lock()
	if p.orders.Stopped {
		p.mu.Unlock()
		refuse([]*Request{r}, ErrStopped)
		return
	}
	p.queue.pushFront(r)
	p.growLocked()
	p.mu.Unlock()
}

// refuse tells those whose wait has ended without a conn.
func refuse(requests []*Request, err error) {
	for _, r := range requests {
		r.Loop.Post(func() { r.Borrower.Refused(err) })
	}
}

// grantedLocked notes the end of r's wait.
func (p *Pool) grantedLocked(r *Request) {
	if r.Login {
		return
	}
	waited := p.clock.now() - r.since
	p.tally.waited += waited
	r.Class.tally.waited += waited
}

// Reconfigure puts cfg in force. Server sessions opened for another server, database or user, or protected otherwise, and
// those beyond a smaller size, are closed, idle ones at once, others as they become free.
func (p *Pool) Reconfigure(cfg config.Pool) {
	p.mu.Lock()
	old := p.cfg
	p.cfg = cfg
	if old.Host != cfg.Host || old.Port != cfg.Port || old.DBName != cfg.DBName || old.ServerUser != cfg.ServerUser ||
		old.ServerPassword != cfg.ServerPassword || old.TLS != cfg.TLS || old.RequireAuth != cfg.RequireAuth || old.TCP != cfg.TCP || old.Callbacks != cfg.Callbacks {
		p.renewLocked()
	}
	p.house.budgets.move(p, addressOf(cfg))
	p.house.logins(cfg).SetLimit(cfg.LoginsAtOnce)
	p.growLocked()
	conversion := p.convertLocked(p.queue.first)
	p.mu.Unlock()
	conversion.begin()
	p.retireIdle(p.surplusLocked)
}

// Leave ends the use of the pool (Manager.Join) by the session that asked with r.
func (p *Pool) Leave(r *Request) {
	p.mu.Lock()
	if l := r.last; l != nil && l.holder == r {
		l.holder = nil
	}
	r.last = nil
	r.Class.sessions--
	p.dropClassLocked(r.Class)
	p.mu.Unlock()
	p.sessions.Add(-1)
}

// GiveUp closes the idle conns at once, because they are in the way of a statement, and for a while those that become
// idle.
func (p *Pool) GiveUp() {
	p.mu.Lock()
	p.awayUntil = p.clock.now() + giveUpTime
	p.mu.Unlock()
	p.retireIdle(func(*Lease) backend.RetireReason { return backend.RetireInTheWay })
}

// giveUpTime is longer than PostgreSQL waits for the users of a database to go (CountOtherDBBackends: 5 s).
const giveUpTime = 6 * time.Second

// Renew replaces the conns, idle ones at once, others as they become free: what a new session begins with has changed.
func (p *Pool) Renew() {
	p.mu.Lock()
	p.renewLocked()
	p.growLocked()
	p.mu.Unlock()
	p.retireIdle(p.surplusLocked)
}

// TryAgain ends a pause between logins to PostgreSQL, if the last has failed for want of a proof: there is something new to
// log in with.
func (p *Pool) TryAgain() {
	p.mu.Lock()
	if backend.Unproven(p.failure) {
		p.retryAt, p.failure = 0, nil
		p.growLocked()
	}
	p.mu.Unlock()
}

// renewLocked begins another generation of conns. Logins that are under way are given up: they may go where nobody is
// any more, and would be waited for until they fail.
func (p *Pool) renewLocked() {
	p.generation++
	p.retryAt = 0
	p.abandonLocked()
}

// Wanted tells whether those who hold a conn for comfort only should give it back: somebody waits for one, or they are
// all to be closed.
func (p *Pool) Wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.len > 0 || p.orders.hold()
}

// unused tells whether the pool could be forgotten.
func (p *Pool) unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions.Load() == 0 && p.totalLocked()+p.queue.len == 0 &&
		p.cfg.MinSize == 0 && p.clock.now() >= p.retryAt
}

// Config is the configuration in force.
func (p *Pool) Config() config.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

// close refuses everybody and closes what is idle; what is lent is closed as it comes back. It returns once all are
// closed.
func (p *Pool) close() {
	p.mu.Lock()
	p.closed = true
	p.growth.stop()
	refused := p.queue.popAll()
	p.mu.Unlock()
	refuse(refused, ErrClosed)
	p.retireIdle(func(*Lease) backend.RetireReason { return backend.RetireShutdown })
	p.conns.Close()
}
