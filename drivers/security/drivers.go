package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const attemptLimit = 20 * time.Second

// driver is one client library and what it can do.
type driver struct {
	name    string
	direct  bool // sslnegotiation=direct
	binding bool // channel_binding=require, or at least the wish for it
	falls   bool // tries again with or without TLS: sslmode allow and prefer
	newest  bool // protocol 3.2
	local   bool // Unix sockets
	start   func(ctx context.Context) (speaker, error)
}

// speaker makes attempts, one at a time.
type speaker interface {
	attempt(ctx context.Context, a attempt) (outcome, error)
	close() error
}

// drivers are all there are. libpq18 is the directory of that library.
func drivers(psql, libpq18 string) []driver {
	return []driver{
		{name: "psql15", binding: true, falls: true, local: true, start: psqlWith(psql)},
		{name: "psql18", direct: true, binding: true, falls: true, newest: true, local: true, start: psqlWith(psql, "LD_LIBRARY_PATH="+libpq18)},
		{name: "pgx", direct: true, binding: true, falls: true, newest: true, local: true, start: func(context.Context) (speaker, error) { return pgx{}, nil }},
		{name: "pgjdbc", falls: true, start: program("java", "-cp", "/usr/share/java/postgresql.jar", "drivers/jdbc/Security.java")},
		{name: "node-pg", direct: true, binding: true, local: true, start: program("node", "--no-deprecation", "drivers/node/security.js")},
	}
}

// psqlProcess is a psql for each attempt.
type psqlProcess struct {
	path string
	env  []string
}

func psqlWith(path string, env ...string) func(context.Context) (speaker, error) {
	return func(context.Context) (speaker, error) { return psqlProcess{path, env}, nil }
}

func (p psqlProcess) attempt(ctx context.Context, a attempt) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, "-X", "-w", "-A", "-t", "-q", "-c", whoQuery, strings.Join(a.keywords(), " "))
	cmd.Env = append(bareEnvironment(), p.env...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return outcome{Message: "no answer within " + attemptLimit.String()}, nil
	case errors.As(err, &exit):
		return outcome{Message: complaint.String()}, nil
	case err != nil:
		return outcome{}, err
	}
	return connected(strings.TrimSpace(string(out))), nil
}

func (p psqlProcess) close() error { return nil }

// bareEnvironment is ours without what would change a driver's mind: files in a home directory, PG* variables.
func bareEnvironment() []string {
	env := []string{"LC_ALL=C", "HOME=/nonexistent"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "HOME=") {
			env = append(env, kv)
		}
	}
	return env
}

// pgx is the Go driver, in this process.
type pgx struct{}

func (pgx) attempt(ctx context.Context, a attempt) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	config, err := pgconn.ParseConfig(strings.Join(a.keywords(), " "))
	if err != nil {
		return outcome{Message: err.Error()}, nil // what a driver refuses is an outcome
	}
	config.RuntimeParams = map[string]string{}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return refusedGo(err), nil
	}
	defer func() { _ = conn.Close(ctx) }() // it has served
	results, err := conn.Exec(ctx, whoQuery).ReadAll()
	if err != nil {
		return refusedGo(err), nil
	}
	return connected(string(results[0].Rows[0][0])), nil
}

func refusedGo(err error) outcome {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return outcome{Code: server.Code, Message: server.Severity + ": " + server.Message}
	}
	return outcome{Message: err.Error()}
}

func (pgx) close() error { return nil }

// otherProgram is a program that reads attempts, a line each, and answers each by a line of JSON.
type otherProgram struct {
	cmd *exec.Cmd
	in  *json.Decoder
	out *bufio.Writer
	end func() error
}

func program(name string, args ...string) func(context.Context) (speaker, error) {
	return func(ctx context.Context) (speaker, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env, cmd.Stderr = bareEnvironment(), os.Stderr
		to, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		from, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		end := func() error { return errors.Join(to.Close(), cmd.Wait()) }
		return &otherProgram{cmd: cmd, in: json.NewDecoder(from), out: bufio.NewWriter(to), end: end}, nil
	}
}

// attempt has no time limit of its own: the programs have one.
func (p *otherProgram) attempt(_ context.Context, a attempt) (o outcome, err error) {
	if _, err := p.out.WriteString(a.line() + "\n"); err != nil {
		return o, err
	}
	if err := p.out.Flush(); err != nil {
		return o, err
	}
	var answer struct {
		outcome
		Who string `json:"who"`
	}
	if err := p.in.Decode(&answer); err != nil {
		return o, fmt.Errorf("%s: %w", p.cmd.Args[0], err)
	}
	if answer.OK {
		return connected(answer.Who), nil
	}
	return answer.outcome, nil
}

func (p *otherProgram) close() error { return p.end() }
