package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ordersOf is what STATE, POOLS, DATABASES and CPOOL_INFO say of shop.
func (l *live) ordersOf() string {
	l.t.Helper()
	state := map[any]any{}
	for _, row := range l.show("state") {
		state[row["key"]] = row["value"]
	}
	db := the(l.t, l.show("databases WHERE name = 'shop'"))
	info := the(l.t, l.show("cpool_info WHERE connection_pool = 'shop'"))
	if db["status"] != info["status"] {
		l.t.Errorf("DATABASES says %v, CPOOL_INFO %v", db["status"], info["status"])
	}
	for _, row := range l.show("pools status WHERE database = 'shop'") {
		if row["status"] != db["status"] {
			l.t.Errorf("DATABASES says %v, POOLS %v", db["status"], row["status"])
		}
	}
	var words []string
	for _, key := range []string{"active", "paused", "suspended"} {
		if state[key] == "yes" {
			words = append(words, key)
		}
	}
	return fmt.Sprintf("%s [%s] %s paused=%d disabled=%d", strings.Join(words, ","), state["paused_databases"], db["status"], db["paused"], db["disabled"])
}

func (l *live) wantOrders(want string) {
	l.t.Helper()
	if got := l.ordersOf(); got != want {
		l.t.Errorf("the views say %q, want %q", got, want)
	}
}

const goesItsWay = "active [] ACTIVE paused=0 disabled=0"

// logged looks for the line of a command of root's.
func (l *live) logged(command, outcome string) {
	l.t.Helper()
	said := "command=" + command
	if strings.Contains(command, " ") {
		said = "command=" + strconv.Quote(command)
	}
	for _, line := range strings.Split(l.log.String(), "\n") {
		if strings.Contains(line, `msg="console command" user=root remote=127.0.0.1:`) && strings.Contains(line, "application_name=desk database=pooler") &&
			strings.Contains(line, said+" ") && strings.Contains(line, "outcome="+outcome) {
			return
		}
	}
	l.t.Errorf("the log does not say that root has given %s, %s", command, outcome)
}

// refuses has root give a command that must be refused with code.
func (l *live) refuses(command, code string) {
	l.t.Helper()
	if _, err := l.operator.Exec(l.t.Context(), command, pgx.QueryExecModeSimpleProtocol); sqlState(err) != code {
		l.t.Errorf("%s: %v, want %s", command, err, code)
	}
}

func (l *live) waitFor(what string, done <-chan error) error {
	l.t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		l.t.Fatalf("%s: not within %s", what, patience)
		return nil
	}
}

func TestLivePause(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	idle, busy := l.login(&did, "anna", "shop", "idle", ""), l.login(&did, "anna", "shop", "busy", "")
	other := l.login(&did, "ben", "books", "other", "")
	other.runs("SELECT 1")
	idle.runs("SELECT 1")
	l.wantOrders(goesItsWay)
	for _, database := range []string{"shop", ""} {
		pause, resume := strings.TrimSpace("PAUSE "+database), strings.TrimSpace("RESUME "+database)
		busy.runs("BEGIN")
		before := busy.runs("SELECT pg_backend_pid()")
		done := l.gives(pause)
		l.eventually("it is paused", func() bool { return l.pools.Orders("shop").Paused })
		l.eventually("what is idle goes", func() bool { return len(l.backends(l.shop)) == 1 })
		waits := idle.begins("SELECT 'waited'")
		l.eventually("a client waits", func() bool { return len(l.show("waiting WHERE why = 'paused' AND application = 'idle'")) == 1 })
		wantRow(t, the(t, l.show("pools WHERE database = 'shop'")), "cl_waiting", 1, "sv_active", 1, "sv_idle", 0, "status", "PAUSED")
		if pid := busy.runs("SELECT pg_backend_pid()"); pid != before {
			t.Errorf("the transaction goes on elsewhere")
		}
		busy.runs("COMMIT")
		if err := l.waitFor(pause, done); err != nil {
			t.Errorf("%s: %v", pause, err)
		}
		if left := l.backends(l.shop); len(left) > 0 || len(l.show("servers WHERE database = 'shop'")) > 0 {
			t.Errorf("%s leaves %v", pause, left)
		}
		if database == "" {
			l.wantOrders("paused [books, shop] PAUSED paused=1 disabled=0")
			l.refuses("RESUME shop", "55000")
			l.refuses("PAUSE", "55000")
		} else {
			l.wantOrders("active [shop] PAUSED paused=1 disabled=0")
			other.runs("SELECT 'not paused'")
		}
		l.does(resume)
		if err := l.waitFor("who has waited", waits); err != nil {
			t.Error(err)
		}
		l.wantOrders(goesItsWay)
		l.logged(pause, "done")
		l.logged(resume, "done")
		l.refuses(resume, "55000")
		l.logged(resume, "failed")
	}
	l.refuses("PAUSE nothing", "3D000")
}

