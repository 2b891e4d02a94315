package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// readAll returns the packets of a file, and the error that ended it.
func readAll(src io.Reader) ([]Packet, error) {
	r, err := NewReader(src)
	if err != nil {
		return nil, err
	}
	var pkts []Packet
	for {
		p, err := r.Next()
		if err != nil {
			return pkts, err
		}
		p.Data = bytes.Clone(p.Data)
		pkts = append(pkts, p)
	}
}

func samePackets(a, b []Packet) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !samePacket(a[i], b[i]) {
			return false
		}
	}
	return true
}

func samePacket(p, q Packet) bool {
	return bytes.Equal(p.Data, q.Data) && p.Length == q.Length && p.Sec == q.Sec && p.Nsec == q.Nsec && p.Flags == q.Flags
}

func TestEncodedReadsBack(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(2, seed))
		snaplen := 1 + rng.IntN(2000)
		pkts := randomPackets(rng, rng.IntN(100), snaplen)
		for _, f := range formats {
			e := NewEncoder(Header{Format: f, LinkType: LinkTypeLinuxSLL2, Snaplen: uint32(snaplen)})
			b := e.Trailer(file(t, e, pkts), testStatistics())
			got, err := readAll(iotest.HalfReader(bytes.NewReader(b)))
			if err != io.EOF || !samePackets(got, asRecorded(pkts, f, snaplen)) {
				t.Fatalf("seed %d, %v: %d of %d packets, %v", seed, f, len(got), len(pkts), err)
			}
			s, err := Scan(bytes.NewReader(b), int64(len(b)))
			if err != nil || s.Packets != uint64(len(pkts)) || s.End != int64(len(b)) || s.Tail != Clean {
				t.Fatalf("seed %d, %v: %+v, %v", seed, f, s, err)
			}
		}
	}
}

