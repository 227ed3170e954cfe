package monitor

import (
	"cmp"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"pooler/frontend"
)

// LeakKind is what a leak is suspected of.
type LeakKind uint8

// The kinds of leaks.
const (
	LeakIdle          LeakKind = iota // idle and holding nothing, for far longer than programs keep connections
	LeakInTransaction                 // idle with a transaction open
	LeakPinned                        // not using a server session that cannot leave it
	LeakGrowth                        // a source whose connections only become more
	leakKinds
)

func (k LeakKind) String() string {
	return [...]string{"idle", "idle_in_transaction", "pinned", "growth"}[k]
}

// Leak is a client, or of LeakGrowth a source, that has probably forgotten to give something back.
type Leak struct {
	Kind    LeakKind
	Client  frontend.SessionID // 0: of LeakGrowth, of which the next three are not known either
	Port    uint16             // 0: on a Unix socket
	PID     int                // of the process, if it is on this machine and may be known; 0: it is not
	Command string             // its command line, without secrets
	SourceKey
	Class       string
	Connected   time.Time
	Since       time.Time // when the client spoke last, or the source began to grow
	Found       time.Time
	First       string // statement, without its literals unless show_literals is set; "": none yet; as the next
	Last        string
	Comment     string // the last one in SQL
	Tags        []Tag  // what that says, if it has the form for it
	Statements  uint64
	PinReason   string
	Pin         string    // statement that pinned the server session
	Transaction time.Time // when the open one began; zero: there is none
	ServerPID   uint32
	Clients     int // of a source that grows
	Grown       int // by so many within leak_growth
	Why         string

	ends connection
	from int64 // connections that a source had when its growth began
}

// LeakStat is how many leaks there are and were.
type LeakStat struct {
	Now      map[string]int    // by kind
	Found    map[string]uint64 // since the start, by kind
	Unlisted int               // of those now, that Leaks does not list because there are too many
}

const (
	sweepEvery  = 500 * time.Millisecond
	leaksMost   = 1000            // reports; further leaks are only counted
	leakLines   = 10              // in the log, in a minute
	lookUpEvery = 2 * time.Second // or less often, so that it takes one part in lookUpPart of the time
	lookUpPart  = 20
	lookUpsMost = leaksMost

	// forSoLong stands in a reason for how long it is by the time that it is read.
	forSoLong      = "\x00"
	shownStatement = 1000
)

// leakWatch knows who is suspected. One goroutine sweeps, any may read.
type leakWatch struct {
	log       *slog.Logger
	processes processes

	// Of the goroutine that sweeps.
	known     map[frontend.SessionID]bool
	spare     map[frontend.SessionID]bool
	lookedUp  time.Time
	pause     time.Duration // until processes may be searched again
	searched  []search
	logged    int // lines of the minute
	unlogged  int
	minuteEnd time.Time

	mu       sync.Mutex
	clients  map[frontend.SessionID]*Leak // those that are not listed have kind and source only
	listed   int
	growing  map[SourceKey]*Leak
	growths  map[SourceKey]*growth
	window   time.Duration // that growths are judged by
	bySource map[SourceKey]int
	found    [leakKinds]uint64
	fresh    []*Leak // growths that the log has not been told of
	literals bool    // statements are noted with theirs
}

// search is for the process that a leak is.
type search struct {
	leak  *Leak
	again bool // there was no time for all processes
}

func newLeakWatch(now func() time.Time, log *slog.Logger) *leakWatch {
	return &leakWatch{
		log: log, processes: processes{root: "/proc", own: os.Getpid(), now: now},
		known: map[frontend.SessionID]bool{}, spare: map[frontend.SessionID]bool{}, clients: map[frontend.SessionID]*Leak{},
		growing: map[SourceKey]*Leak{}, growths: map[SourceKey]*growth{}, bySource: map[SourceKey]int{},
	}
}

// watch looks for leaks all the time.
func (m *Monitor) watch() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
			m.sweep(m.src.Now())
		}
	}
}

// sweep finds new leaks, and forgets those that are none any more.
func (m *Monitor) sweep(now time.Time) {
	cfg := m.src.Config()
	m.leaks.showLiterals(cfg.ShowLiterals)
	limits := frontend.Suspicion{
		Idle: time.Duration(cfg.LeakIdle), InTransaction: time.Duration(cfg.LeakIdleInTransaction), Pinned: time.Duration(cfg.LeakPinned),
	}
	over, fresh := m.src.Suspects(limits, m.leaks.known)
	m.leaks.note(now, over, fresh)
}

