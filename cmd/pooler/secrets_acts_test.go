package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

type change func(*pgconn.Config)

func inClear(c *pgconn.Config) { c.TLSConfig = nil }

func showing(cfg *tls.Config) change { return func(c *pgconn.Config) { c.TLSConfig = cfg } }

func withToken(token string) change {
	return func(c *pgconn.Config) {
		c.OAuthTokenProvider = func(context.Context) (string, error) { return token, nil }
	}
}

func withProtocol(version string) change {
	return func(c *pgconn.Config) { c.MaxProtocolVersion = version }
}

// enter logs in, with TLS unless it is changed. What it is told is kept.
func (k *teller) enter(user, password string, more ...change) (*pgconn.PgConn, error) {
	k.t.Helper()
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable application_name=teller", k.port, user))
	if err != nil {
		k.t.Fatal(err)
	}
	cfg.Password, cfg.TLSConfig = password, k.papers.ClientConfig(nil)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { k.hear("notices", fmt.Sprintf("%+v", *n)) }
	for _, one := range more {
		one(cfg)
	}
	c, err := pgconn.ConnectConfig(k.t.Context(), cfg)
	k.hearError(err)
	if err == nil {
		k.t.Cleanup(func() { _ = c.Close(context.Background()) })
		secret := c.SecretKey()
		if len(secret) == 4 {
			k.vault.number("a short cancel key", secret)
		} else {
			k.vault.keep("a long cancel key", string(secret))
		}
	}
	return c, err
}

func (k *teller) hearError(err error) {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		k.hear("errors", fmt.Sprintf("%+v", *told))
	} else if err != nil {
		k.hear("errors", err)
	}
}

// ask runs statements. What comes back is kept.
func (k *teller) ask(c *pgconn.PgConn, where, sql string) error {
	results, err := c.Exec(k.t.Context(), sql).ReadAll()
	k.hearError(err)
	for _, r := range results {
		for _, row := range r.Rows {
			k.hear(where, string(bytes.Join(row, []byte("|"))))
		}
	}
	return err
}

// logins are by each method right and wrong.
func (k *teller) logins() {
	k.t.Helper()
	later := time.Now().Add(time.Hour)
	token := func(name, subject string, until time.Time) string {
		text := k.tokens(subject, until)
		parts := strings.Split(text, ".")
		k.vault.keep("claims of the token "+name, parts[1])
		k.vault.keep("signature of the token "+name, parts[2])
		return text
	}
	mine := showing(k.papers.ClientConfig(k.papers.Client("certified")))
	socket := func(c *pgconn.Config) { c.Host, c.TLSConfig = k.dir, nil }
	for _, right := range []struct {
		user string
		how  change
	}{
		{"filed", nil},
		{"filed", inClear},
		{"verified", nil},
		{"hashed", nil},
		{"asked", withProtocol("3.2")},
		{"sender", nil},
		{"ldapper", nil},
		{"searched", nil},
		{"oauther", withToken(token("that is right", "oauther", later))},
		{"certified", mine},
		{"peered", socket},
	} {
		c, err := k.enter(right.user, k.secret[right.user], slices.DeleteFunc([]change{right.how}, func(c change) bool { return c == nil })...)
		if err == nil {
			err = k.ask(c, "rows", "SELECT 'in', current_user")
		}
		if err != nil {
			k.t.Errorf("%s does not get in: %v", right.user, err)
		}
	}
	for _, wrong := range []struct {
		user string
		how  []change
	}{
		{"filed", nil},
		{"filed", []change{inClear}},
		{"verified", []change{inClear}},
		{"verified", []change{withProtocol("3.2")}},
		{"hashed", nil},
		{"asked", nil},
		{"sender", nil},
		{"ldapper", nil},
		{"searched", nil},
		{"lost", nil},
		{"baffled", nil},
		{"nobody", nil},
		{"rejected", nil},
		{"certified", nil},
		{"certified", []change{showing(k.papers.ClientConfig(k.papers.Client("somebody")))}},
		{"certified", []change{showing(k.papers.ClientConfig(k.papers.UntrustedClient("certified")))}},
		{"filed", []change{socket}},
		{"admin", []change{func(c *pgconn.Config) { c.Database = "pooler" }}},
		{"trusty", nil}, // whose password at the server is wrong
	} {
		c, err := k.enter(wrong.user, k.vault.password("wrong guess of "+wrong.user), wrong.how...)
		if err == nil {
			err = k.ask(c, "rows", "SELECT 'in'")
		}
		if err == nil {
			k.t.Errorf("%s gets in", wrong.user)
		}
	}
	for _, wrong := range []string{
		token("of another", "nobody", later), token("that has expired", "oauther", later.Add(-2*time.Hour)), k.vault.password("a token of nothing"),
		"e30." + k.vault.password("the claims of a token that is none") + ".x", token("that was changed", "oauther", later) + "x",
	} {
		k.bear("oauther", wrong)
	}
	for _, database := range []string{"closed", "blind"} {
		user := map[string]string{"closed": "filed", "blind": "asked"}[database]
		c, err := k.enter(user, k.secret[user], func(c *pgconn.Config) { c.Database = database })
		if err == nil {
			err = k.ask(c, "rows", "SELECT 'in'")
		}
		if err == nil {
			k.t.Errorf("database %s serves %s", database, user)
		}
	}
}

