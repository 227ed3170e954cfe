package frontend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/internal/pgtest"
	"pooler/pool"
)

func inUse(st pool.Stat) int { return st.Idle + st.Active + st.Reclaiming + st.Opening + st.Closing }

// Acceptance test C1, with fewer connections than the 100 it speaks of: a thousand clients share 15 server sessions of a
// PostgreSQL that takes 20.
func TestC1ThousandClientsOnFewServerSessions(t *testing.T) {
	const clients, each, size = 1000, 20, 15
	pg := pgtest.Start(t, pgtest.Options{MaxConnections: 20})
	db := pg.CreateDatabase(t)
	p := startPooler(t, fmt.Sprintf("default_pool_size = %d\nloops = 2\n[databases.\"*\"]\nhost = %q\nport = %d", size, pg.Host, pg.Port))
	stop, most := make(chan struct{}), 0
	var sampler, working sync.WaitGroup
	watch, err := pgconn.Connect(t.Context(), pg.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	sampler.Go(func() {
		defer func() { _ = watch.Close(context.Background()) }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			r, err := watch.Exec(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '"+db+"'").ReadAll()
			if err != nil {
				t.Errorf("watch: %v", err)
				return
			}
			var n int
			_, _ = fmt.Sscan(string(r[0].Rows[0][0]), &n)
			most = max(most, n)
			for _, st := range p.Pools.Stats() {
				if inUse(st) > size {
					t.Errorf("the pool holds %d server sessions: %+v", inUse(st), st)
				}
			}
		}
	})
	var right atomic.Int64
	for i := range clients {
		working.Go(func() {
			conn, err := pgconn.Connect(t.Context(), p.dsn(db, ""))
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for n := range each {
				id := fmt.Sprintf("%d-%d", i, n)
				if err := expect(t.Context(), conn, "SELECT '"+id+"'", id); err != nil {
					t.Errorf("%s: %v", id, err)
					return
				}
				right.Add(1)
			}
		})
	}
	working.Wait()
	close(stop)
	sampler.Wait()
	st := onlyPool(t, p)
	t.Logf("%d right answers; at most %d server sessions seen; %d opened, %d waits", right.Load(), most, st.Opened, st.Waits)
	if most > size || right.Load() != clients*each {
		t.Errorf("%d right answers, at most %d server sessions seen", right.Load(), most)
	}
}

// Many clients on two server sessions that move between two loops, with transactions and deaths among them.
func TestFewServerSessionsBetweenTwoLoops(t *testing.T) {
	const clients = 50
	p := startPooler(t, "default_pool_size = 2\nloops = 2")
	db := postgres.Server(t).CreateDatabase(t)
	var working sync.WaitGroup
	for i := range clients {
		working.Go(func() {
			conn, err := pgconn.Connect(t.Context(), p.dsn(db, ""))
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			for n := range 10 {
				if err := habits[(i+n)%len(habits)](t.Context(), conn, fmt.Sprintf("%d-%d", i, n)); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
			if i%3 == 0 {
				_, _ = conn.Exec(t.Context(), "BEGIN").ReadAll()
				_ = conn.Conn().(*net.TCPConn).SetLinger(0)
				_ = conn.Conn().Close()
				return
			}
			_ = conn.Close(context.Background())
		})
	}
	working.Wait()
	eventually(t, patience, "nobody holds anything", func() bool {
		gone := p.Front.Stat().Clients == 0
		st := onlyPool(t, p)
		return gone && st.Active+st.Reclaiming+st.Waiting+st.Opening+st.Closing == 0
	})
	st := p.Front.Stat()
	for phase, n := range st.Sessions {
		if n != 0 {
			t.Errorf("%d sessions are left in phase %s", n, phase)
		}
	}
	if pst := onlyPool(t, p); pst.Idle > 2 || pst.Retired[backend.RetireDesync] > 0 {
		t.Errorf("%+v", pst)
	}
	if st.Ends[EndTerminate.String()] != 33 || st.Ends[EndClientGone.String()] != 17 {
		t.Errorf("ends: %v", st.Ends)
	}
}

var extended = []pgproto3.FrontendMessage{
	&pgproto3.Parse{Query: "SELECT 'extended'"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{},
}

// Whoever waits too long gets an ordinary ERROR, as if PostgreSQL had refused the request, and stays connected.
func TestQueryWaitTimeout(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1\nquery_wait_timeout = \"300ms\"")
	db := postgres.Server(t).CreateDatabase(t)
	holder, waiter := newRaw(t, p, db), newRaw(t, p, db)
	holder.query("BEGIN")
	simple := &pgproto3.Query{String: "SELECT 'simple'"}
	for _, tc := range []struct {
		name    string
		send    []pgproto3.FrontendMessage
		answers int // each a refusal
	}{
		{"simple", []pgproto3.FrontendMessage{simple}, 1},
		{"two simple ones in one go", []pgproto3.FrontendMessage{simple, simple}, 2},
		{"extended", extended, 1},
		{"extended, with a simple one behind", append(extended[:len(extended):len(extended)], simple), 2},
		{"Flush before Sync", []pgproto3.FrontendMessage{extended[0], extended[1], &pgproto3.Flush{}, extended[3], &pgproto3.Sync{}}, 1},
		{"a large statement", []pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT '" + strings.Repeat("x", 300_000) + "'"}}, 1},
		{"a large Parse", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT '" + strings.Repeat("x", 300_000) + "'"}, &pgproto3.Sync{}}, 1},
		{"function call", []pgproto3.FrontendMessage{&pgproto3.FunctionCall{Function: 764}}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			begun := time.Now()
			waiter.send(tc.send...)
			for n := range tc.answers {
				a := waiter.answer()
				if a.Code != "53300" || a.Severity != "ERROR" || a.Errors != 1 || a.Status != 'I' || len(a.Rows)+len(a.Tags) > 0 {
					t.Fatalf("answer %d: %+v", n, a)
				}
			}
			if took, least := time.Since(begun), 200*time.Millisecond; took < least || took > patience {
				t.Errorf("refused after %s", took)
			}
		})
	}
	holder.query("COMMIT")
	if got := waiter.query("SELECT 'usable'").only(); got != "usable" {
		t.Errorf("the connection afterwards: %s", got)
	}
	waiter.send(extended...)
	if got := waiter.answer().only(); got != "extended" {
		t.Errorf("the connection afterwards: %s", got)
	}
	if st := onlyPool(t, p); st.Timeouts != 10 || st.Waiting != 0 {
		t.Errorf("%d timeouts counted, %d wait", st.Timeouts, st.Waiting)
	}
}

func TestQueryWaitNotify(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1\nquery_wait_notify = \"200ms\"")
	db := postgres.Server(t).CreateDatabase(t)
	holder, first, second := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db)
	holder.query("BEGIN")
	for n, c := range []*rawClient{first, second} {
		c.send(&pgproto3.Query{String: "SELECT 'served'"})
		eventually(t, patience, "the client waits", func() bool { return onlyPool(t, p).Waiting == n+1 })
	}
	for n, c := range []*rawClient{first, second} {
		m, ok := c.receive().(*pgproto3.NoticeResponse)
		if want := fmt.Sprintf("queue: %d", n); !ok || !strings.HasSuffix(m.Message, want) || m.Severity != "NOTICE" || m.Code != "00000" {
			t.Errorf("client %d: %+v", n, m)
		}
	}
	holder.query("COMMIT")
	for n, c := range []*rawClient{first, second} {
		if a := c.answer(); a.only() != "served" || len(a.Notices) != 0 {
			t.Errorf("client %d: %+v", n, a)
		}
	}
}

// isDown tells whether a client was told that PostgreSQL is away: in the pooler's words when it cannot be reached, in
// its own when the last attempt met it while it was going.
func isDown(code string) bool { return code == "08001" || code == "57P03" }

// While PostgreSQL is away, clients are told so at once and stay connected; when it is back, they are served.
func TestPostgreSQLIsDown(t *testing.T) {
	pg := pgtest.Start(t)
	p := startPooler(t, fmt.Sprintf("default_pool_size = 1\nserver_login_retry = \"200ms\"\n[databases.\"*\"]\nhost = %q\nport = %d", pg.Host, pg.Port))
	holder, waiter := newRaw(t, p, "postgres"), newRaw(t, p, "postgres")
	holder.query("BEGIN")
	waiter.send(&pgproto3.Query{String: "SELECT 'never'"})
	eventually(t, patience, "the client waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	if a := waiter.answer(); !isDown(a.Code) || a.Severity != "ERROR" || a.Status != 'I' {
		t.Errorf("who waited was told %+v", a)
	}
	if a := holder.query("SELECT 'gone'"); a.Errors == 0 || a.Status != 0 {
		t.Errorf("whose transaction was lost was told %+v", a)
	}
	for range 3 {
		begun := time.Now()
		waiter.send(extended...)
		if a := waiter.answer(); !isDown(a.Code) || a.Severity != "ERROR" || a.Status != 'I' {
			t.Errorf("while it is down: %+v", a)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("told after %s", took)
		}
	}
	late := dialRaw(t, p.Addr)
	late.send(startupMessage("postgres", "application_name", "one that has not been seen"))
	if a := late.answer(); !isDown(a.Code) || a.Severity != "FATAL" {
		t.Errorf("a login while it is down: %+v", a)
	}
	if err := pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the client is served again", func() bool { return waiter.query("SELECT 'back'").only() == "back" })
}

// What PostgreSQL says when it lets the pooler not in is what the client gets.
func TestPostgreSQLRefuses(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{Auth: "scram-sha-256"})
	if _, err := pg.Exec(t.Context(), "postgres", `CREATE ROLE nologin PASSWORD 'x'; CREATE ROLE full LOGIN PASSWORD 'x' CONNECTION LIMIT 0;
		CREATE ROLE wrong LOGIN PASSWORD 'x'; CREATE ROLE fine LOGIN PASSWORD 'x'; CREATE ROLE silent LOGIN PASSWORD 'x'`); err != nil {
		t.Fatal(err)
	}
	p := startPooler(t, fmt.Sprintf("default_pool_size = 3\nserver_login_retry = \"100ms\"\n[databases.\"*\"]\nhost = %q\nport = %d\n", pg.Host, pg.Port)+
		"[users.nologin]\npassword = \"x\"\n[users.full]\npassword = \"x\"\n[users.wrong]\npassword = \"y\"\n[users.fine]\npassword = \"x\"\n")
	for _, tc := range []struct{ user, db, code, message string }{
		{"nologin", "postgres", "28000", `role "nologin" is not permitted to log in`},
		{"full", "postgres", "53300", `too many connections for role "full"`},
		{"wrong", "postgres", "28P01", `password authentication failed for user "wrong"`},
		{"silent", "postgres", "28P01", "the pooler cannot log in to PostgreSQL for this user"},
		{"fine", "nowhere", "3D000", `database "nowhere" does not exist`},
	} {
		t.Run(tc.user, func(t *testing.T) {
			c := dialRaw(t, p.Addr)
			c.send(startupMessage(tc.db, "user", tc.user))
			if a := c.answer(); a.Severity != "FATAL" || a.Code != tc.code || a.Message != tc.message || a.Status != 0 {
				t.Errorf("%+v", a)
			}
		})
	}
	c := newRaw(t, p, "postgres", "user", "fine")
	if got := c.query("SELECT current_user").only(); got != "fine" {
		t.Fatal(got)
	}
	if _, err := pg.Exec(t.Context(), "postgres", "ALTER ROLE fine NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fine'"); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the server session is gone", func() bool {
		for _, st := range p.Pools.Stats() {
			if st.User == "fine" && st.Database == "postgres" {
				return inUse(st) == 0
			}
		}
		return false
	})
	if a := c.query("SELECT 1"); a.Severity != "ERROR" || a.Code != "28000" || a.Status != 'I' {
		t.Errorf("one that has logged in before: %+v", a)
	}
	if _, err := pg.Exec(t.Context(), "postgres", "ALTER ROLE fine LOGIN"); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "it is served again", func() bool { return c.query("SELECT current_user").only() == "fine" })
}

