package sessionstate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

type scanCase struct {
	name string
	text string
	want Effect
}

// harmlessTexts leave nothing behind, and the scanner must see that: each false alarm costs a server session. What
// want says is of interest to others only.
var harmlessTexts = []scanCase{
	{name: "nothing", text: ""},
	{name: "white space and comments", text: " \t\r\n\f\v-- SET x = 1\n/* LISTEN a /* ; */ */ ;;; "},
	{name: "constant", text: "SELECT 1"},
	{name: "lookup", text: "SELECT id, name FROM users u WHERE u.id = $1 AND u.deleted IS NULL LIMIT 10"},
	{name: "harmless calls", text: "SELECT lower(name), count(*), now() FROM users GROUP BY lower(name) HAVING count (*) > 1"},
	{name: "call in pg_catalog", text: "SELECT pg_catalog.lower(x), pg_catalog . \"upper\" (x)"},
	{name: "quoted harmless call", text: `SELECT "lower"(x)`},
	{name: "keywords before parentheses", text: `SELECT DISTINCT (a), ARRAY(SELECT 1), ROW(1, 2), CAST(a AS numeric(10, 2)),
		COALESCE(a, b), NULLIF(a, b), GREATEST(1, 2), LEAST(1, 2), EXTRACT(epoch FROM a), OVERLAY(a PLACING b FROM 1),
		POSITION(a IN b), SUBSTRING(a FROM 1), TRIM(BOTH FROM a), CASE WHEN (a) THEN (b) ELSE (c) END, NOT (a), EXISTS (SELECT 1)
		FROM (SELECT 1) AS s JOIN (SELECT 2) t USING (id) LEFT JOIN (x JOIN y ON (true)) ON (s.a = t.a)
		WHERE (a) IN (1, 2) AND (b) OR (c) AND a = ANY ($1) AND b <> ALL ($2) AND x BETWEEN (1) AND (2) AND y LIKE (z) AND y ILIKE ('%')
		GROUP BY (a), (b) HAVING (a) ORDER BY (a) LIMIT (1) OFFSET (2)`},
	{name: "set operations", text: "(SELECT 1) UNION (SELECT 2) UNION ALL (SELECT 3) EXCEPT (SELECT 4) INTERSECT (SELECT 5)"},
	{name: "window", text: "SELECT sum(a) FILTER (WHERE b) OVER (PARTITION BY c ORDER BY (d)), rank() OVER w FROM t WINDOW w AS (ORDER BY a)"},
	{name: "ordered set", text: "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t"},
	{name: "grouping sets", text: "SELECT a, GROUPING(a) FROM t GROUP BY GROUPING SETS ((a), ())"},
	{name: "rollup", text: "SELECT a FROM t GROUP BY ROLLUP (a, b)"},
	{name: "insert columns", text: "INSERT INTO t (a, b) VALUES ($1, $2) RETURNING (id)", want: EffectInsert},
	{name: "insert qualified columns", text: `INSERT INTO "s" . "t" (a) SELECT (a) FROM x`, want: EffectInsert},
	{name: "insert alias", text: "INSERT INTO t AS x (a) VALUES (DEFAULT)", want: EffectInsert},
	{name: "insert into a table called temp", text: "INSERT INTO temp (a) VALUES (1)", want: EffectInsert},
	{name: "upsert", text: "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) WHERE b > 1 DO UPDATE SET (a, b) = (excluded.a, 2), c = (3)", want: EffectInsert},
	{name: "upsert on constraint", text: "INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING", want: EffectInsert},
	{name: "upserts in a row", text: "WITH a AS (INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING) INSERT INTO u VALUES (1) ON CONFLICT (b) DO NOTHING", want: EffectInsert},
	{name: "update", text: "UPDATE t SET (a, b) = (1, 2) FROM x WHERE t.id = x.id"},
	{name: "update alias", text: "UPDATE t AS x SET (a) = ROW (1)"},
	{name: "delete", text: "DELETE FROM t USING x WHERE (t.id) = x.id"},
	{name: "merge", text: "MERGE INTO t USING s ON (t.a = s.a) WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT (a, b) VALUES (1, 2)", want: EffectInsert},
	{name: "alias with columns", text: "SELECT * FROM (VALUES (1, 2)) AS v(a, b), unnest(x) u(y), generate_series(1, 2) g (i), jsonb_to_record(j) AS r(a int, b varchar(3))"},
	{name: "with ordinality", text: "SELECT * FROM unnest(x) WITH ORDINALITY AS t(a, n), unnest(y) WITH ORDINALITY u(a, n)"},
	{name: "not ilike", text: "SELECT 1 FROM t WHERE a NOT ILIKE ('%') AND b NOT IN (1) AND c NOT LIKE (d)"},
	{name: "named operator", text: "SELECT c.relname OPERATOR(pg_catalog.~) '^(x)$' COLLATE pg_catalog.default FROM pg_catalog.pg_class c"},
	{name: "common table expressions", text: "WITH a(x, y) AS (SELECT 1, 2), b (z) AS MATERIALIZED (SELECT 1), c AS NOT MATERIALIZED (SELECT lower('A')) SELECT * FROM a, b, c"},
	{name: "recursive", text: "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r), q(m) AS (SELECT 1) SELECT * FROM r"},
	{name: "nested with", text: "WITH a AS (WITH b(x) AS (SELECT 1) SELECT * FROM b), c(d) AS (SELECT 1) SELECT 1"},
	{name: "tablesample", text: "SELECT * FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (1)"},
	{name: "types", text: "SELECT a::numeric(10,2), b::character varying(3), c::bit varying (3), d::timestamp(3) with time zone, e::s.custom(3), '1'::interval(3), time '10:00' AT TIME ZONE ('x')"},
	{name: "current times", text: "SELECT CURRENT_TIMESTAMP(3), LOCALTIME(0)"},
	{name: "fetch first", text: "SELECT 1 FETCH FIRST (1) ROWS ONLY"},
	{name: "distinct on", text: "SELECT DISTINCT ON (a) a, lower(b) FROM t"},
	{name: "for update", text: "SELECT * FROM t FOR UPDATE OF t SKIP LOCKED"},
	{name: "json", text: "SELECT json_build_object('a', 1), a->>'b', jsonb_path_query(a, '$.x'), a @> '{\"x\": \"set_config(\"}'"},
	{name: "xml", text: "SELECT xmlelement(name a, xmlattributes(b AS c), xmlforest(d)), xmlserialize(CONTENT x AS varchar(10))"},
	{name: "strings that look like code", text: `SELECT 'SET x = 1; LISTEN a', 'it''s setseed(1)', E'\'; LISTEN a', $$LISTEN a; f(x)$$, $t$ $$ $u$ $ $t $$t$t$, B'01', X'1F', N'LISTEN', U&'\0041'`},
	{name: "backslash in a standard string", text: `SELECT 'a\', lower('b')`},
	{name: "continued string", text: "SELECT E'a' -- ;\n 'b\\'; LISTEN x; --'"},
	{name: "quoted identifier", text: `SELECT "a;b", "x""y" FROM "LISTEN a;"`},
	{name: "columns named like words", text: `SELECT t.set, t.listen, t.temp, "set", x.nextval, y.setseed AS execute FROM t`},
	{name: "alias temp", text: "SELECT a AS temp, b temp FROM t temp"},
	{name: "numbers", text: "SELECT 1, 1.5, .5, 1e10, 1.5e-3, 0x1F, 1_000, a[1:2], a [1], 1."},
	{name: "parameters", text: "SELECT $1, $2::int, $10"},
	{name: "dollar inside an identifier", text: "SELECT a$b$c, x$ FROM t$$t"},
	{name: "high bytes", text: "SELECT größe, \"żółw\", 'é' FROM täble WHERE é = 1"},
	{name: "operators", text: "SELECT a-1, b/2, -c, a <-> b, x ~* 'y', a || b, !!x, @ -5, a /* c */ - /* d */ 1, a ->> 'x' #> y ? 'z'"},
	{name: "line comment at the end", text: "SELECT 1 -- LISTEN"},
	{name: "reads of sequences", text: "SELECT currval('s'), lastval()", want: EffectSequenceRead},
	{name: "transaction locks", text: "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(1, 2)"},
	{name: "local set_config", text: "SELECT set_config('a.b', $1, true), pg_catalog.set_config('search_path', 'a, b', 'T')", want: EffectReset},
	{name: "local set_config of a role", text: "SELECT set_config('role', $1, TRUE)", want: EffectReset},
	{name: "set local", text: "SET LOCAL work_mem = '1MB'"},
	{name: "set local role", text: "SET LOCAL ROLE x"},
	{name: "set local authorization", text: "SET LOCAL SESSION AUTHORIZATION x"},
	{name: "set transaction", text: "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"},
	{name: "set constraints", text: "SET CONSTRAINTS ALL DEFERRED"},
	{name: "show", text: "SHOW search_path"},
	{name: "transactions", text: "BEGIN ISOLATION LEVEL SERIALIZABLE; START TRANSACTION READ ONLY; SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a; COMMIT AND CHAIN; END; ABORT; ROLLBACK"},
	{name: "two-phase", text: "PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'; ROLLBACK PREPARED 'x'; prepare transaction E'a'"},
	{name: "cursor", text: "DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SELECT lower(a) FROM hold; FETCH 10 FROM c; MOVE FORWARD ALL IN c"},
	{name: "copy", text: "COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER)", want: EffectInsert},
	{name: "copy of a query", text: "COPY (SELECT lower(a) FROM t) TO PROGRAM 'x'", want: EffectInsert},
	{name: "create table", text: `CREATE TABLE IF NOT EXISTS s.t (id integer PRIMARY KEY, a varchar(10) NOT NULL DEFAULT (1), b numeric (10, 2),
		c timestamp(3) without time zone DEFAULT now(), d character varying (3), e "char", f text COLLATE "C" CHECK (length(f) > 1),
		g int REFERENCES o (id) ON DELETE SET NULL, h int GENERATED ALWAYS AS IDENTITY (START WITH 1), i int GENERATED ALWAYS AS (a + 1) STORED,
		UNIQUE (a, b), FOREIGN KEY (a) REFERENCES s.o (id), CONSTRAINT k PRIMARY KEY (a), LIKE x INCLUDING ALL) PARTITION BY RANGE (a)`},
	{name: "create partition", text: "CREATE TABLE p PARTITION OF t (a DEFAULT 1) FOR VALUES FROM (1) TO (2) PARTITION BY LIST (b)"},
	{name: "create table as", text: "CREATE UNLOGGED TABLE t (a, b) AS SELECT 1, lower('A') WITH NO DATA"},
	{name: "temporary table until commit", text: "CREATE TEMP TABLE t (a varchar(3)) ON COMMIT DROP"},
	{name: "temporary copy until commit", text: "CREATE LOCAL TEMPORARY TABLE t ON COMMIT DROP AS SELECT 1"},
	{name: "create index", text: "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY s.t USING gin (lower(a) gin_trgm_ops, b) INCLUDE (c) WITH (fillfactor = 70) WHERE (a) > 1"},
	{name: "create index without method", text: "CREATE INDEX ON t (a, (b + 1) DESC NULLS LAST)"},
	{name: "create view", text: "CREATE OR REPLACE VIEW v (a, b) AS SELECT f(x), nextval('s') FROM t"},
	{name: "materialized view", text: "CREATE MATERIALIZED VIEW IF NOT EXISTS v (a) AS SELECT 1; REFRESH MATERIALIZED VIEW CONCURRENTLY v"},
	{name: "create function", text: "CREATE OR REPLACE FUNCTION f(a int DEFAULT g(1), b text) RETURNS TABLE (x int) LANGUAGE plpgsql SET search_path = a AS $f$ BEGIN PERFORM set_config('a', 'b', false); END $f$"},
	{name: "create atomic function", text: "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT setseed(1); SELECT nextval('s'); END; SELECT 1"},
	{name: "create procedure", text: "CREATE PROCEDURE p() LANGUAGE SQL AS 'SELECT 1'"},
	{name: "create trigger", text: "CREATE CONSTRAINT TRIGGER a AFTER UPDATE OF b ON t DEFERRABLE FOR EACH ROW WHEN (f(new.a)) EXECUTE FUNCTION g()"},
	{name: "create rule", text: "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO u VALUES (nextval('s')); DELETE FROM v); SELECT 1"},
	{name: "create schema", text: "CREATE SCHEMA s CREATE TABLE t (a varchar(3)) CREATE VIEW v AS SELECT 1"},
	{name: "other creations", text: `CREATE ROLE r PASSWORD 'x'; CREATE DATABASE d; CREATE SEQUENCE s START 1; CREATE TYPE t AS ENUM ('a'); CREATE TYPE u AS (a int);
		CREATE DOMAIN d AS text CHECK (f(VALUE)); CREATE AGGREGATE a (int) (SFUNC = f, STYPE = int); CREATE OPERATOR + (LEFTARG = int);
		CREATE POLICY p ON t USING (f(a)); CREATE PUBLICATION p FOR TABLE t (a); CREATE STATISTICS s (ndistinct) ON a, f(b) FROM t;
		CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (a 'b'); CREATE USER MAPPING FOR u SERVER s OPTIONS (a 'b'); CREATE EVENT TRIGGER t ON x EXECUTE FUNCTION f()`, want: EffectNeighbours},
	{name: "alter table", text: "ALTER TABLE t ADD COLUMN a varchar(10) DEFAULT now(), ADD CONSTRAINT c CHECK (a > 1), ALTER COLUMN b TYPE int USING (b::int), ADD PRIMARY KEY (a)", want: EffectInsert},
	{name: "storage parameters", text: "ALTER TABLE t SET (fillfactor = 70); ALTER TABLE t RESET (fillfactor)", want: EffectInsert},
	{name: "alter role", text: "ALTER ROLE r SET role TO x; ALTER DATABASE d SET a = 1; ALTER SYSTEM SET b = 2; ALTER USER u RESET ALL", want: EffectDefaults | EffectNeighbours},
	{name: "alter function", text: "ALTER FUNCTION f(int) SET search_path = x"},
	{name: "drop", text: "DROP FUNCTION f(int); DROP TABLE IF EXISTS a, b CASCADE; DROP TYPE t"},
	{name: "rights", text: "GRANT SELECT (a), UPDATE (b) ON t TO r; REVOKE EXECUTE ON FUNCTION f(int) FROM r; ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO r; REASSIGN OWNED BY a TO b"},
	{name: "comment", text: "COMMENT ON FUNCTION f(int) IS 'x'; SECURITY LABEL ON TABLE t IS 'x'"},
	{name: "upkeep", text: "VACUUM (FULL, ANALYZE) t (a), u(b); ANALYZE t(a); CLUSTER (VERBOSE) t; REINDEX (VERBOSE) TABLE t; CHECKPOINT; TRUNCATE a, b RESTART IDENTITY; LOCK TABLE t IN SHARE MODE"},
	{name: "explain", text: "EXPLAIN (ANALYZE, FORMAT json) SELECT lower(a) FROM t; EXPLAIN ANALYZE VERBOSE INSERT INTO t (a) VALUES (1)", want: EffectInsert},
	{name: "notify", text: "NOTIFY a, 'b'; SELECT pg_notify('a', 'b')"},
	{name: "table command", text: "TABLE t; VALUES (1), (2)"},
	{name: "row locks and commands in strings", text: "SELECT 'DISCARD ALL' WHERE 'x' = 'DO $$ $$'"},
	{name: "lines end with carriage returns", text: "SELECT 1 -- x\r, lower(a)\r\n"},
	{name: "a setting is read", text: "SELECT name, setting FROM pg_settings WHERE name = 'update'; SELECT current_setting('a')"},
	{name: "common extensions", text: "SELECT uuid_generate_v4(), crypt('a', gen_salt('bf')), st_x(p), similarity(a, b), unaccent(c)"},
}

