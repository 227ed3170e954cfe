package console

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// socket is a connection as PgBouncer shows it: a client's or a server's.
type socket struct {
	kind, user, database, state string
	remote, local               netip.AddrPort // not valid: a Unix socket
	unixPort                    int            // what PgBouncer shows as the port of one
	connected, requested        time.Time
	wait                        time.Duration
	closeNeeded                 bool
	ptr, link                   string
	pid                         int
	application                 string
	tls                         string // "": none
	prepared                    any    // how many statements; nil: not known
	id                          uint64

	now    time.Time
	client *frontend.ClientInfo // the client, or the one that holds the server; nil: nobody does
	server *pool.ServerInfo     // of a server
}

// clientPtr and serverPtr name objects where PgBouncer shows their addresses: they last as long as the object.
func clientPtr(id frontend.SessionID) string { return "c" + strconv.FormatUint(uint64(id), 10) }
func serverPtr(id backend.ConnID) string     { return "s" + strconv.FormatUint(uint64(id), 10) }

// pgbTime is a time as PgBouncer shows it, which is as text.
func pgbTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// pgbAddr is an address as PgBouncer shows it.
func pgbAddr(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.Addr().Unmap().String()
}

func (s *socket) port(a netip.AddrPort) int {
	if !a.IsValid() {
		return s.unixPort
	}
	return int(a.Port())
}

func socketAttrs() []attr[*socket] {
	return []attr[*socket]{
		{"type", Text, func(s *socket) any { return s.kind }},
		{"user", Text, func(s *socket) any { return s.user }},
		{"database", Text, func(s *socket) any { return s.database }},
		{"replication", Text, func(*socket) any { return "none" }},
		{"state", Text, func(s *socket) any { return s.state }},
		{"addr", Text, func(s *socket) any { return pgbAddr(s.remote) }},
		{"port", Int4, func(s *socket) any { return s.port(s.remote) }},
		{"local_addr", Text, func(s *socket) any { return pgbAddr(s.local) }},
		{"local_port", Int4, func(s *socket) any { return s.port(s.local) }},
		{"connect_time", Text, func(s *socket) any { return pgbTime(s.connected) }},
		{"request_time", Text, func(s *socket) any { return pgbTime(s.requested) }},
		{"wait", Int4, func(s *socket) any { return int(s.wait / time.Second) }},
		{"wait_us", Int4, func(s *socket) any { return int(s.wait % time.Second / time.Microsecond) }},
		{"close_needed", Int4, func(s *socket) any { return flag(s.closeNeeded) }},
		{"ptr", Text, func(s *socket) any { return s.ptr }},
		{"link", Text, func(s *socket) any { return s.link }},
		{"remote_pid", Int4, func(s *socket) any { return s.pid }},
		{"tls", Text, func(s *socket) any { return s.tls }},
		{"application_name", Text, func(s *socket) any { return s.application }},
		{"prepared_statements", Int4, func(s *socket) any { return s.prepared }},
		{"id", Int8, func(s *socket) any { return s.id }}, // Int4 with PgBouncer, which a busy month goes beyond
	}
}

