package frontend

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest/transcript"
	"pooler/internal/wire"
)

// The script's vocabulary. What a step waits for is ReadyForQuery unless its name says otherwise.

type message = pgproto3.FrontendMessage

func query(sql string) transcript.Step { return ready(1, &pgproto3.Query{String: sql}) }

// queries is one step a text.
func queries(texts ...string) []transcript.Step {
	var steps []transcript.Step
	for _, sql := range texts {
		steps = append(steps, query(sql))
	}
	return steps
}

// synced sends messages and a Sync.
func synced(messages ...message) transcript.Step { return ready(1, append(messages, syncMsg())...) }

// flushed sends messages and a Flush, and waits for a message of type until.
func flushed(until byte, messages ...message) transcript.Step {
	return transcript.Send(until, 1, append(messages, &pgproto3.Flush{})...)
}

func ready(n int, messages ...message) transcript.Step { return transcript.Send('Z', n, messages...) }

func syncMsg() message { return &pgproto3.Sync{} }

func parse(name, sql string, oids ...uint32) message {
	return &pgproto3.Parse{Name: name, Query: sql, ParameterOIDs: oids}
}

func bind(portal, statement string, parameters ...string) message {
	b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement}
	for _, p := range parameters {
		b.Parameters = append(b.Parameters, []byte(p))
	}
	return b
}

// bindBinary takes its parameters, and returns its columns, in binary.
func bindBinary(portal, statement string, parameters ...[]byte) message {
	return &pgproto3.Bind{
		DestinationPortal: portal, PreparedStatement: statement,
		ParameterFormatCodes: []int16{1}, Parameters: parameters, ResultFormatCodes: []int16{1},
	}
}

func describe(typ byte, name string) message { return &pgproto3.Describe{ObjectType: typ, Name: name} }

func execute(portal string, rows uint32) message {
	return &pgproto3.Execute{Portal: portal, MaxRows: rows}
}

func closing(typ byte, name string) message { return &pgproto3.Close{ObjectType: typ, Name: name} }

func copyData(s string) message { return &pgproto3.CopyData{Data: []byte(s)} }

func copyDone() message { return &pgproto3.CopyDone{} }

func copyFail() message { return &pgproto3.CopyFail{Message: "changed my mind"} }

// call takes its arguments and gives its result in binary.
func call(function uint32, args ...[]byte) message {
	return &pgproto3.FunctionCall{Function: function, ArgFormatCodes: []uint16{1}, Arguments: args, ResultFormatCode: 1}
}

func int4(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// rawFrame builds any message, right or wrong.
func rawFrame(typ byte, body string) transcript.Raw {
	return append(wire.AppendHeader(nil, typ, len(body)), body...)
}

func group(name string, steps ...transcript.Step) transcript.Group {
	return transcript.Group{Name: name, Steps: steps}
}

// free makes a group whose steps need nothing of what an earlier transaction of the session left behind.
func free(name string, steps ...transcript.Step) transcript.Group {
	return transcript.Group{Name: name, Steps: steps, Stateless: true}
}

func text(n int) string { return strings.Repeat("pooler ", n/7+1)[:n] }

// script is the whole conversation. It begins and ends with an empty database.
func script() []transcript.Group {
	return slices.Concat(
		simpleScript(), transactionScript(), extendedScript(), nameScript(), failureScript(), pipelineScript(), unnamedScript(),
		copyScript(), callScript(), settingScript(), stateScript(), bulkScript(), timeoutScript(), oddScript(),
	)
}

func simpleScript() []transcript.Group {
	return []transcript.Group{
		free("tables to play with are made",
			query("CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 20) g"),
			query("CREATE TABLE late (id int CONSTRAINT late_once UNIQUE DEFERRABLE INITIALLY DEFERRED)"),
			query("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")),
		free("simple queries", slices.Concat(queries(
			"SELECT 1", "SELECT 1 AS a, 'b' AS b, NULL AS c WHERE false", "SELECT * FROM item WHERE id < 4 ORDER BY id", "SELECT 'ok'::mood",
			"UPDATE item SET name = name WHERE id = 1", "DELETE FROM item WHERE id = 1000", "INSERT INTO item VALUES (100, 'new')",
			"DELETE FROM item WHERE id = 100 RETURNING *", "SELECT $$a;b$$, ';' /* ; */ -- ;\n", "VALUES (1),(2)", "TABLE late", "EXPLAIN (COSTS off) SELECT 1"))...),
		free("empty queries", queries("", ";", " ;; ", "-- nothing", "/* nothing */")...),
		free("several statements in one text", queries(
			"SELECT 1; SELECT 2", "SELECT 1;;SELECT 2;", "INSERT INTO item VALUES (101, 'a'); DELETE FROM item WHERE id = 101; SELECT count(*) FROM item",
			"SELECT 1; ; SELECT 'x;y'")...),
		free("errors", queries(
			"SELEC 1", "SELECT * FROM missing", "SELECT 1/0", "SELECT 'x'::int", "INSERT INTO item VALUES (1, 'twice')", "SELECT 'open", "SELECT \x01")...),
		free("an error in the middle of a text", queries(
			"SELECT 1; SELECT 1/0; SELECT 2", "INSERT INTO item VALUES (102, 'gone'); SELECT 1/0", "SELECT count(*) FROM item WHERE id = 102", "SELECT 1; SELEC 2")...),
		free("notices", queries(
			"DO $$ BEGIN RAISE NOTICE 'hello %', 1; RAISE WARNING 'careful'; RAISE INFO 'by the way'; END $$",
			"DO $$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'no' USING ERRCODE = 'P0002', HINT = 'h', DETAIL = 'd'; END $$",
			"DROP TABLE IF EXISTS missing", "CREATE TABLE IF NOT EXISTS item (id int)")...),
		free("many queries in flight", ready(6, &pgproto3.Query{String: "SELECT 1"}, &pgproto3.Query{String: "SELECT 1/0"}, &pgproto3.Query{String: ""},
			&pgproto3.Query{String: "SELECT 2; SELECT 3"}, &pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "COMMIT"})),
		free("Syncs and Flushes alone", ready(1, syncMsg()), ready(3, syncMsg(), &pgproto3.Flush{}, syncMsg(), syncMsg()),
			ready(1, &pgproto3.Flush{}, &pgproto3.Query{String: "SELECT 1"})),
	}
}

