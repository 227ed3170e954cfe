package frontend

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// OnTag implements backend.Borrower.
func (s *Session) OnTag(tag []byte) {
	if len(tag) < 5 || tag[0] != 'D' && tag[0] != 'C' && tag[0] != 'R' {
		return
	}
	switch string(tag) {
	case "RESET":
		s.carry = sessionstate.Restore(s.req.Settings) // the client's own come back in front of its next request
	case "DISCARD ALL":
		s.lease.Conn.Settings = nil
		s.carry = sessionstate.Restore(s.req.Settings)
		s.forgetPrepared()
	case "DEALLOCATE ALL":
		s.forgetPrepared()
	}
	s.pins = s.pins.AfterTag(string(tag))
}

// OnCarried implements backend.Borrower.
func (s *Session) OnCarried(dst []byte) []byte {
	now := s.lease.Conn.Reported(&s.srv.interner)
	if !s.greeted {
		s.srv.welcomes.put(s.pool, s.req.Settings, now)
		s.greet(now)
		return dst
	}
	sessionstate.Changed(s.reported, now, func(p sessionstate.Setting) {
		dst = wire.AppendParameterStatus(dst, p.Name, p.Value)
	})
	s.reported = now
	return dst
}

// tellReported tells the client which reported parameters differ on the server session it now has.
func (s *Session) tellReported() {
	if s.greeted && s.lease.Conn.Reported(&s.srv.interner) != s.reported {
		s.client.Write(s.OnCarried(nil))
	}
}

// OnCarryFailed implements backend.Borrower.
func (s *Session) OnCarryFailed(body []byte) bool {
	s.carryBad = true
	response := &pgproto3.ErrorResponse{}
	if err := response.Decode(body); err != nil {
		return false
	}
	alone := !s.greeted
	s.endWith(EndRefused, &backend.ServerError{Response: response})
	return alone
}

// OnSettled implements backend.Borrower: the server owes nothing, and here alone the session may give it up.
func (s *Session) OnSettled() {
	if s.parting != nil {
		s.parting()
		return
	}
	c := s.lease.Conn
	if !s.greeted {
		now := c.Reported(&s.srv.interner)
		s.srv.welcomes.put(s.pool, s.req.Settings, now)
		s.greet(now)
	}
	switch sessionstate.Decide(sessionstate.Facts{
		Idle: c.Idle() && !s.halfSent, Status: c.Status(), Boundary: s.boundary, Pins: s.pins,
		Fenced: c.Cancelling(), More: len(s.pending) > 0, Tainted: c.Unsure(),
	}) {
	case sessionstate.Keep:
		s.reported = c.Reported(&s.srv.interner) // every change of it has passed through to the client
		if len(s.pending) > 0 && !s.fenced() {
			// It waited for answers, see Replies.NamesOpen.
			s.proceedWithLease()
			return
		}
		if s.leaving && c.Idle() && c.Status() == 'I' {
			s.leave()
		}
		return
	case sessionstate.Release:
		s.letGo().Release()
	case sessionstate.Clean:
		unresettable := s.pins.Unresettable()
		s.pins = 0
		if l := s.letGo(); unresettable {
			l.Conn.Lend(nil)
			l.Conn.Retire(backend.RetireUnresettable)
		} else {
			l.Reclaim(true, false, false)
		}
	case sessionstate.Retire:
		l := s.letGo()
		l.Conn.Lend(nil)
		l.Conn.Retire(backend.RetireCancelUnsure)
	}
	s.proceed()
}

// letGo ends the session's hold on its lease, which the caller then gives back.
func (s *Session) letGo() *pool.Lease {
	l := s.lease
	s.reported = l.Conn.Reported(&s.srv.interner) // every change of it has passed through to the client
	s.lease, s.carry = nil, ""
	s.enter(PhaseIdle)
	return l
}

// OnCancelConfirmed implements backend.Borrower.
func (s *Session) OnCancelConfirmed() {
	if s.phase == PhaseActive {
		s.proceedWithLease()
	}
}

// OnServerLost implements backend.Borrower. A client that depended on the server session learns the truth; what
// PostgreSQL said itself before it went has been passed on already.
func (s *Session) OnServerLost(reason backend.RetireReason) {
	c := s.lease.Conn
	depends := !c.Replies.Idle() || c.Status() != 'I' || s.pins != 0 || s.halfSent || !s.greeted ||
		s.boundary == sessionstate.BoundarySession
	s.lease, s.carry = nil, ""
	s.enter(PhaseIdle)
	switch {
	case !depends:
		s.proceed()
		return
	case c.Explained():
		s.linger = true
		s.end(EndServerLost)
		return
	}
	s.endWith(EndServerLost, &Refusal{
		Code:    codeConnectionFailure,
		Message: "the server session was lost",
		Hint:    "PostgreSQL closed it or cannot be reached (" + reason.String() + "). Whether the last statement took effect is not known; connect again.",
	})
}
