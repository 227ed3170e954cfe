package pool

import (
	"maps"
	"time"

	"pooler/backend"
)

// Stat is a snapshot of a pool.
type Stat struct {
	Database, User string
	Size           int // the limit
	Idle           int // server sessions on the shelf
	Active         int // lent
	Reclaiming     int // being rolled back and cleaned after their client has gone
	Opening        int
	Closing        int
	Waiting        int           // clients in the queue
	LongestWait    time.Duration // of those
	Requests       uint64        // leases asked for
	Hits           uint64        // of those, served by the conn held before or one with the same settings
	Waits          uint64        // of those, queued
	WaitTime       time.Duration // of those that were served
	Timeouts       uint64
	Opened         uint64
	Retired        map[backend.RetireReason]uint64
}

// Stat takes a snapshot.
func (p *Pool) Stat() Stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stat{
		Database: p.cfg.Database, User: p.cfg.User, Size: p.cfg.Size,
		Idle: p.shelf.len, Opening: p.opening, Closing: p.closing, Waiting: p.queue.len,
		Requests: p.requests, Hits: p.hits, Waits: p.waits, WaitTime: p.waited, Timeouts: p.timeouts,
		Opened: p.opened, Retired: maps.Clone(p.retired),
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
	return s
}
