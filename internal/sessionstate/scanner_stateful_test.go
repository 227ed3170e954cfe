package sessionstate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// markedTexts have every effect. A word behind @ is a name, one behind ~ a function of pg_catalog: both may be written
// in other ways than keywords.
var markedTexts = []scanCase{
	{text: "SET @search_path = a, b", want: EffectSettings},
	{text: "SET SESSION @a.@b TO 'c'", want: EffectSettings},
	{text: "SET TIME ZONE 'UTC'", want: EffectSettings},
	{text: "SET @a TO DEFAULT", want: EffectSettings | EffectReset},
	{text: "SET LOCAL @a = DEFAULT", want: EffectReset},
	{text: "SET SESSION TIME ZONE LOCAL", want: EffectSettings | EffectReset},
	{text: "SET LOCAL TIME ZONE DEFAULT", want: EffectReset},
	{text: "SET NAMES", want: EffectSettings | EffectReset},
	{text: "RESET @a", want: EffectSettings | EffectReset},
	{text: "RESET @session.@a", want: EffectSettings | EffectReset},
	{text: "RESET ALL", want: EffectSettings | EffectReset},
	{text: "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", want: EffectSettings},
	{text: "SELECT ~set_config('a.b', 'c', false)", want: EffectSettings},
	{text: "SELECT a, ~set_config('a.b', 'c', $1) FROM t", want: EffectSettings},
	{text: "SELECT ~set_config('a.b', NULL, true)", want: EffectReset},
	{text: "WITH x (a) AS (SELECT ~set_config('a.b', $1, 'f')) SELECT 1", want: EffectSettings | EffectReset},
	{text: "SELECT ~set_config('role', 'none', false)", want: EffectSettings | EffectRole | EffectReset},
	{text: "SELECT ~set_config('session_authorization', 'c', false)", want: EffectSettings | EffectRole},
	{text: "UPDATE @pg_settings SET setting = 'a' WHERE name = 'b'", want: EffectSettings | EffectReset},
	{text: "UPDATE pg_catalog.@pg_settings AS s SET setting = 'a'", want: EffectSettings | EffectReset},
	{text: "SET ROLE @a", want: EffectRole},
	{text: "SET ROLE NONE", want: EffectRole | EffectReset},
	{text: "SET @role TO 'none'", want: EffectRole | EffectReset},
	{text: "SET LOCAL @role TO @none", want: EffectReset},
	{text: "RESET @role", want: EffectRole | EffectReset},
	{text: "SET SESSION AUTHORIZATION @a", want: EffectRole},
	{text: "SET SESSION SESSION AUTHORIZATION DEFAULT", want: EffectRole | EffectReset},
	{text: "RESET SESSION AUTHORIZATION", want: EffectRole | EffectReset},
	{text: "PREPARE @p AS SELECT 1", want: EffectPrepare},
	{text: "PREPARE @transaction (int, text) AS INSERT INTO t VALUES ($1)", want: EffectPrepare | EffectInsert},
	{text: "EXECUTE @p", want: EffectExecute},
	{text: "EXECUTE @p (1, ~nextval('s'))", want: EffectExecute | EffectSequence},
	{text: "EXPLAIN (ANALYZE, VERBOSE) EXECUTE @p(1)", want: EffectExecute},
	{text: "EXPLAIN ANALYZE CREATE TABLE t AS EXECUTE @p", want: EffectExecute},
	{text: "CREATE TEMP TABLE t (a) ON COMMIT DROP AS EXECUTE @p('x')", want: EffectExecute},
	{text: "DEALLOCATE @p", want: EffectDeallocate},
	{text: "DEALLOCATE PREPARE @p", want: EffectDeallocate},
	{text: "DEALLOCATE ALL", want: EffectDeallocate},
	{text: "DECLARE @c INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1", want: EffectHoldCursor},
	{text: "CLOSE @c", want: EffectClose},
	{text: "CREATE TEMPORARY TABLE IF NOT EXISTS @t (a int DEFAULT (1), b varchar(3))", want: EffectTemp},
	{text: "CREATE LOCAL TEMP TABLE t ON COMMIT DELETE ROWS AS SELECT 1", want: EffectTemp},
	{text: "CREATE OR REPLACE TEMP VIEW v AS SELECT 1", want: EffectTemp},
	{text: "CREATE TABLE @pg_temp.t (a int)", want: EffectTemp},
	{text: "SELECT 1 AS a INTO TEMPORARY TABLE t", want: EffectTemp},
	{text: "SET LOCAL search_path TO @pg_temp", want: EffectTemp},
	{text: "SET LOCAL search_path TO 'a, pg_temp'", want: EffectTemp},
	{text: "SELECT ~set_config('search_path', 'pg_temp', true)", want: EffectTemp},
	{text: "SELECT ~pg_advisory_lock(1)", want: EffectAdvisoryLock},
	{text: "SELECT DISTINCT ON (a, b) ~pg_try_advisory_lock_shared(a) FROM t", want: EffectAdvisoryLock},
	{text: "DELETE FROM t WHERE a IN (SELECT 1) AND ~pg_advisory_unlock(a)", want: EffectAdvisoryLock},
	{text: "SELECT CASE WHEN a THEN ~pg_advisory_unlock_all() END", want: EffectAdvisoryLock},
	{text: "LISTEN @a", want: EffectListen},
	{text: "UNLISTEN *", want: EffectUnlisten},
	{text: "INSERT INTO t (a, b) SELECT 1, ~nextval('s')", want: EffectInsert | EffectSequence},
	{text: "SELECT ~setval('s', 1)", want: EffectSequence},
	{text: "SELECT ~currval('s')", want: EffectSequenceRead},
	{text: "UPDATE t SET (a, b) = (1, ~lastval())", want: EffectSequenceRead},
	{text: "SELECT ~setseed(0.5)", want: EffectSeed},
	{text: "SET @seed TO 0.5", want: EffectSettings | EffectSeed},
	{text: "LOAD 'a'", want: EffectLoad},
	{text: "SELECT * FROM dblink('a', 'b') AS t(a int)", want: EffectForeign},
	{text: "SELECT ~pg_replication_origin_session_setup('a')", want: EffectForeign},
	{text: "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c", want: EffectForeign},
	{text: "DISCARD ALL", want: EffectDiscard},
	{text: "WITH a AS (INSERT INTO t VALUES (1) RETURNING b) SELECT 1", want: EffectInsert},
	{text: "MERGE INTO t USING s ON (a = b) WHEN NOT MATCHED THEN INSERT VALUES (1)", want: EffectInsert},
	{text: "UPDATE t SET a = DEFAULT", want: EffectInsert},
	{text: "COPY t (a, b) FROM STDIN", want: EffectInsert},
	{text: "ALTER TABLE t ADD COLUMN a serial", want: EffectInsert},
	{text: "ALTER ROLE @a SET b = 'c'", want: EffectDefaults | EffectNeighbours},
	{text: "ALTER DATABASE @a RENAME TO @b", want: EffectDefaults | EffectNeighbours},
	{text: "ALTER SYSTEM SET a = 1", want: EffectDefaults},
	{text: "CREATE DATABASE @a TEMPLATE @b", want: EffectNeighbours},
	{text: "DROP DATABASE IF EXISTS @a", want: EffectNeighbours},
	{text: "DROP OWNED BY @a", want: EffectNeighbours},
	{text: "DROP USER @a", want: EffectNeighbours},
	{text: "SELECT name FROM @pg_prepared_statements", want: EffectShowPrepared},
	{text: "SELECT name FROM ~pg_prepared_statement()", want: EffectShowPrepared},
	{text: "DO $$ BEGIN END $$", want: EffectUnknown},
	{text: "CALL @f(1)", want: EffectUnknown},
	{text: "SELECT @f(1), @s.lower('A')", want: EffectUnknown},
	{text: "CREATE EXTENSION @a", want: EffectUnknown},
}

