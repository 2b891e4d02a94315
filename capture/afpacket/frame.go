package afpacket

import (
	"encoding/binary"

	"capd/pcap"
)

// Status of a frame (TP_STATUS_ of linux/if_packet.h).
const (
	statusCsumNotReady = 1 << 3
	statusVLANValid    = 1 << 4 // the frame had a VLAN tag, which is metadata now
	statusTPIDValid    = 1 << 6 // the metadata includes the tag's protocol
)

// Layout of struct sockaddr_ll (packet(7)), in host byte order except for the protocol, which is in
// network order.
const (
	sllProtocol = 2
	sllIfindex  = 4
	sllHatype   = 8
	sllPktType  = 10
	sllHalen    = 11
	sllAddr     = 12
	sllLen      = 20
)

const (
	macsLen      = 12     // the two addresses before an Ethernet frame's type
	tagLen       = 4      // a VLAN tag
	dot1Q        = 0x8100 // the tag's protocol if the metadata lacks it
	sll2Len      = 20     // LINKTYPE_LINUX_SLL2's header
	headroom     = 24     // enough for what is put before a cooked frame: a header and a tag
	typeOutgoing = 4      // PACKET_OUTGOING
)

// flags returns the packet flags for sll_pkttype (PACKET_ of
// linux/if_packet.h) and the frame's status.
func flags(pktType byte, status uint32) pcap.Flags {
	var f pcap.Flags
	switch pktType {
	case 0:
		f = pcap.FlagInbound | pcap.FlagUnicast
	case 1:
		f = pcap.FlagInbound | pcap.FlagBroadcast
	case 2:
		f = pcap.FlagInbound | pcap.FlagMulticast
	case 3:
		f = pcap.FlagInbound | pcap.FlagPromiscuous
	case typeOutgoing:
		f = pcap.FlagOutbound
	}
	if status&statusCsumNotReady != 0 {
		f |= pcap.FlagChecksumNotReady
	}
	return f
}

// A tag is a VLAN tag that the kernel removed from its frame.
type tag struct {
	status    uint32
	tci, tpid uint16
}

func (t tag) present() bool { return t.status&statusVLANValid != 0 }

func (t tag) protocol() uint16 {
	if t.status&statusTPIDValid != 0 {
		return t.tpid
	}
	return dot1Q
}

// insert inserts the tag into the Ethernet frame at mem[start:]. The frame then starts tagLen bytes
// earlier.
func (t tag) insert(mem []byte, start int) {
	frame := mem[start-tagLen:]
	copy(frame[:macsLen], frame[tagLen:])
	binary.BigEndian.PutUint16(frame[macsLen:], t.protocol())
	binary.BigEndian.PutUint16(frame[macsLen+2:], t.tci)
}

// cook puts a LINKTYPE_LINUX_SLL2 header, made from the struct sockaddr_ll, before the frame at
// mem[start:] and returns the start of that header. A tag is put after the header, as it would
// follow an Ethernet header.
// https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
func cook(mem []byte, start int, sll []byte, t tag) int {
	protocol := binary.BigEndian.Uint16(sll[sllProtocol:])
	if t.present() {
		start -= tagLen
		binary.BigEndian.PutUint16(mem[start:], t.tci)
		binary.BigEndian.PutUint16(mem[start+2:], protocol)
		protocol = t.protocol()
	}
	start -= sll2Len
	h := mem[start : start+sll2Len]
	binary.BigEndian.PutUint16(h, protocol)
	binary.BigEndian.PutUint16(h[2:], 0)
	binary.BigEndian.PutUint32(h[4:], host.Uint32(sll[sllIfindex:]))
	binary.BigEndian.PutUint16(h[8:], host.Uint16(sll[sllHatype:]))
	h[10], h[11] = sll[sllPktType], sll[sllHalen]
	clear(h[12:])
	copy(h[12:], sll[sllAddr:sllAddr+min(sll[sllHalen], 8)])
	return start
}
