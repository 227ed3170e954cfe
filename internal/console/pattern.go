package console

import (
	"strings"
	"unicode"
)

// pattern is one of LIKE. Matching takes at most as many steps as text and pattern are long, multiplied.
type pattern struct {
	parts []patternPart
	fold  bool
}

type patternPart struct {
	char rune // if neither of the others
	any  bool // %
	one  bool // _
}

// maxPattern bounds what a row can cost.
const maxPattern = 1000 // bytes

// compilePattern reads a pattern; ok is false if it ends in its escape character.
func compilePattern(text string, fold bool) (p pattern, ok bool) {
	p.fold = fold
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			p.parts = append(p.parts, patternPart{char: p.folded(r)})
			escaped = false
		case r == '\\':
			escaped = true
		default:
			p.parts = append(p.parts, patternPart{char: p.folded(r), any: r == '%', one: r == '_'})
		}
	}
	return p, !escaped
}

func (p pattern) folded(r rune) rune {
	if p.fold {
		return unicode.ToLower(r)
	}
	return r
}

func (p pattern) match(text string) bool {
	if p.fold {
		text = strings.Map(unicode.ToLower, text)
	}
	s := []rune(text)
	i, j := 0, 0
	star, from := -1, 0 // the last %, and where what follows it is being tried
	for i < len(s) {
		switch {
		case j < len(p.parts) && p.parts[j].any:
			star, from = j, i
			j++
		case j < len(p.parts) && (p.parts[j].one || p.parts[j].char == s[i]):
			i++
			j++
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	for j < len(p.parts) && p.parts[j].any {
		j++
	}
	return j == len(p.parts)
}
