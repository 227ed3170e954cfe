package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// patch replaces a part of a text.
type patch struct {
	span
	text string
}

func (p patch) apply(text string) string { return text[:p.start] + p.text + text[p.end:] }

// find returns the number of a key's entry, by whichever of its names the file uses, or -1. It fails where the
// value is spread over several places.
func (l *layout) find(table toml.Key, f field) (int, error) {
	found := -1
	for _, name := range []string{f.key, f.alias} {
		if name == "" {
			continue
		}
		path := append(slices.Clone(table), name)
		at := slices.IndexFunc(l.entries, func(e entry) bool { return slices.Equal(e.path, path) })
		switch {
		case at >= 0 && found >= 0:
			return -1, errLayout
		case at >= 0:
			found = at
		case l.spread(path):
			return -1, errLayout
		}
	}
	return found, nil
}

// spread tells whether parts of a table are written by themselves, as in [a.b] or a.b.c = 1.
func (l *layout) spread(path toml.Key) bool {
	return slices.ContainsFunc(l.entries, func(e entry) bool { return within(e.path, path) }) ||
		slices.ContainsFunc(l.headers, func(h header) bool { return within(h.path, path) })
}

// closed tells whether a table is written as a value, to which TOML allows no [table] to be added, though the library does.
func (l *layout) closed(path toml.Key) bool {
	return slices.ContainsFunc(l.entries, func(e entry) bool { return slices.Equal(e.path, path) })
}

// within tells whether path is table or one of its keys.
func within(path, table toml.Key) bool {
	return len(path) >= len(table) && slices.Equal(path[:len(table)], table)
}

// replace gives an entry another value.
func (l *layout) replace(at int, literal string) patch { return patch{l.entries[at].value, literal} }

// add writes a key that is absent. It returns false if it does not know where: the table is written in an unusual way, or absent.
func (l *layout) add(table toml.Key, f field, literal string) (patch, bool) {
	line := f.key + " = " + literal
	if len(table) == 0 {
		return l.addTop(f, line), true
	}
	if h := slices.IndexFunc(l.headers, func(h header) bool { return slices.Equal(h.path, table) }); h >= 0 {
		return l.addBehind(l.lastOf(h), line), true
	}
	if i := slices.IndexFunc(l.entries, func(e entry) bool { return slices.Equal(e.path, table) }); i >= 0 {
		return l.addInline(i, line)
	}
	return l.addDotted(table, line)
}

// lastOf is the last key of the table under a header, or that header.
func (l *layout) lastOf(h int) span {
	last := l.headers[h].span
	for _, e := range l.entries {
		if e.header == h && e.inline < 0 {
			last = span{e.parts[0], e.value.end}
		}
	}
	return last
}

// addTop writes behind a line that shows the key commented out, else behind the last key of the top level.
func (l *layout) addTop(f field, line string) patch {
	end := len(l.text)
	if len(l.headers) > 0 {
		end = l.headers[0].start
	}
	for _, c := range l.comments {
		if c.start < end && !c.inside && strings.TrimSpace(l.text[l.lineStart(c.start):c.start]) == "" && f.shownBy(l.text[c.start:c.end]) {
			return l.addBehind(c.span, line)
		}
	}
	last := slices.IndexFunc(l.entries, func(e entry) bool { return e.header >= 0 })
	if last < 0 {
		last = len(l.entries)
	}
	for last--; last >= 0; last-- {
		if e := l.entries[last]; e.inline < 0 {
			return l.addBehind(span{e.parts[0], e.value.end}, line)
		}
	}
	if len(l.headers) == 0 {
		return l.addLine(end, line)
	}
	return l.addLine(l.commentAbove(end), line+l.newline())
}

// shownBy tells whether a comment is "# key = value".
func (f field) shownBy(comment string) bool {
	name, _, ok := strings.Cut(strings.TrimLeft(comment, "#"), "=")
	name = strings.TrimSpace(name)
	return ok && name != "" && (name == f.key || name == f.alias)
}

// commentAbove is where the comment begins that stands directly above the line of at, or that line itself.
func (l *layout) commentAbove(at int) int {
	start := l.lineStart(at)
	for start > l.begin {
		above := l.lineStart(start - 1)
		if !strings.HasPrefix(strings.TrimLeft(l.text[above:start], " \t"), "#") {
			break
		}
		start = above
	}
	return start
}

// addBehind writes a line below another, with the same indent.
func (l *layout) addBehind(other span, line string) patch {
	indent := l.text[l.lineStart(other.start):other.start] // nothing else: keys, headers and these comments begin their lines
	return l.addLine(l.lineEnd(other.end), indent+line)
}

