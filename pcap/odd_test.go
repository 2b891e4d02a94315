package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An oddFile has whole records with odd values. Other tools show all of them.
type oddFile struct {
	name     string
	b        []byte
	packets  int
	bytes    int    // captured
	timeless []int  // packets of which no time is known
	refused  string // the tool that refuses the file
}

func littleFile(magic uint32, minor uint16, link uint32) *builder {
	w := &builder{order: binary.LittleEndian}
	return w.u32(magic).u16(2).u16(minor).u32(0, 0, 65535, link)
}

// packet appends a record of PCAP with 20 bytes, whatever its header says.
func (w *builder) packet(header ...uint32) *builder {
	w.u32(header...).b = append(w.b, bytes.Repeat([]byte{'a'}, 20)...)
	return w
}

// epb appends a block of interface 0 with 20 bytes.
func (w *builder) epb(iface uint32, ts uint64, length uint32) *builder {
	return w.block(blockEPB, func(b *builder) {
		b.u32(iface, uint32(ts>>32), uint32(ts), 20, length).b = append(b.b, bytes.Repeat([]byte{'a'}, 20)...)
	})
}

func sectionFile() *builder { return (&builder{order: binary.LittleEndian}).section() }

func oddFiles() []oddFile {
	const sec = 1_700_000_000
	usual := []uint32{sec, 7, 20, 20}
	micro := func() *builder { return littleFile(magicMicro, 4, 1).packet(usual...) }
	many, sections, sub := sectionFile(), &builder{order: binary.LittleEndian}, littleFile(magicMicro, 4, 1)
	for range 70_000 {
		many.idb(1, 0)
	}
	for range 5000 {
		sections.section().idb(1, 0).epb(0, sec*1e6, 20)
	}
	for i := range uint32(5) {
		sub.packet(sec+i, 123_456_789, 20, 20)
	}
	negative := sectionFile().idb(1, 0, ifTSOffset, 0, 8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)
	modified := littleFile(magicModified, 4, 1)
	modified.u32(sec, 7, 20, 20, 3, 0).b = append(modified.b, bytes.Repeat([]byte{'a'}, 20)...)
	return []oddFile{
		{"sub-seconds", micro().packet(sec, 1e6, 20, 20).packet(usual...).b, 3, 60, []int{1}, ""},
		{"nanoseconds by the magic of microseconds", sub.b, 5, 100, []int{0, 1, 2, 3, 4}, ""},
		{"more captured than there was", micro().packet(sec, 7, 20, 3).packet(usual...).b, 3, 60, nil, ""},
		{"always so", littleFile(magicMicro, 4, 1).packet(sec, 7, 20, 16).packet(sec, 8, 20, 16).b, 2, 40, nil, ""},
		{"huge", micro().packet(sec, 7, 20, 0xfffffff0).packet(usual...).b, 3, 60, nil, ""},
		{"no time", micro().packet(0, 0, 20, 20).packet(usual...).b, 3, 60, []int{1}, ""},
		{"no length", micro().u32(sec, 7, 0, 0).packet(usual...).b, 3, 40, nil, ""},
		{"no length, last", micro().u32(sec, 7, 0, 0).b, 2, 20, nil, ""},
		{"nothing captured", micro().u32(sec, 7, 0, 60).packet(usual...).b, 3, 40, nil, ""},
		{"zeros", micro().u32(0, 0, 0, 0).packet(usual...).b, 3, 40, []int{1}, ""},
		{"zeros, several", littleFile(magicMicro, 4, 1).u32(make([]uint32, 12)...).packet(usual...).b, 4, 20, []int{0, 1, 2}, ""},
		{"zeros, last", micro().u32(0, 0, 0, 0).b, 2, 20, []int{1}, ""},
		{"modified", modified.b, 1, 20, nil, ""},
		{"version 2.2", littleFile(magicMicro, 2, 1).packet(sec, 7, 40, 20).b, 1, 20, nil, ""},
		{"version 2.3", littleFile(magicMicro, 3, 1).packet(sec, 7, 40, 20).packet(sec, 7, 20, 40).b, 2, 40, nil, ""},
		{"before 1970", negative.epb(0, 0, 20).epb(0, 5_000_000, 20).b, 2, 40, []int{0}, ""},
		{"after 2106", sectionFile().idb(1, 0).epb(0, 5_000_000_000_000_000, 20).epb(0, sec*1e6, 20).b, 2, 40, []int{0}, ""},
		{"resolution", sectionFile().idb(1, 0, ifTSResol, 0, 1, 0, 30, 0, 0, 0).epb(0, 5, 20).epb(0, 6, 20).b, 2, 40, []int{0, 1}, "tcpdump"},
		{"length order in a block", sectionFile().idb(1, 0).epb(0, sec*1e6, 3).epb(0, sec*1e6, 0xfffffff0).b, 2, 40, nil, ""},
		{"many interfaces", many.epb(0, sec*1e6, 20).epb(69_999, sec*1e6, 20).b, 2, 40, nil, ""},
		{"many sections", sections.b, 5000, 100_000, nil, ""},
	}
}

