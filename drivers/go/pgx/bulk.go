package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"drivers/check"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

const insertItem = `INSERT INTO public.items (client, t, n, ts, b, a, ta, j, f, ok)
	VALUES ($1::int, $2::text, $3::numeric, $4::timestamptz, $5::bytea, $6::int[], $7::text[], $8::jsonb, $9::float8, $10::bool) RETURNING id`

// querier is a connection or a pool.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func insert(c *check.Client, q querier, item check.Item) (id int64) {
	c.Must("insert", q.QueryRow(ctx, insertItem, item.Client, item.T, item.N, item.TS, item.B, item.A, item.TA, item.J, item.F, item.OK).Scan(&id))
	return id
}

func read(c *check.Client, q querier, id int64) (item check.Item) {
	var n pgtype.Numeric
	c.Must("select", q.QueryRow(ctx, "SELECT id, client, t, n, ts, b, a, ta, j, f, ok FROM public.items WHERE id = $1", id).
		Scan(&item.ID, &item.Client, &item.T, &n, &item.TS, &item.B, &item.A, &item.TA, &item.J, &item.F, &item.OK))
	if n.Valid {
		value, err := n.Value()
		c.Must("numeric", err)
		text := value.(string)
		item.N = &text
	}
	if item.TS != nil {
		utc := item.TS.UTC()
		item.TS = &utc
	}
	return item
}

// batch sends several statements at once; one fails, and those behind it are skipped.
func (s *session) batch(round int) {
	b := &pgx.Batch{}
	for i := range 5 {
		b.Queue("INSERT INTO ledger VALUES ($1, $2, $3)", s.ID, -round-1, fmt.Sprint("batch ", i))
		b.Queue("SELECT count(*)::int FROM ledger WHERE client = $1 AND round = $2", s.ID, -round-1)
	}
	results := s.conn.SendBatch(ctx, b)
	for i := range 5 {
		_, err := results.Exec()
		s.Must("insert in a batch", err)
		var count int
		s.Must("count in a batch", results.QueryRow().Scan(&count))
		s.Equal("rows in a batch", count, i+1)
	}
	s.Must("close the batch", results.Close())

	failing := &pgx.Batch{}
	failing.Queue("SELECT $1::int", round)
	failing.Queue("SELECT 1 / $1::int", 0)
	failing.Queue("SELECT $1::int", round)
	s.Equal("SQLSTATE of a failing batch", sqlState(s.conn.SendBatch(ctx, failing).Close()), "22012")
}

// pipeline prepares, runs and closes a statement of its own in one write, with two Syncs.
func (s *session) pipeline(round int) {
	p := s.conn.PgConn().StartPipeline(ctx)
	p.SendPrepare("piped", "SELECT $1::text || current_setting('drivers.me')", nil)
	for i := range 3 {
		p.SendQueryPrepared("piped", [][]byte{fmt.Append(nil, round, i, " ")}, nil, nil)
	}
	s.Must("sync", p.Sync())
	p.SendQueryParams("SELECT 1 / $1::int", [][]byte{[]byte("0")}, nil, nil, nil)
	p.SendQueryPrepared("piped", [][]byte{[]byte("skipped")}, nil, nil)
	s.Must("sync", p.Sync())
	p.SendDeallocate("piped")
	s.Must("sync", p.Sync())

	var got []string
	for {
		result, err := p.GetResults()
		if err != nil {
			got = append(got, sqlState(err))
			continue
		}
		if result == nil {
			break
		}
		got = append(got, s.describe(result))
	}
	s.Must("close the pipeline", p.Close())
	want := []string{"prepared"}
	for i := range 3 {
		want = append(want, string(fmt.Append(nil, round, i, " "))+s.want.me)
	}
	want = append(want, "sync", "22012", "sync", "closed", "sync")
	s.Equal("answers of a pipeline", got, want)
}

// copy loads rows and reads them back, both by COPY.
func (s *session) copy(round int) {
	s.exec("DELETE FROM ledger WHERE client = $1 AND round = 999", s.ID)
	rows := [][]any{}
	for i := range 200 {
		rows = append(rows, []any{s.ID, 999, fmt.Sprintf("tab\t\\ line\n%d/%d/%d", s.ID, round, i)})
	}
	n, err := s.conn.CopyFrom(ctx, pgx.Identifier{"ledger"}, []string{"client", "round", "what"}, pgx.CopyFromRows(rows))
	s.Must("copy in", err)
	s.Equal("rows copied in", n, int64(200))
	var out bytes.Buffer
	tag, err := s.conn.PgConn().CopyTo(ctx, &out, fmt.Sprintf("COPY (SELECT what FROM ledger WHERE client = %d AND round = 999) TO STDOUT", s.ID))
	s.Must("copy out", err)
	s.Equal("rows copied out", tag.RowsAffected(), int64(200))
	s.Equal("lines copied out", bytes.Count(out.Bytes(), fmt.Appendf(nil, "line\\n%d/%d/", s.ID, round)), 200)
}

// listen waits for its own message: another client may be kept waiting for a server session.
func (s *session) listen(round int) {
	channel, payload := fmt.Sprint("channel_", s.ID), fmt.Sprint("message of round ", round)
	s.exec("LISTEN " + channel)
	s.exec("SELECT pg_notify($1, $2)", channel, payload)
	limited, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	got, err := s.conn.WaitForNotification(limited)
	s.Must("notification", err)
	s.Equal("notification", []string{got.Channel, got.Payload}, []string{channel, payload})
	s.exec("UNLISTEN *")
}

// pool is shared by all clients, as a program would do it.
var pool = func() *pgxpool.Pool {
	config, err := pgxpool.ParseConfig("pool_max_conns=5")
	if err != nil {
		panic(err)
	}
	config.ConnConfig.RuntimeParams["application_name"] = "pgxpool"
	p, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		panic(err)
	}
	return p
}()

func poolRounds(c *check.Client, first, last int) {
	for round := first; round < last; round++ {
		c.At("round %d, pgxpool", round)
		want := check.NewItem(c.ID, round)
		want.ID = insert(c, pool, want)
		c.Equal("item", read(c, pool, want.ID), want)
		var app string
		c.Must("transaction", pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL application_name = 'in a transaction'"); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "SHOW application_name").Scan(&app)
		}))
		c.Equal("application_name in a transaction", app, "in a transaction")
		c.Must("application_name", pool.QueryRow(ctx, "SHOW application_name").Scan(&app))
		c.Equal("application_name after it", app, "pgxpool")
	}
}

func (s *session) describe(result any) string {
	switch result := result.(type) {
	case *pgconn.StatementDescription:
		return "prepared"
	case *pgconn.ResultReader:
		read := result.Read()
		if read.Err != nil {
			return sqlState(read.Err)
		}
		return string(read.Rows[0][0])
	case *pgconn.PipelineSync:
		return "sync"
	case *pgconn.CloseComplete:
		return "closed"
	default:
		return fmt.Sprintf("%T", result)
	}
}
