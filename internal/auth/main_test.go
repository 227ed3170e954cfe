package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/pgtest"
)

const (
	testPassword = "correct-horse-battery"
	testRounds   = 4096
)

func TestMain(m *testing.M) { pgtest.Main(m, &postgres) }

func clearSecret(password string) config.Secret {
	return config.Secret{Kind: config.SecretClear, Text: password}
}

func md5Of(user, password string) config.Secret {
	return config.Secret{Kind: config.SecretMD5, Text: md5Secret(user, password)}
}

// scramSecret is how PostgreSQL would store password.
func scramSecret(password string, salt []byte, rounds string, iterations int) config.Secret {
	keys := derive([]byte(password), salt, iterations)
	b64 := base64.StdEncoding.EncodeToString
	return config.Secret{
		Kind: config.SecretSCRAM,
		Text: "SCRAM-SHA-256$" + rounds + ":" + b64(salt) + "$" + b64(keys.stored[:]) + ":" + b64(keys.server[:]),
	}
}

func storedSecret(password string) config.Secret {
	return scramSecret(password, []byte("0123456789abcdef"), "4096", testRounds)
}

// received decodes one message that a server sends.
func received(t testing.TB, b []byte) pgproto3.BackendMessage {
	t.Helper()
	r := bytes.NewReader(b)
	msg, err := pgproto3.NewFrontend(r, nil).Receive()
	if err != nil || r.Len() != 0 {
		t.Fatalf("%q is not one message: %v", b, err)
	}
	return msg
}

// bodyOf is what a Proof sees of a message.
func bodyOf(t testing.TB, msg pgproto3.FrontendMessage) []byte {
	t.Helper()
	b, err := msg.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b[5:]
}

// converse lets a prove itself to p. It returns what either side says at last.
func converse(t testing.TB, a *Answerer, ask []byte, p Proof) (proven bool, fromServer, fromClient error) {
	t.Helper()
	for range 5 {
		answer, err := a.Answer(received(t, ask))
		if err != nil {
			return proven, nil, err
		}
		if proven {
			_, err = a.Answer(&pgproto3.AuthenticationOk{})
			return true, nil, err
		}
		if ask, proven, err = p.Next(t.Context(), bodyOf(t, answer)); err != nil {
			return false, err, nil
		}
		if proven && len(ask) == 0 {
			_, err = a.Answer(&pgproto3.AuthenticationOk{})
			return true, nil, err
		}
	}
	t.Fatal("the conversation does not end")
	return false, nil, nil
}

func testBinding(text string) Binding {
	sum := sha256.Sum256([]byte(text))
	return Binding{EndPoint: sum[:]}
}
