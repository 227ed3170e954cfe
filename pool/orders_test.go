package pool

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pooler/config"
	"pooler/internal/loop"
)

func TestOrdersAreKeptByName(t *testing.T) {
	m := &Manager{orders: newStandingOrders()}
	paused, stopped, both := Orders{Paused: true}, Orders{Stopped: true}, Orders{Paused: true, Stopped: true}
	for _, step := range []struct {
		name  string
		order func() bool
		was   bool      // what order reports
		want  [3]Orders // in force for a, b and all
	}{
		{"nothing is ordered", func() bool { return m.Resume("") }, false, [3]Orders{}},
		{"one is paused", func() bool { m.Pause("a"); return false }, false, [3]Orders{paused, {}, {}}},
		{"another is not, so it cannot be resumed", func() bool { return m.Resume("b") }, false, [3]Orders{paused, {}, {}}},
		{"one is stopped besides", func() bool { m.Stop("a"); return false }, false, [3]Orders{both, {}, {}}},
		{"and resumed", func() bool { return m.Resume("a") }, true, [3]Orders{stopped, {}, {}}},
		{"and started", func() bool { return m.Start("a") }, true, [3]Orders{}},
		{"all are paused", func() bool { m.Pause(""); return false }, false, [3]Orders{paused, paused, paused}},
		{"one of all cannot be resumed", func() bool { return m.Resume("a") }, false, [3]Orders{paused, paused, paused}},
		{"unless it was paused on its own, and then it stays paused", func() bool { m.Pause("a"); return m.Resume("a") }, true, [3]Orders{paused, paused, paused}},
		{"all are resumed, also those paused one by one", func() bool { m.Pause("b"); return m.Resume("") }, true, [3]Orders{}},
		{"all that were paused one by one", func() bool { m.Pause("a"); m.Pause("b"); return m.Resume("") }, true, [3]Orders{}},
		{"all are stopped", func() bool { m.Stop(""); return false }, false, [3]Orders{stopped, stopped, stopped}},
		{"all are started", func() bool { return m.Start("") }, true, [3]Orders{}},
		{"one is disabled", func() bool { m.Disable("b"); return false }, false, [3]Orders{{}, {Disabled: true}, {}}},
		{"and enabled", func() bool { return m.Enable("b") }, true, [3]Orders{}},
		{"twice", func() bool { return m.Enable("b") }, false, [3]Orders{}},
	} {
		if was := step.order(); was != step.was {
			t.Errorf("%s: got %t", step.name, was)
		}
		if got := [3]Orders{m.Orders("a"), m.Orders("b"), m.Orders("")}; got != step.want {
			t.Errorf("%s: in force are %+v, want %+v", step.name, got, step.want)
		}
	}
	if n := len(m.orders.databases); n != 0 {
		t.Errorf("%d orders are kept that are none", n)
	}
}

// A pause that is taken back is that of the one who takes it back, and of nobody else.
func TestOnlyOnesOwnPauseIsTakenBack(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile func(m *Manager) // between a pause of a and its end
		own       bool
		paused    bool // is a in the end
	}{
		{"nothing", func(*Manager) {}, true, false},
		{"somebody else pauses it too", func(m *Manager) { m.Pause("a") }, false, true},
		{"somebody else pauses it too and thinks better of it", func(m *Manager) { m.TakeBack("a", m.Pause("a")) }, false, true},
		{"it is resumed", func(m *Manager) { m.Resume("a") }, false, false},
		{"all are resumed", func(m *Manager) { m.Resume("") }, false, false},
		{"it is resumed and paused again", func(m *Manager) { m.Resume("a"); m.Pause("a") }, false, true},
		{"all are resumed and it is paused again", func(m *Manager) { m.Resume(""); m.Pause("a") }, false, true},
		{"all are paused besides", func(m *Manager) { m.Pause("") }, true, true},
		{"all are paused besides and are not any more", func(m *Manager) { m.TakeBack("", m.Pause("")) }, true, false},
		{"it is stopped besides", func(m *Manager) { m.Stop("a"); m.Start("a") }, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &Manager{orders: newStandingOrders()}
			id := m.Pause("a")
			tc.meanwhile(m)
			if own := m.TakeBack("a", id); own != tc.own || m.Orders("a").Paused != tc.paused {
				t.Errorf("it was one's own: %t; it is paused: %t", own, m.Orders("a").Paused)
			}
			if m.TakeBack("a", id) {
				t.Error("it is taken back twice")
			}
			m.Resume("")
			if n := len(m.orders.databases) + len(m.orders.pauses); n != 0 {
				t.Errorf("%d orders are kept that are none", n)
			}
		})
	}
}

