package console

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// now is when the snapshots of these tests are taken.
var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return testNow.Add(-d) }

const testPassword = "hunter2-and-more"

func ptr[T any](v T) *T { return &v }

func testConfig() *config.Config {
	cfg := config.Default()
	cfg.AdminUsers, cfg.StatsUsers = []string{"root"}, []string{"grafana"}
	cfg.MaxUserConnections = 50
	cfg.Loops = 3
	cfg.Databases = map[string]config.Database{
		"app": {
			Host: "db.example", Port: 5433, DBName: "app_live", Password: testPassword, PoolSize: 10, MinPoolSize: ptr(2),
			ReservePoolSize: ptr(3), MaxDBConnections: ptr(40), MaxDBClientConnections: ptr(900), ServerLifetime: ptr(config.Duration(time.Hour / 2)),
		},
		"batch": {Host: "10.0.0.9", Port: 5432, User: "worker", Narrow: config.Narrow{PoolBoundary: config.BoundarySession}},
		"*":     {Host: "/var/run/postgresql", Port: 5432},
	}
	cfg.Users = map[string]config.User{
		"alice": {Password: testPassword, PoolSize: 7, MaxUserConnections: ptr(9), Narrow: config.Narrow{PoolBoundary: config.BoundaryTransaction}},
		"idler": {ReservePoolSize: ptr(0)},
	}
	return cfg
}

func testClients(func(frontend.Glance) bool) []frontend.ClientInfo {
	tcp := func(last byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), port)
	}
	local := netip.MustParseAddrPort("192.0.2.100:6432")
	return []frontend.ClientInfo{
		{
			ID: 7, User: "alice", Database: "app", Class: "web", Application: "shop", Boundary: config.BoundaryStatement, Purity: config.PuritySelf,
			Remote: tcp(1, 40001), TLS: "TLSv1.3/TLS_AES_128_GCM_SHA256", Local: local, State: "active", Since: before(2 * time.Second), Connected: before(time.Hour),
			Transaction: before(3 * time.Second), Server: 21, ServerPID: 4711, Held: before(4 * time.Second), Running: before(2 * time.Second),
			Statement: "update t set x = $1", Prepared: 5, Transactions: 12, SettingsHeld: 3,
		},
		{
			ID: 3, User: "alice", Database: "app", Class: "web", Application: "cron", Boundary: config.BoundaryStatement,
			Remote: tcp(2, 40002), Local: local, State: "waiting", Since: before(1500 * time.Millisecond), Waiting: before(1500 * time.Millisecond),
			Connected: before(2 * time.Hour),
		},
		{
			ID: 4, User: "alice", Database: "app", Class: "jobs", Application: "queue", Boundary: config.BoundaryStatement,
			Remote: tcp(3, 40003), Local: local, State: "idle_keeping_session", Since: before(400 * time.Second), Connected: before(3 * time.Hour),
			Server: 22, ServerPID: 4712, Held: before(500 * time.Second), Statement: "listen jobs", Pinned: "listen", PinnedSince: before(450 * time.Second),
			PinStatement: "listen jobs", Transactions: 2, CancelInFlight: true,
		},
		{
			ID: 5, User: "bob", Database: "batch", Class: "etl", Boundary: config.BoundarySession, State: "idle_in_transaction", PeerPID: 999,
			Since: before(61 * time.Second), Connected: before(70 * time.Second), Transaction: before(65 * time.Second), Server: 23, ServerPID: 4713,
			Held: before(66 * time.Second), Statement: "select $1",
		},
		{
			ID: 6, User: "bob", Database: "other", Remote: tcp(4, 40004), Local: local, State: "idle", Since: before(2 * time.Hour), Connected: before(2 * time.Hour),
		},
	}
}

func testServers() []pool.ServerInfo {
	at := netip.MustParseAddrPort("198.51.100.5:5433")
	return []pool.ServerInfo{
		{
			ID: 21, PID: 4711, TLS: "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256", Database: "app", User: "alice", ServerUser: "alice", DBName: "app_live", Addr: backend.Address{Network: "tcp", Addr: "db.example:5433"},
			Local: netip.MustParseAddrPort("198.51.100.1:50000"), Remote: at, Created: before(time.Minute), State: pool.ServerActive, InState: time.Second, Uses: 4, Class: "web",
		},
		{
			ID: 22, PID: 4712, Database: "app", User: "alice", ServerUser: "alice", DBName: "app_live", Addr: backend.Address{Network: "tcp", Addr: "db.example:5433"},
			Remote: at, Created: before(time.Minute), State: pool.ServerActive, Class: "jobs",
		},
		{ID: 24, PID: 1 << 31, Database: "app", User: "alice", ServerUser: "alice", Created: before(time.Minute), State: pool.ServerIdle, InState: 5 * time.Second, CloseNeeded: true},
		{Database: "app", User: "alice", ServerUser: "alice", Created: before(time.Second), State: pool.ServerOpening},
		{ID: 25, Database: "app", User: "alice", Created: before(time.Hour), State: pool.ServerReclaiming},
		{ID: 26, Database: "app", User: "alice", Created: before(time.Hour), State: pool.ServerClosing},
		{
			ID: 23, PID: 4713, Database: "batch", User: "bob", ServerUser: "worker", Addr: backend.Address{Network: "unix", Addr: "/run/.s.PGSQL.5439"},
			Created: before(time.Minute), State: pool.ServerActive,
		},
	}
}

