package tlsconn_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pooler/internal/gate"
	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

// firstFlight is what a client says first.
func firstFlight(t testing.TB, client *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = far.Close() }()
	wg.Go(func() { _ = tls.Client(near, client).Handshake() })
	b := make([]byte, 4096)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// watched is a handshake of which the test sees everything.
type watched struct {
	*tlsconn.Handshake
	sent chan []byte
	over chan outcome
}

func watch(cfg *tls.Config, turn *gate.Gate) watched {
	w := watched{sent: make(chan []byte, 10), over: make(chan outcome, 2)}
	w.Handshake = tlsconn.Begin(cfg, turn, func(b []byte) { w.sent <- b }, func(r tlsconn.Result, err error) { w.over <- outcome{r, err} })
	return w
}

func TestNothingRunsBeforeTheFirstRecordIsThere(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	hello := firstFlight(t, client)
	turn := gate.New(1)
	before := runtime.NumGoroutine()
	waiting := make([]watched, 100)
	for i := range waiting {
		waiting[i] = watch(server, turn)
		for _, b := range hello[:len(hello)-1] {
			waiting[i].Feed([]byte{b})
		}
	}
	if n, queued := turn.Stat(); n+queued > 0 || runtime.NumGoroutine() > before {
		t.Errorf("%d run and %d wait, %d goroutines more", n, queued, runtime.NumGoroutine()-before)
	}
	for _, w := range waiting {
		w.Abort()
		w.Feed(hello[len(hello)-1:])
		if len(w.over) > 0 || len(w.sent) > 0 {
			t.Error("it has begun after it was given up")
		}
	}
}

// While a peer is awaited, others get their turn.
func TestTheTurnIsNotHeldWhileAPeerIsAwaited(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	hello := firstFlight(t, client)
	turn := gate.New(1)
	all := make([]watched, 20)
	for i := range all {
		all[i] = watch(server, turn)
		all[i].Feed(hello)
		<-all[i].sent // the server's flight; now it waits for the client's
	}
	near, far := sockets(t)
	a, b := both(t, func() (net.Conn, error) {
		c, _, err := feed(far, server, turn)
		return c, err
	}, theirs(tls.Client(near, client)))
	talk(t, a, b)
	for _, w := range all {
		w.Abort()
		if o := <-w.over; !errors.Is(o.err, net.ErrClosed) {
			t.Errorf("given up: %v", o.err)
		}
		w.Abort()
		w.Feed(hello)
		if len(w.over) > 0 {
			t.Error("the end is told twice")
		}
	}
}

func TestWhatIsNoHandshakeFails(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	hello := firstFlight(t, client)
	for _, tc := range []struct {
		name string
		send []byte
		want string
		told byte // the alert; 0: none
	}{
		{"a StartupMessage", []byte{0, 0, 0, 8, 0, 3, 0, 0}, "first record does not look like a TLS handshake", 0},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "first record does not look like a TLS handshake", 0},
		{"SSL 2", []byte{0x80, 10, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0}, "SSLv2", 70},
		{"a record too long", []byte{22, 3, 1, 0xff, 0xff}, "oversized record", 22},
		{"an alert", []byte{21, 3, 1, 0, 2, 2, 40}, "handshake failure", 0},
		{"HelloRequest", []byte{22, 3, 1, 0, 4, 0, 0, 0, 0}, "unexpected handshake message", 10},
		{"application data", append(bytes.Clone(hello), 23, 3, 3, 0, 1, 0), "bad record MAC", 0},
		{"more than it needs", bytes.Repeat([]byte{22, 3, 1, 0x3f, 0}, 20_000), "more than a handshake needs", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := watch(server, gate.New(1))
			if fits := w.Feed(tc.send); fits != (len(tc.send) <= 32<<10) {
				t.Errorf("it is taken: %t", fits)
			}
			o := <-w.over
			if o.err == nil || !strings.Contains(o.err.Error(), tc.want) || o.Layer != nil {
				t.Errorf("the error is %v", o.err)
			}
			if tc.told > 0 {
				if b := <-w.sent; len(b) != 7 || b[6] != tc.told {
					t.Errorf("the peer is told % x", b)
				}
			}
		})
	}
}

