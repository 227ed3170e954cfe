package frontend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/hba"
	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// hbaLines are the rules of the comparison, each for a user of its own, whose name says what is special.
const hbaLines = `
host      all      rejected    all reject
hostssl   all      tls_only    all scram-sha-256
hostnossl all      clear_only  all scram-sha-256
hostssl   all      cert_cn     all cert
hostssl   all      cert_dn     all cert clientname=DN map=names
hostssl   all      scram_ca    all scram-sha-256 clientcert=verify-ca
hostssl   all      scram_full  all scram-sha-256 clientcert=verify-full
hostssl   all      trust_full  all trust clientcert=verify-full
host      all      by_password all password
host      all      by_md5      all md5
host      all      md5_of_md5  all md5
host      all      scram_of_md5 all scram-sha-256
host      all      no_secret   all scram-sha-256
host      all      expired     all password
host      all      no_login    all scram-sha-256
host      all      ghost_md5   all md5
host      all      ghost_trust all trust
host      all      trusted     all trust
host      all      +crowd_in   all password
host      crowd_db member_no   all trust
host      all      "Mixed ""case""" all password
host      all      by_address  127.0.0.0/8 password
host      all      by_name     localhost password
host      all      by_network  samenet trust
local     all      peer_yes    peer map=names
local     all      peer_no     peer
`

// identLines are its maps.
const identLines = `
names "/^(.*),O=Test \\, Inc$" cert_dn
names "CN=Ä \\+ b\\,c,O=Test \\, Inc" cert_dn
names OWNER peer_yes
`

const hbaRoles = `
CREATE ROLE rejected LOGIN PASSWORD 'right'; CREATE ROLE tls_only LOGIN PASSWORD 'right'; CREATE ROLE clear_only LOGIN PASSWORD 'right';
CREATE ROLE cert_cn LOGIN; CREATE ROLE cert_dn LOGIN; CREATE ROLE scram_ca LOGIN PASSWORD 'right'; CREATE ROLE scram_full LOGIN PASSWORD 'right';
CREATE ROLE trust_full LOGIN; CREATE ROLE by_password LOGIN PASSWORD 'right'; CREATE ROLE by_md5 LOGIN PASSWORD 'right';
SET password_encryption = 'md5'; CREATE ROLE md5_of_md5 LOGIN PASSWORD 'right'; CREATE ROLE scram_of_md5 LOGIN PASSWORD 'right'; RESET password_encryption;
CREATE ROLE no_secret LOGIN; CREATE ROLE expired LOGIN PASSWORD 'right' VALID UNTIL '2020-01-01'; CREATE ROLE no_login PASSWORD 'right';
CREATE ROLE trusted LOGIN; CREATE ROLE crowd_in; CREATE ROLE crowd_inner IN ROLE crowd_in;
CREATE ROLE member_yes LOGIN PASSWORD 'right' IN ROLE crowd_inner; CREATE ROLE member_no LOGIN PASSWORD 'right'; CREATE ROLE "Mixed ""case""" LOGIN PASSWORD 'right';
CREATE ROLE by_address LOGIN PASSWORD 'right';
CREATE ROLE by_name LOGIN PASSWORD 'right'; CREATE ROLE by_network LOGIN; CREATE ROLE peer_yes LOGIN; CREATE ROLE peer_no LOGIN; CREATE ROLE looker SUPERUSER LOGIN`

// hbaScene is PostgreSQL and the pooler before it, with the same rules, certificates and users.
type hbaScene struct {
	pg   *pgtest.Server
	p    *testPooler
	cas  *certs.Set
	unix string // the directory of the pooler's Unix socket
}

