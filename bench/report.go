package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

type metric string

const (
	metricTPS           metric = "tps"
	metricLatency       metric = "latency_ms"
	metricCPU           metric = "cpu_us_per_txn"
	metricStreamSeconds metric = "stream_seconds"
	metricStreamCPU     metric = "stream_cpu_s_per_gb"
	metricIdleBytes     metric = "idle_bytes_per_client"
	metricLogins        metric = "logins_per_s"
	metricLoginCPU      metric = "cpu_us_per_login"
	metricSteadyP99     metric = "steady_p99_ms"
)

// table is one table of the report: a metric, how to print it, and what to say about it.
type table struct {
	metric metric
	title  string
	digits int
}

var tables = []table{
	{metricTPS, "Throughput, transactions per second (connect: connections per second)", 0},
	{metricLatency, "Average latency, ms", 3},
	{metricCPU, "CPU of the proxy per transaction, µs", 2},
	{metricStreamSeconds, "Streaming out, seconds", 2},
	{metricStreamCPU, "Streaming out, CPU seconds of the proxy per GB", 2},
	{metricLogins, "SCRAM logins per second, the generator's own sums included", 0},
	{metricLoginCPU, "CPU of the proxy per SCRAM login, µs; the steady clients' queries included", 0},
	{metricSteadyP99, "99th percentile of 8 steady clients' queries during the logins, ms", 2},
	{metricIdleBytes, "Memory of the proxy per idle client, bytes", 0},
}

// goal is one line of the budget: the ratio pooler/pgbouncer of a metric, or the pooler's own figure, and its bound.
type goal struct {
	Name    string  `json:"name"`
	Case    string  `json:"case"`
	Metric  metric  `json:"metric"`
	AtLeast bool    `json:"at_least"` // else at most
	Bound   float64 `json:"bound"`
	Own     bool    `json:"own_figure,omitempty"` // not a ratio
}

var budget = []goal{
	{"CPU per transaction, 16 clients", "simple-16", metricCPU, false, 0.8, false},
	{"CPU per transaction, 128 clients", "simple-128", metricCPU, false, 0.8, false},
	{"throughput, 16 clients", "simple-16", metricTPS, true, 1.1, false},
	{"throughput, 128 clients", "simple-128", metricTPS, true, 1.1, false},
	{"latency, 1 client", "simple-1", metricLatency, false, 1.05, false},
	{"connect rate", "connect-16", metricTPS, true, 0.9, false},
	{"CPU per transaction with TLS, 16 clients", "tls-simple-16", metricCPU, false, 1, false},
	{"CPU per transaction with TLS, 128 clients", "tls-simple-128", metricCPU, false, 1, false},
	{"connect rate with TLS", "tls-connect-16", metricTPS, true, 1, false},
	{"SCRAM logins per second", "scram", metricLogins, true, 1, false},
	{"bytes per idle client with TLS (no ratio)", caseIdleTLS, metricIdleBytes, false, 8192, true},
}

func (g goal) reached(ratio float64) bool {
	if g.AtLeast {
		return ratio >= g.Bound
	}
	return ratio <= g.Bound
}

type values map[metric]float64

func (v values) String() string {
	var parts []string
	for _, t := range tables {
		if x, ok := v[t.metric]; ok {
			parts = append(parts, fmt.Sprintf("%s %.*f", t.metric, t.digits, x))
		}
	}
	return strings.Join(parts, "  ")
}

// measurement is one run of one case through one target.
type measurement struct {
	Case   string `json:"case"`
	Target string `json:"target"`
	Round  int    `json:"round"`
	Values values `json:"values,omitempty"`
	Error  string `json:"error,omitempty"`
}

type report struct {
	Date         time.Time         `json:"date"`
	Machine      machine           `json:"machine"`
	Versions     map[string]string `json:"versions"`
	Settings     map[string]any    `json:"settings"`
	Targets      []string          `json:"targets"`
	Measurements []measurement     `json:"measurements"`
	Ratios       []ratio           `json:"ratios"`
	Budget       []verdict         `json:"budget"`
	Incomplete   string            `json:"incomplete,omitempty"`
}

