package auth

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

// Password asks a client for the password itself. secret may be in any form; an empty one fails like a wrong password.
func Password(keys *Keys, user string, secret config.Secret) (ask []byte, p Proof) {
	return encoded(&pgproto3.AuthenticationCleartextPassword{}), &passwordProof{keys: keys, user: user, secret: secret}
}

type passwordProof struct {
	keys    *Keys
	user    string
	secret  config.Secret
	learned string
}

func (p *passwordProof) Cost() Cost {
	if p.secret.Kind == config.SecretClear || p.secret.Kind == config.SecretMD5 {
		return Cheap
	}
	return Sums
}

func (p *passwordProof) Next(_ context.Context, answer []byte) (reply []byte, proven bool, err error) {
	defer clear(answer)
	password, err := cutPassword(answer)
	if err != nil {
		return nil, false, err
	}
	if !p.keys.Verify(p.user, p.secret, password) {
		return nil, false, ErrWrong
	}
	p.learned = string(password)
	return nil, true, nil
}

func (p *passwordProof) Learned() (Credential, bool) {
	return Credential{Password: p.learned}, p.learned != ""
}

// cutPassword is PostgreSQL's recv_password_packet.
func cutPassword(answer []byte) ([]byte, error) {
	if i := bytes.IndexByte(answer, 0); i < 0 || i != len(answer)-1 {
		return nil, violation("invalid password packet size", "")
	}
	if len(answer) == 1 {
		return nil, &ProtocolError{Code: codeInvalidPassword, Message: "empty password returned by client"}
	}
	return answer[:len(answer)-1], nil
}

// MD5 asks a client for the hash of its password, hashed again with a salt. Only a secret in clear text or in MD5's form
// can be checked so; any other fails like a wrong password.
func MD5(user string, secret config.Secret) (ask []byte, p Proof) {
	proof := &md5Proof{user: user, secret: secret}
	_, _ = rand.Read(proof.salt[:]) // never fails (crypto/rand)
	return encoded(&pgproto3.AuthenticationMD5Password{Salt: proof.salt}), proof
}

type md5Proof struct {
	user   string
	secret config.Secret
	salt   [4]byte
}

func (p *md5Proof) Cost() Cost { return Cheap }

func (p *md5Proof) Next(_ context.Context, answer []byte) (reply []byte, proven bool, err error) {
	hash, err := cutPassword(answer)
	if err != nil {
		return nil, false, err
	}
	stored := p.secret.Text
	switch p.secret.Kind {
	case config.SecretClear:
		stored = md5Secret(p.user, p.secret.Text)
	case config.SecretMD5:
	case config.SecretNone, config.SecretSCRAM:
		return nil, false, ErrWrong
	}
	if !equal(hash, []byte(md5Answer(stored, p.salt))) {
		return nil, false, ErrWrong
	}
	return nil, true, nil
}

func (p *md5Proof) Learned() (Credential, bool) {
	if p.secret.Kind == config.SecretClear {
		return Credential{Password: p.secret.Text}, true
	}
	return Credential{MD5: p.secret.Text}, true
}

// md5Secret is PostgreSQL's stored form of an MD5 password.
func md5Secret(user, password string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// md5Answer is what answers AuthenticationMD5Password: the stored hash, hashed again with the salt.
func md5Answer(stored string, salt [4]byte) string {
	sum := md5.Sum(append([]byte(stored[len("md5"):]), salt[:]...))
	return "md5" + hex.EncodeToString(sum[:])
}
