package decode

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"capd/pcap"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// gopacket is the oracle of these tests: where it decodes a frame without an
// error, and both it and this package claim a field, the two agree.

// An oracleField is a field of one header. ours is nil where the frame has no
// such thing.
type oracleField struct {
	name   string
	layer  string // of Frame.Path
	ours   func(*Frame) any
	theirs func(gopacket.Layer) any
}

// oracle makes one of gopacket's type for the header. Either side says nil for
// what it doesn't claim.
func oracle[L gopacket.Layer](name, layer string, ours func(*Frame) any, theirs func(L) any) oracleField {
	return oracleField{name, layer, ours, func(l gopacket.Layer) any {
		if l, ok := l.(L); ok {
			return theirs(l)
		}
		return nil
	}}
}

// part returns what of says of a part of the frame that is there.
func part[T any](get func(*Frame) *T, of func(*T) any) func(*Frame) any {
	return func(f *Frame) any {
		if p := get(f); p != nil {
			return of(p)
		}
		return nil
	}
}

func innerEthernet(of func(*Frame) *MAC) func(*Frame) any {
	return func(f *Frame) any {
		if m := of(f); m != nil {
			return m.String()
		}
		return nil
	}
}

func addressOf(ip net.IP) any {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return nil
	}
	return a
}

func claimed(a netip.Addr) any {
	if !a.IsValid() {
		return nil
	}
	return a
}

// portOf is a port of the innermost transport, if it is of the protocol.
func portOf(protocol string, of func(*Frame) uint16) func(*Frame) any {
	return func(f *Frame) any {
		if f.SrcPort|f.DstPort == 0 {
			return nil
		}
		for _, p := range slices.Backward(f.Path) {
			switch p {
			case protocol:
				return int(of(f))
			case "tcp", "udp", "sctp", "dccp", "udplite":
				return nil
			}
		}
		return nil
	}
}

// addressOfIP is an address of the innermost IP header, if it is of the version.
func addressOfIP(version int, of func(*Frame) netip.Addr) func(*Frame) any {
	return func(f *Frame) any {
		if f.IP == nil || f.IP.Version != version {
			return nil
		}
		return of(f)
	}
}

// rightness is whether a checksum is right, where that is known.
func rightness(c Checksum) any {
	switch c {
	case ChecksumRight:
		return true
	case ChecksumWrong, ChecksumNotYet:
		return false
	}
	return nil
}

func verified(l gopacket.LayerWithChecksum) any {
	if err, result := l.VerifyChecksum(); err == nil {
		return result.Valid
	}
	return nil
}

func tcpBits(t *layers.TCP) any {
	bits := 0
	for i, set := range []bool{t.FIN, t.SYN, t.RST, t.PSH, t.ACK, t.URG, t.ECE, t.CWR, t.NS} {
		bits |= bool01(set) << i
	}
	return bits
}

// whole returns what is claimed of a message that the frame has to its end.
func whole(list func(*DNS) []string) func(*Frame) any {
	return func(f *Frame) any {
		if f.DNS == nil || f.Malformed != "" || f.Truncated {
			return nil
		}
		return fmt.Sprint(list(f.DNS))
	}
}

func inMessage(list func(*DNS) []string) func(*Frame) []string {
	return func(f *Frame) []string {
		if f.DNS == nil {
			return nil
		}
		return list(f.DNS)
	}
}

func questionsOf(m *DNS) []string {
	var all []string
	for _, q := range m.Questions {
		all = append(all, q.Name+" "+q.Type)
	}
	return all
}

func theirQuestions(m *layers.DNS) []string {
	var all []string
	for _, q := range m.Questions[:min(len(m.Questions), maxItems)] {
		all = append(all, dnsShown(q.Name, q.Type))
	}
	return all
}

// dnsShown is a name and a type of gopacket's as this package shows them.
func dnsShown(name []byte, t layers.DNSType) string {
	if len(name) == 0 {
		name = []byte(".")
	}
	return printable(name) + " " + (&dnsReader{}).typeName(uint16(t))
}

func answersOf(m *DNS) []string {
	var all []string
	for _, a := range m.Answers {
		text := fmt.Sprintf("%s %s %d", a.Name, a.Type, a.TTL)
		if ip, err := netip.ParseAddr(a.Data); err == nil {
			text += fmt.Sprint(" ", ip)
		}
		all = append(all, text)
	}
	return all
}

