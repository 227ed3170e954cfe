package monitor

import (
	"cmp"
	"math"
	"slices"
)

// plot is a chart in the making: what was recorded, added up by line and by step of the chart. A frame that is longer
// than a step counts for each of the steps in proportion, so that means and sums stay what they were.
type plot struct {
	begin, step int64 // seconds
	points      int
	gauges      int
	counters    int
	columns     []int // that are wanted, see shape.columns
	parts       int   // of a key
	keep        func(key []string) bool
	samples     []float64 // seconds recorded, by step
	lines       map[string]*plotLine
	others      *plotLine
	total       *plotLine
	room        int       // numbers that may still be allocated
	rest        []int64   // what the others have in the frame at hand
	stretches   []stretch // where that lies
}

// plotLine is a line of it. A nil one is not wanted.
type plotLine struct {
	name   string
	key    []string
	values [][]float64 // by wanted column
}

const (
	plotRoom  = 8 << 20 // numbers of a chart: 64 MB
	plotLines = maxTracked
)

func newPlot(begin, step int64, points, gauges, counters int, columns []int, parts int, others []string, keep func([]string) bool) *plot {
	p := &plot{
		begin: begin, step: step, points: points, gauges: gauges, counters: counters, columns: columns, parts: parts, keep: keep,
		samples: make([]float64, points), lines: map[string]*plotLine{}, room: plotRoom,
		rest: make([]int64, 2*gauges+counters),
	}
	p.total = p.newLine("", nil)
	if keep == nil || keep(others) {
		p.others = p.newLine("", others)
	}
	return p
}

func (p *plot) end() int64 { return p.begin + p.step*int64(p.points) }

func (p *plot) newLine(name string, key []string) *plotLine {
	n := len(p.columns) * p.points
	p.room -= n
	all := make([]float64, n)
	l := &plotLine{name: name, key: key, values: make([][]float64, len(p.columns))}
	for i := range l.values {
		l.values[i] = all[i*p.points : (i+1)*p.points]
	}
	return l
}

// line is the one of a name. If there are too many it is the one of the others; nil: it is not wanted.
func (p *plot) line(name string) *plotLine {
	l, known := p.lines[name]
	if known {
		return l
	}
	key, ok := decodeName(name, p.parts)
	switch {
	case !ok: // from a damaged file
		return p.others
	case p.keep != nil && !p.keep(key):
		return nil
	case len(p.lines) >= plotLines || p.room < len(p.columns)*p.points:
		return p.others
	}
	l = p.newLine(name, key)
	p.lines[name] = l
	return l
}

// stretch is a step of the chart in which a frame lies, and which share of the frame lies there.
type stretch struct {
	point int
	share float64
}

// add adds what a line had in the frame at hand. most is where the highest values of the gauges begin in values.
func (p *plot) add(l *plotLine, values []int64, most int) {
	for _, at := range p.stretches {
		for i, c := range p.columns {
			if c >= p.gauges+p.counters {
				l.values[i][at.point] = max(l.values[i][at.point], float64(values[most+c-p.gauges-p.counters]))
			} else {
				l.values[i][at.point] += at.share * float64(values[c])
			}
		}
	}
}

// place works out where in the chart the seconds from at until at+length are.
func (p *plot) place(at, length int64) {
	p.stretches = p.stretches[:0]
	from, until := max(at, p.begin), min(at+length, p.end())
	for from < until {
		point := (from - p.begin) / p.step
		next := min(until, p.begin+(point+1)*p.step)
		p.stretches = append(p.stretches, stretch{int(point), float64(next-from) / float64(length)})
		from = next
	}
}

// frame adds a frame. lines tells of each of its series, by the line that it belongs to.
func (p *plot) frame(at, length, samples int64, columns int, series func(yield func(l *plotLine, values []int64))) {
	most := p.gauges + p.counters
	if columns == most {
		most = 0 // steps of one second: the highest value is the value
	}
	p.place(at, length)
	if len(p.stretches) == 0 {
		return
	}
	for _, at := range p.stretches {
		p.samples[at.point] += at.share * float64(samples)
	}
	rest := p.rest[:columns]
	clear(rest)
	var total []int64
	series(func(l *plotLine, values []int64) {
		switch l {
		case nil:
		case p.total:
			total = values
			p.add(l, values, most)
		case p.others:
			for i, v := range values {
				rest[i] += v
			}
		default:
			p.add(l, values, most)
		}
	})
	if most > 0 && total != nil { // the highest values of several, which need not have been at the same time
		for i := range p.gauges {
			rest[most+i] = min(rest[most+i], total[most+i])
		}
	}
	if p.others != nil {
		p.add(p.others, rest, most)
	}
}

// replayed is a series while its history is gone through.
type replayed struct {
	values []int64
	line   *plotLine
	at     int // place in the list of those that are not all zero; -1: it is
}

