package decode

import (
	"encoding/json"
	"net/netip"
	"strconv"
)

const maxFields = 128 // of one layer

// A Frame is what a packet holds. Its exported fields are the members of the
// object that --json prints; those that a frame does not have are left out.
//
// In a tunnel the addresses, ports and what follows are those of the innermost
// packet that could be read; Tunnels has the outer ones.
type Frame struct {
	Length    int    `json:"length"`              // bytes on the wire
	Captured  int    `json:"captured"`            // bytes there are of them
	Direction string `json:"direction,omitempty"` // "in" or "out", where that is known

	Protocol string   `json:"protocol"` // the innermost one, as in Path
	Path     []string `json:"path"`     // the protocols, outermost first: "ethernet", "ipv4", "tcp", "http"
	Info     Text     `json:"info"`     // what the line says behind addresses and protocol

	SrcMAC    *MAC     `json:"src_mac,omitempty"`   // of the innermost link layer; all zeroes is an address like others
	DstMAC    *MAC     `json:"dst_mac,omitempty"`   //
	EtherType uint16   `json:"ethertype,omitempty"` // the last one, behind tags
	VLANs     []uint16 `json:"vlans,omitempty"`     // outermost first, of all layers
	MPLS      []uint32 `json:"mpls,omitempty"`      // labels, outermost first
	Tunnels   []Tunnel `json:"tunnels,omitempty"`   // outermost first

	Src     netip.Addr `json:"src,omitzero"` // of IP and ARP
	Dst     netip.Addr `json:"dst,omitzero"` //
	SrcPort uint16     `json:"src_port,omitempty"`
	DstPort uint16     `json:"dst_port,omitempty"`

	IP        *IP     `json:"ip,omitempty"`
	ARP       *ARP    `json:"arp,omitempty"`
	TCP       *TCP    `json:"tcp,omitempty"`
	UDP       *UDP    `json:"udp,omitempty"`
	ICMP      *ICMP   `json:"icmp,omitempty"` // of ICMPv6 too
	DNS       *DNS    `json:"dns,omitempty"`
	DHCP      *DHCP   `json:"dhcp,omitempty"`
	TLS       *TLS    `json:"tls,omitempty"`
	HTTP      *HTTP   `json:"http,omitempty"`
	Truncated bool    `json:"truncated,omitempty"` // the capture ends before a header does
	Malformed string  `json:"malformed,omitempty"` // what is wrong with it
	Layers    []Layer `json:"layers,omitempty"`    // with Options.Layers, or after AppendLayers
	names     bool    // of ports, in place of numbers
	again     func()  // decodes it once more, with its layers
}

// A Tunnel is a packet that holds another.
type Tunnel struct {
	Protocol string     `json:"protocol"`
	Src      netip.Addr `json:"src,omitzero"`
	Dst      netip.Addr `json:"dst,omitzero"`
	ID       *uint32    `json:"id,omitempty"` // VXLAN and Geneve network, GRE key, GTP endpoint ...
}

// Checksum says whether one is right.
type Checksum string

// The states of a checksum.
const (
	ChecksumRight   Checksum = "right"
	ChecksumWrong   Checksum = "wrong"
	ChecksumNotYet  Checksum = "not yet computed" // the NIC will
	ChecksumNone    Checksum = "none"             // the sender left it out, as UDP may
	ChecksumUnknown Checksum = "unknown"          // not all that it covers is there
)

// IP is an IPv4 or IPv6 header.
type IP struct {
	Version        int      `json:"version"`
	Protocol       uint8    `json:"protocol"`         // of what follows, behind extension headers
	TTL            uint8    `json:"ttl"`              // the hop limit of IPv6
	Length         int      `json:"length"`           // of the packet with its header
	TOS            uint8    `json:"tos,omitempty"`    // the traffic class of IPv6
	ID             uint32   `json:"id,omitempty"`     // of IPv6 where there is a fragment header
	FlowLabel      uint32   `json:"flow,omitempty"`   //
	DontFragment   bool     `json:"df,omitempty"`     //
	MoreFragments  bool     `json:"mf,omitempty"`     //
	FragmentOffset int      `json:"offset,omitempty"` // in bytes
	Checksum       Checksum `json:"checksum,omitempty"`
}

