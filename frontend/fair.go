package frontend

import (
	"net/netip"
	"sync"

	"pooler/internal/gate"
)

// fair is a gate at which each place has its share, so that what is slow for one, such as the name servers of its addresses,
// keeps the others waiting little. Any goroutine may use it.
type fair struct {
	gate  *gate.Gate
	share int

	mu     sync.Mutex // guards places
	places map[netip.Addr]*line
}

// line is those of one place.
type line struct {
	inside  int      // at the gate, or through it
	waiting []func() // first come, first served
}

func newFair(limit, share int) *fair {
	return &fair{gate: gate.New(limit), share: share, places: map[netip.Addr]*line{}}
}

// of is where those of a place wait for their turn.
func (q *fair) of(place netip.Addr) turn { return fairTurn{q, place} }

type fairTurn struct {
	*fair
	place netip.Addr
}

// Go implements turn.
func (t fairTurn) Go(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.places[t.place]
	if l == nil {
		l = &line{}
		t.places[t.place] = l
	}
	if l.inside == t.share {
		l.waiting = append(l.waiting, f)
		return
	}
	l.inside++
	t.enter(f)
}

// enter has f wait at the gate, behind those who are there.
func (t fairTurn) enter(f func()) {
	t.gate.Go(func() {
		defer t.leave()
		f()
	})
}

// leave lets in the next of the place.
func (t fairTurn) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.places[t.place]
	if len(l.waiting) > 0 {
		f := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		t.enter(f)
		return
	}
	if l.inside--; l.inside == 0 {
		delete(t.places, t.place)
	}
}
