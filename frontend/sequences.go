package frontend

import (
	"time"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// nextval leaves a value for currval and lastval to read. Most programs never do: pinning all that call nextval, or
// insert, would undo pooling. So a client keeps its server session for that only in pools whose clients do read, and
// in pools of which that is not known yet, for a moment. A reader never sees another's value: what it has not left
// itself is discarded, and PostgreSQL says that there is none.

// sequenceGrace is how long a server session is kept for a client that might read, while none of its pool has yet.
const sequenceGrace = time.Second

// severalUsers is Conn.User of a server session that several clients have used.
const severalUsers = ^uint64(0)

// noteSequence takes note of a statement that may call nextval.
func (s *Session) noteSequence(t *sessionstate.Text) {
	s.lease.Conn.SequenceUser = uint64(s.id)
	switch {
	case s.boundary == sessionstate.BoundarySession:
	case s.pool.ReadsSequences.Load():
		s.pins |= sequencePin
	case t.Effects&sessionstate.EffectSequence != 0 && !s.pool.IgnoresSequences.Load() && s.pins&sequencePin == 0:
		s.pins |= sequencePin
		l := s.lease
		time.AfterFunc(sequenceGrace, func() { s.loop.Post(func() { s.endSequenceGrace(l) }) })
	}
}

const sequencePin = sessionstate.PinSet(sessionstate.EffectSequence)

// endSequenceGrace gives up the server session if nobody has asked for the value meanwhile.
func (s *Session) endSequenceGrace(l *pool.Lease) {
	if s.pool.ReadsSequences.Load() || s.lease != l {
		return
	}
	s.pool.IgnoresSequences.Store(true)
	s.pins &^= sequencePin
	if s.phase == PhaseActive && !s.asking && s.parting == nil && s.greeted && l.Conn.Replies.Idle() {
		s.decide()
	}
}

// guardSequences is called in front of a text, at off, that reads what nextval has left: it sees to it that this is
// the client's own, or nothing.
func (s *Session) guardSequences(g *wire.Gather, off int) {
	s.pool.ReadsSequences.Store(true)
	c := s.lease.Conn
	if s.ownsSequences() || c.Replies.NeedsSync() || c.Status() == 'E' {
		return
	}
	g.Insert(off, s.discardSequences(nil))
}

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

func (s *Session) discardSequences(dst []byte) []byte {
	c := s.lease.Conn
	c.User, c.SequenceUser = uint64(s.id), 0
	return s.inject(dst, "DISCARD SEQUENCES", sessionstate.Ignore)
}
