package frontend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/pool"
)

// span is a length of time on this process's clock.
type span struct{ from, to time.Time }

func (s span) overlaps(o span) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

// canceller is a client that cancels its own statements at random moments, and knows when it did.
type canceller struct {
	conn     *pgconn.PgConn
	answered int

	mu      sync.Mutex
	cancels []span
	hits    []span // statements that ended with 57014
}

// 1,000 cancels race with the statements of ten clients on three server sessions, while two clients that never
// cancel work on the same ones. A cancel may come too late, but it must never hit another statement than its own.
func TestCancelsHitTheirOwnStatementOnly(t *testing.T) {
	const clients, each = 10, 100
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprintf("loops = %d", loops), func(t *testing.T) {
			p := startPooler(t, fmt.Sprintf("default_pool_size = 3\nloops = %d", loops))
			db := postgres.Server(t).CreateDatabase(t)
			var over atomic.Bool
			var bystanders, working sync.WaitGroup
			var bystood atomic.Int64
			for i := range 2 {
				conn := connect(t, p, db)
				bystanders.Go(func() {
					for n := 0; !over.Load(); n++ {
						id := fmt.Sprintf("bystander %d-%d", i, n)
						if err := expect(t.Context(), conn, "SELECT '"+id+"' FROM pg_sleep(0.001)", id); err != nil {
							t.Errorf("%s: %v", id, err)
						}
						bystood.Add(1)
					}
				})
			}
			all := make([]*canceller, clients)
			for i := range all {
				all[i] = &canceller{conn: connect(t, p, db)}
				working.Go(func() { all[i].run(t, i, each) })
			}
			working.Wait()
			over.Store(true)
			bystanders.Wait()
			answered, hits := 0, 0
			for i, c := range all {
				answered += c.answered
				hits += len(c.hits)
				for _, h := range c.hits {
					if !c.cancelledDuring(h) {
						t.Errorf("client %d: a statement was cancelled while no cancel of its own was under way", i)
					}
				}
			}
			t.Logf("%d cancels: %d statements cancelled, %d answered; %d statements of others", clients*each, hits, answered, bystood.Load())
			if hits == 0 || answered == 0 {
				t.Error("the race was none")
			}
			st := p.Front.Stat()
			if st.Cancels != clients*each || st.CancelsUnknown != 0 {
				t.Errorf("%d cancels were counted, and %d unknown ones", st.Cancels, st.CancelsUnknown)
			}
		})
	}
}

func connect(t *testing.T, p *testPooler, db string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), p.dsn(db, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (c *canceller) run(t *testing.T, i, each int) {
	var cancels sync.WaitGroup
	for n := range each {
		id := fmt.Sprintf("%d-%d", i, n)
		sql := "SELECT '" + id + "'"
		longest := 3 * time.Millisecond
		if n%2 == 0 {
			sql += " FROM pg_sleep(0.01)"
			longest = 40 * time.Millisecond
		}
		done := make(chan struct{})
		cancels.Go(func() {
			defer close(done)
			<-time.After(rand.N(longest))
			c.cancel(t)
		})
		begun := time.Now()
		err := expect(t.Context(), c.conn, sql, id)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			c.answered++
		case errors.As(err, &refused) && refused.Code == "57014":
			c.hits = append(c.hits, span{begun, time.Now()})
		default:
			t.Errorf("client %d: %v", i, err)
			return
		}
		if n%3 != 0 {
			<-done // else the cancel may be under way while the next statement begins
		}
	}
	cancels.Wait()
}

func (c *canceller) cancel(t *testing.T) {
	begun := time.Now()
	if err := c.conn.CancelRequest(t.Context()); err != nil {
		t.Errorf("cancel: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancels = append(c.cancels, span{begun, time.Now()})
}

func (c *canceller) cancelledDuring(statement span) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.cancels {
		if s.overlaps(statement) {
			return true
		}
	}
	return false
}

// keys is what a client needs to cancel.
type keys struct {
	id     uint32
	secret []byte
}

// newCancellable logs in and returns the client with its cancel key.
func newCancellable(t *testing.T, p *testPooler, db string) (*rawClient, keys) {
	t.Helper()
	c := dialRaw(t, p.Addr)
	c.send(startupMessage(db))
	var k keys
	for {
		switch m := c.receive().(type) {
		case nil:
			t.Fatal("login: the connection has ended")
		case *pgproto3.BackendKeyData:
			k = keys{m.ProcessID, append([]byte(nil), m.SecretKey...)}
		case *pgproto3.ReadyForQuery:
			return c, k
		}
	}
}

// cancel sends a CancelRequest and returns when the pooler has taken it.
func cancel(t *testing.T, p *testPooler, k keys) {
	t.Helper()
	nc, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_, _ = nc.Write(encode(&pgproto3.CancelRequest{ProcessID: k.id, SecretKey: k.secret}))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	if n, err := nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a cancel request was answered (%d bytes, %v)", n, err)
	}
}

