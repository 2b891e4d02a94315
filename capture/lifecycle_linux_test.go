package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"capd/capture"
	"capd/internal/testnet"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// numbered returns a frame that carries the number.
func numbered(size int, n uint32) []byte {
	f := frame(size)
	binary.BigEndian.PutUint32(f[14:], n)
	return f
}

func number(p got) uint32 { return binary.BigEndian.Uint32(p.data[14:]) }

// TestOverrun checks that sent = read + dropped, exactly, if more frames than the ring holds arrive
// before the first is read.
func TestOverrun(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.RingSize, c.BlockSize = "a1", 256<<10, 64<<10
		d, h := open(t, c)
		if n := d.RingSize(); h.Mode() == capture.ModeRing && n != c.RingSize || h.Mode() == capture.ModeSocket && n != 0 {
			t.Errorf("%s of %d bytes", h.Mode(), n)
		}
		s := testnet.NewSender(t, "a0")
		const sent = 4000
		var last capture.Stats
		for i := range uint32(sent) {
			s.Send(numbered(1000, i))
			if i%500 != 0 {
				continue
			}
			st, err := h.Stats()
			if err != nil || st.Received < last.Received || st.Dropped < last.Dropped || st.Freezes < last.Freezes {
				t.Fatalf("stats went from %+v to %+v, %v", last, st, err)
			}
			last = st
		}
		all := stopAndDrain(t, h)
		st, err := h.Stats()
		// On a busy machine the veth end itself drops some, before the ring.
		if err != nil || st.Received+st.NICDiscarded != sent || st.Dropped == 0 || uint64(len(all))+st.Dropped != st.Received {
			t.Fatalf("sent %d, read %d, stats %+v, %v", sent, len(all), st, err)
		}
		if h.Mode() == capture.ModeRing && (st.Freezes == 0 || last.FilledBlock != 4 || st.FilledBlock != 0 || st.RingBlocks != 4) {
			t.Errorf("stats of the full ring %+v, after it %+v", last, st)
		}
		for i := 1; i < len(all); i++ {
			if number(all[i]) <= number(all[i-1]) {
				t.Fatalf("packet %d after %d", number(all[i]), number(all[i-1]))
			}
		}
	})
}

// TestAttachToFullRing checks that reading starts with the oldest frame of a ring that was full
// before the handle was attached.
func TestAttachToFullRing(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.RingSize, c.BlockSize = "a1", 256<<10, 64<<10
		d, err := capture.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		s := testnet.NewSender(t, "a0")
		const sent = 600
		for i := range uint32(sent) {
			s.Send(numbered(1000, i))
		}
		h, err := d.Attach()
		if err != nil {
			t.Fatal(err)
		}
		all := stopAndDrain(t, h)
		st, err := h.Stats()
		if err != nil || st.Received != sent || st.Dropped == 0 || uint64(len(all))+st.Dropped != sent {
			t.Errorf("read %d, stats %+v, %v", len(all), st, err)
		}
		for i, p := range all {
			if number(p) != uint32(i) {
				t.Fatalf("packet %d has number %d", i, number(p))
			}
		}
	})
}

// TestReattach checks that no frame is lost or duplicated between one handle and the next, while
// the ring wraps.
func TestReattach(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.RingSize, c.BlockSize, c.BlockTimeout = "a1", 1<<20, 32<<10, 50
		d, err := capture.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		s := testnet.NewSender(t, "a0")
		var sent uint32
		send := func(n int) {
			for range n {
				s.Send(numbered(1000, sent))
				sent++
			}
		}
		var all []got
		for round := range 40 {
			send(50 + round) // up to three blocks, so that the frames not read yet fit the ring
			h, err := d.Attach()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Attach(); !errors.Is(err, capture.ErrAttached) {
				t.Fatalf("second handle: %v", err)
			}
			for len(all)+100 < int(sent) {
				b, err := h.Next(patience)
				if err != nil || b == nil {
					t.Fatalf("round %d: %v, %v", round, b, err)
				}
				all = drain(t, b, all)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
		h, err := d.Attach()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, stopAndDrain(t, h)...)
		if len(all) != int(sent) {
			t.Errorf("read %d of %d", len(all), sent)
		}
		for i, p := range all {
			if number(p) != uint32(i) {
				t.Fatalf("packet %d has number %d", i, number(p))
			}
		}
		if st, err := h.Stats(); err != nil || st.Received != uint64(sent) || st.Dropped != 0 {
			t.Errorf("stats %+v, %v", st, err)
		}
	})
}

