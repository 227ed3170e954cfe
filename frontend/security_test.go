package frontend

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"

	"pooler/backend"
	"pooler/internal/journal"
	"pooler/internal/loop"
	"pooler/internal/pgtest"
	"pooler/pool"
)

// awaitLimit waits until the journal says that a limit was reached by those at address.
func awaitLimit(t *testing.T, j *journal.Journal, limit, address string) {
	t.Helper()
	eventually(t, patience, limit+" in the journal", func() bool {
		return slices.ContainsFunc(j.Events(), func(e journal.Event) bool {
			return e.Kind == journal.LimitReached && e.Reason == limit && e.Address == address && e.Detail != ""
		})
	})
}

// logsIn tells whether the client gets in.
func (c *rawClient) logsIn() answer {
	c.send(startupMessage("postgres"))
	return c.answer()
}

// A flood of connections that do not log in, from one address, takes every place there is. Others get in all the same: the
// flood's oldest give way. Those that have logged in are not touched, and the limit holds.
func TestFloodFromOneAddressShutsOutNobodyElse(t *testing.T) {
	const most = 20
	p := startPooler(t, fmt.Sprintf("max_client_conn = %d\nloops = 2", most))
	logged := newRaw(t, p, "postgres")
	flood := func() *rawClient { // each has said something, so that the pooler hears of it at once
		c := dialFrom(t, p, "127.0.0.66")
		_, _ = c.nc.Write([]byte{0})
		return c
	}
	var all []*rawClient
	for range most + unauthenticated - 1 {
		all = append(all, flood())
	}
	eventually(t, patience, "it is full", func() bool { return p.Front.Stat().Clients == most+unauthenticated })
	flood() // which makes no room for its own, but where that has said nothing for a second
	eventually(t, patience, "one is turned away", func() bool { return p.Front.Stat().TurnedAway > 0 })
	var inside []*rawClient
	for n := range most - 1 {
		c := dialFrom(t, p, fmt.Sprintf("127.0.0.%d", 2+n%3))
		if a := c.logsIn(); a.Status != 'I' {
			t.Fatalf("client %d from elsewhere: %+v", n, a)
		}
		inside = append(inside, c)
		flood() // it does not stop
	}
	if a := dialFrom(t, p, "127.0.0.9").logsIn(); a.Code != "53300" || a.Message != "sorry, too many clients already" {
		t.Errorf("beyond the limit, of those who have logged in: %+v", a)
	}
	for n, c := range append(inside, logged) {
		if got := c.query("SELECT 'here'").only(); got != "here" {
			t.Errorf("client %d: %s", n, got)
		}
	}
	if a := all[0].answer(); a.Code != "53300" || a.Severity != "FATAL" {
		t.Errorf("the flood's first was told %+v", a)
	}
	if st := p.Front.Stat(); st.Clients > most+unauthenticated || st.TurnedAway < most {
		t.Errorf("%+v", st)
	}
}

// Who says nothing shuts out nobody behind the same address either, long before client_login_timeout.
func TestSilentNeighboursMakeRoom(t *testing.T) {
	const most = 5
	p := startPooler(t, fmt.Sprintf("max_client_conn = %d\nclient_login_timeout = \"5m\"", most))
	for range most + unauthenticated {
		_, _ = dialFrom(t, p, "127.0.0.66").nc.Write([]byte{0})
	}
	eventually(t, patience, "it is full", func() bool { return p.Front.Stat().Clients == most+unauthenticated })
	eventually(t, patience, "a neighbour gets in", func() bool { return dialFrom(t, p, "127.0.0.66").logsIn().Status == 'I' })
}

// Rubbish from one address gets a line of the log a second, however much there is; all of it is counted.
func TestRubbishDoesNotFillTheLog(t *testing.T) {
	p := startPooler(t, `log_level = "info"`)
	begun := time.Now()
	const times = 50
	for range times {
		c := dialFrom(t, p, "127.0.0.66")
		_, _ = c.nc.Write([]byte{0, 0, 0, 1, 0, 0, 0, 0})
		_, _ = io.Copy(io.Discard, c.nc)
	}
	seconds := 1 + int(time.Since(begun)/time.Second)
	if n := strings.Count(p.Log.String(), "client refused"); n == 0 || n > seconds {
		t.Errorf("%d lines in %d seconds", n, seconds)
	}
	if n := p.Front.Stat().Malformed; n != times {
		t.Errorf("%d are counted", n)
	}
}