func testPools() []pool.Stat {
	return []pool.Stat{
		{
			Database: "batch", User: "bob", Size: 20, Active: 1, Sessions: 1, HistoricMax: 1, Opened: 1,
			Use: pool.Use{Requests: 2, Hits: 1, Misses: 1}, Classes: []pool.ClassStat{{Name: "etl", Sessions: 1, Conns: 1, Use: pool.Use{Requests: 2, Hits: 1, Misses: 1}}},
		},
		{
			Database: "app", User: "alice", Size: 7, Idle: 1, Active: 2, Reclaiming: 1, Opening: 1, Closing: 1, Sessions: 3, Waiting: 1,
			LongestWait: 1500250 * time.Microsecond, HistoricMax: 6, HistoricAt: before(time.Minute), Opened: 9,
			Use:     pool.Use{Requests: 100, Hits: 90, Misses: 10, Waits: 5, WaitTime: 3 * time.Second, Timeouts: 1},
			Retired: map[backend.RetireReason]uint64{backend.RetireIdle: 2, backend.RetireLifetime: 3},
			Classes: []pool.ClassStat{
				{Name: "jobs", Sessions: 1, Conns: 1, Use: pool.Use{Requests: 30, Hits: 29, Misses: 1}},
				{Name: "web", Sessions: 2, Conns: 2, Waiting: 1, Use: pool.Use{Requests: 70, Hits: 61, Misses: 9, Waits: 5, WaitTime: 3 * time.Second, Timeouts: 1}},
			},
		},
		{
			Database: "app", User: "carol", Size: 10, Idle: 2, Sessions: 0, HistoricMax: 4, Opened: 4,
			Use: pool.Use{Requests: 10, Hits: 4, Misses: 6, Waits: 1, WaitTime: time.Second}, Retired: map[backend.RetireReason]uint64{backend.RetireIdle: 1},
		},
		{Database: "other", User: "bob", Size: 20, Sessions: 1},
	}
}

func bucketsOf(pairs ...int) []frontend.Bucket {
	var list []frontend.Bucket
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, frontend.Bucket{Upper: time.Duration(pairs[i]) * time.Microsecond, Count: uint64(pairs[i+1])})
	}
	return list
}

