package tlsconn

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"
)

func TestWhoseACertificateIs(t *testing.T) {
	for _, tc := range []struct {
		cn    string
		names []string
		ips   []string
		host  string
		want  bool
	}{
		{"db.example", nil, nil, "db.example", true},
		{"db.example", nil, nil, "DB.Example.", true},
		{"db.example", nil, nil, "other.example", false},
		{"db.example", []string{"other.example"}, nil, "db.example", false}, // the name does not count beside alternatives
		{"db.example", []string{"other.example"}, nil, "other.example", true},
		{"db.example", nil, []string{"10.0.0.1"}, "db.example", true}, // which are of another kind
		{"10.0.0.1", []string{"db.example"}, nil, "10.0.0.1", true},
		{"10.0.0.1", nil, []string{"10.0.0.2"}, "10.0.0.1", false},
		{"*.example.com", nil, nil, "db.example.com", true},
		{"*.example.com", nil, nil, "a.db.example.com", false},
		{"*.example.com", nil, nil, "example.com", false},
		{"*.example.com", nil, nil, ".example.com", false},
		{"*.com", nil, nil, "example.com", false},
		{"d*.example.com", nil, nil, "db.example.com", false},
		{"*", nil, nil, "db", false},
		{"", nil, nil, "", false},
	} {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: tc.cn}, DNSNames: tc.names}
		for _, ip := range tc.ips {
			cert.IPAddresses = append(cert.IPAddresses, net.ParseIP(ip))
		}
		if got := isFor(cert, tc.host); got != tc.want {
			t.Errorf("%q with %v and %v is for %q: %t", tc.cn, tc.names, tc.ips, tc.host, got)
		}
	}
}
