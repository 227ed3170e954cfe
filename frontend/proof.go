package frontend

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"pooler/internal/loop"
	"pooler/internal/wire"
)

// packets reads what a client sends to prove who it is, in a goroutine. What it has read beyond that goes with the
// client to its loop.
type packets struct {
	nc  net.Conn
	buf []byte // read, not yet taken
}

// fill makes sure that n bytes are at hand.
func (p *packets) fill(n int) error {
	for len(p.buf) < n {
		var chunk [1024]byte
		k, err := p.nc.Read(chunk[:])
		p.buf = append(p.buf, chunk[:k]...)
		if err != nil && len(p.buf) < n {
			if errors.Is(err, io.EOF) && len(p.buf) > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// maxAuthMessage is PostgreSQL's limit for messages during authentication (PG_MAX_AUTH_TOKEN_LENGTH), in bytes.
const maxAuthMessage = 65535

// password reads a message of the type 'p', which carries every kind of proof.
func (p *packets) password() ([]byte, error) {
	if err := p.fill(wire.HeaderSize); err != nil {
		return nil, err
	}
	size := wire.FrameSize(p.buf)
	if p.buf[0] != 'p' {
		return nil, protocolViolation("expected password response, got message type %d", p.buf[0])
	}
	if size < wire.HeaderSize || size > maxAuthMessage {
		return nil, protocolViolation("invalid password packet size")
	}
	if err := p.fill(size); err != nil {
		return nil, err
	}
	body := slices.Clone(p.buf[wire.HeaderSize:size])
	p.buf = p.buf[size:]
	return body, nil
}

// prove is the control plane's part of a client's life: a conversation with passwords and costly sums, which a loop
// must not wait for. It ends with a session on l, or a refusal. early is what the client has sent already.
func (srv *Server) prove(fd int, start *startup, l *loop.Loop, remote netip.AddrPort, early []byte, now *current) {
	nc, err := loop.GiveFd(fd)
	if err != nil {
		srv.log.Error("client cannot be handed to its login", "error", err)
		srv.clientLeft()
		return
	}
	if !srv.enterLogin(nc) {
		_ = nc.Close()
		srv.clientLeft()
		return
	}
	defer srv.leaveLogin(nc)
	_ = nc.SetDeadline(time.Now().Add(time.Duration(now.cfg.ClientLoginTimeout)))
	p := &packets{nc: nc, buf: early}
	if err := now.credentials.authenticate(p, start.user); err != nil {
		srv.noteRefusal(remote, err)
		tellAndClose(nc, err)
		srv.clientLeft()
		return
	}
	_ = nc.SetDeadline(time.Time{})
	fd, err = loop.TakeFd(nc)
	if err != nil {
		srv.log.Error("client cannot be handed to its loop", "error", err)
		srv.clientLeft()
		return
	}
	l.Post(func() { srv.admit(start, l, remote, fd, p.buf) })
}

// tellAndClose gives the client a moment to read its refusal: closing with unread input would take it back.
func tellAndClose(nc net.Conn, err error) {
	defer func() { _ = nc.Close() }()
	if isIO(err) {
		return
	}
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = nc.Write(toErrorResponse("FATAL", err))
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		_ = nc.SetReadDeadline(time.Now().Add(lingerSeconds * time.Second))
		_, _ = io.CopyN(io.Discard, nc, 64<<10)
	}
}

func isIO(err error) bool {
	var refusal *Refusal
	var ne net.Error
	return !errors.As(err, &refusal) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne))
}
