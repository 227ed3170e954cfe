package config

import (
	"maps"
	"net"
	"net/netip"
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
	c.checkPools(&bad)
	c.checkTimes(&bad)
	c.checkTCP(&bad)
	among(&bad, "log_level", c.LogLevel, LogDebug, LogInfo, LogWarn, LogError)
	among(&bad, "log_format", c.LogFormat, LogText, LogJSON)
	bad.within(toml.Key{"loops"}, c.Loops, 0, maxLoops)
	c.checkDatabases(&bad)
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		bad.within(toml.Key{"users", name, "pool_size"}, c.Users[name].PoolSize, 0, maxPool)
	}
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
	if c.UnixSocketMode > 0o777 {
		bad.add(toml.Key{"unix_socket_mode"}, `must be at most "0777", got %q`, c.UnixSocketMode)
	}
	if c.HTTPListen != "" && !isHostPort(c.HTTPListen) {
		bad.add(toml.Key{"http_listen"}, `want host:port such as "127.0.0.1:6433", or "" for none, got %q`, c.HTTPListen)
	}
}

func (c *Config) checkAuth(bad *faults) {
	among(bad, "auth_type", c.AuthType, AuthTrust, AuthPassword, AuthMD5, AuthSCRAM)
	if c.AuthFile == "" && c.AuthType != AuthTrust {
		bad.add(toml.Key{"auth_file"}, `must name a file when auth_type is %q, or set auth_type = "trust"`, c.AuthType)
	}
	for key, users := range map[string][]string{"admin_users": c.AdminUsers, "stats_users": c.StatsUsers} {
		if slices.Contains(users, "") {
			bad.add(toml.Key{key}, "must not contain an empty name")
		}
	}
}

func (c *Config) checkPools(bad *faults) {
	bad.within(toml.Key{"max_client_conn"}, c.MaxClientConn, 1, maxConnections)
	bad.within(toml.Key{"default_pool_size"}, c.DefaultPoolSize, 1, maxPool)
	bad.within(toml.Key{"min_pool_size"}, c.MinPoolSize, 0, maxPool)
	if c.MinPoolSize > c.DefaultPoolSize {
		bad.add(toml.Key{"min_pool_size"}, "must be at most default_pool_size (%d), got %d", c.DefaultPoolSize, c.MinPoolSize)
	}
	bad.stateCheck(toml.Key{"state_check"}, c.StateCheck)
	bad.within(toml.Key{"max_prepared_statements"}, c.MaxPreparedStatements, 1, maxStatements)
	if c.PoolBoundary == BoundaryInherit {
		bad.add(toml.Key{"pool_boundary"}, `want statement, transaction or session, got ""`)
	}
}

// checkTimes refuses 0 where it would mean that the pooler waits for a peer for ever.
func (c *Config) checkTimes(bad *faults) {
	bad.positive("server_connect_timeout", c.ServerConnectTimeout)
	bad.positive("server_login_retry", c.ServerLoginRetry)
	bad.positive("client_login_timeout", c.ClientLoginTimeout)
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
			bad.add(at("host"), "%s, got %q", reason, db.Host)
		}
		bad.within(at("port"), db.Port, 1, maxPort)
		if db.Password != "" && db.User == "" {
			bad.add(at("password"), "belongs to a user; set user beside it, or the password in [users.NAME]")
		}
		bad.within(at("pool_size"), db.PoolSize, 0, maxPool)
		if db.StateCheck != "" {
			bad.stateCheck(at("state_check"), db.StateCheck)
		}
		if db.MinPoolSize != nil {
			bad.within(at("min_pool_size"), *db.MinPoolSize, 0, orElse(db.PoolSize, c.DefaultPoolSize))
		}
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

func (fs *faults) positive(key string, got Duration) {
	if got <= 0 {
		fs.add(toml.Key{key}, "must be more than 0, got %s", got)
	}
}

// keepTime checks what the kernel counts in whole seconds.
func (fs *faults) keepTime(key string, got Duration) {
	if d := time.Duration(got); d < time.Second || d > maxKeepTime || d%time.Second != 0 {
		fs.add(toml.Key{key}, "want whole seconds, from 1s to %s, got %s", Duration(maxKeepTime), got)
	}
}

func (fs *faults) stateCheck(key toml.Key, got StateCheck) {
	if got != CheckAuto && got != CheckStrict && got != CheckOff {
		fs.add(key, "want auto, strict or off, got %q", got)
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

func among[T ~string](fs *faults, key string, got T, want ...T) {
	if slices.Contains(want, got) {
		return
	}
	last := len(want) - 1
	words := string(want[0])
	for _, w := range want[1:last] {
		words += ", " + string(w)
	}
	fs.add(toml.Key{key}, "want %s or %s, got %q", words, want[last], got)
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
