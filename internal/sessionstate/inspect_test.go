package sessionstate

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestInspectNames(t *testing.T) {
	for _, c := range []struct {
		name                         string
		text                         string
		prepares, executes, deallocs []string
	}{
		{name: "prepare", text: "PREPARE P (int) AS SELECT $1", prepares: []string{"p"}},
		{name: "prepare quoted", text: `PREPARE "P""q" AS SELECT 1`, prepares: []string{`P"q`}},
		{name: "prepare a name too long", text: "PREPARE a" + strings.Repeat("é", 40) + " AS SELECT 1", prepares: []string{"a" + strings.Repeat("é", 31)}},
		{name: "prepare a quoted name too long", text: `PREPARE "` + strings.Repeat("é", 40) + `" AS SELECT 1`, prepares: []string{strings.Repeat("é", 31)}},
		{name: "prepare a transaction", text: "PREPARE TRANSACTION 'x'; PREPARE TRANSACTION E'x'; PREPARE transaction $$x$$"},
		{name: "prepare a statement called transaction", text: "PREPARE transaction AS SELECT 1; PREPARE \"transaction\" AS SELECT 1", prepares: []string{"transaction"}},
		{name: "two of them, one twice", text: "PREPARE a AS SELECT 1;;PREPARE b AS SELECT 2;PREPARE A AS SELECT 3", prepares: []string{"a", "b"}},
		{name: "prepare inside others", text: "SELECT prepare FROM t; SELECT $$;PREPARE a AS SELECT 1$$, ';PREPARE b' /* ;PREPARE c */ -- ;PREPARE d"},
		{name: "execute", text: "EXECUTE p; EXECUTE Q(1, 'x')", executes: []string{"p", "q"}},
		{name: "explain execute", text: "EXPLAIN EXECUTE a; EXPLAIN ANALYZE VERBOSE EXECUTE b; EXPLAIN (ANALYZE, COSTS (off)) EXECUTE c(1)", executes: []string{"a", "b", "c"}},
		{name: "create table as execute", text: "CREATE TEMP TABLE IF NOT EXISTS t (a, as_) WITH (x) AS EXECUTE P (1) WITH NO DATA", executes: []string{"p"}},
		{name: "explain create table as execute", text: "EXPLAIN ANALYZE CREATE UNLOGGED TABLE t AS EXECUTE p", executes: []string{"p"}},
		{name: "execute inside others", text: "CREATE TRIGGER a EXECUTE FUNCTION f(); GRANT EXECUTE ON x TO y; CREATE TABLE t AS SELECT a AS execute FROM x"},
		{name: "deallocate", text: "DEALLOCATE a; DEALLOCATE PREPARE b; DEALLOCATE prepare; DEALLOCATE PREPARE \"All\"", deallocs: []string{"a", "b", "prepare", "All"}},
		{name: "deallocate all", text: "DEALLOCATE ALL; DEALLOCATE PREPARE all"},
		{name: "deallocate one called all", text: `DEALLOCATE "all"`, deallocs: []string{"all"}},
		{name: "behind a function and a rule", text: `CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; EXECUTE x; END;
			CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; EXECUTE y); EXECUTE z`, executes: []string{"z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Inspect([]byte(c.text), true)
			if !slices.Equal(d.Prepares, c.prepares) || !slices.Equal(d.Executes, c.executes) || !slices.Equal(d.Deallocates, c.deallocs) || d.Opaque {
				t.Errorf("%s\ngot %+v", c.text, d)
			}
		})
	}
}

