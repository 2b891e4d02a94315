package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"capd/pcap"
)

// A capture is packets with the offsets of their records.
type capture struct {
	packets []pcap.Packet
	offsets []int64
	size    int64
}

func (c *capture) add(data []byte, cut uint32) {
	n := len(c.packets)
	sec := uint32(1767355200 + n/1000)
	if n%50 == 49 {
		sec -= 3 // not in order
	}
	c.packets = append(c.packets, pcap.Packet{Data: data, Length: uint32(len(data)) + cut, Sec: sec, Nsec: uint32(n % 1000 * 1000)})
	c.offsets = append(c.offsets, c.size)
	c.size += int64(len(data)) + 32
}

// randomCapture has frames of the corpus, and of flows that come again.
func randomCapture(r *rand.Rand, packets, flows int) (c capture) {
	for range packets {
		if r.IntN(20) == 0 {
			c.add(frames[r.IntN(len(frames))].b, uint32(r.IntN(2)*100))
			continue
		}
		n := uint16(r.IntN(flows))
		src, dst := []byte{10, 1, byte(n >> 8), byte(n)}, []byte{10, 2, 0, byte(n % 7)}
		sport, dport := 1000+n, uint16(443)
		back := r.IntN(2) == 0
		if back {
			src, dst, sport, dport = dst, src, dport, sport
		}
		b := ether(0x800, ip4(6, 0, tcp(sport, dport, byte(r.IntN(64))), zeros(r.IntN(1400))))
		if back != (r.IntN(1000) == 0) {
			copy(b, cat(macA, macB))
		}
		copy(b[14+12:], src)
		copy(b[14+16:], dst)
		c.add(b, 0)
	}
	return c
}

// built is the rows of a capture by a Builder of so many live flows.
func built(t testing.TB, c *capture, live int) (rows []Row, totals Totals, regions []Region) {
	t.Helper()
	b := NewBuilder(func(r *Row) error {
		again := *r
		again.Regions = slices.Clone(r.Regions)
		rows = append(rows, again)
		return nil
	})
	b.max = live
	b.Describe(0)
	id := b.Interface("eth0", pcap.LinkTypeEthernet)
	for i := range c.packets {
		if err := b.Add(c.offsets[i], id, &c.packets[i]); err != nil {
			t.Fatal(err)
		}
	}
	b.Describe(c.offsets[len(c.offsets)-1])
	totals, regions, err := b.Finish(c.size)
	if err != nil {
		t.Fatal(err)
	}
	return rows, totals, regions
}

// oracle is the same in the simplest way: a flow is named by a text of both its ends.
func oracle(c *capture) map[string]*Row {
	all := make(map[string]*Row)
	for i := range c.packets {
		p := &c.packets[i]
		var f Frame
		f.Parse(pcap.LinkTypeEthernet, p.Data)
		for k := range f.N {
			l := &f.Layers[k]
			name := flowName(&l.Key)
			r := all[name]
			if r == nil {
				r = &Row{Key: l.Key, Link: pcap.LinkTypeEthernet}
				all[name] = r
			}
			way, macs := &r.Sent, [2]MAC{r.SrcMAC, r.DstMAC}
			if end(&r.Key, true) != end(&l.Key, true) {
				way, macs = &r.Received, [2]MAC{r.DstMAC, r.SrcMAC}
			}
			r.Marks |= l.Marks
			if macs != [2]MAC{l.SrcMAC, l.DstMAC} {
				r.Marks |= OtherMACs
			}
			way.Packets++
			way.Bytes += uint64(p.Length)
			way.Flags |= l.Flags
			r.Cut += uint64(p.Length) - uint64(len(p.Data))
			at := int64(p.Sec)*1e9 + int64(p.Nsec)
			if r.First == 0 || at < r.First {
				r.First = at
			}
			r.Last = max(r.Last, at)
			if n := uint32(c.offsets[i] / RegionSize); !slices.Contains(r.Regions, n) {
				r.Regions = append(r.Regions, n)
			}
		}
	}
	return all
}

func end(k *Key, src bool) string {
	addr, mac, port := k.Dst, k.DstMAC, k.DstPort
	if src {
		addr, mac, port = k.Src, k.SrcMAC, k.SrcPort
		if k.has(HasICMP) {
			port = uint16(k.ICMPType)
		}
	} else if other, ok := Counterpart(k.Proto, k.ICMPType); ok && k.has(HasICMP) {
		port = uint16(other)
	}
	if addr.IsValid() {
		return fmt.Sprintf("%v %d", addr, port)
	}
	return fmt.Sprintf("%x", mac)
}

func flowName(k *Key) string {
	ends := []string{end(k, true), end(k, false)}
	slices.Sort(ends)
	has := k.Has &^ HasInterface
	if k.Src.IsValid() {
		has &^= HasSrcMAC | HasDstMAC
	}
	return fmt.Sprint(ends, k.Tunnel, k.EtherType, k.IDs(), k.Proto, has, k.ICMPCode)
}