func TestOrderedNamesAlsoThoseThatNobodyUses(t *testing.T) {
	m := &Manager{orders: newStandingOrders()}
	m.Pause("")
	m.Pause("a")
	m.Disable("b")
	m.Stop("b")
	m.Pause("c")
	m.Resume("c")
	want := map[string]Orders{"a": {Paused: true}, "b": {Disabled: true, Stopped: true}}
	if got := m.Ordered(); !maps.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// testManager is a manager without loops, whose clock runs.
func testManager(dial DialFunc) *Manager {
	return NewManager(dial, nil, slog.New(slog.DiscardHandler))
}

func joined(t *testing.T, m *Manager, cfg config.Pool) *Pool {
	t.Helper()
	cfg.Increment, cfg.Size = 4, max(cfg.Size, 4)
	cfg.LoginsAtOnce = max(cfg.LoginsAtOnce, 1)
	p, _, err := m.Join(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhilePausedNothingIsOpenedAndNobodyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		m := testManager(d.fail)
		p := joined(t, m, config.Pool{Database: "a", MinSize: 2, LoginRetry: time.Second})
		m.Pause("a")
		p.wait(5, true) // a request that is refused would need a loop, and panic
		r := &Request{Class: p.join(""), Terms: &Terms{New: true, Wait: time.Second}}
		if l, err := p.Acquire(r); l != nil || err != nil {
			t.Errorf("a request gets %v, %v; want it to wait", l, err)
		}
		pass(time.Minute)
		m.Reconnect("a")
		pass(time.Minute)
		synctest.Wait()
		if n, s := d.calls.Load(), p.Stat(); n != 0 || s.Waiting != 6 || s.Opening != 0 || !s.Orders.Paused || s.Timeouts != 0 {
			t.Errorf("%d logins; %+v", n, s)
		}
		if p.clock.now()-p.queue.last.since < time.Minute {
			t.Error("the wait did not last") // else the rest shows nothing
		}
		drain(p)
		m.Close()
	})
}

func TestALoginUnderWayEndsWithThePauseAndCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		m := testManager(d.hang)
		p := joined(t, m, config.Pool{Database: "a"})
		p.wait(3, true)
		synctest.Wait()
		if d.open.Load() != 1 { // as many as log in at once; the others wait for their turn
			t.Fatalf("%d logins are under way", d.open.Load())
		}
		m.Pause("a")
		if n := p.Stat().Opening; n > 1 {
			t.Errorf("%d logins count, want at most the one that had begun", n)
		}
		synctest.Wait()
		if s := p.Stat(); d.open.Load() != 0 || d.calls.Load() != 1 || s.Opening != 0 || s.Waiting != 3 || p.failures != 0 || p.slots != 0 {
			t.Errorf("after the pause %d logins are under way, %d were begun; %d failures, %d slots; %+v", d.open.Load(), d.calls.Load(), p.failures, p.slots, s)
		}
		pass(time.Minute)
		synctest.Wait() // until the clock has been set
		if !m.Resume("a") || p.queue.first.since != p.clock.now() {
			t.Error("the waits do not begin anew")
		}
		synctest.Wait()
		if n := p.Stat().Opening; d.open.Load() != 1 || n != 3 {
			t.Errorf("on resumption %d logins are wanted, %d under way; want 3, 1", n, d.open.Load())
		}
		drain(p)
		m.Close()
	})
}

// What PostgreSQL did before the pause does not matter after it: not the failure, not the time to wait for a retry.
func TestResumptionForgetsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		m := testManager(d.fail)
		p := joined(t, m, config.Pool{Database: "a", LoginRetry: 10 * time.Second})
		for range 20 {
			p.openOne()
			synctest.Wait()
			if len(p.attempts) == 0 && p.retryAt > p.clock.now() {
				pass(p.retryAt - p.clock.now() + tick)
			}
		}
		tried := d.calls.Load()
		m.Pause("")
		p.wait(1, false)
		pass(time.Second)
		p.house.dial = d.hang
		m.Resume("")
		synctest.Wait()
		if d.calls.Load() != tried+1 || p.queue.len != 1 {
			t.Errorf("%d logins were tried, want one at once; %d wait", d.calls.Load()-tried, p.queue.len)
		}
		drain(p)
		m.Close()
	})
}

