package sessionstate

// Scanner finds the effects of a statement text that comes in chunks of any size. It splits the text into tokens as
// PostgreSQL's scan.l does and judges these one at a time (name, token, open, close), in one pass and without allocating.
// It errs on one side only: what it does not recognise is EffectUnknown. The client encoding must keep ASCII bytes
// for ASCII characters; under SJIS, BIG5, GBK, UHC, GB18030 and JOHAB, whose second bytes may be letters, operators
// or backslashes, the caller must add EffectUnknown. A text that PostgreSQL rejects as a whole may get any effects,
// since nothing of it runs. A Scanner is a plain value; Reset it before use.
type Scanner struct {
	effects  Effect
	mode     lexMode
	standard bool // standard_conforming_strings
	escapes  bool // the string under way, or the last one, has backslash escapes
	watched  bool // the string under way is looked into, not only skipped
	pending  byte // in a block comment: the last byte, if it may begin a delimiter
	matched  uint8
	held     uint8 // how much of word is in use
	comments int   // how deep block comments are nested

	word    [63]byte      // a word that may go on in the next chunk, a quoted identifier, or a dollar quote's tag
	literal stringLiteral // the string under way, or the last one
	scanState
}

// lexMode is where in a token the text so far has ended.
type lexMode uint8

const (
	lexCode        lexMode = iota // between tokens
	lexWord                       // in an identifier or keyword, held in word
	lexUnicode                    // behind U&
	lexNumber                     // in a number
	lexParameter                  // in $1
	lexColon                      // behind the first :
	lexDash                       // behind the first -
	lexSlash                      // behind /
	lexLine                       // in a -- comment
	lexBlock                      // in a /* */ comment
	lexString                     // in '...'
	lexStringSlash                // behind a backslash that escapes
	lexStringQuote                // behind a quote that may be doubled
	lexQuoted                     // in "..."
	lexQuotedQuote                // behind a double quote that may be doubled
	lexDollar                     // behind $, maybe in the tag of a dollar quote
	lexDollarBody                 // in a dollar-quoted string
	lexOpaque                     // given up; EffectUnknown is set
)

// byteClass says what a byte begins when it stands between tokens.
type byteClass uint8

const (
	classBad byteClass = iota
	classSpace
	classWord
	classDigit
	classQuote
	classDoubleQuote
	classDollar
	classOpen
	classClose
	classIndexEnd
	classComma
	classSemicolon
	classDot
	classColon
	classDash
	classSlash
	classOperator
)

var byteClasses = func() (t [256]byteClass) {
	for class, all := range map[byteClass]string{
		classSpace: " \t\n\r\f\v", classWord: "_", classQuote: "'", classDoubleQuote: `"`, classDollar: "$",
		classOpen: "(", classClose: ")", classIndexEnd: "]", classComma: ",", classSemicolon: ";", classDot: ".",
		classColon: ":", classDash: "-", classSlash: "/", classOperator: "+*<>=~!@#%^&|`?[",
	} {
		for i := range len(all) {
			t[all[i]] = class
		}
	}
	for c := range 256 {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= 0x80:
			t[c] = classWord
		case c >= '0' && c <= '9':
			t[c] = classDigit
		}
	}
	return t
}()

// inWord tells which bytes an identifier or keyword may go on with.
var inWord = func() (t [256]bool) {
	for c, class := range byteClasses {
		t[c] = class == classWord || class == classDigit || class == classDollar
	}
	return t
}()

// Reset makes s ready for a new text. standardStrings is the session's standard_conforming_strings.
func (s *Scanner) Reset(standardStrings bool) {
	*s = Scanner{standard: standardStrings}
	s.step = stepFirst
}

// Effects returns what the text written so far may do if it ends here.
func (s *Scanner) Effects() Effect {
	end := *s
	end.finish()
	return end.effects
}

// Write goes on with the text.
func (s *Scanner) Write(p []byte) {
	for i := 0; i < len(p); {
		switch s.mode {
		case lexCode:
			i = s.code(p, i)
		case lexWord, lexUnicode:
			i = s.restOfWord(p, i)
		case lexNumber, lexParameter:
			i = s.number(p, i)
		case lexColon, lexDash, lexSlash:
			i = s.secondByte(p, i)
		case lexLine, lexBlock:
			i = s.comment(p, i)
		case lexString, lexStringSlash, lexStringQuote:
			i = s.str(p, i)
		case lexQuoted, lexQuotedQuote:
			i = s.quoted(p, i)
		case lexDollar:
			i = s.dollarTag(p, i)
		case lexDollarBody:
			i = s.dollarBody(p, i)
		case lexOpaque:
			return
		}
	}
}

// finish ends the text.
func (s *Scanner) finish() {
	switch s.mode {
	case lexWord:
		s.name(s.word[:s.held], false)
	case lexUnicode:
		s.name(s.word[:s.held], false)
		s.token(tokOperator)
	case lexColon, lexDash, lexSlash:
		s.token(tokOperator)
	case lexStringQuote:
		s.endString()
	case lexQuotedQuote:
		s.name(s.word[:s.held], true)
	case lexBlock, lexString, lexStringSlash, lexQuoted, lexDollar, lexDollarBody:
		s.effects |= EffectUnknown
	case lexCode, lexNumber, lexParameter, lexLine, lexOpaque:
	}
	if s.depth > 0 {
		s.effects |= EffectUnknown
	}
	s.endStatement()
}

// code reads tokens from p[i:] and returns where it stopped: at the end or where another mode begins. It is long
// because it is the message switch of this package.
func (s *Scanner) code(p []byte, i int) int {
	for i < len(p) {
		c := p[i]
		switch byteClasses[c] {
		case classSpace:
			i++
		case classWord:
			j := i + 1
			for j < len(p) && inWord[p[j]] {
				j++
			}
			if j == len(p) || j-i == 1 && (p[j] == '\'' || p[j] == '&') {
				s.held = 0
				s.hold(p[i:j])
				s.mode = lexWord
				return j
			}
			s.name(p[i:min(j, i+len(s.word))], false)
			i = j
		case classDigit:
			s.token(tokOperand)
			s.mode = lexNumber
			return i + 1
		case classQuote:
			s.beginString(!s.standard)
			return i + 1
		case classDoubleQuote:
			s.mode, s.held = lexQuoted, 0
			return i + 1
		case classDollar:
			s.mode, s.held = lexDollar, 0
			return i + 1
		case classOpen:
			s.open()
			i++
		case classClose:
			s.close()
			i++
		case classIndexEnd:
			s.token(tokOperand)
			i++
		case classComma:
			s.token(tokComma)
			i++
		case classSemicolon:
			s.semicolon()
			i++
		case classDot:
			s.dot()
			i++
		case classColon:
			s.mode = lexColon
			return i + 1
		case classDash:
			s.mode = lexDash
			return i + 1
		case classSlash:
			s.mode = lexSlash
			return i + 1
		case classOperator:
			s.token(tokOperator)
			i++
		case classBad:
			s.effects |= EffectUnknown
			s.token(tokOperator)
			i++
		}
	}
	return i
}
