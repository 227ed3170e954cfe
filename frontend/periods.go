package frontend

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// periods remembers what had been done when the last two periods ended.
type periods struct {
	mu           sync.Mutex // guards both
	older, newer period
}

// period is the end of one.
type period struct {
	at     time.Time
	totals map[string]Traffic
}

// keepPeriods notes the totals at the end of each period.
func (srv *Server) keepPeriods(stop <-chan struct{}) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	p := &srv.periods
	for ended := time.Now(); ; {
		select {
		case <-stop:
			return
		case now := <-t.C:
			if now.Sub(ended) < time.Duration(srv.Config().StatsPeriod) {
				continue
			}
			ended = now
			totals := srv.totals()
			p.mu.Lock()
			p.older, p.newer = p.end(), period{now, totals}
			p.mu.Unlock()
		}
	}
}

// end is when the last period ended, or the first began.
func (p *periods) end() period {
	if p.newer.totals == nil {
		return p.older
	}
	return p.newer
}

// last is the last period that is over, or what there is of the first.
func (p *periods) last(now period) (from, to period) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.newer.totals == nil {
		return p.older, now
	}
	return p.older, p.newer
}

// Databases lists what each database's clients have done, by name. It asks the loops, so no loop may call it.
func (srv *Server) Databases() []DatabaseStat {
	now := period{time.Now(), srv.totals()}
	from, to := srv.periods.last(now)
	list := make([]DatabaseStat, 0, len(now.totals))
	for name, total := range now.totals {
		list = append(list, DatabaseStat{
			Database: name, Total: total, Average: to.totals[name].since(from.totals[name]), Period: to.at.Sub(from.at),
		})
	}
	slices.SortFunc(list, func(a, b DatabaseStat) int { return strings.Compare(a.Database, b.Database) })
	return list
}

// since is what has come since t was before. A count that has moved to others meanwhile may be smaller now.
func (t Traffic) since(before Traffic) Traffic {
	less := func(now, before uint64) uint64 { return now - min(before, now) }
	return Traffic{
		Logins: less(t.Logins, before.Logins), Ends: less(t.Ends, before.Ends), Refused: less(t.Refused, before.Refused),
		Assignments: less(t.Assignments, before.Assignments), Reuses: less(t.Reuses, before.Reuses),
		Transactions: less(t.Transactions, before.Transactions), Queries: less(t.Queries, before.Queries),
		Received: less(t.Received, before.Received), Sent: less(t.Sent, before.Sent),
		ClientParses: less(t.ClientParses, before.ClientParses), ServerParses: less(t.ServerParses, before.ServerParses),
		Binds: less(t.Binds, before.Binds), TransactionTime: max(0, t.TransactionTime-before.TransactionTime),
		QueryTime: max(0, t.QueryTime-before.QueryTime), WaitTime: max(0, t.WaitTime-before.WaitTime),
		ServerTime: max(0, t.ServerTime-before.ServerTime),
	}
}

func sortSources(list []SourceStat) {
	slices.SortFunc(list, func(a, b SourceStat) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), strings.Compare(a.String(), b.String()), strings.Compare(a.Class, b.Class))
	})
}

func sortHistograms(list []HistogramStat) {
	slices.SortStableFunc(list, func(a, b HistogramStat) int {
		return cmp.Or(strings.Compare(a.Database, b.Database), strings.Compare(a.User, b.User), strings.Compare(a.Phase, b.Phase))
	})
}
