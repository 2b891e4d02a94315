package pcap

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A linkName is what a link type is called: by the list at tcpdump.org without
// LINKTYPE_, and by libpcap, as tcpdump -y has it without DLT_, where that is
// another name.
type linkName struct {
	link       LinkType
	name, also string
}

// linkNames are those that the systems' interfaces have.
func linkNames() []linkName {
	return []linkName{
		{LinkTypeNull, "NULL", ""},
		{LinkTypeEthernet, "ETHERNET", "EN10MB"},
		{LinkTypePPP, "PPP", ""},
		{LinkTypeRaw, "RAW", ""},
		{LinkTypeIEEE80211, "IEEE802_11", ""},
		{LinkTypeLoop, "LOOP", ""},
		{LinkTypeEnc, "ENC", ""},
		{LinkTypeLinuxSLL, "LINUX_SLL", ""},
		{LinkTypePFLog, "PFLOG", ""},
		{LinkTypeRadiotap, "IEEE802_11_RADIOTAP", "IEEE802_11_RADIO"},
		{LinkTypePKTAP, "PKTAP", ""},
		{LinkTypeLinuxSLL2, "LINUX_SLL2", ""},
		{LinkTypeMixed, "MIXED", ""},
		{2, "EXP_ETHERNET", "EN3MB"},
		{3, "AX25", ""},
		{4, "PRONET", ""},
		{5, "CHAOS", ""},
		{6, "IEEE802_5", "IEEE802"},
		{7, "ARCNET_BSD", "ARCNET"},
		{8, "SLIP", ""},
		{10, "FDDI", ""},
		{50, "PPP_HDLC", "PPP_SERIAL"},
		{51, "PPP_ETHER", ""},
		{100, "ATM_RFC1483", ""},
		{102, "SLIP_BSDOS", ""},
		{103, "PPP_BSDOS", ""},
		{104, "C_HDLC", "CHDLC"},
		{106, "ATM_CLIP", ""},
		{107, "FRELAY", ""},
		{112, "HDLC", ""},
		{114, "LTALK", ""},
		{119, "IEEE802_11_PRISM", "PRISM_HEADER"},
		{122, "IP_OVER_FC", ""},
		{129, "ARCNET_LINUX", ""},
		{138, "APPLE_IP_OVER_IEEE1394", ""},
		{144, "LINUX_IRDA", ""},
		{163, "IEEE802_11_AVS", "IEEE802_11_RADIO_AVS"},
		{177, "LINUX_LAPD", ""},
		{186, "USB_FREEBSD", "USB"},
		{192, "PPI", ""},
		{201, "BLUETOOTH_HCI_H4_WITH_PHDR", ""},
		{195, "IEEE802_15_4_WITHFCS", "IEEE802_15_4"},
		{202, "AX25_KISS", ""},
		{224, "FC_2", ""},
		{225, "FC_2_WITH_FRAME_DELIMS", ""},
		{227, "CAN_SOCKETCAN", ""},
		{228, "IPV4", ""},
		{229, "IPV6", ""},
		{230, "IEEE802_15_4_NOFCS", ""},
		{239, "NFLOG", ""},
		{242, "IPOIB", ""},
		{246, "PFSYNC", ""},
		{247, "INFINIBAND", ""},
		{253, "NETLINK", ""},
		{266, "USB_DARWIN", ""},
		{271, "VSOCK", ""},
	}
}

// String returns the link type's name, as of the list at tcpdump.org without
// LINKTYPE_, or its number.
func (l LinkType) String() string {
	for _, n := range linkNames() {
		if n.link == l {
			return n.name
		}
	}
	return fmt.Sprintf("LINKTYPE(%d)", uint16(l))
}

// ErrLinkType is returned for a name that no link type has.
var ErrLinkType = errors.New("no link type of this name is known; those without a known name have their number of tcpdump.org's list")

// ParseLinkType returns the link type of a name: that of the list at
// tcpdump.org, that of tcpdump -y, in capital letters or not, or a number.
func ParseLinkType(s string) (LinkType, error) {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return LinkType(n), nil
	}
	name := strings.ToUpper(s)
	name = strings.TrimPrefix(strings.TrimPrefix(name, "LINKTYPE_"), "DLT_")
	for _, n := range linkNames() {
		if name == n.name || name != "" && name == n.also {
			return n.link, nil
		}
	}
	return 0, fmt.Errorf("link type %q: %w", s, ErrLinkType)
}
