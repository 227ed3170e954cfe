package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pooler/frontend"
)

func TestWithoutPasswordsOnlyOwnHostNamesAreServed(t *testing.T) {
	s := openSite(t, withTrust)
	for name, want := range map[string]int{
		"localhost": 401, "localhost:8080": 401, "LOCALHOST.:1": 401, "a.localhost": 401, "127.0.0.1": 401, "127.0.0.9:80": 401, "[::1]:80": 401,
		"evil.example": 403, "evil.example:80": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "127.0.0.1.nip.io": 403,
	} {
		if got := s.send("/api/me", "", host(name)); got.status != want {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, want)
		}
		if got := s.send("/", "", host(name)); (got.status == http.StatusOK) != (want == 401) {
			t.Errorf("%s: the page: %d", name, got.status)
		}
		if got := s.send("/healthz", "", host(name)); got.status != http.StatusOK {
			t.Errorf("%s: health: %d", name, got.status)
		}
	}
	for name, want := range map[string]int{
		"localhost:9": 200, "127.0.0.1:9": 200, "10.0.0.1": 200, "[2001:db8::1]:80": 200, "evil.example": 403, "127.0.0.1.nip.io:80": 403,
	} {
		if got := s.send("/metrics", "", host(name)); got.status != want {
			t.Errorf("%s: metrics: %d %s, want %d", name, got.status, got.body, want)
		}
	}
	s.reload(withSCRAM)
	if got := s.send("/api/me", "", host("pooler.example")); got.status != http.StatusUnauthorized {
		t.Errorf("with passwords: %d", got.status)
	}
	if got := s.send("/metrics", "", host("pooler.example")); got.status != http.StatusOK {
		t.Errorf("metrics with passwords: %d", got.status)
	}
	if !isOwnHost("pooler.lan", "pooler.lan", netip.Addr{}) || !isOwnHost("10.0.0.5", "0.0.0.0", netip.MustParseAddr("10.0.0.5")) || isOwnHost("", "", netip.Addr{}) {
		t.Error("the host of http_listen, or the address at which a request has come in, is not served")
	}
}

// A line of trust lets in as auth_type = "trust" does. The browser of somebody on this machine reaches the dashboard from
// 127.0.0.1, whatever page has made it do so.
func TestWhereALineTrustsOnlyOwnHostNamesAreServed(t *testing.T) {
	lines := filepath.Join(t.TempDir(), "hba")
	byLines := func(text string) string {
		if err := os.WriteFile(lines, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nadmin_users = ['root']\n", lines)
	}
	s := openSite(t, byLines("host all all 10.0.0.0/8 reject\nhost all all 127.0.0.1/32 trust\n"))
	const login = `{"user":"root","password":""}`
	if got := s.send("/api/login", login, host("evil.example")); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a name of somebody else's: %d %s", got.status, got.body)
	}
	if got := s.send("/metrics", "", host("evil.example")); got.status != http.StatusForbidden {
		t.Errorf("metrics: %d", got.status)
	}
	if got := s.send("/api/login", login, host("localhost")); got.status != http.StatusOK {
		t.Errorf("localhost: %d %s", got.status, got.body)
	}
	if got := s.send("/metrics", "", host("10.0.0.1")); got.status != http.StatusOK {
		t.Errorf("metrics by address: %d", got.status)
	}
	s.reload(byLines("local all all trust\nhost all all all scram-sha-256\n")) // nobody comes here by the Unix socket
	for path, want := range map[string]int{"/api/me": http.StatusUnauthorized, "/metrics": http.StatusOK} {
		if got := s.send(path, "", host("pooler.example")); got.status != want {
			t.Errorf("with passwords, %s: %d %s", path, got.status, got.body)
		}
	}
}

