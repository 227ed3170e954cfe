package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// path splits a key at its dots, but for those between quotes.
func path(key string) []string {
	var parts []string
	for i, part := range strings.Split(key, `"`) {
		if i%2 == 1 {
			parts = append(parts, part)
			continue
		}
		for word := range strings.SplitSeq(part, ".") {
			if word != "" {
				parts = append(parts, word)
			}
		}
	}
	return parts
}

func TestDocumentSetChangesNothingElse(t *testing.T) {
	tests := []struct {
		name       string
		key, value string
		text, want string
	}{
		{
			"a value in its line, whose comment stays", "default_pool_size", "30",
			"# top\n\n  default_pool_size=20\t# for \"reports\"\n\n# end\n",
			"# top\n\n  default_pool_size=30\t# for \"reports\"\n\n# end\n",
		},
		{
			"a value between quotes, beside a # that is none", "listen_addr", "*",
			"listen_addr = 'a#b' # c\n",
			"listen_addr = \"*\" # c\n",
		},
		{
			"a key between quotes", "default_pool_size", "30",
			"\"default_pool_size\" = 20",
			"\"default_pool_size\" = 30",
		},
		{
			"a key between quotes with an escape", "loops", "3",
			"\"l\\u006fops\" = 20\n",
			"\"l\\u006fops\" = 3\n",
		},
		{
			"a key by the name that the file uses", "server_idle_timeout", "5min",
			"inactivity_timeout = \"600s\" # seconds\n",
			"inactivity_timeout = \"5m\" # seconds\n",
		},
		{
			"a key by its other name", "inactivity_timeout", "60",
			"server_idle_timeout = \"600s\"\n",
			"server_idle_timeout = 60\n",
		},
		{
			"line ends of DOS", "loops", "2",
			"# a\r\nloops = 1 # b\r\n\r\n[users.a]\r\n",
			"# a\r\nloops = 2 # b\r\n\r\n[users.a]\r\n",
		},
		{
			"a list over several lines", "admin_users", "alice, bob",
			"admin_users = [\n  \"a#\",\n  'b]',\n] # who\nloops = 1\n",
			"admin_users = [\"alice\", \"bob\"] # who\nloops = 1\n",
		},
		{
			"a string over several lines", "on_get", "SELECT \"x\"\n",
			"on_get = \"\"\"\nloops = 1\n# no comment \\\"\"\" \"\"\"\"\" # one\nloops = 2\n",
			"on_get = \"SELECT \\\"x\\\"\\n\" # one\nloops = 2\n",
		},
		{
			"a raw string over several lines", "on_get", "",
			"on_get = '''\n\\''''' # one\nloops = 2\n",
			"on_get = \"\" # one\nloops = 2\n",
		},
		{
			"a key below a header", "databases.app.pool_size", "7",
			"pool_increment = 1\n[databases.app]\npool_increment = 2\npool_size = 5 # five\n[users.app]\npool_size = 6\n",
			"pool_increment = 1\n[databases.app]\npool_increment = 2\npool_size = 7 # five\n[users.app]\npool_size = 6\n",
		},
		{
			"a dotted key", "databases.app.pool_size", "7",
			"databases . \"app\".pool_size = 1 # one\nloops = 1\n",
			"databases . \"app\".pool_size = 7 # one\nloops = 1\n",
		},
		{
			"a key of an inline table", "databases.app.pool_size", "7",
			"[databases]\napp = { host = \"a\", pool_size = 1 } # one\n",
			"[databases]\napp = { host = \"a\", pool_size = 7 } # one\n",
		},
		{
			"a key of an inline table in an inline table", "databases.app.pool_size", "7",
			"databases = { x = { pool_size = 2 }, app = { pool_size = 1 } }\n",
			"databases = { x = { pool_size = 2 }, app = { pool_size = 7 } }\n",
		},
		{
			"a table that is a value", "state_policy", "listen = ignore, seed = pin",
			"state_policy = { listen = \"pin\" } # pins\n",
			"state_policy = { listen = \"ignore\", seed = \"pin\" } # pins\n",
		},
		{
			"a key that is absent, behind the last of the top", "default_pool_size", "30",
			"loops = 1 # one\n\n# for all\n[databases.\"*\"]\n",
			"loops = 1 # one\ndefault_pool_size = 30\n\n# for all\n[databases.\"*\"]\n",
		},
		{
			"a key that is absent, behind its example", "default_pool_size", "30",
			"a_list_of = [ # default_pool_size = 1\n]\n# Sizes\n  #default_pool_size = 20 # as it is\n# more\n\nloops = 1\n[databases.\"*\"]\n# default_pool_size = 2\n",
			"a_list_of = [ # default_pool_size = 1\n]\n# Sizes\n  #default_pool_size = 20 # as it is\n  default_pool_size = 30\n# more\n\nloops = 1\n[databases.\"*\"]\n# default_pool_size = 2\n",
		},
		{
			"a key that is absent, behind the example of its other name", "server_lifetime", "1h",
			"# max_lifetime_session = 5\nloops = 1\n",
			"# max_lifetime_session = 5\nserver_lifetime = \"1h\"\nloops = 1\n",
		},
		{
			"the first key of the top", "loops", "2",
			"# of the file\n\n# of the table\n[databases.\"*\"]\n",
			"# of the file\n\nloops = 2\n\n# of the table\n[databases.\"*\"]\n",
		},
		{
			"the first key of the top, behind a byte order mark", "loops", "2",
			"\ufeff[databases.\"*\"]\r\n",
			"\ufeffloops = 2\r\n\r\n[databases.\"*\"]\r\n",
		},
		{"the first key of an empty file", "loops", "2", "", "loops = 2\n"},
		{"the first key of a comment without an end", "loops", "2", "# a", "# a\nloops = 2\n"},
		{
			"a key of a table, behind its last, with its indent", "databases.app.pool_size", "7",
			"[databases.app] # app\n\n  host = \"a\" # b\n  # port = 5432\n\n[users.a]\n",
			"[databases.app] # app\n\n  host = \"a\" # b\n  pool_size = 7\n  # port = 5432\n\n[users.a]\n",
		},
		{
			"the first key of a table at the end of the file", "databases.app.pool_size", "7",
			"[databases.app] # app",
			"[databases.app] # app\npool_size = 7\n",
		},
		{
			"a key of a table whose name is between quotes", "databases.\"a.b c\".pool_size", "7",
			"[databases.'a.b c']\nhost = \"a\"\r\n",
			"[databases.'a.b c']\nhost = \"a\"\r\npool_size = 7\n",
		},
		{
			"a key of an inline table, behind its last", "databases.app.pool_size", "7",
			"databases.app = { host = \"a\" }\n",
			"databases.app = { host = \"a\", pool_size = 7 }\n",
		},
		{
			"a key of an inline table over several lines", "databases.app.pool_size", "7",
			"databases.app = {\n  host = \"a\", # b\n}\n",
			"databases.app = {\n  host = \"a\", pool_size = 7, # b\n}\n",
		},
		{"the first key of an inline table", "databases.app.pool_size", "7", "databases.app={}", "databases.app={ pool_size = 7 }"},
		{"the first key of an inline table with a space", "databases.app.pool_size", "7", "databases.app={ }", "databases.app={ pool_size = 7 }"},
		{
			"a key of a dotted table", "databases.app.pool_size", "7",
			"databases. app .host = \"a\" # b\nloops = 1\n",
			"databases. app .host = \"a\" # b\ndatabases. app .pool_size = 7\nloops = 1\n",
		},
		{
			"a key of a dotted table below a header", "databases.app.pool_size", "7",
			"[databases]\n\tapp.host = \"a\"\n\tb.host = \"b\"\n",
			"[databases]\n\tapp.host = \"a\"\n\tapp.pool_size = 7\n\tb.host = \"b\"\n",
		},
		{
			"a user that is new", "users.alice b.pool_boundary", "session",
			"loops = 1 # one",
			"loops = 1 # one\n\n[users.\"alice b\"]\npool_boundary = \"session\"\n",
		},
		{
			"a class that is new", "classes.batch.query_timeout", "1 min",
			"[classes]\nx = {}\n[[rules]]\nuser = \"a\"\n",
			"[classes]\nx = {}\n[[rules]]\nuser = \"a\"\n\n[classes.batch]\nquery_timeout = \"1m\"\n",
		},
		{
			"a top key in front of rules", "loops", "2",
			"log_level = \"info\"\n[[rules]]\nuser = \"a\"\n\n[[rules]]\nuser = \"b\"\n",
			"log_level = \"info\"\nloops = 2\n[[rules]]\nuser = \"a\"\n\n[[rules]]\nuser = \"b\"\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDocument("d", []byte(tt.text))
			got, err := d.Set(path(tt.key), tt.value)
			if err != nil {
				t.Fatal(err)
			}
			if got.text != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got.text, tt.want)
			}
			if d.text != tt.text || d.Changed() || !got.Changed() {
				t.Error("the Document that was edited is no longer the same")
			}
		})
	}
}

