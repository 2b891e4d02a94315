package fake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"runtime"
	"slices"
	"time"

	"capd/capture/device"
	"capd/filter"
	"capd/pcap"
)

// A group consists of the devices that share the frames of an interface; usually there is one.
type group struct {
	ports  []*port // open devices
	spread device.Spread
	turn   int
	order  int // groups are numbered in the order in which they were opened
}

// Send makes frames arrive at the interface, with the present time.
func (l *Link) Send(frames ...[]byte) {
	for _, f := range frames {
		l.Deliver(pcap.Packet{Data: f})
	}
}

// Deliver makes packets arrive at the interface. A zero time means the present time, a zero length
// means that of the data, and flags without a direction mean a received frame. While the interface
// is down, packets are lost.
func (l *Link) Deliver(pkts ...pcap.Packet) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	for _, p := range pkts {
		if !l.iface.Up {
			return
		}
		if p.Sec == 0 && p.Nsec == 0 {
			now := time.Now()
			p.Sec, p.Nsec = uint32(now.Unix()), uint32(now.Nanosecond())
		}
		p.Length = max(p.Length, uint32(len(p.Data)))
		if p.Flags&(pcap.FlagInbound|pcap.FlagOutbound) == 0 {
			p.Flags |= pcap.FlagInbound | cast(l, p.Data)
		}
		l.deliver(p)
	}
}

// cast returns the flags for the frame's destination address.
func cast(l *Link, frame []byte) pcap.Flags {
	switch {
	case l.types[0] != pcap.LinkTypeEthernet || len(frame) < 6 || bytes.Equal(frame[:6], l.iface.Address):
		return pcap.FlagUnicast
	case bytes.Equal(frame[:6], []byte{255, 255, 255, 255, 255, 255}):
		return pcap.FlagBroadcast
	case frame[0]&1 != 0:
		return pcap.FlagMulticast
	}
	return pcap.FlagPromiscuous
}

// deliver passes the packet to every group, the one opened last first, as kernels do that take a
// timestamp for each device. The caller holds mu.
func (l *Link) deliver(p pcap.Packet) {
	all := slices.Concat(l.groups, l.sys.groups)
	slices.SortFunc(all, func(a, b *group) int { return b.order - a.order })
	taken := false
	for i, g := range all {
		one := p
		if i > 0 {
			t := p.Time().Add(l.sys.skew * time.Duration(i) / time.Duration(len(all)-1))
			one.Sec, one.Nsec = uint32(t.Unix()), uint32(t.Nanosecond())
		}
		if g.take(l, one) {
			taken = true
		}
	}
	if !taken {
		l.iface.NICDiscarded++ // The interface counts what nobody takes.
	}
}

// take passes the packet to one device of the group. It reports whether that device received it or
// rejected it by its filter.
func (g *group) take(l *Link, p pcap.Packet) bool {
	if len(g.ports) == 0 {
		return false
	}
	at := g.turn
	if g.spread == device.ByFlow {
		at = int(flow(p.Data))
	} else {
		g.turn++
	}
	one := g.ports[at%len(g.ports)]
	if !one.ring.room(len(p.Data)) {
		if i := slices.IndexFunc(g.ports, func(o *port) bool { return o.ring.room(len(p.Data)) }); i >= 0 {
			one = g.ports[i]
		}
	}
	if one.stopped {
		return len(g.ports) > 1 // a stopped device of a group stays a member, and its frames are lost
	}
	if keep := one.keep(l, p); keep > 0 {
		one.receive(l, p, keep)
	}
	return true
}

// flow returns a hash of the frame's flow: the addresses and ports of IPv4, else the first bytes.
func flow(frame []byte) uint32 {
	h := fnv.New32a()
	if len(frame) >= 38 && binary.BigEndian.Uint16(frame[12:]) == 0x0800 && frame[14] == 0x45 {
		h.Write(frame[26:38])
	} else {
		h.Write(frame[:min(len(frame), 14)])
	}
	return h.Sum32() >> 1
}

