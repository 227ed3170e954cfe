// Package pool decides which server sessions exist and who gets which. puddle holds their existence (opening,
// counting, closing); the queue, the shelf and the limits are here. It never sees a message of the protocol.
package pool

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
)

// DialFunc opens a server session.
type DialFunc func(ctx context.Context, cfg config.Pool) (*backend.Conn, error)

// Pool is the server sessions of one database and user. Its methods may be called by any loop.
type Pool struct {
	log   *slog.Logger
	clock *clock
	loops *loopRing
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
	shelf      shelf
	queue      queue
	opening    int
	closing    int // retired, not yet ended by PostgreSQL
	closed     bool
	failures   int           // logins to PostgreSQL failed in a row
	failure    error         // the last of them
	retryAt    time.Duration // no login before this time
	awayUntil  time.Duration // before this time no conn is left idle, nor opened for MinSize
	growth     growth
	retired    map[backend.RetireReason]uint64
	requests   uint64
	hits       uint64 // requests served by the conn last held or one with the same settings
	waits      uint64
	waited     time.Duration
	timeouts   uint64
	opened     uint64
}

func newPool(cfg config.Pool, dial DialFunc, clock *clock, loops *loopRing, log *slog.Logger) (*Pool, error) {
	p := &Pool{
		Key:   Key{cfg.Database, cfg.User},
		log:   log.With("database", cfg.Database, "user", cfg.User),
		clock: clock, loops: loops, cfg: cfg,
		leases: map[*Lease]struct{}{}, retired: map[backend.RetireReason]uint64{},
	}
	conns, err := puddle.NewPool(&puddle.Config[*Lease]{
		Constructor: func(ctx context.Context) (*Lease, error) { return p.dial(ctx, dial) },
		Destructor:  p.destroy,
		MaxSize:     1 << 30, // puddle cannot be resized; the limit that counts is cfg.Size
	})
	p.conns = conns
	return p, err
}

// Acquire lends a conn to r, whose loop must call it. (nil, nil) means that r is queued, first come first served, and
// hears from its Borrower. The error is why there is none and will be none soon: PostgreSQL's own, or ErrClosed.
func (p *Pool) Acquire(r *Request) (*Lease, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	p.requests++
	l := p.chooseLocked(r)
	if l == nil {
		if len(p.leases)+p.opening == 0 && p.clock.now() < p.retryAt {
			err := p.failure
			p.mu.Unlock()
			return nil, err
		}
		r.since, r.notified = p.clock.now(), false
		p.queue.push(r)
		p.waits++
		p.growLocked()
		p.mu.Unlock()
		return nil, nil
	}
	p.shelf.remove(l)
	owner := l.home
	l.home = r.Loop
	l.giveLocked(r)
	p.mu.Unlock()
	if owner != r.Loop {
		owner.Post(func() { l.pull(r) })
		return nil, nil
	}
	l.Conn.Lend(r.Borrower)
	return l, nil
}

