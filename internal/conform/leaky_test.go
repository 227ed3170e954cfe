package conform

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// leaky is the pooler that nobody should have: one server session, handed to the next client at every ReadyForQuery
// outside a transaction, and whenever its holder dies, as it is.
type leaky struct {
	t      *testing.T
	cfg    *pgconn.Config
	accept net.Listener
	done   sync.WaitGroup
	turn   chan struct{} // holds a token while the server session is free

	mu      sync.Mutex
	clients map[net.Conn]bool
	server  *pgconn.HijackedConn // nil before the first use and after its end
	holder  *pgproto3.Backend    // who has the turn
	hangUp  net.Conn             // its connection
}

func startLeaky(t *testing.T, dsn string) string {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	accept, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &leaky{t: t, cfg: cfg, accept: accept, turn: make(chan struct{}, 1), clients: map[net.Conn]bool{}}
	l.turn <- struct{}{}
	l.done.Go(l.listen)
	t.Cleanup(l.stop)
	return "postgres://" + cfg.User + "@" + accept.Addr().String() + "/" + cfg.Database + "?sslmode=disable"
}

func (l *leaky) stop() {
	_ = l.accept.Close()
	l.mu.Lock()
	for c := range l.clients {
		c.Close()
	}
	if l.server != nil {
		l.server.Conn.Close()
	}
	l.mu.Unlock()
	l.done.Wait()
}

func (l *leaky) listen() {
	for {
		conn, err := l.accept.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.clients[conn] = true
		l.mu.Unlock()
		l.done.Go(func() { l.serve(conn) })
	}
}

// serve lets everybody in, whatever start-up parameters they bring.
func (l *leaky) serve(conn net.Conn) {
	defer conn.Close()
	client := pgproto3.NewBackend(conn, conn)
	if _, err := client.ReceiveStartupMessage(); err != nil {
		return
	}
	client.Send(&pgproto3.AuthenticationOk{})
	client.Send(&pgproto3.BackendKeyData{SecretKey: []byte{0, 0, 0, 0}})
	client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if client.Flush() != nil {
		return
	}
	for {
		m, err := client.Receive()
		if _, bye := m.(*pgproto3.Terminate); err != nil || bye {
			l.mu.Lock()
			l.releaseLocked(client)
			l.mu.Unlock()
			return
		}
		if l.acquire(client, conn) != nil {
			return
		}
		l.mu.Lock()
		if l.server != nil {
			l.server.Frontend.Send(m)
			_ = l.server.Frontend.Flush() // the reader notices
		}
		l.mu.Unlock()
	}
}

func (l *leaky) acquire(client *pgproto3.Backend, conn net.Conn) error {
	l.mu.Lock()
	holds := l.holder == client
	l.mu.Unlock()
	if holds {
		return nil
	}
	select {
	case <-l.turn:
	case <-time.After(5 * time.Second):
		return context.DeadlineExceeded
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder, l.hangUp = client, conn
	if l.server != nil {
		return nil
	}
	server, err := pgconn.ConnectConfig(context.Background(), l.cfg)
	if err == nil {
		l.server, err = server.Hijack()
	}
	if err != nil {
		return err
	}
	l.done.Go(func() { l.relay(l.server) })
	return nil
}

// releaseLocked gives the turn away if client has it.
func (l *leaky) releaseLocked(client *pgproto3.Backend) {
	if l.holder == client && client != nil {
		l.holder = nil
		l.turn <- struct{}{}
	}
}

// relay brings the server's messages to whoever has the turn.
func (l *leaky) relay(server *pgconn.HijackedConn) {
	for {
		m, err := server.Frontend.Receive()
		l.mu.Lock()
		holder := l.holder
		if err != nil {
			l.server = nil
			server.Conn.Close()
			if holder != nil {
				l.hangUp.Close()
			}
			l.mu.Unlock()
			return
		}
		if ready, ok := m.(*pgproto3.ReadyForQuery); ok && ready.TxStatus == 'I' {
			l.releaseLocked(holder) // before the client knows and sends its next
		}
		if holder != nil {
			holder.Send(m)
			_ = holder.Flush() // its own reader notices
		}
		l.mu.Unlock()
	}
}
