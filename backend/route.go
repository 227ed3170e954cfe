package backend

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"pooler/config"
	"pooler/internal/tlsconn"
)

// route is how a PostgreSQL is reached: by a session, and in the same way by what cancels its statements.
type route struct {
	addr Address
	at   string // the one of addr's addresses that a session has; "": any will do
	tcp  config.TCP
	tls  encryption
	key  tlsKey
	with *tls.Config // nil without TLS
}

// encryption says what comes before the first message.
type encryption uint8

const (
	inClear  encryption = iota
	tlsIfAny            // TLS, or nothing if the server has none
	tlsOnly
)

// routes are the ways to cfg's PostgreSQL, in the order in which they are tried. As in libpq, allow tries without TLS
// first and prefer with it, and the others know one way.
func (d *Dialer) routes(cfg config.Pool) ([]route, error) {
	plain := route{addr: AddressOf(cfg.Host, cfg.Port), tcp: cfg.TCP}
	key, ok := keyOf(cfg)
	if !ok {
		return []route{plain}, nil
	}
	with, err := d.config(key)
	if err != nil {
		return nil, err
	}
	safe := plain
	safe.tls, safe.key, safe.with = tlsOnly, key, with
	switch cfg.TLS.Mode {
	case config.TLSAllow:
		return []route{plain, safe}, nil
	case config.TLSPrefer:
		safe.tls = tlsIfAny
		return []route{safe, plain}, nil
	case config.TLSDisable, config.TLSRequire, config.TLSVerifyCA, config.TLSVerifyFull:
	}
	return []route{safe}, nil
}

// ErrTLS tells that a server cannot be reached as its server_tls_sslmode demands.
var ErrTLS = errors.New("TLS")

// tlsError is an attempt at TLS that has come to nothing. It is an ErrTLS.
type tlsError struct{ cause error }

func (e *tlsError) Error() string   { return ErrTLS.Error() + ": " + e.cause.Error() }
func (e *tlsError) Unwrap() []error { return []error{ErrTLS, e.cause} }

var (
	errNoTLS      = errors.New("it has none, and server_tls_sslmode demands it")
	errEarlyError = errors.New("it has reported an error where no one can tell whether it is the server that speaks")
	errNoALPN     = errors.New(`the server does not say that it speaks "postgresql" (ALPN); direct TLS is for PostgreSQL 17 and later`)
)

// link is a connection that is ready for the first message.
type link struct {
	net.Conn
	cipher   string // TLS's version and cipher suite; "" without TLS
	endPoint []byte // the certificate's tls-server-end-point; nil if it has none
}

// connect makes a connection. What comes before the first message ends with ctx.
func (r route) connect(ctx context.Context) (*link, error) {
	nc, err := (&net.Dialer{KeepAlive: -1, Control: tuned(r.tcp)}).DialContext(ctx, r.addr.Network, cmp.Or(r.at, r.addr.Addr))
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	var l *link
	err = until(ctx, nc, func() (err error) {
		l, err = r.protect(nc)
		return err
	})
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w", r.addr, err)
	}
	return l, nil
}

// until does what uses nc, and has it fail when ctx ends.
func until(ctx context.Context, nc net.Conn, what func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err := what()
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	return err
}

func (r route) protect(nc net.Conn) (*link, error) {
	if r.tls == inClear {
		return &link{Conn: nc}, nil
	}
	direct := r.key.Negotiation == config.NegotiateDirect
	if !direct {
		has, err := askForTLS(nc)
		switch {
		case err != nil:
			return nil, err
		case !has && r.tls == tlsIfAny:
			return &link{Conn: nc}, nil
		case !has:
			return nil, &tlsError{errNoTLS}
		}
	}
	tc, state, err := tlsconn.Client(nc, r.with)
	if err != nil {
		return nil, &tlsError{err}
	}
	if direct && state.NegotiatedProtocol != tlsconn.ALPN {
		return nil, &tlsError{errNoALPN}
	}
	l := &link{Conn: tc, cipher: tc.Layer().String()}
	if len(state.PeerCertificates) > 0 {
		l.endPoint, _ = tlsconn.ServerEndPoint(state.PeerCertificates[0]) // without one there is no channel binding
	}
	return l, nil
}

// sslRequest is the whole message: length and code 80877103 (PostgreSQL's NEGOTIATE_SSL_CODE).
var sslRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}

// askForTLS asks whether the server speaks TLS here. Not a byte behind its answer is read, so that nothing that comes in
// clear can be taken for something that was protected (CVE-2021-23222 of libpq).
func askForTLS(nc net.Conn) (bool, error) {
	if _, err := nc.Write(sslRequest); err != nil {
		return false, fmt.Errorf("ask for TLS: %w", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return false, fmt.Errorf("ask for TLS: %w", err)
	}
	switch answer[0] {
	case 'S':
		return true, nil
	case 'N':
		return false, nil
	case 'E': // its text is not even read: anybody on the way can have written it (CVE-2024-10977 of libpq)
		return false, &tlsError{errEarlyError}
	}
	return false, fmt.Errorf("ask for TLS: it answers with %q, which is none of its protocol", answer[0])
}

// as is the way that l has taken, and no other: a key that came by TLS does not go back in clear, nor to another server that
// has the same name. A certificate is still that of the name.
func (r route) as(l *link) route {
	r.tls = tlsOnly
	if l.cipher == "" {
		r.tls = inClear
	}
	if tcp := addrPort(l.RemoteAddr()); tcp.IsValid() {
		r.at = tcp.String()
	}
	return r
}
