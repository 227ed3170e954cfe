package frontend

import (
	"errors"
	"fmt"

	"pooler/backend"
	"pooler/internal/wire"
	"pooler/pool"
)

// Refusal is an error of the pooler's own, the one kind that a client may see. Cause, if any, goes to the log only.
type Refusal struct {
	Code    string // SQLSTATE
	Message string
	Detail  string
	Hint    string
	Cause   error
	limit   string // key of the limit on clients that is reached, if it is one
}

func (r *Refusal) Error() string {
	if r.Cause != nil {
		return fmt.Sprintf("%s (SQLSTATE %s): %v", r.Message, r.Code, r.Cause)
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", r.Message, r.Code)
}

func (r *Refusal) Unwrap() error { return r.Cause }

// SQLSTATEs that the pooler itself answers with (PostgreSQL's documentation, appendix A).
const (
	codeProtocolViolation   = "08P01"
	codeCannotConnect       = "08001"
	codeConnectionFailure   = "08006"
	codeFeatureNotSupported = "0A000"
	codeInvalidValue        = "22023"
	codeIdleInTransaction   = "25P03"
	codeTransactionTimeout  = "25P04"
	codeNoSuchStatement     = "26000"
	codeInvalidAuth         = "28000"
	codeInvalidPassword     = "28P01"
	codeNoSuchDatabase      = "3D000"
	codeInsufficientRight   = "42501"
	codeDuplicateStatement  = "42P05"
	codeTooManyConnections  = "53300"
	codeLimitExceeded       = "53400"
	codeQueryCanceled       = "57014"
	codeAdminShutdown       = "57P01"
	codeCannotConnectNow    = "57P03"
	codeIdleSession         = "57P05"
	codeHookFailed          = "38000" // external_routine_exception
	codeSystemError         = "58000"
	codeInternal            = "XX000"
)

// toErrorResponse turns an error into what a client sees, with the given severity (ERROR keeps the connection, FATAL ends
// it). PostgreSQL's own words are passed on as they are.
func toErrorResponse(severity string, err error) []byte {
	code, message, hint := inWords(err)
	var refusal *Refusal
	var server *backend.ServerError
	if !errors.As(err, &refusal) && errors.As(err, &server) {
		own := *server.Response
		own.Severity, own.SeverityUnlocalized = severity, severity
		if b, encodeErr := own.Encode(nil); encodeErr == nil {
			return b
		}
	}
	out := wire.AppendError(nil, 'E', severity, code, message, hint)
	if refusal != nil && refusal.Detail != "" {
		out = wire.AppendField(out, 'D', refusal.Detail)
	}
	return out
}

// inWords is the only place that says which SQLSTATE an error is, and what a client is told of it.
func inWords(err error) (code, message, hint string) {
	var refusal *Refusal
	var server *backend.ServerError
	switch {
	case errors.As(err, &refusal):
		return refusal.Code, refusal.Message, refusal.Hint
	case errors.As(err, &server):
		return server.Response.Code, server.Response.Message, server.Response.Hint
	case errors.Is(err, pool.ErrWaitTimeout):
		return codeTooManyConnections, "no server session became free in time",
			"All server sessions of this pool were busy for query_wait_timeout. Try again, or raise default_pool_size."
	case errors.Is(err, pool.ErrStopped):
		return codeCannotConnectNow, "the connection pool is stopped",
			"An administrator has stopped it; START POOL on the pooler's admin console starts it again."
	case errors.Is(err, pool.ErrClosed):
		return codeAdminShutdown, "the pooler is shutting down", ""
	case errors.Is(err, backend.ErrNoPassword):
		return codeInvalidPassword, "the pooler cannot log in to PostgreSQL for this user",
			"PostgreSQL asks for a password that the pooler's configuration does not hold, and that the client's login has not taught it: " +
				"for that it would have to prove itself by scram-sha-256 (with the secret that PostgreSQL has), password or ldap."
	case errors.Is(err, backend.ErrMethod):
		return codeInvalidAuth, "the pooler does not log in to PostgreSQL by the method that it asks for",
			"The pooler's server_require_auth does not allow it. If the server is the right one, its pg_hba.conf or the way its password is stored says so."
	}
	return codeCannotConnect, "the pooler cannot connect to PostgreSQL: " + err.Error(), ""
}

// refusedByOrder is what a client is told whose login an administrator's orders forbid, nil if none do. The code is
// PostgreSQL's for a server that is there and takes nobody now: with it libpq goes on to the next host of its list. (For
// ALLOW_CONNECTIONS false it has 55000, with which a client would give up.)
func refusedByOrder(orders pool.Orders, database string) *Refusal {
	switch {
	case orders.Disabled:
		return &Refusal{
			Code: codeCannotConnectNow, Message: fmt.Sprintf("database %q is disabled", database), // PgBouncer's words
			Hint: "An administrator has disabled it; ENABLE on the pooler's admin console lets clients in again.",
		}
	case orders.Stopped:
		return &Refusal{
			Code: codeCannotConnectNow, Message: fmt.Sprintf("the connection pool of database %q is stopped", database),
			Hint: "An administrator has stopped it; START POOL on the pooler's admin console starts it again.",
		}
	}
	return nil
}

func protocolViolation(format string, args ...any) *Refusal {
	return &Refusal{Code: codeProtocolViolation, Message: fmt.Sprintf(format, args...)}
}
