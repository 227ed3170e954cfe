package frontend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/transcript"
)

// One script of protocol messages is played directly and through the pooler, and every message that comes back must
// be the same.
func TestTranscriptIsWhatPostgreSQLSays(t *testing.T) {
	type manner struct{ pipelined, reconnect bool }
	direct := map[manner][]transcript.Answers{}
	for _, m := range []manner{{false, false}, {true, false}, {false, true}, {true, true}} {
		direct[m] = playDirect(t, transcript.Options{Pipelined: m.pipelined, Reconnect: m.reconnect})
	}
	const (
		one   = "default_pool_size = 1\nloops = 1\n"
		three = "default_pool_size = 3\nloops = 2\n"
	)
	for _, tc := range []struct {
		name  string
		toml  string
		opts  transcript.Options
		noise func(n *noise) error
	}{
		{name: "whole steps", toml: one},
		{name: "whole steps, two loops", toml: three},
		{name: "steps in flight", toml: one, opts: transcript.Options{Pipelined: true}},
		{name: "steps in flight, two loops", toml: three, opts: transcript.Options{Pipelined: true, Chunk: 1000}},
		{name: "chunks of 1", toml: one, opts: transcript.Options{Chunk: 1}},
		{name: "chunks of 2", toml: three, opts: transcript.Options{Chunk: 2}},
		{name: "chunks of 3", toml: one, opts: transcript.Options{Chunk: 3}},
		{name: "chunks of 5", toml: three, opts: transcript.Options{Chunk: 5}},
		{name: "chunks of 7, in flight", toml: one, opts: transcript.Options{Chunk: 7, Pipelined: true}},
		{name: "chunks of 16", toml: three, opts: transcript.Options{Chunk: 16}},
		{name: "chunks of 64", toml: one, opts: transcript.Options{Chunk: 64}},
		{name: "chunks of 1000", toml: three, opts: transcript.Options{Chunk: 1000}},
		{name: "chunks of 65536", toml: one, opts: transcript.Options{Chunk: 65536}},
		{name: "a slow reader", toml: one, opts: transcript.Options{ReadChunk: 900}},
		{name: "a slow reader, in flight", toml: three, opts: transcript.Options{ReadChunk: 4000, Pipelined: true}},
		{name: "others on the one server session", toml: one, noise: (*noise).everything},
		{name: "others on three server sessions", toml: three, noise: (*noise).everything},
		{name: "others, in flight", toml: one, opts: transcript.Options{Pipelined: true}, noise: (*noise).everything},
		{name: "another's unnamed statement between all steps", toml: one, noise: (*noise).unnamed},
		{name: "another's unnamed statement before what is in flight", toml: one, opts: transcript.Options{Pipelined: true}, noise: (*noise).unnamed},
		{name: "another's settings between all steps", toml: one, noise: (*noise).settings},
		{name: "session boundary", toml: `pool_boundary = "session"` + "\n" + one},
		{name: "session boundary, in flight", toml: `pool_boundary = "session"` + "\n" + three, opts: transcript.Options{Pipelined: true, Chunk: 64}},
		{name: "transaction boundary", toml: `pool_boundary = "transaction"` + "\n" + one},
		{name: "transaction boundary, others", toml: `pool_boundary = "transaction"` + "\n" + three, opts: transcript.Options{Chunk: 7}, noise: (*noise).everything},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			groups, want := script(), direct[manner{tc.opts.Pipelined, tc.noise != nil}]
			if strings.Contains(tc.toml, "transaction") {
				groups, want = stateless(groups, want)
			}
			p := startPooler(t, tc.toml)
			db := transcriptDatabase(t)
			tc.opts.Parameters = startUp(db)
			if tc.noise != nil {
				n := newNoise(t, p, db)
				tc.opts.Reconnect = true // else what pins a session for its life would keep the others away
				tc.opts.Between = func() error { return n.disturb(tc.noise) }
			}
			got, err := transcript.Play(p.Addr, groups, tc.opts)
			if err != nil {
				t.Error(err)
			}
			for _, diff := range transcript.Compare(want, got, 10) {
				t.Error(diff)
			}
		})
	}
}

// How PostgreSQL ends a connection whose client breaks the protocol, or wants it to.
func TestTranscriptEndsAsPostgreSQLEndsIt(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	if _, err := pg.Exec(t.Context(), db, "CREATE TABLE kept (a int)"); err != nil {
		t.Fatal(err)
	}
	clean, err := transcript.Play(address(pg), afterwards(), transcript.Options{Parameters: startUp(db)})
	if err != nil {
		t.Fatal("direct:", err)
	}
	for _, boundary := range []string{"statement", "session"} {
		p := startPooler(t, `pool_boundary = "`+boundary+`"`, "default_pool_size = 1")
		for i, g := range slices.Concat(endings(), departures()) {
			for _, chunk := range []int{0, 1} {
				t.Run(fmt.Sprintf("%s, %s boundary, chunks of %d", g.Name, boundary, chunk), func(t *testing.T) {
					opts := transcript.Options{Parameters: startUp(db), Chunk: chunk}
					want, err := transcript.Play(address(pg), []transcript.Group{g}, opts)
					if err != nil {
						t.Fatal("direct:", err)
					}
					got, err := transcript.Play(p.Addr, []transcript.Group{g}, opts)
					if err != nil {
						t.Error(err)
					}
					if i < len(endings()) {
						for _, diff := range transcript.Compare(want, got, 5) {
							t.Error(diff)
						}
					}
					opts.Chunk = 0
					left, err := transcript.Play(p.Addr, afterwards(), opts)
					if err != nil {
						t.Error(err)
					}
					for _, diff := range transcript.Compare(clean, left, 5) {
						t.Error(diff)
					}
				})
			}
		}
	}
}

