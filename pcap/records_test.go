package pcap

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
)

// option returns an option, filled up.
func (w *builder) option(code uint16, value string) *builder {
	w.u16(code).u16(uint16(len(value)))
	w.b = append(append(w.b, value...), make([]byte, pad4(len(value))-len(value))...)
	return w
}

// changedFile returns a file with all that AppendChanged knows, and the same as it is to be in a copy that is changed.
func changedFile(order binary.AppendByteOrder, comment string) (from, to []byte) {
	in, out := &builder{order: order}, &builder{order: order}
	section := func(w *builder, length uint32, comments ...string) {
		w.block(blockSHB, func(b *builder) {
			b.u32(byteOrderMagic).u16(1).u16(0).u32(length, length).option(shbUserAppl, "tool")
			for _, c := range comments {
				b.option(optComment, c)
			}
			b.option(optEnd, "")
		})
	}
	section(in, 0, "before")
	section(out, 0xffffffff, "before", comment)
	both := func(kind uint32, data func(*builder)) {
		for _, w := range []*builder{in, out} {
			w.block(kind, func(b *builder) {
				data(b)
				b.option(optComment, "stays")
				if w == in {
					b.option(optCustomTextNotCopied, "\x00\x00\x7e\xd9text").option(optCustomNotCopied, "\x00\x00\x7e\xd9bytes")
				}
				b.option(2988, "\x00\x00\x7e\xd9copied").option(optEnd, "")
			})
		}
	}
	both(blockIDB, func(b *builder) { b.u16(1).u16(0).u32(0) })
	both(10, func(b *builder) { b.u32(0x544c534b, 5).b = append(b.b, "abcde\x00\x00\x00"...) })
	both(4, func(b *builder) {
		b.option(1, "\x0a\x00\x00\x01a.example\x00").option(0, "")
	})
	both(blockEPB, func(b *builder) { b.u32(0, 0, 1, 3, 3).b = append(b.b, "abc\x00"...) })
	both(blockOPB, func(b *builder) { b.u16(0).u16(0).u32(0, 1, 4, 4).b = append(b.b, "abcd"...) })
	both(blockISB, func(b *builder) { b.u32(0, 0, 1) })
	for _, w := range []*builder{in, out} {
		w.block(0xbad, func(b *builder) { b.u32(32473, 1, 2) })
		w.block(blockSPB, func(b *builder) { b.u32(4).b = append(b.b, "efgh"...) })
		w.block(0x80000001, func(b *builder) { b.u32(7) })
	}
	in.block(blockCustomNotCopied, func(b *builder) { b.u32(32473, 3) })
	return in.b, out.b
}

// records calls f with what a file consists of, up to its end or an error, which it returns.
func records(src []byte, f func(r *Reader, record []byte, p *Packet)) error {
	r, err := NewReader(bytes.NewReader(src))
	if err != nil {
		return err
	}
	f(r, r.Header(), nil)
	for {
		record, p, err := r.NextRecord()
		if err != nil {
			return err
		}
		f(r, record, p)
	}
}

// TestAppendChanged: a changed copy has all blocks but those, and those options, that must not be copied, and says
// what was done to it.
func TestAppendChanged(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		from, want := changedFile(order, "what was done")
		var got, same []byte
		packets := 0
		err := records(from, func(r *Reader, record []byte, p *Packet) {
			if same = append(same, record...); p != nil {
				packets++
			}
			got = r.Translator().AppendChanged(got, record, "what was done")
		})
		if err != io.EOF || packets != 3 || !bytes.Equal(same, from) {
			t.Errorf("%v: %d packets, %v", order, packets, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v: got\n%x\nwant\n%x", order, got, want)
		}
	}
}

// TestAppendChangedSection: whatever options a section header has, the comment is one of them, and they stay.
func TestAppendChangedSection(t *testing.T) {
	for opts, want := range map[string]string{
		"":                              "\x01\x00\x01\x00c\x00\x00\x00\x00\x00\x00\x00",
		"\x00\x00\x00\x00":              "\x01\x00\x01\x00c\x00\x00\x00\x00\x00\x00\x00",
		"\x04\x00\x01\x00a\x00\x00\x00": "\x04\x00\x01\x00a\x00\x00\x00\x01\x00\x01\x00c\x00\x00\x00\x00\x00\x00\x00",
		"\x00\x00\x00\x00rest":          "\x01\x00\x01\x00c\x00\x00\x00\x00\x00\x00\x00rest",
		"\x04\x00\xff\x00none":          "\x01\x00\x01\x00c\x00\x00\x00\x04\x00\xff\x00none",
		"\xac\x4b\x01\x00a\x00\x00\x00\x00\x00\x00\x00": "\x01\x00\x01\x00c\x00\x00\x00\x00\x00\x00\x00", // 19372
	} {
		w := &builder{order: binary.LittleEndian}
		w.block(blockSHB, func(b *builder) {
			b.u32(byteOrderMagic).u16(1).u16(0).u32(0, 0).b = append(b.b, opts...)
		})
		_ = records(w.b, func(r *Reader, record []byte, _ *Packet) {
			got := r.Translator().AppendChanged(nil, record, "c")
			if string(got[24:len(got)-4]) != want || binary.LittleEndian.Uint32(got[4:]) != uint32(len(got)) {
				t.Errorf("%x: got %x, want %x", opts, got[24:len(got)-4], want)
			}
		})
	}
}

// FuzzRecords: the records of a file are the file, up to its end or where it is damaged, and a changed copy has the
// same packets.
func FuzzRecords(f *testing.F) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		b, _ := changedFile(order, "")
		f.Add(b)
		w := &builder{order: order}
		w.u32(magicMicro).u16(2).u16(4).u32(0, 0, 96, 1)
		w.u32(1000, 7, 3, 60).b = append(w.b, "abc"...)
		f.Add(w.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var same, changed []byte
		var pkts []Packet
		_ = records(b, func(r *Reader, record []byte, p *Packet) {
			if same = append(same, record...); p != nil {
				q := *p
				q.Data = bytes.Clone(q.Data)
				pkts = append(pkts, q)
			}
			if r.Format() == PCAPNG {
				changed = r.Translator().AppendChanged(changed, record, "comment")
			}
		})
		if !bytes.HasPrefix(b, same) {
			t.Errorf("records %x", same)
		}
		if changed == nil {
			return
		}
		if got, err := readAll(bytes.NewReader(changed)); err != io.EOF || !samePackets(got, pkts) {
			t.Errorf("changed: %v, %+v, want %+v in %x", err, got, pkts, changed)
		}
	})
}
