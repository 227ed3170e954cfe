package frontend

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// ending is what a client is told last.
func (c *rawClient) ending() pgproto3.ErrorResponse {
	c.t.Helper()
	for {
		switch m := c.receive().(type) {
		case *pgproto3.ErrorResponse:
			return *m
		case nil:
			return pgproto3.ErrorResponse{}
		}
	}
}

// endsBy fails the test unless the client is ended by this error, no sooner than limit after begun and not much later.
func (c *rawClient) endsBy(code, message string, begun time.Time, limit time.Duration) pgproto3.ErrorResponse {
	c.t.Helper()
	e := c.ending()
	took := time.Since(begun)
	if e.Severity != "FATAL" || e.Code != code || e.Message != message {
		c.t.Fatalf("ended after %s by %+v", took, e)
	}
	if took < limit || took > limit+patience {
		c.t.Errorf("ended after %s, the limit is %s", took, limit)
	}
	if m := c.receive(); m != nil {
		c.t.Errorf("after the last words came %+v", m)
	}
	return e
}

// reload puts another configuration in force.
func (p *testPooler) reload(t *testing.T, extras ...string) {
	t.Helper()
	if err := p.Front.Configure(testConfig(t, extras...)); err != nil {
		t.Fatalf("reload: %v", err)
	}
}

// startTimed runs a pooler with one server session, that logs what its time limits do, and a table with one row.
func startTimed(t *testing.T, extras ...string) (p *testPooler, db string) {
	t.Helper()
	db = postgres.Server(t).CreateDatabase(t)
	if _, err := postgres.Server(t).Exec(t.Context(), db, "CREATE TABLE t (n int); INSERT INTO t VALUES (0)"); err != nil {
		t.Fatal(err)
	}
	top := []string{"log_level = \"info\"", "log_disconnections = false", "log_connections = false"}
	if !strings.Contains(strings.Join(extras, "\n"), "default_pool_size") {
		top = append(top, "default_pool_size = 1")
	}
	return startPooler(t, append(top, extras...)...), db
}

// modes are the ways in which a client may come to keep its server session, or not.
var modes = []struct {
	name, boundary, first string
}{
	{"statement", "statement", "SELECT 1"},
	{"transaction", "transaction", "SELECT 1"},
	{"session", "session", "SELECT 1"},
	{"pinned", "statement", "CREATE TEMP TABLE keeps (n int)"},
}