// TestStopIsExact checks Stop while frames keep arriving: all frames that the kernel counted are
// read, and no further frame is counted.
func TestStopIsExact(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		for range 5 {
			_, h := open(t, c)
			s := testnet.NewSender(t, "a0")
			quit, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-quit:
						return
					default:
						s.Send(frame(200))
						if _, err := h.Stats(); err != nil { // Stats may be called from any goroutine
							t.Error(err)
						}
					}
				}
			}()
			all, err := collect(t, h, 500)
			if err != nil {
				t.Error(err)
			}
			all = append(all, stopAndDrain(t, h)...)
			close(quit)
			<-done
			st, err := h.Stats()
			if err != nil || uint64(len(all)) != st.Received-st.Dropped {
				t.Errorf("read %d, stats %+v, %v", len(all), st, err)
			}
			if _, err := h.Next(0); !errors.Is(err, capture.ErrClosed) {
				t.Errorf("Next once more: %v", err)
			}
			h.Close()
		}
	})
}

// cpu returns the processor time of the calling thread.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestDownAndUp(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		_, h := open(t, c)
		for range 2 {
			testnet.SetUp(t, "a1", false)
			if _, err := h.Next(patience); !errors.Is(err, capture.ErrDown) {
				t.Fatalf("down: %v, want ErrDown", err)
			}
			quiet(t, h)
			testnet.Rename(t, "a1", "b1")
			testnet.SetUp(t, "b1", true)
			testnet.Await(t, "a0")
			f := frame(100)
			testnet.NewSender(t, "a0").Send(f)
			all, err := collect(t, h, 1)
			if err != nil {
				t.Fatal(err)
			}
			same(t, all, [][]byte{f})
			testnet.SetUp(t, "b1", false)
			if _, err := h.Next(patience); !errors.Is(err, capture.ErrDown) {
				t.Fatalf("down again: %v, want ErrDown", err)
			}
			testnet.Rename(t, "b1", "a1")
			testnet.SetUp(t, "a1", true)
			testnet.Await(t, "a0")
		}
	})
}

// quiet checks that Next waits without spinning.
func quiet(t *testing.T, h *capture.Handle) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const wait = 400 * time.Millisecond
	start, before := time.Now(), cpu(t)
	b, err := h.Next(wait)
	if b != nil || err != nil || time.Since(start) < wait {
		t.Fatalf("while nothing comes: %v, %v after %v", b, err, time.Since(start))
	}
	if used := cpu(t) - before; used > wait/4 {
		t.Errorf("while nothing comes: computed for %v of %v", used, wait)
	}
}

// TestHeldDoesNotSpin checks that Next sleeps while the kernel has no more frames but the block
// that it filled last is held: poll(2) reports the ring as readable all that time.
func TestHeldDoesNotSpin(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		_, h := open(t, c)
		testnet.NewSender(t, "a0").Send(frame(100))
		b, err := h.Next(patience)
		if err != nil || b == nil {
			t.Fatal(b, err)
		}
		defer b.Release()
		quiet(t, h)
	})
}

func TestOpenWhileDown(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		testnet.SetUp(t, "a1", false)
		c.Interface = "a1"
		_, h := open(t, c)
		if _, err := h.Next(patience); !errors.Is(err, capture.ErrDown) {
			t.Fatalf("%v, want ErrDown", err)
		}
		if all := stopAndDrain(t, h); len(all) != 0 {
			t.Errorf("%d packets", len(all))
		}
	})
}