// disguiser writes texts in another way that means the same, as the bytes it is given say.
type disguiser struct {
	choices []byte
	legacy  bool // standard_conforming_strings is off
	out     strings.Builder
}

// choose returns a number below n.
func (d *disguiser) choose(n int) int {
	if len(d.choices) == 0 {
		return 0
	}
	c := d.choices[0]
	d.choices = d.choices[1:]
	return int(c) % n
}

func (d *disguiser) pick(all ...string) { d.out.WriteString(all[d.choose(len(all))]) }

// statement writes a text with others around it.
func (d *disguiser) statement(text string) string {
	d.pick("", "SELECT 'it''s;';", "BEGIN;", "\t;;", "-- '\r;", "/* /* */ ' */", "SELECT $$ ' $$, $a$ $b$ $a$, \"a\"\"'\";", "SELECT E'\\'';",
		"CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;",
		"CREATE RULE r AS ON UPDATE TO t DO ALSO (SELECT 1; SELECT 2);", "SELECT a FROM t WHERE b = 1.5e3 AND c ~* 'd';")
	pieces := allPieces([]byte(text), true)
	for i := 0; i < len(pieces); i++ {
		p := pieces[i]
		marked := i+1 < len(pieces) && pieces[i+1].kind == pieceWord
		switch {
		case marked && p.kind == pieceOperator && p.text[0] == '@':
			i++
			d.name(pieces[i].name())
		case marked && p.kind == pieceOperator && p.text[0] == '~':
			i++
			d.function(pieces[i].name())
		case p.kind == pieceWord:
			d.word(string(p.text))
		case p.kind == pieceSpace:
			d.space()
		case p.kind == pieceString:
			value, _ := p.constant()
			d.constant(value)
		case p.kind == pieceOpen, p.kind == pieceClose, p.kind == pieceComma, p.kind == pieceDot:
			d.between()
			d.out.Write(p.text)
			d.between()
		default:
			d.out.Write(p.text)
		}
	}
	d.pick("", ";", "; SELECT 1", " -- '", "/* ' */", "\n; COMMIT ;")
	return d.out.String()
}