// A peer that goes in the middle ends the handshake; what it has said last is looked at still.
func TestThePeerGoesInTheMiddle(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	hello := firstFlight(t, client)
	for name, tc := range map[string]struct {
		before, last []byte
		judged       bool
		want         string
	}{
		"nothing was said":         {nil, nil, false, ""},
		"half a record":            {hello[:20], nil, false, ""},
		"after its first record":   {hello, nil, true, "EOF"},
		"with a word in the clear": {hello, []byte{21, 3, 3, 0, 2, 2, 42}, true, "bad record MAC"},
		"in the middle of a word":  {hello, []byte{21, 3, 3, 0}, true, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(server, gate.New(1))
			w.Feed(tc.before)
			if tc.judged {
				<-w.sent
			}
			w.Feed(tc.last)
			if got := w.End(); got != tc.judged {
				t.Fatalf("done is called: %t", got)
			}
			if !tc.judged {
				return
			}
			if o := <-w.over; o.err == nil || !strings.Contains(o.err.Error(), tc.want) {
				t.Errorf("the error is %v", o.err)
			}
			if w.Awaits() {
				t.Error("the peer is awaited still")
			}
		})
	}
}

// What a client sends behind its handshake at once must reach the Layer, also when it is fed late.
func TestWhatIsBehindTheHandshakeIsKept(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	for _, late := range []bool{false, true} {
		near, far := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() {
			held := &holder{Conn: near}
			c := tls.Client(held, client)
			_, _ = c.Write([]byte("behind"))
			held.flush()
		})
		w := watch(server, nil)
		b := make([]byte, 1<<16)
		n, _ := far.Read(b)
		w.Feed(b[:n])
		_, _ = far.Write(<-w.sent)
		n, _ = far.Read(b)
		finished, data := b[:n], []byte(nil)
		if late {
			at := 0
			for next := 0; next < n; next += 5 + int(b[next+3])<<8 + int(b[next+4]) {
				at = next
			}
			finished, data = b[:at], b[at:n]
		}
		w.Feed(finished)
		o := <-w.over
		if o.err != nil {
			t.Fatal(o.err)
		}
		w.Feed(data)
		plain, rest, err := o.Layer.Open(w.Rest())
		if string(plain) != "behind" || len(rest) > 0 || err != nil || len(w.Rest()) > 0 {
			t.Errorf("late %t: read %q and %d bytes more, %v", late, plain, len(rest), err)
		}
		_, _ = near.Close(), far.Close()
		wg.Wait()
	}
}

// holder sends what is written only when it reads.
type holder struct {
	net.Conn
	held []byte
}

func (h *holder) Write(p []byte) (int, error) {
	h.held = append(h.held, p...)
	return len(p), nil
}

func (h *holder) Read(p []byte) (int, error) {
	h.flush()
	return h.Conn.Read(p)
}

func (h *holder) flush() {
	if len(h.held) > 0 {
		_, _ = h.Conn.Write(h.held)
		h.held = nil
	}
}

// The server's part of a handshake, fed and as crypto/tls has it; the client's part is in both.
func BenchmarkHandshakes(b *testing.B) {
	set := certs.New(b)
	server, client := configs(b, set, set.Server())
	for name, shake := range map[string]func(net.Conn) (net.Conn, error){
		"fed":        func(far net.Conn) (net.Conn, error) { return fed(far, server)() },
		"ours":       func(far net.Conn) (net.Conn, error) { return ours(tlsconn.Server, far, server)() },
		"crypto_tls": func(far net.Conn) (net.Conn, error) { return theirs(tls.Server(far, server))() },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				near, far := net.Pipe()
				_, _ = both(b, func() (net.Conn, error) { return shake(far) }, theirs(tls.Client(near, client)))
				_, _ = near.Close(), far.Close()
			}
		})
	}
}
