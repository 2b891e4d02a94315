package seal

import (
	"math/rand/v2"
	"testing"
)

// TestSpans: parts of any lengths, in any order, make the digest of the whole.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := make([]byte, 140*PieceSize)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for try := range 3000 {
		size := rng.IntN([]int{3, 2 * PieceSize, len(data)}[try%3] + 1)
		file := data[:size]
		most := []int{1 + size/2, 1 + size, PieceSize, 3 * PieceSize}[rng.IntN(4)]
		aligned := rng.IntN(2) == 0
		var parts []*Span
		for at := 0; at < size; {
			n := min(1+rng.IntN(most), size-at)
			if aligned {
				n = min((n+PieceSize-1)/PieceSize*PieceSize, size-at)
			}
			p := NewSpan(int64(at))
			for one := file[at : at+n]; len(one) > 0; {
				k := min(1+rng.IntN(2*PieceSize), len(one))
				_, _ = p.Write(one[:k])
				one = one[k:]
			}
			if len(p.head) >= PieceSize || len(p.tail) >= PieceSize {
				t.Fatalf("%d and %d bytes kept", len(p.head), len(p.tail))
			}
			parts = append(parts, p)
			at += n
		}
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var all Spans
		for _, p := range parts {
			if got, ok := all.Digest(int64(size)); ok {
				t.Fatalf("%v before all of %d bytes were there", got, size)
			}
			all.Add(p)
		}
		var tree Tree
		_, _ = tree.Write(file)
		if got, ok := all.Digest(int64(size)); !ok || got != tree.Digest() {
			t.Fatalf("%d bytes in %d parts: %v %v, want %v", size, len(parts), got, ok, tree.Digest())
		}
		if got, ok := all.Digest(int64(size) + 1); ok {
			t.Fatalf("%d bytes are taken for one more: %v", size, got)
		}
		if n := len(all.parts); n > 1 || n == 1 && len(all.parts[0].trees) > 9 {
			t.Fatalf("%d parts, %d trees are left", n, len(all.parts[0].trees))
		}
	}
}

// TestSpansTwice: bytes that come twice are no part of a digest.
func TestSpansTwice(t *testing.T) {
	part := func(begin, end int) *Span {
		s := NewSpan(int64(begin))
		_, _ = s.Write(make([]byte, end-begin))
		return s
	}
	for _, all := range [][]*Span{
		{part(0, 2048), part(0, 2048)},
		{part(0, 2048), part(1024, 3072)},
		{part(0, 3072), part(1024, 2048)},
		{part(1024, 3072), part(0, 1024), part(2048, 3072)},
		{part(0, 1024), part(1024, 2048), part(2048, 3072), part(1024, 2048)},
	} {
		var s Spans
		for _, p := range all {
			s.Add(p)
		}
		for _, size := range []int64{1024, 2048, 3072} {
			if got, ok := s.Digest(size); ok {
				t.Errorf("%v", got)
			}
		}
	}
}

// BenchmarkSpan measures what it costs to digest 1 MiB, beside the floor: the bytes' SHA-256.
func BenchmarkSpan(b *testing.B) {
	data := make([]byte, 1<<20)
	b.Run("floor", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		h := NewSpan(0).piece
		for b.Loop() {
			h.Write(data)
		}
	})
	b.Run("span", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			var s Spans
			one := NewSpan(0)
			_, _ = one.Write(data)
			s.Add(one)
		}
	})
}
