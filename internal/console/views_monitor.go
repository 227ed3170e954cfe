package console

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"pooler/internal/monitor"
)

func culpritAttrs() []attr[monitor.Culprit] {
	type culprit = monitor.Culprit
	return []attr[culprit]{
		{"addr", Text, func(c culprit) any { return c.Address }},
		{"connections", Int4, func(c culprit) any { return c.Clients }},
		{"share_percent", Float8, func(c culprit) any { return math.Round(1000*c.Share) / 10 }},
		{"active", Int4, func(c culprit) any { return c.Active }},
		{"idle", Int4, func(c culprit) any { return c.Idle }},
		{"in_transaction", Int4, func(c culprit) any { return c.InTransaction }},
		{"waiting", Int4, func(c culprit) any { return c.Waiting }},
		{"pinned", Int4, func(c culprit) any { return c.Pinned }},
		{"leaked", Int4, func(c culprit) any { return c.Leaked }},
		{"oldest", Timestamp, func(c culprit) any { return c.Oldest }},
		{"connects_per_minute", Int4, func(c culprit) any { return c.ConnectsPerMinute }},
		{"server_seconds", Float8, func(c culprit) any { return math.Round(1000*c.ServerSeconds) / 1000 }},
		{"sources", Int4, func(c culprit) any { return len(c.Sources) }},
		{"application", Text, func(c culprit) any { return programs(c.Sources) }},
		{"last_statement", Text, func(c culprit) any { return some(lastOf(c)) }},
	}
}

// namedPrograms is how many a row names.
const namedPrograms = 3

