package frontend

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// run is a Parse-less use of a named statement.
func run(name string, parameters ...string) []pgproto3.FrontendMessage {
	b := &pgproto3.Bind{PreparedStatement: name}
	for _, v := range parameters {
		b.Parameters = append(b.Parameters, []byte(v))
	}
	return []pgproto3.FrontendMessage{b, &pgproto3.Execute{}, &pgproto3.Sync{}}
}

func (c *rawClient) play(messages ...pgproto3.FrontendMessage) answer {
	c.send(messages...)
	return c.answer()
}

func (c *rawClient) prepare(name, text string) answer {
	return c.play(&pgproto3.Parse{Name: name, Query: text}, &pgproto3.Sync{})
}

// ask fails the test unless the one row of the answer is want.
func (c *rawClient) ask(text, want string) {
	c.t.Helper()
	if got := c.query(text).only(); got != want {
		c.t.Errorf("%s: got %q, want %q", text, got, want)
	}
}

// refused fails the test unless the answer is an error with this SQLSTATE and the client lives on.
func (c *rawClient) refused(a answer, code string) {
	c.t.Helper()
	if a.Code != code || a.Status == 0 {
		c.t.Errorf("got %+v, want SQLSTATE %s", a, code)
	}
}

// intrude has another client use every server session of the pool.
func intrude(t *testing.T, p *testPooler, db string) {
	t.Helper()
	other := newRaw(t, p, db, "application_name", "intruder")
	other.ask("SELECT 1", "1")
	other.ask("SET work_mem = '3MB'; SHOW work_mem", "3MB")
	_ = other.nc.Close()
	eventually(t, patience, "the intruder is gone", func() bool { return onlyPool(t, p).Active == 0 })
}

func newStateGround(t *testing.T, toml ...string) (*testPooler, string) {
	t.Helper()
	db := postgres.Server(t).CreateDatabase(t)
	return startPooler(t, append([]string{"default_pool_size = 1"}, toml...)...), db
}

func TestStatementsOfSQLAndOfTheProtocolShareOneNamespace(t *testing.T) {
	p, db := newStateGround(t)
	c := newRaw(t, p, db)
	c.prepare("a", "SELECT 'by protocol'")
	intrude(t, p, db)
	c.ask("EXECUTE a", "by protocol")
	c.ask("EXPLAIN (COSTS OFF) EXECUTE a", "Result")
	c.refused(c.query("PREPARE a AS SELECT 1"), "42P05")
	c.query("CREATE TABLE made AS EXECUTE a")
	c.ask("SELECT * FROM made", "by protocol")
	c.query("DEALLOCATE a")
	c.refused(c.play(run("a")...), "26000")
	c.refused(c.query("EXECUTE a"), "26000")

	c.query("PREPARE b AS SELECT 'by SQL'")
	intrude(t, p, db)
	c.ask("EXECUTE b", "by SQL")
	if got := c.play(run("b")...).only(); got != "by SQL" {
		t.Errorf("Bind of a statement of SQL's: %s", got)
	}
	c.refused(c.prepare("b", "SELECT 1"), "42P05")
	intrude(t, p, db)
	c.ask("SELECT string_agg(name || ' ' || from_sql || ' ' || statement, ';') FROM pg_prepared_statements", "b true PREPARE b AS SELECT 'by SQL'")
	c.play(&pgproto3.Close{ObjectType: 'S', Name: "b"}, &pgproto3.Sync{})
	c.refused(c.query("EXECUTE b"), "26000")
	if st := p.Front.Stat(); st.Pins != 0 {
		t.Errorf("pinned %d times, want none", st.Pins)
	}
}

// A statement that executes itself is PostgreSQL's to refuse, and nothing to follow without end.
func TestAStatementThatExecutesItself(t *testing.T) {
	p, db := newStateGround(t)
	c := newRaw(t, p, db)
	c.prepare("p", "EXECUTE p")
	a := c.play(run("p")...)
	if a.Errors == 0 || a.Status == 0 {
		t.Errorf("got %+v, want an error", a)
	}
	c.ask("SELECT 1", "1")
}

func TestOwnNamesInErrors(t *testing.T) {
	p, db := newStateGround(t)
	c := newRaw(t, p, db)
	c.prepare("mine", "SELECT $1::int")
	a := c.play(run("mine")...)
	want := `bind message supplies 0 parameters, but prepared statement "mine" requires 1`
	if a.Message != want || a.Code != "08P01" {
		t.Errorf("got %s %q, want %q", a.Code, a.Message, want)
	}
}

