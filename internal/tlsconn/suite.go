package tlsconn

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is a cipher suite that the Layer knows: those of TLS 1.3, and of TLS 1.2 those with AEAD and forward secrecy.
type suite struct {
	id      uint16
	name    string // OpenSSL's
	tls13   bool
	chacha  bool
	keyLen  int
	hashLen int
}

var suites = []suite{
	{tls.TLS_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", true, false, 16, 32},
	{tls.TLS_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", true, false, 32, 48},
	{tls.TLS_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", true, true, 32, 32},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", false, false, 16, 32},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", false, false, 16, 32},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", false, false, 32, 48},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", false, false, 32, 48},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", false, true, 32, 32},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", false, true, 32, 32},
}

// suiteOf returns nil for a suite that is not known.
func suiteOf(id uint16) *suite {
	for i := range suites {
		if suites[i].id == id {
			return &suites[i]
		}
	}
	return nil
}

func (s *suite) hash() hash.Hash {
	if s.hashLen == sha512.Size384 {
		return sha512.New384()
	}
	return sha256.New()
}

// aead makes the cipher of a key of keyLen bytes.
func (s *suite) aead(key []byte) cipher.AEAD {
	var a cipher.AEAD
	var err error
	if s.chacha {
		a, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			a, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		panic("bug: " + err.Error()) // only for other lengths of keys
	}
	return a
}

// explicitNonce is how many bytes of the nonce are sent in each record.
func (s *suite) explicitNonce() int {
	if s.tls13 || s.chacha {
		return 0
	}
	return nonceLen12
}

// ivLen is how many bytes of the nonce come from the handshake in TLS 1.2.
func (s *suite) ivLen() int { return ivLen - s.explicitNonce() }
