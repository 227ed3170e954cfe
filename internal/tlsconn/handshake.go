package tlsconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"sync"
	"time"

	"pooler/internal/gate"
)

// Result is what has come of a handshake.
type Result struct {
	Layer *Layer
	State tls.ConnectionState // for certificates, ALPN and channel binding; the Layer does not keep it
}

// Handshake is one in the server's role that is fed by somebody who must not block, such as an event loop. crypto/tls
// blocks; so it runs as a coroutine, which is left where it wants bytes that are not there.
type Handshake struct {
	cfg     *tls.Config
	turn    *gate.Gate
	send    func([]byte)
	done    func(Result, error)
	secrets secrets

	next func() (struct{}, bool) // goes on with the coroutine; touched only by step

	result Result // of the coroutine, as is failed
	failed error

	mu      sync.Mutex // guards all below
	in      inbox
	err     error // instead of further bytes
	last    bool  // there will be no further bytes
	running bool  // step is called, or will be
	over    bool
}

// maxFed bounds what a peer may send ahead of the handshake, in bytes. A client's whole second flight may come while its turn
// is awaited: a certificate with its chain has some 2 to 6 KB, with post-quantum signatures some 25 KB.
const maxFed = 32 << 10

var (
	errFlood   = errors.New("TLS: the peer sends more than a handshake needs")
	errAborted = fmt.Errorf("TLS: the handshake is given up: %w", net.ErrClosed)
)

// Begin prepares a handshake. No goroutine runs before its first record has come whole. turn, which may be nil, is held
// while sums are done and never while the peer is awaited. send and done are called from other goroutines: send with
// bytes for the peer, which belong to it; done once, at the end, if the handshake was not aborted before its first
// record. cfg is not changed; its GetConfigForClient must be nil.
func Begin(cfg *tls.Config, turn *gate.Gate, send func([]byte), done func(Result, error)) *Handshake {
	return &Handshake{cfg: cfg, turn: turn, send: send, done: done}
}

// Feed gives the handshake what the peer has sent; b stays the caller's. A peer that sends more than 32 KiB that the
// handshake has no use for yet fails it, of which false tells at once; done may be called besides.
func (h *Handshake) Feed(b []byte) bool {
	h.mu.Lock()
	fits := len(h.in.b)+len(b) <= maxFed
	if !fits {
		h.err, h.in.b = errFlood, nil // once it is over, the hole makes the Layer fail
	} else {
		h.in.b = append(h.in.b, b...)
	}
	start := h.wakeLocked()
	h.mu.Unlock()
	if start {
		h.run()
	}
	return fits
}

// Awaits tells whether it is for the peer to speak.
func (h *Handshake) Awaits() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.running && !h.over
}

// Rest is what was fed and belongs behind the handshake: ciphertext for the Layer. Who feeds takes it when it has heard
// of done, since more may have come in between; that is why it is not in Result.
func (h *Handshake) Rest() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := owned(h.in.b)
	h.in.b = nil
	return rest
}

// Abort ends the handshake: the peer has gone, or its time is up. done is called with an error, soon, unless there was
// nothing to end.
func (h *Handshake) Abort() {
	h.mu.Lock()
	h.err = errAborted
	start := h.next != nil && h.wakeLocked()
	h.over = h.over || !h.running
	h.mu.Unlock()
	if start {
		go h.step() // it takes no sums
	}
}

// End tells that the peer sends no more. What was fed is looked at still: it may be why the peer has gone. It reports
// whether done is called; if not, there was nothing to look at.
func (h *Handshake) End() bool {
	h.mu.Lock()
	h.last = true
	start := h.next != nil && h.wakeLocked()
	judged := h.running || h.over
	h.mu.Unlock()
	if start {
		h.run()
	}
	return judged
}

// wakeLocked reports whether the coroutine is to go on, and notes that it does.
func (h *Handshake) wakeLocked() bool {
	if h.running || h.over || h.err == nil && !h.last && !h.in.ready() {
		return false
	}
	h.running = true
	return true
}

func (h *Handshake) run() {
	if h.turn == nil {
		go h.step()
	} else {
		h.turn.Go(h.step)
	}
}

// step goes on with the coroutine until it wants bytes that are not there, or has come to its end.
func (h *Handshake) step() {
	for going := true; going; {
		if !h.resume() {
			h.done(h.result, h.failed)
			return
		}
		h.mu.Lock()
		h.running = false
		going = h.wakeLocked()
		h.mu.Unlock()
	}
}

// resume reports whether the coroutine wants more.
func (h *Handshake) resume() (more bool) {
	defer func() {
		if v := recover(); v != nil {
			h.result, h.failed, more = Result{}, fmt.Errorf("bug: the TLS handshake panicked: %v", v), false
		}
		if !more {
			h.mu.Lock()
			h.over, h.next = true, nil
			h.mu.Unlock()
		}
	}()
	if h.next == nil {
		next, _ := iter.Pull(h.converse) // it always comes to its end: Abort makes it fail
		h.mu.Lock()
		h.next = next
		h.mu.Unlock()
	}
	_, more = h.next()
	return more
}

// converse is the coroutine.
func (h *Handshake) converse(yield func(struct{}) bool) {
	c := tls.Server(&fed{h: h, wait: func() bool { return yield(struct{}{}) }}, prepared(h.cfg, &h.secrets))
	if h.failed = c.Handshake(); h.failed != nil {
		h.secrets = secrets{}
		return
	}
	h.result.State = c.ConnectionState()
	h.result.Layer, h.failed = h.secrets.layer(h.result.State, false)
}

// fed is what crypto/tls takes for the peer.
type fed struct {
	h    *Handshake
	wait func() bool
}

// Read implements net.Conn.
func (f *fed) Read(p []byte) (int, error) {
	h := f.h
	for {
		h.mu.Lock()
		n, err := 0, h.err
		if err == nil {
			n = h.in.take(p)
			if n == 0 && h.last {
				err = io.EOF
			}
		}
		h.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		if !f.wait() {
			return 0, errAborted
		}
	}
}

// Write implements net.Conn.
func (f *fed) Write(p []byte) (int, error) {
	f.h.secrets.hello.see(p)
	f.h.send(slices.Clone(p))
	return len(p), nil
}

// The rest of net.Conn, which a handshake needs not.
func (f *fed) Close() error                     { return nil }
func (f *fed) LocalAddr() net.Addr              { return nil }
func (f *fed) RemoteAddr() net.Addr             { return nil }
func (f *fed) SetDeadline(time.Time) error      { return nil }
func (f *fed) SetReadDeadline(time.Time) error  { return nil }
func (f *fed) SetWriteDeadline(time.Time) error { return nil }
