package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pooler/internal/pgtest/certs"
)

const (
	caseIdleTLS = "idle-tls"

	loginUser     = "bench_login"
	loginPassword = "correct horse battery staple"
	loginWorkers  = 16 // logins at the same time
	steadyClients = 8
	steadyPause   = 2 * time.Millisecond // so that the steady clients are a light load
)

// loginCase is a storm of SCRAM logins beside steady clients. The generator works out each proof from the password, as clients do.
type loginCase struct {
	name   string
	secret bool // the proxies have the SCRAM secret, not the password
	cache  bool // our scram_key_cache
}

func loginCases() []loginCase {
	return []loginCase{{name: "scram", cache: true}, {name: "scram-nocache"}, {name: "scram-secret", secret: true, cache: true}}
}

// variant is a configuration of a proxy other than the usual one; nil is that.
type variant struct {
	authType string
	cache    bool   // our scram_key_cache
	users    string // content of its file of users, the same for all proxies
}

// makeCertificates makes what all TLS servers of the comparison show.
func (b *bench) makeCertificates() error {
	dir := filepath.Join(b.dir, "certs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	set, err := certs.Make(dir)
	if err != nil {
		return err
	}
	b.certs, b.tls = set, set.ClientConfig(nil)
	// One key share and no tickets, as libpq does.
	b.tls.CurvePreferences, b.tls.SessionTicketsDisabled = []tls.CurveID{tls.X25519}, true
	return nil
}

// certificateFor writes the server's certificate and key where t's account can read them, and nobody else the key.
func (b *bench) certificateFor(t *target) (cert, key string, err error) {
	cert, key = filepath.Join(b.dir, t.name+".crt"), filepath.Join(b.dir, t.name+".key")
	pair := b.certs.Server()
	if err := errors.Join(os.WriteFile(cert, pair.Cert, 0o644), os.WriteFile(key, pair.Key, 0o600)); err != nil || t.cred == nil {
		return cert, key, err
	}
	return cert, key, os.Chown(key, int(t.cred.Uid), int(t.cred.Gid))
}

func (b *bench) makeLoginUser(ctx context.Context) error {
	sql := fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'; SELECT rolpassword FROM pg_authid WHERE rolname = '%s'", loginUser, loginPassword, loginUser)
	rows, err := b.server.Exec(ctx, b.origin.database, sql)
	if err != nil || len(rows) != 1 {
		return fmt.Errorf("make the role %s: %w", loginUser, err)
	}
	b.loginSecret = rows[0][0]
	return nil
}

// usersFile is what both proxies understand.
func (b *bench) usersFile(c loginCase) string {
	secret := loginPassword
	if c.secret {
		secret = b.loginSecret
	}
	return fmt.Sprintf("%q \"\"\n%q %q\n", b.origin.user, loginUser, secret)
}

// logins has every proxy restarted with SCRAM, in each round anew, and with trust when all is done.
func (b *bench) logins(ctx context.Context) {
	for _, c := range loginCases() {
		if !b.opts.wants(c.name) {
			continue
		}
		b.rounds(ctx, c.name, func(ctx context.Context, t *target) (values, error) { return b.loginStorm(ctx, t, c) }, isProxy)
		for _, t := range b.targets {
			if isProxy(t) && t.configure != nil {
				if err := t.configure(nil); err == nil {
					b.renew(ctx, t)
				}
			}
		}
	}
}

func isProxy(t *target) bool { return len(t.argv) > 0 }

func (b *bench) loginStorm(ctx context.Context, t *target, c loginCase) (values, error) {
	if t.configure == nil {
		return nil, errors.New("how it does SCRAM is not known to bench: use -cases")
	}
	usual := t.at
	if err := t.configure(&variant{authType: "scram-sha-256", cache: c.cache, users: b.usersFile(c)}); err != nil {
		return nil, err
	}
	t.at.user, t.at.password = loginUser, loginPassword
	defer func() { t.at = usual }()
	at := t.at
	if err := t.restart(ctx); err != nil {
		return nil, err
	}
	steady, err := openClients(ctx, at, steadyClients)
	defer closeClients(steady)
	if err != nil {
		return nil, err
	}
	meter, err := t.meter()
	if err != nil {
		return nil, err
	}
	span := time.Duration(b.opts.seconds) * time.Second
	storm := newStorm(ctx, span)
	storm.login(at)
	storm.ask(steady)
	if err := storm.wait(); err != nil {
		return nil, err
	}
	cpu, _, err := meter.used()
	if err != nil {
		return nil, err
	}
	done := float64(storm.logins.Load())
	if done == 0 {
		return nil, errors.New("nobody logged in")
	}
	return values{
		metricLogins: done / span.Seconds(), metricLoginCPU: float64(cpu.Microseconds()) / done,
		metricSteadyP99: float64(storm.p99().Microseconds()) / 1000,
	}, nil
}

// storm is logins and steady clients side by side until its time is up or something fails.
type storm struct {
	ctx    context.Context
	fail   context.CancelCauseFunc
	end    time.Time
	all    sync.WaitGroup
	logins atomic.Int64

	mu    sync.Mutex
	times []time.Duration // of the steady clients' queries
}

func newStorm(ctx context.Context, span time.Duration) *storm {
	s := &storm{end: time.Now().Add(span)}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	return s
}

func (s *storm) goes() bool { return s.ctx.Err() == nil && time.Now().Before(s.end) }

func (s *storm) login(at endpoint) {
	for range loginWorkers {
		s.all.Go(func() {
			for s.goes() {
				c, err := dialClient(s.ctx, at)
				if err != nil {
					s.fail(fmt.Errorf("log in: %w", err))
					return
				}
				c.close()
				s.logins.Add(1)
			}
		})
	}
}

func (s *storm) ask(clients []*rawClient) {
	for _, c := range clients {
		s.all.Go(func() {
			var times []time.Duration
			for s.goes() {
				start := time.Now()
				if err := c.selectOne(); err != nil {
					s.fail(fmt.Errorf("a steady client: %w", err))
					return
				}
				times = append(times, time.Since(start))
				time.Sleep(steadyPause)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.times = append(s.times, times...)
		})
	}
}

func (s *storm) wait() error {
	s.all.Wait()
	err := context.Cause(s.ctx)
	s.fail(nil)
	return err
}

func (s *storm) p99() time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	slices.Sort(s.times)
	return s.times[len(s.times)*99/100]
}
