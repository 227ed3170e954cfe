package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"pooler/internal/pgtest"
)

// countingConn counts what a client sends and gets. Any goroutine may use it.
type countingConn struct {
	net.Conn
	read, written atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// watched is a pooler with clients whose doings are known: the truth that exporters must tell.
type watched struct {
	*site
	t        *testing.T
	database string
	clients  []*pgconn.PgConn
	conns    []*countingConn

	requests, transactions int
	slept                  time.Duration // what PostgreSQL has worked at least
	asleep                 time.Duration // and at most
	received, sent         int64         // bytes of clients, without their logins
}

const (
	watchedClients = 3
	watchedServers = 2
	watchedReserve = 1
)

// openWatched has three clients do known things over two server sessions. When it returns, all have their answers.
func openWatched(t *testing.T) *watched {
	t.Helper()
	pg := pgtest.Start(t)
	w := &watched{t: t, database: pg.CreateDatabase(t)}
	w.site = openSite(t, pg, fmt.Sprintf("default_pool_size = %d\nreserve_pool_size = %d\nreserve_pool_timeout = \"1h\"\nmax_client_conn = 123\nmax_user_connections = 45",
		watchedServers, watchedReserve))
	for range watchedClients {
		w.connect()
	}
	for _, conn := range w.conns {
		conn.read.Store(0)
		conn.written.Store(0)
	}
	for i := range 5 {
		w.do(i%watchedClients, "SELECT 1")
	}
	w.do(0, "BEGIN")
	w.do(1, "BEGIN") // at the same time, hence on the other server session
	w.do(0, "SELECT repeat('x', 1000)")
	w.do(0, "COMMIT")
	w.do(1, "COMMIT")
	w.transactions -= 3 // five requests, two transactions
	began := time.Now()
	w.do(1, "SELECT pg_sleep(0.2)")
	w.slept, w.asleep = 200*time.Millisecond, time.Since(began)+time.Second
	w.prepared(2)
	for _, conn := range w.conns {
		w.sent += conn.read.Load()
		w.received += conn.written.Load()
	}
	return w
}

func (w *watched) connect() {
	w.t.Helper()
	cfg, err := pgconn.ParseConfig("postgres://postgres@" + w.addr + "/" + w.database + "?sslmode=disable&application_name=known")
	if err != nil {
		w.t.Fatal(err)
	}
	var conn *countingConn
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		conn = &countingConn{Conn: c}
		return conn, err
	}
	client, err := pgconn.ConnectConfig(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = client.Close(context.Background()) })
	w.clients, w.conns = append(w.clients, client), append(w.conns, conn)
}

func (w *watched) do(client int, sql string) {
	w.t.Helper()
	mustExec(w.t, w.clients[client], sql)
	w.requests++
	w.transactions++
}

// prepared runs a statement twice by its name: one Parse and two Binds of the client's.
func (w *watched) prepared(client int) {
	w.t.Helper()
	if _, err := w.clients[client].Prepare(w.t.Context(), "twice", "SELECT $1::text", nil); err != nil {
		w.t.Fatal(err)
	}
	for range 2 {
		if err := w.clients[client].ExecPrepared(w.t.Context(), "twice", [][]byte{[]byte("x")}, nil, nil).Read().Err; err != nil {
			w.t.Fatal(err)
		}
		w.requests++
		w.transactions++
	}
	w.requests++ // the Parse has a Sync of its own
	w.transactions++
}

// congest has two clients stay in transactions, for which the third waits. What it returns ends that.
func (w *watched) congest() (dissolve func()) {
	w.t.Helper()
	mustExec(w.t, w.clients[0], "BEGIN")
	mustExec(w.t, w.clients[1], "BEGIN")
	done := make(chan error, 1)
	go func() {
		_, err := w.clients[2].Exec(context.Background(), "SELECT 3").ReadAll()
		done <- err
	}()
	return func() {
		w.t.Helper()
		mustExec(w.t, w.clients[0], "COMMIT")
		mustExec(w.t, w.clients[1], "COMMIT")
		if err := <-done; err != nil {
			w.t.Errorf("the client that waited: %v", err)
		}
	}
}