func TestQueryTimeout(t *testing.T) {
	t.Parallel()
	const limit = 400 * time.Millisecond
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			p, db := startTimed(t, "default_pool_size = 3\nquery_timeout = \"400ms\"")
			var clients [3]*rawClient
			for i := range clients {
				clients[i] = newRaw(t, p, db, "pool_boundary", mode.boundary, "application_name", "report")
				clients[i].query(mode.first)
			}
			simple, inside, extended := clients[0], clients[1], clients[2]
			inside.query("BEGIN")
			inside.ask("UPDATE t SET n = n + 1 RETURNING n", "1")
			begun := time.Now()
			sleep := &pgproto3.Query{String: "SELECT pg_sleep(60)"}
			simple.send(sleep)
			inside.send(sleep)
			extended.send(&pgproto3.Parse{Query: sleep.String}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			cancelled(t, simple.answer(), 'I')
			cancelled(t, inside.answer(), 'E')
			cancelled(t, extended.answer(), 'I')
			if took := time.Since(begun); took < limit || took > limit+patience {
				t.Errorf("cancelled after %s", took)
			}
			inside.refused(inside.query("SELECT 1"), "25P02")
			inside.query("ROLLBACK")
			for _, c := range clients {
				c.ask("SELECT n FROM t", "0")
			}
			if st := p.Front.Stat(); st.QueryTimeouts != 3 || onlyPool(t, p).Opened != 3 {
				t.Errorf("%d were counted, with %d server sessions", st.QueryTimeouts, onlyPool(t, p).Opened)
			}
			if got := strings.Count(p.Log.String(), "application_name=report remote=127.0.0.1:"); got != 3 {
				t.Errorf("%d lines of the log", got)
			}
		})
	}
	t.Run("what is short passes", func(t *testing.T) {
		t.Parallel()
		p, db := startTimed(t, `query_timeout = "700ms"`)
		c := newRaw(t, p, db)
		for range 3 {
			c.send(&pgproto3.Parse{Query: "SELECT 'one of many' FROM pg_sleep(0.4)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		}
		for range 3 {
			if got := c.answer().only(); got != "one of many" {
				t.Errorf("one of a pipeline: %s", got)
			}
		}
		c.query("BEGIN")
		for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond; {
			if a := c.query("SELECT pg_sleep(0.01)"); a.Errors != 0 {
				t.Fatalf("a short one among many: %+v", a)
			}
		}
	})
	t.Run("PostgreSQL's own words pass", func(t *testing.T) {
		t.Parallel()
		p, db := startTimed(t, `query_timeout = "2s"`)
		c := newRaw(t, p, db)
		c.query("SET statement_timeout = 200")
		if a := c.query("SELECT pg_sleep(60)"); a.Message != "canceling statement due to statement timeout" {
			t.Errorf("%+v", a)
		}
		c.query("RESET statement_timeout")
		victim, k := newCancellable(t, p, db)
		victim.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
		<-time.After(200 * time.Millisecond)
		cancel(t, p, k)
		if a := victim.answer(); a.Message != "canceling statement due to user request" {
			t.Errorf("%+v", a)
		}
	})
}

func cancelled(t *testing.T, a answer, status byte) {
	t.Helper()
	if a.Severity != "ERROR" || a.Code != "57014" || a.Message != "canceling statement due to query_timeout" || a.Errors != 1 || a.Status != status {
		t.Errorf("%+v", a)
	}
}

// What goes on after it was cancelled costs its client the session. The server session is saved.
func TestQueryTimeoutWithoutEffect(t *testing.T) {
	t.Parallel()
	const stubborn = `DO $$ BEGIN FOR i IN 1..60 LOOP
		BEGIN PERFORM pg_sleep(0.5); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$`
	p, db := startTimed(t, "default_pool_size = 2\nquery_timeout = \"300ms\"")
	c, deaf := newRaw(t, p, db), newRaw(t, p, db)
	begun := time.Now()
	c.send(&pgproto3.Query{String: stubborn})
	deaf.send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"}) // and it does not read
	c.endsBy("57014", "terminating connection due to query_timeout", begun, cancelGrace)
	eventually(t, 2*cancelGrace, "both have ended", func() bool { return p.Front.Stat().Ends["query_timeout"] == 2 })
	eventually(t, 4*cancelGrace, "the server sessions are free", func() bool { return onlyPool(t, p).Idle == 2 })
	if st := onlyPool(t, p); st.Opened != 2 || p.Front.Stat().QueryTimeouts != 2 {
		t.Errorf("%+v; %d were cancelled", st, p.Front.Stat().QueryTimeouts)
	}
	newRaw(t, p, db).ask("SELECT 'served'", "served")
}

func TestTransactionTimeout(t *testing.T) {
	t.Parallel()
	const limit, told = 600 * time.Millisecond, "terminating connection due to transaction timeout"
	p, db := startTimed(t, "default_pool_size = 7\ntransaction_timeout = \"600ms\"")
	short, thinks, single := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db)
	begun := time.Now()
	thinks.query("BEGIN; CREATE TABLE undone (n int)")
	single.send(&pgproto3.Query{String: "CREATE TABLE undone_too AS SELECT 1 AS n FROM pg_sleep(60)"})
	var busy []*rawClient
	for _, mode := range modes {
		c := newRaw(t, p, db, "pool_boundary", mode.boundary)
		c.query(mode.first)
		c.query("BEGIN")
		busy = append(busy, c)
	}
	for n := range busy { // each for as long as it is let
		go func() {
			for answered := true; answered; {
				answered = busy[n].query("SELECT pg_sleep(0.02)").Errors == 0
			}
		}()
	}
	for time.Since(begun) < 3*limit {
		short.query("BEGIN")
		short.query("SELECT pg_sleep(0.05)")
		if a := short.query("COMMIT"); a.Errors != 0 {
			t.Fatalf("one of many short transactions: %+v", a)
		}
	}
	thinks.endsBy("25P04", told, begun, limit)
	single.endsBy("25P04", told, begun, limit)
	eventually(t, patience, "all have ended", func() bool { return p.Front.Stat().Ends["transaction_timeout"] == 6 })
	eventually(t, patience, "all server sessions are free", func() bool { return onlyPool(t, p).Idle == 7 })
	if st := onlyPool(t, p); st.Opened != 7 {
		t.Errorf("%+v", st)
	}
	short.ask("SELECT count(*) FROM pg_class WHERE relname LIKE 'undone%' OR relpersistence = 't'", "0")
	for line := range strings.Lines(p.Log.String()) {
		if strings.Contains(line, "by a time limit") && (!strings.Contains(line, " limit=transaction_timeout value=600ms lasted=") || !strings.Contains(line, "transaction_open=true")) {
			t.Errorf("the log says %s", line)
		}
	}
}

const idleInside = "terminating connection due to idle-in-transaction timeout"

// thoughts are ways to hold a row's lock and ask nothing. until is the message that says that the lock is held.
func thoughts(row int) []struct {
	name  string
	acts  []pgproto3.FrontendMessage
	until byte
} {
	update := fmt.Sprintf("UPDATE t SET n = -n WHERE n = %d", row)
	begin := &pgproto3.Query{String: "BEGIN; " + update}
	pipeline := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: update}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	return []struct {
		name  string
		acts  []pgproto3.FrontendMessage
		until byte
	}{
		{"after a statement", []pgproto3.FrontendMessage{begin}, 'Z'},
		{"in a failed transaction", []pgproto3.FrontendMessage{begin, &pgproto3.Query{String: "SAVEPOINT s; SELECT 1/0"}}, 'Z'},
		{"in COPY", []pgproto3.FrontendMessage{begin, &pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("1\n")}}, 'G'},
		{"in a pipeline", append(pipeline[:3:3], &pgproto3.Flush{}), 'C'},
		{"in a pipeline whose answers nobody asked for", pipeline, 0},
	}
}

