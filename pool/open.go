package pool

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"pooler/backend"
)

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
	p.arriving++
	p.failures, p.failure, p.retryAt = 0, nil, 0
	p.opened++
	l.res = res
	p.leases[l] = struct{}{}
	p.historic = max(p.historic, len(p.leases))
	l.born, l.usedAt, l.home = p.clock.now(), p.clock.now(), p.house.loops.next()
	if r := p.queue.first; r != nil {
		l.home = r.Loop
	}
	home := l.home
	p.growLocked()
	p.mu.Unlock()
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
		l.offer()
	})
}

// openFailed tells those who wait why, if there is no server session that could serve them, and backs off.
func (p *Pool) openFailed(err error) {
	p.house.budgets.give(p)
	p.mu.Lock()
	p.opening--
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
		for r := p.queue.pop(); r != nil; r = p.queue.pop() {
			refused = append(refused, r)
		}
	}
	server := addressOf(p.cfg)
	conversion := p.convertLocked(p.queue.first)
	closed := p.closed
	p.mu.Unlock()
	conversion.begin()
	if full {
		p.house.budgets.full(p, server)
	}
	if !closed {
		p.log.WarnContext(context.Background(), "cannot open a server session", "error", err, "clients_refused", len(refused), "retry_in", pause.String())
	}
	for _, r := range refused {
		r.Loop.Post(func() { r.Borrower.Refused(err) })
	}
}

// hopelessLocked tells whether those who wait are told of the last failure. When PostgreSQL has no place left, and other
// pools have sessions there, they go on waiting: one of those will be given up. A login that was cut off without a word may have met an
// administrator, or a restart: it is tried again first.
func (p *Pool) hopelessLocked() bool {
	switch {
	case len(p.leases) > 0, p.failure == nil:
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

func (p *Pool) dial(ctx context.Context) (*Lease, error) {
	p.mu.Lock()
	cfg, generation := p.cfg, p.generation
	p.mu.Unlock()
	c, err := p.house.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Lease{Conn: c, pool: p, generation: generation, early: rand.Float64() * lifetimeJitter}, nil
}

// lifetimeJitter is the part of server_lifetime by which a conn may go sooner, so that those that were opened together
// do not all go together.
const lifetimeJitter = 0.1

// destroy is puddle's destructor: it waits for PostgreSQL to end the session, and only then is the place free.
func (p *Pool) destroy(l *Lease) {
	l.Conn.Close()
	p.house.budgets.give(p)
	p.mu.Lock()
	p.closing--
	p.growLocked()
	p.mu.Unlock()
}
