package filter

// vlan returns the condition that the frame has a VLAN tag, with that number if id is not nil. The
// conditions after it in the expression look behind the tag.
func (g *generator) vlan(id *uint32) *cond {
	switch {
	case g.labels > 0:
		return g.fail("", "vlan can't follow mpls")
	case g.link != LinkEthernet:
		return g.foreign("", "vlan is for Ethernet, not %s", g.link)
	case id != nil && *id > 0xfff:
		return g.fail("", "the VLAN %d is larger than 4095", *id)
	}
	outermost := g.tags == 0 && g.linkHdr == offset{cell: none}
	g.tags++
	tag := or(g.linkProto(etherVLAN), g.linkProto(etherQinQ), g.linkProto(etherQinQOld))
	if id != nil {
		tag = and(tag, g.masked(g.bytes(g.payload, 0, 2), 0xfff, *id))
	}
	if !outermost || !g.target.Live {
		g.linkType.k += 4
		g.payload.k += 4
		return tag
	}
	// A live socket gets the outermost tag as metadata, unless the driver or sender left it in the
	// frame. In that case everything after it is 4 bytes further on, which is known only when the
	// program runs.
	moved := g.newCell()
	g.linkType.cell, g.payload.cell = moved, moved
	inMetadata := &cond{op: condTrue}
	if id != nil {
		inMetadata = g.masked(g.aux(auxVLANTag, 2, 0xffff), 0xfff, *id)
	}
	first(tag).sets[0] = set{moved, g.constant(4)}
	return &cond{op: condIf, a: g.equal(g.aux(auxVLANThere, 1, 1), 1), b: inMetadata, c: tag}
}

// first returns the test that the condition makes first.
func first(c *cond) *cond {
	for c.op != condTest {
		c = c.a
	}
	return c
}

// newCell returns an unused cell.
func (g *generator) newCell() int {
	if g.cells == maxCells {
		g.fail("", "the expression has too many tunnels for BPF's scratch memory")
		return 0
	}
	g.cells++
	return g.cells - 1
}

// mpls returns the condition that the packet has an MPLS header, with that label if label is not
// nil. The conditions after it in the expression look behind the header.
func (g *generator) mpls(label *uint32) *cond {
	var c *cond
	switch {
	case g.labels > 0: // the previous header must not be the bottom of the stack
		c = g.masked(g.bytes(g.payload, g.netOff-2, 1), 1, 0)
	case g.link == LinkEthernet:
		c = g.linkProto(etherMPLS)
	case g.link == LinkPPP:
		c = g.linkProto(pppMPLS)
	default:
		return g.foreign("", "mpls is for Ethernet and PPP, not %s", g.link)
	}
	if label != nil {
		if *label > 0xfffff {
			return g.fail("", "the MPLS label %d is larger than 1048575", *label)
		}
		c = and(c, g.masked(g.net(0, 4), 0xfffff000, *label<<12))
	}
	g.netOff += 4
	g.noSNAPOff += 4
	g.labels++
	return c
}

// pppoes returns the condition that the packet belongs to a PPPoE session, with that number if
// session is not nil. The conditions after it in the expression look inside the PPP frame.
func (g *generator) pppoes(session *uint32) *cond {
	c := g.linkProto(etherPPPoES)
	if session != nil {
		if *session > 0xffff {
			return g.fail("", "the PPPoE session %d is larger than 65535", *session)
		}
		c = and(c, g.masked(g.net(0, 4), 0xffff, *session))
	}
	g.enter(LinkPPP, offset{g.payload.cell, g.payload.k + g.netOff + 6})
	g.linkType = g.linkHdr
	g.payload.k = g.linkHdr.k + 2
	g.netOff, g.noSNAPOff = 0, 0
	return c
}

// enter sets the innermost link layer header.
func (g *generator) enter(l LinkType, at offset) {
	g.link, g.linkHdr, g.geneve = l, at, false
}

