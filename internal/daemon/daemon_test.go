package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/setup"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// TestLinkComesAndGoes: recording continues when the interface goes down, comes
// up, is removed and is created again.
func TestLinkComesAndGoes(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1", "glob*")
		r.cfg.Interfaces[1].Name = "v[1]x*"
		r.start(r.options())
		frames := uint64(0)
		send := func() {
			t.Helper()
			for range 10 {
				v1.Send(appendFrame(nil, 1, frames)[:60])
				frames++
			}
			r.await("frames", func() bool { return r.status("v1").Writer.Accepted == frames })
		}
		state := func(want State) {
			t.Helper()
			r.await(string(want), func() bool { return r.status("v1").State == want })
		}
		send()
		v1.SetUp(false)
		state(Down)
		v1.SetUp(true)
		state(Recording)
		send()
		v1.Remove()
		state(Waiting)
		v1 = n.add("v1")
		state(Recording)
		send()
		n.add("v1x") // a glob matches the new interface
		r.await("v1x", func() bool { return r.status("v1x").State == Recording })
		s := r.end()[0]
		if s.Written != frames || s.KernelDropped+s.Dropped > 0 {
			t.Errorf("%+v, want %d frames", s, frames)
		}
		for _, want := range []string{"interface is down", "interface is up again", "interface is not there"} {
			n := 0
			for line := range strings.Lines(r.log.String()) {
				if strings.Contains(line, want) && slices.Contains(strings.Fields(line), "interface=v1") {
					n++ // v1x may be listed before it is up
				}
			}
			// An interface that is removed goes down first.
			if n < 1 || n > 2 {
				t.Errorf("log has %q %d times", want, n)
			}
		}
		// The interface that came back has another address, so it gets a file
		// of its own.
		if files := r.files("v1"); len(files) != 2 {
			t.Errorf("files %v", files)
		}
	})
}

// TestAddressChange: a change of the address starts a new file.
func TestAddressChange(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
		v1.SetAddress(net.HardwareAddr{2, 0, 0, 0, 0, 9})
		r.await("new file", func() bool { return r.status("v1").Writer.Files == 1 })
		v1.Send(appendFrame(nil, 1, 1))
		r.end()
		verify(t, r.files("v1"), 1, 2, 0)
	})
}

// TestCount: exactly as many packets are recorded as requested.
func TestCount(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		opt := r.options()
		opt.Count = 100
		r.start(opt)
		for n := range uint64(500) {
			v1.Send(appendFrame(nil, 1, n))
		}
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
		verify(t, r.files("v1"), 1, 100, 0)
		if s := r.d.Status()[0]; s.Received != 100 || s.Written != 100 || s.Dropped != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestDuration: recording ends after the configured duration.
func TestDuration(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		n.add("v1")
		r := newRig(t, n, nil, "v1")
		opt := r.options()
		opt.Duration = 50 * time.Millisecond
		r.start(opt)
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestOverrun: while the recorder is blocked, the kernel's drops are counted
// exactly, and recording continues afterwards.
func TestOverrun(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.RingSize = config.AutoSize(4 * config.MiB) }, "v1")
		r.start(r.options())
		release := r.hold("v1")
		const flood = 20_000
		var frame []byte
		for n := range uint64(flood) {
			frame = appendFrame(frame[:0], 1, n)
			v1.Send(frame)
		}
		release()
		r.await("the ring's rest", func() bool {
			s := r.status("v1")
			return s.KernelDropped > 0 && s.Writer.Accepted+s.KernelDropped == flood
		})
		for n := range uint64(100) {
			v1.Send(appendFrame(nil, 1, flood+n))
		}
		got := r.end()[0]
		if got.Received != flood+100 || got.KernelDropped == 0 || got.Freezes == 0 || got.Dropped != 0 {
			t.Errorf("%+v", got)
		}
		var read uint64
		walk(t, r.files("v1"), func(pcap.Packet) { read++ })
		if read != got.Written || read != flood+100-got.KernelDropped {
			t.Errorf("%d frames in files, sent %d, dropped %d", read, flood+100, got.KernelDropped)
		}
	})
}

// TestRefuses: New returns an error for each configuration that can't be
// recorded.
func TestRefuses(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		for _, name := range []string{"lo", "v0", "v1"} {
			n.add(name)
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			iface, dir string
			want       error
		}{
			"interface": {"nope", dir, new(setup.MissingError)},
			"directory": {"v1", file, os.ErrInvalid},
			"nowhere":   {"v1", filepath.Join(dir, "no", "such"), os.ErrNotExist},
		} {
			r := newRig(t, n, func(cfg *config.Config) { cfg.Directory, cfg.Wait = c.dir, false }, c.iface)
			_, err := New(r.options())
			var missing *setup.MissingError
			switch {
			case err == nil:
				t.Errorf("%s: accepted", name)
			case name == "interface" && (!errors.As(err, &missing) || len(missing.There) < 3):
				t.Errorf("%s: %v", name, err)
			case name == "nowhere" && !errors.Is(err, c.want):
				t.Errorf("%s: %v", name, err)
			}
		}
		first := newRig(t, n, nil, "v1")
		first.start(first.options())
		second := newRig(t, n, func(cfg *config.Config) { cfg.Directory = first.dir }, "v0")
		if _, err := New(second.options()); !errors.Is(err, store.ErrInUse) {
			t.Errorf("second daemon: %v", err)
		}
		first.end()
	})
}

