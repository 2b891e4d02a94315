package capture

import (
	"net"
	"net/netip"

	"capd/pcap"
)

// An Interface is one that can be captured on.
type Interface struct {
	Index        int
	Name         string
	HardwareType uint16        // ARPHRD_ of linux/if_arp.h, IFT_ of net/if_types.h on the BSDs
	LinkType     pcap.LinkType // of a capture on it
	MTU          int           // bytes
	Up           bool          // switched on
	Running      bool          // has a carrier
	Loopback     bool
	Address      net.HardwareAddr // nil if it has none
	IPs          []netip.Prefix
	NICDropped   uint64 // frames that it dropped before any capture, since it exists
}

// Interfaces lists the interfaces, by index. It needs no privilege.
func Interfaces() ([]Interface, error) { return interfaces() }

// LinkTypes returns the link types that the interface of that name, or Any, can
// be captured with, its own first. It needs the privilege of Open, and returns
// the same errors, which do not name the interface.
func LinkTypes(name string) ([]pcap.LinkType, error) { return linkTypes(name) }

// Details of an interface, as far as its driver tells them.
type Details struct {
	Driver     string   // "" if unknown
	SpeedMbps  int      // 0 if unknown
	Enlarging  []string // offloads in use, by ethtool's names, that make frames larger than on the wire
	ClockIndex int      // N of the NIC's own clock /dev/ptpN; -1 without one
	Hardware   bool     // the NIC can stamp received frames with that clock
}

// Inspect returns what the interface's driver says. It needs no privilege, and
// returns an error wrapping ErrNoInterface where there is none of this name.
func Inspect(name string) (Details, error) { return inspect(name) }
