package frontend

import (
	"strings"
	"time"
	"unique"

	"pooler/backend"
	"pooler/internal/sessionstate"
)

// trail is what is remembered of the statements of a client, for those who ask where a connection comes from. One is 48
// bytes: the texts of clients that have been idle for a while are shared by all who have run the same.
type trail struct {
	first, last unique.Handle[string] // statements, as people are shown them
	comment     unique.Handle[string] // the last one in any of them
	noted       *backend.Noted        // the last one while it is fresh; nil: it is in last
	unread      time.Duration         // since when the client has not read what it was sent; 0: it has
	statements  uint32
	standard    bool // standard_conforming_strings for noted
}

// settleAfter is how long a client must have been idle for its last statement to be made ready for people, which costs
// as much as a tenth of relaying it: those who are busy need it not.
const settleAfter = 2 * time.Second

// settledAtOnce is for how many that is done in one look: others are served in between.
const settledAtOnce = 100

// spareNotes bounds the buffers that a crew keeps for clients that wake up.
const spareNotes = 256

// noteStatement takes note of a statement that is about to run, before its answer is owed.
func (s *Session) noteStatement(text []byte) {
	u := &s.lease.Conn.Usage
	first := !u.Uncounted
	if u.Uncounted { // one of several in a pipeline: how long each takes is not known
		s.countStatement(0)
	}
	u.Note(text)
	if s.trail == nil {
		s.trail = &trail{first: unique.Make(shown(&u.Noted, s.lease.Conn.StdStrings, s.srv.Config().ShowLiterals))}
	}
	s.trail.statements++
	if s.srv.tracer != nil {
		s.mayTrace(text, first)
	}
}

// countStatement counts the last statement, which took so long.
func (s *Session) countStatement(took time.Duration) {
	c := s.lease.Conn
	if name := s.crew.statements.count(&c.Usage, c.StdStrings, took); name != "" {
		s.traffic.last = name
	}
}

// keepTrail takes the last statement with it from a server session that is about to be given back.
func (s *Session) keepTrail(c *backend.Conn) {
	t := s.trail
	if t == nil || len(c.Usage.Noted.Head()) == 0 {
		return
	}
	if t.noted == nil {
		t.noted = s.crew.spareNote()
	}
	c.Usage.Noted.Follow(t.noted)
	*t.noted, c.Usage.Noted = c.Usage.Noted, *t.noted
	t.standard = c.StdStrings
}

// settleTrail makes the last statement ready for people. It reports false if there was nothing to be done.
func (s *Session) settleTrail() bool {
	t := s.trail
	if t == nil || t.noted == nil {
		return false
	}
	text := shown(t.noted, t.standard, s.srv.Config().ShowLiterals)
	t.last = unique.Make(text)
	if comment := commentOf(t.noted, t.standard); comment != "" {
		t.comment = unique.Make(comment)
	}
	s.traffic.last = text
	s.crew.keepNote(t.noted)
	t.noted = nil
	return true
}

// forgetTexts forgets statements that were made ready with their literals, which are not to be seen any more.
func (c *crew) forgetTexts() {
	for _, t := range c.ledger.sources {
		t.last = ""
	}
	for i := range c.berths {
		if t := c.berths[i].session.trail; t != nil {
			t.first, t.last = unique.Handle[string]{}, unique.Handle[string]{}
		}
	}
}

func (c *crew) spareNote() *backend.Noted {
	if n := len(c.notes); n > 0 {
		spare := c.notes[n-1]
		c.notes = c.notes[:n-1]
		return spare
	}
	return &backend.Noted{}
}

func (c *crew) keepNote(n *backend.Noted) {
	if len(c.notes) < spareNotes {
		n.Clear()
		c.notes = append(c.notes, n)
	}
}

// shown is a statement as people are shown it: without its literals, unless they are to be seen.
func shown(n *backend.Noted, standardStrings, literals bool) string {
	if literals {
		return cut(n.Head(), sessionstate.FingerprintShown)
	}
	return strings.ToValidUTF8(sessionstate.Fingerprint(n.Head(), standardStrings, sessionstate.FingerprintShown), "�")
}

// maxComment bounds a comment that is kept, in bytes.
const maxComment = 300

func commentOf(n *backend.Noted, standardStrings bool) string {
	head, tail := n.Commented()
	return cut([]byte(sessionstate.LastComment(head, tail, standardStrings)), maxComment)
}

// cut is at most limit bytes of a text in whatever encoding the client uses.
func cut(text []byte, limit int) string {
	return strings.ToValidUTF8(string(text[:min(limit, len(text))]), "�")
}

// textOf is what h stands for; "" if that is nothing.
func textOf(h unique.Handle[string]) string {
	if h == (unique.Handle[string]{}) {
		return ""
	}
	return h.Value()
}
