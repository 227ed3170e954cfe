package frontend

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/netlab"
	"pooler/internal/pgtest"
	"pooler/pool"
)

// The limits of these tests. Keepalive gives up after 3 s and 3 probes, one a second, and TCP_USER_TIMEOUT is as long:
// that is N of reference/drcp.md, 1.4 and 6.
const (
	deadTOML = `
tcp_keepidle = "3s"
tcp_keepintvl = "1s"
tcp_keepcnt = 3
tcp_user_timeout = "6s"
`
	deadAfter = 6 * time.Second
	deadBound = deadAfter + 2*time.Second
)

// doom is what a client is doing when the network goes. It has a transaction open and a row locked.
type doom struct {
	name    string
	buffer  int              // of its socket, for what it receives; 0: the kernel's choice
	begin   func(*rawClient) // long before the cut
	last    func(*rawClient) // right before it
	noticed string
}

func dooms() []doom {
	ask := func(sql string) func(*rawClient) {
		return func(c *rawClient) { c.send(&pgproto3.Query{String: sql}) }
	}
	return []doom{
		{name: "(a) idle, all acknowledged", noticed: "keepalive"},
		{name: "(b) last answer unacknowledged", last: ask("SELECT pg_sleep(0.5)"), noticed: "user_timeout"},
		{name: "(b') answer 4 s after the cut", last: ask("SELECT pg_sleep(4)"), noticed: "user_timeout"},
		{name: "(c) running pg_sleep(300)", begin: ask("SELECT pg_sleep(300)"), noticed: "keepalive"},
		{name: "(d) not reading a large result", buffer: 4096, begin: ask(largeResult), noticed: "user_timeout"},
		{name: "(e) in the middle of COPY in", begin: func(c *rawClient) {
			c.send(&pgproto3.Query{String: "COPY heap FROM STDIN"})
			if !c.until('G') {
				c.t.Errorf("COPY does not begin")
			}
			c.send(&pgproto3.CopyData{Data: []byte("1\n2\n")})
		}, noticed: "keepalive"},
	}
}

const (
	largeRows   = 20_000
	largeResult = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)"
)

// victim is a client that will vanish, with the row that it has locked.
type victim struct {
	doom
	row    int
	mode   string
	cut    string
	client *rawClient
	freed  time.Duration // after the cut; 0: not
}

// ward is a database with a row for each victim.
type ward struct {
	t       *testing.T
	pg      *pgtest.Server
	db      string
	victims []*victim
}

func newWard(t *testing.T, pg *pgtest.Server) *ward {
	t.Helper()
	w := &ward{t: t, pg: pg, db: pg.CreateDatabase(t)}
	if _, err := pg.Exec(t.Context(), w.db, "CREATE TABLE account (id int PRIMARY KEY, n int); "+
		"INSERT INTO account SELECT i, 0 FROM generate_series(1, 100) i; CREATE TABLE heap (n int)"); err != nil {
		t.Fatal(err)
	}
	return w
}

// pooler starts one in front of the ward's server.
func (w *ward) pooler(extras ...string) *testPooler {
	w.t.Helper()
	return startPooler(w.t, append(extras, databases(w.pg.Host, w.pg.Port))...)
}

func databases(host string, port int) string {
	return fmt.Sprintf("[databases.\"*\"]\nhost = %q\nport = %d\n", host, port)
}

// admit connects a client from the far side of lab to addr and brings it to the point before its last act.
func (w *ward) admit(lab *netlab.Lab, addr, cut, mode string, d doom) {
	w.t.Helper()
	v := &victim{doom: d, row: len(w.victims) + 1, mode: mode, cut: cut}
	w.victims = append(w.victims, v)
	parameters := []string{"application_name", "victim" + strconv.Itoa(v.row)}
	if mode == "statement" || mode == "transaction" || mode == "session" {
		parameters = append(parameters, "pool_boundary", mode)
	}
	v.client = farClient(w.t, lab, addr, d.buffer)
	v.client.send(startupMessage(w.db, parameters...))
	if a := v.client.answer(); a.Status != 'I' {
		w.t.Fatalf("login of %s: %+v", v, a)
	}
	if mode == "pinned" {
		v.client.query("CREATE TEMP TABLE mine (n int)")
	}
	if a := v.client.query(fmt.Sprintf("BEGIN; UPDATE account SET n = n + 1 WHERE id = %d", v.row)); a.Status != 'T' {
		w.t.Fatalf("%s: %+v", v, a)
	}
	if d.begin != nil {
		d.begin(v.client)
	}
}

