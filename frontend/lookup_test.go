package frontend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/hba"
	"pooler/internal/pgtest"
)

// asks is a pooler that looks users up as the role looker, in front of the shared server.
func asks(t *testing.T, more string) *testPooler {
	t.Helper()
	inPostgres(t, "CREATE ROLE looker LOGIN SUPERUSER")
	if !strings.Contains(more, "auth_type") {
		more = "auth_type = 'scram-sha-256'\n" + more
	}
	return startPooler(t, "auth_file = ''\nauth_user = 'looker'\nlog_level = 'info'\n"+more)
}

// inPostgres runs SQL in the shared server, or a part of it that has not been run before.
func inPostgres(t *testing.T, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := postgres.Server(t).Exec(t.Context(), "postgres", sql); err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
	}
}

// role makes a login role that no other test uses, and drops it at the end.
func role(t *testing.T, options string) string {
	t.Helper()
	madeRoles.Lock()
	madeRoles.n++
	name := fmt.Sprintf("role_%d", madeRoles.n)
	madeRoles.Unlock()
	inPostgres(t, "CREATE ROLE "+name+" "+options)
	t.Cleanup(func() { _, _ = postgres.Server(t).Exec(context.Background(), "postgres", "DROP ROLE IF EXISTS "+name) })
	return name
}

var madeRoles struct {
	sync.Mutex
	n int
}

// refusedWith checks that a login was refused in these words, with PostgreSQL's SQLSTATE.
func refusedWith(t *testing.T, err error, code, message string) {
	t.Helper()
	var told *pgconn.PgError
	if !errors.As(err, &told) || told.Code != code || !strings.Contains(told.Message, message) {
		t.Errorf("was told %v, want %s %s", err, code, message)
	}
}

// What PostgreSQL knows of a user decides, with every kind of secret and every method that asks for one.
func TestAuthQuery(t *testing.T) {
	const password = "geheim"
	scram := role(t, "LOGIN PASSWORD '"+password+"'")
	hashed := role(t, "LOGIN")
	inPostgres(t, "ALTER ROLE "+hashed+" PASSWORD '"+md5Secret(hashed, password)+"'")
	none, nologin := role(t, "LOGIN"), role(t, "NOLOGIN PASSWORD '"+password+"'")
	expired := role(t, "LOGIN PASSWORD '"+password+"' VALID UNTIL '2020-01-01'")
	for _, method := range []string{"password", "md5", "scram-sha-256"} {
		p := asks(t, fmt.Sprintf("auth_type = %q", method))
		for _, tc := range []struct {
			user, password string
			ok             bool
		}{
			{scram, password, true},
			{scram, "wrong", false},
			{hashed, password, method != "scram-sha-256"},
			{none, "x", false},
			{nologin, password, false},
			{expired, password, false},
			{"nobody at all", password, false},
			{"looker", password, false},              // PgBouncer's CVE-2015-6817: whoever is unknown must not be auth_user
			{"looker (auth_query)", password, false}, // a pool's name
			{"x' OR true --", password, false},
			{"\xff\xfe no text", password, false},
		} {
			t.Run(method+", "+tc.user, func(t *testing.T) {
				who, err := tryPGX(t, p.Addr, tc.user, tc.password)
				if tc.ok && (err != nil || who != tc.user) {
					t.Errorf("is %q, %v", who, err)
				}
				if !tc.ok {
					refusedWith(t, err, "28P01", `password authentication failed for user "`+tc.user+`"`)
				}
			})
		}
	}
}

// CVE-2025-2291: PgBouncer's auth_query did not look at VALID UNTIL. An expiry counts at once here, or with auth_query_cache
// a moment later.
func TestCVE_2025_2291_ExpiredPasswords(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim' VALID UNTIL '2100-01-01'")
	p := asks(t, "auth_query_cache = 0")
	if who, err := tryPGX(t, p.Addr, user, "geheim"); who != user {
		t.Fatal(err)
	}
	inPostgres(t, "ALTER ROLE "+user+" VALID UNTIL '2000-01-01'")
	_, err := tryPGX(t, p.Addr, user, "geheim")
	refusedWith(t, err, "28P01", "password authentication failed")
}

