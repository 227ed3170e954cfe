// Command bench compares pooler with PgBouncer, with a direct connection and with any other
// pooler, side by side on one machine: interleaved pgbench rounds, streaming out, idle clients.
// It is a black box over the wire. Machines are noisy, so what counts is the ratio of two runs
// that followed each other; the absolute figures are there to make the ratios believable.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

type options struct {
	rounds   int
	seconds  int
	scale    int
	poolSize int
	quick    bool
	cases    string
	only     []string
	boundary string
	pooler   string
	others   []otherPooler

	streamGB  float64
	streamRow int
	idle      int
	idleTLS   int
	settle    time.Duration

	jsonFile string
	maxTime  time.Duration
	keep     bool
}

// otherPooler is one more proxy to compare: a command that serves PostgreSQL clients on port.
type otherPooler struct {
	name    string
	command string
	port    int
}

func main() {
	os.Exit(mainCode())
}

func mainCode() int {
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	ctx, cancelTime := context.WithTimeout(ctx, opts.maxTime)
	defer cancelTime()
	if err := run(ctx, opts, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func parseFlags(args []string, out io.Writer) (options, error) {
	var o options
	var only string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.IntVar(&o.rounds, "rounds", 3, "interleaved rounds per case")
	fs.IntVar(&o.seconds, "seconds", 2, "seconds per pgbench run, at least 2 at 128 clients")
	fs.IntVar(&o.scale, "scale", 10, "pgbench scale factor")
	fs.IntVar(&o.poolSize, "pool-size", 10, "server sessions per pool")
	fs.BoolVar(&o.quick, "quick", false, "seconds 1, rounds 3, only the simple and connect cases")
	fs.StringVar(&o.cases, "cases", "", "`regexp` of the cases to run ("+strings.Join(caseNames(), " ")+")")
	fs.StringVar(&only, "only", "", "comma-separated `targets` to run: direct,pgbouncer,pooler,OTHER")
	fs.StringVar(&o.boundary, "boundary", "statement", "our pool_boundary: statement, transaction or session")
	fs.StringVar(&o.pooler, "pooler", "", "`path` of our binary (default: build bin/pooler first)")
	fs.Func("other", "another pooler as `name=command@port`, repeatable; the command is run by sh with exec and gets BENCH_PG_HOST, _PORT, _USER, _DATABASE, BENCH_POOL_SIZE, BENCH_DIR", func(s string) error {
		p, err := parseOther(s)
		o.others = append(o.others, p)
		return err
	})
	fs.Float64Var(&o.streamGB, "stream-gb", 1, "gigabytes to stream out per run")
	fs.IntVar(&o.streamRow, "stream-row", 1000, "bytes per streamed row")
	fs.IntVar(&o.idle, "idle", 5000, "idle clients to open")
	fs.IntVar(&o.idleTLS, "idle-tls", 2000, "idle clients with TLS to open")
	fs.DurationVar(&o.settle, "settle", 4*time.Second, "how long memory may settle before it is read")
	fs.StringVar(&o.jsonFile, "json", "", "also write everything measured to this `file`")
	fs.DurationVar(&o.maxTime, "max-time", 30*time.Minute, "stop everything after this long")
	fs.BoolVar(&o.keep, "keep", false, "keep the directory with configurations and logs")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick && !given["seconds"] {
		o.seconds = 1
	}
	return o, o.validate()
}

func (o *options) validate() error {
	for _, atLeastOne := range []struct {
		name  string
		value int
	}{{"rounds", o.rounds}, {"seconds", o.seconds}, {"scale", o.scale}, {"pool-size", o.poolSize}, {"idle", o.idle}, {"idle-tls", o.idleTLS}} {
		if atLeastOne.value < 1 {
			return fmt.Errorf("-%s: must be at least 1, got %d", atLeastOne.name, atLeastOne.value)
		}
	}
	if o.streamGB <= 0 || o.streamRow < 2 {
		return errors.New("-stream-gb must be above 0 and -stream-row at least 2")
	}
	if _, err := regexp.Compile(o.cases); err != nil {
		return fmt.Errorf("-cases: %w", err)
	}
	known := []string{nameDirect, namePgbouncer, namePooler}
	for _, other := range o.others {
		if slices.Contains(known, other.name) {
			return fmt.Errorf("-other: the name %q is taken", other.name)
		}
		known = append(known, other.name)
	}
	for _, name := range o.only {
		if !slices.Contains(known, name) {
			return fmt.Errorf("-only: no target %q among %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// wants says whether a case was asked for. A given -cases decides alone, else -quick does.
func (o *options) wants(name string) bool {
	if o.cases != "" {
		return regexp.MustCompile(o.cases).MatchString(name)
	}
	return !o.quick || strings.HasPrefix(name, "simple-") || strings.HasPrefix(name, "connect-")
}

func (o *options) runs(target string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, target)
}

func caseNames() []string {
	var names []string
	for _, c := range pgbenchCases() {
		names = append(names, c.name)
	}
	for _, c := range loginCases() {
		names = append(names, c.name)
	}
	return append(names, caseStream, caseIdle, caseIdleTLS)
}

// bench is one whole comparison: what runs, where, and what was measured so far.
type bench struct {
	opts    options
	server  *pgtest.Server
	tools   tools
	origin  endpoint // PostgreSQL itself
	targets []*target
	dir     string
	report  *report
	out     io.Writer // progress

	certs       *certs.Set
	tls         *tls.Config // of clients that ask for TLS
	loginSecret string      // SCRAM's, of loginUser
}

func run(ctx context.Context, opts options, stdout, progress io.Writer) (err error) {
	if err := raiseFileLimit(max(opts.idle, opts.idleTLS)); err != nil {
		return err
	}
	b, stop, err := setUp(ctx, opts, progress)
	defer stop()
	if err != nil {
		return err
	}
	err = b.measure(ctx)
	if err != nil {
		b.report.Incomplete = err.Error()
	}
	if writeErr := b.report.write(stdout, opts.jsonFile); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	return errors.Join(err, b.report.failures())
}

func (b *bench) measure(ctx context.Context) error {
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	for _, c := range pgbenchCases() {
		if b.opts.wants(c.name) {
			b.rounds(ctx, c.name, func(ctx context.Context, t *target) (values, error) { return b.pgbench(ctx, t, c) }, c.runsOn)
		}
	}
	if b.opts.wants(caseStream) {
		b.rounds(ctx, caseStream, b.stream, func(*target) bool { return true })
	}
	b.logins(ctx)
	if b.opts.wants(caseIdle) {
		b.idle(ctx, caseIdle, nil, b.opts.idle)
	}
	if b.opts.wants(caseIdleTLS) {
		b.idle(ctx, caseIdleTLS, b.tls, b.opts.idleTLS)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped early: %w", context.Cause(ctx))
	}
	return nil
}

// rounds runs one case against the targets in turn, A B C, A B C, so that neighbours share
// whatever the machine was doing. A target that failed once sits out the rest of the case.
func (b *bench) rounds(ctx context.Context, name string, once func(context.Context, *target) (values, error), takes func(*target) bool) {
	failed := map[*target]bool{}
	for round := 1; round <= b.opts.rounds; round++ {
		for _, t := range b.targets {
			if ctx.Err() != nil {
				return
			}
			if failed[t] || !takes(t) {
				continue
			}
			v, err := once(ctx, t)
			if ctx.Err() != nil {
				return
			}
			b.record(name, t, round, v, err)
			if err != nil {
				failed[t] = true
				b.renew(ctx, t)
			}
		}
	}
}

// say reports progress.
func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.out, format, args...) }

// renew gives the next case a fresh proxy: this one failed and may be broken or gone.
func (b *bench) renew(ctx context.Context, t *target) {
	if err := t.restart(ctx); err != nil {
		b.say("restart %s: %v\n", t.name, err)
	}
}

func (b *bench) record(name string, t *target, round int, v values, err error) {
	m := measurement{Case: name, Target: t.name, Round: round, Values: v}
	if err != nil {
		m.Error = err.Error()
		if t.proc != nil {
			m.Error += t.proc.tail()
		}
		b.say("FAILED %s %s: %s\n", name, t.name, m.Error)
	} else {
		b.say("%-13s round %d  %-10s %s\n", name, round, t.name, v)
	}
	b.report.Measurements = append(b.report.Measurements, m)
}
