package console

import (
	"reflect"
	"testing"
	"time"

	"pooler/frontend"
	"pooler/pool"
)

func TestClients(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "clients")
	if len(rows) != 6 {
		t.Fatalf("%d clients, want 5 and one of the console", len(rows))
	}
	wantRow(t, the(t, rows, "ptr", "c7"), "type", "C", "user", "alice", "database", "app", "replication", "none", "state", "active",
		"addr", "192.0.2.1", "port", 40001, "local_addr", "192.0.2.100", "local_port", 6432, "connect_time", "2026-11-21 11:00:00 UTC",
		"request_time", "2026-11-21 11:59:58 UTC", "wait", 0, "wait_us", 0, "close_needed", 0, "link", "s21", "remote_pid", 0, "tls", "TLSv1.3/TLS_AES_128_GCM_SHA256",
		"application_name", "shop", "prepared_statements", 5, "id", 7, "class", "web", "pool_boundary", "statement", "pool_purity", "self",
		"activity", "active", "activity_seconds", 2, "transaction_seconds", 3, "held_seconds", 4, "running_seconds", 2, "server_pid", 4711,
		"pinned", nil, "transactions", 12, "settings", 3, "statement", "update t set x = $1")
	wantRow(t, the(t, rows, "ptr", "c3"), "state", "waiting", "wait", 1, "wait_us", 500000, "link", "", "transaction_seconds", nil, "held_seconds", nil,
		"server_pid", nil, "statement", nil, "pool_purity", nil)
	wantRow(t, the(t, rows, "ptr", "c4"), "state", "active", "activity", "idle_keeping_session", "pinned", "listen")
	wantRow(t, the(t, rows, "ptr", "c5"), "addr", "unix", "tls", "", "port", 6432, "local_addr", "unix", "remote_pid", 999)
	wantRow(t, the(t, rows, "ptr", "c6"), "state", "idle")
	wantRow(t, the(t, rows, "ptr", "c9"), "state", "active", "database", "pooler", "user", "root", "pool_boundary", nil)
}

func TestServers(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "servers")
	wantRow(t, the(t, rows, "ptr", "s21"), "type", "S", "user", "alice", "database", "app", "state", "active", "addr", "198.51.100.5", "port", 5433,
		"local_addr", "198.51.100.1", "local_port", 50000, "link", "c7", "remote_pid", 4711, "application_name", "shop", "prepared_statements", 6,
		"id", 21, "tls", "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256", "class", "web", "pool_user", "alice", "server_database", "app_live", "activity", "active", "activity_seconds", 1, "age_seconds", 60,
		"uses", 4, "client_id", 7, "client_user", "alice", "client_addr", "192.0.2.1", "statement", "update t set x = $1")
	wantRow(t, the(t, rows, "ptr", "s22"), "tls", "", "state", "being_canceled", "pinned", "listen", "prepared_statements", nil, "activity", "idle_keeping_session")
	wantRow(t, the(t, rows, "ptr", "s23"), "user", "worker", "pool_user", "bob", "addr", "unix", "port", 5439)
	wantRow(t, the(t, rows, "ptr", "s24"), "state", "idle", "link", "", "application_name", "", "close_needed", 1, "client_id", nil,
		"remote_pid", -1<<31, "request_time", "2026-11-21 11:59:55 UTC")
	wantRow(t, the(t, rows, "state", "new"), "ptr", "", "id", 0)
	wantRow(t, the(t, rows, "ptr", "s25"), "state", "tested")
	wantRow(t, the(t, rows, "ptr", "s26"), "state", "closing")
}

func TestAServerThatWasGivenBackMeanwhileIsNobodys(t *testing.T) {
	src := fakeSnapshots()
	src.Clients = func(func(frontend.Glance) bool) []frontend.ClientInfo {
		return []frontend.ClientInfo{{ID: 1, State: "active", Server: 24, Application: "shop"}}
	}
	wantRow(t, the(t, shown(t, src, "servers"), "ptr", "s24"), "state", "idle", "activity", "idle", "link", "", "application_name", "", "client_id", nil)
}

func TestSockets(t *testing.T) {
	states := func(view string) map[string]int {
		n := map[string]int{}
		for _, row := range shown(t, fakeSnapshots(), view) {
			n[row["state"].(string)]++
		}
		return n
	}
	all := map[string]int{"cl_active": 5, "cl_waiting": 1, "sv_active": 2, "sv_being_canceled": 1, "sv_idle": 1, "sv_login": 1, "sv_tested": 1, "sv_closing": 1}
	if got := states("sockets"); !reflect.DeepEqual(got, all) {
		t.Errorf("sockets: %v, want %v", got, all)
	}
	all["cl_active"]-- // who is idle
	delete(all, "sv_idle")
	if got := states("active_sockets"); !reflect.DeepEqual(got, all) {
		t.Errorf("active_sockets: %v, want %v", got, all)
	}
	if got := len(shown(t, fakeSnapshots(), "fds")); got != 2+5+7 {
		t.Errorf("%d descriptors, want two of the pooler and one for each client and server", got)
	}
}

