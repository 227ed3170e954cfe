package web

import (
	"net/http"
	"net/url"

	"pooler/internal/console"
	"pooler/internal/monitor"
)

// measure is what two stretches of time are compared by.
type measure struct {
	name string
	of   func(*monitor.Activity) float64
}

var measures = []measure{
	{"connected_mean", func(a *monitor.Activity) float64 { return a.ConnectedMean }},
	{"connected_max", func(a *monitor.Activity) float64 { return a.ConnectedMax }},
	{"active_mean", func(a *monitor.Activity) float64 { return a.ActiveMean }},
	{"waiting_mean", func(a *monitor.Activity) float64 { return a.WaitingMean }},
	{"leaked_max", func(a *monitor.Activity) float64 { return a.LeakedMax }},
	{"connects_per_minute", func(a *monitor.Activity) float64 { return a.ConnectsPerMinute }},
	{"disconnects_per_minute", func(a *monitor.Activity) float64 { return a.DisconnectsPerMinute }},
	{"refused_per_minute", func(a *monitor.Activity) float64 { return a.RefusedPerMinute }},
	{"queries_per_second", func(a *monitor.Activity) float64 { return a.QueriesPerSecond }},
	{"server_seconds_per_minute", func(a *monitor.Activity) float64 { return a.ServerSecondsPerMinute }},
}

// allSources is the key of what all sources did together.
const allSources = "(all)"

// compare serves two stretches of time side by side, a row for each source: all together first.
func (a *api) compare(w http.ResponseWriter, r *http.Request, p url.Values) error {
	f, err := formatOf(p.Get("format"))
	if err != nil {
		return err
	}
	before, err := a.rangeOf(p, "a_")
	if err != nil {
		return err
	}
	after, err := a.rangeOf(p, "b_")
	if err != nil {
		return err
	}
	before.Keep = keeps(p.Get("filter"))
	after.Keep = before.Keep
	writeTable(w, r, f, differences(a.Monitor.Compare(before, after)))
	return nil
}

func differences(found []monitor.Difference) *table {
	t := &table{Name: "compare", Rows: make([][]any, len(found))}
	for _, name := range []string{"address", "application", "user", "database"} {
		t.Columns = append(t.Columns, console.Column{Name: name, Type: console.Text})
	}
	for _, m := range measures {
		for _, which := range []string{"_a", "_b", "_change"} {
			t.Columns = append(t.Columns, console.Column{Name: m.name + which, Type: console.Float8})
		}
	}
	for i := range found {
		d := &found[i]
		row := []any{d.Address, d.Application, d.User, d.Database}
		if d.Total {
			row = []any{allSources, allSources, allSources, allSources}
		}
		for _, m := range measures {
			row = append(row, m.of(&d.A), m.of(&d.B), m.of(&d.Change))
		}
		t.Rows[i] = row
	}
	return t
}
