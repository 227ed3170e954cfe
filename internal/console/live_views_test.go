package console

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

// liveView is what a view must show of the scene.
type liveView struct {
	name  string
	rows  int // -1: so many as check says
	check func(t *testing.T, s *scene, rows []map[string]any)
}

// TestLiveViews compares every view with what the script has done, and with what PostgreSQL says.
func TestLiveViews(t *testing.T) {
	t.Parallel()
	s := setScene(t)
	var tables []liveView
	for _, some := range [][]liveView{liveSockets(), livePools(), liveStats(), liveProgramViews(), liveDrcp(), liveOwn(), liveJournal(), liveMonitor()} {
		tables = append(tables, some...)
	}
	seen := map[string]bool{}
	for _, v := range tables {
		seen[v.name] = true
		s.run("SHOW "+v.name, func(t *testing.T) {
			rows := s.show(v.name)
			if v.rows >= 0 && len(rows) != v.rows {
				t.Errorf("%d rows, want %d:\n%v", len(rows), v.rows, rows)
			}
			if v.check != nil {
				v.check(t, s, rows)
			}
		})
	}
	for _, v := range Views(Snapshots{}) {
		if !seen[v.Name] {
			t.Errorf("SHOW %s is not looked at", v.Name)
		}
	}
	s.run("filters", func(t *testing.T) { checkFilters(t, s) })
	s.run("drivers", func(t *testing.T) { checkDrivers(t, s) })
	s.run("psql", func(t *testing.T) { checkPsql(t, s) })
	s.run("questions", func(t *testing.T) { checkQuestions(t, s) })
	s.run("leaks", func(t *testing.T) { checkLeaks(t, s) })
	s.run("doings", func(t *testing.T) { checkDoings(t, s) })
	s.run("afterwards", func(t *testing.T) { checkAfterwards(t, s) })
}

func liveSockets() []liveView {
	return []liveView{
		{"clients", 15, checkClients},
		{"servers", 7, checkServers},
		{"sockets", 22, func(t *testing.T, s *scene, rows []map[string]any) {
			for _, c := range s.clients {
				want := "cl_active"
				if slices.Contains(s.late, c) {
					want = "cl_waiting"
				}
				wantRow(t, the(t, rows, "ptr", c.ptr()), "state", want, "port", c.port)
			}
			if n := count(rows, "state", "sv_active"); n != 4 {
				t.Errorf("%d server sessions are active", n)
			}
			if n := count(rows, "state", "sv_idle"); n != 3 {
				t.Errorf("%d server sessions are idle", n)
			}
		}},
		{"active_sockets", 6 + 4 + 1, func(t *testing.T, s *scene, rows []map[string]any) { // with the console that asks
			for _, idle := range append(slices.Clone(s.web), s.guest, s.batch, s.plain, s.unix) {
				if n := count(rows, "ptr", idle.ptr()); n != 0 {
					t.Errorf("%s is active", idle.application)
				}
			}
		}},
		{"fds", 2 + 13 + 7, func(t *testing.T, s *scene, rows []map[string]any) {
			for _, c := range s.clients {
				if c.port != 0 {
					wantRow(t, the(t, rows, "port", int64(c.port)), "task", "client", "fd", nil, "password", nil)
				}
			}
			if n := count(rows, "task", "server"); n != 7 {
				t.Errorf("%d servers", n)
			}
		}},
	}
}

func count(rows []map[string]any, column string, value any) (n int) {
	for _, row := range rows {
		if row[column] == value {
			n++
		}
	}
	return n
}

