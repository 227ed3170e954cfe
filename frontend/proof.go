package frontend

import (
	"errors"
	"io"
	"net"
	"slices"

	"pooler/internal/wire"
)

// proof is the pooler's side of a conversation in which a client shows that it is who it says. It does no I/O.
type proof interface {
	// costly tells whether next would take a millisecond rather than 10 µs: a loop must not wait for that. To hand
	// over what takes less would cost more than to do it.
	costly() bool
	// next takes what the client has answered. It returns what the client is told, and whether it is believed now.
	next(answer []byte) (reply []byte, proven bool, err error)
}

// maxAuthMessage is PostgreSQL's limit for messages during authentication (PG_MAX_AUTH_TOKEN_LENGTH), in bytes.
const maxAuthMessage = 65535

// cutProof cuts a message of the type 'p', which carries every kind of proof, off b.
func cutProof(b []byte) (body, rest []byte, err error) {
	if len(b) < wire.HeaderSize {
		return nil, b, errShort
	}
	if b[0] != 'p' {
		return nil, b, protocolViolation("expected password response, got message type %d", b[0])
	}
	size := wire.FrameSize(b)
	if size < wire.HeaderSize || size > maxAuthMessage {
		return nil, b, protocolViolation("invalid password packet size")
	}
	if len(b) < size {
		return nil, b, errShort
	}
	return b[wire.HeaderSize:size:size], b[size:], nil
}

// proving runs f, a proof's costly sums, in a goroutine, when it is its turn (client_login_concurrency). It reports false
// when the server is stopping.
func (srv *Server) proving(f func()) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.draining.Load() {
		return false
	}
	srv.background.Add(1)
	srv.proofs.Go(func() {
		defer srv.background.Done()
		f()
	})
	return true
}

// prove asks the client for a proof, with p. The conversation is the loop's and costly sums are not, so that a client
// takes no goroutine and nobody's place while it thinks, or is silent, or waits for its turn.
func (g *greeter) prove(p proof, ask, early []byte) {
	g.proof = p
	g.stream.Write(ask)
	g.readProof(early)
}

// readProof takes one answer of the client off b.
func (g *greeter) readProof(b []byte) {
	body, rest, err := cutProof(b)
	switch {
	case errors.Is(err, errShort):
		g.buf = slices.Clone(b)
		return
	case err != nil:
		g.leave(err)
		return
	}
	g.buf = slices.Clone(rest)
	if !g.proof.costly() {
		g.judged(g.proof.next(body))
		return
	}
	answer := slices.Clone(body)
	g.summing = true
	l := g.loop
	if !g.srv.proving(func() {
		if g.gone.Load() {
			return
		}
		reply, proven, err := g.proof.next(answer)
		l.PostPatient(func() { g.judged(reply, proven, err) })
	}) {
		g.leave(errShuttingDown)
	}
}

// judged goes on with what has become of the client's answer.
func (g *greeter) judged(reply []byte, proven bool, err error) {
	if g.loop == nil {
		return // it has gone meanwhile
	}
	g.summing = false
	if err != nil {
		g.leave(err)
		return
	}
	g.stream.Write(reply)
	early := g.buf
	g.buf = nil
	if proven {
		g.become(early)
		return
	}
	g.stream.Resume()
	g.readProof(early)
}

func isIO(err error) bool {
	var refusal *Refusal
	var ne net.Error
	return !errors.As(err, &refusal) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne))
}
