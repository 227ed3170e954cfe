package frontend

import (
	"bytes"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// maxNames bounds how many prepared statements one client may have.
const maxNames = 10_000

// largeTarget says what becomes of the effects of a statement that is scanned while it streams.
type largeTarget uint8

const (
	largeQuery   largeTarget = iota // it runs at once
	largeUnnamed                    // it runs when it is bound, and the server session is pinned until then anyway
)

// onStatement handles Parse, Bind, Describe and Close: statement names are the client's own, on servers statements
// are known by text.
func (s *Session) onStatement(g *wire.Gather, typ byte, off, n int, part wire.Part) bool {
	f := frame{g: g, typ: typ, off: off, end: off + n, missing: wire.FrameSize(g.In[off:]) - n}
	body := g.In[off+wire.HeaderSize : f.end]
	ok := true
	switch typ {
	case 'P':
		s.traffic.ClientParses++
		ok = s.onParse(f, body, part)
	case 'B':
		s.traffic.Binds++
		portal, rest, found := wire.Cstring(body)
		if ok = found; ok {
			f.before = body[:len(portal)+1]
			ok = s.onUse(f, sessionstate.KindBind, rest)
		}
	case 'D', 'C':
		ok = s.onDescribeOrClose(f, body)
	}
	switch {
	case ok:
	case part == wire.Whole:
		s.owe(sessionstate.KindBind, sessionstate.Forward) // whatever it is, PostgreSQL answers it with an error
		ok = true
	default:
		s.flush(g, off)
		s.endWith(EndProtocol, protocolViolation("name too long"))
	}
	return ok
}

func (s *Session) onParse(f frame, body []byte, part wire.Part) bool {
	name, rest, ok := wire.Cstring(body)
	if !ok {
		return false
	}
	switch {
	case part == wire.Whole && s.refusesText(f, rest):
	case len(name) == 0:
		return s.onParseUnnamed(f, rest, part)
	case s.hasName(string(name)):
		s.parseDuplicate(f, name, rest)
	case len(s.names) >= maxNames:
		s.provoke(f, sessionstate.KindParse, name, sessionstate.RefuseTooMany)
	case part == wire.Head:
		s.pins |= sessionstate.PinLargeName
		s.prepare(f, string(name), s.srv.statements.NewPrivate(), rest)
	default:
		s.prepare(f, string(name), s.srv.statements.Get(rest, s.lease.Conn.StdStrings), rest)
	}
	return true
}

// refusesText has a Parse fail whose text would leave state that is to be refused.
func (s *Session) refusesText(f frame, body []byte) bool {
	if s.limits.policy == nil {
		return false
	}
	refused := s.limits.policy.Refuses(s.crew.texts.Get(sessionstate.TextOf(body), s.lease.Conn.StdStrings))
	if refused != 0 {
		s.provoke(f, sessionstate.KindParse, []byte(refused.String()), sessionstate.RefuseState)
	}
	return refused != 0
}

// hasName tells whether the client has a statement of that name, by the protocol or by SQL.
func (s *Session) hasName(name string) bool {
	_, sql := s.sqlNames.Value(name)
	return sql && !s.doubtsNames() || s.names[name] != nil
}

// doubtsNames tells whether statements of SQL's PREPARE may have come or gone since PostgreSQL was asked.
func (s *Session) doubtsNames() bool {
	return s.doubts != nil && s.doubts.Kinds&sessionstate.PinSet(sessionstate.EffectPrepare) != 0
}

// prepare gives the client's name to st, and has the server session prepare it unless it holds it already.
func (s *Session) prepare(f frame, name string, st *sessionstate.Statement, rest []byte) {
	if s.names == nil {
		s.names = map[string]*sessionstate.Statement{}
	}
	for _, other := range s.names {
		s.aliases = s.aliases || other == st
	}
	c := s.lease.Conn
	s.guardText(f, st.Text)
	s.shareNames(f.g, f.off, st.Text)
	s.names[name] = st
	if s.doubtsNames() && !st.Private && !strings.HasPrefix(name, sessionstate.PoolerPrefix) { // such names are taken there
		s.prepareReal(name, st)
		return
	}
	s.prepareAnew(f, st)
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Name: name, Stmt: st})
	s.traffic.ServerParses++
	f.rename(st.Name, rest)
	s.evict(f)
}

// prepareReal has PostgreSQL prepare st under the client's own name, since it alone knows whether SQL's PREPARE has
// taken that meanwhile.
func (s *Session) prepareReal(name string, st *sessionstate.Statement) {
	c := s.lease.Conn
	c.NoteReal(name, st)
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Name: name, Stmt: st, Shared: true})
}

