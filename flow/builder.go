package flow

import (
	"cmp"
	"errors"
	"slices"

	"capd/pcap"
)

// Bounds of a Builder's memory and of what it gives.
const (
	maxLive = 256 << 10 // flows
	maxPast = 1 << 20   // stretches of regions of flows
	// The rows of a table take at most this part of the file, or so many bytes if the file is small. Flows beyond it are not
	// listed. Those that end early may use three quarters of it.
	budgetShare = 50
	budgetFloor = 256 << 10
	// What a row is reckoned with, from tables of real rows.
	rowCost, regionCost = 20, 2
)

// A Builder makes the rows of a file from its packets. It gives each row to a function as soon as it is complete, and needs
// no more memory for a file that has more flows. Packets come in the file's order, with or without pauses: those of a chunk
// in memory as well as those of a file that is read.
type Builder struct {
	emit    func(*Row) error
	max     int // live flows
	most    int // stretches
	flows   flows
	rest    unlisted
	regions []Region
	ifaces  []source
	known   map[source]uint32
	frame   Frame
	batch   batch
	row     Row   // that is given now
	spent   int64 // bytes that the rows so far are reckoned with
	packets uint64
	totals  Totals // without what the regions have
	err     error
}

// Totals are the sums over the rows that no tunnel carries, and so over the packets.
type Totals struct {
	Packets  uint64 `json:"packets"`
	Bytes    uint64 `json:"bytes"` // on the wire
	Cut      uint64 `json:"cut"`   // bytes of these that were not captured
	Rows     uint64 `json:"rows"`  // of all flows
	First    int64  `json:"first"` // time of a packet, as Row has it
	Last     int64  `json:"last"`
	Timeless bool   `json:"timeless"` // some packets have no time
	Unlisted bool   `json:"unlisted"` // some flows are not listed
}

var errUndescribed = errors.New("the file does not describe the interface of a packet")

// A source is an interface of packets.
type source struct {
	name string
	link pcap.LinkType
}

// NewBuilder returns a Builder that gives its rows to emit, which must keep neither them nor their regions. An error of emit ends it.
func NewBuilder(emit func(*Row) error) *Builder {
	return &Builder{emit: emit, max: maxLive, most: maxPast, flows: newFlows(), known: make(map[source]uint32)}
}

// Interface returns the number of an interface of a name and link type.
func (b *Builder) Interface(name string, linkType pcap.LinkType) uint32 {
	s := source{name, linkType}
	id, ok := b.known[s]
	if !ok {
		id = uint32(len(b.ifaces))
		b.ifaces = append(b.ifaces, s)
		b.known[s] = id
	}
	return id
}

// InterfaceName returns the name of an interface.
func (b *Builder) InterfaceName(id uint32) string { return b.ifaces[id].name }

// Describe says that a record that begins at an offset has no packet, but what later packets need. Those before the first packet are
// not marked, as whoever reads packets of the file reads them anyway.
func (b *Builder) Describe(offset int64) {
	r := b.region(offset)
	r.Describes = r.Describes || b.packets > 0
}

// region returns the region of a record.
func (b *Builder) region(offset int64) *Region {
	n := int(offset / RegionSize)
	if n == len(b.regions)-1 && b.regions[n].Offset >= 0 {
		return &b.regions[n]
	}
	for len(b.regions) <= n {
		b.regions = append(b.regions, Region{Offset: -1})
	}
	r := &b.regions[n]
	if r.Offset < 0 {
		r.Offset = offset
	}
	return r
}

// Add adds the packet whose record begins at an offset of the uncompressed file. The interface is a number of Interface.
func (b *Builder) Add(offset int64, iface uint32, p *pcap.Packet) error {
	if b.err != nil {
		return b.err
	}
	m := moment{region: uint32(offset / RegionSize)}
	if p.HasTime() {
		m.at = int64(p.Sec)*1e9 + int64(p.Nsec)
	}
	m.length = uint64(max(int(p.Length), len(p.Data)))
	m.cut = m.length - uint64(len(p.Data))
	b.packet(offset, iface, p.Data, &m)
	return b.err
}

// packet adds a packet, of which data has what counts.
func (b *Builder) packet(offset int64, iface uint32, data []byte, m *moment) {
	b.sum(b.region(offset), m)
	if b.ifaces[iface].link == pcap.LinkTypeEthernet && b.batch.add(&b.flows, iface, data, m) {
		if b.batch.n == batchSize {
			b.settle()
		}
		return
	}
	b.settle()
	b.frame.Parse(b.ifaces[iface].link, data[:min(len(data), MaxHeaders)])
	for i := range b.frame.N {
		l := &b.frame.Layers[i]
		l.Interface, l.Has = iface, l.Has|HasInterface
		b.layer(l, m)
	}
}

