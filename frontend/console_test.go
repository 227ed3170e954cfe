package frontend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/wire"
)

// scriptedConsole greets its clients and answers every Query with its text, but for a few.
type scriptedConsole struct {
	served    chan *Admin
	interrupt chan SessionID
	release   chan struct{} // ends "wait"
}

func newScriptedConsole() *scriptedConsole {
	return &scriptedConsole{served: make(chan *Admin, 200), interrupt: make(chan SessionID, 10), release: make(chan struct{})}
}

// Serve implements Console.
func (c *scriptedConsole) Serve(ctx context.Context, a *Admin) {
	stop := context.AfterFunc(ctx, func() { _ = a.Conn.SetReadDeadline(time.Now()) })
	defer stop()
	c.served <- a
	client := pgproto3.NewBackend(a.Conn, a.Conn)
	hello := appendKeyData([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 0}, a.ID, a.Secret)
	if _, err := a.Conn.Write(wire.AppendReady(hello, 'I')); err != nil {
		return
	}
	for {
		msg, err := client.Receive()
		if err != nil {
			if ctx.Err() != nil {
				_, _ = a.Conn.Write(toErrorResponse("FATAL", errAdministrator))
			}
			return
		}
		q, ok := msg.(*pgproto3.Query)
		switch {
		case !ok:
			if _, leaves := msg.(*pgproto3.Terminate); leaves {
				<-c.hungUp(a) // as a console does that reads ahead
				a.Goodbye()
			}
			return
		case strings.HasPrefix(q.String, "I am "):
			a.SetApplication(strings.TrimPrefix(q.String, "I am "))
		case q.String == "panic":
			panic("test")
		case q.String == "wait":
			select {
			case <-a.Interrupt:
				c.interrupt <- a.ID
			case <-c.release:
			case <-ctx.Done():
			}
		}
		done := encoded(&pgproto3.CommandComplete{CommandTag: []byte(fmt.Sprint(a.Right(), " ", q.String))})
		if _, err := a.Conn.Write(wire.AppendReady(done, 'I')); err != nil {
			return
		}
	}
}

// hungUp is closed once the client has closed its connection.
func (c *scriptedConsole) hungUp(a *Admin) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, a.Conn)
	}()
	return gone
}

// startConsole runs a pooler with a console of the test's.
func startConsole(t *testing.T, extras ...string) (*testPooler, *scriptedConsole) {
	t.Helper()
	c := newScriptedConsole()
	p := startPoolerWith(t, func(srv *Server) { srv.SetConsole(c) }, append([]string{`log_level = "info"`}, extras...)...)
	return p, c
}

// enter logs in to the console.
func (p *testPooler) enter(t *testing.T, addr, user, password, database string) (*pgconn.PgConn, error) {
	t.Helper()
	cfg, err := pgconn.ParseConfig("host=127.0.0.1 port=1 sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Fallbacks = nil
	host, port, err := net.SplitHostPort(addr)
	if err != nil { // a socket
		cfg.Host = addr
	} else {
		cfg.Host = host
		if _, err := fmt.Sscan(port, &cfg.Port); err != nil {
			t.Fatal(err)
		}
	}
	cfg.User, cfg.Password, cfg.Database = user, password, database
	cfg.RuntimeParams["application_name"] = "operator"
	if !strings.Contains(addr, ":") {
		cfg.Port = 0
		cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", addr)
		}
	}
	c, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() { _ = c.Close(context.Background()) })
	}
	return c, err
}

// says sends a command to the console and returns the tag of the answer.
func says(t *testing.T, c *pgconn.PgConn, command string) string {
	t.Helper()
	results, err := c.Exec(t.Context(), command).ReadAll()
	if err != nil || len(results) != 1 {
		t.Fatalf("%s: %v, %v", command, results, err)
	}
	return results[0].CommandTag.String()
}

