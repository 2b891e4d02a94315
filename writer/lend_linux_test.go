package writer

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// lent returns a block in memory of pages, and its packets of 1000 bytes, as a ring has them.
func lent(t *testing.T, n int) (memory []byte, pkts []pcap.Packet) {
	t.Helper()
	memory, err := unix.Mmap(-1, 0, roundUp(n*1100+2*align, align), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	for i := range n {
		data := memory[60+1100*i:][:1000:1000]
		binary.BigEndian.PutUint64(data, uint64(i))
		pkts = append(pkts, pcap.Packet{Data: data, Length: 1000, Sec: uint32(noon.Unix()), Nsec: uint32(i)})
	}
	return memory, pkts
}

// readAll returns the first 8 bytes of each packet in the file, as a number.
func readAll(t *testing.T, path string) (all []uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcap.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err != nil {
			return all
		}
		all = append(all, binary.BigEndian.Uint64(p.Data))
	}
}

// TestLend: packets that are copied and blocks that are lent come in their order, and each block is released once, when it
// is written.
func TestLend(t *testing.T) {
	for _, direct := range []bool{true, false} {
		l := newLine(t, Options{NoDirect: !direct, Header: pcap.Header{Format: pcap.PCAPNG}})
		w := l.next()
		memory, pkts := lent(t, 30)
		released := make(chan bool, 10)
		block := Block{Number: 1, Frames: 30, Memory: memory, Release: func() { released <- true }}
		if w.Lend(block, pkts) {
			t.Fatal("a block begins a file")
		}
		w.Write(pkts[:3])
		w.Commit(1, 3, 0)
		block.Number = 2
		if !w.Lend(block, pkts) {
			t.Fatal("not lent")
		}
		<-released
		w.Write(some(2))
		w.Commit(3, 2, 0)
		if p := w.Position(); p.Block != 3 || p.Frames != 35 {
			t.Errorf("%+v", p)
		}
		all := l.close(w)
		if len(all) != 1 || all[0].Packets != 35 || all[0].Err != nil || len(released) > 0 {
			t.Fatalf("%+v, %d", all, len(released))
		}
		got := readAll(t, filepath.Join(l.opt.Directory, all[0].Name.String()))
		if len(got) != 35 || got[2] != 2 || got[3] != 0 || got[32] != 29 {
			t.Errorf("%d", got)
		}
	}
}

// TestLendTogether: blocks that follow each other are written when no further one is there, or when anything else happens.
func TestLendTogether(t *testing.T) {
	for name, then := range map[string]func(w *Writer, block Block, pkts []pcap.Packet){
		"the last": func(w *Writer, block Block, pkts []pcap.Packet) { w.Lend(block, pkts) },
		"copied":   func(w *Writer, block Block, pkts []pcap.Packet) { w.Write(pkts) },
		"rotate":   func(w *Writer, _ Block, _ []pcap.Packet) { w.Rotate(ledger.ReasonSignal) },
		"leave":    func(w *Writer, _ Block, _ []pcap.Packet) { w.AwaitLoans() },
		"end":      func(w *Writer, _ Block, _ []pcap.Packet) { w.End() },
	} {
		for _, direct := range []bool{true, false} {
			l := newLine(t, Options{NoDirect: !direct, Header: pcap.Header{Format: pcap.PCAPNG}})
			w := l.next()
			w.Write(some(1))
			w.Commit(1, 1, 0)
			released := make(chan uint64, 10)
			want := []uint64{2, 3, 4}
			for _, number := range want {
				memory, pkts := lent(t, 30)
				if !w.Lend(Block{Number: number, Frames: 30, Memory: memory, More: true, Release: func() { released <- number }}, pkts) {
					t.Fatalf("%s: not lent", name)
				}
			}
			if len(released) > 0 {
				t.Errorf("%s: written one by one", name)
			}
			memory, pkts := lent(t, 30)
			then(w, Block{Number: 5, Frames: 30, Memory: memory, Release: func() { released <- 5 }}, pkts)
			if name == "the last" {
				want = append(want, 5)
			}
			var got []uint64
			for range want {
				got = append(got, <-released)
			}
			slices.Sort(got)
			packets := uint64(91)
			if name == "the last" || name == "copied" {
				packets += 30
			}
			all := l.close(w)
			if !slices.Equal(got, want) || len(released) > 0 || len(all) != 1 || all[0].Packets != packets || all[0].Err != nil {
				t.Fatalf("%s: %+v, %d, %d", name, all, got, len(released))
			}
			in := readAll(t, filepath.Join(l.opt.Directory, all[0].Name.String()))
			for i, n := range in[1:] {
				if n != uint64(i%30) {
					t.Fatalf("%s: packet %d is %d", name, i, n)
				}
			}
		}
	}
}

