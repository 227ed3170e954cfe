package console

import (
	"slices"
	"testing"
	"time"

	"pooler/frontend"
	"pooler/pool"
)

func TestCpoolInfo(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "cpool_info")
	var names []string
	for _, row := range rows {
		names = append(names, row["connection_pool"].(string))
	}
	if want := []string{defaultPool, "app", "batch", "other", "*"}; !slices.Equal(names, want) {
		t.Fatalf("pools %q, want %q", names, want)
	}
	wantRow(t, rows[0], "status", "ACTIVE", "minsize", 0, "maxsize", 20, "incrsize", 4, "session_cached_cursors", 200, "inactivity_timeout", 600,
		"max_use_session", 500_000, "num_cbrok", 3, "maxconn_cbrok", 10000, "con_id", nil, "num_servers", 9, "num_clients", 5)
	wantRow(t, rows[1], "minsize", 2, "maxsize", 10, "max_lifetime_session", 1800, "maxconn_cbrok", 900, "con_id", "app_live", "num_servers", 8, "num_clients", 3,
		"pool_boundary", "statement", "pool_purity", "self")
	wantRow(t, rows[2], "status", "PAUSED", "con_id", "batch", "pool_boundary", "session")
	wantRow(t, rows[3], "con_id", "other", "num_clients", 1)
	wantRow(t, rows[4], "con_id", nil, "num_clients", 0)
}

func TestOrderStatus(t *testing.T) {
	for _, tt := range []struct {
		orders  pool.Orders
		servers int
		want    string
	}{
		{pool.Orders{}, 1, "ACTIVE"},
		{pool.Orders{Disabled: true}, 1, "DISABLED"},
		{pool.Orders{Paused: true, Disabled: true}, 1, "PAUSED"},
		{pool.Orders{Stopped: true, Paused: true}, 1, "DRAINING"},
		{pool.Orders{Stopped: true}, 0, "INACTIVE"},
	} {
		if got := orderStatus(tt.orders, tt.servers); got != tt.want {
			t.Errorf("status of %+v with %d server sessions is %s, want %s", tt.orders, tt.servers, got, tt.want)
		}
	}
}

func TestCpoolStats(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "cpool_stats")
	wantRow(t, the(t, rows, "pool_name", "app"), "num_open_servers", 8, "num_busy_servers", 3, "num_auth_servers", 0, "num_requests", 110, "num_hits", 94,
		"num_misses", 16, "num_waits", 6, "wait_time", 4_000_000, "client_req_timeouts", 1, "num_authentications", 42, "num_purged", 6, "historic_max", 10,
		"con_id", "app_live", "num_waiting", 1, "num_clients", 3, "num_opened", 13, "num_users", 2, "wait_p50_us", 50, "wait_p95_us", 100, "wait_p99_us", 400,
		"longest_wait_seconds", 1.50025)
	wantRow(t, the(t, rows, "pool_name", "batch"), "num_requests", 2, "num_misses", 1, "num_authentications", 0, "wait_p50_us", nil)
}

func TestCpoolClasses(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "cpool_cc_stats")
	wantRow(t, the(t, rows, "cclass_name", "alice.web"), "num_requests", 70, "num_hits", 61, "num_misses", 9, "num_waits", 5, "wait_time", 3_000_000,
		"client_req_timeouts", 1, "num_authentications", 42, "con_id", "app_live", "pool_name", "app", "class", "web", "num_servers", 2, "num_clients", 2,
		"num_waiting", 1, "num_pinned", 2)
	wantRow(t, the(t, shown(t, fakeSnapshots(), "cpool_cc_info"), "cclass_name", "bob.etl"), "pool_name", "batch", "con_id", "batch")
}

func TestCpoolConnInfo(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "cpool_conn_info")
	wantRow(t, the(t, rows, "connection_addr", "c7"), "cmon_addr", "192.0.2.100:6432", "session_addr", "s21", "username", "alice", "proxy_user", nil,
		"cclass_name", "alice.web", "purity", "SELF", "service", "app", "process_id", nil, "program", "shop", "machine", "192.0.2.1", "terminal", "40001",
		"connection_mode", "statement", "connection_status", "ACTIVE", "curstatus_time", 2_000_000, "idle_time", nil, "con_id", "app_live", "server_pid", 4711,
		"connect_time", before(time.Hour), "pin_since", nil)
	wantRow(t, the(t, rows, "connection_addr", "c5"), "cmon_addr", "unix", "machine", "unix", "terminal", nil, "process_id", "999", "program", nil)
	for client, want := range map[string]string{"c3": "WAITING", "c4": "PINNED", "c5": "IDLE_IN_TX", "c6": "IDLE"} {
		wantRow(t, the(t, rows, "connection_addr", client), "connection_status", want)
	}
	wantRow(t, the(t, rows, "connection_addr", "c6"), "cclass_name", "bob")
	for want, c := range map[string]frontend.ClientInfo{
		"CONNECTING": {State: "login", Server: 3}, "CLOSING": {State: "active", Server: 3, Leaving: true},
		"ACTIVE": {State: "idle_keeping_session", Server: 3}, "NONE": {State: "busy"},
	} {
		if got := connStatus(&c); got != want {
			t.Errorf("status of %+v is %s, want %s", c, got, want)
		}
	}
}

