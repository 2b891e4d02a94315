package bpf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture/device"
)

// A Simulation is a fake kernel with the interfaces en0 and en1, which have the link types Ethernet
// and 802.11 with radiotap headers.
type Simulation struct {
	OS string
	k  *fakeKernel
}

// Radiotap returns the shortest radiotap header.
func Radiotap() []byte { return []byte{0, 0, 8, 0, 0, 0, 0, 0} }

// EverySimulation runs the test with each system's fake kernel in a synctest bubble: the kernel and the
// daemon share its clock.
func EverySimulation(t *testing.T, test func(t *testing.T, s *Simulation)) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			k := newKernel(t, k.abi)
			k.nodes, k.dlts, k.prefix = 16, []uint32{1, 127}, map[uint32][]byte{127: Radiotap()}
			k.lag = 35 * time.Microsecond // the longest that was measured
			test(t, &Simulation{k.os, k})
			time.Sleep(time.Second) // for the reads that are under way
			if k.isOpen() {
				t.Error("a device is still open")
			}
		})
	})
}

// Interfaces simulates the package's function of that name.
func (s *Simulation) Interfaces() ([]device.Interface, error) {
	s.k.mu.Lock()
	links := maps.Clone(s.k.links)
	s.k.mu.Unlock()
	var all []device.Interface
	for _, name := range slices.Sorted(maps.Keys(links)) {
		kind := interfaceEthernet
		if name == "utun0" {
			kind = interfaceOther
		}
		link, _ := s.k.guess(kind)
		all = append(all, device.Interface{
			Index: links[name].index, Name: name, HardwareType: uint16(kind), MTU: 1500,
			Up: links[name].up, Running: links[name].up, LinkType: link,
		})
	}
	return all, nil
}

// AddTunnel adds utun0, whose packets are raw IP, although its type suggests the header of a loopback
// interface.
func (s *Simulation) AddTunnel() {
	s.k.utun = []uint32{map[bool]uint32{false: 12, true: 14}[s.OS == "openbsd"]}
	s.Add("utun0", 7)
}

// Scarce makes the kernel find no memory for programs of more instructions than that; 0 ends it.
func (s *Simulation) Scarce(instructions int) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.programs = instructions
}

// OpenGroup simulates the package's function of that name.
func (s *Simulation) OpenGroup(c device.Config, n int, _ device.Spread) ([]*device.Device, error) {
	if n != 1 {
		return nil, fmt.Errorf("open group of %d: %w", n, errors.ErrUnsupported)
	}
	d, err := s.k.openDevice(c.Member(0))
	if err != nil {
		return nil, err
	}
	return []*device.Device{d.Device}, nil
}

// Changes simulates a routing socket on which nothing comes: capd looks at the interfaces once a second.
func (s *Simulation) Changes() <-chan struct{} { return nil }

// Tick sets the resolution of the kernel's clock.
func (s *Simulation) Tick(d time.Duration) { s.k.tick = d }

// Send delivers a frame to the interface once there is room for it. It takes as long as the kernel holds its
// lock: no later frame has a time before one that this frame has in some device.
func (s *Simulation) Send(name string, frame []byte) {
	for !s.k.room(name) {
		time.Sleep(100 * time.Microsecond)
	}
	s.k.tap(name, device.In, frame)
	time.Sleep(2 * s.k.lag)
}

// Burst delivers a frame to the interface at once, whether there is room or not.
func (s *Simulation) Burst(name string, frame []byte) { s.k.tap(name, device.In, frame) }

// Remove removes the interface. Add creates it again.
func (s *Simulation) Remove(name string) { s.k.remove(name) }

func (s *Simulation) Add(name string, index int) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.links[name] = linkState{index: index, up: true}
}

// SetUp switches the interface up or down.
func (s *Simulation) SetUp(name string, up bool) { s.k.setUp(name, up) }

// Refuse makes every open fail, as after capd has dropped root's privileges, or allows it again.
func (s *Simulation) Refuse(yes bool) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.openErr = nil
	if yes {
		s.k.openErr = syscall.EACCES
	}
}

// ReadTshark reads the frames of a file with tshark, and fails if tshark reports a problem.
func ReadTshark(t *testing.T, path string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, f := range readTshark(t, path) {
		all = append(all, f.data)
	}
	return all
}

// Adopt simulates the package's function of that name.
func (s *Simulation) Adopt(c device.Config, f *os.File, _ device.Position) (*device.Device, error) {
	return device.Adopt(c, f, device.Position{}, func(c device.Config, f *os.File, _ device.Position) (*device.Device, error) {
		d, err := adoptOn(s.k, s.k.abi, c, f)
		if err != nil {
			return nil, err
		}
		return d.device(), nil
	})
}

// Copies simulates capture.Copies.
func (s *Simulation) Copies() bool { return true }
