package pgtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
)

// helperEnv makes the test binary a program that starts a server and waits to be killed.
const helperEnv = "PGTEST_HELPER"

var shared pgtest.Shared

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		runHelper()
		return
	}
	pgtest.Main(m, &shared)
}

func runHelper() {
	s, err := pgtest.Run(context.Background(), pgtest.Options{})
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, s.PID(), s.SocketDir)
	select {}
}

func TestQueryOverTCPAndSocket(t *testing.T) {
	s := shared.Server(t)
	for name, dsn := range map[string]string{"tcp": s.DSN("postgres"), "socket": s.SocketDSN("postgres")} {
		t.Run(name, func(t *testing.T) {
			if got := query(t, dsn, "select 40 + 2"); got != "42" {
				t.Errorf("got %q, want 42", got)
			}
		})
	}
}

func TestBinDirIsUsed(t *testing.T) {
	none := t.TempDir()
	if s, err := pgtest.Run(t.Context(), pgtest.Options{BinDir: none}); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("a directory without programs: got %v, want an error that names it", err)
		if err == nil {
			_ = s.Stop()
		}
	}
	s := pgtest.Start(t, pgtest.Options{BinDir: shared.Server(t).BinDir()})
	if s.BinDir() != shared.Server(t).BinDir() {
		t.Errorf("programs in %s, want %s", s.BinDir(), shared.Server(t).BinDir())
	}
}

func TestDatabasesAreFreshAndDropped(t *testing.T) {
	s := shared.Server(t)
	var names []string
	for range 2 {
		t.Run("a name with 'quotes' and Umläute", func(t *testing.T) {
			db := s.CreateDatabase(t)
			names = append(names, db)
			query(t, s.DSN(db), "create table t (i int)")
		})
	}
	rows, err := s.Exec(t.Context(), "postgres",
		fmt.Sprintf("select datname from pg_database where datname in ('%s', '%s')", names[0], names[1]))
	if err != nil {
		t.Fatal(err)
	}
	if names[0] == names[1] || len(rows) != 0 {
		t.Errorf("databases %q: left over: %q", names, rows)
	}
}

func TestExecReturnsTheLastResult(t *testing.T) {
	rows, err := shared.Server(t).Exec(t.Context(), "postgres", "select 1; select 2, null union all select 3, 'x' order by 1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%q", rows), `[["2" ""] ["3" "x"]]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOptions(t *testing.T) {
	var log bytes.Buffer
	s, err := pgtest.Run(t.Context(), pgtest.Options{
		MaxConnections: 17,
		Settings:       map[string]string{"search_path": `it's, "a\b"`, "fsync": "on"},
		Files:          map[string][]byte{"extra.conf": []byte("x")},
		Log:            &log,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"max_connections": "17", "search_path": `it's, "a\b"`, "fsync": "on", "TimeZone": "UTC"} {
		if got := query(t, s.DSN("postgres"), "show "+name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(s.DataDir(), "extra.conf")); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "database system is ready to accept connections") {
		t.Errorf("log: got %q", log.String())
	}
}

func TestAuthMethods(t *testing.T) {
	for method, want := range map[string]string{"scram-sha-256": "SCRAM-SHA-256$", "md5": "md5", "password": "SCRAM-SHA-256$"} {
		t.Run(method, func(t *testing.T) {
			s := pgtest.Start(t, pgtest.Options{Auth: method, SuperuserPassword: "pass'word/?"})
			stored := query(t, s.DSN("postgres"), "select rolpassword from pg_authid where rolname = 'postgres'")
			if !strings.HasPrefix(stored, want) {
				t.Errorf("stored password: got %q, want it to begin with %q", stored, want)
			}
			wrong := fmt.Sprintf("postgres://postgres:wrong@127.0.0.1:%d/postgres?sslmode=disable", s.Port)
			_, err := pgconn.Connect(t.Context(), wrong)
			if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "28P01" {
				t.Errorf("wrong password: got %v, want SQLSTATE 28P01", err)
			}
		})
	}
}

func TestLifeCycle(t *testing.T) {
	s := pgtest.Start(t)
	query(t, s.DSN("postgres"), "create table t as select 1 as i")

	tests := []struct {
		name string
		down func() error
		up   func(context.Context) error
	}{
		{name: "restart", up: s.Restart},
		{name: "kill and start", down: s.Kill, up: s.Start},
		{name: "stop, keep and start", down: s.StopKeep, up: s.Start},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := pgconn.Connect(t.Context(), s.DSN("postgres"))
			if err != nil {
				t.Fatal(err)
			}
			pid, port := s.PID(), s.Port
			if tt.down != nil {
				if err := tt.down(); err != nil {
					t.Fatal(err)
				}
				if s.PID() != 0 || alive(pid) {
					t.Errorf("process %d is still there", pid)
				}
			}
			if err := tt.up(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.PID() == pid || s.Port != port {
				t.Errorf("process %d port %d, before %d and %d: want another process, the same port", s.PID(), s.Port, pid, port)
			}
			if _, err := conn.Exec(t.Context(), "select 1").ReadAll(); err == nil {
				t.Error("the old connection is still alive")
			}
			_ = conn.Close(t.Context()) // broken by now
			<-conn.CleanupDone()
			if got := query(t, s.DSN("postgres"), "select i from t"); got != "1" {
				t.Errorf("data: got %q, want 1", got)
			}
		})
	}
}

