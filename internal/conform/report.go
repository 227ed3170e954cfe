package conform

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// line is what results have in common that differ only in the protocol and the end.
type line struct {
	Result
	protocols, ends []string
}

// merge makes lines of neighbours: first the ends of one protocol, then the protocols of the same ends.
func merge(rows []Result) []line {
	var byEnds, lines []line
	for _, r := range rows {
		if last := lastOf(byEnds); last != nil && last.alike(r) && last.Protocol == r.Protocol {
			last.ends = append(last.ends, r.End.String())
			continue
		}
		byEnds = append(byEnds, line{Result: r, protocols: []string{r.Protocol.String()}, ends: []string{r.End.String()}})
	}
	for _, l := range byEnds {
		i := slices.IndexFunc(lines, func(o line) bool { return o.alike(l.Result) && slices.Equal(o.ends, l.ends) })
		if i >= 0 {
			lines[i].protocols = append(lines[i].protocols, l.protocols...)
			continue
		}
		lines = append(lines, l)
	}
	return lines
}

func lastOf(lines []line) *line {
	if len(lines) == 0 {
		return nil
	}
	return &lines[len(lines)-1]
}

func (l line) alike(r Result) bool {
	return l.State == r.State && l.Kept == r.Kept && l.Leaked == r.Leaked && l.Note == r.Note
}

func (l line) columns() []string {
	protocol := strings.Join(l.protocols, ", ")
	if len(l.protocols) > 1 {
		protocol = "both"
	}
	return []string{l.State, protocol, strings.Join(l.ends, ", "), string(l.Kept), string(l.Leaked), l.Note}
}

var heads = []string{"state", "protocol", "ended by", "kept", "leaked", "note"}

// Table writes the report for a terminal.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ToUpper(strings.Join(heads, "\t")))
	for _, l := range merge(r.Rows) {
		fmt.Fprintln(t, strings.Join(l.columns(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Summary)
	return err
}

// Markdown writes the report for a document.
func (r *Report) Markdown(w io.Writer) error {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat(" --- |", len(heads)))
	for _, l := range merge(r.Rows) {
		columns := l.columns()
		for i, c := range columns {
			columns[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		if !l.keptOK() {
			columns[3] = "**" + columns[3] + "**"
		}
		if !l.leakedOK() {
			columns[4] = "**" + columns[4] + "**"
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(columns, " | "))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Summary)
	return err
}

// JSON writes every row.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func (s Summary) String() string {
	return fmt.Sprintf("%d rows: %d as direct; not kept %d, leaked %d, hung or disconnected %d; a client had to wait for another in %d.",
		s.Rows, s.OK, s.NotKept, s.Leaked, s.Broken, s.Pinned)
}
