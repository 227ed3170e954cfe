package console

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"pooler/internal/journal"
)

func eventAttrs() []attr[journal.Event] {
	type event = journal.Event
	return []attr[event]{
		{"time", Timestamp, func(e event) any { return e.Time }},
		{"kind", Text, func(e event) any { return e.Kind.String() }},
		{"reason", Text, func(e event) any { return e.Reason }},
		{"count", Int4, func(e event) any { return e.Count }},
		{"until", Timestamp, func(e event) any { return e.Until }},
		{"addr", Text, func(e event) any { return some(e.Address) }},
		{"application", Text, func(e event) any { return some(e.Application) }},
		{"user", Text, func(e event) any { return some(e.User) }},
		{"database", Text, func(e event) any { return some(e.Database) }},
		{"client_id", Int8, func(e event) any { return some(e.Client) }},
		{"server_id", Int8, func(e event) any { return some(e.Server) }},
		{"server_pid", Int4, func(e event) any { return some(int32(e.ServerPID)) }},
		{"detail", Text, func(e event) any { return e.Detail }},
		{"seq", Int8, func(e event) any { return e.Seq }},
	}
}

// eventRows is what has happened, the latest first.
func eventRows(_ context.Context, src *Snapshots) []journal.Event {
	list := src.Events()
	slices.Reverse(list)
	return list
}

func establishmentAttrs() []attr[journal.Establishment] {
	type establishment = journal.Establishment
	return []attr[establishment]{
		{"time", Timestamp, func(e establishment) any { return e.Time }},
		{"side", Text, func(e establishment) any { return e.Side.String() }},
		{"action", Text, func(e establishment) any { return e.Action.String() }},
		{"cause", Text, func(e establishment) any { return some(e.Cause) }},
		{"addr", Text, func(e establishment) any { return e.Address }},
		{"port", Int4, func(e establishment) any { return some(int(e.Port)) }},
		{"application", Text, func(e establishment) any { return some(e.Application) }},
		{"user", Text, func(e establishment) any { return some(e.User) }},
		{"database", Text, func(e establishment) any { return some(e.Database) }},
		{"age_seconds", Float8, func(e establishment) any { return age(e) }},
		{"client_id", Int8, func(e establishment) any { return some(e.Client) }},
		{"server_id", Int8, func(e establishment) any { return some(e.Server) }},
		{"seq", Int8, func(e establishment) any { return e.Seq }},
	}
}

// age is how old what is closed or used again was.
func age(e journal.Establishment) any {
	if e.Action == journal.Close || e.Action == journal.Reuse {
		return inSeconds(e.Age)
	}
	return nil
}

func establishmentRows(_ context.Context, src *Snapshots) []journal.Establishment {
	list := src.Establishments()
	slices.Reverse(list)
	return list
}

// originRow is how often connections of one origin were made, used again, closed and refused.
type originRow struct {
	origin
	actions     [4]int // by journal.Action
	first, last time.Time
	minutes     float64 // that are counted
}

type origin struct {
	side                                 journal.Side
	address, application, user, database string
}

func originAttrs() []attr[*originRow] {
	of := func(a journal.Action) func(*originRow) any { return func(o *originRow) any { return o.actions[a] } }
	return []attr[*originRow]{
		{"side", Text, func(o *originRow) any { return o.side.String() }},
		{"addr", Text, func(o *originRow) any { return o.address }},
		{"application", Text, func(o *originRow) any { return some(o.application) }},
		{"user", Text, func(o *originRow) any { return some(o.user) }},
		{"database", Text, func(o *originRow) any { return some(o.database) }},
		{"connects", Int4, of(journal.Connect)},
		{"reuses", Int4, of(journal.Reuse)},
		{"closes", Int4, of(journal.Close)},
		{"refusals", Int4, of(journal.Refuse)},
		{"connects_per_minute", Float8, func(o *originRow) any { return o.perMinute() }},
		{"first", Timestamp, func(o *originRow) any { return o.first }},
		{"last", Timestamp, func(o *originRow) any { return o.last }},
	}
}

// perMinute is how many connections were made a minute, over the time that is counted.
func (o *originRow) perMinute() float64 {
	return math.Round(100*float64(o.actions[journal.Connect])/o.minutes) / 100
}

// spanned is how many minutes the connects in the list span. A few of them in the first seconds are no flood, hence a minute
// if that is less; but once old entries have made room, a flood fills the list in seconds.
func spanned(list []journal.Establishment, now time.Time) float64 {
	least := time.Minute
	if n := len(list); n > 0 && list[n-1].Seq > uint64(n) {
		least = time.Second
	}
	first := slices.IndexFunc(list, func(e journal.Establishment) bool { return e.Action == journal.Connect })
	if first < 0 {
		return least.Minutes()
	}
	return max(least, now.Sub(list[first].Time)).Minutes()
}

// originRows sums up what is kept of connections by where they come from, those first that were made most often.
func originRows(_ context.Context, src *Snapshots) []*originRow {
	list := src.Establishments()
	minutes := spanned(list, src.Now())
	byOrigin := map[origin]*originRow{}
	var rows []*originRow
	for _, e := range list {
		key := origin{e.Side, e.Address, e.Application, e.User, e.Database}
		o := byOrigin[key]
		if o == nil {
			o = &originRow{origin: key, first: e.Time, minutes: minutes}
			byOrigin[key] = o
			rows = append(rows, o)
		}
		o.actions[e.Action]++
		o.last = e.Time
	}
	slices.SortStableFunc(rows, func(a, b *originRow) int {
		return cmp.Or(cmp.Compare(a.side, b.side), cmp.Compare(b.actions[journal.Connect], a.actions[journal.Connect]),
			cmp.Compare(b.actions[journal.Refuse], a.actions[journal.Refuse]))
	})
	return rows
}

func journalViews() []definition {
	return []definition{
		define("events", "what the pooler did to somebody, and why, the latest first", eventAttrs(), eventRows),
		define("establishments", "connections made, used again, closed and refused, the latest first", establishmentAttrs(), establishmentRows),
		define("establishment_rates", "the same, by where they come from, and how often", originAttrs(), originRows),
	}
}
