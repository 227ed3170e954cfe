package frontend

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// stormSize is how many malformed messages a storm has: POOLER_STORM=1000000 for a long one.
func stormSize(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("POOLER_STORM")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("POOLER_STORM: %v", err)
	}
	return n
}

// stormer sends rubbish, one connection after the other. It is not for two goroutines.
type stormer struct {
	random *rand.Rand
	addr   string
	tls    *tls.Config
	hello  []byte // of a handshake, as it should be
}

// rubbish is something like good: another one at random, a part of it, it with other bytes, with a length that is a lie,
// with more behind, or nothing like it.
func (s *stormer) rubbish(good []byte) []byte {
	b, r := bytes.Clone(good), s.random
	switch r.IntN(6) {
	case 0:
		b = make([]byte, r.IntN(600))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case 1:
		b = b[:r.IntN(len(b))]
	case 2, 3:
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
	case 4:
		if at := r.IntN(6); len(b) >= at+4 {
			binary.BigEndian.PutUint32(b[at:], r.Uint32()>>r.IntN(32))
		}
	case 5:
		b = append(b, s.rubbish(good)...)
	}
	return b
}

// connect is a connection from that address, which leaves nothing behind in the kernel when it is closed.
func (s *stormer) connect(from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	_ = nc.(*net.TCPConn).SetLinger(0)
	return nc, nc.SetDeadline(time.Now().Add(10 * patience))
}

// outlast reads until the pooler closes; only that it does not is an error.
func outlast(nc net.Conn) error {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, err := io.Copy(io.Discard, nc)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return errors.New("the pooler does not close the connection")
	}
	return nil
}

// say sends what is given, in turn, and waits for the end.
func (s *stormer) say(from string, said ...[]byte) error {
	nc, err := s.connect(from)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_, _ = nc.Write(bytes.Join(said, nil))
	return outlast(nc)
}

// shake is a connection whose handshake has succeeded.
func (s *stormer) shake() (raw net.Conn, secured *tls.Conn, err error) {
	if raw, err = s.connect("127.0.0.3"); err != nil {
		return nil, nil, err
	}
	secured = tls.Client(raw, s.tls)
	if err = secured.Handshake(); err != nil {
		_ = raw.Close()
	}
	return raw, secured, err
}

// unproven is what somebody sends who need not prove anything.
func unproven() []byte { return encode(startupMessage("postgres", "user", pgtest.Superuser)) }

// asking is messages that are answered with errors, but for the last, and so that the connection stays.
func (s *stormer) asking(n int) (b []byte) {
	for range n {
		b = append(b, encode([][]pgproto3.FrontendMessage{
			{&pgproto3.Bind{PreparedStatement: "none"}, &pgproto3.Sync{}},
			{&pgproto3.Query{String: "rubbish \x01\xff"}},
			{&pgproto3.Describe{ObjectType: 'x', Name: "none"}, &pgproto3.Sync{}},
			{&pgproto3.Execute{Portal: "none"}, &pgproto3.Sync{}},
			{&pgproto3.CopyData{Data: []byte("rubbish")}},
			{&pgproto3.Close{ObjectType: 'S', Name: "none"}, &pgproto3.Sync{}},
		}[s.random.IntN(6)]...)...)
	}
	return b
}

// stages are where rubbish can come. Each sends so many messages of it as it returns.
var stages = []struct {
	name   string
	weight int
	send   func(s *stormer) (messages int, err error)
}{
	{"in place of a start-up packet", 6, func(s *stormer) (int, error) {
		return 1, s.say("127.0.0.2", s.rubbish(packet(version30, someone)))
	}},
	{"in place of a cancel request", 2, func(s *stormer) (int, error) {
		return 1, s.say(fmt.Sprintf("127.0.0.%d", 2+s.random.IntN(60)), s.rubbish(packet(codeCancelRequest, "\x00\x00\x00\x01abcd")))
	}},
	{"in place of a proof", 2, func(s *stormer) (int, error) {
		first := encode(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=rOprNGfwEbeRWgbNEkqO")})
		return 1, s.say("127.0.0.2", packet(version30, someone), s.rubbish(first))
	}},
	{"behind SSLRequest", 2, func(s *stormer) (int, error) {
		nc, err := s.connect("127.0.0.4")
		if err != nil {
			return 1, err
		}
		defer func() { _ = nc.Close() }()
		_, _ = nc.Write(packet(codeSSLRequest, ""))
		_, _ = io.ReadFull(nc, make([]byte, 1))
		_, _ = nc.Write(s.rubbish(s.hello))
		return 1, outlast(nc)
	}},
	{"in place of a handshake", 2, func(s *stormer) (int, error) { return 1, s.say("127.0.0.5", s.rubbish(s.hello)) }},
	{"in place of a PROXY header", 4, func(s *stormer) (int, error) {
		good := [][]byte{[]byte(proxiedV1), proxyV2(1, 0x11, addresses4), proxyV2(1, 0x21, string(make([]byte, 36)))}
		return 1, s.say("127.0.0.66", s.rubbish(good[s.random.IntN(len(good))]), packet(version30, someone))
	}},
	{"in records", 1, func(s *stormer) (int, error) {
		raw, secured, err := s.shake()
		if err != nil {
			return 1, err
		}
		defer func() { _ = raw.Close() }()
		_, _ = secured.Write(unproven())
		_, _ = raw.Write(s.rubbish(append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...)))
		return 1, outlast(raw)
	}},
	{"within TLS, in place of a start-up packet", 1, func(s *stormer) (int, error) {
		raw, secured, err := s.shake()
		if err != nil {
			return 1, err
		}
		defer func() { _ = raw.Close() }()
		_, _ = secured.Write(s.rubbish(packet(version30, someone)))
		return 1, outlast(secured)
	}},
	{"within TLS, behind a login", 1, func(s *stormer) (int, error) {
		raw, secured, err := s.shake()
		if err != nil {
			return 1, err
		}
		defer func() { _ = raw.Close() }()
		n := s.random.IntN(30)
		_, _ = secured.Write(unproven())
		_, _ = secured.Write(append(s.asking(n), s.rubbish(encode(&pgproto3.Parse{Name: "a", Query: "SELECT 1"}))...))
		return n + 1, outlast(secured)
	}},
	{"behind a login", 2, func(s *stormer) (int, error) {
		n := s.random.IntN(200)
		return n + 1, s.say("127.0.0.2", unproven(), s.asking(n), s.rubbish(encode(&pgproto3.Query{String: "SELECT 1"})))
	}},
}