// CVE-2025-12819: a client's search_path decided what PgBouncer's auth_query meant, and it ran as auth_user. Here the
// session in which users are looked up has never been a client's: not even auth_user's own.
func TestCVE_2025_12819_SearchPathOfClients(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	db := postgres.Server(t).CreateDatabase(t)
	evil := `CREATE SCHEMA evil;
		CREATE FUNCTION evil.secret_of(n text, OUT u text, OUT s text) LANGUAGE sql AS $$ SELECT n, 'evil'::text $$;
		CREATE FUNCTION public.secret_of(n text, OUT u text, OUT s text) LANGUAGE sql SECURITY DEFINER AS $$
			SELECT rolname::text, rolpassword FROM pg_catalog.pg_authid WHERE rolname = n $$;
		CREATE FUNCTION evil.eq(name, name) RETURNS bool LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.eq);
		CREATE FUNCTION evil.eq(name, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.eq);
		CREATE FUNCTION evil.lt(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'caught'; END $$;
		CREATE OPERATOR evil.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.lt)`
	if _, err := postgres.Server(t).Exec(t.Context(), db, evil); err != nil {
		t.Fatal(err)
	}
	inPostgres(t, "ALTER ROLE "+user+" SET search_path = evil, pg_catalog")
	for _, query := range []string{"auth_query = 'SELECT * FROM secret_of($1)'\n", ""} {
		if query == "" { // all names of the default are qualified, so that a database's owner has no hand in it either
			inPostgres(t, "ALTER DATABASE "+db+" SET search_path = evil, pg_catalog, public")
		}
		p := asks(t, query+"auth_query_cache = 0\ndefault_pool_size = 1\nmax_db_connections = 2\nauth_dbname = '"+db+"'")
		login := func(user, password string, parameters ...string) (*pgconn.PgConn, error) {
			cfg, err := pgconn.ParseConfig("postgres://" + p.Addr + "/" + db + "?sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			cfg.User, cfg.Password = user, password
			for i := 0; i < len(parameters); i += 2 {
				cfg.RuntimeParams[parameters[i]] = parameters[i+1]
			}
			return pgconn.ConnectConfig(t.Context(), cfg)
		}
		inPostgres(t, "ALTER ROLE looker PASSWORD 'of looker'")
		for _, who := range []struct{ user, password string }{{user, "geheim"}, {"looker", "of looker"}} {
			for _, parameters := range [][]string{
				{"search_path", "evil, pg_catalog"},
				{"options", "-c search_path=evil,pg_catalog"},
				{"role", "looker"},
			} {
				if conn, err := login(who.user, "evil", parameters...); err == nil {
					_ = conn.Close(t.Context())
					t.Errorf("%q: %v: got in as %s", query, parameters, who.user)
				}
				if parameters[0] == "role" {
					continue
				}
				conn, err := login(who.user, who.password, parameters...)
				if err != nil {
					t.Fatalf("%q: %v: %v", query, parameters, err)
				}
				// What pg_temp holds goes before all schemas, for tables.
				_, err = conn.Exec(t.Context(), "SET search_path = pg_temp, evil, pg_catalog; CREATE TEMP TABLE pg_authid AS SELECT '"+who.user+
					"'::name AS rolname, 'evil'::text AS rolpassword, true AS rolcanlogin, NULL::timestamptz AS rolvaliduntil").ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				if other, err := login(who.user, "evil"); err == nil {
					_ = other.Close(t.Context())
					t.Errorf("%q: a client's temporary table has let somebody in as %s", query, who.user)
				}
				_ = conn.Close(t.Context())
			}
		}
	}
	inPostgres(t, "ALTER ROLE looker PASSWORD NULL")
}

// What auth_query returns is believed only if it is what it should be.
func TestAuthQueryThatIsWrong(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	for query, cause := range map[string]string{
		"SELECT 'looker', 'geheim' WHERE $1 <> ''":      "another user",
		"SELECT $1::text, 'a' UNION ALL SELECT $1, 'b'": "several rows",
		"SELECT $1::text":                                                    "1 columns",
		"SELECT $1::text, 'SCRAM-SHA-256$1:x'":                               "malformed secret",
		"SELECT $1::text, repeat('x', 5000)":                                 "more than 4096 bytes",
		"SELECT $1::text, repeat('x', 5000000)":                              "too large",
		"SELECT rolname, no_such_column FROM pg_authid WHERE rolname = $1":   "no_such_column",
		"SELECT * FROM no_such_table WHERE usename = $1":                     "does not exist",
		"SELECT $1::text, CASE WHEN pg_sleep(0) IS NULL THEN 'x' END || 1/0": "division by zero",
	} {
		t.Run(cause, func(t *testing.T) {
			p := asks(t, fmt.Sprintf("auth_query = %q", query))
			_, err := tryPGX(t, p.Addr, user, "geheim")
			refusedWith(t, err, "58000", "authentication could not be checked")
			if err != nil && strings.Contains(err.Error(), cause) {
				t.Errorf("the client is told too much: %v", err)
			}
			if log := p.Log.String(); !strings.Contains(log, cause) {
				t.Errorf("the log does not say %q:\n%s", cause, log)
			}
		})
	}
}

// That a database does not exist is for those who have proven themselves, as with PostgreSQL: others are told, and asked, the
// same as anywhere. The log has it.
func TestLookUpInADatabaseThatDoesNotExist(t *testing.T) {
	member, team := role(t, "LOGIN PASSWORD 'geheim'"), role(t, "NOLOGIN")
	inPostgres(t, "GRANT "+team+" TO "+member)
	lines := "host all +" + team + " all reject\nhost all trusted all trust\nhost all all all scram-sha-256\n"
	inPostgres(t, "CREATE ROLE trusted LOGIN")
	everybody := ""
	groups := fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q", hbaFile(t, lines))
	for name, setting := range map[string]string{
		"elsewhere": everybody, "there": everybody, "groups there": groups, "groups, and only some databases": groups,
		"groups there, and only some databases": groups,
	} {
		p := asks(t, setting)
		cfg := *p.Front.Config()
		if strings.Contains(name, "there") && name != "elsewhere" {
			cfg.AuthDBName = "" // each in its own
		}
		if strings.Contains(name, "only some") {
			cfg.Databases = map[string]config.Database{"postgres": cfg.Databases["*"]}
		}
		if err := p.Front.Configure(&cfg); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			try := func(user, db string) error {
				conn, err := pgconn.Connect(t.Context(), "postgres://"+user+":x@"+p.Addr+"/"+db+"?sslmode=disable")
				if err == nil {
					_ = conn.Close(t.Context())
				}
				return err
			}
			for _, db := range []string{"postgres", "no_such_database"} {
				refusedWith(t, try("somebody", db), "28P01", `password authentication failed for user "somebody"`)
				c := dialRaw(t, p.Addr)
				c.send(startupMessage(db, "user", "somebody"))
				if msg, ok := c.receive().(*pgproto3.AuthenticationSASL); !ok {
					t.Errorf("%s: first it was told %+v, want a question for a proof", db, msg)
				}
			}
			if name != "elsewhere" && !strings.Contains(p.Log.String(), `database \"no_such_database\" does not exist`) {
				t.Errorf("the log does not say why:\n%s", p.Log)
			}
			if setting == everybody {
				return
			}
			refusedWith(t, try("trusted", "no_such_database"), "3D000", `database "no_such_database" does not exist`)
			if err := try(member, "no_such_database"); err == nil {
				t.Error("somebody is in a database that does not exist")
			}
		})
	}
}

