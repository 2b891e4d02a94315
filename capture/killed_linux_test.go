package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/capture"
	"capd/internal/testnet"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// A survivor is what outlives the processes of TestKilled, in a memfd.
type survivor struct {
	account capture.Account
	at      [2]capture.Position
	valid   uint32 // atomic: which position
	lives   uint32 // atomic: processes that have begun to read
	blocks  [1 << 16]run32
}

// A run32 are consecutive numbers of frames.
type run32 struct{ first, n uint32 }

func (s *survivor) position() capture.Position { return s.at[atomic.LoadUint32(&s.valid)%2] }

// record writes down what is in the batch and then, at once, that this is so.
func (s *survivor) record(b *capture.Batch) error {
	at := s.position()
	if b.Block() != at.Block+1 {
		return fmt.Errorf("block %d after block %d", b.Block(), at.Block)
	}
	var r run32
	var pkts [64]pcap.Packet
	for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
		for _, p := range pkts[:k] {
			n := binary.BigEndian.Uint32(p.Data[14:])
			if r.n == 0 {
				r.first = n
			}
			if n != r.first+r.n {
				return fmt.Errorf("frame %d after %d", n, r.first+r.n-1)
			}
			r.n++
		}
	}
	if int(r.n) != b.Len() || b.Err() != nil {
		return fmt.Errorf("%d frames of %d, %w", r.n, b.Len(), b.Err())
	}
	s.blocks[b.Block()] = r
	next := (atomic.LoadUint32(&s.valid) + 1) % 2
	s.at[next] = capture.Position{Block: b.Block(), Frames: at.Frames + uint64(b.Len())}
	atomic.StoreUint32(&s.valid, next)
	return nil
}

func mapSurvivor(t *testing.T, f *os.File) *survivor {
	t.Helper()
	mem, err := unix.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(survivor{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	return (*survivor)(unsafe.Pointer(&mem[0]))
}

func killedConfig() capture.Config {
	return capture.Config{Interface: "a1", BlockSize: 64 << 10, RingSize: 32 << 20, BlockTimeout: 10, Direction: capture.In}
}

// isVictim is an environment variable of the processes that TestKilled kills.
const isVictim = "CAPD_KILLED"

// TestKilled reads a ring by processes without privilege, each of which is killed at a random moment
// while frames arrive. No frame is missing, none was recorded twice, and the counters are exact.
func TestKilled(t *testing.T) {
	if os.Getenv(isVictim) != "" {
		victim(t)
	}
	testnet.Veth(t, "a0", "a1", 1500)
	fd, err := unix.MemfdCreate("survivor", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memory := os.NewFile(uintptr(fd), "survivor")
	defer memory.Close()
	if err := memory.Truncate(int64(unsafe.Sizeof(survivor{}))); err != nil {
		t.Fatal(err)
	}
	s := mapSurvivor(t, memory)
	c := killedConfig()
	c.Account = &s.account
	d, err := capture.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := d.File()
	if err = errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	var stop atomic.Bool
	sent := make(chan uint32)
	go func() {
		to, n := testnet.NewSender(t, "a0"), uint32(0)
		for ; !stop.Load(); time.Sleep(4 * time.Millisecond) {
			for range 100 {
				to.Send(numbered(100, n))
				n++
			}
		}
		sent <- n
	}()
	const kills = 50
	for range kills {
		kill(t, s, ring, memory)
	}
	stop.Store(true)
	checkSurvivor(t, s, ring, <-sent)
}

// kill starts a process, and kills it some time after it has begun to read.
func kill(t *testing.T, s *survivor, files ...*os.File) {
	t.Helper()
	lives := atomic.LoadUint32(&s.lives)
	var out bytes.Buffer
	v := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
	v.Env = append(os.Environ(), isVictim+"=1")
	v.Stdout, v.Stderr, v.ExtraFiles = &out, &out, files
	v.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- v.Wait() }()
	for atomic.LoadUint32(&s.lives) == lives {
		select {
		case err := <-ended:
			t.Fatalf("%v\n%s", err, &out)
		case <-time.After(time.Millisecond):
		}
	}
	time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond)))) // any moment will do
	_ = v.Process.Kill()
	err := <-ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v\n%s", err, &out)
	}
}

// victim adopts the ring and records until it is killed.
func victim(t *testing.T) {
	if _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != unix.EPERM {
		t.Fatalf("the process has privilege: %v", err)
	}
	ring, memory := os.NewFile(3, "ring"), os.NewFile(4, "survivor")
	s := mapSurvivor(t, memory)
	c := killedConfig()
	c.Account = &s.account
	d, err := capture.Adopt(c, ring, s.position())
	if err != nil {
		t.Fatal(err)
	}
	h, err := d.Attach()
	if err != nil || d.Adopted() != (capture.Adopted{}) {
		t.Fatalf("%+v, %v", d.Adopted(), err)
	}
	atomic.AddUint32(&s.lives, 1)
	for {
		b, err := h.Next(-1)
		if err == nil {
			err = s.record(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Stats(); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
}

// checkSurvivor reads what is left, and checks that all frames were recorded once.
func checkSurvivor(t *testing.T, s *survivor, ring *os.File, sent uint32) {
	t.Helper()
	c := killedConfig()
	c.Account = &s.account
	d, err := capture.Adopt(c, ring, s.position())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := h.Next(patience)
		if errors.Is(err, capture.ErrClosed) {
			break
		}
		if err == nil {
			err = s.record(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	at, next := s.position(), uint32(0)
	for n := range at.Block {
		r := s.blocks[n+1]
		if r.first != next {
			t.Fatalf("block %d begins with frame %d, want %d", n+1, r.first, next)
		}
		next += r.n
	}
	st := wantCounts(t, h, int(at.Frames))
	if next != sent || at.Frames != uint64(sent) || st.Received != uint64(sent) || st.Dropped != 0 {
		t.Errorf("%d frames recorded, position %+v, stats %+v, of %d", next, at, st, sent)
	}
	t.Logf("%d frames in %d blocks, counters inexact: %t", next, at.Block, st.Inexact)
}
