package fake

import (
	"slices"
	"time"

	"capd/capture/device"
	"capd/filter"
	"capd/pcap"

	"golang.org/x/net/bpf"
)

// A port is the backend of a device. The system's lock guards it.
type port struct {
	sys      *System
	link     *Link // nil means all interfaces
	group    *group
	config   device.Config
	linkType pcap.LinkType
	program  filter.Program
	ring     ring
	reader   *reader // nil if there is none

	gated   bool
	stopped bool
	gone    bool  // the interface was removed
	down    bool  // the interface went down, and Next has not reported it yet
	failure error // for Next to return
	count   device.Stats
	missed  device.NIC // what the interface had counted when frames were let in
}

// poolSize is how many batches of a device without a ring may be held at the same time.
const poolSize = 8

func newPort(s *System, l *Link, g *group, c device.Config, link pcap.LinkType) *port {
	p := &port{sys: s, link: l, group: g, config: c, linkType: link, gated: c.Gated}
	for _, i := range c.Filter {
		p.program.Instructions = append(p.program.Instructions, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	p.missed = p.nic()
	p.down = l != nil && !l.iface.Up
	p.ring.port, p.ring.size = p, c.BlockSize
	n := c.RingSize / c.BlockSize
	if c.NoRing {
		n, p.ring.size = poolSize, c.RingSize/poolSize
	}
	p.ring.blocks = make([]block, n)
	for i := range p.ring.blocks {
		b := &p.ring.blocks[i]
		b.ring, b.batch = &p.ring, device.NewBatch(b)
	}
	return p
}

// device returns a device with the port as its backend.
func (p *port) device() *device.Device {
	i := device.Info{Name: p.config.Interface, LinkType: p.linkType, Mode: device.ModeRing, RingSize: p.config.RingSize, Skew: p.sys.skew}
	if p.link != nil {
		i.Index = p.link.iface.Index
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
func (p *port) Attach() (device.Reader, error) {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if p.link != nil && p.link.failures[AtAttach] != nil {
		return nil, p.link.failures[AtAttach]
	}
	p.reader = &reader{port: p, news: make(chan struct{}, 1)}
	return p.reader, nil
}

// Admit opens the gate.
func (p *port) Admit() error {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if p.link != nil && p.link.failures[AtAdmit] != nil {
		return p.link.failures[AtAdmit]
	}
	if p.gated {
		p.gated, p.missed = false, p.nic()
	}
	return nil
}

// Stop ends reception.
func (p *port) Stop() error {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if !slices.Contains(p.group.ports, p) {
		return device.ErrClosed
	}
	p.stopped = true
	p.wake()
	return nil
}

// Stats returns the counters.
func (p *port) Stats() (device.Stats, error) {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	s := p.count
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

// Refresh updates NICDropped.
func (p *port) Refresh() {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	if !p.stopped && !p.gone && slices.Contains(p.group.ports, p) {
		p.count.NIC = p.count.AtLeast(p.nic().Since(p.missed))
	}
}

// Close closes the device.
func (p *port) Close() error {
	p.sys.mu.Lock()
	defer p.sys.mu.Unlock()
	p.group.ports = slices.DeleteFunc(p.group.ports, func(o *port) bool { return o == p })
	p.ring.stopTimer()
	groups := &p.sys.groups
	if p.link != nil {
		groups = &p.link.groups
	}
	*groups = slices.DeleteFunc(*groups, func(g *group) bool { return len(g.ports) == 0 })
	return nil
}

// A reader reads a port.
type reader struct {
	*port
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
	if r.interrupted {
		return nil, device.ErrClosed
	}
	if b := r.ring.next(r.config.NoRing); b != nil {
		r.header = true
		return b.batch, nil
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
	r.port.reader = nil
	return nil
}
