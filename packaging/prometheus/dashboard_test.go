package prometheus_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dashboardFile = "../grafana/capd.json"

// A dashboard is the part of Grafana's format that the test uses.
type dashboard struct {
	UID         string
	Title       string
	Panels      []panel
	Annotations struct{ List []target }
	Templating  struct {
		List []struct {
			Name  string
			Type  string
			Query any
		}
	}
}

type panel struct {
	ID         int
	Title      string
	Type       string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []target
}

type target struct {
	Expr         string
	LegendFormat string
	TextFormat   string
	RefID        string
	Datasource   struct{ UID string }
}

// variables replaces Grafana's built-in variables in queries.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h")

// TestDashboard: every query uses existing metrics, every legend uses existing labels, and no
// panels overlap.
func TestDashboard(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(readFile(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	s := newScrape(t)
	queries := d.Annotations.List
	for _, p := range d.Panels {
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("%s shows nothing", p.Title)
		}
		queries = append(queries, p.Targets...)
	}
	if len(queries) < 30 || d.Title != "capd" || d.UID == "" {
		t.Errorf("%d queries of %q, %q", len(queries), d.Title, d.UID)
	}
	names := d.variables(t, s)
	for _, q := range queries {
		for _, err := range s.query(q, names) {
			t.Error(err)
		}
	}
	d.layout(t)
}

// query returns the mistakes in a query.
func (s *scrape) query(q target, variableNames []string) (wrong []error) {
	labels, wrong := s.check(variables.Replace(q.Expr))
	for _, l := range mentions(q.LegendFormat+q.TextFormat, legendLabel) {
		if !slices.Contains(labels, l) {
			wrong = append(wrong, fmt.Errorf("%s: the legend %q names %s, which is no label of it", q.Expr, q.LegendFormat, l))
		}
	}
	for _, v := range regexp.MustCompile(`\$([a-z]\w*)`).FindAllStringSubmatch(q.Expr, -1) {
		if !slices.Contains(variableNames, v[1]) {
			wrong = append(wrong, fmt.Errorf("%s: there is no variable %s", q.Expr, v[1]))
		}
	}
	if q.Datasource.UID != "${datasource}" {
		wrong = append(wrong, fmt.Errorf("%s: its data source is %q, which others have not", q.Expr, q.Datasource.UID))
	}
	return wrong
}

// variables checks the dashboard's variables and returns their names.
func (d *dashboard) variables(t *testing.T, s *scrape) (names []string) {
	t.Helper()
	query := regexp.MustCompile(`^label_values\((.*), ([a-z_]+)\)$`)
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type == "datasource" {
			continue
		}
		m := query.FindStringSubmatch(fmt.Sprint(v.Query.(map[string]any)["query"]))
		if m == nil {
			t.Errorf("variable %s: %v", v.Name, v.Query)
			continue
		}
		labels, wrong := s.check(m[1])
		if len(wrong) > 0 || !slices.Contains(labels, m[2]) {
			t.Errorf("variable %s: %v, or no label %s", v.Name, wrong, m[2])
		}
	}
	return names
}

// layout checks that panels do not overlap.
func (d *dashboard) layout(t *testing.T) {
	t.Helper()
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		g := p.GridPos
		if ids[p.ID] || p.ID == 0 || p.Title == "" || g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %d, %q, at %+v", p.ID, p.Title, g)
		}
		ids[p.ID] = true
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%q covers %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
