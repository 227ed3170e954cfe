package frontend

import (
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// carrying says what is to be put in force on the server session in front of the client's next request.
type carrying uint8

const (
	carryNothing      carrying = iota
	carryState                 // the client's settings and statements, on a session that held another's or none
	carryRestore               // inside a transaction: start-up parameters that the client has set back to their default
	carryRestoreLocal          // the same, by SET LOCAL
)

// plan compares what the server session holds with what its client expects, and decides whether something has to be
// carried over.
func (s *Session) plan() {
	c := s.lease.Conn
	s.carry = carryNothing
	if !c.Settings.Equal(s.req.Settings) || !c.SQLNames.Equal(s.sqlNames) || s.hasForeignNames(c) {
		s.carry = carryState
	}
}

// hasForeignNames tells whether c has a statement under a name that is not this client's.
func (s *Session) hasForeignNames(c *backend.Conn) bool {
	for name, st := range c.RealNames {
		if s.names[name] != st {
			return true
		}
	}
	return false
}

// mayCarry tells whether what plan has found can be done now. What it does about state ends with a COMMIT, and behind
// a DISCARD ALL in flight the client may have begun a transaction.
func (s *Session) mayCarry() bool {
	c := s.lease.Conn
	return c.Replies.Idle() && c.Status() != 'E' && (s.carry != carryState || c.Status() == 'I')
}

// takeCarry appends the requests that do what plan has found. Nobody gets their answers. If the settings cannot be put
// in force, the session is in a failed transaction, so that no request of the client takes effect without them.
func (s *Session) takeCarry(dst []byte) []byte {
	c := s.lease.Conn
	s.srv.counters.carries.Add(1)
	what := s.carry
	s.carry = carryNothing
	if what != carryState {
		return s.inject(dst, sessionstate.Restore(s.base, what == carryRestoreLocal), sessionstate.Swallow)
	}
	before := len(dst)
	for name, st := range c.RealNames {
		if s.names[name] != st {
			dst = s.closeReal(dst, name)
		}
	}
	if len(dst) > before {
		s.owe(sessionstate.KindSync, sessionstate.Ignore)
		dst = wire.AppendHeader(dst, 'S', 0)
	}
	if sql := sessionstate.Carry(c.Settings, s.req.Settings); sql != "" {
		c.Usage.Carry = s.req.Loop.Now()
		dst = s.inject(dst, sql, sessionstate.Swallow)
	}
	sessionstate.Changed(s.sqlNames, c.SQLNames, func(old sessionstate.Setting) {
		dst = s.inject(dst, "DEALLOCATE "+quoteIdentifier(old.Name), sessionstate.Ignore)
	})
	sessionstate.Changed(c.SQLNames, s.sqlNames, func(st sessionstate.Setting) {
		dst = s.inject(dst, st.Value, sessionstate.Ignore)
	})
	c.Settings, c.SQLNames = s.req.Settings, s.sqlNames
	c.Expect(s.req.Settings)
	c.NoteCustoms(s.req.Settings.List())
	return dst
}

// inject appends a Query of the pooler's own.
func (s *Session) inject(dst []byte, sql string, action sessionstate.Action) []byte {
	if c := s.lease.Conn; c.Unnamed != nil && !c.Replies.MaySkip() {
		c.Unnamed = nil // a simple Query drops it
		if !isASCII(sql) {
			c.Unnamed = c // unless it cannot be converted
		}
	}
	s.lease.Conn.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindQuery, Action: action})
	return wire.AppendQuery(dst, sql)
}

func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// OnParameter implements backend.Borrower. When a start-up parameter goes back to its default, PostgreSQL reports its
// own, and the client is told its own, which will be in force again before its next request.
func (s *Session) OnParameter(name, value string) (told string, tell bool) {
	told, tell = value, true
	if s.goesBack(name) && value == s.lease.Conn.Default(name) {
		told = s.welcome.Reported(name)
		tell = told != s.reported.Reported(name)
	}
	s.reported = s.srv.interner.With(s.reported, name, told)
	return told, tell
}

// goesBack tells whether what is running may set a start-up parameter of the client's back.
func (s *Session) goesBack(name string) bool {
	if s.resetting == nil {
		return false
	}
	name = strings.ToLower(name)
	if _, own := s.base.Value(name); !own {
		return false
	}
	return s.resetting.GoesBack(name)
}

// tellReset appends the client's own values of start-up parameters that have gone back to a default of which
// PostgreSQL says nothing, because it was in force already.
func (s *Session) tellReset(dst []byte) []byte {
	c := s.lease.Conn
	for _, p := range s.welcome.List() {
		if p.Value != s.reported.Reported(p.Name) && s.goesBack(p.Name) && c.Reported(&s.srv.interner).Reported(p.Name) == c.Default(p.Name) {
			dst = wire.AppendParameterStatus(dst, p.Name, p.Value)
			s.reported = s.srv.interner.With(s.reported, p.Name, p.Value)
		}
	}
	return dst
}

// OnCarried implements backend.Borrower.
func (s *Session) OnCarried(dst []byte) []byte {
	s.asking = s.hook == hookAwaited
	s.endCarry()
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
	s.endWith(EndRefused, backend.NewServerError(response))
	return true
}
