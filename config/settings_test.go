package config

import (
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// another is a valid value of a setting that is not its default, as it would be typed.
func another(t *testing.T, key string, v reflect.Value) string {
	t.Helper()
	if value, ok := map[string]string{
		"listen_addr": "::1, 127.0.0.1", "unix_socket_dir": "/run", "unix_socket_mode": "0770", "http_listen": ":6433",
		"auth_type": "md5", "pool_boundary": "session", "pool_purity": "new", "hook_failure": "error", "state_check": "strict",
		"log_level": "debug", "log_format": "json", "pool_connection_class": "batch", "host": "/run",
		"state_policy": `{ listen = "error" }`, "trace_endpoint": "https://collector:4318/v1",
		"proxy_protocol": "10.0.0.0/8, unix", "auth_dbname": "other", "client_tls_sslmode": "verify-full", "server_tls_sslmode": "verify-full",
		"client_tls_protocols": "tlsv1.3", "server_tls_protocols": "tlsv1.2", "server_tls_sslnegotiation": "direct",
		"server_require_auth": "!password, !md5",
	}[key]; ok {
		return value
	}
	if v.Kind() == reflect.Pointer {
		v = reflect.New(v.Type().Elem()).Elem()
	}
	switch value := v.Interface().(type) {
	case int:
		return strconv.Itoa(value + 1)
	case bool:
		return strconv.FormatBool(!value)
	case string:
		return "SELECT 'a', \"b\"\\\n\t# ü" + value
	case []string:
		return "alice, bob"
	case Duration:
		return Duration(time.Duration(value) + time.Second).String()
	}
	t.Fatalf("%s: no other value of a %s is known here", key, v.Type())
	return ""
}

func TestEveryKeyOfTheTopCanBeSet(t *testing.T) {
	d, err := ReadDocument("../pooler.toml")
	if err != nil {
		t.Fatal(err)
	}
	// A target needs its threshold, a sample its collector, TLS its files, and an unset key its place.
	needed := map[string]string{
		"reaper_client_threshold": "5", "reaper_server_threshold": "5", "trace_endpoint": "http://collector:4318", "auth_type": "hba", "auth_hba_file": "hba",
		"client_tls_cert_file": "c", "client_tls_key_file": "k", "client_tls_ca_file": "ca",
		"server_tls_key_file": "k", "server_tls_ca_file": "ca", "server_tls_sslmode": "require",
		"auth_dbname": "postgres",
	}
	for _, doc := range []*Document{d, NewDocument("d", []byte(anyDatabase))} {
		for key, value := range needed {
			if doc, err = doc.Set([]string{key}, value); err != nil {
				t.Fatal(err)
			}
		}
		before, err := doc.Config()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range before.Settings() {
			path := []string{s.Key}
			k, err := resolveKey(path)
			if !k.secret {
				checkSet(t, doc, path, s.Value, before, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			v := reflect.ValueOf(before).Elem().FieldByIndex(k.index)
			checkSet(t, doc, path, another(t, s.Key, v), before, true)
			if k.restart == s.Changeable {
				t.Errorf("%s: changeable is %t", s.Key, s.Changeable)
			}
		}
	}
}

func TestEveryKeyOfATableCanBeSet(t *testing.T) {
	doc := NewDocument("d", []byte("auth_user = \"lookup\"\nserver_tls_sslmode = \"require\"\nserver_tls_ca_file = \"ca\"\n"+
		"[databases.app]\nuser = \"app\" # as all\nserver_tls_key_file = \"k\"\n[databases.other]\n[users.app]\nserver_tls_key_file = \"k\"\n[classes.app]\n"))
	before, err := doc.Config()
	if err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]reflect.Value{
		"databases": reflect.ValueOf(before.Databases["app"]),
		"users":     reflect.ValueOf(before.Users["app"]),
		"classes":   reflect.ValueOf(before.Classes["app"]),
	} {
		for _, f := range fieldsOf(table.Type()) {
			path := []string{name, "app", f.key}
			checkSet(t, doc, path, another(t, f.key, table.FieldByIndex(f.index)), before, true)
			if f.alias != "" {
				path[2] = f.alias
				checkSet(t, doc, path, another(t, f.key, table.FieldByIndex(f.index)), before, true)
			}
		}
	}
}

func checkSet(t *testing.T, doc *Document, path []string, value string, before *Config, differs bool) {
	t.Helper()
	edited, err := doc.Set(path, value)
	if err != nil {
		t.Errorf("set %s to %q: %v", path, value, err)
		return
	}
	after, err := edited.Config()
	if err != nil {
		t.Errorf("set %s to %q: %v", path, value, err)
		return
	}
	changes := Diff(before, after)
	if differs != (len(changes) == 1) || len(changes) > 1 {
		t.Errorf("set %s to %q: got the changes %v", path, value, changes)
	}
	if strings.Count(edited.text, "#") < strings.Count(doc.text, "#") {
		t.Errorf("set %s to %q: a comment is gone", path, value)
	}
}

func TestSettings(t *testing.T) {
	c := mustParse(t, `
listen_addr = "10.0.0.1"
admin_users = ["alice", "bob"]
stats_users = ["a,b", " c"]
query_timeout = 90
log_connections = false
unix_socket_mode = "0770"
pool_boundary = "Session"
state_policy = { listen = "error" }
`+anyDatabase)
	want := []Setting{
		{"listen_addr", "10.0.0.1", "127.0.0.1", false},
		{"unix_socket_mode", "0770", "0777", false},
		{"admin_users", "alice, bob", "", true},
		{"stats_users", `["a,b", " c"]`, "", true},
		{"default_pool_size", "20", "20", true},
		{"pool_boundary", "session", "statement", true},
		{"server_idle_timeout", "10m", "10m", true},
		{"query_timeout", "1m30s", "0s", true},
		{"loops", "0", "0", false},
		{"log_connections", "false", "true", true},
	}
	got := c.Settings()
	at := -1
	for _, w := range want {
		i := slices.Index(got, w)
		if i <= at {
			t.Errorf("%v is not there, or not in its place", w)
		}
		at = i
	}
	if slices.ContainsFunc(got, func(s Setting) bool { return s.Key == "databases" || s.Key == "rules" || s.Key == "inactivity_timeout" }) {
		t.Error("there are tables or second names among them")
	}
	d := NewDocument("d", nil)
	for _, s := range got { // what is shown can be typed
		var err error
		if s.Value == hidden {
			continue
		}
		if d, err = d.Set([]string{s.Key}, s.Value); err != nil {
			t.Error(err)
		}
	}
	if changes := Diff(c, mustParse(t, d.text+anyDatabase)); changes != nil {
		t.Errorf("typed again it differs: %v", changes)
	}
}

func TestSampleSurvivesItsOwnSettings(t *testing.T) {
	text := readSample(t)
	d, err := ReadDocument("../pooler.toml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Config()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Settings() {
		if s.Value == hidden {
			continue
		}
		gone, err := d.Unset([]string{s.Key})
		if err != nil {
			t.Error(err)
			continue
		}
		back, err := gone.Set([]string{s.Key}, s.Default)
		if err != nil {
			t.Error(err)
			continue
		}
		if again := mustParse(t, back.text); s.Key != "auth_file" && len(Diff(c, again)) > 1 { // auth_file differs for all
			t.Errorf("%s: %v", s.Key, Diff(c, again))
		}
	}
	if now, err := os.ReadFile("../pooler.toml"); err != nil || string(now) != text || d.text != text {
		t.Error("pooler.toml is no longer the same")
	}
}
