package frontend

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"pooler/backend"
	"pooler/config"
)

// loginSCRAM logs in as user. keys keeps what it derives from the password, which is what costs.
func (c *rawClient) loginSCRAM(db, user string, keys *scram.Client) answer {
	c.send(startupMessage(db, "user", user))
	talk := keys.NewConversation()
	for {
		var reply pgproto3.FrontendMessage
		switch m := c.receive().(type) {
		case *pgproto3.AuthenticationSASL:
			first, _ := talk.Step("")
			reply = &pgproto3.SASLInitialResponse{AuthMechanism: scramMechanism, Data: []byte(first)}
		case *pgproto3.AuthenticationSASLContinue:
			proof, _ := talk.Step(string(m.Data))
			reply = &pgproto3.SASLResponse{Data: []byte(proof)}
		case *pgproto3.AuthenticationSASLFinal:
			return c.answer()
		default:
			var a answer
			if a.take(m) {
				rest := c.answer()
				a.Status = rest.Status
			}
			return a
		}
		c.send(reply)
	}
}

// dialCounter counts logins to PostgreSQL.
type dialCounter struct{ now, most, all atomic.Int64 }

func (d *dialCounter) dial(ctx context.Context, cfg config.Pool) (*backend.Conn, error) {
	n := d.now.Add(1)
	defer d.now.Add(-1)
	d.all.Add(1)
	for most := d.most.Load(); n > most; most = d.most.Load() {
		if d.most.CompareAndSwap(most, n) {
			break
		}
	}
	return backend.Dial(ctx, cfg)
}

