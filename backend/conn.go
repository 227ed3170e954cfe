package backend

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pooler/internal/loop"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// ConnID numbers server sessions, for logs and views.
type ConnID uint64

var lastConnID atomic.Uint64

// Borrower is the session that holds a conn. Its methods run on the conn's loop.
type Borrower interface {
	// FromServer has bytes for the client, in order. They are valid during the call only.
	FromServer(p []byte)
	// OnParameter: PostgreSQL reports a parameter to the client. It returns the value that the client is to be told, and
	// whether it is to be told at all.
	OnParameter(name, value string) (told string, tell bool)
	// OnTag: a statement of request e ended with this command tag.
	OnTag(tag []byte, e sessionstate.Entry)
	// OnHook: on_get or on_release has run. fault is what went wrong, "" if nothing did.
	OnHook(fault string)
	// OnReady: the client's requests up to here are answered, and its ReadyForQuery with this status comes. It appends
	// what the client is to be told before that, and reports whether it shall get it later, from the borrower.
	OnReady(dst []byte, status byte) (out []byte, hold bool)
	// OwnWords returns an ErrorResponse to the request e, of which body is PostgreSQL's, with the client's names of
	// statements in place of the pooler's, and what it knows better than PostgreSQL (Reword).
	OwnWords(body []byte, e sessionstate.Entry) []byte
	// OnAudited: PostgreSQL has said what the session holds; nil: it could not be asked.
	OnAudited(r *Report)
	// OnParsed: the server has accepted this statement; nil: it has no name. again tells whether the pooler has asked for
	// it, on another server session than the client did.
	OnParsed(st *sessionstate.Statement, again bool)
	// OnSkipped: the server skipped this request, or refused it.
	OnSkipped(e sessionstate.Entry)
	// AnswerFor appends what the pooler answers in place of the server: to a request that was not sent (Invent), or
	// whose error was provoked (Replace).
	AnswerFor(dst []byte, e sessionstate.Entry) []byte
	// OnServerDrained: PostgreSQL has taken all that Write queued.
	OnServerDrained()
	// OnCarried: the settings that were carried over are in force. It appends what the client must be told of it.
	OnCarried(dst []byte) []byte
	// OnCarryFailed: PostgreSQL has refused the settings with this ErrorResponse body. It reports whether nothing of
	// the client's own has been sent behind them, so that the conn is as before.
	OnCarryFailed(body []byte) bool
	// OnSettled: the server owes nothing, the last ReadyForQuery stands in Status.
	OnSettled()
	// OnCancelConfirmed: PostgreSQL has closed the cancel connection; no cancel can hit the conn any more.
	OnCancelConfirmed()
	// OnServerLost: the conn is closed; what the server said before has been handed over.
	OnServerLost(reason RetireReason)
}

// Keeper is the pool's side of a conn. Its methods run on the conn's loop.
type Keeper interface {
	// Reclaimed: after Reclaim the conn is clean and may be lent again.
	Reclaimed()
	// HookFailed: on_release has failed, after its client had gone.
	HookFailed(fault string)
	// Lost: the conn is closed or closing and must be forgotten.
	Lost(reason RetireReason)
}

// Conn is one server session and what it is known to hold. It belongs to the loop of the session that holds it, and
// to the pool while idle; it changes loops only while idle, by the hand of the loop that owns it.
type Conn struct {
	ID      ConnID
	PID     uint32
	Created time.Time
	Addr    Address
	Local   netip.AddrPort // the two ends of its TCP connection; not valid on a Unix socket
	Remote  netip.AddrPort
	Login   string // the user it was opened as
	DBName  string // PostgreSQL's name of its database

	Replies      sessionstate.Replies
	Settings     *sessionstate.Settings // what is in force beyond the server's defaults
	SQLNames     *sessionstate.Settings // statements that SQL's PREPARE has made: name and text
	Prepared     PreparedSet
	RealNames    map[string]*sessionstate.Statement // of those prepared by the protocol that have the borrower's names
	Unnamed      any                                // the session whose unnamed statement the server holds; nil: nobody's
	StdStrings   bool                               // standard_conforming_strings
	Unseen       uint64                             // the session that has used it since it was last looked at; 0: none
	Mixed        bool                               // several have
	User         uint64                             // the one session that has used it; 0: none, the largest: several
	SequenceUser uint64                             // the last that may have called nextval
	Customs      []string                           // parameters of extensions' kind (with a dot) that exist in the session: once set, they are empty rather than missing
	Ending       loop.Ending                        // how the connection was lost, if it was
	Errors       uint32                             // so many there have been
	Reword       bool                               // the borrower has words of its own for the next error (OwnWords)
	Callbacks    Callbacks
	HookFault    string // what went wrong with the borrower's hooks
	Usage        Usage

	stream     *loop.Stream
	socket     loop.Socket // until Start, and again once retired
	walker     wire.Walker
	partial    []byte // beginning of a frame that is looked at whole
	opaque     bool   // see isOpaque
	status     byte   // of the last ReadyForQuery
	ready      bool   // a ReadyForQuery came in the chunk at hand
	swallowing bool   // the frame at hand, or the one being shown in parts, is nobody's
	desync     bool   // the server's stream cannot be followed any more
	failed     bool   // a request of the pooler's own has failed
	explained  bool   // PostgreSQL has told the client itself that it ends the session
	parameters []sessionstate.Setting
	defaults   []sessionstate.Setting // parameters as they were after the login
	reported   *sessionstate.Settings // parameters, interned; nil after a change
	dialer     *Dialer
	route      route  // the way it has taken, which its cancels take too
	tls        string // see TLS
	cancelKey  []byte // the CancelRequest to send, whole; nil: PostgreSQL has given no key
	cancelWait time.Duration
	cancelling bool // a cancel has been sent and is not confirmed
	unsure     bool // a cancel could not be confirmed
	borrower   Borrower
	keeper     Keeper
	reclaim    reclaim
	audit      *audit // under way
	hookFault  string // what went wrong with the hook that runs
	replay     replay
	retired    RetireReason
}

