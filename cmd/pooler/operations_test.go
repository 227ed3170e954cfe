package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/config"
	"pooler/internal/pgtest"
)

// site is a pooler in this process, with a console.
type site struct {
	*instance
	t    *testing.T
	ctl  *control
	file string
	addr string
	log  output
}

func openSite(t *testing.T, pg *pgtest.Server, more string) *site {
	t.Helper()
	s := &site{t: t, file: filepath.Join(t.TempDir(), "pooler.toml")}
	port := freePort(t)
	text := fmt.Sprintf("listen_port = %d\nunix_socket_dir = \"\"\nauth_type = \"trust\"\nadmin_users = [\"postgres\"]\nstats_users = [\"looker\"]\n%s\n[databases.\"*\"]\nhost = %q\nport = %d\n",
		port, more, pg.Host, pg.Port)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := config.ReadDocument(s.file)
	if err != nil {
		t.Fatal(err)
	}
	level := &slog.LevelVar{}
	log := newLogger(&s.log, config.LogText, level)
	if s.ctl, err = newControl(doc, s.file, level, log); err != nil {
		t.Fatal(err)
	}
	if s.instance, err = start(s.ctl, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(time.Second)
		if t.Failed() {
			t.Logf("the pooler's log:\n%s", s.log.String())
		}
	})
	s.addr = net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	return s
}

func (s *site) dial(database string) *pgconn.PgConn {
	s.t.Helper()
	c, err := pgconn.Connect(s.t.Context(), "postgres://postgres@"+s.addr+"/"+database+"?sslmode=disable&application_name=test")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// refusedWith fails the test unless sql comes to an error with this SQLSTATE, and returns that.
func refusedWith(t *testing.T, c *pgconn.PgConn, sql, code string) pgconn.PgError {
	t.Helper()
	_, err := c.Exec(t.Context(), sql).ReadAll()
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != code {
		t.Errorf("%s: %v, want SQLSTATE %s", sql, err, code)
		return pgconn.PgError{}
	}
	return *refused
}

// working is clients that work in autocommit and in transactions, and must never see an error nor lose anything.
type working struct {
	t    *testing.T
	done atomic.Int64
	end  context.CancelFunc
	all  sync.WaitGroup
}

func (s *site) work(clients int) *working {
	ctx, end := context.WithCancel(s.t.Context())
	w := &working{t: s.t, end: end}
	for i := range clients {
		c := s.dial("postgres")
		w.all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := w.one(c, i, n); err != nil {
					w.t.Errorf("client %d, piece %d: %v", i, n, err)
					return
				}
				w.done.Add(1)
			}
		})
	}
	s.t.Cleanup(func() {
		end()
		w.all.Wait()
	})
	return w
}

func (w *working) one(c *pgconn.PgConn, i, n int) error {
	ctx := context.Background()
	insert := fmt.Sprintf("INSERT INTO done VALUES (%d, %d)", i, n)
	switch n % 3 {
	case 0:
		_, err := c.Exec(ctx, insert).ReadAll()
		return err
	case 1:
		_, err := c.Exec(ctx, "BEGIN").ReadAll()
		if err == nil {
			_, err = c.Exec(ctx, insert).ReadAll()
		}
		if err == nil {
			_, err = c.Exec(ctx, "COMMIT").ReadAll()
		}
		return err
	}
	return c.ExecParams(ctx, "INSERT INTO done VALUES ($1::int, $2::int)", [][]byte{fmt.Append(nil, i), fmt.Append(nil, n)}, nil, nil, nil).Read().Err
}

// goesOn waits until more has been done.
func (w *working) goesOn() {
	w.t.Helper()
	before := w.done.Load()
	until(w.t, "work goes on", func() bool { return w.done.Load() > before+50 || w.t.Failed() })
}

