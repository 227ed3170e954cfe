package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"pooler/frontend"
)

// deaf is a connection whose client says nothing, and hears all.
type deaf struct{ net.Conn }

func (deaf) Write(p []byte) (int, error)        { return len(p), nil }
func (deaf) SetWriteDeadline(_ time.Time) error { return nil }

// offline is a session without a conversation: statements can be given to it.
func offline() *session {
	c := New("1.2.3", fakeViews(), &fakeExecutor{}, slog.New(slog.DiscardHandler))
	s := newSession(c, &frontend.Admin{
		Conn: deaf{}, User: "admin", Database: "pooler", ID: 42, Right: func() frontend.Right { return frontend.RightChange },
	})
	s.ctx, s.in = context.Background(), &inbox{}
	return s
}

// rowsOf is the result of a query in text form, NULL as "-".
func rowsOf(t *testing.T, s *session, text string, p *params) ([][]string, error) {
	t.Helper()
	list, err := parse(text)
	if err != nil {
		return nil, err
	}
	q, ok := list[0].(*query)
	if !ok {
		t.Fatalf("%s: no query", text)
	}
	result, err := q.run(&request{ctx: t.Context(), session: s, params: p})
	var out [][]string
	for _, row := range result.rows {
		var line []string
		for i := range result.columns {
			v := result.value(row, i)
			if v == nil {
				line = append(line, "-")
				continue
			}
			line = append(line, string(s.encode(v, result.columns[i].Type, 0)))
			s.encode(v, result.columns[i].Type, 1) // must not panic
		}
		out = append(out, line)
	}
	return out, err
}

func TestFiltersAreThreeValued(t *testing.T) {
	for _, tt := range []struct{ where, want string }{
		{"true", "1 2 3 4"},
		{"null", ""},
		{"not null", ""},
		{"paused", "1 4"},
		{"not paused", "2"},
		{"paused is null", "3"},
		{"paused is not null", "1 2 4"},
		{"paused or id = 3", "1 3 4"},
		{"paused and id = 3", ""},
		{"not (paused and id = 3)", "1 2 4"},
		{"paused = 'yes'", "1 4"},
		{"paused = 0", "2"},
		{"port > 80", "1 2"},
		{"port >= '80'", "1 2 4"},
		{"port <> 80", "1 2"},
		{"port != 80.5", "1 2 4"},
		{"80 < port", "1 2"},
		{"port = null", ""},
		{"port in (80, 6432)", "2 4"},
		{"port in (80, null)", "4"},
		{"port not in (80, 6432)", "1"},
		{"port not in (80, null)", ""},
		{"5432 in (port, id)", "1"},
		{"port between 80 and 5432", "1 4"},
		{"port not between 80 and 5432", "2"},
		{"id between 2 and null", ""},
		{"not (id between 2 and null)", "1"},
		{"user = 'bob'", "2"},
		{"user > 'alice' and user < 'c'", "2"},
		{"user like 'a%'", "1"},
		{"user like '%o%'", "2 3"},
		{"user like '____'", "4"},
		{"user like 'd%'", ""},
		{"user ilike 'D%'", "4"},
		{"user not ilike 'D%'", "1 2 3"},
		{`database like '50\%\_off'`, "3"},
		{"database like '50%'", "3"},
		{"application_name like '%'", "1 2 4"},
		{"application_name not like '%q%'", "2 4"},
		{"application_name = ''", "4"},
		{"port like '5%'", "1"},
		{"load > 1", "2 4"},
		{"bytes > 9223372036854775807", "1"},
		{"bytes = 9223372036854775808", "1"},
		{"bytes = 9.5", "4"},
		{"load < id", "1 2 4"},
		{"connect_time > '2026-03-01 12:30'", "2 4"},
		{"connect_time > '2026-03-01T13:30:00+01:00'", "2 4"},
		{"connect_time = '2026-03-01 12:00:00Z'", "1"},
		{"connect_time < now() - '10 min'", "1 2 4"},
		{"connect_time < now() - interval '10 min'", "1 2 4"},
		{"connect_time > now() - interval '10 min'", ""},
		{"now() - connect_time > '1 hour'", "1 2 4"},
		{"connect_time + '1 hour' > '2026-03-01 13:30'", "2 4"},
		{"connect_time > null", ""},
		{"1 = 1 and 'a' < 'b' and 1 < 1.5 and '1' = 1", "1 2 3 4"},
		{"\"ID\" = 1 or ID = 2", "1 2"},
		{"id = 1 or id = 2 and id = 3", "1"},
		{"(id = 1 or id = 2) and not id = 2", "1"},
		{"user = current_user", ""},
		{"id::text = '2'", "2"},
		{"id = '2'::int", "2"},
		{"id = 8 / 4", "2"},
		{"id = -1 + 2 * 1", "1"},
	} {
		rows, err := rowsOf(t, offline(), "SHOW clients id WHERE "+tt.where, nil)
		var got []string
		for _, r := range rows {
			got = append(got, r...)
		}
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.where, got, err, tt.want)
		}
	}
}

