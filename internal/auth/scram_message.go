package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

const (
	scramSHA256     = "SCRAM-SHA-256"
	scramSHA256Plus = "SCRAM-SHA-256-PLUS"
	serverEndPoint  = "tls-server-end-point"

	// maxSCRAMMessage is PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH without the length word: the most that the body of a
	// message of a SCRAM conversation may have, in bytes. A fair one has about 150.
	maxSCRAMMessage = 1024 - 4
)

// attributes reads a SCRAM message piece by piece, with the errors of PostgreSQL's auth-scram.c.
type attributes struct{ rest string }

func malformedSCRAM(detail string) *ProtocolError {
	return violation("malformed SCRAM message", detail)
}

// expect reads the attribute with that name.
func (a *attributes) expect(name byte) (string, error) {
	if a.rest == "" || a.rest[0] != name {
		return "", malformedSCRAM(`Expected attribute "` + string(name) + `" but found "` + printableByte(a.rest) + `".`)
	}
	return a.value(name)
}

// next reads any attribute.
func (a *attributes) next() (name byte, value string, err error) {
	if a.rest == "" {
		return 0, "", malformedSCRAM("Attribute expected, but found end of string.")
	}
	name = a.rest[0]
	if c := name | 0x20; c < 'a' || c > 'z' {
		return 0, "", malformedSCRAM(`Attribute expected, but found invalid character "` + printableByte(a.rest) + `".`)
	}
	value, err = a.value(name)
	return name, value, err
}

func (a *attributes) value(name byte) (string, error) {
	rest, ok := strings.CutPrefix(a.rest[1:], "=")
	if !ok {
		return "", malformedSCRAM(`Expected character "=" for attribute "` + string(name) + `".`)
	}
	value, rest, _ := strings.Cut(rest, ",")
	a.rest = rest
	return value, nil
}

// printable tells whether a nonce may look so (RFC 5802, section 7).
func printable(nonce string) bool {
	for i := range len(nonce) {
		if c := nonce[i]; c < 0x21 || c > 0x7E || c == ',' {
			return false
		}
	}
	return true
}

// base64Strict refuses the line breaks that Go's decoder skips, so that there is one form only.
func base64Strict(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(text)
	return b, err == nil
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// authMessage is what both sides sign (RFC 5802, section 3).
func authMessage(clientFirstBare, serverFirst, clientFinalBare string) string {
	return clientFirstBare + "," + serverFirst + "," + clientFinalBare
}

// xorKeys turns a ClientKey into a proof, or a proof into a ClientKey. Both have keySize bytes.
func xorKeys(key []byte, storedKey []byte, message string) []byte {
	out := make([]byte, keySize)
	subtle.XORBytes(out, key, mac(storedKey, message))
	return out
}

func storedKeyOf(clientKey []byte) []byte {
	sum := sha256.Sum256(clientKey)
	return sum[:]
}

// signed tells whether signature is the server's of message.
func signed(serverKey []byte, message string, signature []byte) bool {
	return hmac.Equal(mac(serverKey, message), signature)
}
