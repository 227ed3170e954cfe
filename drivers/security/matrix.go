package main

import (
	"slices"
)

// method is one way for a client to prove who it is: a role of the same name, and the line of pg_hba.conf that is
// for that role alone. Both PostgreSQL and the pooler get the line.
type method struct {
	name  string
	line  string // "" for none; after the role, see hbaLines
	kind  string // of connection: host (when empty), hostssl, hostnossl, local
	role  string // what is different about the role; "absent" for none at all
	md5   bool   // its password is stored as MD5
	tries []try
}

// try is what the client shows.
type try struct {
	name     string
	password string // right, wrong or "" for none
	cert     string // own, other, untrusted, expired or "" for none
	binding  bool   // channel_binding=require
	database string // another one than all others use
	badRoot  bool   // the client trusts another CA
	needsTLS bool   // nothing to see without
	newest   bool   // protocol 3.2 and nothing below
}

var (
	none    = try{name: "no password"}
	right   = try{name: "right password", password: "right"}
	wrong   = try{name: "wrong password", password: "wrong"}
	bound   = try{name: "channel binding", password: "right", binding: true}
	unbound = try{name: "channel binding, wrong password", password: "wrong", binding: true}
	newest  = try{name: "protocol 3.2", password: "right", newest: true}
	badRoot = try{name: "another root", password: "right", badRoot: true, needsTLS: true}
)

func withCert(cert, password string) try {
	return try{name: cert + " certificate", cert: cert, password: password, needsTLS: true}
}

func methods() []method {
	passwords := []try{right, wrong, none}
	return []method{
		{name: "m_trust", line: "trust", tries: []try{none, {name: "no such database", database: "nowhere"}}},
		{name: "m_reject", line: "reject", tries: []try{right}},
		{name: "m_no_line", tries: []try{right}},
		{name: "m_password", line: "password", tries: passwords},
		{name: "m_md5", line: "md5", md5: true, tries: passwords},
		{name: "m_md5_of_scram", line: "md5", tries: []try{right, wrong}},
		{name: "m_scram", line: "scram-sha-256", tries: []try{right, wrong, none, bound, unbound, newest, badRoot}},
		{name: "m_scram_of_md5", line: "scram-sha-256", md5: true, tries: []try{right}},
		{name: "m_no_secret", line: "scram-sha-256", role: "PASSWORD NULL", tries: []try{right}},
		{name: "m_expired", line: "scram-sha-256", role: "VALID UNTIL '2020-01-01'", tries: []try{right, wrong}},
		{name: "m_expired_clear", line: "password", role: "VALID UNTIL '2020-01-01'", tries: []try{right}},
		{name: "m_no_login", line: "scram-sha-256", role: "NOLOGIN", tries: []try{right}},
		{name: "m_no_login_trust", line: "trust", role: "NOLOGIN", tries: []try{none}},
		{name: "m_absent", line: "scram-sha-256", role: "absent", tries: []try{right}},
		{name: "m_absent_clear", line: "password", role: "absent", tries: []try{right}},
		{name: "m_absent_md5", line: "md5", role: "absent", tries: []try{right}},
		{name: "m_absent_trust", line: "trust", role: "absent", tries: []try{none}},
		{name: "m_hostssl", kind: "hostssl", line: "scram-sha-256", tries: []try{right}},
		{name: "m_hostnossl", kind: "hostnossl", line: "scram-sha-256", tries: []try{right}},
		{name: "m_member", line: "group scram-sha-256", role: "IN ROLE m_team", tries: []try{right, wrong}},
		{name: "m_cert", kind: "hostssl", line: "cert", tries: certificates("")},
		{name: "m_cert_map", kind: "hostssl", line: "cert map=people", tries: []try{withCert("own", ""), withCert("other", "")}},
		{name: "m_cert_dn", kind: "hostssl", line: "cert clientname=DN map=names", tries: []try{withCert("own", ""), withCert("other", "")}},
		{name: "m_verify_full", kind: "hostssl", line: "scram-sha-256 clientcert=verify-full", tries: append(certificates("right"), withCert("own", "wrong"))},
		{name: "m_verify_ca", kind: "hostssl", line: "scram-sha-256 clientcert=verify-ca", tries: certificates("right")},
		{name: "m_ldap", line: "ldap", tries: passwords},
		{name: "m_peer", kind: "local", line: "peer map=system", tries: []try{none}},
		{name: "m_peer_other", kind: "local", line: "peer", tries: []try{none}},
		{name: "m_local", kind: "local", line: "scram-sha-256", tries: passwords},
	}
}

