// Package backend knows PostgreSQL's side: how a server session is opened, what one is known to hold, how it is
// cleaned, cancelled and closed.
package backend

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// ServerError is an ErrorResponse by which PostgreSQL refused a connection.
type ServerError struct {
	Response *pgproto3.ErrorResponse // has a severity, a SQLSTATE and a message, whatever the server sent
	early    bool                    // it came with a SQLSTATE, and before PostgreSQL asked for a proof
	inClear  bool                    // it came without TLS
	asked30  bool                    // protocol 3.0 was asked for
	more     bool                    // there is something else to log in with
}

// NewServerError makes one of a message, of which it keeps nothing. What no PostgreSQL sends is made such as clients can
// read: none needs to expect an error without a SQLSTATE.
func NewServerError(msg *pgproto3.ErrorResponse) *ServerError {
	r := *msg
	if r.Severity == "" {
		r.Severity = "FATAL"
	}
	if !isState(r.Code) {
		r.Code = "08P01" // protocol_violation
	}
	if r.Message == "" {
		r.Message = "PostgreSQL has sent an error without a message"
	}
	return &ServerError{Response: &r}
}

// isState tells whether code is a SQLSTATE: five digits and upper-case letters.
func isState(code string) bool {
	return len(code) == 5 && strings.Trim(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.Response.Severity, e.Response.Message, e.Response.Code)
}

// Address is where PostgreSQL listens, in net.Dial's terms.
type Address struct{ Network, Addr string }

// AddressOf returns the address of a pool's PostgreSQL. A host that begins with "/" is a Unix socket's directory.
func AddressOf(host string, port int) Address {
	if filepath.IsAbs(host) {
		return Address{"unix", filepath.Join(host, ".s.PGSQL."+strconv.Itoa(port))}
	}
	return Address{"tcp", net.JoinHostPort(host, strconv.Itoa(port))}
}

func (a Address) String() string { return a.Addr }
