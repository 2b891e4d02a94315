package capture

import (
	"fmt"
	"strings"

	"capd/pcap"
)

// Hardware types that matter here (ARPHRD_ of linux/if_arp.h).
const (
	hardwareEthernet = 1
	hardwareRawIP    = 519
	hardwareLoopback = 772
	hardware80211    = 801
	hardwareRadiotap = 803
	hardwareNone     = 0xfffe // tun, WireGuard
)

// linkType returns the link type of an interface with the hardware type.
// Cooked fits all that have none of their own.
func linkType(hardware uint16) pcap.LinkType {
	switch hardware {
	case hardwareEthernet, hardwareLoopback:
		return pcap.LinkTypeEthernet
	case hardwareRawIP, hardwareNone:
		return pcap.LinkTypeRaw
	case hardware80211:
		return pcap.LinkTypeIEEE80211
	case hardwareRadiotap:
		return pcap.LinkTypeRadiotap
	}
	return pcap.LinkTypeLinuxSLL2
}

// noLinkType is the error for a link type that is not one of those there are.
func noLinkType(want pcap.LinkType, have []pcap.LinkType) error {
	names := make([]string, len(have))
	for i, t := range have {
		names[i] = t.String()
	}
	return fmt.Errorf("link type %s: %w: %s", want, ErrLinkType, strings.Join(names, ", "))
}

// badLinkType returns an error for a name that no link type has.
func badLinkType(name string) error {
	_, err := pcap.ParseLinkType(name)
	return err
}
