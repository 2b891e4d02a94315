// Package setup says how an interface is opened: which devices its configuration asks for, with its filter compiled for
// what they capture.
package setup

import (
	"runtime"
	"time"

	"capd/capture"
	"capd/config"
	"capd/filter"
	"capd/pcap"
)

// Devices says which devices one interface is recorded from.
type Devices struct {
	Config capture.Config
	Filter string         // expression that Config compiles for the link type of the device; empty: all frames
	Lanes  int            // devices that share the frames
	Spread capture.Spread // how they share them
}

// For returns what a configuration says for an interface.
func For(name string, c *config.Interface) Devices {
	d := Devices{
		Config: capture.Config{
			Interface:    name,
			Snaplen:      c.Snaplen,
			Promiscuous:  c.Promiscuous,
			Direction:    direction(c.Direction),
			LinkType:     c.LinkType,
			RingSize:     int(c.RingSize),
			BlockSize:    int(c.BlockSize),
			BlockTimeout: int(time.Duration(c.BlockTimeout) / time.Millisecond),
			Compile:      func(link pcap.LinkType) ([]capture.Instruction, error) { return Program(c.Filter, link) },
		},
		Filter: c.Filter,
		Lanes:  c.Fanout,
	}
	if c.FanoutMode == config.FanoutCPU {
		d.Spread = capture.ByCPU
	}
	return d
}

func direction(s string) capture.Direction {
	switch s {
	case config.DirectionIn:
		return capture.In
	case config.DirectionOut:
		return capture.Out
	}
	return capture.Both
}

// LinkType returns the link type of that name, or the interface's own if there is
// no name.
func LinkType(name string, own pcap.LinkType) (pcap.LinkType, error) {
	if name == "" {
		return own, nil
	}
	link, err := pcap.ParseLinkType(name)
	if err != nil {
		return 0, &linkTypeError{err}
	}
	return link, nil
}

// Compile compiles a filter for what capture gives of the link type on this system.
func Compile(expr string, link pcap.LinkType) (*filter.Program, error) {
	return filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Live: runtime.GOOS == "linux", Machine: filter.MachineOf(runtime.GOOS)})
}

// Program compiles a filter for an interface of the link type; the empty one is
// no program.
func Program(expr string, link pcap.LinkType) ([]capture.Instruction, error) {
	if expr == "" {
		return nil, nil
	}
	p, err := Compile(expr, link)
	if err != nil {
		return nil, err
	}
	code := make([]capture.Instruction, len(p.Instructions))
	for i, in := range p.Instructions {
		code[i] = capture.Instruction{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return code, nil
}

// Remark returns what is odd about a filter that can be compiled; "" is nothing.
func Remark(expr string, link pcap.LinkType) string {
	if expr == "" {
		return ""
	}
	p, err := Compile(expr, link)
	switch {
	case err != nil: // reported where the device is opened
	case p.NeverMatches():
		return "the filter can never match: nothing will be recorded"
	case p.AlwaysMatches():
		return "the filter lets every frame pass"
	}
	return ""
}
