package prometheus_test

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metricsql"
	"go.yaml.in/yaml/v3"
)

const (
	rulesFile = "capd.rules.yml"
	rulesTest = "capd_test.yml"
	document  = "../../docs/metrics.md"
)

// An alert is a rule in the file.
type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// decode reads YAML that may have only the fields of v.
func decode(t *testing.T, name string, v any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(readFile(t, name)))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	decode(t, rulesFile, &file)
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("%d alerts", len(all))
	}
	return all
}

// TestRules: every alert uses existing metrics, and its texts use only labels of its expression.
func TestRules(t *testing.T) {
	s := newScrape(t)
	documented := readFile(t, document)
	for _, a := range alerts(t) {
		labels, wrong := s.check(a.Expr)
		for _, err := range wrong {
			t.Errorf("%s: %v", a.Alert, err)
		}
		if strings.HasPrefix(a.Expr, "sum without (outcome)") {
			labels = slices.DeleteFunc(labels, func(l string) bool { return l == "outcome" })
		}
		if len(a.Annotations) != 2 || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v", a.Alert, a.Annotations)
		}
		for _, text := range a.Annotations {
			for _, l := range mentions(text, alertLabel) {
				if !slices.Contains(labels, l) {
					t.Errorf("%s: %q names the label %s, which the expression has not", a.Alert, text, l)
				}
			}
		}
		if _, err := metricsql.DurationValue(a.For, 0); a.For != "" && err != nil {
			t.Errorf("%s: for: %v", a.Alert, err)
		}
		if row := fmt.Sprintf("\n| %s | %s | ", a.Alert, a.Labels["severity"]); len(a.Labels) != 1 || !strings.Contains(documented, row) {
			t.Errorf("%s: docs/metrics.md has no row for it with its severity", a.Alert)
		}
	}
	rows := regexp.MustCompile(`(?m)^\| Capd[A-Z]`).FindAllString(documented, -1)
	if len(rows) != len(alerts(t)) {
		t.Errorf("docs/metrics.md has %d rows for %d alerts", len(rows), len(alerts(t)))
	}
}

// TestRulesAreTested: for each alert there is a test case in which it fires, and one in which it
// does not.
func TestRulesAreTested(t *testing.T) {
	var file struct {
		Files    []string      `yaml:"rule_files"`
		Interval time.Duration `yaml:"evaluation_interval"`
		Tests    []struct {
			Name     string              `yaml:"name"`
			Interval string              `yaml:"interval"`
			Series   []map[string]string `yaml:"input_series"`
			Cases    []struct {
				At    string           `yaml:"eval_time"`
				Alert string           `yaml:"alertname"`
				Want  []map[string]any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	decode(t, rulesTest, &file)
	s := newScrape(t)
	up, down := make(map[string]bool), make(map[string]bool)
	for _, test := range file.Tests {
		for _, series := range test.Series {
			if _, wrong := s.check(series["series"]); len(wrong) > 0 {
				t.Errorf("%s: %v", test.Name, wrong)
			}
		}
		for _, c := range test.Cases {
			if len(c.Want) > 0 {
				up[c.Alert] = true
			} else {
				down[c.Alert] = true
			}
		}
	}
	var all []string
	for _, a := range alerts(t) {
		all = append(all, a.Alert)
	}
	slices.Sort(all)
	for what, set := range map[string]map[string]bool{"up": up, "not up": down} {
		if got := slices.Sorted(maps.Keys(set)); !slices.Equal(got, all) {
			t.Errorf("alerts that are %s in a test: %q, want %q", what, got, all)
		}
	}
	if !slices.Equal(file.Files, []string{rulesFile}) {
		t.Errorf("it tests %q", file.Files)
	}
}

// TestPromtool: Prometheus accepts the rules, and the alerts fire in the test cases.
func TestPromtool(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skipf("needs promtool: %v", err)
	}
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", rulesTest}} {
		c := exec.Command("promtool", args...)
		if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("SUCCESS")) {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
	}
}
