package frontend

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
)

const rightPassword = "correct horse ☃"

// md5Secret is PostgreSQL's stored form of an MD5 password.
func md5Secret(user, password string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// scramSecret is PostgreSQL's stored form of a SCRAM password that SASLprep leaves as it is.
func scramSecret(t *testing.T, password string) string {
	t.Helper()
	const iterations = 4096
	salt := []byte("0123456789abcdef")
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(text string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key")))
}

// authFile writes an auth_file with one user for each kind of secret, all with the same password.
func authFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "userlist.txt")
	lines := fmt.Sprintf("%q %q\n%q %q\n%q %q\n", "clear", rightPassword, "hashed", md5Secret("hashed", rightPassword),
		"scram", scramSecret(t, rightPassword))
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tryPGX logs in with pgx and returns who PostgreSQL says it is, or the error.
func tryPGX(t *testing.T, addr, user, password string) (string, error) {
	t.Helper()
	cfg, err := pgconn.ParseConfig("postgres://" + addr + "/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password = user, password
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	return rows(t.Context(), conn, "SELECT current_user")
}

// tryPSQL does the same with libpq.
func tryPSQL(t *testing.T, psql, addr, user, password string) (string, error) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	cmd := exec.CommandContext(t.Context(), psql, "-XAtqw", "-h", host, "-p", port, "-d", "postgres", "-U", user, "-c", "SELECT current_user")
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password, "PGSSLMODE=prefer", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", errors.New(strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func TestLogin(t *testing.T) {
	pg := postgres.Server(t)
	psql := filepath.Join(pg.BinDir(), "psql")
	if _, err := os.Stat(psql); err != nil {
		psql, _ = exec.LookPath("psql")
	}
	for _, user := range []string{"clear", "hashed", "scram"} {
		_, _ = pg.Exec(t.Context(), "postgres", "CREATE ROLE "+user+" LOGIN")
	}
	file := authFile(t)
	for _, method := range []string{"trust", "password", "md5", "scram-sha-256"} {
		p := startPooler(t, fmt.Sprintf("auth_type = %q\nauth_file = %q\nloops = 2", method, file))
		for _, user := range []string{"clear", "hashed", "scram", "nobody"} {
			for _, password := range []string{rightPassword, "wrong", ""} {
				t.Run(fmt.Sprintf("%s, %s, %q", method, user, password), func(t *testing.T) {
					// A hash of md5 does not serve for SCRAM, as with PostgreSQL.
					ok := method == "trust" && user != "nobody" ||
						password == rightPassword && user != "nobody" && (method != "scram-sha-256" || user != "hashed")
					who, err := tryPGX(t, p.Addr, user, password)
					checkLogin(t, method, user, who, err, ok)
					if psql != "" && password != "" {
						who, err = tryPSQL(t, psql, p.Addr, user, password)
						checkLogin(t, method, user, who, err, ok)
					}
				})
			}
		}
		st := p.Front.Stat()
		if method != "trust" && (st.LoginsRefused == 0 || st.Malformed > 0) {
			t.Errorf("%s: %+v", method, st)
		}
	}
}

// checkLogin: a user that does not exist is told the same as one with a wrong password.
func checkLogin(t *testing.T, method, user, who string, err error, ok bool) {
	t.Helper()
	want := fmt.Sprintf("password authentication failed for user %q", user)
	if err != nil && strings.Contains(err.Error(), "empty password returned by client") { // PostgreSQL's words too
		want = "empty password returned by client"
	}
	if method == "trust" {
		want = fmt.Sprintf("role %q does not exist", user)
	}
	switch {
	case ok && (err != nil || who != user):
		t.Errorf("is %q, %v", who, err)
	case !ok && err == nil:
		t.Errorf("got in as %q", who)
	case !ok && !strings.Contains(err.Error(), want):
		t.Errorf("was told %v", err)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && method != "trust" && (refused.Code != "28P01" || refused.Hint != "" || refused.Detail != "") {
		t.Errorf("was told %+v", refused)
	}
}

// The pooler logs in to PostgreSQL whatever way that asks for, with the password of the configuration or a clear one
// of auth_file.
func TestLoginToPostgreSQL(t *testing.T) {
	for _, method := range []string{"password", "md5", "scram-sha-256"} {
		t.Run(method, func(t *testing.T) {
			pg := pgtest.Start(t, pgtest.Options{Auth: method})
			if _, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE clear LOGIN PASSWORD '"+rightPassword+"'; CREATE ROLE configured LOGIN PASSWORD '"+rightPassword+"'"); err != nil {
				t.Fatal(err)
			}
			table := fmt.Sprintf("[databases.\"*\"]\nhost = %q\nport = %d\n", pg.Host, pg.Port)
			p := startPooler(t, fmt.Sprintf("auth_type = \"scram-sha-256\"\nauth_file = %q\n%s", authFile(t), table))
			if who, err := tryPGX(t, p.Addr, "clear", rightPassword); who != "clear" {
				t.Errorf("with auth_file: %q, %v", who, err)
			}
			p = startPooler(t, fmt.Sprintf("%s[users.configured]\npassword = %q\n", table, rightPassword))
			if who, err := tryPGX(t, p.Addr, "configured", ""); who != "configured" {
				t.Errorf("with [users.configured]: %q, %v", who, err)
			}
			p = startPooler(t, fmt.Sprintf("%suser = \"configured\"\npassword = %q\n", table, rightPassword))
			if who, err := tryPGX(t, p.Addr, "anybody", ""); who != "configured" {
				t.Errorf("with [databases.*] user and password: %q, %v", who, err)
			}
		})
	}
}

func TestUnixSockets(t *testing.T) {
	pg := postgres.Server(t)
	dir, err := os.MkdirTemp("", "sock") //nolint:usetesting // t.TempDir may be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := startPooler(t, fmt.Sprintf("unix_socket_dir = %q\nlisten_addr = \"\"\nunix_socket_mode = \"0700\"\nloops = 2\n[databases.\"*\"]\nhost = %q\nport = %d", dir, pg.SocketDir, pg.Port))
	if info, err := os.Stat(p.Addr); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", p.Addr, info, err)
	}
	for n := range 10 {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage("postgres"), &pgproto3.Query{String: "SELECT inet_server_addr() IS NULL"})
		if a := c.answer(); a.Status != 'I' {
			t.Fatalf("client %d: %+v", n, a)
		}
		if got := c.answer().only(); got != "t" {
			t.Errorf("client %d: %s", n, got)
		}
	}
}