// ARP is an ARP or RARP message. Src and Dst of the frame are its protocol
// addresses.
type ARP struct {
	Operation uint16 `json:"operation"`
	SenderMAC MAC    `json:"sender_mac"`
	TargetMAC MAC    `json:"target_mac"`
}

// TCP is a TCP header.
type TCP struct {
	Flags    string   `json:"flags"` // as tcpdump shows them: "S", "S.", "P.", "none"
	Bits     uint16   `json:"bits"`  // the same, as a number
	Seq      uint32   `json:"seq"`
	Ack      uint32   `json:"ack"`
	Window   uint16   `json:"window"`
	Urgent   uint16   `json:"urgent,omitempty"`
	Length   int      `json:"length"` // of the payload
	Options  []string `json:"options,omitempty"`
	Checksum Checksum `json:"checksum,omitempty"`
}

// UDP is a UDP header.
type UDP struct {
	Length   int      `json:"length"` // of header and payload, as the header says
	Checksum Checksum `json:"checksum,omitempty"`
}

// ICMP is an ICMP or ICMPv6 message.
type ICMP struct {
	Type     uint8      `json:"type"`
	Code     uint8      `json:"code"`
	ID       uint16     `json:"id,omitempty"`  // of an echo
	Seq      uint16     `json:"seq,omitempty"` // of an echo
	Target   netip.Addr `json:"target,omitzero"`
	Checksum Checksum   `json:"checksum,omitempty"`
}

// DNS is a DNS, mDNS or LLMNR message.
type DNS struct {
	ID        uint16   `json:"id"`
	Response  bool     `json:"response"`
	Opcode    uint8    `json:"opcode,omitempty"`
	RCode     uint8    `json:"rcode,omitempty"`
	Questions []DNSRR  `json:"questions,omitempty"`
	Answers   []DNSRR  `json:"answers,omitempty"`
	Counts    [4]int   `json:"counts"` // of the four sections, as the header says
	Flags     []string `json:"flags,omitempty"`
}

// DNSRR is a question, or a record of the answer.
type DNSRR struct {
	Name string `json:"name"`
	Type string `json:"type"`
	TTL  uint32 `json:"ttl,omitempty"`
	Data string `json:"data,omitempty"`
}

// DHCP is a DHCP, BOOTP or DHCPv6 message.
type DHCP struct {
	Message     string     `json:"message"` // "discover", "offer" ...
	Transaction uint32     `json:"transaction"`
	ClientMAC   *MAC       `json:"client_mac,omitempty"`
	Client      netip.Addr `json:"client,omitzero"`    // the address that the client has
	Yours       netip.Addr `json:"yours,omitzero"`     // the address that it is given
	Requested   netip.Addr `json:"requested,omitzero"` // the address that it asks for
	Server      netip.Addr `json:"server,omitzero"`
	Hostname    string     `json:"hostname,omitempty"`
}

// TLS is the first record of a TLS, DTLS or QUIC payload.
type TLS struct {
	Record     string   `json:"record,omitempty"` // "handshake", "alert" ...
	Handshake  string   `json:"handshake,omitempty"`
	Version    string   `json:"version,omitempty"`
	ServerName string   `json:"server_name,omitempty"`
	ALPN       []string `json:"alpn,omitempty"`
}

// HTTP is the first line of a request or of an answer.
type HTTP struct {
	Method  string `json:"method,omitempty"`
	Target  string `json:"target,omitempty"`
	Version string `json:"version,omitempty"`
	Host    string `json:"host,omitempty"`
	Status  int    `json:"status,omitempty"`
}

// A Layer is one header.
type Layer struct {
	Name   string  `json:"name"`
	Fields []Field `json:"fields"`
}

// A Field is one of a header, its value as text.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Text is a text in memory that the next Decode takes over.
type Text []byte

// MarshalText makes it a string in JSON.
func (t Text) MarshalText() ([]byte, error) { return t, nil }

// A MAC is a hardware address.
type MAC [6]byte

func (m MAC) String() string {
	b := make([]byte, 0, 17)
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hexDigits[x>>4], hexDigits[x&15])
	}
	return string(b)
}

// MarshalText makes it a string in JSON.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// reset keeps the memory of lists.
func (f *Frame) reset() {
	*f = Frame{names: f.names, again: f.again, Path: f.Path[:0], VLANs: f.VLANs[:0], MPLS: f.MPLS[:0], Tunnels: f.Tunnels[:0]}
}

