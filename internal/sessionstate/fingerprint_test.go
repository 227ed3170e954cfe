package sessionstate

import (
	"strings"
	"testing"
)

func TestFingerprint(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
	}{
		{name: "constants", text: "SELECT 1, 'a', E'\\'', $$b$$, U&'c', B'0', -1.5e3 FROM t WHERE a = $1", want: "select ?, ?, ?, ?, ?, ?, -? from t where a = $1"},
		{name: "white space", text: " \n SELECT /* a */ -- b\n\t1 ;\n", want: "select ? ;"},
		{name: "quoted names", text: `SELECT "A b"`, want: `select "A b"`},
		{name: "an unfinished string", text: "SELECT 'secret", want: "select ?"},
		{name: "an unfinished dollar quote", text: "SELECT $a$secret", want: "select ?"},
		{name: "a long text", text: "SELECT a, " + strings.Repeat("é", 300), want: "select a, " + strings.Repeat("é", 95)},
		{name: "nothing", text: "", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Fingerprint([]byte(c.text), true); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := Fingerprint([]byte(`SELECT 'a\' secret'`), false); got != "select ?" {
		t.Errorf("with backslashes in all strings: got %q", got)
	}
}
