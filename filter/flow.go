package filter

import "net/netip"

// A Flow is what a row of a flow table says of frames of one conversation, as far as a [Condition] asks. What the row does not
// know is left out: the zero Flow may be any frames at all. Whatever is set must hold for every frame of the flow, and must be
// what is in the frame's bytes at the place where the standards have it; an error here makes conditions exclude what they must
// not.
//
// A flow is that of the frame's own headers. What is in a tunnel, behind MPLS labels or in PPPoE is none: if the flow table has
// rows for that, they are not to be asked, because a row of the frame's own headers stands for each such frame too.
type Flow struct {
	Has       Fact
	Link      LinkType // of HasFrame
	EtherType uint16   // of HasFrame: see there
	Protocol  uint8    // of HasProtocol
	VLANs     []uint16 // of HasFrame; the ids of all tags of the types 0x8100, 0x88a8 and 0x9100, from the outermost
	A, B      Endpoint
}

// An Endpoint is one end of a flow, and what it has sent to the other.
type Endpoint struct {
	Has Fact

	// Addr is the address of IP, or that in ARP at the offset 14 of the sender and 24 of the target. It is invalid if it is
	// unknown, or if the frame has none.
	Addr netip.Addr

	MAC      [6]byte // of HasMAC
	Port     uint16  // of HasPort
	ICMPType uint8   // of HasICMP, in what this end sent
	ICMPCode uint8
	TCPFlags uint8  // of HasTCPFlags: all that this end sent
	Packets  uint64 // that this end sent; 0 for both ends: not known
	Bytes    uint64 // of HasBytes: on the wire, in the sum
}

// A Fact says of a Flow, or of an Endpoint, that it knows a field, or that something holds for all frames.
type Fact uint16

// Facts of a Flow.
const (
	// HasFrame is for Link, VLANs and EtherType. The Ethernet type is what follows the tags in VLANs: that of MPLS or PPPoE for
	// IP in them, and up to 1500 for frames that have a length and 802.2 instead. Of other link layers it is the type of IP if their
	// header says so; that of PPP may not be compressed.
	HasFrame Fact = 1 << iota

	// HasProtocol is for IP: the protocol in the header of IPv4; the first protocol of IPv6 that is not an extension header
	// (0, 43, 44, 51, 60, 135, 139, 140), or the extension header at which the frame was cut.
	HasProtocol

	NoExtensions   // no frame of IPv6 has an extension header
	LaterFragments // all frames are fragments of IP, and none is the first of its datagram
)

// Facts of an Endpoint. The ports and ICMP are those of frames that are not fragments, or the first fragment.
const (
	HasMAC      Fact = 1 << iota // MAC: for every frame, not just for the first
	HasPort                      // Port, of TCP, UDP or SCTP, and of no other protocol
	HasICMP                      // ICMPType and ICMPCode, of ICMP or ICMPv6
	HasTCPFlags                  // TCPFlags; each frame has them
	HasBytes                     // Bytes
)

// A truth is what is known about whether frames pass: none of them, unknown, or all.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

// is returns the truth of something that is known.
func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// A way is the frames of a flow that go in one direction.
type way struct {
	*Flow
	src, dst *Endpoint
}

// ways calls each for each direction that may have frames, until it returns false. If directed is not set, the directions are the same
// to the caller, and one is enough.
func (f *Flow) ways(directed bool, each func(w way) bool) bool {
	if f.B.Packets == 0 && f.A.Packets != 0 || !directed {
		return each(way{f, &f.A, &f.B})
	}
	return (f.A.Packets == 0 && f.B.Packets != 0 || each(way{f, &f.A, &f.B})) && each(way{f, &f.B, &f.A})
}

// A place is what is in a frame where an expression looks for the protocol of the link layer.
type place uint8

const (
	protocolThere place = iota
	tagThere            // the type of a VLAN tag
	anyThere            // bytes that the flow says nothing about
)

// place returns what is there for a test that skips a number of VLAN tags. A test skips them in frames without tags too.
func (f *Flow) place(tags int) place {
	switch n := len(f.VLANs); {
	case f.Has&HasFrame == 0 && tags == 0:
		return protocolThere
	case f.Has&HasFrame == 0 || n < tags:
		return anyThere
	case n > tags:
		return tagThere
	}
	return protocolThere
}

// carries returns whether the frames are of the protocol p of the link layer for a test that skips a number of VLAN tags. It knows
// what linkProto of the generator makes of each protocol.
func (f *Flow) carries(tags int, p uint32) truth {
	switch f.place(tags) {
	case anyThere:
		return maybe
	case tagThere:
		return min(maybe, is(isTag(p)))
	}
	if f.Has&HasFrame == 0 {
		return maybe
	}
	t := uint32(f.EtherType)
	switch f.Link {
	case LinkEthernet, LinkSLL, LinkSLL2:
		switch {
		case t <= etherMTU:
			return min(maybe, is(p <= etherMTU || p == etherATalk || p == etherAARP))
		case t == etherIPX && p == sapIPX:
			return maybe // of LinkSLL2 only in 802.2
		}
		return is(p == t)
	case LinkIPv4:
		return is(p == etherIP)
	case LinkIPv6:
		return is(p == etherIPv6)
	case LinkRaw:
		return is(isIP(p) && p == t)
	case LinkNull, LinkLoop: // IPv6 has more numbers there than filters know
		return min(maybe, is(isIP(p) && (p == t || !isIP(t))))
	case LinkPPP: // has numbers of its own
		return min(maybe, is(p == t || !isIP(t) || p <= etherMTU))
	}
	return maybe
}

func isIP(p uint32) bool { return p == etherIP || p == etherIPv6 }

// isTag reports whether p is the type of a VLAN tag.
func isTag(p uint32) bool { return p == etherVLAN || p == etherQinQ || p == etherQinQOld }

// isExtension reports whether a protocol of IPv6 is an extension header, behind which another protocol may follow.
func isExtension(p uint8) bool {
	switch p {
	case 0, 43, ipFragment, ipAH, 60, 135, 139, 140:
		return true
	}
	return false
}