// replay adds what a view has recorded in the seconds from from until until.
func (v *view) replay(p *plot, names map[uint64]string, from, until int64) {
	known := make(map[uint64]*replayed, len(v.base))
	var live []*replayed
	find := func(id uint64) *replayed {
		r := known[id]
		if r == nil {
			r = &replayed{line: p.others, at: -1}
			if name, tracked := names[id]; tracked {
				r.line = p.line(name)
			} else if id == idTotal {
				r.line = p.total
			}
			known[id] = r
		}
		return r
	}
	settle := func(id uint64, r *replayed) {
		switch zero := allZero(r.values); {
		case !zero && r.at < 0:
			r.at = len(live)
			live = append(live, r)
		case zero:
			if last := len(live) - 1; r.at >= 0 {
				live[r.at], live[last].at = live[last], r.at
				live = live[:last]
			}
			delete(known, id) // there may be very many that have come and gone
		}
	}
	for id, values := range v.base {
		r := find(id)
		r.values = values
		settle(id, r)
	}
	each := func(yield func(*plotLine, []int64)) {
		for _, r := range live {
			yield(r.line, r.values)
		}
	}
	for _, f := range v.frames {
		if f.at*v.step >= until {
			break
		}
		var of *replayed
		var last uint64
		_ = eachChange(f.changes, v.columns, func(id uint64, column int, by int64) { // our own: never damaged
			if of == nil || id != last {
				if of != nil {
					settle(last, of)
				}
				if of, last = find(id), id; of.values == nil {
					of.values = make([]int64, v.columns)
				}
			}
			of.values[column] += by
		})
		if of != nil {
			settle(last, of)
		}
		if f.at*v.step >= from {
			p.frame(f.at*v.step, v.step, f.samples, v.columns, each)
		}
	}
}

// begin is the first second that a view knows of.
func (v *view) begin() (second int64, ok bool) {
	if len(v.frames) == 0 {
		return 0, false
	}
	return v.frames[0].at * v.step, true
}

// read adds all that is known of the time that p shows: from memory the finest there is, before that what file has.
func (a *archive[K]) read(p *plot, file func(p *plot, until int64)) {
	a.mu.Lock()
	fine, coarse := a.fine.view(), a.coarse.view()
	names := make(map[uint64]string, len(a.byID))
	tracked := make([]*series[K], 0, len(a.byID))
	clients := make(map[*series[K]]int64, len(a.byID))
	for id, s := range a.byID {
		names[id] = s.name
		tracked = append(tracked, s)
		clients[s] = s.now[0]
	}
	waiting := slices.Clone(a.pending)
	if a.stored && a.minutes.samples > 0 {
		waiting = append(waiting, a.minuteLocked())
	}
	a.mu.Unlock()

	// Should there be more lines than a chart can have, those with most clients now have one.
	slices.SortFunc(tracked, func(x, y *series[K]) int { return cmp.Or(cmp.Compare(clients[y], clients[x]), cmp.Compare(x.id, y.id)) })
	for _, s := range tracked {
		p.line(s.name)
	}
	fineFrom, coarseFrom := seams(fine, coarse, a.stored && p.step >= minute)
	fine.replay(p, names, fineFrom, math.MaxInt64)
	coarse.replay(p, names, coarseFrom, fineFrom)
	minutesUntil := coarseFrom - mod(coarseFrom, minute) // the next one would be spread over seconds of which more is known
	if !a.stored || p.begin >= minutesUntil {
		return
	}
	for _, r := range waiting {
		if r.at < minutesUntil {
			r.show(p)
		}
	}
	file(p, minutesUntil)
}

// seams tells from when on the fine steps are used, and before that the coarse ones; before those it is the file.
// Where one ends and the next begins no step of either is torn; nor is a minute, where whole ones are wanted.
func seams(fine, coarse view, whole bool) (fineFrom, coarseFrom int64) {
	begin, ok := fine.begin()
	if !ok {
		return math.MaxInt64, math.MaxInt64
	}
	up := func(second, step int64) int64 { return second + mod(-second, step) }
	switch first, some := coarse.begin(); {
	case fine.whole || !some: // all that there has been since the start
		fineFrom = begin
		coarseFrom = begin
	default:
		fineFrom = up(begin, coarse.step)
		coarseFrom = min(first, fineFrom)
	}
	if whole {
		coarseFrom = up(coarseFrom, minute)
		fineFrom = max(fineFrom, coarseFrom)
	}
	return fineFrom, coarseFrom
}

func (r *record) show(p *plot) {
	p.frame(r.at, minute, r.samples, 2*p.gauges+p.counters, func(yield func(*plotLine, []int64)) {
		for _, row := range r.rows {
			switch {
			case row.id == idTotal:
				yield(p.total, row.values)
			case row.name == "":
				yield(p.others, row.values)
			default:
				yield(p.line(row.name), row.values)
			}
		}
	})
}