// A client chooses the boundary by options or by a start-up parameter; what is not one is refused.
func TestPoolBoundaryAtStartUp(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1")
	db := postgres.Server(t).CreateDatabase(t)
	for _, tc := range []struct {
		parameters []string
		held       int // server sessions held with a temporary table, and with none
		heldAfter  int
	}{
		{nil, 1, 0},
		{[]string{"pool_boundary", "statement"}, 1, 0},
		{[]string{"pool_boundary", "Transaction"}, 0, 0},
		{[]string{"options", "-c pool_boundary=transaction"}, 0, 0},
		{[]string{"options", "-cpool_boundary=transaction"}, 0, 0},
		{[]string{"options", "--pool-boundary=transaction"}, 0, 0},
		{[]string{"options", "-c pool_boundary=session", "pool_boundary", "transaction"}, 0, 0},
		{[]string{"options", "-c work_mem=3MB -c pool_boundary=session"}, 1, 1},
	} {
		t.Run(strings.Join(tc.parameters, " "), func(t *testing.T) {
			c := newRaw(t, p, db, tc.parameters...)
			defer func() {
				_ = c.nc.Close()
				eventually(t, patience, "the client has gone", func() bool { st := onlyPool(t, p); return p.Front.Stat().Clients == 0 && st.Active+st.Reclaiming == 0 })
			}()
			active := func(want int, when string) {
				t.Helper()
				eventually(t, patience, when, func() bool { st := onlyPool(t, p); return st.Active == want && st.Reclaiming == 0 })
			}
			if a := c.query("CREATE TEMP TABLE t (n int)"); a.Errors > 0 {
				t.Fatalf("%+v", a)
			}
			active(tc.held, "the temporary table holds the server session, or does not")
			c.query("DISCARD ALL")
			active(tc.heldAfter, "it is held no more, or still")
		})
	}
	for _, parameters := range [][]string{{"pool_boundary", "eternity"}, {"pool_boundary", ""}, {"options", "-c pool_boundary=x"}} {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage(db, parameters...))
		if a := c.answer(); a.Severity != "FATAL" || a.Code != "22023" || !strings.Contains(a.Message, "pool_boundary") {
			t.Errorf("%v: %+v", parameters, a)
		}
	}
}