func checkClients(t *testing.T, s *scene, rows []map[string]any) {
	servers := s.show("servers")
	for _, c := range s.clients {
		row := the(t, rows, "id", c.id())
		user, database, held := "anna", "shop", false
		switch c {
		case s.batch, s.plain, s.unix:
			user, database = "ben", "books"
		case s.guest:
			user = "carl"
		}
		addr, pid := "127.0.0.1", 0
		if c == s.unix {
			addr, pid = "unix", os.Getpid()
		}
		switch c {
		case s.workers[0], s.workers[1]:
			held = true
			wantRow(t, row, "state", "active", "activity", "idle_in_transaction", "transactions", 0, "statement", workShown, "pinned", nil)
		case s.cron:
			held = true
			wantRow(t, row, "state", "active", "activity", "idle_keeping_session", "pinned", "advisory_lock", "transactions", 1, "transaction_seconds", nil)
		case s.report:
			held = true
			wantRow(t, row, "state", "active", "activity", "active", "pinned", nil, "statement", "update stock set n = n + ? where id = ?")
		case s.late[0], s.late[1]:
			wantRow(t, row, "state", "waiting", "activity", "waiting")
		default:
			wantRow(t, row, "state", "idle", "activity", "idle", "wait", 0, "wait_us", 0)
		}
		wantRow(t, row,
			"type", "C", "user", user, "database", database, "addr", addr, "port", c.port, "remote_pid", pid, "application_name", c.application,
			"ptr", c.ptr(), "replication", "none", "tls", "", "close_needed", 0, "settings", 1)
		if !held {
			wantRow(t, row, "link", "", "server_pid", nil, "held_seconds", nil, "running_seconds", nil, "pinned", nil)
			continue
		}
		server := the(t, servers, "ptr", row["link"])
		wantRow(t, server, "link", c.ptr(), "client_id", int(c.id()), "application_name", c.application, "remote_pid", row["server_pid"], "statement", row["statement"])
		if held, ok := row["held_seconds"].(float64); !ok || held <= 0 {
			t.Errorf("%s has held %v for %v", c.application, row["link"], row["held_seconds"])
		}
	}
	checkTrails(t, s, rows)
	for i, c := range s.web {
		wantRow(t, the(t, rows, "id", c.id()), "transactions", i+1, "pool_boundary", "statement", "class", nil, "prepared_statements", 0)
	}
	wantRow(t, the(t, rows, "id", s.batch.id()), "class", "nightly", "pool_boundary", "transaction", "transactions", 5, "prepared_statements", 1)
	wantRow(t, the(t, rows, "user", "root"), "database", "pooler", "application_name", "desk", "state", "active", "activity", "active")
	wantRow(t, the(t, rows, "user", "looker"), "state", "idle", "id", int(s.looker.PgConn().PID()))
	if pid := the(t, s.show("clients server_pid WHERE application_name = 'report'"))["server_pid"]; pid != s.locked() {
		t.Errorf("report runs on process %v, but %v waits for the lock", pid, s.locked())
	}
}

// checkTrails compares what is remembered of the statements of clients with what they have run.
func checkTrails(t *testing.T, s *scene, rows []map[string]any) {
	trail := func(c *client, statements int, first, last, comment any) {
		t.Helper()
		wantRow(t, the(t, rows, "id", c.id()), "statements", statements, "first_statement", first, "last_statement", last, "comment", comment)
	}
	for i, c := range s.web {
		trail(c, i+1, "select ?", "select ?", nil)
	}
	for i, c := range s.workers {
		trail(c, 2, "begin", workShown, "route='%2Fcart',file='cart.py:42'")
		trail(s.late[i], 0, nil, nil, nil)
	}
	const lock, report, add = "select pg_advisory_lock(?)", "update stock set n = n + ? where id = ?", "select $1::int + ?"
	trail(s.cron, 1, lock, lock, nil)
	trail(s.report, 1, report, report, nil) // it is at it
	trail(s.guest, 1, "select ?", "select ?", nil)
	trail(s.batch, 5, "begin", add, nil)
	trail(s.plain, 1, add, add, nil)
	trail(s.unix, 1, "select ?", "select ?", nil)
	wantRow(t, the(t, rows, "user", "root"), "statements", 0, "last_statement", nil)
}

