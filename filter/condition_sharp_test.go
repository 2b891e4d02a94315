package filter

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// namedFlow is a flow of TestConditionSharp.
type namedFlow struct {
	name string
	Flow
}

// sharpFlows returns flows as a table has them of everyday traffic.
func sharpFlows() []namedFlow {
	end := func(addr string, port uint16, packets uint64, flags uint8) Endpoint {
		return Endpoint{Has: HasPort | HasTCPFlags | HasBytes, Addr: netip.MustParseAddr(addr), Port: port, TCPFlags: flags, Packets: packets, Bytes: packets * 100}
	}
	tcp := func(vlans ...uint16) Flow {
		return Flow{Has: HasFrame | HasProtocol, Link: LinkEthernet, EtherType: etherIP, Protocol: ipTCP, VLANs: vlans, A: end("10.0.0.1", 40000, 10, 0x1a), B: end("10.0.0.2", 443, 10, 0x1a)}
	}
	of := func(f Flow, change func(f *Flow)) Flow { change(&f); return f }
	noPorts := func(f *Flow) {
		f.A.Has, f.B.Has, f.A.Port, f.B.Port = HasBytes, HasBytes, 0, 0
	}
	return []namedFlow{
		{"web", tcp()},
		{"web6", of(tcp(), func(f *Flow) {
			f.EtherType, f.A.Addr, f.B.Addr = etherIPv6, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
			f.Has |= NoExtensions
		})},
		{"vlan100", tcp(100)}, {"qinq", tcp(100, 200)},
		{"dns", of(tcp(), func(f *Flow) {
			f.Protocol, f.A, f.B = ipUDP, end("10.0.0.1", 5000, 1, 0), end("192.168.1.1", 53, 1, 0)
			f.A.Has, f.B.Has = HasPort|HasBytes, HasPort|HasBytes
		})},
		{"fragments", of(tcp(), func(f *Flow) { noPorts(f); f.Protocol, f.Has = ipUDP, f.Has|LaterFragments })},
		{"ping", of(tcp(), func(f *Flow) {
			noPorts(f)
			f.Protocol, f.A.Has, f.B.Has, f.A.ICMPType = ipICMP, HasICMP, HasICMP, 8
		})},
		{"scan", of(tcp(), func(f *Flow) { f.A, f.B.Packets, f.B.Port = end("10.0.0.9", 40000, 1, 2), 0, 22 })},
		{"arp", of(tcp(), func(f *Flow) { noPorts(f); f.EtherType, f.Has = etherARP, HasFrame })},
		{"lldp", Flow{Has: HasFrame, Link: LinkEthernet, EtherType: 0x88cc, A: Endpoint{Has: HasMAC, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Packets: 5}, B: Endpoint{Has: HasMAC, MAC: [6]byte{1, 0x80, 0xc2, 0, 0, 0xe}}}},
		{"stp", Flow{Has: HasFrame, Link: LinkEthernet, EtherType: 38, A: Endpoint{Packets: 5}}},
		{"mpls", of(tcp(), func(f *Flow) { f.EtherType = etherMPLS })},
		{"unlisted", Flow{Has: HasProtocol, Protocol: ipTCP, B: end("10.0.0.2", 443, 0, 0), A: Endpoint{Packets: 1000}}},
	}
}

