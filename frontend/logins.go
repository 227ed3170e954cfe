package frontend

import (
	"errors"
	"slices"
	"sync/atomic"

	"pooler/internal/auth"
	"pooler/internal/hba"
	"pooler/pool"
)

// LoginOutcome is how a client was to prove who it is, and what became of that.
type LoginOutcome struct{ Method, Result string }

// loginMethod is how a client proves who it is.
type loginMethod uint8

const (
	methodNone loginMethod = iota // it did not come to that
	methodTrust
	methodPassword
	methodMD5
	methodSCRAM
	methodSCRAMPlus // bound to the client's TLS connection
	methodCert
	methodPeer
	methodLDAP
	methodOAuth
	methodReject
	methodOwner // whoever owns the pooler's process enters the console without a proof
	loginMethods
)

var loginMethodNames = [loginMethods]string{
	"none", "trust", "password", "md5", "scram-sha-256", "scram-sha-256-plus", "cert", "peer", "ldap", "oauth", "reject", "owner",
}

// String is the method as the journal and metrics show it.
func (m loginMethod) String() string { return loginMethodNames[m] }

// loginResult is what became of a login.
type loginResult uint8

const (
	loginOK loginResult = iota
	loginWrongPassword
	loginNoSuchDatabase
	loginLimit
	loginTimeout
	loginMalformed
	loginTLSFailed
	loginOther
	loginResults
)

var loginResultNames = [loginResults]string{"ok", "wrong_password", "no_such_database", "limit", "timeout", "malformed", "tls_failed", "other"}

// String is the result as metrics show it.
func (r loginResult) String() string { return loginResultNames[r] }

// loginCounts counts logins.
type loginCounts [loginMethods][loginResults]atomic.Uint64

func (c *loginCounts) add(m loginMethod, r loginResult) { c[m][r].Add(1) }

func (c *loginCounts) stat() map[LoginOutcome]uint64 {
	by := make(map[LoginOutcome]uint64, int(loginMethods)*int(loginResults))
	for m := range loginMethods {
		for r := range loginResults {
			by[LoginOutcome{m.String(), r.String()}] = c[m][r].Load()
		}
	}
	return by
}

// methodOf is the method that a rule names.
func methodOf(m hba.Method) loginMethod {
	return loginMethod(max(0, slices.Index(loginMethodNames[:], string(m))))
}

// resultOf is what has become of a login that err has ended, and its cause as the journal has it: the key of a limit, the
// SQLSTATE that the client was told, or what was wrong with what it sent.
func resultOf(err error) (result loginResult, cause string) {
	var refusal *Refusal
	told := errors.As(err, &refusal)
	code, _, _ := inWords(err)
	if _, failed := errors.AsType[tlsFailure](err); failed {
		return loginTLSFailed, loginTLSFailed.String()
	}
	switch {
	case told && refusal == errLoginTimeout:
		return loginTimeout, "login_timeout"
	case told && code == codeProtocolViolation:
		return loginMalformed, "malformed"
	case told && refusal.limit != "":
		return loginLimit, refusal.limit
	case told && (code == codeInvalidPassword || errors.Is(err, auth.ErrWrong)):
		return loginWrongPassword, code
	case code == codeNoSuchDatabase:
		return loginNoSuchDatabase, code
	case errors.Is(err, pool.ErrWaitTimeout):
		return loginTimeout, "query_wait_timeout"
	}
	return loginOther, code
}
