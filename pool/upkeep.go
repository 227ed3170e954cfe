package pool

import (
	"context"
	"time"

	"pooler/backend"
)

// reclaimLimit bounds how long a conn may take to be rolled back and cleaned after its client has gone. A ROLLBACK
// is quick even after much work; longer means that PostgreSQL does not answer.
const reclaimLimit = 15 * time.Second

// upkeep does what time brings: waits that have lasted too long, idle and old server sessions, the minimum, the reserve.
func (p *Pool) upkeep() {
	now := p.clock.now()
	p.expireWaits(now)
	p.retireIdle(func(l *Lease) backend.RetireReason { return p.outdatedLocked(l, now) })
	p.retireStuck(now)
	p.mu.Lock()
	r := p.queue.first
	switch {
	case r == nil, p.orders.hold():
		p.reserving = false
	case p.cfg.Reserve > 0 && now-r.since >= p.cfg.ReserveTime:
		p.reserving = true
	}
	if p.cede > 0 && !p.house.budgets.contended() {
		p.cede = 0
	}
	p.growLocked()
	conversion := p.convertLocked(r)
	p.mu.Unlock()
	conversion.begin()
}

func (p *Pool) outdatedLocked(l *Lease, now time.Duration) backend.RetireReason {
	if reason := p.surplusLocked(l); reason != backend.NotRetired {
		return reason
	}
	if p.cfg.ServerIdleTimeout > 0 && now-l.since > p.cfg.ServerIdleTimeout && p.stayingLocked() > p.cfg.MinSize {
		return backend.RetireIdle
	}
	return backend.NotRetired
}

// stayingLocked is how many conns there are, without those that are on their way out: who counted those would close one
// more for each of them.
func (p *Pool) stayingLocked() int { return len(p.leases) - p.going }

// surplusLocked tells why l, which is free, must go rather than be lent again.
func (p *Pool) surplusLocked(l *Lease) backend.RetireReason {
	reason := p.condemnedLocked(l)
	switch {
	case reason != backend.NotRetired:
		return reason
	case p.stayingLocked()+len(p.attempts) > p.limitLocked():
		return backend.RetireReconfigured
	case p.clock.now() < p.awayUntil && p.queue.len == 0:
		return backend.RetireInTheWay
	case l.uses > 0 && float64(p.clock.now()-l.born) >= float64(p.cfg.ServerLifetime)*(1-l.early): // 0: each is used once, as with PgBouncer
		return backend.RetireLifetime
	case p.cfg.MaxUse > 0 && l.uses >= p.cfg.MaxUse:
		return backend.RetireUses
	case p.cede > 0 && l.state != ServerIdle:
		p.cede--
		return backend.RetireCeded
	}
	return backend.NotRetired
}

// condemnedLocked tells why l must not be lent again, by somebody's order or because of a change.
func (p *Pool) condemnedLocked(l *Lease) backend.RetireReason {
	switch {
	case p.closed:
		return backend.RetireShutdown
	case l.killed.Load():
		return backend.RetireKilled
	case p.orders.Stopped:
		return backend.RetireStopped
	case p.orders.Paused:
		return backend.RetirePaused
	case l.generation != p.generation:
		return backend.RetireReconfigured
	}
	return backend.NotRetired
}

// retireIdle closes the idle conns for which why gives a reason, least recently used first.
func (p *Pool) retireIdle(why func(*Lease) backend.RetireReason) {
	type victim struct {
		lease  *Lease
		reason backend.RetireReason
	}
	var victims []victim
	p.mu.Lock()
	for {
		var reason backend.RetireReason
		l := p.longestIdleLocked(func(l *Lease) bool {
			reason = why(l)
			return reason != backend.NotRetired
		})
		if l == nil {
			break
		}
		reason = why(l)
		p.unshelveLocked(l) // off the shelf at once, so that nobody is lent it meanwhile
		victims = append(victims, victim{l, reason})
	}
	p.mu.Unlock()
	for _, v := range victims {
		v.lease.home.Post(func() { v.lease.Conn.Retire(v.reason) })
	}
}

// expireWaits refuses those who have waited query_wait_timeout, unless the pool is paused, and tells those who have
// waited query_wait_notify.
func (p *Pool) expireWaits(now time.Duration) {
	p.mu.Lock()
	reason := ErrWaitTimeout
	if len(p.leases) == 0 && p.failure != nil {
		reason = p.failure
	}
	var expired []*Request
	type note struct {
		r     *Request
		ahead int
		after time.Duration
	}
	var notes []note
	for r, ahead := p.queue.first, 0; r != nil; ahead++ {
		next := r.next
		waited := now - r.since
		switch {
		case r.Terms.Wait > 0 && !p.orders.Paused && waited >= r.Terms.Wait:
			p.queue.remove(r)
			p.tally.timeouts++
			r.Class.tally.timeouts++
			expired = append(expired, r)
			ahead--
		case r.Terms.Notify > 0 && waited >= r.Terms.Notify && !r.notified:
			r.notified = true
			notes = append(notes, note{r, ahead, r.Terms.Notify})
		}
		r = next
	}
	p.mu.Unlock()
	refuse(expired, reason)
	for _, n := range notes {
		n.r.Loop.Post(func() { n.r.Borrower.StillWaiting(n.ahead, n.after) })
	}
}

// retireStuck closes conns that do not come back from Reclaim.
func (p *Pool) retireStuck(now time.Duration) {
	p.mu.Lock()
	var stuck []*Lease
	for l := range p.leases {
		if (l.state == ServerReclaiming || l.state == ServerCleaning) && now-l.since > reclaimLimit {
			stuck = append(stuck, l)
		}
	}
	p.mu.Unlock()
	for _, l := range stuck {
		l.home.Post(func() {
			if since, ok := l.Conn.Reclaiming(); ok && time.Since(since) > reclaimLimit {
				p.log.WarnContext(context.Background(), "server session does not come back from clean-up; it is closed", "server_pid", l.Conn.PID)
				l.Conn.Retire(backend.RetireUncleanable)
			}
		})
	}
}
