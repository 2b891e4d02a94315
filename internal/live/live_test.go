package live

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/index"
	"capd/ledger"
	"capd/pcap"
	"capd/writer"
)

const memoryOfTests = 64 << 20

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// templates are headers of many kinds, which get other bytes in any place.
var templates = [][]byte{
	frame(0x0800, ipv4(6), 20), frame(0x0800, ipv4(17), 8), frame(0x0800, ipv4(1), 8), frame(0x0800, ipv4(47), 60), frame(0x0800, ipv4(4), 60),
	frame(0x86dd, ipv6(6), 20), frame(0x86dd, ipv6(17), 8), frame(0x86dd, ipv6(44), 40), frame(0x86dd, ipv6(0), 300),
	frame(0x8100, append([]byte{0, 7, 8, 0}, ipv4(6)...), 20), frame(0x88a8, append([]byte{0, 7, 0x81, 0, 0, 8, 0x86, 0xdd}, ipv6(17)...), 20),
	frame(0x0806, nil, 28), frame(0x8847, []byte{0, 1, 1, 64}, 40), frame(60, nil, 60), frame(0x0800, vxlan(), 80), {1, 2, 3},
}

func frame(etherType uint16, header []byte, rest int) []byte {
	b := binary.BigEndian.AppendUint16([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, etherType)
	return append(append(b, header...), make([]byte, rest)...)
}

func ipv4(proto byte) []byte {
	b := make([]byte, 20)
	b[0], b[9] = 0x45, proto
	return b
}

func ipv6(next byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	return b
}

func vxlan() []byte {
	b := append(ipv4(17), 0, 1, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0)
	return append(b, frame(0x0800, ipv4(6), 20)...)
}

// random returns packets of so many flows, most of them plain and some of them odd.
func random(r *rand.Rand, n, flows int, at time.Time) (pkts []pcap.Packet) {
	for i := range n {
		data := slices.Clone(templates[r.IntN(2)])
		if r.IntN(10) == 0 {
			data = slices.Clone(templates[r.IntN(len(templates))])
			for range r.IntN(3) {
				data[r.IntN(len(data))] = byte(r.Uint32())
			}
		} else {
			binary.BigEndian.PutUint32(data[26:], r.Uint32N(uint32(flows)))
		}
		data = append(data, make([]byte, r.IntN(200))...)
		t := at.Add(time.Duration(i) * time.Microsecond)
		pkts = append(pkts, pcap.Packet{Data: data, Length: uint32(len(data) + r.IntN(2)), Sec: uint32(t.Unix()), Nsec: uint32(t.Nanosecond())})
		if r.IntN(5) == 0 {
			pkts[i].Flags = pcap.FlagOutbound
		}
	}
	return pkts
}

// A recording is a Writer with a lane.
type recording struct {
	*writer.Writer
	t      *testing.T
	memory *Memory
	lane   *Lane
	lent   int
	files  chan writer.File
}

func record(t *testing.T, h pcap.Header, rotate int64, memory int64) *recording {
	t.Helper()
	r := &recording{t: t, memory: NewMemory(memory), files: make(chan writer.File, 1000)}
	r.lane = NewLane(r.memory)
	var err error
	r.Writer, err = writer.New(writer.Options{
		Directory: t.TempDir(), Header: h, RotateSize: rotate, ChunkSize: 64 << 10, PoolSize: 8 << 20, Grace: time.Second, NoDirect: true,
		Observe: r.lane.Observe, Finished: func(f writer.File) { r.files <- f },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Tick(noon, 0)
	return r
}

// end ends the recording, and returns its files.
func (r *recording) end() (all []writer.File) {
	r.t.Helper()
	if err := r.Close(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	close(r.files)
	for f := range r.files {
		if f.Err != nil {
			r.t.Fatal(f.Err)
		}
		all = append(all, f)
	}
	return all
}

// idle checks that no memory is in use.
func (r *recording) idle(bytes int64) {
	r.t.Helper()
	r.await()
	if free := r.memory.free.Load(); free != bytes {
		r.t.Errorf("%d bytes are still in use", bytes-free)
	}
}

// compare checks that the table of the rows has the bytes of the one that is made from the file.
func compare(t *testing.T, f *writer.File) {
	t.Helper()
	o, ok := f.Observer.(*File)
	if !ok {
		t.Fatalf("%s: nobody has its rows", f.Name)
	}
	defer o.Drop()
	rows := o.Rows(t.Context())
	if rows == nil {
		t.Fatalf("%s: its rows were given up", f.Name)
	}
	if rows.Totals.Packets != f.Packets || rows.Totals.Bytes-rows.Totals.Cut != f.Bytes {
		t.Errorf("%s: %+v; the file has %d packets of %d bytes", f.Name, rows.Totals, f.Packets, f.Bytes)
	}
	made := func(b index.Built, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		table, err := os.ReadFile(b.Table)
		if err != nil || !b.Made {
			t.Fatalf("%+v, %v", b, err)
		}
		return table
	}
	of := made(index.BuildRows(f.Path, rows))
	if read := made(index.Build(t.Context(), f.Path, true, nil)); !bytes.Equal(of, read) {
		t.Errorf("%s: %d packets, the table has %d bytes, and read from the file %d others", f.Name, f.Packets, len(of), len(read))
	}
}

// TestTables: a table whose rows were made while its file was recorded has the bytes of the one that is made from the file: of any
// format, of odd frames, of packets that were copied and of blocks that were written where they lie, and when files end.
func TestTables(t *testing.T) {
	mixed := []*pcap.Interface{{Name: "eth0", LinkType: pcap.LinkTypeEthernet}, {Name: "tun0", LinkType: pcap.LinkTypeRaw}, {Name: "eth1", LinkType: pcap.LinkTypeEthernet}}
	for name, h := range map[string]pcap.Header{
		"pcapng": {Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		"cut":    {Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0", Snaplen: 50},
		"mixed":  {Format: pcap.PCAPNG, LinkType: pcap.LinkTypeMixed, Interface: "any"},
		"pcap":   {LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		"micro":  {LinkType: pcap.LinkTypeEthernet, Interface: "eth0", Micro: true},
		"raw":    {LinkType: pcap.LinkTypeRaw, Interface: "tun0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			rec := record(t, h, 1<<20, memoryOfTests)
			for i := range 10 {
				pkts := random(r, 1200, 500, noon.Add(time.Duration(i)*10*time.Millisecond))
				for k := range pkts {
					pkts[k].From = mixed[min(r.IntN(i+1), len(mixed)-1)]
					if h.Snaplen > 0 {
						pkts[k].Data = pkts[k].Data[:min(len(pkts[k].Data), int(h.Snaplen))]
					}
				}
				rec.write(pkts)
				rec.Tick(pkts[len(pkts)-1].Time(), time.Duration(i)*10*time.Millisecond)
				rec.lend(r)
				if i == 7 {
					rec.Rotate(ledger.ReasonSignal)
				}
			}
			files := rec.end()
			if len(files) < 2 || rec.lent < 5 && name == "pcapng" {
				t.Errorf("%d files, %d blocks", len(files), rec.lent)
			}
			for i := range files {
				compare(t, &files[i])
			}
			rec.idle(memoryOfTests)
		})
	}
}

// write gives packets to the Writer, and waits until their rows are made: how fast that is, is not what is tested.
func (r *recording) write(pkts []pcap.Packet) {
	for part := range slices.Chunk(pkts, 64) {
		r.Write(part)
	}
	r.await()
}

// await waits until no rows are to be made.
func (r *recording) await() {
	for r.lane.busy() {
		runtime.Gosched()
	}
}

func (l *Lane) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.works
}

// lend gives packets to the Writer as a block.
func (r *recording) lend(random *rand.Rand) {
	const n, room = 100, 1200
	memory := make([]byte, 2*4096+n*room)
	var pkts []pcap.Packet
	for i := range n {
		data := memory[60+i*room:][:1000:1000]
		copy(data, templates[random.IntN(len(templates))])
		binary.BigEndian.PutUint32(data[26:], random.Uint32N(300))
		t := r.Last().Add(time.Duration(i) * time.Microsecond)
		pkts = append(pkts, pcap.Packet{Data: data, Length: 1000, Sec: uint32(t.Unix()), Nsec: uint32(t.Nanosecond())})
	}
	number := r.Position().Block + 1
	r.Commit(number, 0, 0)
	if r.Lend(writer.Block{Number: number + 1, Frames: n, Memory: memory, Release: func() {}}, pkts) {
		r.lent++
	}
}

// TestFlood: rows of more flows than a table has are the same, too.
func TestFlood(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rec := record(t, pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}, 0, 512<<20)
	for i := range 5 {
		pkts := random(r, 10000, 1<<31, noon.Add(time.Duration(i)*10*time.Millisecond))
		rec.write(pkts)
	}
	for _, f := range rec.end() {
		compare(t, &f)
	}
	rec.idle(512 << 20)
}

// TestNoMemory: rows that find no memory are given up, and what they had is free again.
func TestNoMemory(t *testing.T) {
	for _, memory := range []int64{0, 100 << 10, 1 << 20} {
		r := rand.New(rand.NewPCG(5, 6))
		rec := record(t, pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}, 2<<20, memory)
		for i := range 5 {
			rec.write(random(r, 6000, 1<<20, noon.Add(time.Duration(i)*10*time.Millisecond)))
		}
		for _, f := range rec.end() {
			o := f.Observer.(*File)
			if o.Rows(t.Context()) != nil {
				t.Errorf("%d bytes were enough", memory)
			}
			o.Drop()
		}
		rec.idle(memory)
	}
}

// TestPanic: a mistake in what parses packets costs the rows of a file, and nothing else.
func TestPanic(t *testing.T) {
	lane := NewLane(NewMemory(memoryOfTests))
	f := lane.Observe(pcap.Header{Format: pcap.PCAPNG}, nil).(*File)
	f.guarded(func() { panic("mistake") })
	f.End(0)
	if f.Rows(t.Context()) != nil {
		t.Error("rows of a file of which some are missing")
	}
}

// TestLate: a recorder that is behind with its work is not kept from it: the rows of the file are given up, and for a
// minute no others are made.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		rec := record(t, pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}, 0, memoryOfTests)
		file := func(at time.Time, late time.Duration) {
			for i := range 2 {
				rec.Tick(at.Add(late*time.Duration(i)), at.Sub(noon))
				rec.write(random(r, 1000, 10, at))
			}
			rec.Rotate(ledger.ReasonSignal)
		}
		file(noon, 500*time.Millisecond)
		file(noon.Add(time.Minute), 2*time.Second)
		file(noon.Add(2*time.Minute), 0)
		time.Sleep(afterLate)
		file(noon.Add(3*time.Minute), 0)
		files := rec.end()
		for i, want := range []bool{true, false, false, true} {
			if files[i].Observer != nil != want {
				t.Errorf("file %d: %v", i, !want)
			} else if want {
				compare(t, &files[i])
			}
		}
		rec.idle(memoryOfTests)
	})
}
