package pool

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/config"
)

// dialer counts logins to a PostgreSQL that does not answer.
type dialer struct{ calls, open, most atomic.Int64 }

var errNobody = errors.New("nobody answers")

func (d *dialer) hang(ctx context.Context, _ config.Pool) (*backend.Conn, error) {
	d.calls.Add(1)
	if n := d.open.Add(1); n > d.most.Load() {
		d.most.Store(n)
	}
	defer d.open.Add(-1)
	<-ctx.Done()
	return nil, errNobody
}

func (d *dialer) fail(context.Context, config.Pool) (*backend.Conn, error) {
	d.calls.Add(1)
	return nil, errNobody
}

func testPool(t *testing.T, cfg config.Pool, dial DialFunc) *Pool {
	t.Helper()
	h := &house{}
	h.open(dial, nil)
	return testPoolIn(t, h, cfg)
}

// testPoolIn makes a pool that shares h with others.
func testPoolIn(t *testing.T, h *house, cfg config.Pool) *Pool {
	t.Helper()
	cfg.Increment, cfg.LoginsAtOnce = cmp.Or(cfg.Increment, 4), cmp.Or(cfg.LoginsAtOnce, 8)
	p, err := newPool(cfg, h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wait queues n requests as Acquire does.
func (p *Pool) wait(n int, eager bool) {
	c := p.join("")
	p.mu.Lock()
	defer p.mu.Unlock()
	for range n {
		p.queue.push(&Request{Class: c, Terms: &Terms{Eager: eager}})
	}
	p.growLocked()
}

func TestTheFirstServerSessionIsOpenedAtOnceAndOnlyThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := testPool(t, config.Pool{Size: 10}, d.hang)
		p.wait(5, false)
		synctest.Wait()
		if n := d.calls.Load(); n != 1 {
			t.Errorf("%d are opened at once for five who wait, want 1", n)
		}
		drain(p)
	})
}

func TestFurtherOnesAreOpenedForThoseWhoHaveWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := testPool(t, config.Pool{Size: 10}, d.hang)
		p.wait(8, false)
		for _, want := range []int64{1, 2, 4, 4} { // one more, two more, but never more than the increment at a time
			synctest.Wait()
			if n := d.calls.Load(); n != want {
				t.Errorf("%d have been opened, want %d", n, want)
			}
			pass(patience)
		}
		if n := d.most.Load(); n > 4 {
			t.Errorf("%d were being opened at the same time, want at most 4", n)
		}
		drain(p)
	})
}

func TestNoneIsOpenedForBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := testPool(t, config.Pool{Size: 10}, d.hang)
		for range 20 {
			p.wait(5, false)
			pass(patience / 2)
			p.serve(5)
			pass(patience / 4)
		}
		if n := d.calls.Load(); n != 1 {
			t.Errorf("%d were opened, want 1", n)
		}
		drain(p)
	})
}

func TestAnotherIsOpenedWhenSomebodyAlwaysWaitsThoughNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := testPool(t, config.Pool{Size: 10}, d.hang)
		p.wait(2, false)
		for range 20 {
			pass(patience / 10)
			p.wait(1, false) // before one is served: there are always two, for one of whom a session is being opened
			p.serve(1)
		}
		if n := d.calls.Load(); n < 2 {
			t.Errorf("%d were opened, want more than the first", n)
		}
		drain(p)
	})
}

func TestSessionsThatKeepTheirsDoNotWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := testPool(t, config.Pool{Size: 3}, d.hang)
		p.wait(5, true)
		synctest.Wait()
		if n := d.calls.Load(); n != 3 {
			t.Errorf("%d are opened at once, want 3, the limit", n)
		}
		drain(p)
	})
}

func TestLoginsThatFailBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := testPool(t, config.Pool{Size: 3, LoginRetry: 10 * time.Second}, d.fail)
		for range 600 { // a minute
			p.mu.Lock()
			if p.queue.len == 0 && p.clock.now() >= p.retryAt {
				p.mu.Unlock()
				p.openOne()
			} else {
				p.mu.Unlock()
			}
			pass(tick)
			p.clock.set()
			synctest.Wait()
		}
		if n := d.calls.Load(); n < 10 || n > 25 {
			t.Errorf("%d logins were tried in a minute, want 10 to 25: 50 ms doubling up to 10 s", n)
		}
		drain(p)
	})
}

