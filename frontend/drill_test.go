package frontend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
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

// patience is how long a test waits for what should come at once. It is shorter than every timeout of the pooler's
// that could bring it about instead (goodbyeWait is 5 s, reclaimLimit 15 s, cancel_wait_timeout 10 s).
const patience = 4 * time.Second

// eventually polls until is true, and fails t when that takes longer than limit.
func eventually(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", limit, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// rawClient speaks the protocol message by message, so that a test can stop in the middle of one.
type rawClient struct {
	t  *testing.T
	nc net.Conn
	in *pgproto3.Frontend
}

// answer is what came back up to a ReadyForQuery, or to the end of the connection.
type answer struct {
	Rows     []string // first column
	Tags     []string
	Severity string // of the first ErrorResponse, as are the next two
	Code     string
	Message  string
	Notices  []string
	Errors   int
	Status   byte // of ReadyForQuery; 0: the connection has ended
}

// newRaw logs in through p with parameters ("name", "value", …).
func newRaw(t *testing.T, p *testPooler, db string, parameters ...string) *rawClient {
	t.Helper()
	c := dialRaw(t, p.Addr)
	c.send(startupMessage(db, parameters...))
	if a := c.answer(); a.Status != 'I' {
		t.Fatalf("login: %+v", a)
	}
	return c
}

func startupMessage(db string, parameters ...string) *pgproto3.StartupMessage {
	m := &pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": pgtest.Superuser, "database": db},
	}
	for i := 0; i+1 < len(parameters); i += 2 {
		m.Parameters[parameters[i]] = parameters[i+1]
	}
	return m
}

func dialRaw(t *testing.T, addr string) *rawClient {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatalf("dial pooler: %v", err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &rawClient{t: t, nc: nc, in: pgproto3.NewFrontend(nc, nc)}
}

func encode(messages ...pgproto3.FrontendMessage) []byte {
	var b []byte
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic("bug: " + err.Error())
		}
	}
	return b
}

// send writes messages in one go. That the peer has gone shows in the answer.
func (c *rawClient) send(messages ...pgproto3.FrontendMessage) {
	_, _ = c.nc.Write(encode(messages...))
}

func (c *rawClient) query(sql string) answer {
	c.send(&pgproto3.Query{String: sql})
	return c.answer()
}

// answer reads up to ReadyForQuery or the end.
func (c *rawClient) answer() answer {
	var a answer
	for a.take(c.receive()) {
	}
	return a
}

// receive reads one message, nil at the end of the connection.
func (c *rawClient) receive() pgproto3.BackendMessage {
	_ = c.nc.SetReadDeadline(time.Now().Add(2 * patience))
	m, err := c.in.Receive()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the client has waited %s for an answer", 2*patience)
	}
	if err != nil {
		return nil
	}
	return m
}

// until reads up to a message of the given type, and reports false if an error or the end comes first.
func (c *rawClient) until(typ byte) bool {
	for {
		m := c.receive()
		switch m := m.(type) {
		case nil, *pgproto3.ErrorResponse:
			return false
		default:
			if b, err := m.Encode(nil); err == nil && b[0] == typ {
				return true
			}
		}
	}
}

// take notes m and reports whether more is to come.
func (a *answer) take(m pgproto3.BackendMessage) bool {
	switch m := m.(type) {
	case nil:
		return false
	case *pgproto3.DataRow:
		first := ""
		if len(m.Values) > 0 {
			first = string(m.Values[0])
		}
		a.Rows = append(a.Rows, first)
	case *pgproto3.CommandComplete:
		a.Tags = append(a.Tags, string(m.CommandTag))
	case *pgproto3.ErrorResponse:
		if a.Errors++; a.Errors == 1 {
			a.Severity, a.Code, a.Message = m.Severity, m.Code, m.Message
		}
	case *pgproto3.NoticeResponse:
		a.Notices = append(a.Notices, m.Message)
	case *pgproto3.ReadyForQuery:
		a.Status = m.TxStatus
		return false
	}
	return true
}

