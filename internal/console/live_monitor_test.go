package console

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// liveMonitor is what was recorded of the scene.
func liveMonitor() []liveView {
	return []liveView{
		{"culprits", 2, checkCulprits},
		{"leaks", 0, nil}, // see checkLeaks
		{"history", -1, func(_ *testing.T, s *scene, _ []map[string]any) {
			s.checkMoments("history", sourcesStand(), "application")
		}},
		{"history_day", -1, func(t *testing.T, s *scene, rows []map[string]any) {
			for application, want := range sourcesDid() {
				s.wantSums("history_day", application, want)
			}
			for _, row := range rows {
				if at, ok := row["time"].(time.Time); !ok || at.Second() != 0 {
					t.Errorf("a minute begins at %v", row["time"])
				}
			}
		}},
		{"pool_history", -1, func(_ *testing.T, s *scene, _ []map[string]any) {
			s.checkMoments("pool_history", map[string][]any{
				"anna": {"database", "shop", "open", 4.0, "busy", 4.0, "idle", 0.0, "waiting", 2.0},
				"carl": {"database", "shop", "open", 1.0, "busy", 0.0, "idle", 1.0, "waiting", 0.0},
				"ben":  {"database", "books", "open", 2.0, "busy", 0.0, "idle", 2.0, "waiting", 0.0},
			}, "user")
		}},
		{"pool_history_day", -1, func(t *testing.T, s *scene, rows []map[string]any) {
			for _, pool := range s.show(`SELECT "user", requests, opened, hits, timeouts FROM pools WHERE database <> 'pgbouncer'`) {
				sums := map[string]float64{}
				for _, row := range rows {
					for _, column := range []string{"requests", "opened", "hits", "timeouts", "retired"} {
						if n, ok := row[column].(float64); ok && row["user"] == pool["user"] {
							sums[column] += n
						}
					}
				}
				for column, n := range sums {
					if want, ok := pool[column].(int64); n != float64(want) || column != "retired" && !ok {
						t.Errorf("%v: %g %s were recorded, SHOW POOLS has %v", pool["user"], n, column, pool[column])
					}
				}
			}
		}},
	}
}

// sourcesStand is what each program's clients do, as long as the scene stands.
func sourcesStand() map[string][]any {
	row := func(connected, active, idle, inTransaction, waiting, pinned float64) []any {
		return []any{"connected", connected, "active", active, "idle", idle, "idle_in_transaction", inTransaction, "waiting", waiting, "pinned", pinned, "leaked", 0.0}
	}
	return map[string][]any{
		"web": row(3, 0, 3, 0, 0, 0), "worker": row(2, 0, 0, 2, 0, 0), "late": row(2, 0, 0, 0, 2, 0), "cron": row(1, 0, 1, 0, 0, 1), "report": row(1, 1, 0, 0, 0, 0),
		"guest": row(1, 0, 1, 0, 0, 0), "batch": row(1, 0, 1, 0, 0, 0), "plain": row(1, 0, 1, 0, 0, 0), "unix": row(1, 0, 1, 0, 0, 0),
	}
}

// sourcesDid is what each program's clients have done until the scene stood.
func sourcesDid() map[string]map[string]float64 {
	did := func(connects, queries float64) map[string]float64 {
		return map[string]float64{"connects": connects, "queries": queries, "disconnects": 0, "refused": 0}
	}
	lost := did(0, 0)
	lost["refused"] = 2
	return map[string]map[string]float64{
		"web": did(3, 6), "worker": did(2, 4), "late": did(2, 0), "cron": did(1, 1), "report": did(1, 0), "guest": did(1, 1), "batch": did(1, 6),
		"plain": did(1, 2), "unix": did(1, 1), "lost": lost,
	}
}

// checkMoments waits for a second that was recorded since the scene stands, and compares each such with the truth. The
// rows are told apart by key.
func (s *scene) checkMoments(view string, truth map[string][]any, key string) {
	s.t.Helper()
	var rows []map[string]any
	s.eventually("a second is recorded", func() bool {
		rows = s.show(view+` WHERE time > $1`, s.stands)
		rows = slices.DeleteFunc(rows, func(row map[string]any) bool { return row["connected"] == 0.0 }) // of those who were refused
		return len(rows) >= len(truth)
	})
	times := map[any]int{}
	for _, row := range rows {
		name := text(row[key])
		want := truth[name]
		if want == nil {
			s.t.Errorf("%s has %v", view, row)
			continue
		}
		times[row["time"]]++
		wantRow(s.t, row, want...)
		for _, column := range []string{"connects", "disconnects", "refused", "queries", "requests", "opened", "retired"} {
			if n := row[column]; n != nil && n != 0.0 && row["time"] != rows[0]["time"] {
				s.t.Errorf("nothing was done any more, but %s has %v", view, row)
			}
		}
	}
	for at, n := range times {
		if n != len(truth) {
			s.t.Errorf("%s has %d rows at %v, want %d", view, n, at, len(truth))
		}
	}
	for name, want := range sourcesDid() {
		if view == "history" {
			s.wantSums(view, name, want)
		}
	}
}

