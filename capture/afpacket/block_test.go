package afpacket

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"capd/capture/device"
	"capd/pcap"
)

// raw is a frame to be laid out as the kernel does.
type raw struct {
	data      []byte
	length    uint32 // on the wire; 0 means len(data)
	status    uint32
	tci, tpid uint16
	pktType   byte
	hatype    uint16 // 0 means Ethernet
	protocol  uint16 // 0 means IPv4
	net       uint16 // bytes of the link layer's header
}

// build lays the frames out as prb_fill_curr_block and tpacket_rcv do.
func build(size, mac int, frames ...raw) []byte {
	mem := make([]byte, size)
	host.PutUint32(mem[blockStatus:], ownerUser)
	host.PutUint32(mem[blockCount:], uint32(len(frames)))
	host.PutUint32(mem[blockFirst:], blockLen)
	off := blockLen
	for i, f := range frames {
		h := mem[off:]
		next := (mac + len(f.data) + 7) &^ 7
		if i < len(frames)-1 {
			host.PutUint32(h[frameNext:], uint32(next))
		}
		host.PutUint32(h[frameSec:], uint32(100+i))
		host.PutUint32(h[frameNsec:], uint32(i))
		host.PutUint32(h[frameSnaplen:], uint32(len(f.data)))
		host.PutUint32(h[frameLength:], max(f.length, uint32(len(f.data))))
		host.PutUint32(h[frameStatus:], f.status)
		host.PutUint16(h[frameMAC:], uint16(mac))
		host.PutUint16(h[frameNet:], uint16(mac)+f.net)
		host.PutUint16(h[frameTCI:], f.tci)
		host.PutUint16(h[frameTPID:], f.tpid)
		sll := h[frameSLL:]
		binary.BigEndian.PutUint16(sll[sllProtocol:], cmp.Or(f.protocol, 0x0800))
		host.PutUint32(sll[sllIfindex:], 7)
		host.PutUint16(sll[sllHatype:], cmp.Or(f.hatype, 1))
		sll[sllPktType], sll[sllHalen] = f.pktType, 6
		copy(sll[sllAddr:], []byte{1, 2, 3, 4, 5, 6, 0xee, 0xee})
		copy(h[mac:], f.data)
		off += next
	}
	return mem
}

// Offset of a frame from its header, as tpacket_rcv has it: what follows the link layer's header begins at a
// multiple of 16, plus the reserved headroom.
const (
	macEthernet = 96 + reserved - 14
	macCooked   = 96 + reserved
)

var ethernet = form{link: pcap.LinkTypeEthernet, snaplen: pcap.MaxSnaplen}

func readAll(b *block) []pcap.Packet {
	var all []pcap.Packet
	var pkts [3]pcap.Packet
	for n := b.read(pkts[:]); n > 0; n = b.read(pkts[:]) {
		all = append(all, pkts[:n]...)
	}
	return all
}

func macs(rest ...byte) []byte {
	return append([]byte{1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2}, rest...)
}

func TestBlock(t *testing.T) {
	plain := macs(0x08, 0x00, 'a', 'b')
	tagged := func(tag ...byte) []byte { return append(macs(tag...), 0x08, 0x00, 'a', 'b') }
	const vlan = statusVLANValid
	frames := []raw{
		{data: plain},
		{data: plain, status: vlan | statusTPIDValid, tci: 0x2064, tpid: 0x88a8},
		{data: plain, status: vlan, tci: 0xe000},
		{data: plain[:12], status: vlan, tci: 1, length: 60},
		{data: plain[:11], status: vlan, tci: 1},
		{data: nil, length: 1514},
		{data: plain, length: 1514, pktType: typeOutgoing, status: statusCsumNotReady},
	}
	want := []pcap.Packet{
		{Data: plain, Length: 16, Flags: pcap.FlagInbound | pcap.FlagUnicast},
		{Data: tagged(0x88, 0xa8, 0x20, 0x64), Length: 20},
		{Data: tagged(0x81, 0x00, 0xe0, 0x00), Length: 20},
		{Data: macs(0x81, 0x00, 0, 1), Length: 64},
		{Data: plain[:11], Length: 11},
		{Data: nil, Length: 1514},
		{Data: plain, Length: 1514, Flags: pcap.FlagOutbound | pcap.FlagChecksumNotReady},
	}
	mem := build(4096, macEthernet, frames...)
	for pass := range 2 { // a block that was not released can be read again
		b := newBlock(mem, ethernet)
		if b.count() != uint64(len(want)) {
			t.Fatalf("pass %d: count %d", pass, b.count())
		}
		all := readAll(&b)
		if len(all) != len(want) || b.reason != "" {
			t.Fatalf("pass %d: %d packets, %q", pass, len(all), b.reason)
		}
		for i, p := range all {
			w := want[i]
			if !bytes.Equal(p.Data, w.Data) || p.Length != w.Length || p.Sec != uint32(100+i) || p.Nsec != uint32(i) {
				t.Errorf("pass %d: packet %d is %+v, want %+v", pass, i, p, w)
			}
			if w.Flags != 0 && p.Flags != w.Flags {
				t.Errorf("pass %d: packet %d has flags %#x, want %#x", pass, i, p.Flags, w.Flags)
			}
		}
	}
}

