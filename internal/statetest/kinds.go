package statetest

import (
	"fmt"
	"strings"
)

// setting is a parameter that clients play with.
type setting struct {
	name   string
	values []string
	wrong  []string // values that PostgreSQL refuses
}

var settings = []setting{
	{"work_mem", []string{"1MB", "64kB", "8192", "3MB"}, []string{"-1", "lots"}},
	{"statement_timeout", []string{"10min", "1h", "700000"}, []string{"soon"}},
	{"lock_timeout", []string{"10min", "800000"}, []string{"-5"}},
	{"TimeZone", []string{"UTC", "Asia/Kathmandu", "America/New_York", "<+03>-03"}, []string{"Mars/Base"}},
	{"DateStyle", []string{"ISO", "German", "DMY", "SQL, DMY", "Postgres", "YMD", "ISO, MDY"}, []string{"Nonsense", "ISO, SQL"}},
	{"search_path", []string{"public", "s1", "s2, public", `"$user", s1`, `""`, `"s1, s2"`, "nosuch, s2"}, []string{"a b"}},
	{"application_name", []string{"one", "two", "it's", "", "a b"}, nil},
	{"extra_float_digits", []string{"0", "3", "-5"}, []string{"99"}},
	{"bytea_output", []string{"hex", "escape"}, []string{"octal"}},
	{"IntervalStyle", []string{"iso_8601", "postgres_verbose", "sql_standard", "postgres"}, []string{"x"}},
	{"default_transaction_isolation", []string{"read committed", "repeatable read", "serializable"}, []string{"none"}},
	{"default_transaction_read_only", []string{"off", "off", "on"}, []string{"perhaps"}},
	{"client_min_messages", []string{"notice", "warning", "error"}, []string{"loud"}},
	{"standard_conforming_strings", []string{"on", "off"}, []string{"x"}},
	{"client_encoding", []string{"UTF8", "LATIN1"}, []string{"nosuch"}},
	{"deadlock_timeout", []string{"2s", "3s"}, []string{"0"}}, // for superusers
	{"app.a", []string{"x", "y y", ""}, nil},
	{"app.b", []string{"1", "2"}, nil},
}

// settingNames are those of PostgreSQL's own parameters.
func settingNames() []string {
	var names []string
	for _, s := range settings {
		if !strings.Contains(s.name, ".") {
			names = append(names, s.name)
		}
	}
	return append(names, "transaction_isolation", "transaction_read_only", "is_superuser", "role", "session_authorization")
}

// kind is a sort of steps.
type kind struct {
	name       string
	weight     int
	onlySimple bool // a simple query of its own
	pipe       bool // the text is that of a Pipe
	text       func(*generator) string
}

// oneOf is a kind of steps that are written down.
func oneOf(name string, weight int, texts ...string) kind {
	return kind{name: name, weight: weight, text: func(g *generator) string { return pick(g, texts...) }}
}