func TestBuilderAgainstOracle(t *testing.T) {
	for seed := range uint64(5) {
		c := randomCapture(rand.New(rand.NewPCG(seed, 1)), 3000, 1+200*int(seed))
		want := oracle(&c)
		rows, totals, regions := built(t, &c, maxLive)
		if len(rows) != len(want) || totals.Rows != uint64(len(rows)) || totals.Unlisted {
			t.Fatalf("seed %d: %d rows of %d flows, %+v", seed, len(rows), len(want), totals)
		}
		for _, r := range rows {
			w := want[flowName(&r.Key)]
			if w == nil {
				t.Fatalf("seed %d: no such flow: %+v", seed, r)
			}
			if r.Interface, r.Has = 0, r.Has&^HasInterface; !reflect.DeepEqual(&r, w) {
				t.Fatalf("seed %d:\n%+v, want\n%+v", seed, r, *w)
			}
		}
		checkSums(t, &c, rows, totals)
		checkRegions(t, &c, regions)
	}
}

func checkSums(t *testing.T, c *capture, rows []Row, totals Totals) {
	t.Helper()
	var got, want Totals
	for i := range rows {
		got.add(&rows[i])
	}
	for i := range c.packets {
		want.Packets++
		want.Bytes += uint64(c.packets[i].Length)
		want.Cut += uint64(c.packets[i].Length) - uint64(len(c.packets[i].Data))
	}
	for _, n := range []Totals{got, totals} {
		if n.Packets != want.Packets || n.Bytes != want.Bytes || n.Cut != want.Cut || n.Rows != uint64(len(rows)) {
			t.Errorf("%+v, want %+v", n, want)
		}
	}
}

func checkRegions(t *testing.T, c *capture, regions []Region) {
	t.Helper()
	want := make([]Region, c.offsets[len(c.offsets)-1]/RegionSize+1)
	for i, off := range c.offsets {
		r, p := &want[off/RegionSize], &c.packets[i]
		if r.Packets == 0 {
			r.Offset = off
		}
		r.Packets++
		span(&r.First, &r.Last, int64(p.Sec)*1e9+int64(p.Nsec))
	}
	want[len(want)-1].Describes = true // and not what is before the first packet
	if !reflect.DeepEqual(regions, want) {
		t.Errorf("regions:\n%+v, want\n%+v", regions, want)
	}
	again, err := decodeRegions(encodeRegions(regions))
	if err != nil || !reflect.DeepEqual(again, regions) {
		t.Errorf("decoded: %+v, %v", again, err)
	}
}

// TestBuilderIsBounded: with few live flows there are rows of parts, whose sums are those of the flows.
func TestBuilderIsBounded(t *testing.T) {
	for _, live := range []int{1, 7, 100} {
		c := randomCapture(rand.New(rand.NewPCG(9, 9)), 3000, 300)
		rows, totals, _ := built(t, &c, live)
		checkSums(t, &c, rows, totals)
		want := oracle(&c)
		got := make(map[string]uint64)
		for i := range rows {
			if !rows[i].Unlisted {
				got[flowName(&rows[i].Key)] += rows[i].Bytes()
			}
		}
		for name, n := range got {
			if want[name] == nil || want[name].Bytes() != n && !totals.Unlisted {
				t.Errorf("%d live: %s has %d bytes", live, name, n)
			}
		}
	}
}

// TestRegionsAreBounded: one flow of so many regions has rows of parts.
func TestRegionsAreBounded(t *testing.T) {
	var got []uint32
	var rows, packets uint64
	b := NewBuilder(func(r *Row) error {
		got, rows, packets = append(got, r.Regions...), rows+1, packets+r.Packets()
		return nil
	})
	b.most = 100
	id := b.Interface("eth0", pcap.LinkTypeEthernet)
	data := ether(0x800, ip4(6, 0, tcp(1000, 80, 2)))
	var want []uint32
	for n := range uint32(50000) {
		want = append(want, n*3)
		if err := b.Add(int64(n)*3*RegionSize, id, &pcap.Packet{Data: data, Length: 54, Sec: 1}); err != nil {
			t.Fatal(err)
		}
		if len(b.flows.past) > b.most {
			t.Fatalf("%d stretches", len(b.flows.past))
		}
	}
	if _, _, err := b.Finish(50000 * 3 * RegionSize); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) || packets != 50000 || rows < 2 {
		t.Errorf("%d regions, not %d, and %d packets in %d rows", len(got), len(want), packets, rows)
	}
}

// flood is packets of flows that have no other one, between sources and destinations that change or not.
func flood(packets int, source, destination bool) (c capture) {
	r := rand.New(rand.NewPCG(3, 4))
	frame := ether(0x800, ip4(6, 0, tcp(1000, 80, 2)), zeros(6))
	for i := range packets {
		b := slices.Clone(frame)
		if source {
			binary.BigEndian.PutUint32(b[26:], r.Uint32())
		}
		if destination {
			binary.BigEndian.PutUint32(b[30:], r.Uint32())
		}
		if i%100 == 0 { // one flow that stays
			b = slices.Clone(frame)
		}
		c.add(b, 0)
	}
	return c
}

