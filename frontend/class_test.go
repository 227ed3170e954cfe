package frontend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// pidOf runs a statement as c and returns the server session's process ID.
func pidOf(t *testing.T, c *rawClient) string {
	t.Helper()
	return c.query("SELECT pg_backend_pid()").only()
}

func TestServerSessionsOfTwoClassesAreNotMixedWhileBothHaveRoom(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "default_pool_size = 2")
	served := map[string]string{} // by process ID
	for round := range 5 {
		for _, class := range []string{"web", "batch"} {
			c := newRaw(t, p, db, "pool_connection_class", class, "application_name", fmt.Sprint(class, round))
			for range 3 {
				pid := pidOf(t, c)
				if other := served[pid]; other != "" && other != class {
					t.Errorf("server session %s has served %s and %s", pid, other, class)
				}
				served[pid] = class
			}
		}
	}
	if len(served) != 2 {
		t.Errorf("%d server sessions, want one for each class: %v", len(served), served)
	}
	for _, class := range onlyPool(t, p).Classes {
		if class.Conns != 1 || class.Sessions != 5 || class.Requests != 15 || class.Hits != 14 {
			t.Errorf("%+v", class)
		}
	}
}

// Where there is no room for both, the server session of the other class is taken, and what it remembers is cleared.
func TestAServerSessionOfAnotherClassIsCleanedBeforeUse(t *testing.T) {
	t.Parallel()
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	if _, err := pg.Exec(t.Context(), db, "CREATE FUNCTION remembered() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM pg_prepared_statements'"); err != nil {
		t.Fatal(err)
	}
	p := startPooler(t, "default_pool_size = 1")
	web, other, batch := newRaw(t, p, db, "pool_connection_class", "web"), newRaw(t, p, db, "options", "-c pool_connection_class=web"), newRaw(t, p, db, "pool_connection_class", "batch")
	web.prepare("s", "SELECT 1")
	pid := pidOf(t, web)
	for _, tc := range []struct {
		name   string
		client *rawClient
		want   string
	}{
		{"its own class", other, "1"}, {"another class", batch, "0"}, {"the first class again", other, "0"},
	} {
		if got := tc.client.query("SELECT remembered()").only(); got != tc.want {
			t.Errorf("%s: the server session remembers %s statements, want %s", tc.name, got, tc.want)
		}
		if got := pidOf(t, tc.client); got != pid {
			t.Errorf("%s: it is another server session", tc.name)
		}
	}
	if got := web.query("SELECT 1").only(); got != "1" {
		t.Error(got)
	}
}

// A session with purity NEW is one that nobody has used, also when the pool is full of used ones.
func TestPurityNewIsNeverAUsedServerSession(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "default_pool_size = 2")
	self, fresh := newRaw(t, p, db), newRaw(t, p, db, "pool_purity", "NEW")
	var pids []string
	for range 4 {
		pids = append(pids, pidOf(t, self))
		pid := pidOf(t, fresh)
		if slices.Contains(pids, pid) {
			t.Errorf("%s was used before: %v", pid, pids)
		}
		pids = append(pids, pid)
		// What DISCARD ALL would not clear is not there either.
		self.query("SET app.seen = 'x'")
		if got := fresh.query("SELECT current_setting('app.seen', true) IS NULL").only(); got != "t" {
			t.Errorf("a session with purity NEW knows another's parameter: %s", got)
		}
	}
	if pids[0] != pids[2] || pids[2] != pids[4] {
		t.Errorf("the client with purity SELF moved: %v", pids)
	}
}

func TestManyWithPurityNewAndSelfAllGetTheirTurn(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "default_pool_size = 2")
	done := make(chan string)
	const clients = 12
	for i := range clients {
		parameters := []string{"pool_connection_class", fmt.Sprint("c", i%3), "pool_purity", []string{"self", "new"}[i%2]}
		c := newRaw(t, p, db, parameters...)
		go func() {
			for range 10 {
				if got := c.query("SELECT 1").only(); got != "1" {
					done <- got
					return
				}
			}
			done <- ""
		}()
	}
	for range clients {
		select {
		case fault := <-done:
			if fault != "" {
				t.Error(fault)
			}
		case <-time.After(3 * patience):
			t.Fatalf("somebody is stuck: %+v", onlyPool(t, p))
		}
	}
	if s := onlyPool(t, p); s.HistoricMax > 2 {
		t.Errorf("%d server sessions at once, want at most 2", s.HistoricMax)
	}
}

func TestClassAndPurityAreChosenByRulesAndDefaults(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, `pool_connection_class = "default"
[[rules]]
application_name = "report*"
source = "127.0.0.0/8"
pool_connection_class = "reports"
pool_purity = "new"
[[rules]]
source = "10.0.0.0/8"
pool_connection_class = "nobody"`)
	for _, tc := range []struct {
		parameters []string
		want       string
	}{
		{nil, "default"},
		{[]string{"application_name", "report.py"}, "reports"},
		{[]string{"application_name", "report.py", "options", "-c pool_connection_class=mine"}, "mine"},
	} {
		c := newRaw(t, p, db, tc.parameters...)
		first := pidOf(t, c)
		second := pidOf(t, c)
		var classes []string
		for _, class := range onlyPool(t, p).Classes {
			if class.Sessions > 0 {
				classes = append(classes, class.Name)
			}
		}
		if !slices.Contains(classes, tc.want) {
			t.Errorf("%v: classes %v, want %s", tc.parameters, classes, tc.want)
		}
		if fresh := len(tc.parameters) > 0; (first != second) != fresh {
			t.Errorf("%v: the same server session: %v", tc.parameters, first == second)
		}
		_ = c.nc.Close()
		eventually(t, patience, "the client is gone", func() bool { return p.Front.Stat().Clients == 0 })
	}
}

func TestBadClassAndPurityAreRefused(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t)
	for _, parameters := range [][]string{
		{"pool_purity", "old"}, {"pool_connection_class", "a b"}, {"options", "-c pool_purity="}, {"pool_connection_class", strings.Repeat("x", 64)},
	} {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage(db, parameters...))
		if a := c.answer(); a.Code != "22023" || a.Severity != "FATAL" {
			t.Errorf("%v: %+v", parameters, a)
		}
	}
}
