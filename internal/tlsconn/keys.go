package tlsconn

import (
	"bytes"
	"crypto/hmac"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
)

// secrets is a Config.KeyLogWriter that gathers what a handshake has agreed on. It is the way by which crypto/tls gives
// the keys away; they are written nowhere else.
type secrets struct {
	client [maxHash]byte // TLS 1.3: the traffic secret of what the client sends
	server [maxHash]byte
	master [maxHash]byte // TLS 1.2
	random [randomLen]byte
	hello  hello
	have   uint8 // which of those
}

const (
	haveClient = 1 << iota
	haveServer
	haveMaster
)

const randomLen = 32

var errKeys = errors.New("bug: crypto/tls has not told the keys of a connection")

// Write takes a line of the key log: label, the client's random bytes and a secret, the latter two in hexadecimal.
func (s *secrets) Write(line []byte) (int, error) {
	defer clear(line) // crypto/tls has made it for us and has no more use for it
	f := bytes.Fields(line)
	if len(f) != 3 {
		return 0, errKeys
	}
	var to *[maxHash]byte
	switch string(f[0]) {
	case "CLIENT_TRAFFIC_SECRET_0":
		to, s.have = &s.client, s.have|haveClient
	case "SERVER_TRAFFIC_SECRET_0":
		to, s.have = &s.server, s.have|haveServer
	case "CLIENT_RANDOM":
		to, s.have = &s.master, s.have|haveMaster
	default:
		return len(line), nil
	}
	if hex.DecodedLen(len(f[1])) != len(s.random) || hex.DecodedLen(len(f[2])) > len(to) {
		return 0, errKeys
	}
	if _, err := hex.Decode(s.random[:], f[1]); err != nil {
		return 0, errKeys
	}
	if _, err := hex.Decode(to[:], f[2]); err != nil {
		return 0, errKeys
	}
	return len(line), nil
}

// layer makes the Layer of a handshake that has ended well, and forgets the secrets. It is the client's if client is set.
func (s *secrets) layer(state tls.ConnectionState, client bool) (*Layer, error) {
	defer func() { *s = secrets{} }()
	l := &Layer{suite: suiteOf(state.CipherSuite), client: client}
	if l.suite == nil || l.suite.tls13 != (state.Version == tls.VersionTLS13) {
		return nil, fmt.Errorf("bug: TLS with an unexpected cipher suite: %s", tls.CipherSuiteName(state.CipherSuite))
	}
	fromClient, fromServer := &l.in, &l.out
	if client {
		fromClient, fromServer = &l.out, &l.in
	}
	switch {
	case l.suite.tls13 && s.have&haveClient != 0 && s.have&haveServer != 0:
		fromClient.rekey(l.suite, s.client[:l.suite.hashLen])
		fromServer.rekey(l.suite, s.server[:l.suite.hashLen])
	case !l.suite.tls13 && s.have&haveMaster != 0 && s.hello.complete():
		s.keys12(l.suite, fromClient, fromServer)
	default:
		return nil, errKeys
	}
	return l, nil
}

// keys12 is the key calculation of RFC 5246, 6.3; AEAD suites have no MAC keys.
func (s *secrets) keys12(suite *suite, client, server *half) {
	k, iv := suite.keyLen, suite.ivLen()
	block := suite.prf12(s.master[:], "key expansion", append(s.hello.random(), s.random[:]...), 2*(k+iv))
	client.aead, server.aead = suite.aead(block[:k]), suite.aead(block[k:2*k])
	copy(client.iv[:], block[2*k:2*k+iv])
	copy(server.iv[:], block[2*k+iv:])
	client.seq, server.seq = 1, 1 // Finished was the first record under these keys
	clear(block)
}

// prf12 is the pseudorandom function of RFC 5246, 5.
func (s *suite) prf12(secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	mac := hmac.New(s.hash, secret)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// hello picks the server's random bytes out of what the server sends: TLS 1.2's keys need them and crypto/tls tells them
// nobody.
type hello struct {
	header [headerLen]byte     // of the record at hand
	in     int                 // how much of the header is there
	left   int                 // bytes of the record to come
	head   [6 + randomLen]byte // of the first message: type, length, version, random
	have   int
}

// see is shown the next bytes.
func (h *hello) see(b []byte) {
	for len(b) > 0 && !h.complete() {
		if h.left == 0 {
			n := copy(h.header[h.in:], b)
			b = b[n:]
			if h.in += n; h.in == headerLen {
				h.in, h.left = 0, recordLen(h.header[:])-headerLen
			}
			continue
		}
		n := min(h.left, len(b))
		if h.header[0] == typeHandshake {
			h.have += copy(h.head[h.have:], b[:n])
		}
		h.left -= n
		b = b[n:]
	}
}

func (h *hello) complete() bool { return h.have == len(h.head) }

// random is a copy.
func (h *hello) random() []byte { return bytes.Clone(h.head[6:]) }
