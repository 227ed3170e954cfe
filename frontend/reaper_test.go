package frontend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
)

// reaperLines are the lines of the log that speak of the reaper.
func (p *testPooler) reaperLines() []string {
	var found []string
	for line := range strings.Lines(p.Log.String()) {
		if strings.Contains(line, "the reaper ") {
			found = append(found, line)
		}
	}
	return found
}

// herd is n clients that are idle, those of each ten longer than the next.
func herd(t *testing.T, p *testPooler, db string, n int, parameters ...string) []*rawClient {
	t.Helper()
	var all []*rawClient
	for i := range n {
		all = append(all, newRaw(t, p, db, parameters...))
		if i%10 == 9 {
			<-time.After(10 * time.Millisecond)
		}
	}
	return all
}

// A3: above the threshold, exactly as many clients are closed as it takes to reach the target, the longest idle; they
// are told why; the log has one line.
func TestA3ReaperClosesTheLongestIdleClients(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "")
	old := herd(t, p, db, 70, "application_name", "cron.py")
	<-time.After(2 * lookEvery)
	young := herd(t, p, db, 80, "application_name", "web")
	<-time.After(2 * lookEvery) // so that how long they have been idle is known
	p.reload(t, "log_level = \"info\"\nreaper_client_threshold = 100\nreaper_client_target = 90")
	eventually(t, patience, "the target is reached", func() bool { return p.Front.Stat().Clients == 90 && len(p.reaperLines()) == 1 })
	for n, c := range old[:60] {
		e := c.ending()
		if e.Severity != "FATAL" || e.Code != "57P05" || !strings.Contains(e.Hint, "reaper_client_threshold = 100") {
			t.Fatalf("client %d was told %+v", n, e)
		}
	}
	for _, c := range append(old[60:], young...) {
		c.ask("SELECT 'here'", "here")
	}
	lines := p.reaperLines()
	if len(lines) != 1 || !strings.Contains(lines[0], "before=150 after=90 closed=60") ||
		!strings.Contains(lines[0], "127.0.0.1 cron.py postgres/"+db+" ×60") {
		t.Errorf("the log says %q", lines)
	}
	runs := p.Front.ReaperRuns()
	if len(runs) != 1 || runs[0].Before != 150 || runs[0].After != 90 || runs[0].Closed != 60 || runs[0].DryRun || runs[0].Of != ofClients {
		t.Errorf("it remembers %+v", runs)
	}
	if st := p.Front.Stat(); st.Ends["reaped"] != 60 {
		t.Errorf("%+v", st.Ends)
	}
}

// A4: who is in a transaction, runs something, waits, is pinned, or exempt is spared; a dry run names the same victims
// and closes none.
func TestA4ReaperIsSelective(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "default_pool_size = 13\n[classes.spared]\nreaper_exempt = true")
	victims := herd(t, p, db, 135, "application_name", "idle")
	var spared []*rawClient
	for range 10 {
		c := newRaw(t, p, db)
		c.query("BEGIN; SELECT 1")
		if len(spared) == 0 {
			c.query("UPDATE t SET n = n")
		}
		spared = append(spared, c)
	}
	pinned, exempt := newRaw(t, p, db), newRaw(t, p, db, "pool_connection_class", "spared")
	pinned.query("CREATE TEMP TABLE keeps (n int)")
	exempt.query("SELECT 1")
	runs, keeps := newRaw(t, p, db), newRaw(t, p, db, "pool_boundary", "session")
	keeps.query("SELECT 1")
	runs.send(&pgproto3.Query{String: "UPDATE t SET n = n RETURNING 'done'"})
	waits := newRaw(t, p, db)
	waits.send(&pgproto3.Query{String: "SELECT 'done'"})
	eventually(t, patience, "one waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	<-time.After(2 * lookEvery)

	const toml = "log_level = \"info\"\ndefault_pool_size = 13\nreaper_client_threshold = 100\nreaper_client_target = %d\nreaper_dry_run = %v\n[classes.spared]\nreaper_exempt = true"
	p.reload(t, fmt.Sprintf(toml, 50, true))
	eventually(t, patience, "a dry run", func() bool { return len(p.Front.ReaperRuns()) == 1 })
	dry := p.Front.ReaperRuns()[0]
	<-time.After(reapEvery + 2*lookEvery) // it does not say the same again
	if lines := p.reaperLines(); len(lines) != 1 || !strings.Contains(lines[0], "would close") || p.Front.Stat().Clients != 150 {
		t.Errorf("the dry run: %q; %d clients", lines, p.Front.Stat().Clients)
	}
	p.reload(t, fmt.Sprintf(toml, 50, false))
	eventually(t, patience, "the target is reached", func() bool { return p.Front.Stat().Clients == 50 && len(p.Front.ReaperRuns()) == 2 })
	wet := p.Front.ReaperRuns()[1]
	if dry.Victims != wet.Victims || dry.Closed != wet.Closed || wet.Closed != 100 || !dry.DryRun || wet.DryRun {
		t.Errorf("the dry run said %+v, and then came %+v", dry, wet)
	}
	p.reload(t, fmt.Sprintf(toml, 1, false)) // a target that cannot be reached; nothing happens below the threshold
	p.reload(t, strings.Replace(fmt.Sprintf(toml, 1, false), "= 100", "= 10", 1))
	eventually(t, patience, "only the spared are left", func() bool { return p.Front.Stat().Clients == 15 })
	for n, c := range victims {
		if e := c.ending(); e.Code != "57P05" {
			t.Fatalf("victim %d: %+v", n, e)
		}
	}
	for _, c := range spared {
		if a := c.query("COMMIT"); a.Errors != 0 || a.Tags[0] != "COMMIT" {
			t.Errorf("one in a transaction: %+v", a)
		}
	}
	for _, c := range []*rawClient{runs, waits} {
		if got := c.answer().only(); got != "done" {
			t.Errorf("one that runs or waits: %s", got)
		}
	}
	pinned.ask("SELECT count(*) FROM keeps", "0")
	exempt.ask("SELECT 'here'", "here")
	keeps.ask("SELECT 'here'", "here")
}

