package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// logWriter writes lines in the background, so that a log that cannot be written (a full disk, a stopped terminal)
// never stalls an event loop. What does not fit into its queue is dropped, and how much is said.
type logWriter struct {
	lines   chan []byte
	dropped atomic.Int64
	done    sync.WaitGroup
	once    sync.Once
	mu      sync.RWMutex // closing excludes writing
	closed  bool
}

// logQueue is how many lines may wait to be written.
const logQueue = 4096

func newLogWriter(out io.Writer) *logWriter {
	w := &logWriter{lines: make(chan []byte, logQueue)}
	w.done.Go(func() {
		for line := range w.lines {
			if n := w.dropped.Swap(0); n > 0 {
				fmt.Fprintf(out, "level=WARN msg=\"log lines dropped: the log could not be written fast enough\" lines=%d\n", n)
			}
			_, _ = out.Write(line)
		}
	})
	return w
}

// Write queues one line. slog calls it once per record.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return len(line), nil
	}
	select {
	case w.lines <- slices.Clone(line):
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

// close writes what is queued.
func (w *logWriter) close() {
	w.once.Do(func() {
		w.mu.Lock()
		w.closed = true
		close(w.lines)
		w.mu.Unlock()
		w.done.Wait()
	})
}
