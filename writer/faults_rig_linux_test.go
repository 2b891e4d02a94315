package writer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"capd/crypt"
	"capd/internal/testdisk"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"

	"filippo.io/age"
)

// noon is the start time of the tests' clocks.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// longestPause is the longest time that a writer waits after a failure.
const longestPause = 30 * time.Second

// A bench drives a Writer on a faulty disk, with simulated clocks.
type bench struct {
	*writer.Writer
	t     *testing.T
	disk  *testdisk.Disk // nil on a real file system
	files string         // directory of the files, accessed without the faults
	wall  time.Time
	mono  time.Duration
	ended chan writer.File
	notes chan ledger.Entry
	next  uint32 // number of the next packet
}

// newBench makes a Writer on a testdisk.Disk, with few and small chunks.
func newBench(t *testing.T, opt writer.Options) *bench {
	t.Helper()
	d := testdisk.New(t)
	b := newBenchIn(t, d.Dir, opt)
	b.disk, b.files = d, d.Backing
	return b
}

// newBenchIn makes a Writer in any directory.
func newBenchIn(t *testing.T, dir string, opt writer.Options) *bench {
	t.Helper()
	b := &bench{t: t, files: dir, wall: noon, ended: make(chan writer.File, 100000), notes: make(chan ledger.Entry, 100000)}
	opt.Directory = dir
	opt.Header.Interface, opt.Header.LinkType = "eth0", pcap.LinkTypeEthernet
	opt.Finished = func(f writer.File) { b.ended <- f }
	opt.Note = func(e ledger.Entry) { b.notes <- e }
	opt.FlushInterval = time.Second
	if opt.ChunkSize == 0 {
		opt.ChunkSize, opt.PoolSize = 8192, 4*8192
	}
	w, err := writer.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	b.Writer = w
	b.pass(0)
	return b
}

// pass advances the clocks.
func (b *bench) pass(d time.Duration) {
	b.wall, b.mono = b.wall.Add(d), b.mono+d
	b.Tick(b.wall, b.mono)
}

// fill is the byte that fills packet n after its number.
func fill(n uint32) byte { return byte(n*7 + 1) }

// write writes n packets of size bytes.
func (b *bench) write(n, size int) {
	pkts := make([]pcap.Packet, n)
	for i := range pkts {
		data := make([]byte, size)
		binary.BigEndian.PutUint32(data, b.next)
		for j := 4; j < size; j++ {
			data[j] = fill(b.next)
		}
		pkts[i] = pcap.Packet{Data: data, Length: uint32(size), Sec: uint32(b.wall.Unix())}
		b.next++
	}
	b.Write(pkts)
}

// promptly fails the test if f does not return.
func (b *bench) promptly(what string, f func()) {
	b.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		b.t.Fatalf("%s does not return: %+v", what, b.Stats())
	}
}

// await waits for a condition that the disk's goroutines bring about.
func (b *bench) await(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited too long for %s: %+v", what, b.Stats())
		}
	}
}

// flush waits until all packets are on the disk.
func (b *bench) flush() {
	b.t.Helper()
	b.pass(0) // brings the counters up to date
	want := b.Stats().Accepted - b.Stats().Lost
	b.await("flush", func() bool { b.pass(time.Second); return b.Stats().Written >= want })
}

// recover waits until the writer records again.
func (b *bench) recover() {
	b.t.Helper()
	b.await("recording", func() bool {
		b.pass(longestPause)
		b.write(1, 100)
		return !b.Stats().Suspended
	})
}

// close ends the writer and returns its reports of files.
func (b *bench) close() []writer.File {
	b.t.Helper()
	b.promptly("Close", func() {
		if err := b.Close(context.Background()); err != nil {
			b.t.Error(err)
		}
	})
	return b.reports()
}

// reports returns the reports of files that ended so far.
func (b *bench) reports() []writer.File {
	var all []writer.File
	for len(b.ended) > 0 {
		all = append(all, <-b.ended)
	}
	return all
}

