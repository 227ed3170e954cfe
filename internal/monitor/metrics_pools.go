package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"pooler/backend"
	"pooler/frontend"
	"pooler/pool"
)

var (
	poolSize       = desc("pool_size", "Limit on the pool's server sessions.", "database", "user")
	poolClients    = desc("pool_clients", "Clients of the pool, by what they do.", "database", "user", "state")
	poolPinned     = desc("pool_clients_pinned", "Clients of the pool whose server session is pinned to them.", "database", "user")
	poolSessions   = desc("server_sessions", "Server sessions, by what they do.", "database", "user", "state")
	poolWaiting    = desc("clients_waiting", "Clients waiting for a server session.", "database", "user")
	longestWait    = desc("longest_wait_seconds", "How long the client that is next has waited for a server session.", "database", "user")
	leases         = desc("leases_total", "Server sessions asked for.", "database", "user")
	leaseHits      = desc("lease_hits_total", "Server sessions lent that the client's connection class had used before.", "database", "user")
	leaseMisses    = desc("lease_misses_total", "Server sessions lent that the client's connection class had not used before.", "database", "user")
	leaseWaits     = desc("lease_waits_total", "Requests for a server session that had to wait.", "database", "user")
	leaseWaitTime  = desc("lease_wait_seconds_total", "Time waited for server sessions by those that were served.", "database", "user")
	waitTimeouts   = desc("lease_timeouts_total", "Waits for a server session ended by query_wait_timeout.", "database", "user")
	opened         = desc("server_sessions_opened_total", "Server sessions opened.", "database", "user")
	retired        = desc("server_sessions_retired_total", "Server sessions closed, by reason.", "database", "user", "reason")
	multiplexRatio = desc("multiplex_ratio", "Clients logged in for each open server session; not there while none is open.")
)

func collectPool(out chan<- prometheus.Metric, s *pool.Stat) {
	db, user := s.Database, s.User
	gauge(out, poolSize, s.Size, db, user)
	gauges(out, poolSessions, map[string]int{
		"idle": s.Idle, "active": s.Active, "reclaiming": s.Reclaiming, "opening": s.Opening, "closing": s.Closing,
	}, db, user)
	gauge(out, poolWaiting, s.Waiting, db, user)
	gauge(out, longestWait, s.LongestWait.Seconds(), db, user)
	counter(out, leases, s.Requests, db, user)
	counter(out, leaseHits, s.Hits, db, user)
	counter(out, leaseMisses, s.Misses, db, user)
	counter(out, leaseWaits, s.Waits, db, user)
	counter(out, leaseWaitTime, s.WaitTime.Seconds(), db, user)
	counter(out, waitTimeouts, s.Timeouts, db, user)
	counter(out, opened, s.Opened, db, user)
	for _, reason := range backend.RetireReasons() {
		counter(out, retired, s.Retired[reason], db, user, reason.String())
	}
}

// poolUse is what the clients of a pool do.
type poolUse struct{ active, idle, inTransaction, waiting, pinned int }

// collectUse is what clients do, by pool, and how far they share server sessions.
func (c *collector) collectUse(out chan<- prometheus.Metric, s frontend.Stat, pools []pool.Stat) {
	uses := map[pool.Key]*poolUse{}
	var loggedIn int64
	var open, holding, held int
	for i := range pools {
		p := &pools[i]
		uses[pool.Key{Database: p.Database, User: p.User}] = &poolUse{}
		open += p.Idle + p.Active + p.Reclaiming
	}
	for _, source := range c.clients.Sources() {
		key := pool.Key{Database: source.Database, User: source.User}
		if uses[key] == nil {
			key = othersKey
		}
		if uses[key] == nil {
			uses[key] = &poolUse{}
		}
		u := uses[key]
		u.active, u.idle, u.inTransaction = u.active+source.Active, u.idle+source.Idle, u.inTransaction+source.InTransaction
		u.waiting, u.pinned = u.waiting+source.Waiting, u.pinned+source.Pinned
		holding, held = holding+source.Holding, held+source.Pinned
	}
	for key, u := range uses {
		gauges(out, poolClients, map[string]int{
			"active": u.active, "idle": u.idle, "idle_in_transaction": u.inTransaction, "waiting": u.waiting,
		}, key.Database, key.User)
		gauge(out, poolPinned, u.pinned, key.Database, key.User)
	}
	for _, n := range s.Sessions {
		loggedIn += n
	}
	if open > 0 {
		gauge(out, multiplexRatio, float64(loggedIn)/float64(open))
	}
	gauge(out, pinnedRatio, float64(held)/float64(max(holding, held, 1)))
}
