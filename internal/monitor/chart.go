package monitor

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Range is what is asked for of history.
type Range struct {
	From, To time.Time               // To zero: until now
	Step     time.Duration           // 0: the finest that gives at most 720 points
	Keep     func(key []string) bool // lines that are wanted; nil: all
	Fields   []string                // that are wanted; nil: all
}

// Chart is history: a line for each series that was ever other than zero, by what its key is made of. What does not get
// a line of its own is in the one whose key is all "(others)".
type Chart struct {
	Step     time.Duration
	Times    []time.Time // when each step begins
	Samples  []float64   // seconds recorded in each step: a rate is a counter by these, for a step may not be over yet
	KeyNames []string
	Fields   []string
	Lines    []Line // those with most clients first
}

// Line is the history of one series.
type Line struct {
	Key    []string
	Values [][]float64 // by field, then time; NaN: nothing was recorded then
}

const (
	pointsWanted = 720
	pointsMost   = 20_000
	historyKept  = 30 * 24 * time.Hour
)

// steps are the lengths that are chosen from, in seconds: they go into each other and into what is kept.
var steps = []int64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400}

// Sources is the history of where clients come from.
func (m *Monitor) Sources(r Range) Chart { return chart(m, m.sources, kindSources, r) }

// Pools is the history of pools.
func (m *Monitor) Pools(r Range) Chart { return chart(m, m.pools, kindPools, r) }

// columnNames is the fields of a chart: gauges, counters, and the highest values of gauges.
func (s *shape[K]) columnNames() []string {
	names := plainNames(*s)
	for _, f := range s.gauges {
		names = append(names, f.name+"_max")
	}
	return names
}

func chart[K comparable](m *Monitor, a *archive[K], kind string, r Range) Chart {
	begin, step, points := r.grid(m.src.Now())
	names := a.columnNames()
	var columns []int
	var fields []string
	for i, name := range names {
		if r.Fields == nil || slices.Contains(r.Fields, name) {
			columns, fields = append(columns, i), append(fields, name)
		}
	}
	p := a.plot(begin, step, points, columns, r.Keep)
	a.read(p, m.fileOf(kind))
	c := Chart{Step: time.Duration(step) * time.Second, KeyNames: a.keyNames, Fields: fields, Times: make([]time.Time, points), Samples: p.samples}
	for i := range c.Times {
		c.Times[i] = time.Unix(begin+int64(i)*step, 0)
	}
	for _, l := range p.finish() {
		values := make([][]float64, len(columns))
		for i, column := range columns {
			values[i] = a.scaled(p, l, i, column)
		}
		c.Lines = append(c.Lines, Line{l.key, values})
	}
	return c
}

// seconds is when the range begins and ends, whole and within what is kept.
func (r Range) seconds(now time.Time) (begin, end int64) {
	to := r.To
	if to.IsZero() || to.After(now) {
		to = now.Truncate(time.Second).Add(time.Second)
	}
	begin, end = max(r.From.Unix(), now.Add(-historyKept).Unix()), to.Unix()
	if to.Nanosecond() > 0 {
		end++
	}
	return begin, max(end, begin+1)
}

// grid is the steps of a chart: when the first begins, how long each is, how many there are.
func (r Range) grid(now time.Time) (begin, step int64, points int) {
	begin, end := r.seconds(now)
	count := func(step int64) int64 { return (end-1-mod(end-1, step)-begin+mod(begin, step))/step + 1 }
	step = int64(r.Step / time.Second)
	if r.Step <= 0 {
		for _, step = range steps {
			if count(step) <= pointsWanted {
				break
			}
		}
	}
	step = max(step, 1, (end-begin)/(pointsMost-1)+1)
	return begin - mod(begin, step), step, int(count(step))
}

// plot begins a chart.
func (a *archive[K]) plot(begin, step int64, points int, columns []int, keep func([]string) bool) *plot {
	return newPlot(begin, step, points, len(a.gauges), len(a.counters), columns, len(a.keyNames), a.names(a.others), keep)
}

// finish is the lines that were ever other than zero, those that had most of the first column first, the others last.
func (p *plot) finish() []*plotLine {
	var list []*plotLine
	sums := map[*plotLine]float64{}
	take := func(l *plotLine) {
		some := false
		for _, values := range l.values {
			some = some || slices.ContainsFunc(values, func(v float64) bool { return v != 0 })
		}
		if !some {
			return
		}
		list = append(list, l)
		for _, v := range slices.Concat(l.values[:1]...) {
			sums[l] += v
		}
	}
	for _, l := range p.lines {
		take(l)
	}
	slices.SortFunc(list, func(x, y *plotLine) int { return cmp.Or(cmp.Compare(sums[y], sums[x]), cmp.Compare(x.name, y.name)) })
	if p.others != nil {
		take(p.others)
	}
	return list
}

// scaled is a column of a line in the units that people use.
func (a *archive[K]) scaled(p *plot, l *plotLine, i, column int) []float64 {
	values := l.values[i]
	fields := slices.Concat(a.gauges, a.counters, a.gauges)
	for t := range values {
		switch {
		case p.samples[t] == 0:
			values[t] = math.NaN()
		case column < len(a.gauges):
			values[t] /= p.samples[t]
		default:
			values[t] *= fields[column].scale
		}
	}
	return values
}

// fileOf shows what the file has of a kind before a second.
func (m *Monitor) fileOf(kind string) func(*plot, int64) {
	return func(p *plot, until int64) {
		if m.store != nil {
			m.store.read(kind, p, until)
		}
	}
}