// TestRemoved checks that frames received before an interface was removed are read first:
// immediately, or after Next has returned ErrDown.
func TestRemoved(t *testing.T) {
	for _, downFirst := range []bool{false, true} {
		bothModes(t, func(t *testing.T, c capture.Config) {
			testnet.Veth(t, "a0", "a1", 1500)
			c.Interface = "a1"
			_, h := open(t, c)
			s := testnet.NewSender(t, "a0")
			for i := range uint32(100) {
				s.Send(numbered(100, i))
			}
			var all []got
			var err error
			if downFirst {
				testnet.SetUp(t, "a1", false)
				if all, err = collect(t, h, -1); !errors.Is(err, capture.ErrDown) {
					t.Fatalf("down: %v", err)
				}
			}
			testnet.Remove(t, "a1")
			more, err := collect(t, h, -1)
			if errors.Is(err, capture.ErrDown) && !downFirst { // Next was called between the two steps of the removal
				all = append(all, more...)
				more, err = collect(t, h, -1)
			}
			if all = append(all, more...); !errors.Is(err, capture.ErrGone) || len(all) != 100 {
				t.Fatalf("%d packets, %v; want 100, ErrGone", len(all), err)
			}
			if err := h.Stop(); err != nil {
				t.Error("Stop:", err)
			}
			if _, err := h.Next(0); !errors.Is(err, capture.ErrGone) {
				t.Errorf("Next once more: %v", err)
			}
		})
	}
}

func TestCloseUnblocksNext(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		for _, closing := range []func(*capture.Device, *capture.Handle) error{
			func(_ *capture.Device, h *capture.Handle) error { return h.Close() },
			func(d *capture.Device, _ *capture.Handle) error { return d.Close() },
			func(_ *capture.Device, h *capture.Handle) error { return h.Stop() },
		} {
			d, h := open(t, c)
			waiting, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				close(waiting)
				_, err := h.Next(-1)
				ended <- err
			}()
			<-waiting
			if err := closing(d, h); err != nil {
				t.Error(err)
			}
			select {
			case err := <-ended:
				if !errors.Is(err, capture.ErrClosed) {
					t.Errorf("%v, want ErrClosed", err)
				}
			case <-time.After(patience):
				t.Fatal("Next did not return")
			}
			h.Close()
			d.Close()
		}
	})
}

// TestBatchOutlivesClose checks that packets stay readable until Release, even if the handle and
// its device are closed before.
func TestBatchOutlivesClose(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		d, h := open(t, c)
		f := frame(100)
		testnet.NewSender(t, "a0").Send(f)
		b, err := h.Next(patience)
		if err != nil || b == nil {
			t.Fatal(b, err)
		}
		if err := errors.Join(h.Close(), d.Close(), h.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
		var pkts [4]pcap.Packet
		if n := b.Read(pkts[:]); n != 1 || !bytes.Equal(pkts[0].Data, f) {
			t.Errorf("read %d packets, %x", n, head(pkts[0].Data))
		}
		b.Release()
		b.Release()
		if n := b.Read(pkts[:]); n != 0 {
			t.Errorf("read %d packets after Release", n)
		}
		if _, err := h.Next(-1); !errors.Is(err, capture.ErrClosed) {
			t.Errorf("Next: %v", err)
		}
		if st, err := h.Stats(); err != nil || st.Received != 1 {
			t.Errorf("stats after Close: %+v, %v", st, err)
		}
	})
}

func TestNextTimesOut(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a1"
		_, h := open(t, c)
		for _, timeout := range []time.Duration{0, time.Microsecond, 30 * time.Millisecond} {
			start := time.Now()
			if b, err := h.Next(timeout); b != nil || err != nil || time.Since(start) < timeout {
				t.Errorf("timeout %v: %v, %v after %v", timeout, b, err, time.Since(start))
			}
		}
	})
}