// bear logs in with a token that is wrong, to the end, which pgx does not await.
func (k *teller) bear(user, token string) {
	k.t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", k.port))
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	front := pgproto3.NewFrontend(nc, nc)
	for _, message := range []pgproto3.FrontendMessage{
		&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": "postgres"}},
		&pgproto3.SASLInitialResponse{AuthMechanism: "OAUTHBEARER", Data: []byte("n,,\x01auth=Bearer " + token + "\x01\x01")},
		&pgproto3.SASLResponse{Data: []byte("\x01")},
	} {
		front.Send(message)
		if err := front.Flush(); err != nil {
			k.t.Fatal(err)
		}
		answer, err := front.Receive()
		if err != nil {
			k.t.Fatal(err)
		}
		k.hear("answers to tokens", fmt.Sprintf("%+v", answer))
	}
	if !strings.Contains(k.told["answers to tokens"].String(), `OAuth bearer authentication failed for user "oauther"`) {
		k.t.Error("a wrong token is not refused")
	}
}

// handshakes that fail, and things that are no handshake.
func (k *teller) handshakes() {
	k.t.Helper()
	for _, cfg := range []*tls.Config{
		{ServerName: "localhost", MinVersion: tls.VersionTLS12},                                                            // trusts nobody
		{ServerName: "localhost", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, RootCAs: k.papers.CA.Pool()}, //nolint:gosec // to be refused
	} {
		if _, err := k.enter("filed", k.secret["filed"], showing(cfg)); err == nil {
			k.t.Errorf("gets in with %+v", cfg)
		}
	}
	for _, text := range []string{"\x16\x03\x01\x00\x05hello", "\x00\x00\x00\x08\x04\xd2\x16\x2f\x16\x03\x01\x00\x05hello", "\x00\x00\x00\x09\x00\x03\x00\x00x", "p\x00\x00\x00\x20" + k.secret["filed"]} {
		k.sends([]byte(text))
	}
}

// sends sends bytes on a connection of their own, and hears what comes back.
func (k *teller) sends(b []byte) {
	k.t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", k.port))
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_, _ = nc.Write(b)
	_ = nc.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(nc) // ends with a reset, maybe
	k.hear("answers to nonsense", string(answer))
}

// statements have literals, which are shown to those who look only if show_literals says so.
func (k *teller) statements() {
	k.t.Helper()
	c, err := k.enter("filed", k.secret["filed"])
	if err != nil {
		k.t.Fatal(err)
	}
	lit := func(name string) string { return k.said.password(name) }
	for _, sql := range []string{
		"SELECT length('" + lit("a string") + "')", "SELECT length($x$" + lit("a dollar-quoted string") + "$x$)",
		"ALTER ROLE victim PASSWORD '" + lit("a new password") + "'", "SELECT '" + lit("a string without end"),
		"SELECT 1/(length(E'" + lit("an escape string") + "')-26)", "DO $$ BEGIN PERFORM '" + lit("a string in code") + "'; END $$",
		"SET application_name = 'teller'; SET my.secret = '" + lit("a setting") + "'; SELECT 2", "RESET ALL",
	} {
		_ = k.ask(c, "rows", sql) // some fail
	}
	r := c.ExecParams(k.t.Context(), "SELECT length($1), 1/0", [][]byte{[]byte(lit("a parameter"))}, nil, nil, nil).Read()
	k.hearError(r.Err)
	if len(r.Rows) != 0 {
		k.t.Error("a statement that fails does not")
	}
}