// TestOddRecords: a whole record with an odd value is a packet, its time is not
// known where it makes no sense, and what follows is read.
func TestOddRecords(t *testing.T) {
	dir := t.TempDir()
	for i, f := range oddFiles() {
		got, err := readAll(bytes.NewReader(f.b))
		n := 0
		for i, p := range got {
			n += len(p.Data)
			if p.HasTime() == slices.Contains(f.timeless, i) || int(p.Length) < len(p.Data) {
				t.Errorf("%s: packet %d: %+v", f.name, i, p)
			}
		}
		if err != io.EOF || len(got) != f.packets || n != f.bytes {
			t.Errorf("%s: %d packets, %d bytes, %v", f.name, len(got), n, err)
		}
		if s := scan(t, f.b); s.Packets+s.Empty != uint64(f.packets) || s.Tail == Corrupt || s.Empty == 0 && s.End != int64(len(f.b)) {
			t.Errorf("%s: %+v", f.name, s)
		}
		if r := repair(t, f.b); r.Packets != uint64(f.packets) || len(r.Gaps) > 0 || r.Tail != Clean {
			t.Errorf("%s: %+v", f.name, r)
		}
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, f.b, 0o600); err != nil {
			t.Fatal(err)
		}
		asOthersDo(t, &f, path)
	}
}

// asOthersDo compares the file with what tshark and tcpdump read of it, where
// they are.
func asOthersDo(t *testing.T, f *oddFile, path string) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err == nil {
		out, err := exec.Command("tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.cap_len").Output()
		packets, n := 0, 0
		for _, s := range strings.Fields(string(out)) {
			captured := 0
			fmt.Sscan(s, &captured)
			packets, n = packets+1, n+captured
		}
		if err != nil || packets != f.packets || n != f.bytes {
			t.Errorf("%s: tshark: %d packets, %d bytes, %v", f.name, packets, n, err)
		}
	}
	if _, err := exec.LookPath("tcpdump"); err == nil && f.refused != "tcpdump" {
		out := path + ".out"
		text, err := exec.Command("tcpdump", "-r", path, "-w", out).CombinedOutput()
		b, _ := os.ReadFile(out)
		got, _ := readAll(bytes.NewReader(b))
		n := 0
		for _, p := range got {
			n += len(p.Data)
		}
		if err != nil || len(got) != f.packets || n != f.bytes {
			t.Errorf("%s: tcpdump: %d packets, %d bytes, %v: %s", f.name, len(got), n, err, text)
		}
	}
}

// TestOddRecordsBeforeTornEnd: they are kept there too.
func TestOddRecordsBeforeTornEnd(t *testing.T) {
	for _, f := range oddFiles() {
		end := int64(len(f.b))
		if len(f.b) > 1<<20 {
			continue // the same as the others, but for its size
		}
		next := sample1(t, f.b)
		for cut := 1; cut < len(next); cut++ {
			if allZero(next[:cut]) {
				continue // and so would be the time of a record for no bytes
			}
			torn := append(slices.Clone(f.b), next[:cut]...)
			if s := scan(t, torn); s.End != end || s.Packets != uint64(f.packets) || s.Tail != Torn {
				t.Fatalf("%s: torn after %d bytes: %+v, want the end at %d", f.name, cut, s, end)
			}
			if r := repair(t, torn); r.Packets != uint64(f.packets) || len(r.Gaps) != 1 || r.Gaps[0].Offset != end {
				t.Fatalf("%s: torn after %d bytes: %+v, want the end at %d", f.name, cut, r, end)
			}
		}
	}
}

// sample1 returns a record that may follow in the file.
func sample1(t *testing.T, b []byte) []byte {
	t.Helper()
	w := &builder{order: binary.LittleEndian}
	if binary.LittleEndian.Uint32(b) == blockSHB {
		return w.epb(0, 1_700_000_000_000_000, 20).b
	}
	w.u32(1_700_000_000, 7, 20, 20)
	if binary.LittleEndian.Uint32(b) == magicModified {
		w.u32(3, 0)
	}
	w.b = append(w.b, bytes.Repeat([]byte{'b'}, 20)...)
	return w.b
}

// TestRawLinkTypes: systems have written their own numbers for raw IP.
func TestRawLinkTypes(t *testing.T) {
	for _, n := range []uint16{12, 14, 101} {
		for _, b := range [][]byte{littleFile(magicMicro, 4, uint32(n)).b, sectionFile().idb(n, 0).epb(0, 0, 20).b} {
			r, err := NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.Next()
			if got := r.Interface().LinkType; got != LinkTypeRaw {
				t.Errorf("%d: %v", n, got)
			}
		}
	}
}

