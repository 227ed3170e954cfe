package statetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Answer is what a server said to one step, a line for each message.
type Answer []string

const closedAnswer = "closed" // how the last line of an answer begins if the connection is gone

// conn is one session on one side.
type conn struct {
	owner
	net        net.Conn
	server     *pgproto3.Frontend
	parameters map[string]string // as reported by ParameterStatus
	status     byte              // of the last ReadyForQuery, 0 if the connection is gone
	timedOut   bool
}

// open logs in. The conn is nil if that did not succeed.
func open(ctx context.Context, dsn string, o owner, parameters map[string]string) (*conn, Answer) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, Answer{closedAnswer + ": " + err.Error()}
	}
	for name, value := range parameters {
		cfg.RuntimeParams[name] = o.fill(value)
	}
	session, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
			return nil, Answer{errorLine(refused.Severity, refused.Code, refused.Message), closedAnswer}
		}
		return nil, Answer{closedAnswer + ": " + err.Error()}
	}
	h, err := session.Hijack()
	if err != nil {
		return nil, Answer{closedAnswer + ": " + err.Error()}
	}
	return &conn{owner: o, net: h.Conn, server: h.Frontend, parameters: h.ParameterStatuses, status: h.TxStatus},
		Answer{fmt.Sprintf("Z %c", h.TxStatus)}
}

// send begins a step, receive ends it.
func (c *conn) send(s Step, limit time.Duration) (ready int, err error) {
	s.Text = c.fill(s.Text)
	r, err := s.encode()
	if err != nil {
		return 0, err
	}
	if err := c.net.SetDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	_, err = c.net.Write(r.bytes)
	return r.ready, err
}

// receive reads until so many ReadyForQuery have come.
func (c *conn) receive(ready int) Answer {
	var answer Answer
	for ready > 0 {
		m, err := c.server.Receive()
		if err != nil {
			c.timedOut = errors.Is(err, os.ErrDeadlineExceeded)
			c.status = 0
			return append(answer, closedAnswer+": "+err.Error())
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			c.parameters[m.Name] = m.Value // compared as a whole, since they have no order
			continue
		case *pgproto3.ReadyForQuery:
			c.status = m.TxStatus
			ready--
		}
		answer = append(answer, anonymous(line(m)))
	}
	return answer
}

// close ends the session, with a Terminate unless it is abrupt.
func (c *conn) close(abrupt bool) {
	if b, err := (&pgproto3.Terminate{}).Encode(nil); err == nil && !abrupt {
		_, _ = c.net.Write(b) // the server may have gone first
	}
	_ = c.net.Close()
}

// line shows what the two sides must have in common of a message.
func line(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.RowDescription:
		return "columns" + columns(m)
	case *pgproto3.DataRow:
		return "row " + row(m)
	case *pgproto3.CommandComplete:
		return "tag " + string(m.CommandTag)
	case *pgproto3.ErrorResponse:
		return errorLine(m.Severity, m.Code, m.Message)
	case *pgproto3.NoticeResponse:
		return "notice " + m.Code
	case *pgproto3.NotificationResponse:
		return "notification " + m.Channel + " " + m.Payload
	case *pgproto3.ParameterDescription:
		return fmt.Sprint("parameters ", m.ParameterOIDs)
	case *pgproto3.CopyData:
		return fmt.Sprintf("copy %q", m.Data)
	case *pgproto3.ReadyForQuery:
		return fmt.Sprintf("Z %c", m.TxStatus)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
}

func errorLine(severity, code, message string) string {
	return anonymous(fmt.Sprintf("%s %s %s", severity, code, message))
}

func columns(m *pgproto3.RowDescription) string {
	var b strings.Builder
	for _, f := range m.Fields {
		fmt.Fprintf(&b, " %s:%d:%d", f.Name, f.DataTypeOID, f.Format)
	}
	return b.String()
}

func row(m *pgproto3.DataRow) string {
	fields := make([]string, len(m.Values))
	for i, v := range m.Values {
		fields[i] = "NULL"
		if v != nil {
			fields[i] = string(v)
		}
	}
	return strings.Join(fields, " | ")
}