func TestIdleTransactionTimeout(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			n := len(thoughts(0))
			p, db := startTimed(t, fmt.Sprintf("default_pool_size = %d\nidle_transaction_timeout = \"500ms\"", n))
			if _, err := postgres.Server(t).Exec(t.Context(), db, fmt.Sprintf("INSERT INTO t SELECT generate_series(1, %d)", n)); err != nil {
				t.Fatal(err)
			}
			clients, begun := make([]*rawClient, n), make([]time.Time, n)
			for i := range n {
				c := newRaw(t, p, db, "pool_boundary", mode.boundary)
				c.query(mode.first)
				tc := thoughts(i + 1)[i]
				begun[i] = time.Now()
				c.send(tc.acts...)
				if tc.until != 0 && !c.until(tc.until) {
					t.Fatalf("%s: the transaction could not be begun", tc.name)
				}
				clients[i] = c
			}
			for i, c := range clients {
				e := c.ending()
				if e.Code == "22012" { // of the failed transaction
					e = c.ending()
				}
				took := time.Since(begun[i])
				if e.Code != "25P03" || e.Message != idleInside || e.Severity != "FATAL" || took < limit || took > limit+patience {
					t.Errorf("%s: ended after %s by %+v", thoughts(0)[i].name, took, e)
				}
			}
			newRaw(t, p, db).ask(fmt.Sprintf("WITH u AS (UPDATE t SET n = n RETURNING n) SELECT count(*) FROM u WHERE n BETWEEN 1 AND %d", n), strconv.Itoa(n))
			eventually(t, patience, "all server sessions are free", func() bool { return onlyPool(t, p).Idle == n })
			if st := onlyPool(t, p); st.Opened != uint64(n) || p.Front.Stat().Ends["idle_transaction_timeout"] != uint64(n) {
				t.Errorf("%+v, ends %v", st, p.Front.Stat().Ends)
			}
			if got := strings.Count(p.Log.String(), "limit=idle_transaction_timeout value=500ms"); got != n {
				t.Errorf("%d lines of the log", got)
			}
		})
	}
	t.Run("in the middle of a message", func(t *testing.T) {
		t.Parallel()
		p, db := startTimed(t, `idle_transaction_timeout = "500ms"`)
		c := newRaw(t, p, db)
		c.query("BEGIN; UPDATE t SET n = 9")
		begun := time.Now()
		large := encode(&pgproto3.Query{String: "SELECT '" + strings.Repeat("x", 100_000) + "'"})
		_, _ = c.nc.Write(large[:50_000])
		c.endsBy("25P03", idleInside, begun, limit)
		newRaw(t, p, db).ask("UPDATE t SET n = n + 1 RETURNING n", "1")
	})
	t.Run("who waits or works passes", func(t *testing.T) {
		t.Parallel()
		p, db := startTimed(t, "default_pool_size = 4\nidle_transaction_timeout = \"500ms\"")
		runs, flushed, copies, often := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db)
		runs.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "SELECT 'long' FROM pg_sleep(1.5)"})
		flushed.send(&pgproto3.Parse{Query: "SELECT 'flushed' FROM pg_sleep(1.5)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
		copies.send(&pgproto3.Query{String: "COPY t FROM STDIN"})
		often.query("BEGIN")
		for range 12 {
			<-time.After(100 * time.Millisecond)
			copies.send(&pgproto3.CopyData{Data: []byte("1\n")})
			often.ask("SELECT 'thinks a little'", "thinks a little")
		}
		if a := copies.play(&pgproto3.CopyDone{}); a.Errors != 0 || a.Status != 'I' {
			t.Errorf("a slow COPY: %+v", a)
		}
		runs.answer()
		if got := runs.answer().only(); got != "long" {
			t.Errorf("a long statement: %s", got)
		}
		if !flushed.until('C') {
			t.Error("one that waits for what it has flushed was ended")
		}
	})
}

