package tlsconn

import (
	"crypto/cipher"
	"crypto/hkdf"
	"encoding/binary"
	"math"
)

// half is one direction of a connection: a key, and how often it was used.
type half struct {
	aead   cipher.AEAD
	seq    uint64
	iv     [ivLen]byte
	nonce  [ivLen]byte // of the record at hand: here, so that it is not allocated for each
	ad     [adLen12]byte
	secret [maxHash]byte // TLS 1.3: what the next key is made of
}

const (
	ivLen   = 12
	adLen12 = 13 // RFC 5246, 6.2.3.3: sequence number, type, version, length
	maxHash = 48 // SHA-384
)

// open decrypts a whole record in place.
func (h *half) open(s *suite, record []byte) (kind byte, text []byte, fault alert) {
	if record[1] != 3 || record[2] != 3 {
		return 0, nil, alertProtocolVersion
	}
	if s.tls13 {
		return h.open13(record)
	}
	return h.open12(s, record)
}

// open13 follows RFC 8446, 5.2: the true type stands behind the text, and zeros as padding behind that.
func (h *half) open13(record []byte) (kind byte, text []byte, fault alert) {
	if record[0] != typeData {
		return 0, nil, alertUnexpectedMessage
	}
	header, body := record[:headerLen], record[headerLen:]
	text, err := h.aead.Open(body[:0], h.xorNonce(), body, header)
	if err != nil || !h.advance() {
		return 0, nil, alertBadRecordMAC
	}
	if len(text) > maxPlain+1 {
		return 0, nil, alertRecordOverflow
	}
	n := len(text)
	for n > 0 && text[n-1] == 0 {
		n--
	}
	if n == 0 {
		return 0, nil, alertUnexpectedMessage
	}
	return text[n-1], text[:n-1], 0
}

// open12 follows RFC 5246, 6.2.3.3, with RFC 5288's nonces for AES and RFC 7905's for ChaCha20.
func (h *half) open12(s *suite, record []byte) (kind byte, text []byte, fault alert) {
	body := record[headerLen:]
	explicit := s.explicitNonce()
	if len(body) < explicit+tagLen {
		return 0, nil, alertBadRecordMAC
	}
	nonce := h.nonce12(s, body[:explicit])
	body = body[explicit:]
	text, err := h.aead.Open(body[:0], nonce, body, h.ad12(record[0], len(body)-tagLen))
	if err != nil || !h.advance() {
		return 0, nil, alertBadRecordMAC
	}
	if len(text) > maxPlain {
		return 0, nil, alertRecordOverflow
	}
	return record[0], text, 0
}

// seal appends one record to dst.
func (h *half) seal(s *suite, dst []byte, kind byte, text []byte) []byte {
	if s.tls13 {
		dst = h.seal13(dst, kind, text)
	} else {
		dst = h.seal12(s, dst, kind, text)
	}
	if !h.advance() {
		panic("bug: a TLS sequence number has wrapped around") // after 2^64 records
	}
	return dst
}

func (h *half) seal13(dst []byte, kind byte, text []byte) []byte {
	n := len(text) + 1 + tagLen
	dst = append(dst, typeData, 3, 3, byte(n>>8), byte(n))
	at := len(dst)
	dst = append(append(dst, text...), kind)
	return h.aead.Seal(dst[:at], h.xorNonce(), dst[at:], dst[at-headerLen:at])
}

func (h *half) seal12(s *suite, dst []byte, kind byte, text []byte) []byte {
	explicit := s.explicitNonce()
	n := explicit + len(text) + tagLen
	dst = append(dst, kind, 3, 3, byte(n>>8), byte(n))
	at := len(dst)
	if explicit > 0 {
		dst = binary.BigEndian.AppendUint64(dst, h.seq) // as crypto/tls does: it was 0 for the Finished message
	}
	return h.aead.Seal(dst, h.nonce12(s, dst[at:]), text, h.ad12(kind, len(text)))
}

// xorNonce is the nonce of RFC 8446, 5.3 and RFC 7905, 2.
func (h *half) xorNonce() []byte {
	h.nonce = h.iv
	tail := h.nonce[ivLen-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^h.seq)
	return h.nonce[:]
}

// nonce12 is the nonce of a record of TLS 1.2 that carries explicit.
func (h *half) nonce12(s *suite, explicit []byte) []byte {
	if s.chacha {
		return h.xorNonce()
	}
	h.nonce = h.iv
	copy(h.nonce[ivLen-nonceLen12:], explicit)
	return h.nonce[:]
}

func (h *half) ad12(kind byte, n int) []byte {
	binary.BigEndian.PutUint64(h.ad[:], h.seq)
	h.ad[8], h.ad[9], h.ad[10], h.ad[11], h.ad[12] = kind, 3, 3, byte(n>>8), byte(n)
	return h.ad[:]
}

// advance counts a record. It reports false when there is no number left.
func (h *half) advance() bool {
	if h.seq == math.MaxUint64 {
		return false
	}
	h.seq++
	return true
}

// rekey puts the key in force that secret, a traffic secret of TLS 1.3, says.
func (h *half) rekey(s *suite, secret []byte) {
	copy(h.secret[:], secret)
	key := s.expand(secret, "key", s.keyLen)
	copy(h.iv[:], s.expand(secret, "iv", ivLen))
	h.aead, h.seq = s.aead(key), 0
	clear(key)
}

// renew puts the next key in force (RFC 8446, 7.2).
func (h *half) renew(s *suite) {
	secret := s.expand(h.secret[:s.hashLen], "traffic upd", s.hashLen)
	h.rekey(s, secret)
	clear(secret)
}

// expand is HKDF-Expand-Label without a context (RFC 8446, 7.1).
func (s *suite) expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := string([]byte{byte(n >> 8), byte(n), byte(len(label))}) + label + "\x00"
	out, err := hkdf.Expand(s.hash, secret, info, n)
	if err != nil {
		panic("bug: " + err.Error()) // only for lengths that are not asked for
	}
	return out
}