// clientAttrs are ours, of clients.
func clientAttrs() []attr[*socket] {
	return []attr[*socket]{
		{"class", Text, func(s *socket) any { return some(s.client.Class) }},
		{"pool_boundary", Text, func(s *socket) any { return boundaryName(s.client.Boundary) }},
		{"pool_purity", Text, func(s *socket) any { return some(string(s.client.Purity)) }},
		{"activity", Text, func(s *socket) any { return s.client.State }},
		{"activity_seconds", Float8, func(s *socket) any { return secondsSince(s.now, s.client.Since) }},
		{"connected_seconds", Float8, func(s *socket) any { return secondsSince(s.now, s.client.Connected) }},
		{"transaction_seconds", Float8, func(s *socket) any { return secondsSince(s.now, s.client.Transaction) }},
		{"held_seconds", Float8, func(s *socket) any { return secondsSince(s.now, s.client.Held) }},
		{"running_seconds", Float8, func(s *socket) any { return secondsSince(s.now, s.client.Running) }},
		{"server_pid", Int4, func(s *socket) any { return some(int32(s.client.ServerPID)) }},
		{"pinned", Text, func(s *socket) any { return some(s.client.Pinned) }},
		{"transactions", Int8, func(s *socket) any { return s.client.Transactions }},
		{"settings", Int4, func(s *socket) any { return s.client.SettingsHeld }},
		{"statement", Text, func(s *socket) any { return some(s.client.Statement) }},
		{"last_statement", Text, func(s *socket) any { return some(s.client.LastStatement) }},
		{"first_statement", Text, func(s *socket) any { return some(s.client.FirstStatement) }},
		{"comment", Text, func(s *socket) any { return some(s.client.Comment) }},
		{"statements", Int8, func(s *socket) any { return s.client.Statements }},
	}
}

// serverAttrs are ours, of servers.
func serverAttrs() []attr[*socket] {
	held := func(of func(*socket) any) func(*socket) any { // of the client that holds it
		return func(s *socket) any {
			if s.client == nil {
				return nil
			}
			return of(s)
		}
	}
	return []attr[*socket]{
		{"class", Text, func(s *socket) any { return some(s.server.Class) }},
		{"pool_user", Text, func(s *socket) any { return s.server.User }},
		{"server_database", Text, func(s *socket) any { return some(s.server.DBName) }},
		{"activity", Text, func(s *socket) any { return serverActivity(s.server, s.client) }},
		{"activity_seconds", Float8, func(s *socket) any { return inSeconds(s.server.InState) }},
		{"age_seconds", Float8, func(s *socket) any { return secondsSince(s.now, s.server.Created) }},
		{"uses", Int8, func(s *socket) any { return s.server.Uses }},
		{"client_id", Int8, held(func(s *socket) any { return s.client.ID })},
		{"client_user", Text, held(func(s *socket) any { return s.client.User })},
		{"client_addr", Text, held(func(s *socket) any { return pgbAddr(s.client.Remote) })},
		{"transaction_seconds", Float8, held(func(s *socket) any { return secondsSince(s.now, s.client.Transaction) })},
		{"pinned", Text, held(func(s *socket) any { return some(s.client.Pinned) })},
		{"statement", Text, held(func(s *socket) any { return some(s.client.Statement) })},
	}
}

// bufferAttrs are what SHOW SOCKETS shows of PgBouncer's buffers. Ours are empty between two events.
func bufferAttrs() []attr[*socket] {
	return []attr[*socket]{
		{"recv_pos", Int4, zero[*socket]},
		{"pkt_pos", Int4, zero[*socket]},
		{"pkt_remain", Int4, zero[*socket]},
		{"send_pos", Int4, zero[*socket]},
		{"send_remain", Int4, zero[*socket]},
		{"pkt_avail", Int4, zero[*socket]},
		{"send_avail", Int4, zero[*socket]},
	}
}

func boundaryName(b config.Boundary) any {
	if b == config.BoundaryInherit {
		return nil
	}
	return b.String()
}

// serverActivity is what a server session does, more finely than PgBouncer says it.
func serverActivity(s *pool.ServerInfo, holder *frontend.ClientInfo) string {
	if holder != nil {
		return holder.State
	}
	return s.State.String()
}

func socketViews() []definition {
	withBuffers := append(socketAttrs(), bufferAttrs()...)
	return []definition{
		define("clients", "clients, what they do and what they hold", append(socketAttrs(), clientAttrs()...),
			func(_ context.Context, src *Snapshots) []*socket { return clientSockets(src, src.Config()) }),
		define("servers", "server sessions, and who holds them", append(socketAttrs(), serverAttrs()...),
			func(ctx context.Context, src *Snapshots) []*socket { return serverSockets(ctx, src, src.engaged()) }),
		define("sockets", "connections of clients and servers", withBuffers,
			func(ctx context.Context, src *Snapshots) []*socket { return allSockets(ctx, src, src.Config(), false) }),
		define("active_sockets", "connections on which something is going on", withBuffers,
			func(ctx context.Context, src *Snapshots) []*socket { return allSockets(ctx, src, src.Config(), true) }),
		define("fds", "connections as an online restart of PgBouncer's would hand them over, without secrets", fdAttrs(), descriptors),
	}
}

