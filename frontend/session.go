package frontend

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/journal"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// Session is one client's life after it has proven who it is. It belongs to one loop for life; only that loop's
// thread may touch it. It implements loop.Handler for the client's socket and pool.Borrower for the server session
// that it is lent.
type Session struct {
	srv       *Server
	client    *loop.Stream
	pool      *pool.Pool
	lease     *pool.Lease
	req       pool.Request
	reported  *sessionstate.Settings // the ParameterStatus values that the client knows
	welcome   *sessionstate.Settings // those that it was told first
	names     map[string]*sessionstate.Statement
	unnamed   unnamedStatement
	large     *largeScan             // the statement that is being streamed
	seldom    *seldom                // nil: nothing of it
	trail     *trail                 // nil: it has run nothing
	base      *sessionstate.Settings // the start-up parameters: what RESET goes back to
	sqlNames  *sessionstate.Settings // statements that SQL's PREPARE has made: name and text
	doubts    *sessionstate.Doubts   // what PostgreSQL is to be asked about at the next boundary; nil: nothing
	pinned    *pinning               // nil: it is not
	limits    *kind                  // what the configuration says of such a client
	counted   *cohort                // among the clients that limits count
	resetting *sessionstate.Text     // a statement that may set start-up parameters back is running
	partial   []byte                 // beginning of a frame that is looked at whole
	pending   []byte                 // whole frames, and perhaps a beginning, that wait for a lease
	walker    wire.Walker
	pins      sessionstate.PinSet
	begun     time.Duration // on the crew's clock
	entered   time.Duration // when the phase began
	crew      *crew         // of the loop
	traffic   *traffic      // what it does is counted there

	id           SessionID
	berth        int32  // in the crew
	transactions uint32 // ended
	sequence     uint32 // counts values that nextval may have left
	port         uint16 // the client's; 0: it came by the Unix socket
	untilSample  uint16 // statements until one is audited by chance
	keySize      uint8  // of the secret in its cancel key, in bytes
	flushed      bool   // the client's last message asks for the answers that are ready
	provenBy     loginMethod
	phase        Phase
	boundary     sessionstate.Boundary
	refusing     refusing
	greeted      bool // the login is complete
	dropping     bool // the frame being streamed is not passed on
	choked       bool // what is pending waits until fewer answers are owed
	halfSent     bool // the frame being streamed has reached the server in part
	leaving      bool // the pooler stops: the session ends as soon as it is between transactions
	graceful     bool // the client has said goodbye
	carryBad     bool // what the conn has in force is not known
	carry        carrying
	asking       bool // PostgreSQL has been asked something that decides how to go on
	hook         hooking
	restore      carrying // what a running statement asks for that sets a start-up parameter back
	sequenceAge  uint8    // statements since the last
	foreign      bool     // the server session has parameters that exist for others only
	wasReset     bool     // RESET or DISCARD ALL has ended well
	aliases      bool     // two of its names are of the same statement
	byInsert     bool     // it is an INSERT that pins for currval and lastval
	tempPath     bool     // search_path names pg_temp, so that what is created may be temporary
	heldReady    bool     // the client waits for its ReadyForQuery
	linger       bool     // the client is owed last words: the socket is closed only when it has had time to read them
}

// seldom is what few sessions have.
type seldom struct {
	parting    func()     // ends the session once nothing is owed; nil: the client has not said its last
	atBoundary func()     // called when what was run has taken effect
	roles      bool       // what was run has changed users, or who is a member of what
	trace      *openTrace // of the request that runs; nil: it is not traced
}

func (s *Session) makeSeldom() *seldom {
	if s.seldom == nil {
		s.seldom = &seldom{}
	}
	return s.seldom
}

// isParting tells whether the client has said its last, and the session ends when all is answered.
func (s *Session) isParting() bool { return s.seldom != nil && s.seldom.parting != nil }

