package auth

import "sync"

// maxKeyring bounds a Keyring, in accounts: about 30 MB. There are not more pools than that.
const maxKeyring = 100_000

// Account names what is learned: the key of a pool.
type Account struct {
	Database string // as the client named it
	User     string // as the client named it
}

// Keyring keeps what the logins of clients have taught, for the logins at PostgreSQL that follow. Any goroutine may use
// it. It is bounded; what has not been used for longest goes first.
type Keyring struct {
	mu          sync.Mutex // guards credentials
	credentials generations[Account, Credential]
}

// NewKeyring makes an empty Keyring.
func NewKeyring() *Keyring {
	return &Keyring{credentials: newGenerations[Account, Credential](maxKeyring)}
}

// Learn keeps c for account in place of what was there: the latest login tells what holds now. An empty c is not kept.
func (r *Keyring) Learn(account Account, c Credential) {
	if c.IsZero() {
		return
	}
	r.mu.Lock()
	r.credentials.put(account, c)
	r.mu.Unlock()
}

// Find returns what is known for account. A nil Keyring knows nothing.
func (r *Keyring) Find(account Account) (Credential, bool) {
	if r == nil {
		return Credential{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.credentials.get(account)
}

// Forget drops what is known for account, for when its pool goes or PostgreSQL has refused it.
func (r *Keyring) Forget(account Account) {
	r.mu.Lock()
	r.credentials.drop(account)
	r.mu.Unlock()
}

// Len is how many accounts something is known for.
func (r *Keyring) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.credentials.len()
}
