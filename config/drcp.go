package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// poolKeys is the keys of [databases.NAME] that RESTORE POOL … DEFAULTS removes: how large the pool is, how long things last,
// and when sessions change hands. Where the database is, who logs in, hooks and what becomes of session state stay: a pool is
// restored for its size, and its clients rely on those.
var poolKeys = [...]string{
	"pool_size", "min_pool_size", "pool_increment", "reserve_pool_size",
	"max_db_connections", "max_db_client_connections",
	"server_idle_timeout", "server_lifetime", "max_use_session",
	"pool_connection_class", "pool_boundary", "pool_purity",
	"client_login_timeout", "client_idle_timeout", "query_wait_timeout", "query_timeout",
	"transaction_timeout", "idle_transaction_timeout", "max_think_time",
}

// defaultPoolOnly is the keys of the top level that belong to the default pool too, but that a database cannot have.
var defaultPoolOnly = [...]string{"reserve_pool_timeout", "max_prepared_statements"}

// PoolKeys returns the keys of [databases.NAME] that RESTORE POOL … DEFAULTS removes.
func PoolKeys() []string { return slices.Clone(poolKeys[:]) }

// DefaultPoolKeys returns the keys of the top level that RESTORE POOL … DEFAULTS removes for the default pool.
func DefaultPoolKeys() []string {
	keys := make([]string, 0, len(poolKeys)+len(defaultPoolOnly))
	for _, key := range poolKeys {
		keys = append(keys, topKey(key))
	}
	return append(keys, defaultPoolOnly[:]...)
}

// topKey is where a database's key is taken from when it is left out.
func topKey(key string) string {
	if key == "pool_size" {
		return "default_pool_size"
	}
	return key
}

// PoolParameter is the key of [databases.NAME] that a parameter stands for: one of DRCP's names, in any case, or a key's own.
// session_cached_cursors and num_cbrok give keys of the top level, which a database does not have (OfDatabase).
func PoolParameter(name string) (key string, ok bool) {
	name = strings.ToLower(name)
	switch name {
	case "maxsize":
		return "pool_size", true
	case "maxconn_cbrok":
		return "max_db_client_connections", true
	}
	if key, ok := drcpName(name); ok {
		return key, true
	}
	f, ok := findField(fieldsOf(reflect.TypeFor[Database]()), name)
	return f.key, ok
}

// OfDatabase tells whether [databases.NAME] can have the key.
func OfDatabase(key string) bool {
	_, ok := findField(fieldsOf(reflect.TypeFor[Database]()), key)
	return ok
}

// DefaultPoolParameter is the key of the top level that a parameter of the default pool stands for, which is Oracle's
// SYS_DEFAULT_CONNECTION_POOL: one of DRCP's names, in any case, or the name of one of DefaultPoolKeys, at the top level or in
// a database.
func DefaultPoolParameter(name string) (key string, ok bool) {
	name = strings.ToLower(name)
	switch name {
	case "maxsize":
		return "default_pool_size", true
	case "maxconn_cbrok":
		return "max_client_conn", true
	}
	if key, ok := drcpName(name); ok {
		return key, true
	}
	f, ok := findField(fieldsOf(reflect.TypeFor[Config]()), topKey(name))
	if !ok || !slices.Contains(DefaultPoolKeys(), f.key) {
		return "", false
	}
	return f.key, true
}

// drcpName knows those that mean the same key everywhere. Others are aliases in Config's tags.
func drcpName(name string) (key string, ok bool) {
	switch name {
	case "minsize":
		return "min_pool_size", true
	case "incrsize":
		return "pool_increment", true
	case "session_cached_cursors":
		return "max_prepared_statements", true
	case "num_cbrok":
		return "loops", true
	}
	return "", false
}

// PoolInfo is what DRCP's DBA_CPOOL_INFO shows of a pool, with all precedence settled. A time of 0 is no limit, but for
// MaxLifetimeSession, where it is one use.
type PoolInfo struct {
	MinSize              int
	MaxSize              int
	IncrSize             int
	SessionCachedCursors int
	InactivityTimeout    time.Duration
	MaxThinkTime         time.Duration
	MaxUseSession        int
	MaxLifetimeSession   time.Duration
	NumCBrok             int // event loops; 0 = by the number of processors
	MaxConnCBrok         int // clients; 0 = no limit of its own
	MaxTxnThinkTime      time.Duration
}

// PoolInfo resolves one [databases.NAME] table, for a user and a class that have no table. It is false if there is none of that
// name; "*" serves it then.
func (c *Config) PoolInfo(database string) (PoolInfo, bool) {
	db, ok := c.Databases[database]
	if !ok {
		return PoolInfo{}, false
	}
	info := c.poolInfo(db)
	info.MaxConnCBrok = valueOr(db.MaxDBClientConnections, c.MaxDBClientConnections)
	return info, true
}

// DefaultPoolInfo is what a database gets that says nothing, and the limit on all clients.
func (c *Config) DefaultPoolInfo() PoolInfo {
	info := c.poolInfo(Database{})
	info.MaxConnCBrok = c.MaxClientConn
	return info
}

func (c *Config) poolInfo(db Database) PoolInfo {
	n := db.over(c.narrow())
	size := orElse(db.PoolSize, c.DefaultPoolSize)
	return PoolInfo{
		MinSize:              min(size, valueOr(db.MinPoolSize, c.MinPoolSize)),
		MaxSize:              size,
		IncrSize:             orElse(db.PoolIncrement, c.PoolIncrement),
		SessionCachedCursors: c.MaxPreparedStatements,
		InactivityTimeout:    time.Duration(valueOr(db.ServerIdleTimeout, c.ServerIdleTimeout)),
		MaxThinkTime:         time.Duration(*n.MaxThinkTime),
		MaxUseSession:        valueOr(db.MaxUseSession, c.MaxUseSession),
		MaxLifetimeSession:   time.Duration(valueOr(db.ServerLifetime, c.ServerLifetime)),
		NumCBrok:             c.Loops,
		MaxTxnThinkTime:      time.Duration(orElse(*n.IdleTransactionTimeout, *n.MaxThinkTime)),
	}
}
