package pool

import (
	"context"
	"errors"
	"testing"
	"time"

	"pooler/backend"
	"pooler/internal/loop"
	"pooler/internal/pgtest"
)

func TestServersAreThoseOfPostgreSQL(t *testing.T) {
	pg := postgres.Server(t)
	db, other := pg.CreateDatabase(t), pg.CreateDatabase(t)
	g := newRig(t, pg, 2)
	var clients []*client
	var leases []*Lease
	for i, name := range []string{db, db, db, other} {
		c := g.client(g.config(name, 3), i%2)
		clients, leases = append(clients, c), append(leases, c.lease())
	}
	clients[1].release(leases[1])
	g.eventually("three are lent, one is idle", func() bool { n := g.states(); return n[ServerActive] == 3 && n[ServerIdle] == 1 })
	infos := g.Servers()
	if here, there := g.backends(db), g.backends(other); len(infos) != here+there {
		t.Errorf("%d server sessions; PostgreSQL has %d and %d", len(infos), here, there)
	}
	for i, s := range infos {
		if i > 0 && s.Database < infos[i-1].Database {
			t.Error("they are not in order")
		}
		l := leases[0]
		for _, other := range leases {
			if other.Conn.ID == s.ID {
				l = other
			}
		}
		switch {
		case s.PID != l.Conn.PID || s.User != pgtest.Superuser || s.ServerUser != pgtest.Superuser || s.DBName != s.Database:
			t.Errorf("wrong: %+v", s)
		case s.Addr != backend.AddressOf(pg.Host, pg.Port) || int(s.Remote.Port()) != pg.Port || s.Remote.Addr().String() != pg.Host || !s.Local.IsValid():
			t.Errorf("wrong addresses: %+v", s)
		case s.State == ServerActive && (s.Borrower == nil || s.Borrower != l.holder.Borrower), s.State == ServerIdle && s.Borrower != nil:
			t.Errorf("wrong borrower: %+v", s)
		case s.CloseNeeded || s.Uses != 1 || s.InState > patient || time.Since(s.Created) > patient:
			t.Errorf("wrong: %+v", s)
		}
	}
	for _, st := range g.Stats() {
		want := map[string]Stat{db: {Active: 2, Idle: 1, Sessions: 3, HistoricMax: 3}, other: {Active: 1, Sessions: 1, HistoricMax: 1}}[st.Database]
		if st.Active != want.Active || st.Idle != want.Idle || st.Sessions != want.Sessions || st.HistoricMax != want.HistoricMax || time.Since(st.HistoricAt) > patient {
			t.Errorf("%+v", st)
		}
	}
	g.Reconnect(db)
	needed := 0
	for _, s := range g.Servers() {
		if s.CloseNeeded && s.State == ServerActive {
			needed++
		}
	}
	if needed != 2 {
		t.Errorf("%d that are lent are to be closed, want 2", needed)
	}
	for i, c := range clients {
		if i != 1 {
			c.release(leases[i])
		}
	}
}

func TestAConnOnAUnixSocketHasNoTCPAddresses(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 1)
	cfg := g.config(db, 1)
	cfg.Host = pg.SocketDir
	c := g.client(cfg, 0)
	l := c.lease()
	if s := g.Servers(); len(s) != 1 || s[0].Local.IsValid() || s[0].Remote.IsValid() || s[0].Addr.Network != "unix" {
		t.Errorf("%+v", s)
	}
	c.release(l)
}

// Inspect asks each loop about its own, while they move between loops, are opened and closed.
func TestInspectionUnderLoad(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 3)
	rest := g.client(g.config("postgres", 1), 1)
	held := rest.lease()
	served, stop := g.busy(g.config(db, 4), 12)
	for range 50 {
		g.progress(served, 10)
		homes, err := Inspect(t.Context(), g.Manager, func(c *backend.Conn) *loop.Loop { return c.Loop() })
		if err != nil {
			t.Fatal(err)
		}
		if len(homes) > 5 || homes[held.Conn.ID] != g.loops[1] {
			t.Errorf("%d answers; that of the one that rests is missing or wrong", len(homes))
		}
		g.Reconnect(db)
	}
	stop()
	rest.release(held)
}

func TestInspectionDoesNotWaitForALoopThatDoesNotAnswer(t *testing.T) {
	pg := postgres.Server(t)
	g := newRig(t, pg, 2)
	cfg := g.config("postgres", 2)
	one, two := g.client(cfg, 0), g.client(cfg, 1)
	first, second := one.lease(), two.lease()
	block := make(chan struct{})
	g.loops[1].Post(func() { <-block })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := Inspect(ctx, g.Manager, func(c *backend.Conn) uint32 { return c.PID })
	if !errors.Is(err, context.DeadlineExceeded) || len(got) != 1 || got[first.Conn.ID] != first.Conn.PID {
		t.Errorf("got %v, %v", got, err)
	}
	close(block)
	one.release(first)
	two.release(second)
}
