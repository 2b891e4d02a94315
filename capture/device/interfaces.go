package device

import (
	"net"
	"net/netip"

	"capd/pcap"
)

// An Interface is a network interface.
type Interface struct {
	Index        int
	Name         string
	HardwareType uint16        // ARPHRD_ of linux/if_arp.h, IFT_ of net/if_types.h on the BSDs
	LinkType     pcap.LinkType // the default for captures
	MTU          int           // bytes
	Up           bool          // administratively up
	Running      bool          // has a carrier
	Loopback     bool
	Address      net.HardwareAddr // nil if it has none
	IPs          []netip.Prefix
	NICDropped   uint64 // frames that it dropped before capture, since it was created
}

// Details are properties of an interface, as far as its driver reports them.
type Details struct {
	Driver     string   // "" if unknown
	SpeedMbps  int      // 0 if unknown
	Enlarging  []string // ethtool's names of active offloads that make frames larger than on the wire
	ClockIndex int      // N of the NIC's own clock /dev/ptpN; -1 without one
	Hardware   bool     // the NIC can take timestamps of received frames with that clock
}
