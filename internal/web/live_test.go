package web

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pooler/internal/pgtest"
)

// openLive is a site in front of a PostgreSQL.
func openLive(t *testing.T) (s *site, database string) {
	t.Helper()
	pg := pgtest.Start(t)
	database = pg.CreateDatabase(t)
	return openSite(t, fmt.Sprintf("%s[databases.\"*\"]\nhost = '127.0.0.1'\nport = %d\n", withTrust, pg.Port)), database
}

func (s *site) connect(database, application string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable&application_name=%s", s.addr, database, application))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (s *site) do(command string, with func(*http.Request)) reply {
	s.t.Helper()
	return s.send("/api/do", fmt.Sprintf(`{"command":%q}`, command), with)
}

func TestAClientIsKilledFromThePageByAdminsOnly(t *testing.T) {
	s, database := openLive(t)
	victim, other := s.connect(database, "victim"), s.connect(database, "other")
	shown := s.send("/api/show/clients?columns=id&where=application_name+%3D+%27victim%27", "", basic("looker", ""))
	rows, _ := shown.json(t)["rows"].([]any)
	if len(rows) != 1 {
		t.Fatalf("%d %s", shown.status, shown.body)
	}
	row, _ := rows[0].([]any)
	id := fmt.Sprintf("%.0f", row[0])

	stats, admin := s.login("looker", ""), s.login("root", "")
	got := s.do("KILL_CLIENT "+id, stats)
	if got.status != http.StatusForbidden || got.json(t)["sqlstate"] != "42501" {
		t.Errorf("by stats: %d %s", got.status, got.body)
	}
	if err := victim.Ping(t.Context()); err != nil {
		t.Fatalf("the client has ended: %v", err)
	}

	if got = s.do("KILL_CLIENT "+id, admin); got.status != http.StatusOK || got.body != `{"tag":"KILL_CLIENT","notices":[]}`+"\n" {
		t.Errorf("by admin: %d %s", got.status, got.body)
	}
	eventually(t, "the client's end", func() bool { return victim.Ping(t.Context()) != nil })
	if err := other.Ping(t.Context()); err != nil {
		t.Errorf("another has ended: %v", err)
	}
	const who = `root@127\.0\.0\.1:\d+ dashboard`
	for _, line := range []string{
		`msg="client ended by an administrator".* application_name=victim .*by="` + who + `"`,
		`msg="console command" user=root remote=127\.0\.0\.1:\d+ application_name=dashboard .*command="KILL_CLIENT ` + id + `" outcome=done`,
		`msg="console command" user=looker .*command="KILL_CLIENT ` + id + `" outcome=failed`,
	} {
		eventually(t, line, func() bool { return regexp.MustCompile(line).MatchString(s.log.String()) })
	}
	if got = s.do("KILL_CLIENT "+id, admin); got.status != http.StatusBadRequest || got.json(t)["hint"] == nil {
		t.Errorf("again: %d %s", got.status, got.body)
	}
}

func TestACommandWithRowsAndOneThatWaits(t *testing.T) {
	s, database := openLive(t)
	client := s.connect(database, "busy")
	admin := s.login("root", "")
	got := s.do("KILL IDLE APPLICATION busy DRY RUN", admin)
	if rows, _ := got.json(t)["rows"].([]any); got.status != http.StatusOK || len(rows) != 1 || got.json(t)["columns"] == nil {
		t.Errorf("%d %s", got.status, got.body)
	}

	if _, err := client.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { // awaited below
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/do", strings.NewReader(`{"command":"PAUSE"}`))
		if err == nil {
			r.Header.Set("X-Pooler", "1")
			r.Header.Set("Content-Type", "application/json")
			admin(r)
			_, err = s.browser.Do(r)
		}
		gone <- err
	}()
	paused := func() bool {
		return strings.Contains(s.send("/api/show/state?where=key+%3D+%27paused%27", "", admin).body, `"yes"`)
	}
	eventually(t, "the pause", paused)
	if now := s.send("/api/now", "", admin); !strings.Contains(now.body, `"paused":true`) || !strings.Contains(now.body, `"idle_in_transaction":1,`) {
		t.Errorf("now: %s", now.body)
	}
	cancel()
	if err := <-gone; err == nil {
		t.Error("PAUSE did not wait")
	}
	eventually(t, "the end of the pause, when nobody waits for it", func() bool { return !paused() })
	if _, err := client.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if got = s.do("PAUSE", admin); got.status != http.StatusOK {
		t.Errorf("PAUSE: %d %s", got.status, got.body)
	}
	if got = s.do("RESUME", admin); got.status != http.StatusOK {
		t.Errorf("RESUME: %d %s", got.status, got.body)
	}
}
