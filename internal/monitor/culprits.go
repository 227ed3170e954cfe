package monitor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pooler/frontend"
)

// Rank is what culprits are ranked by.
type Rank uint8

// The ranks.
const (
	RankLive    Rank = iota // connections
	RankIdle                // of those, that have no transaction open
	RankOldest              // the age of the oldest connection
	RankConnect             // logins in the last minute
	RankServer              // time that they held server sessions in the last ten minutes
	ranksOfAll
)

var rankNames = [...]string{"live", "idle", "oldest", "connect_rate", "server_seconds"}

func (r Rank) String() string { return rankNames[r] }

// ParseRank is the rank of a name.
func ParseRank(name string) (Rank, error) {
	if i := slices.Index(rankNames[:], name); i >= 0 {
		return Rank(i), nil
	}
	return 0, fmt.Errorf("there is no ranking by %q: choose one of %s", name, strings.Join(rankNames[:], ", "))
}

// Culprit is who uses much: an address, or one of its sources.
type Culprit struct {
	SourceKey                 // of an address the rest is ""
	Share             float64 // of the total of what is ranked by, 0 to 1; by age: of all connections
	Clients           int
	Active            int
	Idle              int
	InTransaction     int // idle in one
	Waiting           int
	Pinned            int
	Leaked            int
	Oldest            time.Time // when the oldest connection was made; zero: there is none
	ConnectsPerMinute int       // logins in the last minute
	ServerSeconds     float64   // server sessions held in the last ten minutes
	LastStatement     string    // of one of its clients, without its literals unless show_literals is set
	Sources           []Culprit // of an address, ranked likewise; of a source nil
}

const serverWindow = 10 * time.Minute

// Culprits ranks the addresses that clients come from.
func (m *Monitor) Culprits(by Rank) []Culprit {
	now := m.src.Now()
	list := m.src.Sources()
	held := m.serverSeconds(now)
	m.leaks.mu.Lock()
	bySource := make(map[SourceKey]int, len(m.leaks.bySource))
	for key, n := range m.leaks.bySource {
		bySource[key] = n
	}
	m.leaks.mu.Unlock()

	sources := map[SourceKey]*Culprit{}
	for i := range list {
		st := &list[i]
		key := keyOfSource(st)
		c := sources[key]
		if c == nil {
			c = &Culprit{SourceKey: key, Leaked: bySource[key], ServerSeconds: held[key]}
			sources[key] = c
		}
		c.add(st)
	}
	byAddress := map[string]*Culprit{}
	var total Culprit
	for _, c := range sources {
		if c.Clients == 0 && c.ConnectsPerMinute == 0 && c.ServerSeconds == 0 {
			continue
		}
		a := byAddress[c.Address]
		if a == nil {
			a = &Culprit{SourceKey: SourceKey{Address: c.Address}}
			byAddress[c.Address] = a
		}
		a.merge(c)
		total.merge(c)
		a.Sources = append(a.Sources, *c)
	}
	ranked := make([]Culprit, 0, len(byAddress))
	for _, a := range byAddress {
		rank(a.Sources, by, &total, now)
		a.LastStatement = a.Sources[0].LastStatement
		ranked = append(ranked, *a)
	}
	rank(ranked, by, &total, now)
	return ranked
}

// serverSeconds is how long sources have held server sessions lately.
func (m *Monitor) serverSeconds(now time.Time) map[SourceKey]float64 {
	c := m.Sources(Range{From: now.Add(-serverWindow), Step: 2 * serverWindow, Fields: []string{"server_seconds"}})
	held := map[SourceKey]float64{}
	for _, l := range c.Lines {
		for _, v := range l.Values[0] {
			if v > 0 { // NaN is not
				held[SourceKey{l.Key[0], l.Key[1], l.Key[2], l.Key[3]}] += v
			}
		}
	}
	return held
}

func (c *Culprit) add(st *frontend.SourceStat) {
	if c.LastStatement == "" || st.Clients > c.Clients && st.LastStatement != "" {
		c.LastStatement = st.LastStatement
	}
	c.Clients += st.Clients
	c.Active += st.Active
	c.Idle += st.Idle
	c.InTransaction += st.InTransaction
	c.Waiting += st.Waiting
	c.Pinned += st.Pinned
	c.ConnectsPerMinute += st.LastMinute
	c.age(st.Oldest)
}

func (c *Culprit) age(oldest time.Time) {
	if c.Oldest.IsZero() || !oldest.IsZero() && oldest.Before(c.Oldest) {
		c.Oldest = oldest
	}
}

func (c *Culprit) merge(other *Culprit) {
	c.Clients += other.Clients
	c.Active += other.Active
	c.Idle += other.Idle
	c.InTransaction += other.InTransaction
	c.Waiting += other.Waiting
	c.Pinned += other.Pinned
	c.Leaked += other.Leaked
	c.ConnectsPerMinute += other.ConnectsPerMinute
	c.ServerSeconds += other.ServerSeconds
	c.age(other.Oldest)
}

// measure is what a culprit is ranked by.
func (c *Culprit) measure(by Rank, now time.Time) float64 {
	switch by {
	case RankIdle:
		return float64(c.Idle)
	case RankOldest:
		if c.Oldest.IsZero() {
			return 0
		}
		return now.Sub(c.Oldest).Seconds()
	case RankConnect:
		return float64(c.ConnectsPerMinute)
	case RankServer:
		return c.ServerSeconds
	default:
		return float64(c.Clients)
	}
}

func rank(list []Culprit, by Rank, total *Culprit, now time.Time) {
	shared := by
	if by == RankOldest { // shares of ages mean nothing
		shared = RankLive
	}
	whole := total.measure(shared, now)
	for i := range list {
		if whole > 0 {
			list[i].Share = list[i].measure(shared, now) / whole
		}
	}
	slices.SortFunc(list, func(a, b Culprit) int {
		return cmp.Or(cmp.Compare(b.measure(by, now), a.measure(by, now)), cmp.Compare(b.Clients, a.Clients),
			cmp.Compare(a.Address, b.Address), cmp.Compare(a.Application, b.Application), cmp.Compare(a.User, b.User), cmp.Compare(a.Database, b.Database))
	})
}
