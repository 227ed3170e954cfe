package hba

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestPostgreSQLLetsTheSameClientsIn tries every file on every client: PostgreSQL and we must agree
// on who gets in, and on the words for those who do not.
func TestPostgreSQLLetsTheSameClientsIn(t *testing.T) {
	for _, sql := range []string{
		`CREATE ROLE staff LOGIN`, `CREATE ROLE "inner" LOGIN`, `CREATE ROLE "all" LOGIN`, `CREATE ROLE "a b" LOGIN`,
		`CREATE ROLE alice LOGIN`, `CREATE ROLE bob LOGIN`, `CREATE ROLE carol LOGIN`, `CREATE ROLE boss LOGIN SUPERUSER`,
		`GRANT staff TO bob`, `GRANT staff TO "inner"`, `GRANT "inner" TO carol`,
	} {
		query(t, sql)
	}
	defer useFile(t, 1000, "local all all trust") // for the other tests
	files := loginFiles
	if serverVersion(t) >= 16 {
		files = append(files, loginFiles16...)
	}
	for i, f := range files {
		tryLogins(t, i, f)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 4 {
		var lines []string
		for range 6 {
			lines = append(lines, randomLoginLine(rnd))
		}
		tryLogins(t, len(files)+i, strings.Join(lines, "\n"))
	}
}

// groupsOf is what the GRANTs make of each; a superuser is in no more than others.
func groupsOf(user string) map[string]bool {
	switch user {
	case "bob":
		return map[string]bool{"bob": true, "staff": true}
	case "carol":
		return map[string]bool{"carol": true, "inner": true, "staff": true}
	case "ghost":
		return map[string]bool{}
	}
	return map[string]bool{user: true}
}

var loginFiles = []string{
	"local all all trust\nhost all all 127.0.0.0/31 reject\nhost all all 127.0.0.2/32 trust",
	"local all +staff trust\nhost staff,samerole +inner all trust\nhost sameuser all all trust",
	"local all \"+staff\",\"all\" trust\nhost \"all\",\"sameuser\" all all trust\nhost all \"a b\" all trust",
	"hostssl all all 127.0.0.1 255.255.255.255 trust\nhostnossl all all 127.0.0.2/32 trust",
	"hostgssenc all all all trust\nhostnogssenc all alice all trust\nhostssl all all all reject",
	"host replication all all trust\nlocal replication all trust\nhost all bob samehost trust\nhost all all samenet reject",
	"host all all ::/0 trust\nhost all all ::ffff:0:0/96 trust",
	"host all all 127.0.0.77/24 trust\nlocal sameuser all trust",
	"host all all 127.0.0.1 255.0.0.255 trust",
	"host alice,bob alice,bob 127.0.0.1/32 trust\nhost all alice all reject\nhost alice,all bob,ghost all trust",
	"local samegroup all trust\nhost all +bob,+ghost all trust",
}

// loginFiles16 have what PostgreSQL takes for odd names before version 16.
var loginFiles16 = []string{
	"local /^[ab] /^(alice|bob)$ trust\nhost \"/^staff$\",\"/^in\" all all trust\nhost all /^a$,/(?i)^ALICE all reject",
	"local / /b trust\nhost all /.... all trust\nhost /^$ all all reject",
}

func randomLoginLine(rnd *rand.Rand) string {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	kind := pick("local", "host", "hostssl", "hostnossl")
	line := kind + " " + pick("all", "alice", "sameuser", "samerole", "staff,bob", "replication", `"all"`) +
		" " + pick("all", "alice", "bob,carol", "+staff", "+inner", "ghost", `"a b"`, `"all"`)
	if kind != "local" {
		line += " " + pick("all", "127.0.0.1/32", "127.0.0.2/32", "127.0.0.0/8", "samenet", "10.0.0.0/8")
	}
	return line + " " + pick("trust", "reject")
}

// loginClients come every way, as everybody, to a database that need not be there: whether a client
// may log in is settled before.
func loginClients() (clients []Client) {
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	ways := []Client{{Local: true}, {Addr: one}, {Addr: two}, {Addr: one, TLS: true}}
	who := [][2]string{
		{"alice", "alice"},
		{"alice", "bob"},
		{"bob", "staff"},
		{"carol", "staff"},
		{"carol", "inner"},
		{"boss", "staff"},
		{"staff", "other"},
		{"ghost", "ghost"},
		{"all", "alice"},
		{"a b", "all"},
	}
	for i, w := range who {
		for j, way := range ways {
			if (i+j)%2 == 0 || i < 2 {
				way.User, way.Database = w[0], w[1]
				clients = append(clients, way)
			}
		}
	}
	return append(clients, Client{Local: true, User: "bob", Replication: true}, Client{Addr: one, User: "bob", Replication: true})
}

func tryLogins(t *testing.T, number int, text string) {
	t.Helper()
	f, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	useFile(t, number, text)
	interfaces, err := Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range loginClients() {
		rule, need := f.Match(c, Facts{Groups: groupsOf(c.User), Interfaces: interfaces})
		if need != NeedNothing {
			t.Fatalf("%+v: needs %v", c, need)
		}
		err := login(t, c)
		if rule != nil && rule.Method == Trust {
			if !letIn(err) {
				t.Errorf("%s\n%+v: %s lets it in, PostgreSQL says %v", text, c, rule, err)
			}
			continue
		}
		code, message := Refusal(c, rule)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != code || refused.Message != message {
			t.Errorf("%s\n%+v\nwe         %s %s\nPostgreSQL %v", text, c, code, message, err)
		}
	}
}

// useFile makes PostgreSQL take a file; a line for nobody else shows when it has.
func useFile(t *testing.T, number int, text string) {
	t.Helper()
	const sign = "pg_hba.conf rejects"
	marker := Client{Local: true, User: fmt.Sprintf("marker%d", number), Database: "x"}
	always := "local postgres postgres trust\n" // for pg_reload_conf
	writeFile(t, "pg_hba.conf", always+"local all "+marker.User+" reject\n"+text+"\n")
	query(t, "SELECT pg_reload_conf()")
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := login(t, marker)
		if err != nil && strings.Contains(err.Error(), sign) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL does not take the file: %v\n%s", err, text)
		}
	}
}

// letIn tells whether the outcome of a login shows that pg_hba.conf did not stand in its way.
func letIn(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err == nil
	}
	return !strings.Contains(refused.Message, "pg_hba.conf")
}

func login(t *testing.T, c Client) error {
	t.Helper()
	s := postgres.Server(t)
	cfg, err := pgconn.ParseConfig(s.SocketDSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Database, cfg.RuntimeParams = c.User, c.Database, map[string]string{}
	if c.Replication {
		cfg.RuntimeParams["replication"] = "true"
	}
	if !c.Local {
		cfg.Host = s.Host
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.Addr.AsSlice()}}
			return d.DialContext(ctx, network, addr)
		}
	}
	if c.TLS {
		cfg.TLSConfig = &tls.Config{InsecureSkipVerify: true} // the certificate is not what is tested
	}
	cfg.Fallbacks = nil
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		return err
	}
	return conn.Close(t.Context())
}
