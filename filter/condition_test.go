package filter

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// check tests a condition against the program that decides. It returns whether the condition excludes the flow, and whether it could.
func (t *testFlow) check(tb testing.TB, c *Condition, p *Program, expr string) (may, any bool) {
	all := true
	var one frame
	for _, fr := range t.frames {
		if p.Match(fr.data, fr.wirelen, nil) > 0 {
			any, one = true, fr
		} else {
			all = false
		}
	}
	may = c.May(&t.Flow)
	if any && !may {
		tb.Errorf("%q excludes %+v, of which %x passes: %s", expr, t.Flow, one.data, c)
	}
	if c.Must(&t.Flow) && (!all || !may) {
		tb.Errorf("%q takes all of %+v, of which some frames do not pass: %s", expr, t.Flow, c)
	}
	return may, any
}

// hasAll reports whether a flow has all keys.
func hasAll(f *Flow, keys []Key) bool {
	return !slices.ContainsFunc(keys, func(k Key) bool { return !k.In(f) })
}

// TestConditionRandom compares the conditions of random expressions with their programs over flows of all kinds, and over tables
// of a few flows.
func TestConditionRandom(t *testing.T) {
	n := *randomCount * 3 / 20
	if testing.Short() {
		n = min(n, 300)
	}
	pairs, excluded, could, tables, pruned, prunable := 0, 0, 0, 0, 0, 0
	flows := map[LinkType][]*testFlow{}
	for i := range n {
		m := maker{rand.New(rand.NewPCG(*randomSeed+9, uint64(i)))}
		l := LinkEthernet
		if i%3 == 0 {
			l = pick(m, links)
		}
		if flows[l] == nil {
			flows[l] = flowCorpus(l)
		}
		expr := writer{m, l}.expr(m.IntN(6))
		p, err := Compile(expr, Target{LinkType: l, Netmask: 0xffffff00})
		if err != nil {
			continue
		}
		c, err := Conditions(expr)
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		for at := m.IntN(4); at < len(flows[l]); at += 4 * 8 {
			anyPass := false
			table := flows[l][at:min(at+8, len(flows[l]))]
			for _, f := range table {
				may, any := f.check(t, c, p, expr)
				pairs++
				if !any {
					could++
				}
				if !may {
					excluded++
				}
				anyPass = anyPass || any
			}
			tables++
			in := c.MayIn(func(keys []Key) bool {
				return slices.ContainsFunc(table, func(f *testFlow) bool { return hasAll(&f.Flow, keys) })
			})
			if anyPass && !in {
				t.Errorf("%q: %s: a table is excluded that has flows that pass", expr, c)
			}
			if !anyPass {
				prunable++
			}
			if !in {
				pruned++
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d pairs of expression and flow, of which %d have no packet that passes: %d are excluded; %d tables, of which %d have none: %d are excluded", pairs, could, excluded, tables, prunable, pruned)
	if pairs < 20000 || excluded*10 < could*6 {
		t.Errorf("%d pairs, of which %d are excluded, are too few", pairs, excluded)
	}
}

// tricky are expressions whose meaning is easily missed.
var tricky = []string{
	"vlan", "not vlan", "vlan and vlan", "vlan and not vlan", "vlan or ip", "ip or vlan", "vlan and ip or ip", "not vlan and ip", "not (vlan and ip)", "not vlan 100 and tcp",
	"not vlan and host 10.0.0.1", "not vlan and net 2001:db8::/32", "not vlan and port 80", "not vlan and arp", "vlan 5 or vlan 100 and tcp", "(vlan 5 or vlan 100) and udp port 53",
	"vlan 5 and vlan 100 and host 10.0.0.1", "vlan and vlan and vlan and tcp", "vlan and not host 10.0.0.1", "not (vlan and not host 10.0.0.1)", "not (not vlan or not tcp)",
	"vlan and (tcp or vlan 101) and port 80", "vlan 2048", "ether proto 0x8100", "vlan and ether proto 0x8100", "vlan and ether proto 0x88a8", "not ether proto 0x88a8",
	"mpls", "not mpls", "mpls and host 10.0.0.1", "mpls or host 10.0.0.1", "mpls and not tcp", "mpls 1024 and mpls", "vlan and mpls and ip", "not (mpls and tcp)", "pppoes", "pppoes and ip",
	"not pppoes or ip", "geneve", "geneve and vlan and tcp", "not geneve", "udp port 6081 and geneve and host 10.0.0.1", "ip proto 47", "ip proto 47 and not host 10.0.0.1",
	"port 80", "not port 80", "tcp port 80", "not tcp port 80", "src port 80 and dst port 1000", "src host 10.0.0.1 and src port 80", "src host 10.0.0.1 and not dst port 80", "not src host 10.0.0.1",
	"src and dst host 10.0.0.1", "src and dst port 53", "not (src or dst host 10.0.0.1)", "host 10.0.0.1 and not host 192.168.1.1", "tcp", "not tcp", "ip6 proto 44", "not ip6 proto 44", "ip6 proto 0",
	"proto 44", "proto 51", "ip proto 51", "proto 59", "icmp6", "not icmp6", "ip6 and tcp", "ip6 and not tcp", "ip6 and not port 80", "ip6 proto 60 and not tcp", "sctp", "igmp",
	"tcp[tcpflags] & tcp-syn != 0", "not tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & tcp-syn = 0", "tcp[13] = 2", "tcp[13] != 2", "not tcp[13] = 18", "tcp[13] & 0xff = 18", "2 = tcp[13]",
	"16 > tcp[13]", "16 < tcp[13]", "16 >= tcp[13]", "18 <= tcp[13]", "tcp[13] > 16", "tcp[13] >= 18", "tcp[13] < 18", "0x12 & tcp[13] = 0x12", "tcp[13] & 0 = 0", "tcp[13] & 2 > 0",
	"tcp[13] & (tcp-syn|tcp-ack) = tcp-syn", "tcp[tcpflags] & (tcp-rst|tcp-fin) != 0", "tcp[13] & 3 = 8", "tcp[0:2] = 80", "not tcp[2:2] > 79", "udp[2:2] = 53", "tcp[0:2] = 16384", "80 = tcp[0:2]",
	"icmp[icmptype] = icmp-echo", "icmp[icmptype] != icmp-echo", "not icmp[0] = 8", "icmp[1] = 0", "icmp6[0] = 128", "icmp6[0] != 128", "not icmp6[0] = 128", "8 >= icmp[0]", "igmp[0] = 0",
	"ip[9] = 6", "ip[9] != 6", "not ip[9] = 6", "ip[12:4] = 0x0a000001", "ip[16:4] & 0xff000000 = 0x0a000000", "ip[16:4] > 0x0a000001", "ip[6:2] & 0x1fff != 0", "ip[6:2] & 0x1fff = 0", "not ip[6:2] & 0x1fff = 0",
	"vlan and tcp[13] = 2", "vlan and not tcp[13] = 2", "not vlan and tcp[13] = 2", "vlan and icmp6[0] = 128", "not vlan and ip[9] = 6", "not vlan and not ip[9] = 6", "not vlan and not tcp[0:2] = 80",
	"len > 60", "len < 60", "less 60", "greater 60", "not greater 60", "60 > len", "60 >= len", "60 <= len", "len = 54", "len != 54", "54 = len", "len & 1 = 0", "len >= 0", "not len >= 0",
	"ether host 00:1b:44:11:3a:b7", "not ether host 00:1b:44:11:3a:b7", "ether src 00:1b:44:11:3a:b7", "not ether dst 00:1b:44:11:3a:b7", "broadcast", "multicast", "not multicast", "ip multicast", "not ip multicast",
	"ip6 multicast", "not ip6 multicast", "ether[0] & 1 = 1", "not ether[0] & 1 = 1", "stp", "not stp", "llc", "not llc", "ipx", "not ipx", "ether proto 0x8137", "not ether proto 0x8137", "atalk", "not atalk", "iso", "isis",
	"ether proto 60", "ether proto 0x21", "not ether proto 0x21", "arp", "not arp", "arp host 10.0.0.1", "host 10.0.0.1", "not host 10.0.0.1", "not arp host 10.0.0.1", "net 0.0.0.0/0", "not net 0.0.0.0/0", "net ::/0",
	"net 10.0.0.0 mask 255.0.0.255", "not net 10.0.0.0 mask 255.0.0.255", "host 10.1", "net 10", "not net 10", "portrange 50-100", "not portrange 50-100", "port domain", "udp port 80 or 53", "1 = 1", "ip[12:4] = ip[16:4]",
}

// TestConditionTricky compares conditions with programs for each expression, its negation and parts of longer ones, over
// flows of all kinds, each of which is a table too.
func TestConditionTricky(t *testing.T) {
	for _, l := range []LinkType{LinkEthernet, LinkSLL2, LinkRaw, LinkNull, LinkPPP} {
		flows := flowCorpus(l)
		step := 8
		if l == LinkEthernet && !testing.Short() {
			step = 2
		}
		for _, expr := range append(slices.Clone(tricky), "") {
			for n, expr := range []string{expr, "not (" + expr + ")", "ip and (" + expr + ")", "(" + expr + ") or arp"} {
				p, err := Compile(expr, Target{LinkType: l})
				if err != nil {
					continue
				}
				c, err := Conditions(expr)
				if err != nil {
					t.Fatalf("%q: %v", expr, err)
				}
				for i, f := range flows {
					if i%step != n%step {
						continue
					}
					_, any := f.check(t, c, p, expr)
					if any && !c.MayIn(func(keys []Key) bool { return hasAll(&f.Flow, keys) }) {
						t.Errorf("%q: %s: a table of %+v is excluded", expr, c, f.Flow)
					}
				}
				if t.Failed() {
					return
				}
			}
		}
	}
}

// TestConditionList compares the conditions of the list's expressions with their programs.
func TestConditionList(t *testing.T) {
	flows := map[LinkType][]*testFlow{}
	for i, s := range samples(t) {
		p, err := Compile(s.expr, Target{LinkType: s.link})
		if err != nil {
			continue
		}
		c, err := Conditions(s.expr)
		if err != nil {
			t.Fatalf("%q: %v", s.expr, err)
		}
		if flows[s.link] == nil {
			flows[s.link] = flowCorpus(s.link)
		}
		for at := i % 8; at < len(flows[s.link]); at += 8 {
			flows[s.link][at].check(t, c, p, s.expr)
		}
	}
}

// FuzzConditions compares the condition of any expression with its program over a flow of two frames.
func FuzzConditions(f *testing.F) {
	all := corpus(LinkEthernet)
	for i, s := range samples(f) {
		f.Add(s.expr, all[i%len(all)].data, all[(i*7+1)%len(all)].data, uint8(i))
	}
	f.Fuzz(func(t *testing.T, expr string, one, two []byte, link uint8) {
		target := Target{LinkType: links[int(link)%len(links)], Netmask: 0xffffff00}
		c, err := Conditions(expr)
		p, compileErr := Compile(expr, target)
		if compileErr == nil && err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		if compileErr != nil || err != nil {
			return
		}
		flows := flowsOf(target.LinkType, []frame{{data: one, wirelen: len(one)}, {data: two, wirelen: len(two)}})
		for _, fl := range flows {
			for _, fl := range []*testFlow{fl, fl.forgotten(maker{rand.New(rand.NewPCG(1, uint64(link)))})} {
				_, any := fl.check(t, c, p, expr)
				if any && !c.MayIn(func(keys []Key) bool { return hasAll(&fl.Flow, keys) }) {
					t.Fatalf("%q: %s: a table of %+v is excluded", expr, c, fl.Flow)
				}
			}
		}
	})
}
