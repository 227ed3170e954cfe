package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
)

// The experiments of a report about a database with far too many connections (drcp.md, 1.2), each with its curve.

// curve is a field of all series together, by second.
func curve(h history, field string) (points []float64) {
	seconds := h.since(time.Time{})
	slices.Sort(seconds)
	for _, second := range seconds {
		n := 0.0
		for _, values := range h[second] {
			n += values[field]
		}
		points = append(points, n)
	}
	return points
}

// one is a statement's only value.
func one(t *testing.T, c *pgconn.PgConn, sql string) string {
	t.Helper()
	results, err := c.Exec(t.Context(), sql).ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		t.Fatalf("%s: %v, %v", sql, results, err)
	}
	return string(results[0].Rows[0][0])
}

// The report's first: open, execute and close fifty times.
func TestReportOpenExecuteClose(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "loops = 1\ndefault_pool_size = 10")
	who, pool := source{"127.0.0.1", "test 1"}, keyOf(s.database, "postgres")
	backends := map[string]bool{}
	const times = 50
	for range times {
		c := s.client(who)
		backends[one(t, c, "SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")] = true
		disconnect(t, c)
	}
	if len(backends) != 1 {
		t.Errorf("%d server sessions have served them: %v", len(backends), backends)
	}
	told, _ := s.samples(1)
	key := s.keyOf(who)
	for field, want := range map[string]float64{"connects": times, "disconnects": times, "queries": times, "reuses": times - 1, "refused": 0} {
		if got := told.total(key, field); got != want {
			t.Errorf("%s: %v, want %v", field, got, want)
		}
	}
	if connected, active := told.highest("connected"), told.highest("active"); connected > 1 || active > 1 {
		t.Errorf("%v clients at once, %v of them active", connected, active)
	}
	pools := s.seriesJSON("pools", "1")
	for field, want := range map[string]float64{"requests": times, "hits": times - 1, "misses": 1, "opened": 1, "retired": 0} {
		if got := pools.total(pool, field); got != want {
			t.Errorf("%s of the pool: %v, want %v", field, got, want)
		}
	}
	if open := pools.highest("open"); open != 1 {
		t.Errorf("%v server sessions at once", open)
	}
	t.Logf("connected %v, active %v, server sessions %v", curve(told, "connected"), curve(told, "active"), curve(pools, "open"))
}

// leaker is a client that is never closed.
type leaker struct {
	conn  *pgconn.PgConn
	began time.Time // its last statement
	ended time.Duration
	err   error
}

// leak has ten clients run a statement, and forgets them. each: whose is the n-th.
func (s *scene) leak(application string, each func(n int) string) (list []*leaker) {
	s.t.Helper()
	for n := range 10 {
		l := &leaker{conn: s.client(source{"127.0.0.1", application}), began: time.Now()}
		mustExec(s.t, l.conn, each(n))
		list = append(list, l)
	}
	return list
}

// The report's second: open and execute, and never close.
func TestReportNeverClose(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "default_pool_size = 20\nleak_idle_in_transaction = \"200ms\"")
	rows := s.client(source{"127.0.0.1", "owner"})
	mustExec(t, rows, "CREATE TABLE rows AS SELECT n, 0 AS value FROM generate_series(0, 9) n")

	s.leak("autocommit", func(int) string { return "SELECT 1" })
	s.samples(2)
	pools := s.seriesJSON("pools", "1")
	if open := pools.highest("open"); open != 1 {
		t.Errorf("ten clients that are idle hold %v server sessions", open)
	}

	leakers := s.leak("transactions", func(n int) string { return fmt.Sprintf("BEGIN; UPDATE rows SET value = 1 WHERE n = %d", n) })
	until(t, "all are reported", func() bool { return len(s.show("SHOW LEAKS WHERE kind = 'idle_in_transaction'")) == len(leakers) })
	if got := s.getView("leaks", url.Values{"where": {"application = 'transactions' AND kind = 'idle_in_transaction'"}}); len(got) != len(leakers) {
		t.Errorf("the API lists %d leaks", len(got))
	}
	told, seconds := s.samples(1)
	if got := told[slices.Max(seconds)][s.keyOf(source{"127.0.0.1", "transactions"})]; got["leaked"] != 10 || got["idle_in_transaction"] != 10 {
		t.Errorf("the sample is %v", got)
	}
	if busy := s.seriesJSON("pools", "1").highest("busy"); busy != float64(len(leakers)) {
		t.Errorf("ten transactions hold %v server sessions", busy)
	}

	limit := (time.Since(leakers[0].began) + 2*time.Second).Round(time.Second) // nobody is over it yet
	var ended sync.WaitGroup
	for _, l := range leakers {
		ended.Go(func() {
			l.err = l.conn.WaitForNotification(t.Context())
			l.ended = time.Since(l.began)
		})
	}
	mustExec(t, s.operator, fmt.Sprintf("SET max_txn_think_time = '%s'", limit))
	ended.Wait()
	var latest time.Duration
	for _, l := range leakers {
		var told *pgconn.PgError
		if !errors.As(l.err, &told) || told.Code != "25P03" {
			t.Errorf("a client was told %v", l.err)
		}
		if l.ended < limit {
			t.Errorf("a transaction was ended after %s, the limit is %s", l.ended, limit)
		}
		latest = max(latest, l.ended-limit)
	}
	until(t, "the rows can be locked", func() bool {
		_, err := rows.Exec(t.Context(), "SELECT * FROM rows FOR UPDATE NOWAIT").ReadAll()
		return err == nil
	})
	if got := one(t, rows, "SELECT sum(value) FROM rows"); got != "0" {
		t.Errorf("%s updates were not rolled back", got)
	}
	until(t, "the log tells of all", func() bool { return strings.Count(s.log.String(), "reason=idle_transaction_timeout") == len(leakers) })
	const events = "kind = 'timed_out' AND application = 'transactions'"
	if list := s.show("SHOW EVENTS WHERE " + events); sum(t, list, "count") != 10 || list[0]["reason"] != "idle_transaction_timeout" {
		t.Errorf("the events are %.400v", list)
	}
	if n := sum(t, s.getView("events", url.Values{"where": {events}}), "count"); n != 10 {
		t.Errorf("the API tells of %v events", n)
	}
	t.Logf("limit %s, ended at most %s after it; server sessions %v", limit, latest, curve(s.seriesJSON("pools", "1"), "open"))
}