// wantSums compares what a program has done over all that was recorded.
func (s *scene) wantSums(view, application string, want map[string]float64) {
	s.t.Helper()
	for column, n := range want {
		sum := 0.0
		for _, row := range s.show(view+" WHERE application = $1", application) {
			sum += row[column].(float64)
		}
		if sum != n {
			s.t.Errorf("%s: %s of %s are %g, want %g", view, column, application, sum, n)
		}
	}
}

func checkCulprits(t *testing.T, s *scene, rows []map[string]any) {
	wantRow(t, rows[0], "addr", "127.0.0.1", "connections", 12, "share_percent", 92.3, "active", 1, "idle", 7, "in_transaction", 2, "waiting", 2, "pinned", 1,
		"leaked", 0, "connects_per_minute", 12, "sources", 8, "application", "web, late, worker, …", "last_statement", "select ?")
	wantRow(t, rows[1], "addr", "unix", "connections", 1, "share_percent", 7.7, "idle", 1, "sources", 1, "application", "unix", "last_statement", "select ?")
	if !near(rows[0]["oldest"]) {
		t.Errorf("the oldest connected at %v", rows[0]["oldest"])
	}
	s.eventually("the time that server sessions are held grows", func() bool {
		n, _ := the(t, s.show("culprits"), "addr", "127.0.0.1")["server_seconds"].(float64)
		return n > 4 // there are four
	})
}

// checkLeaks makes the limits so small that whoever does nothing is suspected.
func checkLeaks(t *testing.T, s *scene) {
	for _, key := range []string{"leak_idle", "leak_idle_in_transaction", "leak_pinned"} {
		s.does("SET " + key + " = '1ms'")
	}
	var rows []map[string]any
	s.eventually("all are found", func() bool {
		rows = s.show("leaks")
		return len(rows) == 10 && the(t, rows, "id", s.unix.id())["command"] != nil
	})
	clients := s.show("clients")
	for _, c := range s.clients {
		want := []any{"kind", "idle", "transaction_seconds", nil, "server_pid", nil, "pin_reason", nil, "pin_statement", nil}
		server := the(t, clients, "id", c.id())["server_pid"]
		switch c {
		case s.late[0], s.late[1], s.report:
			if n := count(rows, "id", c.id()); n > 0 {
				t.Errorf("%s is no leak", c.application)
			}
			continue
		case s.workers[0], s.workers[1]:
			want = []any{
				"kind", "idle_in_transaction", "server_pid", server, "first_statement", "begin", "statement", workShown, "statements", 2,
				"comment", "route='%2Fcart',file='cart.py:42'", "tags", "route=/cart file=cart.py:42",
			}
		case s.cron:
			want = []any{
				"kind", "pinned", "server_pid", server, "pin_reason", "advisory_lock", "statement", "select pg_advisory_lock(?)",
				"pin_statement", "select pg_advisory_lock(?)", "transaction_seconds", nil,
			}
		case s.batch:
			want = append(want, "class", "nightly", "first_statement", "begin", "user", "ben", "database", "books")
		}
		row := the(t, rows, "id", c.id())
		wantRow(t, row, append(want, "client", c.ptr(), "application", c.application, "clients", nil, "grown", nil)...)
		if c.port != 0 {
			wantRow(t, row, "port", c.port, "addr", "127.0.0.1")
		}
		known := row["pid"] == int64(os.Getpid()) && strings.HasPrefix(text(row["command"]), os.Args[0])
		unknown := row["pid"] == nil && row["command"] == nil && c != s.unix // a busy machine has no time to search all processes
		if !known && !unknown || row["why"] == "" || !near(row["found"]) || !near(row["since"]) {
			t.Errorf("%v", row)
		}
	}
	wantRow(t, s.show("culprits")[0], "leaked", 9)
	s.eventually("they are recorded", func() bool { return len(s.show("history WHERE application = 'web' AND leaked = 3")) > 0 })
	s.does("RELOAD") // which has the limits of the file
	s.eventually("nobody is suspected any more", func() bool { return len(s.show("leaks")) == 0 })
}

// checkQuestions asks what the document has for people to copy.
func checkQuestions(t *testing.T, s *scene) {
	document, err := os.ReadFile("../../docs/console.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(document), "| question | answer |\n|---|---|\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	asked := 0
	for _, line := range strings.Split(table, "\n") {
		for i, part := range strings.Split(line, "`") {
			if i%2 == 1 && part != "DRY RUN" {
				asked++
				if _, err := s.looker.Exec(t.Context(), part); err != nil {
					t.Errorf("%s: %v", part, err)
				}
			}
		}
	}
	if asked < 15 {
		t.Errorf("the document has %d statements", asked)
	}
	if rows := s.show(fmt.Sprintf(`history application, connected WHERE time < now() - interval '%d seconds'`, 290)); len(rows) > 0 {
		t.Errorf("five minutes ago there was %v", rows)
	}
}