func TestOpenErrors(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	for _, c := range []struct {
		config capture.Config
		want   error
	}{
		{capture.Config{Interface: "none"}, capture.ErrNoInterface},
		{capture.Config{Interface: "a-name-that-is-too-long"}, capture.ErrNoInterface},
		{capture.Config{}, nil},
		{capture.Config{Interface: "a0", Snaplen: pcap.MaxSnaplen + 1}, nil},
		{capture.Config{Interface: "a0", Direction: 3}, nil},
		{capture.Config{Interface: "a0", BlockSize: 5000}, nil},
		{capture.Config{Interface: "a0", RingSize: 1 << 20}, nil},
		{capture.Config{Interface: "a0", BlockTimeout: -1}, nil},
		{capture.Config{Interface: "a0", Filter: []capture.Instruction{{Code: 0xffff}}}, nil},
	} {
		d, err := capture.Open(c.config)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.config, err, c.want)
		}
		if err == nil {
			d.Close()
		}
	}
}

// TestPermission drops privilege between opening and attaching: attaching still works, and opening
// does not.
func TestPermission(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	d, err := capture.Open(capture.Config{Interface: "a1", RingSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so that the thread ends instead of being reused without its privilege
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			t.Error(err)
			return
		}
		if _, err := capture.Open(capture.Config{Interface: "a1"}); !errors.Is(err, capture.ErrPermission) {
			t.Errorf("open: %v, want ErrPermission", err)
		}
		h, err := d.Attach()
		if err != nil {
			t.Error(err)
			return
		}
		if b, err := h.Next(0); b != nil || err != nil {
			t.Errorf("next: %v, %v", b, err)
		}
		if err := errors.Join(h.Stop(), h.Close()); err != nil {
			t.Error(err)
		}
	}()
	<-done
}

func TestNoLeaks(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		fds := func() int {
			entries, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		files, goroutines := fds(), runtime.NumGoroutine()
		for i := range 20 {
			c.Interface = []string{"a1", "none"}[i%2]
			d, err := capture.Open(c)
			if err != nil {
				continue
			}
			h, err := d.Attach()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = h.Next(0)
			_, _ = h.Stats()
			if i%4 == 0 {
				_ = h.Close()
			}
			_ = d.Close()
		}
		if n := fds(); n != files {
			t.Errorf("%d files open, %d before", n, files)
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%d goroutines, %d before", n, goroutines)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.BlockTimeout = "a1", 1
		_, h := open(t, c)
		s := testnet.NewSender(t, "a0")
		f := tags(frame(100), 0x8100, 5)
		n := testing.AllocsPerRun(50, func() {
			for range 10 {
				s.Send(f)
			}
			read(t, h, 10)
		})
		if n != 0 {
			t.Errorf("%v allocations for 10 packets", n)
		}
	})
}

func TestInterfaces(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1400)
	list := func() map[string]capture.Interface {
		all, err := capture.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]capture.Interface{}
		for _, i := range all {
			byName[i.Name] = i
		}
		return byName
	}
	byName := list()
	lo, a0 := byName["lo"], byName["a0"]
	if !lo.Loopback || lo.HardwareType != 772 || lo.LinkType != pcap.LinkTypeEthernet {
		t.Errorf("lo is %+v", lo)
	}
	if a0.Index != testnet.Index(t, "a0") || a0.MTU != 1400 || !a0.Up || !a0.Running || a0.Loopback ||
		len(a0.Address) != 6 || a0.HardwareType != 1 {
		t.Errorf("a0 is %+v", a0)
	}
	testnet.SetUp(t, "a1", false)
	if a1 := list()["a1"]; a1.Up || a1.Running {
		t.Errorf("a1, which is down, is %+v", a1)
	}
}

func TestInspect(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	d, err := capture.Inspect("a0")
	if err != nil || d.Driver != "veth" || d.SpeedMbps != 10_000 || len(d.Enlarging) == 0 || d.Hardware {
		t.Errorf("%+v, %v", d, err)
	}
	for _, name := range []string{"none", capture.Any} {
		if _, err := capture.Inspect(name); !errors.Is(err, capture.ErrNoInterface) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
