package statetest

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// client is a session through the pooler and its twin.
type client struct {
	id         int
	generation int // counts its logins
	direct     *conn
	through    *conn
	held       string // what may tie it to a server session besides a transaction, "" if nothing
	armed      bool   // a prepared statement of its may come to hold something
}

func (c *client) connected() bool { return c.direct != nil && c.through != nil }

// status is that of the twin's last ReadyForQuery, 0 without a connection.
func (c *client) status() byte {
	if !c.connected() {
		return 0
	}
	return c.direct.status
}

func (c *client) inTransaction() bool { return c.status() == 'T' || c.status() == 'E' }

// pinned tells whether the client may be tied to a server session.
func (c *client) pinned() bool { return c.held != "" || c.inTransaction() }

func (c *client) close(abrupt bool) {
	for _, side := range []*conn{c.direct, c.through} {
		if side != nil {
			side.close(abrupt)
		}
	}
	c.direct, c.through, c.held, c.armed = nil, nil, "", false
}

// twins plays steps on clients and on their twins, one step at a time, and keeps book of who may hold a server session.
type twins struct {
	opts    Options
	clients map[int]*client
	played  Script
}

func newTwins(opts Options) *twins { return &twins{opts: opts, clients: map[int]*client{}} }

func (t *twins) client(id int) *client {
	if t.clients[id] == nil {
		t.clients[id] = &client{id: id}
	}
	return t.clients[id]
}

func (t *twins) close() {
	for _, c := range t.clients {
		c.close(false)
	}
}

// pinned are the clients that may hold a server session, in the order of their numbers.
func (t *twins) pinned() []*client {
	var all []*client
	for _, id := range slices.Sorted(maps.Keys(t.clients)) {
		if t.clients[id].pinned() {
			all = append(all, t.clients[id])
		}
	}
	return all
}

// Texts that may tie a client to its server session, on the cautious side: for the time of a transaction, or longer.
var (
	beginsText  = regexp.MustCompile(`(?i)(^|; |parse \S+ )(begin|start transaction)`)
	holdsText   = regexp.MustCompile(`(?i)create (local )?temp|pg_temp|into temp|with hold|advisory_lock|st_hold|\blisten\b|(^|; |parse \S+ )prepare `)
	skippable   = regexp.MustCompile(`;; parse - `)
	preparing   = regexp.MustCompile(`(?i)parse [^-]|prepare`)
	mayRun      = regexp.MustCompile(`(?i)bind|execute`)
	discardsAll = regexp.MustCompile(`(?i)^discard all$`)
)

// mayHold tells whether s may leave what cannot be carried to another server session.
func (c *client) mayHold(s Step) bool {
	return s.Verb != Connect && (holdsText.MatchString(s.Text) || c.armed && mayRun.MatchString(s.Text))
}

// maySkip tells whether the Parse of an unnamed statement may be skipped after an error. A proxy that has not kept the
// one before it has to stay with the server session that knows it, until a Check ends it.
func maySkip(s Step) bool { return s.Verb == Pipe && skippable.MatchString(s.Text) }

// refuses tells whether s may tie one client too many to a server session: others would then wait for ever.
func (t *twins) refuses(s Step) bool {
	c := t.client(s.Client)
	ties := c.mayHold(s) || maySkip(s) || beginsText.MatchString(s.Text)
	return ties && !c.pinned() && len(t.pinned()) >= t.opts.Sessions-1
}

// play does one step on both sides and compares.
func (t *twins) play(ctx context.Context, s Step) *Failure {
	c := t.client(s.Client)
	if t.refuses(s) {
		return t.failure(BadScript, s, Answer{"too many clients would hold a server session"}, nil)
	}
	t.played = append(t.played, s)
	switch {
	case s.Verb == Leave || s.Verb == Drop:
		c.close(s.Verb == Drop)
		return nil
	case s.Verb == Connect || !c.connected():
		if f := t.connect(ctx, c, s); f != nil || s.Verb == Connect {
			return f
		}
	}
	if s.Verb == Check && c.status() == 'E' {
		return nil
	}
	return t.exchange(c, s)
}

