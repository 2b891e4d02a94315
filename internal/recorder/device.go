package recorder

import (
	"runtime"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/text"
	"capd/pcap"
)

// A device is what a recorder reads: the interface, the Device if it is open,
// and the handle if it is read.
type device struct {
	*Device // nil unless it is open
	r       *Recorder
	link    link
	handle  *capture.Handle // nil unless the device is read, or will be after a takeover
	taken   uint64          // frames of the handle that were written or counted
	opened  time.Time       // just before the device was opened, and so before its first frame
}

func (d *device) isOpen() bool { return d.Device != nil }

// Index returns the index of the device's interface; 0 if the device is not
// open.
func (d *device) Index() int {
	if d.Device == nil {
		return 0
	}
	return d.Device.Index()
}

// open opens the device unless it is open. The error is ErrHeld if another
// recorder has claimed the interface.
func (d *device) open() error {
	if d.isOpen() {
		return nil
	}
	if err := d.take(false); err != nil {
		return err
	}
	if !d.r.cfg.Shared.Claims.claim(d.r, d.Index()) {
		d.close() // renamed a moment ago: the recorder of the old name will hand it over
		return ErrHeld
	}
	return nil
}

// stillHeld reports whether another recorder still has the interface. To open a
// device in vain costs a ring each time, and an alternative name may be another
// recorder's for ever.
func (d *device) stillHeld() bool {
	d.link.refresh(0)
	return d.r.cfg.Shared.Claims.taken(d.r, d.link.now.Index)
}

// openGated opens the device of an interface that predecessors still read, for
// a takeover from them, and attaches to it: what can fail fails before they end.
func (d *device) openGated(t *Takeover) error {
	if err := d.take(true); err != nil {
		return err
	}
	if t.renamed || d.Adopted {
		d.r.cfg.Shared.Claims.share(d.r, d.Index())
	} else if !d.r.cfg.Shared.Claims.claim(d.r, d.Index()) {
		d.close() // renamed a moment ago: the recorder of the old name has it, and not the predecessors
		return ErrHeld
	}
	if err := d.openHandle(); err != nil {
		d.close()
		return err
	}
	t.add(d.Device.Device, d.Adopted)
	return nil
}

// take makes the source open the device.
func (d *device) take(gated bool) (err error) {
	d.link.refresh(0)
	d.opened = time.Now()
	if d.Device, err = d.r.cfg.Source.Open(gated); err != nil {
		d.Device = nil
		return err
	}
	d.link.opened(d.Index())
	if gated || !d.Adopted || !d.Device.Device.Adopted().Gated {
		return nil
	}
	if err := d.Admit(); err != nil { // the predecessors ended with a process before
		d.close()
		return err
	}
	return nil
}

// attach begins to read the device, or closes it.
func (d *device) attach() error {
	if d.handle == nil {
		if err := d.openHandle(); err != nil {
			d.close()
			return err
		}
	}
	d.taken = 0
	d.link.speed = d.Speed
	d.from()
	d.r.writer.Describe(d.header(d.handle.LinkType()))
	d.r.tally.begin(d.handle)
	return nil
}

// openHandle opens the handle of the device.
func (d *device) openHandle() error {
	h, err := d.Attach()
	if err != nil {
		return err
	}
	d.handle = h
	return nil
}

// from makes the writer go on in the ring where a recorder of an earlier process ended, if there was
// one.
func (d *device) from() {
	r := d.r
	was := r.writer.Inherited()
	if d.Ring != 0 && d.Ring == was.Ring && !r.loop.resumed {
		r.tally.resume(&was)
		d.taken = was.Frames - was.Unread + was.Taken
		r.loop.skip = was.Taken
	}
	r.loop.resumed = true
	r.writer.From(d.Ring, r.tally.drops(), d.again)
}

// again returns the memory of a block that a recorder of an earlier process had lent to its writer, and what releases
// it; nothing if it is gone.
func (d *device) again(block uint64) (memory []byte, release func()) {
	b := d.handle.Again(block)
	if b == nil {
		return nil, nil
	}
	return b.Memory(), b.Release
}

// detach closes the handle and the device, and keeps the counters. If full is
// set, the quota is used up and unread frames do not count as received.
func (d *device) detach(full bool) {
	h := d.handle
	d.handle = nil
	d.r.writer.AwaitLoans()
	d.r.tally.end(d.taken, full)
	_ = h.Close()
	d.close()
}

// close closes the device, if it is open.
func (d *device) close() {
	if d.Device == nil {
		return
	}
	_ = d.Device.Close()
	d.r.cfg.Shared.Claims.drop(d.r)
	d.Closed()
	d.Device, d.handle = nil, nil
}

// header describes the interface as it is now.
func (d *device) header(link pcap.LinkType) pcap.Header {
	c, s := d.r.cfg.Settings, d.r.cfg.Shared
	f := pcap.PCAP
	if c.Format == config.FormatPcapng {
		f = pcap.PCAPNG
	}
	return pcap.Header{
		Format: f, Micro: c.Format == config.FormatPcapMicro, LinkType: link, Snaplen: uint32(c.Snaplen),
		Interface: d.link.name, MAC: d.link.now.Address, Speed: d.link.speed, Filter: c.Filter,
		Hardware: runtime.GOARCH, OS: s.OS, Application: s.Application,
	}
}

// announce logs that the interface is recorded, and how.
func (d *device) announce() {
	log, c := d.r.log, d.r.cfg.Settings
	log.Info("recording", "directory", c.Directory, "link_type", d.handle.LinkType().String(), "mode", string(d.handle.Mode()),
		"ring", text.Size(d.RingSize()))
	for _, w := range d.Warnings() {
		log.Warn(w)
	}
	if d.Remark != "" {
		log.Warn(d.Remark, "filter", c.Filter)
	}
}
