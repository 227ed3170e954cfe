package console

import (
	"context"
	"strconv"

	"pooler/config"
	"pooler/pool"
)

// userRow is a user: of the configuration, or one that is connected.
type userRow struct {
	name string
	config.User
	maxServers, maxClients int
	servers, clients       int
	configured             bool
	console                string // what it may do on the console
}

func userAttrs() []attr[*userRow] {
	return []attr[*userRow]{
		{"name", Text, func(r *userRow) any { return r.name }},
		{"pool_size", Text, func(r *userRow) any { return ownSize(r.PoolSize > 0, r.PoolSize) }},
		{"reserve_pool_size", Text, func(r *userRow) any { return ownSize(r.ReservePoolSize != nil, pointed(r.ReservePoolSize, 0)) }},
		{"pool_mode", Text, func(r *userRow) any { return poolMode(r.PoolBoundary) }},
		{"max_user_connections", Int4, func(r *userRow) any { return r.maxServers }},
		{"current_connections", Int4, func(r *userRow) any { return r.servers }},
		{"max_user_client_connections", Int4, func(r *userRow) any { return r.maxClients }},
		{"current_client_connections", Int4, func(r *userRow) any { return r.clients }},

		{"pool_boundary", Text, func(r *userRow) any { return boundaryName(r.PoolBoundary) }},
		{"pool_connection_class", Text, func(r *userRow) any { return some(r.PoolConnectionClass) }},
		{"configured", Bool, func(r *userRow) any { return r.configured }},
		{"console", Text, func(r *userRow) any { return some(r.console) }},
	}
}

// ownSize is a size that a user has of its own, as text, as PgBouncer has it.
func ownSize(set bool, n int) string {
	if !set {
		return ""
	}
	return strconv.Itoa(n)
}

// pointed is what p points at, or otherwise.
func pointed(p *int, otherwise int) int {
	if p == nil {
		return otherwise
	}
	return *p
}

// userRows is the users of the configuration and those who are connected, the console's own last.
func userRows(cfg *config.Config, stats []pool.Stat) []*userRow {
	byName := map[string]*userRow{}
	of := func(name string) *userRow {
		r := byName[name]
		if r == nil {
			u, configured := cfg.Users[name]
			r = &userRow{
				name: name, User: u, configured: configured,
				maxServers: pointed(u.MaxUserConnections, cfg.MaxUserConnections),
				maxClients: pointed(u.MaxUserClientConnections, cfg.MaxUserClientConnections),
			}
			byName[name] = r
		}
		return r
	}
	for name := range cfg.Users {
		of(name)
	}
	for i := range stats {
		r := of(stats[i].User)
		r.servers += serversOf(&stats[i])
		r.clients += stats[i].Sessions
	}
	of(consoleUser).console = "admin"
	for _, name := range cfg.StatsUsers {
		of(name).console = "stats"
	}
	for _, name := range cfg.AdminUsers {
		of(name).console = "admin"
	}
	return sortedRows(byName)
}

func peopleViews() []definition {
	return []definition{
		define("users", "users, their limits and what is used of those", userAttrs(),
			func(_ context.Context, src *Snapshots) []*userRow { return userRows(src.Config(), src.Pools()) }),
		define("lists", "how many there are of everything", listAttrs(), listRows),
	}
}

// listRow is a row of SHOW LISTS, which has PgBouncer's two columns only: tools take it for a map.
type listRow struct {
	name  string
	items int
}

func listAttrs() []attr[listRow] {
	return []attr[listRow]{
		{"list", Text, func(l listRow) any { return l.name }},
		{"items", Int4, func(l listRow) any { return l.items }},
	}
}

func listRows(_ context.Context, src *Snapshots) []listRow {
	cfg, stats, st := src.Config(), src.Pools(), src.Stat()
	var servers int
	for i := range stats {
		servers += serversOf(&stats[i])
	}
	consoles := len(src.Consoles())
	loggedIn := int(st.Sessions["idle"] + st.Sessions["waiting"] + st.Sessions["active"])
	return []listRow{
		{"databases", len(databaseNames(cfg, withOrdered(useByDatabase(stats), src.Ordered()))) + 1}, // with the console, as below
		{"users", len(userRows(cfg, stats))},
		{"peers", 0},
		{"pools", len(stats) + 1},
		{"peer_pools", 0},
		{"free_clients", 0}, // nothing is kept for clients to come
		{"used_clients", int(st.Clients) + consoles},
		{"login_clients", max(0, int(st.Clients)-loggedIn)},
		{"free_servers", 0},
		{"used_servers", servers},
		{"dns_names", len(hostNames(cfg))},
		{"dns_zones", 0},
		{"dns_queries", 0},
		{"dns_pending", 0},
	}
}
