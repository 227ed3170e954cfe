package frontend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
)

// packet is a start-up packet with a right length.
func packet(code uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(b, code), body...)
}

// lie is a packet or message that announces a length that it does not have.
func lie(length uint32, rest string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, length), rest...)
}

// then is b with more behind.
func then(b []byte, more string) []byte { return append(b[:len(b):len(b)], more...) }

const (
	version30 = 3 << 16
	someone   = "user\x00clear\x00database\x00postgres\x00\x00"
)

// outcome is how the pooler takes what it is sent: the SQLSTATE it answers with, and the counter it notes it under.
type outcome struct {
	code                        string // "": it just closes
	malformed, refused, timeout uint64
}

// toTheEnd reads what the pooler says until it closes, and returns the SQLSTATE of its ErrorResponse.
func toTheEnd(t *testing.T, nc net.Conn, limit time.Duration) (code string, before []byte) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(limit))
	b, err := io.ReadAll(nc)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Errorf("not closed after %s; it said %q", limit, b)
	}
	before, fields, found := bytes.Cut(b, []byte("SFATAL\x00VFATAL\x00C"))
	if !found || len(before) < 5 || before[len(before)-5] != 'E' || len(fields) < 5 {
		return "", b
	}
	return string(fields[:5]), before[:len(before)-5]
}

// Garbage at start-up is answered with an error or the end of the connection, counted, and hurts nobody else.
func TestGarbageAtStartUp(t *testing.T) {
	p := startPooler(t, fmt.Sprintf("auth_type = \"password\"\nauth_file = %q\nloops = 2", authFile(t)))
	_, _ = postgres.Server(t).Exec(t.Context(), "postgres", "CREATE ROLE clear LOGIN")
	other := dialRaw(t, p.Addr)
	other.send(startupMessage("postgres", "user", "clear"), &pgproto3.PasswordMessage{Password: rightPassword})
	if a := other.answer(); a.Status != 'I' {
		t.Fatalf("%+v", a)
	}
	malformed, hangup := outcome{code: "08P01", malformed: 1}, outcome{malformed: 1}
	ssl, gss := packet(codeSSLRequest, ""), packet(codeGSSENCRequest, "")
	start := packet(version30, someone)
	many := ""
	for i := range 10_000 {
		many += fmt.Sprintf("p%d\x00v\x00", i)
	}
	for _, tc := range []struct {
		name string
		send []byte
		want outcome
	}{
		{"nothing", nil, outcome{}},
		{"length of 4 GB", lie(0xffffffff, ""), malformed},
		{"length of 2 GB", lie(0x7fffffff, "abcd"), malformed},
		{"length 0", lie(0, "abcd"), malformed},
		{"length 4", lie(4, "abcd"), malformed},
		{"length 7", lie(7, "abc"), malformed},
		{"length 10001", lie(10_001, "abcd"), malformed},
		{"one byte", []byte{0}, hangup},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), malformed},
		{"TLS without asking", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), malformed},
		{"half a start-up packet", start[:len(start)/2], hangup},
		{"all but the last byte", start[:len(start)-1], hangup},
		{"SSLRequest and no more", ssl, outcome{}},
		{"SSLRequest three times", bytes.Repeat(ssl, 3), malformed},
		{"GSSENCRequest three times", bytes.Repeat(gss, 3), malformed},
		{"both, and again", append(append(append([]byte{}, ssl...), gss...), ssl...), malformed},
		{"SSLRequest with a body", packet(codeSSLRequest, "x"), outcome{}},
		{"no code", lie(8, "\x00\x00\x00\x00"), outcome{code: "0A000", refused: 1}},
		{"protocol 2.0", packet(2<<16, strings.Repeat("\x00", 288)), outcome{code: "0A000", refused: 1}},
		{"protocol 4.0", packet(4<<16, someone), outcome{code: "0A000", refused: 1}},
		{"protocol 1234.5680", packet(1234<<16|5681, someone), outcome{code: "0A000", refused: 1}},
		{"no body", packet(version30, ""), malformed},
		{"no user", packet(version30, "database\x00postgres\x00\x00"), outcome{code: "28000", refused: 1}},
		{"an empty user", packet(version30, "user\x00\x00\x00"), outcome{code: "28000", refused: 1}},
		{"a name without a value", packet(version30, "user\x00"), malformed},
		{"no last terminator", packet(version30, "user\x00clear\x00"), malformed},
		{"no terminator at all", packet(version30, "user"), malformed},
		{"bytes behind the terminator", packet(version30, someone+"x"), malformed},
		{"10,000 parameters", packet(version30, "user\x00clear\x00"+many+"\x00"), malformed},
		{"replication", packet(version30, "user\x00clear\x00replication\x00true\x00\x00"), outcome{code: "0A000", refused: 1}},
		{"options that are none", packet(version30, "user\x00clear\x00options\x00-c\x00\x00"), outcome{code: "0A000", refused: 1}},
		{"options without a value", packet(version30, "user\x00clear\x00options\x00-c x\x00\x00"), outcome{code: "42601", refused: 1}},
		{"a cancel request without a key", packet(codeCancelRequest, "\x00\x00\x00\x01"), malformed},
		{"a cancel request with a long key", packet(codeCancelRequest, "\x00\x00\x00\x01"+strings.Repeat("k", 256)), outcome{}},
		{"a password of 1 GB", then(start, "p\x40\x00\x00\x00xxxx"), malformed},
		{"a password of -1 bytes", then(start, "p\xff\xff\xff\xff"), malformed},
		{"a password of 3 bytes", then(start, "p\x00\x00\x00\x03"), malformed},
		{"a password without terminator", then(start, "p\x00\x00\x00\x08pass"), malformed},
		{"half a password", then(start, "p\x00\x00\x00\x08pa"), hangup},
		{"a Query instead of a password", then(start, "Q\x00\x00\x00\x08pas\x00"), malformed},
		{"start-up again instead of a password", then(start, string(start)), malformed},
		{"no password", start, outcome{}},
		{"a wrong password", then(start, "p\x00\x00\x00\x09nope\x00"), outcome{code: "28P01", refused: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc := dialRaw(t, p.Addr).nc
			before := p.Front.Stat()
			_, _ = nc.Write(tc.send)
			_ = nc.(*net.TCPConn).CloseWrite()
			if code, said := toTheEnd(t, nc, patience); code != tc.want.code {
				t.Errorf("SQLSTATE %q, want %q; it said %q", code, tc.want.code, said)
			}
			_ = nc.Close()
			eventually(t, patience, "the client has left", func() bool { return p.Front.Stat().Clients == 1 })
			st := p.Front.Stat()
			if got := (outcome{tc.want.code, st.Malformed - before.Malformed, st.LoginsRefused - before.LoginsRefused, st.LoginTimeouts - before.LoginTimeouts}); got != tc.want {
				t.Errorf("counted %+v, want %+v", got, tc.want)
			}
			if got := other.query("SELECT 'unaffected'").only(); got != "unaffected" {
				t.Errorf("another client: %s", got)
			}
		})
	}
}

