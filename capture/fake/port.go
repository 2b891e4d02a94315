package fake

import (
	"os"
	"slices"
	"time"

	"capd/capture/device"
	"capd/filter"
	"capd/pcap"

	"golang.org/x/net/bpf"
)

// A port is what the kernel has of a device. It lives while a descriptor of it is open. The system's
// lock guards it.
type port struct {
	sys      *System
	link     *Link // nil means all interfaces
	group    *group
	config   device.Config
	linkType pcap.LinkType
	program  filter.Program
	ring     ring
	reader   *reader // nil if there is none

	references

	gated   bool
	stopped bool
	gone    bool  // the interface was removed
	down    bool  // the interface went down, and Next has not reported it yet
	failure error // for Next to return
	count   counts
}

// references keep a port alive.
type references struct {
	open []*descriptor // those of devices
	file *os.File      // stands for duplicates of the descriptor; nil if there are none
}

// counts are what happened since they were read.
type counts struct{ received, dropped, freezes uint64 }

// A descriptor is the backend of a device: what a process has of a port. The system's lock guards it.
type descriptor struct {
	*port
	account *device.Account
	handed  uint64 // frames in the batches returned so far
	corrupt uint64
	closed  bool
	dead    bool // its process has ended: see System.Crash
}

// poolSize is how many batches of a device without a ring may be held at the same time.
const poolSize = 8

