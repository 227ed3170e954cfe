package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Why a Document could not be changed. The error names the key and says more.
var (
	ErrUnknownKey = errors.New("unknown key")
	ErrNoTable    = errors.New("no such table")
	ErrBadValue   = errors.New("bad value")
	ErrByHand     = errors.New("to be edited by hand")
)

// Document is the text of a configuration file. It is never changed: an edit gives another Document, in which that one
// value differs and everything else (comments, order, space) is the same byte for byte. Anyone may use it at any time.
type Document struct {
	file *file
	text string
}

// editError is a fault of an edit, with the reason that errors.Is finds.
type editError struct {
	fault
	kind error
}

func (e editError) Unwrap() error { return e.kind }

func newEditError(kind error, key toml.Key, format string, args ...any) error {
	return editError{fault{key: slices.Clone(key), reason: fmt.Sprintf(format, args...)}, kind}
}

// NewDocument is a text that is not from a file, and cannot be saved; name stands for it in messages.
func NewDocument(name string, text []byte) *Document {
	d := &Document{file: &file{name: name}, text: string(text)}
	d.file.text.Store(&d.text)
	return d
}

// ReadDocument reads a configuration file. Whether it is valid only Config tells.
func ReadDocument(path string) (*Document, error) {
	data, err := readFile(path, maxConfigSize)
	if err != nil {
		return nil, err
	}
	d := NewDocument(path, data)
	d.file.onDisk = true
	return d, nil
}

// Config reads and checks the text. Relative paths are taken from the file's folder. If the text was changed, the faults
// have no line: those of the file are others.
func (d *Document) Config(checks ...Check) (*Config, error) {
	name := d.file.name
	if d.Changed() {
		name = ""
	}
	c, err := Parse(name, []byte(d.text), checks...)
	if err != nil {
		return nil, err
	}
	if !d.file.onDisk {
		return c, nil
	}
	folder, err := filepath.Abs(filepath.Dir(d.file.name))
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", d.file.name, err)
	}
	resolvePaths(folder, reflect.ValueOf(c).Elem())
	return c, nil
}

// Changed tells whether the text differs from the file as it was read, or saved last.
func (d *Document) Changed() bool { return d.text != *d.file.text.Load() }

// Set gives a key a value: of the top level ("default_pool_size") or of a table ("databases", "app", "pool_size"). The value
// is as a person types it: 30, true, 30s, "a, b" for a list; strings without quotes. It checks the value's type only; ranges,
// and what keys mean together, are up to Config, so that several keys can be set before.
// A new table is made for a user or a class, not for a database: other clients would be served by it from then on.
func (d *Document) Set(path []string, value string) (*Document, error) {
	k, err := resolveKey(path)
	if err != nil {
		return nil, err
	}
	if !utf8.ValidString(value) {
		return nil, newEditError(ErrBadValue, path, "must be valid UTF-8")
	}
	want := typedValue(k.typ, value)
	if err := setValue(reflect.New(k.typ).Elem(), want); err != nil {
		return nil, newEditError(ErrBadValue, path, "%v", err)
	}
	l, at, err := d.locate(k)
	if err != nil {
		return nil, err
	}
	if at >= 0 {
		return d.edited(l.entries[at].path, want, l.replace(at, literal(want)))
	}
	p, ok := l.add(k.table, k.field, literal(want))
	switch {
	case ok:
	case l.spread(k.table) || l.closed(k.table[:1]):
		return nil, byHand(k.path, "its table is written in an unusual way")
	case k.table[0] == databasesKey:
		return nil, noTable(k.table, l)
	default:
		p = l.addTable(k.table, k.field, literal(want))
	}
	return d.edited(k.path, want, p)
}

// Unset removes a key, so that the next wider table, the top level or the default decides. A key that is absent is fine.
func (d *Document) Unset(path []string) (*Document, error) {
	k, err := resolveKey(path)
	if err != nil {
		return nil, err
	}
	l, at, err := d.locate(k)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		return d, nil
	}
	return d.edited(l.entries[at].path, nil, l.remove(at))
}

