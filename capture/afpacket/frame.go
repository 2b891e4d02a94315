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

	statusRestored = 1 << 27 // not the kernel's: the frame's bytes were changed
	statusSaved    = 1 << 26 // not the kernel's: see insertTag
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
	sllHeader    = 16     // LINKTYPE_LINUX_SLL's header
	sll2Header   = 20     // LINKTYPE_LINUX_SLL2's header
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

// cook puts the header of a cooked link type, made from the struct sockaddr_ll, before the packet at
// mem[start:] and returns the start of that header. A tag is put after the header, as it would
// follow an Ethernet header.
// https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html and LINKTYPE_LINUX_SLL.html
func cook(link pcap.LinkType, mem []byte, start int, sll []byte, t tag) int {
	protocol := binary.BigEndian.Uint16(sll[sllProtocol:])
	if t.present() {
		start -= tagLen
		binary.BigEndian.PutUint16(mem[start:], t.tci)
		binary.BigEndian.PutUint16(mem[start+2:], protocol)
		protocol = t.protocol()
	}
	address := sll[sllAddr : sllAddr+min(sll[sllHalen], 8)]
	hardware := host.Uint16(sll[sllHatype:])
	if link == pcap.LinkTypeLinuxSLL {
		start -= sllHeader
		h := mem[start : start+sllHeader]
		binary.BigEndian.PutUint16(h, uint16(sll[sllPktType]))
		binary.BigEndian.PutUint16(h[2:], hardware)
		binary.BigEndian.PutUint16(h[4:], uint16(sll[sllHalen]))
		clear(h[6:14])
		copy(h[6:], address)
		binary.BigEndian.PutUint16(h[14:], protocol)
		return start
	}
	start -= sll2Header
	h := mem[start : start+sll2Header]
	binary.BigEndian.PutUint16(h, protocol)
	binary.BigEndian.PutUint16(h[2:], 0)
	binary.BigEndian.PutUint32(h[4:], host.Uint32(sll[sllIfindex:]))
	binary.BigEndian.PutUint16(h[8:], hardware)
	h[10], h[11] = sll[sllPktType], sll[sllHalen]
	clear(h[12:])
	copy(h[12:], address)
	return start
}

// Protocols of frames on a CAN bus (ETH_P_ of linux/if_ether.h).
const (
	protocolCAN   = 0x000c
	protocolCANFD = 0x000d
	protocolCANXL = 0x000e
)

// canOrder makes the format of a file (https://www.tcpdump.org/linktypes/LINKTYPE_CAN_SOCKETCAN.html) from a frame as the system
// has it: numbers in the file's byte order, and flags that say which kind of frame it is.
func canOrder(frame, sll []byte) {
	const flagXL, flagFD, flagsFD = 0x80, 0x04, 0x07 // CANXL_XLF; CANFD_FDF, and with CANFD_ESI and CANFD_BRS
	if len(frame) < 8 {
		return
	}
	binary.BigEndian.PutUint32(frame, host.Uint32(frame))
	switch binary.BigEndian.Uint16(sll[sllProtocol:]) {
	case protocolCAN:
		frame[4] &^= flagXL
		clear(frame[5:8])
	case protocolCANFD:
		frame[4] &^= flagXL
		frame[5] = frame[5]&flagsFD | flagFD
		clear(frame[6:8])
	case protocolCANXL:
		frame[4] |= flagXL
		binary.LittleEndian.PutUint16(frame[6:], host.Uint16(frame[6:]))
		if len(frame) >= 12 {
			binary.LittleEndian.PutUint32(frame[8:], host.Uint32(frame[8:]))
		}
	}
}

// A from finds the interfaces of the frames of one batch.
type from struct {
	turn uint64 // of the batch
	key  originKey
	last *pcap.Interface // of key; nil at first
}

// of returns the interface that the struct sockaddr_ll names.
func (f *from) of(all *origins, sll []byte) *pcap.Interface {
	key := originKey{host.Uint32(sll[sllIfindex:]), host.Uint16(sll[sllHatype:])}
	if f.last == nil || key != f.key {
		f.key, f.last = key, all.of(key, f.turn)
	}
	return f.last
}
