package web

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pooler/internal/console"
	"pooler/internal/monitor"
)

// chartsAtOnce bounds the memory that charts take while they are made.
const chartsAtOnce = 4

var errNoMonitor = faultOf(http.StatusNotFound, "no history is recorded", "It is with monitor = true in the pooler's configuration, after a restart.")

// recorded is a handler of what needs the monitor, for those who have logged in.
func (a *api) recorded(handle func(http.ResponseWriter, *http.Request, url.Values) error) http.HandlerFunc {
	return a.known(func(w http.ResponseWriter, r *http.Request, _ *visitor) error {
		if a.Monitor == nil {
			return errNoMonitor
		}
		select {
		case a.charts <- struct{}{}:
			defer func() { <-a.charts }()
		case <-r.Context().Done():
			return r.Context().Err()
		}
		return handle(w, r, r.URL.Query())
	})
}

// series serves history.
func (a *api) series(w http.ResponseWriter, r *http.Request, p url.Values) error {
	kind := cmp.Or(p.Get("kind"), "sources")
	draw := map[string]func(monitor.Range) monitor.Chart{"sources": a.Monitor.Sources, "pools": a.Monitor.Pools}[kind]
	if draw == nil {
		return badRequest("kind must be sources or pools").in("kind")
	}
	f, err := formatOf(p.Get("format"))
	if err != nil {
		return err
	}
	span, err := a.rangeOf(p, "")
	if err != nil {
		return err
	}
	span.Keep = keeps(p.Get("filter"))
	if list := p.Get("fields"); list != "" {
		span.Fields = strings.Split(list, ",")
	}
	c := draw(span)
	if f == asCSV {
		writeChartCSV(w, r, kind, &c)
	} else {
		writeChart(w, r, &c)
	}
	return nil
}

// defaultSpan is how far back a chart goes if it is not said.
const defaultSpan = 15 * time.Minute

// rangeOf reads from, to and step, whose names begin with prefix.
func (a *api) rangeOf(p url.Values, prefix string) (span monitor.Range, err error) {
	if span.To, err = timeOf(p, prefix+"to", a.Snapshots.Now()); err != nil {
		return span, err
	}
	if span.From, err = timeOf(p, prefix+"from", span.To.Add(-defaultSpan)); err != nil {
		return span, err
	}
	if !span.From.Before(span.To) {
		return span, badRequest("%sfrom must be before %sto", prefix, prefix).in(prefix + "from")
	}
	span.Step, err = stepOf(p, prefix+"step")
	return span, err
}

// timeOf reads a time: seconds since 1970, or RFC 3339.
func timeOf(p url.Values, name string, otherwise time.Time) (time.Time, error) {
	text := p.Get(name)
	if text == "" {
		return otherwise, nil
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(s) < 1e11 {
		whole, part := math.Modf(s)
		return time.Unix(int64(whole), int64(part*1e9)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, badRequest("%s must be a time: seconds since 1970, or as 2026-03-01T12:00:00Z", name).in(name)
	}
	return t, nil
}

// stepOf reads seconds, or a duration as 10s. 0: it is not said.
func stepOf(p url.Values, name string) (time.Duration, error) {
	text := p.Get(name)
	if text == "" {
		return 0, nil
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		text = strconv.FormatFloat(s, 'f', -1, 64) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, badRequest("%s must be a number of seconds", name).in(name)
	}
	return d, nil
}

// keeps tells which lines are wanted: those in whose key all words of filter stand.
func keeps(filter string) func(key []string) bool {
	words := strings.Fields(strings.ToLower(filter))
	if len(words) == 0 {
		return nil
	}
	return func(key []string) bool {
		text := strings.ToLower(strings.Join(key, "\x00"))
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	}
}

func writeChart(w http.ResponseWriter, r *http.Request, c *monitor.Chart) {
	writing(w, r, "application/json", func(e *encoder) {
		e.literal(`{"step":`).value(c.Step.Seconds()).literal(`,"times":`)
		list(e, c.Times, func(t time.Time) { e.value(seconds(t)) })
		e.literal(`,"samples":`)
		list(e, c.Samples, func(n float64) { e.value(n) })
		e.literal(`,"key_names":`)
		list(e, c.KeyNames, func(s string) { e.value(s) })
		e.literal(`,"fields":`)
		list(e, c.Fields, func(s string) { e.value(s) })
		e.literal(`,"lines":`)
		list(e, c.Lines, func(l monitor.Line) {
			e.literal(`{"key":`)
			list(e, l.Key, func(s string) { e.value(s) })
			e.literal(`,"values":`)
			list(e, l.Values, func(values []float64) {
				list(e, values, func(v float64) { e.value(v) })
			})
			e.literal("}")
		})
		e.literal("}\n")
	})
}

// list writes an array.
func list[T any](e *encoder, all []T, write func(T)) {
	e.literal("[")
	for i, each := range all {
		if i > 0 {
			e.literal(",")
		}
		write(each)
	}
	e.literal("]")
	e.flushIfLong()
}

// writeChartCSV sends a line for each time and key.
func writeChartCSV(w http.ResponseWriter, r *http.Request, kind string, c *monitor.Chart) {
	columns := []console.Column{{Name: "time", Type: console.Timestamp}, {Name: "recorded_seconds", Type: console.Float8}}
	before := len(columns)
	for _, name := range c.KeyNames {
		columns = append(columns, console.Column{Name: name, Type: console.Text})
	}
	for _, name := range c.Fields {
		columns = append(columns, console.Column{Name: name, Type: console.Float8})
	}
	writeCSV(w, r, kind, columns, func(yield func([]any) bool) {
		row := make([]any, len(columns))
		for i, t := range c.Times {
			row[0], row[1] = t, c.Samples[i]
			for _, l := range c.Lines {
				for k, part := range l.Key {
					row[before+k] = part
				}
				for f, values := range l.Values {
					row[before+len(l.Key)+f] = values[i]
				}
				if !yield(row) {
					return
				}
			}
		}
	})
}