// TestWaits: an interface that does not exist yet is recorded once it does.
func TestWaits(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		r := newRig(t, n, nil, "late")
		ready := make(chan struct{})
		opt := r.options()
		opt.Ready = func() { close(ready) }
		r.start(opt)
		<-ready
		late := n.add("late")
		r.await("recording", func() bool { return r.status("late").State == Recording })
		late.Send(appendFrame(nil, 1, 0))
		r.await("a frame", func() bool { return r.status("late").Writer.Accepted == 1 })
		r.end()
		verify(t, r.files("late"), 1, 1, 0)
	})
}

// TestPartialOfEarlierRun: the whole packets of a partial file are salvaged,
// the ledger says so, and the sequence numbers continue after it.
func TestPartialOfEarlierRun(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "v1"})
		torn := enc.Header()
		for n := range uint64(2) {
			f := appendFrame(nil, 1, n)
			record := make([]byte, enc.MaxRecord())
			size, _ := enc.Encode(record, []pcap.Packet{{Data: f, Length: uint32(len(f)), Sec: 1767323045}})
			torn = append(torn, record[:size]...)
		}
		name := "v1-20260102T030405Z-000041.pcapng"
		if err := os.WriteFile(filepath.Join(r.dir, name+store.Partial), torn[:len(torn)-3], 0o640); err != nil {
			t.Fatal(err)
		}
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 1))
		r.end()
		files := r.files("v1")
		if len(files) != 2 || filepath.Base(files[0]) != name || !strings.Contains(files[1], "-000042.") {
			t.Fatalf("files %v", files)
		}
		verify(t, files, 1, 2, 0)
		if !strings.Contains(r.log.String(), name) {
			t.Error("not reported")
		}
		kinds := map[ledger.Kind]int{}
		for e := range ledger.Read(r.dir, nil) {
			kinds[e.Kind]++
			if e.Kind == ledger.KindSalvaged && (e.Cut == 0 || e.Packets != 1) {
				t.Errorf("%+v", e)
			}
		}
		if kinds[ledger.KindSalvaged] != 1 || kinds[ledger.KindGap] != 1 || kinds[ledger.KindFile] != 2 {
			t.Errorf("ledger has %v", kinds)
		}
	})
}

// TestAbort: Abort returns at once if the disk hangs, and leaves files partial.
func TestAbort(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.await("a frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
		release := r.hold("v1")
		r.stop()
		r.d.Abort()
		release()
		if err := <-r.done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		// The disk of this test completes the write after the daemon has ended.
		r.await("the disk", func() bool {
			c, err := store.ReadContents(r.dir)
			return err == nil && c.Files == 1 && len(c.Partials) == 0
		})
	})
}

// TestLedger: the sum of all lines equals the kernel's counters, over rotation,
// link changes, drops and a restart, and the gaps have their causes.
func TestLedger(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) {
			c.RingSize = config.AutoSize(4 * config.MiB)
			c.RotateInterval = config.Duration(time.Second)
		}, "v1")
		var received, written uint64
		add := func() {
			s := r.end()[0]
			received += s.Received
			written += s.Written
		}
		r.start(r.options())
		frames := uint64(0)
		send := func(n uint64) {
			t.Helper()
			for range n {
				v1.Send(appendFrame(nil, 1, frames)[:60])
				frames++
			}
			r.await("frames", func() bool { return r.status("v1").Writer.Accepted+r.status("v1").KernelDropped >= n })
		}
		send(500)
		v1.SetUp(false)
		r.await("down", func() bool { return r.status("v1").State == Down })
		v1.SetUp(true)
		r.await("up", func() bool { return r.status("v1").State == Recording })
		release := r.hold("v1")
		for range 60_000 { // more than the ring has room for
			v1.Send(appendFrame(nil, 1, 7)[:60])
		}
		release()
		add()
		n.pace()
		r.start(r.options())
		send(300)
		r.d.Rotate()
		send(300)
		add()

		var sum ledger.Tally
		var frameGaps uint64
		causes := map[ledger.Cause]int{}
		kinds := map[ledger.Kind]int{}
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil {
				t.Fatal(err)
			}
			kinds[e.Kind]++
			causes[e.Cause]++
			sum.Received += e.Received
			sum.Packets += e.Packets
			sum.KernelDropped += e.KernelDropped
			frameGaps += e.Frames
		}
		if sum.Received+frameGaps != received || sum.Packets != written || sum.KernelDropped == 0 {
			t.Errorf("ledger sums up to %+v, %d in gaps; want %d received, %d written", sum, frameGaps, received, written)
		}
		if kinds[ledger.KindStart] != 2 || kinds[ledger.KindStop] != 2 || kinds[ledger.KindFile] < 3 || causes[ledger.CauseDown] != 2 {
			t.Errorf("lines %v, causes %v", kinds, causes)
		}
		var names []string
		for _, path := range r.files("v1") {
			names = append(names, filepath.Base(path))
		}
		verdicts, err := ledger.Judge(ledger.Read(r.dir, nil), ledger.Question{Names: names})
		if err != nil || len(verdicts) != 1 {
			t.Fatalf("%v, %v", verdicts, err)
		}
		got := map[ledger.Cause]bool{}
		for _, m := range verdicts[0].Missing {
			got[m.Cause] = true
		}
		if len(got) != 3 || !got[ledger.CauseDown] || !got[ledger.CauseKernel] || !got[ledger.CauseStopped] {
			t.Errorf("missing %+v", verdicts[0].Missing)
		}
	})
}

