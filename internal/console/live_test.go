package console

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/internal/journal"
	"pooler/internal/loop"
	"pooler/internal/monitor"
	"pooler/internal/pgtest"
	"pooler/pool"
)

// live is a pooler in this process in front of a PostgreSQL of its own, with the console and the executor of commands
// that the program has. It serves the databases shop, to anna and carl, and books, to ben; root may change something,
// looker may look.
type live struct {
	t           *testing.T
	pg          *pgtest.Server
	shop, books string // PostgreSQL's names of the databases
	addr, file  string // where it listens, and its configuration file
	socket      string // of the Unix socket
	front       *frontend.Server
	pools       *pool.Manager
	program     *liveProgram
	loops       []*loop.Loop
	monitor     *monitor.Monitor
	log         *testLog
	operator    *pgx.Conn // root's, for the test's own goroutine
	looker      *pgx.Conn
}

const patience = 10 * time.Second

// liveFile is the configuration. Pools are so small that the script can fill them.
const liveFile = `# the test's
listen_addr = "127.0.0.1"
unix_socket_dir = %q
auth_type = "trust"
admin_users = ["root"]
stats_users = ["looker"]
loops = 2 # more than one, so that what loops say is put together
default_pool_size = 3
query_wait_timeout = "30s"
state_check = "off" # the pooler asks PostgreSQL nothing of its own accord, so that all loans are the script's

[databases.shop] # of anna
host = "127.0.0.1"
port = %d
dbname = %q
pool_size = 4 # as the script needs it

[databases.books]
host = "127.0.0.1"
port = %[2]d
dbname = %[4]q
pool_size = 2
pool_boundary = "transaction"

[users.ben]
max_user_connections = 7

[users.carl]
pool_size = 1
`

func startLive(t *testing.T) *live {
	t.Helper()
	l := &live{t: t, pg: pgtest.Start(t), log: &testLog{}, file: filepath.Join(t.TempDir(), "pooler.toml")}
	l.shop, l.books = l.pg.CreateDatabase(t), l.pg.CreateDatabase(t)
	l.ask("postgres", "CREATE ROLE anna LOGIN; CREATE ROLE ben LOGIN; CREATE ROLE carl LOGIN")
	l.ask(l.shop, "CREATE TABLE stock AS SELECT i AS id, 0 AS n FROM generate_series(1, 10) i; GRANT ALL ON stock TO anna")
	sockets := t.TempDir()
	l.socket = filepath.Join(sockets, ".s.PGSQL.0")
	if err := os.WriteFile(l.file, fmt.Appendf(nil, liveFile, sockets, l.pg.Port, l.shop, l.books), 0o600); err != nil {
		t.Fatal(err)
	}
	l.serve()
	l.operator, l.looker = l.console("root"), l.console("looker")
	return l
}

// run is t.Run for those tests that share l, one after the other.
func (l *live) run(name string, f func(t *testing.T)) {
	outer := l.t
	defer func() { l.t = outer }()
	outer.Run(name, func(t *testing.T) {
		l.t = t
		f(t)
	})
}

// serve starts the pooler, as the program does.
func (l *live) serve() {
	l.t.Helper()
	log := slog.New(slog.NewTextHandler(l.log, nil))
	doc, err := config.ReadDocument(l.file)
	if err != nil {
		l.t.Fatal(err)
	}
	l.program = &liveProgram{file: l.file, doc: doc, stops: make(chan ShutdownWait, 1), apply: func(*config.Config) error { return nil }}
	if _, err := l.program.put(doc); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(l.stop)
	for range l.program.cfg.Loops {
		one, err := loop.New(log)
		if err != nil {
			l.t.Fatal(err)
		}
		l.loops = append(l.loops, one)
	}
	l.pools = pool.NewManager(backend.Dial, l.loops, log)
	if l.front, err = frontend.New(l.program.cfg, l.pools, l.loops, log); err != nil {
		l.t.Fatal(err)
	}
	kept := journal.New()
	l.front.SetJournal(kept)
	l.pools.SetJournal(kept)
	src := SnapshotsOf(l.front, l.pools, "1.2.3")
	src.Loops, src.Proofs = len(l.loops), l.front.Proofs
	l.monitor = monitor.New(monitor.Snapshots{
		Sources: l.front.Sources, Pools: l.pools.Stats, Suspects: l.front.Suspects, Config: l.front.Config, Now: time.Now,
	}, monitor.Options{}, log)
	src.Monitor = l.monitor
	l.monitor.Start()
	l.front.SetConsole(New("1.2.3", Views(src), NewActions(l.pools, l.front, l.program), log))
	l.program.apply = l.front.Configure
	if err := l.front.Listen(); err != nil {
		l.t.Fatal(err)
	}
	for _, a := range l.front.Addresses() {
		if _, ok := a.(*net.TCPAddr); ok {
			l.addr = a.String()
		}
	}
}

