package web

import (
	"encoding/csv"
	"encoding/json"
	"iter"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pooler/internal/console"
)

// table is rows with their columns, as they are sent.
type table struct {
	Name    string // of the view, and of the file with CSV
	Help    string
	Columns []console.Column
	Rows    [][]any
	Time    time.Time // when it was looked at; zero: it is of the past
}

// format is how a table is sent.
type format bool

const (
	asJSON format = false
	asCSV  format = true
)

func formatOf(name string) (format, error) {
	switch name {
	case "", "json":
		return asJSON, nil
	case "csv":
		return asCSV, nil
	}
	return asJSON, badRequest("format must be json or csv").in("format")
}

func writeTable(w http.ResponseWriter, r *http.Request, f format, t *table) {
	if f == asCSV {
		writeCSV(w, r, t.Name, t.Columns, slices.Values(t.Rows))
		return
	}
	writing(w, r, "application/json", func(e *encoder) {
		e.literal(`{"view":`).value(t.Name)
		if t.Help != "" {
			e.literal(`,"help":`).value(t.Help)
		}
		e.columns(t.Columns).rows(t.Rows)
		if !t.Time.IsZero() {
			e.literal(`,"time":`).value(t.Time)
		}
		e.literal("}\n")
	})
}

// writeDone sends what a command has led to.
func writeDone(w http.ResponseWriter, r *http.Request, done *console.Answer) error {
	type notice struct {
		Message string `json:"message"`
		Detail  string `json:"detail,omitempty"`
		Hint    string `json:"hint,omitempty"`
	}
	notices := make([]notice, len(done.Notices))
	for i, n := range done.Notices {
		notices[i] = notice(n)
	}
	told, err := json.Marshal(notices)
	if err != nil {
		return err
	}
	writing(w, r, "application/json", func(e *encoder) {
		e.literal(`{"tag":`).value(done.Tag)
		if done.Columns != nil {
			e.columns(done.Columns).rows(done.Rows)
		}
		e.literal(`,"notices":`).literal(string(told)).literal("}\n")
	})
	return nil
}

func writeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writing(w, r, "application/json", func(e *encoder) { e.literal(string(body)).literal("\n") })
	return nil
}

// writing sends what write encodes, compressed if the client takes that. A client that does not read is no error of ours.
func writing(w http.ResponseWriter, r *http.Request, contentType string, write func(*encoder)) {
	w.Header().Set("Content-Type", contentType)
	c := newCompressor(w, r)
	e := &encoder{to: c}
	write(e)
	e.flush()
	c.close()
}

// encoder writes JSON. It is spared the maps and reflection that encoding/json would need for rows, of which there can be
// tens of thousands.
type encoder struct {
	to  *compressor
	buf []byte
}

const encoderBuffer = 16 << 10

func (e *encoder) flush() {
	e.to.write(e.buf)
	e.buf = e.buf[:0]
}

func (e *encoder) flushIfLong() {
	if len(e.buf) >= encoderBuffer {
		e.flush()
	}
}

func (e *encoder) literal(s string) *encoder {
	e.buf = append(e.buf, s...)
	return e
}

func (e *encoder) value(v any) *encoder {
	e.buf = appendValue(e.buf, v)
	return e
}

func (e *encoder) columns(columns []console.Column) *encoder {
	e.literal(`,"columns":[`)
	for i, c := range columns {
		if i > 0 {
			e.literal(",")
		}
		e.literal(`{"name":`).value(c.Name).literal(`,"type":`).value(c.Type.String()).literal("}")
	}
	return e.literal("]")
}

func (e *encoder) rows(rows [][]any) *encoder {
	e.literal(`,"rows":[`)
	for i, row := range rows {
		if i > 0 {
			e.literal(",")
		}
		sep := "["
		for _, v := range row {
			e.literal(sep).value(v)
			sep = ","
		}
		if len(row) == 0 {
			e.literal("[")
		}
		e.literal("]")
		e.flushIfLong()
	}
	return e.literal("]")
}

// appendValue writes a value of the console's. What is no number in JSON is null.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case uint64:
		return strconv.AppendUint(b, v, 10)
	case float64:
		return appendNumber(b, v)
	case time.Time:
		return append(v.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
	}
	text, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, text...)
}

func appendNumber(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) { // as in JavaScript
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...) // cannot be, for a string
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

var fileName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// writeCSV sends rows as RFC 4180 has it, with a line of names first. NULL is empty.
func writeCSV(w http.ResponseWriter, r *http.Request, name string, columns []console.Column, rows iter.Seq[[]any]) {
	w.Header().Set("Content-Disposition", `attachment; filename="`+fileName.ReplaceAllString(name, "_")+`.csv"`)
	writing(w, r, "text/csv; charset=utf-8; header=present", func(e *encoder) {
		out := csv.NewWriter(e.to)
		out.UseCRLF = true
		record := make([]string, len(columns))
		for i, c := range columns {
			record[i] = harmless(c.Name)
		}
		_ = out.Write(record) // the compressor's Write never fails
		for row := range rows {
			for i, v := range row {
				record[i] = cell(v)
			}
			_ = out.Write(record)
		}
		out.Flush()
	})
}

// cell is a value as CSV has it.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return harmless(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ""
		}
	}
	return string(appendValue(nil, v))
}

// harmless keeps spreadsheets from taking for a formula what a client has chosen as its name.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
