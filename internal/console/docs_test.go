package console

import (
	"os"
	"strings"
	"testing"
)

// TestTheDocumentHasEverything holds that docs/console.md does not fall behind: each view, each column beyond
// PgBouncer's and Oracle's, and each command as HELP writes it.
func TestTheDocumentHasEverything(t *testing.T) {
	text, err := os.ReadFile("../../docs/console.md")
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	_, rest, ok := strings.Cut(document, "\n### Columns that many views have\n")
	common, rest, ok2 := strings.Cut(rest, "\n### ")
	views, _, ok3 := strings.Cut(rest, "\n## Commands\n")
	if !ok || !ok2 || !ok3 {
		t.Fatal("a heading is missing by which parts are found")
	}
	for _, v := range Views(fakeSnapshots()) {
		section := sectionOf(views, v.Name)
		if short, ok := strings.CutSuffix(v.Name, "_day"); ok && section != "" { // explained with the shorter stretch of time
			section += sectionOf(views, short)
		}
		if section == "" {
			t.Errorf("SHOW %s is missing", strings.ToUpper(v.Name))
			continue
		}
		theirs := 0
		if shape := theirColumns[v.Name]; shape != "" {
			theirs = strings.Count(shape, ",") + 1
		}
		for _, c := range v.Columns[theirs:] {
			switch name := "`" + c.Name + "`"; {
			case !strings.Contains(section, name):
				t.Errorf("SHOW %s: column %s is missing", strings.ToUpper(v.Name), c.Name)
			case !strings.Contains(section, "| "+name+" | "+documentedType(c.Type)+" |") && !strings.Contains(common, "| "+name+" |"):
				t.Errorf("SHOW %s: column %s is not explained, or not as %s", strings.ToUpper(v.Name), c.Name, documentedType(c.Type))
			}
		}
	}
	for _, s := range syntaxes {
		written := "`" + strings.ReplaceAll(strings.ReplaceAll(joined(s.command, s.rest), "|", `\|`), "...", "…") + "`"
		alternatives := []string{written}
		if s.command == "SHUTDOWN" {
			alternatives = []string{"| `SHUTDOWN` |", "| `SHUTDOWN WAIT_FOR_SERVERS` |", "| `SHUTDOWN WAIT_FOR_CLIENTS` |"}
		}
		for _, want := range alternatives {
			if !strings.Contains(document, want) {
				t.Errorf("the command %s is missing", want)
			}
		}
	}
}

// sectionOf is what the document says of a view: up to the next one in bold, or its row of a table.
func sectionOf(document, view string) string {
	begin := "**SHOW " + strings.ToUpper(view) + "**"
	_, section, ok := strings.Cut(document, begin)
	if !ok {
		return ""
	}
	section, _, _ = strings.Cut(section, "**SHOW ")
	return begin + section
}

// documentedType is how the document writes a type.
func documentedType(t Type) string {
	short := map[Type]string{Int4: "int4", Int8: "int8", Float8: "float8", Bool: "bool", Timestamp: "timestamptz"}
	if name, ok := short[t]; ok {
		return name
	}
	return t.String()
}
