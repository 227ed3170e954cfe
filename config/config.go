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
// `secret:"true"` one whose value is never shown, `mark` what such a value has in it if it does hold a secret,
// `path:"file"` a path that starts from the folder of the configuration.
type Config struct {
	ListenAddr     string   `toml:"listen_addr" reload:"restart"`
	ListenPort     int      `toml:"listen_port" reload:"restart"`
	UnixSocketDir  string   `toml:"unix_socket_dir" reload:"restart"`
	UnixSocketMode FileMode `toml:"unix_socket_mode" reload:"restart"`
	HTTPListen     string   `toml:"http_listen" reload:"restart"`

	HTTPTLS       bool     `toml:"http_tls" reload:"restart"`
	ProxyProtocol []string `toml:"proxy_protocol"` // networks, addresses, "unix"

	ClientTLSMode      TLSMode `toml:"client_tls_sslmode"`
	ClientTLSCertFile  string  `toml:"client_tls_cert_file" path:"file"`
	ClientTLSKeyFile   string  `toml:"client_tls_key_file" path:"file"`
	ClientTLSCAFile    string  `toml:"client_tls_ca_file" path:"file"`
	ClientTLSProtocols string  `toml:"client_tls_protocols"`
	ClientTLSCiphers   string  `toml:"client_tls_ciphers"`
	ClientTLSECDHCurve string  `toml:"client_tls_ecdhcurve"`

	AuthType         AuthType `toml:"auth_type"`
	AuthFile         string   `toml:"auth_file" path:"file"`
	AuthHBAFile      string   `toml:"auth_hba_file" path:"file"`
	AuthIdentFile    string   `toml:"auth_ident_file" path:"file"`
	AuthUser         string   `toml:"auth_user"` // "" = the servers are not asked for secrets
	AuthQuery        string   `toml:"auth_query"`
	AuthDBName       string   `toml:"auth_dbname"`      // "" = the client's database
	AuthQueryCache   Duration `toml:"auth_query_cache"` // 0 = none
	AuthLDAPOptions  string   `toml:"auth_ldap_options" secret:"true" mark:"ldapbindpasswd"`
	AuthOAuthOptions string   `toml:"auth_oauth_options"`
	ScramIterations  int      `toml:"scram_iterations"`
	ScramKeyCache    bool     `toml:"scram_key_cache"`
	AdminUsers       []string `toml:"admin_users"`
	StatsUsers       []string `toml:"stats_users"`

	ServerTLSMode        TLSMode        `toml:"server_tls_sslmode"`
	ServerTLSCertFile    string         `toml:"server_tls_cert_file" path:"file"`
	ServerTLSKeyFile     string         `toml:"server_tls_key_file" path:"file"`
	ServerTLSCAFile      string         `toml:"server_tls_ca_file" path:"file"` // or SystemCA
	ServerTLSProtocols   string         `toml:"server_tls_protocols"`
	ServerTLSCiphers     string         `toml:"server_tls_ciphers"`
	ServerTLSNegotiation TLSNegotiation `toml:"server_tls_sslnegotiation"`
	ServerRequireAuth    RequireAuth    `toml:"server_require_auth"`

	MaxClientConn                   int `toml:"max_client_conn"`
	MaxDBClientConnections          int `toml:"max_db_client_connections"` // 0 = no limit, as below
	MaxUserClientConnections        int `toml:"max_user_client_connections"`
	MaxClassClientConnections       int `toml:"max_class_client_connections"`
	MaxSourceClientConnections      int `toml:"max_source_client_connections"`
	MaxApplicationClientConnections int `toml:"max_application_client_connections"`
	MaxSourceLogins                 int `toml:"max_source_logins"`
	ClientLoginConcurrency          int `toml:"client_login_concurrency"` // 0 = by the number of processors

	DefaultPoolSize        int      `toml:"default_pool_size"`
	MinPoolSize            int      `toml:"min_pool_size"`
	PoolIncrement          int      `toml:"pool_increment"`
	ReservePoolSize        int      `toml:"reserve_pool_size"`
	ReservePoolTimeout     Duration `toml:"reserve_pool_timeout"`
	MaxServerConnections   int      `toml:"max_server_connections"` // 0 = no limit, as below
	MaxDBConnections       int      `toml:"max_db_connections"`
	MaxUserConnections     int      `toml:"max_user_connections"`
	ServerLoginConcurrency int      `toml:"server_login_concurrency"`

	PoolBoundary        Boundary    `toml:"pool_boundary"`
	PoolConnectionClass string      `toml:"pool_connection_class"`
	PoolPurity          Purity      `toml:"pool_purity"`
	OnGet               string      `toml:"on_get"`
	OnRelease           string      `toml:"on_release"`
	StateCallbacks      bool        `toml:"state_callbacks"`
	HookFailure         HookFailure `toml:"hook_failure"`

	StateCheck            StateCheck  `toml:"state_check"`
	StatePolicy           StatePolicy `toml:"state_policy"`
	MaxPreparedStatements int         `toml:"max_prepared_statements"`

	ServerIdleTimeout    Duration `toml:"server_idle_timeout" alias:"inactivity_timeout"`
	ServerLifetime       Duration `toml:"server_lifetime" alias:"max_lifetime_session"`
	MaxUseSession        int      `toml:"max_use_session"` // 0 = no limit
	ServerConnectTimeout Duration `toml:"server_connect_timeout"`
	ServerLoginRetry     Duration `toml:"server_login_retry"`
	CancelWaitTimeout    Duration `toml:"cancel_wait_timeout"`
	ShutdownTimeout      Duration `toml:"shutdown_timeout"`

	ClientLoginTimeout     Duration `toml:"client_login_timeout"`
	ClientIdleTimeout      Duration `toml:"client_idle_timeout"`
	QueryWaitTimeout       Duration `toml:"query_wait_timeout"`
	QueryWaitNotify        Duration `toml:"query_wait_notify"`
	QueryTimeout           Duration `toml:"query_timeout"`
	TransactionTimeout     Duration `toml:"transaction_timeout"`
	IdleTransactionTimeout Duration `toml:"idle_transaction_timeout" alias:"max_txn_think_time"` // 0 = as max_think_time
	MaxThinkTime           Duration `toml:"max_think_time"`

	ReaperClientThreshold int      `toml:"reaper_client_threshold"` // 0 = off, as the next but one
	ReaperClientTarget    int      `toml:"reaper_client_target"`    // 0 = the threshold, as the next but one
	ReaperServerThreshold int      `toml:"reaper_server_threshold"`
	ReaperServerTarget    int      `toml:"reaper_server_target"`
	ReaperMinIdle         Duration `toml:"reaper_min_idle"`
	ReaperDryRun          bool     `toml:"reaper_dry_run"`

	User  string `toml:"user" reload:"restart"` // "" = whoever starts it
	Loops int    `toml:"loops" reload:"restart"`

	LogLevel          LogLevel  `toml:"log_level"`
	LogFormat         LogFormat `toml:"log_format" reload:"restart"`
	LogConnections    bool      `toml:"log_connections"`
	LogDisconnections bool      `toml:"log_disconnections"`
	StatsPeriod       Duration  `toml:"stats_period"`

	Monitor               bool     `toml:"monitor" reload:"restart"`
	HistoryFile           string   `toml:"history_file" reload:"restart"` // "" = none is kept beyond a day
	LeakIdle              Duration `toml:"leak_idle"`                     // 0 = never, as the next three
	LeakIdleInTransaction Duration `toml:"leak_idle_in_transaction"`
	LeakPinned            Duration `toml:"leak_pinned"`
	LeakGrowth            Duration `toml:"leak_growth"`
	ShowLiterals          bool     `toml:"show_literals"`
	TraceEndpoint         string   `toml:"trace_endpoint" reload:"restart" secret:"true" mark:"@"` // "" = no traces
	TraceSample           int      `toml:"trace_sample"`                                           // 0 = only what a traceparent asks for

	TCPKeepalive   bool     `toml:"tcp_keepalive"`
	TCPKeepidle    Duration `toml:"tcp_keepidle"`
	TCPKeepintvl   Duration `toml:"tcp_keepintvl"`
	TCPKeepcnt     int      `toml:"tcp_keepcnt"`
	TCPUserTimeout Duration `toml:"tcp_user_timeout"`

	Databases map[string]Database `toml:"databases"`
	Users     map[string]User     `toml:"users"`
	Classes   map[string]Class    `toml:"classes"`
	Rules     []Rule              `toml:"rules"`
}

