package backend

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"pooler/config"
	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
	"pooler/internal/pgtest/scripted"
)

// plain is a PostgreSQL without TLS, protected one with it.
var plain, protected pgtest.Shared

// papers are the certificates; protected shows that of their server.
var papers *certs.Set

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "backend-certs-")
	if err != nil {
		panic(err)
	}
	if papers, err = certs.Make(dir); err != nil {
		panic(err)
	}
	plain.Options = pgtest.Options{Settings: map[string]string{"listen_addresses": "127.0.0.1,127.0.0.2"}, HBA: []string{"host all all 127.0.0.0/8 trust"}}
	protected.Options = papers.Postgres(pgtest.Options{
		Settings: map[string]string{"listen_addresses": "127.0.0.1,127.0.0.2"},
		HBA: []string{
			"hostssl all tls_only 127.0.0.0/8 trust",
			"hostnossl all plain_only 127.0.0.0/8 trust",
			"hostssl all by_cert 127.0.0.0/8 cert",
			"host all by_password 127.0.0.0/8 password",
			"host all by_md5 127.0.0.0/8 md5",
			"host all by_scram 127.0.0.0/8 scram-sha-256",
			"host all tls_only,plain_only,by_cert 127.0.0.0/8 reject",
			"host all all 127.0.0.0/8 trust",
		},
	}, papers.Server())
	pgtest.Main(m, &plain, &protected, removed(dir))
}

// removed is a directory that is removed in the end.
type removed string

func (r removed) Close() error { return os.RemoveAll(string(r)) }

// secret is the password of those who have one.
const secret = "Geheimnis zwölf"

var roles sync.Once

// protectedServer is the server with TLS, with a role for each line of its pg_hba.conf.
func protectedServer(t testing.TB) *pgtest.Server {
	t.Helper()
	pg := protected.Server(t)
	roles.Do(func() {
		for _, role := range []string{"tls_only", "plain_only", "by_cert", "by_password", "by_scram"} {
			execute(t, pg, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, secret))
		}
		execute(t, pg, "SET password_encryption = md5; CREATE ROLE by_md5 LOGIN PASSWORD '"+secret+"'")
	})
	return pg
}

func execute(t testing.TB, pg *pgtest.Server, sql string) {
	t.Helper()
	if _, err := pg.Exec(t.Context(), "postgres", sql); err != nil {
		t.Fatal(err)
	}
}

// poolFor is a pool of the server at host and port, without TLS.
func poolFor(host string, port int) config.Pool {
	return config.Pool{
		Database: "db", User: pgtest.Superuser, Host: host, Port: port, DBName: "postgres", ServerUser: pgtest.Superuser,
		ConnectTimeout: 10 * time.Second, CancelWaitTimeout: 10 * time.Second,
	}
}

func poolForScript(srv *scripted.Server) config.Pool { return poolFor(srv.Host, srv.Port) }
