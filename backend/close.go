package backend

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// goodbyeWait bounds how long Close waits for PostgreSQL to end the session. Until then the session still counts
// against max_connections, and so it does against the pool's limit.
const goodbyeWait = 5 * time.Second

// Close ends a retired conn's session and waits until PostgreSQL has ended it, at most goodbyeWait. What it may still
// be running is cancelled: nobody wants it any more. It blocks, so it is not for a loop; the keeper calls it once,
// after Lost.
func (c *Conn) Close() {
	c.Prepared.Clear()
	fd := c.socket.FD
	if fd < 0 {
		return
	}
	defer c.socket.Close()
	if c.retired == RetireLost {
		return
	}
	_ = unix.SetNonblock(fd, false)
	limit := unix.NsecToTimeval(int64(cancelAgain))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if c.retired != RetireMidMessage {
		_, _ = unix.Write(fd, c.farewell())
	}
	_ = unix.Shutdown(fd, unix.SHUT_WR)
	c.awaitEnd()
}

// farewell is Terminate, and what ends TLS.
func (c *Conn) farewell() []byte {
	terminate := []byte{'X', 0, 0, 0, 4}
	if l := c.socket.Layer; l != nil {
		return l.SealClose(l.Seal(nil, terminate))
	}
	return terminate
}

// awaitEnd reads until PostgreSQL closes the connection.
func (c *Conn) awaitEnd() {
	var rest [4096]byte
	begun := time.Now()
	for next := begun.Add(cancelAgain); time.Since(begun) < goodbyeWait; {
		n, err := unix.Read(c.socket.FD, rest[:])
		if n <= 0 && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return
		}
		if now := time.Now(); now.After(next) {
			_ = c.wayBack().cancel(c.cancelKey, goodbyeWait)
			next = now.Add(cancelAgain)
		}
	}
}
