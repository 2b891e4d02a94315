package pcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// place lays the packets into memory as a ring has them: with room between them for what a file has there.
func place(rng *rand.Rand, pkts []Packet) ([]byte, []Placed) {
	mem := make([]byte, 64)
	var placed []Placed
	at := 60 + 4*rng.IntN(2)
	for _, p := range pkts {
		mem = append(mem, make([]byte, max(0, at+len(p.Data)-len(mem)))...)
		copy(mem[at:], p.Data)
		placed = append(placed, Placed{At: uint32(at), Captured: uint32(len(p.Data)), Length: p.Length, Sec: p.Sec, Nsec: p.Nsec, Flags: p.Flags})
		at = (at+len(p.Data)+7)&^7 + 52 + 4*rng.IntN(8)
	}
	mem = append(mem, make([]byte, 2*PlaceAlign)...)
	for i, b := range mem {
		if b == 0 {
			mem[i] = 0xa5 // of frames that were there before
		}
	}
	for i, p := range pkts {
		copy(mem[placed[i].At:], p.Data)
	}
	return mem, placed
}

// TestFrameInPlace: packets that are framed where they lie read back as if they had been encoded, in a file that
// has encoded ones before and after.
func TestFrameInPlace(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		e := NewEncoder(Header{Format: PCAPNG, LinkType: LinkTypeEthernet, Interface: "eth0"})
		before, within, after := randomPackets(rng, rng.IntN(3), 2000), randomPackets(rng, 1+rng.IntN(40), 2000), randomPackets(rng, rng.IntN(3), 2000)
		whole := file(t, e, before)
		whole = e.AppendFiller(whole, int64(len(whole)), time.Unix(1, 2))
		if len(whole)%PlaceAlign != 0 {
			t.Fatalf("filled up to %d bytes", len(whole))
		}
		mem, placed := place(rng, within)
		original := slices.Clone(mem)
		size, ok := e.FitInPlace(mem, placed)
		if !ok || size%PlaceAlign != 0 || !bytes.Equal(mem, original) {
			t.Fatalf("%d bytes, %v", size, ok)
		}
		e.FrameInPlace(mem, placed, size)
		once := slices.Clone(mem)
		if e.FrameInPlace(mem, placed, size); !bytes.Equal(mem, once) || !bytes.Equal(mem[size:], original[size:]) {
			t.Fatal("doing it again changes something, or it changes what is behind")
		}
		if i := bytes.Index(mem[:size], []byte{0xa5, 0xa5, 0xa5, 0xa5}); i >= 0 && !inPacket(placed, i) {
			t.Fatalf("what was in the memory before is in the file, at %d", i)
		}
		whole = append(whole, mem[:size]...)
		buf := make([]byte, 3*e.MaxRecord())
		n, _ := e.Encode(buf, after)
		whole = append(whole, buf[:n]...)
		r, err := NewReader(bytes.NewReader(whole))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range slices.Concat(before, within, after) {
			got, err := r.Next()
			if err != nil {
				t.Fatal(i, err)
			}
			if !bytes.Equal(got.Data, want.Data) || got.Sec != want.Sec || got.Nsec != want.Nsec || got.Flags != want.Flags || got.Length != max(want.Length, uint32(len(want.Data))) {
				t.Fatalf("packet %d: %+v, want %+v", i, got, want)
			}
		}
		if _, err := r.Next(); err == nil {
			t.Fatal("more packets than there were")
		}
	}
}

// inPlace returns a file in which the packets are copied first, and framed in place then, twice.
func inPlace(t *testing.T, e *Encoder, pkts []Packet) []byte {
	t.Helper()
	b := file(t, e, pkts)
	b = e.AppendFiller(b, int64(len(b)), time.Unix(1_700_000_000, 0))
	for range 2 {
		mem, placed := place(rand.New(rand.NewPCG(1, 1)), pkts)
		size, ok := e.FitInPlace(mem, placed)
		if !ok {
			t.Fatal("does not fit")
		}
		e.FrameInPlace(mem, placed, size)
		b = append(b, mem[:size]...)
	}
	return b
}

func inPacket(placed []Placed, at int) bool {
	return slices.ContainsFunc(placed, func(p Placed) bool { return int(p.At) <= at && at < int(p.At+p.Captured) })
}

