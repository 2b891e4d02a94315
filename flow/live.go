package flow

import (
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
)

// A live flow is one that may get more frames. It takes two lines of a processor's cache, and most packets need no more of
// their flow.
type live struct {
	id          identity
	first, last int64
	counts      [2]traffic // from a to b, and back
	stretch     stretch    // the last of them
	flags       [2]uint8   // of TCP
	marks       Marks
	seen        bool // since the last eviction
}

type traffic struct{ packets, bytes uint64 }

func (f *live) packets() uint64 { return f.counts[0].packets + f.counts[1].packets }

// A beginning is the rest of a live flow.
type beginning struct {
	cut     uint64
	macs    [2]uint64 // of a and b as numbers, in the first frame
	past    int32     // regions of the stretches before the last
	has     Has       // of the MAC addresses, as source and destination
	reverse bool      // the first frame went from b to a
}

// A stretch is which of 64 regions a flow has frames in.
type stretch struct {
	mask     uint64
	region   uint32 // that of the lowest bit
	previous int32  // stretch of the same flow; -1: none
}

const stretchSize = 64

// flows are the live flows of a Builder: a hash table with open addressing, from which nothing is deleted but all at once.
type flows struct {
	// A slot has the highest bits of the hash of a flow, and below them the number of the flow and one; 0 is free. At most half
	// of the slots are taken. They are small, so that those of many flows fit into the second-level cache.
	slots  []uint32
	all    []live
	begun  []beginning // of each flow
	past   []stretch   // those before the last ones
	spare  []stretch   // for evict
	secret [7]uint64   // so that nobody can send flows that have one hash
	places []uint32    // for regions
}

const (
	minSlots = 1 << 10
	slotBits = 19 // of the number: maxLive has one less
)

func slotOf(hash uint64, flow int) uint32 {
	return uint32(hash>>(32+slotBits))<<slotBits | uint32(flow+1)
}

// slotFlow returns the number of the flow; below 0: the slot is free.
func slotFlow(slot uint32) int { return int(slot&(1<<slotBits-1)) - 1 }

func newFlows() (t flows) {
	for i := range t.secret {
		t.secret[i] = rand.Uint64()
	}
	t.slots = make([]uint32, minSlots)
	return t
}

func (t *flows) hash(id *identity) uint64 {
	s := &t.secret
	h := fold(id.a[0]^s[0], id.a[1]^s[1]) ^ fold(id.b[0]^s[2], id.b[1]^s[3]) ^ fold(id.ports^s[4], id.rest^s[5])
	return fold(h^id.vlans, s[6]|1)
}

func fold(x, y uint64) uint64 {
	high, low := bits.Mul64(x, y)
	return high ^ low
}

// find returns the number of a packet's flow, and takes what the packet says about it that is not counted; -1: there is none.
func (t *flows) find(f *found) (flow int) {
	mask := uint64(len(t.slots) - 1)
	for i := f.hash & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			return -1
		}
		if n := slotFlow(slot); slot == slotOf(f.hash, n) {
			if t.all[n].id.equal(&f.id) {
				t.meet(n, f)
				return n
			}
		}
	}
}

// add adds the flow of a packet, which is not there.
func (t *flows) add(f *found) (flow int) {
	if 2*len(t.all) >= len(t.slots) {
		t.slots = make([]uint32, 2*len(t.slots))
		t.place()
	}
	b := beginning{macs: f.macs, has: f.has, reverse: f.way != 0}
	t.all, t.begun = twice(t.all), twice(t.begun)
	t.all = append(t.all, live{id: f.id, seen: true, stretch: stretch{previous: -1}})
	t.begun = append(t.begun, b)
	t.put(len(t.all)-1, f.hash)
	return len(t.all) - 1
}

// twice makes a full slice twice as large: append makes long ones larger by a quarter, and copies them as often.
func twice[T any](s []T) []T {
	if len(s) == cap(s) {
		s = slices.Grow(s, max(len(s), 64))
	}
	return s
}

