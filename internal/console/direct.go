package console

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"pooler/frontend"
)

// Answer is what one statement has led to, for somebody who has no conversation with the console.
type Answer struct {
	Tag     string
	Columns []Column // nil: no rows
	Rows    [][]any  // of string, bool, int64, uint64, float64, time.Time and nil, which is NULL
	Notices []Notice
}

// Notice is what is said besides.
type Notice struct{ Message, Detail, Hint string }

// Selection is a SHOW in parts, each in the console's language. Empty parts are left out.
type Selection struct {
	View                         string // its name
	Columns, Where, Order, Limit string
}

// Run carries out one statement of who, whose Conn is not used: a SHOW, a SELECT or a command. Statements that need a
// conversation are refused. An error is an *Error. What waits ends with ctx.
func (c *Console) Run(ctx context.Context, who *frontend.Admin, text string) (Answer, error) {
	st, err := single(text)
	if err != nil {
		return Answer{}, err
	}
	return c.direct(ctx, who, st)
}

// Show shows what is selected. The Position of an error is one in the part that it comes with.
func (c *Console) Show(ctx context.Context, who *frontend.Admin, sel Selection) (a Answer, part string, err error) {
	text, parts := sel.statement()
	st, err := single(text)
	if err == nil {
		if q, ok := st.(*query); !ok || !strings.EqualFold(q.name, sel.View) {
			err = &Error{Code: codeSyntax, Message: "that is not one view with its filters"} // what begins in one part may end in the next
		} else {
			a, err = c.direct(ctx, who, st)
		}
	}
	if err == nil {
		return a, "", nil
	}
	e := *toError(err)
	part, e.Position = locate(parts, e.Position)
	return Answer{}, part, &e
}

// ViewHelp is what a view shows, in a line; "" if there is no such view.
func (c *Console) ViewHelp(name string) string {
	if v, _ := c.view(name); v != nil {
		return v.Help
	}
	return ""
}

// single reads a text of one statement, which must not need a conversation.
func single(text string) (statement, error) {
	list, err := parse(text)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, (&Error{Code: codeSyntax, Message: "one statement is wanted"}).withHint("%s", hintHelp)
	}
	switch list[0].(type) {
	case *query, *doing:
		return list[0], nil
	}
	return nil, &Error{
		Code: codeNotSupported, Message: "that concerns a conversation with the console, and there is none here",
		Hint: "Connect to the database pooler, for example with psql.",
	}
}

// direct has st carried out in a session without a client, which lasts as long as that.
func (c *Console) direct(ctx context.Context, who *frontend.Admin, st statement) (Answer, error) {
	if ctx.Err() != nil {
		return Answer{}, errQueryCanceled
	}
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(errCanceled) })
	defer stop()
	s := newSession(c, who)
	s.ctx, s.in = own, &inbox{} // whose gone is nil: ctx alone tells when the client hangs up
	var a Answer
	s.heard = func(e *Error) { a.Notices = append(a.Notices, Notice{e.Message, e.Detail, e.Hint}) }
	out, err := s.execute(st, nil)
	if err == nil {
		err = s.contain(func() (err error) {
			a.Rows, err = s.values(&out)
			return err
		})
	}
	if err != nil {
		return Answer{}, toError(err)
	}
	a.Tag, a.Columns = out.tag, out.columns
	return a, nil
}

// values computes the rows that an outcome consists of. Rows that are results as they are become the caller's: there can
// be many.
func (s *session) values(out *outcome) ([][]any, error) {
	rows := out.rows
	for i, raw := range rows {
		if s.ctx.Err() != nil {
			return nil, errQueryCanceled
		}
		row := raw
		if out.outs != nil {
			row = make([]any, len(out.columns))
		}
		for j := range row {
			row[j] = out.value(raw, j)
			if d, ok := row[j].(time.Duration); ok {
				row[j] = string(appendText(nil, d, s.settings.zone))
			}
		}
		rows[i] = row
	}
	return rows, nil
}

// partAt is where a part of a Selection stands in the text, in characters.
type partAt struct {
	name       string
	start, len int
}

// statement puts the parts together, one a line, so that a comment ends with its part.
func (sel *Selection) statement() (text string, parts []partAt) {
	var b strings.Builder
	at := 0
	write := func(s string) {
		b.WriteString(s)
		at += utf8.RuneCountInString(s)
	}
	add := func(name, keyword, value string) {
		if value == "" {
			return
		}
		write(keyword)
		parts = append(parts, partAt{name, at, utf8.RuneCountInString(value)})
		write(value + "\n")
	}
	columns := sel.Columns
	if strings.TrimSpace(columns) == "" {
		columns = "*"
	}
	add("columns", "SELECT ", columns)
	add("view", "FROM ", `"`+strings.ReplaceAll(sel.View, `"`, `""`)+`"`)
	add("where", "WHERE ", sel.Where)
	add("order", "ORDER BY ", sel.Order)
	add("limit", "LIMIT ", sel.Limit)
	return b.String(), parts
}

// locate finds the part in which a 1-based position of the text is. What is wrong behind a part is wrong at its end.
func locate(parts []partAt, position int) (part string, at int) {
	if position == 0 {
		return "", 0
	}
	for _, p := range parts {
		if p.start < position {
			part, at = p.name, min(position-p.start, p.len+1)
		}
	}
	return part, at
}
