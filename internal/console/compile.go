package console

import (
	"math"
	"time"
)

func (sc *scope) logic(e *logic) operand {
	word := "OR"
	if e.and {
		word = "AND"
	}
	terms := make([]operand, len(e.terms))
	for i, t := range e.terms {
		terms[i] = sc.condition(sc.compile(t), word)
	}
	decisive := !e.and // what settles it, whatever the others are
	return derived(Bool, func(row []any) any {
		var result any = !decisive
		for _, t := range terms {
			switch t.value(row) {
			case decisive:
				return decisive
			case nil:
				result = nil
			}
		}
		return result
	}, terms...)
}

func (sc *scope) negation(e *negation) operand {
	of := sc.condition(sc.compile(e.of), "NOT")
	return derived(Bool, func(row []any) any { return negated(of.value(row)) }, of)
}

func negated(v any) any {
	if b, ok := v.(bool); ok {
		return !b
	}
	return nil
}

// comparisons say what an order means.
var comparisons = map[string]func(order int) bool{
	"=":  func(o int) bool { return o == 0 },
	"<>": func(o int) bool { return o != 0 },
	"!=": func(o int) bool { return o != 0 },
	"<":  func(o int) bool { return o < 0 },
	"<=": func(o int) bool { return o <= 0 },
	">":  func(o int) bool { return o > 0 },
	">=": func(o int) bool { return o >= 0 },
}

func (sc *scope) binary(e *binary) operand {
	left, right := sc.compile(e.left), sc.compile(e.right)
	if comparisons[e.op] == nil {
		return sc.arithmetic(e, left, right)
	}
	return sc.compareAll(left, []operand{right}, []string{e.op}, true, e.offset())
}

func (sc *scope) in(e *inList) operand {
	rights, ops := make([]operand, len(e.list)), make([]string, len(e.list))
	for i, item := range e.list {
		rights[i], ops[i] = sc.compile(item), "="
	}
	return sc.compareAll(sc.compile(e.of), rights, ops, false, e.offset())
}

func (sc *scope) between(e *between) operand {
	rights := []operand{sc.compile(e.low), sc.compile(e.high)}
	return sc.compareAll(sc.compile(e.of), rights, []string{">=", "<="}, true, e.offset())
}

// compareAll compares left with each of rights, joined by AND or OR. Left is compiled and evaluated once however many they
// are: nested in each other such comparisons would take exponential time otherwise.
func (sc *scope) compareAll(left operand, rights []operand, ops []string, and bool, offset int) operand {
	lefts := make([]operand, len(rights)) // differ only in what a constant is read as
	for i := range rights {
		lefts[i], rights[i] = sc.alike(left, rights[i], ops[i], offset)
	}
	return derived(Bool, func(row []any) any {
		of := left.value(row)
		var result any = and
		for i, right := range rights {
			l := of
			if lefts[i].isFixed() {
				l = lefts[i].fixed
			}
			switch compared(l, right.value(row), ops[i]) {
			case !and:
				return !and
			case nil:
				result = nil
			}
		}
		return result
	}, append(rights, left)...)
}

func compared(a, b any, op string) any {
	if a == nil || b == nil {
		return nil
	}
	return comparisons[op](compareValues(a, b))
}

func (sc *scope) like(e *like) operand {
	of := sc.as(sc.compile(e.of), Text)
	pattern := sc.compile(e.pattern)
	if !pattern.isFixed() {
		panic(sc.fault(pattern.offset, codeNotSupported, "the pattern of LIKE must be a string or a parameter"))
	}
	pattern = sc.as(pattern, Text)
	text, ok := pattern.fixed.(string)
	if !ok {
		return operand{typ: Bool} // NULL
	}
	if len(text) > maxPattern {
		panic(sc.fault(pattern.offset, codeLimitExceeded, "a pattern of LIKE can have at most %d bytes", maxPattern))
	}
	matcher, ok := compilePattern(text, e.fold)
	if !ok {
		panic(sc.fault(pattern.offset, codeInvalidEscape, "LIKE pattern must not end with escape character"))
	}
	return derived(Bool, func(row []any) any {
		if s, ok := of.value(row).(string); ok {
			return matcher.match(s)
		}
		return nil
	}, of)
}

