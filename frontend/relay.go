package frontend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"pooler/internal/loop"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// refusing says how much of what the client has already sent is skipped after an error of the pooler's own, as
// PostgreSQL would skip it.
type refusing uint8

const (
	refuseNothing refusing = iota
	refuseNext             // the request at hand: a Query is answered by ReadyForQuery, anything else goes on to its Sync
	refuseToSync           // everything up to a Sync
	refuseToTail           // the Query that is being streamed
)

// maxOwed is how many answers may be owed to one client before it is not read from. It is far more than PostgreSQL
// may be keeping back for its next packet, 8 KiB of ParseComplete.
const maxOwed = 8192

// OnReadable relays one chunk from the client.
func (s *Session) OnReadable() {
	if s.crew.suspended {
		s.client.Pause()
		return
	}
	chunk := s.req.Loop.Chunk()
	kept := copy(chunk, s.partial)
	n, err := s.client.Read(chunk[kept:])
	if errors.Is(err, loop.ErrWouldBlock) {
		return
	}
	if err != nil {
		s.hungUp()
		return
	}
	s.partial = nil
	s.traffic.Received += uint64(n)
	s.relay(chunk[:kept+n])
}

// terminate is the message by which a client says goodbye.
var terminate = []byte{'X', 0, 0, 0, 4}

// hungUp ends the session of a client that has closed its connection. One that has said goodbye behind its last
// statement, or while PostgreSQL was asked about its session, gets its turn: what it sent is carried out.
func (s *Session) hungUp() {
	if s.graceful && s.isParting() || (s.asking || s.fenced()) && bytes.HasSuffix(s.pending, terminate) {
		s.client.Pause()
		return
	}
	s.end(EndClientGone)
}

// OnDrained implements loop.Handler: the client has read what was queued for it.
func (s *Session) OnDrained() {
	s.noteUnread()
	if s.lease != nil {
		s.lease.Conn.Resume()
	}
	if len(s.pending) > 0 {
		s.proceed()
	}
}

// OnHalfClose implements loop.Handler: the client has sent its last byte while it was not read from. If it waits for
// a server session it has given up; if PostgreSQL is slow to take what it sent, that is finished first.
func (s *Session) OnHalfClose() {
	if s.crew.suspended && s.unread() {
		return // what it said last is heard, and this told again, after RESUME
	}
	if s.phase != PhaseActive {
		s.end(EndClientGone)
		return
	}
	s.awaitTaken(s.lease.Conn.Queued())
}

// stallLimit is how long PostgreSQL may take nothing of what a client that has hung up sent before. Longer means that
// it waits, for a lock perhaps, and the client is treated as one whose request runs when it disappears.
const stallLimit = 2 * time.Second

func (s *Session) awaitTaken(queued int) {
	time.AfterFunc(stallLimit, func() {
		s.req.Loop.Post(func() {
			switch {
			case s.phase != PhaseActive:
			case s.lease.Conn.Queued() == queued:
				s.end(EndClientGone)
			default:
				s.awaitTaken(s.lease.Conn.Queued())
			}
		})
	})
}

// OnHangup implements loop.Handler.
func (s *Session) OnHangup() { s.end(EndClientGone) }

// OnServerDrained implements backend.Borrower: PostgreSQL has taken what was queued for it.
func (s *Session) OnServerDrained() {
	if len(s.pending) > 0 {
		s.proceed()
		return
	}
	s.client.Resume()
}

// FromServer implements backend.Borrower.
func (s *Session) FromServer(p []byte) {
	s.traffic.Sent += uint64(len(p))
	s.client.Write(p)
	if s.client.Queued() > 0 {
		s.noteUnread()
		if s.lease != nil {
			s.lease.Conn.Pause() // until OnDrained: a slow reader holds back its server, not our memory
		}
	}
	if s.choked && s.lease != nil && s.lease.Conn.Replies.Len() < maxOwed/2 {
		s.choked = false
		s.req.Loop.Post(s.goOn) // not from within the server's chunk
	}
}