func transactionScript() []transcript.Group {
	return []transcript.Group{
		free("a transaction", queries("BEGIN", "INSERT INTO item VALUES (103, 'x')", "SELECT count(*) FROM item", "COMMIT", "DELETE FROM item WHERE id = 103")...),
		free("a transaction rolled back", queries("START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY", "SELECT 1", "ROLLBACK")...),
		free("a failed transaction", queries("BEGIN", "SELECT 1/0", "SELECT 1", "SAVEPOINT s", "COMMIT", "SELECT 1")...),
		free("savepoints", queries("BEGIN", "SAVEPOINT a", "INSERT INTO item VALUES (1, 'x')", "ROLLBACK TO a", "SELECT 1", "RELEASE a", "RELEASE a", "ROLLBACK")...),
		free("transaction commands where they do not belong", queries("COMMIT", "ROLLBACK", "SAVEPOINT a", "BEGIN", "BEGIN", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "END")...),
		free("transactions within one text", queries("BEGIN; SELECT 1; COMMIT; SELECT 2", "SELECT 1; BEGIN; SELECT 2", "ABORT", "BEGIN; SELECT 1/0; COMMIT", "ROLLBACK")...),
		free("a constraint that fails at commit", queries("BEGIN; INSERT INTO late VALUES (1), (1)", "COMMIT", "INSERT INTO late VALUES (1), (1)", "SELECT count(*) FROM late")...),
		free("a transaction of extended queries",
			synced(parse("", "BEGIN"), bind("", ""), execute("", 0)),
			synced(parse("", "SELECT $1::int"), bind("", "", "5"), describe('P', ""), execute("", 0)),
			synced(parse("", "SELECT 1/0"), bind("", ""), execute("", 0)),
			synced(parse("", "SELECT 1"), bind("", ""), execute("", 0)),
			synced(parse("", "ROLLBACK"), bind("", ""), execute("", 0))),
	}
}

func extendedScript() []transcript.Group {
	one := func(sql string, parameters ...string) transcript.Step {
		return synced(parse("", sql), bind("", "", parameters...), describe('P', ""), execute("", 0))
	}
	return []transcript.Group{
		free("extended queries, all at once", one("SELECT 1"), one("SELECT $1::int + $2::int", "3", "4"), one("SELECT * FROM item WHERE id = $1", "7"),
			one("INSERT INTO item VALUES ($1, $2) RETURNING name", "104", "x"), one("DELETE FROM item WHERE id = $1", "104"), one("SELECT $1::mood", "happy"), one(""), one("-- nothing")),
		free("binary and text formats",
			synced(parse("", "SELECT $1, $1::text", 23), bindBinary("", "", int4(7)), describe('P', ""), execute("", 0)),
			synced(parse("", "SELECT $1::int, $2::text"), &pgproto3.Bind{ParameterFormatCodes: []int16{1, 0}, Parameters: [][]byte{int4(1), []byte("x")}, ResultFormatCodes: []int16{0, 1}}, describe('P', ""), execute("", 0)),
			synced(parse("", "SELECT $1::int4[], now() > 'epoch', 1.5::numeric, NULL"), bind("", "", "{1,2}"), execute("", 0)),
			synced(parse("", "SELECT $1::int"), &pgproto3.Bind{Parameters: [][]byte{nil}}, execute("", 0)),
			synced(parse("", "SELECT $1::int"), &pgproto3.Bind{ParameterFormatCodes: []int16{7}, Parameters: [][]byte{int4(1)}}, execute("", 0)),
			synced(parse("", "SELECT $1::int"), bindBinary("", "", []byte{1}), execute("", 0))),
		free("parameter types", synced(parse("", "SELECT $1, $2, $3", 23, 0, 1184), describe('S', "")), synced(parse("", "SELECT $1 + 1"), describe('S', "")),
			synced(parse("", "SELECT $1"), describe('S', "")), synced(parse("", "SELECT $2::int"), describe('S', "")), synced(parse("", "SELECT $1", 999999))),
		free("Describe of statements and portals", synced(parse("s1", "SELECT id, name FROM item WHERE id > $1 ORDER BY id"), describe('S', "s1")),
			synced(bind("p1", "s1", "17"), describe('P', "p1"), execute("p1", 0)), synced(describe('S', "s1"), closing('S', "s1")),
			synced(parse("", "BEGIN"), describe('S', ""), bind("", ""), describe('P', ""))),
		free("row limits", synced(parse("", "SELECT id FROM item ORDER BY id LIMIT 5"), bind("p", ""), execute("p", 2), execute("p", 2), execute("p", 2), execute("p", 2)),
			query("BEGIN"), synced(parse("", "SELECT id FROM item ORDER BY id LIMIT 5"), bind("p", ""), execute("p", 2)), synced(execute("p", 2)), query("SELECT 'between'"),
			synced(execute("p", 0), closing('P', "p")), query("COMMIT"), synced(execute("p", 1))),
		free("several portals at a time", synced(parse("a", "SELECT g FROM generate_series(1, 4) g"), bind("x", "a"), bind("y", "a"), execute("x", 1), execute("y", 2), execute("x", 1), closing('P', "x"), execute("y", 0), closing('S', "a"))),
		free("Close of what is and what is not", synced(closing('S', "never"), closing('P', "never"), closing('S', ""), closing('P', "")), synced(parse("c", "SELECT 1"), closing('S', "c"), closing('S', "c")), synced(describe('S', "c"))),
		free("statements other than SELECT", synced(parse("", "CREATE TABLE scratch (a int)"), bind("", ""), execute("", 0)), one("INSERT INTO scratch VALUES (1), (2)"), one("UPDATE scratch SET a = 3"),
			synced(parse("", "DELETE FROM scratch"), bind("", ""), execute("", 1)), synced(parse("", "INSERT INTO scratch VALUES (1), (2), (3) RETURNING a"), bind("", ""), execute("", 1), execute("", 1)), one("DROP TABLE scratch")),
		free("Flush without Sync", flushed('1', parse("", "SELECT $1::int")), flushed('T', describe('S', "")), flushed('2', bind("", "", "9")), flushed('C', execute("", 0)), ready(1, syncMsg())),
		free("Flush after every message", flushed('1', parse("f", "SELECT id FROM item ORDER BY id")), flushed('2', bind("fp", "f")), flushed('s', execute("fp", 3)), flushed('s', execute("fp", 3)), flushed('3', closing('P', "fp")), synced(closing('S', "f"))),
		free("a Query in an open sequence", ready(1, parse("", "SELECT 1"), bind("", ""), &pgproto3.Query{String: "SELECT 2"}), ready(2, parse("q", "SELECT 1"), bind("", "q"), execute("", 0), &pgproto3.Query{String: "SELECT 2"}, closing('S', "q"), syncMsg())),
	}
}

