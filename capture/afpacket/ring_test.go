package afpacket

import (
	"slices"
	"sync/atomic"
	"testing"

	"capd/pcap"
)

func TestSeek(t *testing.T) {
	const kernel, user, blockTimedOut = 0, ownerUser, 1 << 5 // TP_STATUS_BLK_TMO
	for _, c := range []struct {
		name   string
		seq    []uint64
		status []uint32
		want   int
	}{
		{"fresh", []uint64{1, 0, 0, 0}, []uint32{kernel, kernel, kernel, kernel}, 0},
		{"all read, none wrapped", []uint64{1, 2, 3, 0}, []uint32{kernel, kernel, kernel, kernel}, 2},
		{"all read, wrapped", []uint64{5, 6, 3, 4}, []uint32{kernel, kernel, kernel, kernel}, 1},
		{"some filled", []uint64{1, 2, 3, 0}, []uint32{kernel, user, kernel, kernel}, 1},
		{"filled, wrapped", []uint64{9, 10, 7, 8}, []uint32{user, kernel, kernel, user}, 3},
		{"full", []uint64{9, 10, 7, 8}, []uint32{user, user, user, user | blockTimedOut}, 2},
	} {
		r := ring{mem: make([]byte, 4*64), size: 64, blocks: 4}
		for i := range c.seq {
			host.PutUint64(r.block(i)[blockSeq:], c.seq[i])
			host.PutUint32(r.block(i)[blockStatus:], c.status[i])
		}
		if r.seek(); r.cur != c.want {
			t.Errorf("%s: starts at %d, want %d", c.name, r.cur, c.want)
		}
	}
}

// A shared is a ring with a simulation of the kernel, which fills one block after the other and
// stops at a block that it does not own.
type shared struct {
	*ring
	corrupt  atomic.Uint64
	releases int
	at       int // the block that the kernel fills next
	filled   int // number of blocks that it has filled
}

const sharedBlock = 512

func newShared(blocks int) *shared {
	k := new(shared)
	k.ring = newRing(make([]byte, blocks*sharedBlock), sharedBlock, ethernet, &k.corrupt, func() { k.releases++ })
	return k
}

// fill hands over a block with one frame that carries the block's number; if corrupt is set, the
// frame is truncated. It reports whether the kernel owned a block to fill.
func (k *shared) fill(corrupt bool) bool {
	if k.ours(k.at) {
		return false
	}
	mem := build(sharedBlock, macEthernet, raw{data: macs(0x88, 0xb5, byte(k.filled), byte(k.filled>>8))})
	host.PutUint64(mem[blockSeq:], uint64(k.filled+1))
	if corrupt {
		host.PutUint32(mem[blockFirst:], 8)
	}
	copy(k.block(k.at), mem)
	k.at = (k.at + 1) % k.blocks
	k.filled++
	return true
}

// number reads the number in the block's frame.
func (s *slot) number() int {
	var pkts [2]pcap.Packet
	if s.Read(pkts[:]) != 1 {
		return -1
	}
	return int(pkts[0].Data[14]) | int(pkts[0].Data[15])<<8
}

// TestRingLends checks that blocks are lent in order and only once, can be released in any order,
// and that the kernel stops at the next block in order until it is released.
func TestRingLends(t *testing.T) {
	k := newShared(4)
	if k.next() != nil || k.full() {
		t.Error("an empty ring lends a block")
	}
	for k.fill(k.filled == 2) {
	}
	var held []*slot
	for s := k.next(); s != nil; s = k.next() {
		if n := s.number(); n != len(held) && len(held) != 2 {
			t.Errorf("block %d has number %d", len(held), n)
		}
		held = append(held, s)
	}
	if len(held) != 4 || !k.full() || k.ring.filled() != 4 || k.corrupt.Load() != 1 || held[2].Err() == nil || held[1].Err() != nil {
		t.Fatalf("%d blocks lent, %d filled, %d frames corrupt, %v", len(held), k.ring.filled(), k.corrupt.Load(), held[2].Err())
	}
	for _, i := range []int{2, 3, 1} {
		held[i].Release()
		if held[i].number() != -1 || held[i].Err() != nil || k.fill(false) || k.next() != nil || !k.full() {
			t.Errorf("block %d was released: the kernel or the reader goes on before block 0", i)
		}
	}
	held[0].Release()
	if k.releases != 4 || k.full() || k.ring.filled() != 0 {
		t.Errorf("%d releases, %d blocks filled", k.releases, k.ring.filled())
	}
	for i := range 4 {
		if !k.fill(false) || k.next().number() != 4+i {
			t.Errorf("block %d does not come", 4+i)
		}
	}
}

// TestRingNextReader checks that a ring that is mapped again starts with the oldest block that was
// not lent.
func TestRingNextReader(t *testing.T) {
	k := newShared(4)
	for range 6 {
		k.fill(false)
		if k.filled > 3 {
			continue
		}
		k.next().Release()
	}
	k.ring = newRing(k.mem, k.size, ethernet, &k.corrupt, func() {})
	for want := 3; want < 6; want++ {
		if s := k.next(); s == nil || s.number() != want {
			t.Fatalf("block %d does not come", want)
		}
	}
	if k.next() != nil {
		t.Error("a block comes twice")
	}
}

// FuzzRing fills, lends and releases blocks in any order.
func FuzzRing(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 1, 1, 1, 4, 3, 2, 0, 0}, uint8(4))
	f.Add([]byte{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}, uint8(2))
	f.Fuzz(func(t *testing.T, ops []byte, blocks uint8) {
		k := newShared(int(blocks%7) + 2)
		var held []*slot
		lent := 0
		for _, op := range ops {
			switch {
			case op == 0:
				if room := k.filled-lent+len(held) < k.blocks; k.fill(false) && !room {
					t.Fatal("the kernel fills a block that it does not own")
				}
			case op == 1:
				s := k.next()
				if (s != nil) != (k.filled > lent) {
					t.Fatalf("%d blocks filled, %d lent, and next returns %v", k.filled, lent, s)
				}
				if s == nil {
					continue
				}
				if slices.Contains(held, s) || s.number() != lent&0xffff {
					t.Fatalf("block %d comes twice or out of order", lent)
				}
				held = append(held, s)
				lent++
			case len(held) > 0:
				i := int(op) % len(held)
				held[i].Release()
				held = slices.Delete(held, i, i+1)
			}
			if k.full() != (len(held) > 0 && k.slots[k.cur].held.Load()) {
				t.Fatal("full without a block that is held")
			}
		}
		if k.ring.filled() != k.filled-lent+len(held) {
			t.Fatalf("%d blocks are filled, want %d", k.ring.filled(), k.filled-lent+len(held))
		}
	})
}
