package frontend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

// roles makes login roles of these names for the test.
func roles(t *testing.T, db string, names ...string) {
	t.Helper()
	pg := postgres.Server(t)
	for _, name := range names {
		if _, err := pg.Exec(t.Context(), db, "CREATE ROLE "+name+" LOGIN"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = pg.Exec(context.Background(), db, "DROP ROLE "+name) })
	}
}

// throng is clients of one user that run a statement again and again until stop, and how long each run took.
type throng struct {
	mu    sync.Mutex
	took  []time.Duration
	fault string
}

func (c *throng) run(t *testing.T, p *testPooler, db, user string, clients int, sql string, stop *atomic.Bool, done *sync.WaitGroup) {
	t.Helper()
	for range clients {
		raw := newRaw(t, p, db, "user", user)
		done.Go(func() {
			for !stop.Load() {
				begun := time.Now()
				a := raw.query(sql)
				c.mu.Lock()
				c.took = append(c.took, time.Since(begun))
				if a.Errors > 0 {
					c.fault = a.Message
				}
				c.mu.Unlock()
			}
		})
	}
}

func (c *throng) percentile(n int) time.Duration {
	slices.Sort(c.took)
	return c.took[len(c.took)*n/100]
}

// sampled calls look every few milliseconds until stop.
func sampled(done *sync.WaitGroup, stop *atomic.Bool, look func()) {
	done.Go(func() {
		for !stop.Load() {
			look()
			<-time.After(3 * time.Millisecond)
		}
	})
}

// One user with many clients and one with two share a limit: the two wait no longer than a round of the queue, which
// is what their share alone would give them, and the limit holds at every sample.
func TestTwoClientsBesideManyUnderOneLimit(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	for name, limit := range map[string]string{
		"database": "max_db_connections = 4", "all": "max_server_connections = 4",
	} {
		t.Run(name, func(t *testing.T) {
			many, few := "fair_many_"+name, "fair_few_"+name
			roles(t, db, many, few)
			p := startPooler(t, limit)
			var stop atomic.Bool
			var done sync.WaitGroup
			var throngs [2]throng
			most := 0
			sampled(&done, &stop, func() {
				n := 0
				for _, s := range p.Pools.Stats() {
					n += s.Idle + s.Active + s.Reclaiming + s.Opening + s.Closing
				}
				most = max(most, n)
			})
			throngs[0].run(t, p, db, many, 100, "SELECT pg_sleep(0.005)", &stop, &done)
			<-time.After(300 * time.Millisecond)
			throngs[1].run(t, p, db, few, 2, "SELECT pg_sleep(0.005)", &stop, &done)
			<-time.After(1500 * time.Millisecond)
			stop.Store(true)
			done.Wait()
			for i := range throngs {
				if throngs[i].fault != "" || len(throngs[i].took) == 0 {
					t.Fatalf("throng %d: %d statements, %s", i, len(throngs[i].took), throngs[i].fault)
				}
			}
			t.Logf("limit of %s: 100 clients p50 %s p99 %s of %d; 2 clients p50 %s p99 %s of %d; at most %d server sessions", name,
				throngs[0].percentile(50), throngs[0].percentile(99), len(throngs[0].took),
				throngs[1].percentile(50), throngs[1].percentile(99), len(throngs[1].took), most)
			if most > 4 {
				t.Errorf("%d server sessions at once, want at most 4", most)
			}
			if throngs[1].percentile(90) > throngs[0].percentile(50) {
				t.Errorf("the two wait %s, a round of the queue is %s", throngs[1].percentile(90), throngs[0].percentile(50))
			}
		})
	}
}

// More users than server sessions: they take turns, nobody starves.
func TestUsersTakeTurnsWhenTheLimitIsSmallerThanTheirNumber(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	users := []string{"turn_a", "turn_b", "turn_c", "turn_d"}
	roles(t, db, users...)
	p := startPooler(t, "max_server_connections = 2")
	var stop atomic.Bool
	var done sync.WaitGroup
	throngs := make([]throng, len(users))
	for i, user := range users {
		go throngs[i].run(t, p, db, user, 5, "SELECT 1", &stop, &done)
	}
	<-time.After(3 * time.Second)
	stop.Store(true)
	done.Wait()
	for i := range throngs {
		if throngs[i].fault != "" || len(throngs[i].took) == 0 {
			t.Errorf("%s: %d statements, %s", users[i], len(throngs[i].took), throngs[i].fault)
		}
	}
}