func newHBAScene(t *testing.T) *hbaScene {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &hbaScene{cas: certs.New(t)}
	ident := strings.ReplaceAll(identLines, "OWNER", me.Username)
	s.pg = pgtest.Start(t, s.cas.Postgres(pgtest.Options{
		HBA: append(strings.Split(strings.ReplaceAll(hbaLines, "by_name     localhost", "by_name     127.0.0.1/32"), "\n"), "local all all trust", "host all postgres all trust", "host all all all reject"),
		// The last line stands for none, which PostgreSQL's superuser could not log in with.
		Files: map[string][]byte{"pg_ident.conf": []byte(ident)},
	}, s.cas.Server()))
	if _, err := s.pg.Exec(t.Context(), "postgres", hbaRoles); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s.unix, err = os.MkdirTemp("", "hba") //nolint:usetesting // t.TempDir may be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.unix) })
	s.p = startPooler(t, fmt.Sprintf(`auth_type = "hba"
auth_hba_file = %q
auth_ident_file = %q
auth_file = ""
auth_user = "looker"
auth_query_cache = 0
unix_socket_dir = %q
client_tls_sslmode = "allow"
client_tls_cert_file = %q
client_tls_key_file = %q
client_tls_ca_file = %q
loops = 2
[databases."*"]
host = %q
port = %d
server_tls_sslmode = "disable"`,
		write("hba.conf", hbaLines+"host all all all reject\n"), write("ident.conf", ident), s.unix,
		s.cas.Server().CertFile, s.cas.Server().KeyFile, s.cas.CA.CertFile, s.pg.SocketDir, s.pg.Port))
	return s
}

// tryTLS logs in at an address and returns who PostgreSQL says it is.
func tryTLS(t *testing.T, addr, user, password string, secure *tls.Config) (string, error) {
	t.Helper()
	cfg, err := pgconn.ParseConfig("postgres://localhost/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(addr)
	if strings.HasPrefix(addr, "/") {
		host, port = filepath.Dir(addr), strings.TrimPrefix(filepath.Ext(addr), ".")
	}
	_, _ = fmt.Sscan(port, &cfg.Port)
	cfg.Host, cfg.User, cfg.Password, cfg.TLSConfig = host, user, password, secure
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	return rows(t.Context(), conn, "SELECT current_user")
}

// fate is what a client sees of a login.
func fate(who string, err error) string {
	var told *pgconn.PgError
	switch {
	case err == nil:
		return "in as " + who
	case errors.As(err, &told):
		return fmt.Sprintf("%s %s: %s %s", told.Severity, told.Code, told.Message, told.Detail)
	}
	return "another error: " + err.Error()
}

// Whatever line a client falls under, with whatever password, certificate or encryption: it is let in, or refused in the same
// words, as by PostgreSQL with the same lines.
func TestHBALikePostgreSQL(t *testing.T) {
	s := newHBAScene(t)
	t.Run("pgx", s.comparePGX)
	t.Run("psql", s.comparePSQL)
}

func (s *hbaScene) comparePGX(t *testing.T) {
	issue := func(subject pkix.Name) *certs.Pair {
		pair, err := s.cas.CA.Issue(certs.Spec{Subject: subject})
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	special := issue(pkix.Name{CommonName: "Ä + b,c", Organization: []string{"Test , Inc"}})
	ways := map[string]func(user string) *tls.Config{
		"clear": func(string) *tls.Config { return nil },
		"TLS":   func(string) *tls.Config { return s.cas.ClientConfig(nil) },
		"own certificate": func(user string) *tls.Config {
			if user == "cert_dn" {
				return s.cas.ClientConfig(special)
			}
			return s.cas.ClientConfig(s.cas.Client(user))
		},
		"another's certificate": func(string) *tls.Config { return s.cas.ClientConfig(s.cas.Client("somebody")) },
		"own name first":        func(user string) *tls.Config { return s.cas.ClientConfig(issue(twoNames(user, "somebody"))) },
		"own name last":         func(user string) *tls.Config { return s.cas.ClientConfig(issue(twoNames("somebody", user))) },
		"nameless certificate":  func(string) *tls.Config { return s.cas.ClientConfig(issue(pkix.Name{Organization: []string{"x"}})) },
	}
	direct := fmt.Sprintf("%s:%d", s.pg.Host, s.pg.Port)
	for _, user := range []string{
		"rejected", "tls_only", "clear_only", "cert_cn", "cert_dn", "scram_ca", "scram_full", "trust_full", "by_password", "by_md5",
		"md5_of_md5", "scram_of_md5", "no_secret", "no_login", "ghost_md5", "ghost_trust", "trusted", "member_yes",
		"member_no", `Mixed "case"`, "by_address", "by_name", "by_network", "peer_yes", "nobody",
	} {
		for way, secure := range ways {
			for _, password := range []string{"right", "wrong", ""} {
				if password != "right" && strings.Contains("rejected trusted by_network ghost_trust nobody peer_yes cert_cn cert_dn trust_full", user) {
					continue // nobody asks for it
				}
				if password == "" && way != "clear" {
					continue
				}
				if strings.HasPrefix(way, "own name") && user != "cert_cn" {
					continue
				}
				if strings.HasSuffix(way, "certificate") && !strings.Contains("cert_cn cert_dn scram_ca scram_full trust_full", user) {
					continue
				}
				want := fate(tryTLS(t, direct, user, password, secure(user)))
				got := fate(tryTLS(t, s.p.Addr, user, password, secure(user)))
				if user == "no_login" && password == "right" {
					// auth_query returns nothing for it, since the database's table may say user =, and then PostgreSQL would not be asked.
					want = fate("", &pgconn.PgError{Severity: "FATAL", Code: "28P01", Message: `password authentication failed for user "no_login"`})
				}
				if got != want {
					t.Errorf("%s, %s, %q:\n  PostgreSQL: %s\n  pooler:     %s", user, way, password, want, got)
				}
			}
		}
	}
	if st := s.p.Front.Stat(); st.Malformed > 0 {
		t.Errorf("%d logins count as malformed", st.Malformed)
	}
}

func twoNames(first, second string) (name pkix.Name) {
	for _, n := range []string{first, second} {
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 3}, Value: n})
	}
	return name
}

