package daemon

import (
	"testing"

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
	disk.Heal()
	all := r.end()
	if s := all[0]; s.Interface != "v1" || s.Received != count || s.Written != count {
		t.Errorf("%+v", s)
	}
	verify(t, r.files("v1"), 1, count, 0)
	if s := all[1]; s.Received != sent || s.Written+s.KernelDropped != sent || s.Dropped != 0 {
		t.Errorf("sent %d: %+v", sent, s)
	}
}