// arithmetic is what administrators and dashboards write: times with intervals, and numbers that are constants.
func (sc *scope) arithmetic(e *binary, left, right operand) operand {
	switch {
	case left.typ == Timestamp && right.typ == Timestamp && e.op == "-":
		return derived(interval, func(row []any) any {
			a, aOK := left.value(row).(time.Time)
			b, bOK := right.value(row).(time.Time)
			if !aOK || !bOK {
				return nil
			}
			return a.Sub(b)
		}, left, right)
	case left.typ == Timestamp && right.isFixed() && (e.op == "-" || e.op == "+"):
		return sc.shifted(left, sc.as(right, interval), e.op == "-")
	case left.typ.class() == classNumber && right.typ.class() == classNumber:
		return sc.numbers(e, left, right)
	}
	panic(sc.fault(e.offset(), codeUndefinedFunction, "operator does not exist: %s %s %s", left.typ, e.op, right.typ))
}

func (sc *scope) shifted(left, by operand, back bool) operand {
	d, ok := by.fixed.(time.Duration)
	if !ok {
		return operand{typ: Timestamp} // NULL
	}
	if back {
		d = -d
	}
	return derived(Timestamp, func(row []any) any {
		if t, ok := left.value(row).(time.Time); ok {
			return t.Add(d)
		}
		return nil
	}, left)
}

func (sc *scope) numbers(e *binary, left, right operand) operand {
	if !left.isFixed() || !right.isFixed() {
		panic(sc.fault(e.offset(), codeNotSupported, "the console does not calculate with columns"))
	}
	result := operand{typ: Numeric}
	if left.typ != Numeric && right.typ != Numeric && left.typ != Float8 && right.typ != Float8 {
		result.typ = max(left.typ, right.typ)
	}
	if left.fixed == nil || right.fixed == nil {
		return result
	}
	if toFloat(right.fixed) == 0 && e.op == "/" {
		panic(sc.fault(e.offset(), codeDivisionByZero, "division by zero"))
	}
	v, ok := calculate(e.op, left.fixed, right.fixed)
	if ok {
		var err error
		v, err = narrowed(v, result.typ)
		ok = err == nil
	}
	if !ok {
		panic(sc.fault(e.offset(), codeOutOfRange, "%s out of range", result.typ))
	}
	result.fixed = v
	return result
}

func calculate(op string, a, b any) (any, bool) {
	x, xIsInt := a.(int64)
	y, yIsInt := b.(int64)
	f := map[string]float64{
		"+": toFloat(a) + toFloat(b), "-": toFloat(a) - toFloat(b), "*": toFloat(a) * toFloat(b), "/": toFloat(a) / toFloat(b),
	}[op]
	if !xIsInt || !yIsInt {
		return f, !math.IsInf(f, 0) && !math.IsNaN(f)
	}
	if math.Abs(f) > math.MaxInt64/2 { // exactness ends somewhere near
		return nil, false
	}
	return map[string]int64{"+": x + y, "-": x - y, "*": x * y, "/": x / nonZero(y)}[op], true
}

func nonZero(n int64) int64 {
	if n == 0 {
		return 1
	}
	return n
}

// cast is done at once for constants. A column can be cast to what each of its values can become.
func (sc *scope) cast(e *castTo) operand {
	o := sc.compile(e.of)
	name := o.name
	if _, ok := e.of.(*constant); ok || name == "?column?" {
		name = e.name
	}
	if !o.isFixed() {
		widens := o.typ.class() == e.to.class() && (e.to.class() != classNumber || e.to >= o.typ)
		if e.to != Text && !widens {
			panic(sc.fault(e.offset(), codeCannotCoerce, "the console does not cast a column of type %s to %s", o.typ, e.to))
		}
		if of := o.of; e.to == Float8 {
			o.of = func(row []any) any { return floatOrNull(of(row)) }
		}
	}
	o = sc.as(o, e.to)
	if o.isFixed() && o.fixed != nil && e.to.class() == classNumber {
		v, err := narrowed(o.fixed, e.to)
		if err != nil {
			panic(sc.fault(e.of.offset(), codeOutOfRange, "%s out of range", e.to))
		}
		o.fixed = v
	}
	o.name = name
	return o
}

func floatOrNull(v any) any {
	if v == nil {
		return nil
	}
	return toFloat(v)
}
