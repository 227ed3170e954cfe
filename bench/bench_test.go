package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const pgbench15 = `pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: select only>
scaling factor: 10
query mode: simple
number of clients: 16
number of threads: 2
maximum number of tries: 1
duration: 2 s
number of transactions actually processed: 74512
number of failed transactions: 0 (0.000%)
latency average = 0.428 ms
initial connection time = 12.345 ms
tps = 37312.843221 (without initial connection time)
`

const pgbench13 = `number of transactions actually processed: 100
latency average = 1.5 ms
tps = 10.5 (including connections establishing)
tps = 11.5 (excluding connections establishing)
`

func TestParsePgbench(t *testing.T) {
	for _, tt := range []struct {
		name string
		out  string
		want pgbenchResult
	}{
		{"version 15", pgbench15, pgbenchResult{tps: 37312.843221, latencyMS: 0.428, transactions: 74512}},
		{"version 13 gives two rates", pgbench13, pgbenchResult{tps: 11.5, latencyMS: 1.5, transactions: 100}},
		{
			"a connection for each transaction", strings.Replace(pgbench15, "tps = 37312.843221 (without initial connection time)",
				"average connection time = 0.1 ms\ntps = 900.25 (including reconnection times)", 1),
			pgbenchResult{tps: 900.25, latencyMS: 0.428, transactions: 74512},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parsePgbench(tt.out)
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	for name, out := range map[string]string{
		"nothing":        "",
		"no rate":        strings.Replace(pgbench15, "tps =", "tps:", 1),
		"no transaction": "number of transactions actually processed: 0\nnumber of failed transactions: 0 (NaN%)\n",
	} {
		if got, err := parsePgbench(out); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func TestPgbenchComplaint(t *testing.T) {
	for _, tt := range []struct{ name, out, want string }{
		{"all well", pgbench15, ""},
		{"failed transactions", strings.Replace(pgbench15, "transactions: 0 (0.000%)", "transactions: 3 (0.004%)", 1), "number of failed transactions: 3 (0.004%)"},
		{"refused", "pgbench: error: connection to server failed: FATAL:  no more\n" + pgbench15, "pgbench: error: connection to server failed: FATAL:  no more"},
		{"client aborted", pgbench15 + "pgbench: error: client 3 script 0 aborted in command 1\n", "pgbench: error: client 3 script 0 aborted in command 1"},
		{"run aborted", "Run was aborted; the above results are incomplete.\n", "Run was aborted; the above results are incomplete."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := pgbenchComplaint(tt.out); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseStatCPU(t *testing.T) {
	const line = "4242 (pg (bouncer) x) S 1 4242 4242 0 -1 4194560 1 2 3 4 123 77 9 9 20 0 1 0 12345 1 1"
	got, err := parseStatCPU([]byte(line))
	if want := 2 * time.Second; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", strings.Replace(line, "123", "abc", 1)} {
		if _, err := parseStatCPU([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestCPUTimeCountsThisProcess(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	burned := 0
	for deadline := time.Now().Add(30 * time.Millisecond); time.Now().Before(deadline); {
		burned++
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("from %v to %v (%v) while burning CPU (%d turns)", before, after, err, burned)
	}
}

// The clock and /proc must mean the same thing.
func TestCPUTimeAgreesWithStat(t *testing.T) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := parseStatCPU(stat)
	if err != nil {
		t.Fatal(err)
	}
	clock, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if diff := clock - ticks; diff < -50*time.Millisecond || diff > 500*time.Millisecond {
		t.Errorf("clock %v, /proc/self/stat %v", clock, ticks)
	}
}

func TestParseRollup(t *testing.T) {
	const both = "55d0-7ffd ---p 0 00:00 0 [rollup]\nRss:    5120 kB\nPss:    1024 kB\nPss_Dirty: 7 kB\n"
	for _, tt := range []struct {
		name, in string
		want     int64
	}{
		{"the proportional share where there is one", both, 1024 * 1024},
		{"else all that is resident", strings.Replace(both, "Pss:", "Xss:", 1), 5120 * 1024},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseRollup([]byte(tt.in)); err != nil || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
	if _, err := parseRollup([]byte("nothing")); err == nil {
		t.Error("no error without figures")
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 8}, 3}} {
		before := slices.Clone(tt.in)
		if got := median(tt.in); got != tt.want || !slices.Equal(before, tt.in) {
			t.Errorf("median(%v) = %v, want %v and the input untouched", before, got, tt.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func tpsRun(target string, round int, tps float64) measurement {
	return measurement{Case: "simple-16", Target: target, Round: round, Values: values{metricTPS: tps}}
}

func TestRatiosPairRunsOfOneRound(t *testing.T) {
	runs := []measurement{
		tpsRun(namePgbouncer, 1, 100), tpsRun(namePooler, 1, 120), // 1.2
		tpsRun(namePgbouncer, 2, 10), tpsRun(namePooler, 2, 15), // 1.5: a slow moment for both
		tpsRun(namePgbouncer, 3, 100), tpsRun(namePooler, 3, 110), // 1.1
		tpsRun(namePooler, 4, 900), // no partner
		tpsRun(nameDirect, 1, 500),
	}
	got := pairedRatios(runs, "simple-16", metricTPS, namePooler, namePgbouncer)
	if want := []float64{1.1, 1.2, 1.5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	failedToo := append(slices.Clone(runs), measurement{Case: "simple-16", Target: namePooler, Round: 4, Error: "boom"})
	if got := pairedRatios(failedToo, "simple-16", metricTPS, namePooler, namePgbouncer); got != nil {
		t.Errorf("a case that failed once still has ratios: %v", got)
	}
	ratios := allRatios(runs)
	if want := []ratio{{Case: "simple-16", Metric: metricTPS, Value: 1.2, Pairs: 3}}; !slices.Equal(ratios, want) {
		t.Errorf("got %v, want %v", ratios, want)
	}
}

func TestBudget(t *testing.T) {
	verdicts := judge([]ratio{
		{Case: "simple-16", Metric: metricTPS, Value: 1.1},
		{Case: "simple-128", Metric: metricTPS, Value: 1.09},
		{Case: "simple-16", Metric: metricCPU, Value: 0.8},
		{Case: "simple-1", Metric: metricLatency, Value: 1.06},
		{Case: "tls-simple-16", Metric: metricCPU, Value: 0.7},
		{Case: "scram", Metric: metricLogins, Value: 4},
	}, []measurement{
		{Case: caseIdleTLS, Target: namePooler, Values: values{metricIdleBytes: 8000}},
		{Case: caseIdleTLS, Target: namePgbouncer, Values: values{metricIdleBytes: 12000}},
	})
	want := map[string][2]bool{ // measured, reached
		"CPU per transaction, 16 clients":  {true, true},
		"CPU per transaction, 128 clients": {false, false},
		"throughput, 16 clients":           {true, true},
		"throughput, 128 clients":          {true, false},
		"latency, 1 client":                {true, false},
		"connect rate":                     {false, false},

		"CPU per transaction with TLS, 16 clients":  {true, true},
		"CPU per transaction with TLS, 128 clients": {false, false},
		"connect rate with TLS":                     {false, false},
		"SCRAM logins per second":                   {true, true},
		"bytes per idle client with TLS (no ratio)": {true, true},
	}
	for _, v := range verdicts {
		if got := [2]bool{v.Measured, v.Reached}; got != want[v.Name] {
			t.Errorf("%s: measured, reached = %v, want %v", v.Name, got, want[v.Name])
		}
	}
	if len(verdicts) != len(want) {
		t.Errorf("%d verdicts, want %d", len(verdicts), len(want))
	}
}

func TestBudgetNamesRealCases(t *testing.T) {
	for _, g := range budget {
		if !slices.Contains(caseNames(), g.Case) {
			t.Errorf("%s: no case %q", g.Name, g.Case)
		}
	}
}

func TestReport(t *testing.T) {
	r := &report{Targets: []string{namePgbouncer, namePooler}, Measurements: []measurement{
		tpsRun(namePgbouncer, 1, 100), tpsRun(namePooler, 1, 130),
		{Case: "tpcb-16", Target: namePgbouncer, Round: 1, Values: values{metricTPS: 7}},
		{Case: "tpcb-16", Target: namePooler, Round: 1, Values: values{metricTPS: 8}},
		{Case: "tpcb-16", Target: namePooler, Round: 2, Error: "boom\n  log: why"},
	}}
	file := filepath.Join(t.TempDir(), "out.json")
	var out bytes.Buffer
	if err := r.write(&out, file); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| simple-16 | 100 | 130 | 1.30 |", "## FAILED", "tpcb-16 on pooler: boom\n  log: why",
		"| tpcb-16 | 7 | **FAILED** | – |",
		"throughput, 16 clients ≥ 1.10: 1.30, reached", "connect rate ≥ 0.90: not measured",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Measurements) != 5 {
		t.Errorf("JSON does not read back: %v\n%s", err, text)
	}
	if err := r.failures(); err == nil || err.Error() != "FAILED tpcb-16 on pooler: boom" {
		t.Errorf("failures: %v", err)
	}
}

func TestPgbouncerPrepares(t *testing.T) {
	for version, want := range map[string]bool{"PgBouncer 1.18.0": false, "PgBouncer 1.21.0": true, "PgBouncer 2.0": true, "odd": false} {
		if got := pgbouncerPrepares(version); got != want {
			t.Errorf("%s: got %v", version, got)
		}
	}
}

func TestParseOther(t *testing.T) {
	got, err := parseOther("odyssey=/opt/run.sh a=b user@host@6433")
	if want := (otherPooler{"odyssey", "/opt/run.sh a=b user@host", 6433}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "x", "x=cmd", "x=@1", "=cmd@1", "x=cmd@0", "x=cmd@70000"} {
		if got, err := parseOther(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestFlags(t *testing.T) {
	quick, err := parseFlags([]string{"-quick"}, io.Discard)
	if err != nil || quick.seconds != 1 || quick.rounds != 3 {
		t.Errorf("-quick: %+v, %v", quick, err)
	}
	for name, want := range map[string]bool{"simple-128": true, "connect-16": true, "tpcb-16": false, caseStream: false, caseIdle: false} {
		if quick.wants(name) != want {
			t.Errorf("-quick wants %s: %v", name, !want)
		}
	}
	chosen, err := parseFlags([]string{"-quick", "-seconds", "4", "-cases", "^idle$", "-only", "direct,mine", "-other", "mine=x@1"}, io.Discard)
	if err != nil || chosen.seconds != 4 || !chosen.wants(caseIdle) || chosen.wants("simple-16") || !chosen.runs("mine") || chosen.runs(namePooler) {
		t.Errorf("got %+v, %v", chosen, err)
	}
	for _, bad := range [][]string{{"-rounds", "0"}, {"-only", "nobody"}, {"-cases", "("}, {"x"}, {"-other", "pooler=x@1"}, {"-stream-gb", "0"}} {
		if _, err := parseFlags(bad, io.Discard); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestReadUntilReady(t *testing.T) {
	const authOK, ready = "R\x00\x00\x00\x08\x00\x00\x00\x00", "Z\x00\x00\x00\x05I"
	for _, tt := range []struct {
		name, in string
		ok       bool
	}{
		{"login", authOK + "S\x00\x00\x00\x08a\x00b\x00" + ready, true},
		{"a password is asked for", "R\x00\x00\x00\x08\x00\x00\x00\x03" + ready, false},
		{"an error", "E\x00\x00\x00\x05\x00" + ready, false},
		{"cut off", authOK + "Z\x00\x00", false},
		{"a length that cannot be", "Z\x00\x00\x00\x01", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := readUntilReady(strings.NewReader(tt.in)); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The exchange of RFC 7677, section 3; a client of PostgreSQL leaves the name to the server, so that differs.
func TestSCRAMProofOfRFC7677(t *testing.T) {
	s := scramClient{bare: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
	answer, err := s.final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "pencil")
	if err != nil || !bytes.HasSuffix(answer, []byte(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")) {
		t.Errorf("got %q, %v", answer, err)
	}
	for _, bad := range []string{"", "r=a", "r=a,s=?,i=1", "r=a,s=YQ==,i=x"} {
		if answer, err := s.final(bad, "pencil"); err == nil {
			t.Errorf("challenge %q: got %q, want an error", bad, answer)
		}
	}
}

func TestInParallelReportsTheFirstError(t *testing.T) {
	seen := make([]bool, 100)
	if err := inParallel(t.Context(), len(seen), func(i int) error { seen[i] = true; return nil }); err != nil || slices.Contains(seen, false) {
		t.Errorf("got %v, calls %v", err, seen)
	}
	boom := errors.New("boom")
	if err := inParallel(t.Context(), 100, func(int) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
}

func TestProcessIsStoppedWithItsLog(t *testing.T) {
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &target{name: "fake", dir: t.TempDir(), argv: []string{path, "-c", "echo hello; sleep 60 & wait"}}
	p, err := startProcess(proxy)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(p.tail(), "hello") && time.Now().Before(deadline); {
		<-time.After(5 * time.Millisecond)
	}
	if !strings.Contains(p.tail(), "log: hello") {
		t.Errorf("log tail %q", p.tail())
	}
	p.stop()
	select {
	case <-p.done:
	default:
		t.Error("still running after stop")
	}
	p.stop() // once more does no harm
}