// serverLimits: messages that are looked into are shown whole up to 16 KiB; rows, COPY data and other bulk pass in
// whatever parts they come.
var serverLimits = func() *wire.Limits {
	var l wire.Limits
	for _, t := range []byte("RSKZCEN123nsIGHWTAt") {
		l[t] = 16 << 10
	}
	return &l
}()

func newConn(addr Address, cancelWait time.Duration) *Conn {
	return &Conn{
		ID: ConnID(lastConnID.Add(1)), Created: time.Now(), Addr: addr, socket: loop.Socket{FD: -1}, cancelWait: cancelWait,
		walker: wire.Walker{Limits: serverLimits}, StdStrings: true,
	}
}

// Start puts the conn on its first loop, whose thread must call it. From then on keeper hears of its end.
func (c *Conn) Start(l *loop.Loop, keeper Keeper) error {
	s, err := l.Attach(c.socket, c)
	if err != nil {
		return err
	}
	c.stream, c.keeper = s, keeper
	return nil
}

// TLS is the version and the cipher suite that protect the connection, such as TLSv1.3/TLS_AES_256_GCM_SHA384; "" without
// TLS. Any goroutine may ask.
func (c *Conn) TLS() string { return c.tls }

// Alive tells whether the conn can be used.
func (c *Conn) Alive() bool { return c.retired == NotRetired }

// Loop is the loop that owns the conn.
func (c *Conn) Loop() *loop.Loop { return c.stream.Loop() }

// Detach takes an idle conn off its loop, for Join on another.
func (c *Conn) Detach() { c.stream.Detach() }

// Join puts a detached conn on l.
func (c *Conn) Join(l *loop.Loop) error { return c.stream.Join(l) }

// Lend gives the conn to b, which may use it until Reclaim or Return.
func (c *Conn) Lend(b Borrower) {
	c.borrower, c.Reword = b, false
	c.Usage.reset()
}

// Return takes the conn back from a borrower that leaves nothing behind.
func (c *Conn) Return() {
	c.borrower, c.HookFault = nil, ""
	c.stream.Resume()
}

// Status is the transaction status of the last ReadyForQuery: 'I', 'T' or 'E'.
func (c *Conn) Status() byte { return c.status }

// Idle tells whether nothing is owed, nothing half received and nothing half sent.
func (c *Conn) Idle() bool {
	return c.Replies.Idle() && c.walker.AtBorder() && len(c.partial) == 0 && c.stream.Queued() == 0
}

// MidMessage tells whether the last message of the server's has been passed on in part only.
func (c *Conn) MidMessage() bool { return !c.walker.AtBorder() }

// Write sends requests. The caller has pushed what they owe.
func (c *Conn) Write(p []byte) { c.stream.Write(p) }

// Queued is how many bytes PostgreSQL has not taken yet.
func (c *Conn) Queued() int { return c.stream.Queued() }

// Pause stops reading from PostgreSQL, because its client does not.
func (c *Conn) Pause() { c.stream.Pause() }

// Resume reads again.
func (c *Conn) Resume() { c.stream.Resume() }

// NoteReal notes that st is prepared under a client's own name for it.
func (c *Conn) NoteReal(name string, st *sessionstate.Statement) {
	if c.RealNames == nil {
		c.RealNames = map[string]*sessionstate.Statement{}
	}
	c.RealNames[name] = st
}

// NoteCustoms notes which parameters of extensions' kind exist now.
func (c *Conn) NoteCustoms(list []sessionstate.Setting) {
	for _, o := range list {
		if strings.Contains(o.Name, ".") && !slices.Contains(c.Customs, o.Name) {
			c.Customs = append(c.Customs, o.Name)
		}
	}
}

