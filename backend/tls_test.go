package backend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pooler/config"
	"pooler/internal/pgtest"
)

var sslmodes = []config.TLSMode{
	config.TLSDisable, config.TLSAllow, config.TLSPrefer, config.TLSRequire, config.TLSVerifyCA, config.TLSVerifyFull,
}

// Whether a connection comes about, and whether with TLS, is as with libpq, for each sslmode, CA, name in the certificate
// and entry in pg_hba.conf.
func TestTLSComesAboutAsWithLibpq(t *testing.T) {
	with, without := protectedServer(t), plain.Server(t)
	cas := map[string]string{"no": "", "the right": papers.CA.CertFile, "the wrong": papers.Other.CertFile}
	type setting struct {
		name, user, host string
		pg               *pgtest.Server
		cas              []string
	}
	for _, s := range []setting{
		{"the server has TLS", pgtest.Superuser, "127.0.0.1", with, []string{"no", "the right", "the wrong"}},
		{"the certificate is somebody else's", pgtest.Superuser, "127.0.0.2", with, []string{"the right"}},
		{"the server wants TLS", "tls_only", "localhost", with, []string{"the right", "the wrong"}},
		{"the server wants no TLS", "plain_only", "127.0.0.1", with, []string{"the right"}},
		{"the server has no TLS", pgtest.Superuser, "127.0.0.1", without, []string{"the right"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range sslmodes {
				for _, ca := range s.cas {
					cfg := poolFor(s.host, s.pg.Port)
					cfg.User, cfg.ServerUser = s.user, s.user
					cfg.TLS = config.ServerTLS{Mode: mode, CAFile: cas[ca]}
					got, want := outcome(t.Context(), cfg), libpqOutcome(t, cfg)
					if got != want {
						t.Errorf("%s with %s CA: %s, with libpq %s", mode, ca, got, want)
					}
				}
			}
		})
	}
}

// outcome is "TLS", "clear" or "refused".
func outcome(ctx context.Context, cfg config.Pool) string {
	c, err := Dial(ctx, cfg)
	if err != nil {
		return "refused"
	}
	defer c.Close()
	if c.TLS() != "" {
		return "TLS"
	}
	return "clear"
}

// libpqOutcome is what psql gets with the same settings.
func libpqOutcome(t *testing.T, cfg config.Pool) string {
	t.Helper()
	dsn := fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=%s sslrootcert=%s sslcert=%s sslkey=%s",
		cfg.Host, cfg.Port, cfg.ServerUser, cfg.DBName, cfg.TLS.Mode, quoted(cfg.TLS.CAFile), quoted(cfg.TLS.CertFile), quoted(cfg.TLS.KeyFile))
	cmd := exec.CommandContext(t.Context(), "psql", "-XAtw", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", dsn)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()} // no ~/.postgresql/root.crt
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "refused"
	}
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"t": "TLS", "f": "clear"}[strings.TrimSpace(string(out))]
}

// quoted is a value in a connection string.
func quoted(v string) string { return "'" + v + "'" }

func TestCertificatesLogInAsWithLibpq(t *testing.T) {
	pg := protectedServer(t)
	own, stranger, untrusted := papers.Client("by_cert"), papers.Client("somebody"), papers.UntrustedClient("by_cert")
	for name, test := range map[string]struct{ cert, key string }{
		"one's own":     {own.CertFile, own.KeyFile},
		"another's":     {stranger.CertFile, stranger.KeyFile},
		"untrusted":     {untrusted.CertFile, untrusted.KeyFile},
		"none":          {},
		"in no file":    {filepath.Join(t.TempDir(), "missing"), own.KeyFile},
		"another's key": {own.CertFile, stranger.KeyFile},
	} {
		for _, mode := range []config.TLSMode{config.TLSPrefer, config.TLSVerifyFull} {
			cfg := poolFor("localhost", pg.Port)
			cfg.User, cfg.ServerUser = "by_cert", "by_cert"
			cfg.TLS = config.ServerTLS{Mode: mode, CAFile: papers.CA.CertFile, CertFile: test.cert, KeyFile: test.key}
			got, want := outcome(t.Context(), cfg), libpqOutcome(t, cfg)
			if name == "in no file" {
				want = "refused" // libpq goes on without; a file that the configuration names has to be there
			}
			if got != want || (name == "one's own") != (got == "TLS") {
				t.Errorf("%s, %s: %s, with libpq %s", name, mode, got, want)
			}
		}
	}
}

func TestUnixSocketsHaveNoTLS(t *testing.T) {
	pg := protectedServer(t)
	cfg := poolFor(pg.SocketDir, pg.Port)
	cfg.TLS = config.ServerTLS{Mode: config.TLSVerifyFull, CAFile: papers.CA.CertFile}
	if got := outcome(t.Context(), cfg); got != "clear" {
		t.Errorf("verify-full: %s", got)
	}
}

func TestVersionsOfTLS(t *testing.T) {
	pg := protectedServer(t)
	for protocols, want := range map[string]string{"tlsv1.2": "TLSv1.2/", "tlsv1.3": "TLSv1.3/", "secure": "TLSv1.3/"} {
		cfg := poolFor("127.0.0.1", pg.Port)
		cfg.TLS = config.ServerTLS{Mode: config.TLSVerifyFull, CAFile: papers.CA.CertFile, Protocols: protocols}
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(c.TLS(), want) {
			t.Errorf("%s: %s", protocols, c.TLS())
		}
		awaitGone(t, pg, c)
	}
}

