package auth

import (
	"crypto/md5"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

// ErrNoCredential tells that PostgreSQL wants a proof and there is nothing to prove us with.
var ErrNoCredential = errors.New(`PostgreSQL wants a password; give one under [databases.NAME] or [users.NAME] (password = "...") or in clear text in auth_file, or have clients log in by scram-sha-256, password or ldap`)

// ErrMethod tells that PostgreSQL wants us to log in by a method that server_require_auth does not allow.
var ErrMethod = errors.New("server_require_auth does not allow that")

// Answerer proves us to PostgreSQL: it answers the messages that ask for a proof, and reads no socket itself. One
// goroutine at a time may use it, for one connection.
type Answerer struct {
	keys       *Keys
	user       string
	credential Credential
	binding    Binding
	required   config.RequireAuth
	scram      *scramClient // nil unless SCRAM has been begun
	asked      bool         // the server has asked for a proof
}

// NewAnswerer makes an Answerer for one connection. user is the one of the StartupMessage. binding is that of the TLS
// connection to the server: SCRAM-SHA-256-PLUS is then used when the server offers it.
func NewAnswerer(keys *Keys, user string, credential Credential, binding Binding) *Answerer {
	return &Answerer{keys: keys, user: user, credential: credential, binding: binding}
}

// Require makes the Answerer use no other methods than required does allow, and returns it.
func (a *Answerer) Require(required config.RequireAuth) *Answerer {
	a.required = required
	return a
}

// Answer returns what the server is told in answer to msg, or nil when there is nothing to say. After an error the
// connection is of no use: the server has broken the protocol, cannot prove that it is the one, wants what we do not
// have (ErrNoCredential) or what we are not to give (ErrMethod). Deriving keys may take up to half a second of a processor.
func (a *Answerer) Answer(msg pgproto3.BackendMessage) (pgproto3.FrontendMessage, error) {
	if err := a.check(msg); err != nil {
		return nil, err
	}
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

// check refuses a method that is not allowed before anything is said that it could be of use to.
func (a *Answerer) check(msg pgproto3.BackendMessage) error {
	var method, wants string
	switch msg.(type) {
	case *pgproto3.AuthenticationOk:
		if a.asked {
			return nil
		}
		method, wants = config.RequireNone, "lets the pooler in without a proof"
	case *pgproto3.AuthenticationCleartextPassword:
		method, wants = config.RequirePassword, "asks for the password in clear text"
	case *pgproto3.AuthenticationMD5Password:
		method, wants = config.RequireMD5, "asks for an MD5 hash of the password"
	case *pgproto3.AuthenticationSASL:
		method, wants = config.RequireSCRAM, "asks for SCRAM"
	default:
		return nil
	}
	a.asked = true
	if !a.required.Allows(method) {
		return fmt.Errorf("PostgreSQL %s: %w (%q)", wants, ErrMethod, string(a.required))
	}
	return nil
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