func TestStalePlansArePreparedAnewOnce(t *testing.T) {
	p, db := newStateGround(t)
	c := newRaw(t, p, db)
	c.query("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)")
	c.prepare("s", "SELECT * FROM shape")
	for i := range 3 {
		if a := c.play(run("s")...); a.only() != "1" {
			t.Fatalf("round %d: %+v", i, a)
		}
		c.query(fmt.Sprintf("ALTER TABLE shape ADD b%d int", i))
	}
	// Inside a transaction nothing can be done again: PostgreSQL's error, and the next use is right.
	c.query("BEGIN")
	c.refused(c.play(run("s")...), "0A000")
	c.query("ROLLBACK")
	if a := c.play(run("s")...); a.only() != "1" {
		t.Errorf("after the transaction: %+v", a)
	}
	// With more requests behind it, the sequence cannot be sent again either.
	c.query("ALTER TABLE shape ADD c int")
	c.send(append(run("s"), run("s")...)...)
	c.refused(c.answer(), "0A000")
	if a := c.answer(); a.Code != "0A000" && a.only() != "1" {
		t.Errorf("second sequence: %+v", a)
	}
	if a := c.play(run("s")...); a.only() != "1" {
		t.Errorf("at last: %+v", a)
	}
}

func TestResetGoesBackToTheClientsOwnValue(t *testing.T) {
	p, db := newStateGround(t)
	c := newRaw(t, p, db, "application_name", "mine", "options", "-c work_mem=7MB -c app.own=start")
	for _, way := range []string{"RESET work_mem", "SET work_mem TO DEFAULT", "RESET ALL", "DISCARD ALL", "SELECT set_config('work_mem', NULL, false)"} {
		c.query("SET work_mem = '9MB'")
		intrude(t, p, db)
		c.ask("SHOW work_mem", "9MB")
		c.query(way)
		c.ask("SHOW work_mem", "7MB")
		intrude(t, p, db)
		c.ask("SHOW work_mem", "7MB")
		c.ask("SHOW application_name", "mine")
		c.ask("SELECT current_setting('app.own')", "start")
	}
	c.query("SET work_mem = '9MB'")
	c.query("BEGIN")
	c.query("RESET work_mem")
	c.ask("SHOW work_mem", "7MB")
	c.query("ROLLBACK")
	c.ask("SHOW work_mem", "9MB")
	c.query("BEGIN")
	c.query("SET LOCAL work_mem TO DEFAULT")
	c.ask("SHOW work_mem", "7MB")
	c.query("COMMIT")
	c.ask("SHOW work_mem", "9MB")
}

func TestRolesAreRestored(t *testing.T) {
	p, db := newStateGround(t)
	a, b := newRaw(t, p, db), newRaw(t, p, db)
	who := "SELECT session_user || ' ' || current_user"
	a.query("SET ROLE pg_monitor")
	b.ask(who, "postgres postgres")
	a.ask(who, "postgres pg_monitor")
	a.query("SET SESSION AUTHORIZATION pg_read_all_data")
	b.ask(who, "postgres postgres")
	a.ask(who, "pg_read_all_data pg_read_all_data")
	b.query("SELECT set_config('role', 'pg_signal_backend', false)")
	a.ask(who, "pg_read_all_data pg_read_all_data")
	b.ask(who, "postgres pg_signal_backend")
	a.query("RESET SESSION AUTHORIZATION")
	a.ask(who, "postgres postgres")
}