// A client that keeps a server session outside a transaction is ended; what it left is discarded.
func TestMaxThinkTime(t *testing.T) {
	t.Parallel()
	const limit, told = 500 * time.Millisecond, "terminating connection due to max_think_time"
	p, db := startTimed(t, "default_pool_size = 4\nmax_think_time = \"500ms\"")
	var clients []*rawClient
	var begun []time.Time
	for _, mode := range modes {
		c := newRaw(t, p, db, "pool_boundary", mode.boundary)
		begun = append(begun, time.Now())
		c.query(mode.first)
		clients = append(clients, c)
	}
	inside, insideBegun := newRaw(t, p, db), time.Now()
	inside.query("BEGIN")
	for i, why := range map[int]string{2: "pool_boundary = session", 3: "temporary_object"} {
		e := clients[i].endsBy("57P05", told, begun[i], limit)
		if !strings.Contains(e.Hint, "max_think_time = 500ms") || !strings.Contains(e.Hint, why) {
			t.Errorf("%s was told %q", modes[i].name, e.Hint)
		}
	}
	inside.endsBy("25P03", idleInside, insideBegun, limit)
	for _, c := range clients[:2] {
		c.ask("SELECT 'keeps nothing'", "keeps nothing")
	}
	eventually(t, patience, "all server sessions are free", func() bool { st := onlyPool(t, p); return st.Idle == int(st.Opened) })
	clients[0].ask("SELECT count(*) FROM pg_class WHERE relpersistence = 't'", "0")
	if got := strings.Count(p.Log.String(), "limit=max_think_time value=500ms lasted="); got != 2 {
		t.Errorf("%d lines of the log", got)
	}
}

const idleOutside = "terminating connection due to idle-session timeout"

func TestClientIdleTimeout(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond
	p, db := startTimed(t, "default_pool_size = 5\nclient_idle_timeout = \"500ms\"")
	thinks, runs := newRaw(t, p, db), newRaw(t, p, db)
	thinks.query("BEGIN")
	runs.send(&pgproto3.Query{String: "SELECT 'ran' FROM pg_sleep(2)"})
	var clients []*rawClient
	for _, mode := range modes {
		c := newRaw(t, p, db, "pool_boundary", mode.boundary)
		c.query(mode.first)
		clients = append(clients, c)
	}
	silentBegun, silent := time.Now(), newRaw(t, p, db)
	begun := make([]time.Time, len(clients))
	for range 4 {
		<-time.After(200 * time.Millisecond)
		for i, c := range clients {
			begun[i] = time.Now()
			c.ask("SELECT 'busy'", "busy")
		}
	}
	silent.endsBy("57P05", idleOutside, silentBegun, limit)
	for i, c := range clients {
		c.endsBy("57P05", idleOutside, begun[i], limit)
	}
	if got := runs.answer().only(); got != "ran" {
		t.Errorf("one that ran: %s", got)
	}
	eventually(t, patience, "temporary tables are gone", func() bool {
		return thinks.query("SELECT count(*) FROM pg_class WHERE relpersistence = 't'").only() == "0"
	})
	if got := strings.Count(p.Log.String(), "limit=client_idle_timeout value=500ms lasted="); got < 5 {
		t.Errorf("%d lines of the log", got)
	}
	thinks.query("COMMIT")
	t.Run("not in the queue", func(t *testing.T) {
		p, db := startTimed(t, `client_idle_timeout = "500ms"`)
		holds, waits := newRaw(t, p, db), newRaw(t, p, db)
		holds.query("BEGIN")
		waits.send(&pgproto3.Query{String: "SELECT 'served'"})
		<-time.After(1200 * time.Millisecond)
		holds.query("COMMIT")
		if got := waits.answer().only(); got != "served" {
			t.Errorf("got %s", got)
		}
	})
}

