package console

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// cpool is a pool in DRCP's sense, which is a database here: its users' pools together.
type cpool struct {
	name             string
	container        string // PostgreSQL's name of the database
	info             config.PoolInfo
	session          config.Session
	orders           pool.Orders
	servers, clients int
	loops            int
}

func cpoolInfoAttrs() []attr[*cpool] {
	seconds := func(d time.Duration) any { return int64(d / time.Second) }
	return []attr[*cpool]{
		{"connection_pool", Text, func(p *cpool) any { return p.name }},
		{"status", Text, func(p *cpool) any { return orderStatus(p.orders, p.servers) }},
		{"minsize", Int4, func(p *cpool) any { return p.info.MinSize }},
		{"maxsize", Int4, func(p *cpool) any { return p.info.MaxSize }},
		{"incrsize", Int4, func(p *cpool) any { return p.info.IncrSize }},
		{"session_cached_cursors", Int4, func(p *cpool) any { return p.info.SessionCachedCursors }},
		{"inactivity_timeout", Int8, func(p *cpool) any { return seconds(p.info.InactivityTimeout) }},
		{"max_think_time", Int8, func(p *cpool) any { return seconds(p.info.MaxThinkTime) }},
		{"max_use_session", Int4, func(p *cpool) any { return p.info.MaxUseSession }},
		{"max_lifetime_session", Int8, func(p *cpool) any { return seconds(p.info.MaxLifetimeSession) }},
		{"num_cbrok", Int4, func(p *cpool) any { return some(p.loops) }},
		{"maxconn_cbrok", Int4, func(p *cpool) any { return p.info.MaxConnCBrok }},
		{"max_txn_think_time", Int8, func(p *cpool) any { return seconds(p.info.MaxTxnThinkTime) }},
		{"con_id", Text, func(p *cpool) any { return some(p.container) }},

		{"pool_boundary", Text, func(p *cpool) any { return boundaryName(p.session.Boundary) }},
		{"pool_purity", Text, func(p *cpool) any { return some(string(p.session.Purity)) }},
		{"pool_connection_class", Text, func(p *cpool) any { return some(p.session.Class) }},
		{"num_servers", Int4, func(p *cpool) any { return p.servers }},
		{"num_clients", Int4, func(p *cpool) any { return p.clients }},
	}
}

// cpools is the top level, the databases of the configuration, and those in use that * serves.
func cpools(_ context.Context, src *Snapshots) []*cpool {
	cfg, uses := src.Config(), useByDatabase(src.Pools())
	top := &cpool{name: defaultPool, info: cfg.DefaultPoolInfo(), session: cfg.Session(config.Client{}), orders: src.Orders("")}
	top.loops = cmp.Or(src.Loops, top.info.NumCBrok)
	rows := []*cpool{top}
	names := databaseNames(cfg, uses)
	if _, ok := cfg.Databases["*"]; ok {
		names = append(names, "*")
	}
	for _, name := range names {
		info, own := cfg.PoolInfo(name)
		if !own {
			if info, own = cfg.PoolInfo("*"); !own {
				continue // a reload has removed it
			}
		}
		p := &cpool{
			name: name, info: info, session: cfg.Session(config.Client{Database: name}), orders: src.Orders(name),
			container: container(cfg, name), servers: uses[name].servers, clients: uses[name].clients,
		}
		rows = append(rows, p)
		p.loops = top.loops
		top.servers, top.clients = top.servers+p.servers, top.clients+p.clients
	}
	return rows
}

// container is what DRCP has a number for: the database in PostgreSQL.
func container(cfg *config.Config, name string) string {
	if name == "*" {
		return ""
	}
	db, _ := cfg.Database(name)
	return db.DBName
}

// cpoolUse is what became of the requests of a pool in DRCP's sense.
type cpoolUse struct {
	name, container string
	stat            pool.Stat // of all its users' pools together
	users           int
	logins, purged  uint64
	waits           spread
}

