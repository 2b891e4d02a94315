package writer

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"

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
	report := func(f File) {
		fmt.Fprintf(reports, "%s %d %d %v\n", f.Name, f.Packets, f.Inversions, f.Err)
	}
	w, err := New(Options{
		Directory: dir, Header: pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		RotateSize: 5*killedChunk - 1000, RotateInterval: time.Second, FlushInterval: time.Millisecond, PoolSize: killedChunks * killedChunk, ChunkSize: killedChunk,
		Journal: journal, Memory: os.NewFile(4, "chunks"), Finished: report,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range w.Completed() {
		report(f)
	}
	w.From(1, Drops{})
	at := w.Position()
	begin := at
	begun := time.Now()
	w.Tick(begun, 0)
	pkts, buf := make([]pcap.Packet, killedBlock), make([]byte, 2048*killedBlock)
	for end := os.Getenv("CAPD_TEST_END") != ""; ; {
		first := at.Block * killedBlock
		for i := range pkts {
			pkts[i] = sample(first+uint64(i), epoch, buf[2048*i:])
		}
		rest := pkts[at.Taken:]
		for len(rest) > 0 {
			n := min(len(rest), 7)
			w.Write(rest[:n])
			rest = rest[n:]
		}
		w.Commit(at.Block+1, killedBlock, 0)
		if at = w.Position(); at.Block == begin.Block+1 {
			fmt.Print(".")
		}
		w.Tick(time.Now(), time.Since(begun))
		if end {
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
	t.Run("any moment", func(t *testing.T) {
		testKilled(t, 60, func(cmd *exec.Cmd, out io.Reader) {
			if rand.IntN(3) > 0 {
				_, _ = out.Read(make([]byte, 1)) // it has committed
			}
			time.Sleep(time.Duration(rand.IntN(30_000)) * time.Microsecond)
			_ = cmd.Process.Kill()
		})
	})
	// Most moments are alike: these are the ones between a store and what follows from it.
	t.Run("any step", func(t *testing.T) { testKilled(t, 150, nil) })
}

// testKilled kills that many writers, by the function or at a random step.
func testKilled(t *testing.T, kills int, kill func(*exec.Cmd, io.Reader)) {
	if testing.Short() {
		kills /= 6
	}
	began := time.Now()
	dir := t.TempDir()
	var inherited []*os.File
	for _, size := range []int{JournalSize(killedChunks), killedChunks * roundUp(killedChunk+1<<20, hugePage)} {
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
	checkNumbers(t, dir)
}

// checkNumbers reads all files of the directory in their order, and the reports of the writers.
func checkNumbers(t *testing.T, dir string) {
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
	next := uint64(0)
	for _, name := range names {
		first := next
		h, err := os.Open(filepath.Join(dir, name.String()))
		if err != nil {
			t.Fatal(err)
		}
		r, err := pcapgo.NewNgReader(h, pcapgo.DefaultNgReaderOptions)
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
			next++
		}
		h.Close()
		if n, ok := reported[name.String()]; !ok || n != next-first {
			t.Errorf("%s: %d packets, reported as %d", name, next-first, n)
		}
	}
	t.Logf("%d packets in %d files", next, len(names))
	if next < killedBlock {
		t.Error("nothing was recorded")
	}
}

// reportedPackets returns how many packets each file has by its report.
func reportedPackets(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "reports"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]uint64)
	for line := range strings.Lines(string(b)) {
		var name, why string
		var packets, inversions uint64
		if _, err := fmt.Sscan(line, &name, &packets, &inversions, &why); err != nil || why != "<nil>" || inversions > 0 {
			t.Errorf("report %q: %v", line, err)
		}
		all[name] = packets
	}
	return all
}
