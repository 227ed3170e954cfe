// Package auth holds the conversations in which clients prove to us who they are (Proof) and in which we prove
// ourselves to PostgreSQL (Answerer), and what they teach and need (Keys, Keyring, Credential). It knows no sockets:
// messages come in and go out as bytes or pgproto3 messages.
package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Proof is our side of a conversation in which one client shows that it is who it says. One goroutine at a time may
// use it, and one client only.
type Proof interface {
	// Cost is what the next call of Next costs. Only what is Cheap is for a loop.
	Cost() Cost
	// Next takes the body of the 'p' message that the client has answered with; the slice is Next's from then on, which
	// wipes it when it held a secret. reply is what the client is told next, encoded, and may be empty; with proven it
	// precedes AuthenticationOk. While proven is false and err is nil, another message of the client is awaited.
	//
	// An error ends the conversation: one that Is ErrWrong when the proof has failed (its text says more, for the log
	// only), a *ProtocolError for a message that is none, or any other when the proof could not be checked, such as
	// when an LDAP server is down. No error contains a password, token or key.
	//
	// ctx bounds proofs that wait for another machine.
	Next(ctx context.Context, answer []byte) (reply []byte, proven bool, err error)
	// Learned is what the proof has taught that PostgreSQL can be logged in to with. It is for after proven.
	Learned() (Credential, bool)
}

// Leveller is a Proof that could tell by how long it takes to fail who is known.
type Leveller interface {
	// Level is what is still to be done, at the cost of Sums, before a client is told that its proof is wrong; nil: nothing.
	Level() func()
}

// Cost is how long a step of a proof takes.
type Cost uint8

// The costs of a step.
const (
	Cheap Cost = iota // microseconds
	Sums              // about a millisecond of a processor, or what scram_iterations demands
	Waits             // asks another machine
)

func (c Cost) String() string {
	switch c {
	case Cheap:
		return "cheap"
	case Sums:
		return "sums"
	case Waits:
		return "waits"
	}
	return fmt.Sprintf("Cost(%d)", uint8(c))
}

// ErrWrong says that a client has not proven who it is: the password, the token or the user is wrong. What the client is
// told must not say which.
var ErrWrong = errors.New("the proof is wrong")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrWrong, fmt.Sprintf(format, args...))
}

// ProtocolError is a message of a client that PostgreSQL would refuse too. Its texts are PostgreSQL's.
type ProtocolError struct {
	Code    string // SQLSTATE
	Message string
	Detail  string // may be empty
}

func (e *ProtocolError) Error() string {
	if e.Detail != "" {
		return e.Message + ": " + e.Detail
	}
	return e.Message
}

// SQLSTATEs of a ProtocolError (PostgreSQL's documentation, appendix A).
const (
	codeProtocolViolation   = "08P01"
	codeFeatureNotSupported = "0A000"
	codeInvalidAuth         = "28000"
	codeInvalidPassword     = "28P01"
)

func violation(message, detail string) *ProtocolError {
	return &ProtocolError{Code: codeProtocolViolation, Message: message, Detail: detail}
}

// Credential is what PostgreSQL can be logged in to with. Any of its parts may be missing. Printing or logging it shows
// which parts there are, and no more.
type Credential struct {
	Password  string // clear text; serves for every method
	MD5       string // PostgreSQL's stored form, "md5" and 32 hex digits; serves for md5
	ClientKey []byte // of SCRAM-SHA-256, with the server's salt and iterations; 32 bytes, never changed
	ServerKey []byte // of the same; without it the server cannot prove itself, and ClientKey is not used
}

// IsZero tells that there is nothing to log in with.
func (c Credential) IsZero() bool {
	return c.Password == "" && c.MD5 == "" && !c.hasKeys()
}

// Equal tells whether both say the same.
func (c Credential) Equal(other Credential) bool {
	return c.Password == other.Password && c.MD5 == other.MD5 && bytes.Equal(c.ClientKey, other.ClientKey) && bytes.Equal(c.ServerKey, other.ServerKey)
}

func (c Credential) hasKeys() bool { return len(c.ClientKey) == keySize && len(c.ServerKey) == keySize }

func (c Credential) String() string {
	has := func(yes bool, what string) string {
		if yes {
			return " " + what
		}
		return ""
	}
	return "credential (hidden):" + has(c.Password != "", "password") + has(c.MD5 != "", "md5") + has(c.hasKeys(), "keys")
}

// GoString implements fmt.GoStringer, for %#v.
func (c Credential) GoString() string { return c.String() }

// LogValue implements slog.LogValuer: a JSON handler would print the fields.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Binding is what ties a SCRAM conversation to the TLS connection that it runs over. The zero value is for a connection
// without TLS, or whose certificate has no tls-server-end-point (RFC 5929, section 4.1).
type Binding struct {
	EndPoint []byte // the hash of the server's certificate
}

func (b Binding) exists() bool { return len(b.EndPoint) > 0 }

func encoded(msg pgproto3.BackendMessage) []byte {
	out, err := msg.Encode(nil)
	if err != nil {
		panic("bug: " + err.Error()) // only for messages beyond 2 GB
	}
	return out
}