// meet compares a packet with the first one of its flow. It reads and writes all of the flow that most packets need.
func (t *flows) meet(flow int, f *found) {
	t.all[flow].seen = true
	if macs := &t.begun[flow].macs; f.has == HasSrcMAC|HasDstMAC && (f.macs[0]^macs[0])|(f.macs[1]^macs[1]) != 0 {
		f.marks |= OtherMACs
	}
}

// place puts all flows into slots that are free.
func (t *flows) place() {
	for n := range t.all {
		t.put(n, t.hash(&t.all[n].id))
	}
}

func (t *flows) put(n int, hash uint64) {
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = slotOf(hash, n)
}

// visit adds a region, in which the flow has a frame. Regions come in order.
func (t *flows) visit(flow int, region uint32) {
	s := &t.all[flow].stretch
	n := region - s.region
	if n >= stretchSize || s.mask == 0 {
		if s.mask != 0 {
			t.past = append(twice(t.past), *s)
			s.previous = int32(len(t.past) - 1)
			t.begun[flow].past += int32(bits.OnesCount64(s.mask))
		}
		s.region, s.mask, n = region, 0, 0
	}
	s.mask |= 1 << n
}

// numRegions returns in how many regions the flow has frames.
func (t *flows) numRegions(flow int) int {
	return int(t.begun[flow].past) + bits.OnesCount64(t.all[flow].stretch.mask)
}

// cost is what the row of a flow is reckoned with.
func (t *flows) cost(flow int) int64 { return rowCost + regionCost*int64(t.numRegions(flow)) }

// size returns how many bytes of memory the flows take.
func (t *flows) size() int {
	return 4*len(t.slots) + sizeOf[live]()*cap(t.all) + sizeOf[beginning]()*cap(t.begun) + sizeOf[stretch]()*(cap(t.past)+cap(t.spare))
}

func sizeOf[T any]() int { return int(reflect.TypeFor[T]().Size()) }

// regions returns the regions of a flow in order, until it is called again.
func (t *flows) regions(flow int) []uint32 {
	n := t.numRegions(flow)
	t.places = slices.Grow(t.places[:0], n)[:n]
	for s := &t.all[flow].stretch; ; s = &t.past[s.previous] {
		n -= bits.OnesCount64(s.mask)
		i := n
		for m := s.mask; m != 0; m &= m - 1 {
			t.places[i] = s.region + uint32(bits.TrailingZeros64(m))
			i++
		}
		if s.previous < 0 {
			return t.places
		}
	}
}

// evict drops the flows that are not to be kept, each after a call of drop.
func (t *flows) evict(keep func(*live) bool, drop func(n int)) {
	kept := 0
	past := t.spare[:0]
	for n := range t.all {
		f := &t.all[n]
		if !keep(f) {
			drop(n)
			continue
		}
		begin := len(past)
		for i := f.stretch.previous; i >= 0; i = t.past[i].previous {
			past = append(past, t.past[i])
		}
		slices.Reverse(past[begin:])
		for i := begin; i < len(past); i++ {
			past[i].previous = int32(i - 1)
		}
		if begin < len(past) {
			past[begin].previous, f.stretch.previous = -1, int32(len(past)-1)
		}
		f.seen = false
		t.all[kept], t.begun[kept] = *f, t.begun[n]
		kept++
	}
	t.all, t.begun = t.all[:kept], t.begun[:kept]
	t.past, t.spare = past, t.past
	clear(t.slots)
	t.place()
}

// row returns a flow as a row, whose regions are valid until the next call.
func (t *flows) row(n int) Row {
	f, b := &t.all[n], &t.begun[n]
	r := Row{Key: f.id.key(b.reverse), First: f.first, Last: f.last, Cut: b.cut, Marks: f.marks, Regions: t.regions(n)}
	r.SrcMAC, r.DstMAC = macOf(b.macs[0]), macOf(b.macs[1])
	r.Has |= b.has
	r.Sent = Count{f.counts[0].packets, f.counts[0].bytes, f.flags[0]}
	r.Received = Count{f.counts[1].packets, f.counts[1].bytes, f.flags[1]}
	if b.reverse {
		r.SrcMAC, r.DstMAC, r.Sent, r.Received = r.DstMAC, r.SrcMAC, r.Received, r.Sent
	}
	return r
}