// TestTagInterrupted: a process may be killed while it puts a tag back into its frame. The next one reads the frame
// as if nothing had happened.
func TestTagInterrupted(t *testing.T) {
	tagged := raw{data: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xb5, 0xaa}, status: statusVLANValid, tci: 5}
	want := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x81, 0x00, 0x00, 0x05, 0x88, 0xb5, 0xaa}
	for name, until := range map[string]func(frame []byte){
		"nothing": func([]byte) {},
		"addresses kept": func(frame []byte) {
			copy(frame[frameHeader:], frame[macEthernet:][:macsLen])
		},
		"addresses moved in part": func(frame []byte) {
			copy(frame[frameHeader:], frame[macEthernet:][:macsLen])
			host.PutUint32(frame[frameStatus:], statusVLANValid|statusSaved)
			copy(frame[macEthernet-tagLen:][:7], frame[macEthernet:])
		},
		"tag inserted": func(frame []byte) {
			copy(frame[frameHeader:], frame[macEthernet:][:macsLen])
			host.PutUint32(frame[frameStatus:], statusVLANValid|statusSaved)
			tag{statusVLANValid, 5, 0}.insert(frame, macEthernet)
		},
		"all": func(frame []byte) { restore(pcap.LinkTypeEthernet, frame, macEthernet, len(tagged.data)) },
	} {
		mem := build(512, macEthernet, tagged)
		until(mem[blockLen:])
		for range 2 {
			b := newBlock(mem, ethernet)
			if all := readAll(&b); len(all) != 1 || !bytes.Equal(all[0].Data, want) || all[0].Length != uint32(len(want)) {
				t.Errorf("%s: %+v", name, all)
			}
		}
	}
}

func TestBlockSnaplen(t *testing.T) {
	f := raw{data: macs(0x08, 0x00, 'a', 'b'), length: 100, status: statusVLANValid, tci: 5}
	for _, c := range []struct {
		link      pcap.LinkType
		mac, want int
		length    uint32
	}{
		{pcap.LinkTypeEthernet, macEthernet, 16, 104},
		{pcap.LinkTypeLinuxSLL2, macCooked, 16, 124},
		{pcap.LinkTypeRaw, macEthernet, 16, 100},
	} {
		b := newBlock(build(4096, c.mac, f), form{link: c.link, snaplen: 16})
		all := readAll(&b)
		if len(all) != 1 || len(all[0].Data) != c.want || cap(all[0].Data) != c.want || all[0].Length != c.length {
			t.Errorf("link type %d: %+v", c.link, all)
		}
	}
}

func TestBlockCooked(t *testing.T) {
	mem := build(4096, macCooked,
		raw{data: []byte("ip"), pktType: 3},
		raw{data: []byte("ip"), status: statusVLANValid | statusTPIDValid, tci: 0x6001, tpid: 0x88a8},
		raw{data: []byte("ip"), status: statusVLANValid, tci: 0x6001},
	)
	header := func(protocol ...byte) []byte {
		return append(protocol, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0)
	}
	promiscuous := header(0x08, 0x00)
	promiscuous[10] = 3
	want := [][]byte{
		append(promiscuous, "ip"...),
		append(header(0x88, 0xa8), 0x60, 0x01, 0x08, 0x00, 'i', 'p'),
		append(header(0x81, 0x00), 0x60, 0x01, 0x08, 0x00, 'i', 'p'),
	}
	for pass := range 2 {
		b := newBlock(mem, form{link: pcap.LinkTypeLinuxSLL2, snaplen: pcap.MaxSnaplen})
		all := readAll(&b)
		if len(all) != len(want) {
			t.Fatalf("%d packets, %q", len(all), b.reason)
		}
		for i, p := range all {
			if !bytes.Equal(p.Data, want[i]) || int(p.Length) != len(want[i]) {
				t.Errorf("pass %d: packet %d is\n%x, want\n%x", pass, i, p.Data, want[i])
			}
		}
	}
}