func TestLiveDisableAndReconnect(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	c := l.login(&did, "anna", "shop", "stays", "")
	c.runs("SELECT 1")

	l.does("DISABLE shop")
	l.wantOrders("active [] DISABLED paused=0 disabled=1")
	if _, err := l.tryLogin(&did, "anna", "shop", "new", ""); sqlState(err) != "57P03" {
		t.Errorf("a login: %v", err)
	}
	c.runs("SELECT 'stays'")
	l.login(&did, "ben", "books", "elsewhere", "")
	l.does("ENABLE shop")
	l.wantOrders(goesItsWay)
	l.login(&did, "anna", "shop", "new", "")
	l.logged("DISABLE shop", "done")

	holder := l.login(&did, "anna", "shop", "holder", "")
	holder.runs("BEGIN")
	held := holder.runs("SELECT pg_backend_pid()")
	c.runs("SELECT 1")
	l.eventually("one is idle", func() bool { return len(l.show("servers WHERE state = 'idle' AND database = 'shop'")) > 0 })
	old := l.backends(l.shop)
	l.does("RECONNECT shop")
	wantRow(t, the(t, l.show("servers WHERE application_name = 'holder'")), "close_needed", 1, "state", "active", "remote_pid", the(t, l.show("clients WHERE application_name = 'holder'"))["server_pid"])
	done := l.gives("WAIT_CLOSE shop")
	l.eventually("it waits", func() bool { return len(l.show("clients WHERE user = 'root' AND state = 'active'")) == 2 })
	c.runs("SELECT 'another server session'")
	if pid := holder.runs("SELECT pg_backend_pid()"); pid != held {
		t.Error("an open transaction has moved")
	}
	select {
	case err := <-done:
		t.Errorf("WAIT_CLOSE has not waited: %v", err)
	default:
	}
	holder.runs("COMMIT")
	if err := l.waitFor("WAIT_CLOSE", done); err != nil {
		t.Error(err)
	}
	c.runs("SELECT 1")
	for port, pid := range l.backends(l.shop) {
		if old[port] == pid {
			t.Errorf("%d is from before", pid)
		}
	}
	l.logged("RECONNECT shop", "done")
	l.logged("WAIT_CLOSE shop", "done")
}