// clientLimits: what is looked into is shown whole up to 16 KiB (Parse up to 32), larger statements and COPY data
// pass in parts.
var clientLimits = func() *wire.Limits {
	var l wire.Limits
	for _, t := range []byte("QBDCEHSFXcf") {
		l[t] = 16 << 10
	}
	l['P'] = 32 << 10
	return &l
}()

// maxPending bounds what is kept of a client that waits for a lease, in bytes; it is not read from beyond that.
const maxPending = loop.ChunkSize

// start begins the session on its loop. early is what the client has sent behind its login already.
func (s *Session) start(client *loop.Stream, early []byte) {
	s.client = client
	client.SetHandler(s)
	s.srv.sessions.add(s)
	s.crew.join(s)
	s.entered = s.crew.now()
	s.traffic = s.crew.ledger.join(s.counted.who, s.entered)
	s.srv.gauges[s.phase].Add(1)
	if s.srv.logConnections() {
		s.srv.log.Info("client logged in", s.logArgs("remote", from(s.remote()))...)
	}
	if len(early) > 0 {
		s.keep(early)
	}
	if known := s.srv.welcomes.get(s.pool, s.req.Settings); known != nil {
		s.req.Login = false
		s.greet(known)
		s.enter(PhaseIdle)
		s.proceed()
		return
	}
	if s.acquire() {
		s.proceedWithLease()
	}
}

// greet ends the login: the client is told its parameters and its cancel key.
func (s *Session) greet(reported *sessionstate.Settings) {
	s.greeted, s.reported, s.welcome = true, reported, reported
	out := append(s.req.Loop.Out(), 'R', 0, 0, 0, 8, 0, 0, 0, 0)
	for _, p := range reported.List() {
		out = wire.AppendParameterStatus(out, p.Name, p.Value)
	}
	out = appendKeyData(out, s.id, s.srv.sessions.keys.secret(s.id, s.begun, s.keySize))
	out = wire.AppendReady(out, 'I')
	s.client.Write(out)
	s.req.Loop.KeepOut(out)
	s.srv.counters.logins.Add(1)
	s.srv.counters.loginsBy.add(s.provenBy, loginOK)
	s.establish(journal.Connect, s.provenBy.String(), 0)
	s.traffic.Logins++
	s.traffic.logins.add(s.crew.now())
}

// enter is the only place that changes the phase.
func (s *Session) enter(next Phase) {
	if s.phase == next {
		return
	}
	if !s.phase.mayBecome(next) {
		panic("bug: session goes from " + s.phase.String() + " to " + next.String())
	}
	s.srv.gauges[s.phase].Add(-1)
	s.srv.gauges[next].Add(1)
	s.endPhase()
	s.phase = next
}

// acquire asks the pool for a lease. It reports whether the session has one now; if not it waits, or was refused.
func (s *Session) acquire() bool {
	l, err := s.pool.Acquire(&s.req)
	switch {
	case err != nil:
		s.refuse(err)
		return false
	case l == nil:
		s.enter(PhaseWaiting)
		return false
	}
	s.hold(l)
	return true
}

// hold takes the lease and sees to it that the client's settings will be in force.
func (s *Session) hold(l *pool.Lease) {
	s.lease = l
	s.enter(PhaseActive)
	c := l.Conn
	if !s.req.Login {
		s.traffic.Assignments++
		if c.User != 0 && c.User != uint64(s.id) {
			s.noteReuse(c)
		}
	}
	if c.User == 0 {
		c.User = uint64(s.id)
	} else if c.User != uint64(s.id) {
		c.User = severalUsers
	}
	c.Mixed = c.Mixed || c.Unseen != 0 && c.Unseen != uint64(s.id)
	s.foreign = s.hasForeignCustoms(c)
	s.plan()
	switch {
	case s.carry == carryNothing:
		s.tellReported()
	case !s.greeted:
		c.Write(s.takeCarry(nil))
	case !c.Settings.Equal(s.req.Settings) && (c.Settings.Identity() || s.req.Settings.Identity()):
		s.asking = true // who the client is must be settled before anything of it is sent
		c.Write(s.takeCarry(nil))
	}
	if s.greeted {
		s.beginHooks()
	}
}

