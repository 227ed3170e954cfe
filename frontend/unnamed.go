package frontend

import (
	"bytes"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// unnamedStatement is the client's unnamed statement, kept so that it can be parsed again on another server session.
type unnamedStatement struct {
	body  []byte // of its Parse, behind the name
	text  *sessionstate.Text
	mark  uint32 // counts them
	state unnamedState
}

type unnamedState uint8

const (
	unnamedNone   unnamedState = iota // the client has none
	unnamedKept                       // body has it
	unnamedServer                     // too large to keep, or uncertain: only the server session has it, which is pinned
)

func (s *Session) onParseUnnamed(f frame, rest []byte, part wire.Part) {
	c := s.lease.Conn
	u := &s.unnamed
	if part == wire.Whole {
		t := s.texts.Get(sessionstate.TextOf(rest), c.StdStrings)
		s.guardText(f, t)
		s.shareNames(f.g, f.off, t)
	}
	u.mark++
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Mark: u.mark})
	c.Unnamed = s
	if part == wire.Head {
		u.body, u.state, u.text = nil, unnamedServer, &unknownText
		s.pins |= sessionstate.PinUnnamed
		s.beginLarge(rest, largeUnnamed)
		return
	}
	if !bytes.Equal(u.body, rest) || u.state != unnamedKept {
		u.body = append(u.body[:0], rest...)
		u.text = s.texts.Get(sessionstate.TextOf(rest), c.StdStrings)
	}
	u.state = unnamedKept
	s.pins &^= sessionstate.PinUnnamed
}

// useUnnamed sees to it that the server session's unnamed statement is this client's.
func (s *Session) useUnnamed(f frame, kind sessionstate.Kind, after []byte) {
	c := s.lease.Conn
	c.RecordReplay(nil, sessionstate.Entry{})
	if s.unnamed.state == unnamedNone {
		s.provoke(f, kind, nil, sessionstate.RefuseMissing)
		return
	}
	if c.Unnamed != s && s.unnamed.state == unnamedKept {
		c.Unnamed = s
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Action: sessionstate.SwallowDone})
		f.g.Insert(f.off, wire.AppendNamed(nil, 'P', nil, "", s.unnamed.body, 0))
		s.srv.counters.prepares.Add(1)
	}
	s.noteUse(f, kind, s.unnamed.text, sessionstate.TextOf(s.unnamed.body), after)
	c.Replies.Push(sessionstate.Entry{Kind: kind, Name: namesEnded(s.unnamed.text)})
}

// undoParseUnnamed: a Parse that failed has dropped the unnamed statement; one that was skipped has left the one
// before it, whose text is not kept any more. Another Parse may be under way since.
func (s *Session) undoParseUnnamed(e sessionstate.Entry) {
	c, u := s.lease.Conn, &s.unnamed
	switch {
	case e.Action == sessionstate.SwallowDone: // the client's own is as it was
		c.Unnamed = nil
	case e.Mark != u.mark:
	case e.Failed:
		u.body, u.state = nil, unnamedNone
		c.Unnamed = nil
	default:
		u.body, u.state, u.text = nil, unnamedServer, &unknownText
		s.pins |= sessionstate.PinUnnamed
	}
}

// undoCloseUnnamed: the unnamed statement has not been closed after all.
func (s *Session) undoCloseUnnamed(e sessionstate.Entry) {
	u := &s.unnamed
	if e.Mark != u.mark || u.state != unnamedNone {
		return
	}
	u.state = unnamedKept
	if u.text == &unknownText {
		u.state = unnamedServer
	}
	s.lease.Conn.Unnamed = s
}

// disownUnnamed drops, in front of the first message of a lease, an unnamed statement that another client has left on
// the server session. Later it would be too late: a Parse that is skipped replaces nothing. A Query, or a Parse that
// comes first, drops it by itself.
func (s *Session) disownUnnamed(g *wire.Gather, typ byte, off, n int) {
	c := s.lease.Conn
	if c.Unnamed == nil || c.Unnamed == s || typ == 'Q' || typ == 'P' && n > wire.HeaderSize && g.In[off+wire.HeaderSize] == 0 {
		return
	}
	c.Unnamed = nil
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Swallow})
	g.Insert(off, wire.AppendNamed(nil, 'C', []byte{'S'}, "", nil, 0))
}
