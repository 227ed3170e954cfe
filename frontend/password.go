package frontend

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/hba"
)

// Why somebody is not let in by VerifyPassword.
var (
	// ErrWrongPassword does not tell a wrong password from a user that there is not.
	ErrWrongPassword = errors.New("wrong user name or password")
	// ErrNoConsole is told only to those who have proven who they are.
	ErrNoConsole = errors.New("the user may not enter the admin console")
	// ErrNotByPassword is told to those whom no password would let in: the rule they fall under says otherwise.
	ErrNotByPassword = errors.New("nobody gets in like this with a password")
)

// Visitor is who wants to be let in with a password, and not over PostgreSQL's protocol.
type Visitor struct {
	User   string
	Remote netip.AddrPort // invalid: a Unix socket
	TLS    bool
}

// client is the visitor as rules see him: he wants into the admin console.
func (v Visitor) client() hba.Client {
	return hba.Client{Local: !v.Remote.IsValid(), TLS: v.TLS, Addr: v.Remote.Addr(), Database: "pooler", User: v.User}
}

// maxPassword bounds the sums that somebody can make the pooler do, in bytes.
const maxPassword = 1024

// VerifyPassword lets in whom the admin console would let in from there with that password. It returns ErrWrongPassword,
// ErrNoConsole, ErrNotByPassword, an error of ctx, or a Refusal when the pooler is stopping or cannot find out.
func (srv *Server) VerifyPassword(ctx context.Context, v Visitor, password string) (*Pass, error) {
	seen, err := srv.examine(ctx, v.client())
	if err != nil {
		return nil, err
	}
	right, err := srv.checkPassword(ctx, seen, v.User, password)
	switch {
	case err != nil:
		return nil, err
	case !right:
		srv.lookups.loop.Post(func() { srv.lookups.forget(seen.looked) })
		return nil, ErrWrongPassword
	}
	p := newPass(srv, v, seen)
	if p.Right() == RightNone {
		return nil, ErrNoConsole
	}
	return p, nil
}

// checkPassword does what the rule demands. For methods of a stored secret it takes as long for any user, or none.
func (srv *Server) checkPassword(ctx context.Context, seen sighting, user, password string) (bool, error) {
	cr, rule := seen.now.credentials, seen.rule
	switch {
	case rule == nil, rule.ClientCert() != "": // a browser's certificate is not asked for
		return false, ErrNotByPassword
	case rule.Method == hba.Trust:
		return true, nil
	case len(password) > maxPassword || strings.ContainsRune(password, 0): // the protocol's proof would end there
		return false, nil
	case rule.Method == hba.LDAP:
		_, p := auth.LDAP(cr.directories[rule], user)
		_, right, err := await(ctx, srv, srv.waits, func() (reply []byte, right bool, err error) {
			return p.Next(ctx, append([]byte(password), 0))
		})
		return right, judgement(err)
	case rule.Method != hba.Password && rule.Method != hba.MD5 && rule.Method != hba.SCRAM:
		return false, ErrNotByPassword
	}
	secret := seen.secret
	if rule.Method == hba.SCRAM && secret.Kind == config.SecretMD5 {
		secret = config.Secret{} // cannot be checked with SCRAM, so that the console does not accept it either
	}
	_, right, err := await(ctx, srv, srv.proofs, func() (_ []byte, right bool, err error) {
		if secret.Kind == config.SecretClear || secret.Kind == config.SecretMD5 {
			cr.keys.Verify(user, config.Secret{}, []byte(password))
		}
		return nil, cr.keys.Verify(user, secret, []byte(password)), nil
	})
	return right && password != "", err
}

// judgement is why a proof has ended with err, without what only the log is told.
func judgement(err error) error {
	var refusal *Refusal
	var violation *auth.ProtocolError
	switch {
	case err == nil, errors.Is(err, auth.ErrWrong), errors.As(err, &violation):
		return nil
	case errors.As(err, &refusal), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return unchecked(err)
}
