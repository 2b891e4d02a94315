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

// Any is the name that stands for all interfaces together. Its packets have
// the link type pcap.LinkTypeLinuxSLL2, which keeps the interface's index. Of
// several VLAN tags in a frame the kernel reports the outermost only.
const Any = "any"

// Defaults of a Config's zero values.
const (
	DefaultSnaplen      = pcap.MaxSnaplen
	DefaultRingSize     = 128 << 20 // bytes: 100 ms of 10 Gbit/s
	DefaultBlockSize    = 1 << 20   // bytes: holds the largest GRO frame several times
	DefaultBlockTimeout = 100       // milliseconds
)

// A Direction says which frames to capture, as seen from the host.
type Direction uint8

// Directions.
const (
	Both Direction = iota
	In             // received by the host, or seen on the wire
	Out            // sent by the host
)

// A Config says what to capture. Its zero value, but for the interface's name,
// is the default.
//
// Of a BPF device RingSize is the most that the kernel's two buffers have
// together, which the system cuts further, BlockTimeout goes in steps of 10 up
// to 250 milliseconds, and BlockSize and NoRing have no effect.
type Config struct {
	Interface    string // name of an interface, or Any
	Snaplen      int    // most bytes kept of a frame; 0 is DefaultSnaplen
	Promiscuous  bool   // also frames for other hosts; without effect on Any
	Direction    Direction
	RingSize     int  // bytes of the kernel's ring, a multiple of BlockSize; 0 is DefaultRingSize
	BlockSize    int  // bytes of one block of the ring, a multiple of the page size; 0 is DefaultBlockSize
	BlockTimeout int  // milliseconds until the kernel hands over a block that is not full; 0 is DefaultBlockTimeout
	NoRing       bool // read frame by frame, as is done by itself where the kernel has no ring

	// LinkType is the link type of the frames, one of those that the interface
	// has (LinkTypes), by a name of pcap.ParseLinkType. Empty is the interface's
	// own choice.
	LinkType string

	// Gated keeps every frame out until Device.Admit, so that a device can take
	// over from another.
	Gated bool

	// Filter is a classic BPF program that keeps the frames for which it
	// returns more than 0. It sees a frame without the VLAN tag that the
	// kernel took out of it, and a cooked frame without its header.
	Filter []Instruction
}

// withDefaults returns the Config with its zero values replaced, or what is
// wrong with it.
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

// Stats are counters since the device was opened. They never go backward.
// Once a stopped handle is drained, Received = frames read + Dropped + Corrupt.
type Stats struct {
	Received    uint64 // frames that passed the kernel's filter, dropped or not
	Dropped     uint64 // of these, dropped by the kernel because the ring was full
	Corrupt     uint64 // of these, in the part of a block that could not be read: see Batch.Err
	Freezes     uint64 // times that the ring was found full and stopped
	NIC                // of the interface, since then; 0 for Any
	RingBlocks  int    // blocks in the ring, or read buffers of a BPF device; 0 without a ring
	FilledBlock int    // of these, waiting to be read now, or held
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

// Errors that Open and Attach return wrapped.
var (
	ErrPermission  = hint.New("operation not permitted", privilege()...) // no CAP_NET_RAW, or no access to the BPF device
	ErrNoInterface = hint.New("no such interface", "capd interfaces lists what can be recorded")
	ErrAttached    = errors.New("device has a handle already")
	ErrLinkType    = hint.New("not one of those that the interface has", "capd interfaces lists the link types of each interface") // see Config.LinkType; the error names those that it has
)

// A Mode is the way frames come from the kernel.
type Mode string

// Modes.
const (
	ModeRing   Mode = "ring"   // blocks of frames in memory shared with the kernel
	ModeSocket Mode = "socket" // one system call a frame
	ModeBPF    Mode = "bpf"    // one system call a read buffer of a BPF device
)

// A Layout is how frames lie in the memory that the kernel fills, and how it
// stamps them.
type Layout struct {
	Unit       int           // bytes that come at a time: a block of the ring, or a read buffer; 0 without either
	Header     int           // bytes from a frame's record to the frame, of the first that came; 0 before, and without records
	Align      int           // bytes that the beginnings of records are multiples of; 0 without records
	Resolution time.Duration // of time stamps
	Clock      string        // that made them
}

// A Spread says which device of a group gets a frame.
type Spread uint8

// Spreads.
const (
	ByFlow Spread = iota // by a hash of addresses and ports: the frames of a flow stay together and in order
	ByCPU                // by the processor that received it
)

// NoLinkType is the error for a link type that is not one of those there are.
func NoLinkType(want pcap.LinkType, have []pcap.LinkType) error {
	names := make([]string, len(have))
	for i, t := range have {
		names[i] = t.String()
	}
	return fmt.Errorf("link type %s: %w: %s", want, ErrLinkType, strings.Join(names, ", "))
}

// badLinkType returns an error for a name that no link type has.
func badLinkType(name string) error {
	_, err := pcap.ParseLinkType(name)
	return err
}