// ratio is pooler/pgbouncer: the median of what each round's pair gives.
type ratio struct {
	Case   string  `json:"case"`
	Metric metric  `json:"metric"`
	Value  float64 `json:"value"`
	Pairs  int     `json:"pairs"`
}

type verdict struct {
	goal
	Measured bool    `json:"measured"`
	Ratio    float64 `json:"ratio"`
	Reached  bool    `json:"reached"`
}

type machine struct {
	Cores  int    `json:"cores"`
	CPU    string `json:"cpu"`
	Kernel string `json:"kernel"`
	Load   string `json:"load_average_at_start"`
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), CPU: "unknown", Kernel: firstLine("/proc/sys/kernel/osrelease"), Load: firstLine("/proc/loadavg")}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func (b *bench) newReport(ctx context.Context) *report {
	r := &report{Date: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Versions: map[string]string{"go": runtime.Version()}}
	if out, err := command(ctx, b.tools.pgbench, "--version").Output(); err == nil {
		r.Versions["pgbench"] = strings.TrimSpace(string(out))
	}
	for _, t := range b.targets {
		r.Targets = append(r.Targets, t.name)
		r.Versions[t.name] = t.version
	}
	r.Settings = map[string]any{
		"rounds": b.opts.rounds, "seconds": b.opts.seconds, "scale": b.opts.scale, "pool_size": b.opts.poolSize,
		"pool_boundary": b.opts.boundary, "stream_gb": b.opts.streamGB, "stream_row_bytes": b.opts.streamRow,
		"idle_clients": b.opts.idle, "idle_clients_with_tls": b.opts.idleTLS, "settle": b.opts.settle.String(),
		"postgres_max_connections": serverMaxConnections, "postgres": serverSettings,
	}
	return r
}

// write prints the Markdown and, if a file is named, the JSON.
func (r *report) write(w io.Writer, jsonFile string) error {
	r.Ratios = allRatios(r.Measurements)
	r.Budget = judge(r.Ratios, r.Measurements)
	if _, err := io.WriteString(w, r.markdown()); err != nil {
		return err
	}
	if jsonFile == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(jsonFile, append(text, '\n'), 0o644)
}

// failures is an error if any run failed, one line each.
func (r *report) failures() error {
	var errs []error
	for _, m := range r.Measurements {
		if m.Error != "" {
			first, _, _ := strings.Cut(m.Error, "\n")
			errs = append(errs, fmt.Errorf("FAILED %s on %s: %s", m.Case, m.Target, first))
		}
	}
	return errors.Join(errs...)
}

func (r *report) markdown() string {
	var s strings.Builder
	r.writeHeader(&s)
	for _, t := range tables {
		r.writeTable(&s, t)
	}
	r.writeFailures(&s)
	r.writeBudget(&s)
	return s.String()
}

func (r *report) writeHeader(s *strings.Builder) {
	fmt.Fprintf(s, "# Side by side, %s\n\n", r.Date.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(s, "* machine: %d × %s, Linux %s, load average at the start %s\n", r.Machine.Cores, r.Machine.CPU, r.Machine.Kernel, r.Machine.Load)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(s, "* %s: %s\n", name, r.Versions[name])
	}
	settings, err := json.Marshal(r.Settings) // sorts its keys
	if err != nil {
		settings = []byte(err.Error())
	}
	fmt.Fprintf(s, "* settings: `%s`\n", settings)
	s.WriteString("* figures: median (min–max) of the rounds; ratio: median of the rounds' own ratios pooler/pgbouncer\n")
	if r.Incomplete != "" {
		fmt.Fprintf(s, "* **incomplete: %s**\n", r.Incomplete)
	}
}

