package frontend

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestKillDatabase(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "default_pool_size = 4")
	other := postgres.Server(t).CreateDatabase(t)
	spared := newRaw(t, p, other)
	idle, inside, runs, waits := newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db), newRaw(t, p, db, "pool_purity", "new")
	inside.query("BEGIN; UPDATE t SET n = n + 1")
	runs.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	waits.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	eventually(t, patience, "they run", func() bool { return p.stat(db).Active == 3 })
	if n := p.Front.KillDatabase(db, "alice"); n != 4 {
		t.Errorf("%d clients were ended", n)
	}
	for i, c := range []*rawClient{idle, inside, runs, waits} {
		if e := c.ending(); e.Severity != "FATAL" || e.Code != "57P01" || e.Message != "terminating connection due to administrator command" {
			t.Errorf("client %d was told %+v", i, e)
		}
	}
	spared.ask("SELECT 'here'", "here")
	newRaw(t, p, db).ask("SELECT n FROM t", "0")
	if n := strings.Count(p.Log.String(), "clients ended by an administrator"); n != 1 || !strings.Contains(p.Log.String(), "clients=4 who=\"127.0.0.1 \\\"\\\" postgres/"+db+" ×4\" by=alice") {
		t.Errorf("the log has %d lines: %s", n, p.Log.String())
	}
	if n := p.Front.KillDatabase("", "alice"); n != 2 || p.Front.Stat().Ends["killed"] != 6 {
		t.Errorf("then %d of all", n)
	}
}

