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
package capture

import (
	"errors"

	"capd/pcap"
)

// Any is the name that stands for all interfaces together. Its packets have
// the link type pcap.LinkTypeLinuxSLL2, which keeps the interface's index.
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
type Config struct {
	Interface    string // name of an interface, or Any
	Snaplen      int    // most bytes kept of a frame; 0 is DefaultSnaplen
	Promiscuous  bool   // also frames for other hosts
	Direction    Direction
	RingSize     int  // bytes of the kernel's ring, a multiple of BlockSize; 0 is DefaultRingSize
	BlockSize    int  // bytes of one block of the ring, a multiple of the page size; 0 is DefaultBlockSize
	BlockTimeout int  // milliseconds until the kernel hands over a block that is not full; 0 is DefaultBlockTimeout
	NoRing       bool // read frame by frame, as is done by itself where the kernel has no ring
}

// Stats are counters since the device was opened. They never go backward.
type Stats struct {
	Received    uint64 // frames that passed the kernel's filter, dropped or not
	Dropped     uint64 // of these, dropped by the kernel because the ring was full
	Freezes     uint64 // times that the ring was found full and stopped
	NICDropped  uint64 // frames that the interface dropped before any capture (rx_dropped, rx_missed_errors)
	RingBlocks  int    // blocks in the ring
	FilledBlock int    // of these, waiting to be read now
}

// Errors that Handle.Next returns, alone or wrapped. After ErrDown the handle
// still works: Next returns frames again when the interface is back up. After
// ErrGone and ErrClosed only Close is left to do.
var (
	ErrDown   = errors.New("interface is down")
	ErrGone   = errors.New("interface is gone")
	ErrClosed = errors.New("capture is closed")
)
