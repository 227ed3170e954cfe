package frontend

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
)

// connectAs logs in with this application_name.
func connectAs(t *testing.T, p *testPooler, application string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.dsn("postgres", "&application_name="+application))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// mustExec runs a statement by the simple protocol.
func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// What clients do is counted under where they come from, and under their database.
func TestTrafficIsCounted(t *testing.T) {
	p := startPooler(t, `default_pool_size = 2`)
	for _, c := range []struct {
		application string
		clients     int
		queries     int
	}{{"web", 3, 4}, {"cron", 1, 10}} {
		for range c.clients {
			conn := connectAs(t, p, c.application)
			for range c.queries {
				mustExec(t, conn, "SELECT 1")
			}
		}
	}
	pinned := connectAs(t, p, "cron")
	mustExec(t, pinned, "CREATE TEMP TABLE kept (a int)")
	mustExec(t, connectAs(t, p, "cron"), "BEGIN")
	sources := map[string]SourceStat{}
	for _, s := range p.Front.Sources() {
		sources[s.Application] = s
	}
	web, cron := sources["web"], sources["cron"]
	check := func(what string, got, want uint64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %d, want %d", what, got, want)
		}
	}
	check("clients of web", uint64(web.Clients), 3)
	check("logins of web", web.Logins, 3)
	check("logins of web in the last minute", uint64(web.LastMinute), 3)
	check("queries of web", web.Queries, 12)
	check("transactions of web", web.Transactions, 12)
	check("server sessions lent to web", web.Assignments, 12)
	check("of those, that another client had used", web.Reuses, 12-4) // the first one's first client has it to itself
	check("idle clients of web", uint64(web.Idle), 3)
	check("clients of cron", uint64(cron.Clients), 3)
	check("queries of cron", cron.Queries, 12)
	check("transactions of cron", cron.Transactions, 11)
	check("clients of cron in a transaction", uint64(cron.InTransaction), 1)
	check("clients of cron with a server session", uint64(cron.Holding), 2)
	check("pinned clients of cron", uint64(cron.Pinned), 1)
	if web.Received == 0 || web.Sent == 0 || web.QueryTime <= 0 || web.TransactionTime < web.QueryTime || web.ServerTime < web.QueryTime {
		t.Errorf("traffic of web: %+v", web.Traffic)
	}
	databases := p.Front.Databases()
	if len(databases) != 1 {
		t.Fatalf("databases: %+v", databases)
	}
	check("queries of the database", databases[0].Total.Queries, 24)
	check("the first period's average so far", databases[0].Average.Queries, 24)
	statements := map[string]uint64{}
	for _, s := range p.Front.Statements() {
		statements[s.Text] = s.Calls
		if s.Text == "create temp table kept (a int)" && s.Pins != 1 {
			t.Errorf("pins of %q: %d", s.Text, s.Pins)
		}
	}
	check("calls of the statement", statements["select ?"], 22)
	counts := map[string]uint64{}
	for _, h := range p.Front.Histograms() {
		var sum uint64
		for _, b := range h.Buckets {
			sum += b.Count
		}
		check("buckets of "+h.Phase, sum, h.Count)
		counts[h.Phase] = h.Count
	}
	check("queries timed", counts["query"], 24)
	check("transactions timed", counts["transaction"], 23)
}