func TestAuthpoolStats(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "authpool_stats")
	wantRow(t, the(t, rows, "gate", "clients"), "num_srvs", 4, "num_busy", 5, "num_free", 0, "num_waiters", 6)
	wantRow(t, the(t, rows, "gate", "logins to db.example:5433"), "num_srvs", 8, "num_busy", 1, "num_free", 7, "num_waiters", 2)
}

func TestPins(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "pins")
	if len(rows) != 1 {
		t.Fatalf("want one pin: %v", rows)
	}
	wantRow(t, rows[0], "client", "c4", "application", "queue", "user", "alice", "database", "app", "addr", "192.0.2.3", "server", "s22", "server_pid", 4712,
		"reason", "listen", "statement", "listen jobs", "since", before(450*time.Second), "pinned_seconds", 450, "keeps_waiting", 1, "activity_seconds", 400)
}

func TestWaiting(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "waiting")
	if len(rows) != 2 {
		t.Fatalf("want two: %v", rows)
	}
	wantRow(t, rows[0], "client", "c3", "application", "cron", "addr", "192.0.2.2", "position", 1, "waited_seconds", 1.5, "why", "all server sessions are busy",
		"holder", "c4", "holder_application", "queue", "holder_state", "idle_keeping_session", "holder_pinned", "listen", "held_seconds", 500,
		"holder_statement", "listen jobs", "holder_id", 4)
	wantRow(t, rows[1], "client", "c8", "application", nil, "position", 2, "holder", "c4") // it has left between two snapshots
}

func TestSources(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "sources")
	if len(rows) != 3 || rows[0]["application"] != "shop" || rows[1]["addr"] != "unix" || rows[2]["application"] != "cron" {
		t.Fatalf("want those with most connections first: %v", rows)
	}
	wantRow(t, rows[0], "connections", 12, "pinned", 2, "connects_per_minute", 3, "server_seconds", 90, "oldest_seconds", 3600, "queries", 70, "logins", 40, "refused", 5, "reuses", 30, "last_statement", "select $1")
	wantRow(t, rows[2], "connections", 0, "oldest", nil, "oldest_seconds", nil)
}

func TestActivity(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "statements")
	wantRow(t, rows[0], "total_seconds", 3, "percent", 75, "calls", 3, "avg_seconds", 1, "longest_seconds", 2, "pins", 0, "estimated", false, "statement", "select $1")
	wantRow(t, rows[1], "avg_seconds", 1, "estimated", true, "last_call", nil)
	wantRow(t, shown(t, fakeSnapshots(), "prepared")[0], "name", "p1", "clients", 2, "servers", 3, "typed_parameters", 1)
	wantRow(t, shown(t, fakeSnapshots(), "reaper")[0], "what", "clients", "closed", 4, "dry_run", false, "victims", "unix ×4")
	wantRow(t, shown(t, fakeSnapshots(), "alarms")[0], "setting", "max_client_conn", "used", 80, "maximum", 100)
}

func TestHistograms(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "histograms")
	wantRow(t, the(t, rows, "phase", "query"), "count", 1000, "total_seconds", 0.25, "avg_us", 250, "p50_us", 100, "p90_us", 200, "p99_us", 800, "p999_us", 800, "max_us", 9000)
	wantRow(t, the(t, rows, "phase", "server"), "count", 0, "avg_us", nil, "p50_us", nil, "max_us", nil)
	buckets := shown(t, fakeSnapshots(), "histogram_buckets")
	wantRow(t, the(t, buckets, "phase", "query", "count", int64(400)), "upper_seconds", 0.0002, "cumulative", 900, "cumulative_percent", 90)
}

func TestSpreadMerges(t *testing.T) {
	var s spread
	for _, b := range [][]frontend.Bucket{bucketsOf(2, 1, 8, 3), nil, bucketsOf(1, 1, 2, 1, 16, 2)} {
		s.add(frontend.HistogramStat{Count: 1, Sum: time.Second, Buckets: b})
	}
	if want := bucketsOf(1, 1, 2, 2, 8, 3, 16, 2); !slices.Equal(s.buckets, want) || s.count != 3 || s.sum != 3*time.Second {
		t.Errorf("merged to %+v, want %v", s, want)
	}
	for q, want := range map[float64]any{0: int64(1), 0.125: int64(1), 0.126: int64(2), 0.75: int64(8), 0.76: int64(16), 1: int64(16)} {
		if got := s.at(q); got != want {
			t.Errorf("at %g: %v, want %v", q, got, want)
		}
	}
}
