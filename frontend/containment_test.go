package frontend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
)

// B3: clients that leak connections hold at most one server session together; those that leak transactions are rolled
// back in time, which the log tells.
func TestB3LeakedClients(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	p, db := startTimed(t, "default_pool_size = 10\nmax_txn_think_time = \"2s\"")
	if _, err := postgres.Server(t).Exec(t.Context(), db, "INSERT INTO t SELECT generate_series(1, 10)"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		newRaw(t, p, db, "application_name", "autocommit").ask("SELECT 1", "1")
	}
	eventually(t, patience, "ten leaked clients hold nothing", func() bool { st := onlyPool(t, p); return st.Opened == 1 && st.Active == 0 })
	var leaked []*rawClient
	var begun []time.Time
	for i := range 10 {
		c := newRaw(t, p, db, "application_name", "leaky")
		c.query(fmt.Sprintf("BEGIN; UPDATE t SET n = -n WHERE n = %d", i+1))
		leaked, begun = append(leaked, c), append(begun, time.Now())
	}
	// Somebody waits for each of the locks. PostgreSQL is asked directly: the pool is full.
	waited := make([]time.Duration, len(leaked))
	var waiting sync.WaitGroup
	for i := range leaked {
		waiting.Go(func() {
			_, err := postgres.Server(t).Exec(t.Context(), db, fmt.Sprintf("UPDATE t SET n = n + 100 WHERE n = %d", i+1))
			if waited[i] = time.Since(begun[i]); err != nil {
				t.Errorf("who waits for the lock: %v", err)
			}
		})
	}
	waiting.Wait()
	for i, c := range leaked {
		if e := c.ending(); e.Code != "25P03" {
			t.Errorf("told %+v", e)
		}
		if waited[i] < limit-time.Second || waited[i] > limit+time.Second {
			t.Errorf("the lock was free after %s", waited[i])
		}
	}
	t.Logf("limit %s: the locks were free after %s", limit, waited)
	if got := strings.Count(p.Log.String(), "application_name=leaky remote=127.0.0.1:"); got != 10 {
		t.Errorf("%d lines of the log tell of it", got)
	}
	rows, err := postgres.Server(t).Exec(t.Context(), db, "SELECT count(*) FROM t WHERE n > 100")
	if err != nil || rows[0][0] != "10" {
		t.Errorf("rolled back: %v, %v", rows, err)
	}
	eventually(t, patience, "nothing is held", func() bool { st := onlyPool(t, p); return st.Idle == 10 && st.Opened == 10 })
}

// B4: after a burst, the server sessions beyond the minimum go when they have been idle for server_idle_timeout.
func TestB4ServerSessionsShrinkToTheMinimum(t *testing.T) {
	t.Parallel()
	const limit = 1500 * time.Millisecond
	p, db := startTimed(t, "default_pool_size = 10\nmin_pool_size = 2\ninactivity_timeout = \"1500ms\"")
	burst := herd(t, p, db, 10)
	for _, c := range burst {
		c.query("BEGIN")
	}
	begun := time.Now()
	for _, c := range burst {
		c.query("COMMIT")
	}
	released := time.Now()
	if st := onlyPool(t, p); inUse(st) != 10 {
		t.Fatalf("%+v", st)
	}
	eventually(t, limit+patience, "the minimum is reached", func() bool { return inUse(onlyPool(t, p)) == 2 })
	if took := time.Since(begun); took < limit-250*time.Millisecond || time.Since(released) > limit+patience {
		t.Errorf("after %s", took)
	}
	if st := onlyPool(t, p); st.Retired[backend.RetireIdle] != 8 || st.Idle != 2 {
		t.Errorf("%+v", st)
	}
}

func (p *testPooler) info(t *testing.T, application string) ClientInfo {
	t.Helper()
	for _, c := range p.Front.Clients() {
		if c.Application == application {
			return c
		}
	}
	t.Fatalf("there is no client %q among %+v", application, p.Front.Clients())
	return ClientInfo{}
}