// TestConditionSharp says which flows a condition leaves, and with an exclamation mark those all of whose packets pass.
func TestConditionSharp(t *testing.T) {
	flows := sharpFlows()
	for _, c := range [][2]string{
		{"", "web! web6! vlan100! qinq! dns! fragments! ping! scan! arp! lldp! stp! mpls! unlisted!"},
		{"host 10.0.0.1", "web! dns! fragments! ping! arp! unlisted"},
		{"not host 10.0.0.1", "web6! vlan100! qinq! scan! lldp! stp! mpls! unlisted"},
		{"src host 10.0.0.1", "web dns fragments ping arp unlisted"},
		{"dst host 10.0.0.9", ""},
		{"host 10.0.0.1 and port 443", "web! unlisted"},
		{"src host 10.0.0.1 and src port 443", "unlisted"},
		{"src host 10.0.0.2 and src port 443", "web unlisted"},
		{"host 10.0.0.1 and not port 443", "dns! fragments! ping! arp! unlisted"},
		{"net 192.168.0.0/16", "dns! unlisted"},
		{"not net 10.0.0.0/8", "web6! vlan100! qinq! lldp! stp! mpls! unlisted"},
		{"net 2001:db8::/32", "web6! unlisted"},
		{"ip host 10.0.0.1", "web! dns! fragments! ping! unlisted"},
		{"arp host 10.0.0.1", "arp! unlisted"},
		{"port 53", "dns! unlisted"},
		{"not port 53", "web! web6! vlan100! qinq! fragments! ping! scan! arp! lldp! stp! mpls! unlisted"},
		{"udp port 53", "dns!"},
		{"tcp port 53", "unlisted"},
		{"portrange 20-25", "scan! unlisted"},
		{"port 443 or 53", "web! web6! dns! unlisted"},
		{"ip", "web! dns! fragments! ping! scan! unlisted"},
		{"ip6", "web6! unlisted"},
		{"arp", "arp! unlisted"},
		{"tcp", "web! web6! scan! unlisted"},
		{"not tcp", "vlan100! qinq! dns! fragments! ping! arp! lldp! stp! mpls! unlisted"},
		{"udp", "dns! fragments!"},
		{"icmp", "ping!"},
		{"ip proto 6", "web! scan! unlisted"},
		{"ip6 proto 6", "web6! unlisted"},
		{"tcp or icmp", "web! web6! ping! scan! unlisted"},
		{"ether proto 0x88cc", "lldp! unlisted"},
		{"not ether proto 0x0800", "web6! vlan100! qinq! arp! lldp! stp! mpls! unlisted"},
		{"stp", "stp unlisted"},
		{"vlan", "vlan100! qinq! unlisted"},
		{"not vlan", "web! web6! dns! fragments! ping! scan! arp! lldp! stp! mpls! unlisted"},
		{"vlan 100", "vlan100! qinq! unlisted"},
		{"vlan 200", "unlisted"},
		{"vlan 100 and vlan 200", "qinq! unlisted"},
		{"vlan 100 and not vlan", "vlan100! unlisted"},
		{"vlan and host 10.0.0.1 and tcp port 443", "vlan100! unlisted"},
		{"vlan and vlan and port 443", "qinq! unlisted"},
		{"ip and host 10.0.0.1 or (vlan and host 10.0.0.1)", "web! vlan100! dns! fragments! ping! unlisted"},
		{"mpls", "mpls! unlisted"},
		{"mpls and host 10.0.0.1", "mpls unlisted"},
		{"tcp[tcpflags] & tcp-syn != 0", "web scan! unlisted"},
		{"tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "web scan! unlisted"},
		{"tcp[tcpflags] & tcp-rst != 0", "unlisted"},
		{"not tcp[tcpflags] & tcp-rst != 0", "web! web6! vlan100! qinq! dns! fragments! ping! scan! arp! lldp! stp! mpls! unlisted"},
		{"icmp[icmptype] = icmp-echo", "ping"},
		{"icmp[icmptype] = icmp-unreach", ""},
		{"tcp[20:4] = 0x47455420", "web scan unlisted"},
		{"udp[8:2] = 1 and host 10.0.0.1", "dns"},
		{"udp[0:2] = 53 or icmp[0] = 0", "dns ping"},
		{"ether host 02:00:00:00:00:01", "web web6 vlan100 qinq dns fragments ping scan arp lldp! stp mpls unlisted"},
		{"ether host 02:00:00:00:00:02", "web web6 vlan100 qinq dns fragments ping scan arp stp mpls unlisted"},
		{"multicast and not ip", "web6 vlan100 qinq arp lldp! stp mpls unlisted"},
		{"ip multicast", ""},
		{"greater 100", "web web6 vlan100 qinq dns! fragments ping scan! arp lldp stp mpls unlisted"},
		{"greater 200", "web web6 vlan100 qinq fragments ping arp lldp stp mpls unlisted"},
		{"less 99", "web web6 vlan100 qinq fragments ping arp lldp stp mpls unlisted"},
		{"greater 1001", "ping lldp stp unlisted"},
		{"ip and arp", "unlisted"},
		{"inbound and host 10.0.0.9", "scan unlisted"},
		{"geneve and host 1.2.3.4", ""},
		{"host 10.0.0.9 and (port 22 or icmp)", "scan! unlisted"},
		{"not (host 10.0.0.1 or host 10.0.0.2)", "web6! vlan100! qinq! lldp! stp! mpls! unlisted"},
	} {
		cond, err := Conditions(c[0])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range flows {
			switch {
			case cond.Must(&f.Flow):
				got = append(got, f.name+"!")
			case cond.May(&f.Flow):
				got = append(got, f.name)
			}
		}
		if s := strings.Join(got, " "); s != c[1] {
			t.Errorf("%q leaves\n%s, not\n%s", c[0], s, c[1])
		}
	}
}

// TestConditionKeys says what a table must have for an expression.
func TestConditionKeys(t *testing.T) {
	for _, c := range [][2]string{
		{"host 10.1.2.3 and port 443", "host 10.1.2.3, port 443"},
		{"not host 10.1.2.3", ""},
		{"host 10.1.2.3 or host 2001:db8::1", "host 10.1.2.3, host 2001:db8::1"},
		{"(host 10.1.2.3 and port 1) or (host 10.1.2.4 and port 2)", "host 10.1.2.3, port 1, host 10.1.2.4, port 2"},
		{"net 10.0.0.0/8 and tcp dst portrange 20-25 and not port 22", "net 10.0.0.0/8, port 20-25, proto 6"},
		{"net 10.0.0.0 mask 255.0.255.0", "net 10.0.0.0/8"},
		{"vlan 100 and host 10.1.2.3", "vlan 100, host 10.1.2.3"},
		{"not vlan and host 10.1.2.3", ""},
		{"vlan or host 10.1.2.3", "vlan 0-4095"},
		{"mpls and host 10.1.2.3", "ether proto 0x8847"},
		{"arp host 10.1.2.3", "host 10.1.2.3, ether proto 0x0806"},
		{"ip6 proto 44", "ether proto 0x86dd"},
		{"ip6 and tcp", "ether proto 0x86dd, proto 6"},
		{"tcp[tcpflags] & tcp-syn != 0", "ether proto 0x0800, proto 6"},
		{"len > 100", ""},
		{"ether proto 0x8100 or stp", ""},
	} {
		cond, err := Conditions(c[0])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range cond.Keys() {
			got = append(got, k.String())
		}
		if s := strings.Join(got, ", "); s != c[1] {
			t.Errorf("%q has the keys %q, not %q", c[0], s, c[1])
		}
	}
}

// TestConditionMayIn asks tables of flows that have some of the keys only.
func TestConditionMayIn(t *testing.T) {
	for _, c := range []struct {
		expr, has string
		want      bool
	}{
		{"host 10.1.2.3 and port 443", "host 10.1.2.3, port 443", true},
		{"host 10.1.2.3 and port 443", "host 10.1.2.3", false},
		{"host 10.1.2.3 and port 443", "host 10.1.2.3; port 443", false},
		{"host 10.1.2.3 and (port 1 or port 2)", "host 10.1.2.3; port 1, port 2", false},
		{"host 10.1.2.3 and (port 1 or port 2)", "host 10.1.2.3, port 2", true},
		{"host 10.1.2.3 and (port 1 or port 2 and host 10.1.2.4)", "host 10.1.2.3, port 2; host 10.1.2.4, port 2", false},
		{"(arp or udp) and (port 1 or host 10.1.2.3)", "proto 17", false},
		{"(arp or udp) and (port 1 or host 10.1.2.3)", "proto 17; port 1", true}, // two choices are asked for one after the other
		{"udp and (port 1 or host 10.1.2.3)", "proto 17, host 10.1.2.3", true},
		{"host 10.1.2.3 or port 443", "host 10.1.2.3", true},
		{"host 10.1.2.3 or port 443", "", false},
		{"not host 10.1.2.3", "", true},
		{"not (host 10.1.2.3 and port 443)", "", true},
		{"host 10.1.2.3 and not port 443", "", false},
		{"(host 10.1.2.3 and port 1) or (host 10.1.2.4 and port 2)", "host 10.1.2.3, port 2", false},
		{"(host 10.1.2.3 and port 1) or (host 10.1.2.4 and port 2)", "host 10.1.2.4, port 2", true},
		{"vlan 100 and host 10.1.2.3", "vlan 100", false},
		{"(vlan 100 and host 10.1.2.3) or arp", "", true},
		{"not vlan and host 10.1.2.3", "", true},
		{"", "", true},
	} {
		cond, err := Conditions(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		got := cond.MayIn(func(keys []Key) bool {
			return slices.ContainsFunc(strings.Split(c.has, "; "), func(flow string) bool {
				return !slices.ContainsFunc(keys, func(k Key) bool { return !slices.Contains(strings.Split(flow, ", "), k.String()) })
			})
		})
		if got != c.want {
			t.Errorf("%q in a table with %q: %v", c.expr, c.has, got)
		}
	}
}

// TestConditionString compares what a condition says of itself. That of what is written in the same language is the same.
func TestConditionString(t *testing.T) {
	for _, c := range [][2]string{
		{"", "any packet"},
		{"host 10.1.2.3 and port 443", "host 10.1.2.3 and port 443"},
		{"not (src host 10.1.2.3 or tcp dst port 80)", "not src host 10.1.2.3 and not tcp dst port 80"},
		{"not (net 10 and (port http or 443))", "not net 10.0.0.0/8 or (not tcp port 80 and not port 443)"},
		{"tcp and not udp[8:2] = 1", "tcp and (not ip proto 17 or not ip[6:2] & 0x1fff = 0 or ?)"},
	} {
		cond, err := Conditions(c[0])
		if err != nil {
			t.Fatal(err)
		}
		if s := cond.String(); s != c[1] {
			t.Errorf("%q: %s", c[0], s)
		}
	}
	for _, expr := range tricky {
		cond, err := Conditions(expr)
		if err != nil {
			t.Fatal(err)
		}
		if s := cond.String(); !strings.Contains(s, "?") {
			again, err := Conditions(s)
			if err != nil || again.String() != s {
				t.Errorf("%q: %q, and of that: %v, %v", expr, s, again, err)
			}
		}
	}
}

// TestConditionErrors compares errors with those of Compile.
func TestConditionErrors(t *testing.T) {
	for _, expr := range []string{"host", "host 10.0.0.256", "port nosuchport", "portrange 1-nosuchport", "net 10.0.0.1/8", "net 10.0.0.0 mask 10.0.0.999", "proto nosuchproto", "net 2001:db8::1/32", strings.Repeat(" ", MaxText+1)} {
		_, err := Conditions(expr)
		if _, want := Compile(expr, Target{LinkType: LinkEthernet}); err == nil || err.Error() != want.Error() {
			t.Errorf("%.40q: %v, not %v", expr, err, want)
		}
	}
}

// BenchmarkConditions asks a condition about a million flows.
func BenchmarkConditions(b *testing.B) {
	m := maker{rand.New(rand.NewPCG(1, 2))}
	flows := make([]Flow, 1<<20)
	for i := range flows {
		end := func(port uint16) Endpoint {
			return Endpoint{Has: HasPort | HasTCPFlags | HasBytes, Addr: netip.AddrFrom4([4]byte{10, 0, byte(m.Uint32()), byte(m.Uint32())}), Port: port, Packets: 10, Bytes: 1000, TCPFlags: 0x1a}
		}
		flows[i] = Flow{Has: HasFrame | HasProtocol, Link: LinkEthernet, EtherType: etherIP, Protocol: ipTCP, A: end(uint16(m.Uint32())), B: end(pick(m, []uint16{80, 443}))}
	}
	for _, expr := range []string{"host 10.0.1.1 and port 443", "port 443 and host 10.0.1.1", "not host 10.0.1.1 and tcp and net 10.0.0.0/24", "tcp[tcpflags] & tcp-rst != 0", "vlan 100 and host 10.0.1.1"} {
		b.Run(expr, func(b *testing.B) {
			c, err := Conditions(expr)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			best := time.Hour // the minimum is not affected by other load
			for b.Loop() {
				for chunk := range slices.Chunk(flows, 1<<16) {
					start := time.Now()
					for i := range chunk {
						c.May(&chunk[i])
					}
					best = min(best, time.Since(start))
				}
			}
			b.ReportMetric(float64(best)/(1<<16), "best-ns/flow")
		})
	}
}