// An idle server session of one pool is given up for a client of another that waits.
func TestAnIdleServerSessionIsGivenUpForAnotherPool(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	roles(t, db, "idle_a", "idle_b")
	p := startPooler(t, "max_server_connections = 1")
	a, b := newRaw(t, p, db, "user", "idle_a"), newRaw(t, p, db, "user", "idle_b")
	for range 3 {
		for _, c := range []*rawClient{a, b} {
			if got := c.query("SELECT 1").only(); got != "1" {
				t.Fatal(got)
			}
		}
	}
	if n := retired(p, "ceded"); n < 4 {
		t.Errorf("%d server sessions were given up", n)
	}
}

// PostgreSQL's own limit: nobody sees its FATAL, an idle session of another pool makes room.
func TestAFullPostgreSQLIsNotTheClientsProblem(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{MaxConnections: 8})
	db := pg.CreateDatabase(t)
	var users []string
	for i := range 8 {
		users = append(users, fmt.Sprintf("full_%d", i))
		if _, err := pg.Exec(t.Context(), db, fmt.Sprintf("CREATE ROLE full_%d LOGIN", i)); err != nil {
			t.Fatal(err)
		}
	}
	p := startPooler(t, fmt.Sprintf("[databases.\"*\"]\nhost = %q\nport = %d", pg.Host, pg.Port))
	var clients []*rawClient
	for _, user := range users {
		clients = append(clients, newRaw(t, p, db, "user", user))
	}
	for range 3 {
		for i, c := range clients {
			if got := c.query("SELECT current_user").only(); got != users[i] {
				t.Errorf("%s got %q", users[i], got)
			}
		}
	}
}

func retired(p *testPooler, reason string) uint64 {
	var n uint64
	for _, s := range p.Pools.Stats() {
		for r, count := range s.Retired {
			if r.String() == reason {
				n += count
			}
		}
	}
	return n
}

// max_use_session and server_lifetime replace server sessions between uses only.
func TestServerSessionsAreReplacedAfterSoManyUses(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "max_use_session = 3")
	c := newRaw(t, p, db)
	pids := map[string]int{}
	for range 9 {
		pids[pidOf(t, c)]++
	}
	c.query("BEGIN")
	in := map[string]int{}
	for range 9 {
		in[pidOf(t, c)]++
	}
	c.query("COMMIT")
	if len(pids) != 3 || len(in) != 1 {
		t.Errorf("uses by server session: %v; inside one transaction: %v", pids, in)
	}
}

// The reserve serves those who have waited too long, and is closed when nobody waits any more.
func TestTheReserveServesThoseWhoHaveWaited(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "default_pool_size = 1\nreserve_pool_size = 1\nreserve_pool_timeout = \"300ms\"")
	holder, waiter := newRaw(t, p, db), newRaw(t, p, db)
	holder.query("BEGIN; SELECT 1")
	if got := waiter.query("SELECT 1").only(); got != "1" {
		t.Fatal(got)
	}
	if s := onlyPool(t, p); s.HistoricMax != 2 || s.LongestWait > time.Second {
		t.Errorf("%+v", s)
	}
	holder.query("COMMIT")
	eventually(t, patience, "the reserve is closed", func() bool { s := onlyPool(t, p); return s.Idle == 1 && s.Closing == 0 })
}

// A limit that has become narrower holds for what there is already: idle sessions go at once, others as they become
// free, and nobody is disturbed.
func TestANarrowerLimitIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	roles(t, db, "narrow_a", "narrow_b")
	p := startPooler(t, "max_server_connections = 8")
	var clients []*rawClient
	for i := range 8 {
		c := newRaw(t, p, db, "user", []string{"narrow_a", "narrow_b"}[i%2])
		if a := c.query("BEGIN; SELECT 1"); a.Errors > 0 {
			t.Fatal(a.Message)
		}
		clients = append(clients, c)
	}
	open := func() (n int) {
		for _, s := range p.Pools.Stats() {
			n += s.Active + s.Idle + s.Opening
		}
		return n
	}
	for _, c := range clients[:4] {
		c.query("COMMIT")
	}
	p.reload(t, "max_server_connections = 3")
	eventually(t, patience, "idle sessions are closed", func() bool { return open() == 4 })
	for _, c := range clients[4:6] {
		if a := c.query("COMMIT"); a.Errors > 0 {
			t.Error(a.Message)
		}
	}
	defer func() { t.Logf("%+v", p.Pools.Stats()) }()
	eventually(t, patience, "those that become free are closed down to the limit", func() bool { return open() == 3 })
	for _, c := range clients[6:] {
		if got := c.query("SELECT 2").only(); got != "2" {
			t.Error(got)
		}
	}
}