// Lent implements pool.Borrower.
func (s *Session) Lent(l *pool.Lease) {
	if s.phase == PhaseClosed {
		l.Release()
		return
	}
	s.hold(l)
	s.proceedWithLease()
}

// proceedWithLease goes on once there is a lease. A login that has nothing to carry is complete at once.
func (s *Session) proceedWithLease() {
	if !s.greeted {
		if s.lease.Conn.Replies.Idle() {
			s.OnSettled()
		}
		return
	}
	s.proceed()
	if s.phase == PhaseActive && s.lease.Conn.Replies.Idle() {
		s.OnSettled()
	}
}

// Refused implements pool.Borrower.
func (s *Session) Refused(err error) {
	if s.phase == PhaseWaiting {
		s.refuse(err)
	}
}

// StillWaiting implements pool.Borrower.
func (s *Session) StillWaiting(ahead int, waited time.Duration) {
	if s.phase != PhaseWaiting || !s.greeted {
		return
	}
	if s.pool.Orders().Paused {
		s.client.Write(pausedNotice(waited))
		return
	}
	s.client.Write(waitNotice(ahead, waited))
}

// refuse answers, in place of a server session that is not to be had, with err. A client that has logged in stays
// connected; its request is skipped as PostgreSQL would after an error.
func (s *Session) refuse(err error) {
	s.srv.counters.refused.Add(1)
	if errors.Is(err, pool.ErrWaitTimeout) {
		s.report(journal.TimedOut, "query_wait_timeout", "No server session became free for it within query_wait_timeout = "+s.limits.QueryWaitTimeout.String()+".")
	}
	if !s.greeted {
		s.endWith(EndRefused, err)
		return
	}
	s.client.Write(toErrorResponse("ERROR", err))
	s.refusing = refuseNext
	s.enter(PhaseIdle)
	s.proceed()
}

// proceed goes on with what the client had sent before it had to wait.
func (s *Session) proceed() {
	b := s.pending
	s.pending = nil
	if len(b) > 0 {
		s.relay(b)
	}
	if b != nil {
		s.req.Loop.FreeSmall(b)
	}
	if s.phase != PhaseClosed && len(s.pending) == 0 && (s.lease == nil || s.lease.Conn.Queued() == 0) {
		s.client.Resume()
	}
	if s.leaving && s.phase == PhaseIdle {
		s.leave()
	}
}

// onCancel carries out a cancel request of this session's client: what runs is cancelled on its server session, what
// waits is answered here. An idle client's is ignored, as PostgreSQL does.
func (s *Session) onCancel() {
	switch {
	case s.phase == PhaseWaiting && s.greeted && s.pool.Withdraw(&s.req):
		s.refuse(&Refusal{Code: codeQueryCanceled, Message: "canceling statement due to user request"})
	case s.phase == PhaseActive && !s.asking && !s.lease.Conn.Replies.Idle():
		s.lease.Conn.Cancel()
	}
}

// leave ends a session that is between transactions because the pooler stops.
func (s *Session) leave() {
	s.endWith(EndShutdown, errAdministrator)
}

// drain has the session end as soon as it is between transactions.
func (s *Session) drain() {
	if s.phase == PhaseClosed || s.leaving {
		return
	}
	s.leaving = true
	switch {
	case s.phase == PhaseIdle:
		s.leave()
	case s.phase == PhaseActive && s.lease.Conn.Idle() && s.lease.Conn.Status() == 'I':
		s.leave()
	}
}

