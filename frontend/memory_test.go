package frontend

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"

	"pooler/internal/wire"
)

// heap is the heap in use after collection, in bytes. The clients of these tests are bare descriptors, so what it
// grows by is the pooler's.
func heap() int {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse)
}

// bareClient is a client that costs no heap: a blocking descriptor.
type bareClient int

func newBare(t *testing.T, p *testPooler) bareClient {
	t.Helper()
	_, text, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(text)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		_ = unix.Close(fd)
		t.Fatal(err)
	}
	limit := unix.Timeval{Sec: 10}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	return bareClient(fd)
}

func (c bareClient) close() { _ = unix.Close(int(c)) }

// abort closes with RST. What is not read yet is in the way of a FIN: nobody can see that one coming.
func (c bareClient) abort() {
	_ = unix.SetsockoptLinger(int(c), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	c.close()
}

// exchange sends b and reads, into scratch, up to ReadyForQuery.
func (c bareClient) exchange(t *testing.T, b, scratch []byte) []byte {
	t.Helper()
	if _, err := unix.Write(int(c), b); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; {
		k, err := unix.Read(int(c), scratch[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if k <= 0 {
			t.Fatalf("the client got %q, then %d, %v", scratch[:n], k, err)
		}
		if n += k; n >= 6 && bytes.Equal(scratch[n-6:n-1], []byte{'Z', 0, 0, 0, 5}) {
			return scratch[:n]
		}
	}
}

// push writes b again and again until limit bytes are written, or nothing is taken for pause, and returns how many.
func (c bareClient) push(t *testing.T, b []byte, limit int, pause time.Duration) int {
	t.Helper()
	patience := unix.NsecToTimeval(int64(pause))
	_ = unix.SetsockoptTimeval(int(c), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience)
	sent := 0
	for sent < limit {
		n, err := unix.Write(int(c), b[sent%len(b):])
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Errorf("push: %v", err)
			break
		}
		sent += max(n, 0)
	}
	return sent
}

// Thousands of idle clients hold no server session and next to no memory.
func TestMemoryOfIdleClients(t *testing.T) {
	const clients, most = 5000, 1536
	p := startPooler(t, "default_pool_size = 5")
	db := postgres.Server(t).CreateDatabase(t)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*clients+500 {
		t.Fatalf("this test needs %d open files, the limit is %d (%v)", 2*clients+500, files.Cur, err)
	}
	login, query := encode(startupMessage(db)), encode(&pgproto3.Query{String: "SELECT 'once'"})
	scratch := make([]byte, 16<<10)
	all := make([]bareClient, 0, clients)
	add := func() {
		c := newBare(t, p)
		all = append(all, c)
		c.exchange(t, login, scratch)
		if got := c.exchange(t, query, scratch); !bytes.Contains(got, []byte("once")) {
			t.Fatalf("%q", got)
		}
	}
	defer func() {
		for _, c := range all {
			c.close()
		}
		eventually(t, 5*patience, "all have left", func() bool { return p.Front.Stat().Clients == 0 })
	}()
	for range 10 {
		add()
	}
	before := heap()
	for len(all) < clients {
		add()
	}
	eventually(t, 5*patience, "no server session is held", func() bool { st := onlyPool(t, p); return st.Active+st.Reclaiming == 0 })
	each := (heap() - before) / (clients - 10)
	t.Logf("%d idle clients cost %d bytes of heap each", clients, each)
	if each > most {
		t.Errorf("an idle client costs %d bytes, more than %d", each, most)
	}
	if st := p.Front.Stat(); st.Sessions[PhaseIdle.String()] != clients {
		t.Errorf("%d sessions are idle", st.Sessions[PhaseIdle.String()])
	}
}

const megabyte = 1 << 20

// A client that asks for a gigabyte and reads nothing holds back PostgreSQL, not the pooler's memory.
func TestMemoryOfWhatNobodyReads(t *testing.T) {
	p := startPooler(t, "default_pool_size = 2")
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	scratch := make([]byte, 16<<10)
	c := newBare(t, p)
	defer c.close()
	c.exchange(t, encode(startupMessage(db)), scratch)
	other := newRaw(t, p, db)
	before := heap()
	if _, err := unix.Write(int(c), encode(&pgproto3.Query{String: "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT"})); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "PostgreSQL is held back", func() bool {
		r, err := pg.Exec(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+db+"' AND wait_event = 'ClientWrite'")
		return err == nil && r[0][0] == "1"
	})
	if cost := heap() - before; cost > megabyte {
		t.Errorf("it costs %d bytes", cost)
	}
	if got := other.query("SELECT 'others go on'").only(); got != "others go on" {
		t.Error(got)
	}
}

// A statement of 100 MB passes through, and is looked into, without being kept.
func TestMemoryOfALargeStatement(t *testing.T) {
	const size = 100 * megabyte
	p := startPooler(t, "default_pool_size = 1")
	db := postgres.Server(t).CreateDatabase(t)
	scratch := make([]byte, 16<<10)
	c := newBare(t, p)
	defer c.close()
	c.exchange(t, encode(startupMessage(db)), scratch)
	const front, back = "SELECT length('", "')"
	piece := bytes.Repeat([]byte("x"), 64<<10)
	before, most := heap(), 0
	_, _ = unix.Write(int(c), append(wire.AppendHeader(nil, 'Q', len(front)+size+len(back)+1), front...))
	for sent := 0; sent < size; {
		sent += c.push(t, piece, 10*megabyte, patience)
		most = max(most, heap()-before)
	}
	got := c.exchange(t, []byte(back+"\x00"), scratch)
	if !bytes.Contains(got, []byte(strconv.Itoa(size))) {
		t.Errorf("%q", got)
	}
	t.Logf("a statement of %d MB costs %d bytes while it is sent", size/megabyte, most)
	if most > megabyte {
		t.Errorf("it costs %d bytes", most)
	}
}

// However many requests a client sends whose answers it does not read, or that nobody answers yet, they are not kept.
func TestMemoryOfRequestsWithoutEnd(t *testing.T) {
	p := startPooler(t, "default_pool_size = 2\nquery_wait_timeout = 0")
	db := postgres.Server(t).CreateDatabase(t)
	scratch := make([]byte, 16<<10)
	many := func(m ...pgproto3.FrontendMessage) []byte { return bytes.Repeat(encode(m...), 5000) }
	sync, sleep := &pgproto3.Sync{}, &pgproto3.Query{String: "SELECT pg_sleep(60)"}
	for _, tc := range []struct {
		name  string
		first []pgproto3.FrontendMessage
		flood []byte
	}{
		{"Sync by an idle client", nil, many(sync)},
		{"Sync behind a statement that runs", []pgproto3.FrontendMessage{sleep}, many(sync)},
		{"Flush behind a statement that runs", []pgproto3.FrontendMessage{sleep}, many(&pgproto3.Flush{})},
		{"Query behind a statement that runs", []pgproto3.FrontendMessage{sleep}, many(&pgproto3.Query{String: "SELECT 1"})},
		{"Query whose answers are not read", nil, many(&pgproto3.Query{String: "SELECT 1"})},
		{"Parse and Close", nil, many(&pgproto3.Parse{Name: "a", Query: "SELECT 1"}, &pgproto3.Close{ObjectType: 'S', Name: "a"})},
		{"Parse without a Sync", nil, many(&pgproto3.Parse{Query: "SELECT 1"})},
		{"Parse of a name in use", []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "a", Query: "SELECT 1"}}, many(&pgproto3.Parse{Name: "a", Query: "SELECT 1"})},
		{"errors", nil, many(&pgproto3.Query{String: "nonsense"})},
		{"unknown statements", nil, many(&pgproto3.Bind{PreparedStatement: "none"}, sync)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newBare(t, p)
			defer func() {
				c.abort()
				eventually(t, 5*patience, "it has left", func() bool {
					return p.Front.Stat().Clients == 0 && onlyPool(t, p).Active+onlyPool(t, p).Reclaiming == 0
				})
			}()
			c.exchange(t, encode(startupMessage(db)), scratch)
			before := heap()
			_, _ = unix.Write(int(c), encode(tc.first...))
			sent := c.push(t, tc.flood, 12*megabyte, 150*time.Millisecond)
			if cost := heap() - before; cost > 2*megabyte {
				t.Errorf("%d bytes of requests cost %d bytes", sent, cost)
			}
		})
	}
}

