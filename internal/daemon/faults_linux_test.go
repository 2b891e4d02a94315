package daemon

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/config"
	"capd/internal/testdisk"
	"capd/ledger"
	"capd/pcap"
)

// TestStalledDirectory: of two interfaces, one records to a disk that hangs.
// The other loses nothing, the status of both is available, and the first
// continues when the disk does.
func TestStalledDirectory(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		const count = 20_000
		v1 := n.add("v1")
		w1 := n.add("w1")
		disk := testdisk.New(t)
		r := newRig(t, n, func(c *config.Config) { c.RotateSize = 4 * config.MiB }, "v1", "w1")
		r.cfg.Interfaces[1].Directory = disk.Dir
		r.start(r.options())
		disk.Set(testdisk.Write, testdisk.Fault{Stall: true})
		stalled := w1
		var sent uint64
		for r.status("w1").Writer.Waits == 0 { // until its chunks are used up
			stalled.Send(appendFrame(nil, 2, sent))
			sent++
		}
		r.send(v1, 1, 0, count, "v1")
		r.await("frames", func() bool { return r.status("v1").Writer.Accepted == count })
		r.await("files", func() bool { return r.status("v1").Writer.Files > 0 })
		if disk.Stalled(testdisk.Write) == 0 {
			t.Error("the disk works")
		}
		const ever = time.Hour
		if err := r.d.Stuck(ever, ever); err != nil {
			t.Errorf("a recorder that waits for its disk is stuck: %v", err)
		}
		r.await("the log of a slow disk", func() bool { return strings.Contains(r.log.String(), "the disk does not answer") })
		if err := r.d.Stuck(ever, 5*time.Second); err == nil || !strings.HasPrefix(err.Error(), "interface w1: a call to the disk has not returned for ") {
			t.Errorf("a disk that hangs for ever: %v", err)
		}
		disk.Heal()
		r.await("the log of its recovery", func() bool { return strings.Contains(r.log.String(), "the disk answers again") })
		all := r.end()
		if s := all[0]; s.Interface != "v1" || s.Received != count || s.Written != count {
			t.Errorf("%+v", s)
		}
		verify(t, r.files("v1"), 1, count, 0)
		if s := all[1]; s.Received != sent || s.Written+s.KernelDropped != sent || s.Dropped != 0 {
			t.Errorf("sent %d: %+v", sent, s)
		}
	})
}

// TestStuck: a loop that does not turn is stuck, and one that waits for a slow
// disk is not.
func TestStuck(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		if err := r.d.Stuck(time.Hour, time.Hour); err != nil {
			t.Error(err)
		}
		r.await("a loop that has not turned", func() bool {
			err := r.d.Stuck(-time.Hour, time.Hour) // as if an hour had passed
			return err != nil && strings.HasPrefix(err.Error(), "interface v1: the recorder has not turned for ")
		})
		r.end()
		if err := r.d.Stuck(0, 0); err != nil {
			t.Errorf("one that has ended is stuck: %v", err)
		}
	})
}

// TestSums: over a disk that fails for a while, rotation and a restart, the
// lines of the ledger add up to the kernel's counters, the gap counts the
// frames that the failure lost, and the verdict includes all losses.
func TestSums(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		disk := testdisk.New(t)
		r := newRig(t, n, func(c *config.Config) { c.RotateSize = 2 * config.MiB }, "v1")
		r.cfg.Interfaces[0].Directory = disk.Dir
		r.dir = disk.Dir
		r.start(r.options())
		r.send(v1, 1, 0, 20_000, "v1")
		disk.Set(testdisk.Write, testdisk.Fault{Err: syscall.ENOSPC})
		next := uint64(20_000)
		more := func() {
			r.send(v1, 1, next, next+100, "v1")
			next += 100
		}
		r.await("a suspension", func() bool { more(); return r.status("v1").State == Suspended })
		before := r.status("v1").Dropped
		r.await("drops", func() bool { more(); return r.status("v1").Dropped > before+10_000 }) // more than the files that failed had
		disk.Heal()
		r.await("recovery", func() bool { more(); return r.status("v1").State == Recording })
		r.d.Rotate()
		r.send(v1, 1, next, next+20_000, "v1")
		total := r.end()[0]
		r.start(r.options())
		r.send(v1, 1, next+20_000, next+21_000, "v1")
		again := r.end()[0]
		total.Add(&again)

		sum, gaps := r.ledger("v1")
		if sum.Received != total.Received || sum.Packets != total.Written || sum.KernelDropped != total.KernelDropped ||
			sum.CapdDropped != total.Dropped || total.Received != next+21_000 {
			t.Errorf("sent %d, ledger %+v, kernel and writer %+v", next+21_000, sum, total)
		}
		if gaps < 1000 || gaps > total.Dropped {
			t.Errorf("%d frames in gaps, %d dropped", gaps, total.Dropped)
		}
		var read uint64
		walk(t, r.files("v1"), func(pcap.Packet) { read++ })
		if read != total.Written {
			t.Errorf("%d frames in the files, %d written", read, total.Written)
		}
		verdicts, err := ledger.Judge(ledger.Read(r.dir, nil), ledger.Question{})
		if err != nil || len(verdicts) != 1 || verdicts[0].Lost() != total.Dropped {
			t.Errorf("%d dropped: %+v, %v", total.Dropped, verdicts, err)
		}
	})
}
