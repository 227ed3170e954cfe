package config

import (
	"reflect"
	"slices"
	"testing"
)

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
			{"log_format", `"text"`, `"json"`, false},
		}},
		{"an optional key that appears", "[databases.a]", "[databases.a]\nserver_lifetime = 0", []Change{{"databases.a.server_lifetime", "inherit", "0s", false}}},
		{"a boundary", "[databases.a]", "[databases.a]\npool_boundary = \"session\"", []Change{{"databases.a.pool_boundary", "inherit", "session", false}}},
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
	want := []string{"listen_addr", "listen_port", "unix_socket_dir", "unix_socket_mode", "http_listen", "loops"}
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
