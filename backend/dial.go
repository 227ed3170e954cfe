// Package backend knows PostgreSQL's side: how a server session is opened, what one is known to hold, how it is
// cleaned, cancelled and closed.
package backend

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/loop"
)

// ServerError is an ErrorResponse by which PostgreSQL refused a connection.
type ServerError struct {
	Response *pgproto3.ErrorResponse
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

// Dial opens and authenticates a server session. The Conn belongs to the caller, and to no loop yet. A refusal by
// PostgreSQL is a *ServerError.
func Dial(ctx context.Context, cfg config.Pool) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	addr := AddressOf(cfg.Host, cfg.Port)
	nc, err := (&net.Dialer{KeepAlive: -1, Control: tuned(cfg.TCP)}).DialContext(ctx, addr.Network, addr.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	c := newConn(addr, cfg.CancelWaitTimeout)
	c.Login, c.DBName, c.tcp = cfg.ServerUser, cfg.DBName, cfg.TCP
	c.Local, c.Remote = addrPort(nc.LocalAddr()), addrPort(nc.RemoteAddr())
	err = c.logIn(nc, cfg)
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("log in to PostgreSQL at %s as %s: %w", addr, cfg.ServerUser, err)
	}
	c.defaults = slices.Clone(c.parameters)
	if c.fd, err = loop.TakeFd(nc); err != nil {
		return nil, err
	}
	return c, nil
}

// addrPort is not valid for a Unix socket's address.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// logIn runs the start-up conversation up to ReadyForQuery.
func (c *Conn) logIn(nc net.Conn, cfg config.Pool) error {
	server := pgproto3.NewFrontend(nc, nc)
	server.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": cfg.ServerUser, "database": cfg.DBName},
	})
	if err := server.Flush(); err != nil {
		return err
	}
	auth := authenticator{server: server, user: cfg.ServerUser, password: cfg.ServerPassword}
	for {
		msg, err := server.Receive()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.ParameterStatus:
			c.setParameter(msg.Name, msg.Value)
		case *pgproto3.BackendKeyData:
			c.cancelKey = cancelRequest(msg.ProcessID, msg.SecretKey)
			c.PID = msg.ProcessID
		case *pgproto3.ErrorResponse:
			return &ServerError{Response: cloneError(msg)}
		case *pgproto3.NoticeResponse:
		case *pgproto3.ReadyForQuery:
			c.status = msg.TxStatus
			if cfg.Callbacks {
				if err := c.askCallbacks(server); err != nil {
					return err
				}
			}
			return c.drain(server)
		default:
			if err := auth.answer(msg); err != nil {
				return err
			}
		}
	}
}

// drain reads what the server has already said behind its first ReadyForQuery, so that no byte is lost when the
// descriptor changes hands.
func (c *Conn) drain(server *pgproto3.Frontend) error {
	for server.ReadBufferLen() > 0 {
		msg, err := server.Receive()
		if err != nil {
			return err
		}
		if p, ok := msg.(*pgproto3.ParameterStatus); ok {
			c.setParameter(p.Name, p.Value)
		}
	}
	return nil
}

func cloneError(e *pgproto3.ErrorResponse) *pgproto3.ErrorResponse {
	clone := *e
	return &clone
}

func cancelRequest(pid uint32, secret []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
	b = binary.BigEndian.AppendUint32(b, 80877102) // CancelRequest code, protocol 3.0
	b = binary.BigEndian.AppendUint32(b, pid)
	return append(b, secret...)
}
