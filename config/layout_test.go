package config

import (
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

func addTexts(f *testing.F, add func(text string)) {
	sample, err := os.ReadFile("../pooler.toml")
	if err != nil {
		f.Fatal(err)
	}
	add(string(sample))
	for _, text := range []string{
		"", "\ufeff# a\r\n[ a . 'b' ] # c\r\n\"c\\u0064\" . e = 1979-05-27 07:32:00 # f\r\n",
		"a = [ # b\n 1, # c\n [ '#', { d = \"#\", e = [] } ], # f\n] # g",
		"a = { b = { c = 1, # d\n }, 'e'.f = \"\"\"\n\\\"\"\"\\\n  # g\"\"\"\"\", } # h\n",
		"[[rules]]\nuser = '''\n[[rules]]\n\\''''' # a\n[[rules]] # b\npool_purity = \"new\"\n[databases.\"*\"]",
		"inactivity_timeout = 5\n[databases]\n'*'.port = 1\n'*'.host = \"a\" # h\napp = { pool_size = 5 }\n",
		"state_policy.listen = \"pin\"\nusers = { a = { pool_size = 1 } }\ndatabases.\"*\".port = 1",
	} {
		add(text)
	}
}

// FuzzLayout: of every text that the library accepts, layout knows where the values and the comments stand.
func FuzzLayout(f *testing.F) {
	addTexts(f, func(text string) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text string) {
		src, bad := parseTOML([]byte(text))
		if bad != nil {
			return
		}
		l, err := readLayout(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l.entries {
			if want, ok := lookUp(src.values(), e.path); ok {
				one, bad := parseTOML([]byte("x = " + text[e.value.start:e.value.end]))
				if bad != nil {
					t.Errorf("%s: %q is no value: %v", e.path, text[e.value.start:e.value.end], bad)
				} else if got := one.values(); !sameValue(got["x"], want) {
					t.Errorf("%s: got %v, want %v", e.path, got["x"], want)
				}
			}
		}
		checkComments(t, src, l)
	})
}

// checkComments takes the comments out, which must not change a value.
func checkComments(t *testing.T, src *source, l *layout) {
	t.Helper()
	var bare strings.Builder
	at := 0
	for _, c := range l.comments {
		bare.WriteString(l.text[at:c.start])
		at = c.end
	}
	bare.WriteString(l.text[at:])
	without, bad := parseTOML([]byte(bare.String()))
	if bad != nil || !sameValue(src.values(), without.values()) {
		t.Errorf("comments that are none: %q", l.commentTexts())
		return
	}
	if again, err := readLayout(bare.String()); err != nil || len(again.comments) > 0 {
		t.Errorf("comments that were not found: %v, %v", again, err)
	}
}

// sameValue also takes NaN to be itself.
func sameValue(a, b any) bool {
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	if ok1 && ok2 && math.IsNaN(x) && math.IsNaN(y) {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// lookUp fails for keys of lists of tables.
func lookUp(values any, path []string) (any, bool) {
	for _, part := range path {
		table, ok := values.(map[string]any)
		if !ok {
			return nil, false
		}
		if values, ok = table[part]; !ok {
			return nil, false
		}
	}
	return values, true
}