func theirAnswers(m *layers.DNS) []string {
	var all []string
	for _, a := range m.Answers[:min(len(m.Answers), maxItems)] {
		text := fmt.Sprintf("%s %d", dnsShown(a.Name, a.Type), a.TTL)
		if ip := addressOf(a.IP); ip != nil {
			text += fmt.Sprint(" ", ip)
		}
		all = append(all, text)
	}
	return all
}

func dnsOf(f *Frame) *DNS   { return f.DNS }
func dhcpOf(f *Frame) *DHCP { return f.DHCP }

var oracleFields = slices.Concat(oracleLinks, oracleNetworks, oracleTransports, oracleControls, oracleNames)

var oracleLinks = []oracleField{
	oracle("source", "ethernet", innerEthernet(func(f *Frame) *MAC { return f.SrcMAC }), func(l *layers.Ethernet) any { return l.SrcMAC.String() }),
	oracle("destination", "ethernet", innerEthernet(func(f *Frame) *MAC { return f.DstMAC }), func(l *layers.Ethernet) any { return l.DstMAC.String() }),
	oracle("operation", "arp", part(arpOf, func(a *ARP) any { return a.Operation }), func(l *layers.ARP) any { return l.Operation }),
	oracle("sender", "arp", func(f *Frame) any { return claimed(f.Src) }, func(l *layers.ARP) any { return addressOf(l.SourceProtAddress) }),
	oracle("target", "arp", func(f *Frame) any { return claimed(f.Dst) }, func(l *layers.ARP) any { return addressOf(l.DstProtAddress) }),
}

var oracleNetworks = []oracleField{
	oracle("source", "ipv4", addressOfIP(4, func(f *Frame) netip.Addr { return f.Src }), func(l *layers.IPv4) any { return addressOf(l.SrcIP) }),
	oracle("destination", "ipv4", addressOfIP(4, func(f *Frame) netip.Addr { return f.Dst }), func(l *layers.IPv4) any { return addressOf(l.DstIP) }),
	oracle("tos", "ipv4", part(ip4Of, func(h *IP) any { return h.TOS }), func(l *layers.IPv4) any { return l.TOS }),
	oracle("ttl", "ipv4", part(ip4Of, func(h *IP) any { return h.TTL }), func(l *layers.IPv4) any { return l.TTL }),
	oracle("id", "ipv4", part(ip4Of, func(h *IP) any { return uint16(h.ID) }), func(l *layers.IPv4) any { return l.Id }),
	oracle("length", "ipv4", part(ip4Of, func(h *IP) any { return h.Length }), func(l *layers.IPv4) any { return int(l.Length) }),
	oracle("df", "ipv4", part(ip4Of, func(h *IP) any { return h.DontFragment }), func(l *layers.IPv4) any { return l.Flags&layers.IPv4DontFragment != 0 }),
	oracle("mf", "ipv4", part(ip4Of, func(h *IP) any { return h.MoreFragments }), func(l *layers.IPv4) any { return l.Flags&layers.IPv4MoreFragments != 0 }),
	oracle("offset", "ipv4", part(ip4Of, func(h *IP) any { return h.FragmentOffset }), func(l *layers.IPv4) any { return int(l.FragOffset) * 8 }),
	oracle("checksum", "ipv4", part(ip4Of, func(h *IP) any { return rightness(h.Checksum) }), func(l *layers.IPv4) any { return verified(l) }),
	oracle("protocol", "ipv4", func(f *Frame) any {
		if ip4Of(f) == nil || f.has("ah") { // it is that of what follows all headers
			return nil
		}
		return int(f.IP.Protocol)
	}, func(l *layers.IPv4) any { return int(l.Protocol) }),
	oracle("source", "ipv6", addressOfIP(6, func(f *Frame) netip.Addr { return f.Src }), func(l *layers.IPv6) any { return addressOf(l.SrcIP) }),
	oracle("destination", "ipv6", addressOfIP(6, func(f *Frame) netip.Addr { return f.Dst }), func(l *layers.IPv6) any { return addressOf(l.DstIP) }),
	oracle("class", "ipv6", part(ip6Of, func(h *IP) any { return h.TOS }), func(l *layers.IPv6) any { return l.TrafficClass }),
	oracle("flow", "ipv6", part(ip6Of, func(h *IP) any { return h.FlowLabel }), func(l *layers.IPv6) any { return l.FlowLabel }),
	oracle("hop limit", "ipv6", part(ip6Of, func(h *IP) any { return h.TTL }), func(l *layers.IPv6) any { return l.HopLimit }),
	oracle("length", "ipv6", part(ip6Of, func(h *IP) any { return h.Length }), func(l *layers.IPv6) any { return 40 + int(l.Length) }),
	oracle("id", "fragment", part(ip6Of, func(h *IP) any { return h.ID }), func(l *layers.IPv6Fragment) any { return l.Identification }),
	oracle("offset", "fragment", part(ip6Of, func(h *IP) any { return h.FragmentOffset }), func(l *layers.IPv6Fragment) any { return int(l.FragmentOffset) * 8 }),
}

