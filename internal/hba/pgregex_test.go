package hba

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var subjects = []string{
	"", "a", "b", "ab", "aab", "abab", "AB", "a@x", "bob@example.com", "Bob@EXAMPLE.COM", "a-b_c.d", "1a2", "a\nb", "a b\tc",
	"é", "É", "\xff", "[x]", `a\b`, "{", "kK",
}

// patterns that we take; PostgreSQL must take them too and mean the same.
var patterns = []string{
	"", "^", "$", "a", "^a$", "^a", "b$", "a|b", "^(a|ab)", "^(a|ab)(b|)", "(a*)(ab)*(b*)", "^(.*)@x$", "^(.*)@(.*)$", "(?i)^(.*)@example\\.com$",
	"^.$", "^..$", "a.b", "[ab]+", "[^ab]", "^[^@]+$", "[]]", "[^]]", `[\]]`, `[a\-c]`, "[a-c]{2}", "a{2}", "a{1,}", "a{1,2}b", "a{0}", "{", "a{,2}", "a{x",
	`\d`, `\D`, `\w+`, `\W`, `\s`, `\S+$`, `[\d]`, `[[:alpha:]]+`, `[[:upper:]]`, `[^[:alnum:]]`, `[[:space:][:digit:]]`, `\.`, `\\`, `\n`, `\t`,
	"(?:ab)+", "(?:a|(b))", "(a)|b", "()", "a||b", "(|a)b", "(?i)A", "(?i)É", "(?s)a.b", "é", "[é]", "(?i)[k]", "x*", "(a?)(ab)?", "([a-z]+)([0-9]*)", "^(a*)(b*)$", "(ab|a)(bab|b)?",
	"((a)|(b))+", "(a|b)*", "a-b", "@", "a{255}", "(?i)(?:x|B)",
}

// TestRegularExpressionsMeanTheSame compares with regexp_match in a database whose text is bytes, as
// it is for PostgreSQL while a client logs in.
func TestRegularExpressionsMeanTheSame(t *testing.T) {
	query(t, "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	all := append([]string{}, patterns...)
	rnd := rand.New(rand.NewPCG(5, 6))
	pieces := []string{"a", "b", "@", "ab", ".", "[ab]", "[^a]", "(", "(", ")", ")", "|", "*", "+", "?", "{2}", "{1,2}", "^", "$", `\d`, `\w`, `\.`, "(?:", "é", "[[:alpha:]]", "{", "-", " "}
	for range 2000 {
		var b strings.Builder
		for range 1 + rnd.IntN(7) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		all = append(all, b.String())
	}
	var compiled []*pattern
	for i, text := range all {
		p, err := compilePattern(text)
		switch {
		case err == nil:
			compiled = append(compiled, p)
		case i < len(patterns):
			t.Errorf("%q: %v", text, err)
		}
	}
	theirs := pgMatches(t, compiled)
	captures := 0
	for i, p := range compiled {
		for j, s := range subjects {
			want := theirs[fmt.Sprint(i, " ", j)]
			got := ourMatch(p, s)
			if p.re.NumSubexp() == 0 || !p.plainCapture() { // then PostgreSQL gives the whole match, or another group
				got, _, _ = strings.Cut(got, " ")
				want, _, _ = strings.Cut(want, " ")
			} else {
				captures++
			}
			if got != want {
				t.Errorf("%q on %q: we say %q, PostgreSQL %q", p.text, s, got, want)
				break
			}
		}
	}
	if len(compiled) < 500 || captures < 500 {
		t.Errorf("only %d patterns and %d captures compared: the pieces are badly chosen", len(compiled), captures)
	}
}

// ourMatch is "no", or "yes " and the captured group in hexadecimal digits.
func ourMatch(p *pattern, s string) string {
	group, captured, matched := p.capture(s)
	switch {
	case matched != p.match(s):
		return "two answers"
	case !matched:
		return "no"
	case !captured:
		return "yes "
	}
	return "yes " + hex.EncodeToString([]byte(group))
}

func pgMatches(t *testing.T, compiled []*pattern) map[string]string {
	t.Helper()
	array := func(n int, text func(int) string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`'\x%x'`, text(i)))
		}
		return "ARRAY[" + strings.Join(all, ",") + "]::bytea[]"
	}
	rows, err := postgres.Server(t).Exec(t.Context(), "bytes", `
CREATE FUNCTION told(subject text, re text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN subject !~ re THEN 'no' ELSE concat('yes ', encode(convert_to((regexp_match(subject, re))[1], 'SQL_ASCII'), 'hex')) END;
EXCEPTION WHEN OTHERS THEN RETURN SQLERRM;
END $$;
SELECT p.n - 1 || ' ' || s.n - 1, told(convert_from(s.b, 'SQL_ASCII'), convert_from(p.b, 'SQL_ASCII'))
FROM unnest(`+array(len(compiled), func(i int) string { return compiled[i].text })+`) WITH ORDINALITY p(b, n),
	unnest(`+array(len(subjects), func(i int) string { return subjects[i] })+`) WITH ORDINALITY s(b, n)`)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, row := range rows {
		told[row[0]] = row[1]
	}
	return told
}
