package console

import (
	"cmp"
	"context"
	"time"

	"pooler/frontend"
)

// statsRow is what a database's clients have done.
type statsRow struct {
	frontend.DatabaseStat
}

// perSecond is a count's average as PgBouncer has it: whole ones for each second of the period.
func (r *statsRow) perSecond(n uint64) uint64 {
	us := uint64(r.Period / time.Microsecond)
	if us == 0 {
		return 0
	}
	return uint64(float64(n) * 1e6 / float64(us))
}

// each is how long one of n took on average, in whole µs.
func each(all time.Duration, n uint64) int64 {
	if n == 0 {
		return 0
	}
	return all.Microseconds() / int64(n)
}

// figure is one of PgBouncer's figures, under the names that its views have for it.
type figure struct {
	stats    string // in SHOW STATS behind total_ and avg_, and in the others where they have none of their own
	avg      string // in SHOW STATS behind avg_
	totals   string // in SHOW STATS_TOTALS
	averages string // in SHOW STATS_AVERAGES
	sum      string // in SHOW TOTALS behind total_ and avg_
	total    func(*statsRow) any
	average  func(*statsRow) any
}

// counted is a figure that counts things.
func counted(stats string, of func(*frontend.Traffic) uint64) figure {
	return figure{
		stats: stats,
		total: func(r *statsRow) any { return of(&r.Total) }, average: func(r *statsRow) any { return r.perSecond(of(&r.Average)) },
	}
}

// lasting is a figure that sums up how long things took, of which there were so many.
func lasting(stats string, of func(*frontend.Traffic) (time.Duration, uint64)) figure {
	return figure{
		stats:   stats,
		total:   func(r *statsRow) any { t, _ := of(&r.Total); return t.Microseconds() },
		average: func(r *statsRow) any { return each(of(&r.Average)) },
	}
}

func (f figure) named(avg, totals, averages, sum string) figure {
	f.avg, f.totals, f.averages, f.sum = avg, totals, averages, sum
	return f
}

// figures are those of PgBouncer 1.25, in its order and under its names, which differ from view to view.
func figures() []figure {
	type t = frontend.Traffic
	return []figure{
		counted("server_assignment_count", func(t *t) uint64 { return t.Assignments }),
		counted("xact_count", func(t *t) uint64 { return t.Transactions }),
		counted("query_count", func(t *t) uint64 { return t.Queries }),
		counted("received", func(t *t) uint64 { return t.Received }).named("recv", "bytes_received", "bytes_received", "client_bytes"),
		counted("sent", func(t *t) uint64 { return t.Sent }).named("", "bytes_sent", "bytes_sent", "server_bytes"),
		lasting("xact_time", func(t *t) (time.Duration, uint64) { return t.TransactionTime, t.Transactions }),
		lasting("query_time", func(t *t) (time.Duration, uint64) { return t.QueryTime, t.Queries }),
		lasting("wait_time", func(t *t) (time.Duration, uint64) { return t.WaitTime, t.Assignments }),
		counted("client_parse_count", func(t *t) uint64 { return t.ClientParses }).named("", "", "avg_client_parse_count", "ps_client_parse_count"),
		counted("server_parse_count", func(t *t) uint64 { return t.ServerParses }).named("", "", "avg_server_parse_count", "ps_server_parse_count"),
		counted("bind_count", func(t *t) uint64 { return t.Binds }).named("", "", "avg_bind_count", "ps_bind_count"),
	}
}

// furtherFigures come after PgBouncer's. The first is what it has from 1.26 on.
func furtherFigures() []figure {
	type t = frontend.Traffic
	return []figure{
		counted("client_login_count", func(t *t) uint64 { return t.Logins }),
		lasting("server_time", func(t *t) (time.Duration, uint64) { return t.ServerTime, t.Assignments }),
	}
}

func databaseAttr() attr[*statsRow] {
	return attr[*statsRow]{"database", Text, func(r *statsRow) any { return r.Database }}
}

// bothAttrs are the totals and then the averages.
func bothAttrs(figures []figure) []attr[*statsRow] {
	var attrs []attr[*statsRow]
	for _, f := range figures {
		attrs = append(attrs, attr[*statsRow]{"total_" + f.stats, Numeric, f.total})
	}
	for _, f := range figures {
		attrs = append(attrs, attr[*statsRow]{"avg_" + cmp.Or(f.avg, f.stats), Numeric, f.average})
	}
	return attrs
}

