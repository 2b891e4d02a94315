//go:build linux

package testdisk

import (
	"maps"
	"slices"
	"sync"
	"syscall"
)

// An Op is a kind of request to a Disk.
type Op string

// Ops.
const (
	Create      Op = "create"
	Open        Op = "open"
	OpenDirect  Op = "open with O_DIRECT" // in addition to Create or Open
	Write       Op = "write"
	WriteDirect Op = "write with O_DIRECT" // in addition to Write
	Sync        Op = "sync"
	SyncDir     Op = "sync directory"
	Rename      Op = "rename"
	Remove      Op = "remove"
	Allocate    Op = "allocate"
	Truncate    Op = "truncate"
	Close       Op = "close"
	List        Op = "list directory" // can only be counted: reading the first entry
)

// A Fault describes what happens to the requests of one kind.
type Fault struct {
	After int           // the number of requests that succeed first
	Times int           // the number of requests that are affected then; 0: all
	Err   syscall.Errno // the error of the affected requests
	Stall bool          // affected requests wait until the fault is replaced or removed
	Short int           // for writes: only this many bytes are written, without an error
}

// A fault is an active Fault.
type fault struct {
	Fault
	done int           // number of affected requests
	over chan struct{} // closed when the fault ends
}

// faults is the state of a Disk's faults.
type faults struct {
	mu      sync.Mutex
	set     map[Op]*fault
	count   map[Op]int
	waiting map[Op]int
	opened  map[string]int // number of opens, by name in the directory
	dead    bool           // the power was cut
}

// Set adds a fault for requests of one kind.
func (d *Disk) Set(op Op, f Fault) {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.end(op)
	d.faults.set[op] = &fault{Fault: f, over: make(chan struct{})}
}

// Heal removes the faults of these kinds, or all faults. Stalled requests continue.
func (d *Disk) Heal(ops ...Op) {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	if len(ops) == 0 {
		ops = slices.Collect(maps.Keys(d.faults.set))
	}
	for _, op := range ops {
		d.faults.end(op)
	}
}

// Count returns how many requests of the kind were made.
func (d *Disk) Count(op Op) int {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	return d.faults.count[op]
}

// Opened returns how often the existing file of that name was opened.
func (d *Disk) Opened(name string) int {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	return d.faults.opened[name]
}

// open counts an Open of a file.
func (s *faults) open(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[name]++
}

// Stalled returns how many requests of the kind are waiting.
func (d *Disk) Stalled(op Op) int {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	return d.faults.waiting[op]
}

// end removes the fault of a kind. The caller holds mu.
func (s *faults) end(op Op) {
	if f := s.set[op]; f != nil {
		close(f.over)
		delete(s.set, op)
	}
}

// admit returns when a request may proceed, or with the error for it. short is 0 if there is no
// limit.
func (s *faults) admit(op Op) (short int, errno syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[op]++
	for {
		f := s.set[op]
		switch {
		case s.dead:
			return 0, syscall.EIO
		case f == nil:
			return 0, 0
		case f.After > 0:
			f.After--
			return 0, 0
		case f.Times > 0 && f.done == f.Times:
			return 0, 0
		}
		f.done++
		if !f.Stall {
			return f.Short, f.Err
		}
		s.waiting[op]++
		s.mu.Unlock()
		<-f.over
		s.mu.Lock()
		s.waiting[op]--
	}
}
