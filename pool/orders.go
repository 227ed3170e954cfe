package pool

import (
	"context"
	"fmt"
	"maps"
	"time"

	"pooler/backend"
	"pooler/internal/loop"
)

// Orders is what an administrator has ordered. The zero value is that everything goes its way.
type Orders struct {
	Paused   bool // nothing is lent nor opened; requests wait
	Disabled bool // new clients are to be refused; the pool only keeps it
	Stopped  bool // requests are refused with ErrStopped
}

// hold tells whether server sessions are neither lent nor opened, and closed as they become free.
func (o Orders) hold() bool { return o.Paused || o.Stopped }

// or is what is in force where both are.
func (o Orders) or(other Orders) Orders {
	return Orders{o.Paused || other.Paused, o.Disabled || other.Disabled, o.Stopped || other.Stopped}
}

// standingOrders is kept by name, not in the pools: it is for those, too, that nobody has asked for yet, and outlives
// those that are forgotten.
type standingOrders struct {
	all       Orders
	databases map[string]Orders  // none is zero
	pauses    map[string]PauseID // the last Pause under each name that is paused
	last      PauseID            // that was given out
}

// PauseID names one call of Pause. Zero names none.
type PauseID uint64

func newStandingOrders() standingOrders {
	return standingOrders{databases: map[string]Orders{}, pauses: map[string]PauseID{}}
}

func (s *standingOrders) inForce(database string) Orders { return s.all.or(s.databases[database]) }

// get is what has been ordered under this very name, "" being all databases.
func (s *standingOrders) get(database string) Orders {
	if database == "" {
		return s.all
	}
	return s.databases[database]
}

func (s *standingOrders) set(database string, o Orders) {
	if !o.Paused {
		delete(s.pauses, database)
	}
	switch {
	case database == "":
		s.all = o
	case o == Orders{}:
		delete(s.databases, database)
	default:
		s.databases[database] = o
	}
}

// Orders is what is in force for a database, what is ordered for all included; "": for all.
func (m *Manager) Orders(database string) Orders {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.orders.inForce(database)
}

// Ordered is the databases for which something is ordered under their own name, also those that nobody has asked for.
func (m *Manager) Ordered() map[string]Orders {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.orders.databases)
}

// Pause has no server session of the database ("": of any, also of those nobody has asked for yet) lent or opened
// from now on. Idle ones are closed at once, lent ones as they come back, so a client's transaction goes on to its
// end. Requests queue, whatever becomes of PostgreSQL, and query_wait_timeout does not run. What it returns is for
// TakeBack; it is zero if the database was paused under this name already, which is not this call's to end.
func (m *Manager) Pause(database string) PauseID {
	m.mu.Lock()
	already := m.orders.get(database).Paused
	m.orders.last++
	id := m.orders.last
	m.orders.pauses[database] = id // also then: from now on it is not the other's alone
	m.giveLocked(database, func(o *Orders) *bool { return &o.Paused })
	if already {
		return 0
	}
	return id
}

// TakeBack ends that one Pause of the database ("": of all, but for those paused one by one). If somebody has paused or
// resumed it since, nothing happens. It reports whether the pause was ended.
func (m *Manager) TakeBack(database string, id PauseID) bool {
	m.mu.Lock()
	if id == 0 || m.orders.pauses[database] != id {
		m.mu.Unlock()
		return false
	}
	return m.withdrawLocked([]string{database}, func(o *Orders) *bool { return &o.Paused })
}

// Resume ends Pause. Those who wait are served, and their wait begins anew. It reports false if nothing was paused
// under this name: where all is paused, one database cannot be resumed, as with PgBouncer; "" resumes all, also those
// that were paused one by one.
func (m *Manager) Resume(database string) bool {
	return m.withdraw(database, func(o *Orders) *bool { return &o.Paused })
}

// Disable notes that new clients of the database ("": of any) are to be refused.
func (m *Manager) Disable(database string) {
	m.give(database, func(o *Orders) *bool { return &o.Disabled })
}

// Enable ends Disable, as Resume ends Pause.
func (m *Manager) Enable(database string) bool {
	return m.withdraw(database, func(o *Orders) *bool { return &o.Disabled })
}

// Stop refuses requests of the database ("": of any) with ErrStopped, also those that wait. Idle server sessions are
// closed at once, lent ones as they come back (DRCP's STOP_POOL with draining; Disconnect does without).
func (m *Manager) Stop(database string) {
	m.give(database, func(o *Orders) *bool { return &o.Stopped })
}

// Start ends Stop, as Resume ends Pause.
func (m *Manager) Start(database string) bool {
	return m.withdraw(database, func(o *Orders) *bool { return &o.Stopped })
}

// Reconnect replaces the server sessions of the database ("": of any), idle ones at once, others as they become free.
func (m *Manager) Reconnect(database string) {
	for _, p := range m.of(database) {
		p.Renew()
	}
}