// keep returns how many bytes of the packet the device keeps; 0 rejects it.
func (p *port) keep(l *Link, pkt pcap.Packet) int {
	out := pkt.Flags&pcap.FlagOutbound != 0
	switch {
	case p.gated, p.config.Direction == device.In && out, p.config.Direction == device.Out && !out:
		return 0
	case len(p.program.Instructions) == 0:
		return p.config.Snaplen
	}
	data, meta := pkt.Data, &filter.Meta{Hatype: l.iface.HardwareType, Ifindex: uint32(l.iface.Index), PacketType: packetType(pkt.Flags)}
	if l.types[0] == pcap.LinkTypeEthernet && len(data) >= 14 {
		meta.Protocol = binary.BigEndian.Uint16(data[12:])
		tagged := meta.Protocol == 0x8100 || meta.Protocol == 0x88a8
		if tagged && len(data) >= 18 && runtime.GOOS == "linux" { // the kernel removes the tag before the filter
			meta.VLAN, meta.VLANTag = true, binary.BigEndian.Uint16(data[14:])
			meta.Protocol = binary.BigEndian.Uint16(data[16:])
			data = slices.Concat(data[:12], data[16:])
		}
		meta.Network = 14
		if p.header() != 0 { // the filter sees the packet without its header
			data = data[14:]
		}
	}
	return min(p.program.Match(data, int(pkt.Length)-len(pkt.Data)+len(data), meta), p.config.Snaplen)
}

// packetType returns the sll_pkttype for the flags (PACKET_ of linux/if_packet.h).
func packetType(f pcap.Flags) uint8 {
	switch {
	case f&pcap.FlagOutbound != 0:
		return 4
	case f&pcap.FlagPromiscuous == pcap.FlagPromiscuous:
		return 3
	case f&pcap.FlagBroadcast == pcap.FlagBroadcast:
		return 1
	case f&pcap.FlagMulticast != 0:
		return 2
	}
	return 0
}

// receive puts the packet, truncated to keep bytes, into the device's ring, or counts it as
// dropped.
func (p *port) receive(l *Link, pkt pcap.Packet, keep int) {
	data := pkt.Data
	switch {
	case p.linkType == pcap.LinkTypeMixed:
		pkt.From = l.origin()
	case p.header() != 0:
		data = cook(l, pkt, p.header())
		pkt.Length += uint32(len(data) - len(pkt.Data))
	}
	n := min(len(data), keep)
	pkt.Data = slices.Clip(append([]byte{}, data[:n]...))
	p.count.received++
	if !p.ring.add(pkt) {
		p.count.dropped++
	}
}

// header returns the format of the header that packets of all interfaces get; 0 for none.
func (p *port) header() pcap.LinkType {
	if p.link != nil {
		return 0
	}
	return device.Cooked(p.linkType)
}

// origin returns the interface as it is now.
func (l *Link) origin() *pcap.Interface {
	if l.from == nil || l.from.Name != l.iface.Name {
		l.from = &pcap.Interface{LinkType: l.types[0], Name: l.iface.Name, Comment: fmt.Sprintf("interface index %d", l.iface.Index)}
	}
	return l.from
}

// cook returns an Ethernet frame in the format of LINKTYPE_LINUX_SLL2 or LINKTYPE_LINUX_SLL.
func cook(l *Link, pkt pcap.Packet, format pcap.LinkType) []byte {
	frame, protocol := pkt.Data, []byte{0, 0}
	address := make([]byte, 8)
	if l.types[0] == pcap.LinkTypeEthernet && len(frame) >= 14 {
		copy(address, frame[6:12])
		frame, protocol = frame[14:], frame[12:14]
	}
	if format == pcap.LinkTypeLinuxSLL {
		h := []byte{0, packetType(pkt.Flags), byte(l.iface.HardwareType >> 8), byte(l.iface.HardwareType), 0, 6}
		return slices.Concat(h, address, protocol, frame)
	}
	h := append(slices.Clone(protocol), 0, 0)
	h = binary.BigEndian.AppendUint32(h, uint32(l.iface.Index))
	h = binary.BigEndian.AppendUint16(h, l.iface.HardwareType)
	h = append(h, packetType(pkt.Flags), 6)
	return slices.Concat(h, address, frame)
}

// Drop makes each device count n frames as dropped, as if its ring had been full.
func (l *Link) Drop(n int) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	l.each(func(p *port) {
		if p.takes() {
			p.count.received += uint64(n)
			p.count.dropped += uint64(n)
			p.count.freezes++
		}
	})
}

// Corrupt makes each device receive a block whose last n frames are malformed, after the frames
// that it has received already.
func (l *Link) Corrupt(n int) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	l.each(func(p *port) {
		if p.takes() {
			p.count.received += uint64(n)
			if !p.ring.spoil(n) {
				p.count.dropped += uint64(n)
			}
		}
	})
}
