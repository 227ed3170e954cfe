package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest/scripted"
)

// people are the users with passwords in PostgreSQL. That of hashed is kept as MD5.
var people = []string{"filed", "verified", "hashed", "asked", "sender", "ldapper", "searched", "oauther", "peered", "victim"}

// prepare makes the roles, and has PostgreSQL log each statement from then on.
func (k *teller) prepare() {
	k.t.Helper()
	k.secret["looker"] = k.vault.password("looker's password")
	sql := "CREATE ROLE looker SUPERUSER LOGIN PASSWORD '" + k.secret["looker"] + "'; CREATE ROLE certified LOGIN; CREATE ROLE trusty LOGIN PASSWORD 'x';"
	for _, name := range people {
		k.secret[name] = k.vault.password(name + "'s password")
		kind := "scram-sha-256"
		if name == "hashed" {
			kind = "md5"
		}
		sql += fmt.Sprintf("SET password_encryption = '%s'; CREATE ROLE %s LOGIN PASSWORD '%s';", kind, name, k.secret[name])
	}
	rows, err := k.pg.Exec(k.t.Context(), "postgres", sql+"ALTER ROLE ALL SET log_statement = 'all'; SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname NOT IN ('postgres', 'trusty')")
	if err != nil || len(rows) != len(people)+1 {
		k.t.Fatalf("%v, %v", rows, err)
	}
	for _, row := range rows {
		k.secret["stored "+row[0]] = row[1]
		if row[0] == "hashed" {
			sum, _ := hex.DecodeString(row[1][len("md5"):])
			k.vault.keep("MD5 of hashed", row[1])
			k.vault.keep("sum of hashed", string(sum))
		} else {
			k.vault.scram(k.t, row[0], k.secret[row[0]], row[1])
		}
	}
}

// configure writes the files. fake is a server whose cancel keys are known.
func (k *teller) configure(format string, fake *scripted.Server, issuer string, directory int, collector string) {
	k.t.Helper()
	for _, name := range []string{"admin", "spare", "reader"} {
		k.secret[name] = k.vault.password(name + "'s password")
	}
	server, client := k.papers.Server(), k.papers.Client("certified")
	k.vault.pem("the server's key", server)
	k.vault.pem("the client's key", client)
	k.vault.pem("the next key", k.papers.NextServer())
	httpPort := freePort(k.t)
	k.web = fmt.Sprintf("https://localhost:%d", httpPort)
	wrong := func(name string) string { return k.vault.password("wrong password of " + name) }
	k.files = map[string]string{
		"server.key": string(server.Key), "server.crt": string(server.Cert), "client.key": string(client.Key), "client.crt": string(client.Cert),
		"ident": "peer /^(.*)$ peered\n",
		"users": fmt.Sprintf("\"admin\" \"%s\"\n\"filed\" \"%s\"\n\"hashed\" \"%s\"\n\"verified\" \"%s\"\n",
			k.secret["admin"], k.secret["filed"], k.secret["stored hashed"], k.secret["stored verified"]),
		"hba": fmt.Sprintf(`local all peered peer map=peer
local all all reject
hostssl all certified all cert
host all trusty all trust
host all rejected all reject
host all hashed all md5
host all sender all password
host all ldapper all ldap ldapserver=127.0.0.1 ldapport=%[1]d ldapprefix="cn="
host all searched all ldap ldapserver=127.0.0.1 ldapport=%[1]d ldapbasedn="dc=x" ldapbinddn="cn=reader" ldapbindpasswd="%[2]s"
host all lost all ldap ldapserver=127.0.0.1 ldapport=1 ldapbasedn="dc=x" ldapbinddn="cn=reader" ldapbindpasswd="%[2]s"
host all baffled all ldap ldapserver=127.0.0.1 ldapport=%[1]d ldapbasedn="dc=x" ldapbinddn="cn=reader" ldapbindpasswd="%[3]s"
host all oauther all oauth issuer=%[4]s scope=db audience=postgres
host all all all scram-sha-256
`, directory, k.secret["reader"], wrong("reader"), issuer),
		"pooler.toml": fmt.Sprintf(`listen_port = %[1]d
unix_socket_dir = %[2]q
http_listen = "127.0.0.1:%[3]d"
http_tls = true
client_tls_sslmode = "allow"
client_tls_cert_file = "server.crt"
client_tls_key_file = "server.key"
client_tls_ca_file = %[4]q
server_tls_sslmode = "verify-full"
server_tls_ca_file = %[4]q
auth_type = "hba"
auth_ldap_options = 'ldapserver=127.0.0.1 ldapbasedn="dc=x" ldapbinddn="cn=reader" ldapbindpasswd="%[5]s"'
auth_hba_file = "hba"
auth_ident_file = "ident"
auth_file = "users"
auth_user = "looker"
auth_query_cache = 0
admin_users = ["admin"]
log_level = "debug"
log_format = %[6]q
history_file = "%[2]s/history"
trace_endpoint = %[7]q
trace_sample = 1
server_login_retry = "1ms"
stats_period = "1s"

[users.looker]
password = %[8]q

[users.oauther]
password = %[9]q

[users.peered]
password = %[10]q

[users.spare]
password = %[11]q

[users.trusty]
password = %[12]q

[users.stranger]
password = %[13]q

[users.certified]
server_tls_cert_file = "client.crt"
server_tls_key_file = "client.key"

[databases."*"]
host = %[14]q
port = %[15]d
auth_dbname = "postgres"

[databases.closed]
host = %[14]q
port = %[15]d
user = "filed"
password = %[16]q

[databases.blind]
host = %[14]q
port = %[15]d
auth_user = "stranger"

[databases.fake]
host = %[17]q
port = %[18]d
server_tls_sslmode = "disable"
user = "filed"
password = %[19]q
`, k.port, k.dir, httpPort, k.papers.CA.CertFile, k.secret["reader"], format, collector, k.secret["looker"], k.secret["oauther"], k.secret["peered"], k.secret["spare"],
			wrong("trusty"), wrong("stranger"), k.pg.Host, k.pg.Port, wrong("closed"), fake.Host, fake.Port, k.vault.password("fake's password")),
	}
	for name := range k.files {
		k.put(name, k.files[name])
	}
}

