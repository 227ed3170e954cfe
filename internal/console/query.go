package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"pooler/frontend"
)

// plan is a query whose names are looked up and whose types are settled.
type plan struct {
	view          *View
	columns       []Column
	outs          []operand
	whole         bool // it is SELECT *, which needs no outs
	where         *operand
	order         []sortKey
	limit, offset operand
}

type sortKey struct {
	operand
	desc, nullsFirst bool
}

func (q *query) columns(s *session, p *params) ([]Column, error) {
	pl, err := q.plan(s, p)
	if err != nil {
		return nil, err
	}
	return pl.columns, nil
}

func (q *query) run(r *request) (outcome, error) {
	if r.session.admin.Right() < frontend.RightLook {
		return outcome{}, noRight("SHOW") // a reload has taken it
	}
	pl, err := q.plan(r.session, r.params)
	if err != nil {
		return outcome{}, err
	}
	if pl.view.Name == helpName {
		r.notice(&Error{Code: codeSuccess, Message: "Console usage", Detail: usage(r.session.console.views)})
	}
	var rows [][]any
	err = r.session.attend(r.ctx, func(ctx context.Context) error {
		rows, err = pl.rows(ctx)
		return err
	})
	out := outcome{tag: "SHOW", columns: pl.columns, rows: rows}
	if !q.show {
		out.tag, out.counted = "SELECT", true
	}
	if !pl.whole {
		out.outs = pl.outs
	}
	return out, err
}

// plan looks names up. It is made anew for each execution, when the parameters have values.
func (q *query) plan(s *session, p *params) (*plan, error) {
	view, err := q.view(s)
	if err != nil {
		return nil, err
	}
	pl := &plan{view: view}
	sc := &scope{session: s, text: q.text, columns: view.Columns, params: p, now: time.Now()}
	err = compiled(func() {
		pl.selectItems(sc, q)
		if q.where != nil {
			w := sc.condition(sc.compile(q.where), "WHERE")
			pl.where = &w
		}
		for _, k := range q.order {
			pl.order = append(pl.order, pl.sortKey(sc, k))
		}
		pl.limit = sc.count(q.limit, "LIMIT", codeInvalidLimit)
		pl.offset = sc.count(q.offset, "OFFSET", codeInvalidOffset)
	})
	if err != nil {
		return nil, err
	}
	return pl, nil
}

// view is what the query is about: a view, or something that is made to look like one.
func (q *query) view(s *session) (*View, error) {
	if q.name == "" {
		return &View{Rows: func(context.Context) ([][]any, error) { return [][]any{{}}, nil }}, nil
	}
	v, hint := s.console.view(q.name)
	if v != nil {
		return v, nil
	}
	if q.show {
		if v := s.settings.view(q.name); v != nil {
			return v, nil
		}
	}
	if !q.show {
		hint = "This is the pooler's console, not a database. " + hint
	}
	return nil, faultAt(q.text, q.nameAt, codeUndefinedTable, `there is no view "%s" to show`, shortened(q.name)).withHint("%s", hint)
}

// view shows one parameter, or all.
func (s *settings) view(name string) *View {
	if strings.EqualFold(name, "all") {
		v := &View{Name: "all", Columns: []Column{{"name", Text}, {"setting", Text}, {"description", Text}}}
		v.Rows = func(context.Context) (rows [][]any, err error) {
			for _, info := range settingInfos {
				rows = append(rows, []any{info.name, s.values[info.name], "a parameter of this session"})
			}
			return rows, nil
		}
		return v
	}
	name, ok := settingName(name)
	if !ok {
		return nil
	}
	return &View{
		Name: name, Columns: []Column{{name, Text}},
		Rows: func(context.Context) ([][]any, error) { return [][]any{{s.values[name]}}, nil },
	}
}

func (pl *plan) selectItems(sc *scope, q *query) {
	pl.whole = len(q.items) == 1 && q.items[0].of == nil
	for _, it := range q.items {
		if it.of == nil {
			if q.name == "" {
				panic(sc.fault(it.at, codeSyntax, "SELECT * with no views specified is not valid"))
			}
			for i := range sc.columns {
				pl.add(sc.column(i), "")
			}
			continue
		}
		o := sc.compile(it.of)
		if o.typ == unknown {
			o = sc.as(o, Text)
		}
		pl.add(o, it.alias)
	}
	if len(pl.columns) > maxColumns {
		panic(sc.fault(int(q.at), codeTooComplex, "a result can have at most %d columns", maxColumns))
	}
}