// locked is the process of PostgreSQL that waits for a lock.
func (s *scene) locked() (pid int64) {
	s.t.Helper()
	rows := s.ask("postgres", "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
	if len(rows) == 1 {
		_, _ = fmt.Sscan(rows[0][0], &pid)
	}
	return pid
}

func checkServers(t *testing.T, s *scene, rows []map[string]any) {
	for pool, of := range map[string]string{"shop": s.shop, "books": s.books} {
		shown := map[int64]int64{}
		for _, row := range rows {
			if row["database"] != pool {
				continue
			}
			port, _ := row["local_port"].(int64)
			shown[port], _ = row["remote_pid"].(int64)
			wantRow(t, row,
				"type", "S", "pool_user", row["user"], "server_database", of, "addr", "127.0.0.1", "port", s.pg.Port,
				"local_addr", "127.0.0.1", "close_needed", 0, "ptr", fmt.Sprint("s", row["id"]))
		}
		if backends := s.backends(of); !maps.Equal(shown, backends) {
			t.Errorf("%s: ports and processes %v; pg_stat_activity has %v", pool, shown, backends)
		}
	}
	truth := map[string][]string{}
	for _, row := range s.ask("postgres", "SELECT pid, state, application_name, xact_start IS NOT NULL FROM pg_stat_activity WHERE usename IN ('anna', 'ben', 'carl')") {
		truth[row[0]] = row
	}
	uses := int64(0)
	for _, row := range rows {
		want := map[any]string{"idle_in_transaction": "idle in transaction", "active": "active", "idle": "idle", "idle_keeping_session": "idle"}[row["activity"]]
		got := truth[text(row["remote_pid"])]
		if want == "" || got == nil || got[1] != want || (row["transaction_seconds"] != nil) != (got[3] == "t") {
			t.Errorf("%v is %v, its transaction open for %v; pg_stat_activity has %v", row["ptr"], row["activity"], row["transaction_seconds"], got)
		}
		if row["state"] == "active" && (got == nil || row["application_name"] != got[2]) {
			t.Errorf("%v serves %v; pg_stat_activity has %v", row["ptr"], row["application_name"], got)
		}
		n, _ := row["uses"].(int64)
		uses += n
	}
	if all := s.assignments("shop") + s.assignments("books"); uses != int64(all) {
		t.Errorf("lent %d times, want %d", uses, all)
	}
	wantRow(t, the(t, rows, "application_name", "cron"), "pinned", "advisory_lock", "state", "active", "client_user", "anna", "client_addr", "127.0.0.1", "prepared_statements", 0)
	wantRow(t, the(t, rows, "class", "nightly"), "state", "idle", "link", "", "uses", 5, "prepared_statements", 1)
}

func livePools() []liveView {
	return []liveView{
		{"pools", 4, func(t *testing.T, s *scene, rows []map[string]any) {
			shop := the(t, rows, "database", "shop", "user", "anna")
			wantRow(t, shop,
				"cl_active", 7, "cl_waiting", 2, "sv_active", 4, "sv_idle", 0, "sv_used", 0, "sv_tested", 0, "sv_login", 0,
				"cl_pinned", 1, "pool_size", 4, "pool_mode", "transaction", "pool_boundary", "statement", "status", "ACTIVE", "most_servers", 4,
				"opened", 4, "requests", 6+2+1+1+2, "timeouts", 0, "sv_closing", 0, "classes", 1)
			wantRow(t, the(t, rows, "database", "shop", "user", "carl"),
				"cl_active", 1, "cl_waiting", 0, "sv_active", 0, "sv_idle", 1, "pool_size", 1, "maxwait", 0, "requests", 1, "opened", 1)
			wantRow(t, the(t, rows, "database", "books"),
				"user", "ben", "cl_active", 3, "cl_waiting", 0, "sv_active", 0, "sv_idle", 2, "maxwait", 0, "maxwait_us", 0, "cl_pinned", 0,
				"pool_size", 2, "pool_boundary", "transaction", "requests", s.assignments("books"), "classes", 2, "opened", 2)
			wantRow(t, the(t, rows, "database", "pgbouncer"), "user", "pgbouncer", "cl_active", 2, "pool_mode", "statement", "sv_idle", 0)
			s.eventually("maxwait grows", func() bool {
				row := the(t, s.show("pools maxwait, maxwait_us WHERE database = 'shop' AND user = 'anna'"))
				seconds, _ := row["maxwait"].(int64)
				us, _ := row["maxwait_us"].(int64)
				return seconds > 0 || us > 0
			})
		}},
		{"databases", 3, func(t *testing.T, s *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "name", "shop"),
				"host", "127.0.0.1", "port", s.pg.Port, "database", s.shop, "force_user", nil, "pool_size", 4, "pool_mode", nil, "pool_boundary", "statement",
				"current_connections", len(s.backends(s.shop)), "current_client_connections", 10, "paused", 0, "disabled", 0, "fallback", false, "status", "ACTIVE")
			wantRow(t, the(t, rows, "name", "books"),
				"database", s.books, "pool_size", 2, "pool_mode", "transaction", "current_connections", len(s.backends(s.books)), "current_client_connections", 3)
			wantRow(t, the(t, rows, "name", "pgbouncer"), "database", "pgbouncer", "force_user", "pgbouncer", "current_client_connections", 2)
		}},
		{"users", 6, func(t *testing.T, _ *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "name", "anna"), "current_connections", 4, "current_client_connections", 9, "configured", false, "console", nil)
			wantRow(t, the(t, rows, "name", "ben"), "current_connections", 2, "current_client_connections", 3, "max_user_connections", 7, "configured", true)
			wantRow(t, the(t, rows, "name", "carl"), "current_connections", 1, "current_client_connections", 1, "pool_size", "1", "max_user_connections", 0)
			wantRow(t, the(t, rows, "name", "root"), "console", "admin", "current_connections", 0)
			wantRow(t, the(t, rows, "name", "looker"), "console", "stats")
		}},
		{"lists", 14, func(t *testing.T, s *scene, rows []map[string]any) {
			for list, items := range map[string]int{
				"databases": 3, "users": 6, "pools": 4, "used_clients": 15, "login_clients": 0, "free_clients": 0, "free_servers": 0,
				"used_servers": len(s.backends(s.shop)) + len(s.backends(s.books)), "peers": 0, "dns_names": 0,
			} {
				wantRow(t, the(t, rows, "list", list), "items", items)
			}
		}},
	}
}

