package fake

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"capd/capture/device"
	"capd/pcap"
)

// indexGone is the index of an interface that was removed.
const indexGone = -1

// File returns a file that stands for a duplicate of the descriptor. It is one of the system's own,
// and tells ports apart however often it is duplicated.
func (p *descriptor) File() (*os.File, error) {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if p.dead {
		return nil, device.ErrClosed
	}
	if p.config.NoRing {
		return nil, fmt.Errorf("no ring: %w", errors.ErrUnsupported)
	}
	if p.file == nil {
		f, err := os.CreateTemp("", "ring")
		if err != nil {
			return nil, err
		}
		p.file = f
		_ = os.Remove(f.Name())
	}
	return os.Open(fmt.Sprintf("/dev/fd/%d", p.file.Fd()))
}

// Adopt returns a device that continues with the ring of a file that Device.File returned, as
// capture.Adopt does.
func (s *System) Adopt(c device.Config, f *os.File, at device.Position) (*device.Device, error) {
	return device.Adopt(c, f, at, func(c device.Config, f *os.File, at device.Position) (*device.Device, error) {
		return adopt(s, c, f, at)
	})
}

func adopt(s *System, c device.Config, f *os.File, at device.Position) (*device.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := portOf(s, f)
	if err != nil {
		return nil, err
	}
	if c, err = c.Compiled(p.linkType); err != nil {
		return nil, err
	}
	if err := p.fits(c); err != nil {
		return nil, err
	}
	if newest := p.ring.number; at.Block > newest {
		return nil, &device.UnfitError{Property: "block recorded last", Is: fmt.Sprint(at.Block), Want: fmt.Sprintf("at most %d, the newest in the ring", newest)}
	}
	d := p.describe(c.Account)
	d.handed, d.corrupt = at.Frames, at.Corrupt
	d.account.Adopt(p.nic())
	if p.link != nil && !p.link.iface.Up {
		p.down = true
	}
	found := device.Adopted{Missing: p.ring.resume(at.Block), Gated: p.gated, Stopped: p.stopped, Spread: p.group.spread}
	if len(p.group.ports) > 1 {
		found.Group = p.group.order
	}
	return d.device(found), nil
}

// portOf returns the port that the file stands for.
func portOf(s *System, f *os.File) (*port, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for _, p := range s.ports {
		if p.file == nil {
			continue
		}
		if own, err := p.file.Stat(); err == nil && os.SameFile(own, info) {
			return p, nil
		}
	}
	return nil, &device.UnfitError{Property: "descriptor", Is: "none of this system", Want: "that of a device"}
}

// fits compares the port with the Config.
func (p *port) fits(c device.Config) error {
	err := errors.Join(
		device.Unfit("socket for all interfaces", p.link == nil, c.Interface == device.Any),
		device.Unfit("block size", p.config.BlockSize, c.BlockSize),
		device.Unfit("block timeout", p.config.BlockTimeout, c.BlockTimeout),
		device.Unfit("promiscuous mode", p.config.Promiscuous, c.Promiscuous),
		device.Unfit("ignoring sent frames", p.config.Direction, c.Direction),
	)
	if c.RingSize > 0 {
		err = errors.Join(err, device.Unfit("blocks in the ring", p.config.RingSize/p.config.BlockSize, c.RingSize/c.BlockSize))
	}
	if !slices.Equal(p.config.Filter, c.Filter) || p.config.Snaplen != c.Snaplen {
		err = errors.Join(err, &device.UnfitError{Property: "filter", Is: "another one", Want: "that of the configuration"})
	}
	if p.gated && !c.Gated {
		err = errors.Join(err, &device.UnfitError{Property: "filter", Is: "a gate that accepts nothing", Want: "that of the configuration"})
	}
	if want, typeErr := pcap.ParseLinkType(c.LinkType); c.LinkType != "" && (typeErr != nil || want != p.linkType) {
		err = errors.Join(err, typeErr, device.NoLinkType(want, []pcap.LinkType{p.linkType}))
	}
	return err
}

// resume takes back the blocks up to the number last, which were recorded, and reads on after them,
// with those that the process which ended held. It returns how many blocks are missing.
func (r *ring) resume(last uint64) (missing uint64) {
	n := uint64(len(r.blocks))
	for i := range r.blocks {
		b := &r.blocks[i]
		b.gap = false
		switch {
		case b.number <= last && (b.state == filled || b.state == held):
			b.free()
		case b.state == held:
			b.state, b.packets = filled, clone(b.packets)
		}
	}
	first := last + 1
	if r.number > last+n {
		first = r.number - n + 1
		missing = first - 1 - last
	}
	r.out = int((first - 1) % n)
	for i := first; i < r.number; i++ {
		if b := &r.blocks[(i-1)%n]; b.number != i || b.state == empty {
			b.gap = true
			missing++
		}
	}
	return missing
}

// clone copies packets, whose memory the holder of a block may still use.
func clone(pkts []pcap.Packet) []pcap.Packet {
	all := slices.Clone(pkts)
	for i := range all {
		all[i].Data = slices.Clone(all[i].Data)
	}
	return all
}

// Crash ends the process that has the devices, as kill -9 does. Handles return ErrClosed, and
// whatever is done with them or with their batches has no effect. Devices of which File gave a file go
// on receiving, until a process adopts them; all others are closed.
func (s *System) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range slices.Clone(s.ports) {
		for _, d := range slices.Clone(p.open) {
			d.dead = true
			p.leave(d)
		}
		p.wake()
	}
}

// Forget closes the last duplicate of the descriptor that the file stands for: the device then ends
// with the process that has it.
func (s *System) Forget(f *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := portOf(s, f)
	if err != nil {
		return err
	}
	err = p.file.Close()
	p.file = nil
	p.leave(nil)
	return err
}
