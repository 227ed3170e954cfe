package config

import (
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

const (
	maxPort        = 65535
	maxLoops       = 1024
	maxConnections = 10_000_000 // far above what descriptors and ports allow one process
	maxStatements  = 100_000
	maxPool        = 262143 // the most that PostgreSQL's max_connections can be
	maxUses        = math.MaxInt32

	// Linux refuses larger values with EINVAL, which would only show at the first connection.
	maxKeepTime    = 32767 * time.Second
	maxKeepCount   = 127
	maxUserTimeout = (1<<31 - 1) * time.Millisecond

	// What fits into sockaddr_un beside the longest name that PostgreSQL gives a socket.
	maxSocketDir = 107 - len("/.s.PGSQL.65535.lock")
)

// Validate checks ranges and what the keys mean together. It joins every fault as "key: reason".
func (c *Config) Validate() error { return c.validate().err() }

func (c *Config) validate() faults {
	var bad faults
	c.checkListen(&bad)
	c.checkAuth(&bad)
	c.checkTLS(&bad)
	c.checkLimits(&bad)
	c.checkPools(&bad)
	c.checkClients(&bad)
	c.checkTimes(&bad)
	c.checkMonitor(&bad)
	c.checkReaper(&bad)
	c.checkTCP(&bad)
	among(&bad, toml.Key{"log_level"}, c.LogLevel, LogDebug, LogInfo, LogWarn, LogError)
	among(&bad, toml.Key{"log_format"}, c.LogFormat, LogText, LogJSON)
	bad.within(toml.Key{"loops"}, c.Loops, 0, maxLoops)
	c.checkDatabases(&bad)
	c.checkUsers(&bad)
	c.checkClasses(&bad)
	c.checkRules(&bad)
	return bad
}

func (c *Config) checkListen(bad *faults) {
	hosts := c.listenHosts()
	if len(hosts) == 0 && c.UnixSocketDir == "" {
		bad.add(toml.Key{"listen_addr"}, "nothing to listen on; set listen_addr or unix_socket_dir")
	}
	for _, host := range hosts {
		if reason := badHost(host); reason != "" && host != "*" {
			bad.add(toml.Key{"listen_addr"}, "%s, got %q", reason, c.ListenAddr)
		}
	}
	if len(hosts) > 1 && slices.Contains(hosts, "*") {
		bad.add(toml.Key{"listen_addr"}, `"*" already means every address, got %q`, c.ListenAddr)
	}
	bad.within(toml.Key{"listen_port"}, c.ListenPort, 1, maxPort)
	if c.UnixSocketDir != "" {
		bad.socketDir(toml.Key{"unix_socket_dir"}, c.UnixSocketDir)
	}
	for i, entry := range c.ProxyProtocol {
		if _, err := parseNetwork(entry); err != nil && entry != sourceUnix {
			bad.add(toml.Key{"proxy_protocol"}, `entry %d: want an address, a network such as 10.0.0.0/8, or "unix", got %q`, i+1, entry)
		}
	}
	if c.UnixSocketMode > 0o777 {
		bad.add(toml.Key{"unix_socket_mode"}, `must be at most "0777", got %q`, c.UnixSocketMode)
	}
	if c.HTTPListen != "" && !isHostPort(c.HTTPListen) {
		bad.add(toml.Key{"http_listen"}, `want host:port such as "127.0.0.1:6433", or "" for none, got %q`, c.HTTPListen)
	}
}

func (c *Config) checkLimits(bad *faults) {
	for _, limit := range []struct {
		key string
		n   int
		low int
	}{
		{"max_client_conn", c.MaxClientConn, 1},
		{"max_db_client_connections", c.MaxDBClientConnections, 0},
		{"max_user_client_connections", c.MaxUserClientConnections, 0},
		{"max_class_client_connections", c.MaxClassClientConnections, 0},
		{"max_source_client_connections", c.MaxSourceClientConnections, 0},
		{"max_application_client_connections", c.MaxApplicationClientConnections, 0},
		{"max_source_logins", c.MaxSourceLogins, 0},
		{"client_login_concurrency", c.ClientLoginConcurrency, 0},
		{"max_server_connections", c.MaxServerConnections, 0},
		{"max_db_connections", c.MaxDBConnections, 0},
		{"max_user_connections", c.MaxUserConnections, 0},
		{"server_login_concurrency", c.ServerLoginConcurrency, 1},
	} {
		bad.within(toml.Key{limit.key}, limit.n, limit.low, maxConnections)
	}
}

func (c *Config) checkPools(bad *faults) {
	bad.within(toml.Key{"default_pool_size"}, c.DefaultPoolSize, 1, maxPool)
	bad.within(toml.Key{"min_pool_size"}, c.MinPoolSize, 0, maxPool)
	if c.MinPoolSize > c.DefaultPoolSize {
		bad.add(toml.Key{"min_pool_size"}, "must be at most default_pool_size (%d), got %d", c.DefaultPoolSize, c.MinPoolSize)
	}
	bad.within(toml.Key{"pool_increment"}, c.PoolIncrement, 1, maxPool)
	bad.within(toml.Key{"reserve_pool_size"}, c.ReservePoolSize, 0, maxPool)
	bad.within(toml.Key{"max_use_session"}, c.MaxUseSession, 0, maxUses)
	bad.within(toml.Key{"max_prepared_statements"}, c.MaxPreparedStatements, 1, maxStatements)
}

// checkClients checks the top level's values of what a class or a [[rules]] table may set too; here there is nothing to inherit.
func (c *Config) checkClients(bad *faults) {
	if c.PoolBoundary == BoundaryInherit {
		bad.add(toml.Key{"pool_boundary"}, `want statement, transaction or session, got ""`)
	}
	if c.PoolPurity == PurityInherit {
		bad.add(toml.Key{"pool_purity"}, `want self or new, got ""`)
	}
	if c.HookFailure == HookInherit {
		bad.add(toml.Key{"hook_failure"}, `want retire, ignore or error, got ""`)
	}
	if c.StateCheck == "" {
		bad.add(toml.Key{"state_check"}, `want auto, strict or off, got ""`)
	}
	bad.class(toml.Key{"pool_connection_class"}, c.PoolConnectionClass)
	bad.narrow(nil, c.narrow())
}

// checkTimes refuses 0 where it would mean that the pooler waits for a peer for ever.
func (c *Config) checkTimes(bad *faults) {
	bad.positive(toml.Key{"server_connect_timeout"}, c.ServerConnectTimeout)
	bad.positive(toml.Key{"server_login_retry"}, c.ServerLoginRetry)
	bad.positive(toml.Key{"stats_period"}, c.StatsPeriod)
}

func (c *Config) checkMonitor(bad *faults) {
	if c.HistoryFile != "" && !c.Monitor {
		bad.add(toml.Key{"history_file"}, "does nothing without monitor = true")
	}
	bad.within(toml.Key{"trace_sample"}, c.TraceSample, 0, maxUses)
	if c.TraceEndpoint == "" {
		if c.TraceSample > 0 {
			bad.add(toml.Key{"trace_sample"}, "does nothing without trace_endpoint")
		}
		return
	}
	if u, err := url.Parse(c.TraceEndpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		bad.add(toml.Key{"trace_endpoint"}, `want the URL of an OTLP/HTTP collector such as "http://localhost:4318", got %s`, showAddress(c.TraceEndpoint))
	}
}

func (c *Config) checkReaper(bad *faults) {
	for _, r := range []struct {
		side              string
		threshold, target int
	}{
		{"client", c.ReaperClientThreshold, c.ReaperClientTarget},
		{"server", c.ReaperServerThreshold, c.ReaperServerTarget},
	} {
		threshold, target := "reaper_"+r.side+"_threshold", "reaper_"+r.side+"_target"
		bad.within(toml.Key{threshold}, r.threshold, 0, maxConnections)
		switch {
		case r.target < 0:
			bad.add(toml.Key{target}, "must be at least 0, got %d", r.target)
		case r.target > 0 && r.threshold == 0:
			bad.add(toml.Key{target}, "does nothing without %s; set both", threshold)
		case r.target > max(0, r.threshold):
			bad.add(toml.Key{target}, "must be at most %s (%d), got %d", threshold, r.threshold, r.target)
		}
	}
}

func (c *Config) checkTCP(bad *faults) {
	bad.keepTime("tcp_keepidle", c.TCPKeepidle)
	bad.keepTime("tcp_keepintvl", c.TCPKeepintvl)
	bad.within(toml.Key{"tcp_keepcnt"}, c.TCPKeepcnt, 1, maxKeepCount)
	if t := time.Duration(c.TCPUserTimeout); t != 0 && (t < time.Millisecond || t > maxUserTimeout) {
		bad.add(toml.Key{"tcp_user_timeout"}, "must be 0, or at least 1ms and at most %s, got %s", Duration(maxUserTimeout), c.TCPUserTimeout)
	}
}

func (c *Config) checkDatabases(bad *faults) {
	if len(c.Databases) == 0 {
		bad.add(toml.Key{"databases"}, `want at least one [databases.NAME]; the name "*" stands for every database`)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Databases)) {
		at := func(key string) toml.Key { return toml.Key{"databases", name, key} }
		db := c.Databases[name]
		if IsConsole(name) {
			bad.add(toml.Key{"databases", name}, "is the name of the console; choose another")
		}
		if strings.HasPrefix(db.Host, "/") {
			bad.socketDir(at("host"), db.Host)
		} else if reason := badHost(db.Host); reason != "" {
			bad.add(at("host"), "%s, got %s", reason, showAddress(db.Host))
		}
		bad.within(at("port"), db.Port, 1, maxPort)
		if db.Password != "" && db.User == "" {
			bad.add(at("password"), "belongs to a user; set user beside it, or the password in [users.NAME]")
		}
		c.checkDatabaseAuth(bad, at, db)
		c.checkDatabaseTLS(bad, at, db)
		bad.within(at("pool_size"), db.PoolSize, 0, maxPool)
		if db.MinPoolSize != nil {
			bad.within(at("min_pool_size"), *db.MinPoolSize, 0, orElse(db.PoolSize, c.DefaultPoolSize))
		}
		bad.within(at("pool_increment"), db.PoolIncrement, 0, maxPool)
		bad.within(at("reserve_pool_size"), valueOr(db.ReservePoolSize, 0), 0, maxPool)
		bad.within(at("max_db_connections"), valueOr(db.MaxDBConnections, 0), 0, maxConnections)
		bad.within(at("max_db_client_connections"), valueOr(db.MaxDBClientConnections, 0), 0, maxConnections)
		bad.within(at("max_use_session"), valueOr(db.MaxUseSession, 0), 0, maxUses)
		bad.class(at("pool_connection_class"), db.PoolConnectionClass)
		bad.narrow(toml.Key{"databases", name}, db.Narrow)
	}
}

