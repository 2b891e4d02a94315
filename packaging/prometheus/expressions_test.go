// Package prometheus_test checks the alert rules and the dashboard against capd's metrics. It is a
// separate module, so that capd does not depend on a parser of Prometheus's language.
package prometheus_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/metrics"

	"github.com/VictoriaMetrics/metricsql"
	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A scrape holds what expressions may refer to: the labels of each metric, and the values of labels
// that have few.
type scrape struct {
	labels map[string][]string
	values map[string][]string
}

// ofTarget are the labels that Prometheus adds to all metrics.
var ofTarget = []string{"job", "instance"}

func newScrape(t *testing.T) *scrape {
	t.Helper()
	s := &scrape{labels: map[string][]string{"up": ofTarget}, values: make(map[string][]string)}
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes"} {
		s.labels[name] = ofTarget // from client_golang's own collectors
	}
	registry := client.NewRegistry()
	registry.MustRegister(metrics.New(report))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		s.add(f)
	}
	return s
}

// report is a status in which every field has a value, so that every metric is exported.
func report() control.Status {
	return control.Status{
		Interfaces: []control.Interface{{
			Name: "eth0", State: control.Recording, Since: time.Unix(1001, 0),
			Writes: control.Latency{Buckets: []control.Bucket{{Seconds: 0.1, Count: 2}}},
			Kept:   control.Kept{Files: 4, Rate: 5, Reach: 3600, Limit: "bytes"},
		}},
		Directories: []control.Directory{{Path: "/captures", Files: 4, Free: 1 << 30, Total: 2 << 30, FreeInodes: 1000, Inodes: 2000}},
	}
}

// add adds a metric under the names by which queries refer to it.
func (s *scrape) add(f *dto.MetricFamily) {
	labels := slices.Clone(ofTarget)
	for _, l := range f.GetMetric()[0].GetLabel() {
		labels = append(labels, l.GetName())
	}
	if name := f.GetName(); f.GetType() == dto.MetricType_HISTOGRAM {
		s.labels[name+"_bucket"] = append([]string{"le"}, labels...)
		s.labels[name+"_sum"], s.labels[name+"_count"] = labels, labels
	} else {
		s.labels[name] = labels
	}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if n := l.GetName(); n == "outcome" || n == "state" {
				s.values[n] = append(s.values[n], l.GetValue())
			}
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// check parses an expression. It returns the labels of the result, and the mistakes: metrics,
// labels and values that do not exist.
func (s *scrape) check(expr string) (labels []string, wrong []error) {
	e, err := metricsql.Parse(expr)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", expr, err)}
	}
	var grouped []string
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			there, errs := s.selector(e)
			labels, wrong = append(labels, there...), append(wrong, errs...)
		case *metricsql.AggrFuncExpr:
			grouped = append(grouped, e.Modifier.Args...)
		case *metricsql.BinaryOpExpr:
			grouped = append(grouped, slices.Concat(e.GroupModifier.Args, e.JoinModifier.Args)...)
		}
	})
	for _, l := range grouped {
		if !slices.Contains(labels, l) {
			wrong = append(wrong, fmt.Errorf("%s: no metric has the label %s", expr, l))
		}
	}
	if len(labels) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: about no metric", expr))
	}
	return labels, wrong
}

// selector checks a metric and its label filters.
func (s *scrape) selector(e *metricsql.MetricExpr) (labels []string, wrong []error) {
	name := ""
	for _, filters := range e.LabelFilterss {
		for _, f := range filters {
			if f.Label == "__name__" {
				name = f.Value
			}
		}
	}
	labels, ok := s.labels[name]
	if !ok {
		return nil, []error{fmt.Errorf("%s: there is no such metric", e.AppendString(nil))}
	}
	for _, filters := range e.LabelFilterss {
		for _, f := range filters {
			if f.Label != "__name__" && !slices.Contains(labels, f.Label) {
				wrong = append(wrong, fmt.Errorf("%s has no label %s", name, f.Label))
			}
			for _, alternative := range strings.Split(f.Value, "|") {
				if there, few := s.values[f.Label]; few && !slices.Contains(there, alternative) {
					wrong = append(wrong, fmt.Errorf("%s is never %q", f.Label, alternative))
				}
			}
		}
	}
	return labels, wrong
}

// TestCheck: check finds mistakes.
func TestCheck(t *testing.T) {
	s := newScrape(t)
	for expr, want := range map[string]string{
		`sum by (interface) (rate(capd_packets_total{outcome=~"written|capd_dropped"}[5m])) > 0`:   "",
		`histogram_quantile(0.9, sum by (le) (rate(capd_disk_write_duration_seconds_bucket[5m])))`: "",
		`capd_packets_totl`:                              "no such metric",
		`capd_disk_write_duration_seconds`:               "no such metric",
		`capd_pool_fill_ratio{outcome="written"}`:        "no label outcome",
		`capd_packets_total{outcome="lost"}`:             `never "lost"`,
		`capd_packets_total{outcome=~"written|dropped"}`: `never "dropped"`,
		`sum by (directory) (capd_packets_total)`:        "no metric has the label directory",
		`capd_kept_files / on (device) capd_held_files`:  "no metric has the label device",
		`capd_kept_files * on (job) group_left (x) up`:   "no metric has the label x",
		`(capd_packets_total`:                            "unparsed",
		`rate(capd_packets_total[5m]`:                    "",
		`capd_packets_total >`:                           "",
		`1`:                                              "about no metric",
	} {
		_, wrong := s.check(expr)
		text := fmt.Sprint(wrong)
		if bad := want != "" || strings.HasSuffix(expr, "[5m]") || strings.HasSuffix(expr, ">"); bad != (len(wrong) > 0) ||
			want != "unparsed" && !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %q", expr, text, want)
		}
	}
}

// Labels in the text of an alert, and in a legend of Grafana.
var (
	alertLabel  = regexp.MustCompile(`\$labels\.([a-z_]+)`)
	legendLabel = regexp.MustCompile(`\{\{ *([a-z_]+) *\}\}`)
)

// mentions returns the labels to which a text refers.
func mentions(text string, label *regexp.Regexp) (labels []string) {
	for _, m := range label.FindAllStringSubmatch(text, -1) {
		labels = append(labels, m[1])
	}
	return labels
}
