package hba

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Options are a rule's options by name. Printing them hides secrets.
//
// An ldapurl is there as it was given and in the parts that it stands for: ldapscheme, ldapserver,
// ldapport, ldapbasedn, ldapsearchattribute, ldapsearchfilter, and ldapscope ("base", "one" or
// "sub"), which is no option by itself: without an ldapurl it is "sub".
type Options map[string]string

// String lists the options without secrets.
func (o Options) String() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		words = append(words, hideSecret(token{text: name + "=" + o[name]}).String())
	}
	return strings.Join(words, " ")
}

// GoString implements fmt.GoStringer, for %#v.
func (o Options) GoString() string { return o.String() }

// MarshalText implements encoding.TextMarshaler, for logs in JSON.
func (o Options) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

const secretOption = "ldapbindpasswd"

func hideSecret(t token) token {
	if strings.HasPrefix(t.text, secretOption+"=") {
		t.text = secretOption + "=(hidden)"
	}
	return t
}

// ParseOptions reads the options of a line with method m that stand alone, as "name=value …". The
// error never has a secret in it.
func ParseOptions(m Method, text string) (Options, error) {
	rd := &reader{alone: true}
	columns, err := rd.columns("", text, 0)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(text, "\n") {
		return nil, errors.New("options stand on one line")
	}
	r := &Rule{Kind: Host, Method: m}
	if !m.known() {
		return nil, fmt.Errorf("invalid authentication method %s", show(string(m)))
	}
	if err := r.readOptions(&cursor{columns}); err != nil {
		return nil, err
	}
	return r.Options, nil
}

// readOptions reads all columns that are left, and checks whether they go together.
func (r *Rule) readOptions(c *cursor) error {
	for _, words := range c.rest {
		for _, t := range words {
			if err := r.readOption(t); err != nil {
				return err
			}
			r.given = append(r.given, t)
		}
	}
	switch r.Method {
	case LDAP:
		return r.checkLDAP()
	case OAuth:
		return r.checkOAuth()
	case Cert:
		r.imply("clientcert", "verify-full")
	case Trust, Reject, Password, MD5, SCRAM, Peer:
	}
	return nil
}

func (r *Rule) readOption(t token) error {
	name, value, ok := strings.Cut(t.text, "=")
	_, secret := r.Options[secretOption]
	switch methods := methodsWith(name); {
	case secret && (!ok || methods == nil):
		// What follows may be the rest of the password, hence no word of it.
		return errors.New("after " + secretOption + " stands what is no option; a password with spaces, commas or # goes between double quotes")
	case !ok && strings.HasPrefix(name, secretOption):
		return errors.New(secretOption + " wants its value behind =")
	case !ok:
		return fmt.Errorf("authentication option not in name=value format: %s", show(t.text))
	case methods == nil:
		return fmt.Errorf("unrecognized authentication option name: %s", show(name))
	case !slices.Contains(methods, r.Method):
		return fmt.Errorf("authentication option %q is only valid for authentication methods %s", name, joinMethods(methods))
	}
	if err := r.checkOption(name, value); err != nil {
		return err
	}
	r.imply(name, value)
	if name == "ldapurl" {
		return r.readURL(value)
	}
	return nil
}

// methodsWith are the methods that have an option; nil if it is unknown.
func methodsWith(option string) []Method {
	switch option {
	case "map":
		return []Method{Peer, Cert, OAuth}
	case "clientcert", "clientname":
		return []Method{Trust, Reject, Password, MD5, SCRAM, Cert, Peer, LDAP, OAuth}
	case "ldapurl", "ldaptls", "ldapscheme", "ldapserver", "ldapport", "ldapbinddn", secretOption,
		"ldapsearchattribute", "ldapsearchfilter", "ldapbasedn", "ldapprefix", "ldapsuffix":
		return []Method{LDAP}
	case "issuer", "scope", "audience", "claim", "validator", "delegate_ident_mapping":
		return []Method{OAuth}
	}
	return nil
}

func joinMethods(methods []Method) string {
	var words []string
	for _, m := range methods {
		words = append(words, string(m))
	}
	return strings.Join(words, ", ")
}

// checkOption checks the value of an option that r's method has.
func (r *Rule) checkOption(name, value string) error {
	switch name {
	case "clientcert", "clientname":
		return r.checkCertOption(name, value)
	case "ldapscheme":
		if value != "ldap" && value != "ldaps" {
			return fmt.Errorf("invalid ldapscheme value: %q", value)
		}
	case "ldapport":
		if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("invalid LDAP port number: %q", value)
		}
	case "validator":
		return errors.New("validator names a library of PostgreSQL's; here tokens are checked with the issuer's keys, so leave it out")
	case "delegate_ident_mapping":
		if value == "1" {
			return errors.New("delegate_ident_mapping=1 is not supported: nothing here decides who may be whom but map")
		}
	}
	return nil
}

func (r *Rule) checkCertOption(name, value string) error {
	if r.Kind != HostSSL {
		return fmt.Errorf(`%s can only be configured for "hostssl" rows`, name)
	}
	switch name + "=" + value {
	case "clientcert=verify-full", "clientname=CN", "clientname=DN":
		return nil
	case "clientcert=verify-ca":
		if r.Method == Cert {
			return errors.New(`clientcert can only be set to "verify-full" when using "cert" authentication`)
		}
		return nil
	}
	return fmt.Errorf("invalid value for %s: %q", name, value)
}

func (r *Rule) has(options ...string) bool {
	return slices.ContainsFunc(options, func(name string) bool { _, ok := r.Options[name]; return ok })
}

func (r *Rule) require(option string) error {
	if r.Options[option] == "" {
		return fmt.Errorf("authentication method %q requires argument %q to be set", r.Method, option)
	}
	return nil
}

// checkLDAP tells the two ways to use it apart: to bind as the user right away, or to search for
// the user first.
func (r *Rule) checkLDAP() error {
	if r.has("ldapprefix", "ldapsuffix") {
		if r.has("ldapbasedn", "ldapbinddn", secretOption, "ldapsearchattribute", "ldapsearchfilter") {
			return errors.New("cannot mix options for simple bind and search+bind modes")
		}
	} else if !r.has("ldapbasedn") {
		return errors.New(`authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set`)
	}
	if r.has("ldapsearchattribute") && r.has("ldapsearchfilter") {
		return errors.New("cannot use ldapsearchattribute together with ldapsearchfilter")
	}
	return r.require("ldapserver")
}

func (r *Rule) checkOAuth() error {
	if err := r.require("scope"); err != nil {
		return err
	}
	return r.require("issuer")
}
