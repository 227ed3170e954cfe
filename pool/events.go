package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"pooler/backend"
	"pooler/internal/journal"
)

// establish keeps in the journal a step in the life of the conn.
func (l *Lease) establish(action journal.Action, cause string, age time.Duration, reuses int) {
	p := l.pool
	p.house.journal.Establish(journal.Establishment{
		Side: journal.Server, Action: action, Address: l.Conn.Addr.Addr, User: p.Key.User, Database: p.Key.Database,
		Server: uint64(l.Conn.ID), Cause: cause, Age: age, Reuses: uint64(max(0, reuses)),
	})
}

// reportClosed keeps in the journal that the conn is closed, or lost: use is what it was used for then, uses how often it
// was lent. No lock is held.
func (l *Lease) reportClosed(reason backend.RetireReason, use string, uses int) {
	p, age := l.pool, time.Since(l.Conn.Created)
	e := p.event(journal.ServerRetired, reason.String())
	e.Address, e.Server, e.ServerPID = l.Conn.Addr.Addr, uint64(l.Conn.ID), l.Conn.PID
	e.Detail = fmt.Sprintf("It was closed after %s, having been lent %d times.", age.Round(time.Second), uses)
	if reason == backend.RetireLost {
		e.Kind, e.Reason = journal.PeerLost, l.Conn.Ending.Fate.String()
		e.Detail = fmt.Sprintf("PostgreSQL, or the way there, has ended it after %s, while it was %s.", age.Round(time.Second), use)
	}
	p.house.journal.Note(e)
	l.establish(journal.Close, reason.String(), age, uses-1)
}

// reportRefused keeps in the journal that a login to PostgreSQL has failed.
func (p *Pool) reportRefused(a *attempt, err error, clients int, pause time.Duration) {
	e := p.event(journal.ServerRefused, fault(err))
	e.Address = addressOf(a.cfg).Addr
	e.Detail = fmt.Sprintf("Clients refused: %d; the next attempt is made in %s. %s", clients, pause.Round(time.Millisecond), err)
	p.house.journal.Note(e)
	p.house.journal.Establish(journal.Establishment{
		Side: journal.Server, Action: journal.Refuse, Address: e.Address, User: e.User, Database: e.Database, Cause: e.Reason,
	})
}

// event is one that concerns the pool's server sessions.
func (p *Pool) event(kind journal.Kind, reason string) journal.Event {
	return journal.Event{Kind: kind, Reason: reason, User: p.Key.User, Database: p.Key.Database}
}

// fault is in a word why a login to PostgreSQL has failed: its SQLSTATE, if it has said one.
func fault(err error) string {
	var refusal *backend.ServerError
	switch {
	case errors.As(err, &refusal):
		return refusal.Response.Code
	case errors.Is(err, backend.ErrNoPassword):
		return "no_password"
	case errors.Is(err, backend.ErrMethod):
		return "auth_method"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case cutOff(err):
		return "cut_off"
	case errors.Is(err, backend.ErrTLS):
		return "tls"
	}
	return "unreachable"
}
