package flow

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"capd/pcap"
)

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func u16(n ...uint16) (b []byte) {
	for _, n := range n {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

func zeros(n int) []byte { return make([]byte, n) }

var (
	macA = []byte{2, 0, 0, 0, 0, 0xa}
	macB = []byte{2, 0, 0, 0, 0, 0xb}
)

func ether(t uint16, rest ...[]byte) []byte { return cat(macB, macA, u16(t), cat(rest...)) }

// ip4 is a packet from 10.0.0.1 to 10.0.0.2; fragment is the field of flags and offset.
func ip4(proto uint8, fragment uint16, rest ...[]byte) []byte {
	b := cat(rest...)
	head := cat([]byte{0x45, 0}, u16(uint16(20+len(b)), 1, fragment), []byte{64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	return append(head, b...)
}

func ip6(next uint8, rest ...[]byte) []byte {
	b := cat(rest...)
	src, dst := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8::2").As16()
	return cat([]byte{0x60, 0, 0, 0}, u16(uint16(len(b))), []byte{next, 64}, src[:], dst[:], b)
}

func tcp(src, dst uint16, flags byte) []byte {
	return cat(u16(src, dst), zeros(8), []byte{0x50, flags}, zeros(6))
}

func udp(src, dst uint16, rest ...[]byte) []byte {
	b := cat(rest...)
	return cat(u16(src, dst, uint16(8+len(b)), 0), b)
}

// text spells a frame's flows.
func (f *Frame) text() string {
	var all []string
	for i := range f.N {
		l := &f.Layers[i]
		s := fmt.Sprintf("%04x", l.EtherType)
		if l.Inner() {
			s = l.Tunnel.String() + " " + s
		}
		for _, id := range l.IDs() {
			s += fmt.Sprintf(" vlan %d", id)
		}
		if l.has(HasSrcMAC) && l.SrcMAC == MAC(macA) {
			s += " A"
		}
		if l.has(HasDstMAC) && l.DstMAC == MAC(macB) {
			s += ">B"
		}
		if l.Src.IsValid() {
			s += fmt.Sprintf(" %v>%v", l.Src, l.Dst)
		}
		if l.has(HasProto) {
			s += fmt.Sprintf(" proto %d", l.Proto)
		}
		if l.has(HasPorts) {
			s += fmt.Sprintf(" %d>%d", l.SrcPort, l.DstPort)
		}
		if l.has(HasICMP) {
			s += fmt.Sprintf(" icmp %d/%d", l.ICMPType, l.ICMPCode)
		}
		if l.Flags != 0 {
			s += fmt.Sprintf(" flags %02x", l.Flags)
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

var frames = []struct {
	name string
	link pcap.LinkType
	b    []byte
	want string
}{
	{"tcp", 1, ether(0x800, ip4(6, 0, tcp(1000, 80, 2))), "0800 A>B 10.0.0.1>10.0.0.2 proto 6 1000>80 flags 02"},
	{"udp6", 1, ether(0x86dd, ip6(17, udp(1, 2))), "86dd A>B 2001:db8::1>2001:db8::2 proto 17 1>2"},
	{"vlan", 1, ether(0x8100, u16(0x6005, 0x800), ip4(17, 0, udp(0, 2))), "0800 vlan 5 A>B 10.0.0.1>10.0.0.2 proto 17 0>2"},
	{"qinq", 1, ether(0x88a8, u16(5, 0x8100, 6, 0x800), ip4(1, 0, []byte{8, 0})), "0800 vlan 5 vlan 6 A>B 10.0.0.1>10.0.0.2 proto 1 icmp 8/0"},
	{"five tags", 1, ether(0x8100, u16(1, 0x8100, 2, 0x8100, 3, 0x8100, 4, 0x8100, 5, 0x800)), "8100 vlan 1 vlan 2 vlan 3 vlan 4 A>B"},
	{"arp", 1, ether(0x806, u16(1, 0x800, 0x604, 1), macA, []byte{10, 0, 0, 1}, zeros(6), []byte{10, 0, 0, 2}), "0806 A>B 10.0.0.1>10.0.0.2"},
	{"lldp", 1, ether(0x88cc, zeros(40)), "88cc A>B"},
	{"802.2", 1, ether(38, zeros(38)), "0004 A>B"},
	{"802.2 behind a tag", 1, ether(0x8100, u16(5, 38), zeros(38)), "0004 vlan 5 A>B"},
	{"cut behind a tag", 1, ether(0x8100, u16(5)), "0000 vlan 5 A>B"},
	{"first fragment", 1, ether(0x800, ip4(17, 0x2000, udp(1, 2))), "0800 A>B 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"later fragment", 1, ether(0x800, ip4(17, 100, udp(1, 2))), "0800 A>B 10.0.0.1>10.0.0.2 proto 17"},
	{"extensions", 1, ether(0x86dd, ip6(0, []byte{60, 0}, zeros(6), []byte{44, 0}, zeros(6), []byte{6, 0, 0, 1, 0, 0, 0, 0}, tcp(1, 2, 0x10))),
		"86dd A>B 2001:db8::1>2001:db8::2 proto 6 1>2 flags 10"},
	{"later fragment of IPv6", 1, ether(0x86dd, ip6(44, []byte{17, 0, 1, 0, 0, 0, 0, 1}, udp(1, 2))), "86dd A>B 2001:db8::1>2001:db8::2 proto 17"},
	{"cut extension", 1, ether(0x86dd, ip6(0, []byte{60})), "86dd A>B 2001:db8::1>2001:db8::2 proto 0"},
	{"cut header", 1, ether(0x800, ip4(6, 0)[:19]), "0800 A>B"},
	{"esp", 1, ether(0x800, ip4(50, 0, zeros(40))), "0800 A>B 10.0.0.1>10.0.0.2 proto 50"},
	{"sctp", 1, ether(0x800, ip4(132, 0, u16(7, 8))), "0800 A>B 10.0.0.1>10.0.0.2 proto 132 7>8"},
	{"raw", 101, ip6(58, []byte{128, 0}), "86dd 2001:db8::1>2001:db8::2 proto 58 icmp 128/0"},
	{"null", 0, cat([]byte{2, 0, 0, 0}, ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"loop", 108, cat([]byte{0, 0, 0, 24}, ip6(17, udp(1, 2))), "86dd 2001:db8::1>2001:db8::2 proto 17 1>2"},
	{"enc", 109, cat([]byte{2, 0, 0, 0}, zeros(8), ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"pflog", 117, cat([]byte{61, 2}, zeros(62), ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"sll", 113, cat(u16(0, 1, 6), macA, zeros(2), u16(0x800), ip4(17, 0, udp(1, 2))), "0800 A 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"sll2", 276, cat(u16(0x8100, 0, 0, 1, 1), []byte{0, 6}, macA, zeros(2), u16(5, 0x800), ip4(17, 0, udp(1, 2))), "0800 vlan 5 A 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"sll of gre", 113, cat(u16(0, 778, 0), zeros(8), u16(0x800), ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"sll of 802.2", 113, cat(u16(0, 1, 0), zeros(8), u16(4), zeros(30)), "0004"},
	{"nflog", 239, cat([]byte{2, 0, 0, 1, 8, 0, 1, 0, 8, 0, 0, 0, 32, 0, 9, 0}, ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"nflog of a bridge", 239, cat([]byte{7, 0, 0, 1, 8, 0, 1, 0, 8, 6, 0, 0, 4, 0, 9, 0}), "0806"},
	{"ppp", 9, cat([]byte{0xff, 3, 0, 0x21}, ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"pktap", 258, cat([]byte{12, 0, 0, 0, 1, 0, 0, 0, 101, 0, 0, 0}, ip4(17, 0, udp(1, 2))), "0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"pktap in pktap", 258, cat([]byte{12, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0}, []byte{12, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0}), "0000"},
	{"802.11", 105, cat([]byte{8, 1, 0, 0}, zeros(6), macA, macB, zeros(2), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ip4(17, 0, udp(1, 2))),
		"0800 A>B 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"radiotap", 127, cat([]byte{0, 0, 8, 0, 0, 0, 0, 0, 8, 0x41, 0, 0}, zeros(6), macA, macB, zeros(12)), "0000 A>B"},
	{"unknown link", 6000, zeros(60), "0000"},
	{"nothing", 1, nil, "0000"},
	{"mpls", 1, ether(0x8847, []byte{0, 0, 0, 64, 0, 0, 1, 64}, ip4(17, 0, udp(1, 2))), "8847 A>B 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"pppoe", 1, ether(0x8864, u16(0x1100, 1, 30, 0x21), ip4(17, 0, udp(1, 2))), "8864 A>B 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"ipip", 1, ether(0x800, ip4(4, 0, ip4(17, 0, udp(1, 2)))), "0800 A>B 10.0.0.1>10.0.0.2 proto 4; ipip 0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"6in4", 1, ether(0x800, ip4(41, 0, ip6(17, udp(1, 2)))), "0800 A>B 10.0.0.1>10.0.0.2 proto 41; ipip 86dd 2001:db8::1>2001:db8::2 proto 17 1>2"},
	{"gre", 1, ether(0x800, ip4(47, 0, u16(0x2000, 0x800, 0, 7), ip4(17, 0, udp(1, 2)))), "0800 A>B 10.0.0.1>10.0.0.2 proto 47; gre 0800 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"nvgre", 1, ether(0x800, ip4(47, 0, u16(0x2000, 0x6558, 0, 7), ether(0x88cc))), "0800 A>B 10.0.0.1>10.0.0.2 proto 47; gre 88cc A>B"},
	{"erspan", 1, ether(0x800, ip4(47, 0, u16(0x1000, 0x88be, 0, 7, 0x1000, 0, 0, 0), ether(0x88cc))), "0800 A>B 10.0.0.1>10.0.0.2 proto 47; erspan 88cc A>B"},
	{"vxlan", 1, ether(0x800, ip4(17, 0, udp(5, 4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}, ether(0x800, ip4(17, 0, udp(1, 2)))))),
		"0800 A>B 10.0.0.1>10.0.0.2 proto 17 5>4789; vxlan 0800 A>B 10.0.0.1>10.0.0.2 proto 17 1>2"},
	{"geneve", 1, ether(0x800, ip4(17, 0, udp(5, 6081, []byte{1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0}, ether(0x88cc)))),
		"0800 A>B 10.0.0.1>10.0.0.2 proto 17 5>6081; geneve 88cc A>B"},
	{"gtp", 1, ether(0x800, ip4(17, 0, udp(5, 2152, []byte{0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0}, ip4(1, 0, []byte{0, 0})))),
		"0800 A>B 10.0.0.1>10.0.0.2 proto 17 5>2152; gtp 0800 10.0.0.1>10.0.0.2 proto 1 icmp 0/0"},
	{"too deep", 101, ip4(4, 0, ip4(4, 0, ip4(4, 0, ip4(4, 0, ip4(17, 0, udp(1, 2)))))),
		"0800 10.0.0.1>10.0.0.2 proto 4; ipip 0800 10.0.0.1>10.0.0.2 proto 4; ipip 0800 10.0.0.1>10.0.0.2 proto 4; ipip 0800 10.0.0.1>10.0.0.2 proto 4"},
}

func TestParse(t *testing.T) {
	for _, test := range frames {
		var f Frame
		f.Parse(test.link, test.b)
		if got := f.text(); got != test.want {
			t.Errorf("%s:\n%s, want\n%s", test.name, got, test.want)
		}
	}
}

// TestMarks: a frame is marked for what a row can't tell from its other columns.
func TestMarks(t *testing.T) {
	ext := ip6(60, []byte{6, 0}, zeros(6), tcp(1, 2, 0x10))
	later6 := ip6(44, []byte{17, 0, 1, 0, 0, 0, 0, 1}, udp(1, 2))
	for _, test := range []struct {
		name string
		b    []byte
		want Marks
	}{
		{"whole", ether(0x800, ip4(6, 0, tcp(1, 2, 2))), 0},
		{"first fragment", ether(0x800, ip4(6, 0x2000, tcp(1, 2, 2))), 0},
		{"later fragment", ether(0x800, ip4(6, 1, tcp(1, 2, 2))), LaterFragment},
		{"later fragment of IPv6", ether(0x86dd, later6), LaterFragment | Extensions},
		{"extensions", ether(0x86dd, ext), Extensions},
		{"cut extension", ether(0x86dd, ext[:45]), Extensions | Short},
		{"cut header of IPv6", ether(0x86dd, ext[:39]), Short},
		{"cut header", ether(0x800, ip4(6, 0)[:19]), Short},
		{"no ports", ether(0x800, ip4(17, 0, udp(1, 2)[:3])), Short},
		{"no flags", ether(0x800, ip4(6, 0, tcp(1, 2, 2)[:13])), Short},
		{"no code", ether(0x800, ip4(1, 0, []byte{8})), Short},
		{"other protocol", ether(0x800, ip4(50, 0)), 0},
		{"arp", ether(0x806, zeros(28)), 0},
		{"cut arp", ether(0x806, zeros(27)), Short},
		{"no type", ether(0x800)[:13], Short},
		{"no type behind a tag", ether(0x8100, u16(5), zeros(1)), Short},
		{"802.2", ether(38), 0},
	} {
		var f Frame
		f.Parse(pcap.LinkTypeEthernet, test.b)
		if got := f.Layers[0].Marks; got != test.want {
			t.Errorf("%s: %04b, want %04b", test.name, got, test.want)
		}
	}
}

// TestParseCut: a frame that is cut has a flow, and what is known of it is what the whole frame has.
func TestParseCut(t *testing.T) {
	for _, test := range frames {
		var whole, f Frame
		whole.Parse(test.link, test.b)
		for n := range test.b {
			f.Parse(test.link, test.b[:n])
			if f.N < 1 || f.N > whole.N {
				t.Fatalf("%s: %d bytes: %d flows", test.name, n, f.N)
			}
			if l, w := &f.Layers[0], &whole.Layers[0]; l.Src.IsValid() && (l.Src != w.Src || l.Dst != w.Dst) || l.has(HasPorts) && l.SrcPort != w.SrcPort {
				t.Fatalf("%s: %d bytes: %s", test.name, n, f.text())
			}
		}
	}
}

func TestParseAllocates(t *testing.T) {
	var f Frame
	n := testing.AllocsPerRun(100, func() {
		for i := range frames {
			f.Parse(frames[i].link, frames[i].b)
			for k := range f.N {
				f.Layers[k].identify()
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range frames {
		f.Add(uint16(test.link), test.b)
	}
	f.Fuzz(func(t *testing.T, link uint16, b []byte) {
		var f, back Frame
		f.Parse(pcap.LinkType(link), b)
		if f.N < 1 || f.Layers[0].Inner() {
			t.Fatalf("%d flows: %s", f.N, f.text())
		}
		for i := range f.N {
			l := &f.Layers[i]
			if i > 0 && !l.Inner() {
				t.Fatalf("flow %d is outer: %s", i, f.text())
			}
			CommunityID(&l.Key, 0)
			there, _ := l.identify()
			turned := l.Key
			turned.Src, turned.Dst, turned.SrcPort, turned.DstPort, turned.SrcMAC, turned.DstMAC = l.Dst, l.Src, l.DstPort, l.SrcPort, l.DstMAC, l.SrcMAC
			if other, ok := Counterpart(l.Proto, l.ICMPType); l.has(HasICMP) && ok {
				turned.ICMPType = other
			}
			checkKey(t, &l.Key)
			if again, _ := turned.identify(); again != there && !there.oneWay() {
				t.Fatalf("both directions differ: %+v, %+v", there, again)
			}
		}
		back.Parse(pcap.LinkType(link), b)
		if back != f {
			t.Fatal("two answers")
		}
		checkPlain(t, b)
	})
}

// checkKey: a key comes back from its identity, but for its MAC addresses where there are others.
func checkKey(t *testing.T, k *Key) {
	t.Helper()
	id, reverse := k.identify()
	got, want := id.key(reverse), *k
	got.SrcMAC, got.DstMAC, got.Has = want.SrcMAC, want.DstMAC, got.Has|want.Has&(HasSrcMAC|HasDstMAC)
	if got != want {
		t.Fatalf("%+v comes back as %+v", want, got)
	}
}

// checkPlain: what plain takes, Parse finds too.
func checkPlain(t *testing.T, b []byte) (ok bool) {
	t.Helper()
	var id identity
	way, flags, ok := id.plain(7, b)
	if !ok {
		return false
	}
	var f Frame
	f.Parse(pcap.LinkTypeEthernet, b)
	l := &f.Layers[0]
	l.Interface, l.Has = 7, l.Has|HasInterface
	want, reverse := l.identify()
	if f.N != 1 || id != want || (way == 1) != reverse || flags != l.Flags || l.Marks != 0 || !l.has(HasSrcMAC|HasDstMAC) {
		t.Fatalf("%x: %+v, %d, %02x, but %s", b, id, way, flags, f.text())
	}
	return true
}

// TestPlain: frames that differ from plain ones in a few bytes, or are cut.
func TestPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := [][]byte{
		ether(0x800, ip4(6, 0, tcp(1000, 80, 2))), ether(0x800, ip4(17, 0, udp(1000, 53, zeros(9)))),
		ether(0x8100, u16(5, 0x800), ip4(6, 0, tcp(1000, 80, 2))), ether(0x88a8, u16(5, 0x8100, 6, 0x86dd), ip6(6, tcp(1000, 80, 2))),
		ether(0x86dd, ip6(6, tcp(1000, 80, 2))), ether(0x86dd, ip6(17, udp(1000, 53))),
	}
	taken := 0
	for i := range 60000 {
		b := slices.Clone(kinds[i%len(kinds)])
		for range r.IntN(4) {
			n := r.IntN(len(b))
			if r.IntN(2) == 0 {
				n = r.IntN(24)
			}
			b[n] = []byte{0, byte(r.Uint32()), 6, 17, 0x45, 0x81, 8}[r.IntN(7)]
		}
		if r.IntN(3) == 0 {
			b = b[:r.IntN(len(b)+1)]
		}
		if checkPlain(t, b) {
			taken++
		}
		for _, kind := range frames {
			if i < 10 {
				checkPlain(t, kind.b)
			}
		}
	}
	if taken < 20000 {
		t.Errorf("%d frames are plain", taken)
	}
}
