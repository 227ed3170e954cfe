package frontend

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
)

// Whatever becomes of a user who is connected, the sessions go on, and who logs in then hears what PostgreSQL would tell.
func TestUsersThatChangeWhileConnected(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{HBA: []string{"host all looker,postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"}})
	if _, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE looker SUPERUSER LOGIN"); err != nil {
		t.Fatal(err)
	}
	p, _ := passing(t, pg, "auth_type = 'scram-sha-256'\nauth_user = 'looker'\nauth_file = ''\nauth_query_cache = 0")
	direct := address(pg)
	for _, tc := range []struct{ user, change, after, password string }{
		{"dropped", "DROP ROLE dropped", "dropped", "geheim"},
		{"renamed", "ALTER ROLE renamed RENAME TO called_so_now", "renamed", "geheim"},
		{"renamed_to", "ALTER ROLE renamed_to RENAME TO called_new", "called_new", "geheim"},
		{"expiring", "ALTER ROLE expiring VALID UNTIL '2001-01-01'", "expiring", "geheim"},
		{"changed", "ALTER ROLE changed PASSWORD 'another'", "changed", "geheim"},
		{"changed_to", "ALTER ROLE changed_to PASSWORD 'another'", "changed_to", "another"},
		{"emptied", "ALTER ROLE emptied PASSWORD NULL", "emptied", "geheim"},
	} {
		t.Run(tc.user, func(t *testing.T) {
			if _, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE "+tc.user+" LOGIN PASSWORD 'geheim'"); err != nil {
				t.Fatal(err)
			}
			conn, err := pgconn.Connect(t.Context(), "postgres://"+tc.user+":geheim@"+p.Addr+"/postgres?sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.Background()) }()
			works := func(when string) {
				t.Helper()
				if got, err := rows(t.Context(), conn, "SELECT 'works'"); got != "works" {
					t.Errorf("%s: %q, %v", when, got, err)
				}
			}
			works("before")
			if _, err := pg.Exec(t.Context(), "postgres", tc.change); err != nil {
				t.Fatal(err)
			}
			works("after")
			want := fate(tryTLS(t, direct, tc.after, tc.password, nil))
			if got := fate(tryTLS(t, p.Addr, tc.after, tc.password, nil)); got != want {
				t.Errorf("a login then:\n  PostgreSQL: %s\n  pooler:     %s", want, got)
			}
			works("after a login that was refused, or not")
		})
	}
}