// goOn sends what had to wait until fewer answers are owed.
func (s *Session) goOn() {
	if s.phase != PhaseClosed && len(s.pending) > 0 {
		s.proceed()
	}
}

// relay walks b, which begins where the last call ended, and passes it on. What cannot go on yet is kept.
func (s *Session) relay(b []byte) {
	s.hear()
	switch {
	case s.isParting():
		return // nothing counts behind the last message
	case s.mustWait():
		s.keep(b)
		return
	}
	g := wire.Gather{In: b, Out: s.req.Loop.Out()}
	off, blocked := 0, false
	for off < len(b) && !blocked {
		before := s.walker
		typ, n, part := s.walker.Next(b[off:])
		if part == wire.None {
			break
		}
		switch part {
		case wire.Bad:
			s.flush(&g, off)
			s.part(func() { s.endWith(EndProtocol, badHeader(typ)) })
			return
		case wire.Whole, wire.Head:
			next := s.admit(b[off:off+n], part)
			if s.phase == PhaseClosed {
				return
			}
			if next == admitWait {
				s.walker, blocked = before, true
				continue
			}
			if next == admitAgain {
				s.walker = before
				continue
			}
			s.dropping = next == admitDrop
			if !s.dropping && !s.handle(&g, typ, off, n, part) {
				return // the session has ended, or ends when all is answered
			}
			s.undoSkipped()
		case wire.Body, wire.Tail, wire.None:
			if s.large != nil {
				s.scanLarge(b[off:off+n], part == wire.Tail)
			}
		}
		if s.dropping {
			g.Skip(off, off+n)
		}
		off += n
		s.halfSent = !s.dropping && (part == wire.Head || part == wire.Body)
		if s.dropping && (part == wire.Whole || part == wire.Tail) {
			s.dropping = false
			s.endRefusal(typ)
		}
	}
	s.flush(&g, off)
	switch {
	case s.phase == PhaseClosed || off == len(b):
	case blocked:
		s.keep(b[off:])
	default:
		s.partial = append([]byte(nil), b[off:]...)
	}
}

// badHeader says what PostgreSQL says of a frame that cannot be one; it looks at the type before the length.
func badHeader(typ byte) *Refusal {
	if strings.IndexByte("QPBDECSHFXdcf", typ) < 0 {
		return protocolViolation("invalid frontend message type %d", typ)
	}
	return protocolViolation("invalid message length")
}

// undoSkipped takes back what was noted for the frame at hand, if the server is skipping to the next Sync.
func (s *Session) undoSkipped() {
	if s.lease != nil && s.lease.Conn.Replies.HasDropped() {
		s.lease.Conn.Replies.TakeDropped(s.OnSkipped)
	}
}

// mustWait tells whether what the client sends now has to wait behind what it sent before.
func (s *Session) mustWait() bool {
	return s.phase == PhaseWaiting || !s.greeted || len(s.pending) > 0 || s.asking || s.fenced()
}

// fenced tells whether what the client sends must wait until PostgreSQL has confirmed a cancel, which could hit it
// otherwise: also behind a request that still runs, since PostgreSQL may be done with that at any moment.
func (s *Session) fenced() bool {
	return s.lease != nil && s.lease.Conn.Cancelling()
}

// keep keeps b until the session can go on, and stops reading when that is much.
func (s *Session) keep(b []byte) {
	if s.pending == nil {
		s.pending = s.req.Loop.Small()
	}
	s.pending = append(s.pending, b...)
	if len(s.pending) >= maxPending {
		s.client.Pause()
	}
}

// flush sends what has been gathered of a chunk up to its position end.
func (s *Session) flush(g *wire.Gather, end int) {
	if s.lease != nil && s.phase == PhaseActive {
		c := s.lease.Conn
		c.Write(g.Take(end))
		if c.Queued() > 0 {
			s.client.Pause() // until OnServerDrained
		}
		c.AnswerInvented()
	}
	s.req.Loop.KeepOut(g.Out)
}

// admission says what becomes of a frame of the client's.
type admission uint8

const (
	admitForward admission = iota
	admitDrop              // answered here, or ignored as PostgreSQL would
	admitWait              // there is no lease yet
	admitAgain             // the state has changed: judge it again
)