// TestReaderKeepsInterfaces: packets are of their own section's interfaces.
func TestReaderKeepsInterfaces(t *testing.T) {
	b := sectionFile().idb(1, 0).idb(113, 0).epb(1, 0, 20).section().idb(276, 0).epb(0, 0, 20).b
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []LinkType{113, 276} {
		if _, err := r.Next(); err != nil || r.Interface().LinkType != want || r.InterfaceID() != i+1 {
			t.Errorf("packet %d: %v of %+v, %d", i, err, r.Interface(), r.InterfaceID())
		}
	}
	if s := scan(t, b); len(s.Interfaces) != 2 || s.Interfaces[0].LinkType != 1 {
		t.Errorf("%+v", s)
	}
	var corrupt *CorruptError
	if _, err := readAll(bytes.NewReader(sectionFile().idb(1, 0).section().epb(0, 0, 20).b)); !errors.As(err, &corrupt) {
		t.Errorf("an interface of another section: %v", err)
	}
}

// TestScanKeepsWholeRecordBeforeTornHeader: in what a whole record carries may be
// what looks like one that ends where the file does.
func TestScanKeepsWholeRecordBeforeTornHeader(t *testing.T) {
	w := littleFile(magicMicro, 4, 1)
	w.u32(0, 1, 94, 94)
	data := make([]byte, 94)
	binary.LittleEndian.PutUint32(data[30+8:], 94-30-16+4)
	binary.LittleEndian.PutUint32(data[30+12:], 94-30-16+4)
	w.b = append(w.b, data...)
	b := append(w.b, 1, 2, 3, 4)
	if s := scan(t, b); s.Packets != 1 || s.Tail != Torn || s.End != int64(len(b)-4) || s.Doubt != "" {
		t.Errorf("%+v", s)
	}
}

// TestTornRecordCarriesCapture: within what a torn record says it has, nothing
// proves anything, also if that is not all of the packet.
func TestTornRecordCarriesCapture(t *testing.T) {
	for _, f := range formats {
		for _, length := range []uint32{0, 100, 5000} {
			payload, _ := sample(t, f, randomPackets(rand.New(rand.NewPCG(21, 1)), 12, 60), 60)
			data := append(make([]byte, 54), payload...)
			pkts := randomPackets(rand.New(rand.NewPCG(21, 2)), 3, 400)
			for i := range pkts {
				pkts[i].Length = uint32(len(pkts[i].Data))
			}
			pkts = append(pkts, Packet{
				Data: data, Length: uint32(len(data)) + length, Sec: 1_700_000_005,
			})
			b, ends := sample(t, f, pkts, 4096)
			for cut := ends[3] + 1; cut < ends[4]; cut++ {
				if s := scan(t, b[:cut]); s.Tail != Torn || s.End != ends[3] || s.Packets != 3 || (s.Doubt != "") != (f == PCAP && length > 0 && cut >= ends[3]+16) {
					t.Fatalf("%v, %d bytes more on the wire, cut at %d: %+v", f, length, cut-ends[3], s)
				}
			}
		}
	}
}

// TestRepairCarriedCapture: nothing that a packet carries is taken for a record,
// whichever length of the packet's own is damaged.
func TestRepairCarriedCapture(t *testing.T) {
	for _, f := range formats {
		for _, carried := range formats {
			inner := randomPackets(rand.New(rand.NewPCG(20, 1)), 12, 60)
			for i := range inner {
				inner[i].Sec -= 3600
			}
			payload, _ := sample(t, carried, inner, 60)
			pkts := randomPackets(rand.New(rand.NewPCG(20, 2)), 20, 400)
			pkts[9].Data = append(make([]byte, 54), payload...)
			pkts[9].Length = uint32(len(pkts[9].Data))
			b, ends := sample(t, f, pkts, 4096)
			for at := ends[9]; at < ends[9]+16; at++ {
				for _, bit := range []byte{1, 16, 128} {
					damaged := slices.Clone(b)
					damaged[at] ^= bit
					if r := repair(t, damaged); r.Packets < 19 || r.Packets > 20 {
						t.Errorf("%v in %v, bit %#x of byte %d flipped: %+v", carried, f, bit, at-ends[9], r)
					}
				}
			}
			damaged := slices.Clone(b)
			for i := range int64(16) {
				damaged[ends[9]+i] ^= 0x5a
			}
			if r := repair(t, damaged); r.Packets != 19 {
				t.Errorf("%v in %v, no header: %+v", carried, f, r)
			}
		}
	}
}