func TestInspectSettings(t *testing.T) {
	for _, c := range []struct {
		name    string
		text    string
		want    []string
		unknown bool
	}{
		{name: "set", text: "SET Search_Path TO a; SET work_mem = DEFAULT", want: []string{"search_path", "work_mem"}},
		{name: "set session", text: "SET SESSION a = 1; SET session = 2; SET session.x TO 3", want: []string{"a", "session", "session.x"}},
		{name: "set local", text: "SET LOCAL a = 1; SET LOCAL ROLE x; SET local.y = 1; SET local TO 2", want: []string{"local.y", "local"}},
		{name: "set custom", text: `SET "My" . "Var" = 1; SET "a.B" = 2; SET x /* */ . -- .
			y TO 3`, want: []string{"my.var", "a.b", "x.y"}},
		{name: "set transaction", text: "SET TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED; SET SESSION TRANSACTION READ ONLY; SET transaction.x = 1", want: []string{"transaction.x"}},
		{name: "set with words of its own", text: `SET TIME ZONE 'UTC'; SET NAMES 'UTF8'; SET SCHEMA 'a'; SET ROLE b; SET SESSION AUTHORIZATION c;
			SET XML OPTION DOCUMENT`, want: []string{"timezone", "client_encoding", "search_path", "role", "session_authorization", "xmloption"}},
		{
			name: "set session with words of its own", text: "SET SESSION TIME ZONE LOCAL; SET SESSION NAMES; SET SESSION SESSION AUTHORIZATION DEFAULT; SET SESSION ROLE NONE",
			want: []string{"timezone", "client_encoding", "session_authorization", "role"},
		},
		{name: "set parameters called like words", text: "SET time = 1; SET names.x = 1; SET role TO x; SET schema = 1", want: []string{"time", "names.x", "role", "schema"}},
		{
			name: "set characteristics", text: "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
			want: []string{"default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"},
		},
		{
			name: "reset", text: `RESET a; RESET "B".c; RESET ROLE; RESET SESSION AUTHORIZATION; RESET TIME ZONE; RESET TRANSACTION ISOLATION LEVEL; RESET session.x`,
			want: []string{"a", "b.c", "role", "session_authorization", "timezone", "transaction_isolation", "session.x"},
		},
		{name: "reset all", text: "RESET ALL", unknown: true},
		{name: "discard", text: "DISCARD TEMP", unknown: true},
		{name: "set config", text: "SELECT set_config('A', 'b', false), pg_catalog.\"set_config\"($x, 'c', true), lower(set_config('d' , NULL, $1))", unknown: true, want: []string{"a", "d"}},
		{name: "set config with a name", text: "SELECT set_config('My.Var', x, false), set_config(E'it''s', y, true)", want: []string{"my.var", "it's"}},
		{name: "set config with a name computed", text: "SELECT set_config('a' || b, x, false)", unknown: true},
		{name: "set config with a name in two parts", text: "SELECT set_config('a'\n'b', x, false)", unknown: true},
		{name: "set config with a name escaped", text: `SELECT set_config(E'\x61', x, false)`, unknown: true, want: []string{"a"}},
		{name: "set config by name", text: "SELECT set_config(setting_name => 'a', new_value => 'b', is_local => true)", unknown: true},
		{name: "set config in set config", text: "SELECT set_config('a', set_config('b', 'c', false), false)", unknown: true, want: []string{"a"}},
		{name: "set config not called", text: "CREATE VIEW v AS SELECT set_config('a', 'b', false); SELECT 'set_config(''x'', 1)'"},
		{name: "update of pg_settings", text: "UPDATE pg_settings SET setting = 'x' WHERE name = 'a'", unknown: true},
		{name: "update of pg_settings in a row", text: "UPDATE pg_settings SET setting = 'x' WHERE name = 'a'; SELECT 1", unknown: true},
		{name: "an unknown call", text: "SET a = 1; SELECT f(1)", unknown: true, want: []string{"a"}},
		{name: "do", text: "DO $$ $$", unknown: true},
		{name: "call", text: "CALL f()", unknown: true},
		{name: "execute", text: "EXECUTE a", unknown: true},
		{name: "settings of functions and roles", text: "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET a = b AS ''; ALTER ROLE x SET c = d; UPDATE t SET e = f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Inspect([]byte(c.text), true)
			if !slices.Equal(d.Settings, c.want) || d.SettingsKnown == c.unknown {
				t.Errorf("%s\ngot %q, known: %t, want %q", c.text, d.Settings, d.SettingsKnown, c.want)
			}
		})
	}
}

