package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pooler/frontend"
	"pooler/internal/console"
)

func TestWhoMayLogIn(t *testing.T) {
	for _, c := range []struct {
		name, config, user, password string
		status                       int
		right                        string
	}{
		{"trust, admin", withTrust, "root", "", 200, "admin"},
		{"trust, stats, any password", withTrust, "looker", "whatever", 200, "stats"},
		{"trust, neither", withTrust, "stranger", "", 403, ""},
		{"scram, of a SCRAM secret", withSCRAM, "scram", secret, 200, "admin"},
		{"scram, of a clear secret", withSCRAM, "clear", secret, 200, "admin"},
		{"scram, stats", withSCRAM, "looker", secret, 200, "stats"},
		{"scram, wrong", withSCRAM, "scram", "wrong", 401, ""},
		{"scram, empty", withSCRAM, "scram", "", 401, ""},
		{"scram, nobody", withSCRAM, "nobody", secret + "x", 401, ""},
		{"scram, proven but neither", withSCRAM, "stranger", secret, 403, ""},
		{"scram, neither and wrong", withSCRAM, "stranger", "wrong", 401, ""},
		{"md5, of a hash", strings.ReplaceAll(withSCRAM, "scram-sha-256", "md5") + "\n[users.x]", "hashed", secret, 403, ""},
		{"md5, of a SCRAM secret", strings.Replace(withSCRAM, "scram-sha-256", "md5", 1), "scram", secret, 200, "admin"},
		{"password, of a clear secret", strings.Replace(withSCRAM, "scram-sha-256", "password", 1), "clear", secret, 200, "admin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openSite(t, c.config)
			got := s.send("/api/login", fmt.Sprintf(`{"user":%q,"password":%q}`, c.user, c.password))
			if got.status != c.status {
				t.Fatalf("status %d, want %d: %s", got.status, c.status, got.body)
			}
			cookie := got.header.Get("Set-Cookie")
			if c.status != http.StatusOK {
				if cookie != "" || got.json(t)["error"] == "" || !strings.Contains(s.log.String(), `msg="dashboard login refused" user=`+c.user) {
					t.Errorf("got %s, cookie %q", got.body, cookie)
				}
				return
			}
			if want := fmt.Sprintf(`{"right":%q,"user":%q}`+"\n", c.right, c.user); got.body != want {
				t.Errorf("got %s, want %s", got.body, want)
			}
			if !strings.Contains(cookie, "; HttpOnly; SameSite=Strict") {
				t.Errorf("cookie %q", cookie)
			}
			if !strings.Contains(s.log.String(), `msg="dashboard login" user=`+c.user+" remote=127.0.0.1:") {
				t.Error("no log line")
			}
		})
	}
}

func TestWrongUserAndWrongPasswordLookTheSame(t *testing.T) {
	s := openSite(t, withSCRAM)
	var first string
	for _, body := range []string{
		`{"user":"nobody","password":"x"}`, `{"user":"scram","password":"x"}`, `{"user":"clear","password":"x"}`,
		`{"user":"hashed","password":"x"}`, `{"user":"stranger","password":"x"}`, `{"user":"","password":""}`,
	} {
		got := s.send("/api/login", body)
		if first == "" {
			first = got.body
		}
		if got.status != http.StatusUnauthorized || got.body != first {
			t.Errorf("%s: %d %s, want %s", body, got.status, got.body, first)
		}
	}
}

func TestASessionLivesUntilItsUserLogsOut(t *testing.T) {
	s := openSite(t, withSCRAM)
	session := s.login("scram", secret)
	if got := s.send("/api/me", "", session); got.status != http.StatusOK || got.json(t)["right"] != "admin" {
		t.Errorf("me: %d %s", got.status, got.body)
	}
	if got := s.send("/api/logout", "{}", session); got.status != http.StatusOK || !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout: %d %v", got.status, got.header)
	}
	for _, with := range []func(*http.Request){session, header("Cookie", "pooler_1=x"), header("X", "y")} {
		if got := s.send("/api/me", "", with); got.status != http.StatusUnauthorized {
			t.Errorf("me: %d %s", got.status, got.body)
		}
	}
}

