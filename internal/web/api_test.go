package web

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pooler/frontend"
	"pooler/internal/console"
)

// fakeConsole shows one view of all kinds of values, and does nothing.
type fakeConsole struct{ view console.View }

func newFakeConsole() *fakeConsole {
	v := console.View{Name: "people", Help: "people", Columns: []console.Column{
		{Name: "name", Type: console.Text},
		{Name: "n", Type: console.Int8},
		{Name: "big", Type: console.Numeric},
		{Name: "load", Type: console.Float8},
		{Name: "on", Type: console.Bool},
		{Name: "since", Type: console.Timestamp},
	}}
	since := time.Date(2026, 3, 1, 12, 0, 0, 500_000_000, time.FixedZone("", 3600))
	v.Rows = func(context.Context) ([][]any, error) {
		return [][]any{
			{"anna", -1, uint64(math.MaxUint64), 0.5, true, since},
			{`=HYPERLINK("x")`, nil, nil, math.NaN(), nil, time.Time{}},
			{"+1", 2, 3, math.Inf(1), false, since},
			{"@é,\"\n", 2, -3, 1e-9, false, since},
		}, nil
	}
	return &fakeConsole{v}
}

func (f *fakeConsole) use(o *Options) {
	o.Dashboard.Console = console.New("1.2.3", []console.View{f.view, {
		Name: "broken", Columns: f.view.Columns, Rows: func(context.Context) ([][]any, error) { return nil, errors.New("nothing is known") },
	}}, nil, o.Log)
}

func TestValuesAsJSON(t *testing.T) {
	s := openSite(t, withTrust, newFakeConsole().use)
	got := s.send("/api/show/people", "", basic("looker", ""))
	const want = `"columns":[{"name":"name","type":"text"},{"name":"n","type":"bigint"},{"name":"big","type":"numeric"},` +
		`{"name":"load","type":"double precision"},{"name":"on","type":"boolean"},{"name":"since","type":"timestamp with time zone"}],` +
		`"rows":[["anna",-1,18446744073709551615,0.5,true,"2026-03-01T11:00:00.5Z"],["=HYPERLINK(\"x\")",null,null,null,null,null],` +
		`["+1",2,3,null,false,"2026-03-01T11:00:00.5Z"],["@é,\"\\n",2,-3,1e-09,false,"2026-03-01T11:00:00.5Z"]]`
	if !strings.Contains(got.body, want) {
		t.Errorf("got %s\nwant %s", got.body, want)
	}
	if fields := got.json(t); fields["view"] != "people" || fields["help"] != "people" || fields["time"] == nil {
		t.Errorf("got %v", fields)
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got.header)
	}
}

func TestValuesAsCSV(t *testing.T) {
	s := openSite(t, withTrust, newFakeConsole().use)
	got := s.send("/api/show/people?format=csv", "", basic("looker", ""))
	records, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	want := [][]string{
		{"name", "n", "big", "load", "on", "since"},
		{"anna", "-1", "18446744073709551615", "0.5", "true", "2026-03-01T11:00:00.5Z"},
		{`'=HYPERLINK("x")`, "", "", "", "", ""},
		{"'+1", "2", "3", "", "false", "2026-03-01T11:00:00.5Z"},
		{`'@é,"\n`, "2", "-3", "1e-09", "false", "2026-03-01T11:00:00.5Z"}, // numbers stay numbers
	}
	if err != nil || !reflect.DeepEqual(records, want) {
		t.Errorf("got %q, %v\nwant %q", records, err, want)
	}
	if !strings.HasPrefix(got.body, "name,n,big,load,on,since\r\n") {
		t.Errorf("got %q", got.body)
	}
	if h := got.header; h.Get("Content-Type") != "text/csv; charset=utf-8; header=present" || h.Get("Content-Disposition") != `attachment; filename="people.csv"` {
		t.Errorf("headers %v", h)
	}
	got = s.send("/api/show/people?format=csv&columns="+url.QueryEscape(`n AS "=1"`), "", basic("looker", ""))
	if !strings.HasPrefix(got.body, "'=1\r\n-1\r\n\r\n2\r\n") {
		t.Errorf("got %q", got.body)
	}
}