var oracleTransports = []oracleField{
	oracle("source port", "tcp", portOf("tcp", src), func(l *layers.TCP) any { return int(l.SrcPort) }),
	oracle("destination port", "tcp", portOf("tcp", dst), func(l *layers.TCP) any { return int(l.DstPort) }),
	oracle("flags", "tcp", part(tcpOf, func(t *TCP) any { return int(t.Bits & 0x1ff) }), tcpBits),
	oracle("seq", "tcp", part(tcpOf, func(t *TCP) any { return t.Seq }), func(l *layers.TCP) any { return l.Seq }),
	oracle("ack", "tcp", part(tcpOf, func(t *TCP) any { return t.Ack }), func(l *layers.TCP) any { return l.Ack }),
	oracle("window", "tcp", part(tcpOf, func(t *TCP) any { return t.Window }), func(l *layers.TCP) any { return l.Window }),
	oracle("urgent", "tcp", part(tcpOf, func(t *TCP) any { return t.Urgent }), func(l *layers.TCP) any { return l.Urgent }),
	oracle("length", "tcp", part(tcpOf, func(t *TCP) any { return t.Length }), func(l *layers.TCP) any { return len(l.Payload) }),
	oracle("checksum", "tcp", part(tcpOf, func(t *TCP) any { return rightness(t.Checksum) }), func(l *layers.TCP) any { return verified(l) }),
	oracle("source port", "udp", portOf("udp", src), func(l *layers.UDP) any { return int(l.SrcPort) }),
	oracle("destination port", "udp", portOf("udp", dst), func(l *layers.UDP) any { return int(l.DstPort) }),
	oracle("length", "udp", part(udpOf, func(u *UDP) any { return u.Length }), func(l *layers.UDP) any { return int(l.Length) }),
	oracle("checksum", "udp", part(udpOf, func(u *UDP) any { return rightness(u.Checksum) }), func(l *layers.UDP) any { return verified(l) }),
	oracle("source port", "sctp", portOf("sctp", src), func(l *layers.SCTP) any { return int(l.SrcPort) }),
	oracle("destination port", "sctp", portOf("sctp", dst), func(l *layers.SCTP) any { return int(l.DstPort) }),
	oracle("source port", "udplite", portOf("udplite", src), func(l *layers.UDPLite) any { return int(l.SrcPort) }),
}

var oracleControls = []oracleField{
	oracle("type", "icmp", part(icmp4Of, func(m *ICMP) any { return m.Type }), func(l *layers.ICMPv4) any { return l.TypeCode.Type() }),
	oracle("code", "icmp", part(icmp4Of, func(m *ICMP) any { return m.Code }), func(l *layers.ICMPv4) any { return l.TypeCode.Code() }),
	oracle("checksum", "icmp", part(icmp4Of, func(m *ICMP) any { return rightness(m.Checksum) }), func(l *layers.ICMPv4) any { return verified(l) }),
	oracle("echo", "icmp", part(icmp4Of, func(m *ICMP) any {
		if m.Type != 0 && m.Type != 8 {
			return nil
		}
		return [2]uint16{m.ID, m.Seq}
	}), func(l *layers.ICMPv4) any { return [2]uint16{l.Id, l.Seq} }),
	oracle("type", "icmpv6", part(icmp6Of, func(m *ICMP) any { return m.Type }), func(l *layers.ICMPv6) any { return l.TypeCode.Type() }),
	oracle("code", "icmpv6", part(icmp6Of, func(m *ICMP) any { return m.Code }), func(l *layers.ICMPv6) any { return l.TypeCode.Code() }),
	oracle("checksum", "icmpv6", part(icmp6Of, func(m *ICMP) any { return rightness(m.Checksum) }), func(l *layers.ICMPv6) any { return verified(l) }),
}

