package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

const maxConfigSize = 4 << 20

// Check looks at what only another package can judge, and calls complain for each fault with the path of its key.
type Check func(c *Config, complain func(reason string, key ...string))

// Load reads and checks a configuration file. Relative paths are taken from the file's folder.
func Load(path string, checks ...Check) (*Config, error) {
	d, err := ReadDocument(path)
	if err != nil {
		return nil, err
	}
	return d.Config(checks...)
}

// readFile is os.ReadFile with a bound: the path is an operator's, who may mistype it.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written

	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err // a directory: "read PATH: is a directory"
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return data, nil
}

// Parse reads and checks the text of a configuration; name stands for it in messages. The error
// joins every fault, each as "name:line: key: reason", in the order of the lines.
func Parse(name string, data []byte, checks ...Check) (*Config, error) {
	src, bad := parseTOML(data)
	if bad != nil {
		bad.file = name
		return nil, *bad
	}
	c := Default()
	var found faults
	decodeStruct(nil, src.values(), reflect.ValueOf(c).Elem(), &found)
	found.merge(c.validate())
	for _, check := range checks {
		check(c, func(reason string, key ...string) { found.add(key, "%s", reason) })
	}
	for i := range found {
		found[i].file, found[i].line = name, src.line(found[i].key)
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// decodeStruct does itself what toml.Decode could do, because that stops at the first wrong type,
// matches keys in any case, and shows a wrong password.
func decodeStruct(at toml.Key, table map[string]any, dst reflect.Value, bad *faults) {
	typ := dst.Type()
	fields := fieldsOf(typ)
	givenAs := make(map[string]string, len(table)) // the name that a setting has in the file
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path := append(slices.Clone(at), key)
		f, ok := findField(fields, key)
		if !ok {
			if !bad.full() {
				bad.add(path, "unknown key %q%s", key, hint(key, table[key], typ))
			}
			continue
		}
		if other, twice := givenAs[f.key]; twice {
			bad.add(path, "%s and %s are two names of one setting; keep one of them", other, key)
			continue
		}
		givenAs[f.key] = key
		dst := dst.FieldByIndex(f.index)
		switch {
		case dst.Kind() == reflect.Map:
			decodeMap(path, table[key], dst, bad)
			continue
		case isList(dst.Type()):
			decodeList(path, table[key], dst, bad)
			continue
		}
		if err := setValue(dst, table[key]); err != nil && f.secret {
			bad.add(path, "want a string between quotes")
		} else if err != nil {
			bad.add(path, "%v%s", err, plural(key, table[key], fields))
		}
	}
}

// decodeMap reads the tables [path.NAME].
func decodeMap(path toml.Key, v any, dst reflect.Value, bad *faults) {
	tables, ok := v.(map[string]any)
	if !ok {
		bad.add(path, "want tables [%s.NAME], got %s", path, showKind(v))
		return
	}
	dst.Set(reflect.MakeMap(dst.Type()))
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		path := append(slices.Clone(path), name)
		if name == "" || strings.ContainsRune(name, 0) {
			bad.add(path, "a name must not be empty or contain a zero byte")
			continue
		}
		table, ok := tables[name].(map[string]any)
		if !ok {
			bad.add(path, "want a table [%s], got %s", path, showKind(tables[name]))
			continue
		}
		elem := reflect.New(dst.Type().Elem())
		if db, ok := elem.Interface().(*Database); ok {
			*db = DefaultDatabase()
		}
		decodeStruct(path, table, elem.Elem(), bad)
		dst.SetMapIndex(reflect.ValueOf(name), elem.Elem())
	}
}

// decodeList reads the tables [[path]]. In the key of a fault they count from 1.
func decodeList(path toml.Key, v any, dst reflect.Value, bad *faults) {
	var items []any
	switch v := v.(type) {
	case []any: // path = [{ … }, { … }]
		items = v
	case []map[string]any:
		for _, table := range v {
			items = append(items, table)
		}
	default:
		bad.add(path, "want tables [[%s]], got %s", path, show(v))
		return
	}
	list := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		path := append(slices.Clone(path), strconv.Itoa(i+1))
		if table, ok := item.(map[string]any); ok {
			decodeStruct(path, table, list.Index(i), bad)
		} else {
			bad.add(path, "want a table, got %s", show(item))
		}
	}
	dst.Set(list)
}

// setValue stores a decoded TOML value in a field of the types that Config uses.
func setValue(dst reflect.Value, v any) error {
	if u, ok := dst.Addr().Interface().(toml.Unmarshaler); ok {
		return u.UnmarshalTOML(v)
	}
	switch dst.Kind() {
	case reflect.Pointer:
		elem := reflect.New(dst.Type().Elem())
		if err := setValue(elem.Elem(), v); err != nil {
			return err
		}
		dst.Set(elem)
	case reflect.String:
		return setString(dst, v)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			return fmt.Errorf("want true or false, got %s", show(v))
		}
		dst.SetBool(b)
	case reflect.Int:
		n, ok := parseInt(v)
		if !ok {
			return fmt.Errorf("want a whole number, got %s", show(v))
		}
		dst.SetInt(n)
	case reflect.Slice:
		return setList(dst, v)
	default:
		panic("bug: no way to read a " + dst.Type().String())
	}
	return nil
}

func setString(dst reflect.Value, v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("want a string between quotes, got %s", show(v))
	}
	if strings.ContainsRune(s, 0) { // it would end a string of the protocol early
		return errors.New("must not contain a zero byte")
	}
	dst.SetString(s)
	return nil
}

func setList(dst reflect.Value, v any) error {
	items, ok := v.([]any)
	if !ok {
		return fmt.Errorf(`want a list such as ["alice", "bob"], got %s`, show(v))
	}
	list := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		if err := setValue(list.Index(i), item); err != nil {
			return err
		}
	}
	dst.Set(list)
	return nil
}