func statsAttrs() []attr[*statsRow] {
	attrs := append([]attr[*statsRow]{databaseAttr()}, bothAttrs(figures())...)
	attrs = append(attrs, bothAttrs(furtherFigures())...)
	// PgBouncer's name for queries until 1.7, without which Debian's prometheus-pgbouncer-exporter fails.
	return append(attrs, attr[*statsRow]{"total_requests", Numeric, func(r *statsRow) any { return r.Total.Queries }})
}

func totalsAttrs() []attr[*statsRow] {
	attrs := []attr[*statsRow]{databaseAttr()}
	for _, f := range append(figures(), furtherFigures()...) {
		attrs = append(attrs, attr[*statsRow]{cmp.Or(f.totals, f.stats), Numeric, f.total})
	}
	return attrs
}

func averagesAttrs() []attr[*statsRow] {
	attrs := []attr[*statsRow]{databaseAttr()}
	for _, f := range append(figures(), furtherFigures()...) {
		attrs = append(attrs, attr[*statsRow]{cmp.Or(f.averages, f.stats), Numeric, f.average})
	}
	return append(attrs, attr[*statsRow]{"period_seconds", Float8, func(r *statsRow) any { return inSeconds(r.Period) }})
}

// statsRows is a row for each database that is configured or has been used, and for the console.
func statsRows(_ context.Context, src *Snapshots) []*statsRow {
	byName := map[string]*statsRow{}
	for _, st := range src.Databases() {
		byName[st.Database] = &statsRow{st}
	}
	for _, name := range append(databaseNames(src.Config(), byName), consoleName) {
		if byName[name] == nil {
			byName[name] = &statsRow{frontend.DatabaseStat{Database: name}}
		}
	}
	return sortedRows(byName)
}

// sumRow is a row of SHOW TOTALS.
type sumRow struct {
	name  string
	value any
}

// together is what a and b have done.
func together(a, b frontend.Traffic) frontend.Traffic {
	return frontend.Traffic{
		Logins: a.Logins + b.Logins, Ends: a.Ends + b.Ends, Refused: a.Refused + b.Refused,
		Assignments: a.Assignments + b.Assignments, Reuses: a.Reuses + b.Reuses,
		Transactions: a.Transactions + b.Transactions, Queries: a.Queries + b.Queries,
		Received: a.Received + b.Received, Sent: a.Sent + b.Sent,
		ClientParses: a.ClientParses + b.ClientParses, ServerParses: a.ServerParses + b.ServerParses, Binds: a.Binds + b.Binds,
		TransactionTime: a.TransactionTime + b.TransactionTime, QueryTime: a.QueryTime + b.QueryTime,
		WaitTime: a.WaitTime + b.WaitTime, ServerTime: a.ServerTime + b.ServerTime,
	}
}

// sumRows is the figures of all databases together.
func sumRows(_ context.Context, src *Snapshots) []sumRow {
	all := &statsRow{}
	for _, st := range src.Databases() {
		all.Total, all.Average = together(all.Total, st.Total), together(all.Average, st.Average)
		all.Period = max(all.Period, st.Period)
	}
	var rows []sumRow
	for _, some := range [][]figure{figures(), furtherFigures()} {
		for _, f := range some {
			rows = append(rows, sumRow{"total_" + cmp.Or(f.sum, f.stats), f.total(all)})
		}
		for _, f := range some {
			rows = append(rows, sumRow{"avg_" + cmp.Or(f.sum, f.stats), f.average(all)})
		}
	}
	return rows
}

func statsViews() []definition {
	return []definition{
		define("stats", "what each database's clients have done, in all and on average", statsAttrs(), statsRows),
		define("stats_totals", "what they have done since the start", totalsAttrs(), statsRows),
		define("stats_averages", "what they have done in the last minute that is over, on average", averagesAttrs(), statsRows),
		define("totals", "what all clients have done, in all and on average", []attr[sumRow]{
			{"name", Text, func(r sumRow) any { return r.name }},
			{"value", Numeric, func(r sumRow) any { return r.value }},
		}, sumRows),
	}
}