func liveProgramViews() []liveView {
	return []liveView{
		{"config", len(testConfig().Settings()), func(t *testing.T, _ *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "key", "default_pool_size"), "value", "3", "default", "20", "changeable", "yes")
			wantRow(t, the(t, rows, "key", "loops"), "value", "2", "changeable", "no")
			wantRow(t, the(t, rows, "key", "admin_users"), "value", "root")
		}},
		{"state", 5, func(t *testing.T, _ *scene, rows []map[string]any) {
			for key, value := range map[string]string{"active": "yes", "paused": "no", "suspended": "no", "shutting_down": "no", "paused_databases": ""} {
				wantRow(t, the(t, rows, "key", key), "value", value)
			}
		}},
		{"mem", -1, func(t *testing.T, _ *scene, rows []map[string]any) {
			wantRow(t, the(t, rows, "name", "client_cache"), "used", 13)
			wantRow(t, the(t, rows, "name", "server_cache"), "used", 7)
			wantRow(t, the(t, rows, "name", "pool_cache"), "used", 3)
			wantRow(t, the(t, rows, "name", "db_cache"), "used", 2)
			wantRow(t, the(t, rows, "name", "user_cache"), "used", 2)
		}},
		{"dns_hosts", 0, nil},
		{"dns_zones", 0, nil},
		{"peers", 0, nil},
		{"peer_pools", 0, nil},
		{"version", 1, func(t *testing.T, _ *scene, rows []map[string]any) {
			wantRow(t, rows[0], "version", "PgBouncer 1.25.0 compatible console of pooler 1.2.3")
		}},
	}
}

// near tells whether a time is in the life of the test.
func near(v any) bool {
	at, ok := v.(time.Time)
	return ok && time.Since(at) >= 0 && time.Since(at) < time.Minute
}