// A database, a user and a class each have limits of their own; the narrowest counts.
func TestNarrowTimeLimits(t *testing.T) {
	t.Parallel()
	pg := postgres.Server(t)
	p, db := startTimed(t, fmt.Sprintf(`default_pool_size = 5
client_idle_timeout = "60s"
[databases."*"]
host = %q
port = %d
[databases.narrow]
host = %q
port = %d
dbname = "postgres"
client_idle_timeout = "500ms"
max_txn_think_time = "500ms"
[users.narrow_user]
client_idle_timeout = "500ms"
[classes.narrow]
query_timeout = "400ms"
[classes.wide]
client_idle_timeout = 0
`, pg.Host, pg.Port, pg.Host, pg.Port))
	if _, err := pg.Exec(t.Context(), db, "CREATE ROLE narrow_user LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = pg.Exec(t.Context(), "postgres", "DROP ROLE IF EXISTS narrow_user") })
	wide := newRaw(t, p, db)
	wideClass := newRaw(t, p, "narrow", "pool_connection_class", "wide")
	class := newRaw(t, p, db, "pool_connection_class", "narrow")
	inside := newRaw(t, p, "narrow", "pool_connection_class", "wide")
	inside.query("BEGIN")
	begun := time.Now()
	database, user := newRaw(t, p, "narrow"), newRaw(t, p, db, "user", "narrow_user")
	database.endsBy("57P05", idleOutside, begun, 500*time.Millisecond)
	user.endsBy("57P05", idleOutside, begun, 500*time.Millisecond)
	if e := inside.ending(); e.Code != "25P03" {
		t.Errorf("in a transaction: %+v", e)
	}
	cancelled(t, class.query("SELECT pg_sleep(60)"), 'I')
	wide.ask("SELECT 'here' FROM pg_sleep(0.8)", "here")
	wideClass.ask("SELECT 'here'", "here")
}

// A limit that is changed holds at once for those who are connected, and for what began before.
func TestTimeLimitsChangeByReload(t *testing.T) {
	t.Parallel()
	const all = "log_level = \"info\"\ndefault_pool_size = 5\n"
	p, db := startTimed(t, "default_pool_size = 5\nquery_timeout = \"60s\"")
	thinks, keeps, idle, runs, long := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db)
	thinks.query("BEGIN; UPDATE t SET n = 3")
	keeps.query("CREATE TEMP TABLE keeps (n int)")
	long.query("BEGIN")
	runs.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	<-time.After(1200 * time.Millisecond)
	for _, step := range []struct {
		limit string
		c     *rawClient
		code  string
	}{
		{"idle_transaction_timeout", thinks, "25P03"},
		{"max_think_time", keeps, "57P05"},
		{"query_timeout", runs, "57014"},
		{"transaction_timeout", long, "25P04"},
		{"client_idle_timeout", idle, "57P05"},
	} {
		if step.c != thinks && step.c != long {
			long.query("SELECT 'still here'")
		}
		begun := time.Now()
		p.reload(t, all+step.limit+" = \"1s\"")
		if step.c == thinks {
			long.query("SELECT 'still here'")
		}
		if a := step.c.answer(); a.Code != step.code || a.Errors != 1 {
			t.Errorf("%s: %+v", step.limit, a)
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("%s: after %s", step.limit, took)
		}
		p.reload(t, all)
	}
	runs.ask("SELECT 'and no more'", "and no more")
	<-time.After(1200 * time.Millisecond)
	runs.ask("SELECT 'limits'", "limits")
}

// Who has just said something that the pooler has not read yet is not ended for silence.
func TestUnreadBytesAreNoSilence(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "default_pool_size = 2\nclient_idle_timeout = \"30m\"\nidle_transaction_timeout = \"30m\"")
	idle, thinks := newRaw(t, p, db), newRaw(t, p, db)
	thinks.query("BEGIN")
	<-time.After(2 * lookEvery)
	age := func(before func()) {
		done := make(chan struct{})
		c := p.Front.crews[p.Loops[0]]
		c.loop.Post(func() { // which keeps the loop from reading
			defer close(done)
			before()
			for i := range c.berths {
				c.berths[i].since -= time.Hour
				c.berths[i].due = 0
			}
			c.look()
		})
		<-done
	}
	here := &pgproto3.Query{String: "SELECT 'here'"}
	age(func() {
		idle.send(here)
		thinks.send(here)
		<-time.After(50 * time.Millisecond) // to arrive
	})
	for _, c := range []*rawClient{idle, thinks} {
		if got := c.answer().only(); got != "here" {
			t.Errorf("got %s", got)
		}
	}
	<-time.After(2 * lookEvery)
	age(func() {})
	if a, b := idle.ending(), thinks.ending(); a.Code != "57P05" || b.Code != "25P03" {
		t.Errorf("in silence: %+v, %+v", a, b)
	}
}
