// Package filter compiles expressions in the language of pcap-filter(7) to
// programs for the classic BSD Packet Filter (BPF), as the kernel runs them on
// a socket or a BPF device, and as [Program.Match] runs them on packets in a
// file.
//
//	prog, err := filter.Compile("not port 9102 and (vlan or ip)", filter.Target{
//		LinkType: filter.LinkEthernet,
//		Live:     true, // for a Linux packet socket
//	})
//
// An expression that can't be compiled exactly is an error; nothing is ever
// guessed. The error is a *[SyntaxError], which says where and why, and often
// what to write instead. Host and network names are errors too: a filter must
// not depend on a name server. Names of ports and protocols come from a
// built-in table.
//
// Compile looks at nothing but its arguments, and is safe for concurrent use.
package filter

import (
	"fmt"
	"math"

	"golang.org/x/net/bpf"
)

// A LinkType is the format of the packets, which begin with the link layer's header: one of the
// LINKTYPE_ values of https://www.tcpdump.org/linktypes.html.
type LinkType uint16

// Link types that Compile supports. For others it compiles only what tests no byte of the packet, such as the empty
// expression or "len >= 100".
const (
	LinkNull     LinkType = 0   // BSD loopback: 4-byte protocol family in host byte order
	LinkEthernet LinkType = 1   // Ethernet
	LinkPPP      LinkType = 9   // PPP with a 4-byte header, as in HDLC
	LinkRaw      LinkType = 101 // raw IPv4 or IPv6
	LinkLoop     LinkType = 108 // OpenBSD loopback: protocol family in network byte order
	LinkSLL      LinkType = 113 // Linux "cooked" v1
	LinkIPv4     LinkType = 228 // raw IPv4
	LinkIPv6     LinkType = 229 // raw IPv6
	LinkSLL2     LinkType = 276 // Linux "cooked" v2
)

func (l LinkType) String() string {
	switch l {
	case LinkNull:
		return "BSD loopback"
	case LinkEthernet:
		return "Ethernet"
	case LinkPPP:
		return "PPP"
	case LinkRaw:
		return "raw IP"
	case LinkLoop:
		return "OpenBSD loopback"
	case LinkSLL:
		return "Linux cooked v1"
	case LinkIPv4:
		return "raw IPv4"
	case LinkIPv6:
		return "raw IPv6"
	case LinkSLL2:
		return "Linux cooked v2"
	}
	return fmt.Sprintf("link type %d", uint16(l))
}

// A Target is what a program will run on. The zero value is a capture file, or a BPF device, with
// BSD loopback packets.
type Target struct {
	LinkType LinkType

	// Live selects a Linux packet socket. There, the outermost VLAN tag, the direction and the
	// interface are not in the packet's bytes but in its metadata. With LinkSLL and LinkSLL2, and
	// only with them, the socket has the type SOCK_DGRAM: the program sees the packet from its
	// network header on, although the expression's offsets and lengths include the cooked header,
	// of 16 or 20 bytes, that precedes it in a file.
	Live bool

	// Snaplen is what the program returns for a packet that it accepts: the number of bytes to
	// keep, at most. 0 means DefaultSnaplen.
	Snaplen uint32

	// Netmask is the IPv4 subnet mask of the interface, for "ip broadcast". 0 means unknown, and
	// makes that expression an error.
	Netmask uint32

	// Swapped means that the protocol family of LinkNull has the opposite of this machine's byte
	// order.
	Swapped bool

	// Machine is the BPF that the program will run on: see MachineOf.
	Machine Machine

	// Unoptimized leaves out the optimizer: the program is longer and easier to compare with the
	// expression, and has the same result for every packet.
	Unoptimized bool

	mixed bool // see CompileMixed
}

// DefaultSnaplen is the snap length in bytes that a zero Target.Snaplen stands for. It is the
// largest that libpcap uses (MAXIMUM_SNAPLEN).
const DefaultSnaplen = 262144

// Limits of what Compile accepts. A larger expression results in an error, never in a panic, and in
// bounded time.
const (
	MaxInstructions = 4096    // instructions of a program (BPF_MAXINSNS of Linux); see Machine
	MaxText         = 1 << 20 // bytes of an expression
	MaxDepth        = 10000   // nested parentheses and negations
)

// A SyntaxError describes what is wrong with an expression.
type SyntaxError struct {
	Offset int    // of the mistake, in bytes from the start of the expression
	Msg    string // what is wrong there
	Hint   string // what to write instead, or ""
}

func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("offset %d: %s", e.Offset, e.Msg)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Hints says where the language is described.
func (e *SyntaxError) Hints() []string {
	return []string{"docs/filters.md and pcap-filter(7) have the language; quote what the shell would take"}
}

// A Program is a compiled filter.
type Program struct {
	// Instructions can be given to a kernel that has the Target's Machine.
	Instructions []bpf.RawInstruction

	first         *step // of the program; nil if Compile did not make it
	never, always bool
}

// NeverMatches reports whether the compiler could prove that the program accepts no packet, as for
// "ip and arp".
func (p *Program) NeverMatches() bool { return p.never }

// AlwaysMatches reports whether the compiler could prove that the program accepts every packet that
// is long enough for its tests, as for "ip or not ip".
func (p *Program) AlwaysMatches() bool { return p.always }

// Compile compiles the expression for the target. The empty expression accepts
// every packet. The error is a *[SyntaxError], perhaps wrapped.
func Compile(expr string, t Target) (*Program, error) {
	p, err := compile(expr, t, false)
	if err != nil {
		return nil, fmt.Errorf("compile filter: %w", err)
	}
	return p, nil
}

// compile is Compile, with unwrapped errors. With quirks it omits the tests that libpcap 1.10 omits
// by mistake, so that its programs can be compared with libpcap's.
func compile(expr string, t Target, quirks bool) (*Program, error) {
	if t.Snaplen == 0 {
		t.Snaplen = DefaultSnaplen
	}
	if t.Snaplen > math.MaxInt32 {
		return nil, &SyntaxError{Msg: fmt.Sprintf("snap length %d is too large", t.Snaplen)}
	}
	if len(expr) > MaxText {
		return nil, &SyntaxError{MaxText, fmt.Sprintf("the expression is longer than %d bytes", MaxText), ""}
	}
	tree, err := parse(expr)
	if err != nil {
		return nil, err
	}
	g := graph{}
	root := g.accept()
	first := root
	if tree != nil {
		gen := newGenerator(t, quirks)
		if first, err = gen.graph(&g, tree); err != nil {
			return nil, err
		}
		root = g.optimize(first)
		if err := gen.checkTunnels(&g, root); err != nil {
			return nil, err
		}
	}
	p := &Program{}
	p.never, p.always = g.verdicts(root)
	if t.Unoptimized {
		root = first
	}
	p.Instructions, err = g.assemble(root, t)
	if err != nil {
		return nil, err
	}
	p.first = decode(p.Instructions)
	return p, nil
}
