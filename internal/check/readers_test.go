package check

import (
	"strings"
	"testing"

	"capd/capture"
	"capd/config"
	"capd/pcap"
)

// TestReaders: it says which programs can't read what would be recorded.
func TestReaders(t *testing.T) {
	there := []capture.Interface{
		{Name: "lo", LinkType: pcap.LinkTypeEthernet, Up: true}, {Name: "eth0", LinkType: pcap.LinkTypeEthernet, Up: true},
		{Name: "tun0", LinkType: pcap.LinkTypeRaw, Up: true}, {Name: "ppp0", LinkType: pcap.LinkTypeLinuxSLL2},
	}
	for _, c := range []struct {
		link  pcap.LinkType
		there []capture.Interface
		want  string // empty: nothing
	}{
		{pcap.LinkTypeEthernet, nil, ""},
		{pcap.LinkTypeLinuxSLL, nil, ""},
		{pcap.LinkTypeLinuxSLL2, nil, "link type LINUX_SLL2 is not read by argus, "},
		{pcap.LinkTypeMixed, there[:2], ""},
		{pcap.LinkTypeMixed, there, "interfaces that are up have ETHERNET (lo), RAW (tun0)"},
	} {
		found := linkReaders("any", c.link, c.there)
		switch {
		case c.want == "" && len(found) > 0:
			t.Errorf("%v: %+v", c.link, found)
		case c.want != "" && (len(found) != 1 || found[0].Level != Warn || !strings.Contains(found[0].Text, c.want)):
			t.Errorf("%v: %+v, want %q", c.link, found, c.want)
		}
	}
	for format, want := range map[string]string{config.FormatPcapng: "pcapng is not read by ettercap", config.FormatPcap: `which read format "pcap-us"`, config.FormatPcapMicro: ""} {
		cfg := config.Default()
		cfg.Interfaces = []config.Interface{{Name: "eth0", Recording: cfg.Recording}}
		cfg.Interfaces[0].Format = format
		c := &Checker{}
		if readers(c, cfg); want == "" && len(c.Findings) > 0 || !strings.Contains(printed(c), want) {
			t.Errorf("%s: %+v", format, c.Findings)
		}
	}
}
