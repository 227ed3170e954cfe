package config

import (
	"strings"
	"testing"
)

const certAndKey = "client_tls_cert_file = \"c\"\nclient_tls_key_file = \"k\"\n"

func TestTLSThatIsWhole(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"TLS to clients", "client_tls_sslmode = \"require\"\n" + certAndKey},
		{"certificates of clients", "client_tls_sslmode = \"verify-full\"\nclient_tls_ca_file = \"ca\"\n" + certAndKey},
		{"HTTPS without TLS for clients", "http_tls = true\n" + certAndKey},
		{"a certificate that is not used yet", `client_tls_cert_file = "c"`},
		{"versions of TLS", `client_tls_protocols = "tlsv1.2, TLSv1.3"`},
		{"verified servers", "server_tls_sslmode = \"verify-ca\"\nserver_tls_ca_file = \"ca\""},
		{"servers that the system's CAs vouch for", "server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = \"system\""},
		{"direct TLS", "server_tls_sslmode = \"require\"\nserver_tls_sslnegotiation = \"direct\""},
		{"direct TLS of one database, with the mode of all", "server_tls_sslmode = \"require\"\n[databases.a]\nserver_tls_sslnegotiation = \"direct\""},
		{"a database's mode, with the CA of all", "server_tls_ca_file = \"ca\"\n[databases.a]\nserver_tls_sslmode = \"verify-full\""},
	} {
		t.Run(tt.name, func(t *testing.T) { mustParse(t, tt.text+anyDatabase) })
	}
}

func TestTLSThatIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a mode that is not libpq's", `client_tls_sslmode = "on"`, `1: client_tls_sslmode: want disable, allow, prefer, require, verify-ca or verify-full, got "on"`},
		{"TLS without a certificate", "\nclient_tls_sslmode = \"allow\"", "2: client_tls_sslmode: allow needs client_tls_cert_file and client_tls_key_file"},
		{"TLS without a key", "client_tls_cert_file = \"c\"\nclient_tls_sslmode = \"require\"", "2: client_tls_sslmode: require needs client_tls_cert_file and client_tls_key_file"},
		{"HTTPS without a certificate", "http_tls = true", "1: http_tls: needs client_tls_cert_file and client_tls_key_file"},
		{"verified clients without a CA", certAndKey + `client_tls_sslmode = "verify-ca"`, "3: client_tls_sslmode: verify-ca needs client_tls_ca_file, whose CAs sign the clients' certificates"},
		{"a broken version of TLS", `client_tls_protocols = "tlsv1.1,tlsv1.2"`, `1: client_tls_protocols: "tlsv1.1" is broken and not supported; use tlsv1.2 or tlsv1.3`},
		{"an unknown version of TLS", `server_tls_protocols = "tlsv1.4"`, `1: server_tls_protocols: want "secure", or tlsv1.2 and tlsv1.3 separated by commas, got "tlsv1.4"`},
		{"verified servers without a CA", `server_tls_sslmode = "verify-full"`, `1: server_tls_sslmode: verify-full needs server_tls_ca_file: a file of CAs, or "system" for those that this machine trusts`},
		{"any certificate of the system's CAs", "server_tls_ca_file = \"system\"\nserver_tls_sslmode = \"verify-ca\"", `2: server_tls_sslmode: verify-ca proves nothing with server_tls_ca_file = "system", whose certificates anybody can have; use verify-full`},
		{"the system's CAs and no name", "server_tls_ca_file = \"system\"", `1: server_tls_sslmode: prefer proves nothing with server_tls_ca_file = "system", whose certificates anybody can have; use verify-full`},
		{"direct TLS that could fall back", `server_tls_sslnegotiation = "direct"`, "1: server_tls_sslnegotiation: direct needs server_tls_sslmode require, verify-ca or verify-full, since it cannot fall back; the mode is prefer"},
		{"an unknown negotiation", `server_tls_sslnegotiation = "fast"`, `1: server_tls_sslnegotiation: want postgres or direct, got "fast"`},
		{"a certificate without its key", `server_tls_cert_file = "c"`, "1: server_tls_cert_file: needs server_tls_key_file beside it"},
		{"a database's certificate without its key", "server_tls_key_file = \"k\"\n[databases.a]\nserver_tls_cert_file = \"c\"", "3: databases.a.server_tls_cert_file: needs server_tls_key_file beside it"},
		{"a user's certificate without its key", "[users.a]\nserver_tls_cert_file = \"c\"", "2: users.a.server_tls_cert_file: needs server_tls_key_file beside it"},
		{"a database's mode without a CA", "[databases.a]\nserver_tls_sslmode = \"verify-ca\"", `2: databases.a.server_tls_sslmode: verify-ca needs server_tls_ca_file: a file of CAs, or "system" for those that this machine trusts`},
		{"a database's unknown mode", "[databases.a]\nserver_tls_sslmode = \"yes\"", `2: databases.a.server_tls_sslmode: want disable, allow, prefer, require, verify-ca or verify-full, got "yes"`},
		{"libpq's name of a key", `sslrootcert = "ca"`, `1: sslrootcert: unknown key "sslrootcert"; did you mean "server_tls_ca_file"?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("p.toml", []byte(tt.text+anyDatabase))
			if err == nil || err.Error() != "p.toml:"+tt.want {
				t.Errorf("got  %v\nwant p.toml:%s", err, tt.want)
			}
		})
	}
}

func TestPrecedenceOfServerTLS(t *testing.T) {
	c := mustParse(t, `
server_tls_sslmode = "verify-full"
server_tls_ca_file = "/ca"
server_tls_cert_file = "/cert"
server_tls_key_file = "/key"
server_tls_ciphers = "ECDHE-RSA-AES256-GCM-SHA384"
[databases."*"]
[databases.own]
server_tls_sslmode = "require"
server_tls_sslnegotiation = "direct"
server_tls_ca_file = "/own-ca"
server_tls_cert_file = "/own-cert"
server_tls_key_file = "/own-key"
[databases.plain]
server_tls_sslmode = "disable"
user = "bob"
[users.bob]
server_tls_cert_file = "/bob-cert"
server_tls_key_file = "/bob-key"
`)
	wide := ServerTLS{TLSVerifyFull, "/ca", "/cert", "/key", "secure", "ECDHE-RSA-AES256-GCM-SHA384", NegotiatePostgres}
	own := wide
	own.Mode, own.CAFile, own.Negotiation, own.CertFile, own.KeyFile = TLSRequire, "/own-ca", NegotiateDirect, "/own-cert", "/own-key"
	bobs := own
	bobs.CertFile, bobs.KeyFile = "/bob-cert", "/bob-key"
	plain := wide
	plain.Mode, plain.CertFile, plain.KeyFile = TLSDisable, "/bob-cert", "/bob-key"
	for _, tt := range []struct {
		name, database, user string
		want                 ServerTLS
	}{
		{"the top level's", "any", "alice", wide},
		{"the database's", "own", "alice", own},
		{"the user's certificate wins", "own", "bob", bobs},
		{"the certificate is that of the server's user", "plain", "alice", plain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, ok := c.Pool(tt.database, tt.user); !ok || p.TLS != tt.want {
				t.Errorf("got  %+v\nwant %+v", p.TLS, tt.want)
			}
		})
	}
}

func TestTLSModesThatProtect(t *testing.T) {
	for mode, want := range map[TLSMode]string{
		TLSDisable: "", TLSAllow: "", TLSPrefer: "", TLSRequire: "required", TLSVerifyCA: "required verified", TLSVerifyFull: "required verified",
	} {
		var got []string
		if mode.Required() {
			got = append(got, "required")
		}
		if mode.Verifies() {
			got = append(got, "verified")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", mode, got, want)
		}
	}
}