// Narrow is the keys that a database, a user or a class may set for its own clients. What is left out (nil, "", 0, a
// value called Inherit) is taken from the next wider one: class, user, database, top level.
type Narrow struct {
	PoolBoundary           Boundary    `toml:"pool_boundary"`
	PoolPurity             Purity      `toml:"pool_purity"`
	OnGet                  *string     `toml:"on_get"`
	OnRelease              *string     `toml:"on_release"`
	HookFailure            HookFailure `toml:"hook_failure"`
	StateCheck             StateCheck  `toml:"state_check"`
	StatePolicy            StatePolicy `toml:"state_policy"`
	ClientLoginTimeout     *Duration   `toml:"client_login_timeout"`
	ClientIdleTimeout      *Duration   `toml:"client_idle_timeout"`
	QueryWaitTimeout       *Duration   `toml:"query_wait_timeout"`
	QueryTimeout           *Duration   `toml:"query_timeout"`
	TransactionTimeout     *Duration   `toml:"transaction_timeout"`
	IdleTransactionTimeout *Duration   `toml:"idle_transaction_timeout" alias:"max_txn_think_time"`
	MaxThinkTime           *Duration   `toml:"max_think_time"`
	ReaperExempt           *bool       `toml:"reaper_exempt"`
}

// Database is one [databases.NAME] table: where the server is, and what differs from the top
// level. A nil pointer and a PoolSize of 0 mean "as at the top level".
type Database struct {
	Host     string `toml:"host"`
	Port     int    `toml:"port"`
	DBName   string `toml:"dbname"` // "" = the name the client asked for
	User     string `toml:"user"`   // "" = the client's own name
	Password string `toml:"password" secret:"true"`

	AuthUser   string `toml:"auth_user"` // "" = as at the top level, like all of these
	AuthQuery  string `toml:"auth_query"`
	AuthDBName string `toml:"auth_dbname"`

	ServerTLSMode        TLSMode        `toml:"server_tls_sslmode"`
	ServerTLSCertFile    string         `toml:"server_tls_cert_file" path:"file"` // with its key
	ServerTLSKeyFile     string         `toml:"server_tls_key_file" path:"file"`
	ServerTLSCAFile      string         `toml:"server_tls_ca_file" path:"file"`
	ServerTLSNegotiation TLSNegotiation `toml:"server_tls_sslnegotiation"`
	ServerRequireAuth    RequireAuth    `toml:"server_require_auth"`

	PoolSize               int       `toml:"pool_size"`
	MinPoolSize            *int      `toml:"min_pool_size"`
	PoolIncrement          int       `toml:"pool_increment"`
	ReservePoolSize        *int      `toml:"reserve_pool_size"`
	MaxDBConnections       *int      `toml:"max_db_connections"`
	MaxDBClientConnections *int      `toml:"max_db_client_connections"`
	PoolConnectionClass    string    `toml:"pool_connection_class"`
	ServerLifetime         *Duration `toml:"server_lifetime" alias:"max_lifetime_session"`
	ServerIdleTimeout      *Duration `toml:"server_idle_timeout" alias:"inactivity_timeout"`
	MaxUseSession          *int      `toml:"max_use_session"`

	Narrow
}

