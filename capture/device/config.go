package device

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"capd/internal/hint"
	"capd/pcap"
)

// Any is the interface name that stands for all interfaces together. Its link type is
// pcap.LinkTypeMixed: each packet names its interface, and begins as that one's link type has it. The
// other choices are pcap.LinkTypeLinuxSLL2, whose header holds the interface's index, and
// pcap.LinkTypeLinuxSLL; then, if a frame has several VLAN tags, the kernel keeps only the outermost
// one.
const Any = "any"

// Defaults for zero values in a Config.
const (
	DefaultSnaplen      = pcap.MaxSnaplen
	DefaultRingSize     = 128 << 20 // bytes: 100 ms at 10 Gbit/s
	DefaultBlockSize    = 1 << 20   // bytes: several of the largest GRO frames
	DefaultBlockTimeout = 100       // milliseconds
)

// A Direction selects frames by their direction, as seen from the host.
type Direction uint8

// Directions.
const (
	Both Direction = iota
	In             // received by the host, or passing on the wire
	Out            // sent by the host
)

// A Config says what to capture. Zero values select the defaults; only Interface has none.
//
// For a BPF device, RingSize limits the size of the kernel's two buffers together, which the system
// may limit further. BlockTimeout is used in steps of 10 milliseconds, up to 250. BlockSize and
// NoRing have no effect.
type Config struct {
	Interface    string // name of an interface, or Any
	Snaplen      int    // number of bytes kept of each frame, at most; 0 means DefaultSnaplen
	Promiscuous  bool   // receive frames for other hosts too; no effect on Any
	Direction    Direction
	RingSize     int  // bytes of the kernel's ring, a multiple of BlockSize; 0 means DefaultRingSize, and any to Adopt
	BlockSize    int  // bytes of one block of the ring, a multiple of the page size; 0 means DefaultBlockSize
	BlockTimeout int  // milliseconds until the kernel hands over a block that is not full; 0 means DefaultBlockTimeout
	NoRing       bool // read frame by frame, which is also done where the kernel has no ring

	// LinkType selects one of the interface's link types (LinkTypes), by a name that
	// pcap.ParseLinkType accepts. Empty means the interface's default.
	LinkType string

	// Gated keeps all frames out until Device.Admit, so that a device can take over from another
	// one at an exact point.
	Gated bool

	// Filter is a classic BPF program that accepts the frames for which it returns more than 0. It
	// sees frames without the VLAN tag that the kernel removed, and cooked frames without their
	// header.
	Filter []Instruction

	// Compile returns the Filter for the link type of the device, which is certain only once the device is
	// bound to the interface. The backends call it while they open the device, before any frame is accepted.
	// nil means that Filter is for every link type.
	Compile func(pcap.LinkType) ([]Instruction, error)

	// Account is where the device keeps its counters; nil means in memory of its own. See Adopt.
	// OpenGroup uses Accounts instead: none, or one for each device.
	Account  *Account
	Accounts []*Account
}

// Compiled returns the Config with the Filter for a device of the link type.
func (c Config) Compiled(link pcap.LinkType) (Config, error) {
	if c.Compile == nil {
		return c, nil
	}
	var err error
	c.Filter, err = c.Compile(link)
	return c, err
}

// Member returns the Config of a device of a group.
func (c Config) Member(i int) Config {
	c.Account = nil
	if i < len(c.Accounts) {
		c.Account = c.Accounts[i]
	}
	return c
}

// withDefaults returns the Config with defaults for zero values, or an error if it is not valid.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Snaplen, DefaultSnaplen)
	setDefault(&c.BlockSize, DefaultBlockSize)
	setDefault(&c.RingSize, max(DefaultRingSize/max(c.BlockSize, 1), 2)*c.BlockSize)
	setDefault(&c.BlockTimeout, DefaultBlockTimeout)
	switch page := os.Getpagesize(); {
	case c.Interface == "":
		return c, errors.New("no interface named")
	case c.Snaplen < 1 || c.Snaplen > pcap.MaxSnaplen:
		return c, fmt.Errorf("snaplen %d is not within 1 and %d", c.Snaplen, pcap.MaxSnaplen)
	case c.LinkType != "" && badLinkType(c.LinkType) != nil:
		return c, badLinkType(c.LinkType)
	case c.Direction > Out:
		return c, fmt.Errorf("no direction %d", c.Direction)
	case c.BlockSize < page || c.BlockSize > 1<<30 || c.BlockSize%page != 0:
		return c, fmt.Errorf("block size %d is not a multiple of the page size %d", c.BlockSize, page)
	case c.RingSize < 2*c.BlockSize || c.RingSize%c.BlockSize != 0:
		return c, fmt.Errorf("ring size %d is not a multiple, at least twice, of the block size %d", c.RingSize, c.BlockSize)
	case c.BlockTimeout < 1 || c.BlockTimeout > 60_000:
		return c, fmt.Errorf("block timeout %d ms is not within 1 and 60000", c.BlockTimeout)
	}
	return c, nil
}

