package pool

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/loop"
	"pooler/internal/pgtest"
)

// postgres serves all tests of the package but those that end it.
var postgres pgtest.Shared

func TestMain(m *testing.M) { pgtest.Main(m, &postgres) }

// patient bounds what a test waits for that must come.
const patient = 20 * time.Second

// rig is a manager with real loops, in front of a real PostgreSQL.
type rig struct {
	*Manager
	t     *testing.T
	pg    *pgtest.Server
	loops []*loop.Loop
}

func newRig(t *testing.T, pg *pgtest.Server, loops int) *rig {
	t.Helper()
	return newRigThatDials(t, pg, loops, backend.Dial)
}

func newRigThatDials(t *testing.T, pg *pgtest.Server, loops int, dial DialFunc) *rig {
	t.Helper()
	g := &rig{t: t, pg: pg}
	log := slog.New(slog.DiscardHandler)
	for range loops {
		l, err := loop.New(log)
		if err != nil {
			t.Fatal(err)
		}
		g.loops = append(g.loops, l)
	}
	g.Manager = NewManager(dial, g.loops, log)
	t.Cleanup(func() {
		g.Stop("")
		g.Disconnect("") // else Close waits for what a test that has failed has not given back
		g.Close()
		for _, l := range g.loops {
			l.Stop()
			if n := l.Panics(); n > 0 {
				t.Errorf("a loop has contained %d panics", n)
			}
		}
	})
	return g
}

// config is of a pool for db with so many server sessions.
func (g *rig) config(db string, size int) config.Pool {
	return config.Pool{
		Database: db, User: pgtest.Superuser, DBName: db, ServerUser: pgtest.Superuser, Host: g.pg.Host, Port: g.pg.Port,
		Size: size, Increment: 4, LoginsAtOnce: 8, ConnectTimeout: patient, LoginRetry: 10 * time.Second, CancelWaitTimeout: time.Second,
		ServerLifetime: time.Hour,
	}
}

// client makes one that uses cfg's pool, on one of the loops.
func (g *rig) client(cfg config.Pool, on int) *client {
	g.t.Helper()
	p, class, err := g.Join(cfg, "")
	if err != nil {
		g.t.Fatal(err)
	}
	c := &client{t: g.t, pool: p, loop: g.loops[on], answers: make(chan answer, 8)}
	c.req = Request{Borrower: c, Loop: c.loop, Class: class, Terms: &Terms{}}
	return c
}

// backends is how many sessions PostgreSQL has in db.
func (g *rig) backends(db string) int {
	g.t.Helper()
	rows, err := g.pg.Exec(g.t.Context(), "postgres", "SELECT 1 FROM pg_stat_activity WHERE datname = '"+db+"'")
	if err != nil {
		g.t.Fatal(err)
	}
	return len(rows)
}

// states counts the server sessions by state.
func (g *rig) states() map[ServerState]int {
	n := map[ServerState]int{}
	for _, s := range g.Servers() {
		n[s.State]++
	}
	return n
}

func (g *rig) eventually(what string, ok func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patient); !ok(); {
		if time.Now().After(deadline) {
			g.t.Fatalf("not in time: %s; the server sessions: %+v", what, g.Servers())
		}
		pass(time.Millisecond)
	}
}

// within is a context for what must not last.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// answer is what a client has been told.
type answer struct {
	lease *Lease
	err   error
	lost  backend.RetireReason
}

// client is a session that does nothing with its server session but hold it. What is not in this list is never called.
type client struct {
	Borrower
	t       *testing.T
	pool    *Pool
	loop    *loop.Loop
	req     Request
	answers chan answer
}

func (c *client) Lent(l *Lease)                            { c.answers <- answer{lease: l} }
func (c *client) Refused(err error)                        { c.answers <- answer{err: err} }
func (c *client) StillWaiting(int, time.Duration)          {}
func (c *client) OnServerLost(reason backend.RetireReason) { c.answers <- answer{lost: reason} }

// ask asks for a server session; the answer comes when it comes.
func (c *client) ask() {
	asked := make(chan struct{})
	c.loop.Post(func() {
		defer close(asked)
		if l, err := c.pool.Acquire(&c.req); l != nil || err != nil {
			c.answers <- answer{lease: l, err: err}
		}
	})
	<-asked
}

func (c *client) answer() answer {
	c.t.Helper()
	select {
	case a := <-c.answers:
		return a
	case <-time.After(patient):
		c.t.Fatalf("a client was told nothing; its pool: %+v", c.pool.Stat())
		return answer{}
	}
}

// lease asks for a server session and gets it.
func (c *client) lease() *Lease {
	c.t.Helper()
	c.ask()
	return c.lent()
}

// lent is the server session that was asked for.
func (c *client) lent() *Lease {
	c.t.Helper()
	a := c.answer()
	if a.lease == nil {
		c.t.Fatalf("a client got %+v instead of a server session", a)
	}
	return a.lease
}

// release gives it back, and waits until it has been.
func (c *client) release(l *Lease) {
	done := make(chan struct{})
	c.loop.Post(func() {
		defer close(done)
		if l.Conn.Alive() {
			l.Release()
		}
	})
	<-done
}

// waits tells whether the client is in the queue.
func (c *client) waits() bool {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.req.queued
}
