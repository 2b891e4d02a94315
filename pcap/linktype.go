package pcap

import "fmt"

// String returns the link type's name, as of the list at tcpdump.org without
// LINKTYPE_, or its number.
func (l LinkType) String() string {
	switch l {
	case LinkTypeNull:
		return "NULL"
	case LinkTypeEthernet:
		return "ETHERNET"
	case LinkTypePPP:
		return "PPP"
	case LinkTypeRaw:
		return "RAW"
	case LinkTypeIEEE80211:
		return "IEEE802_11"
	case LinkTypeLoop:
		return "LOOP"
	case LinkTypeEnc:
		return "ENC"
	case LinkTypeLinuxSLL:
		return "LINUX_SLL"
	case LinkTypePFLog:
		return "PFLOG"
	case LinkTypeRadiotap:
		return "IEEE802_11_RADIOTAP"
	case LinkTypePKTAP:
		return "PKTAP"
	case LinkTypeLinuxSLL2:
		return "LINUX_SLL2"
	}
	return fmt.Sprintf("LINKTYPE(%d)", uint16(l))
}
