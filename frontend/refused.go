package frontend

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"pooler/internal/journal"
	"pooler/internal/loop"
)

// noteRefusal counts, logs and keeps in the journal a client that did not get a session.
func (g *greeter) noteRefusal(err error) {
	var refusal *Refusal
	if !errors.As(err, &refusal) && errors.Is(err, io.EOF) {
		return // it wanted nothing, or no more
	}
	srv := g.srv
	result, cause := resultOf(err)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		result, cause = loginMalformed, "malformed"
	}
	level, args := slog.LevelInfo, []any{"remote", from(g.remote)}
	if refusal != nil && refusal.Hint != "" && result == loginMalformed {
		args = append(args, "hint", refusal.Hint)
	}
	switch result {
	case loginTimeout:
		srv.counters.loginTimeouts.Add(1)
	case loginMalformed:
		srv.counters.malformed.Add(1)
	case loginLimit:
		level, args = slog.LevelWarn, append(args, "limit", cause)
		srv.counters.refusedBy.add(cause)
		srv.counters.loginsRefused.Add(1)
	default:
		srv.counters.loginsRefused.Add(1)
	}
	who := member{source: g.remote.Addr()}
	if start := g.start; start != nil {
		client := start.client(g.remote)
		who = memberOf(client, srv.resolve(client).Class)
		args = append(args, "user", who.user, "database", who.database, "application_name", who.application)
	}
	if g.isWorthALine(result, cause) {
		srv.log.Log(context.Background(), level, "client refused", append(args, "error", err)...)
	}
	srv.counters.loginsBy.add(g.method, result)
	srv.crews[g.loop].noteRefused(who)
	srv.journalRefusal(who, g.remote.Port(), 0, result, cause, err)
}

// isWorthALine tells whether the log is to hear of a refusal: of what a flood could consist of not each time. All are counted.
func (g *greeter) isWorthALine(result loginResult, cause string) bool {
	c, now := &g.srv.lobby, g.loop.Now()
	switch {
	case cause == quotaLogins.String():
		return c.tell(now)
	case !g.away && (result == loginTLSFailed || result == loginMalformed):
		return c.rubbish.tell(placeOf(g.remote.Addr()), now)
	}
	return true
}

// hush lets the log hear of a place once a second. It belongs to the loop that accepts.
type hush struct{ told map[netip.Addr]time.Duration }

const maxHushed = 1024 // places that are remembered; beyond, all are forgotten

func (h *hush) tell(place netip.Addr, now time.Duration) bool {
	if last, known := h.told[place]; known && now-last < time.Second {
		return false
	}
	if h.told == nil || len(h.told) >= maxHushed {
		h.told = map[netip.Addr]time.Duration{}
	}
	h.told[place] = now
	return true
}

// turnAway counts and keeps in the journal a connection that is closed at once.
func (srv *Server) turnAway(l *loop.Loop, remote netip.AddrPort) {
	srv.counters.turnedAway.Add(1)
	err := errShuttingDown
	if !srv.draining.Load() {
		err = overQuota(quotaKey{kind: quotaAll}, srv.Config().MaxClientConn)
	}
	result, cause := resultOf(err)
	who := member{source: remote.Addr()}
	srv.counters.loginsBy.add(methodNone, result)
	srv.crews[l].noteRefused(who)
	srv.journalRefusal(who, remote.Port(), 0, result, cause, err)
}

// noteNoLogin counts and keeps in the journal that the login could not be completed because of err.
func (s *Session) noteNoLogin(err error) {
	result, cause := resultOf(err)
	s.srv.counters.loginsBy.add(s.provenBy, result)
	s.traffic.Refused++
	s.srv.journalRefusal(s.counted.who, s.port, s.id, result, cause, err)
}

func (srv *Server) journalRefusal(who member, port uint16, client SessionID, result loginResult, cause string, err error) {
	srv.journal.Establish(journal.Establishment{
		Action: journal.Refuse, Address: sourceName(who.source), Port: port, Application: who.application, User: who.user,
		Database: who.database, Client: uint64(client), Cause: cause,
	})
	e := who.event(journal.LimitReached, cause)
	e.Client = uint64(client)
	switch {
	case result == loginLimit:
		_, message, hint := inWords(err)
		e.Detail = "A client was refused: " + message + ". " + hint
	case cause == "login_timeout":
		e.Kind, e.Reason = journal.TimedOut, "client_login_timeout"
		e.Detail = "A client that had not logged in within client_login_timeout was closed."
	default:
		return // noted by Session.refuse, or nothing that the pooler did
	}
	srv.journal.Note(e)
}

// strangers counts logins that were refused to clients of which nobody is connected, on one loop, by source. They have
// proven nothing: what they call themselves must not take the place of those who have, in the ledger.
type strangers struct {
	sources   map[member]*stranger
	swept     time.Duration // when those that have not been heard of for long were forgotten last
	forgotten uint64        // refused logins of those
}

type stranger struct {
	refused uint64
	last    time.Duration
}

const (
	maxStrangers = 500         // further ones are counted by their address only
	maxFrom      = 1_000       // and when there are so many, without that
	sweepPause   = time.Second // a flood must not have the list gone through for each login
)

// noteRefused counts a login that was refused to who.
func (c *crew) noteRefused(who member) {
	if t := c.ledger.sources[who]; t != nil {
		t.Refused++
		return
	}
	c.strangers.add(who, c.now())
}

func (s *strangers) add(who member, now time.Duration) {
	if s.sources == nil {
		s.sources = map[member]*stranger{}
	}
	if len(s.sources) >= maxStrangers && now-s.swept > sweepPause {
		s.sweep(now)
	}
	one := s.sources[who]
	if one == nil && len(s.sources) >= maxStrangers {
		who = member{source: who.source}
		one = s.sources[who]
	}
	switch {
	case one == nil && len(s.sources) >= maxFrom:
		s.forgotten++
		return
	case one == nil:
		one = &stranger{}
		s.sources[who] = one
	}
	one.refused++
	one.last = now
}

// sweep forgets those that have not been refused for a while. Their logins stay counted.
func (s *strangers) sweep(now time.Duration) {
	s.swept = now
	for who, one := range s.sources {
		if now-one.last >= keepGone {
			s.forgotten += one.refused
			delete(s.sources, who)
		}
	}
}

// appendTo appends the strangers to a list of sources.
func (s *strangers) appendTo(list []SourceStat, now time.Duration) []SourceStat {
	s.sweep(now)
	for who, one := range s.sources {
		list = append(list, SourceStat{
			Source: Source{Address: sourceName(who.source), Application: who.application, User: who.user, Database: who.database},
			Class:  who.class, Traffic: Traffic{Refused: one.refused},
		})
	}
	if s.forgotten > 0 {
		list = append(list, SourceStat{
			Source: Source{Address: others, Application: others, User: others, Database: others}, Class: others,
			Traffic: Traffic{Refused: s.forgotten},
		})
	}
	return list
}
