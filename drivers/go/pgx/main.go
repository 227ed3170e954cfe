// Command pgx checks pgx: all its query modes, batches, pipelines, COPY, LISTEN, cancel, pgxpool.
// It connects by the PG* variables.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drivers/check"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement,
	pgx.QueryExecModeCacheDescribe,
	pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol,
}

var ctx = context.Background()

func main() {
	defer pool.Close()
	check.Main("pgx", "github.com/jackc/pgx/v5", run)
}

// run takes a new connection for each query mode, and at last the shared pgxpool. Each client
// begins with another mode, so that all modes meet in the pooler.
func run(c *check.Client) {
	parts := len(modes) + 1
	for part := range parts {
		first, last := c.Rounds*part/parts, c.Rounds*(part+1)/parts
		if part == len(modes) {
			poolRounds(c, first, last)
			return
		}
		oneMode(c, modes[(c.ID+part)%len(modes)], first, last)
	}
}

func oneMode(c *check.Client, mode pgx.QueryExecMode, first, last int) {
	c.At("connect, mode %s", mode)
	s := connect(c, mode)
	// Also when a check fails: the others wait for the server session.
	defer func() { _ = s.conn.Close(ctx) }()
	for round := first; round < last; round++ {
		c.At("round %d, mode %s", round, mode)
		s.round(round)
	}
	s.bye()
}

// session is one connection of a client. want is the state that the client has given it.
type session struct {
	*check.Client
	conn *pgx.Conn
	mode pgx.QueryExecMode
	want state
}

type state struct{ app, zone, path, me, who string }

func connect(c *check.Client, mode pgx.QueryExecMode) *session {
	config, err := pgx.ParseConfig("")
	c.Must("configuration", err)
	s := &session{Client: c, mode: mode, want: state{"start", "UTC", "sa, public", fmt.Sprint("client ", c.ID), "sa"}}
	config.DefaultQueryExecMode = mode
	config.RuntimeParams = map[string]string{
		"application_name": "start", "timezone": "UTC", "search_path": "sa, public", "drivers.me": s.want.me,
	}
	// A context's end cancels the statement instead of closing the connection.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 10 * time.Second}
	}
	s.conn, err = pgx.ConnectConfig(ctx, config)
	c.Must("connect", err)
	return s
}

// round does what every round does, and each eighth time one of the rest.
func (s *session) round(round int) {
	s.state()
	s.item(round)
	s.transactions(round)
	s.errors()
	switch round % 8 {
	case 0:
		s.batch(round)
		s.pipeline(round)
	case 1:
		s.copy(round)
	case 2:
		s.set(round)
	case 3:
		s.sequence()
		s.listen(round)
	case 4:
		s.tempTable(round)
		s.advisoryLock()
	case 5:
		s.role()
		s.sqlPrepare(round)
	case 6:
		s.cursor()
	case 7:
		if round < 16 {
			s.cancel()
		}
	}
	s.state()
}

func (s *session) exec(sql string, args ...any) {
	_, err := s.conn.Exec(ctx, sql, args...)
	s.Must(sql, err)
}

// one reads a statement's only value.
func one[T any](s *session, sql string, args ...any) (value T) {
	s.Must(sql, s.conn.QueryRow(ctx, sql, args...).Scan(&value))
	return value
}

func (s *session) fails(code, sql string, args ...any) {
	_, err := s.conn.Exec(ctx, sql, args...)
	s.Equal("SQLSTATE of "+sql, sqlState(err), code)
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return fmt.Sprint(err)
}

func (s *session) state() {
	var got state
	s.Must("read the state", s.conn.QueryRow(ctx, `SELECT current_setting('application_name'), current_setting('TimeZone'),
		current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)`).
		Scan(&got.app, &got.zone, &got.path, &got.me, &got.who))
	s.Equal("state", got, s.want)
}

func (s *session) item(round int) {
	want := check.NewItem(s.ID, round)
	want.ID = insert(s.Client, s.conn, want)
	got := read(s.Client, s.conn, want.ID)
	s.Equal("item", got, want)
}

func (s *session) transactions(round int) {
	count := func() int {
		return one[int](s, "SELECT count(*)::int FROM ledger WHERE client = $1 AND round = $2", s.ID, round)
	}
	before := count()
	for _, commit := range []bool{true, false} {
		tx, err := s.conn.Begin(ctx)
		s.Must("begin", err)
		s.exec("SET LOCAL drivers.local = 'inside'")
		s.exec("INSERT INTO ledger VALUES ($1, $2, $3)", s.ID, round, "kept?")
		s.Equal("SET LOCAL inside", one[string](s, "SELECT current_setting('drivers.local')"), "inside")
		if commit {
			s.Must("commit", tx.Commit(ctx))
		} else {
			s.Must("rollback", tx.Rollback(ctx))
		}
		s.Equal("rows after the transaction", count(), before+1)
		s.Equal("SET LOCAL after the transaction", one[string](s, "SELECT coalesce(current_setting('drivers.local', true), '')"), "")
	}
}