func TestSelections(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"SHOW clients id, user LIMIT 1", "[[1 alice]]"},
		{"SHOW clients (user, id) LIMIT 1 OFFSET 1", "[[bob 2]]"},
		{"SHOW clients OFFSET 3", "[[4 Dave web 80 t 2 9.5 2026-03-01 14:00:00+00 ]]"},
		{"SHOW clients * LIMIT 1", "[[1 alice app 5432 t 0.5 9223372036854775808 2026-03-01 12:00:00+00 psql]]"},
		{"SHOW clients application_name WHERE id = 2", `[[evil\x1b[31m\n]]`},
		{"SHOW clients id ORDER BY port", "[[4] [1] [2] [3]]"},
		{"SHOW clients id ORDER BY port DESC", "[[3] [2] [1] [4]]"},
		{"SHOW clients id ORDER BY port DESC NULLS LAST, id", "[[2] [1] [4] [3]]"},
		{"SHOW clients id ORDER BY port NULLS FIRST LIMIT 2", "[[3] [4]]"},
		{"SHOW clients id ORDER BY database, id DESC", "[[3] [2] [1] [4]]"},
		{"SHOW clients id ORDER BY bytes", "[[2] [4] [1] [3]]"},
		{"SHOW clients id ORDER BY connect_time DESC NULLS LAST", "[[4] [2] [1] [3]]"},
		{"SHOW clients id ORDER BY 1 DESC", "[[4] [3] [2] [1]]"},
		{"SHOW clients id ORDER BY paused, id", "[[2] [1] [4] [3]]"},
		{"SELECT id AS x FROM clients ORDER BY x DESC LIMIT 1", "[[4]]"},
		{"SELECT * FROM many WHERE n < 3 ORDER BY n DESC LIMIT ALL", "[[2] [1] [0]]"},
		{"SELECT 1, 'a' AS x, null, true, 1.5, -2::bigint", "[[1 a - t 1.5 -2]]"},
		{"SELECT current_setting('server_version_num')::int/100 as version", "[[1400]]"},
		{"SELECT current_setting('nonsense', true)", "[[-]]"},
		{"SELECT current_user, session_user, current_database(), current_schema(), pg_backend_pid()", "[[admin admin pooler public 42]]"},
		{"SELECT version()", "[[PostgreSQL 14.0 (pooler 1.2.3), the admin console of pooler]]"},
		{"SELECT connect_time - timestamptz '2026-02-27 11:00', connect_time::text FROM clients LIMIT 1", "[[2 days 01:00:00 2026-03-01 12:00:00+00]]"},
		{"SELECT port::float8, id::numeric FROM clients LIMIT 1", "[[5432 1]]"},
		{"SELECT timestamptz '2026-01-01 00:00+02'", "[[2025-12-31 22:00:00+00]]"},
		{"SHOW server_version_num", "[[140000]]"},
		{"SHOW TRANSACTION ISOLATION LEVEL", "[[read committed]]"},
		{"show timezone", "[[UTC]]"},
		{"SHOW ALL WHERE name = 'DateStyle'", "[[DateStyle ISO, MDY a parameter of this session]]"},
		{"SHOW HELP name WHERE name LIKE 'KILL%'", "[[KILL] [KILL_CLIENT] [KILL IDLE]]"},
	} {
		rows, err := rowsOf(t, offline(), tt.text, nil)
		if got := fmt.Sprint(rows); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestResultsAreNamedAndTyped(t *testing.T) {
	list, err := parse(`SELECT id, "PORT" AS p, 1, 'x', 1::int, now(), current_user, load::text, 3000000000, 1.5 FROM clients`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := list[0].columns(offline(), nil)
	want := []Column{
		{"id", Int8},
		{"p", Int4},
		{"?column?", Int4},
		{"?column?", Text},
		{"int4", Int4},
		{"now", Timestamp},
		{"current_user", Text},
		{"load", Text},
		{"?column?", Int8},
		{"?column?", Numeric},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestQueriesThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		text, code string
		position   int
		hint       string
	}{
		{"SHOW client", "42P01", 6, `Perhaps you meant "clients"`},
		{"SHOW nonsense", "42P01", 6, "SHOW HELP"},
		{"SELECT * FROM pg_class", "42P01", 15, "not a database"},
		{"SHOW clients prot", "42703", 14, `Perhaps you meant "port"`},
		{"SHOW clients WHERE zzz = 1", "42703", 20, "The columns are id, user"},
		{"SHOW clients WHERE \"current_user\" = 1", "42703", 20, ""},
		{"SELECT foo", "42703", 8, "not a database"},
		{"SELECT *", "42601", 8, ""},
		{"SHOW clients WHERE port = 'x'", "22P02", 27, ""},
		{"SHOW clients WHERE port IN (1, 'x')", "22P02", 32, ""},
		{"SHOW clients WHERE connect_time > 'yesterday-ish'", "22P02", 35, ""},
		{"SHOW clients WHERE connect_time > now() - 'ages'", "22P02", 43, ""},
		{"SHOW clients WHERE connect_time > 5", "22P02", 35, ""},
		{"SHOW clients WHERE paused = 'maybe'", "22P02", 29, ""},
		{"SHOW clients WHERE port = user", "42883", 25, ""},
		{"SHOW clients WHERE port", "42804", 20, ""},
		{"SHOW clients WHERE port AND paused", "42804", 20, ""},
		{"SHOW clients WHERE NOT user", "42804", 24, ""},
		{"SHOW clients WHERE user LIKE database", "0A000", 30, ""},
		{`SHOW clients WHERE user LIKE 'x\'`, "22025", 30, ""},
		{"SHOW clients WHERE port + 1 = 2", "0A000", 25, ""},
		{"SHOW clients WHERE user + 1 = 2", "42883", 25, ""},
		{"SHOW clients WHERE id = $1", "42P02", 25, ""},
		{"SHOW clients WHERE (id, port)", "42601", 20, ""},
		{"SHOW clients ORDER BY 10", "42703", 23, ""},
		{"SHOW clients ORDER BY 'id'", "42703", 23, ""},
		{"SHOW clients LIMIT -1", "2201W", 20, ""},
		{"SHOW clients OFFSET -1", "2201X", 21, ""},
		{"SHOW clients LIMIT 'x'", "22P02", 20, ""},
		{"SHOW clients LIMIT id", "42601", 20, ""},
		{"SELECT 1/0", "22012", 9, ""},
		{"SELECT 2147483647 + 1", "22003", 19, ""},
		{"SELECT 9223372036854775807 * 2", "22003", 28, ""},
		{"SELECT 99999999999::int", "22003", 8, ""},
		{"SELECT port::bool FROM clients", "42846", 12, ""},
		{"SELECT user::int FROM clients", "42846", 12, ""},
		{"SELECT sleep(1)", "42883", 8, "not a database"},
		{"SELECT current_setting('x')", "42704", 24, ""},
		{"SHOW clients WHERE " + strings.Repeat("a.", 3), "0A000", 20, ""},
		{"SHOW clients WHERE user LIKE '" + strings.Repeat("x", 1001) + "'", "54000", 30, ""},
	} {
		_, err := rowsOf(t, offline(), tt.text, nil)
		var fault *Error
		if !errors.As(err, &fault) || fault.Code != tt.code || fault.Position != tt.position || !strings.Contains(fault.Hint, tt.hint) {
			t.Errorf("%s: %+v, want %s at %d, hint %q", tt.text, err, tt.code, tt.position, tt.hint)
		}
	}
}

func TestWhatPsqlAsksADatabaseIsToldThatThisIsNone(t *testing.T) {
	for text, code := range map[string]string{
		`SELECT n.nspname as "Schema" FROM pg_catalog.pg_class c`: "0A000",
		`SELECT * FROM pg_catalog.pg_class`:                       "42P01",
		`SELECT pg_catalog.foo`:                                   "0A000",
		`SELECT pg_catalog.pg_get_userbyid("d"."datdba")`:         "0A000",
	} {
		_, err := parse(text)
		var fault *Error
		if !errors.As(err, &fault) || fault.Code != code || !strings.HasPrefix(fault.Message, "this is the pooler's console, not a database: it has no ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A view that counts what is asked of it stands for conditions that take long.
func TestAQueryEndsWithItsContext(t *testing.T) {
	asked := 0
	ctx, cancel := context.WithCancel(t.Context())
	counted := operand{typ: Bool, of: func([]any) any {
		if asked++; asked == 10 {
			cancel()
		}
		return true
	}}
	v := &View{Rows: func(context.Context) ([][]any, error) { return make([][]any, 1000), nil }}
	for name, pl := range map[string]*plan{
		"filter": {view: v, where: &counted}, "sort": {view: v, order: []sortKey{{operand: counted}}},
	} {
		if rows, err := pl.rows(ctx); !errors.Is(err, context.Canceled) || asked > 20 {
			t.Errorf("%s: %d rows, %v, %d times asked", name, len(rows), err, asked)
		}
		asked = 0
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
}

func TestTimesAreShownInTheSessionsZone(t *testing.T) {
	s := offline()
	if err := s.settings.set("TimeZone", "Asia/Kolkata"); err != nil {
		t.Fatal(err)
	}
	rows, err := rowsOf(t, s, "SHOW clients connect_time WHERE connect_time = '2026-03-01 17:30'", nil)
	if got := fmt.Sprint(rows); err != nil || got != "[[2026-03-01 17:30:00+05:30]]" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestNestedComparisonsTakeNoLongerThanTheyAreLong(t *testing.T) {
	text := "paused"
	for range 200 {
		text = "((" + text + " IN (true, paused)) BETWEEN false AND true)"
	}
	begun := time.Now()
	if _, err := rowsOf(t, offline(), "SHOW clients WHERE "+text, nil); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestNumbersCompareExactly(t *testing.T) {
	ordered := []any{int64(-1 << 63), -1.5, int64(0), 0.5, int64(1<<53 + 1), float64(1<<53 + 2), uint64(1) << 63, 1e300}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := compareNumbers(a, b); got != want {
				t.Errorf("%v and %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{
		"id = 1", "port BETWEEN 1 AND 2 OR NOT paused", "user LIKE '%a_\\%'", "connect_time < now() - '1h'", "load IN (1, 2.5, null)",
		"bytes = '1e3'", "id = $1 AND user = $2", "now() - connect_time > interval '1 day'", "'a' = 1", "id ORDER BY user DESC LIMIT 3",
	} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, where, arg string) {
		s, text := offline(), "SHOW clients WHERE "+where
		list, err := parse(text)
		if err != nil {
			checkError(t, text, err)
			return
		}
		q, ok := list[0].(*query)
		if !ok || len(list) > 1 {
			return
		}
		known := &params{}
		if _, err := q.plan(s, known); err != nil {
			checkError(t, text, err)
			return
		}
		known.values = make([]any, len(known.types))
		for i, typ := range known.types {
			known.values[i], _ = convert(arg, typ, s.settings.zone)
		}
		if _, err := q.plan(s, known); err != nil {
			checkError(t, text, err)
			return
		}
		out, err := q.run(&request{ctx: t.Context(), session: s, params: known})
		if err != nil || len(out.rows) > 4 {
			t.Fatalf("%q: %d rows, %v", text, len(out.rows), err)
		}
		for _, row := range out.rows {
			for i, c := range out.columns {
				s.encode(out.value(row, i), c.Type, 0)
			}
		}
	})
}
