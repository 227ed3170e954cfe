package frontend

import (
	"time"

	"pooler/pool"
)

// traffic counts what the clients of one source do on one loop, whose thread alone touches it. The hot path adds to
// plain numbers; views ask the loop for a copy.
type traffic struct {
	Traffic
	who      member
	timing   *timing
	sessions int
	gone     time.Duration // since when nobody is left
	last     string        // a statement of one of them, not long ago
	logins   minuteCount
	at       int // place in a list that is being made
}

// timing is how long things took for the clients of one pool, on one loop.
type timing struct {
	key    pool.Key
	phases [timedPhases]histogram
}

// timedPhase is something whose duration is counted.
type timedPhase uint8

const (
	timedWait        timedPhase = iota // for a server session, of those that had to wait
	timedQuery                         // from its first message to its ReadyForQuery
	timedTransaction                   // from its first message to its end
	timedServer                        // that a server session was held
	timedCarry                         // until the client's settings were in force on another server session, where they had to be put there
	timedPrepare                       // until its statement was prepared there, likewise
	timedWrite                         // until the client had read its answer, of those who did not at once
	timedPhases
)

func (p timedPhase) String() string {
	return [...]string{"wait", "query", "transaction", "server", "carry", "prepare", "write"}[p]
}

// ledger is the traffic of one loop, by source. What it keeps is bounded whatever names clients choose.
type ledger struct {
	sources  map[member]*traffic
	timings  map[pool.Key]*timing
	departed map[string]*Traffic // of sources that are not kept any more, by database
	sweepAt  int                 // sources at which those that are gone are looked for
}

const (
	maxSources = 2_000            // of one loop: further ones are counted under others
	maxTimings = 200              // likewise pools
	maxGone    = 5_000            // databases of those that are gone
	keepGone   = 10 * time.Minute // a source of which nobody is left
	others     = "(others)"
)

// join counts one more session of who.
func (l *ledger) join(who member, now time.Duration) *traffic {
	if l.sources == nil {
		l.sources, l.timings, l.departed = map[member]*traffic{}, map[pool.Key]*timing{}, map[string]*Traffic{}
		l.sweepAt = maxSources
	}
	t := l.sources[who]
	if t == nil {
		if len(l.sources) >= l.sweepAt {
			l.sweep(now, 0)
			l.sweepAt = max(maxSources, len(l.sources)+maxSources/4)
		}
		if len(l.sources) >= maxSources {
			who = member{database: who.database, user: others, class: others, application: others}
			if len(l.sources) >= 2*maxSources {
				who.database = others
			}
		}
		if t = l.sources[who]; t == nil {
			t = &traffic{who: who, timing: l.timing(pool.Key{Database: who.database, User: who.user})}
			l.sources[who] = t
		}
	}
	t.sessions++
	return t
}

func (l *ledger) timing(key pool.Key) *timing {
	t := l.timings[key]
	if t == nil {
		if len(l.timings) >= maxTimings {
			key = pool.Key{Database: others, User: others}
		}
		if t = l.timings[key]; t == nil {
			t = &timing{key: key}
			l.timings[key] = t
		}
	}
	return t
}

// leave counts one session less. greeted tells whether its login was complete.
func (t *traffic) leave(now time.Duration, greeted bool) {
	if greeted {
		t.Ends++
	}
	if t.sessions--; t.sessions == 0 {
		t.gone = now
	}
}

// sweep forgets the sources of which nobody has been left for so long. What they did stays counted for their database.
func (l *ledger) sweep(now, keep time.Duration) {
	for who, t := range l.sources {
		if t.sessions > 0 || now-t.gone < keep {
			continue
		}
		delete(l.sources, who)
		l.departedOf(who.database).add(&t.Traffic)
	}
}

func (l *ledger) departedOf(database string) *Traffic {
	t := l.departed[database]
	if t == nil {
		if len(l.departed) >= maxGone {
			database = others
		}
		if t = l.departed[database]; t == nil {
			t = &Traffic{}
			l.departed[database] = t
		}
	}
	return t
}

// add adds what other has counted.
func (t *Traffic) add(other *Traffic) {
	t.Logins += other.Logins
	t.Ends += other.Ends
	t.Refused += other.Refused
	t.Assignments += other.Assignments
	t.Reuses += other.Reuses
	t.Transactions += other.Transactions
	t.Queries += other.Queries
	t.Received += other.Received
	t.Sent += other.Sent
	t.ClientParses += other.ClientParses
	t.ServerParses += other.ServerParses
	t.Binds += other.Binds
	t.TransactionTime += other.TransactionTime
	t.QueryTime += other.QueryTime
	t.WaitTime += other.WaitTime
	t.ServerTime += other.ServerTime
}