func TestReaderInterface(t *testing.T) {
	h := fullHeader(PCAPNG)
	e := NewEncoder(h)
	r, err := NewReader(bytes.NewReader(file(t, e, []Packet{{Data: []byte{1}, Length: 1}})))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	got := r.Interface()
	want := Interface{
		LinkType: h.LinkType, Snaplen: h.Snaplen, Name: h.Interface, Description: h.Description,
		Filter: h.Filter, MAC: h.MAC, Speed: h.Speed, units: 1e9,
	}
	if !reflect.DeepEqual(got, want) || r.Format() != PCAPNG {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A builder writes blocks in any byte order.
type builder struct {
	order binary.AppendByteOrder
	b     []byte
}

func (w *builder) u16(v uint16) *builder { w.b = w.order.AppendUint16(w.b, v); return w }
func (w *builder) u32(v ...uint32) *builder {
	for _, v := range v {
		w.b = w.order.AppendUint32(w.b, v)
	}
	return w
}

func (w *builder) block(kind uint32, body func(*builder)) *builder {
	inner := builder{order: w.order}
	body(&inner)
	inner.b = append(inner.b, make([]byte, pad4(len(inner.b))-len(inner.b))...)
	size := uint32(len(inner.b) + 12)
	w.u32(kind, size)
	w.b = append(w.b, inner.b...)
	return w.u32(size)
}

func (w *builder) section() *builder {
	return w.block(blockSHB, func(b *builder) { b.u32(byteOrderMagic).u16(1).u16(0).u32(0xffffffff, 0xffffffff) })
}

func (w *builder) idb(link uint16, snaplen uint32, opts ...byte) *builder {
	return w.block(blockIDB, func(b *builder) { b.u16(link).u16(0).u32(snaplen).b = append(b.b, opts...) })
}

func TestReaderForeignPCAP(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for magic, nsec := range map[uint32]uint32{magicMicro: 7000, magicNano: 7} {
			w := &builder{order: order}
			w.u32(magic).u16(2).u16(4).u32(0, 0, 96, 1)
			w.u32(1000, 7, 3, 60).b = append(w.b, "abc"...)
			w.u32(1001, 7, 3, 2).b = append(w.b, "def"...) // as some tools write
			got, err := readAll(bytes.NewReader(w.b))
			want := []Packet{
				{Data: []byte("abc"), Length: 60, Sec: 1000, Nsec: nsec},
				{Data: []byte("def"), Length: 3, Sec: 1001, Nsec: nsec},
			}
			if err != io.EOF || !samePackets(got, want) {
				t.Errorf("%v %x: %+v, %v", order, magic, got, err)
			}
		}
	}
}

func TestReaderForeignPCAPNG(t *testing.T) {
	w := &builder{order: binary.BigEndian}
	w.section()
	w.idb(1, 0)                                                                                                 // microseconds
	w.idb(113, 4, 0, ifTSResol, 0, 1, 0x8a, 0, 0, 0, 0, ifTSOffset, 0, 8, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0) // 2^-10 s, from 100 s on
	w.block(99, func(b *builder) { b.u32(1, 2, 3) })                                                            // unknown
	w.block(blockEPB, func(b *builder) { b.u32(0, 0, 5_000_001, 3, 9).b = append(b.b, "abc"...) })              // interface 0
	w.block(blockEPB, func(b *builder) { b.u32(1, 0, 1024+512, 2, 9).b = append(b.b, "de"...) })                // interface 1
	w.block(blockOPB, func(b *builder) {
		b.u16(1).u16(7).u32(0, 2048, 1, 1).b = append(b.b, 'f', 0, 0, 0, 0, 2, 0, 4, 0, 0, 0, 1)
	}) // with flags
	w.order = binary.LittleEndian
	w.section().idb(276, 2)
	w.block(blockSPB, func(b *builder) { b.u32(60).b = append(b.b, "ghij"...) }) // cut at the snaplen

	r, err := NewReader(iotest.OneByteReader(bytes.NewReader(w.b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		Packet
		link LinkType
		id   int
	}{
		{Packet{Data: []byte("abc"), Length: 9, Sec: 5, Nsec: 1000}, 1, 0},
		{Packet{Data: []byte("de"), Length: 9, Sec: 101, Nsec: 5e8}, 113, 1},
		{Packet{Data: []byte("f"), Length: 1, Sec: 102, Flags: FlagInbound}, 113, 1},
		{Packet{Data: []byte("gh"), Length: 60}, 276, 2},
	} {
		p, err := r.Next()
		if err != nil || !samePacket(p, want.Packet) || r.Interface().LinkType != want.link || r.InterfaceID() != want.id {
			t.Errorf("got %+v of %+v, %v; want %+v", p, r.Interface(), err, want)
		}
	}
	if _, err := r.Next(); err != io.EOF || r.Offset() != int64(len(w.b)) {
		t.Errorf("end: %v at %d", err, r.Offset())
	}
}

func TestReaderErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"not a capture":    []byte("#!/bin/sh\n"),
		"unknown order":    (&builder{order: binary.LittleEndian}).u32(blockSHB, 28, 5, 5, 5, 5, 28).b,
		"absurd length":    (&builder{order: binary.LittleEndian}).section().u32(99, 0xfffffff0, 1).b,
		"lengths differ":   (&builder{order: binary.LittleEndian}).section().u32(99, 12, 16).b,
		"no interface":     (&builder{order: binary.LittleEndian}).section().block(blockEPB, func(b *builder) { b.u32(0, 0, 0, 0, 0) }).b,
		"short interface":  (&builder{order: binary.LittleEndian}).section().block(blockIDB, func(b *builder) { b.u32(0) }).b,
		"zeros in between": append(NewEncoder(Header{}).Header(), append(make([]byte, 100_000), 1)...),
	} {
		_, err := readAll(bytes.NewReader(b))
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "corrupt at byte") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty":     nil,
		"zeros":     make([]byte, 100_000),
		"zero tail": append(NewEncoder(Header{}).Header(), make([]byte, 100_000)...),
		"cut":       append(NewEncoder(Header{}).Header(), 1, 2, 3),
	} {
		if _, err := readAll(bytes.NewReader(b)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("broken")
	src := io.MultiReader(bytes.NewReader(NewEncoder(Header{}).Header()), iotest.ErrReader(broken))
	if _, err := readAll(src); !errors.Is(err, broken) {
		t.Errorf("failing source: %v", err)
	}
}

// A length that the file cannot keep costs no memory.
func TestReaderMemoryIsBounded(t *testing.T) {
	w := &builder{order: binary.LittleEndian}
	w.section().u32(99, maxBlock, 1, 2, 3)
	r, err := NewReader(bytes.NewReader(w.b))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) || len(r.buf) > 128<<10 {
		t.Errorf("%v with a buffer of %d bytes", err, len(r.buf))
	}
}

func TestInterfaceTime(t *testing.T) {
	for _, c := range []struct {
		resolution byte
		offset     int64
		ts         uint64
		want       time.Time // zero: none
	}{
		{6, 0, 1_500_000, time.Unix(1, 5e8)},
		{9, 0, 1<<32*1e9 - 1, time.Unix(1<<32-1, 999_999_999)},
		{9, 0, 1 << 32 * 1e9, time.Time{}},
		{0, 0, 12, time.Unix(12, 0)},
		{19, 0, 15e18, time.Unix(1, 5e8)},
		{0x80 | 63, 0, 3 << 62, time.Unix(1, 5e8)},
		{9, -2, 1e9, time.Time{}},
		{0, -1 << 63, 1<<64 - 1, time.Time{}},
		{0, 1<<63 - 1, 1 << 62, time.Time{}},
	} {
		i := Interface{units: unitsOf(c.resolution), offset: c.offset}
		sec, nsec, ok := i.time(c.ts)
		got := time.Unix(int64(sec), int64(nsec))
		if ok != !c.want.IsZero() || ok && !got.Equal(c.want) {
			t.Errorf("%+v: %v, %v", c, got, ok)
		}
	}
}

// sameStep checks what Next returned against a reader that takes no packet the quick way.
func sameStep(t *testing.T, slow, r *Reader, p Packet, err error) {
	t.Helper()
	is, failed := slow.advance()
	for !is && failed == nil {
		is, failed = slow.advance()
	}
	if fmt.Sprint(err) != fmt.Sprint(failed) || r.Offset() != slow.Offset() || r.InterfaceID() != slow.InterfaceID() || r.dec.header != slow.dec.header {
		t.Fatalf("at byte %d: %v; slowly at %d: %v", r.Offset(), err, slow.Offset(), failed)
	}
	if err == nil && !samePacket(p, slow.dec.packet) {
		t.Fatalf("at byte %d: %+v, slowly %+v", r.Offset(), p, slow.dec.packet)
	}
}

// TestErrorStays: behind damage there is no packet, even if the bytes that were read to find that out look like one.
func TestErrorStays(t *testing.T) {
	zeros := make([]byte, 64<<10-24) // up to the end of what is read at a time
	record := (&builder{order: binary.LittleEndian}).packet(1000, 7, 20, 20).b
	b := slices.Concat(littleFile(magicMicro, 4, 1).b, zeros, bytes.Repeat(record, 5000))
	r, err := NewReader(bytes.NewReader(b))
	for err == nil {
		_, err = r.Next()
	}
	if p, again := r.Next(); again != err || !IsDamage(err) {
		t.Errorf("%v, then %+v, %v", err, p, again)
	}
}

func FuzzReader(f *testing.F) {
	pkts := randomPackets(rand.New(rand.NewPCG(3, 1)), 3, 50)
	for _, format := range formats {
		e := NewEncoder(fullHeader(format))
		f.Add(e.Trailer(file(f, e, pkts), testStatistics()))
	}
	w := &builder{order: binary.BigEndian}
	w.section().idb(1, 4).block(blockSPB, func(b *builder) { b.u32(60, 1, 2) })
	w.block(blockOPB, func(b *builder) { b.u32(0, 0, 0, 2, 4, 1) })
	f.Add(w.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		slow, _ := NewReader(bytes.NewReader(b))
		for err == nil {
			var p Packet
			p, err = r.Next()
			sameStep(t, slow, r, p, err)
			if err == nil && (p.Nsec > 999_999_999 || int(p.Length) < len(p.Data)) {
				t.Errorf("packet %+v", p)
			}
		}
		if err != io.EOF && !IsDamage(err) {
			t.Errorf("error %v", err)
		}
		if r.Offset() > int64(len(b)) || err == io.EOF && r.Offset() != int64(len(b)) {
			t.Errorf("offset %d of %d, %v", r.Offset(), len(b), err)
		}
	})
}

