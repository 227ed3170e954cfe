package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
)

// scene is a pooler in front of PostgreSQL as people see it: by the protocol, on the console and over HTTP.
type scene struct {
	*site
	pg       *pgtest.Server
	database string
	operator *pgconn.PgConn // on the console
	begun    time.Time
	fields   string // of history that are asked for; "": all
}

func openScene(t *testing.T, pg *pgtest.Server, more string) *scene {
	t.Helper()
	s := &scene{pg: pg, database: pg.CreateDatabase(t), begun: time.Now()}
	s.site = openSite(t, pg, fmt.Sprintf("http_listen = \"127.0.0.1:%d\"\n%s", freePort(t), more))
	s.operator = s.dial("pooler")
	return s
}

// source is where a client comes from, as far as the scenes tell sources apart.
type source struct{ address, application string }

func (s source) String() string { return s.application + "@" + s.address }

// login connects a client that comes from an address of this machine. change: other parameters.
func (s *scene) login(who source, change ...func(*pgconn.Config)) (*pgconn.PgConn, error) {
	s.t.Helper()
	cfg, err := pgconn.ParseConfig("postgres://postgres@" + s.addr + "/" + s.database + "?sslmode=disable")
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = who.application
	cfg.DialFunc = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(who.address)}}).DialContext
	for _, one := range change {
		one(cfg)
	}
	return pgconn.ConnectConfig(s.t.Context(), cfg)
}

func (s *scene) client(who source, change ...func(*pgconn.Config)) *pgconn.PgConn {
	s.t.Helper()
	c, err := s.login(who, change...)
	if err != nil {
		s.t.Fatalf("%s: %v", who, err)
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// refuse has a client come that is not let in.
func (s *scene) refuse(who source, code string, change ...func(*pgconn.Config)) {
	s.t.Helper()
	var refused *pgconn.PgError
	if _, err := s.login(who, change...); !errors.As(err, &refused) || refused.Code != code {
		s.t.Fatalf("%s: %v, want SQLSTATE %s", who, err, code)
	}
}

func toDatabase(name string) func(*pgconn.Config) {
	return func(c *pgconn.Config) { c.Database = name }
}

func asUser(name string) func(*pgconn.Config) { return func(c *pgconn.Config) { c.User = name } }

// disconnect says goodbye, and returns when the pooler has hung up.
func disconnect(t *testing.T, c *pgconn.PgConn) {
	t.Helper()
	c.Frontend().Send(&pgproto3.Terminate{})
	if err := c.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c.Conn()); err != nil {
		t.Fatal(err)
	}
	_ = c.Close(context.Background())
}

// row is one of a view, by column.
type row map[string]string

func (r row) number(t *testing.T, column string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(r[column], 64)
	if err != nil {
		t.Fatalf("%s of %.200v: %v", column, r, err)
	}
	return n
}

func sum(t *testing.T, rows []row, column string) (total float64) {
	t.Helper()
	for _, r := range rows {
		total += r.number(t, column)
	}
	return total
}

// show asks the console.
func (s *scene) show(sql string) []row {
	s.t.Helper()
	results, err := s.operator.Exec(s.t.Context(), sql).ReadAll()
	if err != nil || len(results) != 1 {
		s.t.Fatalf("%s: %v", sql, err)
	}
	list := make([]row, 0, len(results[0].Rows))
	for _, values := range results[0].Rows {
		r := row{}
		for i, f := range results[0].FieldDescriptions {
			r[f.Name] = string(values[i])
		}
		list = append(list, r)
	}
	return list
}

// get asks over HTTP as somebody who may only look.
func (s *scene) get(path string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.web.Addr().String()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("looker", "")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s, %v: %.200s", path, answer.Status, err, body)
	}
	return string(body)
}

// getView asks for a view over HTTP.
func (s *scene) getView(name string, options url.Values) []row {
	s.t.Helper()
	var view struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	body := s.get("/api/show/" + name + "?" + options.Encode())
	if err := json.Unmarshal([]byte(body), &view); err != nil {
		s.t.Fatalf("%s: %v in %.200s", name, err, body)
	}
	list := make([]row, 0, len(view.Rows))
	for _, values := range view.Rows {
		r := row{}
		for i, c := range view.Columns {
			if values[i] != nil {
				r[c.Name] = fmt.Sprint(values[i])
			}
		}
		list = append(list, r)
	}
	return list
}

