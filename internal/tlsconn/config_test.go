package tlsconn_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

// meet has a handshake between our two roles and returns the errors of both.
func meet(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	near, far := sockets(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		var c *tlsconn.Conn
		if c, state, serverErr = tlsconn.Server(far, server); serverErr == nil {
			_, serverErr = c.Write([]byte("x"))
		} else {
			_ = far.Close()
		}
	})
	var c *tlsconn.Conn
	if c, _, clientErr = tlsconn.Client(near, client); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1)) // in TLS 1.3 the server judges a client when that is done
	}
	_ = near.Close()
	wg.Wait()
	return state, serverErr, clientErr
}

// write makes a file of that content.
func write(t *testing.T, mode os.FileMode, content ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHowAServerIsVerified(t *testing.T) {
	set := certs.New(t)
	issue := func(spec certs.Spec) *certs.Pair {
		p, err := set.CA.Issue(spec)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	wild := issue(certs.Spec{Subject: pkix.Name{CommonName: "x"}, Hosts: []string{"*.example.com"}})
	ca, other := set.CA.CertFile, set.Other.CertFile
	for _, tc := range []struct {
		name string
		pair *certs.Pair
		mode tlsconn.Mode
		ca   string
		host string
		want string // in the client's error
	}{
		{"require believes everybody", set.UntrustedServer(), tlsconn.Require, "", "localhost", ""},
		{"prefer too", set.UntrustedServer(), tlsconn.Prefer, "", "localhost", ""},
		{"require with a CA does not", set.UntrustedServer(), tlsconn.Require, ca, "localhost", "not trusted"},
		{"require with a CA believes any name", set.WrongHost(), tlsconn.Require, ca, "localhost", ""},
		{"verify-ca", set.Server(), tlsconn.VerifyCA, ca, "localhost", ""},
		{"verify-ca, another CA", set.Server(), tlsconn.VerifyCA, other, "localhost", "not trusted"},
		{"verify-ca, any name", set.WrongHost(), tlsconn.VerifyCA, ca, "localhost", ""},
		{"verify-ca, expired", set.ExpiredServer(), tlsconn.VerifyCA, ca, "localhost", "expired"},
		{"verify-full", set.Server(), tlsconn.VerifyFull, ca, "localhost", ""},
		{"verify-full, an address", set.Server(), tlsconn.VerifyFull, ca, "127.0.0.1", ""},
		{"verify-full, an address of version 6", set.Server(), tlsconn.VerifyFull, ca, "::1", ""},
		{"verify-full, another address", set.Server(), tlsconn.VerifyFull, ca, "127.0.0.2", `not for "127.0.0.2"`},
		{"verify-full, another name", set.WrongHost(), tlsconn.VerifyFull, ca, "localhost", `not for "localhost", but for "elsewhere.example"`},
		{"verify-full, another CA", set.Server(), tlsconn.VerifyFull, other, "localhost", "not trusted"},
		{"verify-full, the system's CAs", set.Server(), tlsconn.VerifyFull, "", "localhost", "not trusted"},
		{"verify-full, a wildcard", wild, tlsconn.VerifyFull, ca, "db.example.com", ""},
		{"verify-full, a wildcard for two labels", wild, tlsconn.VerifyFull, ca, "a.b.example.com", "not for"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, _, err := tlsconn.ServerConfig(tlsconn.Options{CertFile: tc.pair.CertFile, KeyFile: tc.pair.KeyFile}, tlsconn.Require)
			if err != nil {
				t.Fatal(err)
			}
			client, warnings, err := tlsconn.ClientConfig(tlsconn.Options{CAFile: tc.ca}, tc.mode, tc.host)
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			_, _, err = meet(t, server, client)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("the client says %v", err)
			}
		})
	}
}

