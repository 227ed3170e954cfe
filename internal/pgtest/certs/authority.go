package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// KeyKind is the kind of a certificate's key.
type KeyKind uint8

// The kinds of keys.
const (
	ECDSA   KeyKind = iota // P-256
	RSA                    // 2048 bits
	Ed25519                // its signatures name no hash, so there is no channel binding by RFC 5929
)

const (
	validBefore = time.Hour
	validAfter  = 24 * time.Hour
)

// Pair is a certificate and its key, PEM in memory and in files. The key's file is readable to us
// alone; the key is in PKCS#8.
type Pair struct {
	Cert, Key         []byte
	CertFile, KeyFile string
	TLS               tls.Certificate // with Leaf
}

// Authority is a CA: its own certificate, with which it signs others.
type Authority struct {
	Pair
	dir    string
	issued atomic.Int64
}

// Spec says what certificate to issue.
type Spec struct {
	Subject   pkix.Name
	Hosts     []string                // names and addresses of a server; none: a client's certificate
	Key       KeyKind                 // of the new certificate
	Signature x509.SignatureAlgorithm // 0: what suits the authority's key, with SHA-256
	Expired   bool                    // a minute ago
}

// NewAuthority makes a CA with a key of the given kind, and its files in dir, which must exist.
func NewAuthority(dir string, subject pkix.Name, kind KeyKind) (*Authority, error) {
	a := &Authority{dir: dir}
	template := &x509.Certificate{
		Subject:               subject,
		SerialNumber:          serial(),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore:             time.Now().Add(-validBefore),
		NotAfter:              time.Now().Add(validAfter),
	}
	key, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	pair, err := a.sign("ca", template, template, key, key)
	if err != nil {
		return nil, err
	}
	a.Pair = *pair
	return a, nil
}

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.TLS.Leaf)
	return pool
}

// Issue makes a key and signs its certificate. The files' names are made up.
func (a *Authority) Issue(spec Spec) (*Pair, error) {
	template := &x509.Certificate{
		Subject:            spec.Subject,
		SerialNumber:       serial(),
		KeyUsage:           x509.KeyUsageDigitalSignature,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		SignatureAlgorithm: spec.Signature,
		NotBefore:          time.Now().Add(-validBefore),
		NotAfter:           time.Now().Add(validAfter),
	}
	if spec.Expired {
		template.NotAfter = time.Now().Add(-time.Minute)
	}
	for _, host := range spec.Hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := newKey(spec.Key)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("cert%d", a.issued.Add(1))
	return a.sign(name, template, a.TLS.Leaf, key, a.TLS.PrivateKey)
}

// sign makes the pair of key, signed by signer in the name of parent, and writes its files.
func (a *Authority) sign(name string, template, parent *x509.Certificate, key crypto.Signer, signer crypto.PrivateKey) (*Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	p := &Pair{
		Cert:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		CertFile: filepath.Join(a.dir, name+".crt"),
		KeyFile:  filepath.Join(a.dir, name+".key"),
	}
	if p.TLS, err = tls.X509KeyPair(p.Cert, p.Key); err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.CertFile, p.Cert, 0o644); err != nil {
		return nil, err
	}
	return p, os.WriteFile(p.KeyFile, p.Key, 0o600)
}

func newKey(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case ECDSA:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA:
		return rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("no kind of key: %d", kind)
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7f           // a positive number
	return new(big.Int).SetBytes(b[:])
}
