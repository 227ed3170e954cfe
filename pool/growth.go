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

// maxOpening bounds how many server sessions a pool opens at the same time.
const maxOpening = 4

// growLocked opens what is wanted now: the minimum, the first, and those for sessions that will keep theirs.
func (p *Pool) growLocked() {
	wanted := p.queue.eager - p.opening
	switch total := len(p.leases) + p.opening + p.closing; {
	case p.opening > 0:
	case p.queue.len > 0 && len(p.leases) == 0, total < p.cfg.MinSize && p.clock.now() >= p.awayUntil:
		wanted = max(wanted, 1)
	}
	p.openLocked(wanted)
	p.armLocked()
}

// openLocked begins to open n server sessions, or as many as the limits allow.
func (p *Pool) openLocked(n int) {
	total := len(p.leases) + p.opening + p.closing
	n = min(n, p.cfg.Size-total, maxOpening-p.opening)
	if p.closed || p.clock.now() < p.retryAt {
		return
	}
	for range n {
		p.opening++
		go p.open()
	}
}

// armLocked has ripen called after patience, if anybody waits.
func (p *Pool) armLocked() {
	g := &p.growth
	if g.armed || p.closed || p.queue.len == 0 || len(p.leases)+p.opening+p.closing >= p.cfg.Size {
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
	defer p.mu.Unlock()
	g := &p.growth
	g.armed = false
	if p.queue.emptied {
		g.step = 0
	} else {
		g.step = max(1, 2*g.step)
		p.openLocked(min(g.step, p.queue.len))
	}
	p.armLocked()
}

func (g *growth) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}
