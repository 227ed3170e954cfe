package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"pooler/internal/pgtest"
)

// workloadQuery reports the server session that serves it. The parameters come back, so that an answer that is
// another's shows.
const workloadQuery = `SELECT $1::int, $2::int, pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()`

// workload replays Oracle's demonstration of implicit pooling, first direct, then through the pooler, and compares.
func (d *demonstration) workload(ctx context.Context, out io.Writer, o demoOptions) error {
	direct, pooled := d.replay(ctx, out, o)
	if ctx.Err() != nil {
		return errors.New("interrupted before the end of the workload")
	}
	compare(out, direct, pooled)
	return errors.Join(direct.err("direct"), pooled.err("through the pooler"))
}

func (d *demonstration) replay(ctx context.Context, out io.Writer, o demoOptions) (direct, pooled *outcome) {
	fmt.Fprintf(out, "%d users at the same time, %d statements each, %v of thinking after each. It takes about %v, twice.\n",
		o.users, o.statements, o.think, time.Duration(o.statements)*o.think)
	fmt.Fprintf(out, "\nDirect to PostgreSQL: %s\n", d.direct())
	direct = replay(ctx, out, d.pg, d.direct(), o)
	if ctx.Err() != nil {
		return direct, nil
	}
	fmt.Fprintf(out, "\nThrough the pooler: %s\n", d.pooled())
	return direct, replay(ctx, out, d.pg, d.pooled(), o)
}

// serverSession identifies a server session; PostgreSQL may use a pid again.
type serverSession struct {
	pid   int
	start time.Time
}

// outcome is what a run of the workload has shown.
type outcome struct {
	sessions map[serverSession]int // to the number of its statements
	done     int                   // statements answered rightly
	expected int
	elapsed  time.Duration
	server   memory // of the server sessions, in the middle of a think time
	own      memory // of this process, at the same moment
}

func (o *outcome) err(name string) error {
	if o.done == o.expected {
		return nil
	}
	return fmt.Errorf("%s: %d of %d statements failed", name, o.expected-o.done, o.expected)
}

// replaying is the workload under way.
type replaying struct {
	demoOptions
	dsn   string
	began time.Time

	mu     sync.Mutex // guards what is below
	out    io.Writer
	result *outcome
}

// replay runs the workload once, against dsn, a database of pg.
func replay(ctx context.Context, out io.Writer, pg *pgtest.Server, dsn string, o demoOptions) *outcome {
	r := &replaying{
		demoOptions: o, dsn: dsn, began: time.Now(), out: out,
		result: &outcome{sessions: map[serverSession]int{}, expected: o.users * o.statements},
	}
	var users, halfway, sampler sync.WaitGroup
	halfway.Add(o.users)
	for i := range o.users {
		users.Go(func() {
			reached := sync.OnceFunc(halfway.Done)
			defer reached() // also when this user gets no further
			r.user(ctx, i+1, reached)
		})
	}
	var server, own memory
	sampler.Go(func() {
		halfway.Wait()
		sleep(ctx, o.think/2)
		server, own = memoryOfSessions(ctx, pg), memoryOf(os.Getpid())
	})
	users.Wait()
	r.result.elapsed = time.Since(r.began)
	sampler.Wait()
	r.result.server, r.result.own = server, own
	return r.result
}

