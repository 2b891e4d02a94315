package daemon

import (
	"errors"
	"net"
	"sync"

	"capd/capture"
	"capd/config"
	"capd/internal/setup"
	"capd/pcap"
)

// errHeld is returned while another lane still reads the devices of before.
var errHeld = errors.New("other lanes have not let go of the interface yet")

// A source opens the devices of an interface, one for each of its lanes. They
// are opened together, since they share the frames: a lane that comes first
// finds them closed, and the others find theirs.
type source struct {
	system System
	wanted setup.Devices

	mu      sync.Mutex
	devices []*capture.Device // opened and not yet taken
	held    int               // taken and not yet done with
	gone    int               // lanes that have ended
}

func newSource(system System, name string, c *config.Interface) *source {
	return &source{system: system, wanted: setup.For(name, c)}
}

// take returns the device of a lane, from 0, and opens all if none is open. The
// filter is compiled for the link type that is chosen, or that the interface has
// now.
func (s *source) take(lane int, link pcap.LinkType) (*capture.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.devices == nil || s.devices[lane] == nil {
		if s.held > 0 {
			return nil, errHeld
		}
		s.closeLocked()
		cfg, err := s.wanted.Compile(link)
		if err != nil {
			return nil, err
		}
		devices, err := s.system.OpenGroup(cfg, s.wanted.Lanes, s.wanted.Spread)
		if err != nil {
			return nil, err
		}
		s.devices = devices
	}
	d := s.devices[lane]
	s.devices[lane] = nil
	s.held++
	return d, nil
}

// done tells that a lane has closed its device.
func (s *source) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
}

// leave tells that a lane has ended. The last one closes what was not taken.
func (s *source) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone++; s.gone == s.wanted.Lanes {
		s.closeLocked()
	}
}

func (s *source) closeLocked() {
	for _, d := range s.devices {
		if d != nil {
			_ = d.Close()
		}
	}
	s.devices = nil
}

// takeDevice takes the lane's device from the source.
func (r *recorder) takeDevice() (err error) {
	r.device, err = r.source.take(max(r.lane.Number-1, 0), r.link.LinkType)
	if err != nil {
		return err
	}
	index := r.device.Index()
	r.index.Store(int64(index))
	if link, err := net.InterfaceByIndex(index); err == nil && r.link.Index != index { // it came after the last look
		r.link.Index, r.link.Name, r.link.Address = index, link.Name, link.HardwareAddr
	}
	return nil
}

// closeDevice gives the device back, if there is one.
func (r *recorder) closeDevice() {
	if r.device != nil {
		_ = r.device.Close()
		r.index.Store(0)
		r.source.done()
		r.device = nil
	}
}
