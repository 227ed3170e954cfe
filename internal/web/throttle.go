package web

import (
	"net/netip"
	"sync"
	"time"
)

const (
	failuresAllowed = 10
	failuresWithin  = time.Minute
	maxThrottled    = 4096
)

// throttle counts failed logins by where they come from. Any goroutine may use it.
type throttle struct {
	mu   sync.Mutex // guards all
	from map[netip.Prefix]*failures
}

type failures struct {
	count int // and logins under way
	since time.Time
}

// begin counts a login as failed until succeed takes that back, so that many at once are no way around. It returns how
// long to wait if there were too many.
func (t *throttle) begin(from netip.Addr, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.from[network(from)]
	if f == nil || now.Sub(f.since) >= failuresWithin {
		if f == nil {
			t.makeRoomLocked(now)
		}
		f = &failures{since: now}
		t.from[network(from)] = f
	}
	if f.count >= failuresAllowed {
		return f.since.Add(failuresWithin).Sub(now)
	}
	f.count++
	return 0
}

func (t *throttle) succeed(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.from[network(from)]
	if f == nil {
		return
	}
	if f.count--; f.count <= 0 {
		delete(t.from, network(from))
	}
}

// makeRoomLocked drops one that is over, or else an old one, among a few at random when there are too many.
func (t *throttle) makeRoomLocked(now time.Time) {
	if t.from == nil {
		t.from = map[netip.Prefix]*failures{}
	}
	if len(t.from) < maxThrottled {
		return
	}
	looks := 16
	var oldest netip.Prefix
	var since time.Time
	for key, f := range t.from {
		if since.IsZero() || f.since.Before(since) {
			oldest, since = key, f.since
		}
		if looks--; looks == 0 || now.Sub(since) >= failuresWithin {
			break
		}
	}
	delete(t.from, oldest)
}

// network is what one host can have addresses of.
func network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero Prefix for what is no address
	return p
}
