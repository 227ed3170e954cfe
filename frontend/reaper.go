package frontend

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pooler/config"
	"pooler/internal/journal"
)

// ReaperRun is what the reaper has done, or would do, once.
type ReaperRun struct {
	Time              time.Time
	Of                string // "clients" or "server sessions"
	Threshold, Target int
	Before, After     int
	Closed            int
	DryRun            bool   // nothing was closed: After and Closed are what would be
	Victims           string // where most of them come from
}

// reaper closes what has been idle longest when there is too much of it. Its goroutine alone uses told.
type reaper struct {
	told map[string]ReaperRun // the last run of each kind that was logged, while there is too much

	mu   sync.Mutex // guards runs
	runs []ReaperRun
}

const (
	reapEvery      = time.Second
	reaperRunsKept = 100
	reapAtOnce     = 100              // clients that one loop ends in one go
	reaperPatience = 10 * time.Second // between lines that say about the same
	victimsNamed   = 3
)

// What a reaper counts.
const (
	ofClients = "clients"
	ofServers = "server sessions"
)

// ReaperRuns is the latest runs of the reaper, oldest first.
func (srv *Server) ReaperRuns() []ReaperRun {
	srv.reaper.mu.Lock()
	defer srv.reaper.mu.Unlock()
	return slices.Clone(srv.reaper.runs)
}

// reap looks after the number of clients and of server sessions.
func (srv *Server) reap(stop <-chan struct{}) {
	t := time.NewTicker(reapEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			cfg := srv.settings.Load().cfg
			srv.reapClients(cfg)
			srv.reapServers(cfg)
		}
	}
}

func (srv *Server) reapClients(cfg *config.Config) {
	run := newReaperRun(ofClients, cfg.ReaperClientThreshold, cfg.ReaperClientTarget, cfg.ReaperDryRun)
	run.Before = srv.sessions.len()
	if run.excess() == 0 {
		delete(srv.reaper.told, ofClients)
		return
	}
	least := time.Duration(cfg.ReaperMinIdle)
	found := srv.idleLongest(func(s *Session, idle time.Duration) bool { return idle >= least && s.mayBeReaped() })
	found = found[:min(run.excess(), len(found))]
	gone := victims{}
	if run.DryRun {
		for _, one := range found {
			gone.add(one.who.String(), 1)
		}
	} else {
		closed := srv.closeIdle(found, (*Session).mayBeReaped, func(s *Session, idle time.Duration) {
			why := fmt.Sprintf("It was idle for %s, and the pooler's reaper_client_threshold = %d is exceeded.", idle.Round(time.Second), run.Threshold)
			s.report(journal.Reaped, EndReaped.String(), why)
			s.endWith(EndReaped, &Refusal{
				Code: codeIdleSession, Message: "terminating connection because there are too many clients",
				Hint: why + " Connect again when it is needed.",
			})
		})
		for _, one := range closed {
			gone.add(one.who.String(), 1)
		}
	}
	srv.noteRun(run, gone)
}

func (srv *Server) reapServers(cfg *config.Config) {
	run := newReaperRun(ofServers, cfg.ReaperServerThreshold, cfg.ReaperServerTarget, cfg.ReaperDryRun)
	before, reaped := srv.pools.Reap(run.Threshold, run.Target, time.Duration(cfg.ReaperMinIdle), run.DryRun)
	if run.Before = before; run.excess() == 0 {
		delete(srv.reaper.told, ofServers)
		return
	}
	gone := victims{}
	for key, n := range reaped {
		gone.add(key.User+"/"+key.Database, n)
	}
	srv.noteRun(run, gone)
}

func newReaperRun(of string, threshold, target int, dryRun bool) ReaperRun {
	return ReaperRun{Time: time.Now(), Of: of, Threshold: threshold, Target: cmp.Or(target, threshold), DryRun: dryRun}
}

// excess is how many are to go.
func (r *ReaperRun) excess() int {
	if r.Threshold == 0 || r.Before <= r.Threshold {
		return 0
	}
	return r.Before - r.Target
}

// idler is a client that may be closed.
type idler struct {
	session *Session
	heard   uint32
	since   time.Duration
	who     member

	application string // now: a client may change it
	kept        string // why it keeps a server session; "": it keeps none
}

// idleLongest finds the clients that ask nothing and that may be ended, as may says, those that have been idle longest
// first.
func (srv *Server) idleLongest(may func(s *Session, idle time.Duration) bool) []idler {
	all := gather(srv, func(c *crew) []idler { return c.idlers(may) })
	slices.SortFunc(all, func(a, b idler) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.session.id, b.session.id))
	})
	return all
}

