package extract

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"capd/flow"
	"capd/internal/index"
	"capd/pcap"
)

// Flows choose packets that belong to any of them, or carry one in a tunnel.
type Flows []Flow

// A Flow is one that a question names: by its Community ID, or by its ends.
type Flow struct {
	written string

	id        string // Community ID; with ends, of a message of ICMP between them
	ends      [2]end
	proto     *uint8 // of IP; nil: any
	fragments bool   // later fragments belong to it too
}

// An end is an address, with a port or all.
type end struct {
	addr netip.Addr
	port *uint16
}

// ParseCommunityID reads a Community ID of version 1.
func ParseCommunityID(s string) (Flow, error) {
	if len(s) != len("1:")+28 || !strings.HasPrefix(s, "1:") { // base64 of a SHA-1
		return Flow{}, fmt.Errorf("%q is no Community ID of version 1, as 1:LQU9qZlK+B5F3KDmev6m5PMibrg=", s)
	}
	return Flow{written: s, id: s}, nil
}

// protocols are the names of protocols that flows are known by.
var protocols = map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmp6": 58, "dccp": 33, "gre": 47, "esp": 50}

// ParseFlow reads two ends, and perhaps a protocol, as "10.1.2.3:40000 [2001:db8::1]:443 tcp". An end without a port has any.
func ParseFlow(s string) (f Flow, err error) {
	words := strings.Fields(s)
	f.written = strings.Join(words, " ")
	if len(words) < 2 || len(words) > 3 {
		return f, errors.New("write two ends and perhaps a protocol, as '10.1.2.3:40000 10.9.8.7:443 tcp'")
	}
	for i := range f.ends {
		if f.ends[i], err = parseEnd(words[i]); err != nil {
			return f, err
		}
	}
	if f.ends[0].addr.Is4() != f.ends[1].addr.Is4() {
		return f, errors.New("one end is of IPv4 and the other of IPv6")
	}
	if len(words) < 3 {
		return f, nil
	}
	n, known := protocols[strings.ToLower(words[2])]
	if !known {
		v, err := strconv.ParseUint(words[2], 10, 8)
		if err != nil {
			return f, fmt.Errorf("%q is no protocol: write tcp, udp, sctp, icmp, icmp6, dccp, gre, esp or a number", words[2])
		}
		n = uint8(v)
	}
	f.proto = &n
	return f, nil
}

