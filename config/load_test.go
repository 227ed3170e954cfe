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
		{"a table like no other", "[pgbouncer]\nlisten_port = 1", `1: pgbouncer: unknown key "pgbouncer"`},
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
		{"an unknown auth_type", `auth_type = "ldap"`, `1: auth_type: want trust, password, md5 or scram-sha-256, got "ldap"`},
		{"a missing auth_file", `auth_file = ""`, `1: auth_file: must name a file when auth_type is "scram-sha-256", or set auth_type = "trust"`},
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
			if p, ok := c.Pool(name, "u"); !ok || p.Size < 1 || p.MinSize > p.Size || p.Boundary == BoundaryInherit {
				t.Errorf("pool of %q: %+v", name, p)
			}
		}
	})
}

func TestEveryFieldHasAKey(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Database](), reflect.TypeFor[User]()} {
		seen := make(map[string]bool)
		for _, f := range fieldsOf(typ) {
			if f.key == "" || seen[f.key] {
				t.Errorf("%s.%s: key %q is empty or not the only one", typ, typ.Field(f.index).Name, f.key)
			}
			seen[f.key] = true
		}
	}
}
