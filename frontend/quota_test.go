package frontend

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/pgtest"
)

// dialFrom connects from an address of the loopback network, which stands for a host of its own.
func dialFrom(t *testing.T, p *testPooler, source string) *rawClient {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	nc, err := d.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatalf("dial pooler from %s: %v", source, err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &rawClient{t: t, nc: nc, in: pgproto3.NewFrontend(nc, nc)}
}

// loginFrom logs in, or returns what it is told.
func loginFrom(t *testing.T, p *testPooler, source, db string, parameters ...string) (*rawClient, answer) {
	t.Helper()
	c := dialFrom(t, p, source)
	c.send(startupMessage(db, parameters...))
	a := c.answer()
	if a.Status != 'I' {
		return nil, a
	}
	return c, a
}

func TestLimitsOnClients(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	for _, tc := range []struct {
		key, toml string
		inside    []string // parameters of the clients that are counted together
		outside   []string // of one that is not
		message   string
	}{
		{key: "max_db_client_connections", message: fmt.Sprintf("too many clients for database %q", db)},
		{key: "max_user_client_connections", message: `too many clients for user "postgres"`},
		{
			key: "max_class_client_connections", inside: []string{"pool_connection_class", "red"},
			outside: []string{"pool_connection_class", "blue"}, message: `too many clients for connection class "red"`,
		},
		{
			key: "max_application_client_connections", inside: []string{"application_name", "cron"},
			outside: []string{"application_name", "web"}, message: `too many clients for application "cron"`,
		},
		{key: "max_application_client_connections", outside: []string{"application_name", "web"}, message: "too many clients without an application_name"},
		{key: "max_source_client_connections", message: "too many clients from 127.0.0.7"},
	} {
		t.Run(tc.message, func(t *testing.T) {
			t.Parallel()
			p := startPooler(t, tc.key+" = 3")
			var in []*rawClient
			for range 3 {
				c, a := loginFrom(t, p, "127.0.0.7", db, tc.inside...)
				if c == nil {
					t.Fatalf("within the limit: %+v", a)
				}
				in = append(in, c)
			}
			if _, a := loginFrom(t, p, "127.0.0.7", db, tc.inside...); a.Severity != "FATAL" || a.Code != "53300" || a.Message != tc.message {
				t.Errorf("the fourth was told %+v", a)
			}
			for _, part := range []string{`msg="client refused"`, "limit=" + tc.key, "remote=127.0.0.7", "user=postgres", "database=" + db, "level=WARN"} {
				if !strings.Contains(p.Log.String(), part) {
					t.Errorf("the log does not say %s", part)
				}
			}
			if n := p.Front.Stat().RefusedByLimit[tc.key]; n != 1 {
				t.Errorf("%d refusals are counted", n)
			}
			if tc.outside != nil {
				if c, a := loginFrom(t, p, "127.0.0.7", db, tc.outside...); c == nil {
					t.Errorf("one that is not counted: %+v", a)
				}
			}
			in[0].send(&pgproto3.Terminate{})
			eventually(t, patience, "the place is free", func() bool {
				c, _ := loginFrom(t, p, "127.0.0.7", db, tc.inside...)
				return c != nil
			})
		})
	}
}

// A limit changes while clients are connected: those there are stay, new ones meet it at once.
func TestLimitsOnClientsChangeAtOnce(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t)
	var in []*rawClient
	for range 5 {
		in = append(in, newRaw(t, p, db))
	}
	set := func(n int) {
		t.Helper()
		if err := p.Front.Configure(testConfig(t, fmt.Sprintf("max_user_client_connections = %d", n))); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{3, 5} {
		set(limit)
		if c, a := loginFrom(t, p, "127.0.0.1", db); c != nil || a.Code != "53300" {
			t.Errorf("with a limit of %d and 5 connected: %+v", limit, a)
		}
		for _, c := range in {
			if got := c.query("SELECT 'here'").only(); got != "here" {
				t.Errorf("one of those connected: %s", got)
			}
		}
	}
	eventually(t, patience, "the lowered limit is noticed", func() bool { return len(p.Front.Alarms()) > 0 })
	set(6)
	newRaw(t, p, db)
	set(0)
	newRaw(t, p, db)
}

func TestSourceOfAUnixSocket(t *testing.T) {
	key := quotaKey{quotaSource, memberOf(config.Client{}, "").name(quotaSource)}
	if got := overQuota(key, 7).Message; got != "too many clients from unix" {
		t.Error(got)
	}
}

// Acceptance test C7: what is nearly used up is told, once, with who uses it; a source beyond its cap is refused.
func TestC7AlarmsNameTheTopSources(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "max_db_client_connections = 100\nmax_source_client_connections = 50")
	clients := map[string][]*rawClient{}
	connect := func(n int, source, app string) {
		t.Helper()
		for range n {
			c, a := loginFrom(t, p, source, db, "application_name", app)
			if c == nil {
				t.Fatalf("from %s: %+v", source, a)
			}
			clients[source] = append(clients[source], c)
		}
	}
	alarms := func(limit string) (all []Alarm) {
		for _, a := range p.Front.Alarms() {
			if a.Limit == limit {
				all = append(all, a)
			}
		}
		return all
	}
	connect(10, "127.0.0.4", "web")
	connect(24, "127.0.0.3", "grafana")
	connect(5, "127.0.0.5", "psql")
	connect(40, "127.0.0.2", "cron")
	eventually(t, patience, "the source's alarm", func() bool { return len(alarms("max_source_client_connections")) == 1 })
	if n := len(alarms("max_db_client_connections")); n != 0 {
		t.Fatalf("%d alarms with 79 of 100", n)
	}
	connect(1, "127.0.0.3", "grafana")
	eventually(t, patience, "the database's alarm", func() bool { return len(alarms("max_db_client_connections")) == 1 })
	a := alarms("max_db_client_connections")[0]
	want := []Source{
		{"127.0.0.2", "cron", pgtest.Superuser, db, 40}, {"127.0.0.3", "grafana", pgtest.Superuser, db, 25}, {"127.0.0.4", "web", pgtest.Superuser, db, 10},
	}
	if a.Used != 80 || a.Max != 100 || a.Percent != 80 || a.Of != fmt.Sprintf("database %q", db) || !slices.Equal(a.Sources, want) {
		t.Errorf("%+v", a)
	}
	line := fmt.Sprintf("level=WARN msg=\"much of a limit is in use\" limit=max_db_client_connections of=\"database \\\"%s\\\"\" used=80 max=100 percent=80 top_sources=\"40 from 127.0.0.2 as postgres@%s", db, db)
	eventually(t, patience, "the log names them", func() bool { return strings.Contains(p.Log.String(), line) })

	connect(10, "127.0.0.2", "cron")
	if _, told := loginFrom(t, p, "127.0.0.2", db); told.Code != "53300" || told.Message != "too many clients from 127.0.0.2" {
		t.Errorf("the 51st of a source was told %+v", told)
	}
	if log := p.Log.String(); !strings.Contains(log, "limit=max_source_client_connections") {
		t.Error("the 51st is not logged")
	}
	for range 3 { // from 91 to 94 of 100, and back
		for range 4 {
			n := len(clients["127.0.0.3"]) - 1
			clients["127.0.0.3"][n].send(&pgproto3.Terminate{})
			clients["127.0.0.3"] = clients["127.0.0.3"][:n]
		}
		eventually(t, patience, "they have left", func() bool { return p.Front.Stat().Clients == 86 })
		connect(4, "127.0.0.3", "grafana")
	}
	connect(5, "127.0.0.5", "psql")
	eventually(t, patience, "the second alarms", func() bool {
		return len(alarms("max_db_client_connections")) == 2 && len(alarms("max_source_client_connections")) == 2
	})
}

