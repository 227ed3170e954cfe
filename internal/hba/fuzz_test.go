package hba

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// print writes a file that means the same; secrets and all.
func (f *File) print() string {
	var b strings.Builder
	for _, r := range f.rules {
		b.WriteString(r.text(func(t token) token { return t }) + "\n")
	}
	return b.String()
}

// FuzzParse checks that nothing panics, and that what parses prints and parses as the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(handwritten))
	for line := range strings.Lines(handwritten) {
		f.Add([]byte(line))
	}
	f.Add([]byte(`local /^(?i)a|b[[:alpha:]]{1,2} all trust`))
	f.Add([]byte("host all all all oauth issuer=\"x y\" scope=\"a\r\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse("f", data)
		if err != nil {
			return
		}
		text := first.print()
		second, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatalf("%q printed as %q: %v", data, text, err)
		}
		if again := second.print(); again != text {
			t.Fatalf("%q printed as %q and then as %q", data, text, again)
		}
		for i, r := range first.rules {
			s := *second.rules[i]
			s.Line = r.Line
			if a, b := withoutPatterns(*r), withoutPatterns(s); !reflect.DeepEqual(a, b) {
				t.Fatalf("%q: %+v became %+v", data, a, b)
			}
		}
		c := Client{Addr: netip.MustParseAddr("127.0.0.1"), User: "a", Database: "b"}
		rule, need := first.Match(c, Facts{Groups: map[string]bool{}, HostNames: []string{}, Interfaces: []netip.Prefix{}})
		rule2, need2 := second.Match(c, Facts{Groups: map[string]bool{}, HostNames: []string{}, Interfaces: []netip.Prefix{}})
		if need != NeedNothing || need2 != NeedNothing || (rule == nil) != (rule2 == nil) {
			t.Fatalf("%q: falls under %v, printed under %v", data, rule, rule2)
		}
	})
}

// withoutPatterns leaves out what DeepEqual cannot compare; their texts stay.
func withoutPatterns(r Rule) any {
	return []any{r.Kind, r.Method, map[string]string(r.Options), texts(r.databases), texts(r.users), r.address, r.user.groups, r.user.exact, r.database.exact}
}

// FuzzIdent checks that nothing panics, and that nobody is let in by a map that is not there.
func FuzzIdent(f *testing.F) {
	f.Add([]byte("m a b\nm /^(.*)@x$ \\1\nm c +g\nm d all\nm e /^x"), "bob@x", "bob")
	f.Add([]byte("m /^(a)?b$ x\\1"), "b", "x")
	f.Add([]byte("m /\xff(.) \\1"), "\xff\xfe", "\xfe")
	f.Fuzz(func(t *testing.T, data []byte, systemUser, user string) {
		m, err := ParseIdent("f", data)
		if err != nil {
			return
		}
		if _, need := m.Allows("m", systemUser, user, map[string]bool{}); need != NeedNothing {
			t.Fatalf("groups are known, and it needs %v", need)
		}
		if ok, _ := m.Allows("no such\nmap", systemUser, user, nil); ok {
			t.Fatal("a map that is not there lets somebody in")
		}
		if ok, _ := m.Allows("", systemUser, user, nil); ok != (systemUser == user) {
			t.Fatal("without a map, names must be equal")
		}
	})
}
