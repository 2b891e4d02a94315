package filter

import (
	"encoding/binary"
	"fmt"
)

// Protocol numbers of link layers: Ethernet types, and 802.2 service access points, which are below
// 1501 (IANA, IEEE 802 Numbers).
const (
	etherIP       = 0x0800
	etherARP      = 0x0806
	etherNS       = 0x0600
	etherMOPDL    = 0x6001
	etherMOPRC    = 0x6002
	etherDECnet   = 0x6003
	etherLAT      = 0x6004
	etherSCA      = 0x6007
	etherTEB      = 0x6558
	etherRARP     = 0x8035
	etherATalk    = 0x809b
	etherAARP     = 0x80f3
	etherVLAN     = 0x8100
	etherIPX      = 0x8137
	etherIPv6     = 0x86dd
	etherMPLS     = 0x8847
	etherPPPoED   = 0x8863
	etherPPPoES   = 0x8864
	etherQinQ     = 0x88a8
	etherLoopback = 0x9000
	etherQinQOld  = 0x9100

	etherMTU = 1500 // length fields have at most this value, types have larger ones

	sapIP      = 0x06
	sapSTP     = 0x42
	sapSNAP    = 0xaa
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapISO     = 0xfe
)

// Protocol numbers in Linux cooked headers that stand for 802.2 and 802.3 frames (ETH_P_802_2 and
// ETH_P_802_3 in linux/if_ether.h).
const (
	sll8022 = 0x0004
	sll8023 = 0x0001
)

// Protocol numbers of PPP (RFC 1661; the list is at IANA).
const (
	pppIP     = 0x0021
	pppOSI    = 0x0023
	pppNS     = 0x0025
	pppDECnet = 0x0027
	pppATalk  = 0x0029
	pppIPX    = 0x002b
	pppBPDU   = 0x0031
	pppIPv6   = 0x0057
	pppMPLS   = 0x0281
)

// Address families in the headers of BSD loopback: AF_INET, and AF_INET6 of NetBSD and OpenBSD, of
// FreeBSD, and of Darwin.
const (
	afINET         = 2
	afINET6BSD     = 24
	afINET6FreeBSD = 28
	afINET6Darwin  = 30
)

// Offsets of a packet's metadata (SKF_AD_ in linux/filter.h).
const (
	auxProtocol   = 0
	auxPacketType = 4
	auxIfindex    = 8
	auxHatype     = 28
	auxVLANTag    = 44
	auxVLANThere  = 48
)

// packetOutgoing is the packet type of packets that the host sends (PACKET_OUTGOING in
// linux/if_packet.h).
const packetOutgoing = 4

// An offset is a position in the packet: k bytes after the position that a cell holds, or after the
// start.
type offset struct {
	cell int // index of the cell, or -1 for none
	k    uint32
}

const none = -1

// A generator turns a syntax tree into conditions, from left to right. The words vlan, mpls, pppoes
// and geneve change where the conditions after them look for their headers.
type generator struct {
	values
	target  Target
	quirks  bool
	cells   int
	tunnels [maxCells]int // as in a graph

	link      LinkType // of the innermost header at this point of the expression
	linkHdr   offset   // start of the link layer's header
	linkType  offset   // its protocol field
	payload   offset   // start of what the header carries
	netOff    uint32   // offset of the network header in payload
	noSNAPOff uint32   // the same for 802.2 without a SNAP header
	labels    int      // number of MPLS headers so far
	tags      int      // number of VLAN tags so far
	geneve    bool     // the link layer is inside a Geneve tunnel
	opaque    bool     // the link layer is unknown, and so no offset in the packet has a meaning

	at  int // offset in the text of what is being compiled
	err error
}

