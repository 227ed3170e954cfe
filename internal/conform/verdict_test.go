package conform

import (
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	one := func(answer string) []seen { return []seen{{"look", answer}} }
	direct := &play{first: one("mine"), during: one("locked"), after: one("free"), newcomer: one("free")}
	for _, c := range []struct {
		name   string
		state  state
		end    End
		got    play
		kept   Answer
		leaked Answer
		note   string
	}{
		{name: "as direct", got: *direct, kept: Yes, leaked: No},
		{name: "a client that is gone has nothing to keep", end: EndKilledIdle, got: *direct, kept: NotApplicable, leaked: No},
		{
			name: "another's value", got: play{first: one("theirs"), during: one("locked"), after: one("free"), newcomer: one("free")},
			kept: No, leaked: No, note: "look: theirs, direct mine",
		},
		{
			name: "the server's word that it is gone", state: state{honest: "55000"},
			got:  play{first: one("error 55000"), during: one("locked"), after: one("free"), newcomer: one("free")},
			kept: Told, leaked: No, note: "look: error 55000, direct mine",
		},
		{
			name: "who waited sees what there is afterwards", got: play{waited: []string{otherClient}, first: one("mine"), during: one("free"), after: one("free"), newcomer: one("free")},
			kept: Yes, leaked: No, note: "other client waited",
		},
		{
			name: "who did not wait must see it at once", got: play{first: one("mine"), during: one("free"), after: one("free"), newcomer: one("free")},
			kept: Yes, leaked: Yes, note: "other client: look: free, direct locked",
		},
		{
			name: "a newcomer that gets no answer", got: play{first: one("mine"), during: one("locked"), after: one("free"), newcomer: one(hung)},
			kept: Yes, leaked: Hung, note: "newcomer: look: hung, direct free",
		},
		{
			name: "a login refused", got: play{first: []seen{{"login", "refused 08P01"}}, during: one("locked"), after: one("free"), newcomer: one("free")},
			kept: No, leaked: No, note: "login: refused 08P01",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := compare(Case{End: c.end, state: c.state}, direct, &c.got)
			if r.Kept != c.kept || r.Leaked != c.leaked || r.Note != c.note {
				t.Errorf("got kept %s, leaked %s, note %q", r.Kept, r.Leaked, r.Note)
			}
		})
	}
}

func TestAnErrorThatAProxySparesItsClientIsNoFault(t *testing.T) {
	got, note := state{heals: "0A000"}.kept([]seen{{"look", "error 0A000"}}, []seen{{"look", "1 | 2"}})
	if got != Yes || note != "spared error 0A000" {
		t.Errorf("got %s, %q", got, note)
	}
}

func TestTablesMergeRowsThatSayTheSame(t *testing.T) {
	var rows []Result
	for _, p := range []Protocol{Simple, Extended} {
		for _, e := range []End{EndAutocommit, EndCommit, EndRollback} {
			r := Result{Case: Case{State: "x", Protocol: p, End: e}, Kept: Yes, Leaked: No}
			if e == EndRollback {
				r.Leaked, r.Note = Yes, "a | b"
			}
			rows = append(rows, r)
		}
	}
	var b strings.Builder
	if err := (&Report{Rows: rows}).Markdown(&b); err != nil {
		t.Fatal(err)
	}
	want := `| state | protocol | ended by | kept | leaked | note |
| --- | --- | --- | --- | --- | --- |
| x | both | autocommit, COMMIT | yes | no |  |
| x | both | ROLLBACK | yes | **yes** | a \| b |
`
	if got := b.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
}