// TestFinishedFiles: a file is compressed, then the hook runs on it.
func TestFinishedFiles(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		out := filepath.Join(t.TempDir(), "out")
		r.cfg.Finished.Compress = config.CompressZstd
		r.cfg.Finished.Hook = []string{"/bin/sh", "-c", `echo "$CAPD_INTERFACE $CAPD_PACKETS $CAPD_FILE" >"$0"`, out}
		r.start(r.options())
		for n := range uint64(3) {
			v1.Send(appendFrame(nil, 1, n))
		}
		r.await("frames", func() bool { return r.status("v1").Writer.Accepted == 3 })
		r.d.Rotate()
		r.await("the hook", func() bool {
			b, err := os.ReadFile(out)
			return err == nil && len(b) > 0
		})
		r.end()
		b, err := os.ReadFile(out)
		if want := "v1 3 " + r.dir + "/v1-"; err != nil || !strings.HasPrefix(string(b), want) || !strings.HasSuffix(string(b), ".pcapng.zst\n") {
			t.Errorf("the hook got %q, %v", b, err)
		}
		kinds := map[ledger.Kind]int{}
		for e := range ledger.Read(r.dir, nil) {
			kinds[e.Kind]++
		}
		if kinds[ledger.KindCompressed] != 1 || kinds[ledger.KindFile] != 1 {
			t.Errorf("ledger has %v", kinds)
		}
		if kinds[ledger.KindHook] != 1 {
			t.Errorf("%d lines of the hook", kinds[ledger.KindHook])
		}
		var names []string
		entries, _ := os.ReadDir(r.dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		verdicts, err := ledger.Judge(ledger.Read(r.dir, nil), ledger.Question{Names: names})
		if err != nil || len(verdicts) != 1 || !verdicts[0].Complete() {
			t.Errorf("%+v, %v", verdicts, err)
		}
	})
}

// TestHookFails: the ledger has the exit code of a hook that fails.
func TestHookFails(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.cfg.Finished.Hook = []string{"/bin/sh", "-c", "exit 7"}
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.await("a frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
		r.d.Rotate()
		var line ledger.Entry
		r.await("the hook's line", func() bool {
			for e, err := range ledger.Read(r.dir, nil) {
				if err == nil && e.Kind == ledger.KindHook {
					line = e
				}
			}
			return line.Name != ""
		})
		r.end()
		if line.Exit != 7 || line.Interface != "v1" || !strings.Contains(line.Why, "exit status 7") {
			t.Errorf("%+v", line)
		}
	})
}

// TestFinishedButUnlisted: a finished file that the ledger lacks because of a
// crash gets one line at the next start.
func TestFinishedButUnlisted(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.end()
		path := r.files("v1")[0]
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lost := strings.Replace(path, "-000001.", "-000002.", 1)
		if err := os.WriteFile(lost, b, 0o640); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			r.start(r.options())
			r.end()
		}
		lines := 0
		for e := range ledger.Read(r.dir, nil) {
			if e.Name == filepath.Base(lost) {
				lines++
				if e.Packets != 1 || e.Clean || e.Reason != ledger.ReasonSalvaged {
					t.Errorf("%+v", e)
				}
			}
		}
		if lines != 1 {
			t.Errorf("%d lines", lines)
		}
	})
}

// A countedSystem counts how often its interfaces are listed.
type countedSystem struct {
	System
	lists atomic.Int32
}

func (s *countedSystem) Interfaces() ([]capture.Interface, error) {
	s.lists.Add(1)
	return s.System.Interfaces()
}

// TestStartListsInterfacesOnce: to list them is dear where there are many.
func TestStartListsInterfacesOnce(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		for i := range 40 {
			n.add(fmt.Sprintf("v%d", i))
		}
		r := newRig(t, n, nil, "v*")
		opt := r.options()
		counted := &countedSystem{System: n.system()}
		opt.System = counted
		r.start(opt)
		if lists := counted.lists.Load(); lists > 2 {
			t.Errorf("listed %d times", lists)
		}
		r.end()
	})
}