// only is the one row of an answer without error, else a description of what came.
func (a answer) only() string {
	if a.Errors == 0 && a.Status != 0 && len(a.Rows) == 1 {
		return a.Rows[0]
	}
	return fmt.Sprintf("%+v", a)
}

// death is a way to end a client or its server session.
type death struct {
	name   string
	client func(nc net.Conn) // nil: it is the server session that dies
}

var deaths = []death{
	{"the client disappears with RST", func(nc net.Conn) {
		_ = nc.(*net.TCPConn).SetLinger(0)
		_ = nc.Close()
	}},
	{"the client disappears with FIN", func(nc net.Conn) { _ = nc.(*net.TCPConn).CloseWrite() }},
	{"the server session is terminated", nil},
}

// act is one step of a drill: bytes, and the type of the message that says they have had their effect.
type act struct {
	name    string
	send    []byte
	until   byte // 0: none
	running bool // the effect is a backend that is busy
}

type drill struct {
	name    string
	acts    []act
	commits int  // the act that commits, and after whose effect nothing is depended on; acts before must not
	carried int  // so many of the first acts leave only what needs no server session of its own
	streams bool // has a message that is streamed: half of it costs the server session
	torn    bool // its answer may end in the middle of a message, behind which nobody can be told an error
}

const noCommit = 1 << 30

