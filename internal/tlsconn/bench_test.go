package tlsconn_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

// memory is a connection without a kernel: what is written is there to be read.
type memory struct{ b []byte }

func (m *memory) Write(p []byte) (int, error) { m.b = append(m.b, p...); return len(p), nil }
func (m *memory) Read(p []byte) (int, error) {
	n := copy(p, m.b)
	m.b = m.b[:copy(m.b, m.b[n:])]
	return n, nil
}
func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return nil }
func (m *memory) RemoteAddr() net.Addr             { return nil }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// swap is a net.Conn of which the other end changes once the handshake is over.
type swap struct{ net.Conn }

// One side seals, the other opens.
func BenchmarkSealAndOpen(b *testing.B) {
	set := certs.New(b)
	server, client := configs(b, set, set.Server())
	for _, size := range []int{100, 16 << 10} {
		text := make([]byte, size)
		b.Run(fmt.Sprint("layer/", size), func(b *testing.B) {
			near, far := sockets(b)
			x, y := both(b, ours(tlsconn.Server, far, server), ours(tlsconn.Client, near, client))
			from, to := x.(*tlsconn.Conn).Layer(), y.(*tlsconn.Conn).Layer()
			var wire []byte
			b.SetBytes(int64(size))
			for b.Loop() {
				wire = from.Seal(wire[:0], text)
				if plain, _, err := to.Open(wire); len(plain) != size || err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("crypto_tls/", size), func(b *testing.B) {
			near, far := sockets(b)
			n, f := &swap{near}, &swap{far}
			x, y := both(b, theirs(tls.Server(f, server)), theirs(tls.Client(n, client)))
			_, _ = x.Write([]byte("x")) // the client swallows the server's ticket
			_, _ = y.Read(make([]byte, 1))
			wire := &memory{}
			n.Conn, f.Conn = wire, wire
			got := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := x.Write(text); err != nil {
					b.Fatal(err)
				}
				for done := 0; done < size; {
					m, err := y.Read(got[done:])
					if err != nil {
						b.Fatal(err)
					}
					done += m
				}
			}
		})
	}
}
