package frontend

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"pooler/backend"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
)

// activity is what a session does, as time limits, the reaper and views see it.
type activity uint8

const (
	doesNothing activity = iota // it holds nothing and asks nothing
	doesKeep                    // it asks nothing, but keeps a server session outside a transaction
	doesThink                   // it asks nothing in a transaction, or in the middle of a COPY or a pipeline
	doesRun                     // PostgreSQL owes it something, or it has not read its answer
	doesWait                    // it waits for a server session
	doesOwn                     // the pooler has something to do for it
	doesLogin                   // its login is not complete
)

// String is the activity as views show it.
func (a activity) String() string {
	return [...]string{"idle", "idle_keeping_session", "idle_in_transaction", "active", "waiting", "busy", "login"}[a]
}

// resting tells whether nothing changes before the client sends something.
func (a activity) resting() bool { return a <= doesKeep }

// activity judges the session as it stands.
func (s *Session) activity() activity {
	switch {
	case !s.greeted:
		return doesLogin
	case s.phase == PhaseWaiting:
		return doesWait
	case s.asking, s.lease == nil && (s.client.Queued() > 0 || len(s.pending) > 0):
		return doesOwn
	case s.lease == nil:
		return doesNothing
	}
	c := s.lease.Conn
	switch {
	case s.client.Queued() > 0, c.Queued() > 0, !c.Replies.Idle() && !s.hasItsTurn():
		return doesRun
	case !c.Replies.Idle():
		return doesThink
	case len(s.pending) > 0, c.Status() == 'I' && c.Cancelling():
		return doesOwn
	case c.Status() != 'I':
		return doesThink
	}
	return doesKeep
}

// hasItsTurn tells whether PostgreSQL waits for the client although it has not come to ReadyForQuery.
func (s *Session) hasItsTurn() bool {
	r := &s.lease.Conn.Replies
	return len(s.pending) == 0 && (r.AwaitsClient(s.flushed) || s.halfSent && r.Len() <= 1)
}

// inTransaction tells whether PostgreSQL has a transaction open for the client.
func (s *Session) inTransaction() bool {
	return s.lease != nil && (s.lease.Conn.Status() != 'I' || !s.lease.Conn.Replies.Idle())
}

// unread tells whether the client has sent something that has not been read yet.
func (s *Session) unread() bool { return s.client.Unread() }

// crew is the sessions of one loop, whose thread alone touches it, but for what is atomic. It is looked at every
// lookEvery: time limits need no timer of each client, and how long something lasts is known from one look to the next.
type crew struct {
	loop      *loop.Loop
	texts     sessionstate.Texts
	berths    []berth
	suspended bool // its clients are not read from until RESUME
	ledger    ledger
	strangers strangers
	members   atomic.Int32
	posted    atomic.Bool // a look is on its way

	statements statementBook
	notes      []*backend.Noted // spare ones
	untraced   int              // requests since the last that was traced by chance
}

func newCrew(l *loop.Loop) *crew {
	return &crew{loop: l, statements: statementBook{budget: statementBudget}}
}

// lookEvery is the grain of the clients' time limits: they end things later by up to so much, and never sooner.
const lookEvery = 250 * time.Millisecond

// berth is a session, and what the last look at it has seen. One is 64 bytes, so that looking at thousands of idle
// clients reads nothing else.
type berth struct {
	session   *Session
	heard     uint32 // counts what the client sends
	seen      uint32 // heard, as are all below, at the last look
	since     time.Duration
	due       time.Duration // when a time limit will be over, if nothing happens
	begun     time.Duration // the transaction
	cancelled time.Duration // what runs, because of query_timeout; 0: not
	turn      uint32        // answers that had come
	number    uint32        // of the transaction
	conn      uint32        // which runs it, as far as that is needed to tell it from others
	does      activity
	open      bool // there is a transaction
	settled   bool // what was heard last is in its trail
}

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

func (c *crew) join(s *Session) {
	s.berth = int32(len(c.berths))
	c.berths = append(c.berths, berth{session: s, heard: 1, does: doesLogin})
	c.members.Add(1)
}

func (c *crew) leave(s *Session) {
	last := len(c.berths) - 1
	c.berths[s.berth] = c.berths[last]
	c.berths[s.berth].session.berth = s.berth
	c.berths[last] = berth{}
	c.berths = c.berths[:last]
	if cap(c.berths) > 4*(last+64) {
		c.berths = slices.Clone(c.berths) // after a storm
	}
	c.members.Add(-1)
}

// of is the berth of s, valid until somebody joins or leaves.
func (c *crew) of(s *Session) *berth { return &c.berths[s.berth] }

// hear notes that the client has sent something. It is all that the hot path does for time limits.
func (s *Session) hear() {
	if s.phase != PhaseClosed {
		s.crew.berths[s.berth].heard++
	}
}

// lookAgain has the next look judge the session by its new limits.
func (s *Session) lookAgain() { s.crew.of(s).due = 0 }

// now is the time since loop.Epoch.
func (c *crew) now() time.Duration { return c.loop.Now() }

// look judges everybody of whom something has been heard, who does something, or for whom it is time.
func (c *crew) look() {
	c.posted.Store(false)
	c.statements.budget = statementBudget
	now, settled := c.now(), 0
	for i := len(c.berths) - 1; i >= 0; i-- {
		if i >= len(c.berths) {
			continue // a session that was ended has ended others
		}
		b := &c.berths[i]
		if b.does.resting() && b.heard == b.seen {
			if !b.settled && now-b.since >= settleAfter && settled < settledAtOnce {
				b.settled = true
				if b.session.settleTrail() {
					settled++
				}
			}
			if now < b.due {
				continue
			}
		}
		b.judge(now)
		b.session.keepTime(b, now) // which may end it
	}
}

// judge takes note of what the session does now, and since when.
func (b *berth) judge(now time.Duration) {
	s, was, silent := b.session, b.does, b.heard == b.seen
	b.settled = b.settled && silent
	b.does, b.seen, b.due = s.activity(), b.heard, 0
	same := was == b.does && (silent || b.does == doesWait) || was.resting() && b.does.resting() && silent
	if b.does == doesRun {
		c := s.lease.Conn
		turn, conn := c.Replies.Settled(), uint32(c.ID)
		same = was == doesRun && turn == b.turn && conn == b.conn
		b.turn, b.conn = turn, conn
	}
	if !same {
		b.since, b.cancelled = now, 0
	}
	open := b.does == doesRun || b.does == doesThink
	if open && (!b.open || b.number != s.transactions) {
		b.begun, b.number = now, s.transactions
	}
	b.open = open
}

// watchClients has each loop look at its sessions.
func (srv *Server) watchClients() {
	for _, c := range srv.crews {
		if c.members.Load() > 0 && !c.posted.Swap(true) { // else the loop is slow: once is enough
			c.loop.Post(c.look)
		}
	}
}

// gather asks each loop's thread something about its sessions, and waits for the answers. No loop may call it.
func gather[T any](srv *Server, ask func(*crew) []T) []T {
	answers := make(chan []T, len(srv.crews))
	for _, c := range srv.crews {
		c.loop.Post(func() {
			var answer []T
			defer func() { answers <- answer }()
			answer = ask(c)
		})
	}
	var all []T
	for range srv.crews {
		select {
		case some := <-answers:
			all = append(all, some...)
		case <-srv.gone:
			return all
		}
	}
	return all
}
