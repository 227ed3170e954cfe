package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/pgtest/scripted"
)

// expectVersion reads a StartupMessage that asks for this version of the protocol.
func expectVersion(version uint32) scripted.Step {
	return scripted.Do("expect version", func(c *scripted.Conn) error {
		if c.Startup.ProtocolVersion != version {
			return fmt.Errorf("the version is %x, want %x", c.Startup.ProtocolVersion, version)
		}
		return nil
	})
}

// letIn is what a server sends to a client that it lets in, with a key of this size.
func letIn(key []byte) []pgproto3.BackendMessage {
	return []pgproto3.BackendMessage{
		&pgproto3.AuthenticationOk{},
		&pgproto3.BackendKeyData{ProcessID: scripted.ProcessID, SecretKey: key},
		&pgproto3.ReadyForQuery{TxStatus: 'I'},
	}
}

func TestAServerThatRefusesProtocol32IsAskedOnce(t *testing.T) {
	for _, code := range []string{"0A000", "08P01"} {
		t.Run(code, func(t *testing.T) {
			refuse := scripted.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "unsupported frontend protocol 3.2"})
			accept := scripted.Script{scripted.ExpectStartup(), expectVersion(pgproto3.ProtocolVersion30), scripted.Send(letIn([]byte("four"))...), scripted.ExpectEOF(), scripted.Close()}
			srv := scripted.New(t,
				scripted.Script{scripted.ExpectStartup(), expectVersion(pgproto3.ProtocolVersion32), refuse, scripted.Close()},
				accept, accept,
				scripted.Script{scripted.ExpectStartup(), expectVersion(pgproto3.ProtocolVersion32), refuse, scripted.Close()},
				accept)
			d := NewDialer(nil)
			for i := range 3 {
				if i == 2 {
					d.Use(d.loaded.Load()) // a reload
				}
				c, err := d.Dial(t.Context(), poolForScript(srv))
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
			<-srv.Done()
		})
	}
}

func TestProtocol32IsNegotiatedAndItsLongKeysCancel(t *testing.T) {
	long := bytes.Repeat([]byte{'k'}, maxCancelKey)
	for name, test := range map[string]struct {
		negotiate []pgproto3.BackendMessage
		key       []byte
	}{
		"3.2, the longest key":              {nil, long},
		"3.2, a key of 4 bytes":             {nil, []byte("four")},
		"down to 3.0, named as it is":       {[]pgproto3.BackendMessage{&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16}}, []byte("four")},
		"down to 3.0, by its minor version": {[]pgproto3.BackendMessage{&pgproto3.NegotiateProtocolVersion{}}, []byte("four")},
	} {
		t.Run(name, func(t *testing.T) {
			srv := scripted.New(t,
				scripted.Script{scripted.ExpectStartup(), expectVersion(pgproto3.ProtocolVersion32), scripted.Send(append(test.negotiate, letIn(test.key)...)...), scripted.ExpectEOF(), scripted.Close()},
				scripted.Script{scripted.ExpectCancel(scripted.ProcessID, string(test.key)), scripted.Close()})
			c, err := Dial(t.Context(), poolForScript(srv))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.wayBack().cancel(c.cancelKey, time.Minute); err != nil {
				t.Error(err)
			}
			c.Close()
			<-srv.Done()
		})
	}
}

func TestWithoutAKeyNothingIsCancelled(t *testing.T) {
	srv := scripted.New(t, scripted.Script{
		scripted.ExpectStartup(), scripted.Send(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}), scripted.ExpectEOF(), scripted.Close(),
	})
	c, err := Dial(t.Context(), poolForScript(srv))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wayBack().cancel(c.cancelKey, time.Minute); !errors.Is(err, errNoKey) {
		t.Errorf("cancelled: %v", err)
	}
	c.Close()
}