// addInline writes into an inline table.
func (l *layout) addInline(table int, line string) (patch, bool) {
	if !l.entries[table].table {
		return patch{}, false
	}
	last := -1
	for i, e := range l.entries {
		if e.inline == table {
			last = i
		}
	}
	if last >= 0 {
		at := l.entries[last].value.end
		return patch{span{at, at}, ", " + line}, true
	}
	at := l.entries[table].value.start + len("{")
	if l.text[at] == ' ' {
		return patch{span{at, at}, " " + line}, true
	}
	return patch{span{at, at}, " " + line + " "}, true
}

// addDotted writes below the last key of a table that has no header, with the same words in front of its dots.
func (l *layout) addDotted(table toml.Key, line string) (patch, bool) {
	for _, e := range slices.Backward(l.entries) {
		n := len(table) - (len(e.path) - len(e.parts)) // the parts of table that are written here
		if e.inline < 0 && n > 0 && within(e.path, table) {
			return l.addBehind(span{e.parts[0], e.value.end}, l.text[e.parts[0]:e.parts[n]]+line), true
		}
	}
	return patch{}, false
}

// addTable writes a new table with one key to the end of the file.
func (l *layout) addTable(table toml.Key, f field, literal string) patch {
	text := "[" + table.String() + "]" + l.newline() + f.key + " = " + literal
	if strings.TrimSpace(l.text[l.begin:]) != "" {
		text = l.newline() + text
	}
	return l.addLine(len(l.text), text)
}

// addLine writes a line at the start of another.
func (l *layout) addLine(at int, line string) patch {
	if at > l.begin && l.text[at-1] != '\n' { // the last line has no end
		line = l.newline() + line
	}
	return patch{span{at, at}, line + l.newline()}
}

// remove takes an entry out with its line, of which only a comment stays.
func (l *layout) remove(at int) patch {
	e := l.entries[at]
	if e.inline >= 0 {
		return l.removeInline(at)
	}
	end := l.lineEnd(e.value.end)
	for _, c := range l.comments {
		if e.value.end <= c.start && c.start < end {
			return patch{span: span{e.parts[0], c.start}}
		}
	}
	return patch{span: span{l.lineStart(e.parts[0]), end}}
}

// removeInline takes an entry out of an inline table, with one of the commas beside it.
func (l *layout) removeInline(at int) patch {
	e := l.entries[at]
	before := -1
	for i, other := range l.entries {
		switch {
		case other.inline != e.inline || i == at:
		case i > at:
			return patch{span: span{e.parts[0], other.parts[0]}}
		default:
			before = i
		}
	}
	if before >= 0 {
		return patch{span: span{l.entries[before].value.end, e.value.end}}
	}
	return patch{span: span{e.parts[0], e.value.end}}
}

func (l *layout) lineStart(at int) int {
	return max(l.begin, strings.LastIndexByte(l.text[:at], '\n')+1)
}

// lineEnd is behind the end of the line.
func (l *layout) lineEnd(at int) int {
	if i := strings.IndexByte(l.text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(l.text)
}

var firstLineEnd = regexp.MustCompile(`\r?\n`)

// newline is how the file ends its lines.
func (l *layout) newline() string {
	if end := firstLineEnd.FindString(l.text); end != "" {
		return end
	}
	return "\n"
}

// holdsComment tells whether comments would be lost with an entry's value.
func (l *layout) holdsComment(at int) bool {
	v := l.entries[at].value
	return slices.ContainsFunc(l.comments, func(c comment) bool { return v.start <= c.start && c.start < v.end })
}

func (l *layout) commentTexts() []string {
	var texts []string
	for _, c := range l.comments {
		texts = append(texts, l.text[c.start:c.end])
	}
	return texts
}

// differsOnlyIn tells whether an edit did what it should: the values of the new text are those of the old one, but for
// want at path (nil = gone), and all comments are still there.
func differsOnlyIn(path toml.Key, want any, before, after string) bool {
	o, bad := parseTOML([]byte(before))
	if bad != nil {
		return false
	}
	n, bad := parseTOML([]byte(after))
	if bad != nil {
		return false
	}
	expected := o.values()
	if !put(expected, path, want) || !reflect.DeepEqual(expected, n.values()) {
		return false
	}
	from, err := readLayout(before)
	if err != nil {
		return false
	}
	to, err := readLayout(after)
	return err == nil && slices.Equal(from.commentTexts(), to.commentTexts())
}

// put changes one value of nested tables. It returns false if something that is no table is in the way.
func put(values map[string]any, path toml.Key, want any) bool {
	for _, part := range path[:len(path)-1] {
		if values[part] == nil {
			values[part] = make(map[string]any)
		}
		table, ok := values[part].(map[string]any)
		if !ok {
			return false
		}
		values = table
	}
	if want == nil {
		delete(values, path[len(path)-1])
	} else {
		values[path[len(path)-1]] = want
	}
	return true
}
