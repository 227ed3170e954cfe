package console

import (
	"fmt"
	"slices"
	"testing"
)

// liveStats is exact: nothing but the script uses the pooler.
func liveStats() []liveView {
	totals := func(d *deeds, assignments int) []any {
		return []any{
			"server_assignment_count", assignments, "xact_count", d.transactions, "query_count", d.queries,
			"client_parse_count", d.parses, "server_parse_count", d.parses, "bind_count", d.binds, "client_login_count", d.logins,
		}
	}
	return []liveView{
		{"stats", 3, func(t *testing.T, s *scene, rows []map[string]any) {
			for database, d := range map[string]*deeds{"shop": &s.shopDid, "books": &s.booksDid} {
				row := the(t, rows, "database", database)
				pairs := totals(d, s.assignments(database))
				for i := 0; i < len(pairs); i += 2 {
					pairs[i] = "total_" + pairs[i].(string)
				}
				wantRow(t, row, append(pairs, "total_requests", d.queries)...)
				for _, of := range []string{"sent", "xact_time", "query_time", "server_time"} {
					if n, ok := row["total_"+of].(int64); !ok || n <= 0 {
						t.Errorf("%s: total_%s = %v", database, of, row["total_"+of])
					}
				}
			}
			if n, _ := the(t, rows, "database", "shop")["total_wait_time"].(int64); n <= 0 { // who waits in books depends on how fast PostgreSQL lets logins in
				t.Errorf("shop: total_wait_time = %d", n)
			}
			wantRow(t, the(t, rows, "database", "shop"), "total_received", s.shopDid.bytes)
			wantRow(t, the(t, rows, "database", "pgbouncer"), "total_query_count", 0)
		}},
		{"stats_totals", 3, func(t *testing.T, s *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "database", "shop"), append(totals(&s.shopDid, s.assignments("shop")), "bytes_received", s.shopDid.bytes)...)
			wantRow(t, the(t, rows, "database", "books"), totals(&s.booksDid, s.assignments("books"))...)
		}},
		{"stats_averages", 3, func(t *testing.T, s *scene, rows []map[string]any) { // of the period that has begun: less than a second
			for database, d := range map[string]*deeds{"shop": &s.shopDid, "books": &s.booksDid} {
				row := the(t, rows, "database", database)
				period, _ := row["period_seconds"].(float64)
				n, _ := row["query_count"].(int64)
				if want := float64(d.queries) / period; period <= 0 || float64(n) > want || float64(n) < want-1 {
					t.Errorf("%s: %d queries a second in %g s, want %g", database, n, period, want)
				}
			}
		}},
		{"totals", 26, func(t *testing.T, s *scene, rows []map[string]any) {
			for name, want := range map[string]int{
				"total_query_count":             s.shopDid.queries + s.booksDid.queries,
				"total_xact_count":              s.shopDid.transactions + s.booksDid.transactions,
				"total_ps_bind_count":           s.booksDid.binds,
				"total_ps_client_parse_count":   s.booksDid.parses,
				"total_client_login_count":      s.shopDid.logins + s.booksDid.logins,
				"total_server_assignment_count": s.assignments("shop") + s.assignments("books"),
			} {
				wantRow(t, the(t, rows, "name", name), "value", want)
			}
		}},
	}
}

// assignments is how often the script was lent a server session: for each request outside a transaction.
func (s *scene) assignments(database string) int {
	if database == "books" {
		return s.booksDid.queries - 1 // batch's transaction has two
	}
	return 6 + len(s.workers) + 1 + 1 + 1 // web's, the transactions', cron, report and guest
}