// showLiterals says whether literals are to be seen. If they are not any more, statements noted with them are forgotten.
func (w *leakWatch) showLiterals(shown bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.literals && !shown {
		for _, l := range w.clients {
			l.First, l.Last = "", ""
		}
	}
	w.literals = shown
}

// note takes in what a sweep has found.
func (w *leakWatch) note(now time.Time, over []frontend.SessionID, fresh []frontend.ClientInfo) {
	news, growths := w.update(now, over, fresh)
	w.lookUp(now, news)
	w.tell(now, append(news, growths...))
}

// update returns the leaks that are new, and the sources that have begun to grow.
func (w *leakWatch) update(now time.Time, over []frontend.SessionID, fresh []frontend.ClientInfo) (news, growths []*Leak) {
	still := w.spare
	clear(still)
	for _, id := range over {
		still[id] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, l := range w.clients {
		if !still[id] {
			w.endLocked(id, l)
		}
	}
	for i := range fresh {
		if l := w.beginLocked(now, &fresh[i]); l != nil {
			news = append(news, l)
		}
	}
	for _, l := range w.fresh {
		growths = append(growths, new(*l)) // the sampler goes on counting
	}
	w.fresh = nil
	for id := range still { // those that are over a limit but were not described have their turn later
		if w.clients[id] == nil {
			delete(still, id)
		}
	}
	w.known, w.spare = still, w.known
	return news, growths
}

func (w *leakWatch) endLocked(id frontend.SessionID, l *Leak) {
	delete(w.clients, id)
	if !l.Found.IsZero() {
		w.listed--
	}
	if w.bySource[l.SourceKey]--; w.bySource[l.SourceKey] <= 0 {
		delete(w.bySource, l.SourceKey)
	}
}

// beginLocked notes a leak, and returns it if it is to be listed.
func (w *leakWatch) beginLocked(now time.Time, c *frontend.ClientInfo) *Leak {
	kind, why, ok := suspicion(c)
	if !ok || w.clients[c.ID] != nil {
		return nil
	}
	w.found[kind]++
	source := sourceOf(c)
	w.bySource[source]++
	if w.listed >= leaksMost {
		w.clients[c.ID] = &Leak{Kind: kind, SourceKey: source}
		return nil
	}
	w.listed++
	l := &Leak{
		Kind: kind, Client: c.ID, Port: c.Remote.Port(), PID: c.PeerPID, SourceKey: source, Class: c.Class,
		Connected: c.Connected, Since: c.Since, Found: now,
		First: cutText(c.FirstStatement, shownStatement), Last: cutText(c.LastStatement, shownStatement),
		Comment: cutText(bare(c.Comment), shownComment), Tags: parseComment(c.Comment), Statements: uint64(c.Statements),
		PinReason: c.Pinned, Pin: cutText(c.PinStatement, shownStatement), Transaction: c.Transaction, ServerPID: c.ServerPID, Why: why,
	}
	l.ends = connection{c.Remote, c.Local}
	w.clients[c.ID] = l
	return l
}

func sourceOf(c *frontend.ClientInfo) SourceKey {
	address := "unix"
	if c.Remote.IsValid() {
		address = c.Remote.Addr().Unmap().String()
	}
	return SourceKey{address, shorten(c.Application), shorten(c.User), shorten(c.Database)}
}

// suspicion says what a client that is over a limit is suspected of, and why. false: it has gone on meanwhile.
func suspicion(c *frontend.ClientInfo) (kind LeakKind, why string, ok bool) {
	switch {
	case c.State == "idle_in_transaction":
		return LeakInTransaction, "has a transaction open and has said nothing for " + forSoLong + ": it keeps its locks and a server session, and VACUUM cannot clean up behind it", true
	case c.State == "idle_keeping_session" && c.Pinned != "":
		return LeakPinned, "keeps a server session because of " + c.Pinned + " and has not used it for " + forSoLong, true
	case c.State == "idle" && c.Statements == 0 && c.Transactions == 0:
		return LeakIdle, "has connected and asked nothing for " + forSoLong, true
	case c.State == "idle":
		return LeakIdle, "has been idle for " + forSoLong + ": a connection that was forgotten, or a pool of connections that is larger than needed", true
	}
	return 0, "", false
}

// reason is why, as of now.
func (l *Leak) reason(now time.Time) string {
	return strings.Replace(l.Why, forSoLong, max(0, now.Sub(l.Since)).Truncate(time.Second).String(), 1)
}

// lookUp finds out which local processes new leaks are. All processes are searched at once for all that wait for it, and
// not often.
func (w *leakWatch) lookUp(now time.Time, news []*Leak) {
	for _, l := range news {
		switch {
		case l.PID != 0:
			w.identify(l, l.PID)
		case l.ends.local() && len(w.searched) < lookUpsMost:
			w.searched = append(w.searched, search{leak: l})
		}
	}
	if len(w.searched) == 0 || now.Sub(w.lookedUp) < w.pause && !now.Before(w.lookedUp) {
		return
	}
	wanted := make([]connection, 0, len(w.searched))
	for _, s := range w.searched {
		wanted = append(wanted, s.leak.ends)
	}
	begun := w.processes.now()
	found, whole := w.processes.find(wanted)
	w.lookedUp, w.pause = now, max(lookUpEvery, lookUpPart*w.processes.now().Sub(begun))
	var again []search
	for _, s := range w.searched {
		if pid, ok := found[s.leak.ends]; ok {
			w.identify(s.leak, pid)
		} else if !whole && !s.again {
			again = append(again, search{s.leak, true})
		}
	}
	w.searched = again
}

func (w *leakWatch) identify(l *Leak, pid int) {
	command := w.processes.command(pid)
	w.mu.Lock()
	defer w.mu.Unlock()
	l.PID, l.Command = pid, command
}

// tell has the log say what is new, not more than somebody would read, nor what may be secret: SHOW LEAKS has the rest.
func (w *leakWatch) tell(now time.Time, news []*Leak) {
	loggedTags := []string{"file", "controller", "action", "framework"} // others may hold anything
	if !now.Before(w.minuteEnd) {
		if w.unlogged > 0 {
			w.log.Warn("more leaks were suspected than were logged", "leaks", w.unlogged, "hint", "SHOW LEAKS lists those that there are")
		}
		w.logged, w.unlogged, w.minuteEnd = 0, 0, now.Add(time.Minute)
	}
	for _, l := range news {
		if w.logged >= leakLines {
			w.unlogged++
			continue
		}
		w.logged++
		args := []any{"kind", l.Kind.String(), "address", l.Address, "application_name", l.Application, "user", l.User, "database", l.Database, "why", l.reason(now)}
		if l.Kind == LeakGrowth {
			w.log.Warn("a source opens connections and does not close them", args...)
			continue
		}
		args = append(args, "session_id", l.Client, "port", l.Port, "pid", l.PID, "connected", l.Connected)
		for _, tag := range l.Tags {
			if slices.Contains(loggedTags, tag.Key) {
				args = append(args, tag.Key, tag.Value)
			}
		}
		w.log.Warn("a client is suspected of a leak", args...)
	}
}

// Leaks lists who is suspected now, those of longest first, and the sources that only grow before all.
func (m *Monitor) Leaks() []Leak {
	w := m.leaks
	w.mu.Lock()
	list := make([]Leak, 0, w.listed+len(w.growing))
	for _, l := range w.growing {
		list = append(list, *l)
	}
	for _, l := range w.clients {
		if !l.Found.IsZero() {
			list = append(list, *l)
		}
	}
	w.mu.Unlock()
	now := m.src.Now()
	for i := range list {
		list[i].Why = list[i].reason(now)
	}
	slices.SortFunc(list, func(a, b Leak) int {
		growth := func(l *Leak) int {
			if l.Kind == LeakGrowth {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(growth(&a), growth(&b)), a.Since.Compare(b.Since), cmp.Compare(a.Client, b.Client))
	})
	return list
}

// LeakStat counts leaks.
func (m *Monitor) LeakStat() LeakStat {
	w := m.leaks
	w.mu.Lock()
	defer w.mu.Unlock()
	s := LeakStat{Now: map[string]int{}, Found: map[string]uint64{}}
	for k := range leakKinds {
		s.Now[k.String()], s.Found[k.String()] = 0, w.found[k]
	}
	for _, l := range w.clients {
		s.Now[l.Kind.String()]++
	}
	s.Now[LeakGrowth.String()] = len(w.growing)
	s.Unlisted = len(w.clients) - w.listed
	return s
}
