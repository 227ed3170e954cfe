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
