package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"pooler/internal/auth"
	"pooler/internal/wire"
)

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

// prove asks the client for a proof, with p. The conversation is the loop's; sums and what has to be waited for are not, so
// that a client takes no goroutine and nobody's place while it thinks, or is silent, or waits for its turn.
func (g *greeter) prove(p auth.Proof, ask []byte) {
	early := g.buf
	g.buf = nil
	g.claim.proof = p
	g.keepDeadline()
	g.stream.Write(ask)
	g.stream.Resume()
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
	p, at := g.claim.proof, turn(g.srv.proofs)
	switch p.Cost() {
	case auth.Cheap:
		g.judged(p.Next(g.srv.life, body))
		return
	case auth.Waits:
		at = g.srv.waits
	case auth.Sums:
	}
	answer := slices.Clone(body)
	clear(body) // it may be a password
	var reply []byte
	var proven bool
	g.elsewhere(at, func(ctx context.Context) { reply, proven, err = p.Next(ctx, answer) }, func() { g.judged(reply, proven, err) })
}

// judged goes on with what has become of the client's answer.
func (g *greeter) judged(reply []byte, proven bool, err error) {
	c := g.claim
	if p, ok := c.proof.(interface{ Bound() bool }); ok && p.Bound() {
		g.method = methodSCRAMPlus
	}
	if err != nil {
		g.level(func() { g.leave(c.failed(g.srv, err)) })
		return
	}
	g.stream.Write(reply)
	if proven {
		g.proven()
		return
	}
	early := g.buf
	g.buf = nil
	g.stream.Resume()
	g.readProof(early)
}

// level goes on with a proof that has failed when as much has been done for it as for any other.
func (g *greeter) level(then func()) {
	if p, ok := g.claim.proof.(auth.Leveller); ok {
		if sums := p.Level(); sums != nil {
			g.elsewhere(g.srv.proofs, func(context.Context) { sums() }, then)
			return
		}
	}
	then()
}

// failed is what the client is told when a proof has ended with err. A secret that was remembered may have changed since.
func (c *claim) failed(srv *Server, err error) error {
	var violation *auth.ProtocolError
	switch {
	case errors.As(err, &violation):
		return &Refusal{Code: violation.Code, Message: violation.Message, Detail: violation.Detail}
	case !errors.Is(err, auth.ErrWrong):
		return unchecked(err)
	case c.cached:
		srv.lookups.forget(c.looked)
	}
	if c.instead != nil {
		err = fmt.Errorf("%w: %w", err, c.instead)
	}
	return failure(c.rule.Method, c.who.User, err)
}

func isIO(err error) bool {
	var refusal *Refusal
	var ne net.Error
	return !errors.As(err, &refusal) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne))
}
