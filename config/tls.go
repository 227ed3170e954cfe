package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// TLSMode says how far a connection must be protected; the names are libpq's.
type TLSMode string

// The values of client_tls_sslmode and server_tls_sslmode, from the weakest.
const (
	TLSDisable    TLSMode = "disable"
	TLSAllow      TLSMode = "allow" // to clients: as prefer
	TLSPrefer     TLSMode = "prefer"
	TLSRequire    TLSMode = "require"
	TLSVerifyCA   TLSMode = "verify-ca"   // the peer's certificate must be signed by the CA
	TLSVerifyFull TLSMode = "verify-full" // and be the one of the host; of clients, as verify-ca
)

// tries tells whether TLS is wanted at all.
func (m TLSMode) tries() bool { return m == TLSAllow || m == TLSPrefer || m.Required() }

// Required tells whether nothing may be sent in the clear.
func (m TLSMode) Required() bool { return m == TLSRequire || m.Verifies() }

// Verifies tells whether the peer's certificate is checked.
func (m TLSMode) Verifies() bool { return m == TLSVerifyCA || m == TLSVerifyFull }

// TLSNegotiation says how TLS begins on a server's port.
type TLSNegotiation string

// The values of server_tls_sslnegotiation.
const (
	NegotiatePostgres TLSNegotiation = "postgres" // an SSLRequest asks for it
	NegotiateDirect   TLSNegotiation = "direct"   // at once, with ALPN; PostgreSQL 17 and later
)

// SystemCA is the value of server_tls_ca_file that stands for the CAs that the system trusts, as in libpq.
const SystemCA = "system"

// ServerTLS is how connections to a pool's server are protected. Comparable, as Pool is.
type ServerTLS struct {
	Mode              TLSMode
	CAFile            string // "" = none; SystemCA
	CertFile, KeyFile string // "" = no client certificate
	Protocols         string
	Ciphers           string
	Negotiation       TLSNegotiation
}

// serverTLS settles the precedence. A certificate and its key come from the same table.
func (c *Config) serverTLS(db Database, u User) ServerTLS {
	t := ServerTLS{
		Mode:        orElse(db.ServerTLSMode, c.ServerTLSMode),
		CAFile:      orElse(db.ServerTLSCAFile, c.ServerTLSCAFile),
		Protocols:   c.ServerTLSProtocols,
		Ciphers:     c.ServerTLSCiphers,
		Negotiation: orElse(db.ServerTLSNegotiation, c.ServerTLSNegotiation),
	}
	switch {
	case u.ServerTLSCertFile != "":
		t.CertFile, t.KeyFile = u.ServerTLSCertFile, u.ServerTLSKeyFile
	case db.ServerTLSCertFile != "":
		t.CertFile, t.KeyFile = db.ServerTLSCertFile, db.ServerTLSKeyFile
	default:
		t.CertFile, t.KeyFile = c.ServerTLSCertFile, c.ServerTLSKeyFile
	}
	return t
}

func (c *Config) checkTLS(bad *faults) {
	tlsMode(bad, toml.Key{"client_tls_sslmode"}, c.ClientTLSMode)
	tlsMode(bad, toml.Key{"server_tls_sslmode"}, c.ServerTLSMode)
	tlsProtocols(bad, "client_tls_protocols", c.ClientTLSProtocols)
	tlsProtocols(bad, "server_tls_protocols", c.ServerTLSProtocols)
	among(bad, toml.Key{"server_tls_sslnegotiation"}, c.ServerTLSNegotiation, NegotiatePostgres, NegotiateDirect)

	switch {
	case c.ClientTLSCertFile != "" && c.ClientTLSKeyFile != "":
	case c.HTTPTLS:
		bad.add(toml.Key{"http_tls"}, "needs client_tls_cert_file and client_tls_key_file")
	case c.ClientTLSMode.tries():
		bad.add(toml.Key{"client_tls_sslmode"}, "%s needs client_tls_cert_file and client_tls_key_file", c.ClientTLSMode)
	}
	if c.ClientTLSMode.Verifies() && c.ClientTLSCAFile == "" {
		bad.add(toml.Key{"client_tls_sslmode"}, "%s needs client_tls_ca_file, whose CAs sign the clients' certificates", c.ClientTLSMode)
	}
	checkPair(bad, toml.Key{"server_tls_cert_file"}, c.ServerTLSCertFile, c.ServerTLSKeyFile)
	if key, reason := badServerTLS(c.serverTLS(Database{}, User{})); key != "" {
		bad.add(toml.Key{key}, "%s", reason)
	}
}

// checkDatabaseTLS leaves what the top level alone has wrong to checkTLS.
func (c *Config) checkDatabaseTLS(bad *faults, at func(string) toml.Key, db Database) {
	if db.ServerTLSMode != "" {
		tlsMode(bad, at("server_tls_sslmode"), db.ServerTLSMode)
	}
	if db.ServerTLSNegotiation != "" {
		among(bad, at("server_tls_sslnegotiation"), db.ServerTLSNegotiation, NegotiatePostgres, NegotiateDirect)
	}
	checkPair(bad, at("server_tls_cert_file"), db.ServerTLSCertFile, db.ServerTLSKeyFile)
	if db.ServerTLSMode == "" && db.ServerTLSNegotiation == "" && db.ServerTLSCAFile == "" {
		return
	}
	if key, reason := badServerTLS(c.serverTLS(db, User{})); key != "" {
		bad.add(at(key), "%s", reason)
	}
}

// badServerTLS names the key that does not go with the others, and says why; "" if all is well.
func badServerTLS(t ServerTLS) (key, reason string) {
	switch {
	case t.Mode.Verifies() && t.CAFile == "":
		return "server_tls_sslmode", string(t.Mode) + ` needs server_tls_ca_file: a file of CAs, or "system" for those that this machine trusts`
	case t.CAFile == SystemCA && t.Mode.tries() && t.Mode != TLSVerifyFull: // libpq refuses it too
		return "server_tls_sslmode", string(t.Mode) + ` proves nothing with server_tls_ca_file = "system", whose certificates anybody can have; use verify-full`
	case t.Negotiation == NegotiateDirect && !t.Mode.Required():
		return "server_tls_sslnegotiation", "direct needs server_tls_sslmode require, verify-ca or verify-full, since it cannot fall back; the mode is " + string(t.Mode)
	}
	return "", ""
}

func checkPair(bad *faults, key toml.Key, cert, private string) {
	if cert != "" && private == "" {
		bad.add(key, "needs server_tls_key_file beside it")
	}
}

func tlsMode(bad *faults, key toml.Key, got TLSMode) {
	among(bad, key, got, TLSDisable, TLSAllow, TLSPrefer, TLSRequire, TLSVerifyCA, TLSVerifyFull)
}

func tlsProtocols(bad *faults, key, list string) {
	for _, name := range strings.Split(list, ",") {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "secure", "all", "default", "tlsv1.2", "tlsv1.3":
		case "tlsv1.0", "tlsv1.1", "tlsv1", "legacy":
			bad.add(toml.Key{key}, "%q is broken and not supported; use tlsv1.2 or tlsv1.3", strings.TrimSpace(name))
		default:
			bad.add(toml.Key{key}, `want "secure", or tlsv1.2 and tlsv1.3 separated by commas, got %q`, list)
			return
		}
	}
}
