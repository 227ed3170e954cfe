package monitor

import "slices"

// tally adds samples up until a step of time is full. Its columns are the gauges, then the counters, and if a step has
// several samples, then the highest value of each gauge.
type tally struct {
	step     int64 // seconds
	gauges   int
	counters int
	begin    int64 // of the step that is being filled
	samples  int64 // in it; 0: none is
	rows     map[uint64]*tallyRow
	spare    []*tallyRow
}

// tallyRow is a series in the step that is being filled, and in the last one that was.
type tallyRow struct{ now, last []int64 }

func newTally(step int64, gauges, counters int) tally {
	return tally{step: step, gauges: gauges, counters: counters, rows: map[uint64]*tallyRow{}}
}

func (t *tally) columns() int {
	if t.step == 1 {
		return t.gauges + t.counters
	}
	return 2*t.gauges + t.counters
}

// add adds what a series had in a sample.
func (t *tally) add(id uint64, values []int64) {
	row := t.rows[id]
	if row == nil {
		if allZero(values) {
			return
		}
		row = t.row()
		t.rows[id] = row
	}
	for i, v := range values {
		row.now[i] += v
	}
	if t.step > 1 {
		most := row.now[t.gauges+t.counters:]
		for i := range most {
			most[i] = max(most[i], values[i])
		}
	}
}

// fold counts what a series had in this step under another one. Of the highest values it can but say what they were
// together at most.
func (t *tally) fold(id, into uint64) {
	row := t.rows[id]
	if row == nil || allZero(row.now) {
		return
	}
	other := t.rows[into]
	if other == nil {
		other = t.row()
		t.rows[into] = other
	}
	for i, v := range row.now {
		other.now[i] += v
	}
	clear(row.now)
	if allZero(row.last) { // many may come and go within a step
		delete(t.rows, id)
		t.spare = append(t.spare, row)
	}
}

func (t *tally) row() *tallyRow {
	if n := len(t.spare); n > 0 {
		row := t.spare[n-1]
		t.spare = t.spare[:n-1]
		return row
	}
	n := t.columns()
	both := make([]int64, 2*n)
	return &tallyRow{both[:n:n], both[n:]}
}

// next makes room for the next step.
func (t *tally) next() {
	for id, row := range t.rows {
		row.now, row.last = row.last, row.now
		clear(row.now)
		if allZero(row.last) {
			delete(t.rows, id)
			t.spare = append(t.spare, row)
		}
	}
	t.samples = 0
}

// ring is the recent past in steps of one length: the state before its first frame, and a frame for each step that has
// samples. Its frames take no more than budget bytes; what does not fit is forgotten, oldest first.
type ring struct {
	tally
	keep   int64 // steps
	budget int
	base   state
	frames []frame
	bytes  int  // of all frames
	whole  bool // nothing has been forgotten
	buf    []byte
}

type frame struct {
	at      int64 // the step: seconds divided by its length
	samples int64
	changes []byte // never changed once it is here
}

// frameSize is what a frame takes besides its changes.
const frameSize = 40

func newRing(step, keep int64, budget, gauges, counters int) *ring {
	return &ring{tally: newTally(step, gauges, counters), keep: keep, budget: budget, base: state{}, whole: true}
}

// open makes second part of the step that is being filled, and closes the one before.
func (r *ring) open(second int64) {
	begin := second - mod(second, r.step)
	if r.samples > 0 && begin != r.begin {
		r.close()
	}
	r.begin = begin
	r.samples++
}

// full closes the step if second was its last.
func (r *ring) full(second int64) {
	if mod(second+1, r.step) == 0 {
		r.close()
	}
}

func (r *ring) close() {
	r.buf = r.buf[:0]
	for id, row := range r.rows {
		r.buf = appendChange(r.buf, id, row.last, row.now)
	}
	f := frame{at: r.begin / r.step, samples: r.samples}
	if len(r.buf) > 0 {
		f.changes = append(make([]byte, 0, len(r.buf)), r.buf...)
	}
	r.next()
	r.frames = append(r.frames, f)
	r.bytes += frameSize + len(f.changes)
	r.forget(f.at - r.keep)
}

// forget forgets the frames up to and including a step, and those for which there is no room.
func (r *ring) forget(upTo int64) {
	n := 0
	for n < len(r.frames)-1 && (r.frames[n].at <= upTo || r.bytes > r.budget) {
		r.base.apply(r.frames[n].changes, r.columns())
		r.bytes -= frameSize + len(r.frames[n].changes)
		r.frames[n] = frame{}
		n++
	}
	if n > 0 {
		r.frames, r.whole = r.frames[n:], false
	}
}

// truncate forgets what was recorded for second and later: the clock was set back.
func (r *ring) truncate(second int64) {
	n := len(r.frames)
	for n > 0 && (r.frames[n-1].at+1)*r.step > second {
		n--
		r.bytes -= frameSize + len(r.frames[n].changes)
	}
	r.frames = r.frames[:n]
	r.samples = 0
	clear(r.rows)
	now := r.base.clone(r.columns())
	for _, f := range r.frames {
		now.apply(f.changes, r.columns())
	}
	for id, values := range now {
		row := r.row()
		clear(row.now)
		copy(row.last, values)
		r.rows[id] = row
	}
}

// view is a ring at a time, for a reader that decodes it while the ring goes on.
type view struct {
	step    int64
	columns int
	base    state
	frames  []frame
	whole   bool
}

func (r *ring) view() view {
	return view{r.step, r.columns(), r.base.clone(r.columns()), slices.Clone(r.frames), r.whole}
}

// mod is never negative.
func mod(a, b int64) int64 { return ((a % b) + b) % b }