func liveDrcp() []liveView {
	return []liveView{
		{"cpool_info", 3, func(t *testing.T, s *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "connection_pool", defaultPool), "maxsize", 3, "num_cbrok", 2, "num_servers", 7, "num_clients", 13, "con_id", nil, "status", "ACTIVE")
			wantRow(t, the(t, rows, "connection_pool", "shop"), "maxsize", 4, "minsize", 0, "num_servers", 5, "num_clients", 10, "con_id", s.shop, "pool_boundary", "statement", "status", "ACTIVE")
			wantRow(t, the(t, rows, "connection_pool", "books"), "maxsize", 2, "num_servers", 2, "num_clients", 3, "con_id", s.books, "pool_boundary", "transaction")
		}},
		{"cpool_stats", 2, func(t *testing.T, s *scene, rows []map[string]any) {
			for _, row := range rows {
				checkHits(t, row)
			}
			wantRow(t, the(t, rows, "pool_name", "shop"),
				"num_open_servers", 5, "num_busy_servers", 4, "num_requests", 13, "num_authentications", 10, "num_waiting", 2, "num_clients", 10,
				"num_opened", 5, "num_users", 2, "historic_max", 5, "client_req_timeouts", 0, "num_purged", 0, "con_id", s.shop)
			wantRow(t, the(t, rows, "pool_name", "books"),
				"num_open_servers", 2, "num_busy_servers", 0, "num_requests", s.assignments("books"), "num_hits", s.assignments("books")-2, "num_misses", 2,
				"num_authentications", 3, "num_waiting", 0, "num_clients", 3)
		}},
		{"cpool_cc_stats", 4, func(t *testing.T, _ *scene, rows []map[string]any) {
			for _, row := range rows {
				checkHits(t, row)
			}
			wantRow(t, the(t, rows, "cclass_name", "anna"), "pool_name", "shop", "num_requests", 12, "num_servers", 4, "num_clients", 9, "num_waiting", 2, "num_pinned", 1, "num_authentications", 9)
			wantRow(t, the(t, rows, "cclass_name", "ben.nightly"), "class", "nightly", "username", "ben", "num_requests", 5, "num_hits", 4, "num_servers", 1, "num_clients", 1, "num_authentications", 1)
			wantRow(t, the(t, rows, "cclass_name", "carl"), "num_requests", 1, "num_servers", 1, "num_clients", 1, "num_authentications", 1)
			wantRow(t, the(t, rows, "cclass_name", "ben"), "class", "", "num_requests", 3, "num_hits", 2, "num_servers", 1, "num_clients", 2, "num_authentications", 2)
		}},
		{"cpool_cc_info", 4, func(t *testing.T, s *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "cclass_name", "ben.nightly"), "pool_name", "books", "con_id", s.books)
			wantRow(t, the(t, rows, "cclass_name", "anna"), "pool_name", "shop", "con_id", s.shop)
		}},
		{"cpool_conn_info", 13, checkConnInfo},
		{"authpool_stats", 2, func(t *testing.T, _ *scene, rows []map[string]any) {
			for _, row := range rows {
				wantRow(t, row, "num_busy", 0, "num_waiters", 0, "num_free", row["num_srvs"])
			}
		}},
	}
}

func checkHits(t *testing.T, row map[string]any) {
	t.Helper()
	hits, _ := row["num_hits"].(int64)
	misses, _ := row["num_misses"].(int64)
	waiting, _ := row["num_waiting"].(int64)
	if all, ok := row["num_requests"].(int64); !ok || hits+misses+waiting != all || hits < 0 || misses < 0 {
		t.Errorf("%d hits, %d misses and %d that wait of %d requests", hits, misses, waiting, all)
	}
}

func checkConnInfo(t *testing.T, s *scene, rows []map[string]any) {
	clients := s.show("clients")
	for _, c := range s.clients {
		want, class := "IDLE", "anna"
		switch {
		case slices.Contains(s.workers, c):
			want = "IDLE_IN_TX"
		case slices.Contains(s.late, c):
			want = "WAITING"
		case c == s.cron:
			want = "PINNED"
		case c == s.report:
			want = "ACTIVE"
		case c == s.batch:
			class = "ben.nightly"
		case c == s.plain, c == s.unix:
			class = "ben"
		case c == s.guest:
			class = "carl"
		}
		row := the(t, rows, "connection_addr", c.ptr())
		wantRow(t, row, "connection_status", want, "cclass_name", class, "program", c.application, "purity", "SELF", "server_pid", the(t, clients, "id", c.id())["server_pid"])
		if !near(row["connect_time"]) {
			t.Errorf("%s connected at %v", c.application, row["connect_time"])
		}
	}
	wantRow(t, the(t, rows, "connection_addr", s.cron.ptr()), "pin_reason", "advisory_lock", "machine", "127.0.0.1", "service", "shop")
	wantRow(t, the(t, rows, "connection_addr", s.unix.ptr()), "machine", "unix", "cmon_addr", "unix", "terminal", nil)
}

