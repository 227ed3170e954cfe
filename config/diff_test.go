package config

import (
	"reflect"
	"slices"
	"testing"
)

const anyRule = "\n[[rules]]\npool_purity = \"new\"\n"

func ruleFor(user string) string {
	return "\n[[rules]]\nuser = \"" + user + "\"\npool_boundary = \"session\"\n"
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name     string
		old, new string
		want     []Change
	}{
		{"nothing", "loops = 2", "loops = 2", nil},
		{"a key left out is its default", "loops = 0\nadmin_users = []", "", nil},
		{"a number, which needs a restart", "loops = 2", "loops = 3", []Change{{"loops", "2", "3", true}}},
		{"a duration", "query_wait_timeout = 60", `query_wait_timeout = "2m30s"`, []Change{{"query_wait_timeout", "1m", "2m30s", false}}},
		{"a string and a list", "", "log_format = \"json\"\nadmin_users = [\"a\"]", []Change{
			{"admin_users", `[]`, `["a"]`, false},
			{"log_format", `"text"`, `"json"`, true},
		}},
		{"an optional key that appears", "[databases.a]", "[databases.a]\nserver_lifetime = 0", []Change{{"databases.a.server_lifetime", "inherit", "0s", false}}},
		{"a boundary", "[databases.a]", "[databases.a]\npool_boundary = \"session\"", []Change{{"databases.a.pool_boundary", "inherit", "session", false}}},
		{"a boundary that is no longer set", "[classes.a]\npool_boundary = \"session\"", "[classes.a]", []Change{{"classes.a.pool_boundary", "session", "inherit", false}}},
		{
			"words that are inherited when they are left out",
			"[users.a]\nhook_failure = \"error\"\nstate_policy = { listen = \"error\" }", "[users.a]\npool_purity = \"new\"\nstate_check = \"off\"",
			[]Change{
				{"users.a.pool_purity", "inherit", `"new"`, false},
				{"users.a.hook_failure", `"error"`, "inherit", false},
				{"users.a.state_check", "inherit", `"off"`, false},
				{"users.a.state_policy", `{ listen = "error" }`, "inherit", false},
			},
		},
		{
			"optional strings and truth values", "[users.a]\non_get = \"SELECT 1\"\nreaper_exempt = false", "[users.a]\non_get = \"\"\nreaper_exempt = true",
			[]Change{{"users.a.on_get", `"SELECT 1"`, `""`, false}, {"users.a.reaper_exempt", "false", "true", false}},
		},
		{"another name of the same key", "inactivity_timeout = 5", "server_idle_timeout = 5", nil},
		{"rules left out are no rules", "rules = []", "", nil},
		{"a rule that changes", anyRule + ruleFor("a") + anyRule, anyRule + ruleFor("b") + anyRule, []Change{
			{"rules.2", `{ user = "a", pool_boundary = "session" }`, `{ user = "b", pool_boundary = "session" }`, false},
		}},
		{"a rule in front of others", anyRule + ruleFor("a"), ruleFor("b") + anyRule + ruleFor("a"), []Change{
			{"rules.1", "absent", `{ user = "b", pool_boundary = "session" }`, false},
		}},
		{"rules that go", ruleFor("a") + ruleFor("a") + anyRule, ruleFor("a"), []Change{
			{"rules.2", `{ user = "a", pool_boundary = "session" }`, "absent", false},
			{"rules.3", `{ pool_purity = "new" }`, "absent", false},
		}},
		{"a password, without showing it", "[users.a]\npassword = \"x\"", "[users.a]\npassword = \"y\"", []Change{{"users.a.password", "(changed)", "(changed)", false}}},
		{"tables that come and go", "[databases.a]", "[databases.\"b c\"]", []Change{
			{"databases.a", "present", "absent", false},
			{`databases."b c"`, "absent", "present", false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Diff(mustParse(t, tt.old+anyDatabase), mustParse(t, tt.new+anyDatabase))
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestKeysThatNeedARestart(t *testing.T) {
	want := []string{
		"listen_addr", "listen_port", "unix_socket_dir", "unix_socket_mode", "http_listen", "http_tls", "user", "loops", "log_format",
		"monitor", "history_file", "trace_endpoint",
	}
	var got []string
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		if f.restart {
			got = append(got, f.key)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRunningKeepsWhatNeedsARestart(t *testing.T) {
	started, changed := Default(), Default()
	changed.ListenPort, changed.LogFormat, changed.DefaultPoolSize = 7777, LogJSON, 5
	running := changed.Running(started)
	if running.ListenPort != started.ListenPort || running.LogFormat != started.LogFormat || running.DefaultPoolSize != 5 {
		t.Errorf("in force: %d, %s, %d", running.ListenPort, running.LogFormat, running.DefaultPoolSize)
	}
	if changed.ListenPort != 7777 {
		t.Error("the configuration itself has changed")
	}
}
