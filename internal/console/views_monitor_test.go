package console

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pooler/internal/journal"
	"pooler/internal/monitor"
)

func fakeEvents() []journal.Event {
	return []journal.Event{
		{
			Seq: 1, Time: before(time.Minute), Until: before(time.Second), Count: 3, Kind: journal.LimitReached, Reason: "max_client_conn",
			Address: "192.0.2.9", Application: "cron", User: "alice", Database: "app", Detail: "Too many.",
		},
		{Seq: 2, Time: before(time.Second), Until: before(time.Second), Count: 1, Kind: journal.ServerRetired, Reason: "lost", Server: 7, ServerPID: 4711, Database: "app"},
	}
}

func fakeEstablishments() []journal.Establishment {
	one := func(seq uint64, at time.Duration, action journal.Action, application string) journal.Establishment {
		return journal.Establishment{
			Seq: seq, Time: before(at), Action: action, Address: "192.0.2.9", Port: 4000, Application: application, User: "alice", Database: "app", Client: seq,
			Age: 90 * time.Second,
		}
	}
	refused := one(5, time.Second, journal.Refuse, "cron")
	refused.Client, refused.Cause = 0, "max_client_conn"
	return []journal.Establishment{
		one(1, 2*time.Minute, journal.Connect, "web"), one(2, time.Minute, journal.Connect, "cron"), one(3, 50*time.Second, journal.Connect, "cron"),
		one(4, 40*time.Second, journal.Close, "cron"), refused,
	}
}

// fakeMonitor has one culprit, one leak, and a source that was there for one of two seconds.
type fakeMonitor struct{}

func (fakeMonitor) Culprits(by monitor.Rank) []monitor.Culprit {
	if by != monitor.RankLive {
		return nil
	}
	web := monitor.SourceKey{Address: "192.0.2.9", Application: "web", User: "alice", Database: "app"}
	return []monitor.Culprit{{
		SourceKey: monitor.SourceKey{Address: "192.0.2.9"}, Share: 0.9114, Clients: 82, Idle: 82, Oldest: before(time.Hour), ServerSeconds: 1.5,
		Sources: []monitor.Culprit{{SourceKey: web, Clients: 80}, {SourceKey: web, Clients: 1, LastStatement: "select $1"}},
	}}
}

func (fakeMonitor) Leaks() []monitor.Leak {
	return []monitor.Leak{{
		Kind: monitor.LeakInTransaction, Client: 5, Port: 4000, PID: 999, Command: "python a.py",
		SourceKey: monitor.SourceKey{Address: "127.0.0.1", Application: "etl", User: "alice", Database: "app"},
		Connected: before(time.Hour), Since: before(65 * time.Second), Found: before(5 * time.Second), First: "begin", Last: "select $1",
		Comment: "file='a.py:42'", Tags: []monitor.Tag{{Key: "file", Value: "a.py:42"}, {Key: "route", Value: "/x"}}, Statements: 2,
		Transaction: before(66 * time.Second), ServerPID: 4711, Why: "has a transaction open",
	}, {Kind: monitor.LeakGrowth, Clients: 30, Grown: 20, Since: before(time.Hour)}}
}

func (fakeMonitor) Sources(r monitor.Range) monitor.Chart {
	return fakeChart(r, []string{"192.0.2.9", "web", "alice", "app"})
}

func (fakeMonitor) Pools(r monitor.Range) monitor.Chart {
	return fakeChart(r, []string{"app", "alice"})
}

func fakeChart(r monitor.Range, key []string) monitor.Chart {
	line, absent := monitor.Line{Key: key}, monitor.Line{Key: make([]string, len(key))}
	for i := range r.Fields {
		line.Values = append(line.Values, []float64{math.NaN(), float64(i)})
		absent.Values = append(absent.Values, []float64{0, 0})
	}
	return monitor.Chart{
		Step: r.Step, Fields: r.Fields, Times: []time.Time{r.From, r.From.Add(r.Step)}, Samples: []float64{0, 0.5}, Lines: []monitor.Line{line, absent},
	}
}

func TestEvents(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "events")
	wantRow(t, rows[0], "kind", "server_retired", "reason", "lost", "addr", nil, "server_id", 7, "server_pid", 4711, "client_id", nil)
	wantRow(t, rows[1], "kind", "limit_reached", "count", 3, "application", "cron", "detail", "Too many.", "until", before(time.Second))
}

func TestEstablishments(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "establishments")
	wantRow(t, rows[0], "action", "refuse", "cause", "max_client_conn", "client_id", nil, "age_seconds", nil)
	wantRow(t, rows[1], "action", "close", "age_seconds", 90, "port", 4000, "side", "client")
	rates := shown(t, fakeSnapshots(), "establishment_rates")
	if len(rates) != 2 {
		t.Fatalf("want two programs: %v", rates)
	}
	wantRow(t, rates[0], "application", "cron", "connects", 2, "closes", 1, "refusals", 1, "reuses", 0, "connects_per_minute", 1, "first", before(time.Minute))
	wantRow(t, rates[1], "application", "web", "connects", 1, "connects_per_minute", 0.5)
}