// Whoever has been idle for less than reaper_min_idle stays.
func TestReaperMinIdle(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "reaper_client_threshold = 2\nreaper_server_threshold = 1\nreaper_min_idle = \"60s\"\ndefault_pool_size = 5")
	all := herd(t, p, db, 5)
	for _, c := range all {
		c.query("BEGIN")
	}
	for _, c := range all {
		c.query("COMMIT")
	}
	<-time.After(reapEvery + 2*lookEvery)
	if p.Front.Stat().Clients != 5 || onlyPool(t, p).Idle != 5 {
		t.Errorf("%d clients, %+v", p.Front.Stat().Clients, onlyPool(t, p))
	}
	for _, run := range p.Front.ReaperRuns() {
		if run.Closed != 0 {
			t.Errorf("%+v", run)
		}
	}
	if n := len(p.reaperLines()); n != 2 {
		t.Errorf("that nothing could be closed was told %d times", n)
	}
}

// Server sessions over all pools: the longest unused go, no pool falls below its minimum, none that is lent is closed.
func TestReaperOfServerSessions(t *testing.T) {
	t.Parallel()
	pg := postgres.Server(t)
	first, second := pg.CreateDatabase(t), pg.CreateDatabase(t)
	p, _ := startTimed(t, fmt.Sprintf("default_pool_size = 6\n[databases.\"*\"]\nhost = %q\nport = %d\n[databases.%q]\nhost = %q\nport = %d\nmin_pool_size = 5",
		pg.Host, pg.Port, first, pg.Host, pg.Port))
	fill := func(db string, n int) (all []*rawClient) {
		for range n {
			c := newRaw(t, p, db)
			c.query("BEGIN")
			all = append(all, c)
		}
		return all
	}
	a := fill(first, 6)
	for _, c := range a {
		c.query("COMMIT")
	}
	<-time.After(300 * time.Millisecond)
	b := fill(second, 6)
	for _, c := range b[1:] {
		c.query("COMMIT")
	}
	left := func() (n int) {
		for _, st := range p.Pools.Stats() {
			n += inUse(st)
		}
		return n
	}
	if left() != 12 {
		t.Fatalf("%d server sessions", left())
	}
	toml := fmt.Sprintf("log_level = \"info\"\ndefault_pool_size = 6\nreaper_server_threshold = 10\nreaper_server_target = 4\n[databases.\"*\"]\nhost = %q\nport = %d\n[databases.%q]\nhost = %q\nport = %d\nmin_pool_size = 5",
		pg.Host, pg.Port, first, pg.Host, pg.Port)
	p.reload(t, toml)
	eventually(t, patience, "what may go is gone", func() bool { return left() == 6 && len(p.reaperLines()) == 1 })
	for _, st := range p.Pools.Stats() {
		want := map[string]int{first: 5, second: 1}[st.Database]
		if inUse(st) != want || st.Retired[backend.RetireReaped] != uint64(6-want) {
			t.Errorf("%+v", st)
		}
	}
	if e := b[0].query("COMMIT"); e.Errors != 0 {
		t.Errorf("the one that was lent: %+v", e)
	}
	lines := p.reaperLines()
	if len(lines) != 1 || !strings.Contains(lines[0], "before=12 after=6 closed=6") || !strings.Contains(lines[0], "postgres/"+second+" ×5") {
		t.Errorf("the log says %q", lines)
	}
}
