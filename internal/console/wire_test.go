package console

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	_ "github.com/jackc/pgx/v5/stdlib"

	"pooler/frontend"
)

func TestTheGreetingSatisfiesDrivers(t *testing.T) {
	conn := startBench(t).connect(t, nil)
	for name, want := range map[string]string{
		"server_version": "14.0 (pooler 1.2.3)", "client_encoding": "UTF8", "server_encoding": "UTF8", "DateStyle": "ISO, MDY",
		"TimeZone": "UTC", "integer_datetimes": "on", "standard_conforming_strings": "on", "is_superuser": "on",
		"session_authorization": "admin", "application_name": "test", "default_transaction_read_only": "off", "in_hot_standby": "off",
		"IntervalStyle": "postgres",
	} {
		if got := conn.PgConn().ParameterStatus(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if pid := conn.PgConn().PID(); pid != 42 {
		t.Errorf("process id %d", pid)
	}
}

func TestEveryQueryModeOfPgx(t *testing.T) {
	conn := startBench(t).connect(t, nil)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	} {
		for range 2 { // the second time from the cache
			rows, err := conn.Query(t.Context(), "SHOW clients WHERE port > $1 AND user <> $2 AND connect_time < $3 ORDER BY id LIMIT $4",
				mode, 1000, "carol", epoch.Add(90*time.Minute), 5)
			if err != nil {
				t.Fatalf("%v: %v", mode, err)
			}
			type client struct {
				ID              int64
				User, Database  string
				Port            *int32
				Paused          *bool
				Load            *float64
				Bytes           *float64
				ConnectTime     *time.Time
				ApplicationName *string
			}
			list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[client])
			if err != nil || len(list) != 2 {
				t.Fatalf("%v: %d rows, %v", mode, len(list), err)
			}
			b := list[1]
			if b.ID != 2 || b.User != "bob" || *b.Port != 6432 || *b.Paused || *b.Load != 1.25 || *b.Bytes != 7 ||
				!b.ConnectTime.Equal(epoch.Add(time.Hour)) || *b.ApplicationName != `evil\x1b[31m\n` {
				t.Errorf("%v: %+v", mode, b)
			}
		}
		if tag, err := conn.Exec(t.Context(), "PAUSE app", mode); err != nil || tag.String() != "PAUSE" {
			t.Errorf("%v: PAUSE: %v, %v", mode, tag, err)
		}
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT $1::int", mode, 7).Scan(&n); err != nil || n != 7 {
			t.Errorf("%v: SELECT $1: %d, %v", mode, n, err)
		}
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if _, err := conn.Prepare(t.Context(), "mine", "SHOW many LIMIT 1"); err != nil {
		t.Errorf("prepare: %v", err)
	}
	if err := conn.DeallocateAll(t.Context()); err != nil {
		t.Errorf("deallocate all: %v", err)
	}
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"x"}, []string{"a"}, pgx.CopyFromRows([][]any{{1}})); sqlState(err) == "" {
		t.Errorf("copy: %v", err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("ping after a copy: %v", err)
	}
}

