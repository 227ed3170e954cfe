package main

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// demoFor makes options for a demo beside whatever else runs on the machine.
func demoFor(think time.Duration) demoOptions {
	return demoOptions{poolSize: 10, workload: true, users: 10, statements: 5, think: think}
}

func TestWorkloadNeedsFewServerSessions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := demoFor(50 * time.Millisecond)
	d, err := startDemo(ctx, t.Output(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	direct, pooled := d.replay(ctx, t.Output(), o)
	if ctx.Err() != nil {
		t.Fatal("the workload takes too long")
	}
	if direct.done != 50 || len(direct.sessions) != 10 {
		t.Errorf("direct: %d statements done in %d sessions, want 50 in 10", direct.done, len(direct.sessions))
	}
	if pooled.done != 50 || len(pooled.sessions) > 3 {
		t.Errorf("through the pooler: %d statements done in %d sessions, want 50 in at most 3", pooled.done, len(pooled.sessions))
	}
	if direct.server.err != nil || pooled.server.kB == 0 || pooled.own.kB == 0 {
		t.Errorf("memory: %+v %+v %+v", direct.server, pooled.server, pooled.own)
	}
}

func TestDemoLeavesNothingBehindWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := demoFor(time.Hour)
	o.workload = false
	var out output
	ended := make(chan error, 1)
	go func() { ended <- runDemo(ctx, &out, t.Output(), o) }()
	until(t, "the demo is up", func() bool { return strings.Contains(out.String(), "Ctrl-C stops everything") })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err) // and TestMain finds processes, goroutines and files
	}
	for _, want := range []string{"psql -h 127.0.0.1 -p ", "postgres://postgres@127.0.0.1:", "options=-c%20pool_boundary%3Dtransaction"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}

func TestDemoInterruptedInTheWorkloadFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out output
	ended := make(chan error, 1)
	go func() { ended <- runDemo(ctx, &out, t.Output(), demoFor(time.Hour)) }()
	until(t, "the workload has begun", func() bool { return strings.Contains(out.String(), "server session") })
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("it ended with %v", err)
	}
}

func TestDemoSaysWhatToDoAboutATakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, tc := range []struct {
		name string
		set  func(*demoOptions)
	}{
		{"the pooler's", func(o *demoOptions) { o.port = taken.Addr().(*net.TCPAddr).Port }},
		{"that for metrics", func(o *demoOptions) { o.http = taken.Addr().String() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := demoFor(0)
			tc.set(&o)
			err := runDemo(t.Context(), t.Output(), t.Output(), o)
			if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "--port") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	run := func(sessions, done int, elapsed time.Duration) *outcome {
		o := &outcome{sessions: map[serverSession]int{}, done: done, expected: 50, elapsed: elapsed}
		for i := range sessions {
			o.sessions[serverSession{pid: i}]++
		}
		return o
	}
	for _, tc := range []struct {
		name   string
		pooled *outcome
		want   string
	}{
		{"fewer sessions in nearly the same time", run(3, 50, 10010*time.Millisecond), "3 server sessions instead of 10, elapsed +0.1 %."},
		{"one session, sooner", run(1, 50, 9900*time.Millisecond), "1 server session instead of 10, elapsed -1.0 %."},
		{"a statement without an answer", run(3, 49, time.Second), "FAILED: 1 statement without the right answer."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := verdict(run(10, 50, 10*time.Second), tc.pooled); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCompareIsForATerminal(t *testing.T) {
	var out bytes.Buffer
	o := &outcome{sessions: map[serverSession]int{{}: 1}, done: 1, expected: 1, elapsed: time.Second, server: memory{kB: 1 << 20, measure: "PSS"}}
	compare(&out, o, o)
	for i, line := range strings.Split(out.String(), "\n") {
		if len(line) > 80 {
			t.Error("line "+strconv.Itoa(i+1)+" is too wide:", line)
		}
	}
}