func cpoolStatsAttrs() []attr[*cpoolUse] {
	return []attr[*cpoolUse]{
		{"pool_name", Text, func(u *cpoolUse) any { return u.name }},
		{"num_open_servers", Int4, func(u *cpoolUse) any { return serversOf(&u.stat) }},
		{"num_busy_servers", Int4, func(u *cpoolUse) any { return u.stat.Active + u.stat.Reclaiming }},
		{"num_auth_servers", Int4, zero[*cpoolUse]}, // clients are authenticated without a server
		{"num_requests", Int8, func(u *cpoolUse) any { return u.stat.Requests }},
		{"num_hits", Int8, func(u *cpoolUse) any { return u.stat.Hits }},
		{"num_misses", Int8, func(u *cpoolUse) any { return u.stat.Misses }},
		{"num_waits", Int8, func(u *cpoolUse) any { return u.stat.Waits }},
		{"wait_time", Int8, func(u *cpoolUse) any { return u.stat.WaitTime.Microseconds() }}, // reserved with DRCP, as the next
		{"client_req_timeouts", Int8, func(u *cpoolUse) any { return u.stat.Timeouts }},
		{"num_authentications", Int8, func(u *cpoolUse) any { return u.logins }},
		{"num_purged", Int8, func(u *cpoolUse) any { return u.purged }},
		{"historic_max", Int4, func(u *cpoolUse) any { return u.stat.HistoricMax }},
		{"con_id", Text, func(u *cpoolUse) any { return some(u.container) }},

		{"num_waiting", Int4, func(u *cpoolUse) any { return u.stat.Waiting }},
		{"num_clients", Int4, func(u *cpoolUse) any { return u.stat.Sessions }},
		{"num_opened", Int8, func(u *cpoolUse) any { return u.stat.Opened }},
		{"num_users", Int4, func(u *cpoolUse) any { return u.users }},
		{"wait_p50_us", Int8, func(u *cpoolUse) any { return u.waits.at(0.50) }},
		{"wait_p95_us", Int8, func(u *cpoolUse) any { return u.waits.at(0.95) }},
		{"wait_p99_us", Int8, func(u *cpoolUse) any { return u.waits.at(0.99) }},
		{"longest_wait_seconds", Float8, func(u *cpoolUse) any { return inSeconds(u.stat.LongestWait) }},
	}
}

// addStat adds what a pool has and has done to the sum of several.
func addStat(sum, st *pool.Stat) {
	sum.Idle += st.Idle
	sum.Active += st.Active
	sum.Reclaiming += st.Reclaiming
	sum.Opening += st.Opening
	sum.Closing += st.Closing
	sum.Sessions += st.Sessions
	sum.Waiting += st.Waiting
	sum.LongestWait = max(sum.LongestWait, st.LongestWait)
	sum.HistoricMax += st.HistoricMax // of each, which they need not have reached together
	sum.Opened += st.Opened
	addUse(&sum.Use, st.Use)
}

func addUse(sum *pool.Use, u pool.Use) {
	sum.Requests += u.Requests
	sum.Hits += u.Hits
	sum.Misses += u.Misses
	sum.Waits += u.Waits
	sum.WaitTime += u.WaitTime
	sum.Timeouts += u.Timeouts
}

func cpoolStats(_ context.Context, src *Snapshots) []*cpoolUse {
	cfg, byName := src.Config(), map[string]*cpoolUse{}
	of := func(name string) *cpoolUse {
		u := byName[name]
		if u == nil {
			u = &cpoolUse{name: name, container: container(cfg, name)}
			byName[name] = u
		}
		return u
	}
	for _, name := range databaseNames[bool](cfg, nil) {
		of(name)
	}
	for _, st := range src.Pools() {
		u := of(st.Database)
		addStat(&u.stat, &st)
		u.users++
		for _, n := range st.Retired {
			u.purged += n
		}
	}
	for _, st := range src.Databases() {
		if u := byName[st.Database]; u != nil {
			u.logins = st.Total.Logins
		}
	}
	for _, h := range src.Histograms() {
		if u := byName[h.Database]; u != nil && h.Phase == "wait" {
			u.waits.add(h)
		}
	}
	return sortedRows(byName)
}

// classRow is a connection class in a pool.
type classRow struct {
	database, user, container string
	pool.ClassStat
	logins uint64
	pinned int
}

// className is how DRCP names a class: with its user. Who has none is in his user's.
func className(user, class string) string {
	if class == "" {
		return user
	}
	return user + "." + class
}

