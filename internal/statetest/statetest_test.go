package statetest

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

var postgres pgtest.Shared

func TestMain(m *testing.M) { pgtest.Main(m, &postgres) }

// options are for a database in which clients and twins are both connected directly.
func options(t *testing.T) Options {
	t.Helper()
	pg := postgres.Server(t)
	dsn := pg.DSN(pg.CreateDatabase(t))
	if err := Setup(t.Context(), dsn, Options{}.complete().Clients); err != nil {
		t.Fatal(err)
	}
	return Options{Direct: dsn, Through: dsn, Seed: 1, Steps: 2000}
}

// fromEnvironment is a number for longer runs.
func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	if os.Getenv(name) == "" {
		return otherwise
	}
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A direct session is like a direct session: what fails here is the fault of the harness.
func TestDirectIsLikeDirect(t *testing.T) {
	opts := options(t)
	opts.Steps = fromEnvironment(t, "POOLER_STATE_STEPS", opts.Steps)
	opts.Seed = uint64(fromEnvironment(t, "POOLER_STATE_SEED", 1))
	if f := Run(t.Context(), opts); f != nil {
		t.Error(f)
	}
}

func TestCasesAreLikeDirect(t *testing.T) {
	opts := options(t)
	cases, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range cases {
		t.Run(name, func(t *testing.T) {
			if f := Replay(t.Context(), opts, script); f != nil {
				t.Error(f)
			}
		})
	}
}

// Sessions that begin with another default must be found out, and by a short script.
func TestOtherDefaultIsFound(t *testing.T) {
	for _, tc := range []struct{ name, parameter string }{
		{name: "reported to the client", parameter: "TimeZone=Asia/Tokyo"},
		{name: "not reported", parameter: "lock_timeout=5min"},
		{name: "of the application's own", parameter: "options=-c%20app.a=leak"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := options(t)
			opts.Through += "&" + tc.parameter
			f := Run(t.Context(), opts)
			if f == nil {
				t.Fatal("the difference went unnoticed")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			small := Minimise(ctx, f, func(s Script) *Failure { return Replay(ctx, opts, s) })
			if small == nil || len(small.Script) > 3 {
				t.Errorf("the script was not made small:\n%v", small)
			}
		})
	}
}

func TestTooManyHoldersAreRefused(t *testing.T) {
	script, err := ParseScript("c1: query BEGIN\nc2: query LISTEN {my}a\nc3: query SELECT pg_advisory_lock({lock1})")
	if err != nil {
		t.Fatal(err)
	}
	if f := Replay(t.Context(), options(t), script); f == nil || f.Kind != BadScript || f.Step.Client != 3 {
		t.Errorf("got %v, want the step of c3 refused", f)
	}
}

func TestScriptsAreReadAsWritten(t *testing.T) {
	opts := options(t)
	opts.Steps = 300
	twins := newTwins(opts.complete())
	defer twins.close()
	g := newGenerator(twins)
	for len(twins.played) < opts.Steps {
		for _, s := range g.next() {
			if f := twins.play(t.Context(), s); f != nil {
				t.Fatal(f)
			}
		}
	}
	got, err := ParseScript(twins.played.String())
	if err != nil || got.String() != twins.played.String() {
		t.Errorf("script changes when it is read: %v", err)
	}
}

func TestBadScripts(t *testing.T) {
	for _, text := range []string{"x", "cx: query", "c1: jump", "c1: pipe bind", "c1: pipe execute - x", `c1: connect "a`, "c1: connect a", "c1000: check"} {
		if _, err := ParseScript(text); err == nil {
			t.Errorf("%q was taken for a script", text)
		}
	}
}

func TestTracesAreTakenOut(t *testing.T) {
	a, b := owner{direct, 7, 3}, owner{through, 7, 4}
	const text = "SELECT pg_advisory_lock({lock5}) FROM {my}kept"
	if a.fill(text) == b.fill(text) || anonymous(a.fill(text)) != anonymous(b.fill(text)) {
		t.Errorf("%q and %q", a.fill(text), b.fill(text))
	}
}
