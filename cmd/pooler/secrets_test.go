package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
	"pooler/internal/pgtest/scripted"
)

// vault knows secrets, and finds them in what is told, whole, in part, or in another encoding.
type vault struct {
	forms map[[shortest]byte][]form // by how they begin
	names map[string]bool
}

type form struct{ text, name string }

const (
	shortest = 8  // bytes of a form: less may be there by chance
	part     = 12 // bytes of a beginning or an end that tell too much
)

func newVault() *vault { return &vault{map[[shortest]byte][]form{}, map[string]bool{}} }

// password makes a secret that is nowhere else.
func (v *vault) password(name string) string {
	p := strings.ToLower(rand.Text())
	v.keep(name, p)
	return p
}

// keep adds a secret, in each form in which it could be told.
func (v *vault) keep(name, secret string) {
	v.names[name] = true
	for _, piece := range []string{secret[:min(part, len(secret))], secret[max(0, len(secret)-part):]} {
		b := []byte(piece)
		numbers := fmt.Sprintf("%d", b)
		for _, text := range append(base64Forms(b), piece, fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), numbers[1:len(numbers)-1]) {
			if len(text) >= shortest {
				begin := [shortest]byte([]byte(text))
				v.forms[begin] = append(v.forms[begin], form{text, name})
			}
		}
	}
}

// base64Forms are those of b wherever it stands in what is encoded, without the letters that its neighbours have a share in.
func base64Forms(b []byte) (texts []string) {
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := e.EncodeToString(append(make([]byte, before), b...))
			texts = append(texts, text[(before*8+5)/6:(before+len(b))*8/6])
		}
	}
	return texts
}

// number keeps a cancel key of four bytes, which is too short to look for parts of it.
func (v *vault) number(name string, key []byte) {
	n := binary.BigEndian.Uint32(key)
	v.names[name] = true
	for _, text := range []string{fmt.Sprintf("%08x", n), fmt.Sprintf("%08X", n), fmt.Sprint(n), fmt.Sprint(int32(n))} {
		if len(text) >= shortest {
			begin := [shortest]byte([]byte(text))
			v.forms[begin] = append(v.forms[begin], form{text, name})
		}
	}
}

// find names the secrets in a text, each with what is around it.
func (v *vault) find(text string) map[string]string {
	found := map[string]string{}
	for i := 0; i+shortest <= len(text); i++ {
		for _, f := range v.forms[[shortest]byte([]byte(text[i:i+shortest]))] {
			if strings.HasPrefix(text[i:], f.text) && found[f.name] == "" {
				found[f.name] = text[max(0, i-150):min(len(text), i+len(f.text)+20)]
			}
		}
	}
	return found
}