func nameScript() []transcript.Group {
	long := text(70)
	return []transcript.Group{
		group("named statements over many transactions", synced(parse("n1", "SELECT $1::text AS a")), synced(bind("", "n1", "x"), describe('P', ""), execute("", 0)), query("SELECT 1"), synced(bind("", "n1", "y"), execute("", 0)),
			synced(parse("n2", "SELECT $1::text AS a")), synced(bind("", "n2", "z"), execute("", 0), bind("", "n1", "z"), execute("", 0)), synced(describe('S', "n2"))),
		group("a name in use", synced(parse("n1", "SELECT $1::text AS a")), synced(parse("n1", "SELECT 'other'")), synced(bind("", "n1", "still"), execute("", 0)), synced(parse("n1", "SELECT 'other'"), bind("", "n1", "x"), execute("", 0)), synced(parse("n1", "SELEC"))),
		group("a name used again after Close", synced(closing('S', "n1"), parse("n1", "SELECT 'second'"), bind("", "n1"), execute("", 0)), synced(closing('S', "n1")), synced(parse("n1", "SELECT 'third' AS t"), describe('S', "n1")), synced(bind("", "n1"), execute("", 0), closing('S', "n1")), synced(bind("", "n1"), execute("", 0))),
		group("statements prepared over and over", synced(parse("r", "SELECT 42")), synced(closing('S', "r")), synced(parse("r", "SELECT 42"), closing('S', "r"), parse("r", "SELECT 42"), bind("", "r"), execute("", 0)), synced(closing('S', "r"))),
		free("names that do not exist", synced(bind("", "nope")), synced(describe('S', "nope")), synced(describe('P', "nope")), synced(execute("nope", 0)), synced(bind("", "nope"), describe('P', ""), execute("", 0), closing('S', "nope"))),
		free("names of unusual shape", synced(parse("Ünï \"'; code", "SELECT 1"), bind("päth", "Ünï \"'; code"), execute("päth", 0), closing('S', "Ünï \"'; code")), synced(parse(long, "SELECT 1"), bind(long, long), describe('P', long), execute(long, 0), closing('S', long)), synced(bind("", long)),
			synced(parse("_pooler_1", "SELECT 'mine'"), bind("", "_pooler_1"), execute("", 0), closing('S', "_pooler_1")), synced(bind("", "_pooler_1")), synced(describe('S', "_pooler_missing"))),
		group("the pooler's own kind of name while SQL's names are in doubt", query("BEGIN"), query("PREPARE sp AS SELECT 1"), synced(parse("_pooler_1", "SELECT 'mine'"), bind("", "_pooler_1"), execute("", 0), parse("_pooler_2", "SELECT 'mine, too'"), closing('S', "_pooler_2"), closing('S', "_pooler_1")), query("DEALLOCATE sp"), query("COMMIT")),
		group("a statement whose table changes", query("CREATE TABLE shape (a int)"), synced(parse("sh", "SELECT * FROM shape")), synced(bind("", "sh"), execute("", 0)), query("ALTER TABLE shape ADD b int"), synced(closing('S', "sh"), parse("sh", "SELECT * FROM shape"), describe('S', "sh"), bind("", "sh"), execute("", 0)), synced(closing('S', "sh"))),
		group("a statement whose table is dropped", query("DROP TABLE shape"), synced(parse("sh", "SELECT * FROM shape")), synced(parse("sh", "SELECT 'free again'"), bind("", "sh"), execute("", 0), closing('S', "sh"))),
		group("SQL's own prepared statements", query("PREPARE sp (int) AS SELECT $1 + 1"), query("EXECUTE sp(1)"), synced(bind("", "sp", "5"), describe('P', ""), execute("", 0)), synced(describe('S', "sp")), query("PREPARE sp AS SELECT 1"), query("DEALLOCATE sp"), query("EXECUTE sp(1)"), query("DEALLOCATE sp")),
		group("DEALLOCATE ALL ends the protocol's statements", synced(parse("d1", "SELECT 'd1'"), parse("d2", "SELECT 'd2'")), query("DEALLOCATE ALL"), synced(bind("", "d1"), execute("", 0)), synced(parse("d1", "SELECT 'new'"), bind("", "d1"), execute("", 0)), synced(closing('S', "d1"))),
		group("DISCARD ALL ends the protocol's statements", synced(parse("d1", "SELECT 'd1'")), query("DISCARD ALL"), synced(describe('S', "d1")), synced(parse("d1", "SELECT 'again'"), bind("", "d1"), execute("", 0), closing('S', "d1")), query("SHOW application_name")),
	}
}

func failureScript() []transcript.Group {
	rest := []message{parse("later", "SELECT 1"), bind("", "later"), describe('P', ""), execute("", 0), closing('S', "later"), &pgproto3.Flush{}}
	failing := func(messages ...message) transcript.Step { return synced(append(messages, rest...)...) }
	return []transcript.Group{
		group("errors at every position of a sequence", failing(parse("", "SELEC")), failing(parse("", "SELECT * FROM missing")), failing(parse("", "SELECT $1::int"), bind("", "")), failing(parse("", "SELECT $1::int"), bind("", "", "x")),
			failing(parse("", "SELECT 1"), describe('P', "nope")), failing(parse("", "SELECT 1"), describe('S', "nope")), failing(parse("", "SELECT 1/0"), bind("", "")), failing(parse("", "SELECT 1/g FROM generate_series(-2, 2) g"), bind("", ""), execute("", 0)),
			failing(parse("", "SELECT 1/g FROM generate_series(-2, 2) g"), bind("", ""), execute("", 1), execute("", 0)), synced(describe('S', "later"))),
		free("an error at Sync", synced(parse("", "INSERT INTO late VALUES (1), (1)"), bind("", ""), execute("", 0)), query("SELECT count(*) FROM late"), ready(2, parse("", "INSERT INTO late VALUES (1), (1)"), bind("", ""), execute("", 0), syncMsg(), parse("", "SELECT 1"), bind("", ""), execute("", 0), syncMsg())),
		group("a name before the one that fails is kept", synced(parse("k1", "SELECT 'kept'"), parse("k2", "SELEC"), parse("k3", "SELECT 'skipped'")), synced(bind("", "k1"), execute("", 0)), synced(bind("", "k2")), synced(bind("", "k3")),
			synced(parse("k2", "SELECT 'k2'"), parse("k3", "SELECT 'k3'"), bind("", "k2"), execute("", 0), bind("", "k3"), execute("", 0)), synced(closing('S', "k1"), closing('S', "k2"), closing('S', "k3"))),
		group("a name of a transaction rolled back is kept", query("BEGIN"), synced(parse("tx", "SELECT 'tx'")), query("ROLLBACK"), synced(bind("", "tx"), execute("", 0)), query("BEGIN"), synced(bind("", "tx"), execute("", 0)), query("SELECT 1/0"), synced(parse("tx2", "SELECT 1")), synced(bind("", "tx")), synced(parse("tx3", "ROLLBACK"), bind("", "tx3"), execute("", 0)), synced(bind("", "tx2")), synced(closing('S', "tx"), closing('S', "tx3"))),
		group("Close in a sequence that fails", synced(parse("cl", "SELECT 'closed?'")), synced(parse("", "SELEC"), closing('S', "cl")), synced(bind("", "cl"), execute("", 0)), synced(closing('S', "cl"), parse("", "SELEC")), synced(bind("", "cl"), execute("", 0))),
		group("a name closed and made again in a sequence that fails", synced(parse("cm", "SELECT 'first'")), synced(bind("", "nope"), closing('S', "cm"), parse("cm", "SELECT 'second'")), synced(bind("", "cm"), execute("", 0)), synced(closing('S', "cm"), parse("cm", "SELECT 'third'"), bind("", "nope")), synced(bind("", "cm"), execute("", 0)), synced(closing('S', "cm"))),
		group("a duplicate name in a sequence", synced(parse("du", "SELECT 1"), parse("du", "SELECT 2"), parse("du2", "SELECT 3")), synced(bind("", "du"), execute("", 0)), synced(bind("", "du2")), synced(closing('S', "du"))),
		free("messages while the server skips to Sync", flushed('E', bind("", "nope")), ready(1, parse("sk", "SELECT 1"), execute("", 0), &pgproto3.Query{String: "SELECT 'skipped'"}, copyData("x"), copyDone(), call(1397, int4(-1)), syncMsg()), synced(bind("", "sk"))),
		free("a Query and a Parse behind a Bind that fails, in one go",
			ready(1, parse("late", "SELECT 1"), bind("", "no such statement"), &pgproto3.Query{String: "SELECT 2"}, parse("later", "SELECT 3"), syncMsg()),
			synced(closing('S', "late"), closing('S', "later"))),
		free("a Query is skipped like the rest", ready(1, bind("", "nope"), &pgproto3.Query{String: "SELECT 'skipped'"}, syncMsg()), ready(2, bind("", "nope"), &pgproto3.Query{String: "SELECT 'skipped'"}, syncMsg(), &pgproto3.Query{String: "SELECT 'not skipped'"})),
	}
}