// clientSockets is the clients, those of the console last.
func clientSockets(src *Snapshots, cfg *config.Config) []*socket {
	now, port := src.Now(), cfg.ListenPort
	clients, consoles := src.Clients(nil), src.Consoles()
	byID := func(a, b frontend.ClientInfo) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(clients, byID)
	slices.SortFunc(consoles, byID)
	all := make([]socket, 0, len(clients)+len(consoles)) // thousands: one piece of memory
	for i := range clients {
		all = append(all, clientSocket(&clients[i], now, port))
	}
	for i := range consoles {
		all = append(all, clientSocket(&consoles[i], now, port))
	}
	list := make([]*socket, len(all))
	for i := range all {
		list[i] = &all[i]
	}
	return list
}

func clientSocket(c *frontend.ClientInfo, now time.Time, port int) socket {
	s := socket{
		kind: "C", user: c.User, database: c.Database, state: clientState(c),
		remote: c.Remote, local: c.Local, unixPort: port, connected: c.Connected, requested: c.Since,
		wait: ago(now, c.Waiting), closeNeeded: c.Leaving, ptr: clientPtr(c.ID), pid: c.PeerPID,
		application: c.Application, tls: c.TLS, prepared: c.Prepared, id: uint64(c.ID), now: now, client: c,
	}
	if c.Server != 0 {
		s.link = serverPtr(c.Server)
	}
	return s
}

// clientState is the state in PgBouncer's words: active is who holds a server session, or has the console at work.
func clientState(c *frontend.ClientInfo) string {
	switch {
	case !c.Waiting.IsZero():
		return "waiting"
	case c.Server != 0, config.IsConsole(c.Database) && c.State == "active":
		return "active"
	}
	return "idle"
}

// serverSockets is the server sessions, by pool; clients may hold them.
func serverSockets(ctx context.Context, src *Snapshots, clients []frontend.ClientInfo) []*socket {
	now, servers := src.Now(), src.Servers()
	prepared := map[backend.ConnID]int{}
	if src.ServerPrepared != nil {
		prepared = src.ServerPrepared(ctx)
	}
	holders := make(map[backend.ConnID]*frontend.ClientInfo, len(servers))
	for i := range clients {
		if id := clients[i].Server; id != 0 {
			holders[id] = &clients[i]
		}
	}
	list := make([]*socket, 0, len(servers))
	for i := range servers {
		s := serverSocket(&servers[i], holders[servers[i].ID], now)
		if n, known := prepared[servers[i].ID]; known {
			s.prepared = n
		}
		list = append(list, s)
	}
	return list
}

func serverSocket(sv *pool.ServerInfo, holder *frontend.ClientInfo, now time.Time) *socket {
	if sv.State != pool.ServerActive {
		holder = nil // it has given it back between the two snapshots
	}
	s := &socket{
		kind: "S", user: sv.ServerUser, database: sv.Database, state: serverState(sv, holder),
		remote: sv.Remote, local: sv.Local, unixPort: portOf(sv.Addr), connected: sv.Created, requested: now.Add(-sv.InState),
		tls: sv.TLS, closeNeeded: sv.CloseNeeded, pid: int(int32(sv.PID)), // which PostgreSQL's is; another pooler's may be any number

		id: uint64(sv.ID), now: now, client: holder, server: sv,
	}
	if sv.ID != 0 { // else it is being opened
		s.ptr = serverPtr(sv.ID)
	}
	if holder != nil {
		s.link, s.application, s.requested = clientPtr(holder.ID), holder.Application, holder.Since
	}
	return s
}

