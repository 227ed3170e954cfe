package tracing

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"pooler/frontend"
)

// fakeCollector keeps the spans that it is sent.
type fakeCollector struct {
	t *testing.T
	*httptest.Server

	mu       sync.Mutex
	path     string
	resource map[string]string
	spans    []*otlp.Span
}

func newCollector(t *testing.T) *fakeCollector {
	t.Helper()
	c := &fakeCollector{t: t}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *fakeCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &otlp.TracesData{} // as an ExportTraceServiceRequest is encoded
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil {
		c.t.Errorf("request: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.path = r.URL.Path
	for _, rs := range request.ResourceSpans {
		c.resource = attributes(rs.Resource.Attributes)
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func attributes(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		if kv.Value.GetStringValue() != "" {
			m[kv.Key] = kv.Value.GetStringValue()
		} else {
			m[kv.Key] = strings.TrimPrefix(kv.Value.String(), "int_value:")
		}
	}
	return m
}

// testLog keeps what is logged.
type testLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *testLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.buf.String()), "\n")
}

func newTracer(t *testing.T, endpoint string) (*Tracer, *testLog) {
	t.Helper()
	log := &testLog{}
	tr, err := New(endpoint, "1.2.3", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatalf("make tracer: %v", err)
	}
	t.Cleanup(func() { closeTracer(t, tr, 0) })
	return tr, log
}

func closeTracer(t *testing.T, tr *Tracer, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := tr.Close(ctx); err != nil && limit > 0 {
		t.Errorf("close: %v", err)
	}
}

var day = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)

// after is the stage between two times, in milliseconds since the request began.
func after(from, until int) frontend.Stage {
	return frontend.Stage{Begun: day.Add(time.Duration(from) * time.Millisecond), Ended: day.Add(time.Duration(until) * time.Millisecond)}
}

// A request becomes a span within the client's trace, and each of its stages one within that.
func TestSpansOfARequest(t *testing.T) {
	c := newCollector(t)
	tr, _ := newTracer(t, c.URL)
	whole := after(0, 50)
	one := frontend.Trace{
		Begun: whole.Begun, Ended: whole.Ended,
		Wait: after(0, 20), Carry: after(20, 25), Prepare: after(20, 30), Server: after(20, 50),
		Database: "shop", User: "anna", Application: "web", Statement: "select ?", Client: 7, ServerPID: 4711, Failed: true,
	}
	copy(one.TraceID[:], "sixteen bytes ID")
	copy(one.Parent[:], "8 bytes.")
	tr.Note(one)
	tr.Note(frontend.Trace{Begun: whole.Begun, Ended: whole.Ended, Server: whole, Database: "own"})
	closeTracer(t, tr, 20*time.Second)

	if c.path != "/v1/traces" || c.resource["service.name"] != "pooler" || c.resource["service.version"] != "1.2.3" {
		t.Errorf("to %s, from %v", c.path, c.resource)
	}
	spans := map[string]*otlp.Span{}
	var order []string
	for _, s := range c.spans {
		name := s.Name
		if string(s.TraceId) != "sixteen bytes ID" {
			name = "own: " + name
		}
		spans[name] = s
		order = append(order, name)
	}
	request := spans["pooler shop"]
	if len(order) != 7 || request == nil || string(request.ParentSpanId) != "8 bytes." {
		t.Fatalf("spans %q, of them the request's: %v", order, request)
	}
	for name, st := range map[string]frontend.Stage{
		"pooler shop": whole, "wait for a server session": one.Wait, "carry over settings": one.Carry,
		"prepare statement": one.Prepare, "PostgreSQL": one.Server, "own: pooler own": whole, "own: PostgreSQL": whole,
	} {
		s := spans[name]
		if s == nil || s.StartTimeUnixNano != uint64(st.Begun.UnixNano()) || s.EndTimeUnixNano != uint64(st.Ended.UnixNano()) {
			t.Errorf("%s: %v, want %v", name, s, st)
			continue
		}
		if failed := s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR; failed != (name == "pooler shop" || name == "PostgreSQL") {
			t.Errorf("%s: status %v", name, s.Status)
		}
		parent := request
		if strings.HasPrefix(name, "own") {
			parent = spans["own: pooler own"]
		}
		if s != parent && (!bytes.Equal(s.ParentSpanId, parent.SpanId) || !bytes.Equal(s.TraceId, parent.TraceId)) {
			t.Errorf("%s: parent %x, want %x", name, s.ParentSpanId, parent.SpanId)
		}
	}
	if own := spans["own: pooler own"]; len(own.ParentSpanId) != 0 || hex.EncodeToString(own.TraceId) == strings.Repeat("0", 32) {
		t.Errorf("a trace of its own: %v", own)
	}
	got := attributes(request.Attributes)
	for key, want := range map[string]string{
		"db.system.name": "postgresql", "db.namespace": "shop", "db.query.text": "select ?", "pooler.user": "anna",
		"pooler.application": "web", "pooler.client.id": "7", "pooler.server.pid": "4711",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
}

// Names and statements are the client's, and may be anything: one that is no UTF-8 does not keep the others back.
func TestTextThatIsNoUTF8(t *testing.T) {
	c := newCollector(t)
	tr, log := newTracer(t, c.URL)
	for range 10 {
		tr.Note(frontend.Trace{Begun: day, Ended: day, Server: after(0, 1), Database: "good", Statement: "select 1"})
	}
	bad := "a\xffb"
	tr.Note(frontend.Trace{Begun: day, Ended: day, Server: after(0, 1), Database: bad, User: bad, Application: bad, Statement: bad})
	closeTracer(t, tr, 20*time.Second)
	if len(c.spans) != 22 || tr.Dropped() != 0 {
		t.Fatalf("%d spans, %d traces lost, log %q", len(c.spans), tr.Dropped(), log.lines())
	}
	request := c.spans[21] // a span is made when it ends
	got := attributes(request.Attributes)
	for _, key := range []string{"db.namespace", "db.query.text", "pooler.user", "pooler.application"} {
		if got[key] != "a\uFFFDb" {
			t.Errorf("%s: %q", key, got[key])
		}
	}
	if request.Name != "pooler a\uFFFDb" {
		t.Errorf("it is called %q", request.Name)
	}
}

// What is lost for whatever reason is not said to be the collector's doing.
func TestLossThatIsNotTheCollectorsDoing(t *testing.T) {
	tr, log := newTracer(t, newCollector(t).URL)
	tr.dropped.Add(1)
	tr.noteFault(errors.New("encode spans: oops"))
	closeTracer(t, tr, 20*time.Second)
	if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "could not be sent") || !strings.Contains(lines[0], "oops") {
		t.Errorf("log: %q", lines)
	}
}

