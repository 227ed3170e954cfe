package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pooler/internal/pgtest"
)

const (
	nameDirect    = "direct"
	namePgbouncer = "pgbouncer"
	namePooler    = "pooler"

	readyTimeout = 15 * time.Second
	stopTimeout  = 5 * time.Second
)

// serverSettings keep the disk and background work out of the figures.
var serverSettings = map[string]string{
	"fsync":              "off",
	"autovacuum":         "off",
	"shared_buffers":     "256MB",
	"max_wal_size":       "4GB",
	"checkpoint_timeout": "30min",
}

const serverMaxConnections = 200

type endpoint struct {
	host     string
	port     int
	user     string
	database string
	password string      // "" where none is asked for
	tls      *tls.Config // nil: without
}

func (e endpoint) addr() string { return net.JoinHostPort(e.host, strconv.Itoa(e.port)) }

// target is a place to send a workload: PostgreSQL itself, or a proxy in front of it.
type target struct {
	name     string
	version  string
	at       endpoint
	prepared bool // protocol-level prepared statements work through it

	argv []string // empty for a direct connection: nothing of ours runs there
	env  []string
	cred *syscall.Credential
	dir  string
	proc *process

	// configure writes the configuration for the next start; nil where bench does not know how.
	configure func(*variant) error
}

// setUp starts everything. The caller must call stop, also after an error.
func setUp(ctx context.Context, opts options, progress io.Writer) (b *bench, stop func(), err error) {
	b = &bench{opts: opts, out: progress}
	var stops []func()
	stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	if b.dir, err = os.MkdirTemp("", "pooler-bench-"); err != nil {
		return b, stop, err
	}
	stops = append(stops, b.removeDir)
	if err := os.Chmod(b.dir, 0o755); err != nil { // a proxy under another user reads its file here
		return b, stop, err
	}
	if err := b.makeCertificates(); err != nil {
		return b, stop, err
	}
	stopPostgres, err := b.startPostgres(ctx)
	stops = append(stops, stopPostgres)
	if err != nil {
		return b, stop, err
	}
	stops = append(stops, func() {
		for _, t := range b.targets {
			t.stop()
		}
	})
	if err := b.addTargets(ctx); err != nil {
		return b, stop, err
	}
	b.report = b.newReport(ctx)
	return b, stop, nil
}

func (b *bench) removeDir() {
	if b.opts.keep {
		b.say("kept %s\n", b.dir)
		return
	}
	if err := os.RemoveAll(b.dir); err != nil {
		b.say("bench: %v\n", err)
	}
}

func (b *bench) startPostgres(ctx context.Context) (stop func(), err error) {
	b.server, err = pgtest.Run(ctx, b.certs.Postgres(pgtest.Options{MaxConnections: serverMaxConnections, Settings: serverSettings}, b.certs.Server()))
	if err != nil {
		return func() {}, fmt.Errorf("start postgres: %w", err)
	}
	stop = func() {
		if err := b.server.Stop(); err != nil {
			b.say("bench: %v\n", err)
		}
	}
	if b.tools, err = findTools(b.server.BinDir()); err != nil {
		return stop, err
	}
	b.origin = endpoint{host: b.server.Host, port: b.server.Port, user: pgtest.Superuser, database: "postgres"}
	if err := b.makeLoginUser(ctx); err != nil {
		return stop, err
	}
	return stop, b.pgbenchInit(ctx)
}

// addTargets starts what was asked for, in the order of the report's columns.
func (b *bench) addTargets(ctx context.Context) error {
	type maker func(context.Context) (*target, error)
	names := []string{nameDirect, namePgbouncer, namePooler}
	makers := []maker{b.directTarget, b.pgbouncerTarget, b.poolerTarget}
	for _, other := range b.opts.others {
		names = append(names, other.name)
		makers = append(makers, func(context.Context) (*target, error) { return b.otherTarget(other), nil })
	}
	for i, name := range names {
		if !b.opts.runs(name) {
			continue
		}
		t, err := makers[i](ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.targets = append(b.targets, t)
		if err := t.start(ctx); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
	}
	return nil
}

func (b *bench) directTarget(ctx context.Context) (*target, error) {
	rows, err := b.server.Exec(ctx, b.origin.database, "SHOW server_version")
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("ask for the version: %w", err)
	}
	return &target{name: nameDirect, version: "PostgreSQL " + rows[0][0], at: b.origin, prepared: true}, nil
}

