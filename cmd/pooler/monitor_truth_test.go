package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
)

// standing is what the clients of a source do at the same time.
type standing struct{ connected, active, idle, inTransaction, waiting, pinned float64 }

func (s standing) fields() map[string]float64 {
	return map[string]float64{
		"connected": s.connected, "active": s.active, "idle": s.idle, "idle_in_transaction": s.inTransaction,
		"waiting": s.waiting, "pinned": s.pinned, "leaked": 0,
	}
}

// deeds is what the clients of a source have done.
type deeds struct{ connects, disconnects, refused, queries, reuses float64 }

func (d deeds) fields() map[string]float64 {
	return map[string]float64{"connects": d.connects, "disconnects": d.disconnects, "refused": d.refused, "queries": d.queries, "reuses": d.reuses}
}

// play is a scene in which all that happens is scripted, and counted here.
type play struct {
	*scene
	actors map[source][]*actor
	done   map[source]*deeds
}

// actor is a client that does what it is told.
type actor struct {
	*play
	who    source
	conn   *pgconn.PgConn
	holds  bool // a server session
	pinned bool
	answer chan error // to what it has been told last, if that was not awaited
}

func (p *play) of(who source) *deeds {
	if p.done[who] == nil {
		p.done[who] = &deeds{}
	}
	return p.done[who]
}

// enter has n more clients connect.
func (p *play) enter(who source, n int) {
	p.t.Helper()
	for range n {
		p.actors[who] = append(p.actors[who], &actor{play: p, who: who, conn: p.client(who), answer: make(chan error, 1)})
		p.of(who).connects++
	}
}

// exit has the clients of a source leave that came last.
func (p *play) exit(who source, n int) {
	p.t.Helper()
	all := p.actors[who]
	for _, a := range all[len(all)-n:] {
		disconnect(p.t, a.conn)
		p.of(who).disconnects++
	}
	p.actors[who] = all[:len(all)-n]
}

// begin sends a statement, whose answer finish awaits.
func (a *actor) begin(sql string) {
	if !a.holds {
		a.of(a.who).reuses++ // somebody has used each server session before
	}
	a.of(a.who).queries++
	go func() {
		_, err := a.conn.Exec(context.Background(), sql).ReadAll()
		a.answer <- err
	}()
}

func (a *actor) finish() {
	a.t.Helper()
	if err := <-a.answer; err != nil {
		a.t.Fatalf("%s: %v", a.who, err)
	}
	a.holds = a.pinned || a.conn.TxStatus() != 'I'
}

func (a *actor) do(sql string) {
	a.t.Helper()
	a.begin(sql)
	a.finish()
}

// warm has somebody else use all server sessions, so that the loans of the play are reuses all.
func (p *play) warm(servers int) {
	p.t.Helper()
	who := source{"127.0.0.3", "stage hand"}
	p.enter(who, servers)
	for _, sql := range []string{"BEGIN", "COMMIT"} {
		for _, a := range p.actors[who] {
			a.do(sql)
		}
	}
	p.exit(who, servers)
}

// stays asserts that samples, the CSV and the console tell what everybody does, at each sample while it lasts; and that
// all of them together cost PostgreSQL nothing.
func (p *play) stays(name string, want map[source]standing) {
	p.t.Helper()
	until(p.t, "nobody is cleaned up after", func() bool {
		return len(p.show("SHOW SERVERS WHERE database = '"+p.database+"' AND client_id IS NULL AND state <> 'idle'")) == 0
	})
	before := p.postgresDoes()
	told, seconds := p.samples(2)
	slices.Sort(seconds)
	sources := map[string]map[string]float64{}
	for who, s := range want {
		sources[p.keyOf(who)] = s.fields()
	}
	for how, h := range map[string]history{"JSON": told, "CSV": p.seriesCSV("sources"), "console": p.historyView()} {
		for i, second := range seconds {
			p.agrees(fmt.Sprintf("%s, %s, %d", name, how, second), h[second], sources, i == 0)
		}
	}
	if after := p.postgresDoes(); after != before {
		p.t.Errorf("%s: PostgreSQL has had something to do\nbefore: %s\nafter:  %s", name, before, after)
	}
}

