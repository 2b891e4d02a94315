package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/control"
	"capd/ledger"
	"capd/pcap"
)

// ledger adds up the lines of the interface. Of two lines of a file the later
// one counts: see docs/ledger.md.
func (r *rig) ledger(iface string) (sum ledger.Tally, gaps uint64) {
	r.t.Helper()
	lines := make(map[string]ledger.Entry)
	for e, err := range ledger.Read(r.dir, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		switch {
		case e.Interface != iface:
		case e.Kind == ledger.KindFile:
			lines[e.Name] = e
		case e.Kind == ledger.KindGap, e.Kind == ledger.KindQuiet:
			lines[string(e.Kind)+e.Begin.String()] = e
		}
	}
	for _, e := range lines {
		sum.Packets += e.Packets
		sum.Received += e.Received
		sum.KernelDropped += e.KernelDropped
		sum.CapdDropped += e.CapdDropped
		gaps += e.Frames
	}
	return sum, gaps
}

// TestEndIsTheEnd checks that no file claims to hold frames that came after the
// end of reception, however long reading the earlier frames takes.
func TestEndIsTheEnd(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		a1 := n.add("a1")
		r := newRig(t, n, fine, "a1")
		r.start(r.options())
		quit, sent := make(chan struct{}), make(chan []time.Time)
		go func() {
			var begun []time.Time
			tick := time.NewTicker(50 * time.Microsecond)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					sent <- begun
					return
				case <-tick.C:
				}
				begun = append(begun, time.Now())
				a1.Send(appendFrame(nil, 1, uint64(len(begun)-1))[:60])
			}
		}()
		r.await("frames are recorded", func() bool { return r.status("a1").Written > 1000 })
		r.end()
		close(quit)
		begun := <-sent
		recorded := uint64(0)
		walk(t, r.files("a1"), func(p pcap.Packet) { recorded = numberOf(p) + 1 })
		var end time.Time
		for e := range ledger.Read(r.dir, nil) {
			if e.Kind == ledger.KindFile || e.Kind == ledger.KindQuiet {
				end = e.End
			}
		}
		// The frame after the last recorded one may have been in transit at the
		// end.
		if next := recorded + 1; next >= uint64(len(begun)) || begun[next].Before(end) {
			t.Errorf("%d frames of %d are recorded, and one sent %s before the end is not", recorded, len(begun), end.Sub(begun[next]))
		}
	})
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestReportUnderLoad: the counters of the status add up at every moment, never
// decrease, and agree with the ledger in the end.
func TestReportUnderLoad(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		const count = 60_000
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.RotateSize = 4 * config.MiB }, "v1")
		r.start(r.options())
		ctx, cancel := context.WithCancel(t.Context())
		looked := make(chan int)
		go func() {
			var last control.Counters
			n := 0
			for ; ctx.Err() == nil; n++ {
				c := r.d.Report().Interfaces[0].Counters
				if c.Received != c.Written+c.Pending+c.KernelDropped+c.CapdDropped || c.Received < last.Received ||
					c.Written < last.Written || c.Bytes < last.Bytes {
					t.Errorf("%+v after %+v", c, last)
				}
				last = c
				time.Sleep(time.Millisecond) // lets the counters change between two reports
			}
			looked <- n
		}()
		r.send(v1, 1, 0, count, "v1")
		cancel()
		t.Logf("%d looks", <-looked)
		r.end()
		report := r.d.Report().Interfaces[0]
		sum, _ := r.ledger("v1")
		if report.Received != count || report.Pending != 0 || sum.Received != count || sum.Packets != report.Written || sum.KernelDropped != report.KernelDropped {
			t.Errorf("status %+v, ledger %+v", report.Counters, sum)
		}
		verify(t, r.files("v1"), 1, count, 0)
	})
}

// TestHold: held files stay across a restart, whatever the limits are, until
// they are released; the ledger has lines for both.
func TestHold(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.RetainCount = 2 }, "v1")
		next := uint64(0)
		// file records one more file and returns its path.
		file := func() string {
			t.Helper()
			r.send(v1, 1, next, next+10, "v1")
			next += 10
			r.await("frames", func() bool { return r.status("v1").Writer.Accepted > 0 && r.status("v1").Writer.File != "" })
			done, err := r.d.RotateFiles(t.Context(), "v1")
			if err != nil || len(done) != 1 {
				t.Fatalf("rotated %q, %v", done, err)
			}
			return done[0]
		}
		r.start(r.options())
		r.await("recording", func() bool { return r.status("v1").State == Recording })
		first := file()
		held, err := r.d.Hold(t.Context(), control.Selection{Files: []string{filepath.Base(first)}})
		if err != nil || !slices.Equal(held, []string{first}) {
			t.Fatalf("held %q, %v", held, err)
		}
		for _, bad := range []control.Selection{
			{}, {All: true}, {Files: []string{"/etc/passwd"}}, {Files: []string{"v1-20200101T000000Z-000001.pcapng"}},
			{Last: "soon"}, {Last: "10m", Files: []string{first}}, {Interface: "v1", Files: []string{first}},
		} {
			if got, err := r.d.Hold(t.Context(), bad); !errors.As(err, new(*control.RefusedError)) {
				t.Errorf("%+v: %q, %v", bad, got, err)
			}
		}
		second := file()
		file()
		file()
		r.await("deletion", func() bool { return !there(second) })
		r.end()
		r.start(r.options())
		file()
		if !there(first) || r.d.Report().Directories[0].Held != 1 {
			t.Fatalf("after a restart: %+v", r.d.Report().Directories)
		}
		released, err := r.d.Release(t.Context(), control.Selection{All: true})
		if err != nil || !slices.Equal(released, []string{first}) {
			t.Fatalf("released %q, %v", released, err)
		}
		file()
		file()
		r.await("deletion of what was held", func() bool { return !there(first) && len(r.files("v1")) == 2 })
		recent, err := r.d.Hold(t.Context(), control.Selection{Last: "1h", Interface: "v1"})
		if err != nil || len(recent) != 2 {
			t.Errorf("of the last hour %q, %v", recent, err)
		}
		r.end()
		kinds := map[ledger.Kind]int{}
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Name == filepath.Base(first) {
				kinds[e.Kind]++
			}
		}
		if want := map[ledger.Kind]int{ledger.KindFile: 1, ledger.KindHold: 1, ledger.KindRelease: 1, ledger.KindDeleted: 1}; !maps.Equal(kinds, want) {
			t.Errorf("the ledger has lines of the kinds %v for the file", kinds)
		}
	})
}

