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
	found := srv.idleLongest(run.excess(), time.Duration(cfg.ReaperMinIdle))
	gone := victims{}
	if run.DryRun {
		for _, one := range found {
			gone.add(one.who.String(), 1)
		}
	} else {
		for some := range slices.Chunk(found, reapAtOnce) {
			srv.closeIdle(some, run.Threshold, gone)
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
}

// idleLongest finds the n clients that have been idle longest, but at least for least.
func (srv *Server) idleLongest(n int, least time.Duration) []idler {
	all := gather(srv, func(c *crew) []idler { return c.idlers(least) })
	slices.SortFunc(all, func(a, b idler) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.session.id, b.session.id))
	})
	return all[:min(n, len(all))]
}

func (c *crew) idlers(least time.Duration) []idler {
	var list []idler
	now := c.now()
	for i := range c.berths {
		b := &c.berths[i]
		if b.does != doesNothing || b.heard != b.seen || now-b.since < least || !b.session.mayBeReaped() {
			continue
		}
		list = append(list, idler{b.session, b.heard, b.since, b.session.counted.who})
	}
	return list
}

// mayBeReaped tells whether the client would lose nothing but its connection.
func (s *Session) mayBeReaped() bool {
	return s.activity() == doesNothing && !s.limits.ReaperExempt && len(s.partial) == 0 && s.walker.AtBorder() &&
		s.refusing == refuseNothing
}

// closeIdle closes those clients that are still idle, and adds them to gone.
func (srv *Server) closeIdle(found []idler, threshold int, gone victims) {
	closed := gather(srv, func(c *crew) (closed []member) {
		for _, one := range found {
			s := one.session
			if s.crew == c && s.phase == PhaseIdle && c.of(s).heard == one.heard && s.mayBeReaped() && !s.unread() {
				s.endWith(EndReaped, &Refusal{
					Code: codeIdleSession, Message: "terminating connection because there are too many clients",
					Hint: fmt.Sprintf("It was idle for %s, and the pooler's reaper_client_threshold = %d is exceeded. Connect again when it is needed.",
						(c.now() - one.since).Round(time.Second), threshold),
				})
				closed = append(closed, one.who)
			}
		}
		return closed
	})
	for _, who := range closed {
		gone.add(who.String(), 1)
	}
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