// helloOf is what a client with cfg says first.
func helloOf(cfg *tls.Config) []byte {
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	go func() { _ = tls.Client(near, cfg).Handshake() }()
	b := make([]byte, 16<<10)
	n, _ := far.Read(b)
	return b[:n]
}

// rest is what a pooler has when nobody does anything.
type restState struct{ goroutines, heap int }

func atRest() restState { return restState{runtime.NumGoroutine(), heap()} }

// A storm of malformed messages at every stage: nobody else is disturbed, nothing crashes, and nothing stays behind.
func TestStormOfRubbish(t *testing.T) {
	messages := stormSize(t, 3_000)
	set := certs.New(t)
	hba := filepath.Join(t.TempDir(), "hba.conf")
	if err := os.WriteFile(hba, []byte("host all "+pgtest.Superuser+" all trust\nhost all all all scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startPooler(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_file = %q\nproxy_protocol = [\"127.0.0.66\"]\nloops = 2\ndefault_pool_size = 4\nlog_level = \"error\"\n",
		hba, authFile(t))+withTLS(nil, set.Server(), "prefer"))
	over := make(chan struct{})
	var bystanders sync.WaitGroup
	var rounds atomic.Int64
	for i, c := range []*rawClient{newRaw(t, p, "postgres"), newSecure(t, p, set.ClientConfig(nil), "postgres"), newSecure(t, p, set.ClientConfig(nil), "postgres")} {
		bystanders.Go(func() {
			for n := 0; ; n++ {
				if got := c.query(fmt.Sprintf("SELECT '%d-%d'", i, n)).only(); got != fmt.Sprintf("%d-%d", i, n) {
					t.Errorf("bystander %d: %q", i, got)
					return
				}
				rounds.Add(1)
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	cheap := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: []string{"postgresql"}}
	storm := func(messages int, seed uint64) {
		var sent atomic.Int64
		var storming sync.WaitGroup
		for i := range 8 {
			s := &stormer{random: rand.New(rand.NewPCG(seed, uint64(i))), addr: p.Addr, tls: cheap, hello: helloOf(cheap)}
			storming.Go(func() {
				for sent.Load() < int64(messages) && !t.Failed() {
					n, err := s.once()
					if err != nil {
						t.Error(err)
					}
					sent.Add(int64(n))
				}
			})
		}
		storming.Wait()
		eventually(t, 5*patience, "only the bystanders are left", func() bool {
			idle := p.Front.Stat().Clients == 3 && p.Front.farewell.lingering.Load() == 0
			for _, st := range p.Pools.Stats() {
				idle = idle && st.Reclaiming+st.Waiting+st.Closing == 0
			}
			return idle
		})
	}
	storm(min(messages/3, 3_000), 1) // so that what is kept for good has been made
	var before restState
	eventually(t, patience, "rest", func() bool { before = atRest(); return true })
	begun := time.Now()
	storm(messages, 2)
	took := time.Since(begun)
	var after restState
	eventually(t, 5*patience, "it is as it was", func() bool {
		after = atRest()
		return after.goroutines <= before.goroutines+5 && after.heap <= before.heap+2*megabyte
	})
	close(over)
	bystanders.Wait()
	st := p.Front.Stat()
	t.Logf("%d messages in %s; %d answers to bystanders; goroutines %d → %d, heap %d → %d KB; %v; %d turned away, malformed %d",
		messages, took.Round(time.Millisecond), rounds.Load(), before.goroutines, after.goroutines, before.heap>>10, after.heap>>10, results(p), st.TurnedAway, st.Malformed)
	if panics := p.Loops[0].Panics() + p.Loops[1].Panics(); panics > 0 {
		t.Errorf("%d panics", panics)
	}
}

// once sends rubbish at a stage that chance has chosen.
func (s *stormer) once() (int, error) {
	sum := 0
	for _, stage := range stages {
		sum += stage.weight
	}
	at := s.random.IntN(sum)
	for _, stage := range stages {
		if at -= stage.weight; at < 0 {
			n, err := stage.send(s)
			if err != nil {
				err = fmt.Errorf("%s: %w", stage.name, err)
			}
			return n, err
		}
	}
	return 0, nil
}
