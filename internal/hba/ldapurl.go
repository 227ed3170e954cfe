package hba

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// readURL takes an LDAP URL (RFC 4516) apart into the options that it stands for:
// ldap[s]://host[:port]/basedn[?attribute[?scope[?filter]]]. As in PostgreSQL the scope is "base"
// if it is not said. Nothing of the URL goes into an error.
func (r *Rule) readURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return errors.New("could not parse LDAP URL")
	}
	port := "389"
	switch u.Scheme {
	case "ldap":
	case "ldaps":
		port = "636"
	default:
		return errors.New("unsupported LDAP URL scheme: want ldap or ldaps")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return errors.New("could not parse LDAP URL: invalid port")
	}
	r.imply("ldapscheme", u.Scheme)
	r.imply("ldapport", port)
	if host := u.Hostname(); host != "" {
		r.imply("ldapserver", host)
	}
	if u.Path != "" {
		r.imply("ldapbasedn", strings.TrimPrefix(u.Path, "/"))
	}
	return r.readURLQuery(u.RawQuery)
}

func (r *Rule) readURLQuery(query string) error {
	parts := strings.Split(query, "?")
	if len(parts) > 3 {
		return errors.New("could not parse LDAP URL: extensions are not supported")
	}
	for i, part := range parts {
		var err error
		if parts[i], err = url.PathUnescape(part); err != nil {
			return errors.New("could not parse LDAP URL")
		}
	}
	parts = append(parts, "", "")
	attribute, _, _ := strings.Cut(parts[0], ",") // only the first counts
	scope, filter := strings.ToLower(parts[1]), parts[2]
	switch scope {
	case "", "base":
		r.imply("ldapscope", "base")
	case "one", "sub":
		r.imply("ldapscope", scope)
	default:
		return errors.New("could not parse LDAP URL: the scope must be base, one or sub")
	}
	if attribute != "" {
		r.imply("ldapsearchattribute", attribute)
	}
	if filter != "" {
		r.imply("ldapsearchfilter", filter)
	}
	return nil
}
