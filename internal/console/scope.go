package console

import (
	"strings"
	"time"
)

// operand is an expression that is ready to be evaluated.
type operand struct {
	offset int
	typ    Type
	fixed  any                 // the value, if of is nil
	of     func(row []any) any // nil: the same for every row
	param  int                 // the number of a parameter whose type is not known yet, else 0
	name   string              // of the column, if it becomes one
}

func (o operand) isFixed() bool { return o.of == nil }

func (o operand) value(row []any) any {
	if o.of == nil {
		return o.fixed
	}
	return o.of(row)
}

// params are the parameters of one statement. Types become known from what they are compared with.
type params struct {
	types  []Type
	values []any // nil: not bound yet
}

// maxParams is what a Bind message can hold.
const maxParams = 65535

func (p *params) typeOf(n int) Type {
	for len(p.types) < n {
		p.types = append(p.types, unknown)
	}
	return p.types[n-1]
}

// scope is what the names of an expression mean.
type scope struct {
	session *session
	text    string
	columns []Column
	params  *params // nil: parameters are not allowed
	now     time.Time
}

func (sc *scope) fault(offset int, code, format string, args ...any) *Error {
	return faultAt(sc.text, offset, code, format, args...)
}

// compile looks names up and settles types. Its errors are panics of *Error, which compiled contains.
func (sc *scope) compile(e expr) operand {
	var o operand
	switch e := e.(type) {
	case *nameRef:
		o = sc.name(e)
	case *constant:
		o = operand{typ: e.typ, fixed: e.value}
	case *paramRef:
		o = sc.param(e)
	case *call:
		o = sc.call(e)
	case *castTo:
		o = sc.cast(e)
	case *binary:
		o = sc.binary(e)
	case *logic:
		o = sc.logic(e)
	case *negation:
		o = sc.negation(e)
	case *isNull:
		of := sc.compile(e.of)
		o = derived(Bool, func(row []any) any { return of.value(row) == nil }, of)
	case *like:
		o = sc.like(e)
	case *inList:
		o = sc.in(e)
	case *between:
		o = sc.between(e)
	default:
		panic(sc.fault(e.offset(), codeSyntax, "a list of columns cannot be used as a value"))
	}
	o.offset = e.offset()
	if o.name == "" {
		o.name = "?column?"
	}
	return o
}

// compiled runs f and returns the *Error that it panics with.
func compiled(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			fault, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			err = fault
		}
	}()
	f()
	return nil
}

// derived is computed from other operands, at once if they are all fixed.
func derived(t Type, f func(row []any) any, from ...operand) operand {
	for _, o := range from {
		if !o.isFixed() {
			return operand{typ: t, of: f}
		}
	}
	return operand{typ: t, fixed: f(nil)}
}

func (sc *scope) name(e *nameRef) operand {
	if i := columnIndex(sc.columns, e.name); i >= 0 {
		return sc.column(i)
	}
	if !e.quoted {
		if o, ok := sc.niladic(e.name); ok {
			return o
		}
	}
	err := sc.fault(e.offset(), codeUndefinedColumn, `column "%s" does not exist`, shortened(e.name))
	if len(sc.columns) > 0 {
		err.Hint = columnHint(e.name, sc.columns)
	} else {
		err.Hint = hintNoDatabase
	}
	panic(err)
}

func (sc *scope) column(i int) operand {
	c := sc.columns[i]
	return operand{typ: c.Type, name: c.Name, of: func(row []any) any { return row[i] }}
}

func (sc *scope) param(e *paramRef) operand {
	if sc.params == nil || e.number < 1 || e.number > maxParams ||
		sc.params.values != nil && e.number > len(sc.params.values) {
		panic(sc.fault(e.offset(), codeUndefinedParameter, "there is no parameter $%d", e.number))
	}
	o := operand{typ: sc.params.typeOf(e.number)}
	if o.typ == unknown {
		o.param = e.number
	}
	if sc.params.values != nil {
		o.fixed = sc.params.values[e.number-1]
	}
	return o
}

// as makes o one of type t. A constant that cannot be read so is an error at its place.
func (sc *scope) as(o operand, t Type) operand {
	if o.param != 0 {
		sc.params.types[o.param-1] = t
	}
	o.param = 0
	if !o.isFixed() {
		if t.class() == classText && o.typ.class() != classText {
			of, zone := o.of, sc.zone()
			o.of = func(row []any) any { return textOf(of(row), zone) }
		}
		o.typ = t
		return o
	}
	v, ok := convert(o.fixed, t, sc.zone())
	if !ok {
		given := shortened(string(appendText(nil, o.fixed, sc.zone())))
		panic(sc.fault(o.offset, codeInvalidText, `invalid input syntax for type %s: "%s"`, t, given))
	}
	o.fixed, o.typ = v, t
	return o
}

func textOf(v any, zone *time.Location) any {
	if v == nil {
		return nil
	}
	return string(appendText(nil, v, zone))
}

// alike gives two operands the type in which op compares them: that of the column, if one is a constant.
func (sc *scope) alike(a, b operand, op string, offset int) (operand, operand) {
	t := a.typ
	switch {
	case a.typ == unknown && b.typ == unknown:
		t = Text
	case a.typ == unknown:
		t = b.typ
	case b.typ == unknown, a.typ == b.typ:
	case a.typ.class() == b.typ.class():
		return a, b // numbers, which compare exactly
	case b.isFixed():
	case a.isFixed():
		t = b.typ
	default:
		panic(sc.fault(offset, codeUndefinedFunction, "operator does not exist: %s %s %s", a.typ, op, b.typ))
	}
	return sc.as(a, t), sc.as(b, t)
}

// condition makes o one that is true, false or NULL.
func (sc *scope) condition(o operand, of string) operand {
	if o.typ != Bool && o.typ != unknown {
		panic(sc.fault(o.offset, codeDatatypeMismatch, "argument of %s must be type boolean, not type %s", of, o.typ))
	}
	return sc.as(o, Bool)
}

func (sc *scope) zone() *time.Location { return sc.session.settings.zone }

func columnIndex(columns []Column, name string) int {
	for i, c := range columns {
		if strings.EqualFold(c.Name, name) {
			return i
		}
	}
	return -1
}