func drills() []drill {
	q := func(sql string) act {
		return act{name: sql[:min(len(sql), 30)], send: encode(&pgproto3.Query{String: sql}), until: 'Z'}
	}
	x := func(name string, until byte, messages ...pgproto3.FrontendMessage) act {
		return act{name: name, send: encode(messages...), until: until}
	}
	running := func(a act) act {
		a.until, a.running = 0, true
		return a
	}
	const update = "UPDATE account SET n = n + 1 WHERE id = 1"
	parse := &pgproto3.Parse{Query: update}
	sleep := "SELECT pg_sleep(30)"
	data := func(n int) *pgproto3.CopyData { return &pgproto3.CopyData{Data: []byte(strings.Repeat("77\n", n))} }
	copyIn := &pgproto3.Query{String: "COPY heap FROM STDIN"}
	return []drill{
		{name: "transaction", commits: 3, acts: []act{q("BEGIN"), q(update), q("SELECT * FROM account"), q("COMMIT")}},
		{name: "extended in a transaction", commits: 6, acts: []act{
			q("BEGIN"),
			x("Parse", 0, &pgproto3.Parse{Name: "s", Query: update}), x("Bind", 0, &pgproto3.Bind{PreparedStatement: "s"}),
			x("Describe", 0, &pgproto3.Describe{ObjectType: 'P'}), x("Execute", 0, &pgproto3.Execute{}),
			x("Sync", 'Z', &pgproto3.Sync{}), q("COMMIT"),
		}},
		{name: "pipeline that is not synced", commits: 5, acts: []act{
			x("Parse", 0, parse), x("Bind", 0, &pgproto3.Bind{}), x("Execute", 0, &pgproto3.Execute{}),
			x("Flush", 'C', &pgproto3.Flush{}),
			x("Parse, Bind, Execute, Flush", 'C', &pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}),
			x("Sync", 'Z', &pgproto3.Sync{}),
		}},
		{name: "pipeline in one go", commits: 0, acts: []act{
			x("all", 'Z', parse, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}),
		}},
		{name: "error in a pipeline that is not synced", commits: noCommit, acts: []act{
			x("update", 'C', parse, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}),
			x("error", 'E', &pgproto3.Parse{Query: "SELECT nothing"}, &pgproto3.Flush{}),
			x("skipped", 0, &pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}),
		}},
		{name: "failed transaction", commits: noCommit, acts: []act{q("BEGIN"), q(update), q("SELECT 1/0"), q("SELECT 1")}},
		{name: "COPY in", commits: 6, streams: true, acts: []act{
			q("BEGIN"), q(update), x("COPY FROM STDIN", 'G', copyIn), x("CopyData", 0, data(1)), x("CopyData", 0, data(1000)),
			x("CopyDone", 'Z', &pgproto3.CopyDone{}), q("COMMIT"),
		}},
		{name: "COPY in alone", commits: 2, streams: true, acts: []act{
			x("COPY FROM STDIN", 'G', copyIn), x("CopyData", 0, data(5)), x("CopyFail", 'Z', &pgproto3.CopyFail{Message: "no"}),
		}},
		{name: "extended COPY in", commits: 3, streams: true, acts: []act{
			x("Parse, Bind, Execute, Sync", 'G', &pgproto3.Parse{Query: copyIn.String}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}),
			x("CopyData", 0, data(5)), x("CopyDone", 0, &pgproto3.CopyDone{}), x("Sync", 'Z', &pgproto3.Sync{}),
		}},
		{name: "COPY in of large messages", commits: noCommit, streams: true, acts: []act{
			q("BEGIN"), q(update), x("COPY FROM STDIN", 'G', copyIn), x("CopyData", 0, data(100_000)), x("CopyDone", 'Z', &pgproto3.CopyDone{}),
		}},
		{name: "large statement", commits: noCommit, streams: true, acts: []act{
			q("BEGIN"), q(update), q("SELECT length('" + strings.Repeat("x", 300_000) + "')"),
		}},
		{name: "COPY out that nobody reads", commits: noCommit, torn: true, acts: []act{
			q("BEGIN"), q(update),
			running(q("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT")),
		}},
		{name: "rows that nobody reads", commits: noCommit, torn: true, acts: []act{
			running(q("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")),
		}},
		{name: "running statement", commits: noCommit, acts: []act{q("BEGIN"), q(update), running(q(sleep))}},
		{name: "running statement outside a transaction", commits: noCommit, acts: []act{running(q(sleep))}},
		{name: "running statement with more behind", commits: noCommit, acts: []act{
			q("BEGIN"), q(update),
			running(x("pipeline", 0, &pgproto3.Query{String: sleep}, &pgproto3.Query{String: "SELECT 1"}, &pgproto3.Query{String: "COMMIT"})),
		}},
		{name: "session state", commits: noCommit, carried: 1, acts: []act{
			q("SET work_mem = '9MB'"), q("CREATE TEMP TABLE drilled (n int)"), q("SELECT pg_advisory_lock(77)"),
			q("PREPARE mine AS SELECT 1"), q("LISTEN drilled"), q("BEGIN"), q(update),
			q("DECLARE c CURSOR WITH HOLD FOR SELECT 1"), q("SET LOCAL work_mem = '8MB'"),
		}},
		{name: "state that DISCARD ALL leaves", commits: noCommit, acts: []act{
			q("SELECT setseed(0.5)"), q("BEGIN"), q(update), q("SELECT pg_advisory_lock(77)"),
		}},
		{name: "role", commits: noCommit, carried: 1, acts: []act{q("SET SESSION AUTHORIZATION drilled"), q("BEGIN"), q("SET LOCAL statement_timeout = 0")}},
	}
}

// ground is a pool of one server session, and a view from outside.
type ground struct {
	t      *testing.T
	pooler *testPooler
	db     string
	watch  *pgconn.PgConn
	worst  time.Duration

	transaction bool // pool_boundary = "transaction"
}

func newGround(t *testing.T, toml string) *ground {
	t.Helper()
	pg := postgres.Server(t)
	g := &ground{t: t, db: pg.CreateDatabase(t), transaction: strings.Contains(toml, "transaction")}
	g.pooler = startPooler(t, "default_pool_size = 1\n"+toml)
	var err error
	if g.watch, err = pgconn.Connect(t.Context(), pg.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.watch.Close(context.Background()) })
	if _, err := pg.Exec(t.Context(), g.db, "CREATE TABLE account (id int PRIMARY KEY, n int); INSERT INTO account VALUES (1, 0); CREATE TABLE heap (n int)"); err != nil {
		t.Fatal(err)
	}
	_, _ = pg.Exec(t.Context(), g.db, "CREATE ROLE drilled") // there is one for the whole server
	return g
}

