package flow

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"capd/pcap"
)

func BenchmarkParse(b *testing.B) {
	data := ether(0x800, ip4(6, 0, tcp(1000, 80, 2)))
	var f Frame
	for b.Loop() {
		f.Parse(1, data)
	}
}

// A workload is the frames of a benchmark: of so many flows, and of sizes that come as often as they are named.
type workload struct {
	name  string
	flows int // 0: each frame is a flow
	sizes []int
}

var imix = []int{64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1514}

var workloads = []workload{
	{"one flow", 1, imix},
	{"imix of 1000 flows", 1000, imix},
	{"imix of 10000 flows", 10_000, imix},
	{"imix of 100000 flows", 100_000, imix},
	{"SYN flood", 0, []int{64}},
	{"large", 1000, []int{1514}},
}

// file is a capture file in memory, far larger than the caches of a processor.
func (w *workload) file() []byte {
	const size = 96 << 20
	r := rand.New(rand.NewPCG(1, 2))
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	b := make([]byte, 0, size+enc.MaxRecord())
	b = append(b, enc.Header()...)
	data := ether(0x800, ip4(6, 0, tcp(0, 443, 0x10), zeros(1500)))
	for n := uint32(0); len(b) < size; n++ {
		id := r.Uint32()
		if w.flows > 0 {
			id %= uint32(w.flows)
		}
		src, dst := data[26:30], data[30:34]
		sport, dport := data[34:36], data[36:38]
		if w.flows > 0 && r.IntN(2) == 0 {
			src, dst, sport, dport = dst, src, dport, sport
		}
		binary.BigEndian.PutUint32(src, 0x0a000000+id)
		binary.BigEndian.PutUint32(dst, 0x0b000000+id%97)
		binary.BigEndian.PutUint16(sport, uint16(id*7))
		binary.BigEndian.PutUint16(dport, 443)
		p := pcap.Packet{Data: data[:w.sizes[r.IntN(len(w.sizes))]], Sec: 1767355200, Nsec: n % 1e9}
		p.Length = uint32(len(p.Data))
		used, _ := enc.Encode(b[len(b):cap(b)], []pcap.Packet{p})
		b = b[:len(b)+used]
	}
	return b[len(enc.Header()):]
}

// walk calls f for each packet block of a file in memory.
func walk(b []byte, f func(offset int64, p *pcap.Packet)) (packets int) {
	le := binary.LittleEndian
	var p pcap.Packet
	for at := 0; at < len(b); at += int(le.Uint32(b[at+4:])) {
		block := b[at:]
		t := uint64(le.Uint32(block[12:]))<<32 | uint64(le.Uint32(block[16:]))
		n := le.Uint32(block[20:])
		p.Data, p.Length, p.Sec, p.Nsec = block[28:28+n], le.Uint32(block[24:]), uint32(t/1e9), uint32(t%1e9)
		f(int64(at), &p)
		packets++
	}
	return packets
}

func (w *workload) run(b *testing.B, pass func([]byte) int) {
	file := w.file()
	b.ResetTimer()
	packets, begin := 0, processor()
	for b.Loop() {
		packets += pass(file)
	}
	b.ReportMetric(float64(processor()-begin)/float64(packets), "cpu-ns/packet")
}

// processor returns the nanoseconds of processor time that this process had so far.
func processor() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// passes is how often a file in memory comes in one table, which is so of a file of a usual size.
const passes = 8

// table makes the rows of a file.
func table(b *testing.B, size int, pass func(builder *Builder, iface uint32, begin int64) int) (packets int) {
	builder := NewBuilder(func(*Row) error { return nil })
	id := builder.Interface("eth0", pcap.LinkTypeEthernet)
	for n := range passes {
		packets += pass(builder, id, int64(n*size))
	}
	if _, _, err := builder.Finish(int64(passes * size)); err != nil {
		b.Fatal(err)
	}
	return packets
}

// BenchmarkBuilder is what a table of a file in memory costs until its rows are there, and how much of that it is to walk over
// the file alone.
func BenchmarkBuilder(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name+"/walk", func(b *testing.B) {
			var sum uint64
			w.run(b, func(file []byte) int {
				return walk(file, func(_ int64, p *pcap.Packet) { sum += uint64(p.Length) + uint64(p.Data[30]) })
			})
		})
		b.Run(w.name, func(b *testing.B) {
			w.run(b, func(file []byte) int {
				return table(b, len(file), func(builder *Builder, iface uint32, begin int64) int {
					return walk(file, func(offset int64, p *pcap.Packet) { _ = builder.Add(begin+offset, iface, p) })
				})
			})
		})
	}
}

// BenchmarkMarked is the same where it is known at which bytes the packets begin, so that the lines of many are fetched at once.
func BenchmarkMarked(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			var sum uint64
			w.run(b, func(file []byte) int {
				var marks []uint32
				walk(file, func(offset int64, _ *pcap.Packet) { marks = append(marks, uint32(offset)) })
				return table(b, len(file), func(builder *Builder, iface uint32, begin int64) (packets int) {
					for batch := range slices.Chunk(marks, 16) {
						for _, at := range batch {
							sum += uint64(file[at+4]) + uint64(file[at+70])
						}
						at, end := batch[0], batch[len(batch)-1]
						end += binary.LittleEndian.Uint32(file[end+4:])
						packets += walk(file[at:end], func(offset int64, p *pcap.Packet) { _ = builder.Add(begin+int64(at)+offset, iface, p) })
					}
					return packets
				})
			})
		})
	}
}

// BenchmarkReader is what a table costs of a file that is read, from memory.
func BenchmarkReader(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			header := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}).Header()
			w.run(b, func(file []byte) int {
				src, err := pcap.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(file)))
				if err != nil {
					b.Fatal(err)
				}
				builder := NewBuilder(func(*Row) error { return nil })
				id := builder.Interface("eth0", pcap.LinkTypeEthernet)
				n, at := 0, int64(len(header))
				for {
					p, err := src.Next()
					if err != nil {
						break
					}
					_ = builder.Add(at, id, &p)
					at = src.Offset()
					n++
				}
				return n
			})
		})
	}
}

func BenchmarkReadTable(b *testing.B) {
	table := smallTable(b)
	for b.Loop() {
		if _, err := readAll(table); err != nil {
			b.Fatal(err)
		}
	}
}
