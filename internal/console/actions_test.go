package console

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// fakePooler is all that Actions uses, and notes what is called.
type fakePooler struct {
	calls     []string
	orders    map[string]pool.Orders
	servers   []pool.ServerInfo
	pauses    map[string]pool.PauseID
	lastPause pool.PauseID
	clients   []frontend.ClientInfo
	idle      []frontend.IdleClient
	suspended bool
	suspend   error // what Suspend comes to
	doc       *config.Document
	fail      error // what every change of the configuration comes to
	changes   Changes
	due       time.Time // when later is called, by who waits
	later     func()
}

// after has do be called when so much time has passed, unless nobody waits then.
func (f *fakePooler) after(d time.Duration, do func()) { f.due, f.later = time.Now().Add(d), do }

const fakeConfig = `auth_type = "trust"
[databases.app]
pool_size = 7
min_pool_size = 2
pool_boundary = "transaction"
dbname = "application"
[databases.reports]
`

func (f *fakePooler) note(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakePooler) order(call, database string, set func(*pool.Orders)) {
	f.note("%s %s", call, database)
	o := f.orders[database]
	set(&o)
	f.orders[database] = o
}

func (f *fakePooler) Pause(database string) (id pool.PauseID) {
	f.lastPause++
	f.pauses[database] = f.lastPause
	f.order("pause", database, func(o *pool.Orders) {
		if !o.Paused {
			id = f.lastPause
		}
		o.Paused = true
	})
	return id
}

func (f *fakePooler) TakeBack(database string, id pool.PauseID) bool {
	if id == 0 || f.pauses[database] != id {
		return false
	}
	f.order("take back", database, func(o *pool.Orders) { o.Paused = false })
	return true
}

func (f *fakePooler) Disable(database string) {
	f.order("disable", database, func(o *pool.Orders) { o.Disabled = true })
}

func (f *fakePooler) Stop(database string) {
	f.order("stop", database, func(o *pool.Orders) { o.Stopped = true })
}

func (f *fakePooler) Resume(database string) (was bool) {
	f.order("resume", database, func(o *pool.Orders) { was, o.Paused = o.Paused, false })
	return was
}

func (f *fakePooler) Enable(database string) (was bool) {
	f.order("enable", database, func(o *pool.Orders) { was, o.Disabled = o.Disabled, false })
	return was
}

func (f *fakePooler) Start(database string) (was bool) {
	f.order("start", database, func(o *pool.Orders) { was, o.Stopped = o.Stopped, false })
	return was
}

func (f *fakePooler) Reconnect(database string) { f.note("reconnect %s", database) }

func (f *fakePooler) Disconnect(database string) {
	f.note("disconnect %s", database)
	f.servers = nil
}

