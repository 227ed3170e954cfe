package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"pooler/frontend"
)

const (
	maxMessage   = 1 << 20          // of a message's body
	flushTimeout = 60 * time.Second // how long a client may not read
	lastFlush    = time.Second      // the same when the pooler ends
	flushSize    = 64 << 10         // what is gathered before it is sent
)

// session is one conversation. It belongs to the goroutine of Serve.
type session struct {
	console  *Console
	admin    frontend.Admin // a copy: Application follows what the client sets
	client   *pgproto3.Backend
	in       *inbox
	ctx      context.Context // the conversation's, which each answer needs
	settings *settings
	types    *pgtype.Map
	tx       byte   // as in ReadyForQuery: I, T or E
	out      []byte // what waits to be flushed
	broken   error  // why nothing can be sent any more
	canceled bool   // the client does not want the rest of what it has sent last

	prepared map[string]*prepared
	portals  map[string]*portal
	texts    int  // bytes of what is prepared
	skipping bool // after an error in the extended protocol, until Sync

	heard func(notice *Error) // takes notices where there is no conversation, see Run; else nil
}

func newSession(c *Console, a *frontend.Admin) *session {
	return &session{
		console: c, admin: *a, tx: 'I', types: pgtype.NewMap(),
		settings: newSettings(c.version, a.User, a.Application, a.Right() == frontend.RightChange),
		prepared: map[string]*prepared{}, portals: map[string]*portal{},
	}
}

func (s *session) serve(ctx context.Context) {
	defer func() {
		if r := recover(); r != nil {
			s.fatal(&Error{Code: codeInternal, Message: "internal error"})
			panic(r) // whoever has called Serve logs it and counts it
		}
	}()
	s.ctx = ctx
	s.in = newInbox(ctx, s.admin.Conn)
	s.client = pgproto3.NewBackend(s.in, s.admin.Conn)
	s.client.SetMaxBodyLen(maxMessage)
	stop := context.AfterFunc(ctx, func() { s.setWriteDeadline(lastFlush) })
	defer stop()
	s.greet()
	for s.broken == nil && ctx.Err() == nil {
		if !s.turn() {
			break
		}
	}
	if ctx.Err() != nil {
		s.fatal(&Error{Code: codeAdminShutdown, Message: "terminating connection due to administrator command"})
	}
}

func (s *session) close() {
	if s.in != nil {
		s.in.close()
	}
}

// greet says what PostgreSQL says after the authentication.
func (s *session) greet() {
	s.put(&pgproto3.AuthenticationOk{})
	for _, info := range settingInfos {
		if info.reported {
			s.report(info.name)
		}
	}
	s.put(&pgproto3.BackendKeyData{ProcessID: uint32(s.admin.ID), SecretKey: s.admin.Secret})
	s.ready()
}

func (s *session) report(name string) {
	s.put(&pgproto3.ParameterStatus{Name: name, Value: s.settings.value(name)})
}

func (s *session) ready() {
	if s.ctx.Err() != nil {
		return // serve has the last word: what was running may have failed for that
	}
	s.put(&pgproto3.ReadyForQuery{TxStatus: s.tx})
	s.flush()
}

// turn answers one message, and says whether the conversation goes on.
func (s *session) turn() bool {
	msg, err := s.client.Receive()
	if err != nil {
		s.unreadable(err)
		return false
	}
	switch msg := msg.(type) {
	case *pgproto3.Terminate:
		s.admin.Goodbye()
		return false
	case *pgproto3.Sync:
		s.sync()
		return true
	case *pgproto3.Flush:
		s.flush()
		return true
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		// As in PostgreSQL: a client may have sent them before it has read that its COPY has failed.
		return true
	case *pgproto3.PasswordMessage:
		s.fatal(&Error{Code: codeProtocolViolation, Message: "unexpected password message"})
		return false
	default:
		if !s.skipping {
			s.answer(msg)
		}
	}
	return true
}

