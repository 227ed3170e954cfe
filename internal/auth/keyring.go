package auth

import (
	"sync"

	"pooler/config"
)

// maxKeyring bounds a Keyring, in accounts: about 50 MB. There are not more pools than that.
const maxKeyring = 100_000

// Account names what is learned: the key of a pool, and where it opens a door. What was learned for one server is never
// shown to another, nor in the clear if that was not so when it was learned.
type Account struct {
	Database   string // as the client named it
	User       string // as the client named it
	Host       string
	Port       int
	DBName     string // in PostgreSQL
	ServerUser string
	TLS        config.ServerTLS
}

// AccountOf is the account of the pool that cfg describes.
func AccountOf(cfg config.Pool) Account {
	return Account{cfg.Database, cfg.User, cfg.Host, cfg.Port, cfg.DBName, cfg.ServerUser, cfg.TLS}
}

// Keyring keeps what the logins of clients have taught, for the logins at PostgreSQL that follow. Any goroutine may use
// it. It is bounded; what has not been used for longest goes first.
type Keyring struct {
	mu    sync.Mutex // guards known
	known generations[Account, learned]
}

// learned is what is known for an account.
type learned struct {
	now    Credential
	works  bool       // PostgreSQL has taken it, and has not refused it since
	behind Credential // learned meanwhile; takes its place as soon as that is refused
}

// NewKeyring makes an empty Keyring.
func NewKeyring() *Keyring {
	return &Keyring{known: newGenerations[Account, learned](maxKeyring)}
}

// Learn keeps c for account and reports whether the next login is with it, and was not before. It takes the place of what
// is there, unless that is known to work: a client may have proven itself here by something that PostgreSQL does not know,
// and must not spoil it for others. An empty c is not kept.
func (r *Keyring) Learn(account Account, c Credential) bool {
	if c.IsZero() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, _ := r.known.get(account)
	switch {
	case l.now.Equal(c):
		return false
	case l.works:
		l.behind = c
	default:
		l = learned{now: c}
	}
	r.known.put(account, l)
	return !l.works
}

// Find returns what is known for account. A nil Keyring knows nothing.
func (r *Keyring) Find(account Account) (Credential, bool) {
	if r == nil {
		return Credential{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.known.get(account)
	return l.now, ok
}

// Accepted notes that PostgreSQL has taken c.
func (r *Keyring) Accepted(account Account, c Credential) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.known.get(account); ok && !l.works && l.now.Equal(c) {
		l.works = true
		r.known.put(account, l)
	}
}

// Refused notes that PostgreSQL has not let us in with c, and reports whether there is something else to log in with. What
// is wrong is dropped; c is not known to be that where PostgreSQL asks others, such as a directory that may be down, and
// then it stays until something else is learned.
func (r *Keyring) Refused(account Account, c Credential, wrong bool) (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.known.get(account)
	switch {
	case !ok || !l.now.Equal(c):
		return ok
	case !l.behind.IsZero():
		r.known.put(account, learned{now: l.behind})
		return true
	case wrong:
		r.known.drop(account)
	default:
		r.known.put(account, learned{now: c})
	}
	return false
}

// Forget drops what is known for account, for when its pool goes.
func (r *Keyring) Forget(account Account) {
	r.mu.Lock()
	r.known.drop(account)
	r.mu.Unlock()
}

// Len is how many accounts something is known for.
func (r *Keyring) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known.len()
}