// programs names the programs of an address, those with most first.
func programs(some []monitor.Culprit) string {
	var names []string
	for _, c := range some {
		if name := c.Application; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > namedPrograms {
		names = append(names[:namedPrograms], "…")
	}
	return strings.Join(names, ", ")
}

func lastOf(c monitor.Culprit) string {
	for _, one := range c.Sources {
		if one.LastStatement != "" {
			return one.LastStatement
		}
	}
	return c.LastStatement
}

// leakRow is a leak, and the time at which that was so.
type leakRow struct {
	monitor.Leak
	now time.Time
}

func leakAttrs() []attr[leakRow] {
	return []attr[leakRow]{
		{"kind", Text, func(l leakRow) any { return l.Kind.String() }},
		{"idle_seconds", Float8, func(l leakRow) any { return secondsSince(l.now, l.Since) }},
		{"since", Timestamp, func(l leakRow) any { return l.Since }},
		{"client", Text, func(l leakRow) any { return l.client() }},
		{"addr", Text, func(l leakRow) any { return l.Address }},
		{"port", Int4, func(l leakRow) any { return some(int(l.Port)) }},
		{"pid", Int4, func(l leakRow) any { return some(l.PID) }},
		{"command", Text, func(l leakRow) any { return some(l.Command) }},
		{"application", Text, func(l leakRow) any { return l.Application }},
		{"user", Text, func(l leakRow) any { return l.User }},
		{"database", Text, func(l leakRow) any { return l.Database }},
		{"class", Text, func(l leakRow) any { return some(l.Class) }},
		{"first_statement", Text, func(l leakRow) any { return some(l.First) }},
		{"statement", Text, func(l leakRow) any { return some(l.Last) }},
		{"comment", Text, func(l leakRow) any { return some(l.Comment) }},
		{"tags", Text, func(l leakRow) any { return some(l.tags()) }},
		{"statements", Int8, func(l leakRow) any { return l.Statements }},
		{"pin_reason", Text, func(l leakRow) any { return some(l.PinReason) }},
		{"pin_statement", Text, func(l leakRow) any { return some(l.Pin) }},
		{"transaction_seconds", Float8, func(l leakRow) any { return secondsSince(l.now, l.Transaction) }},
		{"connected_seconds", Float8, func(l leakRow) any { return secondsSince(l.now, l.Connected) }},
		{"server_pid", Int4, func(l leakRow) any { return some(int32(l.ServerPID)) }},
		{"clients", Int4, func(l leakRow) any { return some(l.Clients) }},
		{"grown", Int4, func(l leakRow) any { return some(l.Grown) }},
		{"why", Text, func(l leakRow) any { return l.Why }},
		{"found", Timestamp, func(l leakRow) any { return l.Found }},
		{"id", Int8, func(l leakRow) any { return some(l.Client) }},
	}
}

func (l leakRow) client() any {
	if l.Client == 0 {
		return nil
	}
	return clientPtr(l.Client)
}

// tags is what the program says of itself in a comment, as key=value.
func (l leakRow) tags() string {
	list := make([]string, 0, len(l.Tags))
	for _, tag := range l.Tags {
		list = append(list, tag.Key+"="+tag.Value)
	}
	return strings.Join(list, " ")
}

func leakRows(_ context.Context, src *Snapshots) []leakRow {
	now := src.Now()
	var rows []leakRow
	for _, l := range src.Monitor.Leaks() {
		rows = append(rows, leakRow{l, now})
	}
	return rows
}

// momentRow is one line of a chart at one of its times.
type momentRow struct {
	chart *monitor.Chart
	line  *monitor.Line
	at    int
}

// momentAttrs is a chart as rows: the time, the key's columns, and a column for each field.
func momentAttrs(keys, fields []string) []attr[momentRow] {
	attrs := []attr[momentRow]{
		{"time", Timestamp, func(m momentRow) any { return m.chart.Times[m.at] }},
		{"recorded_seconds", Float8, func(m momentRow) any { return m.chart.Samples[m.at] }},
	}
	for i, name := range keys {
		attrs = append(attrs, attr[momentRow]{name, Text, func(m momentRow) any { return m.line.Key[i] }})
	}
	for i, name := range fields {
		attrs = append(attrs, attr[momentRow]{name, Float8, func(m momentRow) any { return m.line.Values[i][m.at] }})
	}
	return attrs
}

// Bounds of what history takes of memory: a row has twenty values, and is in memory before WHERE and LIMIT choose from it.
const (
	maxMoments    = 50_000
	historyAtOnce = 2
)

// moments is the rows of a chart in which something is other than zero, by time.
func moments(chart monitor.Chart) ([]momentRow, error) {
	var rows []momentRow
	for at := range chart.Times {
		for i := range chart.Lines {
			line := &chart.Lines[i]
			if slices.ContainsFunc(line.Values, func(field []float64) bool { return field[at] != 0 && !math.IsNaN(field[at]) }) {
				rows = append(rows, momentRow{&chart, line, at})
			}
		}
		if len(rows) > maxMoments {
			return nil, (&Error{Code: codeLimitExceeded, Message: fmt.Sprintf("more than %d rows were recorded in that time", maxMoments)}).
				withHint("WHERE and LIMIT choose from them too late to help. GET /api/series of the dashboard gives the part that its filter, from, to and step ask for.")
		}
	}
	return rows, nil
}

// Stretches of history that views show.
const (
	lately, latelyStep = 5 * time.Minute, time.Second
	dayLong, dayStep   = 24 * time.Hour, 5 * time.Minute
)

// history is views of what was recorded in the last stretch of time, step by step. They wait for each other if many are
// wanted at once.
type history chan struct{}

func (h history) view(name, help string, keys, fields []string, of func(Monitor, monitor.Range) monitor.Chart, stretch, step time.Duration) definition {
	build := tried(name, help, momentAttrs(keys, fields), func(_ context.Context, src *Snapshots) ([]momentRow, error) {
		return moments(of(src.Monitor, monitor.Range{From: src.Now().Add(-stretch), Step: step, Fields: fields}))
	})
	return func(src *Snapshots) View {
		v := build(src)
		rows := v.Rows
		v.Rows = func(ctx context.Context) ([][]any, error) {
			select {
			case h <- struct{}{}:
				defer func() { <-h }()
				return rows(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return v
	}
}

// monitored is a view that needs the monitor.
func monitored(build definition) definition {
	return func(src *Snapshots) View {
		v := build(src)
		rows := v.Rows
		v.Rows = func(ctx context.Context) ([][]any, error) {
			if src.Monitor == nil {
				return nil, (&Error{Code: codeNotInState, Message: "nothing is recorded, because of monitor = false"}).
					withHint("Set monitor = true in the configuration file and start the pooler again.")
			}
			return rows(ctx)
		}
		return v
	}
}

func monitorViews() []definition {
	sourceKeys, poolKeys := []string{"addr", "application", "user", "database"}, []string{"database", "user"}
	sources, pools := monitor.SourceFields(), monitor.PoolFields()
	past := make(history, historyAtOnce)
	all := []definition{
		define("culprits", "addresses that clients come from, most connections first, with their share", culpritAttrs(),
			func(_ context.Context, src *Snapshots) []monitor.Culprit {
				return src.Monitor.Culprits(monitor.RankLive)
			}),
		define("leaks", "clients, and sources, that have probably forgotten to give something back", leakAttrs(), leakRows),
		past.view("history", "each source, second by second, for the last five minutes", sourceKeys, sources, Monitor.Sources, lately, latelyStep),
		past.view("history_day", "each source, in steps of five minutes, for the last day", sourceKeys, sources, Monitor.Sources, dayLong, dayStep),
		past.view("pool_history", "each pool, second by second, for the last five minutes", poolKeys, pools, Monitor.Pools, lately, latelyStep),
		past.view("pool_history_day", "each pool, in steps of five minutes, for the last day", poolKeys, pools, Monitor.Pools, dayLong, dayStep),
	}
	for i, one := range all {
		all[i] = monitored(one)
	}
	return all
}