// Random bytes, at start-up and behind a login.
func TestRandomBytes(t *testing.T) {
	p := startPooler(t, "loops = 2\ndefault_pool_size = 2")
	db := postgres.Server(t).CreateDatabase(t)
	other := newRaw(t, p, db)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		nc := dialRaw(t, p.Addr).nc
		if n%2 == 0 {
			_, _ = nc.Write(encode(startupMessage(db)))
		}
		b := make([]byte, random.IntN(3000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if n%4 == 0 { // what looks like messages, of those types that the pooler looks into
			for i := 0; i+20 < len(b); i += 20 {
				b[i] = "QPBDECSHFdcf"[random.IntN(12)]
				binary.BigEndian.PutUint32(b[i+1:], 19)
			}
		}
		_, _ = nc.Write(b)
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = toTheEnd(t, nc, patience)
		_ = nc.Close()
		if got := other.query(fmt.Sprintf("SELECT %d", n)).only(); got != fmt.Sprint(n) {
			t.Fatalf("another client, round %d: %s; %+v %+v", n, got, onlyPool(t, p), p.Front.Stat())
		}
	}
	eventually(t, patience, "nothing is left", func() bool {
		gone := p.Front.Stat().Clients == 1
		st := onlyPool(t, p)
		return gone && st.Active+st.Reclaiming == 0
	})
}

// A newer minor version than 3.2, and options that are not known, are negotiated down; 3.2 has the long cancel keys. All as
// PostgreSQL 18 does (ProcessStartupPacket and SendNegotiateProtocolVersion in its backend_startup.c).
func TestProtocolNegotiation(t *testing.T) {
	p := startPooler(t)
	for _, tc := range []struct {
		minor   uint32
		options string
		want    string // "": nothing is negotiated
		key     int
	}{
		{0, "", "", 4},
		{1, "", "", 4},
		{2, "", "", 32},
		{3, "", "3.2 []", 32},
		{9999, "", "3.2 []", 32},
		{0, "_pq_.feature\x00on\x00", "3.0 [_pq_.feature]", 4},
		{1, "_pq_.feature\x00on\x00", "3.1 [_pq_.feature]", 4},
		{2, "_pq_.b\x00on\x00_pq_.a\x00\x00", "3.2 [_pq_.b _pq_.a]", 32},
		{9999, "_pq_.a\x00\x00", "3.2 [_pq_.a]", 32},
	} {
		c := dialRaw(t, p.Addr)
		_, _ = c.nc.Write(packet(3<<16|tc.minor, "user\x00"+pgtest.Superuser+"\x00database\x00postgres\x00"+tc.options+"\x00"))
		got, key, ready := "", 0, false
		for !ready {
			switch m := c.receive().(type) {
			case *pgproto3.NegotiateProtocolVersion:
				got = fmt.Sprintf("%d.%d %v", m.NewestMinorProtocol>>16, m.NewestMinorProtocol&0xffff, m.UnrecognizedOptions)
			case *pgproto3.BackendKeyData:
				key = len(m.SecretKey)
			case *pgproto3.ReadyForQuery:
				ready = true
			case nil:
				t.Fatalf("3.%d %q: no login", tc.minor, tc.options)
			}
		}
		if got != tc.want || key != tc.key {
			t.Errorf("3.%d %q: negotiated %q, key of %d bytes; want %q, %d", tc.minor, tc.options, got, key, tc.want, tc.key)
		}
		if got := c.query("SELECT 'in'").only(); got != "in" {
			t.Errorf("3.%d %q: %s", tc.minor, tc.options, got)
		}
	}
}

// Whoever does not get on with the login is closed after client_login_timeout, at whatever point.
func TestSilenceAtLogin(t *testing.T) {
	p := startPooler(t, fmt.Sprintf("auth_type = \"scram-sha-256\"\nauth_file = %q\nclient_login_timeout = \"400ms\"", authFile(t)))
	start := packet(version30, someone)
	silent := map[string][]byte{
		"from the beginning": nil, "after a byte": {0}, "in the start-up packet": start[:20],
		"after SSLRequest": packet(codeSSLRequest, ""), "when asked for a proof": start, "in the proof": then(start, "p\x00\x00"),
	}
	var all []net.Conn
	for _, send := range silent {
		nc := dialRaw(t, p.Addr).nc
		_, _ = nc.Write(send)
		all = append(all, nc)
	}
	for _, nc := range all {
		toTheEnd(t, nc, 3*patience) // one that says nothing is shown by the kernel late (TCP_DEFER_ACCEPT)
	}
	eventually(t, patience, "all have left", func() bool { return p.Front.Stat().Clients == 0 })
	if st := p.Front.Stat(); st.LoginTimeouts != uint64(len(silent)) || st.LoginsRefused+st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
}

// Garbage behind a login ends that session, and whatever it held is given back clean.
func TestGarbageBehindALogin(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1\nloops = 2")
	db := postgres.Server(t).CreateDatabase(t)
	other := newRaw(t, p, db)
	for _, garbage := range []struct{ name, send string }{
		{"an unknown type", "\x00\x00\x00\x00\x04"},
		{"a server's message", "Z\x00\x00\x00\x05I"},
		{"a password", "p\x00\x00\x00\x08abc\x00"},
		{"length 0", "Q\x00\x00\x00\x00"},
		{"length 3", "S\x00\x00\x00\x03"},
		{"length of 4 GB", "Q\xff\xff\xff\xff"},
		{"length of 2 GB", "d\x7f\xff\xff\xff"},
		{"a Parse without terminators", "P\x00\x00\x00\x06ab"},
		{"an empty Bind", "B\x00\x00\x00\x04"},
		{"an empty Describe", "D\x00\x00\x00\x04"},
		{"a Close of nothing known", "C\x00\x00\x00\x06X\x00"},
		{"an empty Execute", "E\x00\x00\x00\x04"},
		{"an empty Query", "Q\x00\x00\x00\x04"},
		{"a Query without terminator", "Q\x00\x00\x00\x09SELEC"},
		{"a Query with two", "Q\x00\x00\x00\x0aSELEC\x00\x00"[:11]},
		{"an empty function call", "F\x00\x00\x00\x04"},
		{"a Bind that lies", "B\x00\x00\x00\x0c\x00\x00\x7f\xff\x7f\xff\x00\x00"},
		{"half a message", "Q\x00\x00\x00\xffSELECT"},
		{"half a large message", "P\x00\xff\xff\xff\x00" + strings.Repeat("x", 70_000)},
		{"CopyData out of the blue", "d\x00\x00\x00\x05x"},
		{"Flush with a body", "H\x00\x00\x00\x05x"},
		{"Sync with a body", "S\x00\x00\x00\x05x"},
		{"Terminate with a body", "X\x00\x00\x00\x05x"},
	} {
		for _, inside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in a transaction: %t", garbage.name, inside), func(t *testing.T) {
				c := newRaw(t, p, db)
				if inside {
					c.query("BEGIN")
				}
				_, _ = c.nc.Write([]byte(garbage.send))
				_ = c.nc.(*net.TCPConn).CloseWrite()
				toTheEnd(t, c.nc, patience)
				_ = c.nc.Close()
				eventually(t, patience, "it holds nothing", func() bool {
					gone := p.Front.Stat().Clients == 1
					st := onlyPool(t, p)
					return gone && st.Active+st.Reclaiming+st.Waiting+st.Closing == 0
				})
				if got := other.query("SELECT txid_current_if_assigned() IS NULL AND (SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE '\\_pooler%') = 0").only(); got != "t" {
					t.Errorf("another client: %s", got)
				}
			})
		}
	}
}

