package writer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// testMemory returns memory for a journal, aligned as that of a mapping is.
func testMemory(chunks int) []byte {
	words := make([]uint64, JournalSize(chunks)/8+1)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), JournalSize(chunks))
}

// A line of writers have one journal, one after the other.
type line struct {
	t      *testing.T
	opt    Options
	mem    []byte
	memory *os.File
	lent   []byte // memory of each block that a writer had lent
	ended  chan File
	mono   time.Duration
}

const lineChunks = 8

func newLine(t *testing.T, opt Options) *line {
	l := &line{t: t, mem: testMemory(lineChunks), ended: make(chan File, 1000)}
	opt.Directory, opt.Finished = t.TempDir(), func(f File) { l.ended <- f }
	opt.Header.Interface, opt.Header.LinkType = "eth0", pcap.LinkTypeEthernet
	opt.ChunkSize, opt.PoolSize = 64<<10, lineChunks*64<<10
	l.opt = opt
	return l
}

// next makes the next writer, of the ring with number 1.
func (l *line) next() *Writer {
	l.t.Helper()
	var err error
	if l.opt.Journal, err = NewJournal(l.mem, lineChunks); err != nil {
		l.t.Fatal(err)
	}
	l.opt.Memory = l.memory
	w, err := New(l.opt)
	if err != nil {
		l.t.Fatal(err)
	}
	if l.memory == nil {
		if l.memory, err = w.Memory(); err != nil || l.memory == nil {
			l.t.Fatalf("%v, %v", l.memory, err)
		}
		l.t.Cleanup(func() { l.memory.Close() })
	}
	w.From(1, Drops{}, func(uint64) ([]byte, func()) { return l.lent, func() {} })
	w.Tick(noon, l.mono)
	return w
}

// kill ends the writer, and leaves what it has to the next one.
func (l *line) kill(w *Writer) {
	l.t.Helper()
	w.Abort()
	if err := w.Close(context.Background()); !errors.Is(err, errLeft) {
		l.t.Errorf("Close: %v", err)
	}
}

func (l *line) close(w *Writer) (all []File) {
	l.t.Helper()
	if err := w.Close(context.Background()); err != nil {
		l.t.Error(err)
	}
	for len(l.ended) > 0 {
		all = append(all, <-l.ended)
	}
	return all
}

// some returns n packets.
func some(n int) []pcap.Packet {
	pkts := make([]pcap.Packet, n)
	for i := range pkts {
		pkts[i] = pcap.Packet{Data: make([]byte, 1000), Length: 1000, Sec: uint32(noon.Unix())}
	}
	return pkts
}

// TestFailedStaysFailed: a file of which the disk did not take everything is never finished by the
// next writer, which has its chunks no more.
func TestFailedStaysFailed(t *testing.T) {
	l := newLine(t, Options{})
	gone := errors.New("no disk")
	l.opt.Here = func() error { return gone }
	w := l.next()
	w.Write(some(200))
	for !w.disk.failed.Load().isFailed() {
		time.Sleep(time.Millisecond)
	}
	w.Tick(noon, time.Second) // ends it
	if w.file != nil {
		t.Fatal("the file goes on")
	}
	if all := l.close(w); len(all) != 1 || all[0].Err == nil {
		t.Fatalf("%+v", all)
	}
	l.opt.Here = nil
	if left := l.opt.Journal.Unfinished(store.Name{}); len(left) > 0 {
		t.Errorf("the next writer goes on with %v", left)
	}
	if all := l.close(l.next()); len(all) > 0 {
		t.Errorf("the next writer has ended %+v", all)
	}
}

func (f *file) isFailed() bool { return f != nil && f.failed.Load() }

