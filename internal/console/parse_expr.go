package console

import (
	"math"
	"strconv"
	"strings"
)

func (p *parser) expression() expr { return p.chain(false) }

// chain reads terms joined by OR, each of which is terms joined by AND.
func (p *parser) chain(and bool) expr {
	term, word := func() expr { return p.chain(true) }, "OR"
	if and {
		term, word = p.negatable, "AND"
	}
	p.node()
	l := &logic{at: at(p.tok.start), and: and, terms: []expr{term()}}
	for p.take(word) != "" {
		l.terms = append(l.terms, term())
	}
	if len(l.terms) == 1 {
		return l.terms[0]
	}
	return l
}

func (p *parser) negatable() expr {
	start := at(p.tok.start)
	if p.take("NOT") == "" {
		return p.comparison()
	}
	p.node()
	return &negation{at: start, of: p.negatable()}
}

// comparison reads an operand and what it is compared with, if anything.
func (p *parser) comparison() expr {
	left := p.operand()
	op := p.tok
	if op.kind == tokenOp && strings.Contains(" = <> != < <= > >= ", " "+op.text+" ") {
		p.advance()
		return &binary{at: at(op.start), op: op.text, left: left, right: p.operand()}
	}
	if p.take("IS") != "" {
		not := p.take("NOT") != ""
		p.expect("NULL")
		return negatedIf(not, &isNull{at: at(op.start), of: left})
	}
	not := p.take("NOT") != ""
	word := p.take("LIKE", "ILIKE", "IN", "BETWEEN")
	switch word {
	case "LIKE", "ILIKE":
		return negatedIf(not, &like{at: at(op.start), of: left, pattern: p.operand(), fold: word == "ILIKE"})
	case "IN":
		return negatedIf(not, p.in(at(op.start), left))
	case "BETWEEN":
		return negatedIf(not, p.between(at(op.start), left))
	}
	if not {
		p.unexpected()
	}
	return left
}

func negatedIf(not bool, e expr) expr {
	if !not {
		return e
	}
	return &negation{at: at(e.offset()), of: e}
}

func (p *parser) in(start at, left expr) expr {
	p.expectOp("(")
	n := &inList{at: start, of: left}
	for ok := true; ok; ok = p.takeOp(",") {
		n.list = append(n.list, p.operand())
	}
	p.expectOp(")")
	return n
}

func (p *parser) between(start at, left expr) expr {
	low := p.operand()
	p.expect("AND")
	return &between{at: start, of: left, low: low, high: p.operand()}
}

// operand reads a sum.
func (p *parser) operand() expr {
	left := p.product()
	for {
		op := p.tok
		if !p.takeOp("+") && !p.takeOp("-") {
			return left
		}
		p.node()
		left = &binary{at: at(op.start), op: op.text, left: left, right: p.product()}
	}
}

func (p *parser) product() expr {
	left := p.casts()
	for {
		op := p.tok
		if !p.takeOp("*") && !p.takeOp("/") {
			return left
		}
		p.node()
		left = &binary{at: at(op.start), op: op.text, left: left, right: p.casts()}
	}
}

func (p *parser) casts() expr {
	e := p.primary()
	for p.tok.isOp("::") {
		p.node()
		start := at(p.tok.start)
		p.advance()
		to, name := p.typeName()
		e = &castTo{at: start, of: e, to: to, name: name}
	}
	return e
}

// typeName reads the type of a cast.
func (p *parser) typeName() (Type, string) {
	t := p.tok
	name := strings.ToLower(p.identifier())
	switch {
	case name == "double":
		p.expect("PRECISION")
		return Float8, "float8"
	case name == "pg_catalog" && p.takeOp("."):
		return p.typeName()
	case strings.HasPrefix(name, "timestamp") && p.take("WITH", "WITHOUT") != "":
		p.expect("TIME")
		p.expect("ZONE")
	}
	to, ok := typesByName[name]
	if !ok {
		panic(faultAt(p.text, t.start, codeUndefinedObject, `type "%s" does not exist`, shortened(t.text)))
	}
	if proper := map[Type]string{Int4: "int4", Int8: "int8", Bool: "bool"}[to]; proper != "" {
		name = proper
	}
	return to, name
}

