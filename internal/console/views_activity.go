package console

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"pooler/frontend"
)

// sourceRow is where clients come from.
type sourceRow struct {
	frontend.SourceStat
	now time.Time
}

func sourceAttrs() []attr[*sourceRow] {
	return []attr[*sourceRow]{
		{"addr", Text, func(s *sourceRow) any { return s.Address }},
		{"application", Text, func(s *sourceRow) any { return s.Application }},
		{"user", Text, func(s *sourceRow) any { return s.User }},
		{"database", Text, func(s *sourceRow) any { return s.Database }},
		{"class", Text, func(s *sourceRow) any { return some(s.Class) }},
		{"connections", Int4, func(s *sourceRow) any { return s.Clients }},
		{"active", Int4, func(s *sourceRow) any { return s.Active }},
		{"idle", Int4, func(s *sourceRow) any { return s.Idle }},
		{"in_transaction", Int4, func(s *sourceRow) any { return s.InTransaction }},
		{"waiting", Int4, func(s *sourceRow) any { return s.Waiting }},
		{"pinned", Int4, func(s *sourceRow) any { return s.Pinned }},
		{"holding", Int4, func(s *sourceRow) any { return s.Holding }},
		{"oldest", Timestamp, func(s *sourceRow) any { return s.Oldest }},
		{"oldest_seconds", Float8, func(s *sourceRow) any { return secondsSince(s.now, s.Oldest) }},
		{"connects_per_minute", Int4, func(s *sourceRow) any { return s.LastMinute }},
		{"server_seconds", Float8, func(s *sourceRow) any { return inSeconds(s.ServerTime) }},
		{"query_seconds", Float8, func(s *sourceRow) any { return inSeconds(s.QueryTime) }},
		{"transaction_seconds", Float8, func(s *sourceRow) any { return inSeconds(s.TransactionTime) }},
		{"wait_seconds", Float8, func(s *sourceRow) any { return inSeconds(s.WaitTime) }},
		{"queries", Int8, func(s *sourceRow) any { return s.Queries }},
		{"transactions", Int8, func(s *sourceRow) any { return s.Transactions }},
		{"logins", Int8, func(s *sourceRow) any { return s.Logins }},
		{"refused", Int8, func(s *sourceRow) any { return s.Refused }},
		{"disconnects", Int8, func(s *sourceRow) any { return s.Ends }},
		{"reuses", Int8, func(s *sourceRow) any { return s.Reuses }},
		{"received", Int8, func(s *sourceRow) any { return s.Received }},
		{"sent", Int8, func(s *sourceRow) any { return s.Sent }},
		{"last_statement", Text, func(s *sourceRow) any { return some(s.LastStatement) }},
	}
}

// sourceRows is those with most connections first, and among equals those that have used PostgreSQL most.
func sourceRows(_ context.Context, src *Snapshots) []*sourceRow {
	now := src.Now()
	var rows []*sourceRow
	for _, s := range src.Sources() {
		rows = append(rows, &sourceRow{s, now})
	}
	slices.SortStableFunc(rows, func(a, b *sourceRow) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), cmp.Compare(b.ServerTime, a.ServerTime))
	})
	return rows
}

func reaperAttrs() []attr[frontend.ReaperRun] {
	type run = frontend.ReaperRun
	return []attr[run]{
		{"time", Timestamp, func(r run) any { return r.Time }},
		{"what", Text, func(r run) any { return r.Of }},
		{"threshold", Int4, func(r run) any { return r.Threshold }},
		{"target", Int4, func(r run) any { return r.Target }},
		{"before", Int4, func(r run) any { return r.Before }},
		{"after", Int4, func(r run) any { return r.After }},
		{"closed", Int4, func(r run) any { return r.Closed }},
		{"dry_run", Bool, func(r run) any { return r.DryRun }},
		{"victims", Text, func(r run) any { return r.Victims }},
	}
}

