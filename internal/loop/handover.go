package loop

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
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

// TakeFd takes the descriptor of c out of Go's own poller, so that a loop can have it, and closes c. The caller owns
// the descriptor, which is non-blocking.
func TakeFd(c net.Conn) (int, error) {
	defer func() { _ = c.Close() }()
	return DupFd(c)
}

// GiveFd is the way back: it makes a net.Conn of fd, which it takes over.
func GiveFd(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = f.Close() }() // FileConn has its own
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("hand over descriptor: %w", err)
	}
	return nc, nil
}
