// Package pcap encodes, decodes and scans capture files, pcap and pcapng. It
// works on bytes only: it opens no file and no interface.
//
// Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
package pcap

import "time"

// MaxSnaplen is the largest capture length in bytes that capd records, and
// the largest that Wireshark and libpcap read (MAXIMUM_SNAPLEN).
const MaxSnaplen = 262144

// A LinkType says what a packet's first byte is: one of the LINKTYPE_ values of
// https://www.tcpdump.org/linktypes.html.
type LinkType uint16

// Link types that capd writes.
const (
	LinkTypeNull      LinkType = 0   // BSD loopback: 4-byte protocol family in host byte order
	LinkTypeEthernet  LinkType = 1   // Ethernet, and loopback on Linux
	LinkTypePPP       LinkType = 9   // PPP
	LinkTypeRaw       LinkType = 101 // raw IPv4 or IPv6
	LinkTypeIEEE80211 LinkType = 105 // IEEE 802.11
	LinkTypeLoop      LinkType = 108 // OpenBSD loopback: protocol family in network byte order
	LinkTypeEnc       LinkType = 109 // OpenBSD enc(4)
	LinkTypeLinuxSLL  LinkType = 113 // Linux "cooked" v1
	LinkTypePFLog     LinkType = 117 // OpenBSD pflog(4)
	LinkTypeRadiotap  LinkType = 127 // IEEE 802.11 after a radiotap header
	LinkTypePKTAP     LinkType = 258 // Darwin's pktap
	LinkTypeLinuxSLL2 LinkType = 276 // Linux "cooked" v2

	// LinkTypeMixed is in no file: packets come from several interfaces, and each has the link type of its own
	// (Packet.From).
	LinkTypeMixed LinkType = 0xffff
)

// A Packet is one captured frame. Data is borrowed from whoever produced it:
// it is valid until that batch is released, and must not be kept.
type Packet struct {
	Data   []byte // the frame from its link layer header on; len(Data) is the capture length
	Length uint32 // original length on the wire in bytes, never below len(Data)
	Sec    uint32 // capture time: seconds since 1970-01-01 UTC
	Nsec   uint32 // and nanoseconds, 0 to 999,999,999
	Flags  Flags

	// From is the interface, for packets of LinkTypeMixed; else nil. Whoever produces the packets changes none of it: the
	// same pointer means the same interface of the same name.
	From *Interface
}

// HasTime reports whether the capture time is known: a file may have none, or
// one that is no time. Sec and Nsec are 0 then.
func (p *Packet) HasTime() bool { return p.Sec|p.Nsec != 0 }

// Time returns the capture time.
func (p *Packet) Time() time.Time { return time.Unix(int64(p.Sec), int64(p.Nsec)) }

// Flags describe how a packet was met, as the word of pcapng's epb_flags
// option. 0 is unknown.
type Flags uint32

// Flags that capd knows (draft-ietf-opsawg-pcapng, section 4.3.1).
const (
	FlagInbound          Flags = 1
	FlagOutbound         Flags = 2
	FlagUnicast          Flags = 1 << 2
	FlagMulticast        Flags = 2 << 2
	FlagBroadcast        Flags = 3 << 2
	FlagPromiscuous      Flags = 4 << 2 // for another host
	FlagChecksumNotReady Flags = 1 << 9 // the NIC would have filled in the checksum
)
