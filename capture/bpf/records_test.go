package bpf

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"
)

// systems are the four systems with BPF devices, FreeBSD also with nanoseconds.
func systems() map[string]abi {
	ns := freebsd()
	ns.record.tick = 1
	return map[string]abi{"darwin": darwin(), "freebsd": freebsd(), "freebsd-ns": ns, "netbsd": netbsd(), "openbsd": openbsd()}
}

// headers are the header lengths that the kernels use, for different link layers and releases of
// OpenBSD.
func headers(os string) []int {
	switch os {
	case "darwin":
		return []int{18, 20, 28}
	case "netbsd":
		return []int{26, 34, 36}
	case "openbsd":
		return []int{18, 20, 22, 24, 26, 28, 30}
	}
	return []int{26, 28, 32}
}

// A rec is a record to be written as a kernel does.
type rec struct {
	data    []byte
	datalen uint32 // 0 means len(data)
	sec     uint64
	frac    uint64
}

// put appends padding and then the record to mem, as catchpacket does.
func (l layout) put(mem []byte, hdrlen int, r rec) []byte {
	for len(mem)%l.align != 0 {
		mem = append(mem, 0)
	}
	h := bytes.Repeat([]byte{0xee}, hdrlen)
	if l.word == 4 {
		host.PutUint32(h, uint32(r.sec))
		host.PutUint32(h[4:], uint32(r.frac))
	} else {
		host.PutUint64(h, r.sec)
		host.PutUint64(h[8:], r.frac)
	}
	host.PutUint32(h[l.caplen():], uint32(len(r.data)))
	host.PutUint32(h[l.datalen():], max(r.datalen, uint32(len(r.data))))
	host.PutUint16(h[l.hdrlen():], uint16(hdrlen))
	return append(append(mem, h...), r.data...)
}

func newRecords(l layout, mem []byte) *records {
	return &records{layout: l, snaplen: device.DefaultSnaplen, mem: mem, count: new(atomic.Uint64)}
}

// all reads the remaining records, step packets at a time.
func all(r *records, step int) []pcap.Packet {
	var got []pcap.Packet
	dst := make([]pcap.Packet, step)
	for n := r.read(dst); n > 0; n = r.read(dst) {
		got = append(got, dst[:n]...)
	}
	return got
}

func TestRecords(t *testing.T) {
	for name, a := range systems() {
		for _, hdrlen := range headers(a.os) {
			for _, step := range []int{1, 3, 64} {
				checkRecords(t, name, a.record, hdrlen, step)
			}
		}
	}
}

// checkRecords reads frames of different lengths, which need different padding. The last record is
// not padded.
func checkRecords(t *testing.T, name string, l layout, hdrlen, step int) {
	t.Helper()
	var want []rec
	var mem []byte
	for n := 0; n < 40; n++ {
		r := rec{data: frameOf(n), sec: 1_700_000_000 + uint64(n), frac: second/l.tick - 1 - uint64(n)}
		if n%3 == 0 {
			r.datalen = uint32(n + 1000) // truncated by the kernel
		}
		want = append(want, r)
		mem = l.put(mem, hdrlen, r)
	}
	r := newRecords(l, mem)
	got := all(r, step)
	if len(got) != len(want) || r.reason != "" || r.count.Load() != uint64(len(want)) {
		t.Fatalf("%s, header %d: %d packets, count %d, %q; want %d", name, hdrlen, len(got), r.count.Load(), r.reason, len(want))
	}
	for i, w := range want {
		p := got[i]
		if !bytes.Equal(p.Data, w.data) || p.Length != max(w.datalen, uint32(len(w.data))) {
			t.Errorf("%s, header %d: packet %d is %x of %d", name, hdrlen, i, p.Data, p.Length)
		}
		if uint64(p.Sec) != w.sec || uint64(p.Nsec) != w.frac*l.tick || p.Flags != 0 {
			t.Errorf("%s, header %d: packet %d at %d.%09d, flags %v", name, hdrlen, i, p.Sec, p.Nsec, p.Flags)
		}
	}
}

func frameOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(n + i)
	}
	return b
}