// Who connects between Bind and Serve is answered after Serve, and heard by nobody before.
func TestNobodyIsHeardBeforeServe(t *testing.T) {
	l, err := loop.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := &testPooler{Log: &testLog{}, Loops: []*loop.Loop{l}}
	t.Cleanup(func() { p.stop(t) })
	log := slog.New(slog.NewTextHandler(p.Log, nil))
	p.Pools = pool.NewManager(backend.Dial, p.Loops, log)
	if p.Front, err = New(testConfig(t), p.Pools, p.Loops, log); err != nil {
		t.Fatal(err)
	}
	if err := p.Front.Bind(); err != nil {
		t.Fatal(err)
	}
	c := dialRaw(t, p.Front.Addresses()[0].String())
	c.send(startupMessage("postgres"))
	for range 3 {
		turn := make(chan struct{})
		l.Post(func() { close(turn) })
		<-turn
	}
	if n := p.Front.Stat().Accepted; n > 0 {
		t.Errorf("%d are accepted", n)
	}
	if err := p.Front.Serve(); err != nil {
		t.Fatal(err)
	}
	if a := c.answer(); a.Status != 'I' {
		t.Errorf("%+v", a)
	}
}

// A client that does not go when it has been told to is let go of after a moment, however slowly it goes on sending.
func TestTheLastMomentIsNotDrawnOut(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFd(fds[0])
	ended := make(chan struct{})
	go func() { lingerOn(loop.Socket{FD: fds[1]}); close(ended) }()
	drops := 0
	for drip := time.NewTicker(lingerFor / 5); ; drops++ {
		select {
		case <-ended:
			drip.Stop()
			if drops > 20 {
				t.Errorf("it took %d drops", drops)
			}
			return
		case <-drip.C:
			_ = unix.Send(fds[0], []byte{0}, unix.MSG_NOSIGNAL)
		}
	}
}

// max_source_logins bounds the connections of one address that have not logged in; who has logged in does not count, nor
// who comes from elsewhere or by the Unix socket.
func TestMaxSourceLogins(t *testing.T) {
	const limit = 5
	dir := t.TempDir()
	p, _, j := startJournaled(t, fmt.Sprintf("max_source_logins = %d\nunix_socket_dir = %q", limit, dir))
	for range 2 * limit {
		if a := dialFrom(t, p, "127.0.0.2").logsIn(); a.Status != 'I' {
			t.Fatalf("%+v", a)
		}
	}
	silent := func(c *rawClient) *rawClient {
		_, _ = c.nc.Write([]byte{0})
		return c
	}
	var all []*rawClient
	for range limit {
		all = append(all, silent(dialFrom(t, p, "127.0.0.2")))
	}
	eventually(t, patience, "they are counted", func() bool { return p.Front.Stat().Clients == 3*limit })
	if a := dialFrom(t, p, "127.0.0.2").logsIn(); a.Code != "53300" || a.Message != "too many connections from 127.0.0.2 that have not logged in" {
		t.Errorf("one more: %+v", a)
	}
	if a := dialFrom(t, p, "127.0.0.3").logsIn(); a.Status != 'I' {
		t.Errorf("from elsewhere: %+v", a)
	}
	for range limit + 1 {
		silent(dialRaw(t, filepath.Join(dir, ".s.PGSQL.0")))
	}
	if a := dialRaw(t, filepath.Join(dir, ".s.PGSQL.0")).logsIn(); a.Status != 'I' {
		t.Errorf("by the Unix socket: %+v", a)
	}
	_ = all[0].nc.Close()
	eventually(t, patience, "a place is free", func() bool { return dialFrom(t, p, "127.0.0.2").logsIn().Status == 'I' })
	if n := p.Front.Stat().RefusedByLimit["max_source_logins"]; n == 0 {
		t.Error("it is not counted")
	}
	awaitLimit(t, j, "max_source_logins", "127.0.0.2")
	if !strings.Contains(p.Log.String(), "limit=max_source_logins") {
		t.Error(p.Log.String())
	}
}

