package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

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

func diffStruct(at toml.Key, before, after reflect.Value) []Change {
	var changes []Change
	for _, f := range fieldsOf(before.Type()) {
		path := append(slices.Clone(at), f.key)
		o, n := before.Field(f.index), after.Field(f.index)
		switch {
		case o.Kind() == reflect.Map:
			changes = append(changes, diffMap(path, o, n)...)
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

// same takes a missing list for an empty one, as the file does.
func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// text shows a value much as the file would.
func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return BoundaryInherit.String()
		}
		v = v.Elem()
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	if v.Kind() == reflect.String || v.Kind() == reflect.Slice {
		return fmt.Sprintf("%q", v.Interface())
	}
	return fmt.Sprint(v.Interface())
}
