package pool

import "time"

// Class is the clients of one connection class in a pool (DRCP's POOL_CONNECTION_CLASS), and the server sessions that
// serve them. Guarded by Pool.mu, but for Name.
type Class struct {
	Name string

	shelf    shelf // idle conns
	conns    int   // conns that belong to it, idle or not
	waiting  int   // requests in the queue
	sessions int   // clients
	tally    tally
}

// tally counts what requests for server sessions came to.
type tally struct {
	requests, hits, misses, waits, timeouts uint64
	waited                                  time.Duration // of those that were served
}

// joinLocked returns the class of that name, for one more client.
func (p *Pool) joinLocked(name string) *Class {
	c := p.classes[name]
	if c == nil {
		c = &Class{Name: name}
		p.classes[name] = c
	}
	c.sessions++
	return c
}

// dropClassLocked forgets c if nobody belongs to it any more: clients choose the names.
func (p *Pool) dropClassLocked(c *Class) {
	if c != nil && c.sessions == 0 && c.conns == 0 {
		delete(p.classes, c.Name)
	}
}

// assignLocked has l, which is not on a shelf, belong to c; nil: to no class, because nothing is left in it.
func (p *Pool) assignLocked(l *Lease, c *Class) {
	old := l.class
	if old == c {
		return
	}
	if old != nil {
		old.conns--
		p.dropClassLocked(old)
	}
	if l.class = c; c != nil {
		c.conns++
	}
}

// shelveLocked puts l among the idle ones of its class.
func (p *Pool) shelveLocked(l *Lease) {
	p.shelfOf(l).push(l)
	p.idle++
	l.enterLocked(ServerIdle)
}

// unshelveLocked takes l off its shelf: it is on its way out, unless the caller has something else in mind for it.
func (p *Pool) unshelveLocked(l *Lease) {
	p.shelfOf(l).remove(l)
	p.idle--
	l.enterLocked(ServerClosing)
}

func (p *Pool) shelfOf(l *Lease) *shelf {
	if l.class == nil {
		return &p.blank
	}
	return &l.class.shelf
}

// suits tells whether l, as it is, may be lent to r: a conn that nobody has used to anyone, one that has been cleaned
// or used by r's class to those with pool_purity = self.
func suits(l *Lease, r *Request) bool {
	if r.Terms.New {
		return l.uses == 0
	}
	return l.class == nil || l.class == r.Class
}

// longestIdleLocked is the idle conn whose last use is longest ago, among those for which ok says so; nil: none.
func (p *Pool) longestIdleLocked(ok func(*Lease) bool) *Lease {
	var oldest *Lease
	consider := func(s *shelf) {
		for l := s.last; l != nil; l = l.prev {
			if ok == nil || ok(l) {
				if oldest == nil || l.since < oldest.since {
					oldest = l
				}
				return
			}
		}
	}
	consider(&p.blank)
	for _, c := range p.classes {
		consider(&c.shelf)
	}
	return oldest
}

// hungryLocked is how many classes have clients that wait and no conn at all, beyond the conns that could become theirs.
func (p *Pool) hungryLocked() int {
	if p.queue.len == 0 {
		return 0
	}
	hungry, unclassed := 0, len(p.leases)
	for _, c := range p.classes {
		unclassed -= c.conns
		if c.waiting > 0 && c.conns == 0 {
			hungry++
		}
	}
	return hungry - unclassed
}