// MarshalJSON returns the object that the exported fields describe.
func (f *Frame) MarshalJSON() ([]byte, error) {
	type plain Frame // without this method
	return json.Marshal((*plain)(f))
}

// AppendLine appends the frame as "source > destination, protocol facts",
// without time, interface and newline.
func (f *Frame) AppendLine(dst []byte) []byte {
	dst = f.appendEnds(dst)
	for _, v := range f.VLANs {
		dst = append(dst, "vlan "...)
		dst = strconv.AppendUint(dst, uint64(v), 10)
		dst = append(dst, ", "...)
	}
	for i, l := range f.MPLS {
		if i == 0 {
			dst = append(dst, "mpls"...)
		}
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, uint64(l), 10)
		if i == len(f.MPLS)-1 {
			dst = append(dst, ", "...)
		}
	}
	for i := range f.Tunnels {
		dst = f.Tunnels[i].append(dst)
	}
	dst = append(dst, f.Protocol...)
	if len(f.Info) > 0 {
		dst = append(dst, ' ')
		dst = append(dst, f.Info...)
	}
	return dst
}

// appendEnds appends the sender and the receiver.
func (f *Frame) appendEnds(dst []byte) []byte {
	switch {
	case f.ARP == nil && f.Src.IsValid():
		dst = f.appendEnd(dst, f.Src, f.SrcPort)
		dst = append(dst, " > "...)
		dst = f.appendEnd(dst, f.Dst, f.DstPort)
	case f.DstMAC != nil && f.SrcMAC == nil: // an acknowledgment has only this one
		dst = append(dst, "> "...)
		dst = append(dst, f.DstMAC.String()...)
	case f.DstMAC != nil:
		dst = append(dst, f.SrcMAC.String()...)
		dst = append(dst, " > "...)
		dst = append(dst, f.DstMAC.String()...)
	case f.SrcMAC != nil:
		dst = append(dst, f.SrcMAC.String()...)
	default:
		return dst
	}
	return append(dst, ", "...)
}

func (f *Frame) has(layer string) bool {
	for _, p := range f.Path {
		if p == layer {
			return true
		}
	}
	return false
}

func (f *Frame) appendEnd(dst []byte, a netip.Addr, port uint16) []byte {
	ports := f.SrcPort|f.DstPort != 0
	if ports && a.Is6() {
		dst = append(dst, '[')
	}
	dst = a.AppendTo(dst)
	if !ports {
		return dst
	}
	if a.Is6() {
		dst = append(dst, ']')
	}
	dst = append(dst, ':')
	return f.appendPort(dst, port)
}

func (f *Frame) appendPort(dst []byte, port uint16) []byte {
	if f.names {
		if name := portName(port, f.has("tcp")); name != "" {
			return append(dst, name...)
		}
	}
	return strconv.AppendUint(dst, uint64(port), 10)
}

func (t *Tunnel) append(dst []byte) []byte {
	dst = append(dst, t.Protocol...)
	if t.ID != nil {
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, uint64(*t.ID), 10)
	}
	if t.Src.IsValid() {
		dst = append(dst, " ("...)
		dst = t.Src.AppendTo(dst)
		dst = append(dst, " > "...)
		dst = t.Dst.AppendTo(dst)
		dst = append(dst, ')')
	}
	return append(dst, ", "...)
}

// AppendLayers appends a line for each layer with all fields of its header,
// indented, each with a newline. It decodes the packet again where the layers
// were not asked for, so the packet's data must still be valid.
func (f *Frame) AppendLayers(dst []byte) []byte {
	if f.Layers == nil && f.again != nil {
		f.again()
	}
	for _, l := range f.Layers {
		dst = append(dst, "    "...)
		dst = append(dst, l.Name...)
		for i, x := range l.Fields {
			if i == 0 {
				dst = append(dst, ':')
			} else {
				dst = append(dst, ',')
			}
			dst = append(dst, ' ')
			dst = append(dst, x.Name...)
			dst = append(dst, ' ')
			if x.Value == "" {
				dst = append(dst, "none"...)
			}
			dst = append(dst, x.Value...)
		}
		dst = append(dst, '\n')
	}
	return dst
}
