package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLogInKeysThatAreWhole(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"an HBA file with its maps", "auth_type = \"hba\"\nauth_hba_file = \"h\"\nauth_ident_file = \"i\"\nauth_file = \"\""},
		{"certificates", "auth_type = \"cert\"\nauth_file = \"\"\nclient_tls_sslmode = \"prefer\"\nclient_tls_ca_file = \"ca\"\n" + certAndKey},
		{"LDAP", "auth_type = \"ldap\"\nauth_file = \"\"\nauth_ldap_options = 'ldapserver=l'"},
		{"OAuth", "auth_type = \"oauth\"\nauth_file = \"\"\nauth_oauth_options = 'issuer=\"https://a\"'"},
		{"a server that is asked, instead of a file", "auth_file = \"\"\nauth_user = \"lookup\"\nauth_dbname = \"postgres\""},
		{"a database's server that is asked", "auth_file = \"\"\n[databases.a]\nauth_user = \"lookup\"\nauth_query = \"SELECT 1\""},
		{"trusted proxies", `proxy_protocol = ["10.0.0.0/8", "::1", "unix"]`},
	} {
		t.Run(tt.name, func(t *testing.T) { mustParse(t, tt.text+anyDatabase) })
	}
}

func TestLogInKeysThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"hba without a file", `auth_type = "hba"`, "1: auth_type: hba needs auth_hba_file"},
		{"certificates without TLS", "client_tls_ca_file = \"ca\"\nauth_type = \"cert\"", "2: auth_type: cert needs client_tls_sslmode other than disable, and client_tls_ca_file, whose CAs sign the clients' certificates"},
		{"certificates without a CA", certAndKey + "client_tls_sslmode = \"require\"\nauth_type = \"cert\"", "4: auth_type: cert needs client_tls_sslmode other than disable, and client_tls_ca_file, whose CAs sign the clients' certificates"},
		{"LDAP without a server", `auth_type = "ldap"`, `1: auth_type: ldap needs auth_ldap_options, such as ldapurl="ldaps://ldap.example.net/…"`},
		{"OAuth without an issuer", `auth_type = "oauth"`, `1: auth_type: oauth needs auth_oauth_options, such as issuer="https://login.example.net" scope="openid" audience="pooler"`},
		{"maps that nobody names", `auth_ident_file = "i"`, `1: auth_ident_file: does nothing without auth_type = "hba", whose lines name its maps`},
		{"a question without words", "auth_user = \"u\"\nauth_query = \"\"\nauth_dbname = \"d\"", "2: auth_query: must be a query when auth_user is set"},
		{"a database's question that nobody asks", "[databases.a]\nauth_query = \"SELECT 1\"", "2: databases.a.auth_query: does nothing without auth_user, the user who asks"},
		{"a database to ask in that strangers choose", "auth_user = \"u\"", `1: auth_dbname: must name the database in which auth_user asks: [databases."*"] serves every name that somebody invents, and none has logged in yet`},
		{"a database to ask in that is not served", "auth_dbname = \"pooler\"", `1: auth_dbname: want a name that a [databases.NAME] serves, got "pooler"`},
		{"no rounds", "scram_iterations = 0", "1: scram_iterations: must be at least 1, got 0"},
		{"LDAP options that are no string, without showing them", "auth_ldap_options = 12345", "1: auth_ldap_options: want a string between quotes"},
		{"LDAP options without quotes, without showing them", "auth_ldap_options = ldapbindpasswd=hunter2", "1: not valid TOML; is the password between quotes?"},
		{"a proxy that is a name", `proxy_protocol = ["10.0.0.1", "lb.example.net"]`, `1: proxy_protocol: entry 2: want an address, a network such as 10.0.0.0/8, or "unix", got "lb.example.net"`},
		{"a limit below nothing", "max_source_logins = -1", "1: max_source_logins: must be at least 0, got -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("p.toml", []byte(tt.text+anyDatabase))
			if err == nil || err.Error() != "p.toml:"+tt.want {
				t.Errorf("got  %v\nwant p.toml:%s", err, tt.want)
			}
		})
	}
}

func TestPlainIsPassword(t *testing.T) {
	if c := mustParse(t, `auth_type = "plain"`+anyDatabase); c.AuthType != AuthPassword {
		t.Errorf("got %q", c.AuthType)
	}
}

func TestAuthLookup(t *testing.T) {
	c := mustParse(t, `
auth_user = "lookup"
auth_dbname = "users"
min_pool_size = 3
[databases.users]
user = "worker"
password = "worker-secret"
[databases.app]
[databases.own]
auth_user = "own_lookup"
auth_query = "SELECT * FROM f($1)"
auth_dbname = "app"
[users.lookup]
password = "lookup-secret"
`)
	for database, want := range map[string]AuthLookup{
		"app":    {"lookup", DefaultAuthQuery, "users"},
		"own":    {"own_lookup", "SELECT * FROM f($1)", "app"},
		"pooler": {"lookup", DefaultAuthQuery, "users"}, // the console's users may be anywhere
	} {
		if got, ok := c.AuthLookup(database); !ok || got != want {
			t.Errorf("%s: got %+v, %t, want %+v", database, got, ok, want)
		}
	}
	l, _ := c.AuthLookup("app")
	p, ok := c.LookupPool(l)
	if !ok || p.Database != "users" || p.ServerUser != "lookup" || p.ServerPassword != "lookup-secret" || p.MinSize != 0 {
		t.Errorf("it asks by %#v, %t", p, ok)
	}
	l, _ = c.AuthLookup("own")
	if p, ok := c.LookupPool(l); !ok || p.DBName != "app" || p.ServerUser != "own_lookup" || p.ServerPassword != "" {
		t.Errorf("it asks by %#v, %t", p, ok)
	}
}