// User is one [users.NAME] table: how the pooler logs in to servers as that user, and the limits
// of that user's pools and clients.
type User struct {
	Password string `toml:"password" secret:"true"`

	ServerTLSCertFile string `toml:"server_tls_cert_file" path:"file"` // with its key; "" = the database's
	ServerTLSKeyFile  string `toml:"server_tls_key_file" path:"file"`

	PoolSize                 int    `toml:"pool_size"`
	ReservePoolSize          *int   `toml:"reserve_pool_size"`
	MaxUserConnections       *int   `toml:"max_user_connections"`
	MaxUserClientConnections *int   `toml:"max_user_client_connections"`
	PoolConnectionClass      string `toml:"pool_connection_class"`

	Narrow
}

// Class is one [classes.NAME] table: what is special about the clients of a connection class.
type Class struct {
	MaxClassClientConnections *int `toml:"max_class_client_connections"`

	Narrow
}

// Rule is one [[rules]] table: which clients it is for, and what they get that have not chosen themselves. The first
// rule that fits counts.
type Rule struct {
	Database        string `toml:"database"` // "" = any, as below; * stands for any part
	User            string `toml:"user"`
	ApplicationName string `toml:"application_name"`
	Source          string `toml:"source"` // an address, a network as 10.0.0.0/8, or "unix"

	PoolConnectionClass string   `toml:"pool_connection_class"`
	PoolPurity          Purity   `toml:"pool_purity"`
	PoolBoundary        Boundary `toml:"pool_boundary"`
}