// locate finds the entry of a key, -1 if it is absent.
func (d *Document) locate(k key) (l *layout, at int, err error) {
	if _, bad := parseTOML([]byte(d.text)); bad != nil {
		bad.file = d.file.name
		return nil, -1, *bad
	}
	if l, err = readLayout(d.text); err != nil {
		return nil, -1, byHand(k.path, "%v", err)
	}
	if at, err = l.find(k.table, k.field); err != nil {
		return nil, -1, byHand(k.path, "it is written in several places")
	}
	if at >= 0 && l.holdsComment(at) {
		return nil, -1, byHand(k.path, "there are comments inside of its value, which would be lost")
	}
	return l, at, nil
}

// edited makes sure that a patch does what it should, whatever it is that layout did not think of.
func (d *Document) edited(path toml.Key, want any, p patch) (*Document, error) {
	text := p.apply(d.text)
	if len(text) > maxConfigSize {
		return nil, byHand(path, "the file would become larger than %d bytes", maxConfigSize)
	}
	if !differsOnlyIn(path, want, d.text, text) {
		return nil, byHand(path, "%v", errLayout)
	}
	return &Document{file: d.file, text: text}, nil
}

func byHand(path toml.Key, format string, args ...any) error {
	return newEditError(ErrByHand, path, format+"; edit the file by hand, then RELOAD", args...)
}

func noTable(table toml.Key, l *layout) error {
	const advice = "add the table to the file, then RELOAD"
	if rest := (toml.Key{databasesKey, "*"}); l.spread(rest) && !slices.Equal(table, rest) {
		return newEditError(ErrNoTable, table, "there is no table [%s]; [%s] serves that name with others. Change that one, or %s", table, rest, advice)
	}
	return newEditError(ErrNoTable, table, "there is no table [%s]; %s", table, advice)
}

// key is a path that exists in Config.
type key struct {
	field
	path  toml.Key // with the key's own name, not its other one
	table toml.Key // path without its last part
	typ   reflect.Type
}

const databasesKey = "databases"

func resolveKey(path []string) (key, error) {
	if len(path) == 0 {
		return key{}, newEditError(ErrUnknownKey, nil, "want a key")
	}
	top, err := findIn(reflect.TypeFor[Config](), path, 0)
	switch {
	case err != nil:
		return key{}, err
	case isList(top.typ):
		return key{}, byHand(path, "%s have no names to change them by", top.key)
	case top.typ.Kind() != reflect.Map && len(path) > 1:
		return key{}, newEditError(ErrUnknownKey, path, "%s is changed as a whole", top.key)
	case top.typ.Kind() != reflect.Map:
		return top, nil
	case len(path) != 3:
		return key{}, newEditError(ErrUnknownKey, path, "want a key of one table, such as %s.NAME.pool_boundary", top.key)
	case path[1] == "" || strings.ContainsRune(path[1], 0) || !utf8.ValidString(path[1]):
		return key{}, newEditError(ErrUnknownKey, path, "a name must be valid UTF-8, not empty, and without zero bytes")
	}
	return findIn(top.typ.Elem(), path, 2)
}

// findIn finds path[at], which is a key of a table of type home.
func findIn(home reflect.Type, path toml.Key, at int) (key, error) {
	f, ok := findField(fieldsOf(home), path[at])
	if !ok {
		return key{}, newEditError(ErrUnknownKey, path, "unknown key %q%s", path[at], hint(path[at], nil, home))
	}
	table := slices.Clone(path[:at])
	return key{f, append(slices.Clone(table), f.key), table, home.FieldByIndex(f.index).Type}, nil
}

// IsShown tells whether the value of the key at path may be shown and logged: that of a key that exists, and is no
// secret. A key that does not exist may be a whole table, or a misspelt secret.
func IsShown(path []string) bool {
	k, err := resolveKey(path)
	return err == nil && !k.secret
}
