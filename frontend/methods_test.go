package frontend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
)

// directory is an LDAP server that lets "cn=USER" in with the password "of USER". With pass it says nothing until that is
// closed.
func directory(t *testing.T, asked chan<- struct{}, pass <-chan struct{}) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	serve := func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		for {
			request, err := ber.ReadPacket(conn)
			if err != nil || len(request.Children) < 2 || request.Children[1].Tag != 0 { // 0: BindRequest
				return
			}
			bind := request.Children[1].Children
			if asked != nil {
				asked <- struct{}{}
				<-pass
			}
			code := int64(49) // invalidCredentials
			if bind[2].Data.String() == "of "+strings.TrimPrefix(bind[1].Data.String(), "cn=") {
				code = 0
			}
			answer := ber.NewSequence("")
			answer.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, request.Children[0].Value, ""))
			result := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 1, nil, "") // 1: BindResponse
			result.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
			for range 2 {
				result.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
			}
			answer.AppendChild(result)
			if _, err := conn.Write(answer.Bytes()); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serve(conn) })
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

func TestLDAP(t *testing.T) {
	inPostgres(t, "CREATE ROLE ldapper LOGIN")
	port := directory(t, nil, nil)
	options := fmt.Sprintf("ldapserver=127.0.0.1 ldapport=%d ldapprefix=\"cn=\"", port)
	p := startPooler(t, fmt.Sprintf("auth_type = \"ldap\"\nauth_ldap_options = %q\nauth_file = ''\nlog_level = 'info'", options))
	if who, err := tryPGX(t, p.Addr, "ldapper", "of ldapper"); who != "ldapper" {
		t.Errorf("is %q, %v", who, err)
	}
	for _, user := range []string{"ldapper", "nobody"} {
		_, err := tryPGX(t, p.Addr, user, "wrong")
		refusedWith(t, err, "28000", `LDAP authentication failed for user "`+user+`"`)
	}
	_, err := tryPGX(t, p.Addr, "ldapper", "")
	refusedWith(t, err, "28P01", "empty password returned by client")
	by := p.Front.Stat().LoginsBy
	if by[LoginOutcome{"ldap", "ok"}] != 1 || by[LoginOutcome{"ldap", "wrong_password"}] != 3 {
		t.Errorf("counted: %v", by)
	}
	gone := startPooler(t, fmt.Sprintf("auth_type = \"ldap\"\nauth_ldap_options = %q\nauth_file = ''\nlog_level = 'info'", "ldapserver=127.0.0.1 ldapport=1 ldapprefix=\"cn=\""))
	_, err = tryPGX(t, gone.Addr, "ldapper", "of ldapper")
	refusedWith(t, err, "58000", "authentication could not be checked")
	if !strings.Contains(gone.Log.String(), "connection refused") {
		t.Errorf("the log does not say why:\n%s", gone.Log)
	}
}

// However many wait for an LDAP server that is silent, those who prove themselves otherwise get in; and none of them waits
// longer than client_login_timeout.
func TestASlowDirectoryHoldsUpNobodyElse(t *testing.T) {
	asked, pass := make(chan struct{}, 100), make(chan struct{})
	port := directory(t, asked, pass)
	path := hbaFile(t, fmt.Sprintf("host all slow all ldap ldapserver=127.0.0.1 ldapport=%d ldapprefix=\"cn=\"\nhost all all all scram-sha-256\n", port))
	inPostgres(t, "CREATE ROLE scram LOGIN", "CREATE ROLE slow LOGIN")
	p := startPooler(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_file = %q\nclient_login_concurrency = 1", path, authFile(t)))
	var waiting sync.WaitGroup
	for range 10 {
		waiting.Go(func() {
			if who, err := tryPGX(t, p.Addr, "slow", "of slow"); who != "slow" {
				t.Errorf("is %q, %v", who, err)
			}
		})
	}
	for range 10 {
		<-asked
	}
	if who, err := tryPGX(t, p.Addr, "scram", rightPassword); who != "scram" {
		t.Errorf("is %q, %v", who, err)
	}
	c := dialRaw(t, p.Addr) // one that goes away while it is being looked into
	c.send(startupMessage("postgres", "user", "slow"))
	c.receive()
	c.send(&pgproto3.PasswordMessage{Password: "of slow"})
	<-asked
	_ = c.nc.Close()
	close(pass)
	waiting.Wait()
	eventually(t, patience, "all have gone", func() bool { return p.Front.Stat().Clients == 0 })
}

// issuer is an OpenID provider; token makes one for a subject.
func issuer(t *testing.T) (url string, token func(subject string, until time.Time) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	reply := func(v any) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	mux.HandleFunc("/.well-known/openid-configuration", reply(map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"}))
	mux.HandleFunc("/keys", reply(map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "kid": "k", "use": "sig", "alg": "ES256", "crv": "P-256", "x": b64(public[1:33]), "y": b64(public[33:]),
	}}}))
	return server.URL, func(subject string, until time.Time) string {
		claims, _ := json.Marshal(map[string]any{"iss": server.URL, "sub": subject, "aud": "postgres", "scope": "db", "exp": until.Unix(), "iat": time.Now().Unix()})
		signed := b64([]byte(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`)) + "." + b64(claims)
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		var signature [64]byte
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signed + "." + b64(signature[:])
	}
}

func TestOAuth(t *testing.T) {
	url, token := issuer(t)
	inPostgres(t, "CREATE ROLE oauther LOGIN")
	p := startPooler(t, fmt.Sprintf("auth_type = \"oauth\"\nauth_oauth_options = %q\nauth_file = ''\nlog_level = 'info'", "issuer="+url+" scope=db audience=postgres"))
	later := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		name, user, token string
		ok                bool
	}{
		{"right", "oauther", token("oauther", later), true},
		{"another's", pgtest.Superuser, token("oauther", later), false},
		{"expired", "oauther", token("oauther", later.Add(-2*time.Hour)), false},
		{"not signed", "oauther", token("oauther", later) + "x", false},
		{"none", "oauther", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, p.Addr)
			c.send(startupMessage("postgres", "user", tc.user))
			if msg, ok := c.receive().(*pgproto3.AuthenticationSASL); !ok || strings.Join(msg.AuthMechanisms, ",") != "OAUTHBEARER" {
				t.Fatalf("first it was told %+v", msg)
			}
			c.send(&pgproto3.SASLInitialResponse{AuthMechanism: "OAUTHBEARER", Data: []byte("n,,\x01auth=Bearer " + tc.token + "\x01\x01")})
			if !tc.ok {
				if msg, ok := c.receive().(*pgproto3.AuthenticationSASLContinue); !ok {
					t.Fatalf("then it was told %+v", msg)
				}
				c.send(&pgproto3.SASLResponse{Data: []byte("\x01")})
			}
			a := c.answer()
			if tc.ok && a.Status != 'I' {
				t.Errorf("refused: %+v", a)
			}
			if !tc.ok && (a.Code != "28000" || a.Message != `OAuth bearer authentication failed for user "`+tc.user+`"`) {
				t.Errorf("was told %+v", a)
			}
			if tc.token != "" && strings.Contains(p.Log.String(), strings.Split(tc.token, ".")[1]) {
				t.Error("the log has the token")
			}
		})
	}
}
