package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/frontend"
	"pooler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// epoch is when the clients of the fake view connected.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fakeViews are views with every type, NULLs among the values, and one that panics.
func fakeViews() []View {
	clients := View{
		Name: "clients", Help: "clients",
		Columns: []Column{
			{"id", Int8},
			{"user", Text},
			{"database", Text},
			{"port", Int4},
			{"paused", Bool},
			{"load", Float8},
			{"bytes", Numeric},
			{"connect_time", Timestamp},
			{"application_name", Text},
		},
		Rows: func(context.Context) ([][]any, error) {
			return [][]any{
				{uint32(1), "alice", "app", 5432, true, 0.5, uint64(1) << 63, epoch, "psql"},
				{int64(2), "bob", "app", int32(6432), false, 1.25, 7, epoch.Add(time.Hour), "evil\x1b[31m\n"},
				{3, "carol", "50%_off", nil, nil, nil, nil, time.Time{}, nil},
				{4, "Dave", "web", 80, true, 2, 9.5, epoch.Add(2 * time.Hour), ""},
			}, nil
		},
	}
	many := View{Name: "many", Columns: []Column{{"n", Int4}}, Rows: func(context.Context) (rows [][]any, err error) {
		for i := range 1000 {
			rows = append(rows, []any{i})
		}
		return rows, nil
	}}
	bad := func(name string, rows func(context.Context) ([][]any, error)) View {
		return View{Name: name, Columns: []Column{{"n", Int4}}, Rows: rows}
	}
	return []View{
		clients, many,
		bad("broken", func(context.Context) ([][]any, error) { panic("a bug in a view") }),
		bad("failing", func(context.Context) ([][]any, error) { return nil, errors.New("no snapshot") }),
		bad("wrong", func(context.Context) ([][]any, error) { return [][]any{{"text"}}, nil }),
	}
}

// fakeExecutor notes what it is asked to do. PAUSE waits for its context.
type fakeExecutor struct {
	mu      sync.Mutex
	done    []string
	pausing chan struct{} // gets a value when a PAUSE of hang has begun
}

func (e *fakeExecutor) Execute(ctx context.Context, _ *frontend.Admin, c Command, notice func(message, hint string)) (Result, error) {
	e.mu.Lock()
	e.done = append(e.done, c.String())
	e.mu.Unlock()
	switch c := c.(type) {
	case Pause:
		if c.Database == "hang" {
			notice("waiting", "be patient")
			e.pausing <- struct{}{}
			<-ctx.Done()
			return Result{}, fmt.Errorf("pause: %w", ctx.Err())
		}
		if c.Database == "stubborn" { // is done all the same
			e.pausing <- struct{}{}
			<-ctx.Done()
		}
	case Reload:
		panic("a bug in a command")
	case Enable:
		return Result{}, &frontend.Refusal{Code: "3D000", Message: "no such database"}
	case KillIdle:
		return Result{Tag: "KILL IDLE 1", Rows: [][]any{{7, "app", "bob", "x\ty", "10.0.0.1", 2.5, nil, !c.DryRun}}}, nil
	}
	return Result{}, nil
}

func (e *fakeExecutor) commands() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string{}, e.done...)
}

// testLog keeps what is logged. Any goroutine may use it.
type testLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bench is a console that listens on a port, with everything fake behind it.
type bench struct {
	addr      string
	exec      *fakeExecutor
	log       *testLog
	interrupt chan struct{}
	end       context.CancelFunc // of the contexts of all conversations
	ended     chan struct{}      // gets a value for each conversation that ends
	mu        sync.Mutex
	right     frontend.Right
}

func (b *bench) setRight(r frontend.Right) {
	b.mu.Lock()
	b.right = r
	b.mu.Unlock()
}

func (b *bench) getRight() frontend.Right {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.right
}

func startBench(t *testing.T) *bench {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &bench{
		addr: l.Addr().String(), exec: &fakeExecutor{pausing: make(chan struct{}, 1)}, log: &testLog{},
		interrupt: make(chan struct{}, 1), end: cancel, ended: make(chan struct{}, 100), right: frontend.RightChange,
	}
	c := New("1.2.3", fakeViews(), b.exec, slog.New(slog.NewTextHandler(b.log, nil)))
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { b.serve(ctx, c, conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		served.Wait()
		if t.Failed() {
			t.Logf("log:\n%s", b.log.String())
		}
	})
	return b
}

