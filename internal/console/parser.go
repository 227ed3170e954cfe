package console

import (
	"strings"
	"unicode/utf8"
)

// maxNodes bounds what one text may hold: the parser and what evaluates its tree call themselves.
const maxNodes = 10_000

// maxStatements bounds what a client can make us do with one text.
const maxStatements = 1000

// statement is one of what parse has read.
type statement interface {
	// columns describes the result without anything being looked at; nil if there is none. It finds the types of
	// parameters that p does not know.
	columns(s *session, p *params) ([]Column, error)
	// run carries the statement out.
	run(r *request) (outcome, error)
}

// parser reads a text by recursive descent. Errors are panics of *Error up to parse, which contains them.
type parser struct {
	lexer
	tok   token // the one that is looked at
	last  int   // where the token before it ended
	hint  string
	nodes int
}

// parse reads a text of any number of statements.
func parse(text string) (list []statement, err error) {
	if i := invalidUTF8(text); i >= 0 {
		return nil, faultAt(text, i, codeNotInRepertoire, `invalid byte sequence for encoding "UTF8": 0x%02x`, text[i])
	}
	defer func() {
		if r := recover(); r != nil {
			fault, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			list, err = nil, fault
		}
	}()
	p := &parser{lexer: lexer{text: text}}
	p.advance()
	for p.tok.kind != tokenEnd {
		if p.takeOp(";") {
			continue
		}
		if len(list) == maxStatements {
			panic(faultAt(text, p.tok.start, codeLimitExceeded, "the text has too many statements").withHint("At most %d are read.", maxStatements))
		}
		list = append(list, p.statement())
		if p.tok.kind != tokenEnd && !p.takeOp(";") {
			p.unexpected()
		}
	}
	return list, nil
}

func invalidUTF8(text string) int {
	if utf8.ValidString(text) {
		return -1
	}
	for i, r := range text {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
			return i
		}
	}
	return -1
}

const (
	hintHelp        = "SHOW HELP lists what this console knows."
	hintNoDatabase  = "This is the pooler's console, not a database: connect to another database for SQL. " + hintHelp
	sqlsFirstWords  = " insert update delete merge create drop with values explain copy grant revoke vacuum analyze table do call listen notify lock truncate comment prepare execute declare fetch savepoint release cluster reindex checkpoint refresh import "
	hintSyntaxStart = "Syntax: "
)

// statement reads one statement. Its first word decides.
func (p *parser) statement() statement {
	p.hint = hintHelp
	first := p.tok
	if first.kind != tokenWord {
		p.unexpected()
	}
	p.hint = hintFor(first.text)
	p.advance()
	switch word := strings.ToUpper(first.text); word {
	case "SHOW":
		return p.show()
	case "SELECT":
		p.hint = hintNoDatabase
		return p.selection(at(first.start))
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT":
		if word == "START" && p.tok.is("POOL") {
			return p.command(word)
		}
		return p.transaction(word)
	case "RESET", "DISCARD", "DEALLOCATE", "CLOSE", "UNLISTEN":
		return p.housekeeping(word)
	case "SET":
		return p.set()
	default:
		if isCommandWord(word) {
			return p.command(word)
		}
	}
	panic(faultAt(p.text, first.start, codeSyntax, `syntax error at or near "%s"`, shortened(first.text)).withHint("%s", p.hint))
}

// hintFor says what to do about a statement that begins with word and cannot be read.
func hintFor(word string) string {
	if lines := syntaxOf(word); lines != "" {
		return hintSyntaxStart + lines
	}
	if strings.Contains(sqlsFirstWords, " "+strings.ToLower(word)+" ") {
		return hintNoDatabase
	}
	if near := nearest(word, firstWords()); near != "" {
		return "Perhaps you meant " + near + ". " + hintHelp
	}
	return hintHelp
}

func (p *parser) advance() {
	p.last = p.tok.end
	p.tok = p.next()
}

// unexpected ends the parsing: the token is none that may be here.
func (p *parser) unexpected() {
	t := p.tok
	switch t.kind {
	case tokenBad:
		if t.err.Hint == "" {
			t.err.Hint = p.hint
		}
		panic(t.err)
	case tokenEnd:
		panic(faultAt(p.text, t.start, codeSyntax, "syntax error at end of input").withHint("%s", p.hint))
	default:
		panic(faultAt(p.text, t.start, codeSyntax, `syntax error at or near "%s"`, shortened(p.text[t.start:t.end])).withHint("%s", p.hint))
	}
}

// node counts what is built and how often the parser calls itself.
func (p *parser) node() {
	if p.nodes++; p.nodes > maxNodes {
		panic(faultAt(p.text, p.tok.start, codeTooComplex, "the text is too complex").withHint("At most %d parts are read.", maxNodes))
	}
}

// take steps over one of the keywords if it is there, and says which.
func (p *parser) take(keywords ...string) string {
	for _, k := range keywords {
		if p.tok.is(k) {
			p.advance()
			return k
		}
	}
	return ""
}

func (p *parser) expect(keywords ...string) string {
	k := p.take(keywords...)
	if k == "" {
		p.unexpected()
	}
	return k
}

func (p *parser) takeOp(op string) bool {
	if !p.tok.isOp(op) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expectOp(op string) {
	if !p.takeOp(op) {
		p.unexpected()
	}
}

// atEnd says whether the statement ends here.
func (p *parser) atEnd() bool { return p.tok.kind == tokenEnd || p.tok.isOp(";") }

// identifier reads a name of a column, a view or a statement.
func (p *parser) identifier() string {
	if p.tok.kind != tokenWord && p.tok.kind != tokenQuoted {
		p.unexpected()
	}
	name := p.tok.text
	p.advance()
	return name
}

// raw reads a word that is no token of SQL, such as 10.0.0.0/8 or 1h30m.
func (p *parser) raw(accept func(r rune) bool) string {
	word := p.rawWord(p.tok.start, accept)
	if word == "" {
		p.pos = p.tok.end
		p.unexpected()
	}
	p.tok.end = p.pos
	p.advance()
	return word
}

// word reads a bare word of the characters that accept takes, or anything in quotes of either kind.
func (p *parser) word(accept func(r rune) bool) string {
	if p.tok.kind == tokenString || p.tok.kind == tokenQuoted {
		text := p.tok.text
		p.advance()
		return text
	}
	return p.raw(accept)
}