// prepareAnew makes room for a Parse of st, which PostgreSQL shall judge even if it holds the statement already: a
// table may have changed since, and in a failed transaction the answer is an error.
func (s *Session) prepareAnew(f frame, st *sessionstate.Statement) {
	c := s.lease.Conn
	if c.Prepared.Has(st) {
		s.closePrepared(f, f.off, st)
	}
	c.Prepared.Add(st, &s.srv.statements)
}

// parseDuplicate handles a Parse whose name is in use. PostgreSQL finds the errors of its text first.
func (s *Session) parseDuplicate(f frame, name, rest []byte) {
	if f.missing == 0 {
		st := s.srv.statements.Get(rest, s.lease.Conn.StdStrings)
		s.prepareAnew(f, st)
		s.srv.statements.Drop(st)
		s.lease.Conn.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Action: sessionstate.SwallowDone, Stmt: st})
		f.g.Insert(f.off, wire.AppendNamed(nil, 'P', nil, st.Name, rest, 0))
	}
	s.provoke(f, sessionstate.KindParse, name, sessionstate.RefuseDuplicate)
}

// evict closes the statement whose last use is longest ago, when the server session holds too many.
func (s *Session) evict(f frame) {
	c := s.lease.Conn
	old := c.Prepared.Oldest(s.srv.settings.Load().cfg.MaxPreparedStatements)
	if old == nil || f.missing > 0 || old.Private {
		return
	}
	s.closePrepared(f, f.end, old)
}

// closePrepared has the server session, at a position of the chunk, close a statement that it holds.
func (s *Session) closePrepared(f frame, at int, st *sessionstate.Statement) {
	c := s.lease.Conn
	out, err := (&pgproto3.Close{ObjectType: 'S', Name: st.Name}).Encode(nil)
	if err != nil {
		return
	}
	c.Prepared.Remove(st)
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Swallow, Stmt: st})
	f.g.Insert(at, out)
}

// onUse handles a message that uses a statement: Bind, and Describe of a statement. rest begins with its name.
func (s *Session) onUse(f frame, kind sessionstate.Kind, rest []byte) bool {
	name, after, ok := wire.Cstring(rest)
	if !ok {
		return false
	}
	c := s.lease.Conn
	if len(name) == 0 {
		s.useUnnamed(f, kind, after)
		return true
	}
	st := s.names[string(name)]
	if st == nil && bytes.HasPrefix(name, []byte(sessionstate.PoolerPrefix)) {
		s.provoke(f, kind, name, sessionstate.RefuseMissing) // it may be another client's
		return true
	}
	if st == nil || st.Private && !c.Prepared.Has(st) { // SQL PREPARE's, or PostgreSQL's error to give
		if _, sql := s.sqlNames.Value(string(name)); kind == sessionstate.KindBind && (sql || s.doubtsNames()) {
			s.noteRun(string(name), []byte("a statement of SQL's PREPARE"))
		}
		c.Replies.Push(sessionstate.Entry{Kind: kind})
		return true
	}
	if c.RealNames[string(name)] == st && !c.Prepared.Has(st) {
		s.noteUse(f, kind, st.Text, sessionstate.TextOf(st.Body), after)
		c.RecordReplay(nil, sessionstate.Entry{})
		c.Replies.Push(sessionstate.Entry{Kind: kind, Name: namesEnded(st.Text)})
		return true
	}
	if stale := c.Prepared.Stale(st); !stale && c.Prepared.Has(st) {
		c.BeginReplay(st)
	} else {
		if stale {
			s.closePrepared(f, f.off, st)
		}
		c.RecordReplay(nil, sessionstate.Entry{})
		c.Prepared.Add(st, &s.srv.statements)
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Action: sessionstate.SwallowDone, Stmt: st})
		f.g.Insert(f.off, wire.AppendNamed(nil, 'P', nil, st.Name, st.Body, 0))
		s.noteAgain(f)
	}
	s.noteUse(f, kind, st.Text, sessionstate.TextOf(st.Body), after)
	e := sessionstate.Entry{Kind: kind, Name: namesEnded(st.Text), Stmt: st}
	if s.aliases {
		e.Own = string(name)
	}
	c.Replies.Push(e)
	c.RecordReplay(f.rename(st.Name, after), e)
	s.evict(f)
	return true
}

// noteAgain takes note of a statement that is prepared once more, on another server session. PostgreSQL is asked to tell at
// once when it has, so that it is known how long that took: of several in a row, the first. What it has answered before
// may thus reach the client before its own Flush or Sync.
func (s *Session) noteAgain(f frame) {
	if u := &s.lease.Conn.Usage; u.Prepare == 0 {
		f.g.Insert(f.off, wire.AppendHeader(nil, 'H', 0))
		u.Prepare = s.req.Loop.Now()
	}
	s.srv.counters.prepares.Add(1)
	s.traffic.ServerParses++
}