func TestDocumentUnset(t *testing.T) {
	tests := []struct {
		name       string
		key        string
		text, want string
	}{
		{"a line", "loops", "# a\n  loops = 1\n# b\n", "# a\n# b\n"},
		{"a line of several", "admin_users", "admin_users = [\n \"a\",\n]\nloops = 1\n", "loops = 1\n"},
		{"a line, but not its comment", "loops", "  loops = 1 # one\nlog_level = \"info\"\n", "  # one\nlog_level = \"info\"\n"},
		{"the last line", "loops", "# a\nloops = 1", "# a\n"},
		{"a line behind a byte order mark", "loops", "\ufeffloops = 1\n", "\ufeff"},
		{"by another name", "users.a.max_txn_think_time", "[users.a]\nidle_transaction_timeout = 1\n", "[users.a]\n"},
		{"nothing", "loops", "log_level = \"info\"\n", "log_level = \"info\"\n"},
		{"nothing of a table that is absent", "databases.a.pool_size", "", ""},
		{"the first of an inline table", "users.a.pool_size", "users.a = { pool_size = 1, password = \"x\" }\n", "users.a = { password = \"x\" }\n"},
		{"the last of an inline table", "users.a.pool_size", "users.a = { password = \"x\", pool_size = 1 }\n", "users.a = { password = \"x\" }\n"},
		{"the only one of an inline table", "users.a.pool_size", "users.a = { pool_size = 1 }\n", "users.a = {  }\n"},
		{"one of several dotted", "users.a.pool_size", "users.a.pool_size = 1\nusers.a.password = \"x\"\n", "users.a.password = \"x\"\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NewDocument("d", []byte(tt.text)).Unset(path(tt.key))
			if err != nil {
				t.Fatal(err)
			}
			if got.text != tt.want {
				t.Errorf("got\n%q\nwant\n%q", got.text, tt.want)
			}
		})
	}
}