// proxyTarget is a target on a free port, with its own directory below ours.
func (b *bench) proxyTarget(name string, port int) *target {
	at := b.origin
	at.host, at.port = "127.0.0.1", port
	return &target{name: name, at: at, prepared: true, dir: b.dir}
}

func (b *bench) pgbouncerTarget(ctx context.Context) (*target, error) {
	path, err := findPgbouncer()
	if err != nil {
		return nil, err
	}
	out, err := command(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	t := b.proxyTarget(namePgbouncer, port)
	t.version, _, _ = strings.Cut(string(out), "\n")
	t.prepared = pgbouncerPrepares(t.version)
	ini := filepath.Join(b.dir, "pgbouncer.ini")
	users := filepath.Join(b.dir, "pgbouncer-users.txt")
	t.argv = []string{path, ini}
	if t.cred, err = unprivileged(); err != nil {
		return nil, err
	}
	cert, key, err := b.certificateFor(t)
	if err != nil {
		return nil, err
	}
	t.configure = func(v *variant) error {
		v = b.orUsual(v)
		config := b.pgbouncerConfig(t, v, users) + fmt.Sprintf("client_tls_sslmode = allow\nclient_tls_cert_file = %s\nclient_tls_key_file = %s\n", cert, key)
		return errors.Join(os.WriteFile(users, []byte(v.users), 0o644), os.WriteFile(ini, []byte(config), 0o644))
	}
	return t, t.configure(nil)
}

// orUsual is the usual variant in place of nil: everybody is trusted.
func (b *bench) orUsual(v *variant) *variant {
	if v == nil {
		return &variant{authType: "trust", cache: true, users: b.usersFile(loginCase{})}
	}
	return v
}

func (b *bench) pgbouncerConfig(t *target, v *variant, users string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "[databases]\n* = host=%s port=%d\n[pgbouncer]\n", b.origin.host, b.origin.port)
	fmt.Fprintf(&s, "listen_addr = %s\nlisten_port = %d\nunix_socket_dir =\n", t.at.host, t.at.port)
	fmt.Fprintf(&s, "auth_type = %s\nauth_file = %s\npool_mode = transaction\nserver_tls_sslmode = disable\n", v.authType, users)
	fmt.Fprintf(&s, "default_pool_size = %d\nmax_client_conn = %d\n", b.opts.poolSize, b.maxClients())
	s.WriteString("ignore_startup_parameters = extra_float_digits\nlog_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n")
	if t.prepared {
		s.WriteString("max_prepared_statements = 200\n")
	}
	return s.String()
}

