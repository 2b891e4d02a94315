package device

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"capd/pcap"
)

// hardware is the link type for each hardware type of Linux (ARPHRD_ of linux/if_arp.h) that has one, as libpcap has it
// (map_arphrd_to_dlt), but for 519, of which it knows none, and for those that it has since no kernel has any of them.
// PPP is none of them: what its frames begin with differs from driver to driver.
func hardware() map[uint16]pcap.LinkType {
	return map[uint16]pcap.LinkType{
		1: pcap.LinkTypeEthernet, 23: pcap.LinkTypeEthernet, 772: pcap.LinkTypeEthernet, // Ethernet, Metricom, loopback
		2: 2, 3: 202, 4: 4, 5: 5, // experimental Ethernet, AX.25, PROnet, Chaosnet
		6: 6, 800: 6, 7: 129, // IEEE 802.5, ARCnet
		18: 122, 784: 224, 785: 224, 786: 224, 787: 224, // Fibre Channel
		513: 104, 770: 107, // Cisco HDLC, frame relay
		773: 114, 774: 10, // LocalTalk, FDDI
		783: linkTypeIRDA, 8445: linkTypeLAPD,
		801: pcap.LinkTypeIEEE80211, 802: 119, 803: pcap.LinkTypeRadiotap, // IEEE 802.11, with a Prism and with a radiotap header
		804: 230, 824: linkTypeNetlink, 826: 271, // IEEE 802.15.4 without FCS, nlmon, vsockmon
		// Tunnels, SLIP and others that have no header of their own.
		15: pcap.LinkTypeRaw, 256: pcap.LinkTypeRaw, 257: pcap.LinkTypeRaw, 258: pcap.LinkTypeRaw, 259: pcap.LinkTypeRaw, 264: pcap.LinkTypeRaw,
		518: pcap.LinkTypeRaw, 519: pcap.LinkTypeRaw, 768: pcap.LinkTypeRaw, 776: pcap.LinkTypeRaw, 0xfffe: pcap.LinkTypeRaw,
	}
}

// Link types whose packets begin with the header of pcap.LinkTypeLinuxSLL.
const (
	linkTypeIRDA    pcap.LinkType = 144
	linkTypeLAPD    pcap.LinkType = 177
	linkTypeNetlink pcap.LinkType = 253
)

// Hardware types of CAN buses, and their link type.
const (
	hardwareCAN               = 280
	LinkTypeCAN pcap.LinkType = 227
)

// LinkTypeNFLOG is the link type of what rules of Linux's packet filter log.
const LinkTypeNFLOG pcap.LinkType = 239

// LogGroup returns the group of a name as "nflog:5", which stands for the packets that rules of Linux's packet filter log to it.
func LogGroup(name string) (group uint16, ok bool) {
	digits, ok := strings.CutPrefix(name, "nflog:")
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), ok && err == nil && strconv.FormatUint(n, 10) == digits
}

// Virtual returns what stands for a name that is no interface's: Any, or that of a LogGroup.
func Virtual(name string) (Interface, bool) {
	i := Interface{Name: name, LinkType: pcap.LinkTypeMixed, Up: true, Running: true}
	_, logs := LogGroup(name)
	if logs {
		i.LinkType = LinkTypeNFLOG
	}
	return i, logs || name == Any
}

// LinkTypes returns the link types that an interface of Linux of the hardware type can be captured with, the default first.
func LinkTypes(hardwareType uint16) []pcap.LinkType {
	all := []pcap.LinkType{pcap.LinkTypeLinuxSLL2, pcap.LinkTypeLinuxSLL}
	if own, ok := hardware()[hardwareType]; ok {
		return slices.Insert(all, 0, own)
	}
	if hardwareType == hardwareCAN {
		all = append(all, LinkTypeCAN)
	}
	return all
}

// AnyLinkTypes returns those of Any on Linux.
func AnyLinkTypes() []pcap.LinkType {
	return []pcap.LinkType{pcap.LinkTypeMixed, pcap.LinkTypeLinuxSLL2, pcap.LinkTypeLinuxSLL}
}

// HardwareTypes returns which hardware types of Linux have a link type of their own.
func HardwareTypes() map[uint16]pcap.LinkType { return maps.Clone(hardware()) }

// Cooked returns the format of the header that capd puts before the packets of Linux of the link type, which come from a socket
// without one: pcap.LinkTypeLinuxSLL2 or pcap.LinkTypeLinuxSLL. It returns 0 for link types whose packets are as the system has
// them.
func Cooked(link pcap.LinkType) pcap.LinkType {
	switch link {
	case pcap.LinkTypeLinuxSLL2:
		return link
	case pcap.LinkTypeLinuxSLL, linkTypeIRDA, linkTypeLAPD, linkTypeNetlink:
		return pcap.LinkTypeLinuxSLL
	}
	return 0
}