func TestInspectCalls(t *testing.T) {
	for _, c := range []struct {
		name   string
		text   string
		want   []string
		opaque bool
	}{
		{name: "known calls", text: "SELECT lower(a), nextval('s'), count(*) FROM t AS u(x), generate_series(1, 2) g(y)"},
		{name: "calls", text: "SELECT F(1), s.G (2), \"H\"(f(3)), x /**/ (4) FROM t WHERE a IN (1) AND set(1)", want: []string{"f", "g", "H", "x", "set"}},
		{name: "do", text: "DO $$ SELECT f(1) $$", opaque: true},
		{name: "call", text: "CALL f(1)", want: []string{"f"}, opaque: true},
		{name: "not understood", text: "FROBNICATE; SELECT f(1)", want: []string{"f"}, opaque: true},
		{name: "unicode name", text: `SELECT U&"a"(1)`, opaque: true},
		{name: "set config of anything", text: "SELECT set_config(a, b, true)", opaque: true},
		{name: "set config in a schema", text: "SELECT x.set_config('a', b, true)", opaque: true},
		{name: "deep parentheses", text: "SELECT " + strings.Repeat("lower(", 200) + "1" + strings.Repeat(")", 200), opaque: true},
		{name: "unfinished", text: "SELECT f(1), 'a", want: []string{"f"}, opaque: true},
		{name: "prepare without a name", text: "PREPARE 1", opaque: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Inspect([]byte(c.text), true)
			if !slices.Equal(d.Calls, c.want) || d.Opaque != c.opaque {
				t.Errorf("%s\ngot %q, opaque: %t, want %q", c.text, d.Calls, d.Opaque, c.want)
			}
		})
	}
}