func TestAReloadTakesARightFromThoseWhoAreLoggedIn(t *testing.T) {
	s := openSite(t, withSCRAM)
	session, curl := s.login("scram", secret), basic("scram", secret)
	kill := `{"command":"KILL_CLIENT 7"}`
	for _, with := range []func(*http.Request){session, curl} {
		if got := s.send("/api/do", kill, with); got.status != http.StatusBadRequest {
			t.Fatalf("as admin: %d %s", got.status, got.body)
		}
	}
	s.reload(strings.ReplaceAll(withSCRAM, "'looker'", "'scram'") + "")
	s.reload("auth_type = 'scram-sha-256'\nauth_file = '@users'\nstats_users = ['scram']\n")
	for _, with := range []func(*http.Request){session, curl} {
		if got := s.send("/api/me", "", with); got.json(t)["right"] != "stats" {
			t.Errorf("me: %d %s", got.status, got.body)
		}
		if got := s.send("/api/do", kill, with); got.status != http.StatusForbidden {
			t.Errorf("as stats: %d %s", got.status, got.body)
		}
	}
	s.reload("auth_type = 'scram-sha-256'\nauth_file = '@users'\n")
	if got := s.send("/api/me", "", session); got.status != http.StatusUnauthorized {
		t.Errorf("a session without a right: %d %s", got.status, got.body)
	}
	if got := s.send("/api/me", "", curl); got.status != http.StatusForbidden {
		t.Errorf("a password without a right: %d %s", got.status, got.body)
	}
}

// countingDoor counts how often a password is checked.
type countingDoor struct {
	Door
	asked atomic.Int32
}

func (d *countingDoor) VerifyPassword(ctx context.Context, v frontend.Visitor, password string) (*frontend.Pass, error) {
	d.asked.Add(1)
	return d.Door.VerifyPassword(ctx, v, password)
}

// clock is a time that the test sets.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.at.Store(new(time.Now()))
	return c
}

func (c *clock) now() time.Time          { return *c.at.Load() }
func (c *clock) advance(d time.Duration) { c.at.Store(new(c.now().Add(d))) }

func TestBasicIsCheckedOnceAMinute(t *testing.T) {
	door, time := &countingDoor{}, newClock()
	s := openSite(t, withSCRAM, func(o *Options) {
		door.Door = o.Dashboard.Door
		o.Dashboard.Door, o.Dashboard.Snapshots.Now = door, time.now
	})
	ask := func(want int32, status int, with func(*http.Request)) {
		t.Helper()
		if got := s.send("/api/me", "", with); got.status != status || door.asked.Load() != want {
			t.Errorf("%d %s, checked %d times; want %d, %d", got.status, got.body, door.asked.Load(), status, want)
		}
	}
	ask(1, 200, basic("scram", secret))
	ask(1, 200, basic("scram", secret))
	ask(2, 401, basic("scram", secret+"x"))
	ask(3, 401, basic("scram", secret+"x")) // what is wrong is not remembered
	time.advance(verifiedLife + 1)
	ask(4, 200, basic("scram", secret))
	s.reload("auth_type = 'scram-sha-256'\nauth_file = '@users'\nstats_users = ['looker']\n")
	ask(5, 403, basic("scram", secret))
}

func TestProgramsAreToldToSendAPasswordAndBrowsersAreNot(t *testing.T) {
	s := openSite(t, withSCRAM)
	if got := s.send("/api/me", ""); !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("a program: %v", got.header)
	}
	if got := s.send("/api/me", "", header("User-Agent", "Mozilla/5.0 (X11)")); got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a browser: %v", got.header)
	}
}

func TestAfterTooManyFailuresNobodyLogsInForAWhile(t *testing.T) {
	time := newClock()
	s := openSite(t, withSCRAM, func(o *Options) { o.Dashboard.Snapshots.Now = time.now })
	session, curl := s.login("scram", secret), basic("looker", secret)
	if got := s.send("/api/me", "", curl); got.status != http.StatusOK {
		t.Fatalf("basic: %d", got.status)
	}
	for i := range failuresOfUser {
		with, path, body := header("X", "y"), "/api/login", `{"user":"scram","password":"guess"}`
		if i%2 == 0 {
			with, path, body = basic("scram", "guess"), "/api/me", ""
		}
		if got := s.send(path, body, with); got.status != http.StatusUnauthorized {
			t.Fatalf("failure %d: %d", i, got.status)
		}
	}
	right := fmt.Sprintf(`{"user":"scram","password":%q}`, secret)
	if got := s.send("/api/login", right); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "60" {
		t.Errorf("after %d failures: %d %v", failuresOfUser, got.status, got.header)
	}
	for _, with := range []func(*http.Request){session, curl} { // who is in stays in
		if got := s.send("/api/me", "", with); got.status != http.StatusOK {
			t.Errorf("who is in: %d %s", got.status, got.body)
		}
	}
	if got := s.send("/api/me", "", basic("clear", secret)); got.status != http.StatusOK { // who may share no more than a proxy
		t.Errorf("another user: %d %s", got.status, got.body)
	}
	for range failuresOfNetwork { // the password is right
		if got := s.send("/api/me", "", basic("stranger", secret)); got.status != http.StatusForbidden {
			t.Fatalf("a user without a right: %d %s", got.status, got.body)
		}
	}
	time.advance(failuresWithin)
	if got := s.send("/api/login", right); got.status != http.StatusOK {
		t.Errorf("a minute later: %d", got.status)
	}
}

