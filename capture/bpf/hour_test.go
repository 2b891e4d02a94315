package bpf_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/capture/bpf"
	"capd/config"
	"capd/pcap"
)

// stamped reads the times of all packets of a file.
func stamped(t *testing.T, path string) (all []time.Time) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for p, err := r.Next(); err == nil; p, err = r.Next() {
		all = append(all, p.Time())
	}
	return all
}

// TestDaemonOverBPFHour: files end at the full hour while frames arrive without a pause, alone and during a
// reload, with a fine and with a coarse clock of the kernel. No frame is lost, twice, out of order or in the
// file of another hour.
func TestDaemonOverBPFHour(t *testing.T) {
	for _, tick := range []time.Duration{0, 10 * time.Millisecond} {
		for _, reload := range []time.Duration{never, -40 * time.Millisecond, -5 * time.Millisecond} {
			t.Run(fmt.Sprintf("%v,%v", tick, reload), func(t *testing.T) {
				bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
					overTheHour(t, sim, tick, reload)
				})
			})
		}
	}
}

// never is when overTheHour does not reload.
const never = -time.Hour

// overTheHour records over a full hour, and reloads at that time after it.
func overTheHour(t *testing.T, sim *bpf.Simulation, tick, reload time.Duration) {
	sim.Tick(tick)
	hour := time.Now().Truncate(time.Hour).Add(time.Hour)
	time.Sleep(time.Until(hour.Add(-100 * time.Millisecond))) // before anything reads, which costs time
	s := newStation(t, sim, "en0")
	s.start()
	reloaded := make(chan error, 1)
	if reload != never {
		go func() {
			time.Sleep(time.Until(hour.Add(reload)))
			reloaded <- s.reload(func(i *config.Interface) { i.Snaplen = 2000 })
		}()
	} else {
		reloaded <- nil
	}
	n := 0
	for ; time.Now().Before(hour.Add(150 * time.Millisecond)); n++ {
		sim.Send("en0", numberedFrame(n))
		time.Sleep(200 * time.Microsecond)
	}
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	s.await("the last frame", func() bool { return s.status("en0").Writer.Accepted == uint64(n) })
	if st := s.end()[0]; st.Received != uint64(n) || st.Written != uint64(n) || st.KernelDropped+st.Dropped != 0 {
		t.Errorf("%d sent: %+v", n, st)
	}
	_, got := s.frames("en0")
	if len(got) != n {
		t.Fatalf("%d frames of %d", len(got), n)
	}
	for i, f := range got {
		if !bytes.Equal(f.data, numberedFrame(i)) {
			t.Fatalf("frame %d is %q", i, f.data)
		}
	}
	s.hours(hour)
	s.verdict()
}

// hours checks that no file has packets of both sides of the hour, and that both sides have files.
func (s *station) hours(hour time.Time) {
	s.t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, "en0-*.pcap*"))
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(paths)
	before, after := 0, 0
	for _, path := range paths {
		all := stamped(s.t, path)
		if len(all) == 0 {
			continue
		}
		switch first, last := all[0], all[len(all)-1]; {
		case last.Before(hour):
			before++
		case !first.Before(hour):
			after++
		default:
			s.t.Errorf("%s has packets from %v to %v", strings.TrimPrefix(path, s.dir), first, last)
		}
	}
	if before == 0 || after == 0 {
		s.t.Errorf("%d files end before the hour, %d begin after it", before, after)
	}
}

// TestDaemonOverBPFCoarse: with a clock of 10 ms, a reload neither loses nor repeats frames that look the same.
func TestDaemonOverBPFCoarse(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		if sim.OS == "darwin" {
			t.Skip("its clock has microseconds, and each device reads it for itself")
		}
		sim.Tick(10 * time.Millisecond)
		s := newStation(t, sim, "en0")
		s.start()
		n := 0
		frame := numberedFrame(0)
		send := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); n++ {
				sim.Send("en0", frame)
				time.Sleep(300 * time.Microsecond)
			}
		}
		send(53 * time.Millisecond)
		for i := range 8 {
			done := make(chan error)
			go func() { done <- s.reload(func(c *config.Interface) { c.Snaplen = 2000 + i }) }()
			send(203 * time.Millisecond)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		s.await("the last frame", func() bool { return s.status("en0").Writer.Accepted >= uint64(n) })
		s.end()
		if files, got := s.frames("en0"); files != 9 || len(got) != n {
			t.Errorf("%d files, %d frames of %d", files, len(got), n)
		}
		s.verdict()
	})
}