// ask asks PostgreSQL past the pooler.
func (g *ground) ask(sql string) string {
	g.t.Helper()
	r, err := g.watch.Exec(g.t.Context(), strings.ReplaceAll(sql, "$db", "'"+g.db+"'")).ReadAll()
	if err != nil {
		g.t.Fatal(err)
	}
	if len(r[0].Rows) == 0 {
		return ""
	}
	return string(r[0].Rows[0][0])
}

func (g *ground) stat() pool.Stat {
	for _, st := range g.pooler.Pools.Stats() {
		if st.Database == g.db {
			return st
		}
	}
	return pool.Stat{}
}

// quiet tells whether no client is there and no server session is in use.
func (g *ground) quiet() bool {
	if g.pooler.Front.Stat().Clients > 0 { // before looking at what they leave
		return false
	}
	st := g.stat()
	return st.Active+st.Reclaiming+st.Waiting+st.Opening+st.Closing == 0
}

// play sends the acts before at, waiting for the effect of each.
func (g *ground) play(c *rawClient, acts []act) {
	g.t.Helper()
	for _, a := range acts {
		_, _ = c.nc.Write(a.send)
		g.effect(c, a)
	}
}

func (g *ground) effect(c *rawClient, a act) {
	g.t.Helper()
	switch {
	case a.running:
		eventually(g.t, patience, "the statement runs", func() bool {
			return g.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = $db AND backend_type = 'client backend' AND state = 'active'") != "0"
		})
	case a.until == 'Z':
		if got := c.answer(); got.Status == 0 {
			g.t.Fatalf("%s: %+v", a.name, got)
		}
	case a.until == 'E':
		for m := c.receive(); m != nil; m = c.receive() {
			if _, ok := m.(*pgproto3.ErrorResponse); ok {
				break
			}
		}
	case a.until != 0:
		if !c.until(a.until) {
			g.t.Fatalf("%s: no message of type %c", a.name, a.until)
		}
	}
}

// At every step of a transcript (before a message, in its middle, right behind it, and when it has had its effect) the
// client or its server session dies. Nothing of it may stay: no lock, no transaction, no state, no lost place.
func TestNothingStaysBehindWhoeverDiesWhenever(t *testing.T) {
	for _, toml := range []string{"", `pool_boundary = "transaction"` + "\nloops = 2", `pool_boundary = "session"`} {
		t.Run(strings.TrimSpace("boundary "+toml), func(t *testing.T) {
			g := newGround(t, toml)
			n := 0
			for _, d := range drills() {
				for _, way := range deaths {
					before := g.stat().Retired
					for i := range d.acts {
						for at, position := range []string{"before", "in the middle of", "right behind", "after the effect of"} {
							if at == 0 && i > 0 || toml != "" && (at < 2 || strings.HasSuffix(way.name, "FIN")) {
								continue // as after the effect of the one before, or as with the first configuration
							}
							name := fmt.Sprintf("%s: %s %s %q", d.name, way.name, position, d.acts[i].name)
							if !g.perform(name, d, way, i, at) {
								t.Fatal(name)
							}
							n++
						}
					}
					g.checkRetired(d, way, before)
				}
			}
			t.Logf("%d deaths; the longest time until nothing was left was %s", n, g.worst)
		})
	}
}

