package frontend

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"

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

// authenticate has the client prove that it is user. What it is told when that fails is the same whether the user
// exists or not.
func (cr *credentials) authenticate(p *packets, user string) error {
	if cr.method == config.AuthTrust {
		return nil
	}
	secret, known := cr.file.Secret(user)
	method := cr.method
	if method == config.AuthMD5 && (secret.Kind == config.SecretSCRAM || !known) {
		method = config.AuthSCRAM // as PostgreSQL: md5 asks for SCRAM where only that can be checked
	}
	var ok bool
	var err error
	switch method {
	case config.AuthPassword:
		ok, err = cr.checkPassword(p, user, secret)
	case config.AuthMD5:
		ok, err = checkMD5(p, user, secret)
	case config.AuthSCRAM, config.AuthTrust:
		ok, err = cr.checkSCRAM(p, user, secret)
	}
	if err == nil && !ok {
		err = &Refusal{Code: codeInvalidPassword, Message: fmt.Sprintf("password authentication failed for user %q", user)}
	}
	return err
}

func ask(nc net.Conn, msg pgproto3.BackendMessage) error {
	out, err := msg.Encode(nil)
	if err != nil {
		return err
	}
	_, err = nc.Write(out)
	return err
}

func (cr *credentials) checkPassword(p *packets, user string, secret config.Secret) (bool, error) {
	if err := ask(p.nc, &pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return false, err
	}
	body, err := p.password()
	if err != nil {
		return false, err
	}
	password, _, ok := wire.Cstring(body)
	if !ok {
		return false, protocolViolation("invalid password packet")
	}
	switch secret.Kind {
	case config.SecretClear:
		return equal(password, []byte(secret.Text)), nil
	case config.SecretMD5:
		return equal([]byte(md5Secret(user, string(password))), []byte(secret.Text)), nil
	case config.SecretSCRAM, config.SecretNone:
	}
	return cr.scram.verify(user, secret, string(password)), nil
}

func checkMD5(p *packets, user string, secret config.Secret) (bool, error) {
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails (crypto/rand)
	if err := ask(p.nc, &pgproto3.AuthenticationMD5Password{Salt: salt}); err != nil {
		return false, err
	}
	body, err := p.password()
	if err != nil {
		return false, err
	}
	answer, _, ok := wire.Cstring(body)
	if !ok {
		return false, protocolViolation("invalid password packet")
	}
	stored := secret.Text
	if secret.Kind == config.SecretClear {
		stored = md5Secret(user, secret.Text)
	}
	if len(stored) != len("md5")+2*md5.Size {
		return false, nil
	}
	want := md5.Sum(append([]byte(stored[3:]), salt[:]...))
	return equal(answer, []byte("md5"+hex.EncodeToString(want[:]))), nil
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
