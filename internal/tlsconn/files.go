package tlsconn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// loadPair reads a certificate with its chain and the key to it. keyFile empty: the key is in the same file.
func loadPair(certFile, keyFile string) (cert *tls.Certificate, warnings []string, err error) {
	if keyFile == "" {
		keyFile = certFile
	}
	certs, err := readPEM(certFile)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	defer clear(key)
	if err := checkPair(certFile, certs, keyFile, key); err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(certs, key)
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, nil, fmt.Errorf("key %s is not the one of the first certificate in %s", keyFile, certFile)
	case err != nil:
		return nil, nil, fmt.Errorf("certificate %s with key %s: %s", certFile, keyFile, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &pair, append(datesWarning(certFile, pair.Leaf), modeWarning(keyFile)...), nil
}

// checkPair finds what crypto/tls has no plain words for.
func checkPair(certFile string, certs []byte, keyFile string, key []byte) error {
	if find(certs, "CERTIFICATE") == nil {
		return fmt.Errorf("certificate %s: there is no certificate in it (-----BEGIN CERTIFICATE-----)", certFile)
	}
	k := find(key, "PRIVATE KEY")
	switch {
	case k == nil:
		return fmt.Errorf("key %s: there is no private key in it (-----BEGIN PRIVATE KEY-----)", keyFile)
	case strings.Contains(k.Type, "ENCRYPTED"), strings.Contains(k.Headers["Proc-Type"], "ENCRYPTED"):
		return fmt.Errorf("key %s is encrypted, and nobody is there to give the passphrase: store it without one (openssl pkey -in … -out …)", keyFile)
	}
	return nil
}

// find returns the first block whose type ends with kind.
func find(data []byte, kind string) *pem.Block {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil || strings.HasSuffix(b.Type, kind) {
			return b
		}
	}
}

// readPEM reads a file; the error names it.
func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return data, nil
}

// loadCAs reads a file of one or more certificates.
func loadCAs(path string) (*x509.CertPool, error) {
	data, err := readPEM(path)
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	pool, n := x509.NewCertPool(), 0
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CA %s: certificate %d in it cannot be read: %w", path, n+1, err)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("CA %s: there is no certificate in it (-----BEGIN CERTIFICATE-----)", path)
	}
	return pool, nil
}

// datesWarning says whether cert is out of date: peers that verify will refuse it, others do not care.
func datesWarning(path string, cert *x509.Certificate) []string {
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		return []string{fmt.Sprintf("certificate %s has expired (%s): peers that verify it will refuse it", path, cert.NotAfter.UTC().Format(time.DateTime))}
	case now.Before(cert.NotBefore):
		return []string{fmt.Sprintf("certificate %s is not valid before %s: peers that verify it will refuse it", path, cert.NotBefore.UTC().Format(time.DateTime))}
	}
	return nil
}

// modeWarning says whether others can read the key. A group may: distributions keep keys for a group (ssl-cert).
func modeWarning(path string) []string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o007 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("key %s can be read by everybody (mode %04o): chmod o= %s", path, info.Mode().Perm(), path)}
}

var errNoPeer = errors.New("the server has shown no certificate")
