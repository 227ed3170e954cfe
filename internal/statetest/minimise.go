package statetest

import (
	"context"
	"slices"
	"strings"
)

// Minimise makes the script of a failure smaller while it still fails in the same way, until nothing more can be left
// out or ctx ends. replay plays a candidate, best on a pooler of its own, and returns nil if that does not fail. The
// result is nil if not even the whole script fails again.
func Minimise(ctx context.Context, first *Failure, replay func(Script) *Failure) *Failure {
	m := &minimiser{ctx: ctx, way: first.way(), replay: replay}
	m.lastSteps(first.Script)
	if m.best == nil {
		return nil
	}
	m.clients()
	for before := -1; before != len(m.best.Script.String()); {
		before = len(m.best.Script.String())
		m.steps()
		m.texts()
	}
	return m.best
}

type minimiser struct {
	ctx    context.Context
	way    string
	replay func(Script) *Failure
	best   *Failure
}

// try takes a candidate over if it fails in the same way; what follows the failing step is left out with it.
func (m *minimiser) try(s Script) bool {
	if m.ctx.Err() != nil {
		return false
	}
	f := m.replay(s)
	if f == nil || f.way() != m.way {
		return false
	}
	m.best = f
	return true
}

// lastSteps finds how much of the end is enough. Most failures have their reason shortly before.
func (m *minimiser) lastSteps(s Script) {
	for n := 16; n < len(s); n *= 2 {
		if m.try(s[len(s)-n:]) {
			return
		}
	}
	m.try(s)
}

// clients leaves out one client after the other.
func (m *minimiser) clients() {
	for id := range maxClients {
		uses := func(s Step) bool { return s.Client == id }
		if slices.ContainsFunc(m.best.Script, uses) {
			m.try(slices.DeleteFunc(slices.Clone(m.best.Script), uses))
		}
	}
}

// steps leaves out ever shorter runs of steps.
func (m *minimiser) steps() {
	for size := len(m.best.Script) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(m.best.Script); {
			if !m.try(slices.Delete(slices.Clone(m.best.Script), at, at+size)) {
				at += size
			}
		}
	}
}

// texts leaves out statements, messages and start-up parameters within steps.
func (m *minimiser) texts() {
	for at := 0; at < len(m.best.Script); at++ {
		for part := 0; at < len(m.best.Script); {
			parts := m.best.Script[at].parts()
			if part >= len(parts) || len(parts) == 1 {
				break
			}
			candidate := slices.Clone(m.best.Script)
			candidate[at] = candidate[at].with(slices.Delete(parts, part, part+1))
			if !m.try(candidate) {
				part++
			}
		}
	}
}

// parts are what a step can lose one of.
func (s Step) parts() []string {
	switch s.Verb {
	case Query:
		return strings.Split(s.Text, "; ")
	case Pipe:
		return strings.Split(s.Text, separator)
	case Connect:
		all, err := words(s.Text)
		if err == nil {
			return all
		}
	default:
	}
	return nil
}

// with is the step with other parts.
func (s Step) with(parts []string) Step {
	switch s.Verb {
	case Query:
		s.Text = strings.Join(parts, "; ")
	case Pipe:
		s.Text = strings.Join(parts, separator)
	case Connect:
		quoted := make([]string, len(parts))
		for i, p := range parts {
			quoted[i] = quote(p)
		}
		s.Text = strings.Join(quoted, " ")
	default:
	}
	return s
}