// admit decides about a frame, of which these bytes are at hand, before it is looked into.
func (s *Session) admit(frame []byte, part wire.Part) admission {
	typ := frame[0]
	switch {
	case typ == 'X':
		return admitForward
	case s.lease == nil && s.client.Queued() > 0:
		return admitWait // until OnDrained: it does not read what it is answered here
	case s.refusing != refuseNothing:
		return s.admitRefused(typ)
	case s.asking || s.fenced():
		return admitWait
	case s.lease != nil && s.lease.Conn.Replies.Len() >= maxOwed:
		s.choked = true
		return admitWait
	case s.lease != nil && ((typ == 'P' || typ == 'B' || typ == 'D' || typ == 'C') && s.lease.Conn.Replies.NamesOpen() || s.awaitsUnnamed(frame)):
		s.choked = true // an error may come that no ReadyForQuery follows
		return admitWait
	case s.lease != nil && s.foreign && part == wire.Whole && s.seesForeign(frame):
		s.changeLease()
		return admitAgain
	case s.lease != nil:
		return admitForward
	}
	switch typ {
	case 'S':
		if len(frame) > wire.HeaderSize {
			break // PostgreSQL has something to say of it
		}
		s.client.Write(wire.AppendReady(nil, 'I'))
		return admitDrop
	case 'H', 'd', 'c', 'f':
		return admitDrop // nothing to flush; the rest of a COPY that has failed
	case 'Q', 'P', 'B', 'D', 'C', 'E', 'F':
	default:
		return admitForward // for handle to refuse
	}
	switch {
	case s.acquire():
		return admitAgain
	case s.phase == PhaseWaiting && typ == 'P' && part == wire.Whole && s.parseKnown(frame):
		return admitDrop
	case s.phase == PhaseWaiting:
		return admitWait
	case s.phase == PhaseClosed:
		return admitDrop
	}
	return admitAgain
}

func (s *Session) admitRefused(typ byte) admission {
	if s.refusing == refuseNext {
		switch typ {
		case 'Q', 'F':
			s.refusing = refuseToTail
		case 'H', 'd', 'c', 'f', 'S':
		default:
			s.refusing = refuseToSync
		}
	}
	return admitDrop
}

// endRefusal is called at the end of each frame that was dropped.
func (s *Session) endRefusal(typ byte) {
	if s.refusing == refuseToTail || s.refusing != refuseNothing && typ == 'S' {
		s.refusing = refuseNothing
		s.client.Write(wire.AppendReady(nil, 'I'))
	}
}

// handle looks into the frame at off, of which n bytes are at hand, and notes what it owes and does. It reports false
// when the session has ended.
func (s *Session) handle(g *wire.Gather, typ byte, off, n int, part wire.Part) bool {
	if typ == 'X' {
		s.flush(g, off)
		s.graceful = true
		s.part(func() { s.end(EndTerminate) })
		return false
	}
	if s.carry != carryNothing && s.mayCarry() { // with a lease only
		g.Insert(off, s.takeCarry(nil))
	}
	if s.hook == hookGet {
		g.Insert(off, s.takeHooks(nil))
	}
	if s.lease != nil {
		if s.lease.Conn.Usage.Query == 0 && begins[typ] {
			s.beginQuery()
		}
		s.disownUnnamed(g, typ, off, n, part)
		if strings.IndexByte("BDESH", typ) < 0 || part != wire.Whole {
			s.lease.Conn.RecordReplay(nil, sessionstate.Entry{}) // not the kind of sequence that can be sent again
		}
	}
	s.flushed = typ == 'H'
	switch typ {
	case 'Q':
		s.onQuery(g, off, n, part)
	case 'P', 'B', 'D', 'C':
		return s.onStatement(g, typ, off, n, part)
	case 'E':
		s.owe(sessionstate.KindExecute, sessionstate.Forward)
		s.lease.Conn.RecordReplay(g.In[off:off+n], sessionstate.Entry{Kind: sessionstate.KindExecute})
	case 'S':
		s.owe(sessionstate.KindSync, sessionstate.Forward)
		s.lease.Conn.RecordReplay(g.In[off:off+n], sessionstate.Entry{Kind: sessionstate.KindSync})
	case 'H':
		if n > wire.HeaderSize {
			s.owe(sessionstate.KindBind, sessionstate.Forward) // it has no body: PostgreSQL answers with an error and skips to a Sync
		}
	case 'd':
	case 'c', 'f':
		s.owe(sessionstate.KindCopyEnd, sessionstate.Forward)
	case 'F':
		s.onFunctionCall(g.In[off+wire.HeaderSize : off+n])
	default:
		s.flush(g, off)
		s.part(func() { s.endWith(EndProtocol, protocolViolation("invalid frontend message type %d", typ)) })
		return false
	}
	return true
}

