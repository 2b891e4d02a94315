package flow

import (
	"cmp"
	"net/netip"
	"slices"
)

const (
	// unlistedRegions is how many regions a row of unlisted flows stands for, if the flows are short.
	unlistedRegions = 16
	maxUnlisted     = 4096 // rows in memory
)

// unlisted are the rows of flows that are not listed one by one.
type unlisted struct {
	groups map[group]*Row
}

// A group is what unlisted flows of one row have in common.
type group struct {
	has       Has // HasProto, HasPorts, HasInterface
	tunnel    Tunnel
	proto     uint8
	port      uint16
	etherType uint16
	iface     uint32
	dst       netip.Addr
	at        uint32 // regions
}

// add adds a flow. What is common to the flows of a row is their destination, as long as the rows take no more bytes than
// allowed; after that, only what part of the file they are in. It returns rows that are complete.
func (u *unlisted) add(r *Row, spent *int64, allowed int64) (full []*Row) {
	fine := group{
		has: r.Has & (HasProto | HasPorts | HasInterface), tunnel: r.Tunnel, proto: r.Proto, port: r.DstPort, etherType: r.EtherType,
		iface: r.Interface, dst: r.Dst, at: r.Regions[0] / unlistedRegions,
	}
	g := fine
	to, ok := u.groups[g]
	if !ok && *spent+rowCost > allowed {
		g = group{tunnel: r.Tunnel, at: fine.at}
		to, ok = u.groups[g]
	}
	if !ok {
		if len(u.groups) >= maxUnlisted {
			full = u.rows()
		}
		if u.groups == nil {
			u.groups = make(map[group]*Row)
		}
		*spent += rowCost
		to = &Row{Unlisted: true, Key: Key{
			Has: g.has, Tunnel: g.tunnel, Proto: g.proto, DstPort: g.port, EtherType: g.etherType, Interface: g.iface, Dst: g.dst,
		}}
		u.groups[g] = to
	}
	to.merge(r)
	return full
}

// merge adds the counts of a flow. The regions are the first and the last until rows fills the list.
func (r *Row) merge(f *Row) {
	r.Sent.add(&f.Sent)
	r.Received.add(&f.Received)
	r.Cut += f.Cut
	r.Marks |= f.Marks
	span(&r.First, &r.Last, f.First)
	span(&r.First, &r.Last, f.Last)
	first, last := f.Regions[0], f.Regions[len(f.Regions)-1]
	if len(r.Regions) == 0 {
		r.Regions = []uint32{first, last}
	}
	r.Regions[0], r.Regions[1] = min(r.Regions[0], first), max(r.Regions[1], last)
}

func (c *Count) add(o *Count) {
	c.Packets += o.Packets
	c.Bytes += o.Bytes
	c.Flags |= o.Flags
}

// rows returns all rows in order of time, and of what else they have, and forgets them.
func (u *unlisted) rows() []*Row {
	var all []*Row
	for _, r := range u.groups {
		first, last := r.Regions[0], r.Regions[1]
		r.Regions = r.Regions[:0]
		for n := first; n <= last; n++ {
			r.Regions = append(r.Regions, n)
		}
		all = append(all, r)
	}
	u.groups = nil
	slices.SortFunc(all, func(a, b *Row) int {
		if c := byTime(a, b); c != 0 {
			return c
		}
		if c := a.Dst.Compare(b.Dst); c != 0 {
			return c
		}
		return cmp.Or(
			cmp.Compare(a.DstPort, b.DstPort), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.EtherType, b.EtherType), cmp.Compare(a.Tunnel, b.Tunnel),
			cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Has, b.Has), cmp.Compare(a.Regions[0], b.Regions[0]),
		)
	})
	return all
}
