package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// peer speaks LDAP (RFC 4511) as a directory does: it knows some entries and their passwords, and notes what it is asked.
type peer struct {
	t         *testing.T
	addr      string
	passwords map[string]string   // of a DN
	found     map[string][]string // DNs that a filter finds
	results   map[string]uint16   // what the bind of a DN ends with, if not by its password
	silent    chan struct{}       // if there is one, gets a token for each request, and nobody an answer

	mu    sync.Mutex // guards asked
	asked []string
}

// startPeer serves until the test ends. With secure, TLS comes first.
func startPeer(t *testing.T, p *peer, secure bool) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.t, p.addr = t, l.Addr().String()
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				if secure {
					p.serve(tls.Server(conn, peerTLS()))
					return
				}
				p.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		stop()
		wg.Wait()
	})
	return p
}

func peerTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{certificate()}} }

func (p *peer) serve(conn net.Conn) {
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 {
			return
		}
		op := request.Children[1]
		if p.silent != nil {
			p.silent <- struct{}{}
			continue
		}
		switch int(op.Tag) {
		case ldap.ApplicationBindRequest:
			p.answer(conn, request, result(ldap.ApplicationBindResponse, p.bind(op.Children[1].Data.String(), op.Children[2].Data.String())))
		case ldap.ApplicationSearchRequest:
			p.search(conn, request, op)
		case ldap.ApplicationExtendedRequest: // StartTLS
			p.note("starttls")
			p.answer(conn, request, result(ldap.ApplicationExtendedResponse, ldap.LDAPResultSuccess))
			conn = tls.Server(conn, peerTLS())
		case ldap.ApplicationUnbindRequest:
			return
		}
	}
}

func (p *peer) note(text string) {
	p.mu.Lock()
	p.asked = append(p.asked, text)
	p.mu.Unlock()
}

// took returns what was asked since the last call.
func (p *peer) took() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.asked, " | ")
	p.asked = nil
	return text
}

// bind succeeds without a password for any name, as directories do (RFC 4513, section 5.1.2).
func (p *peer) bind(name, password string) uint16 {
	p.note("bind " + name)
	if code, ok := p.results[name]; ok {
		return code
	}
	if want, ok := p.passwords[name]; password == "" || name == "" || ok && want == password {
		return ldap.LDAPResultSuccess
	}
	return ldap.LDAPResultInvalidCredentials
}

func (p *peer) search(conn net.Conn, request, op *ber.Packet) {
	filter, err := ldap.DecompileFilter(op.Children[6])
	if err != nil {
		p.t.Error(err)
	}
	scope := op.Children[1].Value.(int64)
	p.note("search " + op.Children[0].Data.String() + " " + ldapScopes[scope] + " " + filter)
	names, code := p.found[filter], uint16(ldap.LDAPResultSuccess)
	if limit := int(op.Children[3].Value.(int64)); len(names) > limit {
		names, code = names[:limit], ldap.LDAPResultSizeLimitExceeded
	}
	for _, name := range names {
		entry := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
		entry.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, name, ""))
		entry.AppendChild(ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, ""))
		p.answer(conn, request, entry)
	}
	p.answer(conn, request, result(ldap.ApplicationSearchResultDone, code))
}

func result(tag ber.Tag, code uint16) *ber.Packet {
	r := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	r.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	return r
}

func (p *peer) answer(conn net.Conn, request, op *ber.Packet) {
	envelope := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	envelope.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, request.Children[0].Value.(int64), ""))
	envelope.AppendChild(op)
	_, _ = conn.Write(envelope.Bytes()) // the client may have left
}

// directory is a Directory that asks p. Its options come as in an HBA line.
func (p *peer) directory(options ...string) *Directory {
	p.t.Helper()
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	o := map[string]string{"ldapserver": host, "ldapport": port}
	for i := 0; i < len(options); i += 2 {
		o[options[i]] = options[i+1]
	}
	d, err := NewDirectory(o)
	if err != nil {
		p.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate().Certificate[0])
	if err != nil {
		p.t.Fatal(err)
	}
	d.tls.RootCAs = x509.NewCertPool()
	d.tls.RootCAs.AddCert(leaf)
	return d
}