// layer adds a packet to one of its flows.
func (b *Builder) layer(l *Layer, m *moment) {
	f := found{moment: *m, has: l.Has & (HasSrcMAC | HasDstMAC), flags: l.Flags, marks: l.Marks}
	var reverse bool
	if f.id, reverse = l.identify(); reverse {
		f.way = 1
	}
	f.macs[f.way], f.macs[f.way^1] = l.SrcMAC.number(), l.DstMAC.number()
	f.hash = b.flows.hash(&f.id)
	b.count(b.flow(&f), &f)
}

// settle counts the packets of the batch.
func (b *Builder) settle() {
	if len(b.flows.past) > b.most-batchSize-MaxLayers {
		b.evict(int64(len(b.regions)-1) * RegionSize)
	}
	all := b.batch.fetch(&b.flows)
	for i := range all {
		f := &all[i]
		b.count(b.flow(f), f)
	}
}

// flow returns the number of a packet's flow, which it adds if there is none.
func (b *Builder) flow(f *found) int {
	if n := b.flows.find(f); n >= 0 {
		return n
	}
	if len(b.flows.all) >= b.max {
		b.evict(int64(f.region) * RegionSize)
	}
	return b.flows.add(f)
}

// sum adds a packet to the sums over all flows; Finish adds what the regions have.
func (b *Builder) sum(r *Region, m *moment) {
	r.Packets++
	span(&r.First, &r.Last, m.at)
	r.Timeless = r.Timeless || m.at == 0
	b.totals.Bytes += m.length
	b.totals.Cut += m.cut
	b.packets++
}

// count adds a packet to a flow.
func (b *Builder) count(n int, p *found) {
	f := &b.flows.all[n]
	c := &f.counts[p.way&1]
	c.packets++
	c.bytes += p.length
	f.flags[p.way&1] |= p.flags
	f.marks |= p.marks
	if p.cut > 0 {
		b.flows.begun[n].cut += p.cut
	}
	span(&f.first, &f.last, p.at)
	b.flows.visit(n, p.region)
}

// evict makes rows of the flows that had one packet, and of those that had none since the last time; if that leaves too many,
// of all. size is how much of the file there is.
func (b *Builder) evict(size int64) {
	allowed := budget(size) / 4 * 3
	keep := func(f *live) bool { return f.seen && f.packets() > 1 }
	kept := 0
	for i := range b.flows.all {
		if keep(&b.flows.all[i]) {
			kept++
		}
	}
	if kept > b.max/4*3 || len(b.flows.past) > b.most/4*3 {
		keep = func(*live) bool { return false }
	}
	b.flows.evict(keep, func(n int) { b.finish(n, allowed) })
}

// MaxTable returns how many bytes the table of a file of a size may take.
func MaxTable(size int64) int64 { return 2 * max(size/budgetShare, budgetFloor) }

// budget is how many bytes rows may take of a file of a size.
func budget(size int64) int64 { return max(size/budgetShare, budgetFloor) }

// finish makes a row of a flow, or adds it to the unlisted ones if the rows take more bytes than allowed.
func (b *Builder) finish(n int, allowed int64) {
	row, cost := &b.row, b.flows.cost(n)
	*row = b.flows.row(n)
	if b.spent+cost > allowed {
		b.totals.Unlisted = true
		for _, full := range b.rest.add(row, &b.spent, allowed/8*9) {
			b.give(full)
		}
		return
	}
	b.spent += cost
	b.give(row)
}

func (b *Builder) give(r *Row) {
	if b.err == nil {
		if r.has(HasInterface) {
			r.Link = b.ifaces[r.Interface].link
		}
		b.err = b.emit(r)
		b.totals.Rows++
	}
}

// Finish gives the rows that are left. size is that of the uncompressed file.
func (b *Builder) Finish(size int64) (Totals, []Region, error) {
	b.settle()
	allowed := budget(size)
	all := b.flows.all
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	// The flows of most packets are listed first, if not all can be.
	slices.SortStableFunc(order, func(x, y int) int { return -cmp.Compare(all[x].packets(), all[y].packets()) })
	listed, cost := 0, b.spent
	for listed < len(order) {
		if cost += b.flows.cost(order[listed]); cost > allowed {
			break
		}
		listed++
	}
	slices.SortStableFunc(order[:listed], func(x, y int) int { return cmp.Compare(all[x].first, all[y].first) })
	for _, n := range order {
		b.finish(n, allowed)
	}
	for _, r := range b.rest.rows() {
		b.give(r)
	}
	b.flows = flows{}
	b.totals.Packets = b.packets
	for i := range b.regions {
		r := &b.regions[i]
		span(&b.totals.First, &b.totals.Last, r.First)
		span(&b.totals.First, &b.totals.Last, r.Last)
		b.totals.Timeless = b.totals.Timeless || r.Timeless
	}
	return b.totals, b.regions, b.err
}
