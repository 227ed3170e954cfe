package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/pgtest"
)

// certificate is the one of the PostgreSQL server, and of the servers that tests play.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func certificatePEM() (cert, key []byte) {
	c := certificate()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func certificateBinding() Binding {
	sum := sha256.Sum256(certificate().Certificate[0])
	return Binding{EndPoint: sum[:]}
}

// postgres has one user for each way to log in, named after it.
var postgres = pgtest.Shared{Options: postgresOptions()}

func postgresOptions() pgtest.Options {
	cert, key := certificatePEM()
	return pgtest.Options{
		Settings: map[string]string{"ssl": "on", "ssl_cert_file": "c.crt", "ssl_key_file": "c.key"},
		Files:    map[string][]byte{"c.crt": cert, "c.key": key},
		HBA: []string{
			"host all scram,nobody 127.0.0.1/32 scram-sha-256",
			"host all md5 127.0.0.1/32 md5",
			"host all password 127.0.0.1/32 password",
		},
	}
}

var usersMade sync.Once

func server(t *testing.T) *pgtest.Server {
	t.Helper()
	s := postgres.Server(t)
	usersMade.Do(func() {
		_, err := s.Exec(t.Context(), "postgres", fmt.Sprintf(`
			CREATE ROLE scram LOGIN PASSWORD '%[1]s'; CREATE ROLE password LOGIN PASSWORD '%[1]s';
			SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD '%[1]s'`, testPassword))
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

func rolePassword(t *testing.T, user string) config.Secret {
	t.Helper()
	rows, err := server(t).Exec(t.Context(), "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = '"+user+"'")
	if err != nil {
		t.Fatal(err)
	}
	secret := config.Secret{Kind: config.SecretSCRAM, Text: rows[0][0]}
	if strings.HasPrefix(secret.Text, "md5") {
		secret.Kind = config.SecretMD5
	}
	return secret
}

// realServer is a connection to PostgreSQL that has said who it is.
type realServer struct {
	*pgproto3.Frontend
	conn net.Conn
}

func (s realServer) send(t *testing.T, body []byte) {
	t.Helper()
	if _, err := s.conn.Write(append([]byte{'p', 0, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4)}, body...)); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, user string, encrypted bool) realServer {
	t.Helper()
	s := server(t)
	conn, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if encrypted {
		conn = overTLS(t, conn)
	}
	f := pgproto3.NewFrontend(conn, conn)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": "postgres"}})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	return realServer{f, conn}
}

func overTLS(t *testing.T, conn net.Conn) net.Conn {
	t.Helper()
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
}

// logIn lets a log in to PostgreSQL.
func logIn(t *testing.T, s realServer, a *Answerer) error {
	t.Helper()
	for {
		msg, err := s.Receive()
		if err != nil {
			return err
		}
		if refused, ok := msg.(*pgproto3.ErrorResponse); ok {
			return errors.New(refused.Message)
		}
		answer, err := a.Answer(msg)
		if err != nil {
			return err
		}
		if _, ok := msg.(*pgproto3.AuthenticationOk); ok {
			return nil
		}
		if answer == nil {
			continue
		}
		s.Send(answer)
		if err := s.Flush(); err != nil {
			return err
		}
	}
}

func TestPostgreSQLTakesOurProofs(t *testing.T) {
	keys := NewKeys(testRounds, true)
	for _, user := range []string{"scram", "md5", "password"} {
		for _, encrypted := range []bool{false, true} {
			var b Binding
			if encrypted {
				b = certificateBinding()
			}
			a := NewAnswerer(keys, user, Credential{Password: testPassword}, b)
			if err := logIn(t, connect(t, user, encrypted), a); err != nil {
				t.Errorf("%s, TLS %v: %v", user, encrypted, err)
			}
			if user == "scram" && strings.HasPrefix(a.scram.gs2, "p=") != encrypted {
				t.Errorf("TLS %v: the client says %q", encrypted, a.scram.gs2)
			}
		}
		err := logIn(t, connect(t, user, false), NewAnswerer(keys, user, Credential{Password: "wrong"}, Binding{}))
		if err == nil || !strings.Contains(err.Error(), "password authentication failed") {
			t.Errorf("%s: a wrong password: %v", user, err)
		}
		if err := logIn(t, connect(t, user, false), NewAnswerer(keys, user, Credential{}, Binding{})); !errors.Is(err, ErrNoCredential) {
			t.Errorf("%s: without a password: %v", user, err)
		}
	}
}

func TestPostgreSQLTakesWhatAClientsLoginHasTaught(t *testing.T) {
	for _, user := range []string{"scram", "md5"} {
		keys, secret := NewKeys(testRounds, true), rolePassword(t, user)
		ask, p := SCRAM(keys, user, secret, Binding{})
		if user == "md5" {
			ask, p = MD5(user, secret)
		}
		if proven, err, _ := converse(t, NewAnswerer(keys, user, Credential{Password: testPassword}, Binding{}), ask, p); !proven {
			t.Fatal(err)
		}
		learned, ok := p.Learned()
		if !ok || learned.Password != "" {
			t.Fatalf("learned %v", learned)
		}
		if err := logIn(t, connect(t, user, true), NewAnswerer(keys, user, learned, certificateBinding())); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	learned := Credential{ClientKey: make([]byte, keySize), ServerKey: make([]byte, keySize)}
	err := logIn(t, connect(t, "password", false), NewAnswerer(nil, "password", learned, Binding{}))
	if !errors.Is(err, ErrNoCredential) || !strings.Contains(err.Error(), "SCRAM keys only") {
		t.Errorf("clear text wanted, keys known: %v", err)
	}
}

// said is how a login ends.
type said struct{ code, message, detail string }

func (s said) String() string { return s.code + " " + s.message + " (" + s.detail + ")" }

// attempt is what a client sends. In last, NONCE stands for the nonce of the server's first message.
type attempt struct {
	encrypted bool
	raw       bool   // first is the whole body of the message
	mechanism string // "": SCRAM-SHA-256
	first     string
	last      string // "": the first is malformed already
}

func (a attempt) initial() []byte {
	if a.raw {
		return []byte(a.first)
	}
	mechanism := a.mechanism
	if mechanism == "" {
		mechanism = scramSHA256
	}
	size := len(a.first)
	return append(append([]byte(mechanism), 0, 0, 0, byte(size>>8), byte(size)), a.first...)
}

func (a attempt) final(challenge []byte) []byte {
	nonce, _, _ := strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
	return []byte(strings.ReplaceAll(a.last, "NONCE", nonce))
}

func (a attempt) atPostgreSQL(t *testing.T) said {
	t.Helper()
	s := connect(t, "scram", a.encrypted)
	sent := 0
	for {
		msg, err := s.Receive()
		if err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		switch msg := msg.(type) {
		case *pgproto3.AuthenticationSASL:
			s.send(t, a.initial())
		case *pgproto3.AuthenticationSASLContinue:
			if sent++; sent > 1 {
				t.Fatalf("%+v: PostgreSQL goes on", a)
			}
			s.send(t, a.final(msg.Data))
		case *pgproto3.ErrorResponse:
			return said{msg.Code, msg.Message, msg.Detail}
		default:
			t.Fatalf("%+v: PostgreSQL answers %T", a, msg)
		}
	}
}

func (a attempt) here(t *testing.T, secret config.Secret) said {
	t.Helper()
	var b Binding
	if a.encrypted {
		b = certificateBinding()
	}
	_, p := SCRAM(NewKeys(testRounds, true), "scram", secret, b)
	reply, proven, err := p.Next(t.Context(), a.initial())
	if err == nil {
		_, proven, err = p.Next(t.Context(), a.final(received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data))
	}
	var violated *ProtocolError
	switch {
	case errors.As(err, &violated):
		return said{violated.Code, violated.Message, violated.Detail}
	case errors.Is(err, ErrWrong):
		return said{"28P01", `password authentication failed for user "scram"`, ""}
	}
	t.Fatalf("%+v: proven %v, %v", a, proven, err)
	return said{}
}

var (
	wrongProof = ",p=" + base64Text(make([]byte, keySize))
	boundTo    = func(data string) string { return "c=" + base64Text([]byte("p=tls-server-end-point,,"+data)) }
	plusFirst  = "p=tls-server-end-point,,n=,r=abc"
)

var attempts = []attempt{
	{raw: true, first: ""},
	{raw: true, first: "SCRAM-SHA-256"},
	{raw: true, first: "SCRAM-SHA-256\x00"},
	{raw: true, first: "SCRAM-SHA-256\x00\x00\x00\x01"},
	{raw: true, first: "SCRAM-SHA-256\x00\x00\x00\x00\x02n"},
	{raw: true, first: "SCRAM-SHA-256\x00\x00\x00\x00\x02n,,"},
	{raw: true, first: "SCRAM-SHA-256\x00\xff\xff\xff\xffn,,n=,r=a"},
	{raw: true, first: "SCRAM-SHA-256\x00\xff\xff\xff\xfen,,n=,r=a"},
	{raw: true, first: "SCRAM-SHA-256\x00\x7f\xff\xff\xffn,,n=,r=a"},
	{raw: true, first: "SCRAM-SHA-256\x00\xff\xff\xff\xff", last: "n"},
	{mechanism: "SCRAM-SHA-1", first: "n,,n=,r=abc"},
	{mechanism: "scram-sha-256", first: "n,,n=,r=abc"},
	{mechanism: scramSHA256Plus, first: plusFirst},
	{first: ""},
	{first: "n"},
	{first: "y"},
	{first: "x,,n=,r=abc"},
	{first: "\x80,,n=,r=abc"},
	{first: "n;,n=,r=abc"},
	{first: plusFirst},
	{first: plusFirst, encrypted: true},
	{first: "y,,n=,r=abc", encrypted: true},
	{first: "n,,n=,r=abc", encrypted: true, mechanism: scramSHA256Plus},
	{first: "y,,n=,r=abc", encrypted: true, mechanism: scramSHA256Plus},
	{first: "p,,n=,r=abc", encrypted: true, mechanism: scramSHA256Plus},
	{first: "p", encrypted: true, mechanism: scramSHA256Plus},
	{first: "p=tls-unique,,n=,r=abc", encrypted: true, mechanism: scramSHA256Plus},
	{first: "p=tls unique with a name that is far too long,,n=,r=abc", encrypted: true, mechanism: scramSHA256Plus},
	{first: "p=tls-server-end-point", encrypted: true, mechanism: scramSHA256Plus},
	{first: "n,a=ann,n=,r=abc"},
	{first: "n,x,n=,r=abc"},
	{first: "n,"},
	{first: "n,,"},
	{first: "n,,m=x,n=,r=abc"},
	{first: "n,,x=,r=abc"},
	{first: "n,,n"},
	{first: "n,,n=,"},
	{first: "n,,n=,x=abc"},
	{first: "n,,n=,r"},
	{first: "n,,n=,r=a\x7f"},
	{first: "n,,n=,r=a b"},
	{first: "n,,n=,r=a\x00b"},
	{first: "n,,n=,r=abc,1=x"},
	{first: "n,,n=,r=abc,x"},
	{first: "n,,n=,r=abc", last: "c"},
	{first: "n,,n=,r=abc", last: "r=NONCE"},
	{first: "n,,n=,r=abc", last: "c=biws"},
	{first: "n,,n=,r=abc", last: "c=eSws,r=NONCE" + wrongProof},
	{first: "y,,n=,r=abc", last: "c=biws,r=NONCE" + wrongProof},
	{first: "n,,n=,r=abc", last: "c=,r=NONCE" + wrongProof},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE,"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE,1"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE,p"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE,p="},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE,p=!!!!"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE,p=abcd"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE" + wrongProof + ",x=y"},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE\x00" + wrongProof},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCEx" + wrongProof},
	{first: "n,,n=,r=abc", last: "c=biws,r=abc" + wrongProof},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE" + wrongProof},
	{first: "y,,n=,r=abc", last: "c=eSws,r=NONCE" + wrongProof},
	{first: "n,,n=,r=abc", last: "c=biws,r=NONCE" + wrongProof, encrypted: true},
	{first: "n,,n=ann,r=abc,x=y,z=", last: "c=biws,r=NONCE,x=y" + wrongProof},
	{first: "n,,n=,r=abc,", last: "c=biws,r=NONCE" + wrongProof + ","},
	{first: "n,,n=,r=", last: "c=biws,r=NONCE" + wrongProof},
	{first: plusFirst, last: "c=biws,r=NONCE" + wrongProof, encrypted: true, mechanism: scramSHA256Plus},
	{first: plusFirst, last: boundTo("") + ",r=NONCE" + wrongProof, encrypted: true, mechanism: scramSHA256Plus},
	{first: plusFirst, last: boundTo("other") + ",r=NONCE" + wrongProof, encrypted: true, mechanism: scramSHA256Plus},
	{first: plusFirst, last: boundTo(string(certificateBinding().EndPoint)) + ",r=NONCE" + wrongProof, encrypted: true, mechanism: scramSHA256Plus},
}

// Whatever a client sends, it is told what PostgreSQL would tell it, to the letter; and the same if the user is unknown.
func TestMalformedSCRAMIsRefusedInPostgreSQLsWords(t *testing.T) {
	secret := rolePassword(t, "scram")
	for _, a := range attempts {
		want := a.atPostgreSQL(t)
		if got := a.here(t, secret); got != want {
			t.Errorf("%+v\n got %s\nwant %s", a, got, want)
		}
		if got := a.here(t, config.Secret{}); got != want {
			t.Errorf("unknown user, %+v\n got %s\nwant %s", a, got, want)
		}
	}
}

func TestPostgreSQLOffersTheSameMechanisms(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		msg, err := connect(t, "scram", encrypted).Receive()
		if err != nil {
			t.Fatal(err)
		}
		var b Binding
		if encrypted {
			b = certificateBinding()
		}
		ask, _ := SCRAM(NewKeys(1, true), "scram", config.Secret{}, b)
		want := msg.(*pgproto3.AuthenticationSASL).AuthMechanisms
		if got := received(t, ask).(*pgproto3.AuthenticationSASL).AuthMechanisms; strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("TLS %v: %v, want %v", encrypted, got, want)
		}
	}
}
