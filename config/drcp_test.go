package config

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

var drcpNames = []string{
	"minsize", "maxsize", "incrsize", "session_cached_cursors", "inactivity_timeout", "max_think_time", "max_use_session",
	"max_lifetime_session", "num_cbrok", "maxconn_cbrok", "max_txn_think_time",
}

func TestPoolParameter(t *testing.T) {
	tests := []struct {
		name     string
		database string // "" = none
		top      string
	}{
		{"minsize", "min_pool_size", "min_pool_size"},
		{"MaxSize", "pool_size", "default_pool_size"},
		{"INCRSIZE", "pool_increment", "pool_increment"},
		{"session_cached_cursors", "max_prepared_statements", "max_prepared_statements"},
		{"inactivity_timeout", "server_idle_timeout", "server_idle_timeout"},
		{"max_think_time", "max_think_time", "max_think_time"},
		{"max_txn_think_time", "idle_transaction_timeout", "idle_transaction_timeout"},
		{"max_use_session", "max_use_session", "max_use_session"},
		{"max_lifetime_session", "server_lifetime", "server_lifetime"},
		{"num_cbrok", "loops", "loops"},
		{"maxconn_cbrok", "max_db_client_connections", "max_client_conn"},
		{"pool_size", "pool_size", "default_pool_size"},
		{"default_pool_size", "", "default_pool_size"},
		{"reserve_pool_timeout", "", "reserve_pool_timeout"},
		{"pool_boundary", "pool_boundary", "pool_boundary"},
		{"host", "host", ""},
		{"on_get", "on_get", ""},
		{"log_level", "", ""},
		{"databases", "", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		if key, ok := PoolParameter(tt.name); key != tt.database || ok != (key != "") {
			t.Errorf("%s of a database: got %q, %v, want %q", tt.name, key, ok, tt.database)
		}
		if key, ok := DefaultPoolParameter(tt.name); key != tt.top || ok != (key != "") {
			t.Errorf("%s of the default pool: got %q, %v, want %q", tt.name, key, ok, tt.top)
		}
	}
}

func TestDRCPParametersCanBeSet(t *testing.T) {
	d := NewDocument("d", []byte("[databases.app]\n"))
	for _, name := range drcpNames {
		key, _ := PoolParameter(name)
		_, err := d.Set([]string{"databases", "app", key}, "1")
		if topOnly := key == "max_prepared_statements" || key == "loops"; topOnly != (err != nil) {
			t.Errorf("%s: got %v", name, err)
		}
		key, _ = DefaultPoolParameter(name)
		if _, err := d.Set([]string{key}, "1"); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A key that is new must be put on one of the two sides.
func TestPoolKeysAreAllButThese(t *testing.T) {
	stay := []string{
		"host", "port", "dbname", "user", "password", "auth_user", "auth_query", "auth_dbname",
		"server_tls_sslmode", "server_tls_cert_file", "server_tls_key_file", "server_tls_ca_file", "server_tls_sslnegotiation", "server_require_auth",
		"on_get", "on_release", "hook_failure", "state_check", "state_policy", "reaper_exempt",
	}
	for _, f := range fieldsOf(reflect.TypeFor[Database]()) {
		if slices.Contains(PoolKeys(), f.key) == slices.Contains(stay, f.key) {
			t.Errorf("%s: is it restored or does it stay?", f.key)
		}
	}
	for _, key := range DefaultPoolKeys() {
		if _, ok := findField(fieldsOf(reflect.TypeFor[Config]()), key); !ok {
			t.Errorf("%s is no key of the top level", key)
		}
	}
	for _, key := range PoolKeys() {
		if _, err := NewDocument("d", []byte("[databases.app]")).Unset([]string{"databases", "app", key}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestPoolInfo(t *testing.T) {
	c := mustParse(t, `
default_pool_size = 10
min_pool_size = 5
max_think_time = 60
max_client_conn = 500
max_db_client_connections = 100
loops = 3
pool_connection_class = "batch"

[databases.plain]

[databases.app]
pool_size = 4
pool_increment = 1
max_db_client_connections = 0
inactivity_timeout = 30
server_lifetime = 0
max_use_session = 9
max_txn_think_time = 7

[users.u]
pool_size = 1

[classes.batch]
max_think_time = 1
`)
	plain := PoolInfo{
		MinSize: 5, MaxSize: 10, IncrSize: 4, SessionCachedCursors: 200,
		InactivityTimeout: 10 * time.Minute, MaxThinkTime: time.Minute, MaxUseSession: 500_000, MaxLifetimeSession: time.Hour,
		NumCBrok: 3, MaxConnCBrok: 100, MaxTxnThinkTime: time.Minute,
	}
	app := PoolInfo{
		MinSize: 4, MaxSize: 4, IncrSize: 1, SessionCachedCursors: 200,
		InactivityTimeout: 30 * time.Second, MaxThinkTime: time.Minute, MaxUseSession: 9,
		NumCBrok: 3, MaxTxnThinkTime: 7 * time.Second,
	}
	if got, ok := c.PoolInfo("plain"); !ok || got != plain {
		t.Errorf("plain: got %+v, %v\nwant %+v", got, ok, plain)
	}
	if got, ok := c.PoolInfo("app"); !ok || got != app {
		t.Errorf("app: got %+v, %v\nwant %+v", got, ok, app)
	}
	if got, ok := c.PoolInfo("other"); ok {
		t.Errorf("other: got %+v", got)
	}
	plain.MaxConnCBrok = 500
	if got := c.DefaultPoolInfo(); got != plain {
		t.Errorf("default: got %+v\nwant %+v", got, plain)
	}
}
