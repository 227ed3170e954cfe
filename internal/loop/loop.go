// Package loop is the relay plane's machinery: an event loop on epoll, streams that never block, and a mailbox
// by which other goroutines reach a loop. It knows nothing of PostgreSQL.
package loop

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ChunkSize is how much a loop reads from a socket at once, in bytes. All streams of a loop share one buffer of
// this size, so an idle connection owns none.
const ChunkSize = 64 << 10

// Loop runs the handlers of its streams, one at a time, on one OS thread. Everything that belongs to a loop is
// touched by that thread alone and needs no lock; Post is the only method that other goroutines may call.
type Loop struct {
	log     *slog.Logger
	epoll   int
	wake    int       // eventfd that ends a blocking wait when mail arrives
	streams []*Stream // by descriptor
	events  []unix.EpollEvent
	calm    int      // the epoll of patient streams, which is in epoll itself
	later   []func() // mail that is patient
	chunk   []byte
	out     []byte
	now     time.Duration // see Now; 0: not read yet
	spare   [][]byte      // buffers for queued output, at most maxSpare kept
	small   [][]byte      // buffers for requests that wait, at most maxSmall kept
	records [][]byte      // buffers for incomplete records, at most maxSpare kept
	sealed  []byte        // see cipher
	nudged  []*Stream     // have something to read that epoll does not know of; nil in place of one that has left
	unacked []unacked     // streams with output that their peers have not acknowledged
	look    *time.Timer
	looking bool // look is running
	done    chan struct{}
	stopped bool
	panics  atomic.Uint64

	mu    sync.Mutex // guards mail and ended; never held while a letter is run
	ended bool
	mail  []func()
	moved []func()    // the other half of the mailbox: being run while mail fills
	full  atomic.Bool // mail is not empty; lets the loop look without the lock
}

const (
	eventsPerWait = 256
	maxSpare      = 16
	maxSmall      = 256
	smallSize     = 1 << 10 // bytes: most statements fit
)

// New starts a loop; Stop ends it. It fails when the process has no descriptor left.
func New(log *slog.Logger) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	calm, err := nestedEpoll(epoll)
	if err != nil {
		_ = unix.Close(epoll)
		_ = unix.Close(wake)
		return nil, err
	}
	l := &Loop{
		log: log, epoll: epoll, wake: wake, calm: calm,
		events: make([]unix.EpollEvent, eventsPerWait),
		chunk:  make([]byte, ChunkSize),
		done:   make(chan struct{}),
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &ev); err != nil {
		_ = unix.Close(epoll)
		_ = unix.Close(calm)
		_ = unix.Close(wake)
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	go l.run()
	return l, nil
}

// Post has the loop call f soon, in the order of the posts. It never blocks. After Stop f is not called.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock() // also while waking: after the end the descriptor may be somebody else's
	if l.ended {
		return
	}
	first := len(l.mail) == 0
	l.mail = append(l.mail, f)
	l.full.Store(true)
	if first {
		one := [8]byte{1}
		_, _ = unix.Write(l.wake, one[:]) // fails only when the counter is full, and then the loop is awake anyway
	}
}

// Stop ends the loop after the mail posted so far and waits for it. Streams still open are closed.
func (l *Loop) Stop() {
	l.Post(func() { l.stopped = true })
	<-l.done
}

// Panics is how many handlers have panicked; each ended its own session only.
func (l *Loop) Panics() uint64 { return l.panics.Load() }

// Chunk is the loop's shared read buffer, valid until the handler that uses it returns.
func (l *Loop) Chunk() []byte { return l.chunk }

// Out is an empty scratch buffer for output that cannot be written as it was read; give it back grown with KeepOut.
func (l *Loop) Out() []byte { return l.out[:0] }

// KeepOut keeps b, which began as Out, for the next use, unless it has grown beyond reason.
func (l *Loop) KeepOut(b []byte) {
	if cap(b) <= 4*ChunkSize {
		l.out = b
	}
}

