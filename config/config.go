// Package config is the pooler's TOML file: its defaults, a strict reader, the checks, and what a
// reload changes. It does no more I/O than reading the files it is told to read.
package config

import (
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// Config is one configuration, resolved and checked by Load. It is never changed afterwards, so
// every goroutine may read it; a reload makes a new one. A zero duration that means something
// special says so in pooler.toml.
//
// Tags: `toml` names the key, `reload:"restart"` marks a key that a reload cannot change,
// `secret:"true"` one whose value is never shown.
type Config struct {
	ListenAddr     string   `toml:"listen_addr" reload:"restart"`
	ListenPort     int      `toml:"listen_port" reload:"restart"`
	UnixSocketDir  string   `toml:"unix_socket_dir" reload:"restart"`
	UnixSocketMode FileMode `toml:"unix_socket_mode" reload:"restart"`
	HTTPListen     string   `toml:"http_listen" reload:"restart"`

	AuthType   AuthType `toml:"auth_type"`
	AuthFile   string   `toml:"auth_file"`
	AdminUsers []string `toml:"admin_users"`
	StatsUsers []string `toml:"stats_users"`

	MaxClientConn   int      `toml:"max_client_conn"`
	DefaultPoolSize int      `toml:"default_pool_size"`
	MinPoolSize     int      `toml:"min_pool_size"`
	PoolBoundary    Boundary `toml:"pool_boundary"`

	StateCheck            StateCheck  `toml:"state_check"`
	StatePolicy           StatePolicy `toml:"state_policy"`
	MaxPreparedStatements int         `toml:"max_prepared_statements"`

	ServerIdleTimeout    Duration `toml:"server_idle_timeout"`
	ServerLifetime       Duration `toml:"server_lifetime"`
	ServerConnectTimeout Duration `toml:"server_connect_timeout"`
	ServerLoginRetry     Duration `toml:"server_login_retry"`
	QueryWaitTimeout     Duration `toml:"query_wait_timeout"`
	QueryWaitNotify      Duration `toml:"query_wait_notify"`
	ClientLoginTimeout   Duration `toml:"client_login_timeout"`
	CancelWaitTimeout    Duration `toml:"cancel_wait_timeout"`
	ShutdownTimeout      Duration `toml:"shutdown_timeout"`

	Loops int `toml:"loops" reload:"restart"`

	LogLevel          LogLevel  `toml:"log_level"`
	LogFormat         LogFormat `toml:"log_format"`
	LogConnections    bool      `toml:"log_connections"`
	LogDisconnections bool      `toml:"log_disconnections"`

	TCPKeepalive   bool     `toml:"tcp_keepalive"`
	TCPKeepidle    Duration `toml:"tcp_keepidle"`
	TCPKeepintvl   Duration `toml:"tcp_keepintvl"`
	TCPKeepcnt     int      `toml:"tcp_keepcnt"`
	TCPUserTimeout Duration `toml:"tcp_user_timeout"`

	Databases map[string]Database `toml:"databases"`
	Users     map[string]User     `toml:"users"`
}

// Database is one [databases.NAME] table: where the server is, and what differs from the top
// level. A nil pointer, a PoolSize of 0 and BoundaryInherit mean "as at the top level".
type Database struct {
	Host              string      `toml:"host"`
	Port              int         `toml:"port"`
	DBName            string      `toml:"dbname"` // "" = the name the client asked for
	User              string      `toml:"user"`   // "" = the client's own name
	Password          string      `toml:"password" secret:"true"`
	PoolSize          int         `toml:"pool_size"`
	MinPoolSize       *int        `toml:"min_pool_size"`
	PoolBoundary      Boundary    `toml:"pool_boundary"`
	StateCheck        StateCheck  `toml:"state_check"`
	StatePolicy       StatePolicy `toml:"state_policy"`
	ServerLifetime    *Duration   `toml:"server_lifetime"`
	ServerIdleTimeout *Duration   `toml:"server_idle_timeout"`
	QueryWaitTimeout  *Duration   `toml:"query_wait_timeout"`
}

// User is one [users.NAME] table: how the pooler logs in to servers as that user, and the limits
// of that user's pools.
type User struct {
	Password     string      `toml:"password" secret:"true"`
	PoolSize     int         `toml:"pool_size"`
	PoolBoundary Boundary    `toml:"pool_boundary"`
	StatePolicy  StatePolicy `toml:"state_policy"`
}

// Default is the configuration of an empty file. It names no database, so it does not validate.
func Default() *Config {
	return &Config{
		ListenAddr:     "127.0.0.1",
		ListenPort:     6432,
		UnixSocketDir:  "/tmp",
		UnixSocketMode: 0o777,

		AuthType: AuthSCRAM,
		AuthFile: "userlist.txt",

		MaxClientConn:   10000,
		DefaultPoolSize: 20,
		PoolBoundary:    BoundaryStatement,

		StateCheck:            CheckAuto,
		StatePolicy:           DefaultStatePolicy(),
		MaxPreparedStatements: 200,

		ServerIdleTimeout:    Duration(600 * time.Second),
		ServerLifetime:       Duration(3600 * time.Second),
		ServerConnectTimeout: Duration(15 * time.Second),
		ServerLoginRetry:     Duration(15 * time.Second),
		QueryWaitTimeout:     Duration(120 * time.Second),
		QueryWaitNotify:      Duration(5 * time.Second),
		ClientLoginTimeout:   Duration(60 * time.Second),
		CancelWaitTimeout:    Duration(10 * time.Second),
		ShutdownTimeout:      Duration(30 * time.Second),

		LogLevel:          LogInfo,
		LogFormat:         LogText,
		LogConnections:    true,
		LogDisconnections: true,

		// A dead peer is noticed after about 25 s, by whichever of the two comes first: keepalive
		// never fires while a segment is unacknowledged, the user timeout never while all are.
		TCPKeepalive:   true,
		TCPKeepidle:    Duration(10 * time.Second),
		TCPKeepintvl:   Duration(5 * time.Second),
		TCPKeepcnt:     3,
		TCPUserTimeout: Duration(25 * time.Second),
	}
}

// DefaultDatabase is the meaning of an empty [databases.NAME] table.
func DefaultDatabase() Database {
	return Database{Host: "127.0.0.1", Port: 5432}
}

// Listen returns the TCP addresses to bind as host:port, an empty host meaning all; none when
// listen_addr is empty.
func (c *Config) Listen() []string {
	var addrs []string
	for _, host := range c.listenHosts() {
		if host == "*" {
			host = ""
		}
		addrs = append(addrs, net.JoinHostPort(host, strconv.Itoa(c.ListenPort)))
	}
	return addrs
}

func (c *Config) listenHosts() []string {
	if strings.TrimSpace(c.ListenAddr) == "" {
		return nil
	}
	hosts := strings.Split(c.ListenAddr, ",")
	for i := range hosts {
		hosts[i] = strings.TrimSpace(hosts[i])
	}
	return hosts
}

// TCP is what is set on every TCP socket, of clients and of servers, to notice a dead peer.
type TCP struct {
	Keepalive   bool
	Idle        time.Duration
	Interval    time.Duration
	Count       int
	UserTimeout time.Duration // 0 = the system's own
}

// TCP gathers the tcp_ keys.
func (c *Config) TCP() TCP {
	return TCP{
		Keepalive:   c.TCPKeepalive,
		Idle:        time.Duration(c.TCPKeepidle),
		Interval:    time.Duration(c.TCPKeepintvl),
		Count:       c.TCPKeepcnt,
		UserTimeout: time.Duration(c.TCPUserTimeout),
	}
}

// AuthType is how a client proves who it is.
type AuthType string

// The values of auth_type.
const (
	AuthTrust    AuthType = "trust"
	AuthPassword AuthType = "password"
	AuthMD5      AuthType = "md5"
	AuthSCRAM    AuthType = "scram-sha-256"
)

// StateCheck says how far the pooler looks for session state that no statement's text shows.
type StateCheck string

// The values of state_check.
const (
	CheckAuto   StateCheck = "auto"   // after calls of functions that are not known, DO and CALL, and now and then
	CheckStrict StateCheck = "strict" // each time that a server session leaves its client
	CheckOff    StateCheck = "off"    // never: functions are believed to leave nothing
)

// LogLevel is the least severe level that is logged.
type LogLevel string

// The values of log_level.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// Slog returns the level as package slog counts it.
func (l LogLevel) Slog() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l)) // Validate knows the four names; anything else stays INFO
	return level
}

// LogFormat is the shape of a log line.
type LogFormat string

// The values of log_format.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)
