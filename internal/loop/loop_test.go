package loop_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pooler/internal/loop"
	"pooler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func newLoop(t *testing.T) *loop.Loop {
	t.Helper()
	l, err := loop.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

// pipe returns a blocking end for the test and a descriptor for the loop.
func pipe(t *testing.T) (net.Conn, int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	_ = near.SetDeadline(time.Now().Add(20 * time.Second))
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := loop.TakeFd(far)
	if err != nil {
		t.Fatal(err)
	}
	return near, socket.FD
}

// echo writes back what it reads, and stops reading while its peer does not.
type echo struct {
	s       *loop.Stream
	maxHeld int
	ended   chan string
	panics  bool
}

func (e *echo) OnReadable() {
	if e.panics {
		panic("test")
	}
	chunk := e.s.Loop().Chunk()
	n, err := e.s.Read(chunk)
	if errors.Is(err, loop.ErrWouldBlock) {
		return
	}
	if err != nil {
		e.end("end")
		return
	}
	e.s.Write(chunk[:n])
	e.maxHeld = max(e.maxHeld, e.s.Queued())
	if e.s.Queued() > 0 {
		e.s.Pause()
	}
}

func (e *echo) OnDrained()   { e.s.Resume() }
func (e *echo) OnHalfClose() { e.end("half") }
func (e *echo) OnHangup()    { e.end("hangup") }
func (e *echo) OnPanic(any)  { e.end("panic") }

func (e *echo) end(how string) {
	e.s.Close()
	e.ended <- how
}

func attach(t *testing.T, l *loop.Loop, fd int, e *echo) {
	t.Helper()
	e.ended = make(chan string, 1)
	done := make(chan error, 1)
	l.Post(func() {
		s, err := l.Attach(loop.Socket{FD: fd}, e)
		e.s = s
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestASlowReaderHoldsItsSourceBackAndLosesNothing(t *testing.T) {
	l := newLoop(t)
	near, fd := pipe(t)
	e := &echo{}
	attach(t, l, fd, e)
	sent := make([]byte, 32<<20)
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
}

func TestAPausedStreamStillHearsThatItsPeerHasGone(t *testing.T) {
	l := newLoop(t)
	near, fd := pipe(t)
	e := &echo{}
	attach(t, l, fd, e)
	done := make(chan struct{})
	l.Post(func() { e.s.Pause(); close(done) })
	<-done
	_ = near.Close()
	if how := <-e.ended; how != "half" {
		t.Errorf("told by %s, want half", how)
	}
}

func TestAPanicEndsOneStreamOnly(t *testing.T) {
	l := newLoop(t)
	nearBad, fdBad := pipe(t)
	near, fd := pipe(t)
	bad, good := &echo{panics: true}, &echo{}
	attach(t, l, fdBad, bad)
	attach(t, l, fd, good)
	_, _ = nearBad.Write([]byte("x"))
	if how := <-bad.ended; how != "panic" {
		t.Errorf("told by %s, want panic", how)
	}
	_, _ = near.Write([]byte("y"))
	var b [1]byte
	if _, err := io.ReadFull(near, b[:]); err != nil || b[0] != 'y' {
		t.Errorf("the other stream answers %q, %v", b, err)
	}
	if n := l.Panics(); n != 1 {
		t.Errorf("%d panics counted, want 1", n)
	}
}

func TestAStreamMovesBetweenLoops(t *testing.T) {
	a, b := newLoop(t), newLoop(t)
	near, fd := pipe(t)
	e := &echo{}
	attach(t, a, fd, e)
	here, there := a, b
	for i := range byte(20) {
		moved := make(chan error, 1)
		here.Post(func() {
			e.s.Detach()
			there.Post(func() { moved <- e.s.Join(there) })
		})
		if err := <-moved; err != nil {
			t.Fatal(err)
		}
		_, _ = near.Write([]byte{i})
		var got [1]byte
		if _, err := io.ReadFull(near, got[:]); err != nil || got[0] != i {
			t.Fatalf("after move %d: %v, %v", i, got, err)
		}
		here, there = there, here
	}
}

func TestPostsRunInOrder(t *testing.T) {
	l := newLoop(t)
	const posts = 10_000
	var got []int
	done := make(chan struct{})
	for i := range posts {
		l.Post(func() { got = append(got, i) })
	}
	l.Post(func() { close(done) })
	<-done
	for i, v := range got {
		if i != v {
			t.Fatalf("post %d ran as number %d", v, i)
		}
	}
	if len(got) != posts {
		t.Errorf("%d posts ran, want %d", len(got), posts)
	}
}

func TestAListenerAcceptsOnTheLoop(t *testing.T) {
	l := newLoop(t)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	fd, err := loop.DupFd(socket)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan *loop.Listener, 1)
	l.Post(func() {
		ln, err := l.Listen(fd, func(fd int, remote netip.AddrPort) {
			e := &echo{ended: make(chan string, 1)}
			e.s, _ = l.Attach(loop.Socket{FD: fd}, e)
			e.s.Write([]byte(remote.Addr().String()))
		}, func(err error) { t.Error(err) })
		if err != nil {
			t.Error(err)
		}
		ready <- ln
	})
	ln := <-ready
	near, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close() }()
	got := make([]byte, len("127.0.0.1"))
	if _, err := io.ReadFull(near, got); err != nil || string(got) != "127.0.0.1" {
		t.Errorf("got %q, %v", got, err)
	}
	closed := make(chan struct{})
	l.Post(func() { ln.Close(); close(closed) })
	<-closed
}

func TestRelayingAllocatesNothing(t *testing.T) {
	l := newLoop(t)
	near, fd := pipe(t)
	attach(t, l, fd, &echo{})
	msg := bytes.Repeat([]byte("x"), 1000)
	got := make([]byte, len(msg))
	if n := testing.AllocsPerRun(200, func() {
		_, _ = near.Write(msg)
		_, _ = io.ReadFull(near, got)
	}); n > 0 {
		t.Errorf("%v allocations per round trip, want 0", n)
	}
}
