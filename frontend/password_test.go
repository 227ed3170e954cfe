package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/loop"
	"pooler/pool"
)

// door is a server that listens nowhere, with a configuration that the test can change.
func door(t *testing.T, text string) (srv *Server, reload func(text string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pooler.toml")
	read := func(text string) *config.Config {
		if err := os.WriteFile(file, []byte(text+"\n[databases.\"*\"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	log := slog.New(slog.DiscardHandler)
	l, err := loop.New(log)
	if err != nil {
		t.Fatal(err)
	}
	pools := pool.NewManager(backend.Dial, []*loop.Loop{l}, log)
	t.Cleanup(func() {
		pools.Close()
		l.Stop()
	})
	if srv, err = New(read(text), pools, []*loop.Loop{l}, log); err != nil {
		t.Fatal(err)
	}
	return srv, func(text string) {
		if err := srv.Configure(read(text)); err != nil {
			t.Fatal(err)
		}
	}
}

// visitor is a user on this machine.
func visitor(user string) Visitor {
	return Visitor{User: user, Remote: netip.MustParseAddrPort("127.0.0.1:1000")}
}

func TestAPasswordOpensWhatTheConsoleWouldOpen(t *testing.T) {
	file := authFile(t)
	for _, method := range []string{"trust", "password", "md5", "scram-sha-256"} {
		srv, _ := door(t, fmt.Sprintf("auth_type = %q\nauth_file = %q\nadmin_users = ['clear', 'hashed', 'scram', 'nobody']", method, file))
		for _, user := range []string{"clear", "hashed", "scram", "nobody"} {
			for _, password := range []string{rightPassword, "wrong", "", rightPassword + "\x00", strings.Repeat("x", maxPassword+1)} {
				t.Run(fmt.Sprintf("%s, %s, %.20q", method, user, password), func(t *testing.T) {
					pass, err := srv.VerifyPassword(t.Context(), visitor(user), password)
					ok := method == "trust" || password == rightPassword && user != "nobody" && (method != "scram-sha-256" || user != "hashed")
					switch {
					case ok && err != nil:
						t.Errorf("refused: %v", err)
					case ok && pass.Right() != RightChange:
						t.Errorf("right %v", pass.Right())
					case !ok && !errors.Is(err, ErrWrongPassword):
						t.Errorf("got %v, want %v", err, ErrWrongPassword)
					}
				})
			}
		}
	}
}

func TestWhoIsNeitherAdminNorStatsIsToldOnlyWhenHeHasProvenHimself(t *testing.T) {
	srv, _ := door(t, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q\nstats_users = ['scram']", authFile(t)))
	if pass, err := srv.VerifyPassword(t.Context(), visitor("scram"), rightPassword); err != nil || pass.Right() != RightLook {
		t.Errorf("a user of stats_users: %v, %v", pass, err)
	}
	if _, err := srv.VerifyPassword(t.Context(), visitor("clear"), rightPassword); !errors.Is(err, ErrNoConsole) {
		t.Errorf("with the right password: %v", err)
	}
	if _, err := srv.VerifyPassword(t.Context(), visitor("clear"), "wrong"); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestAReloadChangesWhatAPassIsWorth(t *testing.T) {
	begin := func(method, file, users string) string {
		return fmt.Sprintf("auth_type = %q\nauth_file = %q\n%s", method, file, users)
	}
	file, admin := authFile(t), "admin_users = ['scram']"
	changed := filepath.Join(t.TempDir(), "changed.txt")
	if err := os.WriteFile(changed, []byte("\"scram\" \"another\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, before, after string
		want                Right
	}{
		{"nothing", begin("scram-sha-256", file, admin), begin("scram-sha-256", file, admin), RightChange},
		{"less", begin("scram-sha-256", file, admin), begin("scram-sha-256", file, "stats_users = ['scram']"), RightLook},
		{"no right", begin("scram-sha-256", file, admin), begin("scram-sha-256", file, ""), RightNone},
		{"another secret", begin("scram-sha-256", file, admin), begin("scram-sha-256", changed, admin), RightNone},
		{"passwords are asked for now", begin("trust", file, admin), begin("scram-sha-256", file, admin), RightNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, reload := door(t, c.before)
			pass, err := srv.VerifyPassword(t.Context(), visitor("scram"), rightPassword)
			if err != nil {
				t.Fatal(err)
			}
			reload(c.after)
			if got := pass.Right(); got != c.want {
				t.Errorf("right %d, want %d", got, c.want)
			}
		})
	}
}

func TestAPasswordIsNotCheckedForWhoHasGone(t *testing.T) {
	srv, _ := door(t, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q\nadmin_users = ['scram']", authFile(t)))
	srv.proofs.SetLimit(0) // nobody's turn comes
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := srv.VerifyPassword(ctx, visitor("scram"), rightPassword); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	srv.proofs.SetLimit(1)
	srv.draining.Store(true)
	if _, err := srv.VerifyPassword(t.Context(), visitor("scram"), rightPassword); !errors.Is(err, errShuttingDown) {
		t.Errorf("while the pooler is stopping: %v", err)
	}
	srv.background.Wait()
}

// The dashboard lets in whom the rules would let into the console from there.
func TestRulesDecideAboutPasswordsToo(t *testing.T) {
	port := directory(t, nil, nil)
	path := hbaFile(t, fmt.Sprintf(`
host      postgres all             all            trust
hostnossl pooler   clear           127.0.0.1/32   reject
hostssl   pooler   clear           127.0.0.1/32   scram-sha-256
host      pooler   hashed          127.0.0.1/32   md5
host      pooler   hashed          ::1/128        scram-sha-256
host      pooler   scram           127.0.0.1/32   password
host      pooler   trusted         127.0.0.1/32   trust
hostssl   pooler   cert,both       127.0.0.1/32   cert
host      pooler   ldapper         127.0.0.1/32   ldap ldapserver=127.0.0.1 ldapport=%d ldapprefix="cn="
host      pooler   named           .example       password
`, port))
	file := authFile(t)
	srv, reload := door(t, fmt.Sprintf(`auth_type = 'hba'
auth_hba_file = %q
auth_file = %q
admin_users = ['clear', 'hashed', 'scram', 'trusted', 'cert', 'ldapper', 'named']`, path, file))
	srv.names = staticNames{names: map[string][]string{"127.0.0.1": {"app.example."}}, back: map[string]string{"app.example.": "127.0.0.1"}}
	from := func(user, address string, secure bool) Visitor {
		return Visitor{User: user, Remote: netip.AddrPortFrom(netip.MustParseAddr(address), 1), TLS: secure}
	}
	for _, tc := range []struct {
		visitor  Visitor
		password string
		want     error
	}{
		{from("clear", "127.0.0.1", false), rightPassword, ErrNotByPassword},
		{from("clear", "127.0.0.1", true), rightPassword, nil},
		{from("clear", "127.0.0.1", true), "wrong", ErrWrongPassword},
		{from("clear", "::1", true), rightPassword, ErrNotByPassword},
		{from("hashed", "127.0.0.1", false), rightPassword, nil},
		{from("hashed", "::1", false), rightPassword, ErrWrongPassword}, // SCRAM cannot check it
		{from("scram", "127.0.0.1", false), rightPassword, nil},
		{from("scram", "127.0.0.1", false), "", ErrWrongPassword},
		{from("trusted", "127.0.0.1", false), "", nil},
		{from("cert", "127.0.0.1", true), rightPassword, ErrNotByPassword},
		{from("ldapper", "127.0.0.1", false), "of ldapper", nil},
		{from("ldapper", "127.0.0.1", false), "wrong", ErrWrongPassword},
		{from("ldapper", "127.0.0.1", false), "", ErrWrongPassword},
		{from("named", "127.0.0.1", false), "x", ErrWrongPassword},
		{from("nobody", "127.0.0.1", false), "x", ErrNotByPassword},
	} {
		pass, err := srv.VerifyPassword(t.Context(), tc.visitor, tc.password)
		if !errors.Is(err, tc.want) || tc.want == nil && pass.Right() != RightChange {
			t.Errorf("%+v, %q: %v, %v", tc.visitor, tc.password, pass, err)
		}
	}
	pass, err := srv.VerifyPassword(t.Context(), from("hashed", "127.0.0.1", false), rightPassword)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nauth_file = %q\nadmin_users = ['hashed']", path, file)
	if reload(text); pass.Right() != RightChange {
		t.Error("a reload that changes nothing for the holder makes his pass worthless")
	}
	if err := os.WriteFile(path, []byte("host pooler hashed 127.0.0.1/32 reject\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if reload(text); pass.Right() != RightNone {
		t.Error("a pass outlives the line that it was given by")
	}
}

// A pass that rests on what PostgreSQL says is looked at again, but not each time that it is used.
func TestAPassThatRestsOnPostgreSQL(t *testing.T) {
	user := role(t, "LOGIN PASSWORD 'geheim'")
	p := asks(t, "auth_dbname = 'postgres'\nauth_query_cache = 0\nadmin_users = ['"+user+"']")
	if _, err := p.Front.VerifyPassword(t.Context(), visitor(user), "wrong"); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("with a wrong password: %v", err)
	}
	pass, err := p.Front.VerifyPassword(t.Context(), visitor(user), "geheim")
	if err != nil {
		t.Fatal(err)
	}
	requests := func() uint64 { return onlyPool(t, p).Requests }
	before := requests()
	for range 100 {
		if pass.Right() != RightChange {
			t.Fatal("it is worth nothing")
		}
	}
	if n := requests(); n != before {
		t.Errorf("100 looks at it have asked PostgreSQL %d times", n-before)
	}
	inPostgres(t, "ALTER ROLE "+user+" PASSWORD 'another'")
	pass.mu.Lock()
	pass.checked = pass.checked.Add(-passFresh)
	pass.mu.Unlock()
	eventually(t, patience, "the pass is worth nothing any more", func() bool { return pass.Right() == RightNone })
}