// TestRecordsLiteral uses literal bytes of two Ethernet frames from each kernel, independently of
// put.
func TestRecordsLiteral(t *testing.T) {
	le := func(parts ...any) []byte {
		var b []byte
		for _, p := range parts {
			b, _ = binary.Append(b, binary.NativeEndian, p)
		}
		return b
	}
	zeros := func(n int) []byte { return make([]byte, n) }
	a, b := []byte("first frame odd"), []byte("second") // 15 bytes: the next multiple of 4 is 1 away
	short := func(hdrlen uint16) []byte {
		return append(le(uint32(7), uint32(5), uint32(15), uint32(60), hdrlen), zeros(int(hdrlen)-18)...)
	}
	long := func(hdrlen uint16) []byte {
		return append(le(uint64(7), uint64(5), uint32(15), uint32(60), hdrlen), zeros(int(hdrlen)-26)...)
	}
	tests := map[string]struct {
		abi
		pad  int // after the first: 18+15=33 to 36, 26+15=41 to 48, 34+15=49 to 56, 22+15=37 to 40
		head []byte
	}{
		"darwin":  {darwin(), 3, short(18)},
		"freebsd": {freebsd(), 7, long(26)},
		"netbsd":  {netbsd(), 7, long(34)},
		"openbsd": {openbsd(), 3, short(22)},
	}
	for name, tt := range tests {
		second := bytes.Clone(tt.head)
		host.PutUint32(second[tt.record.caplen():], 6)
		mem := bytes.Join([][]byte{tt.head, a, zeros(tt.pad), second, b}, nil)
		r := newRecords(tt.record, mem)
		got := all(r, 8)
		if len(got) != 2 || !bytes.Equal(got[0].Data, a) || !bytes.Equal(got[1].Data, b) || got[1].Length != 60 || got[0].Nsec != 5000 {
			t.Errorf("%s: %v %q", name, got, r.reason)
		}
	}
}

func TestRecordsEdges(t *testing.T) {
	for name, a := range systems() {
		l, hdrlen := a.record, headers(a.os)[0]
		if got := all(newRecords(l, nil), 8); len(got) != 0 {
			t.Errorf("%s: %d packets in an empty buffer", name, len(got))
		}
		// A completely filled buffer: the last record ends at the buffer's end.
		mem := l.put(nil, hdrlen, rec{data: frameOf(61)})
		full := make([]byte, len(mem)*2+32)
		mem = l.put(mem, hdrlen, rec{data: make([]byte, len(full)-(len(mem)+l.align-1)&^(l.align-1)-hdrlen)})
		if len(mem) != len(full) {
			t.Fatalf("%s: %d bytes, want %d", name, len(mem), len(full))
		}
		if r := newRecords(l, mem); len(all(r, 8)) != 2 || r.off != len(mem) || r.reason != "" {
			t.Errorf("%s: full buffer ends at %d of %d: %q", name, r.off, len(mem), r.reason)
		}
		// Padding at the end, included in the length, is not a record.
		odd := l.put(nil, hdrlen, rec{data: frameOf(61 - hdrlen)}) // 61 bytes
		for trail := 0; trail <= 3; trail++ {
			if r := newRecords(l, append(bytes.Clone(odd), make([]byte, trail)...)); len(all(r, 8)) != 1 || r.reason != "" {
				t.Errorf("%s: %d trailing bytes: %q", name, trail, r.reason)
			}
		}
		// More trailing bytes than padding are a truncated record.
		torn := append(bytes.Clone(odd), make([]byte, l.align)...)
		if r := newRecords(l, torn); len(all(r, 8)) != 1 || r.lost != 1 || r.off != 64 {
			t.Errorf("%s: torn record: %d lost at %d, %q", name, r.lost, r.off, r.reason)
		}
	}
}

// TestRecordsSnaplen: packets are truncated to the snaplen even if the kernel does not do it.
func TestRecordsSnaplen(t *testing.T) {
	l := darwin().record
	mem := l.put(l.put(nil, 18, rec{data: frameOf(61)}), 18, rec{data: frameOf(9)})
	r := newRecords(l, mem)
	r.snaplen = 10
	got := all(r, 8)
	if len(got) != 2 || len(got[0].Data) != 10 || got[0].Length != 61 || cap(got[0].Data) != 10 || len(got[1].Data) != 9 {
		t.Errorf("%v", got)
	}
}

func TestRecordsCorrupt(t *testing.T) {
	for name, a := range systems() {
		l, hdrlen := a.record, headers(a.os)[0]
		first := l.put(nil, hdrlen, rec{data: frameOf(61)})
		bad := (len(first) + l.align - 1) &^ (l.align - 1) // offset of the second
		tests := map[string]func(h []byte){
			"record header is shorter than it can be":  func(h []byte) { host.PutUint16(h[l.hdrlen():], uint16(l.least()-1)) },
			"frame starts outside of the buffer":       func(h []byte) { host.PutUint16(h[l.hdrlen():], 0xffff) },
			"frame passes the buffer's end":            func(h []byte) { host.PutUint32(h[l.caplen():], 1<<32-1) },
			"more bytes captured than the frame had":   func(h []byte) { host.PutUint32(h[l.datalen():], 4) },
			"fraction over a second":                   func(h []byte) { l.setFrac(h, second/l.tick) },
			"record header passes the buffer's end":    nil, // truncated
			"record header is shorter than it can be ": func(h []byte) { clear(h) },
		}
		if l.word == 8 {
			tests["time is out of range"] = func(h []byte) { host.PutUint64(h, 1<<32) }
		}
		for want, spoil := range tests {
			mem := l.put(bytes.Clone(first), hdrlen, rec{data: frameOf(5)})
			if spoil == nil {
				mem = mem[:bad+l.least()-1]
			} else {
				spoil(mem[bad:])
			}
			r := newRecords(l, mem)
			got := all(r, 8)
			if len(got) != 1 || r.lost != 1 || r.off != bad || r.reason != trimmed(want) {
				t.Errorf("%s: %d packets, %d lost at %d, %q; want %q at %d", name, len(got), r.lost, r.off, r.reason, want, bad)
			}
			b := buffer{records: *r}
			if err := b.Err(); err == nil || err.(*device.CorruptError).Offset != bad {
				t.Errorf("%s: %s: error %v", name, want, err)
			}
		}
	}
}

