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
	Create     Op = "create"
	Open       Op = "open"
	OpenDirect Op = "open with O_DIRECT" // asked besides Create or Open
	Write      Op = "write"
	Sync       Op = "sync"
	SyncDir    Op = "sync directory"
	Rename     Op = "rename"
	Remove     Op = "remove"
	Allocate   Op = "allocate"
	Truncate   Op = "truncate"
	Close      Op = "close"
	List       Op = "list directory" // only counted: the first entry was asked for
)

// A Fault is what becomes of the requests of a kind.
type Fault struct {
	After int           // this many are done before
	Times int           // then this many go wrong; 0: all
	Err   syscall.Errno // what they fail with
	Stall bool          // they wait until the fault is replaced or ends
	Short int           // of a write: only this many bytes are written, without an error
}

// A fault that is set.
type fault struct {
	Fault
	done int           // requests that went wrong
	over chan struct{} // closed at its end
}

// faults is the state of a Disk's controller.
type faults struct {
	mu      sync.Mutex
	set     map[Op]*fault
	count   map[Op]int
	waiting map[Op]int
	opened  map[string]int // by name in the directory
	dead    bool           // the power is cut
}

// Set lets the requests of a kind go wrong from now on.
func (d *Disk) Set(op Op, f Fault) {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.end(op)
	d.faults.set[op] = &fault{Fault: f, over: make(chan struct{})}
}

// Heal ends the faults of these kinds, or all. What is stalled goes on.
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

// Count returns how many requests of the kind there were.
func (d *Disk) Count(op Op) int {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	return d.faults.count[op]
}

// Opened returns how often the file of that name was opened that was there.
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

// Stalled returns how many requests of the kind wait.
func (d *Disk) Stalled(op Op) int {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	return d.faults.waiting[op]
}

// end ends the fault of a kind. The caller holds mu.
func (s *faults) end(op Op) {
	if f := s.set[op]; f != nil {
		close(f.over)
		delete(s.set, op)
	}
}

// admit lets a request in, or says how it fails. short is 0 without a limit.
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