var oracleNames = []oracleField{
	oracle("id", "dns", part(dnsOf, func(m *DNS) any { return m.ID }), func(l *layers.DNS) any { return l.ID }),
	oracle("response", "dns", part(dnsOf, func(m *DNS) any { return m.Response }), func(l *layers.DNS) any { return l.QR }),
	oracle("opcode", "dns", part(dnsOf, func(m *DNS) any { return m.Opcode }), func(l *layers.DNS) any { return uint8(l.OpCode) }),
	oracle("rcode", "dns", part(dnsOf, func(m *DNS) any { return m.RCode }), func(l *layers.DNS) any { return uint8(l.ResponseCode) & 15 }),
	oracle("counts", "dns", part(dnsOf, func(m *DNS) any { return m.Counts }), func(l *layers.DNS) any {
		return [4]int{int(l.QDCount), int(l.ANCount), int(l.NSCount), int(l.ARCount)}
	}),
	oracle("questions", "dns", whole(questionsOf), func(l *layers.DNS) any { return fmt.Sprint(theirQuestions(l)) }),
	oracle("answers", "dns", whole(answersOf), func(l *layers.DNS) any { return fmt.Sprint(theirAnswers(l)) }),
	oracle("transaction", "dhcp", part(dhcpOf, func(m *DHCP) any { return m.Transaction }), func(l *layers.DHCPv4) any { return l.Xid }),
	oracle("client", "dhcp", part(dhcpOf, func(m *DHCP) any {
		if m.ClientMAC == nil {
			return nil
		}
		return m.ClientMAC.String()
	}), func(l *layers.DHCPv4) any { return l.ClientHWAddr.String() }),
	oracle("yours", "dhcp", part(dhcpOf, func(m *DHCP) any { return claimed(m.Yours) }), func(l *layers.DHCPv4) any { return addressOf(l.YourClientIP) }),
}

// oracleLists are what a frame lists, of all its headers and outermost first
// where it is of headers. One may be shorter than the other: here there are
// limits, and what was cut is shown as far as it goes.
var oracleLists = []struct {
	name   string
	ours   func(*Frame) []string
	theirs func(gopacket.Layer) []string
}{
	{"questions", inMessage(questionsOf), ofLayer(theirQuestions)},
	{"answers", inMessage(answersOf), ofLayer(theirAnswers)},
	{"vlans", func(f *Frame) []string { return each(f.VLANs) }, listed(func(l *layers.Dot1Q) any { return l.VLANIdentifier })},
	{"mpls", func(f *Frame) []string { return each(f.MPLS) }, listed(func(l *layers.MPLS) any { return l.Label })},
	{"vxlan", idOf("vxlan", 0), listed(func(l *layers.VXLAN) any { return l.VNI })},
	{"geneve", idOf("geneve", 0), listed(func(l *layers.Geneve) any { return l.VNI })},
	{"pppoe", idOf("pppoe", 0), listed(func(l *layers.PPPoE) any {
		if l.Code != 0 {
			return nil
		}
		return l.SessionId
	})},
	{"gtp", idOf("gtp", 0), listed(func(l *layers.GTPv1U) any {
		if l.MessageType != 255 {
			return nil
		}
		return l.TEID
	})},
	{"gre keys", idOf("gre", 0), listed(func(l *layers.GRE) any {
		if !l.KeyPresent || l.Version != 0 {
			return nil
		}
		return l.Key
	})},
	{"ipv4 sources", func(f *Frame) []string { return addressesOf(f, true, sourceOf) }, listed(func(l *layers.IPv4) any { return addressOf(l.SrcIP) })},
	{"ipv6 destinations", func(f *Frame) []string { return addressesOf(f, false, destinationOf) }, listed(func(l *layers.IPv6) any { return addressOf(l.DstIP) })},
}

func ofLayer[L gopacket.Layer](of func(L) []string) func(gopacket.Layer) []string {
	return func(l gopacket.Layer) []string {
		if l, ok := l.(L); ok {
			return of(l)
		}
		return nil
	}
}

func listed[L gopacket.Layer](of func(L) any) func(gopacket.Layer) []string {
	return ofLayer(func(l L) []string {
		if v := of(l); v != nil {
			return one(v)
		}
		return nil
	})
}

