package frontend

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pooler/internal/loop"
)

// farewell closes clients' sockets. One that is owed last words is given a moment to read them: closing a socket with
// unread input at once would make the kernel take them back (RST).
type farewell struct {
	lingering atomic.Int32
}

const (
	maxLingering = 64 // clients given that moment at a time; beyond, they are closed at once
	lingerFor    = time.Second
)

func (f *farewell) close(client *loop.Stream, linger bool) {
	if client == nil {
		return
	}
	if !linger || client.Queued() > 0 || f.lingering.Load() >= maxLingering {
		client.Close()
		return
	}
	socket := client.Release()
	if socket.FD < 0 {
		return
	}
	f.lingering.Add(1)
	go func() {
		defer f.lingering.Add(-1)
		lingerOn(socket)
	}()
}

// lingerOn reads and throws away what the client still sends, until it closes or the moment is over.
func lingerOn(socket loop.Socket) {
	defer socket.Close()
	fd := socket.FD
	if err := unix.SetNonblock(fd, false); err != nil {
		return
	}
	over := time.Now().Add(lingerFor)
	limit := unix.NsecToTimeval(int64(lingerFor))
	if socket.Layer != nil {
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
		_, _ = unix.Write(fd, socket.Layer.SealClose(nil))
	}
	_ = unix.Shutdown(fd, unix.SHUT_WR)
	var b [4096]byte
	for range 64 { // a client that does not stop sending is not listened to for ever
		limit = unix.NsecToTimeval(int64(time.Until(over)))
		if limit.Nano() <= 0 { // which would mean for ever
			return
		}
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
		if n, err := unix.Read(fd, b[:]); n <= 0 || err != nil {
			return
		}
	}
}

func closeFd(fd int) { _ = unix.Close(fd) }
