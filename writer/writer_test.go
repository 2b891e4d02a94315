package writer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// noon is the start time of the tests' clocks.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// A rig drives a Writer with simulated clocks.
type rig struct {
	*Writer
	t     *testing.T
	dir   string
	wall  time.Time
	mono  time.Duration
	ended chan File
	next  uint32 // number of the next packet
}

func newRig(t *testing.T, opt Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), wall: noon, ended: make(chan File, 10000)}
	opt.Directory = r.dir
	opt.Header.Interface, opt.Header.LinkType = "eth0", pcap.LinkTypeEthernet
	opt.Finished = func(f File) { r.ended <- f }
	w, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	r.Writer = w
	r.pass(0)
	return r
}

// pass advances both clocks.
func (r *rig) pass(d time.Duration) { r.step(d, d) }

// step advances the clocks by different times.
func (r *rig) step(wall, mono time.Duration) {
	r.wall, r.mono = r.wall.Add(wall), r.mono+mono
	r.Tick(r.wall, r.mono)
}

// packets makes n numbered packets of size bytes at time at.
func (r *rig) packets(n, size int, at time.Time) []pcap.Packet {
	pkts := make([]pcap.Packet, n)
	for i := range pkts {
		data := bytes.Repeat([]byte{byte(r.next)}, size)
		binary.BigEndian.PutUint32(data, r.next)
		pkts[i] = pcap.Packet{Data: data, Length: uint32(size), Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}
		r.next++
	}
	return pkts
}

func (r *rig) write(n, size int) { r.Write(r.packets(n, size, r.wall)) }

// close ends the writer and returns the reports of its files.
func (r *rig) close() []File {
	r.t.Helper()
	if err := r.Close(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	close(r.ended)
	var all []File
	for f := range r.ended {
		all = append(all, f)
	}
	return all
}

// verify reads all files and checks that they hold every packet once, in order.
func (r *rig) verify(files []File) {
	r.t.Helper()
	var next uint32
	for _, f := range files {
		if f.Err != nil {
			r.t.Fatalf("%s: %v", f.Path, f.Err)
		}
		for _, n := range numbers(r.t, f.Path) {
			if n != next {
				r.t.Fatalf("%s: packet %d, want %d", f.Path, n, next)
			}
			next++
		}
	}
	if next != r.next {
		r.t.Fatalf("%d packets in files, want %d", next, r.next)
	}
	if s := r.Stats(); s.Written != uint64(r.next) || s.Lost != 0 {
		r.t.Fatalf("stats %+v, want %d written", s, r.next)
	}
}

// numbers reads the packets' numbers from a file, and fails if it is not whole.
func numbers(t *testing.T, path string) []uint32 {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	rd, err := pcap.NewReader(h)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var all []uint32
	for {
		p, err := rd.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		n := binary.BigEndian.Uint32(p.Data)
		for _, b := range p.Data[4:] {
			if b != byte(n) {
				t.Fatalf("%s: packet %d is damaged", path, n)
			}
		}
		all = append(all, n)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestRecordsCrossChunks: records of any size relative to the chunk are written correctly, direct
// and buffered, in both formats.
func TestRecordsCrossChunks(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		for _, noDirect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/%v", format, noDirect), func(t *testing.T) {
				r := newRig(t, Options{
					Header: pcap.Header{Format: format}, ChunkSize: 8192, PoolSize: 5 * 8192,
					NoDirect: noDirect, FlushInterval: time.Second,
				})
				for i := range 400 {
					r.write(1+i%7, 4+(i*997)%5000)
					if i%13 == 0 {
						r.write(1, 40000) // larger than a whole chunk
					}
					r.pass(300 * time.Millisecond)
				}
				r.verify(r.close())
			})
		}
	}
}

