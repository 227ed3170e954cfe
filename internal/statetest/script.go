package statetest

import (
	"bufio"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Verb is what a step does.
type Verb string

// The verbs. A step other than Connect on a client that is not connected connects it first, without parameters.
const (
	Connect Verb = "connect" // log in, with start-up parameters name=value
	Query   Verb = "query"   // a simple query
	Pipe    Verb = "pipe"    // messages of the extended protocol, separated by " ;; ", and a Sync
	Check   Verb = "check"   // compare what the session holds; nothing inside a failed transaction
	Leave   Verb = "leave"   // Terminate
	Drop    Verb = "drop"    // close the socket without a word
)

var verbs = []Verb{Connect, Query, Pipe, Check, Leave, Drop}

// Step is one thing that a client and its twin do. In Text, {my} begins a name that belongs to this client on this
// side, and {lock1} to {lock99} are the keys of its advisory locks.
type Step struct {
	Client int
	Verb   Verb
	Text   string
}

// String is the line of the step in a script.
func (s Step) String() string {
	return strings.TrimSpace(fmt.Sprintf("c%d: %s %s", s.Client, s.Verb, s.Text))
}

// Script is steps of any number of clients in the order in which they are played.
type Script []Step

// String is the script as ParseScript reads it.
func (s Script) String() string {
	var b strings.Builder
	for _, step := range s {
		b.WriteString(step.String() + "\n")
	}
	return b.String()
}

// Of is the part that one client plays.
func (s Script) Of(client int) Script {
	return slices.DeleteFunc(slices.Clone(s), func(step Step) bool { return step.Client != client })
}

// ParseScript reads one step a line, such as "c1: query SET work_mem = '1MB'". Empty lines and those that begin
// with # are skipped.
func ParseScript(text string) (Script, error) {
	var script Script
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		step, err := parseStep(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		script = append(script, step)
	}
	return script, lines.Err()
}

func parseStep(line string) (Step, error) {
	who, what, ok := strings.Cut(line, ": ")
	id, err := strconv.Atoi(strings.TrimPrefix(who, "c"))
	if !ok || err != nil || id < 0 || id >= maxClients {
		return Step{}, fmt.Errorf("%q does not begin with a client such as c1: ", line)
	}
	verb, text, _ := strings.Cut(what, " ")
	s := Step{Client: id, Verb: Verb(verb), Text: text}
	if !slices.Contains(verbs, s.Verb) {
		return Step{}, fmt.Errorf("unknown verb %q, want one of %q", verb, verbs)
	}
	_, err = s.encode()
	return s, err
}

//go:embed testdata/cases/*.txt
var caseFiles embed.FS

// Cases are the kept scripts, by file name.
func Cases() (map[string]Script, error) {
	const dir = "testdata/cases"
	files, err := caseFiles.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	cases := map[string]Script{}
	for _, f := range files {
		text, err := caseFiles.ReadFile(dir + "/" + f.Name())
		if err != nil {
			return nil, err
		}
		if cases[f.Name()], err = ParseScript(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return cases, nil
}
