package web

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"pooler/internal/pgtest/certs"
)

// HTTPS is served with the certificate of the moment: after it has been replaced the next connection sees the new one, and
// the limits on connections hold as before.
func TestHTTPS(t *testing.T) {
	set := certs.New(t)
	var pair atomic.Pointer[tls.Certificate]
	pair.Store(&set.Server().TLS)
	s, err := Listen(Options{
		Addr: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Ready: func() bool { return true }, Log: slog.New(slog.DiscardHandler),
		KeyPair: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get := func(scheme string) (int, *tls.ConnectionState) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: set.ClientConfig(nil)}}
		resp, err := client.Get(scheme + "://" + s.Addr().String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, resp.TLS
	}
	for _, next := range []*tls.Certificate{&set.Server().TLS, &set.NextServer().TLS} {
		pair.Store(next)
		status, state := get("https")
		if status != http.StatusOK || !state.PeerCertificates[0].Equal(next.Leaf) {
			t.Errorf("status %d, certificate %v", status, state.PeerCertificates[0].SerialNumber)
		}
	}
	if status, _ := get("http"); status != http.StatusBadRequest {
		t.Errorf("plain HTTP: %d", status)
	}
}