func TestHowAClientIsVerified(t *testing.T) {
	set := certs.New(t)
	stranger, err := set.Other.Issue(certs.Spec{Subject: pkix.Name{CommonName: "carol"}})
	if err != nil {
		t.Fatal(err)
	}
	carol := set.Client("carol")
	for _, tc := range []struct {
		name    string
		mode    tlsconn.Mode
		ca      string
		pair    *certs.Pair
		want    string // in the server's error
		subject string
	}{
		{"none is asked for", tlsconn.Require, "", carol, "", ""},
		{"none, where it may have one", tlsconn.Require, set.CA.CertFile, nil, "", ""},
		{"where it may have one", tlsconn.Allow, set.CA.CertFile, carol, "", "carol"},
		{"a stranger's, where it may have one", tlsconn.Require, set.CA.CertFile, stranger, "unknown authority", ""},
		{"none, where it must have one", tlsconn.VerifyCA, set.CA.CertFile, nil, "certificate", ""},
		{"where it must have one", tlsconn.VerifyFull, set.CA.CertFile, carol, "", "carol"},
		{"a stranger's, where it must have one", tlsconn.VerifyFull, set.CA.CertFile, stranger, "unknown authority", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, _, err := tlsconn.ServerConfig(tlsconn.Options{CertFile: set.Server().CertFile, KeyFile: set.Server().KeyFile, CAFile: tc.ca}, tc.mode)
			if err != nil {
				t.Fatal(err)
			}
			o := tlsconn.Options{}
			if tc.pair != nil {
				o.CertFile, o.KeyFile = tc.pair.CertFile, tc.pair.KeyFile
			}
			client, _, err := tlsconn.ClientConfig(o, tlsconn.Require, "localhost")
			if err != nil {
				t.Fatal(err)
			}
			state, err, clientErr := meet(t, server, client)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || clientErr == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("the server says %v", err)
			}
			got := ""
			if len(state.VerifiedChains) > 0 {
				got = state.PeerCertificates[0].Subject.CommonName
			}
			if got != tc.subject {
				t.Errorf("the server knows %q, want %q", got, tc.subject)
			}
		})
	}
}

