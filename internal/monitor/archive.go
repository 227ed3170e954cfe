package monitor

import (
	"sync"
	"time"
)

// What is kept, and how much memory that may take: when it does not suffice, history gets shorter.
const (
	fineKeep     = 3600         // steps of 1 s
	fineBudget   = 4 << 20      // bytes
	coarseStep   = 10           // s
	coarseKeep   = 24 * 360     // of those
	coarseBudget = 8 << 20      // bytes
	minute       = int64(60)    // s: the step of the file
	pendingMost  = 30_000       // rows of minutes that wait for the file: hours of what is usual, 8 MB
	maxTracked   = 500          // sources by name, see track
	maxPools     = 200          // likewise pools
	nobodyYet    = -1 << 62     // a time before all others
	idOthers     = uint64(0)    // those that are not tracked by name
	idTotal      = uint64(1)    // all together
	idFirst      = uint64(2)    // of those that are
	milli        = 1.0 / 1000.0 // durations are kept in milliseconds
)

// field is one number of a series.
type field struct {
	name  string
	scale float64 // of one unit as it is kept
}

// shape is what an archive has series of.
type shape[K comparable] struct {
	keyNames []string
	gauges   []field
	counters []field
	most     int  // series tracked by name
	others   K    // stands for the rest
	moves    bool // the counts of a row that vanishes go on in the row of the others, so that the sum never falls
	names    func(K) []string
}

// sampleRow is what is known of one key at a time: gauges, then counters since whenever.
type sampleRow[K comparable] struct {
	key    K
	values [maxColumns]int64
	series *series[K] // nil: it is not tracked
}

// series is a key that is tracked by name.
type series[K comparable] struct {
	id      uint64
	key     K
	name    string  // the key as text: see encodeName
	now     []int64 // gauges, and how much the counters have grown since the last sample
	totals  []int64 // of the counters
	before  []int64 // in the last sample
	present bool    // in this sample
	was     bool    // in the last one
	busy    int64   // when it was last seen with clients
	joined  bool    // it is tracked from this sample on, and was not new
	dropped bool
}

// archive keeps the history of one kind of series. One goroutine samples, any may read.
type archive[K comparable] struct {
	shape[K]

	mu       sync.Mutex
	tracked  map[K]*series[K]
	byID     map[uint64]*series[K]
	ids      uint64
	crowd    map[K]struct{} // untracked in this sample
	crowded  map[K]struct{} // and in the last one
	totals   []int64        // of the counters of all rows, in the last sample
	sums     []int64        // scratch
	rest     []int64        // what the others have in this sample
	total    []int64
	last     int64 // second of the last sample
	fine     *ring
	coarse   *ring
	minutes  tally
	pending  []record // minutes that the file does not have yet, oldest first
	stored   bool     // there is to be a file
	smallest int64    // clients of the tracked series with fewest; see victim
}

func newArchive[K comparable](s shape[K], stored bool) *archive[K] {
	g, c := len(s.gauges), len(s.counters)
	return &archive[K]{
		shape: s, tracked: map[K]*series[K]{}, byID: map[uint64]*series[K]{}, ids: idFirst,
		crowd: map[K]struct{}{}, crowded: map[K]struct{}{},
		totals: make([]int64, c), sums: make([]int64, c), rest: make([]int64, g+c), total: make([]int64, g+c),
		last: nobodyYet, stored: stored,
		fine: newRing(1, fineKeep, fineBudget, g, c), coarse: newRing(coarseStep, coarseKeep, coarseBudget, g, c),
		minutes: newTally(minute, g, c),
	}
}

// setBack is how far back the clock may go without history being forgotten.
const setBack = 5

// sample records what is true at a second. It reports false if that second is recorded already.
func (a *archive[K]) sample(second int64, rows []sampleRow[K]) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if second <= a.last {
		if second > a.last-setBack {
			return false
		}
		a.fine.truncate(second)
		a.coarse.truncate(second)
		a.closeMinuteLocked()
	}
	a.last = second
	a.lookUpLocked(second, rows)
	a.addUpLocked(rows)
	a.recordLocked(second)
	return true
}

// lookUpLocked finds the series of each row, and gives those a series that deserve one.
func (a *archive[K]) lookUpLocked(second int64, rows []sampleRow[K]) {
	for _, s := range a.tracked {
		s.was, s.present = s.present, false
		clear(s.now)
		s.before, s.totals = s.totals, s.before
		clear(s.totals)
	}
	for i := range rows {
		row := &rows[i]
		if row.series = a.tracked[row.key]; row.series != nil {
			row.series.take(row.values[:], len(a.gauges), second)
		}
	}
	a.crowd, a.crowded = a.crowded, a.crowd
	clear(a.crowd)
	a.smallest = -1
	for i := range rows {
		row := &rows[i]
		if row.series == nil && row.key != a.others && a.tracked[row.key] == nil && !a.trackLocked(second, row) {
			a.crowd[row.key] = struct{}{}
		}
	}
	for i := range rows { // now that it is settled which are tracked: a key may have several rows
		row := &rows[i]
		if row.series == nil {
			if row.series = a.tracked[row.key]; row.series != nil {
				row.series.take(row.values[:], len(a.gauges), second)
			}
		}
	}
}

// take adds a row to what the series has in this sample.
func (s *series[K]) take(values []int64, gauges int, second int64) {
	s.present = true
	if values[0] > 0 {
		s.busy = second
	}
	for i := range s.now[:gauges] {
		s.now[i] += values[i]
	}
	for i := range s.totals {
		s.totals[i] += values[gauges+i]
	}
}

