package frontend

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"pooler/config"
)

// Why somebody is not let in by VerifyPassword.
var (
	// ErrWrongPassword does not tell a wrong password from a user that there is not.
	ErrWrongPassword = errors.New("wrong user name or password")
	// ErrNoConsole is told only to those who have proven who they are.
	ErrNoConsole = errors.New("the user may not enter the admin console")
)

// Pass is what somebody has who has proven with a password, and not over PostgreSQL's protocol, that he is User. Any
// goroutine may use it.
type Pass struct {
	User   string
	srv    *Server
	proven evidence
}

// evidence is what somebody was checked against.
type evidence struct {
	trusted bool // against nothing
	secret  config.Secret
}

func (cr *credentials) evidence(user string) evidence {
	if cr.method == config.AuthTrust {
		return evidence{trusted: true}
	}
	secret, _ := cr.file.Secret(user)
	return evidence{secret: secret}
}

// VerifyPassword lets in whom the admin console would let in with that password. It returns ErrWrongPassword,
// ErrNoConsole, an error of ctx, or a Refusal when the pooler is stopping.
func (srv *Server) VerifyPassword(ctx context.Context, user, password string) (*Pass, error) {
	cr := srv.settings.Load().credentials
	p := &Pass{User: user, srv: srv, proven: cr.evidence(user)}
	if !p.proven.trusted {
		ok, err := srv.checkPassword(ctx, cr, user, password)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, ErrWrongPassword
		}
	}
	if p.Right() == RightNone {
		return nil, ErrNoConsole
	}
	return p, nil
}

// Right is what the holder may do now. A reload that changes his secret, or how clients prove who they are, makes the
// pass worthless.
func (p *Pass) Right() Right {
	if p.srv.settings.Load().credentials.evidence(p.User) != p.proven {
		return RightNone
	}
	return p.srv.rightOf(p.User)()
}

// Admin is the holder as the console sees him. He has no connection, so Serve is not for him.
func (p *Pass) Admin(remote netip.AddrPort, application string) *Admin {
	return &Admin{User: p.User, Database: "pooler", Application: application, Remote: remote, Right: p.Right}
}

// maxPassword bounds the sums that somebody can make the pooler do, in bytes.
const maxPassword = 1024

// checkPassword compares password with the user's secret, when it is its turn. It takes as long for any user, or none.
func (srv *Server) checkPassword(ctx context.Context, cr *credentials, user, password string) (bool, error) {
	if len(password) > maxPassword || strings.ContainsRune(password, 0) { // the protocol's proof would end there
		return false, nil
	}
	secret, _ := cr.file.Secret(user)
	if cr.method == config.AuthSCRAM && secret.Kind == config.SecretMD5 {
		secret = config.Secret{} // cannot be checked with SCRAM, so that the console does not accept it either
	}
	proof := &passwordProof{cr.scram, user, secret}
	result := make(chan bool, 1)
	if !srv.proving(func() {
		if ctx.Err() != nil {
			return
		}
		if !proof.costly() {
			cr.scram.verify(user, config.Secret{}, password)
		}
		_, ok, _ := proof.next(append([]byte(password), 0)) // a wrong password is its only error
		result <- ok
	}) {
		return false, errShuttingDown
	}
	select {
	case ok := <-result:
		return ok, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