func (c *Config) checkUsers(bad *faults) {
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		at := func(key string) toml.Key { return toml.Key{"users", name, key} }
		u := c.Users[name]
		checkPair(bad, at("server_tls_cert_file"), u.ServerTLSCertFile, u.ServerTLSKeyFile)
		bad.within(at("pool_size"), u.PoolSize, 0, maxPool)
		bad.within(at("reserve_pool_size"), valueOr(u.ReservePoolSize, 0), 0, maxPool)
		bad.within(at("max_user_connections"), valueOr(u.MaxUserConnections, 0), 0, maxConnections)
		bad.within(at("max_user_client_connections"), valueOr(u.MaxUserClientConnections, 0), 0, maxConnections)
		bad.class(at("pool_connection_class"), u.PoolConnectionClass)
		bad.narrow(toml.Key{"users", name}, u.Narrow)
	}
}

func (c *Config) checkClasses(bad *faults) {
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		at := toml.Key{"classes", name}
		if err := CheckClass(name); err != nil {
			bad.add(at, "%v", err)
		}
		cl := c.Classes[name]
		bad.within(append(at, "max_class_client_connections"), valueOr(cl.MaxClassClientConnections, 0), 0, maxConnections)
		bad.narrow(at, cl.Narrow)
	}
}

func (c *Config) checkRules(bad *faults) {
	for i, r := range c.Rules {
		n := strconv.Itoa(i + 1)
		at := func(key string) toml.Key { return toml.Key{"rules", n, key} }
		if _, err := parseNetwork(r.Source); err != nil && r.Source != "" && r.Source != sourceUnix {
			bad.add(at("source"), `want an address, a network such as 10.0.0.0/8, or "unix", got %q`, r.Source)
		}
		bad.class(at("pool_connection_class"), r.PoolConnectionClass)
		bad.purity(at("pool_purity"), r.PoolPurity)
		if r.PoolConnectionClass == "" && r.PoolPurity == PurityInherit && r.PoolBoundary == BoundaryInherit {
			bad.add(toml.Key{"rules", n}, "sets nothing; give it pool_connection_class, pool_purity or pool_boundary")
		}
	}
}

