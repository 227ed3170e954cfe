package conform

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// seen is a step and its answer.
type seen struct{ what, answer string }

// Those on the stage, for notes.
const (
	otherClient = "other client"
	newcomer    = "newcomer"
)

// play is one case on one side, direct or through the pooler, and what each of the three clients saw.
type play struct {
	first    []seen
	during   []seen // by the other while the first client was there
	after    []seen // by the other when it had gone
	newcomer []seen
	waited   []string // who had to wait until another left
	left     bool     // the other left early, for one who waited

	pids []string // the server sessions that were lent
	err  error    // the direct side could not be played
}

// stage is where a play takes place.
type stage struct {
	Options
	cfg   *pgconn.Config
	admin *admin

	Case
	naming naming
	want   *play // what the direct side saw; nil when this is the direct side
}

// actor is a client on the stage, with its notes.
type actor struct {
	*stage
	*client // nil when it was not let in
	notes   []seen
	pid     string
}

// enter logs in and asks for the server session's number, so that every session that was lent is known.
func (s *stage) enter(ctx context.Context, startup map[string]string) *actor {
	a := &actor{stage: s}
	timeout := s.Timeout
	if s.want == nil { // that PostgreSQL is slow is no fault of the pooler's
		timeout = max(timeout, DefaultTimeout)
	}
	c, err := dial(ctx, s.cfg, s.naming.startup(startup), timeout)
	if err != nil {
		a.note("login", refusal(err))
		return a
	}
	a.client = c
	if s.want != nil {
		c.patience = s.Patience / 2 // less than what makes others leave
	}
	if pid := c.query("SELECT pg_backend_pid()"); isNumber(pid) {
		a.pid = pid
	} else {
		a.note("first query", pid)
	}
	return a
}

func isNumber(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}

func (a *actor) note(what, answer string) {
	a.notes = append(a.notes, seen{what, a.naming.hide(answer)})
}

func (a *actor) do(steps script) {
	if a.client == nil {
		return
	}
	for _, s := range steps {
		a.note(s.what(), a.perform(a.naming.step(s), a.Protocol, a.admin))
	}
}

// takeNotes returns the notes since the last call.
func (a *actor) takeNotes() []seen {
	notes := a.notes
	a.notes = nil
	return notes
}

func (a *actor) leave() {
	if a.client != nil {
		a.terminate()
	}
}

// unit is the unit of work that makes the state, and the end of it.
func (a *actor) unit() {
	made := a.state.make
	switch a.End {
	case EndCommit:
		a.do(sql("BEGIN").then(made, sql("COMMIT")))
	case EndRollback:
		a.do(sql("BEGIN").then(made, sql("ROLLBACK")))
	case EndSavepoint:
		a.do(sql("BEGIN", "SAVEPOINT conform").then(made, sql("ROLLBACK TO conform", "COMMIT")))
	case EndError:
		a.note("request with an error", a.pipeline(a.naming.script(made), a.Protocol))
	case EndOpen, EndKilledInBlock:
		a.do(sql("BEGIN").then(made))
	case EndKilledBusy:
		a.note("request without its end", a.leaveBusy(a.naming.script(made), a.Protocol))
	default:
		a.do(made)
	}
}

// run plays the case. The objects of the state must be there.
func (s *stage) run(ctx context.Context) *play {
	p := &play{}
	first := s.enter(ctx, s.state.startup)
	defer first.leave()
	if first.client != nil {
		first.do(s.state.before)
		first.unit()
	}
	p.meet(first)
	if s.End.endsClient() {
		s.departure(ctx, p, first)
	} else {
		s.change(ctx, p, first)
	}
	return p
}

// meet notes the server session that an actor was lent.
func (p *play) meet(a *actor) {
	if a.pid != "" {
		p.pids = append(p.pids, a.pid)
	}
}

// change lets the other client work between the first one's unit of work and its look back. Where one of them holds the
// only server session, it leaves once it has done its part, so that the one who waits comes to his.
func (s *stage) change(ctx context.Context, p *play, first *actor) {
	entered := make(chan *actor, 1)
	go func() {
		other := s.enter(ctx, nil)
		other.do(s.state.spies().then(s.state.works(s.End)))
		entered <- other
	}()
	var other *actor
	select {
	case other = <-entered:
	case <-time.After(s.patience()):
		p.waited = append(p.waited, otherClient)
	}
	s.inPatience(p, "first client", other, func() { first.do(s.state.look) })
	p.first = first.takeNotes()
	first.leave()
	if other == nil {
		other = <-entered
	}
	defer other.leave()
	p.meet(other)
	p.during = other.takeNotes()
	s.goneFirst(p, first)
	if !p.left {
		p.after = s.spyAgain(other)
	}
	s.inPatience(p, newcomer, other, func() { s.arrive(ctx, p) })
}

// inPatience does what somebody has to do. When that takes long, the other client, if it is there, leaves.
func (s *stage) inPatience(p *play, who string, other *actor, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(s.patience()):
		if other != nil && !p.left {
			p.waited, p.left = append(p.waited, who), true
			other.leave()
		}
		<-done
	}
}

// patience is for the pooler alone; a direct client does not wait.
func (s *stage) patience() time.Duration {
	if s.want == nil {
		return 2 * max(s.Timeout, DefaultTimeout)
	}
	return s.Patience
}

// departure ends the first client at once.
func (s *stage) departure(ctx context.Context, p *play, first *actor) {
	p.first = first.takeNotes()
	if first.client != nil && s.End != EndDisconnect {
		first.kill()
	}
	first.leave()
	s.goneFirst(p, first)
	s.arrive(ctx, p)
}

// goneFirst waits for the end of a direct session, so that what others expect does not depend on chance.
func (s *stage) goneFirst(p *play, first *actor) {
	if s.want == nil && first.pid != "" {
		p.err = s.admin.gone([]string{first.pid})
	}
}

// arrive lets a newcomer look.
func (s *stage) arrive(ctx context.Context, p *play) {
	late := s.enter(ctx, nil)
	defer late.leave()
	p.meet(late)
	p.newcomer = append(late.takeNotes(), s.spyAgain(late)...)
}

// spyAgain looks at the state when its owner has gone. Where everybody may see the state, its end may take a moment.
func (s *stage) spyAgain(a *actor) []seen {
	for deadline := time.Now().Add(s.Timeout); ; pause() {
		a.do(s.state.spies())
		notes := a.takeNotes()
		if s.want == nil || !s.state.public || a.client == nil || time.Now().After(deadline) {
			return notes
		}
		if differ(notes, s.want.newcomer, nil, "") < 0 || a.dead != "" {
			return notes
		}
	}
}
