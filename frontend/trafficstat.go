package frontend

import (
	"cmp"
	"time"

	"pooler/internal/loop"
	"pooler/pool"
)

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
			Class:  who.class, LastMinute: t.logins.sum(now), LastStatement: t.last, Traffic: t.Traffic,
		})
	}
	for i := range c.berths {
		b := &c.berths[i]
		b.judge(now)
		if b.session.traffic != nil {
			list[b.session.traffic.at].take(b, now)
		}
	}
	if len(c.ledger.departed) > 0 { // so that what all have done never becomes less
		gone := SourceStat{Source: Source{Address: others, Application: others, User: others, Database: others}, Class: others}
		for _, t := range c.ledger.departed {
			gone.add(t)
		}
		list = append(list, gone)
	}
	return c.strangers.appendTo(list, now)
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
		if !s.req.Login { // which is not counted when it ends either
			st.ServerTime += now - s.entered
		}
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
	st.LastStatement = cmp.Or(st.LastStatement, other.LastStatement)
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