func TestRotateBySize(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		r := newRig(t, Options{
			Header: pcap.Header{Format: format, Snaplen: 2000}, RotateSize: 20000, ChunkSize: 8192, PoolSize: 4 * 8192,
		})
		for range 50 {
			r.write(64, 1000)
		}
		files := r.close()
		r.verify(files)
		if len(files) < 150 {
			t.Errorf("%v: %d files", format, len(files))
		}
		for i, f := range files {
			info, err := os.Stat(f.Path)
			if err != nil || info.Size() > 20000 || info.Size() != f.Size || info.Mode() != 0o640 {
				t.Fatalf("%s: %v, %v; reported %d", f.Path, info, err, f.Size)
			}
			if i < len(files)-1 && (info.Size() < 18500 || f.Reason != ledger.ReasonSize) {
				t.Fatalf("%s ended at %d by %s", f.Path, info.Size(), f.Reason)
			}
		}
	}
}

// TestRotateByTime: files begin at multiples of the interval, each packet goes into the file of its
// time, and an interval without packets leaves no file.
func TestRotateByTime(t *testing.T) {
	r := newRig(t, Options{RotateInterval: time.Minute, Grace: 200 * time.Millisecond})
	r.pass(30 * time.Second)
	r.write(2, 100)
	r.pass(30 * time.Second)                                       // past the boundary, but within the grace
	r.Write(r.packets(1, 100, noon.Add(59*time.Second+999999999))) // delayed in the ring
	r.Write(r.packets(1, 100, noon.Add(60*time.Second)))
	r.pass(3 * time.Minute)
	r.pass(time.Second)
	r.write(1, 100)
	files := r.close()
	r.verify(files)
	want := []string{
		"eth0-20260102T120000Z-000001.pcap", "eth0-20260102T120100Z-000002.pcap", "eth0-20260102T120400Z-000003.pcap",
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if files[0].Packets != 3 || !files[0].End.Equal(noon.Add(time.Minute)) || files[0].Reason != ledger.ReasonInterval {
		t.Errorf("first file: %+v", files[0])
	}
}

// TestRotateBehind: packets of an interval that has passed come out of the ring bit by bit, as after a
// restart or a stalled disk. They are in one file; it ends when no more come.
func TestRotateBehind(t *testing.T) {
	r := newRig(t, Options{RotateInterval: time.Minute, Grace: 200 * time.Millisecond})
	r.pass(65 * time.Second)
	for n := range 20 {
		r.Write(r.packets(1, 100, noon.Add(58*time.Second+time.Duration(n)*50*time.Millisecond)))
		r.pass(10 * time.Millisecond)
	}
	for range 40 { // the recorder looks at the clock, and nothing comes
		r.pass(10 * time.Millisecond)
	}
	r.write(1, 100)
	files := r.close()
	r.verify(files)
	if len(files) != 2 || files[0].Packets != 20 || !files[0].End.Equal(noon.Add(time.Minute)) || files[0].Reason != ledger.ReasonInterval {
		t.Errorf("%d files, the first is %+v", len(files), files[0])
	}
}

// TestRotateFirstPackets: packets of two intervals that come together after the boundary, as from the ring of
// a device that takes over, are in two files.
func TestRotateFirstPackets(t *testing.T) {
	r := newRig(t, Options{RotateInterval: time.Minute, Grace: 200 * time.Millisecond})
	r.Write(append(r.packets(2, 100, noon.Add(-time.Millisecond)), r.packets(3, 100, noon)...))
	files := r.close()
	r.verify(files)
	if len(files) != 2 || files[0].Packets != 2 || files[1].Packets != 3 {
		t.Errorf("%d files: %+v", len(files), files)
	}
}

// TestTimerRotates: a file ends when its interval is over, even if no packet arrives.
func TestTimerRotates(t *testing.T) {
	r := newRig(t, Options{RotateInterval: time.Second, KeepEmpty: true, FlushInterval: time.Second})
	r.write(1, 100)
	for range 35 {
		r.pass(100 * time.Millisecond)
	}
	files := r.close()
	r.verify(files)
	if len(files) != 4 {
		t.Errorf("%d files, want one a second", len(files))
	}
}

// TestClockSteps: no step of a clock rotates in a loop or stops rotation.
func TestClockSteps(t *testing.T) {
	for name, step := range map[string]time.Duration{
		"back an hour":    -time.Hour,
		"forward an hour": time.Hour,
		"to 1970":         time.Unix(5, 0).Sub(noon),
		"to 2100":         time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Sub(noon),
	} {
		for _, source := range []string{"system clock", "packets only"} {
			t.Run(name+"/"+source, func(t *testing.T) {
				r := newRig(t, Options{RotateInterval: 10 * time.Second})
				minute := func(packetStep time.Duration) int {
					before := r.sequence.Load()
					for range 60 {
						r.pass(time.Second)
						r.Write(r.packets(5, 100, r.wall.Add(packetStep)))
					}
					return int(r.sequence.Load() - before)
				}
				minute(0)
				var got int
				if source == "system clock" {
					r.step(step, 0)
					got = minute(0)
					r.step(-step, 0)
				} else {
					got = minute(step)
				}
				if got < 5 || got > 8 {
					t.Errorf("%d files in the minute after, want about 6", got)
				}
				if got := minute(0); got < 5 || got > 8 {
					t.Errorf("%d files in the minute after the step back, want about 6", got)
				}
				files := r.close()
				r.verify(files)
				for i := range files[1:] {
					if files[i+1].Name.Sequence != files[i].Name.Sequence+1 {
						t.Errorf("%s follows %s", files[i+1].Name, files[i].Name)
					}
				}
			})
		}
	}
}

// TestWriteKeepsNothing: after Write has returned, the packets' memory may be overwritten, as the
// kernel does with its ring.
func TestWriteKeepsNothing(t *testing.T) {
	r := newRig(t, Options{ChunkSize: 8192, PoolSize: 4 * 8192, RotateSize: 50_000})
	for range 2000 {
		pkts := r.packets(3, 300, r.wall)
		r.Write(pkts)
		for i := range pkts {
			clear(pkts[i].Data)
			pkts[i] = pcap.Packet{}
		}
	}
	r.verify(r.close())
}

// TestPartialIsReadable: after each flush the file holds only whole records, including the latest.
func TestPartialIsReadable(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		r := newRig(t, Options{Header: pcap.Header{Format: format}, ChunkSize: 8192, PoolSize: 4 * 8192, FlushInterval: time.Second})
		for range 40 {
			r.write(3, 700)
			r.pass(time.Second)
			await(t, func() bool { return r.Stats().Written == uint64(r.next) })
			path := r.Stats().File
			if !strings.HasSuffix(path, store.Partial) {
				t.Fatalf("writing to %s", path)
			}
			if got := numbers(t, path); len(got) != int(r.next) {
				t.Fatalf("%d packets in %s, want %d", len(got), path, r.next)
			}
		}
		r.verify(r.close())
	}
}