func allPieces(text []byte, standard bool) (all []piece) {
	lex := lexer{text: text, standard: standard}
	for p, ok := lex.next(); ok; p, ok = lex.next() {
		all = append(all, p)
	}
	return all
}

func (d *disguiser) space() {
	d.pick(" ", "\n", "\t \r\n", "\f\v", "/**/", " /* ' /* \" */ ; $$ */ ", " -- '\n", " --\r", "/***//*;*/", " --/*\n")
}

func (d *disguiser) between() {
	if d.choose(4) == 1 {
		d.space()
	}
}

// word writes a keyword.
func (d *disguiser) word(w string) {
	switch d.choose(3) {
	case 0:
		d.out.WriteString(w)
	case 1:
		d.out.WriteString(strings.ToLower(w))
	default:
		for i := range len(w) {
			if d.choose(2) == 1 {
				d.out.WriteString(strings.ToUpper(w[i : i+1]))
			} else {
				d.out.WriteString(strings.ToLower(w[i : i+1]))
			}
		}
	}
}

// name writes an identifier. One that is a keyword needs its quotes.
func (d *disguiser) name(n string) {
	switch index, _ := words.find([]byte(n), true); {
	case words.infos[index].token != tokName && n != "role" && n != "seed", d.choose(3) == 1:
		d.out.WriteString(`"` + n + `"`)
	case d.choose(8) == 1 && !d.legacy:
		fmt.Fprintf(&d.out, `U&"\%04x%s"`, n[0], n[1:])
	default:
		d.word(n)
	}
}

func (d *disguiser) function(n string) {
	switch d.choose(4) {
	case 1:
		d.name("pg_catalog")
		d.between()
		d.out.WriteString(".")
		d.between()
	case 2:
		d.out.WriteString("postgres.pg_catalog.")
	}
	d.name(n)
}

