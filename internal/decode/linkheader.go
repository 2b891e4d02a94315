package decode

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strings"

	"capd/pcap"
)

// A linkHeader is what the outermost header of a frame says, as tcpdump -e shows it.
type linkHeader struct {
	size   int    // bytes, with those of VLAN tags
	text   string // empty: it has nothing to say
	length int    // that it gives; 0: none
}

// AppendLink appends the header of the link layer of the last packet, with the
// length on the wire and a colon, as tcpdump -e has it.
func (d *Decoder) AppendLink(dst []byte) []byte {
	h := linkHeaderOf(d.link, d.packet.Data)
	if h.text != "" {
		dst = append(append(dst, h.text...), ", "...)
	}
	return fmt.Appendf(dst, "length %d: ", cmp.Or(h.length, d.frame.Length))
}

// AppendASCII appends the bytes of the last packet as text, but for the header of
// the link layer, as tcpdump -A has it. Each line begins with a tab, so that none
// looks like that of a packet.
func (d *Decoder) AppendASCII(dst []byte) []byte {
	b := d.packet.Data
	b = b[min(linkHeaderOf(d.link, b).size, len(b)):]
	dst = append(dst, '\t')
	for i, c := range b {
		switch {
		case c == '\r' && (i+1 == len(b) || b[i+1] == '\n'): // the line ends anyway
		case c == '\n':
			dst = append(dst, "\n\t"...)
		case c != '\t' && (c < ' ' || c > '~'):
			dst = append(dst, '.')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\n')
}

func linkHeaderOf(link pcap.LinkType, b []byte) linkHeader {
	be := binary.BigEndian
	switch {
	case link == pcap.LinkTypeEthernet && len(b) >= 14:
		return ethernetHeader(b)
	case link == pcap.LinkTypeLinuxSLL && len(b) >= 16:
		return linkHeader{size: 16, text: cookedHeader("", be.Uint16(b), b[6:14], be.Uint16(b[4:]), be.Uint16(b[14:]))}
	case link == pcap.LinkTypeLinuxSLL2 && len(b) >= 20:
		index := fmt.Sprintf("ifindex %d", be.Uint32(b[4:]))
		return linkHeader{size: 20, text: cookedHeader(index, uint16(b[10]), b[12:20], uint16(b[11]), be.Uint16(b))}
	case (link == pcap.LinkTypeNull || link == pcap.LinkTypeLoop) && len(b) >= 4:
		family := be.Uint32(b)
		if b[3] == 0 && b[2] == 0 { // of a host of the other byte order
			family = binary.LittleEndian.Uint32(b)
		}
		return linkHeader{size: 4, text: "AF " + familyText(family)}
	}
	return linkHeader{}
}

// ethernetHeader is the one before the type of what it holds, which may be a tag.
func ethernetHeader(b []byte) linkHeader {
	be := binary.BigEndian
	kind := be.Uint16(b[12:])
	text := fmt.Sprintf("%s > %s, ", MAC(b[6:12]), MAC(b[:6]))
	if kind <= 1500 {
		return linkHeader{size: 14, text: text + "802.3", length: int(kind)}
	}
	size := 14
	for t := kind; len(b) >= size+4 && (t == 0x8100 || t == 0x88a8 || t == 0x9100); size += 4 {
		t = be.Uint16(b[size+2:])
	}
	return linkHeader{size: size, text: text + ethertypeText(kind)}
}

// cookedHeader has what Linux keeps of a link's header.
func cookedHeader(index string, kind uint16, address []byte, size, protocol uint16) string {
	words := []string{pick([]string{"In", "B", "M", "P", "Out"}, int(kind))}
	if index != "" {
		words = append(words, index)
	}
	if size == 6 {
		words = append(words, MAC(address[:6]).String())
	}
	switch protocol {
	case 1:
		words = append(words, "802.3")
	case 4:
		words = append(words, "802.2")
	default:
		words = append(words, ethertypeText(protocol))
	}
	return strings.Join(words, " ")
}

func familyText(family uint32) string {
	switch family {
	case 2:
		return "IPv4 (2)"
	case 10, 24, 28, 30: // of Linux, and of the BSDs each
		return fmt.Sprintf("IPv6 (%d)", family)
	}
	return fmt.Sprintf("Unknown (%d)", family)
}

func ethertypeText(kind uint16) string {
	name := map[uint16]string{
		0x0800: "IPv4", 0x0806: "ARP", 0x8035: "Reverse ARP", 0x8100: "802.1Q", 0x86dd: "IPv6", 0x8809: "Slow Protocols", 0x8847: "MPLS unicast",
		0x8848: "MPLS multicast", 0x8863: "PPPoE D", 0x8864: "PPPoE S", 0x888e: "EAPOL", 0x88a8: "802.1Q-QinQ", 0x88cc: "LLDP", 0x9100: "802.1Q-9100",
	}[kind]
	if name == "" {
		name = "Unknown"
	}
	return fmt.Sprintf("ethertype %s (0x%04x)", name, kind)
}
