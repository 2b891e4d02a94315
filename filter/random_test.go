package filter

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var (
	randomCount = flag.Int("random", 10000, "number of random expressions to compare with libpcap")
	randomSeed  = flag.Uint64("seed", 1, "seed of the random expressions")
)

// A writer generates random expressions.
type writer struct {
	maker
	link LinkType
}

func (w writer) of(words ...string) string { return pick(w.maker, words) }

func (w writer) ipv4() string {
	b := pick(w.maker, ip4Pool)
	return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
}

func (w writer) ipv6() string { return w.of("2001:db8::1", "2001:db8::2", "fe80::1", "ff02::1", "::1") }

func (w writer) mac() string {
	return w.of("00:1b:44:11:3a:b7", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "01-00-5e-00-00-01")
}

func (w writer) port() string {
	if w.IntN(6) == 0 {
		return w.of("http", "domain", "ssh", "ntp")
	}
	return fmt.Sprint(pick(w.maker, portPool))
}

func (w writer) net() string {
	return w.of("10", "10.1", "192.168", "10.0.0.0/8", "10.0.0.0/24", "192.168.0.0/16", "0.0.0.0/0", "10.0.0.0 mask 255.0.0.0",
		"2001:db8::/32", "2001:db8::/33", "fe80::/10", "2001:db8::/64", "::/0", "10.1.2.3/32", "224.0.0.0/4")
}

func (w writer) direction() string {
	return w.of("", "", "", "src ", "dst ", "src or dst ", "src and dst ", "dst or src ")
}

// expr generates a condition.
func (w writer) expr(depth int) string {
	if depth == 0 || w.IntN(4) == 0 {
		return w.primitive()
	}
	switch w.IntN(9) {
	case 0:
		return w.of("not ", "! ", "!") + w.expr(depth-1)
	case 1:
		return "not (" + w.expr(depth-1) + ")"
	case 2:
		return "(" + w.expr(depth-1) + ")"
	case 3, 4:
		return w.expr(depth-1) + w.of(" or ", " || ") + w.expr(depth-1)
	case 5:
		return "(" + w.expr(depth-1) + ") " + w.of("and", "or") + " (" + w.expr(depth-1) + ")"
	}
	return w.expr(depth-1) + w.of(" and ", " && ") + w.expr(depth-1)
}

