package backend

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/sessionstate"
)

func row(cells ...string) []byte {
	m := &pgproto3.DataRow{}
	for _, c := range cells {
		if c == "NULL" {
			m.Values = append(m.Values, nil)
		} else {
			m.Values = append(m.Values, []byte(c))
		}
	}
	b, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b[5:]
}

func TestReport(t *testing.T) {
	a := audit{report: &Report{}}
	for _, r := range [][]byte{
		row("setting", "Work_Mem", "344d42"), row("setting", "app.a", "NULL"), row("setting", "transaction_isolation", "61"),
		row("prepared", "P", "58"), row("named", "n", "58"), row("mention", "app.b", "NULL"), row("temporary", "", "NULL"),
	} {
		a.take('D', r)
	}
	a.take('Z', []byte("I"))
	r := a.report
	if !a.answered || r == nil {
		t.Fatal("no report")
	}
	if len(r.Settings) != 1 || r.Settings[0] != (sessionstate.Setting{Name: "work_mem", Value: "4MB"}) {
		t.Errorf("settings %v", r.Settings)
	}
	if len(r.Prepared) != 1 || len(r.Named) != 1 || len(r.Mentions) != 1 || r.Held != sessionstate.PinSet(sessionstate.EffectTemp) {
		t.Errorf("%+v", r)
	}
}

func TestAnAuditThatFailsOrIsTooLargeHasNoReport(t *testing.T) {
	for name, messages := range map[string]func(*audit){
		"an error":     func(a *audit) { a.take('E', []byte("SERROR\x00\x00")) },
		"two columns":  func(a *audit) { a.take('D', row("setting", "x")) },
		"no hex":       func(a *audit) { a.take('D', row("setting", "x", "zz")) },
		"too much":     func(a *audit) { a.take('D', row("setting", "x", strings.Repeat("61", maxAudit))) },
		"endless part": func(a *audit) { a.part(make([]byte, maxAudit+1), false) },
	} {
		a := audit{report: &Report{}}
		messages(&a)
		a.take('D', row("setting", "work_mem", "344d42"))
		a.take('Z', []byte("I"))
		if a.report != nil || !a.answered {
			t.Errorf("%s: report %+v, answered %v", name, a.report, a.answered)
		}
	}
}

// A DataRow of any bytes is read or refused, and nothing else happens.
func FuzzAuditRow(f *testing.F) {
	f.Add(row("setting", "work_mem", "344d42"), 3)
	f.Add(row("named", "x", "NULL"), 1)
	f.Add([]byte{0, 3, 0xff, 0xff, 0xff, 0xff}, 2)
	f.Fuzz(func(_ *testing.T, body []byte, cut int) {
		a := audit{report: &Report{}}
		a.take('D', body)
		at := min(max(cut, 0), len(body))
		a.part(body[:at], false)
		a.part(body[at:], true)
	})
}
