package flow

import (
	"fmt"
	"net"
	"net/netip"
)

// A record is a row in Parquet. The order and the types of its fields are the table's schema, which never changes: columns may
// be added at the end. Numbers that may be missing are pointers, as parquet-go writes an optional 0 as missing, which is right for times alone.
type record struct {
	First     int64    `parquet:"first,optional,timestamp(nanosecond:local),delta"`
	Last      int64    `parquet:"last,optional,timestamp(nanosecond:local),delta"`
	Interface *string  `parquet:"interface,optional,dict"`
	Lane      *int32   `parquet:"lane,optional,dict"`
	Link      *uint16  `parquet:"link_type,optional,dict"`
	EtherType *uint16  `parquet:"ethertype,optional,dict"`
	VLANs     []uint16 `parquet:"vlans,list"`
	AMAC      *string  `parquet:"a_mac,optional,dict"`
	BMAC      *string  `parquet:"b_mac,optional,dict"`
	A         *string  `parquet:"a,optional,dict"`
	B         *string  `parquet:"b,optional,dict"`
	APort     *uint16  `parquet:"a_port,optional"`
	BPort     *uint16  `parquet:"b_port,optional"`
	Proto     *uint8   `parquet:"proto,optional,dict"`
	ICMPType  *uint8   `parquet:"icmp_type,optional,dict"`
	ICMPCode  *uint8   `parquet:"icmp_code,optional,dict"`
	AFlags    uint8    `parquet:"a_flags,dict"`
	BFlags    uint8    `parquet:"b_flags,dict"`
	APackets  uint64   `parquet:"a_packets"`
	BPackets  uint64   `parquet:"b_packets"`
	ABytes    uint64   `parquet:"a_bytes"`
	BBytes    uint64   `parquet:"b_bytes"`
	Cut       uint64   `parquet:"cut_bytes"`
	Tunnel    *string  `parquet:"tunnel,optional,dict"`
	Unlisted  bool     `parquet:"unlisted"`
	Regions   []uint32 `parquet:"regions,list" parquet-element:",delta"`

	LaterFragments bool `parquet:"later_fragments"`
	Extensions     bool `parquet:"extensions"`
	Short          bool `parquet:"short"`
	OtherMACs      bool `parquet:"other_macs"`
}

// A slot is what the pointers of a record point to.
type slot struct {
	row                        Row
	iface, a, b, aMAC, bMAC, t string
	lane                       int32
	link                       uint16
}

// known returns a pointer to a value, or nil if it is not known.
func known[T any](ok bool, v *T) *T {
	if !ok {
		return nil
	}
	return v
}

// set fills the record with a row, of which it keeps a copy in the slot.
func (c *record) set(s *slot, r *Row, iface string, lane int32) {
	s.row, s.iface, s.lane, s.link = *r, iface, lane, uint16(r.Link)
	k := &s.row.Key
	ends := k.Src.IsValid()
	if ends {
		s.a = k.Src.String()
	}
	if k.Dst.IsValid() {
		s.b = k.Dst.String()
	}
	if k.has(HasSrcMAC) {
		s.aMAC = net.HardwareAddr(k.SrcMAC[:]).String()
	}
	if k.has(HasDstMAC) {
		s.bMAC = net.HardwareAddr(k.DstMAC[:]).String()
	}
	s.t = k.Tunnel.String()
	*c = record{
		First: r.First, Last: r.Last,
		Interface: known(k.has(HasInterface), &s.iface), Lane: known(lane > 0, &s.lane), Link: known(k.has(HasInterface), &s.link),
		EtherType: known(k.EtherType != 0, &k.EtherType), VLANs: append(c.VLANs[:0], k.IDs()...),
		AMAC: known(k.has(HasSrcMAC), &s.aMAC), BMAC: known(k.has(HasDstMAC), &s.bMAC),
		A: known(ends, &s.a), B: known(k.Dst.IsValid(), &s.b),
		APort: known(k.has(HasPorts) && !r.Unlisted, &k.SrcPort), BPort: known(k.has(HasPorts), &k.DstPort),
		Proto: known(k.has(HasProto), &k.Proto), ICMPType: known(k.has(HasICMP), &k.ICMPType), ICMPCode: known(k.has(HasICMP), &k.ICMPCode),
		AFlags: r.Sent.Flags, BFlags: r.Received.Flags, APackets: r.Sent.Packets, BPackets: r.Received.Packets,
		ABytes: r.Sent.Bytes, BBytes: r.Received.Bytes, Cut: r.Cut,
		Tunnel: known(k.Inner(), &s.t), Unlisted: r.Unlisted, Regions: append(c.Regions[:0], r.Regions...),
		LaterFragments: r.Marks&LaterFragment != 0, Extensions: r.Marks&Extensions != 0, Short: r.Marks&Short != 0, OtherMACs: r.Marks&OtherMACs != 0,
	}
}

// row fills a row from the record, whose interface and lane stay strings of the record.
func (c *record) row(r *Row) (err error) {
	*r = Row{
		Sent: Count{c.APackets, c.ABytes, c.AFlags}, Received: Count{c.BPackets, c.BBytes, c.BFlags},
		First: c.First, Last: c.Last, Cut: c.Cut, Unlisted: c.Unlisted, Regions: c.Regions,
		Marks: mark(c.LaterFragments, LaterFragment) | mark(c.Extensions, Extensions) | mark(c.Short, Short) | mark(c.OtherMACs, OtherMACs),
	}
	take((*uint16)(&r.Link), c.Link)
	k := &r.Key
	take(&k.EtherType, c.EtherType)
	if len(c.VLANs) > MaxVLANs {
		return fmt.Errorf("%d VLAN ids", len(c.VLANs))
	}
	k.NumVLANs = uint8(copy(k.VLANs[:], c.VLANs))
	k.Has = mark(c.Interface != nil, HasInterface) | mark(take(&k.Proto, c.Proto), HasProto) |
		mark(take(&k.DstPort, c.BPort), HasPorts) |
		mark(take(&k.ICMPType, c.ICMPType) && take(&k.ICMPCode, c.ICMPCode), HasICMP) |
		mark(c.AMAC != nil, HasSrcMAC) | mark(c.BMAC != nil, HasDstMAC)
	take(&k.SrcPort, c.APort)
	if c.Tunnel != nil {
		if k.Tunnel, err = parseTunnel(*c.Tunnel); err != nil {
			return err
		}
	}
	if k.SrcMAC, err = parseMAC(c.AMAC); err == nil {
		k.DstMAC, err = parseMAC(c.BMAC)
	}
	if err == nil {
		k.Src, err = parseAddr(c.A)
	}
	if err == nil {
		k.Dst, err = parseAddr(c.B)
	}
	return err
}

func take[T any](to, from *T) bool {
	if from != nil {
		*to = *from
	}
	return from != nil
}

func mark[T Has | Marks](ok bool, h T) T {
	if ok {
		return h
	}
	return 0
}

func parseTunnel(s string) (Tunnel, error) {
	for t, name := range tunnelNames {
		if name == s && s != "" {
			return Tunnel(t), nil
		}
	}
	return 0, fmt.Errorf("tunnel %q", s)
}

func parseAddr(s *string) (netip.Addr, error) {
	if s == nil {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(*s)
}

func parseMAC(s *string) (m MAC, err error) {
	if s == nil {
		return m, nil
	}
	a, err := net.ParseMAC(*s)
	if err == nil && len(a) != len(m) {
		err = fmt.Errorf("address %q", *s)
	}
	copy(m[:], a)
	return m, err
}
