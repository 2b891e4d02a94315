package read

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/pcap"
	"capd/store"
)

// recordFile returns a file of packets, each of a size, and where its records
// end, the header first.
func recordFile(f pcap.Format, sizes ...int) (b []byte, ends []int64) {
	enc := pcap.NewEncoder(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	b = enc.Header()
	ends = append(ends, int64(len(b)))
	record := make([]byte, enc.MaxRecord())
	for i, size := range sizes {
		data := bytes.Repeat([]byte{byte(i + 1)}, size)
		n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: uint32(size), Sec: 1767355200 + uint32(i), Nsec: 1}})
		b = append(b, record[:n]...)
		ends = append(ends, int64(len(b)))
	}
	return b, ends
}

// growing is a file that tests write into.
func growing(t *testing.T, ext string) *os.File {
	t.Helper()
	h, err := os.Create(filepath.Join(t.TempDir(), "x"+ext+store.Partial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func put(t *testing.T, h *os.File, b []byte, off int64) {
	t.Helper()
	if _, err := h.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// TestFrontierBytes: byte by byte, the frontier is the end of the last whole
// record.
func TestFrontierBytes(t *testing.T) {
	t.Parallel()
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, ends := recordFile(format, 60, 61, 1500)
		h := growing(t, format.Ext())
		var f frontier
		for n := range int64(len(b)) {
			put(t, h, b[n:n+1], n)
			if err := f.advance(&content{File: h}); err != nil {
				t.Fatal(err)
			}
			want := int64(0)
			for _, end := range ends {
				if end <= n+1 {
					want = end
				}
			}
			if f.Damaged || f.End != want && (f.End > n+1 || n+1 >= ends[0]) { // the header has blocks
				t.Fatalf("%v: %d bytes: %+v, want %d of %v", format, n+1, f, want, ends)
			}
		}
		if f.End != int64(len(b)) {
			t.Errorf("%v: %+v of %d", format, f, len(b))
		}
		if err := h.Truncate(int64(len(b) - 1)); err != nil {
			t.Fatal(err)
		}
		if err := f.advance(&content{File: h}); err == nil || !strings.Contains(err.Error(), "cut to") {
			t.Errorf("%v: cut: %v", format, err)
		}
	}
}

// TestFrontierHole: a later chunk is there, an earlier one is not. The record at
// the edge of the hole is not taken for whole.
func TestFrontierHole(t *testing.T) {
	t.Parallel()
	const chunk = 64 << 10
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		var sizes []int
		for range 300 {
			sizes = append(sizes, 1000)
		}
		b, _ := recordFile(format, sizes...)
		h := growing(t, format.Ext())
		put(t, h, b[:chunk], 0)
		put(t, h, b[2*chunk:3*chunk], 2*chunk)
		if store.SeekHole(h, 0, 3*chunk) != chunk {
			t.Skip("holes can't be seen here")
		}
		var f frontier
		for range 3 {
			if err := f.advance(&content{File: h}); err != nil || f.End > chunk || f.End < chunk-2000 || f.Damaged {
				t.Fatalf("%v: before the hole: %+v, %v", format, f, err)
			}
		}
		put(t, h, b[chunk:2*chunk], chunk)
		if err := f.advance(&content{File: h}); err != nil || f.End > 3*chunk || f.End < 3*chunk-2000 || f.Damaged {
			t.Fatalf("%v: %+v, %v", format, f, err)
		}
		put(t, h, b[3*chunk:], 3*chunk)
		if err := f.advance(&content{File: h}); err != nil || f.End != int64(len(b)) {
			t.Fatalf("%v: %+v, %v", format, f, err)
		}
	}
}

// TestFrontierZeros: where holes can't be seen, zeros are waited for as well.
func TestFrontierZeros(t *testing.T) {
	t.Parallel()
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, ends := recordFile(format, 60, 61, 62, 63)
		h := growing(t, format.Ext())
		put(t, h, b[:ends[2]], 0)
		put(t, h, make([]byte, int64(len(b))-ends[2]), ends[2])
		var f frontier
		for range 2 {
			if err := f.advance(&content{File: h}); err != nil || f.End != ends[2] || f.Damaged {
				t.Fatalf("%v: %+v, %v", format, f, err)
			}
		}
		put(t, h, b[ends[2]:], ends[2]) // its size stays
		if err := f.advance(&content{File: h}); err != nil || f.End != int64(len(b)) {
			t.Fatalf("%v: %+v, %v", format, f, err)
		}
	}
}

// TestFrontierCarriedCapture: a record that is still being written is no damage,
// whatever it carries.
func TestFrontierCarriedCapture(t *testing.T) {
	t.Parallel()
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		inner, _ := recordFile(format, 60, 61, 62, 63, 64)
		b, ends := recordFile(format, 60, len(inner)+40)
		copy(b[int(ends[1])+40:], inner)
		for n := ends[1] + 1; n < ends[2]; n += 7 {
			h := growing(t, format.Ext())
			put(t, h, b[:n], 0)
			var f frontier
			if err := f.advance(&content{File: h}); err != nil || f.End != ends[1] || f.Damaged {
				t.Fatalf("%v: %d bytes: %+v, %v", format, n, f, err)
			}
		}
	}
}

