package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
)

// hostileName is the n-th of names that are all different, and as awkward as can be. One is no text.
func hostileName(n int) string {
	return fmt.Sprintf([]string{
		"<script>alert(%d)</script>", "line\nbreak %d", `quote ' " \ %d`, "=cmd|' /C calc'!A%d",
		"(others) %d", "\x1b[2J\t%d", "a%d" + strings.Repeat("é", 500), "not \xff\xfe UTF-8 %d",
	}[n%8], n)
}

// loginAs logs in as somebody with any name whatsoever, and goes.
func (s *scene) loginAs(name string) error {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	hello, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{
		"user": "postgres", "database": s.database, "application_name": name,
	}}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(hello); err != nil {
		return err
	}
	answers := pgproto3.NewFrontend(bufio.NewReader(c), c)
	for {
		switch m, err := answers.Receive(); m := m.(type) {
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("%q: %s: %s", name[:min(len(name), 30)], m.Code, m.Message)
		case *pgproto3.ReadyForQuery:
			answers.Send(&pgproto3.Terminate{})
			if err := answers.Flush(); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, c) // until the pooler has hung up
			return err
		default:
			if err != nil {
				return err
			}
		}
	}
}

// A client that calls itself by ever new names fills neither the memory nor anybody's screen, and none of its logins is
// forgotten.
func TestThousandsOfNamesAreBounded(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "log_connections = false\nlog_disconnections = false")
	s.fields = "connected,connects,disconnects,refused"
	if err := s.loginAs("first"); err != nil {
		t.Fatal(err)
	}
	measure := func() map[string]float64 {
		return scraped(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+s.web.Addr().String()+"/metrics")
	}
	before := measure()

	const names, callers = 3000, 8
	var all sync.WaitGroup
	began := time.Now()
	for caller := range callers {
		all.Go(func() {
			for n := caller; n < names; n += callers {
				if err := s.loginAs(hostileName(n)); err != nil {
					t.Errorf("login %d: %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d logins in %s", names, time.Since(began))
	s.samples(1)
	const connects = float64(names + 1)

	const sources, lines = 2 * 2000, 501
	if rows := s.show("SHOW SOURCES"); len(rows) > sources || sum(t, rows, "logins") != connects {
		t.Errorf("%d sources, with %v logins; want at most %d, with %v", len(rows), sum(t, rows, "logins"), sources, connects)
	}
	if rows := s.getView("sources", nil); len(rows) > sources {
		t.Errorf("the API lists %d sources", len(rows))
	}
	c := s.chart("sources", "1")
	told := s.seriesJSON("sources", "1")
	others := keyOf(slices.Repeat([]string{"(others)"}, 4)...)
	if len(c.Lines) > lines || told.total(others, "connects") == 0 {
		t.Errorf("the chart has %d lines, the others %v connects", len(c.Lines), told.total(others, "connects"))
	}
	for field, want := range map[string]float64{"connects": connects, "disconnects": connects, "refused": 0} {
		total := 0.0
		for _, n := range curve(told, field) {
			total += n
		}
		if total != want {
			t.Errorf("%s come to %v, want %v", field, total, want)
		}
	}
	for how, h := range map[string]history{"CSV": s.seriesCSV("sources"), "console": s.historyView()} {
		total := 0.0
		for second, of := range h {
			total += curve(history{second: of}, "connects")[0]
			if len(of) > lines {
				t.Errorf("%s: %d sources at once", how, len(of))
			}
		}
		if total != connects {
			t.Errorf("%s: connects come to %v, want %v", how, total, connects)
		}
	}
	for sample := range measure() {
		if _, known := before[sample]; !known && !strings.Contains(sample, "(others)") {
			t.Errorf("a metric that was not there before: %s", sample)
		}
	}
	if page := s.get("/"); !strings.Contains(page, "<html") {
		t.Errorf("the page is %.200s", page)
	}
	for _, path := range []string{"/api/now", "/api/show/culprits", "/api/show/establishment_rates", "/api/compare?a_from=1&a_to=2&b_from=3&b_to=4"} {
		if answer := s.get(path); len(answer) > 4<<20 || !json.Valid([]byte(answer)) {
			t.Errorf("%s: %d bytes, %.200s", path, len(answer), answer)
		}
	}
}
