package conform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Answers that no server gives.
const (
	hung         = "hung"
	disconnected = "disconnected"
	nothing      = "nothing" // no notification came
)

// busyPause is how long a statement sent without reading its answer gets to have its effect.
const busyPause = 50 * time.Millisecond

// client speaks the protocol by hand, since pgconn would hide what is looked for here: which name was prepared, what
// came without having been asked for, how a connection ended. It belongs to one goroutine at a time.
type client struct {
	conn   net.Conn
	server *pgproto3.Frontend

	timeout  time.Duration // for an answer
	patience time.Duration // for a notification

	told          map[string]string // the last ParameterStatus of each name
	notifications []*pgproto3.NotificationResponse
	dead          string // why there is no use in asking any more
}

// dial logs in with start-up parameters added to those of the DSN.
func dial(ctx context.Context, cfg *pgconn.Config, startup map[string]string, timeout time.Duration) (*client, error) {
	cfg = cfg.Copy()
	for name, value := range startup {
		if name == "options" && cfg.RuntimeParams[name] != "" {
			value = cfg.RuntimeParams[name] + " " + value
		}
		cfg.RuntimeParams[name] = value
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("taking over the connection: %w", err)
	}
	return &client{conn: h.Conn, server: h.Frontend, timeout: timeout, patience: timeout, told: maps.Clone(h.ParameterStatuses)}, nil
}

// refusal is the answer that a login got instead of a session.
func refusal(err error) string {
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return "refused " + pgErr.Code
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return hung
	default:
		return disconnected
	}
}

// ask sends messages and returns, on one line, all that comes back up to the message that is the end.
func (c *client) ask(end func(pgproto3.BackendMessage) bool, messages ...pgproto3.FrontendMessage) string {
	if c.dead != "" {
		return c.dead
	}
	_ = c.conn.SetDeadline(time.Now().Add(c.timeout)) // fails only on a closed connection, which the read tells
	if err := c.send(messages...); err != nil {
		return c.die(err, nil)
	}
	var got []string
	for afterRow := false; ; {
		m, err := c.receive()
		if err != nil {
			return c.die(err, got)
		}
		if text := describe(m, afterRow); text != "" {
			got = append(got, text)
		}
		if end(m) {
			return cmp.Or(strings.Join(got, "; "), "done") + transaction(m)
		}
		_, afterRow = m.(*pgproto3.DataRow)
	}
}

func (c *client) send(messages ...pgproto3.FrontendMessage) error {
	for _, m := range messages {
		c.server.Send(m)
	}
	return c.server.Flush()
}

// receive takes note of what comes unasked.
func (c *client) receive() (pgproto3.BackendMessage, error) {
	m, err := c.server.Receive()
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *pgproto3.ParameterStatus:
		c.told[m.Name] = m.Value
	case *pgproto3.NotificationResponse:
		c.notifications = append(c.notifications, &pgproto3.NotificationResponse{Channel: m.Channel, Payload: m.Payload})
	case *pgproto3.CopyInResponse:
		return m, c.send(&pgproto3.CopyFail{Message: "nothing to copy"})
	}
	return m, nil
}

// die remembers how the connection ended, and returns it behind what had come before.
func (c *client) die(err error, got []string) string {
	c.dead = disconnected
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.dead = hung
	}
	return strings.Join(append(got, c.dead), "; ")
}

// describe is what of a message belongs to the answer; the tag of a statement tells nothing after its rows.
func describe(m pgproto3.BackendMessage, afterRow bool) string {
	switch m := m.(type) {
	case *pgproto3.DataRow:
		return row(m.Values)
	case *pgproto3.CommandComplete:
		if afterRow {
			return ""
		}
		return string(m.CommandTag)
	case *pgproto3.ErrorResponse:
		return "error " + m.Code
	default:
		return ""
	}
}

// transaction tells of one that is open, lest somebody work in another's unawares.
func transaction(m pgproto3.BackendMessage) string {
	if r, ok := m.(*pgproto3.ReadyForQuery); ok && r.TxStatus != 'I' {
		return " (in a transaction)"
	}
	return ""
}

func row(values [][]byte) string {
	columns := make([]string, len(values))
	for i, v := range values {
		switch {
		case v == nil:
			columns[i] = "NULL"
		case strings.ContainsFunc(string(v), func(r rune) bool { return r < ' ' || r > '~' }) || len(v) == 0:
			columns[i] = strconv.QuoteToASCII(string(v))
		default:
			columns[i] = string(v)
		}
	}
	return strings.Join(columns, " | ")
}

func ready(m pgproto3.BackendMessage) bool {
	_, ok := m.(*pgproto3.ReadyForQuery)
	return ok
}

// completions is true at the n-th end of a statement, or at an error, since none comes after it.
func completions(n int) func(pgproto3.BackendMessage) bool {
	return func(m pgproto3.BackendMessage) bool {
		switch m.(type) {
		case *pgproto3.CommandComplete, *pgproto3.CloseComplete, *pgproto3.ParseComplete:
			n--
			return n <= 0
		case *pgproto3.ErrorResponse:
			return true
		default:
			return false
		}
	}
}

func (c *client) query(text string) string {
	return c.ask(ready, &pgproto3.Query{String: text})
}

// await waits for a notification while idle, as a listener does.
func (c *client) await(payload string) string {
	if c.dead != "" {
		return c.dead
	}
	_ = c.conn.SetDeadline(time.Now().Add(c.patience))
	for c.received(payload) == nothing {
		if _, err := c.receive(); errors.Is(err, os.ErrDeadlineExceeded) {
			return nothing
		} else if err != nil {
			return c.die(err, nil)
		}
	}
	return c.received(payload)
}

// received returns the channels that brought a payload so far.
func (c *client) received(payload string) string {
	var channels []string
	for _, n := range c.notifications {
		if n.Payload == payload {
			channels = append(channels, n.Channel)
		}
	}
	slices.Sort(channels)
	return cmp.Or(strings.Join(slices.Compact(channels), "; "), nothing)
}

// terminate says good-bye.
func (c *client) terminate() {
	if c.dead == "" {
		_ = c.conn.SetDeadline(time.Now().Add(c.timeout))
		_ = c.send(&pgproto3.Terminate{}) // the connection is given up in any case
	}
	c.conn.Close()
	c.dead = disconnected
}

// kill ends the connection without a word, by a reset where the network has one.
func (c *client) kill() {
	inner := c.conn
	if tls, ok := inner.(interface{ NetConn() net.Conn }); ok {
		inner = tls.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else an ordinary close
	}
	inner.Close()
	c.dead = disconnected
}
