package frontend

import (
	"container/list"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/loop"
	"pooler/internal/tlsconn"
)

// greeter is a client that has connected and not said yet what it wants. It lives on the loop that accepts, so that a
// flood of connections costs neither goroutines nor threads; only costly sums, and what others
// have to be asked for, are done elsewhere (Server.through).
type greeter struct {
	srv      *Server
	loop     *loop.Loop
	stream   *loop.Stream
	buf      []byte         // beginning of a start-up packet
	remote   netip.AddrPort // where a PROXY header says that it is, if there is one; invalid: a Unix socket
	since    time.Time
	deadline time.Time
	heard    time.Duration      // when it had something to say last, or began to be awaited
	shake    *tlsconn.Handshake // under way
	tls      *tlsFacts          // nil: it comes in the clear
	start    *startup
	target   *loop.Loop // where its session will live
	method   loginMethod
	proxied  bool // the socket is a proxy's, so that the kernel's word for its peer says nothing of the client
	owed     greeting
	askedTLS bool
	askedGSS bool
	direct   bool   // it has begun with TLS
	ended    bool   // it has gone in the middle of a handshake
	away     bool   // on the session's loop, which must not touch the list of greeters
	claim    *claim // nil: it has not said who it is, or has proven it
	summing  bool   // its answer is being looked at, and it has nothing to say meanwhile
	isOwner  bool   // of the pooler's process, who enters the console without a proof
	held     bool   // it has proven who it is, and waits for RESUME with what is in buf
	gone     atomic.Bool
	party    *party        // nil: it is not in the lobby
	turn     *list.Element // there
	prev     *greeter
	next     *greeter
}

// greeting is what a client owes first.
type greeting uint8

const (
	owesPacket greeting = iota // a start-up packet
	owesHeader                 // what a proxy says of it
	owesHello                  // the beginning of a handshake: it was told to go on with TLS
)

// greeters is those who have not said yet what they want, in the order they came. It belongs to the loop that accepts.
type greeters struct{ first, last *greeter }

// greet takes in a connection. It runs on the loop that accepts.
func (srv *Server) greet(l *loop.Loop, fd int, remote netip.AddrPort) {
	srv.counters.accepted.Add(1)
	current := srv.settings.Load()
	cfg := current.cfg
	tooMany := srv.clients.Add(1) > int64(cfg.MaxClientConn)+unauthenticated
	if srv.draining.Load() || tooMany && !srv.makeRoom(remote, 1) {
		srv.turnAway(l, remote)
		srv.clientLeft()
		closeFd(fd)
		return
	}
	srv.spreadProbes(fd, remote, cfg.TCP())
	now := time.Now()
	g := &greeter{srv: srv, loop: l, remote: remote, since: now, heard: l.Now(), deadline: now.Add(time.Duration(cfg.ClientLoginTimeout))}
	g.stream = l.AttachUnwatched(fd, g)
	if g.proxied = current.proxies.Contain(remote.Addr()); g.proxied {
		g.owed = owesHeader
	}
	srv.greeters.push(g)
	if !g.queueUp() {
		return
	}
	g.OnReadable() // its first packet is there already, thanks to tuneListener
	if g.loop != nil {
		g.watch(true)
	}
}

// watch has the loop watch the client, as a patient one until it has logged in.
func (g *greeter) watch(patient bool) bool {
	err := g.stream.SetPatient(patient)
	if err != nil {
		g.srv.log.Error("client socket cannot be watched; it is closed", "error", err)
		g.leave(io.EOF)
	}
	return err == nil
}

// tuneListener sets what accepted sockets inherit: no delay for small packets. Over TCP a connection is shown to us
// with its first packet only, which saves a round through the loop for each login; one that says nothing for a second
// is shown all the same. A Unix socket knows neither, and needs neither.
func tuneListener(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
}

