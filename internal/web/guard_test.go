package web

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
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
	s.reload(withSCRAM)
	if got := s.send("/api/me", "", host("pooler.example")); got.status != http.StatusUnauthorized {
		t.Errorf("with passwords: %d", got.status)
	}
	if !isOwnHost("pooler.lan", "pooler.lan", netip.Addr{}) || !isOwnHost("10.0.0.5", "0.0.0.0", netip.MustParseAddr("10.0.0.5")) || isOwnHost("", "", netip.Addr{}) {
		t.Error("the host of http_listen, or the address at which a request has come in, is not served")
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

func (d *slowDoor) VerifyPassword(context.Context, string, string) (*frontend.Pass, error) {
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

func TestConnectionsAreBounded(t *testing.T) {
	bounded, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded.most = 2
	accepted := make(chan net.Conn)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := bounded.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	})
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", bounded.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial()
	first := <-accepted
	dial()
	second := <-accepted
	if n, err := dial().Read(make([]byte, 1)); err == nil { // closed at once
		t.Errorf("a third is served: %d", n)
	}
	_, _ = first.Close(), first.Close() // counts once
	dial()
	third := <-accepted
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Errorf("a third is served: %d", n)
	}
	_, _, _ = second.Close(), third.Close(), bounded.Close()
	done.Wait()
	if bounded.open.Load() != 0 {
		t.Errorf("%d are counted in the end", bounded.open.Load())
	}
}

func TestASlowBodyTakesNobodysPlace(t *testing.T) {
	s := openSite(t, withTrust)
	for range maxRequests + 1 {
		c, err := net.Dial("tcp", s.web.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		request := "POST /api/login HTTP/1.1\r\nHost: localhost\r\nX-Pooler: 1\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
		if _, err := c.Write([]byte(request)); err != nil {
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
