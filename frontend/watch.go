package frontend

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/journal"
	"pooler/internal/sessionstate"
)

// timeLimit is a limit on how long a client may do something. Its name is that of the EndReason.
type timeLimit struct {
	reason  EndReason
	code    string
	message string // PostgreSQL's own words, where it knows such a limit
}

var (
	overQuery       = timeLimit{EndQueryTimeout, codeQueryCanceled, "terminating connection due to query_timeout"}
	overTransaction = timeLimit{EndTransactionTimeout, codeTransactionTimeout, "terminating connection due to transaction timeout"}
	overIdleInside  = timeLimit{EndIdleTransactionTimeout, codeIdleInTransaction, "terminating connection due to idle-in-transaction timeout"}
	overThink       = timeLimit{EndMaxThinkTime, codeIdleSession, "terminating connection due to max_think_time"}
	overIdle        = timeLimit{EndClientIdleTimeout, codeIdleSession, "terminating connection due to idle-session timeout"}
)

// cancelGrace is how long a statement may go on after it was cancelled because of query_timeout.
const cancelGrace = 5 * time.Second

// keepTime applies the time limits to the session, which b describes, and notes when to look again. It may end the
// session, and b with it.
func (s *Session) keepTime(b *berth, now time.Duration) {
	b.due = never
	s.noticePin(b, now)
	l := s.limits
	switch b.does {
	case doesRun:
		if !s.overdue(b, overTransaction, l.TransactionTimeout, b.begun, now) {
			s.limitQuery(b, now)
		}
	case doesThink:
		_ = s.overdue(b, overIdleInside, l.IdleTransactionTimeout, b.since, now) ||
			s.overdue(b, overTransaction, l.TransactionTimeout, b.begun, now)
	case doesKeep:
		_ = s.overdue(b, overThink, l.MaxThinkTime, b.since, now) ||
			s.overdue(b, overIdle, l.IdleTimeout, b.since, now)
	case doesNothing:
		_ = s.overdue(b, overIdle, l.IdleTimeout, b.since, now)
	case doesWait, doesOwn, doesLogin:
	}
}

// overdue ends the session if what it does has lasted for limit (0: for ever) since then, and reports whether that is
// so. Without that, the next look at it is made in time.
func (s *Session) overdue(b *berth, over timeLimit, limit, since, now time.Duration) bool {
	switch {
	case limit == 0:
		return false
	case now-since < limit:
		b.due = min(b.due, since+limit)
		return false
	case over != overTransaction && s.unread():
		b.since, b.due = now, now // it has just said something
		return true
	}
	s.endOverdue(over, limit, now-since)
	return true
}

// limitQuery cancels a statement that has run for query_timeout. If that has no effect the session ends: PostgreSQL is
// deaf to cancels while it waits for somebody to read a result, for one.
func (s *Session) limitQuery(b *berth, now time.Duration) {
	limit := s.limits.QueryTimeout
	switch {
	case limit == 0 || now-b.since < limit:
	case b.cancelled == 0:
		b.cancelled = now
		s.srv.counters.queryTimeouts.Add(1)
		s.srv.log.Info("statement cancelled by a time limit", s.aboutOverdue(overQuery, limit, now-b.since)...)
		s.report(journal.TimedOut, overQuery.reason.String(), fmt.Sprintf("Its statement was cancelled after %s. %s",
			(now-b.since).Round(time.Millisecond), hintLimit(overQuery.reason, limit)))
		if c := s.lease.Conn; !c.Replies.Idle() {
			c.Reword = true
			c.Cancel()
		}
	case now-b.cancelled >= cancelGrace:
		s.endOverdue(overQuery, limit, now-b.since)
	}
}

func (s *Session) endOverdue(over timeLimit, limit, lasted time.Duration) {
	s.srv.log.Info("client ended by a time limit", s.aboutOverdue(over, limit, lasted)...)
	hint := hintLimit(over.reason, limit)
	if over == overThink {
		hint += " The client kept its server session because of: " + s.keptBecause() + "."
	}
	s.report(journal.TimedOut, over.reason.String(), fmt.Sprintf("It was ended after %s. %s", lasted.Round(time.Millisecond), hint))
	s.endWith(over.reason, &Refusal{Code: over.code, Message: over.message, Hint: hint})
}

func hintLimit(limit EndReason, value time.Duration) string {
	return fmt.Sprintf("The pooler's limit %s = %s is exceeded.", limit, value)
}

// keptBecause says why the session keeps a server session outside a transaction.
func (s *Session) keptBecause() string {
	switch {
	case s.pins != 0:
		return s.pins.String()
	case s.boundary == sessionstate.BoundarySession:
		return "pool_boundary = session"
	}
	return "state that is not settled"
}

// aboutOverdue is what the log says of a limit that is exceeded.
func (s *Session) aboutOverdue(over timeLimit, limit, lasted time.Duration) []any {
	return s.logArgs(
		"application_name", s.application(), "remote", from(s.remote()), "limit", over.reason.String(), "value", limit.String(),
		"lasted", lasted.Round(time.Millisecond).String(), "transaction_open", s.inTransaction())
}

// application is the application_name that the client has chosen.
func (s *Session) application() string {
	name, _ := s.req.Settings.Value("application_name")
	return name
}

// reworded gives an error that PostgreSQL raised because of our cancel the words that are true.
func (s *Session) reworded(e *pgproto3.ErrorResponse) {
	if !s.lease.Conn.Reword || e.Code != codeQueryCanceled || e.Message == "canceling statement due to statement timeout" {
		return
	}
	e.Message = "canceling statement due to query_timeout"
	e.Detail, e.Hint = "", hintLimit(EndQueryTimeout, s.limits.QueryTimeout)
}

// notOverdue notes that what was cancelled has come to its end, one way or the other.
func (s *Session) notOverdue() {
	if c := s.lease.Conn; c.Reword && !c.Cancelling() && c.Replies.Idle() {
		c.Reword = false
	}
}
