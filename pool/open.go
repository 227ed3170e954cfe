package pool

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/journal"
)

// attempt is one login to PostgreSQL, from when it is wanted. Guarded by Pool.mu, but for ctx and cfg once it has begun.
type attempt struct {
	since      time.Duration // on the manager's clock
	abandoned  bool          // what becomes of it counts for nothing
	generation int
	cfg        config.Pool
	ctx        context.Context // of the dialing, which cannot be puddle's: that one would keep a conn that comes too late
	cancel     context.CancelFunc
}

// attemptKey is under which the constructor finds its attempt in the context.
type attemptKey struct{}

// open is the life of an attempt, once it is its turn to log in. puddle's Close waits for it.
func (p *Pool) open(a *attempt) {
	if !p.begin(a) {
		return
	}
	defer a.cancel()
	res, err := p.conns.Acquire(context.WithValue(context.Background(), attemptKey{}, a))
	if err != nil {
		p.openFailed(a, err)
		return
	}
	l := res.Value()
	p.mu.Lock()
	delete(p.attempts, a)
	p.arriving++
	p.failures, p.failure, p.retryAt = 0, nil, 0
	p.opened++
	l.res = res
	p.leases[l] = struct{}{}
	l.born, l.since, l.home = p.clock.now(), p.clock.now(), p.house.loops.next()
	if n := len(p.leases); n > p.historic {
		p.historic, p.historicAt = n, l.born
	}
	if r := p.queue.first; r != nil {
		l.home = r.Loop
	}
	home := l.home
	p.growLocked()
	p.mu.Unlock()
	l.establish(journal.Connect, "", 0, 0)
	home.Post(func() {
		err := l.Conn.Start(home, l)
		p.mu.Lock()
		p.arriving--
		p.mu.Unlock()
		if err != nil {
			p.log.ErrorContext(context.Background(), "server session cannot be watched; it is closed", "error", err)
			l.Lost(backend.RetireLost)
			return
		}
		l.at.Store(home)
		l.offer()
	})
}

// begin settles what a logs in to. It reports false when nobody wants it any more.
func (p *Pool) begin(a *attempt) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.abandoned {
		return false
	}
	a.cfg, a.generation = p.cfg, p.generation
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return true
}

// abandonLocked gives up the logins that have begun. Each ends soon, counts until then, and its failure is nobody's.
func (p *Pool) abandonLocked() {
	for a := range p.attempts {
		if a.cancel != nil {
			a.abandoned = true
			a.cancel()
		}
	}
}

// openFailed tells those who wait why, if there is no server session that could serve them, and backs off.
func (p *Pool) openFailed(a *attempt, err error) {
	p.house.budgets.give(p)
	p.mu.Lock()
	delete(p.attempts, a)
	if a.abandoned {
		p.growLocked()
		p.mu.Unlock()
		return
	}
	p.failures++
	p.failure = err
	full, longest := isFull(err), p.cfg.LoginRetry
	if full {
		longest = min(longest, time.Second)
	}
	pause := min(50*time.Millisecond<<min(p.failures-1, 16), longest)
	pause = pause/2 + rand.N(pause/2+1) // jitter, so that pools do not retry in step
	p.retryAt = p.clock.now() + pause
	var refused []*Request
	if p.hopelessLocked() {
		refused = p.queue.popAll()
	}
	if full {
		p.house.budgets.full(p, addressOf(p.cfg))
	}
	conversion := p.convertLocked(p.queue.first)
	closed := p.closed
	p.mu.Unlock()
	conversion.begin()
	if !closed {
		p.log.WarnContext(context.Background(), "cannot open a server session", "error", err, "clients_refused", len(refused), "retry_in", pause.String())
		p.reportRefused(a, err, len(refused), pause)
	}
	refuse(refused, err)
}

// hopelessLocked tells whether those who wait are told of the last failure. While the pool is paused they are not. When
// PostgreSQL has no place left, and other pools have sessions there, they go on waiting: one of those will be given up.
// A login that was cut off without a word may have met an administrator, or a restart: it is tried again first.
func (p *Pool) hopelessLocked() bool {
	switch {
	case p.orders.Paused, len(p.leases) > 0, p.failure == nil:
		return false
	case isFull(p.failure):
		return !p.house.budgets.sharesServer(p)
	}
	return !cutOff(p.failure) || p.failures > cutOffTries
}

// isFull tells whether err is PostgreSQL's word that it takes no more connections, for now.
func isFull(err error) bool {
	var refusal *backend.ServerError
	return errors.As(err, &refusal) && refusal.Response.Code == "53300" // too_many_connections
}

// cutOffTries is how many logins in a row may be cut off before those who wait are told.
const cutOffTries = 2

// cutOff tells whether the connection ended in the middle of a login.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// dial is puddle's constructor.
func (p *Pool) dial(ctx context.Context) (*Lease, error) {
	a := ctx.Value(attemptKey{}).(*attempt)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	c, err := p.house.dial(ctx, a.cfg)
	if err != nil {
		return nil, err
	}
	return &Lease{Conn: c, pool: p, generation: a.generation, early: rand.Float64() * lifetimeJitter}, nil
}

// lifetimeJitter is the part of server_lifetime by which a conn may go sooner, so that those that were opened together
// do not all go together.
const lifetimeJitter = 0.1

// destroy is puddle's destructor: it waits for PostgreSQL to end the session, and only then is the place free.
func (p *Pool) destroy(l *Lease) {
	l.Conn.Close()
	p.house.budgets.give(p)
	p.mu.Lock()
	delete(p.leaving, l)
	p.growLocked()
	p.mu.Unlock()
}