// constant writes a string, which has no quotes or backslashes in it.
func (d *disguiser) constant(v string) {
	switch d.choose(10) {
	case 1:
		d.out.WriteString("E'" + v + "'")
	case 2:
		d.out.WriteString("e'")
		for i := range len(v) {
			fmt.Fprintf(&d.out, []string{`\x%x`, `\%03o`, `\u%04x`, `%c`}[d.choose(4)], v[i])
		}
		d.out.WriteString("'")
	case 3:
		if d.legacy {
			d.out.WriteString("'" + v + "'")
			break
		}
		fmt.Fprintf(&d.out, `u&'\%04x%s'`, v[0], v[1:])
	case 4:
		d.out.WriteString("$$" + v + "$$")
	case 5:
		d.out.WriteString("$a_1$" + v + "$a_1$")
	case 6:
		d.out.WriteString("N'" + v + "'")
	case 7:
		d.out.WriteString("'" + v[:1] + "' -- '\n\t'" + v[1:] + "'")
	default:
		d.out.WriteString("'" + v + "'")
	}
}

// checkDisguised checks what the scanner and Inspect say of a text in disguise.
func checkDisguised(t *testing.T, c scanCase, choices []byte, standard bool) {
	d := disguiser{choices: choices, legacy: !standard}
	text := d.statement(c.text)
	var s Scanner
	s.Reset(standard)
	for rest := []byte(text); len(rest) > 0; {
		n := min(1+d.choose(20)*d.choose(4), len(rest))
		s.Write(rest[:n])
		rest = rest[n:]
	}
	got := s.Effects()
	if got&c.want != c.want && got&EffectUnknown == 0 {
		t.Fatalf("%s\n%q\ngot %v, want at least %v", c.text, text, got, c.want)
	}
	details, plain := Inspect([]byte(text), standard), Inspect([]byte(unmarked.Replace(c.text)), true)
	if got&EffectUnknown != 0 {
		return
	}
	for _, lists := range [][2][]string{
		{details.Prepares, plain.Prepares},
		{details.Executes, plain.Executes},
		{details.Deallocates, plain.Deallocates},
		{details.Settings, plain.Settings},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Fatalf("%s\n%q\ngot %+v, want %+v", c.text, text, details, plain)
		}
	}
	if details.SettingsKnown && !plain.SettingsKnown {
		t.Fatalf("%s\n%q\ngot %+v, want %+v", c.text, text, details, plain)
	}
}

var unmarked = strings.NewReplacer("@transaction", `"transaction"`, "@", "", "~", "")

// TestScanStateful does what FuzzScanStateful does, by chance.
func TestScanStateful(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	choices := make([]byte, 200)
	for _, c := range markedTexts {
		for i := range 300 {
			for j := range choices {
				choices[j] = byte(rng.Uint32())
			}
			checkDisguised(t, c, choices, i%2 == 0)
		}
	}
}

func TestMarkedTextsHaveAllEffects(t *testing.T) {
	var all Effect
	for _, c := range markedTexts {
		all |= c.want
		if got := Scan([]byte(unmarked.Replace(c.text)), true); got != c.want {
			t.Errorf("%s: got %v, want %v", c.text, got, c.want)
		}
	}
	if want := Effect(1)<<len(effectNames) - 1; all != want {
		t.Errorf("%v is missing", want&^all)
	}
}

// FuzzScanStateful disguises stateful texts: the scanner must never take one for harmless, and Inspect must find the
// same names in it.
func FuzzScanStateful(f *testing.F) {
	for i := range markedTexts {
		f.Add(uint8(i), []byte{}, true)
		f.Add(uint8(i), []byte("\x06\x02\x01\x09\x03\x02\x04\x07\x01\x05\x08\x02\x01\x01\x03"), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, which uint8, choices []byte, standard bool) {
		checkDisguised(t, markedTexts[int(which)%len(markedTexts)], choices, standard)
	})
}