func (r *report) writeTable(s *strings.Builder, t table) {
	var rows []string
	for _, c := range caseNames() {
		if row, found := r.row(c, t); found {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(s, "\n## %s\n\n| case | %s | ratio |\n|---|%s---:|\n", t.title, strings.Join(r.Targets, " | "), strings.Repeat("---:|", len(r.Targets)))
	s.WriteString(strings.Join(rows, ""))
}

// row is one line of a table; found is false if no target has a figure to show in it.
func (r *report) row(name string, t table) (row string, found bool) {
	cells := []string{name}
	for _, target := range r.Targets {
		xs := figures(r.Measurements, name, target, t.metric)
		found = found || len(xs) > 0
		cell := spread(slices.Collect(maps.Values(xs)), t.digits)
		if failed(r.Measurements, name, target) {
			cell = "**FAILED**"
		}
		cells = append(cells, cell)
	}
	cell := "–"
	if x, ok := findRatio(r.Ratios, name, t.metric); ok {
		cell = fmt.Sprintf("%.2f", x)
	}
	return "| " + strings.Join(append(cells, cell), " | ") + " |\n", found
}

// figures are a target's results by round.
func figures(runs []measurement, name, target string, m metric) map[int]float64 {
	xs := map[int]float64{}
	for _, run := range runs {
		if x, ok := run.Values[m]; ok && run.Case == name && run.Target == target {
			xs[run.Round] = x
		}
	}
	return xs
}

// failed says that a run of the case failed, which makes the target's other rounds worth nothing.
func failed(runs []measurement, name, target string) bool {
	return slices.ContainsFunc(runs, func(m measurement) bool {
		return m.Error != "" && m.Case == name && m.Target == target
	})
}

func (r *report) writeFailures(s *strings.Builder) {
	if r.failures() == nil {
		return
	}
	s.WriteString("\n## FAILED\n\n```text\n")
	for _, m := range r.Measurements {
		if m.Error != "" {
			fmt.Fprintf(s, "%s on %s: %s\n", m.Case, m.Target, m.Error)
		}
	}
	s.WriteString("```\n")
}

func (r *report) writeBudget(s *strings.Builder) {
	s.WriteString("\n## Budget: pooler/pgbouncer, simple protocol\n\n")
	for _, v := range r.Budget {
		sign := "≤"
		if v.AtLeast {
			sign = "≥"
		}
		result := "not measured"
		if v.Measured {
			result = fmt.Sprintf("%.2f, %s", v.Ratio, map[bool]string{true: "reached", false: "**not reached**"}[v.Reached])
		}
		fmt.Fprintf(s, "* %s %s %.2f: %s\n", v.Name, sign, v.Bound, result)
	}
}

// spread prints median (min–max), or the one figure there is.
func spread(xs []float64, digits int) string {
	switch len(xs) {
	case 0:
		return "–"
	case 1:
		return fmt.Sprintf("%.*f", digits, xs[0])
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, median(xs), digits, slices.Min(xs), digits, slices.Max(xs))
}

func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(xs))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// allRatios pairs our run with PgBouncer's of the same case and round.
func allRatios(runs []measurement) []ratio {
	var ratios []ratio
	for _, c := range caseNames() {
		for _, t := range tables {
			if pairs := pairedRatios(runs, c, t.metric, namePooler, namePgbouncer); len(pairs) > 0 {
				ratios = append(ratios, ratio{Case: c, Metric: t.metric, Value: median(pairs), Pairs: len(pairs)})
			}
		}
	}
	return ratios
}

// pairedRatios is ours/theirs, in ascending order, for each round in which both have a figure.
func pairedRatios(runs []measurement, name string, m metric, ours, theirs string) []float64 {
	if failed(runs, name, ours) || failed(runs, name, theirs) {
		return nil
	}
	other := figures(runs, name, theirs, m)
	var ratios []float64
	for round, x := range figures(runs, name, ours, m) {
		if y := other[round]; y > 0 {
			ratios = append(ratios, x/y)
		}
	}
	slices.Sort(ratios)
	return ratios
}

func findRatio(ratios []ratio, name string, m metric) (float64, bool) {
	for _, r := range ratios {
		if r.Case == name && r.Metric == m {
			return r.Value, true
		}
	}
	return 0, false
}

func judge(ratios []ratio, runs []measurement) []verdict {
	var verdicts []verdict
	for _, g := range budget {
		x, ok := findRatio(ratios, g.Case, g.Metric)
		if g.Own {
			own := slices.Collect(maps.Values(figures(runs, g.Case, namePooler, g.Metric)))
			x, ok = median(own), len(own) > 0 && !failed(runs, g.Case, namePooler)
		}
		if !ok {
			x = 0
		}
		verdicts = append(verdicts, verdict{goal: g, Measured: ok, Ratio: x, Reached: ok && g.reached(x)})
	}
	return verdicts
}
