package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// client sends spans by OTLP over HTTP. It is an otlptrace.Client, in place of otlptracehttp's: that links gRPC with it,
// which makes the program larger by a third and is never called.
type client struct {
	url  string
	http http.Client
}

// maxAnswer bounds what is read of the collector's answer. It is quoted in the log.
const maxAnswer = 500

func newClient(url string) *client {
	return &client{url: url, http: http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 1}, Timeout: exportTimeout,
	}}
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. What the collector does not take is not sent again: the next spans would
// have to wait for it.
func (c *client) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: spans}) // encoded as an ExportTraceServiceRequest is
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	answer, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case answer.StatusCode/100 != 2:
		return fmt.Errorf("the collector has answered %s: %q", answer.Status, text)
	case err != nil:
		return fmt.Errorf("read the collector's answer: %w", err)
	}
	return nil
}
