package pool

import "time"

// growth decides when a pool opens further server sessions for those who wait. The first is opened at once. After
// that, whoever waits usually gets one that comes back within milliseconds, and a burst of short statements must not
// fill the pool; so further ones are opened only when there were always some waiting for patience, and ever more of
// them as long as that lasts. Guarded by Pool.mu.
type growth struct {
	timer *time.Timer
	armed bool
	step  int // how many were opened last time
}

// patience is how long there must always be somebody waiting before the pool opens another server session. Opening one
// takes PostgreSQL about 2 ms; a burst of statements of interactive applications is over in less than this.
const patience = 20 * time.Millisecond

// totalLocked is how many server sessions of the pool PostgreSQL has, or may have.
func (p *Pool) totalLocked() int { return len(p.leases) + len(p.attempts) + len(p.leaving) }

// limitLocked is how many it may have now.
func (p *Pool) limitLocked() int {
	if p.reserving {
		return p.cfg.Size + p.cfg.Reserve
	}
	return p.cfg.Size
}

// roomLocked is how many further server sessions could be opened now.
func (p *Pool) roomLocked() int {
	if p.closed || p.capped || p.orders.hold() || p.clock.now() < p.retryAt {
		return 0
	}
	return max(0, p.limitLocked()-p.totalLocked())
}

// growLocked opens what is wanted now: the minimum, the first of each class, and those for whom no conn will do that
// others use.
func (p *Pool) growLocked() {
	wanted := max(p.queue.eager-p.arriving, p.hungryLocked()) - len(p.attempts)
	if len(p.attempts) == 0 && p.totalLocked() < p.cfg.MinSize && p.clock.now() >= p.awayUntil {
		wanted = max(wanted, 1)
	}
	if !p.capped { // else the arbiter says when
		p.openLocked(wanted)
	}
	p.armLocked()
}

// openLocked begins to open n server sessions, or as many as the limits allow.
func (p *Pool) openLocked(n int) {
	if p.closed || p.orders.hold() || p.clock.now() < p.retryAt {
		return
	}
	n = min(n, p.limitLocked()-p.totalLocked(), max(1, p.cfg.Increment)-len(p.attempts))
	for range n {
		if p.capped = !p.house.budgets.take(p, &p.cfg); p.capped {
			return
		}
		a := &attempt{since: p.clock.now()}
		p.attempts[a] = struct{}{}
		p.house.logins(p.cfg).Go(func() { p.open(a) })
	}
}

// armLocked has ripen called after patience, if anybody waits.
func (p *Pool) armLocked() {
	g := &p.growth
	if g.armed || p.closed || p.orders.hold() || p.queue.len == 0 || p.totalLocked() >= p.limitLocked() {
		return
	}
	g.armed, p.queue.emptied = true, false
	if g.timer == nil {
		g.timer = time.AfterFunc(patience, p.ripen)
	} else {
		g.timer.Reset(patience)
	}
}

// ripen opens server sessions if somebody has waited all the time since the timer was armed.
func (p *Pool) ripen() {
	p.mu.Lock()
	g := &p.growth
	g.armed = false
	if p.queue.emptied || p.orders.hold() {
		g.step = 0
	} else {
		g.step = max(1, 2*g.step)
		p.openLocked(min(g.step, p.queue.len-len(p.attempts)-p.arriving))
	}
	p.armLocked()
	clean := p.convertLocked(p.queue.first)
	p.mu.Unlock()
	clean.begin()
}

func (g *growth) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}
