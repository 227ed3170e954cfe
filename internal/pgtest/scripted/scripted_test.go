package scripted_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/scripted"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestScriptAnswersARealClient(t *testing.T) {
	srv := scripted.New(t, scripted.Script{
		scripted.AcceptTrust("server_version=16.7", "search_path=public"),
		scripted.ExpectQuery("select 1"),
		scripted.Send(
			&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("n"), DataTypeOID: 23, DataTypeSize: 4}}},
			&pgproto3.DataRow{Values: [][]byte{[]byte("1")}}),
		scripted.Complete("SELECT 1", 'I'),
		scripted.ExpectEOF(),
	})
	conn := connect(t, srv)
	for name, want := range map[string]string{"server_version": "16.7", "search_path": "public", "client_encoding": "UTF8"} {
		if got := conn.ParameterStatus(name); got != want {
			t.Errorf("parameter %s: got %q, want %q", name, got, want)
		}
	}
	if got := conn.PID(); got != scripted.ProcessID {
		t.Errorf("process id: got %d, want %d", got, scripted.ProcessID)
	}
	results, err := conn.Exec(t.Context(), "select 1").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(results[0].Rows[0][0]); got != "1" {
		t.Errorf("got %q, want 1", got)
	}
	closeConn(t, conn)
	<-srv.Done()
}

