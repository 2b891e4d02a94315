package daemon

import (
	"testing"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
)

// TestVerdictWhileRecording: the lines of the ledger and what the status says of the files that grow are together what the status
// counts, before a file has ended and after.
func TestVerdictWhileRecording(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.RingSize = config.AutoSize(4 * config.MiB) }, "v1")
		r.start(r.options())
		sent := uint64(0)
		overrun := func() {
			t.Helper()
			release := r.hold("v1")
			var frame []byte
			for range 20_000 {
				frame = appendFrame(frame[:0], 1, sent)
				v1.Send(frame)
				sent++
			}
			release()
			r.await("the ring's rest", func() bool {
				s := r.status("v1")
				return s.Writer.Accepted+s.KernelDropped == sent
			})
		}
		agree := func(files int) (in control.Interface, v ledger.Verdict) {
			t.Helper()
			r.await("lines", func() bool {
				in = r.d.Report().Interfaces[0]
				return in.Growing != nil && int(in.Finished) == files
			})
			g := in.Growing
			a, err := ledger.Ask(r.dir, ledger.Question{Growing: map[string]ledger.Growing{"v1": {
				Time: time.Now(), Recording: true,
				Tally: ledger.Tally{Packets: g.Packets, KernelDropped: g.KernelDropped, CapdDropped: g.CapdDropped, NICDropped: g.NICDropped},
			}}}, ledger.ReadOptions{})
			if err != nil || len(a.Verdicts) != 1 {
				t.Fatalf("%+v, %v", a, err)
			}
			v = a.Verdicts[0]
			if v.Files != files || v.Lost() != in.Lost() || v.Total.Packets+v.Growing.Packets != in.Received-in.Lost() || v.Outcome() != ledger.Incomplete {
				t.Errorf("%d files: %+v; status %+v, growing %+v", files, v, in.Counters, g)
			}
			return in, v
		}
		overrun()
		first, v := agree(0)
		if first.Growing.KernelDropped == 0 || first.Growing.KernelDropped != first.KernelDropped || v.Missing[0].Cause != ledger.CauseKernel {
			t.Errorf("%+v; %+v", first, v)
		}
		r.d.Rotate()
		second, _ := agree(1)
		if second.Growing.KernelDropped != 0 || second.Growing.Lines <= first.Growing.Lines {
			t.Errorf("%+v, before %+v", second.Growing, first.Growing)
		}
		overrun()
		third, _ := agree(1)
		if third.Growing.KernelDropped == 0 || third.Growing.KernelDropped+second.KernelDropped != third.KernelDropped {
			t.Errorf("%+v of %+v, before %+v", third.Growing, third.Counters, second.Counters)
		}
		r.end()
	})
}

// TestListedWaits: while lines may be written or not, nothing is said.
func TestListedWaits(t *testing.T) {
	var l listed
	c := control.Counters{Received: 10, KernelDropped: 3}
	if g := l.growing("v1", &c); g == nil || *g != (control.Growing{Packets: 7, KernelDropped: 3}) {
		t.Errorf("%+v", g)
	}
	e := ledger.Quiet("v1", time.Time{}, time.Time{}, ledger.Drops{Kernel: 2})
	l.queued(&e)
	if g := l.growing("v1", &c); g != nil {
		t.Errorf("%+v", g)
	}
	l.written(&e)
	if g := l.growing("v1", &c); g == nil || *g != (control.Growing{Lines: 1, Packets: 7, KernelDropped: 1}) {
		t.Errorf("%+v", g)
	}
	l.forget([]string{"v1"})
	if g := l.growing("v1", &c); g.Lines != 0 {
		t.Errorf("%+v", g)
	}
}
