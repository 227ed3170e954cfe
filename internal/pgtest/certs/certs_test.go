package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// shake is a handshake over a pipe; the errors are the server's and the client's.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	near, far := net.Pipe()
	answered := make(chan error)
	go func() {
		conn := tls.Server(far, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		_ = far.Close()
		answered <- err
	}()
	conn := tls.Client(near, client)
	_, clientErr = io.ReadAll(io.LimitReader(conn, 1))
	_ = near.Close()
	return <-answered, clientErr
}

func TestPeersVerifyEachOther(t *testing.T) {
	set := certs.New(t)
	tests := []struct {
		name   string
		server *certs.Pair
		works  bool
	}{
		{name: "ECDSA", server: set.Server(), works: true},
		{name: "RSA", server: set.ServerRSA(), works: true},
		{name: "next", server: set.NextServer(), works: true},
		{name: "expired", server: set.ExpiredServer()},
		{name: "untrusted", server: set.UntrustedServer()},
		{name: "elsewhere", server: set.WrongHost()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := set.ServerConfig()
			config.Certificates = []tls.Certificate{tt.server.TLS}
			_, err := shake(t, config, set.ClientConfig(nil))
			var bad *tls.CertificateVerificationError
			if tt.works && err != nil || !tt.works && !errors.As(err, &bad) {
				t.Errorf("works %v, got %v", tt.works, err)
			}
		})
	}
}

func TestClientsAreVerified(t *testing.T) {
	set := certs.New(t)
	config := set.ServerConfig()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	tests := []struct {
		name   string
		client *certs.Pair
		works  bool
	}{
		{name: "good", client: set.Client("ann"), works: true},
		{name: "expired", client: set.ExpiredClient("ann")},
		{name: "untrusted", client: set.UntrustedClient("ann")},
		{name: "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err, _ := shake(t, config, set.ClientConfig(tt.client)); (err == nil) != tt.works {
				t.Errorf("works %v, got %v", tt.works, err)
			}
		})
	}
}

func TestEachPairIsMadeOnceAndItsKeyIsPrivate(t *testing.T) {
	set := certs.New(t)
	pair := set.Client("ann")
	if set.Client("ann") != pair || set.Client("bob") == pair {
		t.Error("want the same pair for the same name only")
	}
	info, err := os.Stat(pair.KeyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", info.Mode(), err)
	}
	if _, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile); err != nil {
		t.Error(err)
	}
}

func TestSignatureAlgorithmsOfChannelBinding(t *testing.T) {
	set := certs.New(t)
	pair, err := set.CA.Issue(certs.Spec{Hosts: []string{"localhost"}, Signature: x509.ECDSAWithSHA384})
	if err != nil || pair.TLS.Leaf.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		t.Errorf("got %v, %v; want a certificate signed with SHA-384", pair.TLS.Leaf.SignatureAlgorithm, err)
	}
}

func TestPostgresShowsTheServersCertificate(t *testing.T) {
	set := certs.New(t)
	server := pgtest.Start(t, set.Postgres(pgtest.Options{}, set.Server()))
	rows, err := server.Exec(t.Context(), "postgres", "SHOW ssl")
	if err != nil || rows[0][0] != "on" {
		t.Errorf("SHOW ssl says %v, %v; want on", rows, err)
	}
}