// fakeSnapshots is a pooler with a little of everything.
func fakeSnapshots() Snapshots {
	cfg := testConfig()
	paused := map[string]pool.Orders{"batch": {Paused: true}}
	alice := pool.Key{Database: "app", User: "alice"}
	return Snapshots{
		Version: "9.9.9", Now: func() time.Time { return testNow },
		Config: func() *config.Config { return cfg },
		Stat: func() frontend.Stat {
			return frontend.Stat{Clients: 8, Sessions: map[string]int64{"login": 1, "idle": 2, "waiting": 1, "active": 2}}
		},
		Clients: testClients,
		Consoles: func() []frontend.ClientInfo {
			return []frontend.ClientInfo{{ID: 9, User: "root", Database: "pooler", Application: "psql", State: "active", Since: testNow, Connected: before(time.Minute)}}
		},
		Waiting: func() []frontend.WaiterInfo {
			return []frontend.WaiterInfo{
				{Key: alice, Client: 8, Position: 2, Since: before(time.Second), Why: "all server sessions are busy"},
				{Key: alice, Client: 3, Class: "web", Position: 1, Since: before(1500 * time.Millisecond), Why: "all server sessions are busy"},
			}
		},
		Sources: func() []frontend.SourceStat {
			return []frontend.SourceStat{
				{Source: frontend.Source{Address: "unix", User: "bob", Database: "batch", Clients: 1}, Class: "etl", InTransaction: 1, Holding: 1, Oldest: before(70 * time.Second)},
				{
					Source: frontend.Source{Address: "192.0.2.1", Application: "shop", User: "alice", Database: "app", Clients: 12}, Class: "web", Pinned: 2, LastMinute: 3,
					Oldest: before(time.Hour), LastStatement: "select $1",
					Traffic: frontend.Traffic{Logins: 40, Refused: 5, Reuses: 30, ServerTime: 90 * time.Second, Queries: 70},
				},
				{
					Source: frontend.Source{Address: "192.0.2.2", Application: "cron", User: "alice", Database: "app"}, Class: "web",
					Traffic: frontend.Traffic{Logins: 2, ServerTime: time.Second},
				},
			}
		},
		Databases: func() []frontend.DatabaseStat {
			return []frontend.DatabaseStat{
				{Database: "other", Total: frontend.Traffic{Queries: 5}, Average: frontend.Traffic{Queries: 5}, Period: 60 * time.Second},
				{
					Database: "app", Period: 60 * time.Second,
					Total: frontend.Traffic{
						Logins: 42, Assignments: 1000, Transactions: 900, Queries: 1500, Received: 1 << 40, Sent: 1 << 41, ClientParses: 11, ServerParses: 12, Binds: 13,
						TransactionTime: 90 * time.Second, QueryTime: 30 * time.Second, WaitTime: 2 * time.Second, ServerTime: 100 * time.Second,
					},
					Average: frontend.Traffic{
						Logins: 6, Assignments: 120, Transactions: 90, Queries: 150, Received: 6000, Sent: 60001, ClientParses: 59, ServerParses: 60, Binds: 61,
						TransactionTime: 9 * time.Second, QueryTime: 3 * time.Second, WaitTime: 600 * time.Millisecond, ServerTime: 12 * time.Second,
					},
				},
			}
		},
		Histograms: func() []frontend.HistogramStat {
			return []frontend.HistogramStat{
				{Key: alice, Phase: "query", Count: 1000, Sum: 250 * time.Millisecond, Buckets: bucketsOf(100, 500, 200, 400, 400, 89, 800, 10, 9000, 1)},
				{Key: alice, Phase: "wait", Count: 4, Sum: time.Millisecond, Buckets: bucketsOf(100, 2, 400, 2)},
				{Key: pool.Key{Database: "app", User: "carol"}, Phase: "wait", Count: 96, Sum: time.Millisecond, Buckets: bucketsOf(50, 90, 100, 5, 900, 1)},
				{Key: alice, Phase: "server"},
			}
		},
		Statements: func() []frontend.StatementStat {
			return []frontend.StatementStat{
				{Text: "select $1", Calls: 3, Time: 3 * time.Second, Longest: 2 * time.Second, Last: before(time.Second)},
				{Text: "listen a", Calls: 0, Time: time.Second, Pins: 1, Estimated: true},
			}
		},
		Prepared: func(context.Context) []frontend.PreparedStat {
			return []frontend.PreparedStat{{Name: "p1", Text: "select $1", Types: 1, Clients: 2, Servers: 3}}
		},
		Alarms: func() []frontend.Alarm {
			return []frontend.Alarm{{Time: testNow, Limit: "max_client_conn", Of: "all clients", Used: 80, Max: 100, Percent: 80, Sources: []frontend.Source{{Address: "192.0.2.1", Clients: 70}}}}
		},
		Events: fakeEvents, Establishments: fakeEstablishments, Monitor: fakeMonitor{},
		Reaper: func() []frontend.ReaperRun {
			return []frontend.ReaperRun{{Time: testNow, Of: "clients", Threshold: 10, Target: 8, Before: 12, After: 8, Closed: 4, Victims: "unix ×4"}}
		},
		Suspended: func() bool { return false },
		Accepting: func() bool { return true },
		Servers:   testServers,
		Pools:     testPools,
		Logins: func() []pool.LoginStat {
			return []pool.LoginStat{{Addr: backend.Address{Network: "tcp", Addr: "db.example:5433"}, Limit: 8, Running: 1, Waiting: 2}}
		},
		Orders:         func(database string) pool.Orders { return paused[database] },
		Ordered:        func() map[string]pool.Orders { return paused },
		ServerPrepared: func(context.Context) map[backend.ConnID]int { return map[backend.ConnID]int{21: 6} },
		Proofs:         func() (int, int, int) { return 4, 5, 6 },
	}
}