func TestPools(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "pools")
	if len(rows) != 5 || rows[0]["user"] != "alice" || rows[1]["user"] != "carol" {
		t.Fatalf("want five pools in order: %v", rows)
	}
	wantRow(t, rows[0], "database", "app", "cl_active", 2, "cl_waiting", 1, "cl_active_cancel_req", 0, "sv_active", 1, "sv_being_canceled", 1, "sv_idle", 1,
		"sv_used", 0, "sv_tested", 1, "sv_login", 1, "maxwait", 1, "maxwait_us", 500250, "pool_mode", "transaction", "load_balance_hosts", nil,
		"pool_boundary", "transaction", "pool_size", 7, "sv_closing", 1, "cl_pinned", 1, "classes", 2, "requests", 100, "hits", 90, "waits", 5,
		"wait_seconds", 3, "timeouts", 1, "opened", 9, "most_servers", 6, "most_servers_at", before(time.Minute), "status", "ACTIVE")
	wantRow(t, the(t, rows, "database", "batch"), "pool_mode", "session", "pool_boundary", "session")
	wantRow(t, rows[4], "database", "pgbouncer", "user", "pgbouncer", "cl_active", 1, "sv_active", 0, "pool_mode", "statement", "pool_boundary", nil)
}

func TestDatabases(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "databases")
	if len(rows) != 4 {
		t.Fatalf("want app, batch, other and the console: %v", rows)
	}
	wantRow(t, the(t, rows, "name", "app"), "host", "db.example", "port", 5433, "database", "app_live", "force_user", nil, "pool_size", 10, "min_pool_size", 2,
		"reserve_pool_size", 3, "reserve_pool", 3, "server_lifetime", 1800, "pool_mode", nil, "max_connections", 40, "current_connections", 8,
		"max_client_connections", 900, "current_client_connections", 3, "paused", 0, "disabled", 0, "pool_boundary", "statement", "fallback", false, "status", "ACTIVE")
	wantRow(t, the(t, rows, "name", "batch"), "database", "batch", "force_user", "worker", "pool_mode", "session", "pool_size", 20, "paused", 1, "status", "PAUSED")
	wantRow(t, the(t, rows, "name", "other"), "host", "/var/run/postgresql", "database", "other", "fallback", true, "current_client_connections", 1)
	wantRow(t, the(t, rows, "name", "pgbouncer"), "host", nil, "port", 6432, "database", "pgbouncer", "force_user", "pgbouncer", "pool_size", 2,
		"pool_mode", "statement", "current_client_connections", 1)
}

func TestUsers(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "users")
	if len(rows) != 7 {
		t.Fatalf("want alice, bob, carol, grafana, idler, pgbouncer and root: %v", rows)
	}
	wantRow(t, the(t, rows, "name", "alice"), "pool_size", "7", "reserve_pool_size", "", "pool_mode", "transaction", "max_user_connections", 9,
		"current_connections", 6, "current_client_connections", 3, "configured", true, "console", nil)
	wantRow(t, the(t, rows, "name", "bob"), "pool_size", "", "pool_mode", nil, "max_user_connections", 50, "current_connections", 1,
		"current_client_connections", 2, "configured", false)
	wantRow(t, the(t, rows, "name", "idler"), "reserve_pool_size", "0", "current_connections", 0)
	wantRow(t, the(t, rows, "name", "root"), "console", "admin")
	wantRow(t, the(t, rows, "name", "grafana"), "console", "stats")
}

func TestLists(t *testing.T) {
	got := map[string]any{}
	for _, row := range shown(t, fakeSnapshots(), "lists") {
		got[row["list"].(string)] = row["items"]
	}
	wantRow(t, got, "databases", 4, "users", 7, "peers", 0, "pools", 5, "peer_pools", 0, "free_clients", 0, "used_clients", 9, "login_clients", 3,
		"free_servers", 0, "used_servers", 9, "dns_names", 1, "dns_zones", 0, "dns_queries", 0, "dns_pending", 0)
	if len(got) != 14 {
		t.Errorf("%d lists, want PgBouncer's 14", len(got))
	}
}

func TestStats(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "stats")
	if len(rows) != 4 {
		t.Fatalf("want app, batch, other and the console: %v", rows)
	}
	app := the(t, rows, "database", "app")
	wantRow(t, app, "total_server_assignment_count", 1000, "total_xact_count", 900, "total_query_count", 1500, "total_received", 1<<40, "total_sent", 1<<41,
		"total_xact_time", 90_000_000, "total_query_time", 30_000_000, "total_wait_time", 2_000_000, "total_client_parse_count", 11,
		"total_server_parse_count", 12, "total_bind_count", 13, "total_client_login_count", 42, "total_server_time", 100_000_000, "total_requests", 1500)
	wantRow(t, app, "avg_server_assignment_count", 2, "avg_xact_count", 1, "avg_query_count", 2, "avg_recv", 100, "avg_sent", 1000,
		"avg_xact_time", 100_000, "avg_query_time", 20_000, "avg_wait_time", 5_000, "avg_client_parse_count", 0, "avg_server_parse_count", 1,
		"avg_bind_count", 1, "avg_client_login_count", 0, "avg_server_time", 100_000)
	wantRow(t, the(t, rows, "database", "batch"), "total_query_count", 0, "avg_query_time", 0)
	wantRow(t, the(t, rows, "database", "pgbouncer"), "total_query_count", 0)

	wantRow(t, the(t, shown(t, fakeSnapshots(), "stats_totals"), "database", "app"), "query_count", 1500, "bytes_sent", 1<<41, "wait_time", 2_000_000, "client_login_count", 42)
	wantRow(t, the(t, shown(t, fakeSnapshots(), "stats_averages"), "database", "app"), "query_count", 2, "bytes_sent", 1000, "wait_time", 5_000,
		"avg_bind_count", 1, "period_seconds", 60)
}