// OnReadable implements loop.Handler.
func (g *greeter) OnReadable() {
	if g.summing || g.held {
		g.stream.Pause()
		return
	}
	chunk := g.loop.Chunk()
	kept := copy(chunk, g.buf)
	n, err := g.stream.Read(chunk[kept:])
	switch {
	case errors.Is(err, loop.ErrWouldBlock):
		return
	case err != nil && g.shake != nil:
		g.endHandshake()
		return
	case err != nil && kept > 0:
		g.leave(io.ErrUnexpectedEOF)
		return
	case err != nil:
		g.leave(io.EOF) // a port scan or a health check: it said nothing
		return
	}
	g.buf, g.heard = nil, g.loop.Now()
	g.take(chunk[:kept+n])
}

// goOn ends the time in which the client had nothing to say.
func (g *greeter) goOn() { g.summing, g.heard = false, g.loop.Now() }

// silence is for how long the client has been awaited; 0: it is not, or may be about to speak.
func (g *greeter) silence() time.Duration {
	if g.summing || g.held || g.shake != nil && !g.shake.Awaits() {
		return 0
	}
	return g.loop.Now() - g.heard
}

// take goes on with what the client has sent.
func (g *greeter) take(b []byte) {
	switch {
	case g.claim != nil:
		g.readProof(b)
	case g.shake != nil:
		g.feed(b)
	case g.owed == owesHeader:
		if rest, ok := g.readProxyHeader(b); ok && len(rest) > 0 {
			g.take(rest)
		}
	case g.owed == owesHello:
		g.shakeHands(b)
	default:
		g.read(b)
	}
}

// read takes the start-up packets off b.
func (g *greeter) read(b []byte) {
	if g.beginsWithTLS(b) {
		g.direct = true
		g.shakeHands(b)
		return
	}
	code, body, rest, err := cutStartup(b)
	switch {
	case errors.Is(err, errShort):
		g.buf = slices.Clone(b)
	case err != nil:
		g.leave(err)
	case code == codeSSLRequest && !g.askedTLS:
		g.askedTLS = true
		g.answerRequest("SSL", g.offersTLS(), rest)
	case code == codeGSSENCRequest && !g.askedGSS:
		g.askedGSS = true
		g.answerRequest("GSSAPI encryption", false, rest)
	case code == codeCancelRequest:
		if key, err := parseCancel(body); err != nil {
			g.leave(err)
		} else {
			g.cancelFor(key)
		}
	default: // a second request for encryption is a version that does not exist, as with PostgreSQL
		if start, err := parseStartup(code, body); err != nil {
			g.leave(err)
		} else {
			g.begin(start, rest)
		}
	}
}

// begin goes on with a client that wants a session. early is what it has sent behind its StartupMessage.
func (g *greeter) begin(start *startup, early []byte) {
	srv := g.srv
	now := srv.settings.Load()
	g.start = start
	g.stream.Write(start.appendNegotiation(nil))
	if now.cfg.ClientTLSMode.Required() && g.tls == nil && !g.local() {
		g.leave(errClear)
		return
	}
	console := config.IsConsole(start.database)
	for srv.clients.Load() > int64(now.cfg.MaxClientConn) && !console { // an operator must get in all the same
		if !srv.makeRoom(g.remote, 0) {
			g.leave(overQuota(quotaKey{kind: quotaAll}, now.cfg.MaxClientConn))
			return
		}
	}
	if console {
		g.isOwner = !g.proxied && srv.isOwner(start, g.stream, g.remote)
	} else {
		g.target = srv.loops[int(srv.turn.Add(1))%len(srv.loops)]
	}
	if g.isOwner {
		g.method = methodOwner
		g.become(early)
		return
	}
	g.identify(now, early)
}