// What a server can say in a login is bounded, and what makes no sense ends it, with an error that says what it was and
// holds no password.
func TestWhatAServerSaysInALoginIsBounded(t *testing.T) {
	const secret = "Geheimnis"
	many := func(n int, msg func(i int) pgproto3.BackendMessage) []byte {
		var all []pgproto3.BackendMessage
		for i := range n {
			all = append(all, msg(i))
		}
		return scripted.Encode(all...)
	}
	in := &pgproto3.AuthenticationOk{}
	negotiate := func(version uint32, options ...string) []byte {
		return scripted.Encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: version, UnrecognizedOptions: options})
	}
	key := func(n int) []byte { return scripted.Encode(in, &pgproto3.BackendKeyData{SecretKey: make([]byte, n)}) }
	for name, test := range map[string]struct {
		says []byte
		want string
	}{
		"a message of a gigabyte":          {[]byte{'R', 0x3f, 0xff, 0xff, 0xff}, "body length"},
		"an error of 40,000 bytes":         {scripted.Encode(&pgproto3.ErrorResponse{Message: strings.Repeat("x", 40000)}), "body length"},
		"a negative length":                {[]byte{'R', 0xff, 0xff, 0xff, 0xff}, "invalid message length"},
		"an unknown type":                  {[]byte{'?', 0, 0, 0, 4}, "unknown message type"},
		"notices without end":              {many(1001, func(int) pgproto3.BackendMessage { return &pgproto3.NoticeResponse{Message: "x"} }), "1000 messages"},
		"parameters without end":           {append(scripted.Encode(in), many(201, func(i int) pgproto3.BackendMessage { return &pgproto3.ParameterStatus{Name: fmt.Sprint(i)} })...), "200 parameters"},
		"one parameter without end":        {append(scripted.Encode(in), many(1001, func(int) pgproto3.BackendMessage { return &pgproto3.ParameterStatus{Name: "x"} })...), "1000 messages"},
		"a parameter before the proof":     {scripted.Encode(&pgproto3.ParameterStatus{Name: "x"}), "not its turn"},
		"a key before the proof":           {scripted.Encode(&pgproto3.BackendKeyData{SecretKey: make([]byte, 4)}), "not its turn"},
		"ready before the proof":           {scripted.Encode(&pgproto3.ReadyForQuery{TxStatus: 'I'}), "not its turn"},
		"ready in a transaction":           {scripted.Encode(in, &pgproto3.ReadyForQuery{TxStatus: 'T'}), "not its turn"},
		"rows":                             {scripted.Encode(&pgproto3.DataRow{}), "not its turn"},
		"a proof after it has let us in":   {scripted.Encode(in, &pgproto3.AuthenticationCleartextPassword{}), "not its turn"},
		"the password again and again":     {many(5, func(int) pgproto3.BackendMessage { return &pgproto3.AuthenticationCleartextPassword{} }), "again and again"},
		"GSS":                              {scripted.Encode(&pgproto3.AuthenticationGSS{}), "does not know"},
		"a SCRAM challenge out of turn":    {scripted.Encode(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=x,s=eA==,i=1")}), "not asked for"},
		"SCRAM without its proof":          {scripted.Encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, in), "without proving itself"},
		"a key of 3 bytes":                 {key(minCancelKey - 1), "BackendKeyData"},
		"a key of 257 bytes":               {key(maxCancelKey + 1), "257 bytes"},
		"a long key with protocol 3.0":     {append(negotiate(3<<16), key(32)...), "32 bytes"},
		"protocol 3.1, which there is not": {negotiate(3<<16 | 1), "3.1"},
		"protocol 3.9":                     {negotiate(3<<16 | 9), "3.9"},
		"protocol 4.0":                     {negotiate(4 << 16), "4.0"},
		"options nobody asked for":         {negotiate(3<<16, "_pq_.x"), "not asked for"},
		"two negotiations":                 {append(negotiate(3<<16), negotiate(3<<16)...), "not asked for"},
		"negotiation after the proof":      {append(scripted.Encode(in), negotiate(3<<16)...), "not asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := scripted.New(t, scripted.Script{scripted.ExpectStartup(), scripted.SendRaw(test.says)})
			cfg := poolForScript(srv)
			cfg.ServerPassword = secret
			c, err := Dial(t.Context(), cfg)
			if err == nil {
				c.Close()
			}
			switch {
			case err == nil, !strings.Contains(err.Error(), test.want):
				t.Errorf("got %v, want %q", err, test.want)
			case strings.Contains(err.Error(), secret):
				t.Error("the error holds the password")
			}
		})
	}
}

