package backend

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/pgtest/scripted"
)

// Whatever a server says, a login ends, and one that succeeds has got a status, and a key of a size that can be sent.
func FuzzLogin(f *testing.F) {
	in := &pgproto3.AuthenticationOk{}
	f.Add(scripted.Encode(letIn([]byte("four"))...), false)
	f.Add(scripted.Encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16}, in, &pgproto3.ParameterStatus{Name: "a", Value: "b"}, &pgproto3.ReadyForQuery{TxStatus: 'I'}), true)
	f.Add(scripted.Encode(&pgproto3.AuthenticationMD5Password{}, in, &pgproto3.NoticeResponse{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}), true)
	f.Add(scripted.Encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=,s=,i=1")}), false)
	f.Add(scripted.Encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "no"}), false)
	f.Add([]byte{'E', 0, 0, 0, 5, 0}, false)
	f.Fuzz(func(t *testing.T, says []byte, callbacks bool) {
		c := newConn(Address{}, 0)
		r := bufio.NewReader(bytes.NewReader(says))
		g := login{
			conn: c, in: r, server: pgproto3.NewFrontend(r, io.Discard), version: pgproto3.ProtocolVersion32,
			answers: auth.NewAnswerer(auth.NewKeys(1, false), "u", auth.Credential{Password: "p"}, auth.Binding{}),
		}
		if err := g.run(config.Pool{ServerUser: "u", DBName: "d", Callbacks: callbacks}); err != nil {
			return
		}
		if n := len(c.cancelKey); c.status != 'I' || n != 0 && (n < 16 || n > 12+maxCancelKey) || len(c.parameters) > maxParameters {
			t.Errorf("status %q, a key of %d bytes, %d parameters", c.status, n, len(c.parameters))
		}
	})
}
