package config

import (
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// exampleLine is a line of pooler.toml that is commented out: a table, a key, or its own comment.
var exampleLine = regexp.MustCompile(`(?m)^# (\[\[?[^\]]+\]\]?|# .*|[a-z_]+ = .*)$`)

func readSample(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../pooler.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSampleIsTheDefaultsAndOneDatabase(t *testing.T) {
	want := Default()
	want.Databases = map[string]Database{"*": DefaultDatabase()}

	got, err := Load("../pooler.toml")
	if err != nil {
		t.Fatal(err)
	}

	for _, change := range Diff(want, got) {
		if change.Key != "auth_file" { // made absolute
			t.Errorf("%s: the default is %s, pooler.toml says %s", change.Key, change.Old, change.New)
		}
	}
}

func TestSampleShowsEveryKey(t *testing.T) {
	sample := readSample(t)
	top, tables, _ := strings.Cut(sample, "# --- Databases")
	databases, tables, _ := strings.Cut(tables, "# --- Users")
	users, tables, _ := strings.Cut(tables, "# --- Classes")
	classes, rules, _ := strings.Cut(tables, "# --- Rules")

	for _, part := range []struct {
		typ    reflect.Type
		text   string
		prefix string
	}{
		{reflect.TypeFor[Config](), top, "\n"},
		{reflect.TypeFor[Database](), databases, "\n# "},
		{reflect.TypeFor[User](), users, "\n# "},
		{reflect.TypeFor[Class](), classes, "\n# "},
		{reflect.TypeFor[Rule](), rules, "\n# "},
	} {
		for _, f := range fieldsOf(part.typ) {
			typ := part.typ.FieldByIndex(f.index).Type
			isTable := typ.Kind() == reflect.Map || isList(typ)
			if n := strings.Count(part.text, part.prefix+f.key+" = "); !isTable && n != 1 {
				t.Errorf("%s: pooler.toml shows %s %d times", part.typ, f.key, n)
			}
			if part.typ == reflect.TypeFor[Config]() && !strings.Contains(part.text, "# "+f.alias) {
				t.Errorf("pooler.toml does not mention %s, which is %s", f.alias, f.key)
			}
		}
	}
}

func TestSampleMarksTheKeysThatNeedARestart(t *testing.T) {
	sample := readSample(t)
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		before, _, _ := strings.Cut(sample, "\n"+f.key+" = ")
		comment := before[strings.LastIndex(before, "\n\n")+1:]
		if strings.Contains(comment, "[restart]") != f.restart {
			t.Errorf("%s: needs a restart: %v; pooler.toml says otherwise", f.key, f.restart)
		}
	}
}

func TestSampleExamplesAreValidAndInherit(t *testing.T) {
	text := exampleLine.ReplaceAllString(readSample(t), "$1")

	c, err := Parse("pooler.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}

	if len(c.Databases) != 2 || len(c.Users) != 1 || len(c.Classes) != 1 || len(c.Rules) != 1 {
		t.Fatalf("got databases %v, users %v, classes %v and rules %v", c.Databases, c.Users, c.Classes, c.Rules)
	}
	// The examples show what is in force without them, but for the class that the rule chooses.
	plain := Default()
	plain.Databases = map[string]Database{"app": {Host: "127.0.0.1", Port: 5432, DBName: "app_production", User: "app", Password: "secret"}}
	want, _ := plain.Pool("app", "alice")
	if got, _ := c.Pool("app", "alice"); got != want {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	for _, who := range []Client{
		{Database: "app", User: "alice"},
		{Database: "app", User: "alice", Class: "batch"},
		{Database: "app", User: "alice", Application: "report1", Source: netip.MustParseAddr("10.1.2.3")},
	} {
		got := c.Session(who)
		if who.Application != "" {
			who.Class = "batch"
		}
		if want := plain.Session(who); got != want {
			t.Errorf("%+v: got  %#v\nwant %#v", who, got, want)
		}
	}
}
