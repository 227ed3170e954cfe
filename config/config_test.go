package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("p.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestListen(t *testing.T) {
	tests := []struct {
		name, addr string
		want       []string
	}{
		{"one address", "127.0.0.1", []string{"127.0.0.1:6432"}},
		{"several, with spaces", "10.0.0.1 , ::1,db.local", []string{"10.0.0.1:6432", "[::1]:6432", "db.local:6432"}},
		{"all addresses", "*", []string{":6432"}},
		{"none", " ", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustParse(t, fmt.Sprintf("listen_addr = %q", tt.addr)+anyDatabase)
			if got := c.Listen(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPoolPrecedence(t *testing.T) {
	c := mustParse(t, `
default_pool_size = 10
min_pool_size = 4
server_lifetime = 100
max_server_connections = 90
max_db_connections = 80
max_user_connections = 70

[databases."*"]
host = "/run/postgresql"

[databases.app]
host = "db"
port = 5433
dbname = "app_production"
pool_size = 7
min_pool_size = 0
pool_increment = 2
reserve_pool_size = 3
max_db_connections = 0
server_lifetime = 200
server_idle_timeout = 300
max_use_session = 0

[databases.shared]
user = "worker"

[databases.own]
user = "worker"
password = "db-secret"

[users.alice]
password = "alice-secret"
pool_size = 2
reserve_pool_size = 0
max_user_connections = 5

[users.worker]
password = "worker-secret"
`)
	tests := []struct {
		name, database, user string
		check                func(p Pool) bool
	}{
		{"the fallback takes the client's name of the database", "other", "bob", func(p Pool) bool {
			return p.Database == "other" && p.DBName == "other" && p.Host == "/run/postgresql" && p.Port == 5432
		}},
		{"a table wins over the fallback", "app", "bob", func(p Pool) bool {
			return p.Database == "app" && p.DBName == "app_production" && p.Host == "db" && p.Port == 5433
		}},
		{"the top level holds where nothing else is said", "other", "bob", func(p Pool) bool {
			return p.Size == 10 && p.MinSize == 4 && p.Increment == 4 && p.Reserve == 0 && p.ServerLifetime == 100*time.Second &&
				p.ServerIdleTimeout == 600*time.Second && p.MaxUse == 500_000 && p.MaxServers == 90 && p.MaxDatabase == 80 && p.MaxUser == 70
		}},
		{"the database wins over the top level, zero included", "app", "bob", func(p Pool) bool {
			return p.Size == 7 && p.MinSize == 0 && p.Increment == 2 && p.Reserve == 3 && p.ServerLifetime == 200*time.Second &&
				p.ServerIdleTimeout == 300*time.Second && p.MaxUse == 0 && p.MaxDatabase == 0
		}},
		{"the user wins over the database", "app", "alice", func(p Pool) bool {
			return p.Size == 2 && p.Reserve == 0 && p.MaxUser == 5
		}},
		{"a small size caps the minimum", "other", "alice", func(p Pool) bool { return p.Size == 2 && p.MinSize == 2 }},
		{"a client logs in to the server as itself", "app", "alice", func(p Pool) bool {
			return p.User == "alice" && p.ServerUser == "alice" && p.ServerPassword == "alice-secret"
		}},
		{"a user without a table has no password", "app", "bob", func(p Pool) bool {
			return p.ServerUser == "bob" && p.ServerPassword == ""
		}},
		{"a database's user serves every client, with that user's password", "shared", "alice", func(p Pool) bool {
			return p.User == "alice" && p.ServerUser == "worker" && p.ServerPassword == "worker-secret"
		}},
		{"a database's own password wins", "own", "alice", func(p Pool) bool { return p.ServerPassword == "db-secret" }},
		{"the rest is the top level's", "app", "bob", func(p Pool) bool {
			return p.ConnectTimeout == 15*time.Second && p.LoginRetry == 15*time.Second && p.ReserveTime == 5*time.Second &&
				p.LoginsAtOnce == 8 && p.Callbacks && p.CancelWaitTimeout == 10*time.Second && p.TCP == TCP{true, 10 * time.Second, 5 * time.Second, 3, 25 * time.Second}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, ok := c.Pool(tt.database, tt.user)
			if !ok || !tt.check(p) {
				t.Errorf("got %v %#v", ok, p)
			}
		})
	}
}

func TestNoPool(t *testing.T) {
	c := mustParse(t, "[databases.app]")
	if _, ok := c.Pool("other", "bob"); ok {
		t.Error("a database that is not there has a pool, without a fallback")
	}
	c = mustParse(t, anyDatabase)
	for _, name := range []string{"pooler", "pgbouncer"} {
		if _, ok := c.Pool(name, "bob"); ok {
			t.Errorf("the console %s has a pool", name)
		}
	}
}

func TestPoolHidesItsPassword(t *testing.T) {
	p := Pool{Database: "app", User: "bob", ServerPassword: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("pool made", "pool", p)

	for _, shown := range []string{fmt.Sprintf("%v", p), fmt.Sprintf("%+v", p), log.String()} {
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "bob@app") {
			t.Errorf("shown as %s", shown)
		}
	}
}

func TestDurationString(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 10 * time.Minute: "10m", time.Hour: "1h", 20 * time.Hour: "20h",
		90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", 1500 * time.Millisecond: "1.5s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestBoundaryNamesRoundTrip(t *testing.T) {
	for _, b := range []Boundary{BoundaryStatement, BoundaryTransaction, BoundarySession} {
		if got, err := ParseBoundary(b.String()); got != b || err != nil {
			t.Errorf("%s: got %s, %v", b, got, err)
		}
	}
	for _, s := range []string{"", "inherit", "query"} {
		if _, err := ParseBoundary(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestPurityNamesRoundTrip(t *testing.T) {
	for s, want := range map[string]Purity{"self": PuritySelf, "NEW": PurityNew, "New": PurityNew} {
		if got, err := ParsePurity(s); got != want || err != nil {
			t.Errorf("%s: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "inherit", "clean"} {
		if got, err := ParsePurity(s); err == nil || got != PurityInherit {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestCheckClass(t *testing.T) {
	for _, name := range []string{"a", "batch", "HR.reports-2/x", "!~", strings.Repeat("a", 63)} {
		if err := CheckClass(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", " ", "a b", "a\tb", "a\x00", "a\x7f", `a"`, "a'", `a\b`, "é", "\xff", strings.Repeat("a", 64)} {
		if err := CheckClass(name); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func TestLogLevels(t *testing.T) {
	for l, want := range map[LogLevel]slog.Level{
		LogDebug: slog.LevelDebug, LogInfo: slog.LevelInfo, LogWarn: slog.LevelWarn, LogError: slog.LevelError,
	} {
		if got := l.Slog(); got != want {
			t.Errorf("%s: got %s", l, got)
		}
	}
}

func TestValidateWithoutAFileNamesTheKey(t *testing.T) {
	c := Default()
	c.Databases = map[string]Database{"app": DefaultDatabase()}
	c.Loops = -1

	err := c.Validate()

	if want := "loops: must be at least 0, got -1"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
