package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// grace is what a run may take beyond its seconds: connecting, waiting for the last transaction.
const grace = 30 * time.Second

type pgbenchCase struct {
	name     string
	clients  int
	args     []string
	prepared bool // uses protocol-level prepared statements
	tls      bool
}

func pgbenchCases() []pgbenchCase {
	var cases []pgbenchCase
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, clients := range []int{1, 16, 128} {
			cases = append(cases, pgbenchCase{
				name: fmt.Sprintf("%s-%d", mode, clients), clients: clients,
				args: []string{"-S", "-M", mode}, prepared: mode == "prepared",
			})
		}
	}
	return append(cases,
		pgbenchCase{name: "tpcb-16", clients: 16, args: []string{"-M", "simple"}},
		pgbenchCase{name: "connect-16", clients: 16, args: []string{"-C", "-S", "-M", "simple"}},
		pgbenchCase{name: "tls-simple-16", clients: 16, args: []string{"-S", "-M", "simple"}, tls: true},
		pgbenchCase{name: "tls-simple-128", clients: 128, args: []string{"-S", "-M", "simple"}, tls: true},
		pgbenchCase{name: "tls-prepared-16", clients: 16, args: []string{"-S", "-M", "prepared"}, prepared: true, tls: true},
		pgbenchCase{name: "tls-prepared-128", clients: 128, args: []string{"-S", "-M", "prepared"}, prepared: true, tls: true},
		pgbenchCase{name: "tls-connect-16", clients: 16, args: []string{"-C", "-S", "-M", "simple"}, tls: true},
	)
}

// seconds leaves a crowd time to work: pgbench's clock starts before it connects, and PostgreSQL
// itself takes some 300 connections a second.
func (c pgbenchCase) seconds(asked int) int {
	if c.clients > 100 {
		return max(asked, 2)
	}
	return asked
}

func (c pgbenchCase) runsOn(t *target) bool { return !c.prepared || t.prepared }

func (b *bench) pgbenchInit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	args := append([]string{"-i", "-q", "-s", strconv.Itoa(b.opts.scale)}, b.origin.pgbenchArgs(false)...)
	out, err := command(ctx, b.tools.pgbench, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	return nil
}

// pgbenchArgs say how to connect: libpq on its own would take TLS where it is offered.
func (e endpoint) pgbenchArgs(tls bool) []string {
	mode := "disable"
	if tls {
		mode = "require"
	}
	return []string{fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=%s", e.host, e.port, e.user, e.database, mode)}
}

// warmUp fills the server's caches and every proxy's pool, unmeasured.
func (b *bench) warmUp(ctx context.Context) error {
	for _, t := range b.targets {
		if _, err := b.runPgbench(ctx, t, pgbenchCase{clients: 16, args: []string{"-S"}}, 1); err != nil {
			return fmt.Errorf("warm up %s: %w", t.name, err)
		}
	}
	return nil
}

// pgbench is one measured run. The proxy's CPU includes accepting the run's clients.
func (b *bench) pgbench(ctx context.Context, t *target, c pgbenchCase) (values, error) {
	meter, err := t.meter()
	if err != nil {
		return nil, err
	}
	result, err := b.runPgbench(ctx, t, c, c.seconds(b.opts.seconds))
	if err != nil {
		return nil, err
	}
	cpu, ok, err := meter.used()
	if err != nil {
		return nil, err
	}
	v := values{metricTPS: result.tps, metricLatency: result.latencyMS}
	if ok {
		v[metricCPU] = float64(cpu.Microseconds()) / float64(result.transactions)
	}
	return v, nil
}

func (b *bench) runPgbench(ctx context.Context, t *target, c pgbenchCase, seconds int) (pgbenchResult, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+grace)
	defer cancel()
	args := append([]string{"-n", "-T", strconv.Itoa(seconds), "-c", strconv.Itoa(c.clients), "-j", "2"}, c.args...)
	out, err := command(ctx, b.tools.pgbench, append(args, t.at.pgbenchArgs(c.tls)...)...).CombinedOutput()
	if ctx.Err() != nil {
		return pgbenchResult{}, fmt.Errorf("pgbench did not end in time: %w", ctx.Err())
	}
	if complaint := pgbenchComplaint(string(out)); complaint != "" {
		return pgbenchResult{}, errors.New(complaint)
	}
	if err != nil {
		return pgbenchResult{}, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	return parsePgbench(string(out))
}

type pgbenchResult struct {
	tps          float64
	latencyMS    float64
	transactions int64
}

var (
	pgbenchTPS          = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	pgbenchLatency      = regexp.MustCompile(`(?m)^latency average = ([0-9.]+) ms`)
	pgbenchTransactions = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
	pgbenchNothing      = regexp.MustCompile(`(?m)^number of transactions actually processed: 0$`)
	pgbenchFailed       = regexp.MustCompile(`(?m)^number of failed transactions: ([1-9].*)$`)
	pgbenchError        = regexp.MustCompile(`(?m)^.*(ERROR|FATAL|PANIC|error:|abort).*$`)
)

// pgbenchComplaint is the first sign in pgbench's output that not all went well, or "".
func pgbenchComplaint(out string) string {
	if line := pgbenchError.FindString(out); line != "" {
		return strings.TrimSpace(line)
	}
	return pgbenchFailed.FindString(out)
}

// parsePgbench takes the last tps line: before version 14 there are two, and the last is the one
// without the initial connections.
func parsePgbench(out string) (r pgbenchResult, err error) {
	if pgbenchNothing.MatchString(out) {
		return r, errors.New("pgbench processed no transaction: connecting took all the time, give it more -seconds")
	}
	tps := pgbenchTPS.FindAllStringSubmatch(out, -1)
	latency := pgbenchLatency.FindStringSubmatch(out)
	transactions := pgbenchTransactions.FindStringSubmatch(out)
	if tps == nil || latency == nil || transactions == nil {
		return r, fmt.Errorf("unexpected pgbench output:\n%s", out)
	}
	var errs [3]error
	r.tps, errs[0] = strconv.ParseFloat(tps[len(tps)-1][1], 64)
	r.latencyMS, errs[1] = strconv.ParseFloat(latency[1], 64)
	r.transactions, errs[2] = strconv.ParseInt(transactions[1], 10, 64)
	return r, errors.Join(errs[:]...)
}