// agrees compares a sample with the truth. Only the first one of a plateau may tell of something that has been done.
func (p *play) agrees(what string, got, want map[string]map[string]float64, first bool) {
	p.t.Helper()
	keys := map[string]bool{}
	for key := range got {
		keys[key] = true
	}
	for key := range want {
		keys[key] = true
	}
	for key := range keys {
		for field := range (standing{}).fields() {
			if got[key][field] != want[key][field] || got[key][field+"_max"] != 0 && got[key][field+"_max"] != want[key][field] {
				p.t.Errorf("%s: %s of %s is %v, at most %v; want %v", what, field, key, got[key][field], got[key][field+"_max"], want[key][field])
			}
		}
		for field := range (deeds{}).fields() {
			if n := got[key][field]; n != 0 && !first {
				p.t.Errorf("%s: %s of %s grow by %v", what, field, key, n)
			}
		}
	}
}

// postgresDoes is what PostgreSQL has done for the play's database: whoever does something changes it.
func (p *play) postgresDoes() string {
	p.t.Helper()
	rows, err := p.pg.Exec(p.t.Context(), "postgres", `SELECT string_agg(format('%s %s %s %s', pid, backend_start, state, state_change), ', ' ORDER BY pid)
		FROM pg_stat_activity WHERE datname = '`+p.database+`'`)
	if err != nil {
		p.t.Fatal(err)
	}
	log, err := os.ReadFile(p.pg.LogFile())
	if err != nil {
		p.t.Fatal(err)
	}
	return fmt.Sprintf("%d lines, %s", strings.Count(string(log), "db="+p.database+" "), rows[0][0])
}

// holdsUp has PostgreSQL keep whoever reads table busy waiting, until the function that is returned is called.
func (p *play) holdsUp(table string) (release func()) {
	p.t.Helper()
	lock, err := pgconn.Connect(p.t.Context(), p.pg.DSN(p.database))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = lock.Close(context.Background()) })
	mustExec(p.t, lock, "BEGIN; LOCK TABLE "+table)
	return func() { disconnect(p.t, lock) }
}

