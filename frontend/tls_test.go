package frontend

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"

	"pooler/internal/loop"
	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// withTLS is the configuration of a pooler that shows pair, whose clients' CA is that of set unless mode is without.
func withTLS(set *certs.Set, pair *certs.Pair, mode string) string {
	lines := fmt.Sprintf("client_tls_sslmode = %q\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", mode, pair.CertFile, pair.KeyFile)
	if set != nil {
		lines += fmt.Sprintf("client_tls_ca_file = %q\n", set.CA.CertFile)
	}
	return lines
}

// secure begins TLS on a client's connection, after an SSLRequest unless it is direct.
func (c *rawClient) secure(cfg *tls.Config, direct bool) (*tls.Conn, error) {
	c.t.Helper()
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"postgresql"}
	if !direct {
		_, _ = c.nc.Write(packet(codeSSLRequest, ""))
		var yes [1]byte
		if _, err := io.ReadFull(c.nc, yes[:]); err != nil {
			return nil, err
		}
		if yes[0] != 'S' {
			return nil, fmt.Errorf("SSLRequest was answered %q", yes)
		}
	}
	secured := tls.Client(c.nc, cfg)
	if err := secured.Handshake(); err != nil {
		return nil, err
	}
	c.nc, c.in = secured, pgproto3.NewFrontend(secured, secured)
	return secured, nil
}

// newSecure is a client that has logged in with TLS.
func newSecure(t *testing.T, p *testPooler, cfg *tls.Config, db string) *rawClient {
	t.Helper()
	c := dialRaw(t, p.Addr)
	if _, err := c.secure(cfg, false); err != nil {
		t.Fatal(err)
	}
	c.send(startupMessage(db))
	if a := c.answer(); a.Status != 'I' {
		t.Fatalf("login: %+v", a)
	}
	return c
}

// results is how many logins came to each result.
func results(p *testPooler) map[string]uint64 {
	all := map[string]uint64{}
	for how, n := range p.Front.Stat().LoginsBy {
		if n > 0 {
			all[how.Result] += n
		}
	}
	return all
}

// Sessions run over TLS without knowing: both versions, asked for or begun with, on whichever loop; and so do the views of
// them, cancels and the console.
func TestTLSToClients(t *testing.T) {
	set := certs.New(t)
	p, _ := startConsole(t, "admin_users = [\"postgres\"]\nloops = 2\n"+withTLS(nil, set.Server(), "require"))
	db := postgres.Server(t).CreateDatabase(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, direct := range []bool{false, true} {
			for range 2 { // each on another loop
				t.Run(fmt.Sprintf("%s, direct: %t", tls.VersionName(version), direct), func(t *testing.T) {
					cfg := set.ClientConfig(nil)
					cfg.MinVersion, cfg.MaxVersion = version, version
					c := dialRaw(t, p.Addr)
					secured, err := c.secure(cfg, direct)
					if err != nil {
						t.Fatal(err)
					}
					c.send(startupMessage(db))
					if a := c.answer(); a.Status != 'I' {
						t.Fatalf("%+v", a)
					}
					for n := range 20 {
						size := 1 << n
						if a := c.query(fmt.Sprintf("SELECT repeat('x', %d)", size)); len(a.only()) != size {
							t.Fatalf("%d bytes: %+v", size, a)
						}
					}
					long := strings.Repeat("y", 100_000)
					if got := c.query("SELECT '" + long + "'").only(); got != long {
						t.Errorf("a statement of 100 KB: %.100s", got)
					}
					shown := strings.ReplaceAll(tls.VersionName(version), "TLS ", "TLSv")
					if all := p.Front.Clients(); len(all) != 1 || !strings.HasPrefix(all[0].TLS, shown+"/") {
						t.Errorf("%+v", all)
					}
					if secured.ConnectionState().NegotiatedProtocol != "postgresql" {
						t.Error("no ALPN")
					}
					c.send(&pgproto3.Terminate{})
					_ = c.nc.SetReadDeadline(time.Now().Add(patience))
					if _, err := c.nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Errorf("the end is no close_notify: %v", err)
					}
					eventually(t, patience, "it has left", func() bool { return p.Front.Stat().Clients == 0 })
				})
			}
		}
	}
	t.Run("console", func(t *testing.T) {
		c := newSecure(t, p, set.ClientConfig(nil), "pooler")
		if a := c.query("hello"); a.Status != 'I' || a.Errors != 0 {
			t.Errorf("%+v", a)
		}
		if all := p.Front.ConsoleClients(); len(all) != 1 || !strings.HasPrefix(all[0].TLS, "TLSv1.3/") {
			t.Errorf("%+v", all)
		}
	})
}

