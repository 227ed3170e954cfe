package hba

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// pattern is a regular expression. PostgreSQL's (ARE) and Go's (RE2) agree on what checkARE lets
// through, given that both look at bytes and at letters of ASCII only, which is what PostgreSQL does
// while it does not yet know the database and its encoding.
type pattern struct {
	text string
	re   *regexp.Regexp
}

func compilePattern(text string) (*pattern, error) {
	if err := checkARE(text); err != nil {
		return nil, fmt.Errorf("regular expression %s: %w", show(text), err)
	}
	re, err := regexp.Compile("(?s)" + widen(text))
	if err != nil {
		reason := errors.New("too complicated")
		var fault *syntax.Error
		if errors.As(err, &fault) {
			reason = errors.New(string(fault.Code))
		}
		return nil, fmt.Errorf("invalid regular expression %s: %w", show(text), reason)
	}
	re.Longest()
	return &pattern{text, re}, nil
}

// compile compiles a token that is a pattern.
func (t *token) compile() (err error) {
	if t.isPattern() {
		t.pattern, err = compilePattern(t.text[1:])
	}
	return err
}

func (p *pattern) match(s string) bool { return p.re.MatchString(widen(s)) }

// capture matches and returns what the first parentheses matched.
func (p *pattern) capture(s string) (group string, captured, matched bool) {
	s = widen(s)
	at := p.re.FindStringSubmatchIndex(s)
	if at == nil {
		return "", false, false
	}
	if len(at) < 4 || at[2] < 0 {
		return "", false, true
	}
	return narrow(s[at[2]:at[3]]), true, true
}

// plainCapture tells whether PostgreSQL and RE2 are bound to capture the same. Both take what is
// longest in all, but of several ways to that PostgreSQL takes the one whose first part is longest,
// RE2 the one that is written first. Up to the end of the first parentheses there must be no such
// choice: no alternatives, and nothing repeated but single characters.
func (p *pattern) plainCapture() bool {
	tree, err := syntax.Parse(p.re.String(), syntax.Perl)
	if err != nil {
		return false
	}
	plain, _ := plainUntilCapture(tree)
	return plain
}

func plainUntilCapture(x *syntax.Regexp) (plain, done bool) {
	switch x.Op { //nolint:exhaustive // the others have no choice
	case syntax.OpAlternate:
		return false, true
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		switch x.Sub[0].Op { //nolint:exhaustive // nothing else is a single character
		case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			return true, false
		case syntax.OpLiteral:
			return len(x.Sub[0].Rune) == 1, false
		}
		return false, true
	}
	for _, sub := range x.Sub {
		if plain, done := plainUntilCapture(sub); done || !plain {
			return plain, done
		}
	}
	return true, x.Op == syntax.OpCapture
}

// wide is where bytes that are not ASCII go: letters that have no case and are in no class.
const wide = 0xE000

// widen makes a rune of each byte.
func widen(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 0x80 {
			b.WriteByte(s[i])
		} else {
			b.WriteRune(wide + rune(s[i]))
		}
	}
	return b.String()
}

// narrow undoes widen.
func narrow(s string) string {
	if isASCII(s) {
		return s
	}
	var b []byte
	for _, r := range s {
		if r >= wide {
			r -= wide
		}
		b = append(b, byte(r))
	}
	return string(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// checkARE refuses what RE2 cannot do and what means something else to it.
func checkARE(text string) error {
	if rest, ok := strings.CutPrefix(text, "(?"); ok {
		if flags, rest, ok := strings.Cut(rest, ")"); ok && flags != "" && strings.Trim(flags, "is") == "" {
			text = rest
		}
	}
	for i := 0; i < len(text); {
		n, err := checkPiece(text[i:])
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// checkPiece checks what s begins with and returns its length.
func checkPiece(s string) (int, error) {
	switch {
	case s[0] == '\\':
		return checkEscape(s)
	case s[0] == '[':
		return checkBracket(s)
	case strings.HasPrefix(s, "(?") && !strings.HasPrefix(s, "(?:"):
		return 0, errors.New("of what begins with (?, only (?:, and (?i) at the very beginning, is supported; there is no looking ahead or behind")
	case strings.HasPrefix(s, "(*"), strings.HasPrefix(s, "***"):
		return 0, errors.New("directors are not supported")
	case (s[0] == '^' || s[0] == '$') && isQuantifier(s[1:]):
		return 0, errors.New("quantifier operand invalid")
	case s[0] == '{' && isQuantifier(s):
		return checkBound(s)
	case strings.IndexByte("*+?", s[0]) >= 0 && strings.HasPrefix(s[1:], "?"):
		return 0, errNonGreedy
	}
	return 1, nil
}

// isQuantifier tells whether s begins with one.
func isQuantifier(s string) bool {
	return s != "" && strings.IndexByte("*+?", s[0]) >= 0 || len(s) > 1 && s[0] == '{' && isDigit(s[1])
}

var errNonGreedy = errors.New("quantifiers that prefer few (like *?) are not supported; say what may not be matched, like [^@]*")

// checkEscape lets escapes through that mean the same.
func checkEscape(s string) (int, error) {
	if len(s) < 2 {
		return 0, errors.New(`\ at its end`)
	}
	switch c := s[1]; {
	case strings.IndexByte("dDsSwWafnrtv", c) >= 0:
	case '1' <= c && c <= '9':
		return 0, fmt.Errorf(`\%c: back references are not supported`, c)
	case isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		return 0, fmt.Errorf(`\%c is not supported`, c)
	}
	return 2, nil
}

// checkBound checks {m}, {m,} and {m,n}.
func checkBound(s string) (int, error) {
	inside, rest, ok := strings.Cut(s[1:], "}")
	low, high, _ := strings.Cut(inside, ",")
	for _, number := range []string{low, high} {
		if n, err := strconv.Atoi("0" + number); err != nil || n > 255 {
			ok = false
		}
	}
	if !ok {
		return 0, errors.New("a bound must be {m}, {m,} or {m,n} of numbers up to 255")
	}
	if strings.HasPrefix(rest, "?") {
		return 0, errNonGreedy
	}
	return len(inside) + 2, nil
}

// checkBracket checks a bracket expression.
func checkBracket(s string) (int, error) {
	i := 1
	if strings.HasPrefix(s[i:], "^") {
		i++
	}
	if strings.HasPrefix(s[i:], "]") {
		i++
	}
	for i < len(s) {
		switch {
		case s[i] == ']':
			return i + 1, nil
		case s[i] == '\\':
			n, err := checkEscape(s[i:])
			if err != nil {
				return 0, err
			}
			i += n
		case strings.HasPrefix(s[i:], "[:"):
			class, _, ok := strings.Cut(s[i+2:], ":]")
			if !ok || strings.Trim(class, "abcdefghijklmnopqrstuvwxyz") != "" {
				return 0, errors.New("invalid character class")
			}
			i += len("[::]") + len(class)
		case strings.HasPrefix(s[i:], "[."), strings.HasPrefix(s[i:], "[="):
			return 0, errors.New("collating elements and equivalence classes are not supported")
		default:
			i++
		}
	}
	return 0, errors.New("brackets [] not balanced")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