// The limits on server sessions give alarms, too.
func TestC7AlarmsOfServerSessions(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	p := startPooler(t, "max_db_connections = 5\ndefault_pool_size = 5")
	for range 4 {
		newRaw(t, p, db, "application_name", "holder").query("BEGIN")
	}
	eventually(t, patience, "the alarm", func() bool { return len(p.Front.Alarms()) == 1 })
	a := p.Front.Alarms()[0]
	if a.Limit != "max_db_connections" || a.Used != 4 || a.Max != 5 || len(a.Sources) != 1 || a.Sources[0].Clients != 4 || a.Sources[0].Application != "holder" {
		t.Errorf("%+v", a)
	}
}

func TestMarksDoNotFlap(t *testing.T) {
	var m mark
	var told []int
	for _, used := range []int{79, 80, 79, 81, 76, 80, 75, 79, 80, 94, 95, 91, 95, 90, 95, 0, 100} {
		before := m
		if m = m.after(used, 100); m > before {
			told = append(told, used)
		}
	}
	if want := []int{80, 80, 95, 95, 100}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	if got := mark(95).after(7, 0); got != 0 {
		t.Errorf("without a limit: %d", got)
	}
}

// Under a storm of clients that come and go, no limit is exceeded at any instant, and nothing is kept of them.
func TestQuotasHoldAndForget(t *testing.T) {
	t.Parallel()
	q := newQuotas()
	limits := &config.ClientLimits{Database: 20, User: 7, Source: 5, Application: 11, Class: 9}
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			var mine []*cohort
			for range 3000 {
				if n := len(mine); n > 0 && random.IntN(2) == 0 {
					q.give(mine[n-1], limits, 0)
					mine = mine[:n-1]
					continue
				}
				name := func(n int) string { return fmt.Sprint(random.IntN(n)) }
				who := member{netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(4))}), name(2), name(3), name(2), name(3)}
				if g, refusal := q.take(who, limits, 0); refusal == nil {
					mine = append(mine, g)
				}
			}
			for _, g := range mine {
				q.give(g, limits, 0)
			}
		})
	}
	stop := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				q.mu.Lock()
				for key, c := range q.counters {
					if limit := limitsByKind(limits)[key.kind]; c.clients > limit || c.clients <= 0 {
						t.Errorf("%s: %d of %d", key, c.clients, limit)
					}
				}
				q.mu.Unlock()
			}
		}
	})
	all.Wait()
	close(stop)
	looking.Wait()
	if len(q.cohorts)+len(q.counters)+q.all.clients != 0 || len(q.crossed) > alarmsKept {
		t.Errorf("%d, %d and %d are left, %d marks", len(q.cohorts), len(q.counters), q.all.clients, len(q.crossed))
	}
}