func (s *session) errors() {
	s.fails("22012", "SELECT 1 / $1::int", 0)
	s.fails("42P01", "SELECT * FROM no_such_table")
	tx, err := s.conn.Begin(ctx)
	s.Must("begin", err)
	s.fails("22012", "SELECT 1 / $1::int", 0)
	s.fails("25P02", "SELECT 1")
	s.Must("rollback", tx.Rollback(ctx))
	s.Equal("after errors", one[string](s, "SELECT $1::text", "going on"), "going on")
}

func (s *session) set(round int) {
	s.want = state{fmt.Sprintf("app %d/%d", s.ID, round), "Asia/Tokyo", "sb, public", fmt.Sprintf("me '%d/%d", s.ID, round), "sb"}
	s.exec("SET application_name = '" + s.want.app + "'")
	s.exec("SET search_path TO sb, public")
	s.exec("SET TIME ZONE 'Asia/Tokyo'")
	one[string](s, "SELECT set_config('drivers.me', $1, false)", s.want.me)
	stamp := one[string](s, "SELECT '2001-02-03 00:00:00+00'::timestamptz::text")
	s.Equal("time zone in use", stamp, "2001-02-03 09:00:00+09")
	s.Equal("ParameterStatus of TimeZone", s.conn.PgConn().ParameterStatus("TimeZone"), "Asia/Tokyo")
}

func (s *session) sequence() {
	next := one[int64](s, "SELECT nextval('public.numbers')")
	s.state()
	s.Equal("currval", one[int64](s, "SELECT currval('public.numbers')"), next)
}

func (s *session) tempTable(round int) {
	s.exec("CREATE TEMPORARY TABLE mine (x int)")
	s.exec("INSERT INTO mine SELECT generate_series(1, $1)", round)
	s.Equal("rows of the temporary table", one[int](s, "SELECT count(*)::int FROM mine"), round)
	s.exec("DROP TABLE mine")
	s.fails("42P01", "SELECT * FROM mine")
}

func (s *session) advisoryLock() {
	s.Equal("lock", one[bool](s, "SELECT pg_try_advisory_lock($1)", s.ID), true)
	s.state()
	s.Equal("unlock", one[bool](s, "SELECT pg_advisory_unlock($1)", s.ID), true)
}

func (s *session) role() {
	s.exec("SET ROLE drivers_role")
	s.Equal("role", one[string](s, "SELECT current_user::text"), "drivers_role")
	s.fails("42501", "INSERT INTO ledger VALUES (0, 0, '')")
	s.exec("RESET ROLE")
	s.Equal("role", one[string](s, "SELECT current_user::text"), "drivers")
}

// sqlPrepare uses one name in all clients, with another meaning in each.
func (s *session) sqlPrepare(round int) {
	s.exec(fmt.Sprintf("PREPARE mine (int) AS SELECT $1 + %d", s.ID*1000))
	s.Equal("EXECUTE", one[int](s, fmt.Sprintf("EXECUTE mine(%d)", round)), s.ID*1000+round)
	s.exec("DEALLOCATE mine")
	s.fails("26000", "EXECUTE mine(1)")
}

func (s *session) cursor() {
	s.exec("BEGIN")
	s.exec("DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 100)")
	s.exec("COMMIT")
	rows, err := s.conn.Query(ctx, "FETCH 60 FROM c")
	s.Must("fetch", err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[int])
	s.Must("fetch", err)
	s.Equal("rows fetched", len(got), 60)
	s.Equal("next row", one[int](s, "FETCH 1 FROM c"), 61)
	s.exec("CLOSE c")
}

// cancel ends a statement by its context; the connection goes on.
func (s *session) cancel() {
	limited, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	_, err := s.conn.Exec(limited, "SELECT pg_sleep(8)")
	s.Equal("SQLSTATE of the cancelled statement", sqlState(err), "57014")
	s.Equal("after the cancel", one[int](s, "SELECT 7"), 7)
}

// bye discards everything, after which the start-up parameters are in force again.
func (s *session) bye() {
	s.At("DISCARD ALL, mode %s", s.mode)
	s.Must("forget statements", s.conn.DeallocateAll(ctx))
	s.exec("DISCARD ALL")
	s.want = state{"start", "UTC", "sa, public", fmt.Sprint("client ", s.ID), "sa"}
	s.state()
}
