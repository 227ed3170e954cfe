package monitor

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// scene is a pooler of which the test says what there is.
type scene struct {
	mu      sync.Mutex
	clock   time.Time
	sources []frontend.SourceStat
	pools   []pool.Stat
	over    []frontend.ClientInfo // clients that are over a limit
	asked   frontend.Suspicion
	known   int // of those, when it was asked last
	cfg     *config.Config
	log     bytes.Buffer
}

func newScene() *scene {
	return &scene{clock: time.Unix(testBegin, 0), cfg: &config.Config{
		LeakIdle: config.Duration(time.Hour), LeakIdleInTransaction: config.Duration(time.Minute),
		LeakPinned: config.Duration(5 * time.Minute), LeakGrowth: config.Duration(30 * time.Minute),
	}}
}

func (s *scene) monitor(file string) *Monitor {
	return New(Snapshots{
		Sources:  func() []frontend.SourceStat { return slices.Clone(s.sources) },
		Pools:    func() []pool.Stat { return s.pools },
		Suspects: s.suspects,
		Config:   func() *config.Config { return s.cfg },
		Now:      s.now,
	}, Options{HistoryFile: file}, slog.New(slog.NewTextHandler(&s.log, nil)))
}

func (s *scene) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *scene) pass(d time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
	return s.clock
}

func (s *scene) suspects(limits frontend.Suspicion, known map[frontend.SessionID]bool) (over []frontend.SessionID, fresh []frontend.ClientInfo) {
	s.asked, s.known = limits, len(known)
	for _, c := range s.over {
		over = append(over, c.ID)
		if !known[c.ID] {
			fresh = append(fresh, c)
		}
	}
	return over, fresh
}

// sample lets a second pass, and has the monitor take a sample.
func (s *scene) sample(m *Monitor) { m.takeSample(s.pass(time.Second)) }

// source is clients of one kind.
func source(address, application, user, database string, clients int) frontend.SourceStat {
	return frontend.SourceStat{
		Source: frontend.Source{Address: address, Application: application, User: user, Database: database, Clients: clients},
		Idle:   clients,
	}
}

func line(c Chart, field string, key ...string) []float64 {
	f := slices.Index(c.Fields, field)
	for _, l := range c.Lines {
		if slices.Equal(l.Key, key) && f >= 0 {
			return l.Values[f]
		}
	}
	return nil
}

// same compares numbers of which some are none.
func same(got []float64, want ...float64) bool {
	return slices.EqualFunc(got, want, func(a, b float64) bool {
		return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9
	})
}

