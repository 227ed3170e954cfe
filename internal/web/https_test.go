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

// secureSite serves HTTPS as now says.
func secureSite(t *testing.T, now *atomic.Pointer[tls.Config], ready func() bool) *Server {
	t.Helper()
	s, err := Listen(Options{
		Addr: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Ready: ready, Log: slog.New(slog.DiscardHandler),
		TLS: func(*tls.ClientHelloInfo) (*tls.Config, error) { return now.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// fetch gets a path on a connection of its own. The connection's state is nil if there was no TLS.
func (s *Server) fetch(scheme, path string, set *certs.Set) (int, *tls.ConnectionState, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: set.ClientConfig(nil)}}
	resp, err := client.Get(scheme + "://" + s.Addr().String() + path)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.TLS, nil
}

// HTTPS is served with the settings of the moment: after they have been replaced the next connection sees the new ones.
func TestHTTPS(t *testing.T) {
	set := certs.New(t)
	var now atomic.Pointer[tls.Config]
	s := secureSite(t, &now, func() bool { return true })
	s.Serve()
	for _, next := range []*tls.Config{
		{Certificates: []tls.Certificate{set.Server().TLS}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}},
		{Certificates: []tls.Certificate{set.NextServer().TLS}, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP384}},
	} {
		now.Store(next)
		status, state, err := s.fetch("https", "/healthz", set)
		if err != nil || status != http.StatusOK {
			t.Fatalf("status %d, %v", status, err)
		}
		if !state.PeerCertificates[0].Equal(next.Certificates[0].Leaf) {
			t.Errorf("certificate %v", state.PeerCertificates[0].SerialNumber)
		}
		if next.MaxVersion > 0 && (state.Version != next.MaxVersion || state.CipherSuite != next.CipherSuites[0] && state.CipherSuite != next.CipherSuites[1]) {
			t.Errorf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
		}
		if next.MaxVersion == 0 && (state.Version != tls.VersionTLS13 || state.CurveID != tls.CurveP384) {
			t.Errorf("%s, %s", tls.VersionName(state.Version), state.CurveID)
		}
	}
	if status, _, err := s.fetch("http", "/healthz", set); status != http.StatusBadRequest {
		t.Errorf("plain HTTP: %d, %v", status, err)
	}
}

// A connection that waits for its answer does not make room for another, with TLS as without.
func TestTheLimitOnConnectionsKnowsWhoIsIdleUnderTLS(t *testing.T) {
	set := certs.New(t)
	var now atomic.Pointer[tls.Config]
	now.Store(&tls.Config{Certificates: []tls.Certificate{set.Server().TLS}})
	asked, answer := make(chan struct{}), make(chan bool)
	s := secureSite(t, &now, func() bool { close(asked); return <-answer })
	s.socket.ofAddress = 1
	s.Serve()
	first := make(chan error, 1)
	go func() {
		_, _, err := s.fetch("https", "/readyz", set)
		first <- err
	}()
	<-asked
	if status, _, err := s.fetch("https", "/healthz", set); err == nil {
		t.Errorf("one beyond the limit gets %d", status)
	}
	answer <- true
	if err := <-first; err != nil {
		t.Errorf("one that was being answered has made room: %v", err)
	}
}

// Who connects before Serve is answered after it, and one that is never served lets go of its address.
func TestListenAndServeAreTwoSteps(t *testing.T) {
	o := Options{Addr: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Ready: func() bool { return true }, Log: slog.New(slog.DiscardHandler)}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Addr = s.Addr().String()
	s.Close()
	if s, err = Listen(o); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + o.Addr + "/healthz")
		if err != nil {
			got <- 0
			return
		}
		_ = resp.Body.Close()
		got <- resp.StatusCode
	}()
	s.Serve()
	if status := <-got; status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}
