package writer

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

// inPlace salvages a file of these bytes in place, and returns what it has then.
func inPlace(t testing.TB, dir string, b []byte) ([]byte, SalvageReport, error) {
	t.Helper()
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := SalvageInPlace(path, nil)
	got, err2 := os.ReadFile(path)
	if err2 != nil {
		t.Fatal(err2)
	}
	return got, r, err
}

// copied salvages a file of these bytes into another, and returns what that has.
func copied(t testing.TB, dir string, b []byte) ([]byte, SalvageReport, error) {
	t.Helper()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Salvage(src, dst, nil)
	got, _ := os.ReadFile(dst)
	if left, _ := os.ReadFile(src); !bytes.Equal(left, b) {
		t.Fatal("the file itself was changed")
	}
	os.Remove(dst)
	return got, r, err
}

// foreignFile is a small file as another tool may have written it: packets of
// different kinds and sizes, some of them cut, and in pcapng all usual blocks.
func foreignFile(rng *rand.Rand, f pcap.Format, snaplen int) (b []byte, ends []int64) {
	enc := pcap.NewEncoder(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: "eth0", Snaplen: uint32(snaplen), OS: "system"})
	b = enc.Header()
	ends = append(ends, int64(len(b)))
	for i := range 3 + rng.IntN(12) {
		data := make([]byte, 1+rng.IntN(300))
		if rng.IntN(2) == 0 {
			for j := range data {
				data[j] = byte(rng.Uint32())
			}
		}
		p := pcap.Packet{Data: data, Length: uint32(len(data)), Sec: uint32(noon.Unix()) + uint32(i), Nsec: rng.Uint32N(1e9)}
		if rng.IntN(3) == 0 {
			p.Flags = pcap.FlagInbound
		}
		rec := make([]byte, enc.MaxRecord())
		n, _ := enc.Encode(rec, []pcap.Packet{p})
		b = append(b, rec[:n]...)
		ends = append(ends, int64(len(b)))
	}
	if rng.IntN(2) == 0 {
		b = enc.Trailer(b, pcap.Statistics{Start: noon, End: noon.Add(time.Minute), Received: 5, Comment: "the end"})
	}
	return b, ends
}

// uncommented returns the salvaged pcapng file with the first block of the
// original: its comment is checked, and taken away.
func uncommented(t *testing.T, b, original []byte) []byte {
	t.Helper()
	le := binary.LittleEndian
	n, was := le.Uint32(b[4:]), le.Uint32(original[4:])
	if n <= was || le.Uint32(b[n-4:]) != n || !bytes.Contains(b[:n], []byte("capd salvage: ")) {
		t.Fatalf("no comment in %q", b[:n])
	}
	return slices.Concat(original[:was], b[n:])
}

// TestInPlaceLeavesFlippedBits: one flipped bit is damage, wherever it is, and no
// torn end. pcap.TestFlippedBitIsNoTornEnd has more of them.
func TestInPlaceLeavesFlippedBits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range bothFormats {
		rng := rand.New(rand.NewPCG(16, 1))
		b, _ := foreignFile(rng, f, 200)
		for range 300 {
			bit := rng.IntN(8 * len(b))
			flipped := slices.Clone(b)
			flipped[bit/8] ^= 1 << (bit % 8)
			if got, r, err := inPlace(t, dir, flipped); !bytes.Equal(got, flipped) {
				t.Fatalf("%v, bit %d of byte %d of %d: cut to %d bytes: %+v, %v", f, bit%8, bit/8, len(b), len(got), r, err)
			}
		}
	}
}

// TestSalvageProperty: of any file that was cut or damaged anywhere, in place
// nothing but a torn end goes, and a copy keeps what was whole before the damage
// and behind it, and can be read to its end.
func TestSalvageProperty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range bothFormats {
		for seed := range uint64(300) {
			rng := rand.New(rand.NewPCG(17, seed))
			b, ends := foreignFile(rng, f, 200)
			hurt, at := slices.Clone(b), ends[0]+rng.Int64N(int64(len(b))-ends[0])
			cut := rng.IntN(2) == 0
			if cut {
				hurt = hurt[:at]
			} else {
				for i := at; i < min(at+1+rng.Int64N(30), int64(len(b))); i++ {
					hurt[i] ^= byte(1 + rng.IntN(255))
				}
			}
			before := 0
			for before+1 < len(ends) && ends[before+1] <= at {
				before++
			}
			left, r, err := inPlace(t, dir, hurt)
			if cut && (err != nil || r.Packets != uint64(before) || !bytes.Equal(left, b[:ends[before]])) && at < ends[len(ends)-1] {
				t.Fatalf("%v, seed %d, cut at %d: in place %+v, %v", f, seed, at, r, err)
			}
			if !cut && !bytes.Equal(left, hurt) {
				t.Fatalf("%v, seed %d, damaged at %d: cut to %d bytes of %d: %+v, %v", f, seed, at, len(left), len(hurt), r, err)
			}
			got, r, err := copied(t, dir, hurt)
			if err != nil {
				t.Fatalf("%v, seed %d, at %d: %v", f, seed, at, err)
			}
			rd, err := pcap.NewReader(bytes.NewReader(got))
			n := 0
			for err == nil {
				if _, err = rd.Next(); err == nil {
					n++
				}
			}
			if err != io.EOF || n < before || uint64(n) != r.Packets || n > len(ends)-1 || int64(len(got)) < ends[before] ||
				!r.Commented && !bytes.Equal(got[:ends[before]], b[:ends[before]]) {
				t.Fatalf("%v, seed %d, at %d: %d packets read of %d, %v: %+v", f, seed, at, n, before, err, r)
			}
		}
	}
}