// TestLendRefused: nothing is done when a block can't be written as it is.
func TestLendRefused(t *testing.T) {
	for name, c := range map[string]struct {
		opt    Options
		change func(*Writer, []pcap.Packet) []pcap.Packet
	}{
		"pcap":               {opt: Options{Header: pcap.Header{Format: pcap.PCAP}}},
		"too large for file": {opt: Options{RotateSize: 30_000}}, // and its trailer
		"another interval": {opt: Options{RotateInterval: time.Second}, change: func(_ *Writer, pkts []pcap.Packet) []pcap.Packet {
			pkts[20].Sec++
			return pkts
		}},
		"begun before": {change: func(w *Writer, pkts []pcap.Packet) []pcap.Packet {
			w.Write(pkts[:1])
			return pkts[1:]
		}},
		"not in the memory": {change: func(_ *Writer, pkts []pcap.Packet) []pcap.Packet {
			pkts[3].Data = make([]byte, 1000)
			return pkts
		}},
		"many": {change: func(w *Writer, pkts []pcap.Packet) []pcap.Packet {
			w.journal.freeLoan()
			for i := range w.journal.loans {
				w.journal.loans[i].file.Store(1 << 50)
			}
			return pkts
		}},
	} {
		l := newLine(t, c.opt)
		if name != "pcap" {
			l.opt.Header.Format = pcap.PCAPNG
		}
		w := l.next()
		w.Write(some(1))
		w.Commit(1, 1, 0)
		memory, pkts := lent(t, 30)
		before := bytes.Clone(memory)
		if c.change != nil {
			pkts = c.change(w, pkts)
		}
		encoded := w.file.encoded
		if w.Lend(Block{Number: 2, Frames: 30, Memory: memory, Release: func() { t.Error("released") }}, pkts) {
			t.Errorf("%s: lent", name)
		}
		if !bytes.Equal(memory, before) || w.file.encoded != encoded || w.Position().Block != 1 {
			t.Errorf("%s: something was done", name)
		}
		for i := range w.journal.loans {
			w.journal.loans[i].file.Store(0)
		}
		l.close(w)
	}
}

// TestLentBlockGone: a file whose lent block the next process does not get any more ends before it, and is not taken for
// whole.
func TestLentBlockGone(t *testing.T) {
	for name, next := range map[string]func(*Writer){
		"another ring": func(w *Writer) { w.From(2, Drops{}, nil) },
		"no block": func(w *Writer) {
			w.From(1, Drops{}, func(uint64) ([]byte, func()) { return nil, nil })
		},
		"never read": func(w *Writer) { w.Lapse(noon) },
	} {
		l := newLine(t, Options{Header: pcap.Header{Format: pcap.PCAPNG}})
		w := l.next()
		w.Write(some(2))
		w.Commit(1, 2, 0)
		memory, pkts := lent(t, 30)
		if !w.Lend(Block{Number: 2, Frames: 30, Memory: memory, Release: func() {}}, pkts) {
			t.Fatal("not lent")
		}
		w.AwaitLoans()
		l.kill(w)
		w.journal.loans[0].file.Store(1) // as if it had not been written
		if lent := w.journal.Lent(); len(lent) != 1 || lent[0] != 2 {
			t.Errorf("%s: %d are lent", name, lent)
		}
		var err error
		l.opt.Journal, l.opt.Memory = w.journal, l.memory
		if w, err = New(l.opt); err != nil {
			t.Fatal(err)
		}
		next(w)
		w.Tick(noon, l.mono)
		if all := l.close(w); len(all) != 1 || all[0].Err == nil || all[0].Lost != 30 {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// TestLentAfterHeldChunk: a chunk that a block follows is not filled further, although the file ends within its size.
func TestLentAfterHeldChunk(t *testing.T) {
	l := newLine(t, Options{Header: pcap.Header{Format: pcap.PCAPNG}})
	w := l.next()
	w.Write(some(2))
	w.Commit(1, 2, 0)
	held := w.chunk.number
	memory, pkts := lent(t, 30)
	if !w.Lend(Block{Number: 2, Frames: 30, Memory: memory, Release: func() {}}, pkts) {
		t.Fatal("not lent")
	}
	end := w.file.encoded.bytes
	w.AwaitLoans()
	w.journal.free(w.chunk) // as if it had been killed before it began the next one
	l.kill(w)
	w.journal.chunks[held].file.Store(1) // as if it had not been written
	w = l.next()
	if w.chunk.off != end || w.chunk.fill != 0 {
		t.Errorf("the file goes on in a chunk at %d with %d bytes, and not at %d", w.chunk.off, w.chunk.fill, end)
	}
	all := l.close(w)
	if got := readAll(t, filepath.Join(l.opt.Directory, all[0].Name.String())); len(got) != 32 {
		t.Errorf("%d packets", len(got))
	}
}