// TestBlockSLL: the older cooked header, which netlink's messages have too.
func TestBlockSLL(t *testing.T) {
	frames := []raw{
		{data: []byte("ip"), pktType: 3},
		{data: []byte("ip"), status: statusVLANValid | statusTPIDValid, tci: 0x6001, tpid: 0x88a8},
		{data: []byte("nl"), hatype: 824, protocol: 16, pktType: 7},
	}
	header := func(pktType, hatype uint16, protocol ...byte) []byte {
		h := binary.BigEndian.AppendUint16(nil, pktType)
		h = binary.BigEndian.AppendUint16(h, hatype)
		return append(append(h, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0), protocol...)
	}
	want := [][]byte{
		append(header(3, 1, 0x08, 0x00), "ip"...),
		append(header(0, 1, 0x88, 0xa8), 0x60, 0x01, 0x08, 0x00, 'i', 'p'),
		append(header(7, 824, 0, 16), "nl"...),
	}
	for _, link := range []pcap.LinkType{pcap.LinkTypeLinuxSLL, 253} {
		mem := build(4096, macCooked, frames...)
		for pass := range 2 {
			b := newBlock(mem, form{link: link, snaplen: pcap.MaxSnaplen})
			all := readAll(&b)
			if len(all) != len(want) {
				t.Fatalf("%d packets, %q", len(all), b.reason)
			}
			for i, p := range all {
				if !bytes.Equal(p.Data, want[i]) || int(p.Length) != len(want[i]) {
					t.Errorf("link type %v, pass %d: packet %d is\n%x, want\n%x", link, pass, i, p.Data, want[i])
				}
			}
		}
	}
}

// TestBlockCAN: numbers and flags of CAN's frames are those of a file, however often a block is read.
func TestBlockCAN(t *testing.T) {
	frame := func(id uint32, rest ...byte) []byte { return append(host.AppendUint32(nil, id), rest...) }
	mem := build(4096, macCooked,
		raw{data: frame(0x80000123, 0x82, 0xee, 0xee, 0xee, 'a', 'b', 0, 0, 0, 0, 0, 0), hatype: 280, protocol: 0x0c},
		raw{data: frame(0x123, 2, 0xf1, 0xee, 0xee, 'a', 'b'), hatype: 280, protocol: 0x0d},
		raw{data: slices.Concat(frame(0x123, 0x01, 3), host.AppendUint16(nil, 4), host.AppendUint32(nil, 5), []byte("abcd")), hatype: 280, protocol: 0x0e},
		raw{data: frame(0x123, 1)[:5], hatype: 280, protocol: 0x0c},
	)
	want := [][]byte{
		{0x80, 0, 1, 0x23, 2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 0, 0},
		{0, 0, 1, 0x23, 2, 5, 0, 0, 'a', 'b'},
		{0, 0, 1, 0x23, 0x81, 3, 4, 0, 5, 0, 0, 0, 'a', 'b', 'c', 'd'},
		frame(0x123, 1)[:5],
	}
	for pass := range 2 {
		b := newBlock(mem, form{link: device.LinkTypeCAN, snaplen: pcap.MaxSnaplen})
		all := readAll(&b)
		if len(all) != len(want) {
			t.Fatalf("%d packets, %q", len(all), b.reason)
		}
		for i, p := range all {
			if !bytes.Equal(p.Data, want[i]) {
				t.Errorf("pass %d: packet %d is\n%x, want\n%x", pass, i, p.Data, want[i])
			}
		}
	}
}

