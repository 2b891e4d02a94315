// Package setup says how an interface is opened: which devices its configuration asks for, with its filter compiled for
// what they capture.
package setup

import (
	"fmt"
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
	Config capture.Config // without its filter: see Compile
	Filter string         // expression; empty: all frames
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

// Compile returns what to open. The filter is compiled for the link type that the configuration chooses, or for the
// interface's own.
func (d *Devices) Compile(own pcap.LinkType) (capture.Config, error) {
	c := d.Config
	link, err := d.LinkType(own)
	if err == nil {
		c.Filter, err = Program(d.Filter, link)
	}
	if err != nil {
		return c, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	return c, nil
}

// LinkType returns the link type that is asked for, or the interface's own if none is.
func (d *Devices) LinkType(own pcap.LinkType) (link pcap.LinkType, err error) {
	link = own
	if name := d.Config.LinkType; name != "" {
		if link, err = pcap.ParseLinkType(name); err != nil {
			return 0, &linkTypeError{err}
		}
	}
	if link == pcap.LinkTypeMixed && d.Format != config.FormatPcapng {
		return 0, errMixed
	}
	return link, nil
}

// Compile compiles a filter for what capture gives of the link type on this system.
func Compile(expr string, link pcap.LinkType) (*filter.Program, error) {
	if link == pcap.LinkTypeMixed {
		return filter.CompileMixed(expr, hardware())
	}
	return filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Live: runtime.GOOS == "linux"})
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

// fits returns an error for a program that is too long for the BPF devices of
// the system (BPF_MAXINSNS of net/bpf.h). Compile knows what Linux takes.
func fits(system string, instructions int) error {
	const most = 512
	if system == "linux" || instructions <= most {
		return nil
	}
	return fmt.Errorf("compile filter: the program has %d instructions; the kernel takes %d", instructions, most)
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