// A name that is no text is nobody's: in no group, and nobody's password or token is right for it.
func TestNamesThatAreNoText(t *testing.T) {
	team := role(t, "NOLOGIN")
	lines := "host all +" + team + " all trust\nhost samerole all all trust\nhost all all all scram-sha-256\n"
	for _, cache := range []string{"0", "1"} {
		p := asks(t, fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nauth_dbname = 'postgres'\nauth_query_cache = %s\nadmin_users = ['x']", hbaFile(t, lines), cache))
		for range 2 {
			_, err := tryPGX(t, p.Addr, "\xff", "geheim")
			refusedWith(t, err, "28P01", "password authentication failed for user \"\xff\"")
			if _, err := p.Front.VerifyPassword(t.Context(), visitor("\xff"), "geheim"); !errors.Is(err, ErrWrongPassword) {
				t.Errorf("over HTTP: %v", err)
			}
		}
	}
}

// Maps may ask for groups, too: on the loop for certificates and peers, in a goroutine for tokens.
func TestMapsWithNamesThatAreNoText(t *testing.T) {
	p := asks(t, "")
	maps, err := hba.ParseIdent("maps", []byte("m /^ +team\n"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := hba.Parse("rules", []byte("hostssl all all all cert map=m\n"))
	if err != nil {
		t.Fatal(err)
	}
	now := *p.Front.settings.Load()
	now.credentials = &credentials{rules: rules, maps: maps}
	c := &claim{current: &now, rule: rules.Rules()[0], who: hba.Client{Database: "postgres", User: "\xff"}}
	if c.allows(t.Context(), p.Front, "\xff") {
		t.Error("somebody is a member whom PostgreSQL does not know")
	}
	if err := c.mayAsk(hba.NeedGroups); err == nil {
		t.Error("the roles may be asked for again")
	}
	dir, err := os.MkdirTemp("", "sock") //nolint:usetesting // t.TempDir may be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ident := filepath.Join(dir, "ident.conf")
	if err := os.WriteFile(ident, []byte("m /^ +team\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	q := asks(t, fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nauth_ident_file = %q\nunix_socket_dir = %q\nlisten_addr = ''",
		hbaFile(t, "local all all peer map=m\n"), ident, dir))
	for range 2 { // the second time the answer is known
		raw := dialRaw(t, q.Addr)
		raw.send(startupMessage("postgres", "user", "\xff"))
		if a := raw.answer(); a.Code != "28000" || !strings.HasPrefix(a.Message, "Peer authentication failed") {
			t.Errorf("%+v", a)
		}
	}
	for _, code := range []string{"22021", "22P05"} {
		refusal := &pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: "no text"}
		b, _ := refusal.Encode(nil)
		if a := (question{groups: true}).read(b); a.err != nil || a.groups == nil {
			t.Errorf("%s: %+v", code, a)
		}
	}
	if a := (question{groups: true}).whole(finding{}); a.err == nil {
		t.Error("an answer without roles is whole")
	}
}

// A database whose clients all log in as another user is still asked as auth_user.
func TestLookUpBesideAForcedUser(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	app := role(t, "LOGIN")
	pg := postgres.Server(t)
	inPostgres(t, "CREATE ROLE looker LOGIN SUPERUSER", "ALTER ROLE looker PASSWORD 'of looker'")
	p := asks(t, fmt.Sprintf("stats_period = 60\n[databases.\"*\"]\nhost = %q\nport = %d\nuser = %q", pg.Host, pg.Port, app))
	if who, err := tryPGX(t, p.Addr, user, "geheim"); who != app {
		t.Errorf("is %q, %v", who, err)
	}
	if who, err := tryPGX(t, p.Addr, "looker", "of looker"); who != app { // with a pool of its own name
		t.Errorf("is %q, %v", who, err)
	}
	users := map[string]bool{}
	for _, st := range p.Pools.Stats() {
		users[st.User] = true
	}
	if !users["looker (auth_query)"] || !users["looker"] || !users[user] {
		t.Errorf("there are the pools of %v", users)
	}
	inPostgres(t, "ALTER ROLE looker PASSWORD NULL")
}

// Answers are kept for a moment, shared by those who ask at once, and let go of when roles change or one has not served.
func TestAuthQueryCache(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'first'")
	db := postgres.Server(t).CreateDatabase(t)
	_, err := postgres.Server(t).Exec(t.Context(), db, `CREATE SEQUENCE asked;
		CREATE FUNCTION look(n text, OUT u text, OUT s text) LANGUAGE sql AS
		$$ SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = n AND nextval('asked') > 0 $$`)
	if err != nil {
		t.Fatal(err)
	}
	p := asks(t, "auth_query = 'SELECT * FROM public.look($1)'\nauth_query_cache = 3600\nauth_dbname = '"+db+"'")
	asked := func(want string) {
		t.Helper()
		rows, err := postgres.Server(t).Exec(t.Context(), db, "SELECT last_value * is_called::int FROM asked")
		if err != nil || rows[0][0] != want {
			t.Errorf("PostgreSQL was asked %v times (%v), want %s", rows, err, want)
		}
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if who, err := tryPGX(t, p.Addr, user, "first"); who != user {
				t.Errorf("is %q, %v", who, err)
			}
		})
	}
	all.Wait()
	asked("1")
	inPostgres(t, "ALTER ROLE "+user+" PASSWORD 'second'") // behind the pooler's back
	if _, err := tryPGX(t, p.Addr, user, "second"); err == nil {
		t.Error("a password that nobody here knows of was right")
	}
	if who, err := tryPGX(t, p.Addr, user, "second"); who != user { // what did not serve is forgotten
		t.Errorf("is %q, %v", who, err)
	}
	asked("2")
	admin, err := pgconn.Connect(t.Context(), strings.Replace(p.dsn("postgres", ""), pgtest.Superuser+"@", "", 1)+"&user="+user+"&password=second")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	for _, sql := range []string{
		"ALTER ROLE " + user + " PASSWORD 'third'",
		"BEGIN; ALTER USER " + user + " PASSWORD 'fourth'; COMMIT",
	} {
		if _, err := admin.Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
		password := strings.Split(sql, "'")[1]
		if who, err := tryPGX(t, p.Addr, user, password); who != user {
			t.Errorf("after %s: is %q, %v", sql, who, err)
		}
	}
	asked("4")
}

