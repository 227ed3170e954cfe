// Package tlsconn carries TLS. The handshake is crypto/tls's: versions, suites, certificates, verification. Behind it the
// bytes are protected by a record layer of our own, because a tls.Conn keeps 7 KB of heap for an idle connection, and
// wants a goroutine that blocks.
package tlsconn

import (
	"io"
	"slices"
)

// MaxRecord is how many bytes a record can have at most (RFC 8446, 5.2): its header, 2^14 bytes of text, and what protects
// them. TLS 1.2 would allow for more, which its AEAD suites never need.
const MaxRecord = headerLen + maxCipher

// Overhead is the most that Seal adds to the text of one record, in bytes: the header, a tag, and in TLS 1.2 an explicit
// nonce (in TLS 1.3 the type of the content).
const Overhead = headerLen + nonceLen12 + tagLen

const (
	headerLen  = 5
	maxPlain   = 1 << 14
	maxCipher  = maxPlain + 256
	tagLen     = 16
	nonceLen12 = 8 // of the explicit nonce, RFC 5288, 3
)

// The types of content (RFC 8446, 5.1).
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeData             = 23
)

// maxUseless is how many records in a row may come without text, as with crypto/tls.
const maxUseless = 16

// Layer protects the bytes of one connection after its handshake. It does no I/O and has no lock. Open and what it
// reads of the Layer belong to one goroutine, Seal and SealClose to one, which may be another; Answer to Open's, while
// nothing is sealed.
type Layer struct {
	suite  *suite
	client bool // we are the client
	in     half
	out    half
	closed bool // an alert has ended what we send

	err     error
	useless uint8 // records without text, in a row
	update  bool  // the peer waits for a KeyUpdate
	fault   alert // to be told to the peer; 0: nothing
	post    postHandshake
}

// Open decrypts, in place, all whole records at the front of b. plain is their text, moved together at the front of b; rest
// is the incomplete record at the end of b. Text before an error is valid. The error is io.EOF when the peer has
// said that it sends no more, an *AlertError when it has given up or broken the protocol; it comes again with each call.
func (l *Layer) Open(b []byte) (plain, rest []byte, err error) {
	done, used := 0, 0
	for l.err == nil && Whole(b[used:]) {
		n := recordLen(b[used:])
		if n > MaxRecord {
			l.fail(alertRecordOverflow)
			break
		}
		kind, text, fault := l.in.open(l.suite, b[used:used+n])
		if fault == 0 {
			fault = l.accept(kind, text)
		}
		if fault != 0 {
			l.fail(fault)
			break
		}
		if kind == typeData {
			done += copy(b[done:], text)
		}
		used += n
	}
	if l.err != nil {
		return b[:done:done], nil, l.err
	}
	return b[:done:done], b[used:], nil
}

// accept judges a record that is authentic.
func (l *Layer) accept(kind byte, text []byte) alert {
	if kind == typeData && len(text) > 0 {
		l.useless = 0
	} else if l.useless++; l.useless > maxUseless {
		return alertUnexpectedMessage
	}
	if kind != typeHandshake && l.post.begun() {
		return alertUnexpectedMessage // RFC 8446, 5.1: they are not interleaved
	}
	switch kind {
	case typeData:
		return 0
	case typeHandshake:
		return l.handshake(text)
	case typeAlert:
		return l.alerted(text)
	}
	return alertUnexpectedMessage // change_cipher_spec too: the handshake is over
}

// alerted takes an alert of the peer's.
func (l *Layer) alerted(text []byte) alert {
	if len(text) != 2 {
		return alertDecodeError
	}
	level, what := text[0], alert(text[1])
	switch {
	case what == alertCloseNotify:
		l.err = io.EOF
	case l.suite.tls13 && what == alertUserCanceled: // JDK sends it before close_notify (JDK-8323517)
	case !l.suite.tls13 && level == levelWarning:
	default:
		l.err = &AlertError{Code: uint8(what), Remote: true}
	}
	return 0
}

// Err is why there will be no more text from the peer, as Open has said, nil if there may be.
func (l *Layer) Err() error { return l.err }

// fail ends what is read, and has the peer told why.
func (l *Layer) fail(fault alert) {
	l.fault = fault
	l.err = &AlertError{Code: uint8(fault)}
}

// Answer is what Open wants sent to the peer, nil mostly: the alert before an error, or the new keys that the peer has asked
// for. The latter may wait, but not behind text that is sealed later.
func (l *Layer) Answer() []byte {
	switch {
	case l.closed:
	case l.fault != 0:
		l.closed = true
		return l.out.seal(l.suite, nil, typeAlert, []byte{levelFatal, byte(l.fault)})
	case l.update:
		l.update = false
		return l.renew(nil)
	}
	return nil
}

// renewAfter is how many records are sent with one key: AES-GCM is good for 2^24.5 of full size (RFC 8446, 5.5).
const renewAfter = 1 << 24

// Seal appends plain to dst as records. It allocates nothing if dst has room for len(plain), and Overhead for each 2^14 bytes
// begun. plain and dst must not overlap.
func (l *Layer) Seal(dst, plain []byte) []byte {
	dst = slices.Grow(dst, len(plain)+(len(plain)+maxPlain-1)/maxPlain*Overhead)
	for len(plain) > 0 {
		if l.suite.tls13 && l.out.seq >= renewAfter {
			dst = l.renew(dst)
		}
		n := min(len(plain), maxPlain)
		dst = l.out.seal(l.suite, dst, typeData, plain[:n])
		plain = plain[n:]
	}
	return dst
}

// renew appends a KeyUpdate, behind which the next key is in use.
func (l *Layer) renew(dst []byte) []byte {
	dst = l.out.seal(l.suite, dst, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, updateNotRequested})
	l.out.renew(l.suite)
	return dst
}

// SealClose appends close_notify to dst, the first time. Nothing may be sealed after it.
func (l *Layer) SealClose(dst []byte) []byte {
	if l.closed {
		return dst
	}
	l.closed = true
	return l.out.seal(l.suite, dst, typeAlert, []byte{levelWarning, byte(alertCloseNotify)})
}

// String is version and cipher suite as PgBouncer's SHOW CLIENTS has them, by OpenSSL's names:
// TLSv1.3/TLS_AES_256_GCM_SHA384.
func (l *Layer) String() string { return l.Version() + "/" + l.suite.name }

// Version is the version of TLS as PostgreSQL's pg_stat_ssl has it: TLSv1.3.
func (l *Layer) Version() string {
	if l.suite.tls13 {
		return "TLSv1.3"
	}
	return "TLSv1.2"
}

// Cipher is the cipher suite by OpenSSL's name, as pg_stat_ssl has it.
func (l *Layer) Cipher() string { return l.suite.name }

// Bits is the strength of the cipher as pg_stat_ssl has it.
func (l *Layer) Bits() int { return 8 * l.suite.keyLen }

// Whole tells whether b begins with a record that can be judged: one that is complete, or longer than any may be.
func Whole(b []byte) bool {
	if len(b) < headerLen {
		return false
	}
	n := recordLen(b)
	return len(b) >= n || n > MaxRecord
}

// recordLen is the length of the record that begins in b, with its header.
func recordLen(b []byte) int { return headerLen + int(b[3])<<8 + int(b[4]) }