func (g *ground) perform(name string, d drill, way death, i, at int) bool {
	t := g.t
	a := d.acts[i]
	c := newRaw(t, g.pooler, g.db, "application_name", "victim")
	g.play(c, d.acts[:i])
	switch at {
	case 1:
		_, _ = c.nc.Write(a.send[:len(a.send)/2])
	case 2:
		_, _ = c.nc.Write(a.send)
	case 3:
		_, _ = c.nc.Write(a.send)
		g.effect(c, a)
	}
	if way.client != nil {
		way.client(c.nc)
	} else {
		const there = " FROM pg_stat_activity WHERE datname = $db AND backend_type = 'client backend'"
		pids := g.ask("SELECT coalesce(string_agg(pid::text, ','), '0') FROM (SELECT pid, pg_terminate_backend(pid)" + there + ") s")
		known := func() bool {
			return g.ask("SELECT count(*)"+there+" AND pid IN ("+pids+")") == "0" && g.ask("SELECT count(*)"+there) == strconv.Itoa(inUse(g.stat()))
		}
		if i == 0 && at == 0 {
			eventually(t, patience, name+": the pool knows", known)
		}
		g.survive(c, name, d, i, at)
		eventually(t, patience, name+": the pool knows", known) // else the next client is lent it
	}
	begun := time.Now()
	mayCommit := i > d.commits || i == d.commits && at >= 2
	if way.client == nil { // it has gone on, with a Sync
		mayCommit = mayCommit || !g.depends(d, i, at)
	}
	g.nothingLeft(name, mayCommit)
	g.worst = max(g.worst, time.Since(begun))
	_ = c.nc.Close()
	return !t.Failed()
}

// depends tells whether a client certainly depends on its server session at a step.
func (g *ground) depends(d drill, i, at int) bool {
	if at >= 2 && i == d.commits || at == 3 && i == 0 && d.acts[0].until == 'Z' {
		return false
	}
	stays, depends := !g.transaction, false // with transaction boundary only a transaction stays where it is
	for j, a := range d.acts[:i+1] {
		stays = stays || a.name == "BEGIN" || a.until != 'Z'
		depends = depends || stays && j >= d.carried && (a.until != 0 || a.running) && (j < i || at == 3)
	}
	return depends
}

// survive is what a client sees whose server session has been terminated: an error or the end if it depended on it,
// else nothing but right answers.
func (g *ground) survive(c *rawClient, name string, d drill, i, at int) {
	last := d.acts[i]
	if at <= 2 && last.running {
		_ = c.nc.Close() // with the rest it would run, elsewhere
		return
	}
	if at == 1 {
		_, _ = c.nc.Write(last.send[len(last.send)/2:])
	}
	c.send(&pgproto3.CopyFail{}, &pgproto3.Sync{}, &pgproto3.Query{String: "SELECT 'right'"})
	depended := g.depends(d, i, at)
	var a answer
	ended := false
	for !ended {
		m := c.receive()
		if ended = m == nil; ended {
			break
		}
		a.take(m)
		if n := len(a.Rows); n > 0 && a.Rows[n-1] == "right" && a.Status != 0 {
			break
		}
	}
	right := len(a.Rows) > 0 && a.Rows[len(a.Rows)-1] == "right"
	switch {
	case depended && a.Errors == 0 && (!d.torn || !ended):
		g.t.Errorf("%s: the client lost what it depended on and was not told: %+v", name, a)
	case i == 0 && at == 0 && (!right || a.Errors > 0):
		g.t.Errorf("%s: the client depended on nothing and got %+v", name, a)
	}
	_ = c.nc.Close()
}

// leftovers is, in one line, what a client can see of those before it.
const leftovers = `SELECT concat_ws(' ', current_setting('application_name'), current_setting('work_mem'), session_user, current_user,
 to_regclass('pg_temp.drilled') IS NULL, (SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE '\_pooler%'),
 (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE name <> ''),
 (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'))`