func parseEnd(s string) (e end, err error) {
	if at, err := netip.ParseAddrPort(s); err == nil {
		port := at.Port()
		return end{at.Addr(), &port}, nil
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil || addr.Zone() != "" {
		return e, fmt.Errorf("%q is no end of a flow: write 10.1.2.3, 10.1.2.3:443, 2001:db8::1 or [2001:db8::1]:443", s)
	}
	return end{addr: addr}, nil
}

// Whole returns the flow with later fragments between its addresses, which have no ports, and so may be of another one.
func (f Flow) Whole() Flow {
	f.fragments = true
	return f
}

// Message returns those packets of a flow from its first address to its second that are a message of ICMP, or of ICMPv6, and its
// answers.
func (f Flow) Message(icmpType, code uint8) Flow {
	k := flow.Key{Has: flow.HasProto | flow.HasICMP, Proto: *f.proto, Src: f.ends[0].addr, Dst: f.ends[1].addr, ICMPType: icmpType, ICMPCode: code}
	f.id = flow.CommunityID(&k, 0)
	return f
}

// takes reports whether packets with the key are of the flow.
func (f *Flow) takes(k *flow.Key) bool {
	switch {
	case f.IsID():
		return flow.CommunityID(k, 0) == f.id
	case f.proto != nil && (k.Has&flow.HasProto == 0 || k.Proto != *f.proto):
		return false
	case f.fragments && k.Has&(flow.HasPorts|flow.HasICMP) == 0:
		a, b := f.ends[0].addr, f.ends[1].addr
		return a == k.Src && b == k.Dst || a == k.Dst && b == k.Src
	case f.id != "" && flow.CommunityID(k, 0) != f.id:
		return false
	}
	src, dst := end{k.Src, nil}, end{k.Dst, nil}
	if k.Has&flow.HasPorts != 0 {
		src.port, dst.port = &k.SrcPort, &k.DstPort
	}
	a, b := &f.ends[0], &f.ends[1]
	return a.is(&src) && b.is(&dst) || a.is(&dst) && b.is(&src)
}

func (e *end) is(of *end) bool {
	return e.addr == of.addr && (e.port == nil || of.port != nil && *e.port == *of.port)
}

// A FlowSet finds the flows that packets belong to, however many flows there are.
type FlowSet struct {
	ends map[[2]netip.Addr][]int // flows by their addresses, of which the lower one is the first
	ids  map[string][]int        // flows by their Community ID alone
	all  Flows
}

// Set returns the set of the flows.
func (fs Flows) Set() *FlowSet {
	s := &FlowSet{ends: make(map[[2]netip.Addr][]int), ids: make(map[string][]int), all: fs}
	for i := range fs {
		if f := &fs[i]; f.IsID() {
			s.ids[f.id] = append(s.ids[f.id], i)
		} else {
			a := addresses(f.ends[0].addr, f.ends[1].addr)
			s.ends[a] = append(s.ends[a], i)
		}
	}
	return s
}

func addresses(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// Of appends the numbers of the flows that packets with the key belong to.
func (s *FlowSet) Of(to []int, k *flow.Key) []int {
	if !k.Src.IsValid() {
		return to
	}
	for _, i := range s.ends[addresses(k.Src, k.Dst)] {
		if s.all[i].takes(k) {
			to = append(to, i)
		}
	}
	if len(s.ids) > 0 {
		to = append(to, s.ids[flow.CommunityID(k, 0)]...)
	}
	return to
}

// has reports whether packets with the key belong to one of the flows.
func (s *FlowSet) has(k *flow.Key) bool {
	var room [4]int
	return len(s.Of(room[:0], k)) > 0
}

// take reports whether a frame, which is parsed, is of one of the flows, and if not, whether more bytes of it might tell.
func (s *FlowSet) take(frame *flow.Frame) (is, cut bool) {
	for i := range frame.N {
		l := &frame.Layers[i]
		if s.has(&l.Key) {
			return true, false
		}
		cut = cut || lacks(&l.Key, l.Marks)
	}
	return false, cut
}

// lacks reports whether frames with the key and marks may end before what flows are told apart by.
func lacks(k *flow.Key, m flow.Marks) bool {
	return m&flow.Short != 0 && k.Has&(flow.HasPorts|flow.HasICMP) == 0
}

// mayTake reports whether packets of a row may be of one of the flows, or may not tell because they are cut.
func (s *FlowSet) mayTake(r *flow.Row) bool {
	if r.Cut > 0 && lacks(&r.Key, r.Marks) {
		return true
	}
	if !r.Unlisted {
		return s.has(&r.Key)
	}
	if len(s.ids) > 0 || !r.Dst.IsValid() {
		return true
	}
	return slices.ContainsFunc(s.all, func(f Flow) bool { return r.Dst == f.ends[0].addr || r.Dst == f.ends[1].addr })
}

// keys returns what a table has that has one of the flows.
func (fs Flows) keys() (all []index.FlowKey) {
	for i := range fs {
		key := index.FlowKey{A: fs[i].ends[0].addr, B: fs[i].ends[1].addr}
		if fs[i].IsID() {
			key.CommunityID = fs[i].id
		}
		all = append(all, key)
	}
	return all
}

// A chooser asks packets for their flows.
type chooser struct {
	flows *FlowSet // nil: any
	frame flow.Frame
}

// take reports whether the question asks for the flows of a packet, and if not, whether that can't be said because it is cut.
func (c *chooser) take(link pcap.LinkType, p *pcap.Packet) (is, undecided bool) {
	if c.flows == nil {
		return true, false
	}
	c.frame.Parse(link, p.Data)
	is, cut := c.flows.take(&c.frame)
	return is, cut && int(p.Length) > len(p.Data)
}

// String returns what was written.
func (f *Flow) String() string { return f.written }

// IsID reports whether the flow is named by a Community ID.
func (f *Flow) IsID() bool { return f.id != "" && !f.ends[0].addr.IsValid() }
