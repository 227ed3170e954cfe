package frontend

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// infoOf waits until the client of that name is as it should be.
func infoOf(t *testing.T, p *testPooler, application string, ok func(ClientInfo) bool) ClientInfo {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	var last ClientInfo
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-look.C {
		for _, c := range p.Front.Clients() {
			if c.Application == application {
				if last = c; ok(c) {
					return c
				}
			}
		}
	}
	t.Fatalf("%s has not become what it should: %+v", application, last)
	return last
}

// isSettled tells whether the client's last statement is in its trail.
func isSettled(p *testPooler, id SessionID) bool {
	s := p.Front.sessions.get(id)
	settled := make(chan bool, 1)
	s.req.Loop.Post(func() { settled <- s.trail != nil && s.trail.noted == nil })
	return <-settled
}

// A client's first and last statement, and the last comment, are known while it works, and when it has been idle for
// long; literals are not shown.
func TestTrailOfAClient(t *testing.T) {
	p := startPooler(t, `default_pool_size = 1`)
	conn := connectAs(t, p, "leaky")
	mustExec(t, conn, "SELECT 'secret1'")
	mustExec(t, conn, "/* file='a.py:42' */ SELECT 'secret2', 7")
	mustExec(t, connectAs(t, p, "other"), "SELECT 'other'") // on the same server session
	check := func(c ClientInfo) {
		t.Helper()
		if c.FirstStatement != "select ?" || c.LastStatement != "select ?, …" || c.Comment != "file='a.py:42'" || c.Statements != 2 {
			t.Errorf("%+v", c)
		}
	}
	check(infoOf(t, p, "leaky", func(ClientInfo) bool { return true }))
	check(infoOf(t, p, "leaky", func(c ClientInfo) bool { return isSettled(p, c.ID) }))
	for _, s := range p.Front.Sources() {
		if s.Application == "leaky" && s.LastStatement != "select ?, …" {
			t.Errorf("the source's last statement is %q", s.LastStatement)
		}
	}
	mustExec(t, conn, "BEGIN")
	if c := infoOf(t, p, "leaky", func(c ClientInfo) bool { return c.Server != 0 }); c.Statement != "begin" || c.LastStatement != "begin" || c.Comment != "file='a.py:42'" || c.Statements != 3 {
		t.Errorf("in a transaction: %+v", c)
	}
	mustExec(t, conn, "COMMIT")
	if c := infoOf(t, p, "leaky", func(ClientInfo) bool { return true }); c.LastStatement != "commit" || c.Comment != "file='a.py:42'" {
		t.Errorf("after the transaction: %+v", c)
	}
	long := "SELECT length('" + strings.Repeat("secret", 1000) + "') /*route='/orders'*/"
	if _, err := conn.Exec(t.Context(), long, pgx.QueryExecModeExec); err != nil {
		t.Fatal(err)
	}
	if c := infoOf(t, p, "leaky", func(c ClientInfo) bool { return isSettled(p, c.ID) }); c.Comment != "route='/orders'" || strings.Contains(c.LastStatement, "secret") {
		t.Errorf("after a long statement: %+v", c)
	}
}

func TestLiteralsAreShownIfThatIsConfigured(t *testing.T) {
	p := startPooler(t, `show_literals = true`)
	mustExec(t, connectAs(t, p, "open"), "SELECT 'shown'")
	if c := infoOf(t, p, "open", func(ClientInfo) bool { return true }); c.FirstStatement != "SELECT 'shown'" || c.LastStatement != "SELECT 'shown'" {
		t.Errorf("%+v", c)
	}
}