func TestALPN(t *testing.T) {
	set := certs.New(t)
	o := tlsconn.Options{CertFile: set.Server().CertFile, KeyFile: set.Server().KeyFile}
	for _, tc := range []struct {
		offered []string
		want    string
		refused bool
	}{
		{nil, "", false},
		{[]string{"postgresql"}, "postgresql", false},
		{[]string{"h2", "postgresql"}, "postgresql", false},
		{[]string{"h2"}, "", true},
	} {
		server, _, err := tlsconn.ServerConfig(o, tlsconn.Require)
		if err != nil {
			t.Fatal(err)
		}
		client, _, err := tlsconn.ClientConfig(tlsconn.Options{}, tlsconn.Require, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		if len(client.NextProtos) != 1 || client.NextProtos[0] != "postgresql" {
			t.Errorf("to servers %q is offered", client.NextProtos)
		}
		client.NextProtos = tc.offered
		state, _, err := meet(t, server, client)
		if (err != nil) != tc.refused || state.NegotiatedProtocol != tc.want {
			t.Errorf("%q: protocol %q, error %v", tc.offered, state.NegotiatedProtocol, err)
		}
	}
}

func TestProtocolsCiphersAndCurves(t *testing.T) {
	set := certs.New(t)
	files := tlsconn.Options{CertFile: set.Server().CertFile, KeyFile: set.Server().KeyFile}
	for _, tc := range []struct {
		server, client tlsconn.Options
		want           string // version and suite; else a part of an error
	}{
		{tlsconn.Options{}, tlsconn.Options{}, "TLSv1.3/TLS_AES_128_GCM_SHA256"},
		{tlsconn.Options{Protocols: "secure", Ciphers: "default", Curves: "auto"}, tlsconn.Options{}, "TLSv1.3/TLS_AES_128_GCM_SHA256"},
		{tlsconn.Options{Protocols: "tlsv1.2"}, tlsconn.Options{}, "TLSv1.2/ECDHE-ECDSA-AES128-GCM-SHA256"},
		{tlsconn.Options{}, tlsconn.Options{Protocols: "tlsv1.2", Ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384"}, "TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384"},
		{tlsconn.Options{Protocols: "TLSv1.2", Ciphers: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:ecdhe-rsa-aes128-gcm-sha256"}, tlsconn.Options{}, "TLSv1.2/ECDHE-ECDSA-CHACHA20-POLY1305"},
		{tlsconn.Options{Protocols: "tlsv1.3"}, tlsconn.Options{Protocols: "tlsv1.2"}, "protocol version"},
		{tlsconn.Options{Protocols: "tlsv1.2,tlsv1.3", Curves: "secp384r1:P-521"}, tlsconn.Options{Curves: "prime256v1"}, "handshake failure"},
		{tlsconn.Options{Curves: "X25519"}, tlsconn.Options{Curves: "X25519MLKEM768,x25519"}, "TLSv1.3/TLS_AES_128_GCM_SHA256"},
	} {
		tc.server.CertFile, tc.server.KeyFile = files.CertFile, files.KeyFile
		server, _, err := tlsconn.ServerConfig(tc.server, tlsconn.Require)
		if err != nil {
			t.Fatal(err)
		}
		client, _, err := tlsconn.ClientConfig(tc.client, tlsconn.Require, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		near, far := sockets(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := tlsconn.Server(far, server); err != nil {
				_ = far.Close()
			}
		})
		var got string
		if c, _, err := tlsconn.Client(near, client); err != nil {
			got = err.Error()
		} else {
			got = c.Layer().String()
		}
		wg.Wait()
		if !strings.Contains(got, tc.want) {
			t.Errorf("%+v and %+v: %s, want %s", tc.server, tc.client, got, tc.want)
		}
	}
}

func TestWhatIsWrongWithAConfigurationIsSaid(t *testing.T) {
	set := certs.New(t)
	s, c := set.Server(), set.Client("carol")
	missing := filepath.Join(t.TempDir(), "missing.pem")
	empty := write(t, 0o600)
	text := write(t, 0o600, []byte("hello\n"))
	broken := write(t, 0o600, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")}))
	brokenKey := write(t, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no")}))
	locked := write(t, 0o600, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("no")}))
	oldLocked := write(t, 0o600, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("no")}))
	server := func(o tlsconn.Options, m tlsconn.Mode) error {
		_, _, err := tlsconn.ServerConfig(o, m)
		return err
	}
	client := func(o tlsconn.Options, m tlsconn.Mode) error {
		_, _, err := tlsconn.ClientConfig(o, m, "localhost")
		return err
	}
	for _, tc := range []struct {
		err  error
		want []string
	}{
		{server(tlsconn.Options{}, tlsconn.Require), []string{"client_tls_cert_file"}},
		{server(tlsconn.Options{CertFile: missing, KeyFile: s.KeyFile}, ""), []string{missing, "no such file"}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: missing}, ""), []string{"key", missing, "no such file"}},
		{server(tlsconn.Options{CertFile: empty, KeyFile: s.KeyFile}, ""), []string{empty, "is empty"}},
		{server(tlsconn.Options{CertFile: text, KeyFile: s.KeyFile}, ""), []string{text, "no certificate in it"}},
		{server(tlsconn.Options{CertFile: s.KeyFile, KeyFile: s.KeyFile}, ""), []string{s.KeyFile, "no certificate in it"}},
		{server(tlsconn.Options{CertFile: broken, KeyFile: s.KeyFile}, ""), []string{broken}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: s.CertFile}, ""), []string{s.CertFile, "no private key in it"}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: brokenKey}, ""), []string{s.CertFile, brokenKey}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: c.KeyFile}, ""), []string{c.KeyFile, "not the one of", s.CertFile}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: locked}, ""), []string{locked, "encrypted", "openssl pkey"}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: oldLocked}, ""), []string{oldLocked, "encrypted"}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: s.KeyFile, CAFile: missing}, ""), []string{"CA", missing}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: s.KeyFile, CAFile: text}, ""), []string{"CA", text, "no certificate in it"}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: s.KeyFile, CAFile: broken}, ""), []string{"CA", broken, "certificate 1"}},
		{server(tlsconn.Options{CertFile: s.CertFile, KeyFile: s.KeyFile}, tlsconn.VerifyFull), []string{"client_tls_ca_file"}},
		{client(tlsconn.Options{}, tlsconn.VerifyCA), []string{"server_tls_ca_file"}},
		{client(tlsconn.Options{CertFile: c.CertFile, KeyFile: s.KeyFile}, tlsconn.Require), []string{s.KeyFile, "not the one of"}},
		{client(tlsconn.Options{CertFile: c.CertFile}, tlsconn.Require), []string{c.CertFile, "no private key in it"}},
		{client(tlsconn.Options{Protocols: "tlsv1.1"}, ""), []string{"tlsv1.1", "RFC 8996"}},
		{client(tlsconn.Options{Protocols: "tls"}, ""), []string{`unknown protocol "tls"`}},
		{client(tlsconn.Options{Ciphers: "HIGH:!aNULL"}, ""), []string{`"HIGH"`, "ECDHE-RSA-AES128-GCM-SHA256"}},
		{client(tlsconn.Options{Ciphers: "TLS_AES_128_GCM_SHA256"}, ""), []string{"always on"}},
		{client(tlsconn.Options{Curves: "sect233k1"}, ""), []string{"sect233k1", "X25519"}},
		{client(tlsconn.Options{Protocols: "x", Ciphers: "y", Curves: "z"}, ""), []string{`"x"`, `"y"`, `"z"`}},
	} {
		if tc.err == nil {
			t.Errorf("no error, want %q", tc.want)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(tc.err.Error(), want) {
				t.Errorf("%q says nothing of %q", tc.err, want)
			}
		}
	}
}

