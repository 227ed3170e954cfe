package loop_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pooler/internal/loop"
	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

// secure is like pipe, under TLS: the loop's end has had its handshake, with what shake does at the other.
func secure(t *testing.T, shake func(raw net.Conn, cfg *tls.Config) error) (raw net.Conn, far loop.Socket) {
	t.Helper()
	raw, fd := pipe(t)
	nc, err := loop.GiveFd(loop.Socket{FD: fd})
	if err != nil {
		t.Fatal(err)
	}
	set := certs.New(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		var c *tlsconn.Conn
		if c, _, err = tlsconn.Server(nc, &tls.Config{Certificates: []tls.Certificate{set.Server().TLS}}); err == nil {
			far, err = loop.TakeFd(c)
		}
	})
	shaken := shake(raw, &tls.Config{RootCAs: set.CA.Pool(), ServerName: "localhost"})
	wg.Wait()
	if err := errors.Join(shaken, err); err != nil {
		t.Fatal(err)
	}
	return raw, far
}

// secured has crypto/tls at the test's end.
func secured(t *testing.T, version uint16) (near *tls.Conn, raw net.Conn, far loop.Socket) {
	t.Helper()
	raw, far = secure(t, func(raw net.Conn, cfg *tls.Config) error {
		cfg.MaxVersion = version
		near = tls.Client(raw, cfg)
		return near.Handshake()
	})
	return near, raw, far
}

// securedByUs has ours, which allocates nothing.
func securedByUs(t *testing.T) (near *tlsconn.Conn, raw net.Conn, far loop.Socket) {
	t.Helper()
	raw, far = secure(t, func(raw net.Conn, cfg *tls.Config) (err error) {
		near, _, err = tlsconn.Client(raw, cfg)
		return err
	})
	return near, raw, far
}

// on runs f on the loop and waits for it.
func on(l *loop.Loop, f func()) {
	done := make(chan struct{})
	l.Post(func() { f(); close(done) })
	<-done
}

func attachSocket(t *testing.T, l *loop.Loop, c loop.Socket, e *echo) {
	t.Helper()
	e.ended = make(chan string, 1)
	var err error
	on(l, func() { e.s, err = l.Attach(c, e) })
	if err != nil {
		t.Fatal(err)
	}
}

// answers sends text and wants it back.
func answers(t *testing.T, c io.ReadWriter, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, error %v", text, got[:n], err)
	}
}

func TestASlowReaderUnderTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			l := newLoop(t)
			near, _, far := secured(t, version)
			e := &echo{}
			attachSocket(t, l, far, e)
			sent := make([]byte, 8<<20)
			_, _ = rand.Read(sent)
			var writing sync.WaitGroup
			writing.Go(func() {
				if _, err := near.Write(sent); err != nil {
					t.Error(err)
				}
			})
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(near, got); err != nil {
				t.Fatal(err)
			}
			writing.Wait()
			if !bytes.Equal(sent, got) {
				t.Error("bytes were lost or reordered")
			}
			_ = near.Close()
			if how := <-e.ended; how == "panic" {
				t.Errorf("ended by %s", how)
			}
			if e.maxHeld > 2*loop.ChunkSize {
				t.Errorf("%d bytes were held for a slow reader, want at most two chunks", e.maxHeld)
			}
		})
	}
}

// What was read ahead is delivered although the socket is silent: whole records, and one whose end is still to come.
func TestCiphertextThatCameAlong(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		t.Run(fmt.Sprint("in place ", inPlace), func(t *testing.T) {
			l := newLoop(t)
			near, _, far := secured(t, 0)
			for i := range 5 {
				_, _ = near.Write(bytes.Repeat([]byte{'a' + byte(i)}, 10_000))
			}
			far.Rest = make([]byte, 45_000)
			for n := 0; n < len(far.Rest); {
				m, err := unix.Read(far.FD, far.Rest[n:])
				if err == nil {
					n += m
				}
			}
			e := &echo{}
			if inPlace {
				e.ended = make(chan string, 1)
				on(l, func() {
					e.s, _ = l.Attach(loop.Socket{FD: far.FD}, e)
					e.s.StartTLS(far.Layer, far.Rest)
				})
			} else {
				attachSocket(t, l, far, e)
			}
			got := make([]byte, 50_000)
			if _, err := io.ReadFull(near, got); err != nil {
				t.Fatal(err)
			}
			for i, b := range got {
				if b != 'a'+byte(i/10_000) {
					t.Fatalf("byte %d is %q", i, b)
				}
			}
			answers(t, near, "and so on")
		})
	}
}

// sipper reads a few bytes at a time, and pauses after each.
type sipper struct {
	echo
	size   int
	got    bytes.Buffer
	pause  bool
	ending loop.Ending
}

func (r *sipper) OnReadable() {
	p := make([]byte, r.size)
	n, err := r.s.Read(p)
	r.got.Write(p[:n])
	switch {
	case errors.Is(err, loop.ErrWouldBlock):
	case err != nil:
		r.ending = r.s.Ending()
		r.end(err.Error())
	case r.pause:
		r.s.Pause()
		r.s.Loop().Post(r.s.Resume)
	}
}