func newPort(s *System, l *Link, g *group, c device.Config, link pcap.LinkType) *port {
	p := &port{sys: s, link: l, group: g, config: c, linkType: link, gated: c.Gated}
	for _, i := range c.Filter {
		p.program.Instructions = append(p.program.Instructions, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	p.down = l != nil && !l.iface.Up
	p.ring.port, p.ring.size = p, c.BlockSize
	n := c.RingSize / c.BlockSize
	if c.NoRing {
		n, p.ring.size = poolSize, c.RingSize/poolSize
	}
	p.ring.blocks = make([]block, n)
	for i := range p.ring.blocks {
		p.ring.blocks[i].ring = &p.ring
	}
	return p
}

// describe returns a further descriptor of the port, to which its blocks are lent from now on.
func (p *port) describe(a *device.Account) *descriptor {
	d := &descriptor{port: p, account: a}
	if a == nil {
		d.account = new(device.Account)
	}
	p.open = append(p.open, d)
	for i := range p.ring.blocks {
		newLoan(d, &p.ring.blocks[i])
	}
	return d
}

// device returns a device with the descriptor as its backend.
func (p *descriptor) device(a device.Adopted) *device.Device {
	i := device.Info{Name: p.config.Interface, LinkType: p.linkType, Mode: device.ModeRing, RingSize: p.config.RingSize, Skew: p.sys.skew, Adopted: a}
	if p.link != nil {
		i.Index = p.link.iface.Index
	}
	if p.gone {
		i.Index = indexGone
	}
	if p.config.NoRing {
		i.Mode, i.RingSize = device.ModeSocket, 0
	}
	return device.New(p, i)
}

// nic returns the interface's own counters.
func (p *port) nic() device.NIC {
	if p.link == nil {
		return device.NIC{}
	}
	return p.link.iface.NIC
}

// takes reports whether frames are received.
func (p *port) takes() bool { return !p.gated && !p.stopped && !p.gone }

// wake makes a waiting Next check again. The caller holds the lock.
func (p *port) wake() {
	if p.reader != nil {
		select {
		case p.reader.news <- struct{}{}:
		default:
		}
	}
}

// Attach starts reading.
func (p *descriptor) Attach() (device.Reader, error) {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if p.dead {
		return nil, device.ErrClosed
	}
	if p.link != nil && p.link.failures[AtAttach] != nil {
		return nil, p.link.failures[AtAttach]
	}
	p.reader = &reader{descriptor: p, news: make(chan struct{}, 1)}
	return p.reader, nil
}

// Admit opens the gate.
func (p *descriptor) Admit() error {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if p.link != nil && p.link.failures[AtAdmit] != nil {
		return p.link.failures[AtAdmit]
	}
	if p.gated && !p.dead {
		p.account.Admit(p.nic())
		p.gated = false
	}
	return nil
}

// Stop ends reception.
func (p *descriptor) Stop() error {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if p.closed || p.dead {
		return device.ErrClosed
	}
	p.stopped = true
	p.wake()
	return nil
}

// Stats returns the counters.
func (p *descriptor) Stats() (device.Stats, error) {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	p.read()
	s := p.account.Stats(p.handed)
	s.Corrupt = p.corrupt
	if !p.config.NoRing {
		s.RingBlocks = len(p.ring.blocks)
		for i := range p.ring.blocks {
			if b := &p.ring.blocks[i]; b.state == filled || b.state == held {
				s.FilledBlock++
			}
		}
	}
	return s, nil
}

// read adds the kernel's counters to the account, which resets them.
func (p *descriptor) read() {
	if p.closed || p.dead {
		return
	}
	_ = p.account.Count(func() (received, dropped, freezes uint64, err error) {
		c := p.count
		p.count = counts{}
		return c.received, c.dropped, c.freezes, nil
	})
}

// Refresh updates NICDropped.
func (p *descriptor) Refresh() {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if !p.stopped && !p.gone && !p.closed && !p.dead {
		p.account.Refresh(p.nic())
	}
}

// Close closes the descriptor.
func (p *descriptor) Close() error {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	p.read()
	p.closed = true
	p.leave(p)
	return nil
}

// leave removes a descriptor. The port ends with the last one.
func (p *port) leave(d *descriptor) {
	p.open = slices.DeleteFunc(p.open, func(o *descriptor) bool { return o == d })
	if len(p.open) > 0 || p.file != nil {
		return
	}
	is := func(o *port) bool { return o == p }
	p.sys.ports = slices.DeleteFunc(p.sys.ports, is)
	p.group.ports = slices.DeleteFunc(p.group.ports, is)
	p.ring.stopTimer()
	groups := &p.sys.groups
	if p.link != nil {
		groups = &p.link.groups
	}
	*groups = slices.DeleteFunc(*groups, func(g *group) bool { return len(g.ports) == 0 })
}

// A reader reads a port.
type reader struct {
	*descriptor
	news        chan struct{} // receives a value when Next should check again
	interrupted bool
	end         error // what Next returns after the device was drained
	header      bool  // a frame was received
}

// Next returns the next filled block, and waits for it until the timeout.
func (r *reader) Next(timeout time.Duration) (*device.Batch, error) {
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	for {
		b, err := r.take()
		if b != nil || err != nil || timeout == 0 {
			return b, err
		}
		select {
		case <-r.news:
		case <-expired:
			return r.take()
		}
	}
}

// take is Next without waiting.
func (r *reader) take() (*device.Batch, error) {
	r.sys.mu.Lock()
	defer r.sys.mu.Unlock()
	if r.interrupted || r.dead {
		return nil, device.ErrClosed
	}
	if b := r.ring.next(r.config.NoRing); b != nil {
		r.header = true
		r.handed += uint64(b.loan.Len())
		return b.loan.batch, nil
	}
	if err := r.failure; err != nil {
		r.failure = nil
		return nil, err
	}
	if r.end == nil && r.stopped {
		r.end = device.ErrClosed
	}
	if r.end == nil && r.gone {
		r.end = device.ErrGone
	}
	if r.end != nil {
		if r.ring.drained() {
			return nil, r.end
		}
		return nil, nil
	}
	if r.down {
		r.down = false
		return nil, device.ErrDown
	}
	return nil, nil
}

// Layout returns the layout of Ethernet frames in a Linux ring.
func (r *reader) Layout() device.Layout {
	l := device.Layout{Resolution: time.Nanosecond, Clock: "clock of the test"}
	if !r.config.NoRing {
		l.Unit, l.Align = r.config.BlockSize, recordAlign
		if r.header {
			l.Header = recordHeader
		}
	}
	return l
}

// Interrupt makes a waiting Next return.
func (r *reader) Interrupt() {
	r.sys.mu.Lock()
	defer r.sys.mu.Unlock()
	r.interrupted = true
	r.wake()
}

// Close ends reading.
func (r *reader) Close() error {
	r.sys.mu.Lock()
	defer r.sys.mu.Unlock()
	if r.reader == r {
		r.reader = nil
	}
	return nil
}
