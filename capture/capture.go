// Package capture reads packets from network interfaces in batches that are borrowed from the
// kernel. It opens the devices itself: AF_PACKET sockets on Linux, BPF devices on macOS and the
// BSDs.
//
//	dev, err := capture.Open(capture.Config{Interface: "eth0"}) // needs privilege
//	h, err := dev.Attach()                                      // needs none
//	for {
//		batch, err := h.Next(100 * time.Millisecond)
//		for n := batch.Read(pkts[:]); n > 0; n = batch.Read(pkts[:]) {
//			... pkts[:n] ...
//		}
//		batch.Release()
//	}
//
// Opening a [Device] needs privilege, and attaching to it needs none. The ring keeps filling while
// no handle reads it. One goroutine calls [Handle.Next]; several of the batches that it returns may
// be held at the same time, passed to other goroutines and released in any order.
//
// The types are defined in package device, which the backends afpacket, bpf and, for tests, fake
// import too.
package capture

import (
	"fmt"
	"os"

	"capd/capture/device"
	"capd/pcap"
)

// The types of a capture.
type (
	Config       = device.Config
	Direction    = device.Direction
	Spread       = device.Spread
	Instruction  = device.Instruction
	Device       = device.Device
	Handle       = device.Handle
	Batch        = device.Batch
	CorruptError = device.CorruptError
	UnreadError  = device.UnreadError
	Stats        = device.Stats
	Mode         = device.Mode
	Layout       = device.Layout
	Interface    = device.Interface
	Details      = device.Details
	NIC          = device.NIC
	XDP          = device.XDP
	Account      = device.Account
	Position     = device.Position
	Adopted      = device.Adopted
	UnfitError   = device.UnfitError
)

// Any is the interface name that stands for all interfaces together.
const Any = device.Any

// Defaults for zero values in a Config.
const (
	DefaultSnaplen      = device.DefaultSnaplen
	DefaultRingSize     = device.DefaultRingSize
	DefaultBlockSize    = device.DefaultBlockSize
	DefaultBlockTimeout = device.DefaultBlockTimeout
)

// Directions.
const (
	Both = device.Both
	In   = device.In
	Out  = device.Out
)

// Spreads.
const (
	ByFlow = device.ByFlow
	ByCPU  = device.ByCPU
)

// Modes.
const (
	ModeRing   = device.ModeRing
	ModeSocket = device.ModeSocket
	ModeBPF    = device.ModeBPF
)

// Errors that Handle.Next returns: see package device.
var (
	ErrDown   = device.ErrDown
	ErrGone   = device.ErrGone
	ErrClosed = device.ErrClosed
)

// Errors that Open and Attach return wrapped: see package device.
var (
	ErrPermission  = device.ErrPermission
	ErrNoInterface = device.ErrNoInterface
	ErrAttached    = device.ErrAttached
	ErrLinkType    = device.ErrLinkType
)

// Open opens the interface. It needs privilege (on Linux CAP_NET_RAW); without it, the error wraps
// ErrPermission. The error wraps ErrNoInterface if there is no interface with this name. An
// interface that is down can be opened: the first Next then returns ErrDown.
func Open(c Config) (*Device, error) { return device.Open(c, open) }

// OpenGroup opens n devices that share the frames of one interface: each frame is delivered by one
// of them. A frame for a device whose ring is full is delivered by another one. Fragments are not
// reassembled, so that they are recorded as they were on the wire; for fragments ByFlow uses only
// the addresses.
//
// Linux has groups (PACKET_FANOUT, packet(7)). Many of its versions support groups only for
// interfaces that are up; for others, OpenGroup returns an error that wraps ErrDown.
func OpenGroup(c Config, n int, s Spread) ([]*Device, error) {
	return device.OpenGroup(c, n, s, open, openGroup)
}

// Adopt returns a device that continues with the ring that Device.File gave out, in this process or
// in one that ended. It needs no privilege. The Config is that of the device. A ring that was made smaller than
// configured stays as it is (see Device.RingSize), as does one of any size if the Config has none, and so does the interface, whatever its name is now
// (see Device.Index, which is -1 if it is gone). Any other difference is an [UnfitError].
//
// Blocks up to the Position go back to the kernel unread: they were recorded by a process that ended
// before it released them. The next batch is the block after it, with the frames that were
// received while nobody read. Without the Account of the earlier process the counters begin anew.
//
// Each device of a group is adopted by itself, all of them with the Config of the group. Config.Gated
// says that the device may still be gated: see [Adopted]. The file stays the caller's.
//
// A BPF device has no blocks, and so no Position: its frames are in the kernel only until they are
// read. The earlier process must have recorded all that it read: see [Handle.Suspend]. The Config must
// have the Account, and is taken to be that of the device as far as the kernel does not tell.
func Adopt(c Config, f *os.File, at Position) (*Device, error) { return device.Adopt(c, f, at, adopt) }

// Copies reports whether frames are copied from the kernel: those that a process has read end with it.
func Copies() bool { return copies() }

// Interfaces lists the interfaces, by index. It needs no privilege.
func Interfaces() ([]Interface, error) { return interfaces() }

// Virtual returns what stands for a name that is no interface's: Any, or "nflog:N", the packets that rules of Linux's packet filter log
// to group N.
func Virtual(name string) (Interface, bool) { return device.Virtual(name) }

// HardwareTypes returns which hardware types of interfaces (ARPHRD_ of linux/if_arp.h) have a link type
// of their own. Packets of others get a cooked header.
func HardwareTypes() map[uint16]pcap.LinkType { return device.HardwareTypes() }

// LinkTypes returns the link types with which the interface of that name, or Any, can be captured,
// the default first. It needs the same privilege as Open and returns the same errors, which do not
// name the interface.
func LinkTypes(name string) ([]pcap.LinkType, error) {
	probe, end := ProbeLinkTypes()
	defer end()
	return probe(name)
}

// ProbeLinkTypes returns a function that does what LinkTypes does, for many
// interfaces at a lower price, and one that ends it.
func ProbeLinkTypes() (probe func(name string) ([]pcap.LinkType, error), end func()) {
	return probeLinkTypes()
}

// Inspect returns details that the interface's driver reports. It needs no privilege. The error
// wraps ErrNoInterface if there is no interface with this name.
func Inspect(name string) (Details, error) {
	d, err := inspect(name)
	if err != nil {
		return d, fmt.Errorf("inspect %s: %w", name, err)
	}
	return d, nil
}

// Speed returns the speed of an interface in Mbit/s; 0 if it is unknown. It costs a tenth of Inspect.
func Speed(name string) int { return speed(name) }

// Pin binds the calling thread, which the caller has locked to its goroutine, to a processor. It
// returns errors.ErrUnsupported where the system does not support that.
func Pin(cpu int) error { return pin(cpu) }
