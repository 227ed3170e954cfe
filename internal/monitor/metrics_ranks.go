package monitor

import (
	"sync"
	"unicode/utf8"

	"pooler/backend"
	"pooler/frontend"
	"pooler/pool"
)

// Names that clients choose ([databases."*"]) must not fill Prometheus, so only so many have metrics of their own.
const (
	namedMost    = 200 // pools, and databases
	longestLabel = 128 // bytes of a name; PostgreSQL's end at 63
	othersLabel  = "(others)"
)

var othersKey = pool.Key{Database: othersLabel, User: othersLabel}

// ranks decides who has metrics of its own; the rest is summed up under others. A counter must never decrease, so
// nobody changes sides while it is there. Any goroutine may use it.
type ranks struct {
	mu     sync.Mutex // guards all below
	named  map[pool.Key]bool
	rest   map[pool.Key]pool.Stat // the others, as they were last seen
	gone   pool.Stat              // what those have counted that are not there any more
	timed  firstComers[pool.Key]
	counts firstComers[string]
}

// firstComers are those that came before there were too many. They are kept for good: what is counted for them is too.
type firstComers[K comparable] map[K]bool

func (f *firstComers[K]) has(k K) bool {
	if *f == nil {
		*f = firstComers[K]{}
	}
	if !(*f)[k] && len(*f) < namedMost {
		(*f)[k] = true
	}
	return (*f)[k]
}

// presentable tells whether a name can be a label's value.
func presentable(name string) bool { return len(name) <= longestLabel && utf8.ValidString(name) }

func presentableKey(k pool.Key) bool {
	return k != othersKey && presentable(k.Database) && presentable(k.User)
}

// timing is the name under which durations of k's clients are counted.
func (r *ranks) timing(k pool.Key) pool.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	if presentableKey(k) && r.timed.has(k) {
		return k
	}
	return othersKey
}

// databases sums up what the databases' clients have done.
func (r *ranks) databases(all []frontend.DatabaseStat) map[string]*frontend.Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := map[string]*frontend.Traffic{}
	for i := range all {
		name, t := all[i].Database, &all[i].Total
		if name == othersLabel || !presentable(name) || !r.counts.has(name) {
			name = othersLabel
		}
		sum := sums[name]
		if sum == nil {
			sum = &frontend.Traffic{}
			sums[name] = sum
		}
		sum.Received += t.Received
		sum.Sent += t.Sent
		sum.Reuses += t.Reuses
	}
	return sums
}

// pools returns the pools that have metrics of their own, and the others as one if there are or were any.
func (r *ranks) pools(all []pool.Stat) []pool.Stat {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(all)
	list := make([]pool.Stat, 0, min(len(all), namedMost)+1)
	sum := newSum()
	for i := range all {
		s := &all[i]
		if r.isNamed(s) {
			list = append(list, *s)
			continue
		}
		r.keep(s)
		addCounts(&sum, s)
		addState(&sum, s)
	}
	if addCounts(&sum, &r.gone); sum.Opened > 0 || sum.Requests > 0 || len(r.rest) > 0 {
		list = append(list, sum)
	}
	return list
}

func keyOf(s *pool.Stat) pool.Key { return pool.Key{Database: s.Database, User: s.User} }

func (r *ranks) isNamed(s *pool.Stat) bool {
	key := keyOf(s)
	if r.named[key] {
		return true
	}
	if _, other := r.rest[key]; other || len(r.named) >= namedMost || !presentableKey(key) {
		return false
	}
	r.named[key] = true
	return true
}

// keep remembers what one of the others has counted.
func (r *ranks) keep(s *pool.Stat) {
	if last, ok := r.rest[keyOf(s)]; ok && (s.Requests < last.Requests || s.Opened < last.Opened) {
		addCounts(&r.gone, &last) // it was forgotten, and has come again
	}
	kept := *s
	kept.Classes = nil
	r.rest[keyOf(s)] = kept
}

// forget lets go of the pools that are not there any more.
func (r *ranks) forget(all []pool.Stat) {
	if r.rest == nil {
		r.named, r.rest, r.gone = map[pool.Key]bool{}, map[pool.Key]pool.Stat{}, newSum()
	}
	there := make(map[pool.Key]bool, len(all))
	for i := range all {
		there[keyOf(&all[i])] = true
	}
	for key := range r.named {
		if !there[key] {
			delete(r.named, key)
		}
	}
	for key, last := range r.rest {
		if !there[key] {
			addCounts(&r.gone, &last)
			delete(r.rest, key)
		}
	}
}

func newSum() pool.Stat {
	return pool.Stat{Database: othersLabel, User: othersLabel, Retired: map[backend.RetireReason]uint64{}}
}

func addCounts(sum, s *pool.Stat) {
	sum.Requests += s.Requests
	sum.Hits += s.Hits
	sum.Misses += s.Misses
	sum.Waits += s.Waits
	sum.WaitTime += s.WaitTime
	sum.Timeouts += s.Timeouts
	sum.Opened += s.Opened
	for reason, n := range s.Retired {
		sum.Retired[reason] += n
	}
}

func addState(sum, s *pool.Stat) {
	sum.Size += s.Size
	sum.Idle += s.Idle
	sum.Active += s.Active
	sum.Reclaiming += s.Reclaiming
	sum.Opening += s.Opening
	sum.Closing += s.Closing
	sum.Waiting += s.Waiting
	sum.LongestWait = max(sum.LongestWait, s.LongestWait)
}
