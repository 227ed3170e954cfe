package frontend

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
)

// The tests of this file bear the numbers of the acceptance tests of DRCP's document.

// backends is how many sessions PostgreSQL itself counts in a database.
func backends(t *testing.T, pg *pgtest.Server, where string) int {
	t.Helper()
	got, err := pg.Exec(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND "+where)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(got[0][0])
	return n
}

// 500 clients that have been forgotten take nothing from PostgreSQL, which takes 20 connections.
func TestA1AbandonedClientsTakeNoServerSession(t *testing.T) {
	t.Parallel()
	const clients, size = 500, 10
	pg := pgtest.Start(t, pgtest.Options{MaxConnections: 20})
	p := startPooler(t, fmt.Sprintf("default_pool_size = %d\n[databases.\"*\"]\nhost = %q\nport = %d", size, pg.Host, pg.Port))
	for n := range clients {
		if got := newRaw(t, p, "postgres").query(fmt.Sprintf("SELECT %d", n)).only(); got != fmt.Sprint(n) {
			t.Fatalf("client %d: %s", n, got)
		}
	}
	waits := onlyPool(t, p).Waits
	if got := newRaw(t, p, "postgres").query("SELECT 'served'").only(); got != "served" {
		t.Errorf("one more: %s", got)
	}
	if st := onlyPool(t, p); st.Waits != waits {
		t.Errorf("one more had to wait: %+v", st)
	}
	if n := backends(t, pg, "true"); n > size {
		t.Errorf("PostgreSQL has %d sessions", n)
	}
}

// Server sessions follow what runs, not who is connected.
func TestB5ServerSessionsFollowWhatRuns(t *testing.T) {
	t.Parallel()
	const think, rounds = time.Second, 3
	p := startPooler(t, "default_pool_size = 20")
	db := postgres.Server(t).CreateDatabase(t)
	work := func(clients int) (most int) { // that wanted an answer at the same time: on a busy machine those are more
		var all sync.WaitGroup
		var mu sync.Mutex
		asking := 0
		ask := func(by int) {
			mu.Lock()
			defer mu.Unlock()
			asking += by
			most = max(most, asking)
		}
		begun := time.Now()
		for i := range clients {
			c := newRaw(t, p, db)
			all.Go(func() {
				for n := range rounds {
					<-time.After(time.Until(begun.Add(time.Duration(n)*think + time.Duration(i+1)*think/time.Duration(clients))))
					ask(1)
					if a := c.query("SELECT pg_sleep(0.005)"); a.Errors > 0 || len(a.Rows) != 1 {
						t.Errorf("client %d: %+v", i, a)
					}
					ask(-1)
				}
				_ = c.nc.Close()
			})
		}
		all.Wait()
		return most
	}
	most := work(50)
	first := onlyPool(t, p)
	if first.HistoricMax > max(3, most) {
		t.Errorf("50 clients, %d at the same time: %+v", most, first)
	}
	most = work(4)
	if st := onlyPool(t, p); most <= first.HistoricMax && st.Opened != first.Opened || inUse(st) > max(2, inUse(first), most) {
		t.Errorf("4 clients, %d at the same time: %+v, before them %+v", most, st, first)
	}
}

// 40 programs that each keep a connection to each of four databases cost PostgreSQL the pools' minimum.
func TestC6IdleClientsOfManyDatabases(t *testing.T) {
	t.Parallel()
	const programs, databases = 40, 4
	pg := postgres.Server(t)
	for _, least := range []int{0, 1} {
		t.Run(fmt.Sprintf("min_pool_size = %d", least), func(t *testing.T) {
			t.Parallel()
			p := startPooler(t, fmt.Sprintf("min_pool_size = %d\nserver_idle_timeout = \"300ms\"", least))
			where := "datname IN ("
			for n := range databases {
				db := pg.CreateDatabase(t)
				for range programs {
					newRaw(t, p, db)
				}
				if n > 0 {
					where += ", "
				}
				where += "'" + db + "'"
			}
			eventually(t, patience, "the pools are at their minimum", func() bool { return backends(t, pg, where+")") == databases*least })
			if n := p.Front.Stat().Clients; n != programs*databases {
				t.Errorf("%d clients are connected", n)
			}
		})
	}
}

// B2: clients that come, ask once and go, one after the other, do not make server sessions come and go.
func TestB2ClientChurnIsNotServerChurn(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t)
	begun := map[string]int{}
	for range 50 {
		c := newRaw(t, p, db)
		begun[c.query("SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").only()]++
		c.send(&pgproto3.Terminate{})
		_ = c.nc.Close()
		eventually(t, patience, "the client has gone", func() bool { return p.Front.Stat().Clients == 0 })
	}
	if s := onlyPool(t, p); len(begun) != 1 || s.Requests != 50 || s.Hits != 49 {
		t.Errorf("%d server sessions served %d requests, %d of them hits; want 1, 50, 49", len(begun), s.Requests, s.Hits)
	}
}
