// Package pgtest runs a real, throwaway PostgreSQL server for tests, for the demo and for the
// benchmark. The server lives in a temporary directory, listens on 127.0.0.1 and on a Unix socket
// in that directory, writes without fsync, and dies with the process that started it.
//
// It serves whoever can reach the loopback address, without a password unless Options.Auth asks
// for one: keep nothing in it that matters.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Superuser is the bootstrap role of every Server.
const Superuser = "postgres"

const (
	host = "127.0.0.1"

	// Ports are drawn from below the ranges that kernels hand to outgoing connections (32768 and
	// up on Linux), so that a port stays free while its server is down between Kill and Start.
	firstPort, lastPort = 10000, 15999
	portTries           = 20

	readyTimeout = 60 * time.Second // crash recovery on a loaded two-core machine included
	readyPoll    = 5 * time.Millisecond
	execTimeout  = 60 * time.Second
)

// shutdown is a signal to the postmaster and the time that it gets for it.
type shutdown struct {
	signal syscall.Signal
	wait   time.Duration
}

// fastShutdown breaks off sessions and writes a checkpoint; if that hangs, harder ways follow.
func fastShutdown() []shutdown {
	return append([]shutdown{{syscall.SIGINT, 15 * time.Second}}, immediateShutdown()...)
}

// immediateShutdown leaves recovery to the next start.
func immediateShutdown() []shutdown {
	return []shutdown{{syscall.SIGQUIT, 10 * time.Second}, {syscall.SIGKILL, 10 * time.Second}}
}

// TB is the part of testing.TB that this package uses. It is spelled out so that the programs
// that run a Server outside tests do not link the testing package.
type TB interface {
	Cleanup(f func())
	Context() context.Context
	Errorf(format string, args ...any)
	Failed() bool
	Fatalf(format string, args ...any)
	Helper()
	Logf(format string, args ...any)
	Name() string
}

// Server is a PostgreSQL server with a data directory of its own. Its methods may be called from
// any goroutine. Whoever got it from Run owns it until Stop.
type Server struct {
	Host      string // 127.0.0.1
	Port      int
	SocketDir string // directory of the Unix socket; goes away with the server

	bindir    string
	opts      Options
	owner     account
	directory *directory
	databases atomic.Int64 // numbers the names that CreateDatabase makes

	mu   sync.Mutex
	proc *process // nil while the server is down
}

// Run starts a new server and returns when it accepts connections. ctx bounds the start only.
func Run(ctx context.Context, opts Options) (*Server, error) {
	bindir := opts.BinDir
	if bindir == "" {
		var err error
		if bindir, err = Find(); err != nil {
			return nil, err
		}
	}
	if err := opts.complete(); err != nil {
		return nil, err
	}
	owner, err := serverAccount()
	if err != nil {
		return nil, err
	}
	cache := openTemplateCache(bindir)
	s, fromTemplate, err := run(ctx, bindir, owner, opts, cache)
	if err != nil && fromTemplate && ctx.Err() == nil && !errors.Is(err, errPortTaken) {
		// The template may be damaged in a way that its manifest does not show; only a fresh
		// initdb tells whether it was that or the options.
		cache.evict()
		s, _, err = run(ctx, bindir, owner, opts, cache)
	}
	return s, err
}

func run(ctx context.Context, bindir string, owner account, opts Options, cache templateCache) (_ *Server, fromTemplate bool, err error) {
	dir, err := newDirectory(owner)
	if err != nil {
		return nil, false, err
	}
	s := &Server{
		Host:      host,
		Port:      opts.Port,
		SocketDir: dir.path,
		bindir:    bindir,
		opts:      opts,
		owner:     owner,
		directory: dir,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.remove())
		}
	}()
	fromTemplate, err = s.fillDataDir(ctx, cache)
	if err != nil {
		return nil, fromTemplate, err
	}
	if err := s.startOnFreePort(ctx); err != nil {
		return nil, fromTemplate, err
	}
	if opts.SuperuserPassword != "" {
		_, err := s.Exec(ctx, "postgres", "ALTER ROLE "+Superuser+" PASSWORD "+quoteLiteral(opts.SuperuserPassword))
		if err != nil {
			return nil, fromTemplate, errors.Join(fmt.Errorf("set the superuser's password: %w", err), s.Stop())
		}
	}
	return s, fromTemplate, nil
}

// Start is Run for a test, with at most one Options: the server stops when the test ends, and the
// test fails when there is no server to be had. A missing PostgreSQL is a failure, never a skip.
func Start(t TB, opts ...Options) *Server {
	t.Helper()
	if len(opts) > 1 {
		t.Fatalf("pgtest.Start takes at most one Options, got %d", len(opts))
	}
	var o Options
	if len(opts) == 1 {
		o = opts[0]
	}
	s, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of PostgreSQL's log:\n%s", s.directory.logTail(0))
		}
		if err := s.Stop(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s
}

// DSN is the URL, for psql and pgx alike, of database db over TCP as Superuser.
func (s *Server) DSN(db string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(Superuser),
		Host:     net.JoinHostPort(s.Host, strconv.Itoa(s.Port)),
		Path:     "/" + db,
		RawQuery: "sslmode=disable",
	}
	if s.opts.SuperuserPassword != "" {
		u.User = url.UserPassword(Superuser, s.opts.SuperuserPassword)
	}
	return u.String()
}

