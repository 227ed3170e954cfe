package frontend

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/journal"
)

// startJournaled runs a pooler as startTimed does, with a journal.
func startJournaled(t *testing.T, extras ...string) (p *testPooler, db string, j *journal.Journal) {
	t.Helper()
	db = postgres.Server(t).CreateDatabase(t)
	if _, err := postgres.Server(t).Exec(t.Context(), db, "CREATE TABLE t (n int); INSERT INTO t VALUES (0)"); err != nil {
		t.Fatal(err)
	}
	top := []string{`default_pool_size = 1`}
	if strings.Contains(strings.Join(extras, "\n"), "default_pool_size") {
		top = nil
	}
	j = journal.New()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal's events: %+v\nand establishments: %+v", j.Events(), j.Establishments())
		}
	})
	p = startPoolerWith(t, func(srv *Server) {
		srv.SetJournal(j)
		srv.pools.SetJournal(j)
	}, append(top, extras...)...)
	return p, db, j
}

// awaitEvent waits for an event of that kind and reason, and checks who it is about: the clients from 127.0.0.1 with that
// application_name.
func awaitEvent(t *testing.T, j *journal.Journal, kind journal.Kind, reason, db, application string) journal.Event {
	t.Helper()
	var found journal.Event
	eventually(t, patience, fmt.Sprintf("%s, %s of %s", kind, reason, application), func() bool {
		for _, e := range j.Events() {
			if e.Kind == kind && e.Reason == reason && e.Application == application {
				found = e
				return true
			}
		}
		return false
	})
	if found.Address != "127.0.0.1" || found.User != "postgres" || found.Database != db || found.Client == 0 || found.Count != 1 || found.Detail == "" {
		t.Errorf("%s, %s: %+v", kind, reason, found)
	}
	return found
}

func TestWhoIsEndedIsInTheJournal(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t, "default_pool_size = 4")
	alone := newRaw(t, p, db, "application_name", "alone")
	alone.query("BEGIN")
	var id SessionID
	for _, c := range p.Front.Clients() {
		id = c.ID
	}
	p.Front.Kill(id, "alice")
	if e := awaitEvent(t, j, journal.Killed, "killed", db, "alone"); e.Client != uint64(id) || e.ServerPID == 0 || e.Server == 0 ||
		e.Detail != "An administrator (alice) ended it. A transaction was open, and is rolled back." {
		t.Errorf("%+v", e)
	}
	newRaw(t, p, db, "application_name", "idle")
	name := "idle"
	eventually(t, patience, "it is idle", func() bool {
		return len(p.Front.KillIdle(IdleCriteria{Application: &name}, false, "bob")) == 1
	})
	if e := awaitEvent(t, j, journal.Killed, "killed", db, "idle"); !strings.Contains(e.Detail, "bob") || e.Server != 0 {
		t.Errorf("%+v", e)
	}
	newRaw(t, p, db, "application_name", "all")
	p.Front.KillDatabase(db, "carol")
	awaitEvent(t, j, journal.Killed, "killed", db, "all")

	doomed := newRaw(t, p, db, "application_name", "doomed")
	doomed.query("BEGIN")
	gather(p.Front, func(c *crew) []bool {
		c.berths[0].session.OnPanic("test")
		return nil
	})
	awaitEvent(t, j, journal.Panic, "panic", db, "doomed")
}

// The reaper's victims of one source are one entry.
func TestWhoIsReapedIsInTheJournal(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t)
	herd(t, p, db, 4, "application_name", "cron.py")
	<-time.After(2 * lookEvery) // so that how long they have been idle is known
	p.reload(t, "reaper_client_threshold = 3\nreaper_client_target = 1\nreaper_dry_run = true")
	eventually(t, patience, "a dry run", func() bool { return len(p.Front.ReaperRuns()) == 1 })
	if all := j.Events(); len(all) != 0 {
		t.Errorf("a dry run is in the journal: %+v", all)
	}
	p.reload(t, "reaper_client_threshold = 3\nreaper_client_target = 1")
	eventually(t, patience, "three are closed", func() bool { return len(j.Events()) == 1 && j.Events()[0].Count == 3 })
	if e := j.Events()[0]; e.Kind != journal.Reaped || e.Reason != "reaped" || e.Application != "cron.py" || e.Database != db ||
		!strings.Contains(e.Detail, "reaper_client_threshold = 3") {
		t.Errorf("%+v", e)
	}
}

