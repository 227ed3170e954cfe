package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"pooler/internal/pgtest"
)

func (s *stage) poolerConfig(p poolerProcess, pass bool) []string {
	server, client := s.certs.Server(), s.certs.Client("pooler")
	lines := []string{
		fmt.Sprintf("listen_addr = %q", "127.0.0.1"), fmt.Sprintf("listen_port = %d", p.port), fmt.Sprintf("unix_socket_dir = %q", p.socket),
		`auth_type = "hba"`, `auth_hba_file = "hba.conf"`, `auth_ident_file = "ident.conf"`,
		fmt.Sprintf("auth_user = %q", lookupUser), fmt.Sprintf("auth_dbname = %q", viaPrefix+"scram"),
		`client_tls_sslmode = "allow"`, fmt.Sprintf("client_tls_cert_file = %q", server.CertFile), fmt.Sprintf("client_tls_key_file = %q", server.KeyFile),
		fmt.Sprintf("client_tls_ca_file = %q", s.certs.CA.CertFile),
		fmt.Sprintf("server_tls_ca_file = %q", s.certs.CA.CertFile),
		"default_pool_size = 4", `http_listen = ""`,
	}
	if pass {
		lines = append(lines, `auth_file = ""`)
	} else {
		lines = append(lines, `auth_file = "users.txt"`)
	}
	lines = append(lines, "[users."+lookupUser+"]", `password = "of-lookup"`)
	for _, m := range serverMethods() {
		lines = append(lines, "[databases."+viaPrefix+m.name+"]", fmt.Sprintf("dbname = %q", serverPrefix+m.name))
		lines = append(lines, serverAt(s.clusterOf(m))...)
		lines = append(lines, fmt.Sprintf("server_tls_sslmode = %q", m.ssl))
		switch m.name {
		case "cert":
			lines = append(lines, fmt.Sprintf("server_tls_cert_file = %q", client.CertFile), fmt.Sprintf("server_tls_key_file = %q", client.KeyFile))
		case "direct":
			lines = append(lines, `server_tls_sslnegotiation = "direct"`)
		}
	}
	// Databases that nobody has configured are PostgreSQL's to refuse.
	return append(append(lines, `[databases."*"]`, `server_tls_sslmode = "disable"`), serverAt(s.main)...)
}

func serverAt(server *pgtest.Server) []string {
	return []string{fmt.Sprintf("host = %q", server.Host), fmt.Sprintf("port = %d", server.Port)}
}

func (s *stage) clusterOf(m serverMethod) *pgtest.Server {
	switch m.on {
	case "md5":
		return s.md5
	case "new":
		return s.newer
	}
	return s.main
}

func awaitListener(ctx context.Context, p poolerProcess, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			log, _ := os.ReadFile(p.log)
			return fmt.Errorf("the pooler ended:\n%s", log)
		case <-ctx.Done():
			return errors.New("the pooler does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
