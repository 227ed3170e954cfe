package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"github.com/BurntSushi/toml"
)

// AuthType is how a client proves who it is.
type AuthType string

// The values of auth_type.
const (
	AuthTrust    AuthType = "trust"
	AuthPassword AuthType = "password" // "plain" is another name for it, PgBouncer's
	AuthMD5      AuthType = "md5"
	AuthSCRAM    AuthType = "scram-sha-256"
	AuthCert     AuthType = "cert"
	AuthLDAP     AuthType = "ldap"
	AuthOAuth    AuthType = "oauth"
	AuthHBA      AuthType = "hba" // as auth_hba_file says
)

// UnmarshalTOML implements toml.Unmarshaler. What is not known Validate refuses.
func (a *AuthType) UnmarshalTOML(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("want a string between quotes, got %s", show(v))
	}
	if *a = AuthType(s); s == "plain" {
		*a = AuthPassword
	}
	return nil
}

// DefaultAuthQuery is PgBouncer's since CVE-2025-2291 and CVE-2025-12819: it honours expiry, and all of its names are qualified.
const DefaultAuthQuery = "SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END " +
	"FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin"

// AuthLookup is how a server is asked for the secrets of a database's users.
type AuthLookup struct {
	User   string // who asks
	Query  string // $1 is the user's name
	DBName string // the database in which to ask, as clients name it
}

// AuthLookup resolves how the secrets of those who ask for a database are found; false: no server is asked.
func (c *Config) AuthLookup(database string) (AuthLookup, bool) {
	db, _ := c.Database(database)
	l := AuthLookup{
		User:   orElse(db.AuthUser, c.AuthUser),
		Query:  orElse(db.AuthQuery, c.AuthQuery),
		DBName: orElse(db.AuthDBName, orElse(c.AuthDBName, database)),
	}
	_, known := c.Database(l.DBName)
	return l, l.User != "" && known
}

// LookupPool is the pool in which l is asked: the database's, but always as l.User.
func (c *Config) LookupPool(l AuthLookup) (Pool, bool) {
	p, ok := c.Pool(l.DBName, l.User)
	db, _ := c.Database(l.DBName)
	u := c.Users[l.User]
	if db.User != l.User {
		p.ServerPassword = u.Password
	}
	p.ServerUser, p.MinSize, p.TLS = l.User, 0, c.serverTLS(db, u)
	return p, ok
}

// LoadAuthFile reads auth_file where it can be of use: nil with auth_type trust, and where it is missing and others (an HBA
// file, auth_query, a certificate, …) may decide.
func (c *Config) LoadAuthFile() (*AuthFile, error) {
	if !c.readsAuthFile() {
		return nil, nil // there is none, and that is right
	}
	return LoadAuthFile(c.AuthFile)
}

// readsAuthFile is true for a file that is missing where nobody could log in without it.
func (c *Config) readsAuthFile() bool {
	if c.AuthType == AuthTrust || c.AuthFile == "" {
		return false
	}
	_, err := os.Stat(c.AuthFile)
	return c.needsAuthFile() || !errors.Is(err, fs.ErrNotExist)
}

// needsAuthFile tells whether nobody could log in without auth_file.
func (c *Config) needsAuthFile() bool {
	passwords := slices.Contains([]AuthType{AuthPassword, AuthMD5, AuthSCRAM}, c.AuthType)
	return passwords && !c.looksUp()
}

func (c *Config) looksUp() bool {
	for _, db := range c.Databases {
		if db.AuthUser != "" {
			return true
		}
	}
	return c.AuthUser != ""
}

// Networks is a set of addresses.
type Networks struct {
	networks []netip.Prefix
	unix     bool
}

// Contain tells whether source is in the set; an invalid one is a Unix socket.
func (n Networks) Contain(source netip.Addr) bool {
	if !source.IsValid() {
		return n.unix
	}
	source = source.Unmap().WithZone("")
	return slices.ContainsFunc(n.networks, func(p netip.Prefix) bool { return p.Contains(source) })
}

// ProxySources is where connections come from that begin with a PROXY header.
func (c *Config) ProxySources() Networks {
	var n Networks
	for _, entry := range c.ProxyProtocol {
		if network, err := parseNetwork(entry); err == nil {
			n.networks = append(n.networks, network)
		}
		n.unix = n.unix || entry == sourceUnix
	}
	return n
}

