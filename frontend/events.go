package frontend

import (
	"fmt"
	"time"

	"pooler/backend"
	"pooler/internal/journal"
)

// SetJournal has j keep what happens to clients. It must be called before Listen.
func (srv *Server) SetJournal(j *journal.Journal) { srv.journal = j }

// Journal is what has happened to clients; nil: nobody keeps it.
func (srv *Server) Journal() *journal.Journal { return srv.journal }

// event is what happens to m.
func (m member) event(kind journal.Kind, reason string) journal.Event {
	return journal.Event{
		Kind: kind, Reason: reason,
		Address: sourceName(m.source), Application: m.application, User: m.user, Database: m.database,
	}
}

// report keeps in the journal what happens to the client. detail is a sentence about it. Nothing of this is for the hot
// path.
func (s *Session) report(kind journal.Kind, reason, detail string) {
	e := s.counted.who.event(kind, reason)
	e.Client, e.Detail = uint64(s.id), detail
	if s.lease != nil {
		e.Server, e.ServerPID = uint64(s.lease.Conn.ID), s.lease.Conn.PID
	}
	s.srv.journal.Note(e)
}

// establish keeps in the journal a step in the life of the client's connection.
func (s *Session) establish(action journal.Action, cause string, age time.Duration) {
	who := s.counted.who
	e := journal.Establishment{
		Action: action, Address: sourceName(who.source), Port: s.port, Application: who.application, User: who.user, Database: who.database,
		Client: uint64(s.id), Cause: cause, Age: age,
	}
	if s.lease != nil {
		e.Server = uint64(s.lease.Conn.ID)
	}
	s.srv.journal.Establish(e)
}

// reportKilled keeps in the journal that an administrator ends the client. why goes on with the sentence.
func (s *Session) reportKilled(by, why string) {
	detail := "An administrator (" + by + ") ended it" + why + "."
	if s.inTransaction() {
		detail += " A transaction was open, and is rolled back."
	}
	s.report(journal.Killed, EndKilled.String(), detail)
}

// noteReuse counts that the client is lent a server session that others have used, and keeps the first time in the journal.
func (s *Session) noteReuse(c *backend.Conn) {
	s.traffic.Reuses++
	if s.req.Reused {
		return
	}
	s.req.Reused = true
	s.establish(journal.Reuse, "", time.Since(c.Created))
}

// pinNoticed is how long a client must have been pinned for that to be news.
const pinNoticed = time.Second

// noticePin keeps in the journal that the client has been pinned for a while, once for each time that it is.
func (s *Session) noticePin(b *berth, now time.Duration) {
	p := s.pinned
	switch {
	case p == nil || p.noticed:
		return
	case now-p.begun < pinNoticed:
		b.due = min(b.due, p.begun+pinNoticed)
		return
	}
	p.noticed = true
	detail := "Its server session serves nobody else."
	if p.text != "" {
		detail += " It began with: " + p.text
	}
	s.report(journal.Pinned, p.pins.String(), detail)
}

// reportAlarm keeps in the journal that much of a limit is in use.
func (srv *Server) reportAlarm(of quotaKey, a *Alarm) {
	e := journal.Event{
		Time: a.Time, Kind: journal.LimitReached, Reason: a.Limit,
		Detail: fmt.Sprintf("%d %% of %s = %d is in use (%s).", a.Percent, a.Limit, a.Max, a.Of),
	}
	switch of.kind {
	case quotaDatabase:
		e.Database = of.name
	case quotaUser:
		e.User = of.name
	case quotaSource:
		e.Address = of.name
	case quotaApplication:
		e.Application = of.name
	case quotaAll, quotaClass, quotaKinds:
	}
	srv.journal.Note(e)
}

// report keeps in the journal what happens to a client of the console.
func (a *adminClient) report(j *journal.Journal, kind journal.Kind, reason, detail string) {
	e := a.who.event(kind, reason)
	e.Client, e.Detail = uint64(a.ID), detail
	j.Note(e)
}

// establish keeps in the journal a step in the life of a console client's connection.
func (a *adminClient) establish(j *journal.Journal, action journal.Action, cause string, age time.Duration) {
	who := a.who
	j.Establish(journal.Establishment{
		Action: action, Address: sourceName(who.source), Port: a.Remote.Port(), Application: who.application, User: who.user, Database: who.database,
		Client: uint64(a.ID), Cause: cause, Age: age,
	})
}