// The number of server sessions follows the settings: filled to the minimum, shrunk to it, and replaced by age.
func TestServerSessionsComeAndGo(t *testing.T) {
	busy := func(t *testing.T, p *testPooler, db string, n int) {
		t.Helper()
		var clients []*rawClient
		for range n {
			c := newRaw(t, p, db)
			c.query("BEGIN")
			clients = append(clients, c)
		}
		for _, c := range clients {
			c.query("COMMIT")
		}
	}
	t.Run("min_pool_size is filled", func(t *testing.T) {
		p := startPooler(t, "default_pool_size = 5\nmin_pool_size = 3")
		newRaw(t, p, postgres.Server(t).CreateDatabase(t))
		eventually(t, patience, "three are there", func() bool { return onlyPool(t, p).Idle == 3 })
	})
	t.Run("server_idle_timeout shrinks to min_pool_size", func(t *testing.T) {
		p := startPooler(t, "default_pool_size = 5\nmin_pool_size = 2\nserver_idle_timeout = \"300ms\"")
		busy(t, p, postgres.Server(t).CreateDatabase(t), 5)
		eventually(t, patience, "two are left", func() bool { st := onlyPool(t, p); return inUse(st) == 2 && st.Idle == 2 })
		if st := onlyPool(t, p); st.Retired[backend.RetireIdle] != 3 || st.Opened != 5 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("server_lifetime replaces", func(t *testing.T) {
		p := startPooler(t, "default_pool_size = 1\nserver_lifetime = \"300ms\"")
		c := newRaw(t, p, postgres.Server(t).CreateDatabase(t))
		first := c.query("SELECT pg_backend_pid()").only()
		eventually(t, patience, "another one serves", func() bool { return c.query("SELECT pg_backend_pid()").only() != first })
		c.query("BEGIN")
		inside := c.query("SELECT pg_backend_pid()").only()
		<-time.After(500 * time.Millisecond) // longer than its life
		if got := c.query("SELECT pg_backend_pid()").only(); got != inside {
			t.Errorf("replaced within a transaction: %s", got)
		}
		c.query("COMMIT")
	})
	t.Run("server_lifetime = 0 uses each once", func(t *testing.T) {
		p := startPooler(t, "default_pool_size = 1\nserver_lifetime = 0")
		c := newRaw(t, p, postgres.Server(t).CreateDatabase(t))
		seen := map[string]bool{}
		for range 5 {
			seen[c.query("SELECT pg_backend_pid()").only()] = true
		}
		if len(seen) != 5 {
			t.Errorf("5 statements ran on %d server sessions", len(seen))
		}
	})
}

// The client beyond max_client_conn is told, those there are not affected, and a place that becomes free is given.
func TestMaxClientConn(t *testing.T) {
	p := startPooler(t, "max_client_conn = 5\nloops = 2")
	db := postgres.Server(t).CreateDatabase(t)
	var all []*rawClient
	for range 5 {
		all = append(all, newRaw(t, p, db))
	}
	for range 3 {
		_, err := pgconn.Connect(t.Context(), p.dsn(db, ""))
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "53300" || refused.Severity != "FATAL" || refused.Message != "sorry, too many clients already" {
			t.Errorf("the sixth was told %v", err)
		}
	}
	for n, c := range all {
		if got := c.query("SELECT 'here'").only(); got != "here" {
			t.Errorf("client %d: %s", n, got)
		}
	}
	all[0].send(&pgproto3.Terminate{})
	eventually(t, patience, "the place is free", func() bool { return p.Front.Stat().Clients == 4 })
	newRaw(t, p, db)
}