func TestTimeLimitsAreInTheJournal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		limit string
		does  func(p *testPooler, c *rawClient, db string)
	}{
		{"query_timeout", func(_ *testPooler, c *rawClient, _ string) { c.query("SELECT pg_sleep(60)") }},
		{"transaction_timeout", func(_ *testPooler, c *rawClient, _ string) { c.query("BEGIN") }},
		{"idle_transaction_timeout", func(_ *testPooler, c *rawClient, _ string) { c.query("BEGIN") }},
		{"max_think_time", func(_ *testPooler, c *rawClient, _ string) { c.query("CREATE TEMP TABLE mine (n int)") }},
		{"client_idle_timeout", func(_ *testPooler, c *rawClient, _ string) { c.query("SELECT 1") }},
		{"query_wait_timeout", func(p *testPooler, c *rawClient, db string) {
			newRaw(t, p, db, "application_name", "holds").query("BEGIN")
			c.query("SELECT 1")
		}},
	} {
		t.Run(tc.limit, func(t *testing.T) {
			t.Parallel()
			p, db, j := startJournaled(t, tc.limit+` = "500ms"`)
			tc.does(p, newRaw(t, p, db, "application_name", "slow"), db)
			e := awaitEvent(t, j, journal.TimedOut, tc.limit, db, "slow")
			if !strings.Contains(e.Detail, tc.limit+" = 500ms") || (e.Server != 0) == (tc.limit == "client_idle_timeout" || tc.limit == "query_wait_timeout") {
				t.Errorf("%+v", e)
			}
		})
	}
	t.Run("client_login_timeout", func(t *testing.T) {
		t.Parallel()
		p, _, j := startJournaled(t, `client_login_timeout = "500ms"`)
		c := dialFrom(t, p, "127.0.0.8")
		_, _ = c.nc.Write([]byte{0})
		eventually(t, patience, "it is closed", func() bool { return len(j.Events()) == 1 })
		if e := j.Events()[0]; e.Kind != journal.TimedOut || e.Reason != "client_login_timeout" || e.Address != "127.0.0.8" || e.Client != 0 {
			t.Errorf("%+v", e)
		}
		if all := j.Establishments(); len(all) != 1 || all[0].Action != journal.Refuse || all[0].Cause != "login_timeout" ||
			int(all[0].Port) != c.nc.LocalAddr().(*net.TCPAddr).Port {
			t.Errorf("%+v", all)
		}
	})
}

// Who is gone without a word, on either side.
func TestLostPeersAreInTheJournal(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t)
	c := newRaw(t, p, db, "application_name", "flaky")
	c.query("BEGIN")
	_ = c.nc.(*net.TCPConn).SetLinger(0)
	_ = c.nc.Close()
	if e := awaitEvent(t, j, journal.PeerLost, "reset", db, "flaky"); e.ServerPID == 0 || !strings.Contains(e.Detail, "rolled back") {
		t.Errorf("%+v", e)
	}
	eventually(t, patience, "the server session is free", func() bool { return onlyPool(t, p).Idle == 1 })
	server := p.Pools.Servers()[0]
	if _, err := postgres.Server(t).Exec(t.Context(), "postgres", fmt.Sprintf("SELECT pg_terminate_backend(%d)", server.PID)); err != nil {
		t.Fatal(err)
	}
	var e journal.Event
	eventually(t, patience, "it is lost", func() bool {
		for _, e = range j.Events() {
			if e.Kind == journal.PeerLost && e.Client == 0 {
				return true
			}
		}
		return false
	})
	if e.Reason != "closed" || e.Server != uint64(server.ID) || e.ServerPID != server.PID || e.Database != db || e.User != "postgres" ||
		e.Address != server.Addr.Addr || !strings.Contains(e.Detail, "while it was idle") {
		t.Errorf("%+v", e)
	}
}

// A pin is news once it has lasted, and once.
func TestPinsAreInTheJournal(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t, "default_pool_size = 2")
	short, long := newRaw(t, p, db, "application_name", "short"), newRaw(t, p, db, "application_name", "long")
	begun := time.Now()
	short.query("CREATE TEMP TABLE gone (n int)")
	short.query("DISCARD ALL")
	long.query("SELECT pg_advisory_lock(4711)")
	e := awaitEvent(t, j, journal.Pinned, "advisory_lock", db, "long")
	if e.Time.Sub(begun) < pinNoticed || e.ServerPID == 0 || !strings.HasSuffix(e.Detail, ": select pg_advisory_lock(?)") {
		t.Errorf("%+v", e)
	}
	<-time.After(3 * lookEvery)
	long.query("SELECT 1") // it is looked at again
	long.query("SELECT pg_advisory_unlock(4711)")
	eventually(t, patience, "it is not pinned", func() bool { return p.Front.Stat().Pinned["advisory_lock"] == 0 })
	st := p.Front.Stat()
	if held := time.Since(begun).Seconds(); st.PinnedSeconds["advisory_lock"] < 1 || st.PinnedSeconds["advisory_lock"] > held ||
		st.PinnedSeconds["temporary_object"] <= 0 || st.PinnedSeconds["listen"] != 0 {
		t.Errorf("in %f s: %v", held, st.PinnedSeconds)
	}
	long.query("SELECT pg_advisory_lock(4712)")
	eventually(t, patience, "it is pinned", func() bool { return p.Front.Stat().Pinned["advisory_lock"] == 1 })
	before := p.Front.Stat().PinnedSeconds["advisory_lock"]
	eventually(t, patience, "its time runs", func() bool { return p.Front.Stat().PinnedSeconds["advisory_lock"] > before })
	for _, e := range j.Events() {
		if e.Kind == journal.Pinned && (e.Application != "long" || e.Count != 1) {
			t.Errorf("%+v", e)
		}
	}
}

