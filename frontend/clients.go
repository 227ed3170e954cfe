package frontend

import (
	"cmp"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"pooler/backend"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
)

// clientsAtOnce is how many clients a loop describes in one go: others are served in between.
const clientsAtOnce = 250

// Glance is what a look at a client tells, enough to choose who is described.
type Glance struct {
	Holds bool          // a server session
	Waits bool          // for one
	Still time.Duration // since it has asked for nothing, exact to lookEvery; 0: it has
}

// Clients lists the clients that are logged in. It asks the loops, so no loop may call it.
func (srv *Server) Clients() []ClientInfo { return srv.ClientsThat(nil) }

// ClientsThat lists the clients that are chosen (nil: all), which among thousands of idle ones is much cheaper. chosen
// runs on the loops: it is short. No loop may call ClientsThat.
func (srv *Server) ClientsThat(chosen func(Glance) bool) []ClientInfo {
	answers := make(chan []ClientInfo, len(srv.crews))
	local := srv.onlyAddress()
	for _, c := range srv.crews {
		c.loop.Post(func() {
			p := portrait{crew: c, chosen: chosen, local: local, answers: answers}
			if chosen == nil {
				p.some = make([]ClientInfo, 0, len(c.berths))
			}
			p.draw(len(c.berths))
		})
	}
	var all []ClientInfo
	for range srv.crews {
		select {
		case some := <-answers:
			for i := range some {
				some[i].complete()
			}
			if all == nil {
				all = some
			} else {
				all = append(all, some...)
			}
		case <-srv.gone:
			return all
		}
	}
	return all
}

// onlyAddress is where all TCP clients come in, if that can be one address only.
func (srv *Server) onlyAddress() netip.AddrPort {
	var only netip.AddrPort
	for _, addr := range srv.Addresses() {
		tcp, ok := addr.(*net.TCPAddr)
		switch {
		case !ok:
			continue
		case only.IsValid() || tcp.IP.IsUnspecified():
			return netip.AddrPort{}
		}
		only = tcp.AddrPort()
	}
	return netip.AddrPortFrom(only.Addr().Unmap(), only.Port())
}

// rawInfo is what a loop says of a client from which the rest is worked out elsewhere. Settings never change.
type rawInfo struct {
	settings *sessionstate.Settings
	noted    backend.Noted // the last statement, if the trail has none that is as new
	standard bool          // standard_conforming_strings
	held     bool          // it has run on the server session that the client holds
	literals bool          // are to be seen
	pins     sessionstate.PinSet
}

// portrait is a description of a crew under way.
type portrait struct {
	crew    *crew
	chosen  func(Glance) bool // nil: everybody is
	local   netip.AddrPort    // of all TCP clients, if it is valid
	some    []ClientInfo
	answers chan<- []ClientInfo
}

// draw describes the clients in the berths below end, and sends the list when it is complete. Who leaves has his berth
// filled by the last one, so none is missed when they are gone through from the end; one that is met twice counts once.
func (p *portrait) draw(end int) {
	done := false
	defer func() {
		if !done { // a bug: better a part of the answer than none
			p.answers <- p.some
		}
	}()
	c := p.crew
	now := c.now()
	end = min(end, len(c.berths))
	begin := max(0, end-clientsAtOnce)
	for i := end - 1; i >= begin; i-- {
		b := &c.berths[i]
		if p.chosen == nil || p.chosen(b.glance(now)) {
			b.judge(now)
			p.some = append(p.some, b.describe(p.local))
		}
	}
	done = true
	if begin > 0 {
		c.loop.Post(func() { p.draw(begin) })
		return
	}
	p.answers <- distinct(p.some)
}

func (b *berth) glance(now time.Duration) Glance {
	s := b.session
	g := Glance{Holds: s.lease != nil, Waits: s.phase == PhaseWaiting}
	if (b.does.resting() || b.does == doesThink) && b.heard == b.seen {
		g.Still = now - b.since
	}
	return g
}

func distinct(some []ClientInfo) []ClientInfo {
	if len(some) <= clientsAtOnce {
		return some
	}
	seen := make(map[SessionID]bool, len(some))
	kept := some[:0]
	for _, one := range some {
		if !seen[one.ID] {
			seen[one.ID] = true
			kept = append(kept, one)
		}
	}
	return kept
}