func TestLiveKill(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	victim, bystander := l.login(&did, "anna", "shop", "victim", ""), l.login(&did, "anna", "shop", "bystander", "")
	victim.runs("BEGIN")
	l.does(fmt.Sprintf("KILL_CLIENT %d", victim.id()))
	if _, err := victim.tries("COMMIT"); sqlState(err) != "57P01" {
		t.Errorf("the victim: %v", err)
	}
	l.eventually("it is gone", func() bool { return len(l.show("clients WHERE id = $1", victim.id())) == 0 })
	l.refuses(fmt.Sprintf("KILL_CLIENT %d", victim.id()), "42704")
	l.logged(fmt.Sprintf("KILL_CLIENT %d", victim.id()), "done")
	bystander.runs("SELECT 1")

	desk := l.console("root")
	l.does(fmt.Sprintf("KILL_CLIENT %d", desk.PgConn().PID()))
	l.eventually("the console's client is gone", func() bool { return len(l.show("clients WHERE user = 'root'")) == 1 })

	other := l.login(&did, "ben", "books", "other", "")
	busy := l.login(&did, "anna", "shop", "busy", "")
	end := busy.begins("SELECT pg_sleep(60)")
	l.eventually("it runs", func() bool {
		return len(l.show("clients WHERE activity = 'active' AND application_name = 'busy'")) == 1
	})
	l.does("KILL shop")
	if err := l.waitFor("what ran", end); err == nil {
		t.Error("it has come to its end")
	}
	if _, err := bystander.tries("SELECT 1"); sqlState(err) != "57P01" {
		t.Errorf("an idle client of shop: %v", err)
	}
	l.eventually("PostgreSQL has ended them", func() bool { return len(l.backends(l.shop)) == 0 })
	if rows := l.show("clients WHERE database = 'shop'"); len(rows) > 0 {
		t.Errorf("%v are left", rows)
	}
	other.runs("SELECT 'not killed'")
	l.wantOrders("active [shop] PAUSED paused=1 disabled=0")
	l.does("RESUME shop")
	l.login(&did, "anna", "shop", "new", "").runs("SELECT 1")
	l.logged("KILL shop", "done")
}

