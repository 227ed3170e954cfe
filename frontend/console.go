package frontend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/journal"
	"pooler/internal/loop"
)

// Admin is a client of the console that has proven who it is and may enter. It belongs to the conversation.
type Admin struct {
	Conn        net.Conn // nothing has been sent on it since the proof: not yet AuthenticationOk
	User        string
	Database    string // pooler or pgbouncer
	Application string
	Remote      netip.AddrPort  // invalid: a Unix socket
	Right       func() Right    // what it may do now: a reload can change that
	ID          SessionID       // for BackendKeyData, as is Secret
	Secret      []byte          // its size depends on the client's protocol
	Interrupt   <-chan struct{} // gets a value for each cancel request of the client's

	seen *adminClient // where the rest of the server sees it; nil in tests of a console
}

// SetApplication notes the name that the client has given itself, for views and the log.
func (a *Admin) SetApplication(name string) {
	a.Application = name
	if a.seen != nil {
		a.seen.application.Store(&name)
	}
}

// Goodbye notes that the client has taken its leave: it does not count as one that has disappeared.
func (a *Admin) Goodbye() {
	if a.seen != nil {
		a.seen.parted.Store(true)
	}
}

// Right is what somebody may do on the console.
type Right uint8

// The rights.
const (
	RightNone   Right = iota
	RightLook         // stats_users
	RightChange       // admin_users
)

// Console talks to administrators.
type Console interface {
	// Serve has the whole conversation, on a goroutine of its own, and returns when that has ended or ctx has. The caller
	// closes the connection.
	Serve(ctx context.Context, a *Admin)
}

// SetConsole has c talk to those who ask for the database pooler or pgbouncer. It must be called before Listen.
func (srv *Server) SetConsole(c Console) { srv.console = c }

const (
	// maxConsoles is how many clients the console has at most. They are not counted by max_client_conn: an operator must
	// get in when it is reached.
	maxConsoles = 100
	// maxLookers is how many of them may be such that only look: monitoring that leaks connections must not lock
	// operators out.
	maxLookers = 90
)

// adminClient is a client of the console. Any goroutine may use it, but for Application, which is the conversation's.
type adminClient struct {
	Admin
	conn        *adminConn
	who         member // as it was at its login
	method      loginMethod
	local       netip.AddrPort
	peer        int    // its process; 0: not known
	tls         string // as ClientInfo's
	keySize     uint8
	interrupt   chan struct{}
	connected   time.Time
	end         context.CancelFunc
	application atomic.Pointer[string]
	killed      atomic.Bool
	parted      atomic.Bool // it has said goodbye
}

// interrupted is a cancel request of the client's. It never blocks: one that nobody has taken yet is enough.
func (a *adminClient) interrupted() {
	select {
	case a.interrupt <- struct{}{}:
	default:
	}
}

// adminConn is the socket of a client of the console: what had come with its login is read first. It sees from the
// conversation whether a command is running.
type adminConn struct {
	net.Conn
	readers sync.Mutex // guards early
	early   []byte
	busy    atomic.Bool
	since   atomic.Int64 // when busy changed, in ns since 1970
	gone    atomic.Bool  // the client has closed it
}

// Read implements net.Conn.
func (c *adminConn) Read(p []byte) (int, error) {
	if n := c.takeEarly(p); n > 0 {
		c.turn(true)
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.turn(true)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone.Store(true)
	}
	return n, err
}

func (c *adminConn) takeEarly(p []byte) int {
	c.readers.Lock()
	defer c.readers.Unlock()
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n
}

// Write implements net.Conn. A command ends with ReadyForQuery: it is over before the client hears so, and can give the
// next one.
func (c *adminConn) Write(p []byte) (int, error) {
	if l := len(p); l >= 6 && string(p[l-6:l-1]) == "Z\x00\x00\x00\x05" {
		c.turn(false)
	}
	return c.Conn.Write(p)
}

func (c *adminConn) turn(busy bool) {
	if c.busy.Swap(busy) != busy {
		c.since.Store(time.Now().UnixNano())
	}
}

