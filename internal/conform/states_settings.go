package conform

var extendedOnly = []Protocol{Extended}

// settings are the parameters that a client sets for itself. The other client sets its own value meanwhile, so that a
// server session handed back as it was left would show that.
func settings() []state {
	return []state{
		{
			name: "SET application_name", ends: all,
			make: sql("SET application_name = 'first'"),
			look: sql("SHOW application_name").then(told("application_name")),
			work: sql("SET application_name = 'second'"),
		},
		{
			name: "SET TimeZone", ends: few,
			make: sql("SET TimeZone = 'Asia/Tokyo'"),
			look: sql("SHOW TimeZone", "SELECT timestamptz 'epoch'").then(told("TimeZone")),
			work: sql("SET TimeZone = 'America/Lima'"),
		},
		{
			name: "SET DateStyle", ends: few,
			make: sql("SET DateStyle = 'SQL, DMY'"),
			look: sql("SHOW DateStyle", "SELECT date '2001-02-03'").then(told("DateStyle")),
			work: sql("SET DateStyle = 'German'"),
		},
		{
			name: "SET client_encoding", ends: few,
			make: sql("SET client_encoding = 'LATIN1'"),
			look: sql("SHOW client_encoding", "SELECT chr(233)").then(told("client_encoding")),
			work: sql("SET client_encoding = 'WIN1252'"),
		},
		{
			name: "SET standard_conforming_strings", ends: alone,
			make: sql("SET standard_conforming_strings = off"),
			look: sql(`SELECT length('a\\b')`).then(told("standard_conforming_strings")),
			work: sql("SET standard_conforming_strings = on"),
		},
		{name: "SET work_mem", ends: all, make: sql("SET work_mem = '5MB'"), look: sql("SHOW work_mem"), work: sql("SET work_mem = '6MB'")},
		{
			name: "SET statement_timeout", ends: few,
			make: sql("SET statement_timeout = '77s'"), look: sql("SHOW statement_timeout"), work: sql("SET statement_timeout = '99s'"),
		},
		{
			name: "SET search_path", ends: all,
			setup: "CREATE TABLE ~.~_t (); CREATE SCHEMA ~_2", drop: "DROP SCHEMA IF EXISTS ~_2 CASCADE",
			make: sql("SET search_path = ~"),
			look: sql("SHOW search_path", "SELECT to_regclass('~_t') IS NULL"),
			work: sql("SET search_path = ~_2"),
		},
		{
			name: "SET of a custom parameter", ends: all,
			make: sql("SET conform.~ = 'first'"),
			look: sql("SELECT current_setting('conform.~', true)"),
			work: sql("SET conform.~ = 'second'"),
		},
		{
			name: "set_config in a SELECT", ends: all,
			make: sql("SELECT set_config('work_mem', '5MB', false)"),
			look: sql("SHOW work_mem"), work: sql("SELECT set_config('work_mem', '6MB', false)"),
		},
		{
			name: "set_config, computed name", ends: few,
			make: sql("SELECT set_config('work_' || 'mem', v, false) FROM (VALUES ('5MB')) AS t (v)"),
			look: sql("SHOW work_mem"), work: sql("SET work_mem = '6MB'"),
		},
		{
			name: "set_config, name and value bound", ends: all, only: extendedOnly,
			make: bound("SELECT set_config($1, $2, false)", "work_mem", "5MB"),
			look: sql("SHOW work_mem"), work: bound("SELECT set_config($1, $2, false)", "work_mem", "6MB"),
		},
		{
			name: "UPDATE pg_settings", ends: few,
			make: sql("UPDATE pg_settings SET setting = '5120' WHERE name = 'work_mem'"),
			look: sql("SHOW work_mem"), work: sql("SET work_mem = '6MB'"),
		},
		{
			name: "SET SESSION CHARACTERISTICS", ends: all,
			make: sql("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"),
			look: sql("SHOW default_transaction_isolation", "SHOW transaction_read_only"),
			work: sql("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE"),
		},
		{
			name: "SET TRANSACTION", ends: []End{EndCommit, EndOpen, EndKilledInBlock},
			make: sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"),
			look: sql("SHOW transaction_isolation", "SHOW transaction_read_only"),
		},
		{
			name: "SET LOCAL", ends: []End{EndCommit, EndRollback, EndError, EndOpen, EndKilledInBlock},
			make: sql("SET LOCAL work_mem = '5MB'", "SHOW work_mem"), look: sql("SHOW work_mem"),
		},
		{
			name: "set_config, local", ends: few,
			make: sql("SELECT set_config('work_mem', '5MB', true)"), look: sql("SHOW work_mem"),
		},
		{
			name: "SET over a value, taken back", ends: untaken,
			before: sql("SET work_mem = '5MB'"), make: sql("SET work_mem = '7MB'"), look: sql("SHOW work_mem"), work: sql("SET work_mem = '6MB'"),
		},
		{
			name: "SET around a savepoint", ends: []End{EndCommit, EndRollback},
			make: sql("SET work_mem = '5MB'", "SAVEPOINT a", "SET work_mem = '7MB'", "ROLLBACK TO a", "SAVEPOINT b", "SET temp_buffers = '7MB'", "RELEASE b"),
			look: sql("SHOW work_mem", "SHOW temp_buffers"), work: sql("SET work_mem = '6MB'"),
		},
		{
			name: "SET refused by the server", ends: alone,
			before: sql("SET work_mem = '5MB'"), make: sql("SET work_mem = '7 horses'"), look: sql("SHOW work_mem"),
		},
		{
			name: "SET ROLE", ends: all, super: true,
			setup: "CREATE ROLE ~", drop: "DROP ROLE IF EXISTS ~",
			make: sql("SET ROLE ~"), look: sql("SELECT current_user", "SHOW role").then(told("is_superuser")), work: sql("RESET ROLE"),
		},
		{
			name: "SET SESSION AUTHORIZATION", ends: all, super: true,
			setup: "CREATE ROLE ~", drop: "DROP ROLE IF EXISTS ~",
			make: sql("SET SESSION AUTHORIZATION ~"),
			look: sql("SELECT session_user, current_user").then(told("session_authorization"), told("is_superuser")),
			work: sql("RESET SESSION AUTHORIZATION"),
		},
	}
}

