// Package capture borrows batches of packets from network interfaces. It opens
// the devices itself: AF_PACKET sockets on Linux, BPF devices on macOS and the
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
// A [Device] needs privilege to open and none to attach to, so that a ring
// goes on filling while no handle reads it. One goroutine calls [Handle.Next];
// the batches that it returns may be held at once, handed to other goroutines
// and released in any order.
//
// The types are those of package device, where the backends find them too:
// afpacket and bpf, and fake for tests.
package capture

import (
	"fmt"

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
	Stats        = device.Stats
	Mode         = device.Mode
	Layout       = device.Layout
	Interface    = device.Interface
	Details      = device.Details
	NIC          = device.NIC
	XDP          = device.XDP
)

// Any is the name that stands for all interfaces together.
const Any = device.Any

// Defaults of a Config's zero values.
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

// Open opens the interface. It needs privilege (on Linux CAP_NET_RAW) and
// returns an error wrapping ErrPermission without, and ErrNoInterface where
// there is no interface of this name. An interface that is down can be opened:
// the first Next then returns ErrDown.
func Open(c Config) (*Device, error) { return device.Open(c, open) }

// OpenGroup opens n devices that share the frames of one interface: each frame
// comes out of one of them, and out of another than it should if that one's
// ring is full. Fragments are not put together, so that they are recorded as
// they were on the wire; ByFlow looks at the addresses only of those.
//
// Linux has groups (PACKET_FANOUT, packet(7)). Many of its versions have them
// of interfaces that are up only: for others OpenGroup returns an error that
// wraps ErrDown there.
func OpenGroup(c Config, n int, s Spread) ([]*Device, error) {
	return device.OpenGroup(c, n, s, open, openGroup)
}

// Interfaces lists the interfaces, by index. It needs no privilege.
func Interfaces() ([]Interface, error) { return interfaces() }

// LinkTypes returns the link types that the interface of that name, or Any, can
// be captured with, its own first. It needs the privilege of Open, and returns
// the same errors, which do not name the interface.
func LinkTypes(name string) ([]pcap.LinkType, error) { return linkTypes(name) }

// Inspect returns what the interface's driver says. It needs no privilege, and
// returns an error wrapping ErrNoInterface where there is none of this name.
func Inspect(name string) (Details, error) {
	d, err := inspect(name)
	if err != nil {
		return d, fmt.Errorf("inspect %s: %w", name, err)
	}
	return d, nil
}

// Pin binds the calling thread, which the caller has locked to its goroutine,
// to a processor. Where the system can't it returns errors.ErrUnsupported.
func Pin(cpu int) error { return pin(cpu) }