var allKinds = []kind{
	{name: "set", weight: 26, text: (*generator).set},
	{name: "set_config", weight: 8, text: (*generator).setConfig},
	{name: "set_config with parameters", weight: 4, pipe: true, text: (*generator).setConfigBound},
	oneOf("reset all", 2, "RESET ALL"),
	oneOf("characteristics", 3,
		"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
		"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"),
	oneOf("time zone", 3, "SET TIME ZONE 'Europe/Paris'", "SET TIME ZONE LOCAL", "SET TIME ZONE DEFAULT", "SET TIME ZONE -3.5",
		"SET TIME ZONE INTERVAL '+03:00' HOUR TO MINUTE", "SET NAMES 'LATIN1'", "SET NAMES DEFAULT"),
	oneOf("odd settings", 3, "UPDATE pg_catalog.pg_settings SET setting = '5000' WHERE name = 'work_mem'", "SET server_version = '1'",
		"SET nosuch = 1", "SET /* a; b */ work_mem /* -- */ = '2MB' -- ; SET work_mem = 1", "SET search_path = s1, s2", "SET \"work_mem\" TO 4096",
		`SELECT 'x\' AS s; SET work_mem = '6MB' --'`, "SET DateStyle = ISO, DMY", "RESET nosuch.x"),
	oneOf("role", 7, "SET ROLE statetest_a", "SET ROLE statetest_b", "SET ROLE NONE", "RESET ROLE", "SET ROLE nosuch",
		"SET LOCAL ROLE statetest_a", "SELECT pg_catalog.set_config('role', 'statetest_b', false)", "SET ROLE 'none'"),
	oneOf("authorization", 4, "SET SESSION AUTHORIZATION statetest_a", "SET SESSION AUTHORIZATION statetest_b", "SET SESSION AUTHORIZATION DEFAULT",
		"RESET SESSION AUTHORIZATION", "RESET SESSION AUTHORIZATION", "SET LOCAL SESSION AUTHORIZATION statetest_b"),
	oneOf("begin", 8, "BEGIN", "BEGIN", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN READ ONLY",
		"BEGIN; SET LOCAL work_mem = '9MB'; SAVEPOINT sp1"),
	oneOf("transaction", 9, "COMMIT", "ROLLBACK", "SAVEPOINT sp1", "SAVEPOINT sp2", "ROLLBACK TO sp1", "ROLLBACK TO sp2", "RELEASE sp1",
		"RELEASE sp2", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET CONSTRAINTS ALL DEFERRED"),
	oneOf("error", 6, "SELECT 1/0", "SELEC 1", "SELECT nosuch", "DO $$ BEGIN RAISE WARNING 'w'; PERFORM 1/0; END $$", "SELECT 'x'::int"),
	oneOf("nothing", 1, "", ";", "-- only a comment", "SELECT"),
	{name: "prepare", weight: 6, text: (*generator).prepare},
	oneOf("execute", 7, "EXECUTE p1", "EXECUTE p2('1')", "EXECUTE p3(1)", "EXECUTE p1(2)", "EXECUTE p2"),
	oneOf("deallocate", 4, "DEALLOCATE p1", "DEALLOCATE PREPARE p2", "DEALLOCATE p3", "DEALLOCATE ALL"),
	oneOf("cursor", 8, "DECLARE cur1 CURSOR WITH HOLD FOR SELECT pg_catalog.generate_series(1, 5)", "DECLARE cur2 SCROLL CURSOR WITH HOLD FOR SELECT 7 AS n",
		"DECLARE cur1 CURSOR FOR SELECT 1", "FETCH 2 FROM cur1", "FETCH cur2", "FETCH BACKWARD 1 FROM cur2", "MOVE 1 IN cur1", "CLOSE cur1", "CLOSE cur2", "CLOSE ALL"),
	oneOf("temp", 10, "CREATE TEMP TABLE tt1 (a int)", "CREATE TEMP TABLE tt2 ON COMMIT DROP AS SELECT 1 AS a", "CREATE TEMP TABLE IF NOT EXISTS tt1 (b text)",
		"SELECT 'x' AS a INTO TEMP tt2", "CREATE TABLE pg_temp.tt1 (a text)", "CREATE TEMP VIEW tv1 AS SELECT 1 AS a", "CREATE TEMP SEQUENCE ts1",
		"CREATE FUNCTION pg_temp.tf1() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE TEMP TABLE tt2 (a int) ON COMMIT DELETE ROWS"),
	// What names pg_temp comes after something temporary: whether a session has that schema cannot be undone.
	oneOf("temp use", 9, "INSERT INTO tt1 VALUES (1)", "INSERT INTO tt2 VALUES (2)", "SELECT * FROM tt1", "SELECT a FROM tt2", "DROP TABLE tt1", "DROP TABLE IF EXISTS tt2",
		"DROP VIEW tv1", "DROP SEQUENCE ts1", "CREATE TEMP TABLE IF NOT EXISTS tt1 (a int); SELECT pg_temp.tf1()",
		"CREATE TEMP TABLE IF NOT EXISTS tt1 (a int); DROP FUNCTION IF EXISTS pg_temp.tf1()", "SELECT * FROM tt3", "DROP TABLE IF EXISTS tt3"),
	oneOf("discard", 5, "DISCARD TEMP", "DISCARD PLANS", "DISCARD SEQUENCES", "DISCARD ALL", "DISCARD ALL"),
	oneOf("lock", 9, "SELECT pg_catalog.pg_advisory_lock({lock1})", "SELECT pg_advisory_lock({lock1}), pg_advisory_lock({lock1})", "SELECT pg_try_advisory_lock({lock2})",
		"SELECT pg_advisory_lock_shared({lock1})", "SELECT pg_advisory_lock({lock1}, 5)", "SELECT pg_advisory_xact_lock({lock3})", "SELECT pg_try_advisory_lock_shared({lock2})"),
	oneOf("unlock", 8, "SELECT pg_advisory_unlock({lock1})", "SELECT pg_advisory_unlock({lock2})", "SELECT pg_advisory_unlock_shared({lock1})", "SELECT pg_advisory_unlock({lock1}, 5)",
		"SELECT pg_advisory_unlock_all()"),
	oneOf("listen", 4, "LISTEN {my}a", "LISTEN {my}b"),
	oneOf("unlisten", 4, "UNLISTEN {my}a", "UNLISTEN *", "NOTIFY {my}a, 'hi'", "NOTIFY {my}b"),
	oneOf("hidden", 8, "DO $$ BEGIN PERFORM set_config('work_mem', '6MB', false); END $$", "SELECT public.st_set('TimeZone', 'Asia/Tokyo')",
		"SELECT public.st_set('app.a', 'hidden')", "SELECT public.st_set('search_path', 's2')", "SELECT public.st_local()", "SELECT public.st_hold_temp()", "SELECT public.st_hold_lock({lock1})",
		"DO $$ BEGIN CREATE TEMP TABLE tt1 (a int); EXCEPTION WHEN duplicate_table THEN RAISE NOTICE 'there'; END $$", "DO $$ BEGIN PERFORM pg_advisory_lock({lock2}); END $$",
		"DO $$ BEGIN EXECUTE 'SET ROLE statetest_a'; END $$", "SELECT public.st_set('role', 'statetest_b')", "DO $$ BEGIN SET LOCAL work_mem = '5MB'; END $$"),
	{name: "show", weight: 14, text: (*generator).show},
	oneOf("private", 6, "INSERT INTO public.{my}kept VALUES ('x') RETURNING a", "SELECT count(*) FROM public.{my}kept", "COPY (SELECT word FROM place) TO STDOUT"),
	oneOf(Sequences, 2, "SELECT nextval('public.{my}seq')", "SELECT nextval('public.{my}seq'), currval('public.{my}seq')"),
	{name: Sequences, weight: 2, onlySimple: true, text: (*generator).sequenceRead},
}

// Sequences is the kind of steps that call nextval, currval and lastval. A proxy may keep a client on its server session
// for what they leave, and nobody can see that: leave it out, or let there be a server session for each client.
const Sequences = "sequences"

func (g *generator) set() string {
	s := pick(g, settings...)
	from := s.values
	if len(s.wrong) > 0 && g.chance(10) {
		from = s.wrong
	}
	value := literal(pick(g, from...))
	if s.name == "search_path" && g.chance(60) {
		value = pick(g, "public", "s1", "s2, public", `"$user", s1`, "''", "pg_temp, s1")
	}
	switch g.IntN(10) {
	case 0:
		return "RESET " + s.name
	case 1:
		return "SET " + s.name + " TO DEFAULT"
	case 2:
		return "SET LOCAL " + s.name + " TO " + value
	case 3:
		return "SET SESSION " + s.name + " = " + value
	case 4:
		return "set " + strings.ToUpper(s.name) + " to " + value
	}
	return "SET " + s.name + " = " + value
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (g *generator) setConfig() string {
	s := pick(g, settings...)
	return fmt.Sprintf("SELECT set_config('%s', %s, %t)", s.name, literal(pick(g, s.values...)), g.chance(30))
}

func (g *generator) setConfigBound() string {
	s := pick(g, settings...)
	name := pick(g, "-", "-", "p1")
	return fmt.Sprintf("parse %s SELECT set_config($1, $2, $3::bool) ;; bind - %s %s %s %t ;; execute -",
		name, name, s.name, quote(pick(g, s.values...)), g.chance(30))
}

// prepared is a text with values for its parameters.
type prepared struct{ text, args string }

var preparable = []prepared{
	{"SELECT $1::text AS x, current_setting('work_mem')", "x"},
	{"SELECT $1::int + 1 AS n", "1"},
	{"SELECT word FROM place", ""},
	{"SELECT current_user, '2024-03-10 12:00:00+00'::timestamptz", ""},
	{"SELECT pg_catalog.generate_series(1, 4)", ""},
	{"INSERT INTO public.{my}kept VALUES ($1)", "p"},
	{"SELECT set_config('app.b', $1, false)", "2"},
	{"SELECT * FROM tt1", ""},
	{"SELECT pg_try_advisory_lock({lock4})", ""},
}

func (g *generator) prepare() string {
	name := pick(g, "p1", "p2", "p3")
	if g.chance(30) {
		return "PREPARE " + name + " (int) AS SELECT $1 + 1 AS n"
	}
	return "PREPARE " + name + " AS " + pick(g, preparable...).text
}

func (g *generator) show() string {
	s := pick(g, settings...)
	if strings.Contains(s.name, ".") { // SHOW would tell whether anybody has ever set it
		return "SELECT coalesce(current_setting('" + s.name + "', true), '')"
	}
	return pick(g, "SHOW "+s.name, "SELECT current_setting('"+s.name+"')", "SELECT current_user, session_user", "SELECT word FROM place",
		"SELECT '2024-03-10 12:00:00+00'::timestamptz, '2024-02-01'::date, interval '1 day 2 hours', decode('01ff', 'hex'), 0.1::float8 + 0.2")
}

// sequenceRead stays out of transactions, where the error that a proxy may give instead would change what follows.
func (g *generator) sequenceRead() string {
	if g.whose.inTransaction() {
		return g.show()
	}
	return pick(g, "SELECT currval('public.{my}seq')", "SELECT lastval()")
}
