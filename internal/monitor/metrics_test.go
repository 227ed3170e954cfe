package monitor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/internal/journal"
	"pooler/internal/sessionstate"
	"pooler/pool"
)

// fakePooler is a pooler that does nothing but look so.
type fakePooler struct {
	stat       frontend.Stat
	sources    []frontend.SourceStat
	databases  []frontend.DatabaseStat
	histograms []frontend.HistogramStat
	pools      []pool.Stat
	bugs       uint64
}

func (s *fakePooler) Stat() frontend.Stat                  { return s.stat }
func (s *fakePooler) Sources() []frontend.SourceStat       { return s.sources }
func (s *fakePooler) Databases() []frontend.DatabaseStat   { return s.databases }
func (s *fakePooler) Histograms() []frontend.HistogramStat { return s.histograms }
func (s *fakePooler) Config() *config.Config               { return &config.Config{MaxClientConn: 100} }
func (s *fakePooler) Stats() []pool.Stat                   { return s.pools }
func (s *fakePooler) Lost() map[string]uint64              { return map[string]uint64{"keepalive": 3} }

func (s *fakePooler) Logins() []pool.LoginStat {
	return []pool.LoginStat{{Running: 2, Waiting: 1}, {Running: 1}}
}
func (s *fakePooler) Panics() uint64 { return s.bugs }

func trafficOf(received, sent, reuses uint64) frontend.Traffic {
	return frontend.Traffic{Received: received, Sent: sent, Reuses: reuses}
}

// busy is a pooler that has something of everything.
func busy() *fakePooler {
	shop := pool.Key{Database: "shop", User: "anna"}
	s := &fakePooler{
		stat: frontend.Stat{
			Clients: 7, Sessions: map[string]int64{"login": 0, "idle": 3, "waiting": 1, "active": 2}, Accepted: 20, TurnedAway: 1, Malformed: 2,
			Logins: 9, LoginsRefused: 4, RefusedByLimit: map[string]uint64{"max_client_conn": 2}, LoginTimeouts: 1, RequestsRefused: 5,
			Cancels: 3, CancelsUnknown: 1, CancelsIgnored: 5, CertificateEnds: time.Unix(1_900_000_000, 0), Carries: 11, Prepares: 12, Audits: 13, HiddenState: 2, Leaks: 1, Pins: 6, HookFailures: 1,
			QueryTimeouts: 1, Pinned: map[string]int64{}, Ends: map[string]uint64{"client_gone": 1, "client_terminated": 2},
			Lost: map[string]uint64{"closed": 1},
		},
		sources: []frontend.SourceStat{
			clientsFrom("10.0.0.1", "web", "anna", "shop", frontend.SourceStat{Active: 1, Idle: 2, Pinned: 1, Holding: 1}),
			clientsFrom("10.0.0.2", "web", "anna", "shop", frontend.SourceStat{InTransaction: 1, Waiting: 1, Holding: 1}),
			clientsFrom("(others)", "(others)", "(others)", "(others)", frontend.SourceStat{Idle: 1}),
		},
		databases: []frontend.DatabaseStat{{Database: "shop", Total: trafficOf(1000, 5000, 17)}},
		pools: []pool.Stat{{
			Database: "shop", User: "anna", Size: 10, Idle: 1, Active: 2, Waiting: 3, LongestWait: 1500 * time.Millisecond,
			Use:    pool.Use{Requests: 40, Hits: 30, Misses: 10, Waits: 4, WaitTime: 2500 * time.Millisecond, Timeouts: 1},
			Opened: 8, Retired: map[backend.RetireReason]uint64{backend.RetireLost: 4},
		}},
		bugs: 1,
	}
	s.stat.LoginsBy = map[frontend.LoginOutcome]uint64{{Method: "scram-sha-256", Result: "ok"}: 8, {Method: "trust", Result: "ok"}: 1, {Method: "scram-sha-256", Result: "wrong_password"}: 3}
	s.stat.PinnedSeconds = map[string]float64{"listen": 2.5}
	for _, p := range sessionstate.PinReasons() {
		s.stat.Pinned[p.String()] = 0
	}
	s.stat.Pinned["listen"] = 1
	for _, phase := range phaseNames {
		s.histograms = append(s.histograms, frontend.HistogramStat{Key: shop, Phase: phase, Count: 3, Sum: 3 * time.Second, Buckets: []frontend.Bucket{
			{Upper: time.Second, Count: 3},
		}})
	}
	return s
}

var phaseNames = []string{"wait", "carry", "prepare", "query", "write", "transaction", "server"}

func clientsFrom(address, application, user, database string, s frontend.SourceStat) frontend.SourceStat {
	s.Source = frontend.Source{Address: address, Application: application, User: user, Database: database}
	return s
}

