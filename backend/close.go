package backend

import (
	"errors"

	"golang.org/x/sys/unix"
)

// goodbyeWait bounds how long Close waits for PostgreSQL to end the session, in seconds. Until then the session
// still counts against max_connections, and so it does against the pool's limit.
const goodbyeWait = 5

// Close ends a retired conn's session and waits until PostgreSQL has ended it, at most goodbyeWait. It blocks, so it
// is not for a loop; the keeper calls it once, after Lost.
func (c *Conn) Close() {
	c.Prepared.Clear()
	if c.fd < 0 {
		return
	}
	defer func() { _ = unix.Close(c.fd) }()
	if c.retired == RetireLost {
		return
	}
	_ = unix.SetNonblock(c.fd, false)
	limit := unix.Timeval{Sec: goodbyeWait}
	_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if c.retired != RetireMidMessage {
		_, _ = unix.Write(c.fd, []byte{'X', 0, 0, 0, 4})
	}
	_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	var rest [4096]byte
	for {
		if n, err := unix.Read(c.fd, rest[:]); n <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
