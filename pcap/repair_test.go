package pcap

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

func repair(t testing.TB, b []byte) Repaired {
	t.Helper()
	r, err := Repair(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	checkTiles(t, &r, int64(len(b)))
	return r
}

// checkTiles checks that regions and gaps make up the file.
func checkTiles(t testing.TB, r *Repaired, size int64) {
	t.Helper()
	at, gaps := int64(0), r.Gaps
	for i := 0; i <= len(r.Regions); i++ {
		next := size
		if i < len(r.Regions) {
			next = r.Regions[i].Begin
		}
		if at < next {
			if len(gaps) == 0 || gaps[0].Offset != at || gaps[0].Bytes != next-at {
				t.Fatalf("no gap of bytes %d to %d: %+v", at, next, r)
			}
			gaps = gaps[1:]
		}
		if i < len(r.Regions) {
			if at = r.Regions[i].End; at <= next {
				t.Fatalf("region %d: %+v", i, r)
			}
		}
	}
	if len(gaps) > 0 {
		t.Fatalf("gaps inside of regions: %+v", r)
	}
}

// kept returns what Repair keeps of a file.
func kept(b []byte, r *Repaired) (out []byte) {
	for _, g := range r.Regions {
		out = append(out, b[g.Begin:g.End]...)
	}
	return out
}

// foreign returns a file of packets with zeros, noise or text in them, and the
// offsets of its records with the end of the last.
func foreign(t testing.TB, rng *rand.Rand, f Format, n int) (b []byte, ends []int64) {
	snaplen := 100 + rng.IntN(200)
	pkts := randomPackets(rng, n, snaplen)
	for i := range pkts {
		pkts[i].Length = uint32(len(pkts[i].Data))
		if rng.IntN(3) == 0 {
			clear(pkts[i].Data[len(pkts[i].Data)/3:])
		}
	}
	b, ends = sample(t, f, pkts, snaplen)
	if rng.IntN(2) == 0 {
		b = NewEncoder(Header{Format: f}).Trailer(b, testStatistics())
	}
	return b, ends
}

// TestFlippedBitIsNoTornEnd: a file with one wrong bit is not taken for one that
// is only torn, so that it is not cut.
func TestFlippedBitIsNoTornEnd(t *testing.T) {
	for _, f := range formats {
		for seed := range uint64(8) {
			b, ends := foreign(t, rand.New(rand.NewPCG(16, seed)), f, 3+int(seed%5))
			for bit := range 8 * len(b) {
				flipped := slices.Clone(b)
				flipped[bit/8] ^= 1 << (bit % 8)
				if s := scan(t, flipped); s.End != 0 && s.End < int64(len(b)) && s.Empty == 0 && s.Tail != Corrupt && s.Doubt == "" {
					t.Fatalf("%v, seed %d, bit %d of byte %d of %d in %v: %+v", f, seed, bit%8, bit/8, len(b), ends, s)
				}
			}
		}
	}
}

// TestTornEndIsKnown: a file that is cut at any byte, with zeros behind or not,
// is torn without doubt.
func TestTornEndIsKnown(t *testing.T) {
	for _, f := range formats {
		for seed := range uint64(8) {
			b, ends := foreign(t, rand.New(rand.NewPCG(17, seed)), f, 3+int(seed%5))
			for cut := ends[0] + 1; cut < int64(len(b)); cut++ {
				n := whole(ends, cut)
				if s := scan(t, b[:cut]); s.End != ends[n] || s.Packets != uint64(n) || s.Doubt != "" ||
					s.Tail != Torn && !allZero(b[ends[n]:cut]) {
					t.Fatalf("%v, seed %d, cut at %d of %v: %+v", f, seed, cut, ends, s)
				}
			}
		}
	}
}

// damages are ways in which a part of a file is no longer what it was. They
// return the file, and which bytes of the one before it no longer has.
var damages = []func(rng *rand.Rand, b []byte, at int64) (damaged []byte, from, to int64){
	func(rng *rand.Rand, b []byte, at int64) ([]byte, int64, int64) { // a bit
		b = slices.Clone(b)
		b[at] ^= 1 << rng.IntN(8)
		return b, at, at + 1
	},
	func(rng *rand.Rand, b []byte, at int64) ([]byte, int64, int64) { // noise over it
		b, to := slices.Clone(b), min(at+1+rng.Int64N(400), int64(len(b)))
		for i := at; i < to; i++ {
			b[i] ^= byte(1 + rng.IntN(255))
		}
		return b, at, to
	},
	func(rng *rand.Rand, b []byte, at int64) ([]byte, int64, int64) { // zeros over it
		b, to := slices.Clone(b), min(at+1+rng.Int64N(400), int64(len(b)))
		clear(b[at:to])
		return b, at, to
	},
	func(rng *rand.Rand, b []byte, at int64) ([]byte, int64, int64) { // a piece is gone
		to := min(at+1+rng.Int64N(400), int64(len(b)))
		return slices.Concat(b[:at], b[to:]), at, to
	},
	func(rng *rand.Rand, b []byte, at int64) ([]byte, int64, int64) { // a piece is too many
		noise := make([]byte, 1+rng.IntN(400))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		return slices.Concat(b[:at], noise, b[at:]), at, at
	},
}

// TestRepair: whatever is damaged, every record before is kept, and every one
// behind that is whole and not among the file's last few; none is invented.
func TestRepair(t *testing.T) {
	for _, f := range formats {
		for seed := range uint64(1000) {
			rng := rand.New(rand.NewPCG(18, seed))
			pkts := randomPackets(rng, 40, 150)
			for i := range pkts {
				pkts[i].Length = uint32(len(pkts[i].Data)) // cut at the snaplen only
			}
			b, ends := sample(t, f, pkts, 150)
			want := asRecorded(pkts, f, 150)
			at := ends[0] + rng.Int64N(ends[30]-ends[0])
			kind := rng.IntN(len(damages))
			damaged, from, to := damages[kind](rng, b, at)
			r := repair(t, damaged)
			got, err := readAll(bytes.NewReader(kept(damaged, &r)))
			if err != io.EOF || uint64(len(got)) != r.Packets {
				t.Fatalf("%v, seed %d, damage %d: %d packets read, %v; %+v", f, seed, kind, len(got), err, r)
			}
			if len(damaged) < len(b) { // a record takes in what follows the missing piece, as long as it says it is
				to = max(to, ends[whole(ends, from)+1]+to-from)
			}
			if len(r.Gaps) == 0 {
				continue // by its structure the file is whole, as it is for other tools
			}
			missing, touched := 0, 0
			left := got
			for i, p := range want {
				if ends[i] < to && from < ends[i+1] || ends[i] < at && at < ends[i+1] {
					touched++
					continue
				}
				j := slices.IndexFunc(left, func(q Packet) bool { return samePacket(p, q) })
				if j < 0 {
					missing++
					t.Logf("record %d at %d is missing", i, ends[i])
					continue
				}
				left = left[j+1:]
			}
			if invented := len(got) - (len(want) - touched - missing); missing > 0 || invented > touched {
				t.Fatalf("%v, seed %d, damage %d of %d to %d: %d missing, %d invented of %d: %+v", f, seed, kind, from, to, missing, invented, touched, r)
			}
		}
	}
}

func FuzzRepair(f *testing.F) {
	for i, format := range append(formats, formats...) {
		rng := rand.New(rand.NewPCG(19, uint64(i)))
		b, ends := foreign(f, rng, format, 12)
		f.Add(b)
		for _, damage := range damages {
			damaged, _, _ := damage(rng, b, ends[4]+5)
			f.Add(damaged)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := repair(t, b)
		if len(r.Regions) == 0 || r.Regions[0].Begin != 0 {
			return
		}
		n, empty := uint64(0), 0
		rd, err := NewReader(bytes.NewReader(kept(b, &r)))
		for err == nil {
			var p Packet
			if p, err = rd.Next(); err != nil {
				break
			}
			n++
			if empty++; len(p.Data) > 0 || p.Length > 0 {
				empty = 0
			}
		}
		if s := scan(t, b); n != r.Packets || r.Packets < s.Packets || err != io.EOF {
			t.Fatalf("%d packets, %v; %+v; up to the damage %+v", n, err, r, s)
		}
		// What was cut behind many empty records of PCAP was the only sign that
		// they are not the beginning of a record and the zeros of a torn end.
		whole := kept(b, &r)
		ambiguous := r.Format == PCAP && empty >= maxEmpty
		again := repair(t, whole)
		if again.Packets > r.Packets || !ambiguous && (again.Packets != r.Packets || len(again.Gaps) > 0) {
			t.Fatalf("%+v, and again %+v", r, again)
		}
	})
}
