package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"pooler/frontend"
)

// What the conventions for databases have no name for.
const (
	userKey        = attribute.Key("pooler.user")
	applicationKey = attribute.Key("pooler.application")
	clientKey      = attribute.Key("pooler.client.id")
	serverPIDKey   = attribute.Key("pooler.server.pid")
)

// makeSpans makes the span of a request and those of its stages. It may change tr.
func (t *Tracer) makeSpans(tr *frontend.Trace) {
	// What is no UTF-8 cannot be encoded, nor can all that would be sent with it.
	for _, s := range []*string{&tr.Database, &tr.User, &tr.Application, &tr.Statement} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	ctx := context.Background()
	if tr.Parent != [8]byte{} {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: tr.TraceID, SpanID: tr.Parent, TraceFlags: trace.FlagsSampled, Remote: true,
		}))
	}
	ctx, request := t.tracer.Start(ctx, "pooler "+tr.Database, trace.WithTimestamp(tr.Begun),
		trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(
			semconv.DBSystemNamePostgreSQL,
			semconv.DBNamespace(tr.Database),
			semconv.DBQueryText(tr.Statement),
			userKey.String(tr.User),
			applicationKey.String(tr.Application),
			clientKey.Int64(int64(tr.Client)),
			serverPIDKey.Int64(int64(tr.ServerPID)),
		))
	t.makeStage(ctx, "wait for a server session", tr.Wait, trace.SpanKindInternal, false)
	t.makeStage(ctx, "carry over settings", tr.Carry, trace.SpanKindInternal, false)
	t.makeStage(ctx, "prepare statement", tr.Prepare, trace.SpanKindInternal, false)
	t.makeStage(ctx, "PostgreSQL", tr.Server, trace.SpanKindClient, tr.Failed, semconv.DBSystemNamePostgreSQL,
		semconv.DBNamespace(tr.Database), semconv.DBQueryText(tr.Statement), serverPIDKey.Int64(int64(tr.ServerPID)))
	end(request, tr.Failed, frontend.Stage{Begun: tr.Begun, Ended: tr.Ended})
}

func (t *Tracer) makeStage(ctx context.Context, name string, st frontend.Stage, kind trace.SpanKind, failed bool, with ...attribute.KeyValue) {
	if st == (frontend.Stage{}) {
		return
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(st.Begun), trace.WithSpanKind(kind), trace.WithAttributes(with...))
	end(span, failed, st)
}

func end(span trace.Span, failed bool, st frontend.Stage) {
	if failed {
		span.SetStatus(codes.Error, "PostgreSQL has answered with an error, or not at all")
	}
	span.End(trace.WithTimestamp(st.Ended))
}
