// Package fake simulates a system of interfaces, without a kernel and without privilege, for tests
// on any system. Its devices have the guarantees of package capture; the same tests check both.
//
//	sys := fake.New()
//	eth0 := sys.Add("eth0")
//	dev, err := sys.Open(capture.Config{Interface: "eth0"})
//	eth0.Send(frame)    // comes out of the device
//	eth0.SetUp(false)   // Next returns ErrDown
//
// Like the kernel, a device hands over a block when it is full or after the Config's BlockTimeout.
// It waits only on channels and timers, so that it works in a testing/synctest bubble. Objects used
// in a bubble must be created there.
package fake

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"capd/capture/device"
	"capd/pcap"

	"golang.org/x/net/bpf"
)

// A System has interfaces and opens devices on them. Its methods, and those of its interfaces, may
// be called from any goroutine.
type System struct {
	mu      sync.Mutex // guards the whole system: its links, devices and rings
	links   []*Link    // by index
	groups  []*group   // of devices on Any
	ports   []*port    // that live
	index   int        // of the interface added last
	opened  int        // number of groups opened so far
	skew    time.Duration
	refusal error
	changes chan struct{}
}

// New returns a system without interfaces.
func New() *System { return &System{changes: make(chan struct{}, 1)} }

// A Link is an interface of a System.
type Link struct {
	sys      *System
	iface    device.Interface
	types    []pcap.LinkType
	groups   []*group
	failures [AtNext]error   // by step
	from     *pcap.Interface // of its packets in devices on Any; nil before the first
}

// Add creates an interface that is up. It has the given link types, the default first, or Ethernet.
func (s *System) Add(name string, types ...pcap.LinkType) *Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(name) != nil {
		panic("fake: there is an interface " + name + " already")
	}
	if len(types) == 0 {
		types = []pcap.LinkType{pcap.LinkTypeEthernet}
	}
	s.index++
	l := &Link{sys: s, types: types, iface: device.Interface{
		Index: s.index, Name: name, HardwareType: 1, LinkType: types[0], MTU: 1500, Up: true, Running: true,
		Loopback: name == "lo", Address: net.HardwareAddr{2, 0, 0, 0, 0, byte(s.index)},
	}}
	s.links = append(s.links, l)
	s.changed()
	return l
}

// find returns the interface of that name; nil if there is none.
func (s *System) find(name string) *Link {
	if i := slices.IndexFunc(s.links, func(l *Link) bool { return l.iface.Named(name) }); i >= 0 {
		return s.links[i]
	}
	return nil
}

// changed reports that some interface changed. The caller holds mu.
func (s *System) changed() {
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// Changes returns a channel that receives a value when interfaces have changed since the last
// receive.
func (s *System) Changes() <-chan struct{} { return s.changes }

// Interfaces lists the interfaces, by index.
func (s *System) Interfaces() ([]device.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []device.Interface
	for _, l := range s.links {
		i := l.iface
		i.AltNames = slices.Clone(i.AltNames)
		i.Address = slices.Clone(i.Address)
		i.IPs = slices.Clone(i.IPs)
		all = append(all, i)
	}
	return all, nil
}

// Open opens an interface, as capture.Open does.
func (s *System) Open(c device.Config) (*device.Device, error) { return device.Open(c, s.open) }

// OpenGroup opens devices that share the frames of an interface, as capture.OpenGroup does. ByFlow
// uses the addresses and ports of IPv4, or the first bytes of other frames; ByCPU assigns frames in
// turn.
func (s *System) OpenGroup(c device.Config, n int, spread device.Spread) ([]*device.Device, error) {
	return device.OpenGroup(c, n, spread, s.open, s.openGroup)
}

func (s *System) open(c device.Config) (*device.Device, error) {
	all, err := s.openPorts(c, 1, device.ByFlow)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func (s *System) openGroup(c device.Config, n int, spread device.Spread) ([]*device.Device, error) {
	all, err := s.openPorts(c, n, spread)
	if err != nil && !errors.Is(err, device.ErrDown) {
		err = fmt.Errorf("open %s: %w", c.Interface, err)
	}
	return all, err
}

func (s *System) openPorts(c device.Config, n int, spread device.Spread) ([]*device.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return nil, s.refusal
	}
	l, link, err := lookup(s, c)
	if err == nil {
		c, err = c.Compiled(link)
	}
	if err != nil {
		return nil, err
	}
	if err := accepts(c.Filter); err != nil {
		return nil, err
	}
	if n > 1 && l != nil && !l.iface.Up {
		return nil, fmt.Errorf("join group: %w", device.ErrDown)
	}
	s.opened++
	g := &group{spread: spread, order: s.opened}
	var all []*device.Device
	for i := range n {
		if n > 1 {
			c = c.Member(i)
		}
		p := newPort(s, l, g, c, link)
		g.ports, s.ports = append(g.ports, p), append(s.ports, p)
		d := p.describe(c.Account)
		d.account.Open(p.nic())
		all = append(all, d.device(device.Adopted{}))
	}
	if l == nil {
		s.groups = append(s.groups, g)
	} else {
		l.groups = append(l.groups, g)
	}
	return all, nil
}

// accepts returns an error for a program with an instruction that does not exist, as a kernel does.
func accepts(program []device.Instruction) error {
	for _, i := range program {
		raw := bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K}
		if _, unknown := raw.Disassemble().(bpf.RawInstruction); unknown {
			return fmt.Errorf("set filter: %w", syscall.EINVAL)
		}
	}
	return nil
}

