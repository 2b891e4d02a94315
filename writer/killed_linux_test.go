package writer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/pcap"
	"capd/seal"
	"capd/store"

	"filippo.io/age"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// The writers of TestKilledWriter: their chunks are small, so that a kill meets several files and
// several writes of each.
const (
	killedChunk  = 64 << 10
	killedChunks = 8
	killedBlock  = 50 // packets of a block
)

// sample returns packet number n. Its size and its time depend on n, as those of a frame in a ring that
// is read again.
func sample(n uint64, began time.Time, buf []byte) pcap.Packet {
	size := 60 + int(n*2654435761%1400)
	binary.BigEndian.PutUint64(buf, n)
	now := began.Add(time.Duration(n) * 200 * time.Microsecond)
	return pcap.Packet{Sec: uint32(now.Unix()), Nsec: uint32(now.Nanosecond()), Length: uint32(size), Data: buf[:size]}
}

// A ring that outlives the process, as the kernel's: blocks of samples at places that are fixed by their
// numbers, and before each its number and its owner.
const (
	ringBlocks = 12
	ringBlock  = 128 << 10
	killedRing = ringBlocks * (ringBlock + align)
)

type testRing []byte

func mapKilledRing(t *testing.T) testRing {
	mem, err := unix.Mmap(5, 0, killedRing, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

// block returns the memory of the block with that number, the number of the block that is there, and who owns it: 1 is
// the process, 0 the kernel.
func (r testRing) block(n uint64) (mem []byte, is, owner *atomic.Uint64) {
	b := r[int(n%ringBlocks)*(ringBlock+align):]
	return b[align : align+ringBlock], (*atomic.Uint64)(unsafe.Pointer(&b[0])), (*atomic.Uint64)(unsafe.Pointer(&b[8]))
}

// next returns the block with that number and its packets. The one that was there must have been released, unless it is the
// same: then nobody has changed it.
func (r testRing) next(n uint64, epoch time.Time, pkts []pcap.Packet) []byte {
	mem, is, owner := r.block(n)
	for is.Load() != n && owner.Load() != 0 {
		runtime.Gosched()
	}
	fill := owner.Load() == 0
	at := 4
	for i := range pkts {
		at += 56
		number := (n-1)*killedBlock + uint64(i)
		var own [2048]byte
		p := sample(number, epoch, own[:])
		if fill {
			copy(mem[at:], p.Data)
		}
		p.Data = mem[at:][:len(p.Data):len(p.Data)]
		pkts[i] = p
		at = (at + len(p.Data) + 3) &^ 3
	}
	is.Store(n)
	owner.Store(1)
	return mem
}

func (r testRing) release(n uint64) {
	_, _, owner := r.block(n)
	owner.Store(0)
}

// giveBack gives the blocks up to n to the kernel, but those that are lent.
func (r testRing) giveBack(n uint64, lent []uint64) {
	for i := range uint64(ringBlocks) {
		if _, is, _ := r.block(i); is.Load() <= n && !slices.Contains(lent, is.Load()) {
			r.release(i)
		}
	}
}

func (r testRing) again(n uint64) (memory []byte, release func()) {
	mem, is, owner := r.block(n)
	if is.Load() != n || owner.Load() == 0 {
		return nil, nil
	}
	return mem, func() { r.release(n) }
}

// TestKilledWriterChild is the process that TestKilledWriter kills: a writer whose journal and chunks
// are descriptors 3 and 4, and whose packets never end. It goes on where the one before was killed.
func TestKilledWriterChild(t *testing.T) {
	dir := os.Getenv("CAPD_TEST_KILLED_WRITER")
	if dir == "" {
		t.Skip("runs as a process of TestKilledWriter")
	}
	mem, err := unix.Mmap(3, 0, JournalSize(killedChunks), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if last, err := strconv.ParseInt(os.Getenv("CAPD_TEST_STEP"), 10, 64); err == nil {
		var steps atomic.Int64
		step = func() {
			if steps.Add(1) == last {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
	}
	seconds, _ := strconv.ParseInt(os.Getenv("CAPD_TEST_BEGAN"), 10, 64)
	epoch := time.Unix(seconds, 0)
	journal, err := NewJournal(mem, killedChunks)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := os.OpenFile(filepath.Join(dir, "reports"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	recipients, digester := killedRecipients(t, dir), NewDigester()
	heldFor, mayHold = time.Hour, func(int) [memories]int { return [memories]int{1000, 1000, 1000} } // nothing reads the ring but this
	ring := mapKilledRing(t)
	ring.giveBack(journal.Position().Block, journal.Lent())
	report := func(f File) {
		line := fmt.Sprintf("%s %d %d %v", f.Name, f.Packets, f.Inversions, f.Err)
		if f.Digest != nil {
			line += fmt.Sprintf(" %d %s", f.Digest.Size, f.Digest.Root)
		}
		fmt.Fprintln(reports, line)
	}
	w, err := New(Options{
		Directory: dir, Header: pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		RotateSize: 5*killedChunk - 1000, RotateInterval: time.Second, FlushInterval: time.Millisecond, PoolSize: killedChunks * killedChunk, ChunkSize: killedChunk,
		Journal: journal, Memory: os.NewFile(4, "chunks"), Finished: report, Recipients: recipients,
		Digest: func() *Digester { return digester }, Grace: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range w.Completed() {
		report(f)
	}
	w.From(1, Drops{}, ring.again)
	at := w.Position()
	begin := at
	begun := time.Now()
	w.Tick(begun, 0)
	pkts := make([]pcap.Packet, killedBlock)
	for end := os.Getenv("CAPD_TEST_END") != ""; ; {
		number := at.Block + 1
		memory := ring.next(number, epoch, pkts)
		release := func() { ring.release(number) }
		if number%7 < 2 || !w.Lend(Block{number, killedBlock, memory, number%5 < 3, release}, pkts) {
			for rest := pkts[at.Taken:]; len(rest) > 0; {
				n := min(len(rest), 7)
				w.Write(rest[:n])
				rest = rest[n:]
			}
			w.Commit(number, killedBlock, 0)
			release()
		}
		if at = w.Position(); at.Block == begin.Block+1 {
			fmt.Print(".")
		}
		w.Tick(time.Now(), time.Since(begun))
		if end && at.Block > begin.Block+60 { // files that nobody has killed
			break
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestKilledWriter: however often a process is killed, the files that its successors end have every
// packet once, in order.
func TestKilledWriter(t *testing.T) {
	t.Run("any moment", func(t *testing.T) { testKilled(t, 60, nil, anyMoment) })
	// Most moments are alike: these are the ones between a store and what follows from it.
	t.Run("any step", func(t *testing.T) { testKilled(t, 150, nil, nil) })
}

// anyMoment kills a writer that may have committed something.
func anyMoment(cmd *exec.Cmd, out io.Reader) {
	if rand.IntN(3) > 0 {
		_, _ = out.Read(make([]byte, 1)) // it has committed
	}
	time.Sleep(time.Duration(rand.IntN(30_000)) * time.Microsecond)
	_ = cmd.Process.Kill()
}

// testKilled kills that many writers, by the function or at a random step. If there is a key, files are encrypted.
func testKilled(t *testing.T, kills int, key *age.X25519Identity, kill func(*exec.Cmd, io.Reader)) {
	if testing.Short() {
		kills /= 6
	}
	began := time.Now()
	dir := t.TempDir()
	var inherited []*os.File
	for _, size := range []int{JournalSize(killedChunks), killedChunks * roundUp(killedChunk+1<<20, hugePage), killedRing} {
		fd, err := unix.MemfdCreate("capd-test", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "memfd")
		defer f.Close()
		if err := f.Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
		inherited = append(inherited, f)
	}
	run := func(end bool) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriterChild$")
		cmd.Env = append(os.Environ(), "CAPD_TEST_KILLED_WRITER="+dir, fmt.Sprint("CAPD_TEST_BEGAN=", began.Unix()))
		switch {
		case end:
			cmd.Env = append(cmd.Env, "CAPD_TEST_END=1")
		case kill == nil:
			cmd.Env = append(cmd.Env, fmt.Sprint("CAPD_TEST_STEP=", 1+rand.IntN(150)))
		}
		if key != nil {
			cmd.Env = append(cmd.Env, "CAPD_TEST_RECIPIENT="+key.Recipient().String())
		}
		cmd.ExtraFiles = inherited
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !end && kill != nil {
			kill(cmd, out)
		}
		printed, _ := io.ReadAll(out)
		if err := cmd.Wait(); end && err != nil || strings.Contains(string(printed), "FAIL") {
			t.Fatalf("%v\n%s", err, printed)
		}
	}
	for range kills {
		run(false)
	}
	run(true)
	if b, _ := os.ReadFile(filepath.Join(dir, "reports")); testing.Verbose() {
		t.Logf("%s", b)
	}
	checkNumbers(t, dir, key)
	if key != nil {
		checkPieces(t, dir)
	}
}

// checkNumbers reads all files of the directory in their order, and the reports of the writers.
func checkNumbers(t *testing.T, dir string, key *age.X25519Identity) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []store.Name
	for _, e := range entries {
		n, state, err := store.Parse(e.Name())
		if err == nil && state != store.Finished {
			t.Errorf("%s is left", e.Name())
		} else if err == nil {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b store.Name) int { return int(a.Sequence) - int(b.Sequence) })
	reported := reportedPackets(t, dir)
	next, lent := uint64(0), 0
	for _, name := range names {
		first := next
		h, err := os.Open(filepath.Join(dir, name.String()))
		if err != nil {
			t.Fatal(err)
		}
		var src io.Reader = h
		if key != nil {
			if src, err = age.Decrypt(h, key); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		r, err := pcapgo.NewNgReader(src, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for {
			data, _, err := r.ReadPacketData()
			if err != nil {
				if err.Error() != "EOF" {
					t.Fatalf("%s: after %d packets: %v", name, next-first, err)
				}
				break
			}
			if n := binary.BigEndian.Uint64(data); n != next {
				t.Fatalf("%s: packet %d follows %d", name, n, int64(next)-1)
			}
			if want := sample(next, time.Unix(0, 0), make([]byte, 2048)); !bytes.Equal(data, want.Data) {
				t.Fatalf("%s: packet %d is not as it was", name, next)
			}
			next++
		}
		h.Close()
		if key == nil {
			lent += blocksOf(t, filepath.Join(dir, name.String()), 5) // interface statistics: the one at the end, and those that lead lent blocks
		}
		if n, ok := reported[name.String()]; !ok || n != next-first {
			t.Errorf("%s: %d packets, reported as %d", name, next-first, n)
		}
	}
	t.Logf("%d packets in %d files", next, len(names))
	if next < killedBlock || key == nil && lent < 2*len(names) {
		t.Errorf("%d packets, %d statistics blocks: nothing was recorded, or lent", next, lent)
	}
}

// blocksOf counts the blocks of a kind in a file of pcapng.
func blocksOf(t *testing.T, path string, kind uint32) (n int) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 12 {
		if binary.LittleEndian.Uint32(b) == kind {
			n++
		}
		b = b[min(len(b), max(12, int(binary.LittleEndian.Uint32(b[4:])))):]
	}
	return n
}

// reportedPackets returns how many packets each file has by its report.
func reportedPackets(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "reports"))
	if err != nil {
		t.Fatal(err)
	}
	all, digests := make(map[string]uint64), 0
	for line := range strings.Lines(string(b)) {
		var name, why string
		var packets, inversions uint64
		if _, err := fmt.Sscan(line, &name, &packets, &inversions, &why); err != nil || why != "<nil>" || inversions > 0 {
			t.Errorf("report %q: %v", line, err)
		}
		all[name] = packets
		if root := strings.Fields(line); len(root) == 6 {
			digests++
			if got, err := seal.DigestFile(filepath.Join(dir, name)); err != nil || fmt.Sprint(got.Size, " ", got.Root) != root[4]+" "+root[5] {
				t.Errorf("%v, on the disk %v: %v", root, got, err)
			}
		}
	}
	if t.Logf("%d of %d files have digests", digests, len(all)); digests == 0 {
		t.Error("no file has a digest")
	}
	return all
}
