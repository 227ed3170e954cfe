package console

import (
	"cmp"
	"context"
	"fmt"
	"math/big"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// outcome is what a statement has led to.
type outcome struct {
	tag     string
	counted bool     // the tag ends with the number of rows
	columns []Column // nil: no rows
	rows    [][]any
	outs    []operand // what the columns are computed from, for each row when it is sent; nil: rows are results as they are
}

func (o *outcome) value(row []any, column int) any {
	if o.outs == nil {
		return row[column]
	}
	return o.outs[column].value(row)
}

// sendResult answers a simple Query's statement.
func (s *session) sendResult(out outcome) error {
	if out.columns != nil {
		s.sendDescription(out.columns, nil)
		if err := s.sendRows(&out, out.rows, nil); err != nil {
			return err
		}
	}
	s.sendTag(out, len(out.rows))
	return nil
}

func (s *session) sendTag(out outcome, rows int) {
	tag := out.tag
	if out.counted {
		tag = fmt.Sprintf("%s %d", tag, rows)
	}
	s.put(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

// formatOf is the format of column i; formats is empty, or says it for all or for each.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return pgtype.TextFormatCode
	case len(formats) == 1:
		return formats[0]
	}
	return formats[i]
}

func (s *session) sendDescription(columns []Column, formats []int16) {
	fields := make([]pgproto3.FieldDescription, len(columns))
	for i, c := range columns {
		fields[i] = pgproto3.FieldDescription{
			Name: []byte(c.Name), DataTypeOID: c.Type.oid(), DataTypeSize: c.Type.size(), TypeModifier: -1,
			Format: formatOf(formats, i),
		}
	}
	s.put(&pgproto3.RowDescription{Fields: fields})
}

// sendRows stops early when the client has gone, or does not want the rest.
func (s *session) sendRows(out *outcome, rows [][]any, formats []int16) error {
	return s.attend(s.ctx, func(ctx context.Context) error {
		values := make([][]byte, len(out.columns))
		for _, row := range rows {
			if err := cmp.Or(s.broken, ctx.Err()); err != nil {
				return err
			}
			for i, c := range out.columns {
				values[i] = s.encode(out.value(row, i), c.Type, formatOf(formats, i))
			}
			s.put(&pgproto3.DataRow{Values: values})
		}
		return nil
	})
}

// encode writes a value in the format that the client wants; nil is NULL.
func (s *session) encode(v any, t Type, format int16) []byte {
	if v == nil {
		return nil
	}
	if format == pgtype.TextFormatCode {
		return appendText([]byte{}, v, s.settings.zone)
	}
	if n, ok := v.(uint64); ok {
		v = pgtype.Numeric{Int: new(big.Int).SetUint64(n), Valid: true}
	}
	b, err := s.types.Encode(t.oid(), pgtype.BinaryFormatCode, v, []byte{})
	if err != nil {
		panic(fmt.Sprintf("bug: encode a %T as %s: %v", v, t, err))
	}
	return b
}

// fail tells the client of an error, after which an open transaction has failed.
func (s *session) fail(err error) {
	if s.tx == 'T' {
		s.tx = 'E'
	}
	if s.broken != nil || s.ctx.Err() != nil {
		return // nobody is there, or serve has the last word
	}
	s.send("ERROR", toError(err))
}

// fatal is the last thing that the client is told.
func (s *session) fatal(e *Error) {
	s.send("FATAL", e)
	s.flush()
}

func (s *session) send(severity string, e *Error) {
	m := pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Hint,
		Position: int32(e.Position),
	}
	if severity == "ERROR" || severity == "FATAL" {
		s.put(&m)
		return
	}
	n := pgproto3.NoticeResponse(m)
	s.put(&n)
}