// scram keeps all that comes of a password with PostgreSQL's SCRAM secret of it.
func (v *vault) scram(t *testing.T, name, password, secret string) {
	t.Helper()
	parsed, err := config.ParseSecret(secret)
	verifier, ok := parsed.Verifier()
	if err != nil || !ok {
		t.Fatalf("the secret of %s: %v", name, err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, verifier.Salt, verifier.Iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, salted)
	mac.Write([]byte("Client Key"))
	client := mac.Sum(nil)
	if sha256.Sum256(client) != [sha256.Size]byte(verifier.StoredKey) {
		t.Fatalf("the ClientKey of %s is not that", name)
	}
	for what, key := range map[string][]byte{"SaltedPassword": salted, "ClientKey": client, "StoredKey": verifier.StoredKey, "ServerKey": verifier.ServerKey} {
		v.keep(what+" of "+name, string(key))
	}
}

// pem keeps a private key: the lines of its file, and the number that it is.
func (v *vault) pem(name string, pair *certs.Pair) {
	for n, line := range strings.Split(string(pair.Key), "\n") {
		if !strings.HasPrefix(line, "-----") && len(line) >= 2*part {
			v.keep(fmt.Sprintf("line %d of %s", n, name), line[len(line)-2*part:])
		}
	}
	if key, ok := pair.TLS.PrivateKey.(*ecdsa.PrivateKey); ok {
		b, _ := key.Bytes() // of a curve that it was made for
		v.keep(name, string(b))
	}
}

// Whoever looks for secrets must find them, or it says nothing that none are found.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	for _, show := range []struct {
		how  string
		tell func(secret string) string
	}{
		{"as it is", func(s string) string { return s }},
		{"its beginning", func(s string) string { return s[:part] }},
		{"its end", func(s string) string { return s[len(s)-part:] }},
		{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
		{"HEX", func(s string) string { return fmt.Sprintf("%X", s) }},
		{"numbers", func(s string) string { return fmt.Sprint([]byte(s)) }},
		{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
		{"HTTP Basic", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("admin:" + s)) }},
		{"PLAIN", func(s string) string { return base64.URLEncoding.EncodeToString([]byte("\x00an\x00" + s + "\x01\x01")) }},
		{"JSON", func(s string) string { b, _ := json.Marshal(map[string]string{"password": s}); return string(b) }},
	} {
		v := newVault()
		secret := v.password("it")
		if found := v.find("password=" + show.tell(secret) + " or so"); len(found) != 1 {
			t.Errorf("%s: found %v", show.how, found)
		}
		if found := v.find("password=" + show.tell(newVault().password("another")) + " or so"); len(found) != 0 {
			t.Errorf("%s: another was found: %v", show.how, found)
		}
	}
}

// teller is a pooler with every kind of secret, and what it tells to whom.
type teller struct {
	*program
	t        *testing.T
	bin, dir string
	pg       *pgtest.Server
	papers   *certs.Set
	vault    *vault
	literals *vault            // of statements
	files    map[string]string // what is right, by the file's name
	tokens   func(subject string, until time.Time) string
	web      string
	collect  output // what the collector of traces has got

	told   map[string]*strings.Builder // by where
	secret map[string]string           // a user's password, or what was set in its place
}

func (k *teller) hear(where string, what ...any) {
	b := k.told[where]
	if b == nil {
		b = &strings.Builder{}
		k.told[where] = b
	}
	fmt.Fprintln(b, what...)
}

// people are the users with passwords in PostgreSQL. md5 is how two of them are kept there.
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
			k.vault.keep("MD5 of hashed", row[1])
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
history_file = "history"
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
	k.t.Cleanup(func() { _ = k.cmd.Process.Kill() })
	said := func(text string) bool { return strings.Contains(k.out.String(), text) }
	until(k.t, "it serves", func() bool { return said("msg=serving") || said(`"msg":"serving"`) })
}

type change func(*pgconn.Config)

func inClear(c *pgconn.Config) { c.TLSConfig = nil }

func showing(cfg *tls.Config) change { return func(c *pgconn.Config) { c.TLSConfig = cfg } }

func withToken(token string) change {
	return func(c *pgconn.Config) {
		c.OAuthTokenProvider = func(context.Context) (string, error) { return token, nil }
	}
}

func withProtocol(version string) change {
	return func(c *pgconn.Config) { c.MaxProtocolVersion = version }
}

// enter logs in, with TLS unless it is changed. What it is told is kept.
func (k *teller) enter(user, password string, more ...change) (*pgconn.PgConn, error) {
	k.t.Helper()
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable application_name=teller", k.port, user))
	if err != nil {
		k.t.Fatal(err)
	}
	cfg.Password, cfg.TLSConfig = password, k.papers.ClientConfig(nil)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { k.hear("notices", fmt.Sprintf("%+v", *n)) }
	for _, one := range more {
		one(cfg)
	}
	c, err := pgconn.ConnectConfig(k.t.Context(), cfg)
	k.hearError(err)
	if err == nil {
		k.t.Cleanup(func() { _ = c.Close(context.Background()) })
		secret := c.SecretKey()
		if len(secret) == 4 {
			k.vault.number("a short cancel key", secret)
		} else {
			k.vault.keep("a long cancel key", string(secret))
		}
	}
	return c, err
}

