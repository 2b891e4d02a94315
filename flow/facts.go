package flow

import (
	"capd/filter"
	"capd/pcap"
)

// Facts sets f to what the row tells a condition, for every frame of it. f refers to the row. A row of what a tunnel carries
// is not to be asked: another row stands for each of its frames.
func (r *Row) Facts(f *filter.Flow) {
	*f = filter.Flow{
		A: filter.Endpoint{Has: filter.HasBytes, Packets: r.Sent.Packets, Bytes: r.Sent.Bytes},
		B: filter.Endpoint{Has: filter.HasBytes, Packets: r.Received.Packets, Bytes: r.Received.Bytes},
	}
	if !r.has(HasInterface) {
		return
	}
	switch r.Link {
	case pcap.LinkTypeEthernet, pcap.LinkTypeLinuxSLL, pcap.LinkTypeLinuxSLL2, pcap.LinkTypeRaw, pcap.LinkTypeNull, pcap.LinkTypeLoop:
	default: // filters look for some protocols elsewhere than Parse does
		return
	}
	if r.EtherType != 0 && r.NumVLANs < MaxVLANs && !r.Unlisted {
		f.Has, f.Link, f.EtherType, f.VLANs = filter.HasFrame, filter.LinkType(r.Link), r.EtherType, r.IDs()
	}
	if r.Link == pcap.LinkTypeEthernet && r.has(HasSrcMAC|HasDstMAC) && !r.Unlisted && r.Marks&OtherMACs == 0 {
		f.A.MAC, f.B.MAC = r.SrcMAC, r.DstMAC
		f.A.Has, f.B.Has = f.A.Has|filter.HasMAC, f.B.Has|filter.HasMAC
	}
	switch r.EtherType { // behind MPLS and PPPoE, filters and rows mean different headers
	case etherIPv4, etherIPv6:
		f.A.Addr, f.B.Addr = r.Src, r.Dst
		if r.has(HasProto) {
			r.transportFacts(f)
		}
	case etherARP, etherRARP:
		f.A.Addr, f.B.Addr = r.Src, r.Dst
	}
}

func (r *Row) transportFacts(f *filter.Flow) {
	f.Protocol, f.Has = r.Proto, f.Has|filter.HasProtocol
	if r.Marks&Extensions == 0 {
		f.Has |= filter.NoExtensions
	}
	switch r.Proto {
	case protoTCP, protoUDP, protoSCTP:
		if r.has(HasPorts) {
			f.B.Port, f.B.Has = r.DstPort, f.B.Has|filter.HasPort
			if !r.Unlisted {
				f.A.Port, f.A.Has = r.SrcPort, f.A.Has|filter.HasPort
			}
		}
		if r.Proto == protoTCP && r.has(HasPorts) && r.Marks&Short == 0 {
			f.A.TCPFlags, f.B.TCPFlags = r.Sent.Flags, r.Received.Flags
			f.A.Has, f.B.Has = f.A.Has|filter.HasTCPFlags, f.B.Has|filter.HasTCPFlags
		}
	case protoICMP, protoICMPv6:
		if !r.has(HasICMP) {
			break
		}
		f.A.ICMPType, f.A.ICMPCode, f.A.Has = r.ICMPType, r.ICMPCode, f.A.Has|filter.HasICMP
		if other, ok := Counterpart(r.Proto, r.ICMPType); ok {
			f.B.ICMPType, f.B.ICMPCode, f.B.Has = other, r.ICMPCode, f.B.Has|filter.HasICMP
		}
	default:
		return
	}
	// Frames that are whole and no later fragments have ports, or a type of ICMP.
	if r.Marks&(LaterFragment|Short) == LaterFragment && !r.has(HasPorts) && !r.has(HasICMP) {
		f.Has |= filter.LaterFragments
	}
}
