package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// Certificates for servers are replaced by a reload for new server sessions, and a bad file changes nothing.
func TestReloadReplacesServersCertificates(t *testing.T) {
	papers := certs.New(t)
	pg := pgtest.Start(t, papers.Postgres(pgtest.Options{HBA: []string{"hostssl all all 127.0.0.1/32 cert"}}, papers.Server()))
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	put := func(p *certs.Pair) {
		t.Helper()
		for path, data := range map[string][]byte{cert: p.Cert, key: p.Key} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(papers.Client("postgres"))
	s := openSite(t, pg, fmt.Sprintf("server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = %q\nserver_tls_cert_file = %q\nserver_tls_key_file = %q",
		papers.CA.CertFile, cert, key))
	admin, client := s.dial("pooler"), s.dial("postgres")
	ask := func() error {
		_, err := client.Exec(t.Context(), "SELECT 1").ReadAll()
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := admin.Exec(t.Context(), "RELOAD").ReadAll()
	if err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("RELOAD with a bad key: %v", err)
	}
	if err := ask(); err != nil {
		t.Errorf("after a reload that was refused: %v", err)
	}
	mustExec(t, admin, "RECONNECT")
	if err := ask(); err != nil { // a new server session, with what was loaded before
		t.Errorf("after RECONNECT: %v", err)
	}
	put(papers.Client("somebody"))
	mustExec(t, admin, "RELOAD")
	if err := ask(); err != nil {
		t.Errorf("a server session that exists has not stayed: %v", err)
	}
	mustExec(t, admin, "RECONNECT")
	if err := ask(); err == nil || !strings.Contains(err.Error(), "28000") {
		t.Errorf("with another's certificate: %v", err)
	}
}
