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
	p.retireIdle(func(l *Lease, total int) backend.RetireReason { return p.outdatedLocked(l, total, now) })
	p.retireStuck(now)
	p.mu.Lock()
	r := p.queue.first
	switch {
	case r == nil:
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

func (p *Pool) outdatedLocked(l *Lease, total int, now time.Duration) backend.RetireReason {
	if reason := p.surplusLocked(l, total); reason != backend.NotRetired {
		return reason
	}
	if p.cfg.ServerIdleTimeout > 0 && now-l.usedAt > p.cfg.ServerIdleTimeout && total > p.cfg.MinSize {
		return backend.RetireIdle
	}
	return backend.NotRetired
}

// expireWaits refuses those who have waited query_wait_timeout and tells those who have waited query_wait_notify.
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
		case r.Terms.Wait > 0 && waited >= r.Terms.Wait:
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
	for _, r := range expired {
		r.Loop.Post(func() { r.Borrower.Refused(reason) })
	}
	for _, n := range notes {
		n.r.Loop.Post(func() { n.r.Borrower.StillWaiting(n.ahead, n.after) })
	}
}

// retireStuck closes conns that do not come back from Reclaim.
func (p *Pool) retireStuck(now time.Duration) {
	p.mu.Lock()
	var stuck []*Lease
	for l := range p.leases {
		if l.reclaiming > 0 && now-l.reclaiming > reclaimLimit {
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
