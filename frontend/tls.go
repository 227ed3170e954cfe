package frontend

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pooler/config"
	"pooler/internal/tlsconn"
)

// secured is what clients' handshakes go by. It never changes; a reload makes a new one.
type secured struct {
	config   *tls.Config
	http     *tls.Config // the dashboard's
	endPoint []byte      // of the certificate, for channel binding; nil: its kind of signature has none
	warnings []string
}

// tlsFacts is what a client's TLS connection says.
type tlsFacts struct {
	peer     *x509.Certificate // the client's, verified; nil: it has shown none
	endPoint []byte            // see secured
}

// newSecured reads the certificate, its key and the clients' CAs. It is nil if neither clients nor the dashboard have TLS.
func newSecured(cfg *config.Config) (*secured, error) {
	if cfg.ClientTLSMode == config.TLSDisable && !cfg.HTTPTLS {
		return nil, nil
	}
	files := tlsconn.Options{
		CertFile: cfg.ClientTLSCertFile, KeyFile: cfg.ClientTLSKeyFile, CAFile: cfg.ClientTLSCAFile,
		Protocols: cfg.ClientTLSProtocols, Ciphers: cfg.ClientTLSCiphers, Curves: cfg.ClientTLSECDHCurve,
	}
	made, warnings, err := tlsconn.ServerConfig(files, tlsconn.Mode(cfg.ClientTLSMode))
	if err != nil {
		return nil, fmt.Errorf("TLS for clients: %w", err)
	}
	s := &secured{config: made, http: made.Clone(), warnings: warnings}
	s.http.NextProtos = []string{"http/1.1"}
	s.http.ClientCAs, s.http.ClientAuth = nil, tls.NoClientCert // a browser would ask its user for one
	s.endPoint, _ = tlsconn.ServerEndPoint(s.certificate())     // without one, SCRAM-SHA-256-PLUS is not offered, as with PostgreSQL
	return s, nil
}

// certificate is the one that clients are shown.
func (s *secured) certificate() *x509.Certificate { return s.config.Certificates[0].Leaf }

// HTTPConfig is what the dashboard is served with under http_tls, for tls.Config.GetConfigForClient: the certificate, versions,
// suites and curves that clients get, after a reload the new ones.
func (srv *Server) HTTPConfig(*tls.ClientHelloInfo) (*tls.Config, error) {
	if s := srv.settings.Load().tls; s != nil {
		return s.http, nil
	}
	return nil, errors.New("there is no certificate: http_tls was switched off, which needs a restart")
}

// Certificate is the one that clients are shown, nil if there is none.
func (srv *Server) Certificate() *x509.Certificate {
	if s := srv.settings.Load().tls; s != nil {
		return s.certificate()
	}
	return nil
}

// errClear is what a client is told that must use TLS. (PgBouncer: "SSL required".)
var errClear = &Refusal{
	Code: codeInvalidAuth, Message: "the pooler takes connections with TLS only",
	Hint: "Connect with sslmode=require, or better verify-full. The pooler's client_tls_sslmode demands it.",
}

// offersTLS tells whether the client may have TLS: not on a Unix socket, as with PostgreSQL, and not within TLS.
func (g *greeter) offersTLS() bool {
	return g.srv.Config().ClientTLSMode != config.TLSDisable && !g.local() && g.tls == nil
}

// beginsWithTLS tells whether b is the first that the client has sent and begins a handshake (sslnegotiation=direct). It is
// no start-up packet: that would be of hundreds of megabytes.
func (g *greeter) beginsWithTLS(b []byte) bool {
	const handshake = 0x16 // type of a record
	return len(b) > 0 && b[0] == handshake && !g.askedTLS && !g.askedGSS && g.offersTLS()
}

// answerRequest answers a request for encryption of that kind. Nothing may have come behind it: it would have been sent
// in the clear, by somebody in between perhaps, and be taken for what the client says with the protection of TLS
// (CVE-2021-23214 of PostgreSQL, whose words these are; CVE-2021-3935 of PgBouncer).
func (g *greeter) answerRequest(kind string, yes bool, behind []byte) {
	if len(behind) > 0 {
		g.leave(protocolViolation("received unencrypted data after %s request", kind))
		return
	}
	if !yes {
		g.stream.Write([]byte{'N'})
		return
	}
	g.askedGSS = true // there is nothing more to ask for
	g.owed = owesHello
	g.stream.Write([]byte{'S'})
}