func TestDocumentRefuses(t *testing.T) {
	const hand = "; edit the file by hand, then RELOAD"
	tests := []struct {
		name       string
		key, value string
		text       string
		kind       error
		want       string
	}{
		{"a misspelt key", "defualt_pool_size", "1", "", ErrUnknownKey, `defualt_pool_size: unknown key "defualt_pool_size"; did you mean "default_pool_size"?`},
		{"PgBouncer's name", "pool_mode", "session", "", ErrUnknownKey, `pool_mode: unknown key "pool_mode"; did you mean "pool_boundary"?`},
		{"PgBouncer's key that is not needed", "server_check_query", "x", "", ErrUnknownKey, `server_check_query: unknown key "server_check_query"; not needed: the pooler sees when a server session has ended`},
		{"a key of the top in a table", "databases.a.max_prepared_statements", "1", "[databases.a]", ErrUnknownKey, `databases.a.max_prepared_statements: unknown key "max_prepared_statements" in a table; it belongs at the top of the file, before the first [table]`},
		{"no key", "", "1", "", ErrUnknownKey, `want a key`},
		{"a table", "databases", "1", "", ErrUnknownKey, `databases: want a key of one table, such as databases.NAME.pool_boundary`},
		{"a table with a name", "users.a", "1", "", ErrUnknownKey, `users.a: want a key of one table, such as users.NAME.pool_boundary`},
		{"a key in a key", "state_policy.listen", "pin", "", ErrUnknownKey, `state_policy.listen: state_policy is changed as a whole`},
		{"a rule", "rules.1.user", "a", "", ErrByHand, `rules.1.user: rules have no names to change them by` + hand},
		{"a word for a number", "loops", "many", "", ErrBadValue, `loops: want a whole number, got "many"`},
		{"a word for a duration", "databases.a.query_timeout", "long", "[databases.a]", ErrBadValue, `databases.a.query_timeout: want a duration such as "30s", or whole seconds, got "long"`},
		{"too many days", "query_timeout", "400000000 d", "", ErrBadValue, `query_timeout: must be at most a year (8760h), got "2400000h"`},
		{"an unknown boundary", "pool_boundary", "call", "", ErrBadValue, `pool_boundary: want statement, transaction or session, got "call"`},
		{"a number for a truth value", "log_connections", "2", "", ErrBadValue, `log_connections: want true or false, got "2"`},
		{"a list without its end", "admin_users", `["a`, "", ErrBadValue, `admin_users: want a list such as ["alice", "bob"], got "[\"a"`},
		{"a list with more behind it", "admin_users", "[\"a\"]\nloops = 1", "", ErrBadValue, `admin_users: want a list such as ["alice", "bob"], got "[\"a\"]\nloops = 1"`},
		{"a list of numbers", "admin_users", "[1]", "", ErrBadValue, `admin_users: want a string between quotes, got 1`},
		{"a kind of state that there is not", "state_policy", "load = pin, lock = pin", "", ErrBadValue, `state_policy: unknown kind of state "lock"; known are settings, role, prepare, hold_cursor, temporary, advisory_lock, listen, sequence, seed, load, foreign`},
		{"no policy", "state_policy", "pin", "", ErrBadValue, `state_policy: want a table such as { listen = "error" }, got "pin"`},
		{"policies without their end", "state_policy", `{ load = "pin"`, "", ErrBadValue, `state_policy: want a table such as { listen = "error" }, got "{ load = \"pin\""`},
		{"a file that would be too large", "on_get", strings.Repeat("x", maxConfigSize), "", ErrByHand, `on_get: the file would become larger than 4194304 bytes` + hand},
		{"a zero byte, without showing it", "users.a.password", "hunter\x002", "", ErrBadValue, `users.a.password: must not contain a zero byte`},
		{"other than UTF-8, without showing it", "users.a.password", "hunter\xff", "", ErrBadValue, `users.a.password: must be valid UTF-8`},
		{
			"a database that \"*\" serves", "databases.app.pool_size", "1", "[databases.\"*\"]", ErrNoTable,
			`databases.app: there is no table [databases.app]; [databases."*"] serves that name with others. Change that one, or add the table to the file, then RELOAD`,
		},
		{"a database that nothing serves", "databases.app.pool_size", "1", "[databases.a]", ErrNoTable, `databases.app: there is no table [databases.app]; add the table to the file, then RELOAD`},
		{"comments inside of a value", "admin_users", "b", "admin_users = [\n  \"a\", # the boss\n]\n", ErrByHand, `admin_users: there are comments inside of its value, which would be lost` + hand},
		{"a value below its own header", "state_policy", "{}", "[state_policy]\nlisten = \"pin\"", ErrByHand, `state_policy: it is written in several places` + hand},
		{"a dotted value", "state_policy", "{}", "state_policy.listen = \"pin\"", ErrByHand, `state_policy: it is written in several places` + hand},
		{"a key by both names", "server_lifetime", "1", "server_lifetime = 2\nmax_lifetime_session = 2", ErrByHand, `server_lifetime: it is written in several places` + hand},
		{"a table that only its own tables show", "databases.a.pool_size", "1", "[databases.a.state_policy]", ErrByHand, `databases.a.pool_size: its table is written in an unusual way` + hand},
		{"a table that is a number", "databases.a.pool_size", "1", "databases.a = 5", ErrByHand, `databases.a.pool_size: its table is written in an unusual way` + hand},
		{"a new table where they are inline", "users.b.pool_size", "1", "users = { a = {} }", ErrByHand, `users.b.pool_size: its table is written in an unusual way` + hand},
		{"a text that is none", "loops", "1", "loops", nil, `d:1: not valid TOML: unexpected EOF; expected key separator '='`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewDocument("d", []byte(tt.text)).Set(path(tt.key), tt.value)
			if err == nil || err.Error() != tt.want || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestDocumentUnsetRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"the only key that makes a table": "users.a.pool_size = 1\n",
		"a value with comments":           "users.a = { pool_size = 1 # one\n, password = \"x\" }\n",
		"a comma that would be left":      "users.a = { pool_size = 1, }\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewDocument("d", []byte(text)).Unset(path("users.a.pool_size"))
			if !errors.Is(err, ErrByHand) {
				t.Errorf("got %v, want ErrByHand", err)
			}
		})
	}
	if _, err := NewDocument("d", nil).Unset(path("zebra")); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
}

