package sessionstate

import "bytes"

// hold appends to word what fits: PostgreSQL truncates names alike.
func (s *Scanner) hold(b []byte) {
	s.held += uint8(copy(s.word[s.held:], b))
}

// restOfWord goes on with a word that the end of a chunk has cut, or whose first byte may be the prefix of a string.
func (s *Scanner) restOfWord(p []byte, i int) int {
	if s.mode == lexUnicode {
		return s.unicode(p[i], i)
	}
	j := i
	for j < len(p) && inWord[p[j]] {
		j++
	}
	s.hold(p[i:j])
	if j == len(p) {
		return j
	}
	if s.held == 1 {
		switch prefix := s.word[0] | 0x20; {
		case p[j] == '&' && prefix == 'u':
			s.mode = lexUnicode
			return j + 1
		case p[j] == '\'' && prefix == 'e':
			s.beginString(true)
			return j + 1
		case p[j] == '\'' && prefix == 'n':
			s.beginString(!s.standard)
			return j + 1
		case p[j] == '\'' && (prefix == 'b' || prefix == 'x'):
			s.beginString(false)
			return j + 1
		}
	}
	s.name(s.word[:s.held], false)
	s.mode = lexCode
	return j
}

// unicode decides what U& begins. What U&"..." names depends on a UESCAPE that may follow, so it is not looked into.
func (s *Scanner) unicode(next byte, i int) int {
	switch next {
	case '\'':
		s.beginString(false)
		if s.watched {
			s.effects |= EffectUnknown
		}
		s.literal.bad = true
		return i + 1
	case '"':
		s.effects |= EffectUnknown
		s.mode, s.held = lexQuoted, 0
		return i + 1
	}
	s.name(s.word[:s.held], false)
	s.token(tokOperator)
	s.mode = lexCode
	return i
}

// number skips digits. What may follow them in a number (exponent, _, x) becomes a word of no consequence, which is
// right also for servers before 15, to which 1from is a number and a keyword.
func (s *Scanner) number(p []byte, i int) int {
	for ; i < len(p); i++ {
		if c := p[i]; byteClasses[c] != classDigit && (c != '.' || s.mode == lexParameter) {
			s.mode = lexCode
			break
		}
	}
	return i
}

// secondByte decides what a byte begins that alone is an operator.
func (s *Scanner) secondByte(p []byte, i int) int {
	first := s.mode
	s.mode = lexCode
	switch {
	case first == lexColon && p[i] == ':':
		s.token(tokCast)
		return i + 1
	case first == lexDash && p[i] == '-':
		s.mode = lexLine
		return i + 1
	case first == lexSlash && p[i] == '*':
		s.mode, s.comments, s.pending = lexBlock, 1, 0
		return i + 1
	}
	s.token(tokOperator)
	return i
}

func (s *Scanner) comment(p []byte, i int) int {
	for ; i < len(p); i++ {
		c := p[i]
		if s.mode == lexLine {
			if c == '\n' || c == '\r' {
				s.mode = lexCode
				return i
			}
			continue
		}
		switch {
		case s.pending == '*' && c == '/':
			s.pending = 0
			if s.comments--; s.comments == 0 {
				s.mode = lexCode
				return i + 1
			}
		case s.pending == '/' && c == '*':
			s.pending = 0
			s.comments++
		default:
			s.pending = c
		}
	}
	return i
}

// beginString begins '...' behind its quote. A string behind a string is one, continued on another line.
func (s *Scanner) beginString(escapes bool) {
	if s.last == tokString {
		escapes = s.escapes
	} else {
		s.literal = stringLiteral{}
	}
	s.mode, s.escapes = lexString, escapes
	s.watched = s.watching()
}

func (s *Scanner) endString() {
	s.mode = lexCode
	if s.last == kwLanguage && s.kind == kindFunction && s.depth == 0 {
		s.effects |= EffectUnknown
	}
	s.token(tokString)
}

func (s *Scanner) str(p []byte, i int) int {
	switch s.mode {
	case lexStringSlash:
		s.mode = lexString
		return i + 1
	case lexStringQuote:
		if p[i] != '\'' {
			s.endString()
			return i
		}
		s.mode = lexString
		s.literal.add('\'')
		return i + 1
	default:
	}
	if !s.escapes && !s.watched {
		k := bytes.IndexByte(p[i:], '\'')
		if k < 0 {
			return len(p)
		}
		s.mode = lexStringQuote
		return i + k + 1
	}
	for ; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\'':
			s.mode = lexStringQuote
			return i + 1
		case c == '\\' && s.escapes:
			if s.watched {
				s.effects |= EffectUnknown
			}
			s.literal.bad = true
			s.mode = lexStringSlash
			return i + 1
		case s.watched && s.literal.add(c):
			s.effects |= EffectTemp
		}
	}
	return i
}

func (s *Scanner) quoted(p []byte, i int) int {
	if s.mode == lexQuotedQuote {
		if p[i] != '"' {
			s.mode = lexCode
			s.name(s.word[:s.held], true)
			return i
		}
		s.hold(p[i : i+1])
		s.mode = lexQuoted
		return i + 1
	}
	k := bytes.IndexByte(p[i:], '"')
	if k < 0 {
		s.hold(p[i:])
		return len(p)
	}
	s.hold(p[i : i+k])
	s.mode = lexQuotedQuote
	return i + k + 1
}

// dollarTag reads what follows a $ that is not inside a word: a parameter's digits, or a tag and another $.
func (s *Scanner) dollarTag(p []byte, i int) int {
	for ; i < len(p); i++ {
		class := byteClasses[p[i]]
		switch {
		case class == classDigit && s.held == 0:
			s.token(tokOperand)
			s.mode = lexParameter
			return i + 1
		case class == classDollar:
			if s.watching() {
				s.effects |= EffectUnknown
			}
			s.mode, s.matched = lexDollarBody, 0
			return i + 1
		case class != classWord && class != classDigit:
			s.effects |= EffectUnknown
			s.mode = lexCode
			s.token(tokOperator)
			return i
		case int(s.held) == len(s.word):
			s.effects |= EffectUnknown
			s.mode = lexOpaque
			return i
		}
		s.hold(p[i : i+1])
	}
	return i
}

// dollarBody looks for the closing tag; matched counts how much of it, its first $ included, has just been read.
func (s *Scanner) dollarBody(p []byte, i int) int {
	for ; i < len(p); i++ {
		switch c := p[i]; {
		case s.matched == 0:
			k := bytes.IndexByte(p[i:], '$')
			if k < 0 {
				return len(p)
			}
			i += k
			s.matched = 1
		case c == '$' && s.matched == s.held+1:
			s.literal = stringLiteral{bad: true}
			s.escapes = false
			s.endString()
			return i + 1
		case c == '$':
			s.matched = 1
		case s.matched <= s.held && c == s.word[s.matched-1]:
			s.matched++
		default:
			s.matched = 0
		}
	}
	return i
}