func TestCulpritsAndLeaks(t *testing.T) {
	wantRow(t, shown(t, fakeSnapshots(), "culprits")[0], "addr", "192.0.2.9", "connections", 82, "share_percent", 91.1, "idle", 82, "sources", 2,
		"application", "web", "last_statement", "select $1", "server_seconds", 1.5)
	rows := shown(t, fakeSnapshots(), "leaks")
	wantRow(t, rows[0], "kind", "idle_in_transaction", "idle_seconds", 65, "client", "c5", "port", 4000, "pid", 999, "command", "python a.py", "statements", 2,
		"first_statement", "begin", "statement", "select $1", "tags", "file=a.py:42 route=/x", "transaction_seconds", 66, "id", 5, "clients", nil)
	wantRow(t, rows[1], "kind", "growth", "client", nil, "id", nil, "clients", 30, "grown", 20)
}

func TestHistory(t *testing.T) {
	rows := shown(t, fakeSnapshots(), "history")
	if len(rows) != 1 {
		t.Fatalf("want the one moment with something in it: %v", rows)
	}
	wantRow(t, rows[0], "time", testNow.Add(-5*time.Minute+time.Second), "addr", "192.0.2.9", "application", "web", "connected", 0, "active", 1, "server_seconds", 12, "recorded_seconds", 0.5)
	wantRow(t, shown(t, fakeSnapshots(), "pool_history_day")[0], "time", testNow.Add(-24*time.Hour+5*time.Minute), "database", "app", "user", "alice", "busy", 1, "retired", 11)
}

func TestAFloodOfConnectionsIsCountedOverItsOwnTime(t *testing.T) {
	list := fakeEstablishments()[2:] // of 50 s, and the oldest have made room
	src := fakeSnapshots()
	src.Establishments = func() []journal.Establishment { return slices.Clone(list) }
	wantRow(t, shown(t, src, "establishment_rates")[0], "application", "cron", "connects", 1, "connects_per_minute", 1.2)
	list = slices.Clone(list[:1])
	list[0].Time = testNow
	wantRow(t, shown(t, src, "establishment_rates")[0], "connects_per_minute", 60)
	list[0].Seq = 1 // none has made room
	wantRow(t, shown(t, src, "establishment_rates")[0], "connects_per_minute", 1)
}

// longMonitor has recorded a day of many sources. It waits while it draws.
type longMonitor struct {
	fakeMonitor
	lines       int
	begun, draw chan struct{}
}

func (m longMonitor) Sources(r monitor.Range) monitor.Chart {
	m.begun <- struct{}{}
	<-m.draw
	const minutes = 1440
	c := monitor.Chart{Fields: r.Fields, Times: make([]time.Time, minutes), Samples: make([]float64, minutes)}
	values := make([][]float64, len(r.Fields))
	for i := range values {
		values[i] = slices.Repeat([]float64{1}, minutes)
	}
	c.Lines = slices.Repeat([]monitor.Line{{Key: []string{"192.0.2.9", "web", "alice", "app"}, Values: values}}, m.lines)
	return c
}

func TestHistoryTakesBoundedMemory(t *testing.T) {
	m := longMonitor{lines: 400, begun: make(chan struct{}, 3*historyAtOnce), draw: make(chan struct{})}
	src := fakeSnapshots()
	src.Monitor = m
	var day View
	for _, v := range Views(src) {
		if v.Name == "history_day" {
			day = v
		}
	}
	refused := make(chan error)
	show := func() { _, err := day.Rows(t.Context()); refused <- err }
	for range historyAtOnce {
		go show() // awaited below
		<-m.begun
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := day.Rows(ctx); !errors.Is(err, context.Canceled) || len(m.begun) > 0 {
		t.Errorf("one more than may be made at once: %v", err)
	}
	go show() // which waits its turn
	close(m.draw)
	for range historyAtOnce + 1 {
		var e *Error
		if err := <-refused; !errors.As(err, &e) || e.Code != codeLimitExceeded || !strings.Contains(e.Hint, "/api/series") {
			t.Errorf("got %v", err)
		}
	}
	m.lines = maxMoments / 1440
	src.Monitor = m
	if rows := shown(t, src, "history_day"); len(rows) != m.lines*1440 {
		t.Errorf("%d rows of %d sources", len(rows), m.lines)
	}
}

func TestWithoutAMonitorItIsSaidHowToGetOne(t *testing.T) {
	src := fakeSnapshots()
	src.Monitor = nil
	for _, v := range Views(src) {
		_, err := v.Rows(t.Context())
		switch v.Name {
		case "culprits", "leaks", "history", "history_day", "pool_history", "pool_history_day":
			var e *Error
			if !errors.As(err, &e) || e.Code != codeNotInState || e.Hint == "" {
				t.Errorf("%s: %v", v.Name, err)
			}
		default:
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
		}
	}
}
