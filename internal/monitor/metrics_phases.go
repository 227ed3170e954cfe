package monitor

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"pooler/frontend"
	"pooler/pool"
)

var phaseSeconds = desc("phase_seconds", "How long things took for the clients of a pool, by phase (SHOW HISTOGRAMS explains them). "+
	"A native histogram, with a few classic buckets for scrapers that do not take those.", "database", "user", "phase")

// Each native bucket ends 2^(1/4) times higher than the one below (schema 2); those of the frontend have the same
// bounds. Bucket 0 ends at a second.
const (
	nativeSchema = 2
	perOctave    = 1 << nativeSchema
	zeroBucket   = -79 // the frontend counts all below 1.13 µs together
)

// classicBounds are exact, because each is also a bound of a native bucket: 2^(index/4) seconds.
var classicBounds = []int{
	-13 * perOctave, // 0.12 ms
	-11 * perOctave, // 0.49 ms
	-10 * perOctave, // 0.98 ms
	-8 * perOctave,  // 3.9 ms
	-7 * perOctave,  // 7.8 ms
	-5 * perOctave,  // 31 ms
	-3 * perOctave,  // 125 ms
	-1 * perOctave,  // 0.5 s
	0,               // 1 s
	2 * perOctave,   // 4 s
	5 * perOctave,   // 32 s
	8 * perOctave,   // 256 s
}

// quarters are 2^(-4/4), 2^(-3/4), 2^(-2/4) and 2^(-1/4), to the digit as Prometheus has them.
var quarters = [perOctave]float64{0.5, 0.5946035575013605, 0.7071067811865475, 0.8408964152537144}

// boundOf is where a native bucket ends, in seconds.
func boundOf(index int) float64 {
	octave := index >> nativeSchema
	return math.Ldexp(quarters[index-octave<<nativeSchema], octave+1)
}

// indexOf is the native bucket that ends at upper. Bounds in nanoseconds are rounded, by 0.1 % at most.
func indexOf(upper time.Duration) int {
	return int(math.Ceil(perOctave*math.Log2(upper.Seconds()) - 0.02))
}

// timings is how long something took, by native bucket.
type timings struct {
	count   uint64
	sum     time.Duration
	buckets map[int]uint64
}

func (t *timings) add(s *frontend.HistogramStat) {
	t.sum += s.Sum
	for _, b := range s.Buckets {
		t.buckets[max(indexOf(b.Upper), zeroBucket)] += b.Count
		t.count += b.Count
	}
}

// collectPhases is the histograms.
func (c *collector) collectPhases(out chan<- prometheus.Metric) {
	type of struct {
		pool.Key
		phase string
	}
	merged := map[of]*timings{}
	all := c.clients.Histograms()
	for i := range all {
		key := of{c.ranks.timing(all[i].Key), all[i].Phase}
		if merged[key] == nil {
			merged[key] = &timings{buckets: map[int]uint64{}}
		}
		merged[key].add(&all[i])
	}
	for key, t := range merged {
		out <- &histogramMetric{
			labels:    prometheus.MakeLabelPairs(phaseSeconds, []string{key.Database, key.User, key.phase}),
			histogram: t.histogram(),
		}
	}
}

// histogramMetric is a histogram with both kinds of buckets, for which client_golang has no constructor.
type histogramMetric struct {
	labels    []*dto.LabelPair
	histogram *dto.Histogram
}

// Desc implements prometheus.Metric.
func (m *histogramMetric) Desc() *prometheus.Desc { return phaseSeconds }

// Write implements prometheus.Metric.
func (m *histogramMetric) Write(to *dto.Metric) error {
	to.Label, to.Histogram = m.labels, m.histogram
	return nil
}

func (t *timings) histogram() *dto.Histogram {
	h := &dto.Histogram{
		SampleCount: proto.Uint64(t.count), SampleSum: proto.Float64(t.sum.Seconds()),
		Schema: proto.Int32(nativeSchema), ZeroThreshold: proto.Float64(boundOf(zeroBucket)), ZeroCount: proto.Uint64(t.buckets[zeroBucket]),
	}
	indices := slices.Sorted(maps.Keys(t.buckets))
	for _, bound := range classicBounds {
		var below uint64
		for _, i := range indices {
			if i <= bound {
				below += t.buckets[i]
			}
		}
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(boundOf(bound)), CumulativeCount: proto.Uint64(below)})
	}
	h.PositiveSpan, h.PositiveDelta = t.spans(indices)
	return h
}

// spans writes the buckets as Prometheus wants them: stretches of neighbours, each bucket as the difference to the one
// before. A span that is empty tells that the histogram is native though it has counted nothing.
func (t *timings) spans(indices []int) (spans []*dto.BucketSpan, deltas []int64) {
	next, before := 0, int64(0)
	for _, i := range indices {
		if i == zeroBucket {
			continue
		}
		if len(spans) == 0 || i != next {
			spans = append(spans, &dto.BucketSpan{Offset: proto.Int32(int32(i - next)), Length: proto.Uint32(0)})
		}
		*spans[len(spans)-1].Length++
		n := int64(t.buckets[i])
		deltas = append(deltas, n-before)
		before, next = n, i+1
	}
	if spans == nil {
		spans = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	return spans, deltas
}
