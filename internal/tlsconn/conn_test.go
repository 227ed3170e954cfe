package tlsconn_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"pooler/internal/gate"
	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

// scene is a way to protect a connection.
type scene struct {
	name    string
	version uint16
	suite   uint16
	rsa     bool
}

var scenes = []scene{
	{"1.3", tls.VersionTLS13, 0, false},
	{"1.2 ECDSA AES 128", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false},
	{"1.2 ECDSA AES 256", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, false},
	{"1.2 ECDSA ChaCha20", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false},
	{"1.2 RSA AES 128", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
	{"1.2 RSA AES 256", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, true},
	{"1.2 RSA ChaCha20", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, true},
}

func (s scene) configs(t testing.TB, set *certs.Set) (server, client *tls.Config) {
	pair := set.Server()
	if s.rsa {
		pair = set.ServerRSA()
	}
	server, client = configs(t, set, pair)
	client.MinVersion, client.MaxVersion = s.version, s.version
	if s.suite != 0 {
		client.CipherSuites = []uint16{s.suite}
	}
	return server, client
}

// crypto/tls is the other side, which knows nothing of us.
func TestTheSameAsCryptoTLS(t *testing.T) {
	set := certs.New(t)
	for _, s := range scenes {
		server, client := s.configs(t, set)
		t.Run(s.name+" server", func(t *testing.T) {
			near, far := sockets(t)
			a, b := both(t, ours(tlsconn.Server, chop(far), server), theirs(tls.Client(near, client)))
			talk(t, a, b)
		})
		t.Run(s.name+" client", func(t *testing.T) {
			near, far := sockets(t)
			a, b := both(t, theirs(tls.Server(far, server)), ours(tlsconn.Client, chop(near), client))
			talk(t, b, a)
		})
		t.Run(s.name+" fed", func(t *testing.T) {
			near, far := sockets(t)
			a, b := both(t, fed(chop(far), server), theirs(tls.Client(near, client)))
			talk(t, b, a)
		})
		t.Run(s.name+" both", func(t *testing.T) {
			near, far := sockets(t)
			a, b := both(t, fed(far, server), ours(tlsconn.Client, near, client))
			talk(t, a, b)
		})
	}
}

// A server may ask for a certificate, and for a second ClientHello when it wants another curve.
func TestLongerHandshakes(t *testing.T) {
	set := certs.New(t)
	for _, s := range scenes[:2] {
		t.Run(s.name, func(t *testing.T) {
			server, client := s.configs(t, set)
			server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, set.CA.Pool()
			server.CurvePreferences = []tls.CurveID{tls.CurveP384}
			client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
			client.Certificates = []tls.Certificate{set.Client("carol").TLS}
			near, far := sockets(t)
			var result tlsconn.Result
			a, b := both(t, func() (c net.Conn, err error) {
				c, result, err = feed(chop(far), server, gate.New(1))
				return c, err
			}, ours(tlsconn.Client, near, client))
			if p := result.State.PeerCertificates; len(p) != 1 || p[0].Subject.CommonName != "carol" || result.State.NegotiatedProtocol != tlsconn.ALPN {
				t.Errorf("the server knows %d certificates, protocol %q", len(p), result.State.NegotiatedProtocol)
			}
			talk(t, a, b)
		})
	}
}

func TestTicketsAreNotGiven(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	near, far := sockets(t)
	a, b := both(t, ours(tlsconn.Server, far, server), theirs(tls.Client(near, client)))
	talk(t, a, b)
	if _, ok := client.ClientSessionCache.Get("localhost"); ok {
		t.Error("the client got a ticket")
	}
}

// crypto/tls's server gives a ticket behind its handshake.
func TestTicketsAreSwallowed(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	near, far := sockets(t)
	a, b := both(t, theirs(tls.Server(far, server)), ours(tlsconn.Client, near, client))
	talk(t, a, b)
}

func TestHowAConnectionEnds(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	open := func(t *testing.T) (ours1 *tlsconn.Conn, theirs1 *tls.Conn, raw net.Conn) {
		near, far := sockets(t)
		a, b := both(t, ours(tlsconn.Server, far, server), theirs(tls.Client(near, client)))
		return a.(*tlsconn.Conn), b.(*tls.Conn), near
	}
	read := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 10))
		return err
	}
	t.Run("by close_notify", func(t *testing.T) {
		us, them, _ := open(t)
		_ = them.CloseWrite()
		if err := read(us); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if _, err := us.Write([]byte("still open")); err != nil {
			t.Error(err)
		}
		if err := read(them); err != nil {
			t.Error(err)
		}
	})
	t.Run("by ours", func(t *testing.T) {
		us, them, _ := open(t)
		if err := us.CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := read(them); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if _, err := us.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("between two records", func(t *testing.T) {
		us, _, raw := open(t)
		_ = raw.Close()
		if err := read(us); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
	t.Run("within a record", func(t *testing.T) {
		us, _, raw := open(t)
		_, _ = raw.Write([]byte{23, 3, 3, 0, 100, 1})
		_ = raw.Close()
		if err := read(us); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	t.Run("by a forgery, which the peer is told", func(t *testing.T) {
		us, them, raw := open(t)
		_, _ = raw.Write(append([]byte{23, 3, 3, 0, 20}, make([]byte, 20)...))
		var fault *tlsconn.AlertError
		if err := read(us); !errors.As(err, &fault) || fault.Remote {
			t.Error(err)
		}
		if err := read(them); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
			t.Error(err)
		}
		if _, err := us.Write([]byte("x")); err == nil {
			t.Error("it can be written to")
		}
	})
}

func TestTakingAConnectionApart(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	near, far := sockets(t)
	a, b := both(t, ours(tlsconn.Server, far, server), theirs(tls.Client(near, client)))
	us := a.(*tlsconn.Conn)
	_, _ = b.Write([]byte("one"))
	if _, err := us.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := us.Take(); err == nil {
		t.Error("text would be lost")
	}
	if _, err := us.Read(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	nc, layer, rest, err := us.Take()
	if err != nil || nc != far {
		t.Fatal(err)
	}
	talk(t, tlsconn.NewConn(nc, layer, rest), b)
}

// A reader that is asked for new keys answers while a writer writes.
func TestReadingAndWritingAtOnce(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.Server())
	near, far := sockets(t)
	a, b := both(t, ours(tlsconn.Server, far, server), ours(tlsconn.Client, near, client))
	var wg sync.WaitGroup
	for _, c := range []net.Conn{a, b} {
		wg.Go(func() {
			for i := range 200 {
				if _, err := c.Write(make([]byte, 5000)); err != nil {
					t.Error(err)
					return
				}
				if i%20 == 0 { // answers to all may come in a row
					tlsconn.AskForNewKeys(c.(*tlsconn.Conn))
				}
			}
		})
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, c, 200*5000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
