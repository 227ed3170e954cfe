package frontend

import (
	"net/netip"
	"time"
)

// ClientInfo is a client that is logged in, as it stood when it was asked for.
type ClientInfo struct {
	ID          SessionID
	User        string
	Database    string
	Class       string
	Application string
	Remote      netip.AddrPort // invalid: a Unix socket
	State       string         // idle, active, idle_in_transaction, …: see activity
	Since       time.Time      // when the state began, exact to lookEvery
	Connected   time.Time
	Transaction time.Time // when the open one began; zero: there is none
	ServerPID   uint32    // of the server session that it holds; 0: none
	Pinned      string    // why that cannot leave it; "": it can
}

// Clients lists the clients. It asks the loops, so no loop may call it.
func (srv *Server) Clients() []ClientInfo {
	return gather(srv, func(c *crew) []ClientInfo {
		now := c.now()
		list := make([]ClientInfo, 0, len(c.berths))
		for i := range c.berths {
			c.berths[i].judge(now)
			list = append(list, c.berths[i].info(c.epoch))
		}
		return list
	})
}

func (b *berth) info(epoch time.Time) ClientInfo {
	s := b.session
	info := ClientInfo{
		ID: s.id, User: s.pool.Key.User, Database: s.pool.Key.Database, Class: s.limits.Class, Application: s.application(),
		Remote: s.remote(), State: b.does.String(), Since: epoch.Add(b.since), Connected: epoch.Add(s.begun),
	}
	if b.open {
		info.Transaction = epoch.Add(b.begun)
	}
	if s.lease != nil {
		info.ServerPID = s.lease.Conn.PID
	}
	if s.pins != 0 {
		info.Pinned = s.pins.String()
	}
	return info
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
		s.endWith(EndKilled, errAdministrator)
	})
	return true
}

// errAdministrator is PostgreSQL's own words.
var errAdministrator = &Refusal{Code: codeAdminShutdown, Message: "terminating connection due to administrator command"}
