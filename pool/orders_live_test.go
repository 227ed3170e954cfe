package pool

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/pgtest"
)

func TestPauseClosesWhatIsIdleAndWaitsForWhatIsLent(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 2)
	cfg := g.config(db, 3)
	one, two, three := g.client(cfg, 0), g.client(cfg, 1), g.client(cfg, 0)
	lease, rests := one.lease(), two.lease()
	two.release(rests)
	g.eventually("one lent, one idle", func() bool { n := g.states(); return n[ServerActive] == 1 && n[ServerIdle] == 1 })

	g.Pause(db)
	three.ask()
	two.ask()
	if err := g.AwaitClosed(within(t, patient), db, func(s ServerInfo) bool { return s.State != ServerActive }); err != nil {
		t.Fatal(err)
	}
	if n := g.backends(db); n != 1 || !three.waits() || !two.waits() {
		t.Errorf("PostgreSQL has %d sessions, want the one that is lent; who waits: %t, %t", n, three.waits(), two.waits())
	}
	if s := g.Servers(); len(s) != 1 || s[0].ID != lease.Conn.ID || !s[0].CloseNeeded || s[0].Borrower != Borrower(one) {
		t.Errorf("the server sessions: %+v", s)
	}
	short, cancel := context.WithTimeout(t.Context(), 3*awaitTick)
	defer cancel()
	if err := g.AwaitClosed(short, db, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the pause is complete while one is lent: %v", err)
	}

	one.release(lease)
	if err := g.AwaitClosed(within(t, patient), db, nil); err != nil {
		t.Fatal(err)
	}
	if n := g.backends(db); n != 0 {
		t.Errorf("PostgreSQL has %d sessions", n)
	}
	if s := one.pool.Stat(); s.Retired[backend.RetirePaused] != 2 || s.Idle+s.Active+s.Opening+s.Closing != 0 || s.Waiting != 2 || s.Sessions != 3 {
		t.Errorf("%+v", s)
	}

	g.Resume(db)
	for _, c := range []*client{three, two} {
		c.release(c.lent())
	}
}

// A login that is complete when the order comes, and not at anybody's disposal yet.
func TestWhatArrivesAfterAnOrder(t *testing.T) {
	pg := postgres.Server(t)
	for _, tc := range []struct {
		name  string
		order func(m *Manager)
		want  backend.RetireReason
	}{
		{"paused: it is closed", func(m *Manager) { m.Pause("") }, backend.RetirePaused},
		{"stopped: it is closed", func(m *Manager) { m.Stop("") }, backend.RetireStopped},
		{"reconnection: it is replaced", func(m *Manager) { m.Reconnect("") }, backend.RetireReconfigured},
		{"paused and resumed: it is lent", func(m *Manager) { m.Pause(""); m.Resume("") }, backend.NotRetired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := pg.CreateDatabase(t)
			opened, arrive := make(chan struct{}), make(chan struct{})
			var first atomic.Bool
			g := newRigThatDials(t, pg, 1, func(_ context.Context, cfg config.Pool) (*backend.Conn, error) {
				c, err := backend.Dial(context.Background(), cfg)
				if first.CompareAndSwap(false, true) {
					close(opened)
					<-arrive
				}
				return c, err
			})
			c := g.client(g.config(db, 1), 0)
			c.ask()
			<-opened
			tc.order(g.Manager)
			close(arrive)
			held := tc.want == backend.RetirePaused || tc.want == backend.RetireStopped
			if held {
				if err := g.AwaitClosed(within(t, patient), "", nil); err != nil {
					t.Fatal(err)
				}
				if n := g.backends(db); n != 0 {
					t.Errorf("PostgreSQL has %d sessions", n)
				}
				g.Resume("")
				g.Start("")
			}
			if tc.want == backend.RetireStopped {
				if a := c.answer(); !errors.Is(a.err, ErrStopped) {
					t.Errorf("who waited got %+v", a)
				}
				c.ask()
			}
			c.release(c.lent())
			s := c.pool.Stat()
			if tc.want == backend.NotRetired && len(s.Retired) != 0 || tc.want != backend.NotRetired && s.Retired[tc.want] != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestStopWithAndWithoutDraining(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 1)
	a, b := g.client(g.config(db, 2), 0), g.client(g.config(db, 2), 0)
	la, lb := a.lease(), b.lease()
	g.Stop(db)
	a.release(la)
	if err := g.AwaitClosed(within(t, patient), db, func(s ServerInfo) bool { return s.ID == la.Conn.ID }); err != nil {
		t.Fatal(err)
	}
	if n := g.states(); n[ServerActive] != 1 {
		t.Errorf("stopping takes away what is lent: %v", n)
	}
	g.Disconnect(db)
	if got := b.answer(); got.lost != backend.RetireKilled {
		t.Errorf("who holds one hears %+v", got)
	}
	b.release(lb) // it is gone, so nothing happens
	if err := g.AwaitClosed(within(t, patient), "", nil); err != nil {
		t.Fatal(err)
	}
	a.ask()
	if got := a.answer(); !errors.Is(got.err, ErrStopped) {
		t.Errorf("got %+v", got)
	}
	if s := a.pool.Stat(); s.Retired[backend.RetireStopped] != 1 || s.Retired[backend.RetireKilled] != 1 {
		t.Errorf("%+v", s)
	}
	g.Start(db)
	a.release(a.lease())
}

// busy has clients of cfg's pool take and give back server sessions, on all loops, until stop is called. That fails
// the test if any was refused, or has lost a server session other than for one of the reasons.
func (g *rig) busy(cfg config.Pool, clients int, reasons ...backend.RetireReason) (served *atomic.Int64, stop func()) {
	served = &atomic.Int64{}
	end, ended := make(chan struct{}), make(chan struct{})
	for i := range clients {
		c := g.client(cfg, i%len(g.loops))
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-end:
					return
				default:
				}
				c.ask()
				switch a := c.answer(); {
				case a.err != nil:
					g.t.Errorf("refused: %v", a.err)
					return
				case a.lease != nil:
					served.Add(1)
					c.release(a.lease)
				case !slices.Contains(reasons, a.lost):
					g.t.Errorf("lost: %v", a.lost)
				}
				for drained := false; !drained; { // what was lost between the loan and its return
					select {
					case a := <-c.answers:
						if a.lost == backend.NotRetired || !slices.Contains(reasons, a.lost) {
							g.t.Errorf("got %+v behind a loan", a)
						}
					default:
						drained = true
					}
				}
			}
		}()
	}
	return served, func() {
		close(end)
		for range clients {
			<-ended
		}
	}
}