func (w writer) primitive() string {
	switch w.IntN(22) {
	case 0, 1, 2:
		return w.of("ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "rarp", "ah", "esp", "pim", "vrrp", "stp", "ipx", "iso", "atalk", "isis", "l1", "snp", "llc", "llc u", "pppoed")
	case 3, 4:
		return w.of("", "", "ip ", "arp ", "rarp ") + w.direction() + w.hosts()
	case 5:
		return w.of("", "ip6 ") + w.direction() + "host " + w.ipv6()
	case 6:
		return w.direction() + "net " + w.net()
	case 7, 8, 9:
		return w.of("", "", "tcp ", "udp ", "sctp ") + w.direction() + w.ports()
	case 10:
		return w.of("", "tcp ", "udp ") + w.direction() + fmt.Sprintf("portrange %d-%d", pick(w.maker, portPool), pick(w.maker, portPool))
	case 11:
		return "ether " + w.direction() + "host " + w.mac()
	case 12:
		return w.of("ip proto ", "ip6 proto ", "proto ") + w.of(`\tcp`, `\udp`, "6", "17", "44", "58", "ospf", "0", `\icmp`)
	case 13:
		return "ether proto " + w.of(`\ip`, `\arp`, "0x86dd", "0x8100", "66", `\iso`, "loopback", "2048")
	case 14:
		return w.of("broadcast", "multicast", "ip multicast", "ip6 multicast", "ether multicast")
	case 15:
		return w.of("less ", "greater ") + fmt.Sprint(w.IntN(150))
	case 16:
		return w.of("vlan", "vlan", "vlan 100", "vlan 5")
	case 17:
		return w.of("mpls", "mpls 1024", "pppoes", "pppoes 0x27", "geneve", "geneve 0xb", "vlan")
	}
	return w.relation()
}

// hosts generates an address, or several that share the first one's qualifiers.
func (w writer) hosts() string {
	s := "host " + w.ipv4()
	for w.IntN(4) == 0 {
		s += w.of(" or ", " and ", " or not ") + w.ipv4()
	}
	return s
}

func (w writer) ports() string {
	if w.IntN(5) == 0 {
		return "port (" + w.port() + " or " + w.port() + ")"
	}
	s := "port " + w.port()
	for w.IntN(4) == 0 {
		s += w.of(" or ", " and ", " and not ") + w.port()
	}
	return s
}

func (w writer) relation() string {
	switch w.IntN(5) {
	case 0:
		return w.of("tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "icmp[icmptype] = icmp-echo", "ip[6:2] & 0x1fff = 0", "icmp6[icmp6type] != icmp6-echo", "ip[12:4] = ip[16:4]", "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420")
	case 1:
		return w.access(1) + w.of(" = ", " != ", " > ", " <= ") + fmt.Sprint(w.IntN(256))
	}
	return w.arith(2) + w.of(" = ", " == ", " != ", " > ", " < ", " >= ", " <= ") + w.arith(2)
}

func (w writer) access(depth int) string {
	index := fmt.Sprint(w.IntN(30))
	if w.IntN(5) == 0 {
		index = w.arith(depth)
	}
	return w.of("ether", "ip", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "arp") + "[" + index + w.of("", "", ":1", ":2", ":4") + "]"
}

func (w writer) arith(depth int) string {
	if depth == 0 || w.IntN(3) == 0 {
		switch w.IntN(6) {
		case 0, 1:
			return fmt.Sprint(pick(w.maker, []int{0, 1, 2, 4, 5, 16, 64, 255, 80, 0x0800, 1 << 16, 1 << 31, 1<<32 - 1}))
		case 2:
			return "len"
		}
		return w.access(depth / 2)
	}
	if w.IntN(12) == 0 {
		return "-" + w.access(0)
	}
	s := w.arith(depth-1) + w.of(" + ", " - ", " * ", " & ", " | ", " << ", " >> ", " / ", "+", " % ", " ^ ") + w.arith(depth-1)
	if w.IntN(2) == 0 {
		return "(" + s + ")"
	}
	return s
}

// TestRandomAgainstTcpdump compares the programs of random expressions with those of tcpdump's
// library.
// For a long run, overnight or before a release:
//
//	go test -run RandomAgainst -random 1000000 -seed $RANDOM -timeout 0
func TestRandomAgainstTcpdump(t *testing.T) {
	newLibpcap(t, "").compareRandom(t, *randomCount, []LinkType{LinkEthernet, LinkEthernet, LinkEthernet, LinkNull, LinkPPP, LinkRaw, LinkLoop, LinkSLL, LinkSLL2})
}

// compareRandom compares n random expressions.
func (r reference) compareRandom(t *testing.T, n int, links []LinkType) {
	if testing.Short() {
		n = min(n, 1000)
	}
	exprs, verdicts := make([]sample, n), make([]verdict, n)
	for i := range exprs {
		m := maker{rand.New(rand.NewPCG(*randomSeed, uint64(i)))}
		l := pick(m, links)
		exprs[i] = sample{l, writer{m, l}.expr(m.IntN(5))}
	}
	inParallel(n, func(i int) { verdicts[i] = r.compare(exprs[i].expr, exprs[i].link) })
	names := map[string]int{}
	both, ours, ref := 0, 0, 0
	for i, v := range verdicts {
		if v.err != nil {
			t.Errorf("%d: %s: %q: %v", i, exprs[i].link, exprs[i].expr, v.err)
		}
		if v.name != "" {
			names[v.name]++
		}
		if v.ours > 0 && v.ref > 0 {
			both, ours, ref = both+1, ours+v.ours, ref+v.ref
		}
	}
	var known strings.Builder
	for _, k := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&known, " %s %d", k, names[k])
	}
	t.Logf("%d expressions, %d compiled by both to %d instructions (tcpdump: %d); known differences:%s", n, both, ours, ref, known.String())
}

