package hba

import (
	"errors"
	"fmt"
	"strings"
)

// IdentMap says which users a system's or a certificate's user may be, by the maps of a file in the
// format of pg_ident.conf. It never changes. A nil one has no maps.
type IdentMap struct{ byName map[string][]identLine }

// identLine lets system be user.
type identLine struct {
	system, user token
}

// LoadIdent reads a file in the format of pg_ident.conf (PostgreSQL 16 to 18, which includes 15's),
// and what it includes. The error joins every fault (at most 100) as "file:line: reason".
func LoadIdent(path string) (*IdentMap, error) {
	rd := &reader{open: openFile, left: maxBytes}
	return rd.ident(path)
}

// ParseIdent reads the text of such a file that includes no other; name stands for it in messages.
func ParseIdent(name string, data []byte) (*IdentMap, error) {
	rd := &reader{open: single(name, data), left: maxBytes, alone: true}
	return rd.ident(name)
}

func (rd *reader) ident(path string) (*IdentMap, error) {
	lines, err := rd.read(path, 0)
	if err != nil {
		return nil, err
	}
	m := &IdentMap{byName: map[string][]identLine{}}
	for _, l := range lines {
		name, entry, err := parseIdentLine(l)
		if err != nil {
			rd.faults.add(l.file, l.number, err.Error())
			continue
		}
		m.byName[name] = append(m.byName[name], entry)
	}
	if err := rd.faults.err(); err != nil {
		return nil, err
	}
	return m, nil
}

// parseIdentLine reads map, system user, user; PostgreSQL ignores what follows, and so do we.
func parseIdentLine(l line) (name string, entry identLine, err error) {
	var words [3]token
	for i := range words {
		switch {
		case i >= len(l.columns):
			return "", identLine{}, errors.New("missing entry at end of line")
		case len(l.columns[i]) > 1:
			return "", identLine{}, errors.New("multiple values in ident field")
		}
		words[i] = l.columns[i][0]
	}
	for i := range words[1:] {
		if err := words[1+i].compile(); err != nil {
			return "", identLine{}, err
		}
	}
	entry = identLine{words[1], words[2]}
	if entry.usesCapture() && !entry.system.pattern.plainCapture() {
		return "", identLine{}, fmt.Errorf(`regular expression %s: where \1 is used, up to the end of the first parentheses there may be no |, and nothing but single characters may be repeated`, show(entry.system.text[1:]))
	}
	return words[0].text, entry, nil
}

// usesCapture tells whether what the system user's first parentheses match becomes part of the user.
func (l *identLine) usesCapture() bool {
	return l.system.isPattern() && !l.user.isGroup() && !l.user.isPattern() && strings.Contains(l.user.text, reference)
}

// Has tells whether there is a map of that name; one that is missing lets nobody in.
func (m *IdentMap) Has(mapName string) bool { return m != nil && len(m.byName[mapName]) > 0 }

// Allows tells whether systemUser may log in as user. Without a map ("") the names must be equal.
// NeedGroups: the answer hangs on which roles user is a member of, see Facts.Groups; call again.
func (m *IdentMap) Allows(mapName, systemUser, user string, groups map[string]bool) (bool, Need) {
	if mapName == "" {
		return systemUser == user, NeedNothing
	}
	if m == nil {
		return false, NeedNothing
	}
	for _, l := range m.byName[mapName] {
		is, broken := l.matches(systemUser, user, groups)
		switch {
		case broken:
			return false, NeedNothing
		case is == yes:
			return true, NeedNothing
		case is == unknown:
			return false, NeedGroups
		}
	}
	return false, NeedNothing
}

// reference is where what the system user's first parentheses matched goes; only the first counts.
const reference = `\1`

// matches says broken if a \1 stands for nothing: PostgreSQL then looks no further.
func (l *identLine) matches(systemUser, user string, groups map[string]bool) (is verdict, broken bool) {
	want := l.user
	if l.system.isPattern() {
		group, captured, matched := l.system.pattern.capture(systemUser)
		if !matched {
			return no, false
		}
		if l.usesCapture() {
			if !captured {
				return no, true
			}
			// No keyword, so that nobody becomes everybody by being called "all".
			return verdictOf(strings.Replace(want.text, reference, group, 1) == user), false
		}
	} else if l.system.text != systemUser {
		return no, false
	}
	column := newNames([]token{want}, false)
	return column.matchUser(user, groups), false
}
