package frontend

import (
	"regexp"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// The protocol's statements and those of SQL's PREPARE share one namespace. On servers the protocol's go by names of
// the pooler's own; where a text speaks of one by the client's name, the server session gets it under that name too,
// and so the answers, errors included, are PostgreSQL's.

// shareNames prepares, in front of the message at off, the client's statements that the text t speaks of.
func (s *Session) shareNames(g *wire.Gather, off int, t *sessionstate.Text) {
	if t.Effects&speaking == 0 || s.lease.Conn.Status() == 'E' || g.In[off] == 'Q' && s.lease.Conn.Replies.NeedsSync() {
		return
	}
	switch {
	case t.Effects&sessionstate.EffectShowPrepared != 0:
		s.hidePrepared(g, off)
		for name, st := range s.names {
			s.share(g, off, name, st)
		}
	case t.Details != nil:
		for _, names := range [][]string{t.Details.Prepares, t.Details.Executes, t.Details.Deallocates} {
			for _, name := range names {
				s.share(g, off, name, s.names[name])
			}
		}
	}
}

// speaking are the effects of texts that speak of statements by name.
const speaking = sessionstate.EffectPrepare | sessionstate.EffectExecute | sessionstate.EffectDeallocate | sessionstate.EffectShowPrepared

// share prepares st under the client's name for it.
func (s *Session) share(g *wire.Gather, off int, name string, st *sessionstate.Statement) {
	c := s.lease.Conn
	if st == nil || st.Private || c.RealNames[name] == st {
		return
	}
	c.NoteReal(name, st)
	if st.Text != nil && st.Text.Details != nil { // it may speak of others itself
		for _, other := range st.Text.Details.Executes {
			s.share(g, off, other, s.names[other])
		}
	}
	out := wire.AppendNamed(nil, 'P', nil, name, st.Body, 0)
	e := sessionstate.Entry{Kind: sessionstate.KindParse, Action: sessionstate.SwallowDone, Name: name, Shared: true}
	if g.In[off] != 'Q' {
		c.Replies.Push(e)
		g.Insert(off, out)
		return
	}
	// PostgreSQL says what is wrong with it when it meets the name; the next one is not to be skipped for it.
	e.Action = sessionstate.Ignore
	c.Replies.Push(e)
	s.owe(sessionstate.KindSync, sessionstate.Ignore)
	g.Insert(off, wire.AppendHeader(out, 'S', 0))
}

// hidePrepared ends the statements that have names of the pooler's own, so that the client does not see them.
func (s *Session) hidePrepared(g *wire.Gather, off int) {
	c := s.lease.Conn
	for _, st := range c.Prepared.All() {
		if !st.Private {
			c.Prepared.Remove(st)
			c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Swallow, Stmt: st})
			g.Insert(off, wire.AppendNamed(nil, 'C', []byte{'S'}, st.Name, nil, 0))
		}
	}
}

// closeReal appends a Close of a statement that has a client's name.
func (s *Session) closeReal(dst []byte, name string) []byte {
	c := s.lease.Conn
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Swallow, Name: name, Stmt: c.RealNames[name], Shared: true})
	delete(c.RealNames, name)
	return wire.AppendNamed(dst, 'C', []byte{'S'}, name, nil, 0)
}

// OwnWords implements backend.Borrower.
func (s *Session) OwnWords(body []byte, about sessionstate.Entry) []byte {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return append(wire.AppendHeader(nil, 'E', len(body)), body...)
	}
	for _, text := range []*string{&e.Message, &e.Detail, &e.Hint, &e.InternalQuery, &e.Where} {
		*text = poolerNames.ReplaceAllStringFunc(*text, func(name string) string { return s.ownName(name, about) })
	}
	s.reworded(&e)
	out, _ := e.Encode(nil)
	return out
}

var poolerNames = regexp.MustCompile(sessionstate.PoolerPrefix + `[0-9a-z]+`)

// ownName is the client's name for the statement that has this one on servers.
func (s *Session) ownName(name string, about sessionstate.Entry) string {
	if about.Own != "" {
		return about.Own
	}
	for own, st := range s.names {
		if st.Name == name {
			return own
		}
	}
	return name
}
