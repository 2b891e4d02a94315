package read

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capd/internal/frames"
	"capd/pcap"

	"github.com/klauspost/compress/zstd"
)

// A line is a record of a file: where it ends, and whether later packets need it.
type line struct {
	end     int64
	informs bool
}

// odd returns a pcapng file of sections of both byte orders, with interfaces that are described late.
func odd(r *rand.Rand) (b []byte, lines []line) {
	var order binary.AppendByteOrder
	put := func(informs bool, kind uint32, body []byte) {
		body = append(body, make([]byte, -len(body)&3)...)
		b = order.AppendUint32(order.AppendUint32(b, kind), uint32(len(body)+12))
		b = order.AppendUint32(append(b, body...), uint32(len(body)+12))
		lines = append(lines, line{int64(len(b)), informs})
	}
	words := func(v ...uint32) (b []byte) {
		for _, w := range v {
			b = order.AppendUint32(b, w)
		}
		return b
	}
	ifaces := uint32(0)
	describe := func() {
		put(true, 1, append(order.AppendUint16(order.AppendUint16(nil, 1), 0), words(0)...))
		ifaces++
	}
	section := func() {
		order = []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}[r.IntN(2)]
		put(true, 0x0a0d0d0a, append(words(0x1a2b3c4d), append(order.AppendUint16(order.AppendUint16(nil, 1), 0), words(math.MaxUint32, math.MaxUint32)...)...))
		ifaces = 0
		describe()
	}
	section()
	for i := range 200 {
		switch r.IntN(40) {
		case 0:
			section()
		case 1:
			describe()
		case 2:
			put(false, 0xbad, words(1))
		}
		size := 1 + r.IntN(3000)
		put(false, 6, append(words(r.Uint32N(ifaces), 0, uint32(i+1), uint32(size), uint32(size)), bytes.Repeat([]byte{byte(i)}, size)...))
	}
	return b, lines
}

// partsOf chooses parts, in which all records are that later packets need.
func partsOf(r *rand.Rand, lines []line) (parts []Part) {
	for i := 0; i < len(lines)-1; {
		n := min(1+r.IntN(10), len(lines)-1-i)
		begin, end := lines[i].end, lines[i+n].end
		informs := slices.ContainsFunc(lines[i+1:i+n+1], func(l line) bool { return l.informs })
		if i += n; informs || r.IntN(3) == 0 {
			parts = append(parts, Part{begin, end})
		}
	}
	return parts
}

// TestParts: of a file of which parts are read, there are the records that it begins with and those of the parts, as who reads the
// whole file has them; no more is read than these and a few thousand bytes; and the whole file can be read after that.
func TestParts(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		var b []byte
		var lines []line
		if format := seed % 3; format == 2 {
			b, lines = odd(r)
		} else {
			var sizes []int
			for range 200 {
				sizes = append(sizes, 1+r.IntN(3000))
			}
			var ends []int64
			b, ends = recordFile(pcap.Format(format), sizes...)
			for _, end := range ends {
				lines = append(lines, line{end: end})
			}
		}
		parts := partsOf(r, lines)
		path := filepath.Join(t.TempDir(), "x.pcapng")
		file, whole := b, seed%4 != 3
		if !whole {
			file = inFrames(t, b, 50_000)
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		counted, chosen := 0, int64(0)
		f, err := Open(path, Options{Parts: parts, Through: func(src io.Reader) io.Reader { return counting{src, &counted} }})
		if err != nil {
			t.Fatal(err)
		}
		if checked, err := f.Check(parts); err != nil || checked > int64(len(parts)*checkedRecords*pcap.BeginSize) {
			t.Fatalf("seed %d: %v, %d bytes", seed, err, checked)
		}
		for _, p := range parts {
			chosen += p.End - p.Begin
		}
		got := records(t, f, parts)
		if whole && counted > int(chosen)+2*headStep+4096 {
			t.Errorf("seed %d: %d bytes were read, and the parts have %d", seed, counted, chosen)
		}
		all, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := records(t, all, parts)
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: %d records, want %d", seed, len(got), len(want))
		}
		if err := f.Whole(); err != nil {
			t.Fatal(err)
		}
		everything := []Part{{0, int64(len(b))}}
		if err := all.Whole(); err != nil {
			t.Fatal(err)
		}
		if again := records(t, f, everything); len(again) < 200 || !slices.Equal(again, records(t, all, everything)) {
			t.Errorf("seed %d: %d records of the whole file", seed, len(again))
		}
		f.Close()
		all.Close()
	}
}