// become makes a session of a client that is who it says.
func (g *greeter) become(early []byte) {
	srv, start, target := g.srv, g.start, g.target
	switch {
	case config.IsConsole(start.database):
		g.enterConsole(early)
		return
	case srv.crews[g.loop].suspended:
		g.held, g.buf = true, slices.Clone(early)
		g.stream.Pause()
		srv.lobby.leave(g)
		return
	}
	if target == g.loop {
		if !g.watch(false) {
			return
		}
		s, err := srv.newSession(start, target, g.remote)
		if err != nil {
			g.leave(err)
			return
		}
		srv.forgetGreeter(g)
		g.loop = nil
		s.start(g.stream, early)
		return
	}
	srv.forgetGreeter(g)
	g.loop = nil
	socket := g.stream.Release()
	early = slices.Clone(early)
	target.PostPatient(func() { srv.admit(start, g.method, target, g.remote, socket, early) })
}

// admit makes a session of a client whose socket has come from another thread. It runs on the session's loop.
func (srv *Server) admit(start *startup, method loginMethod, l *loop.Loop, remote netip.AddrPort, socket loop.Socket, early []byte) {
	g := &greeter{srv: srv, loop: l, remote: remote, start: start, method: method, away: true}
	stream, err := l.Attach(socket, g)
	if err != nil {
		srv.log.Error("client socket cannot be watched; it is closed", "error", err)
		srv.clientLeft()
		socket.Close()
		return
	}
	g.stream = stream
	s, err := srv.newSession(start, l, remote)
	if err != nil {
		g.leave(err)
		return
	}
	s.start(stream, early)
}

// leave ends a client that has no session. It is told why, unless it has gone itself or wanted no more.
func (g *greeter) leave(err error) {
	if g.loop == nil {
		return
	}
	g.noteRefusal(err)
	g.part(err)
}

// part closes the connection. Nothing is said in the clear while TLS is begun.
func (g *greeter) part(err error) {
	_, failed := errors.AsType[tlsFailure](err)
	if g.shake != nil {
		g.shake.Abort()
	}
	g.claim.drop()
	told := !isIO(err) && !failed && g.shake == nil && g.owed != owesHello
	if told {
		g.stream.Write(toErrorResponse("FATAL", err))
	}
	if !g.away {
		g.srv.forgetGreeter(g)
	}
	g.srv.farewell.close(g.stream, told || failed) // with TLS's own words, if it has failed
	g.srv.clientLeft()
	g.gone.Store(true)
	g.loop, g.shake = nil, nil
}

// forgetGreeter takes g off the lists of those who have not logged in.
func (srv *Server) forgetGreeter(g *greeter) {
	srv.greeters.remove(g)
	srv.lobby.leave(g)
}

// OnDrained implements loop.Handler.
func (g *greeter) OnDrained() {}

// OnHalfClose implements loop.Handler.
func (g *greeter) OnHalfClose() {}

// OnHangup implements loop.Handler.
func (g *greeter) OnHangup() {
	if g.shake != nil {
		g.endHandshake()
		return
	}
	g.leave(io.EOF)
}

// OnPanic implements loop.Handler.
func (g *greeter) OnPanic(any) { g.leave(io.EOF) }

// expireGreeters ends those who have not logged in within client_login_timeout, but for those who wait for RESUME: it is
// not their fault. It runs on the loop that accepts.
func (srv *Server) expireGreeters(now time.Time) {
	for g := srv.greeters.first; g != nil; {
		next := g.next
		if !g.held && now.After(g.deadline) {
			g.leave(errLoginTimeout)
		}
		g = next
	}
}

var errLoginTimeout = &Refusal{Code: "08006", Message: "the client has not logged in within client_login_timeout"}

func (q *greeters) push(g *greeter) {
	g.prev = q.last
	if q.last == nil {
		q.first = g
	} else {
		q.last.next = g
	}
	q.last = g
}

// remove takes g out; it may be out already.
func (q *greeters) remove(g *greeter) {
	if g.prev == nil && q.first != g {
		return
	}
	if g.prev == nil {
		q.first = g.next
	} else {
		g.prev.next = g.next
	}
	if g.next == nil {
		q.last = g.prev
	} else {
		g.next.prev = g.prev
	}
	g.prev, g.next = nil, nil
}