// TestRandomOptimizer compares the optimized and unoptimized programs of random expressions, for
// files and live sockets.
func TestRandomOptimizer(t *testing.T) {
	n := *randomCount / 20
	if testing.Short() {
		n = min(n, 400)
	}
	before, after := 0, 0
	for i := range n {
		m := maker{rand.New(rand.NewPCG(*randomSeed+2, uint64(i)))}
		target := Target{LinkType: pick(m, links), Live: m.IntN(2) == 0}
		if m.IntN(2) == 0 {
			target.LinkType = LinkEthernet
		}
		expr := writer{m, target.LinkType}.expr(m.IntN(6))
		p, err := Compile(expr, target)
		if err != nil {
			continue
		}
		unoptimized := target
		unoptimized.Unoptimized = true
		plain, err := Compile(expr, unoptimized)
		if err != nil && strings.Contains(err.Error(), "the kernel takes 4096") {
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		before, after = before+len(plain.Instructions), after+len(p.Instructions)
		for j, f := range corpus(target.LinkType) {
			meta := &Meta{Protocol: uint16(pick(m, []int{0x0800, 0x86dd, 0x0806})), PacketType: uint8(j % 5), Ifindex: uint32(j % 4), VLAN: j%2 == 0, VLANTag: uint16(pick(m, []int{5, 100, 200}))}
			if got, want := p.Match(f.data, f.wirelen, meta), plain.Match(f.data, f.wirelen, meta); got != want {
				t.Errorf("%+v: %q, packet %x, %+v: got %d, want %d\n%s\n%s", target, expr, f.data, meta, got, want, p, plain)
				break
			}
		}
	}
	t.Logf("%d instructions of %d", after, before)
}

// tokens generates words of the language in random order. Nearly all of these expressions are
// invalid, and both compilers must refuse them.
func (w writer) tokens() string {
	vocabulary := []string{"ip", "ip6", "tcp", "udp", "arp", "ether", "icmp", "host", "net", "port", "portrange", "proto", "src", "dst", "src or dst", "dst and src",
		"and", "or", "not", "and", "or", "not", "(", ")", "(", ")", "10.0.0.1", "10", "80", "http", "22-80", "2001:db8::1", "10.0.0.0/8", "2001:db8::/32",
		"00:1b:44:11:3a:b7", `\tcp`, `\ip`, "vlan", "mpls", "pppoes", "len", "less", "greater", "=", ">", "+", "-", "&", "[0]", "[0:2]", "[", "]", ":", "/", "mask", "255.0.0.0",
		"1", "0x10", "broadcast", "multicast", "tcpflags", "tcp-syn", "llc", "u", "10.1", "1:2:3:4:5:6", "::", "1::2:3", "aabbccddeeff", "1.2.3.4.5", "10.0.0.1.2.3", "0x", "08", "ip[0] = 1", "host 10.0.0.1", "port 80", "tcp and", "or 443", "(80 or"}
	var s []string
	for range 1 + w.IntN(7) {
		s = append(s, pick(w.maker, vocabulary))
	}
	return strings.Join(s, w.of(" ", " ", " ", " ", ""))
}

// TestTokensAgainstTcpdump compares which expressions are refused.
func TestTokensAgainstTcpdump(t *testing.T) {
	r := newLibpcap(t, "")
	n := *randomCount
	if testing.Short() {
		n = min(n, 100)
	}
	exprs, verdicts := make([]string, n), make([]verdict, n)
	for i := range exprs {
		m := maker{rand.New(rand.NewPCG(*randomSeed+3, uint64(i)))}
		exprs[i] = writer{m, LinkEthernet}.tokens()
	}
	inParallel(n, func(i int) { verdicts[i] = r.compare(exprs[i], LinkEthernet) })
	both := 0
	for i, v := range verdicts {
		if v.err != nil {
			t.Errorf("%d: %q: %v", i, exprs[i], v.err)
		}
		if v.ours > 0 && v.ref > 0 {
			both++
		}
	}
	t.Logf("%d expressions, %d compiled by both", n, both)
}