// TestDescribeResumed: a file goes on over a restart although another version of the program does,
// and ends where the interface is another one.
func TestDescribeResumed(t *testing.T) {
	base := pcap.Header{Format: pcap.PCAPNG, Interface: "eth0", LinkType: pcap.LinkTypeEthernet, MAC: []byte{2, 0, 0, 0, 0, 1}, Speed: 1e9, Application: "capd 1"}
	for name, c := range map[string]struct {
		change func(h *pcap.Header)
		ends   bool
	}{
		"same":      {func(*pcap.Header) {}, false},
		"version":   {func(h *pcap.Header) { h.Application = "capd 2" }, false},
		"speed":     {func(h *pcap.Header) { h.Speed = 0 }, false},
		"address":   {func(h *pcap.Header) { h.MAC = []byte{2, 0, 0, 0, 0, 2} }, true},
		"link type": {func(h *pcap.Header) { h.LinkType = pcap.LinkTypeRaw }, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t, Options{})
			l.opt.Header = base
			w := l.next()
			w.Describe(base)
			w.Write(some(10))
			w.Commit(1, 10, 0)
			l.kill(w)
			next := base
			c.change(&next)
			l.opt.Header = next
			l.opt.Header.Speed = 0 // it is not known before the device is open
			w = l.next()
			w.Describe(next)
			if ended := w.file == nil; ended != c.ends {
				t.Errorf("the file has ended: %t", ended)
			}
			w.Write(some(10))
			w.Commit(2, 10, 0)
			all := l.close(w)
			if want := map[bool]int{false: 1, true: 2}[c.ends]; len(all) != want {
				t.Errorf("%d files, want %d", len(all), want)
			}
		})
	}
}

// TestAbortLeaves: what an aborted writer has not committed is left to the next one, even if the disk
// hangs: frames of the ring that it has not taken are not lost.
func TestAbortLeaves(t *testing.T) {
	l := newLine(t, Options{})
	hang := make(chan struct{})
	l.opt.Here = func() error { <-hang; return nil }
	w := l.next()
	w.Write(some(100))
	if !w.Commit(1, 100, 0) {
		t.Fatal("not committed")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 { // more than all chunks hold
			w.Write(some(100))
		}
		if w.Commit(2, 1000, 0) {
			t.Error("committed after Abort")
		}
	}()
	for w.Stats().Waits == 0 {
		time.Sleep(time.Millisecond)
	}
	w.Abort()
	<-done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if at := l.opt.Journal.Position(); at.Block != 1 || at.Frames != 100 {
		t.Errorf("%+v", at)
	}
	close(hang)
	w.disk.writing.Wait() // a process that has ended writes nothing
	l.opt.Here = nil
	w = l.next()
	at := w.Position()
	w.Write(some(1000)[at.Taken:])
	w.Commit(2, 1000, 0)
	all := l.close(w)
	if s := w.Stats(); s.Written != 1100 || s.Accepted != 1100 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	if len(all) != 1 || all[0].Packets != 1100 || all[0].Err != nil {
		t.Errorf("%+v", all)
	}
}

// TestRenumberedResumed: a name that was taken costs the number of a later file neither now nor after
// a restart.
func TestRenumberedResumed(t *testing.T) {
	l := newLine(t, Options{})
	taken := store.Name{Interface: "eth0", Start: noon, Sequence: 1, Format: l.opt.Header.Format}
	if err := os.WriteFile(filepath.Join(l.opt.Directory, taken.String()), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := l.next()
	w.Write(some(70)) // a chunk, and a part
	for w.Stats().Written == 0 {
		time.Sleep(time.Millisecond)
	}
	l.kill(w)
	w = l.next()
	w.Rotate(ledger.ReasonSignal)
	w.Write(some(1))
	w.Commit(1, 71, 0)
	var numbers []uint64
	for _, f := range l.close(w) {
		numbers = append(numbers, f.Name.Sequence)
	}
	if !slices.Equal(numbers, []uint64{2, 3}) {
		t.Errorf("numbers of files: %v", numbers)
	}
}

// FuzzJournal: whatever a journal's memory holds, a writer that goes on with it neither panics nor
// hangs, and makes files of its own interface in its own directory alone.
func FuzzJournal(f *testing.F) {
	f.Add([]byte{1}, uint32(0))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255}, uint32(1))
	f.Fuzz(func(t *testing.T, damage []byte, at uint32) {
		l := newLine(t, Options{RotateSize: 200 << 10, Header: pcap.Header{Format: pcap.PCAPNG}})
		w := l.next()
		memory, pkts := lent(t, 30)
		l.lent = memory
		for n := range uint64(6) {
			if n != 4 || !w.Lend(Block{Number: 5, Frames: 30, Memory: memory, Release: func() {}}, pkts) {
				w.Write(some(100))
				w.Commit(n+1, 100, 0)
			}
		}
		w.AwaitLoans()
		l.kill(w)
		w.journal.loans[0].file.Store(w.journal.cursor().file.number) // as if it had not been written
		head := int(unsafe.Offsetof(journalHead{}.files)) + 8*int(unsafe.Sizeof(fileRecord{}))
		parts := l.mem[:head]
		if at%2 == 1 {
			parts = l.mem[int(unsafe.Sizeof(journalHead{})) : JournalSize(lineChunks)-mostLoans*int(unsafe.Sizeof(loanRecord{}))+1000]
		}
		for i, b := range damage {
			parts[(int(at/2)+i)%len(parts)] = b
		}
		w = l.next()
		w.Write(some(300))
		w.Tick(noon.Add(time.Second), time.Second)
		w.Commit(9, 300, 0)
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(l.opt.Directory)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "eth0-") {
				t.Errorf("a file %q", e.Name())
			}
		}
	})
}