func TestFrontierDamage(t *testing.T) {
	t.Parallel()
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, ends := recordFile(format, 60, 61, 62, 63)
		h := growing(t, format.Ext())
		put(t, h, b[:ends[2]], 0)
		put(t, h, bytes.Repeat([]byte{0xee}, 5000), ends[2])
		var f frontier
		if err := f.advance(&content{File: h}); err != nil || f.End != ends[2] || !f.Damaged {
			t.Errorf("%v: %+v, %v", format, f, err)
		}
	}
}

// TestFrontierSteps: a large file is not read whole before its first packets
// can be.
func TestFrontierSteps(t *testing.T) {
	t.Parallel()
	b, _ := recordFile(pcap.PCAPNG, 60000, 60001)
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet})
	record := make([]byte, enc.MaxRecord())
	n, _ := enc.Encode(record, []pcap.Packet{{Data: make([]byte, 60000), Length: 60000, Sec: 1}})
	b = append(b, bytes.Repeat(record[:n], (2*frontierStep+frontierStep/2)/n)...)
	h := growing(t, ".pcapng")
	put(t, h, b, 0)
	var f frontier
	for i := range 3 {
		before := f.End
		if err := f.advance(&content{File: h}); err != nil || f.End <= before || f.End > before+frontierStep {
			t.Fatalf("step %d: %+v, %v", i, f, err)
		}
	}
	if f.End != int64(len(b)) {
		t.Errorf("%+v of %d", f, len(b))
	}
}

// TestGrown: a file that is being written is read up to its last whole record.
func TestGrown(t *testing.T) {
	t.Parallel()
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, ends := recordFile(format, 60, 61, 1500)
		h := growing(t, format.Ext())
		open := func() *File {
			f, err := Open(h.Name(), Options{Growing: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		}
		count := func(f *File) (n int) {
			for {
				if _, err := f.Next(); err == io.EOF {
					return n
				} else if err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
		if f := open(); count(f) != 0 {
			t.Error("there are packets in a file without bytes")
		}
		for n := range len(b) {
			put(t, h, b[n:n+1], int64(n))
			f := open()
			want := 0
			for _, end := range ends[1:] {
				if end <= int64(n+1) {
					want++
				}
			}
			if got := count(f); got != want {
				t.Errorf("%v: %d packets in %d bytes, want %d", format, got, n+1, want)
			}
		}
	}
}

// TestWholeUpTo: a growing file is read up to where it is known to be whole, and no byte of it is looked at before it is read; where it
// is not known it is found out as ever.
func TestWholeUpTo(t *testing.T) {
	t.Parallel()
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, ends := recordFile(format, 60, 61, 1500, 62, 63)
		h := growing(t, format.Ext())
		put(t, h, b[:ends[3]], 0)
		f, err := Open(h.Name(), Options{Growing: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		read := func(want uint64) {
			t.Helper()
			for {
				if _, _, err := f.NextRecord(); err != nil {
					if !f.AtEnd(err) || f.Seen() != want {
						t.Fatalf("%v: %d packets, %v, want %d", format, f.Seen(), err, want)
					}
					return
				}
			}
		}
		f.WholeUpTo(ends[2])
		if _, err := f.Header(); err != nil {
			t.Fatal(err)
		}
		read(2)
		if f.grown.frontier.End != ends[2] {
			t.Errorf("%v: it was looked at up to byte %d", format, f.grown.frontier.End)
		}
		f.More()
		f.WholeUpTo(0) // not known
		read(3)
		put(t, h, b[ends[3]:ends[4]], ends[3])
		f.More()
		f.WholeUpTo(ends[4])
		put(t, h, b[ends[4]:ends[5]-1], ends[4])
		read(4)
		f.More()
		f.WholeUpTo(ends[2]) // an answer that comes late
		read(4)
		f.More()
		read(4)
		put(t, h, b[ends[5]-1:], ends[5]-1)
		f.More()
		read(5)
	}
}
