package decode

import (
	"encoding/binary"
	"net/netip"
)

// data is a part of a frame: the bytes that were captured of it, and its length
// on the wire, which is never less.
type data struct {
	b []byte
	n int
}

// from is what is left behind the first i bytes.
func (x data) from(i int) data {
	return data{x.b[min(i, len(x.b)):], max(x.n-i, 0)}
}

// limit is the first n bytes.
func (x data) limit(n int) data {
	n = min(max(n, 0), x.n)
	return data{x.b[:min(n, len(x.b))], n}
}

// whole says that all of it was captured.
func (x data) whole() bool { return len(x.b) == x.n }

// A cursor reads data from its start. Past the end it reads zeroes and says so.
type cursor struct {
	data
	short   bool
	lacking int // the length that the first read past the end asked for
}

func read(x data) *cursor { return &cursor{data: x} }

// take returns the next n bytes, or nil.
func (c *cursor) take(n int) []byte {
	if c.short || n < 0 || n > len(c.b) {
		if !c.short {
			c.short, c.lacking = true, n
		}
		return nil
	}
	b := c.b[:n:n]
	c.data = c.from(n)
	return b
}

// left says that there are at least n more bytes.
func (c *cursor) left(n int) bool { return !c.short && len(c.b) >= n }

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u24() uint32 {
	if b := c.take(3); b != nil {
		return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) mac() MAC {
	var m MAC
	copy(m[:], c.take(6))
	return m
}

func (c *cursor) ip4() netip.Addr {
	var a [4]byte
	copy(a[:], c.take(4))
	return netip.AddrFrom4(a)
}

func (c *cursor) ip6() netip.Addr {
	var a [16]byte
	copy(a[:], c.take(16))
	return netip.AddrFrom16(a)
}

// sub reads the next n bytes on their own: fewer where fewer are there.
func (c *cursor) sub(n int) *cursor {
	x := c.limit(n)
	c.data = c.from(n)
	return read(x)
}