func newGenerator(t Target, quirks bool) *generator {
	g := &generator{values: values{}, target: t, quirks: quirks, link: t.LinkType}
	g.linkHdr.cell, g.linkType.cell, g.payload.cell = none, none, none
	switch t.LinkType {
	case LinkEthernet:
		g.linkType.k, g.payload.k, g.noSNAPOff = 12, 14, 3
	case LinkNull, LinkLoop:
		g.payload.k = 4
	case LinkPPP:
		g.linkType.k, g.payload.k = 2, 4
	case LinkRaw, LinkIPv4, LinkIPv6:
	case LinkSLL:
		g.linkType.k, g.payload.k = 14, 16
	case LinkSLL2:
		g.payload.k = sll2Len
	default:
		g.opaque = true
	}
	return g
}

// graph turns the syntax tree into blocks in gr and returns the first one.
func (g *generator) graph(gr *graph, e expr) (*block, error) {
	c := g.cond(e)
	if g.err != nil {
		return nil, g.err
	}
	gr.values, gr.cells, gr.tunnels = g.values, g.cells, g.tunnels
	root := gr.lower(c, gr.accept(), gr.reject())
	if len(gr.blocks) > maxBlocks {
		return nil, &SyntaxError{Offset: e.offset(), Msg: fmt.Sprintf("the expression needs more than %d tests", maxBlocks)}
	}
	return root, nil
}

// fail stores the first error, at the position of what is being compiled.
func (g *generator) fail(hint, format string, args ...any) *cond {
	if g.err == nil {
		g.err = &SyntaxError{g.at, fmt.Sprintf(format, args...), hint}
	}
	return &cond{op: condFalse}
}

// cond returns the condition of a node.
func (g *generator) cond(e expr) *cond {
	if g.err != nil {
		return &cond{op: condFalse}
	}
	switch e := e.(type) {
	case binaryExpr:
		l := g.cond(e.left)
		if e.and {
			return and(l, g.cond(e.right))
		}
		return or(l, g.cond(e.right))
	case notExpr:
		return not(g.cond(e.x))
	}
	g.at = e.offset()
	if g.opaque && needsLink(e) {
		return g.failOpaque()
	}
	switch e := e.(type) {
	case protoExpr:
		return g.proto(e.proto)
	case idExpr:
		return g.id(e)
	case castExpr:
		if e.multi {
			return g.multicast(e.proto)
		}
		return g.broadcast(e.proto)
	case wordExpr:
		return g.word(e)
	case llcExpr:
		return g.llc(e.pdu)
	}
	return g.relation(e.(relExpr))
}

// needsLink reports whether a condition tests bytes of the packet. Of a comparison, access says so for each operand.
func needsLink(e expr) bool {
	switch e := e.(type) {
	case relExpr:
		return false
	case wordExpr:
		return e.word != "inbound" && e.word != "outbound" && e.word != "ifindex" // a live socket knows these
	}
	return true
}

// foreign is the condition for what only packets of another link layer can have: an error, or false where the expression is for
// those too.
func (g *generator) foreign(hint, format string, args ...any) *cond {
	if g.target.mixed {
		return &cond{op: condFalse}
	}
	return g.fail(hint, format, args...)
}

// failOpaque records that what is being compiled needs a link layer that Compile supports.
func (g *generator) failOpaque() *cond {
	return g.fail("len, less and greater work for all", "filters for %s are not supported", g.link)
}

// word returns the condition of a keyword about the link layer.
func (g *generator) word(e wordExpr) *cond {
	switch e.word {
	case "inbound":
		return not(g.outbound())
	case "outbound":
		return g.outbound()
	case "ifindex":
		return g.ifindex(*e.num)
	case "vlan":
		return g.vlan(e.num)
	case "mpls":
		return g.mpls(e.num)
	case "pppoed":
		return g.linkProto(etherPPPoED)
	case "pppoes":
		return g.pppoes(e.num)
	}
	return g.genevePacket(e.num)
}

// compare returns the condition that the comparison op of v with k is true.
func (g *generator) compare(op uint16, v *value, k uint32) *cond {
	return &cond{op: condTest, test: test{op, v, g.constant(k)}}
}

func (g *generator) equal(v *value, k uint32) *cond { return g.compare(jeq, v, k) }

