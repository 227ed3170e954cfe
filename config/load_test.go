package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const anyDatabase = "\n[databases.\"*\"]\n"

func TestParseReads(t *testing.T) {
	tests := []struct {
		name string
		text string
		want func(c *Config)
	}{
		{"an empty file but for a database gives the defaults", "", func(*Config) {}},
		{"a duration is a string with a unit", `query_wait_timeout = "1m30s"`, func(c *Config) { c.QueryWaitTimeout = Duration(90 * time.Second) }},
		{"a duration is whole seconds", `query_wait_timeout = 90`, func(c *Config) { c.QueryWaitTimeout = Duration(90 * time.Second) }},
		{"a duration is a string of digits", `query_wait_timeout = "90"`, func(c *Config) { c.QueryWaitTimeout = Duration(90 * time.Second) }},
		{"a duration of zero is kept", `query_wait_timeout = 0`, func(c *Config) { c.QueryWaitTimeout = 0 }},
		{"a number is a string of digits", `default_pool_size = "1000"`, func(c *Config) { c.DefaultPoolSize = 1000 }},
		{"a boundary is in any case", `pool_boundary = "Transaction"`, func(c *Config) { c.PoolBoundary = BoundaryTransaction }},
		{"a mode is octal", `unix_socket_mode = "0770"`, func(c *Config) { c.UnixSocketMode = 0o770 }},
		{"trust needs no auth_file", "auth_type = \"trust\"\nauth_file = \"\"", func(c *Config) { c.AuthType, c.AuthFile = AuthTrust, "" }},
		{"lists hold strings", `admin_users = ["a", "b"]`, func(c *Config) { c.AdminUsers = []string{"a", "b"} }},
		{"the top level may be dotted", `databases.app.port = 1`, func(c *Config) {
			c.Databases["app"] = Database{Host: "127.0.0.1", Port: 1}
		}},
		{"an optional zero differs from nothing", "[databases.app]\nserver_lifetime = 0", func(c *Config) {
			c.Databases["app"] = Database{Host: "127.0.0.1", Port: 5432, ServerLifetime: new(Duration)}
		}},
		{"a setting by its other name", "inactivity_timeout = 5\n[databases.app]\nmax_lifetime_session = 6\nmax_txn_think_time = 7", func(c *Config) {
			c.ServerIdleTimeout = Duration(5 * time.Second)
			lifetime, idle := Duration(6*time.Second), Duration(7*time.Second)
			c.Databases["app"] = Database{Host: "127.0.0.1", Port: 5432, ServerLifetime: &lifetime, Narrow: Narrow{IdleTransactionTimeout: &idle}}
		}},
		{"each name of a setting in another table", "server_idle_timeout = 5\n[databases.app]\ninactivity_timeout = 0", func(c *Config) {
			c.ServerIdleTimeout = Duration(5 * time.Second)
			c.Databases["app"] = Database{Host: "127.0.0.1", Port: 5432, ServerIdleTimeout: new(Duration)}
		}},
		{"words in any case", "pool_purity = \"New\"\nhook_failure = \"IGNORE\"", func(c *Config) { c.PoolPurity, c.HookFailure = PurityNew, HookIgnore }},
		{"an optional false and an optional empty string differ from nothing", "[classes.a]\nreaper_exempt = false\non_get = \"\"", func(c *Config) {
			c.Classes = map[string]Class{"a": {Narrow: Narrow{ReaperExempt: new(bool), OnGet: new(string)}}}
		}},
		{"empty words of a class are inherited", "[classes.a]\npool_purity = \"\"\nhook_failure = \"\"\nstate_check = \"\"", func(c *Config) {
			c.Classes = map[string]Class{"a": {}}
		}},
		{"rules are in order", "[[rules]]\nuser = \"a\"\npool_purity = \"new\"\n[[rules]]\npool_boundary = \"session\"", func(c *Config) {
			c.Rules = []Rule{{User: "a", PoolPurity: PurityNew}, {PoolBoundary: BoundarySession}}
		}},
		{"rules are a list", `rules = [{ source = "unix", pool_connection_class = "a" }]`, func(c *Config) {
			c.Rules = []Rule{{Source: "unix", PoolConnectionClass: "a"}}
		}},
		{"an empty boundary of a user is inherited", "[users.app]\npool_boundary = \"\"", func(c *Config) {
			c.Users = map[string]User{"app": {}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := Default()
			want.Databases = map[string]Database{"*": DefaultDatabase()}
			tt.want(want)

			got, err := Parse("p.toml", []byte(tt.text+anyDatabase))
			if err != nil {
				t.Fatal(err)
			}
			if changes := Diff(want, got); changes != nil {
				t.Errorf("differs from what was wanted: %v", changes)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name string
		text string
		want string // without the leading "p.toml:"
	}{
		{"a number out of range", "\ndefault_pool_size = 0", `2: default_pool_size: must be at least 1, got 0`},
		{"a misspelt key", "defualt_pool_size = 5", `1: defualt_pool_size: unknown key "defualt_pool_size"; did you mean "default_pool_size"?`},
		{"PgBouncer's name of a key", `pool_mode = "x"`, `1: pool_mode: unknown key "pool_mode"; did you mean "pool_boundary"?`},
		{"a key like no other", "zebra = 1", `1: zebra: unknown key "zebra"`},
		{"a key in the wrong case", "Loops = 1", `1: Loops: unknown key "Loops"; did you mean "loops"?`},
		{"a table like no other", "[pgbouncer]\nlisten_port = 1", `1: pgbouncer: unknown key "pgbouncer"; its keys belong at the top of the file, without a table`},
		{"a table in the singular", "[user.a]", `1: user: want a string between quotes, got a table; did you mean "users"?`},
		{"rules in the singular", "[[rule]]", `1: rule: unknown key "rule"; did you mean "rules"?`},
		{"a misspelt other name", "inactivity_timeuot = 5", `1: inactivity_timeuot: unknown key "inactivity_timeuot"; did you mean "inactivity_timeout"?`},
		{"a table's key at the top", "pool_size = 5", `1: pool_size: unknown key "pool_size"; did you mean "default_pool_size"?`},
		{"the top's key in a table", "[users.a]\ndefault_pool_size = 5", `2: users.a.default_pool_size: unknown key "default_pool_size"; did you mean "pool_size"?`},
		{"the top's limit in a table", "[users.a]\nmax_client_conn = 5", `2: users.a.max_client_conn: unknown key "max_client_conn"; did you mean "max_user_client_connections"?`},
		{"a class's key of a user", "[users.a]\nmax_class_client_connections = 5", `2: users.a.max_class_client_connections: unknown key "max_class_client_connections" in a table; it belongs at the top of the file, before the first [table], or in [classes.NAME]`},
		{"a key that only tables have", "reaper_exempt = true", `1: reaper_exempt: unknown key "reaper_exempt"; it belongs in [databases.NAME], [users.NAME] or [classes.NAME]`},
		{"PostgreSQL's name of a key", "statement_timeout = 5", `1: statement_timeout: unknown key "statement_timeout"; did you mean "query_timeout"?`},
		{"DRCP's name of a key", "[databases.a]\nmaxsize = 5", `2: databases.a.maxsize: unknown key "maxsize"; did you mean "pool_size"?`},
		{"PgBouncer's key that is not needed", "server_reset_query = \"\"", `1: server_reset_query: unknown key "server_reset_query"; not needed: the pooler removes by itself what a client leaves in a server session`},
		{"a setting by both names", "server_idle_timeout = 5\ninactivity_timeout = 5", `1: server_idle_timeout: inactivity_timeout and server_idle_timeout are two names of one setting; keep one of them`},
		{"a setting of a table by both names", "[users.a]\nmax_txn_think_time = 5\nidle_transaction_timeout = 6", `2: users.a.max_txn_think_time: idle_transaction_timeout and max_txn_think_time are two names of one setting; keep one of them`},
		{"a setting by its other name, not valid", `max_lifetime_session = "long"`, `1: max_lifetime_session: want a duration such as "30s", or whole seconds, got "long"`},
		{"a top-level key after a table", "[users.a]\nlisten_port = 1", `2: users.a.listen_port: unknown key "listen_port" in a table; it belongs at the top of the file, before the first [table]`},
		{"a misspelt key of a table", "[databases.app]\n\nhots = \"a\"", `3: databases.app.hots: unknown key "hots"; did you mean "host"?`},
		{"a word for a number", `loops = "many"`, `1: loops: want a whole number, got "many"`},
		{"a fraction for a number", `loops = 1.5`, `1: loops: want a whole number, got 1.5`},
		{"a number for a string", `listen_addr = 5`, `1: listen_addr: want a string between quotes, got 5`},
		{"a string for a truth value", `tcp_keepalive = "yes"`, `1: tcp_keepalive: want true or false, got "yes"`},
		{"a string for a list", `admin_users = "app"`, `1: admin_users: want a list such as ["alice", "bob"], got "app"`},
		{"a list for a string", `auth_file = ["a"]`, `1: auth_file: want a string between quotes, got a list`},
		{"a zero byte", `auth_file = "a\u0000"`, `1: auth_file: must not contain a zero byte`},
		{"a negative duration", `query_wait_timeout = "-1s"`, `1: query_wait_timeout: must not be negative, got "-1s"`},
		{"negative seconds", `query_wait_timeout = -1`, `1: query_wait_timeout: must not be negative, got -1`},
		{"a duration beyond what fits", `query_wait_timeout = 9223372036854775807`, `1: query_wait_timeout: must be at most a year (8760h), got 9223372036854775807`},
		{"a duration in an unknown unit", `query_wait_timeout = "3 parsecs"`, `1: query_wait_timeout: want a duration such as "30s", or whole seconds, got "3 parsecs"`},
		{"a wait for ever for a client that does not log in", `client_login_timeout = 0`, `1: client_login_timeout: must be more than 0, got 0s`},
		{"an unknown boundary", `pool_boundary = "query"`, `1: pool_boundary: want statement, transaction or session, got "query"`},
		{"no boundary at the top", `pool_boundary = ""`, `1: pool_boundary: want statement, transaction or session, got ""`},
		{"a mode that is not octal", `unix_socket_mode = "0788"`, `1: unix_socket_mode: want permissions between quotes such as "0770", got "0788"`},
		{"a mode without quotes", `unix_socket_mode = 777`, `1: unix_socket_mode: want permissions between quotes such as "0770", got 777`},
		{"an unknown auth_type", `auth_type = "pam"`, `1: auth_type: want trust, password, md5, scram-sha-256, cert, ldap, oauth or hba, got "pam"`},
		{"a missing auth_file", `auth_file = ""`, `1: auth_file: must name a file when auth_type is "scram-sha-256", or set auth_user to ask the server, or auth_type = "trust"`},
		{"nothing to listen on", "listen_addr = \"\"\nunix_socket_dir = \"\"", `1: listen_addr: nothing to listen on; set listen_addr or unix_socket_dir`},
		{"a port in listen_addr", `listen_addr = "127.0.0.1:6432"`, `1: listen_addr: want a host without a port, got "127.0.0.1:6432"`},
		{"an empty part of listen_addr", `listen_addr = "::1,"`, `1: listen_addr: want a host name or an address, got "::1,"`},
		{"every address and one more", `listen_addr = "*, ::1"`, `1: listen_addr: "*" already means every address, got "*, ::1"`},
		{"a port too high", `listen_port = 65536`, `1: listen_port: must be at most 65535, got 65536`},
		{"a relative socket folder", `unix_socket_dir = "tmp"`, `1: unix_socket_dir: want a path that begins with "/", got "tmp"`},
		{"a socket folder too long for the kernel", `unix_socket_dir = "/` + strings.Repeat("a", 100) + `"`, `1: unix_socket_dir: must be at most 87 bytes long, got 101`},
		{"http_listen without a port", `http_listen = "localhost"`, `1: http_listen: want host:port such as "127.0.0.1:6433", or "" for none, got "localhost"`},
		{"a minimum above the default size", "default_pool_size = 3\nmin_pool_size = 4", `2: min_pool_size: must be at most default_pool_size (3), got 4`},
		{"a minimum above a database's size", "[databases.a]\npool_size = 3\nmin_pool_size = 4", `3: databases.a.min_pool_size: must be at most 3, got 4`},
		{"no server session at once", `pool_increment = 0`, `1: pool_increment: must be at least 1, got 0`},
		{"a negative increment of a database", "[databases.a]\npool_increment = -1", `2: databases.a.pool_increment: must be at least 0, got -1`},
		{"a negative reserve", `reserve_pool_size = -1`, `1: reserve_pool_size: must be at least 0, got -1`},
		{"a reserve beyond PostgreSQL", `reserve_pool_size = 262144`, `1: reserve_pool_size: must be at most 262143, got 262144`},
		{"a database's negative reserve", "[databases.a]\nreserve_pool_size = -1", `2: databases.a.reserve_pool_size: must be at least 0, got -1`},
		{"a user's negative reserve", "[users.a]\nreserve_pool_size = -1", `2: users.a.reserve_pool_size: must be at least 0, got -1`},
		{"no client", `max_client_conn = 0`, `1: max_client_conn: must be at least 1, got 0`},
		{"a negative limit of all databases", `max_db_client_connections = -1`, `1: max_db_client_connections: must be at least 0, got -1`},
		{"a negative limit of all users", `max_user_client_connections = -1`, `1: max_user_client_connections: must be at least 0, got -1`},
		{"a negative limit of all classes", `max_class_client_connections = -1`, `1: max_class_client_connections: must be at least 0, got -1`},
		{"a negative limit of sources", `max_source_client_connections = -1`, `1: max_source_client_connections: must be at least 0, got -1`},
		{"a negative limit of applications", `max_application_client_connections = -1`, `1: max_application_client_connections: must be at least 0, got -1`},
		{"a limit beyond any machine", `max_db_client_connections = 10000001`, `1: max_db_client_connections: must be at most 10000000, got 10000001`},
		{"a database's negative limit of clients", "[databases.a]\nmax_db_client_connections = -1", `2: databases.a.max_db_client_connections: must be at least 0, got -1`},
		{"a user's negative limit of clients", "[users.a]\nmax_user_client_connections = -1", `2: users.a.max_user_client_connections: must be at least 0, got -1`},
		{"a class's negative limit of clients", "[classes.a]\nmax_class_client_connections = -1", `2: classes.a.max_class_client_connections: must be at least 0, got -1`},
		{"a negative cap overall", `max_server_connections = -1`, `1: max_server_connections: must be at least 0, got -1`},
		{"a negative cap of databases", `max_db_connections = -1`, `1: max_db_connections: must be at least 0, got -1`},
		{"a negative cap of users", `max_user_connections = -1`, `1: max_user_connections: must be at least 0, got -1`},
		{"a database's negative cap", "[databases.a]\nmax_db_connections = -1", `2: databases.a.max_db_connections: must be at least 0, got -1`},
		{"a user's negative cap", "[users.a]\nmax_user_connections = -1", `2: users.a.max_user_connections: must be at least 0, got -1`},
		{"no login to a server at once", `server_login_concurrency = 0`, `1: server_login_concurrency: must be at least 1, got 0`},
		{"a negative number of clients that log in", `client_login_concurrency = -1`, `1: client_login_concurrency: must be at least 0, got -1`},
		{"a negative number of uses", `max_use_session = -1`, `1: max_use_session: must be at least 0, got -1`},
		{"a database's negative number of uses", "[databases.a]\nmax_use_session = -1", `2: databases.a.max_use_session: must be at least 0, got -1`},
		{"a negative threshold", `reaper_client_threshold = -1`, `1: reaper_client_threshold: must be at least 0, got -1`},
		{"a target without a threshold", `reaper_client_target = 5`, `1: reaper_client_target: does nothing without reaper_client_threshold; set both`},
		{"a target above its threshold", "reaper_server_threshold = 4\nreaper_server_target = 5", `2: reaper_server_target: must be at most reaper_server_threshold (4), got 5`},
		{"a history file without the monitor", "monitor = false\nhistory_file = \"h.db\"", `2: history_file: does nothing without monitor = true`},
		{"a sample without a collector", "trace_sample = 10", `1: trace_sample: does nothing without trace_endpoint`},
		{"a collector that is no URL", `trace_endpoint = "localhost:4318"`, `1: trace_endpoint: want the URL of an OTLP/HTTP collector such as "http://localhost:4318", got "localhost:4318"`},
		{"a negative target", "reaper_server_target = -1", `1: reaper_server_target: must be at least 0, got -1`},
		{"an unknown purity", `pool_purity = "clean"`, `1: pool_purity: want self or new, got "clean"`},
		{"a purity that is not a word", `pool_purity = true`, `1: pool_purity: want self or new, got true`},
		{"no purity at the top", `pool_purity = ""`, `1: pool_purity: want self or new, got ""`},
		{"an unknown purity of a user", "[users.a]\npool_purity = \"clean\"", `2: users.a.pool_purity: want self or new, got "clean"`},
		{"an unknown failure policy", `hook_failure = "panic"`, `1: hook_failure: want retire, ignore or error, got "panic"`},
		{"no failure policy at the top", `hook_failure = ""`, `1: hook_failure: want retire, ignore or error, got ""`},
		{"an unknown failure policy of a class", "[classes.a]\nhook_failure = 5", `2: classes.a.hook_failure: want retire, ignore or error, got 5`},
		{"no state_check at the top", `state_check = ""`, `1: state_check: want auto, strict or off, got ""`},
		{"an unknown state_check of a database", "[databases.a]\nstate_check = \"on\"", `2: databases.a.state_check: want auto, strict or off, got "on"`},
		{"an unknown state_check of a user", "[users.a]\nstate_check = \"on\"", `2: users.a.state_check: want auto, strict or off, got "on"`},
		{"a zero byte in a hook", `on_get = "a\u0000"`, `1: on_get: must not contain a zero byte`},
		{"a zero byte in a user's hook", "[users.a]\non_release = \"a\\u0000\"", `2: users.a.on_release: must not contain a zero byte`},
		{"a database's client that never logs in", "[databases.a]\nclient_login_timeout = 0", `2: databases.a.client_login_timeout: must be more than 0, got 0s`},
		{"a user's client that never logs in", "[users.a]\nclient_login_timeout = 0", `2: users.a.client_login_timeout: must be more than 0, got 0s`},
		{"a class's client that never logs in", "[classes.a]\nclient_login_timeout = 0", `2: classes.a.client_login_timeout: must be more than 0, got 0s`},
		{"a class with a space", `pool_connection_class = "a b"`, `1: pool_connection_class: want a name of ASCII characters without spaces, quotes and backslashes, got "a b"`},
		{"a class too long", "[databases.a]\npool_connection_class = \"" + strings.Repeat("a", 64) + `"`, `2: databases.a.pool_connection_class: must be at most 63 bytes long, got 64`},
		{"a user's class with a quote", "[users.a]\npool_connection_class = \"a'b\"", `2: users.a.pool_connection_class: want a name of ASCII characters without spaces, quotes and backslashes, got "a'b"`},
		{"a table of a class with a space", "\n[classes.\"a b\"]", `2: classes."a b": want a name of ASCII characters without spaces, quotes and backslashes, got "a b"`},
		{"a rule for a host name", "[[rules]]\npool_purity = \"new\"\nsource = \"localhost\"", `3: rules.1.source: want an address, a network such as 10.0.0.0/8, or "unix", got "localhost"`},
		{"a rule for an interface", "[[rules]]\npool_purity = \"new\"\nsource = \"fe80::1%eth0\"", `3: rules.1.source: want an address, a network such as 10.0.0.0/8, or "unix", got "fe80::1%eth0"`},
		{"a rule that sets nothing", "\n[[rules]]\nuser = \"a\"", `2: rules.1: sets nothing; give it pool_connection_class, pool_purity or pool_boundary`},
		{"an empty rule", "\n[[rules]]", `2: rules.1: sets nothing; give it pool_connection_class, pool_purity or pool_boundary`},
		{"a rule that sets nothing that is valid", "[[rules]]\n\npool_purity = 5", `3: rules.1.pool_purity: want self or new, got 5`},
		{"a rule's class with a space", "[[rules]]\npool_connection_class = \" \"", `2: rules.1.pool_connection_class: want a name of ASCII characters without spaces, quotes and backslashes, got " "`},
		{"a key that rules do not have", "[[rules]]\npool_purity = \"new\"\nstate_check = \"off\"", `3: rules.1.state_check: unknown key "state_check" in a table; it belongs at the top of the file, before the first [table], or in [databases.NAME], [users.NAME] or [classes.NAME]`},
		{"a misspelt key of a rule", "[[rules]]\npool_purity = \"new\"\nclient_addr = \"::1\"", `3: rules.1.client_addr: unknown key "client_addr"; did you mean "source"?`},
		{"too many loops", `loops = 1025`, `1: loops: must be at most 1024, got 1025`},
		{"no keepalive probe", `tcp_keepcnt = 0`, `1: tcp_keepcnt: must be at least 1, got 0`},
		{"a keepalive time the kernel cannot count", `tcp_keepidle = "1500ms"`, `1: tcp_keepidle: want whole seconds, from 1s to 9h6m7s, got 1.5s`},
		{"the console as a database", "[databases.pooler]", `1: databases.pooler: is the name of the console; choose another`},
		{"a database's password without its user", "[databases.a]\npassword = \"hunter2\"", `2: databases.a.password: belongs to a user; set user beside it, or the password in [users.NAME]`},
		{"two hosts", "[databases.a]\nhost = \"a,b\"", `2: databases.a.host: want a host name or an address, got "a,b"`},
		{"a password that is not a string, without showing it", "[users.a]\npassword = 1234567", `2: users.a.password: want a string between quotes`},
		{"a password without quotes, without showing it", "[users.a]\npassword = hunter2", `2: not valid TOML; is the password between quotes?`},
		{"a key given twice", "loops = 1\nloops = 2", `2: not valid TOML: Key 'loops' has already been defined.`},
		{"a value where tables are due", `users = 3`, `1: users: want tables [users.NAME], got 3`},
		{"an array of tables", "[[users]]\n", `1: users: want tables [users.NAME], got a table`},
		{"one table where several are due", "\n[rules]\npool_purity = \"new\"", `2: rules: want tables [[rules]], got a table`},
		{"a value where several tables are due", `rules = "x"`, `1: rules: want tables [[rules]], got "x"`},
		{"a value where one of several tables is due", `rules = [1]`, `1: rules.1: want a table, got 1`},
		{"a value where a table is due", `users.a = 3`, `1: users.a: want a table [users.a], got 3`},
		{"a name that must be quoted", "[users.\"*\"]\npool_size = -1", `2: users."*".pool_size: must be at least 0, got -1`},
		{"a name that is empty", "\n[users.\"\"]", `2: users."": a name must not be empty or contain a zero byte`},
		{"brackets without end", "a = " + strings.Repeat("[", 2000), `1: brackets nested too deeply`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("p.toml", []byte(tt.text+anyDatabase))

			if err == nil || err.Error() != "p.toml:"+tt.want {
				t.Errorf("got  %v\nwant p.toml:%s", err, tt.want)
			}
		})
	}
}

func TestParseReportsEveryFaultInTheOrderOfTheFile(t *testing.T) {
	text := `loops = -1
zebra = 1
listen_port = "x"
[users.b]
pool_size = -1
[databases]
app = { port = 0,
        hots = "db" }
`
	want := `p.toml:1: loops: must be at least 0, got -1
p.toml:2: zebra: unknown key "zebra"
p.toml:3: listen_port: want a whole number, got "x"
p.toml:5: users.b.pool_size: must be at least 0, got -1
p.toml:7: databases.app.port: must be at least 1, got 0
p.toml:8: databases.app.hots: unknown key "hots"; did you mean "host"?`

	_, err := Parse("p.toml", []byte(text))

	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// The TOML library knows the place of a key only in the last of several [[rules]].
func TestParseFindsTheLineInEachRule(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"in each of several", `
[[rules]] # the first
user = "a"
pool_purity = "x"
[[rules]]
pool_boundary = "x"
[users.a]
pool_size = -1
[databases.a]

  [[ 'rules' ]]
pool_purity = "y"
source = "z"
[[rules]]
`, `p.toml:4: rules.1.pool_purity: want self or new, got "x"
p.toml:6: rules.2.pool_boundary: want statement, transaction or session, got "x"
p.toml:8: users.a.pool_size: must be at least 0, got -1
p.toml:12: rules.3.pool_purity: want self or new, got "y"
p.toml:13: rules.3.source: want an address, a network such as 10.0.0.0/8, or "unix", got "z"
p.toml:14: rules.4: sets nothing; give it pool_connection_class, pool_purity or pool_boundary`},
		{"as a list, where only its beginning is known", `
rules = [
  { pool_purity = "x" },
  { pool_purity = "new" },
]
`, `p.toml:2: rules.1.pool_purity: want self or new, got "x"`},
		{"where a string looks like a rule, only the last one's is known", `
[[rules]]
user = """
[[rules]]
"""
pool_purity = "x"

[[rules]]
pool_purity = "new"
`, `p.toml:8: rules.1.pool_purity: want self or new, got "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("p.toml", []byte(tt.text+anyDatabase))

			if err == nil || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

func TestParseWantsADatabase(t *testing.T) {
	_, err := Parse("p.toml", nil)

	want := `p.toml:1: databases: want at least one [databases.NAME]; the name "*" stands for every database`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseBoundsItsReport(t *testing.T) {
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "key%d = 1\n", i)
	}

	_, err := Parse("p.toml", []byte(text.String()))

	if n := strings.Count(err.Error(), "unknown key"); n != maxFaults {
		t.Errorf("got %d faults, want %d", n, maxFaults)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	t.Run("takes a relative auth_file from the file's folder", func(t *testing.T) {
		t.Chdir(dir)
		write("relative.toml", anyDatabase)
		c, err := Load("relative.toml")
		if err != nil {
			t.Fatal(err)
		}
		got, want := c.AuthFile, filepath.Join(dir, "userlist.txt")
		if got != want {
			t.Errorf("auth_file is %q, want %q", got, want)
		}
	})
	t.Run("leaves an absolute auth_file", func(t *testing.T) {
		c, err := Load(write("absolute.toml", `auth_file = "/etc/users"`+anyDatabase))
		if err != nil || c.AuthFile != "/etc/users" {
			t.Errorf("got %v, %v", c, err)
		}
	})
	t.Run("names the file and the line of a fault", func(t *testing.T) {
		path := write("faulty.toml", "\nloops = -1"+anyDatabase)
		_, err := Load(path)
		if want := path + ":2: loops: must be at least 0, got -1"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	t.Run("a missing file is told by errors.Is", func(t *testing.T) {
		if _, err := Load(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a folder is refused", func(t *testing.T) {
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a file without end is refused", func(t *testing.T) {
		if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("got %v", err)
		}
	})
}

// FuzzParse: nothing makes Parse panic, every fault has its place, and what it accepts is valid.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("../pooler.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte("[databases.\"*\"]\nhost = \"/tmp\"\n[users.a]\npassword = \"x\""))
	f.Add([]byte("databases.a = {port = 1}\nusers.\"\".b = [1, {c = 1979-05-27}]\n\"\" = 1"))
	f.Add([]byte("[[databases]]\n[[databases.a]]\nloops = 0x7fffffffffffffff"))
	f.Add([]byte("databases.a.on_get = \"\"\n[classes.c]\nreaper_exempt = true\n[[rules]]\nsource = \"10.0.0.0/8\"\npool_purity = \"new\""))
	f.Add([]byte("rules = [{pool_connection_class = \"a b\"}, 1]\ninactivity_timeout = 1\nserver_idle_timeout = 1"))
	f.Add([]byte("[[rules]]\n[rules.source]\n[[rules]]\nuser = \"\"\"\n[[rules]]\n\"\"\"\nx = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("a fault without its place: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("accepted, but not valid: %v", err)
		}
		if changes := Diff(c, c); changes != nil {
			t.Errorf("differs from itself: %v", changes)
		}
		for name := range c.Databases {
			if p, ok := c.Pool(name, "u"); !ok || p.Size < 1 || p.MinSize > p.Size || p.Increment < 1 {
				t.Errorf("pool of %q: %+v", name, p)
			}
			s := c.Session(Client{Database: name, User: "u"})
			if s.Boundary == BoundaryInherit || s.Purity == PurityInherit || s.HookFailure == HookInherit || s.LoginTimeout <= 0 ||
				s.Class != "" && CheckClass(s.Class) != nil {
				t.Errorf("session of %q: %+v", name, s)
			}
		}
	})
}

func TestEveryFieldHasAKey(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Config](), reflect.TypeFor[Database](), reflect.TypeFor[User](), reflect.TypeFor[Class](), reflect.TypeFor[Rule](),
	} {
		seen := make(map[string]bool)
		for _, f := range fieldsOf(typ) {
			if f.key == "" || seen[f.key] {
				t.Errorf("%s.%s: key %q is empty or not the only one", typ, typ.FieldByIndex(f.index).Name, f.key)
			}
			seen[f.key] = true
			if f.alias != "" && seen[f.alias] {
				t.Errorf("%s.%s: %q is not its only name", typ, typ.FieldByIndex(f.index).Name, f.alias)
			}
			seen[f.alias] = true
		}
	}
}
