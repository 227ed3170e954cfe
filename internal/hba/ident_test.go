package hba

import (
	"strings"
	"testing"
)

func TestIdentMap(t *testing.T) {
	const file = `
m  alice  bob
m  alice  "all"
m  root   all
re /^(.*)@example\.com$ \1
re /^(.*)@admin\.com$  x\1y\1
re /(?i)^guest@          guest
g  carol  +staff
g  carol  dave
p  erin   /^e
p  "frank b" "/^f"
bad /^x$ \1
bad x    x
`
	m, err := ParseIdent("f", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	staff := map[string]bool{"eve": true, "staff": true}
	tests := []struct {
		name              string
		mapName, sys, usr string
		groups            map[string]bool
		want              bool
		need              Need
	}{
		{"no map, equal names", "", "x", "x", nil, true, NeedNothing},
		{"no map, other names", "", "x", "X", nil, false, NeedNothing},
		{"a line fits", "m", "alice", "bob", nil, true, NeedNothing},
		{"no line fits", "m", "alice", "alice", nil, false, NeedNothing},
		{"a map that is not there", "n", "alice", "bob", nil, false, NeedNothing},
		{"all in quotes is a user", "m", "alice", "all", nil, true, NeedNothing},
		{"all is everybody", "m", "root", "anybody", nil, true, NeedNothing},
		{"what the parentheses matched", "re", "bob@example.com", "bob", nil, true, NeedNothing},
		{"not what they did not", "re", "bob@example.com", "eve", nil, false, NeedNothing},
		{"a dot is a dot", "re", "bob@exampleXcom", "bob", nil, false, NeedNothing},
		{"who is called all is not everybody", "re", "all@example.com", "bob", nil, false, NeedNothing},
		{"only the first reference counts", "re", "q@admin.com", `xqy\1`, nil, true, NeedNothing},
		{"letters of ASCII fold", "re", "GUEST@x", "guest", nil, true, NeedNothing},
		{"a newline does not end the name", "re", "eve\nbob@example.com", "bob", nil, false, NeedNothing},
		{"a group, not yet known", "g", "carol", "eve", nil, false, NeedGroups},
		{"a group", "g", "carol", "eve", staff, true, NeedNothing},
		{"not of the group", "g", "carol", "zoe", map[string]bool{"zoe": true}, false, NeedNothing},
		{"not of the group, but named", "g", "carol", "dave", map[string]bool{}, true, NeedNothing},
		{"another's group does not matter", "g", "x", "eve", nil, false, NeedNothing},
		{"a pattern for the user", "p", "erin", "eve", nil, true, NeedNothing},
		{"a pattern in quotes", "p", "frank b", "fred", nil, true, NeedNothing},
		{"a reference to nothing ends the search", "bad", "x", "x", nil, false, NeedNothing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, need := m.Allows(tt.mapName, tt.sys, tt.usr, tt.groups); got != tt.want || need != tt.need {
				t.Errorf("got %t, needs %v", got, need)
			}
		})
	}
	var none *IdentMap
	if ok, _ := none.Allows("m", "x", "x", nil); ok || none.Has("m") || !m.Has("m") || m.Has("n") {
		t.Error("a map that is not there lets somebody in")
	}
}

func TestIdentFaults(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"m", "f:1: missing entry at end of line"},
		{"m a", "f:1: missing entry at end of line"},
		{"m a,b c", "f:1: multiple values in ident field"},
		{"m /( c", "f:1: invalid regular expression"},
		{`m /^(a|ab)b*$ \1`, `where \1 is used`},
		{`m /^(?:ab)?(.*)$ x\1`, `where \1 is used`},
	} {
		if _, err := ParseIdent("f", []byte(tt.line)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want something with %q", tt.line, err, tt.want)
		}
	}
	for _, line := range []string{"", `m /^(a|ab)b*$ x`, `m /^([^@]*)@(?:a|b)(\.com)?$ \1`, `m /^(a|ab)b*$ +\1`} {
		if _, err := ParseIdent("f", []byte(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	dir := t.TempDir()
	path := write(t, dir, "ident.conf", "include more.conf\n")
	write(t, dir, "more.conf", "m a b\n")
	if m, err := LoadIdent(path); err != nil || !m.Has("m") {
		t.Errorf("an included map is not there: %v", err)
	}
}
