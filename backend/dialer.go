package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/loop"
	"pooler/internal/tlsconn"
)

// Dialer opens server sessions. It holds what that takes beside a pool's configuration: certificates, what clients'
// logins have taught, and what is known of the servers. Any goroutine may use it.
type Dialer struct {
	ring   *auth.Keyring // nil: nothing is taught
	loaded atomic.Pointer[Loaded]
	old    oldServers
}

// ErrNoPassword tells that PostgreSQL wants a proof and there is nothing to prove the user with.
var ErrNoPassword = auth.ErrNoCredential

// ErrMethod tells that PostgreSQL wants the pooler to log in by a method that server_require_auth does not allow.
var ErrMethod = auth.ErrMethod

// NewDialer makes a Dialer that has no certificates yet. ring is what clients' logins have taught; nil: nothing.
func NewDialer(ring *auth.Keyring) *Dialer {
	d := &Dialer{ring: ring}
	d.loaded.Store(&Loaded{keys: auth.NewKeys(config.Default().ScramIterations, true)})
	return d
}

// Dial opens a server session as a new Dialer does.
func Dial(ctx context.Context, cfg config.Pool) (*Conn, error) { return NewDialer(nil).Dial(ctx, cfg) }

// Configure puts the certificates that cfg names in force, or changes nothing and returns an error that names the file
// and the reason.
func (d *Dialer) Configure(cfg *config.Config) error {
	loaded, err := d.Load(cfg)
	if err == nil {
		d.Use(loaded)
	}
	return err
}

// Dial opens and authenticates a server session. The Conn belongs to the caller, and to no loop yet. A refusal by
// PostgreSQL is a *ServerError. If it refuses what one login has taught, what another has is tried.
func (d *Dialer) Dial(ctx context.Context, cfg config.Pool) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	c, err := d.dial(ctx, cfg)
	var refusal *ServerError
	if errors.As(err, &refusal) && refusal.more {
		return d.dial(ctx, cfg)
	}
	return c, err
}

// dial tries the ways there are.
func (d *Dialer) dial(ctx context.Context, cfg config.Pool) (*Conn, error) {
	ways, err := d.routes(cfg)
	if err != nil {
		return nil, err
	}
	c, err := d.open(ctx, cfg, ways[0])
	if err == nil || len(ways) == 1 || ctx.Err() != nil || !mayDifferWithout(err, ways[0].tls) {
		return c, err
	}
	c, second := d.open(ctx, cfg, ways[1])
	var refusal *ServerError
	if second == nil || errors.As(second, &refusal) {
		return c, second
	}
	return nil, err // the first is what an operator would want to change
}

// mayDifferWithout tells whether a login that was tried so may go otherwise without TLS, or with it: when the handshake has
// failed, or PostgreSQL has refused to talk to us at all, most likely for want of an entry in its pg_hba.conf.
func mayDifferWithout(err error, tried encryption) bool {
	if errors.Is(err, ErrTLS) {
		return !errors.Is(err, errEarlyError)
	}
	var refusal *ServerError
	return errors.As(err, &refusal) && refusal.early && refusal.inClear == (tried == inClear) &&
		refusal.Response.Code == codeInvalidAuth
}

// open logs in on one way, with protocol 3.2 unless the server is known to refuse that, or does now.
func (d *Dialer) open(ctx context.Context, cfg config.Pool, way route) (*Conn, error) {
	c, err := d.openAs(ctx, cfg, way, pgproto3.ProtocolVersion32)
	var refusal *ServerError
	if !isOld(err) || !errors.As(err, &refusal) {
		return c, err
	}
	if refusal.asked30 {
		return c, err
	}
	server := oldServer{way.addr, refusal.inClear}
	if c, err = d.openAs(ctx, cfg, way, pgproto3.ProtocolVersion30); hasTakenVersion(err) {
		d.old.add(server)
	}
	return c, err
}

// hasTakenVersion tells whether a login has come beyond the version of the protocol: to its end, or to another refusal. A
// connection that breaks says nothing.
func hasTakenVersion(err error) bool {
	var refusal *ServerError
	return err == nil || !isOld(err) && errors.As(err, &refusal) || errors.Is(err, ErrNoPassword)
}

