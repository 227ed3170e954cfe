package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testIssuer is an OpenID provider with an RSA key "r" and an ECDSA key "e".
type testIssuer struct {
	*httptest.Server
	rsa   *rsa.PrivateKey
	ecdsa *ecdsa.PrivateKey

	discoveries, fetches atomic.Int64
	ec                   atomic.Bool // shows the ECDSA key too
	down                 atomic.Bool
	document             func() map[string]any
}

var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func startIssuer(t *testing.T, secure bool) *testIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &testIssuer{rsa: testRSA(), ecdsa: key}
	i.ec.Store(true)
	i.document = func() map[string]any {
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"HS256"}}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.discoveries.Add(1)
		i.reply(w, i.document())
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		i.reply(w, i.keys())
	})
	if secure {
		i.Server = httptest.NewTLSServer(mux)
	} else {
		i.Server = httptest.NewServer(mux)
	}
	t.Cleanup(i.Close)
	return i
}

func (i *testIssuer) reply(w http.ResponseWriter, v any) {
	if i.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (i *testIssuer) keys() any {
	n := func(x *big.Int) string { return b64url(x.Bytes()) }
	public, err := i.ecdsa.PublicKey.Bytes() // 4, X and Y
	if err != nil {
		panic(err)
	}
	keys := []map[string]string{{"kty": "RSA", "kid": "r", "alg": "RS256", "n": n(i.rsa.N), "e": n(big.NewInt(int64(i.rsa.E)))}}
	if i.ec.Load() {
		keys = append(keys, map[string]string{"kty": "EC", "kid": "e", "crv": "P-256", "x": b64url(public[1:33]), "y": b64url(public[33:])})
	}
	return map[string]any{"keys": keys}
}

func b64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// claims are those of a token that is right.
func (i *testIssuer) claims() map[string]any {
	return map[string]any{
		"iss": i.URL, "sub": "ann@x", "aud": []string{"pooler", "other"}, "scope": "openid db",
		"exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Add(-time.Minute).Unix(),
	}
}

// token signs claims with the algorithm, as the key kid.
func (i *testIssuer) token(t testing.TB, algorithm, kid string, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64url(b)
	}
	text := part(map[string]string{"alg": algorithm, "kid": kid}) + "." + part(claims)
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch algorithm {
	case "RS256":
		signature, err = rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, digest[:])
	case "ES256":
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, i.ecdsa, digest[:])
		if err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case "HS256": // with the public key for a secret, which a careless verifier believes
		m := hmac.New(sha256.New, i.rsa.N.Bytes())
		m.Write([]byte(text))
		signature = m.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64url(signature)
}

// issuers is an Issuers with a clock that stands still, and believes i's certificate.
func (i *testIssuer) issuers(t *testing.T) (*Issuers, func(time.Duration)) {
	t.Helper()
	s := NewIssuers()
	if c, ok := i.Client().Transport.(*http.Transport); ok && c.TLSClientConfig != nil {
		s.trust.TLSClientConfig = c.TLSClientConfig.Clone()
	}
	t.Cleanup(s.trust.CloseIdleConnections)
	var passed atomic.Int64
	begin := time.Now()
	s.now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	return s, func(d time.Duration) { passed.Add(int64(d)) }
}

func validator(t *testing.T, s *Issuers, issuer string, more ...string) *Validator {
	t.Helper()
	o := map[string]string{"issuer": issuer, "scope": "db"}
	for k := 0; k < len(more); k += 2 {
		o[more[k]] = more[k+1]
	}
	v, err := NewValidator(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bearer(token string) string {
	return "n,,\x01auth=Bearer " + strings.TrimSpace(token) + "\x01\x01"
}
