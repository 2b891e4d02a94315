package flow

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"capd/pcap"
)

// Rows are all rows of a file in little memory, before they become a table. They can be taken to another process as they are.
type Rows struct {
	Length  int64 // bytes of the capture file
	Totals  Totals
	Regions []byte   // as encodeRegions has them
	Names   []string // of interfaces, by the numbers in the rows
	Data    []byte   `json:"-"`
}

// Add adds a row.
func (r *Rows) Add(row *Row) {
	if cap(r.Data)-len(r.Data) < rowFixed+100+5*len(row.Regions) {
		r.Data = slices.Grow(r.Data, max(len(r.Data), 4096))
	}
	r.Data = appendRow(r.Data, row)
}

// Finish makes the rest of what a Builder has.
func (r *Rows) Finish(b *Builder, length int64) error {
	totals, regions, err := b.Finish(length)
	r.Length, r.Totals, r.Regions = length, totals, encodeRegions(regions)
	for i := range b.ifaces {
		r.Names = append(r.Names, b.ifaces[i].name)
	}
	return err
}

// Size returns how many bytes of memory the rows take, and the flows of a Builder, unless it is nil.
func (r *Rows) Size(b *Builder) int {
	size := cap(r.Data) + len(r.Regions)
	if b != nil {
		size += b.flows.size()
	}
	return size
}

var errRows = errors.New("no rows of flows")

// Each calls a function for each row, as Table.Each does, and returns the regions.
func (r *Rows) Each(f func(row *Row, iface string) error) (regions []Region, err error) {
	var row Row
	for b := r.Data; len(b) > 0; {
		if b, err = row.decode(b); err != nil {
			return nil, err
		}
		name := ""
		if row.has(HasInterface) {
			if int(row.Interface) >= len(r.Names) {
				return nil, errRows
			}
			name = r.Names[row.Interface]
		}
		if err := f(&row, name); err != nil {
			return nil, err
		}
	}
	return decodeRegions(r.Regions)
}

// Bits of the first byte of a row. Its fields of one size follow, then addresses, and numbers of variable length.
const (
	rowSrc = 1 << iota
	rowDst
	rowIPv6
	rowUnlisted
)

const rowFixed = 1 + 4 + 6 + 2 + 2*MaxVLANs + 12 + 4 + 2 + 2 + 1 + 8

func appendRow(b []byte, r *Row) []byte {
	bits := byte(0)
	if r.Src.IsValid() {
		bits |= rowSrc
	}
	if r.Dst.IsValid() {
		bits |= rowDst
	}
	if r.Src.Is6() || r.Dst.Is6() {
		bits |= rowIPv6
	}
	if r.Unlisted {
		bits |= rowUnlisted
	}
	le := binary.LittleEndian
	b = le.AppendUint32(append(b, bits), r.Interface)
	b = append(b, byte(r.Tunnel), byte(r.Has), r.NumVLANs, r.Proto, r.ICMPType, r.ICMPCode)
	b = le.AppendUint16(b, r.EtherType)
	for _, v := range r.VLANs {
		b = le.AppendUint16(b, v)
	}
	b = append(append(b, r.SrcMAC[:]...), r.DstMAC[:]...)
	b = le.AppendUint16(le.AppendUint16(b, r.SrcPort), r.DstPort)
	b = append(le.AppendUint16(b, uint16(r.Link)), r.Sent.Flags, r.Received.Flags, byte(r.Marks))
	b = le.AppendUint64(b, uint64(r.First))
	for _, a := range [...]netip.Addr{r.Src, r.Dst} {
		if a.IsValid() {
			b = append(b, a.AsSlice()...)
		}
	}
	b = binary.AppendVarint(b, r.Last-r.First)
	for _, n := range [...]uint64{r.Sent.Packets, r.Sent.Bytes, r.Received.Packets, r.Received.Bytes, r.Cut, uint64(len(r.Regions))} {
		b = binary.AppendUvarint(b, n)
	}
	last := uint32(0)
	for _, n := range r.Regions { // in order
		b = binary.AppendUvarint(b, uint64(n-last))
		last = n
	}
	return b
}

// decode sets the row to the first one of some bytes, and returns the rest of these.
func (r *Row) decode(b []byte) ([]byte, error) {
	if len(b) < rowFixed {
		return nil, errRows
	}
	le := binary.LittleEndian
	bits, places := b[0], r.Regions[:0]
	*r = Row{Unlisted: bits&rowUnlisted != 0, Key: Key{
		Interface: le.Uint32(b[1:]), Tunnel: Tunnel(b[5]), Has: Has(b[6]), NumVLANs: b[7], Proto: b[8], ICMPType: b[9], ICMPCode: b[10],
		EtherType: le.Uint16(b[11:]),
	}}
	if r.Tunnel >= numTunnels || r.NumVLANs > MaxVLANs {
		return nil, errRows
	}
	b = b[13:]
	for i := range r.VLANs {
		r.VLANs[i] = le.Uint16(b[2*i:])
	}
	b = b[2*MaxVLANs:]
	r.SrcMAC, r.DstMAC, r.SrcPort, r.DstPort = MAC(b), MAC(b[6:]), le.Uint16(b[12:]), le.Uint16(b[14:])
	r.Link, r.Sent.Flags, r.Received.Flags, r.Marks = pcap.LinkType(le.Uint16(b[16:])), b[18], b[19], Marks(b[20])
	r.First = int64(le.Uint64(b[21:]))
	b = b[29:]
	if bits&rowSrc != 0 && !takeAddr(&b, &r.Src, bits) || bits&rowDst != 0 && !takeAddr(&b, &r.Dst, bits) {
		return nil, errRows
	}
	if !varint(&b, &r.Last) {
		return nil, errRows
	}
	r.Last += r.First
	var regions uint64
	for _, n := range [...]*uint64{&r.Sent.Packets, &r.Sent.Bytes, &r.Received.Packets, &r.Received.Bytes, &r.Cut, &regions} {
		if !uvarint(&b, n) {
			return nil, errRows
		}
	}
	if regions > uint64(len(b)) {
		return nil, errRows
	}
	place := uint64(0)
	for range regions {
		var n uint64
		if !uvarint(&b, &n) {
			return nil, errRows
		}
		place += n
		places = append(places, uint32(place))
	}
	r.Regions = places
	return b, nil
}

func takeAddr(b *[]byte, to *netip.Addr, bits byte) bool {
	n := 4
	if bits&rowIPv6 != 0 {
		n = 16
	}
	if len(*b) < n {
		return false
	}
	*to, _ = netip.AddrFromSlice((*b)[:n])
	*b = (*b)[n:]
	return true
}