// corked is a connection that holds back what is written while it is closed.
type corked struct {
	net.Conn
	closed bool
	held   []byte
}

// Write implements net.Conn.
func (c *corked) Write(p []byte) (int, error) {
	if c.closed {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// What a client sends in one go with its end is not the last that is heard of it: the end is, on whichever loop its session
// lives by then.
func TestAllAtOnceWithTLS(t *testing.T) {
	set := certs.New(t)
	p := startPooler(t, "loops = 2\n"+withTLS(nil, set.Server(), "prefer"))
	for n := range 10 {
		c := dialRaw(t, p.Addr)
		cork := &corked{Conn: c.nc}
		c.nc = cork
		secured, err := c.secure(set.ClientConfig(nil), n%4 < 2)
		if err != nil {
			t.Fatal(err)
		}
		cork.closed = true
		c.send(startupMessage("postgres"), &pgproto3.Query{String: "SELECT 'all'"})
		_ = secured.CloseWrite()
		_ = cork.SetWriteDeadline(time.Time{}) // CloseWrite has set it
		if _, err := cork.Conn.Write(cork.held); err != nil {
			t.Fatal(err)
		}
		_ = cork.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, secured); err != nil {
			t.Errorf("round %d: its end was not heard: %v", n, err)
		}
	}
	eventually(t, patience, "all have left", func() bool { return p.Front.Stat().Clients == 0 })
}

// Cancel requests are carried out over TLS, and in the clear too, since libpq before 17 sends them so, whatever the mode.
func TestCancelWithTLS(t *testing.T) {
	set := certs.New(t)
	p := startPooler(t, withTLS(nil, set.Server(), "require"))
	db := postgres.Server(t).CreateDatabase(t)
	c := dialRaw(t, p.Addr)
	if _, err := c.secure(set.ClientConfig(nil), false); err != nil {
		t.Fatal(err)
	}
	_, _ = c.nc.Write(packet(3<<16|2, "user\x00"+pgtest.Superuser+"\x00database\x00"+db+"\x00\x00"))
	var key *pgproto3.BackendKeyData
	for done := false; !done; {
		switch m := c.receive().(type) {
		case *pgproto3.BackendKeyData:
			key = &pgproto3.BackendKeyData{ProcessID: m.ProcessID, SecretKey: bytes.Clone(m.SecretKey)}
		case *pgproto3.ReadyForQuery:
			done = true
		case nil:
			t.Fatal("no login")
		}
	}
	for _, veiled := range []bool{true, false} {
		c.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
		eventually(t, patience, "it runs", func() bool {
			r, err := postgres.Server(t).Exec(t.Context(), db, "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+db+"' AND wait_event = 'PgSleep'")
			return err == nil && r[0][0] == "1"
		})
		other := dialRaw(t, p.Addr)
		if veiled {
			if _, err := other.secure(set.ClientConfig(nil), true); err != nil {
				t.Fatal(err)
			}
		}
		other.send(&pgproto3.CancelRequest{ProcessID: key.ProcessID, SecretKey: key.SecretKey})
		if b, _ := io.ReadAll(other.nc); len(b) > 0 {
			t.Errorf("a cancel request was answered %q", b)
		}
		if a := c.answer(); a.Code != "57014" {
			t.Errorf("over TLS: %t: %+v", veiled, a)
		}
	}
	if st := p.Front.Stat(); st.CancelsUnknown != 0 {
		t.Errorf("%+v", st)
	}
}

// Each mode of the pooler against each of libpq and pgx: who gets in, and whether by TLS.
func TestTLSModes(t *testing.T) {
	set := certs.New(t)
	psql := filepath.Join(postgres.Server(t).BinDir(), "psql")
	if _, err := os.Stat(psql); err != nil {
		if psql, err = exec.LookPath("psql"); err != nil {
			t.Fatal("psql is missing")
		}
	}
	const inClear, veiled, refused = "clear", "TLS", "refused"
	client := set.Client(pgtest.Superuser)
	for _, tc := range []struct {
		pooler string
		ca     bool
		want   map[string]string // by the client's sslmode
		cert   string            // what a client with a certificate gets that verifies ours
	}{
		{"disable", false, map[string]string{"disable": inClear, "prefer": inClear, "require": refused, "verify-full": refused}, refused},
		{"allow", false, map[string]string{"disable": inClear, "prefer": veiled, "require": veiled, "verify-full": veiled}, veiled},
		{"prefer", true, map[string]string{"disable": inClear, "prefer": veiled, "require": veiled, "verify-full": veiled}, veiled},
		{"require", true, map[string]string{"disable": refused, "allow": veiled, "prefer": veiled, "require": veiled, "verify-full": veiled}, veiled},
		{"verify-ca", true, map[string]string{"disable": refused, "prefer": refused, "require": refused, "verify-full": refused}, veiled},
		{"verify-full", true, map[string]string{"disable": refused, "require": refused}, veiled},
	} {
		t.Run(tc.pooler, func(t *testing.T) {
			cas := set
			if !tc.ca {
				cas = nil
			}
			p := startPooler(t, withTLS(cas, set.Server(), tc.pooler))
			_, port, _ := net.SplitHostPort(p.Addr)
			dsn := func(mode, more string) string {
				return fmt.Sprintf("host=localhost port=%s dbname=postgres user=%s sslmode=%s sslrootcert=%s %s", port, pgtest.Superuser, mode, set.CA.CertFile, more)
			}
			check := func(who, mode, want string, err error, by string) {
				t.Helper()
				got := refused
				switch {
				case err == nil && strings.HasPrefix(by, "TLSv1.3/"):
					got = veiled
				case err == nil && by == "":
					got = inClear
				}
				if got != want {
					t.Errorf("%s with sslmode=%s: %s (%q, %v), want %s", who, mode, got, by, err, want)
				}
			}
			withPGX := func(mode, more string) (string, error) {
				conn, err := pgconn.Connect(t.Context(), dsn(mode, more))
				if err != nil {
					return "", err
				}
				defer func() { _ = conn.Close(t.Context()) }()
				return p.Front.Clients()[0].TLS, expect(t.Context(), conn, "SELECT 'in'", "in")
			}
			withPSQL := func(mode, more string) (string, error) {
				out, err := exec.CommandContext(t.Context(), psql, "-XAtqw", "-c", `\conninfo`, "-c", "SELECT 'in'", dsn(mode, more)).CombinedOutput()
				if err != nil {
					return "", fmt.Errorf("%w: %s", err, out)
				}
				if strings.Contains(string(out), "protocol: TLSv1.3") {
					return "TLSv1.3/", nil
				}
				return "", nil
			}
			none := "sslcert=/nonexistent sslkey=/nonexistent"
			for mode, want := range tc.want {
				by, err := withPGX(mode, "")
				check("pgx", mode, want, err, by)
				by, err = withPSQL(mode, none)
				check("psql", mode, want, err, by)
			}
			shown := fmt.Sprintf("sslcert=%s sslkey=%s", client.CertFile, client.KeyFile)
			by, err := withPGX("verify-full", shown)
			check("pgx, a certificate,", "verify-full", tc.cert, err, by)
			by, err = withPSQL("verify-full", shown)
			check("psql, a certificate,", "verify-full", tc.cert, err, by)
		})
	}
}

// PostgreSQL's CVE-2021-23214 and PgBouncer's CVE-2021-3935: what somebody in between has sent in the clear, behind the
// client's request for TLS, must not be taken for what the client says with TLS's protection.
func TestCVE2021_23214_CVE2021_3935_NothingInTheClearBehindSSLRequest(t *testing.T) {
	set := certs.New(t)
	for _, mode := range []string{"disable", "prefer", "require"} {
		p := startPooler(t, withTLS(nil, set.Server(), mode))
		for name, code := range map[string]uint32{"SSL": codeSSLRequest, "GSSAPI encryption": codeGSSENCRequest} {
			for _, injected := range [][]byte{packet(version30, someone), {0}, packet(codeSSLRequest, "")} {
				c := dialRaw(t, p.Addr)
				_, _ = c.nc.Write(append(packet(code, ""), injected...))
				a := c.answer()
				if a.Code != "08P01" || a.Message != "received unencrypted data after "+name+" request" {
					t.Errorf("%s, %q behind %s: %+v", mode, injected, name, a)
				}
			}
		}
		if mode == "disable" {
			continue
		}
		// Sent after the answer, it is taken for the handshake, which fails.
		c := dialRaw(t, p.Addr)
		_, _ = c.nc.Write(packet(codeSSLRequest, ""))
		var yes [1]byte
		if _, err := io.ReadFull(c.nc, yes[:]); err != nil || yes[0] != 'S' {
			t.Fatalf("%q, %v", yes, err)
		}
		_, _ = c.nc.Write(packet(version30, someone))
		if b, _ := io.ReadAll(c.nc); bytes.Contains(b, []byte("SFATAL")) || len(b) > 0 && b[0] != 0x15 {
			t.Errorf("%s: a start-up packet in place of the handshake was answered %q", mode, b)
		}
		eventually(t, patience, "it is counted", func() bool { return results(p)["tls_failed"] == 1 })
	}
}

// Within TLS there is nothing more to ask for, as with PostgreSQL.
func TestRequestsWithinTLS(t *testing.T) {
	set := certs.New(t)
	p := startPooler(t, withTLS(nil, set.Server(), "prefer"))
	for _, tc := range []struct {
		name   string
		direct bool
		send   uint32
		want   string
	}{
		{"SSLRequest after SSLRequest", false, codeSSLRequest, "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2"},
		{"GSSENCRequest after SSLRequest", false, codeGSSENCRequest, "unsupported frontend protocol 1234.5680: server supports 3.0 to 3.2"},
		{"SSLRequest after direct TLS", true, codeSSLRequest, "N"},
		{"GSSENCRequest after direct TLS", true, codeGSSENCRequest, "N"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, p.Addr)
			if _, err := c.secure(set.ClientConfig(nil), tc.direct); err != nil {
				t.Fatal(err)
			}
			_, _ = c.nc.Write(packet(tc.send, ""))
			if tc.want == "N" {
				var no [1]byte
				if _, err := io.ReadFull(c.nc, no[:]); err != nil || no[0] != 'N' {
					t.Fatalf("%q, %v", no, err)
				}
				c.send(startupMessage("postgres"))
				if a := c.answer(); a.Status != 'I' {
					t.Errorf("%+v", a)
				}
				return
			}
			if a := c.answer(); a.Code != "0A000" || a.Message != tc.want {
				t.Errorf("%+v", a)
			}
		})
	}
}