// shakeHands begins a handshake, whose first bytes are b. The socket stays with the loop; sums are done elsewhere, when it
// is their turn, and what comes of them is mail.
func (g *greeter) shakeHands(b []byte) {
	l, with := g.loop, g.srv.settings.Load().tls
	if with == nil {
		g.leave(tlsFailure("TLS has been switched off meanwhile"))
		return
	}
	g.owed = owesPacket
	g.shake = tlsconn.Begin(with.config, g.srv.proofs,
		func(out []byte) { l.PostPatient(func() { g.passOn(out) }) },
		func(r tlsconn.Result, err error) { l.PostPatient(func() { g.shaken(with, r, err) }) })
	g.feed(b)
}

// feed gives the handshake what has come.
func (g *greeter) feed(b []byte) {
	if !g.shake.Feed(b) {
		g.leave(tlsFailure("the client sends more than a handshake needs"))
	}
}

// endHandshake notes that the client has gone in the middle of a handshake. Why, may be in what it has sent last.
func (g *greeter) endHandshake() {
	g.stream.Pause()
	if g.ended || !g.shake.End() {
		g.leave(tlsFailureOf(io.EOF))
	}
	g.ended = true
}

// passOn sends the client what the handshake has to say.
func (g *greeter) passOn(out []byte) {
	if g.shake != nil {
		g.heard = g.loop.Now()
		g.stream.Write(out)
	}
}

// shaken goes on with what has become of the handshake.
func (g *greeter) shaken(with *secured, r tlsconn.Result, err error) {
	switch {
	case g.shake == nil:
		return // it has gone meanwhile
	case err != nil:
		g.shake = nil
		g.leave(tlsFailureOf(err))
		return
	}
	rest := g.shake.Rest()
	g.shake = nil
	g.tls = &tlsFacts{endPoint: with.endPoint}
	if len(r.State.VerifiedChains) > 0 {
		g.tls.peer = r.State.PeerCertificates[0]
	}
	g.stream.StartTLS(r.Layer, rest)
	g.stream.Resume() // if it has gone, that is for the Layer to say
	if g.direct && r.State.NegotiatedProtocol != tlsconn.ALPN {
		g.leave(protocolViolation("received direct SSL connection request without ALPN protocol negotiation extension")) // PostgreSQL's words
	}
}

// tlsFailure says why a handshake has failed. The client has been told by TLS's own means.
type tlsFailure string

func (f tlsFailure) Error() string { return "TLS: " + string(f) }

// tlsFailureOf puts an error of crypto/tls in words that say whose fault it is.
func tlsFailureOf(err error) tlsFailure {
	text := strings.TrimPrefix(err.Error(), "tls: ")
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return tlsFailure("the client has hung up")
	}
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	switch {
	case unverified:
		return tlsFailure("the client's certificate is not accepted: " + text)
	case alert || strings.HasPrefix(text, "remote error"):
		return tlsFailure("the client has refused: " + text)
	case strings.Contains(text, "unsupported versions"):
		return tlsFailure("no common version: " + text)
	}
	return tlsFailure(text)
}

// expirySoon is how long before a certificate expires the log is told of it at each load.
const expirySoon = 14 * 24 * time.Hour

// warnOfCertificate logs what wants a look in the files that TLS for clients is made of.
func (srv *Server) warnOfCertificate(s *secured) {
	if s == nil {
		return
	}
	for _, w := range s.warnings {
		srv.log.Warn("TLS for clients wants a look", "warning", w)
	}
	if end := s.certificate().NotAfter; time.Until(end) > 0 && time.Until(end) < expirySoon { // that it has expired is among the warnings
		srv.log.Warn("the certificate that clients are shown expires soon", "expires", end.UTC().Format(time.RFC3339))
	}
}
