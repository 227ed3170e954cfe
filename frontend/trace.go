package frontend

import (
	"bytes"
	"encoding/hex"
	"time"
)

// Trace is one request that was traced: where its time went, and who asked for what.
type Trace struct {
	TraceID [16]byte // both zero: a trace of its own
	Parent  [8]byte  // the span that the client's traceparent names

	Begun, Ended time.Time
	Wait         Stage // for a server session
	Carry        Stage // until the client's settings were in force there
	Prepare      Stage // until the statement was prepared there again
	Server       Stage // from when PostgreSQL was sent it until it had answered; Carry and Prepare are in it

	Database, User, Application string

	Statement string // the first of the request that asked for the trace; without its literals, unless they are to be seen
	Client    SessionID
	ServerPID uint32
	Failed    bool // PostgreSQL has answered with an error, or not at all
}

// Stage is a part of a request; both are zero if there was none.
type Stage struct{ Begun, Ended time.Time }

// SetTracer has note called with each traced request, on a loop's thread: it must not block. It is called before
// Listen.
func (srv *Server) SetTracer(note func(Trace)) { srv.tracer = note }

// openTrace is a trace whose request runs. Its times are the loop's.
type openTrace struct {
	Trace
	whole, wait, carry, prepare, server stage
	sent                                time.Duration // the statement
	place                               uint32        // Replies.Settled when its answer comes
	errors                              uint32        // Conn.Errors before it
}

type stage struct{ begun, ended time.Duration }

// mayTrace begins a trace if the statement, which is noted already, asks for one, or if it is the first of a request
// whose turn it is. While a request is traced, others that are sent behind it are not.
func (s *Session) mayTrace(text []byte, first bool) {
	if s.seldom != nil && s.seldom.trace != nil {
		return
	}
	p, ok := traceparentIn(text)
	switch {
	case ok && !p.sampled:
		return
	case !ok && (!first || !s.crew.tracesNext(s.srv.Config().TraceSample)):
		return
	}
	s.makeSeldom().trace = s.beginTrace(p)
}

// tracesNext tells whether the request at hand is one of so many.
func (c *crew) tracesNext(one int) bool {
	if one == 0 {
		return false
	}
	c.untraced++
	if c.untraced < one {
		return false
	}
	c.untraced = 0
	return true
}

func (s *Session) beginTrace(p traceparent) *openTrace {
	c := s.lease.Conn
	u := &c.Usage
	t := &openTrace{
		sent: s.req.Loop.Now(), place: c.Replies.Settled() + uint32(c.Replies.Len()), errors: c.Errors,
		whole: stage{begun: u.Query}, server: stage{begun: u.Query},
	}
	if u.Waited > 0 {
		t.wait = stage{s.entered - u.Waited, s.entered}
		t.whole.begun = t.wait.begun
	}
	application, _ := s.req.Settings.Value("application_name")
	t.Trace = Trace{
		TraceID: p.trace, Parent: p.parent, Client: s.id, ServerPID: c.PID,
		Database: s.pool.Key.Database, User: s.pool.Key.User, Application: application,
		Statement: shown(&u.Noted, c.StdStrings, s.srv.Config().ShowLiterals),
	}
	return t
}

// notePrepared takes note of the first statement that was prepared again.
func (t *openTrace) notePrepared(st stage) {
	if t.prepare.ended == 0 {
		t.prepare = st
	}
}

// answerTraced ends the trace if it was its request that is answered now, and not one that was sent before.
func (s *Session) answerTraced(now time.Duration, more bool) {
	t, c := s.seldom.trace, s.lease.Conn
	if more && int32(c.Replies.Settled()-t.place) <= 0 { // the ends of a COPY shift places, so the last one always counts
		t.whole.begun, t.server.begun = t.sent, now
		t.wait, t.carry, t.prepare, t.errors = stage{}, stage{}, stage{}, c.Errors // were the other's
		return
	}
	t.Failed = c.Errors != t.errors
	s.endTrace(now)
}

// breakTrace ends the trace of a request that will not be answered.
func (s *Session) breakTrace(now time.Duration) {
	s.seldom.trace.Failed = true
	s.endTrace(now)
}

func (s *Session) endTrace(now time.Duration) {
	t := s.seldom.trace
	s.seldom.trace = nil
	t.whole.ended, t.server.ended = now, now
	wall := time.Now() // it may have been set since the loops' Epoch, and others' spans are by it
	clock := func(st stage) Stage {
		if st.ended == 0 {
			return Stage{}
		}
		return Stage{wall.Add(st.begun - now), wall.Add(st.ended - now)}
	}
	whole := clock(t.whole)
	t.Begun, t.Ended = whole.Begun, whole.Ended
	t.Wait, t.Carry, t.Prepare, t.Server = clock(t.wait), clock(t.carry), clock(t.prepare), clock(t.server)
	s.srv.tracer(t.Trace)
}

// traceparent is what a client says of the trace that its request belongs to (W3C Trace Context, version 00).
type traceparent struct {
	trace   [16]byte
	parent  [8]byte
	sampled bool
}

var (
	commentMark    = []byte("/*")
	traceparentKey = []byte("traceparent=")
)

// traceparentIn finds the traceparent that libraries for sqlcommenter put into a comment: traceparent='00-…-…-01', with
// the quotes percent-encoded perhaps. Whether what has it is a comment is not looked into beyond the mark, which few
// statements without one have: in a string its quotes would be doubled, and a client could do no more with it there.
func traceparentIn(text []byte) (p traceparent, ok bool) {
	comment := bytes.Index(text, commentMark)
	if comment < 0 {
		return p, false
	}
	text = text[comment:]
	for {
		i := bytes.Index(text, traceparentKey)
		if i < 0 {
			return p, false
		}
		text = text[i+len(traceparentKey):]
		for _, quote := range [...]string{"'", "%27"} {
			if value, quoted := cutQuoted(text, quote); quoted {
				if p, ok = parseTraceparent(value); ok {
					return p, true
				}
			}
		}
	}
}

// traceparentSize is that of 00-<trace>-<parent>-<flags>.
const traceparentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2

// cutQuoted returns what stands between quotes at the beginning of text, if that may be a traceparent.
func cutQuoted(text []byte, quote string) ([]byte, bool) {
	end := len(quote) + traceparentSize
	if len(text) < end+len(quote) || string(text[:len(quote)]) != quote || string(text[end:end+len(quote)]) != quote {
		return nil, false
	}
	return text[len(quote):end], true
}

func parseTraceparent(v []byte) (p traceparent, ok bool) {
	var flags [1]byte
	ok = string(v[:3]) == "00-" && v[35] == '-' && v[52] == '-' &&
		lowerHex(p.trace[:], v[3:35]) && lowerHex(p.parent[:], v[36:52]) && lowerHex(flags[:], v[53:55])
	if !ok || p.trace == [16]byte{} || p.parent == [8]byte{} { // all zero is not valid
		return traceparent{}, false
	}
	p.sampled = flags[0]&1 != 0
	return p, true
}

// lowerHex decodes digits; capital ones are not valid.
func lowerHex(dst, digits []byte) bool {
	for _, d := range digits {
		if d >= 'A' && d <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, digits)
	return err == nil
}
