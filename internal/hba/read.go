package hba

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxBytes bounds what is read in all: included files count each time.
	maxBytes = 64 << 20
	// maxDepth is how deep files may include each other, as in PostgreSQL.
	maxDepth = 10
)

// column is the words of a line that commas join.
type column []token

// line is a line of a file, with @files put in.
type line struct {
	file    string
	number  int
	columns []column
}

// Load reads a file in the format of pg_hba.conf, and what it includes. The error joins every fault
// (at most 100) as "file:line: reason" and never has a secret in it.
func Load(path string) (*File, error) {
	rd := &reader{open: openFile, left: maxBytes}
	return rd.rules(path)
}

// Parse reads the text of such a file that includes no other; name stands for it in messages.
func Parse(name string, data []byte) (*File, error) {
	rd := &reader{open: single(name, data), left: maxBytes, alone: true}
	return rd.rules(name)
}

// reader collects the lines of a file and of those it includes.
type reader struct {
	open   func(path string) (io.ReadCloser, error)
	left   int64 // how many bytes may still be read
	alone  bool  // no other file may be included
	faults faults
}

func openFile(path string) (io.ReadCloser, error) { return os.Open(path) }

func single(name string, data []byte) func(string) (io.ReadCloser, error) {
	return func(path string) (io.ReadCloser, error) {
		if path != name {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(string(data))), nil
	}
}

func (rd *reader) rules(path string) (*File, error) {
	lines, err := rd.read(path, 0)
	if err != nil {
		return nil, err
	}
	var rules []*Rule
	for _, l := range lines {
		r, err := parseRule(l)
		if err != nil {
			rd.faults.add(l.file, l.number, err.Error())
			continue
		}
		rules = append(rules, r)
	}
	if err := rd.faults.err(); err != nil {
		return nil, err
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s: contains no entries, so nobody could log in", path)
	}
	return newFile(rules), nil
}

// read returns the lines of a file, except those with faults. The error is about the file itself.
func (rd *reader) read(path string, depth int) ([]line, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("could not open file %q: maximum nesting depth exceeded", path)
	}
	text, err := rd.text(path)
	if err != nil {
		return nil, err
	}
	var lines []line
	for number, text := range logicalLines(text) {
		if rd.faults.full() {
			break
		}
		columns, err := rd.columns(path, text, depth)
		if err == nil && len(columns) == 2 && isInclude(columns[0][0].text) {
			var more []line
			more, err = rd.include(path, columns, depth)
			lines, columns = append(lines, more...), nil
		}
		if err != nil {
			rd.faults.add(path, number, err.Error())
		} else if len(columns) > 0 {
			lines = append(lines, line{path, number, columns})
		}
	}
	return lines, nil
}

func (rd *reader) text(path string) (string, error) {
	f, err := rd.open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // read only
	data, err := io.ReadAll(io.LimitReader(f, rd.left+1))
	if err != nil {
		return "", err
	}
	if rd.left -= int64(len(data)); rd.left < 0 {
		return "", fmt.Errorf("%s: with what it includes, longer than %d MiB", path, maxBytes>>20)
	}
	return string(data), nil
}

// columns takes a line apart.
func (rd *reader) columns(path, text string, depth int) (columns []column, err error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, errors.New("a zero byte")
	}
	for text != "" {
		var c column
		if c, text, err = rd.cutColumn(path, text, depth); err != nil {
			return nil, err
		}
		if len(c) > 0 {
			columns = append(columns, c)
		}
	}
	return columns, nil
}

func (rd *reader) cutColumn(path, text string, depth int) (c column, rest string, err error) {
	list := "" // name of an @file
	for comma := true; comma; {
		var t token
		var ok bool
		if t, comma, text, ok = cutToken(text); !ok {
			break
		}
		if len(t.text) > maxToken {
			return nil, "", errors.New("authentication file token too long")
		}
		if t.quoted || len(t.text) < 2 || t.text[0] != '@' {
			c = append(c, t)
			continue
		}
		list = t.text
		if c, err = rd.appendList(c, path, list[1:], depth); err != nil {
			return nil, "", err
		}
	}
	// PostgreSQL drops such a column, which gives those behind it another meaning.
	if list != "" && len(c) == 0 {
		return nil, "", fmt.Errorf("the list in %s is empty", show(list))
	}
	return c, text, nil
}

// appendList appends all words of an @file to c.
func (rd *reader) appendList(c column, outer, name string, depth int) (column, error) {
	path, err := rd.resolve(outer, name)
	if err != nil {
		return nil, err
	}
	before := len(rd.faults)
	lines, err := rd.read(path, depth+1)
	if err != nil {
		return nil, err
	}
	if len(rd.faults) > before {
		return nil, fmt.Errorf("the list in %s has faults", show("@"+name))
	}
	for _, l := range lines {
		for _, words := range l.columns {
			c = append(c, words...)
		}
	}
	return c, nil
}

func isInclude(word string) bool {
	return word == "include" || word == "include_if_exists" || word == "include_dir"
}

// include carries out an include line.
func (rd *reader) include(outer string, columns []column, depth int) ([]line, error) {
	if len(columns[0]) > 1 || len(columns[1]) > 1 {
		return nil, fmt.Errorf("%s takes one name", columns[0][0].text)
	}
	word, name := columns[0][0].text, columns[1][0].text
	path, err := rd.resolve(outer, name)
	if err != nil {
		return nil, err
	}
	paths := []string{path}
	if word == "include_dir" {
		if paths, err = confFiles(path); err != nil {
			return nil, err
		}
	}
	var all []line
	for _, path := range paths {
		lines, err := rd.read(path, depth+1)
		if err != nil && (word != "include_if_exists" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// resolve finds what outer calls name.
func (rd *reader) resolve(outer, name string) (string, error) {
	switch {
	case rd.alone:
		return "", fmt.Errorf("%s: other files cannot be included here", show(name))
	case strings.Trim(name, " \t\r\n") == "":
		return "", errors.New("the name of a file to include is empty")
	case filepath.IsAbs(name):
		return name, nil
	}
	return filepath.Join(filepath.Dir(outer), name), nil
}

// confFiles lists the files that include_dir includes: *.conf, none hidden, in the order of their
// bytes.
func confFiles(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, ".") || len(name) < len("x.conf") || !strings.HasSuffix(name, ".conf") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			paths = append(paths, path)
		}
	}
	return paths, nil
}