// enterConsole hands a client that is who it says over to the console, or refuses it. early is what it has sent behind
// its login.
func (g *greeter) enterConsole(early []byte) {
	srv, start := g.srv, g.start
	right := srv.rightOf(start.user)
	if g.isOwner {
		right = func() Right { return RightChange }
	}
	switch {
	case srv.console == nil:
		g.leave(&Refusal{Code: codeFeatureNotSupported, Message: "there is no admin console here"})
		return
	case right() == RightNone:
		g.leave(&Refusal{
			Code: codeInsufficientRight, Message: fmt.Sprintf("permission denied for database %q", start.database),
			Hint: "It is the pooler's admin console, which is for users that admin_users or stats_users of its configuration names.",
		})
		return
	}
	ctx, end := context.WithCancel(context.Background())
	a := &adminClient{
		Admin: Admin{User: start.user, Database: start.database, Application: start.client(g.remote).Application, Remote: g.remote, Right: right},
		who:   memberOf(start.client(g.remote), ""), method: g.method,
		interrupt: make(chan struct{}, 1), connected: time.Now(), end: end, keySize: start.keySize(),
	}
	a.conn = &adminConn{early: slices.Clone(early)}
	a.Conn, a.Interrupt, a.seen = a.conn, a.interrupt, a
	a.application.Store(new(a.Application)) // a copy: Application is the conversation's
	a.conn.since.Store(a.connected.UnixNano())
	a.local, a.peer = ends(g.stream.Fd(), g.remote.IsValid())
	if layer := g.stream.TLS(); layer != nil {
		a.tls = layer.String()
	}
	if refusal := srv.sessions.addAdmin(a); refusal != nil {
		end()
		g.leave(refusal)
		return
	}
	srv.forgetGreeter(g)
	g.loop = nil
	g.gone.Store(true)
	socket := g.stream.Release()
	srv.clientLeft()
	go srv.serveConsole(ctx, a, socket)
}

// isOwner tells whether the client is a process of the user under whom the pooler runs and asks to be the pooler's own
// user, as with PgBouncer: whoever can end the process needs no password to talk to it.
func (srv *Server) isOwner(start *startup, stream *loop.Stream, remote netip.AddrPort) bool {
	if remote.IsValid() || !config.IsConsole(start.user) || !config.IsConsole(start.database) {
		return false
	}
	peer, err := unix.GetsockoptUcred(stream.Fd(), unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(peer.Uid) == os.Geteuid()
}

// rightOf is what the configuration in force lets user do on the console.
func (srv *Server) rightOf(user string) func() Right {
	return func() Right {
		cfg := srv.settings.Load().cfg
		switch {
		case slices.Contains(cfg.AdminUsers, user):
			return RightChange
		case slices.Contains(cfg.StatsUsers, user):
			return RightLook
		}
		return RightNone
	}
}

// serveConsole has the conversation with a client of the console, on its socket. Its end is awaited by
// EndConsoles.
func (srv *Server) serveConsole(ctx context.Context, a *adminClient, socket loop.Socket) {
	defer srv.sessions.removeAdmin(a)
	defer a.end()
	conn, err := loop.GiveFd(socket)
	if err != nil {
		srv.log.ErrorContext(ctx, "a client of the admin console cannot be served", "error", err)
		return
	}
	if err := backend.SetKeepalive(conn, srv.settings.Load().cfg.TCP()); err != nil { // GiveFd has set Go's own
		srv.log.WarnContext(ctx, "keepalive is not set for a client of the admin console", "error", err)
	}
	a.conn.Conn = conn
	defer func() { _ = conn.Close() }()
	served := make(chan struct{})
	defer close(served)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-served:
		case <-time.After(consoleFarewell):
			_ = conn.Close()
		}
	})
	defer stop()
	srv.counters.logins.Add(1)
	srv.counters.loginsBy.add(a.method, loginOK)
	a.establish(srv.journal, journal.Connect, a.method.String(), 0)
	if srv.logConnections() {
		srv.log.InfoContext(ctx, "client logged in", a.logArgs("remote", from(a.Remote), "application_name", truncate(a.Application))...)
	}
	panicked := srv.converse(ctx, a)
	reason := EndTerminate
	switch {
	case panicked:
		reason = EndPanic
	case a.killed.Load():
		reason = EndKilled
	case a.parted.Load(): // it closes its connection behind that, which may have been seen already
	case ctx.Err() != nil:
		reason = EndShutdown
	case a.conn.gone.Load():
		reason = EndClientGone
	}
	srv.counters.ends[reason].Add(1)
	a.establish(srv.journal, journal.Close, reason.String(), time.Since(a.connected))
	if srv.logDisconnections() {
		srv.log.InfoContext(ctx, "session ended", a.logArgs("reason", reason.String(), "duration", time.Since(a.connected).Round(time.Millisecond).String())...)
	}
}

// converse serves a and reports whether that has panicked, which ends this client only.
func (srv *Server) converse(ctx context.Context, a *adminClient) (panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			a.report(srv.journal, journal.Panic, EndPanic.String(), "A bug in the admin console has ended this client. The log says more; please report it.")
			srv.log.ErrorContext(ctx, "bug: the admin console panicked; its client is closed, please report this",
				a.logArgs("panic", fmt.Sprint(v), "stack", string(debug.Stack()))...)
		}
	}()
	srv.console.Serve(ctx, &a.Admin)
	return false
}

func (a *adminClient) logArgs(more ...any) []any {
	return append([]any{slog.Uint64("session_id", uint64(a.ID)), slog.String("user", a.User), slog.String("database", a.Database)}, more...)
}