// TestBlockMixed: each frame has the form of its interface.
func TestBlockMixed(t *testing.T) {
	names := map[uint32]string{7: "eth0"}
	all := newOrigins(func(index uint32) (string, []byte) { return names[index], []byte{2, 0, 0, 0, 0, 1} })
	mem := build(4096, macEthernet,
		raw{data: macs(0x08, 0x00, 'a', 'b'), status: statusVLANValid, tci: 5},
		raw{data: []byte("\x45ip"), hatype: 0xfffe},
		raw{data: append([]byte("ppp header"), "ip"...), hatype: 512, net: 10, length: 1000},
		raw{data: []byte("ppp header"), hatype: 512, net: 20, length: 1000},
	)
	cooked := []byte{0x08, 0, 0, 0, 0, 0, 0, 7, 2, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0}
	want := []struct {
		link   pcap.LinkType
		data   []byte
		length uint32
	}{
		{pcap.LinkTypeEthernet, macs(0x81, 0x00, 0, 5, 0x08, 0x00, 'a', 'b'), 20},
		{pcap.LinkTypeRaw, []byte("\x45ip"), 3},
		{pcap.LinkTypeLinuxSLL2, append(bytes.Clone(cooked), "ip"...), 1010},
		{pcap.LinkTypeLinuxSLL2, cooked, 1000},
	}
	var first *pcap.Interface
	for pass := range 3 {
		b := newBlock(mem, form{link: pcap.LinkTypeMixed, snaplen: pcap.MaxSnaplen, origins: all})
		b.from.turn = all.turn.Add(1)
		pkts := readAll(&b)
		if len(pkts) != len(want) {
			t.Fatalf("%d packets, %q", len(pkts), b.reason)
		}
		for i, p := range pkts {
			w := want[i]
			if !bytes.Equal(p.Data, w.data) || p.Length != w.length || p.From.LinkType != w.link || p.From.Name != names[7] && names[7] != "" {
				t.Errorf("pass %d: packet %d is %d bytes of %+v\n%x, want %d of %v\n%x", pass, i, p.Length, p.From, p.Data, w.length, w.link, w.data)
			}
		}
		switch from := pkts[0].From; pass {
		case 0:
			first, names[7] = from, "" // it goes, and keeps its name
		case 1:
			if from != first {
				t.Errorf("%+v, and %+v when it is gone", first, from)
			}
			names[7] = "eth9"
		case 2:
			if from == first || first.Name != "eth0" {
				t.Errorf("%+v, and %+v when it has another name", first, from)
			}
		}
	}
}

// TestBlockMixedCorrupt: a network header that is in no frame.
func TestBlockMixedCorrupt(t *testing.T) {
	for _, net := range []uint16{0xfffe, 4, 1500} { // before the frame, beyond its length, beyond the block
		f := raw{data: []byte("ppp"), hatype: 512, net: net}
		if net == 1500 {
			f.length = 1500
		}
		b := newBlock(build(1024, macEthernet, f), form{link: pcap.LinkTypeMixed, snaplen: 9, origins: newOrigins(func(uint32) (string, []byte) { return "", nil })})
		if all := readAll(&b); len(all) > 0 || b.reason != "network header outside of the frame" {
			t.Errorf("%d: %+v, %q", net, all, b.reason)
		}
	}
}

// TestOriginsAreBounded: they do not grow with interfaces that come and go.
func TestOriginsAreBounded(t *testing.T) {
	all := newOrigins(func(uint32) (string, []byte) { return "veth", nil })
	for i := range uint32(3 * maxOrigins / 2) {
		all.of(originKey{i, 1}, 1)
		if i >= maxOrigins/2 && i < maxOrigins-8 {
			continue
		}
		if n := len(*all.known.Load()); n > maxOrigins {
			t.Fatalf("%d interfaces", n)
		}
	}
}

