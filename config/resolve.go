package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Pool is everything a pool needs to know, with all precedence settled. Two of them are equal (==)
// exactly when a reload changed nothing for the pool.
type Pool struct {
	Database string // as the client named it
	User     string // as the client named it

	Host           string // an address, a name, or a Unix socket directory if it begins with "/"
	Port           int
	DBName         string
	ServerUser     string
	ServerPassword string // "" when the configuration holds none
	TLS            ServerTLS
	RequireAuth    RequireAuth // how it may be logged in to

	Size        int
	MinSize     int
	Increment   int // server sessions opened at the same time, at most
	Reserve     int // beyond Size, once a client has waited ReserveTimeout
	ReserveTime time.Duration
	Callbacks   bool // those of schema cpool_state are called, where they exist

	MaxServers   int // of all pools together; 0 = no limit, as below
	MaxDatabase  int // of the database's pools together
	MaxUser      int // of the user's pools together
	LoginsAtOnce int // to one server

	ServerLifetime    time.Duration
	ServerIdleTimeout time.Duration
	MaxUse            int // 0 = no limit
	ConnectTimeout    time.Duration
	LoginRetry        time.Duration
	CancelWaitTimeout time.Duration

	TCP TCP
}

// Session is everything that a client of a database, user and class may and gets, with all precedence settled.
type Session struct {
	Class    string
	Purity   Purity
	Boundary Boundary // never BoundaryInherit

	StateCheck  StateCheck
	StatePolicy StatePolicy // without PolicyInherit

	OnGet       string
	OnRelease   string
	HookFailure HookFailure

	// 0 = for ever
	LoginTimeout           time.Duration
	IdleTimeout            time.Duration
	QueryWaitTimeout       time.Duration
	QueryWaitNotify        time.Duration
	QueryTimeout           time.Duration
	TransactionTimeout     time.Duration
	IdleTransactionTimeout time.Duration
	MaxThinkTime           time.Duration

	ReaperExempt bool
	Limits       ClientLimits
}

// ClientLimits is how many clients there may be at once of a session's kind; 0 = no limit.
type ClientLimits struct {
	All, Database, User, Class, Source, Application int
}

// Client is who asks for a session, and what it has chosen by itself.
type Client struct {
	Database    string
	User        string
	Application string
	Source      netip.Addr // invalid: a Unix socket

	Class    string // "" = not chosen
	Purity   Purity
	Boundary Boundary
}

// String names the pool. It keeps the password out of every %v.
func (p Pool) String() string { return p.User + "@" + p.Database }

// LogValue implements slog.LogValuer: a JSON handler would print the fields.
func (p Pool) LogValue() slog.Value { return slog.StringValue(p.String()) }

// IsConsole tells whether a client that asks for this database talks to the pooler itself.
func IsConsole(database string) bool { return database == "pooler" || database == "pgbouncer" }

// Database finds the table that serves a database name, "*" if none has the name itself.
// DBName is filled in. The console is not a database.
func (c *Config) Database(name string) (Database, bool) {
	if IsConsole(name) {
		return Database{}, false
	}
	db, ok := c.Databases[name]
	if !ok {
		db, ok = c.Databases["*"]
	}
	if ok && db.DBName == "" {
		db.DBName = name
	}
	return db, ok
}

// Pool resolves what serves a user of a database, both as the client named them. The user's own
// settings win over the database's, and those over the top level.
func (c *Config) Pool(database, user string) (Pool, bool) {
	db, ok := c.Database(database)
	if !ok {
		return Pool{}, false
	}
	u := c.Users[user]
	size := orElse(u.PoolSize, orElse(db.PoolSize, c.DefaultPoolSize))
	serverUser := orElse(db.User, user)
	return Pool{
		Database:       database,
		User:           user,
		Host:           db.Host,
		Port:           db.Port,
		DBName:         db.DBName,
		ServerUser:     serverUser,
		ServerPassword: orElse(db.Password, c.Users[serverUser].Password),
		TLS:            c.serverTLS(db, c.Users[serverUser]),
		RequireAuth:    orElse(db.ServerRequireAuth, c.ServerRequireAuth),

		Size: size,
		// A wider minimum gives way to a narrower size.
		MinSize:     min(size, valueOr(db.MinPoolSize, c.MinPoolSize)),
		Increment:   orElse(db.PoolIncrement, c.PoolIncrement),
		Reserve:     valueOr(u.ReservePoolSize, valueOr(db.ReservePoolSize, c.ReservePoolSize)),
		ReserveTime: time.Duration(c.ReservePoolTimeout),
		Callbacks:   c.StateCallbacks,

		MaxServers:   c.MaxServerConnections,
		MaxDatabase:  valueOr(db.MaxDBConnections, c.MaxDBConnections),
		MaxUser:      valueOr(u.MaxUserConnections, c.MaxUserConnections),
		LoginsAtOnce: c.ServerLoginConcurrency,

		ServerLifetime:    time.Duration(valueOr(db.ServerLifetime, c.ServerLifetime)),
		ServerIdleTimeout: time.Duration(valueOr(db.ServerIdleTimeout, c.ServerIdleTimeout)),
		MaxUse:            valueOr(db.MaxUseSession, c.MaxUseSession),
		ConnectTimeout:    time.Duration(c.ServerConnectTimeout),
		LoginRetry:        time.Duration(c.ServerLoginRetry),
		CancelWaitTimeout: time.Duration(c.CancelWaitTimeout),

		TCP: c.TCP(),
	}, true
}

