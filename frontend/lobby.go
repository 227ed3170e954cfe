package frontend

import (
	"container/list"
	"net/netip"
	"time"
)

// lobby knows how many connections that have not logged in there are of each place, and which place has most. All it
// does takes the same time however many there are. It belongs to the loop that accepts.
type lobby struct {
	parties map[netip.Addr]*party
	ranks   [][]*party // by how many there are of a place, so that the last rank is not empty
	told    time.Duration
	rubbish hush
}

// party is the connections of one place.
type party struct {
	place   netip.Addr
	waiting list.List // of *greeter, the oldest first
	at      int       // in its rank
}

// placeOf is what bounds hold for that are set for an address: an IPv6 network of 64 bits is one place, since whoever has
// one has all its addresses. All who come by a Unix socket are in one place, too, which is the address that is not valid.
func placeOf(source netip.Addr) netip.Addr {
	if !source.Is6() || source.Is4In6() {
		return source.Unmap()
	}
	network, err := source.Prefix(64)
	if err != nil {
		return source
	}
	return network.Addr()
}

// join counts g as one of the place.
func (c *lobby) join(g *greeter, place netip.Addr) {
	p := c.parties[place]
	if p == nil {
		if c.parties == nil {
			c.parties = map[netip.Addr]*party{}
		}
		p = &party{place: place}
		c.parties[place] = p
		c.enter(p)
	}
	c.move(p, func() { g.party, g.turn = p, p.waiting.PushBack(g) })
}

// leave counts g no more; it may be counted no more already.
func (c *lobby) leave(g *greeter) {
	p := g.party
	if p == nil {
		return
	}
	c.move(p, func() { p.waiting.Remove(g.turn) })
	g.party, g.turn = nil, nil
	if p.waiting.Len() == 0 {
		delete(c.parties, p.place)
		c.exit(p)
		c.trim()
	}
}

// count is how many there are of the place.
func (c *lobby) count(place netip.Addr) int {
	if p := c.parties[place]; p != nil {
		return p.waiting.Len()
	}
	return 0
}

// oldestBeside is the oldest of the place that has most, if that is another one than place and has at least so many; else
// nil.
func (c *lobby) oldestBeside(place netip.Addr, least int) *greeter {
	if len(c.ranks) == 0 {
		return nil
	}
	most := c.ranks[len(c.ranks)-1]
	p := most[len(most)-1]
	if p.place == place || p.waiting.Len() < least {
		return nil
	}
	return p.waiting.Front().Value.(*greeter)
}

// oldestOf is the oldest of the place, nil if there is none.
func (c *lobby) oldestOf(place netip.Addr) *greeter {
	p := c.parties[place]
	if p == nil {
		return nil
	}
	return p.waiting.Front().Value.(*greeter)
}

// tell reports whether it is time for the log to hear of one that max_source_logins shuts out: in a flood, not of each.
func (c *lobby) tell(now time.Duration) bool {
	if c.told > 0 && now-c.told < time.Second {
		return false
	}
	c.told = now
	return true
}

// move has change alter how many p has, and gives it its new rank.
func (c *lobby) move(p *party, change func()) {
	c.exit(p)
	change()
	c.enter(p)
	c.trim()
}

func (c *lobby) enter(p *party) {
	n := p.waiting.Len()
	for len(c.ranks) <= n {
		c.ranks = append(c.ranks, nil)
	}
	p.at = len(c.ranks[n])
	c.ranks[n] = append(c.ranks[n], p)
}

func (c *lobby) exit(p *party) {
	n := p.waiting.Len()
	rank := c.ranks[n]
	last := rank[len(rank)-1]
	rank[p.at], last.at = last, p.at
	rank[len(rank)-1] = nil
	if c.ranks[n] = rank[:len(rank)-1]; len(rank) == 1 {
		c.ranks[n] = nil // a flood's memory is not kept
	}
}

// trim drops the last ranks if they are empty: one at most, since nobody loses more.
func (c *lobby) trim() {
	for k := len(c.ranks); k > 0 && len(c.ranks[k-1]) == 0; k-- {
		c.ranks = c.ranks[:k-1]
	}
}

// queueUp counts g among the connections of its place that have not logged in. It reports false when there were too many
// and g has left. Where a proxy's own connections come from, it says later whose they are.
func (g *greeter) queueUp() bool {
	limit, place := g.srv.Config().MaxSourceLogins, placeOf(g.remote.Addr())
	g.srv.lobby.join(g, place)
	if limit == 0 || g.owed == owesHeader || !g.remote.IsValid() || g.srv.lobby.count(place) <= limit {
		return true
	}
	g.leave(overQuota(quotaKey{quotaLogins, sourceName(place)}, limit))
	return false
}

// givesWay is how long a client that has not logged in may say nothing before it makes room for another of its own place.
const givesWay = time.Second

// makeRoom ends a connection that has not logged in, so that there is room for one from remote: the oldest of the place
// that has most. So a flood from one place shuts out nobody elsewhere. If remote's own place has most, its oldest goes if
// it says nothing, so that who is silent shuts out nobody there for long either. more is how many will come to remote's
// place. It reports false if there is no room.
func (srv *Server) makeRoom(remote netip.AddrPort, more int) bool {
	place := placeOf(remote.Addr())
	g := srv.lobby.oldestBeside(place, srv.lobby.count(place)+more)
	if g == nil {
		g = srv.lobby.oldestOf(place)
		if g == nil || g.silence() < givesWay {
			return false
		}
	}
	srv.turnAway(g.loop, g.remote)
	g.part(overQuota(quotaKey{kind: quotaAll}, srv.Config().MaxClientConn))
	return true
}
