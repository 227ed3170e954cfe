package sessionstate

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// pieceKind is what a piece of a statement text is.
type pieceKind uint8

const (
	pieceSpace     pieceKind = iota // white space and comments
	pieceWord                       // an identifier or keyword
	pieceName                       // "..."
	pieceString                     // '...', N'...', B'...', X'...'
	pieceEscaped                    // a string with backslash escapes
	pieceDollar                     // $tag$...$tag$
	pieceUnicode                    // U&'...' or U&"...", whose value a UESCAPE behind it may change
	pieceNumber                     //
	pieceParameter                  // $1
	pieceOperator                   // one byte of an operator, or what has no other kind
	pieceOpen                       // (
	pieceClose                      // )
	pieceComma                      // ,
	pieceDot                        // .
	pieceSemicolon                  // ;
	pieceBroken                     // a comment, string or name that the text ends in
)

// maxName is how many bytes of a name PostgreSQL keeps (NAMEDATALEN - 1).
const maxName = 63

// piece is a part of a statement text.
type piece struct {
	text []byte
	kind pieceKind
}

// lexer splits a statement text into pieces, all of it, as PostgreSQL's scan.l does; operators stay in bytes. The
// Scanner does so too but in one pass over chunks and without ever holding a token.
type lexer struct {
	text     []byte
	at       int
	standard bool
	last     pieceKind // of the last piece other than white space
}

// next returns the next piece; ok is false at the end. It always moves on.
func (l *lexer) next() (p piece, ok bool) {
	if l.at >= len(l.text) {
		return piece{}, false
	}
	rest := l.text[l.at:]
	size, kind := l.measure(rest)
	if size > len(rest) {
		size, kind = len(rest), pieceBroken
	}
	if kind != pieceSpace {
		l.last = kind
	}
	l.at += size
	return piece{rest[:size], kind}, true
}

// measure returns the size of the piece at the beginning of b, one more than b has if it does not end there.
func (l *lexer) measure(b []byte) (int, pieceKind) {
	switch byteClasses[b[0]] {
	case classSpace:
		n := 1
		for n < len(b) && byteClasses[b[n]] == classSpace {
			n++
		}
		return n, pieceSpace
	case classWord:
		return l.word(b)
	case classDigit:
		return numberSize(b), pieceNumber
	case classQuote:
		return l.quote(b)
	case classDoubleQuote:
		return stringSize(b, 0, false), pieceName
	case classDollar:
		return dollarSize(b)
	case classDash:
		if bytes.HasPrefix(b, []byte("--")) {
			if i := bytes.IndexAny(b, "\n\r"); i >= 0 {
				return i, pieceSpace
			}
			return len(b), pieceSpace
		}
	case classSlash:
		if bytes.HasPrefix(b, []byte("/*")) {
			return commentSize(b), pieceSpace
		}
	case classDot:
		if len(b) > 1 && byteClasses[b[1]] == classDigit {
			return numberSize(b), pieceNumber
		}
		return 1, pieceDot
	case classOpen:
		return 1, pieceOpen
	case classClose:
		return 1, pieceClose
	case classComma:
		return 1, pieceComma
	case classSemicolon:
		return 1, pieceSemicolon
	default:
	}
	return 1, pieceOperator
}

// quote measures '...', which behind a string is the continuation of that.
func (l *lexer) quote(b []byte) (int, pieceKind) {
	escapes := !l.standard
	switch l.last {
	case pieceEscaped:
		escapes = true
	case pieceString, pieceDollar, pieceUnicode:
		escapes = false
	default:
	}
	if escapes {
		return stringSize(b, 0, true), pieceEscaped
	}
	return stringSize(b, 0, false), pieceString
}

// word measures a word, or the string that a word of one letter is the prefix of.
func (l *lexer) word(b []byte) (int, pieceKind) {
	n := 1
	for n < len(b) && inWord[b[n]] {
		n++
	}
	if n > 1 || len(b) < 2 {
		return n, pieceWord
	}
	prefix := b[0] | 0x20
	switch {
	case b[1] == '\'' && (prefix == 'e' || prefix == 'n' && !l.standard):
		return stringSize(b, 1, true), pieceEscaped
	case b[1] == '\'' && (prefix == 'n' || prefix == 'b' || prefix == 'x'):
		return stringSize(b, 1, false), pieceString
	case prefix == 'u' && len(b) > 2 && b[1] == '&' && (b[2] == '\'' || b[2] == '"'):
		return stringSize(b, 2, false), pieceUnicode
	}
	return n, pieceWord
}

// stringSize measures what the quote at b[from] begins.
func stringSize(b []byte, from int, escapes bool) int {
	quote := b[from]
	for i := from + 1; i < len(b); i++ {
		switch {
		case b[i] == '\\' && escapes:
			i++
		case b[i] == quote && i+1 < len(b) && b[i+1] == quote:
			i++
		case b[i] == quote:
			return i + 1
		}
	}
	return len(b) + 1
}

// commentSize measures a comment that may have others in it.
func commentSize(b []byte) int {
	depth := 1
	for i := 2; i+1 < len(b); i++ {
		switch {
		case b[i] == '/' && b[i+1] == '*':
			depth++
			i++
		case b[i] == '*' && b[i+1] == '/':
			if depth--; depth == 0 {
				return i + 2
			}
			i++
		}
	}
	return len(b) + 1
}

