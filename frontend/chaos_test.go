package frontend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/config"
	"pooler/internal/pgtest"
)

// chaos is a random mixture of limits being changed, clients and server sessions dying, and load.
type chaos struct {
	t        *testing.T
	pg       *pgtest.Server
	p        *testPooler
	db       string
	stop     atomic.Bool
	limits   atomic.Pointer[chaosLimits]
	answered atomic.Int64
	refused  atomic.Int64 // by a limit, or because a server session was killed
	died     atomic.Int64
	killed   atomic.Int64
	changes  atomic.Int64
}

type chaosLimits struct{ pool, database, all, clients int }

const chaosUsers = 3

// Nothing of what follows depends on how fast the machine is. POOLER_CHAOS=10m plays longer than make test does.
func TestLimitsHoldAndNobodyIsStuckInAnyMixture(t *testing.T) {
	length := 6 * time.Second
	if s := os.Getenv("POOLER_CHAOS"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	c := &chaos{t: t, pg: pgtest.Start(t, pgtest.Options{MaxConnections: 60})}
	c.db = c.pg.CreateDatabase(t)
	c.exec("CREATE TABLE chaos (id int PRIMARY KEY, v int); INSERT INTO chaos SELECT g, 0 FROM generate_series(1, 50) g")
	for i := range chaosUsers {
		c.exec(fmt.Sprintf("CREATE ROLE chaos_%d LOGIN; GRANT ALL ON chaos TO chaos_%d", i, i))
	}
	c.p = startPooler(t, c.toml(chaosLimits{pool: 4, database: 10, all: 12, clients: 60}))
	c.limits.Store(&chaosLimits{pool: 4, database: 10, all: 12, clients: 60})
	var done sync.WaitGroup
	for i := range 40 {
		done.Go(func() { c.client(i) })
	}
	done.Go(c.changeLimits)
	done.Go(c.killServers)
	done.Go(c.watch)
	<-time.After(length)
	c.stop.Store(true)
	finished := make(chan struct{})
	go func() { done.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(60 * time.Second):
		t.Fatalf("somebody is stuck: %+v", c.p.Pools.Stats())
	}
	t.Logf("%d statements answered, %d refused, %d clients died, %d server sessions killed, %d changes of limits",
		c.answered.Load(), c.refused.Load(), c.died.Load(), c.killed.Load(), c.changes.Load())
	if c.answered.Load() == 0 {
		t.Error("nothing was answered")
	}
	c.nothingIsLeft()
}

func (c *chaos) exec(sql string) [][]string {
	rows, err := c.pg.Exec(context.Background(), c.db, sql)
	if err != nil && !c.stop.Load() {
		c.t.Errorf("%s: %v", sql, err)
	}
	return rows
}

// toml is a configuration with these limits; what is not a limit on numbers varies with chance.
func (c *chaos) toml(l chaosLimits) string {
	pick := func(s ...string) string { return s[rand.N(len(s))] }
	return fmt.Sprintf(`max_client_conn = %d
default_pool_size = %d
max_db_connections = %d
max_server_connections = %d
min_pool_size = %d
pool_increment = %d
max_use_session = %s
server_idle_timeout = %q
idle_transaction_timeout = %q
query_timeout = %q
query_wait_timeout = "10s"
reaper_client_threshold = %s
reserve_pool_size = 1
reserve_pool_timeout = "500ms"
[databases."*"]
host = %q
port = %d
`, l.clients, l.pool, l.database, l.all, rand.N(2), 1+rand.N(4), pick("0", "5", "100"), pick("1s", "10s"),
		pick("0", "1s", "10s"), pick("0", "5s"), pick("0", "25"), c.pg.Host, c.pg.Port)
}

func (c *chaos) changeLimits() {
	for !c.stop.Load() {
		<-time.After(time.Duration(50+rand.N(300)) * time.Millisecond)
		l := chaosLimits{pool: 1 + rand.N(5), database: 1 + rand.N(10), all: 2 + rand.N(12), clients: 20 + rand.N(60)}
		cfg, err := config.Parse("chaos.toml", []byte(testTOML(c.pg.Host, c.pg.Port, c.toml(l))))
		if err == nil {
			// A limit counts from when it is in force; one that is raised may be used at once.
			old := *c.limits.Load()
			c.limits.Store(&chaosLimits{max(old.pool, l.pool), max(old.database, l.database), max(old.all, l.all), max(old.clients, l.clients)})
			err = c.p.Front.Configure(cfg)
			c.limits.Store(&l)
		}
		if err != nil {
			c.t.Error(err)
			return
		}
		c.changes.Add(1)
	}
}

func (c *chaos) killServers() {
	for !c.stop.Load() {
		<-time.After(time.Duration(rand.N(400)) * time.Millisecond)
		rows := c.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE usename LIKE 'chaos%' ORDER BY random() LIMIT ` + fmt.Sprint(1+rand.N(3)))
		c.killed.Add(int64(len(rows)))
	}
}

// ceiling is how much there may be of something: its limit, or what there was when the limit was lowered, less what
// has gone since.
type ceiling struct{ was int }

func (h *ceiling) holds(used, limit int) bool {
	h.was = max(limit, min(h.was, used))
	return used <= h.was
}

// watch looks at every limit, at the pooler's own figures and at PostgreSQL's.
func (c *chaos) watch() {
	pools := map[string]*ceiling{}
	var server ceiling
	for !c.stop.Load() {
		before := c.limits.Load()
		stats := c.p.Pools.Stats()
		after := c.limits.Load()
		for _, s := range stats {
			n := s.Idle + s.Active + s.Reclaiming + s.Opening + s.Closing
			if pools[s.User] == nil {
				pools[s.User] = &ceiling{}
			}
			if !pools[s.User].holds(n, max(before.pool, after.pool)+1) { // and the reserve
				c.t.Errorf("pool of %s: %d server sessions, limits %+v and %+v: %+v", s.User, n, before, after, s)
			}
		}
		// PostgreSQL lists its sessions one after the other, so that one that ends meanwhile can count beside its heir.
		for look := 1; ; look++ {
			rows := c.exec("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'chaos%'")
			if len(rows) != 1 {
				return
			}
			var n int
			_, _ = fmt.Sscan(rows[0][0], &n)
			after = c.limits.Load()
			limit := max(min(before.all, before.database), min(after.all, after.database))
			if server.holds(n, limit) {
				break
			}
			if look == 3 {
				c.t.Errorf("PostgreSQL has %d sessions, limit %d", n, limit)
				break
			}
		}
		<-time.After(5 * time.Millisecond)
	}
}

// client is a program that connects, works, dies and connects again.
func (c *chaos) client(id int) {
	ctx := context.Background()
	user := fmt.Sprintf("chaos_%d", id%chaosUsers)
	for !c.stop.Load() {
		dsn := fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&pool_connection_class=c%d", user, c.p.Addr, c.db, rand.N(3))
		if rand.N(8) == 0 {
			dsn += "&pool_purity=new"
		}
		conn, err := pgconn.Connect(ctx, dsn)
		if err != nil {
			c.judge("connect", err)
			<-time.After(20 * time.Millisecond)
			continue
		}
		for !c.stop.Load() && !conn.IsClosed() && rand.N(30) > 0 {
			c.act(conn, id)
		}
		if rand.N(2) == 0 {
			_ = conn.Conn().Close() // without goodbye
			c.died.Add(1)
		} else {
			_ = conn.Close(ctx)
		}
	}
}

// act does one thing and checks the answer.
func (c *chaos) act(conn *pgconn.PgConn, id int) {
	ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
	defer cancel()
	ask := func(want, sql string) bool {
		results, err := conn.Exec(ctx, sql).ReadAll()
		if err != nil {
			c.judge(sql, err)
			return false
		}
		c.answered.Add(1)
		if last := results[len(results)-1]; want != "" && (len(last.Rows) != 1 || string(last.Rows[0][0]) != want) {
			c.t.Errorf("%s: got %q, want %s", sql, last.Rows, want)
		}
		return true
	}
	row := 1 + rand.N(50)
	switch rand.N(8) {
	case 0, 1:
		ask(fmt.Sprint(id), fmt.Sprintf("SELECT %d", id))
	case 2:
		ask("", fmt.Sprintf("UPDATE chaos SET v = v + 1 WHERE id = %d", row))
	case 3:
		if ask("", fmt.Sprintf("SET app.me = 'c%d'", id)) {
			ask(fmt.Sprintf("c%d", id), "SELECT current_setting('app.me')")
		}
	case 4:
		if ask("", "BEGIN") && ask("", fmt.Sprintf("UPDATE chaos SET v = v + 1 WHERE id = %d", row)) {
			<-time.After(time.Duration(rand.N(40)) * time.Millisecond)
			ask("", []string{"COMMIT", "ROLLBACK"}[rand.N(2)])
		}
	case 5:
		if ask("", "CREATE TEMP TABLE mine AS SELECT 1 AS a") {
			ask("1", "SELECT count(*) FROM mine")
			ask("", "DROP TABLE mine")
		}
	case 6:
		ask("", fmt.Sprintf("SELECT pg_sleep(%f)", rand.Float64()/50))
	case 7:
		<-time.After(time.Duration(rand.N(30)) * time.Millisecond)
	}
}

// judge accepts what a limit or a death explains.
func (c *chaos) judge(what string, err error) {
	c.refused.Add(1)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Errorf("%s: no answer: %v", what, err)
		}
		return // the connection ended
	}
	switch pgErr.Code {
	case "53300", "57P01", "57P05", "25P03", "08006", "57014", "25P02":
	case "42P07", "42P01": // a temporary table of before an error
	default:
		if !strings.Contains(pgErr.Message, "terminat") {
			c.t.Errorf("%s: %v", what, err)
		}
	}
}

// nothingIsLeft checks that all clients' traces are gone.
func (c *chaos) nothingIsLeft() {
	eventually(c.t, 30*time.Second, "all server sessions are free", func() bool {
		for _, s := range c.p.Pools.Stats() {
			if s.Active+s.Reclaiming+s.Waiting+s.Opening+s.Closing > 0 {
				return false
			}
		}
		return c.p.Front.Stat().Clients == 0
	})
	rows, err := c.pg.Exec(context.Background(), c.db, `SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_locks l USING (pid)
		WHERE usename LIKE 'chaos%' AND (a.state <> 'idle' OR l.pid IS NOT NULL)`)
	if err != nil || rows[0][0] != "0" {
		c.t.Errorf("left behind in PostgreSQL: %v (%v)", rows, err)
	}
}
