package frontend

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest/scripted"
)

// hostileServer answers a query with the bytes that belong to its text, and others as PostgreSQL does. Its address is
// TOML for the database "hostile".
func hostileServer(t *testing.T, says map[string][]byte) (toml string) {
	t.Helper()
	ready := scripted.Encode(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	serve := scripted.Do("serve", func(c *scripted.Conn) error {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil //nolint:nilerr // the pooler has closed the conn, as it should
			}
			q, ok := msg.(*pgproto3.Query)
			if !ok {
				continue
			}
			answer := ready
			if b, ok := says[q.String]; ok {
				answer = b
			}
			if err := c.Write(answer); err != nil {
				return nil //nolint:nilerr // likewise
			}
		}
	})
	srv := scripted.NewFunc(t, func(int) scripted.Script {
		return scripted.Script{scripted.AcceptTrust(), serve, scripted.Do("close", func(c *scripted.Conn) error { return c.Net.Close() })}
	})
	return fmt.Sprintf("state_callbacks = false\nstate_check = \"off\"\n[databases.hostile]\nhost = %q\nport = %d\npool_size = 1", srv.Host, srv.Port)
}

// framed is a message of a server with any body.
func framed(typ byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body))), body...)
}

// PgBouncer crashed by an ErrorResponse without a SQLSTATE. Here its client gets it as it is, and everything goes on;
// backend has the one that comes in a login.
func TestCVE_2026_6666_ErrorWithoutSQLSTATEInASession(t *testing.T) {
	bodies := []string{
		"", "\x00", "Mwhat happened\x00\x00", "SERROR\x00C\x00Mx\x00\x00", "SERROR\x00C12\x00\x00", "SERROR", "C", "\xff\xff\x00\x00",
		"SFATAL\x00VFATAL\x00\x00", "M" + strings.Repeat("x", 100_000) + "\x00\x00",
	}
	says, asks := map[string][]byte{}, []string{}
	for i, body := range bodies {
		asks = append(asks, fmt.Sprintf("SELECT %d", i))
		says[asks[i]] = append(framed('E', body), framed('Z', "I")...)
	}
	p := startPooler(t, hostileServer(t, says))
	for i, ask := range asks {
		c := dialRaw(t, p.Addr)
		c.send(startupMessage("hostile"))
		_ = awaitFrame(t, c, 'Z')
		c.send(&pgproto3.Query{String: ask})
		if got := awaitFrame(t, c, 'E'); got != bodies[i] {
			t.Errorf("%.20q has become %.20q", bodies[i], got)
		}
		_ = awaitFrame(t, c, 'Z')
		c.send(&pgproto3.Query{String: "SELECT"})
		if got := awaitFrame(t, c, 'C'); got != "SELECT 1\x00" {
			t.Errorf("after %.20q: %q", bodies[i], got)
		}
		_ = c.nc.Close()
	}
}

// awaitFrame reads up to a message of this type, whatever is in it, and returns its body.
func awaitFrame(t *testing.T, c *rawClient, typ byte) string {
	t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(2 * patience))
	for {
		var header [5]byte
		if _, err := io.ReadFull(c.nc, header[:]); err != nil {
			t.Fatalf("instead of %q: %v", typ, err)
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(c.nc, body); err != nil {
			t.Fatalf("instead of %q: %v", typ, err)
		}
		if header[0] == typ {
			return string(body)
		}
	}
}

// A server that breaks the protocol loses its session; its client is told, and the next gets another.
func TestServersThatBreakTheProtocolLoseTheirSession(t *testing.T) {
	parameters := ""
	for i := range 300 {
		parameters += string(framed('S', fmt.Sprintf("p%d\x00v\x00", i)))
	}
	says := map[string][]byte{
		"SELECT 1": framed('Z', ""), "SELECT 2": framed('Z', "X"), "SELECT 3": framed('Z', "II"), "SELECT 4": []byte(parameters),
		"SELECT 5": {'Z', 0xff, 0xff, 0xff, 0xff}, "SELECT 7": framed('Z', strings.Repeat("I", 20_000)),
		"SELECT 8": framed('R', "\x00\x00\x00\x03"), "SELECT 9": framed('K', "x"),
	}
	p := startPooler(t, hostileServer(t, says))
	for ask := range says {
		c := newRaw(t, p, "hostile")
		c.send(&pgproto3.Query{String: ask})
		if a := c.answer(); a.Status != 0 || a.Errors != 1 {
			t.Errorf("%s: %+v", ask, a)
		}
		if a := newRaw(t, p, "hostile").query("SELECT"); a.Status != 'I' || a.Errors > 0 {
			t.Errorf("the next client after %s: %+v", ask, a)
		}
	}
}
