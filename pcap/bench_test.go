package pcap

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// discard is io.Discard without its fast paths.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

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
	w := pcapgo.NewWriterNanos(discard{})
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
	w, err := pcapgo.NewNgWriter(discard{}, layers.LinkTypeEthernet)
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
