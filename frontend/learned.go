package frontend

import (
	"sync"
	"sync/atomic"

	"pooler/internal/sessionstate"
)

// learned is the statements that have left state which their text does not show. They are audited each time. Any
// goroutine may use it.
type learned struct {
	len   atomic.Int32
	mu    sync.Mutex
	known map[string]struct{} // by fingerprint
}

// maxLearned bounds the memory; beyond it all is forgotten and learned anew.
const maxLearned = 10_000

func (l *learned) has(text []byte) bool {
	if l.len.Load() == 0 {
		return false
	}
	key := sessionstate.Fingerprint(text[:min(len(text), maxShownText)], true, sessionstate.FingerprintKey)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.known[key]
	return ok
}

// add reports whether the statement is new.
func (l *learned) add(text []byte) bool {
	key := sessionstate.Fingerprint(text, true, sessionstate.FingerprintKey)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil || len(l.known) >= maxLearned {
		l.known = map[string]struct{}{}
	}
	if _, known := l.known[key]; known {
		return false
	}
	l.known[key] = struct{}{}
	l.len.Store(int32(len(l.known)))
	return true
}