// registryOf has every metric there is.
func registryOf(t *testing.T, s *fakePooler) *prometheus.Registry {
	t.Helper()
	r, err := NewRegistry(s, s, []*fakePooler{s}, Extras{
		Version: "1.2",
		Leaks:   leakStat,
		Events:  eventCounts,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func leakStat() LeakStat {
	s := LeakStat{Now: map[string]int{}, Found: map[string]uint64{}}
	for k := range leakKinds {
		s.Now[k.String()], s.Found[k.String()] = 0, 0
	}
	s.Now["idle"], s.Now["growth"], s.Found["idle"], s.Found["growth"] = 2, 1, 7, 1
	return s
}

// eventCounts has every kind of event; three clients were reaped.
func eventCounts() map[string]uint64 {
	counts := map[string]uint64{}
	for _, k := range journal.Kinds() {
		counts[k.String()] = 0
	}
	counts[journal.Reaped.String()] = 3
	return counts
}

func gathered(t *testing.T, r prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]*dto.MetricFamily{}
	for _, f := range all {
		by[f.GetName()] = f
	}
	return by
}

// valuesOf writes f's metrics as "label=value …": value.
func valuesOf(f *dto.MetricFamily) map[string]float64 {
	values := map[string]float64{}
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		values[strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return values
}

func TestMetricsAreWellNamed(t *testing.T) {
	problems, err := testutil.GatherAndLint(registryOf(t, busy()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "pooler_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestMetricsAreRight(t *testing.T) {
	families := gathered(t, registryOf(t, busy()))
	for name, want := range map[string]map[string]float64{
		"pooler_build_info":                  {"version=1.2": 1},
		"pooler_panics_total":                {"": 1},
		"pooler_leak_reports_total":          {"kind=idle": 7, "kind=idle_in_transaction": 0, "kind=pinned": 0, "kind=growth": 1},
		"pooler_leaks_suspected":             {"kind=idle": 2, "kind=idle_in_transaction": 0, "kind=pinned": 0, "kind=growth": 1},
		"pooler_client_received_bytes_total": {"database=shop": 1000},
		"pooler_client_sent_bytes_total":     {"database=shop": 5000},
		"pooler_lease_reuses_total":          {"database=shop": 17},
		"pooler_client_connections":          {"": 7},
		"pooler_client_connections_limit":    {"": 100},
		"pooler_client_sessions":             {"state=login": 0, "state=idle": 3, "state=waiting": 1, "state=active": 2},
		"pooler_client_sessions_ended_total": {"reason=client_gone": 1, "reason=client_terminated": 2},
		"pooler_peers_lost_total":            {"noticed=closed side=client": 1, "noticed=keepalive side=server": 3},
		"pooler_cancel_requests_total":       {"state=known": 3, "state=unknown": 1, "state=ignored": 5},
		"pooler_logins_total":                {"": 9},

		"pooler_tls_certificate_expiry_timestamp_seconds": {"": 1_900_000_000},

		"pooler_logins_refused_total":         {"": 4},
		"pooler_clients_refused_total":        {"limit=max_client_conn": 2},
		"pooler_login_attempts_total":         {"method=scram-sha-256 result=ok": 8, "method=trust result=ok": 1, "method=scram-sha-256 result=wrong_password": 3},
		"pooler_pinned_seconds_total":         {"reason=listen": 2.5},
		"pooler_server_logins":                {"state=running": 3, "state=waiting": 1},
		"pooler_state_audits_total":           {"": 13},
		"pooler_leaks_total":                  {"": 1},
		"pooler_pinned_ratio":                 {"": 0.5},
		"pooler_multiplex_ratio":              {"": 2},
		"pooler_pool_size":                    {"database=shop user=anna": 10},
		"pooler_clients_waiting":              {"database=shop user=anna": 3},
		"pooler_longest_wait_seconds":         {"database=shop user=anna": 1.5},
		"pooler_lease_wait_seconds_total":     {"database=shop user=anna": 2.5},
		"pooler_lease_misses_total":           {"database=shop user=anna": 10},
		"pooler_server_sessions_opened_total": {"database=shop user=anna": 8},
		"pooler_pool_clients_pinned":          {"database=shop user=anna": 1, "database=(others) user=(others)": 0},
		"pooler_server_sessions": {
			"database=shop state=active user=anna": 2, "database=shop state=idle user=anna": 1, "database=shop state=opening user=anna": 0,
			"database=shop state=closing user=anna": 0, "database=shop state=reclaiming user=anna": 0,
		},
		"pooler_pool_clients": {
			"database=shop state=active user=anna": 1, "database=shop state=idle user=anna": 2,
			"database=shop state=idle_in_transaction user=anna": 1, "database=shop state=waiting user=anna": 1,
			"database=(others) state=active user=(others)": 0, "database=(others) state=idle user=(others)": 1,
			"database=(others) state=idle_in_transaction user=(others)": 0, "database=(others) state=waiting user=(others)": 0,
		},
	} {
		f := families[name]
		if f == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if got := valuesOf(f); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
	}
	if got := valuesOf(families["pooler_events_total"]); got["kind=reaped"] != 3 || len(got) != len(journal.Kinds()) {
		t.Errorf("events: got %v", got)
	}
	lost := valuesOf(families["pooler_server_sessions_retired_total"])
	if got := lost["database=shop reason=lost user=anna"]; got != 4 || len(lost) != len(backend.RetireReasons()) {
		t.Errorf("%v of %d reasons were lost, want 4 of %d", got, len(lost), len(backend.RetireReasons()))
	}
}

// A pooler that has just started has no ratio of clients to server sessions, and nobody is pinned.
func TestMetricsOfAnIdlePooler(t *testing.T) {
	s := &fakePooler{}
	r, err := NewRegistry(s, s, []*fakePooler{s}, Extras{})
	if err != nil {
		t.Fatal(err)
	}
	families := gathered(t, r)
	for _, name := range []string{"pooler_multiplex_ratio", "pooler_events_total", "pooler_leaks_suspected", "pooler_pool_size"} {
		if families[name] != nil {
			t.Errorf("%s is there: %v", name, families[name])
		}
	}
	if got := valuesOf(families["pooler_pinned_ratio"]); got[""] != 0 || len(got) != 1 {
		t.Errorf("pinned_ratio: got %v", got)
	}
}
