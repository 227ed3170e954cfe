package console

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"pooler/config"
	"pooler/pool"
)

// consoleName is the database under which PgBouncer counts its own console, and consoleUser its user there.
const (
	consoleName = "pgbouncer"
	consoleUser = "pgbouncer"
)

// poolMode is the boundary as PgBouncer's tools understand it: all that is not session shares server sessions between
// transactions at least.
func poolMode(b config.Boundary) any {
	switch b {
	case config.BoundaryInherit:
		return nil
	case config.BoundarySession:
		return "session"
	default:
		return "transaction"
	}
}

// poolRow is a pool as PgBouncer shows it.
type poolRow struct {
	pool.Stat
	canceling int // server sessions lent with a cancel not confirmed
	pinned    int // clients
	boundary  config.Boundary
	console   bool
}

func poolAttrs() []attr[*poolRow] {
	return []attr[*poolRow]{
		{"database", Text, func(r *poolRow) any { return r.Database }},
		{"user", Text, func(r *poolRow) any { return r.User }},
		{"cl_active", Int4, func(r *poolRow) any { return max(0, r.Sessions-r.Waiting) }},
		{"cl_waiting", Int4, func(r *poolRow) any { return r.Waiting }},
		{"cl_active_cancel_req", Int4, zero[*poolRow]}, // cancel requests are no clients of a pool here
		{"cl_waiting_cancel_req", Int4, zero[*poolRow]},
		{"sv_active", Int4, func(r *poolRow) any { return max(0, r.Active-r.canceling) }},
		{"sv_active_cancel", Int4, zero[*poolRow]},
		{"sv_being_canceled", Int4, func(r *poolRow) any { return min(r.canceling, r.Active) }},
		{"sv_idle", Int4, func(r *poolRow) any { return r.Idle }},
		{"sv_used", Int4, zero[*poolRow]}, // there is no server_check_query
		{"sv_tested", Int4, func(r *poolRow) any { return r.Reclaiming }},
		{"sv_login", Int4, func(r *poolRow) any { return r.Opening }},
		{"maxwait", Int4, func(r *poolRow) any { return int(r.LongestWait / time.Second) }},
		{"maxwait_us", Int4, func(r *poolRow) any { return int(r.LongestWait % time.Second / time.Microsecond) }},
		{"pool_mode", Text, func(r *poolRow) any { return r.mode() }},
		{"load_balance_hosts", Text, null[*poolRow]},

		{"pool_boundary", Text, func(r *poolRow) any { return boundaryName(r.boundary) }},
		{"pool_size", Int4, func(r *poolRow) any { return r.Size }},
		{"sv_closing", Int4, func(r *poolRow) any { return r.Closing }},
		{"cl_pinned", Int4, func(r *poolRow) any { return r.pinned }},
		{"classes", Int4, func(r *poolRow) any { return len(r.Classes) }},
		{"requests", Int8, func(r *poolRow) any { return r.Requests }},
		{"hits", Int8, func(r *poolRow) any { return r.Hits }},
		{"waits", Int8, func(r *poolRow) any { return r.Waits }},
		{"wait_seconds", Float8, func(r *poolRow) any { return inSeconds(r.WaitTime) }},
		{"timeouts", Int8, func(r *poolRow) any { return r.Timeouts }},
		{"opened", Int8, func(r *poolRow) any { return r.Opened }},
		{"most_servers", Int4, func(r *poolRow) any { return r.HistoricMax }},
		{"most_servers_at", Timestamp, func(r *poolRow) any { return r.HistoricAt }},
		{"status", Text, func(r *poolRow) any { return orderStatus(r.Orders, serversOf(&r.Stat)) }},
	}
}

func (r *poolRow) mode() any {
	if r.console {
		return "statement" // as PgBouncer says of its console
	}
	return poolMode(r.boundary)
}

// orderStatus is what an administrator has ordered, in DRCP's words and some more. servers is how many server sessions there
// are.
func orderStatus(o pool.Orders, servers int) string {
	switch {
	case o.Stopped && servers > 0:
		return "DRAINING"
	case o.Stopped:
		return "INACTIVE"
	case o.Paused:
		return "PAUSED"
	case o.Disabled:
		return "DISABLED"
	}
	return "ACTIVE"
}

func poolRows(_ context.Context, src *Snapshots) []*poolRow {
	cfg, stats, clients := src.Config(), src.Pools(), src.engaged()
	rows := make([]*poolRow, 0, len(stats)+1)
	byKey := make(map[pool.Key]*poolRow, len(stats))
	for _, st := range stats {
		r := &poolRow{Stat: st, boundary: cfg.Session(config.Client{Database: st.Database, User: st.User}).Boundary}
		rows, byKey[pool.Key{Database: st.Database, User: st.User}] = append(rows, r), r
	}
	for i := range clients {
		r := byKey[pool.Key{Database: clients[i].Database, User: clients[i].User}]
		switch {
		case r == nil:
			continue
		case clients[i].CancelInFlight:
			r.canceling++
		}
		if clients[i].Pinned != "" {
			r.pinned++
		}
	}
	slices.SortFunc(rows, func(a, b *poolRow) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.User, b.User))
	})
	return append(rows, &poolRow{console: true, Stat: pool.Stat{
		Database: consoleName, User: consoleUser, Sessions: len(src.Consoles()), Size: consolePoolSize,
	}})
}

// consolePoolSize is what PgBouncer shows of its console.
const consolePoolSize = 2

// databaseRow is a database of the configuration, or one that the fallback * serves and that is in use.
type databaseRow struct {
	name             string
	config.Database  // of the configuration, with DBName
	pool             config.Pool
	limits           config.ClientLimits
	boundary         config.Boundary // what clients get
	servers, clients int
	orders           pool.Orders
	fallback         bool
	console          bool
}

