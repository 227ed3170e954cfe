package config

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Nothing of ours nests deeper than three. The TOML library recurses without a limit, and a
// stack that overflows cannot be recovered from, so a file far beyond is not given to it.
const maxNesting = 1000

// source is a parsed TOML text which still knows the line of each key.
type source struct {
	text  string
	meta  toml.MetaData
	top   map[string]toml.Primitive
	parts map[string][]part // what partsOf has found
}

func parseTOML(data []byte) (*source, *fault) {
	if nesting(data) > maxNesting {
		return nil, &fault{line: 1, reason: "brackets nested too deeply"}
	}
	src := &source{text: string(data)}
	var err error
	if src.meta, err = toml.Decode(src.text, &src.top); err != nil {
		return nil, syntaxFault(src.text, err)
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
	if near := lines[min(n, len(lines))-1] + parse.LastKey; strings.Contains(near, "password") || strings.Contains(near, "ldap") {
		return &fault{line: n, reason: "not valid TOML; is the password between quotes?"}
	}
	if strings.HasPrefix(parse.Message, "expected value but found") { // it quotes that: a password under a mistyped key, maybe
		return &fault{line: n, reason: "not valid TOML: want a value; strings go between quotes"}
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
	if one, before := s.element(key); one != nil {
		return before + one.line(key[2:])
	}
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

// part is the text of one [[table]], up to the next of the same name.
type part struct {
	text   string
	before int     // lines above it
	src    *source // nil until it is asked for
}

// element is the one [[table]] that a key such as rules.2.user is in, read by itself, and the number of lines above it:
// of keys that several of them have, the library remembers only the last place. It is nil for any other key, and
// for tables written as a list.
func (s *source) element(key toml.Key) (one *source, before int) {
	if len(key) < 2 {
		return nil, 0
	}
	parts := s.partsOf(key[0])
	n, _ := strconv.Atoi(key[1])
	if n < 1 || n > len(parts) {
		return nil, 0
	}
	p := &parts[n-1]
	if p.src == nil {
		p.src = parseElement(key[0], p.text)
	}
	return p.src, p.before
}

// partsOf finds all [[name]], or nothing if it cannot be sure of them.
func (s *source) partsOf(name string) []part {
	if parts, known := s.parts[name]; known {
		return parts
	}
	var parts []part
	if all := len(s.elements(name)); all > 0 {
		quoted := regexp.QuoteMeta(name)
		header := regexp.MustCompile(`(?m)^[ \t]*\[\[[ \t]*(?:` + quoted + `|"` + quoted + `"|'` + quoted + `')[ \t]*\]\]`)
		starts := header.FindAllStringIndex(s.text, -1)
		if len(starts) == all { // otherwise one may be inside of a string
			parts = cut(s.text, starts)
		}
	}
	if s.parts == nil {
		s.parts = make(map[string][]part)
	}
	s.parts[name] = parts
	return parts
}

func cut(text string, starts [][]int) []part {
	parts := make([]part, len(starts))
	lines, counted := 0, 0
	for i, start := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		lines += strings.Count(text[counted:start[0]], "\n")
		counted = start[0]
		parts[i] = part{text: text[start[0]:end], before: lines}
	}
	return parts
}

// parseElement reads a text that begins with [[name]]. Its top level is that table.
func parseElement(name, text string) *source {
	one, _ := parseTOML([]byte(text))
	if one == nil {
		return nil
	}
	if all := one.elements(name); len(all) > 0 {
		one.top = all[0]
		return one
	}
	return nil
}

// elements is empty for anything but a list of tables.
func (s *source) elements(name string) []map[string]toml.Primitive {
	var tables []map[string]toml.Primitive
	if err := s.meta.PrimitiveDecode(s.top[name], &tables); err != nil {
		return nil
	}
	return tables
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
