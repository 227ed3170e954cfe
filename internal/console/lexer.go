package console

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // not quoted: a keyword or a name
	tokenQuoted           // "a name"
	tokenString           // 'a string'
	tokenNumber
	tokenParam // $1
	tokenOp
	tokenBad // err says why
)

// token is a piece of the text.
type token struct {
	kind       tokenKind
	start, end int    // byte offsets
	text       string // of a name or string without its quotes, else as written
	err        *Error
}

// is says whether the token is the keyword, in any case.
func (t token) is(keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

func (t token) isOp(op string) bool { return t.kind == tokenOp && t.text == op }

// lexer cuts a text into tokens, lazily: a duration or an address is no token of SQL, and is read by rawWord instead.
type lexer struct {
	text string
	pos  int
}

// next reads the token at pos.
func (l *lexer) next() token {
	if err := l.skipBlank(); err != nil {
		return l.bad(l.pos, err)
	}
	if l.pos == len(l.text) {
		return token{kind: tokenEnd, start: l.pos, end: l.pos}
	}
	start, c := l.pos, l.text[l.pos]
	switch {
	case c == '\'':
		return l.str(start, false)
	case (c == 'e' || c == 'E') && strings.HasPrefix(l.text[start+1:], "'"):
		l.pos++
		return l.str(start, true)
	case c == '"':
		return l.quoted(start)
	case isDigit(c) || c == '.' && start+1 < len(l.text) && isDigit(l.text[start+1]):
		return l.number(start)
	case c == '$':
		return l.param(start)
	}
	if r, size := utf8.DecodeRuneInString(l.text[start:]); isWordStart(r) {
		l.pos += size
		l.skipWord()
		return token{kind: tokenWord, start: start, end: l.pos, text: l.text[start:l.pos]}
	}
	return l.operator(start)
}

// skipBlank skips white space and comments, which nest as in PostgreSQL.
func (l *lexer) skipBlank() *Error {
	for l.pos < len(l.text) {
		rest := l.text[l.pos:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
				l.pos += i
			} else {
				l.pos = len(l.text)
			}
		case strings.HasPrefix(rest, "/*"):
			if err := l.skipComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) skipComment() *Error {
	start, depth := l.pos, 0
	for i := start; i+1 < len(l.text); i++ {
		switch l.text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			l.pos = i + 1
			return nil
		}
	}
	return faultAt(l.text, start, codeSyntax, "unterminated /* comment")
}

// str reads a string from the quote at pos on; escapes says that backslashes mean something (E'…').
func (l *lexer) str(start int, escapes bool) token {
	var b strings.Builder
	for i := l.pos + 1; i < len(l.text); i++ {
		c := l.text[i]
		switch {
		case c == '\'' && strings.HasPrefix(l.text[i+1:], "'"):
			i++
			b.WriteByte(c)
		case c == '\'':
			l.pos = i + 1
			return token{kind: tokenString, start: start, end: l.pos, text: b.String()}
		case c == '\\' && escapes && i+1 < len(l.text):
			i++
			b.WriteByte(unescaped(l.text[i]))
		default:
			b.WriteByte(c)
		}
	}
	return l.bad(start, faultAt(l.text, start, codeSyntax, "unterminated quoted string at or near \"%s\"", shortened(l.text[start:])))
}

func unescaped(c byte) byte {
	const letters, meant = "bfnrt", "\b\f\n\r\t"
	if i := strings.IndexByte(letters, c); i >= 0 {
		return meant[i]
	}
	return c
}

func (l *lexer) quoted(start int) token {
	var b strings.Builder
	for i := start + 1; i < len(l.text); i++ {
		if l.text[i] == '"' {
			if !strings.HasPrefix(l.text[i+1:], `"`) {
				l.pos = i + 1
				if b.Len() == 0 {
					return l.bad(start, faultAt(l.text, start, codeSyntax, `zero-length delimited identifier at or near """"`))
				}
				return token{kind: tokenQuoted, start: start, end: l.pos, text: b.String()}
			}
			i++
		}
		b.WriteByte(l.text[i])
	}
	return l.bad(start, faultAt(l.text, start, codeSyntax, "unterminated quoted identifier at or near \"%s\"", shortened(l.text[start:])))
}

func (l *lexer) number(start int) token {
	digits := func() {
		for l.pos < len(l.text) && isDigit(l.text[l.pos]) {
			l.pos++
		}
	}
	digits()
	if l.pos < len(l.text) && l.text[l.pos] == '.' {
		l.pos++
		digits()
	}
	if rest := l.text[l.pos:]; rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		exponent := strings.TrimLeft(rest[1:], "+-")
		if exponent != "" && isDigit(exponent[0]) && len(rest)-len(exponent) <= 2 {
			l.pos = len(l.text) - len(exponent)
			digits()
		}
	}
	end := l.pos
	if l.skipWord(); l.pos > end {
		return l.bad(start, faultAt(l.text, start, codeSyntax, "trailing junk after numeric literal at or near \"%s\"", shortened(l.text[start:l.pos])))
	}
	return token{kind: tokenNumber, start: start, end: end, text: l.text[start:end]}
}

