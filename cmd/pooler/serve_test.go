package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
)

// program is a `pooler serve` running as its own process.
type program struct {
	cmd    *exec.Cmd
	config string
	port   int
	out    output
	exited chan error
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

// buildProgram builds the program once per test that needs it; the build cache makes that quick.
func buildProgram(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pooler")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func startProgram(t *testing.T, pg *pgtest.Server, more string) *program {
	t.Helper()
	p := &program{config: filepath.Join(t.TempDir(), "pooler.toml"), port: freePort(t), exited: make(chan error, 1)}
	p.write(t, pg, more)
	p.cmd = exec.Command(buildProgram(t), "serve", "--config", p.config)
	p.cmd.Stderr = &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			if err := <-p.exited; err != nil {
				t.Logf("killed: %v", err)
			}
		}
		if t.Failed() {
			t.Logf("the program said:\n%s", p.out.String())
		}
	})
	p.await(t, "msg=serving")
	return p
}

func (p *program) write(t *testing.T, pg *pgtest.Server, more string) {
	t.Helper()
	text := fmt.Sprintf("listen_port = %d\nunix_socket_dir = \"\"\nauth_type = \"trust\"\n%s\n[databases.\"*\"]\nhost = %q\nport = %d\n",
		p.port, more, pg.Host, pg.Port)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// await waits until the program has said text.
func (p *program) await(t *testing.T, text string) {
	t.Helper()
	until(t, "the program says "+text, func() bool { return strings.Contains(p.out.String(), text) })
}

// until polls for a state that must come, however slow the machine is.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // poll for a state of another process
	}
}

func (p *program) dial(t *testing.T) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", p.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func mustExec(t *testing.T, c *pgconn.PgConn, sql string) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestReloadPutsInForceWhatCanChangeAndSaysWhatCannot(t *testing.T) {
	pg := pgtest.Start(t)
	p := startProgram(t, pg, "default_pool_size = 3")
	client := p.dial(t)
	mustExec(t, client, "BEGIN")
	p.write(t, pg, "default_pool_size = 4\nloops = 2")
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	p.await(t, `msg="configuration changed" key=default_pool_size old=3 new=4`)
	p.await(t, `msg="configuration changed, takes effect at the next start" key=loops`)
	p.write(t, pg, "defaultpool_size = 4")
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	p.await(t, "reload refused, nothing has changed")
	p.await(t, "pooler.toml:4: defaultpool_size: unknown key")
	mustExec(t, client, "COMMIT") // nobody was dropped
}

func TestSIGTERMLetsTransactionsFinish(t *testing.T) {
	pg := pgtest.Start(t)
	p := startProgram(t, pg, "")
	idle, busy := p.dial(t), p.dial(t)
	mustExec(t, busy, "BEGIN")
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.await(t, "msg=\"stopping")
	if _, err := idle.Exec(t.Context(), "SELECT 1").ReadAll(); err == nil {
		t.Error("an idle client is served after SIGTERM")
	}
	if _, err := pgconn.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", p.port)); err == nil {
		t.Error("a new client is let in after SIGTERM")
	}
	mustExec(t, busy, "CREATE TABLE finished ()")
	mustExec(t, busy, "COMMIT")
	if err := <-p.exited; err != nil {
		t.Errorf("exit: %v", err)
	}
	rows, err := pg.Exec(t.Context(), "postgres", "SELECT count(*) FROM pg_class WHERE relname = 'finished'")
	if err != nil || rows[0][0] != "1" {
		t.Errorf("the transaction is not there: %v %v", rows, err)
	}
	until(t, "no server session is left", func() bool {
		rows, err := pg.Exec(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
		return err == nil && rows[0][0] == "0"
	})
}

func TestSIGINTTwiceStopsAtOnce(t *testing.T) {
	pg := pgtest.Start(t)
	p := startProgram(t, pg, "shutdown_timeout = \"1h\"")
	mustExec(t, p.dial(t), "BEGIN")
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	p.await(t, "msg=\"stopping")
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	if err := <-p.exited; err != nil {
		t.Errorf("exit: %v", err)
	}
	p.await(t, "stopped at once")
}

func TestCheckSaysWhereAFaultIs(t *testing.T) {
	bin := buildProgram(t)
	dir := t.TempDir()
	for _, tc := range []struct{ name, text, want string }{
		{"a good file", "auth_type = \"trust\"\n[databases.\"*\"]\n", "is right"},
		{"a mistyped key", "auth_type = \"trust\"\nmax_client_con = 5\n[databases.\"*\"]\n", `pooler.toml:2: max_client_con: unknown key "max_client_con"; did you mean "max_client_conn"?`},
		{"an impossible value", "auth_type = \"trust\"\ndefault_pool_size = 0\n[databases.\"*\"]\n", "pooler.toml:2: default_pool_size: must be at least 1, got 0"},
		{"a missing auth_file", "[databases.\"*\"]\n", "auth_file: "},
		{"a password that everybody may read", "auth_type = \"trust\"\n[databases.a]\nuser = \"u\"\npassword = \"hunter2\"\n", "pooler.toml: it holds passwords, and everybody may read it"},
		{"an account that there is not", "auth_type = \"trust\"\nuser = \"no-such-user\"\n[databases.\"*\"]\n", "unknown user no-such-user"},
		{"a missing CA", "auth_type = \"trust\"\nserver_tls_ca_file = \"none\"\nserver_tls_sslmode = \"verify-full\"\n[databases.\"*\"]\n", "no such file"},
		{"a missing certificate", "auth_type = \"trust\"\nclient_tls_cert_file = \"none\"\nclient_tls_key_file = \"none\"\nhttp_tls = true\n[databases.\"*\"]\n", "no such file"},
		{"a missing HBA file", "auth_type = \"hba\"\nauth_hba_file = \"none\"\n[databases.\"*\"]\n", "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(dir, "pooler.toml")
			if err := os.WriteFile(path, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(bin, "check", "--config", path).CombinedOutput()
			if !strings.Contains(string(out), tc.want) {
				t.Errorf("it says %q, want %q", out, tc.want)
			}
			right := strings.Contains(tc.want, "is right") || strings.Contains(tc.want, "everybody may read it")
			if failed := err != nil; failed == right {
				t.Errorf("exit: %v", err)
			}
			if strings.Contains(string(out), "hunter2") {
				t.Errorf("it shows a password: %q", out)
			}
		})
	}
}

// A file that cannot be read for ever, as on a disk that hangs, holds up no other signal.
func TestAReloadThatHangsKeepsNoSignalFromBeingHeard(t *testing.T) {
	p := startProgram(t, pgtest.Start(t), "")
	if err := os.Remove(p.config); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(p.config, 0o600); err != nil { // which waits for somebody to write
		t.Fatal(err)
	}
	for range 3 {
		_ = p.cmd.Process.Signal(syscall.SIGHUP)
	}
	_ = p.cmd.Process.Signal(syscall.SIGUSR1)
	p.await(t, "by=SIGUSR1")
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-p.exited; err != nil {
		t.Errorf("it ends with %v", err)
	}
}
