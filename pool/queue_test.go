package pool

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
)

// The queue does what a slice would do, and its counts and links are right after every step.
func TestQueueIsFirstComeFirstServed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var q queue
	var want []*Request
	for step := range 10_000 {
		switch op := random.IntN(5); {
		case op <= 1:
			r := &Request{Terms: &Terms{Eager: random.IntN(2) == 0}}
			q.push(r)
			want = append(want, r)
		case op == 2:
			r := &Request{Terms: &Terms{}}
			q.pushFront(r)
			want = slices.Insert(want, 0, r)
		case op == 3 && len(want) > 0:
			i := random.IntN(len(want))
			q.remove(want[i])
			if want[i].queued || want[i].prev != nil || want[i].next != nil {
				t.Fatalf("step %d: a request that was taken out is still linked", step)
			}
			want = slices.Delete(want, i, i+1)
		case op == 4:
			r := q.pop()
			if len(want) == 0 && r != nil || len(want) > 0 && r != want[0] {
				t.Fatalf("step %d: pop gives another than the first", step)
			}
			want = want[min(1, len(want)):]
		}
		var got []*Request
		eager := 0
		for r := q.first; r != nil; r = r.next {
			got = append(got, r)
			if r.Terms.Eager {
				eager++
			}
			if !r.queued || (r.next == nil) != (r == q.last) || r.next != nil && r.next.prev != r {
				t.Fatalf("step %d: wrong links", step)
			}
		}
		if !slices.Equal(got, want) || q.len != len(want) || q.eager != eager {
			t.Fatalf("step %d: %d requests (len %d, %d eager), want %d", step, len(got), q.len, q.eager, len(want))
		}
	}
}

func TestShelfGivesTheLastUsedFirst(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var s shelf
	var want []*Lease
	for step := range 10_000 {
		if random.IntN(2) == 0 || len(want) == 0 {
			l := &Lease{}
			s.push(l)
			want = slices.Insert(want, 0, l)
		} else {
			i := random.IntN(len(want))
			s.remove(want[i])
			if want[i].prev != nil || want[i].next != nil {
				t.Fatalf("step %d: a lease that was taken off is still linked", step)
			}
			want = slices.Delete(want, i, i+1)
		}
		var got, back []*Lease
		for l := s.first; l != nil; l = l.next {
			got = append(got, l)
		}
		for l := s.last; l != nil; l = l.prev {
			back = slices.Insert(back, 0, l)
		}
		if !slices.Equal(got, want) || !slices.Equal(back, want) {
			t.Fatalf("step %d: %d leases, want %d", step, len(got), len(want))
		}
	}
}

func TestWhichIdleConnIsLent(t *testing.T) {
	here, there := &loop.Loop{}, &loop.Loop{}
	var in sessionstate.Interner
	mine := in.Intern([]sessionstate.Setting{{Name: "search_path", Value: "mine"}})
	others := in.Intern([]sessionstate.Setting{{Name: "search_path", Value: "others"}})
	type idle struct {
		home     *loop.Loop
		settings *sessionstate.Settings
	}
	for _, tc := range []struct {
		name string
		idle []idle // least recently used first
		last int    // index of the one held before, -1: none
		want int    // -1: none
	}{
		{"none is idle", nil, -1, -1},
		{"the one held before, wherever it is", []idle{{there, others}, {here, mine}}, 0, 0},
		{"the one with its settings", []idle{{here, mine}, {here, others}}, -1, 0},
		{"the most recently used of equals", []idle{{here, others}, {here, others}}, -1, 1},
		{"its own loop goes before its settings", []idle{{here, others}, {there, mine}}, -1, 0},
		{"both", []idle{{here, mine}, {here, others}, {there, mine}}, -1, 0},
		{"any, where there is no choice", []idle{{there, others}}, -1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := testPool(t, config.Pool{Size: 5}, nil)
			c := p.join("")
			var all []*Lease
			for _, i := range tc.idle {
				l := &Lease{pool: p, home: i.home, Conn: &backend.Conn{Settings: i.settings}}
				p.assignLocked(l, c)
				p.shelveLocked(l)
				all = append(all, l)
			}
			r := &Request{Loop: here, Settings: mine, Class: c, Terms: &Terms{}}
			if tc.last >= 0 {
				r.last = all[tc.last]
			}
			if got := slices.Index(all, p.chooseLocked(r)); got != tc.want {
				t.Errorf("got number %d, want %d", got, tc.want)
			}
		})
	}
}

// listener notes what a waiting session is told.
type listener struct {
	Borrower
	told func(string)
}

func (l *listener) Refused(err error)                   { l.told(err.Error()) }
func (l *listener) StillWaiting(int, time.Duration)     { l.told("still waiting") }
func (l *listener) Lent(*Lease)                         { l.told("lent") }
func (l *listener) OnServerLost(_ backend.RetireReason) {}

func TestWaitsThatLastTooLong(t *testing.T) {
	l, err := loop.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := testPool(t, config.Pool{Size: 1}, nil)
	c, terms := p.join(""), Terms{Wait: 10 * time.Second, Notify: 5 * time.Second}
	told := map[string][]string{}
	for name, since := range map[string]time.Duration{"long": 0, "longer than notify": 5 * time.Second, "short": 9 * time.Second} {
		p.queue.push(&Request{Loop: l, Class: c, Terms: &terms, since: since, Borrower: &listener{told: func(s string) { told[name] = append(told[name], s) }}})
	}
	p.expireWaits(10 * time.Second)
	p.expireWaits(10*time.Second + tick) // nobody is told twice
	l.Stop()                             // after its letters
	if n := p.queue.len; n != 2 {
		t.Errorf("%d wait still, want 2", n)
	}
	if p.tally.timeouts != 1 || !slices.Equal(told["long"], []string{ErrWaitTimeout.Error()}) ||
		!slices.Equal(told["longer than notify"], []string{"still waiting"}) || told["short"] != nil {
		t.Errorf("%d timeouts; told %q", p.tally.timeouts, told)
	}
	first := p.queue.first
	if !p.Withdraw(first) || p.Withdraw(first) {
		t.Error("a request can be withdrawn once")
	}
}