func alarmAttrs() []attr[frontend.Alarm] {
	type alarm = frontend.Alarm
	return []attr[alarm]{
		{"time", Timestamp, func(a alarm) any { return a.Time }},
		{"setting", Text, func(a alarm) any { return a.Limit }},
		{"whose", Text, func(a alarm) any { return a.Of }},
		{"used", Int4, func(a alarm) any { return a.Used }},
		{"maximum", Int4, func(a alarm) any { return a.Max }},
		{"percent", Int4, func(a alarm) any { return a.Percent }},
		{"top_sources", Text, func(a alarm) any { return topSources(a.Sources) }},
	}
}

func topSources(some []frontend.Source) string {
	names := make([]string, 0, len(some))
	for _, s := range some {
		names = append(names, s.String())
	}
	return strings.Join(names, "; ")
}

// statementRow is a statement, and what part of all time it took.
type statementRow struct {
	frontend.StatementStat
	percent float64
}

func statementAttrs() []attr[*statementRow] {
	return []attr[*statementRow]{
		{"total_seconds", Float8, func(r *statementRow) any { return inSeconds(r.Time) }},
		{"percent", Float8, func(r *statementRow) any { return r.percent }},
		{"calls", Int8, func(r *statementRow) any { return r.Calls }},
		{"avg_seconds", Float8, func(r *statementRow) any { return inSeconds(r.Time) / float64(max(1, r.Calls)) }},
		{"longest_seconds", Float8, func(r *statementRow) any { return inSeconds(r.Longest) }},
		{"pins", Int8, func(r *statementRow) any { return r.Pins }},
		{"estimated", Bool, func(r *statementRow) any { return r.Estimated }},
		{"last_call", Timestamp, func(r *statementRow) any { return r.Last }},
		{"statement", Text, func(r *statementRow) any { return r.Text }},
	}
}

func statementRows(_ context.Context, src *Snapshots) []*statementRow {
	var rows []*statementRow
	var all time.Duration
	for _, st := range src.Statements() {
		rows = append(rows, &statementRow{StatementStat: st})
		all += st.Time
	}
	for _, r := range rows {
		if all > 0 {
			r.percent = math.Round(1000*float64(r.Time)/float64(all)) / 10
		}
	}
	return rows
}

func preparedAttrs() []attr[frontend.PreparedStat] {
	type prepared = frontend.PreparedStat
	return []attr[prepared]{
		{"name", Text, func(p prepared) any { return p.Name }},
		{"clients", Int4, func(p prepared) any { return p.Clients }},
		{"servers", Int4, func(p prepared) any { return p.Servers }},
		{"typed_parameters", Int4, func(p prepared) any { return p.Types }},
		{"statement", Text, func(p prepared) any { return p.Text }},
	}
}

// spread is how durations are spread, of one histogram or of several.
type spread struct {
	count   uint64
	sum     time.Duration
	buckets []frontend.Bucket // in order
}

func (s *spread) add(h frontend.HistogramStat) {
	s.count += h.Count
	s.sum += h.Sum
	merged := make([]frontend.Bucket, 0, len(s.buckets)+len(h.Buckets))
	a, b := s.buckets, h.Buckets
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Upper < b[0].Upper:
			merged, a = append(merged, a[0]), a[1:]
		case a[0].Upper > b[0].Upper:
			merged, b = append(merged, b[0]), b[1:]
		default:
			merged = append(merged, frontend.Bucket{Upper: a[0].Upper, Count: a[0].Count + b[0].Count})
			a, b = a[1:], b[1:]
		}
	}
	s.buckets = append(append(merged, a...), b...)
}

// at is what the part q of all took at most, in µs: the bound of the bucket in which that is, which is too high by a fifth
// at most. It is NULL if there is nothing.
func (s *spread) at(q float64) any {
	var all, below uint64
	for _, b := range s.buckets {
		all += b.Count
	}
	if all == 0 {
		return nil
	}
	rank := max(1, uint64(math.Ceil(q*float64(all))))
	for _, b := range s.buckets {
		if below += b.Count; below >= rank {
			return microseconds(b.Upper)
		}
	}
	return microseconds(s.buckets[len(s.buckets)-1].Upper)
}