func TestDocumentConfigJudgesWhatSetDoesNot(t *testing.T) {
	d := NewDocument("d.toml", []byte("min_pool_size = 5\n"+anyDatabase))
	small, err := d.Set([]string{"default_pool_size"}, "3")
	if err != nil {
		t.Fatal(err)
	}

	_, err = small.Config()
	if want := "min_pool_size: must be at most default_pool_size (3), got 5"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s, without a line of a file that says otherwise", err, want)
	}

	both, err := small.Set([]string{"min_pool_size"}, "2")
	if err != nil {
		t.Fatal(err)
	}
	c, err := both.Config(func(c *Config, complain func(string, ...string)) {
		if c.MinPoolSize != 2 {
			complain("was not seen", "min_pool_size")
		}
	})
	if err != nil || c.DefaultPoolSize != 3 {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestDocumentConfigOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.toml")
	if err := os.WriteFile(path, []byte("loops = -1\n"+anyDatabase), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDocument(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Config(); err == nil || err.Error() != path+":1: loops: must be at least 0, got -1" {
		t.Errorf("got %v", err)
	}
	if d, err = d.Unset([]string{"loops"}); err != nil {
		t.Fatal(err)
	}
	c, err := d.Config()
	if want := filepath.Join(filepath.Dir(path), "userlist.txt"); err != nil || c.AuthFile != want {
		t.Errorf("auth_file: got %v, %v, want %s", c, err, want)
	}
}

func TestIsShown(t *testing.T) {
	for key, want := range map[string]bool{
		"listen_port":          true,
		"default_pool_size":    true,
		"databases.a.password": false,
		"users.a.password":     false,
		"users.a.pool_size":    true,
		"users.a":              false,
		"zebra":                false,
	} {
		if got := IsShown(path(key)); got != want {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
}
