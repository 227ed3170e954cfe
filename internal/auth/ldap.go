package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5/pgproto3"
)

// ldapTimeout bounds one check of a password, when the caller's context does not do so sooner.
const ldapTimeout = 30 * time.Second

// LDAP asks a client for its password in clear text, and d whether it is right.
func LDAP(d *Directory, user string) (ask []byte, p Proof) {
	return encoded(&pgproto3.AuthenticationCleartextPassword{}), &ldapProof{directory: d, user: user}
}

type ldapProof struct {
	directory *Directory
	user      string
	learned   string
}

func (p *ldapProof) Cost() Cost { return Waits }

func (p *ldapProof) Next(ctx context.Context, answer []byte) (reply []byte, proven bool, err error) {
	defer clear(answer)
	password, err := cutPassword(answer)
	if err != nil {
		return nil, false, err
	}
	secret := string(password)
	if err := p.directory.Check(ctx, p.user, secret); err != nil {
		return nil, false, err
	}
	p.learned = secret
	return nil, true, nil
}

func (p *ldapProof) Learned() (Credential, bool) {
	return Credential{Password: p.learned}, p.learned != ""
}

// Check asks the directory whether password is that of user. The error Is ErrWrong when it is not; any other says that
// nobody could tell.
func (d *Directory) Check(ctx context.Context, user, password string) error {
	if password == "" { // would be an "unauthenticated bind", which succeeds for any name (RFC 4513, section 5.1.2)
		return wrong("empty password")
	}
	// LDAP's names are UTF-8, and to escape others would make one of two.
	if !utf8.ValidString(user) || d.search && strings.ContainsAny(user, `*()\/`) {
		return wrong("invalid character in user name for LDAP authentication")
	}
	ctx, cancel := context.WithTimeout(ctx, ldapTimeout)
	defer cancel()
	err := d.bind(ctx, user, password)
	if err != nil && !errors.Is(err, ErrWrong) && ctx.Err() != nil {
		return fmt.Errorf("LDAP: %w", context.Cause(ctx)) // says more than that the connection was closed
	}
	return err
}

func (d *Directory) bind(ctx context.Context, user, password string) error {
	conn, stop, err := d.connect(ctx)
	if err != nil {
		return fmt.Errorf("LDAP: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nobody is left to tell
	defer stop()
	name := d.nameFor(user)
	if d.search {
		if name, err = d.find(conn, user); err != nil {
			return err
		}
	}
	if name == "" {
		return wrong("LDAP entry has no name")
	}
	return judgeBind(conn.Bind(name, password))
}

// refusals are the results of a bind that are about the user or the password (RFC 4511, appendix A.2).
var refusals = []uint16{
	ldap.LDAPResultConstraintViolation, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
	ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultInvalidCredentials,
	ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultUnwillingToPerform,
}

func judgeBind(err error) error {
	var result *ldap.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &result) && slices.Contains(refusals, result.ResultCode):
		return wrong("LDAP login failed: %s", ldap.LDAPResultCodeMap[result.ResultCode])
	}
	return fmt.Errorf("LDAP bind: %w", err)
}

// find searches for the one entry of user.
func (d *Directory) find(conn *ldap.Conn, user string) (name string, err error) {
	if d.bindPassword == "" {
		err = conn.UnauthenticatedBind(d.bindDN)
	} else {
		err = conn.Bind(d.bindDN, d.bindPassword)
	}
	if err != nil {
		return "", fmt.Errorf("LDAP bind as %q, who searches: %w", d.bindDN, err)
	}
	// Two entries are as bad as many. No attribute is wanted ("1.1", RFC 4511, section 4.5.1.8).
	request := ldap.NewSearchRequest(d.baseDN, d.scope, ldap.NeverDerefAliases, 2, 0, false, d.filterFor(user), []string{"1.1"}, nil)
	found, err := conn.Search(request)
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return "", wrong("LDAP user is not unique")
	case err != nil:
		return "", fmt.Errorf("LDAP search: %w", err)
	case len(found.Entries) == 0:
		return "", wrong("LDAP user does not exist")
	case len(found.Entries) > 1:
		return "", wrong("LDAP user is not unique")
	}
	return found.Entries[0].DN, nil
}

// connect reaches the first server that can be. When ctx ends, the connection is closed; stop ends that watch.
func (d *Directory) connect(ctx context.Context) (conn *ldap.Conn, stop func() bool, err error) {
	var faults []error
	for _, address := range d.servers {
		conn, stop, err := d.dial(ctx, address)
		if err == nil {
			return conn, stop, nil
		}
		faults = append(faults, fmt.Errorf("%s: %w", address, err))
	}
	return nil, nil, errors.Join(faults...)
}

func (d *Directory) dial(ctx context.Context, address string) (*ldap.Conn, func() bool, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, err := d.start(ctx, raw, address)
	if err != nil {
		stop()
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, stop, nil
}

// start begins to speak LDAP over raw, encrypted if it is to be.
func (d *Directory) start(ctx context.Context, raw net.Conn, address string) (*ldap.Conn, error) {
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address)
	if d.ldaps {
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		raw = secure
	}
	conn := ldap.NewConn(raw, d.ldaps)
	conn.Start()
	if d.startTLS {
		if err := conn.StartTLS(config); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}