func TestStopLeavesNothing(t *testing.T) {
	s, err := pgtest.Run(t.Context(), pgtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pid, dir := s.PID(), s.SocketDir
	conn, err := pgconn.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	_ = conn.Close(t.Context()) // broken by now
	<-conn.CleanupDone()
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat %s: got %v, want that it does not exist", dir, err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Error("a stopped server starts again")
	}
}

func TestAStartThatFailsTellsWhy(t *testing.T) {
	used := shared.Server(t)
	tests := []struct {
		name string
		opts pgtest.Options
		want string
	}{
		{name: "a bad setting is quoted from the log", opts: pgtest.Options{Settings: map[string]string{"no_such_thing": "1"}}, want: "no_such_thing"},
		{name: "a port in use is named", opts: pgtest.Options{Port: used.Port}, want: "another process listens on port " + strconv.Itoa(used.Port)},
		{name: "an unknown method is refused", opts: pgtest.Options{Auth: "guess"}, want: `unknown auth method "guess"`},
		{name: "a file elsewhere is refused", opts: pgtest.Options{Files: map[string][]byte{"../x": nil}}, want: `file "../x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			openToAll(t, tmp)
			s, err := pgtest.Run(t.Context(), tt.opts)
			if err == nil {
				t.Fatal(errors.Join(errors.New("it started"), s.Stop()))
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
			if left, _ := filepath.Glob(filepath.Join(tmp, "pgtest-*")); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestFindSaysHowToInstall(t *testing.T) {
	t.Setenv("PGTEST_BINDIR", t.TempDir())
	if dir, err := pgtest.Find(); err == nil {
		t.Errorf("got %s for an empty directory, want an error", dir)
	}
	t.Setenv("PGTEST_BINDIR", "")
	dir, err := pgtest.Find()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGTEST_BINDIR", dir)
	if got, err := pgtest.Find(); got != dir || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, dir)
	}
}

// Whatever state the cache of initdb's work is in, servers start, also several at a time.
func TestTemplateCacheIsOnlyAShortcut(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, template string)
	}{
		{name: "sound", damage: func(*testing.T, string) {}},
		{name: "a file is missing", damage: func(t *testing.T, template string) {
			remove(t, filepath.Join(template, "data", "global", "pg_filenode.map"))
		}},
		{name: "the manifest is missing", damage: func(t *testing.T, template string) {
			remove(t, filepath.Join(template, "manifest"))
		}},
		{name: "a file has the right size and the wrong content", damage: func(t *testing.T, template string) {
			path := filepath.Join(template, "data", "global", "pg_control")
			info, err := os.Stat(path)
			if err == nil {
				err = os.WriteFile(path, make([]byte, info.Size()), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	}
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	startSeveral(t, 2) // cold: both run initdb, one of them makes the template
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			templates, err := filepath.Glob(filepath.Join(cache, "pooler-pgtest", "*"))
			if err != nil || len(templates) != 1 {
				t.Fatalf("cache: got %q, %v, want one template", templates, err)
			}
			tt.damage(t, templates[0])
			startSeveral(t, 2)
			for _, name := range []string{"manifest", "data/global/pg_filenode.map"} {
				if _, err := os.Stat(filepath.Join(templates[0], name)); err != nil {
					t.Errorf("the template is not sound again: %v", err)
				}
			}
		})
	}
}

func TestServerDiesWithItsProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	openToAll(t, tmp)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperEnv+"=1", "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	_, scanErr := fmt.Fscanln(out, &pid, &dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // "signal: killed", as we asked
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	eventually(t, fmt.Sprintf("process %d ends", pid), func() bool { return !alive(pid) })
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the killed process cannot have removed its directory: %v", err)
	}
	t.Setenv("TMPDIR", tmp)
	pgtest.Start(t)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat %s: got %v, want that the next server removed it", dir, err)
	}
}

func startSeveral(t *testing.T, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			s, err := pgtest.Run(t.Context(), pgtest.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// query runs a statement on a connection of its own and returns the first field of its result.
func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 || len(results[0].Rows) == 0 {
		return ""
	}
	return string(results[0].Rows[0][0])
}

// openToAll lets the user that PostgreSQL runs as into dir, a test's own directory, when we are root.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// alive tells whether the process exists and is not a zombie that its parent has yet to fetch.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	return !bytes.Contains(stat, []byte(") Z ")) && syscall.Kill(pid, 0) == nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
