package afpacket

import "capd/pcap"

// Hardware types that linkType distinguishes (ARPHRD_ of linux/if_arp.h).
const (
	hardwareEthernet = 1
	hardwareRawIP    = 519
	hardwareLoopback = 772
	hardware80211    = 801
	hardwareRadiotap = 803
	hardwareNone     = 0xfffe // tun, WireGuard
)

// linkType returns the link type for interfaces of the hardware type. Cooked is used for types
// without a link type.
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