func (k *teller) hearError(err error) {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		k.hear("errors", fmt.Sprintf("%+v", *told))
	} else if err != nil {
		k.hear("errors", err)
	}
}

// ask runs statements. What comes back is kept.
func (k *teller) ask(c *pgconn.PgConn, where, sql string) error {
	results, err := c.Exec(k.t.Context(), sql).ReadAll()
	k.hearError(err)
	for _, r := range results {
		for _, row := range r.Rows {
			k.hear(where, string(bytes.Join(row, []byte("|"))))
		}
	}
	return err
}

// logins are by each method right and wrong.
func (k *teller) logins() {
	k.t.Helper()
	later := time.Now().Add(time.Hour)
	token := func(name, subject string, until time.Time) change {
		text := k.tokens(subject, until)
		parts := strings.Split(text, ".")
		k.vault.keep("claims of the token "+name, parts[1])
		k.vault.keep("signature of the token "+name, parts[2])
		return withToken(text)
	}
	mine := showing(k.papers.ClientConfig(k.papers.Client("certified")))
	socket := func(c *pgconn.Config) { c.Host, c.TLSConfig = k.dir, nil }
	for _, right := range []struct {
		user string
		how  change
	}{
		{"filed", nil},
		{"filed", inClear},
		{"verified", nil},
		{"hashed", nil},
		{"asked", withProtocol("3.2")},
		{"sender", nil},
		{"ldapper", nil},
		{"searched", nil},
		{"oauther", token("that is right", "oauther", later)},
		{"certified", mine},
		{"peered", socket},
	} {
		c, err := k.enter(right.user, k.secret[right.user], slices.DeleteFunc([]change{right.how}, func(c change) bool { return c == nil })...)
		if err == nil {
			err = k.ask(c, "rows", "SELECT 'in', current_user")
		}
		if err != nil {
			k.t.Errorf("%s does not get in: %v", right.user, err)
		}
	}
	for _, wrong := range []struct {
		user string
		how  []change
	}{
		{"filed", nil},
		{"filed", []change{inClear}},
		{"verified", []change{inClear}},
		{"verified", []change{withProtocol("3.2")}},
		{"hashed", nil},
		{"asked", nil},
		{"sender", nil},
		{"ldapper", nil},
		{"searched", nil},
		{"lost", nil},
		{"baffled", nil},
		{"nobody", nil},
		{"rejected", nil},
		{"certified", nil},
		{"certified", []change{showing(k.papers.ClientConfig(k.papers.Client("somebody")))}},
		{"certified", []change{showing(k.papers.ClientConfig(k.papers.UntrustedClient("certified")))}},
		{"filed", []change{socket}},
		{"oauther", []change{token("of another", "nobody", later)}},
		{"oauther", []change{token("that has expired", "oauther", later.Add(-2*time.Hour))}},
		{"oauther", []change{withToken("e30." + k.vault.password("a token that is none") + ".x")}},
		{"oauther", []change{withToken(k.vault.password("a token of nothing"))}},
		{"admin", []change{func(c *pgconn.Config) { c.Database = "pooler" }}},
		{"trusty", nil}, // whose password at the server is wrong
	} {
		c, err := k.enter(wrong.user, k.vault.password("wrong guess of "+wrong.user), wrong.how...)
		if err == nil {
			err = k.ask(c, "rows", "SELECT 'in'")
		}
		if err == nil {
			k.t.Errorf("%s gets in", wrong.user)
		}
	}
	for _, database := range []string{"closed", "blind"} {
		user := map[string]string{"closed": "filed", "blind": "asked"}[database]
		c, err := k.enter(user, k.secret[user], func(c *pgconn.Config) { c.Database = database })
		if err == nil {
			err = k.ask(c, "rows", "SELECT 'in'")
		}
		if err == nil {
			k.t.Errorf("database %s serves %s", database, user)
		}
	}
}