func liveOwn() []liveView {
	empty := func(name string) liveView { return liveView{name, 0, nil} }
	return []liveView{
		{"pins", 1, func(t *testing.T, s *scene, rows []map[string]any) {
			server := the(t, s.show("servers"), "link", s.cron.ptr())
			wantRow(t, rows[0],
				"client", s.cron.ptr(), "id", int(s.cron.id()), "application", "cron", "user", "anna", "database", "shop", "addr", "127.0.0.1", "reason", "advisory_lock",
				"statement", "select pg_advisory_lock(?)", "keeps_waiting", 2, "activity", "idle_keeping_session", "server", server["ptr"], "server_pid", server["remote_pid"])
			if !near(rows[0]["since"]) {
				t.Errorf("since %v", rows[0]["since"])
			}
			if holds := s.ask("postgres", "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"); len(holds) != 1 || holds[0][0] != text(server["remote_pid"]) {
				t.Errorf("%v has the lock, not %v", holds, server["remote_pid"])
			}
		}},
		{"waiting", 2, func(t *testing.T, s *scene, rows []map[string]any) {
			holder := s.workers[0]
			for i, c := range s.late {
				wantRow(t, the(t, rows, "position", int64(i+1)),
					"client", c.ptr(), "id", int(c.id()), "user", "anna", "database", "shop", "application", "late", "addr", "127.0.0.1",
					"why", "all server sessions are busy", "holder", holder.ptr(), "holder_id", int(holder.id()), "holder_application", "worker",
					"holder_state", "idle_in_transaction", "holder_pinned", nil, "holder_statement", workShown,
					"holder_server_pid", the(t, s.show("servers"), "link", holder.ptr())["remote_pid"])
			}
			s.eventually("waited_seconds grows", func() bool {
				rows := s.show("waiting WHERE waited_seconds > 0")
				return len(rows) == 2
			})
		}},
		empty("reaper"), empty("alarms"),
		{"sources", 10, checkSources},
		{"statements", 6, func(t *testing.T, _ *scene, rows []map[string]any) {
			for statement, calls := range map[string]int{
				"select ?": 8, "begin": 3, "commit": 1, workShown: 2, "select pg_advisory_lock(?)": 1, "select $1::int + ?": 4,
			} {
				row := the(t, rows, "statement", statement)
				wantRow(t, row, "calls", calls, "estimated", false, "pins", int64(flag(statement == "select pg_advisory_lock(?)")))
				if !near(row["last_call"]) {
					t.Errorf("%s ran at %v", statement, row["last_call"])
				}
			}
		}},
		{"prepared", 1, func(t *testing.T, _ *scene, rows []map[string]any) {
			wantRow(t, rows[0], "statement", "select $1::int + ?", "clients", 2, "servers", 2)
		}},
		{"histograms", 21, checkHistograms},
		{"histogram_buckets", -1, nil}, // with the histograms
	}
}

