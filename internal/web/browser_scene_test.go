package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
)

const (
	password = "a-Password-of-all"
	hostile  = `<img src=x onerror="document.title='taken'">`
)

// scene is a pooler as its own process, PostgreSQL behind it, and clients of which everything is known.
type scene struct {
	t    *testing.T
	pg   *pgtest.Server
	port int
	url  string
	out  *output
}

// output collects what a program says. Any goroutine may use it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func startScene(t *testing.T, poolSize int) *scene {
	t.Helper()
	s := &scene{t: t, pg: pgtest.Start(t), port: freePort(t), out: &output{}}
	for _, sql := range []string{"CREATE ROLE anna LOGIN", "CREATE ROLE ben LOGIN", "CREATE DATABASE shop", "CREATE DATABASE books"} {
		if _, err := s.pg.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	web := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s.url = "http://" + web + "/"
	var users strings.Builder
	for _, name := range []string{"anna", "ben", "boss", "looker"} {
		fmt.Fprintf(&users, "%q %q\n", name, password)
	}
	s.run(fmt.Sprintf(`listen_port = %d
unix_socket_dir = ""
http_listen = %q
auth_type = "scram-sha-256"
auth_file = %q
admin_users = ["boss"]
stats_users = ["looker"]
default_pool_size = %d
%s%s`, s.port, web, writeFile(t, "userlist.txt", users.String()), poolSize, s.database("shop"), s.database("books")))
	return s
}

func (s *scene) database(name string) string {
	return fmt.Sprintf("[databases.%s]\nhost = %q\nport = %d\n", name, s.pg.Host, s.pg.Port)
}

// in is the scene for a part of the test: what that connects ends with it.
func (s *scene) in(t *testing.T) *scene {
	part := *s
	part.t = t
	return &part
}

// run starts the program, and has the test end it.
func (s *scene) run(config string) {
	s.t.Helper()
	cmd := exec.Command(buildPooler(s.t), "serve", "--config", writeFile(s.t, "pooler.toml", config))
	cmd.Stderr = s.out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // awaited by the cleanup
	s.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
			s.t.Errorf("end the pooler: %v", err)
		}
		if err := <-exited; err != nil {
			s.t.Logf("the pooler has ended: %v", err)
		}
		if s.t.Failed() {
			s.t.Logf("the pooler said:\n%s", s.out.String())
		}
	})
	eventually(s.t, "the pooler serves", func() bool { return strings.Contains(s.out.String(), "msg=serving") })
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// connect logs a client in. from is the address that it comes from: all of 127/8 is this machine.
func (s *scene) connect(from, user, database, application string) *pgconn.PgConn {
	s.t.Helper()
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, s.port, database))
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = application
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	cfg.DialFunc = dialer.DialContext
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		s.t.Fatalf("%s: %v", application, err)
	}
	s.t.Cleanup(func() { closeNow(c) })
	return c
}

func (s *scene) connectMany(n int, from, user, database, application string) (all []*pgconn.PgConn) {
	s.t.Helper()
	for range n {
		all = append(all, s.connect(from, user, database, application))
	}
	return all
}

// closeNow closes a connection, also one on which something is going on.
func closeNow(c *pgconn.PgConn) { _ = c.Conn().Close() }

func (s *scene) exec(c *pgconn.PgConn, sql string) {
	s.t.Helper()
	if _, err := c.Exec(s.t.Context(), sql).ReadAll(); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// hang sends a statement whose answer does not come before the test is over.
func (s *scene) hang(c *pgconn.PgConn, sql string) {
	s.t.Helper()
	message := append([]byte{'Q', 0, 0, 0, byte(4 + len(sql) + 1)}, sql+"\x00"...)
	if _, err := c.Conn().Write(message); err != nil {
		s.t.Fatal(err)
	}
}

// The clients of the scene, all of anna's in the database shop, whose pool has four server sessions.
const (
	idlers    = 8 // application web, from 127.0.0.1
	strangers = 2 // with a hostile name, ben's in the database books, from 127.0.0.2
	everybody = idlers + strangers + 5
)

// setScene: two are active and wait for a lock, one is idle in a transaction, one listens and is pinned, one waits for a
// server session.
func setScene(t *testing.T) *scene {
	t.Helper()
	s := startScene(t, 4)
	lock, err := pgconn.Connect(t.Context(), s.pg.DSN("shop"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(lock) })
	s.exec(lock, "SELECT pg_advisory_lock(7)")
	s.connectMany(idlers, "127.0.0.1", "anna", "shop", "web")
	for _, c := range s.connectMany(strangers, "127.0.0.2", "ben", "books", hostile) {
		s.exec(c, "SELECT 1")
	}
	reports := s.connectMany(2, "127.0.0.3", "anna", "shop", "report")
	late := s.connect("127.0.0.3", "anna", "shop", "late")
	s.exec(s.connect("127.0.0.3", "anna", "shop", "listener"), "LISTEN jobs")
	s.exec(s.connect("127.0.0.3", "anna", "shop", "worker"), "BEGIN; SELECT 'w'")
	for _, c := range reports {
		s.hang(c, "SELECT pg_advisory_lock(7)")
	}
	eventually(t, "both reports wait for their lock", func() bool {
		rows, err := s.pg.Exec(t.Context(), "postgres", "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'anna'")
		return err == nil && len(rows) == 2
	})
	s.hang(late, "SELECT 'late'")
	return s
}

// api asks the API as the program that reads it would, by HTTP Basic.
func (s *scene) api(path string, query url.Values, into any) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path+"?"+query.Encode(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth("looker", password)
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", path, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
}

// series is an answer of the API.
type series struct {
	Step  float64   `json:"step"`
	Times []float64 `json:"times"`
	Lines []struct {
		Key    []string     `json:"key"`
		Values [][]*float64 `json:"values"`
	} `json:"lines"`
}

// recorded waits until the sampler has seen everybody for a few seconds, and returns that stretch.
func (s *scene) recorded() (from, to int64) {
	s.t.Helper()
	eventually(s.t, "some seconds are recorded", func() bool {
		now := time.Now().Unix()
		var got series
		s.api("api/series", url.Values{"from": {fmt.Sprint(now - 20)}, "to": {fmt.Sprint(now)}, "step": {"1"}, "fields": {"connected"}}, &got)
		run := 0
		for i := range got.Times {
			sum := 0.0
			for _, l := range got.Lines {
				if v := l.Values[0][i]; v != nil {
					sum += *v
				}
			}
			if sum != everybody {
				run = 0
				continue
			}
			if run++; run == 4 {
				from, to = int64(got.Times[i])-3, int64(got.Times[i])+1
				return true
			}
		}
		return false
	})
	return from, to
}