func (v *victim) String() string { return v.cut + ", " + v.mode + ", " + v.name }

// farClient is a client on the far side that has not logged in.
func farClient(t *testing.T, lab *netlab.Lab, addr string, buffer int) *rawClient {
	t.Helper()
	nc, err := lab.Dial(t.Context(), addr, buffer)
	if err != nil {
		t.Fatalf("dial from the far side: %v", err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &rawClient{t: t, nc: nc, in: pgproto3.NewFrontend(nc, nc)}
}

// watch asks, as a healthy client of a pooler, which rows can be locked, until all are or limit is over.
func (w *ward) watch(c *rawClient, cut time.Time, ours func(*victim) bool, limit time.Duration) {
	w.t.Helper()
	end := never
	for time.Since(cut) < min(end, limit) {
		a := c.query("SELECT id FROM account ORDER BY id FOR UPDATE SKIP LOCKED")
		if a.Errors > 0 || a.Status != 'I' {
			w.t.Fatalf("the healthy client: %+v", a)
		}
		held := false
		for _, v := range w.victims {
			if v.freed == 0 && slices.Contains(a.Rows, strconv.Itoa(v.row)) {
				v.freed = time.Since(cut)
			}
			held = held || v.freed == 0 && ours(v)
		}
		if !held && end == never {
			end = max(time.Since(cut)+3*time.Second, 2*deadAfter)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// D2 to D6, and D9. Clients vanish in every state, boundary and way at once. A healthy client gets the rows that they
// had locked within N + 2 s, their server sessions are used again, and there is one line in the log about each.
func TestD2toD6D9VanishedClients(t *testing.T) {
	t.Parallel()
	// A server of its own, as have the other tests that run beside it: one that cannot send to a client in (d) holds up
	// a DROP DATABASE of anybody (ProcSignalBarrier).
	w := newWard(t, pgtest.Start(t))
	p := w.pooler(deadTOML, `listen_addr = "*"`, `default_pool_size = 60`)
	_, port, _ := net.SplitHostPort(p.Addr)
	labs := []*netlab.Lab{netlab.New(t), netlab.New(t)}
	bouncer := startPgbouncer(t, w.pg)
	const theirs = "PgBouncer"
	for i, way := range netlab.Cuts() {
		lab := labs[i]
		for _, d := range dooms() {
			for _, mode := range []string{"statement", "transaction", "session", "pinned"} {
				w.admit(lab, net.JoinHostPort(lab.Here.String(), port), way.Name, mode, d)
			}
			w.admit(lab, net.JoinHostPort(lab.Here.String(), bouncer), way.Name, theirs, d)
		}
	}
	healthy := newRaw(t, p, w.db)
	healthy.query("SELECT 1")
	<-time.After(500 * time.Millisecond) // everything is acknowledged now, and the large results are stuck
	opened := p.stat(w.db).Opened
	for _, v := range w.victims {
		if v.last != nil {
			v.last(v.client)
		}
	}
	<-time.After(100 * time.Millisecond) // the last words have arrived; the answers come later
	cut := time.Now()
	for i, way := range netlab.Cuts() {
		way.Cut(labs[i])
	}
	w.watch(healthy, cut, func(v *victim) bool { return v.mode != theirs }, 3*deadAfter)
	watched := time.Since(cut).Round(time.Second)

	t.Logf("seconds until a healthy client has the row lock, N = %s:\n%s", deadAfter, w.table(watched))
	for _, v := range w.victims {
		if v.mode == theirs {
			continue
		}
		if v.freed == 0 || v.freed > deadBound {
			t.Errorf("%s: the lock was free after %s (0: not within %s), want at most %s", v, v.freed, watched, deadBound)
		}
		w.checkLog(p.Log.String(), v)
	}
	eventually(t, patience, "the server sessions are free again", func() bool {
		st := p.stat(w.db)
		return st.Active+st.Reclaiming+st.Closing+st.Opening == 0
	})
	if st := p.stat(w.db); st.Opened != opened || len(st.Retired) > 0 {
		t.Errorf("the victims' server sessions were not used again: %d opened, then %d; retired %v", opened, st.Opened, st.Retired)
	}
	lost := p.Front.Stat().Lost
	if lost["keepalive"] != 24 || lost["user_timeout"] != 24 {
		t.Errorf("vanished clients by how that was noticed: %v, want 24 by keepalive and 24 by user_timeout", lost)
	}
}

// table shows how long each victim's lock lasted.
func (w *ward) table(watched time.Duration) string {
	var modes, lines []string
	times := map[string]map[string]string{}
	for _, v := range w.victims {
		if !slices.Contains(modes, v.mode) {
			modes = append(modes, v.mode)
		}
		line := fmt.Sprintf("%-10s %-31s", v.cut, v.name)
		if times[line] == nil {
			times[line] = map[string]string{}
			lines = append(lines, line)
		}
		if times[line][v.mode] = fmt.Sprintf("%.1f", v.freed.Seconds()); v.freed == 0 {
			times[line][v.mode] = fmt.Sprintf("not within %.0f", watched.Seconds())
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%42s", "")
	for _, m := range modes {
		fmt.Fprintf(&b, "%14s", m)
	}
	for _, line := range lines {
		b.WriteString("\n" + line)
		for _, m := range modes {
			fmt.Fprintf(&b, "%14s", times[line][m])
		}
	}
	return b.String()
}

// checkLog checks the line about a victim (D9).
func (w *ward) checkLog(log string, v *victim) {
	lines := regexp.MustCompile(`(?m)^.*msg="client vanished".* application_name=victim`+strconv.Itoa(v.row)+` .*$`).FindAllString(log, -1)
	if len(lines) != 1 {
		w.t.Errorf("%s: %d lines in the log, want 1: %q", v, len(lines), lines)
		return
	}
	for _, want := range []string{
		"level=WARN", " session_id=", " user=" + pgtest.Superuser + " ", " database=" + w.db + " ", " remote=198.",
		" noticed=" + v.noticed + " ", " transaction_open=true ", fmt.Sprintf(" running=%t ", v.begin != nil),
	} {
		if !strings.Contains(lines[0], want) {
			w.t.Errorf("%s: %q is missing in %q", v, want, lines[0])
		}
	}
	for key, least := range map[string]time.Duration{"silent": 5 * time.Second, "transaction": 5 * time.Second} {
		m := regexp.MustCompile(` ` + key + `=(\S+)`).FindStringSubmatch(lines[0])
		if m == nil {
			w.t.Errorf("%s: %s is missing in %q", v, key, lines[0])
			continue
		}
		if d, err := time.ParseDuration(m[1]); err != nil || d < least || d > deadBound+5*time.Second {
			w.t.Errorf("%s: %s=%s: want a time of about %s (%v)", v, key, m[1], deadAfter, err)
		}
	}
}

// startPgbouncer runs PgBouncer with its defaults in transaction mode, in front of pg, and returns its port.
func startPgbouncer(t *testing.T, pg *pgtest.Server) string {
	t.Helper()
	path := ""
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("this test compares with PgBouncer, which is missing: run scripts/install-pgbouncer.sh")
	}
	free, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free)
	ini := filepath.Join(pg.SocketDir, "pgbouncer.ini") // a directory of the user that PostgreSQL runs as
	text := fmt.Sprintf("[databases]\n* = host=%s port=%d user=%s\n[pgbouncer]\nlisten_addr = *\nlisten_port = %s\n"+
		"unix_socket_dir =\nauth_type = any\npool_mode = transaction\n", pg.Host, pg.Port, pgtest.Superuser, port)
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, ini)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := unprivileged(cmd.SysProcAttr, ini); err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the kernel ends the child when the thread that made it ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	eventually(t, patience, "PgBouncer listens", func() bool {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
	return port
}

// unprivileged has a child run as a user whom PgBouncer does not refuse, and gives it the file.
func unprivileged(attr *syscall.SysProcAttr, file string) error {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(file, uid, gid)
}

// C5. Clients that are alive and say nothing, do not read, or are not read from, are left alone however long that is.
// TCP_USER_TIMEOUT alone ends those that do not read after N.
func TestC5SilentClientsSurvive(t *testing.T) {
	t.Parallel()
	w := newWard(t, pgtest.Start(t))
	p := w.pooler(deadTOML, `listen_addr = "*"`)
	_, port, _ := net.SplitHostPort(p.Addr)
	lab := netlab.New(t)
	states := dooms()
	for _, i := range []int{0, 4, 5} {
		w.admit(lab, net.JoinHostPort(lab.Here.String(), port), "no cut", "statement", states[i])
	}
	blocked, finish := w.blockedCopy(p)
	<-time.After(deadAfter + 4*time.Second)
	idle, reader, copier := w.victims[0].client, w.victims[1].client, w.victims[2].client
	if a := idle.query("SELECT n FROM account WHERE id = 1"); a.only() != "1" || a.Status != 'T' {
		t.Errorf("the idle client: %+v", a)
	}
	if a := reader.answer(); len(a.Rows) != largeRows || a.Status != 'T' {
		t.Errorf("the client that did not read: %d rows of %d, status %q, error %q", len(a.Rows), largeRows, a.Status, a.Message)
	}
	copier.send(&pgproto3.CopyDone{})
	if a := copier.answer(); !slices.Contains(a.Tags, "COPY 2") {
		t.Errorf("the client in the middle of COPY: %+v", a)
	}
	finish()
	if a := blocked.answer(); !slices.Contains(a.Tags, fmt.Sprintf("COPY %d", blockedRows)) {
		t.Errorf("the client whose COPY had to wait: %+v", a)
	}
	if log := p.Log.String(); strings.Contains(log, "vanished") || strings.Contains(log, "session lost") {
		t.Error("somebody was taken for dead")
	}
}

const blockedRows = 300_000

// blockedCopy is a client whose COPY waits for another's transaction, so that PostgreSQL does not read what is sent.
// finish ends that transaction.
func (w *ward) blockedCopy(p *testPooler) (c *rawClient, finish func()) {
	w.t.Helper()
	other := newRaw(w.t, p, w.db)
	other.query("CREATE TABLE keys (k int PRIMARY KEY, v text)")
	other.query("BEGIN; INSERT INTO keys VALUES (1000)")
	c = newRaw(w.t, p, w.db)
	c.send(&pgproto3.Query{String: "COPY keys FROM STDIN"})
	if !c.until('G') {
		w.t.Fatal("COPY does not begin")
	}
	var data []byte
	for i := range blockedRows {
		data = fmt.Appendf(data, "%d\tsome text to make it larger\n", i)
	}
	out := make([]byte, 0, len(data)+1<<12)
	for part := range slices.Chunk(data, 60_000) {
		out = append(out, encode(&pgproto3.CopyData{Data: part})...)
	}
	out = append(out, encode(&pgproto3.CopyDone{})...)
	go func() { _, _ = c.nc.Write(out) }()
	return c, func() { other.query("ROLLBACK") }
}

// D1. A client that says goodbye, or just closes, in a transaction: the lock is gone within a second, and the same
// server session serves the next.
func TestD1CleanExitReleasesTheLock(t *testing.T) {
	for name, leave := range map[string]func(*rawClient){
		"Terminate": func(c *rawClient) { c.send(&pgproto3.Terminate{}) },
		"FIN":       func(c *rawClient) { _ = c.nc.(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t, postgres.Server(t))
			p := startPooler(t, "default_pool_size = 1")
			first := newRaw(t, p, w.db)
			a := first.query("BEGIN; UPDATE account SET n = 7 WHERE id = 1; SELECT pg_backend_pid()")
			second := newRaw(t, p, w.db)
			begun := time.Now()
			leave(first)
			b := second.query("UPDATE account SET n = n + 1 WHERE id = 1 RETURNING n")
			took := time.Since(begun)
			if b.only() != "1" || b.Status != 'I' || took > time.Second {
				t.Errorf("the second client got %s after %s", b.only(), took)
			}
			if pid := second.query("SELECT pg_backend_pid()"); pid.only() != a.Rows[0] {
				t.Errorf("it was served by %s, the first by %s", pid.only(), a.Rows[0])
			}
			if closed := strings.Contains(p.Log.String(), "noticed=closed"); closed != (name == "FIN") {
				t.Errorf("there is a line about a vanished client: %t", closed)
			}
		})
	}
}

// stat is the snapshot of the pool of db.
func (p *testPooler) stat(db string) (st pool.Stat) {
	for _, s := range p.Pools.Stats() {
		if s.Database == db {
			return s
		}
	}
	return st
}

// farHost is a PostgreSQL on the far side of a lab: what is sent to it goes on to pg.
type farHost struct {
	addr *net.TCPAddr
}

func newFarHost(t *testing.T, lab *netlab.Lab, pg *pgtest.Server) *farHost {
	t.Helper()
	ln, err := lab.Listen()
	if err != nil {
		t.Fatal(err)
	}
	origin := net.JoinHostPort(pg.Host, strconv.Itoa(pg.Port))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
	})
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go forward(ctx, nc.(*net.TCPConn), origin)
		}
	}()
	return &farHost{ln.Addr().(*net.TCPAddr)}
}

// forward joins nc to origin. It probes nc, as a PostgreSQL should, so that sessions whose pooler was cut off end.
func forward(ctx context.Context, nc *net.TCPConn, origin string) {
	_ = nc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 60})
	to, err := net.Dial("tcp", origin)
	if err != nil {
		_ = nc.Close()
		return
	}
	end := func() { _, _ = nc.Close(), to.Close() }
	stop := context.AfterFunc(ctx, end)
	defer stop()
	go func() {
		_, _ = io.Copy(nc, to)
		end()
	}()
	_, _ = io.Copy(to, nc)
	end()
}

