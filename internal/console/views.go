package console

import (
	"context"
	"maps"
	"slices"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/internal/journal"
	"pooler/internal/monitor"
	"pooler/pool"
)

// Snapshots is what the views are made of. Its functions may be called by several goroutines, but by no loop; a view
// calls each at most once, so that what it shows fits together.
type Snapshots struct {
	Version string // the pooler's
	Loops   int    // event loops; 0: not known
	Now     func() time.Time

	Config     func() *config.Config
	Stat       func() frontend.Stat
	Clients    func(chosen func(frontend.Glance) bool) []frontend.ClientInfo // nil: all; any choice may be given a wider answer
	Consoles   func() []frontend.ClientInfo                                  // clients of the console itself
	Waiting    func() []frontend.WaiterInfo
	Sources    func() []frontend.SourceStat
	Databases  func() []frontend.DatabaseStat
	Histograms func() []frontend.HistogramStat
	Statements func() []frontend.StatementStat
	Prepared   func(context.Context) []frontend.PreparedStat
	Alarms     func() []frontend.Alarm
	Reaper     func() []frontend.ReaperRun

	Suspended func() bool
	Accepting func() bool

	Servers func() []pool.ServerInfo
	Pools   func() []pool.Stat
	Logins  func() []pool.LoginStat
	Orders  func(database string) pool.Orders // in force for a database; "": for all
	Ordered func() map[string]pool.Orders     // for databases by their own names

	Events         func() []journal.Event // oldest first, as is the next
	Establishments func() []journal.Establishment
	Monitor        Monitor // nil: there is none, because it is not wanted

	// Nil where they are not known: what is left out shows as NULL, or not at all.
	ServerPrepared func(context.Context) map[backend.ConnID]int // prepared statements
	Proofs         func() (limit, running, waiting int)         // clients' proofs of identity
}

// Monitor is a monitor.Monitor.
type Monitor interface {
	Culprits(by monitor.Rank) []monitor.Culprit
	Leaks() []monitor.Leak
	Sources(r monitor.Range) monitor.Chart
	Pools(r monitor.Range) monitor.Chart
}

// SnapshotsOf takes them of the running pooler.
func SnapshotsOf(srv *frontend.Server, pools *pool.Manager, version string) Snapshots {
	return Snapshots{
		Version: version, Now: time.Now,
		Config: srv.Config, Stat: srv.Stat, Clients: srv.ClientsThat, Consoles: srv.ConsoleClients, Waiting: srv.Waiting,
		Sources: srv.Sources, Databases: srv.Databases, Histograms: srv.Histograms, Statements: srv.Statements,
		Prepared: srv.PreparedStatements, Alarms: srv.Alarms, Reaper: srv.ReaperRuns,
		Events: srv.Journal().Events, Establishments: srv.Journal().Establishments,
		Suspended: srv.Suspended, Accepting: srv.Accepting,
		Servers: pools.Servers, Pools: pools.Stats, Logins: pools.Logins, Orders: pools.Orders, Ordered: pools.Ordered,
		ServerPrepared: func(ctx context.Context) map[backend.ConnID]int {
			known, _ := pool.Inspect(ctx, pools, func(c *backend.Conn) int { return c.Prepared.Len() }) // of the others it is not known
			return known
		},
	}
}

// Views is everything that SHOW can show, but for HELP: PgBouncer's views, DRCP's, and our own.
func Views(src Snapshots) []View {
	var all []View
	for _, some := range [][]definition{
		socketViews(), poolViews(), peopleViews(), statsViews(), programViews(), drcpViews(), holdingViews(), activityViews(),
		journalViews(), monitorViews(),
	} {
		for _, view := range some {
			all = append(all, view(&src))
		}
	}
	return all
}

// engaged is the clients that hold a server session or wait for one: few, however many there are.
func (src *Snapshots) engaged() []frontend.ClientInfo {
	return src.Clients(func(g frontend.Glance) bool { return g.Holds || g.Waits })
}

// definition makes a view of its snapshots.
type definition func(*Snapshots) View

// attr is a column of a view whose rows are made of Rs: its name and its value stand together.
type attr[R any] struct {
	name string
	typ  Type
	of   func(R) any
}

// define is the view of that name. collect takes the snapshots and returns what each row is made of, in order.
func define[R any](name, help string, attrs []attr[R], collect func(context.Context, *Snapshots) []R) definition {
	return tried(name, help, attrs, func(ctx context.Context, src *Snapshots) ([]R, error) { return collect(ctx, src), nil })
}

// tried is define for what may be refused.
func tried[R any](name, help string, attrs []attr[R], collect func(context.Context, *Snapshots) ([]R, error)) definition {
	return func(src *Snapshots) View {
		v := View{Name: name, Help: help}
		for _, a := range attrs {
			v.Columns = append(v.Columns, Column{Name: a.name, Type: a.typ})
		}
		v.Rows = func(ctx context.Context) ([][]any, error) {
			found, err := collect(ctx, src)
			if err != nil {
				return nil, err
			}
			rows, cells := make([][]any, len(found)), make([]any, len(found)*len(attrs))
			for i, r := range found {
				row := cells[i*len(attrs) : (i+1)*len(attrs) : (i+1)*len(attrs)]
				for j := range attrs {
					row[j] = attrs[j].of(r)
				}
				rows[i] = row
			}
			return rows, nil
		}
		return v
	}
}

// null is the value of columns whose notion has no counterpart here, or of which nothing is known.
func null[R any](R) any { return nil }

// zero is the value of counts of what never happens here.
func zero[R any](R) any { return 0 }

// some is v, or NULL if that says nothing.
func some[T comparable](v T) any {
	var nothing T
	if v == nothing {
		return nil
	}
	return v
}

// ago is how long t has been over at now: 0 if it never was, or was noted a moment later.
func ago(now, t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}

// inSeconds is a duration as our own columns show it: to the µs, so that it has no more digits than it is worth.
func inSeconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond).Microseconds()) / 1e6
}

// secondsSince is ago in seconds, or NULL if t never was.
func secondsSince(now, t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return inSeconds(ago(now, t))
}

// flag is a truth as PgBouncer counts it.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// yes is a truth as PgBouncer spells it.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// sortedRows is the rows in the order of their names.
func sortedRows[R any](byName map[string]R) []R {
	rows := make([]R, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		rows = append(rows, byName[name])
	}
	return rows
}