// lookup returns the interface that the Config names, or nil for Any, and the link type of its
// frames.
func lookup(s *System, c device.Config) (*Link, pcap.LinkType, error) {
	types := device.AnyLinkTypes()
	var l *Link
	if c.Interface != device.Any {
		if l = s.find(c.Interface); l == nil {
			return nil, 0, device.ErrNoInterface
		}
		if err := l.failures[AtOpen]; err != nil {
			return nil, 0, err
		}
		types = l.types
	}
	if c.LinkType == "" {
		return l, types[0], nil
	}
	want, err := pcap.ParseLinkType(c.LinkType)
	if err == nil && !slices.Contains(types, want) {
		err = device.NoLinkType(want, types)
	}
	return l, want, err
}

// Refuse makes every attempt to open a device fail with the error, such as capture.ErrPermission,
// until it is called with nil.
func (s *System) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
}

// SetSkew sets the difference between the times of one frame in the first and in the last opened
// device of an interface. The last one has the earlier time. Devices opened from now on report that
// Skew.
func (s *System) SetSkew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = d
}

// Name returns the interface's name.
func (l *Link) Name() string {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	return l.iface.Name
}

// Index returns the interface's index. A rename does not change it; a new interface of the same
// name has another index.
func (l *Link) Index() int { return l.iface.Index } // never changes

// Devices returns how many devices of the interface are open.
func (l *Link) Devices() int {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	n := 0
	for _, g := range l.groups {
		n += len(g.ports)
	}
	return n
}

// Change changes properties of the interface, such as its address or its count of dropped frames.
// It does not change the index, the name (use Rename), or whether it is up (use SetUp).
func (l *Link) Change(f func(i *device.Interface)) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	now := l.iface
	f(&now)
	l.iface.HardwareType, l.iface.MTU, l.iface.Running, l.iface.Loopback = now.HardwareType, now.MTU, now.Running, now.Loopback
	l.iface.Address, l.iface.IPs, l.iface.NIC, l.iface.XDP = now.Address, now.IPs, now.NIC, now.XDP
	l.iface.AltNames = now.AltNames
	l.sys.changed()
}

// SetUp switches the interface up or down. While it is down, no frame is received.
func (l *Link) SetUp(up bool) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	if !up && l.iface.Up {
		l.each(func(p *port) { p.down = true })
	}
	l.iface.Up, l.iface.Running = up, up
	l.sys.changed()
}

// Rename renames the interface. Its devices continue.
func (l *Link) Rename(name string) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	if other := l.sys.find(name); other != nil && other != l {
		panic("fake: there is an interface " + name + " already")
	}
	l.iface.Name = name
	l.sys.changed()
}

// Remove removes the interface. Its devices return ErrGone after they are drained.
func (l *Link) Remove() {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	l.sys.links = slices.DeleteFunc(l.sys.links, func(o *Link) bool { return o == l })
	l.iface.Up, l.iface.Running = false, false
	l.each(func(p *port) { p.gone = true })
	l.sys.changed()
}

// A Step is a step at which an interface can be made to fail.
type Step uint8

// Steps.
const (
	AtOpen   Step = iota // opening a device, every time until the error is nil
	AtAttach             // attaching to a device, every time until the error is nil
	AtAdmit              // admitting frames to a gated device, every time until the error is nil
	AtNext               // the next Next of each open device, once
)

// Fail makes a step fail with the error, such as capture.ErrPermission.
func (l *Link) Fail(at Step, err error) {
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	if at == AtNext {
		l.each(func(p *port) { p.failure = err })
	} else {
		l.failures[at] = err
	}
}

// each calls f for each device and wakes its reader. The caller holds mu.
func (l *Link) each(f func(p *port)) {
	for _, g := range l.groups {
		for _, p := range g.ports {
			f(p)
			p.wake()
		}
	}
}