func TestWhoMayEnterTheConsole(t *testing.T) {
	t.Parallel()
	file := authFile(t)
	const lists = "admin_users = [\"scram\", \"hashed\"]\nstats_users = [\"clear\"]\n"
	for _, method := range []string{"trust", "password", "md5", "scram-sha-256"} {
		p, _ := startConsole(t, fmt.Sprintf("%sauth_type = %q\nauth_file = %q\nloops = 2", lists, method, file))
		for _, user := range []string{"scram", "clear", "hashed", "nobody"} {
			for _, password := range []string{rightPassword, "wrong"} {
				for _, database := range []string{"pooler", "pgbouncer"} {
					t.Run(fmt.Sprintf("%s, %s, %q, %s", method, user, password, database), func(t *testing.T) {
						want := fmt.Sprint(RightChange)
						switch {
						case method != "trust" && (password == "wrong" || user == "nobody" || method == "scram-sha-256" && user == "hashed"):
							want = "28P01"
						case user == "nobody":
							want = "42501"
						case user == "clear":
							want = fmt.Sprint(RightLook)
						}
						c, err := p.enter(t, p.Addr, user, password, database)
						var refused *pgconn.PgError
						switch {
						case errors.As(err, &refused) && refused.Severity == "FATAL":
							if refused.Code != want || want == "42501" && !strings.Contains(refused.Hint, "admin_users or stats_users") {
								t.Errorf("was told %+v, want %s", refused, want)
							}
						case err != nil:
							t.Error(err)
						default:
							if tag := says(t, c, "SHOW"); tag != want+" SHOW" {
								t.Errorf("may %s, want %s", tag, want)
							}
						}
					})
				}
			}
		}
		if st := p.Front.Stat(); st.Sessions["idle"] != 0 || st.Malformed != 0 {
			t.Errorf("%+v", st)
		}
	}
	t.Run("somebody who is in the auth_file and in no list", func(t *testing.T) {
		p, _ := startConsole(t, fmt.Sprintf("auth_type = \"password\"\nauth_file = %q", file))
		var refused *pgconn.PgError
		if _, err := p.enter(t, p.Addr, "clear", rightPassword, "pooler"); !errors.As(err, &refused) || refused.Code != "42501" {
			t.Errorf("was told %v", err)
		}
	})
}

func TestTheOwnerOfTheProcessEntersByTheUnixSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startConsole(t, fmt.Sprintf("auth_type = \"scram-sha-256\"\nauth_file = %q\nunix_socket_dir = %q", authFile(t), dir))
	socket := filepath.Join(dir, ".s.PGSQL.0")
	for _, user := range []string{"pgbouncer", "pooler"} {
		c, err := p.enter(t, socket, user, "", "pgbouncer")
		if err != nil {
			t.Fatal(err)
		}
		if tag := says(t, c, "x"); tag != fmt.Sprint(RightChange, " x") {
			t.Errorf("%s may %s", user, tag)
		}
		if _, err := p.enter(t, p.Addr, user, "", "pgbouncer"); err == nil {
			t.Errorf("%s came in over TCP", user)
		}
	}
	if _, err := p.enter(t, socket, "clear", "", "pgbouncer"); err == nil {
		t.Error("another user came in without a password")
	}
	list := p.Front.ConsoleClients()
	if len(list) != 2 || list[0].Remote.IsValid() || list[0].PeerPID == 0 || list[0].User != "pgbouncer" || list[0].Application != "operator" {
		t.Errorf("%+v", list)
	}
}

