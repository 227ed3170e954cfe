package tlsconn

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// pair is both ends of a connection under s, with made-up secrets.
func pair(s *suite) (client, server *Layer) {
	client, server = &Layer{suite: s, client: true}, &Layer{suite: s}
	up, down := bytes.Repeat([]byte{1}, maxHash), bytes.Repeat([]byte{2}, maxHash)
	for _, l := range []*Layer{client, server} {
		toServer, toClient := &l.out, &l.in
		if !l.client {
			toServer, toClient = toClient, toServer
		}
		toServer.rekey(s, up[:s.hashLen])
		toClient.rekey(s, down[:s.hashLen])
		if !s.tls13 {
			l.in.seq, l.out.seq = 1, 1
		}
	}
	return client, server
}

func eachSuite(t *testing.T, test func(t *testing.T, s *suite)) {
	for i := range suites {
		t.Run(suites[i].name, func(t *testing.T) { test(t, &suites[i]) })
	}
}

var aes13, aes12 = &suites[0], &suites[4]

// record is one record with any inner content, sealed as l would. In TLS 1.3 text has its type and padding behind it.
func record(l *Layer, kind byte, text []byte) []byte {
	h := &l.out
	if !l.suite.tls13 {
		return h.seal(l.suite, nil, kind, text)
	}
	n := len(text) + tagLen
	header := []byte{typeData, 3, 3, byte(n >> 8), byte(n)}
	b := h.aead.Seal(slices.Clone(header), h.xorNonce(), text, header)
	h.advance()
	return b
}

// inner is text with its type behind it.
func inner(kind byte, text ...byte) []byte { return append(text, kind) }

// read opens what there is and fails the test on an error.
func read(t *testing.T, l *Layer, b []byte) string {
	t.Helper()
	plain, rest, err := l.Open(slices.Clone(b))
	if err != nil || len(rest) > 0 {
		t.Fatalf("%d bytes are left, error %v", len(rest), err)
	}
	return string(plain)
}

// wantFault opens b, which l must refuse by code.
func wantFault(t *testing.T, l *Layer, b []byte, code alert) {
	t.Helper()
	plain, rest, err := l.Open(slices.Clone(b))
	var fault *AlertError
	if !errors.As(err, &fault) || fault.Remote || fault.Code != uint8(code) || len(plain)+len(rest) > 0 {
		t.Fatalf("want the alert %d, got %v with %d bytes of text", code, err, len(plain))
	}
	if len(l.Answer()) == 0 {
		t.Error("the peer is not told")
	}
	if _, _, again := l.Open(nil); !errors.Is(again, err) {
		t.Errorf("the error does not come again: %v", again)
	}
}

func TestEveryChunkingGivesTheSameText(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *suite) {
		from, to := pair(s)
		random := rand.New(rand.NewPCG(1, 2))
		var sent, wire, got, held []byte
		for _, n := range []int{1, 2, 100, maxPlain - 1, maxPlain, maxPlain + 1, 100_000, 7} {
			text := make([]byte, n)
			for i := range text {
				text[i] = byte(random.Uint32())
			}
			sent = append(sent, text...)
			wire = from.Seal(wire, text)
		}
		wire = from.SealClose(wire)
		var err error
		for i := 0; len(wire) > 0; i++ {
			n := min(1+random.IntN(1<<random.IntN(17)), len(wire))
			if i < 300 {
				n = 1
			}
			chunk := append(held, wire[:n]...)
			wire = wire[n:]
			var plain, rest []byte
			plain, rest, err = to.Open(chunk)
			got = append(got, plain...)
			held = slices.Clone(rest)
		}
		if !errors.Is(err, io.EOF) || !bytes.Equal(sent, got) {
			t.Errorf("got %d of %d bytes and the error %v", len(got), len(sent), err)
		}
	})
}