// comparePSQL does the same with libpq, which knows channel binding.
func (s *hbaScene) comparePSQL(t *testing.T) {
	psql := filepath.Join(s.pg.BinDir(), "psql")
	run := func(host string, port int, user, mode, binding string) string {
		cmd := exec.CommandContext(t.Context(), psql, "-XAtqw", "-c", "SELECT current_user", fmt.Sprintf(
			"host=%s port=%d user=%s dbname=postgres sslmode=%s sslrootcert=%s channel_binding=%s", host, port, user, mode, s.cas.CA.CertFile, binding))
		cmd.Env = append(os.Environ(), "PGPASSWORD=right", "LC_ALL=C", "PGSSLCERT=/nowhere")
		out, _ := cmd.CombinedOutput()
		return strings.NewReplacer("port "+fmt.Sprint(port), "port PORT", ".PGSQL."+fmt.Sprint(port), ".PGSQL.PORT").Replace(strings.TrimSpace(string(out)))
	}
	_, text, _ := net.SplitHostPort(s.p.Addr)
	port := 0
	_, _ = fmt.Sscan(text, &port)
	for _, user := range []string{"tls_only", "by_password", "by_md5", "md5_of_md5"} {
		for _, way := range [][2]string{{"disable", "prefer"}, {"prefer", "prefer"}, {"verify-full", "require"}} {
			want := run("localhost", s.pg.Port, user, way[0], way[1])
			if got := run("localhost", port, user, way[0], way[1]); got != want {
				t.Errorf("%s, %v:\n  PostgreSQL: %s\n  pooler:     %s", user, way, want, got)
			}
		}
	}
	by := s.p.Front.Stat().LoginsBy
	if n := by[LoginOutcome{"scram-sha-256-plus", "ok"}]; n == 0 {
		t.Errorf("no login was bound to its channel: %v", by)
	}
	unix := func(dir string, port int) []string {
		var all []string
		for _, user := range []string{"peer_yes", "peer_no", "trusted"} {
			all = append(all, strings.ReplaceAll(run(dir, port, user, "prefer", "prefer"), dir, "DIR"))
		}
		return all
	}
	if err := os.Symlink(filepath.Join(s.unix, ".s.PGSQL.0"), filepath.Join(s.unix, ".s.PGSQL.5432")); err != nil {
		t.Fatal(err)
	}
	want, got := unix(s.pg.SocketDir, s.pg.Port), unix(s.unix, 5432)
	for i := range 2 {
		if got[i] != want[i] {
			t.Errorf("over the Unix socket:\n  PostgreSQL: %s\n  pooler:     %s", want[i], got[i])
		}
	}
	if !strings.Contains(got[2], `no pg_hba.conf entry for host "[local]", user "trusted", database "postgres", no encryption`) {
		t.Errorf("without a line: %s", got[2])
	}
}