// Looked notes that an audit has looked at everything, or not.
func (c *Conn) Looked(everything bool) {
	if everything {
		c.Unseen, c.Mixed = 0, false
	}
}

// OnReadable relays one chunk from PostgreSQL.
func (c *Conn) OnReadable() {
	chunk := c.stream.Loop().Chunk()
	kept := copy(chunk, c.partial)
	n, err := c.stream.Read(chunk[kept:])
	if errors.Is(err, loop.ErrWouldBlock) {
		return
	}
	if err != nil {
		c.lose()
		return
	}
	c.partial = nil
	c.relay(chunk[:kept+n])
}

// relay walks b, hands the client what is its, and acts when nothing is owed any more.
func (c *Conn) relay(b []byte) {
	l := c.stream.Loop()
	g := wire.Gather{In: b, Out: l.Out()}
	off := 0
	for off < len(b) && !c.desync {
		typ, n, part := c.walker.Next(b[off:])
		if part == wire.None {
			break
		}
		if part == wire.Whole && (typ == 'D' || typ == 'd') && c.Replies.RowsPass() {
			off += n // the one case worth a way of its own: most of what is relayed are rows
			continue
		}
		switch part {
		case wire.Bad:
			c.desync = true
			continue
		case wire.Whole, wire.Head:
			c.settle(&g, typ, off, n, part)
		case wire.Body, wire.Tail, wire.None:
		}
		if c.audit != nil && part != wire.Whole && typ == 'D' && c.swallowing {
			c.audit.part(partBody(b[off:off+n], part), part == wire.Tail)
		}
		if c.swallowing {
			g.Skip(off, off+n)
		}
		off += n
		if part == wire.Whole || part == wire.Tail {
			c.swallowing = false
			c.invent(&g, off)
		}
	}
	if off < len(b) {
		c.partial = append([]byte(nil), b[off:]...)
	}
	if c.borrower != nil {
		c.borrower.FromServer(g.Take(off))
	}
	l.KeepOut(g.Out)
	c.afterChunk()
}

func partBody(b []byte, part wire.Part) []byte {
	if part == wire.Head {
		return b[wire.HeaderSize:]
	}
	return b
}

// settle takes note of the frame at off, of which n bytes are at hand, and decides whose it is.
func (c *Conn) settle(g *wire.Gather, typ byte, off, n int, part wire.Part) {
	body := g.In[off+wire.HeaderSize : off+n]
	if typ == 'Z' && !isStatus(body) {
		c.swallowing, c.desync = true, true
		return
	}
	outcome, e := c.Replies.Settle(typ)
	if e.Action == sessionstate.Ask && c.audit != nil && part == wire.Whole {
		c.audit.take(typ, body)
	}
	switch typ {
	case 'Z':
		c.status, c.ready = body[0], true
		switch {
		case c.borrower == nil:
		case outcome == sessionstate.Pass:
			var told []byte
			if told, c.swallowing = c.borrower.OnReady(nil, c.status); told != nil {
				g.Insert(off, told)
			}
		case e.Action == sessionstate.Swallow && e.Kind == sessionstate.KindQuery && !c.failed:
			g.Insert(off, c.borrower.OnCarried(nil))
		}
		if e.Action == sessionstate.Hook {
			c.hookRan()
		}
	case '1':
		if again := e.Action == sessionstate.SwallowDone; (e.Stmt != nil || again) && c.borrower != nil {
			c.borrower.OnParsed(e.Stmt, again)
		}
	case 'S':
		c.noteParameter(g, off, body, outcome)
	case 'G':
		if c.reclaim.active {
			c.endOpenRequests() // its client went before the COPY began
		}
	case 'C':
		if tag, _, ok := wire.Cstring(body); ok && outcome == sessionstate.Pass && c.borrower != nil {
			c.borrower.OnTag(tag, e)
		}
	case 'E':
		c.Errors++
		if outcome == sessionstate.Pass && c.borrower != nil && part == wire.Whole && c.playAgain(body) {
			outcome = sessionstate.Drop
			break
		}
		if e.Action == sessionstate.Hook {
			c.hookFault = string(wire.ErrorField(body, 'M')) + " (SQLSTATE " + string(wire.ErrorField(body, 'C')) + ")"
		}
		c.noteStale(e, body)
		if v := string(wire.ErrorField(body, 'V')); outcome == sessionstate.Pass && (v == "FATAL" || v == "PANIC") {
			c.explained = c.borrower != nil
		}
		c.Replies.NoteUnread(e, wire.ErrorField(body, 'C'))
		if c.borrower != nil {
			c.Replies.TakeDropped(c.borrower.OnSkipped)
		} else {
			c.Replies.TakeDropped(c.onSkipped)
		}
		if outcome == sessionstate.Pass && c.borrower != nil && part == wire.Whole && (c.Reword || bytes.Contains(body, []byte(sessionstate.PoolerPrefix))) {
			g.Insert(off, c.borrower.OwnWords(body, e))
			c.swallowing = true
		}
	}
	switch outcome {
	case sessionstate.Pass:
	case sessionstate.Drop:
		c.swallowing = true
	case sessionstate.Failed:
		c.swallowing = true
		c.failed = c.borrower == nil || !c.borrower.OnCarryFailed(body)
	case sessionstate.Substitute:
		c.swallowing = true
		if c.borrower != nil {
			g.Insert(off, c.borrower.AnswerFor(nil, e))
		}
	case sessionstate.Desync:
		c.swallowing, c.desync = true, true
	}
}

