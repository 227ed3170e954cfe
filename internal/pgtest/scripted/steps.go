package scripted

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// ProcessID and SecretKey are the cancel key that AcceptTrust sends; connection n, counted from 0,
// gets ProcessID+n.
const (
	ProcessID uint32 = 4242
	SecretKey string = "fake"
)

// ExpectStartup reads the StartupMessage into Conn.Startup. Requests for TLS or GSS in front of
// it are refused, as a server without them does.
func ExpectStartup() Step {
	return Do("expect startup", func(c *Conn) error {
		for {
			msg, err := c.client.ReceiveStartupMessage()
			if err != nil {
				return err
			}
			switch msg := msg.(type) {
			case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
				if err := c.Write([]byte{'N'}); err != nil {
					return err
				}
			case *pgproto3.StartupMessage:
				startup := *msg
				startup.Parameters = maps.Clone(msg.Parameters)
				c.Startup = &startup
				return nil
			default:
				return fmt.Errorf("got %s", describe(msg))
			}
		}
	})
}

// AcceptTrust reads the StartupMessage and lets the client in without a password: to the first
// ReadyForQuery. Each of params, as "name=value", is a ParameterStatus beside or instead of the
// usual ones.
func AcceptTrust(params ...string) Step {
	expect := ExpectStartup()
	return Do("accept trust", func(c *Conn) error {
		if err := expect.run(c); err != nil {
			return err
		}
		return Welcome(params...).run(c)
	})
}

// Welcome is what a server sends to a client that has proven itself: AuthenticationOk, params as
// in AcceptTrust, the cancel key and ReadyForQuery.
func Welcome(params ...string) Step {
	return Do("welcome", func(c *Conn) error {
		status := map[string]string{
			"application_name":            "",
			"client_encoding":             "UTF8",
			"DateStyle":                   "ISO, MDY",
			"integer_datetimes":           "on",
			"is_superuser":                "on",
			"server_encoding":             "UTF8",
			"server_version":              "15.0",
			"session_authorization":       "postgres",
			"standard_conforming_strings": "on",
			"TimeZone":                    "UTC",
		}
		for _, param := range params {
			name, value, ok := strings.Cut(param, "=")
			if !ok {
				return fmt.Errorf("parameter %q: want name=value", param)
			}
			status[name] = value
		}
		msgs := []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}}
		for _, name := range slices.Sorted(maps.Keys(status)) {
			msgs = append(msgs, &pgproto3.ParameterStatus{Name: name, Value: status[name]})
		}
		msgs = append(msgs,
			&pgproto3.BackendKeyData{ProcessID: ProcessID + uint32(c.Number), SecretKey: []byte(SecretKey)},
			&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return c.Send(msgs...)
	})
}

// AcceptTLS reads an SSLRequest, agrees, and does the handshake.
func AcceptTLS(config *tls.Config) Step {
	return Do("accept TLS", func(c *Conn) error {
		msg, err := c.client.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		if _, ok := msg.(*pgproto3.SSLRequest); !ok {
			return fmt.Errorf("got %s", describe(msg))
		}
		if err := c.Write([]byte{'S'}); err != nil {
			return err
		}
		conn := tls.Server(c.tcp, config)
		if err := conn.Handshake(); err != nil {
			return err
		}
		c.Net, c.client = conn, pgproto3.NewBackend(conn, conn)
		return nil
	})
}

// ExpectCancel reads a CancelRequest for the given key.
func ExpectCancel(processID uint32, secretKey string) Step {
	return Do(fmt.Sprintf("expect cancel of %d", processID), func(c *Conn) error {
		msg, err := c.client.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		return same(msg, &pgproto3.CancelRequest{ProcessID: processID, SecretKey: []byte(secretKey)})
	})
}

// ExpectQuery reads a simple Query with exactly this text.
func ExpectQuery(text string) Step {
	return Do(fmt.Sprintf("expect query %q", text), func(c *Conn) error {
		msg, err := c.Receive()
		if err != nil {
			return err
		}
		return same(msg, &pgproto3.Query{String: text})
	})
}

// ExpectAny reads one message, whatever it is.
func ExpectAny() Step {
	return Do("expect any message", func(c *Conn) error {
		_, err := c.Receive()
		return err
	})
}

// Expect reads as many messages as there are kinds, each of the type of its kind and with any
// content: Expect(&pgproto3.Parse{}, &pgproto3.Sync{}).
func Expect(kinds ...pgproto3.FrontendMessage) Step {
	return Do("expect "+typeNames(kinds), func(c *Conn) error {
		for i, kind := range kinds {
			msg, err := c.Receive()
			if err != nil {
				return fmt.Errorf("message %d: %w", i+1, err)
			}
			if reflect.TypeOf(msg) != reflect.TypeOf(kind) {
				return fmt.Errorf("message %d: got %s, want %T", i+1, describe(msg), kind)
			}
		}
		return nil
	})
}

