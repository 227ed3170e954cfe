package loop

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrWouldBlock tells that a stream has nothing to read now.
var ErrWouldBlock = errors.New("would block")

// Handler is who a stream belongs to. Its methods run on the stream's loop, one at a time.
type Handler interface {
	// OnReadable: there are bytes, or the end, to read.
	OnReadable()
	// OnDrained: what Write had to queue has been written.
	OnDrained()
	// OnHalfClose: the peer has sent its last byte while the handler was not reading (Pause).
	OnHalfClose()
	// OnHangup: the connection is dead in both directions.
	OnHangup()
	// OnPanic: one of the handler's methods panicked with v. It must let go of everything.
	OnPanic(v any)
}

// Stream is a socket that never blocks. It belongs to one loop at a time; only that loop's thread may call its
// methods. What cannot be written at once is queued, without bound here: the caller stops its source while Queued
// is more than zero, which bounds it.
type Stream struct {
	loop      *Loop
	handler   Handler
	backlog   *backlog // nil: the kernel has taken all
	veil      *veil    // nil: no TLS
	fd        int32
	watched   int32 // place in the loop's list of those with unacknowledged output, from 1; 0: not in it
	interest  uint32
	lost      uint16 // the errno by which the kernel told of the end; 0: it has not
	patient   bool   // others come first
	unwatched bool   // in no epoll yet
	paused    bool   // reading was stopped by Pause
	deaf      bool   // half-closed by the peer while paused: told once, not watched for until Resume
	broken    bool   // a write failed; further output is dropped, the hang-up event follows
}

// Attach puts a connection under the loop's care. What it has read already is read again: OnReadable follows. The loop's
// thread must call it.
func (l *Loop) Attach(c Socket, h Handler) (*Stream, error) {
	s := &Stream{loop: l, handler: h, fd: int32(c.FD), interest: unix.EPOLLIN | unix.EPOLLRDHUP}
	if err := s.register(); err != nil {
		return nil, err
	}
	if c.Layer != nil {
		s.StartTLS(c.Layer, c.Rest)
		s.veil.plain = c.Plain
		s.nudge()
	}
	return s, nil
}