// A role that cannot be restored must not leave its client as somebody else: nothing of the client runs.
func TestARoleThatCannotBeRestoredStopsTheClient(t *testing.T) {
	p, db := newStateGround(t)
	pg := postgres.Server(t)
	exec := func(sql string) {
		if _, err := pg.Exec(t.Context(), db, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE done (a int); CREATE ROLE vanishing; GRANT ALL ON done TO vanishing")
	c := newRaw(t, p, db)
	c.query("SET ROLE vanishing")
	intrude(t, p, db)
	exec("DROP OWNED BY vanishing; DROP ROLE vanishing")
	a := c.query("INSERT INTO done VALUES (1)")
	if a.Severity != "FATAL" || a.Code != "22023" {
		t.Errorf("got %+v, want FATAL 22023", a)
	}
	newRaw(t, p, db).ask("SELECT count(*) FROM done", "0")
}

const hiddenGround = `CREATE TABLE watched (a int);
CREATE FUNCTION hide(what text) RETURNS void LANGUAGE plpgsql AS $$BEGIN
	IF what = 'custom' THEN PERFORM set_config('app.secret', 'mine', false);
	ELSIF what = 'setting' THEN SET work_mem = '11MB';
	ELSIF what = 'lock' THEN PERFORM pg_advisory_lock(4711);
	ELSIF what = 'table' THEN CREATE TEMP TABLE hidden (a int); INSERT INTO hidden VALUES (1);
	END IF; END$$;
CREATE FUNCTION on_watched() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM hide(TG_ARGV[0]); RETURN NEW; END$$;`

// State that no text shows is kept for its client and does not reach another, as far as state_check promises it.
func TestHiddenState(t *testing.T) {
	pg := postgres.Server(t)
	looks := map[string][2]string{ // what shows the state: to its client, to another
		"custom":  {"SELECT COALESCE(current_setting('app.secret', true), '')", "mine"},
		"setting": {"SHOW work_mem", "11MB"},
		"lock":    {"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "1"},
		"table":   {"SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relname = 'hidden'", "1"},
	}
	for _, check := range []string{"strict", "auto"} {
		for what, look := range looks {
			ways := map[string]string{"function": "SELECT hide('" + what + "')", "DO": "DO $$BEGIN PERFORM hide('" + what + "'); END$$"}
			if check == "strict" {
				ways["trigger"] = "INSERT INTO watched VALUES (1)"
			}
			for way, text := range ways {
				t.Run(strings.Join([]string{check, what, way}, " "), func(t *testing.T) {
					p, db := newStateGround(t, fmt.Sprintf("state_check = %q", check))
					if _, err := pg.Exec(t.Context(), db, hiddenGround+"CREATE TRIGGER w BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_watched('"+what+"')"); err != nil {
						t.Fatal(err)
					}
					c := newRaw(t, p, db)
					if a := c.query(text); a.Errors > 0 {
						t.Fatalf("%+v", a)
					}
					other := newRaw(t, p, db)
					other.send(&pgproto3.Query{String: look[0]}) // may have to wait
					c.ask(look[0], look[1])
					_ = c.nc.Close()
					if got := other.answer().only(); got == look[1] {
						t.Errorf("another client sees %q", got)
					}
					if st := p.Front.Stat(); st.Leaks != 0 {
						t.Errorf("%d leaks", st.Leaks)
					}
				})
			}
		}
	}
}

// In "auto", what a trigger leaves is found by chance: the server session is replaced, and the statement learned.
func TestALeakIsContainedAndLearned(t *testing.T) {
	p, db := newStateGround(t)
	if _, err := postgres.Server(t).Exec(t.Context(), db, hiddenGround+"CREATE TRIGGER w BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_watched('setting')"); err != nil {
		t.Fatal(err)
	}
	a, b := newRaw(t, p, db), newRaw(t, p, db)
	for i := 0; p.Front.Stat().HiddenState == 0; i++ {
		if i > 2*sampleEvery {
			t.Fatalf("not found in %d statements", i)
		}
		a.query(fmt.Sprintf("INSERT INTO watched VALUES (%d)", i))
		b.query("SELECT 1")
	}
	eventually(t, patience, "the found state is dealt with", func() bool { return onlyPool(t, p).Active == 0 })
	if st := p.Front.Stat(); st.Leaks > 1 {
		t.Errorf("%d leaks", st.Leaks)
	}
	for range 20 { // the statement is audited each time now
		a.query("INSERT INTO watched VALUES (7)")
		b.ask("SHOW work_mem", "4MB")
	}
}

func TestStatePolicies(t *testing.T) {
	p, db := newStateGround(t, `state_policy = { listen = "error", temporary = "discard", hold_cursor = "ignore", settings = "pin", prepare = "discard" }`)
	c := newRaw(t, p, db)
	c.refused(c.query("LISTEN x"), "0A000")
	c.query("BEGIN")
	c.refused(c.query("SELECT 1; LISTEN x"), "0A000")
	c.refused(c.query("SELECT 1"), "25P02")
	c.query("ROLLBACK")
	c.refused(c.prepare("l", "LISTEN x"), "0A000")
	a := c.query("CREATE TEMP TABLE gone (a int)")
	if len(a.Notices) != 1 || !strings.Contains(a.Notices[0], "temporary object") {
		t.Errorf("no NOTICE names what is lost: %+v", a)
	}
	c.refused(c.query("SELECT * FROM gone"), "42P01")
	c.query("DECLARE k CURSOR WITH HOLD FOR SELECT 1")
	eventually(t, patience, "the cursor does not pin", func() bool { return onlyPool(t, p).Active == 0 })
	if a := c.query("PREPARE q AS SELECT 1"); len(a.Notices) != 1 {
		t.Errorf("no NOTICE: %+v", a)
	}
	c.refused(c.query("EXECUTE q"), "26000")
	c.query("SET work_mem = '8MB'")
	c.sees(p, "SET with policy pin", "G")
	c.query("RESET work_mem")
	c.sees(p, "RESET with policy pin", "GR")
}

func TestTransactionBoundaryDiscardsWithANotice(t *testing.T) {
	p, db := newStateGround(t)
	c := newRaw(t, p, db, "pool_boundary", "transaction")
	for text, lost := range map[string]string{
		"CREATE TEMP TABLE t (a int)":                            "temporary object",
		"SELECT pg_advisory_lock(5)":                             "advisory lock",
		"BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT": "hold cursor",
		"LISTEN x": "listen", "SELECT setseed(0.5)": "setseed",
	} {
		a := c.query(text)
		if len(a.Notices) != 1 || !strings.Contains(a.Notices[0], lost) {
			t.Errorf("%s: no NOTICE names %q: %+v", text, lost, a)
		}
	}
	c.query("SET work_mem = '8MB'")
	intrude(t, p, db)
	c.ask("SHOW work_mem", "8MB") // what can be carried is
	for _, text := range []string{"SELECT 1", "BEGIN; CREATE TEMP TABLE t (a int) ON COMMIT DROP; COMMIT", "SELECT pg_advisory_lock(5), pg_advisory_unlock(5)"} {
		if a := c.query(text); len(a.Notices) != 0 {
			t.Errorf("%s: %v", text, a.Notices)
		}
	}
}

func TestSequencesAreNobodyElses(t *testing.T) {
	p, db := newStateGround(t)
	a, b := newRaw(t, p, db), newRaw(t, p, db)
	a.query("CREATE SEQUENCE s")
	a.query("CREATE TABLE numbered (id serial, v int)")
	a.ask("SELECT nextval('s')", "1")
	a.ask("SELECT currval('s')", "1") // now the pool is known to read
	b.send(&pgproto3.Query{String: "SELECT lastval()"})
	_ = a.nc.Close()
	b.refused(b.answer(), "55000")
	b.query("INSERT INTO numbered (v) VALUES (1)")
	c := newRaw(t, p, db)
	c.send(&pgproto3.Query{String: "SELECT nextval('s')"})
	b.ask("SELECT lastval()", "1")
	b.query("DISCARD SEQUENCES")
	if got := c.answer().only(); got != "2" {
		t.Errorf("nextval: %s", got)
	}
}

func TestIdleServerSessionsAreNotInTheWay(t *testing.T) {
	pg := postgres.Server(t)
	p := startPooler(t, "default_pool_size = 2", "min_pool_size = 1")
	db := pg.CreateDatabase(t)
	other := db + "_copy"
	touch := func(name string) {
		c := newRaw(t, p, name)
		c.ask("SELECT 1", "1")
		_ = c.nc.Close()
	}
	c := newRaw(t, p, "postgres")
	must := func(text string) {
		t.Helper()
		if a := c.query(text); a.Errors > 0 {
			t.Errorf("%s: %s", text, a.Message)
		}
	}
	touch(db)
	must(`CREATE DATABASE "` + other + `" TEMPLATE "` + db + `"`)
	touch(other)
	must(`ALTER DATABASE "` + other + `" RENAME TO "` + other + `2"`)
	touch(other + "2")
	must(`DROP DATABASE "` + other + `2"`)
	touch(db)
	must(`ALTER DATABASE "` + db + `" SET work_mem = '12MB'`)
	newRaw(t, p, db).ask("SHOW work_mem", "12MB")
}

func TestAffinity(t *testing.T) {
	p := startPooler(t, "default_pool_size = 3", "min_pool_size = 3")
	db := postgres.Server(t).CreateDatabase(t)
	var clients []*rawClient
	var pids []string
	for range 3 {
		c := newRaw(t, p, db)
		clients = append(clients, c)
		eventually(t, patience, "three server sessions", func() bool { return onlyPool(t, p).Idle == 3 })
		pids = append(pids, c.query("SELECT pg_backend_pid()").only())
		eventually(t, patience, "three server sessions", func() bool { return onlyPool(t, p).Idle == 3 })
	}
	slices.Sort(slices.Clone(pids))
	for round := range 10 {
		for i := range clients {
			k := (i*round + round) % 3
			clients[k].ask("SELECT pg_backend_pid()", pids[k])
			eventually(t, patience, "three server sessions", func() bool { return onlyPool(t, p).Idle == 3 })
		}
	}
	if pids[0] == pids[1] || pids[1] == pids[2] || pids[0] == pids[2] {
		t.Errorf("clients share server sessions while others are free: %v", pids)
	}
}

// How a text is read depends on settings that are carried in front of it, and not on what was in force for the client
// before.
func TestTextsAreReadAsTheClientsOwnSettingsSay(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "default_pool_size = 1")
	const hides = `SELECT 'x\' AS s; SET work_mem = '6MB' --'` // a SET if a backslash means itself
	for _, way := range []func(c *rawClient){
		func(c *rawClient) { c.query(hides) },
		func(c *rawClient) {
			c.play(&pgproto3.Parse{Query: `SELECT 'x\', set_config('work_mem', '6MB', false) --'`}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		},
	} {
		off, on, other := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db)
		off.query("SET standard_conforming_strings = off")
		way(on)
		other.ask("SHOW work_mem", "4MB")
		on.ask("SHOW work_mem", "6MB")
		off.ask("SHOW work_mem", "4MB")
	}
}