// A look-up that PostgreSQL does not answer ends with client_login_timeout, and gives its server session back.
func TestLookUpThatHangs(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	p := asks(t, "auth_query = 'SELECT $1::text, pg_sleep(100)::text'\nclient_login_timeout = 1")
	_, err := tryPGX(t, p.Addr, user, "geheim")
	if err == nil || !strings.Contains(err.Error(), "client_login_timeout") && !strings.Contains(err.Error(), "could not be checked") {
		t.Errorf("was told %v", err)
	}
	eventually(t, patience, "the server session is free again", func() bool {
		st := onlyPool(t, p)
		return st.Active+st.Reclaiming == 0 && st.Sessions == 0
	})
}

// What is asked while roles change is not kept, nor told to who asks later.
func TestLookupsForget(t *testing.T) {
	p := asks(t, "auth_query_cache = 3600")
	ls := p.Front.lookups
	on := func(f func()) {
		done := make(chan struct{})
		ls.loop.Post(func() { f(); close(done) })
		<-done
	}
	on(func() {
		for i := range maxLookups + 10 {
			ls.keep(question{user: fmt.Sprint(i)}, finding{secret: config.Secret{Kind: config.SecretClear}})
		}
		if n := len(ls.known); n > maxLookups {
			t.Errorf("%d answers are kept", n)
		}
		ls.rolesChanged()
		ls.keepUp()
		if len(ls.known) != 0 || ls.kept != 0 {
			t.Error("answers are kept though roles have changed")
		}
		many := map[string]bool{}
		for i := range maxGroups {
			many[fmt.Sprintf("%063d", i)] = true
		}
		for i := range 100 {
			ls.keep(question{user: fmt.Sprint(i), groups: true}, finding{groups: many, asked: time.Now()})
		}
		if ls.kept > maxKept || ls.kept < maxKept/3 || len(ls.known) > 30 {
			t.Errorf("%d answers of %d bytes are kept", len(ls.known), ls.kept)
		}
		ls.keep(question{user: "old"}, finding{asked: time.Now().Add(-2 * time.Hour)})
		before := len(ls.known)
		ls.swept = time.Time{}
		ls.sweep()
		if len(ls.known) != before-1 || ls.known[question{user: "old"}].size != 0 {
			t.Errorf("%d of %d answers are left after a sweep", len(ls.known), before)
		}
		ls.swept = time.Now()
	})
}