// FuzzStartup feeds bytes to what reads start-up packets and proofs, as one chunk and byte by byte.
func FuzzStartup(f *testing.F) {
	f.Add(packet(version30, someone))
	f.Add(append(packet(codeSSLRequest, ""), packet(3<<16|2, "user\x00u\x00_pq_.x\x00y\x00options\x00-c a=b --c-d=e\\ f\x00\x00")...))
	f.Add(append(packet(codeCancelRequest, "\x00\x00\x00\x01abcd"), "p\x00\x00\x00\x08abc\x00"...))
	f.Add(lie(0xffffffff, "abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, rest := readStartup(b)
		for n := range b {
			if early, _ := readStartup(b[:n]); len(early) > len(whole) || !bytes.HasPrefix([]byte(strings.Join(whole, "\n")), []byte(strings.Join(early, "\n"))) && len(early) == len(whole) {
				t.Fatalf("the first %d bytes mean %q, all of them %q", n, early, whole)
			}
			if n > 64 {
				break
			}
		}
		for {
			body, more, err := cutProof(rest)
			if err != nil {
				break
			}
			if rest = more; len(body) > maxAuthMessage {
				t.Fatalf("a proof of %d bytes", len(body))
			}
		}
	})
}

// readStartup reads as greeter.read does, and returns what was read, one line a packet.
func readStartup(b []byte) (read []string, rest []byte) {
	for range 4 {
		code, body, after, err := cutStartup(b)
		switch {
		case errors.Is(err, errShort):
			return read, nil
		case err != nil:
			return append(read, err.Error()), nil
		}
		b = after
		switch code {
		case codeSSLRequest, codeGSSENCRequest:
			read = append(read, "encryption")
			continue
		case codeCancelRequest:
			key, err := parseCancel(body)
			return append(read, fmt.Sprint(key, err)), after
		}
		st, err := parseStartup(code, body)
		if err == nil {
			st.appendNegotiation(nil)
			if st.user == "" || st.database == "" || len(st.user) > nameLimit || len(st.database) > nameLimit {
				panic(fmt.Sprintf("accepted %+v", st))
			}
		}
		return append(read, fmt.Sprint(st, err)), after
	}
	return read, nil
}