// handshakes that fail, and things that are no handshake.
func (k *teller) handshakes() {
	k.t.Helper()
	for _, cfg := range []*tls.Config{
		{ServerName: "localhost", MinVersion: tls.VersionTLS12},                                                   // trusts nobody
		{ServerName: "localhost", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, RootCAs: k.papers.CA.Pool()}, //nolint:gosec // to be refused
	} {
		if _, err := k.enter("filed", k.secret["filed"], showing(cfg)); err == nil {
			k.t.Errorf("gets in with %+v", cfg)
		}
	}
	for _, text := range []string{"\x16\x03\x01\x00\x05hello", "\x00\x00\x00\x08\x04\xd2\x16\x2f\x16\x03\x01\x00\x05hello", "\x00\x00\x00\x09\x00\x03\x00\x00x", "p\x00\x00\x00\x20" + k.secret["filed"]} {
		k.sends([]byte(text))
	}
}

// sends sends bytes on a connection of their own, and hears what comes back.
func (k *teller) sends(b []byte) {
	k.t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", k.port))
	if err != nil {
		k.t.Fatal(err)
	}
	defer nc.Close() //nolint:errcheck // it has been heard
	_, _ = nc.Write(b)
	_ = nc.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(nc) // ends with a reset, maybe
	k.hear("answers to nonsense", string(answer))
}

// statements have literals, which are shown to those who look only if show_literals says so.
func (k *teller) statements() {
	k.t.Helper()
	c, err := k.enter("filed", k.secret["filed"])
	if err != nil {
		k.t.Fatal(err)
	}
	lit := func(name string) string { return k.literals.password(name) }
	for _, sql := range []string{
		"SELECT length('" + lit("a string") + "')", "SELECT length($x$" + lit("a dollar-quoted string") + "$x$)",
		"ALTER ROLE victim PASSWORD '" + lit("a new password") + "'", "SELECT '" + lit("a string without end"),
		"SELECT 1/(length(E'" + lit("an escape string") + "')-26)", "DO $$ BEGIN PERFORM '" + lit("a string in code") + "'; END $$",
		"SET application_name = 'teller'; SET my.secret = '" + lit("a setting") + "'; SELECT 2", "RESET ALL",
	} {
		_ = k.ask(c, "rows", sql) // some fail
	}
	r := c.ExecParams(k.t.Context(), "SELECT length($1), 1/0", [][]byte{[]byte(lit("a parameter"))}, nil, nil, nil).Read()
	k.hearError(r.Err)
	if len(r.Rows) != 0 {
		k.t.Error("a statement that fails does not")
	}
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
			scripted.Serve(func(pgproto3.FrontendMessage) []pgproto3.BackendMessage {
				return []pgproto3.BackendMessage{&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}}
			}),
		}
	})
}