// TestFitInPlace: what does not fit is refused, and nothing is changed.
func TestFitInPlace(t *testing.T) {
	e := NewEncoder(Header{Format: PCAPNG, LinkType: LinkTypeEthernet, Snaplen: 100})
	mem := make([]byte, PlaceAlign)
	one := Placed{At: 60, Captured: 60, Length: 60}
	for name, c := range map[string]struct {
		e      *Encoder
		placed []Placed
	}{
		"pcap":           {NewEncoder(Header{Format: PCAP}), []Placed{one}},
		"any":            {NewEncoder(Header{Format: PCAPNG, LinkType: LinkTypeMixed}), []Placed{one}},
		"nothing":        {e, nil},
		"no room before": {e, []Placed{{At: 48, Captured: 60, Length: 60}}},
		"odd":            {e, []Placed{{At: 62, Captured: 60, Length: 60}}},
		"empty":          {e, []Placed{{At: 60}}},
		"too long":       {e, []Placed{{At: 60, Captured: 101, Length: 101}}},
		"no room behind": {e, []Placed{{At: PlaceAlign - 64, Captured: 64, Length: 64}}},
		"outside":        {e, []Placed{{At: PlaceAlign, Captured: 64, Length: 64}}},
		"too near":       {e, []Placed{one, {At: 60 + 60 + 28, Captured: 10, Length: 10}}},
		"backwards":      {e, []Placed{{At: 600, Captured: 60, Length: 60}, one}},
		"too far":        {e, []Placed{one, {At: 1 << 20, Captured: 60, Length: 60}}},
	} {
		if n, ok := c.e.FitInPlace(mem, c.placed); ok {
			t.Errorf("%s: fits into %d bytes", name, n)
		}
	}
	n, ok := e.FitInPlace(mem, []Placed{one})
	if !ok || n != PlaceAlign {
		t.Fatal(n, ok)
	}
	e.FrameInPlace(mem, []Placed{one}, n)
	for at := 120; at < n-8; { // the options behind the packet
		code, length := binary.LittleEndian.Uint16(mem[at:]), int(binary.LittleEndian.Uint16(mem[at+2:]))
		if code != optCustomNotCopied || length > 1020 || length%4 != 0 {
			t.Fatalf("option %d of %d bytes at %d", code, length, at)
		}
		at += 4 + length
	}
}

// FuzzInPlace: whatever places packets are said to have, framing them neither panics nor writes outside of the part, and each
// of them is read again.
func FuzzInPlace(f *testing.F) {
	f.Add([]byte{15, 0, 20, 0, 1, 35, 0, 9, 0, 0}, uint16(2000))
	f.Fuzz(func(t *testing.T, places []byte, snaplen uint16) {
		e := NewEncoder(Header{Format: PCAPNG, LinkType: LinkTypeEthernet, Snaplen: uint32(snaplen)})
		mem := bytes.Repeat([]byte{0xa5}, 4*PlaceAlign)
		var placed []Placed
		for at := uint32(0); len(places) >= 5; places = places[5:] {
			at += 4*uint32(places[0]) + uint32(places[1])<<8
			placed = append(placed, Placed{At: at, Captured: uint32(places[2]) + uint32(places[3])<<8, Length: 1 << 16, Flags: Flags(places[4])})
		}
		size, ok := e.FitInPlace(mem, placed)
		if !ok {
			return
		}
		e.FrameInPlace(mem, placed, size)
		if !bytes.Equal(mem[size:], bytes.Repeat([]byte{0xa5}, len(mem)-size)) {
			t.Fatal("bytes outside of the part are changed")
		}
		r, err := NewReader(bytes.NewReader(append(e.Header(), mem[:size]...)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range placed {
			if p, err := r.Next(); err != nil || len(p.Data) != int(placed[i].Captured) || p.Flags != placed[i].Flags {
				t.Fatalf("packet %d: %+v, %v", i, p, err)
			}
		}
		if _, err := r.Next(); err == nil {
			t.Fatal("more packets than there were")
		}
	})
}

// BenchmarkInPlace has what a packet costs that is framed where it lies, in memory that no cache has, beside its
// copy from there.
func BenchmarkInPlace(b *testing.B) {
	const blocks, blockSize = 128, 1 << 20
	e := NewEncoder(Header{Format: PCAPNG, LinkType: LinkTypeEthernet})
	for _, size := range []int{64, 576, 1514} {
		mem := make([]byte, blocks*blockSize)
		for i := range mem {
			mem[i] = byte(i)
		}
		var placed []Placed
		for at := 60; at+size+2*PlaceAlign < blockSize; at += (size+7)&^7 + 84 {
			placed = append(placed, Placed{At: uint32(at), Captured: uint32(size), Length: uint32(size), Sec: 1, Flags: FlagInbound})
		}
		report := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(placed)), "ns/packet")
		}
		b.Run(fmt.Sprint(size, "/copied"), func(b *testing.B) {
			pkts, out := make([]Packet, len(placed)), make([]byte, 2*blockSize)
			for n := 0; b.Loop(); n++ {
				block := mem[n%blocks*blockSize:][:blockSize]
				for i, p := range placed {
					pkts[i] = Packet{Data: block[p.At:][:p.Captured], Length: p.Length, Sec: p.Sec, Flags: p.Flags}
				}
				if _, k := e.Encode(out, pkts); k != len(pkts) {
					b.Fatal(k)
				}
			}
			report(b)
		})
		b.Run(fmt.Sprint(size, "/in place"), func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				block := mem[n%blocks*blockSize:][:blockSize]
				whole, ok := e.FitInPlace(block, placed)
				if !ok {
					b.Fatal("does not fit")
				}
				e.FrameInPlace(block, placed, whole)
			}
			report(b)
		})
	}
}