func TestALoginEndsInTime(t *testing.T) {
	cfg := poolForScript(scripted.New(t, scripted.Script{scripted.Hang(nil)}))
	cfg.ConnectTimeout = 100 * time.Millisecond
	if _, err := Dial(t.Context(), cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Whatever a server has said before it falls silent, its login can be given up, and nothing else is tried.
func TestALoginCanBeGivenUp(t *testing.T) {
	for name, says := range map[string]scripted.Step{
		"in a message":   scripted.SendRaw([]byte{'R', 0, 0}),
		"in a handshake": expectSSLRequest([]byte{'S'}),
		"before one":     expectSSLRequest(nil),
	} {
		t.Run(name, func(t *testing.T) {
			silent := make(chan struct{})
			cfg := withTLS(scripted.New(t, scripted.Script{says, scripted.Signal(silent), scripted.Hang(nil)}), config.TLSPrefer)
			if name == "in a message" {
				cfg.TLS.Mode = config.TLSDisable
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-silent
				cancel()
			}()
			if _, err := Dial(ctx, cfg); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// PgBouncer's crash by an ErrorResponse without a SQLSTATE, in a login; frontend has the one in a session.
func TestCVE_2026_6666_ErrorWithoutSQLSTATEInALogin(t *testing.T) {
	for name, body := range map[string][]byte{
		"no fields":               {0},
		"nothing at all":          {},
		"a message only":          []byte("Mwhat happened\x00\x00"),
		"a SQLSTATE that is none": []byte("SFATAL\x00C'; --\x00Mx\x00\x00"),
		"an empty SQLSTATE":       []byte("SFATAL\x00C\x00Mx\x00\x00"),
		"a field cut short":       []byte("SFATAL"),
	} {
		t.Run(name, func(t *testing.T) {
			frame := append([]byte{'E', 0, 0, 0, byte(4 + len(body))}, body...)
			srv := scripted.New(t, scripted.Script{scripted.ExpectStartup(), scripted.SendRaw(frame)})
			_, err := Dial(t.Context(), poolForScript(srv))
			var refusal *ServerError
			if !errors.As(err, &refusal) {
				if name == "a field cut short" || name == "nothing at all" {
					return // that is no ErrorResponse
				}
				t.Fatalf("got %v", err)
			}
			if r := refusal.Response; r.Code != "08P01" || r.Severity == "" || r.Message == "" {
				t.Errorf("the client would get severity %q, SQLSTATE %q, message %q", r.Severity, r.Code, r.Message)
			}
		})
	}
}

// A server that somebody has put in PostgreSQL's place is told nothing by which it could get in there.
func TestNoOtherMethodThanIsRequiredIsUsed(t *testing.T) {
	for name, asks := range map[string]pgproto3.BackendMessage{
		"password": &pgproto3.AuthenticationCleartextPassword{},
		"md5":      &pgproto3.AuthenticationMD5Password{},
		"nothing":  &pgproto3.AuthenticationOk{},
	} {
		srv := scripted.New(t, scripted.Script{scripted.ExpectStartup(), scripted.Send(asks), scripted.ExpectEOF(), scripted.Close()})
		cfg := poolForScript(srv)
		cfg.RequireAuth, cfg.ServerPassword = config.RequireSCRAM, secret
		_, err := Dial(t.Context(), cfg)
		if !errors.Is(err, ErrMethod) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
		<-srv.Done()
	}
	pg := protectedServer(t)
	for user, want := range map[string]bool{"by_scram": true, "by_md5": false, "by_password": false, "tls_only": false} {
		cfg := poolFor("127.0.0.1", pg.Port)
		cfg.User, cfg.ServerUser, cfg.ServerPassword, cfg.RequireAuth = user, user, secret, config.RequireSCRAM
		cfg.TLS.Mode = config.TLSPrefer
		c, err := Dial(t.Context(), cfg)
		if err == nil {
			c.Close()
		}
		if (err == nil) != want || err != nil && !errors.Is(err, ErrMethod) {
			t.Errorf("%s: %v", user, err)
		}
	}
}