// noteUse takes note of a statement that is about to run. rest is the Bind message behind the statement's name, with
// the values: a parameter may be named there.
func (s *Session) noteUse(f frame, kind sessionstate.Kind, t *sessionstate.Text, text, rest []byte) {
	if kind != sessionstate.KindBind {
		return
	}
	s.noteStatement(text)
	s.guardText(f, t)
	s.shareNames(f.g, f.off, t)
	s.note(t, text)
	if s.doubts != nil && t.Effects&(sessionstate.EffectSettings|sessionstate.EffectUnknown) != 0 {
		sessionstate.CustomNames(rest, func(name string) { s.doubts.AddNames([]string{name}) })
	}
}

// namesEnded marks a request that may end the client's statements.
func namesEnded(t *sessionstate.Text) string {
	switch {
	case t.Effects&sessionstate.EffectDiscard != 0:
		return sessionstate.AllNames
	case t.Effects&sessionstate.EffectDeallocate == 0:
		return ""
	case t.Details != nil && t.Details.Statements == 1 && len(t.Details.Deallocates) == 1:
		return t.Details.Deallocates[0]
	}
	return sessionstate.AllNames
}

func (s *Session) onDescribeOrClose(f frame, body []byte) bool {
	if len(body) < 2 || body[len(body)-1] != 0 || bytes.IndexByte(body[1:], 0) != len(body)-2 {
		return false
	}
	kind := sessionstate.KindDescribe
	if f.typ == 'C' {
		kind = sessionstate.KindClose
	}
	f.before = body[:1]
	switch {
	case body[0] != 'S':
		s.owe(kind, sessionstate.Forward)
		s.lease.Conn.RecordReplay(f.g.In[f.off:f.end], sessionstate.Entry{Kind: kind})
		return true
	case kind == sessionstate.KindDescribe:
		return s.onUse(f, kind, body[1:])
	}
	s.onClose(f, string(body[1:len(body)-1]))
	return true
}

// onClose ends the client's name for a statement. On the server session it stays prepared, for whoever uses the same
// text next.
func (s *Session) onClose(f frame, name string) {
	c := s.lease.Conn
	var e sessionstate.Entry
	if name == "" {
		e.Mark = s.closeUnnamed()
	}
	if _, sql := s.sqlNames.Value(name); sql {
		s.doubt([]byte("Close of " + name)).Kinds |= sessionstate.PinSet(sessionstate.EffectPrepare)
	}
	st := s.names[name]
	if st == nil {
		e.Kind = sessionstate.KindClose
		c.Replies.Push(e)
		if strings.HasPrefix(name, sessionstate.PoolerPrefix) {
			f.rename(sessionstate.MissingStatement, nil) // it may be another client's
		}
		return
	}
	delete(s.names, name)
	var ends []byte
	if c.RealNames[name] != nil {
		ends = s.closeReal(nil, name)
	}
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Invent, Name: name, Stmt: st})
	f.replace(ends)
}

// provoke has PostgreSQL raise an error in place of the frame, so that its transaction fails and what follows is
// skipped, and the client is told refusal instead.
func (s *Session) provoke(f frame, kind sessionstate.Kind, name []byte, refusal sessionstate.Refusal) {
	s.disown(f.g, f.off)
	s.lease.Conn.Replies.Push(sessionstate.Entry{Kind: kind, Action: sessionstate.Replace, Name: string(name), Refuse: refusal})
	out, err := (&pgproto3.Describe{ObjectType: 'S', Name: sessionstate.MissingStatement}).Encode(nil)
	if err == nil {
		f.replace(out)
		s.dropping = f.missing > 0
	}
}

// AnswerFor implements backend.Borrower.
func (s *Session) AnswerFor(dst []byte, e sessionstate.Entry) []byte {
	switch {
	case e.Action == sessionstate.Replace:
		r := refusals[e.Refuse](e.Name)
		return append(dst, toErrorResponse("ERROR", r)...)
	case e.Kind == sessionstate.KindClose:
		s.srv.statements.Drop(e.Stmt)
		return wire.AppendHeader(dst, '3', 0)
	}
	return wire.AppendHeader(dst, '1', 0)
}

// refusals are PostgreSQL's own words (prepare.c, postgres.c), but for RefuseTooMany, which it does not know.
var refusals = [...]func(name string) *Refusal{
	sessionstate.RefuseDuplicate: func(name string) *Refusal {
		return &Refusal{Code: codeDuplicateStatement, Message: `prepared statement "` + name + `" already exists`}
	},
	sessionstate.RefuseTooMany: func(string) *Refusal {
		return &Refusal{
			Code: codeLimitExceeded, Message: "too many prepared statements in this session",
			Hint: "The pooler keeps 10000 for one client. Close those that are not used any more.",
		}
	},
	sessionstate.RefuseState: refusedState,
	sessionstate.RefuseMissing: func(name string) *Refusal {
		if name == "" {
			return &Refusal{Code: codeNoSuchStatement, Message: "unnamed prepared statement does not exist"}
		}
		return &Refusal{Code: codeNoSuchStatement, Message: `prepared statement "` + name + `" does not exist`}
	},
}

