// Package scripted is a fake PostgreSQL server that does exactly what a test tells it, wrong
// things included: it stops in the middle of a message, sends what nobody asked for, resets the
// connection, or never answers.
//
//	reached := make(chan struct{})
//	srv := scripted.New(t, scripted.Script{
//		scripted.AcceptTrust(),
//		scripted.ExpectQuery("select 1"),
//		scripted.Signal(reached),
//		scripted.Reset(),
//	})
//	dial(srv.Addr())
//
// Steps wait for each other through channels and never for a time.
package scripted

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// stepTimeout is how long one step waits for the client, so that a test that goes wrong ends
// with the name of the step. Hang has no limit.
const stepTimeout = 15 * time.Second

// Script is what the server does on one connection. After its last step the connection stays
// open, and nothing reads it, until the test ends; Close and Reset end it earlier.
type Script []Step

// Step is one thing that the server does or expects. Its name is for failures.
type Step struct {
	name string
	run  func(*Conn) error
}

// Do is a step of the test's own.
func Do(name string, run func(*Conn) error) Step { return Step{name: name, run: run} }

// Conn is one accepted connection. It belongs to the goroutine that plays its script; only steps
// touch it.
type Conn struct {
	// Net is the connection, the TLS one after AcceptTLS.
	Net net.Conn
	// Number counts the server's connections from 0.
	Number int
	// Startup is the client's StartupMessage, once a step has read it.
	Startup *pgproto3.StartupMessage

	client  *pgproto3.Backend
	tcp     *net.TCPConn
	stopped <-chan struct{}
}

// Server listens on a loopback port and plays scripts. It belongs to the test that made it and
// ends with it.
type Server struct {
	Host string // 127.0.0.1
	Port int

	t        testing.TB
	script   func(n int) Script
	listener net.Listener
	wg       sync.WaitGroup
	ctx      context.Context // done when the test ends
	stop     context.CancelFunc
	done     chan struct{} // closed when every one of the scripts given to New was played

	mu       sync.Mutex
	accepted int
	ended    int
	open     map[*net.TCPConn]struct{}
}

// New starts a server that plays the nth script on the nth connection. The test fails if a step
// does, if a script was not played to its end (Hang counts as an end), or if there is a
// connection too many.
func New(t testing.TB, scripts ...Script) *Server {
	t.Helper()
	s := start(t, func(n int) Script {
		if n < len(scripts) {
			return scripts[n]
		}
		return nil
	}, len(scripts))
	return s
}

// NewFunc starts a server that asks script for what to do on connection n, counted from 0; nil
// means that this connection is one too many and fails the test. script is called from one
// goroutine at a time.
func NewFunc(t testing.TB, script func(n int) Script) *Server {
	t.Helper()
	return start(t, script, 0)
}

func start(t testing.TB, script func(int) Script, want int) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("scripted: %v", err)
	}
	addr := listener.Addr().(*net.TCPAddr)
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		Host:     addr.IP.String(),
		Port:     addr.Port,
		t:        t,
		script:   script,
		listener: listener,
		ctx:      ctx,
		stop:     stop,
		done:     make(chan struct{}),
		open:     map[*net.TCPConn]struct{}{},
	}
	s.wg.Go(func() { s.accept(want) })
	t.Cleanup(func() {
		s.close()
		if s.accepted < want {
			t.Errorf("scripted: %d of %d scripts were never played: no connection came", want-s.accepted, want)
		}
	})
	return s
}

// Addr is host:port, for net.Dial.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// DSN is the URL of database db as user postgres, for pgx.
func (s *Server) DSN(db string) string {
	return "postgres://postgres@" + s.Addr() + "/" + db + "?sslmode=disable"
}

// Accepted is the number of connections so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Done is closed when all the scripts given to New have ended. With NewFunc it never is.
func (s *Server) Done() <-chan struct{} { return s.done }

