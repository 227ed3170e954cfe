package main

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

const (
	// commonDatabase is the one that all ask for; behind the pooler its name begins with viaPrefix instead.
	commonDatabase = "app"
	viaPrefix      = "via_"
	serverPrefix   = "at_" // of the databases that the pooler logs in to

	lookupUser = "lookup" // who reads secrets for the pooler
	readyLimit = 15 * time.Second
)

// stage is everything that the questions are asked of.
type stage struct {
	dir       string
	certs     *certs.Set
	main      *pgtest.Server // PostgreSQL 15, the reference
	md5       *pgtest.Server // the same, with all passwords stored as MD5
	newer     *pgtest.Server // PostgreSQL 18, the reference for direct TLS
	directory *directory     // LDAP
	osUser    string
	stops     []func() error
	pooler    poolerProcess // knows the passwords
	passer    poolerProcess // does not
	mu        sync.Mutex    // for the files that attempts need
	named     *certs.Pair   // of m_cert_dn
}

// poolerProcess is a running pooler.
type poolerProcess struct {
	port   int
	socket string // its directory
	log    string
}

// setUp starts everything. The caller must call close, also after an error.
func (s *stage) setUp(ctx context.Context, binary, newBinDir string) (err error) {
	if s.dir, err = os.MkdirTemp("", "pooler-security-"); err != nil {
		return err
	}
	s.stops = append(s.stops, func() error { return os.RemoveAll(s.dir) })
	if s.certs, err = certs.Make(s.dir); err != nil {
		return err
	}
	s.named, err = s.certs.CA.Issue(certs.Spec{Subject: pkix.Name{CommonName: "m_cert_dn", OrganizationalUnit: []string{"clients"}}})
	if err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	s.osUser = me.Username
	if s.directory, err = startDirectory(); err != nil {
		return err
	}
	s.stops = append(s.stops, s.directory.close)
	if err := s.startServers(ctx, newBinDir); err != nil || binary == "" {
		return err
	}
	if s.pooler, err = s.startPooler(ctx, binary, "pooler", false); err != nil {
		return err
	}
	s.passer, err = s.startPooler(ctx, binary, "passer", true)
	return err
}

func (s *stage) close() error {
	var errs []error
	for i := len(s.stops) - 1; i >= 0; i-- {
		errs = append(errs, s.stops[i]())
	}
	return errors.Join(errs...)
}