// told is what a client heard after PostgreSQL's host had vanished.
type told struct {
	who   string
	after time.Duration
	answer
}

// D8. PostgreSQL's host vanishes: idle server sessions are dropped, clients that depend on one are told, those who
// wait are told, all within N + 2 s; and when it is back all is as before.
func TestD8VanishedPostgreSQL(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	var scenes []*scene
	for _, way := range netlab.Cuts() {
		scenes = append(scenes, newScene(t, pg, way))
	}
	for _, s := range scenes {
		s.cut()
	}
	for _, s := range scenes {
		s.check()
	}
	for _, s := range scenes {
		s.mend()
	}
}

// scene is a PostgreSQL that vanishes, with clients in front of it.
type scene struct {
	*testing.T
	way     netlab.Cut
	lab     *netlab.Lab
	pooler  *testPooler
	db      [2]string // the second has a pool of one server session
	resting *rawClient
	waiting map[string]*rawClient
	told    chan told
	at      time.Time
}

func newScene(t *testing.T, pg *pgtest.Server, way netlab.Cut) *scene {
	t.Helper()
	s := &scene{T: t, way: way, lab: netlab.New(t), waiting: map[string]*rawClient{}, told: make(chan told, 10)}
	host := newFarHost(t, s.lab, pg)
	for i := range s.db {
		s.db[i] = pg.CreateDatabase(t)
	}
	far := databases(host.addr.IP.String(), host.addr.Port)
	s.pooler = startPooler(t, deadTOML, far, strings.Replace(far, `"*"`, s.db[1], 1), "pool_size = 1")
	client := func(name string, db int) *rawClient {
		c := newRaw(t, s.pooler, s.db[db])
		s.waiting[name] = c
		return c
	}
	client("idle in a transaction", 0).query("BEGIN; SELECT 1")
	client("running a statement", 0).send(&pgproto3.Query{String: "SELECT pg_sleep(300)"})
	pinned := client("idle, pinned", 0)
	pinned.query("CREATE TEMP TABLE mine (n int)")
	client("in the small pool's transaction", 1).query("BEGIN; SELECT 1")
	queued := client("queued in the small pool", 1)
	s.resting = newRaw(t, s.pooler, s.db[0])
	late := client("asking right after the cut", 0)
	late.send(&pgproto3.Query{String: "SELECT pg_sleep(0.3)"}) // so that the next has a server session of its own
	<-time.After(50 * time.Millisecond)
	s.resting.query("SELECT 1")
	late.answer()
	queued.send(&pgproto3.Query{String: "SELECT 1"})
	eventually(t, patience, "all is prepared", func() bool {
		return s.pooler.stat(s.db[1]).Waiting == 1 && s.pooler.stat(s.db[0]).Idle == 2
	})
	return s
}

