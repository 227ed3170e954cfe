// Package web serves HTTP: health, metrics, and the dashboard with its API. It reads snapshots, has the console carry out
// what changes something, and is never on the relay's path.
package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options is what a Server is made of.
type Options struct {
	Addr      string              // host:port
	TLS       TLS                 // nil: plain HTTP
	Registry  prometheus.Gatherer // of /metrics
	Ready     func() bool         // whether new clients are let in, for /readyz
	Dashboard *Dashboard          // nil: there is none
	Log       *slog.Logger
}

// TLS is what HTTPS is served with: certificate, versions, suites and curves. It is asked for with each connection, so that
// they can be replaced.
type TLS func(*tls.ClientHelloInfo) (*tls.Config, error)

// Server is the HTTP side of the pooler.
type Server struct {
	http   *http.Server
	socket *boundedListener
	done   sync.WaitGroup
}

// What a client may take, and send. A command that waits gets more time to answer.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	maxScrapes    = 4 // of /metrics at the same time
)

// Listen opens the address. Whoever connects waits for Serve.
func Listen(o Options) (*Server, error) {
	l, err := listen(o.Addr, o.Log)
	if err != nil {
		return nil, fmt.Errorf("http_listen: %w", err)
	}
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	if o.Dashboard != nil {
		metrics = guardMetrics(metrics, o.Dashboard.Door.Trusts, o.Addr, l.Addr())
	}
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if o.Ready() {
			answer(w, http.StatusOK, "ready\n")
			return
		}
		answer(w, http.StatusServiceUnavailable, "stopping: no new clients are let in\n")
	})
	if o.Dashboard != nil {
		a, err := newAPI(o.Dashboard, o.Addr, l.Addr(), o.Log)
		if err != nil {
			_ = l.Close()
			return nil, err
		}
		mux.Handle("/", a.handler())
	}
	s := &Server{
		socket: l,
		http: &http.Server{
			Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
			IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
			ConnState: l.note,
		},
	}
	if o.TLS != nil {
		s.http.TLSConfig = &tls.Config{GetConfigForClient: o.TLS, MinVersion: tls.VersionTLS12}
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true) // the limits are made for one request at a time on a connection
	}
	return s, nil
}

// Serve answers requests until Close.
func (s *Server) Serve() {
	s.done.Go(func() {
		if s.http.TLSConfig == nil {
			_ = s.http.Serve(s.socket)
		} else {
			_ = s.http.ServeTLS(s.socket, "", "")
		}
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.socket.Addr() }

// Close ends the server; requests under way get a second.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	_ = s.socket.Close() // also if it was never served
	s.done.Wait()
}
