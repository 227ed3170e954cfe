package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"pooler/frontend"
	"pooler/pool"
)

// picture is how things stand, for the first page.
type picture struct {
	Time    float64       `json:"time"`
	Version string        `json:"version"`
	Uptime  float64       `json:"uptime_seconds"`
	Monitor bool          `json:"monitor"`
	Totals  totals        `json:"totals"`
	Pools   []poolPart    `json:"pools"`
	Sources []*sourcePart `json:"sources"`
}

// totals: what is not known is null.
type totals struct {
	Clients       int      `json:"clients"`
	Active        int      `json:"active"`
	Idle          int      `json:"idle"`
	InTransaction int      `json:"idle_in_transaction"`
	Waiting       int      `json:"waiting"`
	Pinned        int      `json:"pinned"`
	Leaked        *int     `json:"leaked"`
	Servers       int      `json:"servers"`
	Busy          int      `json:"servers_busy"`
	Multiplex     *float64 `json:"multiplex"` // clients for each server session
	Queries       *float64 `json:"queries_per_second"`
	Transactions  *float64 `json:"transactions_per_second"`
}

type poolPart struct {
	Database string  `json:"database"`
	User     string  `json:"user"`
	Size     int     `json:"size"`
	Open     int     `json:"open"`
	Busy     int     `json:"busy"`
	Idle     int     `json:"idle"`
	Opening  int     `json:"opening"`
	Closing  int     `json:"closing"`
	Waiting  int     `json:"waiting"`
	Longest  float64 `json:"longest_wait_seconds"`
	Clients  int     `json:"clients"`
	Paused   bool    `json:"paused"`
	Disabled bool    `json:"disabled"`
	Stopped  bool    `json:"stopped"`
}

type sourcePart struct {
	Address       string `json:"address"`
	Application   string `json:"application"`
	User          string `json:"user"`
	Database      string `json:"database"`
	Clients       int    `json:"clients"`
	Active        int    `json:"active"`
	Idle          int    `json:"idle"`
	InTransaction int    `json:"idle_in_transaction"`
	Waiting       int    `json:"waiting"`
	Pinned        int    `json:"pinned"`
}

// topSources is how many sources the picture shows.
const topSources = 12

// present keeps the picture for a moment: however many look at it, the loops are asked once.
type present struct {
	mu      sync.Mutex // guards all
	taken   time.Time
	picture *picture
	counted traffic // when the picture was taken
}

// traffic is what has been done up to a time.
type traffic struct {
	at                    time.Time
	queries, transactions uint64
}

const (
	pictureLife = 500 * time.Millisecond
	longestRate = 15 * time.Second // an older count says nothing about now
)

func (a *api) now(w http.ResponseWriter, r *http.Request, _ *visitor) error {
	return writeJSON(w, r, a.look())
}

func (a *api) look() *picture {
	p := &a.present
	p.mu.Lock()
	defer p.mu.Unlock()
	now := a.Snapshots.Now()
	if p.picture != nil && now.Sub(p.taken) < pictureLife {
		return p.picture
	}
	before := p.counted
	p.counted = a.count(now)
	p.taken, p.picture = now, a.take(now)
	p.picture.Totals.rates(before, p.counted)
	return p.picture
}

func (a *api) count(now time.Time) traffic {
	c := traffic{at: now}
	for _, d := range a.Snapshots.Databases() {
		c.queries += d.Total.Queries
		c.transactions += d.Total.Transactions
	}
	return c
}

func (t *totals) rates(from, to traffic) {
	took := to.at.Sub(from.at).Seconds()
	if from.at.IsZero() || took <= 0 || took > longestRate.Seconds() {
		return
	}
	t.Queries = new(float64(to.queries-min(from.queries, to.queries)) / took)
	t.Transactions = new(float64(to.transactions-min(from.transactions, to.transactions)) / took)
}

// take asks the loops and the pools.
func (a *api) take(now time.Time) *picture {
	p := &picture{
		Time: seconds(now), Version: a.Snapshots.Version, Uptime: now.Sub(a.started).Seconds(),
		Monitor: a.Monitor != nil, Pools: []poolPart{}, Sources: mergeSources(a.Snapshots.Sources()),
	}
	t := &p.Totals
	for _, s := range p.Sources {
		t.Clients += s.Clients
		t.Active += s.Active
		t.Idle += s.Idle
		t.InTransaction += s.InTransaction
		t.Waiting += s.Waiting
		t.Pinned += s.Pinned
	}
	p.Sources = p.Sources[:min(topSources, len(p.Sources))]
	for _, st := range a.Snapshots.Pools() {
		part := poolPartOf(&st)
		p.Pools = append(p.Pools, part)
		t.Servers += part.Open
		t.Busy += part.Busy
	}
	if a.Monitor != nil {
		leaked := 0
		for _, n := range a.Monitor.LeakStat().Now {
			leaked += n
		}
		t.Leaked = &leaked
	}
	if t.Servers > 0 {
		t.Multiplex = new(float64(t.Clients) / float64(t.Servers))
	}
	return p
}

func poolPartOf(st *pool.Stat) poolPart {
	return poolPart{
		Database: st.Database, User: st.User, Size: st.Size, Open: st.Idle + st.Active + st.Reclaiming, Busy: st.Active, Idle: st.Idle,
		Opening: st.Opening, Closing: st.Closing, Waiting: st.Waiting, Longest: st.LongestWait.Seconds(), Clients: st.Sessions,
		Paused: st.Orders.Paused, Disabled: st.Orders.Disabled, Stopped: st.Orders.Stopped,
	}
}

// mergeSources puts the connection classes of each source that somebody is left of together, those with the most clients
// first.
func mergeSources(stats []frontend.SourceStat) []*sourcePart {
	byName := map[sourcePart]*sourcePart{}
	list := []*sourcePart{}
	for i := range stats {
		st := &stats[i]
		if st.Clients == 0 {
			continue
		}
		name := sourcePart{Address: st.Address, Application: st.Application, User: st.User, Database: st.Database}
		part := byName[name]
		if part == nil {
			one := name
			part = &one
			byName[name] = part
			list = append(list, part)
		}
		part.Clients += st.Clients
		part.Active += st.Active
		part.Idle += st.Idle
		part.InTransaction += st.InTransaction
		part.Waiting += st.Waiting
		part.Pinned += st.Pinned
	}
	slices.SortStableFunc(list, func(a, b *sourcePart) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), strings.Compare(a.Address, b.Address), strings.Compare(a.Application, b.Application))
	})
	return list
}

// seconds is a time as the API has it: since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