// users is clients that all do the same: a short statement, then nothing for a while.
type users struct {
	t     *testing.T
	conns []*pgconn.PgConn
	stop  chan struct{}
	all   sync.WaitGroup

	mu   sync.Mutex
	busy int // await an answer
	peak int // most that did so at the same time
}

func (s *scene) use(n int, application, database string, think time.Duration) *users {
	s.t.Helper()
	u := &users{t: s.t, stop: make(chan struct{})}
	for range n {
		u.conns = append(u.conns, s.client(source{"127.0.0.1", application}, toDatabase(database)))
	}
	for i, c := range u.conns {
		u.all.Go(func() {
			pause := time.NewTimer(think * time.Duration(i) / time.Duration(n)) // not all at once
			defer pause.Stop()
			for {
				select {
				case <-u.stop:
					return
				case <-pause.C:
					u.one(c)
					pause.Reset(think)
				}
			}
		})
	}
	return u
}

func (u *users) one(c *pgconn.PgConn) {
	u.mu.Lock()
	u.busy++
	u.peak = max(u.peak, u.busy)
	u.mu.Unlock()
	if _, err := c.Exec(context.Background(), "SELECT pg_sleep(0.001)").ReadAll(); err != nil {
		u.t.Error(err)
	}
	u.mu.Lock()
	u.busy--
	u.mu.Unlock()
}

// leave has all of them finish what they do, and go.
func (u *users) leave() {
	u.t.Helper()
	close(u.stop)
	u.all.Wait()
	for _, c := range u.conns {
		disconnect(u.t, c)
	}
}

// The report's third: twenty users, then fifty, then four. Connections follow them, server sessions follow those of them
// that PostgreSQL works for.
func TestReportConcurrency(t *testing.T) {
	pg := pgtest.Start(t)
	s := openScene(t, pg, "default_pool_size = 50")
	var connected []float64
	for _, n := range []int{20, 50, 4} {
		database := pg.CreateDatabase(t) // a pool in which nothing is left of those before
		u := s.use(n, fmt.Sprint(n, " users"), database, 500*time.Millisecond)
		told, seconds := s.samples(2)
		u.leave()
		key := keyOf("127.0.0.1", fmt.Sprint(n, " users"), "postgres", database)
		peak := float64(u.peak) // nobody is left who could change it
		for _, second := range seconds {
			if now := told[second][key]; now["connected"] != float64(n) || now["active"] > peak {
				t.Errorf("%d users, of whom %v at most were busy at once, show as %v", n, peak, now)
			}
			connected = append(connected, told[second][key]["connected"])
		}
		pools := s.seriesJSON("pools", "1")
		highest := 0.0
		for _, of := range pools {
			highest = max(highest, of[keyOf(database, "postgres")]["open"])
		}
		if highest > max(1, peak) || highest == 0 {
			t.Errorf("%d users, of whom %v at most were busy at once, had %v server sessions", n, peak, highest)
		}
		t.Logf("%d users: at most %v busy at once, %v server sessions", n, peak, highest)
	}
	told := s.seriesJSON("sources", "1")
	t.Logf("connected in plateaus %v, at all times %v; active %v", connected, curve(told, "connected"), curve(told, "active"))
}
