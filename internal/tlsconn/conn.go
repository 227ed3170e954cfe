package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Conn is a net.Conn over a Layer. One goroutine may read while another writes.
type Conn struct {
	net.Conn
	layer *Layer

	inMu  sync.Mutex // guards what is read
	buf   []byte     // holds plain or rest, never both for long
	plain []byte     // decrypted and not read
	rest  []byte     // ciphertext that was read and not decrypted

	outMu  sync.Mutex // guards what is written; taken behind inMu
	sealed []byte
	outErr error // a record was sent in part, or nothing may follow
}

// farewellWait bounds how long Close waits for the peer to take close_notify.
const farewellWait = time.Second

// NewConn makes a Conn of nc, which it takes over. rest is ciphertext that was read from it already.
func NewConn(nc net.Conn, l *Layer, rest []byte) *Conn {
	c := &Conn{Conn: nc, layer: l, buf: make([]byte, max(MaxRecord, len(rest)))}
	c.rest = c.buf[:copy(c.buf, rest)]
	return c
}

// Unread has Read begin with text that was decrypted already. Nothing may have been read yet; text becomes c's.
func (c *Conn) Unread(text []byte) {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	c.plain = text
}

// Client has the handshake with a server; deadlines are nc's. nc stays the caller's to close when it fails. cfg is not
// changed.
func Client(nc net.Conn, cfg *tls.Config) (*Conn, tls.ConnectionState, error) {
	return shake(nc, cfg, true)
}

// Server has the handshake with a client; else it is like Client.
func Server(nc net.Conn, cfg *tls.Config) (*Conn, tls.ConnectionState, error) {
	return shake(nc, cfg, false)
}

func shake(nc net.Conn, cfg *tls.Config, client bool) (*Conn, tls.ConnectionState, error) {
	t := &tapped{Conn: nc, client: client}
	cfg = prepared(cfg, &t.secrets)
	role := tls.Server
	if client {
		role = tls.Client
	}
	c := role(t, cfg)
	if err := c.Handshake(); err != nil {
		return nil, tls.ConnectionState{}, err
	}
	state := c.ConnectionState()
	layer, err := t.secrets.layer(state, client)
	if err != nil {
		return nil, tls.ConnectionState{}, err
	}
	return NewConn(nc, layer, t.in.b), state, nil
}

// tapped is the connection during its handshake.
type tapped struct {
	net.Conn
	client  bool
	in      inbox
	secrets secrets
}

// Read implements net.Conn: it ends with the record.
func (t *tapped) Read(p []byte) (int, error) {
	for {
		if n := t.in.take(p); n > 0 {
			if t.client {
				t.secrets.hello.see(p[:n])
			}
			return n, nil
		}
		var b [4096]byte
		n, err := t.Conn.Read(b[:])
		t.in.b = append(t.in.b, b[:n]...)
		if n == 0 && err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (t *tapped) Write(p []byte) (int, error) {
	if !t.client {
		t.secrets.hello.see(p)
	}
	return t.Conn.Write(p)
}

// Layer is what protects the connection's bytes.
func (c *Conn) Layer() *Layer { return c.layer }

// NetConn is the connection beneath, for its socket's options.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read reads text. It returns io.EOF when the peer has said that it sends no more, and also when it has just closed the
// connection between two records, as many do: PostgreSQL's protocol says itself where it ends.
func (c *Conn) Read(p []byte) (int, error) {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.plain) == 0 {
		if err := c.fillLocked(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// fillLocked reads and decrypts once.
func (c *Conn) fillLocked() error {
	n := copy(c.buf, c.rest)
	c.rest = c.buf[:n]
	if !Whole(c.rest) && c.layer.err == nil {
		m, err := c.Conn.Read(c.buf[n:])
		if m == 0 && err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		c.rest = c.buf[:n+m]
	}
	var err error
	c.plain, c.rest, err = c.layer.Open(c.rest)
	c.answer()
	if len(c.plain) > 0 {
		return nil // the error comes again
	}
	return err
}

// answer sends what the layer wants said.
func (c *Conn) answer() {
	if c.layer.fault == 0 && !c.layer.update {
		return
	}
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if b := c.layer.Answer(); c.outErr == nil && b != nil {
		_, c.outErr = c.Conn.Write(b)
	}
}

// Write writes p. After an error nothing more can be written.
func (c *Conn) Write(p []byte) (int, error) {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	done := 0
	for done < len(p) {
		if c.outErr == nil && c.layer.closed {
			c.outErr = net.ErrClosed
		}
		if c.outErr != nil {
			return done, c.outErr
		}
		n := min(len(p)-done, maxPlain)
		c.sealed = c.layer.Seal(c.sealed[:0], p[done:done+n])
		if _, c.outErr = c.Conn.Write(c.sealed); c.outErr == nil {
			done += n
		}
	}
	return done, c.outErr
}

// CloseWrite tells the peer that no more text follows. The connection beneath stays open.
func (c *Conn) CloseWrite() error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	return c.sayCloseLocked()
}

func (c *Conn) sayCloseLocked() error {
	b := c.layer.SealClose(nil)
	if c.outErr != nil || b == nil {
		return c.outErr
	}
	_, err := c.Conn.Write(b)
	c.outErr = net.ErrClosed
	return err
}

// Close tells the peer and closes the connection. What another goroutine is writing is broken off, and then the peer is
// told nothing.
func (c *Conn) Close() error {
	if c.outMu.TryLock() {
		_ = c.SetWriteDeadline(time.Now().Add(farewellWait))
		_ = c.sayCloseLocked()
		c.outMu.Unlock()
	}
	return c.Conn.Close()
}

var errUnread = errors.New("hand over a TLS connection: there is text that was decrypted and not read")

// Take lets go of the connection, for an event loop; rest is ciphertext that was read already. Nobody may be reading or
// writing. It fails if there is text that was decrypted and not read.
func (c *Conn) Take() (nc net.Conn, l *Layer, rest []byte, err error) {
	if len(c.plain) > 0 {
		return c.Conn, nil, nil, errUnread
	}
	return c.Conn, c.layer, owned(c.rest), nil
}