// begins is the messages that PostgreSQL owes an answer, and with which a request may begin: not what is left of a COPY
// that has failed, nor a Flush.
var begins = func() (types [256]bool) {
	for _, t := range []byte("QPBDCESF") {
		types[t] = true
	}
	return types
}()

// part calls last, which ends the session: when the client has the answers to all that it sent before, or at once if
// they cannot come without more from it. A COPY among them is ended; otherwise PostgreSQL ignores CopyFail.
func (s *Session) part(last func()) {
	if s.lease == nil || s.lease.Conn.Replies.Idle() || s.lease.Conn.Replies.NeedsSync() {
		last()
		return
	}
	s.makeSeldom().parting = last
	s.owe(sessionstate.KindCopyEnd, sessionstate.Forward)
	s.lease.Conn.Write([]byte("f\x00\x00\x00\x05\x00"))
}

func (s *Session) owe(k sessionstate.Kind, a sessionstate.Action) {
	s.lease.Conn.Replies.Push(sessionstate.Entry{Kind: k, Action: a})
}

func (s *Session) onQuery(g *wire.Gather, off, n int, part wire.Part) {
	c := s.lease.Conn
	body := g.In[off+wire.HeaderSize : off+n]
	t := &streamedText
	if part == wire.Whole {
		t = s.crew.texts.Get(sessionstate.TextOf(body), c.StdStrings)
		if refused := s.limits.policy.Refuses(t); refused != 0 {
			e := sessionstate.Entry{
				Kind: sessionstate.KindQuery, Action: sessionstate.Replace, Name: refused.String(), Refuse: sessionstate.RefuseState,
			}
			s.queryDropsUnnamed(&e, body, part)
			c.Replies.Push(e)
			g.Insert(off, wire.AppendQuery(nil, "EXECUTE "+sessionstate.MissingStatement))
			g.Skip(off, off+n)
			return
		}
		s.shareNames(g, off, t)
		if t.Effects&sessionstate.EffectSequenceRead != 0 {
			s.guardSequences(g, off)
		}
	}
	e := sessionstate.Entry{Kind: sessionstate.KindQuery, Name: namesEnded(t)}
	s.queryDropsUnnamed(&e, body, part)
	s.noteStatement(sessionstate.TextOf(body))
	c.Replies.Push(e)
	if part == wire.Head {
		s.beginLarge(body, largeQuery)
		return
	}
	s.note(t, sessionstate.TextOf(body))
}

// streamedText stands for a text that is scanned as it passes.
var streamedText sessionstate.Text

// harmlessCalls are the functions that libpq calls by the fast path: large objects, whose descriptors live in a
// transaction (lo_open … lo_truncate64, pg_proc.dat).
var harmlessCalls = map[uint32]bool{
	715: true, 764: true, 765: true, 767: true, 952: true, 953: true, 954: true, 955: true, 956: true, 957: true, 958: true,
	964: true, 1004: true, 3170: true, 3171: true, 3172: true,
}

func (s *Session) onFunctionCall(body []byte) {
	s.owe(sessionstate.KindCall, sessionstate.Forward)
	if len(body) < 4 || !harmlessCalls[binary.BigEndian.Uint32(body)] {
		s.note(&sessionstate.Text{Effects: sessionstate.EffectUnknown}, []byte("a fast-path function call"))
	}
}
