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

// A Simulation is a fake kernel with the interfaces en0 and en1, which have the link types Ethernet
// and 802.11 with radiotap headers.
type Simulation struct {
	OS string
	k  *fakeKernel
}

// Radiotap returns the shortest radiotap header.
func Radiotap() []byte { return []byte{0, 0, 8, 0, 0, 0, 0, 0} }

// EverySimulation runs the test with each system's fake kernel.
func EverySimulation(t *testing.T, test func(t *testing.T, s *Simulation)) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		t.Parallel() // most of the time they wait
		k.nodes, k.dlts, k.prefix = 16, []uint32{1, 127}, map[uint32][]byte{127: Radiotap()}
		k.lag = 300 * time.Microsecond
		test(t, &Simulation{k.os, k})
		if k.isOpen() {
			t.Error("a device is still open")
		}
	})
}

// Interfaces simulates the package's function of that name.
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

// OpenGroup simulates the package's function of that name.
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

// Send delivers a frame to the interface once there is room for it.
func (s *Simulation) Send(name string, frame []byte) {
	for !s.k.room(name) {
		time.Sleep(100 * time.Microsecond)
	}
	s.k.tap(name, device.In, frame)
}

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
