package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener accepts connections on a loop. It belongs to that loop's thread.
type Listener struct {
	stream *Stream
	accept func(fd int, remote netip.AddrPort)
	fault  func(error)
}

// acceptsPerTurn bounds how many connections are taken before those there are get their turn: with the reading of its
// start-up packet each takes some 20 µs.
const acceptsPerTurn = 4

// Listen has the loop accept on fd, a listening non-blocking socket, which it takes over. accept gets each connection,
// non-blocking and its own to close; remote is invalid for a Unix socket. fault hears why one could not be accepted.
// The loop's thread must call it.
func (l *Loop) Listen(fd int, accept func(fd int, remote netip.AddrPort), fault func(error)) (*Listener, error) {
	ln := &Listener{accept: accept, fault: fault}
	s, err := l.Attach(Socket{FD: fd}, ln)
	if err != nil {
		return nil, err
	}
	ln.stream = s
	return ln, nil
}

// Close stops accepting.
func (ln *Listener) Close() { ln.stream.Close() }

// OnReadable implements Handler.
func (ln *Listener) OnReadable() {
	for range acceptsPerTurn {
		fd, from, err := unix.Accept4(ln.stream.Fd(), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			ln.accept(fd, addrPort(from))
		case errors.Is(err, syscall.EAGAIN):
			return
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ECONNABORTED):
		default:
			ln.fault(fmt.Errorf("accept: %w", err)) // out of descriptors, most likely; tried again at the next event
			return
		}
	}
}

func addrPort(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// OnDrained implements Handler.
func (ln *Listener) OnDrained() {}

// OnHalfClose implements Handler.
func (ln *Listener) OnHalfClose() {}

// OnHangup implements Handler.
func (ln *Listener) OnHangup() {}

// OnPanic implements Handler: the listener goes on.
func (ln *Listener) OnPanic(any) {}