func (l *live) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if l.monitor != nil {
		l.monitor.Close()
	}
	if l.front != nil {
		l.front.Shutdown(ctx)
	}
	if l.pools != nil {
		l.pools.Close()
	}
	for _, one := range l.loops {
		one.Stop()
		if n := one.Panics(); n > 0 {
			l.t.Errorf("a loop has contained %d panics", n)
		}
	}
	if l.t.Failed() {
		l.t.Logf("the pooler's log:\n%s", l.log.String())
	}
}

// liveProgram is a Program as the one of cmd/pooler, which no test of another package can have.
type liveProgram struct {
	file  string
	apply func(*config.Config) error
	stops chan ShutdownWait

	mu  sync.Mutex // guards both
	doc *config.Document
	cfg *config.Config
}

func (p *liveProgram) Config() *config.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

// put puts doc in force.
func (p *liveProgram) put(doc *config.Document) (done Changes, err error) {
	cfg, err := doc.Config(frontend.CheckHooks)
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	cfg.ListenPort = 0 // the kernel chooses
	if err := p.apply(cfg); err != nil {
		return done, err
	}
	if p.cfg != nil {
		done.Made = config.Diff(p.cfg, cfg)
	}
	p.doc, p.cfg = doc, cfg
	return done, nil
}

func (p *liveProgram) Change(_ context.Context, _ string, save bool, edit Edit) (Changes, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	doc, err := edit(p.doc)
	if err != nil {
		return Changes{}, err
	}
	done, err := p.put(doc)
	if err == nil && save {
		done.Saved, err = done.Made, doc.Save()
	}
	return done, err
}

func (p *liveProgram) Reload(context.Context, string) (Changes, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	doc, err := config.ReadDocument(p.file)
	if err != nil {
		return Changes{}, err
	}
	return p.put(doc)
}

func (p *liveProgram) Save(context.Context, string) (Changes, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Changes{}, p.doc.Save()
}

func (p *liveProgram) Shutdown(_ context.Context, how ShutdownWait, _ string) { p.stops <- how }

// ask asks PostgreSQL, past the pooler.
func (l *live) ask(database, sql string) [][]string {
	l.t.Helper()
	rows, err := l.pg.Exec(l.t.Context(), database, sql)
	if err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// backends is the processes that serve the pooler, by the port from which it has reached them.
func (l *live) backends(database string) map[int64]int64 {
	l.t.Helper()
	pids := map[int64]int64{}
	for _, row := range l.ask("postgres", "SELECT client_port, pid FROM pg_stat_activity WHERE usename IN ('anna', 'ben', 'carl') AND datname = '"+database+"'") {
		var port, pid int64
		if _, err := fmt.Sscan(row[0]+" "+row[1], &port, &pid); err != nil {
			l.t.Fatal(err)
		}
		pids[port] = pid
	}
	return pids
}

// console is another connection to the console.
func (l *live) console(user string) *pgx.Conn {
	l.t.Helper()
	c, err := pgx.Connect(l.t.Context(), l.dsn(user, "pooler")+"&application_name=desk")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (l *live) dsn(user, database string) string {
	return "postgres://" + user + "@" + l.addr + "/" + database + "?sslmode=disable"
}

// show is what root sees of a view, with typed values: numbers are int64 or float64.
func (l *live) show(query string, args ...any) []map[string]any {
	l.t.Helper()
	if !strings.HasPrefix(query, "SELECT ") {
		query = "SHOW " + query
	}
	rows, err := l.operator.Query(l.t.Context(), query, args...)
	if err != nil {
		l.t.Fatalf("%s: %v", query, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (map[string]any, error) {
		values, err := row.Values()
		named := map[string]any{}
		for i, f := range row.FieldDescriptions() {
			if i < len(values) {
				named[f.Name] = plain(values[i])
			}
		}
		return named, err
	})
	if err != nil {
		l.t.Fatalf("%s: %v", query, err)
	}
	return list
}

func plain(v any) any {
	switch v := v.(type) {
	case int32:
		return int64(v)
	case pgtype.Numeric:
		if n, err := v.Int64Value(); err == nil && n.Valid {
			return n.Int64
		}
	}
	return v
}

// does has root give a command, and fails the test if it is refused.
func (l *live) does(command string) {
	l.t.Helper()
	if _, err := l.operator.Exec(l.t.Context(), command, pgx.QueryExecModeSimpleProtocol); err != nil {
		l.t.Fatalf("%s: %v", command, err)
	}
}

// gives has root give a command that takes its time, and returns what will come of it.
func (l *live) gives(command string) <-chan error {
	l.t.Helper()
	c, done := l.console("root"), make(chan error, 1)
	go func() { // awaited by whoever reads done
		_, err := c.Exec(context.Background(), command, pgx.QueryExecModeSimpleProtocol)
		done <- err
	}()
	return done
}

// eventually waits for something that the pooler or PostgreSQL is about to do.
func (l *live) eventually(what string, ok func() bool) {
	l.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(patience); !ok(); <-look.C {
		if time.Now().After(end) {
			l.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
