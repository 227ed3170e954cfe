package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/pgtest"
)

// demoDatabase is the one database of the demo's PostgreSQL that is meant for use.
const demoDatabase = "demo"

// demoOptions is what the flags say.
type demoOptions struct {
	port     int // of the pooler; 0 takes a free one
	http     string
	poolSize int

	workload   bool
	users      int
	statements int           // of each user
	think      time.Duration // after each statement
}

// demo runs a throwaway PostgreSQL with the pooler in front of it, for people to try or for the workload.
func demo(args []string) error {
	o, err := demoFlags(args)
	if err != nil {
		return err
	}
	out, err := duplicate(os.Stdout)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	log, err := duplicate(os.Stderr)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return runDemo(ctx, out, log, o)
}

func demoFlags(args []string) (demoOptions, error) {
	var o demoOptions
	set := flag.NewFlagSet("demo", flag.ContinueOnError)
	set.IntVar(&o.port, "port", 6432, "the pooler's `port` on 127.0.0.1; 0 takes a free one")
	set.StringVar(&o.http, "http", "127.0.0.1:6433", "`host:port` of the dashboard and of metrics; \"\" for none")
	set.IntVar(&o.poolSize, "pool-size", 10, "most server `sessions` that the pooler may open")
	set.BoolVar(&o.workload, "workload", false, "replay Oracle's demonstration, direct and through the pooler, and end")
	set.IntVar(&o.users, "users", 10, "workload: `users` at the same time, a connection each")
	set.IntVar(&o.statements, "statements", 5, "workload: `statements` of each user")
	set.DurationVar(&o.think, "think", 5*time.Second, "workload: `time` a user sleeps after each statement")
	if err := flags(set, args); err != nil {
		return o, err
	}
	if err := o.check(set); err != nil {
		fmt.Fprintln(os.Stderr, "pooler demo:", err)
		return o, errUsage
	}
	return o, nil
}

// check finds what the flags' types leave open.
func (o demoOptions) check(set *flag.FlagSet) (err error) {
	_, _, noAddress := net.SplitHostPort(o.http)
	switch {
	case o.port < 0 || o.port > 65535:
		return fmt.Errorf("--port: want 0 to 65535, got %d", o.port)
	case o.http != "" && noAddress != nil:
		return fmt.Errorf("--http: want host:port, or \"\" for none, got %q", o.http)
	case min(o.poolSize, o.users, o.statements) < 1:
		return errors.New("--pool-size, --users and --statements: want at least 1")
	case o.think < 0:
		return fmt.Errorf("--think: want at least 0, got %v", o.think)
	}
	set.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "users", "statements", "think":
			if !o.workload {
				err = fmt.Errorf("--%s is for --workload", f.Name)
			}
		}
	})
	return err
}

// duplicate is f by another descriptor. Go ends a program that writes to 1 or 2 when nobody reads there any more (its
// `| tee` got the Ctrl-C too), and then PostgreSQL's directory would stay.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// runDemo runs until ctx ends, or to the end of the workload. Then nothing of it is left. The pooler's warnings go to
// log.
func runDemo(ctx context.Context, out, log io.Writer, o demoOptions) error {
	fmt.Fprintln(out, "Starting a private, throwaway PostgreSQL and the pooler in front of it.")
	d, err := startDemo(ctx, log, o)
	if err != nil {
		return explainStart(ctx, o, err)
	}
	if o.workload {
		err = d.workload(ctx, out, o)
	} else {
		d.introduce(out)
		<-ctx.Done()
		fmt.Fprintln(out, "\nStopping.")
	}
	return errors.Join(err, d.stop())
}

// explainStart says what to do about the usual reasons for which there is no demo.
func explainStart(ctx context.Context, o demoOptions, err error) error {
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted while starting")
	case errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &op):
		return fmt.Errorf("%v is taken by another program, maybe another demo; choose other ports with --port (0 takes a free one) "+
			`and --http ("" for none), e.g. --port %d --http ""`, op.Addr, (o.port+10)%65536)
	default:
		return err
	}
}

