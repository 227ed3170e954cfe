package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
)

// verifier judges a server's certificate as libpq does (fe-secure-openssl.c, fe-secure-common.c).
type verifier struct {
	roots *x509.CertPool // nil: the system's
	host  string
	name  bool // the certificate must be host's
}

// verify is a tls.Config.VerifyConnection.
func (v verifier) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errNoPeer
	}
	leaf := state.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: v.roots, Intermediates: between}); err != nil {
		return fmt.Errorf("the server's certificate is not trusted: %w", err)
	}
	if v.name && !isFor(leaf, v.host) {
		return fmt.Errorf("the server's certificate is not for %q, but for %s", v.host, strings.Join(namesOf(leaf), ", "))
	}
	return nil
}

// isFor tells whether cert is host's, by its alternative names. Only if it has none of host's kind its common name counts: that
// is against RFC 6125, but certificates made as PostgreSQL's manual says have nothing else.
func isFor(cert *x509.Certificate, host string) bool {
	alternatives := len(cert.DNSNames)
	if _, err := netip.ParseAddr(host); err == nil {
		alternatives = len(cert.IPAddresses)
	}
	if alternatives > 0 {
		return cert.VerifyHostname(host) == nil
	}
	return matches(cert.Subject.CommonName, host)
}

// matches compares names as libpq does: a leading "*." stands for one label.
func matches(pattern, host string) bool {
	pattern, host = strings.ToLower(strings.TrimSuffix(pattern, ".")), strings.ToLower(strings.TrimSuffix(host, "."))
	tail, wild := strings.CutPrefix(pattern, "*.")
	if !wild {
		return pattern == host && host != ""
	}
	label, rest, found := strings.Cut(host, ".")
	return found && label != "" && rest == tail && strings.Contains(tail, ".")
}

// namesOf is for whom cert is, for people.
func namesOf(cert *x509.Certificate) []string {
	names := make([]string, 0, 3)
	for _, n := range cert.DNSNames {
		names = append(names, fmt.Sprintf("%q", n))
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, fmt.Sprintf("%q", cert.Subject.CommonName))
	}
	const shown = 5
	if len(names) > shown {
		names = append(names[:shown], "others")
	}
	return names
}
