package web

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"pooler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestHealthReadinessAndMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	answer := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pooler_answer", Help: "For the test."})
	answer.Set(42)
	registry.MustRegister(answer)
	var ready atomic.Bool
	ready.Store(true)
	s, err := Listen(Options{Addr: "127.0.0.1:0", Registry: registry, Ready: ready.Load, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Serve()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		resp, err := client.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d while clients are let in", code)
	}
	ready.Store(false)
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("/readyz: %d %q while stopping", code, body)
	}
	if _, body := get("/metrics"); !strings.Contains(body, "pooler_answer 42") {
		t.Errorf("/metrics lacks the gauge: %q", body)
	}
	if code, _ := get("/nothing"); code != http.StatusNotFound {
		t.Errorf("an unknown path: %d", code)
	}
}

func TestAnAddressInUseIsSaid(t *testing.T) {
	o := Options{Addr: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Ready: func() bool { return true }, Log: slog.New(slog.DiscardHandler)}
	first, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	o.Addr = first.Addr().String()
	_, err = Listen(o)
	if err == nil || !strings.Contains(err.Error(), "http_listen") {
		t.Errorf("got %v", err)
	}
}

// slowGatherer gathers nothing before it is told.
type slowGatherer struct{ come, open chan struct{} }

func (g slowGatherer) Gather() ([]*dto.MetricFamily, error) {
	g.come <- struct{}{}
	<-g.open
	return nil, nil
}

func TestScrapesAtTheSameTimeAreBounded(t *testing.T) {
	g := slowGatherer{make(chan struct{}), make(chan struct{})}
	s := openSite(t, withTrust, func(o *Options) { o.Registry = g })
	statuses := make(chan int, maxScrapes)
	for range maxScrapes {
		go func() { statuses <- s.send("/metrics", "").status }() // awaited below
		<-g.come
	}
	if got := s.send("/metrics", ""); got.status != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", got.status)
	}
	close(g.open)
	for range maxScrapes {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
}
