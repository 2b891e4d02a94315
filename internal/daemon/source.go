package daemon

import (
	"slices"
	"sync"

	"capd/capture"
	"capd/config"
	"capd/internal/recorder"
	"capd/internal/restart"
	"capd/internal/setup"
)

// devices opens the devices of an interface, one for each lane. All are opened
// together, since they share the frames: the first lane that needs a device
// opens them all.
type devices struct {
	system   System
	settings *config.Interface
	wanted   setup.Devices

	known  map[*restart.State]uint64 // identities of the rings that an earlier process opened
	states []*restart.State          // of the lanes; nil for those that leave nothing

	mu   sync.Mutex // guards what follows; held while devices are opened, since all lanes need them
	open []*capture.Device
	held int // devices that lanes have taken and not yet closed
	gone int // lanes that have ended

	adopted bool // some of open were adopted: no others may be opened beside them
}

func newDevices(system System, name string, c *config.Interface) *devices {
	return &devices{system: system, settings: c, wanted: setup.For(name, c), states: make([]*restart.State, c.Fanout), known: make(map[*restart.State]uint64)}
}

// A laneSource is the recorder.Source of one lane. Lanes count from 0 here.
type laneSource struct {
	*devices
	lane int
}

// Open returns the device of the lane, and opens all devices if none is open.
func (s laneSource) Open(gated bool) (*recorder.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || s.open[s.lane] == nil {
		if s.held > 0 || s.adopted {
			return nil, recorder.ErrHeld
		}
		if err := s.openAll(gated); err != nil {
			return nil, err
		}
	}
	one := s.open[s.lane]
	d := &recorder.Device{
		Device: one, Speed: speed(s.system, s.wanted.Config.Interface),
		Remark: setup.Remark(s.wanted.Filter, one.LinkType()), Closed: s.closed,
	}
	if state := s.states[s.lane]; state != nil {
		d.Ring, d.Adopted = s.keep(state, one)
		d.Closed = func() {
			state.DropRing()
			s.forget(state)
			s.closed()
		}
	}
	s.open[s.lane] = nil
	s.adopted = s.adopted && slices.ContainsFunc(s.open, func(one *capture.Device) bool { return one != nil })
	s.held++
	return d, nil
}

// Leave closes the devices that no lane has taken, once the last lane has
// ended.
func (s laneSource) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone++; s.gone == s.wanted.Lanes {
		s.closeAll()
	}
}

// openAll opens the devices of all lanes. The caller holds mu.
func (d *devices) openAll(gated bool) (err error) {
	d.closeAll()
	c := d.wanted.Config
	c.RingSize = ringSize(d.system, c.Interface, d.settings) // by the link's speed now
	c.Gated = gated
	c.Accounts = accounts(d.states)
	d.open, err = d.system.OpenGroup(c, d.wanted.Lanes, d.wanted.Spread)
	return err
}

// closed notes that a lane has closed its device.
func (d *devices) closed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held--
}

// forget forgets the ring that an earlier process opened: another one may come to have its identity.
func (d *devices) forget(state *restart.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, state)
}

// closeAll closes the devices that no lane has taken. The caller holds mu.
func (d *devices) closeAll() {
	for _, one := range d.open {
		if one != nil {
			_ = one.Close()
		}
	}
	d.open = nil
}

// ringSize returns the size of the interface's ring in bytes.
func ringSize(s System, name string, c *config.Interface) int {
	mbps := 0
	if c.RingSize == 0 {
		mbps = int(speed(s, name) / 1_000_000)
	}
	return int(setup.RingSize(c, mbps))
}

// speed returns the speed of an interface in bit/s; 0 if it is unknown.
func speed(s System, name string) uint64 {
	if s, ok := s.(interface{ Speed(name string) int }); ok {
		return uint64(s.Speed(name)) * 1_000_000
	}
	return 0
}