// Session resolves what a client gets: what it has chosen itself wins over the first rule that fits, that over its
// class, its user, its database, and those over the top level.
func (c *Config) Session(who Client) Session {
	rule := c.ruleFor(who)
	db, _ := c.Database(who.Database)
	u := c.Users[who.User]
	class := orElse(who.Class, orElse(rule.PoolConnectionClass,
		orElse(u.PoolConnectionClass, orElse(db.PoolConnectionClass, c.PoolConnectionClass))))
	cl := c.Classes[class]
	n := cl.over(u.over(db.over(c.narrow())))
	return Session{
		Class:    class,
		Purity:   orElse(who.Purity, orElse(rule.PoolPurity, n.PoolPurity)),
		Boundary: orElse(who.Boundary, orElse(rule.PoolBoundary, n.PoolBoundary)),

		StateCheck:  n.StateCheck,
		StatePolicy: n.StatePolicy,

		OnGet:       *n.OnGet,
		OnRelease:   *n.OnRelease,
		HookFailure: n.HookFailure,

		LoginTimeout:           time.Duration(*n.ClientLoginTimeout),
		IdleTimeout:            time.Duration(*n.ClientIdleTimeout),
		QueryWaitTimeout:       time.Duration(*n.QueryWaitTimeout),
		QueryWaitNotify:        time.Duration(c.QueryWaitNotify),
		QueryTimeout:           time.Duration(*n.QueryTimeout),
		TransactionTimeout:     time.Duration(*n.TransactionTimeout),
		IdleTransactionTimeout: time.Duration(orElse(*n.IdleTransactionTimeout, *n.MaxThinkTime)), // DRCP's max_txn_think_time does so
		MaxThinkTime:           time.Duration(*n.MaxThinkTime),

		ReaperExempt: *n.ReaperExempt,
		Limits: ClientLimits{
			All:         c.MaxClientConn,
			Database:    valueOr(db.MaxDBClientConnections, c.MaxDBClientConnections),
			User:        valueOr(u.MaxUserClientConnections, c.MaxUserClientConnections),
			Class:       valueOr(cl.MaxClassClientConnections, c.MaxClassClientConnections),
			Source:      c.MaxSourceClientConnections,
			Application: c.MaxApplicationClientConnections,
		},
	}
}

// narrow is the top level's values of the keys that may be set more narrowly.
func (c *Config) narrow() Narrow {
	return Narrow{
		PoolBoundary: c.PoolBoundary, PoolPurity: c.PoolPurity,
		OnGet: &c.OnGet, OnRelease: &c.OnRelease, HookFailure: c.HookFailure,
		StateCheck: c.StateCheck, StatePolicy: c.StatePolicy,
		ClientLoginTimeout: &c.ClientLoginTimeout, ClientIdleTimeout: &c.ClientIdleTimeout,
		QueryWaitTimeout: &c.QueryWaitTimeout, QueryTimeout: &c.QueryTimeout, TransactionTimeout: &c.TransactionTimeout,
		IdleTransactionTimeout: &c.IdleTransactionTimeout, MaxThinkTime: &c.MaxThinkTime,
		ReaperExempt: new(bool),
	}
}

// over returns n where it says something, else wider.
func (n Narrow) over(wider Narrow) Narrow {
	return Narrow{
		PoolBoundary:           orElse(n.PoolBoundary, wider.PoolBoundary),
		PoolPurity:             orElse(n.PoolPurity, wider.PoolPurity),
		OnGet:                  orElse(n.OnGet, wider.OnGet),
		OnRelease:              orElse(n.OnRelease, wider.OnRelease),
		HookFailure:            orElse(n.HookFailure, wider.HookFailure),
		StateCheck:             orElse(n.StateCheck, wider.StateCheck),
		StatePolicy:            n.StatePolicy.over(wider.StatePolicy),
		ClientLoginTimeout:     orElse(n.ClientLoginTimeout, wider.ClientLoginTimeout),
		ClientIdleTimeout:      orElse(n.ClientIdleTimeout, wider.ClientIdleTimeout),
		QueryWaitTimeout:       orElse(n.QueryWaitTimeout, wider.QueryWaitTimeout),
		QueryTimeout:           orElse(n.QueryTimeout, wider.QueryTimeout),
		TransactionTimeout:     orElse(n.TransactionTimeout, wider.TransactionTimeout),
		IdleTransactionTimeout: orElse(n.IdleTransactionTimeout, wider.IdleTransactionTimeout),
		MaxThinkTime:           orElse(n.MaxThinkTime, wider.MaxThinkTime),
		ReaperExempt:           orElse(n.ReaperExempt, wider.ReaperExempt),
	}
}

// orElse is for settings whose zero value means "not set here".
func orElse[T comparable](v, wider T) T {
	var unset T
	if v == unset {
		return wider
	}
	return v
}

// valueOr is for settings where zero is a value of its own.
func valueOr[T any](v *T, wider T) T {
	if v == nil {
		return wider
	}
	return *v
}