func TestTheThrottle(t *testing.T) {
	var th throttle
	now := time.Now()
	here := netip.MustParseAddr("192.0.2.1")
	fail := func(from netip.Addr, user string, times int) {
		t.Helper()
		for range times {
			if th.wait(from, user, now) != 0 {
				t.Fatalf("%s is put off too early", user)
			}
			th.fail(from, user, now)
		}
	}
	fail(here, "anna", failuresOfUser)
	if wait := th.wait(here, "anna", now.Add(time.Second)); wait != failuresWithin-time.Second {
		t.Errorf("wait %s", wait)
	}
	if th.wait(here, "ben", now) != 0 || th.wait(netip.MustParseAddr("192.0.2.2"), "anna", now) != 0 {
		t.Error("another user or another address is put off")
	}
	for i := range (failuresOfNetwork - failuresOfUser) / failuresOfUser {
		fail(here, fmt.Sprint("user", i), failuresOfUser)
	}
	if th.wait(here, "ben", now) == 0 || th.wait(here, "", now) == 0 {
		t.Error("a network that guesses users too is not put off")
	}
	if th.wait(here, "anna", now.Add(failuresWithin)) > 0 {
		t.Error("put off after a minute")
	}
	for i := range failuresOfUser { // a host has all addresses of a /64
		fail(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)), "anna", 1)
	}
	if th.wait(netip.MustParseAddr("2001:db8::ffff"), "anna", now) == 0 {
		t.Error("another address of the same network is not put off")
	}
	for i := range 3 * maxThrottled {
		th.fail(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "anna", now.Add(time.Duration(i)))
	}
	if len(th.all) > maxThrottled {
		t.Errorf("%d are kept", len(th.all))
	}
}

// gatedDoor lets nobody in before it is told.
type gatedDoor struct {
	countingDoor
	come, open chan struct{}
}

func (d *gatedDoor) VerifyPassword(ctx context.Context, v frontend.Visitor, password string) (*frontend.Pass, error) {
	d.come <- struct{}{}
	<-d.open
	return d.countingDoor.VerifyPassword(ctx, v, password)
}