// dollarSize measures a parameter or a string in dollar quotes.
func dollarSize(b []byte) (int, pieceKind) {
	n := 1
	for n < len(b) && byteClasses[b[n]] == classDigit {
		n++
	}
	if n > 1 {
		return n, pieceParameter
	}
	for n < len(b) && (byteClasses[b[n]] == classWord || byteClasses[b[n]] == classDigit) {
		n++
	}
	if n == len(b) || b[n] != '$' {
		return 1, pieceOperator
	}
	tag := b[:n+1]
	end := bytes.Index(b[len(tag):], tag)
	if end < 0 {
		return len(b) + 1, pieceDollar
	}
	return end + 2*len(tag), pieceDollar
}

// numberSize measures a number, also the forms with _ and 0x that servers before 16 end sooner.
func numberSize(b []byte) int {
	n := 0
	for n < len(b) && (byteClasses[b[n]] == classDigit || b[n] == '.' || b[n] == '_') {
		n++
	}
	if n == len(b) {
		return n
	}
	switch letter := b[n] | 0x20; {
	case n == 1 && b[0] == '0' && (letter == 'x' || letter == 'o' || letter == 'b'):
		n++
		for n < len(b) && inWord[b[n]] && b[n] != '$' {
			n++
		}
	case letter == 'e':
		e := n + 1
		if e < len(b) && (b[e] == '+' || b[e] == '-') {
			e++
		}
		for e < len(b) && byteClasses[b[e]] == classDigit {
			e, n = e+1, e+1
		}
	}
	return n
}

// isName tells whether p is an identifier whose value is known.
func (p piece) isName() bool { return p.kind == pieceWord || p.kind == pieceName }

// isString tells whether p is a string constant, or may be one that the text ends in.
func (p piece) isString() bool {
	return p.kind >= pieceString && p.kind <= pieceUnicode || p.kind == pieceBroken
}

// is tells whether p is a certain unquoted word, given in lower case.
func (p piece) is(word string) bool {
	return p.kind == pieceWord && len(p.text) == len(word) && lowerASCII(string(p.text)) == word
}

// name returns the identifier that p is, folded and truncated as PostgreSQL does.
func (p piece) name() string {
	if p.kind == pieceName {
		return truncate(strings.ReplaceAll(string(p.text[1:len(p.text)-1]), `""`, `"`), maxName)
	}
	return truncate(lowerASCII(string(p.text)), maxName)
}

// constant returns the value of a string constant; ok is false if p is none or its value is not known.
func (p piece) constant() (value string, ok bool) {
	switch p.kind {
	case pieceString, pieceEscaped:
		from := bytes.IndexByte(p.text, '\'') + 1
		value = string(p.text[from : len(p.text)-1])
		if p.kind == pieceEscaped {
			return unescape(value), true
		}
		return strings.ReplaceAll(value, "''", "'"), true
	case pieceDollar:
		tag := bytes.IndexByte(p.text[1:], '$') + 2
		return string(p.text[tag : len(p.text)-tag]), true
	default:
		return "", false
	}
}

// lowerASCII lowers the letters that PostgreSQL folds in every encoding.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// truncate cuts s to size bytes, or less so as not to cut a UTF-8 character.
func truncate(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}

// unescape returns the value of what is between the quotes of a string with backslash escapes.
func unescape(s string) string {
	if !strings.ContainsAny(s, `\'`) {
		return s
	}
	var b []byte
	for i := 0; i < len(s); {
		c := s[i]
		i++
		if c != '\\' && c != '\'' || i == len(s) {
			b = append(b, c)
			continue
		}
		if c == '\'' { // doubled
			b = append(b, c)
			i++
			continue
		}
		var used int
		b, used = appendEscape(b, s[i:])
		i += used
	}
	return string(b)
}

// appendEscape appends what the text behind a backslash stands for, and tells how much of it that is.
func appendEscape(b []byte, s string) ([]byte, int) {
	const plain, values = "bfnrtv", "\b\f\n\r\t\v"
	if i := strings.IndexByte(plain, s[0]); i >= 0 {
		return append(b, values[i]), 1
	}
	switch s[0] {
	case 'x':
		if v, n := digits(s[1:], 16, 2); n > 0 {
			return append(b, byte(v)), 1 + n
		}
	case 'u', 'U':
		size := 4
		if s[0] == 'U' {
			size = 8
		}
		if v, n := digits(s[1:], 16, size); n == size {
			return utf8.AppendRune(b, rune(v)), 1 + n
		}
	}
	if v, n := digits(s, 8, 3); n > 0 {
		return append(b, byte(v)), n
	}
	return append(b, s[0]), 1
}

// digits reads at most size digits.
func digits(s string, base uint32, size int) (value uint32, n int) {
	for n < min(size, len(s)) {
		d := strings.IndexByte("0123456789abcdef", s[n]|0x20)
		if d < 0 || uint32(d) >= base {
			break
		}
		value = value*base + uint32(d)
		n++
	}
	return value, n
}
