package pcap

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// A memory takes what is written over and over, as a chunk does.
type memory struct {
	b []byte
	n int
}

func (m *memory) Write(b []byte) (int, error) {
	if len(m.b)-m.n < len(b) {
		m.n = 0
	}
	m.n += copy(m.b[m.n:], b)
	return len(b), nil
}

// BenchmarkEncode measures one packet, beside the copy alone and pcapgo.
func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{64, 512, 1514} {
		pkts := make([]Packet, 256)
		ring := bytes.Repeat([]byte{7}, len(pkts)*size)
		for i := range pkts {
			pkts[i] = Packet{Data: ring[i*size:][:size], Length: uint32(size), Sec: 1_700_000_000, Nsec: uint32(i)}
		}
		for _, f := range formats {
			e := NewEncoder(Header{Format: f})
			dst := make([]byte, len(pkts)*(size+64))
			b.Run(fmt.Sprintf("%v/%d", f, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for i := 0; i < b.N; i += len(pkts) {
					e.Encode(dst, pkts)
				}
			})
		}
		b.Run(fmt.Sprintf("memmove/%d", size), func(b *testing.B) {
			dst := make([]byte, len(ring))
			b.SetBytes(int64(size))
			for i := 0; i < b.N; i += len(pkts) {
				for j := range pkts {
					copy(dst[j*size:], pkts[j].Data)
				}
			}
		})
		b.Run(fmt.Sprintf("pcapgo/%d", size), func(b *testing.B) { benchPcapgo(b, pkts) })
		b.Run(fmt.Sprintf("pcapgo-ng/%d", size), func(b *testing.B) { benchPcapgoNG(b, pkts) })
	}
}

func benchPcapgo(b *testing.B, pkts []Packet) {
	w := pcapgo.NewWriterNanos(&memory{b: make([]byte, 256*len(pkts[0].Data)+1<<14)})
	if err := w.WriteFileHeader(MaxSnaplen, layers.LinkTypeEthernet); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(pkts[0].Data)))
	for i := 0; i < b.N; i++ {
		p := pkts[i%len(pkts)]
		if err := w.WritePacket(info(p), p.Data); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPcapgoNG(b *testing.B, pkts []Packet) {
	w, err := pcapgo.NewNgWriter(&memory{b: make([]byte, 256*len(pkts[0].Data)+1<<14)}, layers.LinkTypeEthernet)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(pkts[0].Data)))
	for i := 0; i < b.N; i++ {
		p := pkts[i%len(pkts)]
		if err := w.WritePacket(info(p), p.Data); err != nil {
			b.Fatal(err)
		}
	}
}

// wholeFile returns a file of packets of one size.
func wholeFile(f Format, size, packets int) []byte {
	e := NewEncoder(Header{Format: f})
	pkts := make([]Packet, packets)
	for i := range pkts {
		pkts[i] = Packet{Data: make([]byte, size), Length: uint32(size), Sec: 1}
	}
	buf := make([]byte, packets*(size+64))
	n, _ := e.Encode(buf, pkts)
	return append(e.Header(), buf[:n]...)
}

// BenchmarkReader measures one packet of a file in memory, beside a reader that takes none the quick way.
func BenchmarkReader(b *testing.B) {
	ways := map[string]func(r *Reader) error{
		"quick": func(r *Reader) error { _, _, err := r.NextRecord(); return err },
		"slow":  func(r *Reader) error { _, err := r.advance(); return err },
	}
	for _, f := range formats {
		for _, size := range []int{64, 1514} {
			whole := wholeFile(f, size, 10_000)
			for way, next := range ways {
				b.Run(fmt.Sprintf("%v/%d/%s", f, size, way), func(b *testing.B) {
					b.SetBytes(int64(size))
					for i := 0; i < b.N; i += 10_000 {
						r, err := NewReader(bytes.NewReader(whole))
						for err == nil {
							err = next(r)
						}
						if err != io.EOF {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkScan measures one packet of a file in memory.
func BenchmarkScan(b *testing.B) {
	for _, f := range formats {
		for _, size := range []int{64, 1514} {
			b.Run(fmt.Sprintf("%v/%d", f, size), func(b *testing.B) {
				const packets = 10_000
				whole := wholeFile(f, size, packets)
				b.SetBytes(int64(size))
				b.ResetTimer()
				for i := 0; i < b.N; i += packets {
					if s, err := Scan(bytes.NewReader(whole), int64(len(whole))); err != nil || s.Tail != Clean {
						b.Fatal(s, err)
					}
				}
			})
		}
	}
}