func TestSamplesOfSourcesAndPools(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	begin := s.clock
	web := source("10.0.0.1", "web", "anna", "shop", 5)
	web.Active, web.Idle, web.InTransaction, web.Waiting, web.Pinned = 2, 1, 1, 1, 1
	web.Logins, web.Refused, web.Queries, web.ServerTime, web.Reuses = 5, 2, 100, 1500*time.Millisecond, 9
	other := source("10.0.0.1", "web", "anna", "shop", 3) // of another class
	other.Logins, other.Queries = 3, 7
	s.sources = []frontend.SourceStat{web, other, source("10.0.0.2", "cron", "ben", "shop", 1)}
	s.pools = []pool.Stat{{Database: "shop", User: "anna", Idle: 2, Active: 3, Reclaiming: 1, Waiting: 4, Use: pool.Use{Requests: 50, WaitTime: 2500 * time.Millisecond}, Opened: 6}}
	s.sample(m)
	s.sources[0].Queries, s.sources[0].ServerTime, s.sources[0].Clients, s.sources[1].Ends = 160, 2250*time.Millisecond, 7, 1
	s.pools[0].Requests, s.pools[0].Waiting = 80, 0
	s.sample(m)
	s.pass(2 * time.Second) // the machine sleeps
	s.sample(m)
	m.takeSample(s.now()) // once more in the same second

	nan := math.NaN()
	c := m.Sources(Range{From: begin.Add(time.Second), To: begin.Add(6 * time.Second)})
	if c.Step != time.Second || len(c.Times) != 5 || !c.Times[0].Equal(begin.Add(time.Second)) || !slices.Equal(c.KeyNames, []string{"address", "application", "user", "database"}) || len(c.Lines) != 2 {
		t.Fatalf("%+v", c)
	}
	webKey := []string{"10.0.0.1", "web", "anna", "shop"}
	if !same(c.Samples, 1, 1, 0, 0, 1) {
		t.Errorf("%v seconds recorded", c.Samples)
	}
	for field, want := range map[string][]float64{
		"connected": {8, 10, nan, nan, 10}, "active": {2, 2, nan, nan, 2}, "idle": {4, 4, nan, nan, 4}, "idle_in_transaction": {1, 1, nan, nan, 1},
		"waiting": {1, 1, nan, nan, 1}, "pinned": {1, 1, nan, nan, 1}, "leaked": {0, 0, nan, nan, 0},
		"connects": {8, 0, nan, nan, 0}, "disconnects": {0, 1, nan, nan, 0}, "refused": {2, 0, nan, nan, 0}, "reuses": {9, 0, nan, nan, 0},
		"queries": {107, 60, nan, nan, 0}, "server_seconds": {1.5, .75, nan, nan, 0}, "connected_max": {8, 10, nan, nan, 10},
	} {
		if got := line(c, field, webKey...); !same(got, want...) {
			t.Errorf("%s: %v, want %v", field, got, want)
		}
	}
	if got := line(c, "connected", "10.0.0.2", "cron", "ben", "shop"); !same(got, 1, 1, nan, nan, 1) {
		t.Errorf("cron: %v", got)
	}
	c = m.Pools(Range{From: begin, Step: 10 * time.Second})
	if !same(c.Samples, 3) { // it is not over
		t.Errorf("%v seconds recorded", c.Samples)
	}
	for field, want := range map[string]float64{
		"open": 6, "busy": 4, "idle": 2, "waiting": 4. / 3, "waiting_max": 4, "requests": 80, "wait_seconds": 2.5, "opened": 6,
	} {
		if got := line(c, field, "shop", "anna"); !same(got, want) {
			t.Errorf("%s: %v, want %v", field, got, want)
		}
	}
	c = m.Sources(Range{From: begin, Step: 10 * time.Second, Fields: []string{"queries", "connected_max"}, Keep: func(key []string) bool { return key[1] == "cron" }})
	if !slices.Equal(c.Fields, []string{"queries", "connected_max"}) || len(c.Lines) != 1 || !same(c.Lines[0].Values[1], 1) {
		t.Errorf("%+v", c)
	}
	if c := m.Sources(Range{From: begin, Fields: []string{"nothing"}}); len(c.Lines) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestMonitorRunsAndStops(t *testing.T) {
	s := newScene()
	s.sources = []frontend.SourceStat{source("unix", "a", "b", "c", 3)}
	m := s.monitor("")
	m.src.Now = time.Now
	begin := time.Now()
	m.Start()
	deadline, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for recorded := 0; recorded < 2; {
		select {
		case <-deadline:
			t.Fatal("nothing is recorded")
		case <-tick.C:
			recorded = 0
			for _, v := range line(m.Sources(Range{From: begin}), "connected", "unix", "a", "b", "c") {
				if v == 3 {
					recorded++
				}
			}
		}
	}
	m.Close()
}

func TestSamplesAreTakenAtWholeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene()
		s.sources = []frontend.SourceStat{source("unix", "a", "b", "c", 3)}
		m := s.monitor("")
		m.src.Suspects, m.src.Now = nil, time.Now
		var taken []time.Time
		m.src.Sources = func() []frontend.SourceStat {
			if taken = append(taken, time.Now()); len(taken) == 5 {
				<-time.After(3200 * time.Millisecond) // all loops are busy, or the machine sleeps
			}
			return s.sources
		}
		<-time.After(300 * time.Millisecond)
		begin := time.Now()
		m.Start()
		<-time.After(10 * time.Second)
		m.Close()
		for _, at := range taken {
			if at.Nanosecond() != 0 {
				t.Errorf("a sample at %v", at)
			}
		}
		nan := math.NaN()
		got := line(m.Sources(Range{From: begin.Add(time.Second), To: begin.Add(10 * time.Second)}), "connected", "unix", "a", "b", "c")
		if !same(got, 3, 3, 3, 3, 3, nan, nan, nan, 3, 3) {
			t.Errorf("%v", got)
		}
	})
}