// A path that is configured is the collector's.
func TestPathOfTheCollector(t *testing.T) {
	c := newCollector(t)
	tr, _ := newTracer(t, c.URL+"/tenant/v1/traces")
	tr.Note(frontend.Trace{Begun: day, Ended: day})
	closeTracer(t, tr, 20*time.Second)
	if c.path != "/tenant/v1/traces" || len(c.spans) != 1 {
		t.Errorf("%d spans to %s", len(c.spans), c.path)
	}
}

// Without a collector nobody waits, what is lost is counted, and the log has one line.
func TestCollectorThatIsDown(t *testing.T) {
	c := newCollector(t)
	c.Close()
	tr, log := newTracer(t, c.URL)
	const traces = 4 * queueSize
	for range traces {
		tr.Note(frontend.Trace{Begun: day, Ended: day})
	}
	closeTracer(t, tr, 20*time.Second)
	if n := tr.Dropped(); n != traces {
		t.Errorf("%d of %d lost", n, traces)
	}
	lines := log.lines()
	if len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "refused") || !strings.Contains(lines[0], c.URL) {
		t.Errorf("log: %q", lines)
	}
}

// A collector that takes a request and never answers keeps neither those who note traces nor Close.
func TestCollectorThatHangs(t *testing.T) {
	asked, gone := make(chan struct{}, 1), make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case asked <- struct{}{}:
		default:
		}
		<-gone
	}))
	defer hangs.Close()
	defer close(gone)
	tr, _ := newTracer(t, hangs.URL)
	for range batchSize {
		tr.Note(frontend.Trace{Begun: day, Ended: day})
	}
	<-asked
	for range 2 * queueSize {
		tr.Note(frontend.Trace{Begun: day, Ended: day})
	}
	if tr.Dropped() < queueSize {
		t.Errorf("%d lost", tr.Dropped())
	}
	ended := make(chan struct{})
	go func() {
		closeTracer(t, tr, 0)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(exportTimeout / 2):
		t.Error("Close waits for the collector")
		<-ended
	}
	if n := tr.Dropped(); n != batchSize+2*queueSize {
		t.Errorf("%d lost", n)
	}
}

// A collector that refuses is quoted in the log.
func TestCollectorThatRefuses(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "over quota", http.StatusTooManyRequests)
	}))
	defer refuses.Close()
	tr, log := newTracer(t, refuses.URL)
	tr.Note(frontend.Trace{Begun: day, Ended: day})
	closeTracer(t, tr, 20*time.Second)
	if lines := log.lines(); tr.Dropped() != 1 || len(lines) != 1 || !strings.Contains(lines[0], "over quota") {
		t.Errorf("%d lost; log: %q", tr.Dropped(), lines)
	}
}

func TestLossesAreToldOnceAMinute(t *testing.T) {
	var l losses
	for _, step := range []struct {
		after time.Duration
		lost  uint64
		want  uint64
	}{
		{0, 0, 0},
		{time.Second, 3, 3},
		{2 * time.Second, 9, 0},
		{62 * time.Second, 9, 6},
		{time.Hour, 9, 0},
		{2 * time.Hour, 10, 1},
	} {
		if got := l.due(day.Add(step.after), step.lost); got != step.want {
			t.Errorf("after %v with %d lost: told of %d, want %d", step.after, step.lost, got, step.want)
		}
	}
}
