package hba

import (
	"maps"
	"slices"
	"strings"
)

// Kind is the kind of connection that a rule is about, by its first column.
type Kind string

// The kinds. There is no GSSAPI encryption here, so HostGSSEnc never matches and HostNoGSSEnc is
// Host.
const (
	Local        Kind = "local"
	Host         Kind = "host"
	HostSSL      Kind = "hostssl"
	HostNoSSL    Kind = "hostnossl"
	HostGSSEnc   Kind = "hostgssenc"
	HostNoGSSEnc Kind = "hostnogssenc"
)

// Rule is one line. It never changes. Printing it hides secrets.
type Rule struct {
	File    string
	Line    int // from 1; 0 if it is no line of a file
	Kind    Kind
	Method  Method
	Options Options // as they work: cert has clientcert=verify-full

	databases, users []token // as they stand in the file
	where            []token // address and mask
	given            []token // options

	ways           way
	address        address
	database, user names
}

// way is how a client comes; a rule's ways are the sum of those that it is about.
type way uint8

const (
	wayLocal way = 1 << iota
	wayPlain
	wayTLS
)

func (c *Client) way() way {
	switch {
	case c.Local:
		return wayLocal
	case c.TLS:
		return wayTLS
	}
	return wayPlain
}

func (k Kind) ways() way {
	switch k {
	case Local:
		return wayLocal
	case Host, HostNoGSSEnc:
		return wayPlain | wayTLS
	case HostSSL:
		return wayTLS
	case HostNoSSL:
		return wayPlain
	case HostGSSEnc:
		return 0
	}
	return 0
}

// Map is the user-name map to apply (IdentMap.Allows); "" demands equal names.
func (r *Rule) Map() string { return r.Options["map"] }

// ClientCert is which certificate the client must have shown besides: "" none, "verify-ca" any that
// is valid, "verify-full" one that names the user.
func (r *Rule) ClientCert() string { return r.Options["clientcert"] }

// ClientDN tells whether a certificate names the user by its whole distinguished name (in the form
// of RFC 2253) instead of its common name.
func (r *Rule) ClientDN() bool { return r.Options["clientname"] == "DN" }

// compile prepares what matches looks at; patterns must have been compiled.
func (r *Rule) compile() {
	r.ways = r.Kind.ways()
	r.database = newNames(r.databases, true)
	r.user = newNames(r.users, false)
}

func (r *Rule) needsGroups() bool {
	return r.database.samerole || len(r.user.groups) > 0
}

func (r *Rule) setOptions(options Options) {
	r.Options = maps.Clone(options)
	for _, name := range slices.Sorted(maps.Keys(options)) {
		r.given = append(r.given, token{text: name + "=" + options[name]})
	}
	if r.Method == Cert {
		r.imply("clientcert", "verify-full")
	}
}

func (r *Rule) imply(name, value string) {
	if r.Options == nil {
		r.Options = Options{}
	}
	r.Options[name] = value
}

// matches tells whether c falls under r. What nobody needs to be asked for is looked at first, so
// that a Need arises only if the answer hangs on it.
func (r *Rule) matches(c *Client, addr bits, facts *Facts) (bool, Need) {
	where, needWhere := yes, NeedNothing
	if !c.Local {
		where, needWhere = r.address.matches(addr, facts)
	}
	if where == no || r.ways&c.way() == 0 {
		return false, NeedNothing
	}
	user := r.user.matchUser(c.User, facts.Groups)
	if user == no {
		return false, NeedNothing
	}
	database := r.database.matchDatabase(c, facts.Groups)
	switch {
	case database == no:
		return false, NeedNothing
	case where == unknown:
		return false, needWhere
	case user == unknown || database == unknown:
		return false, NeedGroups
	}
	return true, NeedNothing
}

// String is the line without secrets, as it could stand in a file.
func (r *Rule) String() string { return r.text(hideSecret) }

// GoString implements fmt.GoStringer, for %#v.
func (r *Rule) GoString() string { return r.String() }

// MarshalText implements encoding.TextMarshaler, for logs in JSON.
func (r *Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *Rule) text(option func(token) token) string {
	columns := []string{string(r.Kind), joinTokens(r.databases), joinTokens(r.users)}
	for _, t := range r.where {
		columns = append(columns, t.String())
	}
	columns = append(columns, string(r.Method))
	for _, t := range r.given {
		columns = append(columns, option(t).String())
	}
	return strings.Join(columns, " ")
}

func joinTokens(tokens []token) string {
	var b strings.Builder
	for i, t := range tokens {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(t.String())
	}
	return b.String()
}
