package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pooler/frontend"
)

var appKey = []string{"10.0.0.1", "app", "anna", "shop"}

// minutes has the monitor take a sample a second for so many minutes, and write each.
func (s *scene) minutes(m *Monitor, n int) {
	for range n * 60 {
		s.sources[0].Queries += 10
		s.sample(m)
		select {
		case <-m.minutes:
			m.save(false)
		default:
		}
	}
}

func (s *scene) errorLines() int { return strings.Count(s.log.String(), "level=ERROR") }

// connectedBy is what a chart of minutes says of the connections of app.
func connectedBy(m *Monitor, from, to time.Time) []float64 {
	c := m.Sources(Range{From: from, To: to, Step: time.Minute})
	if v := line(c, "connected", appKey...); v != nil {
		return v
	}
	return make([]float64, len(c.Times))
}

func TestHistoryOutlivesThePooler(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history")
	s := newScene()
	s.clock = time.Unix(testBegin-mod(testBegin, 60)-1, 0)
	begin := s.clock.Add(time.Second)
	s.sources = []frontend.SourceStat{source(appKey[0], appKey[1], appKey[2], appKey[3], 3)}
	m := s.monitor(file)
	s.minutes(m, 5)
	for range 30 { // half a minute
		s.sources[0].Clients = 9
		s.sample(m)
	}
	m.Close()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}

	m = s.monitor(file) // started again within the same minute
	s.sources[0].Clients, s.sources[0].Queries = 6, 0
	for range 15 {
		s.sources[0].Queries += 20
		s.sample(m)
	}
	if got := connectedBy(m, begin, begin.Add(6*time.Minute)); !slices.ContainsFunc(got, math.IsNaN) || got[5] != 6 {
		t.Errorf("before the file is open: %v", got)
	}
	if !m.store.open() {
		t.Fatal("the file cannot be opened")
	}
	if got := connectedBy(m, begin, begin.Add(6*time.Minute)); !same(got, 3, 3, 3, 3, 3, 8) {
		t.Errorf("both lives: %v", got)
	}
	for range 15 {
		s.sources[0].Queries += 20
		s.sample(m)
	}
	s.minutes(m, 2)
	c := m.Sources(Range{From: begin, To: begin.Add(8 * time.Minute), Step: time.Minute})
	for field, want := range map[string][]float64{
		"connected": {3, 3, 3, 3, 3, 7.5, 6, 6}, "connected_max": {3, 3, 3, 3, 3, 9, 6, 6},
		"queries": {600, 600, 600, 600, 600, 600, 600, 600},
	} {
		if got := line(c, field, appKey...); !same(got, want...) {
			t.Errorf("%s: %v, want %v", field, got, want)
		}
	}
	if c := m.Sources(Range{From: begin, To: begin.Add(time.Minute), Step: 10 * time.Second}); !same(line(c, "queries", appKey...), 100, 100, 100, 100, 100, 100) || !same(line(c, "connected", appKey...), 3, 3, 3, 3, 3, 3) {
		t.Errorf("steps finer than the file's: %+v", c)
	}
	rows := m.Compare(Range{From: begin, To: begin.Add(5 * time.Minute)}, Range{From: begin.Add(6 * time.Minute)})
	if rows[0].A.ConnectedMean != 3 || rows[0].B.ConnectedMean != 6 || rows[1].A.QueriesPerSecond != 10 {
		t.Errorf("%+v", rows)
	}
	m.Close()
	if s.errorLines() != 0 {
		t.Error(s.log.String())
	}
}