func (c *Config) checkAuth(bad *faults) {
	among(bad, toml.Key{"auth_type"}, c.AuthType, AuthTrust, AuthPassword, AuthMD5, AuthSCRAM, AuthCert, AuthLDAP, AuthOAuth, AuthHBA)
	if reason := c.missingFor(c.AuthType); reason != "" {
		bad.add(toml.Key{"auth_type"}, "%s needs %s", c.AuthType, reason)
	}
	if c.AuthFile == "" && c.needsAuthFile() {
		bad.add(toml.Key{"auth_file"}, `must name a file when auth_type is %q, or set auth_user to ask the server, or auth_type = "trust"`, c.AuthType)
	}
	if c.AuthIdentFile != "" && c.AuthType != AuthHBA {
		bad.add(toml.Key{"auth_ident_file"}, `does nothing without auth_type = "hba", whose lines name its maps`)
	}
	if c.AuthUser != "" && c.AuthQuery == "" {
		bad.add(toml.Key{"auth_query"}, "must be a query when auth_user is set")
	}
	c.authDBName(bad, toml.Key{"auth_dbname"}, c.AuthDBName)
	c.checkLookupDatabase(bad)
	bad.requireAuth(toml.Key{"server_require_auth"}, c.ServerRequireAuth)
	bad.within(toml.Key{"scram_iterations"}, c.ScramIterations, 1, MaxIterations)
	for key, users := range map[string][]string{"admin_users": c.AdminUsers, "stats_users": c.StatsUsers} {
		if slices.Contains(users, "") {
			bad.add(toml.Key{key}, "must not contain an empty name")
		}
	}
}

// MaxIterations is how many rounds of SCRAM's hash are computed at most, whoever names them: about half a second of a
// processor. It is more than OWASP recommends for PBKDF2-HMAC-SHA256 (600,000), and 244 times PostgreSQL's default.
// PostgreSQL itself has no limit, so that any of its users could stop us for minutes by a secret of his own making.
const MaxIterations = 1_000_000

// missingFor names the keys that an auth_type needs and that are not set, or nothing.
func (c *Config) missingFor(t AuthType) string {
	switch {
	case t == AuthHBA && c.AuthHBAFile == "":
		return "auth_hba_file"
	case t == AuthLDAP && c.AuthLDAPOptions == "":
		return `auth_ldap_options, such as ldapurl="ldaps://ldap.example.net/…"`
	case t == AuthOAuth && c.AuthOAuthOptions == "":
		return `auth_oauth_options, such as issuer="https://login.example.net" scope="openid" audience="pooler"`
	case t == AuthCert && (!c.ClientTLSMode.tries() || c.ClientTLSCAFile == ""):
		return "client_tls_sslmode other than disable, and client_tls_ca_file, whose CAs sign the clients' certificates"
	}
	return ""
}

func (c *Config) checkDatabaseAuth(bad *faults, at func(string) toml.Key, db Database) {
	if db.AuthQuery != "" && db.AuthUser == "" && c.AuthUser == "" {
		bad.add(at("auth_query"), "does nothing without auth_user, the user who asks")
	}
	if db.AuthUser != "" && db.AuthQuery == "" && c.AuthQuery == "" {
		bad.add(at("auth_user"), "needs auth_query")
	}
	c.authDBName(bad, at("auth_dbname"), db.AuthDBName)
	bad.requireAuth(at("server_require_auth"), db.ServerRequireAuth)
}

// checkLookupDatabase refuses that strangers choose the database in which auth_user logs in, and that each name they invent
// makes a pool and a login to PostgreSQL.
func (c *Config) checkLookupDatabase(bad *faults) {
	db, ok := c.Databases["*"]
	if !ok || orElse(db.AuthUser, c.AuthUser) == "" || orElse(db.AuthDBName, c.AuthDBName) != "" {
		return
	}
	key := toml.Key{"auth_dbname"}
	if db.AuthUser != "" {
		key = toml.Key{"databases", "*", "auth_dbname"}
	}
	bad.add(key, `must name the database in which auth_user asks: [databases."*"] serves every name that somebody invents, and none has logged in yet`)
}

// authDBName checks the name of a database in which passwords are looked up.
func (c *Config) authDBName(bad *faults, key toml.Key, name string) {
	if _, ok := c.Database(name); name != "" && !ok {
		bad.add(key, "want a name that a [databases.NAME] serves, got %q", name)
	}
}
