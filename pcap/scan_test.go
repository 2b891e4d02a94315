package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func scan(t testing.TB, b []byte, from ...int64) Scanned {
	t.Helper()
	s, err := Scan(bytes.NewReader(b), int64(len(b)), from...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sample returns a file of the packets, and the offsets of the records with
// the end of the last.
func sample(t testing.TB, f Format, pkts []Packet, snaplen int) (b []byte, ends []int64) {
	e := NewEncoder(Header{Format: f, LinkType: LinkTypeEthernet, Snaplen: uint32(snaplen), Interface: "eth0"})
	for i := range len(pkts) + 1 {
		b = file(t, e, pkts[:i])
		ends = append(ends, int64(len(b)))
	}
	return b, ends
}

// whole returns how many records end at or before the offset.
func whole(ends []int64, off int64) int {
	n, found := slices.BinarySearch(ends, off)
	if !found {
		n--
	}
	return n
}

func TestScan(t *testing.T) {
	for _, f := range formats {
		pkts := []Packet{
			{Data: []byte("abc"), Length: 60, Sec: 1005, Nsec: 7},
			{Data: []byte("de"), Length: 2, Sec: 1000, Nsec: 8}, // the clock was set back
			{Data: []byte("f"), Length: 1, Sec: 1003, Nsec: 9},
		}
		b, ends := sample(t, f, pkts, 96)
		for i, from := range ends {
			s := scan(t, b, from)
			if s.Packets != uint64(3-i) || s.From != from || s.End != int64(len(b)) || s.Tail != Clean {
				t.Errorf("%v from packet %d: %+v", f, i, s)
			}
		}
		for _, from := range []int64{0, 5, ends[0] + 3, ends[3] + 1} {
			s := scan(t, b, from)
			if s.Packets != 3 || s.Bytes != 6 || s.From > ends[0] || s.End != int64(len(b)) || s.Format != f ||
				!s.First.Equal(time.Unix(1000, 8)) || !s.Last.Equal(time.Unix(1005, 7)) ||
				len(s.Interfaces) != 1 || s.Interfaces[0].LinkType != LinkTypeEthernet {
				t.Errorf("%v from %d: %+v", f, from, s)
			}
		}
	}
}

// Interfaces may appear before the checkpoint, where the scan does not look.
func TestScanFromBehindInterfaces(t *testing.T) {
	w := sectionFile().idb(1, 0).epb(0, 5, 20).idb(1, 0).epb(1, 6, 20)
	from := int64(len(w.b))
	b := w.epb(1, 7, 20).epb(0, 8, 20).b
	if s := scan(t, b, from); s.Tail != Clean || s.From != from || s.Packets != 2 {
		t.Errorf("%+v", s)
	}
	if s := scan(t, w.epb(2, 9, 20).b); s.Tail != Corrupt || s.Packets != 4 {
		t.Errorf("an interface that is not there: %+v", s)
	}
}

// A file may be cut at any byte, and zeros may follow the cut.
func TestScanFindsLastWholeRecord(t *testing.T) {
	for _, f := range formats {
		for seed := range uint64(4) {
			pkts := randomPackets(rand.New(rand.NewPCG(4, seed)), 5, 300)
			b, ends := sample(t, f, pkts, 300)
			for cut := ends[3]; cut <= ends[5]; cut++ {
				checkCut(t, f, b[:cut], ends, b)
			}
		}
	}
}

func checkCut(t *testing.T, f Format, b []byte, ends []int64, original []byte) {
	t.Helper()
	cut := int64(len(b))
	n := whole(ends, cut)
	want := Torn
	if ends[n] == cut {
		want = Clean
	}
	for _, from := range [][]int64{nil, {ends[2]}} {
		s := scan(t, b, from...)
		if s.Tail != want || s.End != ends[n] {
			t.Fatalf("%v cut at %d: %+v, want %v at %d", f, cut, s, want, ends[n])
		}
	}
	for _, zeros := range []int{1, 3, 15, 16, 100, 5000} {
		padded := append(slices.Clone(b), make([]byte, zeros)...)
		s := scan(t, padded)
		// The zeros may stand for the record's own last bytes.
		n := n
		same := commonPrefix(padded, original)
		if f == PCAPNG {
			n = whole(ends, same)
		} else if n < 5 && same >= ends[n]+pcapRecordSize && int64(len(padded)) >= ends[n+1] {
			n++ // a whole header: a hole in the data cannot be seen
		}
		want := Zeros
		if ends[n] < cut {
			want = Torn
		}
		if s.End != ends[n] || s.Tail != want && ends[n] < int64(len(padded)) {
			t.Fatalf("%v cut at %d, then %d zeros: %+v, want %v at %d", f, cut, zeros, s, want, ends[n])
		}
	}
}

func commonPrefix(a, b []byte) (n int64) {
	for n < int64(min(len(a), len(b))) && a[n] == b[n] {
		n++
	}
	return n
}

// A file of which nothing, or not all of the header, reached the disk.
func TestScanHeader(t *testing.T) {
	for _, f := range formats {
		h := NewEncoder(fullHeader(f)).Header()
		idb := len(h)
		if f == PCAPNG {
			idb = int(binary.LittleEndian.Uint32(h[4:]))
		}
		for cut := range idb {
			if s := scan(t, h[:cut]); s.End != 0 || s.Tail != Torn {
				t.Fatalf("%v cut at %d: %+v", f, cut, s)
			}
			if cut == 0 || cut > 4 && f == PCAP || cut >= idb-3 {
				continue // zeros stand for the rest
			}
			if s := scan(t, append(h[:cut:cut], make([]byte, 4096)...)); s.End != 0 || s.Tail == Clean || s.Tail == Zeros {
				t.Fatalf("%v cut at %d, then zeros: %+v", f, cut, s)
			}
		}
	}
	if s := scan(t, make([]byte, 5000)); s.End != 0 || s.Tail != Zeros {
		t.Errorf("zeros: %+v", s)
	}
	if s := scan(t, []byte("GIF89a, say")); s.End != 0 || s.Tail != Corrupt || s.Reason == "" {
		t.Errorf("no capture: %+v", s)
	}
}

// Damage in the middle ends the scan, which says where records go on.
func TestScanCorrupt(t *testing.T) {
	for _, f := range formats {
		lengthAt := map[Format]int64{PCAP: 8, PCAPNG: 4}[f]
		pkts := randomPackets(rand.New(rand.NewPCG(5, 1)), 12, 300)
		b, ends := sample(t, f, pkts, 300)
		for i := range 8 {
			for name, length := range map[string]uint32{"too long": 0xfffffff0, "beyond the end": 200_000, "zero": 0} {
				damaged := slices.Clone(b)
				binary.LittleEndian.PutUint32(damaged[ends[i]+lengthAt:], length)
				s := scan(t, damaged)
				// A capture length of zero leaves a whole record without data.
				if s.Tail != Corrupt || s.End != ends[i] && length != 0 || s.Resync != ends[i+1] || s.Reason == "" {
					t.Errorf("%v, length %d %s: %+v, want resync at %d", f, i, name, s, ends[i+1])
				}
			}
		}
		garbage := append(slices.Clone(b), bytes.Repeat([]byte{0xee}, 500)...)
		if s := scan(t, garbage); s.Tail != Corrupt || s.End != int64(len(b)) || s.Resync != 0 || s.Packets != 12 {
			t.Errorf("%v, garbage: %+v", f, s)
		}
	}
}

// A capture length that takes in the records after it is found out by them.
func TestScanSeesThroughSwallowedRecords(t *testing.T) {
	pkts := randomPackets(rand.New(rand.NewPCG(5, 2)), 20, 100)
	for i := range pkts {
		pkts[i].Length = 9000
	}
	b, ends := sample(t, PCAP, pkts, 100)
	binary.LittleEndian.PutUint32(b[ends[4]+8:], 777)
	if s := scan(t, b); s.Tail != Corrupt || s.End != ends[4] || s.Packets != 4 || s.Resync != ends[5] {
		t.Errorf("%+v, want the end at %d, more from %d", s, ends[4], ends[5])
	}
}

// Whatever byte is damaged: no whole record before it is lost, and no packet
// is found that was not there.
func TestRandomDamage(t *testing.T) {
	for _, f := range formats {
		pkts := randomPackets(rand.New(rand.NewPCG(6, 1)), 20, 80)
		b, ends := sample(t, f, pkts, 80)
		want := asRecorded(pkts, f, 80)
		rng := rand.New(rand.NewPCG(6, 2))
		for range 3000 {
			damaged := slices.Clone(b)
			at := rng.Int64N(int64(len(b)))
			width := min(1+rng.Int64N(8), int64(len(b))-at)
			for i := range width {
				damaged[at+i] ^= byte(1 + rng.IntN(255))
			}
			s := scan(t, damaged)
			before := max(whole(ends, at), 0)
			if at >= ends[0] && (s.End < ends[before] || s.Packets < uint64(before)) {
				t.Fatalf("%v, %d bytes at %d: %d packets lost: %+v", f, width, at, before, s)
			}
			if s.Packets > uint64(len(pkts)) {
				t.Fatalf("%v, %d bytes at %d: %+v", f, width, at, s)
			}
			if at < ends[0] {
				continue // nothing but the header is damaged
			}
			got, _ := readAll(bytes.NewReader(damaged[:s.End]))
			if n, allowed := invented(got, want, ends, at, at+width); n > allowed {
				t.Fatalf("%v, %d bytes at %d: %d packets invented: %+v", f, width, at, n, s)
			}
		}
	}
}

// invented returns how many packets are none of those wanted, and how many may
// be since their own bytes from the offset on were damaged.
func invented(got, want []Packet, ends []int64, from, to int64) (n, allowed int) {
	var untouched []Packet
	for i, p := range want {
		if ends[i] < to && from < ends[i+1] {
			allowed++
		} else {
			untouched = append(untouched, p)
		}
	}
	for _, p := range got {
		if len(untouched) > 0 && samePacket(p, untouched[0]) {
			untouched = untouched[1:]
		} else {
			n++
		}
	}
	return n, allowed
}

type brokenReaderAt struct{ error }

func (r brokenReaderAt) ReadAt([]byte, int64) (int, error) { return 0, r.error }

func TestScanReadError(t *testing.T) {
	broken := errors.New("broken")
	for _, from := range []int64{0, 50} {
		if _, err := Scan(brokenReaderAt{broken}, 100, from); !errors.Is(err, broken) {
			t.Errorf("from %d: %v", from, err)
		}
	}
}

func FuzzScan(f *testing.F) {
	pkts := randomPackets(rand.New(rand.NewPCG(3, 2)), 4, 50)
	for _, format := range formats {
		b, ends := sample(f, format, pkts, 50)
		f.Add(b, int64(0))
		f.Add(append(b, make([]byte, 40)...), ends[1])
		f.Add(b[:len(b)-3], ends[2])
		damaged := slices.Clone(b)
		damaged[ends[1]+9] = 1
		f.Add(damaged, ends[1])
	}
	f.Fuzz(func(t *testing.T, b []byte, from int64) {
		s := scan(t, b, from)
		if s.End > int64(len(b)) || s.Tail == Clean && s.End != int64(len(b)) || s.Resync > int64(len(b)) {
			t.Fatalf("%+v of %d bytes", s, len(b))
		}
		if s.Tail == Zeros && !allZero(b[s.End:]) {
			t.Fatalf("%+v, but not only zeros", s)
		}
		if s.End == 0 {
			return
		}
		// What is cut there is whole, to the same packets.
		again := scan(t, b[:s.End], s.From)
		if again.From != s.From {
			return // what was cut had proven the checkpoint: the file is read from its beginning
		}
		if again.Tail != Clean && again.Empty == 0 || again.Packets+again.Empty != s.Packets || again.Bytes != s.Bytes && again.Empty == 0 {
			t.Fatalf("%+v, but once cut %+v", s, again)
		}
	})
}