// RFC 8448, section 3: the client's application data.
func TestTheTraceOfRFC8448(t *testing.T) {
	secret, _ := hex.DecodeString("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
	wire, _ := hex.DecodeString("1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4")
	want := make([]byte, 50)
	for i := range want {
		want[i] = byte(i)
	}
	l := &Layer{suite: aes13}
	l.in.rekey(l.suite, secret)
	l.out.rekey(l.suite, secret)
	if got := read(t, l, wire); got != string(want) {
		t.Errorf("opened: %x", got)
	}
	if got := l.Seal(nil, want); !bytes.Equal(got, wire) {
		t.Errorf("sealed: %x", got)
	}
}

func TestForgedRecordsAreRefusedAlike(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *suite) {
		client, _ := pair(s)
		good := client.Seal(nil, []byte("twenty bytes of text"))
		for i := headerLen; i < len(good); i++ {
			_, server := pair(s)
			bad := slices.Clone(good)
			bad[i] ^= 0x40
			wantFault(t, server, bad, alertBadRecordMAC)
		}
		for n := range len(good) - headerLen { // cut short, with a header that says so
			_, server := pair(s)
			bad := slices.Clone(good[:headerLen+n])
			bad[3], bad[4] = 0, byte(n)
			wantFault(t, server, bad, alertBadRecordMAC)
		}
	})
}

func TestARecordIsGoodOnlyOnceAndInItsPlace(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *suite) {
		client, server := pair(s)
		one, two := client.Seal(nil, []byte("1")), client.Seal(nil, []byte("2"))
		plain, _, err := server.Open(slices.Concat(one, one))
		if string(plain) != "1" || err == nil {
			t.Errorf("repeated: %q, %v", plain, err)
		}
		_, server = pair(s)
		wantFault(t, server, two, alertBadRecordMAC)
	})
}

func TestTheTellerOfAFaultIsUnderstood(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *suite) {
		client, server := pair(s)
		bad := client.Seal(nil, []byte("x"))
		bad[len(bad)-1]++
		_, _, _ = server.Open(bad)
		answer := server.Answer()
		_, _, err := client.Open(answer)
		var told *AlertError
		if !errors.As(err, &told) || !told.Remote || told.Code != uint8(alertBadRecordMAC) || !strings.Contains(err.Error(), "bad record MAC") {
			t.Errorf("the peer hears %v", err)
		}
		if more := append(server.Answer(), server.SealClose(nil)...); len(more) > 0 {
			t.Errorf("%d bytes follow the alert", len(more))
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	kib16 := make([]byte, maxPlain)
	type side = func(s *suite) (from, to *Layer)
	toServer := func(s *suite) (*Layer, *Layer) { c, v := pair(s); return c, v }
	toClient := func(s *suite) (*Layer, *Layer) { c, v := pair(s); return v, c }
	ku := func(request byte, more ...byte) []byte {
		return inner(typeHandshake, append([]byte{messageKeyUpdate, 0, 0, 1, request}, more...)...)
	}
	for _, tc := range []struct {
		name  string
		suite *suite
		side  side
		kind  byte
		text  []byte
		want  alert
	}{
		{"1.3: more than 2^14 bytes", aes13, toServer, 0, inner(typeData, append(kib16, 0)...), alertRecordOverflow},
		{"1.3: padding beyond 2^14 bytes", aes13, toServer, 0, append(inner(typeData, kib16[:maxPlain-1]...), 0, 0), alertRecordOverflow},
		{"1.3: padding alone", aes13, toServer, 0, make([]byte, 30), alertUnexpectedMessage},
		{"1.3: nothing at all", aes13, toServer, 0, nil, alertUnexpectedMessage},
		{"1.3: change_cipher_spec under the key", aes13, toServer, 0, inner(typeChangeCipherSpec, 1), alertUnexpectedMessage},
		{"1.3: an unknown type", aes13, toServer, 0, inner(99, 1), alertUnexpectedMessage},
		{"1.3: an empty handshake record", aes13, toServer, 0, inner(typeHandshake), alertUnexpectedMessage},
		{"1.3: ClientHello", aes13, toServer, 0, inner(typeHandshake, 1, 0, 0, 0), alertUnexpectedMessage},
		{"1.3: Certificate of a client nobody has asked", aes13, toServer, 0, inner(typeHandshake, 11, 0, 0, 0), alertUnexpectedMessage},
		{"1.3: a ticket for a server", aes13, toServer, 0, inner(typeHandshake, messageNewSessionTicket, 0, 0, 0), alertUnexpectedMessage},
		{"1.3: a ticket too long", aes13, toClient, 0, inner(typeHandshake, messageNewSessionTicket, 1, 0, 1), alertIllegalParameter},
		{"1.3: CertificateRequest", aes13, toClient, 0, inner(typeHandshake, 13, 0, 0, 0), alertUnexpectedMessage},
		{"1.3: KeyUpdate of an unknown kind", aes13, toClient, 0, ku(2), alertIllegalParameter},
		{"1.3: KeyUpdate with something behind", aes13, toClient, 0, ku(0, 4), alertUnexpectedMessage},
		{"1.3: KeyUpdate of a wrong length", aes13, toClient, 0, inner(typeHandshake, messageKeyUpdate, 0, 0, 2, 0, 0), alertDecodeError},
		{"1.3: half an alert", aes13, toClient, 0, inner(typeAlert, 2), alertDecodeError},
		{"1.3: two alerts in one", aes13, toClient, 0, inner(typeAlert, 1, 0, 1, 0), alertDecodeError},
		{"1.2: more than 2^14 bytes", aes12, toServer, typeData, append(kib16, 0), alertRecordOverflow},
		{"1.2: change_cipher_spec", aes12, toServer, typeChangeCipherSpec, []byte{1}, alertUnexpectedMessage},
		{"1.2: an unknown type", aes12, toServer, 24, []byte{1}, alertUnexpectedMessage},
		{"1.2: ClientHello", aes12, toServer, typeHandshake, []byte{1, 0, 0, 0}, alertUnexpectedMessage},
		{"1.2: HelloRequest of a client", aes12, toServer, typeHandshake, []byte{0, 0, 0, 0}, alertUnexpectedMessage},
		{"1.2: HelloRequest with something in it", aes12, toClient, typeHandshake, []byte{0, 0, 0, 1, 0}, alertUnexpectedMessage},
		{"1.2: KeyUpdate", aes12, toClient, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0}, alertUnexpectedMessage},
		{"1.2: an empty handshake record", aes12, toClient, typeHandshake, nil, alertUnexpectedMessage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from, to := tc.side(tc.suite)
			wantFault(t, to, record(from, tc.kind, tc.text), tc.want)
		})
	}
}

func TestHeadersThatAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name   string
		suite  *suite
		header []byte
		want   alert
	}{
		{"1.3: too long, judged by the header alone", aes13, []byte{23, 3, 3, 0x41, 1}, alertRecordOverflow},
		{"1.2: too long", aes12, []byte{23, 3, 3, 0xff, 0xff}, alertRecordOverflow},
		{"1.3: another version", aes13, []byte{23, 3, 1, 0, 0}, alertProtocolVersion},
		{"1.2: another version", aes12, []byte{23, 3, 4, 0, 0}, alertProtocolVersion},
		{"1.3: an alert in the clear", aes13, []byte{21, 3, 3, 0, 2, 1, 0}, alertUnexpectedMessage},
		{"1.3: change_cipher_spec in the clear", aes13, []byte{20, 3, 3, 0, 1, 1}, alertUnexpectedMessage},
		{"1.2: an alert in the clear", aes12, []byte{21, 3, 3, 0, 2, 1, 0}, alertBadRecordMAC},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, server := pair(tc.suite)
			wantFault(t, server, tc.header, tc.want)
		})
	}
}

func TestAlerts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		suite *suite
		alert [2]byte
		want  string
	}{
		{"1.3: close_notify", aes13, [2]byte{1, 0}, "EOF"},
		{"1.3: close_notify, called fatal", aes13, [2]byte{2, 0}, "EOF"},
		{"1.3: user_canceled, which JDK misuses", aes13, [2]byte{1, 90}, ""},
		{"1.3: there are no warnings", aes13, [2]byte{1, 40}, "TLS: the peer gave up: handshake failure"},
		{"1.3: fatal", aes13, [2]byte{2, 42}, "TLS: the peer gave up: bad certificate"},
		{"1.2: close_notify", aes12, [2]byte{1, 0}, "EOF"},
		{"1.2: a warning", aes12, [2]byte{1, 100}, ""},
		{"1.2: fatal", aes12, [2]byte{2, 20}, "TLS: the peer gave up: bad record MAC"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := pair(tc.suite)
			b := client.Seal(nil, []byte("before"))
			b = client.out.seal(tc.suite, b, typeAlert, tc.alert[:])
			b = client.Seal(b, []byte("behind"))
			plain, _, err := server.Open(b)
			text, got := "before", ""
			if err != nil {
				got = err.Error()
			}
			if tc.want == "" {
				text += "behind"
			}
			if string(plain) != text || got != tc.want || server.Answer() != nil {
				t.Errorf("read %q and the error %q", plain, got)
			}
		})
	}
}

