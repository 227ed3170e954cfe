package console

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

func text(v any) string { return fmt.Sprint(v) }

func checkFilters(t *testing.T, s *scene) {
	for _, tc := range []struct {
		query string
		args  []any
		want  string
	}{
		{"clients id WHERE state = 'waiting' ORDER BY id LIMIT 1", nil, fmt.Sprint(s.late[0].id())},
		{"clients id WHERE state = 'waiting' ORDER BY id DESC LIMIT 1", nil, fmt.Sprint(s.late[1].id())},
		{"clients application_name WHERE application_name LIKE 'w%' ORDER BY application_name, id LIMIT 2 OFFSET 2", nil, "web worker"},
		{"clients application_name WHERE user = 'ben' AND NOT addr = 'unix' ORDER BY 1", nil, "batch plain"},
		{"clients application_name WHERE pinned IS NOT NULL OR class = 'nightly' ORDER BY id", nil, "cron batch"},
		{"clients application_name WHERE activity IN ('active', 'waiting') AND database = 'shop' ORDER BY 1", nil, "late late report"},
		{"clients id WHERE port = $1 AND application_name = $2", []any{s.report.port, "report"}, fmt.Sprint(s.report.id())},
		{"pools database WHERE cl_waiting > 0", nil, "shop"},
		{"pools database WHERE sv_active > 0 OR sv_idle > 1 ORDER BY sv_idle DESC", nil, "books shop"},
		{"lists items WHERE list = 'used_servers'", nil, "7"},
		{"config value WHERE key = 'query_wait_timeout'", nil, "30s"},
		{"servers link WHERE application_name LIKE 'cr_n'", nil, s.cron.ptr()},
		{"SELECT application FROM sources WHERE connections >= $1 ORDER BY connections DESC, application", []any{2}, "web late worker"},
		{"SELECT total_query_count FROM stats WHERE database = 'books'", nil, fmt.Sprint(s.booksDid.queries)},
		{"SELECT reason FROM pins WHERE since > now() - interval '1 minute'", nil, "advisory_lock"},
	} {
		var got []string
		for _, row := range s.show(tc.query, tc.args...) {
			for _, v := range row {
				got = append(got, text(v))
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.query, got, tc.want)
		}
	}
}

// target is something to scan a value of a type into, NULL included.
func target(oid uint32) any {
	switch oid {
	case pgtype.Int4OID:
		return new(*int32)
	case pgtype.Int8OID:
		return new(*int64)
	case pgtype.NumericOID:
		return new(pgtype.Numeric)
	case pgtype.Float8OID:
		return new(*float64)
	case pgtype.BoolOID:
		return new(*bool)
	case pgtype.TimestamptzOID:
		return new(*time.Time)
	case pgtype.TextOID:
		return new(*string)
	}
	return nil
}

// checkDrivers reads every view in every way that pgx has, each column into what fits its type.
func checkDrivers(t *testing.T, s *scene) {
	conn := s.console("looker")
	var ways [][]any
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	} {
		ways = append(ways, []any{mode})
	}
	for _, format := range []int16{pgtype.TextFormatCode, pgtype.BinaryFormatCode} {
		ways = append(ways, []any{pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{format}})
	}
	answers := map[string]map[string]bool{}
	for _, way := range ways {
		for _, v := range Views(Snapshots{}) {
			answer, err := readTyped(t.Context(), conn, v, way)
			if err != nil {
				t.Errorf("%s, %v: %v", v.Name, way, err)
			}
			if answers[v.Name] == nil {
				answers[v.Name] = map[string]bool{}
			}
			answers[v.Name][answer] = true
		}
	}
	for _, quiet := range []string{"databases", "users", "lists", "config", "state", "version", "cpool_info", "cpool_cc_info", "prepared", "statements", "histograms", "stats_totals"} {
		if n := len(answers[quiet]); n != 1 {
			t.Errorf("%s has %d different answers", quiet, n)
		}
	}
}

// readTyped reads a view, and returns all its values as text.
func readTyped(ctx context.Context, conn *pgx.Conn, v View, way []any) (answer string, err error) {
	rows, err := conn.Query(ctx, "SHOW "+v.Name, way...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	fields := rows.FieldDescriptions()
	if len(fields) != len(v.Columns) {
		return "", fmt.Errorf("%d columns, want %d", len(fields), len(v.Columns))
	}
	var targets []any
	for i, f := range fields {
		if f.Name != v.Columns[i].Name || f.DataTypeOID != v.Columns[i].Type.oid() {
			return "", fmt.Errorf("column %d is %s of type %d", i, f.Name, f.DataTypeOID)
		}
		targets = append(targets, target(f.DataTypeOID))
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return "", err
		}
		for _, v := range targets {
			answer += shownValue(v) + "\t"
		}
	}
	return answer, rows.Err()
}