func TestAReloadTakesAnAdministratorsRightAway(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`)
	c, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		toml string
		want Right
	}{{`admin_users = ["alice"]`, RightChange}, {`stats_users = ["alice"]`, RightLook}, {``, RightNone}} {
		p.reload(t, step.toml)
		if tag := says(t, c, "x"); tag != fmt.Sprint(step.want, " x") {
			t.Errorf("with %q she may %s", step.toml, tag)
		}
	}
}

func TestAnAdministratorGetsInWhenThePoolerIsFull(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, "admin_users = [\"alice\"]\nmax_client_conn = 2\nmax_user_client_connections = 2\nclient_idle_timeout = \"300ms\"")
	db := postgres.Server(t).CreateDatabase(t)
	first := newRaw(t, p, db)
	newRaw(t, p, db)
	refused := dialRaw(t, p.Addr)
	refused.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "postgres", "database": db}})
	if e := refused.ending(); e.Code != "53300" {
		t.Errorf("a third client was told %+v", e)
	}
	var consoles []*pgconn.PgConn
	for range maxConsoles {
		c, err := p.enter(t, p.Addr, "alice", "", "pooler")
		if err != nil {
			t.Fatal(err)
		}
		consoles = append(consoles, c)
	}
	var full *pgconn.PgError
	if _, err := p.enter(t, p.Addr, "alice", "", "pooler"); !errors.As(err, &full) || full.Code != "53300" || full.Hint == "" {
		t.Errorf("one too many was told %v", err)
	}
	eventually(t, patience, "they are not counted", func() bool { return p.Front.Stat().Clients <= 2 })
	if e := first.ending(); e.Code != "57P05" {
		t.Errorf("client_idle_timeout: %+v", e)
	}
	for i, c := range consoles { // they have been idle for longer
		if tag := says(t, c, "x"); tag != fmt.Sprint(RightChange, " x") {
			t.Fatalf("console %d: %s", i, tag)
		}
	}
	_ = consoles[0].Close(t.Context())
	eventually(t, patience, "there is room again", func() bool {
		_, err := p.enter(t, p.Addr, "alice", "", "pooler")
		return err == nil
	})
}

func TestWhoMayOnlyLookLocksNoAdministratorOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startConsole(t, fmt.Sprintf("admin_users = [\"alice\"]\nstats_users = [\"grafana\"]\nunix_socket_dir = %q", dir))
	refused := func(user, hint string) {
		t.Helper()
		var full *pgconn.PgError
		if _, err := p.enter(t, p.Addr, user, "", "pooler"); !errors.As(err, &full) || full.Code != "53300" || !strings.Contains(full.Hint, hint) {
			t.Errorf("%s was told %+v", user, err)
		}
	}
	for range maxLookers {
		if _, err := p.enter(t, p.Addr, "grafana", "", "pooler"); err != nil {
			t.Fatal(err)
		}
	}
	refused("grafana", "may be 90. Close one; a user of admin_users gets in still")
	for i := range maxConsoles - maxLookers {
		addr, user := p.Addr, "alice"
		if i == 0 {
			addr, user = filepath.Join(dir, ".s.PGSQL.0"), "pooler"
		}
		if _, err := p.enter(t, addr, user, "", "pooler"); err != nil {
			t.Fatalf("%s: %v", user, err)
		}
	}
	refused("grafana", "may be 100. Close one")
	refused("alice", "may be 100. Close one")
}

func TestAConsoleClientThatSaysGoodbyeHasNotDisappeared(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`)
	for _, end := range []struct {
		polite bool
		reason EndReason
	}{{true, EndTerminate}, {false, EndClientGone}} {
		c := dialRaw(t, p.Addr)
		c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "alice", "database": "pooler"}})
		eventually(t, patience, "it is in", func() bool { return len(p.Front.ConsoleClients()) == 1 })
		if end.polite {
			c.send(&pgproto3.Terminate{})
		}
		_ = c.nc.Close()
		eventually(t, patience, "it has gone", func() bool { return len(p.Front.ConsoleClients()) == 0 })
		if ends := p.Front.Stat().Ends; ends[end.reason.String()] != 1 {
			t.Errorf("polite %v: the ends are %v", end.polite, ends)
		}
	}
}

func TestWhatAConsoleClientCallsItselfIsShown(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`)
	c, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"operator", "night shift"} {
		if got := p.Front.ConsoleClients()[0].Application; got != name {
			t.Errorf("it is called %q, want %q", got, name)
		}
		says(t, c, "I am night shift")
	}
	if !p.Front.KillConsole(SessionID(c.PID()), "bob") || !strings.Contains(p.Log.String(), `application_name="night shift"`) {
		t.Errorf("the log says %q", p.Log.String())
	}
}

func TestACancelReachesTheConsole(t *testing.T) {
	t.Parallel()
	p, console := startConsole(t, `admin_users = ["alice"]`)
	c, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // those that nobody waits for do not block, and are one
		if err := other.CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan string, 1)
	go func() {
		results, err := c.Exec(context.Background(), "wait").ReadAll()
		answered <- fmt.Sprint(len(results), err)
	}()
	eventually(t, patience, "it waits", func() bool { return p.Front.ConsoleClients()[0].State == "active" })
	if err := c.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != "1 <nil>" {
		t.Errorf("it was answered %s", got)
	}
	if id := <-console.interrupt; uint32(id) != c.PID() {
		t.Errorf("the cancel reached %d, not %d", id, c.PID())
	}
	wrong := dialRaw(t, p.Addr)
	wrong.send(&pgproto3.CancelRequest{ProcessID: c.PID(), SecretKey: []byte{1, 2, 3, 4}})
	wrong.receive()
	if st := p.Front.Stat(); st.Cancels != 4 || st.CancelsUnknown != 1 {
		t.Errorf("%d cancels, %d wrong ones", st.Cancels, st.CancelsUnknown)
	}
}

func TestWhatAnAdministratorSendsWithItsLoginIsHeard(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`)
	c := dialRaw(t, p.Addr)
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "alice", "database": "pooler"}},
		&pgproto3.Query{String: "one"}, &pgproto3.Query{String: "two"})
	var tags []string
	for range 2 {
		for c.receive(); ; {
			if m, ok := c.receive().(*pgproto3.CommandComplete); ok {
				tags = append(tags, string(m.CommandTag))
				break
			}
		}
	}
	if got := strings.Join(tags, ", "); got != fmt.Sprint(RightChange, " one, ", RightChange, " two") {
		t.Errorf("it heard %s", got)
	}
}

