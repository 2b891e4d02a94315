package setup

import (
	"testing"

	"capd/capture"
	"capd/config"
	"capd/pcap"
)

// TestLinkTypeOfAny: a file that has one link type for all packets gets frames of all interfaces in one.
func TestLinkTypeOfAny(t *testing.T) {
	for _, c := range []struct {
		name, format, chosen string
		want                 pcap.LinkType
		ok                   bool
	}{
		{capture.Any, config.FormatPcapng, "", pcap.LinkTypeMixed, true},
		{capture.Any, config.FormatPcapng, "linux_sll", pcap.LinkTypeLinuxSLL, true},
		{capture.Any, config.FormatPcap, "", pcap.LinkTypeLinuxSLL2, true},
		{capture.Any, config.FormatPcap, "LINUX_SLL", pcap.LinkTypeLinuxSLL, true},
		{capture.Any, config.FormatPcapMicro, "", pcap.LinkTypeLinuxSLL, true},
		{capture.Any, config.FormatPcap, "MIXED", 0, false},
		{"eth0", config.FormatPcapMicro, "", pcap.LinkTypeEthernet, true},
		{"eth0", config.FormatPcap, "LINUX_SLL2", pcap.LinkTypeLinuxSLL2, true},
	} {
		own := pcap.LinkTypeEthernet
		if c.name == capture.Any {
			own = AnyLinkType
		}
		d := For(c.name, &config.Interface{Recording: config.Recording{Format: c.format, LinkType: c.chosen}})
		if got, err := d.LinkType(own); got != c.want || (err == nil) != c.ok {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
		if _, err := d.Config.Compile(pcap.LinkTypeMixed); (err == nil) != (c.format == config.FormatPcapng) {
			t.Errorf("%+v: %v for a device of all interfaces", c, err)
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