func databaseAttrs() []attr[*databaseRow] {
	ours := func(of func(*databaseRow) any) func(*databaseRow) any { // what the console has not
		return func(r *databaseRow) any {
			if r.console {
				return nil
			}
			return of(r)
		}
	}
	return []attr[*databaseRow]{
		{"name", Text, func(r *databaseRow) any { return r.name }},
		{"host", Text, ours(func(r *databaseRow) any { return r.Host })},
		{"port", Int4, func(r *databaseRow) any { return r.Port }},
		{"database", Text, func(r *databaseRow) any { return r.DBName }},
		{"force_user", Text, func(r *databaseRow) any { return some(r.User) }},
		{"pool_size", Int4, func(r *databaseRow) any { return r.pool.Size }},
		{"min_pool_size", Int4, func(r *databaseRow) any { return r.pool.MinSize }},
		{"reserve_pool_size", Int4, func(r *databaseRow) any { return r.pool.Reserve }},
		{"server_lifetime", Int4, func(r *databaseRow) any { return int(r.pool.ServerLifetime / time.Second) }},
		{"pool_mode", Text, func(r *databaseRow) any { return r.mode() }},
		{"load_balance_hosts", Text, null[*databaseRow]},
		{"max_connections", Int4, func(r *databaseRow) any { return r.pool.MaxDatabase }},
		{"current_connections", Int4, func(r *databaseRow) any { return r.servers }},
		{"max_client_connections", Int4, func(r *databaseRow) any { return r.limits.Database }},
		{"current_client_connections", Int4, func(r *databaseRow) any { return r.clients }},
		{"paused", Int4, func(r *databaseRow) any { return flag(r.orders.Paused) }},
		{"disabled", Int4, func(r *databaseRow) any { return flag(r.orders.Disabled) }},

		{"reserve_pool", Int4, func(r *databaseRow) any { return r.pool.Reserve }}, // PgBouncer's name until 1.23
		{"pool_boundary", Text, ours(func(r *databaseRow) any { return boundaryName(r.boundary) })},
		{"pool_connection_class", Text, func(r *databaseRow) any { return some(r.PoolConnectionClass) }},
		{"pool_increment", Int4, ours(func(r *databaseRow) any { return r.pool.Increment })},
		{"server_idle_timeout", Int4, ours(func(r *databaseRow) any { return int(r.pool.ServerIdleTimeout / time.Second) })},
		{"max_use_session", Int4, ours(func(r *databaseRow) any { return r.pool.MaxUse })},
		{"fallback", Bool, func(r *databaseRow) any { return r.fallback }},
		{"status", Text, func(r *databaseRow) any { return orderStatus(r.orders, r.servers) }},
	}
}

func (r *databaseRow) mode() any {
	if r.console {
		return "statement"
	}
	return poolMode(r.PoolBoundary) // PgBouncer shows what the database says itself
}

// databaseUse is what a database's pools have, summed up.
type databaseUse struct{ servers, clients int }

func serversOf(st *pool.Stat) int {
	return st.Idle + st.Active + st.Reclaiming + st.Opening + st.Closing
}

func useByDatabase(stats []pool.Stat) map[string]databaseUse {
	uses := map[string]databaseUse{}
	for i := range stats {
		u := uses[stats[i].Database]
		u.servers += serversOf(&stats[i])
		u.clients += stats[i].Sessions
		uses[stats[i].Database] = u
	}
	return uses
}

// withOrdered adds the databases for which something is ordered, also those that nobody uses: an order that stands must
// not be out of sight.
func withOrdered(uses map[string]databaseUse, ordered map[string]pool.Orders) map[string]databaseUse {
	for name := range ordered {
		if _, used := uses[name]; !used {
			uses[name] = databaseUse{}
		}
	}
	return uses
}

// databaseNames is the databases of the configuration, and those of in that * serves.
func databaseNames[V any](cfg *config.Config, in map[string]V) []string {
	names := map[string]bool{}
	for name := range cfg.Databases {
		names[name] = true
	}
	for name := range in {
		names[name] = true
	}
	delete(names, "*")
	return slices.Sorted(maps.Keys(names))
}

func databaseRows(_ context.Context, src *Snapshots) []*databaseRow {
	cfg, uses := src.Config(), withOrdered(useByDatabase(src.Pools()), src.Ordered())
	var rows []*databaseRow
	for _, name := range databaseNames(cfg, uses) {
		db, ok := cfg.Database(name)
		if !ok {
			continue // a reload has removed it; SHOW POOLS has those who are still there
		}
		_, own := cfg.Databases[name]
		resolved, _ := cfg.Pool(name, "")
		session := cfg.Session(config.Client{Database: name})
		rows = append(rows, &databaseRow{
			name: name, Database: db, pool: resolved, limits: session.Limits, boundary: session.Boundary,
			servers: uses[name].servers, clients: uses[name].clients, orders: src.Orders(name), fallback: !own,
		})
	}
	return append(rows, &databaseRow{
		name: consoleName, console: true, clients: len(src.Consoles()),
		Database: config.Database{Port: cfg.ListenPort, DBName: consoleName, User: consoleUser},
		pool:     config.Pool{Size: consolePoolSize, ServerLifetime: time.Duration(cfg.ServerLifetime)},
	})
}

func poolViews() []definition {
	return []definition{
		define("pools", "pools, by database and user: clients, server sessions, waiting", poolAttrs(), poolRows),
		define("databases", "databases, their limits and what is used of those", databaseAttrs(), databaseRows),
	}
}
