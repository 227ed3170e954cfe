package conform

import "strings"

// sessions are states of a session without a name: sequences, the random numbers, libraries, the transaction itself.
func sessions() []state {
	numbers := "CREATE SEQUENCE ~.s START 100; CREATE SEQUENCE ~.other START 7000"
	ofOwn := sql("SELECT currval('~.s')", "SELECT lastval()")
	other := sql("SELECT nextval('~.other')")
	return []state{
		{name: "nextval, then currval and lastval", ends: all, setup: numbers, honest: "55000", make: sql("SELECT nextval('~.s')"), look: ofOwn, work: other},
		{name: "nextval, other's DISCARD ALL", ends: few, setup: numbers, honest: "55000", make: sql("SELECT nextval('~.s')"), look: ofOwn},
		{name: "setval, then currval", ends: few, setup: numbers, honest: "55000", make: sql("SELECT setval('~.s', 42)"), look: ofOwn[:1], work: other},
		{
			name: "INSERT with a serial, then lastval", ends: few, honest: "55000",
			setup: "CREATE TABLE ~.t (id serial, a int); CREATE SEQUENCE ~.other START 7000",
			make:  sql("INSERT INTO ~.t (a) VALUES (1)"), look: sql("SELECT lastval()"), work: other,
		},
		{
			name: "DISCARD ALL, sequences", ends: alone, setup: numbers,
			before: sql("SELECT nextval('~.s')"), make: sql("DISCARD ALL"), look: ofOwn, work: other, honest: "55000",
		},
		{
			// The table holds what follows the seed, so that one's own next number is the first of it and another's none.
			name: "setseed, then random", ends: all,
			setup: "SELECT setseed(~key / 2147483647.0); CREATE TABLE ~.t AS SELECT n, random() AS r FROM generate_series(1, 20) AS n",
			make:  sql("SELECT setseed(~key / 2147483647.0)"), look: titled("place of random() after the seed", "SELECT n FROM ~.t WHERE r = (SELECT random())"),
		},
		{
			name: "LOAD", ends: []End{EndAutocommit, EndCommit, EndDisconnect, EndKilledIdle}, super: true,
			make: sql("LOAD 'auto_explain'"), look: titled("parameter of the library", "SELECT current_setting('auto_explain.log_min_duration', true)"),
		},
		{
			name: "transaction with a row", ends: []End{EndCommit, EndRollback, EndSavepoint, EndOpen, EndDisconnect, EndKilledInBlock, EndKilledBusy},
			setup: "CREATE TABLE ~.t (a int)", public: true,
			make: sql("INSERT INTO ~.t VALUES (1)"), look: sql("SELECT count(*) FROM ~.t"), work: sql("SELECT 'work'"),
		},
		{
			name: "transaction with SET", ends: inside, make: sql("SET work_mem = '5MB'"), look: sql("SHOW work_mem"),
			work: sql("SET work_mem = '6MB'"),
		},
		{
			name: "failed transaction", ends: []End{EndOpen, EndCommit, EndRollback, EndKilledInBlock, EndKilledBusy},
			make: sql("SELECT 1/0"), look: sql("SELECT 'alive'"),
		},
		{
			name: "statement that fails", ends: alone, before: sql("SET work_mem = '5MB'"),
			make: sql("SELECT 1/0"), look: sql("SHOW work_mem"), work: sql("SET work_mem = '6MB'"),
		},
	}
}

// code is state made where no proxy can read it: in functions, DO blocks, procedures and triggers.
func code() []state {
	const header = "CREATE TABLE ~.t (a int); "
	acts := []struct {
		what, body string
		like       state
	}{
		{"SET", "PERFORM set_config('work_mem', '5MB', false);", state{look: sql("SHOW work_mem"), work: sql("SET work_mem = '6MB'")}},
		{"temporary table", "CREATE TEMP TABLE ~ (a int);", state{look: sql("SELECT count(*) FROM ~"), work: sql("CREATE TEMP TABLE ~ (a int)")}},
		{"advisory lock", "PERFORM pg_advisory_lock(~key);", lock("", nil, nil, nil, held)},
	}
	ways := []struct{ where, setup, call string }{
		{"function", "CREATE FUNCTION ~.f() RETURNS void LANGUAGE plpgsql AS $$BEGIN @ END$$", "SELECT ~.f()"},
		{"DO block", "", "DO $$BEGIN @ END$$"},
		{"procedure", "CREATE PROCEDURE ~.p() LANGUAGE plpgsql AS $$BEGIN @ END$$", "CALL ~.p()"},
		{"trigger", "CREATE FUNCTION ~.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN @ RETURN NULL; END$$;" +
			" CREATE TRIGGER t AFTER INSERT ON ~.t EXECUTE FUNCTION ~.f()", "INSERT INTO ~.t VALUES (1)"},
	}
	ends := []End{EndAutocommit, EndCommit, EndRollback, EndDisconnect, EndKilledIdle}
	var states []state
	for _, w := range ways {
		for _, in := range acts {
			s := in.like
			s.name, s.ends = in.what+" in a "+w.where, ends
			s.setup = header + strings.Replace(w.setup, "@", in.body, 1)
			s.make = sql(strings.Replace(w.call, "@", in.body, 1))
			states = append(states, s)
		}
	}
	return states
}