func TestKillIdle(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "default_pool_size = 6\n[classes.spared]\nreaper_exempt = true")
	sqlOther := postgres.Server(t).CreateDatabase(t)
	at := func(source, db string, parameters ...string) *rawClient {
		c, a := loginFrom(t, p, source, db, parameters...)
		if c == nil {
			t.Fatalf("login: %+v", a)
		}
		return c
	}
	clients := map[string]*rawClient{
		"web":   at("127.0.0.1", db, "application_name", "web 1"),
		"cron":  at("127.0.0.2", db, "application_name", "cron"),
		"class": at("127.0.0.1", db, "application_name", "cron", "pool_connection_class", "spared"), // of the reaper only
		"bare":  at("127.0.0.1", db),
		"other": at("127.0.0.1", sqlOther, "application_name", "web 2"),
		"keeps": at("127.0.0.3", db, "application_name", "web 3"),
	}
	clients["keeps"].query("CREATE TEMP TABLE mine (n int)")
	never := map[string]*rawClient{}
	for _, name := range []string{"inside", "failed", "runs", "half"} {
		never[name] = at("127.0.0.1", db, "application_name", "web 4")
	}
	never["inside"].query("BEGIN; UPDATE t SET n = n + 1")
	never["failed"].query("BEGIN; SELECT 1/0")
	never["runs"].send(&pgproto3.Query{String: "UPDATE t SET n = n + 1 RETURNING 'done'"})
	_, _ = never["half"].nc.Write(encode(&pgproto3.Query{String: "SELECT 'done'"})[:9])
	eventually(t, patience, "it is known what they do", func() bool {
		return len(p.Front.KillIdle(IdleCriteria{OlderThan: 2 * lookEvery}, true, "")) == len(clients)
	})

	text := func(s string) *string { return &s }
	for _, tc := range []struct {
		name  string
		which IdleCriteria
		want  []string
	}{
		{"all", IdleCriteria{}, []string{"web", "cron", "class", "bare", "other", "keeps"}},
		{"nobody so long", IdleCriteria{OlderThan: time.Hour}, nil},
		{"from an address", IdleCriteria{From: netip.MustParsePrefix("127.0.0.2/32")}, []string{"cron"}},
		{"from a network", IdleCriteria{From: netip.MustParsePrefix("127.0.0.2/31")}, []string{"cron", "keeps"}},
		{"from elsewhere", IdleCriteria{From: netip.MustParsePrefix("::1/128")}, nil},
		{"from the Unix socket", IdleCriteria{Unix: true}, nil},
		{"an application", IdleCriteria{Application: text("cron")}, []string{"cron", "class"}},
		{"applications", IdleCriteria{Application: text("web*")}, []string{"web", "other", "keeps"}},
		{"without an application", IdleCriteria{Application: text("")}, []string{"bare"}},
		{"a database", IdleCriteria{Database: text(sqlOther)}, []string{"other"}},
		{"a user", IdleCriteria{User: text("postgres")}, []string{"web", "cron", "class", "bare", "other", "keeps"}},
		{"another user", IdleCriteria{User: text("post")}, nil},
		{"all of it", IdleCriteria{User: text("*"), Application: text("web *"), Database: text(db), From: netip.MustParsePrefix("127.0.0.3/32")}, []string{"keeps"}},
	} {
		var got, want []string
		for _, one := range p.Front.KillIdle(tc.which, true, "alice") {
			got = append(got, one.Remote.String())
			if (one.Kept != "") != (one.Application == "web 3") || one.User != "postgres" || one.Idle <= 0 || one.Connected.IsZero() {
				t.Errorf("%s: %+v", tc.name, one)
			}
		}
		for _, name := range tc.want {
			want = append(want, clients[name].nc.LocalAddr().String())
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tc.name, got, want)
		}
	}
	if n := p.Front.Stat().Ends["killed"]; n != 0 || strings.Contains(p.Log.String(), "by=alice") {
		t.Errorf("dry runs have ended %d", n)
	}

	if gone := p.Front.KillIdle(IdleCriteria{Application: text("cron")}, false, "alice"); len(gone) != 2 {
		t.Errorf("%+v", gone)
	}
	for _, name := range []string{"cron", "class"} {
		if e := clients[name].ending(); e.Code != "57P01" || !strings.Contains(e.Hint, "idle for") {
			t.Errorf("%s was told %+v", name, e)
		}
	}
	if gone := p.Front.KillIdle(IdleCriteria{}, false, "alice"); len(gone) != 4 {
		t.Errorf("%+v", gone)
	}
	for _, name := range []string{"web", "bare", "other", "keeps"} {
		if e := clients[name].ending(); e.Code != "57P01" {
			t.Errorf("%s was told %+v", name, e)
		}
	}
	if a := never["inside"].query("COMMIT"); a.Errors != 0 || a.Tags[0] != "COMMIT" {
		t.Errorf("one in a transaction: %+v", a)
	}
	if got := never["runs"].answer().only(); got != "done" {
		t.Errorf("one that runs: %s", got)
	}
	_, _ = never["half"].nc.Write(encode(&pgproto3.Query{String: "SELECT 'done'"})[9:])
	if got := never["half"].answer().only(); got != "done" {
		t.Errorf("one in the middle of a message: %s", got)
	}
	never["failed"].query("ROLLBACK")
	if n := strings.Count(p.Log.String(), "idle clients ended by an administrator"); n != 2 {
		t.Errorf("the log has %d lines: %s", n, p.Log.String())
	}
}

// Who has spoken between the two looks stays.
func TestKillIdleLooksAgain(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "")
	c, quiet := newRaw(t, p, db), newRaw(t, p, db)
	var found []idler
	eventually(t, patience, "both are idle", func() bool {
		found = p.Front.idleLongest(func(s *Session, _ time.Duration) bool { return s.rests() })
		return len(found) == 2
	})
	c.ask("SELECT 'spoken'", "spoken")
	closed := p.Front.closeIdle(found, (*Session).rests, func(s *Session, _ time.Duration) { s.endWith(EndKilled, errAdministrator) })
	if len(closed) != 1 || fmt.Sprint(closed[0].session.port) != quiet.nc.LocalAddr().String()[len("127.0.0.1:"):] {
		t.Errorf("%+v", closed)
	}
	c.ask("SELECT 'here'", "here")
}
