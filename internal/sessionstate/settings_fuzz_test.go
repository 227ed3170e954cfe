package sessionstate

import (
	"slices"
	"strings"
	"testing"
)

// What Carry says is read again by Inspect: it names the parameters that differ and no other, whatever their names and
// values are made of, and is ASCII where it can be.
func FuzzCarry(f *testing.F) {
	f.Add("work_mem", "1MB", "app.a", `it's \ "odd"`, "2MB", true)
	f.Add("a.b", "hä", "c", "", "$$;--/*", false)
	f.Add("datestyle", "ISO, DMY", "x", "E'\\'", "German", true)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, value3 string, standard bool) {
		for _, s := range []string{name1, value1, name2, value2, value3} {
			if strings.ContainsRune(s, 0) {
				return // the protocol ends a string there
			}
		}
		name1, name2 = strings.ToLower(name1), strings.ToLower(name2)
		if name1 == name2 || name1 == "" || name2 == "" || !isASCII(name1+name2) || isIdentity(name1) || isIdentity(name2) {
			return
		}
		var in Interner
		have := in.Intern([]Setting{{name1, value1}})
		want := in.Intern([]Setting{{name1, value3}, {name2, value2}})
		sql := Carry(have, want)
		d := Inspect([]byte(sql), standard)
		var names []string
		if value1 != value3 {
			names = append(names, name1)
		}
		names = append(names, name2)
		slices.Sort(names)
		got := slices.Clone(d.Settings)
		slices.Sort(got)
		if !slices.Equal(got, names) || d.Statements != 3 {
			t.Errorf("%s\nnames %q in %d statements, want %q in 3", sql, got, d.Statements, names)
		}
	})
}