func (l *lexer) param(start int) token {
	l.pos++
	for l.pos < len(l.text) && isDigit(l.text[l.pos]) {
		l.pos++
	}
	text := l.text[start+1 : l.pos]
	if _, err := strconv.ParseUint(text, 10, 31); err != nil {
		return l.bad(start, faultAt(l.text, start, codeSyntax, "syntax error at or near \"%s\"", shortened(l.text[start:l.pos])))
	}
	return token{kind: tokenParam, start: start, end: l.pos, text: text}
}

func (l *lexer) operator(start int) token {
	for _, op := range [...]string{"<=", ">=", "<>", "!=", "::"} {
		if strings.HasPrefix(l.text[start:], op) {
			l.pos += len(op)
			return token{kind: tokenOp, start: start, end: l.pos, text: op}
		}
	}
	_, size := utf8.DecodeRuneInString(l.text[start:])
	l.pos += size
	text := l.text[start:l.pos]
	if len(text) == 1 && strings.Contains("()[],;=<>+-*/.", text) {
		return token{kind: tokenOp, start: start, end: l.pos, text: text}
	}
	return l.bad(start, faultAt(l.text, start, codeSyntax, "syntax error at or near \"%s\"", shortened(text)))
}

// bad is a token that cannot be read. What follows it is not looked at.
func (l *lexer) bad(start int, err *Error) token {
	l.pos = len(l.text)
	return token{kind: tokenBad, start: start, end: l.pos, err: err}
}

// rawWord reads characters that accept takes, from start on, up to a comment.
func (l *lexer) rawWord(start int, accept func(r rune) bool) string {
	rest := l.text[start:]
	end := len(rest)
	for i, r := range rest {
		if !accept(r) || strings.HasPrefix(rest[i:], "--") || strings.HasPrefix(rest[i:], "/*") {
			end = i
			break
		}
	}
	l.pos = start + end
	return rest[:end]
}

// skipWord skips what may follow the first letter of a name.
func (l *lexer) skipWord() {
	for l.pos < len(l.text) {
		r, size := utf8.DecodeRuneInString(l.text[l.pos:])
		if !isWordStart(r) && (r < '0' || r > '9') && r != '$' {
			return
		}
		l.pos += size
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(r rune) bool {
	return r == '_' || r != utf8.RuneError && unicode.IsLetter(r)
}

// isNamePart are the characters of names that need no quotes where a command takes a name: those of hosts and TOML's
// bare keys, besides SQL's.
func isNamePart(r rune) bool {
	return isWordStart(r) || unicode.IsDigit(r) || strings.ContainsRune("$.-", r)
}

// isAddressPart are the characters of addresses and networks.
func isAddressPart(r rune) bool { return isNamePart(r) || strings.ContainsRune(":/%", r) }

// isValuePart are the characters of a setting's value that needs no quotes.
func isValuePart(r rune) bool {
	return unicode.IsPrint(r) && !strings.ContainsRune(` ,;'"=()`, r)
}
