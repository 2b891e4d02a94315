package setup

import (
	"testing"

	"capd/pcap"
)

func TestFilterFits(t *testing.T) {
	for _, c := range []struct {
		system       string
		instructions int
		ok           bool
	}{{"linux", 4096, true}, {"freebsd", 512, true}, {"freebsd", 513, false}, {"darwin", 4096, false}} {
		if err := fits(c.system, c.instructions); (err == nil) != c.ok {
			t.Errorf("%d instructions on %s: %v", c.instructions, c.system, err)
		}
	}
}

func TestRemark(t *testing.T) {
	for expr, want := range map[string]string{
		"": "", "udp port 53": "", "ip and arp": "the filter can never match: nothing will be recorded", "ip or not ip": "the filter lets every frame pass", "((": "",
	} {
		if got := Remark(expr, pcap.LinkTypeEthernet); got != want {
			t.Errorf("%q: %q, want %q", expr, got, want)
		}
	}
}
