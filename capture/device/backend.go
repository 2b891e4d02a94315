package device

import (
	"time"

	"capd/pcap"
)

// A Backend is an open device of one kind. Device calls Attach only while no Reader is open, and
// Close once, after the last Reader was closed. The other methods may be called from any goroutine
// at any time.
type Backend interface {
	Attach() (Reader, error)
	Admit() error
	Close() error
	Counters
}

// A Reader reads the frames of a Backend for one handle.
type Reader interface {
	// Next implements Handle.Next. It is called by one goroutine. After Interrupt it returns
	// ErrClosed. It never returns a batch that is held.
	Next(timeout time.Duration) (*Batch, error)

	// Layout implements Handle.Layout. It is called by the goroutine that calls Next.
	Layout() Layout

	// Interrupt makes a running Next, and all later ones, return. It is called at most once, before
	// Close.
	Interrupt()

	// Close releases the memory. It is called once, when Next is not running and no batch is held.
	Close() error
}

// Counters are the methods of a Backend to end reception and to count frames.
type Counters interface {
	Stop() error           // see Handle.Stop
	Stats() (Stats, error) // see Handle.Stats; it works after Close
	Refresh()              // see Handle.Refresh
}

// Info holds the properties of an open device that do not change.
type Info struct {
	Name     string // under which it was opened
	Index    int
	LinkType pcap.LinkType
	Mode     Mode
	RingSize int
	Skew     time.Duration
	Warnings []string
	Adopted  Adopted
}