func (s *scene) cut() {
	s.way.Cut(s.lab)
	s.at = time.Now()
	s.waiting["asking right after the cut"].send(&pgproto3.Query{String: "SELECT 1"})
	for who, c := range s.waiting {
		go func() {
			a := c.answer()
			s.told <- told{who, time.Since(s.at), a}
		}()
	}
}

func (s *scene) check() {
	s.Helper()
	eventually(s.T, deadBound-time.Since(s.at), "the idle server sessions are dropped", func() bool {
		return s.pooler.stat(s.db[0]).Idle == 0
	})
	s.Logf("%s: idle server sessions dropped after %.1f s", s.way.Name, time.Since(s.at).Seconds())
	for range s.waiting {
		got := <-s.told
		s.Logf("%s: the client %s was told after %.1f s: %s %s: %s", s.way.Name, got.who, got.after.Seconds(), got.Severity, got.Code, got.Message)
		want := "08006"
		if strings.HasPrefix(got.who, "queued") {
			want = "08001"
		}
		if got.Code != want || got.after > deadBound {
			s.Errorf("%s: the client %s was told %+v after %s, want %s within %s", s.way.Name, got.who, got.answer, got.after, want, deadBound)
		}
	}
	lines := regexp.MustCompile(`msg="server session lost".* server_pid=\d+ conn_id=\d+ noticed=(\S+) use=(idle|lent) silent=`).FindAllStringSubmatch(s.pooler.Log.String(), -1)
	uses := map[string]int{}
	for _, m := range lines {
		uses[m[2]]++
	}
	if !maps.Equal(uses, map[string]int{"idle": 1, "lent": 5}) {
		s.Errorf("%s: lines in the log about lost server sessions: %v", s.way.Name, uses)
	}
}