// account checks, after Close, that the counters add up and agree with the disk: each packet at
// most once, in order, in whole files.
func (b *bench) account(files []writer.File) {
	b.t.Helper()
	s := b.Stats()
	if s.Accepted != uint64(b.next) || s.Written+s.Lost != s.Accepted || s.FreeChunks != s.Chunks {
		b.t.Errorf("%d packets: %+v", b.next, s)
	}
	var packets, lost, failed, size uint64
	last, mine := -1, make(map[string]bool)
	for _, f := range files {
		packets, lost, size = packets+f.Packets, lost+f.Lost, size+uint64(f.Size)
		if f.Err != nil {
			failed++
		}
		path := filepath.Join(b.files, filepath.Base(f.Path))
		if f.Packets == 0 && f.Err != nil {
			if info, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				b.t.Errorf("%s has no packet: %v, %v: %+v", path, info, err, f)
			}
			continue
		}
		mine[filepath.Base(path)] = true
		got := numbers(b.t, path)
		if uint64(len(got)) != f.Packets {
			b.t.Errorf("%s has %d packets: %+v", path, len(got), f)
		}
		for _, n := range got {
			if int(n) <= last {
				b.t.Fatalf("%s: packet %d after %d", path, n, last)
			}
			last = int(n)
		}
	}
	for len(b.notes) > 0 {
		e := <-b.notes
		lost += e.CapdDropped
		if e.Kind == ledger.KindGap && (e.Frames != e.CapdDropped || e.Received != e.Frames || e.Frames > 0 && e.End.IsZero()) {
			b.t.Errorf("gap %+v", e)
		}
	}
	if packets != s.Written || lost != s.Lost || failed != s.Failures || uint64(len(files)) != s.Files+s.Failures {
		b.t.Errorf("ledger: %d packets, %d lost, %d failed, %d in all: %+v", packets, lost, failed, len(files), s)
	}
	for _, e := range entries(b.t, b.files) {
		if !mine[e] {
			b.t.Errorf("%s is left behind", e)
		}
	}
}

// rigKey decrypts the encrypted files of these tests.
var rigKey = sync.OnceValue(func() *age.X25519Identity {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return id
})

// rigRecipients has what encrypts for rigKey.
func rigRecipients(t *testing.T) *crypt.Recipients {
	t.Helper()
	r, err := crypt.ParseRecipients([]string{rigKey().Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// entries lists a directory without what mkfs put into it.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		if e.Name() != "lost+found" {
			names = append(names, e.Name())
		}
	}
	return names
}

// numbers reads the packets' numbers from a file, and fails if it is not whole
// to its last byte.
func numbers(t *testing.T, path string) []uint32 {
	t.Helper()
	all, err := readable(path)
	if err != io.EOF && !(errors.Is(err, crypt.ErrCut) && strings.HasSuffix(path, store.Partial)) { // an encrypted file that failed ends with a whole piece
		t.Errorf("%s: after %d packets: %v", path, len(all), err)
	}
	return all
}

// readable reads the packets' numbers up to an error, which is io.EOF if the file is whole.
func readable(path string) ([]uint32, error) {
	h, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var src io.Reader = h
	if strings.Contains(path, ".age") {
		info, err := h.Stat()
		if err != nil {
			return nil, err
		}
		plain, err := crypt.NewReader(h, info.Size(), crypt.Identities{rigKey()})
		if err != nil {
			return nil, err
		}
		src = io.NewSectionReader(plain, 0, 1<<40)
	}
	r, err := pcap.NewReader(src)
	if err != nil {
		return nil, err
	}
	var all []uint32
	for {
		p, err := r.Next()
		if err != nil {
			return all, err
		}
		n := binary.BigEndian.Uint32(p.Data)
		if strings.Trim(string(p.Data[4:]), string([]byte{fill(n)})) != "" {
			return all, errors.New("damaged packet")
		}
		all = append(all, n)
	}
}