func TestAViewIsChosenFrom(t *testing.T) {
	s := openSite(t, withTrust, newFakeConsole().use)
	for _, c := range []struct{ query, want string }{
		{"where=" + url.QueryEscape("n = 2") + "&columns=name,n&order=" + url.QueryEscape("name DESC") + "&limit=1", `[["@é,\"\\n",2]]`},
		{"where=" + url.QueryEscape("name LIKE 'a%' OR n IS NULL") + "&columns=n", `[[-1],[null]]`},
		{"limit=0", `[]`},
		{"columns=n&order=n", `[[-1],[2],[2],[null]]`},
	} {
		if got := s.send("/api/show/people?"+c.query, "", basic("looker", "")); !strings.Contains(got.body, `"rows":`+c.want+`,`) {
			t.Errorf("%s: got %s, want %s", c.query, got.body, c.want)
		}
	}
	for _, c := range []struct {
		path     string
		status   int
		sqlstate any
		part     any
		position any
		hint     string
	}{
		{"people?where=" + url.QueryEscape("n = 2 AND nam = 'x'"), 400, "42703", "where", 11.0, "name"},
		{"people?where=" + url.QueryEscape("n ="), 400, "42601", "where", 4.0, ""},
		{"people?where=" + url.QueryEscape("n = 'x'"), 400, "22P02", "where", 5.0, ""},
		{"people?order=nam", 400, "42703", "order", 1.0, "name"},
		{"people?limit=many", 400, nil, "limit", 1.0, ""},
		{"people?columns=nam", 400, "42703", "columns", 1.0, "name"},
		{"people?where=" + url.QueryEscape("n = 2; PAUSE"), 400, "42601", nil, nil, ""},
		{"people?format=xml", 400, nil, "format", nil, ""},
		{"peoplee", 404, "42P01", "view", 1.0, "people"},
		{"people%22%3B%20PAUSE", 404, "42P01", "view", 1.0, ""},
		{"broken", 400, "58000", nil, nil, ""},
	} {
		got := s.send("/api/show/"+c.path, "", basic("looker", ""))
		f := got.json(t)
		hint, _ := f["hint"].(string)
		if got.status != c.status || c.sqlstate != nil && f["sqlstate"] != c.sqlstate || f["part"] != c.part || f["position"] != c.position || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: %d %s", c.path, got.status, got.body)
		}
	}
}