// demonstration is a running demo.
type demonstration struct {
	pg     *pgtest.Server
	pooler *instance
	port   int // of the pooler
	log    *logWriter
}

// startDemo starts PostgreSQL and the pooler. stop ends both.
func startDemo(ctx context.Context, log io.Writer, o demoOptions) (_ *demonstration, err error) {
	// Enough for every user's own session, the pooler's, the sampler's and somebody's who looks on.
	pg, err := pgtest.Run(ctx, pgtest.Options{MaxConnections: max(100, o.users+o.poolSize+20)})
	if err != nil {
		return nil, err
	}
	d := &demonstration{pg: pg, port: o.port, log: newLogWriter(log)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	if _, err = pg.Exec(ctx, "postgres", "CREATE DATABASE "+demoDatabase); err != nil {
		return nil, err
	}
	if d.port == 0 {
		if d.port, err = pgtest.FreePort(); err != nil {
			return nil, err
		}
	}
	level := &slog.LevelVar{}
	logger := newLogger(d.log, config.LogText, level)
	ctl, err := newControl(config.NewDocument("demo", []byte(d.config(o))), "", level, logger)
	if err != nil {
		return nil, err
	}
	d.pooler, err = start(ctl, logger)
	return d, err
}

func (d *demonstration) config(o demoOptions) string {
	return fmt.Sprintf(`listen_addr = "127.0.0.1"
listen_port = %d
unix_socket_dir = ""
http_listen = %q
auth_type = "trust"
admin_users = [%q]
log_level = "warn"
default_pool_size = %d
[databases."*"]
host = %q
port = %d
`, d.port, o.http, pgtest.Superuser, o.poolSize, d.pg.Host, d.pg.Port)
}

// stop ends the pooler, then PostgreSQL, and removes its directory. Transactions that somebody has left open get a
// moment.
func (d *demonstration) stop() error {
	if d.pooler != nil {
		d.pooler.stop(time.Second)
	}
	d.log.close()
	return d.pg.Stop()
}

// direct is the DSN of the demo's database without the pooler.
func (d *demonstration) direct() string { return d.pg.DSN(demoDatabase) }

// pooled is direct with another host and port, and nothing else.
func (d *demonstration) pooled() string {
	u, err := url.Parse(d.direct())
	if err != nil {
		panic("bug: a DSN that is not a URL: " + err.Error())
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port))
	return u.String()
}

// introduce says what there is and how to use it.
func (d *demonstration) introduce(out io.Writer) {
	psql := fmt.Sprintf("psql -h 127.0.0.1 -p %d -U %s %s", d.port, pgtest.Superuser, demoDatabase)
	fmt.Fprintf(out, `
Through the pooler:
  psql                     %s
  any program              '%s'
  released only at the end of transactions, for one connection:
    psql                   PGOPTIONS='-c pool_boundary=transaction' %s
    any program            '%s'

Direct to PostgreSQL, to compare:
  psql                     psql -h %s -p %d -U %s %s
  any program              '%s'

`, psql, d.pooled(), psql, d.pooled()+"&options=-c%20pool_boundary%3Dtransaction",
		d.pg.Host, d.pg.Port, pgtest.Superuser, demoDatabase, d.direct())
	fmt.Fprintf(out, "Admin console:             psql -h 127.0.0.1 -p %d -U %s pooler     (SHOW HELP)\n\n", d.port, pgtest.Superuser)
	if d.pooler.web != nil {
		fmt.Fprintf(out, "Dashboard:                 http://%s/     (log in as %s)\n", d.pooler.web.Addr(), pgtest.Superuser)
		fmt.Fprintf(out, "Metrics for Prometheus:    http://%s/metrics\n\n", d.pooler.web.Addr())
	}
	fmt.Fprint(out, "No password is asked for. Ctrl-C stops everything and removes the data.\n")
}