func (l *Loop) run() {
	runtime.LockOSThread()
	defer close(l.done)
	for !l.stopped {
		patient := len(l.later) > 0
		events := l.events[:l.wait()]
		for _, ev := range events {
			if int(ev.Fd) == l.wake {
				var b [8]byte
				_, _ = unix.Read(l.wake, b[:])
				continue
			}
			if int(ev.Fd) == l.calm {
				patient = true
				continue
			}
			if s := l.streams[ev.Fd]; s != nil && (len(events) < crowd || !s.yield(ev.Events)) {
				l.dispatch(s, ev.Events)
			}
		}
		// After the batch, never within it: a descriptor closed in the batch may come back as another stream by mail.
		if l.full.Load() {
			l.deliver()
		}
		if patient {
			l.serve()
		}
		if len(l.nudged) > 0 {
			l.prod()
		}
	}
	l.closeAll()
}

// wait looks without blocking first: under load there is nearly always something, and a raw look costs no
// hand-off to Go's scheduler.
func (l *Loop) wait() int {
	if n := pollNow(l.epoll, l.events); n > 0 {
		return n
	}
	if len(l.later) > 0 || len(l.nudged) > 0 {
		return 0
	}
	n, err := unix.EpollWait(l.epoll, l.events, -1)
	if err != nil {
		return 0 // EINTR: Go's own signals
	}
	return n
}

// epoch is what all loops count their time from.
var epoch = time.Now()

// Epoch is when Now was 0.
func Epoch() time.Time { return epoch }

// Now is the time since Epoch, more than 0. It is read once for each event that is handled, so it costs next to
// nothing, and all that a handler does happens at the same time. The loop's thread must call it.
func (l *Loop) Now() time.Duration {
	if l.now == 0 {
		l.now = max(1, time.Since(epoch))
	}
	return l.now
}

func (l *Loop) dispatch(s *Stream, events uint32) {
	l.now = 0
	defer l.contain(s.handler)
	s.ready(events)
}

func (l *Loop) deliver() {
	l.mu.Lock()
	l.mail, l.moved = l.moved[:0], l.mail
	l.full.Store(false)
	l.mu.Unlock()
	for i, f := range l.moved {
		l.moved[i] = nil
		l.runLetter(f)
	}
}

func (l *Loop) runLetter(f func()) {
	l.now = 0
	defer l.contain(nil)
	f()
}

// contain keeps a bug in one session from ending the others: the panic is logged and its handler told.
func (l *Loop) contain(h Handler) {
	v := recover()
	if v == nil {
		return
	}
	l.panics.Add(1)
	l.log.Error("bug: a connection's handler panicked; that connection is closed, please report this",
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if h == nil {
		return
	}
	defer func() {
		if again := recover(); again != nil {
			l.log.Error("bug: closing a connection after a panic panicked", "panic", fmt.Sprint(again))
		}
	}()
	h.OnPanic(v)
}

func (l *Loop) closeAll() {
	if l.look != nil {
		l.look.Stop()
	}
	for _, s := range l.streams {
		if s != nil {
			s.Close()
		}
	}
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.calm)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	_ = unix.Close(l.wake)
}

// Small is an empty buffer for what must be kept past a handler's return, such as a request that waits. Give it back
// with FreeSmall, so that waiting allocates nothing.
func (l *Loop) Small() []byte {
	if n := len(l.small); n > 0 {
		b := l.small[n-1]
		l.small = l.small[:n-1]
		return b
	}
	return make([]byte, 0, smallSize)
}

// FreeSmall takes back a buffer that began as Small.
func (l *Loop) FreeSmall(b []byte) {
	if cap(b) == smallSize && len(l.small) < maxSmall {
		l.small = append(l.small, b[:0])
	}
}

func (l *Loop) buffer() []byte {
	if n := len(l.spare); n > 0 {
		b := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return b
	}
	return make([]byte, 0, ChunkSize)
}

func (l *Loop) recycle(b []byte) {
	if len(l.spare) < maxSpare && cap(b) <= 2*ChunkSize {
		l.spare = append(l.spare, b[:0])
	}
}