func TestUselessRecordsAreCounted(t *testing.T) {
	for name, useless := range map[string]func(l *Layer) []byte{
		"1.3: empty":        func(l *Layer) []byte { return record(l, 0, inner(typeData)) },
		"1.3: padding":      func(l *Layer) []byte { return record(l, 0, append(inner(typeData), make([]byte, 500)...)) },
		"1.3: cancelled":    func(l *Layer) []byte { return record(l, 0, inner(typeAlert, 1, byte(alertUserCanceled))) },
		"1.3: new keys":     func(l *Layer) []byte { return l.renew(nil) },
		"1.2: empty":        func(l *Layer) []byte { return record(l, typeData, nil) },
		"1.2: warnings":     func(l *Layer) []byte { return record(l, typeAlert, []byte{1, 100}) },
		"1.2: HelloRequest": func(l *Layer) []byte { return record(l, typeHandshake, []byte{0, 0, 0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := aes13
			if strings.HasPrefix(name, "1.2") {
				s = aes12
			}
			client, server := pair(s)
			for range 3 { // text in between makes them harmless
				for range maxUseless {
					read(t, client, useless(server))
				}
				if got := read(t, client, server.Seal(nil, []byte("text"))); got != "text" {
					t.Fatalf("read %q", got)
				}
			}
			for range maxUseless {
				read(t, client, useless(server))
			}
			wantFault(t, client, useless(server), alertUnexpectedMessage)
		})
	}
}

func TestTicketsArePassedOver(t *testing.T) {
	ticket := func(n int) []byte {
		return append([]byte{messageNewSessionTicket, 0, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	for name, parts := range map[string][][]byte{
		"one":                      {ticket(200)},
		"two in a record":          {slices.Concat(ticket(200), ticket(10))},
		"over several records":     {ticket(40_000)[:maxPlain], ticket(40_000)[maxPlain : 2*maxPlain], ticket(40_000)[2*maxPlain:]},
		"its head byte by byte":    {{4}, {0}, {0}, {2}, {9}, {9}},
		"with the next one's head": {append(ticket(5), 4, 0), {0, 1, 7}},
		"empty":                    {ticket(0)},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(aes13)
			for _, p := range parts {
				if got := read(t, client, record(server, 0, inner(typeHandshake, slices.Clone(p)...))); got != "" || client.Answer() != nil {
					t.Fatalf("read %q", got)
				}
			}
			if got := read(t, client, server.Seal(nil, []byte("text"))); got != "text" {
				t.Errorf("behind it: %q", got)
			}
		})
	}
	client, server := pair(aes13)
	read(t, client, record(server, 0, inner(typeHandshake, ticket(100)[:50]...)))
	wantFault(t, client, server.Seal(nil, []byte("in between")), alertUnexpectedMessage)
}

// A peer that asks for new keys all the time and does not read is owed one answer, however often it has asked.
func TestAnswersDoNotPileUp(t *testing.T) {
	client, server := pair(aes13)
	for range 1000 {
		b := record(server, 0, inner(typeHandshake, messageKeyUpdate, 0, 0, 1, updateRequested))
		server.out.renew(aes13)
		read(t, client, server.Seal(b, []byte("x")))
	}
	if answer := client.Answer(); len(answer) == 0 || len(answer) > 64 || client.Answer() != nil {
		t.Errorf("%d bytes are owed, and %d more", len(answer), len(client.Answer()))
	}
}

func TestNewKeys(t *testing.T) {
	for i := range 3 {
		s := &suites[i]
		t.Run(s.name, func(t *testing.T) {
			client, server := pair(s)
			request := func(l *Layer) []byte {
				b := record(l, 0, inner(typeHandshake, messageKeyUpdate, 0, 0, 1, updateRequested))
				l.out.renew(s)
				return b
			}
			for n := range 5 {
				b := server.Seal(nil, []byte("old "))
				for range n { // several, but one answer
					b = append(b, request(server)...)
				}
				b = server.Seal(b, []byte("new"))
				if got := read(t, client, b); got != "old new" {
					t.Fatalf("read %q", got)
				}
				answer := client.Answer()
				if (len(answer) > 0) != (n > 0) || client.Answer() != nil {
					t.Fatalf("%d requests are answered by %d bytes", n, len(answer))
				}
				if got := read(t, server, client.Seal(answer, []byte("thanks"))); got != "thanks" || server.Answer() != nil {
					t.Fatalf("the answer reads %q", got)
				}
			}
			// In two records, of which the second has its one byte.
			a := record(server, 0, inner(typeHandshake, messageKeyUpdate, 0, 0, 1))
			b := record(server, 0, inner(typeHandshake, updateNotRequested))
			server.out.renew(s)
			if got := read(t, client, slices.Concat(a, b, server.Seal(nil, []byte("cut")))); got != "cut" || client.Answer() != nil {
				t.Errorf("read %q", got)
			}
		})
	}
}

func TestAKeyIsRenewedInTime(t *testing.T) {
	client, server := pair(aes13)
	client.out.seq, server.in.seq = renewAfter-1, renewAfter-1
	key := client.out.aead
	b := client.Seal(nil, make([]byte, 3*maxPlain))
	if client.out.aead == key || client.out.seq != 2 {
		t.Errorf("the key is in use after %d records", client.out.seq)
	}
	if got := read(t, server, b); len(got) != 3*maxPlain || server.Answer() != nil {
		t.Errorf("read %d bytes", len(got))
	}
}

func TestSequenceNumbersDoNotWrap(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *suite) {
		client, server := pair(s)
		client.out.seq, server.in.seq = math.MaxUint64, math.MaxUint64
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a record was sealed after the last one")
				}
			}()
			client.out.seal(s, nil, typeData, []byte("x"))
		}()
		client.out.seq = math.MaxUint64 - 1
		b := client.out.seal(s, nil, typeData, []byte("x"))
		server.in.seq = math.MaxUint64 - 1
		read(t, server, b)
		client.out.seq--
		wantFault(t, server, client.out.seal(s, nil, typeData, []byte("x")), alertBadRecordMAC)
	})
}