func TestNoAuthLookup(t *testing.T) {
	if l, ok := mustParse(t, anyDatabase).AuthLookup("app"); ok {
		t.Errorf("nobody asks, got %+v", l)
	}
	c := mustParse(t, "auth_user = \"lookup\"\n[databases.any]")
	if l, ok := c.AuthLookup("pooler"); ok {
		t.Errorf("the console has no server of its own, got %+v", l)
	}
	if l, ok := c.AuthLookup("any"); !ok || l.DBName != "any" {
		t.Errorf("got %+v, %t", l, ok)
	}
}

func TestAuthFileIsReadWhereItIsOfUse(t *testing.T) {
	const lookup = "auth_user = \"lookup\"\nauth_dbname = \"postgres\"\n"
	hba := "auth_type = \"hba\"\nauth_hba_file = \"h\"\n"
	for _, tt := range []struct {
		name, text            string
		isThere, fails, reads bool
	}{
		{"trust does not read it", "auth_type = \"trust\"\n", true, false, false},
		{"passwords need it", "", false, true, false},
		{"passwords read it", "", true, false, true},
		{"a server may be asked instead", lookup, false, false, false},
		{"a server is asked for the others", lookup, true, false, true},
		{"an HBA file may do without", hba, false, false, false},
		{"an HBA file may use it", hba, true, false, true},
		{"there is none to read", lookup + "auth_file = \"\"\n", true, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := writeFile(t, dir, "p.toml", tt.text+anyDatabase, 0o600)
			if tt.isThere {
				writeFile(t, dir, "userlist.txt", `"a" "b"`, 0o600)
			}
			c, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			file, err := c.LoadAuthFile()
			if (err != nil) != tt.fails || (file != nil) != tt.reads {
				t.Errorf("got %v, %v", file, err)
			}
			if listed := slices.Contains(c.Files(), filepath.Join(dir, "userlist.txt")); listed != (tt.reads || tt.fails) {
				t.Errorf("among the files that are read: %v", c.Files())
			}
		})
	}
}

func TestProxySources(t *testing.T) {
	for _, tt := range []struct {
		entries, source string
		want            bool
	}{
		{"", "127.0.0.1", false},
		{"", "", false},
		{`"10.0.0.0/8"`, "10.1.2.3", true},
		{`"10.0.0.0/8"`, "11.1.2.3", false},
		{`"10.0.0.0/8"`, "::ffff:10.1.2.3", true},
		{`"10.0.0.0/8", "fe80::1"`, "fe80::1%eth0", true},
		{`"10.0.0.0/8"`, "", false},
		{`"unix"`, "", true},
		{`"unix"`, "10.0.0.1", false},
	} {
		c := mustParse(t, "proxy_protocol = ["+tt.entries+"]"+anyDatabase)
		source, _ := netip.ParseAddr(tt.source)
		if got := c.ProxySources().Contain(source); got != tt.want {
			t.Errorf("[%s] contains %q: got %t", tt.entries, tt.source, got)
		}
	}
}

func TestLDAPOptionsAreNeverShown(t *testing.T) {
	before := mustParse(t, "auth_ldap_options = 'ldapbindpasswd=hunter1'"+anyDatabase)
	after := mustParse(t, "auth_ldap_options = 'ldapbindpasswd=hunter2'"+anyDatabase)
	changes := Diff(before, after)
	if len(changes) != 1 || strings.Contains(changes[0].Old+changes[0].New, "hunter") {
		t.Errorf("got %v", changes)
	}
	for _, s := range after.Settings() {
		if strings.Contains(s.Value+s.Default, "hunter") || s.Key == "auth_ldap_options" && s.Value != hidden {
			t.Errorf("%s shows %s", s.Key, s.Value)
		}
	}
	if IsShown([]string{"auth_ldap_options"}) {
		t.Error("it may be logged")
	}
}

func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // not subject to the umask
		t.Fatal(err)
	}
	return path
}

func TestOnlyWhereAnyNameIsServedTheDatabaseToAskInMustBeNamed(t *testing.T) {
	for text, want := range map[string]string{
		"[databases.\"*\"]\nauth_user = \"u\"":                                                        `databases."*".auth_dbname`,
		"[databases.\"*\"]\nauth_user = \"u\"\nauth_dbname = \"postgres\"":                            "",
		"auth_dbname = \"postgres\"\n[databases.\"*\"]\nauth_user = \"u\"":                            "",
		"auth_user = \"u\"\n[databases.\"*\"]\nauth_dbname = \"postgres\"":                            "",
		"auth_user = \"u\"\n[databases.a]\n[databases.b]":                                             "",
		"[databases.a]\nauth_user = \"u\"\n[databases.\"*\"]\nport = 1":                               "",
		"auth_user = \"u\"\n[databases.a]\nauth_dbname = \"a\"\n[databases.\"*\"]\ndbname = \"prod\"": "auth_dbname",
	} {
		_, err := Parse("p.toml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want+": must name the database") {
			t.Errorf("%s\n%v", text, err)
		}
	}
}
