// Package metrics exports a Status as Prometheus metrics. It keeps no counters: each scrape reads
// the status.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"capd/internal/control"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// atOnce is how many scrapes are answered at the same time.
const atOnce = 4

// Handler answers scrapes.
func Handler(report func() control.Status) http.Handler {
	// Compressing a few kilobytes would use more of the recording machine than sending them does.
	return promhttp.HandlerFor(registry(report), promhttp.HandlerOpts{MaxRequestsInFlight: atOnce, DisableCompression: true})
}

func registry(report func() control.Status) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(New(report), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// A Collector converts a status to metrics.
type Collector struct {
	report func() control.Status
	all    []*prometheus.Desc
	family families
}

// New returns a collector that calls report at each scrape.
func New(report func() control.Status) *Collector {
	c := &Collector{report: report}
	c.family = newFamilies(func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("capd_"+name, help, labels, nil)
		c.all = append(c.all, d)
		return d
	})
	return c
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// Collect sends the metrics.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.report()
	f := &c.family
	out := sink{ch}
	out.gauge(f.build, 1, strings.TrimPrefix(s.Software, "capd "), runtime.Version())
	out.gauge(f.start, seconds(s.Start))
	for i := range s.Interfaces {
		f.traffic(out, &s.Interfaces[i])
		f.condition(out, &s.Interfaces[i])
		f.kept(out, &s.Interfaces[i])
	}
	for i := range s.Directories {
		f.directory(out, &s.Directories[i])
	}
}

// A sink sends metrics.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, spelled(labels)...)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, spelled(labels)...)
}

func (s sink) histogram(d *prometheus.Desc, l *control.Latency, labels ...string) {
	buckets := make(map[float64]uint64, len(l.Buckets))
	for _, b := range l.Buckets {
		buckets[b.Seconds] = b.Count
	}
	s.ch <- prometheus.MustNewConstHistogram(d, l.Count, l.Sum, buckets, spelled(labels)...)
}

// spelled returns valid label values: the names of interfaces and directories may contain any
// bytes, Prometheus requires UTF-8.
func spelled(labels []string) []string {
	for i, l := range labels {
		if !utf8.ValidString(l) {
			labels[i] = strconv.QuoteToASCII(l)
		}
	}
	return labels
}

// seconds returns a time in Prometheus's format; 0 means never.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