// ExpectExactly reads messages that are equal to msgs, byte for byte.
func ExpectExactly(msgs ...pgproto3.FrontendMessage) Step {
	return Do("expect exactly "+typeNames(msgs), func(c *Conn) error {
		for i, want := range msgs {
			msg, err := c.Receive()
			if err == nil {
				err = same(msg, want)
			}
			if err != nil {
				return fmt.Errorf("message %d: %w", i+1, err)
			}
		}
		return nil
	})
}

// ExpectEOF reads the end of the connection, orderly or by reset, in front of which a Terminate
// may come.
func ExpectEOF() Step {
	return Do("expect end of connection", func(c *Conn) error {
		msg, err := c.Receive()
		if _, ok := msg.(*pgproto3.Terminate); ok && err == nil {
			msg, err = c.Receive()
		}
		if err == nil {
			return fmt.Errorf("got %s", describe(msg))
		}
		if isGone(err) {
			return nil
		}
		return err
	})
}

// Serve answers every message with what answer returns for it, until the client says Terminate
// or is gone.
func Serve(answer func(pgproto3.FrontendMessage) []pgproto3.BackendMessage) Step {
	return Do("serve", func(c *Conn) error {
		for {
			// Not bounded: how long a client stays is up to the test.
			if err := c.Net.SetDeadline(time.Time{}); err != nil {
				return c.unlessStopped(err)
			}
			msg, err := c.Receive()
			if isGone(err) {
				return nil
			}
			if err != nil {
				return c.unlessStopped(err)
			}
			if _, ok := msg.(*pgproto3.Terminate); ok {
				return nil
			}
			if err := c.Send(answer(msg)...); err != nil {
				if isGone(err) {
					return nil
				}
				return c.unlessStopped(err)
			}
		}
	})
}

// Send sends msgs in one write.
func Send(msgs ...pgproto3.BackendMessage) Step {
	return Do("send "+typeNames(msgs), func(c *Conn) error { return c.Send(msgs...) })
}

// Complete sends CommandComplete with tag and ReadyForQuery with the transaction status, one of
// 'I', 'T' and 'E'.
func Complete(tag string, txStatus byte) Step {
	return Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)}, &pgproto3.ReadyForQuery{TxStatus: txStatus})
}

// SendRaw sends b, which need not be messages.
func SendRaw(b []byte) Step {
	return Do(fmt.Sprintf("send %d bytes", len(b)), func(c *Conn) error { return c.Write(b) })
}

// SendPart sends the bytes of msg from the one numbered from to the one before to; a negative to
// counts from the end. SendPart(m, 0, 3) ends inside the header.
func SendPart(msg pgproto3.BackendMessage, from, to int) Step {
	return Do(fmt.Sprintf("send bytes %d:%d of %T", from, to, msg), func(c *Conn) error {
		b, err := encode(msg)
		if err != nil {
			return err
		}
		if to < 0 {
			to += len(b)
		}
		if from < 0 || from > to || to > len(b) {
			return fmt.Errorf("the message has %d bytes", len(b))
		}
		return c.Write(b[from:to])
	})
}

// Close ends the connection in order: FIN.
func Close() Step {
	return Do("close", func(c *Conn) error { return c.tcp.Close() })
}

// CloseWrite ends the server's side only. What the client sends can still be read.
func CloseWrite() Step {
	return Do("close for writing", func(c *Conn) error { return c.tcp.CloseWrite() })
}

// Reset ends the connection as a crash does: RST.
func Reset() Step {
	return Do("reset", func(c *Conn) error {
		if err := c.tcp.SetLinger(0); err != nil {
			return err
		}
		return c.tcp.Close()
	})
}

// Hang does nothing, not even read, until until is closed or the test ends. A nil channel hangs
// for good.
func Hang(until <-chan struct{}) Step {
	return Do("hang", func(c *Conn) error {
		select {
		case <-until:
			return nil
		case <-c.stopped:
			return errStopped
		}
	})
}

// Signal closes reached: the test learns that the script came this far.
func Signal(reached chan<- struct{}) Step {
	return Do("signal", func(*Conn) error {
		close(reached)
		return nil
	})
}

// isGone tells whether err says that the client ended the connection, in order or not.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// same compares two messages by their wire form.
func same(got, want pgproto3.FrontendMessage) error {
	gotBytes, gotErr := got.Encode(nil)
	wantBytes, wantErr := want.Encode(nil)
	if err := errors.Join(gotErr, wantErr); err != nil {
		return err
	}
	if !bytes.Equal(gotBytes, wantBytes) {
		return fmt.Errorf("got %s, want %s", describe(got), describe(want))
	}
	return nil
}

// describe shows a message as pgproto3 prints it.
func describe(msg pgproto3.Message) string {
	b, err := json.Marshal(msg)
	if err != nil {
		return fmt.Sprintf("%T", msg)
	}
	return fmt.Sprintf("%T %s", msg, b)
}

func typeNames[M pgproto3.Message](msgs []M) string {
	names := make([]string, len(msgs))
	for i, msg := range msgs {
		names[i] = strings.TrimPrefix(fmt.Sprintf("%T", msg), "*pgproto3.")
	}
	return strings.Join(names, ", ")
}
