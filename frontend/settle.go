package frontend

import (
	"bytes"
	"strings"

	"pooler/backend"
	"pooler/internal/journal"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// OnTag implements backend.Borrower.
func (s *Session) OnTag(tag []byte, e sessionstate.Entry) {
	if s.resetting != nil && string(tag) == "SET" {
		s.wasReset = true
	}
	if len(tag) < 5 || bytes.IndexByte([]byte("DCARG"), tag[0]) < 0 {
		return
	}
	if bytes.HasSuffix(tag, []byte(" ROLE")) { // CREATE, ALTER, DROP, also of users and groups, GRANT, REVOKE
		s.makeSeldom().roles = true
	}
	c := s.lease.Conn
	switch t := string(tag); {
	case t == "RESET":
		s.wasReset = true
	case t == "DISCARD ALL":
		s.wasReset = true
		c.Settings, c.SQLNames, s.sqlNames, s.doubts = nil, nil, nil, nil
		s.req.Settings = s.srv.interner.Overlay(s.base, emptied(s.req.Settings, s.base))
		s.forgetPrepared()
		s.plan()
	case t == "DEALLOCATE ALL":
		c.SQLNames, s.sqlNames = nil, nil
		s.forgetPrepared()
	case t == "DEALLOCATE" && e.Name != "" && e.Name != sessionstate.AllNames:
		delete(c.RealNames, e.Name)
		s.forgetName(e.Name, s.names[e.Name])
	case strings.HasPrefix(t, "ALTER "), strings.HasPrefix(t, "DROP ") && s.pins&tempPin == 0:
		s.srv.accepted.forget(&s.srv.statements) // PostgreSQL may not accept them any more
	case strings.HasPrefix(t, "DROP ") && s.pins&tempPin != 0:
		s.doubt(tag).Kinds |= tempPin
	case strings.HasPrefix(t, "CREATE FUNCTION"), strings.HasPrefix(t, "CREATE PROCEDURE"):
		s.srv.customs.expire(s.pool.Key.Database)
	}
	s.pins = s.pins.AfterTag(string(tag))
}

// emptied is the parameters of extensions' kind among those of s that are not of base: reset they are empty, not gone.
func emptied(s, base *sessionstate.Settings) []sessionstate.Setting {
	var list []sessionstate.Setting
	for _, o := range s.List() {
		if _, own := base.Value(o.Name); !own && strings.Contains(o.Name, ".") {
			list = append(list, sessionstate.Setting{Name: o.Name})
		}
	}
	return list
}

const tempPin = sessionstate.PinSet(sessionstate.EffectTemp)

// OnReady implements backend.Borrower. Inside a transaction a parameter that has gone back to the server's default is
// put back to the client's own; outside, PostgreSQL is asked first. At a boundary that discards state the client waits
// until that is done, so that what it is told of it belongs to the request that lost it.
func (s *Session) OnReady(dst []byte, status byte) ([]byte, bool) {
	if s.resetting != nil && s.wasReset {
		dst = s.tellReset(dst)
	}
	s.resetting, s.wasReset = nil, false
	if s.restore != carryNothing && status != 'E' {
		if status == 'T' {
			s.carry = s.restore
		}
		s.restore = carryNothing
	}
	s.endQuery(status, !s.lease.Conn.Replies.Idle())
	if status == 'I' {
		s.transactions++
	}
	if status == 'I' && s.seldom != nil && s.seldom.roles {
		s.seldom.roles = false
		s.srv.lookups.rolesChanged()
	}
	if status == 'I' && s.seldom != nil && s.seldom.atBoundary != nil {
		s.seldom.atBoundary()
		s.seldom.atBoundary = nil
	}
	s.heldReady = status == 'I' && s.lease.Conn.Replies.Idle() && s.mayDiscard()
	return dst, s.heldReady
}

// mayDiscard tells whether the boundary may have state discarded.
func (s *Session) mayDiscard() bool {
	left := s.pins &^ sessionstate.PinUnnamed
	if s.doubts != nil {
		left |= s.doubts.Kinds
	}
	return left != 0 && (s.boundary == sessionstate.BoundaryTransaction || left&s.limits.policy.Discarding() != 0)
}

// sayReady gives the client the ReadyForQuery that was held back.
func (s *Session) sayReady() {
	if s.heldReady {
		s.heldReady = false
		s.client.Write(wire.AppendReady(nil, 'I'))
	}
}

// OnSettled implements backend.Borrower: the server owes nothing, and here alone the session may give it up.
func (s *Session) OnSettled() {
	s.notOverdue()
	if s.isParting() {
		s.seldom.parting()
		return
	}
	if !s.greeted {
		now := s.lease.Conn.Reported(&s.srv.interner)
		s.srv.welcomes.put(s.pool, s.req.Settings, now)
		s.greet(now)
	}
	if s.hooksSettled() {
		return
	}
	login := s.req.Login
	if login && (len(s.pending) > 0 || s.boundary == sessionstate.BoundarySession) {
		login, s.req.Login = false, false
		s.pool.Keep(s.lease, &s.req)
		s.traffic.Assignments++
		s.entered = s.req.Loop.Now()
		if s.beginHooks(); s.asking {
			return
		}
	}
	s.decide()
	if login {
		s.req.Login = false
	}
}

// decide does what the verdict says.
func (s *Session) decide() {
	c := s.lease.Conn
	if s.pins != 0 || s.pinned != nil {
		s.notePins(nil)
	}
	switch sessionstate.Decide(sessionstate.Facts{
		Idle: c.Idle() && !s.halfSent, Status: c.Status(), Boundary: s.boundary, Pins: s.pins,
		Fenced: c.Cancelling(), More: len(s.pending) > 0 && s.hook != hookDone, Tainted: c.Unsure(), Doubts: s.doubts != nil,
		Discards: s.limits.policy.Discarding(),
	}) {
	case sessionstate.Keep:
		s.keepLease()
		return
	case sessionstate.Audit:
		s.audit()
		return
	case sessionstate.Release:
		if s.releaseHook() {
			return
		}
		if s.spoilt() {
			l := s.letGo()
			l.Conn.Lend(nil)
			l.Conn.Retire(backend.RetireHook)
			break
		}
		if s.pins != 0 { // a large unnamed statement, which has no place beyond a transaction boundary
			s.pins, s.unnamed.state = 0, unnamedNone
		}
		s.letGo().Release()
	case sessionstate.Clean:
		if s.releaseHook() {
			return
		}
		s.discard()
	case sessionstate.Retire:
		l := s.letGo()
		l.Conn.Lend(nil)
		l.Conn.Retire(backend.RetireCancelUnsure)
	}
	s.sayReady()
	s.proceed()
}

// keepLease goes on with a server session that does not leave its client.
func (s *Session) keepLease() {
	c := s.lease.Conn
	if s.hook == hookDone { // on_release has left something that keeps it
		s.hook = hookOwed
	}
	s.sayReady()
	if len(s.pending) > 0 && !s.fenced() {
		// It waited for answers, see Replies.NamesOpen.
		s.proceedWithLease()
		return
	}
	if s.leaving && c.Idle() && c.Status() == 'I' {
		s.leave()
	}
}

// discard gives the server session back without what the client has left in it, and tells the client.
func (s *Session) discard() {
	lost := s.pins
	if lost&settingsPins != 0 {
		s.req.Settings = s.base
	}
	if lost&sessionstate.PinUnnamed != 0 {
		s.unnamed.state = unnamedNone
	}
	s.pins = 0
	s.notePins(nil)
	l := s.letGo()
	s.sqlNames = nil // DISCARD ALL ends them, and those that could be carried with them
	if lost.Unresettable() {
		l.Conn.Lend(nil)
		l.Conn.Retire(backend.RetireUnresettable)
	} else {
		l.Reclaim(backend.Leftovers{Dirty: true})
	}
	s.client.Write(wire.AppendError(nil, 'N', "NOTICE", "01000",
		"the pooler has discarded session state at the end of the transaction: "+strings.ReplaceAll(lost.String(), "_", " "),
		"With pool_boundary = statement it is kept."))
}

// letGo ends the session's hold on its lease, which the caller then gives back.
func (s *Session) letGo() *pool.Lease {
	l := s.lease
	s.keepTrail(l.Conn)
	s.lease, s.carry, s.restore, s.hook = nil, carryNothing, carryNothing, hookNone
	s.enter(PhaseIdle)
	return l
}

// OnCancelConfirmed implements backend.Borrower.
func (s *Session) OnCancelConfirmed() {
	if s.phase == PhaseActive {
		s.notOverdue()
		s.proceedWithLease()
	}
}

// OnServerLost implements backend.Borrower. A client that depended on the server session learns the truth; what
// PostgreSQL said itself before it went has been passed on already.
func (s *Session) OnServerLost(reason backend.RetireReason) {
	c := s.lease.Conn
	depends := !c.Replies.Idle() || c.Status() != 'I' || s.pins != 0 || s.doubts != nil || s.halfSent || !s.greeted ||
		s.boundary == sessionstate.BoundarySession
	s.lease, s.carry, s.asking, s.hook = nil, carryNothing, false, hookNone
	s.enter(PhaseIdle)
	switch {
	case !depends:
		s.proceed()
		return
	case c.Explained():
		s.linger = true
		s.end(EndServerLost)
		return
	case reason == backend.RetireKilled:
		s.report(journal.Killed, EndKilled.String(), "An administrator closed the server session that it depended on.")
		s.endWith(EndKilled, errAdministrator)
		return
	}
	s.endWith(EndServerLost, &Refusal{
		Code:    codeConnectionFailure,
		Message: lossOf(c),
		Hint:    "PostgreSQL closed it or cannot be reached (" + reason.String() + "). Whether the last statement took effect is not known; connect again.",
	})
}