func pipelineScript() []transcript.Group {
	var inserts, syncs []message
	for i := range 40 {
		inserts = append(inserts, parse("", "INSERT INTO item VALUES ($1, 'pipe')"), bind("", "", fmt.Sprint(200+i)), execute("", 0))
		syncs = append(syncs, parse("", "SELECT $1::int / $2::int"), bind("", "", "10", fmt.Sprint(i%4)), describe('P', ""), execute("", 0), syncMsg())
	}
	return []transcript.Group{
		free("forty inserts before one Sync", synced(inserts...), query("SELECT count(*) FROM item WHERE name = 'pipe'"), synced(inserts[60:]...), query("DELETE FROM item WHERE name = 'pipe'")),
		free("forty Syncs in flight, some after errors", ready(40, syncs...)),
		group("named statements, errors and Syncs in flight", ready(6, parse("i1", "SELECT 1"), syncMsg(), parse("i1", "SELECT 2"), syncMsg(), bind("", "i1"), execute("", 0), syncMsg(), closing('S', "i1"), syncMsg(), bind("", "i1"), syncMsg(), parse("i1", "SELECT 3"), bind("", "i1"), execute("", 0), closing('S', "i1"), syncMsg())),
		group("simple and extended in flight", ready(5, parse("m", "SELECT 'm'"), syncMsg(), &pgproto3.Query{String: "SELECT 1/0"}, bind("", "m"), execute("", 0), syncMsg(), &pgproto3.Query{String: "BEGIN; SELECT 1; COMMIT"}, bind("", "m"), describe('P', ""), execute("", 1), closing('S', "m"), syncMsg())),
		free("a transaction in flight", ready(1, parse("", "BEGIN"), bind("", ""), execute("", 0), parse("", "SELECT 1"), bind("", ""), execute("", 0), parse("", "COMMIT"), bind("", ""), execute("", 0), syncMsg()),
			ready(1, parse("", "BEGIN"), bind("", ""), execute("", 0), parse("", "SELECT 1/0"), bind("", ""), execute("", 0), parse("", "COMMIT"), bind("", ""), execute("", 0), syncMsg()), query("ROLLBACK")),
		group("two hundred and fifty names", ready(1, manyNames("many", false)...), ready(1, manyNames("many", true)...)),
	}
}

// manyNames prepares, or uses and closes, more statements than are kept on one server session.
func manyNames(prefix string, use bool) []message {
	var all []message
	for i := range 250 {
		name := fmt.Sprintf("%s%d", prefix, i)
		if use {
			all = append(all, bind("", name), execute("", 0), closing('S', name))
		} else {
			all = append(all, parse(name, fmt.Sprintf("SELECT %d", i)))
		}
	}
	return append(all, syncMsg())
}

func unnamedScript() []transcript.Group {
	run := synced(bind("", ""), execute("", 0))
	return []transcript.Group{
		group("the unnamed statement used after its Sync", synced(parse("", "SELECT $1::int AS u"), describe('S', "")), synced(bind("", "", "1"), execute("", 0)), synced(bind("", "", "2"), describe('P', ""), execute("", 0)), synced(describe('S', ""))),
		group("no unnamed statement after a Query", synced(parse("", "SELECT 'u'")), query("SELECT 1"), synced(bind("", ""), execute("", 0)), synced(describe('S', ""))),
		group("the unnamed statement after failed and skipped ones", synced(parse("", "SELECT 'first'")), synced(parse("", "SELEC")), synced(bind("", ""), execute("", 0)), ready(3, parse("", "SELECT 'second'"), syncMsg(), bind("", "nope"), parse("", "SELECT 'skipped'"), syncMsg(), bind("", ""), execute("", 0), syncMsg())),
		group("the unnamed statement after Close", synced(parse("", "SELECT 'u'")), synced(closing('S', "")), synced(bind("", ""), execute("", 0))),
		group("the unnamed statement after a named one", synced(parse("", "SELECT 'unnamed'")), synced(parse("un", "SELECT 'named'"), bind("", "un"), execute("", 0)), synced(bind("", ""), execute("", 0)), synced(closing('S', "un")), synced(bind("", ""), execute("", 0)), query("DISCARD ALL"), synced(bind("", ""), execute("", 0))),
		group("the unnamed statement over a transaction", query("BEGIN"), synced(parse("", "SELECT 'in transaction'")), synced(bind("", ""), execute("", 0)), synced(parse("", "COMMIT"), bind("", ""), execute("", 0)), synced(bind("", ""), execute("", 0))),
		group("nobody's unnamed statement", query(""), synced(bind("", "nope"), parse("", "SELECT 'skipped'")), synced(bind("", ""), execute("", 0)), query(""), synced(bind("", "nope"), parse("", "SELECT 1"), parse("", "SELECT 2")), synced(bind("", ""), describe('P', ""), execute("", 0)), query(""), synced(parse("", "SELEC"), parse("", "SELECT 1")), synced(describe('S', ""))),
		group("the unnamed statement after a Query that is skipped", synced(parse("", "SELECT 'kept'")), ready(1, bind("", "nope"), &pgproto3.Query{String: "SELECT 'skipped'"}, syncMsg()), run, run),
		group("the unnamed statement after a Parse that is skipped", synced(parse("", "SELECT 'kept'")), synced(bind("", "nope"), parse("", "SELECT 'skipped'")), run, synced(bind("", "nope"), parse("", "SELECT 'skipped'"), closing('S', ""), parse("", "SELECT 'skipped'")), run, run),
		group("the unnamed statement after a Close that is skipped", synced(parse("", "SELECT 'kept'")), synced(bind("", "nope"), closing('S', "")), run, synced(closing('S', ""), bind("", "nope")), run),
		group("the unnamed statement after one that fails behind another", synced(parse("", "SELECT 'kept'")), synced(parse("", "SELECT 'second'"), parse("", "SELEC"), parse("", "SELECT 'skipped'")), run, synced(parse("", "SELECT 'third'"), bind("", "nope"), parse("", "SELECT 'skipped'")), run),
		group("the unnamed statement after messages with a wrong body", synced(parse("", "SELECT 'kept'")), ready(1, rawFrame('Q', "SELECT 1")), run, ready(1, rawFrame('Q', "SELECT 1\x00xx")), run,
			synced(rawFrame('P', "\x00abc")), run, synced(rawFrame('P', "\x00SELECT 1\x00\x00\x07")), run, synced(rawFrame('P', "")), run, synced(rawFrame('C', "S\x00x")), run, synced(rawFrame('C', "X\x00")), run, synced(rawFrame('B', "\x00\x00")), run),
		group("the unnamed statement after texts that are no UTF-8", synced(parse("", "SELECT 'kept'")), query("SELECT '\xff'"), run, synced(parse("", "SELECT '\xff'")), run, query("SELECT '\xff"+text(20_000)+"'"), run, synced(parse("", "SELECT '\xff"+text(40_000)+"'")), run, query("SELECT 'ä'"), run),
		group("no unnamed statement, and messages with a wrong body", ready(1, rawFrame('Q', "SELECT 1")), run, ready(1, rawFrame('Q', "SELECT '\xff'\x00")), run, synced(rawFrame('P', "\x00abc")), run, synced(parse("", "SELECT '\xff'")), run, ready(1, call(1397, nil)), run, ready(1, rawFrame('F', "xx")), run),
		group("the skipped unnamed statement is not the one that runs", query(""), synced(parse("", "SET TimeZone = 'Asia/Tokyo'")), synced(bind("", "nope"), parse("", "SELECT 1")), run, query("SHOW TimeZone"), query("RESET ALL")),
		group("a Query behind a skipped unnamed statement", synced(parse("", "SELECT 'kept'")), synced(bind("", "nope"), parse("", "SELECT 'skipped'")), query("SELECT 1"), run, synced(bind("", "nope"), closing('S', "")), query("SELECT 'ä'"), run),
		group("an empty unnamed statement", synced(parse("", "")), synced(bind("", ""), describe('P', ""), execute("", 0)), query("")),
	}
}

