package conform

import (
	"fmt"
	"slices"
	"strings"
)

// Answer is what a case found out about one question.
type Answer string

// The answers. Told is a state that is gone and of which the client was told so by the SQLSTATE that the server itself
// has for it.
const (
	Yes           Answer = "yes"
	No            Answer = "no"
	Told          Answer = "told"
	NotApplicable Answer = "n.a."
	Hung          Answer = hung
	Disconnected  Answer = disconnected
)

// Result is one row of the table.
type Result struct {
	Case
	Kept   Answer `json:"kept"`
	Leaked Answer `json:"leaked"`
	Pinned bool   `json:"pinned"` // a client had to wait for another one to leave
	Note   string `json:"note,omitempty"`
}

// OK tells whether the pooler did as a direct connection would.
func (r Result) OK() bool { return r.keptOK() && r.leakedOK() }

func (r Result) keptOK() bool { return r.Kept == Yes || r.Kept == Told || r.Kept == NotApplicable }

func (r Result) leakedOK() bool { return r.Leaked == No || r.Leaked == NotApplicable }

// compare judges what was seen through the pooler by what was seen directly.
func compare(c Case, want, got *play) Result {
	r := Result{Case: c, Kept: Yes, Leaked: No, Pinned: len(got.waited) > 0}
	var notes []string
	if r.Pinned {
		notes = append(notes, strings.Join(got.waited, " and ")+" waited")
	}
	if kept, note := c.state.kept(want.first, got.first); kept != Yes {
		r.Kept, notes = kept, append(notes, note)
	} else if note != "" {
		notes = append(notes, note)
	}
	if leaked, note := c.state.leaks(want, got); leaked != No {
		r.Leaked, notes = leaked, append(notes, note)
	}
	if c.End.endsClient() && r.Kept == Yes {
		r.Kept = NotApplicable
	}
	r.Note = strings.Join(notes, "; ")
	return r
}

// kept compares what the first client saw.
func (s state) kept(want, got []seen) (Answer, string) {
	verdict, note := Yes, ""
	for i := range max(len(want), len(got)) {
		w, g := at(want, i), at(got, i)
		switch {
		case w == g:
		case s.honest != "" && g.answer == "error "+s.honest:
			verdict, note = Told, difference(w, g)
		case s.heals != "" && w.answer == "error "+s.heals && !strings.HasPrefix(g.answer, "error"):
			note = "spared " + w.answer
		default:
			return broken(g, No), difference(w, g)
		}
	}
	return verdict, note
}

// leaks compares what the others saw. Somebody who waited has seen what there was afterwards; the server's own word that
// there is nothing shows nothing of anybody.
func (s state) leaks(want, got *play) (Answer, string) {
	looks := []struct {
		who       string
		want, got []seen
	}{
		{otherClient, want.during, got.during},
		{otherClient + ", later", want.after, got.after},
		{newcomer, want.newcomer, got.newcomer},
	}
	var otherwise []seen
	if slices.Contains(got.waited, otherClient) {
		otherwise = want.after
	}
	if got.left {
		looks[1].want = got.after
	}
	for _, l := range looks {
		if i := differ(l.want, l.got, otherwise, s.honest); i >= 0 {
			w, g := at(l.want, i), at(l.got, i)
			return broken(g, Yes), l.who + ": " + difference(w, g)
		}
	}
	return No, ""
}

// broken is the verdict on an answer that differs: a connection that ended is no wrong answer.
func broken(g seen, otherwise Answer) Answer {
	switch {
	case strings.HasSuffix(g.answer, hung):
		return Hung
	case strings.HasSuffix(g.answer, disconnected):
		return Disconnected
	case otherwise == Yes && strings.HasPrefix(g.answer, "refused"):
		return Disconnected
	default:
		return otherwise
	}
}

// at is the i-th entry, empty if there is none.
func at(all []seen, i int) seen {
	if i < len(all) {
		return all[i]
	}
	return seen{}
}

// differ is the index of the first entry that is neither what is wanted nor what would do otherwise, -1 for none.
func differ(want, got, otherwise []seen, honest string) int {
	for i := range max(len(want), len(got)) {
		g := at(got, i)
		if honest != "" && g.answer == "error "+honest {
			continue
		}
		if g != at(want, i) && (i >= len(otherwise) || g != otherwise[i]) {
			return i
		}
	}
	return -1
}

// difference tells what should have been seen.
func difference(want, got seen) string {
	if want.what != got.what { // only a login that failed has no counterpart
		return fmt.Sprintf("%s: %s", got.what, got.answer)
	}
	return fmt.Sprintf("%s: %s, direct %s", short(got.what), short(got.answer), short(want.answer))
}

func short(text string) string {
	const limit = 60
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}