// TestSalvageStatesNoLength: a section that lost bytes does not say how long it
// was, of either byte order, and the rest of its header stays.
func TestSalvageStatesNoLength(t *testing.T) {
	t.Parallel()
	section := func(order binary.AppendByteOrder) (b []byte, packets []int) {
		block := func(kind uint32, body []byte) []byte {
			n := uint32(len(body) + 12)
			return order.AppendUint32(slices.Concat(order.AppendUint32(order.AppendUint32(nil, kind), n), body), n)
		}
		var blocks []byte
		blocks = append(blocks, block(1, []byte{0, 0, 0, 0, 0, 0, 0, 0})...)
		for i := range 8 {
			body := order.AppendUint32(order.AppendUint32(make([]byte, 12), 4), 4)
			packets = append(packets, 28+len(blocks))
			blocks = append(blocks, block(6, append(body, 'd', 'a', 't', byte(i)))...)
		}
		head := order.AppendUint16(order.AppendUint16(order.AppendUint32(nil, 0x1a2b3c4d), 1), 0)
		return append(block(0x0a0d0d0a, order.AppendUint64(head, uint64(len(blocks)))), blocks...), packets
	}
	first, packets := section(binary.LittleEndian)
	second, _ := section(binary.BigEndian)
	whole := slices.Concat(first, second)
	for name, hurt := range map[string][]byte{
		"torn":    whole[:len(whole)-5],
		"damaged": slices.Concat(whole[:packets[2]+4], []byte{0xff, 0xff, 0xff, 0xff}, whole[packets[2]+8:]),
	} {
		got, r, err := copied(t, t.TempDir(), hurt)
		if err != nil || r.Packets != 15 || r.Commented != (name == "damaged") {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		if bytes.Count(got, bytes.Repeat([]byte{0xff}, 8)) != 2 || !r.Commented && len(got) != len(whole)-36 {
			t.Errorf("%s: %x", name, got)
		}
	}
	if got, r, err := copied(t, t.TempDir(), whole); err != nil || r.Cut != 0 || !bytes.Equal(got, whole) {
		t.Errorf("a whole file: %+v, %v", r, err)
	}
}

// TestSalvageCarriedCapture: a record that the file's end cuts is torn, also if
// what it carries is a capture file: nothing of that is taken for a record, by
// salvage or by the next run of a recorder.
func TestSalvageCarriedCapture(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range bothFormats {
		for _, carried := range bothFormats {
			inner, _ := recordFile(carried, 60, 61, 62, 63, 64, 65, 66, 67)
			b, ends := recordFile(f, 60, 61, len(inner)+50)
			copy(b[int(ends[2])+50:], inner)
			for cut := ends[2] + 1; cut < ends[3]; cut += 3 {
				torn := b[:cut]
				left, _, err := inPlace(t, dir, torn)
				if err != nil || !bytes.Equal(left, b[:ends[2]]) {
					t.Fatalf("%v in %v, cut at %d: in place %d bytes, %v", carried, f, cut, len(left), err)
				}
				got, r, err := copied(t, dir, torn)
				if err != nil || r.Packets != 2 || r.Damaged || !bytes.Equal(got, b[:ends[2]]) {
					t.Fatalf("%v in %v, cut at %d: %+v, %v", carried, f, cut, r, err)
				}
			}
			for cut := ends[2] + 1; cut < ends[3]; cut += 29 {
				r, room := recovered(t, f, b[:cut], nil)
				if r.Err != nil || r.Damaged || r.Packets != 2 || r.Size != ends[2] {
					t.Fatalf("%v in %v, cut at %d: recovered %+v", carried, f, cut, r)
				}
				os.RemoveAll(room)
			}
		}
	}
}

// TestSalvageGaps: the report says where bytes were left out, and how many
// records they were if that is known.
func TestSalvageGaps(t *testing.T) {
	t.Parallel()
	for _, f := range bothFormats {
		sizes := make([]int, 200)
		for i := range sizes {
			sizes[i] = 60 + i
		}
		b, ends := recordFile(f, sizes...)
		hurt := slices.Clone(b)
		lengthAt := map[pcap.Format]int64{pcap.PCAP: 8, pcap.PCAPNG: 4}[f]
		for _, i := range []int{20, 21, 90} {
			binary.LittleEndian.PutUint32(hurt[ends[i]+lengthAt:], 0xfffffff1)
		}
		got, r, err := copied(t, t.TempDir(), hurt)
		if err != nil || r.Packets != 197 || !r.Damaged || len(r.Gaps) != 2 || r.Cut != ends[22]-ends[20]+ends[91]-ends[90] {
			t.Fatalf("%v: %+v, %v", f, r, err)
		}
		two, one := r.Gaps[0], r.Gaps[1]
		if two.Offset != ends[20] || two.Bytes != ends[22]-ends[20] || two.Records != 0 || one.Offset != ends[90] || one.Records != 1 ||
			!strings.Contains(r.Why, "corrupt at byte") {
			t.Errorf("%v: %+v", f, r)
		}
		if f == pcap.PCAPNG {
			got = uncommented(t, got, b)
		}
		if want := slices.Concat(b[:ends[20]], b[ends[22]:ends[90]], b[ends[91]:]); !bytes.Equal(got, want) {
			t.Errorf("%v: %d bytes, want %d", f, len(got), len(want))
		}
	}
}