// history is what was recorded: by second, series and field. A second in which nothing was is not there.
type history map[int64]map[string]map[string]float64

func (h history) put(second int64, key, field string, value float64) {
	if math.IsNaN(value) {
		return
	}
	if h[second] == nil {
		h[second] = map[string]map[string]float64{}
	}
	if h[second][key] == nil {
		h[second][key] = map[string]float64{}
	}
	h[second][key][field] = value
}

// since is how many seconds were recorded from a time on.
func (h history) since(begin time.Time) (seconds []int64) {
	for second := range h {
		if second > begin.Unix() {
			seconds = append(seconds, second)
		}
	}
	return seconds
}

// total is what the counters of a series come to.
func (h history) total(key, field string) (n float64) {
	for _, of := range h {
		n += of[key][field]
	}
	return n
}

// highest is the highest value of a field in any series.
func (h history) highest(field string) (most float64) {
	for _, of := range h {
		for _, values := range of {
			most = max(most, values[field])
		}
	}
	return most
}

// keyOf is how histories name a series: address, application, user and database, or database and user.
func keyOf(parts ...string) string { return strings.Join(parts, "|") }

func (s *scene) keyOf(who source) string {
	return keyOf(who.address, who.application, "postgres", s.database)
}

// seriesQuery asks for all that the pooler has recorded of its sources or pools since the scene was opened.
func (s *scene) seriesQuery(kind, step, format string) string {
	return "/api/series?" + url.Values{
		"kind": {kind}, "from": {strconv.FormatInt(s.begun.Unix(), 10)}, "step": {step}, "format": {format}, "fields": {s.fields},
	}.Encode()
}

// chart is what /api/series tells.
type chart struct {
	Step     float64
	Times    []float64
	KeyNames []string `json:"key_names"`
	Fields   []string
	Lines    []struct {
		Key    []string
		Values [][]*float64
	}
}

func (s *scene) chart(kind, step string) chart {
	s.t.Helper()
	var c chart
	body := s.get(s.seriesQuery(kind, step, "json"))
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		s.t.Fatalf("%v in %.200s", err, body)
	}
	return c
}

func (s *scene) seriesJSON(kind, step string) history {
	s.t.Helper()
	h := history{}
	c := s.chart(kind, step)
	for _, line := range c.Lines {
		for f, values := range line.Values {
			for i, v := range values {
				if v != nil {
					h.put(int64(c.Times[i]), keyOf(line.Key...), c.Fields[f], *v)
				}
			}
		}
	}
	return h
}

func (s *scene) seriesCSV(kind string) history {
	s.t.Helper()
	table, err := csv.NewReader(strings.NewReader(s.get(s.seriesQuery(kind, "1", "csv")))).ReadAll()
	if err != nil {
		s.t.Fatal(err)
	}
	h := history{}
	const first = 2 // behind the time and how much of the step was recorded
	fields := first + map[string]int{"sources": 4, "pools": 2}[kind]
	for _, record := range table[1:] {
		at, err := time.Parse(time.RFC3339Nano, record[0])
		if err != nil {
			s.t.Fatal(err)
		}
		for i, text := range record[fields:] {
			v, err := strconv.ParseFloat(cmp.Or(text, "NaN"), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			h.put(at.Unix(), keyOf(record[first:fields]...), table[0][fields+i], v)
		}
	}
	return h
}

// historyView is SHOW HISTORY. It leaves out what is zero.
func (s *scene) historyView() history {
	s.t.Helper()
	h := history{}
	for _, r := range s.show("SHOW HISTORY") {
		at, err := time.Parse("2006-01-02 15:04:05.999999-07", r["time"])
		if err != nil {
			s.t.Fatal(err)
		}
		key := keyOf(r["addr"], r["application"], r["user"], r["database"])
		for column := range r {
			switch column {
			case "time", "addr", "application", "user", "database":
			default:
				h.put(at.Unix(), key, column, r.number(s.t, column))
			}
		}
	}
	return h
}

// samples waits until n samples have been taken from now on, and returns all sources' history and their seconds: each
// sample began after the call and was complete before it returns. Somebody must have been there since the scene began.
func (s *scene) samples(n int) (h history, seconds []int64) {
	s.t.Helper()
	begin := time.Now()
	until(s.t, fmt.Sprintf("%d samples", n), func() bool {
		h = s.seriesJSON("sources", "1")
		seconds = h.since(begin)
		return len(seconds) >= n
	})
	return h, seconds
}