// await waits until PostgreSQL or the pooler has got what clients have sent.
func (p *play) await(busy, waiting int) {
	p.t.Helper()
	until(p.t, "PostgreSQL and the pool have the clients' statements", func() bool {
		rows, err := p.pg.Exec(p.t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '"+p.database+"'")
		if err != nil {
			p.t.Fatal(err)
		}
		return rows[0][0] == fmt.Sprint(busy) && sum(p.t, p.show("SHOW POOLS WHERE database = '"+p.database+"'"), "cl_waiting") == float64(waiting)
	})
}

// Three programs on two addresses do what a script says: what is recorded of them is the truth at each sample.
func TestHistoryIsTheTruthAtEachSample(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"autovacuum": "off", "log_statement": "all", "log_connections": "on", "log_line_prefix": "%m [%p] db=%d ",
	}})
	const servers = 6
	p := &play{
		scene:  openScene(t, pg, fmt.Sprintf("loops = 2\ndefault_pool_size = %d\n[users.single]\nmax_user_client_connections = 1", servers)),
		actors: map[source][]*actor{}, done: map[source]*deeds{},
	}
	if _, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE single LOGIN"); err != nil {
		t.Fatal(err)
	}
	p.warm(servers)
	alpha1, beta1 := source{"127.0.0.1", "alpha"}, source{"127.0.0.1", "beta"}
	beta2, gamma2 := source{"127.0.0.2", "beta"}, source{"127.0.0.2", "gamma"}

	p.enter(alpha1, 5)
	p.enter(beta1, 3)
	p.enter(beta2, 4)
	p.enter(gamma2, 2)
	p.actors[alpha1][0].do("CREATE TABLE held (a int)")
	p.actors[gamma2][0].do("SELECT 1")
	p.stays("all have connected", map[source]standing{
		alpha1: {connected: 5, idle: 5}, beta1: {connected: 3, idle: 3}, beta2: {connected: 4, idle: 4}, gamma2: {connected: 2, idle: 2},
	})

	release := p.holdsUp("held")
	for _, a := range p.actors[alpha1][:2] {
		a.begin("SELECT * FROM held")
	}
	p.actors[gamma2][1].do("BEGIN")
	p.actors[beta1][0].pinned = true
	p.actors[beta1][0].do("LISTEN news")
	p.await(2, 0)
	p.stays("some work", map[source]standing{
		alpha1: {connected: 5, active: 2, idle: 3}, beta1: {connected: 3, idle: 3, pinned: 1},
		beta2: {connected: 4, idle: 4}, gamma2: {connected: 2, idle: 1, inTransaction: 1},
	})

	waiters := slices.Concat(p.actors[alpha1][2:4], p.actors[beta1][2:3])
	for _, a := range p.actors[beta2][:2] {
		a.begin("SELECT * FROM held")
	}
	p.await(4, 0)
	for _, a := range waiters {
		a.begin("SELECT 2")
	}
	p.await(4, 3)
	p.stays("some wait", map[source]standing{
		alpha1: {connected: 5, active: 2, idle: 1, waiting: 2}, beta1: {connected: 3, idle: 2, waiting: 1, pinned: 1},
		beta2: {connected: 4, active: 2, idle: 2}, gamma2: {connected: 2, idle: 1, inTransaction: 1},
	})

	release()
	for _, a := range slices.Concat(p.actors[alpha1][:2], p.actors[beta2][:2], waiters) {
		a.finish()
	}
	p.actors[beta1][0].do("BEGIN")
	p.exit(alpha1, 3)
	p.exit(beta2, 4)
	single := p.client(gamma2, asUser("single"))
	p.refuse(gamma2, "53300", asUser("single"))
	p.refuse(gamma2, "3D000", toDatabase("nowhere"))
	disconnect(t, single)
	p.stays("some have left, some are refused", map[source]standing{
		alpha1: {connected: 2, idle: 2}, beta1: {connected: 3, idle: 2, inTransaction: 1, pinned: 1}, gamma2: {connected: 2, idle: 1, inTransaction: 1},
	})

	p.actors[gamma2][1].do("COMMIT")
	p.exit(alpha1, 2)
	p.exit(beta1, 3)
	p.exit(gamma2, 2)
	p.stays("all have left", nil)

	told := p.seriesJSON("sources", "1")
	for _, who := range []source{alpha1, beta1, beta2, gamma2} {
		p.hasDone(told, p.keyOf(who), *p.of(who))
	}
	p.hasDone(told, keyOf("127.0.0.2", "gamma", "single", p.database), deeds{connects: 1, disconnects: 1, refused: 1})
	p.hasDone(told, keyOf("127.0.0.2", "gamma", "postgres", "nowhere"), deeds{refused: 1})
}

// hasDone asserts what the counts of a series come to in history, and that SHOW SOURCES tells the same.
func (p *play) hasDone(told history, key string, want deeds) {
	p.t.Helper()
	parts := strings.Split(key, "|")
	now := p.show(fmt.Sprintf("SHOW SOURCES WHERE addr = '%s' AND application = '%s' AND \"user\" = '%s' AND database = '%s'", parts[0], parts[1], parts[2], parts[3]))
	columns := map[string]string{"connects": "logins"}
	for field, n := range want.fields() {
		column := field
		if name, differs := columns[field]; differs {
			column = name
		}
		if got, shown := told.total(key, field), sum(p.t, now, column); got != n || shown != n {
			p.t.Errorf("%s of %s come to %v, SHOW SOURCES has %v; want %v", field, key, got, shown, n)
		}
	}
	if got, shown := told.total(key, "server_seconds"), sum(p.t, now, "server_seconds"); math.Abs(got-shown) > 0.01 || (got > 0) != (want.queries > 0) {
		p.t.Errorf("%s has held server sessions for %v s, SHOW SOURCES has %v", key, got, shown)
	}
}