// endWith tells the client why, with FATAL, and ends the session.
func (s *Session) endWith(reason EndReason, err error) {
	if s.phase == PhaseClosed {
		return
	}
	var out []byte
	if !s.greeted {
		out = append(out, 'R', 0, 0, 0, 8, 0, 0, 0, 0) // PostgreSQL, too, says who you are before it says no
	}
	if s.lease == nil || !s.lease.Conn.MidMessage() { // else the client would take it for a part of that
		s.client.Write(append(out, toErrorResponse("FATAL", err)...))
		s.linger = true
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Cause != nil {
		s.srv.log.Warn("client refused", s.logArgs("error", err)...)
	}
	if !s.greeted {
		s.noteNoLogin(err)
	}
	s.end(reason)
}

// end is the only way a session ends. The server session, if it holds one, is brought back whatever state it is in.
func (s *Session) end(reason EndReason) {
	if s.phase == PhaseClosed {
		return
	}
	if reason == EndClientGone {
		s.noteVanished()
	}
	if s.phase == PhaseWaiting {
		s.pool.Withdraw(&s.req)
	}
	if s.greeted {
		s.establish(journal.Close, reason.String(), s.crew.now()-s.begun)
	}
	s.enter(PhaseClosed)
	if l := s.lease; l != nil {
		s.lease = nil
		s.giveBack(l)
	}
	s.pins = 0
	s.notePins(nil)
	s.forgetStatements()
	s.partial, s.pending, s.unnamed, s.doubts = nil, nil, unnamedStatement{}, nil
	s.srv.farewell.close(s.client, s.linger)
	s.srv.sessions.remove(s)
	s.crew.leave(s)
	s.traffic.leave(s.crew.now(), s.greeted)
	s.srv.gauges[PhaseClosed].Add(-1)
	s.srv.clientLeft()
	s.srv.quotas.give(s.counted, &s.limits.Limits, int(s.srv.clients.Load()))
	s.pool.Leave(&s.req)
	s.srv.counters.ends[reason].Add(1)
	if s.srv.logDisconnections() {
		s.srv.log.Info("session ended", s.logArgs("reason", reason.String(), "duration", (s.crew.now()-s.begun).Round(time.Millisecond).String())...)
	}
}

// giveBack returns the lease of a session that ends.
func (s *Session) giveBack(l *pool.Lease) {
	c := l.Conn
	cancel := !s.graceful
	dirty := s.pins != 0 || s.doubts != nil || s.carryBad || s.boundary == sessionstate.BoundarySession
	if s.doubts != nil { // whatever becomes of them, they are there now
		for _, name := range s.doubts.Names {
			c.NoteCustoms([]sessionstate.Setting{{Name: name}})
		}
	}
	lasting, hooked := s.pins.Unresettable(), s.hook == hookOwed && len(s.releaseHooks(c)) > 0
	if lasting && !hooked {
		if cancel && !c.Replies.Idle() {
			c.Cancel()
		}
		c.Lend(nil)
		c.Retire(backend.RetireUnresettable)
		return
	}
	left := backend.Leftovers{Dirty: dirty, Lasting: lasting, Cancel: cancel, HalfSent: s.halfSent, HookBad: s.limits.HookFailure != config.HookIgnore}
	if hooked {
		left.Hooks, left.Dirty = s.releaseHooks(c), true // whatever they leave
	}
	l.Reclaim(left)
}

// remote is where the client is; not valid for the Unix socket.
func (s *Session) remote() netip.AddrPort { return netip.AddrPortFrom(s.counted.who.source, s.port) }

// OnPanic implements loop.Handler.
func (s *Session) OnPanic(any) {
	s.report(journal.Panic, EndPanic.String(), "A bug in the pooler has ended this client. The log says more; please report it.")
	if l := s.lease; l != nil {
		s.lease = nil
		l.Conn.Lend(nil)
		l.Conn.Retire(backend.RetirePanic)
	}
	s.end(EndPanic)
}

func (s *Session) logArgs(more ...any) []any {
	return append([]any{slog.Uint64("session_id", uint64(s.id)), slog.String("user", s.pool.Key.User), slog.String("database", s.pool.Key.Database)}, more...)
}
