package loop

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"pooler/internal/tlsconn"
)

// DupFd returns another descriptor of c's socket, non-blocking and the caller's to close.
func DupFd(c any) (int, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("duplicate %T: it has no descriptor", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", dupErr)
	}
	return fd, nil
}

// Socket is a connection between two owners.
type Socket struct {
	FD    int            // connected and non-blocking; -1: there is none
	Layer *tlsconn.Layer // nil: no TLS
	Plain []byte         // text that was decrypted and not read
	Rest  []byte         // ciphertext that was read and not decrypted
}

// Close closes it at once, without a word to the peer.
func (s Socket) Close() {
	if s.FD >= 0 {
		_ = unix.Close(s.FD)
	}
}

// TakeFd takes c out of Go's own poller, so that a loop can have it, and closes c. The caller owns the descriptor. TLS
// comes along if c is a *tlsconn.Conn from which all that was decrypted has been read.
func TakeFd(c net.Conn) (Socket, error) {
	var s Socket
	if t, ok := c.(*tlsconn.Conn); ok {
		var err error
		if c, s.Layer, s.Rest, err = t.Take(); err != nil {
			_ = c.Close()
			return Socket{FD: -1}, err
		}
	}
	defer func() { _ = c.Close() }()
	var err error
	s.FD, err = DupFd(c)
	return s, err
}

// GiveFd is the way back: it makes a net.Conn of s, which it takes over, a *tlsconn.Conn if there is TLS.
func GiveFd(s Socket) (net.Conn, error) {
	f := os.NewFile(uintptr(s.FD), "socket")
	defer func() { _ = f.Close() }() // FileConn has its own
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("hand over descriptor: %w", err)
	}
	if s.Layer != nil {
		c := tlsconn.NewConn(nc, s.Layer, s.Rest)
		c.Unread(s.Plain)
		return c, nil
	}
	return nc, nil
}