// running is a statement that runs until it is canceled, which ends it. Who does not know its key cannot.
func (k *teller) running() (cancel func()) {
	k.t.Helper()
	c, err := k.enter("asked", k.secret["asked"], withProtocol("3.2"))
	if err != nil {
		k.t.Fatal(err)
	}
	done := make(chan error, 1)
	sql := "SELECT pg_sleep(600), '" + k.said.password("a running string") + "'"
	go func() {
		_, err := c.Exec(context.Background(), sql).ReadAll()
		done <- err
	}()
	until(k.t, "it runs", func() bool {
		rows, err := k.pg.Exec(k.t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'asked' AND wait_event = 'PgSleep'")
		return err == nil && rows[0][0] == "1"
	})
	request := func(key []byte) {
		k.t.Helper()
		b, err := (&pgproto3.CancelRequest{ProcessID: c.PID(), SecretKey: key}).Encode(nil)
		if err != nil {
			k.t.Fatal(err)
		}
		k.sends(b)
	}
	wrong := bytes.Clone(c.SecretKey())
	wrong[len(wrong)-1]++
	request(wrong)
	request(wrong[:4])
	return func() {
		k.t.Helper()
		request(c.SecretKey())
		k.hearError(<-done)
	}
}

// browser asks over HTTPS.
func (k *teller) browser() *http.Client {
	jar, _ := cookiejar.New(nil) // cannot fail
	c := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: k.papers.ClientConfig(nil)}, Timeout: time.Minute}
	k.t.Cleanup(c.CloseIdleConnections)
	return c
}

// request returns the status. The answer is kept, but for the cookie, which must be in it.
func (k *teller) request(c *http.Client, method, path, body string, more ...func(*http.Request)) int {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), method, k.web+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("X-Pooler", "1")
		r.Header.Set("Content-Type", "application/json")
	}
	for _, one := range more {
		one(r)
	}
	answer, err := c.Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, cookie := range answer.Cookies() {
		if cookie.Value != "" {
			k.vault.keep("a cookie", cookie.Value)
		}
	}
	answer.Header.Del("Set-Cookie")
	k.hear(method+" "+path, answer.Status, answer.Header, string(text))
	return answer.StatusCode
}

// dashboard logs in right and wrong, and looks at everything.
func (k *teller) dashboard(views []string) {
	k.t.Helper()
	c := k.browser()
	form := func(password string) string { return fmt.Sprintf(`{"user":"admin","password":"%s"}`, password) }
	guess := func() string { return k.vault.password("wrong guess at the dashboard") }
	basic := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("admin", password) }
	}
	expect := func(want, got int) {
		k.t.Helper()
		if got != want {
			k.t.Errorf("the dashboard answers %d, want %d", got, want)
		}
	}
	expect(401, k.request(c, "POST", "/api/login", form(guess())))
	expect(400, k.request(c, "POST", "/api/login", form(guess())[:40]))
	expect(400, k.request(c, "POST", "/api/login", `{"pass":"`+guess()+`"}`))
	expect(401, k.request(c, "GET", "/api/me", "", basic(guess())))
	expect(200, k.request(c, "GET", "/api/me", "", basic(k.secret["admin"])))
	expect(401, k.request(c, "GET", "/api/me", "", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "pooler", Value: guess()}) }))
	expect(200, k.request(c, "POST", "/api/login", form(k.secret["admin"])))
	for _, view := range views {
		expect(200, k.request(c, "GET", "/api/show/"+view, ""))
	}
	now := time.Now().Unix()
	for _, path := range []string{
		"/", "/metrics", "/healthz", "/readyz", "/api/me", "/api/now",
		fmt.Sprintf("/api/series?kind=sources&from=%d&step=1&format=json", now-60), fmt.Sprintf("/api/series?kind=pools&from=%d&step=1&format=csv", now-60),
	} {
		expect(200, k.request(c, "GET", path, ""))
	}
	k.request(c, "GET", fmt.Sprintf("/api/compare?from=%d&to=%d&from2=%d&to2=%d", now-60, now-30, now-30, now), "") // whatever it says of so little
	k.request(c, "GET", "/api/series?kind="+guess()[:4], "")
	expect(200, k.request(c, "POST", "/api/do", `{"command":"SET users.spare.password = '`+k.vault.password("secret of an order at the dashboard")+`'"}`))
	expect(400, k.request(c, "POST", "/api/do", `{"command":"SET users.spare.passwort = '`+k.vault.password("secret of a wrong order at the dashboard")+`'"}`))
	expect(200, k.request(c, "POST", "/api/logout", "{}"))
}