// Whoever guesses cancel keys is not looked at any more after a few wrong ones, even if the next is right; a right one from
// elsewhere cancels.
func TestGuessingOfCancelKeys(t *testing.T) {
	p, db, j := startJournaled(t, "default_pool_size = 1")
	newRaw(t, p, db).query("BEGIN")
	c, key := newCancellable(t, p, db)
	c.send(&pgproto3.Query{String: "SELECT 1"})
	eventually(t, patience, "it waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	try := func(from string, k keys) {
		g := dialFrom(t, p, from)
		g.send(&pgproto3.CancelRequest{ProcessID: k.id, SecretKey: k.secret})
		if b, err := io.ReadAll(g.nc); len(b) > 0 || err != nil {
			t.Errorf("a cancel request was answered %q, %v", b, err)
		}
	}
	for n := range guessBudget + 10 {
		try("127.0.0.66", keys{key.id, []byte{0, 0, byte(n >> 8), byte(n)}})
	}
	try("127.0.0.66", key)
	st := p.Front.Stat()
	if st.Cancels != 0 || st.CancelsIgnored < 5 || st.CancelsUnknown < guessBudget || st.CancelsUnknown+st.CancelsIgnored != guessBudget+11 {
		t.Errorf("%d carried out, %d wrong, %d ignored", st.Cancels, st.CancelsUnknown, st.CancelsIgnored)
	}
	if onlyPool(t, p).Waiting != 1 {
		t.Error("a cancel of one who guesses was carried out")
	}
	try("127.0.0.2", key)
	if a := c.answer(); a.Code != "57014" {
		t.Errorf("%+v", a)
	}
	awaitLimit(t, j, "cancel_guessing", "127.0.0.66")
	if n := strings.Count(p.Log.String(), "cancel requests are not looked at"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// Keys of 32 bytes cannot be guessed, so that neighbours who try shut out nobody who has one: neither by wrong keys of that
// size nor by those of 4 bytes.
func TestLongKeysAreLookedAtWhateverNeighboursDo(t *testing.T) {
	p, db, _ := startJournaled(t, "default_pool_size = 1")
	newRaw(t, p, db).query("BEGIN")
	c := dialRaw(t, p.Addr)
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion32, Parameters: map[string]string{"user": pgtest.Superuser, "database": db}})
	var key keys
	for key.secret == nil {
		if m, ok := c.receive().(*pgproto3.BackendKeyData); ok {
			key = keys{m.ProcessID, append([]byte(nil), m.SecretKey...)}
		}
	}
	c.answer()
	c.send(&pgproto3.Query{String: "SELECT 1"})
	eventually(t, patience, "it waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	for n := range guessBudget + 5 {
		cancel(t, p, keys{key.id, []byte{0, 0, 0, byte(n)}})
		cancel(t, p, keys{key.id, make([]byte, longSecret)})
	}
	if st := p.Front.Stat(); st.CancelsIgnored == 0 || st.CancelsUnknown < guessBudget+5 {
		t.Errorf("%d ignored, %d wrong", st.CancelsIgnored, st.CancelsUnknown)
	}
	cancel(t, p, key)
	if a := c.answer(); a.Code != "57014" {
		t.Errorf("%+v", a)
	}
}

