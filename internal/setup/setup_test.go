package setup

import (
	"testing"

	"capd/pcap"
)

func TestRemark(t *testing.T) {
	for expr, want := range map[string]string{
		"": "", "udp port 53": "", "ip and arp": "the filter can never match: nothing will be recorded", "ip or not ip": "the filter lets every frame pass", "((": "",
	} {
		if got := Remark(expr, pcap.LinkTypeEthernet); got != want {
			t.Errorf("%q: %q, want %q", expr, got, want)
		}
	}
}