// A client that hangs up while it is not read from, since PostgreSQL is busy, is missed all the same.
func TestHangUpBehindABacklog(t *testing.T) {
	p := startPooler(t, "default_pool_size = 1")
	db := postgres.Server(t).CreateDatabase(t)
	c := newBare(t, p)
	c.exchange(t, encode(startupMessage(db)), make([]byte, 16<<10))
	_, _ = unix.Write(int(c), encode(&pgproto3.Query{String: "SELECT pg_sleep(60)"}))
	c.push(t, bytes.Repeat(encode(&pgproto3.Sync{}), 10_000), 150_000, patience)
	c.close()
	eventually(t, patience, "it has left, and its statement has ended", func() bool {
		gone := p.Front.Stat().Clients == 0
		st := onlyPool(t, p)
		return gone && st.Active+st.Reclaiming == 0 && st.Idle == 1
	})
}

// Clients that wait for a server session are not read from beyond a bound.
func TestMemoryOfAQueue(t *testing.T) {
	const clients = 20
	p := startPooler(t, "default_pool_size = 1\nquery_wait_timeout = 0")
	db := postgres.Server(t).CreateDatabase(t)
	holder := newRaw(t, p, db)
	holder.query("BEGIN")
	scratch := make([]byte, 16<<10)
	var all []bareClient
	for range clients {
		c := newBare(t, p)
		defer c.close()
		c.exchange(t, encode(startupMessage(db)), scratch)
		all = append(all, c)
	}
	before := heap()
	flood := bytes.Repeat(encode(&pgproto3.Query{String: "SELECT '" + strings.Repeat("x", 1000) + "'"}), 100)
	sent := 0
	for _, c := range all {
		sent += c.push(t, flood, 8*megabyte, 30*time.Millisecond)
	}
	cost := heap() - before
	t.Logf("%d clients that wait have sent %d bytes and cost %d each", clients, sent, cost/clients)
	if cost/clients > 512<<10 {
		t.Errorf("a client that waits costs %d bytes", cost/clients)
	}
}

// A session of one more word would be in the allocator's next size class, and thousands of them wait idle.
func TestSessionFitsItsSizeClass(t *testing.T) {
	const class = 448
	if size := unsafe.Sizeof(Session{}); size > class {
		t.Errorf("a Session takes %d bytes, more than %d", size, class)
	}
	if size := unsafe.Sizeof(trail{}); size > 48 { // likewise
		t.Errorf("a trail takes %d bytes, more than 48", size)
	}
}
