package pool

import "time"

// growth decides when a pool opens further server sessions for those who wait. The first is opened at once. After
// that, whoever waits usually gets one that comes back within milliseconds, and a burst of short statements must not
// fill the pool; so further ones are opened only for those who have waited patience, and ever more of them as long as
// that does not help. Guarded by Pool.mu.
type growth struct {
	timer  *time.Timer
	armed  bool
	behind uint64 // the first in the queue when the timer was armed
	step   int    // how many were opened last time
}

// patience is how long a client waits for others' server sessions before the pool opens another. Opening one costs
// PostgreSQL about 2 ms and the pooler's other clients a session less to share; a statement of an interactive
// application is over in less than this.
const patience = 20 * time.Millisecond

// maxOpening bounds how many server sessions a pool opens at the same time.
const maxOpening = 4

// growLocked opens what is wanted now: the minimum, the first, and those for sessions that will keep theirs.
func (p *Pool) growLocked() {
	wanted := p.queue.eager - p.opening
	switch total := len(p.leases) + p.opening + p.closing; {
	case p.opening > 0:
	case p.queue.len > 0 && len(p.leases) == 0, total < p.cfg.MinSize:
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

// armLocked has ripen called when the first in the queue has waited patience.
func (p *Pool) armLocked() {
	g := &p.growth
	if g.armed || p.closed || p.queue.len == 0 || len(p.leases)+p.opening+p.closing >= p.cfg.Size {
		return
	}
	g.armed, g.behind = true, p.queue.first.ticket
	if g.timer == nil {
		g.timer = time.AfterFunc(patience, p.ripen)
	} else {
		g.timer.Reset(patience)
	}
}

// ripen opens server sessions if those who waited when the timer was armed are waiting still.
func (p *Pool) ripen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &p.growth
	g.armed = false
	if p.queue.len == 0 || p.queue.first.ticket > g.behind {
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
