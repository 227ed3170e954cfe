package frontend

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"pooler/config"
)

const (
	scramMechanism  = "SCRAM-SHA-256"
	scramIterations = 4096 // PostgreSQL's SCRAM_SHA_256_DEFAULT_ITERATIONS
	scramSaltSize   = 16   // PostgreSQL's SCRAM_DEFAULT_SALT_LEN, in bytes
)

// scramKeys derives what SCRAM compares from the secrets of an auth_file, once per user: deriving costs about a
// millisecond. Any goroutine may use it.
type scramKeys struct {
	mock [sha256.Size]byte // key of the salts shown for users that do not exist, so that they look like others

	deriving sync.Mutex // held while keys are derived, so that those of a user are once; loops do not wait for it

	mu      sync.Mutex // guards derived
	derived map[string]scram.StoredCredentials
}

func newScramKeys() *scramKeys {
	k := &scramKeys{derived: map[string]scram.StoredCredentials{}}
	_, _ = rand.Read(k.mock[:]) // never fails (crypto/rand)
	return k
}

// scramProof is SCRAM-SHA-256, of which this is the server. PostgreSQL takes the user from the StartupMessage and
// ignores the one in SCRAM, and so do we.
type scramProof struct {
	keys   *scramKeys
	user   string
	secret config.Secret
	talk   *scram.ServerConversation // nil before the client's first message
	usable bool                      // the secret can be checked with SCRAM
}

func (p *scramProof) costly() bool {
	return p.talk == nil && p.secret.Kind == config.SecretClear && !p.keys.known(p.user)
}

func (p *scramProof) next(answer []byte) (reply []byte, proven bool, err error) {
	if p.talk == nil {
		reply, err = p.first(answer)
		return reply, false, err
	}
	final, err := p.talk.Step(string(answer))
	if err != nil || !p.talk.Valid() || !p.usable { // a wrong proof is no fault; the client is told that its password is wrong
		return believed(false, p.user)
	}
	return encoded(&pgproto3.AuthenticationSASLFinal{Data: []byte(final)}), true, nil
}

// first answers the client's first message, with the salt and our part of the nonce.
func (p *scramProof) first(answer []byte) ([]byte, error) {
	var first pgproto3.SASLInitialResponse
	if err := first.Decode(answer); err != nil {
		return nil, protocolViolation("malformed SASL initial response")
	}
	if first.AuthMechanism != scramMechanism {
		return nil, protocolViolation("client selected an invalid SASL authentication mechanism")
	}
	var stored scram.StoredCredentials
	stored, p.usable = p.keys.credentials(p.user, p.secret)
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return nil, err
	}
	p.talk = server.NewConversation()
	challenge, err := p.talk.Step(string(first.Data))
	if err != nil {
		return nil, protocolViolation("malformed SCRAM message")
	}
	return encoded(&pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}), nil
}

// credentials returns what to compare with. For a user without a usable secret it is made up, always the same for the
// same name, and usable is false: the conversation then runs to its end and fails.
func (k *scramKeys) credentials(user string, secret config.Secret) (stored scram.StoredCredentials, usable bool) {
	switch secret.Kind {
	case config.SecretSCRAM:
		if v, ok := secret.Verifier(); ok {
			return scram.StoredCredentials{
				KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Iterations},
				StoredKey:  v.StoredKey, ServerKey: v.ServerKey,
			}, true
		}
	case config.SecretClear:
		return k.derive(user, secret.Text), true
	case config.SecretMD5, config.SecretNone:
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(k.salt(user)), Iters: scramIterations},
		StoredKey:  k.mock[:], ServerKey: k.mock[:],
	}, false
}

// known tells whether a user's keys have been derived, and can be had at once.
func (k *scramKeys) known(user string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.derived[user]
	return ok
}

func (k *scramKeys) salt(user string) []byte {
	mac := hmac.New(sha256.New, k.mock[:])
	mac.Write([]byte(user))
	return mac.Sum(nil)[:scramSaltSize]
}

func (k *scramKeys) derive(user, password string) scram.StoredCredentials {
	k.deriving.Lock()
	defer k.deriving.Unlock()
	k.mu.Lock()
	c, ok := k.derived[user]
	k.mu.Unlock()
	if ok {
		return c
	}
	salt := k.salt(user)
	stored, server := scramSecret(password, salt, scramIterations)
	c = scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: scramIterations},
		StoredKey:  stored, ServerKey: server,
	}
	k.mu.Lock()
	k.derived[user] = c
	k.mu.Unlock()
	return c
}

// verify checks a clear-text password against a SCRAM secret. For one that there is not it takes as long.
func (k *scramKeys) verify(user string, secret config.Secret, password string) bool {
	stored, usable := k.credentials(user, secret)
	key, _ := scramSecret(password, []byte(stored.Salt), stored.Iters)
	return equal(key, stored.StoredKey) && usable
}

// scramSecret derives StoredKey and ServerKey (RFC 5802, section 3).
func scramSecret(password string, salt []byte, iterations int) (storedKey, serverKey []byte) {
	prepared, err := stringprep.SASLprep.Prepare(password)
	if err != nil {
		prepared = password // as PostgreSQL does
	}
	salted, err := pbkdf2.Key(sha256.New, prepared, salt, iterations, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("bug: PBKDF2: %v", err)) // only for impossible sizes
	}
	client := sha256.Sum256(mac(salted, "Client Key"))
	return client[:], mac(salted, "Server Key")
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
