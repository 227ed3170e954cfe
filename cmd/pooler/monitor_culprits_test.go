package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

// A client that is forgotten is reported with where it came from, down to the line of its source; one that goes on
// working never is.
func TestALeakIsReportedWithItsOrigin(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "leak_idle = \"1s\"")
	worker := s.client(source{"127.0.0.2", "worker"})
	stop, pace := make(chan struct{}), make(chan time.Duration, 1)
	var working sync.WaitGroup
	working.Go(func() {
		beat := time.NewTicker(20 * time.Millisecond)
		defer beat.Stop()
		var longest time.Duration // that it was silent, which on a busy machine it cannot help
		for last := time.Now(); ; last = time.Now() {
			if _, err := worker.Exec(context.Background(), "SELECT 1").ReadAll(); err != nil {
				t.Error(err)
			}
			select {
			case <-beat.C:
				longest = max(longest, time.Since(last))
			case <-stop:
				pace <- longest
				return
			}
		}
	})
	leaked := s.client(source{"127.0.0.1", "leaker"})
	began := time.Now()
	mustExec(t, leaked, "/* file='a.py:42' */ SELECT 1")
	var reports []row
	wronged := 0
	until(t, "the leak is reported", func() bool {
		wronged += len(s.show("SHOW LEAKS WHERE application = 'worker'"))
		reports = s.getView("leaks", url.Values{"where": {"application = 'leaker' AND pid IS NOT NULL"}})
		return len(reports) > 0
	})
	took := time.Since(began)
	close(stop)
	working.Wait()
	if longest := <-pace; wronged > 0 && longest < 900*time.Millisecond {
		t.Errorf("the client that works, and was silent for %s at most, was reported", longest)
	}
	r := reports[0]
	local, _ := leaked.Conn().LocalAddr().(*net.TCPAddr)
	for column, want := range map[string]string{
		"kind": "idle", "addr": "127.0.0.1", "port": fmt.Sprint(local.Port), "pid": fmt.Sprint(os.Getpid()), "application": "leaker",
		"user": "postgres", "database": s.database, "tags": "file=a.py:42", "statements": "1", "id": fmt.Sprint(leaked.PID()),
	} {
		if r[column] != want {
			t.Errorf("%s is %q, want %q", column, r[column], want)
		}
	}
	for column, want := range map[string]string{"comment": "a.py:42", "first_statement": "select ?", "statement": "select ?", "command": "pooler.test", "why": "idle"} {
		if !strings.Contains(strings.ToLower(r[column]), want) {
			t.Errorf("%s is %q, want %q in it", column, r[column], want)
		}
	}
	if idle, connected := r.number(t, "idle_seconds"), r.number(t, "connected_seconds"); idle < 1 || idle > took.Seconds() || connected < idle {
		t.Errorf("after %s it is idle for %v s, connected for %v s", took, idle, connected)
	}
	if line := s.log.String(); !strings.Contains(line, "a client is suspected of a leak") || !strings.Contains(line, "a.py:42") {
		t.Error("the log does not tell of it")
	}
	told, seconds := s.samples(1)
	if n := told[slices.Max(seconds)][s.keyOf(source{"127.0.0.1", "leaker"})]["leaked"]; n != 1 {
		t.Errorf("history has %v leaks", n)
	}
	mustExec(t, leaked, "SELECT 2")
	until(t, "that leak is over", func() bool { return len(s.show("SHOW LEAKS WHERE application = 'leaker' AND statements = 1")) == 0 })
	t.Logf("reported, with its process, after %s", took)
}

// The report's sample of a listener's log: how often who has connected is not how many are connected.
func TestConnectsAreNotConnections(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "")
	sample := map[string]int{"S73": 4, "WEBSERVICE": 2, "WEBS13": 2, "WEBS15": 2, "S72": 1}
	stay := map[string]int{"S73": 1, "WEBS13": 1}
	for application, n := range sample {
		for i := range n {
			c := s.client(source{"127.0.0.2", application})
			mustExec(t, c, "SELECT 1")
			if i >= stay[application] {
				disconnect(t, c)
			}
		}
	}
	s.refuse(source{"127.0.0.2", "S72"}, "3D000", toDatabase("nowhere"))

	got, closes := map[string]int{}, 0
	rates := s.getView("establishment_rates", url.Values{"where": {"side = 'client' AND addr = '127.0.0.2'"}})
	for _, r := range rates {
		if n := int(r.number(t, "connects")); n > 0 {
			got[r["application"]] += n
		}
		closes += int(r.number(t, "closes"))
		if refused := r.number(t, "refusals"); (refused == 1) != (r["database"] == "nowhere") || refused > 1 {
			t.Errorf("refusals: %v", r)
		}
	}
	if !reflect.DeepEqual(got, sample) || len(rates) != len(sample)+1 || closes != 9 {
		t.Errorf("connects are %v, want %v; %d rows, %d closes", got, sample, len(rates), closes)
	}
	first := rates[0]
	if perMinute := first.number(t, "connects_per_minute"); first["application"] != "S73" || perMinute <= 0 || perMinute > 4 {
		t.Errorf("the first row is %v", first)
	}
	if live := sum(t, s.show("SHOW SOURCES WHERE addr = '127.0.0.2'"), "connections"); live != 2 {
		t.Errorf("%v are connected", live)
	}
	told, seconds := s.samples(1)
	live := map[string]int{}
	for application := range sample {
		now := told[slices.Max(seconds)][s.keyOf(source{"127.0.0.2", application})]
		if now["connected"] > 0 {
			live[application] = int(now["connected"])
		}
		if n := told.total(s.keyOf(source{"127.0.0.2", application}), "connects"); int(n) != sample[application] {
			t.Errorf("history has %v connects of %s", n, application)
		}
	}
	if !reflect.DeepEqual(live, stay) {
		t.Errorf("history has connected %v, want %v", live, stay)
	}
}

// Eighty-two connections from one address, one or two each from others: who it is shows in the first row.
func TestTheCulpritIsInTheFirstRow(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "")
	all := 0
	crowd := func(address string, n int) {
		for range n {
			s.client(source{address, "cron"})
			all++
		}
	}
	for i := range 6 {
		crowd(fmt.Sprintf("127.0.0.%d", 3+i), 1+i%2)
	}
	crowd("127.0.0.2", 82)
	for how, ask := range map[string]func() []row{
		"console": func() []row { return s.show("SHOW CULPRITS") },
		"HTTP":    func() []row { return s.getView("culprits", nil) },
	} {
		began := time.Now()
		rows := ask()
		took := time.Since(began)
		r, share := rows[0], fmt.Sprintf("%.1f", 8200.0/float64(all))
		if r["addr"] != "127.0.0.2" || r["connections"] != "82" || r["idle"] != "82" || r["share_percent"] != share || r["application"] != "cron" || len(rows) != 7 {
			t.Errorf("%s: the first of %d rows is %v, want 82 from 127.0.0.2, %s %%", how, len(rows), r, share)
		}
		if took > 5*time.Second { // a second is the aim
			t.Errorf("%s: it took %s", how, took)
		}
		t.Logf("%s: %d of %d, %s %%, after %s", how, 82, all, r["share_percent"], took)
	}
}

// Two programs on one address are told apart, each with what it does.
func TestProgramsOfOneAddressAreToldApart(t *testing.T) {
	s := openScene(t, pgtest.Start(t), "")
	mustExec(t, s.client(source{"127.0.0.2", "Grafana"}), "SELECT 'secret' AS panel")
	mustExec(t, s.client(source{"127.0.0.2", "app"}), "SELECT 42 AS orders")
	want := map[string]string{"Grafana": "select ? as panel", "app": "select ? as orders"}
	for how, rows := range map[string][]row{
		"console": s.show("SHOW SOURCES WHERE addr = '127.0.0.2'"),
		"HTTP":    s.getView("sources", url.Values{"where": {"addr = '127.0.0.2'"}}),
	} {
		got := map[string]string{}
		for _, r := range rows {
			got[r["application"]] = strings.ToLower(r["last_statement"])
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", how, got, want)
		}
	}
}
