package tlsconn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"slices"
	"sync"
	"testing"
)

// A byte of plan seals the next records as they are, damaged, or with content that no peer sends; cut is where the
// stream is cut. Nothing may crash, nothing that was not sent may be read, and every chunking reads the same.
func FuzzOpen(f *testing.F) {
	f.Add(byte(0), []byte("hello"), []byte{0, 1, 2}, uint16(7))
	f.Add(byte(1), []byte{typeHandshake, 24, 0, 0, 1, 1}, []byte{3, 0}, uint16(1))
	f.Add(byte(3), []byte("text"), []byte{0, 2, 0}, uint16(30))
	f.Add(byte(4), []byte{typeAlert, 1, 0}, []byte{3, 3, 0}, uint16(5))
	f.Add(byte(0x80), []byte{typeHandshake, 4, 0, 0, 9, 0}, []byte{3, 3, 3, 0}, uint16(3))
	f.Fuzz(func(t *testing.T, which byte, text, plan []byte, cut uint16) {
		if len(text) == 0 || len(plan) > 100 || len(text) > maxPlain {
			return
		}
		s := &suites[int(which&0x7f)%len(suites)]
		from, to := pair(s)
		if which&0x80 != 0 {
			from, to = to, from
		}
		var wire, sent []byte
		known := true // sent is all that can be read
		for _, p := range plan {
			at := len(wire)
			switch p % 5 {
			case 0, 1:
				wire = from.Seal(wire, text)
				sent = append(sent, text...)
				if p%5 == 1 {
					wire[at+int(p)%(len(wire)-at)] ^= p
				}
			case 2:
				wire = append(wire, text...)
			case 3:
				wire = from.out.seal(s, wire, text[0], text[1:])
				if text[0] == typeData {
					sent = append(sent, text[1:]...)
				}
			case 4:
				wire = append(wire, record(from, text[0], slices.Clone(text))...)
				known = false // what that reads as is not worth working out
			}
		}
		again := *to // the keys have no state of their own
		one, oneErr := readChunks(to, wire, len(wire)+1)
		two, twoErr := readChunks(&again, wire, 1+int(cut))
		if !bytes.Equal(one, two) || oneErr != nil && twoErr != nil && oneErr.Error() != twoErr.Error() {
			t.Errorf("read %q and %q, %v and %v", one, two, oneErr, twoErr)
		}
		if known && !bytes.HasPrefix(sent, one) {
			t.Errorf("read %q of %q", one, sent)
		}
	})
}

// readChunks opens wire in pieces of n bytes.
func readChunks(l *Layer, wire []byte, n int) (text []byte, err error) {
	var held []byte
	for len(wire) > 0 && err == nil {
		m := min(n, len(wire))
		held = append(held, wire[:m]...)
		wire = wire[m:]
		var plain, rest []byte
		plain, rest, err = l.Open(held)
		text = append(text, plain...)
		held = slices.Clone(rest)
		if len(held) > MaxRecord {
			panic("more than a record is held")
		}
	}
	return text, err
}

var fuzzConfig = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{ALPN}}
})

// Whatever a peer sends, in whatever pieces, the handshake ends with one word, and is over when it is given up.
func FuzzFeed(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, uint8(1))
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47}, uint8(3))
	f.Add([]byte{0x16, 3, 1, 0, 0, 0x16, 3, 1, 0, 0}, uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		over := make(chan error, 2)
		h := Begin(fuzzConfig(), nil, func([]byte) {}, func(_ Result, err error) { over <- err })
		for left := data; len(left) > 0; {
			n := min(1+int(piece), len(left))
			h.Feed(left[:n])
			left = left[n:]
		}
		h.Abort()
		h.mu.Lock()
		begun := h.running || h.next != nil
		h.mu.Unlock()
		if begun {
			if err := <-over; err == nil {
				t.Error("the handshake has succeeded")
			}
		}
		if len(over) > 0 {
			t.Error("the end is told twice")
		}
	})
}
