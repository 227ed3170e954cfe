package frontend

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/backend"
	"pooler/internal/auth"
	"pooler/internal/pgtest"
)

// passing is a pooler that logs in to PostgreSQL with what its clients' logins teach.
func passing(t *testing.T, pg *pgtest.Server, extras string) (*testPooler, *auth.Keyring) {
	t.Helper()
	ring := auth.NewKeyring()
	table := fmt.Sprintf("\n[databases.\"*\"]\nhost = %q\nport = %d\n", pg.Host, pg.Port)
	top, users, _ := strings.Cut(extras, "\n[users")
	if users != "" {
		users = "\n[users" + users
	}
	p := startPoolerThat(t, backend.NewDialer(ring).Dial, func(srv *Server) { srv.SetKeyring(ring) }, top+table+users)
	return p, ring
}

const looksUp = "auth_user = 'looker'\nauth_file = ''\nserver_idle_timeout = '100ms'\n[users.looker]\npassword = 'of looker'"

// A client's SCRAM keys, and passwords it has sent, open PostgreSQL's door too, so that no password need be stored anywhere.
func TestPassThrough(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{Auth: "scram-sha-256"})
	for _, sql := range []string{
		"CREATE ROLE looker SUPERUSER LOGIN PASSWORD 'of looker'", "CREATE ROLE anna LOGIN PASSWORD 'first'",
		"CREATE ROLE looker_s SUPERUSER LOGIN PASSWORD 'x'",
	} {
		if _, err := pg.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range []string{"scram-sha-256", "password"} {
		t.Run(method, func(t *testing.T) {
			p, ring := passing(t, pg, fmt.Sprintf("auth_type = %q\n", method)+looksUp)
			if who, err := tryPGX(t, p.Addr, "anna", "first"); who != "anna" {
				t.Fatalf("is %q, %v", who, err)
			}
			if n := ring.Len(); n != 1 {
				t.Errorf("%d accounts are known", n)
			}
			// A new password is learned with the next login, and counts at once.
			if _, err := pg.Exec(t.Context(), "postgres", "ALTER ROLE anna PASSWORD 'second'"); err != nil {
				t.Fatal(err)
			}
			eventually(t, patience, "the new password is right, here and there", func() bool {
				_, err := tryPGX(t, p.Addr, "anna", "second")
				return err == nil
			})
			eventually(t, patience, "what was learned goes with its pool", func() bool { return ring.Len() == 0 })
			if _, err := pg.Exec(t.Context(), "postgres", "ALTER ROLE anna PASSWORD 'first'"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A login by which nothing is learned needs a password in the configuration, and its refusal says so.
func TestNothingToPassThrough(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{Auth: "scram-sha-256"})
	if _, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE anna LOGIN PASSWORD 'first'"); err != nil {
		t.Fatal(err)
	}
	p, _ := passing(t, pg, "auth_type = 'trust'")
	_, err := tryPGX(t, p.Addr, "anna", "")
	refusedWith(t, err, "28P01", "the pooler cannot log in to PostgreSQL for this user")
}

// A reload after which the secret of a user is another one lets go of what was learned from him.
func TestReloadForgetsWhatWasLearned(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{Auth: "scram-sha-256"})
	rows, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE anna LOGIN PASSWORD 'first'; SELECT rolpassword FROM pg_authid WHERE rolname = 'anna'")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users")
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, "%q %q\n", "anna", secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(rows[0][0])
	p, ring := passing(t, pg, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q", file))
	dsn := "postgres://anna:first@" + p.Addr + "/postgres?sslmode=disable"
	conn, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	reload := func() {
		t.Helper()
		if err := p.Front.Configure(p.Front.Config()); err != nil {
			t.Fatal(err)
		}
	}
	if reload(); ring.Len() != 1 {
		t.Errorf("a reload that changes nothing leaves %d accounts", ring.Len())
	}
	write(scramSecret(t, "another"))
	if reload(); ring.Len() != 0 {
		t.Errorf("a reload leaves %d accounts", ring.Len())
	}
}