// SocketDSN is the URL of database db over the Unix socket as Superuser.
func (s *Server) SocketDSN(db string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(Superuser),
		Path:     "/" + db,
		RawQuery: url.Values{"host": {s.SocketDir}, "port": {strconv.Itoa(s.Port)}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}

// BinDir is the directory of the server's programs; PostgreSQL's clients, pgbench among them, are
// usually there too.
func (s *Server) BinDir() string { return s.bindir }

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return s.directory.data() }

// LogFile is the file that holds the server's log. It goes away with the server.
func (s *Server) LogFile() string { return s.directory.log() }

// PID is the process id of the postmaster, 0 while the server is down.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || s.proc.ended() {
		return 0
	}
	return s.proc.pid
}

// Start starts the server again, on the same port and data, after Kill or StopKeep. It does
// nothing if the server is up.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked(ctx)
}

// Restart is a fast shutdown and a start on the same port and data.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.downLocked(fastShutdown()); err != nil {
		return err
	}
	return s.startLocked(ctx)
}

// Kill ends the server at once, as in a crash: connections drop, and the next Start begins with
// crash recovery. It returns when the postmaster is gone.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.downLocked(immediateShutdown())
}

// StopKeep is a fast shutdown that keeps the data for a later Start.
func (s *Server) StopKeep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.downLocked(fastShutdown())
}

// Stop shuts the server down, fast and if need be immediately, and removes its directory. The
// server cannot be started again. Calling it twice does no harm.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.downLocked(fastShutdown()), s.directory.remove())
}

// Exec runs sql, one or more statements in a simple query, as Superuser over the Unix socket
// and returns the rows of the last one as text, NULL as the empty string.
func (s *Server) Exec(ctx context.Context, db, sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	cfg, err := pgconn.ParseConfig(s.SocketDSN(db))
	if err != nil {
		return nil, fmt.Errorf("parse the DSN of %s: %w", db, err)
	}
	cfg.RuntimeParams = map[string]string{} // nothing from the environment's PG* variables
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	results, err := conn.Exec(ctx, sql).ReadAll()
	err = errors.Join(err, conn.Close(ctx))
	if err != nil || len(results) == 0 {
		return nil, err
	}
	var rows [][]string
	for _, row := range results[len(results)-1].Rows {
		text := make([]string, len(row))
		for i, field := range row {
			text[i] = string(field)
		}
		rows = append(rows, text)
	}
	return rows, nil
}

// CreateDatabase makes a database for one test and returns its name, which needs no quoting. The
// database is dropped after the test, with whatever is still connected to it.
func (s *Server) CreateDatabase(t TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%s", s.databases.Add(1), plainName(t.Name()))
	if _, err := s.Exec(t.Context(), "postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatalf("pgtest: create database %s: %v", name, err)
	}
	t.Cleanup(func() {
		if s.PID() == 0 {
			return // a test may end with the server down; the directory goes with it
		}
		if _, err := s.Exec(context.Background(), "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Logf("pgtest: drop database %s: %v", name, err)
		}
	})
	return name
}

// startOnFreePort starts a server that has no port yet. Between choosing a port and PostgreSQL's
// bind another process may take it, hence the tries.
func (s *Server) startOnFreePort(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Port != 0 {
		return s.startLocked(ctx)
	}
	var err error
	for range portTries {
		if s.Port, err = FreePort(); err != nil {
			return err
		}
		if err = s.startLocked(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

func (s *Server) startLocked(ctx context.Context) error {
	if s.proc != nil && !s.proc.ended() {
		return nil
	}
	if s.directory.removed {
		return errors.New("start PostgreSQL: the server was stopped and its directory is gone")
	}
	logged := s.directory.logSize()
	proc, err := s.spawn()
	if err != nil {
		return err
	}
	s.proc = proc
	err = s.waitReady(ctx, proc)
	if err == nil {
		return nil
	}
	tail := s.directory.logTail(logged)
	if portTaken(tail) {
		err = fmt.Errorf("%w %d", errPortTaken, s.Port)
	}
	err = fmt.Errorf("start PostgreSQL: %w; the end of its log:\n%s", err, tail)
	return errors.Join(err, s.downLocked(immediateShutdown()))
}

// waitReady returns when proc says in its pid file that it accepts connections. The file, unlike
// a connection to the port, cannot be another server's.
func (s *Server) waitReady(ctx context.Context, proc *process) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		if s.directory.ready(proc.pid) {
			return nil
		}
		select {
		case <-proc.done:
			return fmt.Errorf("it ended: %w", proc.exitError())
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// downLocked ends the postmaster by each of steps until one works.
func (s *Server) downLocked(steps []shutdown) error {
	if s.proc == nil {
		return nil
	}
	for _, step := range steps {
		if err := s.proc.signal(step.signal); err != nil {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}
		if s.proc.endsWithin(step.wait) {
			s.proc = nil
			return nil
		}
	}
	return fmt.Errorf("stop PostgreSQL: process %d outlives SIGKILL", s.proc.pid)
}

// FreePort finds a port that nothing listens on.
func FreePort() (int, error) {
	var err error
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// errPortTaken is the start that failed because another process has the port.
var errPortTaken = errors.New("another process listens on port")

func portTaken(log string) bool {
	return strings.Contains(log, "Address already in use") || strings.Contains(log, "could not create any TCP/IP sockets")
}

// plainName makes of a test's name the end of a database name, within PostgreSQL's 63 bytes.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(s))
	return s[:min(len(s), 40)]
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// environment is what PostgreSQL's programs get: ours, less what would change their behaviour
// from one developer to the next.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "PG"), strings.HasPrefix(name, "LC_"),
			name == "LANG", name == "LANGUAGE", name == "TZ", name == "NOTIFY_SOCKET":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C", "TZ=UTC")
}
