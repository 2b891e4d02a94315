//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"capd/bench/inject"
)

var le = binary.LittleEndian

// pcapFile returns a pcap file of frames with these numbers.
func pcapFile(magic uint32, numbers ...uint64) []byte {
	b := le.AppendUint32(nil, magic)
	b = append(b, make([]byte, 20)...)
	for _, n := range numbers {
		frame := inject.Frame(80, n)
		b = append(b, make([]byte, 8)...)
		b = le.AppendUint32(b, uint32(len(frame)))
		b = le.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	return b
}

// mixedFile returns a pcap file of frames with these numbers and the sizes of the mix. The largest
// frames are truncated by 2 bytes.
func mixedFile(numbers ...uint64) []byte {
	sizes := inject.IMIX()
	b := le.AppendUint32(nil, nano)
	b = append(b, make([]byte, 20)...)
	for _, n := range numbers {
		frame := inject.Frame(sizes[n%uint64(len(sizes))], n)
		captured := min(len(frame), 1512)
		b = append(b, make([]byte, 8)...)
		b = le.AppendUint32(b, uint32(captured))
		b = le.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame[:captured]...)
	}
	return b
}

// block returns a pcapng block.
func block(kind uint32, body []byte) []byte {
	size := uint32(12 + len(body))
	b := le.AppendUint32(nil, kind)
	b = le.AppendUint32(b, size)
	return le.AppendUint32(append(b, body...), size)
}

// pcapngFile returns a section header, an interface, and frames with these numbers that are
// truncated by 2 bytes.
func pcapngFile(numbers ...uint64) []byte {
	b := append(block(0x0a0d0d0a, make([]byte, 16)), block(1, make([]byte, 8))...)
	for _, n := range numbers {
		frame := inject.Frame(80, n)
		body := make([]byte, 12)
		body = le.AppendUint32(body, 78)
		body = le.AppendUint32(body, 80)
		body = append(append(body, frame[:78]...), 0, 0)
		b = append(b, block(6, append(body, 0, 0, 0, 0))...) // opt_endofopt
	}
	return b
}

// ringFile returns a ring block of frames with these numbers, and a block of preallocated space.
func ringFile(numbers ...uint64) []byte {
	const first, header, mac, size = 48, 48, 82, 80
	b := make([]byte, 2*ringBlock)
	le.PutUint32(b, ringVersion)
	le.PutUint32(b[12:], uint32(len(numbers)))
	le.PutUint32(b[16:], first)
	for i, n := range numbers {
		h := b[first+i*(mac+size):]
		if i < len(numbers)-1 {
			le.PutUint32(h, mac+size)
		}
		le.PutUint32(h[12:], size)
		le.PutUint32(h[16:], size)
		le.PutUint16(h[24:], mac)
		copy(h[mac:], inject.Frame(size, n))
	}
	return b
}

const (
	micro = 0xa1b2c3d4
	nano  = 0xa1b23c4d
)

func walked(t *testing.T, files ...[]byte) tally {
	t.Helper()
	var sums tally
	for _, f := range files {
		if err := sums.walk(bufio.NewReaderSize(bytes.NewReader(f), readAhead)); err != nil {
			t.Fatal(err)
		}
	}
	sums.seen, sums.next = nil, 0
	return sums
}