// CVE-2015-6817: with PgBouncer an unknown user became auth_user. Nobody becomes anybody else here, whatever auth_query says.
func TestCVE_2015_6817_UnknownUsers(t *testing.T) {
	inPostgres(t, "CREATE ROLE looker LOGIN SUPERUSER")
	for _, query := range []string{
		"SELECT 'looker', 'geheim' WHERE $1 <> ''", "SELECT NULL, 'geheim' WHERE $1 <> ''", "SELECT $1::text, NULL",
		"SELECT $1::text, '' ", "SELECT rolname, 'geheim' FROM pg_roles WHERE false AND rolname = $1",
	} {
		p := asks(t, fmt.Sprintf("auth_type = 'password'\nauth_query = %q", query))
		for _, password := range []string{"geheim", "", "looker"} {
			if who, err := tryPGX(t, p.Addr, "unknown", password); err == nil {
				t.Errorf("%s: %q has let somebody in as %s", query, password, who)
			}
		}
	}
}

// Who is a member of what is asked once for a while, and again as soon as that has changed through the pooler.
func TestGroupsInHBA(t *testing.T) {
	user, team, inner := role(t, "LOGIN"), role(t, "NOLOGIN"), role(t, "NOLOGIN")
	inPostgres(t, "GRANT "+team+" TO "+inner)
	path := hbaFile(t, "host all +"+team+" all trust\nhost all postgres all trust\n")
	p := asks(t, fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nauth_query_cache = 3600", path))
	admin, err := pgconn.Connect(t.Context(), p.dsn("postgres", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	run := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		_, err = tryPGX(t, p.Addr, user, "")
		refusedWith(t, err, "28000", "no pg_hba.conf entry")
		run("GRANT " + inner + " TO " + user)
		if who, err := tryPGX(t, p.Addr, user, ""); who != user {
			t.Errorf("a member is %q, %v", who, err)
		}
		run("BEGIN")
		run("REVOKE " + inner + " FROM " + user)
		if who, err := tryPGX(t, p.Addr, user, ""); who != user {
			t.Errorf("while nothing is committed: %q, %v", who, err)
		}
		run("COMMIT")
	}
	// Without auth_dbname, of the console's database nobody knows whom to ask.
	cfg := *p.Front.Config()
	cfg.AuthDBName = ""
	if err := p.Front.Configure(&cfg); err != nil {
		t.Fatal(err)
	}
	_, err = pgconn.Connect(t.Context(), "postgres://"+user+"@"+p.Addr+"/pooler?sslmode=disable")
	refusedWith(t, err, "58000", "authentication could not be checked")
}

// A pool that is stopped says so to those who log in, as it would without auth_query.
func TestLookUpInAStoppedPool(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	p := asks(t, "")
	p.Pools.Stop("postgres")
	_, err := tryPGX(t, p.Addr, user, "geheim")
	refusedWith(t, err, "57P03", "stopped")
	p.Pools.Start("postgres")
	if who, err := tryPGX(t, p.Addr, user, "geheim"); who != user {
		t.Errorf("is %q, %v", who, err)
	}
}

// A server session that PostgreSQL has ended meanwhile is nobody's misfortune.
func TestLookUpAfterItsSessionWasLost(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	p := asks(t, "auth_query_cache = 0")
	for range 5 {
		if who, err := tryPGX(t, p.Addr, user, "geheim"); who != user {
			t.Errorf("is %q, %v", who, err)
		}
		inPostgres(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'looker'")
	}
}

func FuzzLookupAnswer(f *testing.F) {
	q := question{user: "u"}
	row := func(cells ...[]byte) []byte {
		out, _ := (&pgproto3.DataRow{Values: cells}).Encode(nil)
		return out
	}
	f.Add(row([]byte("u"), []byte("secret")), false)
	f.Add(append(row([]byte("a")), row([]byte("b"))...), true)
	f.Add([]byte{'E', 0, 0, 0, 5, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, groups bool) {
		q := question{user: q.user, groups: groups}
		if a := q.read(b); a.err != nil && a.secret.Kind != config.SecretNone {
			t.Errorf("a secret and a fault: %v", a.err)
		}
	})
}
