package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Directory is an LDAP service that checks passwords, as the options of an HBA line describe it. Any goroutine may use
// it.
type Directory struct {
	servers  []string // addresses with ports, tried in this order
	ldaps    bool     // TLS from the first byte
	startTLS bool
	tls      *tls.Config // without a ServerName

	prefix, suffix string // around the user's name, when baseDN is empty

	baseDN               string // not empty: the user is searched for
	bindDN, bindPassword string // who searches
	scope                int
	filter               string // with $username
}

// userMark stands for the user's name in ldapsearchfilter.
const userMark = "$username"

// NewDirectory makes a Directory of the options of an HBA line, named and meant as PostgreSQL's: ldapserver (several
// with spaces between them), ldapport, ldapscheme, ldaptls, ldapprefix, ldapsuffix, ldapbasedn, ldapbinddn,
// ldapbindpasswd, ldapsearchattribute, ldapsearchfilter and ldapurl. It asks nobody yet. Certificates are checked
// against the system's authorities (or those of SSL_CERT_FILE).
func NewDirectory(options map[string]string) (*Directory, error) {
	o, err := withURL(options)
	if err != nil {
		return nil, err
	}
	if err := checkLDAPOptions(o); err != nil {
		return nil, err
	}
	d := &Directory{
		ldaps: o["ldapscheme"] == "ldaps", startTLS: o["ldaptls"] == "1",
		tls:    &tls.Config{MinVersion: tls.VersionTLS12},
		prefix: o["ldapprefix"], suffix: o["ldapsuffix"],
		baseDN: o["ldapbasedn"], bindDN: o["ldapbinddn"], bindPassword: o["ldapbindpasswd"],
		scope: ldap.ScopeWholeSubtree, filter: searchFilter(o),
	}
	if scope, ok := o["scope"]; ok {
		d.scope = slices.Index(ldapScopes, scope)
	}
	if d.servers, err = serverAddresses(o, d.ldaps); err != nil {
		return nil, err
	}
	if d.baseDN != "" {
		if _, err := ldap.CompileFilter(d.filterFor("user")); err != nil {
			return nil, fmt.Errorf("ldapsearchfilter: %w", err)
		}
	}
	return d, nil
}

// ldapScopes are the scopes of an LDAP URL (RFC 4516), at their numbers in LDAP.
var ldapScopes = []string{ldap.ScopeBaseObject: "base", ldap.ScopeSingleLevel: "one", ldap.ScopeWholeSubtree: "sub"}

// withURL adds what ldapurl says: scheme://host[:port]/basedn[?[attribute][?[scope][?[filter]]]].
func withURL(options map[string]string) (map[string]string, error) {
	o := map[string]string{}
	for name, value := range options {
		if value != "" {
			o[name] = value
		}
	}
	text, ok := o["ldapurl"]
	if !ok {
		return o, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("ldapurl: want ldap[s]://host[:port]/basedn[?[attribute][?[scope][?[filter]]]]")
	}
	if u.Scheme != "ldap" && u.Scheme != "ldaps" {
		return nil, fmt.Errorf("ldapurl: unsupported LDAP URL scheme: %s", u.Scheme)
	}
	o["ldapscheme"] = u.Scheme
	o["ldapbasedn"] = strings.TrimPrefix(u.Path, "/")
	setUnlessEmpty(o, "ldapserver", u.Hostname())
	setUnlessEmpty(o, "ldapport", u.Port())
	parts := append(strings.Split(u.RawQuery, "?"), "", "", "")
	for i, name := range []string{"ldapsearchattribute", "scope", "ldapsearchfilter"} {
		value, err := url.PathUnescape(parts[i])
		if err != nil {
			return nil, errors.New("ldapurl: wrong escape")
		}
		setUnlessEmpty(o, name, value)
	}
	if len(parts) > 6 {
		return nil, errors.New("ldapurl: extensions are not supported")
	}
	if scope, ok := o["scope"]; ok && !slices.Contains(ldapScopes, scope) {
		return nil, errors.New("ldapurl: the scope must be base, one or sub")
	}
	return o, nil
}

func setUnlessEmpty(o map[string]string, name, value string) {
	if value != "" {
		o[name] = value
	}
}

// checkLDAPOptions applies PostgreSQL's rules on which options go together.
func checkLDAPOptions(o map[string]string) error {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return o[name] != "" })
	}
	search := has("ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter")
	switch {
	case !has("ldapserver"):
		return errors.New("ldapserver must be set")
	case has("ldapprefix", "ldapsuffix") && search:
		return errors.New("cannot mix options for simple bind and search+bind modes")
	case !has("ldapprefix", "ldapsuffix", "ldapbasedn"):
		return errors.New(`authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set`)
	case has("ldapsearchattribute") && has("ldapsearchfilter"):
		return errors.New("cannot use ldapsearchattribute together with ldapsearchfilter")
	case has("ldapscheme") && o["ldapscheme"] != "ldap" && o["ldapscheme"] != "ldaps":
		return errors.New("ldapscheme must be ldap or ldaps")
	case has("ldaptls") && o["ldaptls"] != "0" && o["ldaptls"] != "1":
		return errors.New("ldaptls must be 0 or 1")
	case o["ldapscheme"] == "ldaps" && o["ldaptls"] == "1":
		return errors.New("ldapscheme=ldaps encrypts already; leave ldaptls out")
	}
	return nil
}

func serverAddresses(o map[string]string, ldaps bool) ([]string, error) {
	port := "389"
	if ldaps {
		port = "636"
	}
	if text := o["ldapport"]; text != "" {
		if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
			return nil, errors.New("ldapport must be between 1 and 65535")
		}
		port = text
	}
	var addresses []string
	for host := range strings.FieldsSeq(o["ldapserver"]) {
		addresses = append(addresses, net.JoinHostPort(strings.Trim(host, "[]"), port))
	}
	return addresses, nil
}

// searchFilter is PostgreSQL's: the filter, else the attribute, else uid.
func searchFilter(o map[string]string) string {
	if filter := o["ldapsearchfilter"]; filter != "" {
		if !strings.HasPrefix(filter, "(") {
			filter = "(" + filter + ")" // libldap takes one without, and so does a URL
		}
		return filter
	}
	attribute := o["ldapsearchattribute"]
	if attribute == "" {
		attribute = "uid"
	}
	return "(" + attribute + "=" + userMark + ")"
}

// filterFor puts the user's name into the filter, so that it is nothing but a value there.
func (d *Directory) filterFor(user string) string {
	return strings.ReplaceAll(d.filter, userMark, ldap.EscapeFilter(user))
}

// nameFor is whom to bind as without a search. Where prefix and suffix make it a DN, the user's name is nothing but a
// value in it; where not ("DOMAIN\", "@example.com"), there is nothing that it could break out of.
func (d *Directory) nameFor(user string) string {
	if strings.Contains(d.prefix, "=") {
		user = ldap.EscapeDN(user)
	}
	return d.prefix + user + d.suffix
}