func TestWalk(t *testing.T) {
	whole := pcapFile(nano, 0, 1)
	other := slices.Concat(pcapFile(micro, 0), make([]byte, 8), le.AppendUint32(nil, 60), le.AppendUint32(nil, 60), make([]byte, 60))
	tests := []struct {
		name  string
		files [][]byte
		want  tally
	}{
		{"pcap in microseconds", [][]byte{pcapFile(micro, 0, 1, 2)}, tally{Frames: 3, Distinct: 3}},
		{"pcap in nanoseconds", [][]byte{whole}, tally{Frames: 2, Distinct: 2}},
		{"pcapng, cut", [][]byte{pcapngFile(5, 6)}, tally{Frames: 2, Distinct: 2, Cut: 2}},
		{"ring blocks", [][]byte{ringFile(0, 1, 3, 3)}, tally{Frames: 4, Distinct: 3, Doubled: 1}},
		{"torn ring block", [][]byte{ringFile(0, 1)[:ringBlock+8]}, tally{Frames: 2, Distinct: 2, Torn: 1}},
		{"two files", [][]byte{pcapFile(nano, 0, 1), pcapngFile(2)}, tally{Frames: 3, Distinct: 3, Cut: 1}},
		{"doubled", [][]byte{pcapFile(nano, 0, 1, 1, 0)}, tally{Frames: 4, Distinct: 2, Doubled: 2}},
		{"reordered", [][]byte{pcapFile(nano, 1, 0, 3, 2)}, tally{Frames: 4, Distinct: 4, Reordered: 2}},
		{"far number", [][]byte{pcapFile(nano, 1<<63, 1000)}, tally{Frames: 1, Distinct: 1, Foreign: 1}},
		{"another's frame", [][]byte{other}, tally{Frames: 1, Distinct: 1, Foreign: 1}},
		{"torn in a frame", [][]byte{whole[:len(whole)-1]}, tally{Frames: 1, Distinct: 1, Torn: 1}},
		{"torn in a header", [][]byte{whole[:len(whole)-81]}, tally{Frames: 1, Distinct: 1, Torn: 1}},
		{"torn in the file's header", [][]byte{whole[:20]}, tally{Torn: 1}},
		{"empty, other", [][]byte{{}, []byte("{\"ledger\":1}")}, tally{Unread: 2}},
	}
	for _, tt := range tests {
		if got := walked(t, tt.files...); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestSkim: counting large files by their ends gives the same result as reading them, whether or
// not frames are missing.
func TestSkim(t *testing.T) {
	const frames = 30_000
	whole := make([]uint64, frames)
	for i := range whole {
		whole[i] = uint64(i) + 7
	}
	for name, numbers := range map[string][]uint64{
		"whole":     whole,
		"hole":      slices.Delete(slices.Clone(whole), 500, 501),
		"twice":     slices.Insert(slices.Clone(whole), 500, 9),
		"exchanged": append(slices.Delete(slices.Clone(whole), 500, 501), 507),
		"short":     whole[:100],
	} {
		for format, file := range map[string][]byte{
			"pcap": pcapFile(nano, numbers...), "pcapng": pcapngFile(numbers...),
			"torn": pcapFile(micro, numbers...)[:24+16+96*(len(numbers)-1)],
			"mix":  mixedFile(numbers...),
		} {
			path := filepath.Join(t.TempDir(), "file.pcap")
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			var read tally
			skimmed := tally{skim: 1}
			if format == "mix" {
				skimmed.skim = len(inject.IMIX())
			}
			if err := read.countFile(path); err != nil {
				t.Fatal(err)
			}
			if err := skimmed.countFile(path); err != nil {
				t.Fatal(err)
			}
			skimmed.skim, skimmed.file, skimmed.round = 0, nil, round{}
			if !reflect.DeepEqual(read, skimmed) {
				t.Errorf("%s %s: %d frames, %d of them new; read %d, %d", name, format, skimmed.Frames, skimmed.Distinct, read.Frames, read.Distinct)
			}
		}
	}
}

// TestSkimLeaps checks that the middle of a file is not read.
func TestSkimLeaps(t *testing.T) {
	numbers := make([]uint64, 30_000)
	for i := range numbers {
		numbers[i] = uint64(i)
	}
	for skim, file := range map[int][]byte{1: pcapFile(nano, numbers...), len(inject.IMIX()): mixedFile(numbers...)} {
		clear(file[200<<10 : 300<<10])
		path := filepath.Join(t.TempDir(), "file.pcap")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		sums := tally{skim: skim}
		if err := sums.countFile(path); err != nil || sums.Distinct != uint64(len(numbers)) {
			t.Errorf("%d frames, %v", sums.Distinct, err)
		}
	}
}

func TestWalkRefuses(t *testing.T) {
	short := append(block(0x0a0d0d0a, make([]byte, 16)), 6, 0, 0, 0, 8, 0, 0, 0)
	long := pcapngFile(1)
	le.PutUint32(long[28+20+20:], 1<<20)
	outside, beyond := ringFile(0), ringFile(0)
	le.PutUint32(outside[16:], ringBlock)
	le.PutUint32(beyond[48+12:], ringBlock)
	for name, file := range map[string][]byte{
		"block too short": short, "packet longer than block": long,
		"ring packet outside": outside, "ring packet that leaves": beyond,
	} {
		var sums tally
		if err := sums.walk(bufio.NewReaderSize(bytes.NewReader(file), readAhead)); err == nil {
			t.Errorf("%s: no error, %+v", name, sums)
		}
	}
}

func TestLost(t *testing.T) {
	sums := tally{Distinct: 7}
	if got := sums.lost(10); got != 3 {
		t.Errorf("lost %d of 10, want 3", got)
	}
	if got := sums.lost(5); got != 0 {
		t.Errorf("lost %d of 5, want 0", got)
	}
}

// FuzzWalk checks that the sums are consistent for any input.
func FuzzWalk(f *testing.F) {
	f.Add(pcapFile(micro, 0, 1))
	f.Add(pcapFile(nano, 3, 3, 2))
	f.Add(pcapngFile(0, 1))
	f.Add(pcapngFile(0, 1)[:100])
	f.Fuzz(func(t *testing.T, file []byte) {
		var sums tally
		err := sums.walk(bufio.NewReaderSize(bytes.NewReader(file), 4096))
		checkSums(t, &sums)
		if records := sums.Frames + sums.Foreign; records*16 > uint64(len(file)) || err != nil && sums.Torn > 0 {
			t.Fatalf("%d records in %d bytes, %v", records, len(file), err)
		}
	})
}

// FuzzBlock does the same for one ring block.
func FuzzBlock(f *testing.F) {
	f.Add(ringFile(0, 1)[:1000])
	f.Add(ringFile(2)[:100])
	f.Fuzz(func(t *testing.T, block []byte) {
		if len(block) < 20 {
			return // walk passes only complete blocks
		}
		var sums tally
		_ = sums.block(block)
		checkSums(t, &sums)
	})
}

func checkSums(t *testing.T, sums *tally) {
	t.Helper()
	if sums.Frames != sums.Distinct+sums.Doubled || sums.Reordered > sums.Distinct || sums.Cut > sums.Frames {
		t.Fatalf("%+v", sums)
	}
}

func TestRecordingsInOrder(t *testing.T) {
	want := []string{"race.pcap", "race.pcap2", "race.pcap9.partial", "race.pcap10"}
	dir := t.TempDir()
	for _, name := range want {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := recordings(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = filepath.Base(got[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func BenchmarkWalk(b *testing.B) {
	numbers := make([]uint64, 10_000)
	for i := range numbers {
		numbers[i] = uint64(i)
	}
	file := pcapFile(nano, numbers...)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		var sums tally
		if err := sums.walk(bufio.NewReaderSize(bytes.NewReader(file), 1<<20)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCountEnd: frames that only woke a recorder do not count.
func TestCountEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(path, pcapFile(nano, 0, 1, 2, 3, 4), 0o600); err != nil {
		t.Fatal(err)
	}
	for end, want := range map[uint64]uint64{0: 5, 3: 3, 5: 5} {
		sums := tally{end: end}
		if err := sums.countFile(path); err != nil || sums.Distinct != want || sums.Foreign != 0 {
			t.Errorf("end %d: %+v, %v", end, sums, err)
		}
	}
}

// TestCountApart: each ring of a fanout has its own order.
func TestCountApart(t *testing.T) {
	dir := t.TempDir()
	for name, numbers := range map[string][]uint64{"a": {1, 3, 5}, "b": {0, 4, 2}} {
		if err := os.WriteFile(filepath.Join(dir, name), pcapFile(nano, numbers...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for apart, want := range map[bool]uint64{false: 3, true: 1} {
		sums := tally{apart: apart}
		h := Heat{Offered: 6}
		if err := h.count(&sums, dir); err != nil || h.Reordered != want || h.Lost != 0 || h.Files != 2 {
			t.Errorf("apart %v: %+v, %v", apart, h, err)
		}
	}
}