// Clients() describes everybody, also while others come and go.
func TestClientsAreListed(t *testing.T) {
	p := startPooler(t, `default_pool_size = 2`)
	conns := map[string]*pgx.Conn{}
	for _, name := range []string{"resting", "thinking", "pinned", "queued"} {
		conns[name] = connectAs(t, p, name)
	}
	mustExec(t, conns["resting"], "SELECT 'secret'")
	mustExec(t, conns["thinking"], "BEGIN")
	mustExec(t, conns["thinking"], "SELECT 'secret', 7")
	mustExec(t, conns["pinned"], "SELECT pg_advisory_lock(4711)")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := conns["queued"].Exec(ctx, "SELECT 1")
		done <- err
	}()
	defer func() {
		stop()
		<-done //nolint:errcheck // it was cancelled
	}()
	eventually(t, 5*time.Second, "a client waits", func() bool {
		for _, w := range p.Front.Waiting() {
			return w.Position == 1 && w.Why == "all server sessions are busy"
		}
		return false
	})
	seen := map[string]ClientInfo{}
	for _, c := range p.Front.Clients() {
		seen[c.Application] = c
	}
	for name, want := range map[string]ClientInfo{
		"resting":  {State: "idle", Transactions: 1},
		"thinking": {State: "idle_in_transaction", Statement: "select ?, …"},
		"pinned":   {State: "idle_keeping_session", Transactions: 1, Statement: "select pg_advisory_lock(?)", Pinned: "advisory_lock", PinStatement: "select pg_advisory_lock(?)"},
		"queued":   {State: "waiting"},
	} {
		got := seen[name]
		if got.State != want.State || got.Transactions != want.Transactions ||
			got.Statement != want.Statement || got.Pinned != want.Pinned || got.PinStatement != want.PinStatement {
			t.Errorf("%s: %+v", name, got)
		}
		if holds := got.State != "idle" && got.State != "waiting"; holds != (got.ServerPID != 0) || holds != (got.Server != 0) {
			t.Errorf("%s holds server session %d (%d)", name, got.Server, got.ServerPID)
		}
		if got.Local.String() != p.Addr || !got.Remote.IsValid() {
			t.Errorf("%s: from %v to %v", name, got.Remote, got.Local)
		}
	}
}

func TestPreparedStatementsAreListed(t *testing.T) {
	p := startPooler(t, `default_pool_size = 1`)
	for _, name := range []string{"a", "b"} {
		conn := connectAs(t, p, name)
		if _, err := conn.Prepare(t.Context(), "st_"+name, "SELECT 7 + $1::int"); err != nil {
			t.Fatalf("prepare: %v", err)
		}
	}
	list := p.Front.PreparedStatements(t.Context())
	if len(list) != 1 || list[0].Clients != 2 || list[0].Servers != 1 || list[0].Text != "select ? + $1::int" {
		t.Errorf("prepared statements: %+v", list)
	}
}

// However many names clients choose, what is kept of them is bounded, and nothing that they did is lost.
func TestLedgerIsBounded(t *testing.T) {
	var l ledger
	const names = 50_000
	for i := range names {
		tr := l.join(member{database: "d", user: fmt.Sprint(i), application: "a"}, 0)
		tr.Queries++
		if i%3 != 0 {
			tr.leave(0, true)
		}
	}
	if len(l.sources) > 2*maxSources+2 || len(l.timings) > maxTimings+1 {
		t.Errorf("%d sources, %d timings", len(l.sources), len(l.timings))
	}
	c := &crew{ledger: l}
	var queries uint64
	for _, d := range c.databases() {
		queries += d.Total.Queries
	}
	if queries != names {
		t.Errorf("%d queries counted of %d", queries, names)
	}
}

func TestMinuteCount(t *testing.T) {
	var m minuteCount
	for s := range 120 {
		m.add(time.Duration(s) * time.Second)
	}
	for at, want := range map[int]int{119: 60, 125: 50, 170: 0} {
		moved := m
		if got := moved.sum(time.Duration(at) * time.Second); got != want {
			t.Errorf("after %d s: got %d, want %d", at, got, want)
		}
	}
}

