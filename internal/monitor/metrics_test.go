package monitor

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"pooler/backend"
	"pooler/frontend"
	"pooler/pool"
)

type fixed struct{}

func (fixed) Stat() frontend.Stat {
	return frontend.Stat{Clients: 7, Sessions: map[string]int64{"idle": 5, "active": 2}, Logins: 9, Ends: map[string]uint64{"client_gone": 1}}
}

func (fixed) Stats() []pool.Stat {
	return []pool.Stat{{
		Database: "shop", User: "anna", Size: 10, Idle: 1, Active: 2, Waiting: 3, LongestWait: 1500 * time.Millisecond,
		Use: pool.Use{Requests: 40, Hits: 30}, Retired: map[backend.RetireReason]uint64{backend.RetireLost: 4},
	}}
}

func (fixed) Lost() map[string]uint64 { return map[string]uint64{"keepalive": 3} }

func (fixed) Panics() uint64 { return 0 }

func TestMetricsAreRightAndWellNamed(t *testing.T) {
	r, err := NewRegistry(fixed{}, fixed{}, []fixed{{}})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "pooler_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	const want = `
# HELP pooler_client_sessions Clients logged in, by what they do.
# TYPE pooler_client_sessions gauge
pooler_client_sessions{state="active"} 2
pooler_client_sessions{state="idle"} 5
# HELP pooler_clients_waiting Clients waiting for a server session.
# TYPE pooler_clients_waiting gauge
pooler_clients_waiting{database="shop",user="anna"} 3
# HELP pooler_longest_wait_seconds How long the first of those has waited.
# TYPE pooler_longest_wait_seconds gauge
pooler_longest_wait_seconds{database="shop",user="anna"} 1.5
# HELP pooler_server_sessions Server sessions, by what they do.
# TYPE pooler_server_sessions gauge
pooler_server_sessions{database="shop",state="active",user="anna"} 2
pooler_server_sessions{database="shop",state="closing",user="anna"} 0
pooler_server_sessions{database="shop",state="idle",user="anna"} 1
pooler_server_sessions{database="shop",state="opening",user="anna"} 0
pooler_server_sessions{database="shop",state="reclaiming",user="anna"} 0
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want),
		"pooler_client_sessions", "pooler_clients_waiting", "pooler_longest_wait_seconds", "pooler_server_sessions"); err != nil {
		t.Error(err)
	}
}
