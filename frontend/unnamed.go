package frontend

import (
	"encoding/binary"

	"pooler/backend"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// A server session has one unnamed statement, and it is that of the client that had it last. PostgreSQL replaces it at
// a Parse without a name and drops it at a Query and at a Close without a name; nothing else touches it. But a request
// that is skipped changes nothing, and neither does one that is refused before it is looked into. So in front of the
// first message of a lease another client's statement is closed, unless that message is certain to drop it: whatever
// becomes of the rest, the server session has this client's, or none. Conn.Unnamed is nil only if it has none.

// unnamedStatement is the client's unnamed statement, as it is when all that was sent has been done.
type unnamedStatement struct {
	unnamedVersion
	on     backend.ConnID // the server session that was last to get it, or to drop it
	mark   uint32         // of the newest request that changes it, or what the server session has
	doubt  uint32         // the newest of those that may come to nothing; 0: none
	large  uint32         // the one that is being streamed
	before *unnamedBefore // nil: nothing is kept
}

// unnamedVersion is one statement, kept so that it can be parsed again on another server session.
type unnamedVersion struct {
	body  []byte // of its Parse, behind the name
	text  *sessionstate.Text
	state unnamedState
}

// unnamedBefore is what the client has if the request with this mark, and all behind it, come to nothing.
type unnamedBefore struct {
	unnamedVersion
	owner any    // Conn.Unnamed
	after uint32 // the request before that one
	mark  uint32
	syncs uint32 // Replies.Syncs
}

func (b *unnamedBefore) is(mark uint32) bool { return b != nil && b.mark == mark }

type unnamedState uint8

const (
	unnamedNone   unnamedState = iota // the client has none
	unnamedKept                       // body has it
	unnamedServer                     // too large to keep, or uncertain: only the server session has it, which is pinned
)

// onParseUnnamed reports false for a Parse that PostgreSQL refuses for its form, before it drops anything.
func (s *Session) onParseUnnamed(f frame, rest []byte, part wire.Part) bool {
	c, u := s.lease.Conn, &s.unnamed
	whole, plain := parseForm(rest)
	plain = plain && part == wire.Whole
	t := &unknownText
	if part == wire.Whole && whole {
		t = s.crew.texts.Get(sessionstate.TextOf(rest), c.StdStrings)
	}
	if !plain || t.Effects != 0 { // what goes in front may fail, too
		s.disown(f.g, f.off)
	}
	if part == wire.Whole {
		if !whole {
			return false
		}
		s.guardText(f, t)
		s.shareNames(f.g, f.off, t)
	}
	mark := s.changeUnnamed(plain)
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Mark: mark, Loose: !plain})
	c.Unnamed = s
	if part == wire.Head {
		u.large = mark
		s.setUnnamed(unnamedVersion{text: t, state: unnamedServer})
		s.beginLarge(rest, largeUnnamed)
		return true
	}
	s.setUnnamed(unnamedVersion{body: append(u.body[:0], rest...), text: t, state: unnamedKept})
	return true
}

// useUnnamed sees to it that the server session's unnamed statement is this client's.
func (s *Session) useUnnamed(f frame, kind sessionstate.Kind, after []byte) {
	c, u := s.lease.Conn, &s.unnamed
	c.RecordReplay(nil, sessionstate.Entry{})
	if u.state == unnamedNone {
		s.provoke(f, kind, nil, sessionstate.RefuseMissing)
		return
	}
	if c.Unnamed != s && u.state == unnamedKept {
		u.mark++
		u.on, u.doubt = c.ID, u.mark
		c.Unnamed = s
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Action: sessionstate.SwallowDone, Mark: u.mark})
		f.g.Insert(f.off, wire.AppendNamed(nil, 'P', nil, "", u.body, 0))
		s.noteAgain(f)
	}
	s.noteUse(f, kind, u.text, sessionstate.TextOf(u.body), after)
	c.Replies.Push(sessionstate.Entry{Kind: kind, Name: namesEnded(u.text)})
}

// awaitsUnnamed tells whether the frame uses the unnamed statement and it is not known yet which that is: a sequence
// before it, in flight, may have failed ahead of a request that changes it.
func (s *Session) awaitsUnnamed(frame []byte) bool {
	u := &s.unnamed
	if u.doubt == 0 || !usesUnnamed(frame) {
		return false
	}
	owed, alone := s.lease.Conn.Replies.Undecided(u.doubt)
	if !owed {
		u.doubt = 0
	}
	return owed && alone
}

func usesUnnamed(frame []byte) bool {
	body := frame[wire.HeaderSize:]
	switch frame[0] {
	case 'B':
		_, name, _ := wire.Cstring(body)
		return len(name) > 0 && name[0] == 0
	case 'D':
		return len(body) > 1 && body[0] == 'S' && body[1] == 0
	}
	return false
}

// queryDropsUnnamed notes in e that the Query with this body drops the unnamed statement.
func (s *Session) queryDropsUnnamed(e *sessionstate.Entry, body []byte, part wire.Part) {
	c, u := s.lease.Conn, &s.unnamed
	nothing := u.state == unnamedNone && u.before == nil
	if nothing && c.Unnamed == nil {
		return
	}
	whole, plain := queryForm(body)
	plain = plain && part == wire.Whole
	if part == wire.Whole && !whole || nothing && (!plain || c.Replies.MaySkip()) {
		return
	}
	e.Mark, e.Loose = s.changeUnnamed(plain), !plain
	s.setUnnamed(unnamedVersion{body: u.body[:0]})
	c.Unnamed = nil
}

