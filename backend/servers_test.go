package backend

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/loop"
	"pooler/internal/pgtest"
)

// server is a real PostgreSQL, and what it can do.
type server struct {
	pg      *pgtest.Server
	keySize int  // of its cancel keys, in bytes
	direct  bool // TLS without SSLRequest
}

// servers are PostgreSQL 15 and, where it has been installed (scripts/install-postgres18.sh), 18.
func servers(t *testing.T) map[string]server {
	t.Helper()
	all := map[string]server{"15": {pg: protectedServer(t), keySize: 4}}
	dir, err := filepath.Abs("../.tools/postgres18/bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
		pg := pgtest.Start(t, papers.Postgres(pgtest.Options{
			BinDir: dir, HBA: []string{"host all by_scram 127.0.0.1/32 scram-sha-256"},
		}, papers.Server()))
		execute(t, pg, "CREATE ROLE by_scram LOGIN PASSWORD '"+secret+"'")
		all["18"] = server{pg: pg, keySize: 32, direct: true}
	}
	return all
}

func TestEachPostgreSQLGetsTheBestOfItsProtocol(t *testing.T) {
	for version, s := range servers(t) {
		for _, negotiation := range []config.TLSNegotiation{config.NegotiatePostgres, config.NegotiateDirect} {
			t.Run(fmt.Sprintf("%s, %s", version, negotiation), func(t *testing.T) {
				cfg := poolFor("127.0.0.1", s.pg.Port)
				cfg.User, cfg.ServerUser, cfg.ServerPassword = "by_scram", "by_scram", secret
				cfg.TLS = config.ServerTLS{Mode: config.TLSVerifyFull, CAFile: papers.CA.CertFile, Negotiation: negotiation}
				c, err := Dial(t.Context(), cfg)
				if negotiation == config.NegotiateDirect && !s.direct {
					if !errors.Is(err, ErrTLS) {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if n := len(c.cancelKey) - len(cancelRequest(0, nil)); n != s.keySize {
					t.Errorf("the cancel key has %d bytes, want %d", n, s.keySize)
				}
				if got := sleepUntilCancelled(t, c); got != "57014" {
					t.Errorf("the cancelled statement ended with %s", got)
				}
			})
		}
	}
}

// sleepUntilCancelled has c sleep, and cancels that. It returns how the statement ended; c is closed.
func sleepUntilCancelled(t *testing.T, c *Conn) (sqlstate string) {
	t.Helper()
	nc, err := loop.GiveFd(c.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	server := pgproto3.NewFrontend(nc, nc)
	server.Send(&pgproto3.Query{String: "SELECT 1"})
	server.Send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	if err := server.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.ReadyForQuery: // now it sleeps, or will before long
			for sqlstate == "" {
				if err := c.wayBack().cancel(c.cancelKey, 10*time.Second); err != nil {
					t.Fatal(err)
				}
				sqlstate = errorWithin(server, nc.SetReadDeadline)
			}
			return sqlstate
		case *pgproto3.ErrorResponse:
			return msg.Code
		}
	}
}

// errorWithin is the SQLSTATE of the error that comes soon; "" if none does.
func errorWithin(server *pgproto3.Frontend, deadline func(time.Time) error) string {
	_ = deadline(time.Now().Add(time.Second))
	for {
		msg, err := server.Receive()
		if err != nil {
			return ""
		}
		if e, ok := msg.(*pgproto3.ErrorResponse); ok {
			return e.Code
		}
	}
}