// serverState is the state in PgBouncer's words, but for closing: what is on its way out PgBouncer does not show, and here
// it is shown until PostgreSQL has ended it.
func serverState(sv *pool.ServerInfo, holder *frontend.ClientInfo) string {
	switch sv.State {
	case pool.ServerOpening:
		return "new"
	case pool.ServerIdle:
		return "idle"
	case pool.ServerReclaiming, pool.ServerCleaning:
		return "tested"
	case pool.ServerClosing:
		return "closing"
	default:
	}
	if holder != nil && holder.CancelInFlight {
		return "being_canceled"
	}
	return "active"
}

// allSockets is clients and servers as SHOW SOCKETS shows them; busy: only those on which something is going on.
func allSockets(ctx context.Context, src *Snapshots, cfg *config.Config, busy bool) []*socket {
	clients := clientSockets(src, cfg)
	infos := make([]frontend.ClientInfo, len(clients))
	for i, s := range clients {
		infos[i] = *s.client
	}
	var list []*socket
	for _, s := range clients {
		if busy && s.client.State == "idle" {
			continue
		}
		switch {
		case s.client.State == "login":
			s.state = "cl_login"
		case s.state == "waiting":
			s.state = "cl_waiting"
		default:
			s.state = "cl_active" // as PgBouncer, which makes no difference here
		}
		list = append(list, s)
	}
	for _, s := range serverSockets(ctx, src, infos) {
		if busy && s.state == "idle" {
			continue
		}
		if s.state == "new" {
			s.state = "login"
		}
		s.state = "sv_" + s.state
		list = append(list, s)
	}
	return list
}

// portOf is the port of PostgreSQL, from the name of its Unix socket.
func portOf(a backend.Address) int {
	port, err := strconv.Atoi(a.Addr[strings.LastIndexAny(a.Addr, ".:")+1:])
	if err != nil {
		return 0
	}
	return port
}

// descriptor is a row of SHOW FDS.
type descriptor struct {
	task, user, database, addr string
	port                       int
}

// fdAttrs are PgBouncer's. Its online restart hands descriptors over with cancel keys and passwords; here nothing is
// handed over, so those columns are empty, whoever asks.
func fdAttrs() []attr[descriptor] {
	return []attr[descriptor]{
		{"fd", Int4, null[descriptor]},
		{"task", Text, func(d descriptor) any { return d.task }},
		{"user", Text, func(d descriptor) any { return some(d.user) }},
		{"database", Text, func(d descriptor) any { return some(d.database) }},
		{"addr", Text, func(d descriptor) any { return d.addr }},
		{"port", Int4, func(d descriptor) any { return d.port }},
		{"cancel", Int8, null[descriptor]},
		{"link", Int4, null[descriptor]},
		{"client_encoding", Text, null[descriptor]},
		{"std_strings", Text, null[descriptor]},
		{"datestyle", Text, null[descriptor]},
		{"timezone", Text, null[descriptor]},
		{"password", Text, null[descriptor]},
		{"scram_client_key", Text, null[descriptor]},
		{"scram_server_key", Text, null[descriptor]},
	}
}

func descriptors(ctx context.Context, src *Snapshots) []descriptor {
	cfg := src.Config()
	var list []descriptor
	for _, addr := range cfg.Listen() {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			list = append(list, descriptor{task: "pooler", addr: cmp.Or(host, "*"), port: cfg.ListenPort})
		}
	}
	if cfg.UnixSocketDir != "" {
		list = append(list, descriptor{task: "pooler", addr: "unix", port: cfg.ListenPort})
	}
	for _, s := range allSockets(ctx, src, cfg, false) {
		if config.IsConsole(s.database) {
			continue // as PgBouncer
		}
		task := "client"
		if s.server != nil {
			task = "server"
		}
		list = append(list, descriptor{task, s.user, s.database, pgbAddr(s.remote), s.port(s.remote)})
	}
	return list
}