func (s *stage) startServers(ctx context.Context, newBinDir string) error {
	for _, cluster := range []struct {
		to         **pgtest.Server
		bin        string
		encryption string
	}{{&s.main, "", "scram-sha-256"}, {&s.md5, "", "md5"}, {&s.newer, newBinDir, "scram-sha-256"}} {
		options := pgtest.Options{
			BinDir:         cluster.bin,
			MaxConnections: 200,
			Settings: map[string]string{
				"password_encryption": cluster.encryption, "log_connections": "on",
				"hba_file": "data/matrix_hba.conf", "ident_file": "data/matrix_ident.conf",
			},
			Files: map[string][]byte{
				"matrix_hba.conf": text(append(s.serverLines(), s.hbaLines(cluster.bin == "")...)), "matrix_ident.conf": text(s.identLines()),
			},
		}
		server, err := pgtest.Run(ctx, s.certs.Postgres(options, s.certs.Server()))
		if err != nil {
			return err
		}
		s.stops = append(s.stops, server.Stop)
		*cluster.to = server
		if err := fill(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

// serverLines are for the pooler, which comes for databases of its own.
func (s *stage) serverLines() []string {
	lines := []string{"local all " + pgtest.Superuser + " trust"}
	for _, m := range serverMethods() {
		kind := "hostssl"
		if m.ssl == "disable" {
			kind = "hostnossl"
		}
		lines = append(lines, fmt.Sprintf("%s %s%s all 127.0.0.1/32 %s", kind, serverPrefix, m.name, m.line))
	}
	return lines
}

// hbaLines are for the clients, directly and through the pooler. This PostgreSQL 18 was built without LDAP.
func (s *stage) hbaLines(withLDAP bool) []string {
	var lines []string
	for _, m := range methods() {
		how, role := m.line, m.name
		switch {
		case how == "", how == "ldap" && !withLDAP:
			continue
		case how == "ldap":
			how = fmt.Sprintf(`ldap ldapserver=127.0.0.1 ldapport=%d ldapprefix="uid=" ldapsuffix=",dc=example"`, s.directory.port)
		case strings.HasPrefix(how, "group "):
			how, role = strings.TrimPrefix(how, "group "), "+m_team"
		}
		if m.kind == "local" {
			lines = append(lines, fmt.Sprintf("local all %s %s", role, how))
			continue
		}
		kind := m.kind
		if kind == "" {
			kind = "host"
		}
		lines = append(lines, fmt.Sprintf("%s all %s 127.0.0.1/32 %s", kind, role, how))
	}
	return lines
}

// identLines are the user-name maps of the lines above. A pooler's certificate may be anybody's.
func (s *stage) identLines() []string {
	lines := []string{
		"system " + s.osUser + " m_peer", "people ann m_cert_map", `names "CN=m_cert_dn,OU=clients" m_cert_dn`,
		`names "/^OU=clients,CN=never$" m_cert_dn`,
	}
	for _, m := range methods() {
		lines = append(lines, "poolers pooler "+m.name)
	}
	return append(lines, "poolers pooler "+lookupUser)
}

func fill(ctx context.Context, server *pgtest.Server) error {
	sql := []string{"CREATE ROLE m_team", "CREATE ROLE " + lookupUser + " SUPERUSER LOGIN PASSWORD 'of-lookup'"}
	for _, m := range methods() {
		if m.role == "absent" {
			continue
		}
		if m.md5 {
			sql = append(sql, "SET password_encryption = md5")
		}
		login := "LOGIN"
		if strings.Contains(m.role, "NOLOGIN") {
			login = ""
		}
		secret := fmt.Sprintf("PASSWORD '%s'", rightPassword(m.name))
		if strings.Contains(m.role, "PASSWORD") {
			secret = ""
		}
		sql = append(sql, fmt.Sprintf("CREATE ROLE %s %s %s %s", m.name, login, secret, m.role), "RESET password_encryption")
	}
	if _, err := server.Exec(ctx, "postgres", strings.Join(sql, ";")); err != nil {
		return fmt.Errorf("make the roles: %w", err)
	}
	databases := []string{commonDatabase}
	for _, m := range serverMethods() {
		databases = append(databases, serverPrefix+m.name)
	}
	for _, name := range databases {
		if _, err := server.Exec(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
			return err
		}
	}
	return nil
}

func rightPassword(role string) string { return "of-" + role }

// pairOf is the certificate that a try shows, or nil.
func (s *stage) pairOf(m method, t try) (*certs.Pair, error) {
	name := m.name
	if name == "m_cert_map" {
		name = "ann"
	}
	switch t.cert {
	case "":
		return nil, nil //nolint:nilnil // no certificate is an answer
	case "own":
		if name == "m_cert_dn" {
			return s.named, nil
		}
		return s.certs.Client(name), nil
	case "other":
		return s.certs.Client("somebody"), nil
	case "untrusted":
		return s.certs.UntrustedClient(name), nil
	case "expired":
		return s.certs.ExpiredClient(name), nil
	}
	return nil, fmt.Errorf("no certificate %q", t.cert)
}

// startPooler starts one that knows the clients' passwords, or one that asks PostgreSQL for their secrets.
func (s *stage) startPooler(ctx context.Context, binary, name string, pass bool) (p poolerProcess, err error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return p, err
	}
	p.socket, p.log = dir, filepath.Join(dir, "log")
	if p.port, err = pgtest.FreePort(); err != nil {
		return p, err
	}
	for file, lines := range map[string][]string{
		"hba.conf": s.hbaLines(true), "ident.conf": s.identLines(), "pooler.toml": s.poolerConfig(p, pass), "users.txt": userLines(),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), text(lines), 0o600); err != nil {
			return p, err
		}
	}
	log, err := os.Create(p.log)
	if err != nil {
		return p, err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	cmd := exec.Command(binary, "serve", "--config", filepath.Join(dir, "pooler.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return p, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log says more
		close(ended)
	}()
	s.stops = append(s.stops, func() error {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		return nil
	})
	return p, awaitListener(ctx, p, ended)
}

func text(lines []string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }

func userLines() []string {
	var lines []string
	for _, m := range methods() {
		if m.role != "absent" && m.role != "PASSWORD NULL" {
			lines = append(lines, fmt.Sprintf("%q %q", m.name, rightPassword(m.name)))
		}
	}
	return lines
}
