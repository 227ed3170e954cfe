package monitor

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// known is what there is to ask for: of each name in queries its labels, and of each label its values.
type known map[string]map[string][]string

func knownMetrics(t *testing.T) known {
	t.Helper()
	k := known{"up": {}}
	for name, f := range gathered(t, registryOf(t, busy())) {
		labels := map[string][]string{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		k[name] = labels
		if f.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		k[name+"_sum"], k[name+"_count"] = labels, labels
		k[name+"_bucket"] = map[string][]string{"le": nil}
		for label, values := range labels {
			k[name+"_bucket"][label] = values
		}
	}
	return k
}

// has tells whether what is called so can have that label. Prometheus itself adds where it has scraped.
func (k known) has(metric, label string) bool {
	_, ok := k[metric][label]
	return ok || label == "job" || label == "instance"
}

var (
	token   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][A-Za-z0-9_:]*|[0-9.]+|=~|!~|!=|[<>=]=?|[(){},+\-*/%]`)
	matcher = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	words   = []string{"and", "or", "unless", "bool", "offset"}
)

// check returns the metrics that a query asks for, and what is wrong with it. It understands as much of PromQL as our
// queries use.
func (k known) check(query string) (metrics []string, faults []string) {
	tokens := token.FindAllString(query, -1)
	if rest := strings.TrimSpace(token.ReplaceAllString(query, "")); rest != "" {
		return nil, []string{fmt.Sprintf("not understood: %q", rest)}
	}
	at := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	// list is what is between the brackets that open at i, and where it ends.
	list := func(i int) ([]string, int) {
		end := i + slices.IndexFunc(tokens[i:], func(s string) bool { return s == ")" || s == "}" })
		return slices.DeleteFunc(slices.Clone(tokens[i+1:end]), func(s string) bool { return s == "," }), end
	}
	var joined []string   // labels of on (…): every metric must have them
	by := [][]string{nil} // labels of by (…), for each parenthesis that is open
	var grouping []string // for the next one
	for i := 0; i < len(tokens); i++ {
		switch tok := tokens[i]; {
		case tok == "by" || tok == "on":
			labels, end := list(i + 1)
			if i = end; tok == "on" {
				joined = append(joined, labels...)
			} else if grouping = labels; at(i+1) != "(" {
				faults = append(faults, "by (…) must stand before what is summed up")
			}
		case tok == "(":
			by = append(by, grouping)
			grouping = nil
		case tok == ")":
			by = by[:len(by)-1]
		case !regexp.MustCompile(`^[a-z]`).MatchString(tok), at(i+1) == "(", at(i+1) == "by", slices.Contains(words, tok):
		default:
			metrics = append(metrics, tok)
			if k[tok] == nil {
				faults = append(faults, tok+" does not exist")
			}
			for _, label := range slices.Concat(by...) {
				if !k.has(tok, label) {
					faults = append(faults, tok+" has no label "+label)
				}
			}
			if at(i+1) == "{" {
				matchers, end := list(i + 1)
				faults = append(faults, k.checkMatchers(tok, strings.Join(matchers, ""))...)
				i = end
			}
		}
	}
	for _, metric := range metrics {
		for _, label := range joined {
			if !k.has(metric, label) {
				faults = append(faults, metric+" has no label "+label)
			}
		}
	}
	if len(metrics) == 0 {
		faults = append(faults, "asks for nothing")
	}
	return metrics, faults
}

func (k known) checkMatchers(metric, text string) (faults []string) {
	for _, m := range matcher.FindAllStringSubmatch(text, -1) {
		label, values := m[1], m[3]
		if !k.has(metric, label) {
			faults = append(faults, metric+" has no label "+label)
			continue
		}
		if strings.HasPrefix(values, "$") || label == "job" || label == "instance" {
			continue
		}
		for _, value := range strings.Split(values, "|") {
			if !slices.Contains(k[metric][label], value) {
				faults = append(faults, fmt.Sprintf("%s is never %q of %s", label, value, metric))
			}
		}
	}
	if rest := strings.TrimSpace(matcher.ReplaceAllString(text, "")); rest != "" {
		faults = append(faults, "not understood: "+rest)
	}
	return faults
}

// checkLegend holds that a text only names labels that one of the metrics has.
func (k known) checkLegend(text string, pattern *regexp.Regexp, metrics []string) (faults []string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(metrics, func(metric string) bool { return k.has(metric, m[1]) }) {
			faults = append(faults, "no label "+m[1]+" for "+text)
		}
	}
	return faults
}

var (
	legendLabel = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)
	alertLabel  = regexp.MustCompile(`\$labels\.([a-z_]+)`)
	labelValues = regexp.MustCompile(`^label_values\((.+), ?([a-z_]+)\)$`)
)

func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			FieldConfig struct{ Defaults struct{ Min *float64 } }
			Targets     []struct {
				Expr, LegendFormat string
				Datasource         struct{ UID string }
			}
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	k := knownMetrics(t)
	asked, queries, ids := map[string]bool{}, 0, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("the panel %q has a number that is not its own, no room, or no query", p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			queries++
			if strings.Contains(target.Expr, "- time()") && p.FieldConfig.Defaults.Min != nil {
				t.Errorf("%s: what is over would look as if it were now", p.Title)
			}
			metrics, faults := k.check(target.Expr)
			faults = append(faults, k.checkLegend(target.LegendFormat, legendLabel, metrics)...)
			for _, fault := range faults {
				t.Errorf("%s: %s\n%s", p.Title, fault, target.Expr)
			}
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: it asks %q, not the data source that was chosen", p.Title, target.Datasource.UID)
			}
			for _, m := range metrics {
				asked[strings.TrimSuffix(strings.TrimSuffix(m, "_count"), "_bucket")] = true
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("the variable %s is not understood: %s", v.Name, v.Definition)
			continue
		}
		metrics, faults := k.check(m[1])
		if len(metrics) != 1 || !k.has(metrics[0], m[2]) || faults != nil {
			t.Errorf("the variable %s: %s: %v", v.Name, v.Definition, faults)
		}
	}
	if queries < 50 {
		t.Errorf("only %d queries were found; is the dashboard read right?", queries)
	}
	for name := range k {
		base := regexp.MustCompile(`_(sum|count|bucket)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "pooler_") && !asked[base] && !notOnTheDashboard[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// notOnTheDashboard is what is shown there in another way.
var notOnTheDashboard = map[string]bool{
	"pooler_multiplex_ratio":          true, // calculated there, for several poolers too
	"pooler_leases_total":             true, // hits and misses
	"pooler_lease_wait_seconds_total": true, // the histogram of the phase wait
	"pooler_pool_clients_pinned":      true, // pinned sessions by reason
}

// alertsOf reads the rules as they are written, with folded texts: promtool holds that they are YAML.
func alertsOf(t *testing.T) (names, queries, texts []string) {
	t.Helper()
	text, err := os.ReadFile(alertRules)
	if err != nil {
		t.Fatal(err)
	}
	var expr bool
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, ": ")
		if key == "- alert" {
			names, queries, texts = append(names, value), append(queries, ""), append(texts, "")
		}
		if len(names) == 0 {
			continue
		}
		switch last := len(names) - 1; {
		case key == "expr":
			expr = value == ">-"
			queries[last] = strings.TrimPrefix(value, ">-")
		case key == "for" || key == "labels:":
			expr = false
		case expr:
			queries[last] += " " + line
		default:
			texts[last] += line + "\n"
		}
	}
	return names, queries, texts
}