// serve reads the StartupMessage, as the frontend does before it hands a client over.
func (b *bench) serve(ctx context.Context, c *Console, conn net.Conn) {
	defer func() {
		_ = conn.Close()
		b.ended <- struct{}{}
	}()
	m, err := pgproto3.NewBackend(conn, conn).ReceiveStartupMessage()
	if err != nil {
		return
	}
	startup, ok := m.(*pgproto3.StartupMessage)
	if !ok {
		return
	}
	c.Serve(ctx, &frontend.Admin{
		Conn: conn, User: startup.Parameters["user"], Database: startup.Parameters["database"],
		Application: startup.Parameters["application_name"], Remote: netip.MustParseAddrPort("192.0.2.1:999"),
		Right: b.getRight, ID: 42, Secret: []byte{1, 2, 3, 4}, Interrupt: b.interrupt,
	})
}

func (b *bench) dsn() string {
	return "postgres://admin@" + b.addr + "/pooler?sslmode=disable&application_name=test"
}

// connect is a pgx client, whose notices go to notices if that is not nil.
func (b *bench) connect(t *testing.T, notices *[]*pgconn.Notice) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(b.dsn())
	if err != nil {
		t.Fatalf("dsn: %v", err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if notices != nil {
			*notices = append(*notices, n)
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// rawClient speaks the protocol message by message.
type rawClient struct {
	*pgproto3.Frontend
	t    *testing.T
	conn net.Conn
}

func (b *bench) raw(t *testing.T) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatalf("deadline: %v", err)
	}
	c := &rawClient{Frontend: pgproto3.NewFrontend(conn, conn), t: t, conn: conn}
	c.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": "admin", "database": "pooler", "application_name": "raw",
	}})
	c.flush()
	c.until('Z')
	return c
}

func (c *rawClient) flush() {
	c.t.Helper()
	if err := c.Flush(); err != nil {
		c.t.Fatalf("flush: %v", err)
	}
}

// until reads messages up to one of that kind, and returns them in short form.
func (c *rawClient) until(kind byte) []string {
	c.t.Helper()
	var got []string
	for {
		m, err := c.Receive()
		if err != nil {
			c.t.Fatalf("receive after %q: %v", got, err)
		}
		k, text := short(m)
		got = append(got, text)
		if k == kind {
			return got
		}
	}
}

// play sends messages and reads the answers up to as many ReadyForQuery as there are Query and Sync among them.
func (c *rawClient) play(messages ...pgproto3.FrontendMessage) []string {
	c.t.Helper()
	ready := 0
	for _, m := range messages {
		c.Send(m)
		switch m.(type) {
		case *pgproto3.Sync, *pgproto3.Query, *pgproto3.FunctionCall:
			ready++
		}
	}
	c.flush()
	var got []string
	for range ready {
		got = append(got, c.until('Z')...)
	}
	return got
}

// short is a message in a few letters.
func short(m pgproto3.BackendMessage) (kind byte, text string) {
	switch m := m.(type) {
	case *pgproto3.ReadyForQuery:
		return 'Z', "Z" + string(m.TxStatus)
	case *pgproto3.ErrorResponse:
		return 'E', fmt.Sprintf("E%s@%d", m.Code, m.Position)
	case *pgproto3.NoticeResponse:
		return 'N', "N" + m.Code
	case *pgproto3.CommandComplete:
		return 'C', "C " + string(m.CommandTag)
	case *pgproto3.DataRow:
		return 'D', "D" + string(bytes.Join(m.Values, []byte(",")))
	case *pgproto3.RowDescription:
		text := "T"
		for _, f := range m.Fields {
			text += fmt.Sprintf(" %s:%d:%d", f.Name, f.DataTypeOID, f.Format)
		}
		return 'T', text
	case *pgproto3.ParameterDescription:
		return 't', fmt.Sprintf("t%v", m.ParameterOIDs)
	case *pgproto3.ParameterStatus:
		return 'S', "S " + m.Name + "=" + m.Value
	case *pgproto3.ParseComplete:
		return '1', "1"
	case *pgproto3.BindComplete:
		return '2', "2"
	case *pgproto3.CloseComplete:
		return '3', "3"
	case *pgproto3.NoData:
		return 'n', "n"
	case *pgproto3.PortalSuspended:
		return 's', "s"
	case *pgproto3.EmptyQueryResponse:
		return 'I', "I"
	}
	return 0, fmt.Sprintf("%T", m)
}
