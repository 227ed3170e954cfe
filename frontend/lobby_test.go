package frontend

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// The lobby knows, after whatever has come and gone, who has most and who of them came first.
func TestLobbyKnowsWhoHasMost(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var c lobby
	waiting := map[netip.Addr][]*greeter{} // the same, the plain way
	place := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(1 + random.IntN(6)))})
	}
	for n := range 20_000 {
		p := place()
		if many := waiting[p]; random.IntN(5) < 2+n/10_000 && len(many) > 0 {
			i := random.IntN(len(many))
			c.leave(many[i])
			c.leave(many[i])
			waiting[p] = append(many[:i:i], many[i+1:]...)
		} else {
			g := &greeter{}
			c.join(g, p)
			waiting[p] = append(waiting[p], g)
		}
		most := 0
		for p, many := range waiting {
			most = max(most, len(many))
			if c.count(p) != len(many) {
				t.Fatalf("%d of %s, want %d", c.count(p), p, len(many))
			}
		}
		got := c.oldestBeside(netip.Addr{}, 1)
		if got == nil && most > 0 || got != nil && got != waiting[got.party.place][0] || got != nil && len(waiting[got.party.place]) != most {
			t.Fatalf("after %d steps %v, of %d", n, got, most)
		}
		if len(c.ranks) > most+1 {
			t.Fatalf("%d ranks for %d", len(c.ranks), most)
		}
	}
	if g := c.oldestBeside(netip.Addr{}, 1); c.oldestBeside(g.party.place, 1) != nil || c.oldestBeside(netip.Addr{}, g.party.waiting.Len()+1) != nil {
		t.Error("it gives way to its own place, or to one that has more")
	}
	for _, many := range waiting {
		for _, g := range many {
			c.leave(g)
		}
	}
	if len(c.parties)+len(c.ranks) > 1 || c.oldestBeside(netip.Addr{}, 0) != nil {
		t.Errorf("something is left: %v %v", c.parties, c.ranks)
	}
}

func TestPlaces(t *testing.T) {
	for source, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::", "2001:db8:0:0:ffff::2": "2001:db8::",
		"2001:db8:0:1::2": "2001:db8:0:1::", "fe80::1%eth0": "fe80::",
	} {
		if got := placeOf(netip.MustParseAddr(source)); got.String() != want {
			t.Errorf("%s is at %s, want %s", source, got, want)
		}
	}
	if got := placeOf(netip.Addr{}); got.IsValid() {
		t.Errorf("a Unix socket is at %s", got)
	}
}

// Each place has a budget of wrong keys of its own, which comes back by one a second.
func TestBudgetOfGuesses(t *testing.T) {
	var q guesses
	bad, good := haunt{place: netip.MustParseAddr("192.0.2.1")}, haunt{place: netip.MustParseAddr("192.0.2.2")}
	now := time.Hour
	for n := range guessBudget {
		if q.spent(bad, now) {
			t.Fatalf("spent after %d", n)
		}
		q.wrong(bad, now)
	}
	if !q.spent(bad, now) || q.spent(good, now) || q.spent(haunt{}, now) {
		t.Error("not spent, or others' too")
	}
	if !q.tell(bad, now) || q.tell(bad, now+guessTold-1) || !q.tell(bad, now+guessTold) || q.tell(good, now) {
		t.Error("the log does not hear once a minute")
	}
	now += guessRefill
	if q.spent(bad, now) {
		t.Error("one does not come back in a second")
	}
	if q.wrong(bad, now); !q.spent(bad, now) {
		t.Error("more than one has come back")
	}
	now += guessBudget * guessRefill
	for range guessBudget - 1 {
		q.wrong(bad, now)
	}
	if q.spent(bad, now) {
		t.Error("the budget is not whole again")
	}
}

// However many places there are, what is remembered is bounded, and one that is at it is not forgotten for those that were.
func TestGuessersAreBounded(t *testing.T) {
	var q guesses
	bad := haunt{uid: 1000}
	for range 1000 * guessBudget {
		q.wrong(bad, 1)
	}
	for n := range 3 * maxGuessers {
		q.wrong(haunt{place: netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", n/250, n%250))}, 1)
		if len(q.places) > maxGuessers {
			t.Fatalf("%d places", len(q.places))
		}
	}
	if q.spent(haunt{uid: 1001}, 1) {
		t.Error("another user of the machine is taken for the one who guesses")
	}
	if !q.spent(bad, 1) {
		t.Error("who has guessed most is forgotten")
	}
}

func TestHushIsBoundedAndKnowsPlacesApart(t *testing.T) {
	var h hush
	loud, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := time.Hour
	if !h.tell(loud, now) || h.tell(loud, now+time.Second-1) || !h.tell(other, now) || !h.tell(loud, now+time.Second) {
		t.Error("not once a second for each place")
	}
	for n := range 3 * maxHushed {
		h.tell(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), now)
		if len(h.told) > maxHushed {
			t.Fatalf("%d places", len(h.told))
		}
	}
}
