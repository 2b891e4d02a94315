package metrics

import (
	"testing"
	"time"

	"capd/internal/control"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// report returns a status in which every field has a value.
func report() control.Status {
	return control.Status{
		Software: "capd 1.2.3", Start: time.Unix(1000, 0), Time: time.Unix(2000, 0),
		Interfaces: []control.Interface{{
			Name: "eth\xff", State: control.Recording, Since: time.Unix(1001, 0),
			Counters: control.Counters{Received: 10, Written: 6, Pending: 1, KernelDropped: 2, CapdDropped: 1},
			Writes:   control.Latency{Summary: control.Summary{Count: 3}, Sum: 0.5, Buckets: []control.Bucket{{Seconds: 0.1, Count: 2}, {Seconds: 1, Count: 3}}},
			Kept:     control.Kept{Files: 4, Rate: 5, Reach: 3600, Limit: "bytes"},
		}},
		Directories: []control.Directory{{Path: "/captures", Files: 4, Free: 1 << 30, Total: 2 << 30, FreeInodes: 7, Inodes: 9}},
	}
}

// TestLint: names, units and help texts follow the conventions of Prometheus.
func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(New(report))
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestCounts: the outcomes are separate, and add up to the received frames.
func TestCounts(t *testing.T) {
	registry, err := gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, m := range registry["capd_packets_total"] {
		sum += m
	}
	if got := registry["capd_received_packets_total"]; len(got) != 1 || got[0] != 10 || sum != 9 || len(registry["capd_packets_total"]) != 3 {
		t.Errorf("received %v, outcomes %v", got, registry["capd_packets_total"])
	}
}

// gather returns all values by metric name. The value of a histogram is its sum.
func gather() (map[string][]float64, error) {
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(New(report)); err != nil {
		return nil, err
	}
	families, err := r.Gather()
	all := make(map[string][]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			all[f.GetName()] = append(all[f.GetName()], m.GetCounter().GetValue()+m.GetGauge().GetValue()+m.GetHistogram().GetSampleSum())
		}
	}
	return all, err
}

// TestInodes: where a file system has no such limit there is no metric of it.
func TestInodes(t *testing.T) {
	all, err := gather()
	if err != nil || len(all["capd_filesystem_free_inodes"]) != 1 || all["capd_filesystem_free_inodes"][0] != 7 || all["capd_filesystem_inodes"][0] != 9 {
		t.Errorf("%v, %v, %v", all["capd_filesystem_free_inodes"], all["capd_filesystem_inodes"], err)
	}
}