func setDefault(value *int, or int) {
	if *value == 0 {
		*value = or
	}
}

// Stats are counters since the device was opened. They never decrease. After a stopped handle was
// drained, Received = frames read + Dropped + Corrupt, frames that an earlier process read included.
type Stats struct {
	Received    uint64 // frames that passed the kernel's filter, including dropped ones
	Dropped     uint64 // of these, dropped by the kernel because the ring was full
	Corrupt     uint64 // of these, in the part of a block that could not be read: see Batch.Err
	Freezes     uint64 // times that the ring was found full and stopped
	NIC                // of the interface, since then; 0 for Any
	RingBlocks  int    // blocks in the ring, or read buffers of a BPF device; 0 without a ring
	FilledBlock int    // of these, ready to be read or held
	Inexact     bool   // the device was adopted, and the kernel's counts of a moment were lost: Dropped and Freezes may be too low
}

// NIC are the counters of an interface's own.
type NIC struct {
	// NICDropped counts frames that were lost before the system met them:
	// rx_missed_errors and rx_fifo_errors of Linux.
	NICDropped uint64

	// NICDiscarded counts frames that the interface's statistics call dropped
	// and that may have been captured all the same: rx_dropped of Linux. The
	// network stack adds to it those that nobody but captures took, after these
	// have had them. It also has what the stack dropped before, as where a
	// processor's backlog was full. It tells of no loss, and of no lack of one.
	NICDiscarded uint64
}

// Since returns what was counted since before, as far as the counters rose.
func (n NIC) Since(before NIC) NIC {
	return NIC{n.NICDropped - min(n.NICDropped, before.NICDropped), n.NICDiscarded - min(n.NICDiscarded, before.NICDiscarded)}
}

// Plus returns the sums.
func (n NIC) Plus(o NIC) NIC {
	return NIC{n.NICDropped + o.NICDropped, n.NICDiscarded + o.NICDiscarded}
}

// AtLeast returns the larger of each counter.
func (n NIC) AtLeast(o NIC) NIC {
	return NIC{max(n.NICDropped, o.NICDropped), max(n.NICDiscarded, o.NICDiscarded)}
}

// Errors that Handle.Next returns, alone or wrapped. After ErrDown the handle
// still works: Next returns frames again when the interface is back up. After
// ErrGone and ErrClosed only Close is left to do.
var (
	ErrDown   = errors.New("interface is down")
	ErrGone   = errors.New("interface is gone")
	ErrClosed = errors.New("capture is closed")
)

// An UnreadError is what Handle.Next returns instead of ErrGone, which it wraps, if the system may have
// discarded received frames together with the interface. Their number is unknown.
type UnreadError struct {
	Since time.Time // earlier frames were read
}

func (e *UnreadError) Error() string {
	return "interface is gone, and frames that were not read with it"
}

func (e *UnreadError) Unwrap() error { return ErrGone }

// Errors that Open and Attach return wrapped.
var (
	ErrPermission  = hint.New("operation not permitted", privilege()...) // no CAP_NET_RAW, or no access to the BPF device
	ErrNoInterface = hint.New("no such interface", "capd interfaces lists what can be recorded")
	ErrAttached    = errors.New("device has a handle already")
	ErrLinkType    = hint.New("not one of those that the interface has", "capd interfaces lists the link types of each interface") // see Config.LinkType; the error lists the link types of the interface
)

// A Mode is the way in which frames are read from the kernel.
type Mode string

// Modes.
const (
	ModeRing   Mode = "ring"   // blocks of frames in memory shared with the kernel
	ModeSocket Mode = "socket" // one system call per frame
	ModeBPF    Mode = "bpf"    // one system call per read buffer of a BPF device
)

// A Layout describes frames in the memory that the kernel fills, and their timestamps.
type Layout struct {
	Unit       int           // bytes that are handed over at a time: a block or a read buffer; 0 without either
	Header     int           // bytes from a record's start to its frame, in the first record; 0 before it, or without records
	Align      int           // alignment of records in bytes; 0 without records
	Resolution time.Duration // of timestamps
	Clock      string        // source of timestamps
}

// A Spread selects the device of a group that gets a frame.
type Spread uint8

// Spreads.
const (
	ByFlow Spread = iota // by a hash of addresses and ports: the frames of a flow stay together and in order
	ByCPU                // by the processor that received the frame
)

// NoLinkType is the error for a link type that the interface does not have.
func NoLinkType(want pcap.LinkType, have []pcap.LinkType) error {
	names := make([]string, len(have))
	for i, t := range have {
		names[i] = t.String()
	}
	return fmt.Errorf("link type %s: %w: %s", want, ErrLinkType, strings.Join(names, ", "))
}

// badLinkType is the error for an unknown name of a link type.
func badLinkType(name string) error {
	_, err := pcap.ParseLinkType(name)
	return err
}
