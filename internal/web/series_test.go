package web

import (
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"pooler/internal/monitor"
)

var discard = slog.New(slog.DiscardHandler)

// fakeMonitor answers with what it is asked for.
type fakeMonitor struct {
	mu    sync.Mutex
	asked []monitor.Range
}

func newFakeMonitor() *fakeMonitor { return &fakeMonitor{} }

func (m *fakeMonitor) ask(r ...monitor.Range) {
	m.mu.Lock()
	m.asked = append(m.asked, r...)
	m.mu.Unlock()
}

func (m *fakeMonitor) Sources(r monitor.Range) monitor.Chart {
	m.ask(r)
	c := monitor.Chart{Step: 10 * time.Second, Times: []time.Time{time.Unix(100, 0), time.Unix(110, 5e8)}, Samples: []float64{10, 0.5}, KeyNames: []string{"address", "user"}, Fields: []string{"connected", "active"}}
	for _, key := range [][]string{{"10.0.0.1", "=anna"}, {"unix", "ben"}} {
		if r.Keep == nil || r.Keep(key) {
			c.Lines = append(c.Lines, monitor.Line{Key: key, Values: [][]float64{{1, 2.5}, {math.NaN(), 0}}})
		}
	}
	return c
}

func (m *fakeMonitor) Pools(r monitor.Range) monitor.Chart {
	m.ask(r)
	return monitor.Chart{Step: time.Second, KeyNames: []string{"database", "user"}, Fields: []string{"open"}}
}

func (m *fakeMonitor) Compare(a, b monitor.Range) []monitor.Difference {
	m.ask(a, b)
	nothing := monitor.Activity{ConnectedMean: math.NaN()}
	return []monitor.Difference{
		{Total: true, A: monitor.Activity{ConnectedMean: 1}, B: monitor.Activity{ConnectedMean: 3}, Change: monitor.Activity{ConnectedMean: 2}},
		{SourceKey: monitor.SourceKey{Address: "10.0.0.1", Application: "app", User: "anna", Database: "shop"}, A: nothing, B: nothing, Change: nothing},
	}
}

func (m *fakeMonitor) LeakStat() monitor.LeakStat {
	return monitor.LeakStat{Now: map[string]int{"idle": 2, "growth": 1}}
}

func TestHistory(t *testing.T) {
	m := newFakeMonitor()
	s := openSite(t, withTrust, func(o *Options) { o.Dashboard.Monitor = m })
	for _, c := range []struct{ query, want string }{
		{"", `{"step":10,"times":[100,110.5],"samples":[10,0.5],"key_names":["address","user"],"fields":["connected","active"],"lines":[{"key":["10.0.0.1","=anna"],"values":[[1,2.5],[null,0]]},{"key":["unix","ben"],"values":[[1,2.5],[null,0]]}]}`},
		{"kind=sources&filter=ANN+10.", `{"step":10,"times":[100,110.5],"samples":[10,0.5],"key_names":["address","user"],"fields":["connected","active"],"lines":[{"key":["10.0.0.1","=anna"],"values":[[1,2.5],[null,0]]}]}`},
		{"kind=pools", `{"step":1,"times":[],"samples":[],"key_names":["database","user"],"fields":["open"],"lines":[]}`},
		{"format=csv&filter=anna", "time,recorded_seconds,address,user,connected,active\r\n1970-01-01T00:01:40Z,10,10.0.0.1,'=anna,1,\r\n1970-01-01T00:01:50.5Z,0.5,10.0.0.1,'=anna,2.5,0\r\n"},
	} {
		got := s.send("/api/series?"+c.query, "", basic("looker", ""))
		if strings.TrimSuffix(got.body, "\n") != strings.TrimSuffix(c.want, "\n") {
			t.Errorf("%s: got %s\nwant %s", c.query, got.body, c.want)
		}
	}
	for query, name := range map[string]string{"format=csv": "sources", "format=csv&kind=pools": "pools"} {
		if got := s.send("/api/series?"+query, "", basic("looker", "")).header.Get("Content-Disposition"); got != `attachment; filename="`+name+`.csv"` {
			t.Errorf("%s: %s", query, got)
		}
	}
	if got := s.send("/api/now", "", basic("looker", "")); !strings.Contains(got.body, `"leaked":3,`) || !strings.Contains(got.body, `"monitor":true`) {
		t.Errorf("now: %s", got.body)
	}
}

