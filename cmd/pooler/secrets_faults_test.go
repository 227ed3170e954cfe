package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// fileFault is a change to a file with which nothing can be loaded, and which holds a secret.
type fileFault struct{ file, old, new string } // SECRET stands for the secret; old "": new is put behind all

var fileFaults = []fileFault{
	{"users", "", `"f" "SECRET`},
	{"users", "", `f SECRET`},
	{"users", "", `"f", "SECRET"`},
	{"users", "", `"" "SECRET"`},
	{"users", "", `"f" "SCRAM-SHA-256$4096:salt$SECRET"`},
	{"users", "", `"f" "SCRAM-SHA-256$4096:SECRET$x:y"`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd=a SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd=a,SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd = SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpasswd:SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapbindpassword=SECRET`},
	{"hba", "", `host all f all ldap ldapbasedn=x ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapprefix=x ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all scram-sha-256 ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldapbindpasswd=SECRET`},
	{"hba", "", `host all f ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldap ldapurl="ldap://u:SECRET@h/dc=x"`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbasedn=x ldapport=none ldapbindpasswd=SECRET`},
	{"hba", "", `host all f all ldap ldapserver=h ldapbindpasswd="SECRET ldapbasedn=x`},
	{"server.key", "-----BEGIN", "SECRET"},
	{"client.key", "-----BEGIN", "SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = \"SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = \"SECRET\\q\""},
	{"pooler.toml", "", "[users.f]\npassword = \"a\" SECRET"},
	{"pooler.toml", "", "[users.f]\npassword = [\"SECRET\"]"},
	{"pooler.toml", "", "[users.f]\npassword = \"SECRET\\u0000\""},
	{"pooler.toml", "", "[users.f]\npassword = \"a\"\npassword = \"SECRET\""},
	{"pooler.toml", "", "[users.f]\npassword = \"\"\"\nSECRET\\q\"\"\""},
	{"pooler.toml", "", "[users.f]\npasswort = \"SECRET\""},
	{"pooler.toml", "", "[users.f]\npasswd = SECRET"},
	{"pooler.toml", "", "[databases.f]\npassword = \"SECRET\""},
	{"pooler.toml", "", "[databases.f]\nhost = \"postgres://u:SECRET@h/d\""},
	{"pooler.toml", "", "[users]\nf = \"SECRET\""},
	{"pooler.toml", "", "[databases]\nf = \"host=h user=u password=SECRET\""},
	{"pooler.toml", "\"hba\"\nauth_ldap_options = '", "\"ldap\"\nauth_ldap_options = 'ldapbindpasswd=SECRET "},
	{"pooler.toml", "\"hba\"\nauth_ldap_options = '", "\"ldap\"\nauth_ldap_options = 'ldapbindpasswd=a SECRET "},
	{"pooler.toml", "trace_endpoint = \"http://", "trace_endpoint = \"tcp://u:SECRET@h\" #"},
}

// faults has each be met by a reload and by a check.
func (k *teller) faults(operator *pgconn.PgConn) {
	k.t.Helper()
	for n, f := range fileFaults {
		secret := k.vault.password(fmt.Sprintf("secret in %q, fault %d of %s", f.new, n, f.file))
		text := strings.Replace(k.files[f.file], f.old, strings.ReplaceAll(f.new, "SECRET", secret), 1)
		if f.old == "" {
			text = k.files[f.file] + strings.ReplaceAll(f.new, "SECRET", secret) + "\n"
		}
		k.put(f.file, text)
		k.meet(operator, f.new)
		k.put(f.file, k.files[f.file])
	}
	k.put("server.key", string(k.papers.NextServer().Key)) // which is not the certificate's
	k.meet(operator, "another's key")
	k.put("server.key", k.files["server.crt"])
	k.meet(operator, "a certificate for a key")
	k.put("server.key", k.files["server.key"])
	if err := k.ask(operator, "rows", "RELOAD"); err != nil {
		k.t.Errorf("RELOAD without a fault: %v", err)
	}
}

func (k *teller) meet(operator *pgconn.PgConn, what string) {
	k.t.Helper()
	if err := k.ask(operator, "rows", "RELOAD"); err == nil {
		k.t.Errorf("%q is loaded", what)
	}
	if !k.checks {
		return
	}
	said, err := exec.Command(k.bin, "check", "--config", k.config).CombinedOutput()
	if err == nil {
		k.t.Errorf("%q is right, says check: %s", what, said)
	}
	k.hear("check", string(said))
}

// orders are commands with secrets in them.
func (k *teller) orders(operator *pgconn.PgConn) {
	k.t.Helper()
	for _, sql := range []string{
		"SET users.spare.password = 'SECRET'", "SET users.spare.pasword = 'SECRET'", "SET users.fresh.password = 'SECRET'", "SET databases.nowhere.password = 'SECRET'",
		"SET databases.closed.password = 'SECRET'", "SET databases.\"*\".password = 'SECRET'", "SET password = 'SECRET'", "SET users.spare.password 'SECRET'",
		"SET users.spare.password = 'SECRET", "SET auth_ldap_options = 'ldapserver=h ldapbasedn=x ldapbindpasswd=\"SECRET\"'", "SET auth_ldap_options = 'ldapbindpasswd=\"SECRET\"'",
		"ALTER POOL postgres SET password = 'SECRET'", "ALTER POOL postgres_filed SET password = 'SECRET' SAVE", "ALTER ROLE spare PASSWORD 'SECRET'",
		"SHOW CONFIG WHERE value = 'SECRET'", "SHOW CONFIG WHERE value ~~~ 'SECRET'", "SELECT 'SECRET' FROM nowhere", "SET trace_endpoint = 'http://u:SECRET@h'",
	} {
		_ = k.ask(operator, "rows", strings.ReplaceAll(sql, "SECRET", k.said.password("secret in "+sql))) // some are refused
	}
	if err := k.ask(operator, "rows", "RELOAD"); err != nil { // what is not saved is gone
		k.t.Error(err)
	}
}