// chooseLocked picks an idle conn: the one r held last, so that a client mostly stays where it is; else one that no
// other client would come back to, on r's own loop, with r's settings, as far as there is a choice; else the warmest.
func (p *Pool) chooseLocked(r *Request) *Lease {
	if l := r.last; l != nil && l.idle && l.pool == p {
		p.hits++
		return l
	}
	const look = 16 // idle conns compared at most
	const free, near, same = 4, 2, 1
	best, bestScore := (*Lease)(nil), -1
	for l, n := p.shelf.first, 0; l != nil && n < look && bestScore < free+near+same; l, n = l.next, n+1 {
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
	if best != nil && bestScore&same != 0 {
		p.hits++
	}
	return best
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
	p.queue.pushFront(r)
	p.growLocked()
	p.mu.Unlock()
}

// granted notes the end of r's wait.
func (p *Pool) granted(r *Request) { p.waited += p.clock.now() - r.since }

// open is the life of one attempt to log in to PostgreSQL. puddle's Close waits for it.
func (p *Pool) open() {
	res, err := p.conns.Acquire(context.Background())
	if err != nil {
		p.openFailed(err)
		return
	}
	l := res.Value()
	p.mu.Lock()
	p.opening--
	p.failures, p.failure, p.retryAt = 0, nil, 0
	p.opened++
	l.res = res
	p.leases[l] = struct{}{}
	l.born, l.usedAt, l.home = p.clock.now(), p.clock.now(), p.loops.next()
	if r := p.queue.first; r != nil {
		l.home = r.Loop
	}
	home := l.home
	p.growLocked()
	p.mu.Unlock()
	home.Post(func() {
		if err := l.Conn.Start(home, l); err != nil {
			p.log.ErrorContext(context.Background(), "server session cannot be watched; it is closed", "error", err)
			l.Lost(backend.RetireLost)
			return
		}
		l.offer()
	})
}

// openFailed tells those who wait why, if there is no server session that could serve them, and backs off.
func (p *Pool) openFailed(err error) {
	p.mu.Lock()
	p.opening--
	p.failures++
	p.failure = err
	pause := min(50*time.Millisecond<<min(p.failures-1, 16), p.cfg.LoginRetry)
	pause = pause/2 + rand.N(pause/2+1) // jitter, so that pools do not retry in step
	p.retryAt = p.clock.now() + pause
	var refused []*Request
	if len(p.leases) == 0 {
		for r := p.queue.pop(); r != nil; r = p.queue.pop() {
			refused = append(refused, r)
		}
	}
	closed := p.closed
	p.mu.Unlock()
	if !closed {
		p.log.WarnContext(context.Background(), "cannot open a server session", "error", err, "clients_refused", len(refused), "retry_in", pause.String())
	}
	for _, r := range refused {
		r.Loop.Post(func() { r.Borrower.Refused(err) })
	}
}

func (p *Pool) dial(ctx context.Context, dial DialFunc) (*Lease, error) {
	p.mu.Lock()
	cfg, generation := p.cfg, p.generation
	p.mu.Unlock()
	c, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Lease{Conn: c, pool: p, generation: generation}, nil
}

// destroy is puddle's destructor: it waits for PostgreSQL to end the session, and only then is the place free.
func (p *Pool) destroy(l *Lease) {
	l.Conn.Close()
	p.mu.Lock()
	p.closing--
	p.growLocked()
	p.mu.Unlock()
}

// surplusLocked tells why l, which has just become free, must go rather than be lent again.
func (p *Pool) surplusLocked(l *Lease) backend.RetireReason {
	switch {
	case p.closed:
		return backend.RetireShutdown
	case l.generation != p.generation, len(p.leases)+p.opening > p.cfg.Size:
		return backend.RetireReconfigured
	case p.clock.now() < p.awayUntil && p.queue.len == 0:
		return backend.RetireInTheWay
	case l.used && p.clock.now()-l.born >= p.cfg.ServerLifetime: // 0: each is used once, as with PgBouncer
		return backend.RetireLifetime
	}
	return backend.NotRetired
}

// Reconfigure puts cfg in force. Server sessions opened for another server, database or user are replaced as they
// become free.
func (p *Pool) Reconfigure(cfg config.Pool) {
	p.mu.Lock()
	old := p.cfg
	p.cfg = cfg
	if old.Host != cfg.Host || old.Port != cfg.Port || old.DBName != cfg.DBName ||
		old.ServerUser != cfg.ServerUser || old.ServerPassword != cfg.ServerPassword || old.TCP != cfg.TCP {
		p.generation++
		p.retryAt = 0
	}
	p.growLocked()
	p.mu.Unlock()
}

// Leave ends the use of the pool (Manager.Join) by the session that asked with r.
func (p *Pool) Leave(r *Request) {
	p.mu.Lock()
	if l := r.last; l != nil && l.holder == r {
		l.holder = nil
	}
	r.last = nil
	p.mu.Unlock()
	p.sessions.Add(-1)
}

// GiveUp closes the idle conns at once, because they are in the way of a statement, and for a while those that become
// idle.
func (p *Pool) GiveUp() {
	p.mu.Lock()
	p.awayUntil = p.clock.now() + giveUpTime
	p.mu.Unlock()
	p.retireIdle(func(*Lease, int) backend.RetireReason { return backend.RetireInTheWay })
}

// giveUpTime is longer than PostgreSQL waits for the users of a database to go (CountOtherDBBackends: 5 s).
const giveUpTime = 6 * time.Second

// Renew replaces the conns, idle ones at once, others as they become free: what a new session begins with has changed.
func (p *Pool) Renew() {
	p.mu.Lock()
	p.generation++
	p.mu.Unlock()
	p.retireIdle(func(l *Lease, _ int) backend.RetireReason { return p.surplusLocked(l) })
}

// Wanted tells whether somebody waits for a conn.
func (p *Pool) Wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.len > 0
}

// unused tells whether the pool could be forgotten.
func (p *Pool) unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions.Load() == 0 && len(p.leases)+p.opening+p.closing+p.queue.len == 0 &&
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
	var refused []*Request
	for r := p.queue.pop(); r != nil; r = p.queue.pop() {
		refused = append(refused, r)
	}
	p.mu.Unlock()
	for _, r := range refused {
		r.Loop.Post(func() { r.Borrower.Refused(ErrClosed) })
	}
	p.retireIdle(func(*Lease, int) backend.RetireReason { return backend.RetireShutdown })
	p.conns.Close()
}

// retireIdle closes the idle conns for which why gives a reason, least recently used first. why is told how many
// server sessions the pool has, without those it has condemned.
func (p *Pool) retireIdle(why func(l *Lease, total int) backend.RetireReason) {
	type victim struct {
		lease  *Lease
		reason backend.RetireReason
	}
	var victims []victim
	p.mu.Lock()
	for l := p.shelf.last; l != nil; {
		before := l.prev
		if reason := why(l, len(p.leases)-len(victims)); reason != backend.NotRetired {
			p.shelf.remove(l) // off the shelf at once, so that nobody is lent it meanwhile
			victims = append(victims, victim{l, reason})
		}
		l = before
	}
	p.mu.Unlock()
	for _, v := range victims {
		v.lease.home.Post(func() { v.lease.Conn.Retire(v.reason) })
	}
}
