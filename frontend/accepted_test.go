package frontend

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A client that names a statement which PostgreSQL knows need not wait for a server session; one that uses it must.
func TestAKnownStatementIsNamedWithoutWaiting(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1")
	db := postgres.Server(t).CreateDatabase(t)
	holder, other := newRaw(t, p, db), newRaw(t, p, db)
	holder.send(&pgproto3.Parse{Name: "a", Query: "SELECT 'known'"}, &pgproto3.Sync{})
	if a := holder.answer(); a.Errors != 0 {
		t.Fatalf("%+v", a)
	}
	holder.query("BEGIN")
	other.send(&pgproto3.Parse{Name: "b", Query: "SELECT 'known'"}, &pgproto3.Sync{})
	if a := other.answer(); a.Errors != 0 || a.Status != 'I' {
		t.Errorf("naming it while no server session is free: %+v", a)
	}
	other.send(&pgproto3.Bind{PreparedStatement: "b"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	eventually(t, patience, "the client waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	holder.query("COMMIT")
	if a := other.answer(); a.only() != "known" {
		t.Errorf("using it: %+v", a)
	}
	holder.query("BEGIN")
	other.send(&pgproto3.Parse{Name: "c", Query: "SELECT 'unknown'"}, &pgproto3.Sync{})
	eventually(t, patience, "the client waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	holder.query("COMMIT")
	if a := other.answer(); a.Errors != 0 {
		t.Errorf("naming one that is not known: %+v", a)
	}
}
