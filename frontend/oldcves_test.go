package frontend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// PgBouncer before 1.5.5 fell over a password message from a client that had not said yet who it is.
func TestCVE_2015_4054_APasswordBeforeTheStartUp(t *testing.T) {
	p := startPooler(t, fmt.Sprintf("auth_type = \"md5\"\nauth_file = %q", authFile(t)))
	nc := dialRaw(t, p.Addr)
	nc.send(&pgproto3.PasswordMessage{Password: rightPassword})
	if code, _ := toTheEnd(t, nc.nc, patience); code != "08P01" {
		t.Errorf("SQLSTATE %q", code)
	}
	serves(t, p)
}

// PgBouncer before 1.5.3 fell over the name of a database that was too long.
func TestCVE_2012_4575_AVeryLongNameOfADatabase(t *testing.T) {
	p := startPooler(t)
	for _, n := range []int{63, 64, 1000, 9_000} {
		name := strings.Repeat("d", n)
		nc := dialRaw(t, p.Addr)
		nc.send(startupMessage(name))
		if code, _ := toTheEnd(t, nc.nc, patience); code != "3D000" {
			t.Errorf("%d bytes: SQLSTATE %q", n, code)
		}
	}
	serves(t, p)
}

// serves makes sure that others are served.
func serves(t *testing.T, p *testPooler) {
	t.Helper()
	_, _ = postgres.Server(t).Exec(t.Context(), "postgres", "CREATE ROLE clear LOGIN") // by whichever test comes first
	eventually(t, 10*time.Second, "a client is served", func() bool {
		_, err := tryPGX(t, p.Addr, "clear", rightPassword)
		return err == nil
	})
}