// tells waits until an exporter tells what is true of these metrics. Snapshots may be a moment behind the answers.
func tells(t *testing.T, scrape func() map[string]float64, want map[string]float64) {
	t.Helper()
	var got map[string]float64
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // poll for a state of other goroutines
		all := scrape()
		got = map[string]float64{}
		for name := range want {
			if value, ok := all[name]; ok {
				got[name] = value
			}
		}
		if reflect.DeepEqual(got, want) {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for name, value := range want {
		if told, ok := got[name]; !ok || told != value {
			t.Errorf("%s: told %v (%t), true is %v", name, told, ok, value)
		}
	}
}

const debiansExporter = "prometheus-pgbouncer-exporter"

// startDebiansExporter runs it as a user who may only look, and returns what scrapes it.
func startDebiansExporter(t *testing.T, s *site) func() map[string]float64 {
	t.Helper()
	program, err := exec.LookPath(debiansExporter)
	if err != nil {
		t.Fatalf("%v; scripts/install-pgbouncer-exporter.sh installs it where there are Debian's packages, elsewhere leave this test out: make test TESTFLAGS='-skip Debian'", err)
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	listen := freePort(t)
	var said output
	cmd := exec.Command(program, "--host", "127.0.0.1", "--port", fmt.Sprint(listen),
		"--pgbouncer-host", host, "--pgbouncer-port", port, "--pgbouncer-user", "looker")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive a test that is broken off
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := <-exited; err != nil {
			t.Logf("the exporter was ended: %v", err)
		}
		if t.Failed() {
			t.Logf("the exporter said:\n%s", said.String())
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", listen)
	until(t, "the exporter serves", func() bool {
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("the exporter has ended: %v", err)
		default:
		}
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", listen))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return func() map[string]float64 { return scraped(t, client, url) }
}

// scraped is the samples of a scrape, by name and labels.
func scraped(t *testing.T, client *http.Client, url string) map[string]float64 {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("the scrape came to %s, %v:\n%s", answer.Status, err, text)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		name, value, ok := cutLast(line, " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if samples[name], err = strconv.ParseFloat(value, 64); err != nil {
			t.Errorf("not a sample: %s", line)
		}
	}
	return samples
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func TestDebiansExporterTellsTheTruth(t *testing.T) {
	w := openWatched(t)
	scrape := startDebiansExporter(t, w.site)
	of := func(name string, more ...string) string {
		return fmt.Sprintf("pgbouncer_%s{%s}", name, strings.Join(append([]string{fmt.Sprintf("database=%q", w.database)}, more...), ","))
	}
	clients := func(active, waiting float64) map[string]float64 {
		return map[string]float64{
			of("active_clients", `user="postgres"`): active, of("waiting_clients", `user="postgres"`): waiting,
			"pgbouncer_used_clients": watchedClients + 1, // itself
		}
	}
	tells(t, scrape, clients(watchedClients, 0))
	tells(t, scrape, map[string]float64{
		of("requests_total"): float64(w.requests), of("received_bytes_total"): float64(w.received), of("sent_bytes_total"): float64(w.sent),
		of("pool_size"): watchedServers, of("reserve_pool"): watchedReserve,
		"pgbouncer_databases": 2, "pgbouncer_pools": 2, // with the console's
		"pgbouncer_used_servers": watchedServers, "pgbouncer_login_clients": 0, "pgbouncer_free_clients": 0, "pgbouncer_free_servers": 0,
		"pgbouncer_dns_names": 0, "pgbouncer_dns_zones": 0, "pgbouncer_dns_queries": 0, "pgbouncer_dns_pending": 0,
	})
	if got := time.Duration(scrape()[of("query_microseconds_total")]) * time.Microsecond; got < w.slept || got > w.asleep {
		t.Errorf("queries took %s, true is %s to %s", got, w.slept, w.asleep)
	}
	dissolve := w.congest()
	tells(t, scrape, clients(watchedServers, 1))
	dissolve()
	tells(t, scrape, clients(watchedClients, 0))
}

// goMetric is what prometheus-community/pgbouncer_exporter makes of a column: a sample of that name, in that unit.
type goMetric struct {
	column, name string
	factor       float64
}

// goExporter is its map of views (collector.go, 0.11): labels, then columns. What PgBouncer has no more is left out:
// it does the same.
var goExporter = []struct {
	view    string
	labels  []string
	metrics []goMetric
	gone    []string // columns that it knows and PgBouncer 1.25 does not have
}{
	{
		view: "databases", labels: []string{"name", "host", "port", "database", "force_user", "pool_mode"},
		metrics: []goMetric{
			{"pool_size", "pool_size", 1},
			{"reserve_pool", "reserve_pool", 1},
			{"max_connections", "max_connections", 1},
			{"current_connections", "current_connections", 1},
			{"paused", "paused", 1},
			{"disabled", "disabled", 1},
		},
	},
	{
		view: "stats_totals", labels: []string{"database"}, gone: []string{"requests"},
		metrics: []goMetric{
			{"query_count", "queries_pooled_total", 1},
			{"query_time", "queries_duration_seconds_total", 1e-6},
			{"bytes_received", "received_bytes_total", 1},
			{"bytes_sent", "sent_bytes_total", 1},
			{"wait_time", "client_wait_seconds_total", 1e-6},
			{"xact_count", "sql_transactions_pooled_total", 1},
			{"xact_time", "server_in_transaction_seconds_total", 1e-6},
			{"client_parse_count", "client_parses_total", 1},
			{"server_parse_count", "server_parses_total", 1},
			{"bind_count", "binds_total", 1},
		},
	},
	{
		view: "pools", labels: []string{"database", "user"},
		metrics: []goMetric{
			{"cl_active", "client_active_connections", 1},
			{"cl_active_cancel_req", "client_active_cancel_connections", 1},
			{"cl_waiting", "client_waiting_connections", 1},
			{"cl_waiting_cancel_req", "client_waiting_cancel_connections", 1},
			{"sv_active", "server_active_connections", 1},
			{"sv_active_cancel", "server_active_cancel_connections", 1},
			{"sv_being_canceled", "server_being_canceled_connections", 1},
			{"sv_idle", "server_idle_connections", 1},
			{"sv_used", "server_used_connections", 1},
			{"sv_tested", "server_testing_connections", 1},
			{"sv_login", "server_login_connections", 1},
			{"maxwait", "client_maxwait_seconds", 1},
		},
	},
}

// goScraper is that exporter's way to ask: database/sql with lib/pq, which sends what has no parameters as a simple
// query and takes the text format.
type goScraper struct {
	t    *testing.T
	conn *pgconn.PgConn
}

func (g goScraper) query(sql string) *pgconn.Result {
	g.t.Helper()
	results, err := g.conn.Exec(g.t.Context(), sql).ReadAll()
	if err != nil || len(results) != 1 {
		g.t.Fatalf("%s: %d results, %v", sql, len(results), err)
	}
	return results[0]
}

// value is what lib/pq makes of a column by its type.
func (g goScraper) value(f pgconn.FieldDescription, text []byte) any {
	if text == nil {
		return nil
	}
	var v any
	var err error
	switch f.DataTypeOID {
	case pgtype.TextOID, pgtype.VarcharOID:
		return string(text)
	case pgtype.Int4OID, pgtype.Int8OID, pgtype.Int2OID:
		v, err = strconv.ParseInt(string(text), 10, 64)
	case pgtype.Float8OID, pgtype.Float4OID:
		v, err = strconv.ParseFloat(string(text), 64)
	case pgtype.BoolOID:
		return string(text) == "t"
	default:
		return text
	}
	if err != nil {
		g.t.Errorf("%s has type %d and value %q: %v", f.Name, f.DataTypeOID, text, err)
	}
	return v
}

// number is its dbToFloat64.
func (g goScraper) number(column string, v any) float64 {
	switch v := v.(type) {
	case nil:
		return math.NaN()
	case int64:
		return float64(v)
	case float64:
		return v
	}
	text := fmt.Sprintf("%s", v)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		g.t.Errorf("column %s is no number: %q", column, text)
	}
	return f
}

// label is how it writes a label; other types are errors to it.
func (g goScraper) label(column string, v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case int64:
		return strconv.FormatInt(v, 10)
	case string:
		if !utf8.ValidString(v) {
			g.t.Errorf("label %s is not UTF-8: %q", column, v)
		}
		return v
	}
	g.t.Errorf("label %s has a type that is unhandled: %T", column, v)
	return ""
}

func (g goScraper) scrape() map[string]float64 {
	g.t.Helper()
	samples := map[string]float64{}
	put := func(name string, value float64) {
		if _, twice := samples[name]; twice {
			g.t.Errorf("%s is collected twice, which fails the scrape", name)
		}
		samples[name] = value
	}
	g.query("SHOW STATS") // its ping
	version := g.query("SHOW VERSION;")
	if len(version.FieldDescriptions) != 1 || version.FieldDescriptions[0].Name != "version" || len(version.Rows) != 1 {
		g.t.Errorf("SHOW VERSION: %v", version.FieldDescriptions)
	}
	g.lists(put)
	g.config(put)
	for _, of := range goExporter {
		res := g.query("SHOW " + of.view + ";")
		for _, values := range res.Rows {
			row := map[string]any{}
			for i, f := range res.FieldDescriptions {
				row[f.Name] = g.value(f, values[i])
			}
			var labels []string
			for _, name := range of.labels {
				if _, ok := row[name]; !ok {
					g.t.Errorf("%s has no column %s", of.view, name)
				}
				labels = append(labels, fmt.Sprintf("%s=%q", name, g.label(name, row[name])))
			}
			for _, m := range of.metrics {
				if _, ok := row[m.column]; !ok {
					g.t.Errorf("%s has no column %s", of.view, m.column)
				}
				put(fmt.Sprintf("%s_%s{%s}", of.view, m.name, strings.Join(labels, ",")), g.number(m.column, row[m.column])*m.factor)
			}
			for _, name := range of.gone {
				if _, ok := row[name]; ok {
					g.t.Errorf("%s has a column %s, which PgBouncer has not", of.view, name)
				}
			}
		}
	}
	return samples
}

func (g goScraper) lists(put func(string, float64)) {
	g.t.Helper()
	res := g.query("SHOW LISTS;")
	if len(res.FieldDescriptions) != 2 {
		g.t.Fatalf("SHOW LISTS has %d columns, not 2", len(res.FieldDescriptions))
	}
	for _, row := range res.Rows {
		put("lists_"+string(row[0]), g.number(string(row[0]), row[1]))
	}
}

func (g goScraper) config(put func(string, float64)) {
	g.t.Helper()
	res := g.query("SHOW CONFIG;")
	if len(res.FieldDescriptions) != 4 {
		g.t.Fatalf("SHOW CONFIG has %d columns, not 4", len(res.FieldDescriptions))
	}
	for _, row := range res.Rows {
		if row[0] == nil || row[3] == nil {
			g.t.Fatalf("SHOW CONFIG has NULL as a key, or for changeable: %q", row) // its Scan into a string fails
		}
		if key := string(row[0]); key == "max_client_conn" || key == "max_user_connections" {
			put("config_"+key, g.number(key, row[1]))
		}
	}
}

func TestTheGoExportersQueriesTellTheTruth(t *testing.T) {
	w := openWatched(t)
	looker, err := pgconn.Connect(t.Context(), "postgres://looker@"+w.addr+"/pgbouncer?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = looker.Close(context.Background()) })
	scrape := goScraper{t, looker}.scrape
	host, port, err := net.SplitHostPort(w.server())
	if err != nil {
		t.Fatal(err)
	}
	database := func(name string) string {
		return fmt.Sprintf(`databases_%s{name=%q,host=%q,port=%q,database=%q,force_user="",pool_mode=""}`, name, w.database, host, port, w.database)
	}
	total := func(name string) string { return fmt.Sprintf("stats_totals_%s{database=%q}", name, w.database) }
	pool := func(name string) string {
		return fmt.Sprintf(`pools_%s{database=%q,user="postgres"}`, name, w.database)
	}
	tells(t, scrape, map[string]float64{
		"lists_databases": 2, "lists_pools": 2, "lists_used_clients": watchedClients + 1, "lists_used_servers": watchedServers, "lists_login_clients": 0,
		"config_max_client_conn": 123, "config_max_user_connections": 45,
		database("pool_size"): watchedServers, database("reserve_pool"): watchedReserve, database("max_connections"): 0,
		database("current_connections"): watchedServers, database("paused"): 0, database("disabled"): 0,
		total("queries_pooled_total"): float64(w.requests), total("sql_transactions_pooled_total"): float64(w.transactions),
		total("received_bytes_total"): float64(w.received), total("sent_bytes_total"): float64(w.sent),
		total("client_parses_total"): 1, total("binds_total"): 2,
		pool("client_active_connections"): watchedClients, pool("client_waiting_connections"): 0, pool("server_active_connections"): 0,
		pool("server_idle_connections"): watchedServers, pool("server_used_connections"): 0, pool("server_login_connections"): 0,
		pool("client_maxwait_seconds"): 0, pool("client_active_cancel_connections"): 0, pool("client_waiting_cancel_connections"): 0,
	})
	got := scrape()
	for _, name := range []string{"queries_duration_seconds_total", "server_in_transaction_seconds_total"} {
		if took := time.Duration(got[total(name)] * float64(time.Second)); took < w.slept || took > w.asleep {
			t.Errorf("%s is %s, true is %s to %s", name, took, w.slept, w.asleep)
		}
	}
	if parses := got[total("server_parses_total")]; parses > watchedServers {
		t.Errorf("a statement was prepared %v times on %d server sessions", parses, watchedServers)
	}
	dissolve := w.congest()
	tells(t, scrape, map[string]float64{
		pool("client_active_connections"): watchedServers, pool("client_waiting_connections"): 1,
		pool("server_active_connections"): watchedServers, pool("server_idle_connections"): 0,
	})
	until(t, "the wait has lasted for a second", func() bool { return scrape()[pool("client_maxwait_seconds")] >= 1 })
	mustExec(t, w.dial("pooler"), "DISABLE "+w.database)
	tells(t, scrape, map[string]float64{database("disabled"): 1})
	dissolve()
}

// server is where the pooler finds PostgreSQL.
func (s *site) server() string {
	d := s.ctl.Config().Databases["*"]
	return net.JoinHostPort(d.Host, fmt.Sprint(d.Port))
}
