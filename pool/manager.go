package pool

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pooler/config"
	"pooler/internal/loop"
)

// Key names a pool: what its clients asked for.
type Key struct{ Database, User string }

// Manager holds the pools. It may be used by any goroutine.
type Manager struct {
	log   *slog.Logger
	dial  DialFunc
	clock clock
	loops loopRing
	stop  chan struct{}
	done  sync.WaitGroup

	mu     sync.Mutex // guards pools and closed; taken before a Pool's
	pools  map[Key]*Pool
	closed bool
}

// tick is the grain of every timeout that the pool keeps.
const tick = 100 * time.Millisecond

// NewManager starts an empty manager whose conns live on loops. Close ends it.
func NewManager(dial DialFunc, loops []*loop.Loop, log *slog.Logger) *Manager {
	m := &Manager{
		log: log, dial: dial, loops: loopRing{loops: loops},
		stop: make(chan struct{}), pools: map[Key]*Pool{},
	}
	m.clock.start = time.Now()
	m.clock.set()
	m.done.Go(m.run)
	return m
}

// Join returns the pool for cfg's database and user, made when it is first asked for, and counts one more session
// that uses it, until Pool.Leave.
func (m *Manager) Join(cfg config.Pool) (*Pool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	key := Key{cfg.Database, cfg.User}
	if p := m.pools[key]; p != nil {
		p.sessions.Add(1)
		return p, nil
	}
	p, err := newPool(cfg, m.dial, &m.clock, &m.loops, m.log)
	if err != nil {
		return nil, fmt.Errorf("pool %s/%s: %w", cfg.Database, cfg.User, err)
	}
	p.sessions.Add(1)
	m.pools[key] = p
	return p, nil
}

// Reconfigure puts the configuration that find returns in force for each pool. A pool for which find has none keeps
// serving those who are connected.
func (m *Manager) Reconfigure(find func(Key) (config.Pool, bool)) {
	for key, p := range m.all() {
		if cfg, ok := find(key); ok {
			p.Reconfigure(cfg)
		}
	}
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
	for {
		select {
		case <-m.stop:
			return
		case <-t.C:
			m.clock.set()
			for _, p := range m.all() {
				p.upkeep()
			}
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