func copyScript() []transcript.Group {
	in := "COPY item FROM STDIN"
	start := func(sql string) transcript.Step { return transcript.Send('G', 1, &pgproto3.Query{String: sql}) }
	extended := []message{parse("", in), bind("", ""), execute("", 0)}
	binaryCopy := "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x02\x00\x00\x00\x04\x00\x00\x01\x2c\x00\x00\x00\x01b" + "\xff\xff"
	var rows string
	for i := range 3000 {
		rows += fmt.Sprintf("%d\tbulk\n", 1000+i)
	}
	return []transcript.Group{
		free("COPY out", queries("COPY (SELECT id, name FROM item WHERE id < 4 ORDER BY id) TO STDOUT", "COPY (SELECT 1 WHERE false) TO STDOUT", "COPY (SELECT 1, 'a,b') TO STDOUT (FORMAT csv, HEADER)", "COPY (SELECT 1, 'x') TO STDOUT (FORMAT binary)",
			"COPY (SELECT 1/g FROM generate_series(-2, 2) g) TO STDOUT", "COPY missing TO STDOUT", "SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3")...),
		free("COPY out, extended", synced(parse("", "COPY (SELECT 1) TO STDOUT"), bind("", ""), describe('P', ""), execute("", 0)), synced(parse("", "COPY (SELECT 1/0) TO STDOUT"), bind("", ""), execute("", 0))),
		free("COPY in", start(in), ready(1, copyData("300\tone\n301\tt"), copyData("wo\n"), copyDone()), query("DELETE FROM item WHERE id >= 300")),
		free("an empty COPY in", start(in), ready(1, copyDone()), start(in), ready(1, copyData(""), copyData("\\.\n"), copyDone())),
		free("COPY in, CSV and binary", start("COPY item FROM STDIN (FORMAT csv, HEADER)"), ready(1, copyData("id,name\n300,\"a,b\"\n"), copyDone()), start("COPY item FROM STDIN (FORMAT binary)"), ready(1, copyData(binaryCopy), copyDone()), query("DELETE FROM item WHERE id >= 300 RETURNING *")),
		free("COPY in, given up", start(in), ready(1, copyData("300\tone\n"), copyFail()), query("SELECT count(*) FROM item")),
		free("COPY in, ended by a Flush and a Sync too many", start(in), ready(2, copyData("300\tone\n"), &pgproto3.Flush{}, syncMsg(), copyData("301\ttwo\n"), copyDone(), syncMsg()), query("DELETE FROM item WHERE id >= 300")),
		free("COPY in with a bad row", start(in), ready(1, copyData("300\tone\n"), copyData("bad\n"), copyData("301\ttwo\n"), copyDone()), start(in), ready(2, copyData("x\n"), copyData("y\n"), copyData("z\n"), copyDone(), &pgproto3.Query{String: "SELECT 'after'"})),
		free("the rest of a COPY that has failed comes late", start(in), transcript.Send('Z', 1, copyData("bad\n")), ready(1, copyData("late\n"), copyDone(), &pgproto3.Query{String: "SELECT 'late'"})),
		free("COPY in a text with others", transcript.Send('G', 1, &pgproto3.Query{String: "SELECT 1; COPY item FROM STDIN; SELECT 2; COPY item FROM STDIN; SELECT 3"}), transcript.Send('G', 1, copyData("300\tone\n"), copyDone()), ready(1, copyData("301\ttwo\n"), copyDone()),
			transcript.Send('G', 1, &pgproto3.Query{String: "COPY item FROM STDIN; COPY item FROM STDIN; SELECT 3"}), ready(1, copyFail(), copyData("late"), copyDone()), query("DELETE FROM item WHERE id >= 300")),
		free("COPY in, extended", flushed('G', extended...), ready(1, copyData("300\tone\n"), copyDone(), syncMsg()), flushed('G', extended...), ready(1, copyFail(), syncMsg()), query("DELETE FROM item WHERE id >= 300")),
		free("COPY in, extended, a Sync too early", transcript.Send('G', 1, append(slices.Clone(extended), syncMsg())...), ready(1, copyData("300\tone\n"), syncMsg(), copyDone(), syncMsg()), query("DELETE FROM item WHERE id >= 300")),
		free("COPY in, extended, all in flight", ready(1, append(slices.Clone(extended), copyData("300\tone\n"), copyDone(), parse("", "SELECT 1"), bind("", ""), execute("", 0), syncMsg())...), query("DELETE FROM item WHERE id >= 300")),
		free("COPY in, extended, a bad row, all in flight", ready(1, append(slices.Clone(extended), copyData("bad\n"), copyData("301\ttwo\n"), copyDone(), parse("", "SELECT 1"), syncMsg())...), query("SELECT count(*) FROM item")),
		free("COPY in, extended, that fails before it begins", ready(1, parse("", "COPY missing FROM STDIN"), bind("", ""), execute("", 0), copyData("x\n"), copyDone(), syncMsg()), ready(2, &pgproto3.Query{String: "COPY missing FROM STDIN"}, copyData("x\n"), copyDone(), &pgproto3.Query{String: "SELECT 1"})),
		free("COPY in within a transaction", query("BEGIN"), start(in), ready(1, copyData("300\tone\n"), copyDone()), start(in), ready(1, copyData("bad\n"), copyDone()), query("COMMIT"), query("SELECT count(*) FROM item")),
		free("much COPY data", start(in), ready(1, copyData(rows[:9000]), copyData(rows[9000:]), copyDone()), query("COPY (SELECT * FROM item ORDER BY id) TO STDOUT"), query("DELETE FROM item WHERE id >= 300")),
	}
}

