package afpacket

import (
	"slices"
	"sync/atomic"
	"testing"

	"capd/pcap"
)

// TestFind checks where reading starts after a block that was recorded, and which blocks are missing
// then.
func TestFind(t *testing.T) {
	const kernel, user, blockTimedOut = 0, ownerUser, 1 << 5 // TP_STATUS_BLK_TMO
	for _, c := range []struct {
		name    string
		last    uint64
		seq     []uint64
		status  []uint32
		want    int
		missing uint64
		next    []uint64 // numbers of the blocks that come
	}{
		{"fresh", 0, []uint64{1, 0, 0, 0}, []uint32{kernel, kernel, kernel, kernel}, 0, 0, nil},
		{"all read, none wrapped", 2, []uint64{1, 2, 3, 0}, []uint32{kernel, kernel, kernel, kernel}, 2, 0, nil},
		{"all read, wrapped", 5, []uint64{5, 6, 3, 4}, []uint32{kernel, kernel, kernel, kernel}, 1, 0, nil},
		{"all read, the kernel has not gone on", 6, []uint64{5, 6, 3, 4}, []uint32{kernel, kernel, kernel, kernel}, 2, 0, nil},
		{"some filled", 1, []uint64{1, 2, 3, 0}, []uint32{kernel, user, kernel, kernel}, 1, 0, []uint64{2}},
		{"filled, wrapped", 7, []uint64{9, 10, 7, 8}, []uint32{user, kernel, kernel, user}, 3, 0, []uint64{8, 9}},
		{"full", 6, []uint64{9, 10, 7, 8}, []uint32{user, user, user, user | blockTimedOut}, 2, 0, []uint64{7, 8, 9, 10}},
		{"given back", 6, []uint64{9, 10, 7, 8}, []uint32{user, kernel, user, kernel}, 2, 1, []uint64{7, 9}},
		{"first given back", 6, []uint64{9, 10, 7, 8}, []uint32{kernel, kernel, kernel, user}, 3, 2, []uint64{8}},
		{"overwritten", 2, []uint64{9, 10, 7, 8}, []uint32{user, kernel, user, user}, 2, 4, []uint64{7, 8, 9}},
		{"others have read all", 2, []uint64{9, 10, 7, 8}, []uint32{kernel, kernel, kernel, kernel}, 1, 7, nil},
	} {
		mem := make([]byte, 4*64)
		for i := range c.seq {
			host.PutUint64(mem[i*64+blockSeq:], c.seq[i])
			host.PutUint32(mem[i*64+blockStatus:], c.status[i])
		}
		r := newRing(mem, 64, c.last, ethernet, nil, func() {})
		if r.cur != c.want || r.missing != c.missing || !r.ordered() {
			t.Errorf("%s: starts at %d, want %d; %d missing, want %d; in order: %t", c.name, r.cur, c.want, r.missing, c.missing, r.ordered())
		}
		var next []uint64
		for s := r.next(); s != nil; s = r.next() {
			next = append(next, s.Block())
		}
		if !slices.Equal(next, c.next) {
			t.Errorf("%s: blocks %d, want %d", c.name, next, c.next)
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
	k.ring = newRing(make([]byte, blocks*sharedBlock), sharedBlock, 0, ethernet, &k.corrupt, func() { k.releases++ })
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
	if !k.ours(k.at) { // it opens the next block
		host.PutUint64(k.block(k.at)[blockSeq:], uint64(k.filled+1))
	}
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
	k.ring = newRing(k.mem, k.size, k.last, ethernet, &k.corrupt, func() {})
	for want := 3; want < 6; want++ {
		if s := k.next(); s == nil || s.number() != want {
			t.Fatalf("block %d does not come", want)
		}
	}
	if k.next() != nil {
		t.Error("a block comes twice")
	}
}

// FuzzRingAdopted fills, lends and releases blocks in any order, and ends the process that reads them
// at any moment. The next one gets each block that was not released, in order.
func FuzzRingAdopted(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 1, 1, 1, 4, 2, 0, 1, 1, 0, 2}, uint8(4))
	f.Add([]byte{0, 1, 3, 2, 0, 0, 1, 1, 4, 2, 1}, uint8(2))
	f.Fuzz(func(t *testing.T, ops []byte, blocks uint8) {
		k := newShared(int(blocks%7) + 2)
		var held []*slot
		released := map[uint64]bool{}
		committed, lent := uint64(0), uint64(0) // all up to it were released; the block lent last
		for _, op := range ops {
			switch {
			case op == 0:
				k.fill(false)
			case op == 1:
				s := k.next()
				want := lent + 1
				for released[want] {
					want++
				}
				if (s != nil) != (want <= uint64(k.filled)) || s != nil && s.Block() != want {
					t.Fatalf("%v, want block %d of %d", s, want, k.filled)
				}
				if s != nil {
					held, lent = append(held, s), want
				}
			case op == 2:
				missing := uint64(0)
				for n := range released {
					if n > committed {
						missing++
					}
				}
				k.giveBack(committed)
				k.ring = newRing(k.mem, k.size, committed, ethernet, &k.corrupt, func() {})
				if k.missing != missing || !k.ordered() {
					t.Fatalf("%d blocks missing, want %d", k.missing, missing)
				}
				held, lent = nil, committed
			case len(held) > 0:
				i := int(op) % len(held)
				n := held[i].Block()
				if n == uint64(k.filled) && n != committed+1 {
					continue // find could not tell it from the block that is being filled
				}
				released[n] = true
				held[i].Release()
				held = slices.Delete(held, i, i+1)
				for released[committed+1] {
					committed++
				}
			}
		}
	})
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

// TestMemory: a full block of large frames is offered for the disk, and nothing else is.
func TestMemory(t *testing.T) {
	const size = 64 << 10
	large := raw{data: append(macs(0x88, 0xb5), make([]byte, 1000)...)}
	place := func(mem []byte, frames uint32) { // where the first frame of a ring with a private area is
		copy(mem[blockLen+private:], mem[blockLen:size/2])
		host.PutUint32(mem[blockFirst:], blockLen+private)
		host.PutUint32(mem[blockFill:], blockLen+private+frames*1100)
	}
	for _, c := range []struct {
		name   string
		form   form
		change func(mem []byte)
		held   int64
		want   bool
	}{
		{name: "large frames", want: true},
		{name: "closed by the timer", change: func(mem []byte) { host.PutUint32(mem[blockStatus:], ownerUser|timedOut) }},
		{name: "small frames", change: func(mem []byte) { host.PutUint32(mem[blockFill:], lead+3*400) }},
		{name: "no frames", change: func(mem []byte) { host.PutUint32(mem[blockCount:], 0) }},
		{name: "no private area", change: func(mem []byte) { host.PutUint32(mem[blockFirst:], blockLen) }},
		{name: "of all interfaces", form: form{link: pcap.LinkTypeLinuxSLL2, snaplen: pcap.MaxSnaplen}},
		{name: "many are held", held: 8},
	} {
		mem := build(size, macEthernet, large, large, large)
		place(mem, 3)
		host.PutUint64(mem[blockSeq:], 1)
		if c.change != nil {
			c.change(mem)
		}
		if c.form.snaplen == 0 {
			c.form = ethernet
		}
		r := newRing(append(mem, make([]byte, 15*size)...), size, 0, c.form, new(atomic.Uint64), func() {})
		r.lent.Store(c.held)
		s := r.next()
		memory := s.Memory()
		if (memory != nil) != c.want || memory != nil && (len(memory) != size-lead || &memory[0] != &r.mem[lead]) {
			t.Errorf("%s: %d bytes", c.name, len(memory))
		}
		var pkts [4]pcap.Packet
		if n := s.Read(pkts[:]); n != 3 && c.form.link == ethernet.link && c.name != "no frames" && c.name != "no private area" {
			t.Errorf("%s: %d packets", c.name, n)
		}
		s.Release()
		if r.lent.Load() != c.held {
			t.Errorf("%s: %d are held", c.name, r.lent.Load())
		}
	}
}

// TestAgain: a block that was lent when the process before ended is lent again, and the kernel gets it after its release; the
// others up to there are given back.
func TestAgain(t *testing.T) {
	k := newShared(4)
	for range 3 {
		k.fill(false)
	}
	next := newRing(k.mem, sharedBlock, 3, ethernet, &k.corrupt, func() {})
	next.giveBack(3, 2)
	if next.ours(0) || !next.ours(1) || next.ours(2) {
		t.Fatal("other blocks than the one that is lent were kept, or it was not")
	}
	for _, n := range []uint64{0, 1, 3, 4, 6} {
		if next.again(n) != nil {
			t.Errorf("block %d is lent", n)
		}
	}
	s := next.again(2)
	if s == nil || s.Block() != 2 || s.Read(make([]pcap.Packet, 1)) != 0 || next.again(2) != nil {
		t.Fatalf("%+v", s)
	}
	for range 3 { // up to the block that is held
		k.at = (k.filled) % k.blocks
		k.fill(false)
	}
	got := 0
	for b := next.next(); b != nil; b = next.next() {
		got++
	}
	if got != 2 {
		t.Errorf("%d blocks come while one is lent, want 2", got)
	}
	if s.Release(); next.ours(1) {
		t.Error("it was not given back")
	}
}
