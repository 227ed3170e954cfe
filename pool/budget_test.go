package pool

import (
	"testing"
	"time"

	"pooler/backend"
	"pooler/config"
)

// shared makes pools that share a house, by "user/database".
func shared(t *testing.T, limits config.Pool, users ...[2]string) (*house, []*Pool) {
	t.Helper()
	h := &house{}
	h.open(nil, nil)
	var pools []*Pool
	for _, u := range users {
		cfg := limits
		cfg.User, cfg.Database, cfg.Size, cfg.Host, cfg.Port = u[0], u[1], 100, "127.0.0.1", 5432
		pools = append(pools, testPoolIn(t, h, cfg))
	}
	return h, pools
}

func (p *Pool) take(n int) (got int) {
	for range n {
		if p.house.budgets.take(p, &p.cfg) {
			got++
		}
	}
	return got
}

func TestLimitsThatSpanPools(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits config.Pool
		takes  [4]int // wanted by anna/a, anna/b, bert/a, bert/b in this order
		want   [4]int
	}{
		{"none", config.Pool{}, [4]int{9, 9, 9, 9}, [4]int{9, 9, 9, 9}},
		{"of a database", config.Pool{MaxDatabase: 5}, [4]int{3, 3, 3, 3}, [4]int{3, 3, 2, 2}},
		{"of a user", config.Pool{MaxUser: 5}, [4]int{3, 3, 3, 3}, [4]int{3, 2, 3, 2}},
		{"of all", config.Pool{MaxServers: 5}, [4]int{3, 3, 3, 3}, [4]int{3, 2, 0, 0}},
		{"the narrowest counts", config.Pool{MaxServers: 9, MaxUser: 4, MaxDatabase: 5}, [4]int{3, 3, 3, 3}, [4]int{3, 1, 2, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, pools := shared(t, tc.limits, [2]string{"anna", "a"}, [2]string{"anna", "b"}, [2]string{"bert", "a"}, [2]string{"bert", "b"})
			var got [4]int
			for i, p := range pools {
				got[i] = p.take(tc.takes[i])
			}
			if got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// A slot that has become free goes to the waiting pool whose user has least, then to the pool that has least, then to
// the one that has waited longest, whoever asks first.
func TestAFreeSlotGoesToWhoHasLeast(t *testing.T) {
	h, p := shared(t, config.Pool{MaxServers: 9}, [2]string{"anna", "a"}, [2]string{"anna", "b"}, [2]string{"bert", "a"}, [2]string{"bert", "b"}, [2]string{"zoe", "a"})
	for i, n := range []int{2, 1, 1, 1, 4} {
		p[i].take(n)
	}
	for _, i := range []int{0, 1, 3, 2} {
		if p[i].take(1) != 0 {
			t.Fatalf("pool %d got more than the limit allows", i)
		}
	}
	for _, winner := range []int{3, 1, 2} { // bert's that waits longer; as many now: anna's smaller; bert's other
		h.budgets.give(p[4])
		for i := range p[:4] {
			if got := p[i].take(1) == 1; got != (i == winner) {
				t.Fatalf("pool %d got the slot: %v; it is pool %d's turn", i, got, winner)
			}
		}
		h.budgets.forget(p[winner])
	}
}

func TestWhoGivesUpAServerSession(t *testing.T) {
	for _, tc := range []struct {
		name   string
		slots  [3]int // of cora, who waits, anna and bert
		idle   [3]time.Duration
		waited time.Duration
		want   int // 0: nobody
	}{
		{"who has more", [3]int{0, 3, 1}, [3]time.Duration{}, 0, 1},
		{"nobody, as long as shares are even", [3]int{2, 3, 2}, [3]time.Duration{}, 0, 0},
		{"in turns, after a while", [3]int{2, 3, 2}, [3]time.Duration{}, evenAfter, 1},
		{"nobody who has less", [3]int{3, 2, 2}, [3]time.Duration{}, time.Hour, 0},
		{"who has one idle, rather than who has most", [3]int{0, 9, 1}, [3]time.Duration{0, 0, time.Millisecond}, 0, 2},
		{"who has one idle, but not at once if he has as few", [3]int{1, 1, 1}, [3]time.Duration{0, 0, time.Millisecond}, 0, 0},
		{"who has one idle for long", [3]int{5, 1, 1}, [3]time.Duration{0, 0, spareAfter}, 0, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, p := shared(t, config.Pool{MaxServers: 100}, [2]string{"cora", "a"}, [2]string{"anna", "a"}, [2]string{"bert", "a"})
			var others []surplus
			for i, n := range tc.slots {
				p[i].take(n)
				if i > 0 {
					others = append(others, surplus{pool: p[i], idle: tc.idle[i] > 0, rested: tc.idle[i]})
				}
			}
			want := p[tc.want]
			if tc.want == 0 {
				want = nil
			}
			if got := h.budgets.choose(p[0], limitAll, others, tc.waited); got != want {
				t.Errorf("got %v, want pool %d", got, tc.want)
			}
		})
	}
}

// What PostgreSQL itself takes is learned when it refuses a connection, and tried again after a while.
func TestAFullPostgreSQLIsALimitForAWhile(t *testing.T) {
	h, p := shared(t, config.Pool{}, [2]string{"anna", "a"}, [2]string{"bert", "a"})
	p[0].take(3)
	p[1].take(1)
	h.budgets.give(p[1])
	h.budgets.full(p[1], backend.AddressOf("127.0.0.1", 5432))
	if p[0].take(1)+p[1].take(1) != 0 {
		t.Error("there is more than PostgreSQL takes")
	}
	h.budgets.give(p[0])
	if p[0].take(1) != 0 || p[1].take(1) != 1 {
		t.Error("the place that has become free is not for who waits for it")
	}
	h.budgets.forget(p[1])
	h.clock.ticks.Store(int64(fullFor + time.Second))
	if p[0].take(2) != 2 {
		t.Error("it is not tried again")
	}
}