// Those who are over a limit are listed at every look, and described once.
func TestSuspects(t *testing.T) {
	p := startPooler(t, `default_pool_size = 5`)
	idle, thinking, pinned, busy := connectAs(t, p, "idle"), connectAs(t, p, "thinking"), connectAs(t, p, "pinned"), connectAs(t, p, "busy")
	mustExec(t, idle, "SELECT 1")
	mustExec(t, thinking, "BEGIN")
	mustExec(t, pinned, "SELECT pg_advisory_lock(4712)")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = busy.Exec(context.Background(), "SELECT pg_sleep(60)") // until it is killed
	}()
	running := infoOf(t, p, "busy", func(c ClientInfo) bool { return c.State == "active" })
	defer func() {
		p.Front.Kill(running.ID, "the test")
		<-done
	}()
	limits := Suspicion{Idle: time.Millisecond, InTransaction: time.Millisecond, Pinned: time.Millisecond}
	known := map[SessionID]bool{}
	states := map[string]string{}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(20 * time.Second); len(states) < 3 && time.Now().Before(end); <-look.C {
		_, fresh := p.Front.Suspects(limits, known)
		next := map[SessionID]bool{}
		for id := range known {
			next[id] = true
		}
		for _, c := range fresh {
			next[c.ID] = true
			states[c.Application] = c.State
		}
		known = next
	}
	want := map[string]string{"idle": "idle", "thinking": "idle_in_transaction", "pinned": "idle_keeping_session"}
	for name, state := range want {
		if states[name] != state {
			t.Errorf("%s: %q, want %q", name, states[name], state)
		}
	}
	over, fresh := p.Front.Suspects(limits, known)
	if len(over) != 3 || len(fresh) != 0 || len(known) != 3 {
		t.Errorf("over %v, fresh %d, known %v", over, len(fresh), known)
	}
	if over, fresh := p.Front.Suspects(Suspicion{}, nil); len(over)+len(fresh) != 0 {
		t.Errorf("without limits: %v, %v", over, fresh)
	}
}

// What is done for a client on its way to another server session, and how long it does not read, is timed.
func TestPhasesAreTimed(t *testing.T) {
	p := startPooler(t, `default_pool_size = 1`)
	one, two := connectAs(t, p, "one"), connectAs(t, p, "two")
	for range 3 {
		for _, c := range []*pgx.Conn{one, two} {
			mustExec(t, c, "SET work_mem = '"+map[bool]string{true: "1MB", false: "2MB"}[c == one]+"'")
			if _, err := c.Exec(t.Context(), "SELECT $1::int", pgx.QueryExecModeCacheStatement, 7); err != nil {
				t.Fatal(err)
			}
		}
	}
	counts := map[string]HistogramStat{}
	for _, h := range p.Front.Histograms() {
		counts[h.Phase] = h
	}
	if c := counts["carry"]; c.Count == 0 || c.Sum <= 0 || c.Sum > counts["server"].Sum {
		t.Errorf("carry: %+v; all: %v", c, counts)
	}
	if got := p.Front.Stat().Prepares; got != counts["prepare"].Count {
		t.Errorf("prepared again: %d, timed %d", got, counts["prepare"].Count)
	}
}

// Literals that were shown are not once they are not to be.
func TestLiteralsAreForgotten(t *testing.T) {
	p := startPooler(t, `show_literals = true`)
	conn := connectAs(t, p, "open")
	mustExec(t, conn, "SELECT 'shown'")
	infoOf(t, p, "open", func(c ClientInfo) bool { return isSettled(p, c.ID) })
	if err := p.Front.Configure(testConfig(t)); err != nil {
		t.Fatal(err)
	}
	if c := infoOf(t, p, "open", func(ClientInfo) bool { return true }); c.FirstStatement != "" || c.LastStatement != "" {
		t.Errorf("%+v", c)
	}
	for _, s := range p.Front.Sources() {
		if s.LastStatement != "" {
			t.Errorf("a source's last statement: %q", s.LastStatement)
		}
	}
}

// What a login carries is no request's, however long after it the next one comes.
func TestLoginIsNoCarry(t *testing.T) {
	p := startPooler(t, `default_pool_size = 1`)
	conn, err := pgx.Connect(t.Context(), p.dsn("postgres", "&application_name=kept&options=-c%20pool_boundary%3Dsession%20-c%20work_mem%3D1MB"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	mustExec(t, conn, "BEGIN; RESET ALL; SELECT 1")
	mustExec(t, conn, "COMMIT")
	for _, h := range p.Front.Histograms() {
		if h.Phase == "carry" && h.Count != 0 {
			t.Errorf("%+v", h)
		}
	}
	var before time.Duration
	for range 200 { // the time on server sessions never becomes less
		var now time.Duration
		for _, s := range p.Front.Sources() {
			now += s.ServerTime
		}
		if now < before {
			t.Fatalf("%s after %s", now, before)
		}
		before = now
	}
}
