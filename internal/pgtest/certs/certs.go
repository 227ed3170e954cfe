// Package certs makes certificates for tests: a CA and what it signs, one that nobody trusts, and
// certificates that are good for nothing because they have expired or are somebody else's. They are
// valid from an hour ago to a day ahead.
package certs

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"pooler/internal/pgtest"
)

// Host is the name, besides localhost, 127.0.0.1 and ::1, that no server's certificate of a Set is
// for, save the one that WrongHost returns.
const Host = "elsewhere.example"

// TB is the part of testing.TB that this package uses.
type TB interface {
	Helper()
	TempDir() string
	Fatalf(format string, args ...any)
}

// Set is a CA that the test's peers are to trust, another that they are not to, and what the two
// have signed. Its methods may be called from any goroutine; each makes its pair when it is first
// asked for, and returns the same one from then on.
type Set struct {
	CA    *Authority // to be trusted
	Other *Authority // trusted by nobody, with the same subject as CA

	t     TB
	mu    sync.Mutex
	pairs map[string]*Pair
}

// New makes the two authorities, with files in a temporary directory of t.
func New(t TB) *Set {
	t.Helper()
	s, err := Make(t.TempDir())
	if err != nil {
		t.Fatalf("certs: %v", err)
	}
	s.t = t
	return s
}

// Make is New for a program that runs no test: the files are in dir, and what cannot be made is a
// panic.
func Make(dir string) (*Set, error) {
	s := &Set{pairs: map[string]*Pair{}}
	var err error
	for name, to := range map[string]**Authority{"ca": &s.CA, "other-ca": &s.Other} {
		sub := filepath.Join(dir, name)
		if err := os.Mkdir(sub, 0o755); err != nil {
			return nil, err
		}
		if *to, err = NewAuthority(sub, pkix.Name{CommonName: "pooler test CA"}, ECDSA); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
	}
	return s, nil
}

// Server is a server's certificate (ECDSA, P-256) for localhost, 127.0.0.1 and ::1.
func (s *Set) Server() *Pair { return s.pair("server", s.CA, serverSpec(ECDSA)) }

// ServerRSA is like Server, with an RSA key of 2048 bits. It takes a tenth of a second or more.
func (s *Set) ServerRSA() *Pair { return s.pair("server-rsa", s.CA, serverSpec(RSA)) }

// NextServer is like Server, with another key: what a certificate is replaced by.
func (s *Set) NextServer() *Pair { return s.pair("server-next", s.CA, serverSpec(ECDSA)) }

// ExpiredServer is like Server, but has expired a minute ago.
func (s *Set) ExpiredServer() *Pair {
	spec := serverSpec(ECDSA)
	spec.Expired = true
	return s.pair("server-expired", s.CA, spec)
}

// UntrustedServer is like Server, but signed by Other.
func (s *Set) UntrustedServer() *Pair { return s.pair("server-untrusted", s.Other, serverSpec(ECDSA)) }

// WrongHost is a server's certificate that CA has signed, for Host.
func (s *Set) WrongHost() *Pair {
	return s.pair("server-elsewhere", s.CA, Spec{Subject: pkix.Name{CommonName: Host}, Hosts: []string{Host}})
}

// Client is the certificate of the client whose common name is cn.
func (s *Set) Client(cn string) *Pair { return s.pair("client-"+cn, s.CA, clientSpec(cn)) }

// ExpiredClient is like Client, but has expired a minute ago.
func (s *Set) ExpiredClient(cn string) *Pair {
	spec := clientSpec(cn)
	spec.Expired = true
	return s.pair("client-expired-"+cn, s.CA, spec)
}

// UntrustedClient is like Client, but signed by Other.
func (s *Set) UntrustedClient(cn string) *Pair {
	return s.pair("client-untrusted-"+cn, s.Other, clientSpec(cn))
}

// ClientConfig is what a Go client needs to verify Server on localhost (verify-full), and to show
// pair, unless that is nil.
func (s *Set) ClientConfig(pair *Pair) *tls.Config {
	config := &tls.Config{RootCAs: s.CA.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	if pair != nil {
		config.Certificates = []tls.Certificate{pair.TLS}
	}
	return config
}

// ServerConfig is what a Go server needs to show Server, and to verify clients that have a
// certificate; whether one is demanded is the caller's to say, with ClientAuth.
func (s *Set) ServerConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{s.Server().TLS},
		ClientCAs:    s.CA.Pool(),
		ClientAuth:   tls.VerifyClientCertIfGiven,
		MinVersion:   tls.VersionTLS12,
	}
}

// Postgres returns options with TLS switched on: server is shown, and clients' certificates are
// verified by CA. The files go into the data directory and belong to PostgreSQL's account.
func (s *Set) Postgres(options pgtest.Options, server *Pair) pgtest.Options {
	settings := map[string]string{
		"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "root.crt",
	}
	files := map[string][]byte{"server.crt": server.Cert, "server.key": server.Key, "root.crt": s.CA.Cert}
	maps.Copy(settings, options.Settings)
	maps.Copy(files, options.Files)
	options.Settings, options.Files = settings, files
	return options
}

func serverSpec(kind KeyKind) Spec {
	return Spec{Subject: pkix.Name{CommonName: "localhost"}, Hosts: []string{"localhost", "127.0.0.1", "::1"}, Key: kind}
}

func clientSpec(cn string) Spec {
	return Spec{Subject: pkix.Name{CommonName: cn}}
}

func (s *Set) pair(name string, by *Authority, spec Spec) *Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pairs[name]; p != nil {
		return p
	}
	p, err := by.Issue(spec)
	if err != nil {
		err = fmt.Errorf("certs: make %s: %w", name, err)
		if s.t == nil {
			panic(err)
		}
		s.t.Fatalf("%v", err)
	}
	s.pairs[name] = p
	return p
}