// maxColumns is PostgreSQL's own limit.
const maxColumns = 1664

func (pl *plan) add(o operand, alias string) {
	if alias == "" {
		alias = o.name
	}
	pl.columns = append(pl.columns, Column{printable(alias), o.typ})
	pl.outs = append(pl.outs, o)
}

// sortKey compiles what ORDER BY says: an expression, the alias of a result's column or its number.
func (pl *plan) sortKey(sc *scope, k orderKey) sortKey {
	key := sortKey{desc: k.desc, nullsFirst: k.nullsFirst}
	if c, ok := k.of.(*constant); ok {
		n, isNumber := c.value.(int64)
		if !isNumber || n < 1 || n > int64(len(pl.outs)) {
			panic(sc.fault(c.offset(), codeUndefinedColumn, "ORDER BY needs a column or its number in the result"))
		}
		key.operand = pl.outs[n-1]
		return key
	}
	if ref, ok := k.of.(*nameRef); ok && columnIndex(sc.columns, ref.name) < 0 {
		if i := columnIndex(pl.columns, ref.name); i >= 0 {
			key.operand = pl.outs[i]
			return key
		}
	}
	key.operand = sc.compile(k.of)
	return key
}

// count compiles the number of LIMIT or OFFSET.
func (sc *scope) count(e expr, clause, code string) operand {
	if e == nil {
		return operand{}
	}
	o := sc.compile(e)
	if !o.isFixed() {
		panic(sc.fault(o.offset, codeSyntax, "argument of %s must not contain columns", clause))
	}
	o = sc.as(o, Int8)
	if o.fixed == nil {
		return o
	}
	n, err := narrowed(o.fixed, Int8)
	if err != nil || toFloat(n) < 0 {
		panic(sc.fault(o.offset, code, "%s must not be negative, nor too large", clause))
	}
	o.fixed = n
	return o
}

// rows takes the view's snapshot and chooses the rows that the result is made of. A client can write conditions that take
// long.
func (pl *plan) rows(ctx context.Context) ([][]any, error) {
	raw, err := pl.view.Rows(ctx)
	if err != nil {
		return nil, err
	}
	kept := make([][]any, 0, len(raw))
	for _, values := range raw {
		if ctx.Err() != nil {
			break
		}
		if err := canonicalise(values, pl.view.Columns); err != nil {
			return nil, err
		}
		if pl.where == nil || pl.where.value(values) == true {
			kept = append(kept, values)
		}
	}
	pl.sort(ctx, kept)
	return pl.cut(kept), ctx.Err()
}

// canonicalise makes values of the columns' types of a row's.
func canonicalise(row []any, columns []Column) error {
	if len(row) != len(columns) {
		return &Error{Code: codeInternal, Message: "bug: a row does not have as many values as there are columns"}
	}
	for i, v := range row {
		c, err := canonical(v, columns[i].Type)
		if err != nil {
			return &Error{Code: codeInternal, Message: `bug: column "` + columns[i].Name + `": ` + err.Error()}
		}
		row[i] = c
	}
	return nil
}

// sort stops in disorder when ctx ends.
func (pl *plan) sort(ctx context.Context, rows [][]any) {
	if len(pl.order) == 0 {
		return
	}
	slices.SortStableFunc(rows, func(a, b []any) int {
		if ctx.Err() != nil {
			return 0
		}
		for _, k := range pl.order {
			if c := k.compare(a, b); c != 0 {
				return c
			}
		}
		return 0
	})
}

func (k *sortKey) compare(rowA, rowB []any) int {
	a, b := k.value(rowA), k.value(rowB)
	if a == nil || b == nil {
		c := compareBools(a == nil, b == nil) // the NULL after the other
		if k.nullsFirst {
			return -c
		}
		return c
	}
	if k.desc {
		return compareValues(b, a)
	}
	return compareValues(a, b)
}

// cut applies OFFSET and LIMIT.
func (pl *plan) cut(rows [][]any) [][]any {
	if n, ok := pl.offset.fixed.(int64); ok {
		rows = rows[min(n, int64(len(rows))):]
	}
	if n, ok := pl.limit.fixed.(int64); ok {
		rows = rows[:min(n, int64(len(rows)))]
	}
	return rows
}

// columnHint says which column may have been meant, or which there are.
func columnHint(name string, columns []Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	if near := nearest(name, names); near != "" {
		return `Perhaps you meant "` + near + `".`
	}
	return "The columns are " + strings.Join(names, ", ") + "."
}