// isOld tells whether a server has refused the version of the protocol: feature_not_supported is PostgreSQL's word for
// it, protocol_violation that of others.
func isOld(err error) bool {
	var refusal *ServerError
	return errors.As(err, &refusal) && refusal.early && (refusal.Response.Code == "0A000" || refusal.Response.Code == "08P01")
}

func (d *Dialer) openAs(ctx context.Context, cfg config.Pool, way route, version uint32) (*Conn, error) {
	l, err := way.connect(ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(way.addr, cfg.CancelWaitTimeout)
	c.dialer, c.route, c.Login, c.DBName, c.tls = d, way.as(l), cfg.ServerUser, cfg.DBName, l.cipher
	c.Local, c.Remote = addrPort(l.LocalAddr()), addrPort(l.RemoteAddr())
	if d.old.has(oldServer{way.addr, l.cipher == ""}) {
		version = pgproto3.ProtocolVersion30
	}
	if err := until(ctx, l, func() error { return d.logIn(c, l, cfg, version) }); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("log in to PostgreSQL at %s as %s: %w", way.addr, cfg.ServerUser, err)
	}
	c.defaults = slices.Clone(c.parameters)
	if c.socket, err = loop.TakeFd(l.Conn); err != nil {
		return nil, err
	}
	return c, nil
}

// logIn proves the pooler with what there is to prove it with.
func (d *Dialer) logIn(c *Conn, l *link, cfg config.Pool, version uint32) error {
	credential, learned := d.credential(cfg)
	in := bufio.NewReaderSize(l, tlsconn.MaxRecord)
	g := login{
		conn: c, in: in, server: pgproto3.NewFrontend(in, l), version: version,
		answers: auth.NewAnswerer(d.loaded.Load().keys, cfg.ServerUser, credential, auth.Binding{EndPoint: l.endPoint}).Require(cfg.RequireAuth),
	}
	err := g.run(cfg)
	asked := g.rounds > 1 // one is AuthenticationOk, or the question that was refused before it was answered
	var refusal *ServerError
	switch {
	case err == nil && asked && !learned.IsZero():
		d.ring.Accepted(auth.AccountOf(cfg), learned)
	case errors.As(err, &refusal):
		refusal.inClear, refusal.asked30 = l.cipher == "", version == pgproto3.ProtocolVersion30
		refusal.more = Unproven(err) && !learned.IsZero() && d.ring.Refused(auth.AccountOf(cfg), learned, refusal.Response.Code == codeInvalidPassword)
	}
	return err
}

// Unproven tells whether a login has failed because PostgreSQL does not believe what the pooler has proven itself with, or
// because there was nothing to do that with.
func Unproven(err error) bool {
	var refusal *ServerError
	if !errors.As(err, &refusal) {
		return errors.Is(err, ErrNoPassword)
	}
	code := refusal.Response.Code
	return !refusal.early && (code == codeInvalidPassword || code == codeInvalidAuth)
}

// SQLSTATEs of a proof that has failed (PostgreSQL's auth_failed in auth.c): the second is for methods that ask others, such
// as LDAP.
const (
	codeInvalidPassword = "28P01"
	codeInvalidAuth     = "28000"
)

// credential is what the configuration has for the user, and else what a client's login has taught, which holds for
// that client's own name only. learned is the latter, if it is in it.
func (d *Dialer) credential(cfg config.Pool) (c, learned auth.Credential) {
	switch secret, err := config.ParseSecret(cfg.ServerPassword); {
	case err != nil, secret.Kind == config.SecretClear:
		return auth.Credential{Password: cfg.ServerPassword}, learned
	case secret.Kind == config.SecretMD5:
		c.MD5 = secret.Text
	} // with a verifier (SecretSCRAM) nobody can log in
	if cfg.ServerUser != cfg.User {
		return c, learned
	}
	learned, _ = d.ring.Find(auth.AccountOf(cfg))
	stored := c.MD5
	if c = learned; stored != "" {
		c.MD5 = stored
	}
	return c, learned
}

// addrPort is not valid for a Unix socket's address.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
