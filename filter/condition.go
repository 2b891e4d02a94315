package filter

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Condition is what an expression asks of flows: which of them may have a packet that passes the expression's program, and
// which are made of such packets only. It narrows where to look; the program decides about each packet. Make one with
// [Conditions].
//
// For each test of the expression a Condition knows whether it holds for all frames of one direction of a flow, for none, or
// whether the flow does not tell. "not" exchanges the first two, "and" and "or" take the least and the greatest, so that a
// Condition is sound for any expression if it is for each test.
type Condition struct {
	root     *node
	directed bool // it may tell the two directions of a flow apart
}

// A node is a leaf, or joins others. Negations are in leaves only.
type node struct {
	leaf leaf
	not  bool
	keys []Key // which a flow that passes must have

	and  bool
	kids []*node
	text string // of the node with its kids, where these are how one test is made
}

// Conditions returns the condition of an expression. It is for programs that [Compile] makes for files, of any link type: there
// VLAN tags are in the bytes. The error is a *[SyntaxError], perhaps wrapped; an expression without error here may still be one that
// Compile refuses.
func Conditions(expr string) (*Condition, error) {
	if len(expr) > MaxText {
		return nil, fmt.Errorf("compile filter: %w", &SyntaxError{MaxText, fmt.Sprintf("the expression is longer than %d bytes", MaxText), ""})
	}
	tree, err := parse(expr)
	if err != nil {
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	c := Condition{root: &node{and: true}}
	if tree == nil {
		return &c, nil
	}
	r := reader{g: newGenerator(Target{LinkType: LinkEthernet}, false)}
	c.root, _ = r.node(tree, false, 0)
	if r.g.err != nil {
		return nil, fmt.Errorf("compile filter: %w", r.g.err)
	}
	c.directed = c.root.directed()
	return &c, nil
}

// May reports whether a packet of the flow may pass the program. If it is false, none does.
func (c *Condition) May(f *Flow) bool {
	return !f.ways(c.directed, func(w way) bool { return c.root.holds(w, false) == no })
}

// Must reports whether all packets of the flow pass the program. If it is false, some may or may not.
func (c *Condition) Must(f *Flow) bool {
	return f.ways(c.directed, func(w way) bool { return c.root.holds(w, true) == yes })
}

// String returns the condition in the language of filters, with "?" for what a flow does not tell.
func (c *Condition) String() string {
	if c.root.leaf == nil && len(c.root.kids) == 0 {
		return "any packet"
	}
	return c.root.String()
}

// holds returns the truth on the frames of one direction. If strict is set, it stops where a test may reject a frame that is
// too short for it, whatever comes after.
func (n *node) holds(w way, strict bool) truth {
	if n.leaf != nil {
		if n.not {
			return yes - n.leaf.holds(w)
		}
		return n.leaf.holds(w)
	}
	v, end := no, yes
	if n.and {
		v, end = yes, no
	}
	for _, k := range n.kids {
		kv := k.holds(w, strict)
		switch {
		case kv == end, strict && kv == maybe:
			return kv
		case kv == maybe:
			v = maybe
		}
	}
	return v
}

// directed reports whether the node may tell the two directions of a flow apart.
func (n *node) directed() bool {
	if n.leaf != nil {
		return n.leaf.directed()
	}
	return slices.ContainsFunc(n.kids, (*node).directed)
}

func (n *node) String() string {
	switch {
	case n.text != "":
		return n.text
	case n.leaf == unknownLeaf{}:
		return n.leaf.String()
	case n.leaf != nil && n.not:
		return "not " + n.leaf.String()
	case n.leaf != nil:
		return n.leaf.String()
	}
	var parts []string
	for _, k := range n.kids {
		if k.leaf != nil || k.text != "" || len(n.kids) == 1 {
			parts = append(parts, k.String())
		} else {
			parts = append(parts, "("+k.String()+")")
		}
	}
	if n.and {
		return strings.Join(parts, " and ")
	}
	return strings.Join(parts, " or ")
}

// joined returns a node for both or either of two.
func joined(and bool, nodes ...*node) *node {
	all := &node{and: and}
	for _, n := range nodes {
		if n.leaf == nil && n.and == and && n.text == "" {
			all.kids = append(all.kids, n.kids...)
		} else {
			all.kids = append(all.kids, n)
		}
	}
	return all
}

// negate returns the opposite of a node.
func (n *node) negate() *node {
	if n.leaf != nil {
		return &node{leaf: n.leaf, not: !n.not}
	}
	all := &node{and: !n.and}
	if n.text != "" {
		all.text = "not " + n.text
	}
	for _, k := range n.kids {
		all.kids = append(all.kids, k.negate())
	}
	return all
}

// A reader makes a condition from a syntax tree, from left to right, as a generator makes tests.
type reader struct {
	g     *generator // which looks up names and parses addresses
	tags  int        // VLAN tags that tests skip from here on
	blind bool       // tests look behind MPLS labels, into PPPoE or into a tunnel
}

// node returns the node of an expression, or of its opposite. sure is the number of VLAN tags that the frames surely have if the
// node matters; sureAfter is that number if the node holds.
func (r *reader) node(e expr, not bool, sure int) (n *node, sureAfter int) {
	switch e := e.(type) {
	case notExpr:
		return r.node(e.x, !not, sure)
	case binaryExpr:
		and := e.and != not
		left, after := r.node(e.left, not, sure)
		if !and {
			after = sure
		}
		right, after := r.node(e.right, not, after)
		if !and {
			after = sure
		}
		return joined(and, left, right), after
	}
	r.g.at = e.offset()
	at := r.tags
	n = r.leaf(e)
	if not {
		return n.negate(), sure
	}
	n.require(sure >= at)
	if v, ok := n.leaf.(*vlanLeaf); ok && v.tags == sure {
		sure++
	}
	return n, sure
}

// require says which keys a flow must have. A test that skips more tags than a frame has looks at any bytes, for which there are
// no keys.
func (n *node) require(there bool) {
	if n.leaf != nil && there {
		n.keys = n.leaf.keys()
	}
	for _, k := range n.kids {
		k.require(there)
	}
}

func leafNode(l leaf) *node { return &node{leaf: l} }

func unknown() *node { return leafNode(unknownLeaf{}) }

// leaf returns the node of a test.
func (r *reader) leaf(e expr) *node {
	if e, ok := e.(relExpr); ok {
		return r.relation(e)
	}
	if r.blind {
		return unknown()
	}
	switch e := e.(type) {
	case protoExpr:
		return r.proto(e.proto)
	case idExpr:
		return r.id(e)
	case castExpr:
		return r.cast(e)
	case wordExpr:
		return r.word(e)
	}
	return joined(true, leafNode(&linkLeaf{tags: r.tags, ether: true, word: "llc"}), unknown())
}

// link returns the node that the link layer carries a protocol.
func (r *reader) link(p uint32, word string) *node {
	return leafNode(&linkLeaf{tags: r.tags, proto: p, word: word})
}

func (r *reader) proto(p proto) *node {
	if n := etherNumber(p); n != 0 {
		return r.link(n, p.String())
	}
	l := &protoLeaf{tags: r.tags, n: ipNumber(p), word: p.String()}
	switch p {
	case protoLink, protoRadio:
		return unknown()
	case protoTCP, protoUDP, protoSCTP, protoAH, protoESP, protoPIM:
	case protoICMP, protoIGMP, protoIGRP, protoVRRP, protoCARP:
		l.in = protoIP
	case protoICMPv6:
		l.in, l.n = protoIPv6, ipICMPv6
	default:
		return joined(true, r.link(sapISO, p.String()), unknown())
	}
	return leafNode(l)
}

func (r *reader) word(e wordExpr) *node {
	exact := func(n *node) *node {
		if e.num == nil {
			return n
		}
		return joined(true, n, unknown())
	}
	switch e.word {
	case "vlan":
		r.tags++
		return leafNode(&vlanLeaf{r.tags - 1, e.num})
	case "pppoed":
		return r.link(etherPPPoED, e.word)
	case "pppoes":
		r.blind = true
		return exact(r.link(etherPPPoES, e.word))
	case "mpls":
		r.blind = true
		return exact(leafNode(&linkLeaf{tags: r.tags, proto: etherMPLS, ether: true, word: e.word}))
	case "geneve":
		r.blind = true
		return joined(true, leafNode(&portLeaf{r.tags, protoUDP, dirDst, portRange{6081, 6081}}), unknown())
	}
	return unknown() // inbound, outbound, ifindex
}

func (r *reader) cast(e castExpr) *node {
	ether := e.proto == protoAny || e.proto == protoLink
	switch {
	case ether && e.multi:
		return leafNode(&macLeaf{dir: dirDst, group: true})
	case ether:
		return leafNode(&macLeaf{dir: dirDst, addr: [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
	case e.proto == protoIP && e.multi: // the first byte is 224 or more
		return leafNode(&host4Leaf{r.tags, protoIP, dirDst, 224 << 24, 224 << 24})
	case e.proto == protoIP:
		return joined(true, r.link(etherIP, "ip"), unknown())
	case e.proto == protoIPv6 && e.multi:
		return leafNode(&host6Leaf{r.tags, dirDst, multicast6})
	}
	return unknown()
}

func (r *reader) id(e idExpr) *node {
	q := e.qual
	switch {
	case q.addr == addrGateway || q.addr == addrProtoChain:
		return unknown()
	case q.addr == addrPort || q.addr == addrPortRange:
		return r.ports(e)
	case q.addr == addrProto:
		return r.protocol(e)
	case e.id.kind == tokMAC && q.proto == protoLink && q.addr <= addrHost:
		return leafNode(&macLeaf{addr: parseMAC(e.id.text), dir: q.dir})
	case e.id.kind == tokIPv6:
		if p, ok := r.g.net6(e); ok {
			return leafNode(&host6Leaf{r.tags, q.dir, p})
		}
		return unknown()
	}
	addr, mask := e.id.num, uint32(math.MaxUint32)
	switch {
	case e.id.kind == tokIPv4:
		addr, mask = r.g.net4(e)
	case e.id.kind != tokNumber:
		return unknown()
	case q.addr == addrNet:
		addr, mask = shortNet(addr)
	}
	switch q.proto {
	case protoAny, protoIP, protoARP, protoRARP:
		return leafNode(&host4Leaf{r.tags, q.proto, q.dir, addr, mask})
	}
	return unknown()
}

func (r *reader) ports(e idExpr) *node {
	q, p, ok := e.qual, portRange{e.id.num, e.id.num}, e.id.kind == tokNumber
	if e.id.kind == tokName {
		p, ok = r.g.portNames(e.id.text, &q)
	}
	p.lo, p.hi = min(p.lo, p.hi), max(p.lo, p.hi)
	switch q.proto {
	case protoAny, protoTCP, protoUDP, protoSCTP:
		if ok && p.hi <= math.MaxUint16 {
			return leafNode(&portLeaf{r.tags, q.proto, q.dir, p})
		}
	}
	return unknown()
}

func (r *reader) protocol(e idExpr) *node {
	in, n, ok := e.qual.proto, e.id.num, e.id.kind == tokNumber
	if e.id.kind == tokName {
		n, ok = r.g.protocol(e.id.text, in)
	}
	switch {
	case !ok:
	case in == protoLink:
		return r.link(n, "")
	case in == protoAny || in == protoIP || in == protoIPv6:
		return leafNode(&protoLeaf{tags: r.tags, in: in, n: n})
	case in == protoISO || in == protoISIS:
		return joined(true, r.link(sapISO, in.String()), unknown())
	}
	return unknown()
}
