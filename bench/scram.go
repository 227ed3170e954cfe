package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	authOK           = 0
	authSASL         = 10
	authSASLContinue = 11
	authSASLFinal    = 12
)

// authenticate answers the server's questions until it says that the login is over. It does SCRAM-SHA-256 (RFC 5802, RFC 7677)
// without channel binding, and does not ask the server to prove itself.
func authenticate(rw io.ReadWriter, password string) error {
	var s scramClient
	for {
		kind, body, err := readMessage(rw)
		if err != nil {
			return err
		}
		if kind != 'R' || len(body) < 4 {
			return fmt.Errorf("server said: %q %q", kind, body)
		}
		var answer []byte
		switch code := binary.BigEndian.Uint32(body); code {
		case authOK:
			return nil
		case authSASL:
			answer = s.first()
		case authSASLContinue:
			if answer, err = s.final(string(body[4:]), password); err != nil {
				return err
			}
		case authSASLFinal:
			continue
		default:
			return fmt.Errorf("the server asks for authentication %d, which bench does not know", code)
		}
		if _, err := rw.Write(answer); err != nil {
			return err
		}
	}
}

// scramClient is a conversation; what it has said it needs again.
type scramClient struct{ bare string }

func (s *scramClient) first() []byte {
	s.bare = "n=,r=" + rand.Text()
	said := "n,," + s.bare
	body := append([]byte("SCRAM-SHA-256\x00"), binary.BigEndian.AppendUint32(nil, uint32(len(said)))...)
	return message('p', append(body, said...))
}

func (s *scramClient) final(challenge, password string) ([]byte, error) {
	fields := strings.Split(challenge, ",")
	if len(fields) < 3 || len(fields[0]) < 2 || len(fields[1]) < 2 || len(fields[2]) < 2 {
		return nil, fmt.Errorf("SCRAM challenge %q", challenge)
	}
	salt, saltErr := base64.StdEncoding.DecodeString(fields[1][2:])
	iterations, numberErr := strconv.Atoi(fields[2][2:])
	if err := errors.Join(saltErr, numberErr); err != nil {
		return nil, err
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil, err
	}
	without := "c=biws," + fields[0]
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	proof := mac(stored[:], s.bare+","+challenge+","+without)
	subtle.XORBytes(proof, proof, key)
	return message('p', []byte(without+",p="+base64.StdEncoding.EncodeToString(proof))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func message(kind byte, body []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(m, body...)
}

// readMessage reads one message, and not a byte more.
func readMessage(r io.Reader) (kind byte, body []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(header[1:])
	if length < 4 || length > 1<<20 {
		return 0, nil, fmt.Errorf("message %q of length %d", header[0], length)
	}
	body = make([]byte, length-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return header[0], body, nil
}
