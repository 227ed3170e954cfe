package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// exampleLine is a line of pooler.toml that is commented out: a table, a key, or its own comment.
var exampleLine = regexp.MustCompile(`(?m)^# (\[[^\]]+\]|# .*|[a-z_]+ = .*)$`)

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
	databases, users, _ := strings.Cut(tables, "# --- Users")

	for _, part := range []struct {
		typ    reflect.Type
		text   string
		prefix string
	}{
		{reflect.TypeFor[Config](), top, "\n"},
		{reflect.TypeFor[Database](), databases, "\n# "},
		{reflect.TypeFor[User](), users, "\n# "},
	} {
		for _, f := range fieldsOf(part.typ) {
			isTable := part.typ.Field(f.index).Type.Kind() == reflect.Map
			if !isTable && !strings.Contains(part.text, part.prefix+f.key+" = ") {
				t.Errorf("%s: pooler.toml does not show %s", part.typ, f.key)
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

	if len(c.Databases) != 2 || len(c.Users) != 1 {
		t.Fatalf("got databases %v and users %v", c.Databases, c.Users)
	}
	// The examples show what is in force without them.
	plain := Default()
	plain.Databases = map[string]Database{"app": {Host: "127.0.0.1", Port: 5432, DBName: "app_production", User: "app", Password: "secret"}}
	want, _ := plain.Pool("app", "alice")
	if got, _ := c.Pool("app", "alice"); got != want {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}