func TestTheAlertsAskForWhatThereIs(t *testing.T) {
	k := knownMetrics(t)
	names, queries, texts := alertsOf(t)
	if len(names) < 12 {
		t.Fatalf("only %d rules were found", len(names))
	}
	for i, name := range names {
		metrics, faults := k.check(queries[i])
		faults = append(faults, k.checkLegend(texts[i], alertLabel, metrics)...)
		for _, fault := range faults {
			t.Errorf("%s: %s\n%s", name, fault, queries[i])
		}
		for _, part := range []string{"summary: ", "description: ", "severity: "} {
			if !strings.Contains(texts[i], part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
	}
}

// TestTheDocumentNamesWhatThereIs holds that docs/monitoring.md does not fall behind.
func TestTheDocumentNamesWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	k := knownMetrics(t)
	for _, name := range regexp.MustCompile(`pooler_[a-z_]+`).FindAllString(string(text), -1) {
		if k[name] == nil && k[name+"_count"] == nil {
			t.Errorf("%s does not exist", name)
		}
	}
	names, _, _ := alertsOf(t)
	for _, name := range names {
		if !strings.Contains(string(text), "| `"+name+"` |") {
			t.Errorf("%s is not explained", name)
		}
	}
}

// What is checked above must be found when it is wrong.
func TestQueriesThatAskForWhatThereIsNot(t *testing.T) {
	k := knownMetrics(t)
	for query, want := range map[string]string{
		`sum(rate(pooler_logins_totals[5m]))`:                                          "pooler_logins_totals does not exist",
		`sum by (color) (pooler_clients_waiting)`:                                      "pooler_clients_waiting has no label color",
		`sum by (le) (pooler_phase_seconds_count)`:                                     "pooler_phase_seconds_count has no label le",
		`pooler_server_sessions{state="sleeping"}`:                                     `state is never "sleeping" of pooler_server_sessions`,
		`pooler_server_sessions{state=~"idle|busy"}`:                                   `state is never "busy" of pooler_server_sessions`,
		`pooler_phase_seconds_sum{phase="think"}`:                                      `phase is never "think" of pooler_phase_seconds_sum`,
		`pooler_server_sessions_retired_total{reason="tired"}`:                         `reason is never "tired" of pooler_server_sessions_retired_total`,
		`pooler_logins_total{database="$database"}`:                                    "pooler_logins_total has no label database",
		`pooler_pool_size > on (database) pooler_logins_total`:                         "pooler_logins_total has no label database",
		`sum(pooler_pool_size) by (user)`:                                              "by (…) must stand before what is summed up",
		`5 > 3`:                                                                        "asks for nothing",
		`pooler_pool_size @ 5`:                                                         `not understood: "@"`,
		`sum by (state) (rate(pooler_server_sessions{state="idle"}[5m])) or up`:        "",
		`histogram_quantile(0.9, sum by (le) (rate(pooler_phase_seconds_bucket[5m])))`: "",
	} {
		_, faults := k.check(query)
		if got := strings.Join(faults, "; "); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}
