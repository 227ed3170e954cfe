package monitor

import (
	"strings"
	"time"

	"pooler/backend"
	"pooler/frontend"
	"pooler/pool"
)

// restName stands for all that are not told apart; the frontend uses it likewise.
const restName = "(others)"

var restKey = SourceKey{restName, restName, restName, restName}

func sourceShape() shape[SourceKey] {
	return shape[SourceKey]{
		keyNames: []string{"address", "application", "user", "database"},
		gauges:   plain("connected", "active", "idle", "idle_in_transaction", "waiting", "pinned", "leaked"),
		counters: append(plain("connects", "disconnects", "refused", "reuses", "queries"), field{"server_seconds", milli}),
		most:     maxTracked,
		others:   restKey,
		moves:    true,
		names:    func(k SourceKey) []string { return []string{k.Address, k.Application, k.User, k.Database} },
	}
}

func poolShape() shape[PoolKey] {
	return shape[PoolKey]{
		keyNames: []string{"database", "user"},
		gauges:   plain("open", "busy", "idle", "waiting"),
		counters: append(plain("requests", "hits", "misses", "waits"), field{"wait_seconds", milli}, field{"timeouts", 1}, field{"opened", 1}, field{"retired", 1}),
		most:     maxPools,
		others:   PoolKey{restName, restName},
		names:    func(k PoolKey) []string { return []string{k.Database, k.User} },
	}
}

func plain(names ...string) []field {
	fields := make([]field, 0, len(names))
	for _, name := range names {
		fields = append(fields, field{name, 1})
	}
	return fields
}

// Places in the values of sources, see sourceShape.
const (
	gaugeConnected = iota
	gaugeActive
	gaugeIdle
	gaugeInTransaction
	gaugeWaiting
	gaugePinned
	gaugeLeaked
	countConnects
	countDisconnects
	countRefused
	countReuses
	countQueries
	countServerTime
	sourceFields
)

// sampler has what a sample needs, so that the next one need not allocate it.
type sampler struct {
	sources []sampleRow[SourceKey]
	pools   []sampleRow[PoolKey]
	minute  int64 // of the last sample
}

// sample takes a sample at each second. A second that it misses is missing in history.
func (m *Monitor) sample() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := m.src.Now()
		timer.Reset(now.Truncate(time.Second).Add(time.Second).Sub(now))
		select {
		case <-m.stop:
			return
		case <-timer.C:
			m.takeSample(m.src.Now())
		}
	}
}

// takeSample records what is true now.
func (m *Monitor) takeSample(now time.Time) {
	second := now.Unix()
	sources := m.src.Sources()
	m.fillSources(sources)
	if !m.sources.sample(second, m.sampler.sources) {
		return
	}
	m.sampler.fillPools(m.src.Pools())
	m.pools.sample(second, m.sampler.pools)
	m.leaks.grow(m.sources, now, time.Duration(m.src.Config().LeakGrowth))
	clear(m.sampler.sources) // no name is kept alive
	if begun := second - mod(second, minute); m.store != nil && begun != m.sampler.minute {
		m.sampler.minute = begun
		select {
		case m.minutes <- struct{}{}:
		default: // the disk is slow
		}
	}
}

// fillSources is a function so that a bug in it leaves nothing locked.
func (m *Monitor) fillSources(list []frontend.SourceStat) {
	m.leaks.mu.Lock()
	defer m.leaks.mu.Unlock()
	m.sampler.fillSources(list, m.leaks.bySource)
}

func (s *sampler) fillSources(list []frontend.SourceStat, leaked map[SourceKey]int) {
	s.sources = s.sources[:0]
	for i := range list {
		st := &list[i]
		row := sampleRow[SourceKey]{key: keyOfSource(st)}
		v := &row.values
		v[gaugeConnected], v[gaugeActive], v[gaugeIdle] = int64(st.Clients), int64(st.Active), int64(st.Idle)
		v[gaugeInTransaction], v[gaugeWaiting], v[gaugePinned] = int64(st.InTransaction), int64(st.Waiting), int64(st.Pinned)
		v[countConnects], v[countDisconnects], v[countRefused] = int64(st.Logins), int64(st.Ends), int64(st.Refused)
		v[countReuses], v[countQueries], v[countServerTime] = int64(st.Reuses), int64(st.Queries), milliseconds(st.ServerTime)
		s.sources = append(s.sources, row)
	}
	if len(leaked) == 0 {
		return
	}
	// A source with several connection classes has several rows: its leaks are counted in the first.
	counted := make(map[SourceKey]bool, len(leaked))
	for i := range s.sources {
		row := &s.sources[i]
		if n := leaked[row.key]; n > 0 && !counted[row.key] {
			row.values[gaugeLeaked] = int64(n)
			counted[row.key] = true
		}
	}
	rest := sampleRow[SourceKey]{key: restKey}
	for key, n := range leaked {
		if !counted[key] { // the frontend counts it under the others
			rest.values[gaugeLeaked] += int64(n)
		}
	}
	s.sources = append(s.sources, rest)
}

// longestName bounds what is kept of a name, in bytes: PostgreSQL's end at 63.
const longestName = 128

func shorten(name string) string {
	if len(name) <= longestName {
		return name
	}
	return strings.ToValidUTF8(name[:longestName], "")
}

func keyOfSource(st *frontend.SourceStat) SourceKey {
	return SourceKey{shorten(st.Address), shorten(st.Application), shorten(st.User), shorten(st.Database)}
}

func (s *sampler) fillPools(list []pool.Stat) {
	s.pools = s.pools[:0]
	for i := range list {
		st := &list[i]
		row := sampleRow[PoolKey]{key: PoolKey{shorten(st.Database), shorten(st.User)}}
		busy := st.Active + st.Reclaiming
		for i, v := range []int64{
			int64(st.Idle + busy), int64(busy), int64(st.Idle), int64(st.Waiting),
			int64(st.Requests), int64(st.Hits), int64(st.Misses), int64(st.Waits), milliseconds(st.WaitTime), int64(st.Timeouts), int64(st.Opened), retirements(st.Retired),
		} {
			row.values[i] = v
		}
		s.pools = append(s.pools, row)
	}
}

func retirements(by map[backend.RetireReason]uint64) (n int64) {
	for _, k := range by {
		n += int64(k)
	}
	return n
}
