package frontend

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// What was learned of a user for one server is not shown to another one.
func TestReloadForgetsWhatWasLearnedForAnotherServer(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{Auth: "scram-sha-256"})
	rows, err := pg.Exec(t.Context(), "postgres", "CREATE ROLE anna LOGIN PASSWORD 'first'; SELECT rolpassword FROM pg_authid WHERE rolname = 'anna'")
	if err != nil {
		t.Fatal(err)
	}
	file := authFile(t)
	if err := os.WriteFile(file, fmt.Appendf(nil, "%q %q\n", "anna", rows[0][0]), 0o600); err != nil {
		t.Fatal(err)
	}
	p, ring := passing(t, pg, fmt.Sprintf("auth_type = 'password'\nauth_file = %q", file))
	if who, err := tryPGX(t, p.Addr, "anna", "first"); who != "anna" {
		t.Fatal(err)
	}
	account := auth.AccountOf(onlyOf(t, p, "anna"))
	if c, ok := ring.Find(account); !ok || c.Password != "first" {
		t.Fatalf("learned: %v", c)
	}
	cfg := *p.Front.Config()
	cfg.Databases = map[string]config.Database{}
	for name, db := range p.Front.Config().Databases {
		db.Host = "127.0.0.99"
		cfg.Databases[name] = db
	}
	if err := p.Front.Configure(&cfg); err != nil {
		t.Fatal(err)
	}
	if c, ok := ring.Find(auth.AccountOf(onlyOf(t, p, "anna"))); ok || ring.Len() != 0 {
		t.Errorf("the new server would be shown %v; %d accounts are known", c, ring.Len())
	}
}

// A client behind a proxy on a Unix socket that does not say where it is has no address: neither is it on this machine, nor
// in any network, nor does it need no TLS.
func TestAProxiedClientOfUnknownAddressIsNotLocal(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock") //nolint:usetesting // t.TempDir may be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	inPostgres(t, "CREATE ROLE trusted LOGIN")
	set := certs.New(t)
	lines := "local all all trust\nhost all postgres 0.0.0.0/0 trust\nhost all postgres ::/0 trust\nhost all postgres samenet trust\n" +
		"host all postgres .example trust\nhost all trusted all trust\n"
	top := fmt.Sprintf("unix_socket_dir = %q\nlisten_addr = ''\nproxy_protocol = ['unix']\nauth_file = ''\nauth_type = 'hba'\nauth_hba_file = %q\n", dir, hbaFile(t, lines))
	p := startPooler(t, top)
	try := func(header []byte, user string) answer {
		c := dialRaw(t, p.Addr)
		_, _ = c.nc.Write(header)
		c.send(startupMessage("postgres", "user", user))
		return c.answer()
	}
	for name, header := range map[string][]byte{"UNKNOWN": []byte("PROXY UNKNOWN\r\n"), "LOCAL": proxyV2(0, 0, "")} {
		if a := try(header, "postgres"); a.Code != "28000" || !strings.Contains(a.Message, `host "???", user "postgres"`) {
			t.Errorf("%s, of no network: %+v", name, a)
		}
		if a := try(header, "trusted"); a.Status != 'I' {
			t.Errorf("%s, of all: %+v", name, a)
		}
	}
	if err := p.Front.Configure(testConfig(t, top+withTLS(set, set.Server(), "require"))); err != nil {
		t.Fatal(err)
	}
	if a := try([]byte("PROXY UNKNOWN\r\n"), "trusted"); a.Code != "28000" || !strings.Contains(a.Message, "TLS only") {
		t.Errorf("in the clear where TLS is demanded: %+v", a)
	}
}

// A bug in what reads strangers' bytes ends one login, not the process, in whatever goroutine that is.
func TestABugEndsOneLogin(t *testing.T) {
	path := hbaFile(t, "host all all .example trust\nhost all all all trust\n")
	names := staticNames{ask: func() { panic("a test's own") }}
	p := startPoolerWith(t, func(srv *Server) { srv.names = names }, fmt.Sprintf(
		"auth_type = 'hba'\nauth_hba_file = %q\nauth_file = ''\nadmin_users = ['x']", path))
	for range 3 {
		_, err := tryPGX(t, p.Addr, "postgres", "")
		refusedWith(t, err, "58000", "authentication could not be checked")
	}
	if _, err := p.Front.VerifyPassword(t.Context(), visitor("x"), "x"); !errors.Is(err, errPanic) {
		t.Errorf("over HTTP: %v", err)
	}
	pass := newPass(p.Front, visitor("x"), sighting{now: p.Front.settings.Load()})
	pass.checking = true
	if pass.check(); pass.checking || pass.void {
		t.Error("a pass is looked at no more, or void, since one look has failed")
	}
	done := make(chan struct{})
	p.Front.through(p.Front.proofs, func() { defer close(done); panic("a test's own") })
	<-done
	if n := strings.Count(p.Log.String(), "bug: looking into a login panicked"); n < 5 {
		t.Errorf("the log tells of %d bugs", n)
	}
	eventually(t, patience, "all have gone", func() bool { return p.Front.Stat().Clients == 0 })
}

