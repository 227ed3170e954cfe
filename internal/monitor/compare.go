package monitor

import (
	"cmp"
	"math"
	"slices"
)

// Difference is what a source did in two stretches of time.
type Difference struct {
	SourceKey      // empty: of all sources together
	Total     bool // it is that
	A, B      Activity
	Change    Activity // from A to B
}

// Activity is what a source did in a stretch of time. All is NaN if nothing was recorded.
type Activity struct {
	ConnectsPerMinute, DisconnectsPerMinute, RefusedPerMinute float64
	ConnectedMean, ConnectedMax                               float64
	ActiveMean, WaitingMean                                   float64
	LeakedMax                                                 float64
	QueriesPerSecond                                          float64
	ServerSecondsPerMinute                                    float64
}

// Compare sets two stretches of time side by side, such as before and after a change: all sources together first, then
// those that have changed most. Of the ranges only the times and Keep matter, and Keep not for all together. Rates are of
// the time that was recorded.
func (m *Monitor) Compare(a, b Range) []Difference {
	totalA, inA, zeroA := m.activities(a)
	totalB, inB, zeroB := m.activities(b)
	rows := []Difference{{Total: true, A: totalA, B: totalB, Change: totalB.less(totalA)}}
	keys := map[SourceKey]bool{}
	for key := range inA {
		keys[key] = true
	}
	for key := range inB {
		keys[key] = true
	}
	for key := range keys {
		d := Difference{SourceKey: key, A: zeroA, B: zeroB}
		if did, ok := inA[key]; ok {
			d.A = did
		}
		if did, ok := inB[key]; ok {
			d.B = did
		}
		d.Change = d.B.less(d.A)
		rows = append(rows, d)
	}
	slices.SortFunc(rows[1:], func(x, y Difference) int { return y.compare(&x) })
	return rows
}

// compare orders by how much the connections have changed, then by how many there were.
func (d *Difference) compare(other *Difference) int {
	size := func(v float64) float64 {
		if math.IsNaN(v) {
			return 0
		}
		return math.Abs(v)
	}
	most := func(d *Difference) float64 { return max(size(d.A.ConnectedMean), size(d.B.ConnectedMean)) }
	return cmp.Or(
		cmp.Compare(size(d.Change.ConnectedMean), size(other.Change.ConnectedMean)), cmp.Compare(most(d), most(other)),
		cmp.Compare(other.Address, d.Address), cmp.Compare(other.Application, d.Application),
		cmp.Compare(other.User, d.User), cmp.Compare(other.Database, d.Database))
}

// activities is what all together and each source did, and what one did that is not among them.
func (m *Monitor) activities(r Range) (total Activity, by map[SourceKey]Activity, zero Activity) {
	begin, end := r.seconds(m.src.Now())
	s := m.sources
	columns := make([]int, 2*len(s.gauges)+len(s.counters))
	for i := range columns {
		columns[i] = i
	}
	p := s.plot(begin, end-begin, 1, columns, r.Keep)
	s.read(p, m.fileOf(kindSources))
	by = map[SourceKey]Activity{}
	for _, l := range p.finish() {
		by[SourceKey{l.key[0], l.key[1], l.key[2], l.key[3]}] = activityOf(p, l)
	}
	return activityOf(p, p.total), by, activityOf(p, p.newLine("", nil))
}

func activityOf(p *plot, l *plotLine) Activity {
	seconds := p.samples[0]
	if seconds == 0 {
		seconds = math.NaN()
	}
	mean := func(gauge int) float64 { return l.values[gauge][0] / seconds }
	most := func(gauge int) float64 { return l.values[p.gauges+p.counters+gauge][0] + 0*seconds }
	perMinute := func(counter int) float64 { return 60 * l.values[counter][0] / seconds }
	return Activity{
		ConnectsPerMinute: perMinute(countConnects), DisconnectsPerMinute: perMinute(countDisconnects), RefusedPerMinute: perMinute(countRefused),
		ConnectedMean: mean(gaugeConnected), ConnectedMax: most(gaugeConnected),
		ActiveMean: mean(gaugeActive), WaitingMean: mean(gaugeWaiting), LeakedMax: most(gaugeLeaked),
		QueriesPerSecond: perMinute(countQueries) / 60, ServerSecondsPerMinute: perMinute(countServerTime) * milli,
	}
}

func (a Activity) less(b Activity) Activity {
	return Activity{
		ConnectsPerMinute: a.ConnectsPerMinute - b.ConnectsPerMinute, DisconnectsPerMinute: a.DisconnectsPerMinute - b.DisconnectsPerMinute,
		RefusedPerMinute: a.RefusedPerMinute - b.RefusedPerMinute,
		ConnectedMean:    a.ConnectedMean - b.ConnectedMean, ConnectedMax: a.ConnectedMax - b.ConnectedMax,
		ActiveMean: a.ActiveMean - b.ActiveMean, WaitingMean: a.WaitingMean - b.WaitingMean, LeakedMax: a.LeakedMax - b.LeakedMax,
		QueriesPerSecond: a.QueriesPerSecond - b.QueriesPerSecond, ServerSecondsPerMinute: a.ServerSecondsPerMinute - b.ServerSecondsPerMinute,
	}
}
