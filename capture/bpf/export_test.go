package bpf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// A Simulation is a system of interfaces over a fake kernel: en0 and en1, which
// have Ethernet and 802.11 with radio headers.
type Simulation struct {
	OS string
	k  *fakeKernel
}

// Radiotap is the shortest header of that link type.
func Radiotap() []byte { return []byte{0, 0, 8, 0, 0, 0, 0, 0} }

// EverySimulation runs the test over each system's kernel.
func EverySimulation(t *testing.T, test func(t *testing.T, s *Simulation)) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		t.Parallel() // they wait most of the time
		k.nodes, k.dlts, k.prefix = 16, []uint32{1, 127}, map[uint32][]byte{127: Radiotap()}
		k.lag = 300 * time.Microsecond
		test(t, &Simulation{k.os, k})
		if k.isOpen() {
			t.Error("a device is still open")
		}
	})
}

// Interfaces is what the package's function is of a real system.
func (s *Simulation) Interfaces() ([]device.Interface, error) {
	s.k.mu.Lock()
	links := maps.Clone(s.k.links)
	s.k.mu.Unlock()
	var all []device.Interface
	for _, name := range slices.Sorted(maps.Keys(links)) {
		all = append(all, device.Interface{
			Index: links[name].index, Name: name, HardwareType: interfaceEthernet, MTU: 1500,
			Up: links[name].up, Running: links[name].up, LinkType: pcap.LinkTypeEthernet,
		})
	}
	return all, nil
}

// OpenGroup is what the package's function is of a real system.
func (s *Simulation) OpenGroup(c device.Config, n int, _ device.Spread) ([]*device.Device, error) {
	if n != 1 {
		return nil, fmt.Errorf("open group of %d: %w", n, errors.ErrUnsupported)
	}
	d, err := s.k.openDevice(c)
	if err != nil {
		return nil, err
	}
	return []*device.Device{d.Device}, nil
}

// Send sends a frame to the interface when there is room for it.
func (s *Simulation) Send(name string, frame []byte) {
	for !s.k.room(name) {
		time.Sleep(100 * time.Microsecond)
	}
	s.k.tap(name, device.In, frame)
}

// Remove removes the interface, and Add makes one of that name anew.
func (s *Simulation) Remove(name string) { s.k.remove(name) }

func (s *Simulation) Add(name string, index int) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.links[name] = linkState{index: index, up: true}
}

// SetUp switches the interface on or off.
func (s *Simulation) SetUp(name string, up bool) { s.k.setUp(name, up) }

// Refuse lets nobody open a device from now on, as when capd has become an
// ordinary user, or everybody.
func (s *Simulation) Refuse(yes bool) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.openErr = nil
	if yes {
		s.k.openErr = syscall.EACCES
	}
}

// ReadTshark reads the frames of a file with tshark, which must have nothing to
// say of it.
func ReadTshark(t *testing.T, path string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, f := range readTshark(t, path) {
		all = append(all, f.data)
	}
	return all
}