// running is a statement that runs until it is canceled, which ends it.
func (k *teller) running() (cancel func()) {
	k.t.Helper()
	c, err := k.enter("asked", k.secret["asked"], withProtocol("3.2"))
	if err != nil {
		k.t.Fatal(err)
	}
	done := make(chan error, 1)
	sql := "SELECT pg_sleep(600), '" + k.literals.password("a running string") + "'"
	go func() {
		_, err := c.Exec(context.Background(), sql).ReadAll()
		done <- err
	}()
	until(k.t, "it runs", func() bool {
		rows, err := k.pg.Exec(k.t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'asked' AND wait_event = 'PgSleep'")
		return err == nil && rows[0][0] == "1"
	})
	return func() {
		k.t.Helper()
		wrong := bytes.Clone(c.SecretKey())
		wrong[len(wrong)-1]++
		for _, key := range [][]byte{wrong, wrong[:4], c.SecretKey()} {
			b, err := (&pgproto3.CancelRequest{ProcessID: c.PID(), SecretKey: key}).Encode(nil)
			if err != nil {
				k.t.Fatal(err)
			}
			k.sends(b)
		}
		k.hearError(<-done)
	}
}

// fault is a change to a file with which nothing can be loaded, and which holds a secret.
type fileFault struct{ file, old, new string } // SECRET stands for the secret; old "": new is put behind all

var fileFaults = []fileFault{
	{"users", "", `"f" "SECRET`},
	{"users", "", `f SECRET`},
	{"users", "", `"f", "SECRET"`},
	{"users", "", `"" "SECRET"`},
	{"users", "", `"f" "SCRAM-SHA-256$4096:salt$SECRET"`},
	{"users", "", `"f" "SCRAM-SHA-256$4096:SECRET$x:y"`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd=a SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd=a,SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd = SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd:SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpassword=SECRET`},
	{"hba", "", `host all f all ldap ldapbasedn=x ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapprefix=x ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all scram-sha-256 ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldapbindpasswd=SECRET`},
	{"hba", "", `host all f ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldap ldapurl="ldap://u:SECRET@h/dc=x"`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapport=none ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbindpasswd="SECRET ldapbasedn=x`},
	{"server.key", "-----BEGIN", "SECRET"},
	{"client.key", "-----BEGIN", "SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = \"SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = \"SECRET\\q\""},
	{"pooler.toml", "", "[users.f]\npassword = \"a\" SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = [\"SECRET\"]"},
	{"pooler.toml", "", "[users.f]\npassword = \"SECRET\\u0000\""},
	{"pooler.toml", "", "[users.f]\npassword = \"a\"\npassword = \"SECRET\""},
	{"pooler.toml", "", "[users.f]\npassword = \"\"\"\nSECRET\\q\"\"\""},
	{"pooler.toml", "", "[users.f]\npasswort = \"SECRET\""},
	{"pooler.toml", "", "[users.f]\npasswd = SECRET"},
	{"pooler.toml", "", "[databases.f]\npassword = \"SECRET\""},
	{"pooler.toml", "", "[databases.f]\nhost = \"postgres://u:SECRET@h/d\""},
	{"pooler.toml", "", "[users]\nf = \"SECRET\""},
	{"pooler.toml", "", "[databases]\nf = \"host=h user=u password=SECRET\""},
	{"pooler.toml", "\"hba\"\nauth_ldap_options = '", "\"ldap\"\nauth_ldap_options = 'ldapbindpasswd=SECRET "},
	{"pooler.toml", "\"hba\"\nauth_ldap_options = '", "\"ldap\"\nauth_ldap_options = 'ldapbindpasswd=a SECRET "},
	{"pooler.toml", "trace_endpoint = \"http://", "trace_endpoint = \"tcp://u:SECRET@"},
}

// faults has each be met by a reload and by a check.
func (k *teller) faults(operator *pgconn.PgConn) {
	k.t.Helper()
	for n, f := range fileFaults {
		secret := k.vault.password(fmt.Sprintf("secret in %q, fault %d of %s", f.new, n, f.file))
		text := strings.Replace(k.files[f.file], f.old, strings.ReplaceAll(f.new, "SECRET", secret), 1)
		if f.old == "" {
			text = k.files[f.file] + strings.ReplaceAll(f.new, "SECRET", secret) + "\n"
		}
		k.put(f.file, text)
		k.meet(operator, f.new)
		k.put(f.file, k.files[f.file])
	}
	k.put("server.key", string(k.papers.NextServer().Key)) // which is not the certificate's
	k.meet(operator, "another's key")
	k.put("server.key", k.files["server.crt"])
	k.meet(operator, "a certificate for a key")
	k.put("server.key", k.files["server.key"])
	if err := k.ask(operator, "rows", "RELOAD"); err != nil {
		k.t.Errorf("RELOAD without a fault: %v", err)
	}
}

func (k *teller) meet(operator *pgconn.PgConn, what string) {
	k.t.Helper()
	if err := k.ask(operator, "rows", "RELOAD"); err == nil {
		k.t.Errorf("%q is loaded", what)
	}
	said, err := exec.Command(k.bin, "check", "--config", k.config).CombinedOutput()
	if err == nil {
		k.t.Errorf("%q is right, says check: %s", what, said)
	}
	k.hear("check", string(said))
}

// orders are commands with secrets in them.
func (k *teller) orders(operator *pgconn.PgConn) {
	k.t.Helper()
	for _, sql := range []string{
		"SET users.spare.password = 'SECRET'", "SET users.spare.pasword = 'SECRET'", "SET users.fresh.password = 'SECRET'", "SET databases.nowhere.password = 'SECRET'",
		"SET databases.closed.password = 'SECRET'", "SET databases.\"*\".password = 'SECRET'", "SET password = 'SECRET'", "SET users.spare.password 'SECRET'",
		"SET users.spare.password = 'SECRET", "SET auth_ldap_options = 'ldapserver=h ldapbasedn=x ldapbindpasswd=\"SECRET\"'", "SET auth_ldap_options = 'ldapbindpasswd=\"SECRET\"'",
		"ALTER POOL postgres SET password = 'SECRET'", "ALTER POOL postgres_filed SET password = 'SECRET' SAVE", "ALTER ROLE spare PASSWORD 'SECRET'",
		"SHOW CONFIG WHERE value = 'SECRET'", "SHOW CONFIG WHERE value ~~~ 'SECRET'", "SELECT 'SECRET' FROM nowhere",
	} {
		_ = k.ask(operator, "answers to orders", strings.ReplaceAll(sql, "SECRET", k.vault.password("secret in "+sql))) // some are refused
	}
	if err := k.ask(operator, "rows", "RELOAD"); err != nil { // what is not saved is gone
		k.t.Error(err)
	}
}

// browser asks over HTTPS.
func (k *teller) browser() *http.Client {
	jar, _ := cookiejar.New(nil) // cannot fail
	c := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: k.papers.ClientConfig(nil), DisableKeepAlives: true}, Timeout: time.Minute}
	k.t.Cleanup(c.CloseIdleConnections)
	return c
}