// mend has the link back: clients that are still there and new ones are served.
func (s *scene) mend() {
	s.Helper()
	s.way.Mend(s.lab)
	back := time.Now()
	eventually(s.T, 2*deadBound, "the client that was idle is served", func() bool { return s.resting.query("SELECT 5").only() == "5" })
	eventually(s.T, deadBound, "a new client is served", func() bool {
		c := dialRaw(s.T, s.pooler.Addr)
		c.send(startupMessage(s.db[1]))
		return c.answer().Status == 'I' && c.query("SELECT 6").only() == "6"
	})
	s.Logf("%s: all works %.1f s after the link is back", s.way.Name, time.Since(back).Seconds())
}

// D7, with fewer clients than that asks for, and the race detector: idle clients cost next to nothing. The kernel
// probes them; the pooler itself sends and reads nothing.
func TestD7IdleClientsCostNothing(t *testing.T) {
	const clients, watched = 1000, 5 * time.Second
	lab := netlab.New(t)
	p := startPooler(t, deadTOML, fmt.Sprintf("listen_addr = %q", lab.Here), "max_client_conn = 2000")
	db := postgres.Server(t).CreateDatabase(t)
	var all []*rawClient
	for range clients {
		c := farClient(t, lab, p.Addr, 0)
		c.send(startupMessage(db))
		all = append(all, c)
	}
	for _, c := range all {
		if a := c.answer(); a.Status != 'I' {
			t.Fatalf("login: %+v", a)
		}
	}
	<-time.After(2 * time.Second) // what the logins have left to do
	before := make([]*unix.TCPInfo, clients)
	for i, c := range all {
		before[i] = tcpInfo(t, c.nc)
	}
	used := cpuTime()
	<-time.After(watched)
	used = cpuTime() - used
	t.Logf("%d idle clients: %.2f %% of one core", clients, 100*used.Seconds()/watched.Seconds())
	if used > watched/20 { // with the race detector, and the kernel's own work for both ends
		t.Errorf("%d idle clients cost %s of CPU in %s", clients, used, watched)
	}
	fewest := ^uint32(0)
	for i, c := range all {
		now := tcpInfo(t, c.nc)
		fewest = min(fewest, now.Segs_in-before[i].Segs_in)
		if now.Data_segs_in != before[i].Data_segs_in || now.Data_segs_out != before[i].Data_segs_out {
			t.Fatalf("client %d was sent something, or has sent something", i)
		}
	}
	if fewest < 1 {
		t.Errorf("a client was probed %d times in %s, want every 3 s at least", fewest, watched)
	}
	if n := p.Front.Stat().Clients; n != clients {
		t.Errorf("%d of %d clients are left", n, clients)
	}
}

