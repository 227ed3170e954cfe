package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Change is one key that a reload gives another value.
type Change struct {
	Key     string // with its path: databases.app.pool_size
	Old     string // "absent" for a table that is new
	New     string // "absent" for a table that is gone
	Restart bool   // a reload cannot do it: the old value stays in force
}

const (
	absent  = "absent"
	present = "present"
	changed = "(changed)"
)

// Diff lists what is different between two configurations, in the order of Config's fields.
func Diff(before, after *Config) []Change {
	return diffStruct(nil, reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem())
}

// Running is c as it is in force in a pooler that was started with started: what a reload cannot change is as it was.
func (c *Config) Running(started *Config) *Config {
	running := *c
	now, then := reflect.ValueOf(&running).Elem(), reflect.ValueOf(started).Elem()
	for _, f := range fieldsOf(now.Type()) {
		if f.restart {
			now.FieldByIndex(f.index).Set(then.FieldByIndex(f.index))
		}
	}
	return &running
}

func diffStruct(at toml.Key, before, after reflect.Value) []Change {
	var changes []Change
	for _, f := range fieldsOf(before.Type()) {
		path := append(slices.Clone(at), f.key)
		o, n := before.FieldByIndex(f.index), after.FieldByIndex(f.index)
		switch {
		case o.Kind() == reflect.Map:
			changes = append(changes, diffMap(path, o, n)...)
		case isList(o.Type()):
			changes = append(changes, diffList(path, o, n)...)
		case same(o, n):
		case f.secret:
			changes = append(changes, Change{path.String(), changed, changed, f.restart})
		default:
			changes = append(changes, Change{path.String(), text(o), text(n), f.restart})
		}
	}
	return changes
}

func diffMap(at toml.Key, before, after reflect.Value) []Change {
	names := make(map[string]bool)
	for _, name := range append(before.MapKeys(), after.MapKeys()...) {
		names[name.String()] = true
	}
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		path := append(slices.Clone(at), name)
		o, n := before.MapIndex(reflect.ValueOf(name)), after.MapIndex(reflect.ValueOf(name))
		switch {
		case !o.IsValid():
			changes = append(changes, Change{Key: path.String(), Old: absent, New: present})
		case !n.IsValid():
			changes = append(changes, Change{Key: path.String(), Old: present, New: absent})
		default:
			changes = append(changes, diffStruct(path, o, n)...)
		}
	}
	return changes
}

// diffList numbers the tables [[at]] from 1. Between what both begin with and what both end with, the n-th is compared with the
// n-th, as a whole: of a rule that moves, single keys say little.
func diffList(at toml.Key, before, after reflect.Value) []Change {
	first, o, n := 0, before.Len(), after.Len()
	for first < min(o, n) && same(before.Index(first), after.Index(first)) {
		first++
	}
	for min(o, n) > first && same(before.Index(o-1), after.Index(n-1)) {
		o, n = o-1, n-1
	}
	show := func(list reflect.Value, i, end int) string {
		if i >= end {
			return absent
		}
		return inline(list.Index(i))
	}
	var changes []Change
	for i := first; i < max(o, n); i++ {
		path := append(slices.Clone(at), strconv.Itoa(i+1))
		changes = append(changes, Change{Key: path.String(), Old: show(before, i, o), New: show(after, i, n)})
	}
	return changes
}

// inline shows what a table sets, as { key = value, … }.
func inline(table reflect.Value) string {
	var set []string
	for _, f := range fieldsOf(table.Type()) {
		if v := table.FieldByIndex(f.index); !v.IsZero() {
			set = append(set, fmt.Sprintf("%s = %q", f.key, fmt.Sprint(v.Interface())))
		}
	}
	return "{ " + strings.Join(set, ", ") + " }"
}

// same takes a missing list for an empty one, as the file does.
func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// inherits tells whether a value leaves the setting to the next wider table.
func inherits(v reflect.Value) bool {
	switch v.Interface().(type) {
	case Boundary, Purity, HookFailure, StateCheck, StatePolicy:
		return v.IsZero()
	}
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// text shows a value much as the file would.
func text(v reflect.Value) string {
	if inherits(v) {
		return BoundaryInherit.String()
	}
	v = reflect.Indirect(v)
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	if v.Kind() == reflect.String || v.Kind() == reflect.Slice {
		return fmt.Sprintf("%q", v.Interface())
	}
	return fmt.Sprint(v.Interface())
}
