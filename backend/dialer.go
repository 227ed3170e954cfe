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
// PostgreSQL is a *ServerError.
func (d *Dialer) Dial(ctx context.Context, cfg config.Pool) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
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
		refusal.Response.Code == "28000" // invalid_authorization_specification
}

// open logs in on one way, with protocol 3.2 unless the server is known to refuse that.
func (d *Dialer) open(ctx context.Context, cfg config.Pool, way route) (*Conn, error) {
	if d.old.has(way.addr) {
		return d.openAs(ctx, cfg, way, pgproto3.ProtocolVersion30)
	}
	c, err := d.openAs(ctx, cfg, way, pgproto3.ProtocolVersion32)
	if !isOld(err) {
		return c, err
	}
	if c, err = d.openAs(ctx, cfg, way, pgproto3.ProtocolVersion30); !isOld(err) {
		d.old.add(way.addr)
	}
	return c, err
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
	credential, taught := d.credential(cfg)
	in := bufio.NewReaderSize(l, tlsconn.MaxRecord)
	g := login{
		conn: c, in: in, server: pgproto3.NewFrontend(in, l), version: version,
		answers: auth.NewAnswerer(d.loaded.Load().keys, cfg.ServerUser, credential, auth.Binding{EndPoint: l.endPoint}),
	}
	err := g.run(cfg)
	var refusal *ServerError
	if !errors.As(err, &refusal) {
		return err
	}
	refusal.inClear = l.cipher == ""
	if taught && refusal.Response.Code == "28P01" { // invalid_password
		d.ring.Forget(account(cfg))
	}
	return err
}

func account(cfg config.Pool) auth.Account {
	return auth.Account{Database: cfg.Database, User: cfg.User}
}

// credential is what the configuration has for the user, and else what a client's login has taught, which holds for
// that client's own name only. taught tells whether the latter is in it.
func (d *Dialer) credential(cfg config.Pool) (c auth.Credential, taught bool) {
	switch secret, err := config.ParseSecret(cfg.ServerPassword); {
	case err != nil, secret.Kind == config.SecretClear:
		return auth.Credential{Password: cfg.ServerPassword}, false
	case secret.Kind == config.SecretMD5:
		c.MD5 = secret.Text
	} // with a verifier (SecretSCRAM) nobody can log in
	if cfg.ServerUser != cfg.User {
		return c, false
	}
	learned, taught := d.ring.Find(account(cfg))
	if c.MD5 != "" {
		learned.MD5 = c.MD5
	}
	return learned, taught
}

// addrPort is not valid for a Unix socket's address.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