func TestALeakIsInTheJournal(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t)
	if _, err := postgres.Server(t).Exec(t.Context(), db, hiddenGround+"CREATE TRIGGER w BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_watched('setting')"); err != nil {
		t.Fatal(err)
	}
	a, b := newRaw(t, p, db, "application_name", "leaves"), newRaw(t, p, db, "application_name", "finds")
	gather(p.Front, func(c *crew) []bool {
		for i := range c.berths {
			c.berths[i].session.untilSample = 1 // the second statement of each is looked into
		}
		return nil
	})
	a.query("INSERT INTO watched VALUES (42)")
	b.query("SELECT 1")
	b.query("SELECT 'secret'")
	if e := awaitEvent(t, j, journal.LeakContained, "setting work_mem", db, "finds"); e.ServerPID == 0 || strings.Contains(e.Detail, "secret") {
		t.Errorf("%+v", e)
	}
	eventually(t, patience, "the server session is replaced", func() bool {
		for _, e := range j.Events() {
			if e.Kind == journal.ServerRetired && e.Reason == "leak" && e.Database == db {
				return true
			}
		}
		return false
	})
}

func TestLimitsAreInTheJournal(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t, "max_user_client_connections = 5")
	for range 5 {
		newRaw(t, p, db, "application_name", "few")
	}
	for range 3 {
		if c, a := loginFrom(t, p, "127.0.0.7", db, "application_name", "many"); c != nil || a.Code != "53300" {
			t.Fatalf("%+v", a)
		}
	}
	var refused, alarm journal.Event
	eventually(t, patience, "both are in the journal", func() bool {
		for _, e := range j.Events() {
			if e.Application == "many" {
				refused = e
			} else {
				alarm = e
			}
		}
		return refused.Count == 3 && alarm.Count > 0
	})
	if refused.Kind != journal.LimitReached || refused.Reason != "max_user_client_connections" || refused.Address != "127.0.0.7" ||
		refused.User != "postgres" || refused.Database != db || !strings.Contains(refused.Detail, "max_user_client_connections = 5") {
		t.Errorf("%+v", refused)
	}
	if alarm.Kind != journal.LimitReached || alarm.Reason != "max_user_client_connections" || alarm.User != "postgres" || alarm.Address != "" ||
		!strings.Contains(alarm.Detail, " % of max_user_client_connections = 5 is in use") {
		t.Errorf("%+v", alarm)
	}
	for _, s := range p.Front.Sources() {
		if s.Application == "many" && (s.Refused != 3 || s.Clients != 0) || s.Application == "few" && (s.Refused != 0 || s.Clients != 5) {
			t.Errorf("%+v", s)
		}
	}
}

// Clients of the console are in the journal, too.
func TestTheConsoleIsInTheJournal(t *testing.T) {
	t.Parallel()
	j := journal.New()
	p := startPoolerWith(t, func(srv *Server) {
		srv.SetConsole(newScriptedConsole())
		srv.SetJournal(j)
	}, `admin_users = ["alice"]`)
	for _, fate := range []string{"kill", "panic"} {
		c, err := p.enter(t, p.Addr, "alice", "", "pooler")
		if err != nil {
			t.Fatal(err)
		}
		if fate == "kill" {
			p.Front.KillConsole(p.Front.ConsoleClients()[0].ID, "bob")
		}
		_, _ = c.Exec(t.Context(), fate).ReadAll()
		eventually(t, patience, "it is gone", func() bool { return len(p.Front.ConsoleClients()) == 0 })
	}
	got := map[step]int{}
	eventually(t, patience, "four steps", func() bool { got = steps(j); return len(j.Establishments()) == 4 })
	for _, want := range []step{
		{journal.Connect, "127.0.0.1", "operator", "pooler", "trust"},
		{journal.Close, "127.0.0.1", "operator", "pooler", "killed"},
		{journal.Close, "127.0.0.1", "operator", "pooler", "panic"},
	} {
		if got[want] == 0 {
			t.Errorf("%+v is missing in %v", want, got)
		}
	}
	events := j.Events()
	if len(events) != 2 || events[0].Kind != journal.Killed || events[0].User != "alice" || !strings.Contains(events[0].Detail, "bob") ||
		events[1].Kind != journal.Panic || events[1].Application != "operator" || events[1].Client == 0 {
		t.Errorf("%+v", events)
	}
}

// Without a journal everything goes on.
func TestWithoutAJournal(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, `client_idle_timeout = "300ms"`)
	c := newRaw(t, p, db)
	c.send(&pgproto3.Query{String: "SELECT 1"})
	c.ending()
	eventually(t, patience, "it is counted", func() bool { return p.Front.Stat().Ends["client_idle_timeout"] == 1 })
}
