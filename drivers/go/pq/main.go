// Command pq checks lib/pq under database/sql: *sql.DB and *sql.Conn, prepared statements, COPY,
// LISTEN by pq.Listener, cancel. It connects by the PG* variables.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"drivers/check"

	"github.com/lib/pq"
)

var ctx = context.Background()

func main() {
	check.Main("pq", "github.com/lib/pq", run)
}

// run uses two connections, one after the other: the second sends its parameters in the binary
// format, for which lib/pq uses the unnamed statement.
func run(c *check.Client) {
	for part, options := range []string{"", "binary_parameters=yes"} {
		first, last := c.Rounds*part/2, c.Rounds*(part+1)/2
		c.At("before round %d", first)
		listen(c, first)
		cancel(c)
		oneConnection(c, options, first, last)
	}
}

func oneConnection(c *check.Client, options string, first, last int) {
	s := connect(c, options)
	// Also when a check fails: the others wait for the server session.
	defer s.db.Close()
	defer s.conn.Close()
	for round := first; round < last; round++ {
		c.At("round %d, options %q", round, options)
		s.round(round)
	}
	s.At("closing, options %q", options)
	s.Must("close statement", s.insert.Close())
	s.exec("DISCARD ALL")
	s.want = state{"start", "UTC", "public", fmt.Sprint("client ", c.ID), "public"}
	s.state()
}

// session is one connection of a client. want is the state that the client has given it.
type session struct {
	*check.Client
	db     *sql.DB
	conn   *sql.Conn
	insert *sql.Stmt
	want   state
}

type state struct{ app, zone, path, me, who string }

func connect(c *check.Client, options string) *session {
	s := &session{Client: c, want: state{"start", "UTC", "public", fmt.Sprint("client ", c.ID), "public"}}
	var err error
	s.db, err = sql.Open("postgres", fmt.Sprintf(`sslmode=disable application_name=start timezone=UTC search_path=public
		options='-c drivers.me=client\\ %d' %s`, c.ID, options))
	c.Must("open", err)
	s.conn, err = s.db.Conn(ctx)
	c.Must("connect", err)
	s.insert, err = s.conn.PrepareContext(ctx, insertItem)
	c.Must("prepare", err)
	return s
}

// round does what every round does, and each seventh time one of the rest.
func (s *session) round(round int) {
	s.state()
	s.item(round)
	s.transactions(round)
	s.errors()
	switch round % 7 {
	case 0:
		s.copy(round)
	case 1:
		s.tempTable(round)
	case 2:
		s.set(round)
	case 3:
		s.sequence()
	case 4:
		s.advisoryLock()
	case 5:
		s.role()
	case 6:
		s.sqlPrepare(round)
		s.several()
	}
	s.state()
}

func (s *session) exec(statement string, args ...any) {
	_, err := s.conn.ExecContext(ctx, statement, args...)
	s.Must(statement, err)
}

// one reads a statement's only value.
func one[T any](s *session, statement string, args ...any) (value T) {
	s.Must(statement, s.conn.QueryRowContext(ctx, statement, args...).Scan(&value))
	return value
}

func (s *session) fails(code, statement string, args ...any) {
	_, err := s.conn.ExecContext(ctx, statement, args...)
	s.Equal("SQLSTATE of "+statement, sqlState(err), code)
}

func sqlState(err error) string {
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		return string(pqErr.Code)
	}
	return fmt.Sprint(err)
}

func (s *session) state() {
	var got state
	s.Must("read the state", s.conn.QueryRowContext(ctx, `SELECT current_setting('application_name'), current_setting('TimeZone'),
		current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)`).
		Scan(&got.app, &got.zone, &got.path, &got.me, &got.who))
	s.Equal("state", got, s.want)
}

const insertItem = `INSERT INTO public.items (client, t, n, ts, b, a, ta, j, f, ok)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id`

func (s *session) item(round int) {
	want := check.NewItem(s.ID, round)
	s.Must("insert", s.insert.QueryRow(want.Client, want.T, want.N, want.TS, want.B, pq.Array(want.A), pq.Array(want.TA),
		want.J, want.F, want.OK).Scan(&want.ID))
	var got check.Item
	s.Must("select", s.conn.QueryRowContext(ctx, "SELECT id, client, t, n, ts, b, a, ta, j, f, ok FROM public.items WHERE id = $1", want.ID).
		Scan(&got.ID, &got.Client, &got.T, &got.N, &got.TS, &got.B, pq.Array(&got.A), pq.Array(&got.TA), &got.J, &got.F, &got.OK))
	if got.TS != nil {
		utc := got.TS.UTC()
		got.TS = &utc
	}
	s.Equal("item", got, want)
}

func (s *session) transactions(round int) {
	count := func() int {
		return one[int](s, "SELECT count(*) FROM ledger WHERE client = $1 AND round = $2", s.ID, round)
	}
	before := count()
	for _, commit := range []bool{true, false} {
		tx, err := s.conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		s.Must("begin", err)
		s.exec("SET LOCAL drivers.local = 'inside'")
		s.exec("INSERT INTO ledger VALUES ($1, $2, $3)", s.ID, round, "kept?")
		s.Equal("isolation", one[string](s, "SHOW transaction_isolation"), "serializable")
		s.Equal("SET LOCAL inside", one[string](s, "SELECT current_setting('drivers.local')"), "inside")
		if commit {
			// Serializable transactions of other clients do not conflict: each has rows of its own.
			err = tx.Commit()
		} else {
			err = tx.Rollback()
		}
		s.Must("end the transaction", err)
		s.Equal("rows after the transaction", count(), before+1)
		s.Equal("SET LOCAL after the transaction", one[string](s, "SELECT coalesce(current_setting('drivers.local', true), '')"), "")
	}
	s.Equal("isolation", one[string](s, "SHOW transaction_isolation"), "read committed")
}