// staticNames is a name server.
type staticNames struct {
	names map[string][]string
	back  map[string]string
	ask   func()
}

func (s staticNames) LookupAddr(_ context.Context, addr string) ([]string, error) {
	if s.ask != nil {
		s.ask()
	}
	return s.names[addr], nil
}

func (s staticNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(s.back[host]); err == nil {
		return []netip.Addr{a}, nil
	}
	return nil, errors.New("no such host")
}

// hbaFile writes one.
func hbaFile(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hba.conf")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A name counts only if it leads back to the address. The loop waits for no name server: others log in meanwhile.
func TestHostNamesInHBA(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	names := staticNames{
		names: map[string][]string{"127.0.0.1": {"liar.example.", "app.example."}},
		back:  map[string]string{"liar.example.": "192.0.2.1", "app.example.": "127.0.0.1"},
		ask:   func() { asked <- struct{}{}; <-answer },
	}
	path := hbaFile(t, "host all trusted 127.0.0.1/32 trust\nhost all all liar.example reject\nhost all postgres .example trust\n")
	inPostgres(t, "CREATE ROLE trusted LOGIN")
	p := startPoolerWith(t, func(srv *Server) { srv.names = names }, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_file = ''", path))
	done := make(chan string)
	go func() { done <- fate(tryPGX(t, p.Addr, "postgres", "")) }()
	<-asked
	if who, err := tryPGX(t, p.Addr, "trusted", ""); who != "trusted" {
		t.Errorf("while a name server thinks: %q, %v", who, err)
	}
	close(answer)
	if got := <-done; got != "in as postgres" {
		t.Errorf("with a name that is right: %s", got)
	}
	_, err := tryPGX(t, p.Addr, "hashed", "")
	refusedWith(t, err, "28000", `no pg_hba.conf entry for host "127.0.0.1", user "hashed", database "postgres", no encryption`)
}

// A line that asks for members of a role needs somebody to ask.
func TestGroupsNeedAuthUser(t *testing.T) {
	path := hbaFile(t, "host all +dba all trust\n")
	cfg := testConfig(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_file = ''", path))
	p := startPooler(t)
	if err := p.Front.Configure(cfg); err == nil || !strings.Contains(err.Error(), "auth_user") {
		t.Errorf("got %v", err)
	}
	if who, err := tryPGX(t, p.Addr, "postgres", ""); who != "postgres" { // nothing has changed
		t.Errorf("is %q, %v", who, err)
	}
	for more, warned := range map[string]bool{"": false, "admin_users = ['x']": true, "stats_users = ['x']": true, "admin_users = ['x']\nauth_dbname = 'postgres'": false} {
		cfg := testConfig(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_file = ''\nauth_user = 'x'\n%s", path, more))
		if !strings.Contains(more, "auth_dbname") {
			cfg.AuthDBName = ""
		}
		cr, err := p.Front.loadCredentials(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(fmt.Sprint(cr.groupless(cfg)), "auth_dbname"); got != warned {
			t.Errorf("%q: the warnings are %q", more, cr.groupless(cfg))
		}
	}
}

// The first common name counts, as with PostgreSQL; crypto/x509's is the last.
func TestCommonName(t *testing.T) {
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	utf8 := func(s string) any { return s }
	bmp := func(s string) any { return asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte(s)} }
	for _, tc := range []struct {
		name  string
		parts []any // common names, nil for another attribute
		want  string
		bad   bool
	}{
		{"one", []any{utf8("anna")}, "anna", false},
		{"two", []any{utf8("anna"), utf8("postgres")}, "anna", false},
		{"two beside another", []any{nil, utf8("anna"), nil, utf8("postgres")}, "anna", false},
		{"an empty one first", []any{utf8(""), utf8("postgres")}, "", true},
		{"none", []any{nil}, "", true},
		{"with a zero byte", []any{utf8("post\x00gres")}, "", true},
		{"in UTF-16", []any{bmp("\x00a\x00b")}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var name pkix.RDNSequence
			for _, value := range tc.parts {
				part := pkix.AttributeTypeAndValue{Type: cn, Value: value}
				if value == nil {
					part = pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "o"}
				}
				name = append(name, pkix.RelativeDistinguishedNameSET{part})
			}
			der, err := asn1.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := certified(&hba.Rule{}, &x509.Certificate{RawSubject: der})
			if got != tc.want || (err != nil) != tc.bad {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// OpenSSL is the judge of how a name is written.
func TestDistinguishedName(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	cas := certs.New(t)
	for _, subject := range []pkix.Name{
		{CommonName: "plain"},
		{CommonName: "Müller", Organization: []string{"A, B + \"C\" \\ <D>; "}, Country: []string{"DE"}, Locality: []string{"#1", " x "}},
		{CommonName: "two", OrganizationalUnit: []string{"one", "two"}, Province: []string{"p=q"}, StreetAddress: []string{"s"}, PostalCode: []string{"1"}, SerialNumber: "7"},
		{CommonName: "extra", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: []int{0, 9, 2342, 19200300, 100, 1, 1}, Value: "uid"},
			{Type: []int{0, 9, 2342, 19200300, 100, 1, 25}, Value: "example"},
			{Type: []int{1, 2, 840, 113549, 1, 9, 1}, Value: "a@b.c"},
			{Type: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: "unknown"},
			{Type: []int{2, 5, 4, 12}, Value: "ctl\x01\x7f"},
		}},
	} {
		pair, err := cas.CA.Issue(certs.Spec{Subject: subject})
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), openssl, "x509", "-in", pair.CertFile, "-noout", "-subject", "-nameopt", "RFC2253").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := distinguishedName(pair.TLS.Leaf.RawSubject)
		if want := strings.TrimPrefix(strings.TrimSuffix(string(out), "\n"), "subject="); got != want || err != nil {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}

// FuzzDistinguishedName reads names that strangers have had signed.
func FuzzDistinguishedName(f *testing.F) {
	f.Add([]byte{0x30, 0x0c, 0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 'x'})
	f.Fuzz(func(t *testing.T, der []byte) {
		name, err := distinguishedName(der)
		for i := range len(name) {
			if c := name[i]; err == nil && (c < ' ' || c >= 0x7F) {
				t.Errorf("%q is not all text", name)
			}
		}
	})
}

// Failing a rule's own words are package hba's; what they are for a rule without words must not be empty.
func TestEveryMethodHasAName(t *testing.T) {
	for _, m := range []hba.Method{hba.Trust, hba.Reject, hba.Password, hba.MD5, hba.SCRAM, hba.Cert, hba.Peer, hba.LDAP, hba.OAuth} {
		if got := methodOf(m); got == methodNone || got.String() != string(m) {
			t.Errorf("%s is shown as %s", m, got)
		}
	}
}

// The console goes by the same rules, but for whoever owns the process.
func TestHBAOfTheConsole(t *testing.T) {
	inPostgres(t, "CREATE ROLE scram LOGIN")
	path := hbaFile(t, "host pooler scram all scram-sha-256\nhost pooler clear all reject\nhost all all all trust\n")
	p := startPoolerWith(t, func(srv *Server) { srv.SetConsole(newScriptedConsole()) }, fmt.Sprintf(
		"auth_type = \"hba\"\nauth_hba_file = %q\nauth_file = %q\nadmin_users = ['scram', 'clear', 'other']", path, authFile(t)))
	for _, tc := range []struct{ user, password, code string }{
		{"scram", rightPassword, ""}, {"scram", "wrong", "28P01"}, {"clear", rightPassword, "28000"}, {"other", "", ""}, {"nobody", "", "42501"},
	} {
		cfg, err := pgconn.ParseConfig("postgres://" + p.Addr + "/pooler?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		cfg.User, cfg.Password = tc.user, tc.password
		conn, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		var told *pgconn.PgError
		if errors.As(err, &told); tc.code == "" && err != nil || tc.code != "" && (told == nil || told.Code != tc.code) {
			t.Errorf("%s, %q: %v", tc.user, tc.password, err)
		}
	}
}
