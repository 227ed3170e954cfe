// Package hba decides by which method a client has to prove who it is: it reads files in the
// format of PostgreSQL's pg_hba.conf and pg_ident.conf (versions 15 to 18) and finds the line
// that a client falls under. It asks nobody anything: what it would have to ask for is a Need, and
// the caller brings the answer as Facts.
package hba

import (
	"net/netip"
	"slices"
)

// Method is how a client proves who it is, by PostgreSQL's name for it.
type Method string

// The methods that a file may name.
const (
	Trust    Method = "trust"
	Reject   Method = "reject"
	Password Method = "password" // in clear text
	MD5      Method = "md5"      // or SCRAM, if that is what is known of the user
	SCRAM    Method = "scram-sha-256"
	Cert     Method = "cert" // the client's certificate names the user
	Peer     Method = "peer" // the operating system names the user of a Unix socket
	LDAP     Method = "ldap"
	OAuth    Method = "oauth" // a bearer token, PostgreSQL 18
)

// Client is who wants in. Addr means nothing if Local; it may be an IPv4 address in IPv6's form.
type Client struct {
	Local       bool // over a Unix socket
	TLS         bool
	Addr        netip.Addr
	Database    string
	User        string
	Replication bool // physical replication, which names no database; replication=database is an ordinary client here
}

// Facts are what somebody had to be asked for. Nil says that it was not asked yet, empty that
// there is nothing.
type Facts struct {
	// Groups are the roles that the user is a member of, directly or not, the user itself
	// included; superusers are members of what they were made members of. Empty, also without the
	// user, if PostgreSQL has no such user.
	Groups map[string]bool
	// HostNames are the names of the client's address that resolve to that address again.
	HostNames []string
	// Interfaces are this machine's addresses, each with its network: see Interfaces.
	Interfaces []netip.Prefix
}

// Need says which of the Facts must be known to go on.
type Need uint8

// The needs.
const (
	NeedNothing Need = iota
	NeedGroups
	NeedHostName
	NeedInterfaces
)

func (n Need) String() string {
	switch n {
	case NeedNothing:
		return "nothing"
	case NeedGroups:
		return "groups"
	case NeedHostName:
		return "host name"
	case NeedInterfaces:
		return "interfaces"
	}
	return "Need(?)"
}

// File is the rules of a file and of those it includes, in order. It never changes, so anybody may
// use it at any time.
type File struct {
	rules []*Rule
	index index
}

// newFile files the rules for Match.
func newFile(rules []*Rule) *File { return &File{rules: rules, index: newIndex(rules)} }

// Rules are the file's lines in the order in which they are tried. They are not to be changed.
func (f *File) Rules() []*Rule { return f.rules }

// NeedsGroups tells whether any line asks who is a member of what.
func (f *File) NeedsGroups() bool { return slices.ContainsFunc(f.rules, (*Rule).needsGroups) }

// Secrets are the files that hold a password.
func (f *File) Secrets() []string {
	var files []string
	for _, r := range f.rules {
		if r.Line > 0 && r.Options[secretOption] != "" && !slices.Contains(files, r.File) {
			files = append(files, r.File)
		}
	}
	return files
}

// Match finds the first rule that c falls under. With a Need there is no answer yet: find out and
// call again with all that is known. Neither rule nor Need: no line fits, which refuses the client
// (see Refusal).
func (f *File) Match(c Client, facts Facts) (*Rule, Need) {
	rule, need, _ := f.match(c, facts)
	return rule, need
}

// match also says how many rules it had to look at.
func (f *File) match(c Client, facts Facts) (rule *Rule, need Need, looked int) {
	addr := bitsOf(c.Addr)
	for i := range f.index.candidates(c) {
		looked++
		r := f.rules[i]
		if is, need := r.matches(&c, addr, &facts); need != NeedNothing {
			return nil, need, looked
		} else if is {
			return r, NeedNothing, looked
		}
	}
	return nil, NeedNothing, looked
}

// Implicit is the file that says what a setting for everybody means: every client, also for
// replication, proves itself by m with options (from ParseOptions; may be nil). cert takes clients
// with TLS only, peer those of Unix sockets only.
func Implicit(m Method, options Options) *File {
	kinds := []Kind{Local, Host}
	switch m {
	case Peer:
		kinds = []Kind{Local}
	case Cert:
		kinds = []Kind{HostSSL}
	case Trust, Reject, Password, MD5, SCRAM, LDAP, OAuth:
	}
	all := token{text: "all"}
	var rules []*Rule
	for _, kind := range kinds {
		r := &Rule{
			File:      "auth_type",
			Kind:      kind,
			Method:    m,
			databases: []token{all, {text: "replication"}},
			users:     []token{all},
		}
		if kind != Local {
			r.where = []token{all}
		}
		r.setOptions(options)
		r.compile()
		rules = append(rules, r)
	}
	return newFile(rules)
}
