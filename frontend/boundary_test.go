package frontend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// lend is one step of a boundary case: what is sent, and whether the client holds a server session after it.
type lend struct {
	send []pgproto3.FrontendMessage
	want string // "G": got and kept, "GR": got and given back, "R": given back, "": as before
}

func sql(text, want string) lend {
	return lend{[]pgproto3.FrontendMessage{&pgproto3.Query{String: text}}, want}
}

func byParse(text, want string) lend {
	return lend{[]pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: text}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{},
	}, want}
}

func paged(text string, want string) lend {
	return lend{[]pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: text}, &pgproto3.Bind{}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Sync{},
	}, want}
}

// boundaryCases are Oracle's own tests of implicit pooling, and PostgreSQL's further cases
// (shared/reference/drcp.md 2.6): G is a server session got, R one given back.
func boundaryCases() []struct {
	name  string
	steps []lend
} {
	return []struct {
		name  string
		steps []lend
	}{
		{"1.1 a query fetched to its end", []lend{sql("SELECT 1", "GR"), byParse("SELECT 1", "GR")}},
		{"1.2, 1.4 DML, then COMMIT", []lend{sql("BEGIN", "G"), sql("INSERT INTO gr VALUES (1)", ""), sql("COMMIT", "R")}},
		{"1.3 ping", []lend{sql("", "GR"), {[]pgproto3.FrontendMessage{&pgproto3.Sync{}}, ""}}},
		{"1.5 COMMIT without a transaction", []lend{sql("COMMIT", "GR")}},
		{"1.6, 1.10-1.12 a temporary table", []lend{sql("CREATE TEMP TABLE gr_t (a int)", "G"), sql("SELECT * FROM gr_t", ""), sql("BEGIN; INSERT INTO gr_t VALUES (1); COMMIT", ""), sql("DROP TABLE gr_t", "R")}},
		{"DISCARD TEMP", []lend{sql("CREATE TEMP TABLE gr_t (a int)", "G"), sql("DISCARD TEMP", "R")}},
		{"1.8 query, INSERT, query, COMMIT", []lend{sql("SELECT 1", "GR"), sql("BEGIN; INSERT INTO gr VALUES (2)", "G"), sql("SELECT * FROM gr", ""), sql("COMMIT", "R")}},
		{"1.9 pages", []lend{sql("INSERT INTO gr SELECT g FROM generate_series(1, 300) g", "GR"), paged("SELECT a FROM gr", "GR")}},
		{"1.13, 2.4 large objects", []lend{sql("SELECT lo_unlink(lo_create(0))", "GR")}},
		{"1.14, 1.18 ROLLBACK, a failed transaction", []lend{sql("BEGIN", "G"), sql("SELECT 1/0", ""), sql("SELECT 1", ""), sql("ROLLBACK", "R")}},
		{"1.15 two DML, COMMIT", []lend{sql("BEGIN", "G"), byParse("INSERT INTO gr VALUES (1)", ""), byParse("INSERT INTO gr VALUES (2)", ""), sql("COMMIT", "R")}},
		{"1.16 DDL", []lend{sql("CREATE TABLE gr2 (a int)", "GR"), sql("BEGIN; ALTER TABLE gr2 ADD b int", "G"), sql("DROP TABLE gr2", ""), sql("COMMIT", "R")}},
		{"1.17 autocommit DML", []lend{sql("DELETE FROM gr", "GR"), byParse("UPDATE gr SET a = 1", "GR")}},
		{"SET is carried", []lend{sql("SET work_mem = '5MB'", "GR"), sql("SET app.gr = 'x'", "GR"), sql("SELECT set_config('app.gr', 'y', false)", "GR"), sql("RESET ALL", "GR"), sql("BEGIN; SET LOCAL work_mem = '6MB'; COMMIT", "GR"), sql("SET ROLE pg_monitor", "GR"), sql("RESET ROLE", "GR")}},
		{"a named Parse is carried", []lend{{[]pgproto3.FrontendMessage{&pgproto3.Parse{Name: "s", Query: "SELECT 1"}, &pgproto3.Sync{}}, "GR"}, {[]pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{}}, "GR"}}},
		{"PREPARE is carried", []lend{sql("PREPARE p AS SELECT 1", "GR"), sql("EXECUTE p", "GR"), sql("DEALLOCATE p", "GR")}},
		{"a cursor WITH HOLD", []lend{sql("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "G"), sql("FETCH c", ""), sql("CLOSE c", "R")}},
		{"LISTEN", []lend{sql("LISTEN gr", "G"), sql("SELECT 1", ""), sql("UNLISTEN gr", "R")}},
		{"LISTEN that is rolled back", []lend{sql("BEGIN; LISTEN gr", "G"), sql("ROLLBACK", "R")}},
		{"advisory locks, stacked", []lend{sql("SELECT pg_advisory_lock(71)", "G"), sql("SELECT pg_advisory_lock(71)", ""), sql("SELECT pg_advisory_unlock(71)", ""), sql("SELECT pg_advisory_unlock(71)", "R")}},
		{"an advisory lock of the transaction's", []lend{sql("BEGIN", "G"), sql("SELECT pg_advisory_xact_lock(71)", ""), sql("COMMIT", "R")}},
		{"ON COMMIT DROP", []lend{sql("BEGIN; CREATE TEMP TABLE gr_t (a int) ON COMMIT DROP", "G"), sql("COMMIT", "R")}},
		{"a pipeline of 50", []lend{{pipeline(50), "GR"}}},
		{"COPY", []lend{{[]pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY gr FROM STDIN"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}}, "GR"}, sql("COPY gr TO STDOUT", "GR"), {[]pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY gr FROM STDIN"}, &pgproto3.CopyFail{Message: "no"}}, "GR"}}},
		{"an error in the middle of a sequence", []lend{{[]pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT 1/0"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}, "GR"}}},
		{"SAVEPOINT", []lend{sql("BEGIN; SAVEPOINT a; SELECT 1", "G"), sql("ROLLBACK TO a", ""), sql("COMMIT", "R")}},
		{"a function that leaves nothing", []lend{sql("SELECT gr_nothing()", "GR")}},
		{"a function that sets", []lend{sql("SELECT gr_set()", "GR")}},
		{"a function that locks", []lend{sql("SELECT gr_lock()", "G"), sql("SELECT pg_advisory_unlock_all()", "R")}},
		{"DO that makes a temporary table", []lend{sql("DO $$BEGIN CREATE TEMP TABLE gr_d (a int); END$$", "G"), sql("DISCARD ALL", "R")}},
	}
}

func pipeline(n int) []pgproto3.FrontendMessage {
	var all []pgproto3.FrontendMessage
	for range n {
		all = append(all, &pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{})
	}
	return append(all, &pgproto3.Sync{})
}

const boundaryGround = `CREATE TABLE gr (a int);
CREATE FUNCTION gr_nothing() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION gr_set() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN set_config(''app.hidden'', ''x'', false); END';
CREATE FUNCTION gr_lock() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(72); END';`

func TestServerSessionsAreGotAndGivenBack(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	if _, err := pg.Exec(t.Context(), db, boundaryGround); err != nil {
		t.Fatal(err)
	}
	for _, check := range []string{"auto", "strict"} {
		p := startPooler(t, "default_pool_size = 1", fmt.Sprintf("state_check = %q", check))
		for _, tc := range boundaryCases() {
			t.Run(check+": "+tc.name, func(t *testing.T) {
				c := newRaw(t, p, db)
				for i, step := range tc.steps {
					before := onlyPool(t, p)
					c.send(step.send...)
					c.answer()
					c.sees(p, fmt.Sprintf("step %d", i+1), step.want)
					if got := onlyPool(t, p).Requests - before.Requests; (got == 1) != strings.Contains(step.want, "G") {
						t.Errorf("step %d: a server session was asked for %d times, want %q", i+1, got, step.want)
					}
				}
				_ = c.nc.Close()
				eventually(t, patience, "the server session is back", func() bool { return onlyPool(t, p).Active == 0 })
			})
		}
	}
}

// sees waits until the server session is back, or checks that it is not.
func (c *rawClient) sees(p *testPooler, when, want string) {
	c.t.Helper()
	if strings.HasSuffix(want, "R") {
		eventually(c.t, patience, when+": the server session is given back", func() bool { return onlyPool(c.t, p).Active == 0 })
		return
	}
	if want == "G" {
		<-time.After(20 * time.Millisecond) // long enough for an audit, as a rule
		if onlyPool(c.t, p).Active != 1 {
			c.t.Errorf("%s: the server session was given back, want it kept", when)
		}
	}
}

// DRCP counts requests that found a session of theirs as hits: five of six for one client with purity SELF, none with
// NEW. The login, which PostgreSQL is asked to settle, is none.
func TestSixQueriesAreFiveHitsAndOneMissAndSixMissesWithPurityNew(t *testing.T) {
	db := postgres.Server(t).CreateDatabase(t)
	for _, boundary := range []string{"statement", "transaction"} {
		for purity, want := range map[string]uint64{"self": 5, "new": 0} {
			p := startPooler(t, fmt.Sprintf("pool_boundary = %q\npool_purity = %q", boundary, purity))
			c := newRaw(t, p, db)
			for range 6 {
				if got := c.query("SELECT 1").only(); got != "1" {
					t.Fatal(got)
				}
				eventually(t, patience, "the server session is back", func() bool { return onlyPool(t, p).Active == 0 })
			}
			if got := onlyPool(t, p); got.Requests != 6 || got.Hits != want {
				t.Errorf("%s, %s: %d requests, %d hits, want 6 and %d", boundary, purity, got.Requests, got.Hits, want)
			}
		}
	}
}