func callScript() []transcript.Group {
	return []transcript.Group{
		group("function calls", ready(1, call(1397, int4(-5))), ready(1, call(1397, int4(-1<<31))), ready(1, call(1397)), ready(1, call(4294967295)), ready(2, call(1397, int4(1)), call(177, int4(2), int4(3))), ready(1, call(1397, nil))),
		group("function calls in a transaction", query("BEGIN"), ready(1, call(1397, int4(-5))), ready(1, call(154, int4(1), int4(0))), ready(1, call(1397, int4(-5))), query("ROLLBACK"), query("SELECT 1")),
		group("large objects", query("SELECT lo_create(70001)"), query("BEGIN"), query("SELECT lo_open(70001, 393216)"), query("SELECT lowrite(0, 'abcdef')"), query("SELECT lo_lseek(0, 2, 0)"), query("SELECT loread(0, 3)"), ready(1, call(956, int4(0), int4(1), int4(0))), ready(1, call(954, int4(0), int4(100))), query("COMMIT"),
			query("SELECT loread(0, 3)"), query("SELECT lo_get(70001)"), query("SELECT lo_unlink(70001)"), query("SELECT lo_unlink(70001)")),
	}
}

func settingScript() []transcript.Group {
	return []transcript.Group{
		group("reported settings", queries("SET TimeZone = 'Asia/Tokyo'", "SHOW TimeZone", "SET DateStyle = 'SQL, DMY'", "SELECT '2024-02-03'::date, '2024-02-03 00:00+00'::timestamptz", "SET application_name = 'me'", "SET client_encoding = 'LATIN1'", "SELECT 'ä'", "SET client_encoding = 'UTF8'", "SET IntervalStyle = 'iso_8601'", "SELECT '1 day'::interval",
			"RESET TimeZone", "RESET DateStyle", "RESET application_name", "RESET ALL", "SELECT '1 day'::interval", "SET TimeZone = 'Nowhere'")...),
		group("settings that are not reported", queries("SET work_mem = '5MB'", "SHOW work_mem", "RESET work_mem", "SHOW work_mem", "SET search_path = pg_catalog", "SELECT * FROM item LIMIT 1", "SET search_path TO DEFAULT", "SELECT id FROM item ORDER BY id LIMIT 1", "SELECT set_config('my.own', 'x', false)", "SHOW my.own", "SELECT current_setting('my.own')", "SET nosuch = 1")...),
		group("settings by extended queries", synced(parse("", "SET TimeZone = 'UTC'"), bind("", ""), execute("", 0)), synced(parse("", "SELECT set_config($1, $2, false)"), bind("", "", "TimeZone", "Europe/Paris"), execute("", 0)), synced(parse("", "SHOW TimeZone"), bind("", ""), execute("", 0)), query("RESET ALL")),
		group("settings and transactions", queries("BEGIN", "SET TimeZone = 'Asia/Tokyo'", "ROLLBACK", "SHOW TimeZone", "BEGIN", "SET LOCAL TimeZone = 'Asia/Tokyo'", "SHOW TimeZone", "COMMIT", "SHOW TimeZone", "SET LOCAL TimeZone = 'UTC'", "BEGIN", "SAVEPOINT a", "SET application_name = 'inner'", "ROLLBACK TO a", "SHOW application_name", "COMMIT", "BEGIN; SET work_mem = '7MB'; COMMIT", "SHOW work_mem", "RESET work_mem")...),
		group("strings with backslashes", queries(`SELECT 'a\b', E'a\\b'`, "SET standard_conforming_strings = off", `SELECT 'a\\b', 'it\'s; here'`, `SELECT 'x\'; SET TimeZone = ''Asia/Tokyo'''`, "SHOW TimeZone", "SET standard_conforming_strings = on", `SELECT 'x\'; SET TimeZone = 'Asia/Tokyo'`, "SHOW TimeZone", "RESET ALL")...),
		group("roles", queries("SET ROLE pg_monitor", "SELECT current_user, session_user", "SET SESSION AUTHORIZATION pg_read_all_data", "SELECT current_user, session_user", "SHOW is_superuser", "RESET SESSION AUTHORIZATION", "RESET ROLE", "SELECT current_user", "SHOW session_authorization")...),
		group("DISCARD", queries("SET application_name = 'gone soon'", "DISCARD ALL", "SHOW application_name", "BEGIN", "DISCARD ALL", "ROLLBACK", "DISCARD PLANS", "DISCARD SEQUENCES", "DISCARD TEMP")...),
		group("a transaction in flight behind DISCARD ALL", query("SELECT set_config('my.own', 'x', false)"), ready(2, &pgproto3.Query{String: "DISCARD ALL"}, &pgproto3.Query{String: "BEGIN"}), query("CREATE TABLE never (a int)"), query("ROLLBACK"), query("SELECT * FROM never")),
		group("default transaction modes", queries("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "CREATE TABLE nope (a int)", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET default_transaction_read_only = on", "SHOW transaction_read_only", "RESET default_transaction_read_only", "SHOW transaction_read_only")...),
	}
}

