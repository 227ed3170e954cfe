package backend

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// authenticator proves us to PostgreSQL.
type authenticator struct {
	server   *pgproto3.Frontend
	user     string
	password string
	scram    *scram.ClientConversation
}

// ErrNoPassword tells that PostgreSQL wants a password and none is configured for the user.
var ErrNoPassword = errors.New(`PostgreSQL wants a password; give one under [databases.NAME] or [users.NAME] (password = "...") or in clear text in auth_file`)

func (a *authenticator) answer(msg pgproto3.BackendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.AuthenticationOk:
		return nil
	case *pgproto3.AuthenticationCleartextPassword:
		return a.sendPassword(func() string { return a.password })
	case *pgproto3.AuthenticationMD5Password:
		return a.sendPassword(func() string { return md5Password(a.user, a.password, msg.Salt) })
	case *pgproto3.AuthenticationSASL:
		return a.beginSCRAM(msg.AuthMechanisms)
	case *pgproto3.AuthenticationSASLContinue:
		return a.stepSCRAM(msg.Data, true)
	case *pgproto3.AuthenticationSASLFinal:
		return a.stepSCRAM(msg.Data, false)
	}
	return fmt.Errorf("PostgreSQL asks for a way to log in that the pooler does not know (%T)", msg)
}

func (a *authenticator) sendPassword(secret func() string) error {
	if a.password == "" {
		return ErrNoPassword
	}
	a.server.Send(&pgproto3.PasswordMessage{Password: secret()})
	return a.server.Flush()
}

// md5Password is PostgreSQL's answer to AuthenticationMD5Password: the stored hash, hashed again with the salt.
func md5Password(user, password string, salt [4]byte) string {
	stored := md5.Sum([]byte(password + user))
	again := md5.Sum(append([]byte(hex.EncodeToString(stored[:])), salt[:]...))
	return "md5" + hex.EncodeToString(again[:])
}

func (a *authenticator) beginSCRAM(mechanisms []string) error {
	const mechanism = "SCRAM-SHA-256"
	if !slices.Contains(mechanisms, mechanism) {
		return fmt.Errorf("PostgreSQL offers only %v to log in, the pooler knows %s", mechanisms, mechanism)
	}
	if a.password == "" {
		return ErrNoPassword
	}
	// PostgreSQL takes the user from the StartupMessage and ignores the one in SCRAM.
	client, err := scram.SHA256.NewClientUnprepped("", prepare(a.password), "")
	if err != nil {
		return err
	}
	a.scram = client.NewConversation()
	first, err := a.scram.Step("")
	if err != nil {
		return err
	}
	a.server.Send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)})
	return a.server.Flush()
}

func (a *authenticator) stepSCRAM(challenge []byte, reply bool) error {
	if a.scram == nil {
		return errors.New("PostgreSQL sent a SCRAM challenge that was not asked for")
	}
	answer, err := a.scram.Step(string(challenge))
	if err != nil {
		return fmt.Errorf("SCRAM with PostgreSQL: %w", err)
	}
	if !reply {
		return nil
	}
	a.server.Send(&pgproto3.SASLResponse{Data: []byte(answer)})
	return a.server.Flush()
}

// prepare normalises a password as PostgreSQL does: SASLprep, or as it is where that is not possible.
func prepare(password string) string {
	if p, err := stringprep.SASLprep.Prepare(password); err == nil {
		return p
	}
	return password
}
