package auth

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// BenchmarkDerive is what the cache saves.
func BenchmarkDerive(b *testing.B) {
	for b.Loop() {
		derive([]byte(testPassword), []byte("0123456789abcdef"), testRounds)
	}
}

// BenchmarkSCRAM is a client's login with keys that are known, both roles together.
func BenchmarkSCRAM(b *testing.B) {
	keys, secret := NewKeys(testRounds, true), storedSecret(testPassword)
	for b.Loop() {
		ask, p := SCRAM(keys, "ann", secret, Binding{})
		a := NewAnswerer(keys, "ann", Credential{Password: testPassword}, Binding{})
		if proven, err1, err2 := converse(b, a, ask, p); !proven {
			b.Fatal(err1, err2)
		}
	}
}

// BenchmarkVerify checks a password against a SCRAM secret that it has been checked against before.
func BenchmarkVerify(b *testing.B) {
	keys, secret := NewKeys(testRounds, true), storedSecret(testPassword)
	for b.Loop() {
		if !keys.Verify("ann", secret, []byte(testPassword)) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkFirstMessage is what a stranger makes us do with one message.
func BenchmarkFirstMessage(b *testing.B) {
	keys, secret := NewKeys(testRounds, true), storedSecret(testPassword)
	first := bodyOf(b, &pgproto3.SASLInitialResponse{AuthMechanism: scramSHA256, Data: []byte("n,,n=,r=abcdefghijklmnopqrstuvwx")})
	for b.Loop() {
		_, p := SCRAM(keys, "ann", secret, Binding{})
		if _, _, err := p.Next(b.Context(), first); err != nil {
			b.Fatal(err)
		}
	}
}