// trackLocked tracks the key of a row by name, if there is room or if it matters more than one that is.
func (a *archive[K]) trackLocked(second int64, row *sampleRow[K]) bool {
	clients := row.values[0]
	if len(a.tracked) >= a.most {
		v := a.victimLocked(second, clients)
		if v == nil {
			return false
		}
		a.dropLocked(v)
	}
	g, c := len(a.gauges), len(a.counters)
	all := make([]int64, g+c+c+c)
	s := &series[K]{
		id: a.ids, key: row.key, name: encodeName(a.names(row.key)),
		now: all[: g+c : g+c], totals: all[g+c : g+c+c : g+c+c], before: all[g+c+c:], busy: nobodyYet,
	}
	a.ids++
	if clients > 0 {
		s.busy = second
	}
	_, s.joined = a.crowded[row.key]
	a.tracked[row.key], a.byID[s.id] = s, s
	return true
}

// victimLocked chooses the tracked series that gives way to one with so many clients: the one that has had none for
// longest, else the smallest if it is not half as large. nil: none does.
func (a *archive[K]) victimLocked(second, clients int64) *series[K] {
	if clients == 0 || a.smallest > 0 && clients <= 2*a.smallest {
		return nil
	}
	var idle, small *series[K]
	for _, s := range a.tracked {
		switch n := s.now[0]; {
		case s.busy == second && n == 0: // tracked a moment ago
		case n == 0 && (idle == nil || s.busy < idle.busy || s.busy == idle.busy && s.id < idle.id):
			idle = s
		case n > 0 && (small == nil || n < small.now[0] || n == small.now[0] && s.id > small.id):
			small = s
		}
	}
	if idle != nil {
		return idle
	}
	if small == nil {
		return nil
	}
	if a.smallest = small.now[0]; clients <= 2*a.smallest {
		return nil
	}
	a.smallest = -1
	return small
}

// dropLocked counts a series under the others from now on, and what it has in memory too.
func (a *archive[K]) dropLocked(s *series[K]) {
	delete(a.tracked, s.key)
	delete(a.byID, s.id)
	s.dropped = true
	if s.present {
		a.crowd[s.key] = struct{}{}
	}
	a.fine.fold(s.id, idOthers)
	a.coarse.fold(s.id, idOthers)
	a.minutes.fold(s.id, idOthers)
}

// addUpLocked turns counts into growth, and works out what the others have: all that the tracked series do not.
func (a *archive[K]) addUpLocked(rows []sampleRow[K]) {
	g := len(a.gauges)
	clear(a.sums)
	clear(a.rest)
	clear(a.total)
	for i := range rows {
		row := &rows[i]
		for k := range g {
			a.total[k] += row.values[k]
			if row.series == nil || row.series.dropped {
				a.rest[k] += row.values[k]
			}
		}
		for k := range a.sums {
			a.sums[k] += row.values[g+k]
		}
	}
	for k, now := range a.sums {
		a.total[g+k], a.rest[g+k] = now-a.totals[k], now-a.totals[k]
	}
	for _, s := range a.tracked {
		a.growLocked(s)
	}
	for k := range a.sums {
		if rest := a.rest[g+k]; rest < 0 {
			a.rest[g+k] = 0
			if a.moves { // the sum never falls, so it is behind by this and will catch up
				a.sums[k] -= rest
			}
		}
		a.total[g+k] = a.rest[g+k]
		for _, s := range a.tracked {
			a.total[g+k] += s.now[g+k]
		}
	}
	a.totals, a.sums = a.sums, a.totals
}

// growLocked works out how much the counters of a series have grown: those that are less than half of what they were
// have begun at 0 again. Others may be a little less than before, as time is, and grow when they are past it.
func (a *archive[K]) growLocked(s *series[K]) {
	g := len(a.gauges)
	for k, total := range s.totals {
		grown := total
		switch {
		case s.joined: // what it has done so far was counted under the others
			grown = 0
		case !s.was: // its first sample, or it was away
		case s.present && total >= s.before[k]:
			grown = total - s.before[k]
		case s.present && 2*total >= s.before[k]:
			grown, s.totals[k] = 0, s.before[k]
			if !a.moves { // else it may have moved to the others, and counts there
				a.rest[g+k] += s.before[k] - total
				a.sums[k] += s.before[k] - total
			}
		case !a.moves: // what was counted before is in no row any more
			a.rest[g+k] += s.before[k]
		}
		s.now[g+k] = grown
		a.rest[g+k] -= grown
	}
	s.joined = false
}

func (a *archive[K]) recordLocked(second int64) {
	for _, r := range []*ring{a.fine, a.coarse} {
		r.open(second)
		a.feedLocked(&r.tally)
		r.full(second)
	}
	if a.minutes.samples > 0 && a.minutes.begin != second-mod(second, minute) {
		a.closeMinuteLocked()
	}
	a.minutes.begin = second - mod(second, minute)
	a.minutes.samples++
	a.feedLocked(&a.minutes)
	if mod(second+1, minute) == 0 {
		a.closeMinuteLocked()
	}
}

func (a *archive[K]) feedLocked(t *tally) {
	t.add(idOthers, a.rest)
	t.add(idTotal, a.total)
	for id, s := range a.byID {
		t.add(id, s.now)
	}
}

// milliseconds is how durations are kept: what a second's sample tells is not exact to more, and it saves a byte or two.
func milliseconds(d time.Duration) int64 { return int64(d / time.Millisecond) }
