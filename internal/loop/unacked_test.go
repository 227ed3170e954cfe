package loop_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pooler/internal/loop"
)

// feeder writes without end and notes how its connection ended.
type feeder struct {
	s     *loop.Stream
	quiet bool
	ended chan loop.Ending
}

func (f *feeder) OnReadable() {
	switch _, err := f.s.Read(f.s.Loop().Chunk()); {
	case errors.Is(err, loop.ErrWouldBlock), err == nil:
	default:
		f.OnHangup()
	}
}

func (f *feeder) OnDrained() {
	for !f.quiet && f.s.Queued() == 0 {
		f.s.Write(make([]byte, 64<<10))
	}
}

func (f *feeder) OnHalfClose() {}

func (f *feeder) OnHangup() {
	f.ended <- f.s.Ending()
	f.s.Close()
}

func (f *feeder) OnPanic(any) { f.OnHangup() }

func feed(t *testing.T, quiet bool) (net.Conn, *feeder, *loop.Loop) {
	t.Helper()
	l := newLoop(t)
	near, fd := pipe(t)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000); err != nil {
		t.Fatal(err)
	}
	f := &feeder{quiet: quiet, ended: make(chan loop.Ending, 1)}
	attached := make(chan error)
	l.Post(func() {
		var err error
		f.s, err = l.Attach(loop.Socket{FD: fd}, f)
		attached <- err
	})
	if err := <-attached; err != nil {
		t.Fatal(err)
	}
	l.Post(f.OnDrained)
	return near, f, l
}

// A peer that does not read answers the kernel's window probes: it lives, whatever TCP_USER_TIMEOUT says.
func TestPeerThatDoesNotReadIsNotDead(t *testing.T) {
	near, f, l := feed(t, false)
	select {
	case e := <-f.ended:
		t.Fatalf("the connection has ended: %+v", e)
	case <-time.After(4500 * time.Millisecond):
	}
	l.Post(func() { f.quiet = true })
	_ = near.(*net.TCPConn).CloseWrite()
	if n, err := io.Copy(io.Discard, near); err != nil || n == 0 {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	if e := <-f.ended; e.Fate != loop.FateClosed || e.Silent < 4*time.Second {
		t.Errorf("the connection ended so: %+v", e)
	}
}

func TestEndingTellsHowItWasNoticed(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*net.TCPConn)
		want loop.Fate
	}{
		{"the peer has closed", func(c *net.TCPConn) { _ = c.Close() }, loop.FateClosed},
		{"the peer has broken off", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, loop.FateReset},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, f, _ := feed(t, true)
			test.end(near.(*net.TCPConn))
			if e := <-f.ended; e.Fate != test.want || e.Silent < 0 || e.Silent > time.Second {
				t.Errorf("want %s, got %+v", test.want, e)
			}
		})
	}
}