func TestTheProgramsOwnViewsAreShown(t *testing.T) {
	s := openSite(t, withTrust)
	help := s.send("/api/show/help?columns=name", "", basic("looker", "")).json(t)
	if help["rows"] == nil {
		t.Fatalf("help: %v", help)
	}
	for _, v := range console.Views(console.Snapshots{}) {
		for _, format := range []string{"json", "csv"} {
			if got := s.send("/api/show/"+v.Name+"?format="+format, "", basic("looker", "")); got.status != http.StatusOK && !strings.Contains(got.body, "monitor = true") {
				t.Errorf("%s: %d %s", v.Name, got.status, got.body)
			} else if format == "json" {
				got.json(t)
			}
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	s := openSite(t, withTrust)
	for body, want := range map[string]int{
		`{"command":"SHOW VERSION"}`:        200,
		` {"command":"SHOW VERSION"} `:      200,
		`{"command":"SHOW VERSION"`:         400,
		`{"command":"SHOW VERSION"}{}`:      400,
		`{"command":"SHOW VERSION"},`:       400,
		`{"command":5}`:                     400,
		`{"command":"","also":1}`:           400,
		`{}`:                                400,
		`[]`:                                400,
		`null`:                              400,
		`"SHOW VERSION"`:                    400,
		`command=SHOW`:                      400,
		"{\"command\":\"SHOW \xff\"}":       400,
		`{"command":"BEGIN"}`:               400,
		`{"command":"PAUSE; RESUME"}`:       400,
		`{"command":"SHOW VERSION LIMIT "}`: 400,
	} {
		got := s.send("/api/do", body, basic("root", ""))
		if got.status != want || want != 200 && got.json(t)["error"] == nil {
			t.Errorf("%s: %d %s, want %d", body, got.status, got.body, want)
		}
	}
}

func TestHowThingsStand(t *testing.T) {
	time := newClock()
	asked := 0
	s := openSite(t, withTrust, func(o *Options) {
		snapshots := &o.Dashboard.Snapshots
		snapshots.Now = time.now
		snapshots.Sources = func() []frontend.SourceStat {
			one := func(address, class string, clients int) frontend.SourceStat {
				st := frontend.SourceStat{Class: class, Active: 1, Idle: clients - 2, Waiting: 1}
				st.Source = frontend.Source{Address: address, Application: "app", User: "anna", Database: "shop", Clients: clients}
				return st
			}
			list := []frontend.SourceStat{one("10.0.0.1", "a", 5), one("10.0.0.2", "", 7), one("10.0.0.1", "b", 3), {Source: frontend.Source{Address: "gone"}}}
			for i := range 2 * topSources {
				list = append(list, one(fmt.Sprint("10.0.1.", i), "", 2))
			}
			return list
		}
		snapshots.Databases = func() []frontend.DatabaseStat {
			asked++
			return []frontend.DatabaseStat{
				{Database: "shop", Total: frontend.Traffic{Queries: uint64(100 * asked), Transactions: uint64(10 * asked)}},
				{Database: "books", Total: frontend.Traffic{Queries: 7}},
			}
		}
	})
	look := func() map[string]any {
		t.Helper()
		got := s.send("/api/now", "", basic("looker", ""))
		if got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return got.json(t)
	}
	now := look()
	totals, _ := now["totals"].(map[string]any)
	for field, want := range map[string]any{
		"clients": 63.0, "active": 27.0, "idle": 9.0, "waiting": 27.0, "servers": 0.0, "multiplex": nil, "leaked": nil, "queries_per_second": nil,
	} {
		if got, ok := totals[field]; got != want || !ok {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	sources, _ := now["sources"].([]any)
	if len(sources) != topSources || fmt.Sprint(sources[0]) != "map[active:2 address:10.0.0.1 application:app clients:8 database:shop idle:4 idle_in_transaction:0 pinned:0 user:anna waiting:2]" {
		t.Errorf("sources %v", sources)
	}
	if now["version"] != "1.2.3" || now["monitor"] != false || now["pools"] == nil {
		t.Errorf("got %v", now)
	}
	time.advance(pictureLife / 2)
	look()
	if asked != 1 {
		t.Errorf("asked %d times within a moment", asked)
	}
	time.advance(2*1e9 - pictureLife/2)
	if totals, _ = look()["totals"].(map[string]any); totals["queries_per_second"] != 50.0 || totals["transactions_per_second"] != 5.0 {
		t.Errorf("after 2 s: %v", totals)
	}
	time.advance(longestRate + 1)
	if totals, _ = look()["totals"].(map[string]any); totals["queries_per_second"] != nil {
		t.Errorf("when nobody has looked for long: %v", totals)
	}
}

func TestAPanicEndsOneRequest(t *testing.T) {
	s := openSite(t, withTrust, func(o *Options) {
		o.Dashboard.Snapshots.Sources = func() []frontend.SourceStat { panic("a bug") }
	})
	for range 2 {
		if got := s.send("/api/now", "", basic("looker", "")); got.status != http.StatusInternalServerError || strings.Contains(got.body, "bug") {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	if !strings.Contains(s.log.String(), `panic="a bug"`) {
		t.Error("it is not logged")
	}
	if got := s.send("/api/me", "", basic("looker", "")); got.status != http.StatusOK {
		t.Errorf("then: %d", got.status)
	}
}

func TestWhatThereIsNot(t *testing.T) {
	s := openSite(t, withTrust)
	for path, want := range map[string]string{"/api/nothing": `{"error":"there is no GET /api/nothing"}`, "/api/do": `{"error":"there is no GET /api/do"}`, "/api/show/": "there is no"} {
		if got := s.send(path, "", basic("root", "")); got.status != http.StatusNotFound || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"/api/series", "/api/compare?format=csv"} {
		if got := s.send(path, "", basic("looker", "")); got.status != http.StatusNotFound || !strings.Contains(got.body, "monitor = true") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		if got := s.send(path, ""); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d to nobody", path, got.status)
		}
	}
}

// FuzzRequests: whatever is sent, the answer is one of ours, and JSON or CSV.
func FuzzRequests(f *testing.F) {
	f.Add("login", `{"user":"root","password":"x"}`, "", "")
	f.Add("do", `{"command":"SHOW people WHERE n = 1"}`, "", "")
	f.Add("show", "", "n = 2", "name DESC")
	f.Add("series", "", "1e9", "2026-03-01T12:00:00Z")
	fake := newFakeConsole()
	f.Fuzz(func(t *testing.T, kind, body, first, second string) {
		var o Options
		o.Log = discard
		o.Dashboard = &Dashboard{Monitor: newFakeMonitor(), Snapshots: console.Snapshots{Now: time.Now}}
		fake.use(&o)
		o.Dashboard.Console = readOnly{o.Dashboard.Console}
		a := &api{Dashboard: o.Dashboard, log: discard, charts: make(chan struct{}, 1)}
		w, v := httptest.NewRecorder(), &visitor{pass: &frontend.Pass{}, right: frontend.RightLook}
		values := url.Values{"where": {first}, "order": {second}, "from": {first}, "to": {second}, "step": {body}, "kind": {kind}, "filter": {body}}
		r := httptest.NewRequest(http.MethodPost, "/?"+values.Encode(), strings.NewReader(body))
		var err error
		switch kind {
		case "login":
			err = decode(r, &loginForm{})
		case "do":
			err = a.do(w, r, v)
		case "show":
			r.SetPathValue("view", "people")
			err = a.show(w, r, v)
		default:
			err = a.series(w, r, r.URL.Query())
		}
		if err != nil {
			fail(w, err)
		}
		if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// readOnly is a console whose visitors may look, without a frontend that says so.
type readOnly struct{ Console }

func (c readOnly) who() *frontend.Admin {
	return &frontend.Admin{Right: func() frontend.Right { return frontend.RightLook }}
}

func (c readOnly) Run(ctx context.Context, _ *frontend.Admin, text string) (console.Answer, error) {
	return c.Console.Run(ctx, c.who(), text)
}

func (c readOnly) Show(ctx context.Context, _ *frontend.Admin, sel console.Selection) (console.Answer, string, error) {
	return c.Console.Show(ctx, c.who(), sel)
}

// readAll is for bodies that cannot fail.
func readAll(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}

// patientConsole waits with whatever it is told.
type patientConsole struct{ Console }

func (patientConsole) Run(ctx context.Context, _ *frontend.Admin, _ string) (console.Answer, error) {
	<-ctx.Done()
	return console.Answer{}, &console.Error{Code: "57014", Message: "canceling PAUSE due to user request", Hint: "The pause is undone."}
}

func TestWhatWaitsTooLongIsNotSaidToBeCanceled(t *testing.T) {
	a := &api{Dashboard: &Dashboard{Console: patientConsole{}}}
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			patience time.Duration
			want     fault
		}{
			{time.Second, fault{Message: "canceling PAUSE due to user request", Hint: "The pause is undone."}},
			{time.Hour, fault{
				Message: "the dashboard waits 110 s at most, and the command was not done by then",
				Hint:    "The pause is undone. Give it on the console, which waits as long as you do.",
			}},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(c.patience, cancel)
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/do", strings.NewReader(`{"command":"PAUSE"}`))
			err := a.do(httptest.NewRecorder(), r, &visitor{pass: &frontend.Pass{}})
			if f := toFault(err); f.Message != c.want.Message || f.Hint != c.want.Hint || f.SQLState != "57014" || f.Part != "command" {
				t.Errorf("%s: %+v", c.patience, f)
			}
			cancel()
		}
	})
}