// gopacketOf decodes a frame with gopacket, or returns nil where that ends in an
// error or with less than the whole frame.
func gopacketOf(link pcap.LinkType, b []byte) gopacket.Packet {
	p := gopacket.NewPacket(b, layers.LinkType(link), gopacket.DecodeOptions{DecodeStreamsAsDatagrams: true})
	if p.ErrorLayer() != nil || p.Metadata().Truncated {
		return nil
	}
	return p
}

// compareGopacket returns the number of fields that both claim, and reports
// those in which they differ.
func compareGopacket(f *Frame, p gopacket.Packet, differ func(field string, ours, theirs any)) int {
	claims := 0
	for _, field := range oracleFields {
		if n := countOf(f.Path, field.layer); n > 0 {
			claims += compareField(&field, f, p, n, differ)
		}
	}
	for _, list := range oracleLists {
		ours, theirs := list.ours(f), []string(nil)
		for _, l := range p.Layers() {
			theirs = append(theirs, list.theirs(l)...)
		}
		n := min(len(ours), len(theirs))
		if claims += n; !slices.Equal(ours[:n], theirs[:n]) {
			differ(list.name, ours, theirs)
		}
	}
	return claims
}

// compareField compares a field of the n-th header of its kind, which is the
// innermost that the frame has.
func compareField(field *oracleField, f *Frame, p gopacket.Packet, n int, differ func(field string, ours, theirs any)) int {
	ours := field.ours(f)
	for _, l := range p.Layers() {
		theirs := field.theirs(l)
		if theirs == nil {
			continue
		}
		if n--; n > 0 {
			continue
		}
		if ours == nil {
			return 0
		}
		if ours != theirs {
			differ(field.layer+" "+field.name, ours, theirs)
		}
		return 1
	}
	return 0
}

func countOf(path []string, layer string) int {
	n := 0
	for _, p := range path {
		n += bool01(p == layer)
	}
	return n
}

func TestAgainstGopacket(t *testing.T) {
	claims, frames := 0, 0
	for _, s := range corpus() {
		p := gopacketOf(s.link, s.Data)
		if p == nil {
			continue
		}
		frames++
		claims += compareGopacket(New(s.link, Options{}).Decode(&s.Packet), p, func(field string, ours, theirs any) {
			t.Errorf("%s: %s: %v, gopacket says %v", s.name, field, ours, theirs)
		})
	}
	t.Logf("%d fields of %d frames", claims, frames)
	if frames < 200 || claims < 2000 {
		t.Errorf("only %d fields of %d frames were compared", claims, frames)
	}
}

// TestGeneratedAgainstGopacket compares frames with values of any size, and the
// same with a few bytes changed.
func TestGeneratedAgainstGopacket(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	d := New(pcap.LinkTypeEthernet, Options{})
	claims := 0
	for i := range *packets / 4 {
		b := generated(r)
		if i%2 == 1 {
			damage(r, b)
		}
		if p := gopacketOf(pcap.LinkTypeEthernet, b); p != nil {
			f := d.Decode(&pcap.Packet{Data: b, Length: uint32(len(b))})
			claims += compareGopacket(f, p, func(field string, ours, theirs any) {
				t.Fatalf("%x: %s: %v, gopacket says %v", b, field, ours, theirs)
			})
		}
	}
	t.Logf("%d fields", claims)
	if claims < 2**packets {
		t.Errorf("only %d fields were compared", claims)
	}
}

// gopacketDiffers are the samples that may differ once they are damaged, and why.
var gopacketDiffers = map[string]string{
	"erspan":                         "gopacket takes it for type II without a sequence number too, where type I has no header",
	"erspan iii by the number of ii": "as above",
	"geneve":                         "gopacket lets an option end behind the options",
}

// TestDamagedAgainstGopacket compares the samples with a few bytes changed.
func TestDamagedAgainstGopacket(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	all := corpus()
	decoders := map[pcap.LinkType]*Decoder{}
	for i := range *packets / 4 {
		s := &all[i%len(all)]
		if decoders[s.link] == nil {
			decoders[s.link] = New(s.link, Options{})
		}
		b := cat(s.Data)
		damage(r, b)
		if p := gopacketOf(s.link, b); p != nil {
			f := decoders[s.link].Decode(&pcap.Packet{Data: b, Length: uint32(len(b))})
			compareGopacket(f, p, func(field string, ours, theirs any) {
				if gopacketDiffers[s.name] != "" {
					return
				}
				t.Errorf("%s: %x: %s: %v, gopacket says %v", s.name, b, field, ours, theirs)
			})
		}
	}
}