// TestRotateFiles: RotateFiles returns when the files are finished.
func TestRotateFiles(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		r.await("recording", func() bool { return r.status("v1").State == Recording })
		if done, err := r.d.RotateFiles(t.Context(), ""); err != nil || len(done) != 0 {
			t.Errorf("without a file: %q, %v", done, err)
		}
		if _, err := r.d.RotateFiles(t.Context(), "v9"); err == nil || !strings.Contains(err.Error(), "interface v9 is not recorded") {
			t.Errorf("a foreign interface: %v", err)
		}
		r.send(v1, 1, 0, 100, "v1")
		r.await("a file", func() bool { return r.status("v1").Writer.File != "" })
		done, err := r.d.RotateFiles(t.Context(), "v1")
		if err != nil || len(done) != 1 {
			t.Fatalf("%q, %v", done, err)
		}
		if _, err := os.Stat(done[0]); err != nil {
			t.Error(err)
		}
		r.end()
		verify(t, r.files("v1"), 1, 100, 0)
	})
}

// TestReportRestart: the time between two runs is the same in the status and in
// the ledger.
func TestReportRestart(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		judge := func() (control.Level, string) {
			r.await("recording", func() bool { return r.status("v1").State == Recording })
			s := r.d.Report()
			level, wrong := s.Judge()
			return level, strings.Join(wrong, "; ")
		}
		r.start(r.options())
		r.send(v1, 1, 0, 10, "v1")
		if level, wrong := judge(); level != control.OK {
			t.Errorf("first run: %v, %s", level, wrong)
		}
		r.end()
		ended := time.Now()
		time.Sleep(time.Hour)
		again := time.Now()
		r.done = make(chan error, 1)
		r.start(r.options())
		r.send(v1, 1, 10, 20, "v1")
		want := fmt.Sprintf("from %s to %s: capd did not run", ended.UTC().Format(time.RFC3339), again.UTC().Format(time.RFC3339))
		if level, wrong := judge(); level != control.Warning || !strings.Contains(wrong, want) {
			t.Errorf("second run: %v, %s, want %s", level, wrong, want)
		}
		s := r.d.Report()
		s.Looked = time.Now().Add(time.Second)
		if level, wrong := s.Judge(); level != control.OK {
			t.Errorf("at the next look: %v, %q", level, wrong)
		}
		r.end()
		v, err := ledger.Judge(ledger.Read(r.dir, nil), ledger.Question{})
		if err != nil || len(v) != 1 || len(v[0].Missing) != 1 || v[0].Missing[0].Cause != ledger.CauseStopped {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// TestReportInterface: frames in the interface's statistics of drops are no
// loss, and the status has the frames that its hardware or an XDP program
// dropped.
func TestReportInterface(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		r.send(v1, 1, 0, 10, "v1")
		change := func(f func(i *capture.Interface)) (control.Interface, control.Level) {
			v1.(fakeWire).Change(f)
			time.Sleep(3 * time.Second)
			s := r.d.Report()
			level, _ := s.Judge()
			return s.Interfaces[0], level
		}
		i, level := change(func(i *capture.Interface) { i.NICDiscarded += 10 })
		if i.NICDiscarded != 10 || i.Lost() != 0 || level != control.OK || !i.LastLoss.IsZero() {
			t.Errorf("discarded: %v, %+v", level, i)
		}
		if i, level = change(func(i *capture.Interface) { i.NICDropped += 3 }); i.NICDropped != 3 || level != control.Warning {
			t.Errorf("dropped: %v, %+v", level, i)
		}
		if i, _ = change(func(i *capture.Interface) { i.XDP = capture.XDP{Mode: "native", Program: 7} }); i.XDP != "XDP program 7, native" {
			t.Errorf("XDP: %+v", i)
		}
		if i, _ = change(func(i *capture.Interface) { i.XDP = capture.XDP{} }); i.XDP != "" || i.XDPUntil.IsZero() {
			t.Errorf("XDP gone: %+v", i)
		}
		r.end()
		v, err := ledger.Judge(ledger.Read(r.dir, nil), ledger.Question{})
		if err != nil || len(v) != 1 || v[0].Total.NICDropped != 3 || v[0].Total.NICDiscarded != 10 || v[0].Lost() != 3 || len(v[0].Missing) != 2 {
			t.Errorf("%+v, %v", v, err)
		}
	})
}