// starts are values that a client brings along when it connects, and the ways back to them.
func starts() []state {
	mine := map[string]string{"application_name": "mine", "options": "-c work_mem=5MB"}
	look := sql("SHOW application_name", "SHOW work_mem").then(told("application_name"))
	work := sql("SET application_name = 'second'", "SET work_mem = '6MB'")
	changed := sql("SET application_name = 'changed'", "SET work_mem = '7MB'")
	arrival := []End{EndAutocommit, EndDisconnect, EndKilledIdle, EndKilledInBlock}
	return []state{
		{
			name: "start-up parameter, reported", ends: arrival, startup: map[string]string{"application_name": "mine", "TimeZone": "Asia/Tokyo"},
			look: sql("SHOW application_name", "SHOW TimeZone").then(told("TimeZone")), work: work,
		},
		{
			name: "start-up parameter, unreported", ends: arrival, startup: map[string]string{"work_mem": "5MB", "search_path": "pg_catalog"},
			look: sql("SHOW work_mem", "SHOW search_path"), work: work,
		},
		{
			name: "start-up client_encoding", ends: arrival, startup: map[string]string{"client_encoding": "LATIN1"},
			look: sql("SHOW client_encoding", "SELECT chr(233)").then(told("client_encoding")), work: sql("SET client_encoding = 'WIN1252'"),
		},
		{
			name: "start-up options", ends: arrival, startup: map[string]string{"options": "-c work_mem=5MB --conform.~=mine"},
			look: sql("SHOW work_mem", "SELECT current_setting('conform.~', true)"), work: work,
		},
		{
			name: "RESET to a start-up parameter", ends: all, startup: map[string]string{"application_name": "mine"},
			before: sql("SET application_name = 'changed'"), make: sql("RESET application_name"),
			look: sql("SHOW application_name").then(told("application_name")), work: work,
		},
		{
			name: "RESET to start-up options", ends: all, startup: map[string]string{"options": "-c work_mem=5MB"},
			before: sql("SET work_mem = '7MB'"), make: sql("RESET work_mem"), look: sql("SHOW work_mem"), work: work,
		},
		{name: "RESET ALL", ends: all, startup: mine, before: changed, make: sql("RESET ALL"), look: look, work: work},
		{
			name: "SET TO DEFAULT", ends: few, startup: mine, before: changed,
			make: sql("SET application_name TO DEFAULT", "SET work_mem = DEFAULT"), look: look, work: work,
		},
		{
			name: "RESET without start-up values", ends: few,
			before: changed, make: sql("RESET application_name", "RESET work_mem"), look: look, work: work,
		},
		{
			name: "DISCARD ALL, settings", ends: alone, startup: mine, before: changed,
			make: sql("DISCARD ALL"), look: look, work: work,
		},
	}
}
