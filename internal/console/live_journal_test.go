package console

import (
	"fmt"
	"testing"
)

// liveJournal is what was noted while the scene was set.
func liveJournal() []liveView {
	return []liveView{
		{"events", -1, func(t *testing.T, s *scene, _ []map[string]any) {
			s.eventually("it is noted that cron is pinned", func() bool { return len(s.show("events")) > 0 })
			rows := s.show("events")
			if len(rows) != 1 {
				t.Errorf("%d events, want one:\n%v", len(rows), rows)
			}
			server := the(t, s.show("servers"), "link", s.cron.ptr())
			wantRow(t, rows[0], "kind", "pinned", "reason", "advisory_lock", "count", 1, "addr", "127.0.0.1", "application", "cron", "user", "anna", "database", "shop",
				"client_id", int(s.cron.id()), "server_id", server["id"], "server_pid", server["remote_pid"], "seq", 1,
				"detail", "Its server session serves nobody else. It began with: select pg_advisory_lock(?)", "until", rows[0]["time"])
			if !near(rows[0]["time"]) {
				t.Errorf("at %v", rows[0]["time"])
			}
		}},
		{"establishments", -1, checkEstablishments},
		{"establishment_rates", -1, func(t *testing.T, s *scene, rows []map[string]any) {
			for application, did := range sourcesDid() {
				row := the(t, rows, "application", application, "side", "client")
				wantRow(t, row, "connects", int(did["connects"]), "refusals", int(did["refused"]), "closes", 0, "connects_per_minute", did["connects"])
			}
			for user, servers := range map[string]int{"anna": 4, "carl": 1, "ben": 2} {
				wantRow(t, the(t, rows, "user", user, "side", "server"), "addr", s.postgres(), "application", nil, "connects", servers, "closes", 0, "reuses", 0)
			}
			wantRow(t, rows[0], "application", "web") // who connects most often
			wantRow(t, rows[len(rows)-1], "side", "server")
		}},
	}
}

// checkEstablishments compares the list with the logins of the script.
func checkEstablishments(t *testing.T, s *scene, rows []map[string]any) {
	connects := map[any]map[string]any{}
	for i, row := range rows {
		if row["seq"] != int64(len(rows)-i) || !near(row["time"]) {
			t.Errorf("row %d is %v", i, row)
		}
		if row["side"] == "client" && row["action"] == "connect" {
			connects[row["client_id"]] = row
		}
	}
	for _, c := range s.clients {
		addr, port := "127.0.0.1", any(c.port)
		if c == s.unix {
			addr, port = "unix", nil
		}
		wantRow(t, connects[c.id()], "application", c.application, "addr", addr, "port", port, "cause", "trust", "age_seconds", nil)
	}
	wantRow(t, connects[int64(s.looker.PgConn().PID())], "user", "looker", "database", "pooler", "application", "desk")
	if n := len(s.clients) + 2; len(connects) != n || count(rows, "action", "connect") != n+7 {
		t.Errorf("%d clients of %d connections, want %d", len(connects), count(rows, "action", "connect"), n)
	}
	if n := count(rows, "action", "close"); n != 0 {
		t.Errorf("%d were closed", n)
	}
	if n := count(rows, "action", "refuse"); n != 2 {
		t.Errorf("%d were refused", n)
	}
	refused := s.show("establishments WHERE action = 'refuse' LIMIT 1")
	wantRow(t, the(t, refused),
		"application", "lost", "database", "nothing", "user", "anna", "cause", "3D000", "addr", "127.0.0.1", "side", "client", "client_id", nil, "server_id", nil)
	for _, server := range s.show("servers") {
		row := the(t, rows, "side", "server", "server_id", server["id"])
		wantRow(t, row, "action", "connect", "addr", s.postgres(), "user", server["pool_user"], "database", server["database"], "port", nil, "client_id", nil)
	}
	checkReuses(t, s, rows)
}

// postgres is the address of PostgreSQL.
func (s *scene) postgres() string { return fmt.Sprint("127.0.0.1:", s.pg.Port) }

// checkReuses compares who was lent what others had used with the counts by source.
func checkReuses(t *testing.T, s *scene, rows []map[string]any) {
	first, programs := map[any]int{}, map[any]int64{}
	for _, row := range rows {
		if row["action"] != "reuse" {
			continue
		}
		if first[row["client_id"]]++; first[row["client_id"]] > 1 {
			t.Errorf("noted twice: %v", row)
		}
		programs[row["application"]]++
		if age, ok := row["age_seconds"].(float64); !ok || age <= 0 || row["server_id"] == nil {
			t.Errorf("%v", row)
		}
	}
	for _, source := range s.show("sources") {
		n, clients := source["reuses"].(int64), programs[source["application"]]
		if n < clients || (n > 0) != (clients > 0) {
			t.Errorf("%v: %d loans by %d clients", source["application"], n, clients)
		}
	}
	if first[s.unix.id()] != 1 || first[s.guest.id()] != 0 {
		t.Errorf("unix was lent what plain had used, guest was not: %v", first)
	}
}

// checkDoings looks for what the pooler does to somebody.
func checkDoings(t *testing.T, s *scene) {
	var did deeds
	doomed := s.login(&did, "ben", "books", "doomed", "")
	s.does(fmt.Sprint("KILL_CLIENT ", doomed.id()))
	s.eventually("it is gone", func() bool {
		return len(s.show("establishments WHERE application = 'doomed' AND action = 'close'")) == 1
	})
	wantRow(t, the(t, s.show("events WHERE application = 'doomed'")),
		"kind", "killed", "reason", "killed", "user", "ben", "database", "books", "client_id", int(doomed.id()), "count", 1, "server_id", nil)
	wantRow(t, the(t, s.show("establishments WHERE application = 'doomed' AND action = 'close'")), "client_id", int(doomed.id()), "cause", "killed")
	wantRow(t, the(t, s.show("sources WHERE application = 'doomed'")), "connections", 0, "logins", 1, "disconnects", 1)

	s.does("SET users.carl.max_user_client_connections = 1")
	for range 3 {
		if _, err := s.tryLogin(&did, "carl", "shop", "crowd", ""); sqlState(err) != "53300" {
			t.Errorf("one too many: %v", err)
		}
	}
	s.eventually("all are noted", func() bool { return len(s.show("events WHERE application = 'crowd' AND count = 3")) == 1 })
	row := the(t, s.show("events WHERE kind = 'limit_reached' AND application = 'crowd'"))
	wantRow(t, row, "reason", "max_user_client_connections", "count", 3, "user", "carl", "database", "shop", "addr", "127.0.0.1")
	wantRow(t, the(t, s.show("sources WHERE application = 'crowd'")), "connections", 0, "refused", 3, "logins", 0, "last_statement", nil)
	if n := len(s.show("establishments WHERE action = 'refuse' AND cause = 'max_user_client_connections' AND application = 'crowd'")); n != 3 {
		t.Errorf("%d were refused", n)
	}
	s.does("RELOAD")
}
