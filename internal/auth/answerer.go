package auth

import (
	"crypto/md5"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
)

// ErrNoCredential tells that PostgreSQL wants a proof and there is nothing to prove us with.
var ErrNoCredential = errors.New(`PostgreSQL wants a password; give one under [databases.NAME] or [users.NAME] (password = "...") or in clear text in auth_file, or have clients log in by scram-sha-256, password or ldap`)

// Answerer proves us to PostgreSQL: it answers the messages that ask for a proof, and reads no socket itself. One
// goroutine at a time may use it, for one connection.
type Answerer struct {
	keys       *Keys
	user       string
	credential Credential
	binding    Binding
	scram      *scramClient // nil unless SCRAM has been begun
}

// NewAnswerer makes an Answerer for one connection. user is the one of the StartupMessage. binding is that of the TLS
// connection to the server: SCRAM-SHA-256-PLUS is then used when the server offers it.
func NewAnswerer(keys *Keys, user string, credential Credential, binding Binding) *Answerer {
	return &Answerer{keys: keys, user: user, credential: credential, binding: binding}
}

// Answer returns what the server is told in answer to msg, or nil when there is nothing to say. After an error the
// connection is of no use: the server has broken the protocol, cannot prove that it is the one, or wants what we do not
// have (ErrNoCredential). Deriving keys may take up to half a second of a processor.
func (a *Answerer) Answer(msg pgproto3.BackendMessage) (pgproto3.FrontendMessage, error) {
	switch msg := msg.(type) {
	case *pgproto3.AuthenticationOk:
		return nil, a.finished()
	case *pgproto3.AuthenticationCleartextPassword:
		return a.clear()
	case *pgproto3.AuthenticationMD5Password:
		return a.md5(msg.Salt)
	case *pgproto3.AuthenticationSASL:
		return a.begin(msg.AuthMechanisms)
	case *pgproto3.AuthenticationSASLContinue:
		return a.prove(msg.Data)
	case *pgproto3.AuthenticationSASLFinal:
		if a.scram == nil {
			return nil, errUnasked
		}
		return nil, a.scram.final(msg.Data)
	}
	return nil, fmt.Errorf("PostgreSQL asks for a way to log in that the pooler does not know (%T)", msg)
}

var (
	errUnasked = errors.New("PostgreSQL sent a SCRAM message that was not asked for")
	errSwitch  = errors.New("PostgreSQL asks for another proof in the middle of SCRAM")
)

// finished refuses a server that lets us in without having shown that it knows our secret, once it has begun to.
func (a *Answerer) finished() error {
	if a.scram != nil && !a.scram.proven {
		return errors.New("PostgreSQL ended SCRAM without proving itself; somebody may pretend to be it")
	}
	return nil
}

func (a *Answerer) clear() (pgproto3.FrontendMessage, error) {
	if a.scram != nil {
		return nil, errSwitch
	}
	if a.credential.Password == "" {
		return nil, a.missing("a password in clear text")
	}
	return &pgproto3.PasswordMessage{Password: a.credential.Password}, nil
}

func (a *Answerer) md5(salt [4]byte) (pgproto3.FrontendMessage, error) {
	if a.scram != nil {
		return nil, errSwitch
	}
	stored := a.credential.MD5
	if a.credential.Password != "" {
		stored = md5Secret(a.user, a.credential.Password)
	}
	if len(stored) != len("md5")+2*md5.Size {
		return nil, a.missing("an MD5 password")
	}
	return &pgproto3.PasswordMessage{Password: md5Answer(stored, salt)}, nil
}

// missing says that what there is does not do, and what there is.
func (a *Answerer) missing(wanted string) error {
	switch {
	case a.credential.hasKeys():
		return fmt.Errorf("PostgreSQL wants %s and the client's login has taught SCRAM keys only: %w", wanted, ErrNoCredential)
	case a.credential.MD5 != "":
		return fmt.Errorf("PostgreSQL wants %s and only an MD5 hash is known: %w", wanted, ErrNoCredential)
	}
	return ErrNoCredential
}