// A key of 3.2 is as long as PostgreSQL 18's, differs from client to client, and is right as a whole only.
func TestCancelKeysOfProtocol32(t *testing.T) {
	p := startPooler(t)
	seen := map[string]bool{}
	for range 20 {
		c := dialRaw(t, p.Addr)
		_, _ = c.nc.Write(packet(3<<16|2, "user\x00"+pgtest.Superuser+"\x00database\x00postgres\x00\x00"))
		var key keys
		for done := false; !done; {
			switch m := c.receive().(type) {
			case *pgproto3.BackendKeyData:
				key = keys{m.ProcessID, append([]byte(nil), m.SecretKey...)}
			case *pgproto3.ReadyForQuery:
				done = true
			case nil:
				t.Fatal("no login")
			}
		}
		if len(key.secret) != longSecret || seen[string(key.secret)] {
			t.Fatalf("%x", key.secret)
		}
		seen[string(key.secret)] = true
		before := p.Front.Stat()
		cancel(t, p, key)
		if st := p.Front.Stat(); st.Cancels != before.Cancels+1 {
			t.Errorf("a right key: %+v", st)
		}
		if len(seen) > 4 {
			continue // not to use up the budget
		}
		changed := append([]byte(nil), key.secret...)
		changed[longSecret-1]++
		for _, wrong := range [][]byte{changed, key.secret[:shortSecret], append(key.secret, 0)} {
			before := p.Front.Stat()
			cancel(t, p, keys{key.id, wrong})
			if st := p.Front.Stat(); st.Cancels != before.Cancels || st.CancelsUnknown != before.CancelsUnknown+1 {
				t.Errorf("%d bytes of a wrong key: %+v", len(wrong), st)
			}
		}
	}
}

// Behind a proxy the client is where the header says, for limits, views, the journal and logs; without the header nobody
// gets in from there, and with one nobody from elsewhere.
func TestProxyProtocol(t *testing.T) {
	p, _, j := startJournaled(t, "proxy_protocol = [\"127.0.0.64/26\"]\nmax_source_client_connections = 2\nlog_level = \"info\"\nloops = 2")
	v2 := string(proxyV2(1, 0x11, addresses4))
	for name, header := range map[string]string{"version 1": proxiedV1, "version 2": v2} {
		t.Run(name, func(t *testing.T) {
			c := dialFrom(t, p, "127.0.0.66")
			_, _ = c.nc.Write(append([]byte(header), encode(startupMessage("postgres"))...))
			if a := c.answer(); a.Status != 'I' {
				t.Fatalf("%+v", a)
			}
			if all := p.Front.Clients(); len(all) != 1 || all[0].Remote.String() != proxiedAt {
				t.Errorf("%+v", all)
			}
			if !strings.Contains(p.Log.String(), "remote="+proxiedAt) {
				t.Error(p.Log.String())
			}
			c.send(&pgproto3.Terminate{})
			eventually(t, patience, "it has left", func() bool { return p.Front.Stat().Clients == 0 })
		})
	}
	t.Run("in pieces", func(t *testing.T) {
		c := dialFrom(t, p, "127.0.0.66")
		for _, b := range []byte(v2) {
			_, _ = c.nc.Write([]byte{b})
		}
		if a := c.logsIn(); a.Status != 'I' {
			t.Errorf("%+v", a)
		}
		other := dialFrom(t, p, "127.0.0.66")
		_, _ = other.nc.Write([]byte(proxiedV1))
		if a := other.logsIn(); a.Status != 'I' {
			t.Errorf("%+v", a)
		}
		third := dialFrom(t, p, "127.0.0.67")
		_, _ = third.nc.Write([]byte(proxiedV1))
		if a := third.logsIn(); a.Code != "53300" || a.Message != "too many clients from 192.0.2.7" {
			t.Errorf("a limit on the client's address: %+v", a)
		}
	})
	t.Run("the proxy's own", func(t *testing.T) {
		c := dialFrom(t, p, "127.0.0.66")
		_, _ = c.nc.Write(proxyV2(0, 0, ""))
		if a := c.logsIn(); a.Status != 'I' {
			t.Errorf("%+v", a)
		}
		if all := p.Front.Clients(); len(all) == 0 || all[len(all)-1].Remote.Addr().String() != "127.0.0.66" {
			t.Errorf("%+v", all)
		}
	})
	t.Run("without a header", func(t *testing.T) {
		if a := dialFrom(t, p, "127.0.0.66").logsIn(); a.Code != "08P01" || !strings.Contains(a.Message, "PROXY header") {
			t.Errorf("%+v", a)
		}
		if log := p.Log.String(); !strings.Contains(log, "remote=127.0.0.66:") || !strings.Contains(log, "Have the proxy send the header") {
			t.Error(log)
		}
	})
	t.Run("from elsewhere", func(t *testing.T) {
		c := dialFrom(t, p, "127.0.0.2")
		_, _ = c.nc.Write([]byte(proxiedV1))
		if a := c.logsIn(); a.Code != "08P01" || a.Message != "invalid length of startup packet" {
			t.Errorf("%+v", a)
		}
		eventually(t, patience, "the journal knows where it came from", func() bool {
			return slices.ContainsFunc(j.Establishments(), func(e journal.Establishment) bool {
				return e.Address == "127.0.0.2" && e.Cause == "malformed"
			})
		})
	})
	t.Run("a health check", func(t *testing.T) {
		before := p.Front.Stat()
		_ = dialFrom(t, p, "127.0.0.66").nc.Close()
		c := dialFrom(t, p, "127.0.0.66")
		_, _ = c.nc.Write(proxyV2(0, 0, ""))
		_ = c.nc.Close()
		eventually(t, patience, "they have left", func() bool { return p.Front.Stat().Accepted == before.Accepted+2 })
		if st := p.Front.Stat(); st.Malformed != before.Malformed {
			t.Errorf("%+v", st)
		}
	})
}