// narrow checks what a table sets, or the top level.
func (fs *faults) narrow(table toml.Key, n Narrow) {
	at := func(key string) toml.Key { return append(slices.Clone(table), key) }
	fs.purity(at("pool_purity"), n.PoolPurity)
	if n.HookFailure != HookInherit {
		among(fs, at("hook_failure"), n.HookFailure, HookRetire, HookIgnore, HookError)
	}
	if n.StateCheck != "" {
		among(fs, at("state_check"), n.StateCheck, CheckAuto, CheckStrict, CheckOff)
	}
	fs.noZeroByte(at("on_get"), n.OnGet)
	fs.noZeroByte(at("on_release"), n.OnRelease)
	if n.ClientLoginTimeout != nil {
		fs.positive(at("client_login_timeout"), *n.ClientLoginTimeout)
	}
}

func (fs *faults) purity(key toml.Key, got Purity) {
	if got != PurityInherit {
		among(fs, key, got, PuritySelf, PurityNew)
	}
}

func (fs *faults) class(key toml.Key, name string) {
	if name == "" {
		return
	}
	if err := CheckClass(name); err != nil {
		fs.add(key, "%v", err)
	}
}

// noZeroByte is for what is sent to the server, where it would end the string early.
func (fs *faults) noZeroByte(key toml.Key, s *string) {
	if s != nil && strings.ContainsRune(*s, 0) {
		fs.add(key, "must not contain a zero byte")
	}
}