func ccStatsAttrs() []attr[*classRow] {
	return []attr[*classRow]{
		{"cclass_name", Text, func(c *classRow) any { return className(c.user, c.Name) }},
		{"num_requests", Int8, func(c *classRow) any { return c.Requests }},
		{"num_hits", Int8, func(c *classRow) any { return c.Hits }},
		{"num_misses", Int8, func(c *classRow) any { return c.Misses }},
		{"num_waits", Int8, func(c *classRow) any { return c.Waits }},
		{"wait_time", Int8, func(c *classRow) any { return c.WaitTime.Microseconds() }},
		{"client_req_timeouts", Int8, func(c *classRow) any { return c.Timeouts }},
		{"num_authentications", Int8, func(c *classRow) any { return c.logins }},
		{"con_id", Text, func(c *classRow) any { return some(c.container) }},

		{"pool_name", Text, func(c *classRow) any { return c.database }},
		{"username", Text, func(c *classRow) any { return c.user }},
		{"class", Text, func(c *classRow) any { return c.Name }},
		{"num_servers", Int4, func(c *classRow) any { return c.Conns }},
		{"num_clients", Int4, func(c *classRow) any { return c.Sessions }},
		{"num_waiting", Int4, func(c *classRow) any { return c.Waiting }},
		{"num_pinned", Int4, func(c *classRow) any { return c.pinned }},
	}
}

func classRows(src *Snapshots) []*classRow {
	cfg := src.Config()
	var rows []*classRow
	for _, st := range src.Pools() {
		for _, c := range st.Classes {
			rows = append(rows, &classRow{database: st.Database, user: st.User, container: container(cfg, st.Database), ClassStat: c})
		}
	}
	slices.SortFunc(rows, func(a, b *classRow) int {
		return cmp.Or(cmp.Compare(a.database, b.database), cmp.Compare(a.user, b.user), cmp.Compare(a.Name, b.Name))
	})
	return rows
}

func ccStats(_ context.Context, src *Snapshots) []*classRow {
	type key struct{ database, user, class string }
	rows := classRows(src)
	byKey := make(map[key]*classRow, len(rows))
	for _, r := range rows {
		byKey[key{r.database, r.user, r.Name}] = r
	}
	for _, s := range src.Sources() {
		if r := byKey[key{s.Database, s.User, s.Class}]; r != nil {
			r.logins += s.Logins
			r.pinned += s.Pinned
		}
	}
	return rows
}

func ccInfoAttrs() []attr[*classRow] {
	return []attr[*classRow]{
		{"pool_name", Text, func(c *classRow) any { return c.database }},
		{"cclass_name", Text, func(c *classRow) any { return className(c.user, c.Name) }},
		{"con_id", Text, func(c *classRow) any { return some(c.container) }},
	}
}

// connInfo is a client as DRCP shows it.
type connInfo struct {
	*frontend.ClientInfo
	now       time.Time
	container string
}

// connStatus is the status in DRCP's words, and two more for those that keep a server session without using it.
func connStatus(c *frontend.ClientInfo) string {
	switch {
	case c.Leaving:
		return "CLOSING"
	case c.State == "login":
		return "CONNECTING"
	case !c.Waiting.IsZero():
		return "WAITING"
	case c.State == "idle_in_transaction":
		return "IDLE_IN_TX"
	case c.State == "idle_keeping_session" && c.Pinned != "":
		return "PINNED"
	case c.Server != 0:
		return "ACTIVE"
	case c.State == "idle":
		return "IDLE"
	}
	return "NONE" // the pooler has something to do for it
}

