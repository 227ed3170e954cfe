package frontend

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/config"
	"pooler/pool"
)

// traceLog keeps what is traced. Any goroutine may use it.
type traceLog struct {
	mu  sync.Mutex
	all []Trace
}

func (l *traceLog) note(t Trace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, t)
}

// take returns what was traced since it was called last.
func (l *traceLog) take() []Trace {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// startTraced runs a pooler that traces.
func startTraced(t *testing.T, extras ...string) (*testPooler, *traceLog) {
	t.Helper()
	l := &traceLog{}
	return startPoolerWith(t, func(srv *Server) { srv.SetTracer(l.note) }, extras...), l
}

const (
	testTrace  = "0af7651916cd43dd8448eb211c80319c"
	testParent = "b7ad6b7169203331"
)

func comment(flags string) string {
	return "/*route='%2Forders',traceparent='00-" + testTrace + "-" + testParent + "-" + flags + "'*/"
}

// asking asks for a trace of its own: traces are told apart by the last digits of parent.
func asking(n int) string {
	return fmt.Sprintf("/*traceparent='00-%s-%s%02x-01'*/", testTrace, testParent[:14], n)
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// within fails t unless st is a stage of some length inside the trace.
func (tr *Trace) within(t *testing.T, name string, st Stage) {
	t.Helper()
	if !st.Ended.After(st.Begun) || st.Begun.Before(tr.Begun) || st.Ended.After(tr.Ended) {
		t.Errorf("%s from %v to %v, of a request from %v to %v", name, st.Begun, st.Ended, tr.Begun, tr.Ended)
	}
}

// A sampled traceparent has its request traced; the client's own decision not to sample is honoured.
func TestTraceOfARequest(t *testing.T) {
	p, traces := startTraced(t, `default_pool_size = 1`, `trace_sample = 0`)
	from := time.Now()
	c := newRaw(t, p, "postgres", "application_name", "shop")
	c.ask("SELECT 'secret' "+comment("01"), "secret")
	all := traces.take()
	if len(all) != 1 {
		t.Fatalf("%d traces", len(all))
	}
	tr := all[0]
	if hexOf(tr.TraceID[:]) != testTrace || hexOf(tr.Parent[:]) != testParent {
		t.Errorf("trace %x, parent %x", tr.TraceID, tr.Parent)
	}
	who := p.Front.Clients()[0]
	if tr.Database != "postgres" || tr.User != who.User || tr.Application != "shop" || tr.Statement != "select ?" ||
		tr.Client != who.ID || tr.ServerPID == 0 || tr.Failed {
		t.Errorf("%+v", tr)
	}
	tr.within(t, "PostgreSQL", tr.Server)
	none := Stage{}
	if tr.Wait != none || tr.Carry != none || tr.Prepare != none || tr.Begun.Before(from) || tr.Ended.After(time.Now()) {
		t.Errorf("%+v", tr)
	}
	c.ask("SELECT 'secret' "+comment("00"), "secret")
	c.ask("SELECT 'secret'", "secret")
	if all := traces.take(); len(all) != 0 {
		t.Errorf("not asked for: %+v", all)
	}
	if a := c.query("SELECT 1/0 " + comment("01")); a.Code != "22012" {
		t.Errorf("%+v", a)
	}
	if all := traces.take(); len(all) != 1 || !all[0].Failed {
		t.Errorf("of an error: %+v", all)
	}
	c.query("SELECT pg_terminate_backend(pg_backend_pid()) " + comment("01"))
	eventually(t, patience, "the client's end", func() bool { return len(p.Front.Clients()) == 0 })
	if all := traces.take(); len(all) != 1 || !all[0].Failed {
		t.Errorf("of a server session's end: %+v", all)
	}
}

// The time a request waits for a server session, and what is done there before it, are parts of its trace.
func TestTraceHasStages(t *testing.T) {
	p, traces := startTraced(t, `default_pool_size = 1`)
	holder, c := newRaw(t, p, "postgres"), newRaw(t, p, "postgres")
	c.ask("SET work_mem = '7MB'; SHOW work_mem", "7MB")
	c.prepare("mine", "SELECT $1::text "+comment("01"))
	traces.take()
	holder.query("DEALLOCATE ALL")
	holder.query("BEGIN")
	c.send(run("mine", "x")...)
	eventually(t, patience, "the client waits", func() bool { return len(p.Front.Waiting()) == 1 })
	holder.query("COMMIT")
	if a := c.answer(); a.only() != "x" {
		t.Errorf("%+v", a)
	}
	all := traces.take()
	if len(all) != 1 {
		t.Fatalf("%d traces", len(all))
	}
	tr := all[0]
	for name, st := range map[string]Stage{"wait": tr.Wait, "carry": tr.Carry, "prepare": tr.Prepare, "PostgreSQL": tr.Server} {
		tr.within(t, name, st)
	}
	if tr.Begun != tr.Wait.Begun || tr.Wait.Ended.After(tr.Server.Begun) || tr.Server.Begun.After(tr.Carry.Begun) || tr.Prepare.Ended.Before(tr.Carry.Ended) || tr.Server.Ended != tr.Ended {
		t.Errorf("%+v", tr)
	}
	c.query("BEGIN")
	c.ask("SELECT 1 "+comment("01"), "1")
	if all := traces.take(); len(all) != 1 || all[0].Wait != (Stage{}) || all[0].Carry != (Stage{}) {
		t.Errorf("the next has not waited: %+v", all)
	}
}

// Of the requests that carry no traceparent, one in trace_sample is traced.
func TestTraceSample(t *testing.T) {
	p, traces := startTraced(t, `trace_endpoint = "http://collector:4318"`, `trace_sample = 2`)
	c := newRaw(t, p, "postgres")
	const requests = 20
	for range requests {
		c.ask("SELECT 1", "1")
	}
	all := traces.take()
	if len(all) != requests/2 {
		t.Errorf("%d of %d requests traced", len(all), requests)
	}
	for _, tr := range all {
		if tr.TraceID != [16]byte{} || tr.Parent != [8]byte{} {
			t.Errorf("%+v", tr)
		}
	}
	for range requests { // a request counts once, however many statements it has
		c.play(sequenceOf("SELECT 1", "SELECT 2", "SELECT 3")...)
	}
	if n := len(traces.take()); n != requests/2 {
		t.Errorf("%d of %d pipelines traced", n, requests)
	}
}

// sequenceOf is a sequence with these statements.
func sequenceOf(texts ...string) []pgproto3.FrontendMessage {
	var all []pgproto3.FrontendMessage
	for _, text := range texts {
		all = append(all, &pgproto3.Parse{Query: text}, &pgproto3.Bind{}, &pgproto3.Execute{})
	}
	return append(all, &pgproto3.Sync{})
}

// A trace is of the request that asked for it, wherever that is in a pipeline, and whatever fails before it.
func TestTraceInAPipeline(t *testing.T) {
	p, traces := startTraced(t)
	c := newRaw(t, p, "postgres")
	batch := append(sequenceOf("SELECT 1/0"), sequenceOf("SELECT 1", "SELECT 2 "+asking(2), "SELECT pg_sleep(0.02) "+asking(3))...)
	batch = append(batch, &pgproto3.Query{String: "SELECT 4"}, &pgproto3.Query{String: "SELECT 5 " + asking(5)})
	c.send(batch...)
	for range 4 {
		c.answer()
	}
	all := traces.take()
	if len(all) != 1 || all[0].Parent[7] != 2 || all[0].Failed || all[0].Ended.Sub(all[0].Begun) < 20*time.Millisecond || !all[0].Server.Begun.After(all[0].Begun) {
		t.Errorf("%+v", all)
	}
	c.send(append(sequenceOf("SELECT 1"), sequenceOf("SELECT 1/0 "+asking(7), "SELECT 'skipped'")...)...)
	c.answer()
	c.answer()
	if all := traces.take(); len(all) != 1 || all[0].Parent[7] != 7 || !all[0].Failed {
		t.Errorf("of one that fails: %+v", all)
	}
	c.send(&pgproto3.Query{String: "COPY pg_catalog.pg_class FROM STDIN"}, &pgproto3.Sync{}, &pgproto3.CopyFail{}, &pgproto3.Query{String: "SELECT 8 " + asking(8)}, &pgproto3.Query{String: "SELECT 9"})
	for a := c.answer(); a.only() != "9"; {
		if a = c.answer(); a.Status == 0 {
			t.Fatal("the connection has ended")
		}
	}
	if all := traces.take(); len(all) != 1 || all[0].Parent[7] != 8 || all[0].Failed {
		t.Errorf("behind a COPY: %+v", all)
	}
}

// A request that is not traced costs no allocation because others are.
func TestUntracedRequestsAllocateNothing(t *testing.T) {
	p, traces := startTraced(t, `trace_endpoint = "http://collector:4318"`, `trace_sample = 1000000`)
	c := newRaw(t, p, "postgres")
	c.query("BEGIN")
	s := p.Front.sessions.all()[0]
	done := make(chan float64)
	for _, text := range []string{"SELECT 1", "SELECT '" + strings.Repeat("traceparent=", 20) + "'", "SELECT 1 " + comment("00")} {
		statement := []byte(text)
		s.req.Loop.Post(func() {
			s.lease.Conn.Usage.Uncounted = false
			done <- testing.AllocsPerRun(100, func() {
				s.noteStatement(statement)
				s.lease.Conn.Usage.Uncounted = false // what counting it costs is another matter
			})
		})
		if n := <-done; n > 0 {
			t.Errorf("%v allocations for %q", n, text)
		}
	}
	if all := traces.take(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func BenchmarkNoteStatement(b *testing.B) {
	text := []byte("SELECT abalance, filler, something FROM pgbench_accounts WHERE aid = 12345 AND filler = 'something else'")
	for name, note := range map[string]func(Trace){"off": nil, "on": func(Trace) {}} {
		b.Run("tracer="+name, func(b *testing.B) {
			srv := &Server{tracer: note}
			srv.settings.Store(&current{cfg: &config.Config{TraceSample: 1_000_000_000}})
			c := &backend.Conn{}
			s := &Session{srv: srv, trail: &trail{}, crew: &crew{}, lease: &pool.Lease{Conn: c}}
			for b.Loop() {
				s.noteStatement(text)
				c.Usage.Uncounted = false
			}
		})
	}
}

func TestTraceparent(t *testing.T) {
	value := "00-" + testTrace + "-" + testParent
	for _, c := range []struct {
		name, text  string
		ok, sampled bool
	}{
		{"quoted", "SELECT 1 /*traceparent='" + value + "-01'*/", true, true},
		{"with encoded quotes", "SELECT 1 /*traceparent=%27" + value + "-01%27*/", true, true},
		{"among others", "/*a='b',traceparent='" + value + "-03',z='1'*/ SELECT 1", true, true},
		{"behind something like it", "SELECT 'traceparent=' /*traceparent='" + value + "-01'*/", true, true},
		{"not sampled", "SELECT 1 /*traceparent='" + value + "-02'*/", true, false},
		{"in a string", "SELECT '/*traceparent=''" + value + "-01'''", false, false},
		{"without quotes", "SELECT 1 /*traceparent=" + value + "-01*/", false, false},
		{"cut off", "SELECT 1 /*traceparent='" + value + "-0", false, false},
		{"of another version", "SELECT 1 /*traceparent='01" + value[2:] + "-01'*/", false, false},
		{"in capitals", "SELECT 1 /*traceparent='" + strings.ToUpper(value) + "-01'*/", false, false},
		{"no trace", "SELECT 1 /*traceparent='00-" + strings.Repeat("0", 32) + "-" + testParent + "-01'*/", false, false},
		{"no parent", "SELECT 1 /*traceparent='00-" + testTrace + "-0000000000000000-01'*/", false, false},
		{"not in a comment", "SELECT 'traceparent=%27" + value + "-01%27'", false, false},
		{"none", "SELECT 1", false, false},
	} {
		p, ok := traceparentIn([]byte(c.text))
		if ok != c.ok || p.sampled != c.sampled || ok && (hexOf(p.trace[:]) != testTrace || hexOf(p.parent[:]) != testParent) {
			t.Errorf("%s: %v, %+v", c.name, ok, p)
		}
	}
}

// What is found is valid, and stands in the text.
func FuzzTraceparent(f *testing.F) {
	f.Add([]byte("SELECT 1 " + comment("01")))
	f.Add([]byte("/*traceparent=%2700-" + testTrace + "-" + testParent + "-00%27"))
	f.Add([]byte("/*traceparent='traceparent='00-"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, ok := traceparentIn(text)
		if !ok {
			if p != (traceparent{}) {
				t.Errorf("%+v", p)
			}
			return
		}
		value := "00-" + hexOf(p.trace[:]) + "-" + hexOf(p.parent[:]) + "-"
		if p.trace == [16]byte{} || p.parent == [8]byte{} || !bytes.Contains(text, []byte(value)) {
			t.Errorf("%+v", p)
		}
	})
}