// within complains about a number outside of [low, high].
func (fs *faults) within(key toml.Key, got, low, high int) {
	switch {
	case got < low:
		fs.add(key, "must be at least %d, got %d", low, got)
	case got > high:
		fs.add(key, "must be at most %d, got %d", high, got)
	}
}

func (fs *faults) positive(key toml.Key, got Duration) {
	if got <= 0 {
		fs.add(key, "must be more than 0, got %s", got)
	}
}

// keepTime checks what the kernel counts in whole seconds.
func (fs *faults) keepTime(key string, got Duration) {
	if d := time.Duration(got); d < time.Second || d > maxKeepTime || d%time.Second != 0 {
		fs.add(toml.Key{key}, "want whole seconds, from 1s to %s, got %s", Duration(maxKeepTime), got)
	}
}

func (fs *faults) socketDir(key toml.Key, dir string) {
	switch {
	case !strings.HasPrefix(dir, "/"):
		fs.add(key, `want a path that begins with "/", got %q`, dir)
	case len(dir) > maxSocketDir:
		fs.add(key, "must be at most %d bytes long, got %d", maxSocketDir, len(dir))
	}
}

func among[T ~string](fs *faults, key toml.Key, got T, want ...T) {
	if !slices.Contains(want, got) {
		fs.add(key, "want %s, got %q", oneOf(want), got)
	}
}

// showAddress quotes what should be an address, unless it may be a URL or a connection string with a password in it.
func showAddress(s string) string {
	if strings.ContainsAny(s, "@=") {
		return "something else"
	}
	return strconv.Quote(s)
}

// badHost says why s cannot be the name or the address of a host, or nothing.
func badHost(s string) string {
	if _, err := netip.ParseAddr(s); err == nil {
		return ""
	}
	_, port, err := net.SplitHostPort(s)
	switch {
	case s == "" || strings.ContainsAny(s, ", \t\r\n/"):
		return "want a host name or an address"
	case err == nil && port != "":
		return "want a host without a port"
	case strings.ContainsAny(s, ":[]"):
		return "want a host name or an address without brackets"
	}
	return ""
}

func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	n, notNumber := strconv.Atoi(port)
	return err == nil && notNumber == nil && n >= 1 && n <= maxPort
}