func tcpInfo(t *testing.T, nc net.Conn) (info *unix.TCPInfo) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return info
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Keepalive and TCP_USER_TIMEOUT are in force on accepted sockets, and a reload changes those too.
func TestReloadChangesKeepaliveOfConnectedClients(t *testing.T) {
	lab := netlab.New(t)
	p := startPooler(t, deadTOML, `listen_addr = "*"`)
	db := postgres.Server(t).CreateDatabase(t)
	_, port, _ := net.SplitHostPort(p.Addr)
	connect := func() {
		t.Helper()
		c := farClient(t, lab, net.JoinHostPort(lab.Here.String(), port), 0)
		c.send(startupMessage(db))
		if a := c.answer(); a.Status != 'I' {
			t.Fatalf("login: %+v", a)
		}
	}
	connect()
	cfg := *p.Front.settings.Load().cfg
	check := func(what string, n, idle, interval, count, timeout int) {
		t.Helper()
		got := p.clientOptions()
		if len(got) != n {
			t.Fatalf("%s: %d clients, want %d", what, len(got), n)
		}
		for _, o := range got {
			if o[1] > idle || o[1] < idle*3/5 || o != [5]int{1, o[1], interval, count, timeout} {
				t.Errorf("%s: keepalive, idle, interval, count, user timeout are %v", what, o)
			}
		}
	}
	check("at the start", 1, 3, 1, 3, 6000)
	cfg.TCPKeepidle, cfg.TCPKeepintvl, cfg.TCPKeepcnt = config.Duration(7*time.Second), config.Duration(2*time.Second), 4
	cfg.TCPUserTimeout = config.Duration(15 * time.Second)
	if err := p.Front.Configure(&cfg); err != nil {
		t.Fatal(err)
	}
	connect()
	check("after the reload", 2, 7, 2, 4, 15000)

	p.Front.clients.Add(probedHere) // among so many a client on this machine is not probed
	defer p.Front.clients.Add(-probedHere)
	for _, addr := range []string{"127.0.0.1", lab.Here.String()} {
		c := dialRaw(t, net.JoinHostPort(addr, port))
		c.send(startupMessage(db))
		c.answer()
	}
	unprobed := slices.DeleteFunc(p.clientOptions(), func(o [5]int) bool { return o[0] != 0 })
	if len(unprobed) != 2 {
		t.Errorf("of the clients on this machine %d are not probed, want 2", len(unprobed))
	}
}

// clientOptions is the socket options of all who are logged in.
func (p *testPooler) clientOptions() [][5]int {
	var all [][5]int
	for _, s := range p.Front.sessions.all() {
		got := make(chan [5]int)
		s.req.Loop.Post(func() {
			var o [5]int
			for i, at := range [5][2]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
			} {
				o[i], _ = unix.GetsockoptInt(s.client.Fd(), at[0], at[1])
			}
			got <- o
		})
		all = append(all, <-got)
	}
	return all
}
