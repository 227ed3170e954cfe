package hba

import "fmt"

// SQLSTATEs of refusals.
const (
	codeAuthorization = "28000" // invalid_authorization_specification
	codePassword      = "28P01" // invalid_password
)

// Refusal is what PostgreSQL tells a client that falls under a line with reject, or under no line
// at all (rule nil). The texts are those of its auth.c.
func Refusal(c Client, rule *Rule) (code, message string) {
	where, encryption := c.Addr.Unmap().String(), "no encryption"
	switch {
	case c.Local:
		where = "[local]"
	case !c.Addr.IsValid():
		where = "???" // PostgreSQL's word for an address that it cannot name
	}
	if c.TLS && !c.Local {
		encryption = "SSL encryption"
	}
	switch {
	case rule != nil && c.Replication:
		message = fmt.Sprintf(`pg_hba.conf rejects replication connection for host "%s", user "%s", %s`, where, c.User, encryption)
	case rule != nil:
		message = fmt.Sprintf(`pg_hba.conf rejects connection for host "%s", user "%s", database "%s", %s`, where, c.User, c.Database, encryption)
	case c.Replication:
		message = fmt.Sprintf(`no pg_hba.conf entry for replication connection from host "%s", user "%s", %s`, where, c.User, encryption)
	default:
		message = fmt.Sprintf(`no pg_hba.conf entry for host "%s", user "%s", database "%s", %s`, where, c.User, c.Database, encryption)
	}
	return codeAuthorization, message
}

// NoCertificate is what PostgreSQL tells a client without the certificate that Rule.ClientCert
// demands. One that does not name the user is a Failure of Cert.
func NoCertificate() (code, message string) {
	return codeAuthorization, "connection requires a valid client certificate"
}

// Failure is what PostgreSQL tells a client that could not prove by m that it is user.
func Failure(m Method, user string) (code, message string) {
	code = codeAuthorization
	what := ""
	switch m {
	case Password, MD5, SCRAM:
		code, what = codePassword, "password authentication"
	case Cert:
		what = "certificate authentication"
	case Peer:
		what = "Peer authentication"
	case LDAP:
		what = "LDAP authentication"
	case OAuth:
		what = "OAuth bearer authentication"
	case Trust:
		what = `"trust" authentication`
	case Reject:
		return code, fmt.Sprintf(`authentication failed for user "%s": host rejected`, user)
	}
	return code, fmt.Sprintf(`%s failed for user "%s"`, what, user)
}
