package statetest

import (
	"fmt"
	"strings"
)

// Kind is how a script fails.
type Kind uint8

// The kinds of failure.
const (
	BadScript  Kind = iota // the script cannot be played
	Differs                // an answer through the pooler is not that of the twin
	HoldsOther             // a Check found other state
	TimedOut               // no answer through the pooler in time
)

// String names the kind in a report.
func (k Kind) String() string {
	switch k {
	case Differs:
		return "answers differ"
	case HoldsOther:
		return "state differs"
	case TimedOut:
		return "no answer in time"
	default:
		return "bad script"
	}
}

// Failure is the first step at which a client and its twin were not alike.
type Failure struct {
	Kind    Kind
	Seed    uint64
	Step    Step
	Direct  Answer
	Through Answer
	Holders []string // who is believed to hold a server session, and why
	Script  Script   // everything played, up to and with Step
}

const (
	columnWidth = 70
	shownSteps  = 60
)

// String is the report without the script of the others.
func (f *Failure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: seed %d, step %d: %s\n", f.Kind, f.Seed, len(f.Script), f.Step)
	sideBySide(&b, f.Direct, f.Through)
	if len(f.Holders) > 0 {
		fmt.Fprintf(&b, "believed to hold a server session:\n\t%s\n", strings.Join(f.Holders, "\n\t"))
	}
	own := f.Script.Of(f.Step.Client)
	shown := own[max(0, len(own)-shownSteps):]
	fmt.Fprintf(&b, "the last %d of %d steps of c%d:\n%s", len(shown), len(own), f.Step.Client, shown)
	return b.String()
}

// sideBySide marks the lines that differ. Many equal ones in a row are left out.
func sideBySide(b *strings.Builder, left, right Answer) {
	fmt.Fprintf(b, "  %-*s %s\n", columnWidth, "direct", "through")
	for i := range max(len(left), len(right)) {
		l, r := at(left, i), at(right, i)
		switch {
		case l != r:
			fmt.Fprintf(b, "! %-*s %s\n", columnWidth, l, r)
		case len(left) <= 12:
			fmt.Fprintf(b, "  %-*s %s\n", columnWidth, l, r)
		}
	}
}

func at(a Answer, i int) string {
	if i >= len(a) {
		return "(nothing)"
	}
	return a[i]
}

// way is what a smaller script must have in common with the one that failed, lest it shows something else.
func (f *Failure) way() string {
	if f.Kind == TimedOut {
		return f.Kind.String()
	}
	for i := range max(len(f.Direct), len(f.Through)) {
		if l, r := at(f.Direct, i), at(f.Through, i); l != r {
			return fmt.Sprintf("%s: %s, %s", f.Kind, shape(l), shape(r))
		}
	}
	return f.Kind.String()
}

// shape is a line without what is in it: the type of a message, the SQLSTATE, the name of a parameter.
func shape(line string) string {
	line, _, _ = strings.Cut(line, "=")
	all := strings.Fields(line)
	words := map[string]int{"ERROR": 2, "FATAL": 2, "row": 4, "reported": 2}[all[0]]
	return strings.Join(all[:min(len(all), max(words, 1))], " ")
}