func (g *rig) progress(served *atomic.Int64, n int64) {
	g.t.Helper()
	from := served.Load()
	g.eventually("clients are served", func() bool { return served.Load() >= from+n })
}

func TestARestartOfPostgreSQLInAPauseIsNotNoticed(t *testing.T) {
	pg := pgtest.Start(t)
	g := newRig(t, pg, 2)
	served, stop := g.busy(g.config("postgres", 4), 12)
	for range 2 {
		g.progress(served, 200)
		g.Pause("")
		if err := g.AwaitClosed(within(t, patient), "", nil); err != nil {
			t.Fatal(err)
		}
		before := served.Load()
		if err := pg.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if served.Load() != before {
			t.Error("somebody was served in the pause")
		}
		g.Resume("")
	}
	g.progress(served, 200)
	stop()
}

func TestReconnectionUnderLoadLosesNothing(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 2)
	served, stop := g.busy(g.config(db, 4), 12)
	for range 20 {
		g.progress(served, 50)
		var newest backend.ConnID
		for _, s := range g.Servers() {
			newest = max(newest, s.ID)
		}
		now := time.Now()
		g.Reconnect(db)
		old := func(s ServerInfo) bool {
			return s.ID > 0 && s.ID <= newest || s.ID == 0 && s.CloseNeeded && s.Created.Before(now)
		}
		if err := g.AwaitClosed(within(t, patient), db, old); err != nil {
			t.Fatal(err)
		}
	}
	g.progress(served, 50)
	stop()
	if n := g.Servers(); len(n) > 4 {
		t.Errorf("%d server sessions", len(n))
	}
}

// Wherever a server session is, on a shelf, lent or on its way between two loops: it is closed, and who waits goes on.
func TestDisconnectionUnderLoad(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 3)
	served, stop := g.busy(g.config(db, 4), 12, backend.RetireKilled)
	for range 30 {
		g.progress(served, 20)
		before := map[backend.ConnID]bool{}
		g.Disconnect("another")
		for _, s := range g.Servers() {
			before[s.ID] = s.ID > 0
		}
		g.Disconnect(db)
		if err := g.AwaitClosed(within(t, patient), db, func(s ServerInfo) bool { return before[s.ID] }); err != nil {
			t.Fatal(err)
		}
	}
	g.progress(served, 50)
	stop()
}