func checkSources(t *testing.T, s *scene, rows []map[string]any) {
	for application, want := range map[string][]any{
		"web":    {"connections", 3, "idle", 3, "queries", 6, "transactions", 6, "logins", 3, "connects_per_minute", 3, "last_statement", "select ?"},
		"worker": {"connections", 2, "in_transaction", 2, "holding", 2, "queries", 4, "transactions", 0, "last_statement", workShown},
		"cron":   {"connections", 1, "idle", 1, "holding", 1, "pinned", 1, "queries", 1},
		"report": {"connections", 1, "active", 1, "holding", 1, "queries", 0},
		"late":   {"connections", 2, "waiting", 2, "holding", 0, "queries", 0, "reuses", 0, "last_statement", nil},
		"batch":  {"connections", 1, "idle", 1, "class", "nightly", "user", "ben", "database", "books", "queries", 6},
		"guest":  {"connections", 1, "idle", 1, "user", "carl", "database", "shop", "queries", 1, "reuses", 0},
		"unix":   {"addr", "unix", "connections", 1, "idle", 1, "queries", 1, "reuses", 1, "refused", 0, "disconnects", 0},
		"plain":  {"addr", "127.0.0.1", "connections", 1, "queries", 2, "class", nil, "last_statement", "select $1::int + ?"},
		"lost":   {"addr", "127.0.0.1", "connections", 0, "user", "anna", "database", "nothing", "logins", 0, "refused", 2, "last_statement", nil},
	} {
		wantRow(t, the(t, rows, "application", application), want...)
	}
	sums := map[string]int64{}
	for _, row := range rows {
		for _, column := range []string{"connections", "active", "idle", "in_transaction", "waiting", "holding", "queries", "transactions", "logins", "received", "sent"} {
			n, _ := row[column].(int64)
			sums[column] += n
		}
		if row["active"].(int64)+row["idle"].(int64)+row["in_transaction"].(int64)+row["waiting"].(int64) != row["connections"] {
			t.Errorf("what they do does not sum up: %v", row)
		}
	}
	if sums["connections"] != 13 || sums["holding"] != 4 || sums["waiting"] != 2 {
		t.Errorf("sums %v", sums)
	}
	totals := s.show("totals")
	for name, column := range map[string]string{
		"total_query_count": "queries", "total_xact_count": "transactions", "total_client_login_count": "logins",
		"total_client_bytes": "received", "total_server_bytes": "sent",
	} {
		wantRow(t, the(t, totals, "name", name), "value", int(sums[column]))
	}
}

func checkHistograms(t *testing.T, s *scene, rows []map[string]any) {
	stats, buckets := s.show("stats"), s.show("histogram_buckets")
	all := map[any]int64{}
	for _, row := range rows {
		n, _ := row["count"].(int64)
		all[fmt.Sprint(row["database"], " ", row["phase"])] += n
		var sum, last int64
		for _, b := range buckets {
			if b["database"] == row["database"] && b["phase"] == row["phase"] && b["user"] == row["user"] {
				in, _ := b["count"].(int64)
				sum += in
				last, _ = b["cumulative"].(int64)
			}
		}
		if sum != n || last != sum {
			t.Errorf("%v: the buckets have %d, and in the end %d", row, sum, last)
		}
	}
	checkPhases(t, rows)
	for _, database := range []string{"shop", "books"} {
		of := the(t, stats, "database", database)
		if all[database+" query"] != of["total_query_count"] || all[database+" transaction"] != of["total_xact_count"] {
			t.Errorf("%s: %v, but STATS has %v queries and %v transactions", database, all, of["total_query_count"], of["total_xact_count"])
		}
	}
}

// checkPhases looks at what the pooler has done beside passing messages on: it carried settings wherever a program came
// behind another.
func checkPhases(t *testing.T, rows []map[string]any) {
	for _, user := range []string{"anna", "ben", "carl"} {
		for _, phase := range []string{"prepare", "write"} {
			wantRow(t, the(t, rows, "user", user, "phase", phase), "count", 0, "total_seconds", 0.0, "avg_us", nil)
		}
		carried := the(t, rows, "user", user, "phase", "carry")
		if n := carried["count"].(int64); (n > 0) != (user != "carl") {
			t.Errorf("%s: settings were carried %d times", user, n)
		}
	}
	carried, held := the(t, rows, "user", "ben", "phase", "carry"), the(t, rows, "user", "ben", "phase", "server")
	if carried["total_seconds"].(float64) > held["total_seconds"].(float64) {
		t.Errorf("settings took %v s of %v", carried["total_seconds"], held["total_seconds"])
	}
}
