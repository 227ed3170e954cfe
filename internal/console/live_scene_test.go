package console

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// client is one of the script's. It counts what it does.
type client struct {
	*pgconn.PgConn
	l           *live
	application string
	port        int // its own; 0: it came by the Unix socket
	did         *deeds
}

// deeds is what the script has done on a database.
type deeds struct{ logins, queries, transactions, binds, parses, bytes int }

// viaUnix has login come by the Unix socket.
const viaUnix = "unix"

// login connects a client. more is further parameters of the DSN, "&name=value", or viaUnix.
func (l *live) login(did *deeds, user, database, application, more string) *client {
	l.t.Helper()
	c, err := l.tryLogin(did, user, database, application, more)
	if err != nil {
		l.t.Fatalf("%s: %v", application, err)
	}
	return c
}

func (l *live) tryLogin(did *deeds, user, database, application, more string) (*client, error) {
	cfg, err := pgconn.ParseConfig(l.dsn(user, database) + "&application_name=" + application + strings.TrimPrefix(more, viaUnix))
	if err != nil {
		return nil, err
	}
	if more == viaUnix {
		cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", l.socket)
		}
	}
	c, err := pgconn.ConnectConfig(l.t.Context(), cfg)
	if err != nil {
		return nil, err
	}
	l.t.Cleanup(func() { _ = c.Close(context.Background()) })
	one := &client{PgConn: c, l: l, application: application, did: did}
	if a, ok := c.Conn().LocalAddr().(*net.TCPAddr); ok {
		one.port = a.Port
	}
	did.logins++
	return one, nil
}

// id is the client's, which is its cancel key's.
func (c *client) id() int64 { return int64(c.PID()) }

func (c *client) ptr() string { return fmt.Sprint("c", c.PID()) }

// runs has the client run a statement, and fails the test if that fails.
func (c *client) runs(sql string) string {
	c.l.t.Helper()
	answer, err := c.tries(sql)
	if err != nil {
		c.l.t.Fatalf("%s: %s: %v", c.application, sql, err)
	}
	return answer
}