// What is wrong with a handshake is counted, logged in words that say whose fault it is, and told by TLS's own means.
func TestTLSHandshakesThatFail(t *testing.T) {
	set := certs.New(t)
	p := startPooler(t, withTLS(set, set.Server(), "verify-full")+"log_level = \"info\"\nclient_login_timeout = \"1s\"\nclient_tls_protocols = \"tlsv1.3\"\n")
	other := set.ClientConfig(set.Client("anybody"))
	strange := other.Clone()
	strange.RootCAs = set.Other.Pool()
	old := other.Clone()
	old.MaxVersion = tls.VersionTLS12
	handshake := func(cfg *tls.Config) func(*rawClient) {
		return func(c *rawClient) {
			if secured, err := c.secure(cfg, false); err == nil {
				_, _ = secured.Read(make([]byte, 1)) // with TLS 1.3 the refusal comes behind the client's last word
			}
		}
	}
	var failed uint64
	for _, tc := range []struct {
		name, logged string
		do           func(*rawClient)
	}{
		{"no common version", "no common version", handshake(old)},
		{"no certificate", "client didn't provide a certificate", handshake(set.ClientConfig(nil))},
		{"an expired certificate", "the client's certificate is not accepted: ", handshake(set.ClientConfig(set.ExpiredClient("anybody")))},
		{"somebody else's certificate", "the client's certificate is not accepted: ", handshake(set.ClientConfig(set.UntrustedClient("anybody")))},
		{"the client does not trust us", "the client has refused: ", handshake(strange)},
		{"rubbish", "TLS: ", func(c *rawClient) {
			_, _ = c.nc.Write([]byte("\x16\x03\x01\x00\x05hello"))
			_, _ = io.ReadAll(c.nc)
		}},
		{"a record of 64 KB", "TLS: ", func(c *rawClient) {
			_, _ = c.nc.Write(append([]byte("\x16\x03\x01\xff\xff"), make([]byte, 65535)...))
			_, _ = io.ReadAll(c.nc)
		}},
		{"half a record, and gone", "the client has hung up", func(c *rawClient) {
			_, _ = c.nc.Write([]byte("\x16\x03\x01\x00\x50half"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			failed++
			c := dialFrom(t, p, fmt.Sprintf("127.0.0.%d", 10+failed)) // the log hears of each place once a second
			tc.do(c)
			_ = c.nc.Close()
			eventually(t, patience, "it is counted", func() bool { return results(p)["tls_failed"] == failed })
			if lines := strings.Split(strings.TrimSpace(p.Log.String()), "\n"); !strings.Contains(lines[len(lines)-1], tc.logged) {
				t.Errorf("logged: %s", lines[len(lines)-1])
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		c := dialRaw(t, p.Addr)
		_, _ = c.nc.Write([]byte("\x16\x03\x01\x00\x50half"))
		if b, _ := io.ReadAll(c.nc); len(b) > 0 {
			t.Errorf("in the clear it was told %q", b)
		}
		eventually(t, patience, "it is counted", func() bool { return results(p)["timeout"] == 1 })
	})
	if c := dialRaw(t, p.Addr); true {
		if _, err := c.secure(other, true); err != nil {
			t.Error(err)
		}
		c.send(startupMessage("postgres"))
		if a := c.answer(); a.Status != 'I' {
			t.Errorf("afterwards: %+v", a)
		}
	}
	eventually(t, patience, "all have left", func() bool { return p.Front.Stat().Clients <= 1 })
}

// Direct TLS needs ALPN, so that nobody can make a browser talk to us (RFC 9525's cross-protocol attacks).
func TestDirectTLSNeedsALPN(t *testing.T) {
	set := certs.New(t)
	p := startPooler(t, withTLS(nil, set.Server(), "prefer"))
	c := dialRaw(t, p.Addr)
	secured := tls.Client(c.nc, set.ClientConfig(nil))
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.in = pgproto3.NewFrontend(secured, secured)
	if a := c.answer(); a.Code != "08P01" || a.Message != "received direct SSL connection request without ALPN protocol negotiation extension" {
		t.Errorf("%+v", a)
	}
}

// Who must use TLS and does not is told so; a Unix socket needs none, and is offered none.
func TestTLSRequired(t *testing.T) {
	set := certs.New(t)
	dir := t.TempDir()
	p := startPooler(t, withTLS(nil, set.Server(), "require")+fmt.Sprintf("unix_socket_dir = %q\n", dir))
	c := dialRaw(t, p.Addr)
	c.send(startupMessage("postgres"))
	if a := c.answer(); a.Code != "28000" || a.Severity != "FATAL" || !strings.Contains(a.Message, "TLS only") {
		t.Errorf("%+v", a)
	}
	local := dialRaw(t, filepath.Join(dir, ".s.PGSQL.0"))
	_, _ = local.nc.Write(packet(codeSSLRequest, ""))
	var no [1]byte
	if _, err := io.ReadFull(local.nc, no[:]); err != nil || no[0] != 'N' {
		t.Errorf("SSLRequest on a Unix socket was answered %q, %v", no, err)
	}
	local.send(startupMessage("postgres"))
	if a := local.answer(); a.Status != 'I' {
		t.Errorf("%+v", a)
	}
}

// Certificates are replaced under load: nobody notices but those who log in, who see the new one. With a bad file the
// reload is refused, and nothing has changed.
func TestCertificatesReplacedUnderLoad(t *testing.T) {
	const clients = 100
	set := certs.New(t)
	p := startPooler(t, withTLS(nil, set.Server(), "require")+"loops = 2\ndefault_pool_size = 5\n")
	db := postgres.Server(t).CreateDatabase(t)
	var over atomic.Bool
	var running sync.WaitGroup
	var rounds atomic.Int64
	for i := range clients {
		c := newSecure(t, p, set.ClientConfig(nil), db)
		running.Go(func() {
			for n := 0; !over.Load(); n++ {
				want := fmt.Sprintf("%d-%d", i, n)
				if got := c.query("SELECT '" + want + "'").only(); got != want {
					t.Errorf("client %d: %q, want %q", i, got, want)
					return
				}
				rounds.Add(1)
			}
		})
	}
	serial := func() string {
		c := dialRaw(t, p.Addr)
		secured, err := c.secure(set.ClientConfig(nil), true)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = secured.Close() }()
		return secured.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	pairs := []*certs.Pair{set.Server(), set.NextServer()}
	for n := range 10 {
		next := pairs[(n+1)%2]
		if err := p.Front.Configure(testConfig(t, withTLS(nil, next, "require")+"loops = 2\ndefault_pool_size = 5\n")); err != nil {
			t.Fatal(err)
		}
		want := next.TLS.Leaf.SerialNumber.String()
		if got := serial(); got != want {
			t.Errorf("after reload %d the serial number is %s, want %s", n, got, want)
		}
		bad := *next
		bad.CertFile = pairs[n%2].CertFile // whose key is another
		if err := p.Front.Configure(testConfig(t, withTLS(nil, &bad, "require"))); err == nil {
			t.Error("a certificate that is not the key's was taken")
		}
		if got := serial(); got != want || p.Front.Certificate().SerialNumber.String() != want {
			t.Errorf("after a reload that was refused the serial number is %s, want %s", got, want)
		}
		before := rounds.Load()
		eventually(t, patience, "the others go on", func() bool { return rounds.Load() >= before+clients })
	}
	over.Store(true)
	running.Wait()
	if ends := p.Front.Stat().Ends; ends[EndClientGone.String()] != 0 {
		t.Errorf("%v", ends)
	}
}

// A key that others may read, and a certificate that expires soon, are logged at each load.
func TestWarningsOfCertificates(t *testing.T) {
	set := certs.New(t)
	pair := set.Server() // for a day
	p := startPooler(t, withTLS(nil, pair, "prefer"))
	if !strings.Contains(p.Log.String(), "expires soon") || strings.Contains(p.Log.String(), "read by") {
		t.Error(p.Log.String())
	}
	if err := os.Chmod(pair.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Front.Configure(testConfig(t, withTLS(nil, pair, "prefer"))); err != nil {
		t.Fatal(err)
	}
	if log := p.Log.String(); strings.Count(log, "expires soon") != 2 || !strings.Contains(log, pair.KeyFile) {
		t.Error(log)
	}
	if end := p.Front.Stat().CertificateEnds; !end.Equal(pair.TLS.Leaf.NotAfter) {
		t.Errorf("it ends %s", end)
	}
}

// Thousands of idle clients with TLS cost little more than their keys.
func TestMemoryOfIdleTLSClients(t *testing.T) {
	const clients, most = 2000, 6 << 10
	set := certs.New(t)
	p := startPooler(t, "default_pool_size = 5\nclient_login_concurrency = 2\n"+withTLS(nil, set.Server(), "require"))
	db := postgres.Server(t).CreateDatabase(t)
	cheap := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}
	var mu sync.Mutex
	var all []int
	defer func() {
		for _, fd := range all {
			_ = unix.Close(fd)
		}
		eventually(t, 5*patience, "all have left", func() bool { return p.Front.Stat().Clients == 0 })
	}()
	add := func() error { // only the descriptor stays of it, so that what the heap grows by is the pooler's
		nc, err := net.Dial("tcp", p.Addr)
		if err != nil {
			return err
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(5 * patience))
		c := &rawClient{t: t, nc: nc}
		if _, err := c.secure(cheap, true); err != nil {
			return err
		}
		c.send(startupMessage(db))
		if a := c.answer(); a.Status != 'I' {
			return fmt.Errorf("%+v", a)
		}
		if got := c.query("SELECT 'once'").only(); got != "once" {
			return errors.New(got)
		}
		fd, err := loop.DupFd(nc)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fd)
		return nil
	}
	addMany := func(n int) {
		var adding sync.WaitGroup
		for range 10 {
			adding.Go(func() {
				for range n / 10 {
					if err := add(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		adding.Wait()
	}
	addMany(10)
	before := heap()
	addMany(clients - 10)
	eventually(t, 5*patience, "no server session is held", func() bool { st := onlyPool(t, p); return st.Active+st.Reclaiming == 0 })
	each := (heap() - before) / (clients - 10)
	t.Logf("%d idle clients with TLS cost %d bytes of heap each", clients, each)
	if each > most {
		t.Errorf("an idle client costs %d bytes, more than %d", each, most)
	}
}

// The facts that rules and proofs go by: who the client is by its certificate, and what its connection is bound to.
func TestFactsOfTLS(t *testing.T) {
	set := certs.New(t)
	s, err := newSecured(testConfig(t, withTLS(set, set.Server(), "prefer")))
	if err != nil {
		t.Fatal(err)
	}
	if s.certificate().SerialNumber.Cmp(set.Server().TLS.Leaf.SerialNumber) != 0 || len(s.endPoint) != 32 {
		t.Errorf("%s, %x", s.certificate().SerialNumber, s.endPoint)
	}
	if s, err := newSecured(testConfig(t)); s != nil || err != nil {
		t.Errorf("without TLS: %v, %v", s, err)
	}
	for _, cert := range []*certs.Pair{nil, set.Client("alice")} {
		seen := make(chan *x509.Certificate, 1)
		p := startPooler(t, withTLS(set, set.Server(), "prefer"))
		c := dialRaw(t, p.Addr)
		if _, err := c.secure(set.ClientConfig(cert), true); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "it is seen", func() bool {
			done := make(chan bool)
			p.Loops[0].Post(func() {
				g := p.Front.greeters.first
				if done <- g != nil && g.tls != nil; g != nil && g.tls != nil {
					seen <- g.tls.peer
				}
			})
			return <-done
		})
		switch got := <-seen; {
		case cert == nil && got != nil:
			t.Errorf("a client without a certificate is %s", got.Subject)
		case cert != nil && (got == nil || got.Subject.CommonName != "alice"):
			t.Errorf("alice is %v", got)
		}
	}
}