// A storm of clients that all log in at once, with SCRAM: each is served or refused by a limit, PostgreSQL sees few
// logins at a time, and those who are connected are served all the while.
func TestStormOfLogins(t *testing.T) {
	const storm, established, limit = 1500, 10, 1300
	db := postgres.Server(t).CreateDatabase(t)
	_, _ = postgres.Server(t).Exec(t.Context(), "postgres", "CREATE ROLE scram LOGIN")
	var dials dialCounter
	p := startPoolerThatDials(t, dials.dial, fmt.Sprintf(`auth_type = "scram-sha-256"
auth_file = %q
log_level = "error"
default_pool_size = 10
server_login_concurrency = 2
client_login_concurrency = 2
max_user_client_connections = %d`, authFile(t), limit))
	keys, err := scram.SHA256.NewClientUnprepped("", rightPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	over := make(chan struct{})
	var served, refused, rounds atomic.Int64
	for range established {
		c := dialRaw(t, p.Addr)
		if a := c.loginSCRAM(db, "scram", keys); a.Status != 'I' {
			t.Fatalf("%+v", a)
		}
		all.Go(func() {
			for n := 0; ; n++ {
				if got := c.query(fmt.Sprintf("SELECT %d", n)).only(); got != fmt.Sprint(n) {
					t.Errorf("one of the established: %s", got)
				}
				rounds.Add(1)
				select {
				case <-over:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	before := rounds.Load()
	var coming sync.WaitGroup
	for n := range storm {
		coming.Go(func() {
			nc, err := net.Dial("tcp", p.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			c := &rawClient{t: t, nc: nc, in: pgproto3.NewFrontend(nc, nc)}
			all.Go(func() { // it stays, so that how many are let in is exact
				<-over
				_ = nc.Close()
			})
			a := c.loginSCRAM(db, "scram", keys)
			switch {
			case a.Code == "53300" && a.Severity == "FATAL" && a.Message == `too many clients for user "scram"`:
				refused.Add(1)
			case a.Status != 'I':
				t.Errorf("client %d: %+v", n, a)
			case c.query("SELECT 'in'").only() != "in":
				t.Errorf("client %d is not served", n)
			default:
				served.Add(1)
			}
		})
	}
	coming.Wait()
	during := rounds.Load() - before
	close(over)
	all.Wait()
	st := p.Front.Stat()
	t.Logf("%d served, %d refused, %d answers to the established; %d logins to PostgreSQL, at most %d at once",
		served.Load(), refused.Load(), during, dials.all.Load(), dials.most.Load())
	if served.Load() != limit-established || refused.Load() != storm-limit+established {
		t.Errorf("%+v", st)
	}
	if dials.most.Load() > 2 || during < established {
		t.Errorf("%d logins to PostgreSQL at once, %d answers to the established", dials.most.Load(), during)
	}
	eventually(t, patience, "the storm is over", func() bool { return p.Front.Stat().Clients == established })
	q := p.Front.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.cohorts) != 1 || q.all.clients != established {
		t.Errorf("%d kinds of clients are counted, %d clients", len(q.cohorts), q.all.clients)
	}
}

// Clients that say nothing take nobody's place: not that of a proof, and their time is counted from their connection.
func TestStormOfSilentLogins(t *testing.T) {
	t.Parallel()
	db := postgres.Server(t).CreateDatabase(t)
	_, _ = postgres.Server(t).Exec(t.Context(), "postgres", "CREATE ROLE scram LOGIN")
	p := startPooler(t, fmt.Sprintf("auth_type = \"scram-sha-256\"\nauth_file = %q\nclient_login_concurrency = 1\nclient_login_timeout = \"2s\"\nlog_level = \"error\"", authFile(t)))
	keys, err := scram.SHA256.NewClientUnprepped("", rightPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	var silent []*rawClient
	for range 50 {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage(db, "user", "scram"))
		if !c.until('R') {
			t.Fatal("not asked for a proof")
		}
		silent = append(silent, c)
	}
	begun := time.Now()
	if a := dialRaw(t, p.Addr).loginSCRAM(db, "scram", keys); a.Status != 'I' {
		t.Fatalf("%+v", a)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("a login among silent ones took %s", took)
	}
	for _, c := range silent {
		if a := c.answer(); a.Code != "08006" || a.Severity != "FATAL" {
			t.Fatalf("a silent one was told %+v", a)
		}
	}
	if st := p.Front.Stat(); st.LoginTimeouts != 50 {
		t.Errorf("%+v", st)
	}
}

// Proofs that wait for their turn hold up neither client_login_timeout nor a shutdown, and whoever has gone is not
// looked at.
func TestProofsThatWait(t *testing.T) {
	t.Parallel()
	p := startPooler(t, fmt.Sprintf("auth_type = \"password\"\nauth_file = %q\nclient_login_concurrency = 1\nclient_login_timeout = \"1s\"", authFile(t)))
	block, blocked := make(chan struct{}), make(chan struct{})
	p.Front.proofs.Go(func() {
		close(blocked)
		<-block
	})
	<-blocked
	waits := func() *rawClient {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage("postgres", "user", "scram")) // a password costs sums to compare with that secret
		c.until('R')
		c.send(&pgproto3.PasswordMessage{Password: rightPassword})
		return c
	}
	first := waits()
	eventually(t, patience, "it waits for its turn", func() bool { _, waiting := p.Front.proofs.Stat(); return waiting == 1 })
	if a := first.answer(); a.Code != "08006" {
		t.Errorf("who has waited too long was told %+v", a)
	}
	second := waits()
	eventually(t, patience, "it waits for its turn", func() bool { _, waiting := p.Front.proofs.Stat(); return waiting == 2 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		p.Front.Shutdown(ctx)
	}()
	if a := second.answer(); a.Code != "57P01" {
		t.Errorf("at the shutdown, who waits was told %+v", a)
	}
	close(block)
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Error("the shutdown waits")
	}
}

// A reload changes how many proofs are looked at.
func TestProofsAtOnceChange(t *testing.T) {
	t.Parallel()
	p := startPooler(t, "client_login_concurrency = 1")
	block := make(chan struct{})
	defer close(block)
	for range 3 {
		p.Front.proofs.Go(func() { <-block })
	}
	for _, n := range []int{2, 3} {
		if err := p.Front.Configure(testConfig(t, fmt.Sprintf("client_login_concurrency = %d", n))); err != nil {
			t.Fatal(err)
		}
		if running, waiting := p.Front.proofs.Stat(); running != n || waiting != 3-n {
			t.Errorf("with %d: %d run, %d wait", n, running, waiting)
		}
	}
}
