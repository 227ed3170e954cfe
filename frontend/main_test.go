package frontend

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/loop"
	"pooler/internal/pgtest"
	"pooler/pool"
)

// postgres serves all tests of the package but those that end it.
var postgres pgtest.Shared

func TestMain(m *testing.M) { pgtest.Main(m, &postgres) }

// testPooler is a pooler in this process, in front of the shared server unless its TOML says otherwise.
type testPooler struct {
	Addr  string // host:port
	Front *Server
	Pools *pool.Manager
	Loops []*loop.Loop
	Log   *testLog
}

// startPooler runs a pooler until the test ends, with trust authentication, one loop and any database of the shared
// server. Each of extras is lines of TOML: top-level keys, then tables.
func startPooler(t *testing.T, extras ...string) *testPooler {
	t.Helper()
	return startPoolerThatDials(t, backend.Dial, extras...)
}

// testConfig is the configuration of a pooler that startPooler starts.
func testConfig(t *testing.T, extras ...string) *config.Config {
	t.Helper()
	pg := postgres.Server(t)
	cfg, err := config.Parse("test.toml", []byte(testTOML(pg.Host, pg.Port, strings.Join(extras, "\n"))))
	if err != nil {
		t.Fatalf("configuration: %v", err)
	}
	cfg.ListenPort = 0 // the kernel chooses
	return cfg
}

func startPoolerThatDials(t *testing.T, dial pool.DialFunc, extras ...string) *testPooler {
	t.Helper()
	return startPoolerThat(t, dial, func(*Server) {}, extras...)
}

// startPoolerWith has prepare see the server before it listens.
func startPoolerWith(t *testing.T, prepare func(*Server), extras ...string) *testPooler {
	t.Helper()
	return startPoolerThat(t, backend.Dial, prepare, extras...)
}

func startPoolerThat(t *testing.T, dial pool.DialFunc, prepare func(*Server), extras ...string) *testPooler {
	t.Helper()
	cfg := testConfig(t, extras...)
	p := &testPooler{Log: &testLog{}}
	log := slog.New(slog.NewTextHandler(p.Log, &slog.HandlerOptions{Level: cfg.LogLevel.Slog()}))
	t.Cleanup(func() { p.stop(t) })
	for range max(1, cfg.Loops) {
		l, err := loop.New(log)
		if err != nil {
			t.Fatalf("start event loop: %v", err)
		}
		p.Loops = append(p.Loops, l)
	}
	p.Pools = pool.NewManager(dial, p.Loops, log)
	var err error
	if p.Front, err = New(cfg, p.Pools, p.Loops, log); err != nil {
		t.Fatalf("start frontend: %v", err)
	}
	prepare(p.Front)
	if err := p.Front.Listen(); err != nil {
		t.Fatalf("listen: %v", err)
	}
	p.Addr = p.Front.Addresses()[0].String()
	return p
}

// testTOML puts the defaults of tests around extras, which win.
func testTOML(host string, port int, extras string) string {
	top, tables, ok := strings.Cut("\n"+extras, "\n[")
	if ok {
		tables = "[" + tables
	}
	var b strings.Builder
	for _, line := range []string{`auth_type = "trust"`, `unix_socket_dir = ""`, `loops = 1`, `log_level = "warn"`} {
		if key, _, _ := strings.Cut(line, " "); !strings.Contains(top, "\n"+key+" ") {
			b.WriteString(line + "\n")
		}
	}
	if strings.Contains(top, "\nauth_user ") && !strings.Contains(top, "\nauth_dbname ") {
		b.WriteString("auth_dbname = \"postgres\"\n")
	}
	b.WriteString(top + "\n")
	if !strings.Contains(tables, `[databases."*"]`) {
		fmt.Fprintf(&b, "[databases.\"*\"]\nhost = %q\nport = %d\n", host, port)
	}
	return b.String() + tables
}

// stop takes the pooler down as cmd/pooler does, and fails t for a panic that a loop has contained.
func (p *testPooler) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if p.Front != nil {
		p.Front.Shutdown(ctx)
	}
	if p.Pools != nil {
		p.Pools.Close()
	}
	for i, l := range p.Loops {
		l.Stop()
		if n := l.Panics(); n > 0 {
			t.Errorf("loop %d has contained %d panics", i, n)
		}
	}
	if t.Failed() {
		t.Logf("the pooler's log:\n%s", p.Log.String())
	}
}

// dsn is the URL of database db through the pooler; more is further parameters, "&name=value".
func (p *testPooler) dsn(db, more string) string {
	return "postgres://" + pgtest.Superuser + "@" + p.Addr + "/" + db + "?sslmode=disable" + more
}

// testLog keeps what a pooler logs. Any goroutine may use it.
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

// encoded is a message as it goes over the wire.
func encoded(msg pgproto3.BackendMessage) []byte {
	out, err := msg.Encode(nil)
	if err != nil {
		panic(err)
	}
	return out
}

const scramMechanism = "SCRAM-SHA-256"