func (p *parser) primary() expr {
	p.node()
	t := p.tok
	start := at(t.start)
	switch t.kind {
	case tokenNumber:
		p.advance()
		return p.numeral(t.start, t.text)
	case tokenString:
		p.advance()
		return &constant{at: start, value: t.text, typ: unknown}
	case tokenParam:
		p.advance()
		n, _ := strconv.Atoi(t.text) // the lexer has seen that it is a small number
		return &paramRef{at: start, number: n}
	case tokenQuoted:
		p.advance()
		p.noDot(t.start, codeNotSupported)
		return &nameRef{at: start, name: t.text, quoted: true}
	case tokenWord:
		return p.wordOperand()
	case tokenOp:
		if t.text == "(" {
			return p.parenthesis()
		}
		if t.text == "-" || t.text == "+" {
			p.advance()
			return p.signed(start, t.text)
		}
		p.unexpected()
	default:
		p.unexpected()
	}
	return nil
}

func (p *parser) parenthesis() expr {
	start := at(p.tok.start)
	p.advance()
	e := p.expression()
	if p.tok.isOp(",") {
		t := &tuple{at: start, items: []expr{e}}
		for p.takeOp(",") {
			t.items = append(t.items, p.expression())
		}
		e = t
	}
	p.expectOp(")")
	return e
}

// signed reads what follows a sign: as a number's own sign if it is one, so that the smallest integer can be written.
func (p *parser) signed(start at, sign string) expr {
	if p.tok.kind == tokenNumber {
		text := sign + p.tok.text
		p.advance()
		return p.numeral(int(start), text)
	}
	return &binary{at: start, op: sign, left: &constant{at: start, value: int64(0), typ: Int4}, right: p.casts()}
}

func (p *parser) numeral(start int, text string) expr {
	v, ok := parseNumber(text)
	if !ok {
		panic(faultAt(p.text, start, codeOutOfRange, `"%s" is out of range`, shortened(text)))
	}
	c := &constant{at: at(start), value: v, typ: Numeric}
	if n, ok := v.(int64); ok {
		c.typ = Int8
		if n >= math.MinInt32 && n <= math.MaxInt32 {
			c.typ = Int4
		}
	}
	return c
}

// wordOperand reads a column, a function, or a literal that is a word.
func (p *parser) wordOperand() expr {
	t := p.tok
	start := at(t.start)
	if isReserved(t.text) {
		p.unexpected()
	}
	p.advance()
	switch {
	case p.tok.isOp("("):
		return p.call(start, t.text)
	case t.is("TRUE"), t.is("FALSE"):
		return &constant{at: start, value: t.is("TRUE"), typ: Bool}
	case t.is("NULL"):
		return &constant{at: start, typ: unknown}
	case p.tok.kind == tokenString && (t.is("INTERVAL") || t.is("TIMESTAMP") || t.is("TIMESTAMPTZ")):
		text := &constant{at: at(p.tok.start), value: p.tok.text, typ: unknown}
		p.advance()
		to := typesByName[strings.ToLower(t.text)]
		return &castTo{at: at(text.offset()), of: text, to: to, name: strings.ToLower(t.text)}
	case t.is("pg_catalog") && p.takeOp("."):
		name := p.identifier()
		if !p.tok.isOp("(") {
			panic(p.dotted(t.start, codeNotSupported))
		}
		return p.call(start, name)
	}
	p.noDot(t.start, codeNotSupported)
	return &nameRef{at: start, name: t.text}
}

// noDot ends the parsing if the name that begins at start is one of SQL's that have a schema or a table.
func (p *parser) noDot(start int, code string) {
	if p.tok.isOp(".") {
		panic(p.dotted(start, code))
	}
}

func (p *parser) dotted(start int, code string) *Error {
	for p.takeOp(".") && (p.tok.kind == tokenWord || p.tok.kind == tokenQuoted) {
		p.advance()
	}
	return faultAt(p.text, start, code, `this is the pooler's console, not a database: it has no %s`, shortened(p.text[start:p.last])).
		withHint("%s", hintNoDatabase)
}

func (p *parser) call(start at, name string) expr {
	p.expectOp("(")
	c := &call{at: start, name: strings.ToLower(name)}
	if p.takeOp(")") {
		return c
	}
	for ok := true; ok; ok = p.takeOp(",") {
		c.args = append(c.args, p.operand())
	}
	p.expectOp(")")
	return c
}