func TestSealAndOpenAllocateNothing(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *suite) {
		client, server := pair(s)
		text := make([]byte, 40_000)
		b := make([]byte, 0, len(text)+3*Overhead)
		if n := testing.AllocsPerRun(100, func() {
			b = client.Seal(b[:0], text)
			if plain, rest, err := server.Open(b); len(plain) != len(text) || len(rest) > 0 || err != nil {
				t.Fatal(err)
			}
			if server.Answer() != nil {
				t.Fatal("an answer")
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
		if cap(b) != len(text)+3*Overhead {
			t.Error("the room that is documented does not suffice")
		}
	})
}

func TestALayerIsSmall(t *testing.T) {
	const layers = 500
	eachSuite(t, func(t *testing.T, s *suite) {
		kept := make([]*Layer, 0, layers)
		_, _ = pair(s)
		before := heap()
		for len(kept) < layers {
			a, b := pair(s)
			kept = append(kept, a, b)
		}
		each := int(heap()-before) / layers
		runtime.KeepAlive(kept)
		if each > 3000 {
			t.Errorf("a layer keeps %d bytes of heap, want at most 3000", each)
		}
		t.Logf("%d bytes", each)
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestNamesForPeople(t *testing.T) {
	a, _ := pair(&suites[1])
	b, _ := pair(aes12)
	for want, l := range map[string]*Layer{"TLSv1.3/TLS_AES_256_GCM_SHA384": a, "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256": b} {
		if got := l.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if a.Version() != "TLSv1.3" || a.Cipher() != "TLS_AES_256_GCM_SHA384" || a.Bits() != 256 || b.Bits() != 128 {
		t.Error("pg_stat_ssl would say something else")
	}
}
