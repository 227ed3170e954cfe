package console

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// content is the configuration file's.
func (l *live) content() string {
	l.t.Helper()
	text, err := os.ReadFile(l.file)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// sizes is what the views say of the size of shop's pool.
func (l *live) sizes() string {
	l.t.Helper()
	db := the(l.t, l.show("databases pool_size WHERE name = 'shop'"))["pool_size"]
	info := the(l.t, l.show("cpool_info maxsize WHERE connection_pool = 'shop'"))["maxsize"]
	pool := the(l.t, l.show("pools pool_size WHERE database = 'shop'"))["pool_size"]
	if db != info || db != pool {
		l.t.Errorf("the size is %v in DATABASES, %v in CPOOL_INFO, %v in POOLS", db, info, pool)
	}
	return text(db)
}

func (l *live) wantSize(want string) {
	l.t.Helper()
	if got := l.sizes(); got != want {
		l.t.Errorf("the size is %s, want %s", got, want)
	}
}

func TestLiveChangesTakeEffectAtOnce(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	var clients []*client
	for range 5 {
		clients = append(clients, l.login(&did, "anna", "shop", "web", ""))
	}
	for _, c := range clients[:4] {
		c.runs("BEGIN")
	}
	file := l.content()
	last := clients[4].begins("BEGIN")
	l.eventually("the fifth waits", func() bool { return len(l.show("waiting")) == 1 })
	l.does("ALTER POOL shop SET maxsize = 5, max_think_time = '1h'")
	if err := l.waitFor("the fifth", last); err != nil {
		t.Fatal(err)
	}
	l.wantSize("5")
	wantRow(t, the(t, l.show("cpool_info WHERE connection_pool = 'shop'")), "max_think_time", 3600, "num_servers", 5)
	l.logged("ALTER POOL shop SET maxsize = '5', max_think_time = '1h'", "done")

	l.does("RESTORE POOL shop DEFAULTS")
	l.wantSize("3") // as default_pool_size says
	wantRow(t, the(t, l.show("cpool_info WHERE connection_pool = 'shop'")), "max_think_time", 0)
	for _, c := range clients {
		c.runs("COMMIT")
	}
	l.eventually("PostgreSQL has three", func() bool { return len(l.backends(l.shop)) == 3 })
	l.does("SET default_pool_size = 1")
	l.wantSize("1")
	l.logged("SET default_pool_size = '1'", "done")
	wantRow(t, the(t, l.show("config WHERE key = 'default_pool_size'")), "value", "1")
	l.eventually("PostgreSQL has one", func() bool { return len(l.backends(l.shop)) == 1 })
	if l.content() != file {
		t.Error("what was not saved is in the file")
	}
	l.does("RELOAD")
	l.wantSize("4")
	wantRow(t, the(t, l.show("config WHERE key = 'default_pool_size'")), "value", "3")
	for command, code := range map[string]string{
		"SET no_such_key = 1": "42704", "SET default_pool_size = 0": "22023", "SET default_pool_size = many": "22023",
		"ALTER POOL shop SET maxsizes = 1": "42704", "ALTER POOL nothing SET maxsize = 1": "3D000", "ALTER POOL shop SET incrsize = 1, maxsize = -1": "22023",
		"RESTORE POOL nothing DEFAULTS": "3D000",
	} {
		l.refuses(command, code)
	}
	l.wantSize("4")
}

func TestLiveChangesAreSaved(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	l.login(&did, "anna", "shop", "web", "").runs("SELECT 1")
	before := l.content()
	l.does("ALTER POOL shop SET maxsize = 6 SAVE")
	want := strings.Replace(before, "pool_size = 4 # as the script needs it", "pool_size = 6 # as the script needs it", 1)
	if got := l.content(); got != want || want == before {
		t.Errorf("the file is\n%s", got)
	}
	l.does("SET query_wait_timeout = 20")
	if l.content() != want {
		t.Error("SET has written the file")
	}
	l.does("SAVE")
	if got := l.content(); !strings.Contains(got, "# the test's\n") || !strings.Contains(got, "loops = 2 # more than one") || strings.Contains(got, `query_wait_timeout = "30s"`) {
		t.Errorf("the file is\n%s", got)
	}
	l.does("RELOAD")
	l.wantSize("6")
	wantRow(t, the(t, l.show("config WHERE key = 'query_wait_timeout'")), "value", "20s")
	l.does("RESTORE POOL shop DEFAULTS SAVE")
	if got := l.content(); strings.Contains(got, "pool_size = 6") || !strings.Contains(got, "[databases.shop] # of anna") {
		t.Errorf("the file is\n%s", got)
	}
	l.wantSize("3")
	l.logged("SAVE", "done")

	if err := os.WriteFile(l.file, []byte(strings.Replace(l.content(), "[databases.shop] # of anna", "[databases.shop]\npool_size = 7", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	l.refuses("SAVE", "55000") // over what somebody else has written
	l.does("RELOAD")
	l.wantSize("7")
	if err := os.WriteFile(l.file, []byte("nonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.refuses("RELOAD", "F0000")
	l.wantSize("7")
	l.logged("RELOAD", "failed")
}

func TestLiveWhatNeedsARestartIsTold(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	cfg, err := pgx.ParseConfig(l.dsn("root", "pooler"))
	if err != nil {
		t.Fatal(err)
	}
	var notices []string
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	if _, err := c.Exec(t.Context(), "SET loops = 3", pgx.QueryExecModeSimpleProtocol); err != nil || len(notices) != 1 || !strings.Contains(notices[0], "next start") {
		t.Errorf("%v, notices %q", err, notices)
	}
	for mode, want := range map[string]ShutdownWait{"": ShutdownNow, "WAIT_FOR_SERVERS": ShutdownWaitForServers, "WAIT_FOR_CLIENTS": ShutdownWaitForClients} {
		l.does(strings.TrimSpace("SHUTDOWN " + mode))
		if got := <-l.program.stops; got != want {
			t.Errorf("SHUTDOWN %s: %v", mode, got)
		}
	}
}

func TestLiveStopPool(t *testing.T) {
	t.Parallel()
	l := startLive(t)
	var did deeds
	idle, busy, other := l.login(&did, "anna", "shop", "idle", ""), l.login(&did, "anna", "shop", "busy", ""), l.login(&did, "ben", "books", "other", "")
	busy.runs("BEGIN")
	done := l.gives("STOP POOL shop")
	l.eventually("it is stopped", func() bool { return l.pools.Orders("shop").Stopped })
	if _, err := idle.tries("SELECT 1"); sqlState(err) != "57P03" {
		t.Errorf("a request: %v", err)
	}
	l.wantOrders("active [] DRAINING paused=0 disabled=0")
	other.runs("SELECT 'not stopped'")
	busy.runs("SELECT 'in its transaction'")
	busy.runs("COMMIT")
	if err := l.waitFor("STOP POOL", done); err != nil {
		t.Error(err)
	}
	if n := len(l.backends(l.shop)); n > 0 {
		t.Errorf("PostgreSQL has %d", n)
	}
	l.wantOrders("active [] INACTIVE paused=0 disabled=0")
	l.does("START POOL shop")
	l.wantOrders(goesItsWay)
	idle.runs("SELECT 1")
	l.logged("STOP POOL shop", "done")
	l.logged("START POOL shop", "done")

	busy.runs("BEGIN")
	begun := time.Now()
	l.does("STOP POOL shop DRAIN 0.1")
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("a transaction got %s", took)
	}
	if _, err := busy.tries("COMMIT"); err == nil {
		t.Error("its transaction has come to its end")
	}
	if n := len(l.backends(l.shop)); n > 0 {
		t.Errorf("PostgreSQL has %d", n)
	}
	l.does("START POOL shop")
	idle.runs("SELECT 'still connected'")

	l.does("STOP POOL " + defaultPool)
	for _, c := range []*client{idle, other} {
		if _, err := c.tries("SELECT 1"); sqlState(err) != "57P03" {
			t.Errorf("%s: %v", c.application, err)
		}
	}
	wantRow(t, the(t, l.show("cpool_info WHERE connection_pool = $1", defaultPool)), "status", "INACTIVE", "num_servers", 0)
	l.refuses("START POOL shop", "55000")
	l.does(fmt.Sprintf("START POOL %q", defaultPool))
	idle.runs("SELECT 1")
	other.runs("SELECT 1")
	l.refuses("STOP POOL nothing", "3D000")
}
