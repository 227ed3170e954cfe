package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

const someoneElse = "nobody"

// startAlone starts a pooler that has no PostgreSQL, with the configuration in dir.
func startAlone(t *testing.T, bin, dir, more string) *program {
	t.Helper()
	p := &program{config: filepath.Join(dir, "pooler.toml"), port: freePort(t), exited: make(chan error, 1)}
	text := fmt.Sprintf("listen_port = %d\nunix_socket_dir = %q\nauth_type = \"trust\"\nadmin_users = [\"admin\"]\n%s\n[databases.\"*\"]\n", p.port, dir, more)
	if err := os.WriteFile(p.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(bin, "serve", "--config", p.config)
	p.cmd.Stderr = &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the program said:\n%s", p.out.String())
		}
	})
	return p
}

// status is a line of /proc/PID/status of each of the program's threads, which must agree.
func (p *program) status(t *testing.T, key string) string {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	found := ""
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut("\n"+string(text), "\n"+key+":")
		line, _, _ := strings.Cut(rest, "\n")
		value := strings.Join(strings.Fields(line), " ")
		if found != "" && found != value {
			t.Errorf("%s: threads differ: %q and %q", key, found, value)
		}
		found = value
	}
	return found
}

func (p *program) order(t *testing.T, sql string) {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), fmt.Sprintf("postgres://admin@127.0.0.1:%d/pooler?sslmode=disable", p.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // it has answered
	if _, err := c.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}

func TestPrivileges(t *testing.T) {
	bin := buildProgram(t)
	t.Run("nothing is dumped, and nothing to be gained", func(t *testing.T) { testNoDumps(t, bin) })
	if os.Geteuid() != 0 {
		t.Run("only root becomes somebody else", func(t *testing.T) { testOnlyRoot(t, bin) })
		return
	}
	t.Run("started by root it becomes its user", func(t *testing.T) { testBecomesItsUser(t, bin) })
	t.Run("it says what its user cannot read", func(t *testing.T) { testUnreadable(t, bin) })
}

func testOnlyRoot(t *testing.T, bin string) {
	p := startAlone(t, bin, t.TempDir(), `user = "`+someoneElse+`"`)
	if err := <-p.exited; err == nil || !strings.Contains(p.out.String(), "only root can become "+someoneElse) {
		t.Errorf("it ends with %v", err)
	}
}

func testBecomesItsUser(t *testing.T, bin string) {
	dir := t.TempDir()
	who, err := user.Lookup(someoneElse)
	if err != nil {
		t.Fatal(err)
	}
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	uid, err := strconv.Atoi(who.Uid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, uid, -1); err != nil {
		t.Fatal(err)
	}
	history := filepath.Join(data, "history")
	p := startAlone(t, bin, dir, fmt.Sprintf("user = %q\nhistory_file = %q\nunix_socket_mode = \"0700\"", someoneElse, history))
	p.await(t, "msg=serving")
	four := func(id string) string { return strings.Join([]string{id, id, id, id}, " ") }
	for key, want := range map[string]string{
		"Uid": four(who.Uid), "Gid": four(who.Gid), "Groups": who.Gid, "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
	} {
		if got := p.status(t, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	until(t, "the history file", func() bool { return ownerOf(history) == uid })
	socket := filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(p.port))
	if got := ownerOf(socket); got != uid {
		t.Errorf("the Unix socket belongs to %d", got)
	}
	p.order(t, "RELOAD")
	if strings.Contains(p.out.String(), "level=WARN") {
		t.Error("there is a warning")
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-p.exited; err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// ownerOf is -1 for a file that is not there.
func ownerOf(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

func testUnreadable(t *testing.T, bin string) {
	dir := t.TempDir() // whose own folder is closed to others
	p := startAlone(t, bin, dir, `user = "`+someoneElse+`"`)
	p.await(t, "msg=serving")
	if want := "a reload will fail: the file cannot be read any more\" file=" + p.config; !strings.Contains(p.out.String(), want) {
		t.Errorf("it does not say %s", want)
	}
}

func testNoDumps(t *testing.T, bin string) {
	p := startAlone(t, bin, t.TempDir(), "")
	p.await(t, "msg=serving")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(limits), "Max core file size")
	if got := strings.Fields(line); len(got) < 2 || got[0] != "0" || got[1] != "0" {
		t.Errorf("the limits of core files are %q", got)
	}
	// What a process that is not dumpable has in /proc belongs to root.
	if got := ownerOf(fmt.Sprintf("/proc/%d/environ", p.cmd.Process.Pid)); got != 0 {
		t.Errorf("its memory belongs to %d", got)
	}
	if told := strings.Contains(p.out.String(), "running as root"); told != (os.Geteuid() == 0) {
		t.Errorf("it warns of root: %t", told)
	}
}

func TestAnAccountThatWillNotDo(t *testing.T) {
	for name, want := range map[string]string{"no-such-user": "unknown user no-such-user", "root": "user: root is root; name an account without privileges"} {
		if os.Geteuid() != 0 && name == "root" {
			want = "is root"
		}
		if _, err := lookUp(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTheGroupOfRootIsNotKept(t *testing.T) {
	a, err := accountOf("app", []string{"1000", "1001", "0", "27"})
	if err != nil || a.uid != 1000 || a.gid != 1001 || !slices.Equal(a.groups, []int{27}) || !a.lost {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := accountOf("app", []string{"1000", "1001", "1001"}); err != nil || a.lost {
		t.Errorf("%+v, %v", a, err)
	}
	if err := (&account{name: "app", uid: 1000}).fit(0); err == nil || !strings.Contains(err.Error(), "a group of its own") {
		t.Errorf("with root's group as its own: %v", err)
	}
}

func TestAThreadThatKeptSomethingIsFound(t *testing.T) {
	a := &account{name: "app", uid: 1000, gid: 1001, groups: []int{27}}
	const whole = "Name:\tpooler\nUid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t27 1001 \n" +
		"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"
	for _, tt := range []struct{ name, old, new, want string }{
		{"all is well", "", "", ""},
		{"no groups", "27 1001 ", "", ""},
		{"a saved user", "1000\t1000\nGid", "0\t1000\nGid", "Uid:\t1000\t1000\t0\t1000"},
		{"an effective group", "Gid:\t1001\t1001", "Gid:\t1001\t0", "Gid:\t1001\t0\t1001\t1001"},
		{"a group of root's", "27 1001", "0 27", "Groups:\t0 27"},
		{"a capability", "CapEff:\t0", "CapEff:\t1", "CapEff:\t1000000000000000"},
		{"nothing is known", "Uid:", "Xid:", "it does not say who it is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := a.unlike(strings.Replace(whole, tt.old, tt.new, 1)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
