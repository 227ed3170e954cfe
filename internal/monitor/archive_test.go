package monitor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

// The archive of these tests has two gauges and two counters.
func testShape(most int) shape[string] {
	return shape[string]{
		keyNames: []string{"name"}, gauges: plain("connected", "active"), counters: plain("connects", "queries"),
		most: most, others: restName, moves: true, names: func(k string) []string { return []string{k} },
	}
}

const (
	testGauges  = 2
	testFields  = 4
	testColumns = 6
	testBegin   = int64(1_800_000_003)
)

type testValues [testFields]int64

// world is clients as the frontend tells of them, and what was true of them at each second.
type world struct {
	random *rand.Rand
	names  []string
	live   map[string]*testValues          // gauges, then counts so far
	gone   testValues                      // counts of those that were forgotten
	truth  map[int64]map[string]testValues // growth instead of counts
	before map[string]testValues
	sum    map[int64]testValues
	last   testValues
}

func newWorld(seed uint64, names int) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 6)), live: map[string]*testValues{}, truth: map[int64]map[string]testValues{},
		before: map[string]testValues{}, sum: map[int64]testValues{},
	}
	for i := range names {
		w.names = append(w.names, fmt.Sprintf("name-%d", i))
	}
	return w
}

// step lets something happen. With forget, names may be forgotten, and return.
func (w *world) step(forget bool) {
	for range w.random.IntN(4) {
		name := w.names[w.random.IntN(len(w.names))]
		v := w.live[name]
		if v == nil {
			v = &testValues{}
			w.live[name] = v
		}
		switch w.random.IntN(6) {
		case 0:
			v[0] += 1 + w.random.Int64N(5)
			v[2] += v[0]
		case 1:
			v[0] = max(0, v[0]-w.random.Int64N(4))
			v[1] = min(v[0], v[1])
		case 2:
			v[1] = w.random.Int64N(v[0] + 1)
		case 3:
			v[0], v[1] = 0, 0
			if forget {
				w.gone[2] += v[2]
				w.gone[3] += v[3]
				delete(w.live, name)
				if w.random.IntN(2) == 0 { // back at once, with counts of its own
					w.live[name] = &testValues{1, 0, 1, 0}
				}
			}
		default:
			v[3] += w.random.Int64N(1000)
		}
	}
}