func TestAPanicOfTheConsoleEndsOneClient(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`)
	bad, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	good, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Exec(t.Context(), "panic").ReadAll(); err == nil {
		t.Error("it was answered")
	}
	if tag := says(t, good, "x"); tag != fmt.Sprint(RightChange, " x") {
		t.Errorf("the other: %s", tag)
	}
	eventually(t, patience, "it is gone", func() bool { return len(p.Front.ConsoleClients()) == 1 && p.Front.Stat().Ends["panic"] == 1 })
	if log := p.Log.String(); !strings.Contains(log, "bug: the admin console panicked") || !strings.Contains(log, "reason=panic") {
		t.Errorf("the log says %q", log)
	}
}

// A console holds up no drain, but is there to its end; what an operator has asked then gets its answer.
func TestConsolesEndLastAtAShutdown(t *testing.T) {
	t.Parallel()
	p, console := startConsole(t, `admin_users = ["alice"]`)
	db := postgres.Server(t).CreateDatabase(t)
	busy := newRaw(t, p, db)
	busy.query("BEGIN")
	idle, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	asks, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan int)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- p.Front.Shutdown(ctx)
	}()
	eventually(t, patience, "it stops", func() bool { return !p.Front.Accepting() })
	if tag := says(t, idle, "x"); tag != fmt.Sprint(RightChange, " x") {
		t.Errorf("while clients are waited for: %s", tag)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := asks.Exec(context.Background(), "wait").ReadAll()
		answered <- err
	}()
	eventually(t, patience, "it asks", func() bool { return p.Front.ConsoleClients()[1].State == "active" })
	busy.query("COMMIT")
	time.AfterFunc(50*time.Millisecond, func() { close(console.release) })
	if err := <-answered; err != nil {
		t.Errorf("it was answered %v", err)
	}
	begun := time.Now()
	if broken := <-stopped; broken != 0 || time.Since(begun) > time.Second {
		t.Errorf("%d were broken off, in %s", broken, time.Since(begun))
	}
	if n := len(p.Front.ConsoleClients()); n != 0 {
		t.Errorf("%d are left", n)
	}
	if _, err := idle.Exec(t.Context(), "x").ReadAll(); !strings.Contains(fmt.Sprint(err), "57P01") && !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("the idle one was told %v", err)
	}
}

func TestAConsoleThatIsDeafIsGivenUp(t *testing.T) {
	t.Parallel()
	p := startPoolerWith(t, func(srv *Server) { srv.SetConsole(deafConsole{}) }, `admin_users = ["alice"]`)
	c := dialRaw(t, p.Addr)
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "alice", "database": "pooler"}})
	eventually(t, patience, "it is in", func() bool { return len(p.Front.ConsoleClients()) == 1 })
	begun := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Front.Shutdown(ctx)
	if took := time.Since(begun); took > 4*time.Second || len(p.Front.ConsoleClients()) > 0 {
		t.Errorf("it took %s", took)
	}
}

// deafConsole reads until it cannot.
type deafConsole struct{}

func (deafConsole) Serve(_ context.Context, a *Admin) {
	_, _ = io.Copy(io.Discard, a.Conn)
}

func TestKillingAConsole(t *testing.T) {
	t.Parallel()
	p, _ := startConsole(t, `admin_users = ["alice"]`)
	c, err := p.enter(t, p.Addr, "alice", "", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	if p.Front.KillConsole(SessionID(c.PID())+1, "bob") || !p.Front.KillConsole(SessionID(c.PID()), "bob") {
		t.Error("it is not known")
	}
	eventually(t, patience, "it is told", func() bool { // what it sends at once may still be answered
		_, err := c.Exec(t.Context(), "x").ReadAll()
		return err != nil
	})
	eventually(t, patience, "it is gone", func() bool { return p.Front.Stat().Ends["killed"] == 1 })
	if log := p.Log.String(); !strings.Contains(log, "by=bob") || bytes.Count([]byte(log), []byte("reason=killed")) != 1 {
		t.Errorf("the log says %q", log)
	}
}