func shown(t *testing.T, src Snapshots, name string) []map[string]any {
	t.Helper()
	for _, v := range Views(src) {
		if v.Name != name {
			continue
		}
		rows, err := v.Rows(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var named []map[string]any
		for _, row := range rows {
			m := map[string]any{}
			for i, c := range v.Columns {
				value, err := canonical(row[i], c.Type)
				if err != nil {
					t.Fatalf("%s.%s: %v", name, c.Name, err)
				}
				m[c.Name] = value
			}
			named = append(named, m)
		}
		return named
	}
	t.Fatalf("there is no view %s", name)
	return nil
}

// the is the only row of which these columns have these values.
func the(t *testing.T, rows []map[string]any, pairs ...any) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, row := range rows {
		fits := true
		for i := 0; i < len(pairs); i += 2 {
			fits = fits && row[pairs[i].(string)] == pairs[i+1]
		}
		if fits {
			found = append(found, row)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows have %v, want 1:\n%v", len(found), pairs, rows)
	}
	return found[0]
}

// wantRow compares some columns of a row. Numbers are written as int or float64.
func wantRow(t *testing.T, row map[string]any, pairs ...any) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		name, want := pairs[i].(string), pairs[i+1]
		if n, ok := want.(int); ok {
			want = int64(n)
		}
		got, ok := row[name]
		if f, isFloat := got.(float64); isFloat {
			if n, isInt := want.(int64); isInt {
				want = float64(n)
			}
			got = f
		}
		if !ok || got != want {
			t.Errorf("%s = %#v, want %#v", name, got, want)
		}
	}
}

func TestEveryValueFitsItsColumn(t *testing.T) {
	for _, v := range Views(fakeSnapshots()) {
		rows := shown(t, fakeSnapshots(), v.Name)
		if len(rows) == 0 && !slices.Contains([]string{"dns_zones", "peers", "peer_pools"}, v.Name) {
			t.Errorf("%s is empty", v.Name)
		}
		if strings.Contains(fmt.Sprint(rows), testPassword) {
			t.Errorf("%s shows a password", v.Name)
		}
	}
}

func TestAPoolerWithoutAnythingHasEveryView(t *testing.T) {
	src := fakeSnapshots()
	src.Config = config.Default
	src.Stat = func() frontend.Stat { return frontend.Stat{} }
	v := reflect.ValueOf(&src).Elem()
	for _, name := range []string{
		"Clients", "Consoles", "Waiting", "Sources", "Databases", "Histograms", "Statements", "Prepared", "Alarms", "Reaper", "Servers", "Pools", "Logins",
	} {
		f := v.FieldByName(name)
		f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { return []reflect.Value{reflect.Zero(f.Type().Out(0))} }))
	}
	src.ServerPrepared, src.Proofs = nil, nil
	for _, v := range Views(src) {
		shown(t, src, v.Name)
	}
}

func TestEachSnapshotIsTakenOnce(t *testing.T) {
	var calls map[string]int
	src := fakeSnapshots()
	v := reflect.ValueOf(&src).Elem()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.Kind() != reflect.Func || name == "Orders" || name == "Now" {
			continue
		}
		taken := reflect.ValueOf(f.Interface())
		f.Set(reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
			calls[name]++
			return taken.Call(args)
		}))
	}
	for _, v := range Views(src) {
		calls = map[string]int{}
		shown(t, src, v.Name)
		for name, n := range calls {
			if n > 1 {
				t.Errorf("%s takes %s %d times", v.Name, name, n)
			}
		}
	}
}

func TestVersionBeginsWithPgBouncers(t *testing.T) {
	got := shown(t, fakeSnapshots(), "version")[0]["version"].(string)
	if first := regexp.MustCompile(`\d+\.\d+\.\d+`).FindString(got); first != "1.25.0" || !strings.HasSuffix(got, "pooler 9.9.9") {
		t.Errorf("version = %q", got)
	}
}

// manyClients is a busy afternoon: of the clients, one in fifty holds a server session.
func manyClients(n int) Snapshots {
	src := fakeSnapshots()
	var clients []frontend.ClientInfo
	var servers []pool.ServerInfo
	var waiting []frontend.WaiterInfo
	for i := range n {
		c := frontend.ClientInfo{ID: frontend.SessionID(i + 1), User: fmt.Sprint("user", i%20), Database: "app", State: "idle", Since: before(time.Duration(i) * time.Second), Connected: before(time.Hour)}
		switch i % 50 {
		case 0:
			c.Server, c.Held, c.State, c.Pinned = backend.ConnID(i+1), before(time.Minute), "idle_keeping_session", "listen"
			servers = append(servers, pool.ServerInfo{ID: c.Server, Database: c.Database, User: c.User, State: pool.ServerActive})
		case 1:
			c.Waiting, c.State = before(time.Second), "waiting"
			waiting = append(waiting, frontend.WaiterInfo{Key: keyOf(&c), Client: c.ID, Position: 1, Since: c.Waiting})
		}
		clients = append(clients, c)
	}
	src.Clients = func(func(frontend.Glance) bool) []frontend.ClientInfo { return slices.Clone(clients) }
	src.Servers = func() []pool.ServerInfo { return servers }
	src.Waiting = func() []frontend.WaiterInfo { return waiting }
	return src
}

func BenchmarkViewsOf5000Clients(b *testing.B) {
	for _, v := range Views(manyClients(5000)) {
		b.Run(v.Name, func(b *testing.B) {
			for b.Loop() {
				if _, err := v.Rows(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
