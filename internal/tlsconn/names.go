package tlsconn

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// ParseProtocols reads client_tls_protocols: "secure" or "all" (TLS 1.2 and 1.3), or a list of "tlsv1.2" and "tlsv1.3".
func ParseProtocols(text string) (least, most uint16, err error) {
	for _, name := range list(text) {
		var low, high uint16
		switch strings.ToLower(name) {
		case "secure", "all", "default":
			low, high = tls.VersionTLS12, tls.VersionTLS13
		case "tlsv1.2":
			low, high = tls.VersionTLS12, tls.VersionTLS12
		case "tlsv1.3":
			low, high = tls.VersionTLS13, tls.VersionTLS13
		case "tlsv1.0", "tlsv1.1", "legacy", "sslv3":
			return 0, 0, fmt.Errorf("protocol %q is broken (RFC 8996) and not offered: use tlsv1.2 or tlsv1.3", name)
		default:
			return 0, 0, fmt.Errorf("unknown protocol %q: known are secure, all, tlsv1.2 and tlsv1.3", name)
		}
		if least == 0 || low < least {
			least = low
		}
		most = max(most, high)
	}
	if least == 0 {
		return tls.VersionTLS12, tls.VersionTLS13, nil
	}
	return least, most, nil
}

// ParseCiphers reads client_tls_ciphers: "default", or cipher suites of TLS 1.2 by OpenSSL's or Go's names. Those of TLS
// 1.3 are all good and always on. nil is the default.
func ParseCiphers(text string) (ids []uint16, err error) {
	for _, name := range list(text) {
		switch strings.ToLower(name) {
		case "default", "secure":
			return nil, nil
		}
		s := suiteNamed(name)
		switch {
		case s == nil:
			return nil, fmt.Errorf("unknown cipher suite %q: known are default and %s", name, strings.Join(names12(), ", "))
		case s.tls13:
			return nil, fmt.Errorf("cipher suite %q is TLS 1.3's: those are always on, the list is for TLS 1.2", name)
		}
		ids = append(ids, s.id)
	}
	return ids, nil
}

func suiteNamed(name string) *suite {
	for i := range suites {
		if s := &suites[i]; strings.EqualFold(name, s.name) || strings.EqualFold(name, tls.CipherSuiteName(s.id)) {
			return s
		}
	}
	return nil
}

func names12() (names []string) {
	for _, s := range suites {
		if !s.tls13 {
			names = append(names, s.name)
		}
	}
	return names
}

// ParseCurves reads client_tls_ecdhcurve: "auto", or curves in the order of preference. nil is crypto/tls's default.
func ParseCurves(text string) (ids []tls.CurveID, err error) {
	for _, name := range list(text) {
		switch strings.ToLower(name) {
		case "auto", "default":
			return nil, nil
		case "x25519":
			ids = append(ids, tls.X25519)
		case "prime256v1", "secp256r1", "p-256":
			ids = append(ids, tls.CurveP256)
		case "secp384r1", "p-384":
			ids = append(ids, tls.CurveP384)
		case "secp521r1", "p-521":
			ids = append(ids, tls.CurveP521)
		case "x25519mlkem768":
			ids = append(ids, tls.X25519MLKEM768)
		default:
			return nil, fmt.Errorf("unknown curve %q: known are auto, X25519, prime256v1, secp384r1, secp521r1 and X25519MLKEM768", name)
		}
	}
	return ids, nil
}

// list is the names of a list that has commas, colons or spaces in between.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ':' || r == ' ' })
}
