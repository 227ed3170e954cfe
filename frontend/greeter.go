package frontend

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/loop"
)

// greeter is a client that has connected and not said yet what it wants. It lives on the loop that accepts, so that a
// flood of connections costs neither goroutines nor threads; whoever has a password to prove goes to a goroutine from
// here (Server.prove), everybody else straight to a session.
type greeter struct {
	srv      *Server
	loop     *loop.Loop
	stream   *loop.Stream
	buf      []byte // beginning of a start-up packet
	remote   netip.AddrPort
	deadline time.Time
	requests int // for encryption
	prev     *greeter
	next     *greeter
}

// greeters is those who have not said yet what they want, in the order they came. It belongs to the loop that accepts.
type greeters struct{ first, last *greeter }

// encryptionRequests is how often a client may ask for encryption: once for TLS, once for GSS, as with PostgreSQL.
const encryptionRequests = 2

// greet takes in a connection. It runs on the loop that accepts.
func (srv *Server) greet(l *loop.Loop, fd int, remote netip.AddrPort) {
	srv.counters.accepted.Add(1)
	cfg := srv.settings.Load().cfg
	if srv.clients.Add(1) > int64(cfg.MaxClientConn)+unauthenticated || srv.draining.Load() {
		srv.counters.turnedAway.Add(1)
		srv.clientLeft()
		closeFd(fd)
		return
	}
	g := &greeter{srv: srv, loop: l, remote: remote, deadline: time.Now().Add(time.Duration(cfg.ClientLoginTimeout))}
	stream, err := l.Attach(fd, g)
	if err != nil {
		srv.log.Error("client socket cannot be watched; it is closed", "error", err)
		srv.clientLeft()
		closeFd(fd)
		return
	}
	g.stream = stream
	srv.greeters.push(g)
	g.OnReadable() // its first packet is there already, thanks to tuneListener
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
	chunk := g.loop.Chunk()
	kept := copy(chunk, g.buf)
	n, err := g.stream.Read(chunk[kept:])
	switch {
	case errors.Is(err, loop.ErrWouldBlock):
		return
	case err != nil && kept > 0:
		g.leave(io.ErrUnexpectedEOF)
		return
	case err != nil:
		g.leave(io.EOF) // a port scan or a health check: it said nothing
		return
	}
	g.read(chunk[:kept+n])
}

// read takes the start-up packets off b.
func (g *greeter) read(b []byte) {
	for {
		code, body, rest, err := cutStartup(b)
		if errors.Is(err, errShort) {
			g.buf = slices.Clone(b)
			return
		}
		if err != nil {
			g.leave(err)
			return
		}
		switch code {
		case codeSSLRequest, codeGSSENCRequest:
			if g.requests++; g.requests > encryptionRequests {
				g.leave(protocolViolation("too many requests for encryption"))
				return
			}
			g.stream.Write([]byte{'N'})
			b = rest
		case codeCancelRequest:
			key, err := parseCancel(body)
			if err != nil {
				g.leave(err)
				return
			}
			l := g.loop
			g.stream.Pause()
			g.srv.cancel(key, func() { l.Post(func() { g.leave(io.EOF) }) }) // it gets no answer
			return
		default:
			start, err := parseStartup(code, body)
			if err != nil {
				g.leave(err)
				return
			}
			g.begin(start, rest)
			return
		}
	}
}

// begin goes on with a client that wants a session. early is what it has sent behind its StartupMessage.
func (g *greeter) begin(start *startup, early []byte) {
	srv := g.srv
	now := srv.settings.Load()
	g.stream.Write(start.appendNegotiation(nil))
	if srv.clients.Load() > int64(now.cfg.MaxClientConn) {
		g.leave(tooManyClients(now.cfg.MaxClientConn))
		return
	}
	target := srv.loops[int(srv.turn.Add(1))%len(srv.loops)]
	if now.cfg.AuthType == config.AuthTrust && target == g.loop {
		s, err := srv.newSession(start, target, g.remote)
		if err != nil {
			g.leave(err)
			return
		}
		srv.greeters.remove(g)
		s.start(g.stream, early)
		return
	}
	srv.greeters.remove(g)
	fd := g.stream.Release()
	early = slices.Clone(early)
	if now.cfg.AuthType == config.AuthTrust {
		target.Post(func() { srv.admit(start, target, g.remote, fd, early) })
		return
	}
	if !srv.proving(func() { srv.prove(fd, start, target, g.remote, early, now) }) {
		closeFd(fd)
		srv.clientLeft()
	}
}

// admit makes a session of a client whose socket fd has come from another thread. It runs on the session's loop.
func (srv *Server) admit(start *startup, l *loop.Loop, remote netip.AddrPort, fd int, early []byte) {
	g := &greeter{srv: srv, loop: l, remote: remote}
	stream, err := l.Attach(fd, g)
	if err != nil {
		srv.log.Error("client socket cannot be watched; it is closed", "error", err)
		srv.clientLeft()
		closeFd(fd)
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
	told := !isIO(err)
	if told {
		g.stream.Write(toErrorResponse("FATAL", err))
	}
	g.srv.noteRefusal(g.remote, err)
	g.srv.greeters.remove(g)
	g.srv.farewell.close(g.stream, told)
	g.srv.clientLeft()
	g.loop = nil
}

// OnDrained implements loop.Handler.
func (g *greeter) OnDrained() {}

// OnHalfClose implements loop.Handler.
func (g *greeter) OnHalfClose() {}

// OnHangup implements loop.Handler.
func (g *greeter) OnHangup() { g.leave(io.EOF) }

// OnPanic implements loop.Handler.
func (g *greeter) OnPanic(any) { g.leave(io.EOF) }

// expire ends those who have said nothing within client_login_timeout. It runs on the loop that accepts.
func (srv *Server) expireGreeters(now time.Time) {
	for g := srv.greeters.first; g != nil && now.After(g.deadline); g = srv.greeters.first {
		g.leave(errLoginTimeout)
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