func TestTransactionsOfDatabaseSQL(t *testing.T) {
	b := startBench(t)
	db, err := sql.Open("pgx", b.dsn())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT n FROM many WHERE n = $1", 5).Scan(&n); err != nil || n != 5 {
		t.Errorf("%d, %v", n, err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

func ask(text string) pgproto3.FrontendMessage { return &pgproto3.Query{String: text} }

func TestConversations(t *testing.T) {
	parse := func(name, text string) pgproto3.FrontendMessage { return &pgproto3.Parse{Name: name, Query: text} }
	bind := func(portal, name string, args ...string) pgproto3.FrontendMessage {
		b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
		for _, a := range args {
			b.Parameters = append(b.Parameters, []byte(a))
		}
		return b
	}
	execute := func(portal string, rows uint32) pgproto3.FrontendMessage {
		return &pgproto3.Execute{Portal: portal, MaxRows: rows}
	}
	describe := func(kind byte, name string) pgproto3.FrontendMessage {
		return &pgproto3.Describe{ObjectType: kind, Name: name}
	}
	sync := &pgproto3.Sync{}
	for _, tt := range []struct {
		name string
		send []pgproto3.FrontendMessage
		want string
	}{
		{"an empty query", []pgproto3.FrontendMessage{ask(" -- nothing")}, "I ZI"},
		{
			"several statements, an error skips the rest",
			[]pgproto3.FrontendMessage{ask("SELECT 1; SHOW many LIMIT 1; SHOW nonsense; SELECT 2")},
			"T ?column?:23:0 D1 C SELECT 1 T n:23:0 D0 C SHOW E42P01@35 ZI",
		},
		{"a syntax error lets nothing run", []pgproto3.FrontendMessage{ask("SELECT 1; nonsense")}, "E42601@11 ZI"},
		{
			"a view that panics, fails or lies",
			[]pgproto3.FrontendMessage{ask("SHOW broken"), ask("SHOW failing"), ask("SHOW wrong")},
			"EXX000@0 ZI E58000@0 ZI EXX000@0 ZI",
		},
		{
			"a command that panics or refuses",
			[]pgproto3.FrontendMessage{ask("RELOAD"), ask("ENABLE x")},
			"EXX000@0 ZI E3D000@0 ZI",
		},
		{
			"a transaction",
			[]pgproto3.FrontendMessage{ask("BEGIN"), ask("SELECT 1"), ask("COMMIT")},
			"C BEGIN ZT T ?column?:23:0 D1 C SELECT 1 ZT C COMMIT ZI",
		},
		{
			"a failed transaction",
			[]pgproto3.FrontendMessage{
				ask("BEGIN"), ask("SHOW nonsense"), ask("SELECT 1"), ask("BEGIN"), ask("COMMIT"),
			},
			"C BEGIN ZT E42P01@6 ZE E25P02@0 ZE E25P02@0 ZE C ROLLBACK ZI",
		},
		{
			"transactions that are none",
			[]pgproto3.FrontendMessage{ask("COMMIT"), ask("BEGIN"), ask("BEGIN"), ask("ROLLBACK")},
			"N25P01 C COMMIT ZI C BEGIN ZT N25001 C BEGIN ZT C ROLLBACK ZI",
		},
		{
			"parameters of the session",
			[]pgproto3.FrontendMessage{
				ask("SET extra_float_digits = 3"), ask("SET application_name TO 'x\ty'"), ask("SHOW application_name"),
				ask("SET client_encoding = 'LATIN1'"), ask("SET server_version = 1"), ask("SET SESSION nonsense = 1"),
				ask("RESET application_name"), ask("SET NAMES 'utf-8'"),
			},
			`C SET ZI S application_name=x\ty C SET ZI T application_name:25:0 Dx\ty C SHOW ZI E22023@23 ZI E55P02@5 ZI E42704@13 ZI ` +
				"S application_name=raw C RESET ZI S client_encoding=UTF8 C SET ZI",
		},
		{
			"SET LOCAL is forgotten, DISCARD ALL resets",
			[]pgproto3.FrontendMessage{
				ask("SET LOCAL work_mem = '1GB'"), ask("SHOW work_mem"), ask("SET jit = on"), ask("DISCARD ALL"), ask("SHOW jit"),
			},
			"C SET ZI T work_mem:25:0 D4MB C SHOW ZI C SET ZI C DISCARD ALL ZI T jit:25:0 Doff C SHOW ZI",
		},
		{
			"what drivers tidy up with",
			[]pgproto3.FrontendMessage{
				ask("CLOSE ALL; UNLISTEN *; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; SELECT pg_advisory_unlock_all(); DISCARD TEMP"),
			},
			"C CLOSE CURSOR ALL C UNLISTEN C SET C RESET T pg_advisory_unlock_all:25:0 D C SELECT 1 C DISCARD TEMP ZI",
		},
		{
			"the extended protocol, described",
			[]pgproto3.FrontendMessage{
				parse("s", "SELECT id, user FROM clients WHERE port > $1 AND user = $2 LIMIT $3"), describe('S', "s"),
				bind("p", "s", "100", "bob", "1"), describe('P', "p"), execute("p", 0), sync,
			},
			"1 t[20 25 20] T id:20:0 user:25:0 2 T id:20:0 user:25:0 D2,bob C SELECT 1 ZI",
		},
		{
			"a portal in parts",
			[]pgproto3.FrontendMessage{
				parse("", "SHOW many WHERE n < 5"), bind("", ""), execute("", 2), execute("", 2), execute("", 2), execute("", 2), sync,
			},
			"1 2 D0 D1 s D2 D3 s D4 C SHOW C SHOW ZI",
		},
		{
			"portals end with Sync outside of a transaction",
			[]pgproto3.FrontendMessage{
				parse("", "SHOW many LIMIT 2"), bind("p", ""), execute("p", 1), sync, execute("p", 1), sync,
			},
			"1 2 D0 s ZI E34000@0 ZI",
		},
		{
			"and last until its end within one",
			[]pgproto3.FrontendMessage{
				ask("BEGIN"), parse("x", "SHOW many LIMIT 2"), bind("p", "x"), execute("p", 1), sync, execute("p", 1), sync,
				ask("COMMIT"), execute("p", 1), sync,
			},
			"C BEGIN ZT 1 2 D0 s ZT D1 C SHOW ZT C COMMIT ZI E34000@0 ZI",
		},
		{
			"an error skips to Sync",
			[]pgproto3.FrontendMessage{
				parse("", "SHOW nonsense"), bind("", ""), execute("", 0), &pgproto3.Close{ObjectType: 'S'}, sync, ask("SELECT 1"),
			},
			"E42P01@6 ZI T ?column?:23:0 D1 C SELECT 1 ZI",
		},
		{
			"an empty statement",
			[]pgproto3.FrontendMessage{parse("", ";"), describe('S', ""), bind("", ""), execute("", 0), sync},
			"1 t[] n 2 I ZI",
		},
		{
			"a command by the extended protocol",
			[]pgproto3.FrontendMessage{
				parse("", "PAUSE app"), describe('S', ""), bind("", ""), execute("", 0), execute("", 0), sync,
			},
			"1 t[] n 2 C PAUSE E55000@0 ZI",
		},
		{
			"a command with rows",
			[]pgproto3.FrontendMessage{
				parse("", "KILL IDLE DRY RUN"), describe('S', ""), bind("", ""), execute("", 0), sync,
			},
			`1 t[] T id:20:0 database:25:0 user:25:0 application_name:25:0 addr:25:0 idle_seconds:701:0 pinned:25:0 killed:16:0 2 ` +
				`D7,app,bob,x\ty,10.0.0.1,2.5,,f C KILL IDLE 1 ZI`,
		},
		{"names that are taken or unknown", []pgproto3.FrontendMessage{
			parse("n", "SELECT 1"), parse("n", "SELECT 2"), sync, bind("", "unknown"), sync, describe('S', "unknown"), sync,
			describe('P', "unknown"), sync, &pgproto3.Close{ObjectType: 'S', Name: "n"}, &pgproto3.Close{ObjectType: 'P', Name: "n"}, parse("n", "SELECT 3"), sync,
		}, "1 E42P05@0 ZI E26000@0 ZI E26000@0 ZI E34000@0 ZI 3 3 1 ZI"},
		{"several statements cannot be prepared", []pgproto3.FrontendMessage{parse("", "SELECT 1; SELECT 2"), sync}, "E42601@0 ZI"},
		{"too few parameters", []pgproto3.FrontendMessage{parse("", "SELECT $1"), bind("", ""), sync}, "1 E08P01@0 ZI"},
		{
			"a parameter that cannot be read",
			[]pgproto3.FrontendMessage{
				parse("", "SHOW many WHERE n = $1"), bind("", "", "x"), sync,
			},
			"1 E22P02@0 ZI",
		},
		{
			"a declared text that is compared with a number",
			[]pgproto3.FrontendMessage{
				&pgproto3.Parse{Query: "SHOW many WHERE n = $1", ParameterOIDs: []uint32{25}}, bind("", "", "x"), sync,
				bind("", "", "3"), execute("", 0), sync,
			},
			"1 E22P02@21 ZI 2 D3 C SHOW ZI",
		},
		{"a type that nothing has", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT $1", ParameterOIDs: []uint32{600}}, sync}, "E42P18@0 ZI"},
		{"a function call", []pgproto3.FrontendMessage{&pgproto3.FunctionCall{}}, "E0A000@0 ZI"},
		{"stray copy messages", []pgproto3.FrontendMessage{&pgproto3.CopyFail{}, &pgproto3.CopyDone{}, ask("SELECT 1 AS a")}, "T a:23:0 D1 C SELECT 1 ZI"},
		{
			"deallocate",
			[]pgproto3.FrontendMessage{parse("d", "SELECT 1"), sync, ask("DEALLOCATE d"), ask("DEALLOCATE PREPARE d")},
			"1 ZI C DEALLOCATE ZI E26000@20 ZI",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startBench(t).raw(t)
			if got := strings.Join(c.play(tt.send...), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := strings.Join(c.play(ask("SELECT 'alive' AS a")), " "); !strings.HasPrefix(got, "T a:25:0 Dalive") && !strings.HasPrefix(got, "E25P02") {
				t.Errorf("afterwards: %s", got)
			}
		})
	}
}

func TestTheColumnsOfAPreparedStatementStay(t *testing.T) {
	conn := startBench(t).connect(t, nil)
	d, err := conn.Prepare(t.Context(), "s", "SHOW clients")
	if err != nil || len(d.Fields) != 9 {
		t.Fatalf("%v, %v", d, err)
	}
	for _, f := range d.Fields {
		if f.DataTypeSize != typeInfos[slices.IndexFunc(typeInfos[:], func(i typeInfo) bool { return i.oid == f.DataTypeOID })].size {
			t.Errorf("%s has size %d", f.Name, f.DataTypeSize)
		}
	}
	if d.Fields[8].DataTypeOID != 25 || d.Fields[7].DataTypeOID != 1184 {
		t.Errorf("%v", d.Fields)
	}
}

func TestRightsAreCheckedForEachCommand(t *testing.T) {
	b := startBench(t)
	b.setRight(frontend.RightLook)
	conn := b.connect(t, nil)
	if got := conn.PgConn().ParameterStatus("is_superuser"); got != "off" {
		t.Errorf("is_superuser %s", got)
	}
	for _, text := range []string{"PAUSE", "SET default_pool_size = 1", "KILL IDLE", "SHUTDOWN", "ALTER POOL x SET y = 1"} {
		_, err := conn.Exec(t.Context(), text)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "42501" || pgErr.Hint == "" {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"SHOW clients", "KILL IDLE DRY RUN", "SET application_name = x"} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	b.setRight(frontend.RightNone)
	if _, err := conn.Exec(t.Context(), "SHOW clients"); sqlState(err) != "42501" {
		t.Errorf("without any right: %v", err)
	}
	b.setRight(frontend.RightChange)
	if _, err := conn.Exec(t.Context(), "PAUSE"); err != nil {
		t.Errorf("with the right: %v", err)
	}
	if got := strings.Join(b.exec.commands(), ", "); got != "KILL IDLE DRY RUN, PAUSE" {
		t.Errorf("carried out: %s", got)
	}
}

func TestChangesAreLogged(t *testing.T) {
	b := startBench(t)
	conn := b.connect(t, nil)
	for _, text := range []string{"SET users.x.password = 'geheim'", "pause\tapp", "ENABLE x", "KILL IDLE DRY RUN", "SHOW many"} {
		_, _ = conn.Exec(t.Context(), text)
	}
	log := b.log.String()
	for _, want := range []string{
		`command="SET users.x.password = '***'" outcome=done`, `command="PAUSE app" outcome=done`, `command="ENABLE x" outcome=failed error=`,
		"user=admin", "remote=192.0.2.1:999", "application_name=test", "database=pooler",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log", want)
		}
	}
	if n := strings.Count(log, "console command"); n != 3 || strings.Contains(log, "geheim") {
		t.Errorf("%d lines", n)
	}
}

func TestHelpIsANoticeAndATable(t *testing.T) {
	var notices []*pgconn.Notice
	conn := startBench(t).connect(t, &notices)
	for i, text := range []string{"SHOW HELP", "SHOW"} {
		rows, err := conn.Query(t.Context(), text, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		if want := len(fakeViews()) + 1 + len(syntaxes); n != want || rows.Err() != nil {
			t.Errorf("%s: %d rows, want %d, %v", text, n, want, rows.Err())
		}
		if len(notices) != i+1 || !strings.Contains(notices[i].Detail, "KILL IDLE") || strings.Contains(notices[i].Detail, "\t") {
			t.Errorf("%s: notices %v", text, notices)
		}
	}
}

func TestACommandIsCanceled(t *testing.T) {
	b := startBench(t)
	c := b.raw(t)
	b.interrupt <- struct{}{} // comes too late for the login: means nothing
	c.Send(ask("PAUSE hang; SELECT 1"))
	c.flush()
	if got := c.until('N'); len(got) != 1 {
		t.Errorf("before the notice: %v", got)
	}
	<-b.exec.pausing
	c.Send(ask("SELECT 2")) // is not lost
	c.flush()
	b.interrupt <- struct{}{}
	got := strings.Join(append(c.until('Z'), c.until('Z')...), " ")
	if want := "E57014@0 ZI T ?column?:23:0 D2 C SELECT 1 ZI"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAClientThatHangsUpEndsItsCommand(t *testing.T) {
	b := startBench(t)
	c := b.raw(t)
	c.Send(ask("PAUSE hang"))
	c.Send(&pgproto3.Terminate{})
	c.flush()
	<-b.exec.pausing
	_ = c.conn.Close()
	<-b.ended
}

func TestAfterACancelNothingMoreOfATextBegins(t *testing.T) {
	b := startBench(t)
	c := b.raw(t)
	c.Send(ask("PAUSE stubborn; PAUSE after; SELECT 1"))
	c.flush()
	<-b.exec.pausing
	b.interrupt <- struct{}{}
	if got := strings.Join(c.until('Z'), " "); got != "C PAUSE E57014@0 ZI" {
		t.Errorf("got %s", got)
	}
	c.Send(ask("PAUSE stubborn; PAUSE after"))
	c.flush()
	<-b.exec.pausing
	_ = c.conn.Close()
	<-b.ended
	if got := strings.Join(b.exec.commands(), ", "); got != "PAUSE stubborn, PAUSE stubborn" {
		t.Errorf("carried out: %s", got)
	}
}

func TestAnswersAreSentWhenTheyAreManyAlsoWithoutSync(t *testing.T) {
	c := startBench(t).raw(t)
	c.Send(&pgproto3.Parse{Name: "s", Query: "SHOW clients"})
	for range 1000 {
		c.Send(&pgproto3.Describe{ObjectType: 'S', Name: "s"})
	}
	c.flush()
	c.until('T')
}

func TestAPortalKeepsOnlyWhatItHasNotSent(t *testing.T) {
	s := offline()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.parse(&pgproto3.Parse{Query: "SELECT n" + strings.Repeat(", n", maxColumns-1) + " FROM many WHERE n < 500"}))
	must(s.bind(&pgproto3.Bind{DestinationPortal: "p"}))
	for want := 400; want >= 0; want -= 100 {
		must(s.executePortal(&pgproto3.Execute{Portal: "p", MaxRows: 100}))
		if got := s.keptCells(); got != want {
			t.Fatalf("%d values are kept, want %d", got, want)
		}
	}
	if po := s.portals["p"]; !po.done || po.out.rows != nil {
		t.Errorf("%+v", po.out)
	}
}

func TestAPortalDoesNotHoldASnapshotByItsLastRow(t *testing.T) {
	s := offline()
	snapshot := make([]any, 3) // in one piece
	s.console.byName["one_piece"] = &View{Columns: []Column{{"n", Int4}}, Rows: func(context.Context) ([][]any, error) {
		return [][]any{snapshot[:1], snapshot[1:2], snapshot[2:]}, nil
	}}
	err := errors.Join(s.parse(&pgproto3.Parse{Query: "SHOW one_piece LIMIT 2"}), s.bind(&pgproto3.Bind{}), s.executePortal(&pgproto3.Execute{MaxRows: 1}))
	if err != nil {
		t.Fatal(err)
	}
	if rows := s.portals[""].out.rows; len(rows) != 1 || &rows[0][0] == &snapshot[1] {
		t.Errorf("%d rows, the last one the snapshot's", len(rows))
	}
}

func TestWhatPortalsKeepIsBounded(t *testing.T) {
	s := offline()
	s.console.byName["large"] = &View{Name: "large", Columns: make([]Column, 1000), Rows: func(context.Context) ([][]any, error) {
		rows := make([][]any, maxCells/1000/2+1)
		for i := range rows {
			rows[i] = make([]any, 1000)
		}
		return rows, nil
	}}
	var errs []error
	for _, name := range []string{"a", "b"} {
		errs = append(errs, s.parse(&pgproto3.Parse{Query: "SHOW large"}), s.bind(&pgproto3.Bind{DestinationPortal: name}),
			s.executePortal(&pgproto3.Execute{Portal: name, MaxRows: 1}))
	}
	var fault *Error
	if err := errors.Join(errs[:5]...); err != nil || !errors.As(errs[5], &fault) || fault.Code != "54000" || fault.Hint == "" {
		t.Errorf("%v, then %v", err, errs[5])
	}
}

func TestShortTextsAndLongParametersAreBounded(t *testing.T) {
	var fault *Error
	limited := func(f func(name string) error) (n int) {
		for n < maxPortals {
			if err := f(fmt.Sprint(n)); err != nil {
				if !errors.As(err, &fault) || fault.Code != "54000" {
					t.Fatalf("%d: %v", n, err)
				}
				break
			}
			n++
		}
		return n
	}
	s := offline()
	if n := limited(func(name string) error { return s.parse(&pgproto3.Parse{Name: name, Query: "SELECT $65535"}) }); n != 3 {
		t.Errorf("%d statements with many parameters", n)
	}
	s.forgetAll()
	if n := limited(func(name string) error {
		return s.parse(&pgproto3.Parse{Name: name, Query: "SELECT n" + strings.Repeat(",n", maxColumns-1) + " FROM many"})
	}); n != 24 {
		t.Errorf("%d statements with many columns", n)
	}
	s.forgetAll()
	if err := s.parse(&pgproto3.Parse{Query: "SELECT $1"}); err != nil {
		t.Fatal(err)
	}
	long := [][]byte{bytes.Repeat([]byte("x"), maxMessage/2)}
	if n := limited(func(name string) error { return s.bind(&pgproto3.Bind{DestinationPortal: name, Parameters: long}) }); n != 7 {
		t.Errorf("%d portals with a long parameter", n)
	}
}

// panicky is a connection that panics when its deadline is set for the first time.
type panicky struct {
	net.Conn
	done bool
}

func (c *panicky) SetWriteDeadline(d time.Time) error {
	if !c.done {
		c.done = true
		panic("a bug")
	}
	return c.Conn.SetWriteDeadline(d)
}

func TestAPanicIsToldAndGoesOn(t *testing.T) {
	conn, other := net.Pipe()
	defer func() { _ = other.Close() }()
	told := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(other)
		told <- b
	}()
	func() {
		defer func() {
			if r := recover(); r != "a bug" {
				t.Errorf("recovered %v", r)
			}
			_ = conn.Close()
		}()
		New("1.2.3", nil, &fakeExecutor{}, slog.New(slog.DiscardHandler)).Serve(t.Context(), &frontend.Admin{
			Conn: &panicky{Conn: conn}, User: "admin", Right: func() frontend.Right { return frontend.RightLook },
		})
	}()
	if b := <-told; !bytes.Contains(b, []byte("SFATAL\x00VFATAL\x00CXX000\x00Minternal error\x00")) {
		t.Errorf("told %q", b)
	}
}

func TestTheEndOfThePooler(t *testing.T) {
	for _, tt := range []struct {
		name string
		send string
	}{{name: "while nothing runs"}, {name: "while a command runs", send: "PAUSE hang"}} {
		t.Run(tt.name, func(t *testing.T) {
			b := startBench(t)
			c := b.raw(t)
			if tt.send != "" {
				c.Send(ask(tt.send))
				c.flush()
				<-b.exec.pausing
				c.until('N')
			}
			b.end()
			if got := strings.Join(c.until('E'), " "); got != "E57P01@0" {
				t.Errorf("got %s", got)
			}
			if _, err := c.Receive(); err == nil {
				t.Error("the connection stays open")
			}
			<-b.ended
		})
	}
}

func TestConversationsThatCannotGoOn(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []byte
		want string
	}{
		{"a message that is too long", []byte{'Q', 0, 0x20, 0, 0}, "E54000@0"},
		{"a message of an unknown kind", []byte{'?', 0, 0, 0, 4}, "E08P01@0"},
		{"a message without its end", []byte{'Q', 0, 0, 0, 5, 'x'}, "E08P01@0"},
		{"a length that cannot be", []byte{'Q', 0, 0, 0, 1}, "E08P01@0"},
		{"a password", []byte{'p', 0, 0, 0, 5, 0}, "E08P01@0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startBench(t)
			c := b.raw(t)
			if _, err := c.conn.Write(tt.send); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(c.until('E'), " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			<-b.ended
		})
	}
}

func TestStatementsAndPortalsAreBounded(t *testing.T) {
	c := startBench(t).raw(t)
	for range maxPrepared {
		c.Send(&pgproto3.Parse{Name: "s", Query: "SELECT 1"})
		c.Send(&pgproto3.Close{ObjectType: 'S', Name: "s"})
	}
	c.play(&pgproto3.Sync{})
	var messages []pgproto3.FrontendMessage
	for i := range maxPrepared + 1 {
		messages = append(messages, &pgproto3.Parse{Name: strings.Repeat("n", i+1), Query: "SELECT 1"})
	}
	got := c.play(append(messages, &pgproto3.Sync{})...)
	if n := len(got); n != maxPrepared+2 || got[n-2] != "E54000@0" {
		t.Errorf("%d answers, then %s", n, got[n-2])
	}
	messages = nil
	for i := range maxPortals + 1 {
		messages = append(messages, &pgproto3.Bind{DestinationPortal: strings.Repeat("p", i+1), PreparedStatement: "n"})
	}
	got = c.play(append(messages, &pgproto3.Sync{})...)
	if n := len(got); n != maxPortals+2 || got[n-2] != "E54000@0" {
		t.Errorf("%d answers, then %s", n, got[n-2])
	}
}

func TestPsql(t *testing.T) {
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Fatal("psql is needed:", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-X", "-d", startBench(t).dsn())
	cmd.Stdin = strings.NewReader("SHOW clients id, user LIMIT 1;\n\\x\nSHOW clients id, user LIMIT 1;\n\\x\nSELECT 1 AS one \\gx\nSHOW nonsense;\nPAUSE app;\n\\d\n\\d clients\n\\l\n\\du\n\\dn\n\\df\n\\db\n\\dx\n")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{
		" id | user  \n", "  1 | alice\n(1 row)", "-[ RECORD 1 ]", "one | 1", `ERROR:  there is no view "nonsense" to show`, "LINE 1: SHOW nonsense;", "PAUSE",
		"ERROR:  this is the pooler's console, not a database: it has no n.nspname\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "ERROR:  this is the pooler's console, not a database: "); n != 8 {
		t.Errorf("%d of 8 commands for databases came to that error:\n%s", n, text)
	}
	if strings.Contains(text, "WARNING") {
		t.Errorf("psql warns:\n%s", text)
	}
}

// garbage is a valid statement that was spoiled.
func garbage(rnd *rand.Rand) string {
	const letters = "abz_09 '\"()$,;.*=<>-+/\\%:\n\tü€"
	text := []rune(seeds[rnd.IntN(len(seeds))])
	other := []rune(seeds[rnd.IntN(len(seeds))])
	alphabet := []rune(letters)
	for range 1 + rnd.IntN(4) {
		i := rnd.IntN(len(text) + 1)
		switch rnd.IntN(5) {
		case 0:
			text = slices.Insert(text, i, alphabet[rnd.IntN(len(alphabet))])
		case 1:
			text = slices.Delete(text, i, min(len(text), i+rnd.IntN(6)))
		case 2:
			text = append(text[:i:i], other[rnd.IntN(len(other)):]...)
		case 3:
			if i < len(text) {
				text[i] = alphabet[rnd.IntN(len(alphabet))]
			}
		case 4:
			text = append(text, text[:i]...)
		}
		if len(text) > 400 {
			text = text[:400]
		}
	}
	return string(text)
}

func TestGarbageGetsAnErrorAndTheConnectionLives(t *testing.T) {
	b := startBench(t)
	c := b.raw(t)
	rnd := rand.New(rand.NewPCG(5, 5))
	const lines, batch = 10_000, 100
	for range lines / batch {
		texts := make([]string, batch)
		for i := range texts {
			texts[i] = garbage(rnd)
		}
		sent := make(chan error)
		go func() { // while the answers are read
			for _, text := range texts {
				c.Send(ask(text))
			}
			sent <- c.Flush()
		}()
		for _, text := range texts {
			c.checkAnswer(text)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(c.play(ask("ROLLBACK; SELECT 'alive' AS a")), " "); !strings.Contains(got, "Dalive") {
		t.Errorf("afterwards: %s", got)
	}
}

// checkAnswer reads the answer to a text: results, or an error with SQLSTATE and position; in a failed transaction there is
// no position, nor if what is wrong is that prepared statements are asked for that do not exist.
func (c *rawClient) checkAnswer(text string) {
	for {
		m, err := c.Receive()
		if err != nil {
			c.t.Fatalf("%q: %v", text, err)
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			return
		case *pgproto3.ErrorResponse:
			fromExecutor := m.Code == "3D000" || m.Code == "XX000" && strings.Contains(strings.ToUpper(text), "RELOAD")
			if m.Code != "25P02" && m.Code != "25001" && !fromExecutor {
				checkError(c.t, text, &Error{Code: m.Code, Message: m.Message, Position: int(m.Position)})
			}
		}
	}
}