// genevePacket returns the condition that the packet belongs to a Geneve tunnel, with that network
// if vni is not nil. The conditions after it in the expression look inside the tunnel.
func (g *generator) genevePacket(vni *uint32) *cond {
	if vni != nil && *vni > 0xffffff {
		return g.fail("", "the Geneve network %d is larger than 16777215", *vni)
	}
	const port = 6081
	t, typ, hdr, pay := g.newCell(), g.newCell(), g.newCell(), g.newCell()
	for _, c := range []int{t, typ, hdr, pay} {
		g.tunnels[c] = g.at + 1
	}
	check := func(portCond *cond, udp func(off, size uint32) *value, at *value) *cond {
		c := and(portCond, g.masked(udp(8, 1), 0xc0, 0))
		if vni != nil {
			c = and(c, g.masked(udp(12, 4), 0xffffff00, *vni<<8))
		}
		return and(c, setCells(set{t, at}))
	}
	ipv6Len := g.constant(40)
	if g.payload.cell != none {
		ipv6Len = g.alu(aluAdd, g.cell(g.payload.cell), ipv6Len)
	}
	udp6 := func(off, size uint32) *value { return g.net(40+off, size) }
	tunnel := or(check(g.ipv4Port(portRange{port, port}, protoUDP, dirDst), g.transport, g.ipHeaderLen()),
		check(g.ipv6Port(portRange{port, port}, protoUDP, dirDst), udp6, ipv6Len))

	// Compute the start of the tunnel's header, its length, and the type of what it carries.
	start := g.payload.k + g.netOff + 8
	if g.payload.cell == none && g.cooked() {
		start -= g.cookedLen()
	}
	base := g.alu(aluAdd, g.cell(t), g.constant(start))
	options := g.alu(aluMul, g.alu(aluAnd, g.load(base, 0, 1), g.constant(0x3f)), g.constant(4))
	inner := g.alu(aluAdd, g.alu(aluAdd, options, g.constant(8)), base)
	isEther := g.equal(g.load(base, 2, 2), etherTEB)
	ether := setCells(set{hdr, inner}, set{typ, g.alu(aluAdd, g.cell(hdr), g.constant(12))}, set{pay, g.alu(aluAdd, g.cell(hdr), g.constant(14))})
	other := setCells(set{hdr, inner}, set{typ, g.alu(aluAdd, base, g.constant(2))}, set{pay, g.cell(hdr)})
	c := and(tunnel, &cond{op: condIf, a: isEther, b: ether, c: other})

	g.enter(LinkEthernet, offset{cell: hdr})
	g.linkType, g.payload = offset{cell: typ}, offset{cell: pay}
	g.netOff = 0
	g.geneve = true
	return c
}

// checkTunnels returns an error if packets outside a tunnel reach tests that look inside it, which
// would read meaningless bytes.
func (g *generator) checkTunnels(gr *graph, root *block) error {
	for c, early := range readEarly(gr.order(root)) {
		if at := g.tunnels[c]; early && at > 0 {
			return &SyntaxError{
				Offset: at - 1,
				Msg:    "what follows geneve looks inside the tunnel, but packets outside a tunnel reach it too",
				Hint:   "write conditions on packets outside the tunnel before geneve, as in: ip or (geneve and ip)",
			}
		}
	}
	return nil
}

// setCells returns a condition that sets the cells and is true.
func setCells(sets ...set) *cond {
	c := &cond{op: condSet}
	copy(c.sets[:], sets)
	return c
}

// insideEther returns nil or, inside Geneve, the condition that there is an Ethernet header: only
// then does the payload start behind the link layer's start.
func (g *generator) insideEther() *cond {
	if !g.geneve {
		return nil
	}
	return not(&cond{op: condTest, test: test{jeq, g.cell(g.linkHdr.cell), g.cell(g.payload.cell)}})
}
