package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	maxIssuers      = 100              // remembered at a time; as many as HBA lines name, in fact
	maxIssuerAnswer = 1 << 20          // bytes of a discovery document or a set of keys
	issuerTimeout   = 10 * time.Second // for one request
	issuerRest      = 10 * time.Second // between two requests for the same thing, whatever came of the first
	issuerRefresh   = time.Hour        // after which the discovery document is read anew
)

// Issuers remembers what the issuers of tokens have told about themselves. One serves the whole program, across reloads.
// Any goroutine may use it.
type Issuers struct {
	now   func() time.Time
	trust *http.Transport

	mu    sync.Mutex // guards known
	known generations[string, *issuer]
}

// NewIssuers makes an Issuers that has asked nobody yet.
func NewIssuers() *Issuers {
	transport := http.DefaultTransport.(*http.Transport).Clone() // it is one, by net/http's documentation
	transport.ResponseHeaderTimeout = issuerTimeout
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.MaxConnsPerHost = 2
	return &Issuers{now: time.Now, trust: transport, known: newGenerations[string, *issuer](maxIssuers)}
}

// issuer is one of them.
type issuer struct {
	turn   chan struct{} // has one token: who takes it may ask the issuer and touch what is below
	client *http.Client
	keys   oidc.KeySet // nil until discovered
	read   time.Time   // when keys were
	tried  time.Time
	err    error // what came of the last try
}

func (s *Issuers) find(url string) *issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.known.get(url)
	if !ok {
		i = &issuer{turn: make(chan struct{}, 1), client: s.newClient()}
		i.turn <- struct{}{}
		s.known.put(url, i)
	}
	return i
}

func (s *Issuers) newClient() *http.Client {
	return &http.Client{
		Timeout:   issuerTimeout,
		Transport: &sparingTransport{next: s.trust, now: s.now, answers: newGenerations[string, *remembered](8)},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			return nil
		},
	}
}

// keysOf returns the keys of the issuer at url. Many who ask at once wait for one answer, and an issuer that does not
// answer is left alone for issuerRest.
func (s *Issuers) keysOf(ctx context.Context, url string) (oidc.KeySet, error) {
	i := s.find(url)
	select {
	case <-i.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("OAuth issuer: %w", context.Cause(ctx))
	}
	defer func() { i.turn <- struct{}{} }()
	now := s.now()
	if i.keys != nil && now.Sub(i.read) < issuerRefresh || !i.tried.IsZero() && now.Sub(i.tried) < issuerRest {
		return i.result()
	}
	// The one who asks does so for all that wait: its own end must not make it fail for them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issuerTimeout)
	defer cancel()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), url)
	i.tried, i.err = now, err
	if err == nil {
		i.read = now
		i.keys, i.err = keysFrom(ctx, i.client, provider)
	}
	return i.result()
}

// result prefers old keys to none.
func (i *issuer) result() (oidc.KeySet, error) {
	if i.keys != nil {
		return i.keys, nil
	}
	return nil, fmt.Errorf("OAuth issuer: %w", i.err)
}

func keysFrom(ctx context.Context, client *http.Client, provider *oidc.Provider) (oidc.KeySet, error) {
	var document struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil || document.Keys == "" {
		return nil, errors.New("its discovery document names no jwks_uri")
	}
	return oidc.NewRemoteKeySet(oidc.ClientContext(ctx, client), document.Keys), nil
}

// trustworthy tells whether what comes from u can be believed: nobody on the way can have changed it.
func trustworthy(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// unreachableError is for what went wrong on the way to an issuer, which says nothing about a token.
type unreachableError struct{ cause error }

func (e *unreachableError) Error() string { return e.cause.Error() }
func (e *unreachableError) Unwrap() error { return e.cause }

// sparingTransport keeps each answer for issuerRest. The library would ask for the keys anew with each token whose
// signature is wrong, which anybody can make.
type sparingTransport struct {
	next http.RoundTripper
	now  func() time.Time

	mu      sync.Mutex // guards answers
	answers generations[string, *remembered]
}

type remembered struct {
	at     time.Time
	header http.Header
	status int
	body   []byte
	err    error
}

// RoundTrip implements http.RoundTripper.
func (t *sparingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	key := request.URL.String()
	t.mu.Lock()
	r, ok := t.answers.get(key)
	t.mu.Unlock()
	if !ok || t.now().Sub(r.at) >= issuerRest {
		r = t.fetch(request)
		t.mu.Lock()
		t.answers.put(key, r)
		t.mu.Unlock()
	}
	if r.err != nil {
		return nil, &unreachableError{r.err}
	}
	return &http.Response{
		Status: http.StatusText(r.status), StatusCode: r.status, Header: r.header, Request: request,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)),
	}, nil
}

func (t *sparingTransport) fetch(request *http.Request) *remembered {
	r := &remembered{at: t.now()}
	if !trustworthy(request.URL) {
		r.err = errors.New("it refers to an address without https")
		return r
	}
	response, err := t.next.RoundTrip(request)
	if err != nil {
		r.err = err
		return r
	}
	defer response.Body.Close() //nolint:errcheck // all that is wanted has been read
	r.status, r.header = response.StatusCode, response.Header
	r.body, r.err = io.ReadAll(io.LimitReader(response.Body, maxIssuerAnswer+1))
	switch {
	case r.err != nil:
	case len(r.body) > maxIssuerAnswer:
		r.err, r.body = errors.New("its answer is too long"), nil
	case r.status >= 400:
		r.err, r.body = fmt.Errorf("it answers with status %d", r.status), nil
	}
	return r
}
