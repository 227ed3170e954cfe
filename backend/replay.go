package backend

import (
	"bytes"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// replay is a sequence of requests up to a Sync that uses a statement prepared earlier, kept so that it can be sent
// again. A table may have changed since the statement was prepared, perhaps by another client on another day, and
// then PostgreSQL refuses the plan it has cached ("cached plan must not change result type").
type replay struct {
	stmt    *sessionstate.Statement
	sent    []byte // the requests, as they were sent
	entries []sessionstate.Entry
	state   replayState
}

type replayState uint8

const (
	replayNone      replayState = iota
	replayRecording             // the Sync is still to come
	replayComplete
)

// maxReplay bounds what is kept of a sequence, in bytes.
const maxReplay = 8 << 10

// BeginReplay begins to keep a sequence, which the next request begins and which uses st: outside a transaction only,
// and when nothing before it is unanswered, since only then nothing else depends on it.
func (c *Conn) BeginReplay(st *sessionstate.Statement) {
	r := &c.replay
	if r.state == replayRecording {
		return
	}
	r.state, r.sent, r.entries = replayNone, r.sent[:0], r.entries[:0]
	if c.status == 'I' && !c.Replies.OwesClient() && !st.Private {
		r.stmt, r.state = st, replayRecording
	}
}

// RecordReplay adds a request that is being sent, if a sequence is being kept. nil stands for one that cannot be.
func (c *Conn) RecordReplay(frame []byte, e sessionstate.Entry) {
	r := &c.replay
	switch {
	case r.state == replayNone:
	case frame == nil, r.state == replayComplete, len(r.sent)+len(frame) > maxReplay:
		r.state = replayNone // requests behind the sequence would be answered before it
	default:
		r.sent = append(r.sent, frame...)
		r.entries = append(r.entries, e)
		if e.Kind == sessionstate.KindSync {
			r.state = replayComplete
		}
	}
}

// routineStale is the routine that reports a plan gone stale; unlike the message it is never translated.
const routineStale = "RevalidateCachedQuery"

// isStale tells whether an ErrorResponse says that a cached plan does not fit any more.
func isStale(body []byte) bool {
	return bytes.Equal(wire.ErrorField(body, 'C'), []byte("0A000")) && bytes.Equal(wire.ErrorField(body, 'R'), []byte(routineStale))
}

// noteStale has a statement prepared anew when it is used next, if that is what the error is about.
func (c *Conn) noteStale(e sessionstate.Entry, body []byte) {
	if e.Stmt != nil && isStale(body) {
		c.Prepared.MarkStale(e.Stmt)
	}
}

// playAgain is called for an error that has ended a sequence at its first request. If that can be sent again with the
// statement prepared anew, it is, once, and nobody hears of the error.
func (c *Conn) playAgain(body []byte) bool {
	r := &c.replay
	if r.state != replayComplete || !isStale(body) || c.Replies.Len() != 1 || c.Replies.Dropped() != len(r.entries)-1 {
		return false
	}
	r.state = replayNone
	c.Replies.TakeDropped(func(sessionstate.Entry) {})
	c.Replies.IgnoreNext() // the answer to its Sync
	out := wire.AppendNamed(nil, 'C', []byte{'S'}, r.stmt.Name, nil, 0)
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindClose, Action: sessionstate.Swallow})
	out = wire.AppendNamed(out, 'P', nil, r.stmt.Name, r.stmt.Body, 0)
	c.Replies.Push(sessionstate.Entry{Kind: sessionstate.KindParse, Action: sessionstate.SwallowDone, Stmt: r.stmt})
	for _, e := range r.entries {
		c.Replies.Push(e)
	}
	c.stream.Write(append(out, r.sent...))
	return true
}
