package statetest

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// generator invents steps. All its choices come from the seed and from what the twins have answered.
type generator struct {
	*rand.Rand
	twins *twins
	kinds []kind
	total int     // of the kinds' weights
	whose *client // whom the step is for
}

func newGenerator(t *twins) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(t.opts.Seed, 0)), twins: t}
	for _, k := range allKinds {
		if g.plays(k.name) {
			g.kinds = append(g.kinds, k)
			g.total += k.weight
		}
	}
	return g
}

// Kinds of steps that are made of others.
const (
	startUps = "start-up parameters"
	pipes    = "pipes"
	several  = "several statements"
)

// Kinds are the names of the kinds of steps, for Options.Without.
func Kinds() []string {
	names := []string{startUps, pipes, several}
	for _, k := range allKinds {
		if !slices.Contains(names, k.name) {
			names = append(names, k.name)
		}
	}
	return names
}

func (g *generator) plays(kind string) bool { return !slices.Contains(g.twins.opts.Without, kind) }

// next is a step for some client, with what has to come before and after it.
func (g *generator) next() []Step {
	c := g.someone()
	if !c.connected() {
		return []Step{{Client: c.id, Verb: Connect, Text: g.startUp()}}
	}
	s := g.step(c)
	s.Client = c.id
	switch {
	case g.twins.refuses(s):
		return g.giveUp(pick(g, g.twins.pinned()...))
	case s.Verb == Leave || s.Verb == Drop:
		return []Step{{Client: c.id, Verb: Check}, s}
	case g.IntN(g.twins.opts.CheckEvery) == 0:
		return []Step{s, {Client: c.id, Verb: Check}}
	}
	return []Step{s}
}

// someone is often one of those who hold something: else they would hold it for long, with little happening.
func (g *generator) someone() *client {
	if pinned := g.twins.pinned(); len(pinned) > 0 && g.chance(25) {
		return pick(g, pinned...)
	}
	return g.twins.client(g.IntN(g.twins.opts.Clients))
}

// giveUp makes c let go of its server session.
func (g *generator) giveUp(c *client) []Step {
	check := Step{Client: c.id, Verb: Check}
	switch {
	case c.inTransaction() && g.chance(80):
		return []Step{{Client: c.id, Verb: Query, Text: pick(g, "ROLLBACK", "COMMIT")}, check}
	case !c.inTransaction() && g.chance(50):
		return []Step{{Client: c.id, Verb: Query, Text: "DISCARD ALL"}, check}
	}
	return []Step{check, {Client: c.id, Verb: pick(g, Leave, Drop)}}
}

func (g *generator) step(c *client) Step {
	g.whose = c
	switch {
	case c.inTransaction() && g.chance(20):
		return Step{Verb: Query, Text: pick(g, "COMMIT", "ROLLBACK", "COMMIT", "ROLLBACK AND CHAIN", "COMMIT AND CHAIN")}
	case g.chance(2):
		return Step{Verb: pick(g, Leave, Drop, Connect)}
	case g.chance(14) && g.plays(pipes):
		return Step{Verb: Pipe, Text: g.pipe()}
	case g.chance(8) && g.plays(several):
		return Step{Verb: Query, Text: g.statements(2 + g.IntN(3))}
	}
	k := g.kind()
	text := k.text(g)
	switch {
	case k.pipe:
		return Step{Verb: Pipe, Text: text}
	case !k.onlySimple && g.chance(25):
		return Step{Verb: Pipe, Text: g.extended(text)}
	}
	return Step{Verb: Query, Text: text}
}

// kind is drawn by weight.
func (g *generator) kind() kind {
	n := g.IntN(g.total)
	for _, k := range g.kinds {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	panic("bug: weights do not add up")
}

// statement is one that can stand anywhere.
func (g *generator) statement() string {
	for {
		if k := g.kind(); !k.pipe && !k.onlySimple {
			return k.text(g)
		}
	}
}

func (g *generator) statements(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = g.statement()
	}
	return strings.Join(all, "; ")
}

// extended is what drivers make of a statement without parameters.
func (g *generator) extended(text string) string {
	parts := []string{"parse - " + text, "bind - -", "describe P -", "execute -"}
	if g.chance(30) {
		parts[2] = "describe S -"
	}
	return strings.Join(parts, separator)
}

// pipe is messages around few names, so that there are duplicates and missing ones.
func (g *generator) pipe() string {
	var parts []string
	for range 1 + g.IntN(4) {
		parts = append(parts, g.messages()...)
	}
	return strings.Join(parts, separator)
}

func (g *generator) messages() []string {
	name := pick(g, "-", "-", "p1", "p2", "p3")
	switch g.IntN(10) {
	case 0, 1, 2:
		p := pick(g, preparable...)
		return []string{"parse " + name + " " + p.text, "bind - " + name + " " + p.args, "execute -"}
	case 3:
		return []string{"parse " + name + " " + g.statement()}
	case 4, 5:
		return []string{"bind - " + name + pick(g, "", " 1", " x"), pick(g, "execute -", "execute - 1")}
	case 6:
		return []string{"close S " + name}
	case 7:
		return []string{"describe S " + name}
	case 8:
		return []string{"bind w1 " + name, "describe P w1", "execute w1 2", "execute w1"}
	default:
		return []string{pick(g, "sync", "flush", "parse - SELECT 1/0 ;; bind - - ;; execute -", "close P w1", "parse - BEGIN ;; bind - - ;; execute -")}
	}
}

// startUp is the parameters that a client logs in with.
func (g *generator) startUp() string {
	if g.chance(50) || !g.plays(startUps) {
		return ""
	}
	var parts, options []string
	for range 1 + g.IntN(3) {
		s := pick(g, settings...)
		value := pick(g, s.values...)
		switch {
		case slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, s.name) }):
		case g.chance(50) && s.name != "client_encoding":
			options = append(options, "-c "+s.name+"="+strings.NewReplacer(`\`, `\\`, " ", `\ `).Replace(value))
		case !strings.Contains(s.name, "."):
			parts = append(parts, quote(s.name+"="+value))
		}
	}
	if len(options) > 0 {
		parts = append(parts, quote("options="+strings.Join(options, " ")))
	}
	return strings.Join(parts, " ")
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }
