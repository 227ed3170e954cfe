package frontend

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/journal"
)

// step is what the establishment log has of a client, as far as a test knows it.
type step struct {
	action                          journal.Action
	address, application, db, cause string
}

// steps counts what the establishment log has of clients.
func steps(j *journal.Journal) map[step]int {
	n := map[step]int{}
	for _, e := range j.Establishments() {
		if e.Side == journal.Client {
			n[step{e.Action, e.Address, e.Application, e.Database, e.Cause}]++
		}
	}
	return n
}

// B8: the log of who connected is apart from how many are connected. The sample: 11 connects and an error.
func TestB8EstablishmentsAreNotConnections(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t, "default_pool_size = 2")
	sample := []struct {
		program, host string
		times, stay   int
	}{{"S73", "127.0.0.11", 4, 1}, {"WEBSERVICE", "127.0.0.12", 2, 0}, {"WEBS13", "127.0.0.13", 2, 2}, {"WEBS15", "127.0.0.14", 2, 0}, {"S72", "127.0.0.15", 1, 0}}
	want := map[step]int{}
	live := map[string]int{}
	for _, s := range sample {
		for i := range s.times {
			c, a := loginFrom(t, p, s.host, db, "application_name", s.program)
			if c == nil {
				t.Fatalf("%+v", a)
			}
			c.ask("SELECT 1", "1")
			if i >= s.stay {
				c.send(&pgproto3.Terminate{})
			}
		}
		want[step{journal.Connect, s.host, s.program, db, "trust"}] = s.times
		if s.stay > 0 {
			live[s.program] = s.stay
		}
		if gone := s.times - s.stay; gone > 0 {
			want[step{journal.Close, s.host, s.program, db, "client_terminated"}] = gone
		}
	}
	bad := dialFrom(t, p, "127.0.0.15")
	_, _ = bad.nc.Write(lie(4, "abcd"))
	toTheEnd(t, bad.nc, patience)
	want[step{journal.Refuse, "127.0.0.15", "", "", "malformed"}] = 1
	got := func() map[step]int {
		n := steps(j)
		maps.DeleteFunc(n, func(s step, _ int) bool { return s.action == journal.Reuse })
		return n
	}
	eventually(t, patience, fmt.Sprintf("the log is %v", want), func() bool { return maps.Equal(got(), want) })
	now := map[string]int{}
	for _, s := range p.Front.Sources() {
		if s.Clients > 0 {
			now[s.Application] += s.Clients
		}
	}
	if !maps.Equal(now, live) || p.Front.Stat().Clients != 3 {
		t.Errorf("connected: %v, want %v", now, live)
	}
	reuses, seen := 0, map[uint64]int{}
	for _, e := range j.Establishments() {
		if e.Action == journal.Reuse {
			reuses++
			if seen[e.Client]++; seen[e.Client] > 1 || e.Server == 0 || e.Age <= 0 {
				t.Errorf("%+v", e)
			}
		}
		if e.Side == journal.Client && e.Action == journal.Close && (e.Age <= 0 || e.Client == 0 || e.Port == 0) {
			t.Errorf("%+v", e)
		}
	}
	if reuses < 11-2 || reuses > 10 { // at most two server sessions, so at most two had somebody else's first use
		t.Errorf("%d clients were lent a server session that others had used", reuses)
	}
}

// B9: what is no start-up packet is counted by where it comes from.
func TestB9MalformedStartUps(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t)
	for _, b := range [][]byte{lie(0, "abcd"), lie(0xffffffff, ""), lie(7, "abc"), []byte("GET / HTTP/1.1\r\n\r\n"), {0}} {
		c := dialFrom(t, p, "127.0.0.9")
		_, _ = c.nc.Write(b)
		if len(b) == 1 {
			_ = c.nc.Close() // in the middle of a packet
			continue
		}
		toTheEnd(t, c.nc, patience)
	}
	newRaw(t, p, db).ask("SELECT 'served'", "served")
	eventually(t, patience, "all five are counted", func() bool { return p.Front.Stat().Malformed == 5 })
	var refused uint64
	for _, s := range p.Front.Sources() {
		if s.Address == "127.0.0.9" {
			refused += s.Refused
		}
	}
	if refused != 5 || steps(j)[step{journal.Refuse, "127.0.0.9", "", "", "malformed"}] != 5 {
		t.Errorf("%d refused; %v", refused, steps(j))
	}
	st := p.Front.Stat()
	if st.LoginsBy[LoginOutcome{"none", "malformed"}] != 5 || st.LoginsBy[LoginOutcome{"trust", "ok"}] != 1 || st.Clients != 1 {
		t.Errorf("%+v", st)
	}
}

// Logins are counted by how they were proven and what came of them.
func TestLoginsAreCountedByMethodAndResult(t *testing.T) {
	t.Parallel()
	file := authFile(t)
	for _, user := range []string{"clear", "hashed", "scram"} {
		_, _ = postgres.Server(t).Exec(t.Context(), "postgres", "CREATE ROLE "+user+" LOGIN")
	}
	for _, tc := range []struct {
		method   string
		password string
		want     map[LoginOutcome]uint64 // of the users clear, hashed, scram and nobody
	}{
		{"password", rightPassword, map[LoginOutcome]uint64{{"password", "ok"}: 3, {"password", "wrong_password"}: 1}},
		{"md5", rightPassword, map[LoginOutcome]uint64{{"md5", "ok"}: 2, {"scram-sha-256", "ok"}: 1, {"scram-sha-256", "wrong_password"}: 1}},
		{"scram-sha-256", "wrong", map[LoginOutcome]uint64{{"scram-sha-256", "wrong_password"}: 4}},
	} {
		t.Run(tc.method, func(t *testing.T) {
			p, _, j := startJournaled(t, fmt.Sprintf("auth_type = %q\nauth_file = %q", tc.method, file))
			for _, user := range []string{"clear", "hashed", "scram", "nobody"} {
				_, _ = tryPGX(t, p.Addr, user, tc.password)
			}
			var got map[LoginOutcome]uint64
			counted := func() bool {
				got = p.Front.Stat().LoginsBy
				maps.DeleteFunc(got, func(_ LoginOutcome, n uint64) bool { return n == 0 })
				return maps.Equal(got, tc.want) && p.Front.Stat().Clients == 0
			}
			eventually(t, patience, fmt.Sprintf("%v are counted", tc.want), counted)
			log := map[LoginOutcome]uint64{}
			for s, n := range steps(j) {
				switch s.action {
				case journal.Connect:
					log[LoginOutcome{s.cause, "ok"}] += uint64(n)
				case journal.Refuse:
					log[LoginOutcome{s.cause, ""}] += uint64(n)
				case journal.Close, journal.Reuse:
				}
			}
			for o, n := range tc.want {
				if o.Result == "ok" && log[o] != n || o.Result == "wrong_password" && log[LoginOutcome{"28P01", ""}] != n {
					t.Errorf("the log has %v, want %v", log, tc.want)
				}
			}
		})
	}
}

// A login that PostgreSQL or a limit refuses is counted with what it asked for.
func TestRefusedLoginsAreCountedBySource(t *testing.T) {
	t.Parallel()
	p, db, j := startJournaled(t, `[databases.closed]`, `max_db_client_connections = 0`, `host = "127.0.0.1"`, `port = 1`)
	ok := newRaw(t, p, db, "application_name", "mixed", "pool_connection_class", "red")
	for range 2 {
		if a := dialAnswer(t, p, "no_such_database", "mixed"); a.Code != "3D000" {
			t.Fatalf("%+v", a)
		}
	}
	if a := dialAnswer(t, p, "closed", "mixed"); a.Code != "08001" {
		t.Fatalf("%+v", a)
	}
	ok.ask("SELECT 1", "1")
	refused := map[string]uint64{}
	for _, s := range p.Front.Sources() {
		refused[s.Database] += s.Refused
	}
	if refused["no_such_database"] != 2 || refused["closed"] != 1 || refused[db] != 0 {
		t.Errorf("%v", refused)
	}
	got := steps(j)
	if got[step{journal.Refuse, "127.0.0.1", "mixed", "no_such_database", "3D000"}] != 2 || got[step{journal.Refuse, "127.0.0.1", "mixed", "closed", "08001"}] != 1 {
		t.Errorf("%v", got)
	}
	st := p.Front.Stat()
	if st.LoginsBy[LoginOutcome{"trust", "no_such_database"}] != 2 || st.LoginsBy[LoginOutcome{"trust", "other"}] != 1 {
		t.Errorf("%v", st.LoginsBy)
	}
	var faults []string
	for _, e := range j.Events() {
		if e.Kind == journal.ServerRefused {
			faults = append(faults, e.Database+" "+e.Reason)
		}
	}
	if fmt.Sprint(faults) != "[no_such_database 3D000 closed connection_refused]" {
		t.Errorf("PostgreSQL's refusals: %v", faults)
	}
}

// A connection that is closed at once, because there are far too many, is in the log and counted by its address.
func TestWhoIsTurnedAwayIsCounted(t *testing.T) {
	t.Parallel()
	p, _, j := startJournaled(t, "max_client_conn = 1")
	for range unauthenticated + 6 {
		c := dialFrom(t, p, "127.0.0.6")
		_, _ = c.nc.Write([]byte{0}) // and no more
	}
	eventually(t, patience, "five are turned away", func() bool { return p.Front.Stat().TurnedAway == 5 })
	var refused uint64
	for _, s := range p.Front.Sources() {
		refused += s.Refused
	}
	if n := steps(j)[step{journal.Refuse, "127.0.0.6", "", "", "max_client_conn"}]; n != 5 || refused != 5 {
		t.Errorf("%d in the log, %d refused", n, refused)
	}
	var e journal.Event
	for _, e = range j.Events() {
		if e.Address != "" { // else it is the alarm
			break
		}
	}
	if e.Kind != journal.LimitReached || e.Reason != "max_client_conn" || e.Address != "127.0.0.6" || e.Count != 5 {
		t.Errorf("%+v", e)
	}
}

func dialAnswer(t *testing.T, p *testPooler, db, application string) answer {
	t.Helper()
	c := dialRaw(t, p.Addr)
	c.send(startupMessage(db, "application_name", application))
	return c.answer()
}

// Whatever names hostile clients choose, what is kept of them is bounded, those who are known keep their rows, and none
// of their refusals is lost.
func TestStrangersAreBounded(t *testing.T) {
	c := &crew{}
	known := member{source: netip.MustParseAddr("10.0.0.1"), application: "web"}
	c.ledger.join(known, 0)
	const names = 100_000
	count := func(list []SourceStat) (n uint64) {
		for _, s := range list {
			n += s.Refused
		}
		return n
	}
	var s strangers
	for i := range names {
		from := netip.AddrFrom4([4]byte{10, 1, byte(i % 20), 1})
		if i%2 == 0 {
			from = netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		}
		s.add(member{source: from, application: fmt.Sprint(i)}, time.Duration(i)*time.Microsecond)
	}
	list := s.appendTo(nil, time.Second)
	if len(list) > maxFrom+1 || count(list) != names {
		t.Errorf("%d sources, %d refused", len(list), count(list))
	}
	list = s.appendTo(nil, time.Second+keepGone)
	if len(list) != 1 || list[0].Address != others || count(list) != names {
		t.Errorf("later: %+v", list)
	}
}

// After a flood there is room for others again.
func TestStrangersAreForgotten(t *testing.T) {
	var s strangers
	for i := range 2 * maxFrom {
		s.add(member{source: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, 0)
	}
	late := member{source: netip.MustParseAddr("11.0.0.1"), application: "late"}
	s.add(late, keepGone)
	if one := s.sources[late]; one == nil || one.refused != 1 || len(s.sources) != 1 || s.forgotten != 2*maxFrom {
		t.Errorf("%d sources, %d forgotten, %+v", len(s.sources), s.forgotten, one)
	}
}

// What PostgreSQL does wrong is not the client's fault.
func TestFaultsOfPostgreSQLAreNotTheClients(t *testing.T) {
	for _, err := range []error{io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, fmt.Errorf("log in to PostgreSQL: %w", io.ErrUnexpectedEOF)} {
		if result, cause := resultOf(err); result != loginOther || cause == "malformed" || cause == "login_timeout" {
			t.Errorf("%v: %s, %s", err, result, cause)
		}
	}
}