func TestStretchesOfTime(t *testing.T) {
	m := newFakeMonitor()
	now := time.Unix(1_800_000_000, 0)
	s := openSite(t, withTrust, func(o *Options) {
		o.Dashboard.Monitor = m
		o.Dashboard.Snapshots.Now = func() time.Time { return now }
	})
	for _, c := range []struct {
		query    string
		from, to time.Time
		step     time.Duration
		part     string
	}{
		{"", now.Add(-defaultSpan), now, 0, ""},
		{"from=1700000000.25&to=1700000100&step=10", time.Unix(1_700_000_000, 250_000_000), time.Unix(1_700_000_100, 0), 10 * time.Second, ""},
		{"from=2026-03-01T12:00:00Z&to=" + url.QueryEscape("2026-03-01T14:00:00+01:00") + "&step=1m", time.Unix(1_772_366_400, 0), time.Unix(1_772_370_000, 0), time.Minute, ""},
		{"from=yesterday", now, now, 0, "from"},
		{"from=NaN", now, now, 0, "from"},
		{"to=1e300", now, now, 0, "to"},
		{"from=200&to=100", now, now, 0, "from"},
		{"step=-1", now, now, 0, "step"},
		{"step=often", now, now, 0, "step"},
		{"kind=clients", now, now, 0, "kind"},
		{"format=xml", now, now, 0, "format"},
	} {
		m.asked = nil
		got := s.send("/api/series?"+c.query, "", basic("looker", ""))
		if c.part != "" {
			if got.status != http.StatusBadRequest || got.json(t)["part"] != c.part || len(m.asked) > 0 {
				t.Errorf("%s: %d %s", c.query, got.status, got.body)
			}
			continue
		}
		if len(m.asked) != 1 || !m.asked[0].From.Equal(c.from) || !m.asked[0].To.Equal(c.to) || m.asked[0].Step != c.step {
			t.Errorf("%s: asked for %v", c.query, m.asked)
		}
	}
}

func TestTwoStretchesSideBySide(t *testing.T) {
	m := newFakeMonitor()
	s := openSite(t, withTrust, func(o *Options) { o.Dashboard.Monitor = m })
	const query = "/api/compare?a_from=100&a_to=200&b_from=300&b_to=400"
	got := s.send(query, "", basic("looker", ""))
	var shown struct {
		View    string
		Columns []struct{ Name, Type string }
		Rows    [][]any
	}
	if err := json.Unmarshal([]byte(got.body), &shown); err != nil || len(shown.Rows) != 2 || len(shown.Columns) != 4+3*len(measures) {
		t.Fatalf("%v in %s", err, got.body)
	}
	for column, want := range map[string][2]any{
		"address": {allSources, "10.0.0.1"}, "database": {allSources, "shop"},
		"connected_mean_a": {1.0, nil}, "connected_mean_b": {3.0, nil}, "connected_mean_change": {2.0, nil}, "queries_per_second_a": {0.0, 0.0},
	} {
		for i, c := range shown.Columns {
			if c.Name == column && (shown.Rows[0][i] != want[0] || shown.Rows[1][i] != want[1]) {
				t.Errorf("%s: %v, %v", column, shown.Rows[0][i], shown.Rows[1][i])
			}
		}
	}
	if len(m.asked) != 2 || m.asked[0].From.Unix() != 100 || m.asked[0].To.Unix() != 200 || m.asked[1].From.Unix() != 300 || m.asked[1].To.Unix() != 400 {
		t.Errorf("asked for %v", m.asked)
	}
	if got := s.send(query+"&format=csv", "", basic("looker", "")); !strings.HasPrefix(got.body, "address,application,user,database,connected_mean_a,") {
		t.Errorf("got %s", got.body)
	}
	if got := s.send("/api/compare?a_from=200&a_to=100", "", basic("looker", "")); got.json(t)["part"] != "a_from" {
		t.Errorf("got %s", got.body)
	}
}