// TestFlood: the table of a flood is small, its sums are exact, each packet is in a region that a row names, and what is not
// part of the flood is listed.
func TestFlood(t *testing.T) {
	for _, way := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		c := flood(40000, way[0], way[1])
		rows, totals, _ := built(t, &c, 5000)
		checkSums(t, &c, rows, totals)
		if !totals.Unlisted {
			t.Error("all flows are listed")
		}
		path, _ := writeTable(t, rows, totals, nil)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > budgetFloor {
			t.Errorf("%v: %d rows take %d bytes of %d", way, len(rows), info.Size(), c.size)
		}
		t.Logf("%v: %d rows, %d bytes of %d", way, len(rows), info.Size(), c.size)
		var stays uint64
		covered := make(map[uint32]uint64)
		for i := range rows {
			r := &rows[i]
			if r.Src.String() == "10.0.0.1" && r.Dst.String() == "10.0.0.2" && !r.Unlisted {
				stays += r.Packets()
			}
			for _, n := range r.Regions {
				covered[n]++
			}
		}
		if stays != 400 {
			t.Errorf("the flow that stays has %d packets", stays)
		}
		for _, off := range c.offsets {
			if covered[uint32(off/RegionSize)] == 0 {
				t.Fatalf("no row names the region of byte %d", off)
			}
		}
	}
}

// writeTable writes rows to a table in a file.
func writeTable(t testing.TB, rows []Row, totals Totals, regions []Region) (path string, checksum uint32) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.flows.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewTableWriter(f, 2)
	for i := range rows {
		if err := w.Write(&rows[i], "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	checksum, err = w.Close(Source{File: "x.pcapng", Size: 5, Totals: totals}, regions)
	if err != nil {
		t.Fatal(err)
	}
	return path, checksum
}

func TestTable(t *testing.T) {
	c := randomCapture(rand.New(rand.NewPCG(5, 5)), 2000, 300)
	rows, totals, regions := built(t, &c, 50)
	path, checksum := writeTable(t, rows, totals, regions)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := OpenTable(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if table.Checksum != checksum || table.File != "x.pcapng" || table.Totals != totals || !reflect.DeepEqual(table.Regions, regions) {
		t.Errorf("%+v", table.Source)
	}
	var got []Row
	err = table.Each(func(r *Row, iface string) error {
		if iface != "eth0" {
			t.Errorf("interface %q", iface)
		}
		again := *r
		again.Regions = slices.Clone(r.Regions)
		got = append(got, again)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, rows) {
		for i := range rows {
			if !reflect.DeepEqual(got[i], rows[i]) {
				t.Fatalf("row %d of %d:\n%+v, want\n%+v", i, len(rows), got[i], rows[i])
			}
		}
	}
	t.Logf("%d rows, %d bytes", len(rows), len(b))
}

// smallTable returns the bytes of a table.
func smallTable(t testing.TB) []byte {
	c := randomCapture(rand.New(rand.NewPCG(6, 6)), 300, 20)
	rows, totals, regions := built(t, &c, 50)
	path, _ := writeTable(t, rows, totals, regions)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readAll(b []byte) (rows int, err error) {
	t, err := OpenTable(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return 0, err
	}
	return rows, t.Each(func(*Row, string) error { rows++; return nil })
}

// TestTableDamage: any bit that flips is found, and so is a table that is cut.
func TestTableDamage(t *testing.T) {
	b := smallTable(t)
	if _, err := readAll(b); err != nil {
		t.Fatal(err)
	}
	for bit := 0; bit < 8*len(b); bit += 11 + bit%5 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := readAll(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := 0; n < len(b); n += 7 {
		if _, err := readAll(b[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// reseal gives a table the checksum of its bytes.
func reseal(b []byte) {
	at, _, err := findCheck(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	if n, err := sum(bytes.NewReader(b), int64(len(b)), at); err == nil {
		copy(b[at:], fmt.Sprintf("%08x", n))
	}
}

// FuzzTable: tables that a liar wrote, with a checksum that is right.
func FuzzTable(f *testing.F) {
	b := smallTable(f)
	f.Add(b, uint32(0), byte(0))
	for i := range 8 {
		f.Add(b, uint32(len(b)*i/8), byte(1<<(i%8)))
	}
	f.Fuzz(func(_ *testing.T, b []byte, at uint32, bits byte) {
		b = slices.Clone(b)
		if len(b) > 0 {
			b[int(at)%len(b)] ^= bits
		}
		reseal(b)
		_, _ = readAll(b)
	})
}

func FuzzRegions(f *testing.F) {
	f.Add(encodeRegions([]Region{{Offset: 5, First: 1, Last: 9, Packets: 3}, {Offset: -1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRegions(b)
		if err != nil {
			return
		}
		if again, err := decodeRegions(encodeRegions(r)); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v, then %+v: %v", r, again, err)
		}
	})
}
