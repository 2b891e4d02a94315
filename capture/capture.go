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
// goes on filling while no handle reads it. One goroutine uses a [Handle] and
// its [Batch]; only [Handle.Stats], [Handle.Refresh], [Handle.Stop] and
// [Handle.Close] may be called beside it.
package capture

import (
	"errors"
	"fmt"
	"os"
	"time"

	"capd/pcap"
)

// Any is the name that stands for all interfaces together. Its packets have
// the link type pcap.LinkTypeLinuxSLL2, which keeps the interface's index. Of
// several VLAN tags in a frame the kernel tells the outermost only.
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
	NICDropped  uint64 // frames that the interface dropped before any capture (rx_dropped, rx_missed_errors); 0 for Any
	RingBlocks  int    // blocks in the ring, or read buffers of a BPF device; 0 without a ring
	FilledBlock int    // of these, waiting to be read now, or held
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
	ErrPermission  = errors.New("operation not permitted") // no CAP_NET_RAW, or no access to the BPF device
	ErrNoInterface = errors.New("no such interface")
	ErrAttached    = errors.New("device has a handle already")
	ErrLinkType    = errors.New("not one of those that the interface has") // see Config.LinkType; the error names those that it has
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

// A Device is an interface opened for capture. The kernel collects its frames
// from then on, read or not. Its methods may be called from any goroutine.
type Device struct {
	backend
	name string
}

// A backend is a device of one kind.
type backend interface {
	begin() (frames, error)
	ungate() error
	warnings() []string
	ringSize() int
	stampSkew() time.Duration
	ifindex() int
	close() error
}

// frames are those of a device, read by one handle.
type frames interface {
	next(timeout time.Duration) (*Batch, error)
	stats() (Stats, error)
	refresh()
	linkType() pcap.LinkType
	mode() Mode
	layout() Layout
	stop() error
	close() error
}

// Open opens the interface. It needs privilege (on Linux CAP_NET_RAW) and
// returns an error wrapping ErrPermission without, and ErrNoInterface where
// there is no interface of this name. An interface that is down can be opened:
// the first Next then returns ErrDown.
func Open(c Config) (*Device, error) {
	full, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	b, err := open(full)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	return &Device{b, c.Interface}, nil
}

// Attach starts reading with the oldest frames that no handle before has
// released. It needs no privilege. There is one handle at a time: while it is
// not closed, or holds a batch, Attach returns ErrAttached.
func (d *Device) Attach() (*Handle, error) {
	f, err := d.begin()
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", d.name, err)
	}
	return &Handle{f}, nil
}

// Admit lets frames into a device that was opened Gated.
func (d *Device) Admit() error {
	if err := d.ungate(); err != nil {
		return fmt.Errorf("admit frames of %s: %w", d.name, err)
	}
	return nil
}

// Index returns the index of the interface, by which the device goes on when it
// is renamed; 0 for Any.
func (d *Device) Index() int { return d.ifindex() }

// Warnings returns what the system refused when the device was opened and
// capture goes on without, a sentence each, such as promiscuous mode.
func (d *Device) Warnings() []string { return d.warnings() }

// Skew returns the most by which the times differ that the kernel gives one
// frame in two devices of an interface: 0 where it stamps a frame once for all.
// Else the device that was opened last has the earlier time.
func (d *Device) Skew() time.Duration { return d.stampSkew() }

// RingSize returns the bytes of the ring, or of a BPF device's two buffers. It
// may be less than asked for where memory was short or the system has a limit;
// 0 without a ring.
func (d *Device) RingSize() int { return d.ringSize() }

// Close ends the capture, and closes the handle if there is one: see
// Handle.Close.
func (d *Device) Close() error { return d.close() }

// A Handle reads the frames of a Device.
type Handle struct{ frames }

// Next returns the next batch, or nil and no error when there is none within
// the timeout; a negative timeout means to wait as long as it takes. The batch
// is the handle's own: Next releases the one before if its holder did not.
//
// It returns ErrDown once when the interface goes down, which takes up to a
// second with a BPF device. After Stop, or when the interface was removed, it
// returns what the kernel has left, and then ErrClosed or ErrGone.
func (h *Handle) Next(timeout time.Duration) (*Batch, error) { return h.next(timeout) }

// Stats returns the counters. They work on after Close, but do not move.
// NICDropped is as of the last Refresh.
func (h *Handle) Stats() (Stats, error) { return h.stats() }

// Refresh asks the interface for its own counter. On Linux the answer takes the
// kernel's lock of all interfaces, and as much work as dozens of frames: it is
// for a goroutine that may wait, about once a second. After Stop it changes
// nothing: an interface counts what nobody takes as dropped. Elsewhere than on
// Linux it does nothing.
func (h *Handle) Refresh() { h.refresh() }

// LinkType returns the link type of all packets of the handle.
func (h *Handle) LinkType() pcap.LinkType { return h.linkType() }

// Mode says how the frames come from the kernel.
func (h *Handle) Mode() Mode { return h.mode() }

// Layout says how the kernel hands over frames. Unlike Mode it is for the
// goroutine that calls Next.
func (h *Handle) Layout() Layout { return h.layout() }

// Stop ends the device's reception. When it returns no further frame enters;
// Next returns those that did and ErrClosed after the last of them. From a BPF
// device of FreeBSD, NetBSD or OpenBSD a few more may come that arrived while the
// rest was read.
func (h *Handle) Stop() error { return h.stop() }

// Close detaches from the device, which goes on filling unless it was stopped,
// and makes a Next under way return ErrClosed. A batch that is held stays valid
// until its Release, which is still due. Closing again does nothing.
func (h *Handle) Close() error { return h.close() }

// Pin binds the calling thread, which the caller has locked to its goroutine,
// to a processor. Where the system can't it returns errors.ErrUnsupported.
func Pin(cpu int) error { return pin(cpu) }
