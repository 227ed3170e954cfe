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

// reader takes a few bytes, and leaves the rest to who has the stream next.
type reader struct {
	echo
	size int
	read chan []byte
}

func (r *reader) OnReadable() {
	p := make([]byte, r.size)
	n, err := r.s.Read(p)
	if err != nil {
		return
	}
	r.s.Pause()
	r.read <- p[:n]
}

// Text that was decrypted and not read goes along with the socket, to a loop and to a goroutine.
func TestTextThatWasNotReadGoesAlong(t *testing.T) {
	const text = "what is read, what another loop reads, what a goroutine reads"
	a, b := newLoop(t), newLoop(t)
	near, _, far := secured(t, 0)
	_, _ = io.WriteString(near, text)
	var got []byte
	for _, l := range []*loop.Loop{a, b} {
		r := &reader{size: 20, read: make(chan []byte, 1), echo: echo{ended: make(chan string, 9)}}
		on(l, func() { r.s, _ = l.Attach(far, r) })
		got = append(got, <-r.read...)
		on(l, func() { far = r.s.Release() })
	}
	nc, err := loop.GiveFd(far)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	rest := make([]byte, len(text)-len(got))
	if n, err := io.ReadFull(nc, rest); err != nil || string(got)+string(rest) != text {
		t.Errorf("read %q, %v", string(got)+string(rest[:n]), err)
	}
}

// wanderer goes to the other loop whenever it has read something.
type wanderer struct {
	echo
	there, here *loop.Loop
	got         chan byte
}

func (w *wanderer) OnReadable() {
	var p [1]byte
	if n, _ := w.s.Read(p[:]); n == 0 {
		return
	}
	w.got <- p[0]
	w.here, w.there = w.there, w.here
	w.s.Detach()
	w.here.Post(func() { _ = w.s.Join(w.here) })
}

// A stream that its handler gives away is not touched any more by the loop that has called it.
func TestAStreamThatIsGivenAwayIsNotTouched(t *testing.T) {
	a, b := newLoop(t), newLoop(t)
	near, _, far := secured(t, 0)
	text := strings.Repeat("0123456789", 200)
	w := &wanderer{here: a, there: b, got: make(chan byte, len(text)), echo: echo{ended: make(chan string, 9)}}
	_, _ = io.WriteString(near, text)
	on(a, func() { w.s, _ = a.Attach(far, w) })
	for i := range len(text) {
		if got := <-w.got; got != text[i] {
			t.Fatalf("byte %d is %q", i, got)
		}
	}
}

// What the peer has sent is text, not ciphertext: neither a goodbye nor half a record is.
func TestUnreadKnowsTLS(t *testing.T) {
	for name, test := range map[string]struct {
		send func(near *tls.Conn, raw net.Conn)
		want bool
	}{
		"text":          {func(near *tls.Conn, _ net.Conn) { _, _ = near.Write([]byte("x")) }, true},
		"a goodbye":     {func(near *tls.Conn, _ net.Conn) { _ = near.CloseWrite() }, false},
		"half a record": {func(_ *tls.Conn, raw net.Conn) { _, _ = raw.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t)
			near, raw, far := secured(t, 0)
			r := &reader{size: 100, read: make(chan []byte, 1), echo: echo{ended: make(chan string, 9)}}
			on(l, func() {
				r.s, _ = l.Attach(far, r)
				r.s.Pause()
			})
			test.send(near, raw)
			for waiting := 0; waiting == 0; {
				waiting, _ = unix.IoctlGetInt(far.FD, unix.TIOCINQ)
			}
			for range 2 {
				var got bool
				on(l, func() { got = r.s.Unread() })
				if got != test.want {
					t.Errorf("unread: %t, want %t", got, test.want)
				}
			}
			on(l, r.s.Resume)
			if test.want && string(<-r.read) != "x" {
				t.Error("it is lost")
			}
			if on(l, func() { test.want = r.s.Unread() }); test.want {
				t.Error("unread when it has been read")
			}
		})
	}
}