// Disconnect closes every server session of the database ("": of any) at once, lent ones too, whose borrowers hear of
// it by OnServerLost with RetireKilled. Unless the database is paused or stopped, others are opened as they are wanted.
func (m *Manager) Disconnect(database string) {
	for _, p := range m.of(database) {
		p.disconnect()
	}
}

// awaitTick is how often AwaitClosed looks.
const awaitTick = 25 * time.Millisecond

// AwaitClosed waits until PostgreSQL has no server session of the database ("": of any) for which which says so (nil:
// every one), those included that are being opened or closed. which is called without a lock, so it may ask the
// Manager: one who waits for a pause to take effect stops to wait for databases that are not paused any more.
func (m *Manager) AwaitClosed(ctx context.Context, database string, which func(ServerInfo) bool) error {
	t := time.NewTicker(awaitTick)
	defer t.Stop()
	for {
		left := 0
		for _, s := range m.servers(database) {
			if which == nil || which(s) {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d server sessions to be closed: %w", left, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// give notes one order and puts it in force.
func (m *Manager) give(database string, order func(*Orders) *bool) {
	m.mu.Lock()
	m.giveLocked(database, order)
}

// giveLocked is give. It unlocks the manager.
func (m *Manager) giveLocked(database string, order func(*Orders) *bool) {
	o := m.orders.get(database)
	*order(&o) = true
	m.orders.set(database, o)
	m.enforceLocked()
}

// withdraw takes one order back. It reports whether there was such an order.
func (m *Manager) withdraw(database string, order func(*Orders) *bool) bool {
	m.mu.Lock()
	names := []string{database}
	if database == "" {
		for name := range m.orders.databases {
			names = append(names, name)
		}
	}
	return m.withdrawLocked(names, order)
}

// withdrawLocked takes one order back under each of the names. It unlocks the manager.
func (m *Manager) withdrawLocked(names []string, order func(*Orders) *bool) (was bool) {
	for _, name := range names {
		o := m.orders.get(name)
		was = was || *order(&o)
		*order(&o) = false
		m.orders.set(name, o)
	}
	m.enforceLocked()
	return was
}

// enforceLocked has the pools follow the orders. It unlocks the manager: that the orders reach the pools under its lock
// keeps two administrators from overtaking each other.
func (m *Manager) enforceLocked() {
	refused := map[*Pool][]*Request{} // also nobody
	for key, p := range m.pools {
		refused[p] = p.follow(m.orders.inForce(key.Database))
	}
	m.mu.Unlock()
	for p, requests := range refused {
		refuse(requests, ErrStopped)
		if p.Orders().hold() {
			p.retireIdle(p.surplusLocked)
		}
	}
}

// of is the pools of a database; "": all.
func (m *Manager) of(database string) []*Pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	var pools []*Pool
	for key, p := range m.pools {
		if database == "" || key.Database == database {
			pools = append(pools, p)
		}
	}
	return pools
}

// Orders is what is in force for the pool.
func (p *Pool) Orders() Orders {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.orders
}

// follow puts orders in force. It returns whom they refuse; the caller tells them, and has idle conns closed, without
// the lock.
func (p *Pool) follow(o Orders) (refused []*Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.orders
	p.orders = o
	if o.Stopped {
		refused = p.queue.popAll()
	}
	switch {
	case o.hold() && !before.hold():
		p.haltLocked()
	case before.hold() && !o.hold():
		p.proceedLocked()
	}
	return refused
}

// haltLocked gives up the logins that are under way, and what the pool wants from others or owes them.
func (p *Pool) haltLocked() {
	for a := range p.attempts {
		if a.cancel == nil { // it waits for its turn, which may be long
			a.abandoned = true
			delete(p.attempts, a)
			p.house.budgets.give(p)
		}
	}
	p.abandonLocked()
	p.house.budgets.forget(p)
	p.capped, p.cede, p.reserving, p.growth.step = false, 0, false, 0
}

// proceedLocked serves those who have waited until now as if they had come together at this moment.
func (p *Pool) proceedLocked() {
	p.failures, p.failure, p.retryAt = 0, nil, 0
	for r := p.queue.first; r != nil; r = r.next {
		r.since = p.clock.now()
	}
	p.growLocked()
}

// disconnect closes every conn. One that is on its way between two loops is closed on arrival (Lease.handTo).
func (p *Pool) disconnect() {
	p.mu.Lock()
	homes := make(map[*Lease]*loop.Loop, len(p.leases))
	for l := range p.leases {
		if l.state == ServerIdle {
			p.unshelveLocked(l) // off the shelf at once, so that nobody is lent it meanwhile
		}
		l.killed.Store(true)
		homes[l] = l.home
	}
	p.mu.Unlock()
	for l, home := range homes {
		home.Post(func() {
			if l.at.Load() == home {
				l.Conn.Retire(backend.RetireKilled)
			}
		})
	}
}