// request returns the status. The answer is kept, but for the cookie, which must be in it.
func (k *teller) request(c *http.Client, method, path, body string, more ...func(*http.Request)) int {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), method, k.web+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("X-Pooler", "1")
		r.Header.Set("Content-Type", "application/json")
	}
	for _, one := range more {
		one(r)
	}
	answer, err := c.Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, cookie := range answer.Cookies() {
		if cookie.Value != "" {
			k.vault.keep("a cookie", cookie.Value)
		}
	}
	answer.Header.Del("Set-Cookie")
	k.hear(method+" "+path, answer.Status, answer.Header, string(text))
	return answer.StatusCode
}

// dashboard logs in right and wrong, and looks at everything.
func (k *teller) dashboard(views []string) {
	k.t.Helper()
	c := k.browser()
	form := func(password string) string { return fmt.Sprintf(`{"user":"admin","password":"%s"}`, password) }
	guess := func() string { return k.vault.password("wrong guess at the dashboard") }
	basic := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("admin", password) }
	}
	expect := func(want, got int) {
		k.t.Helper()
		if got != want {
			k.t.Errorf("the dashboard answers %d, want %d", got, want)
		}
	}
	expect(401, k.request(c, "POST", "/api/login", form(guess())))
	expect(400, k.request(c, "POST", "/api/login", form(guess())[:40]))
	expect(400, k.request(c, "POST", "/api/login", `{"pass":"`+guess()+`"}`))
	expect(401, k.request(c, "GET", "/api/me", "", basic(guess())))
	expect(200, k.request(c, "GET", "/api/me", "", basic(k.secret["admin"])))
	expect(401, k.request(c, "GET", "/api/me", "", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "pooler", Value: guess()}) }))
	expect(200, k.request(c, "POST", "/api/login", form(k.secret["admin"])))
	for _, view := range views {
		expect(200, k.request(c, "GET", "/api/show/"+view, ""))
	}
	now := time.Now().Unix()
	for _, path := range []string{
		"/", "/metrics", "/healthz", "/readyz", "/api/me", "/api/now",
		fmt.Sprintf("/api/series?kind=sources&from=%d&step=1&format=json", now-60), fmt.Sprintf("/api/series?kind=pools&from=%d&step=1&format=csv", now-60),
	} {
		expect(200, k.request(c, "GET", path, ""))
	}
	k.request(c, "GET", fmt.Sprintf("/api/compare?from=%d&to=%d&from2=%d&to2=%d", now-60, now-30, now-30, now), "") // whatever it says of so little
	k.request(c, "GET", "/api/series?kind="+guess()[:4], "")
	expect(200, k.request(c, "POST", "/api/do", `{"command":"SET users.spare.password = '`+k.vault.password("secret of an order at the dashboard")+`'"}`))
	expect(400, k.request(c, "POST", "/api/do", `{"command":"SET users.spare.passwort = '`+k.vault.password("secret of a wrong order at the dashboard")+`'"}`))
	expect(200, k.request(c, "POST", "/api/logout", "{}"))
}