// Each duration is in the bucket whose bounds hold it, and those are Prometheus': fourth roots of two, from one second.
func TestHistogramBuckets(t *testing.T) {
	durations := []time.Duration{time.Second, time.Second / 512, time.Second / 4, 2 * time.Second, 4096 * time.Second}
	for d := time.Duration(1); d < 2*time.Hour; d = d*21/20 + 1 {
		durations = append(durations, d)
	}
	for i := range histogramBuckets {
		durations = append(durations, upperBound(i), upperBound(i)+1)
	}
	for _, d := range durations {
		i := bucketOf(d)
		if i < histogramBuckets-1 && d > upperBound(i) || i > 0 && d <= upperBound(i-1) {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, i, upperBound(i))
		}
		want := math.Exp2(lowestOctave+float64(i+1)/perOctave) * 1e9
		if got := float64(upperBound(i)); got > want*(1+1e-15) || got < want*(1-1e-15)-1 {
			t.Fatalf("bucket %d ends at %v, want %v", i, got, want)
		}
	}
	if bucketOf(0) != 0 || bucketOf(math.MaxInt64) != histogramBuckets-1 || upperBound(bucketOf(time.Second)) != time.Second {
		t.Error("the ends, or the second")
	}
}

func BenchmarkBucketOf(b *testing.B) {
	d := time.Duration(1)
	for b.Loop() {
		d += time.Duration(bucketOf(d)) * 1000
	}
}

// A flood of different statements is counted by samples; what is slow is always counted.
func TestStatementBookSamples(t *testing.T) {
	b := statementBook{budget: 10}
	u := &backend.Usage{}
	const calls = 1000 * sampleOf
	for range calls {
		u.Note([]byte("SELECT 1"))
		b.count(u, true, time.Microsecond)
	}
	u.Note([]byte("SELECT slow"))
	b.count(u, true, time.Second)
	e := b.entries["select ?"]
	if e.Calls < calls-sampleOf || e.Calls > calls+sampleOf || !e.Estimated {
		t.Errorf("calls of %d: %d", calls, e.Calls)
	}
	if slow := b.entries["select slow"]; slow == nil || slow.Calls != 1 || slow.Time != time.Second {
		t.Errorf("slow: %+v", slow)
	}
	for i := range 5 * maxStatements {
		b.budget = 1
		u.Note(fmt.Appendf(nil, "SELECT a%d", i))
		b.count(u, true, time.Microsecond)
	}
	if len(b.entries) > maxStatements || b.entries["select slow"] == nil {
		t.Errorf("%d entries", len(b.entries))
	}
}

func TestMemberOfOthers(t *testing.T) {
	var l ledger
	for i := range maxSources + 10 {
		l.join(member{source: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), database: "d"}, 0)
	}
	if o := l.sources[member{database: "d", user: others, class: others, application: others}]; o == nil || o.sessions != 10 {
		t.Errorf("others: %+v", o)
	}
}

// What is left of a COPY that has failed begins no request, nor does a Flush: the client may think for hours then.
func TestStrayMessagesBeginNoRequest(t *testing.T) {
	p := startPooler(t, `default_pool_size = 1`)
	c := newRaw(t, p, "postgres")
	c.query("BEGIN")
	c.query("COPY nowhere FROM STDIN")
	c.send(&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, &pgproto3.Flush{})
	if a := c.query("SELECT 1"); a.Code != "25P02" { // they have come before it
		t.Fatalf("%+v", a)
	}
	c.send(&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, &pgproto3.Flush{})
	eventually(t, patience, "they have been read", func() bool {
		return len(p.Front.Sources()) == 1 && p.Front.Sources()[0].Received == uint64(len(encode(
			&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "COPY nowhere FROM STDIN"}, &pgproto3.Query{String: "SELECT 1"}))+
			2*len(encode(&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, &pgproto3.Flush{})))
	})
	begun := gather(p.Front, func(c *crew) (times []time.Duration) {
		for i := range c.berths {
			times = append(times, c.berths[i].session.lease.Conn.Usage.Query)
		}
		return times
	})
	if len(begun) != 1 || begun[0] != 0 {
		t.Errorf("a request has begun: %v", begun)
	}
}

// A count may move to others between two looks.
func TestAveragesNeverUnderflow(t *testing.T) {
	if d := (Traffic{Queries: 1}).since(Traffic{Queries: 5, QueryTime: time.Second}); d != (Traffic{}) {
		t.Errorf("%+v", d)
	}
}
