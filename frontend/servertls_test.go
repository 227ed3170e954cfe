package frontend

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// bulk is 20 MB of COPY.
const bulk = "SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 76000) i"

// What passes over TLS to PostgreSQL is what PostgreSQL sends and gets without.
func TestBulkPassesOverTLSToServers(t *testing.T) {
	papers := certs.New(t)
	pg := pgtest.Start(t, papers.Postgres(pgtest.Options{}, papers.Server()))
	if _, err := pg.Exec(t.Context(), "postgres", "CREATE TABLE bulk (i int, t text)"); err != nil {
		t.Fatal(err)
	}
	direct := dialPG(t, pg.DSN("postgres"))
	want := copiedOut(t, direct, bulk)
	for _, protocols := range []string{"tlsv1.2", "tlsv1.3"} {
		t.Run(protocols, func(t *testing.T) {
			p := startPooler(t, fmt.Sprintf(`server_tls_protocols = %q
server_tls_sslmode = "verify-full"
server_tls_ca_file = %q
[databases.postgres]
host = "127.0.0.1"
port = %d`, protocols, papers.CA.CertFile, pg.Port))
			c := dialPG(t, p.dsn("postgres", ""))
			if got := copiedOut(t, c, bulk); got != want {
				t.Error("COPY out: other bytes than direct")
			}
			if _, err := pg.Exec(t.Context(), "postgres", "TRUNCATE bulk"); err != nil {
				t.Fatal(err)
			}
			var sent bytes.Buffer
			if _, err := direct.CopyTo(t.Context(), &sent, "COPY ("+bulk+") TO STDOUT"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.CopyFrom(t.Context(), &sent, "COPY bulk FROM STDIN"); err != nil {
				t.Error(err)
			}
			if got := copiedOut(t, direct, "SELECT * FROM bulk"); got != want {
				t.Error("COPY in: other bytes have arrived")
			}
		})
	}
}

func TestCancelsReachServersOverTLS(t *testing.T) {
	papers := certs.New(t)
	pg := pgtest.Start(t, papers.Postgres(pgtest.Options{}, papers.Server()))
	p := startPooler(t, fmt.Sprintf("default_pool_size = 1\nserver_tls_sslmode = \"require\"\n[databases.postgres]\nhost = \"127.0.0.1\"\nport = %d", pg.Port))
	c, k := newCancellable(t, p, "postgres")
	pid := pidOf(t, c)
	if got := c.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").only(); got != "t" {
		t.Fatal(got)
	}
	for range 3 {
		c.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
		awaitSleep(t, pg, pid)
		cancel(t, p, k)
		if a := c.answer(); a.Code != "57014" {
			t.Errorf("%+v", a)
		}
	}
	// One whose client goes is cancelled too, and its conn is used again.
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	awaitSleep(t, pg, pid)
	_ = c.nc.Close()
	if next := pidOf(t, newRaw(t, p, "postgres")); next != pid {
		t.Errorf("the next client has server session %s, want %s", next, pid)
	}
}

// awaitSleep waits until the server session pid sleeps.
func awaitSleep(t *testing.T, pg *pgtest.Server, pid string) {
	t.Helper()
	eventually(t, patience, "it sleeps", func() bool {
		rows, err := pg.Exec(t.Context(), "postgres", "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = "+pid)
		return err == nil && len(rows) == 1
	})
}

func dialPG(t *testing.T, dsn string) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// copiedOut is the digest of what COPY sends.
func copiedOut(t *testing.T, c *pgconn.PgConn, sql string) string {
	t.Helper()
	h := sha256.New()
	if _, err := c.CopyTo(t.Context(), h, "COPY ("+sql+") TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