func TestBugEndsAPartOfTheMonitorOnly(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	m.src.Suspects, m.src.Now = nil, time.Now
	m.src.Sources = func() []frontend.SourceStat { panic("oops") }
	m.Start()
	m.done.Wait()
	m.Close()
	if log := s.log.String(); !strings.Contains(log, "part=samples panic=oops") {
		t.Errorf("the log says %s", log)
	}
	m.Sources(Range{})
}

func TestMonitorIsAskedByManyAtOnce(t *testing.T) {
	s := newScene()
	m := s.monitor(filepath.Join(t.TempDir(), "history"))
	one := s.forgotten(1, "idle", time.Hour)
	one.Remote = netip.AddrPort{}
	m.src.Suspects = func(frontend.Suspicion, map[frontend.SessionID]bool) ([]frontend.SessionID, []frontend.ClientInfo) {
		return []frontend.SessionID{1}, []frontend.ClientInfo{one}
	}
	var stop atomic.Bool
	var asking sync.WaitGroup
	begin := s.clock
	for range 2 {
		asking.Go(func() {
			for !stop.Load() {
				m.Sources(Range{From: begin})
				m.Pools(Range{From: begin, Step: time.Minute})
				m.Compare(Range{From: begin, To: begin.Add(time.Minute)}, Range{From: begin.Add(time.Minute)})
				m.Leaks()
				m.LeakStat()
			}
		})
	}
	asking.Go(func() {
		for !stop.Load() {
			m.sweep(s.now())
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 150 {
		s.sources = nil
		for k := range 20 {
			s.sources = append(s.sources, source("10.0.0.1", fmt.Sprint("a", random.IntN(600)), "anna", "shop", i+k))
		}
		s.sample(m)
		if i%30 == 0 {
			m.save(false)
		}
	}
	stop.Store(true)
	asking.Wait()
	m.Close()
}

func TestLongNamesAreCut(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	long := strings.Repeat("x", 5000)
	s.sources = []frontend.SourceStat{source("10.0.0.1", long+"1", "anna", "shop", 3), source("10.0.0.1", long+"2", "anna", "shop", 4)}
	one := s.forgotten(1, "idle", 2*time.Hour)
	one.Application, one.Remote = long, netip.MustParseAddrPort("10.0.0.1:1234")
	stranger := s.forgotten(2, "idle", 2*time.Hour)
	s.over = []frontend.ClientInfo{one, stranger}
	m.sweep(s.clock)
	s.sample(m)
	c := m.Sources(Range{From: s.clock})
	if len(c.Lines) != 2 || !same(line(c, "connected", "10.0.0.1", long[:longestName], "anna", "shop"), 7) || !same(line(c, "leaked", "10.0.0.1", long[:longestName], "anna", "shop"), 1) {
		t.Errorf("%v", c.Lines)
	}
	if got := line(c, "leaked", restName, restName, restName, restName); !same(got, 1) {
		t.Errorf("of a client whose source is not told apart: %v", got)
	}
}

func TestCulpritsInOneLook(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	old := s.clock.Add(-90 * 24 * time.Hour)
	cron := source("10.0.0.9", "cron", "job", "shop", 60)
	cron.Oldest, cron.LastStatement = old, "SELECT ?"
	grafana := source("10.0.0.9", "grafana", "viewer", "metrics", 20)
	grafana.LastMinute, grafana.LastStatement, grafana.Oldest = 3, "SELECT * FROM cpu WHERE t > ?", s.clock
	class := source("10.0.0.9", "grafana", "viewer", "metrics", 2)
	s.sources = []frontend.SourceStat{grafana, cron, class}
	for i := range 6 {
		one := source(fmt.Sprintf("10.0.0.%d", i+1), "web", "anna", "shop", 1+i%2)
		one.LastMinute = i
		s.sources = append(s.sources, one)
	}
	s.sources[4].Idle, s.sources[4].Active = 0, 2
	s.sample(m)
	s.sources[4].ServerTime = 90 * time.Second
	s.sample(m)

	list := m.Culprits(RankLive)
	if first := list[0]; len(list) != 7 || first.Address != "10.0.0.9" || first.Clients != 82 || first.Idle != 82 || math.Abs(first.Share-82./91) > 1e-9 ||
		first.Application != "" || !first.Oldest.Equal(old) || first.LastStatement != "SELECT ?" || len(first.Sources) != 2 {
		t.Fatalf("%+v", list[0])
	}
	if under := list[0].Sources; under[0].Application != "cron" || under[0].Clients != 60 || under[1].Clients != 22 || under[1].LastStatement != grafana.LastStatement || under[1].Database != "metrics" || math.Abs(under[1].Share-22./91) > 1e-9 {
		t.Errorf("%+v", under)
	}
	for by, want := range map[Rank]string{RankIdle: "10.0.0.9", RankOldest: "10.0.0.9", RankConnect: "10.0.0.6", RankServer: "10.0.0.2"} {
		if got := m.Culprits(by); got[0].Address != want || got[0].Share <= 0 {
			t.Errorf("by %s: first is %+v", by, got[0])
		}
		if back, err := ParseRank(by.String()); err != nil || back != by {
			t.Errorf("%s is read as %s, %v", by, back, err)
		}
	}
	if got := m.Culprits(RankServer)[0]; got.ServerSeconds != 90 || got.Share != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := ParseRank("beauty"); err == nil {
		t.Error("there is a ranking by beauty")
	}
	s.sources = nil
	if list := s.monitor("").Culprits(RankLive); len(list) != 0 {
		t.Errorf("nobody is a culprit: %+v", list)
	}
}

func TestTwoWindowsCompared(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	begin := s.clock.Add(time.Second)
	s.sources = []frontend.SourceStat{source("10.0.0.1", "leaky", "anna", "shop", 0), source("10.0.0.2", "calm", "ben", "shop", 4)}
	s.sources[1].Logins = 4
	for range 120 { // before the fix: a connection more each second
		leaky := &s.sources[0]
		leaky.Clients++
		leaky.Logins++
		leaky.Queries += 2
		leaky.ServerTime += 100 * time.Millisecond
		s.sample(m)
	}
	s.sources[0].Ends, s.sources[0].Clients = 115, 5
	for range 60 {
		s.sources[0].Queries += 4
		s.sample(m)
	}
	rows := m.Compare(Range{From: begin, To: begin.Add(2 * time.Minute)}, Range{From: begin.Add(2 * time.Minute), To: begin.Add(3 * time.Minute)})
	if len(rows) != 3 || !rows[0].Total || rows[0].SourceKey != (SourceKey{}) || rows[1].Application != "leaky" || rows[2].Application != "calm" {
		t.Fatalf("%+v", rows)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 && (!math.IsNaN(got) || !math.IsNaN(want)) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	l := rows[1]
	near("connects before", l.A.ConnectsPerMinute, 60)
	near("connects after", l.B.ConnectsPerMinute, 0)
	near("mean before", l.A.ConnectedMean, 60.5)
	near("most before", l.A.ConnectedMax, 120)
	near("change of the mean", l.Change.ConnectedMean, 5-60.5)
	near("disconnects after", l.B.DisconnectsPerMinute, 115)
	near("queries before", l.A.QueriesPerSecond, 2)
	near("queries after", l.B.QueriesPerSecond, 4)
	near("server seconds before", l.A.ServerSecondsPerMinute, 6)
	near("all before", rows[0].A.ConnectedMean, 64.5)
	near("most of all before", rows[0].A.ConnectedMax, 124)
	near("most of all after", rows[0].B.ConnectedMax, 9)
	near("calm", rows[2].Change.ConnectedMean, 0)

	rows = m.Compare(Range{From: begin.Add(-time.Hour), To: begin.Add(-time.Minute)}, Range{From: begin})
	near("nothing was recorded", rows[0].A.ConnectedMean, math.NaN())
	near("nothing was recorded", rows[1].A.ConnectedMax, math.NaN())
	near("until now", rows[0].B.ConnectedMax, 124)
}

// crowd is clients in so many sources.
func crowd(sources, clients int) []frontend.SourceStat {
	list := make([]frontend.SourceStat, 0, sources)
	for i := range sources {
		list = append(list, source(fmt.Sprintf("10.1.%d.%d", i/250, i%250), fmt.Sprintf("application-%d", i), "anna", "shop", clients/sources))
	}
	return list
}

func benchmarkSample(b *testing.B, sources, clients int) {
	s := newScene()
	s.sources = crowd(sources, clients)
	m := s.monitor("")
	m.src.Sources = func() []frontend.SourceStat { return s.sources }
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range s.sources { // all are active
			st := &s.sources[i]
			st.Queries += uint64(10 + n%7)
			st.ServerTime += time.Duration(10+(n+i)%7) * time.Millisecond
			st.Active = (n + i) % 3
		}
		s.sample(m)
	}
}

func BenchmarkSampleOf50Sources(b *testing.B)   { benchmarkSample(b, 50, 5000) }
func BenchmarkSampleOf500Sources(b *testing.B)  { benchmarkSample(b, 500, 5000) }
func BenchmarkSampleOf4000Sources(b *testing.B) { benchmarkSample(b, 4000, 8000) }

// BenchmarkADay is a day of 30 sources that are all active, and how long a chart of it takes.
func BenchmarkADay(b *testing.B) {
	var m *Monitor
	var s *scene
	heap := func() float64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return float64(stats.HeapAlloc)
	}
	before := heap()
	{
		s = newScene()
		s.sources = crowd(30, 600)
		m = s.monitor("")
		m.src.Sources = func() []frontend.SourceStat { return s.sources }
		random := uint32(1)
		for range 86_400 {
			for i := range s.sources {
				st := &s.sources[i]
				random = random*1664525 + 1013904223
				st.Queries += uint64(random >> 26)
				st.ServerTime += time.Duration(random>>27) * time.Millisecond
				st.Active = int(random>>28) % 4
				st.Idle = st.Clients - st.Active
				st.Reuses += uint64(random >> 29)
				switch random >> 24 {
				case 0:
					st.Clients++
					st.Logins++
				case 1:
					st.Clients--
					st.Ends++
				}
			}
			s.sample(m)
		}
	}
	grown := heap() - before
	for b.Loop() {
		if c := m.Sources(Range{From: s.clock.Add(-24 * time.Hour)}); len(c.Lines) != 30 {
			b.Fatalf("%d lines", len(c.Lines))
		}
	}
	b.ReportMetric(grown, "B-heap")
	b.ReportMetric(float64(m.sources.fine.bytes), "B-fine")
	b.ReportMetric(float64(m.sources.coarse.bytes), "B-coarse")
	b.ReportMetric(float64(len(m.sources.coarse.frames))/360, "h-coarse")
	b.ReportMetric(float64(len(m.sources.fine.frames))/60, "min-fine")
}
