package tlsconn

import (
	"bytes"
	"crypto/tls"
	"slices"
)

// inbox is ciphertext on its way into a handshake. It is handed out record by record and never beyond, so that crypto/tls
// holds nothing that belongs behind the handshake.
type inbox struct {
	b    []byte
	left int // bytes of the record that is being handed out
}

// take moves bytes into p. It returns 0 when it is not known yet where the record ends, or nothing is there.
func (q *inbox) take(p []byte) int {
	if q.left == 0 {
		if len(q.b) < headerLen {
			return 0
		}
		q.left = recordLen(q.b)
	}
	n := copy(p, q.b[:min(q.left, len(q.b))])
	q.left -= n
	q.b = q.b[n:]
	return n
}

// ready tells whether crypto/tls could go on: with a whole record, or with a header that it will not like.
func (q *inbox) ready() bool {
	if q.left > 0 {
		return len(q.b) >= q.left
	}
	return Whole(q.b) || len(q.b) >= headerLen && (q.b[0] < typeChangeCipherSpec || q.b[0] > typeData)
}

// prepared is cfg for one handshake: what the Layer cannot carry is off, and the keys go to s.
func prepared(cfg *tls.Config, s *secrets) *tls.Config {
	c := cfg.Clone()
	c.KeyLogWriter = s
	c.SessionTicketsDisabled, c.ClientSessionCache = true, nil // a ticket would be sent under the Layer's keys
	c.Renegotiation = tls.RenegotiateNever
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if c.CipherSuites == nil {
		c.CipherSuites = suites12
	} else {
		c.CipherSuites = slices.DeleteFunc(slices.Clone(c.CipherSuites), func(id uint16) bool { return !slices.Contains(suites12, id) })
	}
	return c
}

// suites12 is what is offered in TLS 1.2.
var suites12 = func() (ids []uint16) {
	for _, s := range suites {
		if !s.tls13 {
			ids = append(ids, s.id)
		}
	}
	return ids
}()

// owned is a copy of b that holds no more memory than it needs, nil if b is empty.
func owned(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}