// describe says what only the loop can say.
func (b *berth) describe(local netip.AddrPort) ClientInfo {
	s, at := b.session, loop.Epoch().Add
	one := ClientInfo{
		ID: s.id, User: s.pool.Key.User, Database: s.pool.Key.Database, Class: s.limits.Class,
		Boundary: s.limits.Boundary, Purity: s.limits.Purity,
		Remote: s.remote(), State: b.does.String(), Since: at(b.since), Connected: at(s.begun),
		Leaving: s.leaving, Prepared: len(s.names), Transactions: uint64(s.transactions),
		raw: rawInfo{settings: s.req.Settings, literals: s.srv.Config().ShowLiterals},
	}
	if t := s.trail; t != nil {
		one.FirstStatement, one.LastStatement, one.Comment, one.Statements = textOf(t.first), textOf(t.last), textOf(t.comment), t.statements
		if t.noted != nil {
			one.raw.noted, one.raw.standard = t.noted.Clone(), t.standard
		}
	}
	if tcp := one.Remote.IsValid(); tcp && local.IsValid() {
		one.Local = local
	} else {
		one.Local, one.PeerPID = ends(s.client.Fd(), tcp)
	}
	if layer := s.client.TLS(); layer != nil {
		one.TLS = layer.String()
	}
	if b.open {
		one.Transaction = at(b.begun)
	}
	if p := s.pinned; p != nil {
		one.raw.pins, one.PinnedSince, one.PinStatement = p.pins, p.since, p.text
	}
	if s.phase == PhaseWaiting {
		one.Waiting = at(s.entered)
	}
	if s.lease != nil {
		c := s.lease.Conn
		one.Server, one.ServerPID, one.Held, one.CancelInFlight = c.ID, c.PID, at(s.entered), c.Cancelling()
		if c.Usage.Query > 0 && !c.Replies.Idle() {
			one.Running = at(c.Usage.Query)
		}
		if len(c.Usage.Noted.Head()) > 0 {
			noted := c.Usage.Noted.Clone()
			if s.trail != nil && s.trail.noted != nil {
				before := s.trail.noted.Clone()
				noted.Follow(&before)
			}
			one.raw.noted, one.raw.standard, one.raw.held = noted, c.StdStrings, true
		}
		if c.Usage.Transaction > 0 {
			one.Transaction = at(c.Usage.Transaction)
		}
	}
	return one
}

// ends is the pooler's address of a connection, or of one on a Unix socket the peer's process.
func ends(fd int, tcp bool) (local netip.AddrPort, pid int) {
	if !tcp {
		if peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
		return local, pid
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return local, 0
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		local = netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port))
	case *unix.SockaddrInet6:
		local = netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), uint16(name.Port))
	}
	return local, 0
}

// complete works out the rest of what the loop has said.
func (info *ClientInfo) complete() {
	raw := info.raw
	info.raw = rawInfo{}
	info.Application, _ = raw.settings.Value("application_name")
	info.SettingsHeld = len(raw.settings.List())
	if len(raw.noted.Head()) > 0 {
		info.LastStatement = shown(&raw.noted, raw.standard, raw.literals)
		info.Comment = cmp.Or(commentOf(&raw.noted, raw.standard), info.Comment)
	}
	if raw.held {
		info.Statement = info.LastStatement
	}
	info.Pinned = raw.pins.String()
}

// Kill ends the session of a client, on behalf of by, who is named in the log. It reports whether there is such a
// client.
func (srv *Server) Kill(id SessionID, by string) bool {
	s := srv.sessions.get(id)
	if s == nil {
		return false
	}
	s.req.Loop.Post(func() {
		if s.phase == PhaseClosed {
			return
		}
		s.srv.log.Info("client ended by an administrator", s.logArgs(
			"application_name", s.application(), "remote", from(s.remote()), "by", by, "transaction_open", s.inTransaction())...)
		s.reportKilled(by, "")
		s.endWith(EndKilled, errAdministrator)
	})
	return true
}

// errAdministrator is PostgreSQL's own words.
var errAdministrator = &Refusal{Code: codeAdminShutdown, Message: "terminating connection due to administrator command"}
