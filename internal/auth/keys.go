package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/xdg-go/stringprep"

	"pooler/config"
)

const (
	keySize  = sha256.Size
	saltSize = 16 // PostgreSQL's SCRAM_DEFAULT_SALT_LEN, in bytes

	maxIterations = config.MaxIterations // that a stored secret or a server can make us compute

	maxKeys = 10_000 // entries of the cache, about 200 bytes each
)

// scramKeys is what SCRAM derives from a password, a salt and iterations (RFC 5802, section 3).
type scramKeys struct {
	client, stored, server [keySize]byte
}

// Keys derives the keys of SCRAM from passwords and remembers them, since to derive them costs a millisecond or more. It
// serves both roles, and any goroutine.
//
// What it remembers goes by a keyed digest of password, salt and iterations together: a changed secret is another entry,
// and no password is kept.
type Keys struct {
	secret [sha256.Size]byte // key of made-up salts and of the digests
	clear  atomic.Bool       // somebody's password is known in clear text

	mu         sync.Mutex // guards all below
	iterations int
	cache      *generations[keyID, *derivation] // nil: nothing is remembered
}

type keyID [sha256.Size]byte

// derivation is keys that are being derived or have been.
type derivation struct {
	once sync.Once
	done atomic.Bool
	keys scramKeys
}

// NewKeys makes a Keys. iterations (scram_iterations) is for what is derived from secrets in clear text; without cached
// (scram_key_cache), everything is derived each time it is needed.
func NewKeys(iterations int, cached bool) *Keys {
	k := &Keys{}
	_, _ = rand.Read(k.secret[:]) // never fails (crypto/rand)
	k.Configure(iterations, cached)
	return k
}

// Configure changes what NewKeys was given. The salts that are made up for users without a secret stay, so that a reload
// does not tell them from others.
func (k *Keys) Configure(iterations int, cached bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.iterations = max(1, min(iterations, maxIterations))
	switch {
	case !cached:
		k.cache = nil
	case k.cache == nil:
		cache := newGenerations[keyID, *derivation](maxKeys)
		k.cache = &cache
	}
}

// ExpectClearText has every wrong proof by SCRAM cost the same from now on: there are users with a password in clear text,
// and what they cost would tell that they exist.
func (k *Keys) ExpectClearText() { k.clear.Store(true) }

func (k *Keys) rounds() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.iterations
}

// Known tells whether the keys for a password have been derived, and can be had at once.
func (k *Keys) Known(password, salt []byte, iterations int) bool {
	d, ok := k.find(k.id(password, salt, iterations))
	return ok && d.done.Load()
}

// Verify tells whether password is that of user, whose secret is given in any form. For a user without one it takes as
// long as with a SCRAM secret.
func (k *Keys) Verify(user string, secret config.Secret, password []byte) bool {
	switch secret.Kind {
	case config.SecretClear:
		return equal(password, []byte(secret.Text))
	case config.SecretMD5:
		return equal([]byte(md5Secret(user, string(password))), []byte(secret.Text))
	case config.SecretSCRAM, config.SecretNone:
	}
	v, usable := k.verifier(user, secret)
	if v.Iterations > maxIterations {
		v, usable = k.madeUp(user), false
	}
	id := k.id(password, v.Salt, v.Iterations)
	if d, ok := k.find(id); ok && d.done.Load() {
		return equal(d.keys.stored[:], v.StoredKey) && usable
	}
	keys := derive(password, v.Salt, v.Iterations)
	ok := equal(keys.stored[:], v.StoredKey) && usable
	if ok { // wrong guesses must not drive the keys of others out
		k.keep(id, keys)
	}
	return ok
}

// verifier is what SCRAM compares a client's proof with. For a user without a usable secret it is made up, always the
// same for the same name, and usable is false: the conversation then runs to its end and fails. The keys of a password in
// clear text cost sums, and are still to be filled in.
func (k *Keys) verifier(user string, secret config.Secret) (v config.Verifier, usable bool) {
	switch secret.Kind {
	case config.SecretSCRAM:
		if v, ok := secret.Verifier(); ok {
			return v, true
		}
	case config.SecretClear:
		v := k.madeUp(user)
		v.StoredKey, v.ServerKey = make([]byte, keySize), make([]byte, keySize)
		return v, true
	case config.SecretMD5, config.SecretNone:
	}
	return k.madeUp(user), false
}

func (k *Keys) madeUp(user string) config.Verifier {
	return config.Verifier{Iterations: k.rounds(), Salt: k.salt(user), StoredKey: k.secret[:], ServerKey: k.secret[:]}
}

func (k *Keys) salt(user string) []byte {
	return mac(k.secret[:], "salt "+user)[:saltSize]
}

// id names what is derived. The digest is keyed, so that the cache is no list of password hashes.
func (k *Keys) id(password, salt []byte, iterations int) (id keyID) {
	digest := sha256.Sum256(password)
	m := hmac.New(sha256.New, k.secret[:])
	m.Write([]byte("keys "))
	m.Write(digest[:])
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(iterations)))
	m.Write(salt)
	m.Sum(id[:0])
	return id
}

func (k *Keys) find(id keyID) (*derivation, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cache == nil {
		return nil, false
	}
	return k.cache.get(id)
}

func (k *Keys) keep(id keyID, keys scramKeys) {
	d := &derivation{keys: keys}
	d.once.Do(func() {})
	d.done.Store(true)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cache != nil {
		k.cache.put(id, d)
	}
}

// derived returns the keys for a password. Many who ask for the same at once wait for one derivation.
func (k *Keys) derived(password, salt []byte, iterations int) scramKeys {
	d := k.begin(k.id(password, salt, iterations))
	d.once.Do(func() {
		d.keys = derive(password, salt, iterations)
		d.done.Store(true)
	})
	return d.keys
}

func (k *Keys) begin(id keyID) *derivation {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cache == nil {
		return &derivation{}
	}
	d, ok := k.cache.get(id)
	if !ok {
		d = &derivation{}
		k.cache.put(id, d)
	}
	return d
}

func derive(password, salt []byte, iterations int) (keys scramKeys) {
	salted, err := pbkdf2.Key(sha256.New, prepare(string(password)), salt, iterations, keySize)
	if err != nil {
		panic(fmt.Sprintf("bug: PBKDF2: %v", err)) // only for impossible sizes
	}
	copy(keys.client[:], mac(salted, "Client Key"))
	keys.stored = sha256.Sum256(keys.client[:])
	copy(keys.server[:], mac(salted, "Server Key"))
	clear(salted)
	return keys
}

// prepare normalises a password as PostgreSQL does: SASLprep, or as it is where that is not possible.
func prepare(password string) string {
	if p, err := stringprep.SASLprep.Prepare(password); err == nil {
		return p
	}
	return password
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
