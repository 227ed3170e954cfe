package backend

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/pgtest/scripted"
	"pooler/internal/tlsconn"
)

// expectSSLRequest reads one and answers with these bytes.
func expectSSLRequest(answer []byte) scripted.Step {
	return scripted.Do("expect SSLRequest", func(c *scripted.Conn) error {
		got := make([]byte, len(sslRequest))
		if _, err := io.ReadFull(c.Net, got); err != nil {
			return err
		}
		if !slices.Equal(got, sslRequest) {
			return fmt.Errorf("got %x", got)
		}
		return c.Write(answer)
	})
}

// withTLS is a pool of the scripted server, which shows papers' certificate if it comes to that.
func withTLS(srv *scripted.Server, mode config.TLSMode) config.Pool {
	cfg := poolForScript(srv)
	cfg.TLS = config.ServerTLS{Mode: mode, CAFile: papers.CA.CertFile}
	return cfg
}

// CVE-2024-10977 of libpq: an error before TLS can be anybody's. Its words reach nobody, and nothing is tried in clear.
func TestCVE_2024_10977_ErrorInPlaceOfTLS(t *testing.T) {
	says := scripted.Encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "call 555-1234"})
	for _, mode := range sslmodes[2:] {
		t.Run(string(mode), func(t *testing.T) {
			srv := scripted.New(t, scripted.Script{expectSSLRequest(says)})
			_, err := Dial(t.Context(), withTLS(srv, mode))
			var refusal *ServerError
			if err == nil || strings.Contains(err.Error(), "555") || errors.As(err, &refusal) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// CVE-2021-23222 of libpq: what somebody has put in clear behind the answer to SSLRequest is not taken for the server's.
func TestCVE_2021_23222_ClearTextBehindTheAnswer(t *testing.T) {
	forged := append([]byte{'S'}, scripted.Encode(letIn([]byte("four"))...)...)
	for _, mode := range sslmodes[3:] {
		t.Run(string(mode), func(t *testing.T) {
			srv := scripted.New(t, scripted.Script{expectSSLRequest(forged)})
			if _, err := Dial(t.Context(), withTLS(srv, mode)); err == nil || !strings.Contains(err.Error(), "TLS") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatIsNoAnswerToSSLRequest(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		mode   config.TLSMode
		want   string
	}{
		"HTTP":                  {"HTTP/1.1 400", config.TLSPrefer, "'H'"},
		"no, and TLS is wanted": {"N", config.TLSRequire, "demands it"},
		"yes, and no handshake": {"Sxxxxxxxxxxxxxxx", config.TLSVerifyFull, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := scripted.New(t, scripted.Script{expectSSLRequest([]byte(test.answer))})
			if _, err := Dial(t.Context(), withTLS(srv, test.mode)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A login that PostgreSQL has refused is tried once more without TLS, or with it, and only if it was not so before.
func TestARefusedLoginIsTriedTheOtherWay(t *testing.T) {
	refuse := scripted.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "no pg_hba.conf entry"})
	letIn := []scripted.Step{scripted.AcceptTrust(), scripted.ExpectEOF(), scripted.Close()}
	secure := scripted.AcceptTLS(papers.ServerConfig())
	for name, test := range map[string]struct {
		mode    config.TLSMode
		scripts []scripted.Script
		tls     string // of the session, at the beginning; "-": none comes about
	}{
		"prefer, refused with TLS":    {config.TLSPrefer, []scripted.Script{{secure, scripted.ExpectStartup(), refuse}, letIn}, ""},
		"prefer, refused without TLS": {config.TLSPrefer, []scripted.Script{{scripted.ExpectStartup(), refuse}}, "-"},
		"allow, refused without TLS":  {config.TLSAllow, []scripted.Script{{scripted.ExpectStartup(), refuse}, {secure, scripted.AcceptTrust(), scripted.Expect(&pgproto3.Terminate{}), expectEnd()}}, "TLSv1.3"},
		"require":                     {config.TLSRequire, []scripted.Script{{secure, scripted.ExpectStartup(), refuse}}, "-"},
		"allow, both refused":         {config.TLSAllow, []scripted.Script{{scripted.ExpectStartup(), refuse}, {secure, scripted.ExpectStartup(), refuse}}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := scripted.New(t, test.scripts...)
			c, err := Dial(t.Context(), withTLS(srv, test.mode))
			if err == nil {
				c.Close()
			}
			var refusal *ServerError
			switch {
			case test.tls == "-" && !errors.As(err, &refusal):
				t.Errorf("got %v", err)
			case test.tls != "-" && (err != nil || !strings.HasPrefix(c.TLS(), test.tls) || test.tls == "" && c.TLS() != ""):
				t.Errorf("got %v, %v", c, err)
			}
			<-srv.Done()
		})
	}
}

// A session's key that came by TLS goes back by TLS, and the goodbye is said there.
func TestCancelAndGoodbyeGoTheSessionsWay(t *testing.T) {
	overTLS := scripted.AcceptTLS(papers.ServerConfig())
	for _, mode := range sslmodes[2:] {
		t.Run(string(mode), func(t *testing.T) {
			srv := scripted.New(t,
				scripted.Script{overTLS, scripted.AcceptTrust(), scripted.Expect(&pgproto3.Terminate{}), expectEnd()},
				scripted.Script{overTLS, scripted.ExpectCancel(scripted.ProcessID, scripted.SecretKey), closeTLS()})
			d := NewDialer(nil)
			c, err := d.Dial(t.Context(), withTLS(srv, mode))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.wayBack().cancel(c.cancelKey, 10*time.Second); err != nil {
				t.Error(err)
			}
			c.Close()
			<-srv.Done()
		})
	}
}

func TestACancelIsNeverSentInClearIfTheSessionWasNot(t *testing.T) {
	srv := scripted.New(t,
		scripted.Script{scripted.AcceptTLS(papers.ServerConfig()), scripted.AcceptTrust(), scripted.Expect(&pgproto3.Terminate{}), expectEnd()},
		scripted.Script{expectSSLRequest([]byte{'N'}), expectEnd()})
	c, err := Dial(t.Context(), withTLS(srv, config.TLSPrefer))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wayBack().cancel(c.cancelKey, 10*time.Second); !errors.Is(err, errNoTLS) {
		t.Errorf("got %v", err)
	}
	c.Close()
	<-srv.Done()
}

// Behind Terminate comes close_notify, which alone tells that nothing was cut off.
func TestTheGoodbyeEndsTLSToo(t *testing.T) {
	var end error
	overTLS := scripted.Do("accept TLS with our own layer", func(c *scripted.Conn) error {
		return expectSSLRequestAndShake(c, &end)
	})
	srv := scripted.New(t, scripted.Script{overTLS})
	c, err := Dial(t.Context(), withTLS(srv, config.TLSVerifyFull))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-srv.Done()
	if !errors.Is(end, io.EOF) {
		t.Errorf("TLS has ended with %v", end)
	}
}

// expectSSLRequestAndShake is a whole session: login, and what comes until the end. end is how TLS has ended.
func expectSSLRequestAndShake(c *scripted.Conn, end *error) error {
	if _, err := io.ReadFull(c.Net, make([]byte, len(sslRequest))); err != nil {
		return err
	}
	if _, err := c.Net.Write([]byte{'S'}); err != nil {
		return err
	}
	tc, _, err := tlsconn.Server(c.Net, papers.ServerConfig())
	if err != nil {
		return err
	}
	server := pgproto3.NewBackend(tc, tc)
	if _, err := server.ReceiveStartupMessage(); err != nil {
		return err
	}
	if _, err := tc.Write(scripted.Encode(letIn([]byte("four"))...)); err != nil {
		return err
	}
	if m, err := server.Receive(); err != nil {
		return fmt.Errorf("in place of Terminate: %v, %w", m, err)
	}
	_, _ = io.Copy(io.Discard, tc)
	*end = tc.Layer().Err()
	return tc.NetConn().Close()
}

// A version that was refused is remembered only if the server has spoken beyond it with the older one, and what was heard in
// clear does not count for TLS.
func TestOldServersAreKnownForCertain(t *testing.T) {
	refuse := scripted.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "0A000", Message: "unsupported frontend protocol 3.2"})
	letIn := scripted.Script{scripted.AcceptTrust(), scripted.ExpectEOF(), scripted.Close()}
	for name, test := range map[string]struct {
		second scripted.Script
		old    bool
	}{
		"it lets in":     {letIn, true},
		"it breaks off":  {scripted.Script{scripted.ExpectStartup(), scripted.Close()}, false},
		"it refuses":     {scripted.Script{scripted.ExpectStartup(), scripted.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "3D000", Message: "no such database"})}, true},
		"the same again": {scripted.Script{scripted.ExpectStartup(), refuse}, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := scripted.New(t, scripted.Script{scripted.ExpectStartup(), refuse}, test.second)
			cfg, d := poolForScript(srv), NewDialer(nil)
			if c, err := d.Dial(t.Context(), cfg); err == nil {
				c.Close()
			}
			<-srv.Done()
			at := AddressOf(cfg.Host, cfg.Port)
			if got := d.old.has(oldServer{at, true}); got != test.old {
				t.Errorf("it is known as old: %t", got)
			}
			if d.old.has(oldServer{at, false}) {
				t.Error("for TLS, too")
			}
		})
	}
}

// expectEnd reads the end of the connection, and ends it: io.EOF of TLS is its close_notify.
func expectEnd() scripted.Step {
	return scripted.Do("expect the end", func(c *scripted.Conn) error {
		if n, err := c.Net.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return fmt.Errorf("got %d bytes, %w", n, err)
		}
		return c.Net.Close()
	})
}

func closeTLS() scripted.Step {
	return scripted.Do("close", func(c *scripted.Conn) error { return c.Net.Close() })
}