func TestOtherSitesCannotPost(t *testing.T) {
	s := openSite(t, withTrust)
	session := s.login("root", "")
	none := func(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }
	for _, c := range []struct {
		name   string
		with   func(*http.Request)
		status int
	}{
		{"as the page does", header("Origin", s.url), 200},
		{"a program, without an origin", none("Origin"), 200},
		{"with a charset", header("Content-Type", "application/json; charset=utf-8"), 200},
		{"without the header", none("X-Pooler"), 403},
		{"another value of the header", header("X-Pooler", "0"), 403},
		{"a form", header("Content-Type", "application/x-www-form-urlencoded"), 415},
		{"text", header("Content-Type", "text/plain"), 415},
		{"no content type", none("Content-Type"), 415},
		{"another site", header("Origin", "http://evil.example"), 403},
		{"another port", header("Origin", "http://127.0.0.1:1"), 403},
		{"a sandbox", header("Origin", "null"), 403},
		{"rubbish", header("Origin", "http://%zz"), 403},
	} {
		for _, path := range []string{"/api/do", "/api/login", "/api/logout"} {
			body := map[string]string{"/api/do": `{"command":"SHOW VERSION"}`, "/api/login": `{"user":"root"}`, "/api/logout": "{}"}[path]
			if got := s.send(path, body, func(r *http.Request) { session(r); c.with(r) }); got.status != c.status {
				t.Errorf("%s, %s: %d %s, want %d", c.name, path, got.status, got.body, c.status)
			}
			if path == "/api/logout" {
				session = s.login("root", "")
			}
		}
	}
	for _, method := range []string{http.MethodOptions, http.MethodPut, http.MethodDelete} {
		got := s.send("/api/do", "", session, func(r *http.Request) { r.Method = method })
		if got.status == http.StatusOK || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", method, got.status, got.header)
		}
	}
}

func TestSameHost(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"http://a", "a", true},
		{"http://a", "a:80", true},
		{"http://A:80", "a", true},
		{"https://a", "a:443", true},
		{"https://a", "a:80", false},
		{"http://[::1]:8080", "[::1]:8080", true},
		{"http://a:8080", "a", false},
		{"ftp://a", "a", false},
		{"", "", false},
	} {
		if got := sameHost(c.origin, c.host); got != c.want {
			t.Errorf("%s at %s: %v", c.origin, c.host, got)
		}
	}
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	s := openSite(t, withTrust)
	for _, path := range []string{"/", "/index.html", "/nothing", "/api/me", "/api/nothing"} {
		got := s.send(path, "")
		for name, want := range securityHeaders {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
			}
		}
	}
}

// slowDoor lets nobody in before it is told.
type slowDoor struct{ come, open chan struct{} }

func (d *slowDoor) Trusts() bool { return true }

func (d *slowDoor) VerifyPassword(context.Context, frontend.Visitor, string) (*frontend.Pass, error) {
	d.come <- struct{}{}
	<-d.open
	return nil, frontend.ErrWrongPassword
}

func TestRequestsAtTheSameTimeAreBounded(t *testing.T) {
	d := &slowDoor{make(chan struct{}), make(chan struct{})}
	var now *clock
	s := openSite(t, withTrust, func(o *Options) {
		o.Dashboard.Door = d
		now = newClock()
		o.Dashboard.Snapshots.Now = func() time.Time { now.advance(failuresWithin); return now.now() } // so that nobody is put off
	})
	statuses := make(chan int, maxRequests)
	for range maxRequests {
		go func() { statuses <- s.send("/api/login", `{"user":"root"}`).status }() // awaited below
	}
	for range maxRequests {
		<-d.come
	}
	if got := s.send("/api/me", ""); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" {
		t.Errorf("one more: %d %s", got.status, got.body)
	}
	if got := s.send("/healthz", ""); got.status != http.StatusOK {
		t.Errorf("health: %d", got.status)
	}
	close(d.open)
	for range maxRequests {
		if status := <-statuses; status != http.StatusUnauthorized {
			t.Errorf("status %d", status)
		}
	}
}

func TestLongRequestsAreRefused(t *testing.T) {
	s := openSite(t, withTrust)
	if got := s.send("/api/login", fmt.Sprintf(`{"user":"root","password":"%s"}`, strings.Repeat("x", maxBody))); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body: %d", got.status)
	}
	if got := s.send("/api/me", "", header("Cookie", strings.Repeat("x", 2*maxHeader))); got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("long headers: %d", got.status)
	}
}

// door is a bounded listener and what has been accepted.
type door struct {
	t *testing.T
	*boundedListener
	log      logBuffer
	accepted chan net.Conn
}

