package frontend

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pooler/pool"
)

// Alarm says that much of a limit was in use.
type Alarm struct {
	Time      time.Time
	Limit     string // the configuration's key
	Of        string // who it counts: user "alice"
	Used, Max int
	Percent   int
	Sources   []Source // the three with the most clients among those it counts
}

// Source is clients that have an address, an application, a user and a database in common.
type Source struct {
	Address, Application, User, Database string
	Clients                              int
}

func (s Source) String() string {
	return fmt.Sprintf("%d from %s as %s@%s, application %q", s.Clients, s.Address, s.User, s.Database, s.Application)
}

const (
	alarmsKept   = 100
	alarmSources = 3
	rearmBelow   = 5 // percent that use must fall below a mark before crossing it counts again: it must not flap
)

// mark is how much of a limit is in use, in percent: 0, 80 or 95.
type mark uint8

const (
	markHigh mark = 80
	markFull mark = 95
)

// after is the mark that holds once so much is used. 0 is no limit.
func (m mark) after(used, limit int) mark {
	if limit <= 0 {
		return 0
	}
	percent := used * 100 / limit
	for _, at := range []mark{markFull, markHigh} {
		if percent >= int(at) || m >= at && percent > int(at)-rearmBelow {
			return at
		}
	}
	return 0
}

// crossing is a mark that was crossed upwards. of tells whose clients have to do with it.
type crossing struct {
	limit     string
	of        quotaKey
	used, max int
}

// alarms keeps the latest. Any goroutine may use it.
type alarms struct {
	mu   sync.Mutex // guards kept
	kept []Alarm
}

func (a *alarms) add(one Alarm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kept) == alarmsKept {
		a.kept = slices.Delete(a.kept, 0, 1)
	}
	a.kept = append(a.kept, one)
}

// Alarms is the latest alarms, oldest first.
func (srv *Server) Alarms() []Alarm {
	srv.alarms.mu.Lock()
	defer srv.alarms.mu.Unlock()
	return slices.Clone(srv.alarms.kept)
}

// watchLimits tells of limits that are nearly reached. Clients' limits are compared when a client is counted; those on
// server sessions, and connections that have not logged in, once a second here.
func (srv *Server) watchLimits(stop <-chan struct{}) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	marks := map[pool.LimitUse]mark{}
	for {
		select {
		case <-stop:
			return
		case <-srv.quotas.kick:
		case <-t.C:
			srv.quotas.lookAll(int(srv.clients.Load()), srv.settings.Load().cfg.MaxClientConn)
			marks = srv.watchServerLimits(marks)
		}
		for _, c := range srv.quotas.takeCrossed() {
			srv.raise(c)
		}
	}
}

// watchServerLimits looks at the limits on server sessions. before is the marks that held, by limit.
func (srv *Server) watchServerLimits(before map[pool.LimitUse]mark) map[pool.LimitUse]mark {
	now := map[pool.LimitUse]mark{}
	for _, u := range srv.pools.LimitUses() {
		id := pool.LimitUse{Key: u.Key, Name: u.Name}
		now[id] = before[id].after(u.Used, u.Limit)
		if now[id] > before[id] {
			srv.raise(crossing{limit: u.Key, of: serverQuotas[u.Key].named(u.Name), used: u.Used, max: u.Limit})
		}
	}
	return now
}

// serverQuotas says whose clients a limit on server sessions has to do with.
var serverQuotas = map[string]quotaKind{
	"max_server_connections": quotaAll, "max_db_connections": quotaDatabase, "max_user_connections": quotaUser,
}

func (k quotaKind) named(name string) quotaKey { return quotaKey{k, name} }

func (srv *Server) raise(c crossing) {
	sources := srv.quotas.sources(c.of)
	a := Alarm{
		Time: time.Now(), Limit: c.limit, Of: c.of.String(), Used: c.used, Max: c.max, Percent: c.used * 100 / c.max,
		Sources: sources[:min(alarmSources, len(sources))],
	}
	srv.alarms.add(a)
	srv.reportAlarm(c.of, &a)
	var top strings.Builder
	for i, s := range a.Sources {
		if i > 0 {
			top.WriteString("; ")
		}
		top.WriteString(s.String())
	}
	srv.log.Warn("much of a limit is in use", "limit", a.Limit, "of", a.Of, "used", a.Used, "max", a.Max, "percent", a.Percent, "top_sources", top.String())
}
