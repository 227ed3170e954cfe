package frontend

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/wire"
)

// credentials is what clients are checked against, and what the pooler logs in to PostgreSQL with where the
// configuration does not say. It never changes; a reload makes a new one.
type credentials struct {
	method config.AuthType
	file   *config.AuthFile // nil with trust
	scram  *scramKeys
}

// challenge begins to ask for a proof that a client is user: ask is what it is told. p is nil if no proof is needed.
// What a client is told when its proof fails is the same whether the user exists or not.
func (cr *credentials) challenge(user string) (ask []byte, p proof) {
	method := cr.methodFor(user)
	if method == methodTrust {
		return nil, nil
	}
	secret, _ := cr.file.Secret(user)
	if method == methodPassword {
		return encoded(&pgproto3.AuthenticationCleartextPassword{}), &passwordProof{cr.scram, user, secret}
	}
	if method == methodMD5 {
		m := &md5Proof{user: user, secret: secret}
		_, _ = rand.Read(m.salt[:]) // never fails (crypto/rand)
		return encoded(&pgproto3.AuthenticationMD5Password{Salt: m.salt}), m
	}
	return encoded(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramMechanism}}), &scramProof{keys: cr.scram, user: user, secret: secret}
}

func encoded(msg pgproto3.BackendMessage) []byte {
	out, err := msg.Encode(nil)
	if err != nil {
		panic("bug: " + err.Error()) // only for messages beyond 2 GB
	}
	return out
}

// believed is how a proof ends.
func believed(ok bool, user string) (reply []byte, proven bool, err error) {
	if !ok {
		err = &Refusal{Code: codeInvalidPassword, Message: fmt.Sprintf("password authentication failed for user %q", user)}
	}
	return nil, ok, err
}

// passwordProof is the password itself.
type passwordProof struct {
	keys   *scramKeys
	user   string
	secret config.Secret
}

func (p *passwordProof) costly() bool {
	return p.secret.Kind != config.SecretClear && p.secret.Kind != config.SecretMD5
}

func (p *passwordProof) next(answer []byte) (reply []byte, proven bool, err error) {
	password, _, ok := wire.Cstring(answer)
	if !ok {
		return nil, false, protocolViolation("invalid password packet")
	}
	switch p.secret.Kind {
	case config.SecretClear:
		ok = equal(password, []byte(p.secret.Text))
	case config.SecretMD5:
		ok = equal([]byte(md5Secret(p.user, string(password))), []byte(p.secret.Text))
	case config.SecretSCRAM, config.SecretNone:
		ok = p.keys.verify(p.user, p.secret, string(password))
	}
	return believed(ok, p.user)
}

// md5Proof is the password's hash, hashed with a salt.
type md5Proof struct {
	user   string
	secret config.Secret
	salt   [4]byte
}

func (p *md5Proof) costly() bool { return false }

func (p *md5Proof) next(answer []byte) (reply []byte, proven bool, err error) {
	hash, _, ok := wire.Cstring(answer)
	if !ok {
		return nil, false, protocolViolation("invalid password packet")
	}
	stored := p.secret.Text
	if p.secret.Kind == config.SecretClear {
		stored = md5Secret(p.user, p.secret.Text)
	}
	if len(stored) != len("md5")+2*md5.Size {
		return believed(false, p.user)
	}
	want := md5.Sum(append([]byte(stored[3:]), p.salt[:]...))
	return believed(equal(hash, []byte("md5"+hex.EncodeToString(want[:]))), p.user)
}

// md5Secret is PostgreSQL's stored form of an MD5 password.
func md5Secret(user, password string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// serverPassword is what the pooler proves itself with to PostgreSQL: the configuration's, else a clear text of the
// auth_file.
func (cr *credentials) serverPassword(cfg config.Pool) string {
	if cfg.ServerPassword != "" || cr.file == nil {
		return cfg.ServerPassword
	}
	if secret, ok := cr.file.Secret(cfg.ServerUser); ok && secret.Kind == config.SecretClear {
		return secret.Text
	}
	return ""
}