// An end that comes with the last text is told behind it, also to who reads little and pauses.
func TestNothingIsLostBeforeTheEnd(t *testing.T) {
	text := strings.Repeat("some text. ", 3000)
	for _, size := range []int{7, 1000, loop.ChunkSize} {
		for _, pause := range []bool{false, true} {
			t.Run(fmt.Sprint(size, " bytes at a time, pausing ", pause), func(t *testing.T) {
				l := newLoop(t)
				near, _, far := secured(t, 0)
				_, _ = io.WriteString(near, text)
				_ = near.CloseWrite()
				r := &sipper{size: size, pause: pause}
				r.ended = make(chan string, 1)
				on(l, func() { r.s, _ = l.Attach(far, r) })
				if how := <-r.ended; how != "EOF" || r.got.String() != text {
					t.Errorf("%d of %d bytes, then %s", r.got.Len(), len(text), how)
				}
			})
		}
	}
}

func TestAForgedRecordEndsTheStreamAndThePeerIsTold(t *testing.T) {
	l := newLoop(t)
	near, raw, far := secured(t, 0)
	r := &sipper{size: loop.ChunkSize}
	r.ended = make(chan string, 1)
	var err error
	on(l, func() { r.s, err = l.Attach(far, r) })
	if err != nil {
		t.Fatal(err)
	}
	_, _ = near.Write([]byte("good"))
	_, _ = raw.Write(append([]byte{23, 3, 3, 0, 30}, make([]byte, 30)...))
	if how := <-r.ended; !strings.Contains(how, "bad record MAC") || r.got.String() != "good" {
		t.Errorf("read %q, ended by %s", r.got.String(), how)
	}
	var fault *tlsconn.AlertError
	if r.ending.Fate != loop.FateOther || !errors.As(r.ending.Err, &fault) {
		t.Errorf("the ending is %+v", r.ending)
	}
	if _, err := near.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the peer hears %v", err)
	}
}

func TestAnEndWithinARecord(t *testing.T) {
	l := newLoop(t)
	_, raw, far := secured(t, 0)
	r := &sipper{size: loop.ChunkSize}
	r.ended = make(chan string, 1)
	on(l, func() { r.s, _ = l.Attach(far, r) })
	_, _ = raw.Write([]byte{23, 3, 3, 0, 30, 1})
	_ = raw.(*net.TCPConn).CloseWrite()
	if how := <-r.ended; how != io.ErrUnexpectedEOF.Error() {
		t.Errorf("ended by %s", how)
	}
}

func TestAPausedStreamUnderTLSHearsThatItsPeerHasGone(t *testing.T) {
	l := newLoop(t)
	near, _, far := secured(t, 0)
	e := &echo{}
	attachSocket(t, l, far, e)
	on(l, func() { e.s.Pause() })
	_, _ = near.Write([]byte("last words"))
	_ = near.Close()
	if how := <-e.ended; how != "half" {
		t.Errorf("told by %s, want half", how)
	}
}

func TestCloseSaysGoodbye(t *testing.T) {
	l := newLoop(t)
	c, raw, far := securedByUs(t)
	e := &echo{}
	attachSocket(t, l, far, e)
	on(l, func() { e.s.Close() })
	_, layer, rest, err := c.Take()
	if err != nil {
		t.Fatal(err)
	}
	wire, err := io.ReadAll(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := layer.Open(append(rest, wire...)); !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes and no close_notify: %v", len(wire), err)
	}
}

func TestAStreamUnderTLSMoves(t *testing.T) {
	a, b := newLoop(t), newLoop(t)
	near, _, far := secured(t, 0)
	e := &echo{}
	attachSocket(t, a, far, e)
	here, there := a, b
	for i := range 20 {
		moved := make(chan error, 1)
		here.Post(func() {
			e.s.Detach()
			there.Post(func() { moved <- e.s.Join(there) })
		})
		if err := <-moved; err != nil {
			t.Fatal(err)
		}
		answers(t, near, fmt.Sprint("move ", i))
		here, there = there, here
	}
	// To a goroutine and back.
	socket := make(chan loop.Socket, 1)
	here.Post(func() { socket <- e.s.Release() })
	nc, err := loop.GiveFd(<-socket)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = near.Write([]byte("to a goroutine"))
	got := make([]byte, len("to a goroutine"))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != "to a goroutine" {
		t.Fatalf("read %q, %v", got, err)
	}
	back, err := loop.TakeFd(nc)
	if err != nil {
		t.Fatal(err)
	}
	attachSocket(t, a, back, e)
	answers(t, near, "back")
}

func TestRelayingUnderTLSAllocatesNothing(t *testing.T) {
	l := newLoop(t)
	near, _, far := securedByUs(t)
	attachSocket(t, l, far, &echo{})
	msg := bytes.Repeat([]byte("x"), 1000)
	got := make([]byte, len(msg))
	if n := testing.AllocsPerRun(200, func() {
		_, _ = near.Write(msg)
		_, _ = io.ReadFull(near, got)
	}); n > 0 {
		t.Errorf("%v allocations per round trip, want 0", n)
	}
}
