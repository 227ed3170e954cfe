package frontend

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Sizes of the secret in a cancel key, in bytes.
const (
	shortSecret   = 4   // protocol 3.0
	longSecret    = 32  // what PostgreSQL 18 gives to clients of protocol 3.2 (MAX_CANCEL_KEY_LENGTH)
	largestSecret = 256 // protocol 3.2 allows as much
)

// cancelKeys makes the secrets of cancel keys. Each is a MAC of whom it is for under a key that is random and never leaves
// the process, so that none has to be kept: a session is no larger for a secret of 32 bytes. Any goroutine may use it.
type cancelKeys struct{ key [sha256.Size]byte }

func newCancelKeys() (k cancelKeys) {
	_, _ = rand.Read(k.key[:]) // never fails (crypto/rand)
	return k
}

// secret is that of the client with that ID, which was born then: an ID comes again after 2^31 others.
func (k *cancelKeys) secret(id SessionID, born time.Duration, size uint8) []byte {
	mac := hmac.New(sha256.New, k.key[:])
	var who [12]byte
	binary.BigEndian.PutUint32(who[:], uint32(id))
	binary.BigEndian.PutUint64(who[4:], uint64(born))
	mac.Write(who[:])
	return mac.Sum(nil)[:size]
}