// finish has everybody finish what he does, and looks whether all of it is there.
func (w *working) finish(pg *pgtest.Server) {
	w.t.Helper()
	w.end()
	w.all.Wait()
	rows, err := pg.Exec(w.t.Context(), "postgres", "SELECT count(*), count(DISTINCT (client, piece)) FROM done")
	if want := fmt.Sprint(w.done.Load()); err != nil || rows[0][0] != want || rows[0][1] != want {
		w.t.Errorf("%s pieces of work were done, PostgreSQL has %v, %v", want, rows, err)
	}
}

// A restart of PostgreSQL between PAUSE and RESUME is not noticed by clients, nor is RECONNECT.
func TestPauseRestartResume(t *testing.T) {
	pg := pgtest.Start(t)
	if _, err := pg.Exec(t.Context(), "postgres", "CREATE TABLE done (client int, piece int)"); err != nil {
		t.Fatal(err)
	}
	s := openSite(t, pg, "default_pool_size = 4\nloops = 2")
	operator := s.dial("pooler")
	w := s.work(12)
	w.goesOn()
	for _, database := range []string{"", " postgres"} {
		mustExec(t, operator, "PAUSE"+database)
		before := w.done.Load()
		if err := pg.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := w.done.Load(); now != before {
			t.Errorf("%d pieces of work were done while it was paused", now-before)
		}
		mustExec(t, operator, "RESUME"+database)
		w.goesOn()
	}
	for range 5 {
		mustExec(t, operator, "RECONNECT")
		w.goesOn()
	}
	mustExec(t, operator, "WAIT_CLOSE")
	w.goesOn()
	for range 3 {
		mustExec(t, operator, "SUSPEND")
		mustExec(t, operator, "RESUME")
		w.goesOn()
	}
	w.finish(pg)
}

func TestPauseTellsWhoIsInTheWayAndIsUndoneWhenCancelled(t *testing.T) {
	pg := pgtest.Start(t)
	s := openSite(t, pg, "default_pool_size = 4")
	var mu sync.Mutex
	var notices []string
	cfg, err := pgconn.ParseConfig("postgres://postgres@" + s.addr + "/pgbouncer?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		notices = append(notices, n.Message)
	}
	operator, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = operator.Close(context.Background()) }()
	busy, other := s.dial("postgres"), s.dial("postgres")
	mustExec(t, busy, "BEGIN")
	paused := make(chan error, 1)
	go func() {
		_, err := operator.Exec(context.Background(), "PAUSE postgres").ReadAll()
		paused <- err
	}()
	until(t, "the operator is told who is in the way", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(notices) > 0
	})
	mu.Lock()
	if !strings.Contains(notices[0], fmt.Sprintf(`1 server sessions are left; held by client %d (postgres@postgres "test" from 127.0.0.1), idle in transaction`, busy.PID())) {
		t.Errorf("the notice is %q", notices[0])
	}
	mu.Unlock()
	answered := make(chan error, 1)
	go func() {
		_, err := other.Exec(context.Background(), "SELECT 1").ReadAll()
		answered <- err
	}()
	if err := operator.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	if err := <-paused; !errors.As(err, &refused) || refused.Code != "57014" || !strings.Contains(refused.Hint, "undone") {
		t.Errorf("PAUSE: %v", err)
	}
	if err := <-answered; err != nil {
		t.Errorf("who waited: %v", err)
	}
	refusedWith(t, operator, "RESUME postgres", "55000")
	mustExec(t, busy, "COMMIT")

	// The same when the operator goes.
	mustExec(t, busy, "BEGIN")
	go func() {
		_, err := operator.Exec(context.Background(), "PAUSE").ReadAll()
		paused <- err
	}()
	until(t, "it is paused", func() bool { return s.pools.Orders("").Paused })
	_ = operator.Conn().Close()
	if err := <-paused; err == nil {
		t.Error("PAUSE has come to its end")
	}
	until(t, "it is not paused any more", func() bool { return !s.pools.Orders("").Paused })
	mustExec(t, busy, "COMMIT")
}

