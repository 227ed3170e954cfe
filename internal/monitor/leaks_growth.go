package monitor

import (
	"fmt"
	"time"
)

// growthSlots is how finely the past of a source's connections is kept, in parts of leak_growth.
const growthSlots = 32

// growth is how the number of a source's connections has gone since it fell last.
type growth struct {
	last  int64
	seen  time.Time
	begun time.Time // when it fell last, or was first seen
	rose  time.Time // when it rose last
	slot  int64     // the newest of marks, in slots since 1970
	marks [growthSlots + 1]int64
}

// growthLeast is by how much a source must have grown to be reported.
const growthLeast = 10

// grow looks at the sources that are tracked by name after a sample. A window of 0: no growth is reported.
func (w *leakWatch) grow(a *archive[SourceKey], now time.Time, window time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if window != w.window {
		w.window = window
		clear(w.growths)
		clear(w.growing)
	}
	if window <= 0 {
		return
	}
	a.eachConnected(func(key SourceKey, clients int64) {
		g := w.growths[key]
		if g == nil {
			if clients == 0 {
				return
			}
			g = &growth{}
			g.restart(now, window, clients)
			w.growths[key] = g
		}
		w.judgeLocked(key, g, now, clients)
		g.seen = now // judging may begin anew
	})
	for key, g := range w.growths {
		if !g.seen.Equal(now) { // it is not tracked by name any more
			delete(w.growths, key)
			delete(w.growing, key)
		}
	}
}

// eachConnected tells of the series that are tracked by name, and of the first gauge of each in the last sample.
func (a *archive[K]) eachConnected(tell func(K, int64)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, s := range a.tracked {
		tell(key, s.now[0])
	}
}

func slotOf(now time.Time, window time.Duration) int64 {
	return now.UnixNano() / max(1, int64(window)/growthSlots)
}

func (g *growth) restart(now time.Time, window time.Duration, clients int64) {
	*g = growth{last: clients, begun: now, slot: slotOf(now, window)}
	for i := range g.marks {
		g.marks[i] = clients
	}
}

func (w *leakWatch) judgeLocked(key SourceKey, g *growth, now time.Time, clients int64) {
	slot := slotOf(now, w.window)
	switch {
	case clients == 0:
		delete(w.growths, key)
		delete(w.growing, key)
		return
	case clients < g.last || slot < g.slot:
		g.restart(now, w.window, clients)
		delete(w.growing, key)
		return
	case clients > g.last:
		g.rose = now
	}
	for skipped := 0; g.slot < slot && skipped <= growthSlots; skipped++ {
		g.slot++
		g.marks[mod(g.slot, int64(len(g.marks)))] = g.last
	}
	g.slot, g.last = slot, clients
	before := g.marks[mod(slot-growthSlots, int64(len(g.marks)))]
	grown := clients - before
	if l := w.growing[key]; l != nil {
		l.Clients, l.Grown, l.Why = int(clients), int(clients-l.from), l.grew(now)
		return
	}
	if now.Sub(g.begun) < w.window || grown < growthLeast || now.Sub(g.rose) > w.window/3 {
		return
	}
	if len(w.growing) >= leaksMost {
		return
	}
	l := &Leak{
		Kind: LeakGrowth, SourceKey: key, Since: now.Add(-w.window), Found: now, Clients: int(clients), Grown: int(grown), from: before,
	}
	l.Why = l.grew(now)
	w.growing[key] = l
	w.found[LeakGrowth]++
	if len(w.fresh) < leaksMost {
		w.fresh = append(w.fresh, l)
	}
}

// grew is what a source's growth looks like.
func (l *Leak) grew(now time.Time) string {
	return fmt.Sprintf("has %d connections, %d more than %s ago, and never fewer in between: it opens connections that it does not close",
		l.Clients, l.Grown, now.Sub(l.Since).Truncate(time.Second))
}
