package frontend

import (
	"time"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// nextval leaves a value for currval and lastval to read. Most programs never do: pinning all that call nextval, or
// insert, would undo pooling. So a client keeps its server session for that for a few statements only, gives it up
// earlier when it pauses and others wait, and does not keep it at all in pools whose clients do not read. A reader never sees another's value:
// what it has not left itself is discarded, and PostgreSQL says that there is none.

// sequenceGrace is how long a server session is kept for a client that might read, while others wait.
const sequenceGrace = 100 * time.Millisecond

// maxSequenceAge is for how many further statements, or transactions, a server session is kept for a client that might
// read.
const maxSequenceAge = 16

// maxUnread is how many values in a row may stay unread before a pool's clients are believed not to read.
const maxUnread = 20

// severalUsers is Conn.User of a server session that several clients have used.
const severalUsers = ^uint64(0)

const sequencePin = sessionstate.PinSet(sessionstate.EffectSequence)

// noteSequence takes note of a statement that may call nextval.
func (s *Session) noteSequence(t *sessionstate.Text) {
	s.lease.Conn.SequenceUser = uint64(s.id)
	if s.boundary == sessionstate.BoundarySession || !s.mayBeRead(t) {
		return
	}
	s.pins |= sequencePin
	s.sequence++
	s.sequenceAge = 0
	s.watchSequence(s.lease, s.sequence)
}

// mayBeRead tells whether the value that the statement leaves is worth a server session of the client's own: that of
// nextval where the pool's clients read such values, or it is not known yet whether they do; that of an INSERT, where
// they do so behind an INSERT.
func (s *Session) mayBeRead(t *sessionstate.Text) bool {
	reads := s.pool.ReadsSequences.Load()
	if t.Effects&sessionstate.EffectSequence != 0 {
		return reads || s.pool.UnreadSequences.Add(1) <= maxUnread
	}
	s.byInsert = reads && s.pool.UnreadInserts.Add(1) <= maxUnread
	return s.byInsert
}

// watchSequence gives up the server session when the client has not come back for the value, its nth, and others wait.
func (s *Session) watchSequence(l *pool.Lease, nth uint32) {
	time.AfterFunc(sequenceGrace, func() {
		s.req.Loop.Post(func() {
			switch {
			case s.lease != l || s.pins&sequencePin == 0 || s.sequence != nth:
			case !s.pool.Wanted() || !s.atRest():
				s.watchSequence(l, nth)
			default:
				s.pins &^= sequencePin
				s.decide()
			}
		})
	})
}

// atRest tells whether the session holds a server session between two requests.
func (s *Session) atRest() bool {
	return s.phase == PhaseActive && s.greeted && !s.asking && !s.isParting() && s.lease.Conn.Idle() && s.lease.Conn.Status() == 'I'
}

// guardSequences is called in front of a text, at off, that reads what nextval has left: it sees to it that this is
// the client's own, or nothing.
func (s *Session) guardSequences(g *wire.Gather, off int) {
	s.pool.ReadsSequences.Store(true)
	if s.byInsert && s.pins&sequencePin != 0 {
		s.pool.UnreadInserts.Store(0)
	}
	c := s.lease.Conn
	if s.ownsSequences() || c.Status() == 'E' {
		return
	}
	c.User, c.SequenceUser = uint64(s.id), 0
	if g.In[off] == 'Q' {
		g.Insert(off, s.inject(nil, discardSequences, sessionstate.Ignore))
		return
	}
	for _, k := range []sessionstate.Kind{sessionstate.KindParse, sessionstate.KindBind, sessionstate.KindExecute, sessionstate.KindClose} {
		s.owe(k, sessionstate.Swallow)
	}
	const name = sessionstate.PoolerPrefix + "sequences"
	out := wire.AppendNamed(nil, 'P', nil, name, append([]byte(discardSequences), 0, 0, 0), 0)
	out = wire.AppendNamed(out, 'B', []byte(name+"\x00"), name, make([]byte, 6), 0)
	out = wire.AppendNamed(out, 'E', nil, name, make([]byte, 4), 0)
	g.Insert(off, wire.AppendNamed(out, 'C', []byte{'S'}, name, nil, 0))
}

const discardSequences = "DISCARD SEQUENCES"

// guardText is guardSequences for a text that is parsed and may be run later in the same sequence.
func (s *Session) guardText(f frame, t *sessionstate.Text) {
	if t.Effects&sessionstate.EffectSequenceRead != 0 {
		s.guardSequences(f.g, f.off)
	}
}

// ownsSequences tells whether no other client may have left a value on the server session.
func (s *Session) ownsSequences() bool {
	c := s.lease.Conn
	return c.SequenceUser == uint64(s.id) || c.User == uint64(s.id)
}
