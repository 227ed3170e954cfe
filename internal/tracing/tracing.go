// Package tracing sends the traces of requests to an OpenTelemetry collector, by OTLP over HTTP.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"pooler/frontend"
)

const (
	queueSize     = 1_024            // traces that wait for the collector; further ones are lost
	batchSize     = 512              // spans that are sent at once
	flushEvery    = 2 * time.Second  // however few there are
	exportTimeout = 10 * time.Second // of one batch
)

// Tracer sends traces. One goroutine makes spans of them and sends those, so that whoever notes a trace never waits for
// the collector. The SDK's own batch processor would do the same, but it tells nobody what it drops.
type Tracer struct {
	log      *slog.Logger
	endpoint string
	tracer   trace.Tracer
	exporter sdktrace.SpanExporter
	queue    chan frontend.Trace
	dropped  atomic.Uint64

	stop  chan struct{} // closed by Close: what is queued is sent, and no more
	once  sync.Once
	ended chan struct{}      // closed when run has ended
	abort context.CancelFunc // gives up what is being sent

	spans  []sdktrace.ReadOnlySpan // made and not sent, as is batch; both are run's, as is losses
	batch  int                     // traces of which they are
	losses losses

	mu    sync.Mutex
	fault error // the last one
}

// New makes a tracer for the collector at endpoint, a URL. The path is /v1/traces unless it has another. Nothing is
// connected yet: a collector may come and go.
func New(endpoint, version string, log *slog.Logger) (*Tracer, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err // which names the URL
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptrace.New(context.Background(), newClient(u.String()))
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	ctx, abort := context.WithCancel(context.Background())
	t := &Tracer{
		log: log, endpoint: u.Redacted(), exporter: exporter, queue: make(chan frontend.Trace, queueSize),
		stop: make(chan struct{}), ended: make(chan struct{}), abort: abort,
	}
	// What the library has to complain about outside of an export goes to standard error by default, which is not where
	// the pooler logs. There is one such handler in a process, and one Tracer.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.noteFault))
	t.tracer = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // whoever notes a trace has decided
		sdktrace.WithResource(resource.NewWithAttributes(semconv.SchemaURL, describe(version)...)),
		sdktrace.WithSpanProcessor(collect{t}),
	).Tracer("pooler", trace.WithInstrumentationVersion(version))
	go t.run(ctx)
	return t, nil
}

// describe says who sends the traces.
func describe(version string) []attribute.KeyValue {
	who := []attribute.KeyValue{semconv.ServiceName("pooler"), semconv.ServiceVersion(version)}
	if host, err := os.Hostname(); err == nil {
		who = append(who, semconv.HostName(host))
	}
	return who
}

// Note has a trace sent. It never blocks: with too many waiting, the trace is lost. Any goroutine may call it.
func (t *Tracer) Note(tr frontend.Trace) {
	select {
	case t.queue <- tr:
	default:
		t.dropped.Add(1)
	}
}

// Dropped counts the traces that were lost: they could not be sent, or not fast enough.
func (t *Tracer) Dropped() uint64 { return t.dropped.Load() }

// Close sends what has been noted, until ctx ends. Nothing must be noted any more.
func (t *Tracer) Close(ctx context.Context) error {
	t.once.Do(func() { close(t.stop) })
	select {
	case <-t.ended:
	case <-ctx.Done():
	}
	t.abort()
	<-t.ended
	if err := t.exporter.Shutdown(ctx); err != nil {
		return fmt.Errorf("stop sending traces: %w", err)
	}
	return nil
}

// run is what Close waits for.
func (t *Tracer) run(ctx context.Context) {
	defer close(t.ended)
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	for {
		select {
		case tr := <-t.queue:
			t.add(ctx, &tr)
		case <-flush.C:
			t.send(ctx)
			t.tellLosses(time.Now())
		case <-t.stop:
			for range len(t.queue) {
				tr := <-t.queue
				t.add(ctx, &tr)
			}
			t.send(ctx)
			t.tellLosses(time.Now())
			return
		}
	}
}

func (t *Tracer) add(ctx context.Context, tr *frontend.Trace) {
	t.makeSpans(tr)
	if t.batch++; len(t.spans) >= batchSize {
		t.send(ctx)
		t.tellLosses(time.Now())
	}
}

// send sends the spans that have been made.
func (t *Tracer) send(ctx context.Context) {
	if len(t.spans) == 0 {
		return
	}
	if err := t.exporter.ExportSpans(ctx, t.spans); err != nil {
		t.dropped.Add(uint64(t.batch))
		t.noteFault(err)
	}
	clear(t.spans)
	t.spans, t.batch = t.spans[:0], 0
}

func (t *Tracer) noteFault(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault = err
}

// collect is the SDK's way to hand over spans that have ended. It runs on run's goroutine, which ends them.
type collect struct{ t *Tracer }

func (c collect) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (c collect) OnEnd(s sdktrace.ReadOnlySpan)                   { c.t.spans = append(c.t.spans, s) }
func (c collect) Shutdown(context.Context) error                  { return nil }
func (c collect) ForceFlush(context.Context) error                { return nil }
