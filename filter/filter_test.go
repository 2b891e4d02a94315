package filter

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

func TestSyntaxErrors(t *testing.T) {
	tests := []struct {
		expr   string
		offset int
		msg    string // expected part of the error's text; hint likewise
		hint   string
	}{
		{"tpc port 80", 0, `unexpected "tpc", expected a condition`, `did you mean "tcp"?`},
		{"tcp prot 80", 4, `unexpected "prot", expected and, or, or the end`, `did you mean "port"?`},
		{"tcp dst prot 80", 13, `unexpected "80", expected and, or, or the end`, `did you mean "port" where "prot" is?`},
		{"src hsot 10.0.0.1", 9, `unexpected "10.0.0.1"`, `did you mean "host" where "hsot" is?`},
		{"(tcp adn udp)", 5, `unexpected "adn", expected and, or, or a closing parenthesis`, `did you mean "and"?`},
		{"tcp[tcpflag] = 2", 4, `unexpected "tcpflag"`, `did you mean "tcpflags"?`},
		{"icmp[icmptype] = icmp-ecko", 17, `unexpected "icmp-ecko"`, `did you mean "icmp-echo"?`},
		{"gre or tcp", 0, `unexpected "gre", expected a condition`, "write proto gre"},
		{"tcp and http", 8, `unexpected "http", expected a condition`, "write port http"},
		{"10.0.0.0 = 1", 0, `has no qualifier`, ""},
		{"tcp adn udp", 4, `unexpected "adn"`, `did you mean "and"?`},
		{"ip and", 6, "unexpected end, expected a condition", ""},
		{"ip or or tcp", 6, `unexpected "or"`, ""},
		{"(ip", 3, "unexpected end, expected and, or, or a closing parenthesis", ""},
		{"ip)", 2, `unexpected ")", expected and, or, or the end`, ""},
		{"()", 1, `unexpected ")", expected a condition`, ""},
		{"80", 0, "can't stand alone", "write host, net, port or proto before it"},
		{"10.0.0.1", 0, `"10.0.0.1" has no qualifier`, "write host"},
		{"tcp and 80", 8, `"80" has no qualifier`, "write host"},
		{"port 80 and (443 or tcp)", 20, "expected an address, a port or a name", "parentheses"},
		{"port", 4, "unexpected end, expected a port", ""},
		{"port htpp", 5, `unknown port "htpp"`, `did you mean "http"?`},
		{"port tcp", 5, `unexpected "tcp", expected a port`, ""},
		{"port 70000", 5, "the port 70000 is larger than 65535", ""},
		{"port 10.0.0.1", 5, "port needs a number or a name", ""},
		{"icmp port 5", 10, "icmp has no ports", "use tcp, udp or sctp"},
		{"tcp port ntp", 9, `"ntp" is a port of udp, not of tcp`, "write its number"},
		{"portrange 80", -1, "", ""},
		{"portrange http", 10, "is not a range of ports", "a minus between"},
		{"portrange 80-htpp", 10, `unknown port "htpp"`, `did you mean "http"?`},
		{"host example.com", 5, `host names such as "example.com" are not looked up`, "a recorder must not depend on a name server"},
		{"src localhost", 4, "host names", "write its address"},
		{"host 1.2.3.4.5", 5, "host names", "an IPv4 address has 4 numbers"},
		{"host 10.0.0.256", 5, `"10.0.0.256" is not an IPv4 address`, "up to 255"},
		{"host 1::2::3", 5, `"1::2::" is not an address`, "only once"},
		{"net loopback", 4, "names of networks", "write its number"},
		{"net 10.0.0.1/8", 4, "10.0.0.1 has bits outside of the network mask", "the network is 10.0.0.0"},
		{"net 10.0.0.0/33", 13, "an IPv4 address has 32 bits, not 33", ""},
		{"net 2001:db8::1/32", 4, "has bits outside", "the network is 2001:db8::/32"},
		{"net 2001:db8::/129", 15, "an IPv6 address has 128 bits, not 129", ""},
		{"host 10.0.0.0/8", 5, "a network mask needs net", "write net before it"},
		{"net 10.0.0.0 mask 255", 18, `unexpected "255", expected a network mask`, ""},
		{"tcp host 10.0.0.1", 9, "tcp has no IPv4 addresses", "use host"},
		{"ip host 2001:db8::1", 8, "ip has no IPv6 addresses", ""},
		{"ether host 10.0.0.1", 11, "ether needs an Ethernet address", "6 bytes"},
		{"host 00:1b:44:11:3a:b7", 5, "an Ethernet address needs ether", "ether host"},
		{"ether host 00:1b:44:11:3a:", 11, "is not an address", "6 bytes"},
		{"ether src gandalf", 10, "names of Ethernet hosts", "write its address"},
		{"proto tcp", 6, `unexpected "tcp", expected a protocol`, `tcp is a keyword: write \tcp`},
		{`ip proto \tpc`, 9, `unknown protocol "tpc"`, `did you mean "tcp"?`},
		{`ether proto \ipx6`, 12, `unknown protocol "ipx6"`, `did you mean "ip6"?`},
		{"tcp proto 6", 10, "tcp carries no protocols", "use ip proto"},
		{"ip6 protochain 6", 15, "protochain needs a loop", ""},
		{"gateway 10.0.0.1", 8, "gateway needs a name server", "ether host"},
		{"ip broadcast", 0, "needs the interface's network mask", ""},
		{"arp broadcast", 0, "arp has no broadcast", ""},
		{"inbound", 0, "has no direction in a file", ""},
		{"ifindex 1", 0, "has no interface in a file", ""},
		{"ifindex eth0", 8, `unexpected "eth0", expected the index of an interface`, ""},
		{"vlan 4096", 0, "the VLAN 4096 is larger than 4095", ""},
		{"mpls 1048576", 0, "larger than 1048575", ""},
		{"mpls and arp", 9, "only ip and ip6 can follow mpls", ""},
		{"mpls and vlan", 9, "vlan can't follow mpls", ""},
		{"geneve or ip", 0, "what follows geneve", "before geneve"},
		{"vxlan 5", 0, `unexpected "vxlan"`, "use udp port 4789"},
		{"ip[0]", 5, "unexpected end, expected a comparison such as = or >", ""},
		{"ip[0", 4, "unexpected end, expected an operator, a colon or ]", ""},
		{"ip[0:3] = 1", 5, "a size of 3 bytes: only 1, 2 and 4", ""},
		{"ip[-1] = 1", 0, "no packet has a byte at offset 4294967295", ""},
		{"esp[0] = 1", 0, "esp has no header whose bytes can be indexed", ""},
		{"ip[0] = 1 = 1", 10, `unexpected "="`, ""},
		{"ip[0] % 3 + 1 = 2", 10, `"+" next to "%" has no agreed order`, "add parentheses"},
		{"ip[0] % 3 % 2 = 1", 10, `"%" next to "%"`, "add parentheses"},
		{"- ip[0] % 3 = 1", 8, `"%" next to "-"`, "add parentheses"},
		{"ip[0] / 0 = 1", 6, "division by zero", ""},
		{"ip[0] % (2 - 2) = 1", 6, "division by zero", ""},
		{"ip[0] << 32 = 1", 6, "a shift by 32 bits", ""},
		{"len-1 > 5", 0, `unexpected "len-1"`, "a minus needs a space before it"},
		{"08 = 8", 0, "08 is not an octal number", "a number that starts with 0 is octal"},
		{"4294967296 = 1", 0, "does not fit in 32 bits", ""},
		{"type mgt", 0, `unexpected "type"`, "it is for IEEE 802.11 frames"},
		{"byte 0 = 1", 0, `unexpected "byte"`, "use ether[offset]"},
		{"ip # tcp", 3, "unexpected character '#'", ""},
		{"ip and \xff", 7, "unexpected character", ""},
		{"é", 0, "unexpected character 'é'", ""},
		{`proto \`, 6, "nothing follows the backslash", ""},
		{"llc foo", 0, `"foo" is not a type of LLC PDU`, "rnr"},
		{"radio", 0, "radio alone says nothing", ""},
	}
	for _, tt := range tests {
		_, err := Compile(tt.expr, Target{LinkType: LinkEthernet})
		if tt.offset < 0 {
			if err != nil {
				t.Errorf("%q: %v", tt.expr, err)
			}
			continue
		}
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%q: got error %v", tt.expr, err)
			continue
		}
		if se.Offset != tt.offset || !strings.Contains(se.Msg, tt.msg) || !strings.Contains(se.Hint, tt.hint) {
			t.Errorf("%q: got %d, %q, hint %q; want %d, %q, hint %q", tt.expr, se.Offset, se.Msg, se.Hint, tt.offset, tt.msg, tt.hint)
		}
	}
}

func TestRefusedLinkTypes(t *testing.T) {
	for _, l := range []LinkType{2, 6, 105, 109, 117, 127, 147, 192, 258, 65535} {
		if _, err := Compile("ip", Target{LinkType: l}); err == nil {
			t.Errorf("%s: no error", l)
		}
		if _, err := Compile(" ", Target{LinkType: l}); err != nil {
			t.Errorf("%s: the empty expression: %v", l, err)
		}
	}
	if _, err := Compile("ip", Target{LinkType: LinkEthernet, Snaplen: 1 << 31}); err == nil {
		t.Error("a snap length of 2 GiB: no error")
	}
}

// TestLinkFree: what tests no byte of the packet is taken for every link type, and gives the same program for all.
func TestLinkFree(t *testing.T) {
	for _, expr := range []string{"len >= 100", "greater 100", "less 50", "not (len = 60 or len = 61)", "len % 2 = 1", "len * 8 / 3 > 500 and 1 + 1 = 2"} {
		want, err := Compile(expr, Target{LinkType: LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []LinkType{2, 6, 105, 127, 147, 192, 65535} {
			if p, err := Compile(expr, Target{LinkType: l}); err != nil || p.String() != want.String() {
				t.Errorf("%q for %s: %v, %v; want %v", expr, l, p, err, want)
			}
		}
	}
	for _, expr := range []string{"ip", "vlan", "ether[0] = 1", "ip[0] = 1", "icmp6[0] = 1", "ether[len] = 1", "host 10.0.0.1", "multicast", "llc", "geneve", "mpls", "inbound", "len > 5 and tcp"} {
		if _, err := Compile(expr, Target{LinkType: 147}); err == nil || !strings.Contains(err.Error(), "link type 147") {
			t.Errorf("%q for an unknown link type: %v", expr, err)
		}
	}
	if _, err := Compile("len > 5 and inbound", Target{LinkType: 147, Live: true}); err != nil {
		t.Errorf("a live socket knows the direction: %v", err)
	}
}

func TestFacts(t *testing.T) {
	tests := []struct {
		expr          string
		never, always bool
	}{
		{"", false, true},
		{"ip", false, false},
		{"ip and arp", true, false},
		{"not (ip or not ip)", true, false},
		{"ip or not ip", false, true},
		{"port 80 and tcp and icmp", true, false},
		{"len >= 0", false, true},
		{"ip[0] > 255", true, false},
		{"ip6 and ip[0] = 1", true, false},
		{"1 + 1 = 3", true, false},
		{"tcp port 80 and not port 80", true, false},
		{"vlan 5 and vlan 6", false, false}, // stacked
	}
	for _, tt := range tests {
		p, err := Compile(tt.expr, Target{LinkType: LinkEthernet})
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		if p.NeverMatches() != tt.never || p.AlwaysMatches() != tt.always {
			t.Errorf("%q: never %v, always %v\n%s", tt.expr, p.NeverMatches(), p.AlwaysMatches(), p)
		}
	}
}

// TestFormats reads programs of tcpdump and prints them in tcpdump's formats.
func TestFormats(t *testing.T) {
	newReference(t) // skips where there is no tcpdump
	file, err := emptyFile(publicDir(t), LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{
		"", "tcp port 80", "ip[8] - 1 > 60 and ip[8] * 2 < 200", "len > 100", "vlan 5 and tcp[13] & 3 != 0", "ip[8] / 3 = 2", "-ip[8] % 3 = 1",
		"tcp[tcp[12] >> 2:4] = 0x47455420", "ip[ip[0] & 0xf] = len", "ip[2:2] * ip[8] << 1 | 1 ^ 2 = 7", "geneve and ip", "port " + repeat(100, "N", " or "),
	} {
		printed := func(flag string) string {
			out, err := exec.Command("tcpdump", flag, "-r", file, "--", expr).Output()
			if err != nil {
				t.Fatalf("%q: %v", expr, err)
			}
			return string(out)
		}
		code, err := parseDecimal(printed("-ddd"))
		if err != nil {
			t.Fatal(err)
		}
		p := Program{Instructions: code}
		for flag, got := range map[string]string{"-d": p.String(), "-dd": p.C(), "-ddd": p.Decimal()} {
			if want := printed(flag); got != want {
				t.Errorf("%q %s: got\n%s\nwant\n%s", expr, flag, got, want)
			}
		}
	}
}

// TestIPBroadcast needs a network mask, which tcpdump lacks for files.
func TestIPBroadcast(t *testing.T) {
	p, err := Compile("ip broadcast", Target{LinkType: LinkRaw, Netmask: 0xffffff00})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[byte]bool{0: true, 1: false, 254: false, 255: true} {
		packet := append([]byte{0x45}, make([]byte, 19)...)
		copy(packet[16:], []byte{10, 0, 0, addr})
		if got := p.Match(packet, 20, nil) != 0; got != want {
			t.Errorf("10.0.0.%d: got %v", addr, got)
		}
	}
}

// TestMatchAgainstNetBPF compares Match with the virtual machine of golang.org/x/net/bpf.
func TestMatchAgainstNetBPF(t *testing.T) {
	for _, s := range samples(t) {
		if s.link != LinkEthernet {
			continue
		}
		p, err := Compile(s.expr, Target{LinkType: s.link, Snaplen: 1000})
		if err != nil {
			continue
		}
		if strings.ContainsAny(s.expr, "/%") || strings.Contains(s.expr, "<<") || strings.Contains(s.expr, ">>") {
			continue
		}
		insts, ok := bpf.Disassemble(p.Instructions)
		if !ok {
			t.Errorf("%q: unknown instructions\n%s", s.expr, p)
			continue
		}
		if slices.Contains(insts, bpf.Instruction(bpf.NegateA{})) {
			continue // that virtual machine does not support the instruction
		}
		vm, err := bpf.NewVM(insts)
		if err != nil {
			t.Errorf("%q: %v", s.expr, err)
			continue
		}
		for i, f := range corpus(s.link) {
			if i%5 != 0 || len(f.data) != f.wirelen {
				continue
			}
			want, err := vm.Run(f.data)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Match(f.data, f.wirelen, nil); got != want && (got != 1000 || want == 0) {
				t.Errorf("%q, packet %x: got %d, want %d", s.expr, f.data, got, want)
			}
		}
	}
}

// TestMatchAllocates: Match does not allocate.
func TestMatchAllocates(t *testing.T) {
	p, err := Compile("vlan and tcp port 80", Target{LinkType: LinkEthernet, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	f, meta := corpus(LinkEthernet)[0], Meta{VLAN: true}
	if n := testing.AllocsPerRun(100, func() { p.Match(f.data, f.wirelen, &meta) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