// awaitGone closes c, and expects that PostgreSQL has ended the session by then.
func awaitGone(t *testing.T, pg *pgtest.Server, c *Conn) {
	t.Helper()
	c.Close()
	rows, err := pg.Exec(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE pid = "+strconv.Itoa(int(c.PID)))
	if err != nil || rows[0][0] != "0" {
		t.Errorf("after Close: %v, %v", rows, err)
	}
}

// reloadedPool is the pool of db as cfg has it.
func poolOfConfig(t *testing.T, cfg *config.Config, user string) config.Pool {
	t.Helper()
	p, ok := cfg.Pool("db", user)
	if !ok {
		t.Fatal("no such database")
	}
	return p
}

func configOf(t *testing.T, port int, lines string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(fmt.Sprintf("auth_type = \"trust\"\n[databases.db]\nhost = \"localhost\"\nport = %d\ndbname = \"postgres\"\n%s\n", port, lines)))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// A reload reads the files anew: new server sessions use what they hold then. With a bad file nothing changes.
func TestCertificatesAreReplacedWholeOrNotAtAll(t *testing.T) {
	pg := protectedServer(t)
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	put := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, stranger := papers.Client("by_cert"), papers.Client("somebody")
	put(ca, papers.CA.Cert)
	put(cert, own.Cert)
	put(key, own.Key)
	cfg := configOf(t, pg.Port, fmt.Sprintf("server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = %q\n[users.by_cert]\nserver_tls_cert_file = %q\nserver_tls_key_file = %q", ca, cert, key))
	pool := poolOfConfig(t, cfg, "by_cert")
	d := NewDialer(nil)
	works := func(want bool) {
		t.Helper()
		c, err := d.Dial(t.Context(), pool)
		if err == nil {
			c.Close()
		}
		if (err == nil) != want {
			t.Errorf("got %v", err)
		}
	}
	if err := d.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	works(true)
	stays, err := d.Dial(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	put(cert, stranger.Cert)
	err = d.Configure(cfg) // the key is not its
	if err == nil || !strings.Contains(err.Error(), cert) || !strings.Contains(err.Error(), key) {
		t.Errorf("with a certificate that is not the key's: %v", err)
	}
	works(true)
	put(key, stranger.Key)
	works(true) // the files are not read but at a reload
	if err := d.Configure(cfg); err != nil {
		t.Error(err)
	}
	works(false)
	put(cert, own.Cert)
	put(key, own.Key)
	put(ca, []byte("nothing"))
	if err := d.Configure(cfg); err == nil || !strings.Contains(err.Error(), ca) {
		t.Errorf("with a CA file that holds none: %v", err)
	}
	put(ca, papers.Other.Cert)
	if err := d.Configure(cfg); err != nil {
		t.Error(err)
	}
	works(false)
	put(ca, papers.CA.Cert)
	if err := d.Configure(cfg); err != nil {
		t.Error(err)
	}
	works(true)
	awaitGone(t, pg, stays)
}

func TestTheSystemsCAsCheckTheNameToo(t *testing.T) {
	for _, mode := range []config.TLSMode{config.TLSRequire, config.TLSVerifyFull} {
		cfg := poolFor("localhost", protectedServer(t).Port)
		cfg.TLS = config.ServerTLS{Mode: mode, CAFile: config.SystemCA}
		if _, err := Dial(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "not trusted") {
			t.Errorf("%s: the system's CAs have signed the test's server: %v", mode, err)
		}
	}
}

// A cancel goes to the very address that the session has, whatever the name leads to by then, and the certificate is still to
// be that of the name.
func TestACancelGoesWhereTheSessionIs(t *testing.T) {
	pg := protectedServer(t)
	for _, mode := range []config.TLSMode{config.TLSDisable, config.TLSVerifyFull} {
		cfg := poolFor("localhost", pg.Port)
		cfg.TLS = config.ServerTLS{Mode: mode, CAFile: papers.CA.CertFile}
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		way := c.wayBack()
		way.addr = Address{"tcp", "gone.invalid:5432"}
		if err := way.cancel(c.cancelKey, 10*time.Second); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if mode == config.TLSVerifyFull && way.with.ServerName != "localhost" {
			t.Errorf("the certificate is to be that of %s", way.with.ServerName)
		}
		c.Close()
	}
}

// A cancel is protected by the certificates of its time, not of the session's.
func TestCancelsUseTheCertificatesOfNow(t *testing.T) {
	pg := protectedServer(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	cfg := configOf(t, pg.Port, fmt.Sprintf("server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = %q", ca))
	d := NewDialer(nil)
	load := func(cert []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(ca, cert, 0o600), d.Configure(cfg)); err != nil {
			t.Fatal(err)
		}
	}
	load(papers.CA.Cert)
	c, err := d.Dial(t.Context(), poolOfConfig(t, cfg, pgtest.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		ca   []byte
		want bool
	}{{papers.Other.Cert, false}, {papers.CA.Cert, true}} {
		load(step.ca)
		if err := c.wayBack().cancel(c.cancelKey, 10*time.Second); (err == nil) != step.want {
			t.Errorf("got %v", err)
		}
	}
	awaitGone(t, pg, c)
}