func (g *ground) nothingLeft(name string, mayCommit bool) {
	t := g.t
	eventually(t, patience, name+": the pool is at full strength", g.quiet)
	if got := g.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = $db AND backend_type = 'client backend' AND xact_start IS NOT NULL"); got != "0" {
		t.Errorf("%s: %s transactions are open", name, got)
	}
	if got := g.ask("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = $db AND backend_type = 'client backend'"); got != "0" {
		t.Errorf("%s: %s locks are held", name, got)
	}
	heir := newRaw(t, g.pooler, g.db, "application_name", "heir")
	defer func() { _ = heir.nc.Close() }()
	if got := heir.query(leftovers).only(); got != "heir 4MB postgres postgres t 0 0 0 0" {
		t.Errorf("%s: the next client sees %q", name, got)
	}
	if got := heir.query("SELECT n FROM account").only(); got != "0" && !mayCommit {
		t.Errorf("%s: a change that was not committed has become permanent (n is %s)", name, got)
	}
	if got := heir.query("SET LOCAL lock_timeout = '1s'; UPDATE account SET n = 0 WHERE id = 1"); got.Errors > 0 {
		t.Errorf("%s: the row cannot be updated: %+v", name, got)
	}
	if got := heir.query("SELECT pg_try_advisory_lock(77)::text || pg_advisory_unlock(77)::text").only(); got != "truetrue" {
		t.Errorf("%s: the advisory lock is not free: %s", name, got)
	}
	heir.send(&pgproto3.Terminate{})
	eventually(t, patience, name+": the heir's server session is back", g.quiet)
}

// checkRetired: a client's death costs a server session only where nothing else helps.
func (g *ground) checkRetired(d drill, way death, before map[backend.RetireReason]uint64) {
	if way.client == nil {
		return
	}
	for reason, n := range g.stat().Retired {
		expected := reason == backend.RetireMidMessage && d.streams ||
			reason == backend.RetireUnresettable && strings.HasPrefix(d.name, "state that") ||
			(reason == backend.RetireUncleanable || reason == backend.RetireDesync) && d.name == "extended COPY in"
		if n > before[reason] && !expected {
			g.t.Errorf("%s, %s: %d server sessions were lost: %s", d.name, way.name, n-before[reason], reason)
		}
	}
}

// PostgreSQL crashes and comes back while clients are in all kinds of states.
func TestPostgreSQLRestarts(t *testing.T) {
	const clients, size = 20, 5
	pg := pgtest.Start(t)
	p := startPooler(t, fmt.Sprintf("default_pool_size = %d\nloops = 2\nserver_login_retry = \"500ms\"\n[databases.\"*\"]\nhost = %q\nport = %d", size, pg.Host, pg.Port))
	var phase atomic.Int32 // 0: before the crash, 1: from then on, 2: enough
	var before, after [clients]atomic.Int64
	var broken atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			var conn *pgconn.PgConn
			for n := 0; phase.Load() < 2 && ctx.Err() == nil; n++ {
				if conn == nil || conn.IsClosed() {
					var err error
					if conn, err = pgconn.Connect(ctx, p.dsn("postgres", "")); err != nil {
						broken.Add(1)
						<-time.After(20 * time.Millisecond)
						continue
					}
				}
				begun := phase.Load()
				err := habits[i%len(habits)](ctx, conn, fmt.Sprintf("%d-%d", i, n))
				var wrong *wrongAnswer
				switch {
				case errors.As(err, &wrong):
					t.Errorf("client %d: %v", i, err)
				case err != nil:
					broken.Add(1)
					if conn.IsClosed() {
						break
					}
					_, _ = conn.Exec(ctx, "ROLLBACK").ReadAll()
					<-time.After(5 * time.Millisecond)
				case begun == 0:
					before[i].Add(1)
				default:
					after[i].Add(1)
				}
			}
			if conn != nil {
				_ = conn.Close(ctx)
			}
		})
	}
	count := func(of *[clients]atomic.Int64, atLeast int64) bool {
		for i := range of {
			if of[i].Load() < atLeast {
				return false
			}
		}
		return true
	}
	eventually(t, 20*time.Second, "every client works", func() bool { return count(&before, 3) })
	phase.Store(1)
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range after {
		after[i].Store(0)
	}
	if err := pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	up := time.Now()
	eventually(t, 20*time.Second, "every client works again", func() bool {
		for _, st := range p.Pools.Stats() {
			if n := st.Idle + st.Active + st.Reclaiming + st.Opening + st.Closing; n > size {
				t.Errorf("%d server sessions in a pool of %d", n, size)
			}
		}
		return count(&after, 3)
	})
	t.Logf("all clients worked again %s after PostgreSQL; %d honest errors", time.Since(up).Round(time.Millisecond), broken.Load())
	phase.Store(2)
	all.Wait()
	eventually(t, patience, "nothing is in use", func() bool {
		st := p.Pools.Stats()[0]
		return st.Active+st.Reclaiming+st.Waiting+st.Closing+st.Opening == 0
	})
}

