package backend

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/auth"
)

// What a server may say until it lends itself. PostgreSQL reports some 15 parameters, and libpq takes no error of more
// than 30,000 bytes here (MAX_ERRLEN in fe-connect.c).
const (
	maxLoginBody     = 32 << 10 // of a message, in bytes
	maxLoginMessages = 1000
	maxRounds        = 4 // AuthenticationSASL, …Continue, …Final, …Ok
)

// Sizes of a cancel key, in bytes. Before protocol 3.2 it has 4.
const (
	minCancelKey = 4
	maxCancelKey = 256
)

// login is the start-up conversation of one conn.
type login struct {
	conn    *Conn
	in      *bufio.Reader // takes a TLS record whole, so that none of its text stays behind in the tlsconn.Conn
	server  *pgproto3.Frontend
	answers *auth.Answerer
	version uint32 // of the protocol: what is asked for, then what was agreed on
	agreed  bool   // the server has negotiated the version
	heard   int    // messages
	rounds  int    // messages by which the server asks for a proof, and judges it
	proven  bool   // the server has let us in
}

// run goes on up to ReadyForQuery, and what was read with it. A refusal by PostgreSQL is a *ServerError.
func (g *login) run(cfg config.Pool) error {
	g.server.SetMaxBodyLen(maxLoginBody)
	g.server.Send(&pgproto3.StartupMessage{
		ProtocolVersion: g.version,
		Parameters:      map[string]string{"user": cfg.ServerUser, "database": cfg.DBName},
	})
	if err := g.server.Flush(); err != nil {
		return err
	}
	for ready := false; !ready; {
		msg, err := g.receive()
		if err == nil {
			ready, err = g.take(msg)
		}
		if err != nil {
			return err
		}
	}
	if cfg.Callbacks {
		if err := g.askCallbacks(); err != nil {
			return err
		}
	}
	return g.drain()
}

// receive reads a message, and takes note of those that may come at any time.
func (g *login) receive() (pgproto3.BackendMessage, error) {
	if g.heard++; g.heard > maxLoginMessages {
		return nil, fmt.Errorf("PostgreSQL has sent %d messages and is not ready", maxLoginMessages)
	}
	msg, err := g.server.Receive()
	if err != nil {
		return nil, err
	}
	if p, ok := msg.(*pgproto3.ParameterStatus); ok && !g.conn.setParameter(p.Name, p.Value) {
		return nil, errParameters
	}
	return msg, nil
}

// take reads one message up to the first ReadyForQuery.
func (g *login) take(msg pgproto3.BackendMessage) (ready bool, err error) {
	switch msg := msg.(type) {
	case *pgproto3.NoticeResponse:
		return false, nil
	case *pgproto3.ErrorResponse:
		return false, g.refused(msg)
	case *pgproto3.NegotiateProtocolVersion:
		return false, g.negotiate(msg)
	case *pgproto3.ParameterStatus:
		if g.proven {
			return false, nil
		}
	case *pgproto3.BackendKeyData:
		if g.proven {
			return false, g.keep(msg)
		}
	case *pgproto3.ReadyForQuery:
		if g.proven && msg.TxStatus == 'I' {
			g.conn.status = msg.TxStatus
			return true, nil
		}
	case pgproto3.AuthenticationResponseMessage:
		if !g.proven {
			return false, g.answer(msg)
		}
	}
	return false, fmt.Errorf("PostgreSQL sends %T, which is not its turn in a login", msg)
}

// answer proves us. Who lets us in must have proven itself before, where the method says so.
func (g *login) answer(msg pgproto3.BackendMessage) error {
	if g.rounds++; g.rounds > maxRounds {
		return errors.New("PostgreSQL asks for a proof again and again")
	}
	reply, err := g.answers.Answer(msg)
	if err != nil {
		return err
	}
	_, g.proven = msg.(*pgproto3.AuthenticationOk)
	if reply == nil {
		return nil
	}
	g.server.Send(reply)
	return g.server.Flush()
}

// negotiate agrees on a lower version. PostgreSQL names it whole, with its major number; its documentation speaks of the
// minor number alone. There is no 3.1 (libpq's pqGetNegotiateProtocolVersion3).
func (g *login) negotiate(msg *pgproto3.NegotiateProtocolVersion) error {
	version := msg.NewestMinorProtocol
	if version < 1<<16 {
		version |= 3 << 16
	}
	if g.rounds > 0 || g.agreed || version != pgproto3.ProtocolVersion30 && version != g.version || len(msg.UnrecognizedOptions) > 0 {
		return fmt.Errorf("PostgreSQL negotiates a version of the protocol that was not asked for (%d.%d)", version>>16, version&0xffff)
	}
	g.version, g.agreed = version, true
	return nil
}

// keep keeps the key with which statements are cancelled.
func (g *login) keep(msg *pgproto3.BackendKeyData) error {
	longest := minCancelKey
	if g.version > pgproto3.ProtocolVersion30 {
		longest = maxCancelKey
	}
	if n := len(msg.SecretKey); n < minCancelKey || n > longest {
		return fmt.Errorf("PostgreSQL gives a key to cancel with of %d bytes", n)
	}
	g.conn.cancelKey = cancelRequest(msg.ProcessID, msg.SecretKey)
	g.conn.PID = msg.ProcessID
	return nil
}

// refused is the error of a server that does not let us in.
func (g *login) refused(msg *pgproto3.ErrorResponse) error {
	e := NewServerError(msg)
	e.early = g.rounds == 0 && isState(msg.Code)
	return e
}

// drain reads what the server has already said behind ReadyForQuery, so that no byte is lost when the socket changes
// hands.
func (g *login) drain() error {
	for g.server.ReadBufferLen()+g.in.Buffered() > 0 {
		msg, err := g.receive()
		if err != nil {
			return err
		}
		if e, ok := msg.(*pgproto3.ErrorResponse); ok {
			return g.refused(e)
		}
	}
	return nil
}

func cancelRequest(pid uint32, secret []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
	b = binary.BigEndian.AppendUint32(b, 80877102) // CancelRequest code, protocol 3.0 and later
	b = binary.BigEndian.AppendUint32(b, pid)
	return append(b, secret...)
}
