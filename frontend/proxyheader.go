package frontend

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Bounds of a PROXY header, in bytes (haproxy.org's proxy-protocol.txt, 2.1 and 2.2).
const (
	maxProxyLine   = 107      // version 1, CRLF included
	proxyPrefix    = 16       // version 2: signature, command, family, length
	maxProxyHeader = 4 << 10  // of version 2 behind that: 64 KB is allowed, some 2 KB is the largest that is sent
	proxyLine      = "PROXY " // version 1 begins so
)

// errNoProxyHeader tells that a connection does not begin with a PROXY header.
var errNoProxyHeader = errors.New("it does not begin with a PROXY header")

// cutProxyHeader cuts a PROXY header, of version 1 or 2, off b. client is where the proxy says that the client is; not
// valid if it does not say, because the connection is the proxy's own (LOCAL), or its client's address is not known to it
// or none of TCP. The header is looked at when it is whole; how large it may be is settled before that.
func cutProxyHeader(b []byte) (client netip.AddrPort, rest []byte, err error) {
	size, err := proxyHeaderSize(b)
	switch {
	case err != nil:
		return netip.AddrPort{}, b, err
	case len(b) < size:
		return netip.AddrPort{}, b, errShort
	}
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b[:size]), size))
	if err != nil {
		return netip.AddrPort{}, b, err
	}
	if source, ok := header.SourceAddr.(*net.TCPAddr); ok && header.Command.IsProxy() {
		from := source.AddrPort()
		client = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	}
	return client, b[size:], nil
}

// proxyHeaderSize is the size of the header that b begins with, in bytes, or errShort if that cannot be said yet.
func proxyHeaderSize(b []byte) (int, error) {
	switch {
	case startsWith(b, proxyLine):
		if end := bytes.IndexByte(b[:min(len(b), maxProxyLine)], '\n'); end >= 0 {
			return end + 1, nil
		}
		if len(b) >= maxProxyLine {
			return 0, proxyproto.ErrVersion1HeaderTooLong
		}
		return 0, errShort
	case !startsWith(b, string(proxyproto.SIGV2)):
		return 0, errNoProxyHeader
	case len(b) < proxyPrefix:
		return 0, errShort
	}
	size := int(binary.BigEndian.Uint16(b[proxyPrefix-2:]))
	if size > maxProxyHeader {
		return 0, proxyproto.ErrInvalidLength
	}
	return proxyPrefix + size, nil
}

// startsWith tells whether b begins with prefix, or is the beginning of it.
func startsWith(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// readProxyHeader takes the PROXY header off b, and reports whether there is one: from then on the client is where that
// says, wherever its address matters.
func (g *greeter) readProxyHeader(b []byte) (rest []byte, ok bool) {
	client, rest, err := cutProxyHeader(b)
	switch {
	case errors.Is(err, errShort):
		g.buf = bytes.Clone(b)
		return nil, false
	case err != nil:
		g.leave(&Refusal{
			Code: codeProtocolViolation, Message: "a connection from here must begin with a PROXY header",
			Hint: "The pooler's proxy_protocol names the network of this proxy. Have the proxy send the header, or take the network out.", Cause: err,
		})
		return nil, false
	}
	g.owed = owesPacket
	if !client.IsValid() {
		return rest, true
	}
	g.srv.lobby.leave(g)
	g.remote = client
	return rest, g.queueUp()
}