// wrongAnswer is the one thing that must never come.
type wrongAnswer struct{ got, want string }

func (w *wrongAnswer) Error() string {
	return fmt.Sprintf("wrong answer: got %q, want %q", w.got, w.want)
}

func rows(ctx context.Context, conn *pgconn.PgConn, sql string) (string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	var all []string
	for _, r := range results {
		for _, row := range r.Rows {
			all = append(all, string(row[0]))
		}
	}
	return strings.Join(all, ","), nil
}

func expect(ctx context.Context, conn *pgconn.PgConn, sql, want string) error {
	got, err := rows(ctx, conn, sql)
	if err == nil && got != want {
		return &wrongAnswer{got, want}
	}
	return err
}

// habits are ways to use a server; each must give right answers or an error.
var habits = []func(ctx context.Context, conn *pgconn.PgConn, id string) error{
	func(ctx context.Context, conn *pgconn.PgConn, id string) error { // statements
		return expect(ctx, conn, "SELECT '"+id+"'", id)
	},
	func(ctx context.Context, conn *pgconn.PgConn, id string) error { // a transaction must stay on its server session
		first, err := rows(ctx, conn, "BEGIN; SELECT pg_current_xact_id()")
		if err != nil {
			return err
		}
		for range 3 {
			if err := expect(ctx, conn, "SELECT pg_current_xact_id()", first); err != nil {
				return err
			}
		}
		return expect(ctx, conn, "COMMIT; SELECT '"+id+"'", id)
	},
	func(ctx context.Context, conn *pgconn.PgConn, id string) error { // prepared statements
		if _, err := conn.Prepare(ctx, id, "SELECT $1 || '"+id+"'", nil); err != nil {
			return err
		}
		r := conn.ExecPrepared(ctx, id, [][]byte{[]byte("p")}, nil, nil).Read()
		if r.Err == nil && (len(r.Rows) != 1 || string(r.Rows[0][0]) != "p"+id) {
			return &wrongAnswer{fmt.Sprint(r.Rows), "p" + id}
		}
		if r.Err != nil {
			return r.Err
		}
		return conn.Deallocate(ctx, id)
	},
	func(ctx context.Context, conn *pgconn.PgConn, id string) error { // state that pins
		if _, err := rows(ctx, conn, "DROP TABLE IF EXISTS pg_temp.mine; CREATE TEMP TABLE mine AS SELECT '"+id+"'::text AS v"); err != nil {
			return err
		}
		if err := expect(ctx, conn, "SELECT v FROM mine", id); err != nil {
			return err
		}
		_, err := rows(ctx, conn, "DISCARD ALL")
		return err
	},
	func(ctx context.Context, conn *pgconn.PgConn, id string) error { // COPY out, and slow statements
		var b strings.Builder
		if _, err := conn.CopyTo(ctx, &b, "COPY (SELECT '"+id+"' FROM generate_series(1, 500)) TO STDOUT"); err != nil {
			return err
		}
		if want := strings.Repeat(id+"\n", 500); b.String() != want {
			return &wrongAnswer{strconv.Itoa(b.Len()) + " bytes", strconv.Itoa(len(want)) + " bytes"}
		}
		return expect(ctx, conn, fmt.Sprintf("SELECT '%s' FROM pg_sleep(%f)", id, rand.Float64()/50), id)
	},
}
