package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"pooler/frontend"
)

const (
	maxSessions  = 1000
	sessionIdle  = 12 * time.Hour
	sessionLife  = 7 * 24 * time.Hour // however much it is used
	ldapLife     = 12 * time.Hour     // of who may have been dismissed meanwhile, and nobody would say so: a long working day
	maxVerified  = 256
	verifiedLife = time.Minute
)

// digest stands for a secret in the tables: finding it takes no time that tells about others.
type digest [sha256.Size]byte

// held is a pass, and until when it counts. That can be put off, but not beyond its end.
type held struct {
	pass       *frontend.Pass
	until, end time.Time
}

// passes is a bounded table of them. Any goroutine may use it.
type passes struct {
	most int

	mu  sync.Mutex // guards all
	all map[digest]*held
}

// put adds a pass. When the table is full the one goes that would end first.
func (t *passes) put(key digest, pass *frontend.Pass, now, until, end time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[digest]*held{}
	}
	if len(t.all) >= t.most {
		t.makeRoomLocked(now)
	}
	t.all[key] = &held{pass, until, end}
}

func (t *passes) makeRoomLocked(now time.Time) {
	var first digest
	var ends time.Time
	for key, h := range t.all {
		if now.After(h.until) {
			delete(t.all, key)
		} else if ends.IsZero() || h.until.Before(ends) {
			first, ends = key, h.until
		}
	}
	if len(t.all) >= t.most {
		delete(t.all, first)
	}
}

// get finds a pass, whose end is put off by extend if that is not 0.
func (t *passes) get(key digest, now time.Time, extend time.Duration) *frontend.Pass {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.all[key]
	switch {
	case h == nil:
		return nil
	case now.After(h.until):
		delete(t.all, key)
		return nil
	case extend > 0:
		h.until = earlier(now.Add(extend), h.end)
	}
	return h.pass
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (t *passes) remove(key digest) {
	t.mu.Lock()
	delete(t.all, key)
	t.mu.Unlock()
}

// sessions are the logins of browsers, by the token in their cookie and the network they come from: what lets a user in there
// need not do so elsewhere, and a cookie that was stolen is worth nothing there.
type sessions struct{ passes }

func newSessions() *sessions { return &sessions{passes{most: maxSessions}} }

// add begins a session and returns its token.
func (s *sessions) add(pass *frontend.Pass, from netip.Addr, now time.Time) string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	life := sessionLife
	if pass.CheckedOnce() {
		life = ldapLife
	}
	s.put(sessionKey(token, from), pass, now, now.Add(min(life, sessionIdle)), now.Add(life))
	return token
}

func (s *sessions) find(token string, from netip.Addr, now time.Time) *frontend.Pass {
	return s.get(sessionKey(token, from), now, sessionIdle)
}

func (s *sessions) drop(token string, from netip.Addr) { s.remove(sessionKey(token, from)) }

func sessionKey(token string, from netip.Addr) digest {
	return sha256.Sum256([]byte(network(from).String() + " " + token))
}

// verified remembers passwords that were right, for programs that send theirs with each request: checking one can take a
// millisecond.
type verified struct {
	passes
	key [32]byte // so that what is kept is worth nothing elsewhere

	checks   sync.Mutex               // guards checking
	checking map[digest]chan struct{} // passwords that somebody checks now; closed when that is done
}

func newVerified() *verified {
	v := &verified{passes: passes{most: maxVerified}, checking: map[digest]chan struct{}{}}
	_, _ = rand.Read(v.key[:]) // never fails (crypto/rand)
	return v
}

func (v *verified) digest(user, password string) (d digest) {
	m := hmac.New(sha256.New, v.key[:])
	m.Write(binary.AppendUvarint(nil, uint64(len(user))))
	m.Write([]byte(user + password))
	m.Sum(d[:0])
	return d
}

func (v *verified) add(user, password string, pass *frontend.Pass, now time.Time) {
	end := now.Add(verifiedLife)
	v.put(v.digest(user, password), pass, now, end, end)
}

func (v *verified) find(user, password string, now time.Time) *frontend.Pass {
	return v.get(v.digest(user, password), now, 0)
}

// turn waits until nobody else checks that password of that user, for what they find may be found then. done ends the turn.
func (v *verified) turn(ctx context.Context, user, password string) (done func(), err error) {
	key, mine := v.digest(user, password), make(chan struct{})
	for {
		v.checks.Lock()
		others := v.checking[key]
		if others == nil {
			v.checking[key] = mine
		}
		v.checks.Unlock()
		if others == nil {
			return func() {
				v.checks.Lock()
				delete(v.checking, key)
				v.checks.Unlock()
				close(mine)
			}, nil
		}
		select {
		case <-others:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
