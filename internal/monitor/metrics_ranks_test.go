package monitor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pooler/backend"
	"pooler/frontend"
	"pooler/pool"
)

func manyPools(from, to int, opened uint64) (list []pool.Stat) {
	for i := from; i < to; i++ {
		list = append(list, pool.Stat{
			Database: fmt.Sprintf("db%04d", i), User: "u", Size: 2, Idle: 1, LongestWait: time.Duration(i) * time.Second,
			Opened: opened, Retired: map[backend.RetireReason]uint64{backend.RetireIdle: opened},
		})
	}
	return list
}

const othersLabels = "database=(others) user=(others)"

// However many names clients choose, so many series there are; what is not shown by name is in the sum.
func TestManyPoolsAreSummedUp(t *testing.T) {
	s := &fakePooler{pools: manyPools(0, 1000, 3)}
	for _, p := range s.pools {
		key := pool.Key{Database: p.Database, User: p.User}
		s.sources = append(s.sources, clientsFrom("10.0.0.1", "web", p.User, p.Database, frontend.SourceStat{Idle: 1}))
		s.databases = append(s.databases, frontend.DatabaseStat{Database: p.Database, Total: trafficOf(1, 2, 3)})
		s.histograms = append(s.histograms, frontend.HistogramStat{Key: key, Phase: "query", Count: 2, Sum: time.Second, Buckets: []frontend.Bucket{{Upper: time.Second, Count: 2}}})
	}
	families := gathered(t, registryOf(t, s))
	for name, want := range map[string]float64{
		"pooler_pool_size": 1600, "pooler_server_sessions_opened_total": 2400, "pooler_longest_wait_seconds": 999,
	} {
		values := valuesOf(families[name])
		if got := values[othersLabels]; got != want || len(values) != namedMost+1 {
			t.Errorf("%s: the others are %v in %d rows, want %v in %d", name, got, len(values), want, namedMost+1)
		}
	}
	if got := valuesOf(families["pooler_pool_clients"])["database=(others) state=idle user=(others)"]; got != 800 {
		t.Errorf("%v clients of others are idle, want 800", got)
	}
	if got := valuesOf(families["pooler_client_sent_bytes_total"])["database=(others)"]; got != 1600 {
		t.Errorf("%v bytes were sent to others, want 1600", got)
	}
	timed := families["pooler_phase_seconds"].GetMetric()
	var counted uint64
	for _, m := range timed {
		counted += m.GetHistogram().GetSampleCount()
	}
	if len(timed) != namedMost+1 || counted != 2000 {
		t.Errorf("%d histograms count %d, want %d and 2000", len(timed), counted, namedMost+1)
	}
}

// Pools come, go and come again; no counter ever decreases, and nobody who was summed up gets a name.
func TestOthersNeverDecrease(t *testing.T) {
	s := &fakePooler{}
	r := registryOf(t, s)
	opened := func() map[string]float64 {
		return valuesOf(gathered(t, r)["pooler_server_sessions_opened_total"])
	}
	for _, step := range []struct {
		name  string
		pools []pool.Stat
		want  float64
	}{
		{"ten too many", manyPools(0, 210, 5), 50},
		{"of those, five have gone", manyPools(0, 205, 5), 50},
		{"named ones have gone, and those stay where they are", manyPools(100, 205, 6), 55},
		{"the others have gone", manyPools(100, 200, 6), 55},
		{"two have come again, under names now", manyPools(100, 202, 1), 55},
		{"nobody is there", nil, 55},
		{"another crowd", manyPools(0, 201, 1), 56},
		{"its last one was forgotten and has come again in between", append(manyPools(0, 200, 1), manyPools(200, 201, 0)...), 56},
	} {
		s.pools = step.pools
		if got := opened()[othersLabels]; got != step.want {
			t.Errorf("%s: the others have opened %v, want %v", step.name, got, step.want)
		}
	}
}

// A name that cannot be a label's value must not end the process, or hide all the rest.
func TestNamesThatNoLabelTakes(t *testing.T) {
	s := &fakePooler{pools: []pool.Stat{
		{Database: "bad\xff", User: "u", Size: 1},
		{Database: "bad\xfe", User: "u", Size: 2},
		{Database: strings.Repeat("x", 1000), User: "u", Size: 4},
		{Database: othersLabel, User: othersLabel, Size: 8},
		{Database: "good", User: `quo"te` + "\n", Size: 16},
	}}
	for _, p := range s.pools {
		s.sources = append(s.sources, clientsFrom("unix", "", p.User, p.Database, frontend.SourceStat{Idle: 1}))
		s.databases = append(s.databases, frontend.DatabaseStat{Database: p.Database, Total: trafficOf(1, 1, 1)})
		s.histograms = append(s.histograms, frontend.HistogramStat{Key: pool.Key{Database: p.Database, User: p.User}, Phase: "query", Count: 1})
	}
	values := valuesOf(gathered(t, registryOf(t, s))["pooler_pool_size"])
	if values[othersLabels] != 15 || values[`database=good user=quo"te`+"\n"] != 16 || len(values) != 2 {
		t.Errorf("got %v", values)
	}
}
