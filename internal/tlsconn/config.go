package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Mode is an sslmode, in libpq's words.
type Mode string

// The modes under which there can be TLS.
const (
	Allow      Mode = "allow"
	Prefer     Mode = "prefer"
	Require    Mode = "require"
	VerifyCA   Mode = "verify-ca"
	VerifyFull Mode = "verify-full"
)

func (m Mode) verifies() bool { return m == VerifyCA || m == VerifyFull }

// ALPN is the name of PostgreSQL's protocol in handshakes, as PostgreSQL 17 has it.
const ALPN = "postgresql"

// Options are what the configuration says of one side, with PgBouncer's meaning. Empty is the default.
type Options struct {
	CertFile, KeyFile, CAFile  string // paths of files in PEM
	Protocols, Ciphers, Curves string // see ParseProtocols, ParseCiphers, ParseCurves
}

// ServerConfig is the role that clients connect to. With VerifyCA and VerifyFull a client must have a certificate of the
// CA's; else it may have one if there is a CA file, as with PostgreSQL, and one of somebody else's is refused. ALPN is
// optional: who must have it looks at the ConnectionState. warnings are what works and ought to be looked at.
func ServerConfig(o Options, mode Mode) (cfg *tls.Config, warnings []string, err error) {
	if cfg, err = o.base(); err != nil {
		return nil, nil, err
	}
	if o.CertFile == "" || o.KeyFile == "" {
		return nil, nil, errors.New("TLS to clients needs a certificate and its key: set client_tls_cert_file and client_tls_key_file")
	}
	cert, warnings, err := loadPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	cfg.Certificates = []tls.Certificate{*cert}
	switch {
	case o.CAFile != "":
		if cfg.ClientCAs, err = loadCAs(o.CAFile); err != nil {
			return nil, nil, err
		}
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
		if mode.verifies() {
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
	case mode.verifies():
		return nil, nil, fmt.Errorf("mode %q demands certificates of clients: set client_tls_ca_file to the CA that has signed them", mode)
	}
	return cfg, warnings, nil
}

// ClientConfig is the role that connects to the server named host, a name or an address, as it stands in the configuration.
// As with libpq, a server's certificate is verified by VerifyCA, VerifyFull, and whenever there is a CA file; its name only by
// VerifyFull, for which the system's CAs do if there is no file. Whether TLS is used at all is the caller's business.
func ClientConfig(o Options, mode Mode, host string) (cfg *tls.Config, warnings []string, err error) {
	if cfg, err = o.base(); err != nil {
		return nil, nil, err
	}
	var roots *x509.CertPool
	switch {
	case o.CAFile != "":
		if roots, err = loadCAs(o.CAFile); err != nil {
			return nil, nil, err
		}
	case mode == VerifyCA:
		return nil, nil, errors.New(`mode "verify-ca" needs a CA: set server_tls_ca_file (or "verify-full", for which the system's CAs do)`)
	}
	if o.CertFile != "" {
		var cert *tls.Certificate
		if cert, warnings, err = loadPair(o.CertFile, o.KeyFile); err != nil {
			return nil, nil, err
		}
		// Whatever CAs the server names: libpq does not ask either, and the server says what is wrong.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	cfg.ServerName = host
	cfg.InsecureSkipVerify = true // what crypto/tls would verify is not what libpq does; see verifier
	if roots != nil || mode.verifies() {
		cfg.VerifyConnection = verifier{roots: roots, host: host, name: mode == VerifyFull}.verify
	}
	return cfg, warnings, nil
}

// base is what both roles have in common.
func (o Options) base() (*tls.Config, error) {
	cfg := &tls.Config{NextProtos: []string{ALPN}, SessionTicketsDisabled: true}
	var errs [3]error
	cfg.MinVersion, cfg.MaxVersion, errs[0] = ParseProtocols(o.Protocols)
	cfg.CipherSuites, errs[1] = ParseCiphers(o.Ciphers)
	cfg.CurvePreferences, errs[2] = ParseCurves(o.Curves)
	return cfg, errors.Join(errs[:]...)
}