func (s *session) errors() {
	s.fails("22012", "SELECT 1 / $1::int", 0)
	s.fails("42P01", "SELECT * FROM no_such_table")
	tx, err := s.conn.BeginTx(ctx, nil)
	s.Must("begin", err)
	s.fails("22012", "SELECT 1 / $1::int", 0)
	s.fails("25P02", "SELECT 1")
	s.Must("rollback", tx.Rollback())
	s.Equal("after errors", one[string](s, "SELECT $1::text", "going on"), "going on")
}

func (s *session) set(round int) {
	s.want = state{fmt.Sprintf("app %d/%d", s.ID, round), "Asia/Tokyo", "sb, public", fmt.Sprintf("me '%d/%d", s.ID, round), "sb"}
	s.exec("SET application_name = '" + s.want.app + "'; SET search_path TO sb, public; SET TIME ZONE 'Asia/Tokyo'")
	one[string](s, "SELECT set_config('drivers.me', $1, false)", s.want.me)
	stamp := one[string](s, "SELECT '2001-02-03 00:00:00+00'::timestamptz::text")
	s.Equal("time zone in use", stamp, "2001-02-03 09:00:00+09")
}

func (s *session) sequence() {
	next := one[int64](s, "SELECT nextval('public.numbers')")
	s.state()
	s.Equal("currval", one[int64](s, "SELECT currval('public.numbers')"), next)
}

func (s *session) tempTable(round int) {
	s.exec("CREATE TEMPORARY TABLE mine (x int)")
	s.exec("INSERT INTO mine SELECT generate_series(1, $1)", round)
	s.Equal("rows of the temporary table", one[int](s, "SELECT count(*) FROM mine"), round)
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
	s.Equal("role", one[string](s, "SELECT current_user"), "drivers_role")
	s.fails("42501", "INSERT INTO ledger VALUES (0, 0, '')")
	s.exec("RESET ROLE")
	s.Equal("role", one[string](s, "SELECT current_user"), "drivers")
}

// sqlPrepare uses one name in all clients, with another meaning in each.
func (s *session) sqlPrepare(round int) {
	s.exec(fmt.Sprintf("PREPARE mine (int) AS SELECT $1 + %d", s.ID*1000))
	s.Equal("EXECUTE", one[int](s, fmt.Sprintf("EXECUTE mine(%d)", round)), s.ID*1000+round)
	s.exec("DEALLOCATE mine")
	s.fails("26000", "EXECUTE mine(1)")
}

// several reads the answers of two statements in one string.
func (s *session) several() {
	rows, err := s.conn.QueryContext(ctx, "SELECT 1; SELECT current_setting('drivers.me')")
	s.Must("several statements", err)
	defer rows.Close()
	for rows.Next() { // lib/pq learns of the second answer only at the end of the first
		continue
	}
	s.Equal("second answer", rows.NextResultSet() && rows.Next(), true)
	var me string
	s.Must("second answer", rows.Scan(&me))
	s.Equal("second answer", me, s.want.me)
}

// copy loads rows by COPY in a transaction, as lib/pq wants it.
func (s *session) copy(round int) {
	tx, err := s.conn.BeginTx(ctx, nil)
	s.Must("begin", err)
	load, err := tx.Prepare(pq.CopyIn("ledger", "client", "round", "what"))
	s.Must("copy", err)
	for i := range 200 {
		_, err := load.Exec(s.ID, 1000+round, fmt.Sprintf("tab\t\\ line\n%d", i))
		s.Must("copy a row", err)
	}
	_, err = load.Exec()
	s.Must("copy's end", err)
	s.Must("close the copy", load.Close())
	s.Must("commit", tx.Commit())
	s.Equal("rows copied", one[int](s, "SELECT count(*) FROM ledger WHERE client = $1 AND round = $2 AND what LIKE E'%line\n%'", s.ID, 1000+round), 200)
}

// listen tells itself. Like cancel it uses a connection of its own, before the client opens its
// other one: a client must not hold a server session while it waits for a second one.
func listen(c *check.Client, round int) {
	channel, payload := fmt.Sprint("channel_", c.ID), fmt.Sprint("message of round ", round)
	messages := make(chan *pq.Notification, 8)
	listener, err := pq.NewListenerConn("sslmode=disable application_name=listener", messages)
	c.Must("connect", err)
	defer listener.Close()
	_, err = listener.Listen(channel)
	c.Must("listen", err)
	_, err = listener.ExecSimpleQuery(fmt.Sprintf("NOTIFY %s, '%s'", channel, payload))
	c.Must("notify", err)
	select {
	case got := <-messages:
		c.Equal("notification", []string{got.Channel, got.Extra}, []string{channel, payload})
	case <-time.After(5 * time.Second):
		c.Equal("notification", "none in 5 s", payload)
	}
}

// cancel ends a statement by its context, upon which database/sql may give up the connection.
func cancel(c *check.Client) {
	db, err := sql.Open("postgres", "sslmode=disable")
	c.Must("open", err)
	defer db.Close()
	conn, err := db.Conn(ctx)
	c.Must("connect", err)
	defer conn.Close()
	limited, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	began := time.Now()
	_, err = conn.ExecContext(limited, "SELECT pg_sleep(8)")
	c.Equal("ended before its time", time.Since(began) < 7*time.Second, true)
	c.Equal("cancelled", errors.Is(err, context.DeadlineExceeded) || sqlState(err) == "57014", true)
}
