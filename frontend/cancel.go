package frontend

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"sync"
)

// SessionID numbers sessions. It is also the process ID in the BackendKeyData that a client gets.
type SessionID uint32

// secretSize is the size of a cancel key's secret in protocol 3.0, in bytes.
const secretSize = 4

// sessions is the clients that are logged in, by ID: for cancel requests, shutdown and views. Those in the console are
// counted apart. Any goroutine may use it.
type sessions struct {
	mu     sync.Mutex // guards all below
	byID   map[SessionID]*Session
	admins map[SessionID]*adminClient
	closed bool // to the console's clients
	last   SessionID
	seed   secrets
}

// add gives s its ID and cancel secret.
func (t *sessions) add(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = map[SessionID]*Session{}
	}
	s.id, s.secret = t.nextLocked(), t.seed.next()
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

// find returns the session that a cancel request names, or nil. A wrong secret takes as long as a right one.
func (t *sessions) find(id SessionID, secret []byte) *Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[id]
	if s == nil || subtle.ConstantTimeCompare(s.secret[:], secret) != 1 {
		return nil
	}
	return s
}

// secrets hands out random cancel secrets, drawn from the kernel in batches. Guarded by sessions.mu.
type secrets struct {
	pool [256 * secretSize]byte
	left []byte
}

func (r *secrets) next() (secret [secretSize]byte) {
	if len(r.left) < secretSize {
		_, _ = rand.Read(r.pool[:]) // never fails (crypto/rand)
		r.left = r.pool[:]
	}
	copy(secret[:], r.left)
	r.left = r.left[secretSize:]
	return secret
}

// cancel carries out a CancelRequest for the session that key names; nobody is told whether there is one. It calls
// taken when that is done: only then may the connection that brought the request be closed, since a client that sees
// it closed takes its next statement to be safe from the cancel, as with PostgreSQL.
func (srv *Server) cancel(key cancelKey, taken func()) {
	s := srv.sessions.find(SessionID(key.id), key.secret)
	if s == nil {
		if a := srv.sessions.findAdmin(SessionID(key.id), key.secret); a != nil {
			srv.counters.cancels.Add(1)
			a.interrupted()
		} else {
			srv.counters.cancelsUnknown.Add(1)
		}
		taken()
		return
	}
	srv.counters.cancels.Add(1)
	s.req.Loop.Post(func() {
		s.onCancel()
		taken()
	})
}

func appendKeyData(dst []byte, id SessionID, secret [secretSize]byte) []byte {
	dst = append(dst, 'K', 0, 0, 0, 8+secretSize)
	dst = binary.BigEndian.AppendUint32(dst, uint32(id))
	return append(dst, secret[:]...)
}
