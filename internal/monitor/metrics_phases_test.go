package monitor

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"pooler/frontend"
	"pooler/pool"
)

// bucketFor is the bucket that the frontend counts d in.
func bucketFor(d time.Duration, count uint64) frontend.Bucket {
	index := math.Ceil(perOctave * math.Log2(d.Seconds()))
	return frontend.Bucket{Upper: time.Duration(math.Exp2(index/perOctave) * 1e9), Count: count}
}

func measured() *fakePooler {
	return &fakePooler{histograms: []frontend.HistogramStat{{
		Key: pool.Key{Database: "shop", User: "anna"}, Phase: "query", Count: 21, Sum: 12345 * time.Millisecond,
		Buckets: []frontend.Bucket{
			bucketFor(time.Microsecond, 1),       // too short to be told apart
			bucketFor(122070*time.Nanosecond, 2), // 2^-13 s
			bucketFor(122071*time.Nanosecond, 3), // and one more: the next bucket
			bucketFor(time.Millisecond, 4),
			bucketFor(900*time.Millisecond, 5),
			bucketFor(2*time.Hour, 6),
		},
	}}}
}

// scrape gets the metrics as a scraper that accepts such a format.
func scrape(t *testing.T, s *fakePooler, format expfmt.Format) []byte {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", string(format))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registryOf(t, s), promhttp.HandlerOpts{}).ServeHTTP(answer, request)
	if got := expfmt.ResponseFormat(answer.Result().Header); got.FormatType() != format.FormatType() {
		t.Fatalf("got %s, want %s", got, format)
	}
	return answer.Body.Bytes()
}

func TestPhasesAsText(t *testing.T) {
	var got []string
	for line := range strings.Lines(string(scrape(t, measured(), expfmt.NewFormat(expfmt.TypeTextPlain)))) {
		if strings.HasPrefix(line, "pooler_phase_seconds") {
			got = append(got, strings.TrimSpace(strings.Replace(line, `database="shop",phase="query",user="anna"`, "…", 1)))
		}
	}
	want := []string{
		`pooler_phase_seconds_bucket{…,le="0.0001220703125"} 3`,
		`pooler_phase_seconds_bucket{…,le="0.00048828125"} 6`,
		`pooler_phase_seconds_bucket{…,le="0.0009765625"} 6`,
		`pooler_phase_seconds_bucket{…,le="0.00390625"} 10`,
		`pooler_phase_seconds_bucket{…,le="0.0078125"} 10`,
		`pooler_phase_seconds_bucket{…,le="0.03125"} 10`,
		`pooler_phase_seconds_bucket{…,le="0.125"} 10`,
		`pooler_phase_seconds_bucket{…,le="0.5"} 10`,
		`pooler_phase_seconds_bucket{…,le="1"} 15`,
		`pooler_phase_seconds_bucket{…,le="4"} 15`,
		`pooler_phase_seconds_bucket{…,le="32"} 15`,
		`pooler_phase_seconds_bucket{…,le="256"} 15`,
		`pooler_phase_seconds_bucket{…,le="+Inf"} 21`,
		`pooler_phase_seconds_sum{…} 12.345`,
		`pooler_phase_seconds_count{…} 21`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// nativeBuckets reads a native histogram as Prometheus does: the ends of its buckets in seconds, and what is in them.
func nativeBuckets(h *dto.Histogram) (ends []float64, counts []int64) {
	index, count := int32(0), int64(0)
	deltas := h.GetPositiveDelta()
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			ends, counts = append(ends, math.Exp2(float64(index)/4)), append(counts, count)
			index++
		}
	}
	return ends, counts
}

func TestPhasesAsProtobuf(t *testing.T) {
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	body := bytes.NewReader(scrape(t, measured(), format))
	for decoder := expfmt.NewDecoder(body, format); ; {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err != nil {
			t.Fatalf("looking for pooler_phase_seconds: %v", err)
		}
		if f.GetName() != "pooler_phase_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 21 || h.GetSampleSum() != 12.345 || h.GetSchema() != 2 || len(h.GetBucket()) != len(classicBounds) {
			t.Errorf("got %v", h)
		}
		if h.GetZeroCount() != 1 || math.Abs(h.GetZeroThreshold()-math.Exp2(-19.75)) > 1e-20 {
			t.Errorf("the shortest: got %d up to %v", h.GetZeroCount(), h.GetZeroThreshold())
		}
		ends, counts := nativeBuckets(h)
		wantEnds := []float64{math.Exp2(-13), math.Exp2(-12.75), math.Exp2(-9.75), 1, math.Exp2(13)}
		if fmt.Sprint(ends) != fmt.Sprint(wantEnds) || fmt.Sprint(counts) != "[2 3 4 5 6]" {
			t.Errorf("got %v in those up to %v, want up to %v", counts, ends, wantEnds)
		}
		return
	}
}

// What has not happened yet is there, as a native histogram too: else the first time would not be seen as an increase.
func TestPhaseThatHasNotHappened(t *testing.T) {
	s := &fakePooler{histograms: []frontend.HistogramStat{{Key: pool.Key{Database: "shop", User: "anna"}, Phase: "wait"}}}
	h := gathered(t, registryOf(t, s))["pooler_phase_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 0 || len(h.GetPositiveSpan()) != 1 || h.GetPositiveSpan()[0].GetLength() != 0 || len(h.GetBucket()) != len(classicBounds) {
		t.Errorf("got %v", h)
	}
}

// Every bound is where Prometheus has it, from which it follows that classic and native buckets say the same.
func TestBounds(t *testing.T) {
	for i := -90; i < 60; i++ {
		if got, want := boundOf(i), math.Exp2(float64(i)/4); math.Abs(got/want-1) > 1e-15 {
			t.Errorf("bucket %d ends at %v, want %v", i, got, want)
		}
		rounded := time.Duration(boundOf(i) * 1e9)
		if i >= zeroBucket && indexOf(rounded) != i {
			t.Errorf("%v is the end of bucket %d, want %d", rounded, indexOf(rounded), i)
		}
	}
	if !slices.IsSorted(classicBounds) {
		t.Error("classic bounds must ascend")
	}
}
