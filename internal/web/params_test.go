package web

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestParameters(t *testing.T) {
	all := append(ofQuestion[:6:6], "bins", "offset", "limit", "by", "group", "detail")
	for _, raw := range []string{
		"", "since=2026-01-02T03:04:05Z", "since=2026-01-02T03:04:05.000000001Z&until=2026-01-02T03:04:05.000000002Z", "filter=", "interface=a&interface=b",
		"flow=" + url.QueryEscape("10.0.0.1:1 10.0.0.2:2 tcp"), "bins=4000&offset=0&limit=1000&by=packets&group=hosts&detail=1",
	} {
		if _, err := parseQuery(raw, all); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for raw, want := range map[string]string{
		"since=now": "since", "since=0001-01-01T00:00:00Z": "since", "since=2026-01-02T03:04:05Z&until=2026-01-02T03:04:05Z": "until",
		"bins=0": "bins", "bins=4001": "bins", "bins=1e3": "bins", "limit=-1": "limit", "offset=100001": "offset", "by=size": "by", "group=x": "group",
		"filter=tcp+prot": "filter", "flow=a": "flow", "id=1:x": "id", "nothing=1": "parameter", "by=bytes&by=packets": "by", "a;b": "query", "%zz": "query",
		"interface=" + strings.Repeat("x", 1000): "interface", "filter=" + strings.Repeat("x", 10000): "filter", strings.Repeat("interface=a&", 65): "interface",
	} {
		_, err := parseQuery(raw, all)
		var p *paramError
		if !errors.As(err, &p) || p.param != want {
			t.Errorf("%s: %v, want one of %s", clip(raw), err, want)
		}
	}
	if _, err := parseQuery("filter=udp", ofTime); err == nil {
		t.Error("a parameter that a question does not take was taken")
	}
}

// FuzzParameters: whatever is asked, what is taken is within bounds.
func FuzzParameters(f *testing.F) {
	f.Add("since=2026-01-02T03:04:05Z&until=2026-01-03T00:00:00Z&interface=eth0&filter=tcp+port+443&bins=10")
	f.Add("flow=10.0.0.1+10.0.0.2&id=1:LQU9qZlK%2BB5F3KDmev6m5PMibrg%3D&offset=3&limit=4&by=bytes&group=ports&detail=0")
	f.Add("filter=tcp+prot+443")
	f.Add("%zz&;")
	all := append(ofQuestion[:6:6], "bins", "offset", "limit", "by", "group", "detail")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, all)
		if err != nil {
			var p *paramError
			if !errors.As(err, &p) {
				t.Fatalf("%v is no error of a parameter", err)
			}
			if p.offset != nil && (*p.offset < 0 || *p.offset > len(p.value)) {
				t.Fatalf("offset %d of %q", *p.offset, p.value)
			}
			return
		}
		if q.bins < 1 || q.bins > maxBins || q.limit < 1 || q.limit > maxPage || q.offset < 0 || q.offset > maxOffset {
			t.Fatalf("%+v", q)
		}
		if !q.since.IsZero() && !q.until.IsZero() && !q.since.Before(q.until) {
			t.Fatalf("%v to %v", q.since, q.until)
		}
	})
}
