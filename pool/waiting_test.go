package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"pooler/backend"
	"pooler/config"
)

func TestWhyAPoolCannotServe(t *testing.T) {
	for _, tc := range []struct {
		name   string
		set    func(p *Pool)
		want   Obstacle
		detail string
	}{
		{"all are lent", func(*Pool) {}, ObstacleBusy, ""},
		{"one is being opened", func(p *Pool) { p.attempts[&attempt{}] = struct{}{} }, ObstacleOpening, ""},
		{"one is being cleaned", func(p *Pool) { p.cleaning = 1 }, ObstacleOpening, ""},
		{"those that go hold the places", func(p *Pool) { p.cfg.Size = 1; p.leaving[&Lease{}] = struct{}{} }, ObstacleClosing, ""},
		{"some go, and there is room", func(p *Pool) { p.cfg.Size = 2; p.leaving[&Lease{}] = struct{}{} }, ObstacleBusy, ""},
		{"PostgreSQL refuses", func(p *Pool) { p.failure, p.retryAt = errNobody, time.Hour }, ObstacleRefused, errNobody.Error()},
		{"it has refused, and is tried again", func(p *Pool) { p.failure = errNobody }, ObstacleBusy, ""},
		{"a limit, although one is being opened", func(p *Pool) {
			p.cfg.MaxDatabase = 1
			p.take(2)
			p.capped = true
			p.attempts[&attempt{}] = struct{}{}
		}, ObstacleLimit, "max_db_connections"},
		{"the narrower limit", func(p *Pool) {
			p.cfg.MaxServers, p.cfg.MaxUser = 1, 1
			p.take(2)
			p.capped = true
		}, ObstacleLimit, "max_user_connections"},
		{"paused, whatever else", func(p *Pool) {
			p.failure, p.retryAt, p.capped = errNobody, time.Hour, true
			p.orders.Paused = true
		}, ObstaclePaused, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := testPool(t, config.Pool{Size: 9}, nil)
			tc.set(p)
			if got, detail := p.obstacleLocked(); got != tc.want || detail != tc.detail {
				t.Errorf("got %v, %q", got, detail)
			}
		})
	}
}

func TestWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		m := testManager(d.hang)
		b := joined(t, m, config.Pool{Database: "b", User: "anna", Host: "127.0.0.1", Port: 5432})
		a := joined(t, m, config.Pool{Database: "a", User: "anna", Host: "127.0.0.2", Port: 5432, LoginsAtOnce: 3})
		hear := make([]*listener, 5)
		for i := range hear {
			hear[i] = &listener{}
			p := []*Pool{b, b, a, b, a}[i]
			if _, err := p.Acquire(&Request{Borrower: hear[i], Class: p.join("web"), Terms: &Terms{Eager: true}}); err != nil {
				t.Fatal(err)
			}
			pass(tick)
		}
		synctest.Wait()
		m.Pause("b")
		got := m.Queue(4)
		for i, want := range []struct {
			who      int
			database string
			position int
			obstacle Obstacle
		}{{2, "a", 1, ObstacleOpening}, {4, "a", 2, ObstacleOpening}, {0, "b", 1, ObstaclePaused}, {1, "b", 2, ObstaclePaused}} {
			w := got[i]
			waited := time.Duration(5-want.who) * tick
			if w.Borrower != Borrower(hear[want.who]) || w.Database != want.database || w.User != "anna" || w.Class != "web" ||
				w.Position != want.position || w.Obstacle != want.obstacle || w.Waited < waited-tick || w.Waited > waited+tick {
				t.Errorf("number %d is %+v, want %+v who has waited %s", i, w, want, waited)
			}
		}
		if len(got) != 4 || len(m.Queue(100)) != 5 {
			t.Errorf("%d of %d who wait, want 4 of 5", len(got), len(m.Queue(100)))
		}
		m.Resume("b")
		synctest.Wait()
		logins := m.Logins()
		for i, want := range []LoginStat{
			{backend.AddressOf("127.0.0.1", 5432), 1, 1, 2},
			{backend.AddressOf("127.0.0.2", 5432), 3, 2, 0},
		} {
			if len(logins) != 2 || logins[i] != want {
				t.Errorf("logins: %+v, want %+v", logins, want)
			}
		}
		drain(a)
		drain(b)
		m.Close()
	})
}

func TestEveryObstacleAndStateHasAName(t *testing.T) {
	for o := range obstacles {
		if o.String() == "" {
			t.Errorf("obstacle %d has none", o)
		}
	}
	for s := range serverStates {
		if s.String() == "" {
			t.Errorf("state %d has none", s)
		}
	}
	for _, r := range backend.RetireReasons() {
		if r.String() == "" {
			t.Errorf("reason %d has none", r)
		}
	}
}
