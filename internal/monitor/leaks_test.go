package monitor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pooler/config"
	"pooler/frontend"
)

// forgotten is a client that is over a limit.
func (s *scene) forgotten(id int, state string, since time.Duration) frontend.ClientInfo {
	return frontend.ClientInfo{
		ID: frontend.SessionID(id), User: "anna", Database: "shop", Application: "web", State: state,
		Remote: netip.MustParseAddrPort(fmt.Sprintf("10.0.0.7:%d", 40000+id)), Local: netip.MustParseAddrPort("10.0.0.1:6432"),
		Connected: s.clock.Add(-since - time.Hour), Since: s.clock.Add(-since),
		FirstStatement: "select ?", LastStatement: "update stock set n = ?", Comment: "file='a.py:42',route='%2Fbuy'", Statements: 12,
	}
}

func TestLeaksComeAndGo(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	s.sources = []frontend.SourceStat{source("10.0.0.7", "web", "anna", "shop", 3)}
	open := s.forgotten(1, "idle_in_transaction", 61*time.Second)
	open.Transaction, open.ServerPID = s.clock.Add(-65*time.Second), 4711
	pinned := s.forgotten(2, "idle_keeping_session", 6*time.Minute)
	pinned.Pinned, pinned.PinStatement, pinned.PinnedSince = "advisory_lock", "select pg_advisory_lock(?)", s.clock.Add(-time.Hour)
	idle := s.forgotten(3, "idle", 2*time.Hour)
	gone := s.forgotten(4, "active", time.Millisecond) // it went on while it was being described
	s.over = []frontend.ClientInfo{open, pinned, idle, gone}
	m.sweep(s.clock)
	s.pass(9 * time.Second)
	if want := (frontend.Suspicion{Idle: time.Hour, InTransaction: time.Minute, Pinned: 5 * time.Minute}); s.asked != want {
		t.Errorf("asked for %v", s.asked)
	}
	list := m.Leaks()
	if len(list) != 3 || list[0].Client != 3 || list[1].Client != 2 || list[2].Client != 1 {
		t.Fatalf("%+v", list)
	}
	l := list[2]
	if l.Kind != LeakInTransaction || l.SourceKey != (SourceKey{"10.0.0.7", "web", "anna", "shop"}) || l.Port != 40001 || l.First != "select ?" || l.Last != "update stock set n = ?" ||
		l.Statements != 12 || !l.Connected.Equal(open.Connected) || !l.Since.Equal(open.Since) || l.ServerPID != 4711 || l.Comment != open.Comment ||
		!slices.Equal(l.Tags, []Tag{{"file", "a.py:42"}, {"route", "/buy"}}) ||
		l.Why != "has a transaction open and has said nothing for 1m10s: it keeps its locks and a server session, and VACUUM cannot clean up behind it" {
		t.Errorf("%+v", l)
	}
	if l := list[1]; l.Kind != LeakPinned || l.PinReason != "advisory_lock" || l.Pin != pinned.PinStatement || l.Why != "keeps a server session because of advisory_lock and has not used it for 6m9s" {
		t.Errorf("%+v", l)
	}
	if l := list[0]; l.Kind != LeakIdle || !strings.HasPrefix(l.Why, "has been idle for 2h0m9s: ") {
		t.Errorf("%+v", l)
	}
	if lines := s.warnings(); len(lines) != 3 || !strings.Contains(s.log.String(), "file=a.py:42") || strings.Contains(s.log.String(), "buy") || strings.Contains(s.log.String(), "comment") {
		t.Errorf("logged %q", lines)
	}
	s.sample(m)
	if got := line(m.Sources(Range{From: s.clock}), "leaked", "10.0.0.7", "web", "anna", "shop"); !same(got, 3) {
		t.Errorf("leaked %v", got)
	}

	s.over = []frontend.ClientInfo{idle} // the others have gone on
	m.sweep(s.clock)
	if s.known != 3 {
		t.Errorf("%d were known", s.known)
	}
	if list := m.Leaks(); len(list) != 1 || list[0].Client != 3 {
		t.Errorf("%+v", list)
	}
	if st := m.LeakStat(); st.Now["idle"] != 1 || st.Now["pinned"] != 0 || st.Found["pinned"] != 1 || st.Unlisted != 0 {
		t.Errorf("%+v", st)
	}
	s.over = []frontend.ClientInfo{idle, open} // and one once more
	m.sweep(s.clock)
	if lines := s.warnings(); len(m.Leaks()) != 2 || len(lines) != 4 {
		t.Errorf("logged %q", lines)
	}
	s.over = nil
	m.sweep(s.clock)
	if len(m.Leaks()) != 0 || len(m.leaks.bySource) != 0 || m.leaks.listed != 0 {
		t.Errorf("%+v", m.leaks)
	}
	silent := s.forgotten(5, "idle", 2*time.Hour)
	silent.Statements, silent.FirstStatement = 0, ""
	s.over = []frontend.ClientInfo{silent}
	m.sweep(s.clock)
	if list := m.Leaks(); list[0].Why != "has connected and asked nothing for 2h0m0s" {
		t.Errorf("%+v", list)
	}
}

func (s *scene) warnings() (lines []string) {
	for l := range strings.Lines(s.log.String()) {
		if strings.Contains(l, "level=WARN") {
			lines = append(lines, l)
		}
	}
	return lines
}

