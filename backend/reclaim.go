package backend

import (
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// reclaim is where bringing a conn back stands, after its client has left something behind.
type reclaim struct {
	active     bool
	dirty      bool // session state must be discarded
	rolledBack bool
	hooks      []string // to be run before state is discarded
	hookBad    bool     // one that fails has the conn closed
	hookFailed bool
	lasting    bool
	since      time.Time
	again      *retry // nil: no cancel is to be repeated
}

// end notes that the conn is clean, or closed.
func (r *reclaim) end() {
	r.active = false
	if r.again != nil {
		r.again.conn, r.again = nil, nil
	}
}

// Leftovers is what a client leaves behind in its server session.
type Leftovers struct {
	Dirty    bool // session state, which is to be discarded
	Cancel   bool // a request that runs is to be cancelled rather than waited for
	Lasting  bool // state that no DISCARD clears: the conn is closed after Hooks
	HookBad  bool // a hook that fails has the conn closed
	Hooks    []string
	HalfSent bool // its last message was sent in part; nothing can follow that, so the conn is closed
}

// Reclaim takes the conn back from a client that left it in any state: a request running, a transaction open, COPY
// half done. The keeper hears of the end by Reclaimed or Lost.
func (c *Conn) Reclaim(left Leftovers) {
	c.borrower, c.audit = nil, nil
	if !c.Replies.Idle() {
		c.Unnamed = c // nobody's, but not nothing: what is under way may be skipped
	}
	c.reclaim = reclaim{active: true, dirty: left.Dirty, hooks: left.Hooks, hookBad: left.HookBad, lasting: left.Lasting, since: time.Now()}
	if left.Cancel && !c.Replies.Idle() {
		c.Cancel()
	}
	if left.HalfSent {
		c.Retire(RetireMidMessage)
		return
	}
	c.Replies.Disown()
	c.stream.Resume()
	c.endOpenRequests()
	c.reclaimStep()
}

// onSkipped notes that the server has skipped or refused a request of a client that has gone.
func (c *Conn) onSkipped(e sessionstate.Entry) {
	switch {
	case e.Shared && e.Kind == sessionstate.KindClose:
		c.NoteReal(e.Name, e.Stmt)
	case e.Shared:
		delete(c.RealNames, e.Name)
	case e.Kind != sessionstate.KindParse, e.Stmt == nil:
	case e.Action != sessionstate.Invent && e.Action != sessionstate.Replace:
		c.Prepared.Remove(e.Stmt)
	}
}

// endOpenRequests sends what the client would have had to send to bring the server to ReadyForQuery. Requests that it
// has not synced must not take effect, so an error goes in front of the Sync that would commit them.
func (c *Conn) endOpenRequests() {
	var out []byte
	if c.Replies.InCopy() {
		// Of a Sync that was sent before, COPY takes no notice; but if the cancel ends it first, the Sync is answered.
		// Answers to it and to the one below could not be told apart, so the conn is closed once it is at rest.
		c.unsure = c.unsure || c.Replies.NeedsSync()
		out, _ = (&pgproto3.CopyFail{Message: "the client has disconnected"}).Encode(out)
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindCopyEnd})
	}
	if c.Replies.NeedsSync() {
		out = wire.AppendNamed(out, 'D', []byte{'S'}, sessionstate.MissingStatement, nil, 0)
		out = wire.AppendHeader(out, 'S', 0)
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindDescribe, Action: sessionstate.Ignore})
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindSync, Action: sessionstate.Ignore})
	}
	c.stream.Write(out)
}

// reclaimStep does the next thing that is left to do, once the server owes nothing.
func (c *Conn) reclaimStep() {
	switch {
	case !c.Idle() || c.cancelling:
	case c.failed || c.unsure:
		c.Retire(RetireUncleanable)
	case c.reclaim.hookFailed:
		c.Retire(RetireHook)
	case c.status != 'I' && c.reclaim.rolledBack:
		c.Retire(RetireUncleanable)
	case c.status != 'I':
		c.reclaim.rolledBack = true
		c.ask("ROLLBACK")
	case len(c.reclaim.hooks) > 0:
		sql := c.reclaim.hooks[0]
		c.reclaim.hooks = c.reclaim.hooks[1:]
		c.Unnamed = nil
		c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindQuery, Action: sessionstate.Hook})
		c.stream.Write(wire.AppendQuery(nil, sql))
	case c.reclaim.lasting:
		c.Retire(RetireUnresettable)
	case c.reclaim.dirty:
		c.reclaim.dirty = false
		c.ask("DISCARD ALL")
		c.forget()
	default:
		c.reclaim.end()
		c.keeper.Reclaimed()
	}
}

// Reclaiming tells since when the conn is being brought back; ok is false when it is not.
func (c *Conn) Reclaiming() (since time.Time, ok bool) { return c.reclaim.since, c.reclaim.active }

// ask sends a query of the pooler's own, whose answer nobody gets. A Sync goes in front: a message that is no request,
// such as a Flush with a body, may have made the server skip everything up to one.
func (c *Conn) ask(sql string) {
	c.Unnamed = nil // a simple Query drops it
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindSync, Action: sessionstate.Ignore})
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindQuery, Action: sessionstate.Swallow})
	c.stream.Write(wire.AppendQuery(wire.AppendHeader(nil, 'S', 0), sql))
}

// forget notes that DISCARD ALL has cleared the session.
func (c *Conn) forget() {
	c.Settings, c.SQLNames, c.RealNames = nil, nil, nil
	c.Prepared.Clear()
	c.Unnamed = nil
}
