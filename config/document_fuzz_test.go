package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzDocumentSet: of every file that is valid, Set changes one key or refuses. It keeps the comments, and it can be undone.
func FuzzDocumentSet(f *testing.F) {
	edits := [][2]string{
		{"default_pool_size", "30"},
		{"loops", "0"},
		{"inactivity_timeout", "5min"},
		{"server_idle_timeout", "0"},
		{"admin_users", `a, b`},
		{"admin_users", `["a,b", "#"]`},
		{"on_get", "SELECT '#', \"x\"\n\\"},
		{"state_policy", "listen = pin"},
		{"databases.*.pool_size", "5"},
		{"databases.*.host", "db"},
		{"databases.app.min_pool_size", "2"},
		{"databases.app.pool_boundary", "session"},
		{"users.a.pool_size", "2"},
		{"users.b#.password", "x"},
		{"classes.batch.max_txn_think_time", "1h"},
		{"log_connections", "off"},
	}
	addTexts(f, func(text string) {
		for _, e := range edits {
			f.Add(text, e[0], e[1])
		}
	})
	f.Fuzz(func(t *testing.T, text, name, value string) {
		before, err := Parse("f", []byte(text))
		if err != nil {
			return
		}
		path := strings.SplitN(name, ".", 3)
		d := NewDocument("f", []byte(text))
		edited, err := d.Set(path, value)
		if err != nil {
			return
		}
		checkEdit(t, path, d.text, edited.text)
		checkUndo(t, path, before, d, edited)
		if gone, err := d.Unset(path); err == nil {
			checkEdit(t, path, d.text, gone.text)
		}
	})
}

// checkEdit compares all values of two texts, as a list of paths, which differsOnlyIn does not.
func checkEdit(t *testing.T, path []string, before, after string) {
	t.Helper()
	k, err := resolveKey(path)
	if err != nil {
		t.Fatal(err)
	}
	from, to := flat(t, before), flat(t, after)
	for name := range merged(from, to) {
		key := append(slices.Clone(k.table), k.key).String()
		other := append(slices.Clone(k.table), k.alias).String()
		if from[name] != to[name] && !strings.HasPrefix(name+".", key+".") && !strings.HasPrefix(name+".", other+".") {
			t.Errorf("%s: was %s, is %s, though only %s should change", name, from[name], to[name], key)
		}
	}
	l1, err1 := readLayout(before)
	l2, err2 := readLayout(after)
	if err1 != nil || err2 != nil || !slices.Equal(l1.commentTexts(), l2.commentTexts()) {
		t.Errorf("the comments are not the same: %v, %v\n%s\n%s", err1, err2, before, after)
	}
}

// flat lists what is no table by its path.
func flat(t *testing.T, text string) map[string]string {
	t.Helper()
	var values map[string]any
	if _, err := toml.Decode(text, &values); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	list := make(map[string]string)
	var walk func(at toml.Key, v any)
	walk = func(at toml.Key, v any) {
		table, ok := v.(map[string]any)
		if !ok {
			list[at.String()] = literal(v)
		}
		for name, v := range table {
			walk(append(slices.Clone(at), name), v)
		}
	}
	walk(nil, values)
	return list
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// checkUndo takes back what Set did. Only an empty table may stay.
func checkUndo(t *testing.T, path []string, before *Config, original, edited *Document) {
	t.Helper()
	k, err := resolveKey(path)
	if err != nil {
		t.Fatal(err)
	}
	_, at, err := original.locate(k)
	if err != nil {
		t.Fatal(err)
	}
	var again *Document
	if at < 0 {
		again, err = edited.Unset(path)
	} else {
		again, err = edited.Set(path, valueOf(before, k))
	}
	if err != nil {
		t.Fatalf("cannot be undone: %v\n%s", err, edited.text)
	}
	c, err := again.Config()
	if err != nil {
		t.Fatalf("not valid once undone: %v\n%s", err, again.text)
	}
	for _, change := range Diff(before, c) {
		if change.Old != absent || change.Key != k.table.String() {
			t.Errorf("differs once undone: %v", change)
		}
	}
}

// valueOf is what a person would type for the value that a key has.
func valueOf(c *Config, k key) string {
	table := reflect.ValueOf(c).Elem()
	if len(k.table) > 0 {
		f, _ := findField(fieldsOf(table.Type()), k.table[0])
		table = table.FieldByIndex(f.index).MapIndex(reflect.ValueOf(k.table[1]))
	}
	v := table.FieldByIndex(k.index)
	if v.Interface() == BoundaryInherit {
		return ""
	}
	return typed(v)
}
