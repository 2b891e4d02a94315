package daemon

import (
	"strings"
	"testing"
	"time"

	"capd/config"
	"capd/internal/testdisk"
	"capd/internal/testnet"
)

// TestStalledDirectory: of two interfaces with a directory each, one on a disk
// that hangs, the other loses nothing; the status of both can be asked; and the
// first goes on with the disk.
func TestStalledDirectory(t *testing.T) {
	const count = 20_000
	testnet.Veth(t, "v0", "v1", 65535)
	testnet.Veth(t, "w0", "w1", 65535)
	disk := testdisk.New(t)
	r := newRig(t, func(c *config.Config) { c.RotateSize = 4 * config.MiB }, "v1", "w1")
	r.cfg.Interfaces[1].Directory = disk.Dir
	r.start(r.options())
	disk.Set(testdisk.Write, testdisk.Fault{Stall: true})
	stalled := testnet.NewSender(t, "w0")
	var sent uint64
	for r.status("w1").Writer.Waits == 0 { // until its chunks are used up
		stalled.Send(appendFrame(nil, 2, sent))
		sent++
	}
	r.send(testnet.NewSender(t, "v0"), 1, 0, count, "v1")
	r.await("frames", func() bool { return r.status("v1").Writer.Accepted == count })
	r.await("files", func() bool { return r.status("v1").Writer.Files > 0 })
	if disk.Stalled(testdisk.Write) == 0 {
		t.Error("the disk works")
	}
	const ever = time.Hour
	if err := r.d.Stuck(ever, ever); err != nil {
		t.Errorf("who waits for a disk is stuck: %v", err)
	}
	r.await("a word on the disk", func() bool { return strings.Contains(r.log.String(), "the disk does not answer") })
	if err := r.d.Stuck(ever, stallAfter); err == nil || !strings.HasPrefix(err.Error(), "interface w1: a call to the disk has not returned for ") {
		t.Errorf("a disk that hangs for ever: %v", err)
	}
	disk.Heal()
	r.await("a word on its recovery", func() bool { return strings.Contains(r.log.String(), "the disk answers again") })
	all := r.end()
	if s := all[0]; s.Interface != "v1" || s.Received != count || s.Written != count {
		t.Errorf("%+v", s)
	}
	verify(t, r.files("v1"), 1, count, 0)
	if s := all[1]; s.Received != sent || s.Written+s.KernelDropped != sent || s.Dropped != 0 {
		t.Errorf("sent %d: %+v", sent, s)
	}
}

// TestStuck: a loop that does not turn is told from one whose disk is slow.
func TestStuck(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	r := newRig(t, nil, "v1")
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
}