func TestOrdersOnTheConsole(t *testing.T) {
	pg := pgtest.Start(t)
	s := openSite(t, pg, "[databases.app]\nhost = \"127.0.0.1\"\nport = "+fmt.Sprint(pg.Port)+"\ndbname = \"postgres\"\n[users.x]")
	operator, client := s.dial("pooler"), s.dial("app")

	mustExec(t, operator, "DISABLE app")
	if _, err := pgconn.Connect(t.Context(), "postgres://postgres@"+s.addr+"/app?sslmode=disable"); err == nil || !strings.Contains(err.Error(), "57P03") {
		t.Errorf("a login to a disabled database: %v", err)
	}
	mustExec(t, client, "SELECT 1")
	mustExec(t, operator, "ENABLE app")

	mustExec(t, operator, "STOP POOL app")
	refusedWith(t, client, "SELECT 1", "57P03")
	mustExec(t, operator, "START POOL app")
	mustExec(t, client, "SELECT 1")
	mustExec(t, client, "BEGIN")
	mustExec(t, operator, "STOP POOL app DRAIN 0.2")
	if _, err := client.Exec(t.Context(), "COMMIT").ReadAll(); err == nil {
		t.Error("its transaction was not ended")
	}
	mustExec(t, operator, "START POOL app")

	client = s.dial("app")
	mustExec(t, operator, fmt.Sprintf("KILL_CLIENT %d", client.PID()))
	refusedWith(t, client, "SELECT 1", "57P01")
	refusedWith(t, operator, "KILL_CLIENT 999999", "42704")
	refusedWith(t, operator, "KILL_CLIENT 99999999999", "42704")

	client = s.dial("app")
	mustExec(t, operator, "KILL app")
	refusedWith(t, client, "SELECT 1", "57P01")
	mustExec(t, operator, "RESUME app")
	mustExec(t, s.dial("app"), "SELECT 1")

	mustExec(t, operator, "ALTER POOL app SET maxsize = 9, inactivity_timeout = '90s'")
	if cfg := s.ctl.Config(); cfg.Databases["app"].PoolSize != 9 {
		t.Errorf("%+v", cfg.Databases["app"])
	}
	refusedWith(t, operator, "ALTER POOL appp SET maxsize = 9", "3D000")
	refusedWith(t, operator, "ALTER POOL app SET maxsizes = 9", "42704")
	refusedWith(t, operator, "ALTER POOL app SET incrsize = 2, maxsize = -1", "22023")
	refusedWith(t, operator, "ALTER POOL app SET maxsize = many", "22023")
	mustExec(t, operator, "ALTER POOL SYS_DEFAULT_CONNECTION_POOL SET maxsize = 11 SAVE")
	if cfg, err := config.Load(s.file); err != nil || cfg.DefaultPoolSize != 11 || cfg.Databases["app"].PoolSize != 9 {
		t.Errorf("the file: %v, %+v", err, cfg)
	}
	mustExec(t, operator, "RESTORE POOL app DEFAULTS SAVE")
	if cfg, err := config.Load(s.file); err != nil || cfg.Databases["app"].PoolSize != 0 {
		t.Errorf("the file: %v, %+v", err, cfg)
	}
	mustExec(t, operator, "SET query_wait_timeout = 7")
	if cfg := s.ctl.Config(); time.Duration(cfg.QueryWaitTimeout) != 7*time.Second {
		t.Errorf("query_wait_timeout = %s", cfg.QueryWaitTimeout)
	}
	mustExec(t, operator, "RELOAD")
	if cfg := s.ctl.Config(); time.Duration(cfg.QueryWaitTimeout) == 7*time.Second {
		t.Error("RELOAD has not brought the file's value back")
	}
	looker, err := pgconn.Connect(t.Context(), "postgres://looker@"+s.addr+"/pooler?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = looker.Close(context.Background()) }()
	for _, sql := range []string{"PAUSE", "RELOAD", "SET query_wait_timeout = 7", "KILL_CLIENT 1", "SHUTDOWN", "KILL IDLE"} {
		refusedWith(t, looker, sql, "42501")
	}
	if !strings.Contains(s.log.String(), "by=\"postgres@127.0.0.1:") {
		t.Error("the log does not say who has changed something")
	}
}

// Each kind of SHUTDOWN is answered before the process goes.
func TestShutdownOnTheConsole(t *testing.T) {
	pg := pgtest.Start(t)
	open := func(t *testing.T) (p *program, operator, busy, idle *pgconn.PgConn) {
		p = startProgram(t, pg, "admin_users = [\"postgres\"]\nshutdown_timeout = \"1h\"")
		busy, idle = p.dial(t), p.dial(t)
		mustExec(t, busy, "BEGIN")
		operator, err := pgconn.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/pooler?sslmode=disable", p.port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = operator.Close(context.Background()) })
		return p, operator, busy, idle
	}
	ends := func(t *testing.T, c *pgconn.PgConn) {
		t.Helper()
		until(t, "the idle client is ended", func() bool {
			_, err := c.Exec(t.Context(), "SELECT 1").ReadAll()
			if err != nil && !strings.Contains(err.Error(), "57P01") {
				t.Errorf("it was told %v", err)
			}
			return err != nil
		})
	}
	exits := func(t *testing.T, p *program) {
		t.Helper()
		select {
		case err := <-p.exited:
			if err != nil {
				t.Errorf("exit: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("it does not stop")
		}
	}
	t.Run("at once", func(t *testing.T) {
		p, operator, _, _ := open(t)
		mustExec(t, operator, "SHUTDOWN")
		exits(t, p)
		p.await(t, "stopped at once")
	})
	t.Run("when server sessions are released", func(t *testing.T) {
		p, operator, busy, idle := open(t)
		mustExec(t, operator, "SHUTDOWN WAIT_FOR_SERVERS")
		ends(t, idle)
		mustExec(t, operator, "SHOW HELP") // the console is there to the end
		mustExec(t, busy, "COMMIT")
		exits(t, p)
	})
	t.Run("when clients have left", func(t *testing.T) {
		p, operator, busy, idle := open(t)
		mustExec(t, operator, "SHUTDOWN WAIT_FOR_CLIENTS")
		mustExec(t, idle, "SELECT 1")
		mustExec(t, busy, "COMMIT")
		until(t, "nobody gets in", func() bool {
			_, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
			return err != nil
		})
		mustExec(t, busy, "SELECT 1")
		_ = busy.Close(t.Context())
		mustExec(t, idle, "SELECT 1")
		_ = idle.Close(t.Context())
		exits(t, p)
	})
	t.Run("first patiently, then not", func(t *testing.T) {
		p, operator, busy, idle := open(t)
		mustExec(t, operator, "SHUTDOWN WAIT_FOR_CLIENTS")
		mustExec(t, operator, "SHUTDOWN WAIT_FOR_SERVERS")
		ends(t, idle)
		mustExec(t, busy, "SELECT 1")
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		exits(t, p)
		p.await(t, "stopped at once")
	})
	t.Run("signals", func(t *testing.T) {
		p, _, busy, idle := open(t)
		mustExec(t, busy, "COMMIT")
		_ = p.cmd.Process.Signal(syscall.SIGUSR1)
		p.await(t, "paused: clients wait")
		answered := make(chan error, 1)
		go func() {
			_, err := idle.Exec(context.Background(), "SELECT 1").ReadAll()
			answered <- err
		}()
		select {
		case err := <-answered:
			t.Errorf("while it is paused: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
		_ = p.cmd.Process.Signal(syscall.SIGUSR2)
		if err := <-answered; err != nil {
			t.Error(err)
		}
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		exits(t, p)
		p.await(t, "stopped at once")
	})
}