func TestTotals(t *testing.T) {
	got := map[string]any{}
	for _, row := range shown(t, fakeSnapshots(), "totals") {
		got[row["name"].(string)] = row["value"]
	}
	wantRow(t, got, "total_query_count", 1505, "total_client_bytes", 1<<40, "total_server_bytes", 1<<41, "total_ps_bind_count", 13, "avg_query_count", 2,
		"avg_query_time", 3_000_000/155, "avg_ps_client_parse_count", 0, "total_client_login_count", 42)
}

func TestTogetherSumsEveryFigure(t *testing.T) {
	var one frontend.Traffic
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanInt() {
			f.SetInt(int64(i + 1))
		} else {
			f.SetUint(uint64(i + 1))
		}
	}
	sum := reflect.ValueOf(together(one, one))
	for i := range v.NumField() {
		if got := sum.Field(i); got.CanInt() && got.Int() != int64(2*(i+1)) || got.CanUint() && got.Uint() != uint64(2*(i+1)) {
			t.Errorf("%s is not summed up", v.Type().Field(i).Name)
		}
	}
}

// Whoever has mistyped a name that * serves must find the order that stands under it.
func TestAnOrderForADatabaseThatNobodyUsesIsShown(t *testing.T) {
	src := fakeSnapshots()
	stray := pool.Orders{Paused: true, Disabled: true}
	orders := src.Orders
	src.Orders = func(database string) pool.Orders {
		if database == "postgrse" {
			return stray
		}
		return orders(database)
	}
	src.Ordered = func() map[string]pool.Orders {
		return map[string]pool.Orders{"batch": {Paused: true}, "postgrse": stray}
	}
	wantRow(t, the(t, shown(t, src, "state"), "key", "paused_databases"), "value", "batch, postgrse")
	wantRow(t, the(t, shown(t, src, "databases"), "name", "postgrse"), "paused", 1, "disabled", 1, "fallback", true, "current_client_connections", 0)
	wantRow(t, the(t, shown(t, src, "lists"), "list", "databases"), "items", 5)
}

func TestState(t *testing.T) {
	tests := []struct {
		name              string
		all               pool.Orders
		suspended         bool
		active, paused, s string
	}{
		{name: "as it should be", active: "yes", paused: "no", s: "no"},
		{name: "paused", all: pool.Orders{Paused: true}, active: "no", paused: "yes", s: "no"},
		{name: "suspended", all: pool.Orders{Paused: true}, suspended: true, active: "no", paused: "no", s: "yes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := fakeSnapshots()
			one := src.Orders
			src.Suspended = func() bool { return tt.suspended }
			src.Orders = func(database string) pool.Orders {
				if database == "" {
					return tt.all
				}
				return one(database)
			}
			got := map[string]any{}
			for _, row := range shown(t, src, "state") {
				got[row["key"].(string)] = row["value"]
			}
			wantRow(t, got, "active", tt.active, "paused", tt.paused, "suspended", tt.s, "shutting_down", "no", "paused_databases", "batch")
		})
	}
}

func TestProgram(t *testing.T) {
	wantRow(t, the(t, shown(t, fakeSnapshots(), "config"), "key", "max_client_conn"), "value", "10000", "default", "10000", "changeable", "yes")
	wantRow(t, the(t, shown(t, fakeSnapshots(), "config"), "key", "listen_port"), "changeable", "no")
	wantRow(t, the(t, shown(t, fakeSnapshots(), "dns_hosts"), "hostname", "db.example"), "ttl", 0, "addrs", "198.51.100.5")
	if n := len(shown(t, fakeSnapshots(), "dns_hosts")); n != 1 {
		t.Errorf("%d host names, want 1: addresses and directories are none", n)
	}
	for _, row := range shown(t, fakeSnapshots(), "mem") {
		used, free, size := row["used"].(int64), row["free"].(int64), row["size"].(int64)
		if size <= 0 || row["memtotal"] != size*(used+free) {
			t.Errorf("memory does not add up: %v", row)
		}
		if row["name"] == "go_heap" && used == 0 {
			t.Error("the heap is empty")
		}
	}
	wantRow(t, the(t, shown(t, fakeSnapshots(), "mem"), "name", "client_cache"), "used", 8)
}