// certificates are all that a client can show, beside a password.
func certificates(password string) []try {
	tries := []try{{name: "no certificate", password: password, needsTLS: true}}
	for _, cert := range []string{"own", "other", "untrusted", "expired"} {
		tries = append(tries, withCert(cert, password))
	}
	return tries
}

// tlsMode is how a client asks for TLS.
type tlsMode struct {
	name    string
	sslmode string
	direct  bool
}

var (
	plain     = tlsMode{name: "disable", sslmode: "disable"}
	allowed   = tlsMode{name: "allow", sslmode: "allow"}   // if it does not work without
	preferred = tlsMode{name: "prefer", sslmode: "prefer"} // without if it does not work
	required  = tlsMode{name: "require", sslmode: "require"}
	verified  = tlsMode{name: "verify-full", sslmode: "verify-full"}
	direct    = tlsMode{name: "direct", sslmode: "verify-full", direct: true}
)

// serverMethod is how the pooler logs in to PostgreSQL: by a database of its own, whose line of pg_hba.conf says so.
type serverMethod struct {
	name string
	line string // of PostgreSQL, after the addresses
	ssl  string // server_tls_sslmode
	on   string // the cluster: main (when empty), md5, new (PostgreSQL 18)
	pass bool   // without the clients' passwords: what the login has shown is all there is
}

func serverMethods() []serverMethod {
	return []serverMethod{
		{name: "trust", line: "trust", ssl: "disable"},
		{name: "password", line: "password", ssl: "disable"},
		{name: "md5", line: "md5", ssl: "disable", on: "md5"},
		{name: "scram", line: "scram-sha-256", ssl: "disable"},
		{name: "plus", line: "scram-sha-256", ssl: "require"},
		{name: "verify", line: "scram-sha-256", ssl: "verify-full"},
		{name: "cert", line: "cert map=poolers", ssl: "verify-full"},
		{name: "direct", line: "scram-sha-256", ssl: "verify-full", on: "new"},
		{name: "pass", line: "scram-sha-256", ssl: "disable", pass: true},
		{name: "pass_plus", line: "scram-sha-256", ssl: "require", pass: true},
	}
}

// question is one login by one driver, asked of PostgreSQL and of the pooler for each of the server methods in via.
type question struct {
	driver string
	method method
	try    try
	mode   tlsMode
	via    []serverMethod
}

// questions are all that a driver can ask. What is refused anyhow is asked with the first method of each pooler only.
func questions(d driver) []question {
	all := serverMethods()
	short := []serverMethod{all[0], all[slices.IndexFunc(all, func(s serverMethod) bool { return s.pass })]}
	var qs []question
	for _, m := range methods() {
		for i, t := range m.tries {
			if t.binding && !d.binding || t.newest && !d.newest || m.kind == "local" && !d.local {
				continue
			}
			for _, mode := range modesOf(d, m, t) {
				via := short
				if (i == 0 || t.cert == "own" || t == bound) && mode != allowed && mode != preferred {
					via = all
				}
				qs = append(qs, question{driver: d.name, method: m, try: t, mode: mode, via: via})
			}
		}
	}
	return qs
}

func modesOf(d driver, m method, t try) []tlsMode {
	if m.kind == "local" {
		return []tlsMode{plain}
	}
	modes := []tlsMode{plain, required, verified}
	switch {
	case t.badRoot:
		return []tlsMode{verified}
	case t.needsTLS:
		modes = modes[1:]
	}
	if d.falls && !t.needsTLS {
		modes = append(modes, allowed, preferred)
	}
	if d.direct && m.line != "ldap" {
		modes = append(modes, direct)
	}
	return modes
}