// corruptions are defects of the second of three frames, or of the block's header.
var corruptions = []struct {
	name   string
	damage func(block, frame []byte)
	reason string
	read   int // packets before the defect
	lost   uint32
}{
	{"count", func(b, _ []byte) { host.PutUint32(b[blockCount:], 1<<31) }, "more frames than the block has room for", 0, 1},
	{"first in header", func(b, _ []byte) { host.PutUint32(b[blockFirst:], 8) }, "first frame lies in the block's header", 0, 3},
	{"first outside", func(b, _ []byte) { host.PutUint32(b[blockFirst:], 1<<32-1) }, "frame header passes the block's end", 0, 3},
	{"next is this", func(_, f []byte) { host.PutUint32(f[frameNext:], 0) }, "next frame lies outside of the block or in this one", 1, 2},
	{"next outside", func(_, f []byte) { host.PutUint32(f[frameNext:], 1<<32-8) }, "next frame lies outside of the block or in this one", 1, 2},
	{"next at end", func(b, f []byte) { host.PutUint32(f[frameNext:], uint32(len(f))) }, "frame header passes the block's end", 2, 1},
	{"mac in header", func(_, f []byte) { host.PutUint16(f[frameMAC:], 60) }, "frame starts outside of the block", 1, 2},
	{"mac outside", func(_, f []byte) { host.PutUint16(f[frameMAC:], 1<<16-1) }, "frame starts outside of the block", 1, 2},
	{"snaplen", func(_, f []byte) { host.PutUint32(f[frameSnaplen:], 1<<32-1) }, "frame passes the block's end", 1, 2},
	{"length", func(_, f []byte) { host.PutUint32(f[frameLength:], 1) }, "more bytes captured than the frame had", 1, 2},
	{"nanoseconds", func(_, f []byte) { host.PutUint32(f[frameNsec:], 1e9) }, "nanoseconds over a second", 1, 2},
	{"no headroom", func(_, f []byte) {
		host.PutUint16(f[frameMAC:], frameHeader)
		host.PutUint32(f[frameStatus:], statusVLANValid)
	}, "no room before the frame", 1, 2},
}

func TestCorruptBlock(t *testing.T) {
	for _, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			f := raw{data: macs(0x08, 0x00, 'a', 'b')}
			mem := build(4096, macEthernet, f, f, f)
			c.damage(mem, mem[blockLen+int(host.Uint32(mem[blockLen+frameNext:])):])
			var corrupt atomic.Uint64
			b := slot{block: newBlock(mem, ethernet), corrupt: &corrupt}
			var pkts [8]pcap.Packet
			if n := b.Read(pkts[:]); n != c.read {
				t.Errorf("read %d packets, want %d", n, c.read)
			}
			if n := b.Read(pkts[:]); n != 0 {
				t.Errorf("read %d packets after the error", n)
			}
			var e *device.CorruptError
			if !errors.As(b.Err(), &e) || e.Reason != c.reason {
				t.Errorf("error %v, want %q", b.Err(), c.reason)
			}
			if corrupt.Load() != uint64(c.lost) {
				t.Errorf("counted %d, want %d", corrupt.Load(), c.lost)
			}
		})
	}
}

// TestHeaderOutsideTheBlock: a header that leads out of the block has no size.
func TestHeaderOutsideTheBlock(t *testing.T) {
	mem := build(512, macEthernet, raw{data: macs(0x08, 0x00, 'a', 'b')})
	b := newBlock(mem, ethernet)
	if n := b.header(); n < frameHeader {
		t.Fatalf("a sound header has %d bytes", n)
	}
	for _, mac := range []uint16{0, frameHeader - 1, uint16(len(mem)), 25600} {
		host.PutUint16(mem[b.off+frameMAC:], mac)
		if n := b.header(); n != 0 {
			t.Errorf("offset %d: %d bytes", mac, n)
		}
	}
}