// minuteCount counts what happened in the last minute, in slots of ten seconds.
type minuteCount struct {
	slot  int64
	slots [6]uint32
}

const minuteSlot = 10 * time.Second

func (m *minuteCount) add(now time.Duration) {
	m.move(now)
	m.slots[m.slot%int64(len(m.slots))]++
}

func (m *minuteCount) sum(now time.Duration) (n int) {
	m.move(now)
	for _, one := range m.slots {
		n += int(one)
	}
	return n
}

// move empties the slots whose time is over.
func (m *minuteCount) move(now time.Duration) {
	slot := int64(now / minuteSlot)
	if slot-m.slot >= int64(len(m.slots)) {
		m.slots = [6]uint32{}
	} else {
		for s := m.slot + 1; s <= slot; s++ {
			m.slots[s%int64(len(m.slots))] = 0
		}
	}
	m.slot = slot
}

// endPhase counts how long the phase has lasted that ends now.
func (s *Session) endPhase() {
	now := s.req.Loop.Now()
	lasted, t := now-s.entered, s.traffic
	s.entered = now
	switch {
	case t == nil || s.req.Login: // a login is no request
	case s.phase == PhaseWaiting && s.req.Waited:
		t.WaitTime += lasted
		if s.lease != nil {
			s.lease.Conn.Usage.Waited = lasted
		}
		t.timing.phases[timedWait].add(lasted)
	case s.phase == PhaseActive:
		t.ServerTime += lasted
		t.timing.phases[timedServer].add(lasted)
		if s.seldom != nil && s.seldom.trace != nil {
			s.breakTrace(now)
		}
	}
}

// endCarry counts how long it took to put the client's settings in force, but for its login.
func (s *Session) endCarry() {
	u := &s.lease.Conn.Usage
	carried := stage{u.Carry, s.req.Loop.Now()}
	if u.Carry = 0; carried.begun == 0 || !s.greeted {
		return
	}
	s.traffic.timing.phases[timedCarry].add(carried.ended - carried.begun)
	if s.seldom != nil && s.seldom.trace != nil {
		s.seldom.trace.carry = carried
	}
}

// endPrepare counts how long it took to prepare the client's statement on another server session.
func (s *Session) endPrepare() {
	if u := &s.lease.Conn.Usage; u.Prepare > 0 {
		now := s.req.Loop.Now()
		s.traffic.timing.phases[timedPrepare].add(now - u.Prepare)
		if s.seldom != nil && s.seldom.trace != nil {
			s.seldom.trace.notePrepared(stage{u.Prepare, now})
		}
		u.Prepare = 0
	}
}

// noteUnread notes whether the client has yet to read what it was sent.
func (s *Session) noteUnread() {
	t := s.trail
	switch unread := s.client.Queued() > 0; {
	case t == nil || unread == (t.unread > 0):
	case unread:
		t.unread = s.req.Loop.Now()
	default:
		s.traffic.timing.phases[timedWrite].add(s.req.Loop.Now() - t.unread)
		t.unread = 0
	}
}

// beginQuery notes when the request began of which a message is about to be sent.
func (s *Session) beginQuery() {
	u := &s.lease.Conn.Usage
	u.Query = s.req.Loop.Now()
	if u.Transaction == 0 {
		u.Transaction = u.Query
	}
}

// endQuery counts a request that is answered. more tells whether another one is being worked on.
func (s *Session) endQuery(status byte, more bool) {
	u, t, now := &s.lease.Conn.Usage, s.traffic, s.req.Loop.Now()
	if u.Query == 0 {
		return
	}
	took := now - u.Query
	t.Queries++
	t.QueryTime += took
	t.timing.phases[timedQuery].add(took)
	if u.Uncounted {
		s.countStatement(took)
	}
	if s.seldom != nil && s.seldom.trace != nil {
		s.answerTraced(now, more)
	}
	u.Query, u.Waited = 0, 0
	if more {
		u.Query = now
	}
	if status != 'I' {
		return
	}
	t.Transactions++
	took = now - u.Transaction
	t.TransactionTime += took
	t.timing.phases[timedTransaction].add(took)
	if u.Transaction = 0; more {
		u.Transaction = now
	}
}