func trimmed(s string) string { return string(bytes.TrimSpace([]byte(s))) }

func (l layout) setFrac(h []byte, frac uint64) {
	if l.word == 4 {
		host.PutUint32(h[4:], uint32(frac))
	} else {
		host.PutUint64(h[8:], frac)
	}
}

func FuzzRecords(f *testing.F) {
	for i, a := range order() {
		mem := a.record.put(nil, headers(a.os)[0], rec{data: frameOf(61), sec: 7})
		mem = a.record.put(mem, headers(a.os)[1], rec{data: frameOf(2), datalen: 60})
		f.Add(mem, byte(i), 10)
		f.Add(mem[:len(mem)-1], byte(i), device.DefaultSnaplen)
	}
	f.Add([]byte{}, byte(0), 1)
	f.Fuzz(func(t *testing.T, mem []byte, system byte, snaplen int) {
		a := order()[int(system)%len(order())]
		r := newRecords(a.record, mem)
		r.snaplen = min(max(snaplen, 1), device.DefaultSnaplen)
		checkWalk(t, r)
	})
}

// order returns the systems in a fixed order.
func order() []abi {
	ns := freebsd()
	ns.record.tick = 1
	return []abi{darwin(), freebsd(), ns, netbsd(), openbsd()}
}

// checkWalk checks properties that hold for any buffer.
func checkWalk(t *testing.T, r *records) {
	t.Helper()
	mem := r.mem
	before, seen := -1, 0
	header := r.header()
	var dst [3]pcap.Packet
	for {
		n := r.read(dst[:])
		for _, p := range dst[:n] {
			at := offset(mem, p.Data)
			if at <= before || at+len(p.Data) > len(mem) || len(p.Data) > r.snaplen || cap(p.Data) != len(p.Data) {
				t.Fatalf("packet of %d bytes at %d of %d, after one at %d", len(p.Data), at, len(mem), before)
			}
			if p.Nsec >= second || p.Length < uint32(len(p.Data)) {
				t.Fatalf("packet %+v", p)
			}
			if before == -1 && len(p.Data) > 0 && seen == 0 && at != header {
				t.Fatalf("the first packet is at %d, its header has %d bytes", at, header)
			}
			before = at
		}
		if seen += n; seen > len(mem)/r.least() {
			t.Fatalf("%d packets in %d bytes", seen, len(mem))
		}
		if n == 0 {
			break
		}
	}
	if r.off < 0 || r.off > len(mem) || (r.reason == "") != (r.off == len(mem)) || (r.reason == "") != (r.lost == 0) {
		t.Fatalf("ended at %d of %d, %d lost: %q", r.off, len(mem), r.lost, r.reason)
	}
	if r.count.Load() != uint64(seen) {
		t.Fatalf("count %d, read %d", r.count.Load(), seen)
	}
}

// offset returns the position of part in mem.
func offset(mem, part []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
}

// TestRecordsHostile puts invalid words at each position of a valid buffer.
func TestRecordsHostile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, a := range order() {
		var good []byte
		for n := range 50 {
			good = a.record.put(good, headers(a.os)[n%2], rec{data: frameOf(n * 7 % 90), sec: 9})
		}
		for range 20000 {
			mem := bytes.Clone(good)
			host.PutUint32(mem[rng.IntN(len(mem)-4):], rng.Uint32()>>rng.IntN(32))
			checkWalk(t, newRecords(a.record, mem[:rng.IntN(len(mem)+1)]))
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, a := range []abi{darwin(), freebsd()} {
		b.Run(a.os, func(b *testing.B) {
			var mem []byte
			frames := 0
			for ; len(mem) < 1<<20; frames++ {
				mem = a.record.put(mem, headers(a.os)[0], rec{data: frameOf(60 + frames%5)})
			}
			var pkts [256]pcap.Packet
			b.ReportAllocs()
			for b.Loop() {
				r := records{layout: a.record, snaplen: device.DefaultSnaplen, mem: mem, count: new(atomic.Uint64)}
				for r.read(pkts[:]) > 0 {
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames), "ns/packet")
		})
	}
}
