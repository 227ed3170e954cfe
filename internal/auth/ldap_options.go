package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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

	prefix, suffix string // around the user's name, when there is no search

	search               bool   // for the user, first
	baseDN               string // where; "" is the root
	bindDN, bindPassword string // who searches
	scope                int
	filter               string // with $username
}

// userMark stands for the user's name in ldapsearchfilter.
const userMark = "$username"

// NewDirectory makes a Directory of the options of an HBA line, as package hba reads them: named and meant as PostgreSQL's,
// with an ldapurl taken apart. ldapserver may be several with spaces between them. It asks nobody yet. Certificates are
// checked against the system's authorities (or those of SSL_CERT_FILE).
func NewDirectory(o map[string]string) (*Directory, error) {
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
	_, d.search = o["ldapbasedn"]
	if scope := o["ldapscope"]; scope != "" {
		d.scope = slices.Index(ldapScopes, scope)
	}
	var err error
	if d.servers, err = serverAddresses(o, d.ldaps); err != nil {
		return nil, err
	}
	if d.search {
		if _, err := ldap.CompileFilter(d.filterFor("user")); err != nil {
			return nil, fmt.Errorf("ldapsearchfilter: %w", err)
		}
	}
	return d, nil
}

// ldapScopes are the scopes of an LDAP URL (RFC 4516), at their numbers in LDAP.
var ldapScopes = []string{ldap.ScopeBaseObject: "base", ldap.ScopeSingleLevel: "one", ldap.ScopeWholeSubtree: "sub"}

// checkLDAPOptions checks what package hba leaves to whoever speaks LDAP.
func checkLDAPOptions(o map[string]string) error {
	switch {
	case strings.TrimSpace(o["ldapserver"]) == "":
		return errors.New("ldapserver must be set")
	case o["ldaptls"] != "" && o["ldaptls"] != "0" && o["ldaptls"] != "1":
		return errors.New("ldaptls must be 0 or 1")
	case o["ldapscheme"] == "ldaps" && o["ldaptls"] == "1":
		return errors.New("ldapscheme=ldaps encrypts already; leave ldaptls out")
	case o["ldapscope"] != "" && !slices.Contains(ldapScopes, o["ldapscope"]):
		return errors.New("ldapscope must be base, one or sub")
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
