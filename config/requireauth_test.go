package config

import (
	"strings"
	"testing"
)

func TestRequireAuthAllows(t *testing.T) {
	all := []string{RequirePassword, RequireMD5, RequireSCRAM, RequireNone}
	for list, want := range map[string]string{
		"":                      "password md5 scram-sha-256 none",
		"scram-sha-256":         "scram-sha-256",
		"scram-sha-256, none":   "scram-sha-256 none",
		"!password":             "md5 scram-sha-256 none",
		"!password,!md5":        "scram-sha-256 none",
		"! password":            "",
		"none":                  "none",
		"!none":                 "password md5 scram-sha-256",
		"md5,password,!md5":     "",
		"scram-sha-256,":        "",
		"SCRAM-SHA-256":         "",
		"md5,md5":               "",
		"gss":                   "",
		"!!password":            "",
		"password md5":          "",
		"!password,md5":         "",
		"password,!md5":         "",
		" none , scram-sha-256": "scram-sha-256 none",
	} {
		c, err := Parse("p.toml", []byte("server_require_auth = '"+list+"'\n"+anyDatabase))
		if (err == nil) != (want != "") {
			t.Errorf("%q: %v", list, err)
		}
		if err != nil {
			continue
		}
		p, _ := c.Pool("any", "ann")
		var got []string
		for _, method := range all {
			if p.RequireAuth.Allows(method) {
				got = append(got, method)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q allows %v, want %s", list, got, want)
		}
	}
}

func TestRequireAuthThatIsRefused(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`server_require_auth = "gss"`, `1: server_require_auth: want password, md5, scram-sha-256 and none, separated by commas, got "gss"`},
		{`server_require_auth = "!md5,none"`, `1: server_require_auth: want "!" in front of every method or of none, got "!md5,none"`},
		{`server_require_auth = "md5,md5"`, `1: server_require_auth: names a method twice, got "md5,md5"`},
		{"[databases.a]\nserver_require_auth = \"scram\"", `2: databases.a.server_require_auth: want password, md5, scram-sha-256 and none, separated by commas, got "scram"`},
	} {
		if _, err := Parse("p.toml", []byte(tt.text+anyDatabase)); err == nil || err.Error() != "p.toml:"+tt.want {
			t.Errorf("got  %v\nwant p.toml:%s", err, tt.want)
		}
	}
}

func TestADatabasesRequireAuthWins(t *testing.T) {
	c := mustParse(t, "server_require_auth = \"scram-sha-256\"\n[databases.old]\nserver_require_auth = \"md5\"\n"+anyDatabase)
	for database, want := range map[string]RequireAuth{"old": RequireMD5, "any": RequireSCRAM} {
		if p, _ := c.Pool(database, "ann"); p.RequireAuth != want {
			t.Errorf("%s: %q", database, p.RequireAuth)
		}
	}
}