func address(pg *pgtest.Server) string { return fmt.Sprintf("%s:%d", pg.Host, pg.Port) }

func startUp(db string) map[string]string {
	return map[string]string{"user": pgtest.Superuser, "database": db}
}

// playDirect is what to compare with.
func playDirect(t *testing.T, opts transcript.Options) []transcript.Answers {
	t.Helper()
	opts.Parameters = startUp(transcriptDatabase(t))
	answers, err := transcript.Play(address(postgres.Server(t)), script(), opts)
	if err != nil {
		t.Fatal("direct:", err)
	}
	return answers
}

// transcriptDatabase makes a database for one play, in which another session holds a lock.
func transcriptDatabase(t *testing.T) string {
	t.Helper()
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	holder, err := pgx.Connect(t.Context(), pg.DSN(db))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close(context.Background()) })
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock("+heldLock+")"); err != nil {
		t.Fatal(err)
	}
	return db
}

// stateless is what of the script, and of the answers to it, can be played when no state lasts.
func stateless(groups []transcript.Group, answers []transcript.Answers) ([]transcript.Group, []transcript.Answers) {
	keptGroups, keptAnswers := []transcript.Group(nil), answers[:1:1]
	at := 1
	for _, g := range groups {
		if g.Stateless {
			keptGroups = append(keptGroups, g)
			keptAnswers = append(keptAnswers, answers[at:at+len(g.Steps)]...)
		}
		at += len(g.Steps)
	}
	return keptGroups, keptAnswers
}

// noise is other clients of the same pool. Between the steps of the one that is watched, while it holds no server
// session, they leave on the shared server session what would show if it leaked.
type noise struct {
	pooler *testPooler
	// They stay, and have statements of the same names. Only the settings of the second differ from the watched client's.
	residents [2]*pgx.Conn
	dsn       string // of the second, and of guests
	round     int
}

func newNoise(t *testing.T, p *testPooler, db string) *noise {
	t.Helper()
	n := &noise{pooler: p, dsn: p.dsn(db, "&application_name=noise&TimeZone=Asia/Kathmandu")}
	for i, dsn := range []string{p.dsn(db, ""), n.dsn} {
		resident, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resident.Close(context.Background()) })
		n.residents[i] = resident
		for _, name := range residentNames {
			if _, err := resident.PgConn().Prepare(t.Context(), name, "SELECT 'noise' AS noise, $1::text", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// residentNames are names that the script uses, too.
var residentNames = []string{"s1", "n1", "n2", "r", "k1", "k2", "d1", "tx", "cl", "un", "big", "sp"}

const noiseTimeout = 10 * time.Second

// mess is what a client leaves behind when it disconnects.
var mess = []string{
	"SET application_name = 'leak'; SET DateStyle = 'German'; SET work_mem = '9MB'",
	"CREATE TEMP TABLE item (leak text); CREATE TEMP TABLE tmp (leak text)",
	"LISTEN news; LISTEN leak",
	"PREPARE sp AS SELECT 'leak'; PREPARE n1 AS SELECT 'leak'; PREPARE s1 AS SELECT 'leak'",
	"SELECT pg_advisory_lock(1), pg_advisory_lock(3)",
	"DECLARE h CURSOR WITH HOLD FOR SELECT 'leak'",
	"SET ROLE pg_monitor; SET standard_conforming_strings = off",
	"BEGIN; SELECT 1/0",
	"BEGIN; SELECT 'open'",
}

// disturb calls f if the watched client holds no server session.
func (n *noise) disturb(f func(*noise) error) error {
	for _, l := range n.pooler.Loops { // the watched client's last answer may be ahead of its server session's release
		done := make(chan struct{})
		l.Post(func() { close(done) })
		<-done
	}
	if st := n.pooler.Front.Stat(); st.Sessions[PhaseActive.String()] > 0 {
		return nil
	}
	n.round++
	return f(n)
}

func (n *noise) everything() error {
	if n.round%3 == 0 {
		return n.guest()
	}
	if n.round%2 == 0 {
		return n.settings()
	}
	return n.unnamed()
}

// unnamed leaves an unnamed statement, and nothing else.
func (n *noise) unnamed() error {
	ctx, cancel := context.WithTimeout(context.Background(), noiseTimeout)
	defer cancel()
	if r := n.residents[0].PgConn().ExecParams(ctx, "SELECT 'unnamed'", nil, nil, nil, nil).Read(); r.Err != nil {
		return fmt.Errorf("the resident's unnamed statement: %w", r.Err)
	}
	return nil
}

// settings has the settings of the server session replaced.
func (n *noise) settings() error {
	ctx, cancel := context.WithTimeout(context.Background(), noiseTimeout)
	defer cancel()
	name := residentNames[n.round%len(residentNames)]
	r := n.residents[1].PgConn().ExecPrepared(ctx, name, [][]byte{[]byte("x")}, nil, nil).Read()
	if r.Err != nil || len(r.Rows) != 1 || string(r.Rows[0][0]) != "noise" {
		return fmt.Errorf("the resident's statement %q: %w: %v", name, r.Err, r.Rows)
	}
	return nil
}

// guest comes, makes a mess, and goes.
func (n *noise) guest() error {
	ctx, cancel := context.WithTimeout(context.Background(), noiseTimeout)
	defer cancel()
	guest, err := pgx.Connect(ctx, n.dsn)
	if err != nil {
		return fmt.Errorf("a guest: %w", err)
	}
	_, err = guest.PgConn().Exec(ctx, mess[n.round/3%len(mess)]).ReadAll()
	if err != nil && !strings.Contains(err.Error(), "22012") {
		return fmt.Errorf("a guest's mess: %w", err)
	}
	return guest.Close(ctx)
}

// Random messages about the unnamed statement, in flight or not, of a client that is moved between two server sessions
// on which another leaves its own.
func TestUnnamedStatementAtRandom(t *testing.T) {
	for seed := range uint64(unnamedSeeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			db := postgres.Server(t).CreateDatabase(t)
			p := startPooler(t, "default_pool_size = 2\nloops = 1\n")
			n := newNoise(t, p, db)
			r := rand.New(rand.NewPCG(seed, 0))
			groups := []transcript.Group{group("random", unnamedSteps(r)...)}
			opts := transcript.Options{Parameters: startUp(db)}
			want, err := transcript.Play(address(postgres.Server(t)), groups, opts)
			if err != nil {
				t.Fatal("direct:", err)
			}
			opts.Chunk = []int{0, 1, 7, 100}[seed%4]
			opts.Between = func() error { return n.move(r.IntN(6)) }
			got, err := transcript.Play(p.Addr, groups, opts)
			if err != nil {
				t.Error(err)
			}
			for _, diff := range transcript.Compare(want, got, 3) {
				t.Error(diff)
			}
		})
	}
}