func FuzzBlock(f *testing.F) {
	frame := raw{data: macs(0x08, 0x00, 'a', 'b'), status: statusVLANValid}
	for _, c := range corruptions {
		mem := build(512, macCooked, frame, frame, frame)
		c.damage(mem, mem[blockLen+int(host.Uint32(mem[blockLen+frameNext:])):])
		f.Add(mem, uint8(1), uint16(64))
		f.Add(mem, uint8(20), uint16(64))
	}
	f.Add(build(512, macEthernet, frame, frame), uint8(1), uint16(10))
	f.Add(build(512, macEthernet, frame, frame), uint8(21), uint16(10))
	f.Add(build(512, macEthernet, raw{data: make([]byte, 40), hatype: 512, net: 14}, raw{data: make([]byte, 40), hatype: 824, net: 14}, frame), uint8(21), uint16(40))
	f.Add(build(512, macEthernet, raw{data: make([]byte, 40), hatype: 512, net: 14}), uint8(22), uint16(40))
	f.Add(build(512, macEthernet, raw{data: make([]byte, 16)}), uint8(227), uint16(40))
	f.Fuzz(func(t *testing.T, mem []byte, link uint8, snaplen uint16) {
		shape := form{link: pcap.LinkType(link), snaplen: int(snaplen) + 1}
		switch link {
		case 20:
			shape.link = pcap.LinkTypeLinuxSLL2
		case 21:
			shape.link, shape.origins = pcap.LinkTypeMixed, newOrigins(func(uint32) (string, []byte) { return "eth0", nil })
		case 22:
			shape.link = pcap.LinkTypeLinuxSLL
		}
		b := newBlock(mem, shape)
		count, header := b.count(), b.header()
		all := readAll(&b)
		if len(all) > 0 && header < frameHeader || len(mem) < header {
			t.Fatalf("header of %d bytes", header)
		}
		if uint64(len(all))+uint64(b.lost) != count {
			t.Fatalf("%d packets and %d lost of %d", len(all), b.lost, count)
		}
		if (b.reason == "") != (b.lost == 0) || b.off < 0 || b.off > len(mem) {
			t.Fatalf("%d lost, %q at %d of %d", b.lost, b.reason, b.off, len(mem))
		}
		for _, p := range all {
			if len(p.Data) > shape.snaplen || uint64(p.Length) < uint64(len(p.Data)) || p.Nsec >= 1e9 {
				t.Fatalf("packet %+v", p)
			}
		}
		again := newBlock(bytes.Clone(mem), shape)
		for i, p := range readAll(&again) {
			if i < len(all) && !bytes.Equal(p.Data, all[i].Data) {
				t.Fatalf("packet %d is %x the second time, %x before", i, p.Data, all[i].Data)
			}
		}
	})
}

func BenchmarkBlock(b *testing.B) {
	for _, c := range []struct {
		name string
		form form
		mac  int
		raw  raw
	}{
		{"plain", ethernet, macEthernet, raw{data: make([]byte, 64)}},
		{"mixed", form{link: pcap.LinkTypeMixed, snaplen: pcap.MaxSnaplen, origins: newOrigins(func(uint32) (string, []byte) { return "eth0", nil })}, macEthernet, raw{data: make([]byte, 64)}},
		{"cooked", form{link: pcap.LinkTypeLinuxSLL2, snaplen: pcap.MaxSnaplen}, macCooked, raw{data: make([]byte, 50)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			const frames = 6000
			all := make([]raw, frames)
			for i := range all {
				all[i] = c.raw
			}
			mem := build(1<<20, c.mac, all...)
			var pkts [64]pcap.Packet
			lent := slot{corrupt: new(atomic.Uint64)}
			batch := device.NewBatch(&lent)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				lent.block = newBlock(mem, c.form)
				for k := batch.Read(pkts[:]); k > 0; k = batch.Read(pkts[:]) {
					n += k
				}
			}
			if n != b.N*frames {
				b.Fatalf("read %d frames of %d", n, b.N*frames)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/frame")
		})
	}
}

// BenchmarkRing reads and encodes a ring that is larger than the caches, as a recorder does.
func BenchmarkRing(b *testing.B) {
	const blocks, blockSize = 128, 1 << 20
	sizes := map[string][]int{"64": {64}, "imix": {64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1514}, "1514": {1514}}
	for _, name := range []string{"64", "imix", "1514"} {
		b.Run(name, func(b *testing.B) {
			var all []raw
			for room := blockSize - blockLen; ; {
				size := sizes[name][len(all)%len(sizes[name])]
				if room -= (macEthernet + size + 7) &^ 7; room < 0 {
					break
				}
				all = append(all, raw{data: make([]byte, size)})
			}
			mem := bytes.Repeat(build(blockSize, macEthernet, all...), blocks)
			ring := newRing(mem, blockSize, 0, ethernet, new(atomic.Uint64), func() {})
			enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Snaplen: pcap.MaxSnaplen})
			out := make([]byte, 2*blockSize)
			var pkts [64]pcap.Packet
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				lent := ring.next()
				end := 0
				for k := lent.batch.Read(pkts[:]); k > 0; k = lent.batch.Read(pkts[:]) {
					size, count := enc.Encode(out[end:], pkts[:k])
					end += size
					n += count
				}
				lent.Release()
				*ring.status(lent.index) = ownerUser // as the kernel does when it hands the block over again
			}
			if n != b.N*len(all) {
				b.Fatalf("read %d frames of %d", n, b.N*len(all))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/frame")
		})
	}
}
