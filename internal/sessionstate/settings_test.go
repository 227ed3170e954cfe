package sessionstate

import "testing"

func TestCarryIsTheSmallestDifference(t *testing.T) {
	var in Interner
	of := func(pairs ...string) *Settings {
		var list []Setting
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, Setting{pairs[i], pairs[i+1]})
		}
		return in.Intern(list)
	}
	for _, tc := range []struct {
		name       string
		have, want *Settings
		sql        string
	}{
		{"nothing", nil, nil, ""},
		{"the same", of("a", "1", "b", "2"), of("b", "2", "a", "1"), ""},
		{"to nothing", of("a.b", "1"), nil, `BEGIN;SELECT pg_catalog.set_config('a.b',NULL,false);COMMIT`},
		{"from nothing", nil, of("search_path", `a, "B"`), `BEGIN;SELECT pg_catalog.set_config('search_path','a, "B"',false);COMMIT`},
		{
			"one of three", of("a", "1", "b", "2", "c", "3"), of("a", "1", "b", "9", "d", "4"),
			`BEGIN;SELECT pg_catalog.set_config('c',NULL,false),pg_catalog.set_config('b','9',false),pg_catalog.set_config('d','4',false);COMMIT`,
		},
		{"quotes", nil, of(`x"y`, `it's \ odd`), `BEGIN;SELECT pg_catalog.set_config('x"y',E'it''s \\ odd',false);COMMIT`},
		{"who it is, last", nil, of("role", "r", "session_authorization", "s", "x", "1"), `BEGIN;SELECT pg_catalog.set_config('x','1',false);SELECT pg_catalog.set_config('session_authorization','s',false);SELECT pg_catalog.set_config('role','r',false);COMMIT`},
		{"who it was, first", of("role", "r", "x", "1"), nil, `BEGIN;RESET SESSION AUTHORIZATION;RESET ROLE;SELECT pg_catalog.set_config('x',NULL,false);COMMIT`},
		{"beyond ASCII", nil, of("a.b", "hä"), `BEGIN;SELECT pg_catalog.set_config('a.b',pg_catalog.convert_from(pg_catalog.decode('68c3a4','hex'),'UTF8'),false);COMMIT`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Carry(tc.have, tc.want); got != tc.sql {
				t.Errorf("got  %s\nwant %s", got, tc.sql)
			}
		})
	}
}

func TestEqualSettingsAreOne(t *testing.T) {
	var in Interner
	a := in.Intern([]Setting{{"x", "1"}, {"y", "2"}})
	b := in.Intern([]Setting{{"y", "2"}, {"x", "1"}})
	if a != b {
		t.Error("equal settings are two objects")
	}
	if c := in.Intern([]Setting{{"x", "1"}}); c == a || c.Equal(a) {
		t.Error("different settings are equal")
	}
}

func TestStatementsAreSharedAndForgotten(t *testing.T) {
	var all Statements
	a := all.Get([]byte("SELECT 1\x00\x00\x00"), true)
	b := all.Get([]byte("SELECT 1\x00\x00\x00"), true)
	c := all.Get([]byte("SELECT 1\x00\x00\x01\x00\x00\x00\x17"), true)
	if a != b || a == c || a.Name == c.Name {
		t.Fatalf("statements are told apart wrongly: %v %v %v", a, b, c)
	}
	all.Drop(a)
	all.Drop(c)
	if all.Len() != 1 {
		t.Errorf("%d texts are kept, want 1", all.Len())
	}
	all.Drop(b)
	if all.Len() != 0 {
		t.Errorf("%d texts are kept, want none", all.Len())
	}
}
