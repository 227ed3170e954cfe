package pool

import (
	"cmp"
	"slices"
	"time"

	"pooler/backend"
)

// dormant is an idle conn that may be closed, and since when it idles.
type dormant struct {
	lease *Lease
	since time.Duration
}

// Reap closes the server sessions that have been idle longest, but at least for least, until target are left, if there
// are more than threshold (0: never) in all pools together. No pool falls below its minimum. It returns how many there
// were, and how many of each pool it has closed, or with dryRun would have.
func (m *Manager) Reap(threshold, target int, least time.Duration, dryRun bool) (before int, closed map[Key]int) {
	if threshold == 0 {
		return 0, nil
	}
	var all []dormant
	for _, p := range m.all() {
		n, idle := p.dormant(least)
		before += n
		all = append(all, idle...)
	}
	if before <= threshold {
		return before, nil
	}
	slices.SortFunc(all, func(a, b dormant) int { return cmp.Compare(a.since, b.since) })
	marked := map[*Pool][]dormant{}
	for _, d := range all[:min(before-target, len(all))] {
		marked[d.lease.pool] = append(marked[d.lease.pool], d)
	}
	closed = map[Key]int{}
	for p, list := range marked {
		if n := len(list); dryRun {
			closed[p.Key] = n
		} else if n = p.reap(list); n > 0 {
			closed[p.Key] = n
		}
	}
	return before, closed
}

// dormant is how many server sessions the pool has, and those it could do without, longest idle first.
func (p *Pool) dormant(least time.Duration) (total int, idle []dormant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.now()
	total = len(p.leases) + len(p.attempts)
	for l := range p.leases {
		if l.state == ServerIdle && now-l.since >= least {
			idle = append(idle, dormant{l, l.since})
		}
	}
	slices.SortFunc(idle, func(a, b dormant) int { return cmp.Compare(a.since, b.since) })
	return total, idle[:min(len(idle), max(0, len(p.leases)-p.cfg.MinSize))]
}

// reap closes those that have not been used meanwhile, and returns how many.
func (p *Pool) reap(list []dormant) int {
	var victims []*Lease
	p.mu.Lock()
	for _, d := range list {
		if d.lease.state == ServerIdle && d.lease.since == d.since && len(p.leases)-len(victims) > p.cfg.MinSize {
			p.unshelveLocked(d.lease) // off the shelf at once, so that nobody is lent it meanwhile
			victims = append(victims, d.lease)
		}
	}
	p.mu.Unlock()
	for _, l := range victims {
		l.home.Post(func() { l.Conn.Retire(backend.RetireReaped) })
	}
	return len(victims)
}
