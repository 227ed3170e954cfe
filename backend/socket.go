package backend

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
)

// SetKeepalive sets keepalive and TCP_USER_TIMEOUT on a TCP socket, both: keepalive alone never fires while a segment
// is unacknowledged. On a listening socket it holds for the connections accepted from then on. A Unix socket needs
// neither.
func SetKeepalive(c any, tcp config.TCP) error {
	if under, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = under.NetConn() // TLS
	}
	switch c.(type) {
	case *net.TCPConn, *net.TCPListener:
	default:
		return nil
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return fmt.Errorf("set keepalive: %w", err)
	}
	var opt error
	if err := raw.Control(func(fd uintptr) { opt = TuneSocket(int(fd), tcp) }); err != nil {
		opt = err
	}
	if opt != nil {
		return fmt.Errorf("set keepalive: %w", opt)
	}
	return nil
}

// tuned is a Dialer.Control that sets keepalive and TCP_USER_TIMEOUT before the connection is made, so that they bound
// the attempt as well.
func tuned(tcp config.TCP) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		var opt error
		if err := c.Control(func(fd uintptr) { opt = TuneSocket(int(fd), tcp) }); err != nil {
			opt = err
		}
		if opt != nil {
			return fmt.Errorf("set keepalive: %w", opt)
		}
		return nil
	}
}

// TuneSocket is SetKeepalive for a descriptor.
func TuneSocket(fd int, tcp config.TCP) error {
	limit := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcp.UserTimeout.Milliseconds()))
	if !tcp.Keepalive {
		return errors.Join(limit, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0))
	}
	return errors.Join(
		limit,
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(tcp.Idle)),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(tcp.Interval)),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, tcp.Count),
	)
}

// seconds rounds up: the kernel refuses 0.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
