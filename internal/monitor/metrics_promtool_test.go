package monitor

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
)

const (
	alertRules = "../../docs/alerts/pooler.rules.yml"
	dashboard  = "../../docs/grafana/pooler.json"
)

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, input []byte, args ...string) {
	t.Helper()
	path, err := filepath.Abs("../../.tools/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath("promtool"); err != nil {
			t.Fatal("promtool is missing: run scripts/install-promtool.sh with the path of .tools in this repository, or make test, which does")
		}
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	promtool(t, scrape(t, busy(), expfmt.NewFormat(expfmt.TypeTextPlain)), "check", "metrics")
}

// With every trouble each rule fires, without any none does.
func TestPromtoolAcceptsTheAlertRules(t *testing.T) {
	promtool(t, nil, "check", "rules", alertRules)
	promtool(t, nil, "test", "rules", "testdata/rules_test.yml")
	rules, err := os.ReadFile(alertRules)
	if err != nil {
		t.Fatal(err)
	}
	tested, err := os.ReadFile("testdata/rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "- alert: "); ok && !strings.Contains(string(tested), `"`+name+`"`) {
			t.Errorf("nobody tests that %s fires", name)
		}
	}
}