// look has the console show all it can, and returns the names of the views.
func (k *teller) look(operator *pgconn.PgConn) (views []string) {
	k.t.Helper()
	results, err := operator.Exec(k.t.Context(), "SHOW HELP").ReadAll()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, row := range results[0].Rows {
		if name, ok := strings.CutPrefix(string(row[0]), "SHOW "); ok {
			views = append(views, strings.ToLower(name))
		}
	}
	for _, view := range views {
		if err := k.ask(operator, "SHOW "+view, "SHOW "+view); err != nil {
			k.t.Errorf("SHOW %s: %v", view, err)
		}
	}
	return views
}

// nothingIn fails the test for each secret that was told.
func (k *teller) nothingIn(vaults ...*vault) {
	k.t.Helper()
	for _, where := range slices.Sorted(maps.Keys(k.told)) {
		for _, v := range vaults {
			found := v.find(k.told[where].String())
			for _, name := range slices.Sorted(maps.Keys(found)) {
				k.t.Errorf("LEAK: %s tells the %s: …%q…", where, name, found[name])
			}
		}
	}
}

// has fails the test unless a secret is found where it must be: the search is not blind, and what was provoked has happened.
func (k *teller) has(v *vault, where, text, name string) {
	k.t.Helper()
	if v.find(text)[name] == "" {
		k.t.Errorf("%s does not have the %s, or the search does not find it", where, name)
	}
}

// Of all secrets that a pooler knows, or is told, whatever goes wrong, none is in what it says to anybody. Point 6 of the
// issue about security.
func TestNothingSecretIsToldByTheProgram(t *testing.T) {
	bin, papers := buildProgram(t), certs.New(t)
	for format, end := range map[string]func(*teller, *pgconn.PgConn){"text": (*teller).shutDown, "json": (*teller).abort} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			k := &teller{
				program: &program{port: freePort(t)}, t: t, bin: bin, papers: papers, vault: newVault(), literals: newVault(),
				told: map[string]*strings.Builder{}, secret: map[string]string{},
			}
			k.dir = shortFolder(t)
			k.pg = pgtest.Start(t, papers.Postgres(pgtest.Options{
				Auth: "scram-sha-256", Settings: map[string]string{"log_connections": "on", "log_disconnections": "on"},
				HBA: []string{"hostssl all certified 127.0.0.1/32 cert", "host all hashed 127.0.0.1/32 md5", "host all sender,oauther 127.0.0.1/32 password"},
			}, papers.Server()))
			k.prepare()
			directory := k.startDirectory()
			var issuer string
			issuer, k.tokens = startIssuer(t)
			collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&k.collect, r.Body) }))
			t.Cleanup(collector.Close)
			endpoint := strings.Replace(collector.URL, "http://", "http://tracer:"+k.vault.password("password of the collector")+"@", 1)
			k.configure(format, k.fakeServer(), issuer, directory, endpoint)
			k.serve()
			k.scene(end)
		})
	}
}