func stateScript() []transcript.Group {
	return []transcript.Group{
		group("notifications", queries("LISTEN news", "NOTIFY news, 'one'", "SELECT pg_notify('news', 'two'); SELECT 1", "BEGIN", "NOTIFY news, 'three'", "NOTIFY news, 'three'", "COMMIT", "BEGIN; NOTIFY news, 'lost'; ROLLBACK", "SELECT * FROM pg_listening_channels()", "UNLISTEN news", "NOTIFY news, 'unheard'", "LISTEN a; LISTEN b", "UNLISTEN *", "SELECT count(*) FROM pg_listening_channels()")...),
		group("a notification by an extended query", query("LISTEN news"), synced(parse("", "NOTIFY news, 'ext'"), bind("", ""), execute("", 0)), ready(2, parse("", "NOTIFY news"), bind("", ""), execute("", 0), syncMsg(), parse("", "SELECT 1"), bind("", ""), execute("", 0), syncMsg()), query("UNLISTEN *")),
		group("temporary tables", queries("CREATE TEMP TABLE tmp (a int)", "INSERT INTO tmp VALUES (1), (2)", "SELECT * FROM tmp", "CREATE TEMP TABLE item AS SELECT 'shadow' AS who", "SELECT * FROM item", "DROP TABLE pg_temp.item", "SELECT count(*) FROM item", "SELECT a FROM tmp ORDER BY a", "DROP TABLE tmp", "SELECT * FROM tmp", "BEGIN; CREATE TEMP TABLE t2 (a int) ON COMMIT DROP; SELECT * FROM t2; COMMIT", "SELECT * FROM t2",
			"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 7'", "SELECT pg_temp.f()", "DISCARD TEMP", "SELECT pg_temp.f()")...),
		group("a prepared statement on a temporary table", query("CREATE TEMP TABLE tp AS SELECT 1 AS a"), synced(parse("tp", "SELECT * FROM tp")), synced(bind("", "tp"), execute("", 0)), query("DROP TABLE tp"), synced(bind("", "tp"), execute("", 0)), synced(closing('S', "tp"))),
		group("cursors", queries("BEGIN", "DECLARE c CURSOR FOR SELECT id FROM item ORDER BY id", "FETCH 2 FROM c", "MOVE 3 IN c", "FETCH c", "CLOSE c", "FETCH c", "ROLLBACK", "DECLARE c CURSOR FOR SELECT 1")...),
		group("cursors that outlive the transaction", queries("DECLARE h SCROLL CURSOR WITH HOLD FOR SELECT id FROM item ORDER BY id", "FETCH 2 FROM h", "SELECT 1", "FETCH BACKWARD 1 FROM h", "FETCH LAST FROM h", "CLOSE h", "FETCH h", "BEGIN; DECLARE h2 CURSOR WITH HOLD FOR SELECT 1; COMMIT", "FETCH ALL FROM h2", "CLOSE ALL", "FETCH h2")...),
		group("a cursor used as a portal", query("DECLARE h CURSOR WITH HOLD FOR SELECT id FROM item ORDER BY id"), synced(describe('P', "h"), execute("h", 2)), synced(execute("h", 1)), synced(closing('P', "h")), query("FETCH h")),
		group("advisory locks", queries("SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock(1)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "SELECT pg_advisory_unlock(1)", "SELECT pg_advisory_unlock(1)", "SELECT pg_advisory_unlock(1)", "BEGIN; SELECT pg_advisory_xact_lock(2); COMMIT", "SELECT pg_advisory_lock(3), pg_advisory_lock_shared(4)", "SELECT pg_advisory_unlock_all()")...),
		group("sequences", queries("CREATE SEQUENCE seq", "SELECT currval('seq')", "SELECT nextval('seq')", "SELECT currval('seq'), lastval()", "SELECT setval('seq', 10)", "SELECT nextval('seq')", "SELECT lastval()", "DROP SEQUENCE seq", "CREATE TABLE auto (id serial, v int); INSERT INTO auto (v) VALUES (1), (2) RETURNING id", "SELECT lastval()", "DROP TABLE auto")...),
		group("a generator with a seed", queries("SELECT setseed(0.5)", "SELECT random() AS r1, random() AS r2", "SELECT setseed(0.5)", "SELECT random() AS r1")...),
		group("functions", queries("CREATE FUNCTION loud(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'got %', n; PERFORM set_config('application_name', 'from within', false); RETURN n; END $$", "SELECT loud(3)", "SHOW application_name", "RESET application_name", "DROP FUNCTION loud")...),
		group("a procedure that commits", queries("CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO item VALUES (400, 'p'); COMMIT; INSERT INTO item VALUES (401, 'p'); ROLLBACK; END $$", "CALL twice()", "SELECT count(*) FROM item WHERE id >= 400", "DELETE FROM item WHERE id >= 400", "DROP PROCEDURE twice")...),
		free("commands outside transactions", queries("VACUUM item", "BEGIN", "VACUUM item", "ROLLBACK", "CREATE INDEX CONCURRENTLY item_name ON item (name)", "DROP INDEX item_name", "PREPARE TRANSACTION 'x'", "CHECKPOINT", "ANALYZE item")...),
	}
}

func bulkScript() []transcript.Group {
	big := text(300_000)
	parameters := make([]string, 2000)
	sum := make([]string, 2000)
	for i := range parameters {
		parameters[i], sum[i] = fmt.Sprint(i), fmt.Sprintf("$%d::int", i+1)
	}
	wide := "SELECT array_length(ARRAY[" + strings.Join(sum, ",") + "], 1)"
	return []transcript.Group{
		free("large rows", query("SELECT repeat('x', 1000000)"), synced(parse("", "SELECT repeat('y', $1), g FROM generate_series(1, 2) g"), bind("", "", "400000"), describe('P', ""), execute("", 0))),
		free("ten thousand rows", query("SELECT g, 'row ' || g FROM generate_series(1, 10000) g"), synced(parse("", "SELECT g FROM generate_series(1, 10000) g"), bind("", ""), execute("", 4000), execute("", 4000), execute("", 4000))),
		free("a large notice and a large error", query("DO $$ BEGIN RAISE NOTICE '%', repeat('n', 100000); END $$"), query("DO $$ BEGIN RAISE EXCEPTION '%', repeat('e', 100000); END $$"), query("SELECT 1")),
		free("a large Query", query("SELECT length('"+big+"')"), query("SELECT '"+big+"'"), query("SELEC '"+big+"'"), query("SELECT 1 /* "+big+" */; SELECT 2"), ready(3, &pgproto3.Query{String: "SELECT length('" + big + "')"}, &pgproto3.Query{String: "SELECT length('" + big + "')"}, &pgproto3.Query{String: "SELECT 1"})),
		free("a large unnamed Parse", synced(parse("", "SELECT length('"+big+"') + $1"), bind("", "", "1"), describe('S', ""), execute("", 0)), synced(parse("", "SELECT length('"+big+"'")), synced(bind("", "nope"), parse("", "SELECT length('"+big+"')"))),
		group("a large unnamed Parse used after its Sync", synced(parse("", "SELECT length('"+big+"') + $1"), describe('S', "")), synced(bind("", "", "1"), execute("", 0)), synced(bind("", "", "2"), execute("", 0)), query("SELECT 1"), synced(bind("", "", "2"), execute("", 0))),
		group("a large named Parse", synced(parse("big", "SELECT length('"+big+"') + $1")), synced(bind("", "big", "1"), describe('P', ""), execute("", 0)), query("SELECT 1"), synced(bind("", "big", "2"), execute("", 0), describe('S', "big")), synced(parse("big", "SELECT length('"+big+"')")), synced(parse("big", "SELECT 1")), synced(closing('S', "big")), synced(bind("", "big", "2"), execute("", 0)),
			synced(parse("big", "SELEC '"+big+"'")), synced(parse("big", "SELECT 'small now'"), bind("", "big"), execute("", 0), closing('S', "big"))),
		group("a large named Parse that is skipped", synced(bind("", "nope"), parse("big", "SELECT length('"+big+"')")), synced(bind("", "big"))),
		group("a large statement with effects", query("SET application_name = 'x'; SELECT length('"+big+"'); SET TimeZone = 'Asia/Tokyo'"), query("SHOW TimeZone"), query("RESET ALL")),
		free("two thousand parameters", synced(parse("", wide), bind("", "", parameters...), describe('P', ""), execute("", 0)), synced(parse("wide", wide), describe('S', "wide")), synced(bind("", "wide", parameters...), execute("", 0), closing('S', "wide"))),
		free("large parameters", synced(parse("", "SELECT length($1), $1"), bind("", "", big[:100_000]), execute("", 0)), synced(parse("lp", "SELECT length($1) + length($2)"), bind("", "lp", big, big[:70_000]), execute("", 0), closing('S', "lp")), synced(bind("", "nope", big[:100_000])), query(""), synced(bind("", "", big[:100_000]), execute("", 0)), query("SELECT 1")),
		free("answers and requests that are large at once", ready(4, large(big)...)),
	}
}

// large is requests whose answers are as large as they are, all in flight.
func large(s string) []message {
	var all []message
	for range 4 {
		all = append(all, parse("", "SELECT $1::text, repeat('z', 200000)"), bind("", "", s), execute("", 0), syncMsg())
	}
	return all
}

// heldLock is an advisory lock that another session of the database holds during the script.
const heldLock = "4711"

func timeoutScript() []transcript.Group {
	return []transcript.Group{
		group("statement_timeout", queries("SET statement_timeout = '20ms'", "SELECT pg_sleep(10)", "SELECT 1", "RESET statement_timeout", "BEGIN; SET LOCAL statement_timeout = '20ms'", "SELECT pg_sleep(10)", "ROLLBACK", "SHOW statement_timeout")...),
		group("lock_timeout", query("SET lock_timeout = '20ms'"), query("SELECT pg_advisory_lock("+heldLock+")"), synced(parse("", "SELECT pg_advisory_lock($1)"), bind("", "", heldLock), execute("", 0), parse("", "SELECT 1")), query("RESET lock_timeout"), query("SELECT pg_try_advisory_lock("+heldLock+")")),
	}
}

// oddScript is messages that are wrong within: PostgreSQL answers them with an ordinary error.
func oddScript() []transcript.Group {
	return []transcript.Group{
		free("messages with a wrong body", query(""), // drops the unnamed statement, which most of them do not
			ready(1, rawFrame('Q', "SELECT 1")), ready(1, rawFrame('Q', "SELECT 1\x00xx")), ready(1, rawFrame('P', "\x00abc"), syncMsg()), ready(1, rawFrame('P', "abc"), syncMsg()), ready(1, rawFrame('P', "\x00SELECT 1\x00\x00\x07"), syncMsg()),
			ready(1, rawFrame('B', "ab"), syncMsg()), ready(1, rawFrame('B', "\x00\x00"), syncMsg()), ready(1, rawFrame('D', ""), syncMsg()), ready(1, rawFrame('D', "S"), syncMsg()), ready(1, rawFrame('D', "X\x00"), syncMsg()), ready(1, rawFrame('C', "X\x00"), syncMsg()),
			ready(1, rawFrame('C', "S"), syncMsg()), ready(1, rawFrame('E', "\x00"), syncMsg()), ready(1, rawFrame('D', "S\x00xx"), syncMsg()), ready(1, rawFrame('P', ""), syncMsg()), ready(1, rawFrame('B', ""), syncMsg()), ready(1, rawFrame('C', ""), syncMsg()), ready(1, rawFrame('Q', "")), ready(1, rawFrame('F', "")), ready(1, rawFrame('S', "xx")), ready(1, rawFrame('F', "xx")), query("SELECT 'alive'")),
		free("all is taken down", query("DROP TABLE item, late; DROP TYPE mood")),
	}
}

// afterwards is played after each ending: what it left, and whether the next client finds a clean session.
func afterwards() []transcript.Group {
	return []transcript.Group{free("what the one before has left", query("SELECT count(*) FROM kept"), synced(bind("", "e1")), synced(bind("", "")), query("SELECT 1/0"), synced(bind("", "e1")), synced(bind("", "")))}
}

// departures are clients that go in the middle of something: what they still hear of it is chance.
func departures() []transcript.Group {
	end := func(name string, messages ...message) transcript.Group {
		return free(name, transcript.Send(0, 0, append(messages, &pgproto3.Terminate{})...))
	}
	insert := []message{parse("", "INSERT INTO kept VALUES (1)"), bind("", ""), execute("", 0)}
	return []transcript.Group{
		end("gone in an open sequence", insert...),
		end("gone in a sequence that has failed", append(slices.Clone(insert), bind("", "nope"), parse("e1", "SELECT 1"))...),
		end("gone with names in flight", parse("e1", "SELECT 1"), syncMsg(), closing('S', "e1"), bind("", "nope"), closing('S', "e1"), parse("e1", "SELECT 2"), parse("", "SELECT 3")),
		end("gone in COPY in", &pgproto3.Query{String: "COPY kept FROM STDIN"}, copyData("1\n")),
		end("gone in COPY in, extended", parse("", "COPY kept FROM STDIN"), bind("", ""), execute("", 0), copyData("1\n")),
		end("gone in COPY out", &pgproto3.Query{String: "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000)) TO STDOUT"}),
		end("gone in a transaction", &pgproto3.Query{String: "BEGIN; INSERT INTO kept VALUES (1)"}),
		free("gone after a wrong message in an open sequence", transcript.Send(0, 0, append(insert, rawFrame('z', ""))...)),
	}
}

// endings are conversations that PostgreSQL ends, each on a connection of its own.
func endings() []transcript.Group {
	end := func(name string, messages ...message) transcript.Group {
		return free(name, transcript.Send(0, 0, messages...))
	}
	return []transcript.Group{
		end("an unknown message type", rawFrame('z', "")),
		end("an unknown message type behind a query", &pgproto3.Query{String: "SELECT 1"}, rawFrame('z', "")),
		end("an unknown message type in a transaction", &pgproto3.Query{String: "BEGIN"}, rawFrame('?', "x")),
		end("a password out of turn", rawFrame('p', "pass\x00")),
		end("a second StartupMessage", transcript.Raw("\x00\x00\x00\x08\x00\x03\x00\x00")),
		end("garbage", transcript.Raw(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 4))),
		end("Terminate", &pgproto3.Terminate{}),
		end("Terminate behind queries", &pgproto3.Query{String: "SELECT 1"}, parse("", "SELECT 2"), bind("", ""), execute("", 0), syncMsg(), &pgproto3.Terminate{}),
		end("Terminate in a transaction", &pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "CREATE TABLE never (a int)"}, &pgproto3.Terminate{}),
		end("another message in COPY in", &pgproto3.Query{String: "COPY pg_description FROM STDIN"}, copyData("300"), parse("", "SELECT 1")),
		end("a Query in COPY in", &pgproto3.Query{String: "COPY pg_description FROM STDIN"}, &pgproto3.Query{String: "SELECT 1"}),
		end("an end by the server", &pgproto3.Query{String: "SELECT pg_terminate_backend(pg_backend_pid())"}),
	}
}