// await waits for a condition that background work brings about.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
	}
}

// TestNamesNeverCollide: sequence numbers go on, and existing files are left alone.
func TestNamesNeverCollide(t *testing.T) {
	r := newRig(t, Options{Sequence: 7})
	taken := []string{"eth0-20260102T120000Z-000008.pcap", "eth0-20260102T120000Z-000009.pcap" + store.Partial}
	for _, name := range taken {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte("foreign"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.write(1, 100)
	r.Rotate(ledger.ReasonSignal)
	r.write(1, 100)
	files := r.close()
	r.verify(files)
	// Two files that find their numbers taken at the same time may swap places.
	if a, b := files[0].Name.Sequence, files[1].Name.Sequence; min(a, b) != 10 || max(a, b) != 11 {
		t.Errorf("files %s and %s", files[0].Name, files[1].Name)
	}
	for _, name := range taken {
		if b, err := os.ReadFile(filepath.Join(r.dir, name)); err != nil || string(b) != "foreign" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	c, err := store.ReadContents(r.dir)
	if err != nil || c.Last[store.Lane{Interface: "eth0", Number: 0}] != 11 || c.Files != 3 || !slices.Equal(c.Partials, taken[1:]) {
		t.Errorf("contents %+v, %v", c, err)
	}
}

// TestDiskFails: packets that can't be kept are counted, and recording resumes by itself.
func TestDiskFails(t *testing.T) {
	r := newRig(t, Options{FlushInterval: time.Second, ChunkSize: 8192, PoolSize: 4 * 8192})
	hidden := r.dir + "-away"
	if err := os.Rename(r.dir, hidden); err != nil {
		t.Fatal(err)
	}
	r.write(10, 100)
	r.pass(time.Second)
	await(t, func() bool { r.pass(0); return r.Stats().Suspended })
	r.write(5, 100) // dropped
	if err := os.Rename(hidden, r.dir); err != nil {
		t.Fatal(err)
	}
	r.pass(firstPause)
	r.write(7, 100)
	r.pass(time.Second)
	await(t, func() bool { r.pass(0); return !r.Stats().Suspended })
	files := r.close()
	s := r.Stats()
	if s.Accepted != 22 || s.Lost != 15 || s.Written != 7 || s.Failures != 1 || s.Files != 1 {
		t.Errorf("stats %+v", s)
	}
	if got := numbers(t, files[1].Path); !slices.Equal(got, []uint32{15, 16, 17, 18, 19, 20, 21}) {
		t.Errorf("packets %v", got)
	}
	if left := names(t, r.dir); len(left) != 1 {
		t.Errorf("files %v", left)
	}
}

// TestFileFails: a file that fails in the middle ends after its last whole record on disk and keeps
// the suffix Partial, and the number of lost packets is exact.
func TestFileFails(t *testing.T) {
	r := newRig(t, Options{ChunkSize: 8192, PoolSize: 4 * 8192, NoDirect: true})
	r.write(30, 1000)
	await(t, func() bool { return r.Stats().FreeChunks == 3 })
	f := r.file
	f.io.Lock()
	f.plain.Close() // every write from here on fails
	f.plain, _ = os.Open(f.path())
	f.io.Unlock()
	r.write(30, 1000)
	await(t, func() bool { r.pass(0); return r.Stats().Suspended })
	r.pass(firstPause)
	r.write(3, 1000)
	files := r.close()
	s := r.Stats()
	if files[0].Err == nil || !strings.HasSuffix(files[0].Path, store.Partial) || files[0].Reason != ledger.ReasonError {
		t.Fatalf("first file: %+v", files[0])
	}
	if s.Accepted != 63 || s.Written+s.Lost != 63 || s.Lost != files[0].Lost || files[0].Packets+files[0].Lost != 60 {
		t.Errorf("stats %+v, first file %+v", s, files[0])
	}
	// The descriptor could not even be used to truncate: salvage has to find the file's end.
	h, err := os.Open(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	rd, err := pcap.NewReader(h)
	if err != nil {
		t.Fatal(err)
	}
	for i := range files[0].Packets {
		if p, err := rd.Next(); err != nil || uint64(binary.BigEndian.Uint32(p.Data)) != i {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}

// TestAbort: Abort ends a Writer's wait for the disk.
func TestAbort(t *testing.T) {
	r := newRig(t, Options{ChunkSize: 8192, PoolSize: 2 * 8192})
	r.disk.pool.grow()
	<-r.disk.pool.free
	held := r.disk.pool.take()
	done := make(chan struct{})
	go func() { r.write(100, 1000); close(done) }()
	await(t, func() bool { return r.Stats().Waits > 0 })
	r.Abort()
	<-done
	r.disk.pool.put(held)
	r.close()
	if s := r.Stats(); s.Accepted != 100 || s.Written+s.Lost != 100 || s.Lost == 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestCloseDeadline: files that can't be finished in time keep the suffix Partial.
func TestCloseDeadline(t *testing.T) {
	r := newRig(t, Options{})
	r.write(1, 100)
	ended := r.file
	ended.pending.Add(1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if got := names(t, r.dir); len(got) > 1 || len(got) == 1 && !strings.HasSuffix(got[0], store.Partial) {
		t.Errorf("files %v", got)
	}
	ended.pending.Done() // the disk works again: the background work ends
	<-r.disk.done
}

// TestWriteAllocates: Write allocates nothing in steady state.
func TestWriteAllocates(t *testing.T) {
	r := newRig(t, Options{NoDirect: true})
	pkts := r.packets(64, 200, noon)
	r.Write(pkts)
	if n := testing.AllocsPerRun(500, func() { r.Write(pkts); r.Tick(r.wall, r.mono) }); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
	r.close()
}