// shownValue is what a target has been given.
func shownValue(target any) string {
	v := reflect.ValueOf(target).Elem()
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "NULL"
	case v.Kind() == reflect.Pointer:
		v = v.Elem()
	}
	switch of := v.Interface().(type) {
	case pgtype.Numeric:
		f, _ := of.Float64Value()
		return fmt.Sprint(f.Float64, f.Valid)
	case time.Time:
		return of.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v.Interface())
}

func checkPsql(t *testing.T, s *scene) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "psql", "-X", "-P", "pager=off", "-d", s.dsn("looker", "pgbouncer"))
	cmd.Stdin = strings.NewReader(`SHOW pools database, user, sv_active WHERE database = 'shop' AND user = 'anna';
\x
SHOW clients application_name, state, pinned WHERE application_name = 'cron';
\x
SHOW waiting application, position WHERE position = 2 \gx
SHOW lists WHERE list = 'nothing' \gx
SHOW pools \gset now_
`)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	for _, want := range []string{
		" database | user | sv_active \n----------+------+-----------\n shop     | anna |         4\n(1 row)\n",
		"-[ RECORD 1 ]----+--------------\napplication_name | cron\nstate            | active\npinned           | advisory_lock\n",
		"-[ RECORD 1 ]-----\napplication | late\nposition    | 2\n", "(0 rows)", "more than one row returned for \\gset",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	checkWatch(ctx, t, s)
}

// checkWatch ends a \watch after a few rounds.
func checkWatch(ctx context.Context, t *testing.T, s *scene) {
	cmd := exec.CommandContext(ctx, "psql", "-X", "-P", "pager=off", "-d", s.dsn("looker", "pooler"))
	cmd.Stdin = strings.NewReader("SHOW pools database, cl_waiting WHERE cl_waiting > 0\n\\watch 0.05\n")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rounds := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Join(strings.Fields(lines.Text()), " ") != "shop | 2" {
			continue
		}
		if rounds++; rounds == 3 {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait() // its exit status depends on what it was interrupted in
	said := strings.ReplaceAll(complaints.String(), "ERROR:  canceling statement due to user request", "")
	if rounds < 3 || strings.Contains(said, "ERROR:") {
		t.Errorf("\\watch: %v after %d rounds\n%s", err, rounds, complaints.String())
	}
}

// checkAfterwards has everybody come to an end, after which nothing is left in the views.
func checkAfterwards(t *testing.T, s *scene) {
	for _, c := range s.workers {
		c.runs("COMMIT")
	}
	s.release()
	s.cron.runs("SELECT pg_advisory_unlock(42)")
	s.eventually("everybody is idle", func() bool {
		return len(s.show("clients WHERE state <> 'idle' AND database = 'shop'")) == 0
	})
	for _, view := range []string{"pins", "waiting", "leaks", "servers WHERE state <> 'idle'", "sources WHERE pinned > 0 OR holding > 0 OR waiting > 0"} {
		if rows := s.show(view); len(rows) > 0 {
			t.Errorf("%s: %v", view, rows)
		}
	}
	s.eventually("all server sessions are idle", func() bool {
		row := the(t, s.show("pools WHERE database = 'shop' AND user = 'anna'"))
		return row["sv_idle"] == int64(4) && row["cl_active"] == int64(9) && row["maxwait_us"] == int64(0)
	})
	wantRow(t, the(t, s.show("stats WHERE database = 'shop'")),
		"total_query_count", s.shopDid.queries, "total_xact_count", s.shopDid.transactions, "total_server_assignment_count", s.assignments("shop")+2, "total_received", s.shopDid.bytes)
	checkHistograms(t, s, s.show("histograms"))
	wantRow(t, the(t, s.show("cpool_stats WHERE pool_name = 'shop'")), "num_requests", s.assignments("shop")+2, "num_waiting", 0, "num_busy_servers", 0)
	wantRow(t, the(t, s.show("statements WHERE statement LIKE 'select pg_advisory_unlock%'")), "calls", 1, "pins", 0)
	if n := len(s.backends(s.shop)); n != 5 {
		t.Errorf("PostgreSQL has %d", n)
	}
	if err := s.batch.Deallocate(t.Context(), "add"); err != nil {
		t.Error(err)
	}
	wantRow(t, s.show("prepared")[0], "clients", 1)
	wantRow(t, the(t, s.show("clients WHERE application_name = 'batch'")), "prepared_statements", 0)
	_ = s.web[0].Close(t.Context())
	s.eventually("one has gone", func() bool { return len(s.show("clients WHERE database = 'shop'")) == 9 })
	wantRow(t, the(t, s.show("sources WHERE application = 'web'")), "connections", 2, "logins", 3)
}
