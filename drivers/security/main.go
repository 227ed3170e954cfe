// Command security asks how each driver can log in, by each method and with each kind of TLS: PostgreSQL directly, and the
// pooler with the same lines of pg_hba.conf, which logs in to PostgreSQL in each of its ways. What works must work alike, and
// what is refused must be refused with the same words. Run it in the module's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pooler/internal/pgtest"
)

// timeLimit is for everything; it takes a minute or two on two cores.
const timeLimit = 8 * time.Minute

type options struct {
	pooler string
	new    string
	only   string
	ask    *regexp.Regexp
	all    bool
}

func main() { os.Exit(mainCode()) }

func mainCode() int {
	var o options
	var ask string
	flag.StringVar(&o.pooler, "pooler", "bin/pooler", "`path` of the pooler; empty: ask PostgreSQL alone and show what it says")
	flag.StringVar(&o.new, "postgres18", ".tools/postgres18", "`directory` of PostgreSQL 18, see scripts/install-postgres18.sh")
	flag.StringVar(&o.only, "drivers", "", "comma-separated `names` of drivers: psql15,psql18,pgx,pgjdbc,node-pg")
	flag.StringVar(&ask, "run", "", "`regexp` of the questions to ask, see -all")
	flag.BoolVar(&o.all, "all", false, "show every question with its answer")
	flag.Parse()
	var err error
	if o.ask, err = regexp.Compile(ask); err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "security: bad arguments:", flag.Args(), err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	differences, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
	}
	if err != nil || differences > 0 {
		return 1
	}
	return 0
}

func run(ctx context.Context, o options) (differences int, err error) {
	bindir, err := pgtest.Find()
	if err != nil {
		return 0, err
	}
	for _, path := range []*string{&o.new, &o.pooler} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return 0, err
		}
	}
	var s stage
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.setUp(ctx, o.pooler, filepath.Join(o.new, "bin")); err != nil {
		return 0, err
	}
	var answers []answer
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, d := range drivers(filepath.Join(bindir, "psql"), filepath.Join(o.new, "libpq")) {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), d.name) {
			continue
		}
		all.Go(func() {
			got, e := s.ask(ctx, d, o)
			mu.Lock()
			defer mu.Unlock()
			answers, err = append(answers, got...), errors.Join(err, e)
		})
	}
	all.Wait()
	return report(os.Stdout, answers, o), err
}

// answer is what came of one question: directly, and through the pooler in one way.
type answer struct {
	question
	via    *serverMethod // nil: PostgreSQL was asked alone
	want   outcome
	got    outcome
	reason string // why they may differ, "" if they do not or may not
}

func (a answer) String() string {
	s := strings.Join([]string{a.driver, a.method.name, a.try.name, a.mode.name}, "/")
	if a.via != nil {
		s += "/" + a.via.name
	}
	return strings.ReplaceAll(s, " ", "_")
}

// ask has one driver ask all of its questions.
func (s *stage) ask(ctx context.Context, d driver, o options) (answers []answer, err error) {
	speaker, err := d.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	defer func() { err = errors.Join(err, speaker.close()) }()
	for _, q := range questions(d) {
		if !o.ask.MatchString(answer{question: q}.String()) {
			continue
		}
		reference := s.main
		if q.mode.direct || q.try.newest {
			reference = s.newer
		}
		want, err := s.speak(ctx, speaker, q, place{reference.Host, reference.SocketDir, reference.Port, commonDatabase})
		if err != nil {
			return answers, fmt.Errorf("%s: %w", answer{question: q}, err)
		}
		if o.pooler == "" {
			answers = append(answers, answer{question: q, want: want, got: want})
			continue
		}
		for _, via := range q.via {
			pooler := s.pooler
			if via.pass {
				pooler = s.passer
			}
			got, err := s.speak(ctx, speaker, q, place{"127.0.0.1", pooler.socket, pooler.port, viaPrefix + via.name})
			a := answer{question: q, via: &via, want: want, got: got}
			if err != nil {
				return answers, fmt.Errorf("%s: %w", a, err)
			}
			if a.want.OK { // what pg_stat_ssl says is about the pooler's connection
				a.want.TLS = via.ssl != "disable"
			}
			a.reason = excuse(a)
			answers = append(answers, a)
		}
	}
	return answers, nil
}

func (s *stage) speak(ctx context.Context, to speaker, q question, at place) (outcome, error) {
	a, err := s.attempt(q, at)
	if err != nil {
		return outcome{}, err
	}
	o, err := to.attempt(ctx, a)
	o.Message = neutral(o.Message, at)
	if !o.OK && o.Code == "" && (q.try.cert == "untrusted" || q.try.cert == "expired") {
		// With TLS 1.3 the client has finished by then: what it sees of the refusal is a matter of time.
		o.Message = "refused in the handshake"
	}
	return o, err
}
