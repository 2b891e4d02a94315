package device

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// An Account holds what only the kernel counts. It has no pointers and a fixed size, so that it can
// lie in memory that outlives the process, 8-byte aligned: a device that is adopted then counts on.
// Only the device uses it, and no two devices use the same.
type Account struct {
	opened  uint32 // 1: in use
	reading uint32 // 1 while counts are taken from the kernel, which resets them by that
	inexact uint32 // 1 after a process ended meanwhile: some counts may be in neither place
	unit    uint32 // of the times of frames, in nanoseconds: see Counted

	received, dropped, freezes uint64 // as in Stats

	before NIC // what the interface had counted when frames were let in
	nic    NIC // what it has counted since then
}

// Open sets the account of a new device to zero.
func (a *Account) Open(before NIC) { *a = Account{opened: 1, before: before} }

// Admit sets what the interface had counted before frames are let in.
func (a *Account) Admit(before NIC) { a.before = before }

// Adopt continues with the account of an earlier process. One that no process has used begins
// with what the interface has counted by now, and is inexact.
func (a *Account) Adopt(now NIC) {
	if a.opened == 0 {
		a.Open(now)
		a.inexact = 1
	}
	if a.reading != 0 {
		a.inexact = 1
	}
	atomic.StoreUint32(&a.reading, 0)
}

// Count adds counts that read returns. By reading them, the kernel resets them.
func (a *Account) Count(read func() (received, dropped, freezes uint64, err error)) error {
	atomic.StoreUint32(&a.reading, 1)
	received, dropped, freezes, err := read()
	a.received += received
	a.dropped += dropped
	a.freezes += freezes
	atomic.StoreUint32(&a.reading, 0)
	return err
}

// Refresh updates what the interface has counted.
func (a *Account) Refresh(now NIC) { a.nic = a.nic.AtLeast(now.Since(a.before)) }

// Counted notes up to where a device has counted, if reading its counter does not reset it, and the
// unit of its times, which can't be asked for.
func (a *Account) Counted(dropped uint64, unit uint32) {
	a.opened, a.dropped, a.unit = 1, dropped, unit
}

// LastCounted returns what Counted has noted last; ok is false if it was never called.
func (a *Account) LastCounted() (dropped uint64, unit uint32, ok bool) {
	return a.dropped, a.unit, a.opened != 0 && a.unit != 0
}

// Stats returns the counters of a device that has handed out that many frames. Of an inexact
// account, this number and the dropped frames are what is known to be received.
func (a *Account) Stats(handed uint64) Stats {
	s := Stats{Received: a.received, Dropped: a.dropped, Freezes: a.freezes, NIC: a.nic, Inexact: a.inexact != 0}
	if s.Inexact {
		s.Received = max(s.Received, handed+s.Dropped)
	}
	return s
}

// Drained reports whether as many frames were handed out as the kernel has received. It is never
// true of an inexact account.
func (a *Account) Drained(handed uint64) bool {
	return a.inexact == 0 && handed >= a.received-a.dropped
}

// A Position says up to where the blocks of a ring were recorded.
type Position struct {
	Block   uint64 // Batch.Block of the last block that was recorded whole, after all before it; 0: none
	Frames  uint64 // sum of Batch.Len of these blocks
	Corrupt uint64 // of these frames, those that Read did not return: see Batch.Err

	Lent []uint64 // Batch.Block of blocks up to Block that are still needed: see Handle.Again
}

// Adopted says what Adopt found. It is the zero value for a device that was opened.
type Adopted struct {
	Missing uint64 // blocks after the Position that are no longer in the ring
	Gated   bool   // Admit is still to be called
	Stopped bool   // reception was ended: Next returns what is left, and then ErrClosed
	Group   int    // number of the fanout group, which all its devices have in common; 0 without one
	Spread  Spread // of the group
}

// An UnfitError says which property of an adopted descriptor is not as the Config wants it.
type UnfitError struct{ Property, Is, Want string }

func (e *UnfitError) Error() string {
	return fmt.Sprintf("%s is %s, and not %s", e.Property, e.Is, e.Want)
}

// Unfit returns an UnfitError with the values as text, or nil if they are the same.
func Unfit[T comparable](property string, is, want T) error {
	if is == want {
		return nil
	}
	return &UnfitError{property, fmt.Sprint(is), fmt.Sprint(want)}
}

// Adopt fills in defaults, checks the Config and adopts a device. Without a RingSize, rings of all sizes fit. Its
// errors name the interface.
func Adopt(c Config, f *os.File, at Position, adopt func(Config, *os.File, Position) (*Device, error)) (*Device, error) {
	full, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", c.Interface, err)
	}
	full.RingSize = c.RingSize // a ring has the size that its process chose
	d, err := adopt(full, f, at)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", c.Interface, err)
	}
	d.given = true
	return d, nil
}

// Adopted returns what Adopt found.
func (d *Device) Adopted() Adopted { return d.info.Adopted }

// A sharer is a Backend whose ring another process can adopt.
type sharer interface{ File() (*os.File, error) }

// File returns a duplicate of the descriptor whose ring the device reads, to be given to another
// process that calls Adopt. The ring lives, and fills, until every duplicate is closed. The error
// wraps errors.ErrUnsupported for a device without a ring in memory that the kernel shares.
func (d *Device) File() (*os.File, error) {
	f, err := d.file()
	if err != nil {
		return nil, fmt.Errorf("descriptor of %s: %w", d.info.Name, err)
	}
	return f, nil
}

func (d *Device) file() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.backend.(sharer)
	switch {
	case d.closed:
		return nil, ErrClosed
	case !ok:
		return nil, errors.ErrUnsupported
	}
	f, err := b.File()
	d.given = d.given || err == nil
	return f, err
}