// C4: a client that has been idle for long holds no server session and is listed with its age; killing it by its ID
// works and is logged.
func TestC4IdleClientIsListedAndKilled(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "loops = 2")
	before := time.Now()
	zombie, other := newRaw(t, p, db, "application_name", "zombie", "pool_connection_class", "cron"), newRaw(t, p, db, "application_name", "other")
	zombie.ask("SELECT 1", "1")
	asked := time.Now()
	<-time.After(2 * lookEvery)
	other.query("BEGIN")
	for _, c := range p.Front.crews { // an hour passes
		wait := make(chan struct{})
		c.loop.Post(func() {
			for i := range c.berths {
				if s := c.berths[i].session; s.application() == "zombie" {
					c.berths[i].since -= time.Hour
					s.begun -= time.Hour
				}
			}
			close(wait)
		})
		<-wait
	}
	z, o := p.info(t, "zombie"), p.info(t, "other")
	if z.State != "idle" || z.ServerPID != 0 || z.Class != "cron" || z.User != "postgres" || z.Database != db || z.Pinned != "" || !z.Transaction.IsZero() {
		t.Errorf("%+v", z)
	}
	if age := time.Since(z.Since); age < time.Hour || age > time.Hour+time.Since(asked) || z.Connected.Before(before.Add(-time.Hour)) {
		t.Errorf("it has been idle for %s, connected since %s", age, z.Connected)
	}
	if z.Remote.String() != zombie.nc.LocalAddr().String() {
		t.Errorf("it comes from %s", z.Remote)
	}
	if o.State != "idle_in_transaction" || o.ServerPID == 0 || o.Transaction.Before(before) {
		t.Errorf("%+v", o)
	}
	if p.Front.Kill(z.ID+1000, "test") || !p.Front.Kill(z.ID, "alice") {
		t.Error("found the wrong ones")
	}
	if e := zombie.ending(); e.Severity != "FATAL" || e.Code != "57P01" {
		t.Errorf("it was told %+v", e)
	}
	if line := fmt.Sprintf(`msg="client ended by an administrator" session_id=%d user=postgres database=%s application_name=zombie`, z.ID, db); !strings.Contains(p.Log.String(), line) || !strings.Contains(p.Log.String(), "by=alice") {
		t.Error("that is not in the log")
	}
	eventually(t, patience, "it is gone", func() bool { return p.Front.Stat().Ends["killed"] == 1 && len(p.Front.Clients()) == 1 })
	other.query("COMMIT")
}

// Each thing that a client may do is listed as what it is.
func TestClientsAreListedByWhatTheyDo(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "default_pool_size = 4")
	at := func(name string) *rawClient { return newRaw(t, p, db, "application_name", name) }
	thinks, pinned, runs, copies, waits := at("thinks"), at("pinned"), at("runs"), at("copies"), at("waits")
	thinks.query("BEGIN")
	pinned.query("CREATE TEMP TABLE keeps (n int)")
	at("idle")
	runs.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	copies.send(&pgproto3.Query{String: "COPY t FROM STDIN"})
	copies.until('G')
	waits.send(&pgproto3.Query{String: "SELECT 1"})
	eventually(t, patience, "one waits", func() bool { return onlyPool(t, p).Waiting == 1 })
	for name, want := range map[string]string{
		"thinks": "idle_in_transaction", "pinned": "idle_keeping_session", "idle": "idle", "runs": "active",
		"copies": "idle_in_transaction", "waits": "waiting",
	} {
		c := p.info(t, name)
		if c.State != want || (c.Pinned == "temporary_object") != (name == "pinned") || (c.ServerPID == 0) != (name == "idle" || name == "waits") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// C5: a client that says nothing but is alive is idle, and keepalive does not end it.
func TestC5SilentButAliveClientSurvives(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "tcp_keepidle = \"1s\"\ntcp_keepintvl = \"1s\"\ntcp_keepcnt = 1\ntcp_user_timeout = \"2s\"")
	silent := newRaw(t, p, db, "application_name", "silent")
	silent.ask("SELECT 1", "1")
	<-time.After(3500 * time.Millisecond)
	if c := p.info(t, "silent"); c.State != "idle" || c.ServerPID != 0 {
		t.Errorf("%+v", c)
	}
	silent.ask("SELECT 'here'", "here")
}

// A6: a pool becomes larger by a reload under load: nobody is disconnected, and server sessions are added.
func TestA6PoolGrowsByReload(t *testing.T) {
	t.Parallel()
	p, db := startTimed(t, "default_pool_size = 5\nloops = 2")
	var over atomic.Bool
	var served, failed atomic.Int64
	var working sync.WaitGroup
	for range 20 {
		conn := connect(t, p, db)
		working.Go(func() {
			for !over.Load() {
				if err := expect(context.Background(), conn, "SELECT 'x' FROM pg_sleep(0.02)", "x"); err != nil {
					failed.Add(1)
					return
				}
				served.Add(1)
			}
		})
	}
	defer working.Wait()
	defer over.Store(true)
	eventually(t, patience, "the pool is full", func() bool { return inUse(onlyPool(t, p)) == 5 })
	before := served.Load()
	p.reload(t, "default_pool_size = 10")
	reloaded := time.Now()
	eventually(t, patience, "it has grown", func() bool { return inUse(onlyPool(t, p)) == 10 })
	t.Logf("five more server sessions after %s; %d statements before", time.Since(reloaded), before)
	eventually(t, patience, "all are used", func() bool { return served.Load() > before+200 })
	if st := p.Front.Stat(); failed.Load() != 0 || st.Clients != 20 || onlyPool(t, p).Opened != 10 {
		t.Errorf("%d have failed, %d clients, %+v", failed.Load(), st.Clients, onlyPool(t, p))
	}
}