// rows is what the frontend would tell, and takes note of it. A name may have several rows, as those with classes have.
func (w *world) rows(second int64) []sampleRow[string] {
	var rows []sampleRow[string]
	truth, sum := map[string]testValues{}, testValues{}
	for _, name := range w.names {
		v := w.live[name]
		if v == nil {
			continue
		}
		one := sampleRow[string]{key: name}
		copy(one.values[:], v[:])
		if v[0] > 1 {
			other := one
			for i := range testFields {
				other.values[i] = v[i] / 3
				one.values[i] = v[i] - v[i]/3
			}
			rows = append(rows, other)
		}
		rows = append(rows, one)
		grown := *v
		for i := testGauges; i < testFields; i++ {
			grown[i] -= w.before[name][i]
		}
		truth[name], w.before[name] = grown, *v
		for i := range sum {
			sum[i] += v[i]
		}
	}
	if w.gone != (testValues{}) {
		one := sampleRow[string]{key: restName}
		copy(one.values[:], w.gone[:])
		rows = append(rows, one)
		sum[2] += w.gone[2]
		sum[3] += w.gone[3]
	}
	w.truth[second] = truth
	total := sum
	for i := testGauges; i < testFields; i++ {
		total[i] -= w.last[i]
	}
	w.sum[second], w.last = total, sum
	w.random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// shownBy is what an archive shows: by name and column, for each step.
func shownBy(a *archive[string], begin, step int64, points int, file func(*plot, int64)) (*plot, map[string][][]float64) {
	columns := make([]int, testColumns)
	for i := range columns {
		columns[i] = i
	}
	p := a.plot(begin, step, points, columns, nil)
	if file == nil {
		file = func(*plot, int64) {}
	}
	a.read(p, file)
	shown := map[string][][]float64{}
	for _, l := range p.finish() {
		shown[l.key[0]] = l.values
	}
	return p, shown
}

// naive is what a chart should show of values at each second: sums of gauges and counters, highest values of gauges.
func naive(of func(second int64) testValues, begin, step int64, points int) [][]float64 {
	want := make([][]float64, testColumns)
	for i := range want {
		want[i] = make([]float64, points)
	}
	for t := range points {
		for second := begin + int64(t)*step; second < begin+int64(t+1)*step; second++ {
			v := of(second)
			for i := range testFields {
				want[i][t] += float64(v[i])
			}
			for i := range testGauges {
				want[testFields+i][t] = max(want[testFields+i][t], float64(v[i]))
			}
		}
	}
	return want
}

func (w *world) check(t *testing.T, a *archive[string], begin, step int64, points int) {
	t.Helper()
	w.checkWith(t, a, begin, step, points, nil)
}

// checkWith checks that what is shown of each name is what was true of it, with a file if there is one.
func (w *world) checkWith(t *testing.T, a *archive[string], begin, step int64, points int, file func(*plot, int64)) {
	t.Helper()
	p, shown := shownBy(a, begin, step, points, file)
	for i := range points {
		recorded := 0
		for s := begin + int64(i)*step; s < begin+int64(i+1)*step; s++ {
			if _, ok := w.truth[s]; ok {
				recorded++
			}
		}
		if p.samples[i] != float64(recorded) {
			t.Fatalf("step %d of %d s from %d: %v seconds recorded, want %d", i, step, begin, p.samples[i], recorded)
		}
	}
	for _, name := range w.names {
		want := naive(func(s int64) testValues { return w.truth[s][name] }, begin, step, points)
		got := shown[name]
		if got == nil {
			got = naive(func(int64) testValues { return testValues{} }, begin, step, points)
		}
		for c := range want {
			if !slices.Equal(got[c], want[c]) {
				t.Fatalf("%s, column %d, steps of %d s from %d:\n got %v\nwant %v", name, c, step, begin, got[c], want[c])
			}
		}
	}
	if len(shown[restName]) != 0 {
		t.Fatalf("others although all are tracked: %v", shown[restName])
	}
}

// checkSums checks that all lines together are what all had together, in the seconds that are recorded.
func (w *world) checkSums(t *testing.T, a *archive[string], begin, step int64, points int) {
	t.Helper()
	_, shown := shownBy(a, begin, step, points, nil)
	want := naive(func(s int64) testValues { return w.sum[s] }, begin, step, points)
	for c := range testFields {
		for i := range points {
			var got float64
			for _, values := range shown {
				got += values[c][i]
			}
			if math.Abs(got-want[c][i]) > 1e-6 {
				t.Fatalf("column %d, step %d of %d s from %d: all lines together have %v, want %v", c, i, step, begin, got, want[c][i])
			}
		}
	}
	for i := range testGauges { // what the others had at most cannot be more than what all had
		for k, most := range shown[restName] {
			if k == testFields+i {
				for s, v := range most {
					if v > want[k][s] {
						t.Fatalf("the others had at most %v, all together %v", v, want[k][s])
					}
				}
			}
		}
	}
}

func TestArchiveShowsWhatWasTrueAtEachStep(t *testing.T) {
	for seed := range uint64(2) {
		w, a := newWorld(seed, 8), newArchive(testShape(10), false)
		second := testBegin
		for range 9000 {
			second++
			if w.random.IntN(500) == 0 { // the machine sleeps
				second += w.random.Int64N(100)
			}
			w.step(false)
			if !a.sample(second, w.rows(second)) {
				t.Fatal("a second is refused")
			}
		}
		w.check(t, a, second-3000, 1, 3001)
		for _, step := range []int64{2, 7, 60, 300} {
			w.check(t, a, second-3000, step, int(3000/step)+1)
		}
		for _, step := range []int64{10, 20, 60, 600, 3600} { // beyond the hour that is kept by the second
			w.check(t, a, testBegin-mod(testBegin, step), step, int((second-testBegin)/step)+2)
		}
		// Steps shorter than what is kept: sums are right all the same.
		begin := testBegin - mod(testBegin, 60)
		_, shown := shownBy(a, begin, 3, 1000, nil)
		for _, name := range w.names {
			want := naive(func(s int64) testValues { return w.truth[s][name] }, begin, 3000, 1)
			if values := shown[name]; values != nil {
				for c := range testFields {
					var sum float64
					for _, v := range values[c] {
						sum += v
					}
					if math.Abs(sum-want[c][0]) > 1e-6 {
						t.Fatalf("%s, column %d: %v in all, want %v", name, c, sum, want[c][0])
					}
				}
			}
		}
	}
}

func TestTotalsAreExactHoweverManyComeAndGo(t *testing.T) {
	for seed := range uint64(3) {
		w, a := newWorld(seed, 40), newArchive(testShape(5), false)
		second := testBegin
		for range 4500 {
			second++
			w.step(true)
			a.sample(second, w.rows(second))
			if len(a.tracked) > 5 || len(a.byID) != len(a.tracked) {
				t.Fatalf("%d are tracked", len(a.tracked))
			}
		}
		w.checkSums(t, a, second-3000, 1, 3001)
		w.checkSums(t, a, testBegin-mod(testBegin, 60), 60, 76)
		w.checkSums(t, a, testBegin-mod(testBegin, 60), 10, 451)
	}
}

func TestMemoryThatDoesNotSufficeMakesHistoryShorter(t *testing.T) {
	w, a := newWorld(1, 30), newArchive(testShape(20), false)
	a.fine.budget, a.coarse.budget = 8<<10, 12<<10
	second := testBegin
	for range 7_000 {
		second++
		w.step(true)
		a.sample(second, w.rows(second))
		if a.fine.bytes > a.fine.budget || a.coarse.bytes > a.coarse.budget {
			t.Fatalf("%d and %d bytes", a.fine.bytes, a.coarse.bytes)
		}
	}
	fine, coarse := len(a.fine.frames), len(a.coarse.frames)
	if fine < 50 || fine >= 3600 || coarse < 50 || coarse >= 700 {
		t.Fatalf("%d and %d steps are kept", fine, coarse)
	}
	begin := second - int64(fine) + 11 - mod(second-int64(fine)+1, 10) // where a step of ten seconds ends
	w.checkSums(t, a, begin, 1, int(second-begin)+1)
	begin = second - mod(second, 60) - int64(coarse/6*60) + 60
	w.checkSums(t, a, begin, 60, int(second-begin)/60)
	_, shown := shownBy(a, testBegin, 10, 10, nil)
	if len(shown) != 0 {
		t.Errorf("what was forgotten is shown: %v", shown)
	}
}

func TestAHundredThousandNamesTakeBoundedMemory(t *testing.T) {
	a := newArchive(sourceShape(), false)
	rows := make([]sampleRow[SourceKey], 0, 2001)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var connects, total int64
	second := testBegin
	for n := 0; n < 100_000; n += 1000 {
		second++
		rows = rows[:0]
		for i := range 2000 { // 1,000 come each second, and stay for another
			if name := n + 1000 - i; name > 0 {
				row := sampleRow[SourceKey]{key: SourceKey{"192.0.2.7", fmt.Sprintf("evil-%d", name), "eve", "shop"}}
				row.values[gaugeConnected], row.values[countConnects] = 1+int64(name%3), 1
				rows = append(rows, row)
			}
		}
		gone := sampleRow[SourceKey]{key: SourceKey{restName, restName, restName, restName}}
		gone.values[countConnects] = max(0, int64(n)-1000)
		rows = append(rows, gone)
		a.sample(second, rows)
		connects = int64(n + 1000)
		if len(a.tracked) > maxTracked || len(a.fine.rows) > 3*maxTracked || len(a.minutes.rows) > 3*maxTracked || len(a.crowd) > 2000 {
			t.Fatalf("%d are tracked, %d and %d rows", len(a.tracked), len(a.fine.rows), len(a.minutes.rows))
		}
	}
	if grown := heap() - before; grown > 24<<20 {
		t.Errorf("%d bytes are in use", grown)
	}
	p := a.plot(testBegin, 1000, 1, []int{countConnects}, nil)
	a.read(p, func(*plot, int64) {})
	for _, l := range p.finish() {
		total += int64(l.values[0][0])
	}
	if total != connects {
		t.Errorf("%d connects in all, want %d", total, connects)
	}
	runtime.KeepAlive(rows)
}

func TestWhoIsTrackedByName(t *testing.T) {
	row := func(key string, clients int64) sampleRow[string] {
		r := sampleRow[string]{key: key}
		r.values[0] = clients
		return r
	}
	a := newArchive(testShape(3), false)
	second := testBegin
	sample := func(rows ...sampleRow[string]) (tracked []string) {
		second++
		a.sample(second, rows)
		for key := range a.tracked {
			tracked = append(tracked, key)
		}
		slices.Sort(tracked)
		return tracked
	}
	expect := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("room for all", sample(row("a", 5), row("b", 3), row("c", 4)), "a", "b", "c")
	expect("all have clients, and it is not twice as large", sample(row("a", 5), row("b", 3), row("c", 4), row("d", 6)), "a", "b", "c")
	expect("it is more than twice as large as the smallest", sample(row("a", 5), row("b", 3), row("c", 4), row("d", 7)), "a", "c", "d")
	expect("without clients it keeps its place", sample(row("a", 0), row("c", 4), row("d", 7)), "a", "c", "d")
	sample(row("c", 0), row("d", 7))
	expect("one without clients is no reason", sample(row("d", 7), row("e", 0)), "a", "c", "d")
	expect("who has had none for longest gives way", sample(row("d", 7), row("e", 1)), "c", "d", "e")
	expect("then the next", sample(row("d", 7), row("e", 1), row("f", 1)), "d", "e", "f")
	expect("the row of the others is none of them", sample(row("d", 7), row("e", 1), row("f", 1), row(restName, 100)), "d", "e", "f")
	id := a.tracked["f"].id
	if id != idFirst+5 {
		t.Errorf("numbers are used again: %d", id)
	}
	_, shown := shownBy(a, testBegin+1, 1, 3, nil)
	if got := shown[restName][0]; !slices.Equal(got, []float64{12, 18, 12}) { // a, b and c, which are not tracked any more, and d before it was
		t.Errorf("the others had %v", got)
	}
}

func TestClockThatIsSetBack(t *testing.T) {
	a := newArchive(testShape(3), true)
	row := func(clients, queries int64) []sampleRow[string] {
		r := sampleRow[string]{key: "a"}
		r.values[0], r.values[3] = clients, queries
		return []sampleRow[string]{r}
	}
	for i := range int64(200) {
		a.sample(testBegin+i, row(7, i))
	}
	if a.sample(testBegin+198, row(8, 250)) {
		t.Error("a second was recorded twice")
	}
	if !a.sample(testBegin+100, row(9, 300)) {
		t.Error("what comes after the clock was set back is not recorded")
	}
	a.sample(testBegin+101, row(9, 310))
	p, shown := shownBy(a, testBegin, 1, 200, nil)
	if got := shown["a"][0][98:103]; !slices.Equal(got, []float64{7, 7, 9, 9, 0}) || p.samples[102] != 0 {
		t.Errorf("%v, %v seconds recorded", got, p.samples[102])
	}
	if got := shown["a"][3][99:102]; !slices.Equal(got, []float64{1, 101, 10}) {
		t.Errorf("queries %v", got)
	}
}

// Time that servers were used for may go back by some milliseconds: that is no growth, nor a beginning.
func TestCountersThatGoBackALittle(t *testing.T) {
	for _, moves := range []bool{true, false} {
		shape := testShape(1)
		shape.moves = moves
		a := newArchive(shape, false)
		second := testBegin
		for _, n := range [][2]int64{{1000, 500}, {990, 500}, {985, 510}, {1005, 511}, {1010, 530}, {40, 530}, {50, 530}} {
			second++
			rows := make([]sampleRow[string], 2)
			rows[0].key, rows[0].values[0], rows[0].values[3] = "a", 5, n[0]
			rows[1].key, rows[1].values[0], rows[1].values[3] = "b", 1, n[1]
			if moves && n[0] <= 50 { // a is forgotten, and back at once
				rows = append(rows, sampleRow[string]{key: restName})
				rows[2].values[3] = 1010
			}
			a.sample(second, rows)
		}
		_, shown := shownBy(a, testBegin+1, 1, 7, nil)
		if got := shown["a"][3]; !slices.Equal(got, []float64{1000, 0, 0, 5, 5, 40, 10}) {
			t.Errorf("it has grown by %v (moves: %t)", got, moves)
		}
		want := []float64{500, 0, 10, 1, 19, 0, 0}
		if moves { // what has gone back may be in the others' row, which catches up
			want = []float64{500, 0, 0, 11, 19, 0, 0}
		}
		if got := shown[restName][3]; !slices.Equal(got, want) {
			t.Errorf("the others have grown by %v (moves: %t)", got, moves)
		}
	}
}

func TestCountersOfPoolsBeginAgain(t *testing.T) {
	a := newArchive(poolShape(), false)
	key := PoolKey{"shop", "anna"}
	second := testBegin
	sample := func(requests ...int64) {
		second++
		var rows []sampleRow[PoolKey]
		for i, n := range requests {
			if n >= 0 {
				row := sampleRow[PoolKey]{key: key}
				if i > 0 {
					row.key = PoolKey{"books", "ben"}
				}
				row.values[4] = n
				rows = append(rows, row)
			}
		}
		a.sample(second, rows)
	}
	sample(10, 5)
	sample(15, 5)
	sample(3, 9)  // restarted
	sample(-1, 9) // gone
	sample(8, 20) // back
	p := a.plot(testBegin+1, 1, 5, []int{4}, nil)
	a.read(p, nil)
	want := map[string][]float64{"shop": {10, 5, 3, 0, 8}, "books": {5, 0, 4, 0, 11}}
	for _, l := range p.finish() {
		if !slices.Equal(l.values[0], want[l.key[0]]) {
			t.Errorf("%v: %v, want %v", l.key, l.values[0], want[l.key[0]])
		}
		delete(want, l.key[0])
	}
	if len(want) > 0 {
		t.Errorf("there is no line of %v", want)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendChange(nil, 7, make([]int64, 4), []int64{1, -2, 0, 1 << 60}), 4)
	f.Add([]byte{0xff, 0xff}, 20)
	f.Add([]byte{1, 3, 2}, 2)
	f.Fuzz(func(t *testing.T, data []byte, columns int) {
		columns = 1 + int(uint(columns)%maxColumns)
		now := state{}
		changes := 0
		err := eachChange(data, columns, func(_ uint64, column int, _ int64) {
			if column < 0 || column >= columns {
				t.Fatalf("column %d of %d", column, columns)
			}
			changes++
		})
		if changes > len(data) {
			t.Fatalf("%d changes in %d bytes", changes, len(data))
		}
		now.apply(data, columns)
		if r := (record{}); r.decode(data, columns) && len(r.rows) > len(data) {
			t.Fatalf("%d rows in %d bytes", len(r.rows), len(data))
		}
		if err != nil {
			return
		}
		var again []byte
		for id, values := range now {
			again = appendChange(again, id, make([]int64, columns), values)
		}
		copied := state{}
		copied.apply(again, columns)
		for id, values := range now {
			if !slices.Equal(values, copied[id]) {
				t.Fatalf("%v became %v", values, copied[id])
			}
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add("192.0.2.7", "a\x00b", "\x03abc")
	f.Fuzz(func(t *testing.T, a, b, raw string) {
		if got, ok := decodeName(encodeName([]string{a, b}), 2); !ok || got[0] != a || got[1] != b {
			t.Fatalf("%q and %q became %q, %t", a, b, got, ok)
		}
		if got, ok := decodeName(raw, 2); ok && len(got) != 2 {
			t.Fatalf("%q", got)
		}
	})
}

func TestSteps(t *testing.T) {
	now := time.Unix(1_800_000_000, 500)
	for _, tc := range []struct {
		name   string
		r      Range
		step   int64
		points int
		begin  int64
	}{
		{"the last minute", Range{From: now.Add(-time.Minute)}, 1, 61, 1_799_999_940},
		{"an hour", Range{From: now.Add(-time.Hour)}, 10, 361, 1_799_996_400},
		{"a day", Range{From: now.Add(-24 * time.Hour)}, 300, 289, 1_799_913_600},
		{"all", Range{}, 7200, 361, 1_797_408_000},
		{"a step that would be too fine", Range{Step: time.Second}, 130, 19939, 0},
		{"the end before the beginning", Range{From: now, To: now.Add(-time.Hour)}, 1, 1, 1_800_000_000},
		{"a fraction of a second", Range{From: now.Add(-time.Second), Step: time.Millisecond}, 1, 2, 1_799_999_999},
	} {
		begin, step, points := tc.r.grid(now)
		if step != tc.step || points != tc.points || tc.begin > 0 && begin != tc.begin {
			t.Errorf("%s: %d steps of %d s from %d", tc.name, points, step, begin)
		}
	}
}