func onlyPool(t *testing.T, p *testPooler) pool.Stat {
	t.Helper()
	all := p.Pools.Stats()
	if len(all) != 1 {
		t.Fatalf("there are %d pools", len(all))
	}
	return all[0]
}

func TestCancelInTheQueue(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1")
	db := postgres.Server(t).CreateDatabase(t)
	holder := newRaw(t, p, db)
	waiter, key := newCancellable(t, p, db)
	_, otherKey := newCancellable(t, p, db)
	for _, tc := range []struct {
		name string
		send []pgproto3.FrontendMessage
	}{
		{"simple", []pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT 'never'"}}},
		{"extended", []pgproto3.FrontendMessage{
			&pgproto3.Parse{Query: "SELECT 'never'"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if a := holder.query("BEGIN"); a.Status != 'T' {
				t.Fatalf("%+v", a)
			}
			waiter.send(tc.send...)
			eventually(t, patience, "the client waits", func() bool { return onlyPool(t, p).Waiting == 1 })
			for _, wrong := range []keys{{key.id, []byte("none")}, {1 << 30, key.secret}, otherKey} {
				cancel(t, p, wrong)
			}
			if n := onlyPool(t, p).Waiting; n != 1 {
				t.Errorf("a cancel with another key leaves %d in the queue", n)
			}
			cancel(t, p, key)
			a := waiter.answer()
			if a.Code != "57014" || a.Severity != "ERROR" || a.Errors != 1 || a.Status != 'I' || len(a.Rows) > 0 {
				t.Errorf("the waiting client was told %+v", a)
			}
			if n := onlyPool(t, p).Waiting; n != 0 {
				t.Errorf("%d still wait", n)
			}
			waiter.send(&pgproto3.Query{String: "SELECT 'usable'"})
			eventually(t, patience, "the client waits again", func() bool { return onlyPool(t, p).Waiting == 1 })
			holder.query("COMMIT")
			if got := waiter.answer().only(); got != "usable" {
				t.Errorf("the connection afterwards: %s", got)
			}
		})
	}
}

// A cancel that finds nothing to cancel, or a key that is not right, changes nothing.
func TestCancelOfNothing(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1\nloops = 2")
	db := postgres.Server(t).CreateDatabase(t)
	c, key := newCancellable(t, p, db)
	for range 20 {
		cancel(t, p, key)
		if got := c.query("SELECT 'idle'").only(); got != "idle" {
			t.Fatalf("after a cancel while idle: %s", got)
		}
	}
	c.query("BEGIN")
	for range 20 {
		cancel(t, p, key)
		if got := c.query("SELECT 'open'").only(); got != "open" {
			t.Fatalf("after a cancel between statements of a transaction: %s", got)
		}
	}
	c.send(&pgproto3.Query{String: "SELECT 'slow' FROM pg_sleep(0.2)"})
	cancel(t, p, keys{key.id, []byte{1, 2, 3, 4}})
	cancel(t, p, keys{key.id + 1, key.secret})
	cancel(t, p, keys{0, key.secret})
	if got := c.answer().only(); got != "slow" {
		t.Errorf("after cancels with a wrong key: %s", got)
	}
	if st := p.Front.Stat(); st.Cancels != 40 || st.CancelsUnknown != 3 {
		t.Errorf("%d cancels were counted, and %d unknown ones", st.Cancels, st.CancelsUnknown)
	}
}

// A cancel of a running statement comes back as PostgreSQL's own error, and what follows is not hit.
func TestCancelOfWhatRuns(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1")
	db := postgres.Server(t).CreateDatabase(t)
	c, key := newCancellable(t, p, db)
	for n := range 20 {
		c.send(&pgproto3.Query{String: "SELECT pg_sleep(30)"})
		eventually(t, patience, "the statement runs", func() bool {
			r, err := postgres.Server(t).Exec(t.Context(), db, "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+db+"' AND wait_event = 'PgSleep'")
			return err == nil && r[0][0] == "1"
		})
		begun := time.Now()
		cancel(t, p, key)
		cancel(t, p, key)
		c.send(&pgproto3.Query{String: "SELECT 'next'"})
		if a := c.answer(); a.Code != "57014" || a.Status != 'I' {
			t.Fatalf("round %d: %+v", n, a)
		}
		if got := c.answer().only(); got != "next" {
			t.Fatalf("round %d: the next statement: %s", n, got)
		}
		if took := time.Since(begun); took > patience {
			t.Errorf("round %d: the cancel took %s", n, took)
		}
	}
}