// killsIdle has root give KILL IDLE, and returns whom that names.
func (l *live) killsIdle(clauses string, killed bool) []int64 {
	l.t.Helper()
	answer, err := l.operator.Query(l.t.Context(), "KILL IDLE "+clauses)
	if err != nil {
		l.t.Fatal(err)
	}
	rows, err := pgx.CollectRows(answer, pgx.RowToMap)
	if err != nil {
		l.t.Fatalf("KILL IDLE %s: %v", clauses, err)
	}
	var ids []int64
	for _, row := range rows {
		if row["killed"] != killed {
			l.t.Errorf("%v", row)
		}
		id, _ := row["id"].(int64)
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestLiveKillIdle(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	var all []*client
	login := func(user, database, application, more string) *client {
		c := l.login(&did, user, database, application, more)
		all = append(all, c)
		return c
	}
	web1, web2 := login("anna", "shop", "web-1", ""), login("anna", "shop", "web-2", "")
	inside, unix, ben := login("anna", "shop", "inside", ""), login("anna", "shop", "unix", viaUnix), login("ben", "books", "ben", "")
	inside.runs("BEGIN")
	l.eventually("all are known to be idle", func() bool { // KILL IDLE goes by the last look at each, as of SHOW CLIENTS for one
		return len(l.show("clients WHERE activity = 'idle' AND database <> 'pooler'")) == 4
	})
	for _, tc := range []struct {
		clauses string
		want    []*client
	}{
		{"", []*client{web1, web2, unix, ben}},
		{"OLDER THAN 1h", nil},
		{"OLDER THAN 0s", []*client{web1, web2, unix, ben}},
		{"FROM unix", []*client{unix}},
		{"FROM 127.0.0.0/8", []*client{web1, web2, ben}},
		{"FROM 10.0.0.1", nil},
		{"APPLICATION 'web-*'", []*client{web1, web2}},
		{"USER ben", []*client{ben}},
		{"DATABASE shop APPLICATION 'web-2'", []*client{web2}},
		{"APPLICATION inside", nil},
	} {
		want := []int64{}
		for _, c := range tc.want {
			want = append(want, c.id())
		}
		slices.Sort(want)
		if got := l.killsIdle(tc.clauses+" DRY RUN", false); !slices.Equal(got, want) {
			t.Errorf("KILL IDLE %s DRY RUN: %v, want %v", tc.clauses, got, want)
		}
	}
	if n := len(l.show("clients WHERE database <> 'pooler'")); n != len(all) {
		t.Fatalf("a dry run leaves %d", n)
	}
	if got := l.killsIdle("APPLICATION 'web-*' OLDER THAN 1ms", true); !slices.Equal(got, []int64{web1.id(), web2.id()}) {
		t.Errorf("killed %v", got)
	}
	l.eventually("they are gone", func() bool { return len(l.show("clients WHERE application_name LIKE 'web%'")) == 0 })
	if _, err := web1.tries("SELECT 1"); sqlState(err) != "57P01" {
		t.Errorf("who was killed: %v", err)
	}
	for _, c := range []*client{inside, unix, ben} {
		c.runs("SELECT 1")
	}
	l.logged(`KILL IDLE OLDER THAN 1ms APPLICATION "web-*"`, "done")
	if strings.Contains(l.log.String(), "DRY RUN") {
		t.Error("a dry run is logged as a change")
	}
}

func TestLiveSuspend(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	c := l.login(&did, "anna", "shop", "held", "")
	c.runs("SELECT 1")
	l.does("SUSPEND")
	l.wantOrders("suspended [] ACTIVE paused=0 disabled=0")
	end := c.begins("SELECT 'after'")
	l.refuses("SUSPEND", "55000")
	l.refuses("PAUSE", "55000")
	wantRow(t, the(t, l.show("clients WHERE application_name = 'held'")), "state", "idle")
	select {
	case err := <-end:
		t.Errorf("it was answered: %v", err)
	case <-time.After(50 * time.Millisecond): // that nothing comes cannot be waited for otherwise
	}
	l.does("RESUME")
	if err := l.waitFor("the answer", end); err != nil {
		t.Error(err)
	}
	l.wantOrders(goesItsWay)
	l.logged("SUSPEND", "done")
}

// Somebody who may look tries every change, none of which may come to anything. PgBouncer carried out one of
// them, KILL_CLIENT.
func TestCVE_2026_6667_WhoMayLookChangesNothing(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	c := l.login(&did, "anna", "shop", "web", "")
	c.runs("SELECT 1")
	before, backends := l.program.Config(), l.backends(l.shop)
	commands := []string{
		"PAUSE", "PAUSE shop", "RESUME", "DISABLE shop", "ENABLE shop", "RECONNECT", "KILL shop", "WAIT_CLOSE", "SUSPEND", "RELOAD", "SAVE",
		fmt.Sprint("KILL_CLIENT ", c.id()), "KILL IDLE", "SHUTDOWN", "SHUTDOWN WAIT_FOR_CLIENTS", "SET default_pool_size = 9",
		"ALTER POOL shop SET maxsize = 9 SAVE", "RESTORE POOL shop DEFAULTS", "STOP POOL shop", "START POOL shop",
	}
	for _, command := range commands {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec} {
			_, err := l.looker.Exec(t.Context(), command, mode)
			var refused *pgconn.PgError
			if !errors.As(err, &refused) || refused.Code != "42501" || refused.Hint == "" {
				t.Errorf("%s: %v", command, err)
			}
		}
	}
	l.wantOrders(goesItsWay)
	if now := l.backends(l.shop); l.program.Config() != before || !maps.Equal(now, backends) || len(l.program.stops) > 0 {
		t.Errorf("something has changed: %v, before %v", now, backends)
	}
	c.runs("SELECT 'still here'")
	if _, err := l.looker.Exec(context.Background(), "KILL IDLE DRY RUN"); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	refusals := 0
	for _, line := range strings.Split(l.log.String(), "\n") {
		if strings.Contains(line, `msg="console command" user=looker`) && strings.Contains(line, "outcome=failed") {
			refusals++
		}
	}
	if refusals != 2*len(commands) {
		t.Errorf("%d refusals are logged", refusals)
	}
}