func (f *fakePooler) AwaitClosed(ctx context.Context, database string, which func(pool.ServerInfo) bool) error {
	for {
		if f.later != nil && !time.Now().Before(f.due) {
			f.later()
			f.later = nil
		}
		if !slices.ContainsFunc(f.servers, func(s pool.ServerInfo) bool {
			return (database == "" || s.Database == database) && (which == nil || which(s))
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func (f *fakePooler) Orders(database string) pool.Orders {
	all, one := f.orders[""], f.orders[database]
	return pool.Orders{Paused: all.Paused || one.Paused, Disabled: all.Disabled || one.Disabled, Stopped: all.Stopped || one.Stopped}
}

func (f *fakePooler) Servers() []pool.ServerInfo { return f.servers }

// fakeClients is its clients' side, whose Resume is another one.
type fakeClients struct{ *fakePooler }

func (f fakeClients) Kill(id frontend.SessionID, by string) bool {
	f.note("kill %d by %s", id, by)
	return id == 12
}

func (f fakeClients) KillConsole(id frontend.SessionID, by string) bool {
	f.note("kill console %d by %s", id, by)
	return id == 13
}

func (f fakeClients) KillDatabase(database, by string) int {
	f.note("kill all of %s by %s", database, by)
	return 3
}

func (f fakeClients) KillIdle(which frontend.IdleCriteria, dryRun bool, by string) []frontend.IdleClient {
	f.note("kill idle older than %s, dry run %v by %s", which.OlderThan, dryRun, by)
	return f.idle
}

func (f fakeClients) Suspend(context.Context) error {
	f.suspended = f.suspend == nil
	return f.suspend
}

func (f fakeClients) Resume() bool {
	was := f.suspended
	f.suspended = false
	return was
}

func (f fakeClients) Suspended() bool { return f.suspended }

func (f fakeClients) ClientsThat(chosen func(frontend.Glance) bool) []frontend.ClientInfo {
	return slices.DeleteFunc(slices.Clone(f.clients), func(c frontend.ClientInfo) bool {
		return chosen != nil && !chosen(frontend.Glance{Holds: c.Server != 0})
	})
}

// fakeProgram is the rest.
type fakeProgram struct{ *fakePooler }

func (f fakeProgram) Config() *config.Config {
	cfg, err := f.doc.Config()
	if err != nil {
		panic(err)
	}
	return cfg
}

func (f fakeProgram) Change(_ context.Context, by string, save bool, edit Edit) (Changes, error) {
	doc, err := edit(f.doc)
	if err != nil {
		return Changes{}, err
	}
	cfg, err := doc.Config()
	if err != nil {
		return Changes{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	done := Changes{Made: config.Diff(f.Config(), cfg)}
	if save {
		done.Saved = done.Made
	}
	if f.fail != nil {
		return Changes{}, f.fail
	}
	f.doc = doc
	f.note("change by %s, save %v", by, save)
	return done, nil
}

func (f fakeProgram) Reload(_ context.Context, by string) (Changes, error) {
	f.note("reload by %s", by)
	return f.changes, f.fail
}

func (f fakeProgram) Save(_ context.Context, by string) (Changes, error) {
	f.note("save by %s", by)
	return f.changes, f.fail
}

func (f fakeProgram) Shutdown(_ context.Context, how ShutdownWait, by string) {
	f.note("shutdown %s by %s", how, by)
}

func newFakePooler() *fakePooler {
	return &fakePooler{orders: map[string]pool.Orders{}, pauses: map[string]pool.PauseID{}, doc: config.NewDocument("test.toml", []byte(fakeConfig))}
}

// gives has alice give a command. It returns the notices too.
func (f *fakePooler) gives(ctx context.Context, c Command) (res Result, notices []string, err error) {
	f.calls = nil
	who := &frontend.Admin{User: "alice", Application: "psql", Remote: netip.MustParseAddrPort("10.0.0.1:999")}
	res, err = NewActions(f, fakeClients{f}, fakeProgram{f}).Execute(ctx, who, c, func(message, _ string) { notices = append(notices, message) })
	return res, notices, err
}

// codeOf is the SQLSTATE of an error, "" for none.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return toError(err).Code
}

const alice = "by alice@10.0.0.1:999 psql"

func TestActions(t *testing.T) {
	paused, stopped := pool.Orders{Paused: true}, pool.Orders{Stopped: true}
	for _, tc := range []struct {
		name    string
		given   func(*fakePooler)
		command Command
		code    string
		says    string // in the error, its hint, or a notice
		calls   []string
	}{
		{name: "pause one", command: Pause{"app"}, calls: []string{"pause app"}},
		{name: "pause all", command: Pause{}, calls: []string{"pause "}},
		{name: "pause all twice", given: func(f *fakePooler) { f.orders[""] = paused }, command: Pause{}, code: "55000", says: "already suspended/paused"},
		{name: "pause one of all that are", given: func(f *fakePooler) { f.orders[""] = paused }, command: Pause{"app"}, code: "55000", says: "all databases"},
		{name: "pause one twice", given: func(f *fakePooler) { f.orders["app"] = paused }, command: Pause{"app"}, calls: []string{"pause app"}},
		{name: "pause what is suspended", given: func(f *fakePooler) { f.suspended = true }, command: Pause{}, code: "55000"},
		{name: "pause the console", command: Pause{"pooler"}, code: "0A000"},
		{name: "pause nothing that is there", command: Pause{"appp"}, code: "3D000", says: `Perhaps you meant "app"`},
		{name: "pause what is not configured any more", given: func(f *fakePooler) { f.clients = []frontend.ClientInfo{{Database: "old"}} }, command: Pause{"old"}, calls: []string{"pause old"}},
		{name: "resume", given: func(f *fakePooler) { f.orders["app"] = paused }, command: Resume{"app"}, calls: []string{"resume app"}},
		{name: "resume all", given: func(f *fakePooler) { f.orders[""] = paused }, command: Resume{}, calls: []string{"resume "}},
		{name: "resume after SUSPEND", given: func(f *fakePooler) { f.suspended = true }, command: Resume{}, calls: []string{"resume "}},
		{name: "resume nothing", command: Resume{}, code: "55000", says: "not paused/suspended", calls: []string{"resume "}},
		{name: "resume one of all", given: func(f *fakePooler) { f.orders[""] = paused }, command: Resume{"app"}, code: "55000", says: "RESUME without a name", calls: []string{"resume app"}},
		{name: "disable", command: Disable{"app"}, calls: []string{"disable app"}},
		{name: "enable what is not disabled", command: Enable{"app"}, calls: []string{"enable app"}},
		{name: "disable nothing that is there", command: Disable{"x"}, code: "3D000", says: "SHOW DATABASES"},
		{name: "reconnect", command: Reconnect{}, calls: []string{"reconnect "}},
		{name: "wait for nothing", command: WaitClose{"reports"}},
		{name: "kill", command: Kill{"app"}, says: "clients ended: 3", calls: []string{"pause app", "kill all of app " + alice, "disconnect app"}},
		{name: "kill while all is paused", given: func(f *fakePooler) { f.orders[""] = paused }, command: Kill{"app"}, code: "55000"},
		{name: "kill a client", command: KillClient{12}, calls: []string{"kill 12 " + alice}},
		{name: "kill one of the console", command: KillClient{13}, calls: []string{"kill 13 " + alice, "kill console 13 " + alice}},
		{name: "kill nobody", command: KillClient{14}, code: "42704", says: "SHOW CLIENTS", calls: []string{"kill 14 " + alice, "kill console 14 " + alice}},
		{name: "kill beyond all numbers", command: KillClient{12 + 1<<32}, code: "42704"},
		{name: "suspend", command: Suspend{}},
		{name: "suspend twice", given: func(f *fakePooler) { f.suspended = true }, command: Suspend{}, code: "55000"},
		{name: "suspend what does not read", given: func(f *fakePooler) { f.suspend = frontend.ErrNotFlushed }, command: Suspend{}, code: "55000", says: "queued"},
		{name: "suspend, while somebody else does", given: func(f *fakePooler) { f.suspend = frontend.ErrSuspended }, command: Suspend{}, code: "55000", says: "already suspended"},
		{name: "suspend, resumed", given: func(f *fakePooler) { f.suspend = frontend.ErrResumed }, command: Suspend{}, code: "55000", says: "RESUME was given"},
		{name: "suspend, cancelled", given: func(f *fakePooler) { f.suspend = context.Canceled }, command: Suspend{}, code: "57014"},
		{name: "start", given: func(f *fakePooler) { f.orders["app"] = stopped }, command: StartPool{"app"}, calls: []string{"start app"}},
		{name: "start Oracle's", given: func(f *fakePooler) { f.orders[""] = stopped }, command: StartPool{"sys_default_connection_pool"}, calls: []string{"start "}},
		{name: "start what runs", command: StartPool{"app"}, says: "was not stopped", calls: []string{"start app"}},
		{name: "start one of all", given: func(f *fakePooler) { f.orders[""] = stopped }, command: StartPool{"app"}, code: "55000", calls: []string{"start app"}},
		{name: "stop", command: StopPool{Pool: "app"}, calls: []string{"stop app"}},
		{name: "stop nothing that is there", command: StopPool{Pool: "x"}, code: "3D000"},
		{name: "shutdown", command: Shutdown{ShutdownWaitForClients}, calls: []string{"shutdown WAIT_FOR_CLIENTS " + alice}},
		{name: "save nothing", command: Save{}, says: "nothing was written", calls: []string{"save " + alice}},
		{
			name: "save", given: func(f *fakePooler) {
				f.changes = Changes{Saved: []config.Change{{Key: "a"}, {Key: "b", Restart: true}}}
			}, command: Save{},
			says: "written to the file: a, b (takes effect at the next start)", calls: []string{"save " + alice},
		},
		{name: "save over somebody", given: func(f *fakePooler) { f.fail = config.ErrChangedOnDisk }, command: Save{}, code: "55000", says: "RELOAD", calls: []string{"save " + alice}},
		{
			name: "reload", given: func(f *fakePooler) { f.changes = Changes{Dropped: []string{"loops"}} }, command: Reload{},
			says: "not saved are gone", calls: []string{"reload " + alice},
		},
		{name: "reload what is wrong", given: func(f *fakePooler) { f.fail = errors.New("line 1\nline 2") }, command: Reload{}, code: "F0000", says: "line 1", calls: []string{"reload " + alice}},
		{name: "set", command: SetKey{"query_timeout", "30s"}, calls: []string{"change " + alice + ", save false"}},
		{name: "set by path", command: SetKey{`databases."app".pool_size`, "8"}, calls: []string{"change " + alice + ", save false"}},
		{name: "set what needs a restart", command: SetKey{"loops", "3"}, says: "next start", calls: []string{"change " + alice + ", save false"}},
		{name: "set nothing that is there", command: SetKey{"pool_mode", "3"}, code: "42704"},
		{name: "set no key", command: SetKey{"a b", "3"}, code: "42704"},
		{name: "set several at once", command: SetKey{"query_timeout = 1\nloops", "3"}, code: "42704"},
		{name: "set too little", command: SetKey{"default_pool_size", "0"}, code: "22023"},
		{name: "set something else", command: SetKey{"default_pool_size", "few"}, code: "22023"},
		{name: "alter", command: AlterPool{"app", []SetKey{{"MAXSIZE", "9"}, {"max_think_time", "30s"}}, true}, says: "written to the file: databases.app.pool_size, databases.app.max_think_time", calls: []string{"change " + alice + ", save true"}},
		{name: "alter Oracle's", command: AlterPool{defaultPool, []SetKey{{"MAXSIZE", "9"}}, false}, calls: []string{"change " + alice + ", save false"}},
		{name: "alter: no such pool", command: AlterPool{"x", []SetKey{{"MAXSIZE", "9"}}, false}, code: "3D000"},
		{name: "alter: bad parameter", command: AlterPool{"app", []SetKey{{"MAXSIZE", "9"}, {"MAXIMUM", "9"}}, false}, code: "42704"},
		{name: "alter: bad value", command: AlterPool{"app", []SetKey{{"MINSIZE", "9"}, {"MAXSIZE", "8"}}, false}, code: "22023"},
		{name: "alter: failed", given: func(f *fakePooler) { f.fail = errors.New("disk full") }, command: AlterPool{"app", []SetKey{{"MAXSIZE", "9"}}, true}, code: "55000", says: "disk full"},
		{name: "restore: no such pool", command: RestorePool{"x", false}, code: "3D000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakePooler()
			if tc.given != nil {
				tc.given(f)
			}
			_, notices, err := f.gives(t.Context(), tc.command)
			text := strings.Join(notices, "\n")
			if err != nil {
				e := toError(err)
				text += e.Message + "\n" + e.Hint
			}
			if codeOf(err) != tc.code || !strings.Contains(text, tc.says) {
				t.Errorf("it says %s %q, want %s %q", codeOf(err), text, tc.code, tc.says)
			}
			if !slices.Equal(f.calls, tc.calls) {
				t.Errorf("it does %q, want %q", f.calls, tc.calls)
			}
		})
	}
}

// With "*" no name is unknown, so one that is mistyped would pass for a database.
func TestADatabaseThatNobodyKnowsIsDoubted(t *testing.T) {
	const doubt = `database %q has no table of its own and nobody uses it; it is served by [databases."*"]`
	for _, tc := range []struct {
		name, database string
		uses           func(f *fakePooler)
		doubted        bool
		hint           string
	}{
		{name: "its own table", database: "app"},
		{name: "a misspelling", database: "reprots", doubted: true, hint: `Perhaps you meant "reports".`},
		{name: "a misspelling of one that * serves", database: "postgrse", doubted: true, hint: `Perhaps you meant "postgres".`, uses: func(f *fakePooler) {
			f.clients = []frontend.ClientInfo{{Database: "postgres"}}
		}},
		{name: "nothing like it", database: "x", doubted: true},
		{name: "a client uses it", database: "x", uses: func(f *fakePooler) { f.clients = []frontend.ClientInfo{{Database: "x"}} }},
		{name: "a server session is in it", database: "x", uses: func(f *fakePooler) { f.servers = []pool.ServerInfo{{Database: "x", CloseNeeded: false}} }},
	} {
		for _, c := range []Command{Kill{tc.database}, Disable{tc.database}, StopPool{Pool: tc.database}, Reconnect{tc.database}} {
			t.Run(tc.name+", "+c.String(), func(t *testing.T) {
				f := newFakePooler()
				f.doc = config.NewDocument("test.toml", []byte(fakeConfig+"[databases.\"*\"]\n"))
				if tc.uses != nil {
					tc.uses(f)
				}
				f.after(0, func() { f.servers = nil }) // for STOP POOL, which waits
				found, hint := false, ""
				_, err := NewActions(f, fakeClients{f}, fakeProgram{f}).Execute(t.Context(), &frontend.Admin{}, c, func(message, more string) {
					if message == fmt.Sprintf(doubt, tc.database) {
						found, hint = true, more
					}
				})
				if err != nil || found != tc.doubted || hint != tc.hint {
					t.Errorf("%v; doubted %v, with %q", err, found, hint)
				}
				if len(f.calls) == 0 {
					t.Error("it is not carried out")
				}
			})
		}
	}
}

func TestAlterAndRestorePool(t *testing.T) {
	f := newFakePooler()
	do := func(c Command) *config.Config {
		t.Helper()
		if _, _, err := f.gives(t.Context(), c); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		return fakeProgram{f}.Config()
	}
	cfg := do(AlterPool{"app", []SetKey{{"MAXSIZE", "30"}, {"minsize", "20"}, {"inactivity_timeout", "60"}}, false})
	if db := cfg.Databases["app"]; db.PoolSize != 30 || *db.MinPoolSize != 20 || time.Duration(*db.ServerIdleTimeout) != time.Minute || cfg.DefaultPoolSize != 20 {
		t.Errorf("%+v", db)
	}
	cfg = do(RestorePool{"app", true})
	if db := cfg.Databases["app"]; db.PoolSize != 0 || db.MinPoolSize != nil || db.PoolBoundary != config.BoundaryInherit || db.DBName != "application" {
		t.Errorf("%+v", db)
	}
	if cfg = do(AlterPool{"Sys_Default_Connection_Pool", []SetKey{{"MAXSIZE", "33"}, {"max_think_time", "9"}}, false}); cfg.DefaultPoolSize != 33 || cfg.MaxThinkTime == 0 {
		t.Errorf("%+v", cfg)
	}
	if cfg = do(RestorePool{defaultPool, false}); cfg.DefaultPoolSize != 20 || cfg.MaxThinkTime != 0 {
		t.Errorf("%+v", cfg)
	}
}

func TestKillIdleAnswersWithItsVictims(t *testing.T) {
	f := newFakePooler()
	f.idle = []frontend.IdleClient{
		{ID: 4, User: "bob", Database: "app", Application: "cron", Remote: netip.MustParseAddrPort("10.0.0.1:5"), Idle: 61234 * time.Millisecond, Kept: "temporary"},
		{ID: 5, User: "bob", Database: "app"},
	}
	for _, dry := range []bool{true, false} {
		res, _, err := f.gives(t.Context(), KillIdle{OlderThan: time.Minute, DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("[[4 app bob cron 10.0.0.1 61.2 temporary %v] [5 app bob  unix 0 <nil> %v]]", !dry, !dry)
		if got := fmt.Sprint(res.Rows); got != want || len(f.calls) != 1 || f.calls[0] != fmt.Sprintf("kill idle older than 1m0s, dry run %v %s", dry, alice) {
			t.Errorf("%s, by %q", got, f.calls)
		}
		for _, row := range res.Rows {
			if err := canonicalise(row, KillIdleColumns); err != nil {
				t.Error(err)
			}
		}
	}
}

// holding has two clients hold server sessions of app, one of which goes after a while.
func holding() *fakePooler {
	f := newFakePooler()
	f.servers = []pool.ServerInfo{{ID: 1, Database: "app"}, {ID: 2, Database: "app"}, {ID: 0, Database: "app"}, {ID: 3, Database: "reports"}}
	now := time.Now()
	f.clients = []frontend.ClientInfo{
		{ID: 7, User: "bob", Database: "app", Application: "batch", State: "idle_in_transaction", Since: now, Server: 1, Held: now},
		{ID: 8, User: "eve", Database: "app", State: "idle_keeping_session", Since: now, Server: 2, Held: now.Add(-time.Hour), Pinned: "temporary"},
		{ID: 9, User: "eve", Database: "reports", State: "active", Since: now, Server: 3, Held: now},
	}
	return f
}

func TestPauseNamesThoseInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := holding()
		f.after(25*time.Second, func() { f.servers = f.servers[3:] })
		begun := time.Now()
		_, notices, err := f.gives(t.Context(), Pause{"app"})
		if err != nil || time.Since(begun) < 25*time.Second || time.Since(begun) > 26*time.Second || len(notices) != 3 {
			t.Fatalf("after %s: %v, with %q", time.Since(begun), err, notices)
		}
		want := `the pause has waited for 1s: 3 server sessions are left, 1 of which are being opened, cleaned or closed; ` +
			`held by client 8 (eve@app "" from unix), idle keeping session for 1s, pinned by temporary; client 7 (bob@app "batch" from unix), idle in transaction for 1s`
		if notices[0] != want {
			t.Errorf("it says %q\nwant %q", notices[0], want)
		}
	})
}

func TestAPauseThatIsCancelledIsUndone(t *testing.T) {
	for _, database := range []string{"", "app"} {
		synctest.Test(t, func(t *testing.T) {
			f := holding()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, _, err := f.gives(ctx, Pause{database})
			if codeOf(err) != "57014" || f.Orders(database).Paused || !slices.Equal(f.calls, []string{"pause " + database, "take back " + database}) {
				t.Errorf("%v after %q", err, f.calls)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // but not the pause of another
		f := holding()
		f.orders["app"] = pool.Orders{Paused: true}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, _, err := f.gives(ctx, Pause{"app"}); codeOf(err) != "57014" || !f.Orders("app").Paused {
			t.Errorf("%v after %q", err, f.calls)
		}
	})
	for _, meanwhile := range []func(f *fakePooler){
		func(f *fakePooler) { f.Pause("app") },                  // as KILL does too
		func(f *fakePooler) { f.Resume("app"); f.Pause("app") }, // which is another's then
	} {
		synctest.Test(t, func(t *testing.T) {
			f := holding()
			f.after(time.Second, func() { meanwhile(f) })
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, _, err := f.gives(ctx, Pause{"app"}); codeOf(err) != "57014" || !f.Orders("app").Paused || !strings.Contains(toError(err).Hint, "It stays paused") {
				t.Errorf("%v after %q", err, f.calls)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // nor does one wait that another has ended
		f := holding()
		f.after(2*time.Second, func() { f.orders[""] = pool.Orders{} })
		if _, _, err := f.gives(t.Context(), Pause{}); codeOf(err) != "55000" {
			t.Errorf("%v after %q", err, f.calls)
		}
	})
}

func TestStopPoolDrains(t *testing.T) {
	second, none := time.Second, time.Duration(0)
	for _, tc := range []struct {
		name  string
		drain *time.Duration
		frees time.Duration // when the clients give back what they hold
		took  time.Duration
		calls []string
	}{
		{"without a limit", nil, time.Hour, time.Hour, []string{"stop app"}},
		{"soon enough", &second, second / 2, second / 2, []string{"stop app"}},
		{"too late", &second, time.Hour, second, []string{"stop app", "disconnect app"}},
		{"at once", &none, time.Hour, 0, []string{"stop app", "disconnect app"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := holding()
				f.after(tc.frees, func() { f.servers = nil })
				begun := time.Now()
				_, _, err := f.gives(t.Context(), StopPool{"app", tc.drain})
				if took := time.Since(begun); err != nil || took < tc.took || took > tc.took+time.Second/10 || !slices.Equal(f.calls, tc.calls) {
					t.Errorf("%v after %s: %q", err, took, f.calls)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := holding()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, _, err := f.gives(ctx, StopPool{"app", &second}); codeOf(err) != "57014" || !f.Orders("app").Stopped || len(f.servers) != 4 {
			t.Errorf("cancelled: %v", err)
		}
	})
}