// A paused pool neither holds slots under limits that span pools, nor wants any.
func TestAPausedPoolLeavesLimitsToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		m := testManager(d.hang)
		limits := config.Pool{MaxServers: 1, User: "anna"}
		var pools []*Pool
		for _, name := range []string{"a", "b"} {
			limits.Database = name
			pools = append(pools, joined(t, m, limits))
		}
		a, b := pools[0], pools[1]
		a.wait(1, false)
		b.wait(1, false)
		synctest.Wait()
		if a.slots != 1 || b.slots != 0 || !b.capped {
			t.Fatalf("slots %d and %d, capped %t; want a to hold the one, b to want it", a.slots, b.slots, b.capped)
		}
		m.Pause("b")
		if m.budgets.contended() || b.capped {
			t.Error("paused, b wants a slot still")
		}
		m.Resume("b")
		m.Pause("a")
		pass(tick)
		synctest.Wait()
		if a.slots != 0 || b.slots != 1 {
			t.Errorf("with a paused the slots are %d and %d, want 0 and 1", a.slots, b.slots)
		}
		m.Pause("")
		m.Resume("a")
		m.Resume("")
		pass(tick)
		synctest.Wait()
		if a.slots+b.slots != 1 || a.Orders().hold() || b.Orders().hold() {
			t.Errorf("resumed, the slots are %d and %d", a.slots, b.slots)
		}
		drain(a)
		drain(b)
		m.Close()
	})
}

func TestPoolsMadeUnderAnOrderFollowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		m := testManager(d.hang)
		m.Pause("a")
		for range 2 {
			p := joined(t, m, config.Pool{Database: "a"})
			p.wait(1, true)
			synctest.Wait()
			if !p.Orders().Paused || d.calls.Load() != 0 {
				t.Errorf("orders %+v, %d logins", p.Orders(), d.calls.Load())
			}
			p.serve(1)
			p.sessions.Store(0)
			pass(2 * tick)
			if len(m.all()) != 0 {
				t.Error("it is not forgotten, so that the next one shows nothing")
			}
		}
		if p := joined(t, m, config.Pool{Database: "b"}); p.Orders().Paused {
			t.Error("an order is not for another database")
		}
		m.Close()
	})
}

func TestAWaitDoesNotTimeOutWhilePaused(t *testing.T) {
	l, err := loop.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	p := testPool(t, config.Pool{Size: 1}, nil)
	p.retryAt = 10 * time.Hour // it opens nothing
	p.queue.push(&Request{
		Loop: l, Class: p.join(""), Terms: &Terms{Wait: 10 * time.Second, Notify: 5 * time.Second},
		Borrower: &listener{told: func(s string) { told = append(told, s) }},
	})
	at := func(now time.Duration) {
		p.clock.ticks.Store(int64(now))
		p.expireWaits(now)
	}
	at(4 * time.Second)
	p.follow(Orders{Paused: true})
	at(time.Hour)
	at(2 * time.Hour)
	p.cfg.Size = 0 // still nothing
	p.follow(Orders{})
	at(2*time.Hour + 9*time.Second)
	if p.queue.len != 1 {
		t.Error("what had passed before and in the pause counts")
	}
	at(2*time.Hour + 10*time.Second)
	l.Stop() // after its letters
	if !slices.Equal(told, []string{"still waiting", ErrWaitTimeout.Error()}) {
		t.Errorf("told %q", told)
	}
}

func TestStoppedPoolsRefuse(t *testing.T) {
	l, err := loop.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	hear := &listener{told: func(s string) { told = append(told, s) }}
	d := &dialer{}
	m := testManager(d.hang)
	p := joined(t, m, config.Pool{Database: "a"})
	r := func() *Request { return &Request{Borrower: hear, Loop: l, Class: p.join(""), Terms: &Terms{}} }
	if _, err := p.Acquire(r()); err != nil {
		t.Fatal(err)
	}
	m.Stop("")
	if _, err := p.Acquire(r()); !errors.Is(err, ErrStopped) {
		t.Errorf("a request gets %v", err)
	}
	p.requeue(r()) // its conn has died on the way
	m.Pause("a")
	if _, err := p.Acquire(r()); !errors.Is(err, ErrStopped) {
		t.Errorf("paused besides, a request gets %v", err)
	}
	if !m.Start("") {
		t.Error("nothing was stopped")
	}
	again := r()
	if _, err := p.Acquire(again); err != nil || !p.Withdraw(again) {
		t.Errorf("started, but paused, a request gets %v", err)
	}
	m.Close()
	l.Stop() // after its letters
	if !slices.Equal(told, []string{ErrStopped.Error(), ErrStopped.Error()}) {
		t.Errorf("those who waited were told %q", told)
	}
}
