package decode

import (
	"net/netip"
	"strings"
)

func sourceOf(t Tunnel) netip.Addr      { return t.Src }
func destinationOf(t Tunnel) netip.Addr { return t.Dst }

// when returns what the function says where the part is there.
func when[T any](part func(*Frame) *T, say func(*T) []string) func(*Frame) []string {
	return func(f *Frame) []string {
		if p := part(f); p != nil {
			return say(p)
		}
		return nil
	}
}

// ofLink is an address of Ethernet.
func ofLink(f *Frame, m *MAC) []string {
	if !f.has("ethernet") || m == nil {
		return nil
	}
	return one(m)
}

func udpOf(f *Frame) *UDP   { return f.UDP }
func tcpOf(f *Frame) *TCP   { return f.TCP }
func httpOf(f *Frame) *HTTP { return f.HTTP }
func arpOf(f *Frame) *ARP   { return f.ARP }
func nonNil(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func status(c Checksum) []string {
	return []string{map[Checksum]string{ChecksumRight: "1", ChecksumWrong: "0", ChecksumUnknown: "2", ChecksumNone: "3"}[c]}
}

// ip4 and its like are the innermost header, if it is of that kind.
func ip4Of(f *Frame) *IP {
	if f.IP != nil && f.IP.Version == 4 {
		return f.IP
	}
	return nil
}

func ip6Of(f *Frame) *IP {
	if f.IP != nil && f.IP.Version == 6 {
		return f.IP
	}
	return nil
}

func icmp4Of(f *Frame) *ICMP {
	if f.has("icmp") {
		return f.ICMP
	}
	return nil
}

func icmp6Of(f *Frame) *ICMP {
	if f.has("icmpv6") {
		return f.ICMP
	}
	return nil
}

func portsOf(protocol string, of func(*Frame) uint16) func(*Frame) []string {
	return func(f *Frame) []string {
		if f.SrcPort|f.DstPort == 0 || !f.has(protocol) {
			return nil
		}
		return one(of(f))
	}
}

func src(f *Frame) uint16 { return f.SrcPort }
func dst(f *Frame) uint16 { return f.DstPort }

// idOf is the number of the tunnels of a protocol.
func idOf(protocol string, digits int) func(*Frame) []string {
	return func(f *Frame) []string {
		var all []string
		for _, t := range f.Tunnels {
			if t.Protocol != protocol || t.ID == nil {
				continue
			}
			if digits > 0 {
				all = append(all, hex(digits, *t.ID)...)
			} else {
				all = append(all, one(*t.ID)...)
			}
		}
		return all
	}
}

// inDNS tells that a message is of DNS, whose fields NetBIOS has of its own.
func inDNS(say func(*DNS) []string) func(*Frame) []string {
	return func(f *Frame) []string {
		if f.DNS == nil || f.has("nbns") {
			return nil
		}
		return say(f.DNS)
	}
}

func dataOf(kind string) func(*Frame) []string {
	return inDNS(func(m *DNS) []string {
		var all []string
		for _, r := range m.Answers {
			if r.Type == kind {
				all = append(all, r.Data)
			}
		}
		return all
	})
}

func namesOf(list []DNSRR) []string {
	var all []string
	for _, r := range list {
		all = append(all, strings.Replace(r.Name, ".", "<Root>", bool01(r.Name == ".")))
	}
	return all
}

func bool01(b bool) int {
	if b {
		return 1
	}
	return 0
}

func inDHCP(layer string, say func(*DHCP) []string) func(*Frame) []string {
	return func(f *Frame) []string {
		if f.DHCP == nil || !f.has(layer) {
			return nil
		}
		return say(f.DHCP)
	}
}

func valid(a netip.Addr) []string {
	if !a.IsValid() {
		return []string{"0.0.0.0"}
	}
	return []string{a.String()}
}

func inTLS(layer string, say func(*TLS) []string) func(*Frame) []string {
	return func(f *Frame) []string {
		if f.TLS == nil || f.has("dtls") != (layer == "dtls") {
			return nil
		}
		return say(f.TLS)
	}
}

// tsharkFields are what is compared.
var tsharkFields = []tsharkField{
	{name: "frame.len", of: func(f *Frame) []string { return one(f.Length) }},
	{name: "frame.cap_len", of: func(f *Frame) []string { return one(f.Captured) }},
	{"eth.src", "ethernet", func(f *Frame) []string { return ofLink(f, f.SrcMAC) }},
	{"eth.dst", "ethernet", func(f *Frame) []string { return ofLink(f, f.DstMAC) }},
	{"ip.proto", "ipv4", when(ip4Of, func(h *IP) []string { return one(h.Protocol) })},
	{"ip.len", "ipv4", when(ip4Of, func(h *IP) []string { return one(h.Length) })},
	{"ip.ttl", "ipv4", when(ip4Of, func(h *IP) []string { return one(h.TTL) })},
	{"ip.id", "ipv4", when(ip4Of, func(h *IP) []string { return hex(4, h.ID) })},
	{"ip.flags.df", "ipv4", when(ip4Of, func(h *IP) []string { return flag01(h.DontFragment) })},
	{"ip.flags.mf", "ipv4", when(ip4Of, func(h *IP) []string { return flag01(h.MoreFragments) })},
	{"ip.frag_offset", "ipv4", when(ip4Of, func(h *IP) []string { return one(h.FragmentOffset / 8) })},
	{"ip.checksum.status", "ipv4", when(ip4Of, func(h *IP) []string { return status(h.Checksum) })},
	{"ipv6.hlim", "ipv6", when(ip6Of, func(h *IP) []string { return one(h.TTL) })},
	{"ipv6.plen", "ipv6", when(ip6Of, func(h *IP) []string { return one(h.Length - 40) })},
	{"udp.srcport", "udp", portsOf("udp", src)},
	{"udp.dstport", "udp", portsOf("udp", dst)},
	{"udp.length", "udp", when(udpOf, func(u *UDP) []string { return one(u.Length) })},
	{"udp.checksum.status", "udp", when(udpOf, func(u *UDP) []string { return status(u.Checksum) })},
	{name: "vlan.id", of: func(f *Frame) []string { return each(f.VLANs) }},
	{name: "mpls.label", of: func(f *Frame) []string { return each(f.MPLS) }},
	{name: "arp.opcode", of: when(arpOf, func(a *ARP) []string { return one(a.Operation) })},
	{name: "arp.src.hw_mac", of: func(f *Frame) []string {
		if f.ARP == nil || !f.Src.IsValid() {
			return nil
		}
		return one(f.ARP.SenderMAC)
	}},
	{name: "arp.src.proto_ipv4", of: func(f *Frame) []string {
		if f.ARP == nil || !f.Src.IsValid() {
			return nil
		}
		return one(f.Src)
	}},
	{name: "arp.dst.proto_ipv4", of: func(f *Frame) []string {
		if f.ARP == nil || !f.Dst.IsValid() {
			return nil
		}
		return one(f.Dst)
	}},
	{name: "ip.src", of: func(f *Frame) []string { return addressesOf(f, true, sourceOf) }},
	{name: "ip.dst", of: func(f *Frame) []string { return addressesOf(f, true, destinationOf) }},
	{name: "ipv6.src", of: func(f *Frame) []string { return addressesOf(f, false, sourceOf) }},
	{name: "ipv6.dst", of: func(f *Frame) []string { return addressesOf(f, false, destinationOf) }},
	{name: "tcp.srcport", of: portsOf("tcp", src)},
	{name: "tcp.dstport", of: portsOf("tcp", dst)},
	{name: "tcp.flags", of: when(tcpOf, func(t *TCP) []string { return hex(4, t.Bits) })},
	{name: "tcp.seq_raw", of: when(tcpOf, func(t *TCP) []string { return one(t.Seq) })},
	{name: "tcp.ack_raw", of: when(tcpOf, func(t *TCP) []string { return one(t.Ack) })},
	{name: "tcp.window_size_value", of: when(tcpOf, func(t *TCP) []string { return one(t.Window) })},
	{name: "tcp.len", of: when(tcpOf, func(t *TCP) []string { return one(t.Length) })},
	{name: "tcp.checksum.status", of: when(tcpOf, func(t *TCP) []string { return status(t.Checksum) })},
	{name: "sctp.srcport", of: portsOf("sctp", src)},
	{name: "sctp.dstport", of: portsOf("sctp", dst)},
	{name: "dccp.srcport", of: portsOf("dccp", src)},
	{name: "dccp.dstport", of: portsOf("dccp", dst)},
	{name: "icmp.type", of: when(icmp4Of, func(m *ICMP) []string { return one(m.Type) })},
	{name: "icmp.code", of: when(icmp4Of, func(m *ICMP) []string { return one(m.Code) })},
	{name: "icmp.checksum.status", of: when(icmp4Of, func(m *ICMP) []string { return status(m.Checksum) })},
	{name: "icmpv6.type", of: when(icmp6Of, func(m *ICMP) []string { return one(m.Type) })},
	{name: "icmpv6.code", of: when(icmp6Of, func(m *ICMP) []string { return one(m.Code) })},
	{name: "icmpv6.checksum.status", of: when(icmp6Of, func(m *ICMP) []string { return status(m.Checksum) })},
	{name: "dns.id", of: inDNS(func(m *DNS) []string { return hex(4, m.ID) })},
	{name: "dns.flags.response", of: inDNS(func(m *DNS) []string { return flag01(m.Response) })},
	{name: "dns.count.answers", of: inDNS(func(m *DNS) []string { return one(m.Counts[1]) })},
	{name: "dns.qry.name", of: inDNS(func(m *DNS) []string { return namesOf(m.Questions) })},
	{name: "dns.resp.name", of: inDNS(func(m *DNS) []string { return namesOf(m.Answers) })},
	{name: "dns.a", of: dataOf("A")},
	{name: "dns.aaaa", of: dataOf("AAAA")},
	{name: "dns.cname", of: dataOf("CNAME")},
	{name: "dhcp.id", of: inDHCP("dhcp", func(m *DHCP) []string { return hex(8, m.Transaction) })},
	{name: "dhcp.ip.your", of: inDHCP("dhcp", func(m *DHCP) []string { return valid(m.Yours) })},
	{name: "dhcp.option.hostname", of: inDHCP("dhcp", func(m *DHCP) []string { return nonNil(m.Hostname) })},
	{name: "dhcpv6.xid", of: inDHCP("dhcpv6", func(m *DHCP) []string {
		if m.Transaction == 0 {
			return nil
		}
		return hex(6, m.Transaction)
	})},
	{name: "tls.handshake.extensions_server_name", of: inTLS("tls", func(m *TLS) []string { return nonNil(m.ServerName) })},
	{name: "tls.handshake.extensions_alpn_str", of: inTLS("tls", func(m *TLS) []string { return each(m.ALPN) })},
	{name: "dtls.handshake.extensions_server_name", of: inTLS("dtls", func(m *TLS) []string { return nonNil(m.ServerName) })},
	{name: "http.request.method", of: when(httpOf, func(h *HTTP) []string { return nonNil(h.Method) })},
	{name: "http.request.uri", of: when(httpOf, func(h *HTTP) []string { return nonNil(h.Target) })},
	{name: "http.host", of: when(httpOf, func(h *HTTP) []string { return nonNil(h.Host) })},
	{name: "http.response.code", of: when(httpOf, func(h *HTTP) []string {
		if h.Status == 0 {
			return nil
		}
		return one(h.Status)
	})},
	{name: "vxlan.vni", of: idOf("vxlan", 0)},
	{name: "geneve.vni", of: idOf("geneve", 6)},
	{name: "gre.key", of: idOf("gre", 8)},
	{name: "gtp.teid", of: idOf("gtp", 8)},
	{name: "pppoe.session_id", of: idOf("pppoe", 4)},
}

// tsharkName is what tshark calls a protocol.
func tsharkName(name string) string {
	if n, ok := tsharkNames[name]; ok {
		return n
	}
	return name
}

var tsharkNames = map[string]string{
	"ipv4": "ip", "rarp": "arp", "pop3": "pop", "redis": "resp", "wireguard": "wg", "postgresql": "pgsql", "iso-tsap": "tpkt",
	"pause": "macc", "wake-on-lan": "wol", "ctp": "loop", "profinet": "pn_rt", "ethercat": "ecatf", "netbeui": "netbios",
	"q.933": "q933", "appletalk": "ddp", "is-is": "isis", "es-is": "esis", "802.11": "wlan", "nat-keepalive": "udpencap", "netflow": "cflow", "ipfix": "cflow",
	"nat-pmp": "portcontrol",
}

// oldTshark begins the reason of a difference that a newer one does not have.
const oldTshark = "an old tshark"

// differences are where the two do not agree, and why: by sample, or by sample
// and field.
var differences = map[string]string{
	"arp of infiniband: arp.src.proto_ipv4":                           "tshark takes the addresses of any length; here those of Ethernet are known",
	"arp of infiniband: arp.dst.proto_ipv4":                           "as above",
	"fragment middle: protocol":                                       "what a later fragment belongs to is named here, not decoded",
	"fragment last: protocol":                                         "as above",
	"ipv6 fragment last: protocol":                                    "as above",
	"ipv6 fragment first: udp.checksum.status":                        "a checksum of 0 is left out for tshark and here; tshark adds that IPv6 forbids it",
	"ipv6 no next header: protocol":                                   "tshark has no name for it",
	"ipv6 mobility: protocol":                                         "as above",
	"ah: ip.proto":                                                    "ip.protocol is here that of what follows all headers",
	"ip protocol 253: protocol":                                       "tshark has no name for it",
	"carp: protocol":                                                  "tshark takes it for VRRP, which has the same number",
	"hsrp: protocol":                                                  "tshark wants the group's address as the destination",
	"dns query with opt: dns.resp.name":                               "tshark lists additional records too",
	"dns srv: dns.resp.name":                                          "tshark splits the name into service, protocol and name",
	"dhcpv6 relay: dhcpv6.xid":                                        "tshark looks into the relayed message",
	"smb2 tree connect: protocol":                                     "both versions are smb here",
	"http 2: http.request.method":                                     "tshark knows it for the preface of HTTP/2; here it is a first line",
	"http 2: http.request.uri":                                        "as above",
	"tls hello in two segments: tls.handshake.extensions_server_name": "tshark tells a hello when it is whole; here as far as it is there",
	"tls hello in two segments: tls.handshake.extensions_alpn_str":    "as above",
	"quic initial v2: tls.handshake.extensions_server_name":           oldTshark + " knows a draft of version 2",
	"quic initial v2: tls.handshake.extensions_alpn_str":              oldTshark + " as above",
	"pbb: eth.src":                                                    "tshark has other fields for the customer's addresses",
	"pbb: eth.dst":                                                    "as above",
	"vlan in a provider's: vlan.id":                                   "tshark has another field for a provider's tag",
	"pppoe discovery: pppoe.session_id":                               "discovery is no tunnel; its session is in the line",
	"pppoe discovery: protocol":                                       "tshark has two names for one protocol",
	"pppoe offer: pppoe.session_id":                                   "as above",
	"pppoe offer: protocol":                                           "as above",
	"eap identity: protocol":                                          "tshark does not list it",
	"local experiment: protocol":                                      "tshark has no name for it",
	"raw neither: protocol":                                           "tshark has no name for it",
	"gre of the unknown: gre.key":                                     "a tunnel of which no packet is decoded is none here; its number is in the line",
	"vxlan gpe of the unknown: vxlan.vni":                             "as above",
	"vxlan gpe of the unknown: protocol":                              "tshark has no name for it",
	"geneve of the unknown: geneve.vni":                               "as above",
	"dns over tcp without its header":                                 "tshark shows a part of the header",
	"dns over tcp later segment":                                      "tshark takes any bytes for a message",
	"gquic 43: tls.handshake.extensions_server_name":                  "tshark has another field for the name",
	"gquic 46: tls.handshake.extensions_server_name":                  "as above",
	"link ppp ether discovery":                                        "tshark takes all packets for those of a session",
	"link nflog ipv6 big-endian":                                      "tshark is told the byte order by its user",
	"hsrp advertise: protocol":                                        "tshark wants the group's address as the destination",
	"erspan iii egress ip":                                            "tshark names the type and shows the packet as data",
	"odd ipv4 header behind the end":                                  "tshark shows the total length; here nothing is told of a header that can't be",
	"odd ipv4 total length 10":                                        "as above",
	"odd ipv6 option behind its header":                               "tshark stops there; here the next header is decoded",
	"odd udp length 3":                                                "tshark has no state of the checksum",
	"odd tcp header length 8":                                         "tshark stops there; here the rest of the fixed header is told",
	"odd tcp header behind the end":                                   "as above",
	"odd dns pointer to itself":                                       "tshark shows a text in place of the name",
	"odd dns pointers in a circle":                                    "as above",
	"odd dns name with escapes":                                       "control characters are escaped in another way",
	"odd http with escapes":                                           "as above; tshark's fields let them through",
	"odd tls name with escapes":                                       "as above",
	"odd ipip 40 deep":                                                "eight packets in each other are decoded, no more",
	"odd vlan 100 deep":                                               "32 layers are decoded; tshark takes 20 tags",
	"odd mpls 100 labels":                                             "32 labels are decoded, no more",
}

// reason is why the two may differ in a field of a sample, and its key.
func reason(sample, field string) (key, why string) {
	for _, key := range []string{sample, sample + ": " + field} {
		if why := differences[key]; why != "" {
			return key, why
		}
	}
	return "", ""
}