// Who comes through a proxy on the Unix socket is not the process at its other end: that owns the pooler here.
func TestProxyOnTheUnixSocketIsNotItsClient(t *testing.T) {
	dir := t.TempDir()
	startConsole(t, fmt.Sprintf("unix_socket_dir = %q\nproxy_protocol = [\"unix\"]", dir))
	for _, header := range []string{"PROXY UNKNOWN\r\n", proxiedV1, string(proxyV2(0, 0, ""))} {
		c := dialRaw(t, filepath.Join(dir, ".s.PGSQL.0"))
		_, _ = c.nc.Write([]byte(header))
		c.send(startupMessage("pooler", "user", "pooler"))
		if a := c.answer(); a.Code != "42501" {
			t.Errorf("%q: %+v", header, a)
		}
	}
}

// The bounds of a place hold for the clients behind a proxy, not for the proxy.
func TestMaxSourceLoginsBehindAProxy(t *testing.T) {
	p := startPooler(t, "proxy_protocol = [\"127.0.0.66\"]\nmax_source_logins = 2")
	silent := func(header string) *rawClient {
		c := dialFrom(t, p, "127.0.0.66")
		_, _ = c.nc.Write([]byte(header))
		return c
	}
	for range 10 {
		silent("P")
	}
	for range 2 {
		silent(proxiedV1)
	}
	eventually(t, patience, "they are there", func() bool { return p.Front.Stat().Clients == 12 })
	if a := silent(proxiedV1).answer(); a.Code != "53300" {
		t.Errorf("%+v", a)
	}
	if a := silent(strings.ReplaceAll(proxiedV1, "192.0.2.7", "192.0.2.8")).logsIn(); a.Status != 'I' {
		t.Errorf("%+v", a)
	}
}

// A client that is silent in the middle of what it owes first is closed in time, whatever that is.
func TestSilenceBeforeLogin(t *testing.T) {
	p := startPooler(t, "proxy_protocol = [\"127.0.0.66\"]\nclient_login_timeout = \"300ms\"")
	for _, send := range []string{"P", proxiedV1, string(proxyV2(1, 0x11, addresses4)[:20])} {
		c := dialFrom(t, p, "127.0.0.66")
		_, _ = c.nc.Write([]byte(send))
		_ = c.nc.SetReadDeadline(time.Now().Add(3 * patience))
		if _, err := io.ReadAll(c.nc); err != nil {
			t.Errorf("%q: %v", send, err)
		}
	}
	if st := p.Front.Stat(); st.LoginTimeouts != 3 {
		t.Errorf("%+v", st)
	}
}