// days is the days that a file has.
func days(t *testing.T, st *store) (days []string) {
	t.Helper()
	if err := st.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if string(name) != string(keyFormat) {
				days = append(days, string(name))
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return days
}

// A clock that is wrong for a while costs a day at most.
func TestWrongClockLeavesTheHistory(t *testing.T) {
	s := newScene()
	st := newStore(filepath.Join(t.TempDir(), "history"), s.now, s.monitor("").log)
	defer st.close()
	save := func() {
		t.Helper()
		if !st.save(map[string][]record{kindSources: {{at: s.clock.Unix(), samples: 60}}}) {
			t.Fatal(s.log.String())
		}
	}
	const day = 24 * time.Hour
	s.clock = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range daysKept {
		save()
		save()
		s.pass(day)
	}
	s.pass(-day)
	if got := days(t, st); len(got) != daysKept || got[0] != "2026-03-01" || got[30] != "2026-03-31" {
		t.Fatalf("days %v", got)
	}
	for _, wrong := range []time.Duration{60 * day, -2000 * day, 3000 * day} {
		s.pass(wrong)
		save()
		s.pass(-wrong)
		save()
	}
	if got := days(t, st); len(got) != daysKept+1 || got[0] != "2026-03-02" || got[len(got)-3] != "2026-03-31" {
		t.Errorf("days %v", got)
	}
	for range 40 {
		s.pass(day)
		save()
	}
	if got := days(t, st); len(got) != daysKept+2 || got[0] != "2026-04-10" {
		t.Errorf("days %v", got)
	}
}

func TestHistoryEndsAfterThirtyDays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history")
	s := newScene()
	s.clock = time.Date(2026, 3, 1, 23, 58, 59, 0, time.UTC)
	begin := s.clock.Add(time.Second)
	s.sources = []frontend.SourceStat{source(appKey[0], appKey[1], appKey[2], appKey[3], 3)}
	m := s.monitor(file)
	defer m.Close()
	s.minutes(m, 4) // across midnight
	s.minutes(m, 1)
	if got := days(t, m.store); !slices.Equal(got, []string{"2026-03-01", "2026-03-02"}) {
		t.Fatalf("days %v", got)
	}
	if got := connectedBy(m, begin, begin.Add(4*time.Minute)); !same(got, 3, 3, 3, 3) {
		t.Errorf("across midnight: %v", got)
	}
	for range 29 {
		s.pass(24 * time.Hour)
		s.minutes(m, 2)
	}
	if got := days(t, m.store); len(got) != 31 || got[0] != "2026-03-01" {
		t.Errorf("before thirty days are over: %v", got)
	}
	s.pass(24 * time.Hour)
	s.minutes(m, 2)
	if got := days(t, m.store); len(got) != 31 || got[0] != "2026-03-02" {
		t.Errorf("after thirty days: %v", got)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, file string) (repair func())
		hint    string
	}{
		{"another pooler has it", func(t *testing.T, file string) func() {
			db, err := bbolt.Open(file, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = db.Close() }
		}, "another process"},
		{"it is no history", func(t *testing.T, file string) func() {
			if err := os.WriteFile(file, []byte(strings.Repeat("not a history\n", 5000)), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(file) }
		}, "move the file away"},
		{"it is the database of something else", func(t *testing.T, file string) func() {
			db, err := bbolt.Open(file, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("users")); return err }), db.Close()); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(file) }
		}, "move the file away"},
		{"it is a directory", func(t *testing.T, file string) func() {
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(file) }
		}, ""},
		{"pages of it are garbage", func(t *testing.T, file string) func() {
			s := newScene()
			s.sources = []frontend.SourceStat{source("a", "b", "c", "d", 1)}
			m := s.monitor(file)
			s.minutes(m, 3)
			m.Close()
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := 2 * os.Getpagesize(); i < len(content); i++ {
				content[i] = byte(i * 7)
			}
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(file) }
		}, "move the file away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "history")
			repair := tc.prepare(t, file)
			s := newScene()
			s.clock = time.Unix(testBegin-mod(testBegin, 60)-1, 0)
			begin := s.clock.Add(time.Second)
			s.sources = []frontend.SourceStat{source(appKey[0], appKey[1], appKey[2], appKey[3], 3)}
			m := s.monitor(file)
			defer m.Close()
			s.minutes(m, 4)
			if log := s.log.String(); s.errorLines() != 1 || !strings.Contains(log, tc.hint) || !strings.Contains(log, file) {
				t.Errorf("the log says\n%s", log)
			}
			if got := connectedBy(m, begin.Add(time.Minute), begin.Add(3*time.Minute)); !same(got, 3, 3) {
				t.Errorf("meanwhile: %v", got)
			}
			repair()
			s.minutes(m, 2)
			if log := s.log.String(); !strings.Contains(log, "history file is in use again") {
				t.Errorf("afterwards the log says\n%s", log)
			}
			again := s.monitor("")
			again.sources.stored = true
			again.store = m.store
			s.sample(again)
			if got := connectedBy(again, begin, begin.Add(5*time.Minute)); !same(got, 3, 3, 3, 3, 3) { // nothing is lost
				t.Errorf("in the file: %v", got)
			}
			again.store = nil
		})
	}
}

func TestFileThatBecomesShorterUnderneath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history")
	s := newScene()
	s.sources = []frontend.SourceStat{source(appKey[0], appKey[1], appKey[2], appKey[3], 3)}
	m := s.monitor(file)
	defer m.Close()
	s.minutes(m, 3)
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	again := s.monitor("")
	again.sources.stored, again.store = true, m.store
	s.sample(again)
	again.Sources(Range{From: s.clock.Add(-time.Hour)})
	again.store = nil
	if s.errorLines() != 1 || !strings.Contains(s.log.String(), "damaged") {
		t.Errorf("the log says\n%s", s.log.String())
	}
}

