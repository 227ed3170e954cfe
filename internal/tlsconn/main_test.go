package tlsconn_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"pooler/internal/gate"
	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var _ net.Conn = (*tlsconn.Conn)(nil)

// limit bounds what may hang.
const limit = 20 * time.Second

// sockets is a connection over TCP.
func sockets(t testing.TB) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if near, err = net.Dial("tcp", ln.Addr().String()); err == nil {
		far, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		_ = c.SetDeadline(time.Now().Add(limit))
		t.Cleanup(func() { _ = c.Close() })
	}
	return near, far
}

// chopped reads a few bytes at a time.
type chopped struct {
	net.Conn
	random *rand.Rand
}

func chop(c net.Conn) chopped { return chopped{c, rand.New(rand.NewPCG(7, 7))} }

func (c chopped) Read(p []byte) (int, error) {
	n := 1
	if c.random.IntN(3) > 0 {
		n = 1 + c.random.IntN(1<<c.random.IntN(16))
	}
	return c.Conn.Read(p[:min(n, len(p))])
}

// both runs the two sides of a handshake.
func both(t testing.TB, server, client func() (net.Conn, error)) (s, c net.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() { s, errs[0] = server() })
	wg.Go(func() { c, errs[1] = client() })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// theirs is crypto/tls's way, ours the package's.
func theirs(c *tls.Conn) func() (net.Conn, error) {
	return func() (net.Conn, error) { return c, c.Handshake() }
}

func ours(shake func(net.Conn, *tls.Config) (*tlsconn.Conn, tls.ConnectionState, error), nc net.Conn, cfg *tls.Config) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		c, _, err := shake(nc, cfg)
		return c, err
	}
}

// outcome is what done was told.
type outcome struct {
	tlsconn.Result
	err error
}

// feed has the handshake by Feed, as a loop would, from a goroutine of its own.
func feed(nc net.Conn, cfg *tls.Config, turn *gate.Gate) (net.Conn, tlsconn.Result, error) {
	over := make(chan outcome, 1)
	h := tlsconn.Begin(cfg, turn, func(b []byte) { _, _ = nc.Write(b) }, func(r tlsconn.Result, err error) {
		over <- outcome{r, err}
		_ = nc.SetReadDeadline(time.Unix(1, 0)) // wakes the feeder
	})
	b := make([]byte, 1000)
	for {
		n, err := nc.Read(b)
		h.Feed(b[:n])
		if err != nil {
			break
		}
	}
	var o outcome
	select {
	case o = <-over:
	default:
		h.Abort()
		o = <-over
	}
	_ = nc.SetReadDeadline(time.Now().Add(limit))
	if o.err != nil {
		return nil, o.Result, o.err
	}
	return tlsconn.NewConn(nc, o.Layer, h.Rest()), o.Result, nil
}

func fed(nc net.Conn, cfg *tls.Config) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		c, _, err := feed(nc, cfg, nil)
		return c, err
	}
}

// talk has both sides send at once, in pieces of all sizes, and compares what arrives; then one closes.
func talk(t *testing.T, a, b net.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	say := func(c net.Conn, seed uint64) []byte {
		random := rand.New(rand.NewPCG(seed, seed))
		text := make([]byte, 300_000)
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		wg.Go(func() {
			for left := text; len(left) > 0; {
				n := min(1+random.IntN(1<<random.IntN(18)), len(left))
				if _, err := c.Write(left[:n]); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				left = left[n:]
			}
		})
		return text
	}
	hear := func(c net.Conn, want []byte) {
		wg.Go(func() {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("what arrives differs, error %v", err)
			}
		})
	}
	hear(b, say(a, 1))
	hear(a, say(b, 2))
	wg.Wait()
	if t.Failed() {
		return
	}
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if n, err := b.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d bytes, error %v", n, err)
	}
}

// configs are a server's and a client's that trust each other's CA.
func configs(t testing.TB, set *certs.Set, pair *certs.Pair) (server, client *tls.Config) {
	t.Helper()
	server = &tls.Config{Certificates: []tls.Certificate{pair.TLS}, NextProtos: []string{tlsconn.ALPN}}
	client = &tls.Config{RootCAs: set.CA.Pool(), ServerName: "localhost", NextProtos: []string{tlsconn.ALPN}}
	return server, client
}
