package conform

// temporary is a kind of object that lives in the session's own schema. The other client makes one of the same name,
// and drops it again. Functions and types are asked for by a look-up, because a call of a missing one fails in different
// ways before and after the session had any temporary object, which is of no consequence.
func temporary(name string, ends []End, create, look, drop string) state {
	return state{name: name, ends: ends, make: sql(create), look: sql(look), work: sql(create, drop)}
}

// objects are what a session makes for itself alone.
func objects() []state {
	return []state{
		{
			name: "WITH HOLD cursor", ends: all,
			make: sql("DECLARE ~ CURSOR WITH HOLD FOR SELECT generate_series(1, 3)"),
			look: sql("FETCH 2 FROM ~", "SELECT count(*) FROM pg_cursors WHERE name = '~'"),
		},
		{
			name: "cursor without hold", ends: []End{EndCommit, EndOpen, EndKilledInBlock},
			make: sql("DECLARE ~ CURSOR FOR SELECT generate_series(1, 3)", "FETCH 1 FROM ~"), look: sql("FETCH 1 FROM ~"),
		},
		temporary("temporary table", all, "CREATE TEMP TABLE ~ AS SELECT 'mine'", "SELECT * FROM ~", "DROP TABLE ~"),
		{
			name: "temporary table, rows changed later", ends: few, before: sql("CREATE TEMP TABLE ~ (a int)"),
			make: sql("INSERT INTO ~ VALUES (1)"), look: sql("SELECT count(*) FROM ~"), work: sql("CREATE TEMP TABLE ~ (a int)"),
		},
		{
			name: "temporary table, ON COMMIT DROP", ends: few,
			make: sql("CREATE TEMP TABLE ~ (a int) ON COMMIT DROP"), look: sql("SELECT count(*) FROM ~"),
		},
		{
			name: "temporary table, dropped", ends: few, before: sql("CREATE TEMP TABLE ~ (a int)"),
			make: sql("DROP TABLE ~"), look: sql("SELECT count(*) FROM ~"),
		},
		temporary("SELECT INTO TEMP", few, "SELECT 'mine' AS a INTO TEMP ~", "SELECT * FROM ~", "DROP TABLE ~"),
		{
			name: "temporary table by search_path", ends: few, before: sql("SET search_path = pg_temp"),
			make: sql("CREATE TABLE ~ (a int)"), look: sql("SELECT count(*) FROM pg_temp.~"), work: sql("CREATE TEMP TABLE ~ (a int)"),
		},
		temporary("temporary view", all, "CREATE TEMP VIEW ~ AS SELECT 'mine'", "SELECT * FROM ~", "DROP VIEW ~"),
		temporary("temporary sequence", few, "CREATE TEMP SEQUENCE ~ START 7", "SELECT last_value FROM ~", "DROP SEQUENCE ~"),
		temporary("pg_temp function", all, "CREATE FUNCTION pg_temp.~() RETURNS text LANGUAGE sql AS 'SELECT ''mine''::text'",
			"SELECT to_regprocedure('pg_temp.~()') IS NOT NULL", "DROP FUNCTION pg_temp.~()"),
		temporary("temporary type", few, "CREATE TYPE pg_temp.~ AS ENUM ('mine')", "SELECT to_regtype('pg_temp.~') IS NOT NULL", "DROP TYPE pg_temp.~"),
		temporary("temporary domain", few, "CREATE DOMAIN pg_temp.~ AS int", "SELECT to_regtype('pg_temp.~') IS NOT NULL", "DROP DOMAIN pg_temp.~"),
		{
			name: "DISCARD ALL, objects", ends: alone,
			before: sql("CREATE TEMP TABLE ~ (a int)", "DECLARE ~ CURSOR WITH HOLD FOR SELECT 1", "SELECT pg_advisory_lock(~key)", "LISTEN ~"),
			make:   sql("DISCARD ALL"),
			look:   sql("SELECT count(*) FROM ~", "FETCH 1 FROM ~", "SELECT pg_listening_channels()").then(held),
		},
		{
			name: "large object descriptor", ends: []End{EndCommit, EndOpen, EndKilledInBlock},
			setup: "SELECT lo_from_bytea(~key, 'content')", drop: "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = ~key",
			make: sql("SELECT lo_open(~key, 262144)"), look: sql("SELECT loread(0, 3)"),
		},
	}
}

// held counts the locks that this case knows, of one's own session and of all.
var held = titled("own locks", countLocks+" AND pid = pg_backend_pid()").then(titled("all locks", countLocks))

const countLocks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = ~key" +
	" AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"

// lock is a state that others see by its effect: they cannot have the lock. A lock that is tried for the transaction
// only leaves nothing behind.
func lock(name string, ends []End, before, unit, look script) state {
	return state{
		name: name, ends: ends, public: true, before: before, make: unit, look: look,
		spy: held.then(
			titled("lock", "SELECT pg_try_advisory_xact_lock(~key), pg_try_advisory_xact_lock(1, ~key)"),
			titled("shared lock", "SELECT pg_try_advisory_xact_lock_shared(~key)")),
	}
}

// locks are those on numbers, which outlive transactions, and channels listened on.
func locks() []state {
	take, giveBack := "SELECT pg_advisory_lock(~key)", "SELECT pg_advisory_unlock(~key)"
	return []state{
		lock("session advisory lock", all, nil, sql(take), held),
		lock("session advisory lock, unlocked later", few, nil, sql(take), sql(giveBack).then(held)),
		lock("session advisory lock, try and two keys", few, nil, sql("SELECT pg_try_advisory_lock(1, ~key)"), held),
		lock("session advisory lock, shared", few, nil, sql("SELECT pg_advisory_lock_shared(~key)"),
			held.then(sql("SELECT pg_advisory_unlock_shared(~key)"))),
		lock("session advisory lock twice, unlocked once", few, sql(take), sql(take, giveBack), held.then(sql(giveBack, giveBack))),
		lock("session advisory lock, unlocked", few, sql(take), sql(giveBack), held.then(sql(giveBack))),
		lock("session advisory lock, unlock_all", few, sql(take, take), sql("SELECT pg_advisory_unlock_all()"), held.then(sql(giveBack))),
		lock("transaction advisory lock", []End{EndCommit, EndOpen, EndKilledInBlock, EndKilledBusy}, nil,
			sql("SELECT pg_advisory_xact_lock(~key)"), held),
		{
			name: "LISTEN, NOTIFY by another client", ends: []End{EndAutocommit, EndCommit, EndDisconnect, EndKilledIdle},
			make: sql("LISTEN ~"), look: sql("SELECT pg_listening_channels()").then(direct("NOTIFY ~, 'hello'"), await("hello")), spy: unheard,
		},
		{
			name: "LISTEN taken back", ends: untaken,
			make: sql("LISTEN ~"), look: unheard, spy: unheard,
		},
		{
			name: "UNLISTEN", ends: few, before: sql("LISTEN ~", "LISTEN ~_2"),
			make: sql("UNLISTEN ~"), look: sql("SELECT pg_listening_channels()").then(direct("NOTIFY ~_2, 'hello'"), await("hello")), spy: unheard,
		},
		{
			name: "NOTIFY to oneself", ends: few, before: sql("LISTEN ~"),
			make: sql("NOTIFY ~, 'hello'"), look: sql("SELECT 1").then(received("hello")), spy: unheard,
		},
	}
}

// unheard looks whether a notification comes to somebody who did not ask for it.
var unheard = sql("SELECT pg_listening_channels()").then(direct("NOTIFY ~, 'for nobody'"), sql("SELECT 'after it'"), received("for nobody"))
