package flow

import "encoding/binary"

// A batch is packets whose flows are found together. Most flows are not in the nearest caches of a processor, and it fetches
// many at once in the time of one if no packet waits for the one before. Thus what is looked up is looked up here.
type batch struct {
	n       int
	all     [batchSize]found
	slots   [batchSize]uint32
	fetched uint64 // so that what is read ahead is not left out
}

const batchSize = 32

// A found packet is what counts of a packet of one flow.
type found struct {
	moment
	id    identity
	hash  uint64
	way   int       // 0: from a to b, 1: back
	macs  [2]uint64 // of a and b, as numbers
	has   Has       // of these, as source and destination
	flags uint8     // of TCP
	marks Marks
}

// A moment is what counts of a packet, whatever its flows.
type moment struct {
	at          int64
	length, cut uint64
	region      uint32
}

// add adds a packet, if it is a plain one.
func (w *batch) add(t *flows, iface uint32, b []byte, m *moment) (ok bool) {
	f := &w.all[w.n]
	if f.way, f.flags, ok = f.id.plain(iface, b); !ok {
		return false
	}
	// Each by itself: to copy what was just stored in smaller parts, a processor waits for these.
	f.at, f.length, f.cut, f.region = m.at, m.length, m.cut, m.region
	f.macs[f.way&1] = binary.BigEndian.Uint64(b[6:]) >> 16
	f.macs[f.way&1^1] = binary.BigEndian.Uint64(b) >> 16
	f.has, f.marks = HasSrcMAC|HasDstMAC, 0
	f.hash = t.hash(&f.id)
	w.n++
	return true
}

// fetch reads what its packets need of the flows that they most likely are of, and empties the batch.
func (w *batch) fetch(t *flows) []found {
	all := w.all[:w.n]
	w.n = 0
	mask := uint64(len(t.slots) - 1)
	for i := range all {
		w.slots[i] = t.slots[all[i].hash&mask]
	}
	for _, slot := range w.slots[:len(all)] {
		if n := slotFlow(slot); n >= 0 {
			w.fetched ^= t.all[n].id.rest ^ t.all[n].stretch.mask ^ t.begun[n].cut
		}
	}
	return all
}

// plain finds the flow of a frame of Ethernet as most are: TCP or UDP in IP, behind VLAN tags or not, whole up to the flags of
// TCP, without fragments, options, extension headers and tunnels. It is Frame.Parse and Key.identify for these alone, and much
// faster. It returns 1 for a frame from b to a, and the flags of TCP.
func (id *identity) plain(iface uint32, b []byte) (way int, flags uint8, ok bool) {
	if len(b) < 14+minIPv4Header+4 {
		return 0, 0, false
	}
	t, tags := be16(b[12:]), uint8(0)
	id.vlans = 0
	p := b[14:]
	for t == etherVLAN || t == etherQinQ || t == etherQinQ1 {
		if tags == MaxVLANs || len(p) < 4+minIPv4Header+4 {
			return 0, 0, false
		}
		id.vlans |= uint64(be16(p)&0xfff) << (48 - 16*tags)
		t, p = be16(p[2:]), p[4:]
		tags++
	}
	switch t {
	case etherIPv4:
		if p[0]&15 != 5 || be16(p[6:])&0x3fff != 0 {
			return 0, 0, false
		}
		proto, rest := p[9], p[minIPv4Header:]
		if flags, ok = ports(proto, rest); !ok {
			return 0, 0, false
		}
		// An address and its port are one number, so that no branch depends on the direction, which nobody can predict.
		src := uint64(binary.BigEndian.Uint32(p[12:]))<<16 | uint64(be16(rest))
		dst := uint64(binary.BigEndian.Uint32(p[16:]))<<16 | uint64(be16(rest[2:]))
		low, high := min(src, dst), max(src, dst)
		if low != src {
			way = 1
		}
		id.a[0], id.a[1], id.b[0], id.b[1] = 0, low>>16, 0, high>>16
		id.ports = portsOf(iface, uint16(low), uint16(high))
		id.rest = isIPv4 | pack(etherIPv4, Outer, HasProto|HasPorts|HasInterface, tags, proto, 0)
		return way, flags, true
	case etherIPv6:
		if len(p) < ipv6HeaderSize+4 {
			return 0, 0, false
		}
		proto, rest := p[6], p[ipv6HeaderSize:]
		if flags, ok = ports(proto, rest); !ok {
			return 0, 0, false
		}
		src0, src1 := binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
		dst0, dst1 := binary.BigEndian.Uint64(p[24:]), binary.BigEndian.Uint64(p[32:])
		srcPort, dstPort := be16(rest), be16(rest[2:])
		if src0 > dst0 || src0 == dst0 && (src1 > dst1 || src1 == dst1 && srcPort > dstPort) {
			src0, src1, dst0, dst1, srcPort, dstPort, way = dst0, dst1, src0, src1, dstPort, srcPort, 1
		}
		id.a[0], id.a[1], id.b[0], id.b[1], id.ports = src0, src1, dst0, dst1, portsOf(iface, srcPort, dstPort)
		id.rest = isIPv6 | pack(etherIPv6, Outer, HasProto|HasPorts|HasInterface, tags, proto, 0)
		return way, flags, true
	}
	return 0, 0, false
}

// ports reports whether a packet has ports, of at least 4 bytes that are there, and no tunnel.
func ports(proto uint8, b []byte) (flags uint8, ok bool) {
	switch proto {
	case protoTCP:
		if len(b) >= 14 {
			return b[13], true
		}
	case protoUDP:
		return 0, !tunnelPort(be16(b[2:]))
	}
	return 0, false
}
