package frontend

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pooler/config"
	"pooler/internal/loop"
)

// KillDatabase ends all clients of a database, or of all if that is "", on behalf of by, who is named in the log. It
// returns how many those were. No loop may call it.
func (srv *Server) KillDatabase(database, by string) int {
	var of []*Session
	for _, s := range srv.sessions.all() {
		if database == "" || s.pool.Key.Database == database {
			of = append(of, s)
		}
	}
	gone := victims{}
	for some := range slices.Chunk(of, reapAtOnce) {
		for _, who := range gather(srv, func(c *crew) (ended []member) {
			for _, s := range some {
				if s.crew == c && s.phase != PhaseClosed {
					s.reportKilled(by, " with all clients of its database")
					s.endWith(EndKilled, errAdministrator)
					ended = append(ended, s.counted.who)
				}
			}
			return ended
		}) {
			gone.add(who.String(), 1)
		}
	}
	srv.log.Info("clients ended by an administrator",
		"database", database, "clients", gone.count(), "who", gone.String(), "by", by)
	return gone.count()
}

// IdleCriteria says which idle clients are meant: those that all of it fits. In names, * stands for any part.
type IdleCriteria struct {
	OlderThan   time.Duration // idle for at least so long
	From        netip.Prefix  // not valid: from anywhere
	Unix        bool          // from the Unix socket only
	Application *string       // nil: any; so are the next two
	User        *string
	Database    *string
}

// IdleClient is a client that is idle.
type IdleClient struct {
	ID          SessionID
	User        string
	Database    string
	Class       string
	Application string
	Remote      netip.AddrPort // not valid: the Unix socket
	Idle        time.Duration
	Connected   time.Time
	Kept        string // why it keeps a server session although it is idle; "": it keeps none
}

// KillIdle ends those clients that are idle, and have no transaction open, which the criteria fit, on behalf of by, who
// is named in the log. It returns them, those that have been idle longest first. With dryRun it ends none. No loop may
// call it.
func (srv *Server) KillIdle(which IdleCriteria, dryRun bool, by string) []IdleClient {
	found := srv.idleLongest(func(s *Session, idle time.Duration) bool {
		return idle >= which.OlderThan && which.fits(s) && s.rests()
	})
	if dryRun {
		return idleClients(found)
	}
	found = srv.closeIdle(found, (*Session).rests, func(s *Session, idle time.Duration) {
		s.reportKilled(by, fmt.Sprintf(", because it was idle for %s", idle.Round(time.Second)))
		s.endWith(EndKilled, &Refusal{
			Code: errAdministrator.Code, Message: errAdministrator.Message,
			Hint: fmt.Sprintf("It was idle for %s. Connect again when it is needed.", idle.Round(time.Second)),
		})
	})
	gone := victims{}
	for _, one := range found {
		gone.add(one.who.String(), 1)
	}
	srv.log.Info("idle clients ended by an administrator",
		"clients", gone.count(), "who", gone.String(), "older_than", which.OlderThan.String(), "by", by)
	return idleClients(found)
}

func (which *IdleCriteria) fits(s *Session) bool {
	source := s.remote().Addr()
	return (!which.Unix || !source.IsValid()) &&
		(!which.From.IsValid() || source.IsValid() && which.From.Contains(source.Unmap().WithZone(""))) &&
		fitsName(which.Application, s.application()) && fitsName(which.User, s.pool.Key.User) && fitsName(which.Database, s.pool.Key.Database)
}

func fitsName(pattern *string, name string) bool {
	return pattern == nil || config.Matches(*pattern, name)
}

// idleClients tells of clients what never changes, and what was seen when they were found.
func idleClients(found []idler) []IdleClient {
	var list []IdleClient
	for _, one := range found {
		s := one.session
		list = append(list, IdleClient{
			ID: s.id, User: one.who.user, Database: one.who.database, Class: one.who.class, Application: one.application,
			Remote: netip.AddrPortFrom(one.who.source, s.port), Idle: time.Since(loop.Epoch()) - one.since,
			Connected: loop.Epoch().Add(s.begun), Kept: one.kept,
		})
	}
	return list
}
