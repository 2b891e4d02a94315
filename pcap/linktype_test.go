package pcap

import (
	"errors"
	"strings"
	"testing"
)

// TestLinkTypeNames: a name leads to its number, and no two are one.
func TestLinkTypeNames(t *testing.T) {
	for name, want := range map[string]LinkType{
		"ETHERNET": LinkTypeEthernet, "EN10MB": LinkTypeEthernet, "en10mb": LinkTypeEthernet, "DLT_EN10MB": LinkTypeEthernet,
		"LINKTYPE_ETHERNET": LinkTypeEthernet, "IEEE802_11_RADIO": LinkTypeRadiotap, "IEEE802_11_RADIOTAP": LinkTypeRadiotap,
		"NULL": LinkTypeNull, "RAW": LinkTypeRaw, "LINUX_SLL2": LinkTypeLinuxSLL2, "PPI": 192, "0": 0, "65535": 65535, "276": LinkTypeLinuxSLL2,
	} {
		if got, err := ParseLinkType(name); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "ETHER", "65536", "-1", "DLT_", "LINKTYPE(90)", " RAW"} {
		if got, err := ParseLinkType(bad); !errors.Is(err, ErrLinkType) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
	seen := map[string]LinkType{"": 1}
	for _, n := range linkNames() {
		for _, name := range []string{n.name, n.also} {
			if other, twice := seen[name]; twice && name != "" {
				t.Errorf("%s is %d and %d", name, other, n.link)
			}
			seen[name] = n.link
		}
		if got, err := ParseLinkType(n.link.String()); err != nil || got != n.link {
			t.Errorf("%s: %d, %v; want %d", n.link, got, err, n.link)
		}
	}
	if s := LinkType(90).String(); s != "LINKTYPE(90)" {
		t.Error(s)
	}
}