// masked returns the condition that the value and k have the same bits under the mask.
func (g *generator) masked(v *value, mask, k uint32) *cond {
	return g.equal(g.alu(aluAnd, v, g.constant(mask)), k)
}

// bytes returns the bytes at o+off.
func (g *generator) bytes(o offset, off, size uint32) *value {
	if o.cell != none {
		return g.load(g.cell(o.cell), o.k+off, size)
	}
	return g.header(o.k+off, size)
}

// header returns the bytes at a fixed offset. For a live socket of cooked packets, which has no
// cooked header, it finds the same data in the packet's metadata.
func (g *generator) header(off, size uint32) *value {
	if !g.cooked() {
		return g.load(nil, off, size)
	}
	if off >= g.cookedLen() {
		return g.load(nil, off-g.cookedLen(), size)
	}
	if g.target.LinkType == LinkSLL {
		return g.sllHeader(off, size)
	}
	switch {
	case off == 0 && size == 2:
		return g.aux(auxProtocol, 2, 0xffff)
	case off == 4 && size == 4:
		return g.aux(auxIfindex, 4, 0xffffffff)
	case off == 8 && size == 2:
		return g.aux(auxHatype, 2, 0xffff)
	case off == 10 && size == 1:
		return g.aux(auxPacketType, 1, 7)
	}
	g.fail("only [0:2], [4:4], [8:2] and [10] of the cooked header are available", "a live socket does not see %d bytes at offset %d", size, off)
	return g.constant(0)
}

// sllHeader is header for what is in the header of LinkSLL.
func (g *generator) sllHeader(off, size uint32) *value {
	switch {
	case off == 0 && size == 2:
		return g.aux(auxPacketType, 1, 7)
	case off == 2 && size == 2:
		return g.aux(auxHatype, 2, 0xffff)
	case off == 14 && size == 2:
		return g.aux(auxProtocol, 2, 0xffff)
	}
	g.fail("only [0:2], [2:2] and [14:2] of the cooked header are available", "a live socket does not see %d bytes at offset %d", size, off)
	return g.constant(0)
}

// Lengths of the headers of LinkSLL and LinkSLL2.
const (
	sllLen  = 16
	sll2Len = 20
)

// cooked reports whether packets lack the cooked header that they have in a file.
func (g *generator) cooked() bool {
	return g.target.Live && (g.target.LinkType == LinkSLL || g.target.LinkType == LinkSLL2)
}

// cookedLen returns the length of that header.
func (g *generator) cookedLen() uint32 {
	if g.target.LinkType == LinkSLL {
		return sllLen
	}
	return sll2Len
}

// net returns bytes of the network header.
func (g *generator) net(off, size uint32) *value {
	return g.bytes(g.payload, g.netOff+off, size)
}

// ipHeaderLen returns the length of the IPv4 header, after which the transport header starts.
func (g *generator) ipHeaderLen() *value {
	at := g.payload.k + g.netOff
	if g.payload.cell == none {
		if g.cooked() {
			at -= g.cookedLen()
		}
		return g.msh(at)
	}
	c := g.cell(g.payload.cell)
	n := g.alu(aluLsh, g.alu(aluAnd, g.load(c, at, 1), g.constant(0xf)), g.constant(2))
	return g.alu(aluAdd, n, c)
}

// transport returns bytes of the transport header of an IPv4 packet.
func (g *generator) transport(off, size uint32) *value {
	return g.indexed(g.ipHeaderLen(), g.payload, g.netOff+off, size)
}

// indexed returns the bytes at o+off+add. add includes the cell of o.
func (g *generator) indexed(add *value, o offset, off, size uint32) *value {
	if o.cell == none && g.cooked() {
		off -= g.cookedLen()
	}
	return g.load(add, o.k+off, size)
}

// swap converts a protocol family to the byte order of the LinkNull header.
func (g *generator) swap(family uint32) uint32 {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], family)
	if g.target.Swapped {
		return binary.LittleEndian.Uint32(b[:])
	}
	return binary.BigEndian.Uint32(b[:])
}