// TestOutageOutlivesProcess: the next writer ends the gap of an outage in which the one before was killed, with the
// packets that were lost in it.
func TestOutageOutlivesProcess(t *testing.T) {
	l := newLine(t, Options{})
	var notes []ledger.Entry
	l.opt.Note = func(e ledger.Entry) {
		if e.Kind == ledger.KindGap {
			notes = append(notes, e)
		}
	}
	l.opt.Here = func() error { return store.ErrReplaced }
	w := l.next()
	w.Write(some(10))
	w.Commit(1, 10, 0)
	w.Rotate(ledger.ReasonSignal)
	for !w.disk.failed.Load().isFailed() {
		time.Sleep(time.Millisecond)
	}
	w.Tick(noon.Add(time.Second), time.Second)
	w.Write(some(25))
	w.Commit(2, 25, 0)
	if len(notes) != 1 || notes[0].Cause != ledger.CauseReplaced || !notes[0].End.IsZero() {
		t.Fatalf("%+v", notes)
	}
	l.kill(w)
	for range 2 { // the first one dies before it has written anything
		w = l.next()
		l.kill(w)
	}
	l.opt.Here = nil
	w = l.next()
	w.Write(some(5))
	w.Commit(3, 5, 0)
	for w.Stats().Suspended {
		w.Rotate(ledger.ReasonSignal)
		time.Sleep(time.Millisecond)
		l.mono += time.Second
		w.Tick(noon.Add(2*time.Second), l.mono)
	}
	l.close(w)
	if len(notes) != 2 || notes[1].Cause != ledger.CauseReplaced || !notes[1].Begin.Equal(notes[0].Begin) || notes[1].End.IsZero() || notes[1].Frames != 25 {
		t.Errorf("%+v", notes)
	}
}

// TestFailedIsTold: of a file that has failed when the writer is killed, the journal tells what is lost, until the next
// writer has begun.
func TestFailedIsTold(t *testing.T) {
	for _, ended := range []bool{false, true} {
		l := newLine(t, Options{})
		l.opt.Here = func() error { return store.ErrReplaced }
		hold := make(chan struct{}) // until then its line is not written
		l.opt.Finished = func(File) { <-hold }
		w := l.next()
		w.Write(some(200))
		w.Commit(1, 200, 0)
		for !w.disk.failed.Load().isFailed() {
			time.Sleep(time.Millisecond)
		}
		if ended {
			w.Rotate(ledger.ReasonSignal)
		}
		journal := l.opt.Journal
		all := journal.Failed(store.Name{Interface: "eth0"})
		if len(all) != 1 || all[0].Lost != 200 || all[0].Packets != 0 || all[0].Err == nil || all[0].Name.Interface != "eth0" {
			t.Fatalf("%+v", all)
		}
		if e := all[0].Entry(); e.Received != 200 || e.CapdDropped != 200 || e.Clean || e.Reason == "" || e.End.IsZero() {
			t.Errorf("%+v", e)
		}
		close(hold)
		l.kill(w)
		l.opt.Here = nil
		l.close(l.next())
		if all := journal.Failed(store.Name{}); len(all) > 0 {
			t.Errorf("told again: %+v", all)
		}
	}
}

// TestFailedIsToldOnce: a file that failed and whose report was passed on is not told by the next process.
func TestFailedIsToldOnce(t *testing.T) {
	l := newLine(t, Options{})
	l.opt.Here = func() error { return store.ErrReplaced }
	w := l.next()
	w.Write(some(200))
	w.Commit(1, 200, 0)
	if all := l.close(w); len(all) != 1 || all[0].Err == nil {
		t.Fatalf("%+v", all)
	}
	if all := l.opt.Journal.Failed(store.Name{}); len(all) > 0 {
		t.Errorf("told again: %+v", all)
	}
}
