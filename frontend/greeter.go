package frontend

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/loop"
)

// greeter is a client that has connected and not said yet what it wants. It lives on the loop that accepts, so that a
// flood of connections costs neither goroutines nor threads; only a proof's costly sums are done elsewhere
// (Server.proving).
type greeter struct {
	srv      *Server
	loop     *loop.Loop
	stream   *loop.Stream
	buf      []byte // beginning of a start-up packet
	remote   netip.AddrPort
	since    time.Time
	deadline time.Time
	requests int // for encryption
	start    *startup
	target   *loop.Loop // where its session will live
	method   loginMethod
	away     bool  // on the session's loop, which must not touch the list of greeters
	proof    proof // nil: not asked for one
	summing  bool  // its answer is being looked at, and it has nothing to say meanwhile
	isOwner  bool  // of the pooler's process, who enters the console without a proof
	held     bool  // it has proven who it is, and waits for RESUME with what is in buf
	gone     atomic.Bool
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
		srv.turnAway(l, remote)
		srv.clientLeft()
		closeFd(fd)
		return
	}
	srv.spreadProbes(fd, remote, cfg.TCP())
	now := time.Now()
	g := &greeter{srv: srv, loop: l, remote: remote, since: now, deadline: now.Add(time.Duration(cfg.ClientLoginTimeout))}
	g.stream = l.AttachUnwatched(fd, g)
	srv.greeters.push(g)
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
	case err != nil && kept > 0:
		g.leave(io.ErrUnexpectedEOF)
		return
	case err != nil:
		g.leave(io.EOF) // a port scan or a health check: it said nothing
		return
	}
	g.buf = nil
	if g.proof != nil {
		g.readProof(chunk[:kept+n])
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
	g.start = start
	g.stream.Write(start.appendNegotiation(nil))
	console := config.IsConsole(start.database)
	if srv.clients.Load() > int64(now.cfg.MaxClientConn) && !console { // an operator must get in all the same
		g.leave(overQuota(quotaKey{kind: quotaAll}, now.cfg.MaxClientConn))
		return
	}
	if console {
		g.isOwner = srv.isOwner(start, g.stream, g.remote)
	} else {
		g.target = srv.loops[int(srv.turn.Add(1))%len(srv.loops)]
	}
	if g.isOwner {
		g.method = methodOwner
		g.become(early)
		return
	}
	g.method = now.credentials.methodFor(start.user)
	if ask, p := now.credentials.challenge(start.user); p != nil {
		g.deadline = g.since.Add(srv.resolve(start.client(g.remote)).LoginTimeout)
		g.prove(p, ask, early)
		return
	}
	g.become(early)
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
		srv.greeters.remove(g)
		g.loop = nil
		s.start(g.stream, early)
		return
	}
	srv.greeters.remove(g)
	g.loop = nil
	fd := g.stream.Release()
	early = slices.Clone(early)
	target.PostPatient(func() { srv.admit(start, g.method, target, g.remote, fd, early) })
}

// admit makes a session of a client whose socket fd has come from another thread. It runs on the session's loop.
func (srv *Server) admit(start *startup, method loginMethod, l *loop.Loop, remote netip.AddrPort, fd int, early []byte) {
	g := &greeter{srv: srv, loop: l, remote: remote, start: start, method: method, away: true}
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
	g.noteRefusal(err)
	if !g.away {
		g.srv.greeters.remove(g)
	}
	g.srv.farewell.close(g.stream, told)
	g.srv.clientLeft()
	g.gone.Store(true)
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
