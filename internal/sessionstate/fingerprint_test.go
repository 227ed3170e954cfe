package sessionstate

import (
	"strings"
	"testing"
)

func TestFingerprint(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
	}{
		{name: "constants", text: "SELECT 1, a, E'\\'', b, $$b$$, U&'c' FROM t WHERE a = $1", want: "select ?, a, ?, b, ?, … from t where a = $1"},
		{name: "white space", text: " \n SELECT /* a */ -- b\n\t1 ;\n", want: "select ? ;"},
		{name: "quoted names", text: `SELECT "A b"`, want: `select "A b"`},
		{name: "an unfinished string", text: "SELECT 'secret", want: "select ?"},
		{name: "an unfinished dollar quote", text: "SELECT $a$secret", want: "select ?"},
		{name: "a long text", text: "SELECT a, " + strings.Repeat("é", 300), want: "select a, " + strings.Repeat("é", 95)},
		{name: "nothing", text: "", want: ""},
		{name: "a negative number", text: "UPDATE t SET a = a + -123", want: "update t set a = a + ?"},
		{name: "a positive number", text: "UPDATE t SET a = a + 123", want: "update t set a = a + ?"},
		{name: "a difference", text: "SELECT a - 1", want: "select a - ?"},
		{name: "a list", text: "SELECT * FROM t WHERE id IN (1, 2,3)", want: "select * from t where id in (?, …)"},
		{name: "a list with spaces", text: "SELECT * FROM t WHERE id IN ( 1 ,2 )", want: "select * from t where id in (?, …)"},
		{name: "rows", text: "INSERT INTO t VALUES (1, 'a', $$b$$), (-2, E'\\'', U&'x')", want: "insert into t values (?, …), (?, …)"},
		{name: "a call", text: "SELECT f(a, 1, b)", want: "select f(a, ?, b)"},
		{name: "a string in parts", text: "SELECT 'a' 'b'", want: "select ?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Fingerprint([]byte(c.text), true, FingerprintKey); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := Fingerprint([]byte(`SELECT 'a\' secret'`), false, FingerprintKey); got != "select ?" {
		t.Errorf("with backslashes in all strings: got %q", got)
	}
}