// isStatus tells whether body is what a ReadyForQuery can say.
func isStatus(body []byte) bool {
	return len(body) == 1 && (body[0] == 'I' || body[0] == 'T' || body[0] == 'E')
}

func (c *Conn) noteParameter(g *wire.Gather, off int, body []byte, outcome sessionstate.Outcome) {
	name, rest, ok := wire.Cstring(body)
	if !ok {
		return
	}
	v, _, ok := wire.Cstring(rest)
	if !ok {
		return
	}
	value := string(v)
	if !c.setParameter(string(name), value) {
		c.swallowing, c.desync = true, true
		return
	}
	if outcome != sessionstate.Pass || c.borrower == nil {
		return
	}
	told, tell := c.borrower.OnParameter(string(name), value)
	c.swallowing = !tell || told != value
	if tell && told != value {
		g.Insert(off, wire.AppendParameterStatus(nil, string(name), told))
	}
}

// invent answers, at off, requests whose turn has come and that the server was not asked.
func (c *Conn) invent(g *wire.Gather, off int) {
	for {
		e, ok := c.Replies.NextInvented()
		if !ok {
			return
		}
		if c.borrower != nil {
			g.Insert(off, c.borrower.AnswerFor(nil, e))
		}
	}
}

// AnswerInvented hands the client the answers that need not wait for the server.
func (c *Conn) AnswerInvented() {
	for {
		e, ok := c.Replies.NextInvented()
		if !ok {
			return
		}
		c.borrower.FromServer(c.borrower.AnswerFor(nil, e))
	}
}

func (c *Conn) afterChunk() {
	switch {
	case c.desync:
		c.Retire(RetireDesync)
	case !c.Alive(): // FromServer may have ended the session, and that the conn
	case c.failed && !c.reclaim.active:
		c.Retire(RetireCarryFailed)
	case c.reclaim.active && c.Replies.Len() == 0 && c.Replies.NeedsSync():
		c.endOpenRequests() // an error in front of its last request has the server wait for a Sync
	case !c.ready || !c.Replies.Idle():
	case c.borrower != nil && c.audit != nil && c.audit.answered:
		c.ready = false
		report := c.audit.report
		c.audit = nil
		c.borrower.OnAudited(report)
	case c.borrower != nil:
		c.ready = false
		c.borrower.OnSettled()
	case c.reclaim.active:
		c.ready = false
		c.reclaimStep()
	}
}

// OnDrained implements loop.Handler: PostgreSQL has taken what was queued for it.
func (c *Conn) OnDrained() {
	if c.borrower != nil {
		c.borrower.OnServerDrained()
	} else if c.reclaim.active {
		c.reclaimStep()
	}
}

// OnHalfClose implements loop.Handler: PostgreSQL has ended the session while its client does not read. What it said before is still read.
func (c *Conn) OnHalfClose() {}

// OnHangup implements loop.Handler: the connection broke.
func (c *Conn) OnHangup() { c.lose() }

// lose ends a conn whose connection has come to its end.
func (c *Conn) lose() {
	c.Ending = c.stream.Ending()
	c.Retire(RetireLost)
}

// OnPanic closes the conn; its session hears of it.
func (c *Conn) OnPanic(any) { c.Retire(RetirePanic) }

// Retire ends the conn for reason; only the first counts. PostgreSQL is told by Close, which the keeper arranges.
func (c *Conn) Retire(reason RetireReason) {
	if c.retired != NotRetired {
		return
	}
	c.retired = reason
	c.socket = c.stream.Release()
	b := c.borrower
	c.borrower = nil
	c.reclaim.end()
	if b != nil {
		b.OnServerLost(reason)
	}
	c.keeper.Lost(reason)
}

// Explained tells whether PostgreSQL has told the client itself that it ends the session.
func (c *Conn) Explained() bool { return c.explained }

// Retired is the reason why the conn was closed, or NotRetired.
func (c *Conn) Retired() RetireReason { return c.retired }
