package console

import "strings"

// item is one column of a result.
type item struct {
	of    expr // nil: all columns (*)
	at    int
	alias string
}

type orderKey struct {
	of         expr
	desc       bool
	nullsFirst bool
}

// query is SHOW name …, or SELECT … [FROM name …].
type query struct {
	at
	text          string
	show          bool
	name          string // of the view; empty: one row without columns
	nameAt        int
	items         []item
	where         expr
	order         []orderKey
	limit, offset expr
}

// show reads what follows SHOW: a view with its filters, or a parameter of the session.
func (p *parser) show() statement {
	q := &query{at: at(p.tok.start), text: p.text, show: true, nameAt: p.tok.start}
	if p.atEnd() {
		q.name, q.items = helpName, []item{{}}
		return q
	}
	if name := p.takeSettingOfTwoWords(); name != "" {
		q.name, q.items = name, []item{{}}
		return q
	}
	q.name = p.identifier()
	q.items = []item{{}}
	if !p.atEnd() && !p.tok.is("WHERE") && !p.tok.is("ORDER") && !p.tok.is("LIMIT") && !p.tok.is("OFFSET") {
		q.items = p.items()
	}
	p.clauses(q)
	return q
}

// takeSettingOfTwoWords reads the parameters that SHOW and SET write in words of their own.
func (p *parser) takeSettingOfTwoWords() string {
	rest := p.lexer // a look ahead: both words are names that a view could have
	second := rest.next()
	switch {
	case p.tok.is("TRANSACTION") && second.is("ISOLATION"):
		p.advance()
		p.advance()
		p.expect("LEVEL")
		return "transaction_isolation"
	case p.tok.is("TIME") && second.is("ZONE"):
		p.advance()
		p.advance()
		return "TimeZone"
	case p.tok.is("SESSION") && second.is("AUTHORIZATION"):
		p.advance()
		p.advance()
		return "session_authorization"
	}
	return ""
}

// selection reads what follows SELECT.
func (p *parser) selection(start at) statement {
	q := &query{at: start, text: p.text, items: p.items()}
	if p.take("FROM") != "" {
		q.nameAt = p.tok.start
		q.name = p.identifier()
		p.noDot(q.nameAt, codeUndefinedTable)
		p.clauses(q)
	}
	return q
}

func (p *parser) items() []item {
	var list []item
	for {
		list = append(list, p.item()...)
		if !p.takeOp(",") {
			return list
		}
	}
}

func (p *parser) item() []item {
	start := p.tok.start
	if p.takeOp("*") {
		return []item{{at: start}}
	}
	e := p.expression()
	if t, ok := e.(*tuple); ok {
		list := make([]item, len(t.items))
		for i, e := range t.items {
			list[i].of = e
		}
		return list
	}
	one := item{of: e}
	if p.take("AS") != "" {
		one.alias = p.identifier()
	}
	return []item{one}
}

// clauses reads what may follow the name of a view.
func (p *parser) clauses(q *query) {
	if p.take("WHERE") != "" {
		q.where = p.expression()
	}
	if p.take("ORDER") != "" {
		p.expect("BY")
		for ok := true; ok; ok = p.takeOp(",") {
			q.order = append(q.order, p.orderKey())
		}
	}
	for {
		switch {
		case q.limit == nil && p.take("LIMIT") != "":
			if q.limit = p.count(); q.limit == nil {
				q.limit = &constant{at: at(p.tok.start), typ: unknown} // LIMIT ALL, which is LIMIT NULL
			}
		case q.offset == nil && p.take("OFFSET") != "":
			if q.offset = p.count(); q.offset == nil {
				p.unexpected()
			}
			p.take("ROWS", "ROW")
		default:
			return
		}
	}
}

// count reads the number of LIMIT or OFFSET; nil is ALL.
func (p *parser) count() expr {
	if p.take("ALL") != "" {
		return nil
	}
	return p.operand()
}

func (p *parser) orderKey() orderKey {
	k := orderKey{of: p.expression()}
	k.desc = p.take("ASC", "DESC") == "DESC"
	k.nullsFirst = k.desc // as in SQL: NULL counts as the greatest
	if p.take("NULLS") != "" {
		k.nullsFirst = p.expect("FIRST", "LAST") == "FIRST"
	}
	return k
}

const reserved = " and or not in like ilike between is where order limit offset from as asc desc nulls "

func isReserved(word string) bool { return strings.Contains(reserved, " "+strings.ToLower(word)+" ") }