// microseconds rounds up: a bound remains one.
func microseconds(d time.Duration) int64 {
	return int64((d + time.Microsecond - 1) / time.Microsecond)
}

// histogramRow is how long something took in a pool.
type histogramRow struct {
	frontend.HistogramStat
	spread
}

func histogramAttrs() []attr[*histogramRow] {
	return []attr[*histogramRow]{
		{"database", Text, func(r *histogramRow) any { return r.Database }},
		{"user", Text, func(r *histogramRow) any { return r.User }},
		{"phase", Text, func(r *histogramRow) any { return r.Phase }},
		{"count", Int8, func(r *histogramRow) any { return r.Count }},
		{"total_seconds", Float8, func(r *histogramRow) any { return inSeconds(r.Sum) }},
		{"avg_us", Int8, func(r *histogramRow) any { return r.average() }},
		{"p50_us", Int8, func(r *histogramRow) any { return r.at(0.50) }},
		{"p90_us", Int8, func(r *histogramRow) any { return r.at(0.90) }},
		{"p99_us", Int8, func(r *histogramRow) any { return r.at(0.99) }},
		{"p999_us", Int8, func(r *histogramRow) any { return r.at(0.999) }},
		{"max_us", Int8, func(r *histogramRow) any { return r.at(1) }},
	}
}

func (r *histogramRow) average() any {
	if r.Count == 0 {
		return nil
	}
	return int64(math.Round(float64(r.Sum) / float64(r.Count) / float64(time.Microsecond)))
}

func histogramRows(_ context.Context, src *Snapshots) []*histogramRow {
	var rows []*histogramRow
	for _, h := range src.Histograms() {
		r := &histogramRow{HistogramStat: h}
		r.add(h)
		rows = append(rows, r)
	}
	return rows
}

// bucketRow is a bucket of a histogram.
type bucketRow struct {
	*frontend.HistogramStat
	frontend.Bucket
	below uint64 // with itself
}

func bucketAttrs() []attr[bucketRow] {
	return []attr[bucketRow]{
		{"database", Text, func(r bucketRow) any { return r.Database }},
		{"user", Text, func(r bucketRow) any { return r.User }},
		{"phase", Text, func(r bucketRow) any { return r.Phase }},
		{"upper_seconds", Float8, func(r bucketRow) any { return inSeconds(r.Upper) }},
		{"count", Int8, func(r bucketRow) any { return r.Bucket.Count }},
		{"cumulative", Int8, func(r bucketRow) any { return r.below }},
		{"cumulative_percent", Float8, func(r bucketRow) any { return percentOf(r.below, r.HistogramStat.Count) }},
	}
}

func percentOf(part, all uint64) any {
	if all == 0 {
		return nil
	}
	return math.Round(10000*float64(part)/float64(all)) / 100
}

func bucketRows(_ context.Context, src *Snapshots) []bucketRow {
	var rows []bucketRow
	for _, h := range src.Histograms() {
		var below uint64
		for _, b := range h.Buckets {
			below += b.Count
			rows = append(rows, bucketRow{&h, b, below})
		}
	}
	return rows
}

func activityViews() []definition {
	return []definition{
		define("sources", "where clients come from and what they do, most connections first", sourceAttrs(), sourceRows),
		define("reaper", "what the reaper has closed, or would have", reaperAttrs(),
			func(_ context.Context, src *Snapshots) []frontend.ReaperRun { return src.Reaper() }),
		define("alarms", "limits of which much was in use", alarmAttrs(),
			func(_ context.Context, src *Snapshots) []frontend.Alarm { return src.Alarms() }),
		define("statements", "statements without their literals, those that took most time first", statementAttrs(), statementRows),
		define("prepared", "prepared statements of the protocol", preparedAttrs(),
			func(ctx context.Context, src *Snapshots) []frontend.PreparedStat { return src.Prepared(ctx) }),
		define("histograms", "how long things took, by pool and phase", histogramAttrs(), histogramRows),
		define("histogram_buckets", "the same, bucket by bucket", bucketAttrs(), bucketRows),
	}
}