func (s *Stream) register() error {
	l, fd := s.loop, int(s.fd)
	ev := unix.EpollEvent{Events: s.interest, Fd: s.fd}
	if err := unix.EpollCtl(s.epoll(), unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	l.hold(s)
	return nil
}

// hold enters s under its descriptor.
func (l *Loop) hold(s *Stream) {
	for len(l.streams) <= int(s.fd) {
		l.streams = append(l.streams, nil)
	}
	l.streams[s.fd] = s
}

// Detach takes the stream off its loop, so that Join can put it on another. Nothing may be queued.
func (s *Stream) Detach() {
	s.settled()
	s.unnudge()
	_ = unix.EpollCtl(s.epoll(), unix.EPOLL_CTL_DEL, int(s.fd), nil)
	s.loop.streams[s.fd] = nil
	s.loop = nil
}

// Join puts a detached stream on l. The thread of l must call it.
func (s *Stream) Join(l *Loop) error {
	s.loop = l
	if err := s.register(); err != nil {
		return err
	}
	s.nudge()
	return nil
}

// Loop is the loop that owns the stream, nil once it is closed.
func (s *Stream) Loop() *Loop { return s.loop }

// Fd is the descriptor, for socket options.
func (s *Stream) Fd() int { return int(s.fd) }

// Read reads what is there into p. It returns ErrWouldBlock when that is nothing, io.EOF at the end.
// Under TLS all that was decrypted is handed out at once if p has room for tlsconn.MaxRecord bytes; if it has not, or when
// an end follows the text, OnReadable is called again. A peer that breaks TLS is an error like a broken connection.
func (s *Stream) Read(p []byte) (int, error) {
	if s.veil != nil {
		return s.readVeiled(p)
	}
	return s.readSocket(p)
}

func (s *Stream) readSocket(p []byte) (int, error) {
	for {
		n, e := readNow(int(s.fd), p)
		switch {
		case e == 0 && n > 0:
			return n, nil
		case e == 0:
			return 0, io.EOF
		case e == syscall.EAGAIN:
			return 0, ErrWouldBlock
		case e != syscall.EINTR:
			s.note(e)
			return 0, fmt.Errorf("read: %w", e)
		}
	}
}

// Write writes p, or queues what the kernel does not take now. The caller keeps p.
func (s *Stream) Write(p []byte) {
	if len(p) == 0 || s.broken || s.loop == nil {
		return
	}
	if s.veil != nil {
		s.writeVeiled(p)
		return
	}
	s.push(p)
}

// push gives p to the kernel, or queues what it does not take.
func (s *Stream) push(p []byte) {
	if len(p) == 0 {
		return
	}
	if s.watched == 0 {
		s.loop.watchOver(s)
	}
	if b := s.backlog; b != nil {
		b.out = append(b.out, p...)
		return
	}
	if n := s.send(p); n < len(p) && !s.broken {
		s.backlog = &backlog{out: append(s.loop.buffer(), p[n:]...)}
		s.watch(s.interest | unix.EPOLLOUT)
	}
}

// send gives the kernel as much of p as it takes. An error marks the stream broken; epoll then reports the
// hang-up, so that there is one place where the end of a connection is handled.
func (s *Stream) send(p []byte) int {
	done := 0
	for done < len(p) {
		n, e := writeNow(int(s.fd), p[done:])
		switch {
		case e == 0:
			done += n
		case e == syscall.EAGAIN:
			return done
		case e != syscall.EINTR:
			s.note(e)
			s.broken = true
			return done
		}
	}
	return done
}

// Queued is how many bytes wait for the peer to read, in bytes.
func (s *Stream) Queued() int {
	if s.backlog == nil {
		return 0
	}
	return len(s.backlog.out) - s.backlog.sent
}

// backlog is what Write has accepted and the kernel has not.
type backlog struct {
	out  []byte
	sent int // how much of out the kernel has taken
}

// dropBacklog gives its buffer back.
func (s *Stream) dropBacklog() {
	if s.backlog != nil {
		s.loop.recycle(s.backlog.out)
		s.backlog = nil
	}
}

// Pause stops reading; the peer is held back by TCP. A hang-up is still reported.
func (s *Stream) Pause() {
	if s.paused || s.loop == nil {
		return
	}
	s.paused = true
	s.watch(s.interest &^ unix.EPOLLIN)
}

// Resume reads again after Pause.
func (s *Stream) Resume() {
	if !s.paused || s.loop == nil {
		return
	}
	s.paused, s.deaf = false, false
	s.watch(s.interest | unix.EPOLLIN | unix.EPOLLRDHUP)
	s.nudge()
}

// Close closes the socket at once; what is queued is dropped. It may be called twice.
func (s *Stream) Close() {
	if s.loop == nil {
		return
	}
	if s.veil != nil {
		s.sayClose()
		s.unnudge()
		s.keepRest(nil)
	}
	s.settled()
	s.loop.streams[s.fd] = nil
	s.dropBacklog()
	s.loop = nil
	_ = unix.Close(int(s.fd)) // closing takes it out of the epoll set
}

func (s *Stream) watch(interest uint32) {
	if interest == s.interest {
		return
	}
	s.interest = interest
	ev := unix.EpollEvent{Events: interest, Fd: s.fd}
	_ = unix.EpollCtl(s.epoll(), unix.EPOLL_CTL_MOD, int(s.fd), &ev)
}

// ready hands one epoll event to the handler. Bytes come before the hang-up that follows them: a server's last
// words are in them.
func (s *Stream) ready(events uint32) {
	if s.loop == nil {
		return
	}
	if events&unix.EPOLLOUT != 0 {
		l, fd := s.loop, s.fd
		if s.flush(); l.streams[fd] != s {
			return // closed, or another loop's by now
		}
	}
	const gone = unix.EPOLLHUP | unix.EPOLLERR
	switch {
	case events&unix.EPOLLIN != 0 && !s.paused:
		s.handler.OnReadable()
	case events&gone != 0:
		s.handler.OnHangup()
	case events&unix.EPOLLRDHUP != 0 && s.paused && !s.deaf:
		s.deaf = true
		s.watch(s.interest &^ unix.EPOLLRDHUP) // told once; else level-triggered epoll would tell it for ever
		s.handler.OnHalfClose()
	}
}

func (s *Stream) flush() {
	if b := s.backlog; b != nil {
		b.sent += s.send(b.out[b.sent:])
		if b.sent < len(b.out) && !s.broken {
			return
		}
	}
	s.dropBacklog()
	s.watch(s.interest &^ unix.EPOLLOUT)
	if !s.broken {
		s.handler.OnDrained()
	}
}

// Release lets go of the socket without closing it; what is queued is dropped. Its descriptor is -1 if the stream is closed.
func (s *Stream) Release() Socket {
	if s.loop == nil {
		return Socket{FD: -1}
	}
	s.dropBacklog()
	s.Detach()
	c := Socket{FD: int(s.fd)}
	if v := s.veil; v != nil {
		c.Layer, c.Plain, c.Rest = v.layer, v.plain, v.rest
	}
	return c
}

// SetHandler hands the stream to another handler of the same loop.
func (s *Stream) SetHandler(h Handler) { s.handler = h }
