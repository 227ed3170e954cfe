package config

import (
	"log/slog"
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

	Size     int
	MinSize  int
	Boundary Boundary // never BoundaryInherit

	StateCheck  StateCheck
	StatePolicy StatePolicy // without PolicyInherit

	ServerLifetime    time.Duration
	ServerIdleTimeout time.Duration
	ConnectTimeout    time.Duration
	LoginRetry        time.Duration
	QueryWaitTimeout  time.Duration
	QueryWaitNotify   time.Duration
	CancelWaitTimeout time.Duration

	TCP TCP
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

		Size: size,
		// A wider minimum gives way to a narrower size.
		MinSize:  min(size, valueOr(db.MinPoolSize, c.MinPoolSize)),
		Boundary: orElse(u.PoolBoundary, orElse(db.PoolBoundary, c.PoolBoundary)),

		StateCheck:  orElse(db.StateCheck, c.StateCheck),
		StatePolicy: u.StatePolicy.over(db.StatePolicy.over(c.StatePolicy)),

		ServerLifetime:    time.Duration(valueOr(db.ServerLifetime, c.ServerLifetime)),
		ServerIdleTimeout: time.Duration(valueOr(db.ServerIdleTimeout, c.ServerIdleTimeout)),
		ConnectTimeout:    time.Duration(c.ServerConnectTimeout),
		LoginRetry:        time.Duration(c.ServerLoginRetry),
		QueryWaitTimeout:  time.Duration(valueOr(db.QueryWaitTimeout, c.QueryWaitTimeout)),
		QueryWaitNotify:   time.Duration(c.QueryWaitNotify),
		CancelWaitTimeout: time.Duration(c.CancelWaitTimeout),

		TCP: c.TCP(),
	}, true
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
