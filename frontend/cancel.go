package frontend

import (
	"encoding/binary"
	"sync"
)

// SessionID numbers sessions. It is also the process ID in the BackendKeyData that a client gets.
type SessionID uint32

// sessions is the clients that are logged in, by ID: for cancel requests, shutdown and views. Those in the console are
// counted apart. Any goroutine may use it.
type sessions struct {
	mu     sync.Mutex // guards all below
	byID   map[SessionID]*Session
	admins map[SessionID]*adminClient
	closed bool // to the console's clients
	last   SessionID
	keys   cancelKeys // never changes
}

// add gives s its ID.
func (t *sessions) add(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = map[SessionID]*Session{}
	}
	s.id = t.nextLocked()
	t.byID[s.id] = s
}

// nextLocked is an ID that nobody has.
func (t *sessions) nextLocked() SessionID {
	for {
		if t.last++; t.last > 1<<31-1 {
			t.last = 1 // a process ID is a positive int32 to clients
		}
		if t.byID[t.last] == nil && t.admins[t.last] == nil {
			return t.last
		}
	}
}

func (t *sessions) remove(s *Session) {
	t.mu.Lock()
	delete(t.byID, s.id)
	t.mu.Unlock()
}

func (t *sessions) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

func (t *sessions) all() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*Session, 0, len(t.byID))
	for _, s := range t.byID {
		all = append(all, s)
	}
	return all
}

// get returns the session with that ID, or nil.
func (t *sessions) get(id SessionID) *Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// find returns the session that a cancel request names, or nil.
func (t *sessions) find(id SessionID, secret []byte) *Session {
	s := t.get(id)
	if s == nil || !equal(t.keys.secret(id, s.begun, s.keySize), secret) {
		return nil
	}
	return s
}

// cancel carries out a CancelRequest for the session that key names, and reports whether that is right; nobody else is
// told whether there is one. It calls taken when that is done: only then may the connection that brought the request be
// closed, since a client that sees it closed takes its next statement to be safe from the cancel, as with PostgreSQL.
func (srv *Server) cancel(key cancelKey, taken func()) (right bool) {
	if s := srv.sessions.find(SessionID(key.id), key.secret); s != nil {
		srv.counters.cancels.Add(1)
		s.req.Loop.Post(func() {
			s.onCancel()
			taken()
		})
		return true
	}
	defer taken()
	if a := srv.sessions.findAdmin(SessionID(key.id), key.secret); a != nil {
		srv.counters.cancels.Add(1)
		a.interrupted()
		return true
	}
	srv.counters.cancelsUnknown.Add(1)
	return false
}

func appendKeyData(dst []byte, id SessionID, secret []byte) []byte {
	dst = append(dst, 'K')
	dst = binary.BigEndian.AppendUint32(dst, uint32(8+len(secret)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(id))
	return append(dst, secret...)
}