// serve takes n requests out of the queue.
func (p *Pool) serve(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range n {
		p.queue.pop()
	}
}

// openOne tries one login, as for a client that is refused at once.
func (p *Pool) openOne() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openLocked(1)
}

// pass lets time go by, which in a bubble takes none.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's clock
}

func drain(p *Pool) {
	p.mu.Lock()
	for p.queue.len > 0 {
		p.queue.pop()
	}
	p.mu.Unlock()
	p.close()
}

// Conns that were opened together do not all go together.
func TestLifetimeHasJitter(t *testing.T) {
	p := testPool(t, config.Pool{Size: 5, ServerLifetime: 100 * time.Second}, nil)
	for _, tc := range []struct {
		early float64
		age   time.Duration
		want  backend.RetireReason
	}{
		{0, 99 * time.Second, backend.NotRetired},
		{0, 100 * time.Second, backend.RetireLifetime},
		{lifetimeJitter, 89 * time.Second, backend.NotRetired},
		{lifetimeJitter, 91 * time.Second, backend.RetireLifetime},
	} {
		p.clock.ticks.Store(int64(tc.age))
		if got := p.surplusLocked(&Lease{pool: p, uses: 1, early: tc.early}); got != tc.want {
			t.Errorf("%+v: got %v", tc, got)
		}
	}
}

// A smaller pool is looked through again before the loops have closed what the first look has condemned.
func TestSmallerSizeIsKeptThoughLoopsAreBusy(t *testing.T) {
	pg := postgres.Server(t)
	g := newRig(t, pg, 1)
	cfg := g.config(pg.CreateDatabase(t), 3)
	var clients []*client
	var leases []*Lease
	for range 3 {
		c := g.client(cfg, 0)
		clients, leases = append(clients, c), append(leases, c.lease())
	}
	for i, c := range clients {
		c.release(leases[i])
	}
	g.eventually("all are idle", func() bool { return g.states()[ServerIdle] == 3 })
	busy := make(chan struct{})
	g.loops[0].Post(func() { <-busy })
	cfg.Size = 1
	p := clients[0].pool
	p.Reconfigure(cfg)
	p.upkeep()
	close(busy)
	g.eventually("two are gone", func() bool { return g.backends(cfg.DBName) <= 1 })
	if n := g.states()[ServerIdle]; n != 1 {
		t.Errorf("%d are left, want 1", n)
	}
}

// A pause between logins ends early if there is something new to prove the pooler with, and the want of that was the reason.
func TestTryAgainEndsOnlyAPauseForWantOfAProof(t *testing.T) {
	refused := func(code string) error {
		return backend.NewServerError(&pgproto3.ErrorResponse{Code: code, Message: "no"})
	}
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing to prove it with", backend.ErrNoPassword, true},
		{"a wrong password", refused("28P01"), true},
		{"PostgreSQL is starting", refused("57P03"), false},
		{"nobody answers", errNobody, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := testPool(t, config.Pool{Size: 1}, nil)
			p.retryAt, p.failure = time.Hour, tc.err
			p.TryAgain()
			if over := p.retryAt == 0 && p.failure == nil; over != tc.want {
				t.Errorf("the pause is over: %t", over)
			}
		})
	}
}

// Whatever a server session was opened with, when that changes it is replaced.
func TestWhatReplacesServerSessions(t *testing.T) {
	for name, change := range map[string]func(*config.Pool){
		"host": func(c *config.Pool) { c.Host = "x" }, "port": func(c *config.Pool) { c.Port++ }, "database": func(c *config.Pool) { c.DBName = "x" },
		"user": func(c *config.Pool) { c.ServerUser = "x" }, "password": func(c *config.Pool) { c.ServerPassword = "x" },
		"TLS": func(c *config.Pool) { c.TLS.Mode = config.TLSVerifyFull }, "a client certificate": func(c *config.Pool) { c.TLS.CertFile = "x" },
		"": func(c *config.Pool) { c.LoginRetry++ },
	} {
		p := testPool(t, config.Pool{Size: 1, LoginsAtOnce: 1}, nil)
		cfg := p.Config()
		change(&cfg)
		before := p.generation
		if p.Reconfigure(cfg); (p.generation != before) != (name != "") {
			t.Errorf("another %q: generation %d, was %d", name, p.generation, before)
		}
	}
}
