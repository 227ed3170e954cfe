package web

import (
	"net/netip"
	"sync"
	"time"
)

// Failed logins that are allowed within a minute: of one user from one network, and of all from there, who may have nothing
// in common but a proxy.
const (
	failuresOfUser    = 10
	failuresOfNetwork = 100
	failuresWithin    = time.Minute
	maxThrottled      = 4096
)

// throttle counts failed logins by where they come from, and by user. Any goroutine may use it. Logins under way do not
// count: of those there are maxRequests at most.
type throttle struct {
	mu  sync.Mutex // guards all
	all map[suspect]*failures
}

// suspect is who guesses passwords, maybe.
type suspect struct {
	from     netip.Prefix
	everyone bool // else it is user, as the log has it
	user     string
}

type failures struct {
	count int
	since time.Time
}

// suspects is whom a login of user from there counts for.
func suspects(from netip.Addr, user string) map[suspect]int {
	return map[suspect]int{{from: network(from), user: shortened(user)}: failuresOfUser, {from: network(from), everyone: true}: failuresOfNetwork}
}

// wait is how long to wait if there were too many failures.
func (t *throttle) wait(from netip.Addr, user string, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for who, allowed := range suspects(from, user) {
		if f := t.all[who]; f != nil && f.count >= allowed {
			wait = max(wait, f.since.Add(failuresWithin).Sub(now))
		}
	}
	return wait
}

// fail counts a failure.
func (t *throttle) fail(from netip.Addr, user string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for who := range suspects(from, user) {
		f := t.all[who]
		if f == nil || now.Sub(f.since) >= failuresWithin {
			if f == nil {
				t.makeRoomLocked(now)
			}
			f = &failures{since: now}
			t.all[who] = f
		}
		f.count++
	}
}

// makeRoomLocked drops one that is over, or else an old one, among a few at random when there are too many.
func (t *throttle) makeRoomLocked(now time.Time) {
	if t.all == nil {
		t.all = map[suspect]*failures{}
	}
	if len(t.all) < maxThrottled {
		return
	}
	looks := 16
	var oldest suspect
	var since time.Time
	for key, f := range t.all {
		if since.IsZero() || f.since.Before(since) {
			oldest, since = key, f.since
		}
		if looks--; looks == 0 || now.Sub(since) >= failuresWithin {
			break
		}
	}
	delete(t.all, oldest)
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
