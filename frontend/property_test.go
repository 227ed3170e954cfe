package frontend

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pooler/internal/statetest"
)

const (
	stateClients    = 20
	stateSessions   = 3
	stateSteps      = 400
	minimiseTimeout = 15 * time.Second
	minimiseStep    = 3 * time.Second // shorter than a step's limit: most candidates of a time-out end in one
)

// What many clients over few server sessions are told, and what their sessions hold, is what direct sessions are told
// and hold. Longer runs: POOLER_STATE_STEPS for each seed and number of loops, POOLER_STATE_SEED for one seed,
// POOLER_STATE_CHECK for state_check, POOLER_STATE_WITHOUT for kinds of steps to leave out, separated by commas.
func TestSessionStateIsThatOfDirectSessions(t *testing.T) {
	cases, err := statetest.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, loops := range []int{1, 2} {
		for name, script := range cases {
			t.Run(fmt.Sprintf("%s, loops %d", name, loops), func(t *testing.T) {
				if f := statetest.Replay(t.Context(), stateTarget(t, loops), script); f != nil {
					t.Error(f)
				}
			})
		}
		for _, seed := range stateSeeds(t) {
			for _, crowd := range crowds {
				t.Run(fmt.Sprintf("%s, seed %d, loops %d", crowd.name, seed, loops), func(t *testing.T) {
					playRandomly(t, loops, seed, crowd)
				})
			}
		}
	}
}

// crowd is how many clients there are, and what they do.
type crowd struct {
	name              string
	clients, sessions int
	without           []string
}

// Few clients with a server session each may leave there what they like.
var crowds = []crowd{
	{name: "many", clients: stateClients, sessions: stateSessions, without: []string{statetest.Sequences}},
	{name: "few", clients: stateSessions, sessions: stateSessions + 1, without: []string{statetest.Sequences}},
}

// stateSeeds are those of the everyday test; POOLER_STATE_SEED plays another.
func stateSeeds(t *testing.T) []uint64 {
	if given := environmentNumber(t, "POOLER_STATE_SEED", 0); given != 0 {
		return []uint64{uint64(given)}
	}
	return []uint64{1, 2, 3}
}

func playRandomly(t *testing.T, loops int, seed uint64, who crowd) {
	opts := stateTarget(t, loops)
	opts.Seed, opts.Clients, opts.Sessions = seed, who.clients, who.sessions
	opts.Steps = environmentNumber(t, "POOLER_STATE_STEPS", stateSteps)
	opts.Without = append(strings.Split(os.Getenv("POOLER_STATE_WITHOUT"), ","), who.without...)
	f := statetest.Run(t.Context(), opts)
	if f == nil {
		return
	}
	t.Error(f)
	ctx, cancel := context.WithTimeout(t.Context(), minimiseTimeout)
	defer cancel()
	small := statetest.Minimise(ctx, f, func(s statetest.Script) *statetest.Failure { return replayAfresh(t, loops, opts, s) })
	if small == nil {
		t.Log("the whole script does not fail when it is played again")
		return
	}
	t.Errorf("made smaller: %v\nas a case for internal/statetest/testdata/cases:\n%v", small, small.Script)
}

// replayAfresh uses a pooler that earlier candidates have left nothing in.
func replayAfresh(t *testing.T, loops int, opts statetest.Options, s statetest.Script) (f *statetest.Failure) {
	t.Run("smaller", func(t *testing.T) {
		target := stateTarget(t, loops)
		opts.Direct, opts.Through, opts.StepLimit = target.Direct, target.Through, minimiseStep
		f = statetest.Replay(t.Context(), opts, s)
	})
	return f
}

// stateTarget is a new database, and a new pooler with few server sessions before it.
func stateTarget(t *testing.T, loops int) statetest.Options {
	t.Helper()
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	if err := statetest.Setup(t.Context(), pg.DSN(db), stateClients); err != nil {
		t.Fatal(err)
	}
	toml := fmt.Sprintf("pool_boundary = \"statement\"\ndefault_pool_size = %d\nloops = %d\n", stateSessions, loops)
	if check := os.Getenv("POOLER_STATE_CHECK"); check != "" {
		toml += fmt.Sprintf("state_check = %q\n", check)
	}
	p := startPooler(t, toml)
	return statetest.Options{Direct: pg.DSN(db), Through: p.dsn(db, ""), Clients: stateClients, Sessions: stateSessions}
}

func environmentNumber(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