func damage(r *rand.Rand, b []byte) {
	for range 1 + r.IntN(3) {
		if len(b) > 0 {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
	}
}

// generated is a frame with tags, an IP header and a transport, whose values
// are drawn.
func generated(r *rand.Rand) raw {
	bytes := func(n int) raw {
		b := make(raw, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	six := r.IntN(2) == 1
	from, to := bytes(4), bytes(4)
	if six {
		from, to = bytes(16), bytes(16)
	}
	proto, body := generatedBody(r, bytes, six)
	sumAt := map[byte]int{1: 2, 58: 2, 6: 16, 17: 6}
	if at, ok := sumAt[proto]; ok && r.IntN(4) > 0 {
		pseudo := cat(from, to, be32(len(body), int(proto)))
		if proto == 1 {
			pseudo = nil
		}
		copy(body[at:], slowSum(pseudo, body))
	}
	var packet raw
	kind := 0x0800
	if six {
		kind = 0x86dd
		packet = cat(be32(0x60000000|r.IntN(1<<28)), be16(len(body)), raw{proto, byte(r.Uint32())}, from, to, body)
	} else {
		head := cat(raw{0x45, byte(r.Uint32())}, be16(20+len(body)), bytes(2), be16(r.IntN(2)<<14), raw{byte(r.Uint32()), proto, 0, 0}, from, to)
		copy(head[10:], slowSum(head))
		packet = cat(head, body)
	}
	for range r.IntN(3) {
		packet, kind = cat(be16(r.IntN(1<<16), kind), packet), []int{0x8100, 0x88a8}[r.IntN(2)]
	}
	return cat(bytes(12), be16(kind), packet)
}

func generatedBody(r *rand.Rand, bytes func(int) raw, six bool) (proto byte, body raw) {
	payload := bytes(r.IntN(60))
	switch r.IntN(4) {
	case 0:
		options := []raw{nil, {1, 1, 1, 0}, {2, 4, 5, 180}, {3, 3, 7, 1}}[r.IntN(4)]
		bits := (5+len(options)/4)<<12 | r.IntN(512)
		return 6, cat(bytes(12), be16(bits), bytes(2), be16(0), bytes(2), options, payload)
	case 1:
		message := cat(bytes(2), be16(r.IntN(1<<16)&^0x40, 1, 1, 0, 0), generatedName(r), be16(1, 1), generatedName(r), be16(1, 1), bytes(4), be16(4), bytes(4))
		ports := [2]int{1024 + r.IntN(50000), 53}
		if r.IntN(2) == 1 {
			ports[0], ports[1] = ports[1], ports[0]
		}
		return 17, cat(be16(ports[0], ports[1], 8+len(message), 0), message)
	case 2:
		return 17, cat(bytes(4), be16(8+len(payload), 0), payload)
	}
	if six {
		return 58, cat(bytes(2), be16(0), bytes(24), payload)
	}
	return 1, cat(bytes(2), be16(0), bytes(4), payload)
}

func generatedName(r *rand.Rand) raw {
	var labels []string
	for range r.IntN(4) {
		label := binary.BigEndian.AppendUint32(nil, r.Uint32())
		for i := range label {
			label[i] = 'a' + label[i]%26
		}
		labels = append(labels, string(label))
	}
	return dnsName(labels...)
}

// TestSaysMore holds what ARCHITECTURE.md gives as the reason for parsers of
// capd's own: on more than a third of the samples a frame names a header that
// gopacket's layers end before, with a payload or with an error.
func TestSaysMore(t *testing.T) {
	all := corpus()
	more := 0
	for _, s := range all {
		p := gopacket.NewPacket(s.Data, layers.LinkType(s.link), gopacket.DecodeOptions{DecodeStreamsAsDatagrams: true})
		known := 0
		for _, l := range p.Layers() {
			switch l.LayerType() {
			case gopacket.LayerTypePayload, gopacket.LayerTypeFragment, gopacket.LayerTypeDecodeFailure:
			default:
				known++
			}
		}
		more += bool01(len(New(s.link, Options{}).Decode(&s.Packet).Path) > known)
	}
	t.Logf("%d of %d", more, len(all))
	if more*3 < len(all) {
		t.Errorf("on %d of %d samples", more, len(all))
	}
}