// statefulTexts leave what want says, no less; most of them nothing else.
var statefulTexts = []scanCase{
	{name: "set", text: "SET search_path = a, b", want: EffectSettings},
	{name: "set to", text: "SET search_path TO DEFAULT", want: EffectSettings | EffectReset},
	{name: "set session", text: "SET SESSION statement_timeout = 5", want: EffectSettings},
	{name: "set custom", text: "SET a.b = 'c'", want: EffectSettings},
	{name: "set quoted", text: `SET "a"."b" = 'c'`, want: EffectSettings},
	{name: "set time zone", text: "SET TIME ZONE 'UTC'", want: EffectSettings},
	{name: "set names", text: "SET NAMES 'UTF8'", want: EffectSettings},
	{name: "set parameter of a class called local", text: "SET local.x = 1", want: EffectSettings},
	{name: "set parameter of a class called session", text: "SET session.x TO 1", want: EffectSettings},
	{name: "set parameter of a class called transaction", text: "SET transaction.x = 1", want: EffectSettings},
	{name: "set parameter of a class called constraints", text: "SET constraints.x = 1", want: EffectSettings},
	{name: "set parameter of a class called role", text: "SET role.x = 1", want: EffectSettings | EffectRole},
	{name: "set characteristics", text: "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", want: EffectSettings},
	{name: "set path to temporary schema", text: "SET search_path = pg_temp, public", want: EffectSettings | EffectTemp},
	{name: "set path to a constant", text: "SET search_path TO 'PG_TEMP'", want: EffectSettings | EffectTemp},
	{name: "set local path to temporary schema", text: "SET LOCAL search_path = 'public, pg_temp'", want: EffectTemp},
	{name: "set path to a continued constant", text: "SET LOCAL search_path = 'pg_'\n'temp'", want: EffectTemp},
	{name: "set path to an escaped constant", text: `SET LOCAL search_path = E'\x70g_temp'`, want: EffectUnknown},
	{name: "set path to a dollar constant", text: "SET LOCAL search_path = $$pg_temp$$", want: EffectUnknown},
	{name: "reset", text: "RESET search_path", want: EffectSettings | EffectReset},
	{name: "reset all", text: "RESET ALL", want: EffectSettings | EffectReset},
	{name: "reset of a class called session", text: "RESET session.x", want: EffectSettings | EffectReset},
	{name: "set config", text: "SELECT set_config('a', 'b', false)", want: EffectSettings},
	{name: "set config by parameter", text: "SELECT set_config('a', 'b', $1)", want: EffectSettings},
	{name: "set config by expression", text: "SELECT set_config('a', 'b', true AND x)", want: EffectSettings},
	{name: "set config in pg_catalog", text: "SELECT pg_catalog.set_config('a', 'b', false)", want: EffectSettings},
	{name: "set config among locals", text: "SELECT set_config('a', 'b', true), set_config('a', 'b', 'f'), set_config('a', 'b', true)", want: EffectSettings},
	{name: "set config in a condition", text: "SELECT 1 FROM t WHERE set_config('a', x, false) = 'b'", want: EffectSettings | EffectReset},
	{name: "set config of a role", text: "SELECT set_config('ROLE', 'b', false)", want: EffectSettings | EffectRole},
	{name: "set config of a seed", text: "SELECT set_config('seed', '0.5', true)", want: EffectSeed},
	{name: "set config of anything local", text: "SELECT set_config($1, '0.5', true)", want: EffectUnknown},
	{name: "set config of an expression", text: "SELECT set_config('se' || 'ed', '0.5', true)", want: EffectUnknown},
	{name: "set config by name", text: "SELECT set_config(setting_name => 'a', new_value => 'b', is_local => true)", want: EffectSettings | EffectUnknown | EffectReset},
	{name: "set config in set config", text: "SELECT set_config('a', set_config('b', 'c', false), true)", want: EffectSettings | EffectRole | EffectUnknown | EffectReset},
	{name: "set config with two arguments", text: "SELECT set_config('a', true)", want: EffectSettings | EffectUnknown | EffectReset},
	{name: "set config of the temporary schema", text: "SELECT set_config('search_path', 'pg_temp', true)", want: EffectTemp},
	{name: "update of pg_settings", text: "UPDATE pg_settings SET setting = 'x' WHERE name = 'a'", want: EffectSettings | EffectReset},
	{name: "update of pg_catalog.pg_settings", text: `UPDATE pg_catalog."pg_settings" SET setting = 'x'`, want: EffectSettings | EffectReset},
	{name: "set role", text: "SET ROLE a", want: EffectRole},
	{name: "set role to", text: "SET role TO 'a'", want: EffectRole},
	{name: "set quoted role", text: `SET "Role" TO 'a'`, want: EffectRole},
	{name: "set session role", text: "SET SESSION ROLE NONE", want: EffectRole | EffectReset},
	{name: "set session authorization", text: "SET SESSION AUTHORIZATION a", want: EffectRole},
	{name: "set session session authorization", text: "SET SESSION SESSION AUTHORIZATION DEFAULT", want: EffectRole | EffectReset},
	{name: "set session_authorization", text: "SET session_authorization = a", want: EffectRole},
	{name: "reset role", text: "RESET ROLE", want: EffectRole | EffectReset},
	{name: "reset session authorization", text: "RESET SESSION AUTHORIZATION", want: EffectRole | EffectReset},
	{name: "reset quoted authorization", text: `RESET "session_authorization"`, want: EffectRole | EffectReset},
	{name: "prepare", text: "PREPARE p AS SELECT 1", want: EffectPrepare},
	{name: "prepare with types", text: "PREPARE p (int, varchar(3)) AS SELECT $1", want: EffectPrepare},
	{name: "prepare a statement called transaction", text: "PREPARE transaction AS SELECT 1", want: EffectPrepare},
	{name: "prepare a call", text: "PREPARE p AS SELECT setseed(1)", want: EffectPrepare | EffectSeed},
	{name: "execute", text: "EXECUTE p (1, lower('A'))", want: EffectExecute},
	{name: "explain execute", text: "EXPLAIN ANALYZE EXECUTE p", want: EffectExecute},
	{name: "explain with options execute", text: "EXPLAIN (ANALYZE, VERBOSE) EXECUTE p", want: EffectExecute},
	{name: "create table as execute", text: "CREATE TABLE t AS EXECUTE p", want: EffectExecute},
	{name: "deallocate", text: "DEALLOCATE PREPARE p", want: EffectDeallocate},
	{name: "hold cursor", text: "DECLARE c CURSOR WITH HOLD FOR SELECT 1", want: EffectHoldCursor},
	{name: "binary hold cursor", text: "DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1", want: EffectHoldCursor},
	{name: "close", text: "CLOSE c", want: EffectClose},
	{name: "create temp table", text: "CREATE TEMP TABLE t (a int)", want: EffectTemp},
	{name: "create temporary table", text: "CREATE TEMPORARY TABLE IF NOT EXISTS t AS SELECT 1", want: EffectTemp},
	{name: "create local temp table", text: "CREATE LOCAL TEMP TABLE t (a int) ON COMMIT DELETE ROWS", want: EffectTemp},
	{name: "create global temporary table", text: "CREATE GLOBAL TEMPORARY TABLE t (a int) ON COMMIT PRESERVE ROWS", want: EffectTemp},
	{name: "create temp view", text: "CREATE OR REPLACE TEMP VIEW v AS SELECT 1", want: EffectTemp},
	{name: "create temp recursive view", text: "CREATE TEMP RECURSIVE VIEW v (a) AS SELECT 1", want: EffectTemp},
	{name: "create temp sequence", text: "CREATE TEMPORARY SEQUENCE s", want: EffectTemp},
	{name: "explain create temp table", text: "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", want: EffectTemp},
	{name: "one of two temp tables stays", text: "CREATE TEMP TABLE t (a int) ON COMMIT DROP; CREATE TEMP TABLE u (a int)", want: EffectTemp},
	{name: "first of two temp tables stays", text: "CREATE TEMP TABLE t (a int); CREATE TEMP TABLE u (a int) ON COMMIT DROP", want: EffectTemp},
	{name: "commit drop in a column", text: "CREATE TEMP TABLE t AS SELECT (a ON COMMIT DROP)", want: EffectTemp},
	{name: "create in pg_temp", text: "CREATE TABLE pg_temp.t (a int)", want: EffectTemp},
	{name: "create type in pg_temp", text: `CREATE TYPE "pg_temp".t AS ENUM ('a')`, want: EffectTemp},
	{name: "create function in pg_temp_3", text: "CREATE FUNCTION pg_temp_3.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", want: EffectTemp},
	{name: "alter to pg_temp", text: "ALTER FUNCTION f() SET SCHEMA pg_temp", want: EffectTemp},
	{name: "select into temp", text: "SELECT 1 INTO TEMP t", want: EffectTemp},
	{name: "select into temporary table", text: "SELECT 1 AS a INTO TEMPORARY TABLE t FROM x", want: EffectTemp},
	{name: "select into local temp", text: "SELECT 1 INTO LOCAL TEMP t", want: EffectTemp},
	{name: "select into temp behind a number", text: "SELECT 1.into temp t", want: EffectTemp},
	{name: "lock", text: "SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock shared", text: "SELECT pg_advisory_lock_shared(1, 2)", want: EffectAdvisoryLock},
	{name: "try lock", text: "SELECT pg_try_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "try lock shared", text: "SELECT pg_try_advisory_lock_shared(1)", want: EffectAdvisoryLock},
	{name: "unlock", text: "SELECT pg_advisory_unlock(1)", want: EffectAdvisoryLock},
	{name: "unlock all", text: "SELECT pg_advisory_unlock_all()", want: EffectAdvisoryLock},
	{name: "lock in from", text: "SELECT * FROM t CROSS JOIN LATERAL pg_catalog.pg_advisory_lock(t.a) AS l(x)", want: EffectAdvisoryLock},
	{name: "lock in insert", text: "INSERT INTO t (a) SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock | EffectInsert},
	{name: "lock in a common table expression", text: "WITH a(x) AS (SELECT pg_advisory_lock(1)) SELECT 1", want: EffectAdvisoryLock},
	{name: "lock behind distinct on", text: "SELECT DISTINCT ON (a) pg_advisory_lock(1) FROM t", want: EffectAdvisoryLock},
	{name: "lock behind ordinality", text: "SELECT * FROM unnest(x) WITH ORDINALITY AS t(a, b), pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind a time zone type", text: "SELECT a::timestamp with time zone, (1), pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind a closed list", text: "WITH a AS (SELECT 1) (SELECT 1), pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock in a join condition", text: "SELECT 1 FROM a JOIN b ON pg_try_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind a cast", text: "SELECT a::int, pg_advisory_lock(b::int) FROM t", want: EffectAdvisoryLock},
	{name: "lock in a case", text: "SELECT CASE WHEN pg_try_advisory_lock(1) THEN 1 END", want: EffectAdvisoryLock},
	{name: "lock in using", text: "DELETE FROM t USING pg_advisory_lock(1) x WHERE t.a = x.a", want: EffectAdvisoryLock},
	{name: "lock in order by", text: "SELECT a FROM t ORDER BY pg_advisory_lock(a)", want: EffectAdvisoryLock},
	{name: "lock in limit", text: "SELECT a FROM t LIMIT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock in a window", text: "SELECT rank() OVER (PARTITION BY pg_advisory_lock(1)) FROM t", want: EffectAdvisoryLock},
	{name: "lock in an operator's operand", text: "SELECT a OPERATOR(pg_catalog.+) pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind an operator in front", text: "SELECT OPERATOR(pg_catalog.-) pg_advisory_lock(1)", want: EffectAdvisoryLock | EffectUnknown},
	{name: "lock in values", text: "INSERT INTO t VALUES (pg_advisory_lock(1))", want: EffectAdvisoryLock | EffectInsert},
	{name: "lock in set", text: "UPDATE t SET a = pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock in returning", text: "DELETE FROM t RETURNING pg_advisory_unlock(a)", want: EffectAdvisoryLock},
	{name: "lock in copy", text: "COPY (SELECT pg_advisory_lock(1)) TO STDOUT", want: EffectAdvisoryLock | EffectInsert},
	{name: "lock in execute", text: "EXECUTE p (pg_advisory_lock(1))", want: EffectAdvisoryLock | EffectExecute},
	{name: "lock in create table as", text: "CREATE TABLE t (a) AS SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock in create materialized view", text: "CREATE MATERIALIZED VIEW v (a) AS SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock in an index", text: "CREATE INDEX i ON t (pg_advisory_lock(a))", want: EffectAdvisoryLock},
	{name: "lock behind a short dollar quote", text: "SELECT $$a$$ || pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind an atomic function", text: "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind a rule", text: "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind a function with a parameter called begin", text: "CREATE FUNCTION f(begin atomic) RETURNS int LANGUAGE sql AS ''; SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock in explain", text: "EXPLAIN (ANALYZE) SELECT pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind a standard string", text: `SELECT 'a\', pg_advisory_lock(1) --'`, want: EffectAdvisoryLock},
	{name: "lock behind nested comments", text: "SELECT /* /* */ ' */ pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind odd comments", text: "SELECT /*/ x */ +/**//***/pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "lock behind like", text: "SELECT a LIKE pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{name: "listen", text: "LISTEN a", want: EffectListen},
	{name: "listen in a row", text: "BEGIN; LISTEN a; COMMIT", want: EffectListen},
	{name: "unlisten", text: "UNLISTEN *", want: EffectUnlisten},
	{name: "nextval", text: "SELECT nextval('s')", want: EffectSequence},
	{name: "quoted nextval", text: `SELECT "pg_catalog"."nextval"('s')`, want: EffectSequence},
	{name: "setval", text: "SELECT setval('s', 1, false)", want: EffectSequence},
	{name: "nextval in insert", text: "INSERT INTO t (id) VALUES (nextval('s'::regclass)) RETURNING id", want: EffectSequence | EffectInsert},
	{name: "setseed", text: "SELECT setseed(0.5)", want: EffectSeed},
	{name: "set seed", text: "SET SEED 0.5", want: EffectSettings | EffectSeed},
	{name: "set local seed", text: "SET LOCAL seed = 0.5", want: EffectSeed},
	{name: "set local quoted seed", text: `SET LOCAL "SEED" = 0.5`, want: EffectSeed},
	{name: "load", text: "LOAD 'auto_explain'", want: EffectLoad},
	{name: "dblink", text: "SELECT dblink_connect('a', 'b'), dblink_exec('a', 'c')", want: EffectForeign},
	{name: "dblink in from", text: "SELECT * FROM dblink('a', 'b') AS t(a int)", want: EffectForeign},
	{name: "postgres_fdw", text: "SELECT postgres_fdw_disconnect_all()", want: EffectForeign},
	{name: "origin", text: "SELECT pg_replication_origin_session_setup('a')", want: EffectForeign},
	{name: "slot", text: "SELECT pg_create_logical_replication_slot('a', 'b', true)", want: EffectForeign},
	{name: "backup", text: "SELECT pg_backup_start('a')", want: EffectForeign},
	{name: "import", text: "IMPORT FOREIGN SCHEMA a LIMIT TO (b) FROM SERVER s INTO c", want: EffectForeign},
	{name: "discard all", text: "DISCARD ALL", want: EffectDiscard},
	{name: "discard temp", text: "DISCARD TEMP", want: EffectDiscard},
	{name: "call of an unknown function", text: "SELECT f(1)", want: EffectUnknown},
	{name: "call of a quoted unknown function", text: `SELECT "Lower"(a)`, want: EffectUnknown},
	{name: "call in a schema", text: "SELECT public.lower(a)", want: EffectUnknown},
	{name: "call in a database", text: "SELECT pg_catalog.pg_catalog.lower(a)", want: EffectUnknown},
	{name: "call in a quoted schema", text: `SELECT "PG_CATALOG".lower(a)`, want: EffectUnknown},
	{name: "set config in a schema", text: "SELECT x.set_config('a', 'b', true)", want: EffectSettings | EffectRole | EffectUnknown | EffectReset},
	{name: "call of a function named by a word", text: "SELECT set(1), key(2), filter(3)", want: EffectUnknown},
	{name: "call of a function named join", text: "SELECT join(1)", want: EffectUnknown},
	{name: "call of a function named ilike behind not", text: "SELECT NOT ilike(1)", want: EffectUnknown},
	{name: "call of a function named operator", text: "SELECT operator(1)", want: EffectUnknown},
	{name: "call of a function named conflict", text: "INSERT INTO t SELECT 1 FROM a JOIN b ON conflict(a.x)", want: EffectUnknown | EffectInsert},
	{name: "call of a function named conflict and a conflict", text: "INSERT INTO t SELECT 1 FROM a JOIN b ON conflict(a.x) ON CONFLICT (a) DO NOTHING", want: EffectUnknown | EffectInsert},
	{name: "call of a function named insert", text: "SELECT CASE WHEN a THEN insert(1) END", want: EffectUnknown | EffectInsert},
	{name: "call behind distinct on", text: "SELECT DISTINCT ON ((a), b) f(1)", want: EffectUnknown},
	{name: "call in a table function", text: "SELECT * FROM a, LATERAL f(a.b) AS t(x)", want: EffectUnknown},
	{name: "do", text: "DO $$ BEGIN END $$", want: EffectUnknown},
	{name: "call", text: "CALL p()", want: EffectUnknown},
	{name: "extension", text: "CREATE EXTENSION x", want: EffectUnknown},
	{name: "alter extension", text: "ALTER EXTENSION x UPDATE", want: EffectUnknown},
	{name: "language", text: "CREATE TRUSTED LANGUAGE x", want: EffectUnknown},
	{name: "function in C", text: "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x'", want: EffectUnknown},
	{name: "function in a quoted language", text: "CREATE FUNCTION f() RETURNS int LANGUAGE 'plperl' AS 'x'", want: EffectUnknown},
	{name: "case in an atomic function", text: "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END", want: EffectUnknown},
	{name: "unfinished atomic function", text: "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;", want: EffectUnknown},
	{name: "query to xml", text: "SELECT query_to_xml('SELECT 1', true, true, '')", want: EffectUnknown},
	{name: "text search statistics", text: "SELECT * FROM ts_stat('SELECT 1')", want: EffectUnknown},
	{name: "crosstab", text: "SELECT * FROM crosstab('SELECT 1') AS t(a int)", want: EffectUnknown},
	{name: "unknown command", text: "FROBNICATE x", want: EffectUnknown},
	{name: "quoted command", text: `"select" 1`, want: EffectUnknown},
	{name: "unknown command in a row", text: "SELECT 1; FROBNICATE; SELECT 2", want: EffectUnknown},
	{name: "statement that begins with a number", text: "1", want: EffectUnknown},
	{name: "unfinished string", text: "SELECT 'a", want: EffectUnknown},
	{name: "unfinished identifier", text: `SELECT "a`, want: EffectUnknown},
	{name: "unfinished comment", text: "SELECT 1 /* /* */", want: EffectUnknown},
	{name: "unfinished dollar quote", text: "SELECT $a$ $b$", want: EffectUnknown},
	{name: "unfinished dollar tag", text: "SELECT $a", want: EffectUnknown},
	{name: "unfinished escape", text: `SELECT E'\`, want: EffectUnknown},
	{name: "unbalanced parentheses", text: "SELECT (1", want: EffectUnknown},
	{name: "too many parentheses", text: "SELECT 1)", want: EffectUnknown},
	{name: "deep parentheses", text: "SELECT " + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200), want: EffectUnknown},
	{name: "backslash outside strings", text: `SELECT 1 \ 2`, want: EffectUnknown},
	{name: "unicode identifier", text: `SELECT U&"\0066"(1)`, want: EffectUnknown},
	{name: "long dollar tag", text: "SELECT $" + strings.Repeat("a", 80) + "$ $" + strings.Repeat("a", 80) + "$", want: EffectUnknown},
	{name: "long function name", text: "SELECT " + strings.Repeat("a", 100) + "(1)", want: EffectUnknown},
}

// interestingTexts leave nothing themselves, or test what else their statement tells.
var interestingTexts = []scanCase{
	{name: "set to default", text: "SET a.b TO DEFAULT", want: EffectSettings | EffectReset},
	{name: "set session = default", text: "SET SESSION work_mem = default", want: EffectSettings | EffectReset},
	{name: "set a parameter called session to default", text: "SET session TO DEFAULT", want: EffectSettings | EffectReset},
	{name: "set local to default", text: "SET LOCAL work_mem TO DEFAULT", want: EffectReset},
	{name: "set a parameter called local to default", text: "SET local TO DEFAULT", want: EffectSettings | EffectReset},
	{name: "set a parameter of a class called transaction to default", text: "SET transaction.x TO DEFAULT", want: EffectSettings | EffectReset},
	{name: "set to a constant called default", text: "SET search_path TO 'default', \"default\"", want: EffectSettings},
	{name: "set time zone default", text: "SET TIME ZONE DEFAULT", want: EffectSettings | EffectReset},
	{name: "set time zone local", text: "SET SESSION TIME ZONE LOCAL", want: EffectSettings | EffectReset},
	{name: "set local time zone local", text: "SET LOCAL TIME ZONE LOCAL", want: EffectReset},
	{name: "set local time zone", text: "SET LOCAL TIME ZONE 'UTC'"},
	{name: "set names default", text: "SET NAMES DEFAULT", want: EffectSettings | EffectReset},
	{name: "set names", text: "SET NAMES", want: EffectSettings | EffectReset},
	{name: "set names in a row", text: "SET LOCAL NAMES ; SELECT 1", want: EffectReset},
	{name: "set a class called names", text: "SET names.x = 'a'", want: EffectSettings},
	{name: "set authorization default", text: "SET SESSION AUTHORIZATION DEFAULT", want: EffectRole | EffectReset},
	{name: "set local authorization default", text: "SET LOCAL SESSION AUTHORIZATION DEFAULT", want: EffectReset},
	{name: "set role none", text: "SET ROLE NONE", want: EffectRole | EffectReset},
	{name: "set role to a constant none", text: "SET ROLE 'none'", want: EffectRole | EffectReset},
	{name: "set role = none", text: "SET role = none", want: EffectRole | EffectReset},
	{name: "set role to quoted none", text: `SET "ROLE" TO "none"`, want: EffectRole | EffectReset},
	{name: "set role to default", text: "SET role TO DEFAULT", want: EffectRole | EffectReset},
	{name: "set local role none", text: "SET LOCAL ROLE NONE", want: EffectReset},
	{name: "set role to one that begins with none", text: "SET ROLE none_of_us", want: EffectRole},
	{name: "set local in a class called role", text: "SET LOCAL role.x = 'none'"},
	{name: "reset time zone", text: "RESET TIME ZONE", want: EffectSettings | EffectReset},
	{name: "reset a class called role", text: "RESET role.x", want: EffectSettings | EffectRole | EffectReset},
	{name: "set_config to null", text: "SELECT set_config('a', NULL, false)", want: EffectSettings | EffectReset},
	{name: "set_config to null for now", text: "SELECT set_config('a', null, true)", want: EffectReset},
	{name: "set_config to a cast", text: "SELECT set_config('a', 'b'::text, true)", want: EffectReset},
	{name: "set_config to a call", text: "SELECT set_config('a', lower('b'), false)", want: EffectSettings | EffectReset},
	{name: "set_config of a role to none", text: "SELECT set_config('role', 'none', false)", want: EffectSettings | EffectRole | EffectReset},
	{name: "set_config of anything to none", text: "SELECT set_config($1, 'none', false)", want: EffectSettings | EffectUnknown | EffectReset},
	{name: "set_config of a parameter to none", text: "SELECT set_config('a', 'none', false)", want: EffectSettings},
	{name: "default in an update", text: "UPDATE t SET a = DEFAULT", want: EffectInsert},
	{name: "merge in lower case", text: "merge INTO t USING s ON a = b WHEN MATCHED THEN DO NOTHING", want: EffectInsert},
	{name: "insert in a common table expression", text: "WITH a AS (INSERT INTO t VALUES (1) RETURNING b) SELECT b FROM a", want: EffectInsert},
	{name: "prepared insert", text: "PREPARE p AS INSERT INTO t VALUES (1)", want: EffectPrepare | EffectInsert},
	{name: "insert in definitions", text: `GRANT INSERT ON t TO r; CREATE TRIGGER a BEFORE INSERT ON t EXECUTE FUNCTION f();
		CREATE FUNCTION f() RETURNS void BEGIN ATOMIC INSERT INTO t VALUES (1); END; CREATE RULE r AS ON INSERT TO t DO NOTHING`},
	{name: "insert as a name", text: `SELECT "insert", t.merge FROM t`},
	{name: "sequences read in pg_catalog", text: `SELECT pg_catalog."currval"('s')`, want: EffectSequenceRead},
	{name: "sequences read in a schema", text: "SELECT x.lastval()", want: EffectSequenceRead | EffectUnknown},
	{name: "alter user", text: "ALTER USER a SET b = 1", want: EffectDefaults | EffectNeighbours},
	{name: "alter group", text: "ALTER GROUP a RENAME TO b", want: EffectDefaults | EffectNeighbours},
	{name: "alter database", text: "ALTER DATABASE a RENAME TO b", want: EffectDefaults | EffectNeighbours},
	{name: "alter system", text: "ALTER SYSTEM RESET ALL", want: EffectDefaults},
	{name: "create database", text: "CREATE DATABASE a TEMPLATE b", want: EffectNeighbours},
	{name: "drop database", text: "DROP DATABASE IF EXISTS a WITH (FORCE)", want: EffectNeighbours},
	{name: "drop role", text: "DROP ROLE a", want: EffectNeighbours},
	{name: "drop user", text: "DROP USER a", want: EffectNeighbours},
	{name: "drop group", text: "DROP GROUP a", want: EffectNeighbours},
	{name: "drop owned", text: "DROP OWNED BY a", want: EffectNeighbours},
	{name: "create role and drop of something else", text: "CREATE ROLE a; CREATE USER b; DROP TABLE database; DROP SCHEMA role"},
	{name: "prepared statements", text: "SELECT name FROM pg_prepared_statements", want: EffectShowPrepared},
	{name: "prepared statements qualified", text: `SELECT name FROM pg_catalog . "pg_prepared_statements" p`, want: EffectShowPrepared},
	{name: "prepared statements of the function", text: "SELECT * FROM pg_prepared_statement()", want: EffectShowPrepared},
}

func TestScan(t *testing.T) {
	for _, c := range slices.Concat(harmlessTexts, statefulTexts, interestingTexts) {
		t.Run(c.name, func(t *testing.T) {
			if got := Scan([]byte(c.text), true); got != c.want {
				t.Errorf("%s\ngot %v, want %v", c.text, got, c.want)
			}
		})
	}
}

func TestScanWithBackslashesInAllStrings(t *testing.T) {
	for _, c := range []scanCase{
		{name: "escaped quote", text: `SELECT 'a\', f(x) --'`},
		{name: "escaped quote in a national string", text: `SELECT N'a\', f(x) --'`},
		{name: "no escapes in a bit string", text: `SELECT B'0\', f(x) --'`, want: EffectUnknown},
		{name: "no escapes in the continuation of a bit string", text: "SELECT X'0'\n'\\', f(x) --'", want: EffectUnknown},
		{name: "escaped backslash", text: `SELECT 'a\\', f(x)`, want: EffectUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Scan([]byte(c.text), false); got != c.want {
				t.Errorf("%s\ngot %v, want %v", c.text, got, c.want)
			}
		})
	}
}

// TestScanInDisguise changes how stateful texts are written, not what they mean.
func TestScanInDisguise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range slices.Concat(statefulTexts, interestingTexts) {
		if !splittable(c.text) {
			continue
		}
		for range 200 {
			text := disguise(rng, c.text)
			if got := Scan([]byte(text), true); got&c.want != c.want {
				t.Fatalf("%s\n%q\ngot %v, want at least %v", c.name, text, got, c.want)
			}
		}
	}
}

// splittable tells whether the crude lexer of disguise understands text.
func splittable(text string) bool {
	return !strings.ContainsAny(text, "'\"$\\") || !strings.ContainsAny(text, "\"$\\") && !strings.Contains(text, "--") &&
		!strings.Contains(text, "/*") && !strings.Contains(text, "E'") && strings.Count(text, "'")%2 == 0
}

// disguise writes text with other case, white space, comments and, where a name is called, double quotes.
func disguise(rng *rand.Rand, text string) string {
	between := []string{" ", "\n", "\t", "/**/", " /* ' /* \" */ ; */ ", "-- '\n", "--\r", "\f\v"}
	var out strings.Builder
	for i := 0; i < len(text); {
		j := i + 1
		switch {
		case text[i] == '\'':
			for text[j] != '\'' {
				j++
			}
			j++
			out.WriteString(text[i:j])
		case inWord[text[i]] && byteClasses[text[i]] != classDigit:
			for j < len(text) && inWord[text[j]] {
				j++
			}
			word := strings.ToLower(text[i:j])
			if index, _ := words.find([]byte(word), true); j < len(text) && text[j] == '(' && rng.IntN(2) == 0 &&
				words.infos[index].calls|Effect(words.infos[index].function&functionSetConfig) != 0 {
				out.WriteString(`"` + word + `"`)
				break
			}
			for _, r := range word {
				if rng.IntN(2) == 0 {
					out.WriteString(strings.ToUpper(string(r)))
				} else {
					out.WriteRune(r)
				}
			}
		case strings.ContainsRune(" ();,", rune(text[i])):
			if text[i] != ' ' {
				out.WriteByte(text[i])
			}
			for range 1 + rng.IntN(2) {
				out.WriteString(between[rng.IntN(len(between))])
			}
		default:
			out.WriteByte(text[i])
		}
		i = j
	}
	return out.String()
}

func TestScannerAtEveryChunking(t *testing.T) {
	for _, standard := range []bool{true, false} {
		for _, c := range slices.Concat(harmlessTexts, statefulTexts, interestingTexts) {
			text := []byte(c.text)
			want := Scan(text, standard)
			for cut := range len(text) + 1 {
				var s Scanner
				s.Reset(standard)
				s.Write(text[:cut])
				s.Effects()
				s.Write(text[cut:])
				if got := s.Effects(); got != want {
					t.Fatalf("%s: cut at %d %q: got %v, want %v", c.name, cut, text[cut:], got, want)
				}
			}
			if got := scanBytewise(text, standard); got != want {
				t.Fatalf("%s: byte by byte: got %v, want %v", c.name, got, want)
			}
		}
	}
}

func scanBytewise(text []byte, standard bool) Effect {
	var s Scanner
	s.Reset(standard)
	for i := range text {
		s.Write(text[i : i+1])
	}
	return s.Effects()
}

// TestScanStatementsInARow checks that no statement hides what another does.
func TestScanStatementsInARow(t *testing.T) {
	all := slices.Concat(harmlessTexts, statefulTexts, interestingTexts)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		a, b := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
		if strings.HasPrefix(a.name, "unfinished") {
			continue
		}
		text := a.text + "\n;" + b.text
		if got := Scan([]byte(text), true); got&a.want != a.want || got&(b.want|EffectUnknown) == 0 && b.want != 0 {
			t.Fatalf("%s\ngot %v, want %v and %v", text, got, a.want, b.want)
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	for _, c := range slices.Concat(harmlessTexts, statefulTexts, interestingTexts) {
		text := []byte(c.text)
		var s Scanner
		if n := testing.AllocsPerRun(10, func() {
			Scan(text, true)
			s.Reset(false)
			s.Write(text)
			s.Effects()
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, c := range slices.Concat(harmlessTexts, statefulTexts, interestingTexts) {
		f.Add([]byte(c.text), true)
	}
	f.Add([]byte(`SELECT 'a\' || E'\'' 'b'`), false)
	f.Fuzz(func(t *testing.T, text []byte, standard bool) {
		whole := Scan(text, standard)
		if got := scanBytewise(text, standard); got != whole {
			t.Fatalf("byte by byte: got %v, want %v", got, whole)
		}
		if got := Scan(append([]byte("SELECT 1; "), text...), standard); got&whole != whole {
			t.Fatalf("behind another statement: got %v, want at least %v", got, whole)
		}
		if got := Scan(append(slices.Clone(text), " ;SELECT 1"...), standard); got&whole&^EffectUnknown != whole&^EffectUnknown {
			t.Fatalf("before another statement: got %v, want at least %v", got, whole)
		}
	})
}

// pgbenchText is of pgbench -S.
const pgbenchText = "SELECT abalance FROM pgbench_accounts WHERE aid = 1"

func BenchmarkScan(b *testing.B) {
	short := "SELECT id, name FROM users WHERE id = $1 AND deleted IS NULL"
	long := strings.Repeat(`SELECT u.id, lower(u.name) AS name, count(*) FILTER (WHERE o.state = 'open') FROM users u
		JOIN orders o ON o.user_id = u.id AND o.created_at > now() - interval '7 days' -- recent
		WHERE u.tenant = $1 AND u.email LIKE $2 AND (u.flags & 4) = 0 GROUP BY u.id ORDER BY 2 LIMIT 50; `, 4)[:1024]
	for _, text := range []string{pgbenchText, short, long} {
		b.Run(fmt.Sprint(len(text)), func(b *testing.B) {
			p := []byte(text)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				Scan(p, true)
			}
		})
	}
}