// closeUnnamed notes that a Close drops the unnamed statement, and returns its mark.
func (s *Session) closeUnnamed() uint32 {
	u := &s.unnamed
	if u.state == unnamedNone && u.before == nil {
		return 0
	}
	mark := s.changeUnnamed(true)
	s.setUnnamed(unnamedVersion{body: u.body[:0]})
	s.lease.Conn.Unnamed = nil
	return mark
}

// changeUnnamed returns the mark of a request that is about to change the unnamed statement, and keeps what is there
// now if it may come to nothing. One that is plain does so only if it is skipped.
func (s *Session) changeUnnamed(plain bool) uint32 {
	c, u := s.lease.Conn, &s.unnamed
	u.mark++
	u.on = c.ID
	if plain && !c.Replies.MaySkip() {
		u.doubt, u.before = 0, nil
		return u.mark
	}
	u.doubt = u.mark
	syncs := c.Replies.Syncs()
	if u.before != nil && (u.before.syncs == syncs || c.Replies.Owes(u.before.mark)) {
		return u.mark // which becomes nothing only together with this one, or before it
	}
	u.before = &unnamedBefore{unnamedVersion: u.unnamedVersion, owner: c.Unnamed, after: u.mark - 1, mark: u.mark, syncs: syncs}
	u.body = nil
	return u.mark
}

// setUnnamed is the only place that changes which statement it is.
func (s *Session) setUnnamed(v unnamedVersion) {
	s.unnamed.unnamedVersion = v
	if v.state == unnamedServer {
		s.pins |= sessionstate.PinUnnamed
	} else {
		s.pins &^= sessionstate.PinUnnamed
	}
}

// undoUnnamed takes back what was noted when e was sent: it was skipped, or it failed. Of several requests the youngest
// comes first.
func (s *Session) undoUnnamed(e sessionstate.Entry) {
	c, u := s.lease.Conn, &s.unnamed
	newest := e.Mark == u.mark
	switch {
	case e.Mark == 0:
	case e.Action == sessionstate.SwallowDone: // the client's own is as it was
		if newest {
			u.mark--
			c.Unnamed = nil
		} else if u.before != nil && u.before.after == e.Mark {
			u.before.owner = nil
		}
	case e.Failed: // a Parse, which has dropped what was there
		if newest {
			s.setUnnamed(unnamedVersion{body: u.body[:0]})
			u.before, c.Unnamed = nil, nil
		} else if u.before != nil && u.before.after == e.Mark {
			u.before.unnamedVersion, u.before.owner = unnamedVersion{}, nil
		}
	case newest && u.before.is(e.Mark):
		u.mark--
		s.setUnnamed(u.before.unnamedVersion)
		c.Unnamed, u.before = u.before.owner, nil
	case newest: // PostgreSQL knows what is left
		u.mark--
		s.setUnnamed(unnamedVersion{text: &unknownText, state: unnamedServer})
		c.Unnamed = s
	case u.before.is(e.Mark):
		if u.before.mark = c.Replies.MarkBehind(e.Mark); u.before.mark == 0 { // that one has met what this one would have replaced
			u.before = nil
		}
	}
}

// disownUnnamed is called in front of each message. At the first of a lease it drops an unnamed statement that another
// client has left on the server session. A Parse may drop it by itself, see onParseUnnamed.
func (s *Session) disownUnnamed(g *wire.Gather, typ byte, off, n int, part wire.Part) {
	c, u := s.lease.Conn, &s.unnamed
	if c.Replies.Idle() { // all that was sent is decided
		u.mark, u.doubt, u.before = 0, 0, nil
	}
	body := g.In[off+wire.HeaderSize : off+n]
	switch {
	case c.Unnamed == nil:
		return
	case c.Unnamed == s && u.on != c.ID:
		c.Unnamed = c // it is one that the client has replaced on another server session
	}
	switch typ {
	case 'P':
		if len(body) > 0 && body[0] == 0 {
			return
		}
	case 'Q':
		if _, plain := queryForm(body); plain && part == wire.Whole {
			return
		}
	}
	s.disown(g, off)
}

// disown closes, in front of the message at off, an unnamed statement that is not the client's.
func (s *Session) disown(g *wire.Gather, off int) {
	c := s.lease.Conn
	if c.Unnamed == nil || c.Unnamed == s {
		return
	}
	c.Unnamed = nil
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Swallow})
	g.Insert(off, wire.AppendNamed(nil, 'C', []byte{'S'}, "", nil, 0))
}

// parseForm tells whether a Parse without a name, of which this is the rest, has the right form, and whether it is
// plain: certain to drop what is there. PostgreSQL converts the text first, which can fail unless it is ASCII.
func parseForm(rest []byte) (whole, plain bool) {
	text, types, ok := wire.Cstring(rest)
	whole = ok && len(types) >= 2 && len(types) == 2+4*int(binary.BigEndian.Uint16(types))
	return whole, whole && isASCII(text)
}

// queryForm is parseForm for a Query.
func queryForm(body []byte) (whole, plain bool) {
	text, rest, ok := wire.Cstring(body)
	whole = ok && len(rest) == 0
	return whole, whole && isASCII(text)
}

func isASCII[T string | []byte](b T) bool {
	for i := range len(b) {
		if b[i] >= 0x80 {
			return false
		}
	}
	return true
}