func TestFileInADirectoryThatIsMissing(t *testing.T) {
	s := newScene()
	st := newStore(filepath.Join(t.TempDir(), "missing", "history"), s.now, s.monitor("").log)
	for range 121 { // two hours
		if st.save(nil) {
			t.Fatal("it is written")
		}
		s.pass(time.Minute)
	}
	if s.errorLines() != 3 || !strings.Contains(s.log.String(), "the directory does not exist") {
		t.Errorf("the log says\n%s", s.log.String())
	}
	if hint := hintFor(fmt.Errorf("open: %w", fs.ErrPermission)); !strings.Contains(hint, "allowed") {
		t.Error(hint)
	}
}

func TestWhatWaitsForTheFileIsBounded(t *testing.T) {
	a := newArchive(testShape(3), true)
	for i := range int64(100) {
		a.putBack([]record{{at: -i, rows: make([]recordRow, pendingMost/50)}})
	}
	if n := len(a.pending); n != 49 || a.pending[n-1].at != 0 {
		t.Errorf("%d minutes wait, the last one of %d", n, a.pending[n-1].at)
	}
	if n := len(a.takePending(true)); n != 49 || len(a.takePending(true)) != 0 {
		t.Errorf("%d minutes were taken", n)
	}
}

func TestFileOnAFullDisk(t *testing.T) {
	s := newScene()
	st := newStore("/dev/full", s.now, s.monitor("").log)
	if st.save(nil) {
		t.Fatal("it is written")
	}
	if s.errorLines() != 1 || !strings.Contains(s.log.String(), "the disk is full") {
		t.Errorf("the log says\n%s", s.log.String())
	}
}

func TestNamesOfADayAreBounded(t *testing.T) {
	s := newScene()
	st := newStore(filepath.Join(t.TempDir(), "history"), s.now, s.monitor("").log)
	defer st.close()
	begin := testBegin - mod(testBegin, 60)
	columns := 2*len(sourceShape().gauges) + len(sourceShape().counters)
	for i := range int64(16) {
		r := record{at: begin + 60*i, samples: 60}
		for k := range 500 {
			values := make([]int64, columns)
			values[gaugeConnected], values[countConnects] = 60, 1
			r.rows = append(r.rows, recordRow{id: 7, name: encodeName([]string{"a", fmt.Sprint(i*500 + int64(k)), "c", "d"}), values: values})
		}
		if !st.save(map[string][]record{kindSources: {r}}) {
			t.Fatal(s.log.String())
		}
	}
	if n := len(st.days[kindSources].byID); n != namesMost {
		t.Errorf("%d names", n)
	}
	st.close()
	a := newArchive(sourceShape(), true)
	p := a.plot(begin, 60, 16, []int{gaugeConnected, countConnects}, nil)
	if !st.open() {
		t.Fatal("it cannot be opened again")
	}
	st.read(kindSources, p, math.MaxInt64)
	var connects, rest float64
	for _, l := range p.finish() {
		for t, v := range l.values[1] {
			connects += v
			if l == p.others {
				rest += l.values[0][t] / p.samples[t]
			}
		}
	}
	if connects != 8000 || len(p.lines) > plotLines || rest < 3000 {
		t.Errorf("%v connects in %d lines, others %v", connects, len(p.lines), rest)
	}
}

func TestFileAndMemoryFitTogether(t *testing.T) {
	for seed := range uint64(2) {
		s := newScene()
		st := newStore(filepath.Join(t.TempDir(), "history"), s.now, s.monitor("").log)
		w, a := newWorld(seed, 8), newArchive(testShape(10), true)
		a.fine.budget, a.coarse.budget = 8<<10, 12<<10
		second := testBegin
		for range 9000 {
			if second++; w.random.IntN(1000) == 0 {
				second += w.random.Int64N(200)
			}
			w.step(false)
			a.sample(second, w.rows(second))
			if w.random.IntN(100) == 0 && !st.save(map[string][]record{kindSources: a.takePending(w.random.IntN(5) == 0)}) { // not always whole minutes
				t.Fatal(s.log.String())
			}
		}
		if n := int64(len(a.coarse.frames)); n*coarseStep > 8000 {
			t.Fatalf("memory goes back %d steps", n)
		}
		read := func(p *plot, until int64) { st.read(kindSources, p, until) }
		for _, step := range []int64{60, 120, 600, 3600, 14400} {
			begin := testBegin - mod(testBegin, step)
			w.checkWith(t, a, begin, step, int((second-begin)/step)+1, read)
		}
		st.close()
	}
}
