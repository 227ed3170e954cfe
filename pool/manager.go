package pool

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/gate"
	"pooler/internal/journal"
	"pooler/internal/loop"
)

// Key names a pool: what its clients asked for.
type Key struct{ Database, User string }

// Manager holds the pools. It may be used by any goroutine.
type Manager struct {
	house
	log  *slog.Logger
	stop chan struct{}
	done sync.WaitGroup

	shrinking atomic.Bool // limits that span pools may have become narrower than what there is

	forgotten func(config.Pool) // called for a pool that is forgotten; set before the first is made

	mu     sync.Mutex // guards all below; taken before a Pool's
	pools  map[Key]*Pool
	closed bool
	orders standingOrders
}

// house is what the pools share.
type house struct {
	dial    DialFunc
	clock   clock
	loops   loopRing
	budgets budgets
	lost    lostPeers
	journal *journal.Journal // set before the first pool is made

	mu    sync.Mutex // guards gates; the innermost
	gates map[backend.Address]*gate.Gate
}

// tick is the grain of every timeout that the pool keeps.
const tick = 100 * time.Millisecond

// NewManager starts an empty manager whose conns live on loops. Close ends it.
func NewManager(dial DialFunc, loops []*loop.Loop, log *slog.Logger) *Manager {
	m := &Manager{log: log, stop: make(chan struct{}), pools: map[Key]*Pool{}, orders: newStandingOrders()}
	m.open(dial, loops)
	m.done.Go(m.run)
	return m
}

func (h *house) open(dial DialFunc, loops []*loop.Loop) {
	h.dial, h.loops.loops, h.gates = dial, loops, map[backend.Address]*gate.Gate{}
	h.clock.start = time.Now()
	h.clock.set()
	h.budgets = newBudgets(&h.clock)
}

// SetJournal has j keep what happens to server sessions. It must be called before Join.
func (m *Manager) SetJournal(j *journal.Journal) { m.journal = j }

// OnForgotten has f called for each pool that is forgotten since nobody uses it. f must not block, nor call the Manager. It
// must be set before Join.
func (m *Manager) OnForgotten(f func(config.Pool)) { m.forgotten = f }

// logins is the gate for logins to cfg's PostgreSQL.
func (h *house) logins(cfg config.Pool) *gate.Gate {
	h.mu.Lock()
	defer h.mu.Unlock()
	addr := addressOf(cfg)
	g := h.gates[addr]
	if g == nil {
		g = gate.New(max(1, cfg.LoginsAtOnce))
		h.gates[addr] = g
	}
	return g
}

// Now is the time since the manager's start, exact to a tick of 100 ms, and cheap.
func (m *Manager) Now() time.Duration { return m.clock.now() }

// Join returns the pool for cfg's database and user, made when it is first asked for, and the class in it, and counts
// one more session that uses them, until Pool.Leave.
func (m *Manager) Join(cfg config.Pool, class string) (*Pool, *Class, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, ErrClosed
	}
	key := Key{cfg.Database, cfg.User}
	p := m.pools[key]
	if p == nil {
		var err error
		if p, err = newPool(cfg, &m.house, m.log); err != nil {
			return nil, nil, fmt.Errorf("pool %s/%s: %w", cfg.Database, cfg.User, err)
		}
		p.orders = m.orders.inForce(key.Database)
		m.pools[key] = p
	}
	return p, p.join(class), nil
}

// Reconfigure puts the configuration that find returns in force for each pool. A pool for which find has none keeps
// serving those who are connected.
func (m *Manager) Reconfigure(find func(Key) (config.Pool, bool)) {
	for key, p := range m.all() {
		if cfg, ok := find(key); ok {
			p.Reconfigure(cfg)
		}
	}
	m.shrinking.Store(true)
	m.budgets.wake()
}

// Each calls f for each pool that matches.
func (m *Manager) Each(matches func(config.Pool) bool, f func(*Pool)) {
	for _, p := range m.all() {
		if matches(p.Config()) {
			f(p)
		}
	}
}

// Stats is a snapshot of every pool.
func (m *Manager) Stats() []Stat {
	pools := m.all()
	stats := make([]Stat, 0, len(pools))
	for _, p := range pools {
		stats = append(stats, p.Stat())
	}
	return stats
}

// Close closes every server session and waits for it; the loops must still run. Sessions that hold one must have
// ended before.
func (m *Manager) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed = true
	m.mu.Unlock()
	var closing sync.WaitGroup
	for _, p := range m.all() {
		closing.Go(p.close)
	}
	closing.Wait()
	close(m.stop)
	m.done.Wait()
}

func (m *Manager) all() map[Key]*Pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	pools := make(map[Key]*Pool, len(m.pools))
	for k, p := range m.pools {
		pools[k] = p
	}
	return pools
}

func (m *Manager) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	var kick <-chan struct{} // nil while the arbiter pauses
	for {
		select {
		case <-m.stop:
			return
		case <-pause.C:
			kick = m.budgets.kick
		case <-kick:
			m.arbitrate()
			kick = nil
			pause.Reset(arbiterPause)
		case <-t.C:
			m.clock.set()
			for _, p := range m.all() {
				p.upkeep()
			}
			m.arbitrate()
			m.dropUnused()
		}
	}
}

// dropUnused forgets pools that nobody uses and that hold nothing: with trust, names cost a client nothing.
func (m *Manager) dropUnused() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, p := range m.pools {
		if p.unused() {
			delete(m.pools, key)
			if m.forgotten != nil { // with the lock: who joins the pool that takes its place must find nothing old, nor lose what is new
				m.forgotten(p.Config())
			}
		}
	}
}

// clock is the time since the manager's start, exact to a tick: cheap enough to read at every lease.
type clock struct {
	start time.Time
	ticks atomic.Int64
}

func (c *clock) set()               { c.ticks.Store(int64(time.Since(c.start)) + 1) }
func (c *clock) now() time.Duration { return time.Duration(c.ticks.Load()) }

// loopRing hands out loops in turn, for conns that nobody waits for.
type loopRing struct {
	loops []*loop.Loop
	turn  atomic.Uint32
}

func (r *loopRing) next() *loop.Loop {
	return r.loops[int(r.turn.Add(1))%len(r.loops)]
}