func (s *Server) accept(want int) {
	for {
		accepted, err := s.listener.Accept()
		if err != nil {
			if s.ctx.Err() == nil {
				s.t.Errorf("scripted: accept: %v", err)
			}
			return
		}
		tcp := accepted.(*net.TCPConn)
		s.mu.Lock()
		n := s.accepted
		s.accepted++
		s.open[tcp] = struct{}{}
		s.mu.Unlock()
		script := s.script(n)
		if script == nil {
			s.t.Errorf("scripted: connection %d, for which there is no script", n)
			s.drop(tcp)
			continue
		}
		s.wg.Go(func() {
			s.play(n, tcp, script)
			s.mu.Lock()
			s.ended++
			if s.ended == want {
				close(s.done)
			}
			s.mu.Unlock()
		})
	}
}

// play runs script and reports the first step that fails.
func (s *Server) play(n int, tcp *net.TCPConn, script Script) {
	c := &Conn{Net: tcp, Number: n, tcp: tcp, client: pgproto3.NewBackend(tcp, tcp), stopped: s.ctx.Done()}
	for i, step := range script {
		err := c.Net.SetDeadline(time.Now().Add(stepTimeout))
		if err == nil || errors.Is(err, net.ErrClosed) {
			err = step.run(c)
		}
		if errors.Is(err, errStopped) {
			break
		}
		if err != nil {
			s.t.Errorf("scripted: connection %d, step %d (%s): %v", n, i+1, step.name, err)
			s.drop(tcp)
			return
		}
	}
}

func (s *Server) drop(tcp *net.TCPConn) {
	_ = tcp.Close() // a script may have closed it before
	s.mu.Lock()
	delete(s.open, tcp)
	s.mu.Unlock()
}

// close ends the listener and all connections and waits for the goroutines.
func (s *Server) close() {
	s.stop()
	_ = s.listener.Close()
	s.mu.Lock()
	for tcp := range s.open {
		_ = tcp.Close() // a script may have closed it before
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// errStopped is the step that the end of the test cut short, as it may.
var errStopped = errors.New("the test has ended")

// unlessStopped is err, but errStopped if the end of the test is its cause.
func (c *Conn) unlessStopped(err error) error {
	select {
	case <-c.stopped:
		return errStopped
	default:
		return err
	}
}

// Write sends b as it is.
func (c *Conn) Write(b []byte) error {
	_, err := c.Net.Write(b)
	return err
}

// Send encodes msgs and sends them in one write.
func (c *Conn) Send(msgs ...pgproto3.BackendMessage) error {
	for _, msg := range msgs {
		if auth, ok := authType(msg); ok {
			if err := c.client.SetAuthType(auth); err != nil {
				return err
			}
		}
	}
	b, err := encode(msgs...)
	if err != nil {
		return err
	}
	return c.Write(b)
}

// Receive reads the next message of an established session. It is valid until the next call.
func (c *Conn) Receive() (pgproto3.FrontendMessage, error) { return c.client.Receive() }

// authType tells how the password message that answers msg is to be decoded.
func authType(msg pgproto3.BackendMessage) (uint32, bool) {
	switch msg.(type) {
	case *pgproto3.AuthenticationOk:
		return pgproto3.AuthTypeOk, true
	case *pgproto3.AuthenticationCleartextPassword:
		return pgproto3.AuthTypeCleartextPassword, true
	case *pgproto3.AuthenticationMD5Password:
		return pgproto3.AuthTypeMD5Password, true
	case *pgproto3.AuthenticationSASL:
		return pgproto3.AuthTypeSASL, true
	case *pgproto3.AuthenticationSASLContinue:
		return pgproto3.AuthTypeSASLContinue, true
	case *pgproto3.AuthenticationSASLFinal:
		return pgproto3.AuthTypeSASLFinal, true
	default:
		return 0, false
	}
}

// Encode is the wire form of msgs, to be cut or damaged before SendRaw. It panics on a message
// that cannot be encoded, which is a mistake in the test.
func Encode(msgs ...pgproto3.BackendMessage) []byte {
	b, err := encode(msgs...)
	if err != nil {
		panic(fmt.Sprintf("bug: scripted.Encode: %v", err))
	}
	return b
}

func encode(msgs ...pgproto3.BackendMessage) ([]byte, error) {
	var b []byte
	for _, msg := range msgs {
		var err error
		if b, err = msg.Encode(b); err != nil {
			return nil, fmt.Errorf("encode %T: %w", msg, err)
		}
	}
	return b, nil
}