// tries is the first value of the answer.
func (c *client) tries(sql string) (string, error) {
	c.did.queries++
	c.did.bytes += 5 + len(sql) + 1
	results, err := c.Exec(context.Background(), sql).ReadAll()
	if c.TxStatus() == 'I' {
		c.did.transactions++
	}
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

// begins has the client run a statement that takes its time, and returns what will come of it. Until then the client can
// do nothing else.
func (c *client) begins(sql string) <-chan error {
	c.did.bytes += 5 + len(sql) + 1
	done := make(chan error, 1)
	go func() { // awaited by whoever reads done
		_, err := c.Exec(context.Background(), sql).ReadAll()
		done <- err
	}()
	return done
}

// prepares has the client prepare a statement of the protocol.
func (c *client) prepares(name, sql string) {
	c.l.t.Helper()
	c.did.queries, c.did.transactions, c.did.parses = c.did.queries+1, c.did.transactions+1, c.did.parses+1
	if _, err := c.Prepare(context.Background(), name, sql, nil); err != nil {
		c.l.t.Fatalf("%s: %v", c.application, err)
	}
}

func (c *client) executes(name string, parameters ...string) {
	c.l.t.Helper()
	c.did.queries, c.did.transactions, c.did.binds = c.did.queries+1, c.did.transactions+1, c.did.binds+1
	var raw [][]byte
	for _, p := range parameters {
		raw = append(raw, []byte(p))
	}
	if r := c.ExecPrepared(context.Background(), name, raw, nil, nil).Read(); r.Err != nil {
		c.l.t.Fatalf("%s: %v", c.application, r.Err)
	}
}

// scene is live traffic of which everything is known: the pool of shop is full, and two wait.
type scene struct {
	*live
	shopDid, booksDid deeds

	web                []*client // idle
	workers            []*client // idle in transactions
	cron               *client   // idle, with an advisory lock
	report             *client   // waits for a lock in PostgreSQL
	late               []*client // wait for a server session
	batch, plain, unix *client   // of books: in a class, in none, by the Unix socket
	guest              *client   // carl's, in shop
	clients            []*client // all
	ends               []<-chan error
	release            func() // has report and late go on to their ends
	stands             time.Time
}

const (
	lockText   = "SELECT pg_advisory_lock(42)"
	reportText = "UPDATE stock SET n = n + 1 WHERE id = 7"
	addText    = "SELECT $1::int + 1"

	workComment = " /*route='%2Fcart',file='cart.py:42'*/"

	workShown = "update stock set n = ? where id = ?" // as views show it
)

func setScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{live: startLive(t)}
	for range 3 {
		s.web = append(s.web, s.login(&s.shopDid, "anna", "shop", "web", ""))
	}
	for range 2 { // who logs in once all is busy would wait
		s.workers = append(s.workers, s.login(&s.shopDid, "anna", "shop", "worker", ""))
		s.late = append(s.late, s.login(&s.shopDid, "anna", "shop", "late", ""))
	}
	s.cron = s.login(&s.shopDid, "anna", "shop", "cron", "")
	s.report = s.login(&s.shopDid, "anna", "shop", "report", "")
	s.guest = s.login(&s.shopDid, "carl", "shop", "guest", "")
	s.guest.runs("SELECT 'guest'")
	for i, c := range s.web {
		for range i + 1 {
			c.runs(fmt.Sprint("SELECT ", i))
		}
	}
	for i, c := range s.workers {
		c.runs("BEGIN")
		c.runs(fmt.Sprint("UPDATE stock SET n = 5 WHERE id = ", i+1, workComment))
	}
	s.cron.runs(lockText)
	s.lockRow(7)
	s.ends = append(s.ends, s.report.begins(reportText))
	s.eventually("report waits for its lock", func() bool {
		return len(s.ask("postgres", "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'anna'")) == 1
	})
	for i, c := range s.late {
		s.ends = append(s.ends, c.begins("SELECT 'late'"))
		s.eventually("it waits for a server session", func() bool { return len(s.front.Waiting()) == i+1 })
	}
	s.setBooks()
	for range 2 {
		if _, err := s.tryLogin(&s.shopDid, "anna", "nothing", "lost", ""); sqlState(err) != "3D000" {
			t.Fatalf("there is no such database: %v", err)
		}
	}
	s.eventually("both refusals are noted", func() bool { return len(s.show("sources WHERE refused = 2")) == 1 })
	s.stands = time.Now()
	s.clients = append(append(append([]*client{}, s.web...), s.workers...), s.cron, s.report, s.guest, s.late[0], s.late[1], s.batch, s.plain, s.unix)
	return s
}

func (s *scene) setBooks() {
	s.batch = s.login(&s.booksDid, "ben", "books", "batch", "&options=-cpool_connection_class%3Dnightly")
	s.plain = s.login(&s.booksDid, "ben", "books", "plain", "")
	s.unix = s.login(&s.booksDid, "ben", "books", "unix", viaUnix)
	s.batch.runs("BEGIN") // so that each class has a server session of its own
	s.plain.prepares("plus", addText)
	s.plain.executes("plus", "2")
	s.unix.runs("SELECT 'unix'")
	s.batch.runs("COMMIT")
	s.batch.prepares("add", addText)
	for range 3 {
		s.batch.executes("add", "1")
	}
}

// lockRow has PostgreSQL lock a row of stock until release.
func (s *scene) lockRow(id int) {
	s.t.Helper()
	c, err := pgconn.Connect(s.t.Context(), s.pg.DSN(s.shop))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := c.Exec(s.t.Context(), fmt.Sprintf("BEGIN; SELECT FROM stock WHERE id = %d FOR UPDATE", id)).ReadAll(); err != nil {
		s.t.Fatal(err)
	}
	done := false
	s.release = func() {
		if done {
			return
		}
		done = true
		_ = c.Close(context.Background())
		for _, end := range s.ends {
			if err := <-end; err != nil {
				s.t.Errorf("in the end: %v", err)
			}
			s.shopDid.queries++
			s.shopDid.transactions++
		}
	}
	s.t.Cleanup(s.release)
}
