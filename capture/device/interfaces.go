package device

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"capd/pcap"
)

// An Interface is a network interface.
type Interface struct {
	Index        int
	Name         string
	AltNames     []string      // alternative names of Linux (ip-link(8), altname): each stands for the interface as Name does
	HardwareType uint16        // ARPHRD_ of linux/if_arp.h, IFT_ of net/if_types.h on the BSDs
	LinkType     pcap.LinkType // the default for captures
	MTU          int           // bytes
	Up           bool          // administratively up
	Running      bool          // has a carrier
	Loopback     bool
	Address      net.HardwareAddr // nil if it has none
	IPs          []netip.Prefix
	NIC              // since it exists
	XDP          XDP // attached to it
}

// Names returns all names of the interface: Name first.
func (i *Interface) Names() []string { return append([]string{i.Name}, i.AltNames...) }

// Named reports whether that is a name of the interface.
func (i *Interface) Named(name string) bool {
	return i.Name == name || slices.Contains(i.AltNames, name)
}

// XDP is an XDP program on an interface of Linux: it sees each frame before the
// network stack, and those that it drops, sends back or redirects reach no
// capture.
type XDP struct {
	Mode    string // "native", "generic", "offloaded" or "several"; empty: no program is attached
	Program uint32 // its id; 0 where it is not known
	Name    string // that it has; empty where that can't be read
}

// Attached reports whether there is a program.
func (x XDP) Attached() bool { return x.Mode != "" }

// String names the program.
func (x XDP) String() string {
	switch {
	case x.Mode == "":
		return "none"
	case x.Program == 0:
		return "XDP program, " + x.Mode
	}
	s := fmt.Sprintf("XDP program %d", x.Program)
	if x.Name != "" {
		s += " " + x.Name
	}
	return s + ", " + x.Mode
}

// Details are properties of an interface, as far as its driver reports them.
type Details struct {
	Driver       string   // "" if unknown
	SpeedMbps    int      // 0 if unknown
	Enlarging    []string // offloads in use, by ethtool's names, that make frames larger than on the wire
	ClockIndex   int      // N of the NIC's own clock /dev/ptpN; -1 without one
	LargestFrame int      // bytes of the largest frame that offloads make (gso_max_size, gro_max_size); 0 if unknown
	Hardware     bool     // the NIC can stamp received frames with that clock
}
