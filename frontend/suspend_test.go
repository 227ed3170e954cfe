package frontend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestSuspendLosesNothing(t *testing.T) {
	t.Parallel()
	p := startPooler(t, "loops = 2\ndefault_pool_size = 4")
	db := postgres.Server(t).CreateDatabase(t)
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	var done atomic.Int64
	for i := range 8 {
		conn, err := pgconn.Connect(t.Context(), p.dsn(db, ""))
		if err != nil {
			t.Fatal(err)
		}
		workers.Go(func() {
			defer func() { _ = conn.Close(context.Background()) }()
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("w%d_%d", i, n)
				if err := habits[(i+n)%len(habits)](context.Background(), conn, id); err != nil {
					t.Errorf("%s: %v", id, err)
					return
				}
				done.Add(1)
			}
		})
	}
	for range 5 {
		before := done.Load()
		eventually(t, patience, "work goes on", func() bool { return done.Load() > before+20 })
		if err := p.Front.Suspend(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(30 * time.Millisecond) // what ran comes to its end
		quiet := done.Load()
		<-time.After(30 * time.Millisecond)
		if now := done.Load(); now > quiet+8 {
			t.Errorf("%d pieces of work were done while suspended", now-quiet)
		}
		if !p.Front.Suspended() || !p.Front.Resume() || p.Front.Resume() {
			t.Error("it does not know whether it is suspended")
		}
	}
	stop()
	workers.Wait()
}

func TestWhoComesAndGoesWhileSuspended(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`, "loops = 2")
	db := postgres.Server(t).CreateDatabase(t)
	if _, err := postgres.Server(t).Exec(t.Context(), db, "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	leaves, stays, vanishes := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db)
	if err := p.Front.Suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Its last words are heard although it does not wait for an answer.
	leaves.send(&pgproto3.Query{String: "INSERT INTO t VALUES (1)"}, &pgproto3.Terminate{})
	vanishes.send(&pgproto3.Query{String: "SELECT 1"})
	_ = vanishes.nc.Close()
	stays.send(&pgproto3.Query{String: "SELECT 'stays'"})
	var comes []*rawClient
	for range 4 {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage(db), &pgproto3.Query{String: "SELECT 'comes'"})
		comes = append(comes, c)
	}
	if c, err := p.enter(t, p.Addr, "alice", "", "pooler"); err != nil || says(t, c, "x") == "" {
		t.Errorf("the console: %v", err)
	}
	<-time.After(2 * lookEvery)
	if rows, err := postgres.Server(t).Exec(t.Context(), db, "SELECT count(*) FROM t"); err != nil || rows[0][0] != "0" || p.Front.Stat().Logins != 4 {
		t.Errorf("while suspended: %v, %v, %d logins", rows, err, p.Front.Stat().Logins)
	}
	p.Front.Resume()
	if got := stays.answer().only(); got != "stays" {
		t.Errorf("one that stays: %s", got)
	}
	for _, c := range comes {
		if a := c.answer(); a.Status != 'I' {
			t.Errorf("login: %+v", a)
		}
		if got := c.answer().only(); got != "comes" {
			t.Errorf("one that comes: %s", got)
		}
	}
	eventually(t, patience, "its last words are carried out", func() bool {
		rows, err := postgres.Server(t).Exec(t.Context(), db, "SELECT count(*) FROM t")
		return err == nil && rows[0][0] == "1"
	})
	eventually(t, patience, "it has gone, as has the other", func() bool { return p.Front.Stat().Clients == 5 })
}

func TestSuspendGivesUpOnWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	p := startPooler(t)
	db := postgres.Server(t).CreateDatabase(t)
	deaf, other := newRaw(t, p, db), newRaw(t, p, db)
	deaf.send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"})
	eventually(t, patience, "much is queued for it", func() bool { return len(gather(p.Front, (*crew).unwritten)) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Front.Suspend(ctx); err == nil || p.Front.Suspended() {
		t.Errorf("it is suspended: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := p.Front.Suspend(ctx); !errors.Is(err, context.Canceled) || p.Front.Suspended() {
		t.Errorf("it is suspended: %v", err)
	}
	other.ask("SELECT 'goes on'", "goes on")
}

func TestWhoComesWhileSuspendedDoesNotTimeOut(t *testing.T) {
	t.Parallel()
	p := startPooler(t, "loops = 2\nclient_login_timeout = \"200ms\"")
	db := postgres.Server(t).CreateDatabase(t)
	if err := p.Front.Suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, silent := dialRaw(t, p.Addr), dialRaw(t, p.Addr)
	c.send(startupMessage(db), &pgproto3.Query{String: "SELECT 'comes'"})
	if e := silent.ending(); e.Code != "08006" { // so that the timeout has passed, and been looked at
		t.Errorf("one that says nothing was told %+v", e)
	}
	<-time.After(300 * time.Millisecond)
	p.Front.Resume()
	if a := c.answer(); a.Status != 'I' {
		t.Errorf("login: %+v", a)
	}
	if got := c.answer().only(); got != "comes" {
		t.Errorf("its answer: %s", got)
	}
}

func TestASuspendLeavesThatOfAnotherAlone(t *testing.T) {
	t.Parallel()
	p := startPooler(t)
	db := postgres.Server(t).CreateDatabase(t)
	deaf := newRaw(t, p, db)
	deaf.send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"})
	eventually(t, patience, "much is queued for it", func() bool { return len(gather(p.Front, (*crew).unwritten)) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- p.Front.Suspend(ctx) }()
	eventually(t, patience, "it is suspended", p.Front.Suspended)
	if err := p.Front.Suspend(t.Context()); !errors.Is(err, ErrSuspended) {
		t.Errorf("a second SUSPEND: %v", err)
	}
	if !p.Front.Resume() {
		t.Error("it was not suspended")
	}
	other, cancelOther := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- p.Front.Suspend(other) }()
	if err := <-first; !errors.Is(err, ErrResumed) {
		t.Errorf("one that was resumed says %v", err)
	}
	cancel()
	eventually(t, patience, "it is suspended again", p.Front.Suspended)
	if p.Front.endSuspension(1) || !p.Front.Suspended() {
		t.Error("the first ends the second")
	}
	cancelOther()
	if err := <-second; !errors.Is(err, context.Canceled) || p.Front.Suspended() {
		t.Errorf("cancelled: %v", err)
	}
}

// However SUSPEND and RESUME overtake each other, the crews do in the end what the flag says.
func TestSuspendAndResumeAtTheSameTime(t *testing.T) {
	t.Parallel()
	p := startPooler(t, "loops = 4")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				_ = p.Front.Suspend(t.Context())
			}
		})
		all.Go(func() {
			for range 200 {
				p.Front.Resume()
			}
		})
	}
	all.Wait()
	want := p.Front.Suspended()
	for _, is := range gather(p.Front, func(c *crew) []bool { return []bool{c.suspended} }) {
		if is != want {
			t.Errorf("a crew is suspended: %v, want %v", is, want)
		}
	}
}
