package frontend

import (
	"sync"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// accepted remembers statements that PostgreSQL has accepted from clients of a pool. Any goroutine may use it.
type accepted struct {
	mu    sync.Mutex
	known map[acceptedKey]*sessionstate.Statement
}

type acceptedKey struct {
	pool     pool.Key
	settings *sessionstate.Settings // search_path among them
	body     string                 // of the Parse message, behind the name
}

// maxAccepted bounds the memory; beyond it all is forgotten and learned anew.
const maxAccepted = 2_000

func (a *accepted) find(key acceptedKey) *sessionstate.Statement {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[key]
}

func (a *accepted) add(key acceptedKey, st *sessionstate.Statement, all *sessionstate.Statements) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[key] != nil {
		return
	}
	if len(a.known) >= maxAccepted {
		a.forgetLocked(all)
	}
	if a.known == nil {
		a.known = map[acceptedKey]*sessionstate.Statement{}
	}
	all.Hold(st)
	a.known[key] = st
}

// list is how often each statement is remembered.
func (a *accepted) list() map[*sessionstate.Statement]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	times := make(map[*sessionstate.Statement]int, len(a.known))
	for _, st := range a.known {
		times[st]++
	}
	return times
}

func (a *accepted) forget(all *sessionstate.Statements) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetLocked(all)
}

func (a *accepted) forgetLocked(all *sessionstate.Statements) {
	for _, st := range a.known {
		all.Drop(st)
	}
	a.known = nil
}

// OnParsed implements backend.Borrower.
func (s *Session) OnParsed(st *sessionstate.Statement, again bool) {
	if again {
		s.endPrepare()
	}
	if st != nil && !st.Private && s.pins == 0 && s.doubts == nil && s.lease.Conn.Status() == 'I' {
		s.srv.accepted.add(acceptedKey{s.pool.Key, s.req.Settings, string(st.Body)}, st, &s.srv.statements)
	}
}

// parseKnown answers a Parse of a statement that PostgreSQL has accepted before, for a client that would have to wait
// for a server session only to name it: the statement is prepared where it is used. Programs that prepare one
// connection after the other (pgbench) would otherwise wait for themselves, while their other connections hold every
// server session. It reports false when the client must wait.
func (s *Session) parseKnown(frame []byte) bool {
	name, body, ok := wire.Cstring(frame[wire.HeaderSize:])
	if !ok || len(name) == 0 || s.hasName(string(name)) || len(s.names) >= maxNames {
		return false
	}
	st := s.srv.accepted.find(acceptedKey{s.pool.Key, s.req.Settings, string(body)})
	if st == nil || !s.pool.Withdraw(&s.req) {
		return false
	}
	if s.names == nil {
		s.names = map[string]*sessionstate.Statement{}
	}
	s.srv.statements.Hold(st)
	s.names[string(name)] = st
	s.traffic.ClientParses++
	s.enter(PhaseIdle)
	s.client.Write(wire.AppendHeader(nil, '1', 0))
	return true
}
