package pcap

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"
)

// mergedFile makes a new file of all interfaces, explanations and packets of one.
func mergedFile(t *testing.T, from []byte) []byte {
	t.Helper()
	out, err := mergeAll(from)
	if err != io.EOF {
		t.Fatal(err)
	}
	return out
}

// mergeAll does that up to an error.
func mergeAll(from []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(from))
	if err != nil {
		return nil, err
	}
	out := AppendSectionHeader(nil, "test", "question")
	if r.Format() == PCAP {
		i := r.Interface()
		i.Name = "eth0"
		out = AppendInterface(out, &i)
	}
	for {
		record, p, err := r.NextRecord()
		switch {
		case err != nil:
			return AppendEnd(out, time.Unix(1, 0), 1, "verdict"), err
		case p != nil:
			out = r.Translator().AppendEnhanced(out, record, p, uint32(r.InterfaceID()))
		case r.Translator().Describes(record):
			out = r.Translator().AppendDescription(out, record, "further")
		case r.Translator().Explains(record):
			out = append(out, record...)
		}
	}
}

// TestMerge: interfaces and packets of any byte order and unit of time come into one file of little endian and nanoseconds,
// with their options, but those that must not be copied.
func TestMerge(t *testing.T) {
	image := func(order binary.AppendByteOrder, changed bool) []byte {
		w := &builder{order: order}
		w.block(blockSHB, func(b *builder) {
			b.u32(byteOrderMagic).u16(1).u16(0).u32(0xffffffff, 0xffffffff)
			if changed {
				b.option(optComment, "question").option(shbUserAppl, "test").option(optEnd, "")
			}
		})
		number := func(n uint64, bytes int) string {
			b := order.AppendUint64(nil, n)
			if order == binary.AppendByteOrder(binary.BigEndian) {
				return string(b[8-bytes:])
			}
			return string(b[:bytes])
		}
		w.block(blockIDB, func(b *builder) {
			b.u16(1).u16(0).u32(96).option(optComment, "first").option(ifName, "eth0").option(ifFilter, "\x00tcp").option(ifSpeed, number(1e9, 8))
			if changed {
				b.option(optComment, "further").option(ifTSResol, "\x09").option(optEnd, "")
			} else {
				b.option(ifTSResol, "\x06").option(ifTSOffset, number(10, 8)).option(optEnd, "")
			}
		})
		w.block(blockEPB, func(b *builder) {
			at := uint64(3_000_005)
			if changed {
				at = 13_000_005_000
			}
			b.u32(0, uint32(at>>32), uint32(at), 3, 7).b = append(b.b, "abc\x00"...)
			b.option(optComment, "of a packet").option(epbFlags, number(uint64(FlagInbound), 4)).option(epbDropCount, number(12, 8))
			b.option(optCustomText, number(32473, 4)+"text")
			if !changed {
				b.option(optCustomNotCopied, number(32473, 4)+"bytes")
			}
			b.option(optEnd, "")
		})
		if changed {
			w.block(blockISB, func(b *builder) {
				b.u32(0, 0, 1e9).option(optComment, "verdict").option(isbUsrDeliv, number(1, 8)).option(optEnd, "")
			})
		}
		return w.b
	}
	want := image(binary.LittleEndian, true)
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		if got := mergedFile(t, image(order, false)); !bytes.Equal(got, want) {
			t.Errorf("%v:\n%q, want\n%q", order, got, want)
		}
	}
}

// TestMergeEncoded: what an Encoder makes stays as it is.
func TestMergeEncoded(t *testing.T) {
	packets := []Packet{{Data: []byte("abcde"), Length: 9, Sec: 7, Nsec: 123456789, Flags: FlagOutbound}, {Data: []byte("x"), Length: 1, Sec: 8}}
	for _, format := range []Format{PCAP, PCAPNG} {
		e := NewEncoder(Header{Format: format, LinkType: LinkTypeEthernet, Interface: "eth0", Filter: "tcp"})
		b := e.Header()
		record := make([]byte, 2*e.MaxRecord())
		n, _ := e.Encode(record, packets)
		r, err := NewReader(bytes.NewReader(mergedFile(t, append(b, record[:n]...))))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range packets {
			if format == PCAP {
				want.Flags = 0
			}
			p, err := r.Next()
			if err != nil || !bytes.Equal(p.Data, want.Data) || p.Length != want.Length || p.Sec != want.Sec || p.Nsec != want.Nsec || p.Flags != want.Flags || r.Interface().Name != "eth0" {
				t.Errorf("%v: %+v of %+v, %v", format, p, r.Interface(), err)
			}
		}
	}
}

// FuzzMerge: what is made of any file can be read, and has its packets.
func FuzzMerge(f *testing.F) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		from, _ := changedFile(order, "comment")
		f.Add(from)
	}
	e := NewEncoder(Header{LinkType: LinkTypeEthernet})
	f.Add(append(e.Header(), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, _ := mergeAll(b)
		if out == nil {
			return
		}
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		merged, err := NewReader(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		for {
			p, err := r.Next()
			q, err2 := merged.Next()
			if err != nil {
				if err2 != io.EOF {
					t.Errorf("%+v, %v, where the file ends", q, err2)
				}
				return
			}
			if err2 != nil || !bytes.Equal(p.Data, q.Data) || p.Length != q.Length || p.Sec != q.Sec || p.Nsec != q.Nsec || p.Flags != q.Flags ||
				r.Interface().Name != merged.Interface().Name && r.Format() == PCAPNG || r.Interface().LinkType != merged.Interface().LinkType {
				t.Fatalf("%+v of %+v, %v; was %+v of %+v", q, merged.Interface(), err2, p, r.Interface())
			}
		}
	})
}