// shortFolder is one whose path leaves room for the name of a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "secrets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (k *teller) scene(end func(*teller, *pgconn.PgConn)) {
	t := k.t
	console := func(c *pgconn.Config) { c.Database = "pooler" }
	operator, err := k.enter("admin", k.secret["admin"], console)
	if err != nil {
		t.Fatalf("%v\n%s", err, k.out.String())
	}
	before, err := os.Stat(k.pg.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	k.logins()
	k.handshakes()
	k.statements()
	fake, err := k.enter("filed", k.secret["filed"], func(c *pgconn.Config) { c.Database = "fake" })
	if err == nil {
		err = k.ask(fake, "rows", "SELECT 1")
	}
	if err != nil {
		t.Errorf("the server of which all is known: %v", err)
	}
	cancel := k.running()
	k.faults(operator)
	k.orders(operator)
	k.dashboard(k.look(operator))
	if err := k.ask(operator, "rows", "SET show_literals = true"); err != nil {
		t.Error(err)
	}
	results, err := operator.Exec(t.Context(), "SHOW CLIENTS").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	k.has(k.literals, "SHOW CLIENTS with show_literals", fmt.Sprintf("%s", results[0].Rows), "a running string")
	if err := k.ask(operator, "rows", "SET show_literals = false"); err != nil {
		t.Error(err)
	}
	cancel()
	end(k, operator)
	k.verdict(before.Size())
}

// shutDown ends the pooler on its console.
func (k *teller) shutDown(operator *pgconn.PgConn) {
	_ = k.ask(operator, "rows", "SHUTDOWN")
	if err := <-k.exited; err != nil {
		k.t.Errorf("it ends with %v", err)
	}
}

// abort has the pooler's runtime write all goroutines' stacks, as a panic that nobody recovers does.
func (k *teller) abort(*pgconn.PgConn) {
	_ = k.cmd.Process.Signal(syscall.SIGABRT)
	if err := <-k.exited; err == nil {
		k.t.Error("it ends as if nothing was")
	}
	if n := strings.Count(k.out.String(), "\ngoroutine "); n < 5 {
		k.t.Errorf("%d goroutines are in the dump", n)
	}
}

// verdict looks at all that was told. before is the size of PostgreSQL's log before the first client.
func (k *teller) verdict(before int64) {
	t := k.t
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	files := map[string]string{}
	for name := range k.files {
		files[name] = read(filepath.Join(k.dir, name))
	}
	k.has(k.vault, "auth_file", files["users"], "filed's password")
	k.has(k.vault, "auth_file", files["users"], "StoredKey of verified")
	k.has(k.vault, "auth_file", files["users"], "MD5 of hashed")
	k.has(k.vault, "the HBA file", files["hba"], "reader's password")
	k.has(k.vault, "the key file", files["server.key"], "line 1 of the server's key")
	k.has(k.vault, "pooler.toml", files["pooler.toml"], "looker's password")

	log, serverLog := k.out.String(), read(k.pg.LogFile())[before:]
	k.has(k.literals, "PostgreSQL's log", serverLog, "a string")
	k.has(k.literals, "PostgreSQL's log", serverLog, "a new password")
	for _, want := range []string{
		"client refused", "client logged in", "reload refused", "dashboard login refused", "console command", "password authentication failed", "LDAP", "OAuth",
		"certificate", "cancel",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q: what it is searched for was not provoked", want)
		}
	}
	history := read(filepath.Join(k.dir, "history"))
	k.hear("the log", log)
	k.hear("the history file", history)
	k.hear("the collector of traces", k.collect.String())
	k.nothingIn(k.vault, k.literals)
	clear(k.told)
	k.hear("PostgreSQL's log", serverLog)
	k.nothingIn(k.vault)
	if t.Failed() {
		t.Logf("%d secrets in %d bytes of log:\n%.3000s", len(k.vault.names), len(log), log)
	}
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
	defer conn.Close() //nolint:errcheck // the client has gone
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