// OnSkipped implements backend.Borrower: what was noted when e was sent did not come about.
func (s *Session) OnSkipped(e sessionstate.Entry) {
	c := s.lease.Conn
	if e.Action == sessionstate.Ask {
		return
	}
	switch e.Kind {
	case sessionstate.KindParse:
		if e.Action == sessionstate.SwallowDone {
			c.Usage.Prepare = 0
		}
		s.undoParse(e)
	case sessionstate.KindClose:
		if e.Shared {
			c.NoteReal(e.Name, e.Stmt)
		} else if e.Mark != 0 {
			s.undoUnnamed(e)
		} else if e.Action == sessionstate.Invent {
			s.names[e.Name] = e.Stmt
		} else if e.Stmt != nil {
			c.Prepared.Add(e.Stmt, &s.srv.statements)
		}
	case sessionstate.KindQuery:
		s.undoUnnamed(e)
	case sessionstate.KindCall, sessionstate.KindSync, sessionstate.KindBind,
		sessionstate.KindDescribe, sessionstate.KindExecute, sessionstate.KindCopyEnd:
	}
}

func (s *Session) undoParse(e sessionstate.Entry) {
	c := s.lease.Conn
	switch {
	case e.Action == sessionstate.Replace:
	case e.Shared:
		delete(c.RealNames, e.Name)
		if e.Stmt != nil { // PostgreSQL has judged the client's own Parse under its own name
			s.forgetName(e.Name, e.Stmt)
		}
	case e.Stmt == nil:
		s.undoUnnamed(e)
	default:
		if e.Action != sessionstate.Invent {
			c.Prepared.Remove(e.Stmt)
		}
		if e.Name != "" && s.names[e.Name] == e.Stmt {
			delete(s.names, e.Name)
			s.srv.statements.Drop(e.Stmt)
		}
	}
}

// forgetPrepared notes that DEALLOCATE ALL or DISCARD ALL has ended every statement of the server session, and with
// them the client's own.
func (s *Session) forgetPrepared() {
	c := s.lease.Conn
	var behind []sessionstate.Entry // parsed behind it in the same sequence
	c.Replies.EachParse(func(e sessionstate.Entry) {
		s.srv.statements.Hold(e.Stmt)
		behind = append(behind, e)
	})
	c.Prepared.Clear()
	c.RealNames = nil
	s.forgetStatements()
	s.pins &^= sessionstate.PinLargeName
	for _, e := range behind {
		s.remember(e)
	}
}

// remember notes what the Parse e, which is under way and held once, will have prepared.
func (s *Session) remember(e sessionstate.Entry) {
	c := s.lease.Conn
	switch {
	case e.Action == sessionstate.Replace:
	case e.Shared:
		c.NoteReal(e.Name, e.Stmt)
	default:
		c.Prepared.Add(e.Stmt, &s.srv.statements)
	}
	if e.Name != "" && e.Action == sessionstate.Forward {
		s.names[e.Name] = e.Stmt // with the one hold
		return
	}
	s.srv.statements.Drop(e.Stmt)
}

// forgetName ends the client's name for st.
func (s *Session) forgetName(name string, st *sessionstate.Statement) {
	if st != nil && s.names[name] == st {
		delete(s.names, name)
		s.srv.statements.Drop(st)
	}
}

func (s *Session) forgetStatements() {
	for name, st := range s.names {
		delete(s.names, name)
		s.srv.statements.Drop(st)
	}
}

// unknownText stands for a text that cannot be known.
var unknownText = sessionstate.Text{Effects: sessionstate.EffectUnknown}

// largeScan scans a statement while it streams.
type largeScan struct {
	sessionstate.Scanner
	target largeTarget
}

// beginLarge begins to scan a statement that comes in parts.
func (s *Session) beginLarge(text []byte, target largeTarget) {
	s.large = &largeScan{target: target}
	s.large.Reset(s.lease.Conn.StdStrings)
	s.large.Write(sessionstate.TextOf(text))
}

func (s *Session) scanLarge(part []byte, last bool) {
	s.large.Write(sessionstate.TextOf(part))
	if !last {
		return
	}
	effects, target := s.large.Effects(), s.large.target
	s.large = nil
	if target == largeUnnamed {
		if s.unnamed.mark == s.unnamed.large { // else it has been skipped meanwhile
			s.unnamed.text = &sessionstate.Text{Effects: effects}
		}
		return
	}
	s.note(&sessionstate.Text{Effects: effects}, []byte("a statement too large to keep"))
}
