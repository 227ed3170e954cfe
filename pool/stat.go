package pool

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"pooler/backend"
)

// Stat is a snapshot of a pool.
type Stat struct {
	Database, User string
	Size           int // the limit
	Idle           int // server sessions on the shelf
	Active         int // lent
	Reclaiming     int // being rolled back and cleaned
	Opening        int
	Closing        int
	Sessions       int           // clients that use the pool
	Waiting        int           // of those, in the queue
	LongestWait    time.Duration // of those
	HistoricMax    int           // most server sessions at once, so far
	HistoricAt     time.Time     // when that was reached first; zero if there has been none
	Orders         Orders        // in force for it
	Use
	Opened  uint64
	Retired map[backend.RetireReason]uint64
	Classes []ClassStat
}

// Use is what requests for server sessions came to.
type Use struct {
	Requests uint64        // leases asked for
	Hits     uint64        // of those, served by a conn that the class had used
	Misses   uint64        // of those, served by another
	Waits    uint64        // of those, queued
	WaitTime time.Duration // of those that were served
	Timeouts uint64
}

// ClassStat is a snapshot of one connection class in a pool.
type ClassStat struct {
	Name     string
	Sessions int // clients
	Conns    int // server sessions that belong to it
	Waiting  int
	Use
}

// Stat takes a snapshot.
func (p *Pool) Stat() Stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stat{
		Database: p.cfg.Database, User: p.cfg.User, Size: p.cfg.Size,
		Waiting: p.queue.len, HistoricMax: p.historic, Orders: p.orders,
		Use: p.tally.use(), Opened: p.opened, Retired: maps.Clone(p.retired),
	}
	s.Sessions = int(p.sessions.Load())
	if p.historic > 0 {
		s.HistoricAt = p.clock.start.Add(p.historicAt)
	}
	var n [serverStates]int
	for l := range p.leases {
		n[l.state]++
	}
	s.Idle, s.Active, s.Reclaiming = n[ServerIdle], n[ServerActive], n[ServerReclaiming]+n[ServerCleaning]
	s.Opening, s.Closing = len(p.attempts)+n[ServerOpening], len(p.leaving)+n[ServerClosing]
	if r := p.queue.first; r != nil {
		s.LongestWait = p.clock.now() - r.since
	}
	for _, name := range slices.Sorted(maps.Keys(p.classes)) {
		c := p.classes[name]
		s.Classes = append(s.Classes, ClassStat{Name: name, Sessions: c.sessions, Conns: c.conns, Waiting: c.waiting, Use: c.tally.use()})
	}
	return s
}

func (t tally) use() Use {
	return Use{Requests: t.requests, Hits: t.hits, Misses: t.misses, Waits: t.waits, WaitTime: t.waited, Timeouts: t.timeouts}
}

// LoginStat is a snapshot of the logins to one PostgreSQL.
type LoginStat struct {
	Addr    backend.Address
	Limit   int // at the same time
	Running int
	Waiting int // for their turn
}

// Logins is a snapshot of the logins to each PostgreSQL that pools have logged in to, by address.
func (m *Manager) Logins() []LoginStat {
	m.house.mu.Lock()
	defer m.house.mu.Unlock()
	all := make([]LoginStat, 0, len(m.gates))
	for addr, g := range m.gates {
		running, waiting := g.Stat()
		all = append(all, LoginStat{addr, g.Limit(), running, waiting})
	}
	slices.SortFunc(all, func(a, b LoginStat) int { return cmp.Compare(a.Addr.Addr, b.Addr.Addr) })
	return all
}
