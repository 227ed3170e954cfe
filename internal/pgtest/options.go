package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say how to run a Server. The zero value is a server with trust authentication, a
// free port and PostgreSQL's own defaults, save for durability.
type Options struct {
	// MaxConnections is max_connections; 0 leaves PostgreSQL's default of 100.
	MaxConnections int
	// Settings are written to postgresql.conf and win over everything this package sets.
	Settings map[string]string
	// Auth is the pg_hba.conf method of TCP connections: "trust" (also when empty),
	// "scram-sha-256", "md5" or "password". The Unix socket always trusts.
	Auth string
	// SuperuserPassword is the password of Superuser; with an Auth that asks for one it is
	// "postgres" when left empty.
	SuperuserPassword string
	// HBA lines are put in front of the pg_hba.conf lines that Auth makes.
	HBA []string
	// Files are written to the data directory, readable to the server alone: TLS keys, for
	// example, which Settings then name without a directory.
	Files map[string][]byte
	// BinDir is the directory of the server's programs; empty means what Find finds.
	BinDir string
	// Port to listen on; 0 takes a free one.
	Port int
	// Log gets a copy of the server's log as it is written.
	Log io.Writer
}

// complete fills in what follows from the rest and refuses what cannot work.
func (o *Options) complete() error {
	switch o.Auth {
	case "":
		o.Auth = "trust"
	case "trust", "scram-sha-256", "md5", "password":
	default:
		return fmt.Errorf("pgtest options: unknown auth method %q", o.Auth)
	}
	if o.Auth != "trust" && o.SuperuserPassword == "" {
		o.SuperuserPassword = "postgres"
	}
	for name := range o.Files {
		if name != filepath.Base(name) {
			return fmt.Errorf("pgtest options: file %q: must be a name without a directory", name)
		}
	}
	return nil
}

// configure writes postgresql.conf, pg_hba.conf and the caller's files.
func (s *Server) configure() error {
	settings := map[string]string{
		"listen_addresses":        host,
		"unix_socket_directories": s.SocketDir,
		"fsync":                   "off",
		"synchronous_commit":      "off",
		"full_page_writes":        "off",
		"log_line_prefix":         "%m [%p] ",
	}
	if s.opts.MaxConnections != 0 {
		settings["max_connections"] = fmt.Sprint(s.opts.MaxConnections)
	}
	if s.opts.Auth == "md5" {
		settings["password_encryption"] = "md5"
	}
	maps.Copy(settings, s.opts.Settings)
	var conf bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&conf, "%s = %s\n", name, quoteSetting(settings[name]))
	}
	hba := slices.Concat(s.opts.HBA, []string{
		"local all all trust",
		"local replication all trust",
		"host all all 127.0.0.1/32 " + s.opts.Auth,
		"host replication all 127.0.0.1/32 " + s.opts.Auth,
	})
	files := map[string][]byte{
		"pg_hba.conf": []byte(strings.Join(hba, "\n") + "\n"),
	}
	maps.Copy(files, s.opts.Files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(s.DataDir(), name)
		if err := os.WriteFile(path, files[name], 0o600); err != nil {
			return err
		}
		if err := s.owner.own(path); err != nil {
			return err
		}
	}
	return appendFile(filepath.Join(s.DataDir(), "postgresql.conf"), conf.Bytes())
}

func appendFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// quoteSetting quotes a value for postgresql.conf, where a backslash escapes too.
func quoteSetting(s string) string {
	return quoteLiteral(strings.ReplaceAll(s, `\`, `\\`))
}
