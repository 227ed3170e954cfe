package pool

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pooler/backend"
	"pooler/internal/loop"
)

// ServerInfo is a snapshot of one server session, of what may be known without asking the loop that owns it (Inspect).
type ServerInfo struct {
	ID             backend.ConnID // 0 while it is being opened, as PID
	PID            uint32         // PostgreSQL's
	Database, User string         // of its pool
	ServerUser     string         // as whom it is logged in
	DBName         string         // PostgreSQL's name of its database
	Addr           backend.Address
	TLS            string         // version and suite that protect its connection; "": none do
	Local, Remote  netip.AddrPort // of its TCP connection; not valid on a Unix socket, and while it is being opened
	Created        time.Time      // of one that is being opened: when it was wanted, exact to a tick of 100 ms
	State          ServerState
	InState        time.Duration // how long it has been in that state, exact to a tick
	Uses           int           // times it was lent
	Class          string        // whose clients have used it; "" also: none, because nothing of anybody is left in it
	CloseNeeded    bool          // it goes as soon as it is free: by an order, or because it is from before a reconnection or a change
	Borrower       Borrower      // who holds it, while it is active; to be compared only, since it belongs to its loop
}

// Servers is a snapshot of all server sessions, those included that are being opened or closed, in the order of their
// databases, users and IDs.
func (m *Manager) Servers() []ServerInfo {
	all := m.servers("")
	slices.SortFunc(all, func(a, b ServerInfo) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.User, b.User), cmp.Compare(a.ID, b.ID), a.Created.Compare(b.Created))
	})
	return all
}

func (m *Manager) servers(database string) []ServerInfo {
	var all []ServerInfo
	for _, p := range m.of(database) {
		all = p.appendServers(all)
	}
	return all
}

func (p *Pool) appendServers(all []ServerInfo) []ServerInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	all = slices.Grow(all, p.totalLocked())
	for l := range p.leases {
		all = append(all, p.infoLocked(l))
	}
	for l := range p.leaving {
		all = append(all, p.infoLocked(l))
	}
	for a := range p.attempts {
		age := p.clock.now() - a.since
		all = append(all, ServerInfo{
			Database: p.Key.Database, User: p.Key.User, ServerUser: p.cfg.ServerUser, DBName: p.cfg.DBName, Addr: addressOf(p.cfg),
			Created: p.clock.start.Add(a.since), InState: age, CloseNeeded: a.abandoned,
		})
	}
	return all
}

func (p *Pool) infoLocked(l *Lease) ServerInfo {
	c := l.Conn
	s := ServerInfo{
		ID: c.ID, PID: c.PID, Database: p.Key.Database, User: p.Key.User, ServerUser: c.Login, DBName: c.DBName,
		Addr: c.Addr, TLS: c.TLS(), Local: c.Local, Remote: c.Remote, Created: c.Created,
		State: l.state, InState: p.clock.now() - l.since, Uses: l.uses,
		CloseNeeded: l.state == ServerClosing || p.condemnedLocked(l) != backend.NotRetired,
	}
	if l.class != nil {
		s.Class = l.class.Name
	}
	if l.state == ServerActive && l.holder != nil {
		s.Borrower = l.holder.Borrower
	}
	return s
}

const (
	// inspectBatch bounds how long a loop is held up by Inspect, which goes on behind other events.
	inspectBatch = 32
	// inspectLimit bounds how long Inspect waits for loops: one that has been stopped never answers.
	inspectLimit = time.Second
)

// Inspect calls f for each server session there is, on the loop that owns it, and returns what f says of each, by ID.
// f runs on several threads and holds the relay up: it is short, and touches nothing but the conn. Server sessions that
// are opened, closed or moved to another loop meanwhile are left out. The error is ctx's, or that a loop has not
// answered within a second; the others' answers are there all the same.
func Inspect[T any](ctx context.Context, m *Manager, f func(*backend.Conn) T) (map[backend.ConnID]T, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	homes := m.settled()
	answers := make(chan map[backend.ConnID]T, len(homes)) // has room for all, so no loop waits
	for home, leases := range homes {
		part := make(map[backend.ConnID]T, len(leases))
		var next func()
		next = func() {
			n := min(inspectBatch, len(leases))
			for _, l := range leases[:n] {
				if l.at.Load() == home && l.Conn.Alive() {
					part[l.Conn.ID] = f(l.Conn)
				}
			}
			if leases = leases[n:]; len(leases) > 0 {
				home.Post(next)
				return
			}
			answers <- part
		}
		home.Post(next)
	}
	all := map[backend.ConnID]T{}
	for range homes {
		select {
		case part := <-answers:
			for id, v := range part {
				all[id] = v
			}
		case <-ctx.Done():
			return all, fmt.Errorf("ask the loops about server sessions: %w", ctx.Err())
		}
	}
	return all, nil
}

// settled is the conns that are on a loop now, by loop.
func (m *Manager) settled() map[*loop.Loop][]*Lease {
	homes := map[*loop.Loop][]*Lease{}
	for _, p := range m.of("") {
		p.mu.Lock()
		for l := range p.leases {
			if home := l.at.Load(); home != nil {
				homes[home] = append(homes[home], l)
			}
		}
		p.mu.Unlock()
	}
	return homes
}