// Start-up parameters have effect as with PostgreSQL, and only for the client that gave them, though all share one
// server session.
func TestStartUpParameters(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	for _, loops := range []int{1, 2} {
		p := startPooler(t, fmt.Sprintf("default_pool_size = 1\nloops = %d", loops))
		const show = `SELECT concat_ws('|', current_setting('application_name'), current_setting('search_path'),
			current_setting('DateStyle'), current_setting('work_mem'), current_setting('client_encoding'), current_setting('my.own', true))`
		var clients []*rawClient
		var wants []string
		for n := range 4 {
			// With PostgreSQL itself as the judge.
			parameters := []string{
				"application_name", fmt.Sprintf("app %d", n), "search_path", fmt.Sprintf("a%d, \"B\", public", n),
				"DateStyle", []string{"German", "ISO, DMY", "SQL, YMD", "Postgres"}[n], "options", fmt.Sprintf(`-c work_mem=%dMB -c my.own=x\ y\\%d`, 5+n, n),
				"client_encoding", []string{"LATIN1", "UTF8", "WIN1252", "EUC_JP"}[n],
			}
			direct := dialRaw(t, address(pg))
			direct.send(startupMessage(db, parameters...))
			if a := direct.answer(); a.Status != 'I' {
				t.Fatalf("direct: %+v", a)
			}
			wants = append(wants, direct.query(show).only())
			clients = append(clients, newRaw(t, p, db, parameters...))
		}
		plain := newRaw(t, p, db)
		for range 3 {
			for n, c := range clients {
				if got := c.query(show).only(); got != wants[n] {
					t.Errorf("loops %d, client %d: got %q, want %q", loops, n, got, wants[n])
				}
			}
			if got := plain.query(show).only(); !strings.HasPrefix(got, `|"$user", public|ISO, MDY|4MB|UTF8`) {
				t.Errorf("loops %d: a client without parameters has %q", loops, got)
			}
		}
		for n, c := range clients { // what RESET and DISCARD return to is the client's own
			for _, sql := range []string{"SET search_path = other", "RESET ALL", "DISCARD ALL"} {
				c.query(sql)
				if got := c.query(show).only(); got != wants[n] && !strings.HasPrefix(sql, "SET") {
					t.Errorf("loops %d, client %d after %s: got %q, want %q", loops, n, sql, got, wants[n])
				}
			}
		}
		// The client without parameters asks for one that exists on the others' server session only, three times.
		if st := onlyPool(t, p); st.Opened > 1+3 {
			t.Errorf("%d server sessions were opened", st.Opened)
		}
		for _, parameters := range [][]string{
			{"no_such_parameter", "1"},
			{"work_mem", "much"},
			{"DateStyle", "none"},
			{"client_encoding", "none"},
			{"options", "-c no_such_parameter=1"},
			{"max_connections", "3"},
		} {
			direct, c := dialRaw(t, address(pg)), dialRaw(t, p.Addr)
			direct.send(startupMessage(db, parameters...))
			c.send(startupMessage(db, parameters...))
			want, got := direct.answer(), c.answer()
			if got.Severity != "FATAL" || got.Code != want.Code || got.Message != want.Message {
				t.Errorf("%v: got %+v, want %+v", parameters, got, want)
			}
		}
	}
}

// A name that is no text is let in, as by PostgreSQL, and shown in the same way.
func TestApplicationNameThatIsNoText(t *testing.T) {
	p := startPooler(t)
	pg := postgres.Server(t)
	name := func(host string, port int) string {
		cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable", host, port))
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["application_name"] = "not \xff\xfe text"
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		var shown string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting('application_name')").Scan(&shown); err != nil {
			t.Fatal(err)
		}
		return shown + "|" + conn.PgConn().ParameterStatus("application_name")
	}
	_, port, _ := net.SplitHostPort(p.Addr)
	n, _ := strconv.Atoi(port)
	if through, direct := name("127.0.0.1", n), name(pg.Host, pg.Port); through != direct {
		t.Errorf("through the pooler %q, directly %q", through, direct)
	}
}