// answer handles the messages that are skipped after an error.
func (s *session) answer(msg pgproto3.FrontendMessage) {
	s.forgetInterrupts()
	switch msg := msg.(type) {
	case *pgproto3.Query:
		s.simple(msg.String)
	case *pgproto3.FunctionCall:
		s.fail(&Error{Code: codeNotSupported, Message: "function calls are not supported", Hint: hintNoDatabase})
		s.ready()
	case *pgproto3.Parse:
		s.extended(s.parse(msg))
	case *pgproto3.Bind:
		s.extended(s.bind(msg))
	case *pgproto3.Describe:
		s.extended(s.describe(msg))
	case *pgproto3.Execute:
		s.extended(s.executePortal(msg))
	case *pgproto3.Close:
		s.closeObject(msg)
	default:
		s.fatal(&Error{Code: codeProtocolViolation, Message: fmt.Sprintf("unexpected message %T", msg)})
		s.broken = errors.New("protocol violation")
	}
}

// unreadable ends a conversation whose next message cannot be read.
func (s *session) unreadable(err error) {
	if s.ctx.Err() != nil {
		return // serve says so
	}
	var tooLong *pgproto3.ExceededMaxBodyLenErr
	switch {
	case errors.As(err, &tooLong):
		s.fatal(&Error{
			Code:    codeLimitExceeded,
			Message: fmt.Sprintf("a message of %d bytes is too long for the console, which takes %d", tooLong.ActualBodyLen, tooLong.MaxExpectedBodyLen),
		})
	case !s.in.ended():
		s.fatal(&Error{Code: codeProtocolViolation, Message: "invalid message: " + printable(err.Error())})
	}
}

// ended says whether the client has hung up and all it has sent is read.
func (in *inbox) ended() bool {
	select {
	case <-in.gone:
		return len(in.rest) == 0 && len(in.chunks) == 0
	default:
		return false
	}
}

// simple answers a Query.
func (s *session) simple(text string) {
	delete(s.portals, "")
	s.forget("")
	list, err := parse(text)
	if err != nil {
		s.fail(err)
	} else if len(list) == 0 {
		s.put(&pgproto3.EmptyQueryResponse{})
	}
	for _, st := range list {
		out, err := s.execute(st, nil)
		if err != nil {
			s.fail(err)
			break
		}
		if err := s.sendResult(out); err != nil {
			s.fail(err)
			break
		}
	}
	if s.tx == 'I' {
		clear(s.portals)
	}
	s.ready()
}

// put adds a message to what the next flush sends, and sends what has become much: a client that asks and does not read
// has to wait then, instead of our gathering answers.
func (s *session) put(m pgproto3.BackendMessage) {
	if s.broken != nil {
		return
	}
	if s.out, s.broken = m.Encode(s.out); len(s.out) >= flushSize {
		s.flush()
	}
}

func (s *session) flush() {
	if s.broken != nil {
		s.out = nil
		return
	}
	s.setWriteDeadline(flushTimeout)
	if s.ctx.Err() != nil { // after the deadline was set, so that AfterFunc's stays in force
		s.setWriteDeadline(lastFlush)
	}
	_, s.broken = s.admin.Conn.Write(s.out)
	if s.out = s.out[:0]; cap(s.out) > 2*flushSize {
		s.out = nil // one long message is no reason to keep as much for good
	}
}

func (s *session) setWriteDeadline(d time.Duration) {
	_ = s.admin.Conn.SetWriteDeadline(time.Now().Add(d)) // of a closed connection, which the next write tells
}

func (s *session) log() *slog.Logger {
	return s.console.log.With("user", s.admin.User, "remote", s.remote(), "application_name", s.admin.Application,
		"database", s.admin.Database)
}

func (s *session) remote() string {
	if !s.admin.Remote.IsValid() {
		return "unix"
	}
	return s.admin.Remote.String()
}