func connInfoAttrs() []attr[connInfo] {
	type c = connInfo
	return []attr[connInfo]{
		{"cmon_addr", Text, func(c c) any { return listenerOf(c.Local) }},
		{"session_addr", Text, func(c c) any { return serverOf(c.ClientInfo) }},
		{"connection_addr", Text, func(c c) any { return clientPtr(c.ID) }},
		{"username", Text, func(c c) any { return c.User }},
		{"proxy_user", Text, null[connInfo]},
		{"cclass_name", Text, func(c c) any { return className(c.User, c.Class) }},
		{"purity", Text, func(c c) any { return some(strings.ToUpper(string(c.Purity))) }},
		{"tag", Text, null[connInfo]},
		{"service", Text, func(c c) any { return c.Database }},
		{"process_id", Text, func(c c) any { return some(c.PeerPID) }},
		{"program", Text, func(c c) any { return some(c.Application) }},
		{"machine", Text, func(c c) any { return pgbAddr(c.Remote) }},
		{"terminal", Text, func(c c) any { return some(c.Remote.Port()) }},
		{"connection_mode", Text, func(c c) any { return boundaryName(c.Boundary) }},
		{"connection_status", Text, func(c c) any { return connStatus(c.ClientInfo) }},
		{"client_regid", Int8, null[connInfo]},
		{"curstatus_time", Int8, func(c c) any { return ago(c.now, c.Since).Microseconds() }},
		{"idle_time", Int8, null[connInfo]}, // times are summed up by source, not by client
		{"active_time", Int8, null[connInfo]},
		{"wait_time", Int8, null[connInfo]},
		{"think_time", Int8, null[connInfo]},
		{"last_idle_time", Int8, null[connInfo]},
		{"last_active_time", Int8, null[connInfo]},
		{"last_wait_time", Int8, null[connInfo]},
		{"last_think_time", Int8, null[connInfo]},
		{"con_id", Text, func(c c) any { return some(c.container) }},

		{"server_pid", Int4, func(c c) any { return some(int32(c.ServerPID)) }},
		{"connect_time", Timestamp, func(c c) any { return c.Connected }},
		{"transactions", Int8, func(c c) any { return c.Transactions }},
		{"pin_reason", Text, func(c c) any { return some(c.Pinned) }},
		{"pin_since", Timestamp, func(c c) any { return c.PinnedSince }},
		{"last_query", Text, func(c c) any { return some(c.Statement) }},
	}
}

// listenerOf is where a client has come in.
func listenerOf(local netip.AddrPort) string {
	if !local.IsValid() {
		return "unix"
	}
	return local.String()
}

func connInfos(_ context.Context, src *Snapshots) []connInfo {
	cfg, now, clients := src.Config(), src.Now(), src.Clients(nil)
	slices.SortFunc(clients, func(a, b frontend.ClientInfo) int { return cmp.Compare(a.ID, b.ID) })
	containers := map[string]string{}
	rows := make([]connInfo, 0, len(clients))
	for i := range clients {
		c := &clients[i]
		name, known := containers[c.Database]
		if !known {
			name = container(cfg, c.Database)
			containers[c.Database] = name
		}
		rows = append(rows, connInfo{ClientInfo: c, now: now, container: name})
	}
	return rows
}

// authGate is where logins wait for their turn.
type authGate struct {
	name                    string
	limit, running, waiting int
}

func authAttrs() []attr[authGate] {
	return []attr[authGate]{
		{"num_srvs", Int4, func(g authGate) any { return g.limit }},
		{"num_busy", Int4, func(g authGate) any { return g.running }},
		{"num_free", Int4, func(g authGate) any { return max(0, g.limit-g.running) }},
		{"num_waiters", Int4, func(g authGate) any { return g.waiting }},
		{"con_id", Text, null[authGate]},

		{"gate", Text, func(g authGate) any { return g.name }},
	}
}

func authGates(_ context.Context, src *Snapshots) []authGate {
	var gates []authGate
	if src.Proofs != nil {
		limit, running, waiting := src.Proofs()
		gates = append(gates, authGate{"clients", limit, running, waiting})
	}
	for _, l := range src.Logins() {
		gates = append(gates, authGate{"logins to " + l.Addr.String(), l.Limit, l.Running, l.Waiting})
	}
	return gates
}

func drcpViews() []definition {
	return []definition{
		define("cpool_info", "DRCP's: how each pool is configured, and whether it is started", cpoolInfoAttrs(), cpools),
		define("cpool_stats", "DRCP's: what became of requests for server sessions, by pool", cpoolStatsAttrs(), cpoolStats),
		define("cpool_cc_stats", "DRCP's: the same by connection class", ccStatsAttrs(), ccStats),
		define("cpool_cc_info", "DRCP's: connection classes in use", ccInfoAttrs(),
			func(_ context.Context, src *Snapshots) []*classRow { return classRows(src) }),
		define("cpool_conn_info", "DRCP's: clients and what they do", connInfoAttrs(), connInfos),
		define("authpool_stats", "DRCP's: how many logins are under way, and how many wait for their turn", authAttrs(), authGates),
	}
}
