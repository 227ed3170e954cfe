package frontend

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A client that sends a statement, says goodbye and closes without waiting has its statement carried out, as PostgreSQL
// does it: only one that disappears without a goodbye is taken to want nothing any more.
func TestStatementInFrontOfAGoodbyeIsCarriedOut(t *testing.T) {
	p := startPooler(t, `default_pool_size = 1`)
	c := newRaw(t, p, "postgres")
	c.query("DROP TABLE IF EXISTS goodbye")
	c.query("CREATE TABLE goodbye (a int)")
	last := newRaw(t, p, "postgres")
	last.send(&pgproto3.Query{String: "INSERT INTO goodbye SELECT 1 FROM pg_sleep(0.4)"}, &pgproto3.Terminate{})
	_ = last.nc.Close()
	eventually(t, patience, "the row is there", func() bool {
		a := c.query("SELECT a FROM goodbye")
		return len(a.Rows) == 1
	})
	c.query("DROP TABLE goodbye")
	eventually(t, patience, "the session has ended", func() bool { return p.Front.Stat().Ends[EndTerminate.String()] == 1 })
}
