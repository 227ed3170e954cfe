package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// layout is where the parts of a TOML text stand. The library knows the values, but not where they end, nor the comments.
type layout struct {
	text     string
	begin    int // behind a byte order mark
	headers  []header
	entries  []entry // in the order of the text, those of an inline table behind it
	comments []comment
}

type span struct{ start, end int }

// header is a [table], or one [[table]] of several, whose path ends in its number, from 1.
type header struct {
	span
	path toml.Key
}

// entry is one key with its value. Those of inline tables inside of lists are left out.
type entry struct {
	path   toml.Key // from the top
	parts  []int    // where each part of the key that is written here begins
	value  span
	header int  // of the table that it is written in, -1 = the top level
	inline int  // the entry whose inline table it is written in, -1 = none
	table  bool // the value is an inline table
}

// comment does not include the end of its line.
type comment struct {
	span
	inside bool // of a value
}

var errLayout = errors.New("the file is written in a way that cannot be changed safely")

// readLayout walks through a text that the library has accepted, so it need not check much: what it cannot follow is an error.
func readLayout(text string) (*layout, error) {
	s := scanner{layout: layout{text: text, begin: byteOrderMark(text)}}
	s.pos = s.begin
	s.document()
	if s.lost {
		return nil, errLayout
	}
	return &s.layout, nil
}

// byteOrderMark is the length of what the library skips.
func byteOrderMark(text string) int {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff", "\xef\xbb\xbf"} {
		if strings.HasPrefix(text, mark) {
			return len(mark)
		}
	}
	return 0
}

type scanner struct {
	layout
	pos   int
	depth int  // brackets and braces of values around pos
	lists int  // brackets among them
	lost  bool // what stands at pos was not expected
}

func (s *scanner) document() {
	var table toml.Key
	lists := make(map[string]int)
	for s.blank(); s.more(); s.blank() {
		if s.text[s.pos] != '[' {
			s.entry(table, -1)
			continue
		}
		h := header{span: span{start: s.pos}}
		list := strings.HasPrefix(s.text[s.pos:], "[[")
		s.pos++
		if list {
			s.pos++
		}
		h.path, _ = s.key()
		s.skip(']')
		if list {
			s.skip(']')
			lists[h.path.String()]++
			h.path = append(h.path, strconv.Itoa(lists[h.path.String()]))
		}
		h.end = s.pos
		table = h.path
		s.headers = append(s.headers, h)
	}
}

func (s *scanner) more() bool { return !s.lost && s.pos < len(s.text) }

// skip passes over one character that must be there.
func (s *scanner) skip(c byte) {
	if !s.more() || s.text[s.pos] != c {
		s.lost = true
		return
	}
	s.pos++
}

// spaces passes over the space within a line.
func (s *scanner) spaces() {
	for s.more() && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
}

// blank passes over space, the ends of lines and comments.
func (s *scanner) blank() {
	for s.more() {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		case '#':
			line, _, _ := strings.Cut(s.text[s.pos:], "\n")
			end := s.pos + len(strings.TrimSuffix(line, "\r"))
			s.comments = append(s.comments, comment{span: span{s.pos, end}, inside: s.depth > 0})
			s.pos = end
		default:
			return
		}
	}
}

// entry reads key = value.
func (s *scanner) entry(table toml.Key, inline int) {
	name, parts := s.key()
	s.skip('=')
	s.spaces()
	e := entry{
		path:   append(slices.Clone(table), name...),
		parts:  parts,
		header: len(s.headers) - 1,
		inline: inline,
		table:  s.more() && s.text[s.pos] == '{',
		value:  span{start: s.pos},
	}
	at := len(s.entries)
	if s.lists == 0 {
		s.entries = append(s.entries, e)
	}
	s.value(e.path, at)
	if s.lists == 0 {
		s.entries[at].value.end = s.pos
	}
}

// key reads the parts of a key between its dots, and the space behind them.
func (s *scanner) key() (path toml.Key, parts []int) {
	for s.more() {
		s.spaces()
		parts = append(parts, s.pos)
		path = append(path, s.keyPart())
		s.spaces()
		if !s.more() || s.text[s.pos] != '.' {
			break
		}
		s.pos++
	}
	return path, parts
}

func (s *scanner) keyPart() string {
	start := s.pos
	if s.more() && (s.text[s.pos] == '"' || s.text[s.pos] == '\'') {
		s.oneLine(s.text[s.pos])
		if s.lost {
			return ""
		}
		return s.unquote(s.text[start:s.pos])
	}
	for s.more() && isBare(s.text[s.pos]) {
		s.pos++
	}
	s.lost = s.lost || s.pos == start
	return s.text[start:s.pos]
}

func isBare(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// unquote leaves the escapes to the library.
func (s *scanner) unquote(quoted string) string {
	var v struct{ X string }
	if _, err := toml.Decode("X = "+quoted, &v); err != nil {
		s.lost = true
	}
	return v.X
}

// value passes over a value. Of an inline table it notes the entries.
func (s *scanner) value(path toml.Key, at int) {
	if !s.more() {
		s.lost = true
		return
	}
	switch c := s.text[s.pos]; c {
	case '"', '\'':
		if fence := strings.Repeat(string(c), 3); strings.HasPrefix(s.text[s.pos:], fence) {
			s.manyLines(fence)
		} else {
			s.oneLine(c)
		}
	case '[':
		s.lists++
		s.bracketed(']', func() { s.value(nil, -1) })
		s.lists--
	case '{':
		s.bracketed('}', func() { s.entry(path, at) })
	default: // a number, a date or a word; dates may contain a space
		rest := s.text[s.pos:]
		if end := strings.IndexAny(rest, ",]}#\r\n"); end >= 0 {
			rest = rest[:end]
		}
		rest = strings.TrimRight(rest, " \t")
		s.lost = s.lost || rest == ""
		s.pos += len(rest)
	}
}

// bracketed reads items between commas, up to the closing bracket.
func (s *scanner) bracketed(closing byte, item func()) {
	s.depth++
	defer func() { s.depth-- }()
	s.pos++
	for s.blank(); s.more(); s.blank() {
		switch s.text[s.pos] {
		case closing:
			s.pos++
			return
		case ',':
			s.pos++
		default:
			item()
		}
	}
	s.lost = true
}

// oneLine passes over "text" or 'text'.
func (s *scanner) oneLine(mark byte) {
	for s.pos++; s.more() && s.text[s.pos] != mark; s.pos++ {
		if mark == '"' && s.text[s.pos] == '\\' {
			s.pos++
		}
	}
	s.skip(mark)
}

// manyLines passes over """text""" or the same of single quotes. Up to two quotes may stand in front of the last three.
func (s *scanner) manyLines(fence string) {
	for s.pos += len(fence); s.more() && !strings.HasPrefix(s.text[s.pos:], fence); s.pos++ {
		if fence[0] == '"' && s.text[s.pos] == '\\' {
			s.pos++
		}
	}
	for _, c := range []byte(fence) {
		s.skip(c)
	}
	for range 2 {
		if s.more() && s.text[s.pos] == fence[0] {
			s.pos++
		}
	}
}
