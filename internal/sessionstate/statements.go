package sessionstate

import (
	"bytes"
	"strconv"
	"sync"
)

// Statement is a prepared statement of the protocol, known by its text and parameter types, whatever names clients
// give it. It never changes, so every loop may hold it.
type Statement struct {
	Name    string // on server sessions, PoolerPrefix and a number
	Body    []byte // of its Parse message behind the name: text, NUL, parameter types
	Text    *Text  // what its text does
	Private bool   // its text was too large to keep: it lives on one server session and pins that to its client
	refs    int    // clients and conns that know it; guarded by Statements.mu
}

// PoolerPrefix begins the names of statements that the pooler prepares on servers.
const PoolerPrefix = "_pooler_"

// MissingStatement is a name that no client can have prepared: using it provokes an error.
const MissingStatement = PoolerPrefix + "missing"

// Statements makes equal statements identical, for all clients. It may be used by any goroutine.
type Statements struct {
	mu   sync.Mutex
	all  map[string]*Statement
	last uint64
}

// Get returns the statement with the given Parse body, which it copies, and counts one more holder. standardStrings
// is the session's standard_conforming_strings, by which a new text is scanned.
func (t *Statements) Get(body []byte, standardStrings bool) *Statement {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.all[string(body)]
	if s == nil {
		if t.all == nil {
			t.all = map[string]*Statement{}
		}
		s = t.newLocked()
		s.Body = append([]byte(nil), body...)
		s.Text = Describe(TextOf(s.Body), standardStrings)
		t.all[string(s.Body)] = s
	}
	s.refs++
	return s
}

// Describe returns what is known of a text.
func Describe(text []byte, standardStrings bool) *Text {
	t := &Text{Effects: Scan(text, standardStrings)}
	if t.Effects != 0 {
		t.Details = Inspect(text, standardStrings)
	}
	return t
}

// TextOf is the statement text at the beginning of a Parse body behind the name.
func TextOf(body []byte) []byte {
	if i := bytes.IndexByte(body, 0); i >= 0 {
		return body[:i]
	}
	return body
}

// NewPrivate returns a statement whose text is not kept.
func (t *Statements) NewPrivate() *Statement {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.newLocked()
	s.Private, s.refs, s.Text = true, 1, &Text{Effects: EffectUnknown}
	return s
}

func (t *Statements) newLocked() *Statement {
	t.last++
	return &Statement{Name: PoolerPrefix + strconv.FormatUint(t.last, 36)}
}

// Hold counts one more holder of s.
func (t *Statements) Hold(s *Statement) {
	t.mu.Lock()
	s.refs++
	t.mu.Unlock()
}

// Drop counts one holder less; a statement that nobody holds is forgotten.
func (t *Statements) Drop(s *Statement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.refs--; s.refs <= 0 && t.all[string(s.Body)] == s {
		delete(t.all, string(s.Body))
	}
}

// Holders is a copy of all that are kept, with how many clients and conns know each.
func (t *Statements) Holders() map[*Statement]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[*Statement]int, len(t.all))
	for _, s := range t.all {
		all[s] = s.refs
	}
	return all
}

// Len is how many different texts are kept.
func (t *Statements) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}