// ConsoleClients lists the clients of the console.
func (srv *Server) ConsoleClients() []ClientInfo {
	var list []ClientInfo
	for _, a := range srv.sessions.allAdmins() {
		info := ClientInfo{
			ID: a.ID, User: a.User, Database: a.Database, Application: *a.application.Load(), Remote: a.Remote, Local: a.local, PeerPID: a.peer, TLS: a.tls,
			State: doesNothing.String(), Connected: a.connected, Since: time.Unix(0, a.conn.since.Load()),
		}
		if a.conn.busy.Load() {
			info.State = doesRun.String()
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b ClientInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// KillConsole ends a client of the console, on behalf of by, who is named in the log. It reports whether there is such
// a client.
func (srv *Server) KillConsole(id SessionID, by string) bool {
	a := srv.sessions.getAdmin(id)
	if a == nil {
		return false
	}
	srv.log.Info("client ended by an administrator", a.logArgs(
		"application_name", *a.application.Load(), "remote", from(a.Remote), "by", by, "transaction_open", false)...)
	a.report(srv.journal, journal.Killed, EndKilled.String(), "An administrator ("+by+") ended this client of the console.")
	a.killed.Store(true)
	a.end()
	return true
}

const (
	consoleGrace    = time.Second     // for the commands that run when the pooler stops: whoever stopped it gets an answer
	consoleFarewell = 2 * time.Second // for the console's last words
)

// EndConsoles ends the clients of the console and lets nobody in any more. A command that is running gets a moment. No
// more than ctx allows, they are waited for.
func (srv *Server) EndConsoles(ctx context.Context) {
	srv.sessions.closeToAdmins()
	moment, cancel := context.WithTimeout(ctx, consoleGrace)
	defer cancel()
	srv.awaitConsoles(moment, func(a *adminClient) bool { return !a.conn.busy.Load() })
	for _, a := range srv.sessions.allAdmins() {
		a.end()
	}
	if !srv.awaitConsoles(ctx, func(*adminClient) bool { return false }) {
		srv.log.WarnContext(ctx, "clients of the admin console do not come to their end", "clients", len(srv.sessions.allAdmins()))
	}
}

// awaitConsoles waits until over holds for all clients of the console that are left, and reports whether that came
// before ctx ended.
func (srv *Server) awaitConsoles(ctx context.Context, over func(*adminClient) bool) bool {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for slices.ContainsFunc(srv.sessions.allAdmins(), func(a *adminClient) bool { return !over(a) }) {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
		}
	}
	return true
}

// addAdmin gives a its ID and cancel secret, unless there are too many.
func (t *sessions) addAdmin(a *adminClient) *Refusal {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return errShuttingDown
	case len(t.admins) >= maxConsoles:
		return &Refusal{
			Code: codeTooManyConnections, Message: "too many clients of the admin console",
			Hint: fmt.Sprintf("There may be %d. Close one, or end one from within another: SHOW CLIENTS lists them, KILL_CLIENT ends one.", maxConsoles),
		}
	case a.looks() && t.lookersLocked() >= maxLookers:
		return &Refusal{
			Code: codeTooManyConnections, Message: "too many clients of the admin console that may only look",
			Hint: fmt.Sprintf("There may be %d. Close one; a user of admin_users gets in still, and can end one: SHOW CLIENTS lists them, KILL_CLIENT ends one.", maxLookers),
		}
	case t.admins == nil:
		t.admins = map[SessionID]*adminClient{}
	}
	a.ID = t.nextLocked()
	a.Secret = t.keys.secret(a.ID, a.connected.Sub(loop.Epoch()), a.keySize)
	t.admins[a.ID] = a
	return nil
}

// looks tells whether the client may change nothing, as things stand.
func (a *adminClient) looks() bool { return a.Right() != RightChange }

func (t *sessions) lookersLocked() (n int) {
	for _, a := range t.admins {
		if a.looks() {
			n++
		}
	}
	return n
}

func (t *sessions) removeAdmin(a *adminClient) {
	t.mu.Lock()
	delete(t.admins, a.ID)
	t.mu.Unlock()
}

func (t *sessions) getAdmin(id SessionID) *adminClient {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.admins[id]
}

// findAdmin returns the client of the console that a cancel request names, or nil.
func (t *sessions) findAdmin(id SessionID, secret []byte) *adminClient {
	a := t.getAdmin(id)
	if a == nil || !equal(a.Secret, secret) {
		return nil
	}
	return a
}

func (t *sessions) allAdmins() []*adminClient {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*adminClient, 0, len(t.admins))
	for _, a := range t.admins {
		all = append(all, a)
	}
	return all
}

func (t *sessions) closeToAdmins() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
}