// TestBegins: a record is told from what is none by its first bytes, whatever its byte order, and what is read for that changes
// nothing for the packets.
func TestBegins(t *testing.T) {
	for _, f := range formats {
		e := NewEncoder(fullHeader(f))
		b := file(t, e, randomPackets(rand.New(rand.NewPCG(1, 9)), 20, 60))
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			at := r.Offset()
			rest := b[at:]
			size, ok := r.Begins(rest[:min(len(rest), BeginSize)], int64(len(rest)))
			if _, bad := r.Begins(rest[:min(len(rest), 11)], 1000); bad {
				t.Error("11 bytes were enough")
			}
			if _, _, err := r.NextRecord(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if !ok || at+int64(size) != r.Offset() {
				t.Errorf("%v: a record of %d bytes at %d is taken for one of %d, %v", f, r.Offset()-at, at, size, ok)
			}
		}
		if _, ok := r.Begins(b[len(b)-60:], 10); ok {
			t.Errorf("%v: a record is taken for one that is too long", f)
		}
		if _, ok := r.Begins([]byte(strings.Repeat("\xee", BeginSize)), 1<<20); ok {
			t.Errorf("%v: no record is taken for one", f)
		}
	}
	w := &builder{order: binary.LittleEndian}
	r, err := NewReader(bytes.NewReader(w.section().idb(1, 0).b))
	if err != nil {
		t.Fatal(err)
	}
	other := &builder{order: binary.BigEndian}
	if size, ok := r.Begins(other.section().b, 28); !ok || size != 28 {
		t.Errorf("a section of the other byte order: %d, %v", size, ok)
	}
	if size, ok := r.Begins(other.idb(1, 0).b[28:], 20); !ok || size != 20 {
		t.Errorf("a block of the other byte order: %d, %v", size, ok)
	}
}