func (c *crew) idlers(may func(s *Session, idle time.Duration) bool) []idler {
	var list []idler
	now := c.now()
	for i := range c.berths {
		b := &c.berths[i]
		b.judge(now)
		if b.does.resting() && b.heard == b.seen && may(b.session, now-b.since) {
			one := idler{session: b.session, heard: b.heard, since: b.since, who: b.session.counted.who, application: b.session.application()}
			if b.session.lease != nil {
				one.kept = b.session.keptBecause()
			}
			list = append(list, one)
		}
	}
	return list
}

// rests tells whether the client asks nothing and is in the middle of nothing.
func (s *Session) rests() bool {
	return s.activity().resting() && len(s.partial) == 0 && s.walker.AtBorder() && s.refusing == refuseNothing
}

// mayBeReaped tells whether the client would lose nothing but its connection.
func (s *Session) mayBeReaped() bool {
	return s.lease == nil && !s.limits.ReaperExempt && s.rests()
}

// closeIdle looks at clients that were found idle again, on their loops, has end end those that still are and may be
// ended, and returns them. They are told how long they were idle.
func (srv *Server) closeIdle(found []idler, may func(*Session) bool, end func(s *Session, idle time.Duration)) (closed []idler) {
	for some := range slices.Chunk(found, reapAtOnce) {
		closed = append(closed, gather(srv, func(c *crew) (closed []idler) {
			for _, one := range some {
				s := one.session
				if s.crew == c && s.phase != PhaseClosed && c.of(s).heard == one.heard && may(s) && !s.unread() {
					end(s, c.now()-one.since)
					closed = append(closed, one)
				}
			}
			return closed
		})...)
	}
	return closed
}

// String is where clients come from, and who they are.
func (m member) String() string {
	application := cmp.Or(m.application, `""`)
	return sourceName(m.source) + " " + application + " " + m.user + "/" + m.database
}

// noteRun keeps and logs a run that has closed something. One that has not, because it may not or could not, is told
// of only when it is news.
func (srv *Server) noteRun(run ReaperRun, gone victims) {
	r := &srv.reaper
	run.Closed, run.Victims = gone.count(), gone.String()
	run.After = run.Before - run.Closed
	if (run.DryRun || run.Closed == 0) && !run.isNews(r.told[run.Of]) {
		return
	}
	if r.told == nil {
		r.told = map[string]ReaperRun{}
	}
	r.told[run.Of] = run
	r.mu.Lock()
	if len(r.runs) == reaperRunsKept {
		r.runs = slices.Delete(r.runs, 0, 1)
	}
	r.runs = append(r.runs, run)
	r.mu.Unlock()
	about := []any{
		"of", run.Of, "before", run.Before, "after", run.After, "closed", run.Closed,
		"threshold", run.Threshold, "target", run.Target, "who", run.Victims,
	}
	switch {
	case run.Closed == 0:
		srv.log.Info("the reaper finds nothing that it may close", about...)
	case run.DryRun:
		srv.log.Info("the reaper would close what has been idle longest", about...)
	default:
		srv.log.Info("the reaper has closed what was idle longest", about...)
	}
}

// isNews tells whether the run differs from the last one that was told of by more than a few victims.
func (r *ReaperRun) isNews(last ReaperRun) bool {
	switch {
	case last.Time.IsZero(), last.DryRun != r.DryRun, last.Threshold != r.Threshold, last.Target != r.Target:
		return true
	case r.Time.Sub(last.Time) < reaperPatience:
		return false
	}
	return max(r.Closed-last.Closed, last.Closed-r.Closed)*10 > last.Closed
}

// victims counts what was closed, by where it came from.
type victims map[string]int

func (v victims) add(who string, n int) { v[who] += n }

func (v victims) count() (n int) {
	for _, one := range v {
		n += one
	}
	return n
}

// String names the sources of most.
func (v victims) String() string {
	names := slices.SortedFunc(maps.Keys(v), func(a, b string) int {
		return cmp.Or(cmp.Compare(v[b], v[a]), strings.Compare(a, b))
	})
	var list []string
	for _, name := range names[:min(victimsNamed, len(names))] {
		list = append(list, fmt.Sprintf("%s ×%d", name, v[name]))
	}
	if len(names) > victimsNamed {
		list = append(list, fmt.Sprintf("and others from %d sources", len(names)-victimsNamed))
	}
	return strings.Join(list, ", ")
}