func (k *teller) put(name, text string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *teller) serve() {
	k.config, k.exited = filepath.Join(k.dir, "pooler.toml"), make(chan error, 1)
	k.cmd = exec.Command(k.bin, "serve", "--config", k.config)
	k.cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	k.cmd.Stdout, k.cmd.Stderr = &k.out, &k.out
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	go func() { k.exited <- k.cmd.Wait() }()
	k.t.Cleanup(func() {
		_ = k.cmd.Process.Kill()
		if said := k.out.String(); !strings.Contains(said, "serving") {
			k.t.Logf("the program said:\n%s", said)
		}
	})
	said := func(text string) bool { return strings.Contains(k.out.String(), text) }
	until(k.t, "it serves", func() bool { return said("msg=serving") || said(`"msg":"serving"`) })
}

// fakeServer asks for the password in the clear, and gives cancel keys that are known.
func (k *teller) fakeServer() *scripted.Server {
	const secret = "a cancel key that a server gave!"
	k.vault.keep("a server's cancel key", secret)
	return scripted.NewFunc(k.t, func(int) scripted.Script {
		return scripted.Script{
			scripted.ExpectStartup(), scripted.Send(&pgproto3.AuthenticationCleartextPassword{}), scripted.Expect(&pgproto3.PasswordMessage{}),
			scripted.Send(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "15.0"},
				&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"}, &pgproto3.ParameterStatus{Name: "server_encoding", Value: "UTF8"},
				&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"}, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte(secret)},
				&pgproto3.ReadyForQuery{TxStatus: 'I'}),
			scripted.Do("answer one statement", func(c *scripted.Conn) error {
				for {
					msg, err := c.Receive()
					if err != nil {
						return err
					}
					if err := c.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}); err != nil {
						return err
					}
					if q, ok := msg.(*pgproto3.Query); ok && strings.Contains(q.String, "'the one'") {
						return nil
					}
				}
			}),
			scripted.Close(),
		}
	})
}

// startDirectory is an LDAP server that knows people by "cn=USER", and "cn=reader", who searches.
func (k *teller) startDirectory() (port int) {
	k.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		k.t.Fatal(err)
	}
	var all sync.WaitGroup
	k.t.Cleanup(func() { _ = l.Close(); all.Wait() })
	passwords := map[string]string{}
	for _, name := range []string{"ldapper", "searched"} {
		passwords["cn="+name] = k.secret[name]
	}
	reader := func() string { return k.secret["reader"] } // which is known when somebody asks
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serveDirectory(conn, passwords, reader) })
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

func serveDirectory(conn net.Conn, passwords map[string]string, reader func() string) {
	defer func() { _ = conn.Close() }()
	answer := func(request *ber.Packet, op *ber.Packet) {
		envelope := ber.NewSequence("")
		envelope.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, request.Children[0].Value, ""))
		envelope.AppendChild(op)
		_, _ = conn.Write(envelope.Bytes())
	}
	text := func(s string) *ber.Packet {
		return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
	}
	result := func(tag ber.Tag, code int64) *ber.Packet {
		r := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
		r.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
		r.AppendChild(text(""))
		r.AppendChild(text(""))
		return r
	}
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 {
			return
		}
		switch op := request.Children[1]; op.Tag {
		case ldap.ApplicationBindRequest:
			name, password, code := op.Children[1].Data.String(), op.Children[2].Data.String(), int64(ldap.LDAPResultInvalidCredentials)
			if want, ok := passwords[name]; ok && want == password || name == "cn=reader" && password == reader() {
				code = ldap.LDAPResultSuccess
			}
			answer(request, result(ldap.ApplicationBindResponse, code))
		case ldap.ApplicationSearchRequest:
			entry := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
			entry.AppendChild(text("cn=searched"))
			entry.AppendChild(ber.NewSequence(""))
			answer(request, entry)
			answer(request, result(ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess))
		default:
			return
		}
	}
}

// startIssuer is an OpenID provider; token makes one for a subject.
func startIssuer(t *testing.T) (url string, token func(subject string, until time.Time) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
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
		claims, _ := json.Marshal(map[string]any{"sub": subject, "iss": server.URL, "aud": "postgres", "scope": "db", "exp": until.Unix()})
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
