package frontend

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// proxyV2 is a header of version 2 of that command and family.
func proxyV2(command, family byte, body string) []byte {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, 0x20|command, family, byte(len(body)>>8), byte(len(body)))
	return append(b, body...)
}

const (
	proxiedV1  = "PROXY TCP4 192.0.2.7 192.0.2.99 4711 6432\r\n"
	proxiedAt  = "192.0.2.7:4711"
	addresses4 = "\xc0\x00\x02\x07\xc0\x00\x02\x63\x12\x67\x19\x20"
)

func TestProxyHeader(t *testing.T) {
	v6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 16) + "\x12\x67\x19\x20"
	for _, tc := range []struct {
		name, header string
		want         string // "": not known; "bad": refused; "short": more is to come
	}{
		{"version 1", proxiedV1, proxiedAt},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 6432\r\n", "[2001:db8::1]:4711"},
		{"version 1, not known", "PROXY UNKNOWN\r\n", ""},
		{"version 1, not known, with more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""},
		{"version 2", string(proxyV2(1, 0x11, addresses4)), proxiedAt},
		{"version 2 with more", string(proxyV2(1, 0x11, addresses4+"\x04\x00\x01x")), proxiedAt},
		{"version 2, IPv6", string(proxyV2(1, 0x21, v6)), "[2001:db8::1]:4711"},
		{"version 2, IPv4 in IPv6", string(proxyV2(1, 0x21, strings.Repeat("\x00", 10)+"\xff\xff\xc0\x00\x02\x07"+strings.Repeat("\x00", 16)+"\x12\x67\x19\x20")), proxiedAt},
		{"version 2, the proxy's own", string(proxyV2(0, 0, "")), ""},
		{"version 2, the proxy's own, with addresses", string(proxyV2(0, 0x11, addresses4)), ""},
		{"version 2, a Unix socket", string(proxyV2(1, 0x31, strings.Repeat("\x00", 216))), ""},
		{"nothing", "", "short"},
		{"a letter", "P", "short"},
		{"version 1 without end", "PROXY TCP4 192.0.2.7", "short"},
		{"version 1, 107 bytes without end", "PROXY TCP4 " + strings.Repeat("1", 96), "bad"},
		{"version 1, an end too late", "PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", "bad"},
		{"version 1, no CR", "PROXY TCP4 192.0.2.7 192.0.2.99 4711 6432\n", "bad"},
		{"version 1, a name", "PROXY TCP4 localhost 192.0.2.99 4711 6432\r\n", "bad"},
		{"version 1, a port of 70000", "PROXY TCP4 192.0.2.7 192.0.2.99 70000 6432\r\n", "bad"},
		{"version 2, half a signature", "\r\n\r\n\x00", "short"},
		{"version 2, half", string(proxyV2(1, 0x11, addresses4)[:20]), "short"},
		{"version 2, 4 KB", string(proxyV2(1, 0x11, addresses4+"\x04\x0f\xf1"+strings.Repeat("x", 4081))), proxiedAt},
		{"version 2, 64 KB", string(proxyV2(1, 0x11, strings.Repeat("x", 65535))), "bad"},
		{"version 2, too short for addresses", string(proxyV2(1, 0x11, "x")), "bad"},
		{"version 2, a command that there is not", string(proxyV2(2, 0x11, addresses4)), "bad"},
		{"version 3", strings.Replace(string(proxyV2(1, 0x11, addresses4)), "\x21", "\x31", 1), "bad"},
		{"a start-up packet", string(packet(version30, someone)), "bad"},
		{"TLS", "\x16\x03\x01", "bad"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			behind := ""
			if tc.want != "short" && tc.want != "bad" {
				behind = "behind"
			}
			client, rest, err := cutProxyHeader([]byte(tc.header + behind))
			got := ""
			switch {
			case errors.Is(err, errShort):
				got = "short"
			case err != nil:
				got = "bad"
			case client.IsValid():
				got = client.String()
			}
			if got != tc.want || err == nil && string(rest) != behind {
				t.Errorf("%q (%v), want %q; behind it is %q", got, err, tc.want, rest)
			}
		})
	}
}

// FuzzProxyHeader: a header means the same in whatever pieces it comes, is of bounded size, and says nothing by halves.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte(proxiedV1 + "rest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(append(proxyV2(1, 0x11, addresses4), "rest"...))
	f.Add(proxyV2(1, 0x21, strings.Repeat("\x01", 36)+"\x04\x00\x01x"))
	f.Add(proxyV2(0, 0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, rest, err := cutProxyHeader(b)
		if err == nil && len(b)-len(rest) > proxyPrefix+maxProxyHeader || err != nil && client != (netip.AddrPort{}) {
			t.Fatalf("%d bytes, %s, %v", len(b)-len(rest), client, err)
		}
		for n := range min(len(b), 300) {
			early, more, earlyErr := cutProxyHeader(b[:n])
			switch {
			case errors.Is(earlyErr, errShort):
				if len(b) > proxyPrefix+maxProxyHeader && n > proxyPrefix+maxProxyHeader {
					t.Fatal("it waits for ever")
				}
			case earlyErr != nil && err == nil:
				t.Fatalf("refused after %d bytes, not after all: %v", n, earlyErr)
			case earlyErr == nil && (early != client || err != nil || !bytes.Equal(b[:n-len(more)], b[:len(b)-len(rest)])):
				t.Fatalf("after %d bytes %s, after all %s, %v", n, early, client, err)
			}
		}
	})
}