func TestWhatWorksAndOughtToBeLookedAt(t *testing.T) {
	set := certs.New(t)
	good, old := set.Server(), set.ExpiredServer()
	for _, tc := range []struct {
		name string
		mode os.FileMode
		pair *certs.Pair
		want []string
	}{
		{"nothing", 0o600, good, nil},
		{"the group may read it", 0o640, good, nil},
		{"everybody may", 0o644, good, []string{"everybody (mode 0644)"}},
		{"expired", 0o600, old, []string{"has expired"}},
		{"both", 0o604, old, []string{"has expired", "everybody"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.mode, tc.pair.Cert, tc.pair.Key) // one file for both will do
			cfg, got, err := tlsconn.ServerConfig(tlsconn.Options{CertFile: path, KeyFile: path}, tlsconn.Require)
			if err != nil || len(cfg.Certificates) != 1 || len(got) != len(tc.want) {
				t.Fatal(err, got)
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i], want) || !strings.Contains(got[i], path) {
					t.Errorf("%q does not say %q of %s", got[i], want, path)
				}
			}
		})
	}
}

func TestServerEndPoint(t *testing.T) {
	sum256 := func(b []byte) string { s := sha256.Sum256(b); return string(s[:]) }
	sum384 := func(b []byte) string { s := sha512.Sum384(b); return string(s[:]) }
	sum512 := func(b []byte) string { s := sha512.Sum512(b); return string(s[:]) }
	for _, tc := range []struct {
		kind certs.KeyKind
		by   x509.SignatureAlgorithm
		want func([]byte) string
	}{
		{certs.ECDSA, x509.ECDSAWithSHA256, sum256},
		{certs.ECDSA, x509.ECDSAWithSHA384, sum384},
		{certs.ECDSA, x509.ECDSAWithSHA512, sum512},
		{certs.RSA, x509.SHA256WithRSA, sum256},
		{certs.RSA, x509.SHA384WithRSAPSS, sum384},
		{certs.Ed25519, 0, nil},
	} {
		a, err := certs.NewAuthority(t.TempDir(), pkix.Name{CommonName: "CA"}, tc.kind)
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Issue(certs.Spec{Subject: pkix.Name{CommonName: "x"}, Signature: tc.by})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tlsconn.ServerEndPoint(p.TLS.Leaf)
		if tc.want == nil {
			if err == nil || !strings.Contains(err.Error(), "Ed25519") {
				t.Errorf("Ed25519: %x, %v", got, err)
			}
			continue
		}
		if err != nil || string(got) != tc.want(p.TLS.Leaf.Raw) {
			t.Errorf("%s: %x, %v", tc.by, got, err)
		}
	}
	sha1 := &x509.Certificate{Raw: []byte("raw"), SignatureAlgorithm: x509.SHA1WithRSA}
	if got, err := tlsconn.ServerEndPoint(sha1); err != nil || string(got) != sum256(sha1.Raw) {
		t.Errorf("SHA-1: %x, %v", got, err)
	}
}

// A configuration from elsewhere cannot switch on what the Layer does not know.
func TestOnlyWhatTheLayerKnowsIsNegotiated(t *testing.T) {
	set := certs.New(t)
	server, client := configs(t, set, set.ServerRSA())
	server.MinVersion = tls.VersionTLS10
	client.MinVersion, client.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err, _ := meet(t, server, client); err == nil {
		t.Error("TLS 1.1 was negotiated")
	}
	server, client = configs(t, set, set.ServerRSA())
	server.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}
	client.MaxVersion = tls.VersionTLS12
	if _, err, _ := meet(t, server, client); err == nil {
		t.Error("CBC was negotiated")
	}
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c, _ := configs(t, set, set.ServerRSA())
		return c, nil
	}
	client.MaxVersion = 0
	var opErr *net.OpError
	if _, err, _ := meet(t, server, client); err == nil || errors.As(err, &opErr) {
		t.Errorf("keys that were not told: %v", err)
	}
}
