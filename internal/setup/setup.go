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
	Format string         // of the files
	Config capture.Config // without a RingSize if that follows the speed of the link: see RingSize
	Filter string         // expression that Config compiles for the link type of the device; empty: all frames
	Lanes  int            // devices that share the frames
	Spread capture.Spread // how they share them
}

// For returns what a configuration says for an interface.
func For(name string, c *config.Interface) Devices {
	d := Devices{
		Format: c.Format,
		Config: capture.Config{
			Interface:    name,
			Snaplen:      c.Snaplen,
			Promiscuous:  c.Promiscuous,
			Direction:    direction(c.Direction),
			RingSize:     int(c.RingSize),
			BlockSize:    int(c.BlockSize),
			BlockTimeout: int(time.Duration(c.BlockTimeout) / time.Millisecond),
			Compile: func(link pcap.LinkType) ([]capture.Instruction, error) {
				if err := holds(c.Format, link); err != nil {
					return nil, err
				}
				return Program(c.Filter, link)
			},
		},
		Filter: c.Filter,
		Lanes:  c.Fanout,
	}
	if c.FanoutMode == config.FanoutCPU {
		d.Spread = capture.ByCPU
	}
	d.Config.LinkType = chosen(name, c)
	return d
}

// chosen returns the name of the link type to open the interface with; empty for its own. A pcap file has one link type for all
// packets, and so can't hold those of all interfaces as they are.
func chosen(name string, c *config.Interface) string {
	switch {
	case c.LinkType != "" || name != capture.Any || c.Format == config.FormatPcapng:
		return c.LinkType
	case c.Format == config.FormatPcapMicro:
		return pcap.LinkTypeLinuxSLL.String() // programs that read nothing newer than microseconds know no SLL2
	}
	return pcap.LinkTypeLinuxSLL2.String()
}

// AnyLinkType is the link type of capture.Any unless another one is chosen.
const AnyLinkType = pcap.LinkTypeMixed

func direction(s string) capture.Direction {
	switch s {
	case config.DirectionIn:
		return capture.In
	case config.DirectionOut:
		return capture.Out
	}
	return capture.Both
}

// LinkType returns the link type that is asked for, or the interface's own if none is.
func (d *Devices) LinkType(own pcap.LinkType) (link pcap.LinkType, err error) {
	link = own
	if name := d.Config.LinkType; name != "" {
		if link, err = pcap.ParseLinkType(name); err != nil {
			return 0, &linkTypeError{err}
		}
	}
	if err := holds(d.Format, link); err != nil {
		return 0, err
	}
	return link, nil
}

// holds returns an error if files of the format can't have packets of the link type.
func holds(format string, link pcap.LinkType) error {
	if link == pcap.LinkTypeMixed && format != config.FormatPcapng {
		return errMixed
	}
	return nil
}

// Compile compiles a filter for what capture gives of the link type on this system.
func Compile(expr string, link pcap.LinkType) (*filter.Program, error) {
	if link == pcap.LinkTypeMixed {
		return filter.CompileMixed(expr, hardware())
	}
	return filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Live: runtime.GOOS == "linux", Machine: filter.MachineOf(runtime.GOOS)})
}

// hardware returns the link types that frames of all interfaces may have, by hardware type.
func hardware() map[uint16]filter.LinkType {
	types := make(map[uint16]filter.LinkType)
	for h, link := range capture.HardwareTypes() {
		types[h] = filter.LinkType(link)
	}
	return types
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