// user does what one user does, and calls halfway after the statement in the middle.
func (r *replaying) user(ctx context.Context, user int, halfway func()) {
	conn, err := connectWorkload(ctx, r.dsn)
	if err != nil {
		r.printf("user %2d  connect: %v", user, err)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for statement := 1; statement <= r.statements && ctx.Err() == nil && !conn.IsClosed(); statement++ {
		asked := time.Now()
		s, err := ask(ctx, conn, user, statement)
		r.record(user, statement, s, time.Since(asked), err)
		if statement == (r.statements+1)/2 {
			halfway()
		}
		sleep(ctx, r.think)
	}
}

func connectWorkload(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams = map[string]string{} // nothing from the environment's PG* variables
	return pgx.ConnectConfig(ctx, cfg)
}

// ask has the server say which session serves.
func ask(ctx context.Context, conn *pgx.Conn, user, statement int) (s serverSession, err error) {
	var gotUser, gotStatement int
	err = conn.QueryRow(ctx, workloadQuery, user, statement).Scan(&gotUser, &gotStatement, &s.pid, &s.start)
	if err == nil && (gotUser != user || gotStatement != statement) {
		err = fmt.Errorf("wrong row: it is for user %d, statement %d", gotUser, gotStatement)
	}
	return s, err
}

func (r *replaying) record(user, statement int, s serverSession, took time.Duration, err error) {
	if err != nil {
		r.printf("user %2d  statement %d  failed: %v", user, statement, err)
		return
	}
	r.printf("user %2d  statement %d  server session %d, started %s  %6.1f ms",
		user, statement, s.pid, s.start.Local().Format("15:04:05.000"), milliseconds(took))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.done++
	r.result.sessions[serverSession{s.pid, s.start.UTC()}]++ // as a key of a map, a time needs one location
}

// printf prints a line with the time since the run began.
func (r *replaying) printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "  %7.3f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// compare prints both outcomes side by side, and what they come to.
func compare(out io.Writer, direct, pooled *outcome) {
	line := func(what, a, b string) { fmt.Fprintf(out, "%-28s %18s %18s\n", what, a, b) }
	both := func(what string, value func(*outcome) string) { line(what, value(direct), value(pooled)) }
	fmt.Fprintln(out)
	line("", "direct", "through pooler")
	both("server sessions", func(o *outcome) string { return strconv.Itoa(len(o.sessions)) })
	both("statements done", func(o *outcome) string { return fmt.Sprintf("%d of %d", o.done, o.expected) })
	both("elapsed", func(o *outcome) string { return fmt.Sprintf("%.2f s", o.elapsed.Seconds()) })
	both("memory of server sessions", func(o *outcome) string { return o.server.String() })
	line("memory of the pooler *", "-", pooled.own.String())
	fmt.Fprintf(out, "* this whole process, the users' clients too\n\n%s\n", verdict(direct, pooled))
}

func count(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func verdict(direct, pooled *outcome) string {
	if missing := direct.expected - direct.done + pooled.expected - pooled.done; missing > 0 {
		return fmt.Sprintf("FAILED: %d %s without the right answer.", missing, count(missing, "statement", "statements"))
	}
	return fmt.Sprintf("%d server %s instead of %d, elapsed %+.1f %%.", len(pooled.sessions),
		count(len(pooled.sessions), "session", "sessions"), len(direct.sessions),
		100*(pooled.elapsed.Seconds()/direct.elapsed.Seconds()-1))
}

// memory is how much some processes take.
type memory struct {
	kB      int64
	measure string // PSS, or RSS, which counts what processes share once for each
	err     error
}

func (m memory) String() string {
	if m.err != nil || m.measure == "" {
		return "not known"
	}
	return fmt.Sprintf("%.1f MB (%s)", float64(m.kB)/1024, m.measure)
}

// memoryOfSessions measures the server sessions of the demo's database. The one that lists them is in another.
func memoryOfSessions(ctx context.Context, pg *pgtest.Server) memory {
	rows, err := pg.Exec(ctx, "postgres", `SELECT pid FROM pg_stat_activity
		WHERE datname = '`+demoDatabase+`' AND backend_type = 'client backend'`)
	if err != nil {
		return memory{err: err}
	}
	var pids []int
	for _, row := range rows {
		pid, err := strconv.Atoi(row[0])
		if err != nil {
			return memory{err: err}
		}
		pids = append(pids, pid)
	}
	return memoryOf(pids...)
}

// memoryOf adds up the memory of processes: PSS where the kernel tells it of all of them, else RSS.
func memoryOf(pids ...int) memory {
	m := sumMemory("PSS", "smaps_rollup", "Pss:", pids)
	if m.err != nil {
		m = sumMemory("RSS", "status", "VmRSS:", pids)
	}
	return m
}

func sumMemory(measure, file, field string, pids []int) memory {
	sum := memory{measure: measure}
	for _, pid := range pids {
		kB, err := readMemory(fmt.Sprintf("/proc/%d/%s", pid, file), field)
		if err != nil {
			return memory{err: err}
		}
		sum.kB += kB
	}
	return sum
}

// readMemory finds a line such as "Pss:  1234 kB".
func readMemory(path, field string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == field && words[2] == "kB" {
			return strconv.ParseInt(words[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no line %s", path, field)
}

// sleep returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