func (t *twins) connect(ctx context.Context, c *client, s Step) *Failure {
	c.close(false)
	var parameters map[string]string
	if s.Verb == Connect {
		var err error
		if parameters, err = startUp(s.Text); err != nil {
			return t.failure(BadScript, s, Answer{err.Error()}, nil)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, t.opts.StepLimit)
	defer cancel()
	c.generation++
	var want, got Answer
	c.direct, want = open(ctx, t.opts.Direct, owner{direct, c.id, c.generation}, parameters)
	c.through, got = open(ctx, t.opts.Through, owner{through, c.id, c.generation}, parameters)
	return t.compare(c, Step{Client: c.id, Verb: Connect, Text: s.Text}, want, got)
}

func (t *twins) exchange(c *client, s Step) *Failure {
	asked := s
	if s.Verb == Check {
		asked = Step{Client: s.Client, Verb: Query, Text: observed}
	}
	wantReady, err := c.direct.send(asked, t.opts.StepLimit)
	if err != nil {
		return t.failure(BadScript, s, Answer{err.Error()}, nil)
	}
	gotReady, err := c.through.send(asked, t.opts.StepLimit)
	if err != nil {
		return t.failure(Differs, s, nil, Answer{err.Error()})
	}
	mayHold := c.mayHold(s)
	want, got := c.direct.receive(wantReady), c.through.receive(gotReady)
	c.learn(s, mayHold, want)
	return t.compare(c, s, want, got)
}

// learn keeps book of what c may hold.
func (c *client) learn(s Step, mayHold bool, want Answer) {
	ended := slices.Equal(want, Answer{"tag DISCARD ALL", "Z I"}) && discardsAll.MatchString(s.Text)
	switch {
	case ended:
		c.held, c.armed = "", false
	case s.Verb == Check && c.status() == 'I':
		c.held = heldBy(want)
	case mayHold:
		c.held = s.Text
		c.armed = c.armed || preparing.MatchString(s.Text)
	case maySkip(s) && slices.ContainsFunc(want, isError):
		c.held = "a skipped Parse: " + s.Text
	}
}

func isError(line string) bool { return strings.HasPrefix(line, "ERROR") }

// compare ends a step. Parameters are compared each time: an application sees them without asking.
func (t *twins) compare(c *client, s Step, want, got Answer) *Failure {
	timedOut := c.through != nil && c.through.timedOut
	if c.connected() && !maps.Equal(c.direct.parameters, c.through.parameters) {
		want, got = reported(want, c.direct, c.through), reported(got, c.through, c.direct)
	}
	if !c.connected() || c.direct.status == 0 {
		c.close(true)
	}
	switch {
	case timedOut:
		return t.failure(TimedOut, s, want, got)
	case same(s, want, got):
		return nil
	case s.Verb == Check:
		return t.failure(HoldsOther, s, onlyIn(want, got, sameRow), onlyIn(got, want, func(g, w string) bool { return sameRow(w, g) }))
	}
	return t.failure(Differs, s, want, got)
}

// reported adds to an answer the parameters of mine that differ from those of the other.
func reported(a Answer, mine, other *conn) Answer {
	a = slices.Clone(a)
	for _, name := range slices.Sorted(maps.Keys(mine.parameters)) {
		if v, ok := other.parameters[name]; !ok || v != mine.parameters[name] {
			a = append(a, "reported "+name+"="+mine.parameters[name])
		}
	}
	return a
}

// onlyIn is the rows of a that b lacks.
func onlyIn(a, b Answer, same func(string, string) bool) Answer {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool {
		return slices.ContainsFunc(b, func(other string) bool { return same(line, other) })
	})
}

func (t *twins) failure(kind Kind, s Step, want, got Answer) *Failure {
	var holders []string
	for _, c := range t.pinned() {
		why := c.held
		if c.inTransaction() {
			why = strings.TrimPrefix(why+"; a transaction", "; ")
		}
		holders = append(holders, fmt.Sprintf("c%d: %s", c.id, why))
	}
	return &Failure{Kind: kind, Seed: t.opts.Seed, Step: s, Direct: want, Through: got, Holders: holders, Script: slices.Clone(t.played)}
}

// defaultStepLimit is generous: all a step does takes milliseconds.
const defaultStepLimit = 10 * time.Second