const unnamedSeeds = 8

// move has the other client leave an unnamed statement, or hold a server session, or give it back.
func (n *noise) move(how int) error {
	ctx, cancel := context.WithTimeout(context.Background(), noiseTimeout)
	defer cancel()
	for range 4 { // the end of a step does not wait for the server session to come back
		if n.pooler.Front.Stat().Sessions[PhaseActive.String()] == 0 {
			break
		}
		<-time.After(time.Millisecond)
	}
	sql := [...]string{"SELECT 'theirs'", "BEGIN", "COMMIT", "SELECT 'theirs'", "SELECT 'theirs'"}
	if how >= len(sql) {
		return nil
	}
	if r := n.residents[0].PgConn().ExecParams(ctx, sql[how], nil, nil, nil, nil).Read(); r.Err != nil {
		return fmt.Errorf("the resident's %q: %w", sql[how], r.Err)
	}
	return nil
}

// unnamedSteps end with an empty query, since how many times ReadyForQuery comes is not known.
func unnamedSteps(r *rand.Rand) []transcript.Step {
	steps := []transcript.Step{synced(parse("end", ""))}
	for range 100 {
		var all []message
		for range 1 + r.IntN(12) {
			all = append(all, unnamedMessages(r)...)
		}
		all = append(all, syncMsg(), bind("", "end"), execute("", 0), syncMsg())
		steps = append(steps, transcript.Send('I', 1, all...))
	}
	return steps
}

func unnamedMessages(r *rand.Rand) []message {
	n := fmt.Sprint(r.IntN(1000))
	simple := func(sql string) []message { return []message{&pgproto3.Query{String: sql}} }
	switch r.IntN(26) {
	case 0, 1, 2:
		return []message{parse("", "SELECT "+n)}
	case 3:
		return []message{parse("", "SELECT 'ä', "+n), syncMsg()}
	case 4, 5:
		return []message{parse("", "SELECT "+n), bind("", ""), execute("", 0), syncMsg()}
	case 6, 7, 8, 9:
		return []message{bind("", ""), execute("", 0)}
	case 10:
		return []message{describe('S', "")}
	case 11:
		return []message{closing('S', "")}
	case 12, 13, 14:
		return []message{bind("", "nope")}
	case 15, 16, 17, 18:
		return []message{syncMsg()}
	case 19:
		return simple("SELECT " + n)
	case 20:
		return simple("SELECT 'ä', " + n + "/" + fmt.Sprint(r.IntN(2)))
	case 21:
		return simple("SELECT '\xff'")
	case 22:
		return []message{parse("", "SELECT '\xff'")}
	case 23:
		return []message{rawFrame('P', "\x00abc")}
	case 24:
		return []message{rawFrame('Q', "abc")}
	default:
		return []message{parse("", "SELEC "+n)}
	}
}