func openDoor(t *testing.T, most, ofAddress int) *door {
	t.Helper()
	d := &door{t: t, accepted: make(chan net.Conn)}
	l, err := listen("127.0.0.1:0", slog.New(slog.NewTextHandler(&d.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	l.most, l.ofAddress = most, ofAddress
	d.boundedListener = l
	ended := make(chan struct{})
	go func() { // awaited by the cleanup
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.accepted <- c
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return d
}

// dial connects from an address.
func (d *door) dial(from string) net.Conn {
	d.t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(d.t.Context(), "tcp", d.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// enter connects and is accepted. What it is busy with does not end.
func (d *door) enter(from string, busy bool) (client, server net.Conn) {
	d.t.Helper()
	client, server = d.dial(from), <-d.accepted
	if busy {
		d.note(server, http.StateActive)
	}
	return client, server
}

// wantClosed waits until a client is told that its connection is closed.
func (d *door) wantClosed(c net.Conn) {
	d.t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		d.t.Errorf("read %d bytes", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	d := openDoor(t, 2, 2)
	_, first := d.enter("127.0.0.1", true)
	_, second := d.enter("127.0.0.1", true)
	d.wantClosed(d.dial("127.0.0.2"))
	_, _ = first.Close(), first.Close() // counts once
	_, third := d.enter("127.0.0.1", true)
	d.wantClosed(d.dial("127.0.0.2"))
	_, _ = second.Close(), third.Close()
	if len(d.open) != 0 {
		t.Errorf("%d are counted in the end", len(d.open))
	}
	if n := strings.Count(d.log.String(), `msg="http connections are at their limit" remote=127.0.0.2`); n != 1 {
		t.Errorf("logged %d times: %s", n, d.log.String())
	}
}

func TestWhoHasBeenIdleLongestMakesRoom(t *testing.T) {
	d := openDoor(t, 3, 2)
	busy, _ := d.enter("127.0.0.1", true)
	old, oldServer := d.enter("127.0.0.1", false)
	other, _ := d.enter("127.0.0.2", false)
	young, _ := d.enter("127.0.0.1", false) // the address has two
	d.wantClosed(old)
	_ = oldServer.Close()             // as the server does then
	_, _ = d.enter("127.0.0.3", true) // all are three: other has been idle longer than young
	d.wantClosed(other)
	_, server := d.enter("127.0.0.3", false)
	d.wantClosed(young)
	d.note(server, http.StateActive)
	d.wantClosed(d.dial("127.0.0.4"))
	d.note(server, http.StateIdle)
	d.enter("127.0.0.4", true)
	if err := busy.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who was busy: %v", err)
	}
	if len(d.open) != 3 {
		t.Errorf("%d are open", len(d.open))
	}
}

func TestIdleConnectionsDoNotShutOthersOut(t *testing.T) {
	s := openSite(t, withTrust)
	begin := func(request, want string) (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", s.web.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Fatalf("%q, %v", line, err)
		}
		return c, r
	}
	busy, answers := begin(slowLogin, "100 Continue")
	for range maxOfAddress + 1 {
		begin("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "200 OK")
	}
	if got := s.send("/healthz", ""); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if _, err := fmt.Fprintf(busy, "%-100s", `{"user":"root"}`); err != nil {
		t.Fatal(err)
	}
	_, _ = answers.ReadString('\n') // the rest of the first answer
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "200 OK") {
		t.Errorf("who was busy: %q, %v", line, err)
	}
}

// slowLogin is a request whose body is to come.
const slowLogin = "POST /api/login HTTP/1.1\r\nHost: localhost\r\nX-Pooler: 1\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"

func TestASlowBodyTakesNobodysPlace(t *testing.T) {
	s := openSite(t, withTrust)
	for range maxRequests + 1 {
		c, err := net.Dial("tcp", s.web.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write([]byte(slowLogin)); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // the body is being read
			t.Fatalf("%q, %v", line, err)
		}
	}
	if got := s.send("/api/me", "", basic("looker", "")); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestAnAnswerThatPanicsIsNotTakenForAWholeOne(t *testing.T) {
	for _, sent := range []bool{true, false} {
		log := &logBuffer{}
		site := httptest.NewServer(contained(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			if sent {
				_, _ = w.Write([]byte("half of it"))
			}
			panic("oops")
		}), slog.New(slog.NewTextHandler(log, nil))))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := ""
		resp, err := site.Client().Do(r)
		if err == nil {
			var all []byte
			all, err = io.ReadAll(resp.Body)
			_, body = resp.Body.Close(), string(all)
		}
		if sent && err == nil || !sent && (err != nil || resp.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "internal error")) {
			t.Errorf("sent %v: %v, %q", sent, err, body)
		}
		if !strings.Contains(log.String(), "oops") {
			t.Error("not logged")
		}
		site.Close()
	}
}
