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

	mu      sync.Mutex
	derived map[string]scram.StoredCredentials
}

func newScramKeys() *scramKeys {
	k := &scramKeys{derived: map[string]scram.StoredCredentials{}}
	_, _ = rand.Read(k.mock[:]) // never fails (crypto/rand)
	return k
}

// checkSCRAM runs SCRAM-SHA-256 as the server. PostgreSQL takes the user from the StartupMessage and ignores the one
// in SCRAM, and so do we.
func (cr *credentials) checkSCRAM(p *packets, user string, secret config.Secret) (bool, error) {
	stored, usable := cr.scram.credentials(user, secret)
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return false, err
	}
	if err := ask(p.nc, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramMechanism}}); err != nil {
		return false, err
	}
	body, err := p.password()
	if err != nil {
		return false, err
	}
	var first pgproto3.SASLInitialResponse
	if err := first.Decode(body); err != nil {
		return false, protocolViolation("malformed SASL initial response")
	}
	if first.AuthMechanism != scramMechanism {
		return false, protocolViolation("client selected an invalid SASL authentication mechanism")
	}
	talk := server.NewConversation()
	challenge, err := talk.Step(string(first.Data))
	if err != nil {
		return false, protocolViolation("malformed SCRAM message")
	}
	if err := ask(p.nc, &pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}); err != nil {
		return false, err
	}
	if body, err = p.password(); err != nil {
		return false, err
	}
	proof, err := talk.Step(string(body))
	if err != nil || !talk.Valid() || !usable {
		return false, nil //nolint:nilerr // a wrong proof is no fault; the client is told that its password is wrong
	}
	return true, ask(p.nc, &pgproto3.AuthenticationSASLFinal{Data: []byte(proof)})
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

func (k *scramKeys) salt(user string) []byte {
	mac := hmac.New(sha256.New, k.mock[:])
	mac.Write([]byte(user))
	return mac.Sum(nil)[:scramSaltSize]
}

func (k *scramKeys) derive(user, password string) scram.StoredCredentials {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.derived[user]; ok {
		return c
	}
	salt := k.salt(user)
	stored, server := scramSecret(password, salt, scramIterations)
	c := scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: scramIterations},
		StoredKey:  stored, ServerKey: server,
	}
	k.derived[user] = c
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
