package tlsconn

import (
	"crypto"
	"crypto/x509"
	"fmt"
)

// ServerEndPoint is the tls-server-end-point channel binding of a server's certificate: its hash by the function of its
// signature, SHA-256 in place of MD5 and SHA-1 (RFC 5929, 4.1). A signature that names no such function (Ed25519) has
// none; PostgreSQL fails there too (be_tls_get_certificate_hash), so SCRAM-SHA-256-PLUS is not to be used.
func ServerEndPoint(cert *x509.Certificate) ([]byte, error) {
	var by crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		by = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		by = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		by = crypto.SHA512
	default:
		return nil, fmt.Errorf("channel binding: the signature of the server's certificate (%s) has no hash of its own", cert.SignatureAlgorithm)
	}
	h := by.New()
	h.Write(cert.Raw)
	return h.Sum(nil), nil
}
