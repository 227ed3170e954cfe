package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

func TestACredentialIsNeverShown(t *testing.T) {
	c := Credential{
		Password: testPassword, MD5: md5Secret("ann", testPassword),
		ClientKey: bytes.Repeat([]byte("K"), keySize), ServerKey: bytes.Repeat([]byte("S"), keySize),
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "credential", c)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "credential", c)
	for _, text := range []string{log.String(), fmt.Sprint(c), fmt.Sprintf("%+v %#v %v %s", c, c, &c, []Credential{c})} {
		checkHidden(t, text, testPassword, c.MD5, "KKKK", "SSSS", "75 75", "83 83")
		if !strings.Contains(text, "password md5 keys") {
			t.Errorf("%s does not say what there is", text)
		}
	}
}

func checkHidden(t *testing.T, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown in %q", secret, text)
		}
	}
}

// Whatever fails, the error has neither what proves the client, nor what it is compared with.
func TestNoErrorShowsASecret(t *testing.T) {
	const guess = "guess-of-a-password"
	keys := NewKeys(testRounds, true)
	hidden := []string{guess, base64.StdEncoding.EncodeToString([]byte(guess)), testPassword, md5Secret("ann", testPassword), md5Secret("ann", guess)}
	secrets := []config.Secret{clearSecret(testPassword), storedSecret(testPassword), md5Of("ann", testPassword), {}}
	ldap := startPeer(t, &peer{}, false)
	issuer := startIssuer(t, false)
	issuers, _ := issuer.issuers(t)
	tokens := validator(t, issuers, issuer.URL)
	failed := 0
	check := func(err error) {
		t.Helper()
		if err != nil {
			failed++
			checkHidden(t, err.Error(), hidden...)
			checkHidden(t, fmt.Sprintf("%+v %#v", err, err), hidden...)
		}
	}
	for _, secret := range secrets {
		if secret.Kind == config.SecretSCRAM {
			hidden = append(hidden, secret.Text[len(secret.Text)-44:], secret.Text)
		}
		for _, begin := range []func() ([]byte, Proof){
			func() ([]byte, Proof) { return Password(keys, "ann", secret) },
			func() ([]byte, Proof) { return MD5("ann", secret) },
			func() ([]byte, Proof) { return SCRAM(keys, "ann", secret, Binding{}) },
			func() ([]byte, Proof) { return LDAP(ldap.directory("ldapprefix", "cn="), "ann") },
			func() ([]byte, Proof) { return LDAP(ldap.directory("ldapbasedn", "dc=x"), "ann") },
			func() ([]byte, Proof) { return OAuth(tokens, func(string) bool { return false }) },
		} {
			for _, body := range []string{guess, guess + "\x00", guess + "\x00x", "SCRAM-SHA-256\x00\x00\x00\x00\x13" + guess, "OAUTHBEARER\x00\x00\x00\x00\x13" + guess} {
				_, p := begin()
				_, _, err := p.Next(t.Context(), []byte(body))
				check(err)
			}
			_, p := begin()
			if _, _, err := p.Next(t.Context(), initialBearer(t, bearer(guess))); err == nil {
				_, _, err = p.Next(t.Context(), []byte(kvsep))
				check(err)
			}
			ask, p := begin()
			if _, ok := p.(*oauthProof); !ok {
				proven, err1, err2 := converse(t, NewAnswerer(keys, "ann", Credential{Password: guess}, Binding{}), ask, p)
				if proven {
					t.Fatal("a guess is taken")
				}
				check(errors.Join(err1, err2))
			}
		}
	}
	a, _ := challenged(t)
	for _, msg := range []pgproto3.BackendMessage{
		&pgproto3.AuthenticationSASLFinal{Data: []byte("v=" + guess)}, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=" + guess)},
		&pgproto3.AuthenticationOk{}, &pgproto3.AuthenticationCleartextPassword{}, &pgproto3.AuthenticationSASL{},
	} {
		_, err := a.Answer(msg)
		check(err)
	}
	if failed < 100 {
		t.Errorf("only %d failures were looked at", failed)
	}
}
