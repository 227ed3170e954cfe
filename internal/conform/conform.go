// Package conform finds out, from outside, what a connection pooler does to the state of sessions. It plays every kind
// of state with two clients and a newcomer, first on direct connections and then through the pooler, and compares what
// each of them saw: whether the client that made the state still has it after another one has worked, and whether
// anybody else sees any of it.
package conform

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Options say what to compare. Both DSNs must lead to the same database.
type Options struct {
	Direct   string
	Through  string
	Patience time.Duration  // after which a client that has no answer yet counts as waiting for another
	Timeout  time.Duration  // of each step
	Only     *regexp.Regexp // which cases to play; all when nil
}

// Defaults of Options.
const (
	DefaultPatience = time.Second
	DefaultTimeout  = 10 * time.Second
)

// Report is the outcome of a run.
type Report struct {
	Server  string   `json:"server"` // PostgreSQL's version
	Rows    []Result `json:"rows"`
	Summary Summary  `json:"summary"`
}

// Summary counts the rows.
type Summary struct {
	Rows    int `json:"rows"`
	OK      int `json:"ok"`
	NotKept int `json:"not_kept"`
	Leaked  int `json:"leaked"`
	Broken  int `json:"broken"` // hung or disconnected
	Pinned  int `json:"pinned"` // somebody had to wait
}

func (s *Summary) count(r Result) {
	s.Rows++
	if r.OK() {
		s.OK++
	}
	if r.Kept == No {
		s.NotKept++
	}
	if r.Leaked == Yes {
		s.Leaked++
	}
	if r.Kept == Hung || r.Kept == Disconnected || r.Leaked == Hung || r.Leaked == Disconnected {
		s.Broken++
	}
	if r.Pinned {
		s.Pinned++
	}
}

// OK tells whether there were rows and all of them are right.
func (r *Report) OK() bool { return r.Summary.Rows > 0 && r.Summary.OK == r.Summary.Rows }

// runner plays cases one after the other.
type runner struct {
	Options
	direct, through *pgconn.Config
	admin           *admin
	superuser       bool
	prefix          string // of all names of this run
	played          int
}

// Run plays the cases and hands each result to each as it comes. An error means that the comparison could not be made
// at all; what a pooler does wrong is a result.
func Run(ctx context.Context, o Options, each func(Result)) (*Report, error) {
	r := &runner{Options: o}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	report, err := r.all(ctx, each)
	return report, errors.Join(err, r.admin.close())
}

// connect makes sure of both sides before anything is played.
func (r *runner) connect(ctx context.Context) (err error) {
	if r.direct, err = pgconn.ParseConfig(r.Direct); err != nil {
		return fmt.Errorf("reading the direct DSN: %w", err)
	}
	if r.through, err = pgconn.ParseConfig(r.Through); err != nil {
		return fmt.Errorf("reading the DSN through the pooler: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	if r.admin, err = newAdmin(ctx, r.direct); err != nil {
		return fmt.Errorf("connecting directly: %w", err)
	}
	if err := r.prepare(ctx); err != nil {
		return errors.Join(err, r.admin.close())
	}
	return nil
}

// prepare learns who we are and that both DSNs mean the same database.
func (r *runner) prepare(ctx context.Context) error {
	const where = "SELECT current_database() || ' of ' || pg_postmaster_start_time()::timestamptz(6)"
	here, err := r.admin.one("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; " + where)
	if err != nil {
		return err
	}
	c, err := dial(ctx, r.through, nil, r.Timeout)
	if err != nil {
		return fmt.Errorf("connecting through the pooler: %w", err)
	}
	there := c.query("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; " + where + "; RESET ALL")
	c.terminate()
	if there != "SET; SET; "+here+"; RESET" {
		return fmt.Errorf("the DSNs lead to different databases: directly %q, through the pooler %q", here, there)
	}
	super, err := r.admin.one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
	if err != nil {
		return err
	}
	r.superuser = super == "t"
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never fails
	r.prefix = "conform_" + hex.EncodeToString(suffix)
	return nil
}

func (r *runner) all(ctx context.Context, each func(Result)) (*Report, error) {
	version, err := r.admin.one("SHOW server_version")
	if err != nil {
		return nil, err
	}
	report := &Report{Server: version}
	for _, c := range Cases(r.Only) {
		result, err := r.one(ctx, c)
		if stopped := ctx.Err(); stopped != nil { // and what the case says is due to that
			return report, stopped
		}
		if err != nil {
			return report, fmt.Errorf("%s: %w", c, err)
		}
		report.Rows = append(report.Rows, result)
		report.Summary.count(result)
		each(result)
	}
	return report, nil
}

// one plays a case on both sides.
func (r *runner) one(ctx context.Context, c Case) (Result, error) {
	if c.state.super && !r.superuser {
		return Result{Case: c, Kept: NotApplicable, Leaked: NotApplicable, Note: "needs a superuser"}, nil
	}
	want, err := r.play(ctx, c, r.direct, nil)
	if err != nil {
		return Result{}, err
	}
	got, err := r.play(ctx, c, r.through, want)
	if err != nil {
		return Result{}, err
	}
	return compare(c, want, got), nil
}

// play plays a case on one side, with objects made for it and dropped again.
func (r *runner) play(ctx context.Context, c Case, cfg *pgconn.Config, want *play) (p *play, err error) {
	r.played++
	n := naming{name: fmt.Sprintf("%s_%d", r.prefix, r.played), key: mathrand.Int32()}
	if err := r.admin.create(c.state, n); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.admin.remove(c.state, n)) }()
	s := &stage{Options: r.Options, cfg: cfg, admin: r.admin, Case: c, naming: n, want: want}
	p = s.run(ctx)
	if want == nil {
		return p, errors.Join(p.err, check(p))
	}
	if !compare(c, want, p).OK() {
		r.refresh(ctx, p)
	}
	return p, nil
}

// check refuses what a direct connection cannot have done.
func check(p *play) error {
	for _, s := range slices.Concat(p.first, p.during, p.after, p.newcomer) {
		if a := broken(s, ""); a != "" || s.what == "login" {
			return fmt.Errorf("direct connection: %s: %s", s.what, s.answer)
		}
	}
	return nil
}

// refresh ends the server sessions that a case has shown to be soiled, lest they spoil the next one, and waits until the
// pooler has understood. What does not work of that shows in the rows that follow.
func (r *runner) refresh(ctx context.Context, p *play) {
	if r.admin.end(p.pids) != nil {
		return
	}
	for deadline := time.Now().Add(r.Timeout); time.Now().Before(deadline) && ctx.Err() == nil; pause() {
		c, err := dial(ctx, r.through, nil, r.Timeout)
		if err != nil {
			continue
		}
		answer := c.query("SELECT 'ready'")
		c.terminate()
		if answer == "ready" {
			return
		}
	}
}