func (b *bench) poolerTarget(ctx context.Context) (*target, error) {
	path := b.opts.pooler
	if path == "" {
		path = filepath.Join("bin", "pooler")
		b.say("building %s\n", path)
		build := command(ctx, "go", "build", "-o", path, "./cmd/pooler")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build (run from the module's root, or give -pooler): %w\n%s", err, out)
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	out, err := command(ctx, path, "version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w\n%s", path, err, out)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	t := b.proxyTarget(namePooler, port)
	t.version, _, _ = strings.Cut(string(out), "\n")
	file, users := filepath.Join(b.dir, "pooler.toml"), filepath.Join(b.dir, "pooler-users.txt")
	t.argv = []string{path, "serve", "--config", file}
	cert, key, err := b.certificateFor(t)
	if err != nil {
		return nil, err
	}
	t.configure = func(v *variant) error {
		v = b.orUsual(v)
		config := fmt.Sprintf("client_tls_sslmode = \"allow\"\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", cert, key) + b.poolerConfig(t, v, users)
		return errors.Join(os.WriteFile(users, []byte(v.users), 0o600), os.WriteFile(file, []byte(config), 0o644))
	}
	return t, t.configure(nil)
}

func (b *bench) poolerConfig(t *target, v *variant, users string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "listen_addr = %q\nlisten_port = %d\nunix_socket_dir = \"\"\n", t.at.host, t.at.port)
	fmt.Fprintf(&s, "auth_type = %q\nauth_file = %q\nscram_key_cache = %v\nserver_tls_sslmode = \"disable\"\n", v.authType, users, v.cache)
	fmt.Fprintf(&s, "default_pool_size = %d\nmax_client_conn = %d\npool_boundary = %q\n", b.opts.poolSize, b.maxClients(), b.opts.boundary)
	s.WriteString("log_connections = false\nlog_disconnections = false\n\n")
	fmt.Fprintf(&s, "[databases.\"*\"]\nhost = %q\nport = %d\n", b.origin.host, b.origin.port)
	return s.String()
}

func (b *bench) otherTarget(other otherPooler) *target {
	t := b.proxyTarget(other.name, other.port)
	t.version = other.command
	t.argv = []string{"/bin/sh", "-c", "exec " + other.command}
	t.env = []string{
		"BENCH_PG_HOST=" + b.origin.host, "BENCH_PG_PORT=" + strconv.Itoa(b.origin.port),
		"BENCH_PG_USER=" + b.origin.user, "BENCH_PG_DATABASE=" + b.origin.database,
		"BENCH_POOL_SIZE=" + strconv.Itoa(b.opts.poolSize), "BENCH_DIR=" + b.dir,
	}
	return t
}

// maxClients is the limit both proxies get: generous, and never what is measured.
func (b *bench) maxClients() int { return max(10000, b.opts.idle+200) }

func parseOther(s string) (otherPooler, error) {
	name, rest, ok := strings.Cut(s, "=")
	at := strings.LastIndexByte(rest, '@')
	if !ok || name == "" || at < 1 {
		return otherPooler{}, fmt.Errorf("want name=command@port, got %q", s)
	}
	port, err := strconv.ParseUint(rest[at+1:], 10, 16)
	if err != nil || port == 0 {
		return otherPooler{}, fmt.Errorf("bad port in %q", s)
	}
	return otherPooler{name: name, command: rest[:at], port: int(port)}, nil
}

// start runs the proxy and waits until it answers a query. On a direct target it does nothing.
func (t *target) start(ctx context.Context) error {
	if len(t.argv) == 0 {
		return nil
	}
	proc, err := startProcess(t)
	if err != nil {
		return err
	}
	t.proc = proc
	if err := t.awaitReady(ctx); err != nil {
		err = fmt.Errorf("%w%s", err, t.proc.tail())
		t.stop()
		return err
	}
	return nil
}

func (t *target) awaitReady(ctx context.Context) error {
	deadline := time.Now().Add(readyTimeout)
	for {
		c, err := dialClient(ctx, t.at)
		if err == nil {
			err = c.selectOne()
			c.close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-t.proc.done:
			return fmt.Errorf("it exited: %w", t.proc.waitErr)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %s: %w", readyTimeout, err)
		}
	}
}

func (t *target) stop() {
	if t.proc != nil {
		t.proc.stop()
		t.proc = nil
	}
}

func (t *target) restart(ctx context.Context) error {
	t.stop()
	return t.start(ctx)
}

func findPgbouncer() (string, error) {
	for _, name := range []string{os.Getenv("PGBOUNCER"), "pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("not found: set PGBOUNCER=/path, or leave it out with -only direct,pooler")
}

var pgbouncerVersion = regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`)

// pgbouncerPrepares says whether this PgBouncer tracks prepared statements, as it does since 1.21.
func pgbouncerPrepares(version string) bool {
	m := pgbouncerVersion.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > 1 || minor >= 21
}