// Default is the configuration of an empty file. It names no database, so it does not validate.
func Default() *Config {
	return &Config{
		ListenAddr:     "127.0.0.1",
		ListenPort:     6432,
		UnixSocketDir:  "/tmp",
		UnixSocketMode: 0o777,

		ClientTLSMode:      TLSDisable,
		ClientTLSProtocols: "secure",
		ClientTLSCiphers:   "default",
		ClientTLSECDHCurve: "auto",

		AuthType:        AuthSCRAM,
		AuthFile:        "userlist.txt",
		AuthQuery:       DefaultAuthQuery,
		AuthQueryCache:  Duration(time.Second),
		ScramIterations: 4096, // PostgreSQL's, and the least that RFC 7677 allows
		ScramKeyCache:   true,

		ServerTLSMode:        TLSPrefer,
		ServerTLSProtocols:   "secure",
		ServerTLSCiphers:     "default",
		ServerTLSNegotiation: NegotiatePostgres,

		MaxClientConn: 10000,

		DefaultPoolSize:        20,
		PoolIncrement:          4,
		ReservePoolTimeout:     Duration(5 * time.Second),
		ServerLoginConcurrency: 8,

		PoolBoundary:   BoundaryStatement,
		PoolPurity:     PuritySelf,
		StateCallbacks: true,
		HookFailure:    HookRetire,

		StateCheck:            CheckAuto,
		StatePolicy:           DefaultStatePolicy(),
		MaxPreparedStatements: 200,

		ServerIdleTimeout:    Duration(600 * time.Second),
		ServerLifetime:       Duration(3600 * time.Second),
		MaxUseSession:        500_000, // DRCP's
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
		StatsPeriod:       Duration(60 * time.Second),

		Monitor:               true,
		LeakIdle:              Duration(time.Hour),
		LeakIdleInTransaction: Duration(time.Minute),
		LeakPinned:            Duration(5 * time.Minute),
		LeakGrowth:            Duration(30 * time.Minute),

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

// StateCheck says how far the pooler looks for session state that no statement's text shows.
type StateCheck string

// The values of state_check.
const (
	CheckAuto   StateCheck = "auto"   // after calls of functions that are not known, DO and CALL, and now and then
	CheckStrict StateCheck = "strict" // each time that a server session leaves its client
	CheckOff    StateCheck = "off"    // never: functions are believed to leave nothing
)

// Purity says whether a server session may be one that others of its connection class have used (DRCP's POOL_PURITY).
type Purity string

// The values of pool_purity.
const (
	PurityInherit Purity = ""
	PuritySelf    Purity = "self" // one that the connection class has used before, with its caches
	PurityNew     Purity = "new"  // one that nobody has used
)

// HookFailure says what is done when on_get, on_release or a state callback fails.
type HookFailure string

// The values of hook_failure.
const (
	HookInherit HookFailure = ""
	HookRetire  HookFailure = "retire" // the client goes on; the server session is closed when it comes back
	HookIgnore  HookFailure = "ignore" // it is logged
	HookError   HookFailure = "error"  // the client's request is refused; the server session is closed
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
