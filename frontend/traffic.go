package frontend

import (
	"time"

	"pooler/config"
	"pooler/internal/loop"
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
	timedPhases
)

func (p timedPhase) String() string { return [...]string{"wait", "query", "transaction", "server"}[p] }

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
	keepGone   = 10 * time.Minute // a source of which nobody is left
	others     = "(others)"
)

// join counts one more session of who.
func (l *ledger) join(who member, key pool.Key, now time.Duration) *traffic {
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
			t = &traffic{who: who, timing: l.timing(key)}
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

// leave counts one session less.
func (t *traffic) leave(now time.Duration) {
	t.Ends++
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
		if len(l.departed) >= maxTimings {
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
	t.Assignments += other.Assignments
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

// since is what has come since t was before.
func (t Traffic) since(before Traffic) Traffic {
	return Traffic{
		Logins: t.Logins - before.Logins, Ends: t.Ends - before.Ends, Assignments: t.Assignments - before.Assignments,
		Transactions: t.Transactions - before.Transactions, Queries: t.Queries - before.Queries,
		Received: t.Received - before.Received, Sent: t.Sent - before.Sent,
		ClientParses: t.ClientParses - before.ClientParses, ServerParses: t.ServerParses - before.ServerParses,
		Binds: t.Binds - before.Binds, TransactionTime: t.TransactionTime - before.TransactionTime,
		QueryTime: t.QueryTime - before.QueryTime, WaitTime: t.WaitTime - before.WaitTime,
		ServerTime: t.ServerTime - before.ServerTime,
	}
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
		t.timing.phases[timedWait].add(lasted)
	case s.phase == PhaseActive:
		t.ServerTime += lasted
		t.timing.phases[timedServer].add(lasted)
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
		s.crew.statements.count(u, s.lease.Conn.StdStrings, took)
	}
	u.Query = 0
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

// noteStatement takes note of a statement that is about to run.
func (s *Session) noteStatement(text []byte) {
	u := &s.lease.Conn.Usage
	if u.Uncounted { // one of several in a pipeline: how long each takes is not known
		s.crew.statements.count(u, s.lease.Conn.StdStrings, 0)
	}
	u.Note(text)
}

// Sources lists where clients come from, those with the most first, and those of which nobody has been left for a
// while last. It asks the loops, so no loop may call it.
func (srv *Server) Sources() []SourceStat {
	type sourceKey struct {
		Source
		class string
	}
	merged := map[sourceKey]*SourceStat{}
	var all []SourceStat
	parts := gather(srv, (*crew).sources)
	all = make([]SourceStat, 0, len(parts))
	for i := range parts {
		one := &parts[i]
		key := sourceKey{one.Source, one.Class}
		key.Clients = 0
		if into := merged[key]; into != nil {
			into.merge(one)
			continue
		}
		all = append(all, *one)
		merged[key] = &all[len(all)-1]
	}
	sortSources(all)
	return all
}

func (c *crew) sources() []SourceStat {
	now := c.now()
	c.ledger.sweep(now, keepGone)
	list := make([]SourceStat, 0, len(c.ledger.sources))
	for who, t := range c.ledger.sources {
		t.at = len(list)
		address := sourceName(who.source)
		if who.user == others {
			address = others
		}
		list = append(list, SourceStat{
			Source: Source{Address: address, Application: who.application, User: who.user, Database: who.database},
			Class:  who.class, LastMinute: t.logins.sum(now), Traffic: t.Traffic,
		})
	}
	for i := range c.berths {
		b := &c.berths[i]
		b.judge(now)
		if b.session.traffic != nil {
			list[b.session.traffic.at].take(b, now)
		}
	}
	return list
}

// take counts a client that is connected.
func (st *SourceStat) take(b *berth, now time.Duration) {
	s := b.session
	st.Clients++
	begun := loop.Epoch().Add(s.begun)
	if st.Oldest.IsZero() || begun.Before(st.Oldest) {
		st.Oldest = begun
	}
	switch {
	case s.phase == PhaseWaiting:
		st.Waiting++
	case b.does == doesRun, b.does == doesOwn:
		st.Active++
	case b.does == doesThink:
		st.InTransaction++
	default:
		st.Idle++
	}
	if s.pins != 0 {
		st.Pinned++
	}
	if s.lease != nil {
		st.Holding++
		st.ServerTime += now - s.entered
	}
}

func (st *SourceStat) merge(other *SourceStat) {
	st.Clients += other.Clients
	st.Active += other.Active
	st.Idle += other.Idle
	st.InTransaction += other.InTransaction
	st.Waiting += other.Waiting
	st.Pinned += other.Pinned
	st.Holding += other.Holding
	st.LastMinute += other.LastMinute
	if st.Oldest.IsZero() || !other.Oldest.IsZero() && other.Oldest.Before(st.Oldest) {
		st.Oldest = other.Oldest
	}
	st.add(&other.Traffic)
}

// databases sums the traffic up by database.
func (c *crew) databases() []DatabaseStat {
	sums := map[string]*Traffic{}
	of := func(database string) *Traffic {
		if sums[database] == nil {
			sums[database] = &Traffic{}
		}
		return sums[database]
	}
	for who, t := range c.ledger.sources {
		of(who.database).add(&t.Traffic)
	}
	for database, t := range c.ledger.departed {
		of(database).add(t)
	}
	var list []DatabaseStat
	for database, t := range sums {
		list = append(list, DatabaseStat{Database: database, Total: *t})
	}
	return list
}

// totals is what the clients of each database have done since the start.
func (srv *Server) totals() map[string]Traffic {
	sums := map[string]Traffic{}
	for _, one := range gather(srv, (*crew).databases) {
		sum := sums[one.Database]
		sum.add(&one.Total)
		sums[one.Database] = sum
	}
	return sums
}

// Histograms lists how long things took, by pool and phase. It asks the loops, so no loop may call it.
func (srv *Server) Histograms() []HistogramStat {
	type of struct {
		pool.Key
		phase timedPhase
	}
	merged := map[of]*histogram{}
	for _, t := range gather(srv, (*crew).timings) {
		for p := range timedPhases {
			h := merged[of{t.key, p}]
			if h == nil {
				h = &histogram{}
				merged[of{t.key, p}] = h
			}
			h.merge(&t.phases[p])
		}
	}
	var list []HistogramStat
	for o, h := range merged {
		list = append(list, HistogramStat{Key: o.Key, Phase: o.phase.String(), Count: h.count, Sum: h.sum, Buckets: h.list()})
	}
	sortHistograms(list)
	return list
}

func (c *crew) timings() []timing {
	list := make([]timing, 0, len(c.ledger.timings))
	for _, t := range c.ledger.timings {
		list = append(list, *t)
	}
	return list
}

// Config is the configuration in force.
func (srv *Server) Config() *config.Config { return srv.settings.Load().cfg }