func TestMoreLeaksThanAnybodyReads(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	for i := range leaksMost + 500 {
		s.over = append(s.over, s.forgotten(i+1, "idle", 2*time.Hour))
	}
	m.sweep(s.clock)
	m.sweep(s.pass(sweepEvery))
	if s.known != leaksMost+500 {
		t.Errorf("%d were known", s.known)
	}
	if list, st := m.Leaks(), m.LeakStat(); len(list) != leaksMost || st.Unlisted != 500 || st.Now["idle"] != leaksMost+500 {
		t.Errorf("%d are listed, %+v", len(list), st)
	}
	if n := m.leaks.bySource[SourceKey{"10.0.0.7", "web", "anna", "shop"}]; n != leaksMost+500 {
		t.Errorf("the source has %d", n)
	}
	if n := len(s.warnings()); n != leakLines {
		t.Errorf("%d lines in the log", n)
	}
	m.sweep(s.pass(time.Minute))
	if lines := s.warnings(); len(lines) != leakLines+1 || !strings.Contains(lines[leakLines], "leaks=990") {
		t.Errorf("the last line is %s", lines[len(lines)-1])
	}
	s.over = s.over[:600]
	m.sweep(s.pass(sweepEvery))
	if list, st := m.Leaks(), m.LeakStat(); len(list) != 600 || st.Unlisted != 0 {
		t.Errorf("%d are listed, %+v", len(list), st)
	}
	s.over = nil
	m.sweep(s.pass(sweepEvery))
	if len(m.leaks.clients) != 0 || m.leaks.listed != 0 || len(m.leaks.bySource) != 0 {
		t.Errorf("%+v", m.LeakStat())
	}
}

func TestSourcesThatOnlyGrow(t *testing.T) {
	type at struct {
		minute  int
		clients int
	}
	// climbs is one more every so many minutes, from a number on.
	climbs := func(from, every, minutes int) (list []at) {
		for i := range minutes {
			list = append(list, at{i, from + i/every})
		}
		return list
	}
	then := func(list []at, clients ...int) []at {
		for _, n := range clients {
			list = append(list, at{len(list), n})
		}
		return list
	}
	steady := func(n, minutes int) (list []int) {
		for range minutes {
			list = append(list, n)
		}
		return list
	}
	for _, tc := range []struct {
		name   string
		counts []at
		want   bool
	}{
		{"one more each minute", climbs(1, 1, 40), true},
		{"not yet for so long", climbs(1, 1, 25), false},
		{"too slow", climbs(1, 4, 60), false},
		{"it fell in between", then(climbs(1, 1, 20), append([]int{15}, steady(40, 10)...)...), false},
		{"it fell, and has grown again for so long", then(then(climbs(1, 1, 20), 15), append(steady(16, 25), 20, 25, 28, 29, 30, 31)...), true},
		{"it has stopped growing", then(climbs(1, 1, 15), steady(15, 40)...), false},
		{"it falls in the end", then(climbs(1, 1, 40), 39), false},
		{"it ends", then(climbs(1, 1, 40), 0), false},
		{"large from the start, and steady", then(nil, steady(500, 60)...), false},
		{"it grew long ago, and one more has come", then(climbs(1, 1, 15), append(steady(15, 60), 16)...), false},
		{"once reported it stays while it does not fall", then(climbs(1, 1, 40), steady(40, 60)...), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene()
			m := s.monitor("")
			for _, c := range tc.counts {
				s.sources = []frontend.SourceStat{source("10.0.0.7", "web", "anna", "shop", c.clients), source("10.0.0.8", "calm", "ben", "shop", 50)}
				for range 6 {
					m.takeSample(s.pass(10 * time.Second))
				}
			}
			m.sweep(s.clock)
			list := m.Leaks()
			if !tc.want {
				if len(list) != 0 {
					t.Errorf("%+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Kind != LeakGrowth || list[0].Application != "web" || list[0].Client != 0 || list[0].Grown < growthLeast ||
				!strings.Contains(list[0].Why, "connections that it does not close") {
				t.Fatalf("%+v", list)
			}
			if lines := s.warnings(); len(lines) != 1 || !strings.Contains(lines[0], "kind=growth") {
				t.Errorf("logged %q", lines)
			}
			s.cfg.LeakGrowth = config.Duration(0)
			s.sample(m)
			if list := m.Leaks(); len(list) != 0 {
				t.Errorf("after leak_growth was set to 0: %+v", list)
			}
		})
	}
}

// A source that falls is judged anew from then on, not from the sample after.
func TestGrowthBeginsWhenASourceFalls(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	for _, n := range []int{5, 4, 4} {
		s.sources = []frontend.SourceStat{source("10.0.0.7", "web", "anna", "shop", n)}
		s.sample(m)
	}
	if g := m.leaks.growths[SourceKey{"10.0.0.7", "web", "anna", "shop"}]; g == nil || !g.begun.Equal(s.clock.Add(-time.Second)) {
		t.Errorf("%+v, now it is %v", g, s.clock)
	}
}

// Statements that were noted with their literals are not shown once those are not to be seen.
func TestLeaksForgetLiterals(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	s.cfg.ShowLiterals = true
	s.over = []frontend.ClientInfo{s.forgotten(1, "idle", 2*time.Hour)}
	m.sweep(s.clock)
	if l := m.Leaks()[0]; l.First == "" || l.Last == "" {
		t.Errorf("%+v", l)
	}
	s.cfg.ShowLiterals = false
	m.sweep(s.clock)
	if l := m.Leaks()[0]; l.First != "" || l.Last != "" {
		t.Errorf("%+v", l)
	}
}
