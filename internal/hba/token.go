package hba

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// maxToken is what PostgreSQL 15 takes of a word, in bytes; later versions have no such limit.
const maxToken = 10239

// token is a word of a file, without its quotes.
type token struct {
	text    string
	quoted  bool     // from its first letter on, which takes a keyword's meaning away
	pattern *pattern // if it isPattern and was compiled
}

func (t token) is(keyword string) bool { return !t.quoted && t.text == keyword }
func (t token) isGroup() bool          { return !t.quoted && strings.HasPrefix(t.text, "+") }
func (t token) isPattern() bool        { return strings.HasPrefix(t.text, "/") } // quoted or not

// String writes the token so that it reads as the same again.
func (t token) String() string {
	plain := strings.IndexAny(t.text, " \t\r,#\"\\")
	switch {
	case t.quoted || t.text == "":
		plain = 0
	case plain < 0:
		return t.text
	}
	return t.text[:plain] + `"` + strings.ReplaceAll(t.text[plain:], `"`, `""`) + `"`
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// cutToken takes the next word off the front of a line. comma says that another word of the same
// column follows, ok that there was one. It reads quotes to the letter as PostgreSQL's next_token
// does: two of them in a quoted part are one, and a missing last one is not missed.
func cutToken(line string) (t token, comma bool, rest string, ok bool) {
	i := 0
	for i < len(line) && (isBlank(line[i]) || line[i] == ',') {
		i++
	}
	var text []byte
	var inQuote, wasQuote, sawQuote bool
	for ; i < len(line) && (inQuote || !isBlank(line[i])); i++ {
		c := line[i]
		if c == '#' && !inQuote {
			i = len(line)
			break
		}
		if c == ',' && !inQuote {
			comma = true
			break
		}
		if c != '"' || wasQuote {
			text = append(text, c)
		}
		wasQuote = inQuote && c == '"' && !wasQuote
		if c == '"' {
			inQuote, sawQuote = !inQuote, true
			t.quoted = t.quoted || len(text) == 0
		}
	}
	t.text = string(text)
	return t, comma, line[i:], sawQuote || len(text) > 0
}

// logicalLines yields lines with those that a backslash continues them in, each with the number of
// its first.
func logicalLines(data string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		number, first := 0, 1
		var whole []byte
		joined := 0 // whatever stands before was already continued
		for line := range strings.Lines(data) {
			number++
			whole = append(whole, line...)
			for n := len(whole); n > 0 && (whole[n-1] == '\n' || whole[n-1] == '\r'); n-- {
				whole = whole[:n-1]
			}
			if n := len(whole); n > joined && whole[n-1] == '\\' {
				whole, joined = whole[:n-1], n-1
				continue
			}
			if !yield(first, string(whole)) {
				return
			}
			whole, joined, first = whole[:0], 0, number+1
		}
		if len(whole) > 0 {
			yield(first, string(whole))
		}
	}
}

// show quotes a word of a file in a message. What follows a "=" may be a secret in the wrong place.
func show(text string) string {
	const most = 80
	if i := strings.IndexByte(text, '='); i >= 0 {
		text = text[:i+1] + "…"
	}
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Sprintf("%q", text)
}

// fault is one thing wrong.
type fault struct {
	file   string
	line   int
	reason string
}

func (f fault) Error() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.reason) }

// maxFaults is how many of them are told at once.
const maxFaults = 100

type faults []error

func (fs *faults) full() bool { return len(*fs) >= maxFaults }

func (fs *faults) add(file string, line int, reason string) {
	if !fs.full() {
		*fs = append(*fs, fault{file, line, reason})
	}
}

func (fs faults) err() error { return errors.Join(fs...) }