// Slow name servers of one place take its share, in the order in which clients have come, and no more.
func TestFairGate(t *testing.T) {
	q := newFair(4, 2)
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	release, running := make(chan struct{}), make(chan int, 10)
	var all sync.WaitGroup
	enter := func(place netip.Addr, n int) {
		all.Add(1)
		q.of(place).Go(func() { defer all.Done(); running <- n; <-release })
	}
	for n := range 5 {
		enter(here, n)
	}
	enter(there, 10)
	seen := map[int]bool{}
	for range 3 {
		seen[<-running] = true
	}
	if inside, waiting := q.gate.Stat(); !seen[0] || !seen[1] || !seen[10] || inside != 3 || waiting != 0 {
		t.Errorf("%v are inside, %d and %d waiting", seen, inside, waiting)
	}
	close(release)
	all.Wait()
	for n := 2; n < 5; n++ {
		<-running
	}
	eventually(t, patience, "nothing is kept", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.places) == 0 })
}

// While name servers are silent, those get in who need none, by whatever way.
func TestSlowNameServersHoldUpNobodyElse(t *testing.T) {
	asked, answer := make(chan struct{}, 2*namesAtOnce), make(chan struct{})
	names := staticNames{ask: func() { asked <- struct{}{}; <-answer }}
	path := hbaFile(t, "host all postgres .example reject\nhost all trusted samehost trust\nhost all postgres all trust\n")
	inPostgres(t, "CREATE ROLE trusted LOGIN")
	p := startPoolerWith(t, func(srv *Server) { srv.names = names }, fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nauth_file = ''\n", path))
	var clients []*rawClient
	for range namesShare + 5 {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage("postgres", "user", "postgres"))
		clients = append(clients, c)
	}
	for range namesShare {
		<-asked
	}
	if who, err := tryPGX(t, p.Addr, "trusted", ""); who != "trusted" {
		t.Errorf("is %q, %v", who, err)
	}
	if inside, waiting := p.Front.naming.gate.Stat(); inside != namesShare || waiting != 0 {
		t.Errorf("%d questions about one place, %d waiting", inside, waiting)
	}
	close(answer)
	for _, c := range clients {
		if a := c.answer(); a.Status != 'I' {
			t.Errorf("%+v", a)
		}
	}
}

// The salts that are made up for who does not exist stay as they are when a reload changes how secrets are derived.
func TestMadeUpSaltsOutliveAReload(t *testing.T) {
	p := startPooler(t, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q", authFile(t)))
	challenge := func() (salt, iterations string) {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage("postgres", "user", "nobody"))
		c.receive()
		c.send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=abcdefghijklmnop")})
		msg, ok := c.receive().(*pgproto3.AuthenticationSASLContinue)
		if !ok {
			t.Fatal("no challenge")
		}
		parts := strings.Split(string(msg.Data), ",")
		return parts[1], parts[2]
	}
	before, _ := challenge()
	for _, rounds := range []int{5000, 4096} {
		for _, cache := range []bool{true, false} {
			cfg := *p.Front.Config()
			cfg.ScramIterations, cfg.ScramKeyCache = rounds, cache
			bad := cfg
			bad.AuthIdentFile = "/nowhere"
			bad.ScramIterations = 9999
			if err := p.Front.Configure(&cfg); err != nil {
				t.Fatal(err)
			}
			if err := p.Front.Configure(&bad); err == nil {
				t.Fatal("a file that is missing is taken")
			}
			if salt, iterations := challenge(); salt != before || iterations != fmt.Sprintf("i=%d", rounds) {
				t.Errorf("%d, %t: %s, %s; before: %s", rounds, cache, salt, iterations, before)
			}
		}
	}
}

// What a client calls itself gives it less time to prove itself, never more.
func TestLoginDeadlineBeforeProof(t *testing.T) {
	p := startPooler(t, "client_login_timeout = 10\n[users.patient]\nclient_login_timeout = 1000\n[users.hasty]\nclient_login_timeout = 5")
	for user, want := range map[string]time.Duration{"patient": 10 * time.Second, "hasty": 5 * time.Second, "other": 10 * time.Second} {
		g := &greeter{srv: p.Front, since: time.Now(), start: &startup{user: user, database: "postgres"}, claim: &claim{current: p.Front.settings.Load()}}
		if g.keepDeadline(); g.deadline.Sub(g.since) != want {
			t.Errorf("%s has %s, want %s", user, g.deadline.Sub(g.since), want)
		}
	}
}

// A claim goes by one configuration from beginning to end, whatever a reload brings meanwhile.
func TestAClaimGoesByOneConfiguration(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	names := staticNames{ask: func() { asked <- struct{}{}; <-answer }}
	before := fmt.Sprintf("auth_type = 'hba'\nauth_file = ''\nauth_hba_file = %q", hbaFile(t, "host all all .example reject\nhost all all all scram-sha-256\n"))
	p := startPoolerWith(t, func(srv *Server) { srv.names = names }, before)
	c := dialRaw(t, p.Addr)
	c.send(startupMessage("postgres", "user", "postgres"))
	<-asked
	now := p.Front.settings.Load()
	if err := p.Front.Configure(testConfig(t, "auth_type = 'trust'")); err != nil || p.Front.settings.Load() == now {
		t.Fatal(err)
	}
	close(answer)
	if msg, ok := c.receive().(*pgproto3.AuthenticationSASL); !ok {
		t.Errorf("was told %+v", msg)
	}
}
