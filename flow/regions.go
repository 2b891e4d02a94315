package flow

import (
	"encoding/binary"
	"errors"
	"math"
)

const (
	regionEmpty = 1 << iota
	regionTimeless
	regionDescribes
)

// encodeRegions encodes regions as variable-length integers: a byte of flags, packets, then the differences of the offset to
// where the region could begin, of the first time to the last one of the region before, and of the last time to the first.
func encodeRegions(regions []Region) (b []byte) {
	at := int64(0)
	for i := range regions {
		r := &regions[i]
		flags := byte(0)
		if r.Offset < 0 {
			b = append(b, regionEmpty)
			continue
		}
		if r.Timeless {
			flags |= regionTimeless
		}
		if r.Describes {
			flags |= regionDescribes
		}
		b = binary.AppendUvarint(append(b, flags), uint64(r.Packets))
		b = binary.AppendUvarint(b, uint64(r.Offset-int64(i)*RegionSize))
		b = binary.AppendVarint(b, r.First-at)
		b = binary.AppendVarint(b, r.Last-r.First)
		at = r.Last
	}
	return b
}

var errRegions = errors.New("no list of regions")

func decodeRegions(b []byte) (regions []Region, err error) {
	at := int64(0)
	for len(b) > 0 {
		flags := b[0]
		b = b[1:]
		if flags&regionEmpty != 0 {
			regions = append(regions, Region{Offset: -1})
			continue
		}
		var packets, offset uint64
		var first, last int64
		ok := uvarint(&b, &packets) && uvarint(&b, &offset) && varint(&b, &first) && varint(&b, &last)
		if !ok || packets > math.MaxUint32 || offset >= RegionSize {
			return nil, errRegions
		}
		r := Region{
			Offset: int64(len(regions))*RegionSize + int64(offset), First: at + first, Last: at + first + last,
			Packets: uint32(packets), Timeless: flags&regionTimeless != 0, Describes: flags&regionDescribes != 0,
		}
		at = r.Last
		regions = append(regions, r)
	}
	return regions, nil
}

func uvarint(b *[]byte, to *uint64) bool {
	v, n := binary.Uvarint(*b)
	if n <= 0 {
		return false
	}
	*to, *b = v, (*b)[n:]
	return true
}

func varint(b *[]byte, to *int64) bool {
	v, n := binary.Varint(*b)
	if n <= 0 {
		return false
	}
	*to, *b = v, (*b)[n:]
	return true
}
