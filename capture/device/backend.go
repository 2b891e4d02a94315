package device

import (
	"time"

	"capd/pcap"
)

// A Backend is an open device of one kind. A Device calls Attach only when no
// Reader is open, and Close once, when none is any more. The other methods may
// be called from any goroutine at any time.
type Backend interface {
	Attach() (Reader, error)
	Admit() error
	Close() error
	Counters
}

// A Reader reads the frames of a Backend for one handle.
type Reader interface {
	// Next is Handle.Next. One goroutine calls it. After Interrupt it returns
	// ErrClosed. It returns no batch that is held.
	Next(timeout time.Duration) (*Batch, error)

	// Layout is Handle.Layout, called by the goroutine that calls Next.
	Layout() Layout

	// Interrupt makes Next return, now and from now on. It is called once at
	// most, before Close.
	Interrupt()

	// Close ends the use of the memory. It is called once, when Next is not
	// under way and no batch is held.
	Close() error
}

// Counters end a device's reception and count what came until then.
type Counters interface {
	Stop() error           // see Handle.Stop
	Stats() (Stats, error) // see Handle.Stats; it works after Close
	Refresh()              // see Handle.Refresh
}

// Info is what does not change of an open device.
type Info struct {
	Name     string // that it was opened by
	Index    int
	LinkType pcap.LinkType
	Mode     Mode
	RingSize int
	Skew     time.Duration
	Warnings []string
}
