package pool

import (
	"cmp"
	"fmt"
	"time"

	"pooler/backend"
	"pooler/config"
)

// The arbiter moves server sessions between pools that share a limit. A pool that waits for a slot gets it from one
// that has a conn to spare, because it idles, or more than its fair share, as soon as one of those becomes free.

const (
	// spareAfter is how long a conn idles before it counts as spare for a pool that has as many: taking it means to
	// open another, which costs PostgreSQL milliseconds, for both pools if they take turns.
	spareAfter = time.Second
	// evenAfter is how long somebody must have waited before slots that cannot be shared evenly go round.
	evenAfter = 200 * time.Millisecond
	// arbiterPause bounds how often the arbiter looks.
	arbiterPause = 2 * time.Millisecond
)

// arbitrate has what is beyond narrower limits given up, gives slots that have become free to the pools that wait, and
// finds others for those left.
func (m *Manager) arbitrate() {
	if m.shrinking.Load() {
		m.shrinking.Store(m.shrink())
	}
	for _, p := range m.budgets.waiting() {
		if !p.claim() {
			m.relieve(p)
		}
	}
}

// claim opens a server session if a slot has become free for one that somebody waits for. It reports false when the
// pool goes on waiting for a slot.
func (p *Pool) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.orders.hold() || p.queue.len <= len(p.attempts)+p.cleaning || p.totalLocked() >= p.limitLocked() {
		p.capped = false
		p.house.budgets.forget(p)
		return true
	}
	if p.clock.now() < p.retryAt {
		return false
	}
	before := len(p.attempts)
	p.openLocked(1)
	if len(p.attempts) == before {
		return false
	}
	if p.queue.len <= len(p.attempts)+p.cleaning {
		p.house.budgets.forget(p)
	} else {
		p.house.budgets.wake() // one at a time, so that others get their turn
	}
	return true
}

// surplus is what a pool could give up for another.
type surplus struct {
	pool   *Pool
	idle   bool          // it has an idle conn beyond its minimum
	rested time.Duration // how long that has idled
	cede   int           // what it is giving up already
	conns  int           // that it has or opens
	given  int           // of those, that are on their way out
	halted bool          // it is paused or stopped, and gives up all it has without being asked
}

func (p *Pool) surplus() surplus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := surplus{pool: p, cede: p.cede, conns: len(p.leases) + len(p.attempts)}
	if s.halted = p.orders.hold(); s.halted {
		s.cede = s.conns
		return s
	}
	if len(p.leases) > p.cfg.MinSize || p.cfg.MinSize == 0 {
		if l := p.longestIdleLocked(nil); l != nil {
			s.idle, s.rested = true, p.clock.now()-l.since
		}
	}
	return s
}

// relieve has another pool give up a conn for p, which waits for a slot.
func (m *Manager) relieve(p *Pool) {
	p.mu.Lock()
	cfg := p.cfg
	need, waited := p.queue.len-len(p.attempts)-p.cleaning, time.Duration(0)
	if p.queue.first != nil {
		waited = p.clock.now() - p.queue.first.since
	}
	p.mu.Unlock()
	kind, ok := m.budgets.blocking(p, &cfg, need)
	if !ok {
		return
	}
	var others []surplus
	for _, q := range m.all() {
		if q != p && shares(p, q, kind) {
			others = append(others, q.surplus())
		}
	}
	if victim := m.budgets.choose(p, kind, others, waited); victim != nil && victim.giveUpOne() {
		m.budgets.promise(p)
	}
}

// blocking is the limit that keeps p from a slot, unless enough are promised already.
func (b *budgets) blocking(p *Pool, cfg *config.Pool, need int) (limitKind, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.wanting[p]
	if w == nil {
		return 0, false
	}
	if b.clock.now()-w.promisedAt > promiseKept {
		w.promised = 0
	}
	if w.promised >= need {
		return 0, false
	}
	for _, l := range b.limitsLocked(p, cfg) {
		if l.used >= l.limit {
			return l.kind, true
		}
	}
	return 0, false
}

// choose picks the pool that gives up a conn for p, among others under the same limit: one with a conn to spare,
// else the one that has most; nil: none.
func (b *budgets) choose(p *Pool, kind limitKind, others []surplus, waited time.Duration) *Pool {
	b.mu.Lock()
	defer b.mu.Unlock()
	promised := 0
	if w := b.wanting[p]; w != nil {
		promised = w.promised
	}
	var victim *Pool
	best := -1
	for _, s := range others {
		q := s.pool
		more := b.shareLocked(q, kind) - s.cede - b.shareLocked(p, kind) - promised
		if q.Key.User == p.Key.User {
			more = q.slots - s.cede - p.slots - promised
		}
		score := -1
		switch {
		case s.halted, q.slots-s.cede <= 0:
		case s.idle && s.cede == 0 && (more > 0 || s.rested >= spareAfter):
			score = idleFirst + q.slots
		case fairer(more, waited):
			score = more
		}
		if score > best {
			victim, best = q, score
		}
	}
	return victim
}

// idleFirst is more than a pool can have.
const idleFirst = 1_000_000

// fairer tells whether giving up one of so many more would make shares fairer. A difference of one is as even as it
// gets; then they take turns.
func fairer(more int, waited time.Duration) bool {
	return more >= 2 || more == 1 && waited >= evenAfter
}

func (b *budgets) promise(p *Pool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.wanting[p]; w != nil {
		w.promised++
		w.promisedAt = b.clock.now()
	}
}

// giveUpOne closes the conn that has idled longest, or else the next that becomes free.
func (p *Pool) giveUpOne() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.orders.hold() {
		return false
	}
	l := p.longestIdleLocked(nil)
	if l == nil || len(p.leases) <= p.cfg.MinSize {
		p.cede++
		return true
	}
	p.unshelveLocked(l)
	l.home.Post(func() { l.Conn.Retire(backend.RetireCeded) })
	return true
}

// shrink has server sessions given up that are beyond limits which have become narrower: idle ones at once, others as
// they become free. It reports whether there are still too many.
func (m *Manager) shrink() (more bool) {
	pools := m.all()
	done := map[string]bool{}
	once := func(kind limitKind, name string, limit int, p *Pool) {
		if key := fmt.Sprint(kind, name); limit > 0 && !done[key] {
			done[key] = true
			more = shrinkTo(limit, p, kind, pools) || more
		}
	}
	for key, p := range pools {
		cfg := p.Config()
		once(limitUser, key.User, cfg.MaxUser, p)
		once(limitDatabase, key.Database, cfg.MaxDatabase, p)
		once(limitAll, "", cfg.MaxServers, p)
	}
	return more
}

// shrinkTo does so for the pools that share p's limit of one kind.
func shrinkTo(limit int, p *Pool, kind limitKind, pools map[Key]*Pool) (more bool) {
	var sharers []surplus
	total := 0
	for _, q := range pools {
		if shares(p, q, kind) {
			s := q.surplus()
			sharers, total = append(sharers, s), total+s.conns-s.cede
			more = more || s.cede > 0
		}
	}
	for ; total > limit; total-- {
		victim := &sharers[0]
		for i := range sharers {
			if s := &sharers[i]; cmp.Or(compareBool(s.idle, victim.idle), cmp.Compare(s.conns-s.cede-s.given, victim.conns-victim.cede-victim.given)) > 0 {
				victim = s
			}
		}
		victim.pool.giveUpOne()
		given := victim.given
		if victim.idle {
			given++
		}
		*victim = victim.pool.surplus()
		victim.given = given
		more = true
	}
	return more
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