// records returns the records that a file begins with up to its first packet, and those in the parts, with their interfaces.
func records(t *testing.T, f *File, parts []Part) (all []string) {
	t.Helper()
	if _, err := f.Header(); err != nil {
		t.Fatal(err)
	}
	for head := true; ; {
		at := f.Offset()
		if f.parts != nil {
			at = f.Position()
		}
		record, p, err := f.NextRecord()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		head = head && p == nil
		in := slices.ContainsFunc(parts, func(p Part) bool { return p.Begin <= at && at < p.End })
		switch {
		case !head && !in && f.parts != nil:
			t.Fatalf("a record at %d, which is in none of %v", at, parts)
		case head || in:
			id := 0
			if p != nil {
				id = f.InterfaceID()
			}
			all = append(all, string(record)+string(rune(id)))
		}
	}
}

// TestPartsOfAnotherFile: parts that are none of this file are found out, by Check or when they are read.
func TestPartsOfAnotherFile(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 4))
		format := pcap.Format(seed % 2)
		var sizes []int
		for range 300 {
			sizes = append(sizes, 1+r.IntN(2000))
		}
		b, ends := recordFile(format, sizes...)
		packed := seed%4 > 1
		if packed {
			b = inFrames(t, b, 30_000)
		}
		path := filepath.Join(t.TempDir(), "x"+format.Ext())
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		parts := []Part{{ends[10] + 4*r.Int64N(5) + 8, ends[100]}, {ends[150], ends[200]}}
		if seed%3 == 0 { // only the end is wrong
			parts[0].Begin, parts[0].End = ends[10], ends[100]-2
		}
		f, err := Open(path, Options{Parts: parts})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Check(parts)
		for packed && err == nil {
			if _, _, err = f.NextRecord(); err == io.EOF || pcap.IsDamage(err) {
				err = nil
				break
			}
		}
		if seed%3 > 0 && err == nil || seed%3 == 0 && err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err != nil && (!errors.Is(err, ErrParts) || !strings.Contains(err.Error(), "no record begins where a part does")) {
			t.Errorf("seed %d: %v", seed, err)
		}
		for err = nil; err == nil && !packed; {
			_, _, err = f.NextRecord()
		}
		if seed%3 == 0 && !packed && !pcap.IsDamage(err) {
			t.Errorf("seed %d: a record goes on behind its part, and %v", seed, err)
		}
		f.Close()
	}
}

// FuzzParts reads any bytes by any two parts.
func FuzzParts(f *testing.F) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, ends := recordFile(format, 10, 20, 30)
		f.Add(b, ends[0], ends[1], ends[2], ends[3])
	}
	path := filepath.Join(f.TempDir(), "x.pcap")
	f.Fuzz(func(t *testing.T, b []byte, a, z, c, y int64) {
		if a < 0 || z < a || c < z || y < c {
			return
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		parts := []Part{{a, z}, {c, y}}
		src, err := Open(path, Options{Parts: parts})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if _, err := src.Header(); err != nil {
			return
		}
		_, _ = src.Check(parts)
		at := int64(-1)
		for err == nil {
			next := src.Position()
			if next < at {
				t.Fatalf("the record at %d comes behind one at %d", next, at)
			}
			at = next
			_, _, err = src.NextRecord()
		}
		if err != io.EOF && !pcap.IsDamage(err) {
			t.Fatal(err)
		}
	})
}

// inFrames compresses a file in frames of a size.
func inFrames(t *testing.T, b []byte, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	for piece := range slices.Chunk(b, size) {
		w, err := frames.NewZstd(&out, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// TestPartsOfCompressed: of a compressed file, the frames are read that the parts are in, and the heads of those before. A file that
// is in one piece has no parts, and is read whole.
func TestPartsOfCompressed(t *testing.T) {
	b, ends := recordFile(pcap.PCAPNG, slices.Repeat([]int{1400}, 6000)...)
	part := Part{ends[3000], ends[3003]}
	path := filepath.Join(t.TempDir(), "x.pcapng.zst")
	if err := os.WriteFile(path, inFrames(t, b, frames.Size), 0o600); err != nil {
		t.Fatal(err)
	}
	counted := 0
	f, err := Open(path, Options{Parts: []Part{part}, Through: func(src io.Reader) io.Reader { return counting{src, &counted} }})
	if err != nil {
		t.Fatal(err)
	}
	if !f.Parted() || !HasParts(path) {
		t.Fatal("it has no parts")
	}
	if _, err := f.Check([]Part{part}); err != nil {
		t.Fatal(err)
	}
	if got := records(t, f, []Part{part}); len(got) < 3 {
		t.Errorf("%d records", len(got))
	}
	if info, err := os.Stat(path); err != nil || counted > int(info.Size())/3 {
		t.Errorf("%d bytes were read: %v", counted, err)
	}
	f.Close()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, z.EncodeAll(b, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = Open(path, Options{Parts: []Part{part}}); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Parted() || HasParts(path) {
		t.Fatal("it has parts")
	}
	if got := records(t, f, []Part{{0, int64(len(b))}}); len(got) < len(ends) {
		t.Errorf("%d records of %d", len(got), len(ends))
	}
}