func TestAProgramThatSendsManyRequestsAtOnceIsLetIn(t *testing.T) {
	const many = 3 * failuresOfUser
	door := &gatedDoor{come: make(chan struct{}, many), open: make(chan struct{})}
	s := openSite(t, withSCRAM, func(o *Options) {
		door.Door = o.Dashboard.Door
		o.Dashboard.Door = door
	})
	statuses := make(chan int, many)
	for range many {
		go func() { statuses <- s.send("/api/me", "", basic("scram", secret)).status }() // awaited below
	}
	<-door.come
	close(door.open)
	for range many {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	if n := door.asked.Load(); n != 1 {
		t.Errorf("the password was checked %d times", n)
	}
}

func TestWhoWaitsForAnothersCheckMayLeave(t *testing.T) {
	v := newVerified()
	done, err := v.turn(t.Context(), "anna", "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.turn(ctx, "anna", "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, password := range []string{"y", "x"} { // another one, and the same later
		again, err := v.turn(t.Context(), "anna", password)
		if err != nil {
			t.Fatal(err)
		}
		if password == "y" {
			done()
		}
		again()
	}
	if len(v.checking) > 0 {
		t.Errorf("%d are left", len(v.checking))
	}
}

func TestSessionsAreBoundedAndEndWhenNobodyUsesThem(t *testing.T) {
	s, now := newSessions(), time.Now()
	pass, from := &frontend.Pass{User: "anna"}, netip.MustParseAddr("192.0.2.1")
	first := s.add(pass, from, now)
	var last string
	for i := range maxSessions + 10 {
		now = now.Add(time.Second)
		if s.find(first, from, now) != pass {
			t.Fatalf("the session that is used was dropped after %d", i)
		}
		last = s.add(pass, from, now)
	}
	if len(s.all) != maxSessions || s.find(last, from, now) != pass {
		t.Errorf("%d sessions", len(s.all))
	}
	if len(last) < 43 || last == first {
		t.Errorf("token %q", last)
	}
	now = now.Add(sessionIdle - time.Second)
	if s.find(first, from, now) == nil {
		t.Error("ended too early")
	}
	if s.find(last, from, now.Add(2*time.Second)) != nil || s.find("", from, now) != nil {
		t.Error("not ended")
	}
}

func TestASessionEndsHoweverMuchItIsUsed(t *testing.T) {
	s, begin, from := newSessions(), time.Now(), netip.MustParseAddr("192.0.2.1")
	token := s.add(&frontend.Pass{User: "anna"}, from, begin)
	for now := begin; now.Before(begin.Add(sessionLife)); now = now.Add(time.Hour) {
		if s.find(token, from, now) == nil {
			t.Fatalf("ended after %s", now.Sub(begin))
		}
	}
	if s.find(token, from, begin.Add(sessionLife+time.Second)) != nil {
		t.Error("not ended")
	}
}

// directory is an LDAP server that takes any password.
func directory(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n, err := c.Read(make([]byte, 1000)); err == nil && n > 0 {
				// BindResponse, success, to the first message of the connection (RFC 4511, section 4.2.2).
				_, _ = c.Write([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"))
				_, _ = c.Read(make([]byte, 1000))
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr()
}

// Nobody tells the pooler that somebody has left the company whom an LDAP server has known.
func TestASessionThatLDAPHasLetInEndsTheSameDay(t *testing.T) {
	host, port, err := net.SplitHostPort(directory(t).String())
	if err != nil {
		t.Fatal(err)
	}
	now := newClock()
	prepare := func(o *Options) { o.Dashboard.Snapshots.Now = now.now }
	byLDAP := fmt.Sprintf("auth_type = 'ldap'\nauth_ldap_options = 'ldapserver=%s ldapport=%s ldapprefix=x'\nadmin_users = ['root']\n", host, port)
	for text, life := range map[string]time.Duration{byLDAP: ldapLife, withTrust: sessionLife} {
		s := openSite(t, text, prepare)
		session := s.login("root", secret)
		for begin := now.now(); now.now().Before(begin.Add(life)); now.advance(time.Hour) {
			if got := s.send("/api/me", "", session); got.status != http.StatusOK {
				t.Fatalf("after %s: %d %s", now.now().Sub(begin), got.status, got.body)
			}
		}
		now.advance(time.Second)
		if got := s.send("/api/me", "", session); got.status != http.StatusUnauthorized {
			t.Errorf("after %s: %d %s", life, got.status, got.body)
		}
	}
}

// A cookie is worth something only where its login was: the same address, or the same IPv6 network.
func TestASessionStaysWhereItBegan(t *testing.T) {
	s, now, pass := newSessions(), time.Now(), &frontend.Pass{User: "anna"}
	for from, others := range map[string]map[string]bool{
		"192.0.2.1":     {"192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": false},
		"2001:db8::1:1": {"2001:db8::2:2": true, "2001:db8:0:1::1": false},
	} {
		token := s.add(pass, netip.MustParseAddr(from), now)
		for other, want := range others {
			if got := s.find(token, netip.MustParseAddr(other), now) == pass; got != want {
				t.Errorf("begun at %s, used from %s: %t", from, other, got)
			}
		}
		s.drop(token, netip.MustParseAddr(from))
		if s.find(token, netip.MustParseAddr(from), now) != nil {
			t.Error("it has not ended")
		}
	}
}

// An error of a view or a command is the console's own; that nobody can say whether a password is right is no fault of who
// asks.
func TestStatusOfASystemError(t *testing.T) {
	for status, err := range map[int]error{
		http.StatusBadRequest:         &console.Error{Code: "58000", Message: "nothing is known"},
		http.StatusServiceUnavailable: &frontend.Refusal{Code: "58000", Message: "authentication could not be checked"},
	} {
		if got := toFault(err).status; got != status {
			t.Errorf("%v: %d, want %d", err, got, status)
		}
	}
}
