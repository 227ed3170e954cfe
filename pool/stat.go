package pool

import (
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
	Waiting        int           // clients in the queue
	LongestWait    time.Duration // of those
	HistoricMax    int           // most server sessions at once, so far
	Use
	Opened  uint64
	Retired map[backend.RetireReason]uint64
	Classes []ClassStat
}

// Use is what requests for server sessions came to.
type Use struct {
	Requests uint64        // leases asked for
	Hits     uint64        // of those, served by a conn that the class had used
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
		Idle: p.idle, Opening: p.opening, Closing: p.closing, Waiting: p.queue.len, HistoricMax: p.historic,
		Use: p.tally.use(), Opened: p.opened, Retired: maps.Clone(p.retired),
	}
	for l := range p.leases {
		if l.reclaiming > 0 {
			s.Reclaiming++
		}
	}
	s.Active = len(p.leases) - s.Idle - s.Reclaiming
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
	return Use{Requests: t.requests, Hits: t.hits, Waits: t.waits, WaitTime: t.waited, Timeouts: t.timeouts}
}
