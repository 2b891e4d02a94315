package daemon

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"capd/capture"
	"capd/config"
	"capd/filter"
	"capd/pcap"
)

// errHeld is returned while another lane still reads the devices of before.
var errHeld = errors.New("other lanes have not let go of the interface yet")

// A source opens the devices of an interface, one for each of its lanes. They
// are opened together, since they share the frames: a lane that comes first
// finds them closed, and the others find theirs.
type source struct {
	system System
	cfg    capture.Config
	expr   string // of the filter
	lanes  int
	spread capture.Spread

	mu      sync.Mutex
	devices []*capture.Device // opened and not yet taken
	held    int               // taken and not yet done with
	gone    int               // lanes that have ended
}

func newSource(system System, name string, c *config.Interface) *source {
	s := &source{
		system: system,
		expr:   c.Filter,
		lanes:  c.Fanout,
		cfg: capture.Config{
			Interface:    name,
			Snaplen:      c.Snaplen,
			Promiscuous:  c.Promiscuous,
			Direction:    direction(c.Direction),
			LinkType:     c.LinkType,
			RingSize:     int(c.RingSize),
			BlockSize:    int(c.BlockSize),
			BlockTimeout: int(time.Duration(c.BlockTimeout) / time.Millisecond),
		},
	}
	if c.FanoutMode == config.FanoutCPU {
		s.spread = capture.ByCPU
	}
	return s
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
		link, err := LinkType(s.cfg.LinkType, link)
		if err == nil {
			s.cfg.Filter, err = Program(s.expr, link)
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", s.cfg.Interface, err)
		}
		devices, err := s.system.OpenGroup(s.cfg, s.lanes, s.spread)
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

// LinkType returns the link type of that name, or the interface's own if there is
// no name.
func LinkType(name string, own pcap.LinkType) (pcap.LinkType, error) {
	if name == "" {
		return own, nil
	}
	return pcap.ParseLinkType(name)
}

// Program compiles a filter for an interface of the link type; the empty one is
// no program.
func Program(expr string, link pcap.LinkType) ([]capture.Instruction, error) {
	if expr == "" {
		return nil, nil
	}
	p, err := Compile(expr, link)
	if err == nil {
		err = fits(runtime.GOOS, len(p.Instructions))
	}
	if err != nil {
		return nil, err
	}
	code := make([]capture.Instruction, len(p.Instructions))
	for i, in := range p.Instructions {
		code[i] = capture.Instruction{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return code, nil
}

// Compile compiles a filter for what capture gives of the link type here.
func Compile(expr string, link pcap.LinkType) (*filter.Program, error) {
	return filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Live: runtime.GOOS == "linux"})
}

// doubt returns what is odd about a filter; "" is nothing.
func doubt(expr string, link pcap.LinkType) string {
	if expr == "" {
		return ""
	}
	p, err := Compile(expr, link)
	switch {
	case err != nil: // told where it is used
	case p.NeverMatches():
		return "the filter can never match: nothing will be recorded"
	case p.AlwaysMatches():
		return "the filter lets every frame pass"
	}
	return ""
}

// fits returns an error for a program that is too long for the BPF devices of
// the system (BPF_MAXINSNS of net/bpf.h). What Linux takes is checked already.
func fits(system string, instructions int) error {
	const most = 512
	if system == "linux" || instructions <= most {
		return nil
	}
	return fmt.Errorf("compile filter: the program has %d instructions; the kernel takes %d", instructions, most)
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
	if s.gone++; s.gone == s.lanes {
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