func TestFaultsReachTheClient(t *testing.T) {
	row := &pgproto3.DataRow{Values: [][]byte{[]byte("half of this")}}
	encoded := string(scripted.Encode(row))
	tests := []struct {
		name    string
		fault   []scripted.Step
		want    string
		wantErr error // nil: an orderly end
	}{
		{name: "close is an orderly end", fault: []scripted.Step{scripted.Close()}},
		{name: "reset is a reset", fault: []scripted.Step{scripted.Reset()}, wantErr: syscall.ECONNRESET},
		{
			name:  "a message can end inside its header",
			fault: []scripted.Step{scripted.SendPart(row, 0, 3), scripted.Close()},
			want:  encoded[:3],
		},
		{
			name:  "a message can end inside its body",
			fault: []scripted.Step{scripted.SendPart(row, 0, -1), scripted.CloseWrite()},
			want:  encoded[:len(encoded)-1],
		},
		{
			name:  "bytes can be no message at all",
			fault: []scripted.Step{scripted.SendRaw([]byte("HTTP/1.1 400")), scripted.Close()},
			want:  "HTTP/1.1 400",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script := scripted.Script{scripted.ExpectStartup(), scripted.Expect(&pgproto3.Query{})}
			srv := scripted.New(t, append(script, tt.fault...))
			conn := send(t, srv, startup(), &pgproto3.Query{String: "select 1"})
			got, err := io.ReadAll(conn)
			if string(got) != tt.want || !errors.Is(err, tt.wantErr) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

func TestPartsOfAMessageMakeOne(t *testing.T) {
	msg := &pgproto3.CommandComplete{CommandTag: []byte("SET")}
	ready := scripted.Encode(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	srv := scripted.New(t, scripted.Script{
		scripted.AcceptTrust(),
		scripted.ExpectExactly(&pgproto3.Query{String: "set x.y = 1"}),
		scripted.SendPart(msg, 0, 4),
		scripted.SendPart(msg, 4, -2),
		scripted.SendPart(msg, 7, 9),
		scripted.SendRaw(ready),
	})
	conn := connect(t, srv)
	if _, err := conn.Exec(t.Context(), "set x.y = 1").ReadAll(); err != nil {
		t.Error(err)
	}
	closeConn(t, conn)
}

func TestHangAndSignalOrderEvents(t *testing.T) {
	reached, proceed := make(chan struct{}), make(chan struct{})
	srv := scripted.New(t, scripted.Script{
		scripted.AcceptTrust(),
		scripted.ExpectAny(),
		scripted.Signal(reached),
		scripted.Hang(proceed),
		scripted.Complete("SELECT 0", 'I'),
	})
	conn := connect(t, srv)
	answered := make(chan error)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "select").ReadAll()
		answered <- err
	}()
	<-reached
	select {
	case err := <-answered:
		t.Fatalf("answered while the server hangs: %v", err)
	default:
	}
	close(proceed)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	closeConn(t, conn)
}

func TestServeAnswersUntilTheClientLeaves(t *testing.T) {
	srv := scripted.NewFunc(t, func(int) scripted.Script {
		return scripted.Script{
			scripted.AcceptTrust(),
			scripted.Serve(func(msg pgproto3.FrontendMessage) []pgproto3.BackendMessage {
				query, ok := msg.(*pgproto3.Query)
				if !ok {
					return nil
				}
				return []pgproto3.BackendMessage{
					&pgproto3.CommandComplete{CommandTag: []byte(query.String)},
					&pgproto3.ReadyForQuery{TxStatus: 'I'},
				}
			}),
		}
	})
	for n := range 3 {
		conn := connect(t, srv)
		if got, want := conn.PID(), scripted.ProcessID+uint32(n); got != want {
			t.Errorf("process id: got %d, want %d", got, want)
		}
		for _, text := range []string{"one", "two"} {
			results, err := conn.Exec(t.Context(), text).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			if got := results[0].CommandTag.String(); got != text {
				t.Errorf("tag: got %q, want %q", got, text)
			}
		}
		closeConn(t, conn)
	}
	if got := srv.Accepted(); got != 3 {
		t.Errorf("accepted %d connections, want 3", got)
	}
}

func TestExpectCancel(t *testing.T) {
	srv := scripted.New(t,
		scripted.Script{scripted.AcceptTrust(), scripted.ExpectEOF()},
		scripted.Script{scripted.ExpectCancel(scripted.ProcessID, scripted.SecretKey), scripted.Close()})
	conn := connect(t, srv)
	if err := conn.CancelRequest(t.Context()); err != nil {
		t.Error(err)
	}
	closeConn(t, conn)
	<-srv.Done()
}

func TestPasswordMessagesAreDecoded(t *testing.T) {
	srv := scripted.New(t, scripted.Script{
		scripted.ExpectStartup(),
		scripted.Send(&pgproto3.AuthenticationCleartextPassword{}),
		scripted.ExpectExactly(&pgproto3.PasswordMessage{Password: "secret"}),
		scripted.Welcome(),
	})
	dsn := strings.Replace(srv.DSN("db"), "postgres@", "postgres:secret@", 1)
	conn, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	closeConn(t, conn)
}

func TestAcceptTLS(t *testing.T) {
	srv := scripted.New(t, scripted.Script{
		scripted.AcceptTLS(&tls.Config{Certificates: []tls.Certificate{certificate(t)}}),
		scripted.AcceptTrust(),
		scripted.ExpectQuery("select 1"),
		scripted.Complete("SELECT 0", 'I'),
	})
	conn, err := pgconn.Connect(t.Context(), strings.Replace(srv.DSN("db"), "disable", "require", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.Conn().(*tls.Conn); !ok {
		t.Errorf("got a %T, want TLS", conn.Conn())
	}
	if _, err := conn.Exec(t.Context(), "select 1").ReadAll(); err != nil {
		t.Error(err)
	}
	closeConn(t, conn)
}

func TestAFailedStepFailsTheTest(t *testing.T) {
	tests := []struct {
		name   string
		script []scripted.Script
		wait   bool // for the end of all scripts
		want   string
	}{
		{
			name:   "the wrong message names the step and both messages",
			script: []scripted.Script{{scripted.AcceptTrust(), scripted.ExpectQuery("select 2")}},
			wait:   true,
			want:   `connection 0, step 2 (expect query "select 2"): got *pgproto3.Query {"Type":"Query","String":"select 1"}`,
		},
		{
			name:   "a client that leaves early",
			script: []scripted.Script{{scripted.ExpectStartup(), scripted.Expect(&pgproto3.Query{}), scripted.ExpectAny(), scripted.ExpectAny()}},
			wait:   true,
			want:   "step 4 (expect any message): unexpected EOF",
		},
		{
			name:   "a connection for which there is no script",
			script: nil,
			want:   "connection 0, for which there is no script",
		},
		{
			name: "a script that no connection played",
			script: []scripted.Script{
				{scripted.ExpectStartup(), scripted.Close()},
				{scripted.ExpectStartup()},
			},
			want: "1 of 2 scripts were never played",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{TB: t}
			srv := scripted.New(r, tt.script...)
			conn := send(t, srv,
				startup(),
				&pgproto3.Query{String: "select 1"}, &pgproto3.Terminate{})
			_ = conn.CloseWrite() // the server may have been first
			if tt.wait {
				<-srv.Done()
			} else {
				_, _ = io.ReadAll(conn) // until the server ends it
			}
			r.finish()
			if got := strings.Join(r.errors, "\n"); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want it to contain %q", got, tt.want)
			}
		})
	}
}

func TestHangEndsWithTheTest(t *testing.T) {
	r := &recorder{TB: t}
	reached := make(chan struct{})
	srv := scripted.New(r, scripted.Script{scripted.Signal(reached), scripted.Hang(nil)})
	conn := send(t, srv)
	<-reached
	r.finish()
	if len(r.errors) != 0 {
		t.Errorf("got %q, want no error", r.errors)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

// recorder is a test that notes what fails in it.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string // of the one connection's goroutine; read after finish
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) finish() {
	for _, f := range r.cleanups {
		f()
	}
}

// certificate makes one that signs itself, for a client that does not verify.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func startup() *pgproto3.StartupMessage {
	return &pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": "postgres"},
	}
}

// send dials srv and sends it msgs as they are, with none of a real client's reactions.
func send(t *testing.T, srv *scripted.Server, msgs ...pgproto3.FrontendMessage) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var b []byte
	for _, msg := range msgs {
		if b, err = msg.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func connect(t *testing.T, srv *scripted.Server) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), srv.DSN("db"))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// closeConn ends conn, whose server may have ended it before.
func closeConn(t *testing.T, conn *pgconn.PgConn) {
	t.Helper()
	_ = conn.Close(t.Context()) // the server may be gone
	<-conn.CleanupDone()
}
