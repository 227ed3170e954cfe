package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	maxConfigSize = 4 << 20
	// Nothing of ours nests deeper than three. The TOML library recurses without a limit, and a
	// stack that overflows cannot be recovered from, so a file far beyond is not given to it.
	maxNesting = 1000
)

// Load reads and checks a configuration file. A relative auth_file is taken from the file's folder.
func Load(path string) (*Config, error) {
	data, err := readFile(path, maxConfigSize)
	if err != nil {
		return nil, err
	}
	c, err := Parse(path, data)
	if err != nil {
		return nil, err
	}
	if c.AuthFile == "" || filepath.IsAbs(c.AuthFile) {
		return c, nil
	}
	full, err := filepath.Abs(filepath.Join(filepath.Dir(path), c.AuthFile))
	if err != nil {
		return nil, fmt.Errorf("resolve auth_file %q: %w", c.AuthFile, err)
	}
	c.AuthFile = full
	return c, nil
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
func Parse(name string, data []byte) (*Config, error) {
	src, bad := parseTOML(data)
	if bad != nil {
		bad.file = name
		return nil, *bad
	}
	c := Default()
	var found faults
	decodeStruct(nil, src.values(), reflect.ValueOf(c).Elem(), &found)
	found.merge(c.validate())
	for i := range found {
		found[i].file, found[i].line = name, src.line(found[i].key)
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// source is a parsed TOML text which still knows the line of each key.
type source struct {
	meta toml.MetaData
	top  map[string]toml.Primitive
}

func parseTOML(data []byte) (*source, *fault) {
	if nesting(data) > maxNesting {
		return nil, &fault{line: 1, reason: "brackets nested too deeply"}
	}
	src := &source{}
	var err error
	if src.meta, err = toml.Decode(string(data), &src.top); err != nil {
		return nil, syntaxFault(string(data), err)
	}
	return src, nil
}

// nesting overestimates, since it also counts brackets in strings and comments.
func nesting(data []byte) int {
	depth, deepest := 0, 0
	for _, b := range data {
		switch b {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return deepest
}

// syntaxFault hides the library's message where it could quote a part of a password.
func syntaxFault(text string, err error) *fault {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return &fault{line: 1, reason: err.Error()}
	}
	n := max(1, parse.Position.Line)
	lines := strings.Split(text, "\n")
	if strings.Contains(lines[min(n, len(lines))-1]+parse.LastKey, "password") {
		return &fault{line: n, reason: "not valid TOML; is the password between quotes?"}
	}
	return &fault{line: n, reason: "not valid TOML: " + parse.Message}
}

func (s *source) values() map[string]any {
	values := make(map[string]any, len(s.top))
	for key, prim := range s.top {
		var v any
		_ = s.meta.PrimitiveDecode(prim, &v) // into an empty interface it cannot fail
		values[key] = v
	}
	return values
}

// line finds a key, or else the nearest table around it that is in the text, or else line 1.
func (s *source) line(key toml.Key) int {
	line, table := 1, s.top
	for _, part := range key {
		prim, ok := table[part]
		if !ok {
			break
		}
		line = max(1, s.lineOf(prim))
		table = s.children(prim)
	}
	return line
}

// locator refuses every value, because only the error for a refused value tells its position.
type locator struct{}

var errLocate = errors.New("locate")

func (locator) UnmarshalTOML(any) error { return errLocate }

// lineOf is the line of a value. A table that has no header of its own, such as databases in
// [databases.app], stands where its first key does.
func (s *source) lineOf(prim toml.Primitive) int {
	var parse toml.ParseError
	if errors.As(s.meta.PrimitiveDecode(prim, &locator{}), &parse) && parse.Position.Line > 0 {
		return parse.Position.Line
	}
	first := 0
	for _, child := range s.children(prim) {
		if n := s.lineOf(child); n > 0 && (first == 0 || n < first) {
			first = n
		}
	}
	return first
}

// children is empty for anything but a table.
func (s *source) children(prim toml.Primitive) map[string]toml.Primitive {
	var table map[string]toml.Primitive
	if err := s.meta.PrimitiveDecode(prim, &table); err != nil {
		return nil
	}
	return table
}

// decodeStruct does itself what toml.Decode could do, because that stops at the first wrong type,
// matches keys in any case, and shows a wrong password.
func decodeStruct(at toml.Key, table map[string]any, dst reflect.Value, bad *faults) {
	fields := fieldsOf(dst.Type())
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path := append(slices.Clone(at), key)
		f, ok := findField(fields, key)
		if !ok {
			bad.add(path, "%s", unknownKey(path, fields))
			continue
		}
		dst := dst.Field(f.index)
		if dst.Kind() == reflect.Map {
			decodeMap(path, table[key], dst, bad)
			continue
		}
		if err := setValue(dst, table[key]); err != nil && f.secret {
			bad.add(path, "want a string between quotes")
		} else if err != nil {
			bad.add(path, "%v", err)
		}
	}
}

func unknownKey(path toml.Key, fields []field) string {
	key := path[len(path)-1]
	reason := "unknown key " + strconv.Quote(key)
	if _, ok := findField(fieldsOf(reflect.TypeFor[Config]()), key); ok {
		return reason + " in a table; it belongs at the top of the file, before the first [table]"
	}
	return reason + suggest(key, fields)
}

// decodeMap reads the tables [path.NAME].
func decodeMap(path toml.Key, v any, dst reflect.Value, bad *faults) {
	tables, ok := v.(map[string]any)
	if !ok {
		bad.add(path, "want tables [%s.NAME], got %s", path, show(v))
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
			bad.add(path, "want a table [%s], got %s", path, show(tables[name]))
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
