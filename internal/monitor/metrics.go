// Package monitor turns snapshots of the pooler into Prometheus metrics. Nothing here is on the relay's path.
package monitor

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"pooler/backend"
	"pooler/frontend"
	"pooler/pool"
)

// Clients, Pools and Loop are what snapshots are taken of.
type (
	// Clients is the frontend.
	Clients interface{ Stat() frontend.Stat }
	// Pools is the pool manager.
	Pools interface {
		Stats() []pool.Stat
		Lost() map[string]uint64
	}
	// Loop is an event loop.
	Loop interface{ Panics() uint64 }
)

// NewRegistry returns a registry of its own with every metric of the pooler.
func NewRegistry[L Loop](clients Clients, pools Pools, loops []L) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	c := &collector{clients: clients, pools: pools}
	for _, l := range loops {
		c.loops = append(c.loops, l)
	}
	for _, each := range []prometheus.Collector{
		c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(each); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return r, nil
}

type collector struct {
	clients Clients
	pools   Pools
	loops   []Loop
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pooler_"+name, help, labels, nil)
}

var (
	clientsConnected  = desc("client_connections", "Clients connected, logged in or not.")
	clientSessions    = desc("client_sessions", "Clients logged in, by what they do.", "state")
	clientsAccepted   = desc("client_connections_accepted_total", "Connections accepted from clients.")
	clientsTurnedAway = desc("client_connections_turned_away_total", "Connections closed at once because far more than max_client_conn were open.")
	clientsMalformed  = desc("client_connections_malformed_total", "Connections that did not speak PostgreSQL's protocol.")
	logins            = desc("logins_total", "Logins completed.")
	loginsRefused     = desc("logins_refused_total", "Logins refused: wrong password, no such database, no room.")
	refusedByLimit    = desc("clients_refused_total", "Logins refused because a limit on clients was reached, by limit.", "limit")
	loginTimeouts     = desc("login_timeouts_total", "Logins not completed within client_login_timeout.")
	requestsRefused   = desc("requests_refused_total", "Requests answered with an error because no server session was to be had.")
	cancels           = desc("cancel_requests_total", "Cancel requests, by whether their key was right.", "state")
	carries           = desc("settings_carried_total", "Times that a client's settings were put in force on another server session.")
	prepares          = desc("statements_prepared_again_total", "Times that a client's statement was prepared on another server session.")
	audits            = desc("state_audits_total", "Times that PostgreSQL was asked what a session holds.")
	hidden            = desc("hidden_state_total", "Times that a statement left state which its text does not show.")
	leaks             = desc("leaks_total", "Times that state of unknown origin was found on a server session, which was replaced.")
	pins              = desc("pins_total", "Times that a server session was pinned to its client.")
	pinned            = desc("pinned_sessions", "Clients whose server session is pinned to them, by reason; with several reasons, under each.", "reason")
	hookFailures      = desc("hook_failures_total", "Calls of on_get, on_release or state callbacks that failed.")
	queryTimeouts     = desc("query_timeouts_total", "Statements cancelled because of query_timeout.")
	sessionEnds       = desc("client_sessions_ended_total", "Sessions ended, by reason.", "reason")
	peersLost         = desc("peers_lost_total", "Connections that came to an end without a goodbye, by whose and by how that was noticed.", "side", "noticed")
	panics            = desc("panics_total", "Bugs that ended one session each.")

	poolSize      = desc("pool_size", "Limit on server sessions.", "database", "user")
	poolSessions  = desc("server_sessions", "Server sessions, by what they do.", "database", "user", "state")
	poolWaiting   = desc("clients_waiting", "Clients waiting for a server session.", "database", "user")
	longestWait   = desc("longest_wait_seconds", "How long the first of those has waited.", "database", "user")
	leases        = desc("leases_total", "Server sessions asked for.", "database", "user")
	leaseHits     = desc("lease_hits_total", "Of those, served by a session that the client's connection class had used.", "database", "user")
	leaseWaits    = desc("lease_waits_total", "Of those, that had to wait.", "database", "user")
	leaseWaitTime = desc("lease_wait_seconds_total", "Time waited by those that were served.", "database", "user")
	waitTimeouts  = desc("lease_timeouts_total", "Waits ended by query_wait_timeout.", "database", "user")
	opened        = desc("server_sessions_opened_total", "Server sessions opened.", "database", "user")
	retired       = desc("server_sessions_retired_total", "Server sessions closed, by reason.", "database", "user", "reason")
)

// Describe implements prometheus.Collector: the collector is unchecked, since pools come and go.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.collectClients(out)
	for _, s := range c.pools.Stats() {
		collectPool(out, s)
	}
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter[N uint64 | float64](out chan<- prometheus.Metric, d *prometheus.Desc, v N, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (c *collector) collectClients(out chan<- prometheus.Metric) {
	s := c.clients.Stat()
	gauge(out, clientsConnected, float64(s.Clients))
	for state, n := range s.Sessions {
		gauge(out, clientSessions, float64(n), state)
	}
	counter(out, clientsAccepted, s.Accepted)
	counter(out, clientsTurnedAway, s.TurnedAway)
	counter(out, clientsMalformed, s.Malformed)
	counter(out, logins, s.Logins)
	counter(out, loginsRefused, s.LoginsRefused)
	for limit, n := range s.RefusedByLimit {
		counter(out, refusedByLimit, n, limit)
	}
	counter(out, loginTimeouts, s.LoginTimeouts)
	counter(out, requestsRefused, s.RequestsRefused)
	counter(out, cancels, s.Cancels, "known")
	counter(out, cancels, s.CancelsUnknown, "unknown")
	counter(out, carries, s.Carries)
	counter(out, prepares, s.Prepares)
	counter(out, audits, s.Audits)
	counter(out, hidden, s.HiddenState)
	counter(out, leaks, s.Leaks)
	counter(out, pins, s.Pins)
	counter(out, hookFailures, s.HookFailures)
	counter(out, queryTimeouts, s.QueryTimeouts)
	for reason, n := range s.Pinned {
		gauge(out, pinned, float64(n), reason)
	}
	for reason, n := range s.Ends {
		counter(out, sessionEnds, n, reason)
	}
	for noticed, n := range s.Lost {
		counter(out, peersLost, n, "client", noticed)
	}
	for noticed, n := range c.pools.Lost() {
		counter(out, peersLost, n, "server", noticed)
	}
	var sum uint64
	for _, l := range c.loops {
		sum += l.Panics()
	}
	counter(out, panics, sum)
}

func collectPool(out chan<- prometheus.Metric, s pool.Stat) {
	db, user := s.Database, s.User
	gauge(out, poolSize, float64(s.Size), db, user)
	for state, n := range map[string]int{
		"idle": s.Idle, "active": s.Active, "reclaiming": s.Reclaiming, "opening": s.Opening, "closing": s.Closing,
	} {
		gauge(out, poolSessions, float64(n), db, user, state)
	}
	gauge(out, poolWaiting, float64(s.Waiting), db, user)
	gauge(out, longestWait, s.LongestWait.Seconds(), db, user)
	counter(out, leases, s.Requests, db, user)
	counter(out, leaseHits, s.Hits, db, user)
	counter(out, leaseWaits, s.Waits, db, user)
	counter(out, leaseWaitTime, s.WaitTime.Seconds(), db, user)
	counter(out, waitTimeouts, s.Timeouts, db, user)
	counter(out, opened, s.Opened, db, user)
	for _, reason := range backend.RetireReasons() {
		counter(out, retired, s.Retired[reason], db, user, reason.String())
	}
}