func TestInspectStatements(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, " ; -- x\n;/* ; */": 0, "SELECT 1": 1, ";SELECT ';';; SELECT $$;$$;": 2, "(SELECT 1); SELECT 2": 2,
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3":      2,
		"CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); SELECT 3; SELECT 'a;b": 3,
	} {
		if got := Inspect([]byte(text), true).Statements; got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

func TestInspectCustomAndWords(t *testing.T) {
	d := Inspect([]byte(`SELECT a.B, 'x SET My.Var = 1', $f$ y.z $f$, "q.r"."S", t . /* c.d */ u, E'\x6d\156.\u006e', E'\nv.w', 1.5, e'a' FROM x.`), true)
	for _, want := range []string{"a.b", "my.var", "y.z", "q.r", "q.r.s", "t.u", "c.d", "mn.n", "v.w"} {
		if !slices.Contains(d.Custom, want) {
			t.Errorf("%s is missing in %q", want, d.Custom)
		}
	}
	d = Inspect([]byte(`DROP DATABASE "My""Db"; SELECT Abc, 'it''s', $$d$$, abc, '`+strings.Repeat("x", 64)+`', E'\x61\'b'`), true)
	if want := []string{"drop", "database", `My"Db`, "select", "abc", "it's", "d", "a'b"}; !slices.Equal(d.Words, want) {
		t.Errorf("got %q, want %q", d.Words, want)
	}
	var many bytes.Buffer
	for i := range 300 {
		fmt.Fprintf(&many, "a%d.b ", i)
	}
	if d = Inspect(many.Bytes(), true); len(d.Custom) != 200 || len(d.Words) != 200 {
		t.Errorf("got %d custom names and %d words", len(d.Custom), len(d.Words))
	}
}

func TestInspectWithBackslashesInAllStrings(t *testing.T) {
	text := []byte(`SELECT set_config('a\'', f(1), false) --', x, false)`)
	if d := Inspect(text, false); !slices.Equal(d.Calls, []string{"f"}) || !slices.Equal(d.Settings, []string{"a'"}) {
		t.Errorf("got %+v", d)
	}
	if d := Inspect(text, true); d.Calls != nil || !slices.Equal(d.Settings, []string{`a\', f(1), false) --`}) {
		t.Errorf("got %+v", d)
	}
}

func TestCustomNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct {
		name string
		text string
		want []string
	}{
		{name: "none", text: "abc 1.5 .a b. a..b a.1"},
		{name: "some", text: "A.b,c.D.e a_1.$ _x.y$ é.ü", want: []string{"a.b", "c.d.e", "_x.y$", "é.ü"}},
		{name: "behind digits and dollars", text: "1a.b $c.d", want: []string{"a.b", "c.d"}},
		{name: "dots at the ends", text: ".a.b. c.d..e.f", want: []string{"a.b", "c.d", "e.f"}},
		{name: "once each", text: "a.b A.B a.b", want: []string{"a.b"}},
		{name: "long parts", text: long + "." + long + " a" + long + ".b c.a" + long, want: []string{long + "." + long}},
		{name: "in a Bind message", text: "\x00\x00\x00\x05my.xy\x00\x00\x00\x42my.var", want: []string{"my.xy", "bmy.var", "my.var"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			CustomNames([]byte(c.text), func(name string) { got = append(got, name) })
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestCustomNamesAreBounded(t *testing.T) {
	var b bytes.Buffer
	for i := range 300 {
		fmt.Fprintf(&b, "a.b%d ", i)
	}
	n := 0
	CustomNames(b.Bytes(), func(string) { n++ })
	if n != maxNamesFound {
		t.Errorf("got %d names", n)
	}
}

func TestLexerAgreesWithItself(t *testing.T) {
	for _, c := range []struct {
		text string
		want []pieceKind
	}{
		{"a\"b\"", []pieceKind{pieceWord, pieceName}},
		{"'a''b'E'\\''N'x'", []pieceKind{pieceString, pieceEscaped, pieceString}},
		{"E'a' -- '\n'\\''", []pieceKind{pieceEscaped, pieceSpace, pieceSpace, pieceSpace, pieceEscaped}},
		{"U&'a'u&\"b\"u&c", []pieceKind{pieceUnicode, pieceUnicode, pieceWord, pieceOperator, pieceWord}},
		{"$1$$a$$$b$ $ $c$ $b$a$b$", []pieceKind{pieceParameter, pieceDollar, pieceDollar, pieceWord}},
		{"1.5e-3.5 0x1F 1e", []pieceKind{pieceNumber, pieceNumber, pieceSpace, pieceNumber, pieceSpace, pieceNumber, pieceWord}},
		{"/*/**/-- *//**/--x", []pieceKind{pieceSpace, pieceSpace, pieceSpace}},
		{"'a", []pieceKind{pieceBroken}},
		{"/*/", []pieceKind{pieceBroken}},
		{"$a$ $a", []pieceKind{pieceBroken}},
		{"(a.b,c);", []pieceKind{pieceOpen, pieceWord, pieceDot, pieceWord, pieceComma, pieceWord, pieceClose, pieceSemicolon}},
	} {
		var got []pieceKind
		lex := lexer{text: []byte(c.text), standard: true}
		for p, ok := lex.next(); ok; p, ok = lex.next() {
			got = append(got, p.kind)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.text, got, c.want)
		}
	}
}

func FuzzInspect(f *testing.F) {
	for _, c := range slices.Concat(harmlessTexts, statefulTexts, interestingTexts) {
		f.Add([]byte(c.text), true)
	}
	f.Add([]byte(`SELECT 'a\' || E'\'' 'b'; SET "a".b = 1`), false)
	f.Add([]byte("PREPARE a AS SELECT 1;EXECUTE b;DEALLOCATE c;SET LOCAL d.e = 1"), true)
	f.Fuzz(func(t *testing.T, text []byte, standard bool) {
		if bytes.IndexByte(text, 0) >= 0 {
			text = bytes.ReplaceAll(text, []byte{0}, []byte{1}) // the protocol ends texts there
		}
		checkLexer(t, text, standard)
		in := inspect(text, standard)
		if e := Scan(text, standard); in.effects != e {
			t.Fatalf("got effects %v, want %v", in.effects, e)
		}
		checkDetails(t, string(text), in.effects, in.result())
		if got := Fingerprint(text, standard, FingerprintKey); len(got) > FingerprintKey {
			t.Fatalf("a fingerprint of %d bytes", len(got))
		}
	})
}

func checkLexer(t *testing.T, text []byte, standard bool) {
	var all []byte
	lex := lexer{text: text, standard: standard}
	for p, ok := lex.next(); ok; p, ok = lex.next() {
		if len(p.text) == 0 {
			t.Fatalf("an empty piece at %q", text[lex.at:])
		}
		all = append(all, p.text...)
	}
	if !bytes.Equal(all, text) {
		t.Fatalf("the pieces are %q", all)
	}
}

// checkDetails checks that what the scanner and Inspect say fits together.
func checkDetails(t *testing.T, text string, e Effect, d *Details) {
	has := func(effect Effect) bool { return e&effect != 0 }
	mentions := func(word string) bool { return strings.Contains(lowerASCII(text), word) }
	for _, c := range []struct {
		rule string
		ok   bool
	}{
		{"what is unknown has a reason", !has(EffectUnknown) || d.Opaque || d.Calls != nil},
		{"calls are unknown", d.Calls == nil || has(EffectUnknown)},
		{"prepares have the effect", d.Prepares == nil || has(EffectPrepare)},
		{"the effect of PREPARE has a name", !has(EffectPrepare) || d.Prepares != nil || d.Opaque},
		{"executes have the effect", d.Executes == nil || has(EffectExecute)},
		{"the effect of EXECUTE has a name", !has(EffectExecute) || d.Executes != nil || d.Opaque || mentions("create")},
		{"deallocates have the effect", d.Deallocates == nil || has(EffectDeallocate)},
		{"the effect of DEALLOCATE has a name", !has(EffectDeallocate) || d.Deallocates != nil || d.Opaque || mentions("all") || !mentions("deallocate ")},
		{"settings have a name or are not known", !has(EffectSettings|EffectRole) || d.Settings != nil || !d.SettingsKnown || mentions("transaction")},
		{"nothing unknown leaves settings known", !d.SettingsKnown || !d.Opaque && d.Calls == nil && !has(EffectUnknown|EffectExecute|EffectDiscard)},
		{"effects are those of statements", !has(^EffectUnknown) || d.Statements > 0},
		{"lists are bounded", len(d.Custom) <= maxNamesFound && len(d.Words) <= maxNamesFound},
	} {
		if !c.ok {
			t.Fatalf("%q: not true that %s: %v, %+v", text, c.rule, e, d)
		}
	}
	for _, list := range [][]string{d.Prepares, d.Executes, d.Deallocates, d.Settings, d.Custom, d.Calls, d.Words} {
		if sorted := slices.Sorted(slices.Values(list)); len(slices.Compact(sorted)) != len(list) {
			t.Fatalf("%q has a name twice", list)
		}
	}
}

func TestInspectFitsScan(t *testing.T) {
	for _, c := range slices.Concat(harmlessTexts, statefulTexts, interestingTexts) {
		in := inspect([]byte(c.text), true)
		if in.effects != c.want {
			t.Errorf("%s: got %v, want %v", c.name, in.effects, c.want)
		}
		d := in.result()
		checkDetails(t, c.text, in.effects, d)
		if c.want&EffectUnknown == 0 && (d.Opaque || d.Calls != nil) {
			t.Errorf("%s: got %+v", c.name, d)
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	for _, text := range []string{"SET search_path = a, b", strings.Repeat("INSERT INTO t (a, b) VALUES (f(1), 'some text here');\n", 2000)} {
		b.Run(fmt.Sprint(len(text)), func(b *testing.B) {
			p := []byte(text)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				Inspect(p, true)
			}
		})
	}
}
